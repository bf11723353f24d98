"""The one list of decoders, in reading order. The first that answers wins; HTTP itself always answers, last.

A decoder is asked with the request and the protocols that the rules for this host name in `intent:`. It answers None
(not mine), an Intent, or a BodyWanted: it owns the request, and must see some of the body before it can say.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Final

from proxy.intents import fallback
from proxy.model.intent import BodyWanted, Intent, RequestView

type Spoken = frozenset[str]
type Decoder = Callable[[RequestView, Spoken], Intent | BodyWanted | None]

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
"""Modules of this package, each with a `decode`, and the protocol word that rules use for it.
Those that know their hosts by name come before those that know a request by its shape.

Loaded for the first request: a sidecar that waits for its job need not hold them.
"""


_NONE: Final[Spoken] = frozenset()


@cache
def load_decoders() -> tuple[Decoder, ...]:
    """Return the decoders, in order."""
    return tuple(import_module(f"proxy.intents.{name}").decode for name in DECODERS)


def decode(
    view: RequestView, spoken: Spoken = frozenset(), decoders: tuple[Decoder, ...] | None = None
) -> Intent | BodyWanted:
    """Say what `view` means. Raises IntentError when a decoder owns the request but cannot read it."""
    known = load_decoders() if decoders is None else decoders
    # Where rules name several protocols for a host, whoever knows the host by name reads before any that was named.
    for words in (_NONE, spoken) if len(spoken) > 1 else (spoken,):
        for decoder in known:
            answer = decoder(view, words)
            if answer is not None:
                return answer
    return fallback.decode(view)
