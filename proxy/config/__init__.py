"""Settings: inert data. Argument vector, environment and file are read here and nowhere else.

Precedence: command line, then environment (`JOBGATE_*`), then the settings file, then the defaults below.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from proxy.config.audit import AuditSettings
from proxy.config.events import ApprovalSettings, EventSettings
from proxy.config.logs import LogSettings
from proxy.config.sections import Duration, Listener, Networks, Section, parse_listener
from proxy.config.sinks import SinkName, SinkSettings
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import ConfigError, JobgateError, ProtocolError, RuleFileError
from proxy.model.grant import Secret
from proxy.model.identity import TrustedIssuer
from proxy.policy.declaring import check_declaration
from proxy.sources.yaml import Located, load_yaml

DEFAULT_FILE = Path("jobgate.yaml")


class CaSettings(Section):
    """An operator's own CA instead of one made per start. The key file must be readable by its owner alone."""

    certificate: Path
    key: Path


class IssuerSettings(Section):
    """One OIDC issuer this proxy believes."""

    provider: str
    audience: str = Field(min_length=1)
    bound: dict[str, str] = Field(default_factory=dict)
    issuer: str | None = None
    algorithms: tuple[str, ...] | None = None
    jwks_url: str | None = None
    mapping: dict[str, str] = Field(default_factory=dict)
    max_lifetime: Duration = timedelta(hours=2)
    max_age: Duration = timedelta(hours=2)
    leeway: Duration = timedelta(seconds=30)


class TokenSource(Section):
    """Where a token comes from: a file that something else refreshes, or a command that prints it."""

    file: Path | None = None
    command: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.command is None):
            raise ValueError("give exactly one of `file` and `command`")
        return self


class IdentitySettings(TokenSource):
    """Sidecar mode: the one job this proxy serves, so that clients need no proxy password."""

    others: tuple[TokenSource, ...] = ()
    intents: tuple[str, ...] | None = None

    @field_validator("intents")
    @classmethod
    def _check_intents(cls, lines: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if lines is None else check_declaration(lines)


class UpstreamSettings(Section):
    """How upstreams are reached and trusted."""

    trust: Path | None = None
    connect_to: dict[str, str] = Field(default_factory=dict)
    allow_addresses: Networks = ()


class KmsSettings(Section):
    """An asymmetric RSA key in AWS KMS, of usage SIGN_VERIFY."""

    key_id: str = Field(min_length=1, max_length=2048)
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")


class OwnIssuerSettings(Section):
    """jobgate as an issuer: rules with `subject: jobgate` show its tokens about the job to clouds."""

    url: str = Field(pattern=r"^https://[^\s?#@]+[^/\s?#@]$")
    key: Path | None = None
    kms: KmsSettings | None = None
    also: tuple[Path, ...] = ()
    lifetime: Duration = Field(timedelta(minutes=5), gt=timedelta(0), le=timedelta(minutes=15))

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.key is None) == (self.kms is None):
            raise ValueError("give exactly one of `key` and `kms`")
        return self


class SessionSettings(Section):
    """How long a session may live, how many there may be, and who may list them over TCP."""

    ceiling: Duration = timedelta(hours=12)
    maximum: int = Field(1000, ge=1)
    operator_token: Path | None = None


class LimitSettings(Section):
    """Bounds on connections, time and memory; see docs/operating.md for the reasons."""

    connections: int = Field(4096, ge=1)
    drain: Duration = timedelta(seconds=30)
    decision: Duration = timedelta(seconds=5)
    idle: Duration = timedelta(seconds=60)
    head: Duration = timedelta(seconds=15)
    connect: Duration = timedelta(seconds=10)
    signed_body: int = Field(16 * 1024 * 1024, ge=0)


class Settings(Section):
    """Everything an operator can say."""

    listen: Listener = Authority("127.0.0.1", 8080)
    control: str = ".jobgate/control.sock"
    rules: tuple[Path, ...] = (Path("rules"),)
    mode: Literal["enforce", "observe"] = "enforce"
    certs: Path = Path("certs")
    ca: CaSettings | None = None
    audit: AuditSettings = AuditSettings()
    sinks: dict[SinkName, SinkSettings] = Field(default_factory=dict)
    routes: Path | None = None
    issuers: tuple[IssuerSettings, ...] = ()
    identity: IdentitySettings | None = None
    issuer: OwnIssuerSettings | None = None
    events: EventSettings | None = None
    logs: LogSettings | None = None
    approvals: ApprovalSettings | None = None
    teams: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    session: SessionSettings = SessionSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    kills: Path = Path(".jobgate/kills.json")
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _sinks_need_routes(self) -> Self:
        if bool(self.sinks) != (self.routes is not None):
            raise ValueError("`sinks` and `routes` belong together: what goes where, see docs/sinks.md")
        if self.sinks and "origin" not in self.audit.model_fields_set:
            raise ValueError("`sinks` need `audit.origin`, a name that no other proxy uses, or records are mixed up")
        return self

    @model_validator(mode="after")
    def _fetching_needs_events(self) -> Self:
        told = self.events is not None and (self.events.buildkite is not None or self.events.sqs is not None)
        if self.logs is not None and self.logs.fetch is not None and not told:
            raise ValueError("`logs.fetch` needs to be told when jobs end: set `events.buildkite` or `events.sqs`")
        return self

    @model_validator(mode="after")
    def _own_identity_needs_an_issuer(self) -> Self:
        if self.identity is not None and not self.issuers:
            raise ValueError("`identity` needs at least one entry under `issuers` that can verify it")
        return self


# environment variable -> path of the setting; the same values a settings file would hold, as text.
ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "JOBGATE_LISTEN": ("listen",),
    "JOBGATE_CONTROL": ("control",),
    "JOBGATE_RULES": ("rules",),
    "JOBGATE_MODE": ("mode",),
    "JOBGATE_CERTS": ("certs",),
    "JOBGATE_AUDIT": ("audit", "directory"),
}
_LISTS = {("rules",)}


def load_settings(file: Path | None, environ: Mapping[str, str], arguments: Mapping[str, object]) -> Settings:
    """Read settings from a file, the environment and parsed arguments (`listen`, `control`, `rules`, ...).

    `file` of None means `JOBGATE_CONFIG`, else `jobgate.yaml` when it exists. Relative paths in a file are relative to
    it. Raises ConfigError naming file, line and remedy.
    """
    named = file or (Path(environ["JOBGATE_CONFIG"]) if "JOBGATE_CONFIG" in environ else None)
    source = named or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    located = _read_file(source) if source is not None else None
    raw: dict[str, Any] = {} if located is None else _mapping(located, source)
    if source is not None:
        _anchor_paths(raw, source.parent)
    origins: dict[tuple[str | int, ...], str] = {}
    for variable, path in ENVIRONMENT.items():
        if variable in environ:
            value: object = environ[variable]
            _put(raw, path, value.split(":") if path in _LISTS and isinstance(value, str) else value)
            origins[path] = variable
    for name, value in arguments.items():
        if value is not None:
            _put(raw, tuple(name.split(".")), value)
            origins[tuple(name.split("."))] = "command line"
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_explain(error, located, origins)) from None


def connect_map(settings: Settings) -> dict[str, Authority]:
    """Return where `host:port` (or `*.suffix:port`) is dialled instead. Raises ConfigError."""
    places: dict[str, Authority] = {}
    for name, place in settings.upstream.connect_to.items():
        try:
            wild = "*." if name.startswith("*.") else ""
            key = f"{wild}{parse_authority(name.removeprefix('*.'), None)}"
            places[key] = parse_authority(place, None)
        except ProtocolError as error:
            raise ConfigError(f"upstream.connect_to: {name}: {error}; write `host:port: address:port`") from None
    return places


def shipped_rules() -> Path:
    """Return the rules that come with jobgate: inside an installed package, or beside a checkout's."""
    package = Path(__file__).parent.parent
    packaged = package / "_rules"
    return packaged if packaged.is_dir() else package.parent / "rules"


def trusted_issuers(settings: Settings, defaults: Mapping[str, TrustedIssuer]) -> tuple[TrustedIssuer, ...]:
    """Turn issuer settings into what identity verifies against; `defaults` holds each provider's public issuer."""
    return tuple(_trusted(entry, defaults) for entry in settings.issuers)


def operator_token(settings: Settings) -> Secret | None:
    """Return the operators' token, where one is set. Raises ConfigError."""
    path = settings.session.operator_token
    return None if path is None else read_token("session.operator_token", path, 32)


def read_token(setting: str, path: Path, shortest: int) -> Secret:
    """Return the one line of a file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{setting}: {path} cannot be read as a line of text") from None
    if len(text) < shortest:
        raise ConfigError(
            f"{setting}: {path} holds fewer than {shortest} characters; write {shortest} random ones or more"
        )
    return Secret(text)


def _trusted(entry: IssuerSettings, defaults: Mapping[str, TrustedIssuer]) -> TrustedIssuer:
    default = defaults.get(entry.provider)
    issuer = entry.issuer or (default.issuer if default is not None else None)
    if issuer is None:
        raise ConfigError(f"issuers: provider `{entry.provider}` needs `issuer: https://...`")
    return TrustedIssuer(
        provider=entry.provider,
        issuer=issuer,
        audience=entry.audience,
        bound=entry.bound,
        algorithms=entry.algorithms or (default.algorithms if default is not None else ("RS256",)),
        jwks_url=entry.jwks_url,
        mapping=entry.mapping,
        max_lifetime=entry.max_lifetime,
        max_age=entry.max_age,
        leeway=entry.leeway,
    )


def _read_file(path: Path) -> Located:
    try:
        return load_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name another file with --config") from None
    except RuleFileError as error:
        raise ConfigError(str(error)) from None


def _mapping(located: Located, source: Path | None) -> dict[str, Any]:
    if located.value is None:
        return {}
    if not isinstance(located.value, dict):
        raise ConfigError(f"{source}: settings are a mapping of names to values")
    return dict(located.value)


_PATHS = (
    ("certs",),
    ("kills",),
    ("routes",),
    ("rules",),
    ("audit", "directory"),
    ("audit", "checkpoint_key"),
    ("ca", "certificate"),
    ("ca", "key"),
    ("identity", "file"),
    ("issuer", "key"),
    ("issuer", "also"),
    ("events", "buildkite", "token"),
    ("events", "github", "token"),
    ("events", "gitlab", "token"),
    ("logs", "token"),
    ("logs", "directory"),
    ("logs", "fetch", "token"),
    ("approvals", "key"),
    ("upstream", "trust"),
    ("session", "operator_token"),
)


def _anchor_paths(raw: dict[str, Any], folder: Path) -> None:
    """Make the file's relative paths relative to the file, not to wherever the command was started."""
    for path in _PATHS:
        *parents, last = path
        section: Any = raw
        for name in parents:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            section[last] = _anchored(section[last], folder)
    _anchor_destinations(raw, folder)
    identity = raw.get("identity")
    others = identity.get("others") if isinstance(identity, dict) else None
    for source in others if isinstance(others, list) else []:
        if isinstance(source, dict) and "file" in source:
            source["file"] = _anchored(source["file"], folder)
    control = raw.get("control")
    if isinstance(control, str) and not _is_tcp(control):
        raw["control"] = str(_anchored(control, folder))


def _anchor_destinations(raw: dict[str, Any], folder: Path) -> None:
    for section in _destinations(raw):
        for name in ("token", "credentials", "path"):
            if name in section:
                section[name] = _anchored(section[name], folder)
        headers = section.get("headers")
        if isinstance(headers, dict):
            section["headers"] = {name: _anchored(value, folder) for name, value in headers.items()}


def _destinations(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sinks and anchors, which are many and name files."""
    sinks, audit = raw.get("sinks"), raw.get("audit")
    anchors = audit.get("anchors") if isinstance(audit, dict) else None
    found = [*(sinks.values() if isinstance(sinks, dict) else ()), *(anchors if isinstance(anchors, list) else ())]
    return [each for each in found if isinstance(each, dict)]


def _anchored(value: object, folder: Path) -> object:
    if isinstance(value, list):
        return [_anchored(entry, folder) for entry in value]
    return str(folder / value) if isinstance(value, str) else value


def _is_tcp(control: str) -> bool:
    return "/" not in control and control.rpartition(":")[2].isdigit()


def control_place(control: str) -> Authority | Path:
    """Read the control address: `host:port` (loopback) or the path of a Unix socket. Raises ConfigError."""
    if not _is_tcp(control):
        return Path(control.removeprefix("unix:"))
    try:
        return parse_listener(control)
    except JobgateError as error:
        raise ConfigError(f"control: {error}; write 127.0.0.1:PORT or the path of a Unix socket") from None


def _put(raw: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    section = raw
    for name in parents:
        # `audit:` may stand in a file with nothing behind it.
        if not isinstance(section.get(name), dict):
            section[name] = {}
        section = section[name]
    section[last] = value


def _explain(error: ValidationError, located: Located | None, origins: Mapping[tuple[str | int, ...], str]) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in fault["loc"] if isinstance(part, str | int))
        name = ".".join(str(part) for part in path) or "settings"
        said = "there is no such setting" if fault["type"] == "extra_forbidden" else fault["msg"]
        said = said.removeprefix("Value error, ")
        lines.append(f"{_origin(path, located, origins)}{name}: {said}; see docs/operating.md")
    return "\n".join(lines)


def _origin(path: tuple[str | int, ...], located: Located | None, origins: Mapping[tuple[str | int, ...], str]) -> str:
    """Return where a value was written: a variable, the command line, or file and line."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return f"{origins[path[:length]]}: "
    return "" if located is None else f"{located.name}:{located.line(path)}: "
