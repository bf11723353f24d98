"""`jobgate simulate`: one pipeline with everything in it, under rules, in every form and with every exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parents[2]

PIPELINE = """\
env:
  IMAGE: "registry.test/app:${BUILDKITE_COMMIT:0:7}"
common: &common
  agents: {queue: fast}
steps:
  - key: test
    <<: *common
    label: ":test_tube: tests"
    command: npm ci
    parallelism: 3
  - key: lint
    command: make lint
    branches: "!main"
  - group: Images
    key: images
    depends_on: test
    steps:
      - key: build
        label: "build {{matrix}}"
        command: make image
        matrix: [amd64, arm64]
      - key: scan
        command: make scan
        depends_on: build
  - wait
  - block: Release?
    key: gate
    if: build.branch == "main"
  - key: release
    depends_on: gate
    command: make release
    env: {JOBGATE_INTENT: "aws s3:PutObject arn:aws:s3:::releases/**"}
  - key: more
    command: buildkite-agent pipeline upload more.yml
"""

MORE = """\
steps:
  - key: hotfix
    command: make hotfix
    depends_on: releas
"""

RULES = """\
rules:
  - id: packages
    why: tests install packages
    to: registry.npmjs.org
    intent: npm install **
    job: {pipeline: shop}
  - id: production-release
    why: the release uploads
    to: releases.s3.eu-central-1.amazonaws.com
    intent: aws s3:PutObject arn:aws:s3:::releases/**
    job: {pipeline: shop, step: [release, hotfix]}
    credential: {aws: {role: "arn:aws:iam::111122223333:role/production"}}
  - id: gone
    why: a step that is no more
    to: old.test
    job: {pipeline: shop, step: removed}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "shop.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "pipeline.yml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "more.yml").write_text(MORE, encoding="utf-8")
    return tmp_path


CONTEXT = ("--context", "branch=main,pipeline=shop", "--env", "BUILDKITE_COMMIT=0123456789abcdef")


def simulate(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "simulate", "pipeline.yml", "--rules", "rules", *words]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_order_and_the_ways_out_are_told(folder: Path) -> None:
    told = simulate(folder, *CONTEXT).stdout
    assert ":test_tube: tests (command x3)\n    -> registry.npmjs.org: npm install ** (packages)" in told
    assert "not run: lint (branches: !main)" in told
    assert (
        "    -> releases.s3.eu-central-1.amazonaws.com: aws s3:PutObject arn:aws:s3:::releases/**"
        " with aws arn:aws:iam::111122223333:role/production [gate Release?] (production-release)" in told
    )
    assert "gone is for this pipeline, and no step of it can reach the rule [unreached-rule]" in told


def as_json(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(simulate(folder, "--format", "json", *words, code=code).stdout)
    return answer


def test_the_context_decides_what_runs(folder: Path) -> None:
    """Surely on main, surely not on a topic, perhaps where nobody says which branch it is."""

    def fates(*words: str) -> dict[str, str]:
        return {step["id"]: step["fate"] for step in as_json(folder, *words)["steps"]}

    assert (fates(*CONTEXT)["gate"], fates(*CONTEXT)["lint"]) == ("runs", "skipped")
    topic = fates("--context", "branch=topic,pipeline=shop")
    assert (topic["gate"], topic["lint"]) == ("skipped", "runs")
    assert fates("--context", "pipeline=shop")["gate"] == "cannot be told"


def test_a_release_without_its_gate_is_found(folder: Path) -> None:
    """Off main the block is skipped, and the release still gets the production credential: a warning for --strict."""
    found = as_json(folder, "--context", "branch=topic,pipeline=shop")["findings"]
    (warning,) = [each for each in found if each["id"] == "ungated-credential"]
    assert (warning["step"], warning["rule"], warning["line"]) == ("release", "production-release", 29)
    simulate(folder, "--context", "branch=topic,pipeline=shop", "--strict", code=1)


def test_what_steps_upload_is_part_of_it(folder: Path) -> None:
    told = as_json(folder, *CONTEXT, "--with", "more.yml", code=1)
    (hotfix,) = [step for step in told["steps"] if step["key"] == "hotfix"]
    assert hotfix["after"] == {"more": "upload"}
    assert [each["rule"] for each in hotfix["exits"]] == ["packages", "production-release"]
    (mistake,) = [each for each in told["findings"] if each["id"] == "missing-key"]
    assert (mistake["file"], mistake["line"], mistake["hint"]) == ("more.yml", 4, "Did you mean `release`?")


def test_pictures_and_reports_are_what_they_say(folder: Path) -> None:
    drawn = simulate(folder, *CONTEXT, "--format", "mermaid").stdout
    assert drawn.startswith("flowchart LR\n")
    assert '{{"Release?"}}'.replace("?", "#63;") in drawn
    sarif = json.loads(simulate(folder, *CONTEXT, "--format", "sarif", "--with", "more.yml", code=1).stdout)
    (run,) = sarif["runs"]
    assert sarif["version"] == "2.1.0"
    (result,) = [each for each in run["results"] if each["ruleId"] == "missing-key"]
    place = result["locations"][0]["physicalLocation"]
    assert (result["level"], place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("error", "more.yml", 4)
    suite = ET.fromstring(simulate(folder, *CONTEXT, "--format", "junit").stdout)
    assert suite.get("failures") == str(len({case.get("name") for case in suite if len(case)}))
    assert int(suite.get("tests", "0")) == len(suite)


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("--context", "banch=main"), 2, "Did you mean `branch`?"),
        (("--context", "branch"), 2, "write NAME=VALUE"),
        (("--context", "build_number=x"), 2, "build_number"),
        (("--with", "nothing.yml"), 2, "nothing.yml cannot be read"),
        (("--rules", "nothing"), 3, "nothing"),
        (("--with", "rules"), 2, "rules cannot be read"),
    ],
)
def test_wrong_usage_is_told(folder: Path, words: tuple[str, ...], code: int, message: str) -> None:
    assert message in simulate(folder, *words, code=code).stderr


@pytest.mark.parametrize(
    "text, code, message",
    [
        ("steps: [", 3, "pipeline.yml:2:1"),
        ("steps: {a: b}", 1, "[pipeline]"),
        ("steps: [{command: x, depends_on: a, key: b}, {command: x, key: a, depends_on: b}]", 1, "[cycle]"),
        ("steps: [{command: x, if: 'build.branch =='}]", 1, "[condition]"),
    ],
)
def test_a_broken_pipeline_is_told(folder: Path, text: str, code: int, message: str) -> None:
    (folder / "pipeline.yml").write_text(text, encoding="utf-8")
    done = simulate(folder, code=code)
    assert message in done.stdout + done.stderr


WORKFLOW = """\
name: Release
on: {push: {branches: [main]}}
permissions: {id-token: write}
jobs:
  build: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4}, {run: npm ci}]}
  deploy:
    needs: build
    environment: production
    steps: [{run: make deploy}]
  call: {needs: deploy, uses: ./.github/workflows/notify.yml}
"""
CALLED = """\
on: workflow_call
jobs:
  tell: {steps: [{run: make tell}]}
"""
GITLAB = """\
include: /ci/deploy.yml
stages: [test, deploy]
.base: &base {id_tokens: {JOBGATE_ID_TOKEN: {aud: jobgate}}}
test: {<<: *base, script: [npm ci]}
"""
DEPLOY = """\
deploy:
  extends: .base
  stage: deploy
  environment: production
  rules: [{if: $CI_COMMIT_BRANCH == "main", when: manual}]
  script: [!reference [.scripts, deploy]]
.scripts: {deploy: [make deploy]}
"""
ENVIRONMENT_RULES = """\
rules:
  - id: packages
    why: every job installs packages
    to: registry.npmjs.org
    intent: npm install **
  - id: code
    why: every job reads its code
    to: github.com
    intent: git fetch **
  - id: deploy
    why: deployments upload
    to: releases.s3.eu-central-1.amazonaws.com
    intent: aws s3:PutObject arn:aws:s3:::releases/**
    job: {environment: production}
    credential: {aws: {role: "arn:aws:iam::111122223333:role/production"}}
"""


def exits(report: dict[str, Any]) -> dict[str, list[str]]:
    return {step["id"]: [each["rule"] for each in step["exits"]] for step in report["steps"]}


def test_workflows_of_github_are_read(folder: Path) -> None:
    """Who deploys to an environment reaches what is for it; a reviewer who guards it is said to on the command line."""
    (folder / "pipeline.yml").write_text(WORKFLOW, encoding="utf-8")
    (folder / "rules" / "shop.yaml").write_text(ENVIRONMENT_RULES, encoding="utf-8")
    (folder / ".github" / "workflows").mkdir(parents=True)
    (folder / ".github" / "workflows" / "notify.yml").write_text(CALLED, encoding="utf-8")
    words = ("--context", "branch=main,source=push", "--with", ".github/workflows/notify.yml")
    told = as_json(folder, *words)
    assert (told["provider"], told["stages"]) == ("github", [["build"], ["deploy"], ["call"], ["call/tell"]])
    assert exits(told) == {
        "build": ["code", "packages"],
        "deploy": ["code", "deploy", "packages"],
        "call": [],
        "call/tell": ["code", "packages"],
    }
    assert [each["id"] for each in told["findings"]] == ["ungated-credential"]
    assert as_json(folder, *words, "--protected", "production")["findings"] == []
    assert {step["fate"] for step in as_json(folder, "--context", "branch=x,source=push", *words[2:])["steps"]} == {
        "skipped"
    }


def test_files_of_gitlab_are_read(folder: Path) -> None:
    """With what they include, extend and refer to; a job that a person starts is its own gate."""
    (folder / "pipeline.yml").write_text(GITLAB, encoding="utf-8")
    (folder / "rules" / "shop.yaml").write_text(ENVIRONMENT_RULES, encoding="utf-8")
    (folder / "ci").mkdir()
    (folder / "ci" / "deploy.yml").write_text(DEPLOY, encoding="utf-8")
    told = as_json(folder, "--context", "branch=main,source=push", "--with", "ci/deploy.yml")
    assert (told["provider"], told["stages"], told["findings"]) == ("gitlab", [["test"], ["deploy"]], [])
    (deploy,) = [step for step in told["steps"] if step["id"] == "deploy"]
    assert deploy["gates"] == ["deploy"]
    assert exits(told)["deploy"] == ["code", "deploy", "packages"]


def test_what_changes_is_told(folder: Path) -> None:
    """Between rules, between pipelines, and between both: for people, for a pull request's comment and for machines."""
    (folder / "old").mkdir()
    (folder / "old" / "shop.yaml").write_text(RULES.replace("step: [release, hotfix]", "step: hotfix"), "utf-8")
    (folder / "old.yml").write_text(PIPELINE.replace("  - wait\n", ""), encoding="utf-8")
    told = as_json(folder, *CONTEXT, "--diff", "old")["changes"]
    assert told["widens"] is True
    assert [(each["kind"], each["step"], each["rule"]) for each in told["exits"]] == [
        ("added", "release", "production-release")
    ]
    assert as_json(folder, *CONTEXT, "--diff", "rules")["changes"]["widens"] is False
    text = simulate(folder, *CONTEXT, "--diff", "old.yml").stdout.partition("what changes\n")[2]
    assert "gate: runs; after build, images, scan, test; gate Release? -> runs; after step-6; gate Release?\n" in text
    assert "way out" not in text
    assert simulate(folder, *CONTEXT, "--diff", "rules/shop.yaml").stdout.endswith("what changes\n  nothing\n")
    comment = simulate(folder, *CONTEXT, "--diff", "old", "--diff", "old.yml", "--format", "markdown").stdout
    assert "**Steps may do more than before.**" in comment
    assert "| added | `release` |  | releases.s3.eu-central-1.amazonaws.com: aws s3:PutObject" in comment
    assert "```mermaid\nflowchart LR" in comment
    simulate(folder, *CONTEXT, "--diff", "old.yml", "--diff", "pipeline.yml", code=2)


def test_what_changes_cannot_break_its_table(folder: Path) -> None:
    """A label with a pipe, a link or markup is text in its cell."""
    text = PIPELINE.replace('"Release?"', "").replace("block: Release?", "block: '|[x](http://e.test)<b>@all`'")
    (folder / "pipeline.yml").write_text(text, encoding="utf-8")
    (folder / "old.yml").write_text(PIPELINE, encoding="utf-8")
    comment = simulate(folder, *CONTEXT, "--diff", "old.yml", "--format", "markdown").stdout
    rows = [line for line in comment.splitlines() if line.startswith("| changed")]
    assert {row.count(" | ") for row in rows} == {3}, "four cells, whatever a label holds"
    assert all("\\|\\[x\\]\\(http://e.test\\)\\<b\\>\\@all\\`" in row for row in rows)


def test_the_picture_is_svg(folder: Path) -> None:
    picture = ET.fromstring(simulate(folder, *CONTEXT, "--format", "svg").stdout)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert "Release?" in [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
