"""Settings of the audit trail."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from proxy.config.sections import Duration, Section

type TagName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
type TagValue = Annotated[str, Field(min_length=1, max_length=256)]
type ClassName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
type JobFact = Literal[
    "organization",
    "pipeline",
    "repository",
    "step",
    "branch",
    "tag",
    "commit",
    "build_number",
    "build_id",
    "job_id",
    "source",
    "environment",
]


class SealKms(Section):
    """A symmetric key in AWS KMS: the sidecar needs `kms:GenerateDataKey` on it, and must not have `kms:Decrypt`."""

    key_id: str = Field(min_length=1, max_length=2048)
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")


class SealClass(Section):
    """Who can open one class of records: any of these age recipients, or whoever KMS lets decrypt."""

    recipients: tuple[str, ...] = Field((), max_length=16)
    kms: SealKms | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.recipients) == (self.kms is not None):
            raise ValueError("give exactly one of `recipients` and `kms`")
        return self


class SealSettings(Section):
    """Which records are sealed, for whom, and what of them stays readable."""

    classes: dict[ClassName, SealClass] = Field(min_length=1)
    tag: TagName = "classification"
    default: str | None = None
    clear: tuple[str, ...] = ()
    rotate: Duration = Field(timedelta(hours=1), ge=timedelta(minutes=1))

    @model_validator(mode="after")
    def _default_is_a_class(self) -> Self:
        if self.default is not None and self.default not in self.classes:
            raise ValueError(f"`default` is {self.default!r}, which is not one of the classes")
        return self


class FileAnchor(Section):
    """Checkpoints appended to a file: on another machine's disk, or one that only takes appends."""

    kind: Literal["file"]
    path: Path


class HttpAnchor(Section):
    """Checkpoints by POST, as text; `token`: a file with what goes as bearer token."""

    kind: Literal["http"]
    url: str = Field(pattern=r"^https://[^\s#@]+$", max_length=2048)
    token: Path | None = None


type Anchor = Annotated[FileAnchor | HttpAnchor, Field(discriminator="kind")]


class RetentionSettings(Section):
    """How long segments stay: `keep`, or longer for tags, `by_tag: {name: {value: duration}}`."""

    keep: Duration = Field(ge=timedelta(days=1))
    by_tag: dict[TagName, dict[str, Duration]] = Field(default_factory=dict)


class AuditSettings(Section):
    """Where the trail goes and how durable a record is before anything leaves."""

    directory: Path = Path("audit")
    origin: str = Field("jobgate", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}[A-Za-z0-9]$")
    durability: Literal["fsync", "write"] = "fsync"
    segment_bytes: int = Field(64 * 1024 * 1024, ge=4096)
    segment_age: Duration = timedelta(hours=1)
    checkpoint_key: Path | None = None
    stdout: bool = False
    tags: dict[TagName, TagValue] = Field(default_factory=dict)
    job_tags: tuple[JobFact, ...] = ()
    seal: SealSettings | None = None
    retention: RetentionSettings | None = None
    spool_bytes: int = Field(1024 * 1024 * 1024, ge=16 * 1024 * 1024)
    anchors: tuple[Anchor, ...] = ()
