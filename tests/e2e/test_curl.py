"""curl through a real sidecar: every way it sends, and every way it is told no."""

import hashlib
import json

import pytest

from tests.fakes.origin import made_bytes
from tests.fakes.sidecar import Job, World
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
SIZE = 1_000_000
DIGEST = hashlib.sha256(made_bytes(SIZE)).hexdigest()


@pytest.fixture(autouse=True)
def _curl(require_tool: RequireTool) -> None:
    require_tool("curl")


@pytest.mark.parametrize("url", ["http://plain.test/hello", "https://origin.test/hello"])
def test_get(job: Job, url: str) -> None:
    """A GET reaches the origin, over plain HTTP and over TLS, and is on record with its outcome."""
    assert job.curl(url) == "hello\n"
    assert job.session is not None
    flow = job.world.ended(path="/hello", place=url.split("/")[2])
    assert (flow.effect, flow.rules, flow.status) == ("allow", ("open",), 200)


def test_head(job: Job) -> None:
    """HEAD answers with the length of a body that is not sent, and the connection stays usable."""
    answered = job.curl("-I", "https://origin.test/bytes/500", "--next", "-sS", "https://origin.test/hello")
    assert "content-length: 500" in answered.lower()
    assert answered.endswith("hello\n")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-H", "Expect: 100-continue"),
        ("-H", "Transfer-Encoding: chunked"),
        ("-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"),
        ("-H", "Expect:"),
    ],
)
@pytest.mark.parametrize("host", ["http://plain.test", "https://origin.test"])
def test_upload(job: Job, options: tuple[str, ...], host: str) -> None:
    """A megabyte arrives unchanged, with its length known or chunked, with and without `Expect: 100-continue`."""
    answered = job.curl(*options, "-T", "-", f"{host}/digest/up", stdin=made_bytes(SIZE))
    assert json.loads(answered) == {"length": SIZE, "sha256": DIGEST}


def test_upload_of_known_length(job: Job) -> None:
    """A file whose length is known is sent with it."""
    (job.folder / "file").write_bytes(made_bytes(SIZE))
    assert json.loads(job.curl("-T", "file", "https://origin.test/digest/file"))["sha256"] == DIGEST
    assert job.world.origin.seen[-1].headers["content-length"] == str(SIZE)


def test_download(job: Job) -> None:
    """A megabyte comes back unchanged, and the record holds its length and digest."""
    job.curl("-o", "file", f"https://origin.test/bytes/{SIZE}")
    assert hashlib.sha256((job.folder / "file").read_bytes()).hexdigest() == DIGEST


def test_resume(job: Job) -> None:
    """An interrupted download goes on where it stopped."""
    (job.folder / "file").write_bytes(made_bytes(SIZE)[:400_000])
    job.curl("-C", "-", "-o", "file", f"https://origin.test/bytes/{SIZE}")
    assert hashlib.sha256((job.folder / "file").read_bytes()).hexdigest() == DIGEST
    assert job.world.origin.seen[-1].headers["range"] == "bytes=400000-"


def test_redirect_to_a_denied_host(job: Job) -> None:
    """Each hop is decided anew: an allowed host cannot send a job to a denied one (A13)."""
    job.curl("-L", "https://origin.test/redirect?to=https://denied.test/", code=56)
    assert job.world.internet.visits == 0
    assert job.world.ended(place="denied.test").reason == "no-rule"


def test_redirect_to_an_allowed_host(job: Job) -> None:
    """A redirect between allowed hosts is followed."""
    assert job.curl("-L", "https://origin.test/redirect?to=https://other.test/hello") == "hello\n"


def test_a_denial_can_be_read(job: Job) -> None:
    """A 403 over plain HTTP is JSON that names the reason and the decision on record."""
    answered = job.curl("-w", "%{http_code} %{content_type}", "http://denied.test/secret-plan")
    body, _, rest = answered.rpartition("\n")
    said = json.loads(body)
    assert rest == "403 application/json"
    assert said["reason"] == "no-rule"
    assert said["decision"] in {flow.flow_id for flow in job.world.flows(place="denied.test")}
    assert job.world.internet.visits == 0


def test_a_denied_upload_can_be_read(job: Job) -> None:
    """A denial is readable while an upload is under way, and none of it reaches anybody."""
    answered = job.curl("-T", "-", "http://denied.test/up", stdin=made_bytes(SIZE), code=None)
    assert '"no-rule"' in answered
    assert job.world.internet.visits == 0


def test_an_unknown_host_is_refused_at_connect(job: Job) -> None:
    """CONNECT to a host no rule names is a 403 before any name is resolved."""
    said = job.curl("-v", "https://nowhere.invalid/", code=56)
    assert said == ""
    assert job.world.ended(place="nowhere.invalid", method="CONNECT").reason == "no-rule"


@pytest.mark.parametrize("url", ["http://plain.test/hello", "https://origin.test/hello"])
def test_the_challenge_is_answered(job: Job, url: str) -> None:
    """A client that waits to be asked gets 407 with a Basic challenge on a connection it can keep, then succeeds."""
    done = job.run("curl", "-sS", "-v", "--proxy-anyauth", "--max-time", "20", url)
    said = done.stderr.decode()
    assert done.stdout == b"hello\n"
    assert "407" in said
    assert 'proxy-authenticate: basic realm="jobgate"' in said.lower()


@pytest.mark.parametrize("url", ["http://plain.test/hello", "https://origin.test/hello"])
def test_nobody_gets_nothing(world: World, url: str) -> None:
    """Without a password, and with a wrong one, the answer is 407 and the origin sees nothing."""
    job = world.open()
    before = len(world.origin.seen) + len(world.plain.seen)
    for place in (f"127.0.0.1:{world.sidecar.port}", f"job:wrong@127.0.0.1:{world.sidecar.port}"):
        proxy = {"http_proxy": f"http://{place}", "https_proxy": f"http://{place}"}
        said = job.curl("-w", "%{http_code} %{http_connect}", url, code=None, environment=proxy)
        assert "407" in said
    assert len(world.origin.seen) + len(world.plain.seen) == before


def test_keep_alive(job: Job) -> None:
    """Many requests share one connection, and each is decided and recorded on its own (B12)."""
    urls = [f"https://origin.test/echo/{number}" for number in range(20)]
    done = job.run("curl", "-sS", "-v", *urls)
    assert done.stderr.decode().count("CONNECT origin.test:443 HTTP/1.1") == 1
    paths = [flow.path for flow in job.world.flows(place="origin.test")]
    assert [path for path in paths if path.startswith("/echo/")] == [f"/echo/{number}" for number in range(20)]
