"""Plain values -> `Rule`s, or every fault at once. What a rule cannot mean is refused before anything is loaded."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from proxy.model.decision import Approval, Effect
from proxy.model.durations import parse_duration
from proxy.model.grant import Grant
from proxy.policy.conditions import Condition, ConditionError, compile_condition
from proxy.policy.declaring import Stance
from proxy.policy.faults import Fault, Path, explain_errors, suggest
from proxy.policy.intents import read_intent
from proxy.policy.patterns import PatternError, compile_glob, compile_path
from proxy.policy.rule import READ_METHODS, FactTest, Rule, Scalar
from proxy.policy.schema import MAX_RULES, ApprovalText, JobText, RuleFileText, RuleText, is_tag_name
from proxy.policy.targets import parse_target

type Scopes = Mapping[str, type[BaseModel]]
"""The connectors' own schemas by connector name."""

DEFAULT_LIFETIME: Final = timedelta(minutes=15)
MAX_LIFETIME: Final = timedelta(hours=12)
_INTENTS: Final = "intents"
"""The field of a connector's scope that wants the rule's `intent` lines."""
_RULE: Final = "rule"
"""The field of a connector's scope that wants the rule's id, where jobgate's own token states it."""
_OWN: Final = {
    _INTENTS: "The rule's own `intent` lines are used: write `intent` beside `credential`.",
    _RULE: "The rule's own `id` is used.",
}
_PROBE: Final = RuleText(id="x", why="stands for the rules while their surroundings are checked", to=("x.example",))


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a document holds. With any fault, none of its rules may be used."""

    rules: tuple[Rule, ...]
    faults: tuple[Fault, ...]


def parse_rules(document: object, file: str, scopes: Scopes) -> Parsed:
    """Read one document. Faults are all there are, in reading order of their places."""
    if document is None:
        hint = "Begin with `rules:` and a list, or delete the file."
        return Parsed((), (Fault(path=(), message="the file has no rules", hint=hint),))
    entries, faults = _read_entries(document)
    rules: list[Rule] = []
    for index, entry in enumerate(entries):
        path = ("rules", index)
        try:
            reader = _RuleReader(RuleText.model_validate(entry), path, scopes)
        except ValidationError as error:
            faults += explain_errors(error, RuleText, path)
            faults += _salvage(entry, error, path, scopes)
            continue
        found = list(reader.faults())
        faults += found
        if not found:
            rules.append(reader.rule(file, index))
    return Parsed(tuple(rules), tuple(faults))


def _salvage(entry: object, error: ValidationError, path: Path, scopes: Scopes) -> list[Fault]:
    """Look at what is left of a rule without its broken keys, so that all its faults are told at once."""
    broken = {fault["loc"][0] for fault in error.errors(include_url=False) if fault["loc"]}
    if not isinstance(entry, dict):
        return []
    whole = {"id": _PROBE.id, "why": _PROBE.why, "to": _PROBE.to}
    rest = {key: value for key, value in entry.items() if key not in broken}
    return list(_RuleReader(RuleText.model_validate({**whole, **rest}), path, scopes).faults())


def _read_entries(document: object) -> tuple[list[object], list[Fault]]:
    """Return the list under `rules`, and what is wrong around it; the rules themselves are validated one by one."""
    entries = document.get("rules") if isinstance(document, dict) else None
    shell = document
    if isinstance(document, dict) and isinstance(entries, list):
        shell = {**document, "rules": (_PROBE,) if entries else ()}
    try:
        RuleFileText.model_validate(shell)
        faults: list[Fault] = []
    except ValidationError as error:
        faults = explain_errors(error, RuleFileText)
    if not isinstance(entries, list):
        return [], faults
    if len(entries) > MAX_RULES:
        return [], [Fault(path=("rules",), message=f"more than {MAX_RULES} rules in one file", hint="Split the file.")]
    return entries, faults


@dataclass(slots=True)
class _RuleReader:
    """What the shape alone cannot tell about one rule."""

    text: RuleText
    path: Path
    scopes: Scopes
    when: Condition | None = None
    grant: Grant | None = None

    def faults(self) -> Iterator[Fault]:
        yield from self._check_to()
        yield from self._read_when()
        yield from self._read_credential()
        yield from self._check_method()
        yield from self._check_effect()
        yield from self._check_mode()
        yield from self._check_tunnel()
        yield from self._check_job()
        yield from self._check_tags()

    def _fault(self, key: str, message: str, hint: str = "", **more: Any) -> Fault:
        return Fault(path=(*self.path, key), message=message, hint=hint, **more)

    def _check_to(self) -> Iterator[Fault]:
        for index, to in enumerate(self.text.to):
            try:
                parse_target(to, is_deny=self.text.effect == "deny")
            except PatternError as error:
                yield Fault(path=(*self.path, "to", index), message=f"`{to}`: {error}")
            if self.text.credential is not None and to.startswith("http://"):
                message = f"`{to}` is plain HTTP: everyone on the way reads the credential"
                yield Fault(path=(*self.path, "to", index), message=message, hint="Use https.")

    def _read_when(self) -> Iterator[Fault]:
        if self.text.when is None:
            return
        try:
            self.when = compile_condition(self.text.when)
        except ConditionError as error:
            yield self._fault("when", str(error), error.hint, offset=(error.line, error.column))

    def _read_credential(self) -> Iterator[Fault]:
        if self.text.credential is None:
            return
        ((name, block),) = self.text.credential.items()
        path: Path = (*self.path, "credential", name)
        scope = self.scopes.get(name)
        if scope is None:
            yield Fault(
                path=path, message=f"no connector is called `{name}`", hint=suggest(name, self.scopes), at_key=True
            )
            return
        try:
            lifetime = _lifetime(block.get("duration"))
        except ValueError as error:
            yield Fault(path=(*path, "duration"), message=str(error))
            return
        own = {key: value for key, value in block.items() if key != "duration" or "duration" in scope.model_fields}
        own |= self._own_facts(scope, block)
        for field, hint in _OWN.items():
            if field in scope.model_fields and field in block:
                yield Fault(path=(*path, field), message=f"`{field}` is not for writing", hint=hint, at_key=True)
                return
        try:
            checked = scope.model_validate(own)
        except ValidationError as error:
            yield from explain_errors(error, scope, path)
            return
        self.grant = _make_grant(name, own, checked, lifetime)

    def _own_facts(self, scope: type[BaseModel], block: Mapping[str, object]) -> dict[str, object]:
        """Return what a connector is told of the rule itself, where its schema asks."""
        own: dict[str, object] = {}
        if _INTENTS in scope.model_fields and self.text.intent:
            own[_INTENTS] = list(self.text.intent)
        # Tokens of jobgate's own name the rule; all others share credentials across rules.
        if _RULE in scope.model_fields and block.get("subject") == "jobgate":
            own[_RULE] = self.text.id
        return own

    def _check_method(self) -> Iterator[Fault]:
        if self.text.method is not None and "any" in self.text.method and len(self.text.method) > 1:
            yield self._fault("method", "`any` stands alone", "Remove the other methods, or `any`.")

    def _check_effect(self) -> Iterator[Fault]:
        if self.text.effect == "deny" and self.text.credential is not None:
            yield self._fault("credential", "a deny rule gives nothing", "Remove `credential`.", at_key=True)
        if self.text.effect == "deny" and self.text.declared is not None:
            yield self._fault("declared", "a deny rule denies either way", "Remove `declared`.", at_key=True)
        if self.text.effect == "deny" and self.text.approval is not None:
            yield self._fault("approval", "a deny rule denies whoever says yes", "Remove `approval`.", at_key=True)
        if self.text.approval is not None and self.text.approval.unblocked is not None and self.text.approval.ask:
            yield self._fault("approval", "nobody is asked where a step is unblocked", "Remove `ask` or `unblocked`.")
        if self.text.effect == "deny" and self.text.cookies is not None:
            yield self._fault("cookies", "a deny rule passes nothing", "Remove `cookies`.", at_key=True)
        if self.text.effect == "deny" and not self.text.inspect:
            yield self._fault("inspect", "a deny rule passes nothing through", "Remove `inspect`.", at_key=True)
        if self.text.effect != "deny" and self.when is not None and self.when.needs_events:
            message = "`event.*` is what the CI's events hint at: it can only take away"
            yield self._fault("when", message, "Ask about it in a rule with `effect: deny`.")

    def _check_mode(self) -> Iterator[Fault]:
        """Refuse what a rule that only lets through cannot give."""
        if self.text.mode != "observe":
            return
        if self.text.effect == "deny":
            yield self._fault("mode", "what a deny rule denies is not let through", "Remove `mode`.", at_key=True)
        for key in ("credential", "approval", "cookies", "declared"):
            if getattr(self.text, key) is not None:
                message = f"`{key}` cannot be used with `mode: observe`: it gives nothing, and asks for nothing"
                yield self._fault(key, message, f"Remove `{key}` or `mode`.", at_key=True)
        if not self.text.inspect:
            message = "`inspect: false` cannot be used with `mode: observe`: nothing would be seen"
            yield self._fault("inspect", message, "Remove `inspect`.", at_key=True)

    def _check_tunnel(self) -> Iterator[Fault]:
        if self.text.inspect or self.text.effect == "deny":
            return
        why = "cannot be used with `inspect: false`: nothing inside the connection is seen"
        for key in ("credential", "method", "path", "intent", "approval", "cookies"):
            if getattr(self.text, key) is not None:
                yield self._fault(key, f"`{key}` {why}", f"Remove `{key}` or `inspect: false`.", at_key=True)
        if self.text.declared == "required":
            hint = "Write `flag`, or remove it."
            yield self._fault("declared", f"`required` {why}, and so is never what a step declared", hint, at_key=True)
        if self.when is not None and self.when.needs_request:
            yield self._fault("when", f"`request.*` and `intent.*` {why}", "Ask about `job` and `now` only.")
        for index, to in enumerate(self.text.to):
            if to.startswith("http://"):
                hint = "Plain HTTP is always seen: remove `inspect: false`."
                yield Fault(path=(*self.path, "to", index), message=f"`{to}` is not TLS", hint=hint)

    def _check_job(self) -> Iterator[Fault]:
        job = self.text.job
        if job is not None and not job.model_fields_set:
            yield self._fault("job", "`job` is empty", "Name at least one fact, or leave `job` out to mean every job.")
        for index, value in enumerate(((job.claims if job is not None else None) or {}).get("sub", ())):
            if isinstance(value, str) and "*" in value:
                hint = "Match the claims it is made of one by one: `organization`, `pipeline`, `branch`, ..."
                message = "`sub` is never matched by a pattern: its parts can hold each other's separators"
                yield Fault(path=(*self.path, "job", "claims", "sub", index), message=message, hint=hint)

    def _check_tags(self) -> Iterator[Fault]:
        for name, value in self.text.tags.items():
            if not is_tag_name(name):
                hint = "Letters, digits and `_ . : / @ -`; at most 128."
                yield Fault(
                    path=(*self.path, "tags", name), message=f"`{name}` cannot be a tag", hint=hint, at_key=True
                )
            if name == "retention":
                try:
                    parse_duration(value)
                except ValueError as error:
                    yield Fault(path=(*self.path, "tags", name), message=str(error))

    def rule(self, file: str, index: int) -> Rule:
        """Build the rule; only once there are no faults."""
        text, is_deny = self.text, self.text.effect == "deny"
        return Rule(
            id=text.id,
            why=text.why,
            effect=Effect(text.effect),
            tests=_read_tests(text.job),
            targets=tuple(parse_target(to, is_deny=is_deny) for to in text.to),
            methods=_read_methods(text),
            paths=None if text.path is None else tuple(compile_path(path) for path in text.path),
            intents=None if text.intent is None else tuple(read_intent(line) for line in text.intent),
            declared=Stance(text.declared or Stance.DENY),
            when=self.when,
            inspect=text.inspect,
            grant=self.grant,
            approval=None if text.approval is None else _read_approval(text.approval),
            passes_cookies=text.cookies is not None,
            observes=text.mode == "observe",
            tags=dict(text.tags),
            file=file,
            index=index,
        )


def _read_approval(text: ApprovalText) -> Approval:
    within, step = parse_duration(text.within), text.unblocked
    if step is None:
        return Approval(within=within, ask=text.ask)
    return Approval(within=within, step=step.step, teams=tuple(sorted(set(step.by))))


def _read_methods(text: RuleText) -> frozenset[str] | None:
    if text.method is None:
        says_more = text.effect == "deny" or text.mode == "observe" or not text.inspect or text.intent is not None
        return None if says_more else READ_METHODS
    return None if "any" in text.method else frozenset(text.method)


def _read_tests(job: JobText | None) -> tuple[FactTest, ...]:
    if job is None:
        return ()
    tests = []
    for name in JobText.model_fields:
        value = getattr(job, name)
        if value is not None and name != "claims":
            tests.append(_make_test(name, value if isinstance(value, tuple) else (value,), None))
    for claim, values in (job.claims or {}).items():
        tests.append(_make_test(f"claims.{claim}", values, claim))
    return tuple(tests)


def _make_test(name: str, values: tuple[Scalar, ...], claim: str | None) -> FactTest:
    globs = tuple(compile_glob(value) for value in values if isinstance(value, str) and "*" in value)
    exact = tuple(value for value in values if not (isinstance(value, str) and "*" in value))
    return FactTest(name=name, claim=claim, exact=exact, globs=globs)


def _lifetime(value: object) -> timedelta:
    if value is None:
        return DEFAULT_LIFETIME
    if not isinstance(value, str):
        raise ValueError(f"a duration is a number and a unit, such as 15m, not {value}")  # noqa: TRY004 - caught as one
    lifetime = parse_duration(value)
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise ValueError(f"`{value}` is not between 1s and 12h")
    return lifetime


def _make_grant(connector: str, own: Mapping[str, object], checked: BaseModel, lifetime: timedelta) -> Grant:
    """Name the grant by what it means, so that two spellings of one scope are one credential."""
    meaning = [connector, checked.model_dump(mode="json"), lifetime.total_seconds()]
    key = sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return Grant(connector=connector, scope=dict(own), lifetime=lifetime, key=key)
