"""What requests to OCI registries mean."""

import hashlib
import json

import pytest

from proxy.intents import oci
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"oci"})
NOBODY: frozenset[str] = frozenset()
HUB = "registry-1.docker.io"
OWN = "registry.example"
GOOGLE = "europe-docker.pkg.dev"
HEX = "ab" * 32
DIGEST = f"sha256:{HEX}"
OTHER = f"sha256:{'cd' * 32}"
UUID = "7d484fc3-cc71-48bc-886f-2ccbd0d85183"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
BODY = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": OTHER, "size": 2},
        "layers": [],
    }
).encode()
SUM = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
ATTACHED = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "subject": {"digest": OTHER}}).encode()
ATTACHED_SUM = f"sha256:{hashlib.sha256(ATTACHED).hexdigest()}"


def ask(
    line: str,
    host: str = HUB,
    *,
    headers: Headers = (),
    spoken: frozenset[str] = SPOKEN,
    length: int | None = 0,
    body: bytes | None = None,
    port: int = 443,
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path[?query]`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, port),
        path=path,
        query=query if mark else None,
        headers=headers,
        body_length=length,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    return oci.decode(view, spoken)


def read(line: str, host: str = HUB, *, spoken: frozenset[str] = SPOKEN, body: bytes | None = None) -> Intent:
    answer = ask(line, host, spoken=spoken, body=body)
    assert isinstance(answer, Intent)
    return answer


def outline(intent: Intent) -> list[tuple[str, str, EffectClass]]:
    """Return what a request does, each with its resource and effect."""
    return [(part.action, part.resource.id, part.effect) for part in (intent, *intent.also)]


@pytest.mark.parametrize(
    "path, action, effect, kind, where, facts",
    [
        ("/v2", "ping", "read", "registry", "", {}),
        ("/v2/", "ping", "read", "registry", "", {}),
        ("/v2/_catalog?n=100", "catalog", "list", "registry", "", {}),
        ("/v2/app/manifests/1.0", "pull.manifest", "read", "reference", "/app:1.0", {"tag": "1.0"}),
        ("/v2/a/b/c/manifests/v_1-X", "pull.manifest", "read", "reference", "/a/b/c:v_1-X", {"tag": "v_1-X"}),
        ("/v2/a/manifests/b/manifests/c", "pull.manifest", "read", "reference", "/a/manifests/b:c", {"tag": "c"}),
        ("/v2/a/blobs/uploads/manifests/c", "pull.manifest", "read", "reference", "/a/blobs/uploads:c", {"tag": "c"}),
        (f"/v2/app/manifests/{DIGEST}", "pull.manifest", "read", "reference", f"/app@{DIGEST}", {"digest": DIGEST}),
        (
            f"/v2/app/manifests/sha256%3A{HEX}",
            "pull.manifest",
            "read",
            "reference",
            f"/app@{DIGEST}",
            {"digest": DIGEST},
        ),
        (f"/v2/a/b/blobs/{DIGEST}", "pull.blob", "read", "reference", f"/a/b@{DIGEST}", {"digest": DIGEST}),
        (
            f"/v2/a/referrers/{DIGEST}?artifactType=a/b",
            "referrers",
            "list",
            "reference",
            f"/a@{DIGEST}",
            {"digest": DIGEST},
        ),
        ("/v2/a/b/tags/list?n=1&last=x", "tags", "list", "repository", "/a/b", {}),
        ("/v2/tags/tags/list", "tags", "list", "repository", "/tags", {}),
        (f"/v2/a/b/blobs/uploads/{UUID}?_state=x", "upload.status", "read", "repository", "/a/b", {"upload": UUID}),
        (
            "/v2/a/manifests/1?ns=docker.io",
            "pull.manifest",
            "read",
            "reference",
            "/a:1",
            {"namespace": "docker.io", "tag": "1"},
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads(method: str, path: str, action: str, effect: str, kind: str, where: str, facts: dict[str, str]) -> None:
    """Each route of the specification is read from its end, on a known host and where a rule speaks oci."""
    for host, spoken in ((HUB, NOBODY), (OWN, SPOKEN)):
        intent = read(f"{method} {path}", host, spoken=spoken)
        assert (intent.name, intent.effect.value, intent.exact) == (f"oci {action}", effect, True)
        assert (intent.resource.type, intent.resource.id) == (f"oci-{kind}", f"{host}{where}")
        assert (intent.facts, intent.also) == (facts, ())


@pytest.mark.parametrize(
    "line, action, effect, facts",
    [
        ("POST /v2/a/b/blobs/uploads/", "push.blob", "write", {"step": "start"}),
        ("POST /v2/a/b/blobs/uploads", "push.blob", "write", {"step": "start"}),
        (
            f"POST /v2/a/b/blobs/uploads/?digest={DIGEST}",
            "push.blob",
            "write",
            {"step": "monolithic", "digest": DIGEST},
        ),
        (f"PATCH /v2/a/b/blobs/uploads/{UUID}?_state=s", "push.blob", "write", {"step": "chunk", "upload": UUID}),
        (f"PATCH /v2/a/b/blobs/upload/{UUID}", "push.blob", "write", {"step": "chunk", "upload": UUID}),
        (
            f"PUT /v2/a/b/blobs/uploads/{UUID}?_state=s&digest=sha256%3A{HEX}",
            "push.blob",
            "write",
            {"step": "finish", "upload": UUID, "digest": DIGEST},
        ),
        (f"DELETE /v2/a/b/blobs/uploads/{UUID}", "upload.cancel", "delete", {"upload": UUID}),
    ],
)
def test_uploads_are_on_the_repository(line: str, action: str, effect: str, facts: dict[str, str]) -> None:
    """Each step of an upload has the repository for its resource, so that one rule line is for all."""
    intent = read(line, OWN)

    assert (intent.action, intent.effect.value, intent.exact) == (action, effect, True)
    assert (intent.resource.type, intent.resource.id) == ("oci-repository", f"{OWN}/a/b")
    assert (intent.facts, intent.also) == (facts, ())


def test_a_large_upload_is_not_read() -> None:
    """A blob's body says nothing: it is not asked for, whatever its length."""
    headers = (("content-type", "application/octet-stream"),)
    answer = ask(f"PATCH /v2/a/blobs/uploads/{UUID}", headers=headers, length=None)
    assert isinstance(answer, Intent)


def test_an_upload_id_that_may_be_a_key_is_hashed() -> None:
    """Google's upload ids are long and let their bearer in: the record has but a hash of them."""
    intent = read("PATCH /v2/a/blobs/uploads/AF2XiV-x_y==")

    assert intent.facts["upload"] == f"sha256:{hashlib.sha256(b'AF2XiV-x_y==').hexdigest()[:16]}"


def test_a_mount_pulls_from_its_source() -> None:
    """A blob mounted from another repository is read there, and must be allowed there."""
    intent = read(f"POST /v2/a/b/blobs/uploads/?from=secret%2Fapp&mount=sha256%3A{HEX}")

    assert outline(intent) == [
        ("mount", f"{HUB}/a/b", EffectClass.WRITE),
        ("pull.blob", f"{HUB}/secret/app@{DIGEST}", EffectClass.READ),
    ]
    assert intent.facts == {"digest": DIGEST, "from": "secret/app"}
    assert intent.also[0].facts == {"digest": DIGEST}


def test_a_mount_from_anywhere_is_of_unknown_effect() -> None:
    """Without `from` the registry looks through every repository: no wildcard of a rule meant that."""
    intent = read(f"POST /v2/a/b/blobs/uploads/?mount={DIGEST}")

    assert outline(intent) == [
        ("mount", f"{HUB}/a/b", EffectClass.WRITE),
        ("pull.blob", f"{HUB}/*", EffectClass.UNKNOWN),
    ]
    assert [part.exact for part in (intent, *intent.also)] == [True, False]


@pytest.mark.parametrize(
    "line, action, where",
    [
        (f"DELETE /v2/a/b/manifests/{DIGEST}", "delete.manifest", f"a/b@{DIGEST}"),
        ("DELETE /v2/a/b/manifests/1.0", "delete.tag", "a/b:1.0"),
        (f"DELETE /v2/a/b/blobs/{DIGEST}", "delete.blob", f"a/b@{DIGEST}"),
    ],
)
def test_deletes(line: str, action: str, where: str) -> None:
    """A manifest, a tag and a blob are deleted by what the path ends in."""
    assert outline(read(line)) == [(action, f"{HUB}/{where}", EffectClass.DELETE)]


PUSHES = [
    ("1.0", BODY, [("push.manifest", ":1.0", "publish")]),
    (SUM, BODY, [("push.manifest", f"@{SUM}", "write")]),
    (f"1.0?digest={SUM}", BODY, [("push.manifest", ":1.0", "publish")]),
    (f"{SUM}?tag=1&tag=2", BODY, [("push.manifest", ":1", "publish"), ("push.manifest", ":2", "publish")]),
    ("1?tag=2&tag=1", BODY, [("push.manifest", ":1", "publish"), ("push.manifest", ":2", "publish")]),
    ("1.0", ATTACHED, [("push.manifest", ":1.0", "publish"), ("push.referrer", f"@{OTHER}", "publish")]),
    (
        ATTACHED_SUM,
        ATTACHED,
        [("push.manifest", f"@{ATTACHED_SUM}", "write"), ("push.referrer", f"@{OTHER}", "publish")],
    ),
    (
        f"sha256-{HEX}.sig",
        BODY,
        [("push.manifest", f":sha256-{HEX}.sig", "publish"), ("push.referrer", f"@{DIGEST}", "publish")],
    ),
    (
        f"sha256-{HEX}",
        BODY,
        [("push.manifest", f":sha256-{HEX}", "publish"), ("push.referrer", f"@{DIGEST}", "publish")],
    ),
    (
        f"{ATTACHED_SUM}?tag=sha256-{HEX}.att",
        ATTACHED,
        [
            ("push.manifest", f":sha256-{HEX}.att", "publish"),
            ("push.referrer", f"@{OTHER}", "publish"),
            ("push.referrer", f"@{DIGEST}", "publish"),
        ],
    ),
    (f"sha256-{HEX[:60]}", BODY, [("push.manifest", f":sha256-{HEX[:60]}", "publish")]),
]


@pytest.mark.parametrize("end, body, expected", PUSHES)
def test_pushes_of_manifests(end: str, body: bytes, expected: list[tuple[str, str, str]]) -> None:
    """A push sets every tag it names, and is an attachment to whatever its subject or its tag names."""
    intent = read(f"PUT /v2/acme/app/manifests/{end}", body=body)

    assert [
        (action, where.removeprefix(f"{HUB}/acme/app"), effect.value) for action, where, effect in outline(intent)
    ] == expected
    assert {part.facts["digest"] for part in (intent, *intent.also)} == {f"sha256:{hashlib.sha256(body).hexdigest()}"}
    assert {part.resource.type for part in (intent, *intent.also)} == {"oci-reference"}
    for part in (intent, *intent.also):
        assert part.exact
        assert part.facts.get("tag", "") == (part.resource.id.partition(":")[2] if "@" not in part.resource.id else "")
    assert intent.facts["media_type"] == IMAGE


def test_a_manifest_is_read_before_anything_is_said() -> None:
    """The body of a manifest is asked for, to the limit that registries have."""
    answer = ask("PUT /v2/acme/app/manifests/1.0", length=None)

    assert isinstance(answer, BodyWanted)
    assert answer.limit == 4 * 1024 * 1024


def test_a_manifest_of_an_unknown_type_is_not_exact() -> None:
    """What an unknown type means is not known; that it is pushed is."""
    intent = read("PUT /v2/a/manifests/1", body=b'{"mediaType": "application/vnd.acme.thing+json"}')

    assert (intent.action, intent.effect, intent.exact) == ("push.manifest", EffectClass.PUBLISH, False)


@pytest.mark.parametrize(
    "line, host",
    [
        ("POST /v2/", HUB),
        ("DELETE /v2/_catalog", HUB),
        ("GET /v2/_oci/ext/discover", HUB),
        ("GET /v1/search", "index.docker.io"),
        ("GET /", HUB),
        ("GET /V2/a/tags/list", HUB),
        ("GET /V2/a/tags/list", OWN),
        ("GET /v2x", OWN),
        ("GET /v2/a/tags", OWN),
        ("GET /v2/a/manifests", OWN),
        ("GET /v2/a/manifests/", OWN),
        ("GET /v2/a/blobs/upload/", OWN),
        ("GET /v2/a/blobs/uploads/", OWN),
        ("GET /v2/manifests/1", OWN),
        ("GET /v2/tags/list", OWN),
        ("POST /v2/blobs/uploads/", OWN),
        ("POST /v2/a/tags/list", OWN),
        ("POST /v2/a/manifests/1", OWN),
        ("PATCH /v2/a/blobs/uploads/", OWN),
        ("POST /v2/a/blobs/uploads/x", OWN),
        (f"PUT /v2/a/blobs/{DIGEST}", OWN),
        (f"DELETE /v2/a/referrers/{DIGEST}", OWN),
        ("GET /api/v1/repository", "quay.io"),
        ("GET /acr/v1/_catalog", "acme.azurecr.io"),
        ("PUT /token", "ghcr.io"),
        ("GET /artifacts-uploads/x", GOOGLE),
        ("GET /artifacts-uploads/x", "ghcr.io"),
        ("PUT /artifacts-downloads/namespaces/p/repositories/r/downloads/x", GOOGLE),
    ],
)
def test_the_rest_is_unknown(line: str, host: str) -> None:
    """What is no route of the specification, by its method and path, has an unknown effect."""
    intent = read(line, host)

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)
    assert (intent.resource.type, intent.resource.id) == ("oci-registry", f"{host}{line.partition(' ')[2]}")


@pytest.mark.parametrize(
    "line, host, spoken",
    [
        ("GET /v2/", OWN, frozenset({"npm"})),
        ("GET /token", OWN, NOBODY),
        ("GET /login", OWN, SPOKEN),
        ("GET /artifacts-uploads/x", OWN, SPOKEN),
        ("GET /v2/", "gitlab.com", NOBODY),
        ("GET /jwt/auth", "gitlab.example", NOBODY),
        ("GET /v2/", "evil-docker.pkg.dev.example", NOBODY),
    ],
)
def test_other_requests_are_not_read(line: str, host: str, spoken: frozenset[str]) -> None:
    """Elsewhere only `/v2/` and token paths are read, and only where a rule speaks oci."""
    assert ask(line, host, spoken=spoken) is None


@pytest.mark.parametrize("host", ["gitlab.com", OWN])
def test_token_endpoints_are_credentials(host: str) -> None:
    """GitLab's is on a host that is no registry; a rule's host may have one too."""
    line = "GET /jwt/auth?service=container_registry&scope=repository:a/b:pull"
    intent = read(line, host, spoken=NOBODY if host == "gitlab.com" else SPOKEN)

    assert outline(intent) == [("token.mint", f"{host}/a/b", EffectClass.CREDENTIAL)]


@pytest.mark.parametrize(
    "line, action, effect, step",
    [
        ("PATCH /artifacts-uploads/namespaces/p/repositories/r/uploads/AF2-x=", "push.blob", "write", "chunk"),
        (
            f"PUT /artifacts-uploads/namespaces/p/repositories/r/uploads/AF2?digest={DIGEST}",
            "push.blob",
            "write",
            "finish",
        ),
        ("GET /artifacts-uploads/namespaces/p/repositories/r/uploads/AF2", "upload.status", "read", None),
        ("GET /artifacts-downloads/namespaces/p/repositories/r/downloads/AF2", "pull.blob", "read", None),
    ],
)
@pytest.mark.parametrize("host", [GOOGLE, "eu.gcr.io"])
def test_google_names_no_image(line: str, action: str, effect: str, step: str | None, host: str) -> None:
    """Artifact Registry's transfers are of a whole repository of its own: a rule for one image is not enough."""
    intent = read(line, host)

    assert (intent.action, intent.effect.value, intent.resource.id) == (action, effect, f"{host}/p/r/*")
    assert intent.facts.get("step") == step


def test_a_port_of_its_own_is_part_of_the_id() -> None:
    """A registry on another port is another registry."""
    answer = ask("GET /v2/a/tags/list", OWN, port=5000)
    assert isinstance(answer, Intent)
    assert answer.resource.id == f"{OWN}:5000/a"


FORM = (("content-type", "application/x-www-form-urlencoded"),)
MULTIPART = (("content-type", "Multipart/Form-Data; boundary=x"),)


@pytest.mark.parametrize(
    "line, headers",
    [
        ("GET /v2/A/tags/list", ()),
        ("GET /v2/a_/tags/list", ()),
        ("GET /v2/a..b/tags/list", ()),
        ("GET /v2/-a/tags/list", ()),
        ("GET /v2/a%2Fb/tags/list", ()),
        ("GET /v2/a//b/tags/list", ()),
        ("GET /v2/a*/tags/list", ()),
        ("GET /v2/a:b/tags/list", ()),
        (f"GET /v2/{'a' * 256}/tags/list", ()),
        ("GET /v2/a/manifests/-x", ()),
        (f"GET /v2/a/manifests/{'x' * 129}", ()),
        ("GET /v2/a/manifests/x%2Fy", ()),
        (f"GET /v2/a/manifests/md5:{'a' * 32}", ()),
        (f"GET /v2/a/manifests/sha256:{'AB' * 32}", ()),
        ("GET /v2/a/manifests/sha256:ab", ()),
        ("GET /v2/a/blobs/latest", ()),
        ("GET /v2/a/referrers/latest", ()),
        ("GET /v2/a/blobs/uploads/..%2f", ()),
        ("GET /v2/a/manifests/1?ns=docker.io&ns=ghcr.io", ()),
        ("GET /v2/a/manifests/1?NS=docker.io", ()),
        ("GET /v2/a/manifests/1?ns=a%20b", ()),
        (f"POST /v2/a/blobs/uploads/?mount={DIGEST}&mount={OTHER}&from=b", ()),
        (f"POST /v2/a/blobs/uploads/?mount={DIGEST}&from=b&from=c", ()),
        (f"POST /v2/a/blobs/uploads/?mount={DIGEST}&from=../b", ()),
        (f"POST /v2/a/blobs/uploads/?mount={DIGEST};from=b", ()),
        (f"POST /v2/a/blobs/uploads/?Mount={DIGEST}&from=b", ()),
        (f"POST /v2/a/blobs/uploads/?mount={DIGEST}&from=b&digest={DIGEST}", ()),
        ("POST /v2/a/blobs/uploads/?from=b", ()),
        ("POST /v2/a/blobs/uploads/?mount=latest&from=b", ()),
        (f"POST /v2/a/blobs/uploads/{UUID}?mount={DIGEST}&from=b", ()),
        (f"PUT /v2/a/blobs/uploads/{UUID}?mount={DIGEST}&from=b", ()),
        (f"PUT /v2/a/blobs/uploads/?mount={DIGEST}&from=b", ()),
        (f"PUT /v2/a/blobs/uploads/{UUID}", ()),
        (f"PUT /v2/a/blobs/uploads/{UUID}?digest={DIGEST}&digest={OTHER}", ()),
        (f"PUT /v2/a/blobs/uploads/{UUID}?digest=sha256:x", ()),
        ("POST /v2/a/blobs/uploads/", FORM),
        ("POST /v2/a/blobs/uploads/", MULTIPART),
        (f"PUT /v2/a/blobs/uploads/{UUID}?digest={DIGEST}", FORM),
        ("POST /v2/a/blobs/uploads/", (("content-type", "a/b"), *FORM)),
        ("POST /v2/a/blobs/uploads/", (("x-http-method-override", "DELETE"),)),
        ("GET /v2/a/manifests/1", (("x-http-method-override", "DELETE"),)),
        (f"PUT /v2/a/manifests/{OTHER}", ()),
        (f"PUT /v2/a/manifests/1?digest={OTHER}", ()),
        (f"PUT /v2/a/manifests/{SUM}?digest={OTHER}", ()),
        (f"PUT /v2/a/manifests/1?digest={SUM}&digest={SUM}", ()),
        ("PUT /v2/a/manifests/1?tag=a/b", ()),
        ("PUT /v2/a/manifests/1?Tag=b", ()),
        ("PUT /v2/a/manifests/1?a=b;tag=c", ()),
    ],
)
def test_hostile_requests_are_refused(line: str, headers: Headers) -> None:
    """What is not the specification's grammar, or what a registry could take out of another place, is denied."""
    with pytest.raises(IntentError):
        ask(line, headers=headers, length=len(BODY), body=BODY)


def test_an_empty_form_is_no_form() -> None:
    """Clients that send no body call it a form by habit: there is nothing in it to read."""
    answer = ask("POST /v2/a/blobs/uploads/", headers=FORM, length=0)
    assert isinstance(answer, Intent)
    assert answer.facts == {"step": "start"}
