"""The obvious mistakes in rules that load: what can never match, what hands out more than it should, what disagrees.

Each check is a generator over one rule or one pair; `CHECKS` and `PAIR_CHECKS` are the only lists of them. An error is
wrong whatever was meant; a warning may be meant.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from itertools import combinations
from typing import Final

from proxy.policy.overlap import jobs_overlap, requests_overlap, rule_covers
from proxy.policy.rule import READ_METHODS, Rule
from proxy.policy.targets import Target

type Keys = tuple[str | int, ...]


class Severity(StrEnum):
    """How sure we are that a finding is a mistake."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake: where (`keys` below the rule), what, and what to write instead. `id` is stable."""

    id: str
    severity: Severity
    rule: Rule
    keys: Keys
    message: str
    fix: str


# Addresses and names under which clouds hand credentials to whoever asks from the machine.
METADATA_HOSTS: Final = frozenset(
    {
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
# Directly below these names anyone can have a host of their own, and read what is sent to it (C02).
SHARED_HOSTS: Final = frozenset(
    {
        "amplifyapp.com",
        "appspot.com",
        "azurewebsites.net",
        "cloudfront.net",
        "compute-1.amazonaws.com",
        "compute.amazonaws.com",
        "elb.amazonaws.com",
        "execute-api.amazonaws.com",
        "firebaseapp.com",
        "fly.dev",
        "github.io",
        "gitlab.io",
        "googleusercontent.com",
        "herokuapp.com",
        "netlify.app",
        "ngrok.io",
        "onrender.com",
        "pages.dev",
        "r2.dev",
        "run.app",
        "s3.amazonaws.com",
        "storage.googleapis.com",
        "blob.core.windows.net",
        "vercel.app",
        "web.app",
        "workers.dev",
    }
)
_SIGNERS: Final = frozenset({"aws"})
"""Connectors that put a signature on a request, not a secret: their name is worth nothing to another host."""
_PLACES: Final = frozenset({"pipeline", "repository"})
_REFS: Final = frozenset({"branch", "tag", "commit", "protected", "environment"})
_KNOWN_TAGS: Final = ("data", "retention")


def lint(rules: Iterable[Rule]) -> list[Finding]:
    """Return every finding, in the order of files and rules."""
    listed = list(rules)
    found = [finding for rule in listed for check in CHECKS for finding in check(rule)]
    found += [finding for one, other in _pairs(listed) for check in PAIR_CHECKS for finding in check(one, other)]
    return sorted(found, key=lambda finding: (finding.rule.file, finding.rule.index, finding.id, finding.message))


def _error(name: str, rule: Rule, keys: Keys, message: str, fix: str) -> Finding:
    return Finding(id=name, severity=Severity.ERROR, rule=rule, keys=keys, message=message, fix=fix)


def _warning(name: str, rule: Rule, keys: Keys, message: str, fix: str) -> Finding:
    return Finding(id=name, severity=Severity.WARNING, rule=rule, keys=keys, message=message, fix=fix)


# --- one rule -----------------------------------------------------------------------------------------------------


def find_unreachable(rule: Rule) -> Iterator[Finding]:
    """Find a rule that no request can match, or a condition that says nothing."""
    if rule.when is not None and rule.when.constant is False:
        yield _error("unreachable", rule, ("when",), "this condition is false for every request", "Remove the rule.")
    if rule.when is not None and rule.when.constant is True:
        yield _warning(
            "condition-always-true", rule, ("when",), "this condition is true for every request", "Remove it."
        )
    names = {test.name for test in rule.tests}
    if {"branch", "tag"} <= names and not rule.is_deny:
        message = "no job has both a branch and a tag: a tag build states no branch"
        yield _error("unreachable", rule, ("job", "tag"), message, "Make two rules of it.")


def find_broad_credential(rule: Rule) -> Iterator[Finding]:
    """Find a credential that more jobs, or more requests, get than anyone meant."""
    if rule.grant is None:
        return
    names = {test.name for test in rule.tests}
    if not names:
        fix = "Add `job:` with the pipeline and branch that need it."
        yield _error("credential-any-job", rule, ("credential",), "every job gets this credential", fix)
    else:
        if not names & _PLACES and not any(name.startswith("claims.") for name in names):
            message = "any pipeline that fits the other conditions gets this credential"
            yield _warning("credential-any-pipeline", rule, ("job",), message, "Add `pipeline:` or `repository:`.")
        if not names & _REFS and rule.when is None:
            message = "any branch gets this credential, a pull request's too"
            yield _warning(
                "credential-any-branch", rule, ("job",), message, "Add `branch:`, `tag:` or `protected: true`."
            )
    if rule.methods is None and rule.intents is None:
        message = "every method gets this credential, DELETE too"
        yield _warning("credential-any-method", rule, ("method",), message, "List the methods that are needed.")


def find_loose_credential_host(rule: Rule) -> Iterator[Finding]:
    """Find a credential that could be sent where someone else reads it."""
    if rule.grant is None:
        return
    for index, target in enumerate(rule.targets):
        keys: Keys = ("to", index)
        shared = _shared_below(target) if rule.grant.connector not in _SIGNERS else None
        if shared is not None:
            message = f"anyone can have a host below `{shared}` and would be sent this credential"
            yield _error("credential-shared-host", rule, keys, message, "Name the exact host.")
        elif target.depth != 0:
            message = f"`{target.text}` sends this credential to hosts that do not exist yet"
            yield _warning("credential-wildcard-host", rule, keys, message, "Name the exact hosts.")


def _shared_below(target: Target) -> str | None:
    """Return the shared hosting suffix whose customers a wildcard target covers."""
    for suffix in sorted(SHARED_HOSTS):
        if target.depth != 0 and (target.host == suffix or target.host.endswith(f".{suffix}")):
            return suffix
        if target.depth is None and suffix.endswith(f".{target.host}"):
            return suffix
    return None


def find_own_machine(rule: Rule) -> Iterator[Finding]:
    """Find an allow rule that names a metadata service or this machine."""
    if rule.is_deny:
        return
    for index, target in enumerate(rule.targets):
        if target.host in METADATA_HOSTS:
            message = f"`{target.host}` hands the machine's own credentials to whoever asks; it is never dialled"
            yield _error("metadata-host", rule, ("to", index), message, "Remove it; use `credential:`.")
        elif _is_local(target.host):
            message = f"`{target.host}` is this machine: what listens here trusts whoever reaches it"
            yield _warning("local-host", rule, ("to", index), message, "Use the service's own name.")


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or address.is_link_local


def find_open_write(rule: Rule) -> Iterator[Finding]:
    """Find a rule that lets every job write: the way out for stolen data."""
    if not rule.is_enforced_allow or rule.tests or rule.grant is not None or rule.when is not None:
        return
    if rule.methods is None or not rule.methods <= READ_METHODS | {"OPTIONS"}:
        key = "method" if rule.inspect else "inspect"
        message = "every job may write here, with any data"
        yield _warning("write-any-job", rule, (key,), message, "Add `job:`, or allow GET and HEAD only.")


def find_observing(rule: Rule) -> Iterator[Finding]:
    """Find a rule that lets through what nothing allows."""
    if rule.observes:
        message = "what this rule matches is let through though no rule allows it"
        yield _warning(
            "observing", rule, ("mode",), message, "Write what is needed (`jobgate suggest`), then remove it."
        )


def find_odd_tags(rule: Rule) -> Iterator[Finding]:
    """Find a tag that is nearly one that means something."""
    for name in rule.tags:
        close = difflib.get_close_matches(name, _KNOWN_TAGS, n=1, cutoff=0.75)
        if name not in _KNOWN_TAGS and close:
            message = f"the tag `{name}` means nothing here"
            yield _warning("unknown-tag", rule, ("tags", name), message, f"Did you mean `{close[0]}`?")


CHECKS: Final[tuple[Callable[[Rule], Iterator[Finding]], ...]] = (
    find_unreachable,
    find_broad_credential,
    find_loose_credential_host,
    find_own_machine,
    find_open_write,
    find_odd_tags,
    find_observing,
)


# --- two rules ----------------------------------------------------------------------------------------------------


def find_repeated(one: Rule, other: Rule) -> Iterator[Finding]:
    """Find two rules that say the same."""
    if one.meaning == other.meaning:
        fix = f"Remove this one, or `{one.id}`."
        yield _warning("duplicate-rule", other, ("id",), f"this rule says the same as `{one.id}`", fix)


def find_shadowed(one: Rule, other: Rule) -> Iterator[Finding]:
    """Find an allow rule that a deny rule covers whole."""
    if one.effect is other.effect:
        return
    deny, allow = (one, other) if one.is_deny else (other, one)
    if rule_covers(deny, allow):
        message = f"this rule never allows anything: `{deny.id}` denies all of it"
        yield _error("shadowed", allow, ("id",), message, f"Remove it, or narrow `{deny.id}`.")


def find_ambiguous(one: Rule, other: Rule) -> Iterator[Finding]:
    """Find two allow rules that would hand out different credentials, or tags, for one request."""
    if not (one.is_enforced_allow and other.is_enforced_allow) or one.when is not None or other.when is not None:
        return
    keys = [None if rule.grant is None else rule.grant.key for rule in (one, other)]
    clashing = sorted(name for name in one.tags if other.tags.get(name, one.tags[name]) != one.tags[name])
    if (keys[0] == keys[1] and not clashing) or not requests_overlap(one, other):
        return
    what = "credentials" if keys[0] != keys[1] else f"values of the tag `{clashing[0]}`"
    where = "credential" if keys[0] != keys[1] and other.grant is not None else "tags" if keys[0] == keys[1] else "id"
    message = f"a request can match this rule and `{one.id}`, which hand out different {what}: it will be denied"
    yield _error("ambiguous", other, (where,), message, "Make their `job`, `method` or `path` exclude each other.")


def find_mixed_inspection(one: Rule, other: Rule) -> Iterator[Finding]:
    """Find a pass-through that is inspected after all, because another rule must look inside."""
    if one.inspect == other.inspect:
        return
    opaque, seeing = (other, one) if one.inspect else (one, other)
    if (seeing.is_deny and not seeing.hides_in_requests) or not _places_overlap(opaque, seeing):
        return
    message = f"`{seeing.id}` must see requests to this host, so the connection is decrypted all the same"
    yield _warning("inspect-mixed", opaque, ("inspect",), message, f"Keep `{seeing.id}` off this host, or remove this.")


def _places_overlap(one: Rule, other: Rule) -> bool:
    return jobs_overlap(one, other) and requests_overlap(one, other, hosts_only=True)


PAIR_CHECKS: Final[tuple[Callable[[Rule, Rule], Iterator[Finding]], ...]] = (
    find_repeated,
    find_shadowed,
    find_ambiguous,
    find_mixed_inspection,
)


def _pairs(rules: list[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Return pairs that could meet: same last two labels of a host, and no two different exact pipelines."""
    groups: defaultdict[str, dict[str, Rule]] = defaultdict(dict)
    # Only a deny rule's wildcard can stand on a single label; then that label is all that pairs have in common.
    labels = min(
        (2 - ("." not in target.host and target.depth != 0) for rule in rules for target in rule.targets), default=2
    )
    for rule in rules:
        for target in rule.targets:
            groups[".".join(target.host.rsplit(".", labels)[-labels:])][rule.id] = rule
    seen: set[tuple[str, str]] = set()
    for group in groups.values():
        for one, other in _group_pairs(list(group.values())):
            if (one.id, other.id) not in seen:
                seen.add((one.id, other.id))
                yield one, other


def _group_pairs(group: list[Rule]) -> Iterator[tuple[Rule, Rule]]:
    keyed: defaultdict[object, list[Rule]] = defaultdict(list)
    free: list[Rule] = []
    for rule in group:
        pipelines = [value for test in rule.tests if test.name == "pipeline" and not test.globs for value in test.exact]
        for value in pipelines:
            keyed[value].append(rule)
        if not pipelines:
            free.append(rule)
    yield from combinations(free, 2)
    for found in keyed.values():
        yield from combinations(found, 2)
        yield from ((one, other) for one in free for other in found)
