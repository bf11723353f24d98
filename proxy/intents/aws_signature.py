"""Which service and region a signature is for (SigV4 and SigV4a). Nothing of it is verified here, or kept.

Source: IAM User Guide, "Signature Version 4 request"; the scope is the end of `Credential`.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.intents.reading import parse_pairs
from proxy.model.errors import IntentError
from proxy.model.intent import RequestView
from proxy.model.reason import Reason

_V4: Final = "AWS4-HMAC-SHA256"
_V4A: Final = "AWS4-ECDSA-P256-SHA256"
_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_QUERY_HINT: Final = "x-amz-credential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signature is good for. SigV4a names its regions apart: None."""

    service: str
    region: str | None


def read_scope(view: RequestView) -> Scope | None:
    """Return the scope of the one signature, None when there is none.

    Raises IntentError (`signing-unsupported`) for two, or a torn one.
    """
    signatures = [value for name, value in view.headers if name == "authorization"]
    if len(signatures) > 1:
        raise _refused("the field authorization was sent twice")
    found = [*_from_header("".join(signatures))]
    pairs = [(name.lower(), value) for name, value in parse_pairs(view.query or "")]
    credentials = [value for name, value in pairs if name == _QUERY_HINT]
    if credentials:
        algorithms = [value for name, value in pairs if name == "x-amz-algorithm"]
        if len(algorithms) != 1 or len(credentials) != 1:
            raise _refused("the query's signature names no single algorithm and credential")
        found.append(_cut(algorithms[0], credentials[0]))
    if len(found) > 1:
        raise _refused("the request is signed in the header and in the query")
    return found[0] if found else None


def _from_header(authorization: str) -> list[Scope]:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm not in {_V4, _V4A}:
        return []
    parts = [part.strip().partition("=") for part in rest.split(",")]
    fields = {name: value for name, _, value in parts}
    if len(fields) != len(parts) or fields.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise _refused("the Authorization field is not one SigV4 signature")
    return [_cut(algorithm, fields["Credential"])]


def _cut(algorithm: str, credential: str) -> Scope:
    parts = credential.split("/")
    region = None
    if algorithm == _V4 and len(parts) >= 5:
        region = parts[-3]
    elif algorithm != _V4A or len(parts) < 4:
        raise _refused("the signature's algorithm or credential is not one AWS knows")
    service = parts[-2]
    if parts[-1] != "aws4_request" or not _NAME.fullmatch(service) or (region and not _NAME.fullmatch(region)):
        raise _refused("the signature's scope names no service")
    return Scope(service=service, region=region or None)


def _refused(why: str) -> IntentError:
    return IntentError(why, Reason.SIGNING_UNSUPPORTED)
