"""Whose token a connector shows to an issuer: one that the job handed over, for that issuer's audience and no other."""

from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.parts import ConnectorParts, ScopeModel
from proxy.model.errors import CredentialError
from proxy.model.grant import HeldToken, MintRequest
from proxy.model.reason import Reason


class SubjectModel(ScopeModel):
    """A scope that says whose token is shown to the issuer."""

    subject: Literal["job", "jobgate"] = Field(
        "job",
        description="Whose token is shown to the issuer: the job's own, or `jobgate`'s about the job, where the job's "
        "says too little. Needs the setting `issuer`.",
    )
    rule: SkipJsonSchema[str | None] = Field(
        None, description="The rule's own id. Put here when the rule is read, never written."
    )


async def take_token(request: MintRequest, audience: str, parts: ConnectorParts) -> HeldToken:
    """Return the job's token for `audience`, or jobgate's about the job where the rule wants that.

    Raises CredentialError when the session has none that still lives, or jobgate signs none. The job's is not verified
    here: the issuer it is shown to verifies it.
    """
    if request.rule is not None:
        if parts.issuer is None:
            raise CredentialError(
                "the rule wants jobgate's own token, and no `issuer` is set", Reason.CREDENTIAL_REFUSED
            )
        return await parts.issuer.mint(request, audience)
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
