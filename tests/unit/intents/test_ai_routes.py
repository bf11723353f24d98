"""The tables of the language model APIs."""

import pytest

from proxy.intents.ai_routes import COHERE, EFFECTS, MISTRAL, OPENROUTER, SHARED, Route
from proxy.intents.routes import Routes
from proxy.model.intent import EffectClass

WORDS = {each.value for each in EffectClass}
TABLES = {"shared": SHARED, "mistral": MISTRAL, "openrouter": OPENROUTER, "cohere": COHERE}


def action(table: Routes[Route], line: str) -> str | None:
    method, _, path = line.partition(" ")
    found = table.find(method, path[1:].split("/"))
    return None if found is None else found.value.action


def test_no_action_is_the_word_of_a_class() -> None:
    """A rule's second word is an action or a class, never both."""
    assert not WORDS & EFFECTS.keys() - {"unknown"}


@pytest.mark.parametrize(
    "line, expected",
    [
        ("POST /chat/completions", "infer"),
        ("GET /chat/completions", "object.list"),
        ("POST /chat/completions/c1", "object.update"),
        ("DELETE /chat/completions/c1", "object.delete"),
        ("POST /responses", "infer"),
        ("GET /responses/r1", "object.get"),
        ("POST /responses/r1/cancel", "object.update"),
        ("POST /threads/runs", "infer"),
        ("POST /threads/t1/runs", "infer"),
        ("POST /threads/t1/messages", "object.update"),
        ("POST /threads/t1/runs/r1/submit_tool_outputs", "run.resume"),
        ("POST /threads/t1/runs/r1/cancel", "object.update"),
        ("POST /evals/e1/runs", "eval.run"),
        ("POST /evals/e1", "object.update"),
        ("POST /containers", "container.create"),
        ("POST /containers/c1/files", "file.upload"),
        ("POST /vector_stores/v1/search", "store.search"),
        ("POST /vector_stores", "object.create"),
        ("POST /fine_tuning/jobs", "tune.create"),
        ("POST /fine_tuning/jobs/j1/resume", "run.resume"),
        ("POST /fine_tuning/checkpoints/c/permissions", "model.share"),
        ("POST /realtime/client_secrets", "token.create"),
        ("GET /files/f1/content", "file.get"),
        ("DELETE /files/f1", "file.delete"),
        ("PATCH /files/f1", None),
        ("GET /organization/audit_logs", "organization.get"),
        ("POST /messages", "infer"),
        ("GET /messages", None),
        ("POST /messages/count_tokens", "tokens.count"),
        ("POST /messages/batches", "batch.create"),
        ("POST /messages/batches/b1/cancel", "object.update"),
        ("GET /messages/batches/b1/results", "object.get"),
        ("POST /sessions/s1/events", "agent.run"),
        ("GET /vaults/v1/credentials", "vault.get"),
        ("POST /vaults/v1/credentials", "vault.set"),
        ("POST /tunnels/t1/reveal_token", "vault.set"),
        ("POST /organizations/invites", "organization.set"),
        ("POST /conversations", "object.create"),
        ("POST /keys", None),
    ],
)
def test_shared_lines(line: str, expected: str | None) -> None:
    """OpenAI's and Anthropic's paths say what they do, the harsher line before what is kept."""
    assert action(SHARED, line) == expected


@pytest.mark.parametrize(
    "table, line, expected",
    [
        ("mistral", "POST /conversations", "infer"),
        ("mistral", "POST /conversations/c1", "infer"),
        ("mistral", "POST /fim/completions", "infer"),
        ("mistral", "POST /batch/jobs", "batch.create"),
        ("mistral", "POST /messages", None),
        ("openrouter", "POST /messages", "infer"),
        ("openrouter", "POST /keys", "key.set"),
        ("openrouter", "GET /keys/k1", "key.list"),
        ("openrouter", "GET /key", "account.get"),
        ("openrouter", "GET /models/a/b/endpoints", "model.get"),
        ("cohere", "POST /chat", "infer"),
        ("cohere", "POST /rerank", "infer"),
        ("cohere", "POST /connectors", "connector.set"),
        ("cohere", "POST /embed-jobs", "batch.create"),
        ("cohere", "POST /messages", None),
    ],
)
def test_lines_of_one_vendor(table: str, line: str, expected: str | None) -> None:
    """What a vendor does otherwise takes the place of the shared line."""
    assert action(TABLES[table], line) == expected
