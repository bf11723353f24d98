"""Forged, twisted and ambiguous tokens: hundreds of them, none accepted, each refused for the right reason.

Rows follow RFC 8725 and the shapes of the public JWS test vectors; all are constructed here.
"""

import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256, sha384, sha512
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.identity.strict import decode_base64url
from proxy.identity.tokens import replay_key, verify
from proxy.model.errors import TokenError
from proxy.model.identity import KeySet, TrustedIssuer, UnverifiedToken
from proxy.model.reason import Reason
from tests.fakes import claims as shapes
from tests.fakes.keys import SigningKey, encode, encode_json, key_set, signing_key

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ISSUER = "https://agent.buildkite.com"
KEY = signing_key("RS256")
EC_KEY = SigningKey("ES256", "ec-1", signing_key("ES256").private)
KEYS = key_set(ISSUER, KEY, EC_KEY)
TRUSTED = TrustedIssuer(
    provider="buildkite", issuer=ISSUER, audience=shapes.AUDIENCE, bound={"organization_slug": "acme"}
)
CLAIMS = shapes.buildkite(NOW)
BODY = encode_json(CLAIMS)
HEADER = encode_json({"alg": "RS256", "kid": "key-1", "typ": "JWT"})
GOOD = KEY.sign(CLAIMS)
MALFORMED, ALGORITHM = Reason.IDENTITY_MALFORMED, Reason.IDENTITY_ALGORITHM
SIGNATURE, NO_KEY = Reason.IDENTITY_SIGNATURE, Reason.IDENTITY_KEY

type Row = tuple[str, str, Reason]


def signed(header: dict[str, Any] | bytes, body: str = BODY) -> str:
    """Properly signed by the right key, whatever the header says."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return KEY.sign_parts(encode(raw), body, "RS256")


def none_rows() -> Iterator[Row]:
    for name in ("none", "None", "NONE", "nOnE", "none ", " none", "none\0", "n\u043ene", "", "null", "NoNe"):
        header = encode_json({"alg": name, "kid": "key-1"})
        yield f"alg {name!r}, empty signature", f"{header}.{BODY}.", MALFORMED
        yield f"alg {name!r}, no third part", f"{header}.{BODY}", MALFORMED
        yield f"alg {name!r}, any signature", f"{header}.{BODY}.AAAA", ALGORITHM
        yield f"alg {name!r}, the good signature", f"{header}.{BODY}.{GOOD.rpartition('.')[2]}", ALGORITHM


def hmac_rows() -> Iterator[Row]:
    public = KEY.public
    spellings = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "pem without end": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).rstrip(),
        "pkcs1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(KEY.jwk()).encode(),
        "modulus": KEY.jwk()["n"].encode(),
        "empty": b"",
        "kid": b"key-1",
    }
    for name, how in (("HS256", sha256), ("HS384", sha384), ("HS512", sha512)):
        header = encode_json({"alg": name, "kid": "key-1"})
        for spelling, secret in spellings.items():
            made = hmac.new(secret, f"{header}.{BODY}".encode(), how).digest()
            yield f"{name} with the public key as {spelling}", f"{header}.{BODY}.{encode(made)}", ALGORITHM


def algorithm_rows() -> Iterator[Row]:
    for value in (
        "rs256", "RS-256", "RS256 ", " RS256", "RS384", "RS512", "PS256", "ES256", "EdDSA", "RSA", "SHA256withRSA",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "dir", "RSA-OAEP", "A256GCM", "RS256\n", "R\u0405256",
    ):  # fmt: skip
        yield f"alg {value!r}", signed({"alg": value, "kid": "key-1"}), ALGORITHM
    for odd in (None, 1, True, [], ["RS256"], {}, {"RS256": 1}, 1.5):
        yield f"alg {odd!r}", signed({"alg": odd, "kid": "key-1"}), ALGORITHM
    yield "no alg", signed({"kid": "key-1"}), ALGORITHM
    yield "the EC key's id with RS256", signed({"alg": "RS256", "kid": "ec-1"}), ALGORITHM
    other = EC_KEY.sign(CLAIMS)
    yield "a key of the issuer in an algorithm not trusted", other, ALGORITHM


def header_rows() -> Iterator[Row]:
    base = {"alg": "RS256", "kid": "key-1"}
    for name, values in {
        "crit": ([], ["exp"], ["b64"], ["crit"], "exp", None, {}, [1], ["kid"]),
        "jku": ("https://evil.test/jwks", ISSUER + "/.well-known/jwks", "", None, "file:///etc/passwd"),
        "x5u": ("https://evil.test/cert", "", None),
        "jwk": (KEY.jwk(), {}, None, "x"),
        "x5c": (["MIIB"], []),
        "b64": (False, True, None, "false"),
        "zip": ("DEF", "", None),
        "cty": ("JWT", "jwt", "json", "", None),
        "enc": ("A256GCM",),
        "epk": ({},),
        "apu": ("x",),
        "p2c": (1,),
        "nonce": ("x",),
        "Alg": ("none",),
        "ALG": ("RS256",),
        "alg ": ("none",),
        "a\u04c0g": ("none",),
        "": ("x",),
        "iss": (ISSUER,),
        "exp": (1,),
        "http://example.test/ext": (True,),
    }.items():
        for value in values:
            yield f"header {name}={value!r:.20}", signed({**base, name: value}), MALFORMED
    kinds: list[object] = [
        "JWE",
        "JOSE",
        "JOSE+JSON",
        "secevent+jwt",
        "logout+jwt",
        "dpop+jwt",
        "",
        1,
        None,
        [],
        "JWT ",
        "JW\u0422",
    ]
    for kind in kinds:
        yield f"typ {kind!r}", signed({**base, "typ": kind}), MALFORMED


def kid_rows() -> Iterator[Row]:
    for kid in (
        "key-2", "KEY-1", "key-1 ", " key-1", "key-1/../key-1", "../../../../dev/null", "/dev/null", "file:///etc/hosts",
        "https://evil.test/key", "' OR '1'='1", "key-1' UNION SELECT 'x", "key-1%00", "$(id)", "`id`", "|id", "*", ".*",
        "key-?", "key\u20101", "k\u0435y-1", "0", "null", "None", "undefined", "x" * 256, "\u00e9", "__proto__",
        "constructor", "{{7*7}}", "${jndi:ldap://evil.test}",
    ):  # fmt: skip
        yield f"kid {kid!r:.30}", signed({"alg": "RS256", "kid": kid}), NO_KEY
    odds: list[object] = [
        None,
        "",
        1,
        True,
        [],
        ["key-1"],
        {},
        "x" * 257,
        "key-1\0",
        "key-1\n",
        "\x1b[31m",
        "key-1\u2028",
        1.0,
    ]
    for odd in odds:
        yield f"kid {odd!r:.30}", signed({"alg": "RS256", "kid": odd}), MALFORMED


def shape_rows() -> Iterator[Row]:
    head, body, tail = GOOD.split(".")
    for text in (
        "", ".", "..", "...", "....", "a", "a.b", "a.b.c", head, f"{head}.{body}", f"{head}.{body}.", f".{body}.{tail}",
        f"{head}..{tail}", f"{GOOD}.", f".{GOOD}", f"{GOOD}.{tail}", f"{head}.{body}.{tail}.{tail}.{tail}", f" {GOOD}",
        f"{GOOD} ", f"{GOOD}\n", f"\n{GOOD}", f"Bearer {GOOD}", f'"{GOOD}"', GOOD.replace(".", ":"), f"{GOOD}\0",
        GOOD.replace(".", "\uff0e"), f"{GOOD},{GOOD}", f"\ufeff{GOOD}", json.dumps({"payload": body, "signatures": []}),
        f"{head}=.{body}.{tail}", f"{head}.{body}==.{tail}", f"{head}.{body}.{tail}=", f"{head}.{body}.{tail}==",
        f"{head}.{body}\n.{tail}",
        f"{head}.{body[:10]} {body[10:]}.{tail}",
        f"{head}.{body}.{tail[:-1]}",
        f"{head}.{body}.{tail[:9]}+{tail[10:]}",
        f"{head}.{body}.{tail[:9]}/{tail[10:]}",
        f"{head}.{body}.\u0430{tail[1:]}", f"{head}.{body}.{tail[:5]}\r\n{tail[5:]}", "\ud800.\ud800.\ud800", "é.é.é",
        f"{head}.{body}.{tail}#", f"{head}.{body}.{tail}?x=1", f"{head}%2E{body}%2E{tail}", "a.b.c.d.e",
    ):  # fmt: skip
        yield "shape", text, MALFORMED
    # 256 bytes end in a letter with four idle bits: fifteen other letters would decode to the same signature.
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    start = last.index(tail[-1])
    for letter in last[start + 1 : start + 16]:
        yield "stray bits", f"{head}.{body}.{tail[:-1]}{letter}", MALFORMED


def json_rows() -> Iterator[Row]:
    claims = json.dumps(CLAIMS)[:-1].encode()
    for extra in (
        b',"iss":"x"}', b',"aud":"x"}', b',"exp":9999999999}', b',"\\u0069ss":"https://evil.test"}', b',"sub":NaN}',
        b',"x":Infinity}', b',"x":-Infinity}', b',"x":1e999}', b',"x":' + b"9" * 30 + b"}", b',"x":"\\ud800"}',
        b',"x":' + b"[" * 20 + b"]" * 20 + b"}", b',"x":' + b"[" * 4000 + b"]" * 4000 + b"}", b'}{"iss":"x"}', b"",
        b",}",
        b"}}", b'} {"a":1}', b"}\0", b',"x":"\xff"}', b',"x":"\x01"}', b',"x":01}', b',"x":+1}', b",'x':1}", b"}//",
        b',"x":0x10}', b',"organization_slug":"acme"}', b',"x":{"a":1,"a":2}}', b',"x":tru}', b"} x", b",/**/}",
    ):  # fmt: skip
        raw = claims + extra
        yield f"claims …{extra[:30]!r}", KEY.sign_parts(HEADER, encode(raw)), MALFORMED
    for whole in (
        b"", b"null", b"[]", b'"x"', b"1", b"true", b"{", b"\xef\xbb\xbf" + claims + b"}", b"[" * 9000, b"\xff" * 40,
        json.dumps(CLAIMS).encode("utf-16"), json.dumps(CLAIMS).encode("utf-32"), b"[" + claims + b"}]", GOOD.encode(),
    ):  # fmt: skip
        if whole:
            yield f"claims {whole[:9]!r}", KEY.sign_parts(HEADER, encode(whole)), MALFORMED
    for header in (
        b'{"alg":"RS256","alg":"none"}', b'{"alg":"none","alg":"RS256"}', b'{"alg":"RS256","kid":"x","kid":"key-1"}',
        b'{"alg":"RS256","\\u0061lg":"none"}', b"null", b"[]", b'"RS256"', b"{", b"{}{}", b'{"alg":"RS256"}x', b"\xff",
        b'{"alg":NaN}', b'{"alg":"\\ud800"}', b"[" * 9000, b'{"alg":"RS256","kid":' + b"9" * 40 + b"}",
    ):  # fmt: skip
        yield f"header {header[:40]!r}", signed(header), MALFORMED


def signature_rows() -> Iterator[Row]:
    head, body, tail = GOOD.split(".")
    raw = bytearray(KEY.sign_bytes(f"{head}.{body}".encode()))
    for position in range(0, 256, 8):
        twisted = bytearray(raw)
        twisted[position] ^= 1 << (position // 8 % 8)
        yield f"bit {position} flipped", f"{head}.{body}.{encode(bytes(twisted))}", SIGNATURE
    modulus = KEY.public.public_numbers().n
    shifted = int.from_bytes(raw) + modulus
    for name, value in {
        "zeros": b"\0" * 256,
        "ones": b"\xff" * 256,
        "one byte": b"\1",
        "shorter": bytes(raw[:-1]),
        "longer": bytes(raw) + b"\0",
        "leading zero": b"\0" + bytes(raw),
        "doubled": bytes(raw) * 2,
        "reversed": bytes(raw[::-1]),
        "modulus": modulus.to_bytes(256),
        "modulus added": shifted.to_bytes(257),
        "one": (1).to_bytes(256),
        "modulus less one": (modulus - 1).to_bytes(256),
        "hmac size": bytes(32),
    }.items():
        yield f"signature of {name}", f"{head}.{body}.{encode(value)}", SIGNATURE
    yield "a letter more", GOOD + "A", SIGNATURE
    thief = SigningKey("RS256", "key-1", signing_key("RS256", "thief").private)
    yield "another key under this id", thief.sign(CLAIMS), SIGNATURE
    yield "another key without an id", thief.sign(CLAIMS, {"kid": None}), SIGNATURE
    for name, value in {"organization_slug": "evil", "step_key": "deploy", "exp": CLAIMS["exp"] + 60, "x": 1}.items():
        yield f"claim {name} changed", f"{head}.{encode_json({**CLAIMS, name: value})}.{tail}", SIGNATURE
    yield "header changed", f"{encode_json({'alg': 'RS256', 'kid': 'key-1'})}.{body}.{tail}", SIGNATURE
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        yield f"signed with {algorithm}", KEY.sign_parts(HEADER, BODY, algorithm), SIGNATURE
    yield "signature over the claims alone", f"{head}.{body}.{encode(KEY.sign_bytes(body.encode()))}", SIGNATURE
    decoded = json.dumps(CLAIMS).encode()
    yield "signature over the decoded claims", f"{head}.{body}.{encode(KEY.sign_bytes(decoded))}", SIGNATURE


ROWS: list[Row] = [
    row
    for rows in (
        none_rows, hmac_rows, algorithm_rows, header_rows, kid_rows, shape_rows, json_rows, signature_rows,
    )
    for row in rows()
]  # fmt: skip


def refusal(token: str, keys: KeySet = KEYS, trusted: TrustedIssuer = TRUSTED) -> TokenError:
    with pytest.raises(TokenError) as caught:
        verify(UnverifiedToken(token), keys, trusted, NOW)
    return caught.value


@pytest.mark.parametrize(
    "token,reason", [row[1:] for row in ROWS], ids=[f"{index} {row[0]!a}" for index, row in enumerate(ROWS)]
)
def test_forged_tokens_are_refused(token: str, reason: Reason) -> None:
    """No forged, twisted or ambiguous token is accepted, and the refusal never repeats it."""
    error = refusal(token)

    assert error.reason is reason
    assert "eyJ" not in str(error)
    assert len(str(error)) < 100


def test_the_table_is_long_and_its_model_is_accepted() -> None:
    """The token all rows are twisted from is valid: they fail for their twist alone."""
    assert len(ROWS) >= 300
    verify(GOOD, KEYS, TRUSTED, NOW)


def ec_rows() -> Iterator[tuple[str, bytes]]:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    width = 32
    yield "zeros", bytes(64)
    yield "zero r", bytes(32) + (1).to_bytes(width)
    yield "zero s", (1).to_bytes(width) + bytes(32)
    yield "order as r", order.to_bytes(width) + (1).to_bytes(width)
    yield "order as s", (1).to_bytes(width) + order.to_bytes(width)
    yield "ones", (1).to_bytes(width) * 2
    yield "all bits", b"\xff" * 64
    yield "der", EC_KEY.private.sign(b"x", ECDSA(SHA256()))
    yield "short", bytes(63)
    yield "long", bytes(65)


@pytest.mark.parametrize("signature", [row[1] for row in ec_rows()], ids=[row[0] for row in ec_rows()])
def test_degenerate_ecdsa_signatures_are_refused(signature: bytes) -> None:
    """Zero, order, DER and wrong-length signatures verify nothing ("psychic signatures")."""
    head = encode_json({"alg": "ES256", "kid": "ec-1"})

    error = refusal(f"{head}.{BODY}.{encode(signature)}", trusted=replace(TRUSTED, algorithms=("ES256",)))

    assert error.reason is SIGNATURE


def test_a_mirrored_ecdsa_signature_is_the_same_token() -> None:
    """The second valid spelling of an ECDSA signature does not make a second token."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    token = EC_KEY.sign(CLAIMS)
    head, body, tail = token.split(".")
    raw = decode_base64url(tail)
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    twin = UnverifiedToken(f"{head}.{body}.{encode(mirrored)}")
    trusted = replace(TRUSTED, algorithms=("ES256",))

    assert twin != token
    assert replay_key(twin, verify(twin, KEYS, trusted, NOW)) == replay_key(token, verify(token, KEYS, trusted, NOW))


def test_no_keys_verify_nothing() -> None:
    """An empty key set refuses every token, with and without a key id."""
    for header in ({}, {"kid": None}):
        assert refusal(KEY.sign(CLAIMS, header), KeySet(issuer=ISSUER, keys=())).reason is NO_KEY


def test_weak_keys_verify_nothing() -> None:
    """A 1024-bit key is not used even where an issuer publishes it."""
    weak = SigningKey("RS256", "key-1", signing_key("RS256", "weak", 1024).private)

    assert refusal(weak.sign(CLAIMS), key_set(ISSUER, weak)).reason is SIGNATURE


def test_a_mislabelled_key_verifies_nothing() -> None:
    """A key set that calls an EC key RS256 does not make it one, nor an RSA key ES256."""
    lying = KeySet(issuer=ISSUER, keys=(EC_KEY.verification(kid="key-1", algorithm="RS256"),))

    assert refusal(KEY.sign(CLAIMS), lying).reason is SIGNATURE
