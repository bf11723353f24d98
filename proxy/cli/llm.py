"""A model that words suggestions and drafts rules: any endpoint that speaks OpenAI's chat completions.

Optional, and never more than words and a draft: what it says of suggestions stands beside ours, and a rule that it
drafts goes through schema, lint and replay, and is a patch for a person. Source: platform.openai.com, "Chat".
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.cli.proposal import Proposal, propose, read_rule
from proxy.cli.rulebook import RuleBook
from proxy.model.errors import JobgateError, RuleFileError
from proxy.model.grant import Secret
from proxy.simulate.suggestion import Suggestion
from proxy.simulate.wording import Wording, ask_rule, ask_wording, read_block, read_wording

KEY_VARIABLE: Final = "JOBGATE_LLM_KEY"
_TIMEOUT: Final = 60.0
_LIMIT: Final = 1 << 20
_TRIES: Final = 3
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ModelError(JobgateError):
    """The model gave no usable answer. The message names its host, never the key or what was asked."""


@dataclass(frozen=True, slots=True)
class Model:
    """An endpoint, up to and without `/chat/completions`, and the name of a model there."""

    url: str
    name: str
    key: Secret | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, name: str, environ: Mapping[str, str] = os.environ) -> "Model":
        """Return the model at a URL, with the key that the environment holds. Raises ValueError for plain HTTP."""
        parts = urlsplit(url)
        if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOCAL):
            raise ValueError("write an https URL, or http of this machine, such as http://localhost:11434/v1")
        key = environ.get(KEY_VARIABLE)
        return cls(url.rstrip("/"), name, Secret(key) if key else None)

    def ask(self, prompt: str) -> str:
        """Return the model's answer to one prompt. Raises ModelError."""
        host = urlsplit(self.url).hostname
        try:
            import httpx2  # noqa: PLC0415 - an extra, and slow to import
        except ImportError:
            raise ModelError("--llm needs the extra: pip install 'jobgate[ai]'") from None
        headers = {} if self.key is None else {"authorization": f"Bearer {self.key.reveal()}"}
        body = {"model": self.name, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        try:
            with httpx2.Client(timeout=_TIMEOUT, follow_redirects=False) as client:
                request = client.build_request("POST", f"{self.url}/chat/completions", json=body, headers=headers)
                answer = client.send(request, stream=True)
                content = _read(answer.iter_bytes())
                status = answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ModelError(f"{host} did not answer: {type(error).__name__}") from None
        if status != 200:
            raise ModelError(f"{host} answered {status}")
        return _content(content, host)


def _read(pieces: Iterable[bytes]) -> bytes:
    """Return an answer's body, up to the limit: more than that is none."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > _LIMIT:
            return b""
    return bytes(found)


def _content(body: bytes, host: str | None) -> str:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        raise ModelError(f"{host} did not answer as a chat completion does")
    return content


def reword(model: Model, shown: list[Suggestion]) -> Wording:
    """Return how a model would show suggestions. Raises ModelError."""
    return read_wording(model.ask(ask_wording(shown, secrets.token_hex(8))), shown)


def draft(
    model: Model, sentence: str, book: RuleBook, records: Callable[[str], Iterable[Mapping[str, Any]]]
) -> Proposal:
    """Return the rule that a model drafts of a sentence, once it holds; else what is wrong with its last one.

    Raises ModelError.
    """
    proposal = Proposal()
    for _ in range(_TRIES):
        answer = model.ask(ask_rule(sentence, proposal.problems, secrets.token_hex(8)))
        try:
            proposal = propose(book, read_rule(read_block(answer)), records)
        except (RuleFileError, ValueError) as error:
            proposal = Proposal(problems=tuple(str(error).splitlines()))
        if not proposal.problems:
            break
    return proposal
