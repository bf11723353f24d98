"""What steps are known to need: by their commands, by their plugins, and by what they did before. Pure.

The tables name the one host without which a tool does nothing. What a mirror or a flag changes is not seen.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from proxy.model.identity import JobContext
from proxy.pipelines.dag import Plan
from proxy.pipelines.pipeline import Fate, Plugin, Step
from proxy.policy.compile import RuleSet
from proxy.simulate.findings import Finding, Level
from proxy.simulate.replay import Decider, Effect, Flow, describe

_COMMANDS: Final = tuple(
    (re.compile(rf"(?:^|[\s;&|(]){pattern}"), host)
    for pattern, host in (
        (r"npm (?:ci|install|i|publish)\b", "registry.npmjs.org"),
        (r"(?:yarn install|yarn$|pnpm install)", "registry.npmjs.org"),
        (r"pip3? install\b", "pypi.org"),
        (r"(?:uv sync|poetry install)\b", "pypi.org"),
        (r"twine upload\b", "upload.pypi.org"),
        (r"cargo (?:build|test|fetch)\b", "index.crates.io"),
        (r"cargo publish\b", "crates.io"),
        (r"gem push\b", "rubygems.org"),
        (r"bundle install\b", "rubygems.org"),
        (r"go (?:mod download|build|test)\b", "proxy.golang.org"),
        (r"gh (?:release|pr|api|issue)\b", "api.github.com"),
        (r"git (?:push|clone|fetch) \S*github\.com", "github.com"),
    )
)
_PLUGINS: Final = tuple(
    (re.compile(pattern), host)
    for pattern, host in (
        (r"^actions/checkout@", "github.com"),
        (r"^softprops/action-gh-release@", "api.github.com"),
        (r"^aws-actions/configure-aws-credentials@", "sts.amazonaws.com"),
        (r"^google-github-actions/auth@", "sts.googleapis.com"),
        (r"^azure/login@", "login.microsoftonline.com"),
        (r"^pypa/gh-action-pypi-publish@", "upload.pypi.org"),
        (r"(?:^|/)aws-assume-role-with-web-identity(?:-buildkite-plugin)?#", "sts.amazonaws.com"),
        (r"(?:^|/)gcp-workload-identity-federation(?:-buildkite-plugin)?#", "sts.googleapis.com"),
    )
)
_LOGIN: Final = re.compile(r"(?:^docker/login-action@|(?:^|/)docker-login(?:-buildkite-plugin)?#)")
_IMAGES: Final = re.compile(r"(?:^docker/build-push-action@|(?:^|/)docker(?:-buildkite-plugin)?#)")
_HUB: Final = "registry-1.docker.io"
_SERVER: Final = re.compile(r"^([a-z0-9.-]+\.[a-z0-9-]+(?::[0-9]+)?)(?:/|$)")


def known_needs(step: Step) -> dict[str, str]:
    """Return the hosts that a step's commands and plugins need, and which of them needs it."""
    text = "\n".join(step.commands)
    found = {host: f"`{match[0].strip()}`" for pattern, host in _COMMANDS if (match := pattern.search(text))}
    for plugin in step.plugins:
        found |= dict.fromkeys(_hosts_of(plugin), f"`{plugin.source}`")
    return found


def _hosts_of(plugin: Plugin) -> Iterator[str]:
    source = plugin.source.lower()
    yield from (host for pattern, host in _PLUGINS if pattern.search(source))
    if _LOGIN.search(source):
        yield _server(plugin.options, ("registry", "server")) or _HUB
    elif _IMAGES.search(source):
        yield _server(plugin.options, ("image", "tags")) or _HUB


def _server(options: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the registry that an option names; None for the default one."""
    text = next((str(options[name]) for name in names if name in options), "")
    match = _SERVER.match(text.lower())
    return None if match is None else match[1]


def unmet_history(flows: Iterable[Flow], rules: RuleSet, plan: Plan, job: JobContext) -> Iterator[Finding]:
    """Give out what steps of this pipeline did before, and would be denied now, as the job that `job` describes."""
    decider = Decider(rules)
    runs = {step.key: step for step in plan.steps.values() if plan.fates[step.id].fate is not Fate.SKIPPED}
    known = {each.name: getattr(job, each.name) for each in fields(job)}
    given = {name: value for name, value in known.items() if value is not None and name != "claims"}
    counts: Counter[tuple[str, str]] = Counter()
    for flow in flows:
        if flow.effect is Effect.DENY or flow.intent is None or not _is_ours(flow.job, job):
            continue
        if plan.provider == "buildkite" and flow.job.step not in runs:
            continue
        again = decider.decide(replace(flow, job=replace(flow.job, **given)))
        if again.effect is Effect.DENY and again.is_certain:
            counts[flow.job.step or "", describe(flow)] += 1
    for (key, what), count in sorted(counts.items()):
        step = runs.get(key)
        who = "a job of this pipeline" if step is None else f"`{step.name}`"
        yield Finding(
            id="missing-history",
            level=Level.WARNING,
            message=f"{who} did {what} {count} times before, and would be denied",
            hint="Write a rule, or ask whether it still needs to.",
            step=None if step is None else step.id,
            file="" if step is None else step.file,
            path=() if step is None else step.path,
        )


def _is_ours(theirs: JobContext, ours: JobContext) -> bool:
    """Whether a flow is of the same pipeline, as far as is known of both."""
    pairs = [(getattr(theirs, name), getattr(ours, name)) for name in ("organization", "pipeline", "repository")]
    told = [(one, other) for one, other in pairs if one is not None and other is not None]
    return bool(told) and all(one == other for one, other in told)
