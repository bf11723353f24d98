"""The control API on the wire: h11 over asyncio streams, on a Unix socket of mode 0600 or on loopback TCP alone.

One request per connection, everything bounded: head, body, time, and how many at once.
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import h11

from proxy.control.messages import (
    MAX_BODY,
    MAX_HEAD,
    Refusal,
    Reply,
    Request,
    check_origin,
    error_reply,
    fold_headers,
)
from proxy.model.authority import Authority
from proxy.model.errors import ConfigError
from proxy.model.reason import Reason

_LOCAL_HOSTS: Final = frozenset({"localhost", "jobgate"})
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of SO_PEERCRED: pid, uid, gid
_READ: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLimits:
    """Seconds, and connections at once."""

    request: float = 10.0
    answer: float = 30.0
    drain: float = 5.0
    connections: int = 64
    body: int = MAX_BODY
    is_public: bool = False
    """Whether it may listen on any address, and is asked under names that it does not know."""
    welcome: Callable[[Mapping[str, str]], bool] = lambda _: True
    """Told a request's fields before its body is read: whether it is read at all."""


class Answering(Protocol):
    """What answers requests; `control.routes.Routes`, `control.event_routes.EventRoutes`."""

    async def answer(self, request: Request) -> Reply:
        """Answer one well-formed request."""


class ControlServer:
    """Serves `routes` at a place. `start` raises ConfigError when the place cannot be had safely."""

    def __init__(self, routes: Answering, place: Authority | Path, limits: ControlLimits | None = None) -> None:
        self._routes = routes
        self._place = place
        self._limits = limits or ControlLimits()
        self._server: asyncio.Server | None = None
        self._hosts = _LOCAL_HOSTS
        self._serving: set[asyncio.Task[None]] = set()
        self._inode: int | None = None

    @property
    def address(self) -> Authority | Path:
        """Where it listens; with the port the system chose when 0 was asked for."""
        return self._place

    async def start(self) -> None:
        """Listen."""
        if isinstance(self._place, Path):
            listener = _bind_path(self._place)
            self._inode = self._place.lstat().st_ino
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_HEAD)
            return
        listener = _bind_address(self._place, is_public=self._limits.is_public)
        port = int(listener.getsockname()[1])
        self._place = Authority(self._place.host, port)
        self._hosts = frozenset({str(self._place), f"localhost:{port}"})
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=MAX_HEAD)

    async def close(self) -> None:
        """Stop listening, let what is being served finish for a moment, and remove the socket if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=self._limits.drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        if isinstance(self._place, Path):
            with contextlib.suppress(FileNotFoundError):
                if self._place.lstat().st_ino == self._inode:
                    self._place.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a callback of asyncio's always runs in a task
            return
        crowded = len(self._serving) >= self._limits.connections
        self._serving.add(task)
        try:
            await _Exchange(self, reader, writer).run(crowded=crowded)
        except (ConnectionError, TimeoutError, h11.LocalProtocolError):
            pass  # the client has gone or will not read: there is nobody to tell
        finally:
            self._serving.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), self._limits.drain)


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(self, server: ControlServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def run(self, *, crowded: bool) -> None:
        limits = self._server._limits  # noqa: SLF001 - the two halves of one server
        if crowded:
            await self._send(error_reply(503, Reason.OVERLOADED.value, "too many connections"))
            return
        try:
            async with asyncio.timeout(limits.request):
                request = await self._receive()
        except Refusal as refusal:
            await self._send(refusal.reply)
            await self._linger()
            return
        except h11.RemoteProtocolError as error:
            too_large = error.error_status_hint == 431
            reason = Reason.HEAD_TOO_LARGE if too_large else Reason.REQUEST_MALFORMED
            await self._send(error_reply(431 if too_large else 400, reason.value, "not an HTTP request of ours"))
            await self._linger()
            return
        except TimeoutError:
            await self._send(error_reply(408, Reason.HEAD_TOO_SLOW.value, "the request did not arrive in time"))
            return
        if request is None:
            return
        await self._send(await self._answer(request, limits.answer))

    async def _answer(self, request: Request, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                return await self._server._routes.answer(request)  # noqa: SLF001 - as above
        except TimeoutError:
            return error_reply(503, Reason.DECISION_TIMEOUT.value, "no answer in time")
        except Exception:  # noqa: BLE001 - whatever breaks behind a route: the caller gets no session, and no traceback
            return error_reply(503, Reason.INTERNAL.value, "the request could not be served")

    async def _receive(self) -> Request | None:
        """Return the request; None when the client closed without one. Raises Refusal and h11.RemoteProtocolError."""
        head: h11.Request | None = None
        headers: dict[str, str] = {}
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._reader.read(_READ))
            elif isinstance(event, h11.Request):
                head, headers = event, fold_headers(list(event.headers))
                self._check_head(headers)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._server._limits.body:  # noqa: SLF001 - as above
                    raise self._too_large()
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._build(head, headers, bytes(body))
            else:
                return None

    def _check_head(self, headers: dict[str, str]) -> None:
        # h11 bounds a head that is still incomplete; one that arrives whole in a single read is measured here.
        if sum(len(name) + len(value) + 4 for name, value in headers.items()) > MAX_HEAD:
            raise Refusal(431, Reason.HEAD_TOO_LARGE.value, "the head is larger than 16 KiB")
        limits = self._server._limits  # noqa: SLF001 - as above
        if not limits.is_public:
            check_origin(headers, self._server._hosts)  # noqa: SLF001 - as above
        if not limits.welcome(headers):
            raise Refusal(401, "not-authentic", "this is not a request that is expected here")
        # Refused before it is read: nobody is asked to send what will be thrown away.
        if int(headers.get("content-length", "0")) > limits.body:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        limit = self._server._limits.body // 1024  # noqa: SLF001 - as above
        return Refusal(413, Reason.BODY_TOO_LARGE.value, f"the body is larger than {limit} KiB")

    def _build(self, head: h11.Request, headers: dict[str, str], body: bytes) -> Request:
        peer, local = _name_peer(self._writer)
        return Request(
            method=head.method.decode("ascii", "replace"),
            path=head.target.decode("ascii", "replace"),
            headers=headers,
            body=body,
            peer=peer,
            local=local,
        )

    async def _send(self, reply: Reply) -> None:
        headers = [("content-length", str(len(reply.body))), ("connection", "close"), ("cache-control", "no-store")]
        if reply.body:
            headers += [("content-type", reply.content_type), ("x-content-type-options", "nosniff")]
        if reply.status == 204:
            headers = headers[1:]
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        head = h11.Response(status_code=reply.status, headers=[*headers, *reply.headers])
        await self._write(head, *([h11.Data(data=reply.body)] if reply.body else []), h11.EndOfMessage())

    async def _linger(self) -> None:
        """Read what is still coming, for a moment: closing on unread bytes resets the connection, answer and all."""
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                for _ in range(64):
                    if not await self._reader.read(_READ):
                        return

    async def _write(self, *events: h11.Event) -> None:
        for event in events:
            self._writer.write(self._http.send(event) or b"")
        await asyncio.wait_for(self._writer.drain(), self._server._limits.request)  # noqa: SLF001 - as above


def _name_peer(writer: asyncio.StreamWriter) -> tuple[str, bool]:
    """Return the client's address for records, and whether it came by the Unix socket."""
    wire = writer.get_extra_info("socket")
    if wire.family == socket.AF_UNIX:
        raw = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return f"unix:uid={uid},pid={pid}", True
    host, port = writer.get_extra_info("peername")[:2]
    return f"{host}:{port}", False


def _bind_address(place: Authority, *, is_public: bool) -> socket.socket:
    try:
        address = ipaddress.ip_address(place.host)
    except ValueError:
        raise ConfigError(f"control: {place}: name an address, 127.0.0.1 or ::1") from None
    if not address.is_loopback and not is_public:
        raise ConfigError(f"control: {place} is not a loopback address; it would let the network open sessions")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        return socket.create_server((place.host, place.port), family=family)
    except OSError as error:
        raise ConfigError(f"control: {place}: {error.strerror}; choose another port") from None


def _bind_path(path: Path) -> socket.socket:
    """Bind a socket nobody else can open, in the place of a dead one of ours but of nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # from its first moment on: a chmod afterwards would leave a gap
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(f"control: {path}: {error.strerror or error}; choose another path") from None
    finally:
        os.umask(before)
    listener.listen(128)
    return listener


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"control: {path} is there and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise ConfigError(f"control: {path}: {error.strerror or error}; choose another path") from None
        else:
            raise ConfigError(f"control: {path} is in use by another process; choose another path")
