"""The gcp connector through a real sidecar: google-auth and raw requests against Google's own strictness."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from jwt import PyJWK

from proxy.connectors.parts import fingerprint
from proxy.demo.issuer import ISSUER
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.google import HOSTS, Google
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, World, rule, wait_until

PROVIDER: Final = "projects/123456789/locations/global/workloadIdentityPools/jobs/providers/buildkite"
AUDIENCE: Final = f"https://iam.googleapis.com/{PROVIDER}"
ACCOUNT: Final = "deployer@acme-prod.iam.gserviceaccount.com"
STORE: Final = "storage.googleapis.com"
RUN: Final = "run.googleapis.com"
OBJECT: Final = "/storage/v1/b/releases/o/app.tgz"
SERVICES: Final = "/v2/projects/acme/locations/eu/services/shop"
GOOGLE: Final = f"""
import google.auth, google.auth.transport.requests as transport
credentials, project = google.auth.default()
session = transport.AuthorizedSession(credentials)
print(session.get("https://{STORE}{OBJECT}").status_code)
print(session.post("https://{STORE}/upload/storage/v1/b/releases/o?uploadType=media&name=new", data=b"x").status_code)
print(session.get("https://{RUN}{SERVICES}").status_code)
"""


@dataclass(slots=True)
class GoogleStage:
    """A sidecar in front of Google."""

    world: World = field(default_factory=World)
    google: Google = field(init=False)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        self.google = Google(world.root.server_side("google", HOSTS))
        key = PyJWK(world.issuer.jwks()["keys"][0]).key  # type: ignore[index]
        self.google.providers[PROVIDER] = (ISSUER, key, AUDIENCE, {"organization_slug": "acme"})
        self.google.members[ACCOUNT] = "principal:storefront"
        self.google.may |= {
            (who, what)
            for who in (ACCOUNT, "principal:direct", "principal:vague", "principal:astray")
            for what in ("releases", "others", RUN)
        }
        storage = ["gcp read storage/releases/**", "gcp write storage/releases/**", "gcp list storage/releases"]
        world.rules = [
            self.rule("storefront", [*storage, f"gcp read {RUN}/projects/acme/**"], service_account=ACCOUNT),
            self.rule("direct", storage),
            self.rule("stranger", storage, service_account=ACCOUNT),
            self.rule("absent", storage, provider=PROVIDER.replace("jobs", "none")),
            self.rule("vague", ["gcp * **"], to=[STORE, RUN, *HOSTS[:2]]),
            self.rule("astray", None, to=[STORE, "other.test"]),
        ]
        world.places |= {f"{host}:443": self.google.site.place for host in HOSTS}

    def rule(self, name: str, intent: Any, *, to: Any = (STORE, RUN), **scope: Any) -> dict[str, Any]:
        more = {} if intent is None else {"intent": intent}
        made = rule(name, list(to), credential={"gcp": {"provider": PROVIDER, **scope}}, **more)
        return {**made, "job": {**made["job"], "pipeline": name}}

    def start(self) -> None:
        self.google.site.start()
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.google.site.stop()

    def settle(self) -> None:
        google = self.google
        google.delay, google.gives, google.echoes = 0.0, {}, False
        for seen in (google.instead, google.asked, google.uses):
            seen.clear()

    def open(self, pipeline: str, *audiences: str) -> Job:
        known = self.world.issuer.add_job(pipeline_slug=pipeline)
        held = [self.world.token(known, name) for name in audiences or (AUDIENCE,)]
        self.shown += held
        return self.world.job(self.world.sidecar.open_session(self.world.token(known), held))

    def ask(self, job: Job, target: str = OBJECT, host: str = STORE, method: str = "GET", body: bytes = b"") -> Reply:
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Authorization: Bearer own"]
        head += [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
        with RawClient(self.world, job.session) as client:
            client.tunnel(host)
            client.send("\r\n".join([*head, "", ""]).encode() + body)
            return client.reply(method)

    def refused(self, answer: Reply, path: str, reason: str, told: str) -> None:
        assert answer.reason == reason, answer.body
        assert self.google.uses == []
        flow = self.world.ended(path=path.partition("?")[0])
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        assert told in str(records[-1].get("detail", "")), records[-1]
        assert self.leaks() == []

    def leaks(self) -> list[str]:
        return find_leaks(places_of(self.world), [*self.google.granted, *self.shown])


@pytest.fixture(scope="module")
def google_stage() -> Iterator[GoogleStage]:
    made = GoogleStage()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(google_stage: GoogleStage) -> Iterator[GoogleStage]:
    google_stage.settle()
    yield google_stage
    google_stage.settle()


def kinds(stage: GoogleStage) -> list[str]:
    """What was asked for tokens, `bound` for an exchange with a boundary."""
    return ["bound" if "options" in asked else kind for kind, asked in stage.google.asked]


def test_googles_own_library_works_as_the_service_account(stage: GoogleStage) -> None:
    """The real client reads, writes and calls another API with tokens that it never had, each no wider than needed."""
    job = stage.open("storefront")
    job.environment["GOOGLE_CLOUD_PROJECT"] = "acme"
    assert job.python(GOOGLE).split() == ["200", "200", "200"]
    assert [(use.method, use.who, use.status) for use in stage.google.uses] == [
        ("GET", ACCOUNT, 200),
        ("POST", ACCOUNT, 200),
        ("GET", ACCOUNT, 200),
    ]
    assert kinds(stage) == ["exchange", "impersonate", "bound"] * 2 + ["exchange", "impersonate"]
    assert job.session is not None
    minted = [each for each in stage.world.records("credential.minted") if each["session"] == job.session.id]
    assert [each["facts"].get("buckets") for each in minted] == [
        "releases:objectViewer",
        "releases:objectUser",
        None,
    ]
    assert {each["credential"] for each in minted} <= {fingerprint(token) for token in stage.google.granted}
    assert stage.leaks() == []


def test_the_federated_identity_itself(stage: GoogleStage) -> None:
    """Without a service account the exchanged token is bounded and used."""
    assert stage.ask(stage.open("direct")).status == 200
    assert kinds(stage) == ["exchange", "bound"]
    assert stage.google.uses[0].who == "principal:direct"


def test_tokens_of_one_need_are_bought_once(stage: GoogleStage) -> None:
    """Reads share a token, a listing with them; a write needs another."""
    job = stage.open("direct")
    for target in (OBJECT, OBJECT, "/storage/v1/b/releases/o?prefix=a"):
        assert stage.ask(job, target).status == 200
    assert kinds(stage) == ["exchange", "bound"]
    assert stage.ask(stage.open("direct")).status == 200
    assert len(kinds(stage)) == 4


@pytest.mark.parametrize(
    "target, host, method, body, action",
    [
        ("/v1/projects/-/serviceAccounts/a@b:generateAccessToken", HOSTS[1], "POST", b"{}", "generateAccessToken"),
        ("/v1/token", HOSTS[0], "POST", b"{}", "sts.token"),
    ],
)
def test_a_wildcard_makes_no_tokens(
    stage: GoogleStage, target: str, host: str, method: str, body: bytes, action: str
) -> None:
    """What hands out tokens needs a line that names it; Google is not asked."""
    answer = stage.ask(stage.open("vague"), target, host, method, body)
    stage.refused(answer, target, "credential-scope", action)
    assert stage.google.asked == []


def test_a_key_of_the_jobs_own_is_refused(stage: GoogleStage) -> None:
    """An API key in the query would be used beside the token."""
    stage.refused(stage.ask(stage.open("direct"), f"{OBJECT}?key=x"), OBJECT, "credential-scope", "of the job's own")


def test_a_rule_for_other_hosts_too_sends_the_token_to_google_alone(stage: GoogleStage) -> None:
    """`to` may name more than Google; the token goes nowhere else, and none is bought."""
    stage.refused(
        stage.ask(stage.open("astray"), "/echo", "other.test"), "/echo", "credential-scope", "goes nowhere else"
    )
    assert stage.google.asked == []


REFUSED: list[Any] = [
    ("stranger", (AUDIENCE,), "service account: status 403"),
    ("absent", (AUDIENCE.replace("jobs", "none"),), "Google STS: invalid_target"),
    ("direct", ("https://other.test",), f"holds no token for the audience {AUDIENCE}"),
]


@pytest.mark.parametrize("pipeline, audiences, told", REFUSED)
def test_what_google_refuses(stage: GoogleStage, pipeline: str, audiences: tuple[str, ...], told: str) -> None:
    """No binding, no provider, no token for it: the operator reads which."""
    stage.refused(stage.ask(stage.open(pipeline, *audiences)), OBJECT, "credential-refused", told)


FAILING: list[Any] = [
    (HOSTS[0], 500, b"", "credential-unavailable", "Google STS: status 500"),
    (HOSTS[0], 429, b"", "credential-unavailable", "Google STS: status 429"),
    (HOSTS[0], 302, b"", "credential-refused", "Google STS: status 302"),
    (HOSTS[0], 200, b"<html>", "credential-unavailable", "no JSON object"),
    (HOSTS[0], 200, b'{"access_token":"a","token_type":"mac"}', "credential-unavailable", "not a bearer token"),
    (HOSTS[0], 200, b'{"access_token":"a","token_type":"Bearer"}', "credential-unavailable", "another type of token"),
    (HOSTS[1], 503, b"", "credential-unavailable", "service account: status 503"),
    (HOSTS[1], 200, b'{"accessToken":"a"}', "credential-unavailable", "expireTime is not"),
    (
        HOSTS[1],
        200,
        b'{"accessToken":"a","expireTime":"2999-01-01T00:00:00Z"}',
        "credential-refused",
        "lives longer than was asked for",
    ),
    (
        HOSTS[1],
        200,
        b'{"accessToken":"a","expireTime":"2001-01-01T00:00:00Z"}',
        "credential-unavailable",
        "has already expired",
    ),
]


@pytest.mark.parametrize("host, status, body, reason, told", FAILING)
def test_a_google_that_fails(stage: GoogleStage, host: str, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job = stage.open("storefront")
    stage.google.instead = [(host, status, body)]
    stage.refused(stage.ask(job), OBJECT, reason, told)
    time.sleep(2.1)
    assert stage.ask(job).status == 200


def test_a_google_that_is_slow(stage: GoogleStage) -> None:
    """Within five seconds the job has its answer."""
    stage.google.delay = 6.0
    job, began = stage.open("storefront"), time.monotonic()
    assert stage.ask(job).reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5


def test_a_token_that_comes_back_is_not_passed_on(stage: GoogleStage) -> None:
    """A service that echoes the bearer token shows the job nothing of it."""
    stage.google.echoes = True
    answer = stage.ask(stage.open("direct"))
    assert b"ya29" not in answer.body
    assert stage.leaks() == []


def test_what_a_session_had_only_expires(stage: GoogleStage) -> None:
    """Google takes no access token back: the record of the session's end says until when it may live."""
    job = stage.open("direct")
    assert stage.ask(job).status == 200
    assert job.session is not None
    session = job.session
    stage.world.sidecar.close_session(session)
    (closed,) = wait_until(
        lambda: [each for each in stage.world.records("session.closed") if each["session"] == session.id]
    )
    assert [(each["fate"], bool(each["expires_at"])) for each in closed["dropped"]] == [("expires", True)]


def test_after_all_of_it(stage: GoogleStage) -> None:
    """The sidecar still serves, and nothing leaked."""
    assert stage.ask(stage.open("storefront")).status == 200
    assert stage.world.sidecar.api.readiness() == ()
    assert stage.leaks() == []
