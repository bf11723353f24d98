"""What a request to a language model says: the models, whether it streams, and the tools that the server itself runs.

A tool of the server's reaches the web, runs code or calls another server with what stands in the prompt. A type that
is not known to be run by the caller counts as the server's. A body names a model once; what else it names (fallbacks,
a tool's own model) is inferred with too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.intents.multipart import read_boundary, read_parts
from proxy.intents.packages import UPLOAD_LIMIT
from proxy.intents.reading import media_type, member, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

JSON_LIMIT: Final = 8 * 1024 * 1024
"""The longest JSON body. One that is longer is denied."""
MAX_MODELS: Final = 64
_MODEL: Final = re.compile(r"(?=.{1,256}\Z)[@~]?[A-Za-z0-9_][A-Za-z0-9._:@~-]*(?:/[A-Za-z0-9_@][A-Za-z0-9._:@~-]*)*")
_TYPE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_.:-]{0,63}")
_DATED: Final = re.compile(r"_20[0-9]{6}(?:_[0-9]{2})?\Z|_preview(?:_20[0-9_]{2,8})?\Z|_20[0-9]{2}_[0-9]{2}_[0-9]{2}\Z")
_CALLER: Final = frozenset(
    {"function", "custom", "bash", "text_editor", "computer", "computer_use", "memory", "local_shell", "apply_patch",
     "computer_toolset", "browser_toolset"}
)  # fmt: skip
"""Types of tools, without their dates, that the caller runs."""
_NAMED_LISTS: Final = frozenset({"models", "fallbacks", "fallback"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a body asks for. `models` is empty where it names none; the first is the one that is asked."""

    models: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def check_model(text: object) -> str:
    """Return a model's name. Raises IntentError for what is none."""
    if not isinstance(text, str) or _MODEL.fullmatch(text) is None:
        raise IntentError(f"{str(text)[:64]!r} is not the name of a model")
    return text


def read_asked(view: RequestView, kind: str) -> Asked | BodyWanted:
    """Read the body of an inference, a batch or a tuning. Raises IntentError."""
    if view.body_length == 0:
        return Asked()
    content = media_type(view)
    if content == "multipart/form-data":
        return _read_form(view)
    if content not in {"application/json", ""}:
        raise IntentError("the body must be application/json to be read")
    body = read_body(view, JSON_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    found = read_object(body)
    return read_requests(found) if kind == "requests" else read_one(found)


def _read_form(view: RequestView) -> Asked | BodyWanted:
    """Read a form with a file: audio, an image. Its fields may stand in any order, so the whole of it."""
    body = read_body(view, UPLOAD_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    parts = read_parts(body, read_boundary(view))
    named = [part for part in parts if part.name.lower().removesuffix("[]") == "model"]
    if len(named) > 1 or any(part.name != "model" for part in named):
        raise IntentError("the form names a model twice, or in an odd way")
    stream = [part.text for part in parts if part.name == "stream"]
    facts = {"stream": stream[0]} if stream in (["true"], ["false"]) else {}
    return Asked(models=tuple(check_model(part.text) for part in named), facts=facts)


def read_requests(found: Mapping[str, Any]) -> Asked:
    """Read a batch that holds its requests: the models and tools of all of them."""
    requests = member(found, "requests")
    if not isinstance(requests, list) or not requests:
        raise IntentError("the batch has no requests")
    models: dict[str, None] = {}
    facts: dict[str, set[str]] = {}
    for request in requests:
        parameters = member(request, "params") if isinstance(request, dict) else None
        if not isinstance(parameters, dict):
            raise IntentError("a request of the batch has no parameters")
        one = read_one(parameters)
        if not one.models:
            raise IntentError("a request of the batch names no model")
        models.update(dict.fromkeys(one.models))
        for name, value in one.facts.items():
            facts.setdefault(name, set()).update(value.split(","))
    _limit(models)
    return Asked(
        models=tuple(models),
        facts={name: ",".join(sorted(values)) for name, values in facts.items() if name != "stream"},
    )


def read_one(found: Mapping[str, Any]) -> Asked:
    """Read one request's JSON."""
    facts: dict[str, str] = {}
    stream = member(found, "stream")
    if stream is not None:
        if not isinstance(stream, bool):
            raise IntentError("`stream` is neither true nor false")
        facts["stream"] = str(stream).lower()
    tools = _dicts(found, "tools")
    servers = _dicts(found, "mcp_servers")
    words = _read_tools(found, tools) | ({"mcp"} if servers else set())
    if words:
        facts["server_tools"] = ",".join(sorted(words))
    reached = {_read_host(server) for server in (*servers, *(tool for tool in tools if _word(tool) == "mcp"))}
    if reached:
        facts["mcp"] = ",".join(sorted(reached))
    return Asked(models=_read_models(found, tools), facts=facts)


def _dicts(found: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    values = member(found, name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise IntentError(f"{name!r} is not a list of objects")
    return values


def _word(tool: Mapping[str, Any]) -> str:
    """Return a tool's type without its date. A tool without a type is the caller's (Anthropic: `custom`)."""
    kind = member(tool, "type")
    if kind is None:
        return "custom"
    if not isinstance(kind, str) or _TYPE.fullmatch(kind) is None:
        raise IntentError("a tool has no plain type")
    return _DATED.sub("", kind)


def _read_tools(found: Mapping[str, Any], tools: list[Mapping[str, Any]]) -> set[str]:
    """Return the words for everything that the server does beside the model."""
    words = {_word(tool) for tool in tools} - _CALLER
    if member(found, "web_search_options") is not None:
        words.add("web_search")
    if member(found, "data_sources") is not None:
        words.add("data_sources")
    if isinstance(member(found, "prompt"), dict):  # OpenAI: a prompt kept there brings its own tools
        words.add("stored_prompt")
    for name in ("plugins", "connectors"):  # OpenRouter; Cohere
        for each in _dicts(found, name):
            word = member(each, "id")
            words.add(word if isinstance(word, str) and _TYPE.fullmatch(word) is not None else name)
    return words


def _read_host(server: Mapping[str, Any]) -> str:
    """Return the host of an MCP server that the model's server will call, or `connector` for one of its own."""
    address = member(server, "server_url") or member(server, "url")
    if address is None:
        return "connector"
    try:
        host = urlsplit(address).hostname if isinstance(address, str) else None
    except ValueError:
        host = None
    if not host or not host.isascii() or "," in host:
        raise IntentError("an MCP server has no plain address")
    return host


def _read_models(found: Mapping[str, Any], tools: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the model asked, then every other one that is named: whichever answers, all must be allowed."""
    models: dict[str, None] = {}
    first = member(found, "model")
    if first is not None:
        models[check_model(first)] = None
    for name, value in found.items():
        if name.lower() in _NAMED_LISTS and isinstance(value, str | list | dict):
            values = value if isinstance(value, list) else [value]
            models.update((check_model(_model_of(each)), None) for each in values)
    models.update((check_model(_model_of(tool)), None) for tool in tools if member(tool, "model") is not None)
    _limit(models)
    return tuple(models)


def _model_of(value: object) -> object:
    return member(value, "model") if isinstance(value, dict) else value


def _limit(models: Mapping[str, None]) -> None:
    if len(models) > MAX_MODELS:
        raise IntentError(f"the body names more than {MAX_MODELS} models")
