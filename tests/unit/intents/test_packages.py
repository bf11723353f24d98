"""What the package decoders share: claims, ids, overrides and route tables."""

import pytest

from proxy.intents import packages
from proxy.intents.packages import EFFECTS, Ecosystem, compile_routes
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Headers, RequestView

ECOSYSTEM = Ecosystem(protocol="toy", hosts=frozenset({"toys.example"}))


def view_of(
    target: str = "/a", host: str = "toys.example", port: int = 443, headers: Headers = (), scheme: str = "https"
) -> RequestView:
    path, mark, query = target.partition("?")
    return RequestView(
        method="POST",
        scheme=scheme,
        authority=Authority(host, port),
        path=path,
        query=query if mark else None,
        headers=headers,
    )


def test_an_ecosystem_claims_its_hosts_and_spoken_ones() -> None:
    """A host of the table always, another host only where a rule speaks the protocol."""
    assert ECOSYSTEM.claims("toys.example", frozenset())
    assert ECOSYSTEM.claims("x.example", frozenset({"toy"}))
    assert not ECOSYSTEM.claims("x.example", frozenset({"npm"}))
    assert ECOSYSTEM.knows(view_of())
    assert not ECOSYSTEM.knows(view_of(host="x.example"))


def test_an_intent_takes_its_effect_from_the_table() -> None:
    """The action says the effect, the protocol and kind the resource's type."""
    inner = ECOSYSTEM.intent("login", "toys.example", kind="registry", exact=False)
    intent = ECOSYSTEM.intent("publish", "toys.example/a", {"version": "1"}, also=(inner,))

    assert intent.name == "toy publish"
    assert (intent.effect, intent.exact, intent.facts, intent.also) == (
        EffectClass.PUBLISH,
        True,
        {"version": "1"},
        (inner,),
    )
    assert (intent.resource.type, intent.resource.id) == ("toy-package", "toys.example/a")
    assert (inner.resource.type, inner.effect, inner.exact, inner.facts) == (
        "toy-registry",
        EffectClass.CREDENTIAL,
        False,
        {},
    )


@pytest.mark.parametrize("action", [name for name in EFFECTS if name.startswith(("owner.", "team.", "member."))])
def test_people_are_administration(action: str) -> None:
    """Whoever changes owners, teams or members administers; who only lists them, lists."""
    assert EFFECTS[action] is (EffectClass.LIST if action.endswith(".list") else EffectClass.ADMIN)


@pytest.mark.parametrize(
    "scheme, host, port, expected",
    [
        ("https", "toys.example", 443, "toys.example"),
        ("http", "toys.example", 80, "toys.example"),
        ("http", "toys.example", 443, "toys.example:443"),
        ("https", "toys.example", 8443, "toys.example:8443"),
        ("https", "::1", 443, "[::1]:443"),
    ],
)
def test_a_site_is_the_host_and_an_unusual_port(scheme: str, host: str, port: int, expected: str) -> None:
    """Two ports are two registries; the scheme's own port is not written."""
    assert packages.read_site(view_of(host=host, port=port, scheme=scheme)) == expected


@pytest.mark.parametrize("prefix", [["a*"], ["@scope"], ["a/b"], [""], ["-rev"], ["%2"], ["%2f"], ["a;b"], ["é"]])
def test_an_unusual_prefix_is_refused(prefix: list[str]) -> None:
    """A path that has other spellings, or stars, is no part of an id."""
    with pytest.raises(IntentError):
        packages.join_site("toys.example", prefix)


def test_a_plain_prefix_is_part_of_the_id() -> None:
    """The path a registry stands below is written behind its host."""
    assert packages.join_site("toys.example", ["My%20Team", "-", "_feed"]) == "toys.example/My%20Team/-/_feed"
    assert packages.join_site("toys.example", []) == "toys.example"


@pytest.mark.parametrize("path, expected", [("/", []), ("/a", ["a"]), ("/a/", ["a"]), ("/a/b", ["a", "b"])])
def test_a_closing_slash_is_no_segment(path: str, expected: list[str]) -> None:
    """Registries answer both spellings alike, so both are read alike."""
    assert packages.read_segments(view_of(path)) == expected


@pytest.mark.parametrize(
    "target, headers",
    [
        ("/a", (("x-http-method-override", "DELETE"),)),
        ("/a", (("x-http-method", "DELETE"),)),
        ("/a", (("x-method-override", "DELETE"),)),
        ("/a?_method=DELETE", ()),
        ("/a?b=1&_method", ()),
        ("/a?_method=%", ()),
    ],
)
def test_a_second_method_is_refused(target: str, headers: Headers) -> None:
    """A request line that a header or parameter overrules says nothing."""
    with pytest.raises(IntentError):
        packages.refuse_override(view_of(target, headers=headers))


@pytest.mark.parametrize("target", ["/a", "/a?b=1", "/a?b=_method", "/_method"])
def test_other_parameters_pass(target: str) -> None:
    """Only a parameter of that name is a second method."""
    packages.refuse_override(view_of(target, headers=(("accept", "*/*"),)))


def test_routes_are_found_by_method_and_shape() -> None:
    """The first line of the same method and length fits; variables come back decoded."""
    routes = compile_routes({"GET /a/{x}": "one", "GET /a/{x}/c": "two", "GET /{x}/{y}": "three", "PUT /a": "four"})

    assert routes.find("GET", ["a", "%C3%A9"]) == ("one", {"x": "é"})
    assert routes.find("HEAD", ["a", "b", "c"]) == ("two", {"x": "b"})
    assert routes.find("GET", ["b", "c"]) == ("three", {"x": "b", "y": "c"})
    assert routes.find("PUT", ["a"]) == ("four", {})
    assert routes.find("DELETE", ["a"]) is None
    assert routes.find("GET", ["a", "b", "d"]) is None
    with pytest.raises(IntentError):
        routes.find("GET", ["a", "%FF"])
