"""A body that is sent while it is read, and must turn out to have the digest that was signed for it."""

import hashlib
import hmac

from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason


class DigestCheck:
    """Passes pieces on; breaks the request off before its last one when the whole is not what its digest says."""

    __slots__ = ("_digest", "_wanted")

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._digest = hashlib.sha256()

    def feed(self, piece: bytes) -> bytes:
        """Return the piece."""
        self._digest.update(piece)
        return piece

    def feed_last(self, piece: bytes) -> bytes:
        """Return the piece. Raises ProtocolError (`signing-broken`)."""
        self._digest.update(piece)
        if not hmac.compare_digest(self._digest.hexdigest(), self._wanted):
            raise ProtocolError("the body is not the one that x-amz-content-sha256 names", Reason.SIGNING_BROKEN)
        return piece

    def finish(self) -> bytes:
        """As `feed_last`, for no piece."""
        return self.feed_last(b"")
