"""What a request to a language model says."""

import json
from typing import Any

import pytest

from proxy.intents import ai_body
from proxy.intents.ai_body import Asked, check_model, read_asked, read_one, read_requests
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, Headers, RequestView

JSON = "application/json"


def ask(body: bytes | None, content: str = JSON, kind: str = "chat", length: int | None = 9) -> Asked | BodyWanted:
    headers: Headers = (("content-type", content),) if content else ()
    view = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("x.example", 443),
        path="/",
        query=None,
        headers=headers,
        body_length=length,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    return read_asked(view, kind)


def read(**members: Any) -> Asked:
    answer = ask(json.dumps(members).encode())
    assert isinstance(answer, Asked)
    return answer


def form(*parts: tuple[str, bytes]) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="'
    out = b"".join(head + name.encode() + b'"\r\n\r\n' + value + b"\r\n" for name, value in parts)
    file = head + b'image[]"; filename="a.png"\r\nContent-Type: image/png\r\n\r\nx\r\n'
    return out + file + b"--b--\r\n"


def test_the_body_is_wanted_whole() -> None:
    """A second `model` could follow any prefix."""
    for content in (JSON, "", "multipart/form-data; boundary=b"):
        wanted = ask(None, content)
        assert isinstance(wanted, BodyWanted)
        assert wanted.enough is None
    wanted = ask(None)
    assert isinstance(wanted, BodyWanted)
    assert wanted.limit == ai_body.JSON_LIMIT


def test_no_body_asks_for_no_model() -> None:
    """What has no body names nothing."""
    assert ask(None, length=0) == Asked()


@pytest.mark.parametrize(
    "text",
    ["gpt-4o", "claude-opus-4-1", "ft:gpt-4o:acme::id", "anthropic/claude-3.5-sonnet:free", "@preset/mine", "a/b/c@1"],
)
def test_names_of_models(text: str) -> None:
    """A name may have a maker, a variant and a tuning."""
    assert check_model(text) == text


@pytest.mark.parametrize("text", ["", "*", "a/*", "a b", "/a", "a/", "a//b", "../a", "a\n", "a" * 257, None, 1, ["a"]])
def test_what_is_no_model_is_refused(text: object) -> None:
    """A pattern, a path or another value is no name."""
    with pytest.raises(IntentError):
        check_model(text)


@pytest.mark.parametrize(
    "members, models",
    [
        ({"model": "a"}, ("a",)),
        ({}, ()),
        ({"model": None}, ()),
        ({"model": "a", "models": ["b", "a", "c"]}, ("a", "b", "c")),
        ({"model": "a", "fallbacks": [{"model": "b"}]}, ("a", "b")),
        ({"model": "a", "fallback": {"model": "b"}}, ("a", "b")),
        ({"model": "a", "Models": "b"}, ("a", "b")),
        ({"model": "a", "fallback": True}, ("a",)),
        ({"model": "a", "tools": [{"type": "image_generation", "model": "b"}]}, ("a", "b")),
    ],
)
def test_every_model_is_named(members: dict[str, Any], models: tuple[str, ...]) -> None:
    """Whichever model may answer, or be called by a tool, is one of those that are asked."""
    assert read(**members).models == models


@pytest.mark.parametrize(
    "members, facts",
    [
        ({}, {}),
        ({"stream": True}, {"stream": "true"}),
        ({"stream": False}, {"stream": "false"}),
        ({"stream": None, "tools": None}, {}),
        ({"tools": [{"name": "x"}, {"type": "function"}, {"type": "custom"}, {"type": "bash_20250124"}]}, {}),
        ({"tools": [{"type": "computer_use_preview"}, {"type": "text_editor_20250728"}]}, {}),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"server_tools": "web_search"}),
        ({"tools": [{"type": "web_search_preview"}]}, {"server_tools": "web_search"}),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, {"server_tools": "web_search"}),
        ({"tools": [{"type": "web_search_2025_08_26"}]}, {"server_tools": "web_search"}),
        ({"tools": [{"type": "code_interpreter"}, {"type": "code_execution_20250825"}]},
         {"server_tools": "code_execution,code_interpreter"}),
        ({"tools": [{"type": "not_known_yet"}]}, {"server_tools": "not_known_yet"}),
        ({"tools": [{"type": "mcp", "server_url": "https://MCP.example/sse"}]},
         {"server_tools": "mcp", "mcp": "mcp.example"}),
        ({"tools": [{"type": "mcp", "connector_id": "connector_dropbox"}]},
         {"server_tools": "mcp", "mcp": "connector"}),
        ({"mcp_servers": [{"type": "url", "url": "https://b.example/"}, {"type": "url", "url": "https://a.example/"}]},
         {"server_tools": "mcp", "mcp": "a.example,b.example"}),
        ({"web_search_options": {}}, {"server_tools": "web_search"}),
        ({"data_sources": []}, {"server_tools": "data_sources"}),
        ({"plugins": [{"id": "web"}]}, {"server_tools": "web"}),
        ({"connectors": [{"id": "a b"}]}, {"server_tools": "connectors"}),
        ({"prompt": {"id": "p1"}}, {"server_tools": "stored_prompt"}),
        ({"prompt": "a text"}, {}),
    ],
)  # fmt: skip
def test_what_the_server_does_is_a_fact(members: dict[str, Any], facts: dict[str, str]) -> None:
    """The server's own tools are told from the caller's, without their dates; an unknown one is the server's."""
    assert read(**members).facts == facts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"model": "a", "model": "b"}',
        b'{"model": "a", "Model": "b"}',
        b'{"model": "a", "\\u006dodel": "b"}',
        b'{"model": 1}',
        b'{"model": {"id": "a"}}',
        b'{"model": "*"}',
        b'{"models": [1]}',
        b'{"models": [{"name": "a"}]}',
        b'{"fallbacks": [null]}',
        b'{"stream": "true"}',
        b'{"tools": {}}',
        b'{"tools": [1]}',
        b'{"tools": [{"type": 1}]}',
        b'{"tools": [{"type": "a,b"}]}',
        b'{"tools": [{"type": "mcp", "server_url": "no address"}]}',
        b'{"tools": [{"type": "mcp", "server_url": "https://[::1"}]}',
        b'{"tools": [{"type": "mcp", "server_url": 1}]}',
        b'{"mcp_servers": [{"url": "https://a,b.example"}]}',
        b'{"plugins": "web"}',
        json.dumps({"models": [f"m{n}" for n in range(65)]}).encode(),
    ],
)
def test_a_body_that_readers_take_differently_is_refused(body: bytes) -> None:
    """A second model, an odd one, or a tool that cannot be told is denied."""
    with pytest.raises(IntentError):
        ask(body)


@pytest.mark.parametrize("content", ["application/x-www-form-urlencoded", "text/plain", "application/json2"])
def test_another_content_type_is_refused(content: str) -> None:
    """JSON that a server could take for a form is denied."""
    with pytest.raises(IntentError, match="application/json"):
        ask(b'{"model": "a", "x": "&model=b&"}', content)


def test_a_form_is_read_for_its_model() -> None:
    """A form with a file names its model in a field, wherever it stands."""
    content = "multipart/form-data; boundary=b"
    found = ask(form(("stream", b"true"), ("prompt", b"x"), ("model", b"whisper-1")), content)

    assert found == Asked(models=("whisper-1",), facts={"stream": "true"})
    assert ask(form(("stream", b"1")), content) == Asked()
    for parts in (
        (("model", b"a"), ("model", b"b")),
        (("model[]", b"a"),),
        (("Model", b"a"),),
        (("model", b"a"), ("MODEL[]", b"b")),
        (("model", b"*"),),
    ):
        with pytest.raises(IntentError):
            ask(form(*parts), content)


def test_a_batch_is_all_of_its_requests() -> None:
    """Models and tools of every request of a batch are told."""
    one = {"custom_id": "1", "params": {"model": "a", "stream": True, "tools": [{"type": "web_fetch_20250910"}]}}
    other = {"custom_id": "2", "params": {"model": "b", "tools": [{"type": "web_search_20250305"}]}}
    found = ask(json.dumps({"requests": [one, other, one]}).encode(), kind="requests")

    assert found == Asked(models=("a", "b"), facts={"server_tools": "web_fetch,web_search"})


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"requests": []},
        {"requests": {}},
        {"requests": [1]},
        {"requests": [{}]},
        {"requests": [{"params": {}}]},
        {"requests": [{"params": {"model": "a"}}, {"params": {"messages": []}}]},
        {"requests": [{"params": {"model": f"m{n}"}} for n in range(65)]},
    ],
)
def test_a_batch_that_does_not_say_is_refused(found: dict[str, Any]) -> None:
    """A request without a model, or too many models, is denied."""
    with pytest.raises(IntentError):
        read_requests(found)


def test_a_plain_request_has_one_model() -> None:
    """The common case says what it is and nothing else."""
    assert read_one({"model": "a", "messages": []}) == Asked(models=("a",))
