"""Sidecar mode: the sidecar holds the one job's identity itself, so that clients need no proxy password.

The token comes from a file that something else writes, or from a command that prints it; both may come late, and the
tokens for connectors are renewed before they expire.
"""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Final

from proxy.config import IdentitySettings, TokenSource
from proxy.engine.seam import Denial
from proxy.engine.sessions import SessionDesk
from proxy.model.errors import JobgateError
from proxy.model.identity import Session, UnverifiedToken
from proxy.model.reason import Reason

_RETRY: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_RENEW_BEFORE: Final = timedelta(seconds=90)
_COMMAND_TIME: Final = 15.0
_LIMIT: Final = 64 * 1024


class OwnIdentity:
    """Opens the sidecar's own session, and keeps its tokens fresh."""

    def __init__(self, settings: IdentitySettings, desk: SessionDesk) -> None:
        self._settings = settings
        self._desk = desk
        self._session: Session | None = None
        self.fault = ""

    @property
    def is_held(self) -> bool:
        """Whether the job's session is open."""
        return self._session is not None and self._desk.is_open(self._session, self._desk.now())

    async def keep(self) -> None:
        """Open the session as soon as its token can be had; afterwards renew it while the job's tokens expire."""
        attempt = 0
        while True:
            if await self._adopt():
                attempt = 0
                await asyncio.sleep(self._until_renewal())
            else:
                await asyncio.sleep(_RETRY[min(attempt, len(_RETRY) - 1)])
                attempt += 1

    async def _adopt(self) -> bool:
        try:
            token = await _read_token(self._settings)
            others = [await _read_token(source) for source in self._settings.others]
            opened = await self._desk.adopt_own(token, others, self._settings.intents)
        except JobgateError as error:
            self.fault = str(error)
            return False
        if isinstance(opened, Denial):
            # The same token again: nothing new has been written yet, and the session it opened goes on.
            self.fault = opened.reason.value
            return opened.reason is Reason.IDENTITY_REPLAYED and self.is_held
        self._session, self.fault = opened, ""
        return True

    def _until_renewal(self) -> float:
        """Return the seconds until the first held token is about to expire; without any, until the session's end."""
        session = self._session
        if session is None or not self.is_held:
            return _RETRY[0]
        ends = [held.expires_at for held in session.tokens.values()] or [session.expires_at]
        left = min(ends) - self._desk.now() - _RENEW_BEFORE
        return max(5.0, left.total_seconds())


async def _read_token(source: TokenSource) -> UnverifiedToken:
    """Return the token a source gives. Raises JobgateError that names the source."""
    if source.file is not None:
        content = await asyncio.to_thread(_read_file, source.file)
    else:
        content = await _run(source.command or ())
    text = content.decode("ascii", "replace").strip()
    if not text:
        raise JobgateError(f"identity: {source.file or (source.command or ('?',))[0]} gives no token")
    return UnverifiedToken(text)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT)
    except OSError as error:
        raise JobgateError(f"identity: {path} cannot be read: {error.strerror}") from None


async def _run(command: tuple[str, ...]) -> bytes:
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(os.environ),
        )
    except OSError as error:
        raise JobgateError(f"identity: {command[0]} cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(_COMMAND_TIME):
            output, _ = await child.communicate()
    except TimeoutError:
        raise JobgateError(f"identity: {command[0]} took longer than {_COMMAND_TIME:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise JobgateError(f"identity: {command[0]} ended with exit code {child.returncode}")
    return output[:_LIMIT]
