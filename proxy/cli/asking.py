"""One request of one job, from what a person wrote: for `explain`, for rule tests, for whoever asks "what if"."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.engine.decide import AccessQuestion, Verdict, explain_verdict
from proxy.engine.hygiene import find_credential_fields, find_query_credential
from proxy.engine.misuse import find_real_credential, read_sent
from proxy.gateway.heads import METHODS
from proxy.gateway.paths import check_path, check_query
from proxy.identity.profiles import DEFAULTS, principal_of
from proxy.model.authority import DEFAULT_PORTS, parse_authority
from proxy.model.decision import Effect
from proxy.model.errors import ProtocolError, TokenError
from proxy.model.identity import JobContext, TrustedIssuer, VerifiedClaims
from proxy.model.intent import BodyPrefix, BodyWanted, Headers, RequestView
from proxy.model.reason import Reason
from proxy.policy.conditions import JOB_FIELDS
from proxy.policy.faults import suggest

_URL: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_KINDS: Final = {"build_number": int, "protected": bool, "claims": dict}


class AskError(ValueError):
    """What was written is no request, or no job. `about` names the part: `method`, `url`, `header`, `job`."""

    def __init__(self, message: str, about: str) -> None:
        super().__init__(message)
        self.about = about


def read_view(method: str, url: str, headers: Headers, body: bytes | None = None) -> RequestView:
    """Return the request as a lane would show it. Raises AskError for what a lane refuses."""
    match = _URL.fullmatch(url)
    if match is None:
        raise AskError("write an absolute URL such as https://example.com/path", "url")
    if method not in METHODS - {"CONNECT"}:
        raise AskError(f"choose of {', '.join(sorted(METHODS - {'CONNECT'}))}", "method")
    path = match[3] or "/"
    try:
        authority = parse_authority(match[2], DEFAULT_PORTS[match[1]])
        check_path(path)
        check_query(match[4] or "")
    except ProtocolError as error:
        raise AskError(f"denied before any rule is asked: {error}", "url") from None
    view = RequestView(method=method, scheme=match[1], authority=authority, path=path, query=match[4], headers=headers)
    if body is None:
        return view
    return replace(view, body_length=len(body), body=BodyPrefix(data=body, is_whole=True))


def read_headers(texts: Mapping[str, str]) -> Headers:
    """Return header fields as a lane names them."""
    return tuple((name.strip().lower(), value.strip()) for name, value in texts.items())


def read_facts(facts: Mapping[str, Any]) -> JobContext:
    """Return the job that these facts, named as rules name them, are of. Raises AskError."""
    known = (*JOB_FIELDS, "claims")
    for name, value in facts.items():
        if name not in known:
            raise AskError(f"`{name}` is no fact of a job. {suggest(name, known)}", "job")
        wanted = _KINDS.get(name, str)
        if type(value) is not wanted:
            raise AskError(f"`{name}` must be {wanted.__name__}, not {value!r}", "job")
    return JobContext(**facts)


def read_claims(claims: Mapping[str, Any], provider: str | None, mapping: Mapping[str, str]) -> JobContext:
    """Return the job of an issuer's claims, by the table of `provider`, or of the issuer's name. Raises AskError."""
    issuer = str(claims.get("iss", ""))
    provider = provider or next((name for name, known in DEFAULTS.items() if known.issuer == issuer), None)
    if provider is None:
        raise AskError("`iss` is no public issuer known here; say whose claims these are", "provider")
    trusted = TrustedIssuer(provider=provider, issuer=issuer, audience="explain", bound={}, mapping=mapping)
    try:
        return principal_of(VerifiedClaims({"sub": "", **claims}), trusted, "")[1]
    except TokenError as error:
        raise AskError(f"a proxy would refuse these claims: {error}", "job") from None


def decide_as_asked(question: AccessQuestion) -> Verdict:
    """Decide as the path does, the refusal of real credentials and of any in the query included.

    Raises AskError where what the request does stands in a body that was not given.
    """
    view = question.view
    verdict = explain_verdict(question)
    if isinstance(verdict, BodyWanted):
        raise AskError("what this request does stands in its body", "body")
    if find_real_credential(read_sent(view.headers, view.query, find_credential_fields(view.headers))) is not None:
        reason = Reason.CREDENTIAL_MISUSE
    elif find_query_credential(view) is not None:
        reason = Reason.CREDENTIAL_PRESENT
    else:
        return verdict
    refused = replace(verdict.decision, effect=Effect.DENY, reason=reason, rule_ids=(), grant=None)
    return replace(verdict, decision=refused)
