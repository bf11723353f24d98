"""Where a CI's events come in: a listener for webhooks, a queue that is emptied."""

import asyncio
import logging
from typing import Final, Literal

from proxy.config import read_token
from proxy.config.events import EventSettings, GithubEvents, GitlabEvents, SqsEvents
from proxy.connectors.parts import ConnectorParts
from proxy.connectors.sqs import Message, Queue
from proxy.control.event_routes import MAX_EVENT, EventRoutes
from proxy.control.server import ControlLimits, ControlServer
from proxy.engine.events import EventDesk, EventSource
from proxy.identity.event_bridge import read_bridged
from proxy.model.errors import AuditError, CredentialError, TokenError

log = logging.getLogger("jobgate")

_PAUSE: Final = 5.0
_TRIES: Final = 3
"""A message that is no event is refused so often, and then deleted: a queue may have no place for dead letters."""


def event_sources(given: EventSettings) -> dict[str, EventSource]:
    """Return whose webhooks are taken, by CI. Raises ConfigError."""
    sources: dict[str, EventSource] = {}
    if (ours := given.buildkite) is not None:
        token = read_token("events.buildkite.token", ours.token, 16)
        sources["buildkite"] = EventSource(organization=ours.organization, token=token, form=ours.form)
    for name, form, other in (("github", "github", given.github), ("gitlab", "gitlab", given.gitlab)):
        if other is not None:
            sources[name] = _source(name, form, other)  # type: ignore[arg-type]
    return sources


def _source(name: str, form: Literal["github", "gitlab"], given: GithubEvents | GitlabEvents) -> EventSource:
    token = read_token(f"events.{name}.token", given.token, 16)
    return EventSource(organization=given.organization, token=token, form=form)


def event_server(given: EventSettings, desk: EventDesk) -> ControlServer | None:
    """Return what takes webhooks, where any is set. Raises ConfigError."""
    sources = event_sources(given)
    if not sources:
        return None
    return ControlServer(EventRoutes(desk, sources), given.listen, ControlLimits(body=MAX_EVENT, is_public=True))


async def empty_queue(given: SqsEvents, desk: EventDesk, parts: ConnectorParts) -> None:
    """Take events from a queue until cancelled. A message goes once its event is on record."""
    queue, failed = Queue(parts, given.queue, given.region), False
    while True:
        try:
            for message in await queue.receive():
                await _take(queue, message, given.organization, desk)
        except (CredentialError, AuditError) as error:
            if not failed:
                log.warning("events.sqs: %s", error)
            failed = True
            await asyncio.sleep(_PAUSE)
        else:
            failed = False


async def _take(queue: Queue, message: Message, organization: str, desk: EventDesk) -> None:
    try:
        found = read_bridged(message.body.encode(), organization)
    except TokenError as error:
        if message.times == 1:
            desk.refuse(error.reason, str(error), "sqs")
        if message.times < _TRIES:
            return  # it shows up again, or goes where the queue sends dead letters
        found = None
    if found is not None:
        await desk.receive(*found)
    await queue.delete(message)
