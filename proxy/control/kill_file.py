"""Kills outlive the process in one JSON file, replaced whole. One that cannot be read keeps the proxy from starting."""

import asyncio
import contextlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from proxy.model.errors import ConfigError
from proxy.model.kill import Kill, check_kill

_LIMIT: Final = 1 << 20
_FIELDS: Final = {"id", "scope", "value", "why", "at"}


def load_kills(path: Path) -> tuple[Kill, ...]:
    """Return what was stopped when the file was last written; nothing when there is no file. Raises ConfigError."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"kills: {path} cannot be read ({error.strerror}): what is stopped is not known") from None
    try:
        if len(raw) > _LIMIT:
            raise ValueError("it is longer than any list of kills")  # noqa: TRY301 - told with the other faults
        found = json.loads(raw)
        return tuple(_read_kill(each) for each in found["kills"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"kills: {path} is not a list of kills ({error}): mend it; an empty one lifts everything"
        ) from None


def _read_kill(entry: dict[str, Any]) -> Kill:
    if set(entry) != _FIELDS or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError(f"an entry has {', '.join(sorted(_FIELDS))}, each a text")
    scope, value, why = check_kill(entry["scope"], entry["value"], entry["why"])
    return Kill(id=entry["id"], scope=scope, value=value, why=why, at=datetime.fromisoformat(entry["at"]))


class KillFile:
    """`engine.kills.Store` over one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()

    async def save(self, kills: tuple[Kill, ...]) -> None:
        """Return once they are durable. Raises OSError with the file as it was."""
        entries = [
            {"id": kill.id, "scope": kill.scope.value, "value": kill.value, "why": kill.why, "at": kill.at.isoformat()}
            for kill in kills
        ]
        async with self._lock:
            await asyncio.to_thread(_replace, self._path, json.dumps({"kills": entries}, indent=1).encode() + b"\n")


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
