"""Where agents export jobs' logs to: OTLP/HTTP, protobuf or JSON (OpenTelemetry protocol specification 1.x)."""

import hmac
import zlib
from collections.abc import Mapping
from typing import Final

from proxy.control.messages import Refusal, Reply, Request, error_reply
from proxy.control.otlp_logs import answer_export, read_export
from proxy.engine.logs import LogDesk
from proxy.model.errors import AuditError, ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

PATH: Final = "/v1/logs"
MAX_EXPORT: Final = 36 * 1024 * 1024
"""Bytes of a request, packed and unpacked: an agent sends at most 512 records of 64 KiB at once."""

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_AGAIN: Final = "5"
"""Seconds after which an agent may try again."""


class LogRoutes:
    """Answers exports. The wire is `control.server`'s."""

    def __init__(self, desk: LogDesk, token: Secret) -> None:
        """Whoever shows `token` may hand over logs, of any job."""
        self._desk = desk
        self._token = token

    def is_welcome(self, fields: Mapping[str, str]) -> bool:
        """Whether a request's fields show the token."""
        scheme, _, shown = fields.get("authorization", "").partition(" ")
        wanted = self._token.reveal().encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode("utf-8", "replace"), wanted)

    async def answer(self, request: Request) -> Reply:
        """Answer one export: 200 once every line is on record, 503 when it should come again."""
        if request.path != PATH:
            return error_reply(404, "not-found", "there is nothing at this path")
        if request.method != "POST":
            reply = error_reply(405, Reason.METHOD_UNKNOWN.value, "use POST")
            return Reply(status=405, body=reply.body, headers=(("allow", "POST"),))
        try:
            return await self._take(request)
        except Refusal as refusal:
            return refusal.reply
        except ProtocolError as error:
            return error_reply(400, error.reason.value, str(error))
        except AuditError:
            reply = error_reply(503, Reason.TRAIL_UNAVAILABLE.value, "the lines could not be recorded; send them again")
            return Reply(status=503, body=reply.body, headers=(("retry-after", _AGAIN),))

    async def _take(self, request: Request) -> Reply:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in {_PROTOBUF, _JSON}:
            raise Refusal(415, Reason.REQUEST_MALFORMED.value, f"the body must be {_PROTOBUF} or {_JSON}")
        export = read_export(_unpacked(request), is_json=kind == _JSON)
        await self._desk.receive(export.logs)
        return Reply(status=200, body=answer_export(export.refused, is_json=kind == _JSON), content_type=kind)


def _unpacked(request: Request) -> bytes:
    """Return the body as it was before compression. Raises Refusal."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return request.body
    if coding != "gzip":
        raise Refusal(415, Reason.REQUEST_MALFORMED.value, "a body is packed with gzip or not at all")
    engine = zlib.decompressobj(zlib.MAX_WBITS + 16)
    try:
        plain = engine.decompress(request.body, MAX_EXPORT)
    except zlib.error:
        raise Refusal(400, Reason.BODY_MALFORMED.value, "the body is no gzip") from None
    if engine.unconsumed_tail:
        raise Refusal(413, Reason.BODY_TOO_LARGE.value, f"unpacked the body is over {MAX_EXPORT // 1024} KiB")
    if not engine.eof or engine.unused_data:
        raise Refusal(400, Reason.BODY_MALFORMED.value, "the body is no whole gzip")
    return plain
