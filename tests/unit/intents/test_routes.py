"""A path has one route, and a table that contradicts itself is not loaded."""

import pytest

from proxy.intents.routes import Found, Routes, compile_routes, cut_path
from proxy.model.errors import IntentError

ROUTES: Routes[str] = compile_routes(
    {
        "GET /a": "list",
        "GET /a/latest": "latest",
        "GET /a/{id}": "one",
        "PUT /a/{id}": "put",
        "GET /a/{id}/b/{other}": "nested",
        "GET /a/latest/c": "literal",
        "GET /a/{id}/d": "verb",
        "GET /files/{owner}/{path...}": "file",
        "GET /files/{owner}/fixed/end": "fixed",
    }
)


@pytest.mark.parametrize(
    "method, path, value, variables, end",
    [
        ("GET", "a", "list", {}, 0),
        ("HEAD", "a", "list", {}, 0),
        ("GET", "a/latest", "latest", {}, 0),
        ("GET", "a/7", "one", {"id": "7"}, 2),
        ("PUT", "a/latest", "put", {"id": "latest"}, 2),
        ("GET", "a/x/b/y%20z", "nested", {"id": "x", "other": "y z"}, 4),
        ("GET", "a/latest/b/y", "nested", {"id": "latest", "other": "y"}, 4),
        ("GET", "a/latest/c", "literal", {}, 0),
        ("GET", "a/latest/d", "verb", {"id": "latest"}, 2),
        ("GET", "files/o/x", "file", {"owner": "o", "path": "x"}, 3),
        ("GET", "files/o/x/y%2Bz", "file", {"owner": "o", "path": "x/y+z"}, 4),
        ("GET", "files/o/fixed/end", "fixed", {"owner": "o"}, 2),
        ("GET", "files/o/fixed/other", "file", {"owner": "o", "path": "fixed/other"}, 4),
    ],
)
def test_the_most_literal_route_is_found(
    method: str, path: str, value: str, variables: dict[str, str], end: int
) -> None:
    """A literal segment wins over a variable, a method decides, and every variable is decoded once."""
    assert ROUTES.find(method, path.split("/")) == Found(value, variables, end)


@pytest.mark.parametrize(
    "method, path", [("DELETE", "a/7"), ("GET", "b"), ("GET", "a/7/8"), ("GET", "files/o"), ("POST", "files/o/x")]
)
def test_what_is_not_in_the_table_is_not_found(method: str, path: str) -> None:
    """Nothing is guessed for another method or another path."""
    assert ROUTES.find(method, path.split("/")) is None


@pytest.mark.parametrize("path", ["a/%FF", "files/o/%zz"])
def test_a_broken_escape_is_refused(path: str) -> None:
    """A variable that two servers would decode differently is not read."""
    with pytest.raises(IntentError):
        ROUTES.find("GET", path.split("/"))


def test_two_routes_for_one_path_are_a_programming_error() -> None:
    """A table in which the order would decide does not compile."""
    with pytest.raises(ValueError, match="two routes"):
        compile_routes({"GET /a/{id}": 1, "GET /a/{name}": 2})


@pytest.mark.parametrize("path, segments", [("/a/b", ["a", "b"]), ("/a/b/", ["a", "b"]), ("/", [])])
def test_a_closing_slash_means_nothing(path: str, segments: list[str]) -> None:
    """Routers ignore a closing slash, so it is cut off before a route is sought."""
    assert cut_path(path) == segments


@pytest.mark.parametrize("path", ["/a//b", "//a", "/a//", "/" + "a/" * 129])
def test_a_path_that_a_router_may_squeeze_is_refused(path: str) -> None:
    """An empty segment inside a path, or more segments than any API has, is not read."""
    with pytest.raises(IntentError):
        cut_path(path)
