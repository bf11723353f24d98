"""The github-app connector through a real sidecar: real git and curl against a GitHub that holds every token to its
repository and permissions. What a job gets is what its request needs; what it must not get, GitHub never sees asked.
"""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.connectors.parts import fingerprint
from proxy.demo.git import run_git
from tests.fakes.canary import find_leaks
from tests.fakes.github import Instead
from tests.fakes.github_stage import API, CODELOAD, UPLOADS, WEB, GitHubStage
from tests.fakes.raw import RawClient
from tests.fakes.sidecar import Job, rule
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
ID = f"{WEB}/acme/storefront"
URL = f"https://{WEB}/acme/storefront.git"
BARE = "acme/storefront.git"
BROAD = {"pipeline": "broad", "organization": "acme"}
CLAIMED = {"contents": "write", "workflows": "write"}
COMMIT = "mutation($input: CreateCommitOnBranchInput!) { createCommitOnBranch(input: $input) { commit { oid } } }"


@pytest.fixture(scope="module")
def github_stage(require_tool: RequireTool) -> Iterator[GitHubStage]:
    require_tool("git")
    made = GitHubStage()
    work = made.rule(
        "work",
        [WEB, API, UPLOADS],
        [
            f"git read {ID}",
            f"git push.* {ID}#refs/heads/**",
            f"github read {ID}",
            f"github list {ID}",
            f"github repos/* {ID}",
            f"github issues/* {ID}",
            f"github actions/* {ID}",
        ],
        permissions={"contents": "write", "issues": "read"},
    )
    broad = made.rule(
        "broad",
        [WEB, API],
        [
            f"git * {ID}",
            f"git * {ID}#**",
            f"github * {ID}",
            f"github * {WEB}",
            f"git * {WEB}/acme/docs",
            f"git * {WEB}/acme/docs#**",
        ],
        permissions={**CLAIMED, "issues": "write"},
        repositories=["acme/*"],
    )
    graph = made.rule(
        "graph",
        [API],
        [
            f"github graphql.* {WEB}",
            f"github graphql.* {WEB}/?/?",
            f"git push.* {ID}#refs/heads/bot",
            f"github read {ID}",
        ],
        otherwise={"contents": "write"},
    )
    absent = made.rule("absent", [API], [f"github * {WEB}/acme/absent"], repositories=["acme/absent"])
    downloads = rule("downloads", CODELOAD)
    wrong = made.rule("wrong", [CODELOAD], [f"git archive {ID}"])
    made.world.rules = [
        {**work, "job": {**work["job"], "pipeline": "storefront"}},
        {**broad, "job": BROAD},
        {**graph, "job": {**graph["job"], "pipeline": "graph"}},
        {**absent, "job": {**absent["job"], "pipeline": "absent"}},
        {**downloads, "job": {**downloads["job"], "pipeline": "graph"}},
        {**wrong, "job": {**wrong["job"], "pipeline": "wrong"}},
    ]
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(github_stage: GitHubStage) -> Iterator[GitHubStage]:
    """The stage of this file; what a test made GitHub say or be is undone around it."""
    github_stage.settle()
    yield github_stage
    github_stage.settle()


def commit(job: Job, name: str, content: str = "x") -> str:
    place = job.folder / "work" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    run_git("add", name, folder=job.folder / "work")
    run_git("commit", "-q", "-m", f"Add {name}", folder=job.folder / "work")
    return run_git("rev-parse", "HEAD", folder=job.folder / "work")


def asked(stage: GitHubStage) -> list[tuple[list[str], dict[str, str]]]:
    return [(one["repositories"], one["permissions"]) for one in stage.hub.asked]


def test_clone_then_push(stage: GitHubStage) -> None:
    """A clone gets a token that reads; the push another that writes; each for the one repository, never in the job."""
    job = stage.world.open()
    job.run("git", "clone", "-q", URL, "work")
    assert asked(stage) == [(["storefront"], {"contents": "read"})]
    (reader,) = {use.token for use in stage.used(scheme="basic")}
    head = commit(job, "one")
    job.run("git", "-C", "work", "push", "-q", "origin", "HEAD:refs/heads/one")
    assert run_git("rev-parse", "one", folder=stage.hub.folder / BARE) == head
    assert asked(stage)[1:] == [(["storefront"], {"contents": "write"})]
    pushes = [use for use in stage.hub.uses if "receive-pack" in use.path]
    (writer,) = {use.token for use in pushes}
    assert writer != reader
    assert {use.scheme for use in stage.hub.uses} == {"basic"}
    first, second = stage.minted(job)
    assert (first["credential"], second["credential"]) == (fingerprint(reader), fingerprint(writer))
    assert first["facts"]["repository"] == "github.com/acme/storefront"
    assert second["facts"]["permissions"] == "contents=write metadata=read"
    assert second["need"] == {"permissions": "contents=write", "repository": "acme/storefront"}
    assert find_leaks({"environment": "\n".join(job.environment.values()).encode()}, [reader, writer]) == []
    for folder in (job.folder / "work" / ".git" / "config", job.folder / "work" / ".git" / "HEAD"):
        assert b"ghs_" not in folder.read_bytes()
    assert stage.leaks() == []


def test_the_rest_api_with_curl(stage: GitHubStage) -> None:
    """Each operation gets a token with its own permission; what the job brought itself is not what GitHub sees."""
    job = stage.world.open()
    said = job.curl("-H", "Authorization: Bearer jobs-own", f"https://{API}/repos/acme/storefront/contents/README.md")
    assert json.loads(said)["full_name"] == "acme/storefront"
    job.curl("-f", f"https://{API}/repos/acme/storefront/issues")
    job.curl("-f", f"https://{API}/repos/acme/storefront")
    asset = f"https://{UPLOADS}/repos/acme/storefront/releases/1/assets?name=a.zip"
    job.curl("-f", "--data-binary", "@-", "-H", "Content-Type: application/zip", asset, stdin=b"bundle")
    assert [one[1] for one in asked(stage)] == [
        {"contents": "read"}, {"issues": "read"}, {"metadata": "read"}, {"contents": "write"},
    ]  # fmt: skip
    assert {use.scheme for use in stage.hub.uses} == {"bearer"}
    assert [use.status for use in stage.hub.uses] == [200, 200, 200, 201]
    assert "jobs-own" not in {use.token for use in stage.hub.uses}
    assert stage.leaks() == []


def test_a_token_of_one_need_serves_git_and_api(stage: GitHubStage) -> None:
    """A fetch and a read of a file need the same, so they share one token."""
    job = stage.world.open()
    job.run("git", "ls-remote", "-q", URL)
    job.curl("-f", f"https://{API}/repos/acme/storefront/contents/README.md")
    assert len(stage.hub.asked) == 1
    assert len({use.token for use in stage.hub.uses}) == 1


def test_a_redirect_carries_no_token(stage: GitHubStage) -> None:
    """An archive is redirected to a signed URL on another host, which sees no token; a rule cannot send one there."""
    job = stage.world.open(pipeline_slug="graph")
    said = job.curl("-fL", f"https://{API}/repos/acme/storefront/tarball/main")
    assert said == "an archive\n"
    (there,) = stage.used(host=CODELOAD)
    assert (there.scheme, there.token) == ("", "")
    (here,) = stage.used(host=API)
    assert here.status == 302
    other = stage.world.open(pipeline_slug="wrong")
    path = "/acme/storefront/legacy.tar.gz/refs/heads/main"
    stage.hub.uses.clear()
    answer = stage.ask(other, path, CODELOAD)
    stage.refused(answer, path, "credential-scope", "takes no token")


OUTSIDE: list[Any] = [
    pytest.param("POST", "/repos/acme/storefront/issues", {"title": "x"}, "needs issues=write", id="level"),
    pytest.param("GET", "/repos/acme/storefront/actions/runs", None, "needs actions=read", id="permission"),
    pytest.param("GET", "/repos/acme/storefront/hash-algorithm", None, "is not known", id="unstated"),
    pytest.param("PATCH", "/repos/acme/storefront", {"private": False}, "needs administration=write", id="settings"),
]


@pytest.mark.parametrize("method, path, body, why", OUTSIDE)
def test_what_exceeds_the_ceiling_is_refused_before_anything_is_asked(
    stage: GitHubStage, method: str, path: str, body: object, why: str
) -> None:
    """The rule allows the intent, its credential does not reach so far: no token is made."""
    job = stage.world.open()
    stage.refused(stage.ask(job, path, method=method, body=body), path, "credential-scope", why)
    assert (stage.hub.calls, stage.minted(job)) == ([], [])


def test_another_repository_is_no_rules_business(stage: GitHubStage) -> None:
    """A job cannot read, clone or push what its rule does not name."""
    job = stage.world.open()
    done = job.run("git", "clone", "-q", f"https://{WEB}/acme/docs.git", "work", code=128)
    assert b"403" in done.stderr
    assert stage.ask(job, "/repos/acme/docs").reason == "no-rule"
    assert (stage.hub.calls, stage.hub.uses) == ([], [])


def test_workflow_files_need_a_rule_that_says_so(stage: GitHubStage) -> None:
    """A token without `workflows` cannot push a workflow file, and GitHub says why; one with it can."""
    job = stage.world.open()
    job.run("git", "clone", "-q", URL, "work")
    commit(job, ".github/workflows/ci.yml", "on: push\n")
    done = job.run("git", "-C", "work", "push", "origin", "HEAD:refs/heads/flow", code=1)
    assert b"without `workflows` permission" in done.stderr
    broad = stage.world.open(pipeline_slug="broad")
    broad.run("git", "clone", "-q", URL, "work")
    head = commit(broad, ".github/workflows/ci.yml", "on: push\n")
    broad.run("git", "-C", "work", "push", "-q", "origin", "HEAD:refs/heads/flow")
    assert run_git("rev-parse", "flow", folder=stage.hub.folder / BARE) == head
    assert asked(stage)[-1] == (["storefront"], CLAIMED)


def test_a_rule_for_an_owner_still_mints_for_one(stage: GitHubStage) -> None:
    """With `acme/*` each repository gets a token of its own; a request that names none gets none."""
    job = stage.world.open(pipeline_slug="broad")
    for name in ("storefront", "docs"):
        job.run("git", "ls-remote", "-q", f"https://{WEB}/acme/{name}")
    assert asked(stage) == [(["storefront"], {"contents": "read"}), (["docs"], {"contents": "read"})]
    assert len({use.token for use in stage.hub.uses}) == 2
    answer = stage.ask(job, "/emojis")
    stage.refused(answer, "/emojis", "credential-scope", "names no repository")


def test_graphql_gets_what_the_rule_says_for_it(stage: GitHubStage) -> None:
    """A query, and a commit to the repository that it names, with the rule's `otherwise`; elsewhere no token."""
    job = stage.world.open(pipeline_slug="graph")

    def send(name: str) -> Any:
        branch = {"repositoryNameWithOwner": name, "branchName": "bot"}
        given = {"input": {"branch": branch, "expectedHeadOid": "1" * 40, "fileChanges": {"additions": []}}}
        return stage.ask(job, "/graphql", method="POST", body={"query": COMMIT, "variables": given})

    answer = stage.ask(job, "/graphql", method="POST", body={"query": "{ viewer { login } }"})
    assert json.loads(answer.body)["data"]["permissions"] == {"contents": "write", "metadata": "read"}
    assert send("acme/storefront").status == 200
    assert send("acme/docs").reason == "no-rule"
    assert asked(stage) == [(["storefront"], {"contents": "write"})]


def test_one_token_for_many_requests_and_none_for_another_job(stage: GitHubStage) -> None:
    """Parallel requests wait for one token; another job's requests get another."""
    jobs = [stage.world.open(), stage.world.open()]
    stage.hub.delay = 0.2
    path = "/repos/acme/storefront/contents/README.md"
    answers: list[int] = []
    threads = [threading.Thread(target=lambda job=job: answers.append(stage.ask(job, path).status)) for job in jobs * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(stage.hub.asked) == 2
    assert len({use.token for use in stage.hub.uses}) == 2
    assert [len({record["credential"] for record in stage.minted(job)}) for job in jobs] == [1, 1]


def test_tokens_end_with_their_session(stage: GitHubStage) -> None:
    """Every token of the session is void at GitHub and so recorded; another session's lives on."""
    job, other = stage.world.open(), stage.world.open()
    for path in ("/repos/acme/storefront/contents/README.md", "/repos/acme/storefront/issues"):
        assert stage.ask(job, path).status == 200
    assert stage.ask(other, path).status == 200
    *mine, theirs = list(stage.hub.tokens)[-3:]
    record = stage.closed(job)
    assert [(one["connector"], one["fate"]) for one in record["dropped"]] == [("github-app", "revoked")] * 2
    assert {one["credential"] for one in record["dropped"]} == {fingerprint(token) for token in mine}
    assert [stage.hub.tokens[token].revoked for token in (*mine, theirs)] == [True, True, False]
    assert stage.leaks() == []


def test_a_revocation_that_fails_is_on_record(stage: GitHubStage) -> None:
    """GitHub down at the session's end: the record says that the token may live, and until when."""
    job = stage.world.open()
    assert stage.ask(job, "/repos/acme/storefront").status == 200
    stage.hub.revokes = False
    (dropped,) = stage.closed(job)["dropped"]
    token = list(stage.hub.tokens)[-1]
    assert (dropped["fate"], dropped["credential"]) == ("revoke-failed", fingerprint(token))
    assert dropped["expires_at"] == stage.hub.tokens[token].expires_at.isoformat()


def test_a_token_that_comes_back_is_not_passed_on(stage: GitHubStage) -> None:
    """An API that echoes the header it got shows the job nothing of the token."""
    job = stage.world.open()
    stage.hub.echoes = True
    answer = stage.ask(job, "/repos/acme/storefront/contents/README.md")
    token = list(stage.hub.tokens)[-1]
    assert (len(stage.used(token=token)), answer.status) == (1, 200)
    assert token.encode() not in answer.body
    assert stage.leaks() == []


def answer_with(status: int, body: object = None, **headers: str) -> Instead:
    content = b"" if body is None else json.dumps(body).encode()
    return Instead(
        status=status, body=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


FAILING: list[Any] = [
    pytest.param(answer_with(500), "credential-unavailable", "status 500", id="broken"),
    pytest.param(answer_with(429, retry_after="9"), "credential-unavailable", "status 429", id="throttled"),
    pytest.param(
        answer_with(403, x_ratelimit_remaining="0"), "credential-unavailable", "too many requests", id="used-up"
    ),
    pytest.param(answer_with(401), "credential-refused", "or the clock here is wrong", id="key"),
    pytest.param(answer_with(302, location=f"https://{CODELOAD}/"), "credential-refused", "status 302", id="redirect"),
    pytest.param(answer_with(200, {"id": 77}), "credential-unavailable", "is not that of", id="no-account"),
]


@pytest.mark.parametrize("wrong, reason, told", FAILING)
def test_a_github_that_fails(stage: GitHubStage, wrong: Instead, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job, path = stage.world.open(), "/repos/acme/storefront/contents/README.md"
    stage.hub.instead = [wrong]
    stage.refused(stage.ask(job, path), path, reason, told)
    assert len(stage.hub.calls) == 1
    time.sleep(2.1)
    assert stage.ask(job, path).status == 200


WIDER: list[dict[str, Any]] = [
    {"permissions": {"contents": "write"}},
    {"repository_selection": "all"},
    {"repositories": [{"full_name": "Acme/docs"}]},
    {"expires_at": "soon"},
    {"expires_at": "2020-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("gives", WIDER, ids=str)
def test_a_token_that_is_wider_or_over(stage: GitHubStage, gives: dict[str, Any]) -> None:
    """It is used for nothing."""
    job, path = stage.world.open(), "/repos/acme/storefront/contents/README.md"
    stage.hub.gives = gives
    answer = stage.ask(job, path)
    assert answer.status == 503
    assert answer.reason == "credential-unavailable"
    assert (stage.hub.uses, stage.minted(job)) == ([], [])
    assert stage.leaks() == []


def test_a_lie_about_the_end_is_not_believed(stage: GitHubStage) -> None:
    """A token that is said to live for a century is used for the rule's fifteen minutes."""
    job = stage.world.open()
    stage.hub.gives = {"expires_at": "2999-01-01T00:00:00Z"}
    assert stage.ask(job, "/repos/acme/storefront").status == 200
    (minted,) = stage.minted(job)
    assert minted["expires_at"] < "2998"


def test_a_github_that_is_slow(stage: GitHubStage) -> None:
    """Within five seconds the job has its answer, and another job whose token is there waits for nothing."""
    other = stage.world.open()
    path = "/repos/acme/storefront/contents/README.md"
    assert stage.ask(other, path).status == 200
    stage.hub.delay = 6.0
    job, began = stage.world.open(), time.monotonic()
    with RawClient(stage.world, job.session) as client:
        client.tunnel(API)
        client.send(f"GET {path} HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        time.sleep(0.2)
        assert stage.ask(other, path).status == 200
        assert time.monotonic() - began < 2
        answer = client.reply()
    assert answer.reason == "credential-unavailable"
    assert 4 < time.monotonic() - began < 6


def test_an_app_that_is_not_installed_there(stage: GitHubStage) -> None:
    """The refusal says so; no other installation is tried."""
    job, path = stage.world.open(pipeline_slug="absent"), "/repos/acme/absent/contents/x"
    answer = stage.ask(job, path)
    stage.refused(answer, path, "credential-refused", "the app is not installed there")
    assert stage.hub.calls == ["GET /repos/acme/absent/installation"]


def test_a_server_of_ones_own(require_tool: RequireTool) -> None:
    """GitHub Enterprise Server: git and API on one host, told apart by the path, with the app's calls below /api/v3."""
    require_tool("git")
    host = "github.example.com"
    made, where = GitHubStage(host=host), f"{host}/acme/storefront"
    lines = [f"git * {where}", f"git push.* {where}#refs/heads/**", f"github read {where}"]
    made.world.rules = [made.rule("own", [host], lines, host=host)]
    made.start()
    try:
        job = made.world.open()
        job.run("git", "clone", "-q", f"https://{host}/acme/storefront", "work")
        commit(job, "one")
        job.run("git", "-C", "work", "push", "-q", "origin", "HEAD:refs/heads/one")
        assert made.ask(job, "/api/v3/repos/acme/storefront/contents/README.md", host).status == 200
        assert made.ask(job, "/api/v3/repos/acme/docs/contents/README.md", host).reason == "no-rule"
        assert made.hub.calls[0] == "GET /repos/acme/storefront/installation"
        assert asked(made) == [(["storefront"], {"contents": "read"}), (["storefront"], {"contents": "write"})]
        assert {use.scheme for use in made.hub.uses} == {"basic", "bearer"}
        assert [one["fate"] for one in made.closed(job)["dropped"]] == ["revoked", "revoked"]
        assert (made.hub.living(), made.leaks()) == ([], [])
    finally:
        made.stop()


def test_a_github_that_cannot_be_reached() -> None:
    """Nobody listens where GitHub is: no token, the reason, and nothing of the app's own token in the answer."""
    made = GitHubStage()
    made.world.places[f"{API}:443"] = "127.0.0.1:9"
    made.world.rules = [made.rule("work", [API], [f"github read {ID}"])]
    made.start()
    try:
        path = "/repos/acme/storefront/contents/README.md"
        made.refused(made.ask(made.world.open(), path), path, "credential-unavailable", "cannot be reached")
    finally:
        made.stop()


def test_after_all_of_it(stage: GitHubStage) -> None:
    """The sidecar still serves, no secret is anywhere, and the trail is whole."""
    assert stage.ask(stage.world.open(), "/repos/acme/storefront").status == 200
    assert stage.world.sidecar.api.readiness() == ()
    assert stage.leaks() == []
    stage.check_trail()
