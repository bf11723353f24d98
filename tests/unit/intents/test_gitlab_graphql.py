"""GitLab's mutations are told by harm, and by the refs that they move."""

import json
from typing import Any

import pytest

from proxy.intents.gitlab_graphql import read_graphql
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

PATH = {"projectPath": "G/App"}


def view(body: object) -> RequestView:
    content = json.dumps(body).encode()
    return RequestView(
        method="POST",
        scheme="https",
        authority=Authority("gitlab.com", 443),
        path="/api/graphql",
        query=None,
        headers=(("content-type", "application/json"),),
        body_length=len(content),
        body=BodyPrefix(data=content, is_whole=True),
    )


def mutate(name: str, given: object) -> list[tuple[str, str, str]]:
    """All intents of one mutation, as name, resource and effect."""
    text = f"mutation ($input: I!) {{ x: {name}(input: $input) {{ y }} }}"
    intent = read_graphql(view({"query": text, "variables": {"input": given}}), "gitlab.com")
    assert isinstance(intent, Intent)
    return [(one.name, one.resource.id, one.effect.value) for one in (intent, *intent.also)]


def test_a_query_reads() -> None:
    """A query is told with the fields of its root, and moves nothing."""
    intent = read_graphql(view({"query": "{ commitCreate: project { id } createBranch { id } }"}), "gitlab.com")
    assert isinstance(intent, Intent)
    assert (intent.action, intent.effect, intent.also) == ("graphql.query", EffectClass.READ, ())
    assert intent.facts == {"fields": "project,createBranch"}


@pytest.mark.parametrize(
    "name, effect",
    [
        ("createNote", "write"),
        ("destroyNote", "delete"),
        ("releaseUpdate", "publish"),
        ("pipelineRetry", "execute"),
        ("jobPlay", "admin"),
        ("projectSettingsUpdate", "admin"),
        ("pipelineTriggerCreate", "credential"),
        ("clusterAgentTokenCreate", "credential"),
        ("ciProjectVariableX", "credential"),
        ("neverHeardOf", "admin"),
    ],
)
def test_a_mutation_has_its_harm(name: str, effect: str) -> None:
    """What is not known to be less is administration, or a credential."""
    assert mutate(name, {}) == [(f"gitlab graphql.{name}", "gitlab.com", effect)]


@pytest.mark.parametrize(
    "name, given, expected",
    [
        ("commitCreate", {**PATH, "branch": "main", "actions": [{"filePath": "a"}]},
         [("git push.update", "gitlab.com/g/app#refs/heads/main", "write")]),
        ("commitCreate", {**PATH, "branch": "a", "startBranch": "main", "actions": {"filePath": "a"}},
         [("git push.create", "gitlab.com/g/app#refs/heads/a", "write")]),
        ("commitCreate", {**PATH, "branch": "main", "actions": [{"filePath": "a", "previousPath": ".gitlab-ci.yml"}]},
         [("git push.update", "gitlab.com/g/app#refs/heads/main", "write"),
          ("gitlab workflow.write", "gitlab.com/g/app", "admin")]),
        ("createBranch", {**PATH, "name": "a", "ref": "main"}, [("git push.create", "gitlab.com/g/app#refs/heads/a",
         "write")]),
        ("branchDelete", {**PATH, "name": "a"}, [("git push.delete", "gitlab.com/g/app#refs/heads/a", "delete")]),
        ("tagCreate", {**PATH, "name": "v1"}, [("git push.create", "gitlab.com/g/app#refs/tags/v1", "write")]),
        ("tagDelete", {"name": "v1"}, [("git push.delete", "gitlab.com/?/?#refs/tags/v1", "delete")]),
        ("releaseCreate", {**PATH, "tagName": "v1"}, [("git push.create", "gitlab.com/g/app#refs/tags/v1", "write")]),
        ("mergeRequestAccept", {**PATH, "iid": "7"}, [("git push.update", "gitlab.com/g/app#?", "write")]),
    ],
)  # fmt: skip
def test_what_moves_a_ref_says_so(name: str, given: object, expected: list[tuple[str, str, str]]) -> None:
    """A commit, a branch, a tag or a merge is told as the push that it is."""
    assert mutate(name, given)[1:] == expected


@pytest.mark.parametrize(
    "name, given",
    [
        ("commitCreate", None),
        ("commitCreate", {**PATH, "actions": []}),
        ("commitCreate", {**PATH, "branch": "main"}),
        ("commitCreate", {**PATH, "branch": "main", "actions": ["a"]}),
        ("commitCreate", {**PATH, "branch": "main", "actions": [{}]}),
        ("commitCreate", {**PATH, "branch": "refs/heads/main", "actions": []}),
        ("commitCreate", {"projectPath": "a b", "branch": "main", "actions": []}),
        ("createBranch", {**PATH, "name": ["a"]}),
        ("tagDelete", {**PATH, "name": ""}),
        ("mergeRequestAccept", {"projectPath": 7}),
    ],
)
def test_a_mutation_that_cannot_be_read_is_refused(name: str, given: Any) -> None:
    """An input of another shape than GitLab's is not guessed at."""
    with pytest.raises(IntentError):
        mutate(name, given)


def test_the_body_is_asked_for() -> None:
    """Nothing is said before the document is seen."""
    unread = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("gitlab.com", 443),
        path="/api/graphql",
        query=None,
        headers=(("content-type", "application/json"),),
        body_length=None,
    )
    assert isinstance(read_graphql(unread, "gitlab.com"), BodyWanted)
