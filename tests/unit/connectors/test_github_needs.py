"""What a request needs of a GitHub token follows from its intent alone, and never exceeds the rule."""

import json
from typing import Any

import pytest

from proxy.connectors.github_needs import api_url, check_site, find_need, find_surface
from proxy.intents import registry
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Need
from proxy.model.intent import BodyPrefix, EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason

ALLOWED = ("Acme/Storefront",)
CEILING = {"contents": "write", "issues": "read"}
ZERO, ONE = "0" * 40, "1" * 40


def view(
    method: str,
    target: str,
    host: str = "api.github.com",
    body: object = None,
    *,
    port: int = 443,
    scheme: str = "https",
) -> RequestView:
    path, _, query = target.partition("?")
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return RequestView(
        method=method,
        scheme=scheme,
        authority=Authority(host, port),
        path=path,
        query=query or None,
        headers=(("content-type", "application/json"),) if data else (),
        body_length=len(data),
        body=BodyPrefix(data=data, is_whole=True),
    )


def meant(asked: RequestView, *spoken: str) -> Intent:
    found = registry.decode(asked, frozenset(spoken))
    assert isinstance(found, Intent)
    return found


def need(
    asked: RequestView,
    allowed: tuple[str, ...] = ALLOWED,
    ceiling: dict[str, str] | None = None,
    otherwise: dict[str, str] | None = None,
    *,
    site: str = "github.com",
) -> Need:
    surface = find_surface(asked, site)
    return find_need(meant(asked, "github", "git"), surface, site, allowed, ceiling or CEILING, otherwise or {})


def refusal(*given: Any, **more: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        need(*given, **more)
    assert caught.value.reason is Reason.CREDENTIAL_SCOPE
    return str(caught.value)


def packets(*lines: str) -> bytes:
    return b"".join(f"{len(line) + 4:04x}{line}".encode() for line in lines) + b"0000"


def push(path: str = "/acme/storefront.git", ref: str = "refs/heads/main") -> RequestView:
    return view("POST", f"{path}/git-receive-pack", "github.com", packets(f"{ZERO} {ONE} {ref}\0report-status"))


def graphql(query: str, **variables: Any) -> RequestView:
    return view("POST", "/graphql", body={"query": query, "variables": variables})


COMMIT = "mutation($input: CreateCommitOnBranchInput!) { createCommitOnBranch(input: $input) { commit { oid } } }"
READS, WRITES = "contents=read", "contents=write"
UPLOAD = "/repos/acme/storefront/releases/1/assets?name=a"
WORKFLOW = "/repos/acme/storefront/contents/.github/workflows/ci.yml"
NEEDS = [
    pytest.param(view("GET", "/acme/storefront/info/refs?service=git-upload-pack", "github.com"), READS, id="discover"),
    pytest.param(view("POST", "/Acme/Storefront.git/git-upload-pack", "github.com", packets()), READS, id="fetch"),
    pytest.param(
        view("GET", "/acme/storefront/info/refs?service=git-receive-pack", "github.com"), WRITES, id="discover-to-push"
    ),
    pytest.param(push(), WRITES, id="push"),
    pytest.param(view("POST", "/acme/storefront/git-receive-pack", "github.com", b"0000"), WRITES, id="probe"),
    pytest.param(
        view(
            "POST",
            "/acme/storefront.git/info/lfs/objects/batch",
            "github.com",
            {"operation": "download", "objects": [{"oid": "a" * 64, "size": 1}]},
        ),
        READS,
        id="lfs-download",
    ),
    pytest.param(
        view(
            "POST",
            "/acme/storefront.git/info/lfs/objects/batch",
            "github.com",
            {"operation": "upload", "objects": [{"oid": "a" * 64, "size": 1}]},
        ),
        WRITES,
        id="lfs-upload",
    ),
    pytest.param(view("GET", "/repos/acme/storefront/contents/README.md"), READS, id="rest-read"),
    pytest.param(view("GET", "/repos/ACME/storefront"), "metadata=read", id="metadata-is-always-there"),
    pytest.param(view("GET", "/repos/acme/storefront/issues"), "issues=read", id="another-permission"),
    pytest.param(view("POST", UPLOAD, "uploads.github.com", b"x"), WRITES, id="upload"),
    pytest.param(
        view("POST", "/repos/acme/storefront/git/refs", body={"ref": "refs/heads/x", "sha": ONE}),
        WRITES,
        id="a-ref-moved",
    ),
]


@pytest.mark.parametrize("asked, permissions", NEEDS)
def test_a_request_needs_the_permission_of_its_operation(asked: RequestView, permissions: str) -> None:
    """git reads or writes contents; the API's operations need what GitHub's own table says; one repository each."""
    assert need(asked) == (("permissions", permissions), ("repository", "acme/storefront"))


def test_a_push_may_write_workflows_only_where_the_rule_says_so() -> None:
    """Only GitHub sees what a pack changes, so a rule that gives `workflows` gives it to pushes alone."""
    wide = {**CEILING, "workflows": "write"}
    assert dict(need(push(), ceiling=wide))["permissions"] == "contents=write workflows=write"
    merge = view("PUT", "/repos/acme/storefront/pulls/1/merge", body={})
    assert dict(need(merge, ceiling=wide))["permissions"] == "contents=write workflows=write"
    fetch = view("POST", "/acme/storefront/git-upload-pack", "github.com", packets())
    assert dict(need(fetch, ceiling=wide))["permissions"] == READS
    body = {"message": "m", "content": "eA==", "branch": "main"}
    assert dict(need(view("PUT", WORKFLOW, body=body), ceiling=wide))["permissions"] == "contents=write workflows=write"
    assert "needs workflows=write" in refusal(view("PUT", WORKFLOW, body=body))


REFUSED = [
    pytest.param(push("/acme/other"), {}, "do not hold acme/other", id="another-repository"),
    pytest.param(push("/evil/storefront"), {}, "do not hold evil/storefront", id="another-owner"),
    pytest.param(push("/acme/storefront/x"), {}, "in a way that cannot be compared", id="a-longer-path"),
    pytest.param(push(), {"ceiling": {"contents": "read"}}, "needs contents=write", id="write-above-read"),
    pytest.param(push(), {"ceiling": {"issues": "write"}}, "needs contents=write", id="another-permission"),
    pytest.param(
        view("POST", "/repos/acme/storefront/issues", body={"title": "x"}), {}, "needs issues=write", id="issue"
    ),
    pytest.param(view("DELETE", "/repos/acme/storefront"), {}, "needs administration=write", id="deletion"),
    pytest.param(view("GET", "/repositories/1/issues"), {}, "cannot be compared", id="a-number-for-a-name"),
    pytest.param(
        view("GET", "/repos/acme/storefront/hash-algorithm"), {}, "is not known; say it", id="nobody-states-it"
    ),
    pytest.param(graphql("{ viewer { login } }"), {}, "github graphql.query needs is not known", id="graphql"),
    pytest.param(
        view("DELETE", "/installation/token"), {"otherwise": {"contents": "read"}}, "credentials", id="token-itself"
    ),
    pytest.param(view("GET", "/acme/storefront", "github.com"), {}, "only git is served", id="a-page"),
    pytest.param(
        view("GET", "/acme/storefront/releases/download/v1/a", "github.com"), {}, "only git is served", id="a-download"
    ),
    pytest.param(view("POST", "/acme/storefront/info/lfs/x", "github.com"), {}, "could not be told", id="unknown-lfs"),
    pytest.param(
        view("TRACE", "/repos/acme/storefront"), {"otherwise": {"contents": "read"}}, "not be told", id="unknown-verb"
    ),
]


@pytest.mark.parametrize("asked, more, why", REFUSED)
def test_what_exceeds_the_rule_gets_no_token(asked: RequestView, more: dict[str, Any], why: str) -> None:
    """Another repository, a higher level, and whatever cannot be told are refused before anything is minted."""
    assert why in refusal(asked, **more)


def test_several_repositories_and_whole_owners() -> None:
    """Each request gets the one it names; one that names none is refused where there are several."""
    allowed = ("acme/Storefront", "tools/*")
    assert dict(need(push("/tools/ci"), allowed))["repository"] == "tools/ci"
    assert dict(need(push(), allowed))["repository"] == "acme/storefront"
    assert "do not hold acme/other" in refusal(push("/acme/other"), allowed)
    listing = view("GET", "/emojis")
    assert dict(need(listing))["repository"] == "acme/storefront"
    assert dict(need(listing, ()))["repository"] == ""
    assert "rule has more than one" in refusal(listing, allowed)
    assert "rule has more than one" in refusal(listing, ("tools/*",))


def test_what_nobody_states_gets_what_the_rule_says() -> None:
    """GraphQL, and operations without a stated permission, get `otherwise` on one repository, below the ceiling."""
    reads = {"contents": "read"}
    expected = (("permissions", READS), ("repository", "acme/storefront"))
    assert need(graphql("{ viewer { login } }"), otherwise=reads) == expected
    assert need(view("GET", "/repos/acme/storefront/readme"), otherwise=reads) == expected
    assert "needs contents=write" in refusal(
        graphql("{ viewer { login } }"), ceiling={"issues": "read", "contents": "read"}, otherwise={"contents": "write"}
    )


def test_a_graphql_mutation_that_names_its_repository() -> None:
    """A commit by GraphQL is bound to the repository it names; elsewhere it is refused; workflows need their own."""
    writes = {"contents": "write"}

    def commit(name: str, path: str = "a") -> RequestView:
        changes = {"additions": [{"path": path, "contents": "eA=="}]}
        branch = {"repositoryNameWithOwner": name, "branchName": "main"}
        return graphql(COMMIT, input={"branch": branch, "expectedHeadOid": ONE, "fileChanges": changes})

    allowed = ("acme/storefront", "acme/docs")
    expected = (("permissions", WRITES), ("repository", "acme/docs"))
    assert need(commit("Acme/Docs"), allowed, otherwise=writes) == expected
    assert "do not hold acme/other" in refusal(commit("acme/other"), allowed, otherwise=writes)
    assert "workflows=write" in refusal(commit("acme/docs", ".github/workflows/x.yml"), allowed, otherwise=writes)


def test_several_repositories_in_one_request() -> None:
    """A token is for one repository, so a request about two gets none."""
    one = "a: createCommitOnBranch(input: $one) { ref { id } } b: createCommitOnBranch(input: $two) { ref { id } }"
    inputs = {
        name: {
            "branch": {"repositoryNameWithOwner": where, "branchName": "main"},
            "expectedHeadOid": ONE,
            "fileChanges": {},
        }
        for name, where in (("one", "acme/storefront"), ("two", "acme/docs"))
    }
    query = f"mutation($one: CreateCommitOnBranchInput!, $two: CreateCommitOnBranchInput!) {{ {one} }}"
    said = refusal(graphql(query, **inputs), ("acme/*",), otherwise={"contents": "write"})
    assert "more than one repository" in said


OUTSIDE = [
    view("GET", "/acme/storefront/zip/main", "codeload.github.com"),
    view("GET", "/x", "objects.githubusercontent.com"),
    view("GET", "/acme/storefront/main/x", "raw.githubusercontent.com"),
    view("GET", "/repos/acme/storefront", "api.github.com", port=8443),
    view("GET", "/repos/acme/storefront", "api.github.com", scheme="http", port=80),
    view("GET", "/repos/acme/storefront", "api.github.com", scheme="http", port=443),
    view("GET", "/x", "www.github.com"),
    view("GET", "/x", "api.github.com.evil.test"),
    view("GET", "/api/v3/x", "github.example.com"),
]


@pytest.mark.parametrize("asked", OUTSIDE, ids=lambda asked: f"{asked.scheme}-{asked.authority}")
def test_no_other_host_gets_a_token(asked: RequestView) -> None:
    """Downloads, odd ports, plain HTTP and somebody else's hosts: refused whatever the intent is."""
    with pytest.raises(CredentialError) as caught:
        find_surface(asked, "github.com")
    assert caught.value.reason is Reason.CREDENTIAL_SCOPE


def test_a_server_of_ones_own() -> None:
    """On one host git and API are told by the path; its tokens go to no other host, and github.com's not to it."""
    own = "github.example.com"
    git = view("POST", "/acme/storefront/git-upload-pack", own, packets())
    assert need(git, site=own) == (("permissions", READS), ("repository", "acme/storefront"))
    rest = view("GET", "/api/v3/repos/Acme/storefront/issues", own)
    assert need(rest, site=own) == (("permissions", "issues=read"), ("repository", "acme/storefront"))
    upload = view("POST", f"/api/uploads{UPLOAD}", own, b"x")
    assert need(upload, site=own) == (("permissions", WRITES), ("repository", "acme/storefront"))
    assert "takes no token" in refusal(view("GET", "/repos/acme/storefront", "api.github.com"), site=own)
    hidden = view("POST", "/api/v3/git-receive-pack", own, packets(f"{ZERO} {ONE} refs/heads/x\0"))
    assert refusal(hidden, site=own).startswith("github-app: ")


def test_a_server_whose_api_nobody_reads() -> None:
    """Without `github` in the rules its API is plain HTTP, which tells neither operation nor repository: no token."""
    own = "github.example.com"
    asked = view("GET", "/api/v3/repos/acme/storefront/issues", own)
    with pytest.raises(CredentialError, match="name what it does in the rule's `intent`"):
        find_need(meant(asked), find_surface(asked, own), own, ALLOWED, CEILING, {"contents": "read"})


def test_a_repository_of_another_site() -> None:
    """Whatever a decoder may make of a request: a repository elsewhere gets no token of this site."""
    elsewhere = Intent(
        protocol="git",
        action="fetch",
        resource=Resource(type="git-repository", id="github.com.evil.test/acme/storefront"),
        effect=EffectClass.READ,
        exact=True,
    )
    asked = view("POST", "/acme/storefront/git-upload-pack", "github.com", packets())
    with pytest.raises(CredentialError, match="a repository that is not at"):
        find_need(elsewhere, find_surface(asked, "github.com"), "github.com", ALLOWED, CEILING, {})


def test_a_tenant() -> None:
    """A tenant's git, API and uploads are on three hosts of its own."""
    rest = view("GET", "/repos/acme/storefront/issues", "api.octo.ghe.com")
    assert need(rest, site="octo.ghe.com") == (("permissions", "issues=read"), ("repository", "acme/storefront"))
    assert need(push(), site="github.com")[0] == ("permissions", WRITES)
    git = view("POST", "/acme/storefront/git-upload-pack", "octo.ghe.com", packets())
    assert dict(need(git, site="octo.ghe.com"))["repository"] == "acme/storefront"
    with pytest.raises(CredentialError):
        find_surface(view("GET", "/x", "api.other.ghe.com"), "octo.ghe.com")


@pytest.mark.parametrize(
    "host, api",
    [
        ("github.com", "https://api.github.com"),
        ("octo.ghe.com", "https://api.octo.ghe.com"),
        ("github.example.com", "https://github.example.com/api/v3"),
    ],
)
def test_where_the_api_is(host: str, api: str) -> None:
    """Fixed by the site, never by a request or an answer."""
    check_site(host)
    assert api_url(host) == api


@pytest.mark.parametrize(
    "host",
    [
        "api.github.com", "codeload.github.com", "raw.githubusercontent.com", "a.b.ghe.com", "acme.github.io",
        "GitHub.com", "github", "10.0.0.1", "github.example.com:8443", "github.example.com/x", "me@github.example.com",
        "ghe.com.", "",
    ],
)  # fmt: skip
def test_what_is_no_site(host: str) -> None:
    """Hosts of downloads, addresses, ports and paths are not where an app lives."""
    with pytest.raises(ValueError, match=r"is not github\.com"):
        check_site(host)
