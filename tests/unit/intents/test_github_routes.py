"""GitHub's routes are found, judged, and never judged too mildly when they are not."""

import pytest

from proxy.intents.github_refs import MOVES
from proxy.intents.github_routes import find_operation, load_routes
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass

R = "repos/acme/app"


@pytest.mark.parametrize(
    "method, path, name, effect, permission",
    [
        ("GET", "repos/acme/app", "repos/get", "read", "metadata=read"),
        ("GET", f"{R}/releases", "repos/list-releases", "list", "contents=read"),
        ("GET", f"{R}/releases/latest", "repos/get-latest-release", "read", "contents=read"),
        ("HEAD", f"{R}/releases/7", "repos/get-release", "read", "contents=read"),
        ("POST", f"{R}/releases", "repos/create-release", "publish", "contents=write"),
        ("POST", f"{R}/releases/7", "repos/update-release", "publish", "contents=write"),
        ("POST", f"{R}/releases/7/assets", "repos/upload-release-asset", "publish", "contents=write"),
        ("DELETE", f"{R}/releases/7", "repos/delete-release", "delete", "contents=write"),
        ("GET", f"{R}/contents", "repos/get-content", "read", "contents=read"),
        ("GET", f"{R}/contents/a/b.txt", "repos/get-content", "read", "contents=read"),
        ("PUT", f"{R}/contents/a/b.txt", "repos/create-or-update-file-contents", "write", "contents=write"),
        ("PATCH", f"{R}/git/refs/heads/a/b", "git/update-ref", "write", "contents=write"),
        ("POST", f"{R}/git/refs/heads/a/b", "git/update-ref", "write", "contents=write"),
        ("POST", f"{R}/git/refs", "git/create-ref", "write", "contents=write"),
        ("PUT", f"{R}/pulls/7/merge", "pulls/merge", "write", "contents=write"),
        ("POST", f"{R}/actions/workflows/a.yml/dispatches", "actions/create-workflow-dispatch", "execute",
         "actions=write"),
        ("POST", f"{R}/dispatches", "repos/create-dispatch-event", "execute", "contents=write"),
        ("POST", f"{R}/actions/runs/7/rerun-failed-jobs", "actions/re-run-workflow-failed-jobs", "execute",
         "actions=write"),
        ("POST", f"{R}/actions/runs/7/approve", "actions/approve-workflow-run", "admin", "actions=write"),
        ("PUT", f"{R}/actions/secrets/A", "actions/create-or-update-repo-secret", "admin", "secrets=write"),
        ("GET", f"{R}/actions/secrets", "actions/list-repo-secrets", "list", "secrets=read"),
        ("POST", f"{R}/actions/variables", "actions/create-repo-variable", "admin", "actions_variables=write"),
        ("POST", f"{R}/actions/runners/registration-token", "actions/create-registration-token-for-repo",
         "credential", "administration=write"),
        ("PUT", f"{R}/actions/permissions", "actions/set-github-actions-permissions-repository", "admin",
         "administration=write"),
        ("POST", f"{R}/keys", "repos/create-deploy-key", "admin", "administration=write"),
        ("POST", f"{R}/hooks", "repos/create-webhook", "admin", "repository_hooks=write"),
        ("PUT", f"{R}/collaborators/a", "repos/add-collaborator", "admin", "administration=write"),
        ("PUT", f"{R}/branches/main/protection", "repos/update-branch-protection", "admin", "administration=write"),
        ("POST", f"{R}/rulesets", "repos/create-repo-ruleset", "admin", "administration=write"),
        ("PUT", f"{R}/environments/prod", "repos/create-or-update-environment", "admin", "administration=write"),
        ("PUT", f"{R}/environments/prod/secrets/A", "actions/create-or-update-environment-secret", "admin",
         "environments=write"),
        ("DELETE", R, "repos/delete", "admin", "administration=write"),
        ("POST", R, "repos/update", "admin", "administration=write"),
        ("POST", f"{R}/forks", "repos/create-fork", "admin", "administration=write"),
        ("GET", f"{R}/secret-scanning/alerts/7", "secret-scanning/get-alert", "credential",
         "secret_scanning_alerts=read"),
        ("POST", f"{R}/statuses/abc", "repos/create-commit-status", "write", "statuses=write"),
        ("POST", f"{R}/check-runs", "checks/create", "write", "checks=write"),
        ("POST", f"{R}/issues/7/comments", "issues/create-comment", "write", "issues=write"),
        ("POST", f"{R}/deployments", "repos/create-deployment", "write", "deployments=write"),
        ("POST", f"{R}/attestations", "repos/create-attestation", "publish", "attestations=write"),
        ("POST", "app/installations/7/access_tokens", "apps/create-installation-access-token", "credential", ""),
        ("POST", "gists", "gists/create", "publish", "gists=write"),
        ("POST", "user/keys", "users/create-public-ssh-key-for-authenticated-user", "credential", ""),
        ("PUT", "orgs/acme/memberships/a", "orgs/set-membership-for-user", "admin", "members=write"),
        ("POST", "markdown", "markdown/render", "read", "metadata=read"),
        ("GET", "search/code", "search/code", "list", "metadata=read"),
        ("GET", "", "unlisted", "read", ""),
    ],
)  # fmt: skip
def test_a_route_is_known(method: str, path: str, name: str, effect: str, permission: str) -> None:
    """What CI uses, and what it had better not use, is told by name, harm and permission."""
    operation = find_operation(method, path.split("/") if path else []).value
    assert (operation.name, operation.effect.value, operation.permission) == (name, effect, permission)


@pytest.mark.parametrize(
    "method, path, effect",
    [
        ("GET", f"{R}/never-heard-of", EffectClass.READ),
        ("OPTIONS", f"{R}/releases", EffectClass.READ),
        ("GET", f"{R}/secret-scanning/never", EffectClass.CREDENTIAL),
        ("GET", "authorizations", EffectClass.CREDENTIAL),
        ("POST", f"{R}/never-heard-of", EffectClass.WRITE),
        ("PATCH", f"{R}/never/7", EffectClass.WRITE),
        ("DELETE", f"{R}/never/7", EffectClass.DELETE),
        ("PUT", f"{R}/branches/a/b/protection", EffectClass.ADMIN),
        ("POST", f"{R}/branches/a/b/rename", EffectClass.ADMIN),
        ("PUT", f"{R}/Actions/Secrets/A/B", EffectClass.ADMIN),
        ("POST", f"{R}/hooks/1/never", EffectClass.ADMIN),
        ("POST", f"{R}/keys/1/never", EffectClass.ADMIN),
        ("DELETE", f"{R}/environments", EffectClass.ADMIN),
        ("POST", f"{R}/rulesets/1/never", EffectClass.ADMIN),
        ("POST", f"{R}/collaborators", EffectClass.ADMIN),
        ("PUT", f"{R}/actions/permissions/never", EffectClass.ADMIN),
        ("POST", f"{R}/never/dispatches", EffectClass.ADMIN),
        ("POST", f"{R}/installation/never", EffectClass.ADMIN),
        ("POST", "repos/acme", EffectClass.ADMIN),
        ("PUT", R, EffectClass.ADMIN),
        ("POST", "orgs/acme/never", EffectClass.ADMIN),
        ("POST", "authorizations", EffectClass.ADMIN),
        ("POST", "admin/users", EffectClass.ADMIN),
        ("DELETE", "scim/v2/x", EffectClass.ADMIN),
        ("POST", "Repos/acme/app/issues", EffectClass.ADMIN),
        ("POST", "repositories/7/never", EffectClass.ADMIN),
        ("POST", "repositories/acme/issues", EffectClass.ADMIN),
        ("POST", "repositories", EffectClass.ADMIN),
        ("PROPFIND", f"{R}/never", EffectClass.UNKNOWN),
        ("PROPFIND", "never", EffectClass.UNKNOWN),
    ],
)
def test_what_is_not_listed_is_judged_harshly(method: str, path: str, effect: EffectClass) -> None:
    """Only below a repository, and away from what decides over others, is an unlisted write just a write."""
    found = find_operation(method, path.split("/"))
    assert (found.value.name, found.value.effect, found.value.is_listed) == ("unlisted", effect, False)


@pytest.mark.parametrize(
    "method, path, name, variables",
    [
        ("GET", "repositories/7/releases", "repos/list-releases", {"owner": "-", "repo": "#7"}),
        ("POST", "repositories/7/releases/8", "repos/update-release", {"owner": "-", "repo": "#7", "release_id": "8"}),
        ("DELETE", "repositories/7", "repos/delete", {"owner": "-", "repo": "#7"}),
        ("GET", "organizations/7/repos", "repos/list-for-org", {"org": "#7"}),
        ("GET", "user/7/repos", "repos/list-for-user", {"username": "#7"}),
        ("GET", "user/repos", "repos/list-for-authenticated-user", {}),
        ("PUT", "organizations/7/actions/cache/storage-limit",
         "actions/set-actions-cache-storage-limit-for-organization", {"org": "7"}),
    ],
)  # fmt: skip
def test_a_number_is_no_way_around(method: str, path: str, name: str, variables: dict[str, str]) -> None:
    """GitHub takes a repository's number for its name; the operation is the same, the name stays unknown."""
    found = find_operation(method, path.split("/"))
    assert (found.value.name, found.variables) == (name, variables)


def test_a_broken_escape_is_refused() -> None:
    """What cannot be decoded is not guessed."""
    with pytest.raises(IntentError):
        find_operation("GET", [*R.split("/"), "contents", "%FF"])


def test_every_operation_that_is_treated_specially_exists() -> None:
    """A renamed operation in a new table does not silently lose what it moves."""
    pending, names = [load_routes().root], set()
    while pending:
        node = pending.pop()
        names |= {operation.name for operation, _ in (*node.ends.values(), *node.tails.values())}
        pending += [*node.literal.values(), *([node.variable] if node.variable is not None else [])]
    assert len(names) > 1000
    assert set(MOVES) <= names
