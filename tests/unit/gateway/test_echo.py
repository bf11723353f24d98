"""A credential that comes back is blanked, however it is spelled, cut into pieces or compressed."""

import gzip
import itertools
import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.echo import EchoGuard
from proxy.model.errors import ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

PLANTED = 'planted/secret+with"signs=\\0123456789'
OTHER = "another-planted-0987654321"


def guard(*secrets: str, coding: str | None = None) -> EchoGuard:
    return EchoGuard(tuple(Secret(each) for each in secrets), coding)


def passed(echo: EchoGuard, *chunks: bytes) -> bytes:
    return b"".join([*(echo.feed(chunk) for chunk in chunks), echo.finish()])


def reference(content: bytes, secrets: list[str]) -> bytes:
    """Every byte of every occurrence blanked, read from the whole body at once; raw spelling only."""
    blanked = bytearray(content)
    for secret in secrets:
        needle = secret.encode()
        for at in range(len(content) - len(needle) + 1):
            if content[at : at + len(needle)] == needle:
                blanked[at : at + len(needle)] = b"*" * len(needle)
    return bytes(blanked)


def pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    return [content[start:end] for start, end in itertools.pairwise(places)]


def raw_deflate(content: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(content) + engine.flush()


SPELLINGS: dict[str, bytes] = {
    "as it is": PLANTED.encode(),
    "percent": quote(PLANTED, safe="").encode(),
    "percent, lower case": quote(PLANTED, safe="")
    .replace("%2F", "%2f")
    .replace("%2B", "%2b")
    .replace("%3D", "%3d")
    .replace("%5C", "%5c")
    .encode(),
    "JSON": json.dumps(PLANTED)[1:-1].encode(),
    "JSON with its slashes escaped": json.dumps(PLANTED)[1:-1].replace("/", "\\/").encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_is_blanked_in_its_own_length(spelling: bytes) -> None:
    """What hides the secret is as long as the secret was, so Content-Length still holds."""
    echo = guard(PLANTED)
    assert passed(echo, b'{"a": "' + spelling + b'"}') == b'{"a": "' + b"*" * len(spelling) + b'"}'
    assert echo.hits == 1


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"u", b"us", b"user:", b"user::"])
@pytest.mark.parametrize("after", [b"", b"x", b"xy", b"xyz"])
def test_base64_is_blanked_at_every_alignment(encode: Callable[[bytes], bytes], before: bytes, after: bytes) -> None:
    """Whatever stands before and after it, no character that depends on the secret alone passes."""
    encoded = encode(before + PLANTED.encode() + after)
    out = passed(guard(PLANTED), b"<" + encoded + b">")
    assert len(out) == len(encoded) + 2
    kept = bytes(b for b in out[1:-1] if b != ord("*"))
    assert len(kept) <= -(-len(before) * 8 // 6) + -(-len(after) * 8 // 6) + 6
    assert out.count(b"*") >= len(PLANTED) * 8 // 6 - 2


@given(
    st.lists(st.sampled_from([b"abc", b"abcabc", b"bcab", b"abcabcabc", b"c", b"xyz", b"aabcab"]), max_size=8),
    st.lists(st.integers(0, 200), max_size=8),
    st.lists(
        st.sampled_from(["abc", "abcabc", "bcab", "cabc", "aab", "abcabcabcab"]), min_size=1, max_size=4, unique=True
    ),
)
def test_how_a_body_is_cut_never_matters(words: list[bytes], cuts: list[int], secrets: list[str]) -> None:
    """Any split gives what the whole gives: every byte of every occurrence blanked, overlaps and prefixes too."""
    content = b"".join(words)
    expected = reference(content, secrets)
    assert passed(guard(*secrets), content) == expected
    assert passed(guard(*secrets), *pieces(content, cuts)) == expected


@given(
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.lists(st.integers(0, 300), max_size=6),
    st.sampled_from(sorted(SPELLINGS)),
)
def test_a_spelling_between_any_bytes_is_found_however_it_is_cut(
    before: bytes, after: bytes, cuts: list[int], name: str
) -> None:
    """Length is kept, the secret's spelling is gone, and what does not touch it is untouched."""
    spelling = SPELLINGS[name]
    content = before + spelling + after
    out = passed(guard(PLANTED, OTHER), *pieces(content, cuts))
    assert len(out) == len(content)
    assert spelling not in out
    assert out[: len(before)] == before
    assert out[len(before) + len(spelling) :] == after


def test_a_longer_secret_is_blanked_whole_though_a_shorter_one_is_its_beginning() -> None:
    """The shorter one ends first; what follows still belongs to the longer one."""
    echo = guard("secret-00", "secret-00-and-more")
    assert passed(echo, b"secret-00", b"-and", b"-more!") == b"*" * 18 + b"!"
    assert passed(guard("secret-00", "secret-00-and-more"), b"secret-00", b"-and!") == b"*" * 9 + b"-and!"


def test_the_beginning_of_a_secret_passes_at_the_end() -> None:
    """What was held back is given out, so that no byte is lost."""
    echo = guard(PLANTED)
    assert echo.feed(b"see planted/sec") == b"see "
    assert echo.finish() == b"planted/sec"
    assert echo.hits == 0


def test_a_body_without_secrets_passes_as_it_comes() -> None:
    """Nothing is held back that could not be the beginning of a secret."""
    echo = guard(PLANTED)
    for chunk in (b"first", b"", b"second", bytes(range(97))):
        assert echo.feed(chunk) == chunk
    assert echo.finish() == b""


COMPRESSIONS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "two members": (
        "gzip",
        lambda content: gzip.compress(content[:40], mtime=0) + gzip.compress(content[40:], mtime=0),
    ),
    "stored": ("gzip", lambda content: gzip.compress(content, compresslevel=0, mtime=0)),
}


@pytest.mark.parametrize("coding, compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_compressed_secret_is_cut_before_its_piece(
    coding: str, compress: Callable[[bytes], bytes], size: int
) -> None:
    """What passed before the cut never holds the whole secret, and the rest never passes."""
    body = compress(b"some page that begins here " + PLANTED.encode() + b" and ends")
    echo = guard(PLANTED, coding=coding)
    out = bytearray()
    with pytest.raises(ProtocolError) as caught:  # noqa: PT012 - which piece it is depends on the coding
        for at in range(0, len(body), size):
            out += echo.feed(body[at : at + size])
    assert caught.value.reason is Reason.CREDENTIAL_ECHO
    assert PLANTED not in str(caught.value)
    assert len(out) < len(body)
    assert echo.hits == 1


@pytest.mark.parametrize("coding, compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
def test_a_compressed_body_without_secrets_passes_unchanged(coding: str, compress: Callable[[bytes], bytes]) -> None:
    """Reading on the side changes nothing."""
    body = compress(b"nothing to see here, " * 100)
    echo = guard(PLANTED, coding=coding)
    assert passed(echo, *(body[at : at + 50] for at in range(0, len(body), 50))) == body


def test_nothing_hides_behind_a_full_piece() -> None:
    """What the inflater still holds when a piece is full is read before the chunk passes."""
    body = raw_deflate(b"a" * (256 * 1024 + 700))
    for end in range(len(body) - 8, len(body)):
        shown = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body[:end])
        with pytest.raises(ProtocolError):
            guard(shown.decode(), coding="deflate").feed(body[:end])


def test_a_bomb_is_cut() -> None:
    """A body that inflates without measure ends in a fault, not in our memory or time."""
    bomb = gzip.compress(bytes(1024 * 1024), compresslevel=9, mtime=0) * 80
    with pytest.raises(ProtocolError) as caught:
        guard(PLANTED, coding="gzip").feed(bomb)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        b"not gzip at all",
        b"\x1f\x8b\x08" + bytes(7) + b"\xff\xff",
        gzip.compress(b"x" * 99, mtime=0)[:-8] + b"12345678",
    ],
)
def test_broken_compression_is_cut(body: bytes) -> None:
    """What we cannot read, a lenient client might."""
    with pytest.raises(ProtocolError) as caught:
        guard(PLANTED, coding="gzip").feed(body)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    "coding, blind",
    [
        ("br", True),
        ("zstd", True),
        ("gzip, br", True),
        ("", False),
        ("identity", False),
        (" GZIP ", False),
        (None, False),
    ],
)
def test_an_unknown_coding_is_said_to_be_blind(coding: str | None, blind: bool) -> None:  # noqa: FBT001 - a column
    """A coding that cannot be read passes, and the guard says that it looked away."""
    echo = guard(PLANTED, coding=coding)
    assert echo.is_blind is blind
    if blind:
        assert passed(echo, b"\x8b\x02\x80", PLANTED.encode()) == b"\x8b\x02\x80" + PLANTED.encode()


@pytest.mark.parametrize(
    "value, expected",
    [
        ("plain", "plain"),
        (f"Bearer {PLANTED}", "Bearer " + "*" * len(PLANTED)),
        (f"{PLANTED};{OTHER}", "*" * len(PLANTED) + ";" + "*" * len(OTHER)),
        (f"/login?next={quote(PLANTED, safe='')}", "/login?next=" + "*" * len(quote(PLANTED, safe=""))),
        ("caf\xe9", "caf\xe9"),
        ("", ""),
    ],
)
def test_header_values_are_blanked(value: str, expected: str) -> None:
    """A value is blanked like a body, in its own length."""
    assert guard(PLANTED, OTHER).clean_value(value) == expected


@pytest.mark.parametrize("secrets", [(), ("",)])
def test_nothing_watched_is_nothing_changed(secrets: tuple[str, ...]) -> None:
    """Without a secret every byte passes."""
    assert passed(guard(*secrets), b"any", b"thing") == b"anything"
    assert guard(*secrets).clean_value("any") == "any"


def test_short_secrets_are_looked_for_as_they_are_only() -> None:
    """Four letters in base64 would be found in anything; as they are they are blanked."""
    encoded = b64encode(b"pass")
    assert passed(guard("pass"), b"pass " + encoded) == b"**** " + encoded
