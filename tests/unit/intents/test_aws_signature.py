"""Scopes of signatures: one, whole, or none."""

import pytest

from proxy.intents.aws_signature import Scope, read_scope
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import RequestView
from proxy.model.reason import Reason

SIGNED = "AWS4-HMAC-SHA256 Credential=AKID/20250101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00"
ASYMMETRIC = "AWS4-ECDSA-P256-SHA256 Credential=AKID/20250101/s3/aws4_request, SignedHeaders=host, Signature=00"
QUERY = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20250101%2Feu-west-1%2Fsts%2Faws4_request"


def view(*authorization: str, query: str | None = None) -> RequestView:
    return RequestView(
        method="GET",
        scheme="https",
        authority=Authority("example.com", 443),
        path="/",
        query=query,
        headers=(("accept", "*/*"), *(("authorization", each) for each in authorization)),
    )


@pytest.mark.parametrize(
    "request_view,scope",
    [
        (view(SIGNED), Scope(service="sqs", region="us-east-1")),
        (view(SIGNED.replace(", ", ",")), Scope(service="sqs", region="us-east-1")),
        (view(SIGNED.replace("AKID", "A/B")), Scope(service="sqs", region="us-east-1")),
        (view(ASYMMETRIC), Scope(service="s3", region=None)),
        (view(query=QUERY), Scope(service="sts", region="eu-west-1")),
        (view(query=QUERY.replace("X-Amz-", "x-amz-")), Scope(service="sts", region="eu-west-1")),
        (view(query=QUERY.replace("X-Amz-C", "X-Amz%2DC")), Scope(service="sts", region="eu-west-1")),
        (view("Bearer x"), None),
        (view(), None),
        (view(query="a=b"), None),
        (view("AWS AKID:signature"), None),
    ],
)  # fmt: skip
def test_the_scope_is_read(request_view: RequestView, scope: Scope | None) -> None:
    """Service and region are the end of the credential, wherever the signature stands."""
    assert read_scope(request_view) == scope


@pytest.mark.parametrize(
    "request_view",
    [
        view(SIGNED, query=QUERY),
        view(SIGNED, SIGNED),
        view(query=f"{QUERY}&X-Amz-Credential=AKID%2F20250101%2Feu-west-1%2Fiam%2Faws4_request"),
        view(query=f"{QUERY}&x-amz-credential=AKID%2F20250101%2Feu-west-1%2Fiam%2Faws4_request"),
        view(query="X-Amz-Credential=AKID%2F20250101%2Feu-west-1%2Fiam%2Faws4_request"),
        view(query=QUERY.replace("HMAC", "NONE")),
        view(SIGNED.replace("aws4_request", "aws5_request")),
        view(SIGNED.replace("/sqs", "/")),
        view(SIGNED.replace("/sqs", "/s_q")),
        view(SIGNED.replace("us-east-1", "us_east")),
        view(SIGNED.replace("AKID/20250101/us-east-1/sqs", "AKID/sqs")),
        view(ASYMMETRIC.replace("AKID/20250101/s3", "AKID/s3")),
        view(f"{SIGNED}, Credential=AKID/20250101/us-east-1/iam/aws4_request"),
        view(SIGNED.replace(", Signature=00", "")),
        view("AWS4-HMAC-SHA256"),
    ],
)
def test_a_doubtful_signature_is_refused(request_view: RequestView) -> None:
    """Two signatures, an unknown algorithm and a torn credential are nobody's scope."""
    with pytest.raises(IntentError) as caught:
        read_scope(request_view)
    assert caught.value.reason is Reason.SIGNING_UNSUPPORTED
