"""Searches all that a sidecar leaves behind for secrets, in every spelling that a log or an answer might give them."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

from tests.fakes.sidecar import World


def find_leaks(places: Mapping[str, bytes], secrets: Iterable[str]) -> list[str]:
    """The places where a secret stands, each named once; the secret itself is not repeated."""
    wanted = {spelling for secret in secrets for spelling in spellings(secret)}
    return [name for name, content in places.items() if any(each in content for each in wanted)]


def spellings(secret: str) -> set[bytes]:
    """A secret as it is, URL-encoded, in hex, and in base64 wherever in a longer text it stood."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), plain.hex().encode()}
    for offset in range(3):
        # Whole groups only: the first and the last character also hold bits of what stands beside the secret.
        start, length = (3 - offset) % 3, len(plain)
        inner = plain[start : start + (length - start) // 3 * 3]
        found |= {base64.b64encode(inner), base64.urlsafe_b64encode(inner)}
    return found


def places_of(world: World) -> dict[str, bytes]:
    """Everything that can be read of a sidecar from outside: files, metrics, answers, environment, process list."""
    found = {f"answer {number}": output for number, output in enumerate(world.outputs)}
    for page in ("/metrics", "/v1/sessions"):
        found[page] = world.sidecar.api.call("GET", page).body
    for path in world.sidecar.folder.rglob("*"):
        if path.is_file():
            found[str(path)] = path.read_bytes()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        found[str(line)] = _read(line)
    own = Path("/proc") / str(world.sidecar.pid) / "environ"
    found[str(own)] = own.read_bytes()
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended since it was listed
        return b""
