"""A request view answers for itself."""

from proxy.model.authority import Authority
from proxy.model.decision import Decision, Effect
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason


def view(query: str | None) -> RequestView:
    return RequestView(
        method="GET",
        scheme="https",
        authority=Authority("example.com", 443),
        path="/a",
        query=query,
        headers=(("accept", "x"), ("accept", "y")),
    )


def test_target_and_url() -> None:
    """A query, even an empty one, is part of the target."""
    assert view(None).target == "/a"
    assert view("").target == "/a?"
    assert view("b=c").url == "https://example.com:443/a?b=c"


def test_header_gives_the_first_value() -> None:
    """Fields are found by lower-case name; absent ones are None."""
    assert view(None).header("accept") == "x"
    assert view(None).header("cookie") is None


def test_decisions_say_whether_they_allow() -> None:
    """Only the effect allow allows."""
    allow = Decision(effect=Effect.ALLOW, reason=Reason.ALLOWED, rule_ids=("r",), revision="1")
    deny = Decision(effect=Effect.DENY, reason=Reason.NO_RULE, rule_ids=(), revision="1")

    assert allow.is_allowed
    assert not deny.is_allowed


def test_an_intent_is_named_as_rules_name_it() -> None:
    """Protocol and action are the two words of a rule."""
    resource = Resource(type="npm-package", id="registry.npmjs.org/left-pad")
    intent = Intent(protocol="npm", action="publish", resource=resource, effect=EffectClass.PUBLISH, exact=True)
    assert intent.name == "npm publish"
