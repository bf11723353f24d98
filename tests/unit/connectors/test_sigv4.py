"""Our signatures against botocore's signer and an independent verifier; what cannot be re-signed is refused."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.connectors.sigv4 import (
    EMPTY_DIGEST,
    UNSIGNED,
    UNSIGNED_TRAILER,
    Keys,
    Scope,
    payload_mode,
    sign,
    strip_presigned,
)
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from tests.fakes.aws_verifier import AwsVerifier, IssuedKey, RefusedError, Wire

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
STAMP = "20300101T120000Z"
KEY, SECRET, TOKEN = "ASIAEXAMPLE", "planted/secret+key", "planted/session+token=="
KEYS = Keys(KEY, Secret(SECRET), Secret(TOKEN))
HOST = "releases.s3.eu-west-1.amazonaws.com"
HEX = hashlib.sha256(b"x").hexdigest()


def view(
    path: str = "/", query: str | None = None, host: str = HOST, method: str = "GET", **headers: str
) -> RequestView:
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RequestView(
        method=method, scheme="https", authority=Authority(host, 443), path=path, query=query, headers=fields
    )


def put(made: RequestView, keys: Keys = KEYS, **scope: Any) -> dict[str, str]:
    asked: dict[str, Any] = {"region": "eu-west-1", "service": "s3", "payload": EMPTY_DIGEST, "at": NOW} | scope
    what = Scope(**asked)
    fields = sign(made, made.query, keys, what)
    return {name: value if isinstance(value, str) else value.reveal() for name, value in fields}


def wire(made: RequestView, fields: dict[str, str], body: bytes = b"") -> Wire:
    kept = [(name, value) for name, value in made.headers if name not in fields]
    sent = [("host", made.authority.host), *kept, *fields.items()]
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in sent)
    return Wire(made.method.encode(), made.target.encode(), headers, body)


VERIFIER = AwsVerifier({KEY: IssuedKey(secret=SECRET, token=TOKEN)})

SEGMENT = st.text("abzAZ09-_.~ +=&%$@:;,!*'()/?#[]\u00e4\u20ac", min_size=1, max_size=12)
NAME = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)
VALUE = st.from_regex(r"[!-~]([ -~]{0,30}[!-~])?", fullmatch=True)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
        "segments": st.lists(SEGMENT.filter(lambda text: text not in {".", ".."}), max_size=4),
        "query": st.lists(st.tuples(SEGMENT, SEGMENT | st.just("")), max_size=5),
        "headers": st.dictionaries(NAME.map("x-amz-meta-".__add__), VALUE, max_size=4),
        "type": st.none() | VALUE,
        "body": st.binary(max_size=40),
        "service": st.sampled_from(["s3", "dynamodb", "sqs", "execute-api", "lambda"]),
        "region": st.sampled_from(["eu-west-1", "us-gov-west-1", "cn-north-1"]),
    }
)


def drawn_view(drawn: dict[str, Any]) -> RequestView:
    """A request as an SDK sends it: everything but unreserved characters percent-encoded."""
    path = "/" + "/".join(quote(segment, safe="-_.~") for segment in drawn["segments"])
    if drawn["service"] == "s3":
        path = path.replace("%2F", "/")
    pairs = [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in drawn["query"]]
    headers = dict(drawn["headers"]) | ({} if drawn["type"] is None else {"content-type": drawn["type"]})
    return RequestView(
        method=drawn["method"],
        scheme="https",
        authority=Authority(f"{drawn['service']}.{drawn['region']}.amazonaws.com", 443),
        path=path,
        query="&".join(pairs) or None,
        headers=tuple(headers.items()),
        body_length=len(drawn["body"]),
    )


@settings(max_examples=400, deadline=None)
@given(REQUESTS)
def test_our_signature_is_botocores(drawn: dict[str, Any]) -> None:
    """For any request, service and region we sign what botocore signs, and an independent verifier accepts it."""
    made = drawn_view(drawn)
    digest = hashlib.sha256(drawn["body"]).hexdigest()
    scope = {"service": drawn["service"], "region": drawn["region"]}
    ours = put(made, payload=digest, **scope)
    assert VERIFIER.verify(wire(made, ours, drawn["body"]), NOW).service == drawn["service"]

    kind = botocore.auth.S3SigV4Auth if drawn["service"] == "s3" else botocore.auth.SigV4Auth
    sent: Any = AWSRequest  # untyped
    request = sent(made.method, made.url.replace(":443", "", 1), headers=dict(made.headers), data=drawn["body"])
    if drawn["service"] == "s3":
        request.context["payload_signing_enabled"] = True
    signer = kind(Credentials(KEY, SECRET, TOKEN), drawn["service"], drawn["region"])  # type: ignore[no-untyped-call]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None))
        signer.add_auth(request)  # type: ignore[no-untyped-call]
    assert ours["authorization"] == request.headers["Authorization"]


# AWS signing test suite (aws-c-auth, v4): AKIDEXAMPLE, us-east-1, "service", 2015-08-30T12:36:00Z, header signatures.
SUITE_KEYS = Keys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), None)
SUITE_AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


@pytest.mark.parametrize(
    "path, query, signature",
    [
        ("/", None, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/", "Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
)
def test_published_vectors(path: str, query: str | None, signature: str) -> None:
    """The published suite's plain requests get the published signatures."""
    made = view(path, query, host="example.amazonaws.com")
    fields = put(made, SUITE_KEYS, region="us-east-1", service="service", at=SUITE_AT)
    assert fields["authorization"].endswith(f"SignedHeaders=host;x-amz-date, Signature={signature}")


@pytest.mark.parametrize(
    "tampered",
    [
        {"method": "PUT"},
        {"path": "/other"},
        {"query": "versionId=2"},
        {"host": "payroll.s3.eu-west-1.amazonaws.com"},
    ],
)
def test_a_signature_is_for_one_request(tampered: dict[str, Any]) -> None:
    """Put on anything else, AWS refuses it."""
    fields = put(view("/key", "versionId=1"))
    other = view(**({"path": "/key", "query": "versionId=1"} | tampered))
    with pytest.raises(RefusedError, match="SignatureDoesNotMatch"):
        VERIFIER.verify(wire(other, fields), NOW)


def test_only_what_no_hop_changes_is_signed() -> None:
    """x-amz-*, content-type and content-md5 are signed; what a hop may change or add is not."""
    made = view(
        content_type="text/plain",
        content_md5="x",
        x_amz_acl="private",
        expect="100-continue",
        user_agent="aws-sdk",
        via="1.1 x",
        te="trailers",
        accept="*/*",
        range="bytes=0-1",
        x_amzn_trace_id="Root=1",
        x_forwarded_for="1.2.3.4",
    )
    named = put(made)["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert named == "content-md5;content-type;host;x-amz-acl;x-amz-content-sha256;x-amz-date;x-amz-security-token"


@pytest.mark.parametrize(
    "authority, host",
    [(Authority(HOST, 443), HOST), (Authority(HOST, 8443), f"{HOST}:8443"), (Authority("::1", 80), "[::1]:80")],
)
def test_the_host_is_signed_as_it_is_sent(authority: Authority, host: str) -> None:
    """With its port exactly where it is not the scheme's own."""
    made = RequestView(method="GET", scheme="https", authority=authority, path="/", query=None, headers=())
    sent = wire(made, put(made))
    headers = ((b"host", host.encode()), *sent.headers[1:])
    VERIFIER.verify(Wire(sent.method, sent.target, headers), NOW)


def test_repeated_fields_and_runs_of_spaces() -> None:
    """Values of one name are joined in order, and runs of spaces count as one."""
    made = view()
    fields = (
        ("x-amz-meta-a", "one  two"),
        ("x-amz-meta-b", "x"),
        ("x-amz-meta-a", " \tthree\t\tfour "),
        ("x-amz-meta-c", "\xc3\xa0 \xa0"),
    )
    made = RequestView(method="GET", scheme="https", authority=made.authority, path="/", query=None, headers=fields)
    VERIFIER.verify(wire(made, put(made)), NOW)


@pytest.mark.parametrize(
    "declared, service, length, query, expected",
    [
        (None, "s3", 0, None, EMPTY_DIGEST),
        (None, "dynamodb", 0, None, EMPTY_DIGEST),
        (None, "s3", 5, None, None),
        (None, "dynamodb", 5, None, None),
        (None, "s3", None, None, None),
        (None, "s3", 5, "X-Amz-Signature=x", UNSIGNED),
        (None, "execute-api", 5, "X-Amz-Signature=x", None),
        (HEX, "s3", 5, None, HEX),
        (HEX, "dynamodb", 5, None, HEX),
        (UNSIGNED, "s3", None, None, UNSIGNED),
        (UNSIGNED_TRAILER, "s3", None, None, UNSIGNED_TRAILER),
    ],
)
def test_what_is_signed_for_the_body(
    declared: str | None, service: str, length: int | None, query: str | None, expected: str | None
) -> None:
    """A digest or a known sentinel is kept; None asks for the body's digest."""
    headers = () if declared is None else (("x-amz-content-sha256", declared),)
    made = RequestView(
        method="PUT",
        scheme="https",
        authority=Authority(HOST, 443),
        path="/",
        query=query,
        headers=headers,
        body_length=length,
    )
    assert payload_mode(made, service) == expected


@pytest.mark.parametrize(
    "declared, said",
    [
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "SigV4a"),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "SigV4a"),
        ("STREAMING-AWS4-HMAC-SHA256-EVENTS", "event streams"),
        ("STREAMING-SOMETHING-NEW", "neither a SHA-256 nor a mode"),
        (HEX.upper(), "neither"),
        (HEX[:-1], "neither"),
        (f"{HEX}\n", "neither"),
        ("", "neither"),
        ("unsigned-payload", "neither"),
    ],
)
def test_modes_that_cannot_be_signed_again_are_named(declared: str, said: str) -> None:
    """Event signatures, SigV4a and unknown modes are refused before anything is sent half-signed."""
    with pytest.raises(CredentialError, match=said) as caught:
        payload_mode(view(x_amz_content_sha256=declared), "s3")
    assert caught.value.reason is Reason.SIGNING_UNSUPPORTED


PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=JOB%2F20300101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date="
    f"{STAMP}&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t&X-Amz-Signature={HEX}"
)


@pytest.mark.parametrize(
    "query, expected",
    [
        (None, None),
        ("", ""),
        (PRESIGNED, None),
        (f"versionId=1&{PRESIGNED}&partNumber=2&x=", "versionId=1&partNumber=2&x="),
        (f"b=%2F&a&{PRESIGNED}", "b=%2F&a"),
        ("X-Amz%2DSignature=x&a=1", "a=1"),
    ],
)
def test_a_presigned_query_loses_its_signature_only(query: str | None, expected: str | None) -> None:
    """Everything else stays, in its order and spelling."""
    assert strip_presigned(query) == expected


def test_a_presigned_url_becomes_a_signed_request() -> None:
    """What was signed in the query is accepted signed in the header, and says what it did."""
    made = view("/key", f"versionId=1&{PRESIGNED}")
    query = strip_presigned(made.query)
    sent = view("/key", query)
    fields = put(sent, payload=UNSIGNED)
    assert VERIFIER.verify(wire(sent, fields), NOW).region == "eu-west-1"


@pytest.mark.parametrize("late", [timedelta(minutes=16), timedelta(minutes=-16)])
def test_a_signature_is_of_its_time(late: timedelta) -> None:
    """Signed with the given clock: AWS refuses it a quarter of an hour off."""
    made = view()
    with pytest.raises(RefusedError, match="RequestTimeTooSkewed"):
        VERIFIER.verify(wire(made, put(made)), NOW + late)


def test_no_secret_is_in_what_can_be_printed() -> None:
    """Keys and signed fields show neither secret key nor session token."""
    what = Scope(region="eu-west-1", service="s3", payload=EMPTY_DIGEST, at=NOW)
    shown = f"{KEYS!r}{sign(view(), None, KEYS, what)!r}"
    assert SECRET not in shown
    assert TOKEN not in shown
