"""The shape of a rule file: strict models, where every fault names its place, the value, and what to write instead.

Text -> `parse_rules` -> `Rule`s, or every `Fault` at once. The JSON schema for editors comes from the same models.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from proxy.policy.intents import PROTOCOLS, read_intent
from proxy.policy.patterns import compile_glob, compile_path
from proxy.policy.targets import parse_target

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "LOCK", "UNLOCK")
MAX_RULES: Final = 20_000


def _listed(value: object) -> object:
    """Read one as a list of one. An empty list is left empty: it is refused."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _given(value: object) -> object:
    if value is None:
        raise PydanticCustomError("empty", "a key without a value")
    return value


def _many(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


def _glob(value: str) -> str:
    compile_glob(value)
    return value


def _path(value: str) -> str:
    compile_path(value)
    return value


def _intent(value: str) -> str:
    return read_intent(value).text


def _method(value: str) -> str:
    if value != value.upper() and value.upper() in METHODS:
        raise ValueError(f"methods are upper case; write `{value.upper()}`")
    return value


def _to(value: str) -> str:
    # The wider reading; how narrow an allow rule must be is told where the effect is known.
    parse_target(value, is_deny=True)
    return value


def _claim(value: object) -> object:
    if isinstance(value, str):
        return _glob(value)
    if not isinstance(value, bool | int | float):
        raise ValueError("a claim is compared with text, numbers, true or false")  # noqa: TRY004 - pydantic wants this one
    return value


def _checked(check: Callable[[str], str]) -> BeforeValidator:
    return BeforeValidator(lambda value: check(value) if isinstance(value, str) else value)


_TEXT: Final = {"type": "string", "minLength": 1}
Listed = BeforeValidator(_listed)
Given = BeforeValidator(_given)
"""A key without a value is a mistake: read as absent, it would drop a condition."""
Texts = Annotated[
    tuple[Annotated[str, _checked(_glob)], ...], Listed, Field(min_length=1), _many(_TEXT)
]  # fmt: skip
Numbers = Annotated[tuple[int, ...], Listed, Field(min_length=1), _many({"type": "integer"})]
Scalars = Annotated[
    tuple[Annotated[Any, BeforeValidator(_claim)], ...],
    Listed,
    Field(min_length=1),
    _many({"type": ["string", "number", "boolean"], "minLength": 1}),
]
Targets = Annotated[
    tuple[Annotated[str, _checked(_to)], ...],
    Listed,
    Field(min_length=1),
    _many({"type": "string", "minLength": 1, "pattern": "^[^/?#@ ]*(://[^/?#@ ]*)?$"}),
]
Paths = Annotated[
    tuple[Annotated[str, _checked(_path)], ...],
    Listed,
    Field(min_length=1),
    _many({"type": "string", "pattern": "^/[^?#]*$"}),
]
Intents = Annotated[
    tuple[Annotated[str, _checked(_intent)], ...],
    Listed,
    Field(min_length=1),
    _many({"type": "string", "pattern": f"^(unknown|({'|'.join(PROTOCOLS)}) +[^ ]+ +[^ ].*)$"}),
]
Method = Literal["any", "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "LOCK", "UNLOCK"]
Methods = Annotated[
    tuple[Annotated[Method, _checked(_method)], ...],
    Listed,
    Field(min_length=1),
    _many({"enum": ["any", *METHODS]}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class JobText(_Strict):
    """Who, and in which run: facts of the verified identity. Every line must hold; of a list, one entry must.

    Text may be a pattern: `*` stands for text without a slash, `**` for whole parts between slashes.
    """

    organization: Annotated[Texts | None, Given] = Field(
        None, description="Organization, account or namespace.", examples=["acme"]
    )
    pipeline: Annotated[Texts | None, Given] = Field(
        None, description="Pipeline or workflow.", examples=["payments-deploy"]
    )
    repository: Annotated[Texts | None, Given] = Field(
        None, description="Repository, `owner/name`.", examples=["acme/payments"]
    )
    step: Annotated[Texts | None, Given] = Field(
        None, description="Step or job key within the pipeline.", examples=["upload"]
    )
    branch: Annotated[Texts | None, Given] = Field(
        None,
        description="Branch built. Never stated for a pull request's merge ref or a tag: those cannot pass for `main`.",
        examples=["main", ["main", "release/*"]],
    )
    tag: Annotated[Texts | None, Given] = Field(None, description="Tag built.", examples=["v*"])
    commit: Annotated[Texts | None, Given] = Field(None, description="Commit built, in full.")
    build_number: Annotated[Numbers | None, Given] = Field(None, description="Build number. For ranges, use `when`.")
    build_id: Annotated[Texts | None, Given] = Field(None, description="Build id.")
    job_id: Annotated[Texts | None, Given] = Field(None, description="Job id.")
    agent_id: Annotated[Texts | None, Given] = Field(None, description="Agent id.")
    source: Annotated[Texts | None, Given] = Field(
        None, description="What started the build.", examples=["webhook", "schedule"]
    )
    environment: Annotated[Texts | None, Given] = Field(
        None, description="Deployment environment.", examples=["production"]
    )
    protected: Annotated[bool | None, Given] = Field(None, description="Whether the ref is protected.")
    queue: Annotated[Texts | None, Given] = Field(None, description="Agent queue.", examples=["deploy"])
    cluster: Annotated[Texts | None, Given] = Field(None, description="Agent cluster.")
    runner: Annotated[Texts | None, Given] = Field(None, description="Kind of runner.")
    actor: Annotated[Texts | None, Given] = Field(None, description="Who started the build.")
    claims: Annotated[dict[str, Scalars] | None, Given] = Field(
        None,
        min_length=1,
        description="Raw claims by name, for what has no common name. Numbers and booleans are exact, type included.",
        examples=[{"runner_environment": "github-hosted"}],
    )


class UnblockedText(_Strict):
    """A block step that a person must have unblocked."""

    step: str = Field(min_length=1, max_length=255, description="The block step's `key`.")
    by: Annotated[tuple[str, ...], Listed] = Field(
        min_length=1, description="One team or several, as the setting `teams` names them; a member of any will do."
    )


class ApprovalText(_Strict):
    """That a person must have said yes: to each request, or by unblocking a step of the build."""

    within: str = Field(
        "10m",
        pattern=r"^[1-9][0-9]{0,4}[smh]$",
        description="How long a yes is good; it is good once. How long ago the step may have been unblocked.",
    )
    ask: str = Field("", max_length=200, description="What the person is asked, beside the request itself.")
    unblocked: Annotated[UnblockedText | None, Given] = Field(
        None, description="Instead of asking: the step that must have been unblocked, by a CI's signed event."
    )


class RuleText(_Strict):
    """One rule. Deny by default; any matching `deny` wins; the order of rules and files never matters."""

    id: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
        description="Name of the rule, unique over all files. Written to records and into denials.",
        examples=["payments-release-upload"],
    )
    why: str = Field(
        min_length=3,
        max_length=500,
        description="Why the rule exists, for the next reviewer.",
        examples=["the release step publishes signed bundles"],
    )
    effect: Literal["allow", "deny"] = Field(
        "allow", description="`allow`, or `deny`, which no allow rule can undo. A deny that cannot be computed denies."
    )
    mode: Literal["enforce", "observe"] = Field(
        "enforce",
        description=(
            "`observe`: what this rule matches and no other rule allows is let through all the same, without a "
            "credential, and marked on the record. For finding out what jobs need."
        ),
    )
    job: Annotated[JobText | None, Given] = Field(
        None, description="Who: conditions on the verified job. Left out: every job."
    )
    to: Targets = Field(
        description=(
            "Where: `host`, `host:port`, `scheme://host`. `*.example.com` is one label, `**.example.com` one or more. "
            "In an allow rule https and its port are meant unless spelled out; in a deny rule what is left out is any."
        ),
        examples=["pypi.org", ["*.s3.eu-west-1.amazonaws.com"], "http://mirror.example.com:8080"],
    )
    method: Annotated[Methods | None, Given] = Field(
        None,
        description="HTTP methods. Left out: GET and HEAD in an allow rule, any in a deny rule. `any` spells it out.",
        examples=["PUT", ["GET", "HEAD", "PUT"]],
    )
    path: Annotated[Paths | None, Given] = Field(
        None,
        description=(
            "Paths: `*` is text within one segment, `**` whole segments. Always the whole path, never the query. "
            "Left out: any path."
        ),
        examples=["/releases/**", ["/simple/**", "/packages/**"]],
    )
    intent: Annotated[Intents | None, Given] = Field(
        None,
        description=(
            "What the request does, decoded from it: `PROTOCOL ACTION RESOURCE`, an effect class in place of the "
            "action, or `unknown`. `*` stops at `/ : # @`, `**` does not. An allow rule must name all that it does."
        ),
        examples=["npm publish registry.npmjs.org/@acme/*", ["pypi install *", "npm read *"]],
    )
    declared: Annotated[Literal["deny", "flag", "required"] | None, Given] = Field(
        None,
        description=(
            "What is done about a request that its step did not declare (JOBGATE_INTENT). `deny`, also when left out; "
            "`flag`: allowed, and marked on the record; `required`: as `deny`, and the step must declare something."
        ),
    )
    approval: Annotated[ApprovalText | None, Given] = Field(
        None,
        description=(
            "A person must say yes to each request (`jobgate approve`), bound to exactly what was asked; or must have "
            "unblocked a step of the build."
        ),
    )
    cookies: Annotated[Literal["pass"] | None, Given] = Field(
        None,
        description=(
            "`pass`: cookies go both ways. Otherwise the job's are removed, and those that the upstream sets on a "
            "request with a credential stay here."
        ),
    )
    when: Annotated[str | None, Given] = Field(
        None,
        min_length=1,
        description="A CEL condition over `job`, `request`, `intent` and `now`; docs/rules.md lists the names.",
        examples=["job.build_number > 0"],
    )
    inspect: bool = Field(
        True,
        description="false: pass TLS through undecrypted; decided by identity, host and port alone, no credential.",
    )
    credential: Annotated[dict[str, dict[str, Any]] | None, Given] = Field(
        None, min_length=1, max_length=1, description="With what: one connector and the scope it may mint."
    )
    tags: dict[str, Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default_factory=dict,
        max_length=10,
        description="Carried on the audit record and on stored objects.",
        examples=[{"data": "release", "retention": "400d"}],
    )


class RuleFileText(_Strict):
    """A jobgate rule file."""

    rules: tuple[RuleText, ...] = Field(min_length=1, max_length=MAX_RULES, description="The rules, in any order.")


_NAME: Final = re.compile(r"[A-Za-z0-9_.:/@-]{1,128}")


def is_tag_name(name: str) -> bool:
    """Whether a tag's name can also be an S3 object tag and a metric label's value."""
    return _NAME.fullmatch(name) is not None
