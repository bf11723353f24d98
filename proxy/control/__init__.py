"""The control API: sessions, health, metrics. Edge: HTTP on a Unix socket or loopback, for jobs and operators."""
