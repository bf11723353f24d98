"""Errors carry a reason and read like a compiler's."""

from proxy.model.errors import AuditError, CredentialError, JobgateError, Problem, RuleFileError
from proxy.model.reason import Reason


def test_each_error_knows_its_reason() -> None:
    """A class gives the usual reason and an instance may be more exact."""
    assert AuditError("full").reason is Reason.TRAIL_UNAVAILABLE
    assert CredentialError("no", Reason.CREDENTIAL_REFUSED).reason is Reason.CREDENTIAL_REFUSED
    assert CredentialError("no").reason is Reason.CREDENTIAL_UNAVAILABLE
    assert JobgateError("x").reason is Reason.INTERNAL


def test_problems_say_where_and_what_to_do() -> None:
    """A problem prints as file:line:column, and its hint on the next line."""
    plain = Problem(file="a.yaml", line=3, column=5, message="unknown field `jbo`")
    hinted = Problem(file="a.yaml", line=3, column=5, message="unknown field `jbo`", hint="did you mean `job`?")

    assert str(plain) == "a.yaml:3:5: unknown field `jbo`"
    assert str(RuleFileError([hinted])) == "a.yaml:3:5: unknown field `jbo`\n  did you mean `job`?"
