"""What upstreams say of a permission that is missing, in the words each of them uses."""

import pytest

from proxy.intents.shortfall import ANSWER_LIMIT, read_shortfall
from proxy.model.intent import Headers

S3 = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>User: '
    b"arn:aws:sts::123456789012:assumed-role/payments-release/job is not authorized to perform: "
    b"s3:PutObject on resource: "
    b'"arn:aws:s3:::releases/payments/a.tgz" because no session policy allows the s3:PutObject action</Message></Error>'
)
JSON = (
    b'{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","Message":"User: '
    b"arn:aws:sts::1:assumed-role/r/s "
    b"is not authorized to perform: dynamodb:PutItem on resource: arn:aws:dynamodb:eu-west-1:1:table/locks with an "
    b'explicit deny in an identity-based policy"}'
)
EC2 = b"<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized</Message></Error>"
STORAGE = (
    b'{"error": {"code": 403, "message": "ci@p.iam.gserviceaccount.com does not have storage.objects.get access to the '
    b"Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).\"}}"
)
GOOGLE = (
    b'{"error": {"code": 403, "message": "Permission \'run.services.get\' denied on resource '
    b'\'//run.googleapis.com/projects/p/locations/l/services/s\'", "details": [{"reason": "IAM_PERMISSION_DENIED"}]}}'
)
AZURE = (
    b'{"error":{"code":"AuthorizationFailed","message":"The client \'x\' does not have authorization to perform action '
    b"'Microsoft.Web/sites/read' over scope '/subscriptions/s/resourceGroups/g' or the scope is invalid.\"}}"
)
KUBERNETES = (
    b'{"kind":"Status","status":"Failure","message":"pods is forbidden: User \\"ci\\" cannot list '
    b'resource \\"pods\\" in '
    b'API group \\"\\" in the namespace \\"shop\\"","reason":"Forbidden","code":403}'
)
CASES: list[tuple[str, Headers, bytes, dict[str, str]]] = [
    (
        "S3",
        (),
        S3,
        {
            "code": "AccessDenied",
            "permission": "s3:PutObject",
            "resource": "arn:aws:s3:::releases/payments/a.tgz",
            "because": "session",
        },
    ),
    (
        "AWS JSON",
        (),
        JSON,
        {
            "code": "AccessDeniedException",
            "permission": "dynamodb:PutItem",
            "resource": "arn:aws:dynamodb:eu-west-1:1:table/locks",
            "because": "identity-based",
        },
    ),
    ("AWS query", (), EC2, {"code": "UnauthorizedOperation"}),
    (
        "AWS REST",
        (("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/coral/"),),
        b'{"message":"no"}',
        {"code": "AccessDeniedException"},
    ),
    ("AWS, odd", (("x-amzn-errortype", "!"),), b"", {}),
    ("Cloud Storage", (), STORAGE, {"permission": "storage.objects.get"}),
    (
        "Google",
        (),
        GOOGLE,
        {
            "code": "IAM_PERMISSION_DENIED",
            "permission": "run.services.get",
            "resource": "run.googleapis.com/projects/p/locations/l/services/s",
        },
    ),
    (
        "Azure",
        (),
        AZURE,
        {
            "code": "AuthorizationFailed",
            "permission": "Microsoft.Web/sites/read",
            "resource": "/subscriptions/s/resourceGroups/g",
        },
    ),
    ("Kubernetes", (), KUBERNETES, {"code": "Forbidden", "permission": "list resource pods", "resource": "shop"}),
    ("Vault", (), b'{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}', {"code": "permission denied"}),
    (
        "GitHub",
        (("x-accepted-github-permissions", "contents=read; issues=write"),),
        b"{}",
        {"permission": "contents=read; issues=write"},
    ),
    ("GitHub, odd", (("x-accepted-github-permissions", "<script>"),), b"{}", {}),
    (
        "registry",
        (
            (
                "www-authenticate",
                'Bearer realm="https://auth.test/token",scope="repository:acme/app:push",error="insufficient_scope"',
            ),
        ),
        b"",
        {"code": "insufficient_scope", "permission": "repository:acme/app:push"},
    ),
    (
        "registry, unscoped",
        (("www-authenticate", 'Bearer error="insufficient_scope"'),),
        b"",
        {"code": "insufficient_scope"},
    ),
    ("a login", (("www-authenticate", "Basic"), ("server", "x")), b"no", {}),
    ("nothing", (), b"", {}),
    ("not text", (), bytes(range(256)), {}),
]


@pytest.mark.parametrize("name, fields, body, expected", CASES)
def test_what_was_missing_is_read(name: str, fields: Headers, body: bytes, expected: dict[str, str]) -> None:
    assert read_shortfall(fields, body) == expected, name


def test_only_the_beginning_is_read_and_texts_are_short() -> None:
    """Whatever an upstream writes, what stays of it is short and plain."""
    assert read_shortfall((), b" " * ANSWER_LIMIT + S3) == {}
    long = b"is not authorized to perform: s3:" + b"a" * 5000 + b" on resource: " + b"r" * 5000
    assert all(len(value) <= 256 for value in read_shortfall((), long).values())
