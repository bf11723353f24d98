"""Decoding and evaluating are one step, and a request nobody can read is denied."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from proxy.engine.decide import AccessQuestion, Verdict, decide, decide_with, explain_verdict
from proxy.intents.registry import Spoken
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.identity import JobContext
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from proxy.policy.evaluate import evaluate
from tests.fakes.rules import ruleset

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RULES = ruleset(
    """
    rules:
      - {id: read, why: reading is fine, job: {pipeline: web}, to: plain.example}
      - {id: push, why: pushing is fine, to: git.example, intent: npm publish git.example/a}
    """
)
VIEW = RequestView(
    method="GET", scheme="https", authority=Authority("plain.example", 443), path="/", query=None, headers=()
)
WANTED = BodyWanted(limit=10)


def wants(view: RequestView, spoken: Spoken) -> Intent | BodyWanted:
    if view.body is None:
        return WANTED
    return Intent(
        protocol="npm",
        action="publish",
        resource=Resource(type="git", id="git.example/a"),
        effect=EffectClass.PUBLISH,
        exact=True,
    )


def test_decides_on_the_decoded_intent() -> None:
    """The verdict carries the decision and the intent it was made on."""
    verdict = decide(AccessQuestion(VIEW, JobContext(pipeline="web"), RULES, NOW))

    assert isinstance(verdict, Verdict)
    assert verdict.decision.is_allowed
    assert verdict.decision.rule_ids == ("read",)
    assert verdict.decision.steps == ()
    assert verdict.intent is not None
    assert verdict.intent.name == "http GET"


def test_explains_every_rule_that_names_the_host() -> None:
    """Explaining reaches the same decision, with the condition that failed."""
    verdict = explain_verdict(AccessQuestion(VIEW, JobContext(pipeline="other"), RULES, NOW))

    assert isinstance(verdict, Verdict)
    assert verdict.decision.reason is Reason.NO_RULE
    assert [step.rule_id for step in verdict.decision.steps] == ["read"]
    assert verdict.decision.steps[0].why.startswith("job.pipeline")


def test_a_broken_request_is_denied_whatever_the_rules_say() -> None:
    """A decoder that owns a request it cannot read makes it a denial, before any rule is asked."""

    def broken(view: RequestView, spoken: Spoken) -> Intent:
        raise IntentError("two operations")

    verdict = decide_with(broken, evaluate, AccessQuestion(VIEW, JobContext(pipeline="web"), RULES, NOW))

    assert isinstance(verdict, Verdict)
    assert verdict.decision.reason is Reason.INTENT_BROKEN
    assert verdict.intent is None
    assert verdict.fault == "two operations"


def test_a_body_is_asked_for_once() -> None:
    """With the body the same question is decided; a decoder that is never content is a denial."""
    view = replace(VIEW, authority=Authority("git.example", 443))
    question = AccessQuestion(view, JobContext(), RULES, NOW)
    assert decide_with(wants, evaluate, question) is WANTED

    shown = replace(question, view=replace(view, body=BodyPrefix(data=b"", is_whole=True)))
    verdict = decide_with(wants, evaluate, shown)
    assert isinstance(verdict, Verdict)
    assert verdict.decision.rule_ids == ("push",)

    verdict = decide_with(lambda view, spoken: WANTED, evaluate, shown)
    assert isinstance(verdict, Verdict)
    assert verdict.decision.reason is Reason.INTENT_BROKEN


@pytest.mark.parametrize(
    "change, job",
    [
        ({"authority": Authority("other.example", 443)}, JobContext(pipeline="web")),
        ({"method": "POST"}, JobContext(pipeline="web")),
        ({}, JobContext(pipeline="x")),
        ({"scheme": "http"}, JobContext(pipeline="web")),
    ],
)
def test_no_body_is_read_for_what_no_rule_could_allow(change: dict[str, object], job: JobContext) -> None:
    """What identity, place and method already refuse costs no memory."""
    view = replace(VIEW, **change)  # type: ignore[arg-type]
    verdict = decide_with(wants, evaluate, AccessQuestion(view, job, RULES, NOW))

    assert isinstance(verdict, Verdict)
    assert verdict.decision.reason is Reason.NO_RULE


@pytest.mark.parametrize(
    "job_id, facts, reason",
    [
        ("j1", {"job": "j1"}, Reason.ALLOWED),
        ("j1", {"job": "j2"}, Reason.FOREIGN_JOB),
        (None, {"job": "j1"}, Reason.FOREIGN_JOB),
        ("j1", {}, Reason.ALLOWED),
    ],
)
def test_a_job_acts_for_itself_only(job_id: str | None, facts: dict[str, str], reason: Reason) -> None:
    """A call to the CI's API that names another job is denied whatever the rules say; unstated is not the same."""
    rules = ruleset("rules: [{id: ci, why: annotating is fine, to: plain.example, intent: ci annotate *}]")
    intent = Intent(
        protocol="ci",
        action="annotate",
        resource=Resource(type="ci", id="x"),
        effect=EffectClass.WRITE,
        exact=True,
        facts=facts,
    )
    question = AccessQuestion(VIEW, JobContext(job_id=job_id), rules, NOW)

    verdict = decide_with(lambda view, spoken: intent, evaluate, question)

    assert isinstance(verdict, Verdict)
    assert verdict.decision.reason is reason


def test_the_rules_say_what_a_host_speaks() -> None:
    """A decoder hears which protocols the rules for this host name."""
    heard: list[Spoken] = []

    def listens(view: RequestView, spoken: Spoken) -> Intent:
        heard.append(spoken)
        raise IntentError("enough")

    for host in ("git.example", "plain.example", "none.example"):
        view = replace(VIEW, authority=Authority(host, 443))
        decide_with(listens, evaluate, AccessQuestion(view, JobContext(), RULES, NOW))
    assert heard == [{"npm"}, frozenset(), frozenset()]


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/a%2Fb", False),
        ("/a%2fb", False),
        ("/@scope%2fname", True),
        ("/npm/@scope%2Fname/-/name-1.0.0.tgz", True),
        ("/@scope%2f.name", False),
        ("/@..%2fname", False),
        ("/@%2fname", False),
        ("/@scope%2fname%2fmore", False),
        ("/x@scope%2fname", False),
        ("/@scope%2fname/a%2fb", False),
        ("/a%20b", True),
    ],
)
def test_an_encoded_slash_needs_a_reader(path: str, *, allowed: bool) -> None:
    """Nobody knows what an unread upstream makes of `%2F`: it is denied, but for npm's scoped names (B01)."""
    verdict = decide(AccessQuestion(replace(VIEW, path=path), JobContext(pipeline="web"), RULES, NOW))

    assert isinstance(verdict, Verdict)
    assert verdict.decision.is_allowed is allowed
    assert (verdict.decision.reason is Reason.PATH_NOT_NORMAL) is not allowed
    assert bool(verdict.fault) is not allowed


def test_a_decoder_that_reads_an_encoded_slash_is_believed() -> None:
    """Where a protocol says that `group%2Fapp` is one name, rules decide."""
    view = replace(VIEW, path="/api/v4/projects/group%2Fapp/issues/1", authority=Authority("gitlab.com", 443))
    rules = ruleset(
        """
        rules:
          - {id: read, why: reading is fine, to: gitlab.com, intent: gitlab read gitlab.com/group/app}
        """
    )
    verdict = decide(AccessQuestion(view, JobContext(), rules, NOW))

    assert isinstance(verdict, Verdict)
    assert verdict.decision.is_allowed
