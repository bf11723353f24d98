"""The bearer token of an EKS cluster: a pre-signed question to STS, who am I, that names the cluster. Pure.

The cluster asks it, and STS's answer is who the caller is; the keys that sign it stay here. A token is good for the
cluster that its signed header names and for nothing else. Source: kubernetes-sigs/aws-iam-authenticator, "API
Authorization from Outside a Cluster"; IAM User Guide, "Create a signed AWS API request", query parameters.
"""

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from proxy.connectors.sigv4 import ALGORITHM, EMPTY_DIGEST, Keys, Seal, canonical_query
from proxy.model.grant import Secret

_PREFIX: Final = "k8s-aws-v1."
_SIGNED: Final = "host;x-k8s-aws-id"
_SECONDS: Final = 60
"""What the URL says of its life. STS gives it fifteen minutes; what reads more strictly finds it young enough."""
_STEP: Final = timedelta(seconds=30)
"""Requests of one half minute share a token: clusters remember what STS said of one, and STS is not asked each time."""


def make_token(cluster: str, region: str, host: str, keys: Keys, now: datetime) -> Secret:
    """Return the token of the half minute that `now`, by AWS's clock, is in. `host` is the STS of `region`."""
    stamp = (now - timedelta(seconds=now.timestamp() % _STEP.total_seconds())).strftime("%Y%m%dT%H%M%SZ")
    seal = Seal(keys.secret_key, stamp, region, "sts")
    fields = [
        ("Action", "GetCallerIdentity"),
        ("Version", "2011-06-15"),
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"{keys.access_key}/{seal.scope}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(_SECONDS)),
        ("X-Amz-SignedHeaders", _SIGNED),
    ]
    if keys.session_token is not None:
        fields.append(("X-Amz-Security-Token", keys.session_token.reveal()))
    query = canonical_query("&".join(f"{name}={_escape(value)}" for name, value in fields))
    asked = "\n".join(("GET", "/", query, f"host:{host}", f"x-k8s-aws-id:{cluster}", "", _SIGNED, EMPTY_DIGEST))
    signature = seal.sign(ALGORITHM, sha256(asked.encode()).hexdigest())
    url = f"https://{host}/?{query}&X-Amz-Signature={signature}"
    return Secret(_PREFIX + urlsafe_b64encode(url.encode()).decode().rstrip("="))


def _escape(value: str) -> str:
    """Keep what would end a value or be read as encoded already; `canonical_query` writes the rest."""
    return value.replace("%", "%25").replace("&", "%26")
