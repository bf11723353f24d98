"""Resources: the ARN that IAM is asked for, from the members that name it."""

from typing import Any

import pytest

from proxy.intents.aws_members import Members
from proxy.intents.aws_resources import ANY, Place, find_added, find_resources
from proxy.intents.aws_table import Operation, load_service
from proxy.model.errors import IntentError

PLACE = Place(partition="aws", region="eu-west-1")


def operation(name: str) -> Operation:
    service, _, bare = name.partition(":")
    found = load_service(service).operation(bare)
    assert found is not None
    return found


def body(**members: Any) -> Members:
    return Members(body=members)


def label(query: dict[str, str] | None = None, **labels: str) -> Members:
    return Members(labels=labels, query=query or {}, is_rest=True)


@pytest.mark.parametrize(
    "name,members,arns",
    [
        ("dynamodb:PutItem", body(TableName="t"), ["arn:aws:dynamodb:eu-west-1:*:table/t"]),
        ("dynamodb:Query", body(TableName="t", IndexName="i"), ["arn:aws:dynamodb:eu-west-1:*:table/t/index/i"]),
        (
            "dynamodb:Query",
            body(TableName="arn:aws:dynamodb:eu-west-1:123456789012:table/t", IndexName="i"),
            ["arn:aws:dynamodb:eu-west-1:123456789012:table/t/index/i"],
        ),
        ("dynamodb:ListTables", body(TableName="t"), ["*"]),
        ("dynamodb:TagResource", body(TableName="t", ResourceArn="r"), ["*"]),
        (
            "sqs:SendMessage",
            body(QueueUrl="https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo"),
            ["arn:aws:sqs:eu-west-1:123456789012:q.fifo"],
        ),
        ("sqs:SendMessage", body(QueueUrl="/123456789012/q"), ["arn:aws:sqs:eu-west-1:123456789012:q"]),
        (
            "sqs:GetQueueUrl",
            body(QueueName="q", QueueOwnerAWSAccountId="123456789012"),
            ["arn:aws:sqs:eu-west-1:123456789012:q"],
        ),
        (
            "sns:Publish",
            body(TopicArn="arn:aws:sns:eu-west-1:123456789012:t"),
            ["arn:aws:sns:eu-west-1:123456789012:t"],
        ),
        ("sns:Publish", body(PhoneNumber="+1"), ["*"]),
        ("sns:CreateTopic", body(Name="t"), ["arn:aws:sns:eu-west-1:*:t"]),
        ("lambda:Invoke", label(FunctionName="f"), ["arn:aws:lambda:eu-west-1:*:function:f"]),
        ("lambda:Invoke", label({"Qualifier": "v"}, FunctionName="f"), ["arn:aws:lambda:eu-west-1:*:function:f:v"]),
        (
            "lambda:Invoke",
            label(FunctionName="123456789012:function:f:1"),
            ["arn:aws:lambda:eu-west-1:123456789012:function:f:1"],
        ),
        (
            "lambda:Invoke",
            label({"Qualifier": "v"}, FunctionName="arn:aws:lambda:us-east-1:123456789012:function:f"),
            ["arn:aws:lambda:us-east-1:123456789012:function:f:v"],
        ),
        (
            "lambda:CreateFunction",
            Members(body={"FunctionName": "f", "Qualifier": "v"}, is_rest=True),
            ["arn:aws:lambda:eu-west-1:*:function:f"],
        ),
        ("lambda:CreateFunction", label({"FunctionName": "f"}), ["*"]),
        ("lambda:GetLayerVersion", label(LayerName="l", VersionNumber="3"), ["arn:aws:lambda:eu-west-1:*:layer:l:3"]),
        ("secretsmanager:GetSecretValue", body(SecretId="a/b"), ["arn:aws:secretsmanager:eu-west-1:*:secret:a/b"]),
        (
            "secretsmanager:BatchGetSecretValue",
            body(SecretIdList=["a", "b"]),
            ["arn:aws:secretsmanager:eu-west-1:*:secret:a", "arn:aws:secretsmanager:eu-west-1:*:secret:b"],
        ),
        ("ssm:GetParameter", body(Name="/a/b:3"), ["arn:aws:ssm:eu-west-1:*:parameter/a/b"]),
        (
            "ssm:GetParameters",
            body(Names=["a", "/b"]),
            ["arn:aws:ssm:eu-west-1:*:parameter/a", "arn:aws:ssm:eu-west-1:*:parameter/b"],
        ),
        ("ssm:GetParametersByPath", body(Path="/a/"), ["arn:aws:ssm:eu-west-1:*:parameter/a"]),
        ("ssm:StartSession", body(Target="i-1"), ["arn:aws:ec2:eu-west-1:*:instance/i-1"]),
        ("ssm:GetDocument", body(Name="d"), ["arn:aws:ssm:eu-west-1:*:document/d"]),
        (
            "ecr:PutImage",
            body(repositoryName="a/b", registryId="123456789012"),
            ["arn:aws:ecr:eu-west-1:123456789012:repository/a/b"],
        ),
        ("ecr:PutImage", body(repositoryName="a", registryId="evil"), ["arn:aws:ecr:eu-west-1:*:repository/a"]),
        ("ecr-public:PutImage", body(repositoryName="a"), ["arn:aws:ecr-public::*:repository/a"]),
        ("kms:Encrypt", body(KeyId="1234"), ["arn:aws:kms:eu-west-1:*:key/1234"]),
        ("kms:Encrypt", body(KeyId="alias/a"), ["arn:aws:kms:eu-west-1:*:alias/a"]),
        ("kms:Decrypt", body(CiphertextBlob="x"), ["*"]),
        ("iam:GetRole", body(RoleName="r"), ["arn:aws:iam::*:role/r"]),
        ("iam:CreateRole", body(RoleName="r", Path="/a/b/"), ["arn:aws:iam::*:role/a/b/r"]),
        ("iam:CreateRole", body(RoleName="r", Path="/"), ["arn:aws:iam::*:role/r"]),
        ("iam:AddUserToGroup", body(UserName="u", GroupName="g"), ["arn:aws:iam::*:group/g"]),
        ("iam:AttachRolePolicy", body(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/p"), ["arn:aws:iam::*:role/r"]),
        ("sts:AssumeRole", body(RoleArn="arn:aws:iam::123456789012:role/r"), ["arn:aws:iam::123456789012:role/r"]),
        ("sts:AssumeRole", body(RoleArn="r"), ["*"]),
        ("ecs:UpdateService", body(service="s"), ["arn:aws:ecs:eu-west-1:*:service/default/s"]),
        (
            "ecs:UpdateService",
            body(service="s", cluster="arn:aws:ecs:eu-west-1:123456789012:cluster/c"),
            ["arn:aws:ecs:eu-west-1:*:service/c/s"],
        ),
        ("ecs:RunTask", body(taskDefinition="t"), ["arn:aws:ecs:eu-west-1:*:task-definition/t:*"]),
        ("ecs:RunTask", body(taskDefinition="t:3"), ["arn:aws:ecs:eu-west-1:*:task-definition/t:3"]),
        ("ecs:ListTasks", body(cluster="c"), ["arn:aws:ecs:eu-west-1:*:cluster/c"]),
        ("cloudformation:CreateStack", body(StackName="s"), ["arn:aws:cloudformation:eu-west-1:*:stack/s/*"]),
        (
            "cloudformation:DeleteStack",
            body(StackName="arn:aws:cloudformation:eu-west-1:123456789012:stack/s/1-2"),
            ["arn:aws:cloudformation:eu-west-1:123456789012:stack/s/1-2"],
        ),
        (
            "logs:PutLogEvents",
            body(logGroupName="/a/b", logStreamName="c"),
            ["arn:aws:logs:eu-west-1:*:log-group:/a/b:log-stream:c"],
        ),
        ("logs:CreateLogGroup", body(logGroupName="/a/b"), ["arn:aws:logs:eu-west-1:*:log-group:/a/b"]),
        ("ec2:TerminateInstances", body(InstanceId={"1": "i-1"}), ["*"]),
        ("iam:ListUsers", body(), ["*"]),
        ("sqs:SendMessage", Members(is_whole=False), ["*"]),
    ],
)
def test_members_name_the_resource(name: str, members: Members, arns: list[str]) -> None:
    """Names, URLs, short forms and ARNs give the ARN; what an operation does not take is not looked at."""
    assert [each.id for each in find_resources(operation(name), members, PLACE)] == arns


def test_an_unknown_region_is_any() -> None:
    """Where nobody tells the region, the ARN has a star for it; IAM's own ARNs never have one."""
    nowhere = Place(partition="aws-cn", region="")

    assert find_resources(operation("sns:CreateTopic"), body(Name="t"), nowhere)[0].id == "arn:aws-cn:sns:*:*:t"
    assert (
        find_resources(operation("ssm:StartSession"), body(Target="i"), nowhere)[0].id
        == "arn:aws-cn:ec2:*:*:instance/i"
    )


@pytest.mark.parametrize(
    "name,members",
    [
        ("sqs:SendMessage", body(QueueUrl="https://sqs.eu-west-1.amazonaws.com/q")),
        ("sqs:SendMessage", body(QueueUrl="/123456789012/q/other")),
        ("lambda:Invoke", label(FunctionName="a b")),
        ("dynamodb:PutItem", body(TableName="arn:aws:sqs:eu-west-1:123456789012:q")),
        ("dynamodb:PutItem", body(TableName="a\nb")),
        ("dynamodb:PutItem", body(TableName=["t"], tablename="u")),
        ("dynamodb:PutItem", body(TableName=1)),
        ("dynamodb:PutItem", body(tableName="t")),
        ("dynamodb:Query", body(TableName="t", IndexName="a\x00")),
        ("ssm:GetParameters", body(Names=[1])),
    ],
)
def test_a_member_that_names_no_such_thing_is_refused(name: str, members: Members) -> None:
    """Another service's ARN, a control character and a value of another kind are nobody's resource."""
    with pytest.raises(IntentError):
        find_resources(operation(name), members, PLACE)


@pytest.mark.parametrize(
    "name,members,added",
    [
        (
            "kms:ReEncrypt",
            body(SourceKeyId="a", DestinationKeyId="alias/b"),
            [("kms:ReEncryptTo", "arn:aws:kms:eu-west-1:*:alias/b")],
        ),
        (
            "lambda:CreateFunction",
            Members(body={"FunctionName": "f", "Tags": {"a": "b"}}, is_rest=True),
            [("lambda:TagResource", "arn:aws:lambda:eu-west-1:*:function:f")],
        ),
        ("lambda:CreateFunction", Members(body={"FunctionName": "f", "Tags": {}}, is_rest=True), []),
        ("ec2:RunInstances", body(TagSpecification={"1": {"ResourceType": "instance"}}), [("ec2:CreateTags", "*")]),
        (
            "cloudformation:ExecuteChangeSet",
            body(StackName="mine", ChangeSetName="arn:aws:cloudformation:eu-west-1:123456789012:changeSet/evil/1"),
            [("cloudformation:ExecuteChangeSet", "arn:aws:cloudformation:eu-west-1:123456789012:changeSet/evil/1")],
        ),
        ("cloudformation:ExecuteChangeSet", body(StackName="mine", ChangeSetName="c"), []),
        (
            "ssm:SendCommand",
            body(InstanceIds=["i-1"], DocumentName="d", Targets=[{"Key": "tag:a"}]),
            [("ssm:SendCommand", "*"), ("ssm:SendCommand", "arn:aws:ssm:eu-west-1:*:document/d")],
        ),
        ("kms:CreateKey", body(Policy="{}"), [("kms:PutKeyPolicy", "*")]),
        ("sts:AssumeRole", Members(is_whole=False), [("sts:TagSession", "*")]),
    ],
)
def test_members_add_actions(name: str, members: Members, added: list[tuple[str, str]]) -> None:
    """A second key, tags, a change set by its own ARN and targets by tag are asked for besides."""
    assert [(action, each.id) for action, each in find_added(operation(name), members, PLACE)] == added


def test_any_resource_is_a_star() -> None:
    """What is not bound is written as a star, with a type of its own."""
    assert (ANY.type, ANY.id) == ("aws", "*")
