"""What issuers answer, read with suspicion. Nothing of it goes into a message but short names of a plain alphabet."""

import json
import re
from datetime import datetime, timedelta
from typing import Any, Final

from proxy.connectors.parts import Caller
from proxy.model.errors import CredentialError
from proxy.model.grant import Edits, Secret
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call, OutboundError

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")  # RFC 6750 2.1, b64token
_ERROR: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_LONGEST: Final = 86_400
_LINE: Final = 65_536
_BUSY: Final = frozenset({408, 425, 429})


async def ask(caller: Caller, call: Call, who: str) -> Answer:
    """Return an issuer's answer, whatever it says but "later".

    Raises CredentialError (`credential-unavailable`) when there is none within its limits, or when the issuer is
    overloaded or broken. `who` names the issuer in messages.
    """
    try:
        answer = await caller.call(call)
    except OutboundError as error:
        raise CredentialError(f"{who}: {error}") from None
    if answer.status >= 500 or answer.status in _BUSY:
        raise CredentialError(f"{who}: status {answer.status}")
    return answer


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, None for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def expect_object(answer: Answer, who: str, *statuses: int) -> dict[str, Any]:
    """Return the JSON object of a successful answer. Raises CredentialError; a refusal names the issuer's error code.

    `statuses` are those of success: 200 unless told otherwise.
    """
    found = read_object(answer.body)
    if answer.status not in (statuses or (200,)):
        raise refused(answer, found, who)
    if found is None:
        raise CredentialError(f"{who}: the answer is no JSON object")
    return found


def refused(answer: Answer, found: dict[str, Any] | None, who: str) -> CredentialError:
    """Return the refusal of an issuer that says no: its code (RFC 6749 5.2, `error`) where it is a plain word."""
    code = None if found is None else found.get("error")
    named = code if isinstance(code, str) and _ERROR.fullmatch(code) else f"status {answer.status}"
    return CredentialError(f"{who}: {named}", Reason.CREDENTIAL_REFUSED)


def read_token(found: dict[str, Any], name: str, who: str) -> Secret:
    """Return the token under `name`. Raises CredentialError when it could not stand in a header (RFC 6750 2.1)."""
    token = found.get(name)
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        raise CredentialError(f"{who}: the answer holds no usable {name}")
    return Secret(token)


def read_line(value: object, what: str) -> Secret:
    """Return a secret that can stand in a header: one line of visible ASCII. Raises CredentialError."""
    if not isinstance(value, str) or not value or len(value) > _LINE:
        raise CredentialError(f"{what} is not there, or no text of at most {_LINE} characters")
    if not value.isprintable() or not value.isascii():
        raise CredentialError(f"{what} is more than one line of visible ASCII")
    return Secret(value)


def read_seconds(found: dict[str, Any], name: str, who: str, unsaid: int | None = None) -> timedelta:
    """Return the lifetime under `name`, in whole seconds up to a day; `unsaid` when the issuer says nothing.

    Raises CredentialError for any other value.
    """
    seconds = found.get(name, unsaid)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds <= _LONGEST:
        raise CredentialError(f"{who}: {name} is not a number of seconds within a day")
    return timedelta(seconds=seconds)


def read_time(found: dict[str, Any], name: str, who: str) -> datetime:
    """Return the RFC 3339 time under `name`. Raises CredentialError."""
    text = found.get(name)
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) and len(text) <= 40 else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise CredentialError(f"{who}: {name} is not a time with its zone")
    return at


def bearer(token: Secret) -> Edits:
    """Return the edits that put a bearer token into Authorization (RFC 6750 2.1)."""
    return Edits(
        remove=frozenset({"authorization"}),
        put=(("authorization", Secret(f"Bearer {token.reveal()}")),),
        watch=(token,),
    )
