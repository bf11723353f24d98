"""The vault connector through a real sidecar: hvac, the CLI and curl against a real OpenBao. A job works with a token
that it never has; what it must not do, Vault never sees asked; when it ends, what was made for it is void.
"""

import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.connectors.parts import fingerprint
from tests.fakes.raw import RawClient
from tests.fakes.sidecar import rule, wait_until
from tests.fakes.tools import RequireTool
from tests.fakes.vault import Instead
from tests.fakes.vault_stage import HOST, SITE, URL, VALUES, VaultStage

pytestmark = pytest.mark.real
DB = "/v1/secret/data/app/db"
API = "secret.test"
OTP = {"engine": "dynamic", "path": "ssh/creds/otp", "field": "key", "parameters": {"ip": "10.0.0.1"}}
KV = {"engine": "kv2", "path": "secret/data/app/db", "field": "password"}
HVAC = f"""
import hvac, json, sys
client = hvac.Client(url="{URL}", token="jobs-own", namespace=sys.argv[1] or None)
kv = client.secrets.kv.v2
if len(sys.argv) > 2:
    kv.create_or_update_secret(path="app/made", secret=dict(value=sys.argv[2]))
    print(kv.read_secret_version(path="app/made", raise_on_deleted_version=True)["data"]["data"]["value"])
else:
    print(json.dumps(kv.read_secret_version(path="app/db", raise_on_deleted_version=True)["data"]["data"]))
"""


@pytest.fixture(scope="module")
def vault_stage(require_tool: RequireTool) -> Iterator[VaultStage]:
    made = VaultStage(require_tool("bao"))
    made.world.rules = [
        made.rule(
            "storefront",
            SITE,
            intent=[
                f"vault kv.get {SITE}/secret/data/app/*",
                f"vault kv.put {SITE}/secret/data/app/*",
                f"vault kv.enumerate {SITE}/secret/metadata/app",
                f"vault creds {SITE}/ssh/creds/otp",
                f"vault sys.status {SITE}/**",
                f"vault token.lookup {SITE}/auth/token/lookup-self",
            ],
            scope={"policies": ["app"]},
        ),
        made.rule("vague", SITE, intent=[f"vault * {SITE}/**"]),
        made.rule("team", SITE, intent=f"vault kv.get {SITE}/team/secret/data/app/*", scope={"namespace": "team"}),
        made.rule("narrow", SITE, intent=f"vault kv.get {SITE}/**", scope={"policies": ["other"]}),
        made.rule("absent", SITE, intent=f"vault kv.get {SITE}/**", scope={"role": "absent"}),
        made.rule("astray", [SITE, API]),
        made.rule(
            "dynamic", API, scope={"secret": {**OTP, "scheme": "basic", "username_field": "username"}}
        ),
        made.rule("kept", API, scope={"secret": KV}),
        made.rule("gone", API, scope={"secret": {**KV, "path": "secret/data/app/absent"}}),
        rule("plain", "origin.test"),
    ]  # fmt: skip
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(vault_stage: VaultStage) -> Iterator[VaultStage]:
    """The stage of this file; what a test made Vault say or be is undone around it."""
    vault_stage.vault.settle()
    yield vault_stage
    vault_stage.vault.settle()


def test_hvac_reads_and_writes(stage: VaultStage) -> None:
    """The real client works with a token that it never had; its own goes nowhere."""
    job = stage.open("storefront")
    assert json.loads(job.python(HVAC, "")) == VALUES
    assert job.python(HVAC, "", "hello").strip() == "hello"
    (token,) = stage.vault.tokens
    work = stage.vault.used("/v1/secret")
    assert [(use.method, use.status) for use in work] == [("GET", 200), ("POST", 200), ("GET", 200)]
    assert {(use.token, use.authorization) for use in work} == {(token, "")}
    (minted,) = stage.minted(job)
    assert minted["credential"] == fingerprint(token)
    assert minted["facts"] == {"address": URL, "role": "storefront", "token_type": "service"}
    flow = stage.world.ended(path=DB)
    assert (flow.status, flow.credential) == (200, fingerprint(token))
    assert stage.leaks() == []


def test_the_command_line_client(stage: VaultStage, require_tool: RequireTool) -> None:
    """`kv get`, `kv put` and `kv list`, with what the client asks before them."""
    bao, job = require_tool("bao"), stage.open("storefront")
    environment = {"BAO_ADDR": URL, "BAO_TOKEN": "jobs-own"}
    done = job.run(bao, "kv", "get", "-mount=secret", "-field=password", "app/db", environment=environment)
    assert done.stdout.decode().strip() == VALUES["password"]
    job.run(bao, "kv", "put", "-mount=secret", "app/cli", "a=b", environment=environment)
    done = job.run(bao, "kv", "list", "-mount=secret", "app", environment=environment)
    assert b"cli" in done.stdout
    refused = job.run(bao, "kv", "get", "-mount=secret", "other/x", environment=environment, code=2)
    assert b"No rule allows" in refused.stderr
    assert {use.token for use in stage.vault.uses} == {"", *stage.vault.tokens}
    assert len(stage.vault.tokens) == 1
    assert stage.leaks() == []


def test_curl_with_tokens_of_its_own(stage: VaultStage) -> None:
    """Whatever a job puts in the fields that carry a token, Vault sees jobgate's."""
    job = stage.open("storefront")
    own = ["-H", "X-Vault-Token: root", "-H", "Authorization: Bearer root", "-H", "x-vault-token: second"]
    said = job.curl("-f", *own, f"{URL}{DB}")
    assert json.loads(said)["data"]["data"] == VALUES
    (use,) = stage.vault.used(DB)
    assert (use.token, use.authorization, use.namespace) == (stage.vault.tokens[0], "", "")


def test_a_client_that_asks_who_it_is_does_not_learn_its_token(stage: VaultStage) -> None:
    """The lookup is named by the rule; the token in its answer is not passed on."""
    job = stage.open("storefront")
    answer = stage.ask(job, "/v1/auth/token/lookup-self")
    assert answer.status == 200
    (token,) = stage.vault.tokens
    assert token.encode() not in answer.body
    assert b'"policies":["app","default"]' in answer.body
    assert stage.leaks() == []


GUARDED: list[Any] = [
    ("/v1/auth/token/create", "POST", {"policies": ["default"], "no_parent": True}, "token.create"),
    ("/v1/auth/token/create-orphan", "POST", {}, "token.create"),
    ("/v1/auth/token/renew-self", "POST", {"increment": "24h"}, "token.renew"),
    ("/v1/auth/token/lookup-self", "GET", None, "token.lookup"),
    ("/v1/auth/token/revoke-self", "POST", {}, "token.revoke"),
    ("/v1/auth/jwt/login", "POST", {"role": "storefront", "jwt": "x"}, "login"),
    ("/v1/sys/leases/revoke", "POST", {"lease_id": "x"}, "lease.revoke"),
    ("/v1/cubbyhole/x", "POST", {"a": "b"}, "cubbyhole.update"),
    ("/v1/sys/policies/acl/app", "POST", {"policy": ""}, "sys.update"),
]


@pytest.mark.parametrize("path, method, body, action", GUARDED)
def test_a_wildcard_hands_out_no_tokens(stage: VaultStage, path: str, method: str, body: object, action: str) -> None:
    """The rule allows everything; what makes tokens, extends or ends them it does not name, and Vault is not asked."""
    job = stage.open("vague")
    answer = stage.ask(job, path, method=method, body=body)
    stage.refused(answer, path, "credential-scope", f"{action} needs an `intent` line")
    assert (stage.vault.uses, stage.minted(job)) == ([], [])


def test_a_wrapped_answer_must_be_named(stage: VaultStage) -> None:
    """Wrapping makes a token that anybody can use, so a wildcard does not mean it."""
    job = stage.open("vague")
    answer = stage.ask(job, DB, "X-Vault-Wrap-TTL: 1h")
    stage.refused(answer, DB, "credential-scope", "wrap needs an `intent` line")
    assert stage.vault.uses == []


def test_a_namespace_is_the_rules(stage: VaultStage) -> None:
    """A client that says the rule's namespace works in it; one that says another, or none, is refused before Vault."""
    job = stage.open("team")
    assert json.loads(job.python(HVAC, "team")) == {"password": "planted-team-0123456789"}
    assert {use.namespace for use in stage.vault.uses} == {"team"}
    stage.vault.uses.clear()
    answer = stage.ask(job, "/v1/team/secret/data/app/db")
    stage.refused(answer, "/v1/team/secret/data/app/db", "credential-scope", "set VAULT_NAMESPACE=team")
    assert stage.ask(job, DB).reason == "no-rule"
    assert stage.ask(job, DB, "X-Vault-Namespace: root").reason == "no-rule"
    assert stage.ask(job, DB, "X-Vault-Namespace: team", "X-Vault-Namespace: other").reason == "intent-broken"
    other = stage.open("vague")
    answer = stage.ask(other, DB, "X-Vault-Namespace: team")
    stage.refused(answer, DB, "credential-scope", "send no X-Vault-Namespace")
    assert stage.vault.uses == []


def test_a_rule_for_other_hosts_too_sends_the_token_to_vault_alone(stage: VaultStage) -> None:
    """`to` may name more than Vault; the token goes nowhere else."""
    job = stage.open("astray")
    seen = len(stage.world.origin.seen)
    stage.refused(stage.ask(job, "/echo", place=API), "/echo", "credential-scope", "goes nowhere else")
    assert len(stage.world.origin.seen) == seen


def test_a_redirect_carries_no_token(stage: VaultStage) -> None:
    """A standby that points elsewhere: the client follows, and the host there sees no token."""
    job = stage.open("storefront")
    stage.vault.instead = [Instead(path=DB, status=307, headers={"Location": "https://origin.test/echo"})]
    said = job.curl("-fL", "-H", "X-Vault-Token: jobs-own", f"{URL}{DB}")
    names = {name.lower() for name, _ in json.loads(said)["headers"]}
    assert not {"x-vault-token", "authorization"} & names
    assert stage.leaks() == []


def test_a_token_that_comes_back_is_not_passed_on(stage: VaultStage) -> None:
    """A server that echoes the field it got shows the job nothing of the token."""
    job = stage.open("storefront")
    stage.vault.echoes = True
    answer = stage.ask(job, DB)
    assert stage.vault.tokens[0].encode() not in answer.body
    assert stage.leaks() == []


def test_one_login_for_many_requests_and_none_for_another_job(stage: VaultStage) -> None:
    """Parallel requests wait for one token; another job's requests get another."""
    jobs = [stage.open("storefront"), stage.open("storefront")]
    stage.vault.delay = 0.2
    answers: list[int] = []
    threads = [threading.Thread(target=lambda job=job: answers.append(stage.ask(job, DB).status)) for job in jobs * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(stage.vault.used("/v1/auth/jwt/login")) == 2
    assert len({use.token for use in stage.vault.used(DB)}) == 2
    assert [len({record["credential"] for record in stage.minted(job)}) for job in jobs] == [1, 1]


def test_tokens_and_leases_end_with_their_session(stage: VaultStage) -> None:
    """What the job had Vault make is void with the token that made it; another session's lives on."""
    job, other = stage.open("storefront"), stage.open("storefront")
    made = json.loads(stage.ask(job, "/v1/ssh/creds/otp", method="POST", body={"ip": "10.0.0.1"}).body)
    kept = json.loads(stage.ask(other, "/v1/ssh/creds/otp", method="POST", body={"ip": "10.0.0.1"}).body)
    mine, theirs = stage.vault.tokens
    (dropped,) = stage.closed(job)["dropped"]
    assert (dropped["connector"], dropped["fate"], dropped["credential"]) == ("vault", "revoked", fingerprint(mine))
    assert [stage.vault.lives(token) for token in (mine, theirs)] == [False, True]
    wait_until(lambda: not lease_lives(stage, made["lease_id"]))
    assert lease_lives(stage, kept["lease_id"])
    assert stage.leaks() == []


def lease_lives(stage: VaultStage, lease: str) -> bool:
    return stage.vault.ask("POST", "sys/leases/lookup", {"lease_id": lease}, token=stage.vault.root)[0] == 200


def test_a_revocation_that_fails_is_on_record(stage: VaultStage) -> None:
    """Vault sealed at the session's end: the record says that the token may live, and until when."""
    job = stage.open("storefront")
    assert stage.ask(job, DB).status == 200
    stage.vault.instead = [Instead(path="/v1/auth/token/revoke-self", status=503)]
    (dropped,) = stage.closed(job)["dropped"]
    assert (dropped["fate"], dropped["credential"]) == ("revoke-failed", fingerprint(stage.vault.tokens[0]))
    assert dropped["expires_at"]


def test_a_dynamic_secret_in_a_header(stage: VaultStage) -> None:
    """Made for the job, used by it unseen on another host, void when the session has ended."""
    job = stage.open("dynamic")
    said = job.curl("-f", "-u", "me:mine", f"https://{API}/echo")
    assert "me:mine" not in said
    sent = stage.world.origin.seen[-1].headers["authorization"]
    username, _, password = b64decode(sent.removeprefix("Basic ")).decode().partition(":")
    assert (username, len(password)) == ("deploy", 36)
    assert job.curl("-f", f"https://{API}/echo")
    assert len(stage.vault.used("/v1/ssh/creds")) == 1
    (minted,) = stage.minted(job)
    assert minted["facts"]["path"] == "ssh/creds/otp"
    assert minted["credential"] == fingerprint(password)
    (dropped,) = stage.closed(job)["dropped"]
    assert dropped["fate"] == "revoked"
    verify = "ssh/verify", {"otp": password}
    wait_until(lambda: stage.vault.ask("POST", *verify, token=stage.vault.root)[0] == 400)
    assert stage.leaks(password, sent.removeprefix("Basic ")) == []


def test_a_kept_secret_in_a_header(stage: VaultStage) -> None:
    """The login that read it is void before the request leaves; the secret itself cannot be, and the record says so."""
    job = stage.open("kept")
    said = job.curl("-f", f"https://{API}/echo")
    assert VALUES["password"] not in said
    assert stage.world.origin.seen[-1].headers["authorization"] == f"Bearer {VALUES['password']}"
    assert [stage.vault.lives(token) for token in stage.vault.tokens] == [False]
    (dropped,) = stage.closed(job)["dropped"]
    assert (dropped["fate"], dropped["credential"]) == ("expires", fingerprint(VALUES["password"]))
    assert find_elsewhere(stage) == []


def find_elsewhere(stage: VaultStage) -> list[str]:
    """Where the kept secret is, but for the answers of tests whose job may read it from Vault itself."""
    return [place for place in stage.leaks(VALUES["password"]) if not place.startswith("answer ")]


def test_jobs_that_vault_does_not_accept(stage: VaultStage) -> None:
    """No token for Vault, one for somebody else, one of another role: each is told what is wrong."""
    none = stage.open("storefront", "https://other.test")
    stage.refused(stage.ask(none, DB), DB, "credential-refused", f"holds no token for the audience {URL}")
    assert stage.vault.uses == []
    absent = stage.open("absent")
    stage.refused(stage.ask(absent, DB), DB, "credential-refused", "the role is not there")
    wide = stage.open("narrow")
    stage.refused(stage.ask(wide, DB), DB, "credential-refused", "does not name: app")
    assert [stage.vault.lives(token) for token in stage.vault.tokens] == [False]
    gone = stage.open("gone")
    stage.refused(stage.ask(gone, "/echo", place=API), "/echo", "credential-refused", "there is no such secret")
    assert [stage.vault.lives(token) for token in stage.vault.tokens] == [False, False]


FAILING: list[Any] = [
    (500, b"", "credential-unavailable", "status 500"),
    (503, b'{"errors":["Vault is sealed"]}', "credential-unavailable", "status 503"),
    (429, b"", "credential-unavailable", "status 429"),
    (400, b'{"errors":["eyJ"]}', "credential-refused", "does not accept the job's token"),
    (302, b"", "credential-refused", "status 302"),
    (200, b"<html>", "credential-unavailable", "no JSON object"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
def test_a_vault_that_fails(stage: VaultStage, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job = stage.open("storefront")
    stage.vault.instead = [Instead(path="/v1/auth/jwt/login", status=status, body=body)]
    stage.refused(stage.ask(job, DB), DB, reason, told)
    assert len(stage.vault.uses) == 1
    time.sleep(2.1)
    assert stage.ask(job, DB).status == 200


@pytest.mark.parametrize(
    "gives", [{"policies": ["root"]}, {"lease_duration": 10**9}, {"lease_duration": 0}, {"num_uses": 1}], ids=str
)
def test_a_login_that_gives_too_much(stage: VaultStage, gives: dict[str, Any]) -> None:
    """It is used for nothing, and given back."""
    job = stage.open("storefront")
    stage.vault.gives = gives
    assert stage.ask(job, DB).reason == "credential-refused"
    assert stage.vault.used("/v1/secret") == []
    assert [stage.vault.lives(token) for token in stage.vault.tokens] == [False]
    assert stage.leaks() == []


def test_a_vault_that_is_slow(stage: VaultStage) -> None:
    """Within five seconds the job has its answer, and another job whose token is there waits for nothing of it."""
    stage.vault.delay = 6.0
    job, began = stage.open("storefront"), time.monotonic()
    with RawClient(stage.world, job.session) as client:
        client.connect(SITE)
        client.start_tls(HOST)
        client.send(f"GET {DB} HTTP/1.1\r\nHost: {SITE}\r\n\r\n".encode())
        answer = client.reply()
    assert answer.reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5


def test_a_vault_that_cannot_be_reached(require_tool: RequireTool) -> None:
    """Nobody listens where Vault is: no token, the reason, and nothing of the job's own in the answer."""
    made = VaultStage(require_tool("bao"))
    made.world.places[SITE] = "127.0.0.1:9"
    made.world.rules = [made.rule("storefront", SITE, intent=f"vault kv.get {SITE}/**")]
    made.start()
    try:
        answer = made.ask(made.open("storefront"), DB)
        made.refused(answer, DB, "credential-unavailable", "cannot be reached")
    finally:
        made.stop()


def test_after_all_of_it(stage: VaultStage) -> None:
    """The sidecar still serves, no token is anywhere, and the trail is whole."""
    assert stage.ask(stage.open("storefront"), DB).status == 200
    assert stage.world.sidecar.api.readiness() == ()
    assert stage.leaks() == []
    stage.check_trail()
