"""Every bound the gateway keeps, in one place, each with its reason. Sizes in bytes, times in seconds."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Defaults that a build job never meets and an attacker soon does."""

    connections: int = 4096
    """Open client connections in this worker; the next one is answered 503 at once."""
    handshake: float = 10.0
    """From our 200 to a finished TLS handshake."""
    head: float = 15.0
    """From a head's first byte to its last (slowloris)."""
    idle: float = 60.0
    """A kept connection without a request; longer than any client keeps one for reuse."""
    decision: float = 5.0
    """Each question to the engine, minting included; what takes longer is denied (G19)."""
    connect: float = 15.0
    """Resolving, dialling and the upstream's TLS handshake; the dialer keeps tighter bounds of its own."""
    response: float = 300.0
    """From the last byte sent upstream to the first byte of its answer: slow APIs exist."""
    body: float = 60.0
    """Without one byte of a body, from either side, that has been begun."""
    stalled: float = 60.0
    """A side that takes none of the bytes we hold for it."""
    tunnel_idle: float = 600.0
    """A passed-through connection without a byte in either direction."""
    upstream_idle: float = 15.0
    """A kept upstream connection; shorter than servers' own timeouts, so that reuse rarely meets a close."""
    upstream_kept: int = 256
    """Idle upstream connections kept per session and authority; package managers open dozens at once."""
    upstream_kept_total: int = 1024
    """Idle upstream connections kept in all."""
    buffered_body: int = 16 * MIB
    """A body that must be digested before it may be sent."""
    buffered_total: int = 256 * MIB
    """All such bodies at one time, in this worker."""
    discard: int = 1 * MIB
    """A refused request's body that is read to keep the connection; a larger one costs the connection."""
    linger_bytes: int = 256 * MIB
    """Read and dropped after a final refusal, so that the client can read it before its writes fail."""
    linger: float = 10.0
    """The same in time, and how long a closed connection may take to hand over its last bytes."""
    write_high: int = 512 * KIB
    """Bytes waiting for one side before the other side is no longer read."""
    crowd: int = 8
    """Exchanges under way from which on what is small is sent at the end of a turn of the event loop."""
    interim: int = 16
    """1xx answers before a final one."""
