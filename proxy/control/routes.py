"""What the control API does: one table of paths, one small function each. No sockets.

Who may what: anybody who reaches us may exchange a token of their own and read health. A session is ended by its own
secret or by the operator's token. The list of sessions, and the kill switch, are for the operator: their token, or the
Unix socket, which only the user jobgate runs as can open; but what is stopped goes on by the token alone.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from proxy.control.messages import Refusal, Reply, Request, denial_reply, error_reply, json_reply, read_json
from proxy.engine.approvals import ApprovalDesk
from proxy.engine.presented import check_declared, is_trace
from proxy.engine.records import job_facts
from proxy.engine.seam import Denial
from proxy.engine.sessions import MAX_OTHER_TOKENS, OpenedSession
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.grant import Secret
from proxy.model.identity import Session, UnverifiedToken
from proxy.model.kill import Kill
from proxy.model.reason import Reason

_SESSION: Final = re.compile(r"/v1/sessions/([A-Za-z0-9_.-]{1,64})")
_APPROVAL: Final = re.compile(r"/v1/approvals/([A-Za-z0-9_.-]{1,64})")
_KILL: Final = re.compile(r"/v1/kills/([A-Za-z0-9_.-]{1,64})")
_DOCUMENTS: Final = ("/.well-known/openid-configuration", "/.well-known/jwks.json")
_FIELDS: Final = ("token", "tokens", "intents", "agent_token", "traceparent")
_AGENT_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{8,4096}")
_MALFORMED: Final = Reason.BODY_MALFORMED.value


class Desk(Protocol):
    """Who holds the sessions; `engine.sessions.SessionDesk`."""

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The open sessions."""

    def find_owner(self, secret: Secret) -> Session | None:
        """Return the open session a secret belongs to."""

    async def open(
        self,
        token: UnverifiedToken,
        others: Sequence[UnverifiedToken],
        peer_address: str,
        declared: tuple[str, ...] | None = None,
        agent_token: Secret | None = None,
        trace: str | None = None,
    ) -> OpenedSession | Denial:
        """Exchange tokens for a session."""

    async def close(self, session_id: str, why: str) -> bool:
        """End a session."""


class Kills(Protocol):
    """Where things are stopped; `engine.kills.KillDesk`."""

    @property
    def kills(self) -> tuple[Kill, ...]:
        """What is stopped."""

    async def kill(self, scope: str, value: str, why: str) -> Kill:
        """Stop something."""

    async def lift(self, kill_id: str) -> Kill | None:
        """Let something go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlParts:
    """What the routes need, wired by `app`.

    `troubles` returns why the proxy is not ready, as slugs (`rules-unavailable`, `trail-unavailable`, `draining`);
    empty means ready. `metrics` and `certificate` return what is served as it is.
    """

    desk: Desk
    troubles: Callable[[], Sequence[str]]
    warnings: Callable[[], Sequence[str]] = tuple
    """What should be mended though the proxy serves (amber); shown beside readiness."""
    metrics: Callable[[], bytes]
    certificate: Callable[[], bytes]
    proxy: Authority
    kills: Kills
    approvals: ApprovalDesk
    documents: Callable[[], Awaitable[Mapping[str, Mapping[str, Any]]]]
    """What jobgate publishes as an issuer, by path; nothing where it is none."""
    operator_token: Secret | None = None


class Routes:
    """Answers requests. Raises nothing for bad ones; what a port raises beyond its contract passes through."""

    def __init__(self, parts: ControlParts) -> None:
        self._parts = parts
        self._table: Mapping[str, Mapping[str, Callable[[Request], Awaitable[Reply]]]] = {
            "/healthz": {"GET": self._live},
            "/readyz": {"GET": self._ready},
            "/metrics": {"GET": self._metrics},
            "/v1/ca.pem": {"GET": self._certificate},
            "/v1/sessions": {"GET": self._list, "POST": self._open},
            "/v1/approvals": {"GET": self._list_questions},
            "/v1/kills": {"GET": self._list_kills, "POST": self._kill},
            **{path: {"GET": self._document} for path in _DOCUMENTS},
        }

    async def answer(self, request: Request) -> Reply:
        """Answer one well-formed request."""
        methods = self._table.get(request.path)
        if _SESSION.fullmatch(request.path) is not None:
            methods = {"DELETE": self._close}
        elif _APPROVAL.fullmatch(request.path) is not None:
            methods = {"POST": self._approve}
        elif _KILL.fullmatch(request.path) is not None:
            methods = {"DELETE": self._lift}
        if methods is None:
            return error_reply(404, "not-found", "there is nothing at this path")
        serve = methods.get(request.method)
        if serve is None:
            allowed = ", ".join(sorted(methods))
            reply = error_reply(405, Reason.METHOD_UNKNOWN.value, f"use {allowed}")
            return Reply(status=405, body=reply.body, headers=(("allow", allowed),))
        try:
            return await serve(request)
        except Refusal as refusal:
            return refusal.reply

    async def _live(self, _request: Request) -> Reply:
        return json_reply(200, {"status": "live"})

    async def _ready(self, _request: Request) -> Reply:
        troubles = list(self._parts.troubles())
        return json_reply(503 if troubles else 200, self._health(troubles))

    def _health(self, troubles: list[str]) -> dict[str, object]:
        health: dict[str, object] = {"status": "unready" if troubles else "ready", "reasons": troubles}
        if warnings := list(self._parts.warnings()):
            health["warnings"] = warnings
        return health

    async def _metrics(self, _request: Request) -> Reply:
        return Reply(status=200, body=self._parts.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")

    async def _document(self, request: Request) -> Reply:
        found = (await self._parts.documents()).get(request.path)
        return error_reply(404, "not-found", "no `issuer` is set") if found is None else json_reply(200, found)

    async def _certificate(self, _request: Request) -> Reply:
        return Reply(status=200, body=self._parts.certificate(), content_type="application/x-pem-file")

    async def _open(self, request: Request) -> Reply:
        token, others = _read_tokens(request)
        opened = await self._parts.desk.open(
            token, others, request.peer, _read_declared(request), _read_agent_token(request), _read_trace(request)
        )
        if isinstance(opened, Denial):
            return denial_reply(opened)
        session, secret = opened.session, opened.secret.reveal()
        return json_reply(
            201,
            {
                "session": session.id,
                "secret": secret,
                "proxy_url": f"http://job:{secret}@{self._parts.proxy}",
                "expires_at": session.expires_at.isoformat(),
                "job": job_facts(session.job),
            },
        )

    async def _list(self, request: Request) -> Reply:
        self._check_operator(request)
        return json_reply(
            200,
            {
                "sessions": [
                    {
                        "session": session.id,
                        "job": job_facts(session.job),
                        "opened_at": session.opened_at.isoformat(),
                        "expires_at": session.expires_at.isoformat(),
                    }
                    for session in self._parts.desk.sessions
                ]
            },
        )

    async def _close(self, request: Request) -> Reply:
        presented = request.bearer
        if presented is None:
            return error_reply(401, Reason.IDENTITY_MISSING.value, "present the session's own secret as Bearer")
        session_id = request.path.rpartition("/")[2]
        owner = self._parts.desk.find_owner(presented)
        if owner is not None and owner.id == session_id:
            closed = await self._parts.desk.close(session_id, "job-ended")
        else:
            closed = self._is_operator(request) and await self._parts.desk.close(session_id, "operator")
        # One answer for "not yours" and "not there": names of other jobs' sessions cannot be tried out.
        return (
            Reply(status=204) if closed else error_reply(404, Reason.SESSION_UNKNOWN.value, "no such session of yours")
        )

    async def _list_kills(self, request: Request) -> Reply:
        self._check_operator(request)
        return json_reply(200, {"kills": [_describe_kill(kill) for kill in self._parts.kills.kills]})

    async def _kill(self, request: Request) -> Reply:
        self._check_operator(request)
        body = read_json(request)
        scope, value, why = (body.get(name) for name in ("scope", "value", "why"))
        if set(body) != {"scope", "value", "why"} or not all(isinstance(each, str) for each in (scope, value, why)):
            raise Refusal(400, _MALFORMED, "the body holds `scope`, `value` and `why`, each a text")
        try:
            kill = await self._parts.kills.kill(str(scope), str(value), str(why))
        except ValueError as error:
            raise Refusal(400, _MALFORMED, str(error)) from None
        except OSError:
            raise Refusal(503, "not-stored", "it is stopped, but would not be after a restart: see the log") from None
        return json_reply(201, _describe_kill(kill))

    async def _lift(self, request: Request) -> Reply:
        # A job may reach the socket too: it may end itself, never let itself go on.
        if not self._is_operator(request):
            raise Refusal(401, "operator-only", "present the operator's token (`session.operator_token`)")
        try:
            lifted = await self._parts.kills.lift(request.path.rpartition("/")[2])
        except OSError:
            raise Refusal(503, "not-stored", "it cannot be stored, and stays stopped: see the log") from None
        return Reply(status=204) if lifted else error_reply(404, "not-found", "nothing is stopped by this id")

    async def _list_questions(self, request: Request) -> Reply:
        self._check_operator(request)
        asked = [
            {"id": each.id, "asked_at": each.asked_at.isoformat(), **each.facts}
            for each in self._parts.approvals.questions()
        ]
        return json_reply(200, {"approvals": asked})

    async def _approve(self, request: Request) -> Reply:
        # A job may reach the socket too: it may see what it asked, never say yes to itself.
        if not self._is_operator(request):
            raise Refusal(401, "operator-only", "present the operator's token (`session.operator_token`)")
        body = read_json(request)
        decision, by, why = (body.get(name) for name in ("decision", "by", "why"))
        if set(body) != {"decision", "by", "why"} or decision not in {"yes", "no"}:
            raise Refusal(400, _MALFORMED, "the body holds `decision` (yes or no), `by` and `why`")
        if not all(isinstance(each, str) and 0 < len(each) <= 200 and each.isprintable() for each in (by, why)):
            raise Refusal(400, _MALFORMED, "`by` and `why` are one line each, of at most 200 characters")
        done = await self._parts.approvals.answer(
            request.path.rpartition("/")[2], yes=decision == "yes", by=f"{by} ({request.peer})", why=str(why)
        )
        return Reply(status=204) if done else error_reply(404, "not-found", "nobody asks by this id, or not any more")

    def _check_operator(self, request: Request) -> None:
        if not (request.local or self._is_operator(request)):
            raise Refusal(401, "operator-only", "present the operator's token, or use the Unix socket")

    def _is_operator(self, request: Request) -> bool:
        presented, wanted = request.bearer, self._parts.operator_token
        if presented is None or wanted is None or not wanted.reveal():
            return False
        return hmac.compare_digest(presented.reveal().encode("utf-8"), wanted.reveal().encode("utf-8"))


def _describe_kill(kill: Kill) -> dict[str, object]:
    return {
        "id": kill.id,
        "scope": kill.scope.value,
        "value": kill.value,
        "why": kill.why,
        "at": kill.at.isoformat(),
    }


def _read_tokens(request: Request) -> tuple[UnverifiedToken, list[UnverifiedToken]]:
    body = read_json(request)
    unknown = sorted(name for name in body if name not in _FIELDS)
    if unknown:
        raise Refusal(400, _MALFORMED, f"the body may hold {', '.join(_FIELDS)}, nothing else")
    token, others, bearer = body.get("token"), body.get("tokens", []), request.bearer
    if "token" in body and bearer is not None:
        raise Refusal(400, _MALFORMED, "give the token once: in the body or as Bearer")
    if bearer is not None:
        token = bearer.reveal()
    if token is None:
        raise Refusal(401, Reason.IDENTITY_MISSING.value, 'send {"token": "..."} or Authorization: Bearer')
    if not isinstance(token, str) or not isinstance(others, list) or not all(isinstance(item, str) for item in others):
        raise Refusal(400, _MALFORMED, "`token` is a text and `tokens` a list of texts")
    if len(others) > MAX_OTHER_TOKENS:
        raise Refusal(400, _MALFORMED, f"`tokens` holds at most {MAX_OTHER_TOKENS}")
    return UnverifiedToken(token), [UnverifiedToken(item) for item in others]


def _read_agent_token(request: Request) -> Secret | None:
    """Return the token of the job's agent, where one is handed over. Raises Refusal."""
    token = read_json(request).get("agent_token")
    if token is None:
        return None
    if not isinstance(token, str) or _AGENT_TOKEN.fullmatch(token) is None:
        raise Refusal(400, _MALFORMED, "`agent_token` is the agent's token: letters, digits and `-._~+/=`")
    return Secret(token)


def _read_trace(request: Request) -> str | None:
    """Return the trace that the job belongs to, where one is handed over. Raises Refusal."""
    trace = read_json(request).get("traceparent")
    if trace is None:
        return None
    if not isinstance(trace, str) or not is_trace(trace):
        raise Refusal(400, _MALFORMED, "`traceparent` is a W3C traceparent: 00-TRACE-SPAN-FLAGS in lower-case hex")
    return trace


def _read_declared(request: Request) -> tuple[str, ...] | None:
    """Return what the step declares. Raises Refusal: what is not understood cannot be held to."""
    lines = read_json(request).get("intents")
    if lines is None:
        return None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Refusal(400, _MALFORMED, "`intents` is a list of texts such as `npm install *`")
    try:
        return check_declared(lines)
    except IntentError as error:
        raise Refusal(400, _MALFORMED, f"`intents`: {error}") from None
