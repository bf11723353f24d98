"""Roles handed over: each is an `iam:PassRole`, and what cannot be told is any role."""

import pytest

from proxy.intents.aws_roles import pass_roles
from proxy.model.intent import EffectClass


@pytest.mark.parametrize(
    "texts,arns",
    [
        ([], []),
        ([""], []),
        (["arn:aws:iam::123456789012:role/path/r"], ["arn:aws:iam::123456789012:role/path/r"]),
        (["arn:aws:iam::123456789012:instance-profile/p"], ["arn:aws:iam::123456789012:instance-profile/p"]),
        (["r"], ["arn:aws-cn:iam::*:role/r"]),
        (["/path/r"], ["arn:aws-cn:iam::*:role/path/r"]),
        (["r", "r", "s"], ["arn:aws-cn:iam::*:role/r", "arn:aws-cn:iam::*:role/s"]),
        (["arn:aws:s3:::b"], ["*"]),
        (["$.role\n"], ["*"]),
        (["${jsonpath}"], ["*"]),
    ],
)
def test_a_role_is_passed(texts: list[str], arns: list[str]) -> None:
    """ARNs stay, names become ARNs of an unknown account, and anything else stands for every role."""
    found = list(pass_roles([("rolearn", text) for text in texts], "aws-cn"))

    assert [each.resource.id for each in found] == arns
    assert all(each.action == "iam:PassRole" and each.effect is EffectClass.ADMIN for each in found)


def test_a_profile_is_named_as_one() -> None:
    """An instance profile's role is known to IAM only: the profile stands for it."""
    found = list(pass_roles([("iaminstanceprofile", "p"), ("role", "p")], "aws"))

    assert [each.resource.id for each in found] == ["arn:aws:iam::*:instance-profile/p", "arn:aws:iam::*:role/p"]
