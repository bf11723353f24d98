from typing import Any

import pytest

from proxy.policy.lint import Severity, lint
from tests.fakes.policy import a_rule, rules_of

AWS = {"aws": {"role": "r"}}
HEADER = {"header": {"file": "/f"}}
WHO = {"pipeline": "deploy", "branch": "main"}


def fine(**keys: Any) -> dict[str, Any]:
    """Return a rule with a credential that has nothing to complain about."""
    return a_rule(**{"job": WHO, "credential": AWS, **keys})


def other(**keys: Any) -> dict[str, Any]:
    return fine(**{"id": "other", **keys})


BAD: list[tuple[str, list[dict[str, Any]], tuple[str | int, ...]]] = [
    # finding, rules, where in its rule
    ("unreachable", [a_rule(when="job.build_number > 1 && false")], ("when",)),
    ("unreachable", [a_rule(job={"branch": "main", "tag": "v1"})], ("job", "tag")),
    ("condition-always-true", [a_rule(when="true || job.build_number > 1")], ("when",)),
    ("credential-any-job", [fine(job=None)], ("credential",)),
    ("credential-any-pipeline", [fine(job={"branch": "main"})], ("job",)),
    ("credential-any-branch", [fine(job={"pipeline": "deploy"})], ("job",)),
    ("credential-any-method", [fine(method="any")], ("method",)),
    ("credential-shared-host", [fine(to="*.github.io", credential=HEADER)], ("to", 0)),
    ("credential-shared-host", [fine(to=["a.example", "**.s3.amazonaws.com"], credential=HEADER)], ("to", 1)),
    ("credential-shared-host", [fine(to="**.amazonaws.com", credential=HEADER)], ("to", 0)),
    ("credential-wildcard-host", [fine(to="*.example.com", credential=HEADER)], ("to", 0)),
    ("credential-wildcard-host", [fine(to="*.s3.eu-west-1.amazonaws.com")], ("to", 0)),
    ("metadata-host", [a_rule(to="http://169.254.169.254")], ("to", 0)),
    ("metadata-host", [a_rule(to="metadata.google.internal")], ("to", 0)),
    ("local-host", [a_rule(to="127.0.0.1:8080")], ("to", 0)),
    ("local-host", [a_rule(to="[::1]")], ("to", 0)),
    ("local-host", [a_rule(to=["example.com", "localhost"])], ("to", 1)),
    ("local-host", [a_rule(to="x.localhost")], ("to", 0)),
    ("write-any-job", [a_rule(method="any")], ("method",)),
    ("observing", [a_rule(mode="observe")], ("mode",)),
    ("observing", [a_rule(id="a", credential=AWS), a_rule(id="b", mode="observe")], ("mode",)),
    ("write-any-job", [a_rule(method=["GET", "POST"])], ("method",)),
    ("write-any-job", [a_rule(inspect=False)], ("inspect",)),
    ("unknown-tag", [a_rule(tags={"retenion": "1d"})], ("tags", "retenion")),
    ("duplicate-rule", [a_rule(), a_rule(id="again", why="other words")], ("id",)),
    ("shadowed", [a_rule(), a_rule(id="no", effect="deny")], ("id",)),
    ("shadowed", [a_rule(id="no", effect="deny", path="/a/**"), a_rule(path="/a/b/*", job=WHO)], ("id",)),
    ("shadowed", [a_rule(to="a.internal"), a_rule(id="no", effect="deny", to="**.internal")], ("id",)),
    ("ambiguous", [fine(), other(credential=HEADER)], ("credential",)),
    ("ambiguous", [fine(), other(credential=None)], ("id",)),
    (
        "ambiguous",
        [fine(to="*.example.com", path="/a/*"), other(to="x.example.com", credential=HEADER)],
        ("credential",),
    ),
    ("ambiguous", [a_rule(tags={"data": "x"}), a_rule(id="other", tags={"data": "y"}, path="/a")], ("tags",)),
    ("inspect-mixed", [a_rule(inspect=False, job=WHO), a_rule(id="look")], ("inspect",)),
    ("inspect-mixed", [a_rule(id="no", effect="deny", path="/x"), a_rule(inspect=False, job=WHO)], ("inspect",)),
]


@pytest.mark.parametrize("name, rules, keys", BAD, ids=[f"{row[0]} {n}" for n, row in enumerate(BAD)])
def test_each_obvious_mistake_is_found_where_it_is(
    name: str, rules: list[dict[str, Any]], keys: tuple[str | int, ...]
) -> None:
    """A rule set with one mistake has that finding, at that key, with a way out."""
    found = [finding for finding in lint(rules_of(*rules)) if finding.id == name]

    assert [finding.keys for finding in found] == [keys]
    assert found[0].message
    assert found[0].fix


GOOD: list[list[dict[str, Any]]] = [
    [a_rule()],
    [fine()],
    [fine(job={"repository": "acme/app", "protected": True})],
    [fine(job={"claims": {"project_id": "5"}, "tag": "v*"})],
    [fine(job={"pipeline": "deploy"}, when="job.branch == 'main'")],
    [fine(method=["GET", "PUT"])],
    [fine(to="a.github.io", credential=HEADER)],
    [a_rule(effect="deny", to=["127.0.0.1", "169.254.169.254"])],
    [a_rule(effect="deny", job={"branch": "main", "tag": "v1"})],
    [a_rule(method=["GET", "OPTIONS"])],
    [a_rule(method="PUT", job=WHO)],
    [a_rule(method="PUT", when="job.build_number > 0")],
    [a_rule(inspect=False, job=WHO)],
    [a_rule(tags={"retention": "1d", "team": "x"})],
    [a_rule(), a_rule(id="other", path="/a")],
    [a_rule(), a_rule(id="no", effect="deny", path="/x")],
    [a_rule(), a_rule(id="no", effect="deny", when="job.branch == 'x'")],
    [a_rule(), a_rule(id="no", effect="deny", job=WHO)],
    [a_rule(method="HEAD", path="/x"), a_rule(id="no", effect="deny", method="PUT", path="/x")],
    [a_rule(effect="deny"), a_rule(id="no", effect="deny", path="/x")],
    [fine(), other(job={"pipeline": "deploy", "branch": "x"}, credential=HEADER)],
    [fine(), other(job={"pipeline": "another", "branch": "main"}, credential=HEADER)],
    [fine(), other(method="PUT", credential=HEADER)],
    [fine(path="/a"), other(path="/b", credential=HEADER)],
    [fine(to="a.example.com"), other(to="b.example.com", credential=HEADER)],
    [fine(when="job.build_number > 1"), other(when="job.build_number <= 1", credential=HEADER)],
    [fine(job={**WHO, "build_number": 1}), other(job={**WHO, "build_number": 2}, credential=HEADER)],
    [a_rule(inspect=False, job=WHO), a_rule(id="no", effect="deny", job={"branch": "x"})],
    [a_rule(inspect=False, job=WHO), a_rule(id="look", job={"pipeline": "another"})],
    [a_rule(inspect=False, job=WHO), a_rule(id="look", to="example.org")],
]


@pytest.mark.parametrize("rules", GOOD, ids=range(len(GOOD)))
def test_what_may_be_meant_is_not_complained_about(rules: list[dict[str, Any]]) -> None:
    """Rules that are as narrow as they should be have no findings at all."""
    assert lint(rules_of(*rules)) == []


def test_findings_come_in_the_order_of_the_rules() -> None:
    """Findings follow the file, so that a reader can go through it once."""
    found = lint(rules_of(a_rule(id="b", method="any"), a_rule(id="a", to="localhost", method="any", path="/x")))
    assert [(finding.rule.id, finding.id) for finding in found] == [
        ("b", "write-any-job"),
        ("a", "local-host"),
        ("a", "write-any-job"),
    ]
    assert {finding.severity for finding in found} == {Severity.WARNING}


def test_a_pair_is_reported_once_however_many_hosts_it_shares() -> None:
    """Two rules that disagree on several hosts are one finding."""
    hosts = ["a.example.com", "b.example.org", "c.example.net"]
    found = lint(rules_of(fine(to=hosts), other(to=hosts, credential=HEADER)))
    assert [finding.id for finding in found] == ["ambiguous"]


def test_ten_thousand_rules_of_other_pipelines_are_not_compared() -> None:
    """Rules that no one job can match together cost lint nothing but a look each."""
    rules = rules_of(*(fine(id=f"r{n}", job={"pipeline": f"p{n}", "branch": "main"}) for n in range(3000)))
    assert lint(rules) == []
