"""A Git LFS server and, at another host, the store its objects are kept in: each URL for one object and one credential.

Source: git-lfs, docs/api/batch.md and basic-transfers.md.
"""

import gzip
import hashlib
import json
import secrets
import ssl
from dataclasses import dataclass, field

from proxy.demo.web import Exchange, Site

SERVER, STORE = "lfs.test", "store.test"
MEDIA = "application/vnd.git-lfs+json"


@dataclass(slots=True)
class LfsServer:
    """Both hosts. `objects` by digest; `tickets` are what an URL's request must carry: (method, path) to credential."""

    tls: ssl.SSLContext
    credential: str
    compress: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    tickets: dict[tuple[str, str], str] = field(default_factory=dict)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_LfsExchange, self.tls)
        self.site.lfs = self  # type: ignore[attr-defined]

    def grant(self, method: str, path: str, host: str) -> dict[str, object]:
        """Hand out the URL of one request."""
        self.tickets[method, path] = f"Ticket {secrets.token_hex(8)}"
        return {
            "href": f"https://{host}{path}",
            "header": {"Authorization": self.tickets[method, path], "X-Kept": "yes"},
            "expires_in": 60,
        }

    def answer_batch(self, asked: dict[str, object]) -> dict[str, object]:
        """Return a batch's answer: for each object what the client is to do."""
        answers = []
        objects = asked["objects"]
        assert isinstance(objects, list)
        for each in objects:
            oid = each["oid"]
            actions: dict[str, object] = {}
            if asked["operation"] == "download" and oid in self.objects:
                actions = {"download": self.grant("GET", f"/objects/{oid}", STORE)}
            if asked["operation"] == "upload" and oid not in self.objects:
                actions = {"upload": self.grant("PUT", f"/objects/{oid}", STORE)}
            answers.append({"oid": oid, "size": each["size"], "authenticated": True, "actions": actions})
        return {"transfer": "basic", "objects": answers}


class _LfsExchange(Exchange):
    def answer(self) -> None:
        lfs: LfsServer = self.server.lfs  # type: ignore[attr-defined]
        body = self.read_body()
        host, sent = self.headers["host"], self.headers["authorization"]
        if host == SERVER:
            self._answer_server(lfs, body, sent)
        elif sent != lfs.tickets.get((self.command, self.path)) or self.headers["x-kept"] != "yes":
            self.reply(403)
        elif self.command == "PUT":
            oid = self.path.rpartition("/")[2]
            is_whole = hashlib.sha256(body).hexdigest() == oid
            lfs.objects.update({oid: body} if is_whole else {})
            self.reply(200 if is_whole else 422)
        else:
            self.reply(200, lfs.objects[self.path.rpartition("/")[2]])

    def _answer_server(self, lfs: LfsServer, body: bytes, sent: str | None) -> None:
        if sent != lfs.credential:
            self.reply(401, b"{}", {"LFS-Authenticate": 'Basic realm="lfs"', "Content-Type": MEDIA})
        elif self.path == "/acme/app/info/lfs/objects/batch":
            found, headers = json.dumps(lfs.answer_batch(json.loads(body))).encode(), {"Content-Type": MEDIA}
            if lfs.compress:
                found, headers = gzip.compress(found), headers | {"Content-Encoding": "gzip"}
            self.reply(200, found, headers)
        else:
            self.reply(404, b"{}", {"Content-Type": MEDIA})
