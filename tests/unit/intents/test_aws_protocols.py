"""Protocols: whichever names the operation, there is one name, or none is believed."""

from typing import Any

import pytest

from proxy.intents.aws_protocols import Call, read_call
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, RequestView

JSON = {"content-type": "application/x-amz-json-1.0"}
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
CBOR = {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
CBOR_PATH = "/service/GraniteServiceVersion20100801/operation"


def view(line: str, headers: dict[str, str], body: bytes | None, length: int | None = None) -> RequestView:
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority("example.com", 443),
        path=path,
        query=query if mark else None,
        headers=tuple(headers.items()),
        body_length=length if body is None else len(body),
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )


def ask(line: str, services: str, headers: dict[str, str] | None = None, body: bytes | None = b"") -> Call:
    found = read_call(view(line, headers or {}, body), services.split())
    assert isinstance(found, Call)
    return found


@pytest.mark.parametrize(
    "line,services,headers,body,name,kind",
    [
        ("POST /", "sqs", JSON | {"x-amz-target": "AmazonSQS.SendMessage"}, b"{}", "SendMessage", "json"),
        (
            "POST /",
            "sqs",
            {"content-type": "application/json", "x-amz-target": "AmazonSQS.SendMessage"},
            b"",
            "SendMessage",
            "json",
        ),
        ("POST /", "sqs", FORM, b"Action=SendMessage&Version=2012-11-05", "SendMessage", "form"),
        ("POST /123456789012/q", "sqs", FORM, b"Action=SendMessage", "SendMessage", "form"),
        ("POST /", "sqs", {}, b"Action=SendMessage", "SendMessage", "form"),
        ("GET /?Action=SendMessage&Version=2012-11-05", "sqs", {}, b"", "SendMessage", "form"),
        ("POST /?Action=SendMessage", "sqs", {}, b"", "SendMessage", "form"),
        ("POST /?Action=SendMessage", "sqs", FORM, b"MessageBody=a", "SendMessage", "form"),
        ("POST /", "ec2", FORM, b"Action=RunInstances", "RunInstances", "form"),
        (
            "POST /",
            "cloudwatch",
            JSON | {"x-amz-target": "GraniteServiceVersion20100801.PutMetricData"},
            b"{}",
            "PutMetricData",
            "json",
        ),
        ("POST /", "cloudwatch", FORM, b"Action=PutMetricData", "PutMetricData", "form"),
        (f"POST {CBOR_PATH}/PutMetricData", "cloudwatch", CBOR, b"\xa0", "PutMetricData", "cbor"),
        (
            f"POST {CBOR_PATH}/ListDashboards",
            "cloudwatch",
            {"smithy-protocol": "rpc-v2-cbor"},
            b"",
            "ListDashboards",
            "cbor",
        ),
        ("POST /2015-03-31/functions/f/invocations", "lambda", {}, b"", "Invoke", "rest-json"),
        ("GET /2015-03-31/functions/f", "lambda lambda-core", {}, b"", "GetFunction", "rest-json"),
        ("GET /2013-04-01/hostedzone", "route53", {}, b"", "ListHostedZones", "rest-xml"),
        ("POST /v2/email/outbound-emails", "ses sesv2 pinpoint-email", {}, b"", "SendEmail", "rest-json"),
        ("POST /", "ses sesv2 pinpoint-email", FORM, b"Action=SendEmail", "SendEmail", "form"),
        ("POST /", "docdb neptune rds", FORM, b"Action=DeleteDBInstance", "DeleteDBInstance", "form"),
        (
            "GET /2021-01-01/opensearch/domain/d/domainMaintenances?action=REBOOT_NODE",
            "es opensearch",
            {},
            b"",
            "ListDomainMaintenances",
            "rest-json",
        ),
    ],
)
def test_every_protocol_names_its_operation(
    line: str, services: str, headers: dict[str, str], body: bytes, name: str, kind: str
) -> None:
    """JSON, forms, CBOR and paths name operations, also where a service takes several of them."""
    found = ask(line, services, headers, body)

    assert (found.operation.name, found.kind) == (name, kind)


def test_the_service_with_iams_name_speaks_for_those_that_share_it() -> None:
    """DocumentDB's and Neptune's calls are RDS's to IAM, and read as RDS's, which passes the most roles."""
    assert ask("POST /", "docdb neptune rds", FORM, b"Action=DeleteDBInstance").operation.service == "rds"


def test_path_and_query_come_with_the_call() -> None:
    """Labels are decoded, and a parameter that was sent twice keeps both values."""
    found = ask("POST /2015-03-31/functions/a%3Ab/invocations?Qualifier=v&x=1&x=2", "lambda")

    assert (found.labels, found.query) == ({"FunctionName": "a:b"}, {"Qualifier": "v", "x": ["1", "2"]})


@pytest.mark.parametrize(
    "line,services,headers,body",
    [
        ("POST /", "sqs", JSON | {"x-amz-target": "AmazonSQS.Teleport"}, b"{}"),
        ("POST /", "sqs", FORM, b"Action=Teleport"),
        (f"POST {CBOR_PATH}/Teleport", "cloudwatch", CBOR, b""),
    ],
)
def test_a_new_operation_may_do_anything(line: str, services: str, headers: dict[str, str], body: bytes) -> None:
    """An operation that no model knows keeps its name, and nobody knows its effect."""
    found = ask(line, services, headers, body).operation

    assert found.action.endswith(":Teleport")
    assert (found.effect, found.is_known) == (EffectClass.UNKNOWN, False)


def test_a_form_is_asked_for() -> None:
    """Where only the body names the operation, it is wanted."""
    assert isinstance(read_call(view("POST /", FORM, None), ["sqs"]), BodyWanted)


TARGET = JSON | {"x-amz-target": "AmazonSQS.SendMessage"}


@pytest.mark.parametrize(
    "line,services,headers,body",
    [
        ("POST /?Action=DeleteQueue", "sqs", TARGET, b"{}"),
        ("POST /", "sqs", TARGET | {"smithy-protocol": "rpc-v2-cbor"}, b""),
        ("POST /?Action=PutMetricData", "cloudwatch", CBOR, b""),
        ("POST /", "sqs", TARGET | FORM, b"Action=DeleteQueue"),
        ("POST /", "sqs", {"x-amz-target": "AmazonSQS.SendMessage"}, b"Action=DeleteQueue"),
        ("GET /", "sqs", TARGET, b""),
        ("POST /", "sqs", JSON | {"x-amz-target": "SendMessage"}, b"{}"),
        ("POST /", "sqs", JSON | {"x-amz-target": "DynamoDB_20120810.PutItem"}, b"{}"),
        ("POST /", "sqs", JSON | {"x-amz-target": "AmazonSQS.Send Message"}, b"{}"),
        ("POST /", "sqs", JSON | {"x-amz-target": "AmazonSQS."}, b"{}"),
        ("POST /", "lambda", JSON | {"x-amz-target": "AWSGirApiService.Invoke"}, b"{}"),
        ("POST /?X-Amz-Target=AmazonSQS.DeleteQueue", "sqs", TARGET, b"{}"),
        ("POST /?x%2Damz-target=AmazonSQS.DeleteQueue", "sqs", FORM, b"Action=SendMessage"),
        ("POST /?Action=SendMessage", "sqs", FORM, b"Action=DeleteQueue"),
        ("POST /?Action=SendMessage", "sqs", FORM, b"Action=SendMessage"),
        ("POST /", "sqs", FORM, b"Action=SendMessage&Action=DeleteQueue"),
        ("POST /", "sqs", FORM, b"Action=SendMessage&action=DeleteQueue"),
        ("POST /", "sqs", FORM, b"action=SendMessage"),
        ("POST /", "sqs", FORM, b"Version=2012-11-05"),
        ("POST /", "sqs", FORM, b"Action=SendMessage&A=1&A=2"),
        ("POST /", "sqs", FORM, b"Action=\xff"),
        ("POST /", "sqs", FORM, b"Action=%zz"),
        ("POST /", "sqs", {"content-type": "multipart/form-data; boundary=a"}, b"--a"),
        ("POST /", "sqs", {"content-type": "text/plain"}, b"Action=SendMessage"),
        ("PUT /?Action=SendMessage", "sqs", {}, b""),
        ("GET /?Action=SendMessage", "sqs", {}, b"Action=DeleteQueue"),
        ("GET /", "sqs", {}, b""),
        ("POST /?Action=Invoke", "lambda", {}, b""),
        ("GET /2015-03-31/functions/f?Action=DeleteFunction", "lambda", {}, b""),
        ("GET /2015-03-31/unknown", "lambda", {}, b""),
        ("PATCH /2015-03-31/functions/f", "lambda", {}, b""),
        ("POST /meetings?Operation=create-attendees", "chime-sdk-meetings", {}, b""),
        ("GET /2015-03-31/functions/f%2Fpolicy", "lambda", {}, b""),
        ("POST /meetings?operation=nonsense", "chime-sdk-meetings", {}, b""),
        ("GET /v1/tags/a", "mq kafka", {}, b""),
        ("GET /", "s3", {}, b""),
        (f"POST {CBOR_PATH}/PutMetricData", "sqs", CBOR, b""),
        (f"GET {CBOR_PATH}/PutMetricData", "cloudwatch", CBOR, b""),
        (f"POST {CBOR_PATH}/PutMetricData", "cloudwatch", JSON | {"smithy-protocol": "rpc-v2-cbor"}, b"{}"),
        (f"POST {CBOR_PATH}/PutMetricData", "cloudwatch", CBOR | {"smithy-protocol": "rpc-v2-json"}, b"{}"),
        (f"POST {CBOR_PATH}/PutMetricData/more", "cloudwatch", CBOR, b""),
        ("POST /PutMetricData", "cloudwatch", CBOR, b""),
    ],
)
def test_what_two_servers_could_read_differently_is_refused(
    line: str, services: str, headers: dict[str, str], body: bytes
) -> None:
    """Two names, a name in the wrong place, a lying content type and no name at all are denied."""
    with pytest.raises(IntentError):
        ask(line, services, headers, body)


def test_an_encoded_slash_inside_a_label_is_fine() -> None:
    """An ARN in a path has slashes; only one that would make another operation is refused."""
    found = ask("GET /v1/tags/arn%3Aaws%3Aecs%2Fmine", "mq", {}, b"")

    assert found.labels == {"resource-arn": "arn:aws:ecs/mine"}


def test_a_field_sent_twice_is_refused() -> None:
    """Two X-Amz-Target fields are two operations."""
    request: Any = view("POST /", JSON, b"{}")
    doubled = RequestView(
        method="POST",
        scheme="https",
        authority=request.authority,
        path="/",
        query=None,
        headers=(
            *JSON.items(),
            ("x-amz-target", "AmazonSQS.SendMessage"),
            ("x-amz-target", "AmazonSQS.DeleteQueue"),
        ),
    )

    with pytest.raises(IntentError, match="twice"):
        read_call(doubled, ["sqs"])
