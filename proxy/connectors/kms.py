"""AWS KMS, asked as the sidecar: signatures for its own issuer, data keys for what it seals.

Source: AWS KMS API Reference, `Sign`, `GetPublicKey`, `GenerateDataKey`.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.connectors.answers import read_object
from proxy.connectors.aws_own import AwsCall, aws_host, call_as_sidecar
from proxy.connectors.parts import ConnectorParts
from proxy.model.errors import CredentialError
from proxy.model.reason import Reason
from proxy.outbound import OutboundError

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsKey:
    """A key in AWS KMS: its id, ARN or alias."""

    key_id: str
    region: str


async def ask_kms(parts: ConnectorParts, key: KmsKey, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return KMS's answer to an operation with a key. Raises CredentialError with KMS's code, no more of its text."""
    call = AwsCall(
        service="kms",
        region=key.region,
        host=aws_host("kms", key.region),
        headers={"content-type": "application/x-amz-json-1.1", "x-amz-target": f"TrentService.{operation}"},
        body=json.dumps({"KeyId": key.key_id, **asked}).encode(),
    )
    try:
        answer = await call_as_sidecar(parts, call)
    except OutboundError as error:
        raise CredentialError(f"KMS: {error}") from None
    found = read_object(answer.body)
    if answer.status != 200 or found is None:
        code = str((found or {}).get("__type", "")).rpartition("#")[2]
        said = code if re.fullmatch("[A-Za-z]{1,64}", code) else f"status {answer.status}"
        is_no = answer.status < 500 and answer.status != 429
        raise CredentialError(f"KMS: {said}", Reason.CREDENTIAL_REFUSED if is_no else Reason.CREDENTIAL_UNAVAILABLE)
    return found


async def make_data_key(parts: ConnectorParts, key: KmsKey, context: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Return a new 256-bit key, as it is and wrapped by `key` under an encryption context. Raises CredentialError."""
    found = await ask_kms(parts, key, "GenerateDataKey", {"KeySpec": "AES_256", "EncryptionContext": dict(context)})
    secret, wrapped = (_decode(found.get(name)) for name in ("Plaintext", "CiphertextBlob"))
    if len(secret) != _KEY_BYTES or not wrapped:
        raise CredentialError("KMS: it gives no data key")
    return secret, wrapped


def _decode(text: object) -> bytes:
    try:
        return b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError:
        return b""
