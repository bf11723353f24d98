"""Who is talking: a verified job, and the session it opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NewType

from proxy.model.grant import HeldToken
from proxy.model.placeholder import PUBLIC, Placeholders

UnverifiedToken = NewType("UnverifiedToken", str)
"""A bearer string nobody has checked yet. Never printed."""

VerifiedClaims = NewType("VerifiedClaims", Mapping[str, object])
"""Claims after signature, issuer, audience and time checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """One issuer this proxy believes, and how far.

    `bound` pins claims to values (`organization_slug: acme`): public CI issuers are shared by every customer, so an
    issuer without a bound claim is refused at start. Durations bound `exp - iat` and the token's age.
    """

    provider: str
    issuer: str
    audience: str
    bound: Mapping[str, str]
    algorithms: tuple[str, ...] = ("RS256",)
    jwks_url: str | None = None
    max_lifetime: timedelta = timedelta(hours=2)
    max_age: timedelta = timedelta(hours=2)
    leeway: timedelta = timedelta(seconds=30)
    mapping: Mapping[str, str] = field(default_factory=dict)
    """For `generic` alone: field of `JobContext` -> the claim that states it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """One public key of an issuer. `key` is what the signature library takes."""

    kid: str | None
    algorithm: str
    key: object = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The usable signing keys of one issuer. Empty means: nothing verifies."""

    issuer: str
    keys: tuple[VerificationKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The job's identity as its issuer states it."""

    provider: str
    issuer: str
    subject: str
    token_digest: str
    """SHA-256 of the token that proved it, in hex: joins records of one job without holding the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """Facts of this run under one set of names whatever the provider. None means the issuer does not say.

    `branch` is None for a pull request's merge ref and for tags: a fork must never look like `main`.
    """

    organization: str | None = None
    pipeline: str | None = None
    repository: str | None = None
    step: str | None = None
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    build_number: int | None = None
    build_id: str | None = None
    job_id: str | None = None
    agent_id: str | None = None
    source: str | None = None
    environment: str | None = None
    protected: bool | None = None
    queue: str | None = None
    cluster: str | None = None
    runner: str | None = None
    actor: str | None = None
    claims: Mapping[str, object] = field(default_factory=dict)
    """Every verified claim, for rules that need one without a common name."""
    events: Mapping[str, object] = field(default_factory=dict)
    """What the CI's events have said of this run so far: hints, for deny rules alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One job, from its first accepted token until it ends. Of the proxy password only a digest is kept."""

    id: str
    principal: Principal
    job: JobContext
    opened_at: datetime
    expires_at: datetime
    tokens: Mapping[str, HeldToken] = field(default_factory=dict)
    """The job's other tokens by audience (`sts.amazonaws.com`), for connectors."""
    declared: tuple[str, ...] | None = None
    """What the step said it would do, as `intent:` lines. It can only take away; None: nothing was said."""
    trace: str | None = None
    """The `traceparent` that whoever opened it handed over: a label, for telemetry."""
    placeholders: Placeholders = PUBLIC
    """What this job, and no other, sends in place of credentials."""
