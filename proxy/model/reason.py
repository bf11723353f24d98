"""Every reason jobgate gives, with the status it answers and what to do. Slugs are stable: add, never reword."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """A machine-readable cause of a decision or an outcome; written to records, metrics and 403 bodies."""

    ALLOWED = "allowed"
    # who
    IDENTITY_MISSING = "identity-missing"
    IDENTITY_MALFORMED = "identity-malformed"
    IDENTITY_OVERSIZED = "identity-oversized"
    IDENTITY_ISSUER = "identity-issuer"
    IDENTITY_ALGORITHM = "identity-algorithm"
    IDENTITY_KEY = "identity-key"
    IDENTITY_SIGNATURE = "identity-signature"
    IDENTITY_AUDIENCE = "identity-audience"
    IDENTITY_EXPIRED = "identity-expired"
    IDENTITY_NOT_YET = "identity-not-yet"
    IDENTITY_LIFETIME = "identity-lifetime"
    IDENTITY_CLAIMS = "identity-claims"
    IDENTITY_REPLAYED = "identity-replayed"
    ISSUER_UNAVAILABLE = "issuer-unavailable"
    SESSION_UNKNOWN = "session-unknown"
    SESSION_EXPIRED = "session-expired"
    SESSION_LIMIT = "session-limit"
    # what was sent
    REQUEST_MALFORMED = "request-malformed"
    HEAD_TOO_LARGE = "head-too-large"
    HEAD_TOO_SLOW = "head-too-slow"
    METHOD_UNKNOWN = "method-unknown"
    AUTHORITY_INVALID = "authority-invalid"
    AUTHORITY_MISMATCH = "authority-mismatch"
    PATH_NOT_NORMAL = "path-not-normal"
    FRAMING_AMBIGUOUS = "framing-ambiguous"
    UPGRADE_REFUSED = "upgrade-refused"
    PROTOCOL_REFUSED = "protocol-refused"
    BODY_TOO_LARGE = "body-too-large"
    BODY_MALFORMED = "body-malformed"
    CREDENTIAL_PRESENT = "credential-present"
    CREDENTIAL_MISUSE = "credential-misuse"
    # may it
    OBSERVED = "observed"
    NO_RULE = "no-rule"
    RULE_DENIED = "rule-denied"
    RULE_AMBIGUOUS = "rule-ambiguous"
    FOREIGN_JOB = "foreign-job"
    UNDECLARED = "undeclared"
    INTENT_BROKEN = "intent-broken"
    KILLED = "killed"
    APPROVAL_REQUIRED = "approval-required"
    RULES_UNAVAILABLE = "rules-unavailable"
    ADDRESS_REFUSED = "address-refused"
    NAME_UNRESOLVED = "name-unresolved"
    # with what
    CREDENTIAL_UNAVAILABLE = "credential-unavailable"
    CREDENTIAL_REFUSED = "credential-refused"
    SIGNING_UNSUPPORTED = "signing-unsupported"
    CREDENTIAL_SCOPE = "credential-scope"
    SIGNING_SCOPE = "signing-scope"
    SIGNING_BROKEN = "signing-broken"
    CREDENTIAL_ECHO = "credential-echo"
    # us
    TRAIL_UNAVAILABLE = "trail-unavailable"
    DECISION_TIMEOUT = "decision-timeout"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    INTERNAL = "internal"
    # them
    UPSTREAM_UNREACHABLE = "upstream-unreachable"
    UPSTREAM_TLS = "upstream-tls"
    UPSTREAM_TIMEOUT = "upstream-timeout"
    UPSTREAM_MALFORMED = "upstream-malformed"
    UPSTREAM_CLOSED = "upstream-closed"
    CLIENT_TLS = "client-tls"
    CLIENT_GONE = "client-gone"
    CLIENT_TIMEOUT = "client-timeout"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a reason means to a person: the HTTP status it answers, one sentence, and what to do about it."""

    status: int
    sentence: str
    remedy: str


_SET_UP = "Open a session (POST /v1/sessions or the agent hook) and use its proxy URL."
_NEW_TOKEN = "Request a fresh token for this proxy's audience and open a new session."  # noqa: S105 - a sentence
_ASK_RULE = "Run `jobgate explain` with this request, or ask for the rule named in `rule`."
_FIX_CLIENT = "The client sent something jobgate does not forward; this is not fixable by a rule."
_RETRY = "Nothing left the proxy. Retry; if it persists, the operator's health page says why."
_LOOK_UPSTREAM = "The upstream or the network between failed; the operator's record has the details."

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ALLOWED: Explanation(200, "A rule allows this.", ""),
    Reason.IDENTITY_MISSING: Explanation(407, "No job identity was presented.", _SET_UP),
    Reason.IDENTITY_MALFORMED: Explanation(407, "The token is not a well-formed signed JWT.", _NEW_TOKEN),
    Reason.IDENTITY_OVERSIZED: Explanation(407, "The token is larger than 16 KiB.", _NEW_TOKEN),
    Reason.IDENTITY_ISSUER: Explanation(407, "The token's issuer is not one this proxy trusts.", _NEW_TOKEN),
    Reason.IDENTITY_ALGORITHM: Explanation(407, "The token is not signed with the issuer's algorithm.", _NEW_TOKEN),
    Reason.IDENTITY_KEY: Explanation(407, "The issuer publishes no such signing key.", _NEW_TOKEN),
    Reason.IDENTITY_SIGNATURE: Explanation(407, "The token's signature does not verify.", _NEW_TOKEN),
    Reason.IDENTITY_AUDIENCE: Explanation(407, "The token was made for another audience.", _NEW_TOKEN),
    Reason.IDENTITY_EXPIRED: Explanation(407, "The token has expired.", _NEW_TOKEN),
    Reason.IDENTITY_NOT_YET: Explanation(407, "The token is not valid yet; check the clocks.", _NEW_TOKEN),
    Reason.IDENTITY_LIFETIME: Explanation(407, "The token lives longer, or is older, than allowed here.", _NEW_TOKEN),
    Reason.IDENTITY_CLAIMS: Explanation(407, "The token's claims are not those this proxy requires.", _NEW_TOKEN),
    Reason.IDENTITY_REPLAYED: Explanation(407, "This token has already opened a session.", _NEW_TOKEN),
    Reason.ISSUER_UNAVAILABLE: Explanation(503, "The issuer's signing keys cannot be had.", _RETRY),
    Reason.SESSION_UNKNOWN: Explanation(407, "The proxy password names no open session.", _SET_UP),
    Reason.SESSION_EXPIRED: Explanation(407, "The session is over.", _SET_UP),
    Reason.SESSION_LIMIT: Explanation(503, "Too many sessions are open.", _RETRY),
    Reason.REQUEST_MALFORMED: Explanation(400, "The request is not well-formed HTTP/1.1.", _FIX_CLIENT),
    Reason.HEAD_TOO_LARGE: Explanation(431, "The request head is larger than 64 KiB or 100 fields.", _FIX_CLIENT),
    Reason.HEAD_TOO_SLOW: Explanation(408, "The request head did not arrive in time.", _FIX_CLIENT),
    Reason.METHOD_UNKNOWN: Explanation(405, "The method is not one jobgate forwards.", _FIX_CLIENT),
    Reason.AUTHORITY_INVALID: Explanation(400, "The host is not a plain, canonical name or address.", _FIX_CLIENT),
    Reason.AUTHORITY_MISMATCH: Explanation(
        421, "CONNECT target, SNI, Host and request target do not agree.", _FIX_CLIENT
    ),
    Reason.PATH_NOT_NORMAL: Explanation(400, "The path could be read in more than one way.", _FIX_CLIENT),
    Reason.FRAMING_AMBIGUOUS: Explanation(400, "The length of the message is ambiguous.", _FIX_CLIENT),
    Reason.UPGRADE_REFUSED: Explanation(403, "Protocol upgrades are not forwarded.", _FIX_CLIENT),
    Reason.PROTOCOL_REFUSED: Explanation(403, "Only HTTP/1.1 and TLS are spoken here.", _FIX_CLIENT),
    Reason.BODY_TOO_LARGE: Explanation(
        413, "The body must be read or signed whole and is over the limit.", _FIX_CLIENT
    ),
    Reason.BODY_MALFORMED: Explanation(400, "The body's framing is broken.", _FIX_CLIENT),
    Reason.CREDENTIAL_MISUSE: Explanation(
        403,
        "The job sent a real credential, one that jobgate issued, or a placeholder that is not for this.",
        "Take it out of the job, revoke it if it is real, and send what `jobgate env` exports.",
    ),
    Reason.CREDENTIAL_PRESENT: Explanation(
        403,
        "The job sent a credential of its own.",
        "Send jobgate's placeholder, or nothing: the proxy adds the real one.",
    ),
    Reason.OBSERVED: Explanation(200, "No rule allows this; it is let through, without a credential, to be seen.", ""),
    Reason.NO_RULE: Explanation(403, "No rule allows this job to do this.", _ASK_RULE),
    Reason.RULE_DENIED: Explanation(403, "A rule denies this.", _ASK_RULE),
    Reason.RULE_AMBIGUOUS: Explanation(
        403, "Two rules would hand out different credentials.", "Make the rules named in `rule` exclude each other."
    ),
    Reason.FOREIGN_JOB: Explanation(
        403, "The request acts for another job than the one it comes from.", "Use the job's own id, or leave it out."
    ),
    Reason.UNDECLARED: Explanation(
        403,
        "The step did not declare that it would do this.",
        "Add it to the step's declared intents (JOBGATE_INTENT).",
    ),
    Reason.INTENT_BROKEN: Explanation(403, "The request names an operation but is malformed.", _FIX_CLIENT),
    Reason.KILLED: Explanation(
        403, "An operator has stopped this.", "Ask those who run jobgate; `jobgate kill` lists why."
    ),
    Reason.APPROVAL_REQUIRED: Explanation(
        403, "A person must say yes to this request first.", "Ask for `jobgate approve`, then send it again unchanged."
    ),
    Reason.RULES_UNAVAILABLE: Explanation(503, "No rule set is loaded.", _RETRY),
    Reason.ADDRESS_REFUSED: Explanation(403, "The name resolves to an address that is never dialled.", _ASK_RULE),
    Reason.NAME_UNRESOLVED: Explanation(502, "The name does not resolve.", _LOOK_UPSTREAM),
    Reason.CREDENTIAL_UNAVAILABLE: Explanation(503, "The credential could not be minted in time.", _RETRY),
    Reason.CREDENTIAL_REFUSED: Explanation(
        403, "The credential's issuer refused this job.", "Check the role's trust policy against this job's claims."
    ),
    Reason.SIGNING_UNSUPPORTED: Explanation(403, "This way of signing cannot be re-signed.", _FIX_CLIENT),
    Reason.CREDENTIAL_SCOPE: Explanation(
        403, "The rule's credential is not for requests like this one.", "Ask for a rule with the right credential."
    ),
    Reason.SIGNING_SCOPE: Explanation(403, "Signature scope, host and rule do not agree.", _FIX_CLIENT),
    Reason.SIGNING_BROKEN: Explanation(
        403, "What the request signs is not what it sends.", "Sign with the placeholder keys of this job's environment."
    ),
    Reason.CREDENTIAL_ECHO: Explanation(502, "The response repeated the injected credential.", _LOOK_UPSTREAM),
    Reason.TRAIL_UNAVAILABLE: Explanation(503, "The audit trail cannot be written.", _RETRY),
    Reason.DECISION_TIMEOUT: Explanation(503, "The decision took too long.", _RETRY),
    Reason.OVERLOADED: Explanation(503, "Too many connections.", _RETRY),
    Reason.DRAINING: Explanation(503, "The proxy is shutting down.", _RETRY),
    Reason.INTERNAL: Explanation(503, "The proxy failed while deciding.", _RETRY),
    Reason.UPSTREAM_UNREACHABLE: Explanation(502, "The upstream cannot be reached.", _LOOK_UPSTREAM),
    Reason.UPSTREAM_TLS: Explanation(502, "The upstream's certificate is not trusted.", _LOOK_UPSTREAM),
    Reason.UPSTREAM_TIMEOUT: Explanation(504, "The upstream did not answer in time.", _LOOK_UPSTREAM),
    Reason.UPSTREAM_MALFORMED: Explanation(502, "The upstream's answer is not well-formed HTTP/1.1.", _LOOK_UPSTREAM),
    Reason.UPSTREAM_CLOSED: Explanation(502, "The upstream closed before its answer was complete.", _LOOK_UPSTREAM),
    Reason.CLIENT_TLS: Explanation(400, "The client's TLS handshake failed.", "Does the client trust certs/ca.pem?"),
    Reason.CLIENT_GONE: Explanation(400, "The client closed before the exchange was complete.", ""),
    Reason.CLIENT_TIMEOUT: Explanation(408, "The client stopped sending or reading.", ""),
    Reason.INTERRUPTED: Explanation(503, "The proxy ended while the exchange was open.", _RETRY),
}


def explain_reason(reason: Reason) -> Explanation:
    """Return the status, sentence and remedy that belong to `reason`."""
    return EXPLANATIONS[reason]
