"""What entries for transparency logs say."""

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest

from proxy.intents.sigstore_entry import MAX_SUBJECTS, either, read_entry, read_request
from proxy.model.errors import IntentError

H1, H2 = "1" * 64, "2" * 128
STATEMENT: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "app", "digest": {"sha256": H1}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {},
}
KIND = "application/vnd.in-toto+json"
STATED = {
    "payload_type": KIND,
    "predicate_type": "https://slsa.dev/provenance/v1",
    "subjects": f"sha256:{H1}",
    "subjects_count": "1",
    "digest": f"sha256:{H1}",
}


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def envelope_of(statement: Any = STATEMENT, kind: str = KIND, *, times: int = 1) -> dict[str, Any]:
    raw = encode(statement)
    for _ in range(times):
        raw = b64encode(raw)
    return {"payload": raw.decode(), "payloadType": kind, "signatures": [{"sig": "c2ln"}]}


def entry_of(kind: str, spec: Any, version: str = "0.0.1") -> bytes:
    return encode({"apiVersion": version, "kind": kind, "spec": spec})


def payload_of(statement: Any = STATEMENT) -> str:
    return f"sha256:{hashlib.sha256(encode(statement)).hexdigest()}"


HASHED = {"data": {"hash": {"algorithm": "sha256", "value": H1}}, "signature": {"content": "c2ln"}}
CONTENT = b64encode(b"hello").decode()
HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize(
    "kind, spec, digest",
    [
        ("hashedrekord", HASHED, f"sha256:{H1}"),
        ("hashedrekord", {"data": {"hash": {"algorithm": "sha512", "value": H2}}}, f"sha512:{H2}"),
        ("rekord", {"data": {"hash": {"algorithm": "sha256", "value": H1}}}, f"sha256:{H1}"),
        ("rekord", {"data": {"content": CONTENT}}, f"sha256:{HELLO}"),
        ("rekord", {"data": {"content": CONTENT, "hash": {"algorithm": "sha256", "value": HELLO}}}, f"sha256:{HELLO}"),
    ],
)
def test_entries_of_hashes(kind: str, spec: Any, digest: str) -> None:
    """The digest is the one stated, and that of the content where it is sent."""
    assert read_entry(entry_of(kind, spec)) == ({"kind": kind, "version": "0.0.1", "digest": digest}, True)


@pytest.mark.parametrize(
    "kind, version, spec",
    [
        ("dsse", "0.0.1", {"proposedContent": {"envelope": json.dumps(envelope_of()), "verifiers": ["eA=="]}}),
        ("intoto", "0.0.1", {"content": {"envelope": json.dumps(envelope_of())}}),
        ("intoto", "0.0.2", {"content": {"envelope": envelope_of(times=2)}}),
    ],
)
def test_entries_of_attestations(kind: str, version: str, spec: Any) -> None:
    """A statement's subject and kind are told, in each way an envelope is sent."""
    facts, is_read = read_entry(entry_of(kind, spec, version))

    assert is_read
    assert facts == {"kind": kind, "version": version, "payload": payload_of(), **STATED}


@pytest.mark.parametrize("kind", ["alpine", "cose", "helm", "jar", "rfc3161", "rpm", "tuf"])
def test_other_kinds_are_named(kind: str) -> None:
    """What an entry of another kind is about is not told, nor pretended."""
    assert read_entry(entry_of(kind, {"x": 1})) == ({"kind": kind, "version": "0.0.1"}, False)


def read_statement(statement: Any) -> dict[str, str]:
    return read_request(encode({"dsseRequestV002": {"envelope": envelope_of(statement)}}))


def test_many_subjects() -> None:
    """Every subject counts, so many are stated, and none is the artifact alone."""
    subject = [{"digest": {"sha256": f"{number:064x}"}} for number in range(MAX_SUBJECTS + 1)]
    facts = read_statement({"subject": subject})

    assert len(facts["subjects"].split()) == MAX_SUBJECTS
    assert facts["subjects_count"] == str(MAX_SUBJECTS + 1)
    assert "digest" not in facts
    assert "predicate_type" not in facts


@pytest.mark.parametrize(
    "subject, subjects, digest",
    [
        ([{"digest": {"sha512": H2, "sha256": H1}}], f"sha512:{H2} sha256:{H1}", f"sha256:{H1}"),
        ([{"digest": {"sha512": H2}}], f"sha512:{H2}", f"sha512:{H2}"),
        ([{"digest": {"gitCommit": "abc"}}], "", None),
        ([{"digest": {"sha256": H1}}, {"digest": {"gitCommit": "abc"}}], f"sha256:{H1}", None),
    ],
)
def test_the_digest_of_a_statement(subject: Any, subjects: str, digest: str | None) -> None:
    """Only a statement about one thing has that thing's digest for its own."""
    facts = read_statement({"subject": subject, "predicateType": "a b"})

    assert (facts["subjects"], facts.get("digest")) == (subjects, digest)
    assert "predicate_type" not in facts


def test_payloads_of_other_types() -> None:
    """What is no in-toto statement is told by its type and hash."""
    facts = read_request(encode({"dsse_request_v002": {"envelope": envelope_of([1], "text/plain")}}))

    assert facts == {"kind": "dsse", "version": "0.0.2", "payload_type": "text/plain", "payload": payload_of([1])}


def request_of(**more: Any) -> dict[str, Any]:
    digest = urlsafe_b64encode(bytes.fromhex(H1)).decode().rstrip("=")
    return {"digest": digest, "signature": {"content": "c2ln", "verifier": {"keyDetails": "PKIX_ED25519"}}} | more


@pytest.mark.parametrize("name", ["hashedRekordRequestV002", "hashed_rekord_request_v002"])
def test_hashes_for_the_second_version(name: str) -> None:
    """The hash is told by its length; protobuf's two spellings of a name are one."""
    facts = {"kind": "hashedrekord", "version": "0.0.2", "digest": f"sha256:{H1}"}

    assert read_request(encode({name: request_of()})) == facts | {"key_type": "PKIX_ED25519"}
    for verifier in ({}, {"keyDetails": 5}, {"keyDetails": "a b"}):
        odd = request_of(signature={"verifier": verifier})
        assert read_request(encode({name: odd, "dsseRequestV002": None})) == facts


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"hashedRekordRequestV002": request_of(), "dsseRequestV002": {}},
        {"hashedRekordRequestV002": request_of(), "hashed_rekord_request_v002": request_of()},
        {"HashedRekordRequestV002": request_of()},
        {"hashedRekordRequestV002": request_of(digest="AAAA")},
        {"hashedRekordRequestV002": request_of(digest="*")},
        {"hashedRekordRequestV002": request_of(digest=None)},
        {"hashedRekordRequestV002": request_of(signature=None)},
        {"hashedRekordRequestV002": []},
        {"dsseRequestV002": {}},
        {"dsseRequestV002": {"envelope": {"payload": "", "payloadType": ""}}},
        {"dsseRequestV002": {"envelope": {"payload": "", "payloadType": 1}}},
        {"dsseRequestV002": {"envelope": {"payload": "", "payloadType": KIND, "payload_type": KIND}}},
        {"dsseRequestV002": {"envelope": {"payload": "e30=", "payloadType": KIND}}},
        {"dsseRequestV002": {"envelope": {"payload": "e30", "payloadType": KIND}}},
        {"dsseRequestV002": {"envelope": envelope_of({"subject": []})}},
        {"dsseRequestV002": {"envelope": envelope_of({"subject": {}})}},
        {"dsseRequestV002": {"envelope": envelope_of({"subject": [{}]})}},
        {"dsseRequestV002": {"envelope": envelope_of({"subject": [{"digest": {"sha256": H1.replace("1", "A")}}]})}},
        {"dsseRequestV002": {"envelope": envelope_of({"subject": [{"digest": {"sha256": "1"}}]})}},
        {"dsseRequestV002": {"envelope": envelope_of({"subject": [{"digest": {"sha256": 1}}]})}},
        {"dsseRequestV002": {"envelope": envelope_of({"\u017fubject": []})}},
    ],
)
def test_hostile_requests_are_refused(document: Any) -> None:
    """An entry of no kind or two, or whose digest or statement is none, is denied."""
    with pytest.raises(IntentError):
        read_request(encode(document))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"kind: hashedrekord\n",
        encode({"kind": "hashedrekord", "apiVersion": "0.0.1"}),
        encode({"kind": "hashedrekord", "Kind": "tuf", "apiVersion": "0.0.1", "spec": HASHED}),
        b'{"kind":"tuf","kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}',
        entry_of("hashedrekord", HASHED, "latest"),
        entry_of("unheard-of", {}),
        entry_of("hashedrekord", {"data": {"hash": {"algorithm": "md5", "value": "1" * 32}}}),
        entry_of("hashedrekord", {"data": {"hash": {"algorithm": "sha256", "value": "1" * 62}}}),
        entry_of("hashedrekord", {"data": {"hash": {"algorithm": "sha256"}}}),
        entry_of("hashedrekord", {"data": {}}),
        entry_of("rekord", {"data": {}}),
        entry_of("rekord", {"data": {"url": "http://internal.example/", "content": CONTENT}}),
        entry_of("rekord", {"data": {"content": CONTENT, "hash": {"algorithm": "sha256", "value": H1}}}),
        entry_of("rekord", {"data": {"content": 7}}),
        entry_of("dsse", {"proposedContent": {"envelope": envelope_of()}}),
        entry_of("dsse", {"proposedContent": {"envelope": "\ud800"}}),
        entry_of("intoto", {"content": {}}),
        entry_of("intoto", {"content": {"envelope": envelope_of()}}, "0.0.2"),
        entry_of("intoto", {"content": {"envelope": {"payloadType": "a", "payload": "/////w=="}}}, "0.0.2"),
    ],
)
def test_hostile_entries_are_refused(body: bytes) -> None:
    """An entry that is not JSON, of no known kind, or whose content belies its hash is denied."""
    with pytest.raises(IntentError):
        read_entry(body)


def test_either_of_two_names() -> None:
    """A member is taken under one of its two names, and under one only."""
    assert either({"a_b": 1}, "aB", "a_b") == either({"aB": 1, "a_b": None}, "aB", "a_b") == 1
    assert either({}, "aB", "a_b") is None
    with pytest.raises(IntentError):
        either({"aB": 1, "a_b": 1}, "aB", "a_b")
