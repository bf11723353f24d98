"""A job that sends a real credential, or one that jobgate issued to another, is refused, recorded and counted."""

from collections.abc import Callable

import pytest

from tests.fakes.sidecar import World, rule

MakeWorld = Callable[..., World]
TOKEN = "ghp_" + "a1B" * 12


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    made = make_world(start=False)
    made.rules = [rule("plain", "origin.test"), rule("secret", "other.test", credential=made.bearer())]
    made.start()
    return made


@pytest.mark.parametrize(
    "words",
    [
        ("-H", f"Authorization: token {TOKEN}"),
        ("-H", f"X-Api-Key: {TOKEN}"),
        ("-u", f"bot:{TOKEN}"),
        ("--url-query", f"key={TOKEN}"),
    ],
)
@pytest.mark.parametrize("host", ["origin.test", "other.test"])
def test_a_real_token_goes_nowhere(world: World, words: tuple[str, str], host: str) -> None:
    """Not even where a rule would put another in its place; what it was is on record, the token nowhere."""
    job = world.open()
    said = job.curl(*words, f"https://{host}/hello")
    assert "credential-misuse" in said
    assert TOKEN not in said
    flow = world.ended(path="/hello")
    assert (flow.effect, flow.reason) == ("deny", "credential-misuse")
    record = [each for each in world.records("flow.decision") if each["reason"] == "credential-misuse"][-1]
    assert record["detail"] == "a github token"
    assert world.origin.site.seen == []
    assert TOKEN not in str(world.sidecar.records()) + world.sidecar.errors.read_text()
    assert b'jobgate_events_total{event="credential-misuse"} 1' in world.sidecar.api.call("GET", "/metrics").body


def test_an_issued_credential_is_refused_from_any_job(world: World) -> None:
    """Whoever learnt it somewhere cannot use it here: not at its own host, not at another, not in another job."""
    first = world.open()
    assert "200" in first.curl("-o", "/dev/null", "-w", "%{http_code}", "https://other.test/hello")
    (arrived,) = [seen.headers["authorization"] for seen in world.origin.site.seen]
    assert arrived == f"Bearer {world.secret}"
    for job in (first, world.open()):
        for host in ("other.test", "origin.test"):
            assert "credential-misuse" in job.curl("-H", f"Authorization: {arrived}", f"https://{host}/hello")
            assert "credential-misuse" in job.curl("-u", f"x:{world.secret}", f"https://{host}/hello")
    assert len(world.origin.site.seen) == 1


def test_a_placeholder_serves_its_own_job_at_its_own_places(world: World) -> None:
    """Where a rule gives a credential it is swapped; elsewhere, and from another job, it is refused and counted."""
    mine, theirs = world.open(), world.open()
    own = mine.environment["JOBGATE_PLACEHOLDER"]
    assert own != theirs.environment["JOBGATE_PLACEHOLDER"]
    assert own in mine.environment["AWS_ACCESS_KEY_ID"].join(("jobgate-", ""))
    shown = ("-o", "/dev/null", "-w", "%{http_code}")
    assert mine.curl(*shown, "-u", f"job:{own}", "https://other.test/hello") == "200"
    assert [seen.headers["authorization"] for seen in world.origin.site.seen] == [f"Bearer {world.secret}"]
    said = mine.curl("-u", f"job:{own}", "https://origin.test/hello")
    assert "credential-misuse" in said
    assert "a placeholder at a host that it is not for" in said
    for host in ("origin.test", "other.test"):
        assert "credential-misuse" in theirs.curl("-u", f"job:{own}", f"https://{host}/hello")
        assert "credential-misuse" in theirs.curl(f"https://{host}/hello?key={own}")
    details = [each.get("detail") for each in world.records("flow.decision") if each["reason"] == "credential-misuse"]
    assert details == ["a placeholder at a host that it is not for"] + ["a placeholder of another job"] * 4
    assert b'jobgate_events_total{event="credential-misuse"} 5' in world.sidecar.api.call("GET", "/metrics").body
    assert len(world.origin.site.seen) == 1
