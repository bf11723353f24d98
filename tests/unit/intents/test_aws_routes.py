"""Templates of paths: the most specific wins, and nothing is bent to fit."""

import pytest

from proxy.intents.aws_routes import Query, build_router
from proxy.model.errors import IntentError

ROUTER = build_router(
    [
        "GET /functions/ ListFunctions",
        "POST /functions CreateFunction",
        "GET /functions/{Name} GetFunction",
        "GET /functions/{Name}/policy GetPolicy",
        "GET /functions/special GetSpecial",
        "POST /channels CreateChannel",
        "POST /channels?operation=search SearchChannels",
        "POST /channels?operation=tag&deep TagDeep",
        "GET /objects/{Path+} GetObject",
        "GET /objects/{Path+}/policy GetObjectPolicy",
        "GET /two/{A}/{B} First Second",
        "GET /two/{A}/x/y Third",
        "GET /three/{A+}/end Fourth",
    ]
)


@pytest.mark.parametrize(
    "method,path,query,names,labels",
    [
        ("GET", "/functions", {}, ("ListFunctions",), {}),
        ("GET", "/functions/", {}, ("ListFunctions",), {}),
        ("POST", "/functions", {}, ("CreateFunction",), {}),
        ("GET", "/functions/a", {}, ("GetFunction",), {"Name": "a"}),
        ("GET", "/functions/arn%3Aaws%3Alambda", {}, ("GetFunction",), {"Name": "arn:aws:lambda"}),
        ("GET", "/functions/a/policy", {}, ("GetPolicy",), {"Name": "a"}),
        ("GET", "/functions/special", {}, ("GetSpecial",), {}),
        ("GET", "/functions/special/policy", {}, ("GetPolicy",), {"Name": "special"}),
        ("POST", "/channels", {}, ("CreateChannel",), {}),
        ("POST", "/channels", {"other": ["search"]}, ("CreateChannel",), {}),
        ("POST", "/channels", {"operation": ["search"]}, ("SearchChannels",), {}),
        ("POST", "/channels", {"operation": ["tag"], "deep": [""]}, ("TagDeep",), {}),
        ("GET", "/objects/a/b/c", {}, ("GetObject",), {"Path": "a/b/c"}),
        ("GET", "/objects/a/b/policy", {}, ("GetObjectPolicy",), {"Path": "a/b"}),
        ("GET", "/objects/policy", {}, ("GetObject",), {"Path": "policy"}),
        ("GET", "/objects/a/policy/policy", {}, ("GetObjectPolicy",), {"Path": "a/policy"}),
        ("GET", "/two/1/x/", {}, ("First", "Second"), {"A": "1", "B": "x"}),
        ("GET", "/two/1/2", {}, ("First", "Second"), {"A": "1", "B": "2"}),
        ("GET", "/two/1/x", {}, ("First", "Second"), {"A": "1", "B": "x"}),
        ("GET", "/two/1/x/y", {}, ("Third",), {"A": "1"}),
    ],
)
def test_the_most_specific_template_wins(
    method: str, path: str, query: Query, names: tuple[str, ...], labels: dict[str, str]
) -> None:
    """A request is the operation of the most specific template that fits all of its path."""
    found = ROUTER.find(method, path, query)

    assert found is not None
    assert (found.names, found.labels, found.is_odd) == (names, labels, False)


@pytest.mark.parametrize(
    "method,path",
    [
        ("DELETE", "/functions"),
        ("GET", "/function"),
        ("GET", "/functions/a/b"),
        ("GET", "/objects"),
        ("GET", "/"),
        ("GET", "/three/a/b"),
        ("GET", "/objects" + "/a" * 200),
    ],
)
def test_what_fits_no_template_is_nothing(method: str, path: str) -> None:
    """No template is bent: another method, a longer or a shorter path is no operation."""
    assert ROUTER.find(method, path, {}) is None


@pytest.mark.parametrize(
    "query",
    [{"operation": ["Search"]}, {"operation": ["search", "tag"]}, {"operation": ["search"], "deep": [""]}],
)
def test_a_query_that_two_readers_may_differ_on_is_odd(query: Query) -> None:
    """A key that elsewhere names another operation is told when it names none here, or names two."""
    found = ROUTER.find("POST", "/channels", query)

    assert found is not None
    assert found.is_odd


def test_a_broken_escape_is_refused() -> None:
    """A percent sign that begins no encoding is not guessed at."""
    with pytest.raises(IntentError, match="percent"):
        ROUTER.find("GET", "/functions/%zz", {})
