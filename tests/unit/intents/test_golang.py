"""What requests to Go module proxies and checksum databases mean."""

import pytest

from proxy.intents import golang
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"go"})
PUBLIC = "proxy.golang.org"
SUMS = "sum.golang.org"
OWN = "goproxy.example"


def ask(line: str, host: str = PUBLIC, headers: Headers = (), spoken: frozenset[str] = SPOKEN) -> Intent | None:
    """Decode `METHOD /path`."""
    method, _, path = line.partition(" ")
    view = RequestView(
        method=method, scheme="https", authority=Authority(host, 443), path=path, query=None, headers=headers
    )
    return golang.decode(view, spoken)


def read(line: str, host: str = PUBLIC, spoken: frozenset[str] = SPOKEN) -> Intent:
    answer = ask(line, host, spoken=spoken)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "path, module, facts",
    [
        ("/golang.org/x/text/@v/list", "golang.org/x/text", {"what": "metadata"}),
        ("/golang.org/x/text/@latest", "golang.org/x/text", {"what": "metadata"}),
        ("/golang.org/x/text/@v/v0.3.2.info", "golang.org/x/text", {"what": "metadata", "version": "v0.3.2"}),
        ("/golang.org/x/text/@v/v0.3.2.mod", "golang.org/x/text", {"what": "metadata", "version": "v0.3.2"}),
        ("/golang.org/x/text/@v/v0.3.2.zip", "golang.org/x/text", {"what": "artifact", "version": "v0.3.2"}),
        ("/golang.org/x/text/@v/master.info", "golang.org/x/text", {"what": "metadata", "version": "master"}),
        (
            "/github.com/!azure/go/v2/@v/v2.0.0-!r!c1+incompatible.zip",
            "github.com/Azure/go/v2",
            {"what": "artifact", "version": "v2.0.0-RC1+incompatible"},
        ),
        (
            "/github.com/%21azure/go/@v/v1.0.0.zip",
            "github.com/Azure/go",
            {"what": "artifact", "version": "v1.0.0"},
        ),
        ("/cached-only/gopkg.in/yaml.v3/@v/list", "gopkg.in/yaml.v3", {"what": "metadata"}),
        ("/example.com/@v/list", "example.com", {"what": "metadata"}),
    ],
)
def test_installs(path: str, module: str, facts: dict[str, str]) -> None:
    """Every file of a module is a read of it, with its capitals as they are, and a version where one is named."""
    for method in ("GET", "HEAD"):
        intent = read(f"{method} {path}", spoken=frozenset())
        assert (intent.name, intent.effect, intent.exact) == ("go install", EffectClass.READ, True)
        assert (intent.resource.type, intent.resource.id) == ("go-package", f"{PUBLIC}/{module}")
        assert intent.facts == facts


@pytest.mark.parametrize(
    "host, path, kind, where, facts",
    [
        (SUMS, "/lookup/github.com/!azure/go@v1.0.0", "package", f"{SUMS}/github.com/Azure/go", {"version": "v1.0.0"}),
        (SUMS, "/latest", "registry", SUMS, {}),
        (SUMS, "/supported", "registry", SUMS, {}),
        (SUMS, "/tile/8/0/x001/234", "registry", SUMS, {}),
        (SUMS, "/tile/8/data/x001/x234/567.p/12", "registry", SUMS, {}),
        (PUBLIC, "/sumdb/sum.golang.org/supported", "registry", PUBLIC, {}),
        (PUBLIC, "/sumdb/sum.golang.org/lookup/a.b/c@v1", "package", f"{PUBLIC}/a.b/c", {"version": "v1"}),
        (OWN, "/go/sumdb/sum.golang.org/tile/8/1/000", "registry", f"{OWN}/go", {}),
    ],
)
def test_checksums_are_an_audit(host: str, path: str, kind: str, where: str, facts: dict[str, str]) -> None:
    """What a checksum database answers is read to check a module, directly or through a proxy."""
    intent = read(f"GET {path}", host)

    assert (intent.action, intent.effect, intent.exact) == ("audit", EffectClass.READ, True)
    assert (intent.resource.type, intent.resource.id, intent.facts) == (f"go-{kind}", where, facts)


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /artifactory/api/go/repo/golang.org/x/text/@v/list", "install", EffectClass.READ, "golang.org/x/text"),
        ("GET /artifactory/api/go/repo/golang.org/x/text/@latest", "install", EffectClass.READ, "golang.org/x/text"),
        ("PUT /artifactory/api/go/repo/acme.dev/lib/@v/v1.0.0.zip", "publish", EffectClass.PUBLISH, "acme.dev/lib"),
        ("POST /artifactory/api/go/repo/acme.dev/lib/@v/v1.0.0.zip", "publish", EffectClass.PUBLISH, "acme.dev/lib"),
        ("DELETE /artifactory/api/go/repo/acme.dev/lib/@v/v1.0.0.zip", "unpublish", EffectClass.DELETE, "acme.dev/lib"),
        ("PATCH /artifactory/api/go/repo/acme.dev/lib/@v/v1.0.0.zip", "unknown", EffectClass.UNKNOWN, "acme.dev/lib"),
        ("PUT /artifactory/api/go/repo/go/upload", "publish", EffectClass.PUBLISH, "*"),
    ],
)
def test_a_proxy_below_a_path(line: str, action: str, effect: EffectClass, where: str) -> None:
    """On a host whose rules speak go, the path above the module is part of the resource, and uploads are publishes."""
    intent = read(line, OWN)

    assert (intent.action, intent.effect) == (action, effect)
    assert intent.resource.id == f"{OWN}/artifactory/api/go/repo/{where}"
    assert intent.exact is (action != "unknown" and where != "*")
    if action in {"publish", "unpublish"} and where != "*":
        assert intent.facts == {"version": "v1.0.0"}


def test_a_version_in_the_path_above_is_no_domain() -> None:
    """A module begins with a domain, whose last label is no number."""
    assert read("GET /v1.0/golang.org/x/text/@v/list", OWN).resource.id == f"{OWN}/v1.0/golang.org/x/text"


@pytest.mark.parametrize(
    "line, host",
    [
        ("PUT /golang.org/x/text/@v/v0.3.2.zip", PUBLIC),
        ("DELETE /golang.org/x/text/@v/v0.3.2.zip", PUBLIC),
        ("GET /", PUBLIC),
        ("GET /golang.org/x/text", PUBLIC),
        ("PUT /go/upload", PUBLIC),
        ("GET /sumdb/sum.golang.org", PUBLIC),
        ("POST /latest", SUMS),
        ("GET /lookup", SUMS),
        ("GET /tile/8/0/../x", SUMS),
        ("GET /tile/8/0/x1/234", SUMS),
    ],
)
def test_the_rest_of_the_public_hosts_is_unknown(line: str, host: str) -> None:
    """A public host takes no writes; whatever else is asked of it has an unknown effect."""
    intent = read(line, host)

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)


@pytest.mark.parametrize("line", ["GET /", "GET /golang.org/x/text", "PUT /upload", "GET /a/sumdb", "GET /go/upload"])
def test_elsewhere_only_a_proxy_is_read(line: str) -> None:
    """What is not plainly Go's is left to other decoders."""
    assert ask(line, OWN) is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks go no other host is a proxy."""
    assert ask("GET /golang.org/x/text/@v/list", "proxy.golang.org.example.com", spoken=frozenset({"npm"})) is None


@pytest.mark.parametrize(
    "line, host, headers",
    [
        ("GET /github.com/Azure/go/@v/list", PUBLIC, ()),
        ("GET /github.com/!Azure/go/@v/list", PUBLIC, ()),
        ("GET /github.com/azure!/go/@v/list", PUBLIC, ()),
        ("GET /github.com/a!!zure/go/@v/list", PUBLIC, ()),
        ("GET /github.com/azure/go/@v/V1.0.0.zip", PUBLIC, ()),
        ("GET /github.com/azure/go/@v/v1.0.0.tar", PUBLIC, ()),
        ("GET /github.com/azure/go/@v/zip", PUBLIC, ()),
        ("GET /github.com/azure/go/@v/.zip", PUBLIC, ()),
        ("GET /github.com/azure/go/@v/v1%2F2.zip", PUBLIC, ()),
        ("GET /github.com/.git/go/@v/list", PUBLIC, ()),
        ("GET /github.com/git./go/@v/list", PUBLIC, ()),
        ("GET /github.com/%D0%B0zure/go/@v/list", PUBLIC, ()),
        ("GET /github.com/a%20b/@v/list", PUBLIC, ()),
        ("GET /github/azure/@v/list", PUBLIC, ()),
        ("GET /!github.com/azure/@v/list", PUBLIC, ()),
        ("GET /-github.com/azure/@v/list", PUBLIC, ()),
        ("GET /@v/list", PUBLIC, ()),
        ("GET /cached-only/@v/list", PUBLIC, ()),
        ("GET /x/cached-only/golang.org/x/text/@v/list", PUBLIC, ()),
        ("GET /go/acme/lib/@v/list", OWN, ()),
        ("GET /go*/golang.org/x/@v/list", OWN, ()),
        ("GET /lookup/github.com/azure/go", SUMS, ()),
        ("GET /lookup/@v1.0.0", SUMS, ()),
        ("GET /sumdb/evil/latest", PUBLIC, ()),
        ("GET /golang.org/x/text/@v/list", PUBLIC, (("x-http-method-override", "PUT"),)),
    ],
)
def test_hostile_requests_are_refused(line: str, host: str, headers: Headers) -> None:
    """A path that a case-folding file system or another escape could take for a second module is denied."""
    with pytest.raises(IntentError):
        ask(line, host, headers)
