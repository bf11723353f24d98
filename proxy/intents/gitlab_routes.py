"""GitLab's REST routes that CI uses, and how harmful each is. Source: docs.gitlab.com/api, lib/api of GitLab itself.

A line is effect, method, path, action. `P` stands for /projects/{project}, `G` for /groups/{group}. What answers or
sets variables, tokens or keys is a credential; what a person is meant to approve, and every setting, administration.
A path that is not listed is judged by its method, as administration wherever it may touch what decides over others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.intents.reading import decode_component
from proxy.intents.routes import Found, compile_routes
from proxy.model.intent import EffectClass

_TABLE: Final = """
list       GET    /projects                                             projects.list
read       GET    P                                                     projects.get
list       GET    /groups                                               groups.list
read       GET    G                                                     groups.get
list       GET    G/projects                                            projects.list
list       GET    G/subgroups                                           groups.list
read       GET    /user                                                 users.get
read       GET    /version                                              service.get
read       GET    /metadata                                             service.get
read       POST   /markdown                                             markdown.render
read       POST   P/ci/lint                                             ci-config.lint
read       GET    P/ci/lint                                             ci-config.lint

list       GET    P/repository/branches                                 branches.list
read       GET    P/repository/branches/{branch}                        branches.get
write      POST   P/repository/branches                                 branches.create
delete     DELETE P/repository/branches/{branch}                        branches.delete
delete     DELETE P/repository/merged_branches                          branches.delete-merged
list       GET    P/repository/tags                                     tags.list
read       GET    P/repository/tags/{tag}                               tags.get
write      POST   P/repository/tags                                     tags.create
delete     DELETE P/repository/tags/{tag}                               tags.delete
list       GET    P/repository/commits                                  commits.list
read       GET    P/repository/commits/{sha}                            commits.get
read       GET    P/repository/commits/{sha}/{part}                     commits.get
write      POST   P/repository/commits                                  commits.create
write      POST   P/repository/commits/{sha}/cherry_pick                commits.cherry-pick
write      POST   P/repository/commits/{sha}/revert                     commits.revert
write      POST   P/repository/commits/{sha}/comments                   commits.comment
read       GET    P/repository/files/{path...}                          files.get
write      POST   P/repository/files/{path...}                          files.create
write      PUT    P/repository/files/{path...}                          files.update
delete     DELETE P/repository/files/{path...}                          files.delete
write      PUT    P/repository/submodules/{submodule...}                submodules.update
list       GET    P/repository/tree                                     repository.tree
read       GET    P/repository/compare                                  repository.compare
read       GET    P/repository/merge_base                               repository.merge-base
list       GET    P/repository/contributors                             repository.contributors
read       GET    P/repository/archive                                  repository.archive
read       GET    P/repository/{archive}                                repository.archive
read       GET    P/repository/blobs/{path...}                          repository.blob
read       GET    P/repository/changelog                                changelog.get
write      POST   P/repository/changelog                                changelog.create
write      POST   P/statuses/{sha}                                      commits.set-status

list       GET    P/releases                                            releases.list
read       GET    P/releases/{tag}                                      releases.get
read       GET    P/releases/{tag}/downloads/{path...}                  releases.download
read       GET    P/releases/permalink/{path...}                        releases.get
publish    POST   P/releases                                            releases.create
publish    PUT    P/releases/{tag}                                      releases.update
publish    POST   P/releases/{tag}/evidence                             releases.collect-evidence
delete     DELETE P/releases/{tag}                                      releases.delete
list       GET    P/releases/{tag}/assets/links                         release-links.list
publish    POST   P/releases/{tag}/assets/links                         release-links.create
publish    PUT    P/releases/{tag}/assets/links/{id}                    release-links.update
delete     DELETE P/releases/{tag}/assets/links/{id}                    release-links.delete

list       GET    P/merge_requests                                      merge-requests.list
read       GET    P/merge_requests/{iid}                                merge-requests.get
read       GET    P/merge_requests/{iid}/{part...}                      merge-requests.get
write      POST   P/merge_requests                                      merge-requests.create
write      PUT    P/merge_requests/{iid}                                merge-requests.update
delete     DELETE P/merge_requests/{iid}                                merge-requests.delete
write      PUT    P/merge_requests/{iid}/merge                          merge-requests.merge
write      PUT    P/merge_requests/{iid}/rebase                         merge-requests.rebase
write      POST   P/merge_requests/{iid}/cancel_merge_when_pipeline_succeeds  merge-requests.cancel-merge
admin      POST   P/merge_requests/{iid}/approve                        merge-requests.approve
write      POST   P/merge_requests/{iid}/unapprove                      merge-requests.unapprove
execute    POST   P/merge_requests/{iid}/pipelines                      pipelines.create
write      POST   P/merge_requests/{iid}/notes                          notes.create
write      PUT    P/merge_requests/{iid}/notes/{id}                     notes.update
delete     DELETE P/merge_requests/{iid}/notes/{id}                     notes.delete
write      POST   P/merge_requests/{iid}/discussions                    notes.create
write      POST   P/merge_requests/{iid}/discussions/{id}/notes         notes.create
write      PUT    P/merge_requests/{iid}/discussions/{id}               notes.resolve
write      PUT    P/merge_requests/{iid}/discussions/{id}/notes/{note}  notes.update
delete     DELETE P/merge_requests/{iid}/discussions/{id}/notes/{note}  notes.delete
write      PUT    /suggestions/{id}/apply                               suggestions.apply
write      PUT    /suggestions/batch_apply                              suggestions.apply
list       GET    P/issues                                              issues.list
read       GET    P/issues/{iid}                                        issues.get
write      POST   P/issues                                              issues.create
write      PUT    P/issues/{iid}                                        issues.update
delete     DELETE P/issues/{iid}                                        issues.delete
list       GET    P/issues/{iid}/notes                                  notes.list
write      POST   P/issues/{iid}/notes                                  notes.create
write      PUT    P/issues/{iid}/notes/{id}                             notes.update
delete     DELETE P/issues/{iid}/notes/{id}                             notes.delete
list       GET    P/labels                                              labels.list
write      POST   P/labels                                              labels.create
list       GET    P/milestones                                          milestones.list
write      POST   P/milestones                                          milestones.create
write      PUT    P/milestones/{id}                                     milestones.update

list       GET    P/pipelines                                           pipelines.list
read       GET    P/pipelines/latest                                    pipelines.get
read       GET    P/pipelines/{pipeline}                                pipelines.get
list       GET    P/pipelines/{pipeline}/jobs                           jobs.list
list       GET    P/pipelines/{pipeline}/bridges                        jobs.list
read       GET    P/pipelines/{pipeline}/test_report                    pipelines.get
read       GET    P/pipelines/{pipeline}/test_report_summary            pipelines.get
credential GET    P/pipelines/{pipeline}/variables                      pipelines.variables
execute    POST   P/pipeline                                            pipelines.create
execute    POST   P/pipelines/{pipeline}/retry                          pipelines.retry
execute    POST   P/pipelines/{pipeline}/cancel                         pipelines.cancel
write      PUT    P/pipelines/{pipeline}/metadata                       pipelines.update
delete     DELETE P/pipelines/{pipeline}                                pipelines.delete
execute    POST   P/trigger/pipeline                                    pipelines.trigger
execute    POST   P/ref/{ref}/trigger/pipeline                          pipelines.trigger
list       GET    P/jobs                                                jobs.list
read       GET    P/jobs/{job}                                          jobs.get
read       GET    P/jobs/{job}/trace                                    jobs.trace
read       GET    P/jobs/{job}/artifacts                                artifacts.download
read       GET    P/jobs/{job}/artifacts/{path...}                      artifacts.download
read       GET    P/jobs/artifacts/{path...}                            artifacts.download
execute    POST   P/jobs/{job}/retry                                    jobs.retry
execute    POST   P/jobs/{job}/cancel                                   jobs.cancel
admin      POST   P/jobs/{job}/play                                     jobs.play
delete     POST   P/jobs/{job}/erase                                    jobs.erase
write      POST   P/jobs/{job}/artifacts/keep                           artifacts.keep
delete     DELETE P/jobs/{job}/artifacts                                artifacts.delete
delete     DELETE P/artifacts                                           artifacts.delete
list       GET    P/pipeline_schedules                                  schedules.list
credential GET    P/pipeline_schedules/{id}                             schedules.get
execute    POST   P/pipeline_schedules/{id}/play                        schedules.play
list       GET    P/environments                                        environments.list
read       GET    P/environments/{id}                                   environments.get
write      POST   P/environments                                        environments.create
write      PUT    P/environments/{id}                                   environments.update
execute    POST   P/environments/{id}/stop                              environments.stop
delete     DELETE P/environments/{id}                                   environments.delete
delete     DELETE P/environments/review_apps                            environments.delete
execute    POST   P/environments/stop_stale                             environments.stop
list       GET    P/deployments                                         deployments.list
read       GET    P/deployments/{id}                                    deployments.get
write      POST   P/deployments                                         deployments.create
write      PUT    P/deployments/{id}                                    deployments.update
delete     DELETE P/deployments/{id}                                    deployments.delete
admin      POST   P/deployments/{id}/approval                           deployments.approve

read       GET    /job                                                  job.get
read       GET    /job/allowed_agents                                   job.agents
credential POST   /jobs/request                                         job.request
write      PUT    /jobs/{job}                                           job.update
write      PATCH  /jobs/{job}/trace                                     job.log
write      POST   /jobs/{job}/artifacts                                 job.upload-artifacts
write      POST   /jobs/{job}/artifacts/authorize                       job.upload-artifacts
read       GET    /jobs/{job}/artifacts                                 artifacts.download
credential POST   /runners                                              runners.register
credential POST   /runners/verify                                       runners.verify
credential POST   /runners/reset_authentication_token                   runners.reset-token
credential POST   /user/runners                                         runners.create

list       GET    P/packages                                            packages.list
list       GET    G/packages                                            packages.list
read       GET    P/packages/{package}                                  packages.get
list       GET    P/packages/{package}/package_files                    packages.list-files
delete     DELETE P/packages/{package}                                  packages.delete
delete     DELETE P/packages/{package}/package_files/{id}               packages.delete-file
read       GET    P/packages/generic/{name}/{version}/{file...}         packages.download
publish    PUT    P/packages/generic/{name}/{version}/{file...}         packages.publish
publish    PUT    P/packages/generic/{name}/{version}/{file}/authorize  packages.publish
read       GET    P/packages/maven/{path...}                            packages.download
publish    PUT    P/packages/maven/{path...}                            packages.publish
read       GET    P/packages/npm/{path...}                              packages.download
publish    PUT    P/packages/npm/{path...}                              packages.publish
delete     DELETE P/packages/npm/{path...}                              packages.delete
read       GET    P/packages/pypi/{path...}                             packages.download
publish    POST   P/packages/pypi                                       packages.publish
read       GET    P/packages/nuget/{path...}                            packages.download
publish    PUT    P/packages/nuget                                      packages.publish
publish    PUT    P/packages/nuget/{path...}                            packages.publish
delete     DELETE P/packages/nuget/{path...}                            packages.delete
read       GET    P/packages/conan/{path...}                            packages.download
publish    PUT    P/packages/conan/{path...}                            packages.publish
read       GET    P/packages/helm/{path...}                             packages.download
publish    POST   P/packages/helm/api/{channel}/charts                  packages.publish
publish    PUT    P/packages/terraform/modules/{path...}                packages.publish
read       GET    P/packages/terraform/modules/{path...}                packages.download
publish    POST   P/packages/composer                                   packages.publish
list       GET    P/registry/repositories                               registry.list
list       GET    P/registry/repositories/{repository}/tags             registry.list-tags
read       GET    P/registry/repositories/{repository}/tags/{tag}       registry.get-tag
delete     DELETE P/registry/repositories/{repository}                  registry.delete
delete     DELETE P/registry/repositories/{repository}/tags             registry.delete-tags
delete     DELETE P/registry/repositories/{repository}/tags/{tag}       registry.delete-tag
read       GET    P/terraform/state/{state}                             terraform-state.get
write      POST   P/terraform/state/{state}                             terraform-state.set
delete     DELETE P/terraform/state/{state}                             terraform-state.delete
write      POST   P/terraform/state/{state}/lock                        terraform-state.lock
write      DELETE P/terraform/state/{state}/lock                        terraform-state.unlock
read       GET    P/terraform/state/{state}/versions/{serial}           terraform-state.get
delete     DELETE P/terraform/state/{state}/versions/{serial}           terraform-state.delete
list       GET    P/secure_files                                        secure-files.list
read       GET    P/secure_files/{id}                                   secure-files.get
credential GET    P/secure_files/{id}/download                          secure-files.download
credential POST   P/secure_files                                        secure-files.create
credential DELETE P/secure_files/{id}                                   secure-files.delete
"""

_CRUD: Final[Mapping[str, tuple[str, str]]] = {
    # What stands below a project or group, and all of whose calls have one harm: path -> name, effect.
    "variables": ("variables", "credential"),
    "triggers": ("triggers", "credential"),
    "deploy_tokens": ("deploy-tokens", "credential"),
    "access_tokens": ("access-tokens", "credential"),
    "deploy_keys": ("deploy-keys", "admin"),
    "hooks": ("hooks", "admin"),
    "members": ("members", "admin"),
    "invitations": ("invitations", "admin"),
    "protected_branches": ("protected-branches", "admin"),
    "protected_tags": ("protected-tags", "admin"),
    "protected_environments": ("protected-environments", "admin"),
    "runners": ("runners", "admin"),
}
_SECRETIVE: Final = frozenset(
    {
        "access_tokens",
        "deploy_tokens",
        "download",
        "export",
        "import",
        "impersonation_tokens",
        "keys",
        "token",
        "tokens",
    }
    | {"personal_access_tokens", "pipeline_schedules", "runners", "secure_files", "settings", "triggers", "variables"}
)
"""Unlisted reads below these may answer a secret."""
_PLAIN: Final = frozenset(
    {"boards", "issues", "labels", "merge_requests", "milestones", "snippets", "statuses", "uploads", "wikis"}
)
"""Unlisted writes directly below a project that are no more than writes. All others are administration."""
_RISKY: Final = frozenset(
    {"approvals", "approval_rules", "approve", "apply", "merge", "play", "rebase", "reset_approvals"}
)
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation; one that was guessed is not listed."""

    name: str
    effect: EffectClass
    is_listed: bool = True


def _read_table() -> dict[str, Operation]:
    table: dict[str, Operation] = {}
    for line in filter(None, _TABLE.splitlines()):
        effect, method, path, name = line.split()
        whole = re.sub(r"^P\b", "/projects/{project}", re.sub(r"^G\b", "/groups/{group}", path))
        table[f"{method} {whole}"] = Operation(name=name, effect=EffectClass(effect))
    for scope in ("/projects/{project}", "/groups/{group}"):
        for path, (name, effect) in _CRUD.items():
            reads = EffectClass.CREDENTIAL if effect == "credential" else None
            for method, end, verb, usual in (
                ("GET", "", "list", EffectClass.LIST),
                ("GET", "/{id}", "get", EffectClass.READ),
                ("POST", "", "create", EffectClass(effect)),
                ("PUT", "/{id}", "update", EffectClass(effect)),
                ("PATCH", "/{id}", "update", EffectClass(effect)),
                ("DELETE", "/{id}", "delete", EffectClass(effect)),
            ):
                table[f"{method} {scope}/{path}{end}"] = Operation(name=f"{name}.{verb}", effect=reads or usual)
    return table


ROUTES: Final = compile_routes(_read_table())


def find_operation(method: str, segments: Sequence[str]) -> Found[Operation]:
    """Return the operation of a path below `/api/v4`; of one that is not listed, the worst that its words allow.

    Raises IntentError for a path that cannot be decoded.
    """
    found = ROUTES.find(method, segments)
    if found is None and segments and segments[-1].endswith(".json"):  # Grape: `/projects.json` is `/projects`
        found = ROUTES.find(method, [*segments[:-1], segments[-1].removesuffix(".json")])
    return found or _guess(method, segments)


def _guess(method: str, segments: Sequence[str]) -> Found[Operation]:
    words = {word for segment in segments for word in segment.lower().split(".")}
    if method in _READS:
        effect = EffectClass.CREDENTIAL if words & _SECRETIVE else EffectClass.READ
    elif method not in _WRITES:
        effect = EffectClass.UNKNOWN
    elif (
        segments[0:1] == ["projects"] and segments[2:3] and segments[2] in _PLAIN and not words & (_RISKY | _SECRETIVE)
    ):
        effect = EffectClass.DELETE if method == "DELETE" else EffectClass.WRITE
    else:
        effect = EffectClass.ADMIN
    kind = {"projects": "project", "groups": "group"}.get(segments[0]) if len(segments) > 1 else None
    variables = {} if kind is None else {kind: decode_component(segments[1])}
    return Found(Operation(name="unlisted", effect=effect, is_listed=False), variables, 0)
