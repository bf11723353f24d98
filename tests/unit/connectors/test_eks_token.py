"""An EKS token is what AWS's own signer would make, is good for one cluster, and is young."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from proxy.connectors.eks_token import make_token
from proxy.connectors.sigv4 import Keys
from proxy.model.grant import Secret
from tests.fakes.aws_verifier import AwsVerifier, IssuedKey, RefusedError, Wire

NOW = datetime(2030, 1, 1, 12, 0, 17, tzinfo=UTC)
HOST, REGION = "sts.eu-west-1.amazonaws.com", "eu-west-1"
SECRET, TOKEN = "planted/secret+1", "planted/token+with=all&of%it=="
KEYS = Keys("ASIA0000", Secret(SECRET), Secret(TOKEN))
VERIFIER = AwsVerifier({"ASIA0000": IssuedKey(secret=SECRET, token=TOKEN), "AKIA1": IssuedKey(secret=SECRET)})


def url_of(token: Secret) -> str:
    text = token.reveal()
    assert text.startswith("k8s-aws-v1.")
    assert "=" not in text
    body = text.removeprefix("k8s-aws-v1.")
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()


def ask_sts(url: str, now: datetime = NOW, cluster: str = "storefront") -> str:
    """Who STS says signed it, for a cluster that asks by its own name."""
    parts = urlsplit(url)
    headers = ((b"host", parts.netloc.encode()), (b"x-k8s-aws-id", cluster.encode()))
    return VERIFIER.verify_presigned(Wire(b"GET", f"/?{parts.query}".encode(), headers), now, "sts").key_id


@pytest.mark.parametrize("keys", [KEYS, Keys("AKIA1", Secret(SECRET), None)], ids=["session", "plain"])
def test_sts_knows_who_signed(keys: Keys) -> None:
    """An independent verifier finds the signature right; the secret is not in the token."""
    url = url_of(make_token("storefront", REGION, HOST, keys, NOW))
    assert ask_sts(url) == keys.access_key
    assert SECRET not in url
    stated = dict(parse_qsl(urlsplit(url).query))
    assert (stated["X-Amz-Expires"], stated["X-Amz-SignedHeaders"]) == ("60", "host;x-k8s-aws-id")
    assert stated["X-Amz-Credential"] == f"{keys.access_key}/20300101/eu-west-1/sts/aws4_request"


def test_the_verifier_accepts_what_awss_own_signer_makes() -> None:
    """botocore's pre-signed URL passes it too: what it takes from us, AWS would."""
    url = f"https://{HOST}/?Action=GetCallerIdentity&Version=2011-06-15"
    signer: Any = SigV4QueryAuth  # botocore is untyped
    request: Any = cast("Any", AWSRequest)(method="GET", url=url, headers={"x-k8s-aws-id": "storefront"})
    signer(cast("Any", Credentials)("ASIA0000", SECRET, TOKEN), "sts", REGION, expires=60).add_auth(request)
    assert ask_sts(str(request.url), datetime.now(UTC)) == "ASIA0000"


def test_a_token_is_for_one_cluster() -> None:
    """Another cluster that asks STS with it, under its own name, is told nothing."""
    url = url_of(make_token("storefront", REGION, HOST, KEYS, NOW))
    with pytest.raises(RefusedError, match="SignatureDoesNotMatch"):
        ask_sts(url, cluster="other")


@pytest.mark.parametrize(
    "was, becomes",
    [
        ("Action=GetCallerIdentity", "Action=GetSessionToken"),
        ("X-Amz-Date=20300101T120000Z", "X-Amz-Date=20300101T120001Z"),
        ("%2Feu-west-1%2F", "%2Feu-west-2%2F"),
        ("X-Amz-Expires=60", "X-Amz-Expires=900"),
    ],
)
def test_nothing_of_it_can_be_changed(was: str, becomes: str) -> None:
    """Action, time, region and life are signed."""
    url = url_of(make_token("storefront", REGION, HOST, KEYS, NOW))
    assert was in url
    with pytest.raises(RefusedError, match="SignatureDoesNotMatch"):
        ask_sts(url.replace(was, becomes))


def test_a_half_minute_shares_a_token() -> None:
    """Clusters remember tokens, so requests of one half minute have one; it is never older than that when sent."""
    made = [make_token("storefront", REGION, HOST, KEYS, NOW + timedelta(seconds=each)).reveal() for each in range(30)]
    assert len(set(made)) == 2
    assert len(set(made[:13])) == 1
    for number, text in enumerate(made):
        assert ask_sts(url_of(Secret(text)), NOW + timedelta(seconds=number)) == "ASIA0000"
    with pytest.raises(RefusedError, match="ExpiredToken"):
        ask_sts(url_of(Secret(made[0])), NOW + timedelta(seconds=60))
