"""Whether GitLab adds a job to a pipeline: `rules`, `only` and `except`, over facts of which some may not be known.

Source: docs.gitlab.com, "CI/CD YAML syntax reference", "Specify when jobs run with rules".
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from proxy.pipelines.expressions import (
    UNKNOWN,
    ExpressionError,
    Facts,
    Reader,
    Regex,
    Unknown,
    Value,
    equal,
    invert,
    like,
    read_regex,
)
from proxy.pipelines.pipeline import Fate, Verdict, listed, plain

SOURCE: Final = "CI_PIPELINE_SOURCE"
MERGE_REQUEST: Final = "merge_request_event"
WHENS: Final = frozenset({"on_success", "manual", "always", "delayed", "never", "on_failure"})
_PATTERN: Final = re.compile(r"/(?:\\.|[^/\\\n])+/[a-z]*")
_SOURCES: Final = {
    "merge_requests": MERGE_REQUEST,
    "pushes": "push",
    "web": "web",
    "schedules": "schedule",
    "api": "api",
    "triggers": "trigger",
    "pipelines": "pipeline",
    "chat": "chat",
    "external": "external",
    "external_pull_requests": "external_pull_request_event",
}

type Complain = Callable[[tuple[str | int, ...], str], None]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of a job. `is_manual`: a person starts it; `blocks`: and what comes later waits for that."""

    verdict: Verdict
    is_manual: bool = False
    blocks: bool = True


class _Expression(Reader):
    tokens = re.compile(
        r"(?P<space>\s+)"
        r"|(?P<string>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
        r"|(?P<variable>\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\}))"
        r"|(?P<name>null)\b"
        r"|(?P<sign>==|!=|=~|!~|\|\||&&|[!()])"
        r"|(?P<regex>/(?:\\.|[^/\\\n])+/[a-z]*)",
        re.DOTALL,
    )
    comparisons: ClassVar = {
        "==": equal,
        "!=": lambda left, right: invert(equal(left, right)),
        "=~": like,
        "!~": lambda left, right: invert(like(left, right)),
    }

    def __init__(self, text: str, known: Mapping[str, object]) -> None:
        super().__init__(text)
        self._known = known

    def either(self, left: Value, right: Value) -> Value:
        return super().either(_truth(left), _truth(right))

    def both(self, left: Value, right: Value) -> Value:
        return super().both(_truth(left), _truth(right))

    def negate(self, value: Value) -> Value:
        return invert(_truth(value))

    def primary(self) -> Value:
        token = self.peek()
        if token.kind not in {"string", "variable", "name", "regex"}:
            raise self.unexpected()
        self.take()
        match token.kind:
            case "string":
                return self._beside(token.text[1:-1])
            case "regex":
                return read_regex(token.text)
            case "name":
                return None
        found = self._known.get(token.text.strip("${}"), UNKNOWN)
        return self._beside(found if found is None or isinstance(found, Unknown) else plain(found))

    def _beside(self, value: Value) -> Value:
        """Return a value that was just read: beside `=~`, a variable or text may hold the expression."""
        is_pattern = self._next > 1 and self._tokens[self._next - 2].text in {"=~", "!~"}
        return _regex_of(value) if is_pattern else value


def _regex_of(value: Value) -> Value:
    return read_regex(value) if isinstance(value, str) and _PATTERN.fullmatch(value) else value


def _truth(value: Value) -> Value:
    return value if isinstance(value, Unknown) else value not in (False, None, "")


def evaluate_rule(text: str, known: Mapping[str, object]) -> bool | None:
    """Return whether a rule's `if` holds; None where a variable that is not known decides. Raises ExpressionError."""
    answer = _truth(_Expression(text, known).whole())
    return None if isinstance(answer, Unknown) else answer is True


def known_of(facts: Facts, *variables: Mapping[str, object]) -> dict[str, object]:
    """Return the variables that are known, later ones over earlier: the file's, then those given for the build."""
    known: dict[str, object] = {}
    for each in variables:
        known |= each
    return {**known, **(facts.environment or {}), **facts.values}


def rule_job(job: Mapping[str, Any], known: Mapping[str, object], complain: Complain) -> Ruling:
    """Return what becomes of a job. `complain` takes what is wrong, with its place within the job."""
    when = plain(job.get("when")) or "on_success"
    if job.get("rules") is not None:
        return _rule_by_rules(job["rules"], when, known, complain, allows_failure=job.get("allow_failure") is True)
    blocks = when != "manual" or job.get("allow_failure") is False
    answer = _wants(job, known, complain)
    if answer is not True:
        return Ruling(_unmet(is_told=answer is False, why="only and except"), when == "manual", blocks)
    return Ruling(_of_when(when), when == "manual", blocks)


def rule_workflow(rules: object, known: Mapping[str, object], complain: Complain) -> Verdict:
    """Return whether there is a pipeline at all."""
    return _rule_by_rules(rules, "always", known, complain).verdict


def _rule_by_rules(
    rules: object, when: str, known: Mapping[str, object], complain: Complain, *, allows_failure: bool = False
) -> Ruling:
    """Return what the first rule that fits says; where one may fit, what it and the following ones may say."""
    outcomes: list[tuple[str, bool]] = []
    why = "rules: none fits"
    for index, rule in enumerate(listed(rules)):
        if not isinstance(rule, dict):
            complain(("rules", index), "a rule is a mapping with `if`, `changes`, `exists` or `when`")
            continue
        answer = _fits(rule, known, complain, ("rules", index))
        if answer is False:
            continue
        said = plain(rule.get("when")) or when
        if said not in WHENS:
            complain(("rules", index, "when"), f"`when` is one of {', '.join(sorted(WHENS))}")
        outcomes.append((said, rule.get("allow_failure") is True or (allows_failure and "allow_failure" not in rule)))
        why = f"rules: {plain(rule['if']) if 'if' in rule else 'the files that changed or exist'}"
        if answer is True:
            break
    else:
        outcomes.append(("never", False))
    running = [each for each in outcomes if each[0] != "never"]
    is_manual = bool(running) and all(said == "manual" for said, _ in running)
    blocks = not is_manual or any(not allowed for _, allowed in running)
    if running and len(running) < len(outcomes):
        return Ruling(Verdict(Fate.UNKNOWN, why), is_manual, blocks)
    return Ruling(_of_when(running[0][0]) if running else Verdict(Fate.SKIPPED, why), is_manual, blocks)


def _of_when(when: str) -> Verdict:
    if when == "never":
        return Verdict(Fate.SKIPPED, "when: never")
    # A build is thought through in which nothing fails.
    return Verdict(Fate.SKIPPED, "when: on_failure") if when == "on_failure" else Verdict(Fate.RUNS)


def _unmet(*, is_told: bool, why: str) -> Verdict:
    return Verdict(Fate.SKIPPED if is_told else Fate.UNKNOWN, why)


def _fits(
    rule: Mapping[str, Any], known: Mapping[str, object], complain: Complain, path: tuple[str | int, ...]
) -> bool | None:
    answer = _asked(plain(rule["if"]), known, complain, (*path, "if")) if "if" in rule else True
    return None if answer is True and rule.keys() & {"changes", "exists"} else answer


def _asked(text: str, known: Mapping[str, object], complain: Complain, path: tuple[str | int, ...]) -> bool | None:
    try:
        return evaluate_rule(text, known)
    except ExpressionError as error:
        complain(path, str(error))
        return None


def _wants(job: Mapping[str, Any], known: Mapping[str, object], complain: Complain) -> bool | None:
    """Return whether `only` takes a job and `except` leaves it. Without `only`: branches and tags."""
    only = job.get("only", ["branches", "tags"])
    taken = _all(_parts("only", only, known, complain))
    left = [] if job.get("except") is None else [_any(_parts("except", job["except"], known, complain))]
    return _all([taken, *(None if each is None else not each for each in left)])


def _parts(key: str, wanted: object, known: Mapping[str, object], complain: Complain) -> list[bool | None]:
    if not isinstance(wanted, dict):
        return [_any([_is_ref(plain(each), known) for each in listed(wanted)])]
    answers: list[bool | None] = []
    for name, value in wanted.items():
        match name:
            case "refs":
                answers.append(_any([_is_ref(plain(each), known) for each in listed(value)]))
            case "variables":
                places = ((key, name, index) for index in range(len(listed(value))))
                answers.append(
                    _any([_asked(plain(t), known, complain, at) for t, at in zip(listed(value), places, strict=True)])
                )
            case _:
                answers.append(None)
    return answers


def _is_ref(wanted: str, known: Mapping[str, object]) -> bool | None:
    """Whether a pipeline is for a ref: by keyword, pattern or name."""
    source, branch, tag = (known.get(name, UNKNOWN) for name in (SOURCE, "CI_COMMIT_BRANCH", "CI_COMMIT_TAG"))
    if wanted in _SOURCES:
        return None if isinstance(source, Unknown) else source == _SOURCES[wanted]
    if wanted in {"branches", "tags"}:
        found = branch if wanted == "branches" else tag
        return None if isinstance(found, Unknown) else found is not None
    if source == MERGE_REQUEST:
        return False
    ref = tag if isinstance(tag, str) else branch
    if isinstance(ref, Unknown):
        return None
    wanted = wanted.partition("@")[0]
    if _PATTERN.fullmatch(wanted):
        answer = like(plain(ref), Regex(read_regex(wanted).pattern))
        return answer if isinstance(answer, bool) else None
    return wanted == ref


def _any(answers: Iterable[bool | None]) -> bool | None:
    found = list(answers)
    return True if True in found else None if None in found else False


def _all(answers: Iterable[bool | None]) -> bool | None:
    found = list(answers)
    return False if False in found else None if None in found else True
