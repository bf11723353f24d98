"""`when:` conditions in CEL (cel.dev), type-checked at load, evaluated with bounded work by Google's runtime.

Variables are fully qualified, so that a typo is an error at load. A fact the issuer does not state is not bound: using
it is an evaluation error, which CEL's `&&` and `||` absorb only where the answer does not depend on it. An error is
never a yes: the runtime hands one back as a value whose text is truthy, so only `is True` counts.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final

from proxy.model.authority import Authority
from proxy.model.decision import AccessRequest
from proxy.model.identity import JobContext

MAX_LENGTH: Final = 4096
_JOB_TYPES: Final = {"build_number": "int", "protected": "bool"}
JOB_FIELDS: Final = tuple(entry.name for entry in fields(JobContext) if entry.name not in {"claims", "events"})
"""Every fact of a job that rules can name."""

VARIABLES: Final[Mapping[str, str]] = {
    **{f"job.{name}": _JOB_TYPES.get(name, "string") for name in JOB_FIELDS},
    "job.claims": "map of anything",
    "job.stated": "list",
    "request.method": "string",
    "request.scheme": "string",
    "request.host": "string",
    "request.port": "int",
    "request.path": "string",
    "request.query": "string",
    "request.headers": "map",
    "intent.protocol": "string",
    "intent.action": "string",
    "intent.effect": "string",
    "intent.exact": "bool",
    "intent.resource_type": "string",
    "intent.resource": "string",
    "intent.facts": "map",
    "event.build_state": "string",
    "event.job_state": "string",
    "event.agent_matches": "bool",
    "event.branch_matches": "bool",
    "event.commit_matches": "bool",
    "event.fork": "bool",
    "event.stated": "list",
    "now": "timestamp",
}
"""What a condition may ask about, and the type of each."""

# What is known of a CONNECT before its first request. The rest stays unbound there.
_KNOWN_AT_CONNECT: Final = {"request.scheme", "request.host", "request.port"}
_REQUEST_NAMES: Final = tuple(
    name for name in VARIABLES if name.startswith(("request.", "intent.")) and name not in _KNOWN_AT_CONNECT
)
_EVENTS: Final = re.compile(r"\bevent\s*\.")
_NOW: Final = re.compile(r"\bnow\b")
_WHERE: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_UNBOUND: Final = re.compile(r'No value with name "([^"]*)"')
_PRESENCE: Final = re.compile(r"\bhas\(\s*(job|event)\.(?!claims\b)([a-z_]+)")
_STRING: Final = r"""[rR]?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_LITERAL: Final = re.compile(_STRING)
_CONSTANT_PATTERN: Final = re.compile(rf"\bmatches\(\s*(?:[^'\"(),]+,\s*)?({_STRING})\s*\)")


@cache
def _runtime() -> Any:
    """Return the runtime, loaded when the first rule has a condition, for it weighs ten megabytes."""
    from cel_expr_python import cel  # noqa: PLC0415 - see above

    return cel


@cache
def _environment() -> Any:
    """Return what conditions are compiled in."""
    from cel_expr_python.ext import ext_optional, ext_strings  # noqa: PLC0415 - as the runtime

    cel = _runtime()
    types = {
        "string": cel.Type.STRING,
        "int": cel.Type.INT,
        "bool": cel.Type.BOOL,
        "timestamp": cel.Type.TIMESTAMP,
        "list": cel.Type.List(cel.Type.STRING),
        "map": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "map of anything": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }
    return cel.NewEnv(
        variables={name: types[kind] for name, kind in VARIABLES.items()},
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
    )


def _is_bool(value: Any) -> bool:
    return bool(value == _runtime().Type.BOOL)


class ConditionError(ValueError):
    """A condition that is refused at load. `line` and `column` count from 1 within its text; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.hint, self.line, self.column = hint, line, column


@dataclass(slots=True)
class Bindings:
    """The facts of one request, turned into the runtime's form when the first condition asks."""

    values: Mapping[str, object]
    _activation: Any = field(default=None, init=False)

    def activation(self) -> Any:
        """Return the bound variables. Raises what the runtime raises for a value it cannot hold."""
        if self._activation is None:
            self._activation = _environment().Activation(dict(self.values))
        return self._activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A compiled condition, and what it may ask for: more than a CONNECT tells, what events hint at, the time."""

    text: str
    needs_request: bool
    needs_events: bool
    needs_time: bool
    _program: Any = field(repr=False, compare=False)

    def holds(self, bindings: Bindings) -> bool | str:
        """Return True, False, or why it could not be told."""
        try:
            value = self._program.eval(bindings.activation())
            answer = value.value()
        except Exception as error:  # noqa: BLE001 - the runtime's exceptions are not documented; none may open a gate
            return f"could not be evaluated: {type(error).__name__}"
        if _is_bool(value.type()) and isinstance(answer, bool):
            return answer
        unbound = _UNBOUND.search(str(answer))
        why = f"`{unbound[1]}` is not known" if unbound is not None else str(answer).partition(": ")[2]
        return f"could not be evaluated: {why}"

    @property
    def constant(self) -> bool | None:
        """The answer where no fact can change it, else None."""
        answer = self.holds(Bindings({}))
        return answer if isinstance(answer, bool) else None


@lru_cache(maxsize=4096)
def compile_condition(text: str) -> Condition:
    """Compile and type-check; rules that say the same share the result. Raises ConditionError with the place."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"a condition is at most {MAX_LENGTH} characters", "Split the rule.")
    presence = _PRESENCE.search(text)
    if presence is not None:
        part, name = presence.groups()
        hint = f"Write `'{name}' in {part}.stated`."
        raise _at(text, presence.start(), f"`has({part}.{name})` cannot tell whether a fact is stated", hint)
    try:
        program = _environment().compile(text)
    except RuntimeError as error:
        raise _explain(str(error)) from None
    if not _is_bool(program.return_type()):
        found = program.return_type().name().lower()
        raise ConditionError(f"a condition must be true or false; this is {found}", "Compare it with something.")
    _check_patterns(text)
    bare = _LITERAL.sub("''", text)
    return Condition(
        text=text,
        needs_request=any(name in text for name in _REQUEST_NAMES),
        needs_events=_EVENTS.search(bare) is not None,
        needs_time=_NOW.search(bare) is not None,
        _program=program,
    )


def search(pattern: str, text: str) -> bool | None:
    """Return whether a regular expression of RE2 is found in a text; None for one that RE2 does not have."""
    values = {"request.path": text, "request.query": pattern}
    answer = compile_condition("request.path.matches(request.query)").holds(Bindings(values))
    return answer if isinstance(answer, bool) else None


def _check_patterns(text: str) -> None:
    """Refuse a constant regular expression that does not compile; the runtime would notice only when asked."""
    for match in _CONSTANT_PATTERN.finditer(text):
        answer = _environment().compile(f"''.matches({match[1]})").eval(data={})
        if not _is_bool(answer.type()):
            why = str(answer.value()).partition(": ")[2]
            raise _at(text, match.start(1), why, "Regular expressions are RE2: github.com/google/re2/wiki/Syntax.")


def _explain(report: str) -> ConditionError:
    where = _WHERE.search(report)
    if where is None:
        return ConditionError(report.partition("\n")[0].removesuffix(" [CANCELLED]"))
    column = int(where[2])
    message = where[3].replace(" (in container '')", "").replace("<EOF>", "the end")
    hint = ""
    undeclared = _UNDECLARED.search(message)
    if undeclared is not None:
        # The runtime points at the dot of a qualified name; the name itself is what a reader looks for.
        line = report.partition("\n | ")[2].partition("\n")[0]
        column = line.rfind(undeclared[1], 0, column + len(undeclared[1])) + 1 or column
        message = f"`{undeclared[1]}` is not a name known here"
        close = difflib.get_close_matches(undeclared[1], VARIABLES, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else f"Known names: {', '.join(VARIABLES)}."
    elif "expecting {" in message:
        message = message.partition(" expecting {")[0]
    return ConditionError(message, hint, int(where[1]), column)


def _at(text: str, offset: int, message: str, hint: str) -> ConditionError:
    before = text[:offset]
    return ConditionError(message, hint, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def bind_job(job: JobContext, now: datetime) -> dict[str, object]:
    """Return the variables a job's identity gives. What its issuer does not state is left out."""
    stated = {name: value for name in JOB_FIELDS if (value := getattr(job, name)) is not None}
    return {
        **{f"job.{name}": value for name, value in stated.items()},
        "job.stated": list(stated),
        "job.claims": dict(job.claims),
        **{f"event.{name}": fact for name, fact in job.events.items()},
        "event.stated": list(job.events),
        "now": now,
    }


def bind_place(job: JobContext, authority: Authority, now: datetime) -> Bindings:
    """Return what is known when a tunnel is asked for."""
    place = {"request.scheme": "https", "request.host": authority.host, "request.port": authority.port}
    return Bindings({**bind_job(job, now), **place})


def bind_request(request: AccessRequest) -> Bindings:
    """Return everything a condition may ask about one request."""
    view, intent = request.view, request.intent
    headers: dict[str, str] = {}
    for name, value in view.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    values: dict[str, object] = {
        **bind_job(request.job, request.now),
        "request.method": view.method,
        "request.scheme": view.scheme,
        "request.host": view.authority.host,
        "request.port": view.authority.port,
        "request.path": view.path,
        "request.query": view.query or "",
        "request.headers": headers,
        "intent.protocol": intent.protocol,
        "intent.action": intent.action,
        "intent.effect": intent.effect.value,
        "intent.exact": intent.exact,
        "intent.resource_type": intent.resource.type,
        "intent.resource": intent.resource.id,
        "intent.facts": dict(intent.facts),
    }
    if request.unknown:
        values = {name: value for name, value in values.items() if name not in request.unknown}
    return Bindings(values)
