"""Whatever is asked of GitLab is told by action, project, harm, and by the refs it moves."""

import json

import pytest

from proxy.intents import gitlab
from proxy.intents.gitlab_routes import ROUTES
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
MULTIPART = ("content-type", "multipart/form-data; boundary=x")
NOTHING: frozenset[str] = frozenset()
SPOKEN = frozenset({"gitlab"})
P = "/api/v4/projects/Group%2FApp"


def view(
    method: str,
    target: str,
    body: object = None,
    *headers: tuple[str, str],
    host: str = "gitlab.com",
    port: int = 443,
) -> RequestView:
    path, mark, query = target.partition("?")
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, port),
        path=path,
        query=query if mark else None,
        headers=headers or ((JSON,) if content else ()),
        body_length=len(content),
        body=BodyPrefix(data=content, is_whole=True),
    )


def read(asked: RequestView, spoken: frozenset[str] = NOTHING) -> Intent:
    answer = gitlab.decode(asked, spoken)
    assert isinstance(answer, Intent)
    return answer


def tell(intent: Intent) -> list[tuple[str, str, str]]:
    return [(one.name, one.resource.id, one.effect.value) for one in (intent, *intent.also)]


@pytest.mark.parametrize(
    "asked, expected",
    [
        (view("POST", f"{P}/repository/branches?branch=a&ref=main"),
         [("gitlab branches.create", "gitlab.com/group/app", "write"),
          ("git push.create", "gitlab.com/group/app#refs/heads/a", "write")]),
        (view("DELETE", f"{P}/repository/branches/a"),
         [("gitlab branches.delete", "gitlab.com/group/app", "delete"),
          ("git push.delete", "gitlab.com/group/app#refs/heads/a", "delete")]),
        (view("POST", "/api/v4/projects/042/repository/tags", b"tag_name=v1&ref=main", FORM),
         [("gitlab tags.create", "gitlab.com/#42", "write"),
          ("git push.create", "gitlab.com/#42#refs/tags/v1", "write")]),
        (view("PUT", f"{P}/repository/files/.gitlab-ci.yml", {"branch": "main", "content": "x"}),
         [("gitlab files.update", "gitlab.com/group/app", "write"),
          ("git push.update", "gitlab.com/group/app#refs/heads/main", "write"),
          ("gitlab workflow.write", "gitlab.com/group/app", "admin")]),
        (view("POST", f"{P}/repository/commits", {"branch": "main", "actions": [{"file_path": ".gitlab-ci.yml"}]}),
         [("gitlab commits.create", "gitlab.com/group/app", "write"),
          ("git push.update", "gitlab.com/group/app#refs/heads/main", "write"),
          ("gitlab workflow.write", "gitlab.com/group/app", "admin")]),
        (view("POST", f"{P}/repository/commits", {"branch": "main", "actions": [{"file_path": "a"}]}),
         [("gitlab commits.create", "gitlab.com/group/app", "write"),
          ("git push.update", "gitlab.com/group/app#refs/heads/main", "write")]),
        (view("PUT", f"{P}/merge_requests/7/merge"),
         [("gitlab merge-requests.merge", "gitlab.com/group/app", "write"),
          ("git push.update", "gitlab.com/group/app#?", "write")]),
        (view("PUT", "/api/v4/suggestions/7/apply"),
         [("gitlab suggestions.apply", "gitlab.com", "write"), ("git push.update", "gitlab.com/?/?#?", "write")]),
        (view("GET", f"{P}/variables"), [("gitlab variables.list", "gitlab.com/group/app", "credential")]),
        (view("GET", f"{P}/never"), [("gitlab unlisted", "gitlab.com/group/app", "read")]),
        (view("POST", "/api/v4/groups/G%2Fsub/deploy_tokens", {"name": "x"}),
         [("gitlab deploy-tokens.create", "gitlab.com/g/sub", "credential")]),
        (view("GET", "/api/v4/user"), [("gitlab users.get", "gitlab.com", "read")]),
        (view("GET", "/api/v4/"), [("gitlab unlisted", "gitlab.com", "read")]),
        (view("POST", "/api/v5/user"), [("gitlab unlisted", "gitlab.com", "unknown")]),
        (view("POST", "/oauth/token", b"grant_type=x", FORM), [("gitlab oauth.token", "gitlab.com", "credential")]),
        (view("POST", "/api/graphql", {"query": "mutation { jobRetry(input: {}) { x } }"}),
         [("gitlab graphql.jobRetry", "gitlab.com", "execute")]),
        (view("POST", f"{P}/packages/pypi", b"any bytes", MULTIPART),
         [("gitlab packages.publish", "gitlab.com/group/app", "publish")]),
        (view("POST", "/api/v4/jobs/7/artifacts", b"any bytes", MULTIPART),
         [("gitlab job.upload-artifacts", "gitlab.com", "write")]),
    ],
)  # fmt: skip
def test_a_request_is_told_whole(asked: RequestView, expected: list[tuple[str, str, str]]) -> None:
    """The action comes first, and everything else it does after it."""
    assert tell(read(asked)) == expected


@pytest.mark.parametrize(
    "asked, facts",
    [
        (view("POST", f"{P}/trigger/pipeline", b"token=not-a-real-token&ref=main&variables[A]=b", FORM),
         {"ref": "main"}),
        (view("POST", f"{P}/ref/main/trigger/pipeline?ref=other&token=not-a-real-token"), {"ref": "main"}),
        (view("POST", f"{P}/pipeline", {"ref": "main"}), {"ref": "main"}),
        (view("POST", f"{P}/statuses/abc", {"state": "success", "name": "ci"}),
         {"sha": "abc", "state": "success", "name": "ci"}),
        (view("POST", f"{P}/merge_requests", {"source_branch": "a", "target_branch": "main"}),
         {"source_branch": "a", "target_branch": "main"}),
        (view("POST", f"{P}/jobs/7/play", {}), {"job": "7"}),
        (view("GET", f"{P}/repository/files/{'x' * 300}"), {"path": "x" * 256}),
    ],
)  # fmt: skip
def test_facts_tell_what_a_rule_may_ask(asked: RequestView, facts: dict[str, str]) -> None:
    """Refs, states and branches are told; a trigger's token is not."""
    intent = read(asked)
    assert intent.facts == facts
    assert "not-a-real-token" not in str(intent)


@pytest.mark.parametrize(
    "host, port, site", [("gitlab.example.com", 443, "gitlab.example.com"), ("gitlab.example.com", 8443,
    "gitlab.example.com:8443")]
)  # fmt: skip
def test_an_own_host_is_a_site_of_its_own(host: str, port: int, site: str) -> None:
    """The same path elsewhere is another project."""
    asked = view("DELETE", f"{P}/repository/tags/v1", host=host, port=port)
    assert tell(read(asked, SPOKEN)) == [
        ("gitlab tags.delete", f"{site}/group/app", "delete"),
        ("git push.delete", f"{site}/group/app#refs/tags/v1", "delete"),
    ]
    assert gitlab.decode(asked, NOTHING) is None


@pytest.mark.parametrize(
    "path", ["/", "/group/app.git/info/refs", "/group/app/-/archive/main/app.zip", "/apix", "/jwt/auth"]
)
def test_what_is_not_the_api_is_not_ours(path: str) -> None:
    """Git, pages and the registry are left to those who read them."""
    assert gitlab.decode(view("GET", path), SPOKEN) is None


def unread(method: str, path: str, *headers: tuple[str, str]) -> RequestView:
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority("gitlab.com", 443),
        path=path,
        query=None,
        headers=headers,
        body_length=None,
    )


def test_the_body_is_asked_for_only_where_it_says_something() -> None:
    """A branch, a document or a form must be seen; a package or an artifact passes as it comes."""
    for path in ("/api/graphql", f"{P}/repository/commits"):
        assert isinstance(gitlab.decode(unread("POST", path, JSON), NOTHING), BodyWanted)
    assert isinstance(gitlab.decode(unread("POST", f"{P}/issues", FORM), NOTHING), BodyWanted)
    assert isinstance(gitlab.decode(unread("POST", f"{P}/issues", JSON), NOTHING), Intent)
    assert isinstance(gitlab.decode(unread("PUT", f"{P}/packages/generic/a/1/b.zip"), NOTHING), Intent)
    assert isinstance(gitlab.decode(unread("POST", "/api/v4/jobs/7/artifacts", MULTIPART), NOTHING), Intent)


@pytest.mark.parametrize(
    "asked",
    [
        view("GET", "/api/v4/projects/a%252Fb/jobs"),
        view("GET", "/api/v4/projects/a%2F..%2Fb/jobs"),
        view("GET", "/api/v4/projects/a%2Fb.git/jobs"),
        view("GET", "/api/v4/projects/a%20b/never"),
        view("GET", "/api/v4/groups/%2E%2E/never"),
        view("GET", "/api/v4//projects"),
        view("POST", f"{P}/issues?_method=DELETE", {}),
        view("POST", f"{P}/issues", {}, JSON, ("x-http-method-override", "DELETE")),
        view("POST", f"{P}/issues", b"title=a&_method=DELETE", FORM),
        view("POST", f"{P}/issues", b"_method=DELETE", ("accept", "*/*")),
        view("POST", f"{P}/packages/pypi", b"x", MULTIPART, ("x-http-method-override", "DELETE")),
        view("GET", f"{P}/jobs", {"a": 1}),
        view("POST", f"{P}/repository/branches?branch=a", {"branch": "b"}),
        view("POST", f"{P}/repository/branches", {"branch": "refs/heads/a"}),
        view("POST", f"{P}/repository/commits", b"branch=main&actions[][file_path]=a", FORM),
        view("POST", f"{P}/repository/commits", {"branch": "main", "actions": {"0": {"file_path": "a"}}}),
        view("PUT", f"{P}/repository/files/a%2F..%2F.gitlab-ci.yml", {"branch": "main"}),
        view("POST", f"{P}/pipeline", {"ref": ["main"]}),
        view("POST", "/api/graphql", [{"query": "{ a }"}]),
        view("POST", "/api/graphql", {"query": "{ a }", "_json": [{"query": "mutation { b }"}]}),
        view("GET", "/api/graphql?query={a}"),
        view("POST", "/api/graphql", {"query": "{ a }"}, JSON, ("x-http-method-override", "GET")),
    ],
)  # fmt: skip
def test_a_request_with_two_readings_is_refused(asked: RequestView) -> None:
    """Odd names, doubled parameters, hidden methods and batches are denied, whatever the rules say."""
    with pytest.raises(IntentError):
        gitlab.decode(asked, SPOKEN)


def test_every_action_that_is_treated_specially_exists() -> None:
    """A renamed action does not silently lose its facts."""
    pending, names = [ROUTES.root], set()
    while pending:
        node = pending.pop()
        names |= {operation.name for operation, _ in (*node.ends.values(), *node.tails.values())}
        pending += [*node.literal.values(), *([node.variable] if node.variable is not None else [])]
    assert {*gitlab._NOTES, *gitlab._UPLOADS} <= names


def test_an_unknown_method_is_unknown() -> None:
    """What HTTP does not define is not guessed."""
    assert read(view("PROPFIND", P)).effect is EffectClass.UNKNOWN
