"""What is asked: the picture of one request, and what it means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.model.authority import Authority
from proxy.model.quick import quick

type Headers = tuple[tuple[str, str], ...]
"""Field names in lower case with their values, in the order received. Latin-1 text, as HTTP/1.1 has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPrefix:
    """The first bytes of a request's body as the job framed them, and whether that is all of it. Never printed."""

    data: bytes = field(repr=False)
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyWanted:
    """A decoder's answer when the head is not enough: read on, at most `limit` bytes, and ask again.

    `enough` says whether a prefix holds all there is to read (git's commands stand before a pack); None asks for the
    whole body. A body that is not `enough` at `limit` is denied.
    """

    limit: int
    enough: Callable[[bytes], bool] | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """One request as jobgate decides on it and, but for `Edits`, sends it.

    Built by a lane from a head that passed the strict gate: `method` is a known one in upper case, `authority` is
    canonical, `path` begins with `/` and is normal, `query` is raw without its `?` (None when there was none),
    hop-by-hop fields are gone. `body_length` is None for a chunked body. `body` is None until a decoder asked for it.
    """

    method: str
    scheme: str
    authority: Authority
    path: str
    query: str | None
    headers: Headers
    body_length: int | None = 0
    body: BodyPrefix | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a field by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def target(self) -> str:
        """The origin-form target: path and query."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def url(self) -> str:
        """The absolute URL, for people and records."""
        return f"{self.scheme}://{self.authority}{self.target}"


class EffectClass(StrEnum):
    """How much harm an action can do."""

    READ = "read"
    LIST = "list"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"
    PUBLISH = "publish"
    EXECUTE = "execute"
    CREDENTIAL = "credential"
    UNKNOWN = "unknown"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is acted on: a type and an id in that type's own spelling."""

    type: str
    id: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a request means. `exact` is False where only HTTP's own semantics were read.

    `protocol` and `action` are the two words a rule uses: `aws s3:PutObject`, `git push.create`, `http GET`. `also` is
    everything else the same request does; all of it must be allowed.
    """

    protocol: str
    action: str
    resource: Resource
    effect: EffectClass
    exact: bool
    facts: Mapping[str, str] = field(default_factory=dict)
    also: tuple["Intent", ...] = ()

    @property
    def name(self) -> str:
        """`protocol action`, as a rule spells it."""
        return f"{self.protocol} {self.action}"
