"""The table of AWS's services: what botocore says, small, and quick to read."""

import subprocess
import sys
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path

import pytest

from proxy.intents.aws_table import load_service, load_table
from proxy.model.intent import EffectClass

ROOT = Path(__file__).resolve().parents[3]
USED_MOST = (
    "s3", "sts", "ecr", "ssm", "secretsmanager", "lambda", "ecs", "cloudformation", "dynamodb", "ec2", "iam", "sqs",
    "sns", "logs", "cloudwatch", "kms", "rds", "elbv2", "eks", "route53",
)  # fmt: skip


def test_table_is_what_the_installed_models_say() -> None:
    """The committed table equals what the script makes of botocore now."""
    made_from = load_table().made_from
    installed = {name: version(name) for name in made_from}
    if installed != made_from:
        pytest.skip(f"LOUD: the table is of {made_from}, installed are {installed}: run .ci/compile_aws_table.py")

    done = subprocess.run(
        [sys.executable, ROOT / ".ci/compile_aws_table.py", "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_table_costs_little() -> None:
    """Reading the head takes at most 50 ms, and the table with the 20 most used services at most 15 MiB."""
    load_table.cache_clear()
    load_service.cache_clear()
    began = time.perf_counter()
    load_table()
    elapsed = time.perf_counter() - began
    load_table.cache_clear()
    tracemalloc.start()
    for name in USED_MOST:
        load_service(name)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert elapsed <= 0.050
    assert held <= 15 * 1024 * 1024


@pytest.mark.parametrize("name", sorted(load_table().places))
def test_every_service_unpacks(name: str) -> None:
    """Every service has operations, all of which have an action and an effect."""
    service = load_service(name)

    operations = [service.operation(each) for each in service.operations]

    assert operations
    assert all(each is not None and ":" in each.action for each in operations)


@pytest.mark.parametrize(
    "service,operation,action,effect,known",
    [
        ("s3", "PutObject", "s3:PutObject", EffectClass.WRITE, True),
        ("lambda", "Invoke", "lambda:InvokeFunction", EffectClass.EXECUTE, True),
        ("lambda", "AddPermission", "lambda:AddPermission", EffectClass.ADMIN, True),
        ("secretsmanager", "GetSecretValue", "secretsmanager:GetSecretValue", EffectClass.CREDENTIAL, True),
        ("secretsmanager", "ListSecrets", "secretsmanager:ListSecrets", EffectClass.LIST, True),
        ("ssm", "GetParameter", "ssm:GetParameter", EffectClass.CREDENTIAL, True),
        ("ssm", "StartSession", "ssm:StartSession", EffectClass.EXECUTE, True),
        ("sts", "AssumeRole", "sts:AssumeRole", EffectClass.CREDENTIAL, True),
        ("sts", "GetCallerIdentity", "sts:GetCallerIdentity", EffectClass.READ, True),
        ("ecr", "GetAuthorizationToken", "ecr:GetAuthorizationToken", EffectClass.CREDENTIAL, True),
        ("ecr", "PutImage", "ecr:PutImage", EffectClass.PUBLISH, True),
        ("iam", "CreateAccessKey", "iam:CreateAccessKey", EffectClass.CREDENTIAL, True),
        ("iam", "DeleteRole", "iam:DeleteRole", EffectClass.ADMIN, True),
        ("iam", "GetRole", "iam:GetRole", EffectClass.READ, True),
        ("dynamodb", "DeleteTable", "dynamodb:DeleteTable", EffectClass.DELETE, True),
        ("sqs", "SendMessageBatch", "sqs:SendMessage", EffectClass.WRITE, True),
        ("sqs", "ReceiveMessage", "sqs:ReceiveMessage", EffectClass.WRITE, True),
        ("cloudwatch", "PutMetricData", "cloudwatch:PutMetricData", EffectClass.WRITE, True),
        ("kms", "ScheduleKeyDeletion", "kms:ScheduleKeyDeletion", EffectClass.ADMIN, True),
        ("apigateway", "CreateRestApi", "apigateway:CreateRestApi", EffectClass.WRITE, False),
    ],
)
def test_an_operation_has_its_action_and_effect(
    service: str, operation: str, action: str, effect: EffectClass, *, known: bool
) -> None:
    """Actions are IAM's, effects are never milder than what the operation does, and guesses say so."""
    found = load_service(service).operation(operation)

    assert found is not None
    assert (found.action, found.effect, found.is_known) == (action, effect, known)


def test_role_members_are_known() -> None:
    """An operation that hands a role to a service knows the members that name it; one that assumes a role has none."""
    create = load_service("lambda").operation("CreateFunction")
    assume = load_service("sts").operation("AssumeRole")
    launch = load_service("ec2").operation("RunInstances")
    task = load_service("ecs").operation("RegisterTaskDefinition")

    assert create is not None
    assert assume is not None
    assert launch is not None
    assert task is not None
    assert create.roles == {"role"}
    assert assume.roles == frozenset()
    assert "iaminstanceprofile" in launch.roles
    assert task.roles == {"executionrolearn", "taskrolearn"}


def test_an_unknown_operation_is_none() -> None:
    """A name that the service does not have is not made up."""
    assert load_service("sqs").operation("PutObject") is None
