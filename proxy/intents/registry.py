"""The one list of decoders, in reading order. The first that answers wins; HTTP itself always answers, last.

A decoder is asked with the request and the protocols that the rules for this host name in `intent:`. It answers None
(not mine), an Intent, or a BodyWanted: it owns the request, and must see some of the body before it can say.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from typing import Final, Protocol, cast

from proxy.intents import fallback
from proxy.model.intent import BodyWanted, Intent, RequestView

type Spoken = frozenset[str]


class Decoder(Protocol):
    """A module of this package that reads one protocol."""

    def claims(self, host: str, spoken: Spoken, /) -> bool:
        """Whether a request to `host` may be this protocol's: False only where `decode` would answer None."""

    def decode(self, view: RequestView, spoken: Spoken, /) -> Intent | BodyWanted | None:
        """Read a request; None when it is none of this protocol's. Raises IntentError."""


DECODERS: Final = {
    "aws": "aws",
    "github": "github",
    "gitlab": "gitlab",
    "buildkite": "ci",
    "npm": "npm",
    "pypi": "pypi",
    "cargo": "cargo",
    "golang": "go",
    "maven": "maven",
    "rubygems": "gem",
    "nuget": "nuget",
    "oci": "oci",
    "kubernetes": "k8s",
    "vault": "vault",
    "terraform": "tf",
    "sigstore": "sigstore",
    "ai": "ai",
    "gcp": "gcp",
    "azure": "azure",
    "git": "git",
}
"""Modules of this package, each a `Decoder`, and the protocol word that rules use for it.
Those that know their hosts by name come before those that know a request by its shape.

Loaded for the first request: a sidecar that waits for its job need not hold them.
"""


_NONE: Final[Spoken] = frozenset()


@cache
def load_decoders() -> tuple[Decoder, ...]:
    """Return the decoders, in order."""
    return tuple(cast("Decoder", import_module(f"proxy.intents.{name}")) for name in DECODERS)


@lru_cache(maxsize=4096)
def _claimants(host: str, spoken: Spoken) -> tuple[Decoder, ...]:
    """Return the decoders that requests to a host may be for, in order: of most hosts one, git's."""
    return tuple(each for each in load_decoders() if each.claims(host, spoken))


def decode(view: RequestView, spoken: Spoken = _NONE, decoders: Sequence[Decoder] | None = None) -> Intent | BodyWanted:
    """Say what `view` means. Raises IntentError when a decoder owns the request but cannot read it."""
    # Where rules name several protocols for a host, whoever knows the host by name reads before any that was named.
    for words in (_NONE, spoken) if len(spoken) > 1 else (spoken,):
        for decoder in _claimants(view.authority.host, words) if decoders is None else decoders:
            answer = decoder.decode(view, words)
            if answer is not None:
                return answer
    return fallback.decode(view)
