"""GitHub's GraphQL: mutations by name and harm, and the refs that they move.

A mutation names most things by node ids, which only GitHub can resolve: a repository that is not named in plain text
is `HOST/?/?`, and no rule for one repository fits that. A mutation that is not known is administration.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.intents import graphql
from proxy.intents.forge_refs import (
    UNKNOWN_REF,
    RefMove,
    branch_ref,
    describe_moves,
    full_ref,
    is_workflow,
    move_between,
)
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

type Input = Mapping[str, Any]

_WRITES: Final = frozenset(
    {"addAssigneesToAssignable", "addComment", "addDiscussionComment", "addLabelsToLabelable", "addProjectV2DraftIssue"}
    | {"addProjectV2ItemById", "addPullRequestReview", "addPullRequestReviewComment", "addPullRequestReviewThread"}
    | {"addPullRequestReviewThreadReply", "addReaction", "addStar", "clearLabelsFromLabelable", "closeIssue"}
    | {"clearProjectV2ItemFieldValue", "closePullRequest", "convertPullRequestToDraft", "createCheckRun"}
    | {"createCheckSuite", "createCommitOnBranch", "createDeployment", "createDeploymentStatus", "createDiscussion"}
    | {"createIssue", "createLabel", "createLinkedBranch", "createPullRequest", "createRef", "dequeuePullRequest"}
    | {"disablePullRequestAutoMerge", "enablePullRequestAutoMerge", "enqueuePullRequest", "lockLockable"}
    | {"markPullRequestReadyForReview", "mergeBranch", "mergePullRequest", "minimizeComment", "pinIssue"}
    | {"removeAssigneesFromAssignable", "removeLabelsFromLabelable", "removeReaction", "removeStar", "reopenIssue"}
    | {"reopenPullRequest", "requestReviews", "resolveReviewThread", "revertPullRequest", "submitPullRequestReview"}
    | {"unlockLockable", "unminimizeComment", "unpinIssue", "unresolveReviewThread", "updateCheckRun"}
    | {"updateDiscussion", "updateDiscussionComment", "updateIssue", "updateIssueComment", "updateLabel"}
    | {"updateProjectV2ItemFieldValue", "updateProjectV2ItemPosition", "updatePullRequest", "updatePullRequestBranch"}
    | {"updatePullRequestReview", "updatePullRequestReviewComment", "updateRef", "updateRefs"}
)
_DELETES: Final = frozenset(
    {"deleteDeployment", "deleteDiscussionComment", "deleteIssueComment", "deleteLabel", "deleteLinkedBranch"}
    | {"deleteProjectV2Item", "deletePullRequestReview", "deletePullRequestReviewComment", "deleteRef"}
)
_REVIEWS: Final = frozenset({"addPullRequestReview", "submitPullRequestReview"})
_OPINIONS: Final = frozenset({None, "COMMENT", "REQUEST_CHANGES"})
"""Reviews that approve nothing. An approval is what a person is asked for."""


def read_graphql(view: RequestView, site: str) -> Intent | BodyWanted:
    """Read a GraphQL request to GitHub. Raises IntentError."""
    operation = graphql.read_request(view)
    if isinstance(operation, BodyWanted):
        return operation
    is_mutation = operation.kind == "mutation"
    resource = Resource(
        type="github-repository" if is_mutation else "github-service", id=f"{site}/?/?" if is_mutation else site
    )
    first, *others = graphql.describe(operation, "github", resource, _effect)
    if is_mutation:
        for field in operation.fields:
            others += _side_effects(field, site, first.facts)
    return replace(first, also=tuple(others))


def _effect(name: str) -> EffectClass:
    if name in _DELETES:
        return EffectClass.DELETE
    return EffectClass.WRITE if name in _WRITES else EffectClass.ADMIN


def _side_effects(field: graphql.Field, site: str, facts: Mapping[str, str]) -> list[Intent]:
    """Return what one mutation does besides being itself: refs, workflow files, approvals."""
    tell = _MOVES.get(field.name)
    if tell is None and field.name not in _REVIEWS:
        return []
    given = field.arguments.get("input")
    if not isinstance(given, Mapping):
        raise IntentError(f"the mutation {field.name} has no input that can be read")
    if tell is None:
        return [] if _text(given, "event") in _OPINIONS else [_review(site, facts)]
    name, moves = tell(given)
    where = f"{site}/{name.lower()}"
    intents = [*describe_moves(where, moves)]
    if field.name == "createCommitOnBranch" and _touches_workflows(given):
        intents.append(workflow_write(where))
    return intents


def workflow_write(repository: str, path: str = "") -> Intent:
    """Return the intent of changing what GitHub runs, and with which of the repository's secrets."""
    return Intent(
        protocol="github",
        action="workflow.write",
        resource=Resource(type="github-repository", id=repository),
        effect=EffectClass.ADMIN,
        exact=True,
        facts={"path": path} if path else {},
    )


def _review(site: str, facts: Mapping[str, str]) -> Intent:
    resource = Resource(type="github-repository", id=f"{site}/?/?")
    return Intent(
        protocol="github", action="review.approve", resource=resource, effect=EffectClass.ADMIN, exact=True, facts=facts
    )


_SOMEWHERE: Final = "?/?"


def _text(given: Input, name: str) -> str | None:
    """Return a member that is text. Raises IntentError for another kind of value."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise IntentError(f"{name!r} of the mutation's input is no text")
    return value


def _create_commit(given: Input) -> tuple[str, list[RefMove]]:
    branch = given.get("branch")
    if not isinstance(branch, Mapping):
        raise IntentError("the mutation names no branch")
    old = _text(given, "expectedHeadOid")
    name, repository = _text(branch, "branchName"), _text(branch, "repositoryNameWithOwner")
    if name is None or repository is None or branch.get("id") is not None:
        return _SOMEWHERE, [move_between(UNKNOWN_REF, old, None)]
    if repository.count("/") != 1 or not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum()
                                             for part in repository.split("/")):  # fmt: skip
        raise IntentError("the mutation's repository is not OWNER/NAME")
    ref = full_ref(name) if name.startswith("refs/heads/") else branch_ref(name)
    return repository, [move_between(ref, old, None)]


def _touches_workflows(given: Input) -> bool:
    """Whether a commit adds, changes or deletes a workflow. Raises IntentError when its files cannot be listed."""
    changes = given.get("fileChanges")
    if changes is None:
        return False
    if not isinstance(changes, Mapping):
        raise IntentError("the commit's fileChanges cannot be read")
    found = False
    for kind in ("additions", "deletions"):
        listed = changes.get(kind)
        for change in [listed] if isinstance(listed, Mapping) else listed or []:  # GraphQL reads one as a list of one
            path = _text(change, "path") if isinstance(change, Mapping) else None
            if path is None:
                raise IntentError("a file of the commit has no path")
            found = is_workflow(path) or found
    return found


def _create_ref(given: Input) -> tuple[str, list[RefMove]]:
    name, new = _text(given, "name"), _text(given, "oid")
    facts = {"new": new} if new else {}
    return _SOMEWHERE, [RefMove(action="create", ref=UNKNOWN_REF if name is None else full_ref(name), facts=facts)]


def _create_linked_branch(given: Input) -> tuple[str, list[RefMove]]:
    name = _text(given, "name")
    return _SOMEWHERE, [RefMove(action="create", ref=UNKNOWN_REF if name is None else branch_ref(name))]


def _update_ref(given: Input) -> tuple[str, list[RefMove]]:
    return _SOMEWHERE, [move_between(UNKNOWN_REF, None, _text(given, "oid"))]


def _update_refs(given: Input) -> tuple[str, list[RefMove]]:
    listed = given.get("refUpdates")
    updates = [listed] if isinstance(listed, Mapping) else listed
    if not isinstance(updates, list) or not updates:
        raise IntentError("the mutation lists no refs")
    moves: list[RefMove] = []
    for update in updates:
        name = _text(update, "name") if isinstance(update, Mapping) else None
        if name is None:
            raise IntentError("an update of the mutation names no ref")
        moves.append(move_between(full_ref(name), _text(update, "beforeOid"), _text(update, "afterOid")))
    return _SOMEWHERE, moves


def _merge_branch(given: Input) -> tuple[str, list[RefMove]]:
    base = _text(given, "base")
    if base is None:
        raise IntentError("the mutation names no base")
    return _SOMEWHERE, [RefMove(action="update", ref=branch_ref(base))]


def _create_deployment(given: Input) -> tuple[str, list[RefMove]]:
    return _SOMEWHERE, [] if given.get("autoMerge") is False else [RefMove(action="update", ref=UNKNOWN_REF)]


def _move_unknown(action: str) -> Callable[[Input], tuple[str, list[RefMove]]]:
    return lambda _: (_SOMEWHERE, [RefMove(action=action, ref=UNKNOWN_REF)])


_MOVES: Final[Mapping[str, Callable[[Input], tuple[str, list[RefMove]]]]] = {
    "createCommitOnBranch": _create_commit,
    "createRef": _create_ref,
    "createLinkedBranch": _create_linked_branch,
    "updateRef": _update_ref,
    "updateRefs": _update_refs,
    "deleteRef": _move_unknown("delete"),
    "mergeBranch": _merge_branch,
    "mergePullRequest": _move_unknown("update"),
    "enablePullRequestAutoMerge": _move_unknown("update"),
    "enqueuePullRequest": _move_unknown("update"),
    "updatePullRequestBranch": _move_unknown("update"),
    "revertPullRequest": _move_unknown("create"),
    "createDeployment": _create_deployment,
}
"""Mutation -> what of its input says which refs it moves, and where."""
