"""What a job published, as a signed statement: in-toto Statement v1 with SLSA provenance v1, in a DSSE envelope. Pure.

The witness is not the builder: the statement says what passed by, and names the trail's head so that it can be looked
up. Sources: in-toto attestation framework, Statement v1; SLSA, Provenance v1; DSSE v1.0, protocol.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.model.errors import AuditError
from proxy.reports.artifacts import Artifact, Way
from proxy.reports.tracing import Trace, TracedJob

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
BUILD_TYPE: Final = "urn:jobgate:ci-job:v1"
"""`externalParameters`: what the CI's issuer stated of the job. `resolvedDependencies`: its commit, what it fetched."""

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://slsa.dev/provenance/v1"
_PARAMETERS: Final = ("organization", "pipeline", "repository", "branch", "tag", "step", "source", "environment")


def make_statement(trace: Trace, job: TracedJob, origin: str) -> dict[str, Any]:
    """Return the statement about one job of a trace. Raises AuditError when it published nothing."""
    published = job.moved(Way.PUBLISHED)
    if not published:
        raise AuditError(f"{job.title} published nothing that the trail knows a digest of")
    facts = job.job
    return {
        "_type": _STATEMENT,
        "subject": [{"name": each.name, "digest": _digest(each)} for each in _once(published)],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {name: facts[name] for name in _PARAMETERS if name in facts},
                "internalParameters": {"rules": sorted(job.rules), "revisions": sorted(job.revisions)},
                "resolvedDependencies": [*_commit(facts), *_fetched(job)],
            },
            "runDetails": {
                "builder": {"id": job.issuer or "urn:jobgate:unknown-issuer"},
                "metadata": {
                    "invocationId": str(facts.get("job_id") or job.key),
                    **({"startedOn": job.opened} if job.opened else {}),
                    **({"finishedOn": job.closed} if job.closed else {}),
                },
                "byproducts": [
                    {
                        "name": "audit trail",
                        "uri": f"urn:jobgate:trail:{origin}",
                        "annotations": {"records": trace.size, "allowed": job.allowed, "denied": job.denied},
                    }
                ],
            },
        },
    }


def seal(statement: dict[str, Any], key: Ed25519PrivateKey, key_id: str) -> dict[str, Any]:
    """Return the DSSE envelope of a statement. Its bytes are signed as they stand in it."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = key.sign(pre_authentication(PAYLOAD_TYPE, payload))
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": b64encode(payload).decode(),
        "signatures": [{"keyid": key_id, "sig": b64encode(signature).decode()}],
    }


def open_envelope(envelope: object, key: Ed25519PublicKey) -> dict[str, Any]:
    """Return the statement in a DSSE envelope that `key` signed. Raises AuditError."""
    if not isinstance(envelope, dict) or envelope.get("payloadType") != PAYLOAD_TYPE:
        raise AuditError("not a DSSE envelope of an in-toto statement")
    try:
        payload = b64decode(envelope["payload"], validate=True)
        signatures = [b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
    except (KeyError, TypeError, ValueError):
        raise AuditError("not a DSSE envelope: payload or signatures cannot be read") from None
    if not any(_is_signed(key, signature, payload) for signature in signatures):
        raise AuditError("none of its signatures is by this key: altered, or signed by another")
    try:
        statement = json.loads(payload)
    except ValueError:
        statement = None
    if not isinstance(statement, dict) or statement.get("_type") != _STATEMENT:
        raise AuditError("what is signed is no in-toto statement")
    return statement


def pre_authentication(kind: str, body: bytes) -> bytes:
    """Return what DSSE signs: type and body, each with its length."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


def _is_signed(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, pre_authentication(PAYLOAD_TYPE, payload))
    except InvalidSignature:
        return False
    return True


def _digest(artifact: Artifact) -> dict[str, str]:
    algorithm, _, value = artifact.digest.partition(":")
    return {algorithm: value}


def _once(artifacts: Iterable[Artifact]) -> list[Artifact]:
    return list({(each.name, each.digest): each for each in artifacts}.values())


def _commit(facts: dict[str, Any]) -> list[dict[str, Any]]:
    commit = facts.get("commit")
    if not commit:
        return []
    found = {"digest": {"gitCommit": str(commit)}, "name": "source"}
    return [{**found, "uri": f"git+{facts['repository']}"} if facts.get("repository") else found]


def _fetched(job: TracedJob) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "digest": _digest(each), "annotations": {"proof": each.proof.value}}
        for each in _once(job.moved(Way.FETCHED))
    ]
