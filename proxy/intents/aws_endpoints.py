"""Customers' own endpoints that AWS guards with a signature: gateways, function URLs, search domains. In no model.

What is behind them is the customer's: the effect follows the method only where the service is a store, else it is not
known. Sources: Service Authorization Reference of API Gateway, Lambda, OpenSearch, AppSync and VPC Lattice.
"""

import re
from collections.abc import Callable
from typing import Final

from proxy.intents.aws_hosts import partition_of
from proxy.intents.aws_signature import Scope
from proxy.model.intent import EffectClass, Intent, RequestView, Resource

_METHODS: Final = {
    "GET": EffectClass.READ,
    "HEAD": EffectClass.READ,
    "DELETE": EffectClass.DELETE,
    "POST": EffectClass.WRITE,
    "PUT": EffectClass.WRITE,
    "PATCH": EffectClass.WRITE,
}
_LABEL: Final = r"[a-z0-9-]+"
_REGION: Final = r"(?P<region>[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2})"
_SUFFIX: Final = r"\.(?:amazonaws\.com(?:\.cn)?|on\.aws|api\.aws)"
_GATEWAY: Final = re.compile(rf"(?P<id>[a-z0-9]+)(?:-vpce-{_LABEL})?\.execute-api\.{_REGION}(?:\.vpce)?{_SUFFIX}")
_FUNCTION: Final = re.compile(rf"(?P<id>{_LABEL})\.lambda-url\.{_REGION}{_SUFFIX}")
_DOMAIN: Final = re.compile(rf"(?:search|vpc)-(?P<id>{_LABEL})-[a-z0-9]+\.{_REGION}\.(?:es|aos){_SUFFIX}")
_COLLECTION: Final = re.compile(rf"(?P<id>{_LABEL})\.{_REGION}\.aoss{_SUFFIX}")
_GRAPHQL: Final = re.compile(rf"(?P<id>{_LABEL})\.appsync-api\.{_REGION}{_SUFFIX}")
_LATTICE: Final = re.compile(rf"(?P<id>{_LABEL})\.{_LABEL}\.vpc-lattice-svcs\.{_REGION}{_SUFFIX}")

type _Reading = tuple[str, str, EffectClass]
"""An action, what stands behind `arn:PARTITION:SERVICE:REGION:*:`, and the effect."""


def _gateway(view: RequestView, name: str) -> _Reading:
    if "/@connections/" in view.path:
        return "execute-api:ManageConnections", f"{name}{view.path}", EffectClass.WRITE
    stage, _, rest = view.path[1:].partition("/")
    return "execute-api:Invoke", f"{name}/{stage}/{view.method}/{rest}", EffectClass.UNKNOWN


def _function(_: RequestView, name: str) -> _Reading:
    return "lambda:InvokeFunctionUrl", f"function-url/{name}", EffectClass.EXECUTE


def _domain(view: RequestView, name: str) -> _Reading:
    action = f"es:ESHttp{view.method.capitalize()}"
    return action, f"domain/{name}{view.path}", _METHODS.get(view.method, EffectClass.UNKNOWN)


def _collection(view: RequestView, name: str) -> _Reading:
    return "aoss:APIAccessAll", f"collection/{name}", _METHODS.get(view.method, EffectClass.UNKNOWN)


def _graphql(_: RequestView, name: str) -> _Reading:
    return "appsync:GraphQL", f"endpoint/{name}", EffectClass.UNKNOWN


def _lattice(view: RequestView, name: str) -> _Reading:
    return "vpc-lattice-svcs:Invoke", f"service/{name}{view.path}", EffectClass.UNKNOWN


_PLANES: Final[dict[str, tuple[re.Pattern[str], Callable[[RequestView, str], _Reading]]]] = {
    "execute-api": (_GATEWAY, _gateway),
    "lambda": (_FUNCTION, _function),
    "es": (_DOMAIN, _domain),
    "aoss": (_COLLECTION, _collection),
    "appsync": (_GRAPHQL, _graphql),
    "vpc-lattice-svcs": (_LATTICE, _lattice),
}


def decode_endpoint(view: RequestView, scope: Scope) -> Intent | None:
    """Say what a signed request to a customer's endpoint is; None when the host is none for that service and region."""
    plane = _PLANES.get(scope.service)
    found = plane[0].fullmatch(view.authority.host) if plane is not None else None
    if plane is None or found is None or scope.region not in {None, found["region"]}:
        return None
    region = found["region"]
    action, rest, effect = plane[1](view, found["id"])
    return Intent(
        protocol="aws",
        action=action,
        resource=Resource(type="arn", id=f"arn:{partition_of(region)}:{action.partition(':')[0]}:{region}:*:{rest}"),
        effect=effect,
        exact=True,
        facts={"operation": action.partition(":")[2], "service": scope.service, "region": region},
    )
