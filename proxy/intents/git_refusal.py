"""A refused push, told in git's own words, so that the user sees which ref was rejected and why. Pure.

The answer to git-receive-pack is a report (gitprotocol-pack(5), "report-status"): `ng REF reason` for every ref that
was to be moved, in a side band when the client asked for one. HTTP says 200: git shows nothing of an error's body.
"""

from typing import Final

from proxy.intents.git_commands import read_push
from proxy.intents.git_packets import write_packet
from proxy.intents.reading import read_body
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

CONTENT_TYPE: Final = "application/x-git-receive-pack-result"
_FLUSH: Final = b"0000"
_BAND: Final = 60_000
_LIMIT: Final = 1 << 20


def write_refusal(view: RequestView, reason: str) -> bytes | None:
    """Return the report that refuses a push whose commands stand in `view.body`; None when the client wants none.

    `reason` is one line of ASCII for people.
    """
    if view.body is None or view.method != "POST" or not view.path.endswith("/git-receive-pack"):
        return None
    try:
        prefix = read_body(view, _LIMIT, lambda _: True)
        push = read_push(b"" if isinstance(prefix, BodyWanted) else prefix)
    except IntentError:
        return None
    if not push.capabilities & {"report-status", "report-status-v2"} or not push.moves:
        return None
    line = " ".join(reason.encode("ascii", "replace").decode().split())[:500]
    lines = [b"unpack ok\n", *(f"ng {move.ref} {line}\n".encode() for move in push.moves)]
    report = b"".join(write_packet(each) for each in lines) + _FLUSH
    if not push.capabilities & {"side-band-64k", "side-band"}:
        return report
    size = _BAND if "side-band-64k" in push.capabilities else 990
    pieces = (report[at : at + size] for at in range(0, len(report), size))
    return b"".join(write_packet(b"\x01" + piece) for piece in pieces) + _FLUSH
