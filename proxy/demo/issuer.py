"""A Buildkite-shaped OIDC issuer: discovery, JWKS and the agent API call that mints tokens, claims as documented.

Source: buildkite/docs pages/agent/cli/reference/oidc.md; buildkite/agent api/oidc.go. Reached under its real name,
`https://agent.buildkite.com`, through the sidecar's `connect_to`.
"""

import json
import re
import ssl
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.demo.web import Exchange, Site

HOST: Final = "agent.buildkite.com"
ISSUER: Final = f"https://{HOST}"
DEFAULT_LIFETIME: Final = 300
MAX_LIFETIME: Final = 7200
_OPTIONAL: Final = ("organization_id", "pipeline_id", "build_id", "cluster_id", "cluster_name", "queue_id", "queue_key")
_SUBJECTS: Final = ("organization_id", "pipeline_id", "cluster_id", "queue_id", "build_id", "job_id", "agent_id")
_CALL: Final = re.compile(r"/v3/jobs/([0-9a-f-]{36})/oidc/tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """One job the issuer knows, and the access token its agent presents."""

    organization_slug: str = "acme"
    pipeline_slug: str = "storefront"
    build_number: int = 1284
    build_branch: str = "main"
    build_tag: str | None = None
    build_commit: str = "9f2c1d7e5ab04c3f8a6be21d90c4f7735e8b1a02"
    build_source: str = "webhook"
    step_key: str | None = "release"
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    agent_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    agent_token: str = field(default_factory=lambda: f"demo-agent-{uuid.uuid4().hex}", repr=False)
    runner_environment: str = "self-hosted"
    optional: Mapping[str, str] = field(default_factory=dict)

    def claims(self) -> dict[str, Any]:
        """Return the claims that every token of this job carries, before times and audience."""
        ref = f"refs/tags/{self.build_tag}" if self.build_tag else f"refs/heads/{self.build_branch}"
        stated: dict[str, Any] = {
            "sub": f"organization:{self.organization_slug}:pipeline:{self.pipeline_slug}:ref:{ref}"
            f":commit:{self.build_commit}:step:{self.step_key or ''}",
            "organization_slug": self.organization_slug,
            "pipeline_slug": self.pipeline_slug,
            "build_number": self.build_number,
            "build_branch": self.build_branch,
            "build_commit": self.build_commit,
            "step_key": self.step_key,
            "job_id": self.job_id,
            "agent_id": self.agent_id,
            "runner_environment": self.runner_environment,
            "build_source": self.build_source,
        }
        return stated | ({"build_tag": self.build_tag} if self.build_tag else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWish:
    """The body of the agent API call, as `buildkite-agent oidc request-token` sends it."""

    audience: str = ""
    lifetime: int = 0
    claims: tuple[str, ...] = ()
    aws_session_tags: tuple[str, ...] = ()
    subject_claim: str = ""


class WishError(ValueError):
    """The call asks for something the real service refuses; answered 422."""


class Issuer:
    """A running issuer. `add_job` makes a job known; `mint` signs as the agent API does."""

    def __init__(self, tls: ssl.SSLContext, url: str = ISSUER) -> None:
        self.url = url
        self.site = Site(_IssuerExchange, tls)
        self.site.issuer = self  # type: ignore[attr-defined] # the exchange finds its issuer here
        self._jobs: dict[str, BuildJob] = {}
        self._keys: list[tuple[str, rsa.RSAPrivateKey]] = []
        self.rotate()

    def add_job(self, **facts: Any) -> BuildJob:
        """Register a job made of `facts`; the rest are defaults."""
        return self.adopt_job(BuildJob(**facts))

    def adopt_job(self, job: BuildJob) -> BuildJob:
        """Register a job made elsewhere."""
        self._jobs[job.job_id] = job
        return job

    def find_job(self, job_id: str) -> BuildJob | None:
        """Return the job of that id, None when there is none."""
        return self._jobs.get(job_id)

    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on; the old one stays published unless told otherwise."""
        made = (uuid.uuid4().hex, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        self._keys = [made, *(self._keys[:1] if keep_old else [])]

    def mint(self, job: BuildJob, wish: TokenWish | None = None, **changes: Any) -> str:
        """Sign a token for `job`. `changes` replace claims; `...` removes one. Raises WishError."""
        claims = token_claims(job, wish or TokenWish(), self.url, int(time.time())) | changes
        kid, key = self._keys[0]
        stated = {name: value for name, value in claims.items() if value is not ...}
        return jwt.encode(stated, key, algorithm="RS256", headers={"kid": kid})

    def discovery(self) -> dict[str, object]:
        """Return the discovery document."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/.well-known/jwks",
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "scopes_supported": ["openid"],
        }

    def jwks(self) -> dict[str, object]:
        """Return the published keys."""
        return {"keys": [_jwk(kid, key) for kid, key in self._keys]}

    def start(self) -> None:
        """Serve."""
        self.site.start()

    def stop(self) -> None:
        """Stop serving."""
        self.site.stop()


def token_claims(job: BuildJob, wish: TokenWish, issuer: str, now: int) -> dict[str, Any]:
    """Return all claims of one token, in seconds since the epoch. There is no `jti`: the service states none."""
    lifetime = wish.lifetime or DEFAULT_LIFETIME
    if not 0 < lifetime <= MAX_LIFETIME:
        raise WishError(f"lifetime must be between 1 and {MAX_LIFETIME} seconds")
    claims = job.claims() | {
        "iss": issuer,
        "aud": wish.audience or f"https://buildkite.com/{job.organization_slug}",
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
    }
    for name in (*wish.claims, wish.subject_claim):
        if name and name not in claims:
            if name not in _OPTIONAL or name not in job.optional:
                raise WishError(f"claim {name} is not one that can be requested")
            claims[name] = job.optional[name]
    if wish.subject_claim:
        if wish.subject_claim not in _SUBJECTS:
            raise WishError(f"subject_claim {wish.subject_claim} is not supported")
        claims["sub"] = claims[wish.subject_claim]
    if wish.aws_session_tags:
        tags = {name: ["" if (value := claims.get(name)) is None else str(value)] for name in wish.aws_session_tags}
        claims["https://aws.amazon.com/tags"] = {"principal_tags": tags}
    return claims


def _jwk(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    stated.pop("key_ops", None)
    return stated | {"kid": kid, "alg": "RS256", "use": "sig"}


def _read_wish(body: bytes) -> TokenWish:
    raw = json.loads(body or b"{}")
    if not isinstance(raw, dict):
        raise WishError("the body is not an object")
    lists = {name: tuple(raw.get(name) or ()) for name in ("claims", "aws_session_tags")}
    return TokenWish(
        audience=str(raw.get("audience") or ""),
        lifetime=int(raw.get("lifetime") or 0),
        subject_claim=str(raw.get("subject_claim") or ""),
        **lists,
    )


class _IssuerExchange(Exchange):
    """What the issuer answers."""

    def answer(self) -> None:
        body = self.read_body()
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined] # set by Issuer
        call = _CALL.fullmatch(self.path)
        if call is not None and self.command == "POST":
            self._mint(issuer, issuer.find_job(call[1]), body)
        elif self.path == "/.well-known/openid-configuration":
            self.reply_json(200, issuer.discovery())
        elif self.path == "/.well-known/jwks":
            self.reply_json(200, issuer.jwks())
        else:
            self.reply_json(404, {"message": "Not Found"})

    def _mint(self, issuer: Issuer, job: BuildJob | None, body: bytes) -> None:
        if job is None or self.headers.get("authorization") != f"Token {job.agent_token}":
            self.reply_json(401, {"message": "Authentication required. Please supply a valid agent token."})
            return
        try:
            self.reply_json(200, {"token": issuer.mint(job, _read_wish(body))})
        except (WishError, ValueError, TypeError) as error:
            self.reply_json(422, {"message": str(error)})
