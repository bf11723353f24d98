"""S3: every request means what its method, path, query and fields make of it, all of it."""

import pytest

from proxy.intents.aws_hosts import S3Place
from proxy.intents.aws_s3 import Bucket, decode_s3
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

HOST = Bucket(place=S3Place(kind="bucket", name="b"), partition="aws", region="us-east-1")
PATH = Bucket(place=S3Place(kind="bucket"), partition="aws", region="us-east-1")
CHINA = Bucket(place=S3Place(kind="bucket", name="b"), partition="aws-cn", region="cn-north-1")
POINT = Bucket(place=S3Place(kind="point", name="p", account="123456789012"), partition="aws", region="eu-west-1")
LAMBDA = Bucket(
    place=S3Place(kind="object-lambda", name="f", account="123456789012"), partition="aws", region="eu-west-1"
)
MANY = Bucket(place=S3Place(kind="mrap", name="m"), partition="aws", region="")
OUTPOST = Bucket(place=S3Place(kind="outpost", name="b.op-1"), partition="aws", region="us-west-2")
EXPRESS = Bucket(place=S3Place(kind="express", name="d--x-s3"), partition="aws", region="us-east-1")
CONTROL = Bucket(place=S3Place(kind="express"), partition="aws", region="us-east-1")
READ, LIST, WRITE = EffectClass.READ, EffectClass.LIST, EffectClass.WRITE
DELETE, ADMIN, CREDENTIAL = EffectClass.DELETE, EffectClass.ADMIN, EffectClass.CREDENTIAL


def ask(
    line: str, headers: dict[str, str] | None = None, body: bytes | None = None, bucket: Bucket = HOST
) -> Intent | BodyWanted:
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    return decode_s3(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority("s3.amazonaws.com", 443),
            path=path,
            query=query if mark else None,
            headers=tuple((headers or {}).items()),
            body_length=0 if body is None else len(body),
            body=None if body is None else BodyPrefix(data=body, is_whole=True),
        ),
        bucket,
    )


def meant(answer: Intent | BodyWanted) -> list[tuple[str, str, EffectClass]]:
    assert isinstance(answer, Intent)
    return [(each.action, each.resource.id, each.effect) for each in (answer, *answer.also)]


@pytest.mark.parametrize(
    "line,bucket,action,arn,effect",
    [
        ("GET /k", HOST, "s3:GetObject", "arn:aws:s3:::b/k", READ),
        ("HEAD /k", HOST, "s3:GetObject", "arn:aws:s3:::b/k", READ),
        ("GET /k?versionId=1", HOST, "s3:GetObjectVersion", "arn:aws:s3:::b/k", READ),
        ("HEAD /k?versionId=1", HOST, "s3:GetObjectVersion", "arn:aws:s3:::b/k", READ),
        (
            "GET /k?partNumber=1&response-content-type=text%2Fhtml&x-id=GetObject",
            HOST,
            "s3:GetObject",
            "arn:aws:s3:::b/k",
            READ,
        ),
        ("GET /a/b%20c%2Bd/", HOST, "s3:GetObject", "arn:aws:s3:::b/a/b c+d/", READ),
        ("GET /b/a/k", PATH, "s3:GetObject", "arn:aws:s3:::b/a/k", READ),
        ("GET /b", PATH, "s3:ListBucket", "arn:aws:s3:::b", LIST),
        ("GET /b/", PATH, "s3:ListBucket", "arn:aws:s3:::b", LIST),
        ("GET /", PATH, "s3:ListAllMyBuckets", "*", LIST),
        ("GET /", HOST, "s3:ListBucket", "arn:aws:s3:::b", LIST),
        ("GET /?list-type=2&prefix=a%2F", HOST, "s3:ListBucket", "arn:aws:s3:::b", LIST),
        ("HEAD /", HOST, "s3:ListBucket", "arn:aws:s3:::b", LIST),
        ("GET /?versions", HOST, "s3:ListBucketVersions", "arn:aws:s3:::b", LIST),
        ("GET /?uploads", HOST, "s3:ListBucketMultipartUploads", "arn:aws:s3:::b", LIST),
        ("PUT /k", HOST, "s3:PutObject", "arn:aws:s3:::b/k", WRITE),
        ("PUT /k", CHINA, "s3:PutObject", "arn:aws-cn:s3:::b/k", WRITE),
        ("POST /k?uploads", HOST, "s3:PutObject", "arn:aws:s3:::b/k", WRITE),
        ("PUT /k?uploadId=u&partNumber=1", HOST, "s3:PutObject", "arn:aws:s3:::b/k", WRITE),
        ("POST /k?uploadId=u", HOST, "s3:PutObject", "arn:aws:s3:::b/k", WRITE),
        ("GET /k?uploadId=u", HOST, "s3:ListMultipartUploadParts", "arn:aws:s3:::b/k", LIST),
        ("DELETE /k?uploadId=u", HOST, "s3:AbortMultipartUpload", "arn:aws:s3:::b/k", DELETE),
        ("DELETE /k", HOST, "s3:DeleteObject", "arn:aws:s3:::b/k", DELETE),
        ("DELETE /k?versionId=1", HOST, "s3:DeleteObjectVersion", "arn:aws:s3:::b/k", DELETE),
        ("DELETE /k?tagging", HOST, "s3:DeleteObjectTagging", "arn:aws:s3:::b/k", DELETE),
        ("GET /k?acl", HOST, "s3:GetObjectAcl", "arn:aws:s3:::b/k", READ),
        ("PUT /k?acl&versionId=1", HOST, "s3:PutObjectVersionAcl", "arn:aws:s3:::b/k", ADMIN),
        ("PUT /k?retention", HOST, "s3:PutObjectRetention", "arn:aws:s3:::b/k", ADMIN),
        ("POST /k?select&select-type=2", HOST, "s3:GetObject", "arn:aws:s3:::b/k", READ),
        ("PUT /", HOST, "s3:CreateBucket", "arn:aws:s3:::b", WRITE),
        ("DELETE /", HOST, "s3:DeleteBucket", "arn:aws:s3:::b", DELETE),
        ("GET /?policy", HOST, "s3:GetBucketPolicy", "arn:aws:s3:::b", READ),
        ("PUT /?policy", HOST, "s3:PutBucketPolicy", "arn:aws:s3:::b", ADMIN),
        ("DELETE /?cors", HOST, "s3:PutBucketCORS", "arn:aws:s3:::b", ADMIN),
        ("PUT /?publicAccessBlock", HOST, "s3:PutBucketPublicAccessBlock", "arn:aws:s3:::b", ADMIN),
        ("GET /?inventory", HOST, "s3:GetInventoryConfiguration", "arn:aws:s3:::b", READ),
        ("GET /?inventory&id=i", HOST, "s3:GetInventoryConfiguration", "arn:aws:s3:::b", READ),
        ("GET /k", POINT, "s3:GetObject", "arn:aws:s3:eu-west-1:123456789012:accesspoint/p/object/k", READ),
        ("GET /", POINT, "s3:ListBucket", "arn:aws:s3:eu-west-1:123456789012:accesspoint/p", LIST),
        (
            "GET /k",
            LAMBDA,
            "s3-object-lambda:GetObject",
            "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/f/object/k",
            READ,
        ),
        ("POST /WriteGetObjectResponse", LAMBDA, "s3-object-lambda:WriteGetObjectResponse", "*", WRITE),
        ("PUT /k", MANY, "s3:PutObject", "arn:aws:s3::*:accesspoint/m/object/k", WRITE),
        ("PUT /k", OUTPOST, "s3-outposts:PutObject", "arn:aws:s3-outposts:us-west-2:*:b.op-1/k", WRITE),
        (
            "GET /?session",
            EXPRESS,
            "s3express:CreateSession",
            "arn:aws:s3express:us-east-1:*:bucket/d--x-s3",
            CREDENTIAL,
        ),
        ("PUT /k", EXPRESS, "s3:PutObject", "arn:aws:s3express:us-east-1:*:bucket/d--x-s3/k", WRITE),
        ("GET /", CONTROL, "s3express:ListAllMyDirectoryBuckets", "*", LIST),
        (
            "PUT /d--x-s3?policy",
            CONTROL,
            "s3express:PutBucketPolicy",
            "arn:aws:s3express:us-east-1:*:bucket/d--x-s3",
            ADMIN,
        ),
    ],
)
def test_a_request_is_one_action_on_one_arn(
    line: str, bucket: Bucket, action: str, arn: str, effect: EffectClass
) -> None:
    """Method, path and sub-resource give the IAM action, and the ARN it is asked for."""
    assert meant(ask(line, bucket=bucket)) == [(action, arn, effect)]


@pytest.mark.parametrize(
    "line,headers,also",
    [
        ("PUT /k", {"x-amz-copy-source": "/src/a%20b"}, [("s3:GetObject", "arn:aws:s3:::src/a b", READ)]),
        ("PUT /k", {"x-amz-copy-source": "src/a?versionId=1"}, [("s3:GetObjectVersion", "arn:aws:s3:::src/a", READ)]),
        (
            "PUT /k?uploadId=u&partNumber=1",
            {"x-amz-copy-source": "arn%3Aaws%3As3%3Aus-east-1%3A123456789012%3Aaccesspoint/p/object/a"},
            [("s3:GetObject", "arn:aws:s3:us-east-1:123456789012:accesspoint/p/object/a", READ)],
        ),
        ("PUT /k", {"x-amz-acl": "public-read"}, [("s3:PutObjectAcl", "arn:aws:s3:::b/k", ADMIN)]),
        ("PUT /k?x-amz-acl=public-read", {}, [("s3:PutObjectAcl", "arn:aws:s3:::b/k", ADMIN)]),
        ("PUT /k?X-Amz-Acl=public-read", {}, [("s3:PutObjectAcl", "arn:aws:s3:::b/k", ADMIN)]),
        ("POST /k?uploads", {"x-amz-grant-read": "id=1"}, [("s3:PutObjectAcl", "arn:aws:s3:::b/k", ADMIN)]),
        ("PUT /k", {"x-amz-tagging": "a=b"}, [("s3:PutObjectTagging", "arn:aws:s3:::b/k", WRITE)]),
        ("PUT /k", {"x-amz-tagging": ""}, []),
        (
            "PUT /k",
            {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2030-01-01T00:00:00Z"},
            [("s3:PutObjectRetention", "arn:aws:s3:::b/k", ADMIN)],
        ),
        ("PUT /k", {"x-amz-object-lock-legal-hold": "ON"}, [("s3:PutObjectLegalHold", "arn:aws:s3:::b/k", ADMIN)]),
        (
            "PUT /k",
            {"x-amz-object-lock-event-hold": "ON"},
            [
                ("s3:PutObjectRetention", "arn:aws:s3:::b/k", ADMIN),
                ("s3:PutObjectLegalHold", "arn:aws:s3:::b/k", ADMIN),
            ],
        ),
        ("PUT /", {"x-amz-acl": "public-read"}, [("s3:PutBucketAcl", "arn:aws:s3:::b", ADMIN)]),
        ("PUT /", {"x-amz-grant-write": "id=1"}, [("s3:PutBucketAcl", "arn:aws:s3:::b", ADMIN)]),
        (
            "PUT /",
            {"x-amz-bucket-object-lock-enabled": "true"},
            [
                ("s3:PutBucketObjectLockConfiguration", "arn:aws:s3:::b", ADMIN),
                ("s3:PutBucketVersioning", "arn:aws:s3:::b", ADMIN),
            ],
        ),
        ("PUT /", {"x-amz-bucket-object-lock-enabled": "False"}, []),
        (
            "PUT /",
            {"x-amz-object-ownership": "ObjectWriter"},
            [("s3:PutBucketOwnershipControls", "arn:aws:s3:::b", ADMIN)],
        ),
        (
            "DELETE /k?versionId=1",
            {"x-amz-bypass-governance-retention": "true"},
            [("s3:BypassGovernanceRetention", "arn:aws:s3:::b/k", ADMIN)],
        ),
        ("GET /k?attributes", {}, [("s3:GetObject", "arn:aws:s3:::b/k", READ)]),
        ("GET /k?attributes&versionId=1", {}, [("s3:GetObjectVersion", "arn:aws:s3:::b/k", READ)]),
        (
            "PUT /k?renameObject",
            {"x-amz-rename-source": "/old%20k"},
            [("s3:DeleteObject", "arn:aws:s3:::b/old k", DELETE)],
        ),
        ("GET /k", {"x-amz-acl": "private"}, []),
        ("PUT /k", {"x-amz-meta-acl": "public", "x-amz-storage-class": "STANDARD"}, []),
    ],
)
def test_fields_add_actions(line: str, headers: dict[str, str], also: list[tuple[str, str, EffectClass]]) -> None:
    """Copying, access lists, tags, locks and bypasses are actions of their own, in headers and in signed URLs."""
    assert meant(ask(line, headers))[1:] == also


def test_a_copy_keeps_its_name() -> None:
    """The operation recorded for a copy is the copy's, not the plain write's."""
    whole = ask("PUT /k", {"x-amz-copy-source": "/src/a"})
    part = ask("PUT /k?uploadId=u&partNumber=1", {"x-amz-copy-source": "/src/a"})

    assert isinstance(whole, Intent)
    assert isinstance(part, Intent)
    assert (whole.facts["operation"], part.facts["operation"]) == ("CopyObject", "UploadPartCopy")


def test_facts_say_what_is_worth_a_record() -> None:
    """Region, prefix, version, digest and KMS key are recorded; a signature or a customer's key never is."""
    answer = ask(
        "PUT /k?versionId=3&X-Amz-Signature=secret",
        {
            "x-amz-content-sha256": "0" * 64,
            "x-amz-server-side-encryption-aws-kms-key-id": "alias/a",
            "x-amz-server-side-encryption-customer-key": "secret",
            "x-amz-security-token": "secret",
        },
    )

    assert isinstance(answer, Intent)
    assert answer.facts == {
        "operation": "PutObject",
        "service": "s3",
        "region": "us-east-1",
        "versionId": "3",
        "sha256": "0" * 64,
        "kms_key": "alias/a",
    }


def test_every_deleted_key_is_named() -> None:
    """A list of keys is one delete each, versions apart, and a bypass is one more for all."""
    body = (
        b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a%20b</Key></Object>'
        b"<Object><Key>c/d</Key><VersionId>1</VersionId></Object><Object><Key>a%20b</Key></Object><Quiet>true</Quiet></Delete>"
    )

    found = meant(ask("POST /?delete", {"x-amz-bypass-governance-retention": "true"}, body))

    assert found == [
        ("s3:DeleteObject", "arn:aws:s3:::b/a%20b", DELETE),
        ("s3:DeleteObjectVersion", "arn:aws:s3:::b/c/d", DELETE),
        ("s3:BypassGovernanceRetention", "arn:aws:s3:::b", ADMIN),
    ]


def test_bodies_are_asked_for_only_where_they_say_more() -> None:
    """A list of deletes and a replication's role need the body; an object's never."""
    view = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("s3.amazonaws.com", 443),
        path="/",
        query="delete",
        headers=(),
        body_length=10,
    )

    assert isinstance(decode_s3(view, HOST), BodyWanted)
    replication = RequestView(
        method="PUT",
        scheme="https",
        authority=view.authority,
        path="/",
        query="replication",
        headers=(),
        body_length=None,
    )
    assert isinstance(decode_s3(replication, HOST), BodyWanted)


@pytest.mark.parametrize(
    "line,body,also",
    [
        (
            "PUT /?replication",
            b"<ReplicationConfiguration><Role>arn:aws:iam::123456789012:role/r</Role></ReplicationConfiguration>",
            [("iam:PassRole", "arn:aws:iam::123456789012:role/r", ADMIN)],
        ),
        (
            "PUT /",
            b"<CreateBucketConfiguration><Tags><Tag><Key>a</Key></Tag></Tags></CreateBucketConfiguration>",
            [("s3:PutBucketTagging", "arn:aws:s3:::b", WRITE)],
        ),
        ("POST /k?restore", b"<RestoreRequest><Days>1</Days></RestoreRequest>", []),
        ("POST /k?restore", b"", []),
    ],
)
def test_xml_adds_actions(line: str, body: bytes, also: list[tuple[str, str, EffectClass]]) -> None:
    """A role in a replication is passed, tags on a new bucket are put."""
    assert meant(ask(line, None, body))[1:] == also


def test_an_empty_chunked_body_adds_nothing() -> None:
    """A body that turns out empty says no more than the head."""
    view = RequestView(
        method="PUT",
        scheme="https",
        authority=Authority("s3.amazonaws.com", 443),
        path="/",
        query=None,
        headers=(),
        body_length=None,
        body=BodyPrefix(data=b"", is_whole=True),
    )

    assert meant(decode_s3(view, HOST)) == [("s3:CreateBucket", "arn:aws:s3:::b", WRITE)]


def test_a_browsers_form_may_be_anything() -> None:
    """The key, access list and tags of a form upload are not read: all of them are asked for, on any key."""
    found = ask("POST /", {"content-type": "multipart/form-data; boundary=a"})

    assert meant(found) == [
        ("s3:PutObject", "arn:aws:s3:::b/*", WRITE),
        ("s3:PutObjectAcl", "arn:aws:s3:::b/*", ADMIN),
        ("s3:PutObjectTagging", "arn:aws:s3:::b/*", WRITE),
    ]


@pytest.mark.parametrize(
    "line,headers,body",
    [
        ("GET /k?unknown", {}, None),
        ("GET /k?Acl", {}, None),
        ("GET /k?acl&tagging", {}, None),
        ("GET /k?acl&acl", {}, None),
        ("GET /k?versionId=1&versionid=2", {}, None),
        ("GET /k?versionId=1&versionId=2", {}, None),
        ("GET /?list-type=3", {}, None),
        ("GET /a+b", {}, None),
        ("GET /%zz", {}, None),
        ("GET /%ff", {}, None),
        ("PATCH /k", {}, None),
        ("OPTIONS /k", {}, None),
        ("POST /k", {}, None),
        ("POST /", {}, None),
        ("POST /k?acl", {}, None),
        ("PUT /k?uploadId=u", {}, None),
        ("PUT /k?partNumber=1", {}, None),
        ("PUT /?delete", {}, None),
        ("GET /k?list-type=2", {}, None),
        ("HEAD /k?acl", {}, None),
        ("PUT /k?x-amz-acl=private", {"x-amz-acl": "public-read"}, None),
        ("PUT /k?x-amz-acl=private&X-Amz-Acl=public-read", {}, None),
        ("GET /k", {"x-amz-copy-source": "/src/a"}, None),
        ("DELETE /k", {"x-amz-copy-source": "/src/a"}, None),
        ("PUT /k", {"x-amz-rename-source": "/a"}, None),
        ("PUT /k", {"x-amz-copy-source": "src"}, None),
        ("PUT /k", {"x-amz-copy-source": "/src/"}, None),
        ("PUT /k", {"x-amz-copy-source": ""}, None),
        ("PUT /k", {"x-amz-copy-source": "/src/a+b"}, None),
        ("PUT /k", {"x-amz-copy-source": "/src/a?other=1"}, None),
        ("PUT /k", {"x-amz-copy-source": "/src/a?versionId=1&b"}, None),
        ("POST /?delete", {}, b"<Delete/>"),
        ("POST /?delete", {}, b"<Other><Object><Key>a</Key></Object></Other>"),
        ("POST /?delete", {}, b"<Delete><Object/></Delete>"),
        ("POST /?delete", {}, b"<Delete><Object><Key/></Object></Delete>"),
        (
            "POST /?delete",
            {},
            b"<Delete><Object><Key>a</Key></Object><More><Object><Key>b</Key></Object></More></Delete>",
        ),
        ("POST /?delete", {}, b"<Delete><Object><Key>a<!-- b -->c</Key></Object></Delete>"),
        ("POST /?delete", {}, b"<Delete><Object><Key>a</Key><key>b</key></Object></Delete>"),
        ("POST /?delete", {}, b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>"),
        ("POST /?delete", {}, b"<Delete><Object><Key>a<b/></Key></Object></Delete>"),
        ("POST /?delete", {}, b"<Delete><Object><Key>a</Key></Object><object><Key>b</Key></object></Delete>"),
        ("POST /?delete", {}, b'<!DOCTYPE d [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>'),
        ("POST /?delete", {}, b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>"),
        ("POST /?delete", {"content-encoding": "aws-chunked"}, b"<Delete/>"),
        ("POST /k?restore", {}, b"<RestoreRequest><OutputLocation/></RestoreRequest>"),
    ],
)
def test_what_could_be_something_else_is_refused(line: str, headers: dict[str, str], body: bytes | None) -> None:
    """Doubled, misspelt, contradictory and unknown requests are not read as the mildest thing they could be."""
    with pytest.raises(IntentError):
        ask(line, headers, body)


def test_an_encoded_bucket_is_refused() -> None:
    """A bucket's name needs no escape; one that has some is a second spelling."""
    with pytest.raises(IntentError, match="bucket"):
        ask("GET /b%20c/k", bucket=PATH)
