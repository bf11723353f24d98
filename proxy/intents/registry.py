"""The one list of decoders, in reading order. The first that answers wins; HTTP itself always answers, last.

A decoder is asked with the request and the protocols that the rules for this host name in `intent:`. It answers None
(not mine), an Intent, or a BodyWanted: it owns the request, and must see some of the body before it can say.
"""

from collections.abc import Callable

from proxy.intents import fallback
from proxy.model.intent import BodyWanted, Intent, RequestView

type Spoken = frozenset[str]
type Decoder = Callable[[RequestView, Spoken], Intent | BodyWanted | None]

DECODERS: tuple[Decoder, ...] = ()
"""Protocol decoders. Empty until the first protocol is read: HTTP itself speaks for everything."""


def decode(
    view: RequestView, spoken: Spoken = frozenset(), decoders: tuple[Decoder, ...] = DECODERS
) -> Intent | BodyWanted:
    """Say what `view` means. Raises IntentError when a decoder owns the request but cannot read it."""
    for decoder in decoders:
        answer = decoder(view, spoken)
        if answer is not None:
            return answer
    return fallback.decode(view)
