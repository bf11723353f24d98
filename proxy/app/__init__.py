"""The composition root: Settings in, one wired and running sidecar out."""
