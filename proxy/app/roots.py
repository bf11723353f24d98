"""Who vouches for upstreams, kept as the file says it: a CA that is rotated or distrusted needs no restart (T39)."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from proxy.gateway.tls import Roots
from proxy.model.errors import ConfigError
from proxy.model.record import Fact, Kind

log = logging.getLogger("jobgate")

_LOOK: Final = 1.0
"""Seconds between two looks at the file."""


class RootsKeeper:
    """Reads changed roots and hands them to whoever verifies by them; what cannot be used leaves the old in force."""

    def __init__(
        self,
        roots: Roots,
        users: Sequence[Callable[[ssl.SSLContext], None]],
        note: Callable[[Kind, Mapping[str, Fact]], None],
    ) -> None:
        self._roots = roots
        self._users = users
        self._note = note
        self.problem: str | None = None
        """Why the file as it is now is not in force."""

    async def reload(self) -> None:
        """Read the file if it is another one by now."""
        try:
            is_new = await asyncio.to_thread(self._roots.reload)
        except ConfigError as error:
            if self.problem is None:
                self._note(Kind.ROOTS_REFUSED, {"problem": str(error)})
                log.warning("the roots were not reloaded, the old ones stay in force: %s", error)
            self.problem = str(error)
            return
        self.problem = None
        if is_new:
            for use in self._users:
                use(self._roots.context)
            self._note(Kind.ROOTS_LOADED, {"sha256": self._roots.digest})

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            await self.reload()
