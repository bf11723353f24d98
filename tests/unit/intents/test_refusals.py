"""A refusal is put where each protocol's clients look for it, with our own fields beside it."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from proxy.intents.git_packets import write_packet
from proxy.intents.refusals import Refusal, Words, put_in_words
from proxy.model.authority import Authority
from proxy.model.intent import BodyPrefix, EffectClass, Headers, Intent, RequestView, Resource

LINE = "jobgate: no-rule: No rule allows <this> & that. (decision f1)"
FIELDS = {"reason": "no-rule", "rule": ["a", "b"], "decision": "f1", "message": "No rule.", "what_to_do": "Ask."}
FORM: Headers = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)


def say(protocol: str, action: str = "x", headers: Headers = (), body: bytes | None = None, path: str = "/") -> Any:
    view = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("a.test", 443),
        path=path,
        query=None,
        headers=headers,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    intent = Intent(
        protocol=protocol, action=action, resource=Resource(type="t", id="i"), effect=EffectClass.READ, exact=True
    )
    return put_in_words(view, intent, Refusal(status=403, message=LINE, fields=FIELDS))


@pytest.mark.parametrize(
    "protocol, dialect",
    [
        ("k8s", {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": LINE}),
        ("oci", {"errors": [{"code": "DENIED", "message": LINE, "detail": {}}]}),
        ("cargo", {"errors": [{"detail": LINE}]}),
        ("vault", {"errors": [LINE]}),
        ("gcp", {"error": {"code": 403, "message": LINE, "status": "PERMISSION_DENIED"}}),
        ("azure", {"error": {"code": "Forbidden", "message": LINE}}),
    ],
)
def test_json_dialects(protocol: str, dialect: dict[str, Any]) -> None:
    """The protocol's own members, and ours beside them; the status stays the reason's."""
    words = say(protocol)
    assert isinstance(words, Words)
    assert (words.status, words.content_type) == (None, "application/json")
    assert json.loads(words.body) == {**FIELDS, **dialect}


def test_aws_in_json() -> None:
    """JSON and REST-JSON services: the error's type and message."""
    for headers in ((), (("x-amz-target", "DynamoDB_20120810.GetItem"),), (*FORM, ("x-amz-target", "X.Y"))):
        words = say("aws", "dynamodb:GetItem", headers)
        assert words.content_type == "application/json"
        assert json.loads(words.body) == {**FIELDS, "__type": "AccessDenied", "message": LINE}


@pytest.mark.parametrize(
    "action, headers, path",
    [
        ("s3:PutObject", (), "."),
        ("ec2:RunInstances", FORM, "Errors/Error"),
        ("sns:Publish", FORM, "Error"),
        ("route53:ListHostedZones", (), "Error"),
    ],
)
def test_aws_in_xml(action: str, headers: Headers, path: str) -> None:
    """S3, the query protocols and EC2 each have their own envelope; the decision is the request id."""
    words = say("aws", action, headers)
    assert (words.status, words.content_type) == (None, "application/xml")
    error = ET.fromstring(words.body).find(path)
    assert error is not None
    assert {child.tag: child.text for child in error if child.tag != "Type"} == {
        "Code": "AccessDenied",
        "Message": LINE,
        "RequestId": "f1",
        "Reason": "no-rule",
        "Rule": "a b",
    }


def test_a_push_is_refused_with_a_report() -> None:
    """git reads nothing but a success."""
    move = f"{'0' * 40} {'1' * 40} refs/heads/main\0report-status"
    push = write_packet(move.encode()) + b"0000"
    words = say("git", "push.update", body=push, path="/app.git/git-receive-pack")
    assert (words.status, words.content_type) == (200, "application/x-git-receive-pack-result")
    assert b"ng refs/heads/main jobgate: no-rule" in words.body


@pytest.mark.parametrize("protocol", ["http", "npm", "git"])
def test_other_protocols_keep_our_own_words(protocol: str) -> None:
    """Where a client shows no body, or whatever body there is, ours is as good."""
    assert say(protocol) is None


def test_rules_that_are_no_list_are_left_out() -> None:
    """A refusal without rules says none."""
    intent = Intent(
        protocol="aws",
        action="s3:GetObject",
        resource=Resource(type="t", id="i"),
        effect=EffectClass.READ,
        exact=True,
    )
    view = RequestView(
        method="GET", scheme="https", authority=Authority("a.test", 443), path="/", query=None, headers=()
    )
    words = put_in_words(view, intent, Refusal(status=403, message="m", fields={}))
    assert words is not None
    assert b"<Rule></Rule>" in words.body
