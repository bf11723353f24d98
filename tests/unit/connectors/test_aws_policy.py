"""What intents say becomes what STS is told: no less than the rule, in as few characters as that takes."""

import json
from typing import Any

import pytest

from proxy.connectors.aws_policy import check_action, read_lines, write_policy

BUCKET = "arn:aws:s3:::releases"


def statements(*lines: str) -> list[tuple[Any, Any]]:
    text = write_policy(read_lines(lines))
    assert text is not None
    document = json.loads(text)
    assert document["Version"] == "2012-10-17"
    assert {each["Effect"] for each in document["Statement"]} == {"Allow"}
    return [(each["Action"], each["Resource"]) for each in document["Statement"]]


@pytest.mark.parametrize(
    "lines, expected",
    [
        ([f"aws s3:GetObject {BUCKET}/*"], [(["s3:GetObject"], [f"{BUCKET}/*"])]),
        ([f"aws s3:Get* {BUCKET}/**"], [(["s3:Get*"], [f"{BUCKET}/*"])]),
        ([f"aws s3:GetObject {BUCKET}/**/x"], [(["s3:GetObject"], [f"{BUCKET}/*x"])]),
        (["aws * *"], [(["*"], "*")]),
        (["aws s3:ListAllMyBuckets **"], [(["s3:ListAllMyBuckets"], "*")]),
        (
            [f"aws s3:PutObject {BUCKET}/*", f"aws s3:GetObject {BUCKET}/*", f"aws s3:GetObject {BUCKET}/*"],
            [(["s3:GetObject", "s3:PutObject"], [f"{BUCKET}/*"])],
        ),
        (
            [f"aws s3:GetObject {BUCKET}/a", f"aws s3:GetObject {BUCKET}/b"],
            [(["s3:GetObject"], [f"{BUCKET}/a", f"{BUCKET}/b"])],
        ),
        ([f"aws s3:GetObject {BUCKET}/a", "aws s3:GetObject *"], [(["s3:GetObject"], "*")]),
        ([f"aws s3:GetObject {BUCKET}/a", f"aws * {BUCKET}/a"], [(["*"], [f"{BUCKET}/a"])]),
        (
            [f"aws s3:GetObject {BUCKET}/a", "aws kms:Decrypt *", "http GET *", "unknown"],
            [(["kms:Decrypt"], "*"), (["s3:GetObject"], [f"{BUCKET}/a"])],
        ),
    ],
)
def test_intents_become_statements(lines: list[str], expected: list[tuple[Any, Any]]) -> None:
    """Equal actions and equal resources share a statement; what is said twice is said once, other protocols none."""
    assert statements(*lines) == expected
    assert statements(*reversed(lines)) == expected


def test_no_intents_no_policy() -> None:
    """Where nothing is named, the role's own policy is all that limits."""
    assert write_policy(()) is None
    assert read_lines(["npm install *", "unknown"]) == ()


@pytest.mark.parametrize(
    "line, why",
    [
        ("aws read *", "effect class"),
        ("aws delete arn:aws:s3:::b/*", "effect class"),
        ("aws unknown *", "effect class"),
        ("aws s3 *", "not an IAM action"),
        ("aws *:Get *", "not an IAM action"),
        ('aws s3:Get"x *', "not an IAM action"),
        ("aws s3:GetObject arn:aws:s3:::b/${aws:username}", "`?` and `$`"),
        ("aws s3:GetObject arn:aws:s3:::b/?", "`?` and `$`"),
    ],
)
def test_what_no_policy_can_say_is_refused(line: str, why: str) -> None:
    """A class, half a name and IAM's own variables are told when the rule is read, not when AWS refuses."""
    with pytest.raises(ValueError, match=r"IAM|class") as caught:
        read_lines([line])
    assert why in str(caught.value)


@pytest.mark.parametrize("action", ["s3", "*", "S3:Get", "s3:Get Object", ""])
def test_an_action_has_a_service(action: str) -> None:
    """What is not `service:Name` is nobody's action."""
    with pytest.raises(ValueError, match="not an IAM action"):
        check_action(action)


def test_quotes_stay_quoted() -> None:
    """An ARN cannot end its own string and begin another statement."""
    evil = 'arn:aws:s3:::b/"],"Action":"*'
    assert statements(f"aws s3:GetObject {evil.replace('*', 'x')}") == [(["s3:GetObject"], [evil.replace("*", "x")])]
