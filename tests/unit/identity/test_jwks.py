"""What an issuer publishes is read strictly; what is unusable is passed over, what is broken is refused."""

import json
from typing import Any

import pytest

from proxy.identity.jwks import MAX_DOCUMENT, discovery_url, read_discovery, read_keys
from proxy.model.errors import IssuerError
from tests.fakes.keys import SigningKey, encode, signing_key

ISSUER = "https://id.acme.test"
KEY = signing_key("RS256")
EC_KEY = SigningKey("ES256", "ec", signing_key("ES256").private)


def document(**changes: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", **changes}).encode()


def published(*entries: Any) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


@pytest.mark.parametrize("issuer", [ISSUER, ISSUER + "/"])
def test_the_discovery_document_has_one_place(issuer: str) -> None:
    """Its address follows from the issuer's name alone."""
    assert discovery_url(issuer) == "https://id.acme.test/.well-known/openid-configuration"
    assert (
        discovery_url("https://h.test/_services/token")
        == "https://h.test/_services/token/.well-known/openid-configuration"
    )


@pytest.mark.parametrize("address", [f"{ISSUER}/keys", "https://id.acme.test:443/a?b=c", "https://ID.acme.test/keys"])
def test_keys_at_the_issuers_host_are_found(address: str) -> None:
    """Any https address at the same host and port will do."""
    assert read_discovery(document(jwks_uri=address), ISSUER) == address


@pytest.mark.parametrize(
    "raw",
    [
        document(issuer=ISSUER + "/"),
        document(issuer="https://evil.test"),
        document(issuer=None),
        document(issuer=[ISSUER]),
        *[
            document(jwks_uri=address)
            for address in (
                None,
                "",
                1,
                "http://id.acme.test/keys",
                "file:///etc/passwd",
                "ftp://id.acme.test/keys",
                "//id.acme.test/keys",
                "/keys",
                "https://evil.test/keys",
                "https://id.acme.test.evil.test/keys",
                "https://id.acme.test@evil.test/keys",
                "https://user@id.acme.test/keys",
                "https://id.acme.test:8443/keys",
                "https://id.acme.test:99999/keys",
                "https://[::1/keys",
                "https://169.254.169.254/keys",
                "https://id.acme.test/ke ys",
                "https://id.acme.test/keys\r\nX: y",
                "https://id.acme.test/keys#x",
                "https://id.acm\u0435.test/keys",
                "https:///keys",
            )
        ],
        b"",
        b"not json",
        b"[]",
        b"<html>",
        b'{"issuer":"https://evil.test","issuer":"https://id.acme.test","jwks_uri":"https://id.acme.test/keys"}',
        b" " * (MAX_DOCUMENT + 1),
    ],
    ids=range(31),
)
def test_a_lying_discovery_document_is_refused(raw: bytes) -> None:
    """Another issuer's name, another host, another scheme, or no strict JSON: nothing is fetched on its word."""
    with pytest.raises(IssuerError, match=r"discovery document"):
        read_discovery(raw, ISSUER)


def test_usable_keys_are_kept_and_others_passed_over() -> None:
    """One good key among bad ones is still found; keys of another use, family, size or shape are not."""
    weak = SigningKey("RS256", "weak", signing_key("RS256", "weak", 1024).private)
    short = encode(b"\1\0\1")
    bad: list[Any] = [
        KEY.jwk(use="enc"),
        KEY.jwk(use=""),
        KEY.jwk(use=["sig"]),
        KEY.jwk(key_ops=["sign"]),
        KEY.jwk(key_ops=[]),
        KEY.jwk(key_ops="verify"),
        KEY.jwk(alg="RS512"),
        KEY.jwk(alg="HS256"),
        KEY.jwk(alg=["RS256"]),
        KEY.jwk(kty="oct", k="AAAA"),
        KEY.jwk(kty="rsa"),
        KEY.jwk(kty=["RSA"]),
        KEY.jwk(kty=None),
        KEY.jwk(n=None),
        KEY.jwk(n=1),
        KEY.jwk(n=""),
        KEY.jwk(n=KEY.jwk()["n"] + "="),
        KEY.jwk(n="A" * 3000),
        KEY.jwk(e=None),
        KEY.jwk(e=encode(b"\2")),
        KEY.jwk(e=encode(b"\1")),
        KEY.jwk(n=short),
        KEY.jwk(kid=""),
        KEY.jwk(kid=1),
        KEY.jwk(kid="x" * 257),
        weak.jwk(),
        EC_KEY.jwk(),
        EC_KEY.jwk(alg=None),
        EC_KEY.jwk(alg="RS256"),
        EC_KEY.jwk(crv="P-999", alg=None),
        EC_KEY.jwk(x=encode(bytes(32)), alg=None),
        signing_key("EdDSA").jwk(alg=None),
        signing_key("EdDSA").jwk(crv="X25519", alg=None),
        None,
        1,
        "key",
        [],
    ]

    found = read_keys(published(*bad, KEY.jwk(), *bad[:20]), ISSUER, ("RS256",))

    assert [(key.kid, key.algorithm) for key in found.keys] == [("key-1", "RS256")]
    assert found.issuer == ISSUER
    for entry in bad:
        with pytest.raises(IssuerError, match="no usable"):
            read_keys(published(entry), ISSUER, ("RS256",))


def test_a_key_without_algorithm_serves_those_it_fits() -> None:
    """An untagged RSA key verifies each trusted RSA algorithm; keys of one id are all kept; private parts are not."""
    private = KEY.private.private_numbers()
    leaked = KEY.jwk(alg=None, kid=None, d=encode(private.d.to_bytes(256)), use=None, key_ops=["verify", "sign"])

    found = read_keys(published(leaked, KEY.jwk(kid="a"), KEY.jwk(kid="a")), ISSUER, ("RS256", "PS256"))

    assert [(key.kid, key.algorithm) for key in found.keys] == [
        (None, "RS256"),
        (None, "PS256"),
        ("a", "RS256"),
        ("a", "RS256"),
    ]
    assert all(not hasattr(key.key, "private_numbers") for key in found.keys)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_other_families_are_read_too(algorithm: str) -> None:
    """Curve keys are kept for their own algorithm."""
    key = signing_key(algorithm)

    assert len(read_keys(published(key.jwk()), ISSUER, (algorithm,)).keys) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[],"keys":[]}',
        b"<html>",
        published(*[KEY.jwk()] * 65),
        published(KEY.jwk()) + b"x",
        b" " * (MAX_DOCUMENT + 1),
        b'{"keys":' + b"[" * 50 + b"]" * 50 + b"}",
    ],
    ids=range(11),
)
def test_what_is_no_key_set_is_refused(raw: bytes) -> None:
    """Broken, huge and empty answers are faults of the issuer, not a new set of keys."""
    with pytest.raises(IssuerError, match="key set"):
        read_keys(raw, ISSUER, ("RS256",))
