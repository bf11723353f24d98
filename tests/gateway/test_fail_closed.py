"""Whatever the engine does, the wire denies: no byte leaves without a yes, and every answer of ours says why."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from proxy.engine.seam import Denial
from proxy.gateway.limits import Limits
from proxy.model.errors import AuditError, CredentialError
from proxy.model.grant import Edits
from proxy.model.reason import Reason
from tests.gateway.stage import Client, MakeStage, Stage, connect, inner, plain, until

QUICK = Limits(decision=0.05, linger=0.2)

FAULTS = [
    ValueError("upstream text that must not be shown"),
    AuditError("the trail is gone"),
    CredentialError("no"),
    asyncio.CancelledError(),
    SystemExit(3),
    KeyboardInterrupt(),
    TimeoutError(),
    GeneratorExit(),
    "hang",
    None,
    "yes",
    42,
    True,
]


async def ask_plain(stage: Stage) -> tuple[int, bytes, bytes]:
    client = await stage.client()
    client.send(plain("POST", "/", "Content-Length: 3", body=b"abc"))
    return await client.reply()


async def ask_inside(stage: Stage) -> tuple[int, bytes, bytes]:
    client = await stage.client()
    client.send(connect())
    if b" 200 " not in (head := await client.head()):
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split(b" ")[1]), head, await client.reader.readexactly(size)
    await client.start_tls()
    client.send(inner("POST", "/", "Content-Length: 3", body=b"abc"))
    return await client.reply()


POINTS: list[tuple[str, Callable[[Stage], Awaitable[tuple[int, bytes, bytes]]]]] = [
    ("authenticate", ask_plain),
    ("admit", ask_plain),
    ("equip", ask_plain),
    ("authenticate", ask_inside),
    ("open_tunnel", ask_inside),
    ("admit", ask_inside),
    ("equip", ask_inside),
]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("point, ask", POINTS, ids=lambda value: getattr(value, "__name__", value))
async def test_a_fault_at_any_await_is_a_denial(
    make_stage: MakeStage, point: str, ask: Callable[[Stage], Awaitable[tuple[int, bytes, bytes]]], fault: object
) -> None:
    """Raising, hanging, cancelling, exiting or answering nonsense gives a 5xx; the origin sees no byte (G17)."""
    stage = await make_stage(QUICK)
    stage.engine.faults[point] = fault

    status, _, body = await ask(stage)

    assert status in {503, 500}
    assert b"upstream text" not in body
    assert stage.origin.seen == b""
    assert stage.dialer.dialled == []
    await stage.stop()
    assert stage.engine.refusals


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "hang"], ids=repr)
async def test_what_cannot_be_said_at_once_is_asked_properly(make_stage: MakeStage, fault: object) -> None:
    """A fault in the short way is no edits and no denial: `equip` is asked, and its answer counts."""
    stage = await make_stage(QUICK)
    stage.engine.faults["equip_at_once"] = fault
    denial = stage.engine.faults["equip"] = Denial(reason=Reason.CREDENTIAL_REFUSED, flow_id="f-1")

    status, _, body = await ask_plain(stage)

    assert (status, json.loads(body)["reason"]) == (403, denial.reason.value)
    assert stage.dialer.dialled == []
    assert stage.engine.digests == [None]
    await stage.stop()


async def test_edits_that_are_at_hand_are_used(make_stage: MakeStage) -> None:
    """Then `equip` is not asked."""
    stage = await make_stage(QUICK)
    stage.engine.faults["equip_at_once"] = Edits(put=(("x-token", "t"),))

    status, _, _ = await ask_plain(stage)

    assert status == 200
    assert stage.engine.digests == []
    assert b"x-token: t\r\n" in stage.origin.seen
    await stage.stop()


@pytest.mark.parametrize("second", [ValueError(), asyncio.CancelledError(), SystemExit(), "hang", "nonsense"], ids=repr)
async def test_a_refusal_that_cannot_be_recorded_is_trail_unavailable(make_stage: MakeStage, second: object) -> None:
    """When even the refusal's record fails, that is what the job is told."""
    stage = await make_stage(QUICK)
    stage.engine.faults.update({"admit": ValueError(), "refuse": second})

    status, _, body = await ask_plain(stage)

    assert (status, json.loads(body)["reason"]) == (503, "trail-unavailable")
    assert stage.origin.seen == b""
    await stage.stop()


@pytest.mark.parametrize("point, ask", POINTS, ids=lambda value: getattr(value, "__name__", value))
async def test_a_denial_says_what_a_person_needs(
    stage: Stage, point: str, ask: Callable[[Stage], Awaitable[tuple[int, bytes, bytes]]]
) -> None:
    """The body names reason, rules, decision and remedy; `Proxy-Status` repeats the reason (RFC 9209)."""
    stage.engine.faults[point] = Denial(reason=Reason.RULE_DENIED, flow_id="f-1", rule_ids=("r1",), detail="Because.")

    status, head, body = await ask(stage)

    assert status == 403
    assert json.loads(body) == {
        "reason": "rule-denied",
        "rule": ["r1"],
        "decision": "f-1",
        "message": "A rule denies this. Because.",
        "what_to_do": "Run `jobgate explain` with this request, or ask for the rule named in `rule`.",
    }
    assert b'proxy-status: jobgate; error=http_request_denied; details="rule-denied"' in head
    assert stage.dialer.dialled == []


@pytest.mark.parametrize("request_bytes", [plain(session=None), connect(session=None)])
async def test_a_407_keeps_the_connection(stage: Stage, request_bytes: bytes) -> None:
    """A client without a password is asked for one and may try again on the same connection."""
    client = await stage.client()

    client.send(request_bytes)
    status, head, _ = await client.reply()
    client.send(plain())

    assert status == 407
    assert b'proxy-authenticate: Basic realm="jobgate", charset="UTF-8"\r\n' in head
    assert b"connection: keep-alive" in head
    assert (await client.reply())[0] == 200


async def test_a_session_that_ends_inside_a_tunnel_is_a_403(stage: Stage) -> None:
    """A 407 from the origin's mouth would make clients drop their own password: inside a tunnel it is a 403."""
    stage.engine.faults["admit"] = Denial(reason=Reason.SESSION_EXPIRED, flow_id="f")
    status, head, _ = await ask_inside(stage)
    assert status == 403
    assert b"proxy-authenticate" not in head


@pytest.mark.parametrize(
    "line, secret",
    [
        ("Basic am9iOnNlY3JldA==", "secret"),
        ("basic am9iOnNlY3JldA==", "secret"),
        ("Basic c2VjcmV0Og==", "secret"),
        ("Bearer abc.def", "abc.def"),
    ],
)
async def test_a_password_is_read_from_basic_or_bearer(stage: Stage, line: str, secret: str) -> None:
    """Basic's password, its user when alone, or a Bearer token is what the engine is asked about."""
    client = await stage.client()
    client.send(plain("GET", "/", f"Proxy-Authorization: {line}", session=None))
    await client.reply()
    assert stage.engine.presented == [secret]
    assert b"authorization" not in stage.origin.seen


@pytest.mark.parametrize(
    "lines",
    [
        ["Basic !!!"],
        ["Basic Og=="],
        ["Digest x"],
        ["Bearer "],
        [""],
        ["Basic am9iOnNlY3JldA==", "Basic am9iOnNlY3JldA=="],
    ],
)
async def test_a_malformed_password_is_not_guessed_at(stage: Stage, lines: list[str]) -> None:
    """Anything but one Basic or Bearer credential is a 407 and never reaches the engine's desk."""
    client = await stage.client()
    client.send(plain("GET", "/", *[f"Proxy-Authorization: {line}" for line in lines], session=None))
    assert (await client.reply())[0] == 407
    assert stage.engine.presented == []


async def test_a_denied_upload_is_answered_at_once_and_can_be_read(make_stage: MakeStage) -> None:
    """A huge denied upload gets its 403 before its body, which is dropped, and the client can still read the answer."""
    stage = await make_stage(Limits(linger=5.0, linger_bytes=64 << 20))
    stage.engine.denied_paths = {"/"}
    client = await stage.client()
    client.send(plain("PUT", "/", f"Content-Length: {10 << 30}"))
    for _ in range(32):
        client.send(b"x" * 1_000_000)
        await client.writer.drain()

    status, head, _ = await client.reply()

    assert status == 403
    assert b"connection: close" in head
    client.abort()
    await stage.stop()
    assert stage.origin.connections == 0


@pytest.mark.parametrize(
    "line, body",
    [("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")],
)
async def test_a_small_denied_body_does_not_cost_the_connection(stage: Stage, line: str, body: bytes) -> None:
    """A small refused body is read to its end, and what follows is the next request, not a part of it."""
    stage.engine.denied_paths = {"/no"}
    client: Client = await stage.client()

    client.send(plain("PUT", "/no", line, body=body), plain("GET", "/yes"))

    assert [(await client.reply())[0], (await client.reply())[0]] == [403, 200]
    await until(lambda: len(stage.engine.views) == 2)


async def test_a_denied_head_request_has_no_body(stage: Stage) -> None:
    """The refusal of a HEAD is a head, so that the next answer is not misread."""
    stage.engine.denied_paths = {"/no"}
    client = await stage.client()
    client.send(plain("HEAD", "/no"))
    assert b" 403 " in await client.head()
    client.send(plain())
    assert (await client.reply())[0] == 200
