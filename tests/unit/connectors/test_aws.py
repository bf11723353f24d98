"""A role's keys from a strict STS over TLS: by the job's token or the sidecar's role, and within bounds."""

import json
import re
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from proxy.connectors.aws import AwsConnector, AwsScope, session_policy
from proxy.connectors.aws_roles import session_name, tag_value
from proxy.connectors.parts import ConnectorParts
from proxy.demo.tls import StageRoot
from proxy.intents.fallback import decode as read
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import Credential, Edits, Grant, HeldToken, MintRequest, Secret
from proxy.model.intent import RequestView
from proxy.model.placeholder import PUBLIC, derive_placeholders
from proxy.model.reason import Reason
from proxy.outbound import Outbound
from tests.fakes.aws_client import presign_view, sign_view
from tests.fakes.aws_verifier import IssuedKey, Wire
from tests.fakes.clock import FixedClock
from tests.fakes.sts import Role, StrictSts

AWS_KEY = PUBLIC.aws_key
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
ISSUER = "https://agent.buildkite.test"
ROLE = "arn:aws:iam::123456789012:role/release"
OWN_ROLE = "arn:aws:iam::123456789012:role/by-sidecar"
AUDIENCE = "sts.amazonaws.com"
STS = "sts.eu-west-1.amazonaws.com"
S3 = "releases.s3.eu-west-1.amazonaws.com"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
LABELS = {"pipeline": "payments deploy", "build_number": "7", "job_id": "0190-ab", "branch": "main", "unlisted": "x"}
DENIED, MAYBE = Reason.CREDENTIAL_REFUSED, Reason.CREDENTIAL_UNAVAILABLE
OWN = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own/secret", "AWS_SESSION_TOKEN": "own-session-token"}


class Setting:
    """A strict STS, and a connector that reaches it under its real name."""

    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock(NOW)
        self.sts = StrictSts(FixedClock(NOW))
        self.sts.issuers[ISSUER] = KEY.public_key()
        self.sts.roles[ROLE] = Role(issuer=ISSUER, claims={"pipeline_slug": "payments"}, longest=7200)
        self.sts.verifier.keys["AKIAOWN"] = IssuedKey(
            secret="own/secret", token="own-session-token", principal="arn:aws:sts::123456789012:assumed-role/sidecar/i"
        )
        self.sts.roles[OWN_ROLE] = Role(
            principals=frozenset({"arn:aws:sts::123456789012:assumed-role/sidecar/i"}), external_id="jobgate:1"
        )
        trust = ssl.create_default_context(cafile=str(folder / "stage-root.pem"))
        self.places: dict[str, Authority] = {}
        self.connector = AwsConnector(ConnectorParts(caller=Outbound(trust, self.places), clock=self.clock))

    async def mint(self, request: MintRequest | None = None, **given: Any) -> Credential:
        caller = self.connector._parts.caller
        assert isinstance(caller, Outbound)
        caller._connect_to[f"{STS}:443"] = Authority("127.0.0.1", self.sts.port)
        return await self.connector.mint(request or ask(), scope(**given))

    async def refusal(self, request: MintRequest | None = None, **given: Any) -> tuple[str, Reason]:
        request = request or ask()
        with pytest.raises(CredentialError) as caught:
            await self.mint(request, **given)
        shown = "".join(traceback.format_exception(caught.value))
        for held in request.tokens.values():
            assert held.token.reveal() not in shown
        return str(caught.value), caught.value.reason

    def send(self, credential: Credential, view: RequestView, body: bytes = b"", **given: Any) -> tuple[int, bytes]:
        """Apply, and let AWS judge what came of it."""
        view = replace(view, body_length=len(body))
        wanted = self.connector.plan(view, read(view), scope(**given)).needs_digest
        digest = sha256(body).hexdigest() if wanted else None
        return self.sts.answer(wire(view, self.connector.apply(view, scope(**given), credential, digest), body))


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    side = StageRoot(tmp_path).server_side("aws", (STS,))
    made = Setting(tmp_path)
    async with made.sts.serving(side):
        yield made


def wire(view: RequestView, edits: Edits, body: bytes = b"") -> Wire:
    """The request as a lane sends it: removed, then put."""
    gone = edits.remove | {name for name, _ in edits.put}
    kept = [(name, value) for name, value in view.headers if name not in gone]
    ours = [(name, value if isinstance(value, str) else value.reveal()) for name, value in edits.put]
    query = view.query if edits.query is None else edits.query
    headers = tuple((n.encode(), v.encode("latin-1")) for n, v in [("host", view.authority.host), *kept, *ours])
    return Wire(view.method.encode(), (f"{view.path}?{query}" if query else view.path).encode(), headers, body)


def scope(**given: Any) -> AwsScope:
    return AwsScope.model_validate({"role": ROLE, "region": "eu-west-1"} | given)


def token(key: rsa.RSAPrivateKey = KEY, **claims: Any) -> str:
    basic = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "organization:acme:pipeline:payments",
        "pipeline_slug": "payments",
        "exp": int((NOW + timedelta(minutes=5)).timestamp()),
    }
    return jwt.encode(basic | claims, key, "RS256")


def ask(
    text: str | None = None, lifetime: timedelta = timedelta(hours=1), left: float = 300, **labels: str
) -> MintRequest:
    held = HeldToken(audience=AUDIENCE, token=Secret(text or token()), expires_at=NOW + timedelta(seconds=left))
    grant = Grant(connector="aws", scope={}, lifetime=lifetime, key="k")
    return MintRequest(grant=grant, session_id="s", labels=LABELS | labels, tokens={AUDIENCE: held})


def view(
    host: str = S3, path: str = "/key", query: str | None = None, method: str = "GET", **fields: str
) -> RequestView:
    headers = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return RequestView(
        method=method, scheme="https", authority=Authority(host, 443), path=path, query=query, headers=headers
    )


def signature(region: str = "eu-west-1", service: str = "s3") -> str:
    credential = f"{AWS_KEY}/20300101/{region}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"


def signed(asked: RequestView, region: str = "eu-west-1", service: str = "s3", body: bytes = b"") -> RequestView:
    return sign_view(asked, NOW, region=region, service=service, body=body)


async def test_the_jobs_token_becomes_a_roles_keys(setting: Setting) -> None:
    """STS is asked for the rule's role and time, named after the job; AWS accepts what is signed with the keys."""
    credential = await setting.mint()
    form = setting.sts.asked[0]
    assert form.pop("WebIdentityToken")
    assert form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "payments-deploy-7-0190-ab",
        "DurationSeconds": "3600",
    }
    assert credential.expires_at == NOW + timedelta(hours=1)
    assert dict(credential.facts) == {"access_key": "ASIA0000000000000001", "role": ROLE, "source": "web-identity"}
    assert credential.secrets["secret_key"].reveal() not in f"{credential!r}"
    keys = (AWS_KEY, PUBLIC.aws_secret.reveal(), "job's own")
    job = sign_view(replace(view(method="PUT"), body_length=4), NOW, keys=keys, body=b"body")
    assert setting.send(credential, job, b"body") == (200, b"")
    assert setting.sts.stored == {"releases/key": b"body"}
    assert setting.send(credential, view()) == (200, b"body")
    setting.clock.advance(timedelta(hours=1))
    assert setting.send(credential, view())[0] == 403


async def test_a_short_life_is_rounded_up_to_what_sts_gives(setting: Setting) -> None:
    """STS gives no less than a quarter of an hour."""
    credential = await setting.mint(ask(lifetime=timedelta(minutes=1)))
    assert credential.expires_at == NOW + timedelta(minutes=15)


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("PUT", "/payments/a", 200),
        ("PUT", "/other/a", 403),
        ("GET", "/payments/a", 403),
        ("DELETE", "/payments/a", 403),
    ],
)
async def test_aws_enforces_the_rule_too(setting: Setting, method: str, path: str, status: int) -> None:
    """Actions and resources become the session policy, so the keys can do no more, whatever a decoder thought."""
    given: dict[str, Any] = {"actions": ["s3:PutObject"], "resources": ["arn:aws:s3:::releases/payments/*"]}
    credential = await setting.mint(**given)
    assert json.loads(setting.sts.asked[0]["Policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::releases/payments/*"]}
        ],
    }
    assert setting.send(credential, view(path=path, method=method), **given)[0] == status


@pytest.mark.parametrize(
    "request_, given, expected",
    [
        (ask(token(OTHER_KEY)), {}, ("STS: InvalidIdentityToken", DENIED)),
        (ask(token(aud="else")), {}, ("STS: InvalidIdentityToken", DENIED)),
        (ask(token(iss="https://evil.test")), {}, ("STS: InvalidIdentityToken", DENIED)),
        (ask(token(exp=int(NOW.timestamp()))), {}, ("STS: ExpiredTokenException", DENIED)),
        (ask(token(pipeline_slug="other")), {}, ("STS: AccessDenied", DENIED)),
        (ask(), {"role": ROLE + "x"}, ("STS: AccessDenied", DENIED)),
        (ask(), {"role": OWN_ROLE}, ("STS: InvalidIdentityToken", DENIED)),
        (ask(lifetime=timedelta(hours=3)), {}, ("STS: ValidationError", DENIED)),
        (ask("x" * 20_001), {}, ("STS: ValidationError", DENIED)),
        (
            ask(),
            {"actions": ["s3:PutObject"], "resources": [f"arn:aws:s3:::releases/{n:0100}" for n in range(12)]},
            ("STS: PackedPolicyTooLarge", DENIED),
        ),
    ],
    ids=["forged", "audience", "issuer", "expired", "claim", "role", "other-role", "duration", "long", "packed"],
)
async def test_what_sts_refuses_is_refused(
    setting: Setting, request_: MintRequest, given: dict[str, Any], expected: tuple[str, Reason]
) -> None:
    """Each refusal is STS's own code, asked once, with no word of the answer; a policy is never dropped to get in."""
    assert await setting.refusal(request_, **given) == expected
    assert len(setting.sts.asked) == 1
    assert len(setting.sts.verifier.keys) == 1


@pytest.mark.parametrize(
    "request_, said",
    [
        (MintRequest(grant=ask().grant, session_id="s", labels={}, tokens={}), "holds no token for the audience"),
        (ask(left=0), "has expired; open a new session"),
        (ask(left=-1), "has expired; open a new session"),
    ],
)
async def test_without_a_live_token_sts_is_not_asked(setting: Setting, request_: MintRequest, said: str) -> None:
    """A job without one, or whose token ended before a renewal, learns what to do."""
    text, reason = await setting.refusal(request_)
    assert said in text
    assert reason is DENIED
    assert setting.sts.asked == []


def http(status: int, body: str | bytes = b"") -> bytes:
    content = body if isinstance(body, bytes) else body.encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content


def fault(code: str) -> str:
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>planted</Message></Error></ErrorResponse>"


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    "<Credentials><AccessKeyId>&b;</AccessKeyId></Credentials>"
)
PAST = (
    "<R><Credentials><AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    "<Expiration>2030-01-01T12:00:00Z</Expiration></Credentials></R>"
)


@pytest.mark.parametrize(
    "first", [http(500), http(503, fault("ServiceUnavailable")), http(429), http(400, fault("IDPCommunicationError"))]
)
async def test_what_may_pass_is_asked_once_more(setting: Setting, first: bytes) -> None:
    """An overloaded STS, or one that cannot reach the issuer, gets one more chance."""
    setting.sts.instead = [first]
    assert (await setting.mint()).expires_at is not None
    assert len(setting.sts.asked) == 2


@pytest.mark.parametrize(
    "answers, expected, calls",
    [
        ([http(500)] * 3, ("STS: status 500", MAYBE), 2),
        ([http(429, fault("Throttling"))] * 3, ("STS: Throttling", MAYBE), 2),
        ([http(500), http(403, fault("AccessDenied"))], ("STS: AccessDenied", DENIED), 2),
        ([http(302)], ("STS: status 302", MAYBE), 1),
        ([http(200, "nonsense")], ("STS: the answer holds no usable credentials", MAYBE), 1),
        ([http(200, BOMB)], ("STS: the answer holds no usable credentials", MAYBE), 1),
        ([http(200, PAST)], ("STS gave a credential that has already expired", MAYBE), 1),
        ([http(200, b"x" * 300_000)], (f"STS: {STS} answered with more than 262144 bytes", MAYBE), 1),
        ([b"SSH-2.0-x\r\n\r\n"], (f"STS: {STS} did not answer in HTTP", MAYBE), 1),
    ],
    ids=["500", "429", "then-denied", "redirect", "nonsense", "bomb", "past", "huge", "not-http"],
)
async def test_a_failing_sts_gives_nothing(
    setting: Setting, answers: list[bytes], expected: tuple[str, Reason], calls: int
) -> None:
    """Faults, redirects, bombs and floods are no credential, and end after one more try at most."""
    setting.sts.instead = list(answers)
    assert await setting.refusal() == expected
    assert len(setting.sts.asked) == calls


async def test_an_sts_that_cannot_be_reached(setting: Setting) -> None:
    """Nothing listens: unavailable, and the region's own endpoint is what was called."""
    text, reason = await setting.refusal(region=None, role="arn:aws-cn:iam::123456789012:role/x")
    assert text.startswith("STS: sts.cn-north-1.amazonaws.com.cn cannot be reached")
    assert reason is MAYBE


@pytest.fixture
def own_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sidecar's own keys come from its environment, and from nowhere else."""
    for name, value in {**OWN, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


SIDECAR: dict[str, Any] = {"role": OWN_ROLE, "source": "sidecar", "external_id": "jobgate:1"}


@pytest.mark.usefixtures("own_keys")
async def test_the_sidecars_role_assumes_with_the_jobs_labels(setting: Setting) -> None:
    """The call is signed with the sidecar's own keys; the job's labels are session tags."""
    request = ask(branch="feature!1", step="release: prod")
    credential = await setting.mint(request, **SIDECAR)
    form = setting.sts.asked[0]
    tags = {form[f"Tags.member.{n}.Key"]: form[f"Tags.member.{n}.Value"] for n in range(1, 6)}
    assert tags == {
        "pipeline": "payments deploy",
        "step": "release: prod",
        "branch": f"sha256:{sha256(b'feature!1').hexdigest()}",
        "build_number": "7",
        "job_id": "0190-ab",
    }
    assert len(form) == 6 + 2 * len(tags)
    assert form["ExternalId"] == "jobgate:1"
    assert credential.facts["source"] == "sidecar"
    assert setting.send(credential, view(method="PUT"), **SIDECAR)[0] == 200
    assert "own" not in repr(credential)


@pytest.mark.usefixtures("own_keys")
@pytest.mark.parametrize(
    "given, environment",
    [
        ({"external_id": "jobgate:2"}, {}),
        ({"external_id": None}, {}),
        ({"role": ROLE}, {}),
        ({}, {"AWS_SECRET_ACCESS_KEY": "wrong"}),
        ({}, {"AWS_SESSION_TOKEN": "wrong"}),
        ({}, {"AWS_ACCESS_KEY_ID": "AKIAELSE"}),
    ],
)
async def test_sts_refuses_the_sidecar(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], environment: dict[str, str]
) -> None:
    """Another external id, a role that does not trust it, or wrong keys: no credential."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await setting.refusal(**(SIDECAR | given)))[1] is DENIED


async def test_a_sidecar_without_keys_says_so(
    setting: Setting, own_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither keys nor the library: each has its own sentence, and STS is not asked."""
    for name in OWN:
        monkeypatch.delenv(name)
    assert "has no AWS credentials of its own" in (await setting.refusal(**SIDECAR))[0]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    assert "cannot be had: PartialCredentialsError" in (await setting.refusal(**SIDECAR))[0]
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    assert "pip install 'jobgate[aws]'" in (await setting.refusal(**SIDECAR))[0]
    assert setting.sts.asked == []


@pytest.mark.usefixtures("own_keys")
@pytest.mark.parametrize("given", [{}, SIDECAR], ids=["web-identity", "sidecar"])
@pytest.mark.parametrize("behind", [timedelta(minutes=20), timedelta(hours=-2), timedelta(seconds=20)])
async def test_a_clock_that_is_off_signs_by_awss_time(
    setting: Setting, given: dict[str, Any], behind: timedelta
) -> None:
    """AWS's clock is learned from what STS answers: requests pass, and the credential ends when AWS says so."""
    setting.clock.advance(-behind)
    credential = await setting.mint(ask(left=50_000), **given)
    assert setting.send(credential, view(method="PUT"), **given)[0] == 200
    is_noticed = abs(behind) > timedelta(seconds=30)
    assert credential.facts.get("clock_offset") == (f"{behind.total_seconds():.0f}" if is_noticed else None)
    assert credential.expires_at == NOW + timedelta(hours=1) - (behind if is_noticed else timedelta())


@pytest.mark.usefixtures("own_keys")
async def test_a_clock_that_is_days_off_is_not_followed(setting: Setting) -> None:
    """A sidecar that does not know what day it is gets no credential by its own keys."""
    setting.clock.advance(timedelta(days=-3))
    assert (await setting.refusal(ask(left=400_000), **SIDECAR))[1] is DENIED


def connector() -> AwsConnector:
    return AwsConnector(ConnectorParts(caller=Outbound(ssl.create_default_context()), clock=FixedClock(NOW)))


CREDENTIAL = Credential(
    connector="aws",
    secrets={"secret_key": Secret("planted/secret"), "session_token": Secret("planted/token")},
    facts={"access_key": "ASIAX"},
    fingerprint="f",
    expires_at=None,
)
ANY = {"region": None}
PRIVATE = "minio.corp.test"


@pytest.mark.parametrize(
    "asked, given, said",
    [
        (view(authorization=signature(service="dynamodb")), {}, "signed for dynamodb, its host is s3's"),
        (view(authorization=signature(region="us-east-1")), {}, "signed for us-east-1, its host is in eu-west-1"),
        (view("releases.s3.us-east-1.amazonaws.com"), {}, "the rule allows eu-west-1, the request goes to us-east-1"),
        (view("s3.amazonaws.com", authorization=signature(region="us-east-1")), {}, "the rule allows eu-west-1"),
        (view("s3.amazonaws.com"), ANY, "neither host, signature nor rule names a region"),
        (view(), {"service": "sqs"}, "the rule allows sqs, the request goes to s3"),
        (view(PRIVATE), {}, "the host is not AWS's"),
        (view(PRIVATE, authorization=signature()), {"service": "sqs"}, "signed for s3, its host is sqs's"),
        (view("evil.elb.eu-west-1.amazonaws.com"), {}, "the host is not AWS's"),
        *(
            (view(f"{name}.eu-west-1.amazonaws.com"), given, "the rule must name its actions")
            for name in ("sts", "sts-fips", "oidc", "portal.sso", "identitystore")
            for given in ({}, {"actions": ["s3:PutObject"]})
        ),
        (view("iam.amazonaws.com"), ANY, "the rule must name its actions"),
        (view("iam.amazonaws.com"), ANY | {"actions": ["sts:GetCallerIdentity"]}, "the rule must name its actions"),
        (view("vpce-1a.sts.eu-west-1.vpce.amazonaws.com"), {}, "the rule must name its actions"),
        (view(PRIVATE), {"service": "sts"}, "the rule must name its actions"),
    ],
)
def test_host_signature_and_rule_must_agree(asked: RequestView, given: dict[str, Any], said: str) -> None:
    """Where they differ nothing is signed (B06); what hands out credentials needs its actions in the rule (B07)."""
    with pytest.raises(CredentialError) as caught:
        connector().plan(asked, read(asked), scope(**given))
    assert said in str(caught.value)
    assert caught.value.reason is Reason.SIGNING_SCOPE
    with pytest.raises(CredentialError, match=re.escape(said)):
        connector().apply(asked, scope(**given), CREDENTIAL, "0" * 64)


def test_s3_express_is_refused_by_name() -> None:
    """Its sessions are another protocol."""
    host = "b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com"
    with pytest.raises(CredentialError, match="directory buckets") as caught:
        connector().plan(view(host), read(view(host)), scope(region="us-east-1"))
    assert caught.value.reason is Reason.SIGNING_UNSUPPORTED


@pytest.mark.parametrize(
    "asked, given, region, service",
    [
        (view(), {}, "eu-west-1", "s3"),
        (view(), ANY, "eu-west-1", "s3"),
        (signed(view()), {}, "eu-west-1", "s3"),
        (view("s3.amazonaws.com"), {}, "eu-west-1", "s3"),
        (signed(view("s3.amazonaws.com"), "us-west-2"), ANY, "us-west-2", "s3"),
        (view(PRIVATE), {"service": "s3"}, "eu-west-1", "s3"),
        (view("sts.eu-west-1.amazonaws.com"), {"actions": ["sts:GetCallerIdentity"]}, "eu-west-1", "sts"),
        (signed(view("api.ecr.eu-west-1.amazonaws.com"), service="ecr"), {}, "eu-west-1", "ecr"),
    ],
)
def test_what_is_signed_for(asked: RequestView, given: dict[str, Any], region: str, service: str) -> None:
    """Host, client's signature and rule together name one region and service."""
    edits = connector().apply(asked, scope(**given), CREDENTIAL, None)
    value = dict(edits.put)["authorization"]
    assert isinstance(value, str)
    assert f"ASIAX/20300101/{region}/{service}/aws4_request" in value


def test_the_clients_own_signing_goes() -> None:
    """Its fields are removed, its pre-signed query too, and the secrets are watched for in the answer."""
    edits = connector().apply(presign_view(view(query="partNumber=2"), NOW), scope(), CREDENTIAL, None)
    assert edits.query == "partNumber=2"
    assert edits.remove == {"authorization", "date", "x-amz-date", "x-amz-security-token"}
    assert [each.reveal() for each in edits.watch] == ["planted/secret", "planted/token"]
    assert "planted" not in repr(edits)
    assert connector().apply(presign_view(view(), NOW), scope(), CREDENTIAL, None).query == ""
    assert connector().apply(view(query="a=b"), scope(), CREDENTIAL, None).query is None


def test_a_body_that_was_not_read_is_not_signed() -> None:
    """Where a digest is needed and missing nothing is sent."""
    asked = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("sqs.eu-west-1.amazonaws.com", 443),
        path="/",
        query=None,
        headers=(),
        body_length=5,
    )
    assert connector().plan(asked, read(asked), scope()).needs_digest
    with pytest.raises(CredentialError) as caught:
        connector().apply(asked, scope(), CREDENTIAL, None)
    assert caught.value.reason is Reason.INTERNAL


@pytest.mark.parametrize(
    "labels, expected",
    [
        ({"pipeline": "p", "build_number": "7", "job_id": "j"}, "p-7-j"),
        ({"pipeline": "p" * 80, "build_number": "7", "job_id": "0190"}, "p" * 57 + "-7-0190"),
        ({"job_id": "j" * 80}, "j" * 64),
        ({"pipeline": "p", "job_id": "j" * 80}, "j" * 64),
        ({"pipeline": "a/b c\u00e4:\n"}, "a-b-c---"),
        ({"pipeline": "p"}, "p-"),
        ({}, "job"),
        ({"branch": "main"}, "job"),
    ],
)
def test_a_session_is_named_after_the_job(labels: dict[str, str], expected: str) -> None:
    """2 to 64 characters that STS takes; of a long name the job's id stays."""
    assert session_name(labels) == expected


@pytest.mark.parametrize("value", ["main", "release/1.2", "a b", "caf\u00e9", "", "x" * 256, ":ship: a=b+c@d-e_f"])
def test_a_plain_label_is_its_own_tag(value: str) -> None:
    """What AWS takes is left alone."""
    assert tag_value(value) == value


@pytest.mark.parametrize("value", ["a!b", "x" * 257, "a\nb", "a*", "sha256:0", "a,b", "\udcff"])
def test_another_label_never_looks_like_a_plain_one(value: str) -> None:
    """IAM conditions decide on tags: what cannot be one becomes its digest, and a digest cannot be imitated."""
    assert tag_value(value) == f"sha256:{sha256(value.encode('utf-8', 'surrogateescape')).hexdigest()}"


@pytest.mark.parametrize(
    "given",
    [
        {"role": "release"},
        {"role": "arn:aws:iam::123456789012:user/x"},
        {"role": ROLE + "\n"},
        {"region": "eu-west-1.evil.test"},
        {"region": "EU-WEST-1"},
        {"service": "s3/x"},
        {"actions": ["*"]},
        {"actions": ["s3"]},
        {"actions": ["S3:Get"]},
        {"actions": ['s3:Get"x']},
        {"resources": ["arn:aws:s3:::x"]},
        {"actions": ["s3:GetObject"], "resources": ["x" * 2048]},
        {"intents": ["aws read *"]},
        {"intents": ["aws s3:GetObject arn:aws:s3:::" + "x" * 2048]},
        {"external_id": "x1"},
        {"source": "sidecar", "external_id": "x y"},
        {"source": "keys"},
        {"access_key": "x"},
    ],
)
def test_a_scope_is_checked_when_the_rule_is_read(given: dict[str, Any]) -> None:
    """Other principals, other hosts, every action, policies over the limit and unknown keys are refused."""
    with pytest.raises(ValidationError):
        scope(**given)


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, None),
        ({"actions": ["s3:b", "s3:a", "s3:b"]}, (["s3:a", "s3:b"], "*")),
        ({"actions": ["s3:a"], "resources": ["r2", "r1"]}, (["s3:a"], ["r1", "r2"])),
        ({"intents": ["aws s3:GetObject arn:aws:s3:::b/**", "http GET *"]}, (["s3:GetObject"], ["arn:aws:s3:::b/*"])),
        ({"intents": ["http GET *"]}, None),
        ({"actions": ["s3:a"], "intents": ["aws s3:b *"]}, (["s3:a"], "*")),
    ],
)
def test_the_session_policy(given: dict[str, Any], expected: tuple[list[str], Any] | None) -> None:
    """No actions and no intents of AWS, no policy; else sorted and without spaces, for AWS counts characters."""
    text = session_policy(scope(**given))
    if expected is None:
        assert text is None
        return
    assert text is not None
    statement = json.loads(text)["Statement"][0]
    assert (statement["Action"], statement["Resource"]) == expected
    assert ": " not in text


FOREIGN = ("AKIAJOBSOWN", "x", None)
MINE = derive_placeholders("a-password")
POST = RequestView(
    method="POST",
    scheme="https",
    authority=Authority("sqs.eu-west-1.amazonaws.com", 443),
    path="/",
    query="b=2&a=1",
    headers=(("content-type", "application/x-www-form-urlencoded"),),
    body_length=5,
)


def refusal(asked: RequestView, digest: str | None = None) -> tuple[Reason, str]:
    """Why a request is not served, by `plan`, or by `apply` where it waits for the body's digest."""
    try:
        connector().plan(asked, read(asked), scope())
        connector().apply(asked, scope(), CREDENTIAL, digest)
    except CredentialError as error:
        return error.reason, str(error)
    raise AssertionError("it was served")


@pytest.mark.parametrize(
    "asked",
    [
        sign_view(view(), NOW, keys=FOREIGN),
        presign_view(view(), NOW, keys=FOREIGN),
        sign_view(POST, NOW, service="sqs", keys=FOREIGN),
    ],
)
def test_a_key_that_is_no_placeholder_signs_nothing(asked: RequestView) -> None:
    """A static key of the job's own is a finding, not something to be quietly replaced."""
    reason, said = refusal(asked, "0" * 64)
    assert (reason, said) == (Reason.CREDENTIAL_MISUSE, "signed with a key that is not this job's placeholder")


@pytest.mark.parametrize("change", [{"path": "/other"}, {"method": "DELETE"}, {"query": "acl"}])
@pytest.mark.parametrize("make", [sign_view, presign_view])
def test_what_was_signed_is_what_is_sent(make: Callable[..., RequestView], change: dict[str, Any]) -> None:
    """A request changed after it was signed is refused, wherever the signature stands."""
    made = make(view(query="versionId=1"), NOW)
    if "query" in change:
        change = {"query": (made.query or "").replace("versionId=1", "versionId=2")}
    assert refusal(replace(made, **change))[0] is Reason.SIGNING_BROKEN


def test_a_body_under_a_signature_is_held_to_it() -> None:
    """Where the head names no digest the body's own must fit; where it names one the body is checked as it passes."""
    asked = sign_view(POST, NOW, service="sqs", body=b"right")
    edits = connector().apply(asked, scope(), CREDENTIAL, sha256(b"right").hexdigest())
    assert edits.rewriter is None
    assert refusal(asked, sha256(b"wrong").hexdigest())[0] is Reason.SIGNING_BROKEN
    put = sign_view(replace(view(method="PUT"), body_length=5), NOW, body=b"right")
    made = connector().apply(put, scope(), CREDENTIAL, None).rewriter
    assert made is not None
    assert (made().feed(b"ri"), made().feed_last(b"right")) == (b"ri", b"right")
    for pieces in ((b"wr", b"ong"), (b"righ",)):
        checked = made()
        for piece in pieces:
            assert checked.feed(piece) == piece
        with pytest.raises(ProtocolError) as caught:
            checked.finish()
        assert caught.value.reason is Reason.SIGNING_BROKEN


def test_the_signature_of_an_open_session_is_verified_with_its_own_secret() -> None:
    """Each session signs with its own placeholder; when it is not open, with none."""
    parts = ConnectorParts(
        caller=Outbound(ssl.create_default_context()),
        clock=FixedClock(NOW),
        find_secret={MINE.aws_key: MINE.aws_secret}.get,
    )
    mine = AwsConnector(parts)
    keys = (MINE.aws_key, MINE.aws_secret.reveal(), None)
    assert not mine.plan(sign_view(view(), NOW, keys=keys), read(view()), scope()).needs_digest
    for wrong in ((MINE.aws_key, "x", None), (AWS_KEY, PUBLIC.aws_secret.reveal(), None)):
        with pytest.raises(CredentialError):
            mine.plan(sign_view(view(), NOW, keys=wrong), read(view()), scope())


@pytest.mark.parametrize("later", [-900, 0, 899])
def test_a_pre_signed_url_is_good_as_long_as_it_says(later: int) -> None:
    """From a quarter of an hour before it was made, for clocks that differ."""
    made = presign_view(view(), NOW - timedelta(seconds=later))
    assert connector().apply(made, scope(), CREDENTIAL, None).query == ""


@pytest.mark.parametrize("later", [-901, 900])
def test_a_pre_signed_url_does_not_live_longer_than_it_says(later: int) -> None:
    """Signing it again does not renew it."""
    made = presign_view(view(), NOW - timedelta(seconds=later))
    assert refusal(made)[1] == "the pre-signed URL has expired, or is not good yet"


@pytest.mark.parametrize(
    "changes",
    [
        {"Expires=900": "Expires=0"},
        {"Expires=900": "Expires=604801"},
        {"Expires=900": "Expires=x"},
        {"Date=20300101T": "Date=20301301T", "20300101%2F": "20301301%2F"},
        {"Date=20300101T": "Date=x"},
    ],
)
def test_a_pre_signed_url_that_says_no_time_is_refused(changes: dict[str, str]) -> None:
    """Zero, more than a week, no number, no day."""
    made = presign_view(view(), NOW)
    query = made.query or ""
    for old, new in changes.items():
        assert old in query
        query = query.replace(old, new)
    assert refusal(replace(made, query=query))[0] is Reason.SIGNING_BROKEN
