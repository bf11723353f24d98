"""The book of open sessions and the register of used tokens."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.identity.sessions import PlaceholderBook, ReplayRegister, SessionBook, digest_secret
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.placeholder import PUBLIC, derive_placeholders

NOW = datetime(2026, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


def session(name: str = "s-1", lifetime: timedelta = HOUR) -> Session:
    return Session(
        id=name,
        principal=Principal(provider="p", issuer="i", subject="s", token_digest="d"),
        job=JobContext(),
        opened_at=NOW,
        expires_at=NOW + lifetime,
    )


def test_a_session_is_found_by_its_password_and_name_alone() -> None:
    """The digest of the password, and the name, lead to the session; anything else to nothing."""
    book, one = SessionBook(), session()
    book.add(one, digest_secret("password"))

    assert book.match(digest_secret("password")) is one
    assert book.find("s-1") is one
    assert list(book) == [one]
    assert len(book) == 1
    for wrong in ("", "Password", "password ", "s-1", "\ud800"):
        assert book.match(digest_secret(wrong)) is None
    assert book.match("password") is None
    assert book.find("s-2") is None


def test_a_closed_session_is_gone() -> None:
    """After closing neither password nor name lead anywhere, and closing again says so."""
    book, one = SessionBook(), session()
    book.add(one, "digest")

    assert book.close("s-1") is one
    assert book.close("s-1") is None
    assert book.match("digest") is None
    assert not book.is_open("s-1", NOW)
    assert len(book) == 0


def test_a_session_ends_at_its_ceiling_to_the_second() -> None:
    """Open until just before its time is up; from then on over, though still in the book until closed."""
    book, one = SessionBook(), session()
    book.add(one, "digest")

    assert book.is_open("s-1", NOW + HOUR - timedelta(microseconds=1))
    assert book.expired(NOW + HOUR - timedelta(microseconds=1)) == ()
    assert not book.is_open("s-1", NOW + HOUR)
    assert book.expired(NOW + HOUR) == (one,)
    assert book.match("digest") is one


@pytest.mark.parametrize("name,digest", [("s-1", "other"), ("s-2", "digest")])
def test_neither_name_nor_password_is_given_twice(name: str, digest: str) -> None:
    """A second session under the same name or password is refused."""
    book = SessionBook()
    book.add(session(), "digest")

    with pytest.raises(ValueError, match="is open"):
        book.add(session(name), digest)


def test_a_used_token_is_remembered_until_it_has_expired() -> None:
    """Used stays used until the token could not open anything anyway."""
    register, key = ReplayRegister(), ("i", "jti:1")
    register.remember(key, NOW + HOUR)

    register.purge(NOW + HOUR)
    assert register.is_used(key)
    assert not register.is_used(("i", "jti:2"))
    assert not register.is_used(("j", "jti:1"))
    register.purge(NOW + HOUR + timedelta(seconds=1))
    assert not register.is_used(key)
    assert len(register) == 0


def test_a_token_whose_session_never_opened_can_be_unmarked() -> None:
    """Forgetting makes the token new again; forgetting a stranger does nothing."""
    register = ReplayRegister()
    register.remember(("i", "1"), NOW)
    register.forget(("i", "1"))
    register.forget(("i", "2"))

    assert not register.is_used(("i", "1"))


def test_the_register_is_bounded_and_never_forgets_early() -> None:
    """When full, nothing more is accepted until something has expired by itself."""
    register = ReplayRegister(maximum=2)
    assert not register.is_full(NOW)
    register.remember(("i", "1"), NOW + HOUR)
    register.remember(("i", "2"), NOW + 2 * HOUR)

    assert register.is_full(NOW)
    assert register.is_used(("i", "1"))
    assert not register.is_full(NOW + HOUR + timedelta(seconds=1))
    assert not register.is_used(("i", "1"))
    assert register.is_used(("i", "2"))


def test_an_open_sessions_placeholder_is_known_by_its_key() -> None:
    """Until the session ends; the public one stays, whoever ends."""
    book, mine = PlaceholderBook(), derive_placeholders("a-password")
    book.add(mine)
    found = book.find_secret(mine.aws_key)
    assert found is not None
    assert found.reveal() == mine.aws_secret.reveal()
    for placeholders in (mine, mine, PUBLIC):
        book.remove(placeholders)
    assert book.find_secret(mine.aws_key) is None
    assert book.find_secret("AKIAJOBSOWN") is None
    assert book.find_secret(PUBLIC.aws_key) is PUBLIC.aws_secret
