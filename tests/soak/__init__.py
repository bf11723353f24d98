"""Long proofs, run by hand: `python -m tests.soak.NAME COUNT`. The suite runs each of them for a short while."""
