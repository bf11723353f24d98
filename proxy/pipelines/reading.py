"""Which CI a file is of, and how it is read; what is known of a build, named as that CI's expressions name it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.model.identity import JobContext
from proxy.pipelines.buildkite import merge, read_pipeline
from proxy.pipelines.conditionals import NAMES
from proxy.pipelines.expressions import Facts
from proxy.pipelines.github import read_workflow
from proxy.pipelines.github_expressions import CONTEXTS
from proxy.pipelines.gitlab import read_ci
from proxy.pipelines.gitlab_rules import MERGE_REQUEST, SOURCE
from proxy.pipelines.pipeline import Pipeline

type Known = dict[str, str | int | bool | tuple[str, ...] | None]


def _read_buildkite(document: object, file: str, facts: Facts, others: Mapping[str, object]) -> Pipeline:
    environment = facts.environment or {}
    fragments = {name: read_pipeline(each, name, environment) for name, each in others.items()}
    return merge(read_pipeline(document, file, environment), fragments)


_READERS: Final[Mapping[str, Callable[[object, str, Facts, Mapping[str, object]], Pipeline]]] = {
    "buildkite": _read_buildkite,
    "github": read_workflow,
    "gitlab": read_ci,
}
PROVIDERS: Final = tuple(_READERS)
"""The CIs whose files are read."""


def provider_of(document: object, file: str) -> str:
    """Return which CI a file is of, by what it holds, then by its name."""
    if isinstance(document, list) or (isinstance(document, dict) and "steps" in document):
        return "buildkite"
    if isinstance(document, dict) and "jobs" in document and ("on" in document or "/workflows/" in file):
        return "github"
    return "gitlab" if "gitlab" in file or (isinstance(document, dict) and "stages" in document) else "buildkite"


def read_files(provider: str, file: str, documents: Mapping[str, Any], facts: Facts) -> Pipeline:
    """Return the pipeline of `file`; the other documents are what its steps upload, call or include."""
    others = {name: document for name, document in documents.items() if name != file}
    return _READERS[provider](documents[file], file, facts, others)


def is_name(provider: str, name: str) -> bool:
    """Whether a CI's expressions may ask for a name."""
    if provider == "github":
        return name.partition(".")[0] in CONTEXTS and "." in name
    return name in NAMES if provider == "buildkite" else name.startswith(("CI_", "GITLAB_"))


def facts_of(provider: str, job: JobContext, given: Mapping[str, Any], environment: Mapping[str, str]) -> Facts:
    """Return what expressions may ask: of a job's facts, and of what was given by name, which has the say."""
    return Facts({**_NAMED[provider](job), **given}, environment)


def _present(values: Known) -> Known:
    return {name: value for name, value in values.items() if value is not None}


def _as_buildkite(job: JobContext) -> Known:
    known = _present(
        {
            "build.branch": job.branch,
            "build.tag": job.tag,
            "build.commit": job.commit,
            "build.number": job.build_number,
            "build.id": job.build_id,
            "build.source": job.source,
            "organization.slug": job.organization,
            "pipeline.slug": job.pipeline,
        }
    )
    # Who names a branch and no tag means that there is none.
    return known if job.branch is None else {"build.tag": None, **known}


def _as_github(job: JobContext) -> Known:
    kind, name = ("branch", job.branch) if job.branch is not None else ("tag", job.tag)
    ref: Known = {}
    if name is not None:
        heads = "heads" if kind == "branch" else "tags"
        ref = {"github.ref_type": kind, "github.ref_name": name, "github.ref": f"refs/{heads}/{name}"}
    return _present(
        {
            "github.event_name": job.source,
            "github.sha": job.commit,
            "github.repository": job.repository,
            "github.repository_owner": job.organization,
            "github.actor": job.actor,
            "github.run_id": job.build_id,
            "github.run_number": job.build_number,
            "github.workflow": job.pipeline,
            "github.ref_protected": job.protected,
            **ref,
        }
    )


def _as_gitlab(job: JobContext) -> Known:
    known = _present(
        {
            SOURCE: job.source,
            "CI_COMMIT_SHA": job.commit,
            "CI_PROJECT_PATH": job.repository,
            "CI_PROJECT_NAMESPACE": job.organization,
            "CI_PIPELINE_ID": job.build_id,
            "GITLAB_USER_LOGIN": job.actor,
            "CI_COMMIT_BRANCH": job.branch,
            "CI_COMMIT_TAG": job.tag,
            "CI_COMMIT_REF_NAME": job.branch or job.tag,
            "CI_COMMIT_REF_PROTECTED": None if job.protected is None else str(job.protected).lower(),
        }
    )
    absent: Known = {}
    if job.source == MERGE_REQUEST:
        absent = {"CI_COMMIT_BRANCH": None, "CI_COMMIT_TAG": None}
    elif job.branch is not None or job.tag is not None:
        absent = {"CI_COMMIT_BRANCH": None, "CI_COMMIT_TAG": None, "CI_MERGE_REQUEST_IID": None}
    return {"CI": "true", "GITLAB_CI": "true", **absent, **known}


_NAMED: Final[Mapping[str, Callable[[JobContext], Known]]] = {
    "buildkite": _as_buildkite,
    "github": _as_github,
    "gitlab": _as_gitlab,
}
