"""Tells a service of the operators' that a person is asked: signed, tried a few times, never waited for by a flow.

Source: Standard Webhooks (standardwebhooks.com), specification 1.0: `webhook-id`, `webhook-timestamp` and
`webhook-signature`, which is `v1,` and the base64 of the HMAC-SHA256 of id, timestamp and body.
"""

import asyncio
import hmac
import json
import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from proxy.engine.approvals import Question
from proxy.engine.ports import Clock
from proxy.model.grant import Secret
from proxy.outbound import Answer, Call, OutboundError

log = logging.getLogger("jobgate")

_PAUSES: Final = (1.0, 5.0, 25.0)
"""Seconds between tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Where notices go, and what they are signed with. `call` is the one client of our own calls."""

    url: str
    key: Secret
    call: Callable[[Call], Awaitable[Answer]]
    clock: Clock
    pauses: tuple[float, ...] = _PAUSES
    _under_way: set[asyncio.Task[bool]] = field(default_factory=set, init=False)

    def tell(self, question: Question) -> None:
        """Send one question, without being waited for."""
        task = asyncio.ensure_future(self.deliver(question))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def deliver(self, question: Question) -> bool:
        """Send one question; False when nobody took it. It stands all the same: `jobgate approve` lists it."""
        body = json.dumps(
            {
                "type": "approval.asked",
                "timestamp": question.asked_at.isoformat(),
                "data": {"approval": question.id, **question.facts},
            },
            separators=(",", ":"),
        ).encode()
        for pause in (*self.pauses, 0.0):
            status = await self._send(question.id, body)
            if status is not None and 200 <= status < 300:
                return True
            await asyncio.sleep(pause)
        log.warning("nobody took the notice of approval %s", question.id)
        return False

    async def _send(self, name: str, body: bytes) -> int | None:
        stamp = str(int(self.clock.now().timestamp()))
        signed = b".".join((name.encode(), stamp.encode(), body))
        signature = b64encode(hmac.new(self.key.reveal().encode(), signed, sha256).digest()).decode()
        headers: dict[str, str | Secret] = {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            return (await self.call(Call(method="POST", url=self.url, headers=headers, body=body))).status
        except OutboundError:
            return None
