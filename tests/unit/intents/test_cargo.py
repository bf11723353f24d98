"""What requests to Cargo registries mean."""

import gzip
import hashlib
import json

import pytest

from proxy.intents import cargo
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView
from proxy.model.reason import Reason

SPOKEN = frozenset({"cargo"})
OWN = "crates.example"
CRATE = b"\x1f\x8bnot really a crate"
JSON: Headers = (("content-type", "application/json"),)


def ask(
    line: str,
    host: str = "crates.io",
    body: bytes | None = None,
    headers: Headers = (),
    length: int | None = 1,
    spoken: frozenset[str] = SPOKEN,
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path[?query]`; a body is given whole."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
        body_length=length,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    return cargo.decode(view, spoken)


def read(line: str, host: str = "crates.io", body: bytes | None = None, headers: Headers = ()) -> Intent:
    answer = ask(line, host, body, headers)
    assert isinstance(answer, Intent)
    return answer


def publish(metadata: object, crate: bytes = CRATE, length: int | None = None) -> bytes:
    """What `cargo publish` sends."""
    raw = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    says = len(crate) if length is None else length
    return len(raw).to_bytes(4, "little") + raw + says.to_bytes(4, "little") + crate


METADATA = {"name": "Acme_Lib", "vers": "1.2.3", "deps": [], "readme": "x"}


@pytest.mark.parametrize(
    "line, host, where, facts",
    [
        ("/se/rd/serde", "index.crates.io", "serde", {}),
        ("/my/_c/my_crate", "index.crates.io", "my-crate", {}),
        ("/3/s/syn", "index.crates.io", "syn", {}),
        ("/2/cc", "index.crates.io", "cc", {}),
        ("/1/a", "index.crates.io", "a", {}),
        ("/crates/my_crate/my_crate-1.0.0.crate", "static.crates.io", "my-crate", {"version": "1.0.0"}),
        ("/crates/a-1/1.0.0-rc.1%2Bb/download", "static.crates.io", "a-1", {"version": "1.0.0-rc.1+b"}),
        ("/api/v1/crates/Serde/1.0.0/download", "crates.io", "serde", {"version": "1.0.0"}),
        ("/api/v1/crates/serde", "crates.io", "serde", {}),
        ("/api/v1/crates/serde/1.0.0", "crates.io", "serde", {"version": "1.0.0"}),
        ("/api/v1/crates/serde/versions", "crates.io", "serde", {}),
    ],
)  # fmt: skip
def test_installs(line: str, host: str, where: str, facts: dict[str, str]) -> None:
    """Index entries, crates and their metadata are reads of the crate by its one spelling."""
    for method in ("GET", "HEAD"):
        answer = ask(f"{method} {line}", host, spoken=frozenset())
        assert isinstance(answer, Intent)
        assert (answer.name, answer.effect, answer.exact) == ("cargo install", EffectClass.READ, True)
        assert (answer.resource.type, answer.resource.id) == ("cargo-package", f"{host}/{where}")
        is_file = line.endswith((".crate", "/download"))
        assert answer.facts == {"what": "artifact" if is_file else "metadata", **facts}


@pytest.mark.parametrize(
    "line, action, effect, facts",
    [
        ("DELETE /api/v1/crates/acme/1.0.0/yank", "yank", EffectClass.DELETE, {"version": "1.0.0"}),
        ("PUT /api/v1/crates/acme/1.0.0/unyank", "unyank", EffectClass.PUBLISH, {"version": "1.0.0"}),
        ("GET /api/v1/crates/acme/owners", "owner.list", EffectClass.LIST, {}),
        ("PUT /api/v1/crates/acme/owners", "owner.add", EffectClass.ADMIN, {}),
        ("DELETE /api/v1/crates/acme/owners", "owner.remove", EffectClass.ADMIN, {}),
        ("DELETE /api/v1/crates/acme", "unpublish", EffectClass.DELETE, {}),
        ("PATCH /api/v1/crates/acme", "access.set", EffectClass.ADMIN, {}),
        ("PUT /api/v1/crates/acme/follow", "star", EffectClass.WRITE, {}),
    ],
)
def test_what_else_is_done_to_a_crate(line: str, action: str, effect: EffectClass, facts: dict[str, str]) -> None:
    """Yanks, owners and deletions are actions on the crate that the path names."""
    intent = read(line)

    assert (intent.action, intent.effect, intent.facts, intent.exact) == (action, effect, facts, True)
    assert intent.resource.id == "crates.io/acme"


@pytest.mark.parametrize("yanked, action", [(True, "yank"), (False, "unyank")])
def test_a_version_is_changed_by_its_body(yanked: bool, action: str) -> None:  # noqa: FBT001 - a row of the table
    """crates.io's PATCH yanks or un-yanks, and only the body says which."""
    line = "PATCH /api/v1/crates/acme/1.0.0"
    assert isinstance(ask(line, headers=JSON), BodyWanted)
    body = json.dumps({"version": {"yanked": yanked, "yank_message": "why"}}).encode()
    intent = read(line, body=body, headers=JSON)

    assert (intent.action, intent.resource.id, intent.facts) == (action, "crates.io/acme", {"version": "1.0.0"})


@pytest.mark.parametrize(
    "body, headers",
    [
        (b"{}", JSON),
        (b'{"version":[]}', JSON),
        (b'{"version":{}}', JSON),
        (b'{"version":{"yanked":"true"}}', JSON),
        (b'{"version":{"yanked":1}}', JSON),
        (b'{"version":{"yanked":true,"yanked":false}}', JSON),
        (b'{"version":{"yanked":true},"Version":{"yanked":false}}', JSON),
        (b'{"version":{"yanked":true,"YANKED":false}}', JSON),
        (b'{"version":{"yanked":true}}', ()),
        (b'{"version":{"yanked":true}}', (("content-type", "text/plain"),)),
        (b"true", JSON),
    ],
)
def test_a_change_that_says_nothing_sure_is_refused(body: bytes, headers: Headers) -> None:
    """A change of a version is a yank or an un-yank, or denied."""
    with pytest.raises(IntentError):
        ask("PATCH /api/v1/crates/acme/1.0.0", body=body, headers=headers)


@pytest.mark.parametrize(
    "line, host, action, effect",
    [
        ("GET /api/v1/crates?q=x", "crates.io", "search", EffectClass.LIST),
        ("GET /config.json", "index.crates.io", "ping", EffectClass.READ),
        ("GET /api/v1/me", "crates.io", "whoami", EffectClass.READ),
        ("GET /api/v1/me/tokens", "crates.io", "token.list", EffectClass.CREDENTIAL),
        ("PUT /api/v1/me/tokens", "crates.io", "token.create", EffectClass.CREDENTIAL),
        ("DELETE /api/v1/me/tokens/3", "crates.io", "token.revoke", EffectClass.CREDENTIAL),
        ("DELETE /api/v1/tokens/current", "crates.io", "token.revoke", EffectClass.CREDENTIAL),
        ("POST /api/v1/trusted_publishing/tokens", "crates.io", "token.exchange", EffectClass.CREDENTIAL),
        ("DELETE /api/v1/trusted_publishing/tokens", "crates.io", "token.revoke", EffectClass.CREDENTIAL),
        ("POST /api/v1/trusted_publishing/github_configs", "crates.io", "trust.create", EffectClass.ADMIN),
        ("PUT /api/v1/me/crate_owner_invitations/accept/t0ken", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("PUT /api/v1/crates/acme", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("PUT /api/v1/crates/NEW", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("POST /api/v1/crates/new", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("GET /api/private/session/begin", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("GET /x/api/v1/crates", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("GET /se/xx/serde", "index.crates.io", "unknown", EffectClass.UNKNOWN),
        ("PUT /se/rd/serde", "index.crates.io", "unknown", EffectClass.UNKNOWN),
        ("GET /SE/RD/SERDE", "index.crates.io", "unknown", EffectClass.UNKNOWN),
        ("GET /", "crates.io", "unknown", EffectClass.UNKNOWN),
        ("GET /crates/serde", "crates.io", "unknown", EffectClass.UNKNOWN),
    ],
)
def test_the_registry_itself(line: str, host: str, action: str, effect: EffectClass) -> None:
    """What concerns no crate is of the registry; what is in no table has an unknown effect, and shows no secret."""
    intent = read(line, host)

    assert (intent.action, intent.effect) == (action, effect)
    assert intent.exact is (action not in {"unknown", "trust.create"})
    assert (intent.resource.type, intent.resource.id) == ("cargo-registry", host)


@pytest.mark.parametrize(
    "line, where",
    [
        ("GET /api/packages/acme/cargo/se/rd/serde", "/api/packages/acme/cargo/serde"),
        ("GET /cargo/api/v1/crates/se/rd/serde", "/cargo/api/v1/crates/serde"),
        ("GET /cargo/api/v1/crates/serde/1.0.0/download", "/cargo/serde"),
        ("GET /cargo/v1/crates/serde/1.0.0/download", "/cargo/v1/serde"),
        ("GET /dl/serde-1.0.0.crate", "/dl/serde"),
        ("DELETE /cargo/api/v1/crates/serde/1.0.0/yank", "/cargo/serde"),
        ("GET /api/v1/crates/serde", "/serde"),
    ],
)
def test_a_registry_below_a_path(line: str, where: str) -> None:
    """On a host whose rules speak cargo, the path above the registry is part of the resource."""
    assert read(line, OWN).resource.id == f"{OWN}{where}"


@pytest.mark.parametrize("line", ["GET /", "GET /a/b/c", "POST /anything", "PUT /se/rd/serde", "GET /api/v2/crates"])
def test_elsewhere_only_a_registry_is_read(line: str) -> None:
    """What is not plainly Cargo's is left to other decoders."""
    assert ask(line, OWN) is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks cargo no other host is a registry."""
    assert ask("GET /api/v1/crates", "crates.io.example.com", spoken=frozenset({"npm"})) is None


@pytest.mark.parametrize("host, path, where", [("crates.io", "", "crates.io"), (OWN, "/cargo", f"{OWN}/cargo")])
def test_a_publish(host: str, path: str, where: str) -> None:
    """The whole of a short publish is read: crate, version and the digest that the index will show."""
    line = f"PUT {path}/api/v1/crates/new"
    wanted = ask(line, host)
    assert isinstance(wanted, BodyWanted)
    assert (wanted.limit, wanted.enough) == (32 * 1024 * 1024, None)
    intent = read(line, host, publish(METADATA))

    assert (intent.name, intent.effect, intent.exact) == ("cargo publish", EffectClass.PUBLISH, True)
    assert (intent.resource.type, intent.resource.id) == ("cargo-package", f"{where}/acme-lib")
    assert intent.facts == {"version": "1.2.3", "sha256": hashlib.sha256(CRATE).hexdigest()}


def test_a_compressed_publish() -> None:
    """A content coding is undone before the body is read."""
    intent = read(
        "PUT /api/v1/crates/new", body=gzip.compress(publish(METADATA)), headers=(("content-encoding", "gzip"),)
    )

    assert intent.resource.id == "crates.io/acme-lib"


@pytest.mark.parametrize("length", [None, 32 * 1024 * 1024 + 1])
def test_a_long_publish_is_read_to_its_metadata(length: int | None) -> None:
    """Of a publish that is not known to be short only the metadata is held; its digest is no fact."""
    wanted = ask("PUT /api/v1/crates/new", length=length)
    assert isinstance(wanted, BodyWanted)
    assert wanted.limit == 1024 * 1024 + 8
    assert wanted.enough is not None
    body = publish(METADATA)
    needed = len(body) - len(CRATE)
    assert [size for size in range(len(body)) if wanted.enough(body[:size])] == list(range(needed, len(body)))
    view_body = BodyPrefix(data=body[:needed], is_whole=False)
    view = RequestView(
        method="PUT",
        scheme="https",
        authority=Authority("crates.io", 443),
        path="/api/v1/crates/new",
        query=None,
        headers=(),
        body_length=length,
        body=view_body,
    )
    intent = cargo.decode(view, frozenset())
    assert isinstance(intent, Intent)
    assert intent.facts == {"version": "1.2.3"}
    short = BodyPrefix(data=body[: needed - 1], is_whole=False)
    with pytest.raises(IntentError) as caught:
        cargo.decode(
            RequestView(
                method="PUT",
                scheme="https",
                authority=Authority("crates.io", 443),
                path="/api/v1/crates/new",
                query=None,
                headers=(),
                body_length=length,
                body=short,
            ),
            frozenset(),
        )
    assert caught.value.reason is Reason.BODY_TOO_LARGE


def test_metadata_past_the_limit_is_not_waited_for() -> None:
    """A length beyond the limit is denied at once."""
    wanted = ask("PUT /api/v1/crates/new", length=None)
    assert isinstance(wanted, BodyWanted)
    assert wanted.enough is not None
    assert wanted.enough(b"\xff\xff\xff\xff")
    with pytest.raises(IntentError):
        ask("PUT /api/v1/crates/new", body=b"\xff\xff\xff\xff", length=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        publish(b""),
        publish(b"{"),
        publish(b"[]"),
        publish({}),
        publish({"name": "acme"}),
        publish({"vers": "1.0.0"}),
        publish({"name": ["acme"], "vers": "1.0.0"}),
        publish({"name": "acme", "vers": 1}),
        publish({"name": "acme", "vers": "1.0"}),
        publish({"name": "acme", "vers": "01.0.0"}),
        publish({"name": "acme", "vers": "1.0.0/../2.0.0"}),
        publish({"name": "1acme", "vers": "1.0.0"}),
        publish({"name": "acme lib", "vers": "1.0.0"}),
        publish({"name": "acme/lib", "vers": "1.0.0"}),
        publish({"name": "\u0430cme", "vers": "1.0.0"}),
        publish({"name": "a" * 65, "vers": "1.0.0"}),
        publish({"name": "acme", "vers": "1.0.0", "NAME": "evil"}),
        publish(b'{"name":"acme","vers":"1.0.0","name":"evil"}'),
        publish(METADATA, length=3),
        publish(METADATA) + b"more",
        publish(METADATA)[:-1],
        publish(METADATA, crate=b"")[:-1],
        json.dumps(METADATA).encode(),
    ],
)
def test_hostile_publishes_are_refused(body: bytes) -> None:
    """A publish whose parts or names could be taken differently is denied."""
    with pytest.raises(IntentError):
        ask("PUT /api/v1/crates/new", body=body)


@pytest.mark.parametrize(
    "line, headers",
    [
        ("GET /api/v1/crates/ser%20de", ()),
        ("GET /api/v1/crates/1serde", ()),
        ("GET /api/v1/crates/%D1%95erde", ()),
        ("GET /api/v1/crates/serde/latest", ()),
        ("GET /api/v1/crates/serde/1.0/download", ()),
        ("GET /api/v1/crates/%FF", ()),
        ("GET /crates/serde/serde-1.0.crate", ()),
        ("GET /crates/serde/-1.0.0.crate", ()),
        ("DELETE /api/v1/crates/serde/1.0.0%2F..%2F2.0.0/yank", ()),
        ("DELETE /api/v1/crates/serde/1/yank", ()),
        ("GET /api/v1/crates/serde", (("x-http-method-override", "DELETE"),)),
        ("GET /api/v1/crates/serde?_method=delete", ()),
    ],
)
def test_hostile_requests_are_refused(line: str, headers: Headers) -> None:
    """A name or version outside the grammar, or a second method, is denied."""
    with pytest.raises(IntentError):
        ask(line, headers=headers)
