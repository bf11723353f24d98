"""GitLab's GraphQL: mutations by name and harm, and the refs that they move.

A mutation that is not known is administration, or a credential where its name speaks of one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.intents import graphql
from proxy.intents.forge_refs import UNKNOWN_REF, RefMove, branch_ref, describe_moves, tag_ref
from proxy.intents.gitlab_refs import check_path, touches_ci
from proxy.intents.rack import read_text
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_HARM: Final[Mapping[EffectClass, str]] = {
    EffectClass.WRITE: """awardEmojiAdd awardEmojiRemove commitCreate createBranch createIssue createNote
        mergeRequestAccept mergeRequestCreate mergeRequestSetAssignees mergeRequestSetDraft mergeRequestSetLabels
        mergeRequestSetMilestone mergeRequestSetReviewers mergeRequestUpdate tagCreate updateIssue updateNote""",
    EffectClass.DELETE: "branchDelete destroyNote releaseDelete tagDelete",
    EffectClass.PUBLISH: "releaseCreate releaseUpdate",
    EffectClass.EXECUTE: "jobCancel jobRetry pipelineCancel pipelineCreate pipelineRetry",
}
_MUTATIONS: Final = {name: effect for effect, names in _HARM.items() for name in names.split()}


def read_graphql(view: RequestView, site: str) -> Intent | BodyWanted:
    """Read a GraphQL request to GitLab. Raises IntentError."""
    operation = graphql.read_request(view)
    if isinstance(operation, BodyWanted):
        return operation
    service = Resource(type="gitlab-service", id=site)
    first, *others = graphql.describe(operation, "gitlab", service, _mutation_effect)
    if operation.kind == "mutation":
        for field in operation.fields:
            others += _mutation_moves(field, site)
    return replace(first, also=tuple(others))


def _mutation_effect(name: str) -> EffectClass:
    found = _MUTATIONS.get(name)
    if found is not None:
        return found
    folded = name.lower()
    is_secret = any(word in folded for word in ("token", "variable", "secret", "trigger"))
    return EffectClass.CREDENTIAL if is_secret else EffectClass.ADMIN


def _mutation_moves(field: graphql.Field, site: str) -> list[Intent]:
    """Return the refs that a mutation moves, and the workflow that it changes."""
    if field.name not in _MUTATION_MOVES:
        return []
    given = field.arguments.get("input")
    if not isinstance(given, Mapping):
        raise IntentError(f"the mutation {field.name} has no input that can be read")
    action, kind, member = _MUTATION_MOVES[field.name]
    project, name = read_text({"path": given.get("projectPath")}, "path"), None
    if member:
        name = read_text({member: given.get(member)}, member)
        if not name:
            raise IntentError(f"the mutation {field.name} names no {member}")
    if field.name == "commitCreate" and given.get("startBranch") is not None:
        action = "create"
    ref = UNKNOWN_REF if name is None else (branch_ref if kind == "branch" else tag_ref)(name)
    where = f"{site}/?/?" if project is None else f"{site}/{check_path(project)}"
    intents = [*describe_moves(where, [RefMove(action=action, ref=ref)])]
    if field.name == "commitCreate" and _commits_ci(given):
        intents.append(workflow_write(Resource(type="gitlab-project", id=where)))
    return intents


def workflow_write(resource: Resource) -> Intent:
    """Return the intent of changing what a project's pipelines run, and with which of its variables."""
    return Intent(protocol="gitlab", action="workflow.write", resource=resource, effect=EffectClass.ADMIN, exact=True)


def _commits_ci(given: Mapping[str, Any]) -> bool:
    listed = given.get("actions")
    actions = [listed] if isinstance(listed, Mapping) else listed  # GraphQL reads one as a list of one
    if not isinstance(actions, list):
        raise IntentError("the mutation lists no actions")
    plain = [
        {"file_path": action.get("filePath"), "previous_path": action.get("previousPath")}
        for action in actions
        if isinstance(action, Mapping)
    ]
    if len(plain) != len(actions):
        raise IntentError("an action of the commit cannot be read")
    return touches_ci({}, {"actions": plain})


_MUTATION_MOVES: Final[Mapping[str, tuple[str, str, str]]] = {
    "commitCreate": ("update", "branch", "branch"),
    "createBranch": ("create", "branch", "name"),
    "branchDelete": ("delete", "branch", "name"),
    "tagCreate": ("create", "tag", "name"),
    "tagDelete": ("delete", "tag", "name"),
    "releaseCreate": ("create", "tag", "tagName"),
    "mergeRequestAccept": ("update", "branch", ""),
}
"""Mutation -> what happens, to which kind of ref, named by which member of the input."""
