"""Whose token a connector shows to an issuer: one that the job handed over, for that issuer's audience and no other."""

from proxy.connectors.parts import ConnectorParts
from proxy.model.errors import CredentialError
from proxy.model.grant import HeldToken, MintRequest
from proxy.model.reason import Reason


def take_token(request: MintRequest, audience: str, parts: ConnectorParts) -> HeldToken:
    """Return the job's token for `audience`. Raises CredentialError when the session has none that still lives.

    It is not verified here: the issuer it is shown to verifies it.
    """
    held = request.tokens.get(audience)
    if held is None:
        raise CredentialError(
            f"the session holds no token for the audience {audience}; hand one over when opening it",
            Reason.CREDENTIAL_REFUSED,
        )
    if held.expires_at <= parts.clock.now():
        raise CredentialError(
            f"the session's token for {audience} has expired; open a new session", Reason.CREDENTIAL_REFUSED
        )
    return held
