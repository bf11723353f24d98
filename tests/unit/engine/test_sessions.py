"""The desk: one token, one session, on record before anybody has it; and every way in that is none."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.engine.kills import KillSwitch
from proxy.engine.seam import Denial, Peer, Presented
from proxy.engine.sessions import DeskLimits, DeskParts, OpenedSession, SessionDesk
from proxy.identity.sessions import PlaceholderBook
from proxy.model.errors import AuditError, ConfigError, IssuerError
from proxy.model.grant import AGENT_TOKEN, Credential, Dropped, Fate, Secret
from proxy.model.identity import JobContext, Session, TrustedIssuer, UnverifiedToken
from proxy.model.kill import Kill, KillScope
from proxy.model.placeholder import PUBLIC, derive_placeholders
from proxy.model.reason import Reason
from proxy.model.record import Kind
from tests.fakes import claims as shapes
from tests.fakes.clock import FixedClock
from tests.fakes.entropy import CountingEntropy
from tests.fakes.keys import CountingKeys, SigningKey, key_set, signing_key
from tests.fakes.minter import RecordingMinter
from tests.fakes.trail import RecordingTrail

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ISSUER = "https://agent.buildkite.com"
PEER = Peer(connection_id="c-1", address="127.0.0.1:5")
KEY = signing_key("RS256")
TRUSTED = TrustedIssuer(
    provider="buildkite", issuer=ISSUER, audience=shapes.AUDIENCE, bound={"organization_slug": "acme"}
)
NOBODY = UnverifiedToken("nobody")


class DroppingMinter(RecordingMinter):
    """Has one credential per session to drop; fails on cue."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_error: BaseException | None = None

    async def drop(self, session_id: str) -> Sequence[Dropped]:
        await super().drop(session_id)
        if self.drop_error is not None:
            raise self.drop_error
        credential = Credential(connector="aws", secrets={}, facts={}, fingerprint="f" * 16, expires_at=NOW)
        endless = replace(credential, connector="header", expires_at=None)
        return [Dropped(credential=credential, fate=Fate.REVOKED), Dropped(credential=endless, fate=Fate.EXPIRES)]


class Bench:
    """A desk among fakes."""

    def __init__(
        self, trail: RecordingTrail | None = None, limits: DeskLimits | None = None, *issuers: TrustedIssuer
    ) -> None:
        self.clock = FixedClock(NOW)
        self.trail = trail or RecordingTrail()
        self.keys = CountingKeys(key_set(ISSUER, KEY))
        self.minter = DroppingMinter()
        self.kills = KillSwitch()
        self.placeholders = PlaceholderBook()
        parts = DeskParts(
            clock=self.clock,
            entropy=CountingEntropy(),
            trail=self.trail,
            keys=self.keys,
            minter=self.minter,
            new_lock=asyncio.Lock,
            together=asyncio.gather,
            kills=self.kills,
            placeholders=self.placeholders,
        )
        self.desk = SessionDesk(parts, issuers or (TRUSTED,), limits)

    async def open(self, token: UnverifiedToken, *others: UnverifiedToken) -> OpenedSession:
        opened = await self.desk.open(token, others, "127.0.0.1:9")
        assert isinstance(opened, OpenedSession), opened
        return opened

    async def refused(self, token: UnverifiedToken, *others: UnverifiedToken) -> Reason:
        opened = await self.desk.open(token, others, "127.0.0.1:9")
        assert isinstance(opened, Denial)
        return opened.reason

    async def present(self, text: str) -> Session | Denial:
        return await self.desk.authenticate(Presented(secret=Secret(text)), PEER)

    def facts(self, kind: Kind) -> list[dict[str, Any]]:
        return [dict(record.facts) for record in self.trail.of(kind)]


def token_with(key: SigningKey = KEY, **changes: Any) -> UnverifiedToken:
    return key.sign(shapes.buildkite(NOW, **changes))


def other_with(**changes: Any) -> UnverifiedToken:
    return token_with(**{"aud": "sts.amazonaws.com", **changes})


async def test_a_token_becomes_a_session_and_its_record() -> None:
    """The password leads to the session; the record says who, from where, with which token; never the token itself."""
    bench, token = Bench(), token_with(new_claim=1)

    opened = await bench.open(token, other_with())

    assert await bench.present(opened.secret.reveal()) is opened.session
    assert opened.session.job.pipeline == "web"
    assert opened.session.expires_at == NOW + timedelta(hours=12)
    assert opened.session.tokens["sts.amazonaws.com"].expires_at == NOW + timedelta(seconds=300)
    assert bench.desk.sessions == (opened.session,)
    (facts,) = bench.facts(Kind.SESSION_OPENED)
    assert facts == {
        "session": opened.session.id,
        "client": "127.0.0.1:9",
        "provider": "buildkite",
        "issuer": ISSUER,
        "subject": shapes.buildkite(NOW)["sub"],
        "token": opened.session.principal.token_digest,
        "job": facts["job"],
        "stated": {"agent_id": opened.session.job.agent_id, "runner": "self-hosted"},
        "claims": dict(opened.session.job.claims),
        "audiences": ["sts.amazonaws.com"],
        "expires_at": "2026-03-04T17:06:07+00:00",
        "drift": ["new_claim"],
    }
    assert facts["job"]["step"] == "upload"
    assert "eyJ" not in str(bench.trail.records)
    assert opened.secret.reveal() not in str(bench.trail.records)


async def test_the_jobs_own_trace_is_on_record() -> None:
    """A label for telemetry, on the session and its record; absent where none was handed over."""
    bench = Bench()
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    opened = await bench.desk.open(token_with(), (), "127.0.0.1:9", trace=trace)
    assert isinstance(opened, OpenedSession)
    assert opened.session.trace == trace
    await bench.open(token_with(build_number=43))
    assert [each.facts.get("trace") for each in bench.trail.of(Kind.SESSION_OPENED)] == [trace, None]


async def test_a_token_opens_one_session_whichever_way_it_comes() -> None:
    """Exchanged, it is no password; used as password, it cannot be exchanged; the second exchange is refused."""
    bench, first, second = Bench(), token_with(), token_with(build_number=43)
    await bench.open(first)
    joined = await bench.present(second)

    assert await bench.refused(first) is Reason.IDENTITY_REPLAYED
    assert await bench.refused(second) is Reason.IDENTITY_REPLAYED
    replayed = await bench.present(first)
    assert isinstance(replayed, Denial)
    assert replayed.reason is Reason.IDENTITY_REPLAYED
    assert await bench.present(second) is joined
    assert len(bench.desk.sessions) == 2


async def test_two_exchanges_at_once_have_one_winner() -> None:
    """However many bring one token at the same moment, one session opens."""
    bench, token = Bench(), token_with()
    bench.keys.gate = asyncio.Event()
    tries = [asyncio.create_task(bench.desk.open(token, (), "x")) for _ in range(20)]
    await asyncio.sleep(0)
    bench.keys.gate.set()

    results = await asyncio.gather(*tries)

    assert sum(isinstance(result, OpenedSession) for result in results) == 1
    assert {result.reason for result in results if isinstance(result, Denial)} == {Reason.IDENTITY_REPLAYED}
    assert len(bench.facts(Kind.SESSION_OPENED)) == 1


async def test_first_connections_at_once_share_one_session() -> None:
    """A raw token on twenty new connections is verified once and opens one session for all of them."""
    bench, token = Bench(), token_with()
    bench.keys.gate = asyncio.Event()
    tries = [asyncio.create_task(bench.present(token)) for _ in range(20)]
    await asyncio.sleep(0)
    bench.keys.gate.set()

    results = await asyncio.gather(*tries)

    assert len({id(result) for result in results}) == 1
    assert isinstance(results[0], Session)
    assert len(bench.keys.asked) == 1
    assert len(bench.facts(Kind.SESSION_OPENED)) == 1
    assert await bench.present(token) is results[0]
    assert len(bench.keys.asked) == 1


async def test_waiting_connections_outlive_the_one_that_gave_up() -> None:
    """When the first user of a token is cancelled, the next one opens the session instead."""
    bench, token = Bench(), token_with()
    bench.keys.gate = asyncio.Event()
    first, second = (asyncio.create_task(bench.present(token)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    bench.keys.gate.set()

    assert isinstance(await second, Session)
    assert first.cancelled()


async def test_a_raw_token_session_outlives_the_token_not_the_session() -> None:
    """After `exp` the session goes on; once ended, the same token opens nothing, neither before nor after its `exp`."""
    bench, token = Bench(), token_with()
    session = await bench.present(token)
    assert isinstance(session, Session)
    bench.clock.advance(timedelta(hours=1))
    assert await bench.present(token) is session

    await bench.desk.close(session.id, "job-ended")

    late = await bench.present(token)
    assert isinstance(late, Denial)
    assert late.reason is Reason.IDENTITY_EXPIRED


@pytest.mark.parametrize(
    "text,reason",
    [
        ("jgs_wrong", Reason.SESSION_UNKNOWN),
        ("", Reason.SESSION_UNKNOWN),
        ("x.y", Reason.SESSION_UNKNOWN),
        ("x" * 20_000, Reason.IDENTITY_OVERSIZED),
        ("a.b.c", Reason.IDENTITY_MALFORMED),
        ("a.b.c.d.e", Reason.IDENTITY_MALFORMED),
        ("\ud800", Reason.SESSION_UNKNOWN),
    ],
)
async def test_a_wrong_password_is_never_taken_for_none(text: str, reason: Reason) -> None:
    """Even beside a sidecar's own session, whoever presents something wrong is refused."""
    bench = Bench()
    assert isinstance(await bench.desk.adopt_own(token_with(), ()), Session)

    found = await bench.present(text)

    assert isinstance(found, Denial)
    assert found.reason is reason


async def test_no_password_is_the_sidecars_own_job() -> None:
    """Without a password: nobody, then the sidecar's own job, then, when that has ended, nobody again."""
    bench = Bench()
    missing = await bench.desk.authenticate(None, PEER)
    own = await bench.desk.adopt_own(token_with(), (other_with(),))

    assert isinstance(missing, Denial)
    assert missing.reason is Reason.IDENTITY_MISSING
    assert isinstance(own, Session)
    assert await bench.desk.authenticate(None, PEER) is own
    renewed = await bench.desk.adopt_own(token_with(build_number=43), ())
    assert await bench.desk.authenticate(None, PEER) is renewed
    assert isinstance(renewed, Session)
    assert await bench.desk.close(renewed.id, "x")
    ended = await bench.desk.authenticate(None, PEER)
    assert isinstance(ended, Denial)
    assert ended.reason is Reason.SESSION_EXPIRED


async def test_an_own_identity_that_is_refused_changes_nothing() -> None:
    """A refused token leaves the sidecar's session as it was; a closed session cannot become it."""
    bench = Bench()
    own = await bench.desk.adopt_own(token_with(), ())

    refused = await bench.desk.adopt_own(NOBODY, ())

    assert isinstance(refused, Denial)
    assert await bench.desk.authenticate(None, PEER) is own
    assert isinstance(own, Session)
    await bench.desk.close(own.id, "x")
    with pytest.raises(ValueError, match="open session"):
        bench.desk.set_own(own)


async def test_sessions_end_at_their_ceiling() -> None:
    """From the ceiling on nothing works; the sweep then ends the session and its record says why."""
    bench = Bench(None, DeskLimits(ceiling=timedelta(minutes=30)))
    closed: list[str] = []
    bench.desk.on_close(closed.append)
    opened = await bench.open(token_with())
    own = await bench.desk.adopt_own(token_with(build_number=43), ())
    assert isinstance(own, Session)
    assert await bench.desk.sweep() == 0

    bench.clock.advance(timedelta(minutes=30))

    for found in (await bench.present(opened.secret.reveal()), await bench.desk.authenticate(None, PEER)):
        assert isinstance(found, Denial)
        assert found.reason is Reason.SESSION_EXPIRED
    assert not bench.desk.is_open(opened.session, bench.clock.now())
    assert bench.desk.find_owner(opened.secret) is None
    assert bench.desk.sessions == ()
    assert await bench.desk.sweep() == 2
    assert closed == [opened.session.id, own.id]
    assert [facts["why"] for facts in bench.facts(Kind.SESSION_CLOSED)] == ["expired", "expired"]
    gone = await bench.present(opened.secret.reveal())
    assert isinstance(gone, Denial)
    assert gone.reason is Reason.SESSION_UNKNOWN


async def test_a_stopped_job_opens_no_session() -> None:
    """Its token is good, and it is refused all the same, on record; others are not."""
    bench = Bench()
    bench.kills.add(Kill(id="k", scope=KillScope.ORGANIZATION, value="acme", why="x", at=NOW))
    assert await bench.refused(token_with()) is Reason.KILLED
    assert bench.facts(Kind.SESSION_REFUSED)[0]["reason"] == "killed"
    bench.kills.lift("k")
    await bench.open(token_with())


async def test_ending_a_session_drops_its_credentials() -> None:
    """The record lists what was dropped; a second end finds nothing; the password is dead."""
    bench = Bench()
    opened = await bench.open(token_with())
    assert bench.desk.find_owner(opened.secret) is opened.session

    assert await bench.desk.close(opened.session.id, "job-ended")
    assert not await bench.desk.close(opened.session.id, "job-ended")

    assert bench.minter.dropped == [opened.session.id]
    (facts,) = bench.facts(Kind.SESSION_CLOSED)
    assert facts["dropped"] == [
        {"connector": "aws", "credential": "f" * 16, "fate": "revoked", "expires_at": NOW.isoformat()},
        {"connector": "header", "credential": "f" * 16, "fate": "expires", "expires_at": None},
    ]
    assert bench.desk.find_owner(opened.secret) is None


@pytest.mark.parametrize("error", [IssuerError("down"), RuntimeError("broken")])
async def test_a_session_ends_even_if_its_credentials_cannot_be_dropped(error: Exception) -> None:
    """A connector that fails does not keep a session alive; the record says that dropping failed."""
    bench = Bench()
    bench.minter.drop_error = error
    opened = await bench.open(token_with())

    assert await bench.desk.close(opened.session.id, "job-ended")

    assert not bench.desk.is_open(opened.session, bench.clock.now())
    assert bench.facts(Kind.SESSION_CLOSED)[0]["drop_failed"] is True


async def test_a_cancelled_end_is_still_an_end() -> None:
    """Cancellation while credentials are dropped leaves the session closed and on record."""
    bench = Bench()
    bench.minter.drop_error = asyncio.CancelledError()
    opened = await bench.open(token_with())

    with pytest.raises(asyncio.CancelledError):
        await bench.desk.close(opened.session.id, "job-ended")

    assert not bench.desk.is_open(opened.session, bench.clock.now())
    assert len(bench.facts(Kind.SESSION_CLOSED)) == 1


async def test_all_sessions_end_together() -> None:
    """At shutdown every session is ended."""
    bench = Bench()
    for number in range(3):
        await bench.open(token_with(build_number=number))

    await bench.desk.close_all("shutdown")

    assert bench.desk.sessions == ()
    assert [facts["why"] for facts in bench.facts(Kind.SESSION_CLOSED)] == ["shutdown"] * 3


@pytest.mark.parametrize("persist_anyway", [False, True])
async def test_no_record_no_session(*, persist_anyway: bool) -> None:
    """If the opening may not be on record there is no session, and the token is as good as before."""
    bench, token = Bench(RecordingTrail(fail_on=1, persist_anyway=persist_anyway)), token_with()

    assert await bench.refused(token) is Reason.TRAIL_UNAVAILABLE
    assert bench.desk.sessions == ()
    assert bench.facts(Kind.SESSION_CLOSED)[0]["why"] == "never-opened"
    await bench.open(token)


async def test_a_trail_that_cannot_be_written_opens_nothing() -> None:
    """Nothing is even verified while the trail is down."""
    bench = Bench()
    bench.trail.writable = False

    assert await bench.refused(token_with()) is Reason.TRAIL_UNAVAILABLE
    assert bench.keys.asked == []


async def test_an_issuer_that_is_down_refuses_without_blame() -> None:
    """No keys: refused as the issuer's fault, recorded, and the token may be tried again."""
    bench, token = Bench(), token_with()
    bench.keys.error = IssuerError("down")

    assert await bench.refused(token) is Reason.ISSUER_UNAVAILABLE
    bench.keys.error = None
    await bench.open(token)


@pytest.mark.parametrize(
    "token,reason,issuer",
    [
        (NOBODY, Reason.IDENTITY_MALFORMED, None),
        (UnverifiedToken("x" * 20_000), Reason.IDENTITY_OVERSIZED, None),
        (token_with(iss="https://other.test"), Reason.IDENTITY_ISSUER, None),
        (token_with(signing_key("RS256", "stranger")), Reason.IDENTITY_KEY, ISSUER),
        (token_with(aud="other"), Reason.IDENTITY_AUDIENCE, ISSUER),
        (token_with(exp=1, iat=0, nbf=0), Reason.IDENTITY_EXPIRED, ISSUER),
        (token_with(organization_slug="evil"), Reason.IDENTITY_CLAIMS, ISSUER),
        (token_with(step_key=1), Reason.IDENTITY_CLAIMS, ISSUER),
    ],
)
async def test_refusals_are_on_record_without_unverified_claims(
    token: UnverifiedToken, reason: Reason, issuer: str | None
) -> None:
    """A refusal tells reason, client, token digest and, if it is ours, the issuer: nothing else a stranger wrote."""
    bench = Bench()

    assert await bench.refused(token) is reason
    (facts,) = bench.facts(Kind.SESSION_REFUSED)
    assert facts.get("issuer") == issuer
    assert facts["reason"] == reason.value
    assert len(facts["token"]) == 64
    assert set(facts) <= {"reason", "detail", "client", "token", "issuer"}
    assert "evil" not in str(facts)
    assert "other" not in str(facts)


async def test_sessions_are_bounded_in_number() -> None:
    """Past the maximum nothing opens, not even at once; room comes back when sessions end or expire."""
    bench = Bench(None, DeskLimits(maximum=2, ceiling=timedelta(minutes=2)))
    tokens = [token_with(build_number=number) for number in range(5)]
    results = await asyncio.gather(*(bench.desk.open(token, (), "x") for token in tokens[:4]))

    refused = [result.reason for result in results if isinstance(result, Denial)]
    assert refused == [Reason.SESSION_LIMIT] * 2
    bench.clock.advance(timedelta(minutes=2))
    await bench.open(tokens[4])


async def test_a_full_register_of_used_tokens_refuses_rather_than_forgets() -> None:
    """No token is forgotten early to make room for another."""
    bench = Bench(None, DeskLimits(remembered=1))
    await bench.open(token_with())

    assert await bench.refused(token_with(build_number=43)) is Reason.SESSION_LIMIT
    assert await bench.refused(token_with()) is Reason.IDENTITY_REPLAYED


@pytest.mark.parametrize(
    "others,reason",
    [
        ([NOBODY], Reason.IDENTITY_MALFORMED),
        ([other_with(iss="https://other.test")], Reason.IDENTITY_ISSUER),
        ([other_with(aud=...)], Reason.IDENTITY_AUDIENCE),
        ([other_with(aud=["a", "b"])], Reason.IDENTITY_AUDIENCE),
        ([other_with(aud="")], Reason.IDENTITY_AUDIENCE),
        ([other_with(aud=[])], Reason.IDENTITY_AUDIENCE),
        ([other_with(aud="x" * 257)], Reason.IDENTITY_AUDIENCE),
        ([other_with(aud="a\nb")], Reason.IDENTITY_AUDIENCE),
        ([other_with(aud=shapes.AUDIENCE)], Reason.IDENTITY_AUDIENCE),
        ([other_with(), other_with()], Reason.IDENTITY_AUDIENCE),
        ([other_with(exp=...)], Reason.IDENTITY_CLAIMS),
        ([other_with(exp=True)], Reason.IDENTITY_CLAIMS),
        ([other_with(exp=2**40)], Reason.IDENTITY_CLAIMS),
        ([other_with(exp=1)], Reason.IDENTITY_EXPIRED),
        ([other_with(job_id="another")], Reason.IDENTITY_CLAIMS),
        ([other_with(aud=f"a{number}") for number in range(9)], Reason.IDENTITY_OVERSIZED),
    ],
)
async def test_other_tokens_must_be_plausible(others: list[UnverifiedToken], reason: Reason) -> None:
    """Tokens for other audiences come from the same issuer and job, one per audience, and live."""
    bench = Bench()

    assert await bench.refused(token_with(), *others) is reason


async def test_an_agents_token_is_held_and_a_jobs_token_cannot_pass_for_it() -> None:
    """It stands among the session's tokens under a name that no audience can take."""
    claimed = await Bench().open(token_with(), other_with(aud=AGENT_TOKEN))
    assert dict(claimed.session.tokens) == {}
    opened = await Bench().desk.open(token_with(), (), "127.0.0.1:9", None, Secret("planted"))
    assert isinstance(opened, OpenedSession)
    held = opened.session.tokens[AGENT_TOKEN]
    assert (held.token.reveal(), held.expires_at) == ("planted", opened.session.expires_at)


async def test_other_tokens_may_name_their_audience_as_a_list() -> None:
    """One audience in a list is one audience."""
    opened = await Bench().open(token_with(), other_with(aud=["vault"]), other_with(job_id=...))

    assert sorted(opened.session.tokens) == ["sts.amazonaws.com", "vault"]


async def test_one_issuer_may_be_trusted_for_several_owners() -> None:
    """Each entry is tried; when none fits, the first refusal stands."""
    entries = (TRUSTED, replace(TRUSTED, bound={"organization_slug": "beta"}, audience="https://beta.test"))
    bench = Bench(None, None, *entries)

    opened = await bench.open(token_with(organization_slug="beta", aud="https://beta.test"))

    assert opened.session.job.organization == "beta"
    assert await bench.refused(token_with(aud="https://gamma.test")) is Reason.IDENTITY_AUDIENCE
    assert await bench.refused(token_with(organization_slug="beta")) is Reason.IDENTITY_CLAIMS


def test_too_much_trust_is_refused_at_once() -> None:
    """A desk is not even built on an issuer without a bound claim."""
    with pytest.raises(ConfigError, match="`bound` is empty"):
        Bench(None, None, replace(TRUSTED, bound={}))


async def test_a_local_session_says_that_nobody_verified_it() -> None:
    """`exec`'s job is whoever its starter says it is: on record as unverified, the own session, gone at the ceiling."""
    bench = Bench()

    local = await bench.desk.open_local(JobContext(pipeline="web"))

    assert await bench.desk.authenticate(None, PEER) is local
    assert local.principal.provider == "local"
    (facts,) = bench.facts(Kind.SESSION_OPENED)
    assert facts == {"session": local.id, "provider": "local", "job": {"pipeline": "web"}, "verified": False}
    assert local.expires_at == bench.desk.now() + timedelta(hours=12)


async def test_a_local_session_that_cannot_be_recorded_is_none() -> None:
    """Without a record there is no session, not even on one's own machine."""
    bench = Bench(RecordingTrail(1))

    with pytest.raises(AuditError):
        await bench.desk.open_local(JobContext())

    assert isinstance(await bench.desk.authenticate(None, PEER), Denial)


DECLARED = ("npm install *",)


async def test_the_first_declaration_of_a_job_stands() -> None:
    """What a step's hook declared holds for every session of that job, also after that session; others are free."""
    bench = Bench()
    first = await bench.desk.open(token_with(), (), "h", DECLARED)
    assert isinstance(first, OpenedSession)
    assert await bench.desk.close(first.session.id, "x")
    wider = await bench.desk.open(token_with(build_number=43), (), "h", ("npm publish *",))
    silent = await bench.present(token_with(build_number=44))
    other = await bench.desk.open(token_with(job_id="another"), (), "h")

    assert isinstance(wider, OpenedSession)
    assert isinstance(silent, Session)
    assert isinstance(other, OpenedSession)
    assert [each.declared for each in (first.session, wider.session, silent)] == [DECLARED] * 3
    assert other.session.declared is None
    opened = [record.facts.get("declared") for record in bench.trail.of(Kind.SESSION_OPENED)]
    assert opened == [[*DECLARED]] * 3 + [None]


async def test_declarations_are_forgotten_in_time_and_bounded() -> None:
    """A declaration is kept as long as a session could live; too many at once and nobody else gets in."""
    bench = Bench(None, DeskLimits(remembered=2, ceiling=timedelta(minutes=1)))
    for number in (1, 2):
        opened = await bench.desk.open(token_with(job_id=f"job-{number}"), (), "h", DECLARED)
        assert isinstance(opened, OpenedSession)
    refused = await bench.desk.open(token_with(job_id="job-3"), (), "h")
    assert isinstance(refused, Denial)
    assert refused.reason is Reason.SESSION_LIMIT


async def test_without_a_job_id_a_session_speaks_for_itself() -> None:
    """An issuer that names no job ties no two sessions together."""
    google = "https://accounts.google.com"
    trusted = TrustedIssuer(
        provider="google", issuer=google, audience=shapes.AUDIENCE, bound={"sub": "104000000000000000001"}
    )
    bench = Bench(None, None, trusted)
    bench.keys.sets[google] = key_set(google, KEY)
    opened = await bench.desk.open(KEY.sign(shapes.google(NOW)), (), "h", DECLARED)
    assert isinstance(opened, OpenedSession)
    assert opened.session.job.job_id is None
    assert opened.session.declared == DECLARED


async def test_an_own_and_a_local_job_may_declare() -> None:
    """Sidecar mode and `exec` are held to what was declared for them."""
    bench = Bench()
    own = await bench.desk.adopt_own(token_with(), (), DECLARED)
    local = await bench.desk.open_local(JobContext(), DECLARED)
    assert isinstance(own, Session)
    assert own.declared == local.declared == DECLARED


async def test_each_session_has_placeholders_of_its_password() -> None:
    """By exchange and with a raw token alike; the proxy's own job has the public ones; none outlive the session."""
    bench = Bench()
    opened = await bench.open(token_with())
    raw = token_with(build_number=43)
    joined = await bench.present(raw)
    own = await bench.desk.adopt_own(token_with(build_number=44), ())
    assert isinstance(joined, Session)
    assert isinstance(own, Session)
    assert opened.session.placeholders.mark == derive_placeholders(opened.secret.reveal()).mark
    assert joined.placeholders.mark == derive_placeholders(raw).mark
    assert own.placeholders is PUBLIC
    for session in (opened.session, joined):
        assert bench.placeholders.find_secret(session.placeholders.aws_key) is session.placeholders.aws_secret
        await bench.desk.close(session.id, "test")
        assert bench.placeholders.find_secret(session.placeholders.aws_key) is None
