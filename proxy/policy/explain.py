"""Decision -> sentences, and the smallest rule that would change it: this job, this place, this method, this path."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from proxy.model.authority import DEFAULT_PORTS
from proxy.model.decision import AccessRequest, Decision
from proxy.model.durations import format_duration
from proxy.model.identity import JobContext
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason, explain_reason
from proxy.policy.compile import RuleSet
from proxy.policy.evaluate import VERBS
from proxy.policy.intents import CLASSES, parts_of
from proxy.policy.patterns import MAX_LENGTH
from proxy.policy.rule import READ_METHODS

# Facts that stay the same from build to build, in reading order. A rule never names a commit, build or agent by itself.
_LASTING: Final = (
    "organization",
    "pipeline",
    "repository",
    "step",
    "branch",
    "tag",
    "source",
    "environment",
)
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
FALLBACK: Final = "http"
"""The protocol of what no decoder read: said with method and path."""
_WORDS: Final = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def describe(decision: Decision, request: AccessRequest, ruleset: RuleSet) -> list[str]:
    """Say what was decided, by which rules and why, one sentence a line."""
    view = request.view
    verdict = "allowed" if decision.is_allowed else f"denied ({decision.reason})"
    url = f"{'' if view.scheme == 'http' else 'https://'}{_place(view)}{view.target}"
    lines = [f"{view.method} {url} is {verdict}: {_sentence(decision, view)}"]
    if request.intent.protocol != FALLBACK:
        lines += [f"read as {_meaning(part)}" for part in parts_of(request.intent)]
    rules = {rule.id: rule for rule in ruleset.rules}
    for name in decision.rule_ids:
        rule = rules[name]
        lines.append(f"{name} ({rule.file}) {VERBS[rule.effect]} it: {rule.why}")
    if decision.grant is not None:
        grant = decision.grant
        lines.append(f"credential: {grant.connector}, for at most {format_duration(grant.lifetime)}")
    if decision.tags:
        lines.append("tags: " + ", ".join(f"{name}={value}" for name, value in sorted(decision.tags.items())))
    return lines


def _meaning(part: Intent) -> str:
    facts = ", ".join(f"{name}={value}" for name, value in sorted(part.facts.items()))
    return f"{part.name} {part.resource.id} ({part.effect}{'; ' if facts else ''}{facts})"


def _sentence(decision: Decision, view: RequestView) -> str:
    if decision.reason is not Reason.NO_RULE:
        return explain_reason(decision.reason).sentence
    count = len(decision.steps)
    named = {0: "no rule names", 1: "one rule names"}.get(count, f"{count} rules name")
    return (
        f"{named} {view.authority.host}{', but does not match' if count == 1 else ', none matches' if count else ''}."
    )


def smallest_rule(decision: Decision, request: AccessRequest) -> str | None:
    """Return, as a rule file, the least that would allow `request`; None when no further rule can.

    What a deny rule refuses, or two allow rules dispute, is changed by changing those.
    """
    if decision.reason not in {Reason.NO_RULE, Reason.RULES_UNAVAILABLE, Reason.OBSERVED}:
        return None
    return "\n".join(_rule_lines(request)) + "\n"


def _rule_lines(request: AccessRequest) -> Iterator[str]:
    view, conditions = request.view, []
    name = request.job.pipeline or request.job.repository or "job"
    yield "rules:"
    yield f"  - id: {_slug(f'{name}-{view.method}-{view.authority.host}')}"
    yield f"    why: {quote_yaml(f'{name} needs {view.method} on {view.authority.host}')}"
    facts = _job_facts(request.job)
    conditions += [f"job.{key} == {_cel(value)}" for key, value in facts.items() if not _fits(value)]
    shown = {key: value for key, value in facts.items() if _fits(value)}
    if shown:
        yield "    job:"
        yield from (f"      {key}: {quote_yaml(value)}" for key, value in shown.items())
    elif not facts and isinstance(subject := request.job.claims.get("sub"), str) and _fits(subject):
        yield "    job:"
        yield f"      claims: {{sub: {quote_yaml(subject)}}}"
    yield f"    to: {quote_yaml(_place(view))}"
    if request.intent.protocol != FALLBACK and all(map(is_sayable, parts_of(request.intent))):
        lines = dict.fromkeys(f"{part.name} {part.resource.id}" for part in parts_of(request.intent))
        yield "    intent:"
        yield from (f"      - {quote_yaml(line)}" for line in lines)
        if conditions:
            yield f"    when: {quote_yaml(' && '.join(conditions))}"
        return
    if view.method not in READ_METHODS:
        yield f"    method: {view.method}"
    if _fits(view.path):
        yield f"    path: {quote_yaml(view.path)}"
    else:
        conditions.append(f"request.path == {_cel(view.path)}")
    if conditions:
        yield f"    when: {quote_yaml(' && '.join(conditions))}"


def is_sayable(part: Intent) -> bool:
    """Whether a line can name exactly this, in an action's own words."""
    return _fits(part.action) and _fits(part.resource.id) and part.action not in CLASSES and " " not in part.action


def _job_facts(job: JobContext) -> Mapping[str, str]:
    return {name: value for name in _LASTING if (value := getattr(job, name)) is not None}


def _fits(text: str) -> bool:
    """Whether a text can stand as a pattern that matches itself alone."""
    return bool(text) and "*" not in text and len(text) <= MAX_LENGTH


def _place(view: RequestView) -> str:
    host = f"[{view.authority.host}]" if ":" in view.authority.host else view.authority.host
    scheme = "" if view.scheme == "https" else f"{view.scheme}://"
    port = "" if view.authority.port == DEFAULT_PORTS.get(view.scheme) else f":{view.authority.port}"
    return f"{scheme}{host}{port}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-") or "rule"


def quote_yaml(text: str) -> str:
    """Write a text as YAML: plain where that cannot be misread, else double-quoted with what is invisible escaped."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_escape(character) for character in text) + '"'


def _cel(text: str) -> str:
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in {'"', "\\"}:
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
