"""git over HTTPS, on any host: the smart protocol and LFS. Sources: gitprotocol-http(5), gitprotocol-v2(5).

A repository's id is `HOST/PATH` without `.git`, a ref's `HOST/PATH#refs/heads/main`; on forges whose paths mean the
same in any case the path is in lower case. Only what stands before a pack is read. Fetching and learning refs: `read`;
a push needs `git read github.com/acme/app` beside `git push.update github.com/acme/app#refs/heads/main`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from proxy.intents.forge_refs import describe_moves
from proxy.intents.git_commands import ends_commands, read_push
from proxy.intents.git_lfs import read_lfs
from proxy.intents.git_packets import read_packets
from proxy.intents.packages import read_site
from proxy.intents.reading import decode_component, parse_pairs, read_body
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_FORGES: Final = frozenset({"github.com", "gitlab.com", "bitbucket.org", "gist.github.com", "codeberg.org"})
"""Where `Acme/App` and `acme/app` are one repository."""
_SERVICES: Final = {"git-upload-pack": "fetch.discover", "git-receive-pack": "push.discover"}
_COMMANDS: Final = 1 << 20
"""The most that is read of a body."""
_ENOUGH: Final = 64
"""Packets of a fetch that are read; what is wanted stands first."""
_OPTION: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAMED: Final = 8
"""So many wanted commits are named on the record."""


def claims(_: str, __: frozenset[str]) -> bool:
    """Whether a request to this host may be ours: any host may hold repositories."""
    return True


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request of git's or LFS's; None when it is none. Raises IntentError for one that cannot be told."""
    path = view.path
    if path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack")):
        found = _read_smart(view)
        if found is not None:
            return found
    elif "/info/lfs/" in path or "/gitlab-lfs/objects/" in path:
        head, _, rest = path.partition("/info/lfs/") if "/info/lfs/" in path else path.partition("/gitlab-lfs/")
        return read_lfs(view, _repository(view, head), rest)
    if view.authority.host == "codeload.github.com" and view.method in {"GET", "HEAD"}:
        return _read_archive(view)
    return _read_dumb(view) if "git" in spoken else None


def _intent(
    action: str,
    repository: str,
    effect: EffectClass = EffectClass.READ,
    facts: Mapping[str, str] | None = None,
    *,
    exact: bool = True,
) -> Intent:
    return Intent(
        protocol="git",
        action=action,
        resource=Resource(type="git-repository", id=repository),
        effect=effect,
        exact=exact,
        facts=facts or {},
    )


def _repository(view: RequestView, path: str) -> str:
    """Return `HOST/PATH`. Raises IntentError for a path that is none, or that hides one in another."""
    parts = [decode_component(part) for part in path[1:].split("/")]
    parts[-1] = parts[-1].removesuffix(".git")
    if any(not part or part in {".", ".."} or set(part) & set("/#:@*\\") or not part.isprintable() for part in parts):
        raise IntentError("the path of the repository is not a plain one")
    name = "/".join(parts)
    host = "github.com" if view.authority.host in {"www.github.com", "codeload.github.com"} else read_site(view)
    return f"{host}/{name.lower() if host in _FORGES else name}"


def _read_smart(view: RequestView) -> Intent | BodyWanted | None:
    head, _, last = view.path.rpartition("/")
    if last == "refs":
        services = [value for name, value in parse_pairs(view.query or "") if name == "service"]
        if not services:
            return None  # the dumb protocol, or somebody else's path
        if len(services) != 1 or services[0] not in _SERVICES or view.method not in {"GET", "HEAD"}:
            raise IntentError("the refs are asked for in a way that git never does")
        return _intent(_SERVICES[services[0]], _repository(view, head.removesuffix("/info")))
    if view.method != "POST":
        raise IntentError(f"git sends a POST to {last}, never a {view.method}")
    repository = _repository(view, head)
    return _read_fetch(view, repository) if last == "git-upload-pack" else _read_push(view, repository)


def _read_push(view: RequestView, repository: str) -> Intent | BodyWanted:
    prefix = read_body(view, _COMMANDS, ends_commands)
    if isinstance(prefix, BodyWanted):
        return prefix
    push = read_push(prefix)
    if not push.moves:
        return _intent("push.probe", repository)
    more = {
        name: "yes" for name, is_so in (("signed", push.is_signed), ("atomic", "atomic" in push.capabilities)) if is_so
    }
    moves = [replace(move, facts={**move.facts, **more}) for move in push.moves]
    first, *rest = describe_moves(repository, moves)
    options = {_option(each) for each in push.options}
    return replace(first, also=(*rest, *(_tell_option(repository, name) for name in sorted(options))))


def _option(text: str) -> str:
    """Return the name of a push option; its value may be a secret. Raises IntentError for what is no plain name."""
    name = text.partition("=")[0]
    if _OPTION.fullmatch(name) is None:
        raise IntentError("a push option has no plain name")
    return name


def _tell_option(repository: str, name: str) -> Intent:
    """Return what a push option does beside the push: a merge request, a pipeline skipped; Gitea's change settings."""
    effect = EffectClass.ADMIN if name.startswith("repo.") else EffectClass.WRITE
    where = Resource(type="git-option", id=f"{repository}#option/{name}")
    return Intent(protocol="git", action="push.option", resource=where, effect=effect, exact=True)


def _read_fetch(view: RequestView, repository: str) -> Intent | BodyWanted:
    """Read a fetch of either protocol; what it wants is for the record only, for every fetch is a read."""
    prefix = read_body(view, _COMMANDS, _has_wants)
    if isinstance(prefix, BodyWanted):
        return prefix
    lines = [content for content, _ in read_packets(prefix) if content is not None]
    command = lines[0].decode("latin-1") if lines else ""
    facts = {"command": command[8:72]} if command.startswith("command=") else {}
    found = [line.split(b" ")[1].decode("latin-1") for line in lines if line.startswith((b"want ", b"want-ref "))]
    wants = list(dict.fromkeys(found))
    if wants:
        facts |= {"wants": " ".join(want[:64] for want in wants[:_NAMED]), "want_count": str(len(wants))}
    return _intent("fetch", repository, facts=facts)


def _has_wants(prefix: bytes) -> bool:
    """Whether the first section, or as much as is told of it, is there."""
    seen = [content for content, _ in read_packets(prefix)]
    return None in seen or len(seen) >= _ENOUGH


def _read_archive(view: RequestView) -> Intent:
    """Read `/OWNER/NAME/FORMAT/REF` of GitHub's archives."""
    parts = view.path[1:].split("/", 3)
    if len(parts) < 4:
        return _intent("unknown", f"codeload.github.com{view.path}", EffectClass.UNKNOWN, exact=False)
    return _intent("archive", _repository(view, f"/{parts[0]}/{parts[1]}"), facts={"ref": parts[3][:256]})


def _read_dumb(view: RequestView) -> Intent | None:
    """Read the dumb protocol: files of the repository. Writing them (WebDAV) is not told from any other PUT."""
    for mark in ("/info/refs", "/HEAD", "/objects/"):
        head, found, _ = view.path.partition(mark)
        if found and head and view.method in {"GET", "HEAD"}:
            return _intent("fetch", _repository(view, head), facts={"command": "dumb"})
    return None
