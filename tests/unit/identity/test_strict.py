"""One spelling per value."""

import base64

import pytest

from proxy.identity.strict import MAX_DEPTH, decode_base64url, load_object


@pytest.mark.parametrize("raw", [b"", b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc", bytes(range(256))])
def test_canonical_base64url_is_decoded(raw: bytes) -> None:
    """What an encoder writes is read back."""
    assert decode_base64url(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) == raw


@pytest.mark.parametrize(
    "text",
    ["YQ==", "YQ=", "YR", "YWK", "Y", "YWJjZ", "YW Jj", "YWJj\n", "\nYWJj", "YW+j", "YW/j", "YWJ\u0441", "YWJj\x00"],
)
def test_other_spellings_are_refused(text: str) -> None:
    """Padding, stray bits, blanks, the other alphabet and look-alike letters are not the same bytes in disguise."""
    with pytest.raises(ValueError, match=r"base64url|stray|whole"):
        decode_base64url(text)


def test_plain_object_is_read() -> None:
    """Every JSON type arrives as itself."""
    assert load_object(b' {"a":1,"b":-1.5,"c":"\\u00e9","d":[true,null],"e":{}} ') == {
        "a": 1,
        "b": -1.5,
        "c": "é",
        "d": [True, None],
        "e": {},
    }


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b"{} {}",
        b"{}x",
        b"{,}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":9223372036854775808}',
        b'{"a":-9223372036854775809}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":01}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":["\\ud800\\ud800"]}',
        b'{"a":"\n"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        nested(MAX_DEPTH + 1),
        nested(100_000),
        b'{"a":' * 20 + b"1" + b"}" * 20,
    ],
    ids=range(32),
)
def test_broken_or_ambiguous_json_is_refused(raw: bytes) -> None:
    """Two parsers could read these differently, or fall over them: nobody gets to choose."""
    with pytest.raises(ValueError, match=r".+"):
        load_object(raw)


def test_the_bounds_themselves_are_accepted() -> None:
    """The deepest nesting and the largest integers allowed are read."""
    load_object(nested(MAX_DEPTH))
    assert load_object(b'{"a":9223372036854775807,"b":-9223372036854775808}') == {"a": 2**63 - 1, "b": -(2**63)}
    assert load_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "😀"}
