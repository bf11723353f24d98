"""What can be asked of the language model APIs: lines of method, path and action, and the harm of each action.

Paths are below the API's version. From the vendors' references: OpenAI and Anthropic (their SDKs' `api.md`), Mistral,
Cohere, Groq, OpenRouter, Azure OpenAI. A third word says where a body names the model, and becomes the fact `kind`.
"""

from dataclasses import dataclass
from typing import Final

from proxy.intents.routes import Routes, compile_routes
from proxy.model.intent import EffectClass

EFFECTS: Final = {
    "infer": EffectClass.EXECUTE,
    "agent.run": EffectClass.EXECUTE,
    "batch.create": EffectClass.EXECUTE,
    "container.create": EffectClass.EXECUTE,
    "eval.run": EffectClass.EXECUTE,
    "run.resume": EffectClass.EXECUTE,
    "tune.create": EffectClass.EXECUTE,
    "tokens.count": EffectClass.READ,
    "model.get": EffectClass.READ,
    "file.get": EffectClass.READ,
    "object.get": EffectClass.READ,
    "account.get": EffectClass.READ,
    "store.search": EffectClass.READ,
    "model.list": EffectClass.LIST,
    "file.list": EffectClass.LIST,
    "object.list": EffectClass.LIST,
    "file.upload": EffectClass.WRITE,
    "object.create": EffectClass.WRITE,
    "object.update": EffectClass.WRITE,
    "object.cancel": EffectClass.WRITE,
    "model.delete": EffectClass.DELETE,
    "file.delete": EffectClass.DELETE,
    "object.delete": EffectClass.DELETE,
    "organization.get": EffectClass.ADMIN,
    "organization.set": EffectClass.ADMIN,
    "model.share": EffectClass.ADMIN,
    "connector.set": EffectClass.ADMIN,
    "key.list": EffectClass.CREDENTIAL,
    "key.set": EffectClass.CREDENTIAL,
    "vault.get": EffectClass.CREDENTIAL,
    "vault.set": EffectClass.CREDENTIAL,
    "token.create": EffectClass.CREDENTIAL,
    "token.exchange": EffectClass.CREDENTIAL,
    "unknown": EffectClass.UNKNOWN,
}
"""Every action. An `object` is what an API keeps for its users: threads, stores, stored answers, finished batches."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a path is: its action, and the kind of a body that names models, '' where none does."""

    action: str
    kind: str = ""


_COMMON: Final = """
POST /files file.upload
GET /files file.list
GET /files/{rest...} file.get
DELETE /files/{id} file.delete
GET /models model.list
GET /models/{model} model.get
"""

_OPENAI: Final = """
POST /chat/completions infer chat
POST /completions infer completion
POST /edits infer completion
POST /engines/{model}/completions infer completion
POST /engines/{model}/embeddings infer embedding
POST /responses infer response
GET /responses infer response
POST /responses/compact infer response
POST /responses/input_tokens tokens.count
POST /embeddings infer embedding
POST /moderations infer moderation
POST /images/generations infer image
POST /images/edits infer image
POST /images/variations infer image
POST /audio/speech infer speech
POST /audio/transcriptions infer transcription
POST /audio/translations infer transcription
POST /videos infer video
POST /videos/edits infer video
POST /videos/extensions infer video
POST /videos/{id}/remix infer video
GET /realtime infer realtime
POST /realtime/calls infer realtime
POST /realtime/calls/{rest...} run.resume
POST /realtime/client_secrets token.create
POST /realtime/sessions token.create
POST /realtime/transcription_sessions token.create
POST /chatkit/sessions token.create
POST /threads/runs infer run
POST /threads/{id}/runs infer run
POST /threads/{id}/runs/{run}/submit_tool_outputs run.resume
POST /batches batch.create stored
POST /fine_tuning/jobs tune.create tune
POST /fine_tuning/checkpoints/{id}/permissions model.share
GET /fine_tuning/checkpoints/{id}/permissions object.list
DELETE /fine_tuning/checkpoints/{id}/permissions/{rest...} model.share
POST /fine_tuning/alpha/graders/run eval.run
POST /fine_tuning/alpha/graders/validate tokens.count
POST /fine_tuning/jobs/{id}/resume run.resume
POST /fine_tuning/jobs/{id}/cancel object.cancel
POST /fine_tuning/jobs/{id}/pause object.cancel
POST /evals/{id}/runs eval.run
POST /containers container.create
POST /vector_stores/{id}/search store.search
POST /uploads file.upload
POST /uploads/{id}/parts file.upload
POST /uploads/{id}/complete file.upload
POST /uploads/{id}/cancel object.cancel
POST /containers/{id}/files file.upload
POST /videos/characters file.upload
DELETE /models/{model} model.delete
GET /organization organization.get
GET /organization/{rest...} organization.get
POST /organization/{rest...} organization.set
DELETE /organization/{rest...} organization.set
GET /projects/{rest...} organization.get
POST /projects/{rest...} organization.set
DELETE /projects/{rest...} organization.set
"""
_OPENAI_OBJECTS: Final = (
    "assistants", "threads", "vector_stores", "conversations", "evals", "skills", "batches", "fine_tuning/jobs",
    "containers", "videos", "responses", "chat/completions", "chatkit/threads",
)  # fmt: skip

_ANTHROPIC: Final = """
POST /messages infer chat
POST /complete infer completion
POST /messages/count_tokens tokens.count
POST /messages/batches batch.create requests
POST /oauth/token token.exchange
GET /organizations/{rest...} organization.get
POST /organizations/{rest...} organization.set
DELETE /organizations/{rest...} organization.set
POST /sessions agent.run
POST /sessions/{rest...} agent.run
POST /environments/{rest...} agent.run
POST /deployments agent.run
POST /deployments/{rest...} agent.run
POST /dreams agent.run
POST /dreams/{id}/cancel object.cancel
GET /vaults vault.get
GET /vaults/{rest...} vault.get
POST /vaults vault.set
POST /vaults/{rest...} vault.set
DELETE /vaults/{rest...} vault.set
GET /tunnels vault.get
GET /tunnels/{rest...} vault.get
POST /tunnels vault.set
POST /tunnels/{rest...} vault.set
DELETE /tunnels/{rest...} vault.set
"""
_ANTHROPIC_OBJECTS: Final = (
    "messages/batches", "agents", "sessions", "environments", "deployments", "deployment_runs", "memory_stores",
    "dreams", "user_profiles", "skills",
)  # fmt: skip

_MISTRAL: Final = """
POST /fim/completions infer completion
POST /agents/completions infer agent
POST /chat/moderations infer moderation
POST /classifications infer classification
POST /chat/classifications infer classification
POST /ocr infer ocr
POST /conversations infer conversation
POST /conversations/{id} infer conversation
POST /conversations/{id}/restart infer conversation
POST /batch/jobs batch.create job
POST /batch/jobs/{id}/cancel object.cancel
POST /fine_tuning/jobs/{id}/start run.resume
PATCH /fine_tuning/models/{id} object.update
POST /fine_tuning/models/{id}/archive object.update
DELETE /fine_tuning/models/{id}/archive object.update
"""
_MISTRAL_OBJECTS: Final = ("agents", "libraries", "batch/jobs")

_OPENROUTER: Final = """
GET /models/{maker}/{model}/endpoints model.get
GET /models/count model.list
GET /models/user model.list
GET /embeddings/models model.list
GET /endpoints/zdr model.list
GET /providers model.list
GET /credits account.get
GET /activity account.get
GET /generation account.get
GET /key account.get
POST /credits/coinbase organization.set
GET /keys key.list
GET /keys/{id} key.list
POST /keys key.set
PATCH /keys/{id} key.set
DELETE /keys/{id} key.set
POST /auth/keys token.exchange
POST /auth/keys/code token.create
"""

_COHERE: Final = """
POST /chat infer chat
POST /generate infer completion
POST /embed infer embedding
POST /rerank infer rerank
POST /classify infer classification
POST /summarize infer completion
POST /tokenize tokens.count
POST /detokenize tokens.count
POST /embed-jobs batch.create job
POST /embed-jobs/{id}/cancel object.cancel
POST /datasets file.upload
GET /datasets file.list
GET /datasets/{rest...} file.get
DELETE /datasets/{id} file.delete
POST /finetuning/finetuned-models tune.create tune
PATCH /finetuning/finetuned-models/{id} object.update
POST /connectors connector.set
PATCH /connectors/{id} connector.set
DELETE /connectors/{id} connector.set
POST /connectors/{id}/oauth/authorize token.create
POST /check-api-key account.get
GET /models model.list
GET /models/{model} model.get
"""
_COHERE_OBJECTS: Final = ("embed-jobs", "finetuning/finetuned-models", "connectors")


def _compile(*texts: str, objects: tuple[str, ...] = ()) -> Routes[Route]:
    """Compile lines; a later one takes the place of an earlier. `objects` are read, made, changed and deleted.

    What is changed in an object's parts (a message of a thread) is a change of it, so the whole tree below is `update`;
    a line of its own goes before.
    """
    table: dict[str, Route] = {}
    for name in objects:
        table[f"GET /{name}"] = Route("object.list")
        table[f"GET /{name}/{{rest...}}"] = Route("object.get")
        table[f"POST /{name}"] = Route("object.create")
        table[f"POST /{name}/{{rest...}}"] = Route("object.update")
        table[f"PUT /{name}/{{rest...}}"] = Route("object.update")
        table[f"PATCH /{name}/{{rest...}}"] = Route("object.update")
        table[f"DELETE /{name}/{{rest...}}"] = Route("object.delete")
    for line in "".join(texts).split("\n"):
        if line:
            method, path, action, *kind = line.split(" ")
            table[f"{method} {path}"] = Route(action, *kind)
    return compile_routes(table)


_BOTH_OBJECTS: Final = (*_OPENAI_OBJECTS, *_ANTHROPIC_OBJECTS)
OPENAI: Final = _compile(_COMMON, _OPENAI, objects=_OPENAI_OBJECTS)
ANTHROPIC: Final = _compile(_COMMON, _ANTHROPIC, objects=_ANTHROPIC_OBJECTS)
SHARED: Final = _compile(_COMMON, _OPENAI, _ANTHROPIC, objects=_BOTH_OBJECTS)
"""Both, which do not contradict each other: of a server that follows either."""
MISTRAL: Final = _compile(_COMMON, _OPENAI, _MISTRAL, objects=(*_OPENAI_OBJECTS, *_MISTRAL_OBJECTS))
OPENROUTER: Final = _compile(_COMMON, _OPENAI, _ANTHROPIC, _OPENROUTER, objects=_BOTH_OBJECTS)
COHERE: Final = _compile(_COHERE, objects=_COHERE_OBJECTS)
