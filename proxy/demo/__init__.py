"""The demo's stage: an issuer, an AWS, a git server and an "internet", all on loopback, driven by real clients.

Nothing here is part of the proxy; `jobgate demo` and the end-to-end tests use it. Each server can stand alone.
"""
