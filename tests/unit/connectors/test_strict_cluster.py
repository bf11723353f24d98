"""The fake cluster refuses what Kubernetes and EKS refuse; otherwise tests against it would prove little."""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.signers import RequestSigner

from proxy.demo.tls import StageRoot
from tests.fakes.aws_verifier import IssuedKey
from tests.fakes.cluster import Cluster, NobodyError
from tests.fakes.keys import signing_key
from tests.fakes.sts import StrictSts

OWN = "system:serviceaccount:ci:jobgate"
TOKENS = "/api/v1/namespaces/shop/serviceaccounts/deployer/token"
SECRETS = "/api/v1/namespaces/shop/secrets"
ROLE = "arn:aws:iam::123456789012:role/shop"


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    root = StageRoot(tmp_path)
    made = Cluster(root.server_side("cluster", ("127.0.0.1",)), signing_key("RS256", "k", bits=2048).private)
    made.accounts = {("shop", "deployer")}
    made.may = {(OWN, "POST", part, "shop") for part in ("serviceaccounts/token", "secrets")}
    made.may.add((OWN, "DELETE", "secrets", "shop"))
    made.sts = StrictSts(WallClock())
    made.sts.verifier.keys["ASIA1"] = IssuedKey(
        secret="issued", token="token", principal="arn:aws:sts::123456789012:assumed-role/shop/job-1"
    )
    made.entries = {ROLE: "shop-deployers"}
    made.site.start()
    made.folder = tmp_path  # type: ignore[attr-defined]
    yield made
    made.site.stop()


def ask(cluster: Cluster, method: str, path: str, token: str, body: object = None) -> tuple[int, Any]:
    side = ssl.create_default_context(cafile=str(cluster.folder / "stage-root.pem"))  # type: ignore[attr-defined]
    connection = http.client.HTTPSConnection("127.0.0.1", cluster.site.port, context=side, timeout=10)
    connection.request(method, path, json.dumps(body), {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


def wish(seconds: int = 600, bound: object = None, kind: str = "TokenRequest", **changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"audiences": [], "expirationSeconds": seconds, **changes}
    if bound is not None:
        spec["boundObjectRef"] = bound
    return {"apiVersion": "authentication.k8s.io/v1", "kind": kind, "spec": spec}


def own(cluster: Cluster) -> str:
    return cluster.token_for("ci", "jobgate", 600)


def test_a_token_names_its_account_until_it_ends(cluster: Cluster) -> None:
    """A token that the cluster made is the account's; one of another key, audience or time is nobody's."""
    status, made = ask(cluster, "POST", TOKENS, own(cluster), wish())
    assert status == 201
    assert cluster.identify(f"Bearer {made['status']['token']}") == "system:serviceaccount:shop:deployer"
    head, claims, seal = made["status"]["token"].split(".")
    for other in (
        f"{head}.{claims}.{seal[::-1]}",
        cluster.token_for("shop", "deployer", -10),
        cluster.token_for("shop", "deployer", 60, aud=["https://other.test"]),
        cluster.token_for("shop", "deployer", 60, iss="https://other.test"),
        "x",
    ):
        with pytest.raises(NobodyError):
            cluster.identify(f"Bearer {other}")
    with pytest.raises(NobodyError):
        cluster.identify(f"Basic {made['status']['token']}")


REFUSED: list[Any] = [
    (TOKENS, wish(599), 422),
    (TOKENS, wish(kind="Secret"), 422),
    (TOKENS, wish(audiences="x"), 422),
    (TOKENS, wish(bound={"name": "absent", "uid": "u"}), 422),
    (TOKENS.replace("deployer", "absent"), wish(), 404),
    (TOKENS.replace("shop", "kube-system"), wish(), 403),
]


@pytest.mark.parametrize("path, body, status", REFUSED)
def test_a_token_that_is_not_made(cluster: Cluster, path: str, body: object, status: int) -> None:
    """Too short, misspelt, bound to nothing, for nobody, or where the asker has no right."""
    assert ask(cluster, "POST", path, own(cluster), body)[0] == status
    assert cluster.tokens == []


def test_nobody_gets_nothing(cluster: Cluster) -> None:
    """A bearer who is nobody makes neither tokens nor Secrets, and lists nothing."""
    assert ask(cluster, "POST", TOKENS, "x", wish())[0] == 401
    assert ask(cluster, "POST", SECRETS, "x", {"metadata": {"generateName": "a-"}})[0] == 401
    assert ask(cluster, "GET", "/api/v1/namespaces/shop/pods", "x")[0] == 401
    assert ask(cluster, "GET", "/api/v1/namespaces/shop/pods", own(cluster))[0] == 403


def test_a_bound_token_is_void_with_its_secret(cluster: Cluster) -> None:
    """Deleted by name and uid; another uid is a conflict, another name is not found."""
    _, secret = ask(cluster, "POST", SECRETS, own(cluster), {"metadata": {"generateName": "a-"}})
    name, uid = secret["metadata"]["name"], secret["metadata"]["uid"]
    _, made = ask(cluster, "POST", TOKENS, own(cluster), wish(bound={"name": name, "uid": uid}))
    token = f"Bearer {made['status']['token']}"
    assert cluster.identify(token) == "system:serviceaccount:shop:deployer"
    assert ask(cluster, "DELETE", f"{SECRETS}/{name}", own(cluster), {"preconditions": {"uid": "x"}})[0] == 409
    assert ask(cluster, "DELETE", f"{SECRETS}/other", own(cluster), {"preconditions": {"uid": uid}})[0] == 404
    assert cluster.identify(token) == "system:serviceaccount:shop:deployer"
    assert ask(cluster, "DELETE", f"{SECRETS}/{name}", own(cluster), {"preconditions": {"uid": uid}})[0] == 200
    with pytest.raises(NobodyError):
        cluster.identify(token)


def eks_token(
    cluster: str = "storefront",
    region: str = "eu-west-1",
    signed_in: str = "eu-west-1",
    action: str = "GetCallerIdentity",
    secret: str = "issued",
) -> str:
    """A token as the AWS CLI makes it: botocore signs the URL."""
    begin: Any = botocore.session.Session
    make: Any = RequestSigner
    session = begin()
    session.set_credentials("ASIA1", secret, "token")
    keys, events = session.get_credentials(), session.get_component("event_emitter")
    service = session.create_client("sts", region_name=region).meta.service_model.service_id
    signer = make(service, signed_in, "sts", "v4", keys, events)
    asked = {
        "method": "GET",
        "url": f"https://sts.{region}.amazonaws.com/?Action={action}&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": cluster},
        "context": {},
    }
    url = signer.generate_presigned_url(asked, region_name=signed_in, expires_in=60, operation_name="")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def test_the_token_of_the_aws_command_line_is_accepted(cluster: Cluster) -> None:
    """The fake is not merely strict: botocore's own token names the role's user."""
    assert cluster.identify(f"Bearer {eks_token()}") == "shop-deployers"


FALSE: list[Any] = [
    {"cluster": "other"},
    {"secret": "another"},
    {"action": "AssumeRole"},
    {"signed_in": "us-east-1"},
]


@pytest.mark.parametrize("change", FALSE, ids=str)
def test_a_false_eks_token_is_nobodys(cluster: Cluster, change: dict[str, str]) -> None:
    """Another cluster's name, another key, another question, another region: nobody."""
    with pytest.raises(NobodyError):
        cluster.identify(f"Bearer {eks_token(**change)}")


def test_an_eks_token_needs_an_access_entry_and_a_living_key(cluster: Cluster) -> None:
    """A role that the cluster does not know is nobody, and so is one whose key has expired."""
    token = f"Bearer {eks_token()}"
    assert cluster.sts is not None
    cluster.entries = {}
    with pytest.raises(NobodyError):
        cluster.identify(token)
    cluster.entries = {ROLE: "shop-deployers"}
    known = cluster.sts.verifier.keys["ASIA1"]
    cluster.sts.verifier.keys["ASIA1"] = IssuedKey(
        secret="issued", token="token", principal=known.principal, expires_at=WallClock().now() - timedelta(seconds=1)
    )
    with pytest.raises(NobodyError):
        cluster.identify(token)


def test_a_padded_or_huge_eks_token_is_nobodys(cluster: Cluster) -> None:
    """What aws-iam-authenticator does not read, this does not either."""
    for text in (f"{eks_token()}=", "k8s-aws-v1." + "a" * 20_000):
        with pytest.raises((NobodyError, ValueError)):
            cluster.identify(f"Bearer {text}")
