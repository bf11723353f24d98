"""A refused push gets the report it asked for, and nothing else gets one. Real git reads it in tests/e2e."""

import pytest

from proxy.intents.git_packets import read_packets, write_packet
from proxy.intents.git_refusal import write_refusal
from proxy.model.authority import Authority
from proxy.model.intent import BodyPrefix, RequestView

A, B = "a" * 40, "b" * 40


def view(capabilities: str, *more: str, method: str = "POST", path: str = "/a/b/git-receive-pack") -> RequestView:
    lines = [f"{A} {B} refs/heads/main\0{capabilities}", *more]
    body = b"".join(write_packet(line.encode()) for line in lines) + b"0000PACK"
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority("git.example", 443),
        path=path,
        query=None,
        headers=(),
        body=BodyPrefix(data=body, is_whole=False),
    )


REPORT = [b"unpack ok", b"ng refs/heads/main no: not today", b"ng refs/x no: not today", None]


@pytest.mark.parametrize("capabilities", ["report-status", "report-status-v2 atomic"])
def test_every_ref_is_refused_by_name(capabilities: str) -> None:
    """With the reason on one line of plain text."""
    told = write_refusal(view(capabilities, f"{A} {B} refs/x"), "no:  not\ntoday")
    assert told is not None
    assert [content for content, _ in read_packets(told)] == REPORT


@pytest.mark.parametrize("band, size", [("side-band-64k", 60_001), ("side-band", 991)])
def test_in_a_side_band_where_it_is_asked_for(band: str, size: int) -> None:
    """The report comes in pieces of the first band, no longer than it takes."""
    refs = [f"{A} {B} refs/heads/{number}" for number in range(900)]
    told = write_refusal(view(f"report-status {band}", *refs), "no")
    assert told is not None
    *pieces, last = [content for content, _ in read_packets(told)]
    assert last is None
    assert all(piece is not None and piece[:1] == b"\x01" and len(piece) <= size for piece in pieces)
    assert len(pieces) > 1 or band == "side-band-64k"


@pytest.mark.parametrize(
    "asked",
    [
        view("atomic"),
        view("report-status", method="GET"),
        view("report-status", path="/a/b/git-upload-pack"),
        view("report-status", "nonsense"),
    ],
)
def test_nobody_else_gets_a_report(asked: RequestView) -> None:
    """A client that did not ask for one, another request, and a push that cannot be read."""
    assert write_refusal(asked, "no") is None


def test_what_was_not_read_gets_none() -> None:
    """Without a body there is nothing to name; a probe moves nothing."""
    asked = view("report-status")
    nothing = RequestView(
        method="POST", scheme="https", authority=asked.authority, path=asked.path, query=None, headers=()
    )
    assert write_refusal(nothing, "no") is None
