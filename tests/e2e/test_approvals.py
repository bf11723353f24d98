"""A rule that wants a person's yes, at a running sidecar: asked, answered, used once, and never for another."""

import hmac
import json
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from proxy.control.client import ControlError
from proxy.demo.web import Exchange, Site
from proxy.model.grant import Secret
from tests.fakes.sidecar import Job, World, rule, wait_until

OPERATOR = "operator-token-0123456789-0123456789"
NOTICES = "what-notices-are-signed-with"
TOLD: list[dict[str, Any]] = []
CODE = ("-o", "/dev/null", "-w", "%{http_code}")
URL = "https://secret.test/echo"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    place = made.folder / "operator"
    place.touch(mode=0o600)
    place.write_text(OPERATOR)
    key = made.folder / "notices"
    key.touch(mode=0o600)
    key.write_text(NOTICES)
    made.settings = {
        "session": {"operator_token": str(place)},
        "approvals": {"notify": "https://bot.test/jobgate", "key": str(key)},
    }
    bot = Site(_Bot, made.root.server_side("bot", ("bot.test",)))
    bot.told = TOLD  # type: ignore[attr-defined]
    bot.start()
    made.places["bot.test:443"] = bot.place
    approval = {"within": "3s", "ask": "Is the freeze over?"}
    made.rules = [
        {**rule("asks", "secret.test", credential=made.bearer()), "approval": approval},
        {**rule("plain", "secret.test", credential=made.bearer()), "path": "/hello"},
        rule("other", "origin.test"),
    ]
    made.start()
    yield made
    made.stop()
    bot.stop()


class _Bot(Exchange):
    """Takes what is signed, after it has been down once."""

    def answer(self) -> None:
        body, told = self.read_body(), self.server.told  # type: ignore[attr-defined]
        name, stamp, said = (self.headers[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
        signed = f"{name}.{stamp}.".encode() + body
        right = b64encode(hmac.new(NOTICES.encode(), signed, sha256).digest()).decode()
        assert said == f"v1,{right}"
        assert abs(int(stamp) - time.time()) < 60
        told.append(json.loads(body))
        self.reply(503 if len(told) == 1 else 204)


def ask(job: Job, *words: str) -> dict[str, Any]:
    """Send a request and return the refusal."""
    told: dict[str, Any] = json.loads(job.curl(*words, URL))
    return told


def question_of(world: World, told: dict[str, Any]) -> str:
    assert told["reason"] == "approval-required", told
    found = wait_until(
        lambda: [each for each in world.records("approval.asked") if each["approval"] in told["message"]]
    )
    return str(found[-1]["approval"])


def approve(world: World, *words: str, code: int = 0) -> str:
    """Run the command as an operator does."""
    command = [sys.executable, "-m", "proxy", "approve", "--config", str(world.sidecar.config), *words]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_yes_lets_the_very_request_pass_once(world: World) -> None:
    """Refused with where to ask; after a yes it passes with its credential; the next one is asked about again."""
    job, seen = world.open(), len(world.origin.site.seen)
    told = ask(job, "-d", "delete=1")
    name = question_of(world, told)
    assert f"jobgate approve {name}" in told["message"]
    assert ask(job, "-d", "delete=1")["message"] == told["message"]
    assert len(world.origin.site.seen) == seen
    listed = approve(world)
    assert name in listed
    assert "Is the freeze over?" in listed
    approve(world, name, "--why", "checked", "--by", "ann")
    assert job.curl(*CODE, "-d", "delete=1", URL) == "200"
    assert world.origin.seen[-1].headers["authorization"] == f"Bearer {world.secret}"
    assert question_of(world, ask(job, "-d", "delete=1")) != name
    given = world.records("approval.given")[-1]
    assert (given["approval"], given["why"], given["by"].startswith("ann (")) == (name, "checked", True)
    used = [
        each for each in world.records("flow.decision") if each.get("approval") == name and each["effect"] == "allow"
    ]
    assert len(used) == 1


def test_a_service_is_told_and_answers(world: World) -> None:
    """Signed, again when it was down, with what is asked; its answer over the control API counts."""
    job = world.open()
    name = question_of(world, ask(job, "-d", "told=1"))
    found = wait_until(lambda: [each for each in TOLD if each["data"]["approval"] == name])
    asked = found[-1]
    assert (asked["type"], asked["data"]["method"], asked["data"]["ask"]) == (
        "approval.asked",
        "POST",
        "Is the freeze over?",
    )
    wait_until(lambda: len(TOLD) >= 2)
    world.sidecar.api.approve(name, {"decision": "yes", "by": "bot for ann", "why": "in chat"}, Secret(OPERATOR))
    assert job.curl(*CODE, "-d", "told=1", URL) == "200"


@pytest.mark.parametrize(
    "words", [("-d", "delete=2"), ("-X", "PUT", "-d", "delete=1"), ("-d", "delete=1", "--url-query", "x=y"), ()]
)
def test_a_yes_is_for_nothing_else(world: World, words: tuple[str, ...]) -> None:
    """Another body, method or query is another question."""
    job = world.open()
    name = question_of(world, ask(job, "-d", "delete=1"))
    approve(world, name, "--why", "checked")
    assert question_of(world, ask(job, *words)) != name
    assert job.curl(*CODE, "-d", "delete=1", URL) == "200"


def test_a_yes_is_for_no_other_job(world: World) -> None:
    """The same request of another session asks for itself."""
    first, second = world.open(), world.open()
    name = question_of(world, ask(first))
    approve(world, name, "--why", "checked")
    assert question_of(world, ask(second)) != name
    assert first.curl(*CODE, URL) == "200"


def test_a_no_and_a_late_request_are_refused(world: World) -> None:
    """After a no the job is told so; a yes that was not used in time is gone."""
    job = world.open()
    name = question_of(world, ask(job, "-d", "no=1"))
    approve(world, name, "--why", "not now", "--deny")
    assert "a person has said no" in ask(job, "-d", "no=1")["message"]
    late = question_of(world, ask(job, "-d", "late=1"))
    approve(world, late, "--why", "checked")
    subprocess.run(["sleep", "3.2"], check=True)
    assert question_of(world, ask(job, "-d", "late=1")) != late


def test_a_rule_without_one_does_not_undo_it(world: World) -> None:
    """Two rules allow the request: the one that wants a yes is enough."""
    told = json.loads(world.open().curl("https://secret.test/hello"))
    assert told["reason"] == "approval-required"


def test_a_job_cannot_say_yes_to_itself(world: World) -> None:
    """The socket alone is not enough, and no password or other token is the operator's."""
    job = world.open()
    name = question_of(world, ask(job, "-d", "own=1"))
    answer = {"decision": "yes", "by": "job", "why": "please"}
    assert job.session is not None
    for secret in (None, Secret(job.session.secret), Secret("x" * 32)):
        with pytest.raises(ControlError) as caught:
            world.sidecar.api.approve(name, answer, secret)
        assert caught.value.slug == "operator-only"
    assert ask(job, "-d", "own=1")["reason"] == "approval-required"


@pytest.mark.parametrize(
    "answer",
    [
        {"decision": "maybe", "by": "a", "why": "b"},
        {"decision": "yes", "by": "", "why": "b"},
        {"decision": "yes", "by": "a", "why": "b" * 201},
        {"decision": "yes", "by": "a\nb", "why": "b"},
        {"decision": "yes", "by": "a"},
    ],
)
def test_an_answer_that_is_none_is_refused(world: World, answer: dict[str, str]) -> None:
    """Neither yes nor no, nobody, too long, more than one line."""
    name = question_of(world, ask(world.open(), "-d", "odd=1"))
    with pytest.raises(ControlError) as caught:
        world.sidecar.api.approve(name, answer, Secret(OPERATOR))
    assert caught.value.status == 400
    with pytest.raises(ControlError) as gone:
        world.sidecar.api.approve("nobody", {"decision": "yes", "by": "a", "why": "b"}, Secret(OPERATOR))
    assert gone.value.status == 404


def test_a_body_that_cannot_be_held_is_refused(world: World) -> None:
    """Nobody is asked about what would not fit into memory; nothing of it leaves."""
    job, seen = world.open(), len(world.origin.site.seen)
    (job.folder / "large").write_bytes(b"x" * (5 * 1024 * 1024))
    told = json.loads(job.curl("-T", "large", "-H", "Expect:", URL))
    assert told["reason"] in {"approval-required", "body-too-large"}
    assert len(world.origin.site.seen) == seen


def test_what_is_stopped_stays_stopped(world: World) -> None:
    """A kill beats a yes."""
    job = world.open(pipeline_slug="stopped")
    name = question_of(world, ask(job, "-d", "kill=1"))
    approve(world, name, "--why", "checked")
    kill = world.sidecar.api.kill("rule", "asks", "a test", Secret(OPERATOR))
    try:
        assert ask(job, "-d", "kill=1")["reason"] == "killed"
    finally:
        world.sidecar.api.lift(kill["id"], Secret(OPERATOR))


def test_a_question_ends_with_its_session(world: World) -> None:
    """Nobody can say yes to a job that is gone."""
    job = world.open()
    name = question_of(world, ask(job, "-d", "gone=1"))
    assert job.session is not None
    world.sidecar.close_session(job.session)
    assert name not in approve(world)
    assert "nobody asks by this id" in approve(world, name, "--why", "late", code=3)
