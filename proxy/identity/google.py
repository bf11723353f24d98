"""Google's identity tokens for service accounts and Compute Engine. Source: cloud.google.com, "Get an ID token".

They name an account, not a build: rules match `actor`, or the project of the machine (`organization`).
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.identity.claims import Claim, Fields, Profile, anything, boolean, text, text_or_integer
from proxy.model.errors import TokenError
from proxy.model.reason import Reason


def _settle_account(fields: Fields, claims: Mapping[str, Any]) -> Fields:
    # An address nobody confirmed is only what somebody typed.
    if "email" in claims and claims.get("email_verified") is not True:
        raise TokenError("the claim `email` is not verified", Reason.IDENTITY_CLAIMS)
    machine = claims.get("google")
    engine = machine.get("compute_engine") if isinstance(machine, dict) else None
    if not isinstance(engine, dict):
        return fields
    try:
        project, instance = text(engine.get("project_id")), text_or_integer(engine.get("instance_id"))
    except ValueError:
        raise TokenError("the claim `google` does not name project and instance", Reason.IDENTITY_CLAIMS) from None
    return {**fields, "organization": project, "agent_id": instance}


PROFILE: Final = Profile(
    provider="google",
    issuer="https://accounts.google.com",
    jwks_url="https://www.googleapis.com/oauth2/v3/certs",
    shared=frozenset({"https://accounts.google.com"}),
    anchors=("sub", "email", "hd"),
    required={"azp": Claim(read=text)},
    optional={
        "email": Claim(read=text, field="actor"),
        "email_verified": Claim(read=boolean),
        "hd": Claim(read=text),
        "google": Claim(read=anything),
    },
    finish=_settle_account,
)
