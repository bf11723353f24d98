"""What a call does besides: roles passed, objects read, and what a parameter's reading is."""

from typing import Any

import pytest

from proxy.intents.aws_extras import effect_of, find_extras, needs_body
from proxy.intents.aws_members import Members
from proxy.intents.aws_table import Operation, load_service
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass

ROLE = "arn:aws:iam::123456789012:role/r"
UNREAD = Members(is_whole=False)


def operation(name: str) -> Operation:
    service, _, bare = name.partition(":")
    found = load_service(service).operation(bare)
    assert found is not None
    return found


def body(**members: Any) -> Members:
    return Members(body=members)


@pytest.mark.parametrize(
    "name,members,found",
    [
        ("lambda:CreateFunction", body(Role=ROLE), [("iam:PassRole", ROLE)]),
        ("lambda:CreateFunction", body(Code={"ZipFile": "UEs="}), []),
        ("lambda:CreateFunction", body(Code={"S3Bucket": "b", "S3Key": "k"}), [("s3:GetObject", "arn:aws:s3:::b/k")]),
        ("lambda:CreateFunction", body(Code={"S3Bucket": "b"}), [("s3:GetObject", "*")]),
        ("lambda:CreateFunction", body(Code="no"), []),
        ("lambda:CreateFunction", UNREAD, [("iam:PassRole", "*"), ("s3:GetObject", "*")]),
        ("lambda:UpdateFunctionCode", body(S3Bucket="b", S3Key="k"), [("s3:GetObject", "arn:aws:s3:::b/k")]),
        ("lambda:UpdateFunctionCode", UNREAD, [("s3:GetObject", "*")]),
        ("lambda:PublishLayerVersion", body(Content={"S3Bucket": "b", "S3Key": 1}), [("s3:GetObject", "*")]),
        ("lambda:Invoke", body(Role=ROLE), []),
        (
            "ecs:RunTask",
            body(overrides={"taskRoleArn": ROLE, "executionRoleArn": "other"}),
            [("iam:PassRole", "arn:aws:iam::*:role/other"), ("iam:PassRole", ROLE)],
        ),
        (
            "ec2:RunInstances",
            body(IamInstanceProfile={"Name": "p"}),
            [("iam:PassRole", "arn:aws:iam::*:instance-profile/p")],
        ),
        ("ec2:RunInstances", body(LaunchTemplate={"LaunchTemplateId": "lt-1"}), [("iam:PassRole", "*")]),
        ("ec2:RunInstances", body(ImageId="ami-1"), []),
        ("ec2:DescribeInstances", body(LaunchTemplate={"LaunchTemplateId": "lt-1"}), []),
        ("iam:AddRoleToInstanceProfile", body(RoleName="r"), [("iam:PassRole", "arn:aws:iam::*:role/r")]),
        ("iam:DeleteRole", body(RoleName="r"), []),
        ("sts:AssumeRole", body(RoleArn=ROLE), []),
        ("s3control:CreateJob", Members(body={"": {"RoleArn": [ROLE]}}), [("iam:PassRole", ROLE)]),
        ("cloudformation:CreateStack", body(RoleARN=ROLE), [("iam:PassRole", ROLE)]),
        (
            "cloudformation:CreateStack",
            body(TemplateURL="https://b.s3.eu-west-1.amazonaws.com/a/k%20c"),
            [("s3:GetObject", "arn:aws:s3:::b/a/k c")],
        ),
        (
            "cloudformation:CreateStack",
            body(TemplateURL="https://s3.amazonaws.com/b/k"),
            [("s3:GetObject", "arn:aws:s3:::b/k")],
        ),
        (
            "cloudformation:CreateStack",
            body(TemplateURL="https://b.s3.cn-north-1.amazonaws.com.cn/k", StackPolicyURL="https://example.com/"),
            [("s3:GetObject", "arn:aws-cn:s3:::b/k"), ("s3:GetObject", "*")],
        ),
        ("cloudformation:CreateStack", body(TemplateURL="http://b.s3.amazonaws.com/k"), [("s3:GetObject", "*")]),
        ("cloudformation:CreateStack", body(TemplateURL="https://b.s3.amazonaws.com/a+b"), [("s3:GetObject", "*")]),
        ("cloudformation:CreateStack", body(TemplateURL="https://s3.amazonaws.com/b"), [("s3:GetObject", "*")]),
        (
            "cloudformation:CreateStack",
            body(TemplateURL="https://sqs.us-east-1.amazonaws.com/b/k"),
            [("s3:GetObject", "*")],
        ),
        ("cloudformation:CreateStack", body(TemplateURL="https://[bad"), [("s3:GetObject", "*")]),
        ("cloudformation:CreateStack", body(TemplateBody="{}"), []),
        ("cloudformation:ListStacks", UNREAD, [("s3:GetObject", "*")]),
    ],
)
def test_members_ask_for_more(name: str, members: Members, found: list[tuple[str, str]]) -> None:
    """A role, a launch template, code in S3 and a template's URL are more than the call's own action."""
    assert [(each.action, each.resource.id) for each in find_extras(operation(name), members, "aws")] == found


def test_a_broken_url_is_refused() -> None:
    """A template's URL that cannot be decoded is not one to guess at."""
    with pytest.raises(IntentError):
        list(
            find_extras(
                operation("cloudformation:CreateStack"), body(TemplateURL="https://b.s3.amazonaws.com/%zz"), "aws"
            )
        )


@pytest.mark.parametrize(
    "name,members,effect",
    [
        ("ssm:GetParameter", body(Name="a"), EffectClass.READ),
        ("ssm:GetParameter", body(Name="a", WithDecryption=False), EffectClass.READ),
        ("ssm:GetParameter", body(Name="a", WithDecryption=True), EffectClass.CREDENTIAL),
        ("ssm:GetParameters", body(WithDecryption="true"), EffectClass.CREDENTIAL),
        ("ssm:GetParametersByPath", UNREAD, EffectClass.CREDENTIAL),
        ("ssm:GetParameterHistory", body(Name="a"), EffectClass.CREDENTIAL),
        ("sqs:DeleteQueue", body(), EffectClass.DELETE),
    ],
)
def test_only_a_decrypted_parameter_is_a_credential(name: str, members: Members, effect: EffectClass) -> None:
    """A parameter read without decryption is only read; where that was not seen, it is a credential."""
    assert effect_of(operation(name), members) is effect


@pytest.mark.parametrize(
    "name,needed",
    [
        ("dynamodb:PutItem", True),
        ("lambda:Invoke", False),
        ("lambda:CreateFunction", True),
        ("lambda:UpdateFunctionCode", True),
        ("route53:ListHostedZones", False),
        ("eks:CreateNodegroup", True),
        ("codebuild:CreateProject", True),
        ("codebuild:StopBuild", False),
        ("kms:ListKeys", False),
    ],
)
def test_a_body_is_needed_only_where_it_says_more(name: str, *, needed: bool) -> None:
    """Bodies are read for resources, roles and objects, and left alone otherwise."""
    assert needs_body(operation(name)) is needed
