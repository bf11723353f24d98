"""What a job holds in place of its credentials: worth nothing anywhere, and it shows whose job sends it.

A placeholder is made of the session's proxy password in one direction, so that job and proxy know it without telling
each other, and nobody learns the password from it. A job without a password has the public one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from proxy.model.grant import Secret

_NAME: Final = "JOBGATE"
_LENGTH: Final = 13
PLACEHOLDER: Final = r"[a-z0-9_.-]{0,16}0*" + _NAME + r"[0-9A-Z]{13}(?![0-9A-Za-z])"
"""What every placeholder looks like."""
_FOUND: Final = re.compile(r"([a-z0-9_.-]{0,16})0*" + _NAME + r"([0-9A-Z]{13})(?![0-9A-Za-z])")
HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("amazonaws.com", "amazonaws.com.cn", "api.aws"),
    "azure-": (
        "azure.com",
        "azure.net",
        "windows.net",
        "azconfig.io",
        "microsoft.com",
        "usgovcloudapi.net",
        "azure.cn",
    ),
    "ghs_": ("github.com", "ghcr.io", "githubusercontent.com"),
    "glpat-": ("gitlab.com",),
    "npm_": ("registry.npmjs.org", "npm.pkg.github.com"),
    "pypi-": ("pypi.org",),
    "ya29.": ("googleapis.com",),
}
"""Domains at which a placeholder of this form is sent as a matter of course, credential or none."""


@dataclass(frozen=True, slots=True)
class Found:
    """A placeholder in a text: how it begins, and whose it is."""

    prefix: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholders:
    """One session's. `mark` stands in each of them; `aws_secret` signs AWS requests, and so proves who did."""

    mark: str
    aws_secret: Secret

    @property
    def aws_key(self) -> str:
        """The AWS access key id: 20 characters, as AWS's are, and recognisable in any log."""
        return f"{_NAME}{self.mark}"

    def token(self, prefix: str = "", length: int = 0) -> str:
        """Return a token that begins as a vendor's do, filled up to `length` characters."""
        return write_token(self.mark, prefix, length)


PUBLIC: Final = Placeholders(mark="PLACEHOLDER00", aws_secret=Secret("jobgate-placeholder"))
"""Of a job without a proxy password: whoever reaches the proxy is that job."""


def derive_placeholders(password: str) -> Placeholders:
    """Return those of the session with this proxy password.

    `SHA-256("jobgate placeholder mark:" + password)`: the first 13 hex digits in capitals are the mark; the first 40
    of the same with `aws` are the secret. Passwords are long and random, or signed tokens: nobody can guess them.
    """
    mark = _digest("mark", password)[:_LENGTH].upper()
    return Placeholders(mark=mark, aws_secret=Secret(_digest("aws", password)[:40]))


def write_token(mark: str, prefix: str, length: int = 0) -> str:
    """Return a placeholder with this mark that begins with `prefix`, filled up to `length` characters."""
    return prefix + "0" * (length - len(prefix) - len(_NAME) - len(mark)) + _NAME + mark


def find_placeholders(text: str) -> Iterator[Found]:
    """Yield every placeholder in a text."""
    if _NAME in text:
        for found in _FOUND.finditer(text):
            yield Found(found[1].rstrip("0"), found[2])


def is_at_home(prefix: str, host: str) -> bool:
    """Whether a host is one of those that a placeholder which begins so is for."""
    return any(host == home or host.endswith(f".{home}") for home in HOMES.get(prefix, ()))


def _digest(what: str, password: str) -> str:
    return sha256(f"jobgate placeholder {what}:{password}".encode("utf-8", "surrogatepass")).hexdigest()
