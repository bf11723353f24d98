"""A refusal in the words of the client's own protocol: its user reads our sentence, not "unknown error". Pure.

The status stays the reason's, but for git, which shows nothing of an error's body (`git_refusal`). Sources: Kubernetes
API conventions (`Status`); OCI distribution-spec, "Error Codes"; the Cargo book, "Web API"; Google AIP-193; Microsoft
REST guidelines, 7.10.2; AWS's API references, "Common Errors", and S3's "Error responses".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from proxy.intents.git_refusal import CONTENT_TYPE, write_refusal
from proxy.intents.reading import media_type
from proxy.model.intent import Intent, RequestView

_JSON: Final = "application/json"
_XML: Final = "application/xml"
_REST_XML: Final = frozenset({"cloudfront", "route53", "s3control"})
_AWS_CODE: Final = "AccessDenied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is to be said: `fields` is our own JSON, `message` one line for people, `status` what HTTP says."""

    status: int
    message: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Words:
    """How it is said. `status` 200 where only a success is read, None to leave it the reason's own."""

    status: int | None
    content_type: str
    body: bytes


def put_in_words(view: RequestView, intent: Intent, refusal: Refusal) -> Words | None:
    """Return the refusal in the protocol that the request was read as; None where our own JSON is as good."""
    if intent.protocol == "git":
        report = write_refusal(view, refusal.message)
        return None if report is None else Words(200, CONTENT_TYPE, report)
    if intent.protocol == "aws":
        return _as_aws(view, intent, refusal)
    dialect = _DIALECTS.get(intent.protocol)
    return None if dialect is None else _as_json(refusal, dialect(refusal))


def _as_json(refusal: Refusal, dialect: Mapping[str, object]) -> Words:
    return Words(None, _JSON, json.dumps({**refusal.fields, **dialect}).encode("ascii") + b"\n")


def _as_kubernetes(refusal: Refusal) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": refusal.status,
        "message": refusal.message,
    }


def _as_registry(refusal: Refusal) -> dict[str, object]:
    return {"errors": [{"code": "DENIED", "message": refusal.message, "detail": {}}]}


def _as_cargo(refusal: Refusal) -> dict[str, object]:
    return {"errors": [{"detail": refusal.message}]}


def _as_google(refusal: Refusal) -> dict[str, object]:
    return {"error": {"code": refusal.status, "message": refusal.message, "status": "PERMISSION_DENIED"}}


def _as_azure(refusal: Refusal) -> dict[str, object]:
    return {"error": {"code": "Forbidden", "message": refusal.message}}


def _as_vault(refusal: Refusal) -> dict[str, object]:
    return {"errors": [refusal.message]}


_DIALECTS: Final[Mapping[str, Callable[[Refusal], dict[str, object]]]] = {
    "k8s": _as_kubernetes,
    "oci": _as_registry,
    "cargo": _as_cargo,
    "gcp": _as_google,
    "azure": _as_azure,
    "vault": _as_vault,
}


def _as_aws(view: RequestView, intent: Intent, refusal: Refusal) -> Words:
    """Say it in the service's own protocol, which the request shows: S3's and the query protocols' errors are XML."""
    service = intent.action.partition(":")[0]
    is_query = view.header("x-amz-target") is None and media_type(view) == "application/x-www-form-urlencoded"
    error = _as_xml(refusal)
    if service == "s3":
        return Words(None, _XML, f"<Error>{error}</Error>".encode())
    if is_query and service == "ec2":
        return Words(None, _XML, f"<Response><Errors><Error>{error}</Error></Errors></Response>".encode())
    if is_query or service in _REST_XML:
        whole = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>"
        return Words(None, _XML, whole.encode())
    return _as_json(refusal, {"__type": _AWS_CODE, "message": refusal.message})


def _as_xml(refusal: Refusal) -> str:
    """Return the elements of an error; the decision is its request id, which clients print."""
    rules = refusal.fields.get("rule")
    elements = {
        "Code": _AWS_CODE,
        "Message": refusal.message,
        "RequestId": refusal.fields.get("decision", ""),
        "Reason": refusal.fields.get("reason", ""),
        "Rule": " ".join(map(str, rules)) if isinstance(rules, list) else "",
    }
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in elements.items())
