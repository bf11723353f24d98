"""GitHub's mutations are told by harm, and by the refs that they move."""

import json
from typing import Any

import pytest

from proxy.intents.github_graphql import read_graphql, workflow_write
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

OLD, NEW, ZERO = "1" * 40, "2" * 40, "0" * 40


def view(body: object) -> RequestView:
    content = json.dumps(body).encode()
    return RequestView(
        method="POST",
        scheme="https",
        authority=Authority("api.github.com", 443),
        path="/graphql",
        query=None,
        headers=(("content-type", "application/json"),),
        body_length=len(content),
        body=BodyPrefix(data=content, is_whole=True),
    )


def ask(query: str, **variables: Any) -> Intent:
    intent = read_graphql(view({"query": query, "variables": variables}), "github.com")
    assert isinstance(intent, Intent)
    return intent


def mutate(name: str, given: object) -> list[tuple[str, str, str]]:
    """All intents of one mutation, as name, resource and effect."""
    intent = ask(f"mutation ($input: I!) {{ x: {name}(input: $input) {{ y }} }}", input=given)
    return [(one.name, one.resource.id, one.effect.value) for one in (intent, *intent.also)]


def test_a_query_reads() -> None:
    """A query is told with the fields of its root."""
    intent = ask('query Q { repository(owner: "a", name: "b") { id } viewer { login } }')
    assert (intent.name, intent.effect, intent.resource.id) == ("github graphql.query", EffectClass.READ, "github.com")
    assert intent.facts == {"fields": "repository,viewer", "operation": "Q"}
    assert not intent.also


@pytest.mark.parametrize(
    "name, effect",
    [
        ("addComment", "write"),
        ("deleteIssueComment", "delete"),
        ("updateBranchProtectionRule", "admin"),
        ("createRepository", "admin"),
        ("approveDeployments", "admin"),
        ("neverHeardOf", "admin"),
    ],
)
def test_a_mutation_has_its_harm(name: str, effect: str) -> None:
    """What is not known to be less is administration."""
    assert mutate(name, {}) == [(f"github graphql.{name}", "github.com/?/?", effect)]


@pytest.mark.parametrize(
    "given, refs",
    [
        ({"branch": {"repositoryNameWithOwner": "Acme/App", "branchName": "main"}, "expectedHeadOid": OLD},
         [("git push.update", "github.com/acme/app#refs/heads/main", "write")]),
        ({"branch": {"repositoryNameWithOwner": "acme/app", "branchName": "refs/heads/a/b"}},
         [("git push.update", "github.com/acme/app#refs/heads/a/b", "write")]),
        ({"branch": {"id": "R_x"}}, [("git push.update", "github.com/?/?#?", "write")]),
        ({"branch": {"id": "R_x", "repositoryNameWithOwner": "acme/app", "branchName": "main"}},
         [("git push.update", "github.com/?/?#?", "write")]),
        ({"branch": {"repositoryNameWithOwner": "acme/app", "branchName": "main"},
          "fileChanges": {"additions": [{"path": "a", "contents": "eA=="}],
          "deletions": [{"path": ".github/workflows/b.yml"}]}},
         [("git push.update", "github.com/acme/app#refs/heads/main", "write"),
          ("github workflow.write", "github.com/acme/app", "admin")]),
        ({"branch": {"repositoryNameWithOwner": "acme/app", "branchName": "main"},
          "fileChanges": {"additions": {"path": ".github/workflows/b.yml"}}},
         [("git push.update", "github.com/acme/app#refs/heads/main", "write"),
          ("github workflow.write", "github.com/acme/app", "admin")]),
        ({"branch": {"repositoryNameWithOwner": "acme/app", "branchName": "main"},
          "fileChanges": {"additions": [{"path": ".github/workflows/b.yml"}, {"path": "z"}]}},
         [("git push.update", "github.com/acme/app#refs/heads/main", "write"),
          ("github workflow.write", "github.com/acme/app", "admin")]),
        ({"branch": {"repositoryNameWithOwner": "acme/app", "branchName": "main"},
         "fileChanges": {"additions": [{"path": "a"}]}},
         [("git push.update", "github.com/acme/app#refs/heads/main", "write")]),
    ],
)  # fmt: skip
def test_a_commit_is_a_push(given: object, refs: list[tuple[str, str, str]]) -> None:
    """A commit on a branch is told as a push to it, and a workflow among its files as such."""
    assert mutate("createCommitOnBranch", given)[1:] == refs


@pytest.mark.parametrize(
    "name, given, refs",
    [
        ("createRef", {"repositoryId": "R", "name": "refs/heads/a", "oid": NEW},
         ["create github.com/?/?#refs/heads/a"]),
        ("createRef", {}, ["create github.com/?/?#?"]),
        ("createLinkedBranch", {"name": "a"}, ["create github.com/?/?#refs/heads/a"]),
        ("createLinkedBranch", {}, ["create github.com/?/?#?"]),
        ("updateRef", {"refId": "R", "oid": NEW}, ["update github.com/?/?#?"]),
        ("updateRefs", {"refUpdates": [
            {"name": "refs/heads/a", "beforeOid": OLD, "afterOid": NEW},
            {"name": "refs/heads/b", "beforeOid": ZERO, "afterOid": NEW},
            {"name": "refs/heads/c", "afterOid": ZERO}]},
         ["update github.com/?/?#refs/heads/a", "create github.com/?/?#refs/heads/b",
          "delete github.com/?/?#refs/heads/c"]),
        ("updateRefs", {"refUpdates": {"name": "refs/heads/a", "afterOid": NEW}},
         ["update github.com/?/?#refs/heads/a"]),
        ("deleteRef", {"refId": "R"}, ["delete github.com/?/?#?"]),
        ("mergeBranch", {"base": "main", "head": "a"}, ["update github.com/?/?#refs/heads/main"]),
        ("mergePullRequest", {"pullRequestId": "P"}, ["update github.com/?/?#?"]),
        ("enablePullRequestAutoMerge", {}, ["update github.com/?/?#?"]),
        ("enqueuePullRequest", {}, ["update github.com/?/?#?"]),
        ("updatePullRequestBranch", {}, ["update github.com/?/?#?"]),
        ("revertPullRequest", {}, ["create github.com/?/?#?"]),
        ("createDeployment", {"refId": "R"}, ["update github.com/?/?#?"]),
        ("createDeployment", {"refId": "R", "autoMerge": False}, []),
    ],
)  # fmt: skip
def test_what_moves_a_ref_says_so(name: str, given: object, refs: list[str]) -> None:
    """A ref named only by a node id is unknown, never nothing."""
    found = mutate(name, given)
    assert [f"{intent.removeprefix('git push.')} {resource}" for intent, resource, _ in found[1:]] == refs


@pytest.mark.parametrize("name", ["addPullRequestReview", "submitPullRequestReview"])
@pytest.mark.parametrize(
    "event, approvals",
    [
        ("APPROVE", True),
        ("DISMISS", True),
        ("never", True),
        ("COMMENT", False),
        ("REQUEST_CHANGES", False),
        (None, False),
    ],
)
def test_an_approval_is_administration(name: str, event: str | None, approvals: int) -> None:
    """A job that approves stands in for a person."""
    expected = [("github review.approve", "github.com/?/?", "admin")] * approvals
    assert mutate(name, {"event": event})[1:] == expected


def test_all_mutations_of_one_request_count() -> None:
    """What stands second, or in a fragment, is told like what stands first."""
    intent = ask(
        'mutation { addStar(input: {starrableId: "S"}) { x } ...F } '
        'fragment F on Mutation { addComment(input: {}) { x } deleteRef(input: {refId: "R"}) { x } }'
    )
    assert [one.name for one in (intent, *intent.also)] == [
        "github graphql.addStar",
        "github graphql.addComment",
        "github graphql.deleteRef",
        "git push.delete",
    ]


@pytest.mark.parametrize(
    "name, given",
    [
        ("createCommitOnBranch", None),
        ("createCommitOnBranch", "x"),
        ("createCommitOnBranch", {}),
        ("createCommitOnBranch", {"branch": {"repositoryNameWithOwner": "acme", "branchName": "main"}}),
        ("createCommitOnBranch", {"branch": {"repositoryNameWithOwner": "acme/a/b", "branchName": "main"}}),
        ("createCommitOnBranch", {"branch": {"repositoryNameWithOwner": "acme/?", "branchName": "main"}}),
        ("createCommitOnBranch", {"branch": {"repositoryNameWithOwner": "acme/app", "branchName": "heads/main"}}),
        ("createCommitOnBranch", {"branch": {"repositoryNameWithOwner": 1, "branchName": "main"}}),
        ("createCommitOnBranch", {"branch": {"id": "R"}, "fileChanges": []}),
        ("createCommitOnBranch", {"branch": {"id": "R"}, "fileChanges": {"additions": ["a"]}}),
        ("createCommitOnBranch", {"branch": {"id": "R"}, "fileChanges": {"additions": [{"contents": ""}]}}),
        ("createCommitOnBranch", {"branch": {"id": "R"}, "fileChanges": {"additions": [{"path": "a/../b"}]}}),
        ("createRef", {"name": "heads/a"}),
        ("createRef", {"name": ["refs/heads/a"]}),
        ("updateRefs", {}),
        ("updateRefs", {"refUpdates": []}),
        ("updateRefs", {"refUpdates": ["a"]}),
        ("updateRefs", {"refUpdates": [{"afterOid": NEW}]}),
        ("mergeBranch", {"head": "a"}),
        ("addPullRequestReview", ["APPROVE"]),
        ("addPullRequestReview", {"event": ["APPROVE"]}),
    ],
)
def test_a_mutation_that_cannot_be_read_is_refused(name: str, given: object) -> None:
    """An input of another shape than GitHub's is not guessed at."""
    with pytest.raises(IntentError):
        mutate(name, given)


def test_the_body_is_asked_for() -> None:
    """Nothing is said before the document is seen."""
    unread = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("api.github.com", 443),
        path="/graphql",
        query=None,
        headers=(("content-type", "application/json"),),
        body_length=None,
    )
    assert isinstance(read_graphql(unread, "github.com"), BodyWanted)


def test_a_workflow_is_named_where_it_is_known() -> None:
    """A path is a fact, no path is none."""
    assert workflow_write("github.com/a/b", ".github/workflows/x").facts == {"path": ".github/workflows/x"}
    assert workflow_write("github.com/a/b").facts == {}
