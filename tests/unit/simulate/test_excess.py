"""Rules and entries that nobody uses; nothing is said of what had no occasion."""

from dataclasses import replace
from typing import Any

from proxy.model.record import AuditRecord
from proxy.policy.compile import RuleSet
from proxy.simulate.excess import ENOUGH, PLENTY, find_broad, find_entries, find_unused, share_unused
from proxy.simulate.history import History, Miner
from proxy.simulate.suggestion import Confidence, RemoveRule, SetList
from tests.fakes.flows import JOB, decided, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of

K8S = "https://k8s.test/api/v1/namespaces/shop"


def mined(rules: RuleSet, *urls: str, jobs: int = ENOUGH) -> History:
    """Each URL asked by each of so many jobs."""
    trail: list[AuditRecord] = []
    for number in range(jobs):
        job, session = replace(JOB, job_id=f"j-{number}"), f"s-{number}"
        trail.append(opened(session, job))
        trail += [decided(rules, a_view(url=url), job=job, session=session) for url in urls]
    miner = Miner(rules)
    miner.read(written(trail))
    return miner.history


def rules_of(**open_rule: Any) -> RuleSet:
    return ruleset_of(
        a_rule(id="open", **open_rule),
        a_rule(id="idle", to="idle.test"),
        a_rule(id="theirs", to="theirs.test", job={"pipeline": "another"}),
        a_rule(id="never", to="evil.test", effect="deny"),
    )


def test_a_rule_that_its_jobs_do_not_use_may_go() -> None:
    """Not one whose jobs have not run, nor one that is used, nor a denial."""
    rules = rules_of()
    (found,) = find_unused(mined(rules, "https://example.com/"), rules)
    assert (found.patch, found.confidence) == (RemoveRule(id="idle"), Confidence.MEDIUM)
    assert found.said == f"{ENOUGH} jobs that idle is for ran, and none used it"
    (sure,) = find_unused(mined(rules, "https://example.com/", jobs=PLENTY), rules)
    assert sure.confidence is Confidence.HIGH
    assert list(find_unused(mined(rules, "https://example.com/", jobs=ENOUGH - 1), rules)) == []


def test_the_share_of_unused_grants() -> None:
    """Of those whose jobs ran; 0 where none did."""
    rules = rules_of()
    assert share_unused(mined(rules, "https://example.com/"), rules) == 0.5
    assert share_unused(mined(rules), rules) == 1.0
    assert share_unused(mined(rules, jobs=1), rules) == 0.0


def test_an_entry_that_is_never_needed_may_go() -> None:
    """Of hosts, paths and intents; not the last one that is needed."""
    rules = rules_of(to=["example.com", "old.test"], path=["/a", "/b/*", "/c"])
    found = list(find_entries(mined(rules, "https://example.com/a", "https://example.com/b/1"), rules))
    assert [each.patch for each in found] == [
        SetList(id="open", field="to", values=("example.com",)),
        SetList(id="open", field="path", values=("/a", "/b/*")),
    ]
    assert "never for to old.test" in found[0].said
    assert list(find_entries(mined(rules, "https://example.com/a", jobs=ENOUGH - 1), rules)) == []


def test_a_class_of_actions_of_which_one_is_done_may_be_named() -> None:
    """The resource stays as it is; a line that is not used, exact, or used for many things stays."""
    rules = rules_of(to="k8s.test", intent=["k8s read **", "k8s delete **", "k8s watch pods/*"])
    (found,) = find_broad(mined(rules, f"{K8S}/pods/a", f"{K8S}/pods/b"), rules)
    assert found.patch == SetList(
        id="open", field="intent", values=("k8s get:core/pods **", "k8s delete **", "k8s watch pods/*")
    )
    assert "no more than k8s get:core/pods **" in found.said
    assert list(find_broad(mined(rules, f"{K8S}/pods/a", jobs=1), rules)) == []
    any_action = rules_of(to="k8s.test", intent=["unknown", "k8s * **"])
    (found,) = find_broad(mined(any_action, f"{K8S}/pods/a"), any_action)
    assert found.patch == SetList(id="open", field="intent", values=("unknown", "k8s get:core/pods **"))
    exact = rules_of(to="k8s.test", intent="k8s get:core/pods **")
    assert list(find_broad(mined(exact, f"{K8S}/pods/a"), exact)) == []


def test_rules_without_intents_have_none_to_narrow() -> None:
    rules = rules_of()
    assert list(find_broad(mined(rules, "https://example.com/"), rules)) == []
