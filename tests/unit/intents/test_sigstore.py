"""What Sigstore is asked to sign, publish and stamp."""

import base64
import hashlib
import json
from typing import Any

import pytest

from proxy.intents import sigstore
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

NONE: frozenset[str] = frozenset()
JSON: Headers = (("content-type", "application/json"),)
DIGEST = hashlib.sha256(b"artifact")
ENCODED = base64.b64encode(DIGEST.digest()).decode()
READ, LIST, PUBLISH, EXECUTE, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.PUBLISH,
    EffectClass.EXECUTE,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)


def ask(
    line: str,
    body: Any = None,
    host: str = "rekor.sigstore.dev",
    spoken: frozenset[str] = NONE,
    headers: Headers = (),
) -> Intent | BodyWanted | None:
    method, _, path = line.partition(" ")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sigstore.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=None,
            headers=headers,
            body=None if body is None else BodyPrefix(data=data, is_whole=True),
        ),
        spoken,
    )


@pytest.mark.parametrize(
    "line, host, action, effect, what",
    [
        ("POST /api/v2/signingCert", "fulcio.sigstore.dev", "certificate.sign", CREDENTIAL, "/certificate"),
        ("POST /api/v1/signingCert", "fulcio.sigstage.dev", "certificate.sign", CREDENTIAL, "/certificate"),
        ("GET /api/v2/trustBundle", "fulcio.sigstore.dev", "get", READ, "/api/v2/trustBundle"),
        ("GET /9.root.json", "tuf-repo-cdn.sigstore.dev", "get", READ, "/9.root.json"),
        ("POST /api/v1/index/retrieve", "rekor.sigstore.dev", "entry.search", LIST, "/log"),
        ("POST /api/v1/log/entries/retrieve", "rekor.sigstore.dev", "entry.search", LIST, "/log"),
        ("POST /api/v1/new", "rekor.sigstore.dev", "unknown", UNKNOWN, "/api/v1/new"),
        ("DELETE /api/v1/log/entries", "rekor.sigstore.dev", "unknown", UNKNOWN, "/api/v1/log/entries"),
    ],
)
def test_requests(line: str, host: str, action: str, effect: EffectClass, what: str) -> None:
    """A certificate is a credential; what is looked up is a read; the rest nobody knows."""
    found = ask(line, host=host)
    assert isinstance(found, Intent)
    assert (found.name, found.effect, found.resource.id) == (f"sigstore {action}", effect, f"{host}{what}")
    assert found.exact is (action != "unknown")


def hashed(algorithm: str = "sha256", value: str = DIGEST.hexdigest()) -> dict[str, str]:
    return {"algorithm": algorithm, "value": value}


@pytest.mark.parametrize(
    "entry, facts",
    [
        ({"kind": "hashedrekord", "spec": {"data": {"hash": hashed()}}}, f"sha256:{DIGEST.hexdigest()}"),
        ({"kind": "intoto", "spec": {"content": {"payloadHash": hashed("SHA-256")}}}, f"sha256:{DIGEST.hexdigest()}"),
        ({"kind": "intoto", "spec": {"content": {"hash": hashed("sha512", "a" * 128)}}}, f"sha512:{'a' * 128}"),
        ({"kind": "dsse", "spec": {"payloadHash": hashed()}}, f"sha256:{DIGEST.hexdigest()}"),
        ({"kind": "rekord", "spec": {"data": {"hash": hashed("md5")}}}, None),
        ({"kind": "rekord", "spec": {"data": {"hash": hashed(value="x")}}}, None),
        ({"kind": "rekord", "spec": {"data": "x"}}, None),
        ({"kind": "rekord"}, None),
    ],
)
def test_an_entry_is_published(entry: Any, facts: str | None) -> None:
    """With its kind, and the digest of what it is about where it names one."""
    assert isinstance(ask("POST /api/v1/log/entries"), BodyWanted)
    found = ask("POST /api/v1/log/entries", entry)
    assert isinstance(found, Intent)
    assert (found.action, found.effect, found.resource.id) == ("entry.create", PUBLISH, "rekor.sigstore.dev/log")
    assert found.facts == {"kind": entry["kind"], **({"digest": facts} if facts else {})}


def test_entries_of_rekors_second_version() -> None:
    """Their digest is base64."""
    found = ask("POST /api/v2/log/entries", {"hashedRekordRequestV002": {"digest": ENCODED}})
    other = ask("POST /api/v2/log/entries", {"dsseRequestV002": {"envelope": {}}})
    assert isinstance(found, Intent)
    assert isinstance(other, Intent)
    assert found.facts == {"kind": "hashedrekord", "digest": f"sha256:{DIGEST.hexdigest()}"}
    assert other.facts == {"kind": "dsse"}


def der(identifier: str, digest: bytes) -> bytes:
    """A TimeStampReq: version 1, the imprint, no policy."""
    oid = bytes.fromhex(identifier)
    algorithm = b"\x30" + bytes([len(oid) + 4]) + b"\x06" + bytes([len(oid)]) + oid + b"\x05\x00"
    imprint = algorithm + b"\x04" + bytes([len(digest)]) + digest
    inner = b"\x02\x01\x01\x30" + bytes([len(imprint)]) + imprint
    return b"\x30" + bytes([len(inner)]) + inner


@pytest.mark.parametrize(
    "body, headers, digest",
    [
        ({"artifactHash": ENCODED, "hashAlgorithm": "sha256"}, JSON, f"sha256:{DIGEST.hexdigest()}"),
        ({"artifactHash": ENCODED, "hashAlgorithm": "md5"}, JSON, None),
        ({"hashAlgorithm": 1}, JSON, None),
        (der("608648016503040201", DIGEST.digest()), (), f"sha256:{DIGEST.hexdigest()}"),
        (der("608648016503040203", b"\x01" * 64), (), f"sha512:{'01' * 64}"),
        (der("2b0e03021a", b"\x02" * 20), (), f"sha1:{'02' * 20}"),
        (der("608648016503040201", DIGEST.digest())[:-4], (), None),
        (b"\x30\x00", (), None),
    ],
)
def test_a_timestamp(body: Any, headers: Headers, digest: str | None) -> None:
    """Of a digest, told from JSON and from DER alike."""
    found = ask("POST /api/v1/timestamp", body, host="timestamp.sigstore.dev", headers=headers)
    assert isinstance(found, Intent)
    assert (found.action, found.effect) == ("timestamp.sign", EXECUTE)
    assert found.facts == ({"digest": digest} if digest else {})


@pytest.mark.parametrize(
    "line, body, headers",
    [
        ("POST /api/v1/log/entries", b"[]", ()),
        ("POST /api/v1/log/entries", {}, ()),
        ("POST /api/v1/log/entries", b'{"kind": "a", "kind": "b"}', ()),
        ("POST /api/v1/log/entries", {"Kind": "a", "kind": "b"}, ()),
        ("POST /api/v2/log/entries", {"hashedRekordRequestV002": {"digest": "%"}}, ()),
        ("GET /api/v1/log", None, (("x-http-method-override", "POST"),)),
    ],
)
def test_two_readings_are_refused(line: str, body: Any, headers: Headers) -> None:
    """No kind, two, or digests that are none."""
    with pytest.raises(IntentError):
        ask(line, body, headers=headers)


def test_an_instance_of_ones_own() -> None:
    """Where rules say so."""
    assert ask("GET /api/v1/log", host="rekor.acme.example") is None
    assert ask("GET /api/v1/log", host="rekor.acme.example", spoken=frozenset({"sigstore"})) is not None
