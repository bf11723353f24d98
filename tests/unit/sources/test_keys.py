"""The key cache against a real HTTPS issuer that rotates, fails and lies."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from proxy.identity.jwks import MAX_DOCUMENT
from proxy.model.authority import Authority
from proxy.model.errors import IssuerError
from proxy.model.identity import TrustedIssuer
from proxy.outbound import Answer, Call, Outbound
from proxy.sources.keys import JwksCache, KeyLimits
from tests.fakes.issuer import DISCOVERY_PATH, KEYS_PATH, Cue, Issuer
from tests.fakes.keys import signing_key


class Timer:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def issuer(authority: trustme.CA) -> Iterator[Issuer]:
    with Issuer(authority=authority) as running:
        yield running


def trusted(issuer: str, **changes: Any) -> TrustedIssuer:
    return TrustedIssuer(**{"provider": "generic", "issuer": issuer, "audience": "a", "bound": {"sub": "s"}, **changes})


@asynccontextmanager
async def cache_of(issuer: Issuer, timer: Timer, **changes: Any) -> AsyncIterator[JwksCache]:
    outbound = Outbound(issuer.trust)
    cache = JwksCache(outbound, [trusted(issuer.url, **changes)], KeyLimits(fetch=2), timer=timer, jitter=lambda: 1.0)
    try:
        yield cache
    finally:
        await cache.close()


def fetches(issuer: Issuer) -> int:
    return issuer.asked.count(KEYS_PATH)


async def settle(cache: JwksCache) -> None:
    """Wait for a renewal in the background."""
    flights = [state.flight for state in cache._states.values() if state.flight is not None]
    await asyncio.gather(*flights)


async def test_keys_are_fetched_once_and_served_from_memory(issuer: Issuer) -> None:
    """A hundred questions are one discovery and one fetch; several at once are still one."""
    async with cache_of(issuer, Timer()) as cache:
        await asyncio.gather(*(cache.keys(issuer.url, "key-1") for _ in range(50)))
        for _ in range(50):
            found = await cache.keys(issuer.url, "key-1")

    assert [key.kid for key in found.keys] == ["key-1"]
    assert found.issuer == issuer.url
    assert issuer.asked == [DISCOVERY_PATH, KEYS_PATH]


async def test_keys_are_renewed_in_the_background(issuer: Issuer) -> None:
    """After five minutes the old keys are served at once while new ones come; discovery is not repeated."""
    timer = Timer()
    async with cache_of(issuer, timer) as cache:
        await cache.keys(issuer.url, "key-1")
        issuer.rotate("key-2")
        timer.now += 301
        old = await cache.keys(issuer.url, "key-1")
        await settle(cache)
        new = await cache.keys(issuer.url, "key-1")

    assert [key.kid for key in old.keys] == ["key-1"]
    assert [key.kid for key in new.keys] == ["key-1", "key-2"]
    assert issuer.asked == [DISCOVERY_PATH, KEYS_PATH, KEYS_PATH]


@pytest.mark.parametrize("keep", [True, False])
async def test_a_rotated_key_is_found_at_once(issuer: Issuer, *, keep: bool) -> None:
    """A new key id is fetched the first time it is seen; a key no longer published is no longer served."""
    async with cache_of(issuer, Timer()) as cache:
        await cache.keys(issuer.url, "key-1")
        issuer.rotate("key-2", keep=keep)
        found = await cache.keys(issuer.url, "key-2")

    assert [key.kid for key in found.keys] == (["key-1", "key-2"] if keep else ["key-2"])


async def test_a_flood_of_unknown_key_ids_costs_one_fetch_a_minute(issuer: Issuer) -> None:
    """However many ids are made up, the issuer is asked once per minute, and known ids never wait."""
    timer = Timer()
    async with cache_of(issuer, timer) as cache:
        await cache.keys(issuer.url, "key-1")
        before = fetches(issuer)
        for number in range(1000):
            await cache.keys(issuer.url, f"made-up-{number}")
        assert fetches(issuer) == before + 1
        timer.now += 59
        await cache.keys(issuer.url, "made-up")
        assert fetches(issuer) == before + 1
        timer.now += 1
        await asyncio.gather(*(cache.keys(issuer.url, f"again-{number}") for number in range(200)))
        assert fetches(issuer) == before + 2


async def test_known_keys_outlive_an_outage_up_to_the_bound(issuer: Issuer) -> None:
    """While the issuer is down known keys verify for a day; then nothing does; when it is back, all is well."""
    timer = Timer()
    async with cache_of(issuer, timer) as cache:
        await cache.keys(issuer.url, "key-1")
        issuer.answers = {KEYS_PATH: Cue(status=500), DISCOVERY_PATH: Cue(status=500)}
        for _ in range(24):
            timer.now += 3600
            assert (await cache.keys(issuer.url, "key-1")).keys
            await settle(cache)
        assert cache.faults == {issuer.url: "the issuer answered 500"}
        timer.now += 1
        with pytest.raises(IssuerError, match="answered 500"):
            await cache.keys(issuer.url, "key-1")
        issuer.answers = {}
        timer.now += 61
        assert (await cache.keys(issuer.url, "key-1")).keys
        assert cache.faults == {}


async def test_a_dead_issuer_is_left_alone_between_tries(issuer: Issuer) -> None:
    """Failures are answered from memory, with pauses that double up to a minute."""
    timer = Timer()
    issuer.answers[DISCOVERY_PATH] = Cue(status=503)
    async with cache_of(issuer, timer) as cache:
        for expected, pause in ((1, 0.9), (1, 0.2), (2, 1.9), (2, 0.2), (3, 3.9), (3, 0.2), (4, 0)):
            with pytest.raises(IssuerError, match="503"):
                await cache.keys(issuer.url, "key-1")
            assert len(issuer.asked) == expected
            timer.now += pause
        for _ in range(20):
            timer.now += 61
            with pytest.raises(IssuerError):
                await cache.keys(issuer.url, "key-1")
        assert len(issuer.asked) == 24


HUGE = Cue(body=b" " * (MAX_DOCUMENT + 1))
MISBEHAVIOUR: dict[str, dict[str, Cue]] = {
    "keys: not found": {KEYS_PATH: Cue(status=404)},
    "keys: broken": {KEYS_PATH: Cue(status=500)},
    "keys: no content": {KEYS_PATH: Cue(status=203)},
    "keys: empty body": {KEYS_PATH: Cue(body=b"")},
    "keys: empty set": {KEYS_PATH: Cue(body=b'{"keys":[]}')},
    "keys: a page": {KEYS_PATH: Cue(body=b"<html>sign in</html>", headers={"Content-Type": "text/html"})},
    "keys: huge": {KEYS_PATH: HUGE},
    "keys: a megabyte of keys": {KEYS_PATH: Cue(body=b'{"keys":[' + b'"x",' * 250_000 + b'"x"]}')},
    "keys: cut off": {KEYS_PATH: Cue(body=b'{"keys":[]}' * 100, cut=True)},
    "keys: moved": {KEYS_PATH: Cue(status=302, headers={"Location": "/elsewhere"})},
    "keys: moved for good": {KEYS_PATH: Cue(status=308, headers={"Location": "https://evil.test/"})},
    "keys: duplicate names": {KEYS_PATH: Cue(body=b'{"keys":[],"keys":[]}')},
    "keys: weak only": {KEYS_PATH: Cue(body=json.dumps({"keys": [signing_key("RS256", "w", 1024).jwk()]}).encode())},
    "keys: for encryption": {KEYS_PATH: Cue(body=json.dumps({"keys": [signing_key().jwk(use="enc")]}).encode())},
    "keys: slow": {KEYS_PATH: Cue(hang=True)},
    "discovery: broken": {DISCOVERY_PATH: Cue(status=500)},
    "discovery: huge": {DISCOVERY_PATH: HUGE},
    "discovery: moved": {DISCOVERY_PATH: Cue(status=301, headers={"Location": KEYS_PATH})},
    "discovery: another issuer": {
        DISCOVERY_PATH: Cue(body=b'{"issuer":"https://evil.test","jwks_uri":"https://evil.test"}')
    },
    "discovery: not JSON": {DISCOVERY_PATH: Cue(body=b"nope")},
}


@pytest.mark.parametrize("answers", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
async def test_misbehaviour_yields_no_keys_and_loses_none(issuer: Issuer, answers: dict[str, Cue]) -> None:
    """Before the first keys a lying issuer means no keys; afterwards it means the keys there were."""
    timer = Timer()
    async with cache_of(issuer, timer) as cache:
        issuer.answers = dict(answers)
        if not any(cue.hang for cue in answers.values()):
            with pytest.raises(IssuerError):
                await cache.keys(issuer.url, "key-1")
            assert "/elsewhere" not in issuer.asked
        issuer.answers = {}
        timer.now += 61
        assert (await cache.keys(issuer.url, "key-1")).keys
        issuer.answers = dict(answers)
        timer.now += 301
        found = await cache.keys(issuer.url, "key-2")
        assert [key.kid for key in found.keys] == ["key-1"]


async def test_a_slow_issuer_is_given_up(issuer: Issuer) -> None:
    """No answer in time is a failure like any other."""
    issuer.answers[KEYS_PATH] = Cue(hang=True)
    outbound = Outbound(issuer.trust)
    cache = JwksCache(outbound, [trusted(issuer.url)], KeyLimits(fetch=0.2), timer=Timer())
    with pytest.raises(IssuerError, match="in time"):
        await cache.keys(issuer.url, None)
    await cache.close()


@pytest.mark.parametrize("address", ["http://{}/keys", "https://localhost:1/keys", "https://user@{}/keys"])
async def test_keys_elsewhere_are_not_fetched(issuer: Issuer, address: str) -> None:
    """A discovery document cannot send us to another host, port or scheme."""
    issuer.changes["jwks_uri"] = address.format(issuer.url.removeprefix("https://"))
    async with cache_of(issuer, Timer()) as cache:
        with pytest.raises(IssuerError, match="jwks_uri"):
            await cache.keys(issuer.url, "key-1")
    assert issuer.asked == [DISCOVERY_PATH]


async def test_a_configured_address_needs_no_discovery(issuer: Issuer) -> None:
    """Where the operator names the keys' address it is used, whatever host it is at."""
    async with cache_of(issuer, Timer(), jwks_url=f"https://localhost:{issuer.port}{KEYS_PATH}") as cache:
        assert (await cache.keys(issuer.url, "key-1")).keys
    assert issuer.asked == [KEYS_PATH]


async def test_an_untrusted_certificate_yields_no_keys(issuer: Issuer) -> None:
    """Whoever answers in the issuer's place without its certificate is not heard."""
    with Issuer() as stranger:
        outbound = Outbound(stranger.trust)
        cache = JwksCache(outbound, [trusted(issuer.url)], timer=Timer())
        with pytest.raises(IssuerError, match="certificate is not accepted"):
            await cache.keys(issuer.url, "key-1")


async def test_issuers_do_not_share_fate_or_keys(issuer: Issuer, authority: trustme.CA) -> None:
    """One issuer's outage leaves the other's keys alone; an issuer nobody configured has none."""
    with Issuer(signing_key("RS256", "other"), authority=authority) as other:
        other.answers[KEYS_PATH] = Cue(status=500)
        outbound = Outbound(issuer.trust)
        cache = JwksCache(outbound, [trusted(issuer.url), trusted(other.url)], timer=Timer())
        await cache.warm()
        assert cache.faults == {other.url: "the issuer answered 500"}
        assert [key.kid for key in (await cache.keys(issuer.url, "key-1")).keys] == ["key-1"]
        for name in (other.url, "https://unknown.test", issuer.url + "/"):
            with pytest.raises(IssuerError):
                await cache.keys(name, "key-1")
        await cache.close()


async def test_a_caller_that_gives_up_does_not_stop_the_fetch() -> None:
    """Others wait for the same fetch: cancelling one of them leaves it running; closing ends it."""
    release = asyncio.Event()
    body = json.dumps({"keys": [signing_key().jwk()]}).encode()

    class Waiting:
        calls = 0

        async def call(self, call: Call) -> Answer:
            self.calls += 1
            await release.wait()
            return Answer(status=200, headers={}, body=body)

    waiting = Waiting()
    cache = JwksCache(waiting, [trusted("https://a.test", jwks_url="https://a.test/k")], timer=Timer())
    first, second = (asyncio.create_task(cache.keys("https://a.test", "key-1")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    release.set()

    assert (await second).keys
    assert first.cancelled()
    assert waiting.calls == 1


async def test_a_broken_client_library_is_a_failed_fetch() -> None:
    """Whatever is raised underneath becomes an issuer without keys."""

    class Broken:
        async def call(self, call: Call) -> Answer:
            raise ZeroDivisionError

    cache = JwksCache(Broken(), [trusted("https://a.test")], timer=Timer())
    with pytest.raises(IssuerError, match="ZeroDivisionError"):
        await cache.keys("https://a.test", "key-1")


async def test_closing_ends_a_fetch_under_way() -> None:
    """Nothing is left running, and nobody waits for ever."""

    class Stuck:
        async def call(self, call: Call) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    cache = JwksCache(Stuck(), [trusted("https://a.test")], timer=Timer())
    waiting = asyncio.create_task(cache.keys("https://a.test", "key-1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_public_issuers_are_reached_by_name(authority: trustme.CA) -> None:
    """The public name stands in URL and certificate while the connection goes where the operator says."""
    with Issuer(authority=authority, names=("agent.buildkite.com",)) as issuer:
        name = "https://agent.buildkite.com"
        issuer.changes = {"issuer": name, "jwks_uri": name + KEYS_PATH}
        outbound = Outbound(issuer.trust, {"agent.buildkite.com:443": Authority("127.0.0.1", issuer.port)})
        cache = JwksCache(outbound, [trusted(name, provider="buildkite")], timer=Timer())
        assert (await cache.keys(name, "key-1")).keys
