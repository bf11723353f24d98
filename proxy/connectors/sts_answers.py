"""Read what STS answers. Pure. Only error codes leave this file: messages may repeat what was sent."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as ET

from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from proxy.outbound import Answer

_CODE: Final = re.compile(r"[A-Za-z.]{1,64}")
_TEMPORARY: Final = frozenset({"IDPCommunicationError", "Throttling", "ThrottlingException", "ServiceUnavailable"})
_REFUSALS: Final = frozenset(
    {
        "AccessDenied",
        "ExpiredTokenException",
        "IDPRejectedClaim",
        "InvalidIdentityToken",
        "MalformedPolicyDocument",
        "PackedPolicyTooLarge",
        "RegionDisabledException",
        "ValidationError",
    }
)


@dataclass(frozen=True, slots=True)
class Issued:
    """Keys as STS gave them."""

    access_key: str
    secret_key: Secret
    session_token: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal, or a failure that may pass."""

    code: str
    reason: Reason
    is_temporary: bool


def find_fault(answer: Answer) -> Fault | None:
    """Return why STS did not issue anything, None when it did."""
    if answer.status == 200:
        return None
    code = _find_code(answer.body) or f"status {answer.status}"
    if code in _TEMPORARY or answer.status == 429 or answer.status >= 500:
        return Fault(code, Reason.CREDENTIAL_UNAVAILABLE, is_temporary=True)
    refused = code in _REFUSALS or 400 <= answer.status < 500
    return Fault(code, Reason.CREDENTIAL_REFUSED if refused else Reason.CREDENTIAL_UNAVAILABLE, is_temporary=False)


def read_credentials(answer: Answer) -> Issued:
    """Return the issued keys. Raises CredentialError for an answer that is not exactly that."""
    root = _parse(answer.body)
    found = {} if root is None else _texts(root, "Credentials")
    try:
        expires_at = datetime.fromisoformat(found["Expiration"])
        return Issued(
            _printable(found["AccessKeyId"]),
            Secret(_printable(found["SecretAccessKey"])),
            Secret(_printable(found["SessionToken"])),
            expires_at if expires_at.tzinfo is not None else expires_at.replace(tzinfo=UTC),
        )
    except (KeyError, ValueError):
        raise CredentialError("STS: the answer holds no usable credentials") from None


def _find_code(body: bytes) -> str | None:
    root = _parse(body)
    code = None if root is None else _texts(root, "Error").get("Code")
    return code if code is not None and _CODE.fullmatch(code) else None


def _parse(body: bytes) -> ET.Element | None:
    try:
        text = body.decode("utf-8")  # in another encoding the next line would overlook what it looks for
    except UnicodeDecodeError:
        return None
    if "<!" in text:  # no document type, no entities: nothing STS sends has them
        return None
    try:
        return ET.fromstring(text)  # noqa: S314 - entities were refused above, size by the caller
    except ET.ParseError:
        return None


def _texts(root: ET.Element, name: str) -> dict[str, str]:
    """Return the children's texts of the one element called `name`, whatever its namespace."""
    found = [element for element in root.iter() if _local(element.tag) == name]
    if len(found) != 1:
        return {}
    return {_local(child.tag): (child.text or "").strip() for child in found[0]}


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _printable(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError
    return text
