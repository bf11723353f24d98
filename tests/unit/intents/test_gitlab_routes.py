"""GitLab's routes are found, judged, and never judged too mildly when they are not."""

import pytest

from proxy.intents.gitlab_routes import find_operation
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass

P = "projects/g%2Fa"


@pytest.mark.parametrize(
    "method, path, name, effect",
    [
        ("GET", P, "projects.get", "read"),
        ("HEAD", f"{P}/jobs/7/artifacts", "artifacts.download", "read"),
        ("GET", f"{P}/jobs/artifacts/main/download", "artifacts.download", "read"),
        ("GET", f"{P}/repository/files/a/b/raw", "files.get", "read"),
        ("PUT", f"{P}/repository/files/a%2Fb", "files.update", "write"),
        ("POST", f"{P}/repository/commits", "commits.create", "write"),
        ("GET", f"{P}/repository/archive.zip", "repository.archive", "read"),
        ("POST", f"{P}/releases", "releases.create", "publish"),
        ("POST", f"{P}/pipeline", "pipelines.create", "execute"),
        ("POST", f"{P}/trigger/pipeline", "pipelines.trigger", "execute"),
        ("POST", f"{P}/ref/main/trigger/pipeline", "pipelines.trigger", "execute"),
        ("POST", f"{P}/jobs/7/retry", "jobs.retry", "execute"),
        ("POST", f"{P}/jobs/7/play", "jobs.play", "admin"),
        ("POST", f"{P}/jobs/7/play.json", "jobs.play", "admin"),
        ("POST", f"{P}/merge_requests/7/approve", "merge-requests.approve", "admin"),
        ("PUT", f"{P}/merge_requests/7/merge", "merge-requests.merge", "write"),
        ("GET", f"{P}/variables", "variables.list", "credential"),
        ("GET", f"{P}/variables.json", "variables.list", "credential"),
        ("PUT", f"{P}/variables/A", "variables.update", "credential"),
        ("GET", "groups/g/variables", "variables.list", "credential"),
        ("GET", f"{P}/pipelines/7/variables", "pipelines.variables", "credential"),
        ("GET", f"{P}/pipeline_schedules/7", "schedules.get", "credential"),
        ("POST", f"{P}/triggers", "triggers.create", "credential"),
        ("POST", f"{P}/deploy_tokens", "deploy-tokens.create", "credential"),
        ("POST", "groups/g/access_tokens", "access-tokens.create", "credential"),
        ("POST", f"{P}/deploy_keys", "deploy-keys.create", "admin"),
        ("GET", f"{P}/deploy_keys", "deploy-keys.list", "list"),
        ("POST", f"{P}/hooks", "hooks.create", "admin"),
        ("POST", f"{P}/members", "members.create", "admin"),
        ("DELETE", f"{P}/protected_branches/main", "protected-branches.delete", "admin"),
        ("POST", f"{P}/protected_environments", "protected-environments.create", "admin"),
        ("POST", f"{P}/deployments/7/approval", "deployments.approve", "admin"),
        ("GET", f"{P}/secure_files/7/download", "secure-files.download", "credential"),
        ("POST", "jobs/request", "job.request", "credential"),
        ("PUT", "jobs/7", "job.update", "write"),
        ("PATCH", "jobs/7/trace", "job.log", "write"),
        ("POST", "jobs/7/artifacts", "job.upload-artifacts", "write"),
        ("GET", "job", "job.get", "read"),
        ("POST", "runners", "runners.register", "credential"),
        ("POST", "user/runners", "runners.create", "credential"),
        ("PUT", f"{P}/packages/generic/a/1/b.zip", "packages.publish", "publish"),
        ("PUT", f"{P}/packages/npm/@s%2fa", "packages.publish", "publish"),
        ("POST", f"{P}/packages/pypi", "packages.publish", "publish"),
        ("DELETE", f"{P}/packages/7", "packages.delete", "delete"),
        ("POST", f"{P}/terraform/state/prod", "terraform-state.set", "write"),
        ("DELETE", f"{P}/terraform/state/prod/lock", "terraform-state.unlock", "write"),
        ("DELETE", f"{P}/registry/repositories/7/tags/v1", "registry.delete-tag", "delete"),
    ],
)
def test_a_route_is_known(method: str, path: str, name: str, effect: str) -> None:
    """What CI uses, and what it had better not use, is told by name and harm."""
    operation = find_operation(method, path.split("/")).value
    assert (operation.name, operation.effect.value, operation.is_listed) == (name, effect, True)


@pytest.mark.parametrize(
    "method, path, effect",
    [
        ("GET", f"{P}/never", EffectClass.READ),
        ("OPTIONS", P, EffectClass.READ),
        ("GET", "", EffectClass.READ),
        ("GET", f"{P}/export/download", EffectClass.CREDENTIAL),
        ("GET", f"{P}/pipelines/7/variables.txt", EffectClass.CREDENTIAL),
        ("GET", "personal_access_tokens", EffectClass.CREDENTIAL),
        ("GET", "application/settings", EffectClass.CREDENTIAL),
        ("GET", "admin/ci/variables", EffectClass.CREDENTIAL),
        ("POST", f"{P}/issues/7/never", EffectClass.WRITE),
        ("POST", f"{P}/merge_requests/7/award_emoji", EffectClass.WRITE),
        ("DELETE", f"{P}/wikis/a", EffectClass.DELETE),
        ("POST", f"{P}/merge_requests/7/approval_rules", EffectClass.ADMIN),
        ("POST", f"{P}/merge_requests/7/approve.txt", EffectClass.ADMIN),
        ("PUT", f"{P}/merge_requests/7/reset_approvals", EffectClass.ADMIN),
        ("POST", f"{P}/never", EffectClass.ADMIN),
        ("POST", f"{P}/fork", EffectClass.ADMIN),
        ("PUT", P, EffectClass.ADMIN),
        ("DELETE", P, EffectClass.ADMIN),
        ("POST", "projects", EffectClass.ADMIN),
        ("POST", f"{P}/approvals", EffectClass.ADMIN),
        ("POST", f"{P}/environments/7/never", EffectClass.ADMIN),
        ("POST", f"{P}/pipeline_schedules", EffectClass.ADMIN),
        ("POST", "groups/g/issues", EffectClass.ADMIN),
        ("POST", "users", EffectClass.ADMIN),
        ("POST", "user/keys", EffectClass.ADMIN),
        ("POST", "Projects/7/issues", EffectClass.ADMIN),
        ("PROPFIND", P, EffectClass.UNKNOWN),
    ],
)
def test_what_is_not_listed_is_judged_harshly(method: str, path: str, effect: EffectClass) -> None:
    """Only among issues and the like is an unlisted write just a write."""
    operation = find_operation(method, path.split("/") if path else []).value
    assert (operation.name, operation.effect, operation.is_listed) == ("unlisted", effect, False)


@pytest.mark.parametrize(
    "path, variables", [(f"{P}/never", {"project": "g%2Fa"}), ("groups/g/never", {"group": "g"}), ("users/7/never", {})]
)
def test_what_is_not_listed_keeps_its_place(path: str, variables: dict[str, str]) -> None:
    """A project or group is told even where the call is not known; its name is decoded only where it is checked."""
    found = find_operation("GET", path.split("/")).variables
    assert {name: value.replace("/", "%2F") for name, value in found.items()} == variables


def test_a_broken_escape_is_refused() -> None:
    """What cannot be decoded is not guessed."""
    for path in ("projects/%FF/jobs", "projects/%FF/never"):
        with pytest.raises(IntentError):
            find_operation("GET", path.split("/"))
