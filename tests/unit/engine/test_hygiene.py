"""The job's own credentials never pass (C04, C05, B04)."""

import pytest

from proxy.engine.hygiene import find_credential_fields, find_query_credential, is_credential_field
from proxy.model.authority import Authority
from proxy.model.intent import RequestView


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "cookie",
        "x-amz-security-token",
        "x-amz-s3session-token",
        "x-vault-token",
        "private-token",
        "job-token",
        "x-api-key",
        "api-key",
        "apikey",
        "x-goog-api-key",
        "dd-api-key",
        "x-auth",
        "x-auth-token",
        "x-secret",
        "my-service-password",
        "x_api-token",
        "x-original-authorization",
        "x-rubygems-api-key",
        "x-nuget-apikey",
        "x-access-key",
        "x-credentials",
    ],
)
def test_credential_fields(name: str) -> None:
    """Known credential fields, and names that read like one, are found."""
    assert is_credential_field(name)
    assert is_credential_field(name)  # and again from memory


@pytest.mark.parametrize(
    "name",
    [
        "accept",
        "host",
        "content-type",
        "content-length",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-target",
        "x-amz-bucket-object-lock-token",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-meta-author",
        "user-agent",
        "if-none-match",
        "range",
        "idempotency-key",
        "author",
        "tokens-remaining",
    ],
)
def test_ordinary_fields(name: str) -> None:
    """What a service needs to do its work is left alone."""
    assert not is_credential_field(name)


def test_memory_is_bounded() -> None:
    """A flood of invented names is judged but not remembered."""
    for number in range(5000):
        assert is_credential_field(f"x-{number}-token")


def test_finds_all_fields() -> None:
    """Every carrying field is named once."""
    headers = (("accept", "a"), ("authorization", "b"), ("authorization", "c"), ("cookie", "d"))

    assert find_credential_fields(headers) == {"authorization", "cookie"}


@pytest.mark.parametrize(
    "query,name",
    [
        (None, None),
        ("", None),
        ("a=b&c=d", None),
        ("X-Amz-Signature=abc&X-Amz-Credential=x", None),
        ("access_token=x", "access_token"),
        ("a=b&ACCESS_TOKEN=x", "access_token"),
        ("a=b;private_token=x", "private_token"),
        ("acc%65ss_token=x", "access_token"),
        ("a&api_key", "api_key"),
        ("page_token=x", None),
    ],
)
def test_query_credentials(query: str | None, name: str | None) -> None:
    """A credential in the query is found in any case, encoding and separator; a signed URL is a capability."""
    view = RequestView(
        method="GET", scheme="https", authority=Authority("example.com", 443), path="/", query=query, headers=()
    )

    assert find_query_credential(view) == name
