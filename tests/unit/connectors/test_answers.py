"""What issuers answer is believed only in its exact form, and a message never repeats what they say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.connectors.answers import ask, bearer, expect_object, read_object, read_seconds, read_time, read_token
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call, OutboundError

CALL = Call(method="GET", url="https://issuer.test/")


class Saying:
    """An issuer that always says the same."""

    def __init__(self, status: int = 200, body: bytes = b"{}", fault: OutboundError | None = None) -> None:
        self.answer = Answer(status=status, headers={}, body=body)
        self.fault = fault

    async def call(self, call: Call) -> Answer:
        if self.fault is not None:
            raise self.fault
        return self.answer


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
async def test_an_issuer_that_says_later_is_unavailable(status: int) -> None:
    """Overload and breakdown are no refusal of the job: the reason says that another try may succeed."""
    with pytest.raises(CredentialError, match=f"shop: status {status}") as caught:
        await ask(Saying(status), CALL, "shop")
    assert caught.value.reason is Reason.CREDENTIAL_UNAVAILABLE


async def test_an_issuer_that_cannot_be_reached_is_unavailable() -> None:
    """The message says who and why."""
    with pytest.raises(CredentialError, match=r"shop: issuer\.test did not answer in time") as caught:
        await ask(Saying(fault=OutboundError("issuer.test did not answer in time")), CALL, "shop")
    assert caught.value.reason is Reason.CREDENTIAL_UNAVAILABLE


@pytest.mark.parametrize(
    "body, said",
    [
        (b'{"error": "invalid_grant"}', "shop: invalid_grant"),
        (b'{"error": "no spaces"}', "shop: status 400"),
        (b'{"error": {"code": "x"}}', "shop: status 400"),
        (b"planted", "shop: status 400"),
        (b'["planted"]', "shop: status 400"),
    ],
)
async def test_a_refusal_names_a_plain_code_only(body: bytes, said: str) -> None:
    """What an issuer writes beside its code stays with us."""
    answer = await ask(Saying(400, body), CALL, "shop")
    with pytest.raises(CredentialError) as caught:
        expect_object(answer, "shop")
    assert (str(caught.value), caught.value.reason) == (said, Reason.CREDENTIAL_REFUSED)


def test_success_is_what_the_caller_says_it_is() -> None:
    """201 is a success only where it is expected."""
    created = Answer(status=201, headers={}, body=b'{"a": 1}')
    assert expect_object(created, "shop", 201) == {"a": 1}
    with pytest.raises(CredentialError, match="status 201"):
        expect_object(created, "shop")
    with pytest.raises(CredentialError, match="no JSON object"):
        expect_object(Answer(status=200, headers={}, body=b"[]"), "shop")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_object_is_none(body: bytes) -> None:
    """No answer, however odd, raises."""
    assert read_object(body) is None


@pytest.mark.parametrize("token", [None, 1, "", "a b", "a\nb", "a\r\nx: y", "ä", "x" * 16_385, ["x"]])
def test_a_token_that_cannot_stand_in_a_header_is_refused(token: object) -> None:
    """It is refused without being repeated."""
    with pytest.raises(CredentialError, match=r"^shop: the answer holds no usable token$"):
        read_token({"token": token}, "token", "shop")


@pytest.mark.parametrize("value", [True, "60", 0, -1, 86_401, 1.5, None, [60]])
def test_a_lifetime_is_a_number_of_seconds_within_a_day(value: object) -> None:
    """Anything else is refused, unless it was left out and a default is given."""
    with pytest.raises(CredentialError, match="expires_in is not a number"):
        read_seconds({"expires_in": value}, "expires_in", "shop")
    assert read_seconds({"expires_in": 60}, "expires_in", "shop") == timedelta(minutes=1)
    assert read_seconds({}, "expires_in", "shop", 30) == timedelta(seconds=30)


@pytest.mark.parametrize("value", [None, 5, "", "soon", "2030-01-01", "2030-01-01T00:00:00", "2" * 41])
def test_a_time_has_a_date_and_a_zone(value: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(CredentialError, match="expires_at is not a time"):
        read_time({"expires_at": value}, "expires_at", "shop")
    assert read_time({"expires_at": "2030-01-01T00:00:00Z"}, "expires_at", "shop") == datetime(2030, 1, 1, tzinfo=UTC)


def test_a_bearer_token_replaces_the_jobs_own_field_and_is_watched() -> None:
    """The job's Authorization goes, ours comes, and an echo of it will be found."""
    edits = bearer(Secret("t"))
    ((name, value),) = edits.put
    assert isinstance(value, Secret)
    assert (edits.remove, name, value.reveal()) == (frozenset({"authorization"}), "authorization", "Bearer t")
    assert [each.reveal() for each in edits.watch] == ["t"]
