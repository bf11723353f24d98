"""What the package registry decoders share: whose request it is, how a resource is spelled, and tables of routes.

Nothing here knows one ecosystem's rules. A registry that a decoder knows by its host name is read completely: what is
in no table there has the effect `unknown`. On any other host a decoder reads only when a rule for that host names its
protocol; the registry may then stand below any path, and that path is part of the resource's id.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.intents.reading import decode_component, parse_pairs
from proxy.model.authority import DEFAULT_PORTS
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, RequestView, Resource

EFFECTS: Final[Mapping[str, EffectClass]] = {
    "install": EffectClass.READ,
    "audit": EffectClass.READ,
    "ping": EffectClass.READ,
    "whoami": EffectClass.READ,
    "profile.get": EffectClass.READ,
    "access.get": EffectClass.READ,
    "stage.get": EffectClass.READ,
    "status": EffectClass.READ,
    "search": EffectClass.LIST,
    "tag.list": EffectClass.LIST,
    "owner.list": EffectClass.LIST,
    "member.list": EffectClass.LIST,
    "team.list": EffectClass.LIST,
    "stage.list": EffectClass.LIST,
    "trust.list": EffectClass.LIST,
    "hook.list": EffectClass.LIST,
    "deprecate": EffectClass.WRITE,
    "star": EffectClass.WRITE,
    "unpublish": EffectClass.DELETE,
    "yank": EffectClass.DELETE,
    "tag.remove": EffectClass.DELETE,
    "stage.reject": EffectClass.DELETE,
    "publish": EffectClass.PUBLISH,
    "unyank": EffectClass.PUBLISH,
    "tag.set": EffectClass.PUBLISH,
    "stage.publish": EffectClass.PUBLISH,
    "stage.approve": EffectClass.PUBLISH,
    "owner.add": EffectClass.ADMIN,
    "owner.remove": EffectClass.ADMIN,
    "owner.set": EffectClass.ADMIN,
    "access.set": EffectClass.ADMIN,
    "member.set": EffectClass.ADMIN,
    "member.remove": EffectClass.ADMIN,
    "team.create": EffectClass.ADMIN,
    "team.delete": EffectClass.ADMIN,
    "team.grant": EffectClass.ADMIN,
    "team.revoke": EffectClass.ADMIN,
    "trust.create": EffectClass.ADMIN,
    "trust.revoke": EffectClass.ADMIN,
    "hook.set": EffectClass.ADMIN,
    "hook.remove": EffectClass.ADMIN,
    "profile.set": EffectClass.CREDENTIAL,
    "login": EffectClass.CREDENTIAL,
    "token.create": EffectClass.CREDENTIAL,
    "token.exchange": EffectClass.CREDENTIAL,
    "token.list": EffectClass.CREDENTIAL,
    "token.revoke": EffectClass.CREDENTIAL,
    "unknown": EffectClass.UNKNOWN,
}
"""Every action of the package registries. A moved tag and an un-yanked version change what others install: publish."""

UPLOAD_LIMIT: Final = 32 * 1024 * 1024
"""The longest upload that is read whole, where its first bytes do not say what it is. A longer one is denied."""
READS: Final = frozenset({"GET", "HEAD"})
_OVERRIDES: Final = frozenset(
    {"x-http-method-override", "x-http-method", "x-method-override", "http-method-override", "x-original-method"}
)
_PREFIX_SEGMENT: Final = re.compile(r"-|(?:[A-Za-z0-9._~:]|%[0-9A-F]{2})(?:[A-Za-z0-9._~:-]|%[0-9A-F]{2})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ecosystem:
    """One ecosystem: the word a rule uses for it, and the hosts that are nothing but it."""

    protocol: str
    hosts: frozenset[str]

    def claims(self, host: str, spoken: frozenset[str]) -> bool:
        """Whether a request to this host may be this ecosystem's."""
        return host in self.hosts or self.protocol in spoken

    def knows(self, view: RequestView) -> bool:
        """Whether the host is one of those that are nothing but this ecosystem's registry."""
        return view.authority.host in self.hosts

    def intent(
        self,
        action: str,
        where: str,
        facts: Mapping[str, str] | None = None,
        *,
        kind: str = "package",
        exact: bool = True,
        also: tuple[Intent, ...] = (),
    ) -> Intent:
        """Return the intent for an action of `EFFECTS` on the resource with the id `where`.

        `kind` is `package`, or `registry` where no package can be named: its users, teams, tokens, or the whole of it.
        """
        return Intent(
            protocol=self.protocol,
            action=action,
            resource=Resource(type=f"{self.protocol}-{kind}", id=where),
            effect=EFFECTS[action],
            exact=exact,
            facts={} if facts is None else facts,
            also=also,
        )


def read_site(view: RequestView) -> str:
    """Return the host as ids begin with it: with its port when that is not the scheme's."""
    authority = view.authority
    usual = authority.port == DEFAULT_PORTS.get(view.scheme)
    return authority.host if usual and ":" not in authority.host else str(authority)


def join_site(site: str, prefix: Sequence[str]) -> str:
    """Return the host with the path the registry stands below. Raises IntentError for an unusual path.

    Escapes stay as they are: the gateway lets each character have one spelling only.
    """
    for segment in prefix:
        if _PREFIX_SEGMENT.fullmatch(segment) is None:
            raise IntentError(f"{segment[:64]!r} is not a plain segment of a registry's path")
    return "/".join((site, *prefix))


def read_segments(view: RequestView) -> list[str]:
    """Return the path's segments, still encoded, without the empty one that a closing slash leaves."""
    segments = view.path[1:].split("/")
    if not segments[-1]:
        segments.pop()
    return segments


def refuse_override(view: RequestView) -> None:
    """Raise IntentError where a header or a parameter may change the method.

    Rack (`_method` of a form, `X-HTTP-Method-Override`) and others take the method from there, on POST at least.
    """
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line")
    if view.query and "_method" in view.query and any(name == "_method" for name, _ in parse_pairs(view.query)):
        raise IntentError("a parameter asks for another method than the request line")


def check_text(text: str, grammar: re.Pattern[str], what: str) -> str:
    """Return `text` when the whole of it is `grammar`. Raises IntentError naming `what` was expected."""
    if grammar.fullmatch(text) is None:
        raise IntentError(f"{text[:64]!r} is not {what}")
    return text


@dataclass(frozen=True, slots=True)
class Routes:
    """A table of `METHOD /template` lines with their actions. Variables are written `{name}` and fill one segment."""

    index: Mapping[tuple[str, int], tuple[tuple[tuple[str, ...], str], ...]]

    def find(self, method: str, segments: Sequence[str]) -> tuple[str, dict[str, str]] | None:
        """Return the action and the decoded variables of the first line that fits. HEAD is read as GET.

        Raises IntentError when a variable is not percent-encoded UTF-8.
        """
        for template, action in self.index.get(("GET" if method == "HEAD" else method, len(segments)), ()):
            found: dict[str, str] = {}
            for expected, segment in zip(template, segments, strict=True):
                if expected[0] == "{":
                    found[expected[1:-1]] = segment
                elif expected != segment:
                    break
            else:
                return action, {name: decode_component(value) for name, value in found.items()}
        return None


def compile_routes(table: Mapping[str, str]) -> Routes:
    """Index a table by method and number of segments, in the order written."""
    index: dict[tuple[str, int], tuple[tuple[tuple[str, ...], str], ...]] = {}
    for line, action in table.items():
        method, _, path = line.partition(" /")
        template = tuple(path.split("/"))
        key = (method, len(template))
        index[key] = (*index.get(key, ()), (template, action))
    return Routes(index)
