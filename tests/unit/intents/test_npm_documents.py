"""What a package document does, read from its body."""

import base64
import hashlib
import json
from typing import Any

import pytest

from proxy.intents import npm
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView
from proxy.model.reason import Reason

JSON: Headers = (("content-type", "application/json"),)
TARBALL = b"\x1f\x8bnot really a tarball"
MAINTAINERS = [{"name": "ann", "email": "ann@example.com"}, {"name": "bob"}]


def document(name: str = "@acme/ui", version: str = "1.2.3", /, **members: Any) -> dict[str, Any]:
    """What libnpmpublish sends; a member given as None is left out."""
    attachment = {"content_type": "application/octet-stream", "data": base64.b64encode(TARBALL).decode(), "length": 1}
    whole: dict[str, Any] = {
        "_id": name,
        "name": name,
        "description": "d",
        "dist-tags": {"latest": version},
        "versions": {version: {"name": name, "version": version, "dist": {"integrity": "sha512-x"}}},
        "access": "public",
        "_attachments": {f"{name}-{version}.tgz": attachment},
        **members,
    }
    return {key: value for key, value in whole.items() if value is not None}


def packument(**members: Any) -> dict[str, Any]:
    """What a client got from the registry and sends back changed."""
    versions = {number: {"name": "@acme/ui", "version": number} for number in ("1.0.0", "1.1.0")}
    return document(**{"versions": versions, "access": None, "_attachments": {}, "_rev": "3-a", **members})


def ask(
    body: object, line: str = "PUT /@acme%2fui", host: str = "registry.npmjs.org", headers: Headers = JSON
) -> Intent | BodyWanted | None:
    """Decode a document; bytes are sent as they are, None is a body not seen yet."""
    method, _, path = line.partition(" ")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=None,
        headers=headers,
        body=None if body is None else BodyPrefix(data=raw, is_whole=True),
    )
    return npm.decode(view, frozenset({"npm"}))


def read(body: object, line: str = "PUT /@acme%2fui") -> Intent:
    answer = ask(body, line)
    assert isinstance(answer, Intent)
    return answer


def every(intent: Intent) -> set[str]:
    return {intent.action, *(other.action for other in intent.also)}


def test_the_body_is_asked_for() -> None:
    """The head of a PUT says nothing, so the whole body is wanted, up to 32 MiB."""
    for line in ("PUT /lodash", "PUT /lodash/-rev/1", "POST /-/stage/package/lodash"):
        answer = ask(None, line)
        assert isinstance(answer, BodyWanted)
        assert (answer.limit, answer.enough) == (32 * 1024 * 1024, None)


def test_a_longer_document_is_denied_by_name_of_the_limit() -> None:
    """A document that cannot be held is denied, and the reason tells the limit."""
    view = RequestView(
        method="PUT",
        scheme="https",
        authority=Authority("registry.npmjs.org", 443),
        path="/lodash",
        query=None,
        headers=JSON,
        body=BodyPrefix(data=b"{", is_whole=False),
    )
    with pytest.raises(IntentError) as caught:
        npm.decode(view, frozenset())
    assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("name, path", [("lodash", "/lodash"), ("@acme/ui", "/@acme%2fui"), ("@acme/ui", "/@acme/ui")])
def test_a_publish(name: str, path: str) -> None:
    """One version with its tarball is a publish: version, tags, access and the true digest are facts."""
    intent = read(document(name), f"PUT {path}")

    assert (intent.action, intent.effect, intent.exact, intent.also) == ("publish", EffectClass.PUBLISH, True, ())
    assert intent.resource.id == f"registry.npmjs.org/{name}"
    assert intent.facts == {
        "version": "1.2.3",
        "sha512": hashlib.sha512(TARBALL).hexdigest(),
        "access": "public",
        "tags": "latest",
    }


def test_a_publish_with_a_signature_and_without_the_rest() -> None:
    """A Sigstore bundle may stand beside the tarball; tags, access and the scope in a file name may be missing."""
    encoded = base64.b64encode(TARBALL).decode()
    attachments = {"ui-1.2.3.tgz": {"data": encoded}, "@acme/ui-1.2.3.sigstore": {"data": "{}"}}
    intent = read(document(_attachments=attachments, access=None, **{"dist-tags": None}))

    assert set(intent.facts) == {"version", "sha512"}


def test_a_staged_publish() -> None:
    """A staged version waits for its approval; staging it is an action of its own."""
    intent = read(document(), "POST /-/stage/package/@acme%2fui")

    assert (intent.action, intent.effect) == ("stage.publish", EffectClass.PUBLISH)
    assert intent.resource.id == "registry.npmjs.org/@acme/ui"


@pytest.mark.parametrize(
    "line, members, expected",
    [
        ("PUT /@acme%2fui", {"maintainers": MAINTAINERS}, {"publish", "owner.set"}),
        ("PUT /@acme%2fui", {"users": {"ann": True}}, {"publish", "star"}),
        ("PUT /@acme%2fui/-rev/3-a", {}, {"publish", "unpublish"}),
        (
            "PUT /@acme%2fui",
            {"versions": {"1.2.3": {"name": "@acme/ui", "version": "1.2.3", "deprecated": ""}}},
            {"publish", "unpublish"},
        ),
    ],
)
def test_a_publish_that_does_more(line: str, members: dict[str, Any], expected: set[str]) -> None:
    """Whatever else a publish document may change must be allowed too."""
    assert every(read(document(**members), line)) == expected


def test_owners_are_set() -> None:
    """`npm owner` sends nothing but the new list; the names are a fact, the addresses are not."""
    intent = read({"_id": "@acme/ui", "_rev": "3-a", "maintainers": MAINTAINERS}, "PUT /@acme%2fui/-rev/3-a")

    assert (intent.action, intent.effect, intent.exact) == ("owner.set", EffectClass.ADMIN, True)
    assert intent.facts == {"owners": "ann,bob"}


def test_a_star() -> None:
    """`npm star` sends nothing but the users."""
    intent = read({"_id": "@acme/ui", "_rev": "3-a", "users": {}})

    assert (intent.action, intent.effect) == ("star", EffectClass.WRITE)


def test_a_deprecation_may_do_more() -> None:
    """The whole package document comes back: all that a registry may take from it must be allowed."""
    body = packument(maintainers=MAINTAINERS)
    body["versions"]["1.0.0"]["deprecated"] = "old"
    intent = read(body)

    assert (intent.action, intent.effect, intent.exact) == ("deprecate", EffectClass.WRITE, False)
    assert intent.facts == {"deprecated": "1.0.0"}
    assert every(intent) == {"deprecate", "unpublish", "tag.set", "owner.set"}
    assert not any(other.exact for other in intent.also)


@pytest.mark.parametrize(
    "line, body",
    [
        ("PUT /@acme%2fui/-rev/3-a", packument()),
        ("PUT /@acme%2fui", packument()),
        ("PUT /@acme%2fui", {"versions": {}}),
        ("PUT /@acme%2fui", {"versions": {"1.0.0": "deprecated"}}),
        ("PUT /@acme%2fui/-rev/3-a", packument(versions={"1.0.0": {"deprecated": "x"}}, _attachments=None)),
    ],
)
def test_a_whole_document_is_an_unpublish(line: str, body: dict[str, object]) -> None:
    """A document without a tarball or a deprecation removes what it leaves out."""
    intent = read(body, line)

    assert (intent.action, intent.effect, intent.exact) == ("unpublish", EffectClass.DELETE, False)
    assert every(intent) == {"unpublish", "tag.set"}


TWO_VERSIONS = {number: {"name": "@acme/ui", "version": number} for number in ("1.2.3", "1.2.4")}
DATA = {"data": base64.b64encode(TARBALL).decode()}


@pytest.mark.parametrize(
    "body",
    [
        document(name="@evil/ui"),
        document(_id="@evil/ui"),
        document(name="@acme/UI"),
        document(Name="@evil/ui"),
        document(name=None),
        document(_deleted=True),
        document(_deleted=False),
        document(versions=None),
        document(versions={}),
        document(versions=TWO_VERSIONS),
        document(versions=[]),
        document(versions={"1.2.3": []}),
        document(versions={"1.2.3": {"name": "@evil/ui", "version": "1.2.3"}}),
        document(versions={"1.2.3": {"version": "1.2.3"}}),
        document(versions={"1.2.3": {"name": "@acme/ui", "version": "9.9.9"}}),
        document(versions={"1.2.3": {"name": "@acme/ui", "Version": "9.9.9", "version": "1.2.3"}}),
        document("@acme/ui", "latest"),
        document("@acme/ui", "01.2.3"),
        document("@acme/ui", "1.2.3/../../x"),
        document(**{"dist-tags": {"latest": "9.9.9"}}),
        document(**{"dist-tags": {"la/test": "1.2.3"}}),
        document(**{"Dist-Tags": {"latest": "9.9.9"}}),
        document(_attachments={"other-1.2.3.tgz": DATA}),
        document(_attachments={"@acme/ui-9.9.9.tgz": DATA}),
        document(_attachments={"@acme/ui-1.2.3.exe": DATA}),
        document(_attachments={"@acme/ui-1.2.3.sigstore": DATA}),
        document(_attachments={"@acme/ui-1.2.3": DATA}),
        document(_attachments={"@acme/ui-1.2.3.tgz": DATA, "ui-1.2.3.tgz": DATA}),
        document(_attachments={"@acme/ui-1.2.3.tgz": "data"}),
        document(_attachments={"@acme/ui-1.2.3.tgz": {}}),
        document(_attachments={"@acme/ui-1.2.3.tgz": {"data": "!!!!"}}),
        document(_attachments={"@acme/ui-1.2.3.tgz": {"data": "é"}}),
        document(_attachments=["x"]),
        document(_Attachments={}, _attachments=None),
        document(access="everyone"),
        document(maintainers="ann"),
        document(users=["ann"]),
        {"maintainers": []},
        {"maintainers": {}},
        {"maintainers": ["ann"]},
        {"maintainers": [{"email": "ann@example.com"}]},
        {"maintainers": [{"name": str(number)} for number in range(65)]},
        {"maintainers": MAINTAINERS, "users": {}},
        {"users": []},
        {"dist-tags": {"latest": "1.0.0"}},
        {"readme": "x"},
        {},
        [],
        "1.0.0",
        b'{"name":"@acme/ui","name":"@evil/ui"}',
        b'{"versions":{},"versions":{}}',
        b"{",
        b"",
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_hostile_documents_are_refused(body: object) -> None:
    """A document that two readers could take differently, or that is none of npm's, is denied."""
    with pytest.raises(IntentError):
        ask(body)


@pytest.mark.parametrize("body", [packument(), {"maintainers": MAINTAINERS}])
def test_only_a_tarball_is_staged(body: dict[str, object]) -> None:
    """The staging route takes nothing but a publish."""
    with pytest.raises(IntentError):
        ask({**body, "name": "@acme/ui"}, "POST /-/stage/package/@acme%2fui")


@pytest.mark.parametrize(
    "body", [b"1", b'"latest"', b'"1.2"', b"null", b'["1.2.3"]', b'"1.2.3" "2.0.0"', b'"' + b"1" * 5000]
)
def test_hostile_tags_are_refused(body: bytes) -> None:
    """A tag is set to one full version or not at all."""
    with pytest.raises(IntentError):
        ask(body, "PUT /-/package/@acme%2fui/dist-tags/latest")


@pytest.mark.parametrize("headers", [(), (("content-type", "text/plain"),), (*JSON, *JSON)])
def test_a_document_must_say_it_is_json(headers: Headers) -> None:
    """npm always says so; a server that reads another type reads something else."""
    with pytest.raises(IntentError):
        ask(document(), headers=headers)


def test_elsewhere_only_json_is_a_document() -> None:
    """On a host with other ecosystems a PUT of another type is not npm's."""
    assert ask(b"x", "PUT /maven/a", "artifacts.example", (("content-type", "application/java-archive"),)) is None
    answer = ask({**document("a"), "name": "a"}, "PUT /npm/a", "artifacts.example")
    assert isinstance(answer, Intent)
    assert answer.resource.id == "artifacts.example/npm/a"
