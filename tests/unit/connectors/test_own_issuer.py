"""jobgate's own tokens: what they say, that nothing a job is called can say more, and that their documents fit."""

import http.client
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy.connectors.kms import KmsKey
from proxy.connectors.own_claims import OwnToken, own_claims, own_subject
from proxy.connectors.own_issuer import OwnIssuer, OwnIssuerSettings
from proxy.connectors.parts import ConnectorParts
from proxy.model.errors import ConfigError, CredentialError
from proxy.model.grant import Grant, MintRequest
from proxy.outbound import Answer, Call, Outbound
from proxy.system import SystemClock
from tests.fakes.sidecar import wait_until

NOW = datetime(2030, 1, 1, tzinfo=UTC)
URL = "https://jobgate.test"
LABELS = {
    "organization": "acme",
    "pipeline": "shop",
    "step": "release",
    "branch": "main",
    "commit": "c" * 40,
    "build_number": "7",
    "job_id": "j-1",
    "issuer": "https://agent.buildkite.com",
    "actor": "somebody",
}


def asked(**labels: str) -> MintRequest:
    grant = Grant(connector="aws", scope={}, lifetime=timedelta(minutes=15), key="k")
    return MintRequest(grant=grant, session_id="s", labels=LABELS | labels, tokens={}, rule="shop-release")


def claims_of(labels: dict[str, str]) -> dict[str, Any]:
    token = OwnToken(
        url=URL, audience="sts", rule="r", now=NOW, lifetime=timedelta(minutes=5), token_id="t"
    )  # fmt: skip
    return own_claims(labels, token)


def test_a_token_says_what_was_verified_and_decided() -> None:
    """Every fact is a claim and a session tag; whoever started the build is no fact of the decision."""
    found = claims_of(LABELS)
    at = int(NOW.timestamp())
    assert {name: found[name] for name in ("iss", "aud", "iat", "nbf", "exp", "jti")} == {
        "iss": URL,
        "aud": "sts",
        "iat": at,
        "nbf": at,
        "exp": at + 300,
        "jti": "t",
    }
    assert found["sub"] == "organization:acme:pipeline:shop:step:release:ref:refs/heads/main"
    assert (found["commit"], found["rule"], found["origin_issuer"]) == ("c" * 40, "r", LABELS["issuer"])
    assert "actor" not in found
    tags = found["https://aws.amazonaws.com/tags"]
    assert tags["principal_tags"]["step"] == ["release"]
    assert tags["transitive_tag_keys"] == ["pipeline", "rule"]
    assert claims_of({})["https://aws.amazonaws.com/tags"]["transitive_tag_keys"] == ["rule"]


@pytest.mark.parametrize(
    "labels, subject",
    [
        ({}, ""),
        ({"pipeline": "p", "tag": "v1", "branch": "main"}, "pipeline:p:ref:refs/tags/v1"),
        ({"pipeline": "p", "step": "a:ref:refs/heads/main"}, "pipeline:p:step:a%3Aref%3Arefs/heads/main"),
        ({"pipeline": "p:step:release"}, "pipeline:p%3Astep%3Arelease"),
        ({"branch": "main%3A\n*"}, "ref:refs/heads/main%253A%0A%2A"),
        ({"branch": "caf\u00e9"}, "ref:refs/heads/caf%C3%A9"),
    ],
)
def test_no_name_can_say_that_it_is_another(labels: dict[str, str], subject: str) -> None:
    """What would end a value is encoded; a fact that is not known is left out with its name."""
    assert own_subject(labels) == subject


def test_a_name_that_no_tag_can_hold_is_its_digest() -> None:
    """Conditions decide on tags: nothing similar stands in its place."""
    (value,) = claims_of({"branch": "x" * 300})["https://aws.amazonaws.com/tags"]["principal_tags"]["branch"]
    assert value.startswith("sha256:")


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def issuer(folder: Path, key: rsa.RSAPrivateKey, *also: Path) -> OwnIssuer:
    place = folder / "key.pem"
    place.touch(mode=0o600)
    place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    parts = ConnectorParts(caller=Outbound(ssl.create_default_context()), clock=SystemClock())
    return OwnIssuer(OwnIssuerSettings(url=URL, key=place, lifetime=timedelta(minutes=5), also=also), parts)


def public_file(folder: Path, key: rsa.RSAPrivateKey) -> Path:
    place = folder / "also.pem"
    place.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return place


def verified(documents: dict[str, dict[str, Any]], token: str) -> dict[str, Any]:
    """What a verifier makes of a token that knows nothing but the published documents."""
    keys = {each["kid"]: jwt.PyJWK(each) for each in documents["/.well-known/jwks.json"]["keys"]}
    named = keys[jwt.get_unverified_header(token)["kid"]]
    stated = documents["/.well-known/openid-configuration"]
    assert stated["jwks_uri"] == f"{URL}/.well-known/jwks.json"
    found: dict[str, Any] = jwt.decode(
        token, named.key, stated["id_token_signing_alg_values_supported"], audience="sts", issuer=stated["issuer"]
    )
    return found


async def test_a_token_is_verified_by_the_published_documents(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """An independent verifier needs nothing else; each token has an id of its own."""
    made = issuer(tmp_path, key)
    held = [await made.mint(asked(), "sts") for _ in range(2)]
    found = [verified(await made.documents(), each.token.reveal()) for each in held]
    assert found[0]["rule"] == "shop-release"
    assert found[0]["jti"] != found[1]["jti"]
    assert held[0].audience == "sts"
    assert held[0].token.reveal() not in repr(held[0])


async def test_a_key_is_replaced_without_a_gap(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """The old key's tokens verify as long as its public half is published beside the new one's."""
    fresh = rsa.generate_private_key(65537, 2048)
    old = (await issuer(tmp_path, key).mint(asked(), "sts")).token.reveal()
    made = issuer(tmp_path, fresh, public_file(tmp_path, key))
    documents = await made.documents()
    assert len(documents["/.well-known/jwks.json"]["keys"]) == 2
    assert (
        verified(documents, old)["sub"] == verified(documents, (await made.mint(asked(), "sts")).token.reveal())["sub"]
    )
    same = await issuer(tmp_path, key, public_file(tmp_path, key)).documents()
    assert len(same["/.well-known/jwks.json"]["keys"]) == 1
    assert not any("d" in each for each in documents["/.well-known/jwks.json"]["keys"])


async def test_a_key_that_is_none_is_named(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """Not there, no PEM, too short: where and what, never its content."""
    made = issuer(tmp_path, key, tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match=r"absent\.pem: cannot be read"):
        await made.documents()
    (tmp_path / "odd.pem").write_text("odd")
    with pytest.raises(ConfigError, match="not a public key in PEM"):
        await issuer(tmp_path, key, tmp_path / "odd.pem").documents()
    short = public_file(tmp_path, rsa.generate_private_key(65537, 1024))
    with pytest.raises(ConfigError, match="2048 bits or more"):
        await issuer(tmp_path, key, short).documents()
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(CredentialError, match="private key in PEM"):
        await made.mint(asked(), "sts")


@pytest.fixture(scope="module")
def kms() -> Iterator[int]:
    """moto's KMS, which has real keys."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Path(sys.executable).with_name("moto_server")
    words = [str(server), "-H", "127.0.0.1", "-p", str(port)]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, 30)
    yield port
    running.terminate()
    running.wait(10)


class Plain(Outbound):
    """Calls the KMS of this machine, which speaks no TLS."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(ssl.create_default_context())

    async def call(self, call: Call) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {name: value if isinstance(value, str) else value.reveal() for name, value in call.headers.items()}
        connection.request(call.method, "/", call.body, {**headers, "Host": "kms.eu-west-1.amazonaws.com"})
        answer = connection.getresponse()
        return Answer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.getheaders()},
            body=answer.read(),
        )


async def test_a_key_in_kms_signs_and_never_leaves_it(kms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """KMS signs the digest; its public half is published; another kind of key, or none, is named."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "own")
    connect: Any = boto3.client
    client = connect("kms", region_name="eu-west-1", endpoint_url=f"http://127.0.0.1:{kms}")
    made = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    parts = ConnectorParts(caller=Plain(kms), clock=SystemClock())

    def by(key_id: str) -> OwnIssuer:
        settings = OwnIssuerSettings(
            url=URL, key=KmsKey(key_id=key_id, region="eu-west-1"), lifetime=timedelta(minutes=5)
        )
        return OwnIssuer(settings, parts)

    held = await by(made).mint(asked(), "sts")
    assert verified(await by(made).documents(), held.token.reveal())["step"] == "release"
    other = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    with pytest.raises(ConfigError, match="not an RSA key"):
        await by(other).mint(asked(), "sts")
    with pytest.raises(CredentialError, match="KMS: NotFoundException"):
        await by("00000000-0000-0000-0000-000000000000").mint(asked(), "sts")
