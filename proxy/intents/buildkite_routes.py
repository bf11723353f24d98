"""Buildkite's routes: the agent API below `/v3`, the REST API below `/v2`. What is not here has an unknown effect.

Sources: buildkite/agent `api/*.go` (agent API), buildkite.com/docs/apis/rest-api (REST).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.intents.routes import Routes, compile_routes
from proxy.model.intent import EffectClass

READ, LIST, WRITE, DELETE = EffectClass.READ, EffectClass.LIST, EffectClass.WRITE, EffectClass.DELETE
ADMIN, EXECUTE, CREDENTIAL = EffectClass.ADMIN, EffectClass.EXECUTE, EffectClass.CREDENTIAL
PUBLISH = EffectClass.PUBLISH


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One route's meaning. `kind` is the resource's type without `ci-`, and in the agent API the start of its id."""

    action: str
    effect: EffectClass
    kind: str
    named_by: str = ""
    """The member of the JSON body that names the resource; the path does when there is none."""
    asked_by: str = ""
    """The parameter of the query that names the resource, and the only one there may be."""
    notes: tuple[str, ...] = ()
    """Further members of the body that are recorded as facts."""


def _call(
    action: str,
    effect: EffectClass,
    kind: str = "job",
    *,
    named_by: str = "",
    asked_by: str = "",
    notes: tuple[str, ...] = (),
) -> Call:
    return Call(action=action, effect=effect, kind=kind, named_by=named_by, asked_by=asked_by, notes=notes)


_META: Final[Mapping[str, Call]] = {
    "data/get": _call("meta.get", READ, "meta", named_by="key"),
    "data/exists": _call("meta.exists", READ, "meta", named_by="key"),
}
_UPLOAD: Final = _call("artifact.upload", WRITE, "artifact")
_REPOSITORY_TOKEN: Final = _call("repository-token.mint", CREDENTIAL, "repository", named_by="repo_url")
_TOKEN_NOTES: Final = ("lifetime", "subject_claim")
_CACHE_WRITE: Final = _call("cache.write", WRITE, "cache")

AGENT: Final[Mapping[str, Call]] = {
    # What a job asks for, mostly through `buildkite-agent`.
    "POST /jobs/{job}/oidc/tokens": _call("oidc.mint", CREDENTIAL, "audience", named_by="audience", notes=_TOKEN_NOTES),
    "POST /jobs/{job}/pipelines": _call("pipeline.upload", ADMIN),
    "GET /jobs/{job}/pipelines/{upload}": _call("pipeline.upload-status", READ),
    "GET /jobs/{job}/secrets": _call("secret.get", CREDENTIAL, "secret", asked_by="key"),
    "POST /jobs/{job}/repository_access_token": _REPOSITORY_TOKEN,
    "POST /jobs/{job}/github_code_access_token": _REPOSITORY_TOKEN,
    "POST /jobs/{job}/data/set": _call("meta.set", WRITE, "meta", named_by="key"),
    "POST /jobs/{job}/data/set-batch": _call("meta.set", WRITE, "meta"),
    **{f"POST /jobs/{{job}}/{path}": call for path, call in _META.items()},
    **{f"POST /builds/{{build}}/{path}": call for path, call in _META.items()},
    "POST /jobs/{job}/data/keys": _call("meta.list", LIST),
    "POST /builds/{build}/data/keys": _call("meta.list", LIST, "build"),
    "POST /jobs/{job}/artifacts": _UPLOAD,
    "PUT /jobs/{job}/artifacts": _UPLOAD,
    "PUT /jobs/{job}/artifacts/{artifact}": _UPLOAD,
    "GET /builds/{build}/artifacts/search": _call("artifact.search", LIST, "build"),
    "POST /jobs/{job}/annotations": _call("annotate", WRITE, "annotation", named_by="context"),
    "DELETE /jobs/{job}/annotations/{annotation}": _call("annotation.delete", DELETE, "annotation"),
    "GET /jobs/{job}": _call("job.get", READ),
    "POST /jobs/{job}/errors": _call("job.report-error", WRITE),
    "POST /jobs/{job}/promise_failure": _call("job.promise-failure", WRITE),
    "POST /steps/{step}/export": _call("step.get", READ, "step"),
    "PUT /steps/{step}": _call("step.update", WRITE, "step"),
    "POST /steps/{step}/cancel": _call("step.cancel", EXECUTE, "step"),
    "POST /builds/{build}/cancel": _call("build.cancel", EXECUTE, "build"),
    "GET /cache_registries/{cache}": _call("cache.get", READ, "cache"),
    "GET /cache_registries/{cache}/peek": _call("cache.peek", READ, "cache"),
    "GET /cache_registries/{cache}/retrieve": _call("cache.read", READ, "cache"),
    "PUT /cache_registries/{cache}/store": _CACHE_WRITE,
    "PUT /cache_registries/{cache}/commit": _CACHE_WRITE,
    # What the agent asks for around a job. Accepting one answers its environment, with its secrets and its token.
    "PUT /jobs/{job}/accept": _call("job.accept", CREDENTIAL),
    "PUT /jobs/{job}/acquire": _call("job.acquire", CREDENTIAL),
    "PUT /jobs/{job}/start": _call("job.start", WRITE),
    "PUT /jobs/{job}/finish": _call("job.finish", WRITE),
    "POST /jobs/{job}/chunks": _call("job.log", WRITE),
    "POST /jobs/{job}/header_times": _call("job.log", WRITE),
    # The agent itself. A ping may answer with the next job.
    "POST /register": _call("agent.register", CREDENTIAL, "agent"),
    "GET /ping": _call("agent.ping", CREDENTIAL, "agent"),
    "POST /heartbeat": _call("agent.heartbeat", WRITE, "agent"),
    "POST /connect": _call("agent.connect", ADMIN, "agent"),
    "POST /disconnect": _call("agent.disconnect", ADMIN, "agent"),
    "POST /stop": _call("agent.stop", ADMIN, "agent"),
    "POST /pause": _call("agent.pause", ADMIN, "agent"),
    "POST /resume": _call("agent.resume", ADMIN, "agent"),
}

_ORG: Final = "/organizations/{organization}"
_PIPELINE: Final = f"{_ORG}/pipelines/{{pipeline}}"
_BUILD: Final = f"{_PIPELINE}/builds/{{build}}"
_JOB: Final = f"{_BUILD}/jobs/{{target_job}}"
_CLUSTER: Final = f"{_ORG}/clusters/{{cluster}}"
_REGISTRY: Final = f"/packages{_ORG}/registries/{{registry}}"


def _crud(path: str, name: str, kind: str, effect: EffectClass) -> dict[str, Call]:
    """List, get, create, change and delete of one kind of thing, the changes all with one effect."""
    return {
        f"GET {path}": _call(f"{name}.list", LIST, kind),
        f"GET {path}/{{id}}": _call(f"{name}.get", READ, kind),
        f"POST {path}": _call(f"{name}.create", effect, kind),
        f"PATCH {path}/{{id}}": _call(f"{name}.update", effect, kind),
        f"PUT {path}/{{id}}": _call(f"{name}.update", effect, kind),
        f"DELETE {path}/{{id}}": _call(f"{name}.delete", effect, kind),
    }


REST: Final[Mapping[str, Call]] = {
    "GET /user": _call("user.get", READ, "user"),
    "GET /access-token": _call("access-token.get", READ, "access-token"),
    "DELETE /access-token": _call("access-token.revoke", CREDENTIAL, "access-token"),
    "GET /meta": _call("service.get", READ, "service"),
    "GET /organizations": _call("organization.list", LIST, "organization"),
    f"GET {_ORG}": _call("organization.get", READ, "organization"),
    f"GET {_ORG}/emojis": _call("emoji.list", LIST, "organization"),
    "GET /builds": _call("build.list", LIST, "build"),
    f"GET {_ORG}/builds": _call("build.list", LIST, "build"),
    f"GET {_PIPELINE}/builds": _call("build.list", LIST, "build"),
    f"GET {_BUILD}": _call("build.get", READ, "build"),
    f"POST {_PIPELINE}/builds": _call("build.create", EXECUTE, "build", notes=("branch", "commit")),
    f"PUT {_BUILD}/cancel": _call("build.cancel", EXECUTE, "build"),
    f"PUT {_BUILD}/rebuild": _call("build.rebuild", EXECUTE, "build"),
    f"PUT {_JOB}/unblock": _call("job.unblock", ADMIN),  # a person's approval
    f"PUT {_JOB}/retry": _call("job.retry", EXECUTE),
    f"PUT {_JOB}/reprioritize": _call("job.reprioritize", WRITE),
    f"GET {_JOB}/env": _call("job.environment", CREDENTIAL),
    f"GET {_JOB}/env.txt": _call("job.environment", CREDENTIAL),
    f"GET {_JOB}/log": _call("job.read-log", READ),
    f"GET {_JOB}/log.txt": _call("job.read-log", READ),
    f"GET {_JOB}/log.html": _call("job.read-log", READ),
    f"DELETE {_JOB}/log": _call("job.delete-log", DELETE),
    f"GET {_BUILD}/artifacts": _call("artifact.list", LIST, "artifact"),
    f"GET {_JOB}/artifacts": _call("artifact.list", LIST, "artifact"),
    f"GET {_JOB}/artifacts/{{artifact}}": _call("artifact.get", READ, "artifact"),
    f"GET {_JOB}/artifacts/{{artifact}}/download": _call("artifact.download", READ, "artifact"),
    f"DELETE {_JOB}/artifacts/{{artifact}}": _call("artifact.delete", DELETE, "artifact"),
    f"GET {_BUILD}/annotations": _call("annotation.list", LIST, "annotation"),
    f"POST {_BUILD}/annotations": _call("annotate", WRITE, "annotation"),
    f"DELETE {_BUILD}/annotations/{{annotation}}": _call("annotation.delete", DELETE, "annotation"),
    f"GET {_ORG}/agents": _call("agent.list", LIST, "agent"),
    f"GET {_ORG}/agents/{{agent}}": _call("agent.get", READ, "agent"),
    f"PUT {_ORG}/agents/{{agent}}/stop": _call("agent.stop", ADMIN, "agent"),
    f"PUT {_ORG}/agents/{{agent}}/pause": _call("agent.pause", ADMIN, "agent"),
    f"PUT {_ORG}/agents/{{agent}}/resume": _call("agent.resume", ADMIN, "agent"),
    **_crud(f"{_ORG}/pipelines", "pipeline", "pipeline", ADMIN),
    f"POST {_PIPELINE}/archive": _call("pipeline.archive", ADMIN, "pipeline"),
    f"POST {_PIPELINE}/unarchive": _call("pipeline.unarchive", ADMIN, "pipeline"),
    f"POST {_PIPELINE}/webhook": _call("pipeline.webhook", ADMIN, "pipeline"),
    **_crud(f"{_PIPELINE}/schedules", "schedule", "pipeline", ADMIN),
    **_crud(f"{_ORG}/pipeline-templates", "pipeline-template", "pipeline-template", ADMIN),
    **_crud(f"{_ORG}/clusters", "cluster", "cluster", ADMIN),
    **_crud(f"{_CLUSTER}/queues", "queue", "cluster", ADMIN),
    f"POST {_CLUSTER}/queues/{{id}}/pause_dispatch": _call("queue.pause", ADMIN, "cluster"),
    f"POST {_CLUSTER}/queues/{{id}}/resume_dispatch": _call("queue.resume", ADMIN, "cluster"),
    **{line: _call(call.action, CREDENTIAL, "cluster") for line, call in
       _crud(f"{_CLUSTER}/tokens", "agent-token", "cluster", ADMIN).items()},
    **_crud(f"{_CLUSTER}/secrets", "cluster-secret", "cluster", CREDENTIAL),
    f"PUT {_CLUSTER}/secrets/{{id}}/value": _call("cluster-secret.set", CREDENTIAL, "cluster"),
    **_crud(f"{_ORG}/teams", "team", "team", ADMIN),
    **_crud(f"{_ORG}/rules", "rule", "rule", ADMIN),
    f"GET {_REGISTRY}/packages": _call("package.list", LIST, "package"),
    f"POST {_REGISTRY}/packages": _call("package.publish", PUBLISH, "package"),
    f"GET {_REGISTRY}/packages/{{package}}": _call("package.get", READ, "package"),
    f"DELETE {_REGISTRY}/packages/{{package}}": _call("package.delete", DELETE, "package"),
}  # fmt: skip

_EXECUTING_MUTATIONS: Final = frozenset(
    {"buildCreate", "buildCancel", "buildRebuild", "jobTypeCommandRetry", "jobTypeCommandCancel"}
)


def mutation_effect(name: str) -> EffectClass:
    """Say how harmful a GraphQL mutation is: what is not known to start or stop builds is administration."""
    if name in _EXECUTING_MUTATIONS:
        return EXECUTE
    return CREDENTIAL if "token" in name.lower() or "secret" in name.lower() else ADMIN


AGENT_ROUTES: Final[Routes[Call]] = compile_routes(AGENT)
REST_ROUTES: Final[Routes[Call]] = compile_routes(REST)
