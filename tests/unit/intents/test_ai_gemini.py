"""What requests to Google's Generative Language API are."""

import json

import pytest

from proxy.intents.ai_gemini import HOST, Call, read_call, read_tools
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, Headers, RequestView


def ask(line: str, body: object = None, content: str = "application/json", *, unread: bool = False) -> object:
    """Decode `METHOD /path` with a JSON body; `unread` where it has not been read yet."""
    method, _, path = line.partition(" ")
    raw = b"" if body is None else json.dumps(body).encode()
    headers: Headers = (("content-type", content),) if content else ()
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(HOST, 443),
        path=path,
        query=None,
        headers=headers,
        body_length=None if unread else len(raw),
        body=None if unread else BodyPrefix(data=raw, is_whole=True),
    )
    return read_call(view, path[1:].split("/"))


@pytest.mark.parametrize(
    "path, action, kind, model",
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "infer", "chat", "gemini-2.5-pro"),
        ("/v1/models/gemini-2.5-pro%3AgenerateContent", "infer", "chat", "gemini-2.5-pro"),
        ("/v1alpha/tunedModels/mine:generateContent", "infer", "chat", "tunedModels/mine"),
        ("/v1beta/models/text-embedding-004:embedContent", "infer", "embedding", "text-embedding-004"),
        ("/v1beta/models/veo-3:predictLongRunning", "infer", "prediction", "veo-3"),
        ("/v1beta/models/gemini-2.5-pro:batchGenerateContent", "batch.create", "requests", "gemini-2.5-pro"),
        ("/v1beta/models/gemini-2.5-pro:countTokens", "tokens.count", "", "gemini-2.5-pro"),
    ],
)
def test_the_model_stands_in_the_path(path: str, action: str, kind: str, model: str) -> None:
    """The method after the colon says what is done with the model before it."""
    call = ask(f"POST {path}", {"contents": []})

    assert isinstance(call, Call)
    assert (call.action, call.kind, call.model) == (action, kind, model)


def test_a_stream_is_a_method_of_its_own() -> None:
    """Whether an answer streams stands in the path."""
    line = "POST /v1beta/models/g:{}enerateContent"
    assert ask(line.format("streamG"), {}) == Call(action="infer", kind="chat", model="g", facts={"stream": "true"})
    assert ask(line.format("g"), {}) == Call(action="infer", kind="chat", model="g", facts={"stream": "false"})


def test_an_inference_without_a_body_has_no_facts() -> None:
    """Nothing is asked for where there is nothing."""
    assert ask("POST /v1beta/models/g:generateContent") == Call(action="infer", kind="chat", model="g")


def test_the_body_is_wanted_for_the_tools() -> None:
    """The tools stand in the body, anywhere."""
    wanted = ask("POST /v1beta/models/g:generateContent", unread=True)

    assert isinstance(wanted, BodyWanted)
    assert wanted.enough is None


@pytest.mark.parametrize(
    "body, words",
    [
        ({"tools": [{"googleSearch": {}}, {"code_execution": {}}]}, {"google_search", "code_execution"}),
        ({"tools": [{"functionDeclarations": [{"parameters": {"tools": [1]}}]}]}, set()),
        ({"tools": [{"function_declarations": [], "url_context": {}}]}, {"url_context"}),
        ({"tools": {"googleMaps": {}}}, {"google_maps"}),
        ({"Tools": None}, set()),
        ({"cached_content": "cachedContents/x"}, {"cached_content"}),
        ({"contents": [{"parts": [{"functionResponse": {"response": {"tools": [{"googleSearch": {}}]}}}]}]}, set()),
        ({"batch": {"inputConfig": {"requests": {"requests": [{"request": {"tools": [{"googleSearch": {}}]}}]}}}},
         {"google_search"}),
        ([1, "a"], set()),
    ],
)  # fmt: skip
def test_the_tools_of_the_server(body: object, words: set[str]) -> None:
    """Both spellings of a tool are one word; what the caller declares is none."""
    assert read_tools(body) == words


def test_tools_are_a_fact_of_the_call() -> None:
    """The words are listed in order."""
    call = ask("POST /v1beta/models/g:embedContent", {"tools": [{"urlContext": {}, "googleSearch": {}}]})

    assert isinstance(call, Call)
    assert call.facts == {"server_tools": "google_search,url_context"}


@pytest.mark.parametrize(
    "line, action",
    [
        ("GET /v1beta/models", "model.list"),
        ("GET /v1beta/files", "file.list"),
        ("HEAD /v1beta/files/f1", "file.get"),
        ("POST /v1beta/files", "file.upload"),
        ("DELETE /v1beta/files/f1", "file.delete"),
        ("POST /upload/v1beta/files", "file.upload"),
        ("PUT /upload/v1beta/files", "file.upload"),
        ("POST /upload/v1beta/fileSearchStores/s:uploadToFileSearchStore", "file.upload"),
        ("GET /download/v1beta/files/f:download", "file.get"),
        ("GET /v1beta/cachedContents", "object.list"),
        ("GET /v1beta/cachedContents/c", "object.get"),
        ("POST /v1beta/cachedContents", "object.create"),
        ("PATCH /v1beta/cachedContents/c", "object.update"),
        ("DELETE /v1beta/cachedContents/c", "object.delete"),
        ("POST /v1beta/batches/b:cancel", "object.cancel"),
        ("PATCH /v1beta/batches/b:updateGenerateContentBatch", "object.update"),
        ("POST /v1beta/corpora/c:query", "store.search"),
        ("POST /v1beta/fileSearchStores/s:importFile", "file.upload"),
        ("POST /v1beta/tunedModels", "tune.create"),
        ("DELETE /v1beta/tunedModels/t", "object.delete"),
        ("POST /v1beta/tunedModels/t:transferOwnership", "model.share"),
        ("POST /v1beta/tunedModels/t/permissions", "model.share"),
        ("GET /v1beta/tunedModels/t/permissions", "organization.get"),
    ],
)
def test_what_the_api_keeps(line: str, action: str) -> None:
    """Files, caches, stores and tuned models are read, made, changed and shared."""
    call = ask(line)

    assert isinstance(call, Call)
    assert call.action == action


def test_a_model_is_looked_at() -> None:
    """A model's own page names it."""
    assert ask("GET /v1beta/models/gemini-2.5-pro") == Call(action="model.get", model="gemini-2.5-pro")


@pytest.mark.parametrize(
    "line",
    ["GET /", "GET /v1beta", "GET /v2/models", "POST /batch", "POST /v1beta/models/g", "POST /v1beta/models/g:unheard",
     "POST /v1beta/models/:generateContent", "POST /v1beta/models/a/b:generateContent", "GET /v1beta/unheard",
     "POST /v1beta/corpora/c:unheard", "DELETE /v1beta/corpora/c:query", "PUT /v1beta/files/f",
     "GET /upload/v1beta/files", "POST /download/v1beta/files/f", "POST /upload/v1beta/models",
     "POST /upload/x/files", "POST /upload/v1beta",
     "POST /google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent"],
)  # fmt: skip
def test_the_rest_is_in_no_table(line: str) -> None:
    """What is not listed is not guessed."""
    assert ask(line) is None


@pytest.mark.parametrize(
    "path, body, content",
    [
        ("/v1beta/models/*:generateContent", {}, "application/json"),
        ("/v1beta/models/a%20b:generateContent", {}, "application/json"),
        ("/v1beta/models/g:generateContent", [], "application/json"),
        ("/v1beta/models/g:generateContent", {"tools": ["googleSearch"]}, "application/json"),
        ("/v1beta/models/g:generateContent", {}, "application/x-www-form-urlencoded"),
        ("/v1beta/models/g:generateContent", {}, "application/x-protobuf"),
    ],
)
def test_hostile_requests_are_refused(path: str, body: object, content: str) -> None:
    """A pattern for a model, or a body in another form, is denied."""
    with pytest.raises(IntentError):
        ask(f"POST {path}", body, content)
