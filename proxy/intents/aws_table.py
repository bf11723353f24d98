"""What is known of AWS's services: operations, routes and effects, compiled from botocore by .ci/compile_aws_table.py.

One packed file: a magic line, the length of the head, the head, then one packed JSON text per service. A service is
unpacked when it is first asked for and kept; 420 services that nobody calls cost their packed bytes only.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

from proxy.intents.aws_routes import Router, build_router
from proxy.model.intent import EffectClass

MAGIC: Final = b"jobgate aws 1\n"
_EFFECTS: Final = {
    "r": EffectClass.READ,
    "l": EffectClass.LIST,
    "w": EffectClass.WRITE,
    "d": EffectClass.DELETE,
    "a": EffectClass.ADMIN,
    "p": EffectClass.PUBLISH,
    "x": EffectClass.EXECUTE,
    "c": EffectClass.CREDENTIAL,
}


@dataclass(frozen=True, slots=True)
class Binding:
    """A member of the input, where it is (`uri`, `querystring`, `header`, `body`), the ARN's format, and an action."""

    place: str
    member: str
    pattern: str
    action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `is_known` says that AWS's own list has the action; `roles` are members that pass an IAM role."""

    service: str
    name: str
    action: str
    effect: EffectClass
    is_known: bool
    roles: frozenset[str]
    bound: tuple[Binding, ...] = ()
    """What its resource is made of, the first that is sent."""
    added: tuple[Binding, ...] = ()
    """What else it does, each that is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of botocore's, all versions of its API together."""

    name: str
    prefix: str
    protocols: frozenset[str]
    target: str
    operations: Mapping[str, str]
    """Name -> effect's letter, `?` where the action is assumed, and the action where it is not `prefix:name`."""
    roles: Mapping[str, list[str]]
    resources: Mapping[str, list[list[str]]]
    router: Router

    @property
    def has_paths(self) -> bool:
        """Whether operations are told by method and path, and by nothing else."""
        return self.protocols <= {"rest-json", "rest-xml"}

    def operation(self, name: str) -> Operation | None:
        """Return what is known of an operation, None for a name this service does not have."""
        return _read_operation(self.name, name) if name in self.operations else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The head of the table, and the packed services."""

    made_from: Mapping[str, str]
    signing: Mapping[str, list[str]]
    """The name in a signature's scope -> services."""
    targets: Mapping[str, list[str]]
    """What stands before the dot in X-Amz-Target, or after /service/ -> services."""
    hosts: Mapping[str, list[str]]
    """The labels of a host name that stand for the service -> services."""
    suffixes: tuple[str, ...]
    """What AWS's host names end in, by botocore's list of partitions."""
    places: Mapping[str, list[int]]
    packed: bytes


@cache
def load_table() -> Table:
    """Read the packaged table; a few milliseconds, once."""
    packed = files(__package__).joinpath("aws_table.bin").read_bytes()
    start = len(MAGIC) + 4
    size = int.from_bytes(packed[len(MAGIC) : start])
    head: dict[str, Any] = json.loads(zlib.decompress(packed[start : start + size]))
    return Table(
        made_from={name: head[name] for name in ("botocore", "cfn-lint")},
        signing=head["signing"],
        targets=head["targets"],
        hosts=head["hosts"],
        suffixes=tuple(head["suffixes"]),
        places=head["places"],
        packed=packed[start + size :],
    )


@lru_cache(maxsize=64)
def load_service(name: str) -> Service:
    """Unpack one service of `Table.places`."""
    table = load_table()
    offset, size = table.places[name]
    found: dict[str, Any] = json.loads(zlib.decompress(table.packed[offset : offset + size]))
    return Service(
        name=name,
        prefix=found["prefix"],
        protocols=frozenset(found["protocols"]),
        target=found["target"],
        operations=found["operations"],
        roles=found["roles"],
        resources=found["resources"],
        router=build_router(found["routes"]),
    )


@lru_cache(maxsize=1024)
def _read_operation(service_name: str, name: str) -> Operation:
    service = load_service(service_name)
    text = service.operations[name]
    action = text[1:].removeprefix("?")
    bound, added = service.resources.get(name, ((), ()))
    return Operation(
        service=service_name,
        name=name,
        action=action or f"{service.prefix}:{name}",
        effect=_EFFECTS[text[0]],
        is_known=text[1:2] != "?",
        roles=frozenset(service.roles.get(name, ())),
        bound=tuple(Binding(*line.split(" ")) for line in bound),
        added=tuple(Binding(*line.split(" ")) for line in added),
    )
