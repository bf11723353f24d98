"""The honest last resort: HTTP's own semantics (RFC 9110 9.2, 9.3) and nothing guessed from the path."""

from proxy.model.intent import EffectClass, Intent, RequestView, Resource

_EFFECTS = {
    "GET": EffectClass.READ,
    "HEAD": EffectClass.READ,
    "OPTIONS": EffectClass.READ,
    "DELETE": EffectClass.DELETE,
    "PATCH": EffectClass.WRITE,
    "POST": EffectClass.WRITE,
    "PUT": EffectClass.WRITE,
}


def decode(view: RequestView) -> Intent:
    """Read any request as an HTTP method on a URL; an unlisted method's effect is unknown."""
    return Intent(
        protocol="http",
        action=view.method,
        resource=Resource(type="url", id=f"{view.scheme}://{view.authority}{view.path}"),
        effect=_EFFECTS.get(view.method, EffectClass.UNKNOWN),
        exact=False,
    )
