"""Sidecar mode: the job's token comes late, comes again, or is refused; the session opens when it can."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from proxy import own_identity
from proxy.config import IdentitySettings
from proxy.engine.seam import Denial
from proxy.engine.sessions import SessionDesk
from proxy.model.identity import JobContext, Principal, Session, UnverifiedToken
from proxy.model.reason import Reason
from proxy.own_identity import OwnIdentity

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLANTED = "planted.job.token"


class Desk:
    """Adopts what it is told to, and records what it was given."""

    def __init__(self, *answers: Reason | None) -> None:
        self.answers = list(answers)
        self.given: list[tuple[str, list[str]]] = []
        self.is_over = False
        self.declared: tuple[str, ...] | None = None

    def now(self) -> datetime:
        return NOW

    def is_open(self, session: Session, now: datetime) -> bool:
        return not self.is_over

    async def adopt_own(
        self, token: UnverifiedToken, others: Sequence[UnverifiedToken], declared: tuple[str, ...] | None = None
    ) -> Session | Denial:
        self.given.append((str(token), [str(each) for each in others]))
        self.declared = declared
        reason = self.answers.pop(0) if self.answers else None
        if reason is not None:
            return Denial(reason=reason, flow_id="f1")
        principal = Principal(provider="x", issuer="https://x.test", subject="s", token_digest="")
        end = NOW + timedelta(hours=1)
        return Session(id="s1", principal=principal, job=JobContext(), opened_at=NOW, expires_at=end)


@contextlib.asynccontextmanager
async def keeping(desk: Desk, settings: dict[str, Any]) -> AsyncIterator[OwnIdentity]:
    """An identity that keeps its session for as long as the block runs."""
    own = OwnIdentity(IdentitySettings.model_validate(settings), cast("SessionDesk", desk))
    running = asyncio.ensure_future(own.keep())
    yield own
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)


def python(script: str) -> list[str]:
    return [sys.executable, "-IS", "-c", script]


async def test_a_token_is_adopted_with_the_others(tmp_path: Path) -> None:
    """From files and commands alike, without the line's end, with what the settings declare."""
    place = tmp_path / "token"
    place.write_text(f"{PLANTED}\n")
    settings = {"file": place, "others": [{"command": python("print('other.token')")}], "intents": ["npm  install *"]}
    desk = Desk()
    async with keeping(desk, settings) as own:
        await until(lambda: own.is_held)
        assert own.fault == ""
        desk.is_over = True
        assert not own.is_held
    assert desk.given == [(PLANTED, ["other.token"])]
    assert desk.declared == ("npm install *",)


async def test_a_token_that_comes_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the fault says what is missing."""
    monkeypatch.setattr(own_identity, "_RETRY", (0.01,))
    place = tmp_path / "token"
    desk = Desk()
    async with keeping(desk, {"file": place}) as own:
        await until(lambda: "No such file" in own.fault)
        place.touch()
        await until(lambda: "gives no token" in own.fault)
        assert not own.is_held
        place.write_text(PLANTED)
        await until(lambda: own.is_held)
        assert own.fault == ""


async def test_a_refused_token_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is shown for as long as it holds, and the token is not."""
    monkeypatch.setattr(own_identity, "_RETRY", (0.01,))
    place = tmp_path / "token"
    place.write_text(PLANTED)
    desk = Desk()
    for reason in (Reason.ISSUER_UNAVAILABLE, Reason.IDENTITY_REPLAYED):
        desk.answers = [reason] * 10_000
        async with keeping(desk, {"file": place}) as own:
            await until(lambda own=own, reason=reason: own.fault == reason.value and len(desk.given) > 2)
            assert not own.is_held
            desk.answers.clear()
            await until(lambda own=own: own.is_held)
            assert own.fault == ""
        desk.given.clear()


@pytest.mark.parametrize(
    "script, said",
    [
        (f"print('{PLANTED}'); raise SystemExit(3)", "ended with exit code 3"),
        ("import time; time.sleep(60)", "took longer than"),
        ("pass", "gives no token"),
    ],
)
async def test_a_failing_command_is_named(script: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it printed is not repeated."""
    monkeypatch.setattr(own_identity, "_COMMAND_TIME", 0.5)
    desk = Desk()
    async with keeping(desk, {"command": python(script)}) as own:
        await until(lambda: own.fault != "")
        assert said in own.fault
        assert PLANTED not in own.fault
    assert desk.given == []


async def test_a_missing_command_is_named() -> None:
    """With what the system says."""
    async with keeping(Desk(), {"command": ["/nonexistent/program"]}) as own:
        await until(lambda: own.fault != "")
        assert own.fault == "identity: /nonexistent/program cannot be run: No such file or directory"
