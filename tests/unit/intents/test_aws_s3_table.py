"""S3's table: actions that IAM knows, operations that botocore knows, and none forgotten."""

import json
from importlib.resources import files
from typing import Any

from proxy.intents.aws_s3_table import OPERATIONS, PARAMETERS, SUBRESOURCES
from proxy.intents.aws_table import load_service

SAME_REQUEST = {"GetBucketLifecycle", "GetBucketNotification", "PutBucketLifecycle", "PutBucketNotification"}
"""Older names of operations that are the same bytes on the wire."""
BY_FIELD = {"CopyObject", "UploadPartCopy", "ListDirectoryBuckets", "WriteGetObjectResponse"}
"""Told by a field or by the host."""


def test_every_action_is_iams() -> None:
    """No action is made up: AWS's own list has each; RenameObject, which is one of directory buckets only, has none."""
    lists: dict[str, Any] = json.loads(files("cfnlint").joinpath("data/AdditionalSpecs/Policies.json").read_text())
    known = lists["s3"]["Actions"].keys() | lists["s3express"]["Actions"].keys()

    unknown = {each for found in OPERATIONS.values() for each in (found.action, found.versioned)}

    assert {each for each in unknown if each.lower() not in known} == {"RenameObject"}


def test_every_operation_of_botocores_is_here() -> None:
    """All of S3's operations are in the table, and only those."""
    assert {each.name for each in OPERATIONS.values()} | SAME_REQUEST | BY_FIELD == set(load_service("s3").operations)


def test_a_query_key_is_one_or_the_other() -> None:
    """A key either makes another operation or is a parameter, never both."""
    assert SUBRESOURCES.isdisjoint(PARAMETERS)
    assert {"acl", "delete", "uploadId", "list-type"} <= SUBRESOURCES
