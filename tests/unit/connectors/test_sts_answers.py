"""What STS answers is read strictly; of a refusal only its code is shown."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.connectors.sts_answers import Fault, find_fault, read_credentials
from proxy.model.errors import CredentialError
from proxy.model.reason import Reason
from proxy.outbound import Answer

PLANTED = "planted/0123456789+secret="
GOOD = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <Credentials>
      <AccessKeyId>ASIAPLACEHOLDER00000</AccessKeyId>
      <SecretAccessKey>planted/0123456789+secret=</SecretAccessKey>
      <SessionToken>token/planted==</SessionToken>
      <Expiration>2030-01-01T13:00:00Z</Expiration>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
DENIED, MAYBE = Reason.CREDENTIAL_REFUSED, Reason.CREDENTIAL_UNAVAILABLE


def answer(body: str | bytes, status: int = 200) -> Answer:
    return Answer(status=status, headers={}, body=body if isinstance(body, bytes) else body.encode())


def error(code: str) -> str:
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>{PLANTED}</Message></Error></ErrorResponse>"


@pytest.mark.parametrize("expiration", ["2030-01-01T13:00:00Z", "2030-01-01T13:00:00", "2030-01-01T14:00:00+01:00"])
def test_issued_keys_are_read(expiration: str) -> None:
    """Whatever the namespace; times without a zone are UTC."""
    issued = read_credentials(answer(GOOD.replace("2030-01-01T13:00:00Z", expiration)))
    assert issued.access_key == "ASIAPLACEHOLDER00000"
    assert issued.secret_key.reveal() == PLANTED
    assert issued.session_token.reveal() == "token/planted=="
    assert issued.expires_at == datetime(2030, 1, 1, 13, tzinfo=UTC)
    assert PLANTED not in repr(issued)


BOMB = '<!DOCTYPE a [<!ENTITY b "planted">]>' + GOOD.replace("token/planted==", "&b;")
MALFORMED: dict[str, Any] = {
    "empty": "",
    "no XML": "{}",
    "cut short": GOOD[:200],
    "a document type": BOMB,
    "a document type in UTF-16": BOMB.encode("utf-16"),
    "UTF-16": GOOD.encode("utf-16"),
    "no UTF-8": GOOD.replace("token", "\xe4").encode("latin-1"),
    "two of them": GOOD.replace("</Credentials>", "</Credentials><Credentials/>"),
    "none": GOOD.replace("Credentials>", "Others>"),
    "no key": GOOD.replace("AccessKeyId>", "Other>"),
    "an empty secret": GOOD.replace(PLANTED, ""),
    "a secret with a space": GOOD.replace(PLANTED, "a b"),
    "a secret with a line feed": GOOD.replace(PLANTED, "a&#10;b"),
    "a secret that is not ASCII": GOOD.replace(PLANTED, "\u00e4"),
    "no time": GOOD.replace("2030-01-01T13:00:00Z", "soon"),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_plain_answer_is_refused(body: str | bytes) -> None:
    """Document types, other encodings, doubles, gaps and odd characters: no keys."""
    with pytest.raises(CredentialError) as caught:
        read_credentials(answer(body))
    assert str(caught.value) == "STS: the answer holds no usable credentials"


@pytest.mark.parametrize(
    "status, body, expected",
    [
        (200, GOOD, None),
        (403, error("AccessDenied"), Fault("AccessDenied", DENIED, is_temporary=False)),
        (400, error("InvalidIdentityToken"), Fault("InvalidIdentityToken", DENIED, is_temporary=False)),
        (400, error("ExpiredTokenException"), Fault("ExpiredTokenException", DENIED, is_temporary=False)),
        (400, error("IDPCommunicationError"), Fault("IDPCommunicationError", MAYBE, is_temporary=True)),
        (400, error("Throttling"), Fault("Throttling", MAYBE, is_temporary=True)),
        (503, error("ServiceUnavailable"), Fault("ServiceUnavailable", MAYBE, is_temporary=True)),
        (500, "", Fault("status 500", MAYBE, is_temporary=True)),
        (429, "slow down", Fault("status 429", MAYBE, is_temporary=True)),
        (302, "", Fault("status 302", MAYBE, is_temporary=False)),
        (403, "<html>", Fault("status 403", DENIED, is_temporary=False)),
        (403, error(f"Odd {PLANTED}"), Fault("status 403", DENIED, is_temporary=False)),
        (403, error("A" * 65), Fault("status 403", DENIED, is_temporary=False)),
        (403, error("AccessDenied").encode("utf-16"), Fault("status 403", DENIED, is_temporary=False)),
    ],
)
def test_a_fault_is_its_code_and_whether_it_may_pass(status: int, body: str | bytes, expected: Fault | None) -> None:
    """Messages repeat what was sent, so they stay here."""
    found = find_fault(answer(body, status))
    assert found == expected
    assert PLANTED not in repr(found)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_any_bytes_give_a_fault_or_a_refusal(body: bytes, status: int) -> None:
    """Nothing else ever comes out."""
    assert (find_fault(answer(body, status)) is None) == (status == 200)
    with pytest.raises(CredentialError):
        read_credentials(answer(body))
