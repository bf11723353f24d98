"""A hostile stranger sends us things: what makes the gateway stumble, remember too much, or let go too late."""

import tracemalloc

import pytest

from proxy.gateway.paths import check_path
from proxy.model.grant import Edits
from tests.gateway.stage import Stage, connect, inner, plain, until


@pytest.mark.parametrize("line", ["Basic \xff\xfe", "Basic \xe9\xe9\xe9\xe9", "basic am9i\xa0"])
@pytest.mark.parametrize("tunnel", [False, True])
async def test_a_password_that_is_no_ascii_is_a_407(stage: Stage, line: str, *, tunnel: bool) -> None:
    """Bytes that no base64 has are a malformed password like any other, with an answer and a refusal on record."""
    lines = f"Proxy-Authorization: {line}"
    words = connect(session=None)[:-2] + lines.encode("latin-1") + b"\r\n\r\n"
    client = await stage.client()
    client.send(words if tunnel else plain("GET", "/", lines, session=None))
    assert (await client.reply())[0] == 407
    assert stage.engine.presented == []


@pytest.mark.parametrize("query", ["a b", "a\r\nx-smuggled: 1", "a#b", "a\x00", "\xe9", "a\n"])
async def test_a_query_that_could_break_the_line_is_not_sent(stage: Stage, query: str) -> None:
    """An edited query is held to what a job's own query is held to before it is written on the request line."""
    stage.engine.edits = Edits(query=query)
    client = await stage.client()
    client.send(plain())
    assert (await client.reply())[0] == 503
    assert stage.origin.seen == b""


async def test_a_tunnel_ends_with_its_session(stage: Stage) -> None:
    """Passed-through bytes stop when the job's session does: nothing else would ever ask again."""
    stage.engine.inspect = False
    stage.origin.port = stage.origin.secure_port
    client = await stage.tunnel()
    client.send(inner())
    assert (await client.reply())[0] == 200
    stage.gateway.close_session("job")
    await until(lambda: stage.gateway.open_connections == 0)


def test_strangers_do_not_fill_memory_with_paths() -> None:
    """Paths are read before anyone has said who they are: what is remembered of long ones stays small (1f, G28)."""
    tracemalloc.start()
    try:
        for number in range(200):
            check_path(f"/{number}/" + "a" * 60_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
