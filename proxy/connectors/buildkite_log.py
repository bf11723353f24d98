"""A job's log from Buildkite, for agents that export none (Buildkite, REST API, "Get a job's log output")."""

import re
from datetime import UTC, datetime
from typing import Final

from proxy.connectors.answers import ask, expect_object
from proxy.connectors.parts import Caller
from proxy.model.errors import CredentialError
from proxy.model.event import CiEvent
from proxy.model.grant import Secret
from proxy.model.log import JobLog, LogLine
from proxy.outbound import Call

_API: Final = "https://api.buildkite.com/v2"
_TIMEOUT: Final = 60.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_STAMP: Final = re.compile(r"\x1b_bk;t=([0-9]{1,13})\x07")
"""What the agent puts before a line: when it was printed, in milliseconds since 1970."""


async def fetch_log(caller: Caller, event: CiEvent, token: Secret, limit: int) -> JobLog:
    """Return the log of the job that an event is about. Raises CredentialError when it cannot be had.

    `limit`: bytes of the answer.
    """
    job: dict[str, str | int] = {"organization": event.organization, "job_id": str(event.job_id)}
    if event.pipeline is None or event.build_number is None or event.job_id is None:
        raise CredentialError("the event does not say of which pipeline and build the job is")
    if _NAME.fullmatch(event.pipeline) is None or _NAME.fullmatch(event.job_id) is None:
        raise CredentialError("the event names no pipeline and job of Buildkite's form")
    known = {"pipeline": event.pipeline, "build_id": event.build_id, "step": event.step}
    job |= {name: value for name, value in known.items() if value is not None}
    job["build_number"] = event.build_number
    url = (
        f"{_API}/organizations/{event.organization}/pipelines/{event.pipeline}"
        f"/builds/{event.build_number}/jobs/{event.job_id}/log"
    )
    bearer = Secret(f"Bearer {token.reveal()}")
    headers: dict[str, str | Secret] = {"authorization": bearer, "accept": "application/json"}
    call = Call(method="GET", url=url, headers=headers, timeout=_TIMEOUT, limit=limit)
    answer = await ask(caller, call, "api.buildkite.com")
    content = expect_object(answer, "api.buildkite.com").get("content")
    if not isinstance(content, str):
        raise CredentialError("api.buildkite.com answered without a log")
    return JobLog(source="api", job=job, lines=tuple(map(_line, _split(content))))


def _split(content: str) -> list[str]:
    lines = content.split("\n")
    return lines[:-1] if not lines[-1] else lines


def _line(text: str) -> LogLine:
    stamp = _STAMP.search(text)
    at = None if stamp is None else datetime.fromtimestamp(int(stamp[1]) / 1000, UTC)
    return LogLine(_STAMP.sub("", text).removesuffix("\r"), at)
