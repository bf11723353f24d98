"""`jobgate explain`: how one request of one job would be decided, by the same code that decides in the proxy.

Nothing is sent and nothing is verified: the claims are taken at their word. Exit codes: 0 allowed, 1 denied, 2 wrong
usage, 3 the rules do not load.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from proxy.connectors.registry import connector_scopes
from proxy.engine.decide import AccessQuestion, Verdict, explain_verdict
from proxy.engine.hygiene import find_credential_fields, find_query_credential
from proxy.engine.misuse import find_real_credential
from proxy.gateway.heads import METHODS
from proxy.gateway.paths import check_path, check_query
from proxy.identity.profiles import DEFAULTS, PROFILES, principal_of
from proxy.identity.strict import load_object
from proxy.identity.tokens import peek_unverified_claims
from proxy.model.authority import DEFAULT_PORTS, parse_authority
from proxy.model.decision import AccessRequest, Decision, Effect
from proxy.model.errors import ProtocolError, TokenError
from proxy.model.identity import JobContext, TrustedIssuer, UnverifiedToken, VerifiedClaims
from proxy.model.intent import BodyPrefix, BodyWanted, Headers, RequestView
from proxy.model.reason import Reason, explain_reason
from proxy.policy.compile import RuleSet
from proxy.policy.conditions import JOB_FIELDS
from proxy.policy.declaring import check_declaration
from proxy.policy.explain import describe, smallest_rule
from proxy.policy.faults import suggest
from proxy.policy.patterns import PatternError
from proxy.sources.rules import RuleFolder

_URL: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_PROVIDERS: Final = [profile.provider for profile in PROFILES]


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
    view = _read_view(method, url, _read_headers(options["headers"]))
    if options["body"] is not None:
        body = options["body"].read()
        view = replace(view, body_length=len(body), body=BodyPrefix(data=body, is_whole=True))
    job, declared = _read_job(options), _read_declared(options["declared"])
    ruleset = RuleFolder(options["rules"] or (Path("rules"),), connector_scopes()).load()
    now = datetime.now(UTC)
    verdict = _decide(view, job, ruleset, now, declared)
    click.echo(_as_json(verdict, view, job, now) if as_json else _as_text(verdict, view, job, ruleset, now))
    ctx.exit(0 if verdict.decision.is_allowed else 1)


def _decide(
    view: RequestView, job: JobContext, ruleset: RuleSet, now: datetime, declared: tuple[str, ...] | None
) -> Verdict:
    """Decide as the path does, the refusal of real credentials and of any in the query included."""
    verdict = explain_verdict(AccessQuestion(view, job, ruleset, now, declared))
    if isinstance(verdict, BodyWanted):
        raise click.UsageError("what this request does stands in its body; give that with --body FILE")
    if find_real_credential(view, find_credential_fields(view.headers)) is not None:
        reason = Reason.CREDENTIAL_MISUSE
    elif find_query_credential(view) is not None:
        reason = Reason.CREDENTIAL_PRESENT
    else:
        return verdict
    refused = replace(verdict.decision, effect=Effect.DENY, reason=reason, rule_ids=(), grant=None)
    return replace(verdict, decision=refused)


def _read_view(method: str, url: str, headers: Headers) -> RequestView:
    """Build the request as a lane would; what a lane refuses is refused here."""
    match = _URL.fullmatch(url)
    if match is None:
        raise click.BadParameter("write an absolute URL such as https://example.com/path", param_hint="URL")
    if method not in METHODS - {"CONNECT"}:
        raise click.BadParameter(f"choose of {', '.join(sorted(METHODS - {'CONNECT'}))}", param_hint="METHOD")
    path = match[3] or "/"
    try:
        authority = parse_authority(match[2], DEFAULT_PORTS[match[1]])
        check_path(path)
        check_query(match[4] or "")
    except ProtocolError as error:
        raise click.BadParameter(f"denied before any rule is asked: {error}", param_hint="URL") from None
    return RequestView(method=method, scheme=match[1], authority=authority, path=path, query=match[4], headers=headers)


def _read_declared(lines: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        return check_declaration(lines) if lines else None
    except PatternError as error:
        raise click.BadParameter(str(error), param_hint="--intent") from None


def _read_headers(texts: tuple[str, ...]) -> Headers:
    pairs = []
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
    return _from_claims(claims, options) if "iss" in claims or options["provider"] else _from_facts(claims)


def _from_claims(claims: Mapping[str, Any], options: Mapping[str, Any]) -> JobContext:
    trusted = _trusted(claims, options)
    try:
        return principal_of(VerifiedClaims({"sub": "", **claims}), trusted, "")[1]
    except TokenError as error:
        raise click.BadParameter(f"a proxy would refuse these claims: {error}", param_hint="--claims") from None


def _trusted(claims: Mapping[str, Any], options: Mapping[str, Any]) -> TrustedIssuer:
    """Choose the table that reads these claims: as told, else by the issuer's name."""
    issuer = str(claims.get("iss", ""))
    provider = options["provider"] or next((name for name, known in DEFAULTS.items() if known.issuer == issuer), None)
    if provider is None:
        raise click.BadParameter(
            "`iss` is no public issuer known here; say whose claims these are", param_hint="--provider"
        )
    mapping = dict(entry.partition("=")[::2] for entry in options["mapping"])
    return TrustedIssuer(provider=provider, issuer=issuer, audience="explain", bound={}, mapping=mapping)


def _from_facts(facts: Mapping[str, Any]) -> JobContext:
    known = (*JOB_FIELDS, "claims")
    for name, value in facts.items():
        if name not in known:
            message = f"`{name}` is no fact of a job. {suggest(name, known)} For raw claims, give --provider."
            raise click.BadParameter(message, param_hint="--claims")
        wanted = {"build_number": int, "protected": bool, "claims": dict}.get(name, str)
        if type(value) is not wanted:
            raise click.BadParameter(f"`{name}` must be {wanted.__name__}, not {value!r}", param_hint="--claims")
    return JobContext(**facts)


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
