"""Customers' endpoints behind AWS's signature."""

import pytest

from proxy.intents.aws_endpoints import decode_endpoint
from proxy.intents.aws_signature import Scope
from proxy.model.authority import Authority
from proxy.model.intent import EffectClass, Intent, RequestView


def ask(method: str, host: str, path: str, service: str, region: str | None = "us-east-1") -> Intent | None:
    view = RequestView(method=method, scheme="https", authority=Authority(host, 443), path=path, query=None, headers=())
    return decode_endpoint(view, Scope(service=service, region=region))


@pytest.mark.parametrize(
    "method,host,path,service,action,arn,effect",
    [
        (
            "GET",
            "a1.execute-api.us-east-1.amazonaws.com",
            "/prod/pets/1",
            "execute-api",
            "execute-api:Invoke",
            "arn:aws:execute-api:us-east-1:*:a1/prod/GET/pets/1",
            EffectClass.UNKNOWN,
        ),
        (
            "POST",
            "a1-vpce-0b.execute-api.us-east-1.amazonaws.com",
            "/",
            "execute-api",
            "execute-api:Invoke",
            "arn:aws:execute-api:us-east-1:*:a1//POST/",
            EffectClass.UNKNOWN,
        ),
        (
            "POST",
            "a1.execute-api.us-east-1.amazonaws.com",
            "/prod/@connections/c",
            "execute-api",
            "execute-api:ManageConnections",
            "arn:aws:execute-api:us-east-1:*:a1/prod/@connections/c",
            EffectClass.WRITE,
        ),
        (
            "POST",
            "u1.lambda-url.us-east-1.on.aws",
            "/",
            "lambda",
            "lambda:InvokeFunctionUrl",
            "arn:aws:lambda:us-east-1:*:function-url/u1",
            EffectClass.EXECUTE,
        ),
        (
            "POST",
            "search-my-logs-a1b2.us-east-1.es.amazonaws.com",
            "/i/_search",
            "es",
            "es:ESHttpPost",
            "arn:aws:es:us-east-1:*:domain/my-logs/i/_search",
            EffectClass.WRITE,
        ),
        (
            "GET",
            "vpc-logs-a1b2.us-east-1.aos.on.aws",
            "/",
            "es",
            "es:ESHttpGet",
            "arn:aws:es:us-east-1:*:domain/logs/",
            EffectClass.READ,
        ),
        (
            "DELETE",
            "c1.us-east-1.aoss.amazonaws.com",
            "/i",
            "aoss",
            "aoss:APIAccessAll",
            "arn:aws:aoss:us-east-1:*:collection/c1",
            EffectClass.DELETE,
        ),
        (
            "OPTIONS",
            "c1.us-east-1.aoss.amazonaws.com",
            "/i",
            "aoss",
            "aoss:APIAccessAll",
            "arn:aws:aoss:us-east-1:*:collection/c1",
            EffectClass.UNKNOWN,
        ),
        (
            "POST",
            "g1.appsync-api.us-east-1.amazonaws.com",
            "/graphql",
            "appsync",
            "appsync:GraphQL",
            "arn:aws:appsync:us-east-1:*:endpoint/g1",
            EffectClass.UNKNOWN,
        ),
        (
            "GET",
            "svc-0.7d67968.vpc-lattice-svcs.us-east-1.on.aws",
            "/a",
            "vpc-lattice-svcs",
            "vpc-lattice-svcs:Invoke",
            "arn:aws:vpc-lattice-svcs:us-east-1:*:service/svc-0/a",
            EffectClass.UNKNOWN,
        ),
    ],
)
def test_a_customers_endpoint_is_one_action(
    method: str, host: str, path: str, service: str, action: str, arn: str, effect: EffectClass
) -> None:
    """Gateways, function URLs, search domains and services are asked for under IAM's names for them."""
    found = ask(method, host, path, service)

    assert found is not None
    assert (found.action, found.resource.id, found.effect) == (action, arn, effect)


@pytest.mark.parametrize(
    "host,service,region",
    [
        ("a1.execute-api.us-east-1.amazonaws.com", "s3", "us-east-1"),
        ("a1.execute-api.us-east-1.amazonaws.com", "execute-api", "eu-west-1"),
        ("a1.execute-api.us-east-1.amazonaws.com.evil.example", "execute-api", "us-east-1"),
        ("api.example.com", "execute-api", "us-east-1"),
        ("lambda.us-east-1.amazonaws.com", "lambda", "us-east-1"),
    ],
)
def test_another_host_or_region_is_none(host: str, service: str, region: str) -> None:
    """The host must be what the signature is for."""
    assert ask("GET", host, "/", service, region) is None


def test_a_signature_for_many_regions_fits_any() -> None:
    """SigV4a does not say its region in the scope: the host does."""
    found = ask("GET", "a1.execute-api.cn-north-1.amazonaws.com.cn", "/s", "execute-api", None)

    assert found is not None
    assert found.resource.id == "arn:aws-cn:execute-api:cn-north-1:*:a1/s/GET/"
