"""Sinks that take batches by POST: plain JSON, Splunk's HTTP Event Collector, the bulk API of Elasticsearch.

What a destination says decides: 2xx is taken; a batch that is too large is halved; data it calls bad is final for one
record; all else (a wrong token too) holds the sink until it is mended, as nothing may be lost by a mistake in a
setting. Sources: Splunk, "Format events for HTTP Event Collector" and "HTTP Event Collector Indexer Acknowledgment";
Elasticsearch reference, "Bulk API".
"""

import asyncio
import gzip
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, Final

from proxy.audit.forms import FORMS
from proxy.audit.place import Place
from proxy.model.grant import Secret
from proxy.outbound import Answer, Call, OutboundError
from proxy.sinks.port import Batch, Caller, SinkError

type Headers = Callable[[], Mapping[str, str | Secret]]
"""The headers that say who sends, read anew for each batch: a token file may be replaced."""

_TIMEOUT: Final = 30.0
_LONGEST: Final = 3600.0
_TOO_LARGE: Final = 413
_BAD_DATA: Final = frozenset({400, 422})
_SPLUNK_BAD_DATA: Final = frozenset({5, 6, 12, 13, 15})
"""No data, invalid format, event blank or missing, error in indexed fields."""
_ELASTIC_BUSY: Final = frozenset({429, 502, 503, 504})
_EXISTS: Final = 409
_ACK_ASKED: Final = 60
_ACK_WAIT: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where batches go, in which form. `name` is what the settings call it."""

    name: str
    url: str
    form: str
    call: Caller
    headers: Headers = field(default=dict, repr=False)


class HttpSink:
    """POSTs a JSON array, or one object a line. `Idempotency-Key` names the batch: the same one has it again."""

    def __init__(self, to: Destination, *, lines: bool = False) -> None:
        """`lines`: newline-delimited JSON instead of an array."""
        self._to = to
        self._lines = lines

    async def send(self, batch: Batch) -> None:
        """Return when the answer is 2xx. Raises SinkError."""
        events = _events(batch, self._to.form)
        if self._lines:
            body, kind = "".join(f"{_dump(event)}\n" for event in events), "application/x-ndjson"
        else:
            body, kind = _dump(events), "application/json"
        first, last = batch.records[0]["seq"], batch.records[-1]["seq"]
        named = {"content-type": kind, "idempotency-key": f'"{batch.origin}/{first}-{last}-{len(batch.lines)}"'}
        answer = await _post(self._to, self._to.url, body.encode(), named)
        _check(self._to.name, answer, is_bad=answer.status in _BAD_DATA)

    async def close(self) -> None:
        """Nothing is held open."""


class SplunkSink:
    """Events for Splunk. With `acknowledges` a batch counts once indexers say they have it."""

    def __init__(self, to: Destination, *, index: str | None = None, acknowledges: bool = False) -> None:
        """`to.url` is the collector's base: `https://host:8088`."""
        self._to = to
        self._index = index
        self._acknowledges = acknowledges
        self._channel = str(uuid.uuid4())

    async def send(self, batch: Batch) -> None:
        """Return when Splunk has it: code 0, and each event's acknowledgement where that is on. Raises SinkError."""
        events = zip(batch.records, _events(batch, self._to.form), strict=True)
        body = "".join(_dump(self._wrap(batch.origin, record, event)) for record, event in events)
        url = f"{self._to.url}/services/collector/event"
        answer = await _post(self._to, url, body.encode(), {"content-type": "application/json", **self._channelled()})
        said = _read(answer)
        code = said.get("code")
        _check(self._to.name, answer, is_bad=code in _SPLUNK_BAD_DATA, said=f"code {code}" if code else "")
        if self._acknowledges:
            await self._wait(said.get("ackId"))

    async def close(self) -> None:
        """Nothing is held open."""

    def _wrap(self, origin: str, record: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
        wrapped: dict[str, Any] = {
            "time": datetime.fromisoformat(str(record["at"])).timestamp(),
            "source": origin,
            "sourcetype": "jobgate",
            "event": event,
            "fields": {"record_id": f"{origin}/{record['seq']}", "kind": str(record["kind"])},
        }
        return wrapped if self._index is None else {**wrapped, "index": self._index}

    def _channelled(self) -> dict[str, str]:
        return {"x-splunk-request-channel": self._channel} if self._acknowledges else {}

    async def _wait(self, number: object) -> None:
        """Ask until the acknowledgement is there; one that does not come is a batch to send again."""
        if not isinstance(number, int):
            raise SinkError(f"{self._to.name}: no ackId in the answer: indexer acknowledgement is off for this token")
        body = _dump({"acks": [number]}).encode()
        for _ in range(_ACK_ASKED):
            headers = {"content-type": "application/json", **self._channelled()}
            answer = await _post(self._to, f"{self._to.url}/services/collector/ack", body, headers)
            _check(self._to.name, answer)
            if _read(answer).get("acks", {}).get(str(number)) is True:
                return
            await asyncio.sleep(_ACK_WAIT)
        raise SinkError(f"{self._to.name}: the indexers did not acknowledge the batch in time")


class ElasticSink:
    """`create` actions of the bulk API: a record's id is its origin and number, so a second one is a conflict."""

    def __init__(self, to: Destination, *, index: str) -> None:
        """`to.url` is the cluster's base; `index` an index, alias or data stream."""
        self._to = to
        self._index = index

    async def send(self, batch: Batch) -> None:
        """Return when each record is there. Raises SinkError; final only for a single record that does not fit."""
        rows: list[str] = []
        for record, event in zip(batch.records, _events(batch, self._to.form), strict=True):
            rows.append(_dump({"create": {"_index": self._index, "_id": f"{batch.origin}-{record['seq']}"}}))
            rows.append(_dump({"@timestamp": record["at"], **event}))
        body = "".join(f"{row}\n" for row in rows).encode()
        answer = await _post(self._to, f"{self._to.url}/_bulk", body, {"content-type": "application/x-ndjson"})
        _check(self._to.name, answer)
        self._check_items(_read(answer), len(batch.lines))

    async def close(self) -> None:
        """Nothing is held open."""

    def _check_items(self, said: Mapping[str, Any], count: int) -> None:
        items = said.get("items")
        if not isinstance(items, list) or len(items) != count:
            raise SinkError(f"{self._to.name}: an answer that is none of the bulk API's")
        found = [item.get("create", {}) for item in items if isinstance(item, dict)]
        failed = [each for each in found if each.get("status") not in (200, 201, _EXISTS)]
        if not failed:
            return
        busy = [each for each in failed if each.get("status") in _ELASTIC_BUSY]
        worst = (busy or failed)[0]
        error = worst.get("error")
        kind = error.get("type") if isinstance(error, dict) else None
        message = f"{self._to.name}: {len(failed)} of {count} records: {worst.get('status')} {_word(kind)}"
        # What fits was created and conflicts next time; halving leads to the records that do not fit.
        raise SinkError(message, is_final=not busy and all(each.get("status") == 400 for each in failed))


def digests(batch: Batch) -> Sequence[Place]:
    """Return where each record of a batch stands."""
    return [Place(batch.origin, sha256(line).hexdigest()) for line in batch.lines]


def _events(batch: Batch, form: str) -> list[dict[str, Any]]:
    make = FORMS[form]
    return [make(record, place) for record, place in zip(batch.records, digests(batch), strict=True)]


async def _post(to: Destination, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    packed = gzip.compress(body, compresslevel=5, mtime=0)
    sent = {**headers, "content-encoding": "gzip", **to.headers()}
    try:
        return await to.call(Call(method="POST", url=url, headers=sent, body=packed, timeout=_TIMEOUT))
    except OutboundError as error:
        raise SinkError(f"{to.name}: {error}") from None


def _check(name: str, answer: Answer, *, is_bad: bool = False, said: str = "") -> None:
    """Raise SinkError unless the answer is 2xx. `is_bad`: the destination says it is the data."""
    if 200 <= answer.status < 300:
        return
    message = f"{name}: status {answer.status}{f', {said}' if said else ''}"
    raise SinkError(message, after=retry_after(answer), is_final=is_bad or answer.status == _TOO_LARGE)


def retry_after(answer: Answer) -> float | None:
    """Return how many seconds an answer asks to wait, an hour at most (RFC 9110 10.2.3)."""
    text = answer.headers.get("retry-after", "")
    if text.isdigit():
        return min(float(text), _LONGEST)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    wait = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait.total_seconds(), 0.0), _LONGEST)


def _read(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _word(text: object) -> str:
    """Return a code word of a destination's; anything longer or odder is not shown."""
    word = str(text or "")
    return word if word.replace("_", "").isalnum() and len(word) <= 64 else ""


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
