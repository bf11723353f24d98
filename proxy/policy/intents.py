"""`intent:` lines: `PROTOCOL ACTION RESOURCE`, or `PROTOCOL CLASS RESOURCE`, or the word `unknown`. Pure.

`*` never crosses a separator (`/ : # @`), `**` between separators crosses any. An allow rule must cover everything a
request does; a deny rule matches when any of it is meant, or might be.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from proxy.model.intent import EffectClass, Intent
from proxy.policy.patterns import Glob, PatternError, compile_glob

UNKNOWN: Final = "unknown"
PROTOCOLS: Final = (
    "ai",
    "aws",
    "azure",
    "cargo",
    "ci",
    "gcp",
    "gem",
    "git",
    "github",
    "gitlab",
    "go",
    "http",
    "k8s",
    "maven",
    "npm",
    "nuget",
    "oci",
    "pypi",
    "sigstore",
    "tf",
    "vault",
)
"""What is read. A rule with another word would never match: a deny rule that quietly denies nothing."""
CLASSES: Final = {effect.value: effect for effect in EffectClass if effect is not EffectClass.UNKNOWN}
_SEPARATOR: Final = re.compile(r"([:#@])")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentTest:
    """One line. `action` and `resource` of None mean any; `protocol` of `unknown` means what nobody could tell."""

    text: str
    protocol: str
    effect: EffectClass | None = None
    action: Glob | None = None
    resource: Glob | None = None

    def covers(self, part: Intent) -> bool:
        """Whether this line names exactly this: what an allow rule needs."""
        if self.protocol == UNKNOWN:
            return part.effect is EffectClass.UNKNOWN
        if self.protocol != part.protocol or not self._names_resource(part):
            return False
        if self.effect is not None:
            return part.effect is self.effect
        if part.effect is EffectClass.UNKNOWN:  # what it does is not known: a wildcard did not mean it
            return self.action is not None and self.action.is_exact and self._names_action(part)
        return self._names_action(part)

    def touches(self, part: Intent) -> bool:
        """Whether this line names this, or might: what a deny rule needs. What cannot be told counts as a match."""
        if self.protocol == UNKNOWN:
            return part.effect is EffectClass.UNKNOWN
        if self.protocol != part.protocol or not self._names_resource(part):
            return False
        if self.effect is not None:
            return part.effect in {self.effect, EffectClass.UNKNOWN}
        return self._names_action(part)

    def _names_action(self, part: Intent) -> bool:
        return self.action is None or self.action.matches(_cut(part.action))

    def _names_resource(self, part: Intent) -> bool:
        return self.resource is None or self.resource.matches(_cut(part.resource.id))


def read_intent(text: str, protocols: Collection[str] = PROTOCOLS) -> IntentTest:
    """Read one line. Raises PatternError with the spelling that would be right."""
    words = text.split(maxsplit=2)
    if words == [UNKNOWN]:
        return IntentTest(text=UNKNOWN, protocol=UNKNOWN)
    if len(words) != 3:
        raise PatternError(f"an intent is `PROTOCOL ACTION RESOURCE`, such as `npm install *`; `{text}` is not")
    protocol, action, resource = words
    if protocol not in protocols:
        raise PatternError(f"`{protocol}` is no protocol that is read; choose of {', '.join(protocols)}")
    effect = CLASSES.get(action)
    return IntentTest(
        text=" ".join(words),
        protocol=protocol,
        effect=effect,
        action=None if effect is not None else _pattern(action),
        resource=_pattern(resource),
    )


def _pattern(text: str) -> Glob | None:
    """Compile a pattern whose `*` stops at every separator; None for any."""
    return None if text in {"*", "**"} else compile_glob(_cut(text))


def _cut(text: str) -> str:
    """Make each separator other than `/` a segment of its own, so that no `*` is ever matched across one."""
    return _SEPARATOR.sub(r"/\1/", text)


def parts_of(intent: Intent) -> Iterator[Intent]:
    """Yield everything a request does."""
    yield intent
    for other in intent.also:
        yield from parts_of(other)


def is_unknown(intent: Intent) -> bool:
    """Whether some of what a request does could not be told."""
    if not intent.also:
        return intent.effect is EffectClass.UNKNOWN
    return any(part.effect is EffectClass.UNKNOWN for part in parts_of(intent))


def covers_all(tests: Iterable[IntentTest], intent: Intent) -> bool:
    """Whether an allow rule's lines cover everything that a request does."""
    return all(any(test.covers(part) for test in tests) for part in parts_of(intent))


def touches_any(tests: Iterable[IntentTest], intent: Intent) -> bool:
    """Whether a deny rule's lines name any of what a request does, or might."""
    return any(test.touches(part) for part in parts_of(intent) for test in tests)
