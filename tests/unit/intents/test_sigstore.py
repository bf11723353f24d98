"""What requests to Sigstore's services mean."""

import hashlib
import json
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import CertificateSigningRequestBuilder, Name

from proxy.intents import sigstore
from proxy.intents.sigstore_entry import LIMIT
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"sigstore"})
NOBODY: frozenset[str] = frozenset()
FULCIO, REKOR, STAMPS = "fulcio.sigstore.dev", "rekor.sigstore.dev", "timestamp.sigstore.dev"
MIRROR, LOGIN = "tuf-repo-cdn.sigstore.dev", "oauth2.sigstore.dev"
NEW = "log2025-1.rekor.sigstore.dev"
OWN = "sign.example"
JSON = "application/json"
STAMP = "application/timestamp-query"
HELLO = hashlib.sha256(b"hello").hexdigest()
QUERY = bytes.fromhex(f"30390201013031300d060960864801650304020105000420{HELLO}0101ff")
ENTRY = json.dumps(
    {
        "kind": "hashedrekord",
        "apiVersion": "0.0.1",
        "spec": {"data": {"hash": {"algorithm": "sha256", "value": HELLO}}},
    }
).encode()
REQUEST = json.dumps(
    {"hashedRekordRequestV002": {"digest": b64encode(bytes.fromhex(HELLO)).decode(), "signature": {"verifier": {}}}}
).encode()
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
CSR = CertificateSigningRequestBuilder().subject_name(Name([])).sign(PRIVATE, hashes.SHA256())
KEY_FACTS = {"algorithm": "ecdsa-p256", "public_key": f"sha256:{hashlib.sha256(KEY).hexdigest()}"}


def ask(
    line: str,
    host: str,
    *,
    body: bytes | None = None,
    content_type: str = "",
    headers: Headers = (),
    spoken: frozenset[str] = NOBODY,
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path[?query]`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=((("content-type", content_type),) if content_type else ()) + headers,
        body_length=None,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    return sigstore.decode(view, spoken)


def read(line: str, host: str, body: bytes | None = None, content_type: str = "") -> Intent:
    answer = ask(line, host, body=body, content_type=content_type, spoken=SPOKEN if host == OWN else NOBODY)
    assert isinstance(answer, Intent)
    return answer


UUID, TREE = "a" * 64, "b" * 80


@pytest.mark.parametrize(
    "line, host, action, effect, facts",
    [
        ("GET /api/v1/rootCert", FULCIO, "trust.get", "read", {}),
        ("GET /api/v2/trustBundle", FULCIO, "trust.get", "read", {}),
        ("GET /api/v2/configuration", "fulcio.sigstage.dev", "trust.get", "read", {}),
        ("GET /api/v1/log", REKOR, "log.get", "read", {}),
        ("HEAD /api/v1/log/publicKey", REKOR, "trust.get", "read", {}),
        ("GET /api/v1/log/proof?firstSize=1&lastSize=2", REKOR, "log.get", "read", {}),
        ("GET /api/v1/log/entries?logIndex=77", REKOR, "entry.get", "read", {"index": "77"}),
        ("GET /api/v1/log/entries?logIndex=x", REKOR, "entry.get", "read", {}),
        (f"GET /api/v1/log/entries/{UUID}", REKOR, "entry.get", "read", {"entry": UUID}),
        (f"GET /api/v1/log/entries/{TREE}/proof", REKOR, "entry.get", "read", {"entry": TREE}),
        ("POST /api/v1/log/entries/retrieve", REKOR, "entry.search", "list", {}),
        ("POST /api/v1/index/retrieve", REKOR, "index.search", "list", {}),
        ("GET /api/v2/checkpoint", NEW, "log.get", "read", {}),
        ("GET /api/v2/tile/0/x001/234.p/7", NEW, "log.get", "read", {}),
        ("GET /api/v2/tile/entries/000", "log2025-alpha1.rekor.sigstage.dev", "log.get", "read", {}),
        ("GET /api/v1/timestamp/certchain", STAMPS, "trust.get", "read", {}),
        ("GET /api/v1/timestamp/certchain", "timestamp.githubapp.com", "trust.get", "read", {}),
        ("GET /10.root.json", MIRROR, "trust.get", "read", {}),
        ("GET /targets/abc.trusted_root.json", "tuf-repo-cdn.sigstage.dev", "trust.get", "read", {}),
        ("GET /auth/.well-known/openid-configuration", LOGIN, "trust.get", "read", {}),
        ("POST /auth/token", LOGIN, "identity.mint", "credential", {}),
        ("POST /auth/device/code", LOGIN, "identity.mint", "credential", {}),
    ],
)
def test_what_needs_no_body(line: str, host: str, action: str, effect: str, facts: dict[str, str]) -> None:
    """Reads, searches and logins are told by their path, with the service's host for their resource."""
    intent = read(line, host)

    assert (intent.name, intent.effect.value, intent.exact) == (f"sigstore {action}", effect, True)
    assert (intent.resource.type, intent.resource.id) == ("sigstore-service", host)
    assert (intent.facts, intent.also) == (facts, ())


@pytest.mark.parametrize(
    "path, body, version",
    [("/api/v1/log/entries", ENTRY, "0.0.1"), ("/api/v2/log/entries", REQUEST, "0.0.2")],
)
@pytest.mark.parametrize("host, prefix", [(REKOR, ""), (OWN, ""), (OWN, "/signing/rekor")])
def test_an_entry_is_published(host: str, prefix: str, path: str, body: bytes, version: str) -> None:
    """An entry is read before anything is said; a log of one's own may stand below a path."""
    line = f"POST {prefix}{path}"
    wanted = ask(line, host, content_type=JSON, spoken=SPOKEN)
    assert isinstance(wanted, BodyWanted)
    assert wanted.limit == LIMIT

    intent = read(line, host, body, f"{JSON}; charset=utf-8")
    assert (intent.action, intent.effect, intent.exact) == ("entry.create", EffectClass.PUBLISH, True)
    assert intent.resource.id == f"{host}{prefix}"
    assert intent.facts == {"kind": "hashedrekord", "version": version, "digest": f"sha256:{HELLO}"}


def test_an_entry_of_another_kind_is_not_exact() -> None:
    """It is published all the same, but of what is not told."""
    intent = read("POST /api/v1/log/entries", REKOR, b'{"kind":"rpm","apiVersion":"0.0.1","spec":{}}', JSON)

    assert (intent.effect, intent.exact) == (EffectClass.PUBLISH, False)
    assert intent.facts == {"kind": "rpm", "version": "0.0.1"}


STAMP_JSON = json.dumps({"artifactHash": b64encode(bytes.fromhex(HELLO)).decode(), "hashAlgorithm": "SHA-256"}).encode()


@pytest.mark.parametrize(
    "line, host, body, content_type",
    [
        ("POST /api/v1/timestamp", STAMPS, QUERY, STAMP),
        ("POST /api/v1/timestamp", STAMPS, STAMP_JSON, JSON),
        ("POST /api/v1/timestamp", OWN, QUERY, STAMP),
        ("POST /tsr", OWN, QUERY, STAMP),
        ("POST /", OWN, QUERY, STAMP),
    ],
)
def test_a_timestamp_is_a_signature(line: str, host: str, body: bytes, content_type: str) -> None:
    """What is stamped is told, from DER and from JSON; another make's authority may stand anywhere."""
    assert isinstance(ask(line, host, content_type=content_type, spoken=SPOKEN), BodyWanted)
    intent = read(line, host, body, content_type)

    assert (intent.action, intent.effect, intent.exact) == ("timestamp.sign", EffectClass.EXECUTE, True)
    assert (intent.resource.id, intent.facts) == (host, {"digest": f"sha256:{HELLO}"})


TOKEN = {"credentials": {"oidcIdentityToken": "job-token"}}


@pytest.mark.parametrize(
    "version, document",
    [
        ("v2", {"publicKeyRequest": {"publicKey": {"algorithm": "ECDSA", "content": PEM.decode()}}}),
        ("v2", {"public_key_request": {"public_key": {"content": PEM.decode()}}}),
        ("v2", {"certificateSigningRequest": b64encode(CSR.public_bytes(Encoding.PEM)).decode()}),
        ("v1", {"publicKey": {"algorithm": "ecdsa", "content": b64encode(KEY).decode()}, "signedEmailAddress": "x"}),
        ("v1", {"publicKey": {"content": b64encode(PEM).decode()}}),
        ("v1", {"certificateSigningRequest": b64encode(CSR.public_bytes(Encoding.DER)).decode()}),
    ],
)
def test_a_certificate_is_a_credential(version: str, document: Any) -> None:
    """The key is told by its algorithm and hash; the token in the request is not looked at."""
    line = f"POST /api/{version}/signingCert"
    assert isinstance(ask(line, FULCIO, content_type=JSON), BodyWanted)
    intent = read(line, FULCIO, json.dumps(document | TOKEN).encode(), JSON)

    assert (intent.action, intent.effect, intent.exact) == ("certificate.sign", EffectClass.CREDENTIAL, True)
    assert (intent.resource.id, intent.facts) == (FULCIO, KEY_FACTS)


@pytest.mark.parametrize(
    "line, host",
    [
        ("GET /", FULCIO),
        ("DELETE /api/v2/signingCert", FULCIO),
        ("POST /dev.sigstore.fulcio.v2.CA/CreateSigningCertificate", FULCIO),
        ("POST /api/v1/log/entries/", REKOR),
        ("GET /api/v1/log/entries/short", REKOR),
        (f"DELETE /api/v1/log/entries/{UUID}", REKOR),
        ("POST /api/v2/log/identities", NEW),
        ("GET /api/v2/tile/0/../x", NEW),
        ("GET /auth/keys", REKOR),
        ("PUT /1.root.json", MIRROR),
        ("GET /auth/auth", LOGIN),
        (f"GET /api/v1/log/entries/{UUID}", LOGIN),
        ("POST /other/api/v1/log/entries", REKOR),
        ("POST /", STAMPS),
        ("POST /sub/api/v1/log/other", OWN),
        ("PUT /api/v2/signingCert", OWN),
        ("GET /api/v3/log", OWN),
        ("PUT /api/v1/timestamp", OWN),
    ],
)
def test_the_rest_is_unknown(line: str, host: str) -> None:
    """A path or method that the services do not know has an unknown effect."""
    intent = read(line, host, content_type=STAMP if host == STAMPS else "")

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)
    assert intent.resource.id == f"{host}{line.partition(' ')[2]}"


@pytest.mark.parametrize(
    "line, host, content_type, spoken",
    [
        ("POST /api/v1/log/entries", OWN, JSON, frozenset({"oci"})),
        ("GET /", "docs.sigstore.dev", "", NOBODY),
        ("GET /", "fulcio.sigstore.dev.example", "", NOBODY),
        ("GET /", "evil-fulcio.sigstore.dev", "", NOBODY),
        ("GET /api/v1/users", OWN, "", SPOKEN),
        ("POST /login", OWN, JSON, SPOKEN),
        ("GET /tsr", OWN, STAMP, SPOKEN),
        ("POST /auth/token", OWN, JSON, SPOKEN),
    ],
)
def test_other_requests_are_not_read(line: str, host: str, content_type: str, spoken: frozenset[str]) -> None:
    """Elsewhere only the services' own paths are read, and only where a rule speaks sigstore."""
    assert ask(line, host, content_type=content_type, spoken=spoken) is None


OVERRIDE = (("x-http-method-override", "GET"),)


@pytest.mark.parametrize(
    "line, host, body, content_type, headers",
    [
        ("POST /api/v1/log/entries", REKOR, ENTRY, "application/yaml", ()),
        ("POST /api/v1/log/entries", REKOR, ENTRY, "", ()),
        ("POST /api/v1/log/entries", REKOR, ENTRY, JSON, OVERRIDE),
        ("POST /api/v1/log/entries", REKOR, ENTRY, JSON, (("content-type", "application/yaml"),)),
        ("POST /api/v1/log/entries", REKOR, b"kind: rpm", JSON, ()),
        ("POST /api/v2/log/entries", REKOR, ENTRY, JSON, ()),
        ("GET /api/v1/log/entries?logIndex=1&logIndex=2", REKOR, None, "", ()),
        ("POST /a%20b//api/v1/log/entries", OWN, ENTRY, JSON, ()),
        ("POST /api/v1/timestamp", STAMPS, QUERY, "", ()),
        ("POST /api/v1/timestamp", STAMPS, QUERY, JSON, ()),
        ("POST /api/v1/timestamp", STAMPS, STAMP_JSON, STAMP, ()),
        ("POST /api/v1/timestamp", STAMPS, b'{"artifactHash":"AAAA","hashAlgorithm":"sha256"}', JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b"[]", JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b"{}", JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b'{"publicKeyRequest":{}}', JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b'{"publicKeyRequest":{"publicKey":{"content":"x"}}}', JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b'{"publicKeyRequest":7}', JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b'{"certificateSigningRequest":7}', JSON, ()),
        ("POST /api/v2/signingCert", FULCIO, b'{"certificateSigningRequest":"eA=="}', JSON, ()),
        ("POST /api/v1/signingCert", FULCIO, b'{"publicKey":{"content":"eA=="},"public_key":{}}', JSON, ()),
        (
            "POST /api/v1/signingCert",
            FULCIO,
            b'{"publicKey":{"content":"eA=="},"certificateSigningRequest":"eA=="}',
            JSON,
            (),
        ),
    ],
)
def test_hostile_requests_are_refused(
    line: str, host: str, body: bytes | None, content_type: str, headers: Headers
) -> None:
    """A body in a format with more than one reading, of another version, or without a key is denied."""
    with pytest.raises(IntentError):
        ask(line, host, body=body, content_type=content_type, headers=headers, spoken=SPOKEN)
