"""A secret in a header field: which field it may be, how it is written there, and what of it must not come back."""

from base64 import b64encode
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from proxy.connectors.parts import ScopeModel
from proxy.model.grant import Edits, Secret

# Fields that frame the message or steer a hop: a secret in one of them would change what is sent, not who sends it.
_NEVER: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade", "via"}
)


class FieldModel(ScopeModel):
    """Which field carries a secret, and how."""

    name: str = Field(
        "authorization",
        pattern=r"^[A-Za-z][A-Za-z0-9-]*$",
        max_length=64,
        description="The header field. Default: authorization.",
        examples=["x-api-key"],
    )
    scheme: Literal["bearer", "basic", "raw"] = Field(
        "bearer", description="`bearer`: Bearer SECRET. `basic`: USERNAME and SECRET. `raw`: the secret alone."
    )
    username: str | None = Field(
        None, max_length=255, pattern=r"^[!-9;-~]+$", description="For `basic`.", examples=["x-access-token"]
    )

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if self.name.lower() in _NEVER or self.name.lower().startswith("proxy-"):
            raise ValueError(f"`{self.name}` frames the message and cannot carry a secret")
        return self


def place(field: FieldModel, username: str | None, secret: Secret) -> Edits:
    """Return the edits that put `secret` into the field; `username` is for `basic`."""
    value, spelled = _compose(field, username, secret)
    return Edits(remove=frozenset({field.name.lower()}), put=((field.name.lower(), value),), watch=spelled)


def _compose(field: FieldModel, username: str | None, secret: Secret) -> tuple[Secret, tuple[Secret, ...]]:
    """Return the field's value, and every text that must not come back."""
    if field.scheme == "raw":
        return secret, (secret,)
    if field.scheme == "bearer":
        return Secret(f"Bearer {secret.reveal()}"), (secret,)
    pair = b64encode(f"{username}:{secret.reveal()}".encode()).decode()
    return Secret(f"Basic {pair}"), (secret, Secret(pair))
