"""Whatever is asked of GitHub is told by operation, repository, harm, and by the refs it moves."""

import json
from typing import Any

import pytest

from proxy.intents import github
from proxy.intents.github_routes import load_routes
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

API = "api.github.com"
JSON = ("content-type", "application/json")
SPOKEN = frozenset({"github"})
NOTHING: frozenset[str] = frozenset()
SHA = "1" * 40


def view(
    method: str,
    target: str,
    body: object = None,
    *,
    host: str = API,
    port: int = 443,
    headers: tuple[tuple[str, str], ...] = (JSON,),
) -> RequestView:
    path, mark, query = target.partition("?")
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, port),
        path=path,
        query=query if mark else None,
        headers=headers if content else (),
        body_length=len(content),
        body=BodyPrefix(data=content, is_whole=True),
    )


def read(asked: RequestView, spoken: frozenset[str] = NOTHING) -> Intent:
    answer = github.decode(asked, spoken)
    assert isinstance(answer, Intent)
    return answer


def tell(intent: Intent) -> list[tuple[str, str, str]]:
    return [(one.name, one.resource.id, one.effect.value) for one in (intent, *intent.also)]


def test_a_release_is_a_tag_too() -> None:
    """An operation has its permission as a fact, and what it moves beside it."""
    body = {"tag_name": "v1", "target_commitish": "main", "body": "hello"}

    intent = read(view("POST", "/repos/Acme/App/releases", body))

    assert tell(intent) == [
        ("github repos/create-release", "github.com/acme/app", "publish"),
        ("git push.create", "github.com/acme/app#refs/tags/v1", "write"),
    ]
    assert intent.facts == {"permission": "contents=write"}
    assert intent.exact


@pytest.mark.parametrize(
    "method, target, body, expected",
    [
        ("PUT", "/repos/acme/app/contents/a/b", {"branch": "main", "content": "eA=="},
         [("github repos/create-or-update-file-contents", "github.com/acme/app", "write"),
          ("git push.update", "github.com/acme/app#refs/heads/main", "write")]),
        ("PUT", "/repos/acme/app/contents/.github/workflows/a.yml", {"content": "eA=="},
         [("github repos/create-or-update-file-contents", "github.com/acme/app", "write"),
          ("git push.update", "github.com/acme/app#HEAD", "write"),
          ("github workflow.write", "github.com/acme/app", "admin")]),
        ("DELETE", "/repos/acme/app/contents/.github/Workflows/a.yml", {"sha": "a", "branch": "x/y"},
         [("github repos/delete-file", "github.com/acme/app", "delete"),
          ("git push.update", "github.com/acme/app#refs/heads/x/y", "write"),
          ("github workflow.write", "github.com/acme/app", "admin")]),
        ("DELETE", "/repos/acme/app/git/refs/heads/a/b", None,
         [("github git/delete-ref", "github.com/acme/app", "delete"),
          ("git push.delete", "github.com/acme/app#refs/heads/a/b", "delete")]),
        ("PATCH", "/repositories/7/git/refs/heads/main", {"sha": SHA},
         [("github git/update-ref", "github.com/-/#7", "write"),
          ("git push.update", "github.com/-/#7#refs/heads/main", "write")]),
        ("PUT", "/repos/acme/app/pulls/7/merge", {"merge_method": "squash"},
         [("github pulls/merge", "github.com/acme/app", "write"),
          ("git push.update", "github.com/acme/app#?", "write")]),
        ("POST", "/repos/acme/app/branches/old/rename", {"new_name": "new"},
         [("github repos/rename-branch", "github.com/acme/app", "write"),
          ("git push.create", "github.com/acme/app#refs/heads/new", "write"),
          ("git push.delete", "github.com/acme/app#refs/heads/old", "delete")]),
        ("GET", "/repos/acme/app/contents/.github/workflows/a.yml?ref=main", None,
         [("github repos/get-content", "github.com/acme/app", "read")]),
        ("GET", "/repos/acme/app/contents/a/../b", None, [("github repos/get-content", "github.com/acme/app", "read")]),
        ("POST", "/repos/acme/app/never", {"a": 1}, [("github unlisted", "github.com/acme/app", "write")]),
        ("GET", "/orgs/Acme/repos", None, [("github repos/list-for-org", "github.com/acme", "list")]),
        ("GET", "/organizations/7/repos", None, [("github repos/list-for-org", "github.com/#7", "list")]),
        ("GET", "/users/github-actions%5Bbot%5D", None, [("github users/get-by-username",
         "github.com/github-actions[bot]", "read")]),
        ("GET", "/enterprises/big/teams", None, [("github enterprise-teams/list", "github.com/big", "read")]),
        ("GET", "/rate_limit", None, [("github rate-limit/get", "github.com", "read")]),
        ("POST", "/app/installations/7/access_tokens", {"permissions": {}},
         [("github apps/create-installation-access-token", "github.com", "credential")]),
        ("POST", "/graphql", {"query": "{ viewer { login } }"}, [("github graphql.query", "github.com", "read")]),
        ("POST", "/graphql/", {"query": "mutation { deleteRef(input: {}) { x } }"},
         [("github graphql.deleteRef", "github.com/?/?", "delete"), ("git push.delete", "github.com/?/?#?", "delete")]),
    ],
)  # fmt: skip
def test_a_request_is_told_whole(method: str, target: str, body: object, expected: list[tuple[str, str, str]]) -> None:
    """The operation comes first, and everything else it does after it."""
    assert tell(read(view(method, target, body))) == expected


@pytest.mark.parametrize(
    "method, target, body, effect, facts",
    [
        ("POST", "actions/workflows/a.yml/dispatches", {"ref": "main", "inputs": {}}, "execute",
         {"permission": "actions=write", "workflow_id": "a.yml", "ref": "main"}),
        ("POST", "dispatches", {"event_type": "deploy"}, "execute", {"permission": "contents=write",
         "event_type": "deploy"}),
        ("POST", "pulls/7/reviews", {"event": "COMMENT"}, "write",
         {"permission": "pull_requests=write", "pull_number": "7", "event": "COMMENT"}),
        ("POST", "pulls/7/reviews", {"event": "approve"}, "admin",
         {"permission": "pull_requests=write", "pull_number": "7", "event": "approve"}),
        ("POST", "pulls/7/reviews/8/events", {"event": "APPROVE"}, "admin",
         {"permission": "pull_requests=write", "pull_number": "7", "review_id": "8", "event": "APPROVE"}),
        ("POST", "pulls/7/reviews", None, "write", {"permission": "pull_requests=write", "pull_number": "7"}),
        ("POST", f"statuses/{SHA}", {"state": "success", "context": "ci"}, "write",
         {"permission": "statuses=write", "sha": SHA, "state": "success", "context": "ci"}),
    ],
)  # fmt: skip
def test_facts_tell_what_a_rule_may_ask(
    method: str, target: str, body: object, effect: str, facts: dict[str, str]
) -> None:
    """Workflows, refs, states and events are told; an approval is administration."""
    intent = read(view(method, f"/repos/acme/app/{target}", body))
    assert (intent.effect.value, intent.facts) == (effect, facts)


def test_a_code_that_answers_a_key_is_not_told() -> None:
    """What a path holds in secret stays out of the record."""
    intent = read(view("POST", "/app-manifests/not-a-real-code/conversions"))
    assert intent.effect is EffectClass.CREDENTIAL
    assert "not-a-real-code" not in str(intent)


def test_an_asset_is_told_by_name() -> None:
    """An upload's body is not asked for; its name stands in the query."""
    asked = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("uploads.github.com", 443),
        path="/repos/acme/app/releases/7/assets",
        query="name=a.zip&label=x",
        headers=(("content-type", "application/zip"),),
        body_length=1 << 30,
    )
    intent = read(asked)
    assert tell(intent) == [("github repos/upload-release-asset", "github.com/acme/app", "publish")]
    assert intent.facts == {"permission": "contents=write", "release_id": "7", "name": "a.zip"}


@pytest.mark.parametrize(
    "host, port, target, site",
    [
        ("ghe.example.com", 443, "/api/v3/repos/acme/app/git/refs/heads/x", "ghe.example.com"),
        ("ghe.example.com", 8443, "/api/v3/repos/acme/app/git/refs/heads/x", "ghe.example.com:8443"),
        ("ghe.example.com", 443, "/api/uploads/repos/acme/app/git/refs/heads/x", "ghe.example.com"),
        ("api.acme.ghe.com", 443, "/repos/acme/app/git/refs/heads/x", "acme.ghe.com"),
        ("uploads.acme.ghe.com", 443, "/repos/acme/app/git/refs/heads/x", "acme.ghe.com"),
        ("api.github.com", 443, "/api/v3/repos/acme/app/git/refs/heads/x", "github.com"),
    ],
)
def test_an_enterprise_host_is_a_site_of_its_own(host: str, port: int, target: str, site: str) -> None:
    """The same path elsewhere is another repository."""
    assert tell(read(view("DELETE", target, host=host, port=port), SPOKEN)) == [
        ("github git/delete-ref", f"{site}/acme/app", "delete"),
        ("git push.delete", f"{site}/acme/app#refs/heads/x", "delete"),
    ]


@pytest.mark.parametrize("target", ["/api/graphql", "/api/v3/graphql"])
def test_an_enterprise_host_has_graphql(target: str) -> None:
    """GraphQL is read wherever GitHub serves it."""
    intent = read(view("POST", target, {"query": "mutation { addStar { x } }"}, host="ghe.example.com"), SPOKEN)
    assert tell(intent) == [("github graphql.addStar", "ghe.example.com/?/?", "write")]


@pytest.mark.parametrize(
    "host, target, spoken",
    [
        ("ghe.example.com", "/api/v3/user", NOTHING),
        ("ghe.example.com", "/acme/app/info/refs", SPOKEN),
        ("ghe.com", "/user", NOTHING),
        ("www.acme.ghe.com", "/user", NOTHING),
        ("api.github.com.example.com", "/user", NOTHING),
        ("github.com", "/acme/app/info/refs", SPOKEN),
        ("github.com", "/acme/app/releases/download/v1", SPOKEN),
        ("github.com", "/acme/app/releases/tag/v1/x", SPOKEN),
        ("github.com", "/", SPOKEN),
        ("codeload.github.com", "/acme/app/tar.gz/main", NOTHING),
    ],
)
def test_what_is_not_the_api_is_not_ours(host: str, target: str, spoken: frozenset[str]) -> None:
    """Git, pages and other hosts are left to those who read them."""
    assert github.decode(view("GET", target, host=host), spoken) is None


@pytest.mark.parametrize(
    "method, host, target, expected, facts",
    [
        ("GET", "raw.githubusercontent.com", "/Acme/App/main/a/b.txt?token=x",
         ("github file.read", "github.com/acme/app", "read"), {"path": "main/a/b.txt"}),
        ("HEAD", "media.githubusercontent.com", "/media/acme/app/main/a", ("github file.read", "github.com/acme/app",
         "read"),
         {"path": "main/a"}),
        ("POST", "raw.githubusercontent.com", "/acme/app/main/a", ("github file.read", "github.com/acme/app",
         "unknown"),
         {"path": "main/a"}),
        ("GET", "objects.githubusercontent.com", "/x/y?sig=z", ("github object.read",
         "objects.githubusercontent.com", "read"), {}),
        ("PUT", "release-assets.githubusercontent.com", "/x",
         ("github object.read", "release-assets.githubusercontent.com", "unknown"), {}),
        ("GET", "github.com", "/acme/app/releases/download/a/v1/x.zip", ("github release.download",
         "github.com/acme/app", "read"),
         {"tag": "a/v1", "name": "x.zip"}),
        ("POST", "github.com", "/login/oauth/access_token", ("github oauth.token", "github.com", "credential"), {}),
    ],
)  # fmt: skip
def test_downloads_are_told(
    method: str, host: str, target: str, expected: tuple[str, str, str], facts: dict[str, str]
) -> None:
    """Files, objects and releases are reads of their repository where the URL names it."""
    intent = read(view(method, target, host=host))
    assert tell(intent) == [expected]
    assert intent.facts == facts


def unread(method: str, path: str, *headers: tuple[str, str]) -> RequestView:
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority(API, 443),
        path=path,
        query=None,
        headers=headers,
        body_length=None,
    )


@pytest.mark.parametrize(
    "asked",
    [
        unread("POST", "/repos/acme/app/git/refs", JSON),
        unread("PUT", "/repos/acme/app/contents/a", JSON),
        unread("POST", "/graphql", JSON),
        unread("POST", "/repos/acme/app/issues", ("content-type", "application/x-www-form-urlencoded")),
        unread("POST", "/repos/acme/app/issues"),
    ],
)
def test_the_body_is_asked_for_where_it_says_something(asked: RequestView) -> None:
    """A ref, a document, or a form that may hide a method must be seen."""
    assert isinstance(github.decode(asked, NOTHING), BodyWanted)


def test_the_body_is_left_alone_elsewhere() -> None:
    """An issue, a blob or a tree passes as it comes."""
    for path in ("issues", "git/blobs", "git/trees", "code-scanning/sarifs"):
        assert isinstance(github.decode(unread("POST", f"/repos/acme/app/{path}", JSON), NOTHING), Intent)


@pytest.mark.parametrize(
    "asked",
    [
        view("GET", "/repos/acme/app.git"),
        view("GET", "/repos/acme/app.GIT"),
        view("GET", "/repos/acme/.."),
        view("GET", "/repos/acme/a%20b"),
        view("GET", "/repos/acme/a%2Fb"),
        view("GET", "/repos/a%23b/app"),
        view("GET", "/repos/acme/%FF"),
        view("GET", "/repos/acme/app/never%20/x".replace("app", "a%2Fb")),
        view("GET", "/orgs/a.b/repos"),
        view("GET", "/repos//acme/app"),
        view("PUT", "/repos/acme/app/contents/a/../.github/workflows/x", {}),
        view("PUT", "/repos/acme/app/contents/.%2Fx", {}),
        view("PUT", "/repos/acme/app/contents/a", {"branch": "refs/heads/main"}),
        view("PUT", "/repos/acme/app/contents/a", {"branch": "main", "Branch": "other"}),
        view("PUT", "/repos/acme/app/contents/a", b'{"branch": "main", "branch": "other"}'),
        view("PUT", "/repos/acme/app/contents/a?branch=other", {"branch": "main"}),
        view("DELETE", "/repos/acme/app/contents/a?branch=other&sha=x"),
        view("PUT", "/repos/acme/app/contents/a", [{"branch": "main"}]),
        view("POST", "/repos/acme/app/git/refs", {"ref": "heads/main", "sha": SHA}),
        view("PATCH", "/repos/acme/app/git/refs/refs/heads/main", {"sha": SHA}),
        view("POST", "/repos/acme/app/releases", {"tag_name": ["v1"]}),
        view("POST", "/repos/acme/app/pulls/7/reviews", {"event": ["APPROVE"]}),
        view("POST", "/repos/acme/app/issues", {"a": 1}, headers=(JSON, ("x-http-method-override", "DELETE"))),
        view("POST", "/repos/acme/app?_method=DELETE", {"a": 1}),
        view("POST", "/repos/acme/app/issues", b"_method=DELETE",
             headers=(("content-type", "application/x-www-form-urlencoded"),)),
        view("GET", "/repos/acme/app", {"a": 1}),
        view("POST", "/graphql", [{"query": "{ a }"}]),
        view("POST", "/graphql", b"query=x", headers=(("content-type", "application/x-www-form-urlencoded"),)),
        view("GET", "/graphql?query={a}"),
        view("GET", "/acme/app", host="raw.githubusercontent.com"),
        view("GET", "/acme/app.git/main/x", host="raw.githubusercontent.com"),
        view("GET", "/a%20b/app/releases/download/v1/x", host="github.com"),
        view("POST", "/repos/acme/app/releases/7/assets?name=a&name=b", b"x",
             host="uploads.github.com", headers=(("content-type", "application/zip"),)),
    ],
)  # fmt: skip
def test_a_request_with_two_readings_is_refused(asked: RequestView) -> None:
    """Odd names, doubled members, hidden methods and batches are denied, whatever the rules say."""
    with pytest.raises(IntentError):
        github.decode(asked, SPOKEN)


def test_every_operation_that_is_noted_exists() -> None:
    """A renamed operation in a new table does not silently lose its facts."""
    pending: list[Any] = [load_routes().root]
    names = set()
    while pending:
        node = pending.pop()
        names |= {operation.name for operation, _ in (*node.ends.values(), *node.tails.values())}
        pending += [*node.literal.values(), *([node.variable] if node.variable is not None else [])]
    assert {*github._NOTES, "repos/upload-release-asset"} <= names
