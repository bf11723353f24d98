"""The kubernetes connector through a real sidecar: kubectl and raw requests against a cluster that knows who asks.

A job works as a service account or as a role, with tokens that it never has; when it ends, a bound token is void.
"""

import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from proxy.connectors.parts import fingerprint
from proxy.demo.issuer import ISSUER
from proxy.demo.sidecar import JobSession
from tests.fakes.aws_stage import ROLE, STS, AwsStage
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.cluster import Cluster, Instead, Use
from tests.fakes.keys import signing_key
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, rule, wait_until
from tests.fakes.sts import Role
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
HOST: Final = "kubernetes.test"
SITE: Final = f"{HOST}:6443"
DEPLOYER: Final = "system:serviceaccount:shop:deployer"
OWN: Final = "system:serviceaccount:jobgate:sidecar"
PODS: Final = "/api/v1/namespaces/shop/pods"
MINTING: Final = "/serviceaccounts/deployer/token"


@dataclass(slots=True)
class ClusterStage:
    """A sidecar, a cluster and an STS. The sidecar's own token is in a file, as a projected one is."""

    aws: AwsStage = field(default_factory=lambda: AwsStage((STS,)))
    cluster: Cluster = field(init=False)
    own: str = field(init=False)

    def __post_init__(self) -> None:
        world = self.aws.world
        self.cluster = Cluster(world.root.server_side("cluster", (HOST,)), signing_key().private)
        self.cluster.sts = self.aws.sts
        self.cluster.entries[ROLE] = "storefront-smoke"
        self.cluster.accounts |= {("shop", "deployer"), ("shop", "narrow")}
        self.cluster.may |= {
            (OWN, "POST", "serviceaccounts/token", "shop"),
            (OWN, "POST", "secrets", "shop"),
            (OWN, "DELETE", "secrets", "shop"),
            (DEPLOYER, "list", "pods", "shop"),
            ("storefront-smoke", "list", "pods", "shop"),
        }
        self.own = self.cluster.token_for("jobgate", "sidecar", 3600)
        place = world.folder / "own-token"
        place.touch(mode=0o600)
        place.write_text(self.own)
        world.places[SITE] = self.cluster.site.place
        account = {"namespace": "shop", "service_account": "deployer", "own_token": {"file": str(place)}}
        eks = {"cluster": "storefront", "role": ROLE, "region": "eu-west-1"}
        world.rules = [
            self.rule("bound", token=account | {"revocable": True}),
            self.rule("plain", token=account),
            self.rule("absent", token=account | {"service_account": "absent"}),
            self.rule("foreign", token=account | {"namespace": "kube-system"}),
            self.rule("vague", intent=f"k8s * {SITE}/**", token=account),
            self.rule("astray", to=[SITE, "other.test"], intent=None, token=account),
            {**rule("follows", "other.test"), "job": {"organization": "acme", "pipeline": "plain"}},
            self.rule("eks", eks=eks),
            self.rule("other-cluster", eks=eks | {"cluster": "other"}),
            self.rule("no-role", eks=eks | {"role": f"{ROLE}-absent"}),
        ]

    def rule(self, name: str, *, to: Any = SITE, intent: Any = (), **block: Any) -> dict[str, Any]:
        lines = [f"k8s get:nonresource {SITE}/**", f"k8s list {SITE}/shop/**"] if intent == () else intent
        more = {} if lines is None else {"intent": lines}
        made = rule(name, to, credential={"kubernetes": {"server": f"https://{SITE}", **block}}, **more)
        return {**made, "job": {**made["job"], "pipeline": name}}

    def start(self) -> None:
        self.aws.sts.roles[ROLE] = Role(issuer=ISSUER)
        self.cluster.site.start()
        self.aws.start()

    def stop(self) -> None:
        self.aws.stop()
        self.cluster.site.stop()

    def settle(self) -> None:
        """Make the cluster and STS what they were: prompt and honest."""
        self.aws.settle()
        cluster = self.cluster
        cluster.delay, cluster.echoes, cluster.changes = 0.0, False, dict
        for seen in (cluster.instead, cluster.requests, cluster.uses, cluster.tokens, cluster.secrets):
            seen.clear()

    def open(self, pipeline: str) -> Job:
        """A job with a session that holds a token for STS, which only `eks` needs."""
        return self.aws.world.job(self.aws.open(job=self.aws.world.issuer.add_job(pipeline_slug=pipeline)))

    def session(self, job: Job) -> JobSession:
        assert job.session is not None
        return job.session

    def ask(self, job: Job, target: str = PODS, method: str = "GET", place: str = SITE, body: bytes = b"") -> Reply:
        """Send one request through a tunnel of its own, with a token of the job's choice."""
        head = [f"{method} {target} HTTP/1.1", f"Host: {place}", "Authorization: Bearer own"]
        if body:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        host, _, port = place.partition(":")
        with RawClient(self.aws.world, job.session) as client:
            answer = client.connect(f"{host}:{port or 443}")
            assert answer.status == 200, answer
            client.start_tls(host)
            client.send("\r\n".join([*head, "", ""]).encode() + body)
            return client.reply(method)

    def minted(self, job: Job) -> list[dict[str, Any]]:
        return self.aws.minted(self.session(job))

    def closed(self, job: Job) -> dict[str, Any]:
        """End a job's session; return its record."""
        session, world = self.session(job), self.aws.world
        world.sidecar.close_session(session)
        found = wait_until(lambda: [each for each in world.records("session.closed") if each["session"] == session.id])
        return dict(found[0])

    def refused(self, answer: Reply, path: str, reason: str, told: str) -> None:
        """What holds of every refusal: the answer and the record say why, the cluster saw nothing, nothing leaked."""
        assert answer.reason == reason, answer.body
        assert [use for use in self.cluster.uses if use.path == path] == []
        flow = self.aws.world.ended(path=path)
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        assert told in self.aws.detail_of(flow), self.aws.detail_of(flow)
        assert self.leaks() == []

    def leaks(self) -> list[str]:
        """Where a token of the cluster, of a job or of STS can be read; the sidecar's own only in its file."""
        known = [token.rpartition(".")[2] for token in (*self.cluster.tokens, self.own)]
        places = {name: text for name, text in places_of(self.aws.world).items() if not name.endswith("own-token")}
        return find_leaks(places, [*known, *(use.token for use in self.cluster.uses)]) + self.aws.leaks()


@pytest.fixture(scope="module")
def cluster_stage() -> Iterator[ClusterStage]:
    made = ClusterStage()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(cluster_stage: ClusterStage) -> Iterator[ClusterStage]:
    cluster_stage.settle()
    yield cluster_stage
    cluster_stage.settle()


def kubectl(program: str, job: Job, command: str, code: int | None = 0) -> str:
    """Run kubectl as a job does: it has the cluster's address and the CA bundle, and no credential of worth."""
    bundle = job.environment["SSL_CERT_FILE"]
    words = [f"--server=https://{SITE}", f"--certificate-authority={bundle}", "--token=placeholder", "--namespace=shop"]
    where = ["--request-timeout=10s", f"--cache-dir={job.folder}/cache", "--kubeconfig=/dev/null"]
    done = job.run(program, *words, *where, *command.split(" "), code=code)
    return (done.stdout + done.stderr).decode()


def use_of(stage: ClusterStage) -> Use:
    (use,) = stage.cluster.uses
    return use


def test_kubectl_works_as_the_service_account(stage: ClusterStage, require_tool: RequireTool) -> None:
    """The real client lists pods with a token that it never had, bound to a Secret that was made for it."""
    job = stage.open("bound")
    assert "shop-0" in kubectl(require_tool("kubectl"), job, "get pods")
    (token,) = stage.cluster.tokens
    use = use_of(stage)
    assert (use.user, use.status, use.token) == (DEPLOYER, 200, token)
    (minted,) = stage.minted(job)
    (secret,) = stage.cluster.secrets
    assert minted["credential"] == fingerprint(token)
    assert minted["facts"] == {
        "server": f"https://{SITE}",
        "service_account": "shop/deployer",
        "secret": secret,
        "secret_uid": stage.cluster.secrets[secret],
    }
    assert stage.leaks() == []


_PYTHON = f"""
import os
from kubernetes import client
settings = client.Configuration(host="https://{SITE}", api_key={{"authorization": "Bearer placeholder"}})
settings.ssl_ca_cert, settings.proxy = os.environ["SSL_CERT_FILE"], os.environ["HTTPS_PROXY"]
place = os.environ["HTTPS_PROXY"].removeprefix("http://").rpartition("@")
settings.proxy, settings.proxy_headers = "http://" + place[2], {{"Proxy-Authorization": os.environ["BASIC"]}}
api = client.CoreV1Api(client.ApiClient(settings))
print([pod.metadata.name for pod in api.list_namespaced_pod("shop", _request_timeout=10).items])
"""


def test_the_python_client_works_as_the_service_account(stage: ClusterStage) -> None:
    """Its own library, with a placeholder: the cluster sees the service account's token."""
    job = stage.open("bound")
    assert job.session is not None
    basic = b64encode(f"job:{job.session.secret}".encode()).decode()
    done = job.run(sys.executable, "-c", _PYTHON, environment={"BASIC": f"Basic {basic}"})
    assert "shop-0" in done.stdout.decode()
    use = use_of(stage)
    assert (use.user, use.status) == (DEPLOYER, 200)
    assert stage.leaks() == []


def test_kubectl_works_as_the_role(stage: ClusterStage, require_tool: RequireTool) -> None:
    """The cluster asks STS who signed the question; its keys can do nothing else, and are no job's."""
    job = stage.open("eks")
    assert "shop-0" in kubectl(require_tool("kubectl"), job, "get pods")
    use = use_of(stage)
    assert (use.user, use.status) == ("storefront-smoke", 200)
    assert use.token.startswith("k8s-aws-v1.")
    assert "sts:GetCallerIdentity" in stage.aws.sts.asked[-1]["Policy"]
    assert stage.leaks() == []


def test_a_token_for_one_cluster_is_none_for_another(stage: ClusterStage) -> None:
    """The name in the signed field is another cluster's: STS would say yes, this cluster says no."""
    assert stage.ask(stage.open("other-cluster")).status == 401
    assert [use.user for use in stage.cluster.uses] == [None]


def test_a_bound_token_ends_with_its_session(stage: ClusterStage) -> None:
    """The Secret is deleted, so the token is void; another session's lives on."""
    job, other = stage.open("bound"), stage.open("bound")
    assert [stage.ask(each).status for each in (job, other)] == [200, 200]
    mine, theirs = stage.cluster.tokens
    (dropped,) = stage.closed(job)["dropped"]
    assert (dropped["connector"], dropped["fate"], dropped["credential"]) == (
        "kubernetes",
        "revoked",
        fingerprint(mine),
    )
    assert stage.cluster.identify(f"Bearer {theirs}") == DEPLOYER
    with pytest.raises(Exception, match=r"^$"):
        stage.cluster.identify(f"Bearer {mine}")
    assert len(stage.cluster.secrets) == 1


@pytest.mark.parametrize("pipeline", ["plain", "eks"])
def test_what_cannot_be_taken_back_is_said_to_expire(stage: ClusterStage, pipeline: str) -> None:
    """The record of the session's end says until when a token may live."""
    job = stage.open(pipeline)
    assert stage.ask(job).status == 200
    (dropped,) = stage.closed(job)["dropped"]
    assert dropped["fate"] == "expires"
    assert dropped["expires_at"]
    assert stage.cluster.secrets == {}


def test_a_revocation_that_fails_is_on_record(stage: ClusterStage) -> None:
    """The cluster is away when the session ends: the token may live, and the record says so."""
    job = stage.open("bound")
    assert stage.ask(job).status == 200
    (name,) = stage.cluster.secrets
    stage.cluster.instead = [Instead(path=f"/secrets/{name}", status=503)]
    (dropped,) = stage.closed(job)["dropped"]
    assert dropped["fate"] == "revoke-failed"


def test_one_token_for_many_requests_and_none_for_another_job(stage: ClusterStage) -> None:
    """Parallel requests wait for one token; another job's requests get another."""
    jobs = [stage.open("plain"), stage.open("plain")]
    stage.cluster.delay = 0.2
    answers: list[int] = []
    threads = [threading.Thread(target=lambda job=job: answers.append(stage.ask(job).status)) for job in jobs * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(stage.cluster.requests) == 2
    assert len({use.token for use in stage.cluster.uses}) == 2


def test_a_wildcard_makes_no_tokens(stage: ClusterStage) -> None:
    """What makes a credential needs a line that names it; the cluster is not asked."""
    job, path = stage.open("vague"), "/api/v1/namespaces/shop/serviceaccounts/deployer/token"
    body = b'{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[]}}'
    told = "create:core/serviceaccounts/token needs an `intent` line"
    stage.refused(stage.ask(job, path, "POST", body=body), path, "credential-scope", told)
    assert stage.cluster.requests == []


def test_a_rule_for_other_hosts_too_sends_the_token_to_the_cluster_alone(stage: ClusterStage) -> None:
    """`to` may name more than the cluster; the token goes nowhere else, and none is made."""
    job, seen = stage.open("astray"), len(stage.aws.world.origin.seen)
    stage.refused(stage.ask(job, "/echo", place="other.test"), "/echo", "credential-scope", "goes nowhere else")
    assert (len(stage.aws.world.origin.seen), stage.cluster.requests) == (seen, [])


def test_a_redirect_carries_no_token(stage: ClusterStage) -> None:
    """An API server that points elsewhere: the answer is passed on, and whoever follows has no token of ours."""
    job = stage.open("plain")
    assert stage.ask(job).status == 200
    stage.cluster.instead = [Instead(path="/pods", status=307, headers={"Location": "https://other.test/echo"})]
    stage.aws.world.origin.seen.clear()
    job.curl("-L", "-H", "Authorization: Bearer own", f"https://{SITE}{PODS}")
    assert ["authorization" in each.headers for each in stage.aws.world.origin.seen] == [False]
    assert stage.leaks() == []


@pytest.mark.parametrize("pipeline", ["bound", "eks"])
def test_a_token_that_comes_back_is_not_passed_on(stage: ClusterStage, pipeline: str) -> None:
    """A server that echoes the bearer token shows the job nothing of it."""
    job = stage.open(pipeline)
    stage.cluster.echoes = True
    answer = stage.ask(job)
    assert use_of(stage).token.encode() not in answer.body
    assert stage.leaks() == []


REFUSED: list[Any] = [
    ("absent", "credential-refused", "there is no such service account, status 404"),
    ("foreign", "credential-refused", "the sidecar may not `create` `serviceaccounts/token` there, status 403"),
    ("no-role", "credential-refused", "STS: AccessDenied"),
]


@pytest.mark.parametrize("pipeline, reason, told", REFUSED)
def test_what_the_cluster_or_sts_refuses(stage: ClusterStage, pipeline: str, reason: str, told: str) -> None:
    """No account, no right, no role: the job is told which kind, the operator what is missing."""
    stage.refused(stage.ask(stage.open(pipeline)), PODS, reason, told)


FAILING: list[Any] = [
    (500, b"", "credential-unavailable", "status 500"),
    (429, b"", "credential-unavailable", "status 429"),
    (302, b"", "credential-refused", "status 302"),
    (200, b'{"status":{"token":"x"}}', "credential-refused", "status 200"),
    (201, b"<html>", "credential-unavailable", "no JSON object"),
    (201, b'{"status":{}}', "credential-unavailable", "Kubernetes"),
    (201, b'{"kind":"TokenRequest"}', "credential-unavailable", "holds no token"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
def test_a_cluster_that_fails(stage: ClusterStage, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again, nothing left behind."""
    job = stage.open("bound")
    stage.cluster.instead = [Instead(path=MINTING, status=status, body=body)]
    stage.refused(stage.ask(job), PODS, reason, told)
    assert stage.cluster.secrets == {}
    time.sleep(2.1)
    assert stage.ask(job).status == 200


LIES: list[Any] = [
    ({"sub": "system:serviceaccount:kube-system:admin"}, "not the service account's"),
    ({"exp": int(time.time()) + 40_000_000}, "lives longer than was asked for"),
]


@pytest.mark.parametrize("change, told", LIES)
def test_a_token_that_is_more_than_was_asked_for(stage: ClusterStage, change: dict[str, Any], told: str) -> None:
    """It is used for nothing, and given back."""
    stage.cluster.changes = lambda claims: {**claims, **change}
    stage.refused(stage.ask(stage.open("bound")), PODS, "credential-unavailable", told)
    assert stage.cluster.secrets == {}


def test_a_cluster_that_is_slow(stage: ClusterStage) -> None:
    """Within five seconds the job has its answer."""
    stage.cluster.delay = 6.0
    job, began = stage.open("plain"), time.monotonic()
    assert stage.ask(job).reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5
    stage.cluster.delay = 0.0


def test_after_all_of_it(stage: ClusterStage) -> None:
    """The sidecar still serves, and the trail is whole."""
    assert stage.ask(stage.open("plain")).status == 200
    assert stage.aws.world.sidecar.api.readiness() == ()
    assert stage.aws.leaks(all_of_them=True) == []
    stage.aws.check_trail()
