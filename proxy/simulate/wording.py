"""What a model is asked about suggestions, and what is taken from its answer: an order, headings, sentences. Pure.

It never sees what it could change: patches, proofs and evidence are ours, and stay as they are. An answer that is not
as asked is left out, piece by piece.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.simulate.fencing import fence, tidy
from proxy.simulate.suggestion import Suggestion, say_who

MAX_SENTENCE: Final = 400
MAX_TITLE: Final = 80
_BLOCK: Final = re.compile(r"```(?:[a-z]*)\n(.*?)```", re.DOTALL)
_ASK: Final = """\
You help a person review suggestions for access rules of build jobs. For each, say in one plain sentence why it matters.
Group those that belong together, and put first what a reviewer should look at first.
Answer with one JSON object and nothing else:
{"order": [ids], "groups": [{"title": "...", "ids": [ids]}], "words": {"id": "sentence"}}
"""
_ASK_RULE: Final = """\
You draft one access rule for build jobs as a YAML mapping, smallest possible, and nothing else: no list, no prose.
Its fields: id (lower-case, hyphens), why, job (mapping of: organization, pipeline, repository, step, branch, tag,
environment), to (host), method, path, intent (lines `PROTOCOL ACTION RESOURCE`), tags. No credential.
What a person wants:
"""


@dataclass(frozen=True, slots=True)
class Wording:
    """How suggestions are shown: in which order, under which headings, with which sentences beside ours."""

    order: tuple[str, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


def ask_wording(suggestions: Iterable[Suggestion], mark: str) -> str:
    """Return what a model is asked. `mark` fences what jobs had a say in."""
    told = [
        {
            "id": each.id,
            "topic": each.topic.value,
            "confidence": each.confidence.value,
            "who": None if each.who is None else say_who(each.who),
            "said": each.said,
            "count": each.seen.count,
            "jobs": len(each.seen.jobs),
            "last": each.seen.last,
        }
        for each in suggestions
    ]
    return f"{_ASK}\n{fence(told, mark)}"


def ask_rule(sentence: str, failures: Sequence[str], mark: str) -> str:
    """Return what a model is asked, to draft a rule; `failures` say what was wrong with its last one."""
    wrong = f"\nYour last one was refused:\n{fence(list(failures), mark)}" if failures else ""
    return f"{_ASK_RULE}{sentence}{wrong}"


def read_wording(answer: str, suggestions: Sequence[Suggestion]) -> Wording:
    """Return what of a model's answer can be used: nothing is left out, and nothing comes in."""
    ids = [each.id for each in suggestions]
    found = _object(answer)
    order = [each for each in _list(found.get("order")) if each in ids]
    groups: list[tuple[str, tuple[str, ...]]] = []
    free = set(ids)
    for each in _list(found.get("groups")):
        if isinstance(each, dict) and isinstance(each.get("title"), str):
            members = tuple(dict.fromkeys(name for name in _list(each.get("ids")) if name in free))
            free -= set(members)
            if members:
                groups.append((_cut(each["title"], MAX_TITLE), members))
    words = found.get("words")
    said = words if isinstance(words, dict) else {}
    return Wording(
        order=tuple(dict.fromkeys((*map(str, order), *ids))),
        groups=tuple(groups),
        words={name: _cut(said[name], MAX_SENTENCE) for name in ids if isinstance(said.get(name), str)},
    )


def read_block(answer: str) -> str:
    """Return the code that a model's answer holds: of its first block, or all of it."""
    match = _BLOCK.search(answer)
    return (answer if match is None else match[1]).strip()


def _object(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(read_block(answer))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return [each for each in value if isinstance(each, str | dict)] if isinstance(value, list) else []


def _cut(text: str, most: int) -> str:
    return " ".join(str(tidy(text)).split())[:most]
