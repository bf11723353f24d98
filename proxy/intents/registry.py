"""The one list of decoders, in reading order. The first that answers wins; the last always answers."""

from collections.abc import Callable

from proxy.intents import fallback
from proxy.model.intent import Intent, RequestView

type Decoder = Callable[[RequestView], Intent | None]

DECODERS: tuple[Decoder, ...] = ()
"""Protocol decoders. Empty until the first protocol is read: HTTP itself speaks for everything."""


def decode(view: RequestView, decoders: tuple[Decoder, ...] = DECODERS) -> Intent:
    """Say what `view` means. Raises IntentError when a decoder owns the request but cannot read it."""
    for decoder in decoders:
        intent = decoder(view)
        if intent is not None:
            return intent
    return fallback.decode(view)
