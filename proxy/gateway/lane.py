"""The HTTP/1.1 lane: one request from its head to its recorded outcome.

Admit, buffer only if the credential must sign the body, equip, dial, send, relay, conclude. Nothing is dialled before
the engine has agreed twice, and every clearance is concluded exactly once, however the exchange dies.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import Final

from proxy.engine.seam import Clearance, Denial, Outcome, Peer
from proxy.gateway.framing import Decoder, Framing
from proxy.gateway.guard import Asked, Guard
from proxy.gateway.heads import Request, Response, parse_response_head
from proxy.gateway.held import Budget, HeldBody
from proxy.gateway.limits import Limits
from proxy.gateway.outbox import Outbox
from proxy.gateway.pool import Pool, Upstream
from proxy.gateway.pumps import Discard, Pump
from proxy.gateway.relay import Relay
from proxy.gateway.replies import CONTINUE, answer_status, write_denial
from proxy.gateway.rewriting import write_interim, write_request
from proxy.gateway.wire import Wire
from proxy.model.errors import JobgateError, ProtocolError
from proxy.model.grant import Edits
from proxy.model.identity import Session
from proxy.model.intent import BodyPrefix, BodyWanted
from proxy.model.reason import Reason

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# What our own reading of an upstream's head calls malformed is the upstream's fault, not the job's.
_UPSTREAM_FAULTS: Final = {
    Reason.REQUEST_MALFORMED: Reason.UPSTREAM_MALFORMED,
    Reason.HEAD_TOO_LARGE: Reason.UPSTREAM_MALFORMED,
}


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What every exchange of a gateway shares."""

    guard: Guard
    pool: Pool
    limits: Limits
    budget: Budget
    outbox: Outbox
    is_draining: Callable[[], bool]


class Exchange:
    """One request of one session on one client connection."""

    __slots__ = (
        "_answered",
        "_began",
        "_body",
        "_client",
        "_connecting",
        "_decided",
        "_decoder",
        "_discarding",
        "_edits",
        "_equipped",
        "_error",
        "_held",
        "_parts",
        "_peer",
        "_relay",
        "_request",
        "_sent_digest",
        "_session",
        "_status",
        "_upload",
        "_upstream",
        "_waiting_since",
        "flow_id",
        "inside_tunnel",
    )

    def __init__(self, parts: LaneParts, client: Wire, peer: Peer, session: Session, request: Request) -> None:
        self._parts = parts
        self._client = client
        self._peer = peer
        self._session = session
        self._request = request
        self.inside_tunnel = request.view.scheme == "https"
        self.flow_id: str | None = None
        self._decoder: Decoder = request.framing.decoder()
        self._began = self._decided = perf_counter()
        self._equipped = self._connecting = self._answered = 0.0
        self._body: bytes | None = None
        self._sent_digest: str | None = None
        self._held = HeldBody(client, self._decoder, parts.budget)
        self._discarding = False
        self._edits: Edits | None = None
        self._upstream: Upstream | None = None
        self._upload: Pump | None = None
        self._relay: Relay | None = None
        self._status: int | None = None
        self._error: JobgateError | None = None
        self._waiting_since: float | None = None

    async def run(self) -> bool:
        """Decide, carry out and record. Return whether the client connection may carry another request."""
        guard = self._parts.guard
        answer = await guard.admit(self._session, self._request.view, self._peer)
        if isinstance(answer, BodyWanted):
            answer = await self._show_body(answer)
        self._decided = perf_counter()
        if isinstance(answer, Clearance):
            return await self._carry(answer)
        self._held.release()
        return await self._deny(answer)

    async def _show_body(self, wanted: BodyWanted) -> Clearance | Denial:
        """Take so much of the body as the engine must see, and ask again. It may ask only once."""
        guard, request = self._parts.guard, self._request
        asked = Asked(self._peer, self._session, request.view.authority)
        is_hopeless = wanted.enough is None and request.framing.length > wanted.limit  # not worth the reading
        try:
            if not is_hopeless:
                await self._held.take(wanted.limit, wanted.enough, asks_to_continue=request.expects_continue)
        except JobgateError as error:
            return await guard.refuse(error.reason, asked, str(error))
        prefix = BodyPrefix(data=self._held.data, is_whole=self._held.is_whole)
        answer = await guard.admit(self._session, replace(request.view, body=prefix), self._peer)
        if isinstance(answer, BodyWanted):
            return await guard.refuse(Reason.INTERNAL, asked)
        return answer

    def check(self, now: float) -> None:
        """Break the exchange if one of its sides has been silent or deaf for too long."""
        reason = self._overdue(now)
        if reason is not None:
            self.fail(ProtocolError("the exchange took too long", reason))

    def fail(self, error: JobgateError) -> None:
        """Break the exchange; it answers, or hangs up, and concludes with the error's reason."""
        if self._error is None:
            self._error = error
        seen = error if isinstance(error, ProtocolError) else ProtocolError(str(error), error.reason)
        if self._upstream is not None:
            self._upstream.wire.fail(seen)
        if self._relay is not None:
            self._relay.stop(seen)
        if self._is_reading() or self._client.stalled_since is not None:
            self._client.fail(seen)

    # -- the path of an allowed request

    async def _carry(self, clearance: Clearance) -> bool:
        self.flow_id = clearance.flow_id
        concluded = False
        reason, detail, keep = Reason.INTERNAL, "", False
        self._client.on_lost = self._client_lost
        try:
            edits = await self._equip(clearance)
            self._equipped = perf_counter()
            if isinstance(edits, Denial):
                concluded = True
                return await self._deny(edits)
            self._edits = edits
            keep = await self._forward(clearance, edits)
            reason = Reason.ALLOWED
        except JobgateError as error:
            reason, detail = error.reason, str(error)
            keep = await self._break(clearance, reason)
        except asyncio.CancelledError:
            reason = Reason.INTERRUPTED
            self._client.abort()
            raise
        finally:
            self._client.on_lost = None
            self._release(reusable=reason is Reason.ALLOWED)
            if not concluded:
                self._parts.guard.conclude(clearance.flow_id, self._outcome(reason, detail))
        return keep

    async def _equip(self, clearance: Clearance) -> Edits | Denial:
        guard = self._parts.guard
        if clearance.plan.needs_digest:
            return await guard.equip(clearance, await self._hold_body(), self._peer)
        edits = guard.equip_at_once(clearance)
        return await guard.equip(clearance, None, self._peer) if edits is None else edits

    async def _hold_body(self) -> str:
        """Take the whole body into memory and return its SHA-256. Raises ProtocolError when it is too large."""
        held, limit = self._held, self._parts.limits.buffered_body
        if self._request.framing.length <= limit:
            await held.take(limit, asks_to_continue=self._request.expects_continue)
        if self._request.framing.length > limit or held.size > limit:
            raise ProtocolError("the body is too large to be signed", Reason.BODY_TOO_LARGE)
        self._sent_digest = hashlib.sha256(held.data).hexdigest()
        return self._sent_digest

    async def _forward(self, clearance: Clearance, edits: Edits) -> bool:
        response = await self._ask_upstream(clearance, edits)
        upstream = self._upstream
        if upstream is None:  # pragma: no cover - _ask_upstream returns only with one
            raise ProtocolError("no upstream", Reason.INTERNAL)
        keep = self._request.keep_alive and self._is_body_taken() and not self._parts.is_draining()
        self._relay = Relay(self._client, upstream.wire, self._request, response)
        self._relay.prepare(edits, keeps_cookies=clearance.grant is None or clearance.decision.passes_cookies)
        self._waiting_since = None
        if self._error is not None:
            raise self._error
        self._relay.begin(keep=keep)
        self._status = response.status
        await self._relay.finish()
        if self._client.stalled_since is not None:
            await self._client.drained()
        return keep and self._relay.keeps_client

    async def _ask_upstream(self, clearance: Clearance, edits: Edits) -> Response:
        """Send the request and return the final response head; once more on a new connection if an old one was dead."""
        view = clearance.view
        if self._held.is_whole and not self._request.framing.is_empty:
            self._body = self._held.data
            if edits.rewriter is not None:
                self._body = edits.rewriter().feed_last(self._body)
            if self._body and self._sent_digest is None:
                self._sent_digest = hashlib.sha256(self._body).hexdigest()
        framing = self._request.framing if self._body is None else Framing(len(self._body))
        expects = self._expects_continue
        head = write_request(view, edits, framing, expects_continue=expects)
        key = (self._session.id, view.authority.host, view.authority.port, view.scheme == "https")
        upstream = self._parts.pool.take(key)
        while True:
            if upstream is None:
                began = perf_counter()
                upstream = await self._parts.pool.dial(key)
                self._connecting = perf_counter() - began
            self._upstream = upstream
            self._stop_if_broken()
            self._send(upstream, head, edits)
            response = await self._read_response(upstream)
            if response is not None:
                self._answered = perf_counter()
                return response
            if not self._may_repeat(upstream):
                raise ProtocolError("the upstream closed without an answer", Reason.UPSTREAM_CLOSED)
            upstream.wire.abort()
            upstream = None

    def _stop_if_broken(self) -> None:
        if self._error is not None:
            raise self._error
        if self._client.lost:
            raise ProtocolError("the client is gone", Reason.CLIENT_GONE)

    def _send(self, upstream: Upstream, head: bytes, edits: Edits) -> None:
        self._waiting_since = monotonic()
        if self._body:
            upstream.wire.write(head + self._body if len(self._body) < 65_536 else head)
            if len(self._body) >= 65_536:
                upstream.wire.write(self._body)
            return
        upstream.wire.write(head)
        if self._request.framing.is_empty or self._body is not None:
            return
        self._upload = Pump(
            self._client,
            upstream.wire,
            self._decoder,
            chunked=self._request.framing.length < 0,
            gone=Reason.UPSTREAM_CLOSED,
            cleaner=None if edits.rewriter is None else edits.rewriter(),
            on_end=self._upload_ended,
        )
        self._upload.start(self._held.data)

    async def _read_response(self, upstream: Upstream) -> Response | None:
        """Return the final response head, having passed interim ones on; None if the upstream closed unasked."""
        for _ in range(self._parts.limits.interim):
            try:
                raw = await upstream.wire.read_head()
            except ProtocolError as error:
                raise ProtocolError(str(error), _UPSTREAM_FAULTS.get(error.reason, error.reason)) from None
            if raw is None:
                return None
            response = parse_response_head(raw, self._request.view.method)
            if response.status >= 200:
                return response
            if response.status == 101:
                raise ProtocolError("the upstream switched protocols unasked", Reason.UPSTREAM_MALFORMED)
            self._pass_interim(response)
        raise ProtocolError("too many interim answers", Reason.UPSTREAM_MALFORMED)

    def _pass_interim(self, response: Response) -> None:
        self._waiting_since = monotonic()
        if self._request.version != "1.1":
            return
        if response.status == 100:
            if self._expects_continue:
                self._client.write(CONTINUE)
        elif self._edits is not None and not self._edits.watch:  # nothing unread by the echo guard passes
            self._client.write(write_interim(response))

    def _may_repeat(self, upstream: Upstream) -> bool:
        """Whether sending again cannot be doing it twice (RFC 9110 9.2.2) and the body is still ours to send."""
        return (
            upstream.reused
            and not upstream.wire.buffer
            and self._upload is None
            and self._request.view.method in _IDEMPOTENT
            and not self._client.lost
        )

    # -- endings

    def _client_lost(self) -> None:
        self.fail(ProtocolError("the client is gone", Reason.CLIENT_GONE))

    def _upload_ended(self, error: ProtocolError | None) -> None:
        self._waiting_since = monotonic()
        # An upstream that stops reading may have answered already; whoever waits for its answer will see.
        if error is None or error.reason is Reason.UPSTREAM_CLOSED:
            return
        gone = self._client.eof
        self.fail(ProtocolError(str(error), Reason.CLIENT_GONE) if gone else error)

    def _is_body_taken(self) -> bool:
        if self._request.framing.length == 0 or self._body is not None:
            return True
        return self._decoder.done and (self._upload is None or self._upload.error is None)

    async def _break(self, clearance: Clearance, reason: Reason) -> bool:
        """Answer a failed exchange if no answer has begun, else hang up so that the job sees it was cut."""
        if self._relay is not None and self._relay.has_begun:
            self._client.reset()
            return False
        denial = Denial(reason=reason, flow_id=clearance.flow_id, rule_ids=clearance.decision.rule_ids)
        if self._upload is not None:
            self._upload.stop(None)
        self._client.on_lost = None
        return await self._deny(denial)

    async def _deny(self, denial: Denial) -> bool:
        """Answer with a refusal; read a small body to its end to keep the connection, else leave it to be closed."""
        self._status = answer_status(denial.reason, inside_tunnel=self.inside_tunnel)
        limit = self._parts.limits.discard
        pending = not self._is_body_taken()
        keep = self._request.keep_alive and not self._parts.is_draining() and not self._client.eof
        if pending and (
            self._request.expects_continue or self._request.framing.length > limit or self._upload is not None
        ):
            keep = False
        self._client.write(
            write_denial(
                denial,
                keep=keep,
                inside_tunnel=self.inside_tunnel,
                without_body=self._request.view.method == "HEAD",
            )
        )
        if keep and pending:
            self._discarding = True
            keep = await discard_body(self._client, self._decoder, limit)
            self._discarding = False
        return keep

    def _release(self, *, reusable: bool) -> None:
        if self._upload is not None:
            self._upload.stop(None)
            self._sent_digest = self._upload.tally.digest
        self._held.release()
        upstream = self._upstream
        if upstream is None:
            return
        self._client.source = None
        if reusable and self._is_body_taken() and self._relay is not None and self._relay.keeps_upstream:
            self._parts.pool.keep(upstream)
        else:
            upstream.wire.abort()

    def _outcome(self, reason: Reason, detail: str) -> Outcome:
        sent = self._upload.tally.size if self._upload is not None else len(self._body or b"")
        tally = self._relay.tally if self._relay is not None else None
        return Outcome(
            reason=reason,
            status=self._status,
            sent_bytes=sent if self._upstream is not None else 0,
            received_bytes=tally.size if tally is not None else 0,
            sent_digest=self._sent_digest if self._upstream is not None else None,
            received_digest=tally.digest if tally is not None else None,
            upstream=self._upstream.address if self._upstream is not None else None,
            milliseconds=self._times(),
            redactions=self._relay.redactions if self._relay is not None else 0,
            detail=detail,
        )

    def _times(self) -> dict[str, float]:
        """Return the milliseconds from the beginning to each stage that was reached; how long connecting took."""
        began = self._began
        times = {"decide": _milliseconds(self._decided - began)}
        if self._equipped:
            times["equip"] = _milliseconds(self._equipped - began)
        if self._connecting:
            times["connect"] = _milliseconds(self._connecting)
        if self._answered:
            times["first_byte"] = _milliseconds(self._answered - began)
        times["total"] = _milliseconds(perf_counter() - began)
        return times

    def _overdue(self, now: float) -> Reason | None:
        limits, client = self._parts.limits, self._client
        wire = self._upstream.wire if self._upstream is not None else None
        since: float | None
        if client.stalled_since is not None:
            reason, since, limit = Reason.CLIENT_TIMEOUT, client.stalled_since, limits.stalled
        elif self._is_reading() or (wire is not None and self._is_uploading() and wire.stalled_since is None):
            reason, since, limit = Reason.CLIENT_TIMEOUT, client.touched, limits.body
        elif wire is None:
            return None  # the guard and the dialer run their own clocks
        elif self._relay is not None:
            reason, since, limit = Reason.UPSTREAM_TIMEOUT, wire.touched, limits.body
        elif wire.stalled_since is not None:
            reason, since, limit = Reason.UPSTREAM_TIMEOUT, wire.stalled_since, limits.stalled
        else:
            reason, since, limit = Reason.UPSTREAM_TIMEOUT, self._waiting_since, limits.response
        return reason if since is not None and now - since > limit else None

    @property
    def _expects_continue(self) -> bool:
        """Whether the job still waits to be told to go on, by the upstream."""
        return self._request.expects_continue and self._body is None and not self._held.is_continued

    def _is_reading(self) -> bool:
        """Whether the job's body is being read before, or without, sending it on."""
        return self._held.is_taking or self._discarding

    def _is_uploading(self) -> bool:
        return self._upload is not None and not self._upload.finished and self._relay is None


def _milliseconds(seconds: float) -> float:
    """Return a time to the microsecond."""
    return int(seconds * 1_000_000) / 1000


async def discard_body(client: Wire, decoder: Decoder | None, limit: int) -> bool:
    """Read and drop a body, or without a decoder everything. Return whether the body's end was reached in `limit`."""
    ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def finish(whole: bool) -> None:  # noqa: FBT001 - called by Discard alone
        if not ended.done():
            ended.set_result(whole)

    client.attach(Discard(client, decoder, limit, finish))
    try:
        return await ended
    finally:
        client.detach()
