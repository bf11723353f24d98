"""The path: deny first, allow last, and a record before anything leaves."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from proxy.engine.approvals import ApprovalBook
from proxy.engine.builds import BuildBook
from proxy.engine.kills import KillSwitch
from proxy.engine.pipeline import Engine, Parts
from proxy.engine.seam import Clearance, ConnectionEnd, Denial, Outcome, Peer, Presented, Tunnel
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.event import CiEvent
from proxy.model.grant import NO_EDITS, Edits, Secret
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.intent import BodyPrefix, BodyWanted, Headers, RequestView
from proxy.model.kill import Kill, KillScope
from proxy.model.placeholder import PUBLIC, derive_placeholders
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Kind
from tests.fakes.clock import FixedClock
from tests.fakes.entropy import CountingEntropy
from tests.fakes.meter import RecordingMeter
from tests.fakes.minter import RecordingMinter
from tests.fakes.rules import ruleset
from tests.fakes.trail import RecordingTrail

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PEER = Peer(connection_id="c-1", address="127.0.0.1:5")
SESSION = Session(
    id="s-1",
    principal=Principal(provider="buildkite", issuer="i", subject="s", token_digest="d"),
    job=JobContext(organization="acme", pipeline="web", branch="main", job_id="j"),
    opened_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)
RULES = """
rules:
  - id: plain
    why: reading is fine
    job: {pipeline: web}
    to: plain.example
    method: [GET, OPTIONS]
  - id: secret
    why: the api needs a token
    job: {pipeline: web, branch: main}
    to: api.example
    method: [GET, POST, OPTIONS]
    credential: {fake: {scope: narrow}}
  - id: opaque
    why: pinned certificate
    job: {pipeline: web}
    to: pinned.example
    inspect: false
  - id: never
    why: nobody talks to this
    effect: deny
    to: bad.example
  - id: publish
    why: packages are published
    job: {pipeline: web}
    to: npm.example
    intent: npm publish npm.example/left-pad
  - id: large
    why: large files stand in LFS, and their bytes in a store
    job: {pipeline: web}
    to: [lfs.example, store.example]
    intent: git lfs.download lfs.example/app
"""


class FakeDesk:
    """Knows one password."""

    def __init__(self) -> None:
        self.open = True

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        if presented is not None and presented.secret.reveal() == "right":
            return SESSION
        return Denial(reason=Reason.IDENTITY_MISSING, flow_id="")

    def is_open(self, session: Session, now: datetime) -> bool:
        return self.open


class Path:
    """An engine among fakes."""

    def __init__(self, trail: RecordingTrail | None = None, remembered: int = 100, rules: str = RULES) -> None:
        self.trail = trail or RecordingTrail()
        self.minter = RecordingMinter()
        self.meter = RecordingMeter()
        self.desk = FakeDesk()
        compiled = ruleset(rules)
        self.approvals = ApprovalBook()
        self.builds = BuildBook()
        self.kills = KillSwitch()
        self.engine = Engine(
            Parts(
                clock=FixedClock(NOW),
                entropy=CountingEntropy(),
                trail=self.trail,
                minter=self.minter,
                meter=self.meter,
                desk=self.desk,
                rules=lambda: compiled,
                new_lock=asyncio.Lock,
                kills=self.kills,
                approvals=self.approvals,
                builds=self.builds,
            ),
            remembered,
        )

    @property
    def kinds(self) -> list[Kind]:
        return [record.kind for record in self.trail.records]


def view(host: str, method: str = "GET", **changes: object) -> RequestView:
    plain = RequestView(method=method, scheme="https", authority=Authority(host, 443), path="/", query=None, headers=())
    return replace(plain, **changes)  # type: ignore[arg-type]


async def admitted(path: Path, request: RequestView) -> Clearance:
    clearance = await path.engine.admit(SESSION, request, PEER)
    assert isinstance(clearance, Clearance)
    return clearance


async def denied(path: Path, request: RequestView) -> Denial:
    denial = await path.engine.admit(SESSION, request, PEER)
    assert isinstance(denial, Denial)
    return denial


async def test_the_right_password_opens() -> None:
    """A known proxy password gives its session and leaves no record of its own."""
    path = Path()

    assert await path.engine.authenticate(Presented(secret=Secret("right")), PEER) is SESSION
    assert path.trail.records == []


async def test_no_password_is_refused_and_recorded() -> None:
    """Whoever is not known gets a reason, and the attempt is on record."""
    path = Path()

    denial = await path.engine.authenticate(None, PEER)

    assert isinstance(denial, Denial)
    assert denial.reason is Reason.IDENTITY_MISSING
    assert path.trail.records[0].facts["flow"] == denial.flow_id
    assert path.trail.records[0].facts["client"] == PEER.address


async def test_allowed_without_credential() -> None:
    """A plain allow is recorded first, has no edits, and its outcome is posted once."""
    path = Path()

    clearance = await admitted(path, view("plain.example"))
    assert path.kinds == [Kind.DECISION]
    assert path.engine.open_flows == 1
    edits = await path.engine.equip(clearance, None)
    assert edits is NO_EDITS
    path.engine.conclude(clearance.flow_id, Outcome(reason=Reason.ALLOWED, status=200))
    path.engine.conclude(clearance.flow_id, Outcome(reason=Reason.INTERNAL))

    assert path.kinds == [Kind.DECISION, Kind.OUTCOME]
    assert path.engine.open_flows == 0
    assert path.minter.minted == []
    assert path.meter.decisions[0].is_allowed


async def test_allowed_with_credential() -> None:
    """The job's field goes, ours comes, the minted credential is on record before its use and in the outcome."""
    path = Path()
    request = view("api.example", headers=(("authorization", "Bearer job"), ("x-api-key", "k")))

    clearance = await admitted(path, request)
    edits = await path.engine.equip(clearance, None)
    assert isinstance(edits, Edits)
    again = await path.engine.equip(await admitted(path, request), None)
    path.engine.conclude(clearance.flow_id, Outcome(reason=Reason.ALLOWED, status=200))

    assert edits.remove == {"authorization", "x-api-key"}
    assert edits.put[0][0] == "authorization"
    assert isinstance(again, Edits)
    assert path.kinds == [Kind.DECISION, Kind.CREDENTIAL_MINTED, Kind.DECISION, Kind.OUTCOME]
    assert path.trail.records[0].facts["stripped"] == ["authorization", "x-api-key"]
    assert path.trail.records[3].facts["credential"] == path.trail.records[1].facts["credential"]
    assert path.minter.minted[0].labels["pipeline"] == "web"
    assert path.minter.minted[0].labels["issuer"] == clearance.session.principal.issuer


@pytest.mark.parametrize(
    "scope, value",
    [(KillScope.HOST, "api.example"), (KillScope.RULE, "secret"), (KillScope.CONNECTOR, "fake"), (KillScope.JOB, "j")],
)
async def test_what_an_operator_stops_is_denied_from_the_next_request_on(scope: KillScope, value: str) -> None:
    """By host, rule, connector or job; what is open meanwhile can be found, and nothing is minted."""
    path = Path()
    open_flow = await admitted(path, view("api.example"))
    other = await admitted(path, view("plain.example"))
    kill = Kill(id="k", scope=scope, value=value, why="x", at=NOW)
    path.kills.add(kill)

    if scope is not KillScope.JOB:
        assert path.engine.flows_of(kill) == {open_flow.flow_id}
        assert isinstance(await path.engine.admit(SESSION, view("plain.example"), PEER), Clearance)
    denial = await denied(path, view("api.example"))
    assert denial.reason is Reason.KILLED
    assert path.minter.minted == []
    tunnel = await path.engine.open_tunnel(SESSION, Authority("api.example", 443), PEER)
    assert isinstance(tunnel, Denial) == (scope in {KillScope.HOST, KillScope.JOB})
    assert other.flow_id not in path.engine.flows_of(kill)


@pytest.mark.parametrize(
    "sent, detail",
    [
        ((("authorization", "token ghp_" + "a1B" * 12),), "a github token"),
        ((("x-api-key", "secret-of-s1-k"),), "a credential of ours"),
    ],
)
async def test_a_real_credential_is_refused_and_counted(sent: Headers, detail: str) -> None:
    """One of a vendor's form, or one that was issued to this or another job, goes nowhere."""
    path = Path()
    edits = await path.engine.equip(await admitted(path, view("api.example")), None)
    assert isinstance(edits, Edits)
    if detail == "a credential of ours":
        sent = (("x-api-key", edits.watch[0].reveal()),)

    denial = await denied(path, view("plain.example", headers=sent))

    assert (denial.reason, denial.detail) == (Reason.CREDENTIAL_MISUSE, detail)
    assert Reason.CREDENTIAL_MISUSE in path.meter.events


THEIRS = derive_placeholders("another session's password")


@pytest.mark.parametrize(
    "host, text, detail",
    [
        ("plain.example", THEIRS.token("npm_", 40), "a placeholder of another job"),
        ("api.example", THEIRS.token(), "a placeholder of another job"),
        ("plain.example", PUBLIC.token("npm_", 40), "a placeholder at a host that it is not for"),
    ],
)
async def test_a_placeholder_that_is_not_for_this_is_refused_and_counted(host: str, text: str, detail: str) -> None:
    """Another job's anywhere, the job's own where nothing takes its place; on record as a denial."""
    path = Path()
    denial = await denied(path, view(host, headers=(("authorization", f"Bearer {text}"),)))
    assert (denial.reason, denial.detail) == (Reason.CREDENTIAL_MISUSE, detail)
    assert path.meter.events == [Reason.CREDENTIAL_MISUSE]
    assert path.minter.minted == []


async def test_the_jobs_own_placeholder_is_swapped() -> None:
    """Where a rule gives a credential the placeholder goes and the credential comes."""
    path = Path()
    headers = (("authorization", f"Bearer {PUBLIC.token()}"),)
    edits = await path.engine.equip(await admitted(path, view("api.example", headers=headers)), None)
    assert isinstance(edits, Edits)
    assert "authorization" in edits.remove | {name for name, _ in edits.put}


async def test_issued_credentials_are_remembered_within_bounds() -> None:
    """The newest ones, however many there were."""
    path = Path(remembered=2)
    for number in range(4):
        path.minter.need = (("number", str(number)),)
        await path.engine.equip(await admitted(path, view("api.example")), None)
    assert len(path.engine._issued) == 2


class SlowTrail(RecordingTrail):
    """Lets others run before a record is durable, as a disk does."""

    async def append(self, record: AuditRecord) -> None:
        await asyncio.sleep(0)
        await super().append(record)


async def test_many_requests_of_one_credential_record_it_once() -> None:
    """However many wait for it, a credential has one record, and none of them goes on before it is durable."""
    path = Path(SlowTrail())
    cleared = [await admitted(path, view("api.example")) for _ in range(8)]
    await asyncio.gather(*(path.engine.equip(each, None) for each in cleared))

    assert path.kinds.count(Kind.CREDENTIAL_MINTED) == 1


async def test_what_a_request_needs_is_asked_for_and_recorded() -> None:
    """The connector's plan reaches its mint, and the record says how narrow the credential is."""
    path = Path()
    path.minter.need = (("repository", "shop"),)
    await path.engine.equip(await admitted(path, view("api.example")), None)

    assert path.minter.minted[0].need == (("repository", "shop"),)
    assert path.trail.records[1].facts["need"] == {"repository": "shop"}


LFS_BATCH = (
    b'{"operation": "download", "objects": [{"oid": "%b", "size": 1}]}' % (b"d" * 64),
    b'{"objects": [{"oid": "%b", "actions": {"download": '
    b'{"href": "https://store.example/o", "header": {"Authorization": "Ticket x"}}}}]}' % (b"d" * 64),
)


async def test_an_answer_leads_to_urls_that_mean_what_was_asked() -> None:
    """What a batch's answer names may then be asked for by this session, with the field that it names."""
    path = Path()
    asked, answered = LFS_BATCH
    led = view("store.example", path="/o", headers=(("authorization", "Ticket x"), ("cookie", "c")))
    batch = view(
        "lfs.example",
        "POST",
        path="/app/info/lfs/objects/batch",
        body_length=len(asked),
        body=BodyPrefix(data=asked, is_whole=True),
    )
    assert (await denied(path, led)).reason is Reason.NO_RULE
    clearance = await admitted(path, batch)
    edits = await path.engine.equip(clearance, None)
    assert isinstance(edits, Edits)
    assert edits.reader is not None
    assert edits.reader(404, None, ()) is None
    reader = edits.reader(200, None, ())
    assert reader is not None
    reader.feed(answered)
    reader.finish()

    followed = await admitted(path, led)
    assert followed.stripped == {"cookie"}
    assert path.trail.records[-1].facts["facts"] == {"objects": "d" * 64, "led_by": clearance.flow_id}
    path.engine.forget_session(SESSION.id)
    assert (await denied(path, led)).reason is Reason.NO_RULE
    path.desk.open = False
    reader.finish()
    path.desk.open = True
    assert (await denied(path, led)).reason is Reason.NO_RULE


REFUSED = b'{"message": "User: x is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k"}'


async def test_what_a_credential_lacked_is_on_record() -> None:
    """As the upstream says it, in its fields or its body; of a request without our credential nothing is read."""
    path = Path()
    clearance = await admitted(path, view("api.example"))
    edits = await path.engine.equip(clearance, None)
    assert isinstance(edits, Edits)
    assert edits.reader is not None
    assert edits.reader(200, None, ()) is None
    reader = edits.reader(403, None, (("x-accepted-github-permissions", "contents=write"),))
    assert reader is not None
    path.engine.conclude(clearance.flow_id, Outcome(reason=Reason.ALLOWED, status=403))
    reader.feed(REFUSED)
    reader.finish()
    assert path.trail.records[-1].facts["shortfall"] == {"permission": "contents=write"}

    clearance = await admitted(path, view("api.example"))
    edits = await path.engine.equip(clearance, None)
    assert isinstance(edits, Edits)
    assert edits.reader is not None
    reader = edits.reader(403, None, ())
    assert reader is not None
    reader.feed(REFUSED)
    reader.finish()
    path.engine.conclude(clearance.flow_id, Outcome(reason=Reason.ALLOWED, status=403))
    assert path.trail.records[-1].facts["shortfall"] == {
        "permission": "s3:GetObject",
        "resource": "arn:aws:s3:::b/k",
    }


async def test_a_forgotten_session_is_recorded_anew() -> None:
    """After a session's memory is dropped its next credential is put on record again."""
    path = Path()
    await path.engine.equip(await admitted(path, view("api.example")), None)
    path.engine.forget_session("another")
    await path.engine.equip(await admitted(path, view("api.example")), None)
    path.engine.forget_session(SESSION.id)
    await path.engine.equip(await admitted(path, view("api.example")), None)

    assert path.kinds.count(Kind.CREDENTIAL_MINTED) == 2


async def test_the_jobs_credential_is_stripped_without_a_grant_too() -> None:
    """What the job sends never passes, whether or not something takes its place."""
    path = Path()

    edits = await path.engine.equip(await admitted(path, view("plain.example", headers=(("cookie", "c"),))), None)

    assert edits == Edits(remove=frozenset({"cookie"}))


async def test_a_jobs_cookies_go_on_where_the_rule_says_so() -> None:
    """They are not stripped; its other credentials are."""
    text = f"{RULES}  - {{id: site, why: a session by cookie, to: site.example, cookies: pass}}\n"
    headers = (("cookie", "session=1"), ("authorization", "Bearer own"))
    path = Path(rules=text)
    passed = await admitted(path, view("site.example", headers=headers))
    kept = await admitted(path, view("plain.example", headers=headers))
    bare = await admitted(path, view("site.example"))
    assert passed.stripped == {"authorization"}
    assert not bare.stripped
    assert kept.stripped == {"authorization", "cookie"}
    assert path.trail.records[0].facts["stripped"] == ["authorization"]


async def test_options_never_carries_a_credential() -> None:
    """OPTIONS is answered by anyone on the way and may reflect what it got."""
    path = Path()

    clearance = await admitted(path, view("api.example", "OPTIONS"))
    assert clearance.grant is None
    await path.engine.equip(clearance, None)

    assert path.minter.minted == []


@pytest.mark.parametrize(
    "request_view,reason",
    [
        (view("unknown.example"), Reason.NO_RULE),
        (view("plain.example", "DELETE"), Reason.NO_RULE),
        (view("bad.example"), Reason.RULE_DENIED),
        (view("plain.example", query="access_token=x"), Reason.CREDENTIAL_PRESENT),
    ],
)
async def test_denials_are_recorded_before_they_are_answered(request_view: RequestView, reason: Reason) -> None:
    """Every denial names its reason and its record."""
    path = Path()

    denial = await denied(path, request_view)

    assert denial.reason is reason
    assert path.trail.records[0].facts["flow"] == denial.flow_id
    assert path.trail.records[0].facts["reason"] == reason.value
    assert path.engine.open_flows == 0


async def test_a_body_may_be_asked_for_before_anything_is_recorded() -> None:
    """What a publish means stands in its body: asked for first, then decided, with the decoder's words on record."""
    path = Path()
    kind = (("content-type", "application/json"),)
    request = view("npm.example", "PUT", path="/left-pad", body_length=None, headers=kind)

    assert isinstance(await path.engine.admit(SESSION, request, PEER), BodyWanted)
    assert path.trail.records == []
    denial = await denied(path, replace(request, body=BodyPrefix(data=b"{", is_whole=True)))

    assert denial.reason is Reason.INTENT_BROKEN
    assert path.trail.records[0].facts["detail"] == denial.detail != ""


async def test_a_push_is_refused_in_gits_words() -> None:
    """Who asked for a report gets one: which ref, which reason, which record. Any other denial is told as ever."""
    path = Path()
    push = view("bad.example", "POST", path="/a/b/git-receive-pack", body_length=None)
    line = f"{'a' * 40} {'b' * 40} refs/heads/main\0report-status".encode()
    body = f"{len(line) + 4:04x}".encode() + line + b"0000"

    denial = await denied(path, replace(push, body=BodyPrefix(data=body, is_whole=True)))
    other = await denied(path, view("bad.example"))

    assert denial.told is not None
    assert denial.told.content_type == "application/x-git-receive-pack-result"
    assert f"ng refs/heads/main jobgate: {denial.reason}".encode() in denial.told.body
    assert f"(decision {denial.flow_id})".encode() in denial.told.body
    assert other.told is None


async def test_unsignable_is_denied_before_minting() -> None:
    """A request that can never carry the credential is denied, with the connector's reason and words."""
    path = Path()
    path.minter.plan_error = CredentialError("chunk signatures", Reason.SIGNING_UNSUPPORTED)

    denial = await denied(path, view("api.example"))

    assert denial.reason is Reason.SIGNING_UNSUPPORTED
    assert denial.detail == "chunk signatures"
    assert path.minter.minted == []


async def test_a_connector_may_ask_for_the_body_digest() -> None:
    """What the connector needs reaches the lane with the clearance."""
    path = Path()
    path.minter.needs_digest = True

    assert (await admitted(path, view("api.example", "POST"))).plan.needs_digest


@pytest.mark.parametrize(
    "error,shown",
    [
        (CredentialError("issuer is slow"), "issuer is slow"),
        (CredentialError("AccessDenied: role x", Reason.CREDENTIAL_REFUSED), ""),
    ],
)
async def test_a_credential_that_cannot_be_had_is_a_denial(error: CredentialError, shown: str) -> None:
    """Mint failures conclude the flow; what the issuer said stays with the operator."""
    path = Path()
    path.minter.mint_error = error
    clearance = await admitted(path, view("api.example"))

    denial = await path.engine.equip(clearance, None)

    assert isinstance(denial, Denial)
    assert denial.reason is error.reason
    assert denial.detail == shown
    assert path.kinds == [Kind.DECISION, Kind.OUTCOME]
    assert path.trail.records[1].facts["detail"] == str(error)
    assert path.engine.open_flows == 0


async def test_a_credential_at_hand_needs_no_waiting() -> None:
    """Once it is minted and on record, for this session, while that lives; else `equip` has to be asked."""
    path = Path()
    request = view("api.example", headers=(("x-api-key", "k"),))
    clearance = await admitted(path, request)
    assert path.engine.equip_at_once(clearance) is None
    edits = await path.engine.equip(clearance, None)
    assert isinstance(edits, Edits)
    path.minter.at_hand = await path.minter.mint(path.minter.minted[0])

    again = await admitted(path, request)
    at_once = path.engine.equip_at_once(again)
    assert at_once is not None
    assert at_once.remove == edits.remove == {"authorization", "x-api-key"}
    path.engine.conclude(again.flow_id, Outcome(reason=Reason.ALLOWED))
    assert path.trail.records[-1].facts["credential"] == path.minter.at_hand.fingerprint

    other = await admitted(path, request)
    path.minter.at_hand = replace(path.minter.at_hand, fingerprint="another, on no record")
    assert path.engine.equip_at_once(other) is None
    path.minter.at_hand = None
    assert path.engine.equip_at_once(other) is None


async def test_a_session_that_has_ended_gets_nothing_at_once() -> None:
    """`equip` says why, and concludes."""
    path = Path()
    await path.engine.equip(await admitted(path, view("api.example")), None)
    path.minter.at_hand = await path.minter.mint(path.minter.minted[0])
    clearance = await admitted(path, view("api.example"))
    path.desk.open = False

    assert path.engine.equip_at_once(clearance) is None
    assert isinstance(await path.engine.equip(clearance, None), Denial)


async def test_no_credential_needs_no_waiting() -> None:
    """Of a request that gets none only the job's own is removed."""
    path = Path()
    assert path.engine.equip_at_once(await admitted(path, view("plain.example"))) is NO_EDITS
    clearance = await admitted(path, view("plain.example", headers=(("x-api-key", "k"),)))
    assert path.engine.equip_at_once(clearance) == Edits(remove=frozenset({"x-api-key"}))


async def test_a_session_that_ends_while_minting_gets_nothing() -> None:
    """What was allowed when the job lived is not allowed when it has ended."""
    path = Path()
    clearance = await admitted(path, view("api.example"))
    path.desk.open = False

    denial = await path.engine.equip(clearance, None)

    assert isinstance(denial, Denial)
    assert denial.reason is Reason.SESSION_EXPIRED
    assert path.engine.open_flows == 0


async def test_a_closed_session_gets_nothing() -> None:
    """A session that is over is denied whatever the rules say, in a tunnel and in a request."""
    path = Path()
    path.desk.open = False

    assert (await denied(path, view("plain.example"))).reason is Reason.SESSION_EXPIRED
    tunnel = await path.engine.open_tunnel(SESSION, Authority("plain.example", 443), PEER)
    assert isinstance(tunnel, Denial)
    assert tunnel.reason is Reason.SESSION_EXPIRED


async def test_nothing_is_allowed_without_a_trail() -> None:
    """A record that may not be durable means 503: before the decision, in it, and before the credential's use."""
    path = Path()
    path.trail.writable = False
    assert (await denied(path, view("plain.example"))).reason is Reason.TRAIL_UNAVAILABLE

    for failing in (False, True):
        path = Path(RecordingTrail(1, persist_anyway=failing))
        assert (await denied(path, view("plain.example"))).reason is Reason.TRAIL_UNAVAILABLE
        assert path.engine.open_flows == 0

    path = Path(RecordingTrail(2))
    refused = await path.engine.equip(await admitted(path, view("api.example")), None)
    assert isinstance(refused, Denial)
    assert refused.reason is Reason.TRAIL_UNAVAILABLE
    assert "trail-unavailable" in path.meter.events or path.engine.open_flows == 0


class CancellingTrail(RecordingTrail):
    """Keeps the record of a decision, and cancels whoever waits for it."""

    async def append(self, record: AuditRecord) -> None:
        await super().append(record)
        raise asyncio.CancelledError


async def test_a_decision_nobody_waits_for_any_more_is_closed() -> None:
    """A request cancelled while its allow becomes durable leaves no flow open for ever; a denied one needs no end."""
    path = Path(CancellingTrail())
    with pytest.raises(asyncio.CancelledError):
        await path.engine.admit(SESSION, view("plain.example"), PEER)
    with pytest.raises(asyncio.CancelledError):
        await path.engine.open_tunnel(SESSION, Authority("pinned.example", 443), PEER)
    with pytest.raises(asyncio.CancelledError):
        await path.engine.admit(SESSION, view("bad.example"), PEER)

    assert path.kinds == [Kind.DECISION, Kind.OUTCOME, Kind.DECISION, Kind.OUTCOME, Kind.DECISION]
    assert path.trail.records[1].facts["reason"] == "interrupted"
    assert path.engine.open_flows == 0


async def test_a_refusal_without_a_trail_is_still_a_denial() -> None:
    """When even the refusal cannot be recorded, the answer says so."""
    path = Path(RecordingTrail(1))

    denial = await path.engine.refuse(Reason.REQUEST_MALFORMED, PEER, None, "bare LF")

    assert denial.reason is Reason.TRAIL_UNAVAILABLE


async def test_the_lane_can_refuse() -> None:
    """A refusal the lane made is recorded with its detail and, when known, the place."""
    path = Path()

    denial = await path.engine.refuse(Reason.PROTOCOL_REFUSED, PEER, SESSION, "ssh", Authority("x.example", 22))

    assert denial.detail == "ssh"
    assert path.trail.records[0].facts["host"] == "x.example"
    assert path.trail.records[0].facts["session"] == "s-1"


async def test_tunnels() -> None:
    """CONNECT: refused with a record; opened for inspection without one; passed through with decision and outcome."""
    path = Path()

    refused = await path.engine.open_tunnel(SESSION, Authority("unknown.example", 443), PEER)
    inspected = await path.engine.open_tunnel(SESSION, Authority("plain.example", 443), PEER)
    opaque = await path.engine.open_tunnel(SESSION, Authority("pinned.example", 443), PEER)

    assert isinstance(refused, Denial)
    assert refused.reason is Reason.NO_RULE
    assert isinstance(inspected, Tunnel)
    assert inspected.inspect
    assert isinstance(opaque, Tunnel)
    assert not opaque.inspect
    assert path.kinds == [Kind.DECISION, Kind.DECISION]
    path.engine.conclude(opaque.flow_id, Outcome(reason=Reason.ALLOWED))
    path.engine.conclude(inspected.flow_id, Outcome(reason=Reason.ALLOWED))
    assert path.kinds == [Kind.DECISION, Kind.DECISION, Kind.OUTCOME]


async def test_an_unrecorded_tunnel_is_no_tunnel() -> None:
    """A pass-through that cannot be put on record does not open."""
    path = Path(RecordingTrail(1))

    denial = await path.engine.open_tunnel(SESSION, Authority("pinned.example", 443), PEER)

    assert isinstance(denial, Denial)
    assert path.engine.open_flows == 0


async def test_connections_leave_a_record() -> None:
    """The end of a connection is posted."""
    path = Path()
    path.engine.close_connection(
        ConnectionEnd(
            peer=PEER, authority=None, session_id=None, requests=0, bytes_in=1, bytes_out=2, reason=Reason.CLIENT_GONE
        )
    )

    assert path.kinds == [Kind.CONNECTION]


ASKED = """
rules:
  - id: remove
    why: what is published goes away only with a person's yes
    job: {pipeline: web}
    to: shop.example
    method: [DELETE, PUT]
    approval: {within: 5m, ask: Really?}
"""


async def test_what_wants_a_yes_is_denied_until_it_has_one_and_once_only() -> None:
    """The question is on record before the denial names it; the yes lets exactly one request of exactly that kind."""
    path = Path(rules=ASKED)
    request = view("shop.example", "DELETE", path="/1")

    first = await denied(path, request)
    again = await denied(path, request)
    (question,) = path.approvals.questions(NOW)
    assert path.approvals.answer(question.id, yes=True, now=NOW) is question
    other = await denied(path, replace(request, path="/2"))
    await admitted(path, request)
    spent = await denied(path, request)

    assert {each.reason for each in (first, again, other, spent)} == {Reason.APPROVAL_REQUIRED}
    assert first.detail == again.detail == f"approval {question.id}: ask for `jobgate approve {question.id}`"
    asked = Kind.APPROVAL_ASKED
    decided = Kind.DECISION
    assert path.kinds == [asked, decided, decided, asked, decided, decided, asked, decided]
    assert path.trail.records[0].facts["ask"] == "Really?"
    assert path.trail.records[5].facts["approval"] == question.id


async def test_what_events_said_is_asked_by_rules_and_on_record() -> None:
    """A fork's build loses what the rule takes, at CONNECT and after it."""
    text = f"{RULES}  - {{id: fork, why: of strangers, effect: deny, to: plain.example, when: event.fork}}\n"
    path = Path(rules=text)
    job = replace(SESSION.job, build_number=7)
    session = replace(SESSION, job=job)
    place = Authority("plain.example", 443)
    for is_fork in (False, True):
        event = CiEvent(
            source="buildkite",
            name="build.running",
            organization="acme",
            pipeline="web",
            build_number=7,
            is_fork=is_fork,
        )
        path.builds.note(event, NOW)
        assert isinstance(await path.engine.admit(session, view("plain.example"), PEER), Denial) is is_fork
        assert isinstance(await path.engine.open_tunnel(session, place, PEER), Denial) is is_fork
    assert [record.facts["events"] for record in path.trail.records] == [{"fork": False}, *[{"fork": True}] * 2]


async def test_a_no_stands_for_as_long_as_a_yes_would() -> None:
    """Who was refused is told so and does not ask again."""
    path = Path(rules=ASKED)
    request = view("shop.example", "DELETE")
    await denied(path, request)
    (question,) = path.approvals.questions(NOW)
    path.approvals.answer(question.id, yes=False, now=NOW)

    denial = await denied(path, request)

    assert (denial.reason, denial.detail) == (Reason.APPROVAL_REQUIRED, "a person has said no")
    assert path.approvals.questions(NOW) == ()


async def test_a_person_is_asked_about_a_whole_body_only() -> None:
    """A body is asked for first; one that is longer than can be held is refused and nobody is asked."""
    path = Path(rules=ASKED)
    request = view("shop.example", "PUT", body_length=None)

    assert isinstance(await path.engine.admit(SESSION, request, PEER), BodyWanted)
    cut = await denied(path, replace(request, body=BodyPrefix(data=b"x" * 9, is_whole=False)))
    assert path.approvals.questions(NOW) == ()
    await denied(path, replace(request, body=BodyPrefix(data=b"x" * 9, is_whole=True)))

    assert cut.detail == "a person can be asked only about a body that can be held whole"
    assert path.approvals.questions(NOW)[0].facts["length"] == 9


async def test_a_session_cannot_flood_people_with_questions() -> None:
    """Past its share a session's requests are refused without a question."""
    path = Path(rules=ASKED)
    for number in range(20):
        await denied(path, view("shop.example", "DELETE", path=f"/{number}"))

    denial = await denied(path, view("shop.example", "DELETE", path="/20"))

    assert denial.detail == "too many questions wait for an answer"
    assert len(path.approvals.questions(NOW)) == 20
