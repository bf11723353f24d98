"""An STS that lies, fails, is silent or cannot be had, behind a real sidecar: nothing is signed with less than a key.

Each case ends as those of `test_connectors_aws` do: reason, record, nothing at S3, and no secret anywhere.
"""

import time
from collections.abc import Iterator
from hashlib import sha256

import pytest

from proxy.demo.sidecar import JobSession
from tests.fakes.aws_stage import S3, STS, AwsStage, aws_rule, s3_request
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import DENIED

AWAY = {each: f"releases.s3.eu-{each}-1.amazonaws.com" for each in ("north", "south", "central")}


@pytest.fixture(scope="module")
def aws_stage() -> Iterator[AwsStage]:
    made = AwsStage((S3, STS, *AWAY.values()))
    made.world.rules = [
        aws_rule("plain"),
        *(aws_rule(each, host, region=f"eu-{each}-1") for each, host in AWAY.items()),
    ]
    made.world.places = {
        "sts.eu-north-1.amazonaws.com:443": made.hold_port(listens=False),
        "sts.eu-south-1.amazonaws.com:443": made.hold_port(listens=True),
        "sts.eu-central-1.amazonaws.com:443": made.world.internet.site.place,
    }
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(aws_stage: AwsStage) -> Iterator[AwsStage]:
    """The stage of this file; what a test made STS say or be is undone after it."""
    yield aws_stage
    aws_stage.settle()


def http(status: int, body: bytes, *lines: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} X", "Content-Type: text/xml", f"Content-Length: {size}", "Connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


LIED = "lied/secret+of+sts"


def keys(**changes: str) -> bytes:
    """Credentials as STS gives them, with something changed."""
    parts = {"AccessKeyId": "ASIALIED", "SecretAccessKey": LIED, "SessionToken": f"{LIED}==", **changes}
    parts = {"Expiration": "2999-01-01T00:00:00Z", **parts}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items() if value != "-")
    return f"<R><Credentials>{inner}</Credentials></R>".encode()


def fault(code: str) -> bytes:
    return f"<E><Error><Code>{code}</Code><Message>{LIED}</Message></Error></E>".encode()


NONE = "STS: the answer holds no usable credentials"
SPOKE = f"STS: {STS} did not answer in HTTP"
TOO_MUCH = f"STS: {STS} answered with more than 262144 bytes"
ENTITY = b'<!DOCTYPE R [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + keys(SecretAccessKey="&a;")
CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"<" * 65536 + b"\r\n") * 6
LIES = [
    pytest.param(http(200, f"<html>{LIED}".encode()), NONE, 1, id="not-xml"),
    pytest.param(http(200, keys()[:-20]), NONE, 1, id="xml-cut-off"),
    pytest.param(http(200, keys(SessionToken="-")), NONE, 1, id="no-session-token"),
    pytest.param(http(200, keys(SecretAccessKey="")), NONE, 1, id="empty-secret"),
    pytest.param(http(200, keys(SecretAccessKey=f"{LIED} x")), NONE, 1, id="space-in-a-secret"),
    pytest.param(http(200, keys(SessionToken=f"{LIED}&#13;&#10;X-Evil: 1")), NONE, 1, id="line-end-in-a-token"),
    pytest.param(http(200, keys(AccessKeyId="ASIA&#13;&#10;X-Evil: 1")), NONE, 1, id="line-end-in-a-key-id"),
    pytest.param(http(200, keys(SessionToken=f"{LIED}\u00e9")), NONE, 1, id="token-that-is-no-ascii"),
    pytest.param(http(200, b"<X>" + keys() + keys() + b"</X>"), NONE, 1, id="two-credentials"),
    pytest.param(http(200, ENTITY), NONE, 1, id="entity"),
    pytest.param(http(200, keys().decode().encode("utf-16")), NONE, 1, id="another-encoding"),
    pytest.param(http(200, keys(Expiration="soon")), NONE, 1, id="expires-at-no-time"),
    pytest.param(
        http(200, keys(Expiration="2020-01-01T00:00:00Z")),
        "STS gave a credential that has already expired",
        1,
        id="already-expired",
    ),
    pytest.param(http(201, keys()), "STS: status 201", 1, id="status-201"),
    pytest.param(http(204, b""), "STS: status 204", 1, id="status-204"),
    pytest.param(http(302, keys(), f"Location: https://{DENIED}/"), "STS: status 302", 1, id="redirect"),
    pytest.param(http(403, keys()), "STS: status 403", 1, id="keys-with-a-refusal"),
    pytest.param(http(400, fault(f"{LIED}:")), "STS: status 400", 1, id="code-that-is-none"),
    pytest.param(http(500, fault("InternalFailure")), "STS: InternalFailure", 2, id="failure-twice"),
    pytest.param(http(200, fault("Throttling")), NONE, 1, id="fault-with-a-200"),
    pytest.param(http(429, b""), "STS: status 429", 2, id="throttled-twice"),
    pytest.param(http(200, b"<" * 262_145), TOO_MUCH, 1, id="huge-body"),
    pytest.param(CHUNKED, TOO_MUCH, 1, id="huge-body-in-chunks"),
    pytest.param(http(200, keys(), length=10**12), SPOKE, 1, id="less-than-announced"),
    pytest.param(http(200, keys(), "X-Flood: " + "f" * 200_000), SPOKE, 1, id="huge-head"),
    pytest.param(b"\x00\x01 no HTTP at all\r\n\r\n", SPOKE, 1, id="not-http"),
    pytest.param(b"", SPOKE, 1, id="no-answer"),
]


@pytest.mark.parametrize("lie, detail, calls", LIES)
def test_an_sts_that_lies(stage: AwsStage, lie: bytes, detail: str, calls: int) -> None:
    """An answer that is not exactly a key is none: nothing of it is used, followed, sent on, shown or recorded."""
    session, before = stage.open(), len(stage.sts.asked)
    path = f"/plain/lie-{sha256(lie).hexdigest()[:12]}"
    stage.sts.instead = [lie] * calls
    stage.secrets += [LIED, f"{LIED}=="]
    answer = stage.ask(session, S3, s3_request(path))
    is_refusal = detail in {"STS: status 403", "STS: status 400"}
    assert answer.status == (403 if is_refusal else 503)
    flow = stage.refused(answer, path, "credential-refused" if is_refusal else "credential-unavailable")
    assert stage.detail_of(flow) == detail
    assert (len(stage.sts.asked), stage.sts.instead) == (before + calls, [])
    assert stage.minted(session) == []
    assert stage.world.internet.visits == 0


def test_an_sts_that_fails_once(stage: AwsStage) -> None:
    """A failure that passes costs the job a moment, not its request; a lie told to one job does not hurt the next."""
    stage.sts.instead = [http(503, b"")]
    assert stage.ask(stage.open(), S3, s3_request("/plain/once")).status == 200
    assert stage.leaks() == []


NOT_TO_BE_HAD = [
    pytest.param("north", "cannot be reached: ConnectionRefusedError", id="nobody-listens"),
    pytest.param("central", "its certificate is not accepted", id="another-hosts-certificate"),
]


@pytest.mark.parametrize("folder, detail", NOT_TO_BE_HAD)
def test_an_sts_that_cannot_be_had(stage: AwsStage, folder: str, detail: str) -> None:
    """No connection to the STS of the rule's region, or one with somebody else: no key, and no other STS is asked."""
    session, before = stage.open(), len(stage.sts.seen)
    host = AWAY[folder]
    answer = stage.ask(session, host, s3_request(f"/{folder}/x", host=host))
    assert answer.status == 503
    flow = stage.refused(answer, f"/{folder}/x", "credential-unavailable")
    assert detail in stage.detail_of(flow)
    assert len(stage.sts.seen) == before
    assert stage.world.internet.site.seen == []


def ask_slowly(stage: AwsStage, session: JobSession, host: str, path: str) -> tuple[Reply, float]:
    """Ask what takes its time, and meanwhile see another job served; return the answer and the seconds it took."""
    other = stage.open()
    delay, stage.sts.delay = stage.sts.delay, 0.0
    assert stage.ask(other, S3, s3_request("/plain/meanwhile")).status == 200
    stage.sts.delay = delay
    began = time.monotonic()
    with RawClient(stage.world, session) as slow, RawClient(stage.world, other) as quick:
        slow.tunnel(host)
        slow.send(s3_request(path, host=host))
        time.sleep(0.2)
        stage.sts.delay = 0.0
        quick.tunnel(S3)
        quick.send(s3_request("/plain/meanwhile", method="HEAD", body=b""))
        assert quick.reply("HEAD").status == 200
        assert time.monotonic() - began < 1.0
        answer = slow.reply()
    return answer, time.monotonic() - began


SLOW = [pytest.param("south", 0.0, id="silent-before-tls"), pytest.param("plain", 30.0, id="silent-after-tls")]


@pytest.mark.parametrize("folder, delay", SLOW)
def test_an_sts_that_is_silent(stage: AwsStage, folder: str, delay: float) -> None:
    """Within five seconds the job has its answer, and nobody else waits that long."""
    stage.sts.delay = delay
    host = AWAY.get(folder, S3)
    answer, seconds = ask_slowly(stage, stage.open(), host, f"/{folder}/slow")
    assert answer.status == 503
    flow = stage.refused(answer, f"/{folder}/slow", "credential-unavailable")
    assert stage.detail_of(flow) == "the credential's issuer did not answer in time"
    assert 4 < seconds < 6


def test_an_sts_that_takes_its_time(stage: AwsStage) -> None:
    """A slow key is a key."""
    stage.sts.delay = 1.0
    answer, seconds = ask_slowly(stage, stage.open(), S3, "/plain/patience")
    assert (answer.status, len(stage.reached("/plain/patience"))) == (200, 1)
    assert seconds > 1
    assert stage.leaks() == []


def test_a_session_that_ends_while_its_key_is_made(stage: AwsStage) -> None:
    """A key that arrives after its session's end is put on nothing, and on no record."""
    session = stage.open()
    stage.sts.delay = 1.0
    with RawClient(stage.world, session) as client:
        client.tunnel(S3)
        client.send(s3_request("/plain/over"))
        time.sleep(0.3)
        stage.world.sidecar.close_session(session)
        answer = client.reply()
        assert answer.status == 403
        stage.refused(answer, "/plain/over", "session-expired")
    assert stage.minted(session) == []


def test_after_all_of_it(stage: AwsStage) -> None:
    """The sidecar still serves, no secret is anywhere, the trail is whole, and nobody was asked who is not STS."""
    assert stage.ask(stage.open(), S3, s3_request("/plain/last")).status == 200
    stage.world.ended(path="/plain/last")
    assert stage.world.sidecar.api.readiness() == ()
    assert stage.world.internet.site.seen == []
    assert stage.leaks(all_of_them=True) == []
    stage.check_trail()
