"""A client's own signature is what its keys make of the request, or the request goes no further."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from proxy.connectors.sigv4 import Verified
from proxy.connectors.sigv4_inbound import read_inbound, verify
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.model.placeholder import PUBLIC
from proxy.model.reason import Reason
from tests.fakes.aws_chunked import PAYLOAD, chunked_put

HOST = "releases.s3.eu-west-1.amazonaws.com"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
AWS_KEY, AWS_SECRET = PUBLIC.aws_key, PUBLIC.aws_secret


def check(view: RequestView, secret: Secret = AWS_SECRET) -> Verified:
    """Read a client's signature and verify it."""
    found = read_inbound(view)
    assert found is not None
    return verify(view, found, secret, PAYLOAD, NOW)


def made(key_id: str = AWS_KEY, secret: str = AWS_SECRET.reveal(), target: str = "/a/b%20c") -> RequestView:
    """A chunk-signed PUT as the lane sees it: its length is a number, its host an authority."""
    head, body = chunked_put(HOST, target, [b"hello"], key_id=key_id, secret=secret)
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:-2]]
    return RequestView(
        method="PUT",
        scheme="https",
        authority=Authority(HOST, 443),
        path=target,
        query=None,
        headers=tuple((name, value) for name, _, value in lines if name not in {"host", "content-length"}),
        body_length=len(body),
    )


def changed(view: RequestView, name: str, old: str, new: str) -> RequestView:
    headers = tuple((key, value.replace(old, new) if key == name else value) for key, value in view.headers)
    return replace(view, headers=headers)


def without(view: RequestView, name: str) -> RequestView:
    return replace(view, headers=tuple(pair for pair in view.headers if pair[0] != name))


def test_the_placeholders_signature_is_taken() -> None:
    """What is right gives the chain that the chunks go on with."""
    view = made()
    found = check(view)
    assert (view.header("authorization") or "").endswith(f"Signature={found.signature}")
    assert found.seal.scope.endswith("/eu-west-1/s3/aws4_request")
    assert AWS_SECRET.reveal() not in repr(found)


VIEW = made()
AUTHORIZATION = ("authorization", VIEW.header("authorization") or "")


@pytest.mark.parametrize(
    "view, reason",
    [
        pytest.param(
            replace(VIEW, headers=(*VIEW.headers, ("x-amz-acl", "public-read"))), Reason.SIGNING_BROKEN, id="added"
        ),
        pytest.param(made(secret="another"), Reason.SIGNING_BROKEN, id="another-secret"),
        pytest.param(replace(VIEW, method="POST"), Reason.SIGNING_BROKEN, id="method"),
        pytest.param(replace(VIEW, path="/a/b"), Reason.SIGNING_BROKEN, id="path"),
        pytest.param(replace(VIEW, query="acl"), Reason.SIGNING_BROKEN, id="query"),
        pytest.param(replace(VIEW, authority=Authority("x.s3.amazonaws.com", 443)), Reason.SIGNING_BROKEN, id="host"),
        pytest.param(replace(VIEW, authority=Authority(HOST, 8443)), Reason.SIGNING_BROKEN, id="port"),
        pytest.param(replace(VIEW, body_length=1), Reason.SIGNING_BROKEN, id="length"),
        pytest.param(replace(VIEW, body_length=None), Reason.SIGNING_BROKEN, id="signed-length-not-sent"),
        pytest.param(without(VIEW, "x-amz-date"), Reason.SIGNING_BROKEN, id="no-date"),
        pytest.param(changed(VIEW, "x-amz-date", "T", "t"), Reason.SIGNING_BROKEN, id="odd-date"),
        pytest.param(changed(VIEW, "x-amz-date", "20", "19"), Reason.SIGNING_BROKEN, id="another-day"),
        pytest.param(without(VIEW, "x-amz-decoded-content-length"), Reason.SIGNING_BROKEN, id="signed-not-sent"),
        pytest.param(changed(VIEW, "authorization", "eu-west-1", "eu-west-2"), Reason.SIGNING_BROKEN, id="region"),
        pytest.param(changed(VIEW, "authorization", "host;", ""), Reason.SIGNING_BROKEN, id="host-unsigned"),
        pytest.param(changed(VIEW, "authorization", "Signature=", "Signature=\xff"), Reason.SIGNING_BROKEN, id="odd"),
        pytest.param(
            replace(VIEW, headers=(*VIEW.headers, AUTHORIZATION)), Reason.SIGNING_UNSUPPORTED, id="signed-twice"
        ),
        pytest.param(changed(VIEW, "authorization", "AWS4", "AWS5"), Reason.SIGNING_UNSUPPORTED, id="algorithm"),
        pytest.param(changed(VIEW, "authorization", "Credential", "Creds"), Reason.SIGNING_UNSUPPORTED, id="torn"),
    ],
)
def test_a_signature_of_something_else_is_refused(view: RequestView, reason: Reason) -> None:
    """Any difference between what was signed and what is sent, and any other signer, ends here."""
    with pytest.raises(CredentialError) as caught:
        check(view)
    assert caught.value.reason is reason


def test_no_secret_no_signature() -> None:
    """Keys of the right name and the wrong secret verify nothing."""
    with pytest.raises(CredentialError):
        check(VIEW, Secret("x"))


HEX = "0" * 64
SIGNED = f"AWS4-HMAC-SHA256 Credential=JOB/20300101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature={HEX}"
PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=JOB%2F20300101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date="
    f"20300101T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t&X-Amz-Signature={HEX}"
)


def view(query: str | None = None, **headers: str) -> RequestView:
    fields = tuple(headers.items())
    return RequestView(
        method="GET", scheme="https", authority=Authority(HOST, 443), path="/", query=query, headers=fields
    )


@pytest.mark.parametrize(
    "query, authorization, expected",
    [
        (None, None, None),
        ("a=b", None, None),
        (None, "Bearer x", None),
        (None, SIGNED, ("eu-west-1", "s3", False)),
        (None, SIGNED.replace(", ", ","), ("eu-west-1", "s3", False)),
        (PRESIGNED, None, ("eu-west-1", "s3", True)),
        (PRESIGNED.replace("X-Amz-Algorithm", "x-amz-algorithm"), None, ("eu-west-1", "s3", True)),
        (PRESIGNED.replace("X-Amz-Algorithm", "X-Amz%2DAlgorithm"), None, ("eu-west-1", "s3", True)),
    ],
)
def test_the_clients_signature_is_read(
    query: str | None, authorization: str | None, expected: tuple[str, str, bool] | None
) -> None:
    """Region and service come from the header or the pre-signed query; no signature is None."""
    headers = {} if authorization is None else {"authorization": authorization}
    found = read_inbound(view(query=query, **headers))
    assert expected == (None if found is None else (found.region, found.service, found.presigned))


@pytest.mark.parametrize(
    "query, authorization, said",
    [
        (None, "AWS JOB:signature", "only AWS4-HMAC-SHA256"),
        (None, SIGNED.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "SigV4a"),
        (None, SIGNED.replace("AWS4-HMAC-SHA256", "AWS5-HMAC"), "only AWS4-HMAC-SHA256"),
        (None, SIGNED.replace("eu-west-1", "*"), "credential scope"),
        (None, SIGNED.replace("/aws4_request", ""), "credential scope"),
        (None, SIGNED.replace("20300101", "2030"), "credential scope"),
        (None, SIGNED.replace("JOB/", "JOB/x/"), "credential scope"),
        (None, SIGNED + ", Signature=x", "not a well-formed"),
        (None, SIGNED.partition(", Signature")[0], "not a well-formed"),
        (None, SIGNED + ", Extra=x", "not a well-formed"),
        (None, "AWS4-HMAC-SHA256", "not a well-formed"),
        (PRESIGNED, SIGNED, "more than once"),
        (PRESIGNED, "Bearer x", "more than once"),
        ("X-Amz-Security-Token=t", SIGNED, "more than once"),
        (PRESIGNED + "&x-amz-credential=other", None, "more than once"),
        ("X-Amz-Security-Token=t", None, "pre-signed"),
        (PRESIGNED.rpartition("&")[0], None, "pre-signed"),
        (PRESIGNED.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), None, "pre-signed"),
        (PRESIGNED.replace("eu-west-1", "%2A"), None, "credential scope"),
        ("AWSAccessKeyId=x&Signature=y&Expires=1", None, "Signature Version 2"),
    ],
)
def test_a_signature_that_cannot_be_made_again_is_named(
    query: str | None, authorization: str | None, said: str
) -> None:
    """Old, asymmetric, doubled, partial and malformed signatures are refused, each in its own words."""
    headers = {} if authorization is None else {"authorization": authorization}
    with pytest.raises(CredentialError) as caught:
        read_inbound(view(query=query, **headers))
    assert said in str(caught.value)
    assert caught.value.reason is Reason.SIGNING_UNSUPPORTED


def test_two_authorization_fields_are_refused() -> None:
    """Which of them counts is not guessed."""
    fields = (("authorization", SIGNED), ("authorization", SIGNED))
    with pytest.raises(CredentialError, match="more than once"):
        read_inbound(replace(view(), headers=fields))
