"""Edge, inward: what operators and reviewers write, read strictly. Files only; nothing here decides."""
