"""Where CIs deliver their events: one path each, one method, and one answer for whatever is not authentic."""

from collections.abc import Mapping
from typing import Final

from proxy.control.messages import Reply, Request, error_reply
from proxy.engine.events import EventDesk, EventSource
from proxy.model.errors import AuditError
from proxy.model.reason import Reason

PATH: Final = "/v1/events/"
"""What stands before the CI's name."""
MAX_EVENT: Final = 1024 * 1024
"""Bytes of a delivery."""


class EventRoutes:
    """Answers deliveries. The wire is `control.server`'s."""

    def __init__(self, desk: EventDesk, sources: Mapping[str, EventSource]) -> None:
        """Take deliveries of `sources`, by the CI's name."""
        self._desk = desk
        self._sources = {f"{PATH}{name}": source for name, source in sources.items()}

    async def answer(self, request: Request) -> Reply:
        """Answer one delivery: 204 once it is on record, 401 for what is not the CI's, 400 for what says nothing."""
        source = self._sources.get(request.path)
        if source is None:
            return error_reply(404, "not-found", "there is nothing at this path")
        if request.method != "POST":
            reply = error_reply(405, Reason.METHOD_UNKNOWN.value, "use POST")
            return Reply(status=405, body=reply.body, headers=(("allow", "POST"),))
        try:
            unwelcome = await self._desk.deliver(source, request.headers, request.body, request.peer)
        except AuditError:
            return error_reply(503, Reason.TRAIL_UNAVAILABLE.value, "the event could not be recorded; send it again")
        if unwelcome is None:
            return Reply(status=204)
        if unwelcome.is_authentic:
            return error_reply(400, unwelcome.reason.value, unwelcome.detail)
        return error_reply(401, "not-authentic", "this is not an event of the webhook that is expected here")
