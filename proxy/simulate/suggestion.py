"""What a suggestion is: evidence, how sure it is, the change to the rules, and the proof of what that would change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from proxy.simulate.history import HabitKey, Seen, Who

LISTS: Final = ("to", "method", "path", "intent")
"""The fields of a rule that a suggestion may change: lists of texts."""


class Topic(StrEnum):
    """What a suggestion is about."""

    MISSING = "missing-permission"
    UNDECLARED = "undeclared"
    LACKING = "credential-lacks"
    UNUSED_RULE = "unused-rule"
    UNUSED_ENTRY = "unused-entry"
    BROAD = "broad-grant"
    STATIC_SECRET = "static-secret"  # noqa: S105 - the name of a topic
    REPEATED = "repeated-download"
    RETRIES = "retry-storm"
    CHURN = "credential-churn"
    REGION = "cross-region"
    FIRST_SEEN = "first-seen"
    VOLUME = "unusual-volume"


class Confidence(StrEnum):
    """How sure it is that following it is right."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """0 to 2, to compare."""
        return list(Confidence).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRule:
    """A new rule, in the plain values of a rule file."""

    rule: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The rule's name."""
        return str(self.rule["id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SetList:
    """Other entries for one list of a rule that there is."""

    id: str
    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRule:
    """A rule less."""

    id: str


type Patch = AddRule | SetList | RemoveRule


@dataclass(slots=True, kw_only=True)
class Proof:
    """What replay says the change does, over the whole trail, against the rules of now: flows by what they did."""

    allows: dict[str, int] = field(default_factory=dict)
    denies: dict[str, int] = field(default_factory=dict)
    others: int = 0
    """Flows that would get another credential, be asked, or of which it cannot be told."""
    strays: int = 0
    """Of those allowed: flows that the suggestion is not about."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all would change."""
        return not self.allows and not self.denies and not self.others


@dataclass(slots=True, kw_only=True)
class Suggestion:
    """One suggestion. `said` is a sentence for a person; `about` are the habits whose flows it may change."""

    topic: Topic
    who: Who | None
    what: str
    said: str
    seen: Seen
    confidence: Confidence
    patch: Patch | None = None
    about: frozenset[HabitKey] = frozenset()
    proof: Proof | None = None
    hosts: frozenset[str] = frozenset()
    """Where a change that adds may matter."""

    @property
    def id(self) -> str:
        """The same for the same finding, whatever the trail: 8 hex digits."""
        who = "|".join(part or "" for part in self.who or ())
        return sha256(f"{self.topic}|{who}|{self.what}".encode()).hexdigest()[:8]


def say_who(who: Who) -> str:
    """Name a step for a person."""
    name = who.pipeline or who.repository or "a job that states nothing"
    return f"{name}, step {who.step}" if who.step else name
