"""A GitHub App's tokens, made over TLS at a strict GitHub: each for one repository and no wider, and taken back."""

import json
import ssl
import traceback
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from proxy.connectors.github_app import GitHubAppConnector, GitHubAppScope
from proxy.connectors.parts import ConnectorParts, Revoking
from proxy.demo.tls import StageRoot
from proxy.intents.registry import decode
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Grant, MintRequest, Need, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Outbound
from tests.fakes.github import GitHub, Installation, Instead
from tests.fakes.keys import signing_key

READS: Need = (("permissions", "contents=read"), ("repository", "acme/storefront"))
DENIED, MAYBE, SCOPE = Reason.CREDENTIAL_REFUSED, Reason.CREDENTIAL_UNAVAILABLE, Reason.CREDENTIAL_SCOPE
ACTIONS = "https://token.actions.githubusercontent.com"
HELD = {"contents": "write", "issues": "write", "metadata": "read"}


class WallClock:
    """The real time, moved by `ahead`: the fake GitHub reads the real one."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Stage:
    """A GitHub, the connector in front of it, and the app's key in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, WallClock()
        root = StageRoot(folder)
        side = root.server_side("github", ("api.github.com", "github.com", "uploads.github.com"))
        self.hub = GitHub(folder / "git", side, signing_key("RS256", bits=2048).public)
        self.hub.installations[77] = Installation(
            account="Acme", repositories=frozenset({"acme/storefront", "acme/docs"}), permissions=HELD
        )
        self.write_key(pem())
        trust = ssl.create_default_context(cafile=str(folder / "stage-root.pem"))
        self.hub.site.start()
        hosts = ("api.github.com", "api.octo.ghe.com", "github.example.com")  # all led here; only the first is known
        caller = Outbound(trust, {f"{host}:443": Authority("127.0.0.1", self.hub.site.port) for host in hosts})
        self.connector = GitHubAppConnector(ConnectorParts(caller=caller, clock=self.clock))

    def write_key(self, content: bytes) -> None:
        place = self.folder / "app.pem"
        place.touch(mode=0o600)
        place.write_bytes(content)

    def scope(self, **given: Any) -> GitHubAppScope:
        basic: dict[str, Any] = {
            "app": self.hub.client,
            "key": {"file": str(self.folder / "app.pem")},
            "permissions": {"contents": "write"},
            "repositories": ["Acme/Storefront"],
        }
        return GitHubAppScope.model_validate(basic | given)

    async def mint(self, need: Need = READS, asked: MintRequest | None = None, **given: Any) -> Credential:
        return await self.connector.mint(asked or request(need), self.scope(**given))

    async def refusal(self, need: Need = READS, asked: MintRequest | None = None, **given: Any) -> tuple[str, Reason]:
        with pytest.raises(CredentialError) as caught:
            await self.mint(need, asked, **given)
        told = "".join(traceback.format_exception(caught.value))
        assert not any(secret in told for secret in [*self.hub.tokens, *self.hub.jwts, "PRIVATE"])
        return str(caught.value), caught.value.reason


def pem(
    kind: PrivateFormat = PrivateFormat.TraditionalOpenSSL,
    lock: KeySerializationEncryption | None = None,
    algorithm: str = "RS256",
    bits: int = 2048,
) -> bytes:
    private = signing_key(algorithm, bits=bits).private
    content: bytes = private.private_bytes(Encoding.PEM, kind, lock or NoEncryption())
    return content


def request(
    need: Need = READS, lifetime: timedelta = timedelta(minutes=15), labels: Mapping[str, str] | None = None
) -> MintRequest:
    grant = Grant(connector="github-app", scope={}, lifetime=lifetime, key="k")
    return MintRequest(grant=grant, session_id="s", labels=labels or {}, tokens={}, need=need)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.hub.site.stop()


def view(host: str, path: str, method: str = "GET") -> RequestView:
    return RequestView(method=method, scheme="https", authority=Authority(host, 443), path=path, query=None, headers=())


async def test_a_token_for_one_repository_and_one_permission(stage: Stage) -> None:
    """The app signs, finds its installation, and asks for exactly what the request needs."""
    before = datetime.now(UTC)
    credential = await stage.mint()
    assert stage.hub.calls == ["GET /repos/Acme/Storefront/installation", "POST /app/installations/77/access_tokens"]
    assert stage.hub.asked == [{"repositories": ["Storefront"], "permissions": {"contents": "read"}}]
    (token,) = stage.hub.tokens
    assert len(token) > 300
    assert credential.secrets["token"].reveal() == token
    assert dict(credential.facts) == {
        "app": stage.hub.client,
        "installation": "77",
        "repository": "github.com/Acme/Storefront",
        "permissions": "contents=read metadata=read",
    }
    assert credential.expires_at is not None
    assert credential.ends_at == stage.hub.tokens[token].expires_at
    assert timedelta(minutes=15) <= credential.expires_at - before < timedelta(minutes=16)
    assert token not in f"{credential!r}{credential.facts}"


async def test_how_the_app_signs(stage: Stage) -> None:
    """RS256, `iat` a minute ago, `exp` within ten, `iss` the client id or the number; the same token for both calls."""
    await stage.mint(app=stage.hub.app)
    first, second = stage.hub.jwts
    claims = jwt.decode(first, options={"verify_signature": False})
    assert first == second
    assert jwt.get_unverified_header(first) == {"alg": "RS256", "typ": "JWT"}
    assert claims["iss"] == "123456"
    assert claims["exp"] - claims["iat"] <= 600
    assert 59 <= datetime.now(UTC).timestamp() - claims["iat"] <= 65


async def test_a_given_installation_is_not_looked_up(stage: Stage) -> None:
    """One call less; the token is still for the one repository."""
    await stage.mint(installation=77)
    assert stage.hub.calls == ["POST /app/installations/77/access_tokens"]
    assert stage.hub.asked[0]["repositories"] == ["Storefront"]


async def test_keys_in_either_form(stage: Stage) -> None:
    """PKCS #1, as GitHub gives it, PKCS #8, and with the line ends of another system."""
    for content in (pem(), pem(PrivateFormat.PKCS8), pem().replace(b"\n", b"\r\n"), pem().rstrip()):
        stage.write_key(content)
        await stage.mint()
    assert len(stage.hub.tokens) == 4


BAD_KEYS = [
    pytest.param(pem(lock=BestAvailableEncryption(b"x")), "has a passphrase", id="passphrase"),
    pytest.param(pem(PrivateFormat.PKCS8, BestAvailableEncryption(b"x")), "has a passphrase", id="passphrase-in-pkcs8"),
    pytest.param(pem(algorithm="ES256"), "not an RSA key of 2048 bits", id="another-algorithm"),
    pytest.param(pem(bits=1024), "not an RSA key of 2048 bits", id="short"),
    pytest.param(pem() + pem(), "one private key in PEM", id="two-keys"),
    pytest.param(b"ghp_x\n", "one private key in PEM", id="no-key"),
    pytest.param(pem().replace(b"A", b"\x00"), "one private key in PEM", id="control-characters"),
    pytest.param(pem()[:200] + b"\n-----END RSA PRIVATE KEY-----", "not one in PEM", id="cut-off"),
    pytest.param(b"", "gives nothing", id="empty"),
]


@pytest.mark.parametrize("content, why", BAD_KEYS)
async def test_a_key_that_cannot_sign(stage: Stage, content: bytes, why: str) -> None:
    """Nothing is asked with less than a plain RSA key, and no line of it is repeated."""
    stage.write_key(content)
    said, reason = await stage.refusal()
    assert why in said
    assert reason is MAYBE
    assert stage.hub.calls == []


async def test_the_jobs_own_repository(stage: Stage) -> None:
    """Without `repositories` a job of GitHub Actions gets its own repository, and no other."""
    own = {"repository": "Acme/Storefront", "issuer": ACTIONS}
    unnamed: Need = (("permissions", "contents=read"), ("repository", ""))
    for need in (READS, unnamed):
        await stage.mint(asked=request(need, labels=own), repositories=[])
    assert [asked["repositories"] for asked in stage.hub.asked] == [["Storefront"]] * 2
    other: Need = (("permissions", "contents=read"), ("repository", "acme/docs"))
    said, reason = await stage.refusal(asked=request(other, labels=own), repositories=[])
    assert "acme/docs is not the job's own repository" in said
    assert reason is SCOPE


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"repository": "Acme/Storefront"},
        {"repository": "acme/storefront", "issuer": "https://gitlab.com"},
        {"repository": "acme/storefront", "issuer": "https://github.example.com/_services/token"},
        {"repository": "acme/storefront", "issuer": f"{ACTIONS}.evil.test"},
        {"issuer": ACTIONS},
    ],
    ids=str,
)
async def test_a_repository_that_another_forge_states(stage: Stage, labels: dict[str, str]) -> None:
    """`acme/storefront` elsewhere is another repository: only Actions of the same site can state which is the job's."""
    said, reason = await stage.refusal(asked=request(labels=labels), repositories=[])
    assert "name `repositories` in the rule" in said
    assert reason is SCOPE
    assert stage.hub.calls == []


@pytest.mark.parametrize(
    "host, issuer, is_own",
    [
        ("github.com", ACTIONS, True),
        ("github.com", f"{ACTIONS}/acme-enterprise", True),
        ("github.com", "https://token.actions.octo.ghe.com", False),
        ("octo.ghe.com", "https://token.actions.octo.ghe.com", True),
        ("octo.ghe.com", ACTIONS, False),
        ("octo.ghe.com", "https://token.actions.other.ghe.com", False),
        ("github.example.com", "https://github.example.com/_services/token", True),
        ("github.example.com", ACTIONS, False),
    ],
)
async def test_whose_word_counts_for_a_jobs_repository(stage: Stage, host: str, issuer: str, *, is_own: bool) -> None:
    """Actions of the rule's own site, an enterprise's included; every other issuer's `acme/storefront` is another's."""
    asked = request(labels={"repository": "Acme/Storefront", "issuer": issuer})
    if host == "github.com" and is_own:
        assert (await stage.mint(asked=asked, repositories=[])).facts["repository"] == "github.com/Acme/Storefront"
        return
    told, reason = await stage.refusal(asked=asked, repositories=[], host=host)
    assert reason is (MAYBE if is_own else SCOPE)
    assert ("certificate is not accepted" if is_own else "does not state this job's repository") in told


async def test_whole_owners_get_one_repository_at_a_time(stage: Stage) -> None:
    """A rule for `acme/*` still mints for the repository of the request alone."""
    docs: Need = (("permissions", "contents=write issues=read"), ("repository", "acme/docs"))
    await stage.mint(docs, repositories=["acme/*"])
    assert stage.hub.asked == [{"repositories": ["docs"], "permissions": {"contents": "write", "issues": "read"}}]


def needing(permissions: str, repository: str = "acme/storefront") -> Need:
    return (("permissions", permissions), ("repository", repository))


REFUSED: list[Any] = [
    pytest.param(needing("contents=read", "acme/none"), {}, "app is not installed there, status 404", id="lookup"),
    pytest.param(
        needing("contents=read", "acme/none"), {"installation": 77}, "not those permissions, status 422", id="a"
    ),
    pytest.param(needing("contents=admin"), {}, "not those permissions, status 422", id="level"),
    pytest.param(needing("members=read"), {}, "not those permissions, status 422", id="permission"),
    pytest.param(READS, {"installation": 78}, "app has no such installation, status 404", id="installation"),
    pytest.param(READS, {"app": 99}, "the clock here is wrong, status 401", id="app"),
]


@pytest.mark.parametrize("need, given, why", REFUSED)
async def test_what_github_refuses(stage: Stage, need: Need, given: dict[str, Any], why: str) -> None:
    """The refusal says what to set right, and nothing is minted."""
    said, reason = await stage.refusal(need, repositories=["acme/*"], **given)
    assert why in said
    assert reason is DENIED
    assert stage.hub.tokens == {}


@pytest.mark.parametrize("ahead", [-400, 90, 700])
async def test_a_clock_that_is_wrong(stage: Stage, ahead: int) -> None:
    """GitHub refuses what is signed in the future or has ended; the refusal names the clock."""
    stage.clock.ahead = timedelta(seconds=ahead)
    said, reason = await stage.refusal()
    assert "or the clock here is wrong" in said
    assert reason is DENIED


@pytest.mark.parametrize("ahead", [-200, 50])
async def test_a_clock_that_is_a_little_off(stage: Stage, ahead: int) -> None:
    """A minute ahead and some minutes behind are tolerated."""
    stage.clock.ahead = timedelta(seconds=ahead)
    assert (await stage.mint()).fingerprint


async def test_a_suspended_installation(stage: Stage) -> None:
    """Told when it is looked up, and by GitHub where it is not."""
    stage.hub.installations[77] = Installation(
        account="Acme", repositories=frozenset({"acme/storefront"}), permissions=HELD, suspended=True
    )
    assert await stage.refusal() == ("GitHub: the app's installation is suspended", DENIED)
    said, reason = await stage.refusal(installation=77)
    assert "the installation is suspended or may not be used, status 403" in said
    assert reason is DENIED


WIDER: list[dict[str, Any]] = [
    {"permissions": {"contents": "write", "metadata": "read"}},
    {"permissions": {"contents": "read", "metadata": "write"}},
    {"permissions": {"contents": "read", "issues": "read"}},
    {"permissions": {"contents": "read", "administration": "owner"}},
    {"permissions": {"contents": ["read"]}},
    {"permissions": "contents"},
    {"permissions": ...},
    {"repository_selection": "all"},
    {"repository_selection": ...},
    {"repositories": ...},
    {"repositories": []},
    {"repositories": [{"full_name": "Acme/docs"}]},
    {"repositories": [{"full_name": "Evil/storefront"}]},
    {"repositories": [{"full_name": "Acme/storefront"}, {"full_name": "Acme/docs"}]},
    {"repositories": [{"full_name": "Acme/storefront"}, 5]},
    {"repositories": [{"full_name": 5}]},
    {"repositories": {"full_name": "Acme/storefront"}},
    {"expires_at": ...},
    {"expires_at": "2030-01-01"},
    {"expires_at": 5},
]


@pytest.mark.parametrize("gives", WIDER, ids=str)
async def test_a_token_wider_than_asked_is_given_back(stage: Stage, gives: dict[str, Any]) -> None:
    """More permissions, more repositories, or no word about them: the token is taken back at once and never used."""
    stage.hub.gives = gives
    _, reason = await stage.refusal()
    assert reason is MAYBE
    assert stage.hub.calls[-1] == "DELETE /installation/token"
    assert len(stage.hub.tokens) == 1
    assert stage.hub.living() == []


@pytest.mark.parametrize("token", [..., "", 5, "ghs_a b", "ghs_a\r\nx: y", "x" * 16385])
async def test_a_token_that_cannot_stand_in_a_header(stage: Stage, token: object) -> None:
    """What is not one word of RFC 6750's alphabet is no token."""
    stage.hub.gives = {"token": token}
    assert await stage.refusal() == ("GitHub: the answer holds no usable token", MAYBE)


@pytest.mark.parametrize("lifetime, seconds", [(timedelta(minutes=5), 300), (timedelta(hours=5), 3600)])
async def test_the_shorter_life_counts(stage: Stage, lifetime: timedelta, seconds: int) -> None:
    """The rule's or GitHub's, whatever GitHub says."""
    credential = await stage.mint(asked=request(lifetime=lifetime))
    assert credential.expires_at is not None
    assert abs((credential.expires_at - datetime.now(UTC)).total_seconds() - seconds) < 5


async def test_github_lies_about_the_end(stage: Stage) -> None:
    """A token that is said to live for years is used no longer than the rule says."""
    stage.hub.gives = {"expires_at": "2999-01-01T00:00:00Z"}
    credential = await stage.mint()
    assert credential.expires_at is not None
    assert credential.expires_at - datetime.now(UTC) <= timedelta(minutes=15)


def said(status: int, body: object = None, **headers: str) -> Instead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Instead(status=status, body=b"" if body is None else json.dumps(body).encode(), headers=named)


OTHERWISE: list[Any] = [
    pytest.param(said(500), "GitHub: status 500", MAYBE, id="broken"),
    pytest.param(said(429), "GitHub: status 429", MAYBE, id="throttled"),
    pytest.param(said(403, retry_after="60"), "too many requests for now", MAYBE, id="throttled-with-403"),
    pytest.param(said(403, x_ratelimit_remaining="0"), "too many requests for now", MAYBE, id="used-up"),
    pytest.param(
        said(403, {"message": "You have exceeded a secondary rate limit"}), "too many requests", MAYBE, id="secondary"
    ),
    pytest.param(said(403, {"message": "no"}), "the app may not ask, status 403", DENIED, id="forbidden"),
    pytest.param(said(301, location="https://evil.test/"), "GitHub: status 301", DENIED, id="renamed"),
    pytest.param(said(200), "no JSON object", MAYBE, id="empty"),
    pytest.param(said(200, [1]), "no JSON object", MAYBE, id="no-object"),
    pytest.param(said(200, {"account": {"login": "acme"}}), "has no number", MAYBE, id="no-number"),
    pytest.param(said(200, {"id": True, "account": {"login": "acme"}}), "has no number", MAYBE, id="true"),
    pytest.param(said(200, {"id": "77/../1", "account": {"login": "acme"}}), "has no number", MAYBE, id="path"),
    pytest.param(said(200, {"id": -1, "account": {"login": "acme"}}), "has no number", MAYBE, id="negative"),
    pytest.param(said(200, {"id": 77, "account": {"login": "evil"}}), "is not that of", MAYBE, id="another-owner"),
    pytest.param(said(200, {"id": 77, "account": None}), "is not that of", MAYBE, id="nobody"),
]


@pytest.mark.parametrize("answer, why, reason", OTHERWISE)
async def test_a_look_up_that_fails(stage: Stage, answer: Instead, why: str, reason: Reason) -> None:
    """Being asked to wait is no refusal; what is not an installation of the repository's owner is none."""
    stage.hub.instead = [answer]
    told, given = await stage.refusal()
    assert why in told
    assert given is reason
    assert stage.hub.tokens == {}
    assert len(stage.hub.calls) == 1


@pytest.mark.parametrize("status", [200, 202, 302])
async def test_only_created_is_a_token(stage: Stage, status: int) -> None:
    """GitHub answers 201; anything else is no token."""
    stage.hub.instead = [said(status, {"token": "ghs_x"}, location="https://evil.test/")]
    told, _ = await stage.refusal(installation=77)
    assert f"status {status}" in told
    assert "ghs_x" not in told


def test_where_the_token_goes(stage: Stage) -> None:
    """git gets Basic, the API Bearer, other hosts nothing; what was sent is what must not come back."""
    token = "ghs_0123456789"
    credential = Credential(
        connector="github-app", secrets={"token": Secret(token)}, facts={}, fingerprint="f", expires_at=None
    )
    git = stage.connector.apply(view("github.com", "/a/b/git-upload-pack"), stage.scope(), credential, None)
    (name, value), pair = git.put[0], b64decode(git.watch[1].reveal()).decode()
    assert (name, pair) == ("authorization", f"x-access-token:{token}")
    assert git.remove == {"authorization"}
    assert isinstance(value, Secret)
    assert value.reveal() == f"Basic {git.watch[1].reveal()}"
    assert git.watch[0].reveal() == token
    for host in ("api.github.com", "uploads.github.com"):
        edits = stage.connector.apply(view(host, "/x"), stage.scope(), credential, None)
        assert isinstance(edits.put[0][1], Secret)
        assert edits.put[0][1].reveal() == f"Bearer {token}"
        assert edits.remove == {"authorization"}
    for host in ("codeload.github.com", "objects.githubusercontent.com"):
        with pytest.raises(CredentialError):
            stage.connector.apply(view(host, "/x"), stage.scope(), credential, None)


def test_a_plan_is_what_the_request_needs(stage: Stage) -> None:
    """The rule's ceiling and the request's intent meet before anything is minted."""
    asked = view("api.github.com", "/repos/acme/storefront/contents/a")
    intent = decode(asked)
    assert isinstance(intent, Intent)
    assert stage.connector.plan(asked, intent, stage.scope()).need == READS
    with pytest.raises(CredentialError) as caught:
        stage.connector.plan(asked, intent, stage.scope(permissions={"issues": "read"}))
    assert caught.value.reason is SCOPE


async def test_a_token_is_taken_back(stage: Stage) -> None:
    """GitHub confirms it; a token that has ended already is void too."""
    credential = await stage.mint()
    assert isinstance(stage.connector, Revoking)
    assert await stage.connector.revoke(credential, stage.scope()) is True
    assert stage.hub.living() == []
    assert await stage.connector.revoke(credential, stage.scope()) is True


@pytest.mark.parametrize("status", [200, 404, 429, 500])
async def test_a_revocation_that_is_not_confirmed(stage: Stage, status: int) -> None:
    """Only GitHub's own yes counts."""
    credential = await stage.mint()
    stage.hub.instead = [Instead(status=status)]
    with pytest.raises(CredentialError):
        await stage.connector.revoke(credential, stage.scope())
    assert len(stage.hub.living()) == 1


async def test_a_wide_token_that_cannot_be_given_back_is_refused_all_the_same(stage: Stage) -> None:
    """That it is refused matters more than how giving it back went."""
    stage.hub.gives = {"repository_selection": "all"}
    stage.hub.revokes = False
    assert await stage.refusal() == ("GitHub: the token is not for Acme/Storefront alone", MAYBE)
    assert stage.hub.calls[-1] == "DELETE /installation/token"
