"""A cluster's API server over TLS that knows who asks: service account tokens, EKS tokens, and RBAC between them.

TokenRequest is as strict as documented: ten minutes at least, the account and the bound object must be there; a bound
token is void once its Secret is gone. An EKS token is read as aws-iam-authenticator reads it and STS says whose it is.
Sources: Kubernetes API, `TokenRequest`; "Managing Service Accounts"; kubernetes-sigs/aws-iam-authenticator.
"""

import base64
import json
import re
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import jwt

from proxy.demo.web import Site
from tests.fakes.aws_verifier import RefusedError, Wire
from tests.fakes.kubernetes import ApiExchange, ApiServer
from tests.fakes.sts import StrictSts

ISSUER: Final = "https://kubernetes.default.svc"
_TOKEN_PATH: Final = re.compile(r"/api/v1/namespaces/([^/]+)/serviceaccounts/([^/]+)/token")
_SECRET_PATH: Final = re.compile(r"/api/v1/namespaces/([^/]+)/secrets(?:/([^/]+))?")
_PARAMETERS: Final = {
    "action", "version", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-security-token",
    "x-amz-signature", "x-amz-signedheaders",
}  # fmt: skip
_LONGEST: Final = 16 * 1024


class NobodyError(Exception):
    """The bearer is nobody: 401."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """An answer in place of the right one, for the next request whose path ends so."""

    path: str
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One request that was not about tokens or their bindings."""

    method: str
    path: str
    token: str
    user: str | None
    status: int


class Cluster(ApiServer):
    """A running cluster. `may` holds who may do what: user, verb, resource, namespace."""

    def __init__(self, tls: ssl.SSLContext, key: Any, name: str = "storefront") -> None:
        super().__init__(tls)
        self.site.server_close()
        self.site = Site(_ClusterExchange, tls)
        self.site.cluster = self  # type: ignore[attr-defined]
        self.key, self.name = key, name
        self.accounts: set[tuple[str, str]] = set()
        self.may: set[tuple[str, str, str, str]] = set()
        self.entries: dict[str, str] = {}
        """Users by the ARN of a role, as EKS's access entries have them."""
        self.sts: StrictSts | None = None
        self.secrets: dict[str, str] = {}
        """Names of Secrets and their uids."""
        self.tokens: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.uses: list[Use] = []
        self.instead: list[Instead] = []
        self.changes: Callable[[dict[str, Any]], dict[str, Any]] = dict
        """What it does to the claims of a token before it signs them: a lie, where a test wants one."""
        self.delay = 0.0
        self.echoes = False

    def sign(self, claims: Mapping[str, Any]) -> str:
        return str(jwt.encode(dict(claims), self.key, algorithm="RS256", headers={"kid": "k"}))

    def token_for(self, namespace: str, name: str, seconds: int, **more: Any) -> str:
        """A token of an account, for the API server itself unless `aud` says otherwise."""
        now = int(time.time())
        subject = f"system:serviceaccount:{namespace}:{name}"
        basic: dict[str, Any] = {
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": subject,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
        }
        basic["jti"] = str(uuid.uuid4())
        return self.sign(self.changes(basic | more))

    def identify(self, authorization: str) -> str:
        """Return the user that a bearer token is for. Raises NobodyError."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            raise NobodyError
        if token.startswith("k8s-aws-v1."):
            return self._identify_role(token)
        try:
            claims = jwt.decode(token, self.key.public_key(), algorithms=["RS256"], audience=ISSUER, issuer=ISSUER)
        except jwt.PyJWTError:
            raise NobodyError from None
        bound = claims.get("kubernetes.io", {}).get("secret")
        if bound is not None and self.secrets.get(bound["name"]) != bound["uid"]:
            raise NobodyError
        return str(claims["sub"])

    def _identify_role(self, token: str) -> str:
        """Read an EKS token as aws-iam-authenticator's verifier does, and ask STS whose it is."""
        text = token.removeprefix("k8s-aws-v1.")
        if len(token) > _LONGEST or "=" in text or self.sts is None:
            raise NobodyError
        url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        pairs = parse_qsl(url.query, strict_parsing=True)
        found = {name.lower(): value for name, value in pairs}
        is_sts = re.fullmatch(r"sts\.[a-z0-9-]+\.amazonaws\.com", url.netloc) is not None
        if url.scheme != "https" or not is_sts or url.path != "/" or not found.keys() <= _PARAMETERS:
            raise NobodyError
        if len(found) != len(pairs) or found["action"] != "GetCallerIdentity" or int(found["x-amz-expires"]) > 900:
            raise NobodyError
        if "x-k8s-aws-id" not in found["x-amz-signedheaders"].split(";"):
            raise NobodyError
        headers = ((b"host", url.netloc.encode()), (b"x-k8s-aws-id", self.name.encode()))
        try:
            arn = self.sts.identify(Wire(b"GET", f"/?{url.query}".encode(), headers), url.netloc)
        except RefusedError:
            raise NobodyError from None
        match = re.fullmatch(r"arn:aws:sts::([0-9]{12}):assumed-role/([^/]+)/.+", arn)
        user = self.entries.get(f"arn:aws:iam::{match[1]}:role/{match[2]}" if match else "")
        if user is None:
            raise NobodyError
        return user


class _ClusterExchange(ApiExchange):
    def answer(self) -> None:
        cluster: Cluster = self.server.cluster  # type: ignore[attr-defined]
        time.sleep(cluster.delay)
        self._cluster = cluster
        path = self.path.partition("?")[0]
        planned = next((each for each in cluster.instead if path.endswith(each.path)), None)
        if planned is not None:
            cluster.instead.remove(planned)
            self.read_body()
            self.reply(planned.status, planned.body, planned.headers)
            return
        try:
            user: str | None = cluster.identify(self.headers.get("authorization", ""))
        except (NobodyError, ValueError, KeyError):
            user = None
        for pattern, answer in ((_TOKEN_PATH, self._make_token), (_SECRET_PATH, self._change_secret)):
            match = pattern.fullmatch(path)
            if match is not None and self.command != "GET":
                answer(user, *match.groups())
                return
        self._answer_other(user, path)

    def _answer_other(self, user: str | None, path: str) -> None:
        words = path.split("/")
        verb, namespace = ("list" if self.command == "GET" else "change"), words[4] if len(words) > 4 else ""
        is_allowed = len(words) < 5 or (user, verb, words[-1], namespace) in self._cluster.may
        status = 401 if user is None else 200 if is_allowed else 403
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if not path.startswith("/openapi") and len(words) > 4:
            use = Use(method=self.command, path=path, token=token, user=user, status=status)
            self._cluster.uses.append(use)
        if status == 200 and self._cluster.echoes:
            self.read_body()
            self.reply_json(200, {"kind": "PodList", "apiVersion": "v1", "items": [], "you": token})
        elif status == 200:
            super().answer()
        else:
            self.read_body()
            self.fail(status, "Unauthorized" if status == 401 else "Forbidden")

    def _allowed(self, user: str | None, resource: str, namespace: str) -> bool:
        """Whether `user` may create or delete; the refusal is sent."""
        if user is None:
            self.fail(401, "Unauthorized")
        elif (user, self.command, resource, namespace) not in self._cluster.may:
            self.fail(403, "Forbidden")
        else:
            return True
        return False

    def _make_token(self, user: str | None, namespace: str, name: str) -> None:
        body, cluster = json.loads(self.read_body()), self._cluster
        cluster.requests.append(body)
        if not self._allowed(user, "serviceaccounts/token", namespace):
            return
        if (namespace, name) not in cluster.accounts:
            self.fail(404, "NotFound")
            return
        spec = body["spec"]
        bound, seconds = spec.get("boundObjectRef"), spec["expirationSeconds"]
        is_known = bound is None or cluster.secrets.get(bound["name"]) == bound["uid"]
        named = (body["apiVersion"], body["kind"]) == ("authentication.k8s.io/v1", "TokenRequest")
        if not named or not is_known or not 600 <= seconds <= 1 << 32 or not isinstance(spec["audiences"], list):
            self.fail(422, "Invalid")
            return
        claims: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": "u"}}
        if bound is not None:
            claims["secret"] = {"name": bound["name"], "uid": bound["uid"]}
        audiences = spec["audiences"] or [ISSUER]
        # The token extension: an old kubelet's wish is answered with a year (apiserver, token storage).
        life = 365 * 86_400 if seconds == 3607 and audiences == [ISSUER] else seconds
        token = cluster.token_for(namespace, name, life, **{"aud": audiences, "kubernetes.io": claims})
        cluster.tokens.append(token)
        ends = jwt.decode(token, options={"verify_signature": False})["exp"]
        stamp = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.reply_json(201, {**body, "status": {"token": token, "expirationTimestamp": stamp}})

    def _change_secret(self, user: str | None, namespace: str, name: str | None) -> None:
        body, cluster = json.loads(self.read_body()), self._cluster
        if not self._allowed(user, "secrets", namespace):
            return
        if self.command == "POST":
            made = body["metadata"]["generateName"] + uuid.uuid4().hex[:5]
            cluster.secrets[made] = uuid.uuid4().hex
            self.reply_json(201, {**body, "metadata": {"name": made, "uid": cluster.secrets[made]}})
        elif name not in cluster.secrets:
            self.fail(404, "NotFound")
        elif body["preconditions"]["uid"] != cluster.secrets[name]:
            self.fail(409, "Conflict")
        else:
            del cluster.secrets[name]
            self.reply_json(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
