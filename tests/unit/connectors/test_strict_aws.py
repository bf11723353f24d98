"""The fakes that stand in for AWS are strict: what real AWS refuses, they refuse, so that passing means something."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import botocore.auth
import jwt
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.aws_verifier import AwsVerifier, IssuedKey, RefusedError, Wire, check_policy
from tests.fakes.clock import FixedClock
from tests.fakes.sts import Role, StrictSts

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
KEY = rsa.generate_private_key(65537, 2048)
ROLE = "arn:aws:iam::123456789012:role/release"
ISSUER = "https://issuer.test"
HOST = "releases.s3.eu-west-1.amazonaws.com"
STS = "sts.eu-west-1.amazonaws.com"

type Headers = tuple[tuple[bytes, bytes], ...]


def signed(service: str = "s3", method: str = "PUT", url: str = f"https://{HOST}/key", body: bytes = b"x") -> Wire:
    """A request as botocore itself signs it."""
    sent: Any = AWSRequest
    request = sent(method, url, headers={"Content-Type": "text/plain"}, data=body)
    kind: Any = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None))
        keys: Any = Credentials
        kind(keys("AKIA1", "secret", "token"), service, "eu-west-1").add_auth(request)
    host = url.partition("://")[2].partition("/")[0]
    headers = (("host", host), *((name.lower(), str(value)) for name, value in request.headers.items()))
    target = "/" + url.partition("://")[2].partition("/")[2]
    return Wire(method.encode(), target.encode(), tuple((n.encode(), v.encode()) for n, v in headers), body)


def verifier(**given: Any) -> AwsVerifier:
    return AwsVerifier({"AKIA1": IssuedKey(**({"secret": "secret", "token": "token"} | given))})


@pytest.mark.parametrize(
    "service, url, body",
    [
        ("s3", f"https://{HOST}/a%20b/c%2Bd?versionId=1&x=", b"x"),
        ("s3", f"https://{HOST}/", b""),
        ("dynamodb", "https://dynamodb.eu-west-1.amazonaws.com/", b"{}"),
        ("execute-api", "https://abc.execute-api.eu-west-1.amazonaws.com/prod/a%20b/?b=2&a=1", b"x"),
    ],
)
def test_what_botocore_signs_is_accepted(service: str, url: str, body: bytes) -> None:
    """The verifier is not merely strict: the SDK's own requests pass."""
    found = verifier().verify(signed(service, url=url, body=body), NOW)
    assert (found.key_id, found.region, found.service) == ("AKIA1", "eu-west-1", service)


def without(name: bytes) -> Callable[[Headers], Headers]:
    return lambda headers: tuple(pair for pair in headers if pair[0] != name)


def changed(name: bytes, old: bytes, new: bytes) -> Callable[[Headers], Headers]:
    return lambda headers: tuple((key, value.replace(old, new) if key == name else value) for key, value in headers)


def added(name: bytes, value: bytes) -> Callable[[Headers], Headers]:
    return lambda headers: (*headers, (name, value))


@pytest.mark.parametrize(
    "change, code",
    [
        (without(b"authorization"), "MissingAuthenticationToken"),
        (added(b"authorization", b"AWS4-HMAC-SHA256 x"), "MissingAuthenticationToken"),
        (changed(b"authorization", b"AWS4-HMAC", b"AWS4-ECDSA"), "InvalidRequest"),
        (changed(b"authorization", b"SignedHeaders", b"Headers"), "IncompleteSignature"),
        (changed(b"authorization", b"/aws4_request", b"/aws5_request"), "IncompleteSignature"),
        (changed(b"authorization", b"/aws4_request", b""), "IncompleteSignature"),
        (changed(b"authorization", b"AKIA1", b"AKIA2"), "InvalidAccessKeyId"),
        (changed(b"authorization", b"20300101", b"20300102"), "SignatureDoesNotMatch"),
        (changed(b"authorization", b"eu-west-1", b"us-east-1"), "SignatureDoesNotMatch"),
        (changed(b"authorization", b"content-type;host", b"host;content-type"), "IncompleteSignature"),
        (changed(b"authorization", b"content-type;", b""), "AccessDenied"),
        (changed(b"authorization", b"host;", b"host;via;"), "SignatureDoesNotMatch"),
        (changed(b"authorization", b"x-amz-security-token", b"x-amz-security-token;z"), "SignatureDoesNotMatch"),
        (added(b"x-amz-acl", b"public-read"), "AccessDenied"),
        (without(b"x-amz-security-token"), "InvalidToken"),
        (changed(b"x-amz-security-token", b"token", b"other"), "InvalidToken"),
        (added(b"x-amz-security-token", b"token"), "InvalidToken"),
        (without(b"x-amz-date"), "AccessDenied"),
        (without(b"x-amz-content-sha256"), "SignatureDoesNotMatch"),
        (added(b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"), "InvalidRequest"),
        (changed(b"host", b"releases", b"payroll"), "SignatureDoesNotMatch"),
        (changed(b"content-type", b"plain", b"html"), "SignatureDoesNotMatch"),
    ],
)
def test_a_touched_head_is_refused(change: Callable[[Headers], Headers], code: str) -> None:
    """Every field that is missing, doubled, moved or changed after signing is noticed."""
    good = signed()
    with pytest.raises(RefusedError) as caught:
        verifier().verify(Wire(good.method, good.target, change(good.headers), good.body), NOW)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "method, target, body, now, given, code",
    [
        (b"GET", b"/key", b"x", NOW, {}, "SignatureDoesNotMatch"),
        (b"PUT", b"/other", b"x", NOW, {}, "SignatureDoesNotMatch"),
        (b"PUT", b"/key?a=1", b"x", NOW, {}, "SignatureDoesNotMatch"),
        (b"PUT", b"/key?X-Amz-Signature=1", b"x", NOW, {}, "InvalidRequest"),
        (b"PUT", b"/key", b"y", NOW, {}, "XAmzContentSHA256Mismatch"),
        (b"PUT", b"/key", b"x", NOW + timedelta(minutes=16), {}, "RequestTimeTooSkewed"),
        (b"PUT", b"/key", b"x", NOW, {"expires_at": NOW}, "ExpiredToken"),
        (b"PUT", b"/key", b"x", NOW, {"secret": "other"}, "SignatureDoesNotMatch"),
        (b"PUT", b"/key", b"x", NOW, {"token": None}, "InvalidToken"),
    ],
)
def test_another_request_is_refused(
    method: bytes, target: bytes, body: bytes, now: datetime, given: dict[str, Any], code: str
) -> None:
    """A signature is for one method, target, body, time and key."""
    with pytest.raises(RefusedError) as caught:
        verifier(**given).verify(Wire(method, target, signed().headers, body), now)
    assert caught.value.code == code


POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:Get*"], "Resource": "arn:aws:s3:::releases/[a]/*"}
    ],
}


@pytest.mark.parametrize(
    "action, resource, is_allowed",
    [
        ("s3:PutObject", "arn:aws:s3:::releases/[a]/b/c", True),
        ("s3:putobject", "arn:aws:s3:::releases/[a]/", True),
        ("s3:GetObject", "arn:aws:s3:::releases/[a]/b", True),
        ("s3:DeleteObject", "arn:aws:s3:::releases/[a]/b", False),
        ("s3:PutObject", "arn:aws:s3:::releases/a/b", False),
        ("s3:PutObject", "arn:aws:s3:::payroll/[a]/b", False),
    ],
)
def test_a_session_policy_is_enforced(action: str, resource: str, *, is_allowed: bool) -> None:
    """Only what it names; brackets are no wildcards."""
    key = IssuedKey(secret="x", policy=POLICY)
    if is_allowed:
        check_policy(key, action, resource)
    else:
        with pytest.raises(RefusedError, match="AccessDenied"):
            check_policy(key, action, resource)


def sts() -> StrictSts:
    made = StrictSts(FixedClock(NOW), verifier(principal="arn:aws:iam::123456789012:user/ci"))
    made.issuers[ISSUER] = KEY.public_key()
    made.roles[ROLE] = Role(issuer=ISSUER, principals=frozenset({"arn:aws:iam::123456789012:user/ci"}))
    return made


def by_token(**changes: str | None) -> Wire:
    claims = {"iss": ISSUER, "aud": "sts.amazonaws.com", "exp": int(NOW.timestamp()) + 300}
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "job",
        "DurationSeconds": "900",
        "WebIdentityToken": jwt.encode(claims, KEY, "RS256"),
    }
    body = urlencode({name: value for name, value in (form | changes).items() if value is not None}).encode()
    return Wire(b"POST", b"/", ((b"host", STS.encode()),), body)


def code_of(answer: tuple[int, bytes]) -> str:
    return answer[1].decode().partition("<Code>")[2].partition("<")[0] if answer[0] != 200 else "issued"


@pytest.mark.parametrize(
    "changes, code",
    [
        ({}, "issued"),
        ({"Version": "2012-01-01"}, "InvalidAction"),
        ({"Action": "AssumeRoleWithSAML"}, "InvalidAction"),
        ({"Action": "AssumeRole"}, "MissingAuthenticationToken"),
        ({"Action": "GetCallerIdentity"}, "MissingAuthenticationToken"),
        ({"Surprise": "1"}, "ValidationError"),
        ({"Tags.member.1.Key": "a"}, "ValidationError"),
        ({"RoleArn": "short"}, "ValidationError"),
        ({"RoleArn": ROLE + "x"}, "AccessDenied"),
        ({"RoleSessionName": "a"}, "ValidationError"),
        ({"RoleSessionName": "a b"}, "ValidationError"),
        ({"RoleSessionName": "x" * 65}, "ValidationError"),
        ({"DurationSeconds": "899"}, "ValidationError"),
        ({"DurationSeconds": "3601"}, "ValidationError"),
        ({"DurationSeconds": "soon"}, "ValidationError"),
        ({"WebIdentityToken": "x"}, "ValidationError"),
        ({"WebIdentityToken": "abc.def.ghi"}, "InvalidIdentityToken"),
        ({"Policy": json.dumps(POLICY)}, "issued"),
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": "[]"}, "MalformedPolicyDocument"),
        ({"Policy": json.dumps(POLICY | {"Version": "2020-01-01"})}, "MalformedPolicyDocument"),
        ({"Policy": json.dumps(POLICY | {"Statement": [{"Effect": "Allow"}]})}, "MalformedPolicyDocument"),
        ({"Policy": " " * 2049}, "ValidationError"),
        (
            {"Policy": json.dumps(POLICY | {"Statement": [{**POLICY["Statement"][0], "Resource": "x" * 1300}]})},
            "PackedPolicyTooLarge",
        ),
    ],
)
def test_sts_holds_every_parameter_to_its_limits(changes: dict[str, str | None], code: str) -> None:
    """Grammar, ranges, versions and policies, as the API Reference has them."""
    assert code_of(sts().answer(by_token(**changes))) == code


@pytest.mark.parametrize(
    "extra, region, code",
    [
        ({}, "eu-west-1", "issued"),
        ({}, "us-east-1", "SignatureDoesNotMatch"),
        ({"ExternalId": "unasked"}, "eu-west-1", "AccessDenied"),
        ({"Tags.member.1.Key": "a", "Tags.member.1.Value": "b"}, "eu-west-1", "issued"),
        ({"Tags.member.1.Key": "a", "Tags.member.1.Value": "b!"}, "eu-west-1", "ValidationError"),
        ({"Tags.member.1.Key": "a", "Tags.member.1.Value": "b" * 257}, "eu-west-1", "ValidationError"),
        ({"Tags.member.1.Key": "", "Tags.member.1.Value": "b"}, "eu-west-1", "ValidationError"),
        (
            {
                "Tags.member.1.Key": "a",
                "Tags.member.1.Value": "b",
                "Tags.member.2.Key": "A",
                "Tags.member.2.Value": "c",
            },
            "eu-west-1",
            "InvalidParameterValue",
        ),
    ],
)
def test_sts_holds_signed_calls_to_signature_and_trust(extra: dict[str, str], region: str, code: str) -> None:
    """AssumeRole is for a trusted principal, signed for this region, with tags that IAM takes."""
    form = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "job",
        "DurationSeconds": "900",
    }
    wire = signed("sts", "POST", f"https://sts.{region}.amazonaws.com/", urlencode(form | extra).encode())
    assert code_of(sts().answer(wire)) == code


def test_sts_is_asked_once_for_each_parameter_and_never_in_another_way() -> None:
    """A repeated parameter, another method or path, and a signed web identity call are refused."""
    good = by_token()
    repeated = Wire(good.method, good.target, good.headers, good.body + b"&RoleArn=x")
    assert code_of(sts().answer(repeated)) == "ValidationError"
    assert code_of(sts().answer(Wire(b"GET", b"/", good.headers))) == "InvalidAction"
    authorized = Wire(good.method, good.target, (*good.headers, (b"authorization", b"x")), good.body)
    assert code_of(sts().answer(authorized)) == "IncompleteSignature"
