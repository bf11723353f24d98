"""A `github-app` block says what it may hand out, or is refused when the rule is read."""

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors.github_app import GitHubAppScope


def scope(**given: Any) -> GitHubAppScope:
    basic: dict[str, Any] = {"app": 123456, "key": {"file": "/x"}, "permissions": {"contents": "write"}}
    return GitHubAppScope.model_validate(basic | given)


def test_what_may_be_asked_for_otherwise() -> None:
    """`otherwise` is within the ceiling; metadata may always be read."""
    assert scope(otherwise={"contents": "read", "metadata": "read"}).otherwise["contents"] == "read"
    with pytest.raises(ValidationError, match="more than `permissions` gives"):
        scope(otherwise={"metadata": "write"})


BAD_SCOPES: list[dict[str, Any]] = [
    {"app": ""},
    {"app": 0},
    {"app": "a b"},
    {"permissions": {}},
    {"permissions": {"contents": "none"}},
    {"permissions": {"Contents": "read"}},
    {"permissions": {"contents=write a": "read"}},
    {"repositories": ["storefront"]},
    {"repositories": ["acme/*/x"]},
    {"repositories": ["*/storefront"]},
    {"repositories": ["acme/store*"]},
    {"repositories": ["https://github.com/acme/storefront"]},
    {"otherwise": {"contents": "admin"}},
    {"otherwise": {"issues": "read"}},
    {"installation": 0},
    {"host": "codeload.github.com"},
    {"key": "-----BEGIN"},
    {"surprise": 1},
]


@pytest.mark.parametrize("given", BAD_SCOPES, ids=str)
def test_a_scope_is_checked_when_the_rule_is_read(given: dict[str, Any]) -> None:
    """Names without an owner, wild owners, levels that do not exist and more than the ceiling are refused."""
    with pytest.raises(ValidationError):
        scope(**given)
