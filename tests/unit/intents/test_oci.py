"""What requests to OCI registries mean, and what no registry would take for what it says."""

import hashlib
import json
from typing import Any

import pytest

from proxy.intents import oci
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

NONE: frozenset[str] = frozenset()
SPOKEN = frozenset({"oci"})
HEX = "a" * 64
SHA = f"sha256:{HEX}"
READ, LIST, WRITE, DELETE, PUBLISH, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.PUBLISH,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)


def ask(
    line: str, body: bytes | None = None, host: str = "ghcr.io", spoken: frozenset[str] = NONE, headers: Headers = ()
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path?query`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    return oci.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=query if mark else None,
            headers=headers,
            body=None if body is None else BodyPrefix(data=body, is_whole=True),
        ),
        spoken,
    )


def read(line: str, body: bytes | None = None, host: str = "ghcr.io", spoken: frozenset[str] = NONE) -> Intent:
    found = ask(line, body, host, spoken)
    assert isinstance(found, Intent)
    return found


@pytest.mark.parametrize(
    "line, action, effect, resource, facts",
    [
        ("GET /v2/", "ping", READ, "ghcr.io", {}),
        ("HEAD /v2", "ping", READ, "ghcr.io", {}),
        ("GET /v2/_catalog?n=5", "catalog", LIST, "ghcr.io", {}),
        ("GET /v2/acme/app/tags/list", "tags", LIST, "ghcr.io/acme/app", {}),
        ("GET /v2/a/b/c/manifests/v1", "pull.manifest", READ, "ghcr.io/a/b/c:v1", {"tag": "v1"}),
        (f"HEAD /v2/app/manifests/{SHA}", "pull.manifest", READ, f"ghcr.io/app@{SHA}", {"digest": SHA}),
        (f"GET /v2/app/blobs/{SHA}", "pull.blob", READ, f"ghcr.io/app@{SHA}", {"digest": SHA}),
        (f"GET /v2/app/referrers/{SHA}", "referrers", LIST, f"ghcr.io/app@{SHA}", {}),
        ("DELETE /v2/app/manifests/v1", "delete.tag", DELETE, "ghcr.io/app:v1", {"tag": "v1"}),
        (f"DELETE /v2/app/manifests/{SHA}", "delete.manifest", DELETE, f"ghcr.io/app@{SHA}", {"digest": SHA}),
        (f"DELETE /v2/app/blobs/{SHA}", "delete.blob", DELETE, f"ghcr.io/app@{SHA}", {"digest": SHA}),
        ("POST /v2/app/blobs/uploads/", "push.blob", WRITE, "ghcr.io/app", {}),
        (f"POST /v2/app/blobs/uploads/?digest={SHA}", "push.blob", WRITE, "ghcr.io/app", {"digest": SHA}),
        ("PATCH /v2/app/blobs/uploads/u-1?_state=x", "push.blob", WRITE, "ghcr.io/app", {}),
        (f"PUT /v2/app/blobs/uploads/u-1?_state=x&digest={SHA}", "push.blob", WRITE, "ghcr.io/app", {"digest": SHA}),
        ("GET /v2/app/blobs/uploads/u-1", "upload.status", READ, "ghcr.io/app", {}),
        ("DELETE /v2/app/blobs/uploads/u-1", "upload.cancel", WRITE, "ghcr.io/app", {}),
        # names that look like parts of the path
        ("GET /v2/blobs/tags/list", "tags", LIST, "ghcr.io/blobs", {}),
        ("GET /v2/a/manifests/b/manifests/v1", "pull.manifest", READ, "ghcr.io/a/manifests/b:v1", {"tag": "v1"}),
    ],
)
def test_requests(line: str, action: str, effect: EffectClass, resource: str, facts: dict[str, str]) -> None:
    """Each request of the specification is its action on its repository, reference or digest."""
    found = read(line)
    assert (found.name, found.effect, found.exact) == (f"oci {action}", effect, True)
    assert (found.resource.id, found.facts) == (resource, facts)


def test_a_mount_also_pulls() -> None:
    """A blob taken from another repository is read there; from nobody knows where when that is left out."""
    for query, source in ((f"mount={SHA}&from=acme/base", "ghcr.io/acme/base"), (f"mount={SHA}", "ghcr.io/?")):
        found = read(f"POST /v2/acme/app/blobs/uploads/?{query}")
        assert (found.action, found.effect, found.resource.id) == ("mount", WRITE, "ghcr.io/acme/app")
        (pull,) = found.also
        assert (pull.action, pull.effect, pull.resource.id) == ("pull.blob", READ, f"{source}@{SHA}")


def manifest(**members: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **members}).encode()


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def test_a_manifest_publishes() -> None:
    """Its digest, kind, children and what it is about are told; a tag and a digest are both publishing."""
    body = manifest(manifests=[{"digest": SHA}, {"digest": 1}, "x"], subject={"digest": SHA})
    assert isinstance(ask("PUT /v2/acme/app/manifests/v1"), BodyWanted)

    tagged = read("PUT /v2/acme/app/manifests/v1", body)

    assert (tagged.action, tagged.effect, tagged.resource.id) == ("push.manifest", PUBLISH, "ghcr.io/acme/app:v1")
    assert tagged.facts == {
        "digest": digest_of(body),
        "media_type": "",
        "tag": "v1",
        "children": SHA,
        "subject": SHA,
    }
    (referrer,) = tagged.also
    assert (referrer.action, referrer.resource.id) == ("push.referrer", f"ghcr.io/acme/app@{SHA}")
    for algorithm in ("sha256", "sha512"):
        named = digest_of(manifest(), algorithm)
        plain = read(f"PUT /v2/acme/app/manifests/{named}", manifest())
        assert (plain.resource.id, plain.facts["digest"], plain.also) == (f"ghcr.io/acme/app@{named}", named, ())
        assert "tag" not in plain.facts


@pytest.mark.parametrize(
    "line, host",
    [
        ("GET /token?service=x&scope=repository:a/b:pull&scope=repository:c:push", "auth.docker.io"),
        ("GET /token?service=x&scope=repository:a/b:pull&scope=repository:c:push", "ghcr.io"),
        ("GET /v2/auth?scope=repository:a/b:pull%20repository:c:push", "quay.io"),
    ],
)
def test_tokens_are_credentials(line: str, host: str) -> None:
    """Whoever asks for a token says for what; a POST says it where we do not look."""
    found = read(line, host=host)
    assert (found.action, found.effect, found.resource.id) == ("token.mint", CREDENTIAL, host)
    assert found.facts == {"scope": "repository:a/b:pull repository:c:push"}
    assert read("POST /oauth2/token", host="acme.azurecr.io").facts == {}


@pytest.mark.parametrize(
    "line",
    [
        "GET /",
        "GET /v1/search",
        "POST /v2/",
        "DELETE /v2/_catalog",
        "GET /v2/app",
        "GET /v2/app/v1",
        "GET /v2/tags/list",
        "GET /v2/app/blobs/uploads",
        "POST /v2/app/tags/list",
        f"POST /v2/app/referrers/{SHA}",
        f"POST /v2/app/blobs/{SHA}",
        "POST /v2/app/manifests/v1",
        "POST /v2/app/blobs/uploads/u-1",
        "DELETE /token",
    ],
)
def test_what_no_registry_knows_is_unknown(line: str) -> None:
    """On a registry's own host an unlisted request has an effect nobody can tell."""
    found = read(line)
    assert (found.action, found.effect, found.exact) == ("unknown", UNKNOWN, False)


@pytest.mark.parametrize(
    "line",
    [
        "GET /v2/Acme/app/tags/list",
        "GET /v2/a//b/tags/list",
        "GET /v2/a_/b/tags/list",
        f"GET /v2/{'a' * 256}/tags/list",
        "GET /v2/app/manifests/sha256:abc",
        f"GET /v2/app/manifests/sha256:{HEX.upper()}",
        f"GET /v2/app/manifests/md5:{HEX}",
        "GET /v2/app/manifests/-v1",
        f"GET /v2/app/manifests/{'a' * 129}",
        "GET /v2/app/blobs/latest",
        "GET /v2/app/referrers/v1",
        "PUT /v2/app/blobs/uploads/u-1",
        "PUT /v2/app/blobs/uploads/u-1?digest=x",
        f"PUT /v2/app/blobs/uploads/u-1?digest={SHA}&digest=sha256:{'b' * 64}",
        "GET /v2/app/blobs/uploads/u;1",
        "POST /v2/app/blobs/uploads/?mount=x",
        f"POST /v2/app/blobs/uploads/?mount={SHA}&from=../x",
        f"POST /v2/app/blobs/uploads/?mount={SHA}&from=a&from=b",
    ],
)
def test_a_broken_request_is_refused(line: str) -> None:
    """Names, tags and digests of the specification's grammar, each said once; everything else is denied."""
    with pytest.raises(IntentError):
        ask(line)


@pytest.mark.parametrize(
    "reference, body",
    [
        (SHA, manifest()),
        ("v1", b"[]"),
        ("v1", b'{"subject": {"digest": "x"}}'),
        ("v1", b'{"subject": {"digest": "x"}, "Subject": {}}'),
        ("v1", b'{"a": 1, "a": 2}'),
    ],
)
def test_a_manifest_that_is_not_what_it_says_is_refused(reference: str, body: bytes) -> None:
    """Another digest than the one it is pushed as, no object, two readings."""
    with pytest.raises(IntentError):
        ask(f"PUT /v2/app/manifests/{reference}", body)


def test_a_method_is_what_it_is() -> None:
    """A header that asks for another method is denied."""
    with pytest.raises(IntentError):
        ask("GET /v2/app/tags/list", headers=(("x-http-method-override", "DELETE"),))


@pytest.mark.parametrize(
    "host",
    [
        "registry-1.docker.io",
        "eu.gcr.io",
        "europe-west1-docker.pkg.dev",
        "acme.azurecr.io",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr-ecr.eu-west-1.on.aws",
    ],
)
def test_registries_that_are_known_by_name(host: str) -> None:
    """No rule needs to say what they are."""
    assert read("GET /v2/app/tags/list", host=host).resource.id == f"{host}/app"


@pytest.mark.parametrize(
    "line, host, spoken",
    [
        ("GET /v2/app/tags/list", "registry.example", NONE),
        ("GET /v2/app/tags/list", "x.dkr.ecr.example.com", SPOKEN - SPOKEN),
        ("GET /index.html", "registry.example", SPOKEN),
    ],
)
def test_other_hosts_are_left_alone(line: str, host: str, spoken: frozenset[str]) -> None:
    """A registry of one's own is one where rules say so, and below /v2 only."""
    assert ask(line, host=host, spoken=spoken) is None


def test_a_registry_of_ones_own() -> None:
    """Its id begins with its name, and its port when that is not the usual one."""
    assert read("GET /v2/app/tags/list", host="registry.example", spoken=SPOKEN).resource.id == "registry.example/app"
