#!/usr/bin/env python3
# ruff: noqa: T201 -- a script of the build: no package, and it tells what it did
"""Compile GitHub's published API description into proxy/intents/github_table.txt. No network.

    npm pack @octokit/openapi @octokit/app-permissions     # and unpack each: `tar xzf`
    python .ci/compile_github_table.py OPENAPI PERMISSIONS DATE   the unpacked folders, and when the first was published

Sources, both MIT: @octokit/openapi (GitHub's OpenAPI description), @octokit/app-permissions (which permission a route
needs); github_rules.toml, by hand. One line of the table: method, path, operation, effect, permission or `-`.
"""

import fnmatch
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "proxy/intents/github_table.txt"
RULES: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / ".ci/github_rules.toml").read_text())
CHANGES = frozenset({"WRITE", "DELETE", "PUBLISH", "EXECUTE"})
METHODS = ("get", "put", "post", "patch", "delete")
MINE = {
    # What the description leaves out: the same things under a path of one segment less.
    "GET /repos/{owner}/{repo}/contents": "repos/get-content",
    "GET /repos/{owner}/{repo}/tarball": "repos/download-tarball-archive",
    "GET /repos/{owner}/{repo}/zipball": "repos/download-zipball-archive",
    "GET /repos/{owner}/{repo}/git/refs": "git/list-matching-refs",
    "GET /repos/{owner}/{repo}/git/matching-refs": "git/list-matching-refs",
    # Older spellings that still work.
    "GET /repos/{owner}/{repo}/git/refs/{ref...}": "git/get-ref",
    "POST /repos/{owner}/{repo}/git/refs/{ref...}": "git/update-ref",
}


def read_routes(description: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield method, path and operation. A last segment that may hold slashes is written `{name...}`."""
    shared = description["components"]["parameters"]
    for path, item in description["paths"].items():
        for method in METHODS:
            if method not in item or "}...{" in path:  # compare's other spelling of one and the same route
                continue
            parameters = [
                shared.get(each.get("$ref", "").rpartition("/")[2], each) for each in item[method].get("parameters", [])
            ]
            wide = {each["name"] for each in parameters if each.get("x-multi-segment")}
            head, _, last = path.rpartition("/")
            if last[1:-1] in wide and last.startswith("{"):
                last = f"{last[:-1]}...}}"
            plain = f"{head}/{last}".replace("{template_owner}/{template_repo}", "{owner}/{repo}")
            yield method.upper(), plain, item[method]["operationId"]


def fits(line: str, patterns: list[str]) -> bool:
    """Whether `METHOD /path` is one of the patterns. Braces are plain text to fnmatch; brackets do not occur."""
    return any(fnmatch.fnmatchcase(line, re.sub(r"(?<= )R", "/repos/{owner}/{repo}", each)) for each in patterns)


def effect_of(method: str, path: str, operation: str) -> str:
    """Say how harmful a route is: by the rules, else by its method, the harsher for all that writes."""
    for effect, patterns in RULES["effects"].items():
        # A read is never one of these; a pattern of theirs that says `*` means the methods that change.
        if method == "GET" and effect in CHANGES:
            continue
        if fits(f"{method} {path}", patterns):
            return effect.lower()
    if method != "GET":
        return "admin"
    return "list" if re.search(r"/(list|search|get-all)-|^search/", operation) else "read"


def permission_of(method: str, path: str, listed: Mapping[str, str]) -> str:
    """Name the permission: by the rules, which are newer, else as listed."""
    for name, patterns in RULES["permissions"].items():
        if fits(f"{method} {path}", patterns):
            return f"{name}={'read' if method == 'GET' else 'write'}"
    return listed.get(f"{method} {shape(path)}", "-")


def shape(path: str) -> str:
    """Return a path with its variables' names taken off."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def read_permissions(listed: Mapping[str, Any]) -> dict[str, str]:
    """Return route -> permission. `metadata` only where nothing else would do."""
    found: dict[str, str] = {}
    for name in sorted(listed["permissions"].keys() - {"single_file"}, key=lambda name: (name == "metadata", name)):
        for level in ("read", "write"):
            for route in listed["permissions"][name].get(level, []):
                found.setdefault(shape(route), f"{name}={level}")
    return found


def main(openapi: Path, permissions: Path, published: str) -> None:
    """Write the table."""
    listed = read_permissions(json.loads((permissions / "generated/api.github.com.json").read_text()))
    routes = [*read_routes(json.loads((openapi / "generated/api.github.com.json").read_text()))]
    routes += [(line.split(" ")[0], line.split(" ")[1], operation) for line, operation in MINE.items()]
    versions = [f"{each['name']} {each['version']}" for folder in (openapi, permissions)
                for each in [json.loads((folder / "package.json").read_text())]]  # fmt: skip
    notice = (openapi / "LICENSE").read_text().strip()
    head = [
        "Routes of GitHub's REST API: method, path, operation, effect, permission. Made by .ci/compile_github_table.py",
        f"from {' and '.join(versions)}, published by {published}, both under this license:",
        "",
        (permissions / "LICENSE").read_text().splitlines()[2],
        *(line for part in notice.splitlines() for line in (textwrap.wrap(part, 116) or [""])),
    ]
    lines = sorted({" ".join((m, p, o, effect_of(m, p, o), permission_of(m, p, listed))) for m, p, o in routes},
                   key=lambda line: line.split(" ")[1::-1])  # fmt: skip
    TABLE.write_text("".join([*(f"# {line}".rstrip() + "\n" for line in head), *(f"{line}\n" for line in lines)]))
    print(f"{len(lines)} routes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
