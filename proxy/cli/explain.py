"""`jobgate explain`: how one request of one job would be decided, by the same code that decides in the proxy.

Nothing is sent and nothing is verified: the claims are taken at their word. Exit codes: 0 allowed, 1 denied, 2 wrong
usage, 3 the rules do not load.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from proxy.cli.asking import AskError, decide_as_asked, read_claims, read_facts, read_view
from proxy.connectors.registry import connector_scopes
from proxy.engine.decide import AccessQuestion, Verdict
from proxy.identity.profiles import PROFILES
from proxy.identity.strict import load_object
from proxy.identity.tokens import peek_unverified_claims
from proxy.model.decision import AccessRequest, Decision
from proxy.model.errors import TokenError
from proxy.model.identity import JobContext, UnverifiedToken
from proxy.model.intent import Headers, RequestView
from proxy.model.reason import Reason, explain_reason
from proxy.policy.compile import RuleSet
from proxy.policy.declaring import check_declaration
from proxy.policy.explain import describe, smallest_rule
from proxy.policy.patterns import PatternError
from proxy.sources.rules import RuleFolder

_PROVIDERS: Final = [profile.provider for profile in PROFILES]
_HINTS: Final = {"method": "METHOD", "url": "URL", "job": "--claims", "provider": "--provider"}


@click.command("explain")
@click.argument("method")
@click.argument("url")
@click.option("--rules", multiple=True, type=click.Path(exists=True, path_type=Path), help="File or folder [rules/].")
@click.option("--claims", type=click.File("rb"), help="JSON: an issuer's claims, or job facts by name; - is stdin.")
@click.option("--token", type=click.File("r"), help="A file holding a token; read WITHOUT verifying it.")
@click.option("--provider", type=click.Choice(_PROVIDERS), help="Whose claims they are [from `iss`].")
@click.option("--map", "mapping", multiple=True, metavar="FACT=CLAIM", help="For --provider generic.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A request header; may be repeated.")
@click.option("--body", type=click.File("rb"), help="A file with the request's body, where what it does stands there.")
@click.option("--intent", "declared", multiple=True, metavar="LINE", help="What the job's step declares; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
@click.pass_context
def command(ctx: click.Context, /, method: str, url: str, as_json: bool, **options: Any) -> None:  # noqa: FBT001 - click's signature
    """Say how METHOD URL of a job would be decided, and why."""
    body = None if options["body"] is None else options["body"].read()
    headers = _read_headers(options["headers"])
    now = datetime.now(UTC)
    try:
        view, job = read_view(method, url, headers, body), _read_job(options)
        ruleset = RuleFolder(options["rules"] or (Path("rules"),), connector_scopes()).load()
        verdict = decide_as_asked(AccessQuestion(view, job, ruleset, now, _read_declared(options["declared"])))
    except AskError as error:
        if error.about == "body":
            raise click.UsageError(f"{error}; give that with --body FILE") from None
        raise click.BadParameter(str(error), param_hint=_HINTS[error.about]) from None
    click.echo(_as_json(verdict, view, job, now) if as_json else _as_text(verdict, view, job, ruleset, now))
    ctx.exit(0 if verdict.decision.is_allowed else 1)


def _read_declared(lines: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        return check_declaration(lines) if lines else None
    except PatternError as error:
        raise click.BadParameter(str(error), param_hint="--intent") from None


def _read_headers(texts: tuple[str, ...]) -> Headers:
    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"write NAME:VALUE, not {text!r}", param_hint="--header")
        pairs.append((name.strip().lower(), value.strip()))
    return tuple(pairs)


def _read_job(options: Mapping[str, Any]) -> JobContext:
    """Return the job from a token, from claims, or from facts; with none of them, one that states nothing."""
    if options["token"] is not None:
        click.echo("WARNING: the token is NOT verified; a proxy verifies signature, issuer and times.", err=True)
        try:
            claims = peek_unverified_claims(UnverifiedToken(options["token"].read().strip()))
        except TokenError as error:
            raise click.BadParameter(str(error), param_hint="--token") from None
        return _from_claims(claims, options)
    if options["claims"] is None:
        click.echo("note: no --claims: the job states nothing", err=True)
        return JobContext()
    try:
        claims = load_object(options["claims"].read())
    except ValueError as error:
        raise click.BadParameter(f"not a JSON object: {error}", param_hint="--claims") from None
    return _from_claims(claims, options) if "iss" in claims or options["provider"] else read_facts(claims)


def _from_claims(claims: Mapping[str, Any], options: Mapping[str, Any]) -> JobContext:
    mapping = dict(entry.partition("=")[::2] for entry in options["mapping"])
    return read_claims(claims, options["provider"], mapping)


def _request(verdict: Verdict, view: RequestView, job: JobContext, now: datetime) -> AccessRequest | None:
    if verdict.intent is None:
        return None
    return AccessRequest(job=job, view=view, intent=verdict.intent, now=now)


def _as_text(verdict: Verdict, view: RequestView, job: JobContext, ruleset: RuleSet, now: datetime) -> str:
    decision, request = verdict.decision, _request(verdict, view, job, now)
    if request is None:
        return f"{view.method} {view.url} is denied ({decision.reason}): {explain_reason(decision.reason).sentence}"
    lines = describe(decision, request, ruleset)
    if decision.steps:
        lines += ["", f"rules that name {view.authority.host}:"]
        lines += [f"  {'+' if step.matched else '-'} {step.rule_id}: {step.why}" for step in decision.steps]
    rule = smallest_rule(decision, request)
    if rule is not None:
        lines += ["", "the smallest rule that would allow it:", "", rule.rstrip()]
    elif not decision.is_allowed:
        lines += ["", f"no further rule can allow it. {_remedy(decision.reason)}"]
    return "\n".join(lines)


def _remedy(reason: Reason) -> str:
    if reason is Reason.RULE_DENIED:
        return "What a rule denies, only a change of that rule allows."
    return explain_reason(reason).remedy


def _as_json(verdict: Verdict, view: RequestView, job: JobContext, now: datetime) -> str:
    decision, request = verdict.decision, _request(verdict, view, job, now)
    report: dict[str, Any] = {
        "effect": decision.effect.value,
        "reason": decision.reason.value,
        "rules": list(decision.rule_ids),
        "revision": decision.revision,
        "inspect": decision.inspect,
        "grant": _grant(decision),
        "tags": dict(decision.tags),
        "steps": [{"rule": step.rule_id, "matched": step.matched, "why": step.why} for step in decision.steps],
        "declared": None if decision.declared is None else decision.declared.value,
        "intent": None if verdict.intent is None else verdict.intent.name,
        "smallest_rule": None if request is None else smallest_rule(decision, request),
    }
    return json.dumps(report, indent=2)


def _grant(decision: Decision) -> dict[str, Any] | None:
    if decision.grant is None:
        return None
    seconds = int(decision.grant.lifetime.total_seconds())
    return {"connector": decision.grant.connector, "scope": dict(decision.grant.scope), "seconds": seconds}
