"""Files of three CIs, told apart, and what is known of a build in the words of each."""

import pytest

from proxy.model.identity import JobContext
from proxy.pipelines.expressions import Facts
from proxy.pipelines.reading import PROVIDERS, facts_of, is_name, provider_of, read_files

STEPS = {"steps": [{"command": "x", "key": "a"}]}
WORKFLOW = {"on": "push", "jobs": {"a": {"steps": [{"run": "x"}]}}}
CI = {"stages": ["test"], "a": {"script": "x"}}


@pytest.mark.parametrize(
    "document, file, provider",
    [
        (STEPS, "p.yml", "buildkite"),
        (["wait"], "p.yml", "buildkite"),
        (WORKFLOW, "p.yml", "github"),
        ({"jobs": {}}, ".github/workflows/p.yml", "github"),
        ({"jobs": {}}, "p.yml", "buildkite"),
        (CI, "p.yml", "gitlab"),
        ({"a": {"script": "x"}}, ".gitlab-ci.yml", "gitlab"),
        (None, "p.yml", "buildkite"),
    ],
)
def test_files_are_told_apart(document: object, file: str, provider: str) -> None:
    assert provider_of(document, file) == provider


def test_files_are_read_together() -> None:
    for provider, document in zip(PROVIDERS, (STEPS, WORKFLOW, CI), strict=True):
        found = read_files(provider, "p.yml", {"p.yml": document}, Facts())
        assert (found.provider, [step.key for step in found.steps], found.faults) == (provider, ["a"], ())
        found = read_files(provider, "p.yml", {"p.yml": document, "q.yml": document}, Facts())
        assert [file for file, _ in found.faults] == ["q.yml"], "nothing uploads, calls or includes it"


@pytest.mark.parametrize(
    "provider, name, known",
    [
        ("buildkite", "build.message", True),
        ("buildkite", "github.ref", False),
        ("github", "github.event.action", True),
        ("github", "vars", False),
        ("github", "env.X", False),
        ("gitlab", "CI_MERGE_REQUEST_IID", True),
        ("gitlab", "OTHER", False),
    ],
)
def test_what_expressions_may_ask(provider: str, name: str, known: bool) -> None:  # noqa: FBT001
    assert is_name(provider, name) is known


JOB = JobContext(
    organization="acme", pipeline="ci", repository="acme/app", branch="main", commit="c0", source="push", actor="ann",
    build_id="9", build_number=7, protected=True,
)  # fmt: skip


def test_a_branch_is_no_tag() -> None:
    assert facts_of("buildkite", JOB, {}, {"A": "1"}) == Facts(
        {
            "build.branch": "main",
            "build.tag": None,
            "build.commit": "c0",
            "build.number": 7,
            "build.id": "9",
            "build.source": "push",
            "organization.slug": "acme",
            "pipeline.slug": "ci",
        },
        {"A": "1"},
    )
    assert facts_of("buildkite", JobContext(), {"build.branch": "x"}, {}).values == {"build.branch": "x"}


def test_refs_in_the_words_of_github() -> None:
    assert facts_of("github", JOB, {"github.actor": "bob"}, {}).values == {
        "github.event_name": "push",
        "github.sha": "c0",
        "github.repository": "acme/app",
        "github.repository_owner": "acme",
        "github.actor": "bob",
        "github.run_id": "9",
        "github.run_number": 7,
        "github.workflow": "ci",
        "github.ref_protected": True,
        "github.ref_type": "branch",
        "github.ref_name": "main",
        "github.ref": "refs/heads/main",
    }
    assert facts_of("github", JobContext(tag="v1"), {}, {}).values == {
        "github.ref_type": "tag",
        "github.ref_name": "v1",
        "github.ref": "refs/tags/v1",
    }
    assert facts_of("github", JobContext(), {}, {}).values == {}


def test_refs_in_the_words_of_gitlab() -> None:
    """A merge request is neither branch nor tag, and a branch is no merge request."""
    always = {"CI": "true", "GITLAB_CI": "true"}
    assert facts_of("gitlab", JobContext(), {}, {}).values == always
    assert facts_of("gitlab", JobContext(source="merge_request_event"), {}, {}).values == {
        **always,
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_COMMIT_BRANCH": None,
        "CI_COMMIT_TAG": None,
    }
    found = facts_of("gitlab", JOB, {}, {}).values
    assert {name: found[name] for name in ("CI_COMMIT_BRANCH", "CI_COMMIT_TAG", "CI_MERGE_REQUEST_IID")} == {
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_TAG": None,
        "CI_MERGE_REQUEST_IID": None,
    }
    assert (found["CI_COMMIT_REF_NAME"], found["CI_COMMIT_REF_PROTECTED"]) == ("main", "true")
