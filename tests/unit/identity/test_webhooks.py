"""A delivery is Buildkite's and fresh, or it is nothing; and it says no more than it may."""

import hmac
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from proxy.identity.webhooks import Delivery, check_signature, check_token, read_event
from proxy.model.errors import TokenError
from proxy.model.event import Unblocked
from proxy.model.grant import Secret
from proxy.model.reason import Reason

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TOKEN = Secret("the-webhooks-token")
JOB, BUILD, AGENT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
FINISHED: dict[str, Any] = {
    "event": "job.finished",
    "job": {"id": JOB, "step_key": "release", "state": "finished"},
    "build": {"id": BUILD, "number": 7, "blocked": False},
    "pipeline": {"slug": "shop"},
    "agent": {"id": AGENT},
}


def deliver(body: bytes = b"{}", at: datetime = NOW, token: str = "the-webhooks-token", **fields: str) -> Delivery:
    stamp = str(int(at.timestamp()))
    signature = hmac.new(token.encode(), stamp.encode() + b"." + body, sha256).hexdigest()
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Delivery(fields={"x-buildkite-signature": f"timestamp={stamp},signature={signature}"} | named, body=body)


@pytest.mark.parametrize("off", [0, 299, -299, 300, -300])
def test_a_fresh_signature_is_taken(off: int) -> None:
    """Five minutes either way; its name is the signature, so that a repetition is known."""
    found = check_signature(deliver(at=NOW + timedelta(seconds=off)), TOKEN, NOW)
    assert len(found) == 64
    assert found != check_signature(deliver(b"{ }"), TOKEN, NOW)


SIGNED = deliver().fields["x-buildkite-signature"]


@pytest.mark.parametrize(
    "delivery, reason",
    [
        (Delivery(fields={}, body=b"{}"), Reason.IDENTITY_MALFORMED),
        (deliver(x_buildkite_signature=""), Reason.IDENTITY_MALFORMED),
        (deliver(x_buildkite_signature=SIGNED.upper()), Reason.IDENTITY_MALFORMED),
        (deliver(x_buildkite_signature=f"{SIGNED},{SIGNED}"), Reason.IDENTITY_MALFORMED),
        (deliver(x_buildkite_signature=SIGNED.partition(",")[2]), Reason.IDENTITY_MALFORMED),
        (deliver(x_buildkite_token="the-webhooks-token"), Reason.IDENTITY_MALFORMED),
        (deliver(token="another"), Reason.IDENTITY_SIGNATURE),
        (Delivery(fields=deliver().fields, body=b"{} "), Reason.IDENTITY_SIGNATURE),
        (deliver(at=NOW + timedelta(seconds=301)), Reason.IDENTITY_EXPIRED),
        (deliver(at=NOW - timedelta(seconds=301)), Reason.IDENTITY_EXPIRED),
    ],
)
def test_any_other_signature_is_none(delivery: Delivery, reason: Reason) -> None:
    """Missing, doubled, beside a token, of another token or body, old, of the future."""
    with pytest.raises(TokenError) as caught:
        check_signature(delivery, TOKEN, NOW)
    assert caught.value.reason is reason


def test_a_plain_token_is_compared_whole() -> None:
    """And names the delivery by its body."""
    plain = Delivery(fields={"x-buildkite-token": "the-webhooks-token"}, body=b"{}")
    assert check_token(plain, TOKEN) == sha256(b"{}").hexdigest()
    for fields, reason in (
        ({}, Reason.IDENTITY_MALFORMED),
        ({"x-buildkite-token": ""}, Reason.IDENTITY_MALFORMED),
        ({**plain.fields, "x-buildkite-signature": SIGNED}, Reason.IDENTITY_MALFORMED),
        ({"x-buildkite-token": "the-webhooks-toke"}, Reason.IDENTITY_SIGNATURE),
        ({"x-buildkite-token": "the-webhooks-token\udcff"}, Reason.IDENTITY_SIGNATURE),
    ):
        with pytest.raises(TokenError) as caught:
            check_token(Delivery(fields=fields, body=b"{}"), TOKEN)
        assert caught.value.reason is reason


def test_an_event_says_what_it_is_about() -> None:
    """Ids, slug and number; the organization is the setting's, whatever the body says."""
    told = {**FINISHED, "organization": {"slug": "evil"}, "sender": {"id": "x"}}
    event = read_event(deliver(json.dumps(told).encode(), x_buildkite_event="job.finished"), "acme")
    assert (event.name, event.organization, event.pipeline) == ("job.finished", "acme", "shop")
    assert (event.job_id, event.build_id, event.build_number, event.agent_id) == (JOB, BUILD, 7, AGENT)
    assert (event.step, event.state, event.is_blocked) == ("release", "finished", False)
    blocked = {"event": "build.finished", "build": {"state": "blocked", "blocked": True}}
    found = read_event(deliver(json.dumps(blocked).encode()), "acme")
    assert (found.state, found.is_blocked, found.job_id) == ("blocked", True, None)


FORKS: list[tuple[Any, Any, bool | None]] = [
    (..., "git@github.com:acme/shop.git", None),
    (None, "git@github.com:acme/shop.git", False),
    ({}, "git@github.com:acme/shop.git", False),
    ({"repository": "https://github.com/acme/shop"}, "git@github.com:acme/shop.git", False),
    ({"repository": "git://github.com/Acme/Shop.git"}, "ssh://git@github.com:22/acme/shop/", False),
    ({"repository": "https://user@github.com/eve/shop.git"}, "git@github.com:acme/shop.git", True),
    ({"repository": "https://github.test/acme/shop"}, "https://github.com/acme/shop", True),
    ({"repository": "/srv/shop.git"}, "git@github.com:acme/shop.git", None),
    ({"id": "7"}, "git@github.com:acme/shop.git", None),
    ({"repository": "https://github.com/acme/shop"}, None, None),
]


@pytest.mark.parametrize("asked, ours, is_fork", FORKS)
def test_a_fork_is_another_repository(asked: Any, ours: str | None, is_fork: bool | None) -> None:  # noqa: FBT001 - a table
    """However git's URLs spell it; what cannot be told is not said."""
    build = {} if asked is ... else {"pull_request": asked}
    told = {"event": "build.running", "build": build, "pipeline": {"slug": "shop", "repository": ours}}
    assert read_event(deliver(json.dumps(told).encode()), "acme").is_fork is is_fork


def test_an_event_says_who_unblocked_a_step_and_what_is_built() -> None:
    """Person in lower case, time with its zone; a commit only once it is known; nothing of it in other events."""
    job = {"step_key": "release", "unblocked_by": {"id": AGENT, "email": "Ann@Acme.test", "name": "Ann"}}
    told = {
        "event": "job.activated",
        "job": {**job, "unblocked_at": "2030-01-01T00:00:00Z"},
        "build": {"number": 7, "state": "running", "branch": "main", "commit": "a" * 40},
    }
    event = read_event(deliver(json.dumps(told).encode()), "acme")
    assert event.unblocked == Unblocked(by=frozenset({AGENT, "ann@acme.test"}), at=NOW)
    assert (event.build_state, event.branch, event.commit) == ("running", "main", "a" * 40)
    for change in ({"event": "job.started"}, {"job": {**job, "unblocked_by": None}}):
        assert read_event(deliver(json.dumps(told | change).encode()), "acme").unblocked is None
    early = {"event": "job.activated", "job": job, "build": {"commit": "HEAD"}}
    found = read_event(deliver(json.dumps(early).encode()), "acme")
    assert found.unblocked is not None
    assert (found.unblocked.at, found.commit) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"event":"job.finished","event":"ping"}',
        b"{}",
        b'{"event":7}',
        b'{"event":"job finished"}',
        b'{"event":"job.finished","job":[]}',
        b'{"event":"job.finished","job":{"id":"../x"}}',
        b'{"event":"job.finished","job":{"id":7}}',
        b'{"event":"job.finished","build":{"number":"7"}}',
        b'{"event":"job.finished","build":{"number":true}}',
        b'{"event":"job.finished","build":{"number":-1}}',
        b'{"event":"job.finished","pipeline":{"slug":"a/b"}}',
        b'{"event":"job.finished","job":{"step_key":"a\\nb"}}',
        b'{"event":"job.activated","job":{"unblocked_by":"ann"}}',
        b'{"event":"job.activated","job":{"unblocked_by":{"id":"ann"}}}',
        b'{"event":"job.activated","job":{"unblocked_by":{"email":"a@b.test"},"unblocked_at":"soon"}}',
        b'{"event":"job.activated","job":{"unblocked_by":{"email":"a@b.test"},"unblocked_at":"2030-01-01T00:00:00"}}',
        b'{"event":"job.started","build":{"pull_request":7}}',
    ],
)
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    """Malformed, doubled, without a name, with ids that are none."""
    with pytest.raises(TokenError) as caught:
        read_event(deliver(body), "acme")
    assert caught.value.reason is Reason.IDENTITY_MALFORMED


def test_head_and_body_must_name_the_same_event() -> None:
    """What is signed is the body: a field that says otherwise is somebody else's."""
    with pytest.raises(TokenError, match="another event"):
        read_event(deliver(b'{"event":"ping"}', x_buildkite_event="job.finished"), "acme")
