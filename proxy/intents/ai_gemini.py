"""Google's Generative Language API (ai.google.dev, "All methods"): `/v1beta/models/MODEL:METHOD` and what it keeps.

The model stands in the path. A body may say things in two spellings, as every Google API takes them (proto3 JSON):
`functionDeclarations` and `function_declarations` are one name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.intents.ai_body import JSON_LIMIT, check_model
from proxy.intents.reading import decode_component, media_type, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

HOST: Final = "generativelanguage.googleapis.com"
_VERSION: Final = re.compile(r"v1(?:alpha|beta[0-9]*)?")
_METHODS: Final = {
    "generateContent": ("infer", "chat"),
    "streamGenerateContent": ("infer", "chat"),
    "generateMessage": ("infer", "chat"),
    "generateText": ("infer", "completion"),
    "generateAnswer": ("infer", "chat"),
    "embedContent": ("infer", "embedding"),
    "batchEmbedContents": ("infer", "embedding"),
    "embedText": ("infer", "embedding"),
    "batchEmbedText": ("infer", "embedding"),
    "predict": ("infer", "prediction"),
    "predictLongRunning": ("infer", "prediction"),
    "batchGenerateContent": ("batch.create", "requests"),
    "asyncBatchEmbedContent": ("batch.create", "requests"),
    "countTokens": ("tokens.count", ""),
    "countMessageTokens": ("tokens.count", ""),
    "countTextTokens": ("tokens.count", ""),
}
_MAKERS: Final = frozenset({"models", "tunedModels", "dynamic"})
_KEPT: Final = frozenset({"cachedContents", "corpora", "fileSearchStores", "batches", "tunedModels", "operations"})
_FILES: Final = frozenset({"files", "generatedFiles"})
_CALLER: Final = frozenset({"functiondeclarations", "computeruse"})
_WORDS: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_UNREAD: Final = frozenset({"contents", "content", "functiondeclarations", "responseschema", "responsejsonschema"})
"""Members in which the word `tools` is the caller's own."""
_VERBS: Final = {
    "cancel": "object.cancel",
    "query": "store.search",
    "importFile": "file.upload",
    "batchCreate": "object.create",
    "batchUpdate": "object.update",
    "batchDelete": "object.delete",
    "updateGenerateContentBatch": "object.update",
    "updateEmbedContentBatch": "object.update",
}
_CHANGES: Final = {"POST": "object.create", "PATCH": "object.update", "DELETE": "object.delete"}
_FILE_CHANGES: Final = {"POST": "file.upload", "DELETE": "file.delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a request to this API is. `model` is None where it is about something else."""

    action: str
    kind: str = ""
    model: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def read_call(view: RequestView, segments: Sequence[str]) -> Call | BodyWanted | None:
    """Read a request; None when it is in no table. Raises IntentError."""
    if segments[:1] in (["upload"], ["download"]):
        return _read_transfer(view, segments)
    if not segments or _VERSION.fullmatch(segments[0]) is None or len(segments) == 1:
        return None
    collection = segments[1]
    name, _, verb = decode_component(segments[-1]).rpartition(":")
    if view.method == "POST" and collection in _MAKERS and name and len(segments) == 3 and verb in _METHODS:
        return _read_inference(view, check_model(name), collection, verb)
    if collection == "models" and view.method in {"GET", "HEAD"}:
        if len(segments) == 2:
            return Call(action="model.list")
        return Call(action="model.get", model=check_model(decode_component(segments[2])))
    return _read_kept(view, segments, verb if name else "")


def _read_transfer(view: RequestView, segments: Sequence[str]) -> Call | None:
    """Read `/upload/v1beta/files` and its like, and `/download/v1beta/files/ID:download`."""
    if len(segments) < 3 or _VERSION.fullmatch(segments[1]) is None or segments[2] not in {*_FILES, "fileSearchStores"}:
        return None
    if segments[0] == "upload" and view.method in {"POST", "PUT"}:
        return Call(action="file.upload")
    return Call(action="file.get") if segments[0] == "download" and view.method in {"GET", "HEAD"} else None


def _read_kept(view: RequestView, segments: Sequence[str], verb: str) -> Call | None:
    """Read what the API keeps: files, caches, stores, tuned models and their permissions."""
    collection, depth = segments[1], len(segments)
    method = "GET" if view.method == "HEAD" else view.method
    if "permissions" in segments or verb == "transferOwnership":
        return Call(action="organization.get" if method == "GET" else "model.share")
    if collection not in _FILES | _KEPT:
        return None
    if collection == "tunedModels" and method == "POST" and depth == 2:
        return Call(action="tune.create", kind="tune", model="*")
    if method == "GET":
        word = "file" if collection in _FILES else "object"
        return Call(action=f"{word}.list" if depth == 2 else f"{word}.get")
    if verb:
        action = _VERBS.get(verb) if method in {"POST", "PATCH"} else None
    else:
        action = (_FILE_CHANGES if collection in _FILES else _CHANGES).get(method)
    return None if action is None else Call(action=action)


def _read_inference(view: RequestView, name: str, collection: str, verb: str) -> Call | BodyWanted:
    action, kind = _METHODS[verb]
    model = name if collection == "models" else f"{collection}/{name}"
    if action == "tokens.count":
        return Call(action=action, model=model)
    if view.body_length == 0:
        return Call(action=action, kind=kind, model=model)
    if media_type(view) not in {"application/json", ""}:
        raise IntentError("the body must be application/json to be read")
    body = read_body(view, JSON_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    facts = {"stream": str(verb == "streamGenerateContent").lower()} if kind == "chat" else {}
    words = sorted(read_tools(read_object(body)))
    if words:
        facts["server_tools"] = ",".join(words)
    return Call(action=action, kind=kind, model=model, facts=facts)


def read_tools(found: object) -> set[str]:
    """Return the words for the tools of the server, of a request or of all that a batch holds. Raises IntentError."""
    words: set[str] = set()
    pending: list[object] = [found]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(inner for name, inner in value.items() if _fold(name) not in _UNREAD)
            words |= _read_list(value)
            if any(_fold(name) == "cachedcontent" for name in value):  # it brings the tools it was made with
                words.add("cached_content")
    return words


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def _read_list(value: Mapping[str, Any]) -> set[str]:
    """Return the words of the tools that stand in this object itself."""
    words: set[str] = set()
    for name, tools in value.items():
        if _fold(name) != "tools" or tools is None:
            continue
        for tool in tools if isinstance(tools, list) else [tools]:
            if not isinstance(tool, dict):
                raise IntentError("a tool is not an object")
            words |= {_WORDS.sub(r"_\1", key).lower() for key in tool if _fold(key) not in _CALLER}
    return words
