"""Host names under AWS's domains: what answers there, and what does not."""

import pytest

from proxy.intents.aws_hosts import SUFFIXES, AwsHost, S3Place, partition_of, read_host
from proxy.intents.aws_table import load_table


def bucket(name: str | None) -> S3Place:
    return S3Place(kind="bucket", name=name)


@pytest.mark.parametrize(
    "host,services,region,partition",
    [
        ("sqs.us-east-1.amazonaws.com", ("sqs",), "us-east-1", "aws"),
        ("sqs-fips.us-east-1.amazonaws.com", ("sqs",), "us-east-1", "aws"),
        ("sqs.us-east-1.api.aws", ("sqs",), "us-east-1", "aws"),
        ("us-east-1.queue.amazonaws.com", ("sqs",), "us-east-1", "aws"),
        ("queue.amazonaws.com", ("sqs",), None, "aws"),
        ("api.ecr.eu-west-1.amazonaws.com", ("ecr",), "eu-west-1", "aws"),
        ("api.ecr-fips.eu-west-1.amazonaws.com", ("ecr",), "eu-west-1", "aws"),
        ("iam.amazonaws.com", ("iam",), None, "aws"),
        ("iam.us-gov.amazonaws.com", ("iam",), None, "aws-us-gov"),
        ("route53.amazonaws.eu", ("route53",), None, "aws-eusc"),
        ("iam.global.api.aws", ("iam",), None, "aws"),
        ("sts.amazonaws.com", ("sts",), None, "aws"),
        ("sts.cn-north-1.amazonaws.com.cn", ("sts",), "cn-north-1", "aws-cn"),
        ("iam.global.api.amazonwebservices.com.cn", ("iam",), None, "aws-cn"),
        ("dynamodb.us-gov-west-1.amazonaws.com", ("dynamodb",), "us-gov-west-1", "aws-us-gov"),
        ("123456789012.ddb.us-east-1.amazonaws.com", ("dynamodb",), "us-east-1", "aws"),
        ("vpce-0a-1b.sqs.us-east-1.vpce.amazonaws.com", ("sqs",), "us-east-1", "aws"),
        ("vpce-0a-1b-us-east-1a.api.ecr.us-east-1.vpce.amazonaws.com", ("ecr",), "us-east-1", "aws"),
        ("rds.us-east-1.amazonaws.com", ("docdb", "neptune", "rds"), "us-east-1", "aws"),
        ("fips.batch.us-east-1.amazonaws.com", ("batch",), "us-east-1", "aws"),
        ("management.deadline.us-east-1.amazonaws.com", ("deadline",), "us-east-1", "aws"),
        ("sync-states.us-east-1.amazonaws.com", ("stepfunctions",), "us-east-1", "aws"),
        ("routes.geo.us-gov-west-1.us-gov.amazonaws.com", ("geo-routes", "location"), "us-gov-west-1", "aws-us-gov"),
        ("g-abc.us-east-1.neptune-graph.amazonaws.com", ("neptune-graph",), "us-east-1", "aws"),
        ("abc.data.mediastore.us-east-1.amazonaws.com", ("mediastore-data",), "us-east-1", "aws"),
    ],
)
def test_a_services_host_is_read(host: str, services: tuple[str, ...], region: str | None, partition: str) -> None:
    """A name of an endpoint gives the services that answer there, its region and its partition."""
    assert read_host(host) == AwsHost(services=services, region=region, partition=partition)


@pytest.mark.parametrize(
    "host,place,region",
    [
        ("s3.amazonaws.com", bucket(None), None),
        ("s3.us-east-1.amazonaws.com", bucket(None), "us-east-1"),
        ("s3-eu-west-1.amazonaws.com", bucket(None), "eu-west-1"),
        ("s3-fips-us-gov-west-1.amazonaws.com", bucket(None), "us-gov-west-1"),
        ("s3-external-1.amazonaws.com", bucket(None), None),
        ("s3.dualstack.eu-west-1.amazonaws.com", bucket(None), "eu-west-1"),
        ("my.dotted.bucket.s3.eu-west-1.amazonaws.com", bucket("my.dotted.bucket"), "eu-west-1"),
        ("b.s3-fips.dualstack.us-east-1.amazonaws.com", bucket("b"), "us-east-1"),
        ("b.s3-accelerate.amazonaws.com", bucket("b"), None),
        ("b.s3-accelerate.dualstack.amazonaws.com", bucket("b"), None),
        ("s3.evil.s3.us-east-1.amazonaws.com", bucket("s3.evil"), "us-east-1"),
        ("b.s3-eu-west-1.amazonaws.com", bucket("b"), "eu-west-1"),
        ("bucket.vpce-0a-1b.s3.us-east-1.vpce.amazonaws.com", bucket(None), "us-east-1"),
        ("b.bucket.vpce-0a-1b.s3.us-east-1.vpce.amazonaws.com", bucket("b"), "us-east-1"),
        (
            "p-123456789012.accesspoint.vpce-0a.s3.us-east-1.vpce.amazonaws.com",
            S3Place(kind="point", name="p", account="123456789012"),
            "us-east-1",
        ),
        ("control.vpce-0a.s3.us-east-1.vpce.amazonaws.com", S3Place(kind="control"), "us-east-1"),
        (
            "a-b-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
            S3Place(kind="point", name="a-b", account="123456789012"),
            "us-east-1",
        ),
        (
            "f-123456789012.s3-object-lambda.us-east-1.amazonaws.com",
            S3Place(kind="object-lambda", name="f", account="123456789012"),
            "us-east-1",
        ),
        ("route.s3-object-lambda.us-east-1.amazonaws.com", S3Place(kind="object-lambda"), "us-east-1"),
        ("alias.accesspoint.s3-global.amazonaws.com", S3Place(kind="mrap", name="alias"), None),
        (
            "123456789012.s3-control.us-east-1.amazonaws.com",
            S3Place(kind="control", account="123456789012"),
            "us-east-1",
        ),
        (
            "b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
            S3Place(kind="express", name="b--use1-az4--x-s3"),
            "us-east-1",
        ),
        ("s3express-control.us-east-1.amazonaws.com", S3Place(kind="express"), "us-east-1"),
        ("b.op-1.s3-outposts.us-east-1.amazonaws.com", S3Place(kind="outpost", name="b.op-1"), "us-east-1"),
    ],
)
def test_an_s3_host_gives_its_bucket(host: str, place: S3Place, region: str | None) -> None:
    """S3's many names give the bucket or access point that stands in them, and the region."""
    assert read_host(host) == AwsHost(s3=place, region=region, partition=partition_of(region))


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "amazonaws.com",
        "notamazonaws.com",
        "sqs.us-east-1.amazonaws.com.evil.example",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "mine-123.us-east-1.elb.amazonaws.com",
        "mine.elb.us-east-1.amazonaws.com",
        "ec2-1-2-3-4.us-west-2.compute.amazonaws.com",
        "ec2-1-2-3-4.compute-1.amazonaws.com",
        "d-1.d.codeartifact.us-east-1.amazonaws.com",
        "0a.gr7.us-east-1.eks.amazonaws.com",
        "oidc.eks.us-east-1.amazonaws.com",
        "search-mine-abc.us-east-1.es.amazonaws.com",
        "git-codecommit.us-east-1.amazonaws.com",
        "id.lambda-url.us-east-1.on.aws",
        "b.s3-website-us-east-1.amazonaws.com",
        "b.s3-website.eu-central-1.amazonaws.com",
        "b-1.mq.us-east-1.amazonaws.com",
        "evil.sqs.us-east-1.amazonaws.com",
        "evil.iam.amazonaws.com",
        "unknown.us-east-1.amazonaws.com",
        "b.s3-control.amazonaws.com",
        "x.s3-accesspoint.us-east-1.amazonaws.com",
        "x.y.s3-global.amazonaws.com",
        "b.s3.us-east-1.extra.amazonaws.com",
        "other.vpce-0a.s3.us-east-1.vpce.amazonaws.com",
        "other.accesspoint.vpce-0a.s3.us-east-1.vpce.amazonaws.com",
        "bucket.s3.us-east-1.vpce.amazonaws.com",
        "vpce-0a.s3.us-east-1.vpce.amazonaws.com",
        "vpce-svc-0a.us-east-1.vpce.amazonaws.com",
    ],
)
def test_a_customers_host_is_no_endpoint(host: str) -> None:
    """Registries, load balancers, clusters, websites and what is not understood are nobody's API."""
    assert read_host(host) is None


@pytest.mark.parametrize(
    "region,partition",
    [
        (None, "aws"),
        ("eu-central-1", "aws"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-east-1", "aws-us-gov"),
        ("us-isob-east-1", "aws-iso-b"),
        ("us-iso-east-1", "aws-iso"),
    ],
)
def test_a_region_has_its_partition(region: str | None, partition: str) -> None:
    """The partition that an ARN begins with follows from the region."""
    assert partition_of(region) == partition


def test_no_partition_of_botocores_is_missing() -> None:
    """Every domain that botocore knows is one of ours."""
    assert set(SUFFIXES) == {f".{each}" for each in load_table().suffixes} | {".on.aws"}
