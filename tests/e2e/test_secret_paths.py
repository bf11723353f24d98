"""Where secrets go, and where they never do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sidecar import Job, World, rule, wait_until

FOREIGN = "job-own-credential-0123456789"
FIELDS = ("Authorization", "Cookie", "X-Vault-Token", "Private-Token", "X-Amz-Security-Token", "X-Api-Key", "Job-Token")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    made.rules = [
        rule("open", ["origin.test", "http://plain.test"]),
        rule("bearer", "bearer.test", credential=made.bearer()),
        rule("basic", "secret.test", credential=made.basic("bot")),
    ]
    made.start()
    yield made
    made.stop()


@pytest.fixture
def job(world: World) -> Job:
    return world.open()


def received(world: World, job: Job, *arguments: str) -> dict[str, str]:
    """The fields the origin received for one request; what it answered is not asked for."""
    before = len(world.origin.seen) + len(world.plain.seen)
    job.curl(*arguments)
    assert len(world.origin.seen) + len(world.plain.seen) == before + 1
    seen = (world.plain if "http://plain.test/hello" in arguments else world.origin).seen[-1]
    return dict(seen.headers)


@pytest.mark.parametrize("url", ["https://origin.test/hello", "http://plain.test/hello"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_credential_of_the_job_never_arrives(world: World, job: Job, field: str, url: str) -> None:
    """Whatever credential a client sends, the origin never sees it; the record names the field, not its value."""
    headers = received(world, job, "-H", f"{field}: Bearer {FOREIGN}", url)
    assert FOREIGN not in json.dumps(headers)
    assert world.records("flow.decision")[-1]["stripped"] == [field.lower()]


@pytest.mark.parametrize("url", ["https://origin.test/hello", "http://plain.test/hello"])
def test_nothing_of_the_proxy_arrives(world: World, job: Job, url: str) -> None:
    """Proxy credentials, hop-by-hop fields and what `Connection` names stay here (C03, C06)."""
    sent: tuple[str, ...] = ("-H", "Connection: X-Private", "-H", "X-Private: 1", "-H", "TE: trailers")
    if url.startswith("https:"):  # inside the tunnel, where it is not ours to answer
        sent += ("-H", "Proxy-Authorization: Basic abc")
    headers = received(world, job, *sent, url)
    gone = {"proxy-authorization", "proxy-connection", "x-private", "te", "forwarded", "x-forwarded-for", "via"}
    assert gone & headers.keys() == set()


@pytest.mark.parametrize("query", ["access_token=x", "a=1&api_key=x", "a=1;PRIVATE_TOKEN=x", "%61pi_key=x"])
def test_a_credential_in_a_query_is_refused(job: Job, query: str) -> None:
    """A credential in a URL cannot be taken out unseen: the request is refused (B04)."""
    before = len(job.world.origin.seen)
    said = job.curl(f"https://origin.test/hello?{query}")
    assert json.loads(said)["reason"] == "credential-present"
    assert len(job.world.origin.seen) == before


@pytest.mark.parametrize("host, starts", [("bearer.test", "Bearer "), ("secret.test", "Basic ")])
def test_the_credential_is_put_on(world: World, job: Job, host: str, starts: str) -> None:
    """The origin gets jobgate's credential, once, whatever the job sent in its place."""
    headers = received(world, job, "-H", f"Authorization: Bearer {FOREIGN}", f"https://{host}/hello")
    assert headers["authorization"].startswith(starts)
    assert FOREIGN not in headers["authorization"]


@pytest.mark.parametrize("host", ["bearer.test", "secret.test"])
def test_an_echo_is_blanked(world: World, job: Job, host: str) -> None:
    """A service that repeats what it was sent does not give the job the credential; the record counts it (C01)."""
    before = len(world.origin.seen)
    said = job.curl("-i", f"https://{host}/echo")
    sent = world.origin.seen[-1].headers["authorization"].partition(" ")[2]
    assert len(world.origin.seen) == before + 1
    assert len(sent) > 20
    assert world.secret not in said
    assert sent not in said
    assert "***" in said
    wait_until(lambda: [record for record in world.records("flow.outcome") if record.get("redactions")])


def test_options_and_trace_get_no_credential(world: World, job: Job) -> None:
    """OPTIONS is sent without a credential, TRACE not at all (B03)."""
    headers = received(world, job, "-X", "OPTIONS", "https://bearer.test/hello")
    assert "authorization" not in headers
    before = len(world.origin.seen)
    said = job.curl("-X", "TRACE", "https://bearer.test/hello")
    assert json.loads(said)["reason"] == "method-unknown"
    assert len(world.origin.seen) == before


def test_the_planted_secret_is_nowhere(world: World, job: Job) -> None:
    """After all of the above: the secret is in no byte a client got, no record, no metric, no log, no setting."""
    for host in ("bearer.test", "secret.test"):
        job.curl("-i", f"https://{host}/echo/{'x' * 500}")
        job.curl("-i", f"https://{host}/nothing-here")
    assert any(world.secret in seen.headers.get("authorization", "") for seen in world.origin.seen)
    texts = {f"output {number}": output for number, output in enumerate(world.outputs)}
    texts["metrics"] = world.sidecar.api.call("GET", "/metrics").body
    for path in searched(world):
        texts[str(path)] = path.read_bytes()
    assert len(texts) > 20
    assert [name for name, text in texts.items() if world.secret.encode() in text] == []
    assert job.session is not None
    assert [name for name, text in texts.items() if job.session.secret.encode() in text] == []


def searched(world: World) -> list[Path]:
    """Every file the sidecar wrote."""
    return [path for path in world.sidecar.folder.rglob("*") if path.is_file()]
