"""Every command of a push is read, once and in one way, or the push is denied."""

import pytest

from proxy.intents.git_commands import MAX_COMMANDS, ends_commands, read_push
from proxy.intents.git_packets import write_packet
from proxy.model.errors import IntentError

A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
MAIN = "refs/heads/main"


def section(*lines: str, options: tuple[str, ...] | None = None) -> bytes:
    told = b"".join(write_packet(line.encode()) for line in lines) + b"0000"
    if options is None:
        return told
    return told + b"".join(write_packet(line.encode()) for line in options) + b"0000"


def command(old: str = A, new: str = B, ref: str = MAIN, words: str = "") -> str:
    return f"{old} {new} {ref}" + (f"\0{words}" if words else "")


CERTIFICATE = (
    "push-cert\0report-status push-options",
    "certificate version 0.1\n",
    "pusher Ada <ada@acme.test> 1 +0000\n",
    "nonce 1-2\n",
    "\n",
    f"{A} {B} {MAIN}\n",
    "-----BEGIN SSH SIGNATURE-----\n",
    "U1NIU0lH\n",
    "-----END SSH SIGNATURE-----\n",
    "push-cert-end\n",
)


@pytest.mark.parametrize(
    "lines, moves",
    [
        ([command(words="report-status")], [("update", MAIN, A, B)]),
        ([command(words=" report-status agent=git/2\n")], [("update", MAIN, A, B)]),
        ([command() + "\n"], [("update", MAIN, A, B)]),
        ([command(ZERO, B, "refs/tags/v1")], [("create", "refs/tags/v1", ZERO, B)]),
        ([command(A, ZERO)], [("delete", MAIN, A, ZERO)]),
        ([command(words="atomic"), command(ref="refs/x")], [("update", MAIN, A, B), ("update", "refs/x", A, B)]),
        ([f"shallow {A}", f"shallow {B}", command(words="x")], [("update", MAIN, A, B)]),
        ([command("c" * 64, "d" * 64, words="object-format=sha256")], [("update", MAIN, "c" * 64, "d" * 64)]),
        (list(CERTIFICATE[:1] + CERTIFICATE[1:]), [("update", MAIN, A, B)]),
        ([], []),
    ],
)
def test_a_push_is_the_refs_it_moves(lines: list[str], moves: list[tuple[str, str, str, str]]) -> None:
    """Created, updated and deleted refs with the commits before and after, signed or not; none for a probe."""
    options = () if any("push-options" in line for line in lines) else None
    told = section(*lines, options=options)
    found = read_push(told + b"PACK\x00\x00\x00\x02")
    assert [(move.action, move.ref, move.facts["old"], move.facts["new"]) for move in found.moves] == moves
    assert found.is_signed is (lines[:1] == [CERTIFICATE[0]])


def test_options_follow_the_commands_when_they_were_negotiated() -> None:
    """Only then is there a second section, and the pack begins after it."""
    told = section(command(words="push-options report-status"), options=("ci.skip", "merge"))
    assert not ends_commands(told[:-4])
    assert not ends_commands(told[: told.index(b"0000" + b"000b") + 4])
    assert ends_commands(told)
    assert ends_commands(told + b"PACK")
    found = read_push(told)
    assert found.options == ("ci.skip", "merge")
    assert found.capabilities == {"push-options", "report-status"}
    assert ends_commands(section(command(words="report-status")))
    assert not ends_commands(b"")


REFUSED = [
    ("cut", [command()], b"0000"),
    ("twice", [command(), command(new="c" * 40)], b""),
    ("short id", [command(old="a" * 39)], b""),
    ("capital id", [command(old="A" * 40)], b""),
    ("another object format", [command("c" * 64, "d" * 64)], b""),
    ("two lengths", [command("c" * 64, "d" * 64, words="object-format=sha256"), command(ref="refs/x")], b""),
    ("nothing to nothing", [command(ZERO, ZERO)], b""),
    ("no ref", [f"{A} {B}"], b""),
    ("one id", [A], b""),
    ("ref outside refs", [command(ref="HEAD")], b""),
    ("ref with a hash", [command(ref="refs/heads/a#b")], b""),
    ("ref with dots", [command(ref="refs/heads/../x")], b""),
    ("ref with a line", [command(ref="refs/heads/a\nb")], b""),
    ("capabilities twice", [command(words="a"), command(ref="refs/x", words="b")], b""),
    ("two NULs", [command(words="a\0b")], b""),
    ("shallow after", [command(), f"shallow {A}"], b""),
    ("shallow of nothing", ["shallow x", command()], b""),
    ("too many", [command(ref=f"refs/heads/{n}") for n in range(MAX_COMMANDS + 1)], b""),
    ("no end of the certificate", list(CERTIFICATE[:-1]), b""),
    ("no empty line", [line for line in CERTIFICATE if line != "\n"], b""),
    ("no signature", [line for line in CERTIFICATE if "BEGIN" not in line], b""),
    ("two signatures", [*CERTIFICATE[:-1], "-----BEGIN PGP SIGNATURE-----\n", CERTIFICATE[-1]], b""),
    ("a command after it", [*CERTIFICATE, command(ref="refs/x")], b""),
    ("a command before it", [command(ref="refs/x"), *CERTIFICATE], b""),
    ("a line that is no command", [*CERTIFICATE[:5], "hello\n", *CERTIFICATE[5:]], b""),
]


@pytest.mark.parametrize("lines, cut", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_push_with_two_readings_is_refused(lines: list[str], cut: bytes) -> None:
    """What git might take for another set of moves, or for none, is denied."""
    options = () if any("push-options" in line for line in lines) else None
    with pytest.raises(IntentError):
        read_push(section(*lines, options=options).removesuffix(cut))


@pytest.mark.parametrize("told", [b"0001" + section(command()), b"PACK", write_packet(b"\xff" * 90) + b"0000"])
def test_what_is_no_push_is_refused(told: bytes) -> None:
    """A delimiter, a pack without commands and bytes that are no text."""
    with pytest.raises(IntentError):
        read_push(told)
