"""What requests to gem servers mean."""

import gzip
import hashlib

import pytest

from proxy.intents import rubygems
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView
from proxy.model.reason import Reason
from tests.unit.intents.test_rubygems_package import DATA, GEM, METADATA, SPECIFICATION, tar

SPOKEN = frozenset({"gem"})
PUBLIC = "rubygems.org"
OWN = "gems.example"
DIGEST = hashlib.sha256(GEM).hexdigest()
RAW: Headers = (("content-type", "application/octet-stream"),)
URLENCODED: Headers = (("content-type", "application/x-www-form-urlencoded"),)
SPLIT: Headers = (("content-type", "multipart/form-data; boundary=b0undary"),)
JSON: Headers = (("content-type", "application/json"),)


def ask(
    line: str,
    host: str = PUBLIC,
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
    return rubygems.decode(view, spoken)


def read(line: str, host: str = PUBLIC, headers: Headers = (), body: bytes = b"") -> Intent:
    answer = ask(line, host, headers, body)
    assert isinstance(answer, Intent)
    return answer


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """What Ruby's `set_form` sends: name, file name, content."""
    out = b""
    for name, filename, content in parts:
        out += f'--b0undary\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if filename is not None:
            out += f'; filename="{filename}"\r\nContent-Type: application/octet-stream'.encode()
        out += b"\r\n\r\n" + content + b"\r\n"
    return out + b"--b0undary--\r\n"


@pytest.mark.parametrize(
    "path, name, facts",
    [
        ("/info/rails", "rails", {"what": "metadata"}),
        ("/api/v1/gems/rails.json", "rails", {"what": "metadata"}),
        ("/api/v1/gems/rails/reverse_dependencies.json", "rails", {"what": "metadata"}),
        ("/api/v1/versions/rails.json", "rails", {"what": "metadata"}),
        ("/api/v1/versions/rails/latest.json", "rails", {"what": "metadata"}),
        ("/api/v2/rubygems/rails/versions/7.0.1.json", "rails", {"what": "metadata", "version": "7.0.1"}),
        ("/api/v2/rubygems/rails/versions/7.0.1/contents.yaml", "rails", {"what": "metadata", "version": "7.0.1"}),
        ("/gems/rails-7.0.1.gem", "rails", {"what": "artifact", "version": "7.0.1"}),
        ("/downloads/rails-7.0.1.gem", "rails", {"what": "artifact", "version": "7.0.1"}),
        ("/gems/a-2.d_-1.0.gem", "a-2.d_", {"what": "artifact", "version": "1.0"}),
        ("/gems/a-2-1.0.gem", "a-2", {"what": "artifact", "version": "1.0"}),
        ("/gems/net-http2-0.1.gem", "net-http2", {"what": "artifact", "version": "0.1"}),
        (
            "/gems/nokogiri-1.16.0-x86_64-linux.gem",
            "nokogiri",
            {"what": "artifact", "version": "1.16.0", "platform": "x86_64-linux"},
        ),
        ("/gems/json-2.1.0-java.gem", "json", {"what": "artifact", "version": "2.1.0", "platform": "java"}),
        ("/quick/Marshal.4.8/rack-3.0.gemspec.rz", "rack", {"what": "metadata", "version": "3.0"}),
    ],
)
def test_installs(path: str, name: str, facts: dict[str, str]) -> None:
    """What bundler and gem read of one gem is an install of it."""
    for method in ("GET", "HEAD"):
        intent = read(f"{method} {path}")
        assert (intent.name, intent.effect, intent.exact) == ("gem install", EffectClass.READ, True)
        assert (intent.resource.type, intent.resource.id) == ("gem-package", f"{PUBLIC}/{name}")
        assert intent.facts == facts


@pytest.mark.parametrize(
    "path",
    ["versions", "names", "specs.4.8.gz", "latest_specs.4.8.gz", "prerelease_specs.4.8.gz", "Marshal.4.8.Z", "yaml",
     "api/v1/dependencies", "api/v1/dependencies.json?gems=", "api/v1/dependencies?x=1"],
)  # fmt: skip
def test_indexes_are_an_install_of_the_registry(path: str) -> None:
    """A list of all gems belongs to every install, and names none."""
    intent = read(f"GET /{path}", "index.rubygems.org")

    assert (intent.action, intent.effect, intent.exact) == ("install", EffectClass.READ, True)
    assert (intent.resource.type, intent.resource.id) == ("gem-registry", "index.rubygems.org")


def test_dependencies_are_a_read_of_each() -> None:
    """Several gems in one query are all named."""
    intent = read("GET /api/v1/dependencies?gems=rails,rack&gems=rack,rake")

    assert [each.resource.id for each in (intent, *intent.also)] == [f"{PUBLIC}/{n}" for n in ("rails", "rack", "rake")]


@pytest.mark.parametrize("file", ["a-b.gem", "a-b-c.gem", "a-1.0-arm64-darwin-22.gem", "a-3-b-1.0.gem"])
def test_a_file_that_can_be_cut_in_two_ways_is_a_read_of_any(file: str) -> None:
    """What does not tell the gem surely is inexact."""
    intent = read(f"GET /gems/{file}")

    assert (intent.action, intent.exact, intent.resource.id) == ("install", False, f"{PUBLIC}/*")
    assert intent.facts == {"what": "artifact", "file": file}


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /api/v1/gems", "search", EffectClass.LIST, ""),
        ("GET /api/v1/gems.json", "search", EffectClass.LIST, ""),
        ("GET /api/v1/search.json?query=x", "search", EffectClass.LIST, ""),
        ("GET /api/v1/downloads/rails-7.0.1.json", "search", EffectClass.LIST, ""),
        ("GET /api/v1/owners/somebody/gems.json", "search", EffectClass.LIST, ""),
        ("GET /api/v1/attestations/a-1.0.json", "audit", EffectClass.READ, ""),
        ("GET /api/v1/profiles/somebody.json", "profile.get", EffectClass.READ, ""),
        ("GET /api/v1/gems/rails/owners.json", "owner.list", EffectClass.LIST, "/rails"),
        ("DELETE /api/v1/gems/rails/owners", "owner.remove", EffectClass.ADMIN, "/rails"),
        ("DELETE /api/v1/gems/rails/owners.json?email=a", "owner.remove", EffectClass.ADMIN, "/rails"),
        ("PATCH /api/v1/gems/rails/owners", "owner.set", EffectClass.ADMIN, "/rails"),
        ("POST /api/v1/gems/rails/owners?email=a", "owner.add", EffectClass.ADMIN, "/rails"),
        ("POST /api/v1/gems/rails/trusted_publishers", "trust.create", EffectClass.ADMIN, "/rails"),
        ("DELETE /api/v1/gems/rails/trusted_publishers/7", "trust.revoke", EffectClass.ADMIN, "/rails"),
        ("GET /api/v1/gems/rails/trusted_publishers", "trust.list", EffectClass.LIST, "/rails"),
        ("GET /api/v1/web_hooks.json", "hook.list", EffectClass.LIST, ""),
        ("GET /api/v1/profile/me.json", "login", EffectClass.CREDENTIAL, ""),
        ("GET /api/v1/api_key", "token.create", EffectClass.CREDENTIAL, ""),
        ("POST /api/v1/api_key.json", "token.create", EffectClass.CREDENTIAL, ""),
        ("PUT /api/v1/api_key", "token.create", EffectClass.CREDENTIAL, ""),
        ("POST /api/v1/api_key/revoke", "token.revoke", EffectClass.CREDENTIAL, ""),
        ("POST /api/v1/webauthn_verification", "login", EffectClass.CREDENTIAL, ""),
        ("POST /api/v1/oidc/trusted_publisher/exchange_token", "token.exchange", EffectClass.CREDENTIAL, ""),
        ("POST /api/v1/oidc/api_key_roles/r/assume_role", "token.exchange", EffectClass.CREDENTIAL, ""),
        ("GET /api/v1/oidc/id_tokens/1", "token.list", EffectClass.CREDENTIAL, ""),
        ("GET /api/v1/oidc/providers", "trust.list", EffectClass.LIST, ""),
    ],
)
def test_the_rest_of_the_api(line: str, action: str, effect: EffectClass, where: str) -> None:
    """Owners, publishers, keys and searches each have their harm, on the gem that the path names."""
    intent = read(line)

    assert (intent.action, intent.effect, intent.exact) == (action, effect, True)
    assert intent.resource.id == PUBLIC + where


def test_a_token_exchange_takes_json() -> None:
    """JSON cannot change the method, and so is not read."""
    intent = ask("POST /api/v1/oidc/trusted_publisher/exchange_token", headers=JSON, body=None, length=900)

    assert isinstance(intent, Intent)
    assert intent.action == "token.exchange"


def test_a_form_is_read_for_its_method() -> None:
    """A form that a POST carries is asked for, and let pass when it changes nothing."""
    assert isinstance(ask("POST /api/v1/gems/rails/owners", headers=URLENCODED, body=None, length=9), BodyWanted)
    assert read("POST /api/v1/gems/rails/owners", headers=URLENCODED, body=b"email=a%40b.c").action == "owner.add"


@pytest.mark.parametrize(
    "line, body, action, effect, where, facts",
    [
        ("DELETE /api/v1/gems/yank", b"gem_name=a&version=1.0", "yank", EffectClass.DELETE, "/a", {"version": "1.0"}),
        ("DELETE /api/v1/gems/yank.json?gem_name=a&version=1", b"", "yank", EffectClass.DELETE, "/a", {"version": "1"}),
        (
            "DELETE /api/v1/gems/yank?version=1.0",
            b"rubygem_name=a&platform=x86_64-linux",
            "yank",
            EffectClass.DELETE,
            "/a",
            {"version": "1.0", "platform": "x86_64-linux"},
        ),
        (
            "PUT /api/v1/gems/unyank",
            b"gem_name=a&version=1.0&platform=",
            "unyank",
            EffectClass.PUBLISH,
            "/a",
            {"version": "1.0"},
        ),
        ("POST /api/v1/web_hooks", b"gem_name=a&url=x", "hook.set", EffectClass.ADMIN, "/a", {}),
        ("POST /api/v1/web_hooks", b"gem_name=*&url=x", "hook.set", EffectClass.ADMIN, "", {}),
        ("POST /api/v1/web_hooks/fire", b"url=x", "hook.set", EffectClass.ADMIN, "", {}),
        ("DELETE /api/v1/web_hooks/remove", b"gem_name=a", "hook.remove", EffectClass.ADMIN, "/a", {}),
    ],
)
def test_parameters_name_the_gem(
    line: str, body: bytes, action: str, effect: EffectClass, where: str, facts: dict[str, str]
) -> None:
    """A gem that is named in query or form is the resource."""
    intent = read(line, headers=URLENCODED if body else (), body=body)

    assert (intent.action, intent.effect, intent.resource.id) == (action, effect, PUBLIC + where)
    assert intent.facts == facts


def test_a_yank_asks_for_its_form() -> None:
    """Where the form has not been read it is wanted, whole."""
    wanted = ask("DELETE /api/v1/gems/yank", headers=URLENCODED, body=None, length=30)

    assert isinstance(wanted, BodyWanted)
    assert wanted.enough is None


def test_a_push_that_can_be_held_has_a_digest() -> None:
    """A gem is read out of the body, with the digest of all of it."""
    for host in (PUBLIC, OWN):
        intent = read("POST /api/v1/gems", host, RAW, GEM)
        assert (intent.name, intent.effect, intent.exact) == ("gem publish", EffectClass.PUBLISH, True)
        assert intent.resource.id == f"{host}/acme-lib"
        assert intent.facts == {"version": "1.2.3", "sha256": DIGEST}


def test_a_long_push_is_read_as_far_as_its_metadata() -> None:
    """RubyGems.org refuses a second metadata, so the first decides; a length that is not said is long."""
    for length in (None, rubygems.HELD_LIMIT + 1):
        wanted = ask("POST /api/v1/gems", headers=RAW, body=None, length=length)
        assert isinstance(wanted, BodyWanted)
        assert wanted.enough is not None
        assert not wanted.enough(GEM[:600])
        assert wanted.enough(GEM[: 512 + len(METADATA)])
        prefix = BodyPrefix(data=GEM[: 512 + len(METADATA)], is_whole=False)
        intent = ask("POST /api/v1/gems", headers=RAW, body=prefix, length=length)
        assert isinstance(intent, Intent)
        assert (intent.resource.id, intent.facts) == (f"{PUBLIC}/acme-lib", {"version": "1.2.3"})


def test_another_server_gets_no_gem_that_was_not_read() -> None:
    """Elsewhere the last metadata may win, so the whole gem is asked for."""
    wanted = ask("POST /api/v1/gems", OWN, RAW, None, length=None)

    assert isinstance(wanted, BodyWanted)
    assert wanted.enough is None
    with pytest.raises(IntentError, match="cannot be told") as caught:
        ask("POST /api/v1/gems", OWN, RAW, BodyPrefix(data=GEM, is_whole=False), length=None)
    assert caught.value.reason is Reason.BODY_TOO_LARGE


def test_a_push_with_attestations() -> None:
    """The gem may be a part of a form."""
    body = form(("gem", "pkg/acme-lib-1.2.3.gem", GEM), ("attestations", None, b"[{}]"))
    intent = read("POST /api/v1/gems", headers=SPLIT, body=body)

    assert (intent.resource.id, intent.facts) == (f"{PUBLIC}/acme-lib", {"version": "1.2.3", "sha256": DIGEST})


def test_a_platform_is_a_fact_and_in_the_name() -> None:
    """A gem for one platform says so, and its file's name must too."""
    body = tar(("metadata.gz", gzip.compress(SPECIFICATION.replace(": ruby\n", ": java\n").encode(), mtime=0)), DATA)
    intent = read("PUT /repo/gems/acme-lib-1.2.3-java.gem", OWN, RAW, body)

    assert (intent.action, intent.resource.id) == ("publish", f"{OWN}/repo/acme-lib")
    assert (intent.facts["version"], intent.facts["platform"]) == ("1.2.3", "java")
    with pytest.raises(IntentError, match="file's name"):
        ask("PUT /repo/gems/acme-lib-1.2.3.gem", OWN, RAW, body)


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /api/gems/local/info/acme", "install", EffectClass.READ, "api/gems/local/acme"),
        ("GET /api/gems/local/specs.4.8.gz", "install", EffectClass.READ, "api/gems/local"),
        ("GET /api/gems/local/gems/acme-1.0.gem", "install", EffectClass.READ, "api/gems/local/acme"),
        ("GET /p/quick/Marshal.4.8/acme-1.0.gemspec.rz", "install", EffectClass.READ, "p/acme"),
        ("GET /api/v4/projects/7/packages/rubygems/api/v1/gems/acme.json", "install", EffectClass.READ,
         "api/v4/projects/7/packages/rubygems/acme"),
        ("DELETE /p/api/v1/gems/yank?gem_name=acme&version=1", "yank", EffectClass.DELETE, "p/acme"),
        ("DELETE /p/gems/acme-1.0.gem", "yank", EffectClass.DELETE, "p/acme"),
        ("DELETE /p/acme-1.0.gem", "yank", EffectClass.DELETE, "p/acme"),
        ("DELETE /p/gems/acme-1-java-2.gem", "yank", EffectClass.DELETE, "p/*"),
        ("POST /p/gems/acme-1.0.gem", "unknown", EffectClass.UNKNOWN, "p"),
        ("POST /p/api/v1/gems/acme", "unknown", EffectClass.UNKNOWN, "p"),
    ],
)  # fmt: skip
def test_a_server_below_a_path(line: str, action: str, effect: EffectClass, where: str) -> None:
    """On a host whose rules speak gem, the path above is part of the resource."""
    intent = read(line, OWN)

    assert (intent.action, intent.effect, intent.resource.id) == (action, effect, f"{OWN}/{where}")


@pytest.mark.parametrize(
    "line", ["GET /", "GET /a/b", "POST /upload", "GET /api/v1/namespaces/x", "GET /api/v1", "DELETE /", "PUT /a"]
)
def test_elsewhere_only_a_gem_server_is_read(line: str) -> None:
    """What is not plainly a gem server's is left to other decoders."""
    assert ask(line, OWN) is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks gem no other host is a gem server."""
    assert ask("POST /api/v1/gems", "rubygems.org.example.com", spoken=frozenset({"npm"})) is None


@pytest.mark.parametrize(
    "line",
    ["GET /", "GET /gems/rails", "GET /en/info/rails", "GET /x/versions", "GET /x/gems/a-1.0.gem",
     "DELETE /gems/a-1.0.gem", "PUT /gems/a-1.0.gem", "POST /gems", "POST /api/v1/gems/yank", "DELETE /api/v1/gems/a",
     "POST /en/api/v1/gems", "GET /api/v2/rubygems/a/versions", "GET /api/v2/rubygems/a/owners/1",
     "GET /api/v2/rubygems/a/versions/1/x", "GET /api/v1", "POST /session", "OPTIONS /api/v1/gems/a"],
)  # fmt: skip
def test_the_rest_of_the_public_hosts_is_unknown(line: str) -> None:
    """What no table names has an unknown effect."""
    intent = read(line)

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)
    assert intent.resource.id == PUBLIC


@pytest.mark.parametrize(
    "line, headers, body",
    [
        ("POST /api/v1/gems", (), GEM),
        ("POST /api/v1/gems", URLENCODED, GEM),
        ("POST /api/v1/gems", JSON, GEM),
        ("POST /api/v1/gems?gem=x", RAW, GEM),
        ("POST /api/v1/gems", RAW, b""),
        ("POST /api/v1/gems", (*RAW, *SPLIT), GEM),
        ("POST /api/v1/gems", (("content-type", "multipart/mixed; boundary=b0undary"),), form(("gem", "a", GEM))),
        ("POST /api/v1/gems", SPLIT, form(("gem", "a", GEM), ("gem", "b", GEM))),
        ("POST /api/v1/gems", SPLIT, form(("gem", None, b"a"), ("attestations", None, b"[]"))),
        ("POST /api/v1/gems", SPLIT, form(("gem", "a", GEM), ("version", None, b"2"))),
        ("POST /api/v1/gems", SPLIT, form(("attestations", None, b"[]"))),
        ("POST /api/v1/gems", (*RAW, ("x-http-method-override", "DELETE")), GEM),
        ("POST /api/v1/gems?_method=delete", RAW, GEM),
        ("POST /api/v1/gems/a/owners", URLENCODED, b"_method=delete&email=b"),
        ("POST /api/v1/gems/a/owners", URLENCODED, b"email=b&%5Fmethod=delete"),
        ("POST /api/v1/gems/a/owners", SPLIT, form(("email", None, b"x"))),
        ("POST /api/v1/gems/a/owners", (), b"email=b"),
        ("DELETE /api/v1/gems/yank", JSON, b'{"gem_name": "a", "version": "1"}'),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=a&gem_name=b&version=1"),
        ("DELETE /api/v1/gems/yank?gem_name=b", URLENCODED, b"gem_name=a&version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=a&rubygem_name=b&version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name[]=a&version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=a;gem_name=b&version=1"),
        ("DELETE /api/v1/gems/yank?x=1;gem_name=b&gem_name=a&version=1", (), b""),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=a& gem_name=b&version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=\xc3\xa4&version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=a"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=*&version=1"),
        ("DELETE /api/v1/gems/yank", URLENCODED, b"gem_name=a&version=1&platform=*"),
        ("GET /api/v1/dependencies?gems=a,*", (), b""),
        ("GET /api/v1/gems/a%20b.json", (), b""),
        ("GET /info/a:b", (), b""),
        ("GET /gems/a*-1.0.gem", (), b""),
        ("GET //api/v1/gems", (), b""),
        ("GET /api/v2/rubygems/a/versions/x.json", (), b""),
    ],
)
def test_hostile_requests_are_refused(line: str, headers: Headers, body: bytes) -> None:
    """What Rack could read as another gem, method or upload is denied."""
    with pytest.raises(IntentError):
        ask(line, PUBLIC, headers, body)
