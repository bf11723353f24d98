"""How AWS names its endpoints and its services in signatures, where the two differ. Data only.

Source: botocore's endpoint rules and each service model's `signingName`; a test compares them all. A service missing
here is refused, never signed for another name.
"""

from typing import Final

SIGNING: Final = {
    "account-access-runtime": "account-access",
    "agent-registry-control": "agent-registry",
    "agreement-marketplace": "aws-marketplace",
    "api.ecr": "ecr",
    "api.ecr-public": "ecr-public",
    "api.sagemaker": "sagemaker",
    "api.tunneling.iot": "IoTSecuredTunneling",
    "appconfigdata": "appconfig",
    "appstream2": "appstream",
    "bedrock-agent": "bedrock",
    "bedrock-agent-runtime": "bedrock",
    "bedrock-agentcore-control": "bedrock-agentcore",
    "bedrock-data-automation": "bedrock",
    "bedrock-data-automation-runtime": "bedrock",
    "bedrock-runtime": "bedrock",
    "cassandra-streams": "cassandra",
    "catalog.marketplace": "aws-marketplace",
    "cloudhsmv2": "cloudhsm",
    "cloudsearchdomain": "cloudsearch",
    "cloudwatch-omni": "cloudwatch",
    "contact-lens": "connect",
    "data-ats.iot": "iotdata",
    "data-signer": "signer",
    "data.ats.iot": "iotdata",
    "data.iot": "iotdata",
    "data.jobs.iot": "iot-jobs-data",
    "ddb": "dynamodb",
    "deployment-marketplace": "aws-marketplace",
    "discovery-marketplace": "aws-marketplace",
    "email": "ses",
    "entitlement.marketplace": "aws-marketplace",
    "eventsv2": "events",
    "forecastquery": "forecast",
    "git-codecommit": "codecommit",
    "iam-toolbox": "iam",
    "identity-chime": "chime",
    "ivsrealtime": "ivs",
    "mail-manager": "ses",
    "media-pipelines-chime": "chime",
    "meetings-chime": "chime",
    "memory-db": "memorydb",
    "messaging-chime": "chime",
    "metering.marketplace": "aws-marketplace",
    "migrationhub-config": "mgh",
    "models-v2-lex": "lex",
    "models.lex": "lex",
    "oidc": "sso-oauth",
    "participant.connect": "execute-api",
    "partnercentral-prm": "partnercentral",
    "personalize-events": "personalize",
    "personalize-runtime": "personalize",
    "pinpoint": "mobiletargeting",
    "portal.sso": "awsssoportal",
    "queue": "sqs",
    "reporting-marketplace": "aws-marketplace",
    "runtime-v2-lex": "lex",
    "runtime.lex": "lex",
    "runtime.sagemaker": "sagemaker",
    "servicecatalog-appregistry": "servicecatalog",
    "sms-voice.pinpoint": "sms-voice",
    "streams.dynamodb": "dynamodb",
    "voice-chime": "chime",
}
"""What stands before the region -> the name in a signature's scope, where it is not the last label."""

GLOBAL: Final = {
    "budgets": ("budgets", "us-east-1"),
    "ce": ("ce", "us-east-1"),
    "cloudfront": ("cloudfront", "us-east-1"),
    "global.health": ("health", "us-east-1"),
    "globalaccelerator": ("globalaccelerator", "us-west-2"),
    "iam": ("iam", "us-east-1"),
    "iam.us-gov": ("iam", "us-gov-west-1"),
    "organizations": ("organizations", "us-east-1"),
    "route53": ("route53", "us-east-1"),
    "route53.us-gov": ("route53", "us-gov-west-1"),
    "savingsplans": ("savingsplans", "us-east-1"),
    "shield": ("shield", "us-east-1"),
    "sts": ("sts", "us-east-1"),
    "waf": ("waf", "us-east-1"),
}
"""Endpoints without a region, under amazonaws.com -> service, and the one region they are signed for."""

NOT_SIGNED: Final = frozenset({"compute", "dkr", "elb", "s3-website", "vpce"})
"""Names under which customers' own machines answer, and places that take no signatures."""
