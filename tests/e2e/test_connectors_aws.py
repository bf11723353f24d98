"""The aws connector through a real sidecar: keys from a strict STS, requests verified by a strict S3, and all refusals.

Every case ends the same way: the reason is the right one, it is on record, S3 saw what it should and nothing else, and
no secret (STS's keys and session tokens, the job's tokens, the session's password) can be read anywhere.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from proxy.cli.environment import PLACEHOLDER_KEY
from proxy.connectors.parts import fingerprint
from proxy.demo.issuer import ISSUER
from tests.fakes.aws_stage import AwsStage
from tests.fakes.sidecar import rule
from tests.fakes.sts import Role

REGION = "eu-west-1"
S3 = f"releases.s3.{REGION}.amazonaws.com"
STS = f"sts.{REGION}.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/storefront-release"
BODY = b"a release"


def aws(name: str, host: str = S3, **scope: Any) -> dict[str, Any]:
    """A rule for one folder of a bucket; `scope` is its credential."""
    region = host.partition(".s3.")[2].partition(".")[0]
    return rule(name, host, path=f"/{name}/**", credential={"aws": {"role": ROLE, "region": region, **scope}})


@pytest.fixture(scope="module")
def stage() -> Iterator[AwsStage]:
    made = AwsStage((S3, STS))
    made.sts.roles[ROLE] = Role(issuer=ISSUER, claims={"pipeline_slug": "storefront"})
    made.world.rules = [
        aws("plain"),
        aws("scoped", actions=["s3:PutObject"], resources=["arn:aws:s3:::releases/scoped/*"]),
    ]
    made.start()
    yield made
    made.stop()


def request(method: str, target: str, *lines: str, host: str = S3, body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body or method == "PUT" else []
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *length, *lines, "", ""]
    return "\r\n".join(head).encode() + body


DIGEST = f"x-amz-content-sha256: {sha256(BODY).hexdigest()}"
ALLOWED = [
    pytest.param("/plain/undeclared", (), "PUT", id="body-digested-by-us"),
    pytest.param("/plain/declared", (DIGEST,), "PUT", id="body-digest-declared"),
    pytest.param("/scoped/covered", (DIGEST,), "PUT", id="covered-by-session-policy"),
]


@pytest.mark.parametrize("target, lines, method", ALLOWED)
def test_a_request_is_signed_with_a_key_of_the_job(
    stage: AwsStage, target: str, lines: tuple[str, ...], method: str
) -> None:
    """The job's own token buys a key from STS; the request reaches S3 signed by it, with nothing of the job's."""
    session = stage.open()

    answer = stage.ask(session, S3, request(method, target, *lines, body=BODY))

    assert (answer.status, answer.denial) == (200, {})
    assert stage.sts.stored[f"releases{target}"] == BODY
    (wire,) = stage.reached(target)
    key_id, key = list(stage.sts.verifier.keys.items())[-1]
    assert f"Credential={key_id}/".encode() in wire.values(b"authorization")[0]
    assert PLACEHOLDER_KEY.encode() not in b"".join(value for _, value in wire.headers)
    (minted,) = stage.minted(session)
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason, flow.connector, flow.status) == ("allow", "allowed", "aws", 200)
    assert flow.credential == minted["credential"] == fingerprint(key.secret)
    assert stage.leaks() == []
