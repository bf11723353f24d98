"""What a claim must look like, and how one provider's claims become a JobContext: tables first, code last. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.model.errors import TokenError
from proxy.model.reason import Reason

MAX_TEXT: Final = 1024
"""Characters of one claim: ten times the longest branch name anybody uses."""

type Value = str | int | bool | None
type Reader = Callable[[Any], Value]
"""Returns the value as JobContext holds it, None for "not stated". Raises ValueError for the wrong JSON type."""
type Fields = dict[str, Value]


def text(value: Any) -> str | None:
    """Read a text; an empty one is not stated. Control characters are refused: no name has them, log forgeries do."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("a text of at most 1024 characters")
    if any(letter < " " or letter == "\x7f" for letter in value):
        raise ValueError("a text without control characters")
    return value or None


def integer(value: Any) -> int:
    """Read a whole number of zero or more; `true` is not one."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a whole number")
    return value


def digits(value: Any) -> int:
    """Read a whole number, also where the issuer writes numbers as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return integer(value)


def text_or_integer(value: Any) -> str | None:
    """Read an id that some versions of an issuer write as text and others as a number."""
    return str(integer(value)) if isinstance(value, int) else text(value)


def boolean(value: Any) -> bool:
    """Read `true` or `false`."""
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - readers raise ValueError, whatever is wrong
    return value


def boolean_text(value: Any) -> bool:
    """Read a boolean, also as the texts "true" and "false", exactly so."""
    if value in ("true", "false"):
        return bool(value == "true")
    return boolean(value)


def anything(value: Any) -> None:
    """Accept whatever it is: a claim that is known and not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """How one claim is read and which field of JobContext it fills; no field means: checked, then only in `claims`."""

    read: Reader
    field: str | None = None
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One provider's tokens, as tables. A claim in none of them is drift: reported, not refused.

    `anchors` are the claims of which one must be bound, because the issuer signs for all its customers.
    `finish` settles what one claim alone cannot say: what is a branch, what a fork's merge ref.
    """

    provider: str
    required: Mapping[str, Claim]
    optional: Mapping[str, Claim]
    ignored: frozenset[str] = frozenset()
    ignored_prefixes: tuple[str, ...] = ()
    issuer: str | None = None
    jwks_url: str | None = None
    """Where the keys of the public issuer are, for an issuer that keeps them at another host."""
    algorithms: tuple[str, ...] = ("RS256",)
    shared: frozenset[str] = frozenset()
    anchors: tuple[str, ...] = ()
    finish: Callable[[Fields, Mapping[str, Any]], Fields] = field(default=lambda fields, claims: fields)  # noqa: ARG005

    def knows(self, name: str) -> bool:
        """Return whether a claim stands in one of the tables."""
        return (
            name in REGISTERED
            or name in self.required
            or name in self.optional
            or name in self.ignored
            or name.startswith(self.ignored_prefixes)
        )


REGISTERED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
"""Checked by `tokens.verify` for every provider (RFC 7519 4.1)."""


def read_fields(profile: Profile, claims: Mapping[str, Any]) -> Fields:
    """Read every claim of the profile's tables. Raises TokenError (`identity-claims`) naming the claim at fault."""
    fields: Fields = {}
    for name, claim in profile.required.items():
        if name not in claims:
            raise TokenError(f"the claim `{name}` is missing", Reason.IDENTITY_CLAIMS)
        value = read_claim(name, claim, claims[name])
        if value is None and not claim.nullable:
            raise TokenError(f"the claim `{name}` is empty", Reason.IDENTITY_CLAIMS)
        if claim.field is not None:
            fields[claim.field] = value
    for name, claim in profile.optional.items():
        value = read_claim(name, claim, claims.get(name))
        if claim.field is not None:
            fields[claim.field] = value
    return profile.finish(fields, claims)


def read_claim(name: str, claim: Claim, value: Any) -> Value:
    """Read one claim, None when absent or null. Raises TokenError (`identity-claims`) naming it."""
    if value is None:
        return None
    try:
        return claim.read(value)
    except ValueError as error:
        raise TokenError(f"the claim `{name}` is not {error}", Reason.IDENTITY_CLAIMS) from None
