"""Vault and OpenBao: a login with the job's own token, for requests to Vault itself or for one secret kept there.

Without `secret` the client token goes on the job's requests to that Vault and nowhere else. With `secret` jobgate
reads the one field and puts it on requests to the rule's hosts; the job never sees Vault. Whatever Vault can take
back is taken back at the session's end. Source: Vault's HTTP API, "JWT/OIDC auth method".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.fields import FieldModel, place
from proxy.connectors.parts import ConnectorParts, fingerprint, recordable
from proxy.connectors.subjects import SubjectModel, take_token
from proxy.connectors.vault_calls import Engine, Found, Login, VaultServer, Wanted, check_policies
from proxy.connectors.vault_rules import check_request, outside
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView

_SEGMENTS: Final = r"[A-Za-z0-9_@+=,-][A-Za-z0-9_.@+=,-]*(/[A-Za-z0-9_@+=,-][A-Za-z0-9_.@+=,-]*)*"
_OWN: Final = frozenset({"auth", "sys", "cubbyhole"})
_BATCH: Final = "batch"
_FIELD: Final = r"^[A-Za-z0-9_.-]{1,128}$"
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@/-]{1,128}$")]


class VaultSecret(FieldModel):
    """Which secret is read, and which field of a request it is put into."""

    engine: Engine = Field(description="`kv1`, `kv2`, or `dynamic` for engines that make what they give.")
    path: str = Field(
        pattern=f"^{_SEGMENTS}$",
        max_length=512,
        description="The path as a policy names it, with `data/` for `kv2`.",
        examples=["ci/data/registry", "database/creds/reporting"],
    )
    field: str = Field(pattern=_FIELD, description="The field that is the secret.", examples=["password"])
    username_field: str | None = Field(
        None, pattern=_FIELD, description="For `basic`: the field that is the username.", examples=["username"]
    )
    version: int | None = Field(None, gt=0, description="For `kv2`: the version. Default: the newest.")
    parameters: Mapping[_Name, Annotated[str, StringConstraints(max_length=1024)]] = Field(
        default_factory=dict, description="For `dynamic`: sent with a POST.", examples=[{"ttl": "15m"}]
    )

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        given = [each for each in (self.username, self.username_field) if each is not None]
        if len(given) != (1 if self.scheme == "basic" else 0):
            raise ValueError("`scheme: basic` needs one of `username` and `username_field`; nothing else takes either")
        if self.version is not None and self.engine != "kv2":
            raise ValueError("`version` goes with `engine: kv2`")
        if self.parameters and self.engine != "dynamic":
            raise ValueError("`parameters` go with `engine: dynamic`")
        words = self.path.split("/")
        if self.engine == "kv2" and "data" not in words[1:-1]:
            raise ValueError("a path of `kv2` is MOUNT/data/NAME")
        if words[0] in _OWN:
            raise ValueError(f"`{words[0]}/` holds no secrets to put on requests")
        return self


class VaultScope(SubjectModel):
    """Which Vault, who the job is there, and what is taken from it."""

    address: str = Field(
        pattern=r"^https://[^\s/?#@]+$",
        description="The Vault's URL, without a path.",
        examples=["https://vault.example.com:8200"],
    )
    namespace: str = Field(
        "",
        pattern=f"^({_SEGMENTS})?$",
        max_length=255,
        description="The namespace of login and requests. Default: the root namespace.",
        examples=["platform/ci"],
    )
    mount: str = Field(
        "jwt", pattern=f"^{_SEGMENTS}$", max_length=255, description="Where the JWT auth method is mounted."
    )
    role: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$",
        description="The role of that auth method to log in as.",
        examples=["storefront-release"],
    )
    audience: str = Field(
        description="Audience of the job's token that is shown to Vault; the role's `bound_audiences` hold it.",
        examples=["https://vault.example.com:8200"],
    )
    policies: tuple[_Name, ...] = Field(
        (),
        strict=False,
        description="The most that the role's tokens may hold, beside `default`. Default: anything but `root`.",
        examples=[["storefront-release"]],
    )
    secret: VaultSecret | None = Field(
        None, description="The one secret to put on requests to other hosts. Default: the token, on requests to Vault."
    )
    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        try:
            authority_of(self)
        except ProtocolError as error:
            raise ValueError(f"`address`: {error}") from None
        if self.namespace == "root":
            raise ValueError("`namespace`: leave it out for the root namespace")
        return self


def authority_of(scope: VaultScope) -> Authority:
    """Return the Vault's host and port. Raises ProtocolError."""
    return parse_authority(scope.address.removeprefix("https://"), 443)


class VaultConnector:
    """Logs in, reads, puts what it got on requests, and takes it back."""

    name: ClassVar[str] = "vault"
    Scope: ClassVar[type[VaultScope]] = VaultScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: VaultScope) -> Plan:
        """Return the plain plan. Raises CredentialError for a request that the token or the secret is not for."""
        address = authority_of(scope)
        if scope.secret is None:
            check_request(view, intent, address, scope.namespace, scope.intents)
        elif view.scheme != "https" or view.authority == address:
            raise outside("the secret goes over TLS, and not to the Vault that it comes from")
        return PLAIN

    async def mint(self, request: MintRequest, scope: VaultScope) -> Credential:
        """Log in, and read the secret where one is wanted. Raises CredentialError; no token is left behind."""
        held = await take_token(request, scope.audience, self._parts)
        server = self._server(scope)
        now = self._parts.clock.now()
        login = await server.log_in(scope.mount, scope.role, held.token, now)
        try:
            check_policies(login.policies, scope.policies)
            if scope.secret is None:
                return self._token(login, request, scope, now)
            found = await server.read(login.token, _wanted(scope.secret), now)
        except CredentialError:
            await server.give_back(login.token)
            raise
        # What has no lease does not need the token any more.
        is_kept = found.lease is not None or not (login.is_batch or await server.give_back(login.token))
        return self._secret(found, login if is_kept else None, request, scope, now)

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: VaultScope,
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the token for Vault, or the field that carries the secret."""
        if scope.secret is not None:
            username = credential.secrets.get("username")
            name = scope.secret.username if username is None else username.reveal()
            return place(scope.secret, name, credential.secrets["value"])
        token = credential.secrets["token"]
        put: list[tuple[str, str | Secret]] = [("x-vault-token", token)]
        if scope.namespace:
            put.append(("x-vault-namespace", scope.namespace))
        return Edits(
            remove=frozenset({"authorization", "x-vault-token", "x-vault-namespace"}), put=tuple(put), watch=(token,)
        )

    async def revoke(self, credential: Credential, scope: VaultScope) -> bool:
        """Make token and lease void; False for what Vault cannot take back. Raises CredentialError."""
        server = self._server(scope)
        token, lease = credential.secrets.get("token"), credential.secrets.get("lease")
        if token is None:
            return False
        if credential.facts["token_type"] == _BATCH:
            if lease is None:
                return False
            await server.revoke_lease(token, lease)
            return True
        await server.revoke_token(token)
        return lease is not None or scope.secret is None

    def _server(self, scope: VaultScope) -> VaultServer:
        return VaultServer(caller=self._parts.caller, address=scope.address, namespace=scope.namespace)

    def _token(self, login: Login, request: MintRequest, scope: VaultScope, now: datetime) -> Credential:
        return Credential(
            connector=self.name,
            secrets={"token": login.token},
            facts=_facts(scope, {"token_type": _kind(login)}),
            fingerprint=fingerprint(login.token.reveal()),
            expires_at=min(login.expires_at, now + request.grant.lifetime),
            ends_at=login.expires_at,
        )

    def _secret(
        self, found: Found, login: Login | None, request: MintRequest, scope: VaultScope, now: datetime
    ) -> Credential:
        """Return the secret as a credential; its lease ends with the token that made it."""
        assert scope.secret is not None  # noqa: S101 - only then is a secret read
        secrets = {
            "value": found.value,
            "username": None if found.username is None else Secret(found.username),
            "token": None if login is None else login.token,
            "lease": found.lease,
        }
        ends = [found.ends_at, None if login is None or found.lease is None else login.expires_at]
        ends_at = min((end for end in ends if end is not None), default=None)
        used_until = now + request.grant.lifetime
        return Credential(
            connector=self.name,
            secrets={name: secret for name, secret in secrets.items() if secret is not None},
            facts=_facts(
                scope, {"path": scope.secret.path, "field": scope.secret.field, "token_type": login and _kind(login)}
            ),
            fingerprint=fingerprint(found.value.reveal()),
            expires_at=used_until if ends_at is None else min(ends_at, used_until),
            ends_at=ends_at,
        )


def _kind(login: Login) -> str:
    return _BATCH if login.is_batch else "service"


def _facts(scope: VaultScope, more: Mapping[str, object]) -> dict[str, str]:
    where = {"address": scope.address, "namespace": scope.namespace or None, "role": scope.role}
    return recordable({**where, **more})


def _wanted(secret: VaultSecret) -> Wanted:
    return Wanted(
        engine=secret.engine,
        path=secret.path,
        field=secret.field,
        username_field=secret.username_field,
        version=secret.version,
        parameters=secret.parameters,
    )
