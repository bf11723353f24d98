"""The tables hold what they promise, line by line."""

import pytest

from proxy.intents.buildkite_routes import AGENT, REST, Call, mutation_effect
from proxy.model.intent import EffectClass

CHANGES = frozenset(EffectClass) - {EffectClass.READ, EffectClass.LIST}
LINES = [*AGENT.items(), *REST.items()]


@pytest.mark.parametrize("line, call", LINES, ids=[line for line, _ in LINES])
def test_no_change_is_called_a_read(line: str, call: Call) -> None:
    """Only a GET reads, but for the few calls that ask with a POST; every other method changes something."""
    asks = {"meta.get", "meta.exists", "meta.list", "step.get"}
    assert line.startswith("GET ") or call.effect in CHANGES or call.action in asks


@pytest.mark.parametrize(
    "word, effect",
    [
        ("oidc", EffectClass.CREDENTIAL),
        ("secret", EffectClass.CREDENTIAL),
        ("token", EffectClass.CREDENTIAL),
        ("env", EffectClass.CREDENTIAL),
        ("accept", EffectClass.CREDENTIAL),
        ("acquire", EffectClass.CREDENTIAL),
        ("unblock", EffectClass.ADMIN),
    ],
)
def test_a_path_that_hands_out_or_grants_says_so(word: str, effect: EffectClass) -> None:
    """Whatever answers or sets a secret is a credential, whatever passes a person's gate is administration."""
    without_values = {"access-token.get", "cluster-secret.list", "cluster-secret.get"}
    found = [
        call
        for line, call in LINES
        if any(word in part for part in line.split("/")[1:] if part[0] != "{") and call.action not in without_values
    ]
    assert found
    assert {call.effect for call in found} == {effect}


def test_every_pipeline_change_is_administration() -> None:
    """Steps decide what runs with which credentials: whoever writes them rules."""
    found = [call for line, call in LINES if call.kind == "pipeline" and not line.startswith("GET")]
    assert len(found) >= 10
    assert {call.effect for call in found} == {EffectClass.ADMIN}


def test_only_agent_calls_name_the_callers_job() -> None:
    """The engine compares `job` with the job that was verified; a job that REST acts on is another's."""
    assert not [line for line in REST if "{job}" in line]
    assert all("/{job}" in line for line in AGENT if line.split(" /")[1].startswith("jobs/"))


@pytest.mark.parametrize(
    "name, effect",
    [
        ("buildCreate", EffectClass.EXECUTE),
        ("jobTypeBlockUnblock", EffectClass.ADMIN),
        ("pipelineUpdate", EffectClass.ADMIN),
        ("clusterAgentTokenCreate", EffectClass.CREDENTIAL),
        ("secretUpdate", EffectClass.CREDENTIAL),
        ("neverHeardOf", EffectClass.ADMIN),
    ],
)
def test_an_unknown_mutation_is_administration(name: str, effect: EffectClass) -> None:
    """Only what starts and stops builds is less than administration."""
    assert mutation_effect(name) is effect
