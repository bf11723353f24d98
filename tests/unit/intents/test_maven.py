"""What requests to Maven repositories mean."""

import pytest

from proxy.intents import maven
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"maven"})
CENTRAL = "repo.maven.apache.org"
PORTAL = "central.sonatype.com"
OWN = "nexus.example"
SLF4J = "/maven2/org/slf4j/slf4j-api"
ACME = "/repository/releases/com/acme/lib"


def ask(line: str, host: str = CENTRAL, headers: Headers = (), spoken: frozenset[str] = SPOKEN) -> Intent | None:
    """Decode `METHOD /path[?query]`."""
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
    return maven.decode(view, spoken)


def read(line: str, host: str = CENTRAL, spoken: frozenset[str] = SPOKEN) -> Intent:
    answer = ask(line, host, spoken=spoken)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "file, what, version",
    [
        ("2.0.9/slf4j-api-2.0.9.jar", "artifact", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9.pom", "metadata", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9.module", "metadata", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9-sources.jar", "artifact", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9-bin.tar.gz", "artifact", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9.jar.asc", "signature", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9.jar.sha1", "checksum", "2.0.9"),
        ("2.0.9/slf4j-api-2.0.9.jar.asc.sha512", "checksum", "2.0.9"),
        ("2.0-SNAPSHOT/slf4j-api-2.0-SNAPSHOT.jar", "artifact", "2.0-SNAPSHOT"),
        ("2.0-SNAPSHOT/slf4j-api-2.0-20260102.030405-6.jar", "artifact", "2.0-SNAPSHOT"),
        ("2.0-SNAPSHOT/slf4j-api-2.0-20260102.030405-6-tests.jar", "artifact", "2.0-SNAPSHOT"),
        ("2.0-SNAPSHOT/maven-metadata.xml", "metadata", "2.0-SNAPSHOT"),
        ("maven-metadata.xml", "metadata", None),
        ("maven-metadata.xml.sha256", "metadata", None),
    ],
)
@pytest.mark.parametrize(
    "method, host, base, action, effect",
    [
        ("GET", CENTRAL, SLF4J, "install", EffectClass.READ),
        ("HEAD", "repo1.maven.org", SLF4J, "install", EffectClass.READ),
        ("GET", "plugins.gradle.org", "/m2/org/slf4j/slf4j-api", "install", EffectClass.READ),
        ("PUT", "maven.pkg.github.com", "/acme/site.io/org/slf4j/slf4j-api", "publish", EffectClass.PUBLISH),
        ("PUT", PORTAL, "/repository/maven-snapshots/org/slf4j/slf4j-api", "publish", EffectClass.PUBLISH),
        ("PUT", OWN, "/repository/releases/org/slf4j/slf4j-api", "publish", EffectClass.PUBLISH),
        ("DELETE", OWN, "/org/slf4j/slf4j-api", "unpublish", EffectClass.DELETE),
    ],
)
def test_a_file_of_the_layout(
    file: str, what: str, version: str | None, method: str, host: str, base: str, action: str, effect: EffectClass
) -> None:
    """The method says what is done, the path to which artifact and version, and the file's name what it is."""
    intent = read(f"{method} {base}/{file}", host)

    assert (intent.protocol, intent.action, intent.effect, intent.exact) == ("maven", action, effect, True)
    assert (intent.resource.type, intent.resource.id) == ("maven-package", f"{host}{base}")
    facts = {"what": what, "file": file.rpartition("/")[2]}
    assert intent.facts == (facts if version is None else {**facts, "version": version})


def test_a_repository_below_an_unusual_path() -> None:
    """A space in the path above stays escaped in the id, as it is in other ecosystems' ids."""
    intent = read("GET /acme/My%20Team/_packaging/feed/maven/v1/com/acme/lib/1/lib-1.jar", OWN)

    assert intent.resource.id == f"{OWN}/acme/My%20Team/_packaging/feed/maven/v1/com/acme/lib"


def test_an_encoded_version() -> None:
    """Build metadata may be percent-encoded."""
    intent = read("GET /maven2/a/b/1.0%2B1/b-1.0%2B1.jar")

    assert intent.facts["version"] == "1.0+1"


@pytest.mark.parametrize(
    "line, host, action",
    [
        ("GET /maven2/", CENTRAL, "search"),
        ("GET /maven2/archetype-catalog.xml", CENTRAL, "search"),
        ("GET /maven2/org/slf4j/", CENTRAL, "search"),
        ("GET /maven2/org/slf4j/slf4j-api/2.0.9/other-2.0.9.jar", CENTRAL, "search"),
        ("PUT /maven2/org/slf4j/slf4j-api/2.0.9/other-2.0.9.jar", CENTRAL, "unknown"),
        ("DELETE /maven2/org/slf4j", CENTRAL, "unknown"),
        ("POST /maven2/a/b/1/b-1.jar", CENTRAL, "unknown"),
        ("GET /", CENTRAL, "unknown"),
        ("GET /other/org/slf4j/slf4j-api/2.0.9/slf4j-api-2.0.9.jar", CENTRAL, "unknown"),
        ("POST /api/v1/publisher/upload", CENTRAL, "unknown"),
        ("POST /api/v1/anything", PORTAL, "unknown"),
        ("POST /api/v1/publish/versions/new", "plugins.gradle.org", "unknown"),
        ("GET /acme", "maven.pkg.github.com", "unknown"),
    ],
)
def test_the_rest_of_the_public_hosts(line: str, host: str, action: str) -> None:
    """A read besides the layout lists; any other request has an unknown effect."""
    intent = read(line, host)

    effect = EffectClass.LIST if action == "search" else EffectClass.UNKNOWN
    assert (intent.action, intent.effect, intent.exact) == (action, effect, False)


NAMED = {"name": "a"}


@pytest.mark.parametrize(
    "line, action, effect, where, facts",
    [
        ("POST /api/v1/publisher/upload", "stage.publish", EffectClass.PUBLISH, "/*", {}),
        ("POST /api/v1/publisher/upload?publishingType=USER_MANAGED", "stage.publish", EffectClass.PUBLISH, "/*", {}),
        ("POST /api/v1/publisher/upload?publishingType=AUTOMATIC&name=a", "publish", EffectClass.PUBLISH, "/*", NAMED),
        ("POST /api/v1/publisher/deployment/d1", "stage.approve", EffectClass.PUBLISH, "/*", {"deployment": "d1"}),
        ("DELETE /api/v1/publisher/deployment/d1", "stage.reject", EffectClass.DELETE, "/*", {"deployment": "d1"}),
        ("POST /api/v1/publisher/status?id=d1", "stage.get", EffectClass.READ, "", {}),
        ("GET /api/v1/publisher/published?namespace=a&name=b&version=1", "stage.get", EffectClass.READ, "", {}),
    ],
)  # fmt: skip
def test_the_portal(line: str, action: str, effect: EffectClass, where: str, facts: dict[str, str]) -> None:
    """Central takes bundles: whose artifacts they hold is not seen, so they are publishes of any."""
    intent = read(line, PORTAL)

    assert (intent.action, intent.effect, intent.facts) == (action, effect, facts)
    assert intent.resource.id == f"{PORTAL}{where}"
    assert intent.exact is (where == "")


@pytest.mark.parametrize(
    "line",
    [
        "GET /",
        "GET /repository/releases/",
        "PUT /repository/releases/readme.txt",
        "PUT /repository/raw/a/b/c.txt",
        "POST /repository/releases/com/acme/lib/1/lib-1.jar",
        "PUT /a/1/a-1.jar",
        "PUT /com/acme/lib/1.0/lib-2.0.jar",
        "PUT /com/acme/lib/1.0/lib-1.0",
        "PUT /com/acme/lib/1.0/lib-1.0jar",
        "PUT /com/acme/lib/1.0-SNAPSHOT/lib-2.0-20260102.030405-6.jar",
        "PUT /com/acme/lib/1.0-SNAPSHOT/lib-1.0-latest.jar",
        "DELETE /com/acme/lib/1.0",
        "GET /a/maven-metadata.xml",
    ],
)
def test_elsewhere_only_the_layout_is_read(line: str) -> None:
    """What is not plainly Maven's is left to other decoders."""
    assert ask(line, OWN) is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks maven no other host is a repository."""
    assert ask(f"GET {ACME}/1/lib-1.jar", OWN, spoken=frozenset({"npm"})) is None


@pytest.mark.parametrize(
    "line, host, headers",
    [
        ("GET /maven2/org.slf4j/slf4j-api/2.0.9/slf4j-api-2.0.9.jar", CENTRAL, ()),
        ("GET /maven2/org/%D1%95lf4j/slf4j-api/2.0.9/slf4j-api-2.0.9.jar", CENTRAL, ()),
        ("GET /maven2/org/a%20b/c/1/c-1.jar", CENTRAL, ()),
        ("GET /maven2/org/a/c/%D0%B0/c-%D0%B0.jar", CENTRAL, ()),
        ("GET /maven2/org/a/c/1%2F2/c-1%2F2.jar", CENTRAL, ()),
        ("GET /maven2/org/a/c%20/1/c%20-1.jar", CENTRAL, ()),
        ("GET /maven2/org/a/..%2Fc/1/..%2Fc-1.jar", CENTRAL, ()),
        ("GET /maven2/org/a/c/%FF/c-1.jar", CENTRAL, ()),
        ("PUT /repo/*/acme/lib/1/lib-1.jar", OWN, ()),
        ("PUT /repo/com/.acme/lib/1/lib-1.jar", OWN, ()),
        ("PUT /repo/com/acme/lib;a=b/1/lib;a=b-1.jar", OWN, ()),
        (f"PUT {ACME}/1/lib-1.zip", OWN, (("x-explode-archive", "true"),)),
        (f"PUT {ACME}/1/lib-1.zip", OWN, (("x-explode-archive-atomic", "true"),)),
        (f"GET {ACME}/1/lib-1.jar", OWN, (("x-http-method-override", "DELETE"),)),
        ("POST /api/v1/publisher/upload?publishingType=automatic", PORTAL, ()),
        ("POST /api/v1/publisher/upload?publishingType=USER_MANAGED&publishingType=AUTOMATIC", PORTAL, ()),
        ("POST /api/v1/publisher/deployment/a%2Fb", PORTAL, ()),
    ],
)
def test_hostile_requests_are_refused(line: str, host: str, headers: Headers) -> None:
    """A path with a second spelling, or an upload that does more than it says, is denied."""
    with pytest.raises(IntentError):
        ask(line, host, headers)
