"""What requests to Google Cloud's APIs mean; what is not known to be harmless is not called so."""

import pytest

from proxy.intents import gcp
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Headers, Intent, RequestView

READ, LIST, WRITE, DELETE, ADMIN, EXECUTE, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.ADMIN,
    EffectClass.EXECUTE,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)
P = "/v1/projects/p"


def ask(line: str, host: str, headers: Headers = ()) -> Intent | BodyWanted | None:
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
    )
    return gcp.decode(view, frozenset())


def read(line: str, service: str) -> Intent:
    found = ask(line, f"{service}.googleapis.com")
    assert isinstance(found, Intent)
    return found


@pytest.mark.parametrize(
    "line, service, action, effect, name",
    [
        (f"GET {P}/secrets", "secretmanager", "projects.secrets.enumerate", LIST, "projects/p/secrets"),
        (f"GET {P}/secrets/s", "secretmanager", "projects.secrets.get", READ, "projects/p/secrets/s"),
        (
            f"GET {P}/secrets/s/versions/latest:access",
            "secretmanager",
            "projects.secrets.versions.access",
            CREDENTIAL,
            "projects/p/secrets/s/versions/latest",
        ),
        (
            f"POST {P}/secrets/s:addVersion",
            "secretmanager",
            "projects.secrets.addVersion",
            WRITE,
            "projects/p/secrets/s",
        ),
        (f"DELETE {P}/secrets/s", "secretmanager", "projects.secrets.remove", DELETE, "projects/p/secrets/s"),
        (
            f"POST {P}/secrets/s:setIamPolicy",
            "secretmanager",
            "projects.secrets.setIamPolicy",
            ADMIN,
            "projects/p/secrets/s",
        ),
        (
            f"POST {P}/secrets/s:getIamPolicy",
            "secretmanager",
            "projects.secrets.getIamPolicy",
            READ,
            "projects/p/secrets/s",
        ),
        (
            "POST /v1/projects/-/serviceAccounts/a@b:generateAccessToken",
            "iamcredentials",
            "projects.serviceAccounts.generateAccessToken",
            CREDENTIAL,
            "projects/-/serviceAccounts/a@b",
        ),
        (
            "POST /v1/projects/-/serviceAccounts/a:invent",
            "iamcredentials",
            "projects.serviceAccounts.invent",
            CREDENTIAL,
            "projects/-/serviceAccounts/a",
        ),
        (
            f"POST {P}/serviceAccounts/a/keys",
            "iam",
            "projects.serviceAccounts.keys.create",
            CREDENTIAL,
            "projects/p/serviceAccounts/a/keys",
        ),
        (f"POST {P}/roles", "iam", "projects.roles.create", ADMIN, "projects/p/roles"),
        ("PATCH /v3/projects/p", "cloudresourcemanager", "projects.patch", ADMIN, "projects/p"),
        (f"POST {P}/services/x:enable", "serviceusage", "projects.services.enable", ADMIN, "projects/p/services/x"),
        (
            "POST /v2/projects/p/locations/l/services",
            "run",
            "projects.locations.services.create",
            WRITE,
            "projects/p/locations/l/services",
        ),
        (
            "POST /v2/projects/p/locations/l/jobs/j:run",
            "run",
            "projects.locations.jobs.run",
            EXECUTE,
            "projects/p/locations/l/jobs/j",
        ),
        (f"POST {P}/builds", "cloudbuild", "projects.builds.create", EXECUTE, "projects/p/builds"),
        ("POST /bigquery/v2/projects/p/jobs", "bigquery", "projects.jobs.create", EXECUTE, "projects/p/jobs"),
        (f"POST {P}/topics/t:publish", "pubsub", "projects.topics.publish", WRITE, "projects/p/topics/t"),
        (f"POST {P}/topics/t:invent", "pubsub", "projects.topics.invent", UNKNOWN, "projects/p/topics/t"),
        (f"GET {P}/topics/t:invent", "pubsub", "projects.topics.invent", UNKNOWN, "projects/p/topics/t"),
        (f"POST {P}/x/y:aggregatedList", "asset", "projects.x.aggregatedList", UNKNOWN, "projects/p/x/y"),
        (
            f"POST {P}/locations/l/keyRings/r/cryptoKeys/k:decrypt",
            "cloudkms",
            "projects.locations.keyRings.cryptoKeys.decrypt",
            EXECUTE,
            "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        ),
        (
            f"GET {P}/zones/z/clusters/c",
            "container",
            "projects.zones.clusters.get",
            READ,
            "projects/p/zones/z/clusters/c",
        ),
        (
            "GET /compute/v1/projects/p/zones/z/instances/i",
            "compute",
            "projects.zones.instances.get",
            READ,
            "projects/p/zones/z/instances/i",
        ),
        (
            "GET /compute/v1/projects/p/global/networks",
            "compute",
            "projects.networks.enumerate",
            LIST,
            "projects/p/global/networks",
        ),
        (
            "DELETE /compute/v1/projects/p/global/networks/n",
            "compute",
            "projects.networks.remove",
            DELETE,
            "projects/p/global/networks/n",
        ),
        ("GET /v1", "run", "get", READ, ""),
        ("GET /discovery", "run", "unknown", UNKNOWN, "discovery"),
        ("POST /batch", "pubsub", "unknown", UNKNOWN, "batch"),
        ("POST /upload/x", "pubsub", "unknown", UNKNOWN, "upload/x"),
        ("BREW /v1/projects/p", "run", "projects.unknown", UNKNOWN, "projects/p"),
        ("POST /token", "oauth2", "token", CREDENTIAL, ""),
        ("POST /v1/token", "sts", "token", CREDENTIAL, ""),
    ],
)
def test_rest(line: str, service: str, action: str, effect: EffectClass, name: str) -> None:
    """Collections and the method are the action, the full name is the resource, the harsher answer is the harm."""
    found = read(line, service)
    expected = action if action == "unknown" else f"{service}.{action}"
    assert (found.name, found.effect) == (f"gcp {expected}", effect)
    assert found.resource.id == f"{service}.googleapis.com/{name}".rstrip("/")
    assert found.exact is (effect is not UNKNOWN)


@pytest.mark.parametrize(
    "host, service",
    [
        ("europe-west1-run.googleapis.com", "run"),
        ("run.europe-west1.rep.googleapis.com", "run"),
        ("pubsub.mtls.googleapis.com", "pubsub"),
    ],
)
def test_regional_names(host: str, service: str) -> None:
    """A service has many hosts and one name."""
    found = ask("GET /v1/projects/p", host)
    assert isinstance(found, Intent)
    assert found.action == f"{service}.projects.get"


@pytest.mark.parametrize(
    "path, action, effect",
    [
        ("/google.pubsub.v1.Publisher/Publish", "pubsub.v1.Publisher.Publish", WRITE),
        ("/google.pubsub.v1.Publisher/ListTopics", "pubsub.v1.Publisher.ListTopics", LIST),
        ("/google.pubsub.v1.Publisher/DeleteTopic", "pubsub.v1.Publisher.DeleteTopic", DELETE),
        ("/google.pubsub.v1.Publisher/Invent", "pubsub.v1.Publisher.Invent", UNKNOWN),
        (
            "/google.iam.credentials.v1.IAMCredentials/GenerateAccessToken",
            "iam.credentials.v1.IAMCredentials.GenerateAccessToken",
            CREDENTIAL,
        ),
    ],
)
def test_grpc(path: str, action: str, effect: EffectClass) -> None:
    """A method by its own name; what it acts on nobody reads."""
    found = ask(f"POST {path}", "pubsub.googleapis.com", (("content-type", "application/grpc+proto"),))
    assert isinstance(found, Intent)
    assert (found.action, found.effect, found.exact) == (action, effect, False)
    assert found.resource.id == "pubsub.googleapis.com/*"


@pytest.mark.parametrize(
    "line, host, headers",
    [
        ("GET /v1/projects/p?a=1&a=2", "pubsub.googleapis.com", ()),
        ("GET /v1/projects/p?$httpMethod=DELETE", "pubsub.googleapis.com", ()),
        ("GET /v1/projects/..", "pubsub.googleapis.com", ()),
        ("GET /v1/projects/a%2Fb", "pubsub.googleapis.com", ()),
        ("GET /v1/projects//x", "pubsub.googleapis.com", ()),
        ("POST /v1/projects/p", "pubsub.googleapis.com", (("x-http-method-override", "DELETE"),)),
        ("GET /v1/projects/p", "-.googleapis.com", ()),
        ("GET /google.pubsub.v1.Publisher/Publish", "pubsub.googleapis.com", (("content-type", "application/grpc"),)),
        ("POST /v1/projects/p", "pubsub.googleapis.com", (("content-type", "application/grpc"),)),
    ],
)
def test_two_readings_are_refused(line: str, host: str, headers: Headers) -> None:
    """Other methods, hidden segments and doubled parameters are denied."""
    with pytest.raises(IntentError):
        ask(line, host, headers)


def test_other_hosts_are_left_alone() -> None:
    """Storage is its own file's; anybody else's host is nobody's here."""
    assert ask("GET /v1/projects/p", "googleapis.com.example") is None
    assert isinstance(ask("GET /b/o", "storage.googleapis.com"), Intent)
