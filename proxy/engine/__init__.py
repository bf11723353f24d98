"""The path: the only place that knows the order of the stages. Awaits ports; no I/O, clock or randomness of its own."""
