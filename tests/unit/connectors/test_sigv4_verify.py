"""A client's own signature is what its keys make of the request, or the request goes no further."""

from dataclasses import replace

import pytest

from proxy.connectors.placeholders import AWS_KEY, AWS_SECRET
from proxy.connectors.sigv4 import Keys, verify
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from tests.fakes.aws_chunked import PAYLOAD, chunked_put

HOST = "releases.s3.eu-west-1.amazonaws.com"
KEYS = Keys(AWS_KEY, AWS_SECRET, None)


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
    found = verify(view, KEYS, PAYLOAD)
    assert (view.header("authorization") or "").endswith(f"Signature={found.signature}")
    assert found.seal.scope.endswith("/eu-west-1/s3/aws4_request")
    assert AWS_SECRET.reveal() not in repr(found)


VIEW = made()
AUTHORIZATION = ("authorization", VIEW.header("authorization") or "")


@pytest.mark.parametrize(
    "view, reason",
    [
        pytest.param(made(secret="another"), Reason.SIGNING_BROKEN, id="another-secret"),
        pytest.param(made(key_id="AKIAJOBSOWN"), Reason.SIGNING_UNSUPPORTED, id="another-key"),
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
        pytest.param(without(VIEW, "authorization"), Reason.SIGNING_UNSUPPORTED, id="unsigned"),
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
        verify(view, KEYS, PAYLOAD)
    assert caught.value.reason is reason


def test_no_secret_no_signature() -> None:
    """Keys of the right name and the wrong secret verify nothing."""
    with pytest.raises(CredentialError):
        verify(VIEW, Keys(AWS_KEY, Secret("x"), None), PAYLOAD)
