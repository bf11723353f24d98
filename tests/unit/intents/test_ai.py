"""What requests to language models mean."""

import json
from typing import Any

import pytest

from proxy.intents import ai, ai_gemini
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"ai"})
OPENAI = "api.openai.com"
ANTHROPIC = "api.anthropic.com"
AZURE = "acme.openai.azure.com"
OWN = "llm.example"
JSON: Headers = (("content-type", "application/json"),)


def ask(
    line: str,
    host: str = OPENAI,
    body: dict[str, Any] | bytes | None = None,
    headers: Headers = JSON,
    spoken: frozenset[str] = SPOKEN,
    *,
    unread: bool = False,
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path[?query]` with a JSON body; `unread` where it has not been read yet."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
        body_length=None if unread else len(raw),
        body=None if unread else BodyPrefix(data=raw, is_whole=True),
    )
    return ai.decode(view, spoken)


def read(line: str, host: str = OPENAI, body: dict[str, Any] | None = None) -> Intent:
    answer = ask(line, host, body)
    assert isinstance(answer, Intent)
    return answer


@pytest.mark.parametrize(
    "host, path, model, where, kind",
    [
        (OPENAI, "/v1/chat/completions", "gpt-4o", f"{OPENAI}/gpt-4o", "chat"),
        (OPENAI, "/v1/responses", "gpt-5", f"{OPENAI}/gpt-5", "response"),
        (OPENAI, "/v1/embeddings", "text-embedding-3-small", f"{OPENAI}/text-embedding-3-small", "embedding"),
        (OPENAI, "/v1/images/generations", "gpt-image-1", f"{OPENAI}/gpt-image-1", "image"),
        (OPENAI, "/v1/threads/t1/runs", "gpt-4o", f"{OPENAI}/gpt-4o", "run"),
        (ANTHROPIC, "/v1/messages", "claude-opus-4-1", f"{ANTHROPIC}/claude-opus-4-1", "chat"),
        ("api.mistral.ai", "/v1/fim/completions", "codestral", "api.mistral.ai/codestral", "completion"),
        ("api.cohere.com", "/v2/chat", "command-r", "api.cohere.com/command-r", "chat"),
        ("api.cohere.com", "/v1/rerank", "rerank-3", "api.cohere.com/rerank-3", "rerank"),
        ("api.groq.com", "/openai/v1/chat/completions", "openai/gpt-oss", "api.groq.com/openai/gpt-oss", "chat"),
        ("openrouter.ai", "/api/v1/chat/completions", "a/b:free", "openrouter.ai/a/b:free", "chat"),
        ("openrouter.ai", "/api/v1/messages", "a/b", "openrouter.ai/a/b", "chat"),
        (AZURE, "/openai/v1/chat/completions", "My-Deployment", f"{AZURE}/my-deployment", "chat"),
        (AZURE, "/openai/responses", "mine", f"{AZURE}/mine", "response"),
        (ai_gemini.HOST, "/v1beta/openai/chat/completions", "models/gemini", f"{ai_gemini.HOST}/gemini", "chat"),
        (OWN, "/v1/chat/completions", "llama", f"{OWN}/llama", "chat"),
        (OWN, "/gateway/v1/messages", "claude", f"{OWN}/gateway/claude", "chat"),
        (OWN, "/gateway/chat/completions", "llama", f"{OWN}/gateway/llama", "chat"),
    ],
)
def test_an_inference_is_on_its_model(host: str, path: str, model: str, where: str, kind: str) -> None:
    """The body names the model, whoever serves it."""
    intent = read(f"POST {path}", host, {"model": model, "stream": True})

    assert (intent.name, intent.effect, intent.exact) == ("ai infer", EffectClass.EXECUTE, True)
    assert (intent.resource.type, intent.resource.id) == ("ai-model", where)
    assert intent.facts == {"kind": kind, "stream": "true"}


def test_known_hosts_need_no_rule() -> None:
    """The vendors' own hosts are read without a rule that speaks ai."""
    for host in (OPENAI, AZURE):
        assert isinstance(ask("GET /openai/v1/models", host, spoken=frozenset()), Intent)


def test_the_body_is_wanted() -> None:
    """A model that stands in the body is asked for."""
    assert isinstance(ask("POST /v1/messages", ANTHROPIC, unread=True), BodyWanted)
    assert isinstance(ask("POST /v1beta/models/g:generateContent", ai_gemini.HOST, unread=True), BodyWanted)


@pytest.mark.parametrize(
    "host, line, body",
    [
        (OPENAI, "POST /v1/chat/completions", {"messages": []}),
        (OPENAI, "POST /v1/moderations", {"input": "x"}),
        (OPENAI, "POST /v1/videos/v1/remix", None),
        (OPENAI, "GET /v1/responses", None),
        (OPENAI, "GET /v1/realtime", None),
        (OPENAI, "GET /v1/realtime?call_id=c&model=gpt-realtime", None),
        (OPENAI, "POST /v1/realtime/calls", {"sdp": "x"}),
        ("api.mistral.ai", "POST /v1/conversations", {"agent_id": "a"}),
    ],
)
def test_a_model_that_is_not_named_is_any(host: str, line: str, body: dict[str, Any] | None) -> None:
    """What does not say its model is inexact and on all of them."""
    intent = read(line, host, body)

    assert (intent.action, intent.exact, intent.resource.id) == ("infer", False, f"{host}/*")


def test_every_named_model_is_asked() -> None:
    """Fallbacks and models of tools are intents of their own."""
    body = {"model": "a/b", "models": ["c/d"], "plugins": [{"id": "web"}]}
    intent = read("POST /api/v1/chat/completions", "openrouter.ai", body)

    assert [each.resource.id for each in (intent, *intent.also)] == ["openrouter.ai/a/b", "openrouter.ai/c/d"]
    assert all(each.facts["server_tools"] == "web" for each in (intent, *intent.also))


@pytest.mark.parametrize("query, where", [("model=gpt-realtime", "gpt-realtime"), ("deployment=d1&x=y", "d1")])
def test_a_socket_names_its_model_in_the_query(query: str, where: str) -> None:
    """A WebSocket is an inference, although it is a GET."""
    intent = read(f"GET /v1/realtime?{query}")

    assert (intent.action, intent.effect, intent.exact) == ("infer", EffectClass.EXECUTE, True)
    assert intent.resource.id == f"{OPENAI}/{where}"


@pytest.mark.parametrize(
    "body, models",
    [({}, ["d1"]), ({"model": "D1"}, ["d1"]), ({"model": "gpt-4o"}, ["d1", "gpt-4o"])],
)
def test_a_deployment_is_the_model(body: dict[str, Any], models: list[str]) -> None:
    """Azure names the model in the path, without case; another one in the body counts too."""
    for path in ("chat/completions", "extensions/chat/completions"):
        intent = read(f"POST /openai/deployments/D1/{path}?api-version=x", AZURE, body)
        assert [each.resource.id for each in (intent, *intent.also)] == [f"{AZURE}/{model}" for model in models]
    intent = read("POST /base/openai/deployments/D1/embeddings", OWN, {})
    assert intent.resource.id == f"{OWN}/base/D1"


def test_a_batch_is_on_its_models() -> None:
    """A batch that holds its requests names their models; one in a file names none."""
    requests = [{"params": {"model": model}} for model in ("a", "b")]
    intent = read("POST /v1/messages/batches", ANTHROPIC, {"requests": requests})
    other = read("POST /v1/batches", body={"input_file_id": "f", "endpoint": "/v1/responses"})

    assert (intent.action, intent.effect, intent.resource.id) == ("batch.create", EffectClass.EXECUTE, f"{ANTHROPIC}/a")
    assert [each.resource.id for each in intent.also] == [f"{ANTHROPIC}/b"]
    assert (other.action, other.effect, other.exact) == ("batch.create", EffectClass.EXECUTE, False)
    assert other.resource.id == f"{OPENAI}/*"


def test_google_names_the_model_in_the_path() -> None:
    """Google's own paths are read on Google's host."""
    intent = read("POST /v1beta/models/gemini-2.5-pro:generateContent", ai_gemini.HOST, {"contents": []})
    tuned = read("POST /v1beta/tunedModels", ai_gemini.HOST, {})
    kept = read("GET /v1beta/files/f1", ai_gemini.HOST)

    assert (intent.action, intent.resource.id) == ("infer", f"{ai_gemini.HOST}/gemini-2.5-pro")
    assert intent.facts == {"kind": "chat", "stream": "false"}
    assert (tuned.action, tuned.exact, tuned.resource.id) == ("tune.create", False, f"{ai_gemini.HOST}/*")
    assert (kept.action, kept.exact, kept.resource.id, kept.facts) == (
        "file.get", True, f"{ai_gemini.HOST}/v1beta/files/f1", {},
    )  # fmt: skip


@pytest.mark.parametrize(
    "host, line, action, effect, where",
    [
        (OPENAI, "GET /v1/models", "model.list", EffectClass.LIST, "/models"),
        (OPENAI, "GET /v1/models/gpt-4o", "model.get", EffectClass.READ, "/gpt-4o"),
        (OPENAI, "DELETE /v1/models/ft:gpt-4o:x", "model.delete", EffectClass.DELETE, "/ft:gpt-4o:x"),
        (OPENAI, "POST /v1/files", "file.upload", EffectClass.WRITE, "/files"),
        (OPENAI, "GET /v1/files/f1/content", "file.get", EffectClass.READ, "/files/f1/content"),
        (OPENAI, "POST /v1/assistants", "object.create", EffectClass.WRITE, "/assistants"),
        (OPENAI, "DELETE /v1/responses/r1", "object.delete", EffectClass.DELETE, "/responses/r1"),
        (OPENAI, "GET /v1/organization/usage/completions", "organization.get", EffectClass.ADMIN,
         "/organization/usage/completions"),
        (OPENAI, "POST /v1/organization/invites", "organization.set", EffectClass.ADMIN, "/organization/invites"),
        (OPENAI, "GET /v1/organization/admin_api_keys", "key.list", EffectClass.CREDENTIAL,
         "/organization/admin_api_keys"),
        (OPENAI, "POST /v1/organization/projects/p/service_accounts", "key.set", EffectClass.CREDENTIAL,
         "/organization/projects/p/service_accounts"),
        (OPENAI, "POST /v1/realtime/client_secrets", "token.create", EffectClass.CREDENTIAL,
         "/realtime/client_secrets"),
        (ANTHROPIC, "POST /v1/organizations/api_keys/k", "key.set", EffectClass.CREDENTIAL,
         "/organizations/api_keys/k"),
        (ANTHROPIC, "GET /v1/organizations/users", "organization.get", EffectClass.ADMIN, "/organizations/users"),
        (ANTHROPIC, "POST /v1/oauth/token", "token.exchange", EffectClass.CREDENTIAL, "/oauth/token"),
        (ANTHROPIC, "GET /v1/vaults/v/credentials", "vault.get", EffectClass.CREDENTIAL, "/vaults/v/credentials"),
        (ANTHROPIC, "POST /v1/sessions", "agent.run", EffectClass.EXECUTE, "/sessions"),
        ("openrouter.ai", "GET /api/v1/models/a/b/endpoints", "model.get", EffectClass.READ, "/a/b"),
        ("openrouter.ai", "POST /api/v1/keys", "key.set", EffectClass.CREDENTIAL, "/keys"),
        (AZURE, "GET /openai/models", "model.list", EffectClass.LIST, "/models"),
    ],
)  # fmt: skip
def test_the_rest_of_the_apis(host: str, line: str, action: str, effect: EffectClass, where: str) -> None:
    """Files, kept things, organizations and keys each have their harm."""
    intent = read(line, host)

    assert (intent.action, intent.effect, intent.exact) == (action, effect, True)
    assert intent.resource.id == host + where


def test_counting_tokens_is_a_read() -> None:
    """Nothing is inferred where tokens are counted."""
    intent = read("POST /v1/messages/count_tokens", ANTHROPIC, {"model": "a"})

    assert (intent.action, intent.effect, intent.resource.id) == ("tokens.count", EffectClass.READ, f"{ANTHROPIC}/*")


@pytest.mark.parametrize(
    "host, line",
    [
        (OPENAI, "GET /"),
        (OPENAI, "POST /v1/unheard"),
        (OPENAI, "PUT /v1/chat/completions"),
        (OPENAI, "POST /v1/messages"),
        (ANTHROPIC, "POST /v1/chat/completions/c1"),
        (ANTHROPIC, "POST /v1/embeddings"),
        (OPENAI, "POST /chat/completions"),
        (ANTHROPIC, "POST /v2/messages"),
        ("openrouter.ai", "POST /api/beta/responses"),
        ("api.cohere.com", "POST /v3/chat"),
        (AZURE, "POST /"),
        (AZURE, "POST /openai/deployments"),
        (AZURE, "POST /openai/deployments/d1"),
        (AZURE, "POST /openai/deployments/d1/files"),
        (AZURE, "POST /openai/deployments/d1/unheard"),
        (ai_gemini.HOST, "POST /batch"),
        (ai_gemini.HOST, "POST /v1beta/openai/unheard"),
        (ai_gemini.HOST, "POST /v1beta/models/g:unheard"),
    ],
)
def test_what_is_in_no_table_is_unknown(host: str, line: str) -> None:
    """A known host's other paths have an unknown effect."""
    intent = read(line, host)

    assert (intent.action, intent.effect, intent.exact) == ("unknown", EffectClass.UNKNOWN, False)
    assert intent.resource.id == host + line.partition(" ")[2]


@pytest.mark.parametrize(
    "line", ["GET /", "POST /v1/unheard", "POST /a/b", "GET /chat/completions/x", "POST /openai/deployments/d1/files"]
)
def test_elsewhere_only_the_usual_paths_are_read(line: str) -> None:
    """What is not plainly a model's is left to other decoders."""
    assert ask(line, OWN) is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks ai no other host is a model's."""
    for host in (OWN, "api.openai.com.example", "openai.azure.com", "xopenai.azure.com"):
        assert ask("POST /v1/chat/completions", host, {"model": "a"}, spoken=frozenset({"npm"})) is None


@pytest.mark.parametrize(
    "line, host, body, headers",
    [
        ("POST /v1/chat/completions", OPENAI, b'{"model":"a","model":"b"}', JSON),
        ("POST /v1/chat/completions", OPENAI, {"model": "a", "Model": "b"}, JSON),
        ("POST /v1/chat/completions", OPENAI, {"model": "*"}, JSON),
        ("POST /v1/chat/completions", OPENAI, b"model=a", (("content-type", "application/x-www-form-urlencoded"),)),
        ("POST /v1/chat/completions", OPENAI, {"model": "a"}, (*JSON, ("x-http-method-override", "DELETE"))),
        ("POST /v1/chat/completions?_method=DELETE", OPENAI, {"model": "a"}, JSON),
        ("POST /v1//chat/completions", OPENAI, {"model": "a"}, JSON),
        ("GET /v1/realtime?model=a&model=b", OPENAI, None, JSON),
        ("GET /v1/realtime?model=*", OPENAI, None, JSON),
        ("GET /v1/models/a%20b", OPENAI, None, JSON),
        ("POST /openai/deployments/*/chat/completions", AZURE, {}, JSON),
        ("POST /openai/deployments/a%2Fb/chat/completions", AZURE, {"model": "/"}, JSON),
    ],
)
def test_hostile_requests_are_refused(
    line: str, host: str, body: dict[str, Any] | bytes | None, headers: Headers
) -> None:
    """What a server could read as another model, method or body is denied."""
    with pytest.raises(IntentError):
        ask(line, host, body, headers)
