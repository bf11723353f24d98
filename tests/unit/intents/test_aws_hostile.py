"""Whatever a job sends to AWS, decoding ends in an intent, a wish for the body, or a refusal, and in nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.intents.aws import decode
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, Intent, RequestView

HOSTS = st.sampled_from(
    [
        "sqs.us-east-1.amazonaws.com",
        "dynamodb.us-east-1.amazonaws.com",
        "lambda.us-east-1.amazonaws.com",
        "b.s3.us-east-1.amazonaws.com",
        "s3.amazonaws.com",
        "123456789012.s3-control.us-east-1.amazonaws.com",
        "cloudformation.us-east-1.amazonaws.com",
        "monitoring.us-east-1.amazonaws.com",
        "a1.execute-api.us-east-1.amazonaws.com",
        "stack.internal",
    ]
)
LINES = st.sampled_from(["/", "/b/k", "/123456789012/q", "/2015-03-31/functions", "/v20180820/jobs", "/%zz", "/a+b"])
QUERIES = st.one_of(
    st.none(),
    st.sampled_from(["delete", "acl", "uploads", "Action=SendMessage", "X-Amz-Credential=a", "list-type=2", "restore"]),
    st.text(alphabet="abAct=&%2F+;.-", max_size=24),
)
SERVICES = ["sqs", "dynamodb", "lambda", "s3", "cloudformation", "monitoring", "execute-api", "s3express", "x"]
FIELDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                ("content-type", "application/x-amz-json-1.0"),
                ("content-type", "application/x-www-form-urlencoded"),
                ("content-type", "application/cbor"),
                ("content-type", "multipart/form-data"),
                ("content-encoding", "gzip"),
                ("smithy-protocol", "rpc-v2-cbor"),
                ("x-amz-target", "AmazonSQS.SendMessage"),
                ("x-amz-target", "DynamoDB_20120810.BatchWriteItem"),
                ("x-amz-target", "DynamoDB_20120810.ExecuteStatement"),
                ("x-amz-copy-source", "/b/k?versionId=1"),
                ("x-amz-acl", "private"),
                ("authorization", "AWS4-HMAC-SHA256 nonsense"),
            ]
        ),
        st.sampled_from(SERVICES).map(
            lambda service: (
                "authorization",
                f"AWS4-HMAC-SHA256 Credential=A/1/us-east-1/{service}/aws4_request, SignedHeaders=h, Signature=0",
            )
        ),
    ),
    max_size=4,
)
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=48),
    st.sampled_from(
        [
            b"Action=CreateFunction&Role=r",
            b"Action=CreateStack&TemplateURL=https://[",
            b'{"QueueUrl": "a", "TableName": {}, "Statement": "SELECT * FROM"}',
            b'{"RequestItems": {"t": [{"PutRequest": {}}]}, "Statement": "DELETE FROM t"}',
            b"<Delete><Object><Key>a</Key></Object></Delete>",
            b"\xbf\x61a\x7f\xff\xff",
        ]
    ),
)


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    host=HOSTS,
    path=LINES,
    query=QUERIES,
    headers=FIELDS,
    body=BODIES,
    spoken=st.sampled_from([frozenset[str](), frozenset({"aws"})]),
)
def test_decoding_ends_in_an_answer_or_a_refusal(
    method: str,
    host: str,
    path: str,
    query: str | None,
    headers: list[tuple[str, str]],
    body: bytes | None,
    spoken: frozenset[str],
) -> None:
    """No request, however odd, gets another error out of the decoder, and every intent names an AWS action."""
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query,
        headers=tuple(headers),
        body_length=None,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    try:
        answer = decode(view, spoken)
    except IntentError:
        return
    if isinstance(answer, Intent):
        assert all(each.protocol == "aws" and ":" in each.action for each in (answer, *answer.also))
    else:
        assert answer is None or (isinstance(answer, BodyWanted) and body is None)
