"""Which sessions are open, and which tokens have been used. Pure: `now` is passed, nothing is awaited.

Of every password only its SHA-256 is kept: a lookup by digest takes the same time whatever the digest's neighbours.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from proxy.model.grant import Secret
from proxy.model.identity import Session
from proxy.model.placeholder import PUBLIC, Placeholders

DEFAULT_CEILING: Final = timedelta(hours=12)
DEFAULT_MAXIMUM: Final = 1000
DEFAULT_REMEMBERED: Final = 65_536


def digest_secret(text: str) -> str:
    """Return the SHA-256 of a proxy password in hex."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: str
    session: Session


class SessionBook:
    """The open sessions, by id and by digest of their password."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Entry] = {}
        self._by_digest: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter([entry.session for entry in self._by_id.values()])

    def add(self, session: Session, digest: str) -> None:
        """Open a session under the digest of its password. Raises ValueError for a name or digest already there."""
        if session.id in self._by_id or digest in self._by_digest:
            raise ValueError("a session with this name or password is open")
        entry = _Entry(digest, session)
        self._by_id[session.id] = entry
        self._by_digest[digest] = entry

    def match(self, digest: str) -> Session | None:
        """Return the session whose password has this digest, over or not; None when there is none."""
        entry = self._by_digest.get(digest)
        return entry.session if entry is not None and hmac.compare_digest(entry.digest, digest) else None

    def find(self, session_id: str) -> Session | None:
        """Return a session by its name."""
        entry = self._by_id.get(session_id)
        return None if entry is None else entry.session

    def is_open(self, session_id: str, now: datetime) -> bool:
        """Return whether a session is in the book and its time is not up."""
        entry = self._by_id.get(session_id)
        return entry is not None and now < entry.session.expires_at

    def close(self, session_id: str) -> Session | None:
        """Take a session out. Its password names nothing from now on."""
        entry = self._by_id.pop(session_id, None)
        if entry is None:
            return None
        del self._by_digest[entry.digest]
        return entry.session

    def expired(self, now: datetime) -> tuple[Session, ...]:
        """Return the sessions whose time is up; they stay in the book until closed."""
        return tuple(entry.session for entry in self._by_id.values() if now >= entry.session.expires_at)


class PlaceholderBook:
    """What signs with an open session's AWS placeholder, by its access key id."""

    def __init__(self) -> None:
        self._known = {PUBLIC.aws_key: PUBLIC.aws_secret}

    def add(self, placeholders: Placeholders) -> None:
        """Know a session's from now on."""
        self._known[placeholders.aws_key] = placeholders.aws_secret

    def remove(self, placeholders: Placeholders) -> None:
        """Forget a session's. The public one stays."""
        if placeholders.mark != PUBLIC.mark:
            self._known.pop(placeholders.aws_key, None)

    def find_secret(self, key_id: str) -> Secret | None:
        """Return the secret that signs with a placeholder, None for any other key."""
        return self._known.get(key_id)


class ReplayRegister:
    """Tokens that opened a session, until they could not open one anyway. Bounded: when full, nothing is new."""

    def __init__(self, maximum: int = DEFAULT_REMEMBERED) -> None:
        self._maximum = maximum
        self._used: dict[tuple[str, str], datetime] = {}

    def __len__(self) -> int:
        return len(self._used)

    def is_used(self, key: tuple[str, str]) -> bool:
        """Return whether a token has opened a session."""
        return key in self._used

    def is_full(self, now: datetime) -> bool:
        """Return whether no further token can be remembered; then none may be accepted."""
        if len(self._used) >= self._maximum:
            self.purge(now)
        return len(self._used) >= self._maximum

    def remember(self, key: tuple[str, str], until: datetime) -> None:
        """Mark a token as used until it has expired, leeway included."""
        self._used[key] = until

    def forget(self, key: tuple[str, str]) -> None:
        """Unmark a token whose session never opened."""
        self._used.pop(key, None)

    def purge(self, now: datetime) -> None:
        """Drop what has expired."""
        self._used = {key: until for key, until in self._used.items() if now <= until}
