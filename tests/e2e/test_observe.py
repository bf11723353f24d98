"""What would be denied, let through to be seen: where an operator said so, with nothing of ours, and marked."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.sidecar import World, rule

ROOT = Path(__file__).resolve().parents[2]
MakeWorld = Callable[..., World]
WATCH = {"id": "watch", "why": "finding out", "to": "other.test", "mode": "observe"}


def status(said: str) -> str:
    return said[-3:]


def get(job: Any, url: str, *words: str) -> str:
    return status(job.curl("-o", "/dev/null", "-w", "%{http_code}", *words, url))


@pytest.fixture
def watching(make_world: MakeWorld) -> World:
    made = make_world(start=False)
    made.rules = [
        {**rule("minted", "other.test", credential=made.bearer()), "path": "/minted"},
        {"id": "shut", "why": "never", "to": "other.test", "effect": "deny", "path": "/shut"},
        WATCH,
    ]
    made.start()
    return made


def test_a_rule_lets_through_what_nothing_allows(watching: World) -> None:
    """By any method; without a credential, where the rule beside it gives one; what is denied stays denied."""
    job = watching.open()
    assert get(job, "https://other.test/hello") == "200"
    assert get(job, "https://other.test/hello", "-X", "DELETE") != "403"
    assert get(job, "https://other.test/minted") == "404"
    assert get(job, "https://other.test/shut") == "403"
    job.curl("https://origin.test/hello", code=56)
    seen = [(each.method, each.target, each.headers.get("authorization")) for each in watching.origin.site.seen]
    assert seen == [
        ("GET", "/hello", None),
        ("DELETE", "/hello", None),
        ("GET", "/minted", f"Bearer {watching.secret}"),
    ]
    for record in (each for each in watching.records("flow.decision") if each.get("path") == "/hello"):
        assert (record["effect"], record["reason"], record["rules"]) == ("allow", "observed", ["watch"])
        assert "grant" not in record


def test_secrets_are_refused_all_the_same(watching: World) -> None:
    """A real one, and a placeholder at a place that it is not for."""
    job = watching.open()
    token = "ghp_" + "a1B" * 12
    assert "credential-misuse" in job.curl("-H", f"Authorization: token {token}", "https://other.test/hello")
    assert watching.origin.site.seen == []


def test_what_was_seen_becomes_rules(watching: World, tmp_path: Path) -> None:
    """`jobgate suggest` makes a rule of it; the record replays to no change under the rules of then."""
    for _ in range(6):
        assert get(watching.open(), "https://other.test/hello") == "200"
    words = [str(watching.sidecar.audit), "--rules", str(watching.rule_file.parent), "--format", "json"]

    def run(command: str) -> dict[str, Any]:
        line = [sys.executable, "-m", "proxy", command, *words]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    assert run("replay")["changes"] == []
    (missing,) = [each for each in run("suggest")["suggestions"] if each["topic"] == "missing-permission"]
    assert "other.test/hello" in json.dumps(missing)
    assert sum(missing["allows"].values()) == 6


def test_the_setting_lets_all_through(make_world: MakeWorld) -> None:
    """But what a rule denies, and what is refused whatever the rules say; each revision on record says so."""
    made = make_world(start=False)
    made.settings["mode"] = "observe"
    made.rules = [{"id": "shut", "why": "never", "to": "other.test", "effect": "deny", "path": "/shut"}]
    made.start()
    job = made.open()
    assert get(job, "https://origin.test/hello") == "200"
    assert get(job, "https://other.test/shut") == "403"
    assert get(job, "http://169.254.169.254/latest/meta-data/") == "403"
    assert {each["revision"][:8] for each in made.records("flow.decision")} == {"observe-"}
    (record,) = [each for each in made.records("flow.decision") if each.get("path") == "/hello"]
    assert (record["reason"], record.get("rules")) == ("observed", [])
