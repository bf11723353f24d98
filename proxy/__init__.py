"""jobgate: an identity-aware forwarding proxy for build jobs. Imports nothing."""

__version__ = "0.1.0"
