"""The routes file: which records, events, metadata and logs go to which sink, in which form. Checked like rules."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from proxy.audit.forms import FORMS
from proxy.audit.routing import TRAIL, Group, Route
from proxy.audit.sealing import CLEAR
from proxy.config import Settings
from proxy.config.audit import SealSettings
from proxy.config.sections import Section
from proxy.config.sinks import SinkSettings
from proxy.model.errors import RuleFileError
from proxy.model.record import Kind
from proxy.policy.faults import Fault, explain_errors, suggest
from proxy.sources.yaml import Located, load_yaml

type Patterns = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)]

_OWN_FORM: Final = {"s3": "record", "otlp": "record"}
"""Kinds of sink that have one form only."""


class WhereText(Section):
    """Patterns with `*` and `?`; a single one may stand without a list."""

    effect: Patterns | str = ()
    reason: Patterns | str = ()
    rule: Patterns | str = ()
    host: Patterns | str = ()
    protocol: Patterns | str = ()
    action: Patterns | str = ()
    connector: Patterns | str = ()
    organization: Patterns | str = ()
    pipeline: Patterns | str = ()
    repository: Patterns | str = ()
    step: Patterns | str = ()
    branch: Patterns | str = ()
    environment: Patterns | str = ()
    job_id: Patterns | str = ()
    tags: dict[str, Patterns | str] = Field(default_factory=dict)


class RouteText(Section):
    """One entry under `routes:`."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Names the route.")
    why: str = Field(min_length=1, max_length=500, description="Why these records go there, for who reads this later.")
    to: Patterns | str = Field(description="The names of sinks, as under `sinks:` in the settings.")
    of: tuple[Literal["records", "events", "metadata", "logs"], ...] | Literal["trail"] = "trail"
    kinds: Patterns | str = ()
    where: WhereText = WhereText()
    form: str = "record"


class RoutesText(Section):
    """A whole routes file."""

    routes: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the settings say that routes are held against."""

    sinks: Mapping[str, SinkSettings]
    seal: SealSettings | None
    has_logs: bool


def read_routes(settings: Settings) -> tuple[Route, ...]:
    """Return the routes of the file that settings name, none where they name none. Raises RuleFileError."""
    if settings.routes is None:
        return ()
    around = Surroundings(sinks=settings.sinks, seal=settings.audit.seal, has_logs=settings.logs is not None)
    return load_routes(settings.routes, around)


def load_routes(path: Path, around: Surroundings) -> tuple[Route, ...]:
    """Read and check a routes file. Raises RuleFileError with every fault, its line and what to write instead."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        located = Located(name=str(path), value=None)
        raise RuleFileError([located.problem((), f"cannot be read: {error.strerror}")]) from None
    located = load_yaml(raw, str(path))
    routes, faults = _read(located.value, around)
    if faults:
        raise RuleFileError([located.problem(each.path, each.message, each.hint, key=each.at_key) for each in faults])
    return routes


def _read(document: object, around: Surroundings) -> tuple[tuple[Route, ...], list[Fault]]:
    try:
        entries = RoutesText.model_validate(document).routes
    except ValidationError as error:
        return (), explain_errors(error, RoutesText)
    routes: list[Route] = []
    faults: list[Fault] = []
    for index, entry in enumerate(entries):
        path = ("routes", index)
        try:
            text = RouteText.model_validate(entry)
        except ValidationError as error:
            faults += explain_errors(error, RouteText, path)
            continue
        route = _route(text)
        faults += _check(text, route, path, around)
        routes.append(route)
    return tuple(routes), faults + list(_check_all(routes, around.sinks))


def _route(text: RouteText) -> Route:
    where = {name: _tuple(getattr(text.where, name)) for name in WhereText.model_fields if name != "tags"}
    return Route(
        id=text.id,
        to=_tuple(text.to),
        of=TRAIL if text.of == "trail" else frozenset(map(Group, text.of)),
        kinds=_tuple(text.kinds),
        where={name: patterns for name, patterns in where.items() if patterns},
        tags={name: _tuple(patterns) for name, patterns in text.where.tags.items()},
        form=text.form,
    )


def _tuple(value: tuple[str, ...] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _check(text: RouteText, route: Route, path: tuple[str | int, ...], around: Surroundings) -> Iterator[Fault]:
    """Find what one route cannot mean."""
    for name in route.to:
        if name not in around.sinks:
            yield Fault(path=(*path, "to"), message=f"there is no sink `{name}`", hint=_known(name, around.sinks))
        elif (only := _OWN_FORM.get(around.sinks[name].kind)) is not None and text.form != only:
            kind = around.sinks[name].kind
            yield Fault(
                path=(*path, "form"), message=f"a sink of kind `{kind}` has a form of its own", hint="Leave it out."
            )
    if text.form not in FORMS:
        yield Fault(path=(*path, "form"), message=f"there is no form `{text.form}`", hint=suggest(text.form, FORMS))
    if not route.to:
        yield Fault(path=(*path, "to"), message="the route leads nowhere", hint="Name a sink.")
    known = [kind.value for kind in Kind]
    for pattern in route.kinds:
        if not any(fnmatchcase(kind, pattern) for kind in known):
            yield Fault(
                path=(*path, "kinds"), message=f"no kind of record is `{pattern}`", hint=suggest(pattern, known)
            )
    if Group.LOGS in route.of and not around.has_logs:
        yield Fault(path=(*path, "of"), message="there are no logs", hint="Set `logs:`, where jobs' logs come in.")
    if around.seal is not None:
        yield from _check_sealed(route, path, around.seal)


def _check_sealed(route: Route, path: tuple[str | int, ...], seal: SealSettings) -> Iterator[Fault]:
    """Find what a route asks of a record that is sealed before it is shipped."""
    readable = {*CLEAR, *seal.clear}
    for name in route.where:
        field = "rules" if name == "rule" else name if name in readable or "job" not in readable else "job"
        if field not in readable:
            hint = (
                "Ask for a tag (`audit.job_tags` makes tags of a job's facts), or name the field in `audit.seal.clear`."
            )
            yield Fault(
                path=(*path, "where", name), message=f"`{name}` is sealed: no route can see it", hint=hint, at_key=True
            )


def _check_all(routes: Iterable[Route], sinks: Mapping[str, SinkSettings]) -> Iterator[Fault]:
    """Find what routes cannot mean together."""
    ids: set[str] = set()
    forms: dict[str, Route] = {}
    for index, route in enumerate(routes):
        path = ("routes", index)
        if route.id in ids:
            yield Fault(path=(*path, "id"), message=f"there are two routes `{route.id}`", hint="Give each its own id.")
        ids.add(route.id)
        for name in route.to:
            other = forms.setdefault(name, route)
            if other.form != route.form:
                message = f"`{name}` gets `{other.form}` by route `{other.id}`, so it cannot get `{route.form}`"
                yield Fault(path=(*path, "form"), message=message, hint="Give the other form a sink of its own.")
    for name in sinks:
        if name not in forms:
            yield Fault(path=("routes",), message=f"no route leads to the sink `{name}`", hint="Add one, or remove it.")


def _known(name: str, names: Collection[str]) -> str:
    return suggest(name, names) if names else "The settings name no sinks; write one under `sinks:`."
