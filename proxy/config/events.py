"""Settings of what a CI tells, and of whom jobgate tells."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from proxy.config.sections import Listener, Section
from proxy.model.authority import Authority


class BuildkiteEvents(Section):
    """A webhook of one Buildkite organization: its token, in a file, and how deliveries show it."""

    organization: str = Field(min_length=1)
    token: Path
    form: Literal["signature", "token"] = "signature"


class EventSettings(Section):
    """Where a CI delivers its events, behind whatever ends TLS."""

    listen: Listener = Authority("127.0.0.1", 8082)
    buildkite: BuildkiteEvents


class ApprovalSettings(Section):
    """Who is told, over https, that a person is asked; `key`: a file with what the notices are signed with."""

    notify: str = Field(pattern=r"^https://[^\s#@]+$")
    key: Path
