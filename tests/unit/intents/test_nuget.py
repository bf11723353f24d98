"""What requests to NuGet feeds mean."""

import hashlib

import pytest

from proxy.intents import nuget
from proxy.intents.packages import UPLOAD_LIMIT
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView
from tests.unit.intents.test_nuget_package import PACKAGE, pack

SPOKEN = frozenset({"nuget"})
API = "api.nuget.org"
WWW = "www.nuget.org"
GITHUB = "nuget.pkg.github.com"
OWN = "feed.example"
DIGEST = hashlib.sha256(PACKAGE).hexdigest()
FORM: Headers = (("content-type", 'multipart/form-data; boundary="b0undary"'),)


def ask(
    line: str,
    host: str = WWW,
    headers: Headers = (),
    body: bytes | BodyPrefix | None = b"",
    spoken: frozenset[str] = SPOKEN,
    length: int | None = -1,
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path[?query]`. A body of None has not been read yet."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    prefix = BodyPrefix(data=body, is_whole=True) if isinstance(body, bytes) else body
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
        body_length=length if length != -1 else (0 if prefix is None else len(prefix.data)),
        body=prefix,
    )
    return nuget.decode(view, spoken)


def read(line: str, host: str = WWW, headers: Headers = (), body: bytes = b"") -> Intent:
    answer = ask(line, host, headers, body)
    assert isinstance(answer, Intent)
    return answer


def form(*files: bytes, line: bytes = b"form-data; name=package; filename=p.nupkg; filename*=utf-8''p.nupkg") -> bytes:
    """What .NET sends: each file under the same name."""
    head = b"--b0undary\r\nContent-Type: application/octet-stream\r\nContent-Disposition: " + line + b"\r\n\r\n"
    return b"".join(head + file + b"\r\n" for file in files) + b"--b0undary--\r\n"


META = {"what": "metadata"}
ARTIFACT = {"what": "artifact", "version": "13.0.1"}


@pytest.mark.parametrize(
    "host, path, name, facts",
    [
        (API, "/v3-flatcontainer/newtonsoft.json/index.json", "newtonsoft.json", META),
        (API, "/v3-flatcontainer/Newtonsoft.Json/index.json", "newtonsoft.json", META),
        (API, "/v3-flatcontainer/newtonsoft.json/13.0.1/newtonsoft.json.13.0.1.nupkg", "newtonsoft.json", ARTIFACT),
        (API, "/v3-flatcontainer/newtonsoft.json/13.0.1/newtonsoft.json.nuspec", "newtonsoft.json",
         {**META, "version": "13.0.1"}),
        (API, "/v3-flatcontainer/newtonsoft.json/13.0.1/readme", "newtonsoft.json", {**META, "version": "13.0.1"}),
        (API, "/v3/registration5-gz-semver2/newtonsoft.json/index.json", "newtonsoft.json", META),
        (API, "/v3/registration5-semver1/newtonsoft.json/13.0.1.json", "newtonsoft.json",
         {**META, "version": "13.0.1"}),
        (API, "/v3/registration5-semver1/newtonsoft.json/page/3.5.8/13.0.1.json", "newtonsoft.json", META),
        (API, "/packages/newtonsoft.json.13.0.1.nupkg", "newtonsoft.json", ARTIFACT),
        (WWW, "/api/v2/package/Newtonsoft.Json/13.0.1", "newtonsoft.json", ARTIFACT),
        (WWW, "/API/V2/Package/Newtonsoft.Json", "newtonsoft.json", {"what": "artifact"}),
        (WWW, "/api/v2/symbolpackage/newtonsoft.json/13.0.1", "newtonsoft.json", ARTIFACT),
        (WWW, "/api/v2/package-versions/newtonsoft.json", "newtonsoft.json", META),
        (WWW, "/api/v2/Packages(Id='Newtonsoft.Json',Version='13.0.1')", "newtonsoft.json",
         {**META, "version": "13.0.1"}),
        (WWW, "/api/v2/FindPackagesById()?Id=%27Newtonsoft.Json%27&semVerLevel=2.0.0", "newtonsoft.json", META),
        (WWW, "/api/v2/FindPackagesById()/$count?id='Newtonsoft.Json'", "newtonsoft.json", META),
    ],
)  # fmt: skip
def test_installs(host: str, path: str, name: str, facts: dict[str, str]) -> None:
    """Every way to a package's files and metadata is an install of its id in lower case."""
    for method in ("GET", "HEAD"):
        intent = read(f"{method} {path}", host)
        assert (intent.name, intent.effect, intent.exact) == ("nuget install", EffectClass.READ, True)
        assert (intent.resource.type, intent.resource.id) == ("nuget-package", f"{host}/{name}")
        assert intent.facts == facts


@pytest.mark.parametrize("file", ["a.1.2.3.4.nupkg", "a.nupkg", "a.1.0.nupkg", "a.b.snupkg"])
def test_a_file_that_can_be_cut_in_two_ways_is_a_read_of_any(file: str) -> None:
    """What does not tell the package surely is inexact."""
    intent = read(f"GET /packages/{file}", "globalcdn.nuget.org")

    assert (intent.action, intent.exact, intent.resource.id) == ("install", False, "globalcdn.nuget.org/*")
    assert intent.facts == {"what": "artifact", "file": file}


@pytest.mark.parametrize(
    "host, line, action, effect",
    [
        (API, "GET /v3/index.json", "ping", EffectClass.READ),
        (API, "GET /v3/vulnerabilities/index.json", "audit", EffectClass.READ),
        (API, "GET /v3-index/repository-signatures/5.0.0/index.json", "audit", EffectClass.READ),
        (API, "GET /v3/catalog0/page1.json", "search", EffectClass.LIST),
        ("azuresearch-usnc.nuget.org", "GET /query?q=x", "search", EffectClass.LIST),
        ("azuresearch-ussc.nuget.org", "GET /autocomplete?q=x", "search", EffectClass.LIST),
        (WWW, "GET /api/v2/", "ping", EffectClass.READ),
        (WWW, "GET /api/v2/Search()/$count?searchTerm='x'", "search", EffectClass.LIST),
        (WWW, "GET /api/v2/Packages?$filter=x", "search", EffectClass.LIST),
        (WWW, "POST /api/v2/token", "token.exchange", EffectClass.CREDENTIAL),
    ],
)
def test_what_names_no_package(host: str, line: str, action: str, effect: EffectClass) -> None:
    """Searches, the service index and tokens are the registry's."""
    intent = read(line, host)

    assert (intent.action, intent.effect, intent.exact) == (action, effect, True)
    assert (intent.resource.type, intent.resource.id) == ("nuget-registry", host)


@pytest.mark.parametrize(
    "line, action, effect, facts",
    [
        ("DELETE /api/v2/package/Acme.Lib/1.0", "yank", EffectClass.DELETE, {"version": "1.0.0"}),
        ("POST /api/v2/package/Acme.Lib/1.0", "unyank", EffectClass.PUBLISH, {"version": "1.0.0"}),
        ("PUT /api/v2/package/acme.lib/deprecations", "deprecate", EffectClass.WRITE, {}),
        ("POST /api/v2/package/create-verification-key/acme.lib", "token.create", EffectClass.CREDENTIAL, {}),
        (
            "POST /api/v2/package/create-verification-key/acme.lib/1.0.0",
            "token.create",
            EffectClass.CREDENTIAL,
            {"version": "1.0.0"},
        ),
        ("GET /api/v2/verifykey/acme.lib/1.0.0", "whoami", EffectClass.READ, {"version": "1.0.0"}),
        ("DELETE /api/v3/staging/package/acme.lib/1.0.0", "stage.reject", EffectClass.DELETE, {"version": "1.0.0"}),
    ],
)
def test_changes_of_a_package(line: str, action: str, effect: EffectClass, facts: dict[str, str]) -> None:
    """What is done to a version that is there has its own harm."""
    intent = read(line)

    assert (intent.action, intent.effect, intent.exact) == (action, effect, True)
    assert (intent.resource.id, intent.facts) == (f"{WWW}/acme.lib", facts)


@pytest.mark.parametrize(
    "line, host, action, where, what",
    [
        ("PUT /api/v2/package", WWW, "publish", f"{WWW}/acme.lib", "package"),
        ("PUT /api/v2/package/", WWW, "publish", f"{WWW}/acme.lib", "package"),
        ("PUT /Api/V2/Package", WWW, "publish", f"{WWW}/acme.lib", "package"),
        ("PUT /api/v2/symbolpackage", WWW, "publish", f"{WWW}/acme.lib", "symbols"),
        ("PUT /api/v3/staging/package", WWW, "stage.publish", f"{WWW}/acme.lib", "package"),
        ("PUT /api/v3/staging/symbols", WWW, "stage.publish", f"{WWW}/acme.lib", "symbols"),
        ("PUT /acme/", GITHUB, "publish", f"{GITHUB}/acme/acme.lib", "package"),
        ("PUT /p/7/packages/nuget", OWN, "publish", f"{OWN}/p/7/packages/nuget/acme.lib", "package"),
        ("PUT /p/7/packages/nuget/symbolpackage", OWN, "publish", f"{OWN}/p/7/packages/nuget/acme.lib", "symbols"),
        ("PUT /f/api/v2/package", OWN, "publish", f"{OWN}/f/acme.lib", "package"),
    ],
)
def test_a_push_is_read_out_of_the_package(line: str, host: str, action: str, where: str, what: str) -> None:
    """The manifest names what is published; the digest is of the package."""
    intent = read(line, host, FORM, form(PACKAGE))

    assert (intent.action, intent.effect, intent.exact) == (action, EffectClass.PUBLISH, True)
    assert intent.resource.id == where
    assert intent.facts == {"what": what, "version": "1.2.3-beta.1", "sha256": DIGEST}


def test_a_push_is_wanted_whole() -> None:
    """No prefix of a zip says what it is."""
    for length in (None, 2000):
        wanted = ask("PUT /api/v2/package", headers=FORM, body=None, length=length)
        assert isinstance(wanted, BodyWanted)
        assert (wanted.limit, wanted.enough) == (UPLOAD_LIMIT, None)


def test_a_push_that_cannot_be_held_is_of_any_package() -> None:
    """What is too long to be read is inexact, and nothing is asked for."""
    intent = ask("PUT /api/v2/package", headers=FORM, body=None, length=UPLOAD_LIMIT + 1)

    assert isinstance(intent, Intent)
    assert (intent.effect, intent.exact, intent.resource.id) == (EffectClass.PUBLISH, False, f"{WWW}/*")


@pytest.mark.parametrize(
    "line, host, action, where",
    [
        ("GET /nuget/v3/index.json", OWN, "ping", f"{OWN}/nuget"),
        ("GET /acme/index.json", GITHUB, "ping", f"{GITHUB}/acme"),
        ("GET /acme/download/acme.lib/index.json", GITHUB, "install", f"{GITHUB}/acme/acme.lib"),
        ("GET /acme/download/acme.lib/1.0.0/acme.lib.1.0.0.nupkg", GITHUB, "install", f"{GITHUB}/acme/acme.lib"),
        ("GET /o/_packaging/f/nuget/v3/flat2/acme.lib/1.0.0/acme.lib.1.0.0.nupkg", OWN, "install",
         f"{OWN}/o/_packaging/f/nuget/acme.lib"),
        ("GET /o/_packaging/f/nuget/v3/registrations2-semver2/acme.lib/index.json", OWN, "install",
         f"{OWN}/o/_packaging/f/nuget/acme.lib"),
        ("GET /p/nuget/metadata/acme.lib/index.json", OWN, "install", f"{OWN}/p/nuget/acme.lib"),
        ("GET /p/nuget/v2/FindPackagesById()?id='Acme.Lib'", OWN, "install", f"{OWN}/p/nuget/acme.lib"),
        ("GET /p/nuget/v2/Packages(Id='Acme.Lib',Version='1.0')", OWN, "install", f"{OWN}/p/nuget/acme.lib"),
        ("GET /p/v3/query?q=x", OWN, "search", f"{OWN}/p"),
        ("DELETE /acme/acme.lib/1.0.0", GITHUB, "unpublish", f"{GITHUB}/acme/acme.lib"),
        ("DELETE /f/api/v2/package/acme.lib/1.0.0", OWN, "unpublish", f"{OWN}/f/acme.lib"),
        ("POST /f/api/v2/package/acme.lib/1.0.0", OWN, "unyank", f"{OWN}/f/acme.lib"),
    ],
)  # fmt: skip
def test_a_feed_below_a_path(line: str, host: str, action: str, where: str) -> None:
    """Elsewhere the feed's path is part of the resource, the folders of its parts are not."""
    intent = read(line, host)

    assert (intent.action, intent.resource.id, intent.exact) == (action, where, True)


def test_an_index_of_a_feed_that_is_not_plain_is_inexact() -> None:
    """Whose index it is cannot be told where no usual folder says so."""
    intent = read("GET /a/b/c/index.json", OWN)

    assert (intent.action, intent.exact, intent.resource.id) == ("ping", False, f"{OWN}/a/b/c")


@pytest.mark.parametrize(
    "line",
    ["GET /", "GET /a", "GET /a/b.json", "GET /a/query", "PUT /a", "POST /a/b", "POST /a/b/1.0.0", "DELETE /a",
     "DELETE /a/b", "DELETE /a/b%20c/1.0.0", "PATCH /a/b/1.0.0", "GET /a/b/c/d/page/x.json"],
)  # fmt: skip
def test_elsewhere_only_a_feed_is_read(line: str) -> None:
    """What is not plainly a feed's is left to other decoders."""
    assert ask(line, OWN) is None


def test_a_relisting_elsewhere_has_no_body() -> None:
    """A POST that carries something is another thing."""
    assert ask("POST /f/package/a/1.0.0", OWN, FORM, b"x") is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks nuget no other host is a feed."""
    assert ask("PUT /api/v2/package", "www.nuget.org.example.com", FORM, spoken=frozenset({"npm"})) is None


@pytest.mark.parametrize(
    "line, host",
    [
        ("GET /", WWW),
        ("GET /packages/Newtonsoft.Json", WWW),
        ("POST /api/v2/$batch", WWW),
        ("POST /api/v2/package", WWW),
        ("PUT /api/v2/package/a/1.0.0", WWW),
        ("DELETE /api/v2/package/a", WWW),
        ("POST /v1/PackageFiles/not-a-key/nupkg", WWW),
        ("PUT /v3/index.json", API),
        ("GET /v3/stats0/totals.json", API),
        ("GET /x/Packages", WWW),
        ("GET /v3/x/index.json", API),
        ("POST /acme/acme.lib", GITHUB),
        ("GET /acme", GITHUB),
    ],
)
def test_the_rest_of_the_public_hosts_is_unknown(line: str, host: str) -> None:
    """What no table names has an unknown effect; a key in such a path is not repeated."""
    intent = read(line, host)

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)
    assert intent.resource.id == host


@pytest.mark.parametrize(
    "line, headers, body",
    [
        ("PUT /api/v2/package", (), PACKAGE),
        ("PUT /api/v2/package", (("content-type", "application/octet-stream"),), PACKAGE),
        ("PUT /api/v2/package", FORM, form(PACKAGE, pack({"b.nuspec": "x"}))),
        ("PUT /api/v2/package", FORM, form(PACKAGE, PACKAGE)),
        ("PUT /api/v2/package", FORM, form(PACKAGE, line=b"form-data; name=package")),
        ("PUT /api/v2/package", FORM, form(b"not a zip")),
        ("PUT /api/v2/package", FORM, form()),
        ("PUT /api/v2/package", (*FORM, ("x-http-method-override", "DELETE")), form(PACKAGE)),
        ("POST /api/v2/package/a/1.0.0?X-HTTP-Method-Override=DELETE", (), b""),
        ("POST /api/v2/package/a/1.0.0?x-http-method-override=DELETE", (), b""),
        ("POST /api/v2/package/a/1.0.0", (), b"X-HTTP-Method-Override=DELETE"),
        ("DELETE /api/v2/package/a%2A/1.0.0", (), b""),
        ("DELETE /api/v2/package/a/1.*", (), b""),
        ("DELETE //api/v2/package/a/1.0.0", (), b""),
        ("GET /api/v2/package/%C4%B0d", (), b""),
        ("GET /api/v2/FindPackagesById()?id='a'&Id='b'", (), b""),
        ("GET /api/v2/FindPackagesById()?id=a", (), b""),
        ("GET /api/v2/FindPackagesById()", (), b""),
        ("GET /api/v2/Packages(Id='a*',Version='1')", (), b""),
    ],
)
def test_hostile_requests_are_refused(line: str, headers: Headers, body: bytes) -> None:
    """What ASP.NET could read as another method, package or upload is denied."""
    with pytest.raises(IntentError):
        ask(line, WWW, headers, body)
