"""HTTP's own semantics and nothing guessed."""

import pytest

from proxy.intents import fallback
from proxy.model.authority import Authority
from proxy.model.intent import EffectClass, RequestView


@pytest.mark.parametrize(
    "method,effect",
    [
        ("GET", EffectClass.READ),
        ("HEAD", EffectClass.READ),
        ("OPTIONS", EffectClass.READ),
        ("POST", EffectClass.WRITE),
        ("PUT", EffectClass.WRITE),
        ("PATCH", EffectClass.WRITE),
        ("DELETE", EffectClass.DELETE),
        ("PROPFIND", EffectClass.UNKNOWN),
    ],
)
def test_effect_follows_the_method(method: str, effect: EffectClass) -> None:
    """A method's effect is RFC 9110's; a method it does not define is unknown."""
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority("example.com", 8443),
        path="/a/b",
        query="c=d",
        headers=(),
    )

    intent = fallback.decode(view)

    assert intent.effect is effect
    assert intent.name == f"http {method}"
    assert intent.resource.id == "https://example.com:8443/a/b"
    assert not intent.exact
