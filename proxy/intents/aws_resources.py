"""Which ARNs an operation is asked for: members of its input put into the formats the table has for it.

What no format binds, and what could not be read, is `*`, which stands for any. The formats are written in
.ci/aws_resources.toml, where their language is told.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from proxy.intents.aws_members import Members, as_texts
from proxy.intents.aws_table import Binding, Operation
from proxy.model.errors import IntentError
from proxy.model.intent import Resource

type _Reading = tuple[str | None, str]
"""The account that a value names, if it does, and what stands for the value in an ARN."""

ANY: Final = Resource(type="aws", id="*")
_ARN: Final = re.compile(r"arn:[a-z0-9-]+:(?P<service>[a-z0-9-]+):[a-z0-9-]*:[0-9a-z-]*:[^\x00-\x20\x7f]{1,1800}")
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,2048}")
_FUNCTION: Final = re.compile(
    r"(?:(?P<account>[0-9]{12}):)?(?:function:)?(?P<name>[A-Za-z0-9_-]+(?::[A-Za-z0-9$_.-]+)?)"
)
_QUEUE: Final = re.compile(r"(?:https?://[^/?#\s]+)?/(?P<account>[0-9]{12})/(?P<name>[A-Za-z0-9_-]{1,80}(?:\.fifo)?)")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_PART: Final = re.compile(
    r"[~^]|\$[a-z]*|\{(?P<sign>(?:[:/](?:[a-z]+/)?)?)(?P<name>[A-Za-z]+)(?:\|(?P<other>[^}]*))?\}"
)
_OWNERS: Final = {"ecr": "registryId", "ecr-public": "registryId", "sqs": "QueueOwnerAWSAccountId"}
"""Members that name the account in which a name is looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request goes, for the parts of an ARN that no member tells."""

    partition: str
    region: str


def find_resources(operation: Operation, members: Members, place: Place) -> list[Resource]:
    """Return what an operation is asked for, at least one. Raises IntentError for a member that names no such thing."""
    for binding in operation.bound:
        found = _bind(operation, binding, members, place)
        if found:
            return found
    return [ANY]


def find_added(operation: Operation, members: Members, place: Place) -> Iterator[tuple[str, Resource]]:
    """Yield what else is done: an action, and what it is done to. Raises IntentError."""
    for binding in operation.added:
        if members.is_whole and not members.at(binding.place, binding.member):
            continue
        action = operation.action if binding.action == "=" else binding.action
        if binding.pattern == "*" or not members.is_whole:
            found = [ANY]
        elif binding.pattern == "=":
            found = find_resources(operation, members, place)
        else:
            found = [each for each in _bind(operation, binding, members, place) if each != ANY]
        yield from ((action, each) for each in found)


def _bind(operation: Operation, binding: Binding, members: Members, place: Place) -> list[Resource]:
    texts = as_texts(members.at(binding.place, binding.member))
    return [_fill(operation, binding.pattern, text, members, place) for text in texts if text]


def _fill(operation: Operation, pattern: str, text: str, members: Members, place: Place) -> Resource:
    arn = _ARN.fullmatch(text)
    prefix = operation.action.partition(":")[0]
    if arn is not None and (pattern == "$" or arn["service"] == prefix):
        tail = (_other(part, members) for part in _PART.finditer(pattern) if part["sign"])
        return Resource(type="arn", id=text + "".join(tail))
    if pattern == "$":
        return ANY
    if arn is not None or _VALUE.fullmatch(text) is None:
        raise IntentError(f"the resource named is none of {prefix}'s")
    owner = members.aside(_OWNERS.get(operation.service, ""))
    region = place.region or "*"

    def fill(part: re.Match[str]) -> str:
        if part["name"] is not None:
            return {"partition": place.partition, "region": region}.get(part["name"]) or _other(part, members)
        start = {"~": f"arn:{place.partition}:{prefix}:{region}", "^": f"arn:{place.partition}:{prefix}:"}
        return f"{start[part[0]]}:{account}" if part[0] in start else value

    token = next(part[0] for part in _PART.finditer(pattern) if part[0].startswith("$"))
    told, value = _READERS[token](text)
    account = told or (owner if _ACCOUNT.fullmatch(owner) else "*")
    return Resource(type="arn", id=_PART.sub(fill, pattern))


def _other(part: re.Match[str], members: Members) -> str:
    """Return what another member, or its absence, puts into a format."""
    text = members.aside(part["name"])
    if text and _VALUE.fullmatch(text) is None:
        raise IntentError(f"the input's {part['name']} is no name")
    if part["other"] is not None:  # a cluster may be named by its ARN
        return (text.rpartition("/")[2] if text.startswith("arn:") else text) or part["other"]
    if part["sign"]:
        return f"{part['sign']}{text}" if text else ""
    inner = text.strip("/")
    return f"{inner}/" if inner else ""


def _read_plain(text: str) -> _Reading:
    return None, text


def _read_queue(text: str) -> _Reading:
    """Read a queue's URL: the account and the name are its path, whatever host it names (SQS API, "queue URLs")."""
    found = _QUEUE.fullmatch(text)
    if found is None:
        raise IntentError("the queue's URL is not /ACCOUNT/NAME")
    return found["account"], found["name"]


def _read_function(text: str) -> _Reading:
    """Read `NAME`, `NAME:VERSION` or `ACCOUNT:function:NAME` (Lambda API, Invoke, FunctionName)."""
    found = _FUNCTION.fullmatch(text)
    if found is None:
        raise IntentError("the function's name is none of Lambda's forms")
    return found["account"], found["name"]


def _read_key(text: str) -> _Reading:
    """Read a key's id or `alias/NAME`; an alias is a resource of its own (KMS API, KeyId)."""
    return None, text if text.startswith("alias/") else f"key/{text}"


def _read_parameter(text: str) -> _Reading:
    """Read `/a/b:VERSION` as `a/b`: slash and version are not in the ARN (Systems Manager, "parameter names")."""
    return None, text.removeprefix("/").rstrip("/").partition(":")[0]


def _read_task(text: str) -> _Reading:
    """Read `FAMILY` or `FAMILY:REVISION`; without a revision it is the newest, whichever that is."""
    return None, text if ":" in text else f"{text}:*"


_READERS: Final[dict[str, Callable[[str], _Reading]]] = {
    "$": _read_plain,
    "$queue": _read_queue,
    "$function": _read_function,
    "$key": _read_key,
    "$parameter": _read_parameter,
    "$task": _read_task,
}
