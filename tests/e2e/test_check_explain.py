"""`jobgate check` and `jobgate explain` as processes, on the shipped rules and on rules made for the purpose."""

import base64
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxy.connectors.registry import connector_scopes
from proxy.engine.decide import AccessQuestion, Verdict, decide
from proxy.model.decision import Decision
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.policy.compile import RuleSet
from proxy.policy.published import rule_schema
from proxy.sources.rules import RuleFolder
from proxy.sources.yaml import load_yaml
from tests.fakes.policy import a_view

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "rules"
SCHEMA = RULES / "jobgate.schema.json"


def jobgate(*words: str, cwd: Path = ROOT, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *words],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_shipped_rules_are_runnable_as_they_are() -> None:
    """What is shipped loads and has no finding at all, warnings included."""
    done = jobgate("check", "--strict", "rules")
    assert done.returncode == 0, done.stdout
    assert "no problems" in done.stdout


def test_the_published_schema_is_fresh_and_fits_the_shipped_rules() -> None:
    """The schema beside the rules is the one the models give, and an editor finds the rules valid."""
    done = jobgate("check", "--print-schema")
    schema = json.loads(SCHEMA.read_text())

    assert done.returncode == 0
    assert done.stdout == SCHEMA.read_text(), "run `make schema`"
    assert schema == rule_schema(connector_scopes())
    Draft202012Validator.check_schema(schema)
    for path in sorted(RULES.glob("*.yaml")):
        assert path.read_text().startswith("# yaml-language-server: $schema=./jobgate.schema.json\n")
        assert list(Draft202012Validator(schema).iter_errors(load_yaml(path.read_text(), path.name).value)) == []


def test_every_connector_can_be_named_in_a_rule() -> None:
    """Editors complete each connector's own fields."""
    schema = json.loads(SCHEMA.read_text())
    blocks = schema["$defs"]["RuleText"]["properties"]["credential"]["properties"]
    assert set(blocks) == set(connector_scopes())


GUARDED = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://169.254.170.2/v2/credentials",
    "http://[fd00:ec2::254]/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "https://169.254.169.254/",
    "http://localhost:8080/",
    "http://x.localhost/",
    "http://127.0.0.1:9/",
    "https://[::1]:8443/",
    "https://dns.google/dns-query?dns=AAAA",
    "https://1.1.1.1/dns-query",
    "https://kubernetes.default.svc/api",
]
EVERYTHING = """\
rules:
  - {id: everything, why: as wide as can be written, method: any, to: [%s]}
"""


def decided(view: RequestView, job: JobContext, ruleset: RuleSet, now: datetime) -> Decision:
    verdict = decide(AccessQuestion(view, job, ruleset, now))
    assert isinstance(verdict, Verdict)
    return verdict.decision


@pytest.mark.parametrize("url", GUARDED)
def test_the_guard_holds_against_an_allow_rule_for_the_same_place(url: str, tmp_path: Path) -> None:
    """Whatever else is written, the guard denies metadata services, this machine, the cluster and DNS over HTTPS."""
    scheme, _, rest = url.partition("://")
    allow = tmp_path / "allow.yaml"
    allow.write_text(EVERYTHING % json.dumps(f"{scheme}://{rest.partition('/')[0]}"))
    ruleset = RuleFolder([RULES / "guard.yaml", allow], connector_scopes()).load()
    job, now = JobContext(), datetime.now(UTC)

    assert decided(a_view("GET", url), job, RuleFolder([allow], connector_scopes()).load(), now).is_allowed
    assert decided(a_view("GET", url), job, ruleset, now).reason == "rule-denied"


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.org/simple/requests/",
        "https://pypi.org/pypi/requests/json",
        "https://files.pythonhosted.org/packages/ab/cd/x-1.0-py3-none-any.whl",
        "https://registry.npmjs.org/@types%2fnode",
        "https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz",
        "https://index.crates.io/se/rd/serde",
        "https://proxy.golang.org/golang.org/x/mod/@v/list",
        "https://rubygems.org/gems/rake-13.0.6.gem",
        "https://repo1.maven.org/maven2/junit/junit/maven-metadata.xml",
        "http://deb.debian.org/debian/dists/bookworm/InRelease",
    ],
)
def test_public_packages_are_readable_and_nothing_else(url: str) -> None:
    """Installs work out of the box for any job; publishing does not."""
    ruleset = RuleFolder([RULES], connector_scopes()).load()
    now = datetime.now(UTC)
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        decision = decided(a_view(method, url), JobContext(), ruleset, now)
        assert decision.is_allowed is (method in {"GET", "HEAD"})
        assert decision.grant is None


MIXED = """\
rules:
  - {id: read, why: all read, to: a.example.com}
  - {id: write, why: main writes, to: a.example.com, method: [PUT, POST], path: /w/**, job: {branch: main}}
  - {id: no, why: never, effect: deny, to: "**.example.com", path: /w/secret/**}
"""


def test_explain_decides_as_the_engine_does(tmp_path: Path) -> None:
    """For every request, explain's verdict is the engine's own."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "mixed.yaml").write_text(MIXED)
    ruleset = RuleFolder([tmp_path / "rules"], connector_scopes()).load()
    for branch, method, path in product(("main", "x"), ("GET", "PUT"), ("/w/a", "/w/secret/a")):
        url = f"https://a.example.com{path}"
        done = jobgate(
            "explain", "--claims", "-", "--json", method, url, cwd=tmp_path, stdin=json.dumps({"branch": branch})
        )
        expected = decided(a_view(method, url), JobContext(branch=branch), ruleset, datetime.now(UTC))
        told: dict[str, Any] = json.loads(done.stdout)

        assert (told["effect"], told["reason"]) == (expected.effect.value, expected.reason.value)
        assert (told["rules"], told["revision"]) == (list(expected.rule_ids), expected.revision)
        assert done.returncode == (0 if expected.is_allowed else 1)


def test_the_smallest_rule_really_allows(tmp_path: Path) -> None:
    """Saving what explain suggests passes check --strict, and the same request is then allowed."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "mixed.yaml").write_text(MIXED)
    ask = ("explain", "--claims", "-", "--json", "POST", "http://b.example.org:8080/x%20y")
    job = json.dumps({"pipeline": "deploy", "branch": "main"})
    told = json.loads(jobgate(*ask, cwd=tmp_path, stdin=job).stdout)
    (tmp_path / "rules" / "new.yaml").write_text(told["smallest_rule"])

    assert jobgate("check", "--strict", cwd=tmp_path).returncode == 0
    assert jobgate(*ask, cwd=tmp_path, stdin=job).returncode == 0


def test_a_token_is_read_with_a_loud_note_and_never_printed(tmp_path: Path) -> None:
    """A token is decoded for its claims only; that nobody verified it is said, and its text appears nowhere."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "mixed.yaml").write_text(MIXED)
    claims = {"iss": "https://issuer.example", "sub": "robot", "ref": "main", "exp": 2**31, "iat": 1}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT", "kid": "k"}, claims)]
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"s" * 256))
    (tmp_path / "token").write_text(token + "\n")

    done = jobgate(
        "explain", "--token", "token", "--provider", "generic", "--map", "branch=ref", "PUT", "https://a.example.com/w/x",
        cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "NOT verified" in done.stderr
    assert token.split(".")[2] not in done.stdout + done.stderr


def test_sarif_is_what_code_hosts_read(tmp_path: Path) -> None:
    """Findings reach a code host's review with file, line and column."""
    (tmp_path / "bad.yaml").write_text("rules:\n  - {id: a, why: because, to: localhost}\n  - {id: b}\n")
    done = jobgate("check", "--format", "sarif", "bad.yaml", cwd=tmp_path)
    report = json.loads(done.stdout)

    assert (done.returncode, report["version"]) == (1, "2.1.0")
    (run,) = report["runs"]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {result["ruleId"] for result in run["results"]}
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "bad.yaml"}, "region": {"startLine": 3, "startColumn": 5}}


def test_rules_that_do_not_load_are_exit_code_3_for_explain(tmp_path: Path) -> None:
    """Explain never answers from rules it could not read whole."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "bad.yaml").write_text("rules: [")
    done = jobgate("explain", "GET", "https://a.example.com/", cwd=tmp_path)
    assert done.returncode == 3
    assert "bad.yaml:" in done.stderr


def test_the_documented_examples_pass_with_the_real_connectors(tmp_path: Path) -> None:
    """Every YAML block of the rule docs passes `check --strict` with the connectors that are built in."""
    for source in (ROOT / "docs" / "rules.md", RULES / "README.md"):
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```$", source.read_text(), re.MULTILINE | re.DOTALL)
        ):
            (tmp_path / f"{source.stem}-{number}.yaml").write_text(text)
    files = sorted(tmp_path.glob("*.yaml"))
    assert len(files) >= 7
    for file in files:
        # The one that observes is warned of, as the docs say.
        done = jobgate("check", *([] if "mode: observe" in file.read_text() else ["--strict"]), str(file))
        assert done.returncode == 0, done.stdout


TESTED = """\
rules:
  - {id: on-main, why: a test, job: {branch: main}, to: example.com, path: /a}
  - {id: late, why: a test, to: late.example.com, when: now > timestamp('2031-01-01T00:00:00Z')}
"""


def with_tests(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Check a folder of two rules and these tests."""
    (folder / "tests").mkdir()
    (folder / "rules.yaml").write_text(TESTED)
    (folder / "tests" / "some.yaml").write_text(
        "tests:\n" + "".join(f"  - {{name: a test, {test}}}\n" for test in tests)
    )
    return jobgate("check", str(folder))


def test_rule_tests_are_run(tmp_path: Path) -> None:
    """And what they never reached is named."""
    done = with_tests(
        tmp_path,
        "job: {branch: main}, request: GET https://example.com/a, expect: {effect: allow, rules: on-main}",
        "job: {branch: topic}, request: [GET https://example.com/a, GET https://example.com/b], expect: deny",
        "request: GET https://late.example.com/, at: '2030-01-01T00:00:00Z', expect: deny",
    )
    assert done.returncode == 0, done.stdout
    assert "3 tests: all passed; 50 % of the rules decided one\ndecided none: late\n" in done.stdout
    assert jobgate("check", str(tmp_path), "--coverage", "50").returncode == 0
    short = jobgate("check", str(tmp_path), "--coverage", "51")
    assert short.returncode == 1
    assert "rule tests reach 50 % of the rules, 51 % are wanted" in short.stdout
    told = json.loads(jobgate("check", str(tmp_path), "--format", "json").stdout)
    assert told["tests"] == {"passed": 3, "failed": 0, "percent": 50, "untested": ["late"]}


@pytest.mark.parametrize(
    "test, message",
    [
        ("request: GET https://example.com/a, expect: allow", "expected allow, got deny: no-rule"),
        ("request: GET https://late.example.com/, expect: deny", "asks for the time; write `at`"),
        ("request: GET https://example.com/a/../b, expect: deny", "denied before any rule is asked"),
        ("request: GET /a, expect: deny", "write an absolute URL"),
        ("job: {brunch: x}, request: GET https://example.com/a, expect: deny", "Did you mean `branch`?"),
        ("claims: {iss: x}, request: GET https://example.com/a, expect: deny", "no public issuer"),
        ("declared: nonsense, request: GET https://example.com/a, expect: deny", "nonsense"),
        ("requests: GET https://example.com/a, expect: deny", "Did you mean `request`?"),
    ],
)
def test_a_rule_test_that_fails_is_an_error_with_its_place(tmp_path: Path, test: str, message: str) -> None:
    done = with_tests(tmp_path, test)
    assert done.returncode == 1
    assert "some.yaml:2:" in done.stdout, done.stdout
    assert message in done.stdout
