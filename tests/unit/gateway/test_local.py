"""What the proxy answers for itself: placeholders, to whoever asks as an SDK does, by its address."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.gateway.heads import HeadReader
from proxy.gateway.local import ACCOUNT, LocalQuestion, answer_aws, answer_azure, answer_google, read_local, write_local
from proxy.model.errors import ProtocolError
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.placeholder import derive_placeholders
from proxy.model.reason import Reason

OWN = derive_placeholders("password")
FLAVOR = "Metadata-Flavor: Google"
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SESSION = Session(
    id="s",
    principal=Principal(provider="p", issuer="i", subject="s", token_digest="d"),
    job=JobContext(),
    opened_at=NOW,
    expires_at=NOW,
    placeholders=OWN,
)


def ask(target: str, *lines: str, method: str = "GET", host: str = "127.0.0.1:3128") -> LocalQuestion | None:
    text = "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""))
    return read_local(HeadReader().read(text.encode()))


@pytest.mark.parametrize(
    "target, path, mark",
    [
        (TOKEN, "/instance/service-accounts/default/token", None),
        (f"{TOKEN}?scopes=a", "/instance/service-accounts/default/token", None),
        (f"/jobgate/gcp/{OWN.mark}{TOKEN}", "/instance/service-accounts/default/token", OWN.mark),
        ("/", "/", None),
        ("/computeMetadata/v1", "", None),
    ],
)
def test_a_metadata_question_is_read(target: str, path: str, mark: str | None) -> None:
    """Its path below the version, and the session that a path names."""
    assert ask(target, FLAVOR) == LocalQuestion(path, is_google=True, mark=mark)


def test_an_aws_question_is_read() -> None:
    """With or without a query, by any address that is one."""
    for host in ("127.0.0.1:3128", "localhost:3128", "[::1]:3128", "10.0.0.7"):
        assert ask("/jobgate/aws", host=host) == LocalQuestion("/jobgate/aws", is_google=False, mark=None)


@pytest.mark.parametrize(
    "target, method",
    [
        ("/other", "GET"),
        ("/jobgate/aws/", "GET"),
        ("/jobgate/aws", "POST"),
        ("/jobgate/gcp/short/computeMetadata/v1/", "GET"),
        ("http://127.0.0.1:3128/jobgate/aws", "GET"),
    ],
)
def test_anything_else_is_not_the_proxys(target: str, method: str) -> None:
    """It is left to whoever reads requests to be forwarded."""
    host = "127.0.0.1:3128"
    assert ask(target, FLAVOR, method=method, host=host) is None
    assert ask("/", host="origin.test") is None


@pytest.mark.parametrize(
    "target, lines, host, reason",
    [
        ("/jobgate/aws", (), "rebound.example.com:3128", Reason.AUTHORITY_MISMATCH),
        (TOKEN, (FLAVOR,), "metadata.google.internal", Reason.AUTHORITY_MISMATCH),
        (TOKEN, (), "127.0.0.1:3128", Reason.PROTOCOL_REFUSED),
        (TOKEN, ("Metadata-Flavor: google",), "127.0.0.1:3128", Reason.PROTOCOL_REFUSED),
        (TOKEN, (FLAVOR, FLAVOR), "127.0.0.1:3128", Reason.PROTOCOL_REFUSED),
        (TOKEN, (FLAVOR, "X-Forwarded-For: 10.0.0.1"), "127.0.0.1:3128", Reason.PROTOCOL_REFUSED),
        ("/jobgate/aws", ("Content-Length: 3",), "127.0.0.1:3128", Reason.FRAMING_AMBIGUOUS),
        ("/jobgate/aws", ("Transfer-Encoding: chunked",), "127.0.0.1:3128", Reason.FRAMING_AMBIGUOUS),
    ],
)
def test_who_asks_otherwise_is_refused(target: str, lines: tuple[str, ...], host: str, reason: Reason) -> None:
    """By a name that may lead here, without the vendor's field, through another proxy, with a body."""
    with pytest.raises(ProtocolError) as caught:
        ask(target, *lines, host=host)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "query, resource",
    [
        ("?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net", "https://vault.azure.net"),
        ("", None),
        ("?resource=a&resource=b", None),
    ],
)
def test_an_azure_question_names_one_service(query: str, resource: str | None) -> None:
    """The token is said to be for it; without one there is no token."""
    found = ask(f"/jobgate/azure{query}")
    assert found == LocalQuestion("/jobgate/azure", is_google=False, mark=None, resource=resource)
    answer = answer_azure(SESSION, resource)
    if resource is None:
        assert answer.status == 400
        return
    assert json.loads(answer.body) == {
        "access_token": OWN.token("azure-"),
        "expires_on": str(int(NOW.timestamp())),
        "resource": resource,
        "token_type": "Bearer",
    }


def test_aws_gets_keys_until_the_session_ends() -> None:
    """The shape that the SDKs' container provider reads."""
    answer = answer_aws(SESSION)
    told: dict[str, Any] = json.loads(answer.body)
    assert told == {
        "AccessKeyId": OWN.aws_key,
        "SecretAccessKey": OWN.aws_secret.reveal(),
        "Token": OWN.aws_key,
        "Expiration": "2030-01-01T00:00:00Z",
    }
    assert answer.status == 200


@pytest.mark.parametrize(
    "path, status, body",
    [
        ("", 200, b"computeMetadata/\n"),
        ("/", 200, b"computeMetadata/\n"),
        ("/universe/universe-domain", 200, b"googleapis.com"),
        ("/instance/service-accounts/", 200, b"default/\n"),
        ("/instance/service-accounts/default/email", 200, ACCOUNT.encode()),
        ("/instance/service-accounts/default/scopes", 200, b"https://www.googleapis.com/auth/cloud-platform\n"),
        ("/instance/service-accounts/default/identity", 404, b"not found"),
        ("/instance/service-accounts/other/token", 404, b"not found"),
        ("/project/project-id", 404, b"not found"),
    ],
)
def test_google_gets_what_a_metadata_server_has(path: str, status: int, body: bytes) -> None:
    """One service account, no project, no identity token."""
    answer = answer_google(path, OWN.mark)
    assert (answer.status, answer.body) == (status, body)
    assert answer.fields["metadata-flavor"] == "Google"


@pytest.mark.parametrize("account", ["default", ACCOUNT])
def test_google_gets_a_token_that_is_the_sessions(account: str) -> None:
    """A placeholder with the session's mark, and when to ask again."""
    told = json.loads(answer_google(f"/instance/service-accounts/{account}/token", OWN.mark).body)
    assert told == {"access_token": OWN.token("ya29."), "expires_in": 3600, "token_type": "Bearer"}
    assert json.loads(answer_google(f"/instance/service-accounts/{account}/", OWN.mark).body)["email"] == ACCOUNT


def test_an_answer_is_one_message() -> None:
    """A head and a body, or the head alone; the connection ends with it."""
    answer = answer_google("/", OWN.mark)
    whole = write_local(answer, without_body=False)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head
    assert write_local(answer, without_body=True) == head + b"\r\n\r\n"
    assert write_local(answer_google("/x", OWN.mark), without_body=False).startswith(b"HTTP/1.1 404 Not Found\r\n")
