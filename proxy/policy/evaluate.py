"""Evaluate rules. Pure: no clock, no I/O, no logging. Rule order never changes the result.

Deny wins; no allow is a denial; allows that disagree on what they hand out are a denial. What cannot be told counts
against the request: an allow rule does not match, a deny rule does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from proxy.model.authority import Authority
from proxy.model.decision import AccessRequest, Approval, Decision, Declared, Effect, Step
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from proxy.policy.compile import REMEMBERED, RuleSet
from proxy.policy.conditions import Bindings, bind_place, bind_request
from proxy.policy.declaring import Stance, compare
from proxy.policy.intents import covers_all, is_unknown, parts_of, touches_any
from proxy.policy.patterns import Glob, normalise_triplets
from proxy.policy.rule import Rule

VERBS: Final = {Effect.ALLOW: "allows", Effect.DENY: "denies"}


@dataclass(slots=True)
class _Question:
    """One request as rules read it; conditions are bound when the first one asks."""

    request: AccessRequest
    path: str
    is_dubious: bool
    """Whether the host is governed by intents, and what this request does could not be told."""
    _bindings: Bindings | None = field(default=None, init=False)

    @property
    def bindings(self) -> Bindings:
        if self._bindings is None:
            self._bindings = bind_request(self.request)
        return self._bindings


def evaluate(ruleset: RuleSet, request: AccessRequest) -> Decision:
    """Decide one request."""
    question = _ask(ruleset, request)
    view = request.view
    found = ruleset.fitting(view.authority.host, request.job)
    matched = [rule for rule in found if rule.names(view) and _first_miss(rule, question) is None]
    return _hold_to(compare(request.declared, request.intent), _decide(ruleset, matched), matched)


def _hold_to(declared: Declared | None, decision: Decision, matched: Iterable[Rule]) -> Decision:
    """Take away what the step did not say it would do, and note how it stands to that."""
    if declared is not Declared.WITHIN and decision.is_allowed and decision.reason is not Reason.OBSERVED:
        stances = {rule.declared for rule in matched}
        is_beyond = declared is Declared.BEYOND and stances != {Stance.FLAG}
        if is_beyond or (declared is None and Stance.REQUIRED in stances):
            denied = replace(decision, effect=Effect.DENY, reason=Reason.UNDECLARED, grant=None, inspect=True, tags={})
            return replace(denied, declared=declared)
    return decision if declared is None else replace(decision, declared=declared)


def _ask(ruleset: RuleSet, request: AccessRequest) -> _Question:
    view = request.view
    is_dubious = is_unknown(request.intent) and bool(ruleset.spoken(view.authority.host))
    return _Question(request, normalise_triplets(view.path), is_dubious)


def may_match(ruleset: RuleSet, job: JobContext, view: RequestView) -> bool:
    """Whether an allow rule could match, as far as identity, place, method and path tell: the body is worth reading."""
    path = normalise_triplets(view.path)
    return ruleset.observes or any(
        not rule.is_deny
        and rule.names(view)
        and (rule.methods is None or view.method in rule.methods)
        and (rule.paths is None or _is_among(rule.paths, path))
        for rule in ruleset.fitting(view.authority.host, job)
    )


def explain(ruleset: RuleSet, request: AccessRequest) -> Decision:
    """Decide as `evaluate` does, with a step for every rule that names the host, matched or not."""
    question = _ask(ruleset, request)
    steps = tuple(_step(rule, question) for rule in ruleset.find_all(request.view.authority.host))
    return replace(evaluate(ruleset, request), steps=steps)


def reach(
    ruleset: RuleSet, job: JobContext, authority: Authority, now: datetime, declared: tuple[str, ...] | None = None
) -> Decision:
    """Say whether any rule could let `job` talk TLS to `authority`, before anything is known of its requests.

    `inspect` is False only when nothing that might speak of a request inside names this place: every allow says
    `inspect: false`, and no deny looks at method, path or request. What is not seen is beyond any declaration.
    """
    place = bind_place(job, authority, now)
    denies: list[Rule] = []
    allows: list[Rule] = []
    seen_inside = False
    for rule in ruleset.fitting(authority.host, job):
        if not any(target.matches("https", authority) for target in rule.targets):
            continue
        if rule.when is not None and not rule.when.needs_request and not _holds(rule, place):
            continue
        if rule.hides_in_requests:
            seen_inside = True
        if not rule.is_deny:
            allows.append(rule)
        elif not rule.hides_in_requests:
            denies.append(rule)
    if denies or not allows:
        return _decide(ruleset, denies)
    if not any(rule.is_enforced_allow for rule in allows):
        return _decide(ruleset, allows)
    if not seen_inside and not any(rule.inspect for rule in allows):
        return _hold_to(compare(declared, None), _decide(ruleset, allows), allows)
    return Decision(effect=Effect.ALLOW, reason=Reason.ALLOWED, rule_ids=_ids(allows), revision=ruleset.revision)


def _decide(ruleset: RuleSet, matched: Sequence[Rule]) -> Decision:
    """Combine the rules that matched; the same ones only once."""
    names = tuple([rule.id for rule in matched])
    known = ruleset.combined.get(names)
    if known is None:
        known = _combine(ruleset, matched)
        if len(ruleset.combined) < REMEMBERED:
            ruleset.combined[names] = known
    return known


def _combine(ruleset: RuleSet, matched: Sequence[Rule]) -> Decision:
    """Combine the rules that matched. The only place where an allow is made."""
    denies: list[Rule] = []
    allows: list[Rule] = []
    observing: list[Rule] = []
    for rule in matched:
        (denies if rule.is_deny else observing if rule.observes else allows).append(rule)
    if denies:
        return _deny(ruleset, Reason.RULE_DENIED, denies)
    if not allows and (observing or ruleset.observes):
        return _observe(ruleset, observing)
    if not allows:
        return _deny(ruleset, Reason.NO_RULE if ruleset.rules else Reason.RULES_UNAVAILABLE, ())
    first, tags = allows[0], allows[0].tags
    if len(allows) > 1:
        merged = _merge_tags(allows)
        grants = {None if rule.grant is None else rule.grant.key for rule in allows}
        if merged is None or len(grants) > 1:
            return _deny(ruleset, Reason.RULE_AMBIGUOUS, allows)
        tags = merged
    return Decision(
        effect=Effect.ALLOW,
        reason=Reason.ALLOWED,
        rule_ids=_ids(allows),
        revision=ruleset.revision,
        grant=first.grant,
        inspect=any(rule.inspect for rule in allows),
        tags=tags,
        approvals=_needed(allows),
        passes_cookies=all(rule.passes_cookies for rule in allows),
    )


def _observe(ruleset: RuleSet, rules: Iterable[Rule]) -> Decision:
    """Let through what would be denied, because an operator said so: with nothing of ours, and marked."""
    named = list(rules)
    return Decision(
        effect=Effect.ALLOW,
        reason=Reason.OBSERVED,
        rule_ids=_ids(named),
        revision=ruleset.revision,
        tags=_merge_tags(named) or {},
    )


def _needed(allows: Iterable[Rule]) -> tuple[Approval, ...]:
    """Return all that the rules want: one that wants nothing does not undo another. A person is asked once."""
    wanted = {rule.approval for rule in allows if rule.approval is not None}
    steps = sorted((each for each in wanted if each.step is not None), key=lambda each: (each.step, each.within))
    asked = [each for each in wanted if each.step is None]
    return (*steps, min(asked, key=lambda each: (each.within, each.ask))) if asked else tuple(steps)


def _deny(ruleset: RuleSet, reason: Reason, rules: Iterable[Rule]) -> Decision:
    named = list(rules)
    tags = (_merge_tags(named) or {}) if reason is Reason.RULE_DENIED else {}
    return Decision(effect=Effect.DENY, reason=reason, rule_ids=_ids(named), revision=ruleset.revision, tags=tags)


def _ids(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(sorted(rule.id for rule in rules))


def _merge_tags(rules: Iterable[Rule]) -> Mapping[str, str] | None:
    """Join the tags of several rules; None when two disagree: a record must not carry a tag by accident of order."""
    merged: dict[str, str] = {}
    for rule in rules:
        for name, value in rule.tags.items():
            if merged.setdefault(name, value) != value:
                return None
    return merged


def first_failure(rule: Rule, question: _Question) -> str | None:
    """Return the first condition that does not hold (`to`, `job.branch`, `method`, `path`, `when`), None if all do."""
    if not rule.names(question.request.view):
        return "to"
    return rule.misfit(question.request.job) or _first_miss(rule, question)


def _first_miss(rule: Rule, question: _Question) -> str | None:
    """As `first_failure`, of a rule that is for this place and this job."""
    if rule.methods is not None and question.request.view.method not in rule.methods:
        return "method"
    if rule.paths is not None and not _names_path(rule, question.path):
        return "path"
    if not _is_meant(rule, question):
        return "intent"
    return "when" if rule.when is not None and not _holds(rule, question.bindings) else None


def first_failing(ruleset: RuleSet, rule: Rule, request: AccessRequest) -> str | None:
    """Return the first condition of a rule that a request does not meet, None if it meets all."""
    return first_failure(rule, _ask(ruleset, request))


def _is_meant(rule: Rule, question: _Question) -> bool:
    """Whether the rule speaks of what the request does; where rules name intents, none allows unknown ones unasked."""
    if rule.intents is None:
        return not rule.is_enforced_allow or not question.is_dubious
    if rule.is_deny:
        return touches_any(rule.intents, question.request.intent)
    return covers_all(rule.intents, question.request.intent)


def _names_path(rule: Rule, path: str) -> bool:
    """Whether a rule's paths name this one. A deny rule also looks at what an encoded slash would make of it."""
    if _is_among(rule.paths or (), path):
        return True
    return rule.is_deny and "%2F" in path and _is_among(rule.paths or (), path.replace("%2F", "/"))


def _is_among(globs: Iterable[Glob], path: str) -> bool:
    for glob in globs:  # noqa: SIM110 - once per rule and request: a generator costs more than a match
        if glob.matches(path):
            return True
    return False


def _holds(rule: Rule, bindings: Bindings) -> bool:
    """Whether the condition holds; one that cannot be told holds for a deny rule and fails for an allow rule."""
    answer = True if rule.when is None else rule.when.holds(bindings)
    return answer if isinstance(answer, bool) else rule.is_deny


def _step(rule: Rule, question: _Question) -> Step:
    failure = first_failure(rule, question)
    if failure is not None:
        return Step(rule_id=rule.id, matched=False, why=f"{failure}: {_why_not(rule, failure, question)}")
    unknown = _unknowns(rule, question)
    why = f"{VERBS[rule.effect]} this"
    return Step(rule_id=rule.id, matched=True, why=f"{why}; {'; '.join(unknown)}" if unknown else why)


def _why_not(rule: Rule, failure: str, question: _Question) -> str:
    view, job = question.request.view, question.request.job
    match failure:
        case "to":
            named = _either(target.text for target in rule.targets)
            return f"the request goes to {view.scheme}://{view.authority}, the rule names {named}"
        case "method":
            return f"{view.method} is not {_either(sorted(rule.methods or ()))}"
        case "path":
            return f"`{view.path}` is not {_either(glob.text for glob in rule.paths or ())}"
        case "intent":
            return _why_not_meant(rule, question)
    if rule.when is not None and failure == "when":
        answer = rule.when.holds(question.bindings)
        return f"`{rule.when.text}` {answer if isinstance(answer, str) else 'is false'}"
    test = next(test for test in rule.tests if f"job.{test.name}" == failure)
    value = test.read(job)
    return f"{'not stated by the issuer' if value is None else f'`{value}`'}, the rule wants {_either(test.wanted)}"


def _why_not_meant(rule: Rule, question: _Question) -> str:
    meant = "; ".join(f"`{part.name} {part.resource.id}` ({part.effect})" for part in parts_of(question.request.intent))
    if rule.intents is None:
        return f"the request means {meant}, not known well enough for a rule without `intent`"
    return f"the request means {meant}, the rule names {_either(test.text for test in rule.intents)}"


def _unknowns(rule: Rule, question: _Question) -> list[str]:
    """Say which conditions of a matched deny rule could not be told and therefore count."""
    job = question.request.job
    unknown = [
        f"job.{test.name} is not stated, which counts as a match" for test in rule.tests if test.holds(job) is None
    ]
    if rule.when is not None and isinstance(answer := rule.when.holds(question.bindings), str):
        unknown.append(f"`{rule.when.text}` {answer}, which counts as a match")
    return unknown


def _either(texts: Iterable[str]) -> str:
    *others, last = [f"`{text}`" for text in texts]
    return f"{', '.join(others)} or {last}" if others else last
