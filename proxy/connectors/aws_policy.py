"""The session policy: what a rule's intents, or the actions it lists, become, so that AWS enforces the rule too. Pure.

Never wider than the rule by a whole action or resource that nobody named, never cut to fit. IAM's `*` crosses every
separator where a rule's does not, so AWS may let through a little more than jobgate does, and never less. Source: IAM
User Guide, "Policies and permissions: session policies".
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

from proxy.model.intent import EffectClass

POLICY_LIMIT: Final = 2048
"""Characters of an inline session policy (STS API Reference, AssumeRole, `Policy`)."""
_PROTOCOL: Final = "aws"
_ANY: Final = "*"
_CLASSES: Final = frozenset(effect.value for effect in EffectClass)
_ACTION: Final = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*]+")
_STARS: Final = re.compile(r"\*+")

type _Pairs = tuple[tuple[str, str], ...]


def read_lines(lines: Iterable[str]) -> _Pairs:
    """Return action and resource of each line about AWS. Raises ValueError for what no policy can say."""
    return tuple(
        (_read_action(words[1], line), _read_resource(words[2], line))
        for line in lines
        if (words := line.split(maxsplit=2))[0] == _PROTOCOL
    )


def check_action(action: str) -> None:
    """Raise ValueError for what is not IAM's name of an action."""
    if _ACTION.fullmatch(action) is None:
        raise ValueError(f"`{action}` is not an IAM action such as s3:PutObject")


def _read_action(word: str, line: str) -> str:
    if word in _CLASSES:
        hint = "name the actions, such as `s3:Get*`, or list `actions` under `credential`"
        raise ValueError(f"`{line}` names an effect class, which cannot become a session policy: {hint}")
    action = _STARS.sub(_ANY, word)
    if action != _ANY:
        check_action(action)
    return action


def _read_resource(word: str, line: str) -> str:
    if "?" in word or "$" in word:
        raise ValueError(f"`{line}`: IAM reads `?` and `$` in an ARN as patterns; write `*` there")
    return _STARS.sub(_ANY, word.replace("**/", _ANY))  # `a/**/b` is also `a/b`


def write_policy(pairs: _Pairs) -> str | None:
    """Return the policy that allows each action on its resource, in as few statements as that takes; None for none.

    Equal sets of pairs give equal texts.
    """
    if not pairs:
        return None
    by_resource: dict[str, set[str]] = {}
    for action, resource in pairs:
        by_resource.setdefault(resource, set()).add(action)
    by_actions: dict[tuple[str, ...], set[str]] = {}
    for resource, actions in by_resource.items():
        by_actions.setdefault(_fewest(actions), set()).add(resource)
    statements = [
        {"Effect": "Allow", "Action": list(actions), "Resource": _one_or_all(_fewest(resources))}
        for actions, resources in sorted(by_actions.items())
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _fewest(texts: Iterable[str]) -> tuple[str, ...]:
    found = set(texts)
    return (_ANY,) if _ANY in found else tuple(sorted(found))


def _one_or_all(resources: Sequence[str]) -> str | list[str]:
    return _ANY if list(resources) == [_ANY] else list(resources)
