"""The aws connector through a real sidecar: keys from a strict STS, requests verified by a strict S3, and all refusals.

Every case ends the same way: the reason is the right one, it is on record, S3 saw what it should and nothing else, and
no secret (STS's keys and session tokens, the job's tokens, the session's password) can be read anywhere.
"""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from proxy.connectors.parts import fingerprint
from proxy.control.client import ControlError
from proxy.demo.issuer import ISSUER, BuildJob
from proxy.model.authority import Authority
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.model.placeholder import PUBLIC, Placeholders, derive_placeholders
from tests.fakes.aws_client import presign_view, sign_view
from tests.fakes.aws_stage import BODY, REGION, ROLE, S3, STS, STS_AUDIENCE, AwsStage, aws_rule, s3_request
from tests.fakes.sidecar import rule, wait_until
from tests.fakes.sts import Role

EXPRESS = f"releases--euw1-az1--x-s3.s3express-euw1-az1.{REGION}.amazonaws.com"
AWAY = "releases.s3.us-east-2.amazonaws.com"
STRICT_ROLE = "arn:aws:iam::123456789012:role/payments-release"
ABSENT_ROLE = "arn:aws:iam::123456789012:role/absent"
ELSEWHERE = "https://elsewhere.test"
MANY = [f"arn:aws:s3:::releases/packed/{number:03}-{'x' * 40}" for number in range(20)]

RULES = [
    aws_rule("plain"),
    aws_rule("scoped", actions=["s3:PutObject"], resources=["arn:aws:s3:::releases/scoped/covered*"]),
    aws_rule("narrow", actions=["s3:GetObject"]),
    aws_rule("payroll", actions=["s3:*"], resources=["arn:aws:s3:::payroll/*"]),
    aws_rule("packed", actions=["s3:PutObject"], resources=MANY),
    {**aws_rule("meant"), "intent": ["aws s3:PutObject arn:aws:s3:::releases/meant/**", "aws s3:PutObjectTagging *"]},
    aws_rule("absent", role=ABSENT_ROLE),
    aws_rule("strict", role=STRICT_ROLE),
    aws_rule("long", duration="2h"),
    aws_rule("elsewhere", audience=ELSEWHERE),
    aws_rule("queues", service="sqs"),
    aws_rule("west", AWAY),
    aws_rule("express", EXPRESS),
    rule("sts", STS, credential={"aws": {"role": ROLE, "region": REGION}}),
]


@pytest.fixture(scope="module")
def aws_stage() -> Iterator[AwsStage]:
    made = AwsStage((S3, STS, EXPRESS, AWAY))
    made.sts.roles[STRICT_ROLE] = Role(issuer=ISSUER, claims={"pipeline_slug": "payments"})
    made.world.rules = RULES
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(aws_stage: AwsStage) -> Iterator[AwsStage]:
    """The stage of this file; what a test made STS say or be is undone after it."""
    yield aws_stage
    aws_stage.settle()


def signed(region: str = REGION, service: str = "s3", key: str = "JOBSKEY") -> str:
    """The Authorization of a client that signed with keys of its own."""
    scope = f"{key}/20300101/{region}/{service}/aws4_request"
    return f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"


def presigned(region: str = REGION, algorithm: str = "AWS4-HMAC-SHA256") -> str:
    scope = f"JOBSKEY%2F20300101%2F{region}%2Fs3%2Faws4_request"
    return (
        f"?X-Amz-Algorithm={algorithm}&X-Amz-Credential={scope}&X-Amz-Date=20300101T000000Z&X-Amz-Expires=900"
        f"&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
    )


def policy(*statements: tuple[list[str], Any]) -> str:
    listed = [{"Effect": "Allow", "Action": actions, "Resource": resources} for actions, resources in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": listed}, separators=(",", ":"))


DIGEST = f"x-amz-content-sha256: {sha256(BODY).hexdigest()}"
OWN = "jobs-own-session-token"
ALLOWED = [
    pytest.param("/plain/undeclared", (), id="body-digested-by-us"),
    pytest.param("/plain/declared", (DIGEST,), id="body-digest-declared"),
    pytest.param("/plain/unsigned", ("x-amz-content-sha256: UNSIGNED-PAYLOAD",), id="body-not-signed"),
    pytest.param("/plain/placeholder", sign_view, id="signed-with-the-placeholder"),
    pytest.param("/plain/presigned", presign_view, id="presigned-with-the-placeholder"),
    pytest.param("/plain/a%20b%C3%A9%2Bc", (), id="odd-characters"),
    pytest.param("/scoped/covered-by-policy", (DIGEST,), id="covered-by-session-policy"),
    pytest.param("/meant/a/b", (DIGEST,), id="covered-by-intent"),
]


POLICIES = {
    "scoped": policy((["s3:PutObject"], ["arn:aws:s3:::releases/scoped/covered*"])),
    "meant": policy((["s3:PutObject"], ["arn:aws:s3:::releases/meant/*"]), (["s3:PutObjectTagging"], "*")),
}


type Sign = Callable[..., RequestView]


def by_placeholder(sign: Sign, own: Placeholders, path: str, body: bytes = BODY) -> tuple[str, tuple[str, ...]]:
    """The target and further fields of a request that botocore signs with a session's placeholder."""
    view = RequestView(
        method="PUT", scheme="https", authority=Authority(S3, 443), path=path, query=None, headers=(), body_length=7
    )
    keys = (own.aws_key, own.aws_secret.reveal(), OWN)
    made = sign(view, datetime.now(UTC), keys=keys, **({"body": body} if sign is sign_view else {}))
    target = path if made.query is None else f"{path}?{made.query}"
    return target, tuple(f"{name}: {value}" for name, value in made.headers)


@pytest.mark.parametrize("target, lines", ALLOWED)
def test_a_request_is_signed_with_a_key_of_the_job(stage: AwsStage, target: str, lines: tuple[str, ...] | Sign) -> None:
    """The job's own token buys a key from STS; the request reaches S3 signed by it, with nothing of the job's."""
    job = stage.world.issuer.add_job()
    session = stage.open(job=job)
    if callable(lines):
        target, lines = by_placeholder(lines, derive_placeholders(session.secret), target)

    answer = stage.ask(session, S3, s3_request(target, *lines))

    path = target.partition("?")[0]
    assert (answer.status, answer.denial) == (200, {})
    (wire,) = stage.reached(path)
    assert wire.body == BODY
    key_id, key = list(stage.sts.verifier.keys.items())[-1]
    assert f"Credential={key_id}/".encode() in wire.values(b"authorization")[0]
    sent = wire.target + b"".join(value for _, value in wire.headers)
    assert [text for text in ("JOBGATE", OWN) if text.encode() in sent] == []
    asked = stage.sts.asked[-1]
    assert (asked["Action"], asked["RoleArn"]) == ("AssumeRoleWithWebIdentity", ROLE)
    assert asked["RoleSessionName"] == f"{job.pipeline_slug}-{job.build_number}-{job.job_id}"[:64]
    assert asked.get("Policy") == POLICIES.get(target.split("/")[1])
    (minted,) = stage.minted(session)
    flow = stage.world.ended(path=path)
    assert (flow.effect, flow.reason, flow.connector, flow.status) == ("allow", "allowed", "aws", 200)
    assert flow.credential == minted["credential"] == fingerprint(key.secret)
    assert stage.leaks() == []


NOT_ITS_OWN = [
    pytest.param(Placeholders(mark="0", aws_secret=Secret("x")), "credential-misuse", id="no-placeholder"),
    pytest.param(PUBLIC, "credential-misuse", id="the-public-one"),
    pytest.param(derive_placeholders("another"), "credential-misuse", id="another-sessions"),
    pytest.param(None, "signing-broken", id="its-own-key-with-another-secret"),
]


@pytest.mark.parametrize("sign", [sign_view, presign_view])
@pytest.mark.parametrize("whose, reason", NOT_ITS_OWN)
def test_a_signature_by_anything_but_the_sessions_placeholder(
    stage: AwsStage, sign: Sign, whose: Placeholders | None, reason: str
) -> None:
    """It is refused before STS is asked, whether it stands in the head or in the query."""
    session, before = stage.open(), len(stage.sts.seen)
    own = whose or replace(derive_placeholders(session.secret), aws_secret=Secret("guessed"))
    target, lines = by_placeholder(sign, own, "/plain/not-its-own")
    answer = stage.ask(session, S3, s3_request(target, *lines))
    assert stage.refused(answer, "/plain/not-its-own", reason).effect == "deny"
    assert len(stage.sts.seen) == before


def test_a_body_that_was_not_signed(stage: AwsStage) -> None:
    """The head names another body's digest: the request is broken off before its end, and S3 never has it whole."""
    session = stage.open()
    own = derive_placeholders(session.secret)
    target, lines = by_placeholder(sign_view, own, "/plain/other-body", b"another")
    answer = stage.ask(session, S3, s3_request(target, *lines))
    assert answer.reason == "signing-broken"
    assert "releases/plain/other-body" not in stage.sts.stored
    assert stage.world.ended(path="/plain/other-body").reason == "signing-broken"


def test_one_key_serves_a_session_and_no_other(stage: AwsStage) -> None:
    """What one job put another may read, if its rules say so, but with a key of its own; one key lasts a session."""
    sessions = [stage.open(), stage.open()]
    before = len(stage.sts.asked)
    assert stage.ask(sessions[0], S3, s3_request("/plain/shared")).status == 200
    for session in (sessions[1], sessions[1], sessions[0]):
        answer = stage.ask(session, S3, s3_request("/plain/shared", method="GET", body=b""))
        assert (answer.status, answer.body) == (200, BODY)
    assert len(stage.sts.asked) == before + 2
    prints = [stage.minted(session)[0]["credential"] for session in sessions]
    stage.world.ended(path="/plain/shared")  # the last outcome is written after its answer
    flows = stage.world.flows(path="/plain/shared")
    assert [flow.credential for flow in flows] == [prints[0], prints[1], prints[1], prints[0]]
    assert stage.leaks() == []


def forged(stage: AwsStage, job: BuildJob) -> str:
    head, other = stage.world.token(job, STS_AUDIENCE), stage.world.token(job, ELSEWHERE)
    return f"{head.rpartition('.')[0]}.{other.rpartition('.')[2]}"


def for_elsewhere(stage: AwsStage, job: BuildJob) -> str:
    return stage.world.token(job, ELSEWHERE)


def for_sts(stage: AwsStage, job: BuildJob) -> str:
    return stage.world.token(job, STS_AUDIENCE)


def in_its_last_second(stage: AwsStage, job: BuildJob) -> str:
    return stage.world.token(job, STS_AUDIENCE, exp=int(time.time()) + 1)


def expired_over_there(stage: AwsStage, job: BuildJob) -> str:
    stage.clock.ahead = timedelta(hours=1)
    return stage.world.token(job, STS_AUDIENCE)


HOLDS_NONE = f"the session holds no token for the audience {STS_AUDIENCE}; hand one over when opening it"
HAS_EXPIRED = f"the session's token for {STS_AUDIENCE} has expired; open a new session"
NOT_FOR_THIS_JOB = [
    pytest.param("plain", for_elsewhere, HOLDS_NONE, 0, id="token-for-another-audience"),
    pytest.param("elsewhere", for_elsewhere, "STS: InvalidIdentityToken", 1, id="audience-that-sts-does-not-take"),
    pytest.param("plain", in_its_last_second, HAS_EXPIRED, 0, id="token-expired-since"),
    pytest.param("plain", expired_over_there, "STS: ExpiredTokenException", 1, id="token-expired-for-sts"),
    pytest.param("plain", forged, "STS: InvalidIdentityToken", 1, id="token-forged"),
    pytest.param("absent", for_sts, "STS: AccessDenied", 1, id="role-absent"),
    pytest.param("strict", for_sts, "STS: AccessDenied", 1, id="role-trusts-another-pipeline"),
    pytest.param("long", for_sts, "STS: ValidationError", 1, id="longer-than-the-role-allows"),
    pytest.param("packed", for_sts, "STS: PackedPolicyTooLarge", 1, id="session-policy-too-large"),
]


@pytest.mark.parametrize("folder, make, detail, asked", NOT_FOR_THIS_JOB)
def test_a_token_that_buys_nothing(
    stage: AwsStage, folder: str, make: Callable[[AwsStage, BuildJob], str], detail: str, asked: int
) -> None:
    """A wrong, expired or forged token, a wrong role, a policy over the limit: no key, and why only for the operator.

    STS repeats the token in its messages: neither the answer nor the record does.
    """
    job = stage.world.issuer.add_job()
    session = stage.open(make(stage, job), job=job)
    if make is in_its_last_second:
        time.sleep(1.1)
    path, before = f"/{folder}/{make.__name__}", len(stage.sts.asked)

    answer = stage.ask(session, S3, s3_request(path))

    assert answer.status == 403
    flow = stage.refused(answer, path, "credential-refused")
    assert stage.detail_of(flow) == detail
    assert detail not in answer.denial["message"]
    assert len(stage.sts.asked) == before + asked
    assert stage.minted(session) == []


OF_ANOTHER_JOB = "6f0c3a52-7d0e-4a34-9d2e-1f0a51c7b111"
NOT_HANDED_OVER = [
    pytest.param({"exp": 1_900_000}, "identity-expired", id="expired"),
    pytest.param({"job_id": OF_ANOTHER_JOB}, "identity-claims", id="another-jobs"),
    pytest.param({"aud": [STS_AUDIENCE, "other"]}, "identity-audience", id="two-audiences"),
    pytest.param({"iss": "https://issuer.test"}, "identity-issuer", id="another-issuers"),
]


@pytest.mark.parametrize("claims, reason", NOT_HANDED_OVER)
def test_a_token_that_opens_nothing(stage: AwsStage, claims: dict[str, Any], reason: str) -> None:
    """A token for AWS that cannot be the job's, or is spent, is refused when it is handed over: no session at all."""
    job = stage.world.issuer.add_job()
    token = stage.world.token(job, STS_AUDIENCE, **claims)
    before, asked = len(stage.world.records("session.opened")), len(stage.sts.asked)
    with pytest.raises(ControlError) as caught:
        stage.open(token, job=job)
    stage.world.outputs.append(str(caught.value).encode())
    assert (caught.value.slug, caught.value.status) == (reason, 401)
    wait_until(lambda: [each["reason"] for each in stage.world.records("session.refused")][-1:] == [reason])
    assert (len(stage.world.records("session.opened")), len(stage.sts.asked)) == (before, asked)
    assert stage.leaks() == []


CHUNKS = "x-amz-content-sha256: STREAMING-{}"
NOT_TO_BE_SIGNED = [
    pytest.param("/plain/", (signed(service="sqs"),), "signing-scope", id="signed-for-another-service"),
    pytest.param("/plain/", (signed(region="us-east-2"),), "signing-scope", id="signed-for-another-region"),
    pytest.param("/plain/", (signed().replace("-HMAC-", "-ECDSA-P256-"),), "signing-unsupported", id="asymmetric"),
    pytest.param("/plain/", (signed().replace("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5"),), "signing-unsupported", id="md5"),
    pytest.param("/plain/", ("Authorization: AWS AKIAJOB:c2ln",), "signing-unsupported", id="version-2"),
    pytest.param("/plain/", (signed(), signed()), "signing-unsupported", id="signed-twice"),
    pytest.param("/plain/", (signed()[:-80],), "signing-unsupported", id="signature-cut-off"),
    pytest.param("/plain/", (signed().replace("/aws4_request", ""),), "signing-unsupported", id="scope-cut-off"),
    pytest.param("/plain/", (signed() + ", Signature=1",), "signing-unsupported", id="two-signatures-in-one"),
    pytest.param("/plain/", (CHUNKS.format("AWS4-HMAC-SHA256-PAYLOAD"),), "signing-unsupported", id="chunks-signed"),
    pytest.param("/plain/", (CHUNKS.format("AWS4-ECDSA-P256-SHA256-PAYLOAD"),), "signing-unsupported", id="chunks-v4a"),
    pytest.param("/plain/", (CHUNKS.format("AWS4-HMAC-SHA256-EVENTS"),), "signing-unsupported", id="event-stream"),
    pytest.param("/plain/", ("x-amz-content-sha256: 0",), "signing-unsupported", id="digest-unreadable"),
    pytest.param(f"/plain/q{presigned()}", (signed(),), "signing-unsupported", id="in-header-and-query"),
    pytest.param(f"/plain/q{presigned('us-east-2')}", (), "signing-scope", id="presigned-for-another-region"),
    pytest.param(f"/plain/q{presigned(algorithm='AWS4-X')}", (), "signing-unsupported", id="presigned-otherwise"),
    pytest.param("/plain/q?AWSAccessKeyId=A&Signature=s&Expires=1", (), "signing-unsupported", id="presigned-v2"),
    pytest.param(f"/plain/q{presigned()}&x-amz-signature=1", (), "intent-broken", id="presigned-twice"),
    pytest.param("/queues/", (), "signing-scope", id="rule-for-another-service"),
    pytest.param("/west/", (), "signing-scope", id="host-in-another-region-than-the-rule"),
    pytest.param("/express/", (), "signing-unsupported", id="directory-bucket"),
    pytest.param("/?Action=GetCallerIdentity", (signed(service="sts"),), "signing-scope", id="sts-itself"),
]
HOSTS = {"/west/": AWAY, "/express/": EXPRESS, "/?Action=GetCallerIdentity": STS}


@pytest.mark.parametrize("target, lines, reason", NOT_TO_BE_SIGNED)
def test_a_placeholder_that_cannot_be_signed_again(
    stage: AwsStage, target: str, lines: tuple[str, ...], reason: str
) -> None:
    """Host, rule and the client's own signature must agree on one plain SigV4, else STS is not even asked (B06)."""
    session, before = stage.open(), len(stage.sts.seen)
    host = HOSTS.get(target, S3)
    method, body = ("GET", b"") if host == STS else ("PUT", BODY)
    answer = stage.ask(session, host, s3_request(target, *lines, method=method, host=host, body=body))
    assert answer.status == 403
    flow = stage.refused(answer, target.partition("?")[0], reason)
    assert flow.effect == "deny"
    assert len(stage.sts.seen) == before


NOT_COVERED = [
    pytest.param("PUT", "/narrow/x", 403, "AccessDenied", id="another-action"),
    pytest.param("PUT", "/payroll/x", 403, "AccessDenied", id="another-bucket"),
    pytest.param("PUT", "/scoped/other", 403, "AccessDenied", id="another-key"),
    pytest.param("DELETE", "/scoped/covered", 403, "AccessDenied", id="delete-where-put-is-meant"),
]


@pytest.mark.parametrize("method, target, status, code", NOT_COVERED)
def test_aws_enforces_the_rule_too(stage: AwsStage, method: str, target: str, status: int, code: str) -> None:
    """What the session policy does not cover is refused by AWS; the record says so."""
    answer = stage.ask(stage.open(), S3, s3_request(target, DIGEST, method=method))
    assert (answer.status, answer.denial) == (status, {})
    assert f"<Code>{code}</Code>".encode() in answer.body
    assert f"releases{target}" not in stage.sts.stored
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason, flow.status, len(stage.reached(target))) == ("allow", "allowed", status, 1)
    assert flow.credential is not None
    assert stage.leaks() == []


def test_s3_that_repeats_what_it_was_sent(stage: AwsStage) -> None:
    """For a signature that does not match S3 answers with all that was signed: the session token in it is blanked."""
    session = stage.open()
    assert stage.ask(session, S3, s3_request("/plain/repeated")).status == 200
    key_id, key = list(stage.sts.verifier.keys.items())[-1]
    stage.sts.verifier.keys[key_id] = replace(key, secret="what-s3-believes")
    answer = stage.ask(session, S3, s3_request("/plain/repeated", method="GET", body=b""))
    assert answer.status == 403
    assert b"x-amz-security-token:***" in answer.body
    outcome = stage.world.ended(path="/plain/repeated", method="GET")
    records = [record for record in stage.world.records("flow.outcome") if record["flow"] == outcome.flow_id]
    assert records[-1]["redactions"] == 1
    stage.secrets.append(key.secret)
    assert stage.leaks() == []


def test_the_search_finds_what_is_there(stage: AwsStage) -> None:
    """The search that found nothing would have found each kind of secret, in plain or in the midst of base64."""
    session = stage.open()
    assert stage.ask(session, S3, s3_request("/plain/search")).status == 200
    token, password = stage.secrets[-3], stage.secrets[-1]
    issued = list(stage.sts.verifier.keys.values())[-1]
    assert token == stage.sts.asked[-1]["WebIdentityToken"]
    for number, secret in enumerate((token, password, issued.secret, str(issued.token))):
        planted = stage.world.sidecar.folder / f"planted-{number}"
        for text in (secret.encode(), b64encode(f"{'x' * number} {secret} y".encode())):
            planted.write_bytes(text)
            assert stage.leaks(all_of_them=True) == [str(planted)]
        planted.unlink()


def test_after_all_of_it(stage: AwsStage) -> None:
    """Nothing of all the secrets is anywhere, the sidecar still serves, the trail is whole and no flow is left open."""
    world = stage.world
    assert stage.ask(stage.open(), S3, s3_request("/plain/last")).status == 200
    world.ended(path="/plain/last")
    assert world.sidecar.api.readiness() == ()
    assert len(stage.secrets) > 200
    assert len(stage.sts.verifier.keys) > 10
    assert stage.leaks(all_of_them=True) == []
    stage.check_trail()


def test_what_the_intent_does_not_say_reaches_nobody(stage: AwsStage) -> None:
    """The rule's own decision is the narrower one: a delete, and an ACL beside the object, ask neither STS nor S3."""
    session, before = stage.open(), len(stage.sts.seen)
    for method, lines in (("DELETE", ()), ("PUT", ("x-amz-acl: public-read",))):
        answer = stage.ask(session, S3, s3_request("/meant/x", DIGEST, *lines, method=method))
        assert stage.refused(answer, "/meant/x", "no-rule").effect == "deny"
    assert len(stage.sts.seen) == before
