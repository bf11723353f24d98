"""Who: token -> claims -> principal, and the sessions they open. Pure: no clock, no I/O, no randomness of its own."""
