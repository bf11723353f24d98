"""A Cargo registry with a sparse index, as strict as the Cargo book: what it stores is what cargo can build from.

Source: the Cargo book, "Registry Web API" and "Index Format".
"""

import hashlib
import json
import ssl
from dataclasses import dataclass, field
from typing import Any

from proxy.demo.web import Exchange, Site

HOST = "crates.test"
BASE = f"https://{HOST}"


def index_path(name: str) -> str:
    """Where the index keeps a crate."""
    if len(name) < 4:
        return f"/{len(name)}/{name}" if len(name) < 3 else f"/3/{name[0]}/{name}"
    return f"/{name[:2]}/{name[2:4]}/{name}"


@dataclass(slots=True)
class CrateRegistry:
    """The running registry: crates by name and version, index lines by name; `credential` opens all of it."""

    tls: ssl.SSLContext
    credential: str
    crates: dict[tuple[str, str], bytes] = field(default_factory=dict)
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_CrateExchange, self.tls)
        self.site.registry = self  # type: ignore[attr-defined]

    def publish(self, body: bytes) -> dict[str, Any]:
        """Store what `PUT /api/v1/crates/new` sent. Raises ValueError."""
        size = int.from_bytes(body[:4], "little")
        metadata = json.loads(body[4 : 4 + size])
        length = int.from_bytes(body[4 + size : 8 + size], "little")
        crate = body[8 + size :]
        key = (metadata["name"], metadata["vers"])
        if len(crate) != length or key in self.crates:
            raise ValueError("not what its lengths say, or published already")
        self.crates[key] = crate
        line = {
            "name": key[0],
            "vers": key[1],
            "deps": [],
            "cksum": hashlib.sha256(crate).hexdigest(),
            "features": {},
            "yanked": False,
        }
        self.lines.setdefault(key[0], []).append(line)
        return {"warnings": {"invalid_categories": [], "invalid_badges": [], "other": []}}


class _CrateExchange(Exchange):
    def answer(self) -> None:
        registry: CrateRegistry = self.server.registry  # type: ignore[attr-defined]
        body, words = self.read_body(), self.path.split("/")
        indexed = {index_path(name): lines for name, lines in registry.lines.items()}
        if self.headers["authorization"] != registry.credential:
            self.reply_json(401, {"errors": [{"detail": "who are you?"}]})
        elif (self.command, self.path) == ("GET", "/config.json"):
            self.reply_json(200, {"dl": f"{BASE}/api/v1/crates", "api": BASE, "auth-required": False})
        elif (self.command, self.path) == ("PUT", "/api/v1/crates/new"):
            self.reply_json(200, registry.publish(body))
        elif self.command == "GET" and self.path in indexed:
            text = "".join(json.dumps(line) + "\n" for line in indexed[self.path])
            self.reply(200, text.encode(), {"Content-Type": "text/plain"})
        elif self.command == "GET" and words[-1] == "download" and (words[-3], words[-2]) in registry.crates:
            self.reply(200, registry.crates[words[-3], words[-2]])
        elif self.command == "DELETE" and words[-1] == "yank":
            registry.lines[words[-3]][-1]["yanked"] = True
            self.reply_json(200, {"ok": True})
        else:
            self.reply_json(404, {"errors": [{"detail": "nothing here"}]})
