"""Statements as in-toto, SLSA and DSSE have them, opened by an implementation that is not ours."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.model.errors import AuditError
from proxy.reports.statement import make_statement, open_envelope, pre_authentication, seal
from proxy.reports.tracing import Trace, read_target, trace
from tests.fakes.reported import COMMIT, HEX, Trail, sample

KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32)


def found(trail: Trail | None = None, text: str = "job-deploy") -> Trace:
    records = (trail or sample()).records
    return trace(lambda: iter(records), read_target(text), 0)


def statement(trail: Trail | None = None, text: str = "job-deploy") -> dict[str, Any]:
    result = found(trail, text)
    return make_statement(result, result.jobs[0], "agents/one")


def test_it_says_what_was_published_from_what() -> None:
    """Subjects with digests; the commit and what was fetched as dependencies; who, when, and where it is on record."""
    made = statement()
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert made["predicateType"] == "https://slsa.dev/provenance/v1"
    assert made["subject"] == [{"name": "image", "digest": {"sha256": "cd" * 32}}]
    definition, run = made["predicate"]["buildDefinition"], made["predicate"]["runDetails"]
    assert definition["externalParameters"] == {"pipeline": "web", "step": "deploy"}
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": "1234567" + "0" * 33}
    assert definition["resolvedDependencies"][1]["digest"] == {"sha256": HEX}
    assert run["builder"]["id"] == "https://ci.example"
    assert run["metadata"]["invocationId"] == "job-deploy"
    assert run["metadata"]["startedOn"] < run["metadata"]["finishedOn"]
    assert run["byproducts"][0]["uri"] == "urn:jobgate:trail:agents/one"


def test_what_is_not_known_is_not_said() -> None:
    """No commit, no times, no issuer: absent, not invented; a repository is the commit's place."""
    trail = Trail()
    trail.job("a", commit=None).publishes("f1")
    made = statement(trail, "job-a")["predicate"]
    assert made["buildDefinition"]["resolvedDependencies"] == []
    assert made["runDetails"]["metadata"] == {"invocationId": "job-a"}
    assert made["runDetails"]["builder"]["id"] == "urn:jobgate:unknown-issuer"
    trail = Trail()
    trail.job("a", repository="https://git.example/web").publishes("f1")
    (source,) = statement(trail, "job-a")["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source == {"digest": {"gitCommit": COMMIT}, "name": "source", "uri": "git+https://git.example/web"}


def test_nothing_published_is_nothing_to_state() -> None:
    """There is no statement without a subject."""
    with pytest.raises(AuditError, match="published nothing"):
        statement(text="job-other")


def test_what_is_signed_is_what_dsse_says() -> None:
    """The protocol's own example of the pre-authentication encoding; a signature over it that cryptography takes."""
    example = pre_authentication("http://example.com/HelloWorld", b"hello world")
    assert example == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    envelope = seal(statement(), KEY, "key-1")
    payload = b64decode(envelope["payload"])
    signed = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    KEY.public_key().verify(b64decode(envelope["signatures"][0]["sig"]), signed)
    assert envelope["signatures"][0]["keyid"] == "key-1"
    assert open_envelope(envelope, KEY.public_key()) == statement()


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda e: [], "not a DSSE envelope of"),
        (lambda e: {**e, "payloadType": "text/plain"}, "not a DSSE envelope of"),
        (lambda e: {**e, "payload": "?"}, "cannot be read"),
        (lambda e: {**e, "signatures": 7}, "cannot be read"),
        (lambda e: {**e, "signatures": [{}]}, "cannot be read"),
        (lambda e: {**e, "signatures": []}, "none of its signatures"),
        (lambda e: {**e, "payload": b64encode(b64decode(e["payload"]) + b" ").decode()}, "none of its signatures"),
    ],
)
def test_what_was_altered_does_not_open(change: Any, said: str) -> None:
    """Any change of payload, type or signature is found."""
    with pytest.raises(AuditError, match=said):
        open_envelope(change(seal(statement(), KEY, "key-1")), KEY.public_key())


def test_another_key_and_another_thing_do_not_pass() -> None:
    """Signed by somebody else, or signed and no statement."""
    with pytest.raises(AuditError, match="none of its signatures"):
        open_envelope(seal(statement(), KEY, "k"), Ed25519PrivateKey.generate().public_key())
    for payload in (b"no JSON", b"[]", b'{"_type": "other"}'):
        signature = KEY.sign(pre_authentication("application/vnd.in-toto+json", payload))
        envelope = {
            "payloadType": "application/vnd.in-toto+json",
            "payload": b64encode(payload).decode(),
            "signatures": [{"sig": b64encode(signature).decode()}],
        }
        with pytest.raises(AuditError, match="no in-toto statement"):
            open_envelope(json.loads(json.dumps(envelope)), KEY.public_key())
