"""What npm's requests mean, by host, path and method. Documents in bodies are in test_npm_documents."""

import pytest

from proxy.intents import npm
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

NOBODY: frozenset[str] = frozenset()
SPOKEN = frozenset({"npm"})
HOST = "registry.npmjs.org"


def ask(
    line: str, host: str = HOST, spoken: frozenset[str] = NOBODY, headers: Headers = (), body: bytes | None = None
) -> Intent | BodyWanted | None:
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
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    return npm.decode(view, spoken)


def read(line: str, host: str = HOST, spoken: frozenset[str] = NOBODY, body: bytes | None = None) -> Intent:
    answer = ask(line, host, spoken, body=body)
    assert isinstance(answer, Intent)
    return answer


@pytest.mark.parametrize(
    "path, name, facts",
    [
        ("/lodash", "lodash", {}),
        ("/lodash/", "lodash", {}),
        ("/JSONStream", "JSONStream", {}),
        ("/lodash?write=true", "lodash", {}),
        ("/lodash/4.17.21", "lodash", {"version": "4.17.21"}),
        ("/lodash/latest", "lodash", {"version": "latest"}),
        ("/@acme%2fui", "@acme/ui", {}),
        ("/@acme%2Fui", "@acme/ui", {}),
        ("/@acme/ui", "@acme/ui", {}),
        ("/@acme/ui/1.0.0", "@acme/ui", {"version": "1.0.0"}),
        ("/lodash/-/lodash-4.17.21.tgz", "lodash", {"file": "lodash-4.17.21.tgz", "version": "4.17.21"}),
        ("/@acme/ui/-/ui-1.0.0-rc.1.tgz", "@acme/ui", {"file": "ui-1.0.0-rc.1.tgz", "version": "1.0.0-rc.1"}),
        ("/@acme%2fui/-/@acme/ui-1.0.0.tgz", "@acme/ui", {"file": "@acme/ui-1.0.0.tgz", "version": "1.0.0"}),
        ("/lodash/-/other-1.0.0.tgz", "lodash", {"file": "other-1.0.0.tgz"}),
        ("/lodash/-/lodash-1.0.0.zip", "lodash", {"file": "lodash-1.0.0.zip"}),
    ],
)  # fmt: skip
def test_installs_are_reads_of_one_package(path: str, name: str, facts: dict[str, str]) -> None:
    """Metadata and artifacts are reads of the package, however its scope is written, with the version if told."""
    for method in ("GET", "HEAD"):
        intent = read(f"{method} {path}")
        assert intent.name == "npm install"
        assert intent.effect is EffectClass.READ
        assert (intent.resource.type, intent.resource.id) == ("npm-package", f"{HOST}/{name}")
        assert intent.facts == {"what": "artifact" if "file" in facts else "metadata", **facts}
        assert intent.exact


@pytest.mark.parametrize(
    "line, action, effect, name",
    [
        ("DELETE /lodash/-rev/3-abc", "unpublish", EffectClass.DELETE, "lodash"),
        ("DELETE /@acme%2fui/-rev/3-abc", "unpublish", EffectClass.DELETE, "@acme/ui"),
        ("DELETE /@acme/ui", "unpublish", EffectClass.DELETE, "@acme/ui"),
        ("DELETE /-/package/@acme%2fui/dist-tags/beta", "tag.remove", EffectClass.DELETE, "@acme/ui"),
        ("GET /-/package/lodash/dist-tags", "tag.list", EffectClass.LIST, "lodash"),
        ("GET /-/package/@acme/ui/collaborators", "owner.list", EffectClass.LIST, "@acme/ui"),
        ("GET /-/package/@acme%2fui/visibility", "access.get", EffectClass.READ, "@acme/ui"),
        ("POST /-/package/@acme%2fui/access", "access.set", EffectClass.ADMIN, "@acme/ui"),
        ("POST /-/package/@acme%2fui/trust", "trust.create", EffectClass.ADMIN, "@acme/ui"),
        ("DELETE /-/package/ui/trust/17", "trust.revoke", EffectClass.ADMIN, "ui"),
        ("POST /-/npm/v1/oidc/token/exchange/package/@acme%2fui", "token.exchange", EffectClass.CREDENTIAL, "@acme/ui"),
    ],
)  # fmt: skip
def test_what_else_is_done_to_a_package(line: str, action: str, effect: EffectClass, name: str) -> None:
    """Every other request about one package has its own action and effect, and the same resource."""
    intent = read(line)

    assert (intent.action, intent.effect, intent.exact) == (action, effect, True)
    assert (intent.resource.type, intent.resource.id) == ("npm-package", f"{HOST}/{name}")


def test_one_version_is_unpublished() -> None:
    """The removal of a tarball names its version."""
    intent = read("DELETE /@acme%2fui/-/ui-1.2.3.tgz/-rev/5-def")

    assert intent.action == "unpublish"
    assert intent.facts == {"file": "ui-1.2.3.tgz", "version": "1.2.3"}


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /", "ping", EffectClass.READ, ""),
        ("POST /", "unknown", EffectClass.UNKNOWN, ""),
        ("GET /-/ping", "ping", EffectClass.READ, "/-/ping"),
        ("GET /-/v1/search?text=x", "search", EffectClass.LIST, "/-/v1/search"),
        ("POST /-/npm/v1/security/advisories/bulk", "audit", EffectClass.READ, "/-/npm/v1/security/advisories/bulk"),
        ("GET /-/npm/v1/attestations/a@4.17.21", "audit", EffectClass.READ, "/-/npm/v1/attestations/a@4.17.21"),
        ("GET /-/npm/v1/tokens", "token.list", EffectClass.CREDENTIAL, "/-/npm/v1/tokens"),
        ("POST /-/npm/v1/tokens", "token.create", EffectClass.CREDENTIAL, "/-/npm/v1/tokens"),
        ("DELETE /-/npm/v1/tokens/token/a1b2", "token.revoke", EffectClass.CREDENTIAL, "/-/npm/v1/tokens/token"),
        ("DELETE /-/user/token/npm_1234", "token.revoke", EffectClass.CREDENTIAL, "/-/user/token"),
        ("PUT /-/user/org.couchdb.user:bob", "login", EffectClass.CREDENTIAL, "/-/user/org.couchdb.user:bob"),
        ("POST /-/v1/login", "login", EffectClass.CREDENTIAL, "/-/v1/login"),
        ("POST /-/npm/v1/user", "profile.set", EffectClass.CREDENTIAL, "/-/npm/v1/user"),
        ("PUT /-/org/acme/user", "member.set", EffectClass.ADMIN, "/-/org/acme/user"),
        ("PUT /-/team/acme/devs/package", "team.grant", EffectClass.ADMIN, "/-/team/acme/devs/package"),
        ("DELETE /-/team/acme/devs", "team.delete", EffectClass.ADMIN, "/-/team/acme/devs"),
        ("POST /-/stage/17/approve", "stage.approve", EffectClass.PUBLISH, "/-/stage/17/approve"),
        ("DELETE /-/stage/17", "stage.reject", EffectClass.DELETE, "/-/stage/17"),
        ("POST /-/npm/v1/hooks/hook", "hook.set", EffectClass.ADMIN, "/-/npm/v1/hooks/hook"),
        ("POST /-/npm/v9/tokens", "unknown", EffectClass.UNKNOWN, "/-"),
        ("GET /-/NPM/v1/tokens", "unknown", EffectClass.UNKNOWN, "/-"),
        ("PATCH /-/npm/v1/tokens", "unknown", EffectClass.UNKNOWN, "/-"),
    ],
)  # fmt: skip
def test_the_registry_itself(line: str, action: str, effect: EffectClass, where: str) -> None:
    """What concerns no package, or one the path does not name, is of the registry; an unlisted route is unknown."""
    intent = read(line)

    assert (intent.action, intent.effect) == (action, effect)
    assert intent.exact is (action not in {"unknown", "team.grant", "stage.approve", "stage.reject"})
    assert (intent.resource.type, intent.resource.id) == ("npm-registry", f"{HOST}{where}")


def test_no_token_is_written_down() -> None:
    """`npm logout` puts the token into the path; neither the resource nor a fact shows it."""
    assert "npm_s3cret" not in repr(read("DELETE /-/user/token/npm_s3cret"))


@pytest.mark.parametrize(
    "line",
    [
        "PUT /lodash/4.17.21",
        "PUT /lodash/latest",
        "PUT /lodash/4.17.21/-tag/latest",
        "PUT /lodash/-/lodash-1.0.0.tgz",
        "PUT /lodash/-/lodash-1.0.0.tgz/anything",
        "PUT /lodash/x/y",
        "PUT /lodash/-rev",
        "POST /lodash",
        "PATCH /lodash",
        "GET /lodash/-/lodash-1.0.0.tgz/more",
    ],
)
def test_routes_no_client_uses_are_unknown(line: str) -> None:
    """What old registries took for a publish or a tag, and what none takes, has an unknown effect on the package."""
    intent = read(line)

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)
    assert intent.resource.id == f"{HOST}/lodash"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_tag_is_set_to_the_version_in_the_body(method: str) -> None:
    """The body is asked for, and the version it holds is a fact."""
    line = f"{method} /-/package/@acme%2fui/dist-tags/latest"

    assert isinstance(ask(line), BodyWanted)
    intent = read(line, body=b'"1.2.3"')
    assert (intent.action, intent.effect) == ("tag.set", EffectClass.PUBLISH)
    assert intent.facts == {"tag": "latest", "version": "1.2.3"}
    assert intent.resource.id == f"{HOST}/@acme/ui"


@pytest.mark.parametrize(
    "path, where",
    [
        ("/lodash", "/lodash"),
        ("/repository/npm/lodash", "/repository/npm/lodash"),
        ("/repository/npm/lodash/4.17.21", "/repository/npm/lodash"),
        ("/repository/npm/lodash/-/lodash-4.17.21.tgz", "/repository/npm/lodash"),
        ("/artifactory/api/npm/all/@acme%2fui", "/artifactory/api/npm/all/@acme/ui"),
        ("/artifactory/api/npm/all/@acme/ui/-/@acme/ui-1.0.0.tgz", "/artifactory/api/npm/all/@acme/ui"),
        ("/acme/My%20Team/_packaging/feed/npm/registry/lodash", "/acme/My%20Team/_packaging/feed/npm/registry/lodash"),
        ("/api/v4/groups/7/-/packages/npm/lodash", "/api/v4/groups/7/-/packages/npm/lodash"),
    ],
)
def test_a_registry_below_a_path(path: str, where: str) -> None:
    """On a host whose rules speak npm, the path above the package is part of the resource."""
    intent = read(f"GET {path}", "artifacts.example", SPOKEN)

    assert intent.name == "npm install"
    assert intent.resource.id == f"artifacts.example{where}"


@pytest.mark.parametrize(
    "line, action, where",
    [
        ("DELETE /npm/lodash/-rev/1", "unpublish", "/npm/lodash"),
        ("DELETE /npm/lodash", "unpublish", "/npm/lodash"),
        ("DELETE /npm/-/package/lodash/dist-tags/latest", "tag.remove", "/npm/lodash"),
        ("PUT /npm/lodash/1.0.0/-tag/latest", "unknown", "/npm/lodash"),
        ("PUT /npm/lodash/1.0.0", "unknown", "/npm/lodash"),
        ("POST /npm/@acme/ui", "unknown", "/npm/@acme/ui"),
        ("POST /npm/-/npm/v9", "unknown", "/npm/-"),
        ("POST /npm/-/nobody/knows", None, ""),
        ("POST /npm/lodash", None, ""),
        ("PUT /npm/lodash", None, ""),
        ("POST /npm/-/NPM/v1/tokens", "unknown", "/npm/-"),
        ("GET /npm/-", None, ""),
        ("GET /-/nobody", None, ""),
        ("GET /", None, ""),
        ("GET /api/v4/groups/7/-/packages/npm", None, ""),
        ("GET /a/(b)", None, ""),
    ],
)
def test_writes_below_a_path(line: str, action: str | None, where: str) -> None:
    """Where other things may live beside the registry, only npm's own shapes are npm's."""
    answer = ask(line, "artifacts.example", SPOKEN)

    if action is None:
        assert answer is None
    else:
        assert isinstance(answer, Intent)
        assert (answer.action, answer.resource.id) == (action, f"artifacts.example{where}")


@pytest.mark.parametrize("host", ["registry.npmjs.org", "registry.yarnpkg.com", "npm.pkg.github.com"])
def test_public_registries_need_no_rule(host: str) -> None:
    """The public registries are npm's whether or not a rule speaks it."""
    assert read("GET /lodash", host).resource.id == f"{host}/lodash"


def test_github_artifacts() -> None:
    """GitHub serves tarballs below /download."""
    intent = read("GET /download/@acme/ui/1.0.0/3f1c", "npm.pkg.github.com")

    assert intent.resource.id == "npm.pkg.github.com/@acme/ui"
    assert intent.facts["version"] == "1.0.0"


@pytest.mark.parametrize("host", ["example.com", "registry.npmjs.org.example.com", "npmjs.org"])
def test_other_hosts_are_not_read(host: str) -> None:
    """Without a rule that speaks npm no other host is npm's."""
    assert ask("GET /lodash", host, frozenset({"pypi"})) is None


def test_a_hostile_prefix_of_ours_is_refused() -> None:
    """A router that folds case would take `-REV` for npm's own word, so it is no part of a prefix."""
    with pytest.raises(IntentError):
        ask("DELETE /npm/lodash/-REV/1", "artifacts.example", SPOKEN)


@pytest.mark.parametrize(
    "line, headers",
    [
        ("GET /.hidden", ()),
        ("GET /_private", ()),
        ("GET /-lead", ()),
        ("GET /node_modules", ()),
        ("GET /favicon.ico", ()),
        ("GET /" + "a" * 215, ()),
        ("GET /@acme", ()),
        ("GET /@acme%2f.hidden", ()),
        ("GET /@acme%2fa%2fb", ()),
        ("GET /@acme/-/x.tgz", ()),
        ("GET /lod%61sh", ()),
        ("GET /lodash\n", ()),
        ("GET /l\u043edash", ()),
        ("GET /lodash/%E2%80%8B", ()),
        ("GET /lodash/-/%2e%2e", ()),
        ("DELETE /-/package/%7Ea%00/dist-tags/beta", ()),
        ("DELETE /-/package/lodash/dist-tags/%00", ()),
        ("GET /lodash", (("x-http-method-override", "DELETE"),)),
        ("GET /lodash", (("x-method-override", "PUT"),)),
        ("GET /lodash?_method=DELETE", ()),
        ("GET /lodash?a=1&%5Fmethod=DELETE&_method", ()),
    ],
)
def test_hostile_requests_are_refused(line: str, headers: Headers) -> None:
    """A name outside npm's grammar, or a second method, is denied rather than read."""
    with pytest.raises(IntentError):
        ask(line, headers=headers)


def test_a_hostile_prefix_is_refused() -> None:
    """A registry below a path with a star or a scope has no plain name."""
    with pytest.raises(IntentError):
        ask("GET /a*/@acme/ui", "artifacts.example", SPOKEN)
