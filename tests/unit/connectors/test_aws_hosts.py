"""A host name stands for one service and region as AWS's own SDK has it, or for nothing."""

from typing import Any

import botocore.session
import pytest

from proxy.connectors.aws_hosts import find_endpoint

# What botocore calls by names that we leave to rules with `service` and `region`, or cannot sign for at all.
LEFT_OUT = {
    "codecatalyst.global.api.aws",  # bearer tokens
    "importexport.amazonaws.com",  # Signature Version 2
    "sdb.amazonaws.com",  # Signature Version 2
    "s3.amazonaws.com",  # serves every region; botocore calls it us-east-1
}


def clients(region: str) -> list[tuple[str, tuple[str, str]]]:
    """The host of every service botocore knows, and what it signs for there."""
    session: Any = botocore.session.Session()  # type: ignore[no-untyped-call]
    found = []
    for name in session.get_available_services():
        client = session.create_client(name, region_name=region, aws_access_key_id="x", aws_secret_access_key="x")
        host = client.meta.endpoint_url.partition("://")[2].partition("/")[0]
        signer = client._request_signer
        found.append((host, (signer._signing_name, signer._region_name)))
    return found


def test_every_service_is_read_as_botocore_calls_it() -> None:
    """No endpoint of the SDK is taken for another service or region; those left out are known by name."""
    wrong = {}
    seen = clients("eu-west-1")
    for host, (service, region) in seen:
        found = find_endpoint(host)
        if found is None or (found.service, found.region) != (service, region):
            wrong[host] = found
    assert len(seen) > 300
    assert wrong.keys() <= LEFT_OUT, wrong
    assert all(found is None or found.region is None for found in wrong.values())


@pytest.mark.parametrize(
    "host, service, region",
    [
        ("s3.amazonaws.com", "s3", None),
        ("releases.s3.amazonaws.com", "s3", None),
        ("releases.s3-accelerate.amazonaws.com", "s3", None),
        ("releases.s3-accelerate.dualstack.amazonaws.com", "s3", None),
        ("s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("s3-eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("releases.s3-eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("releases.s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("a.dotted.bucket.s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("releases.s3.dualstack.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("releases.s3-fips.us-gov-west-1.amazonaws.com", "s3", "us-gov-west-1"),
        ("releases.s3-fips.dualstack.us-east-1.amazonaws.com", "s3", "us-east-1"),
        ("releases.s3.cn-north-1.amazonaws.com.cn", "s3", "cn-north-1"),
        ("ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("123456789012.s3-control.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("ap-1.s3-object-lambda.eu-west-1.amazonaws.com", "s3-object-lambda", "eu-west-1"),
        ("ap-1.op-1.s3-outposts.eu-west-1.amazonaws.com", "s3-outposts", "eu-west-1"),
        ("b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", "s3express", "us-east-1"),
        ("bucket.vpce-1a2b-3c.s3.eu-west-1.vpce.amazonaws.com", "s3", "eu-west-1"),
        ("releases.bucket.vpce-1a2b-3c.s3.eu-west-1.vpce.amazonaws.com", "s3", "eu-west-1"),
        # A bucket named after a service or region does not move the endpoint.
        ("sts.eu-west-1.s3.us-east-1.amazonaws.com", "s3", "us-east-1"),
        ("s3.us-east-1.s3.eu-west-1.amazonaws.com", "s3", "eu-west-1"),
        ("sts.amazonaws.com", "sts", "us-east-1"),
        ("sts.eu-west-1.amazonaws.com", "sts", "eu-west-1"),
        ("sts-fips.us-east-1.amazonaws.com", "sts", "us-east-1"),
        ("vpce-1a2b-3c.sts.eu-west-1.vpce.amazonaws.com", "sts", "eu-west-1"),
        ("iam.us-gov.amazonaws.com", "iam", "us-gov-west-1"),
        ("global.health.amazonaws.com", "health", "us-east-1"),
        ("api.ecr.eu-west-1.amazonaws.com", "ecr", "eu-west-1"),
        ("vpce-1a-2b.api.ecr.eu-west-1.vpce.amazonaws.com", "ecr", "eu-west-1"),
        ("123456789012.ddb.eu-west-1.amazonaws.com", "dynamodb", "eu-west-1"),
        ("eu-west-1.queue.amazonaws.com", "sqs", "eu-west-1"),
        ("lambda.eu-west-1.api.aws", "lambda", "eu-west-1"),
        ("abc123.execute-api.eu-west-1.amazonaws.com", "execute-api", "eu-west-1"),
        ("s3.execute-api.eu-west-1.amazonaws.com", "execute-api", "eu-west-1"),
    ],
)
def test_each_form_of_a_name(host: str, service: str, region: str | None) -> None:
    """Virtual hosts, dual-stack, FIPS, China, government, access points and VPC endpoints."""
    found = find_endpoint(host)
    assert found is not None
    assert (found.service, found.region) == (service, region)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "amazonaws.com",
        "s3.eu-west-1.amazonaws.com.evil.example",
        "s3.eu-west-1.evilamazonaws.com",
        "s3-eu-west-1-amazonaws.com",
        "evil.amazonaws.com",
        "iam.amazonaws.com.cn",  # a global name, but not of this partition
        "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
        "evil-123.eu-west-1.elb.amazonaws.com",
        "evil-123.elb.eu-west-1.amazonaws.com",
        "releases.s3-website.eu-west-1.amazonaws.com",
        "releases.s3-website-eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "alias.accesspoint.s3-global.amazonaws.com",  # SigV4a
        "vpce-1.vpce-svc-2.eu-west-1.vpce.amazonaws.com",  # a customer's own service
        "vpce-1.vpce.amazonaws.com",
        "vpce.amazonaws.com",
        "s3.mars.amazonaws.com",
        "signin.aws.amazon.com",
    ],
)
def test_what_is_not_plainly_an_endpoint_is_none(host: str) -> None:
    """Customers' own machines, look-alikes and names without a region are nothing to sign for."""
    assert find_endpoint(host) is None
