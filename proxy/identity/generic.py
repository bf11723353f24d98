"""Any other issuer: the operator says which claim fills which field (Okta, Keycloak, Auth0, one's own)."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from proxy.identity.claims import Claim, Fields, Profile, Reader, boolean_text, digits, read_claim, text_or_integer
from proxy.model.identity import JobContext

FIELDS: Final = frozenset(field.name for field in fields(JobContext)) - {"claims", "events"}
"""What a mapping may fill."""

_READERS: Final[Mapping[str, Reader]] = {"build_number": digits, "protected": boolean_text}

PROFILE: Final = Profile(provider="generic", required={}, optional={}, ignored_prefixes=("",))
"""Empty tables: every claim is the operator's business, so none is drift."""


def build_profile(mapping: Mapping[str, str]) -> Profile:
    """Return the profile of one operator's mapping, field -> claim. An absent claim leaves its field unstated."""

    def fill(found: Fields, claims: Mapping[str, Any]) -> Fields:
        for name, claim in mapping.items():
            read = Claim(read=_READERS.get(name, text_or_integer))
            found[name] = read_claim(claim, read, claims.get(claim))
        return found

    return replace(PROFILE, finish=fill)
