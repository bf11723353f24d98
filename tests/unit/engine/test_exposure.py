"""What was issued is found in a text, whoever it was issued to, as long as it could be misused, and no longer."""

import base64
from datetime import UTC, datetime, timedelta

from proxy.engine.exposure import KEPT, Issued, SecretWatch
from proxy.model.grant import Credential, Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECRET = "a-secret-of-an-upstream"


def credential(secret: str = SECRET, name: str = "token", ends: timedelta | None = None) -> Credential:
    return Credential(
        connector="header",
        secrets={name: Secret(secret)},
        facts={},
        fingerprint=f"of {secret}",
        expires_at=None if ends is None else NOW + ends,
    )


def issued(session: str, secret: str = SECRET) -> Issued:
    return Issued(session, "header", f"of {secret}")


def test_nothing_is_found_where_nothing_was_issued() -> None:
    """No credential, no finder."""
    assert SecretWatch().find(SECRET.encode(), NOW) == []


def test_each_place_is_found_once_with_everybody_it_was_issued_to() -> None:
    """Spellings that contain each other are one place; a secret that two sessions share names both."""
    watch = SecretWatch()
    watch.note("s-1", credential())
    watch.note("s-2", credential())
    watch.note("s-3", credential("another-secret-entirely"))
    packed = base64.b64encode(f"user:{SECRET}".encode())
    found = watch.find(b"- " + SECRET.encode() + b" - " + packed, NOW)
    assert (found[0].start, found[0].end, found[0].issued) == (2, 25, (issued("s-1"), issued("s-2")))
    assert len(found) == 2
    assert found[1].issued == (issued("s-1"), issued("s-2"))
    assert watch.find(b"nothing", NOW) == []


def test_two_secrets_that_overlap_are_one_place() -> None:
    """One inside the other: blanked together, and both exposed."""
    watch = SecretWatch()
    watch.note("s-1", credential("inner-secret-0123"))
    watch.note("s-2", credential("outer-inner-secret-0123-outer"))
    (found,) = watch.find(b"outer-inner-secret-0123-outer", NOW)
    assert (found.start, found.end) == (0, 29)
    assert set(found.issued) == {issued("s-1", "inner-secret-0123"), issued("s-2", "outer-inner-secret-0123-outer")}


def test_an_end_alone_is_nothing() -> None:
    """Two secrets with one end are told apart by what stands before it; neither is found where a third one does."""
    watch = SecretWatch()
    ending = "-" + "e" * 40
    watch.note("s-1", credential(f"first{ending}"))
    watch.note("s-2", credential(f"second{ending}"))
    assert [each.issued for each in watch.find(f"first{ending} second{ending}".encode(), NOW)] == [
        (issued("s-1", f"first{ending}"),),
        (issued("s-2", f"second{ending}"),),
    ]
    assert watch.find(f"third{ending} {ending}".encode(), NOW) == []


def test_what_is_short_or_no_secret_is_not_looked_for() -> None:
    """A password of a few letters, or a user's name, stands in any log."""
    watch = SecretWatch()
    watch.note("s-1", credential("short"))
    watch.note("s-1", credential("deploy-bot-of-acme", name="username"))
    assert watch.find(b"short deploy-bot-of-acme", NOW) == []


def test_after_its_session_a_secret_is_known_for_a_while() -> None:
    """A job's last lines come late; what has expired is no secret any more; what nobody ended stays."""
    watch = SecretWatch()
    watch.note("s-1", credential())
    watch.note("s-1", credential("one-that-expires-soon", ends=timedelta(minutes=1)))
    watch.note("s-2", credential("of-another-session-000", ends=timedelta(minutes=1)))
    text = f"{SECRET} one-that-expires-soon of-another-session-000".encode()
    watch.end_session("s-1", NOW)
    assert len(watch.find(text, NOW)) == 3
    assert len(watch.find(text, NOW + timedelta(minutes=2))) == 2
    assert len(watch.find(text, NOW + KEPT)) == 1
    watch.end_session("s-2", NOW + KEPT)
    assert watch.find(text, NOW + KEPT) == []


def test_so_many_are_known_and_no_more() -> None:
    """The oldest is forgotten first."""
    watch = SecretWatch(most=2)
    for number in range(3):
        watch.note("s-1", credential(f"secret-number-{number}"))
    found = watch.find(b"secret-number-0 secret-number-1 secret-number-2", NOW)
    assert [each.start for each in found] == [16, 32]
