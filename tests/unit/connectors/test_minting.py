"""One credential per session and grant: minted once at a time, renewed early, never shared."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from proxy.connectors import minting
from proxy.connectors.minting import CredentialMinter
from proxy.connectors.parts import ScopeModel
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError, JobgateError
from proxy.model.grant import Credential, Dropped, Edits, Fate, Grant, MintRequest, Need, Plan, Secret
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from tests.fakes.clock import FixedClock

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEW = RequestView(
    method="GET", scheme="https", authority=Authority("a.test", 443), path="/", query=None, headers=(), body_length=0
)


INTENT = Intent(
    protocol="http",
    action="GET",
    resource=Resource(type="url", id="a.test/"),
    effect=EffectClass.READ,
    exact=False,
)


class CountingScope(ScopeModel):
    label: str = "x"


class CountingConnector:
    """Mints a new secret each time; waits at `gate`, fails with `fault`, and lets `life` be chosen."""

    name: ClassVar[str] = "counting"
    Scope: ClassVar[type[BaseModel]] = CountingScope

    def __init__(self, clock: FixedClock) -> None:
        self.clock = clock
        self.calls: list[MintRequest] = []
        self.gate: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        self.fault: BaseException | None = None
        self.life: timedelta | None = HOUR
        self.stays: timedelta | None = None

    def plan(self, view: RequestView, intent: Intent, scope: CountingScope) -> Plan:
        return Plan(needs_digest=scope.label == "digest", need=(("action", intent.action),))

    async def mint(self, request: MintRequest, scope: CountingScope) -> Credential:
        self.calls.append(request)
        number = len(self.calls)
        await self.gate()
        if self.fault is not None:
            raise self.fault
        return Credential(
            connector=self.name,
            secrets={"token": Secret(f"{request.session_id}|{request.grant.key}|{number}")},
            facts={},
            fingerprint=f"{number:016x}",
            expires_at=None if self.life is None else self.clock.now() + self.life,
            ends_at=None if self.stays is None else self.clock.now() + self.stays,
        )

    def apply(self, view: RequestView, scope: CountingScope, credential: Credential, body_digest: str | None) -> Edits:
        return Edits(put=(("x-token", credential.secrets["token"]), ("x-digest", str(body_digest))))


class RevokingConnector(CountingConnector):
    """As its parent, and takes back what it gave: waits at `revoke_gate`, fails with `revoke_fault`."""

    def __init__(self, clock: FixedClock) -> None:
        super().__init__(clock)
        self.revoked: list[str] = []
        self.revoke_gate: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        self.revoke_fault: Exception | None = None
        self.can = True

    async def revoke(self, credential: Credential, scope: CountingScope) -> bool:
        await self.revoke_gate()
        if self.revoke_fault is not None:
            raise self.revoke_fault
        if self.can:
            self.revoked.append(credential.secrets["token"].reveal())
        return self.can


class Setting:
    """A minter over one counting connector and a clock that is moved by hand."""

    def __init__(self, maximum: int = 100, connector: type[CountingConnector] = CountingConnector) -> None:
        self.clock = FixedClock(NOW)
        self.connector = connector(self.clock)
        self.minter = CredentialMinter({"counting": self.connector}, self.clock, maximum)

    async def mint(self, session: str = "s1", key: str = "g1", lifetime: timedelta = HOUR) -> Credential:
        return await self.minter.mint(ask(session, key, lifetime))

    async def text(self, session: str = "s1", key: str = "g1") -> str:
        return (await self.mint(session, key)).secrets["token"].reveal()

    async def settle(self) -> None:
        """Let what runs in the background come to its end."""
        for _ in range(20):
            await asyncio.sleep(0)


def grant(key: str = "g1", lifetime: timedelta = HOUR, connector: str = "counting", **scope: Any) -> Grant:
    return Grant(connector=connector, scope=scope, lifetime=lifetime, key=key)


def ask(session: str = "s1", key: str = "g1", lifetime: timedelta = HOUR, need: Need = (), **scope: Any) -> MintRequest:
    return MintRequest(grant=grant(key, lifetime, **scope), session_id=session, labels={}, tokens={}, need=need)


def texts_of(dropped: Sequence[Dropped]) -> dict[str, Fate]:
    """What became of each secret."""
    return {each.credential.secrets["token"].reveal(): each.fate for each in dropped}


async def test_a_storm_of_requests_is_one_mint() -> None:
    """64 requests that wait for the same credential cause one call and get the same credential."""
    setting = Setting()
    opened = asyncio.Event()
    setting.connector.gate = opened.wait
    waiting = [asyncio.ensure_future(setting.mint()) for _ in range(64)]
    await setting.settle()
    opened.set()
    minted = await asyncio.gather(*waiting)
    assert len(setting.connector.calls) == 1
    assert len({id(each) for each in minted}) == 1


async def test_a_waiter_that_leaves_takes_nobody_along() -> None:
    """Cancelling one request leaves the mint to the others."""
    setting = Setting()
    opened = asyncio.Event()
    setting.connector.gate = opened.wait
    first, second = (asyncio.ensure_future(setting.mint()) for _ in range(2))
    await setting.settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    opened.set()
    assert (await second).secrets["token"].reveal() == "s1|g1|1"
    assert len(setting.connector.calls) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["s1", "s2", "s3", "s|g", "s"]), st.sampled_from(["g1", "g2", "g|s"])), max_size=40
    )
)
def test_two_sessions_never_share(asked: list[tuple[str, str]]) -> None:
    """Whatever is asked for at the same time, each request gets its own session's credential for its own grant."""

    async def run() -> None:
        setting = Setting()
        texts = await asyncio.gather(*(setting.text(session, key) for session, key in asked))
        assert [text.rpartition("|")[0] for text in texts] == [f"{session}|{key}" for session, key in asked]
        assert len(setting.connector.calls) == len(set(asked))

    asyncio.run(run())


@pytest.mark.parametrize(
    "life, still_used, renewed, refused",
    [
        (HOUR, timedelta(minutes=54), timedelta(minutes=56), timedelta(minutes=59, seconds=30)),
        (timedelta(minutes=1), timedelta(seconds=39), timedelta(seconds=41), timedelta(seconds=46)),
        (timedelta(hours=12), timedelta(hours=11), timedelta(hours=11, minutes=56), timedelta(hours=12)),
    ],
)
async def test_a_successor_is_fetched_while_the_old_one_serves(
    life: timedelta, still_used: timedelta, renewed: timedelta, refused: timedelta
) -> None:
    """Early in its last part of life the old credential still serves; near its end nobody gets it any more.

    `life` is what the issuer gave, less or more than the hour the rule asked for.
    """
    setting = Setting()
    setting.connector.life = life
    assert await setting.text() == "s1|g1|1"
    setting.clock.advance(still_used)
    assert await setting.text() == "s1|g1|1"
    assert len(setting.connector.calls) == 1
    setting.clock.advance(renewed - still_used)
    assert await setting.text() == "s1|g1|1"
    await setting.settle()
    assert await setting.text() == "s1|g1|2"
    setting.clock.advance(refused)
    assert await setting.text() == "s1|g1|3"


async def test_what_is_held_is_had_without_waiting() -> None:
    """By its session, for its grant and need, until it is to be renewed; dropped, it is held no more."""
    setting = Setting()
    minted = await setting.minter.mint(ask(need=(("a", "b"),)))

    def held(session: str, given: Grant, need: Need) -> Credential | None:
        return setting.minter.held(session, given, need, setting.clock.now())

    assert held("s1", grant(), (("a", "b"),)) is minted
    assert held("s2", grant(), (("a", "b"),)) is None
    assert held("s1", grant("g2"), (("a", "b"),)) is None
    assert held("s1", grant(), ()) is None
    setting.clock.advance(timedelta(minutes=56))
    assert held("s1", grant(), (("a", "b"),)) is None
    assert await setting.minter.mint(ask(need=(("a", "b"),))) is minted
    await setting.settle()
    renewed = held("s1", grant(), (("a", "b"),))
    assert renewed is not None
    assert renewed is not minted
    await setting.minter.drop("s1")
    assert held("s1", grant(), (("a", "b"),)) is None


async def test_a_failing_renewal_is_not_felt_while_the_old_one_lives() -> None:
    """Requests go on with the old credential until its end; then they learn of the failure."""
    setting = Setting()
    await setting.mint()
    setting.connector.fault = CredentialError("issuer down")
    setting.clock.advance(timedelta(minutes=56))
    for _ in range(5):
        assert await setting.text() == "s1|g1|1"
        await setting.settle()
    assert len(setting.connector.calls) == 2
    setting.clock.advance(timedelta(minutes=4))
    with pytest.raises(CredentialError, match="issuer down"):
        await setting.mint()


async def test_a_failure_is_remembered_for_a_moment_only() -> None:
    """A storm after a failure is no storm at the issuer; two seconds later it is asked again."""
    setting = Setting()
    setting.connector.fault = CredentialError("no", Reason.CREDENTIAL_REFUSED)
    for _ in range(10):
        with pytest.raises(CredentialError, match="no") as caught:
            await setting.mint()
        assert caught.value.reason is Reason.CREDENTIAL_REFUSED
    assert len(setting.connector.calls) == 1
    assert (await asyncio.gather(setting.mint("s2"), return_exceptions=True))[0] is not None
    setting.clock.advance(timedelta(seconds=2))
    setting.connector.fault = None
    assert await setting.text() == "s1|g1|3"


@pytest.mark.parametrize(
    "fault, reason",
    [
        (CredentialError("x", Reason.CREDENTIAL_REFUSED), Reason.CREDENTIAL_REFUSED),
        (JobgateError("x"), Reason.CREDENTIAL_UNAVAILABLE),
        (TimeoutError(), Reason.CREDENTIAL_UNAVAILABLE),
    ],
)
async def test_every_fault_is_a_credential_error(fault: Exception, reason: Reason) -> None:
    """Refused stays refused; what failed otherwise is unavailable."""
    setting = Setting()
    setting.connector.fault = fault
    with pytest.raises(CredentialError) as caught:
        await setting.mint()
    assert caught.value.reason is reason


async def test_a_fault_of_ours_is_not_hidden_and_not_kept() -> None:
    """A connector's own bug reaches the guard, and the next request tries anew."""
    setting = Setting()
    setting.connector.fault = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        await setting.mint()
    setting.connector.fault = None
    assert await setting.text() == "s1|g1|2"


async def test_an_issuer_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mint ends on its own, and those who wait learn why."""
    monkeypatch.setattr(minting, "_MINT_TIME", 0.01)
    setting = Setting()
    setting.connector.gate = asyncio.Event().wait
    with pytest.raises(CredentialError, match="did not answer in time"):
        await setting.mint()


@pytest.mark.parametrize("life", [timedelta(), timedelta(seconds=-5)])
async def test_a_credential_that_arrives_expired_is_refused(life: timedelta) -> None:
    """It is neither used nor kept."""
    setting = Setting()
    setting.connector.life = life
    with pytest.raises(CredentialError, match="expired when it arrived"):
        await setting.mint()
    assert list(await setting.minter.drop("s1")) == []


async def test_a_credential_without_an_end_is_kept() -> None:
    """None means that it does not expire."""
    setting = Setting()
    setting.connector.life = None
    await setting.mint()
    setting.clock.advance(timedelta(days=400))
    assert await setting.text() == "s1|g1|1"


async def test_dropping_forgets_one_session_only() -> None:
    """What was held for the session is returned and gone; other sessions keep theirs."""
    setting = Setting()
    await asyncio.gather(setting.mint("s1", "g1"), setting.mint("s1", "g2"), setting.mint("s2", "g1"))
    dropped = await setting.minter.drop("s1")
    assert texts_of(dropped) == {"s1|g1|1": Fate.EXPIRES, "s1|g2|2": Fate.EXPIRES}
    assert list(await setting.minter.drop("s1")) == []
    assert len(setting.connector.calls) == 3
    await setting.mint("s2", "g1")
    assert len(setting.connector.calls) == 3


async def test_dropping_while_minting_is_a_refusal_to_those_who_wait() -> None:
    """They are told that the session ended, they are not cancelled; nothing is kept of the mint."""
    setting = Setting()
    setting.connector.gate = asyncio.Event().wait
    waiting = [asyncio.ensure_future(setting.mint()) for _ in range(3)]
    await setting.settle()
    assert list(await setting.minter.drop("s1")) == []
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, CredentialError)
        assert outcome.reason is Reason.SESSION_EXPIRED
    assert list(await setting.minter.drop("s1")) == []


async def test_a_mint_that_outlives_its_session_is_thrown_away() -> None:
    """A connector that does not mind being cancelled still gets nothing kept."""
    setting = Setting()
    opened = asyncio.Event()

    async def stubborn() -> None:
        try:
            await opened.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    setting.connector.gate = stubborn
    waiting = asyncio.ensure_future(setting.mint())
    await setting.settle()
    await setting.minter.drop("s1")
    with pytest.raises(CredentialError) as caught:
        await waiting
    assert caught.value.reason is Reason.SESSION_EXPIRED
    assert list(await setting.minter.drop("s1")) == []


class RevokingSetting(Setting):
    """A minter whose connector can revoke."""

    connector: RevokingConnector

    def __init__(self) -> None:
        super().__init__(connector=RevokingConnector)


async def test_requests_of_another_need_get_another_credential() -> None:
    """A narrower credential is minted for each need, and shared by the requests that have the same."""
    setting = Setting()
    pull, push = (("access", "pull"),), (("access", "push"),)
    minted = [(await setting.minter.mint(ask(need=need))).fingerprint for need in (pull, push, pull, ())]
    assert minted == ["0000000000000001", "0000000000000002", "0000000000000001", "0000000000000003"]
    assert [request.need for request in setting.connector.calls] == [pull, push, ()]


async def test_what_can_be_revoked_is_revoked_at_the_end() -> None:
    """Every credential that may still live, also those that were replaced, is taken back; expired ones are not."""
    setting = RevokingSetting()
    await setting.mint("s1", "old")
    setting.clock.advance(timedelta(minutes=56))
    await setting.mint("s1", "old")
    await setting.settle()
    await setting.mint("s1", "other")
    assert texts_of(await setting.minter.drop("s1")) == {
        "s1|old|1": Fate.REVOKED,
        "s1|old|2": Fate.REVOKED,
        "s1|other|3": Fate.REVOKED,
    }
    assert sorted(setting.connector.revoked) == ["s1|old|1", "s1|old|2", "s1|other|3"]
    await setting.mint("s2", "old")
    setting.clock.advance(HOUR)
    assert list(await setting.minter.drop("s2")) == []


async def test_what_outlives_its_use_is_revoked_too() -> None:
    """A credential that is no longer used here, but still taken by its issuer, is taken back at the session's end."""
    setting = RevokingSetting()
    setting.connector.life, setting.connector.stays = timedelta(minutes=15), HOUR
    await setting.mint("s1", "old")
    setting.clock.advance(timedelta(minutes=20))
    await setting.mint("s1", "old")
    setting.clock.advance(timedelta(minutes=20))
    assert texts_of(await setting.minter.drop("s1")) == {"s1|old|1": Fate.REVOKED, "s1|old|2": Fate.REVOKED}
    await setting.mint("s2", "old")
    setting.clock.advance(HOUR)
    assert list(await setting.minter.drop("s2")) == []


async def test_what_must_still_be_revoked_is_not_forgotten_for_room() -> None:
    """Room is made by forgetting what is void at its issuer, and by nothing else."""
    setting = RevokingSetting()
    setting.minter = CredentialMinter({"counting": setting.connector}, setting.clock, 1)
    setting.connector.life, setting.connector.stays = timedelta(minutes=15), HOUR
    await setting.mint("s1")
    setting.clock.advance(timedelta(minutes=30))
    with pytest.raises(CredentialError, match="too many"):
        await setting.mint("s2")
    setting.clock.advance(timedelta(minutes=30))
    assert (await setting.mint("s2")).fingerprint == "0000000000000002"


@pytest.mark.parametrize("fault", [CredentialError("down"), RuntimeError("bug"), TimeoutError()])
async def test_a_failed_revocation_is_told(fault: Exception) -> None:
    """The credential is forgotten all the same, and the report says that its issuer did not take it back."""
    setting = RevokingSetting()
    setting.connector.revoke_fault = fault
    await setting.mint()
    assert texts_of(await setting.minter.drop("s1")) == {"s1|g1|1": Fate.REVOKE_FAILED}
    assert list(await setting.minter.drop("s1")) == []


async def test_an_issuer_that_cannot_revoke_this_one_says_so() -> None:
    """What cannot be taken back can only expire."""
    setting = RevokingSetting()
    setting.connector.can = False
    await setting.mint()
    assert texts_of(await setting.minter.drop("s1")) == {"s1|g1|1": Fate.EXPIRES}


async def test_a_revocation_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending a session does not wait for ever."""
    monkeypatch.setattr(minting, "_REVOKE_TIME", 0.01)
    setting = RevokingSetting()
    setting.connector.revoke_gate = asyncio.Event().wait
    await setting.mint()
    assert texts_of(await setting.minter.drop("s1")) == {"s1|g1|1": Fate.REVOKE_FAILED}


async def test_what_is_minted_during_the_end_is_revoked_too() -> None:
    """A mint that can be taken back is waited for, its requester is refused, and it is revoked when it arrives."""
    setting = RevokingSetting()
    opened = asyncio.Event()
    setting.connector.gate = opened.wait
    waiting = asyncio.ensure_future(setting.mint())
    await setting.settle()
    dropping = asyncio.ensure_future(setting.minter.drop("s1"))
    await setting.settle()
    opened.set()
    assert texts_of(await dropping) == {"s1|g1|1": Fate.REVOKED}
    with pytest.raises(CredentialError) as caught:
        await waiting
    assert caught.value.reason is Reason.SESSION_EXPIRED
    assert setting.connector.revoked == ["s1|g1|1"]


async def test_the_number_of_held_credentials_is_bounded() -> None:
    """When all places are taken a new session is refused; what has expired makes room."""
    setting = Setting(maximum=2)
    await asyncio.gather(setting.mint("s1"), setting.mint("s2"))
    with pytest.raises(CredentialError, match="too many"):
        await setting.mint("s3")
    assert await setting.text("s1") == "s1|g1|1"
    setting.clock.advance(HOUR)
    assert await setting.text("s3") == "s3|g1|3"


async def test_unknown_connectors_and_scopes_are_refused() -> None:
    """A grant that no connector can serve is a refusal, for plan, mint and apply alike."""
    setting = Setting()
    unknown = MintRequest(grant=grant(connector="none"), session_id="s", labels={}, tokens={})
    with pytest.raises(CredentialError, match="no connector is called none"):
        await setting.minter.mint(unknown)
    with pytest.raises(CredentialError, match="not valid"):
        await setting.minter.mint(ask(surprise=1))
    with pytest.raises(CredentialError):
        setting.minter.plan(VIEW, INTENT, grant(connector="none"))


async def test_plan_and_apply_reach_the_connector_with_its_scope() -> None:
    """The scope is validated once per grant and handed on; the digest too."""
    setting = Setting()
    need = (("action", "GET"),)
    assert setting.minter.plan(VIEW, INTENT, grant("a", label="digest")) == Plan(needs_digest=True, need=need)
    assert setting.minter.plan(VIEW, INTENT, grant("b", label="other")) == Plan(need=need)
    edits = setting.minter.apply(VIEW, grant("b", label="other"), await setting.mint(), "abc")
    assert edits.put[1] == ("x-digest", "abc")


async def test_no_secret_shows_in_what_is_raised_or_printed() -> None:
    """Neither a credential nor the minter that holds it can be printed into giving its secret out."""
    setting = Setting()
    credential = await setting.mint("planted-secret")
    setting.connector.fault = CredentialError("refused")
    with pytest.raises(CredentialError) as caught:
        await setting.mint("planted-secret", "g2")
    shown = [repr(credential), str(credential), repr(setting.minter._slots), *traceback.format_exception(caught.value)]
    assert not any("planted-secret|" in each for each in shown)
