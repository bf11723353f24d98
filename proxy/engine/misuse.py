"""Credentials that a job should not have: real ones by their form, and what jobgate itself issued. Pure.

What else a job sends in a credential's place is a placeholder, and is removed. A real one is a finding: it is refused,
and the record says of which kind it was. So is the placeholder of another job, and one at a host that it is not for.
"""

import re
from base64 import b64decode
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from proxy.model.intent import Headers
from proxy.model.placeholder import PLACEHOLDER, Placeholders, find_placeholders, is_at_home

# The vendors' own documented prefixes; what has none cannot be told from a placeholder.
_FORMS: Final = {
    "aws_access_key": r"(?:AKIA|ASIA)(?!.{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9])",
    "buildkite_token": r"bk(?:ua|ct|pt)_[0-9a-f]{40}",
    "crates_io_token": r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])",
    "docker_hub_token": r"dckr_[op]at_[A-Za-z0-9_-]{27}",
    "github_token": r"gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    "gitlab_token": r"gl(?:pat|dt|ptt|rt|cbt|soat)-[A-Za-z0-9_-]{20}",
    "google_key": r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20}",
    "npm_token": r"npm_[A-Za-z0-9]{36}",
    "openai_key": r"sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{40}",
    "pypi_token": r"pypi-AgE[A-Za-z0-9_-]{50}",
    "rubygems_key": r"rubygems_[0-9a-f]{48}",
    "slack_token": r"xox[abeoprs]-[A-Za-z0-9-]{20}",
    "stripe_key": r"[rs]k_live_[A-Za-z0-9]{20}",
    "vault_token": r"hv[brs]\.[A-Za-z0-9_-]{24}",
}
_REAL: Final = re.compile(
    rf"(?<![A-Za-z0-9_-])(?!{PLACEHOLDER})(?:" + "|".join(f"(?P<{name}>{form})" for name, form in _FORMS.items()) + ")"
)
_BASIC: Final = re.compile(r"(?i)basic +([A-Za-z0-9+/_-]+={0,2})")


@dataclass(frozen=True, slots=True)
class Carried:
    """What of a request may be a credential: the fields that are removed, the texts looked at, what was found there."""

    stripped: frozenset[str]
    texts: tuple[str, ...] = field(repr=False)
    finding: str | None = None
    """Which credential that no job should have; None for none."""
    fingerprints: frozenset[str] = frozenset()


def examine(stripped: frozenset[str], headers: Headers, query: str | None, placeholders: Placeholders) -> Carried:
    """Look at the fields of these names, and at a query, as sent by the job that has these placeholders."""
    texts = read_sent(headers, query, stripped)
    if not texts:
        return Carried(stripped, texts)
    finding = find_real_credential(texts)
    if finding is None and is_another_jobs(texts, placeholders):
        finding = "placeholder of another job"
    return Carried(stripped, texts, finding, sent_fingerprints(texts))


def read_sent(headers: Headers, query: str | None, names: Collection[str]) -> tuple[str, ...]:
    """Return the texts in which a request may hold a credential: its query, these fields, what their Basic says."""
    texts = [text for name, value in headers if name in names for text in _texts(value)]
    return (*texts, query) if query else tuple(texts)


def find_real_credential(texts: Iterable[str]) -> str | None:
    """Return the kind of a real credential in these texts, None when there is none."""
    found = next(filter(None, map(_REAL.search, texts)), None)
    return None if found is None else found.lastgroup


def sent_fingerprints(texts: Iterable[str]) -> frozenset[str]:
    """Return the fingerprints of what these texts hold: as a whole, behind its scheme, as a password."""
    pieces = {piece for text in texts for piece in (text, text.rpartition(" ")[2], text.partition(":")[2])}
    return frozenset(_fingerprint(piece) for piece in pieces if piece)


def is_another_jobs(texts: Iterable[str], placeholders: Placeholders) -> bool:
    """Whether a placeholder in these texts is another session's."""
    return any(found.mark != placeholders.mark for text in texts for found in find_placeholders(text))


def is_astray(texts: Iterable[str], host: str) -> bool:
    """Whether a placeholder in these texts is for another vendor's hosts than this one."""
    return any(not is_at_home(found.prefix, host) for text in texts for found in find_placeholders(text))


def _texts(value: str) -> Iterator[str]:
    """Give out a field's value, and what its Basic credentials say."""
    yield value
    basic = _BASIC.fullmatch(value.strip())
    if basic is not None:
        padded = basic[1].replace("-", "+").replace("_", "/")
        try:
            yield b64decode(padded + "=" * (-len(padded) % 4)).decode("latin-1")
        except ValueError:
            return


def _fingerprint(text: str) -> str:
    """Return the name a secret has in records; the same as `connectors.parts.fingerprint`."""
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
