"""The exception tree.

JobgateError                 anything of ours; carries a `Reason`, and text that is safe to show an operator
├── ConfigError              settings or key material: where, what, what to do
├── RuleFileError            rule files: a list of `Problem`s with file, line, column and hint
├── TokenError               an identity token that is not accepted
├── IssuerError              an issuer's keys cannot be had, or lie
├── IntentError              the request is this decoder's, but broken: deny
├── CredentialError          a credential cannot be minted or applied
├── ProtocolError            bytes on a wire that are not the HTTP we forward
├── DialError                an upstream that may not, or cannot, be reached
└── AuditError               a record that may not be durable: nothing may leave

A denial is a value (`Decision`, `Denial`), never an exception. Messages never hold a token, a secret or upstream text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.model.reason import Reason


class JobgateError(Exception):
    """Base of every error of ours. `reason` says how the gateway answers it."""

    reason: Reason = Reason.INTERNAL

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class ConfigError(JobgateError):
    """A setting that cannot be used. The message names the setting, the value's fault and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in a rule file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    excerpt: str = ""

    def __str__(self) -> str:
        """`file:line:column: message`, then the hint."""
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text}\n  {self.hint}" if self.hint else text


class RuleFileError(JobgateError):
    """Rule files that cannot be loaded; nothing of them is used."""

    reason = Reason.RULES_UNAVAILABLE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TokenError(JobgateError):
    """A token that is not accepted. The message names the claim or check, never the token."""

    reason = Reason.IDENTITY_MALFORMED


class IssuerError(JobgateError):
    """An issuer whose keys cannot be fetched or parsed."""

    reason = Reason.ISSUER_UNAVAILABLE


class IntentError(JobgateError):
    """A request that belongs to a decoder but is malformed: denied."""

    reason = Reason.INTENT_BROKEN


class CredentialError(JobgateError):
    """A credential that cannot be minted or applied."""

    reason = Reason.CREDENTIAL_UNAVAILABLE


class ProtocolError(JobgateError):
    """Bytes that are not the strict HTTP/1.1 jobgate forwards."""

    reason = Reason.REQUEST_MALFORMED


class DialError(JobgateError):
    """An upstream that is refused or unreachable."""

    reason = Reason.UPSTREAM_UNREACHABLE


class AuditError(JobgateError):
    """A record that may not be durable."""

    reason = Reason.TRAIL_UNAVAILABLE
