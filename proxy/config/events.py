"""Settings of what a CI tells, and of whom jobgate tells."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from proxy.config.sections import Listener, Section
from proxy.model.authority import Authority


class BuildkiteEvents(Section):
    """A webhook of one Buildkite organization: its token, in a file, and how deliveries show it."""

    organization: str = Field(min_length=1)
    token: Path
    form: Literal["signature", "token"] = "signature"


class GithubEvents(Section):
    """A webhook of one GitHub organization, or owner: its secret, in a file."""

    organization: str = Field(min_length=1)
    token: Path


class GitlabEvents(Section):
    """A webhook of one GitLab group or namespace: its secret token, in a file."""

    organization: str = Field(min_length=1)
    token: Path


class SqsEvents(Section):
    """A queue that an EventBridge rule fills with the events of one Buildkite organization."""

    organization: str = Field(min_length=1)
    queue: str = Field(pattern=r"^https://[^\s#@]+$", max_length=2048)
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")


class EventSettings(Section):
    """Where CIs deliver their events, behind whatever ends TLS; or the queue they are fetched from."""

    listen: Listener = Authority("127.0.0.1", 8082)
    buildkite: BuildkiteEvents | None = None
    github: GithubEvents | None = None
    gitlab: GitlabEvents | None = None
    sqs: SqsEvents | None = None

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not (self.buildkite or self.github or self.gitlab or self.sqs):
            raise ValueError("name whose events: `buildkite`, `github`, `gitlab` or `sqs`")
        return self


class ApprovalSettings(Section):
    """Who is told, over https, that a person is asked; `key`: a file with what the notices are signed with."""

    notify: str = Field(pattern=r"^https://[^\s#@]+$")
    key: Path
