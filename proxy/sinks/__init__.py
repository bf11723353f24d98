"""Destinations of the audit trail: where chained bytes become durable. All disk access of the trail is here."""
