"""The first decoder that answers wins; a broken request is the error of the decoder that owns it."""

from collections.abc import Sequence

import pytest

from proxy.intents.registry import DECODERS, Decoder, Spoken, decode, load_decoders
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.policy.intents import PROTOCOLS

VIEW = RequestView(
    method="GET", scheme="https", authority=Authority("example.com", 443), path="/", query=None, headers=()
)
MINE = Intent(protocol="x", action="Read", resource=Resource(type="x", id="1"), effect=EffectClass.READ, exact=True)


class Fake:
    """A decoder with one answer to everything."""

    def __init__(self, answer: Intent | Exception | None) -> None:
        self._answer = answer

    def claims(self, host: str, spoken: Spoken) -> bool:
        return True

    def decode(self, view: RequestView, spoken: Spoken) -> Intent | None:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


not_mine, mine, broken = Fake(None), Fake(MINE), Fake(IntentError("mine, but broken"))
HOSTS = (
    "example.com",
    "s3.eu-west-1.amazonaws.com",
    "evilamazonaws.com",
    "github.com",
    "api.github.com",
    "api.acme.ghe.com",
    "codeload.github.com",
    "gitlab.com",
    "buildkite.com",
    "agent.buildkite.com",
    "evilbuildkite.com",
    "registry.npmjs.org",
    "upload.pypi.org",
    "index.crates.io",
    "proxy.golang.org",
    "repo1.maven.org",
    "rubygems.org",
    "api.nuget.org",
    "ghcr.io",
    "kubernetes.default.svc",
    "acme.vault.hashicorp.cloud",
    "registry.terraform.io",
    "app.terraform.io",
    "fulcio.sigstore.dev",
    "evil.sigstore.dev",
    "api.openai.com",
    "acme.openai.azure.com",
    "storage.googleapis.com",
    "management.azure.com",
    "acme.blob.core.windows.net",
)
TARGETS = ("/", "/v2/", "/acme/app.git/info/refs", "/api/v4/projects/1", "/v1/models", "/simple/idna/", "/jwt/auth")


def test_first_answer_wins() -> None:
    """Decoders are asked in order and None passes to the next."""
    assert decode(VIEW, decoders=(not_mine, mine, broken)) is MINE


def test_nobody_answers() -> None:
    """HTTP itself speaks for what nobody owns, and for an empty list."""
    for answer in (decode(VIEW, decoders=(not_mine,)), decode(VIEW)):
        assert isinstance(answer, Intent)
        assert answer.name == "http GET"


def test_broken_is_not_passed_on() -> None:
    """A request that is a decoder's own but broken never reaches a milder decoder."""
    with pytest.raises(IntentError):
        decode(VIEW, decoders=(broken, mine))


def test_every_name_is_a_decoder() -> None:
    """The list names modules that have a `decode`."""
    assert len(load_decoders()) == len(DECODERS)
    assert all(callable(decoder.decode) and callable(decoder.claims) for decoder in load_decoders())


def read_with(view: RequestView, spoken: Spoken, decoders: Sequence[Decoder] | None) -> object:
    try:
        return decode(view, spoken, decoders)
    except IntentError as error:
        return error.reason


@pytest.mark.parametrize("host", HOSTS)
def test_whom_a_host_leaves_out_would_not_have_answered(host: str) -> None:
    """Asking only those that a host may be for gives what asking all of them would."""
    for target in TARGETS:
        for method in ("GET", "POST"):
            view = RequestView(
                method=method, scheme="https", authority=Authority(host, 443), path=target, query=None, headers=()
            )
            for spoken in (frozenset[str](), *(frozenset({word}) for word in DECODERS.values()), frozenset(PROTOCOLS)):
                assert read_with(view, spoken, None) == read_with(view, spoken, load_decoders())


def test_rules_know_the_words_of_the_decoders() -> None:
    """A rule can name every protocol that is read, and no other: a word nobody reads would never match."""
    assert {*DECODERS.values(), "http"} == set(PROTOCOLS)


def test_whoever_knows_a_host_reads_before_what_rules_name_there() -> None:
    """Rules that name several protocols for one vendor's host do not let another decoder claim its requests."""
    request = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("rubygems.org", 443),
        path="/api/v1/api_key",
        query=None,
        headers=(),
    )
    found = decode(request, frozenset({"cargo", "gem", "npm"}))
    assert isinstance(found, Intent)
    assert found.protocol == "gem"
