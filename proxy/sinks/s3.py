"""Objects in S3, of whole lines as they stand in the trail: never overwritten, checked by digest, locked where set.

`<prefix>/<origin>/trail-<first>-<last>.jsonl` are a copy of the trail when every record is picked, else `records-...`;
beside them `key-<id>.pub` and `checkpoints-<size>`. After a crash of jobgate two objects may hold the same records,
never other ones under the same numbers. Sources: S3 API Reference, PutObject, HeadObject; "Using S3 Object Lock".
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from proxy.audit.checkpoint import read_verifier
from proxy.audit.naming import key_name
from proxy.model.errors import AuditError, CredentialError
from proxy.model.record import Checkpoint, Kind
from proxy.outbound import Answer, Call, OutboundError
from proxy.sinks.http import retry_after
from proxy.sinks.port import Batch, Caller, SinkError

MAX_TAGS: Final = 10
MAX_VALUE: Final = 256
"""S3 takes so many tags of an object, and characters of a value."""

_TIMEOUT: Final = 60.0
_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_NO_TAG: Final = re.compile(r"[^A-Za-z0-9 +\-=._:/@]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """How long nobody deletes an object: `keep`, or longer where a record has a tag of `by_tag` (name, value)."""

    mode: str
    keep: timedelta
    by_tag: Mapping[tuple[str, str], timedelta] = field(default_factory=dict)

    def until(self, now: datetime, tags: Iterable[tuple[str, str]]) -> datetime:
        """Return when an object of records with these tags may be deleted."""
        return now + max([self.keep, *(self.by_tag[each] for each in tags if each in self.by_tag)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where objects go. `base` is the bucket's URL without a slash at its end; `call` signs as the sidecar."""

    name: str
    base: str
    prefix: str
    call: Caller
    now: Callable[[], datetime]
    kms_key_id: str | None = None
    lock: Lock | None = None


class S3Sink:
    """Puts one object a batch. Also keeps checkpoints: a locked one shows when the trail was cut short."""

    def __init__(self, bucket: Bucket, *, is_whole: bool) -> None:
        """`is_whole`: every record of the trail comes here."""
        self._bucket = bucket
        self._stem = "trail" if is_whole else "records"

    async def send(self, batch: Batch) -> None:
        """Return when the object is there, with this content. Raises SinkError: what S3 refuses is never left out."""
        for record in batch.records:
            if record["kind"] == Kind.TRAIL_OPENED:
                await self._keep_key(batch.origin, str(record.get("key")))
        first, last = batch.records[0]["seq"], batch.records[-1]["seq"]
        tags = [pair for record in batch.records for pair in _tags(record).items()]
        await self._put(batch.origin, f"{self._stem}-{first:012d}-{last:012d}.jsonl", b"".join(batch.lines), tags)

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Return when a checkpoint is there. Raises SinkError."""
        await self._put(checkpoint.origin, f"checkpoints-{checkpoint.size:012d}", f"{checkpoint.signed}\n".encode(), [])

    async def close(self) -> None:
        """Nothing is held open."""

    async def _keep_key(self, origin: str, text: str) -> None:
        try:
            verifier = read_verifier(text)
        except AuditError:
            return  # a record of another layout; the copy is complete without it
        await self._put(origin, key_name(verifier.key_id), verifier.to_file().encode(), [])

    async def _put(self, origin: str, name: str, body: bytes, tags: list[tuple[str, str]]) -> None:
        bucket = self._bucket
        url = f"{bucket.base}/{'/'.join(filter(None, (bucket.prefix, origin, name)))}"
        digest = b64encode(sha256(body).digest()).decode()
        headers = {
            "content-type": "application/x-ndjson" if name.endswith(".jsonl") else "text/plain",
            "if-none-match": "*",
            "x-amz-sdk-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": digest,
            **({"x-amz-tagging": urlencode(sorted(object_tags(tags).items()))} if tags else {}),
        }
        if bucket.kms_key_id is not None:
            headers["x-amz-server-side-encryption"] = "aws:kms"
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = bucket.kms_key_id
        if bucket.lock is not None:
            until = bucket.lock.until(bucket.now(), tags)
            headers["x-amz-object-lock-mode"] = bucket.lock.mode
            headers["x-amz-object-lock-retain-until-date"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = await self._call(Call(method="PUT", url=url, headers=headers, body=body, timeout=_TIMEOUT))
        if answer.status == 412:
            await self._compare(url, name, body, digest)
        elif not 200 <= answer.status < 300:
            raise self._refusal(answer, name)

    async def _compare(self, url: str, name: str, body: bytes, digest: str) -> None:
        """Accept an object that is there already if it is this one: an answer was lost, or jobgate was."""
        answer = await self._call(Call(method="HEAD", url=url, headers={"x-amz-checksum-mode": "ENABLED"}))
        if answer.status != 200:
            raise self._refusal(answer, name)
        found = answer.headers.get("x-amz-checksum-sha256"), answer.headers.get("content-length")
        if found != (digest, str(len(body))):
            raise SinkError(f"{self._bucket.name}: {name} is there with another content: two trails share one origin")

    async def _call(self, call: Call) -> Answer:
        try:
            return await self._bucket.call(call)
        except (OutboundError, CredentialError) as error:
            raise SinkError(f"{self._bucket.name}: {error}") from None

    def _refusal(self, answer: Answer, name: str) -> SinkError:
        code = _CODE.search(answer.body)
        said = code[1].decode() if code is not None else f"status {answer.status}"
        return SinkError(f"{self._bucket.name}: {name}: {said}", after=retry_after(answer))


def object_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return an object's tags from its records': of one name all values, within what S3 takes."""
    values: dict[str, list[str]] = {}
    for name, value in tags:
        seen = values.setdefault(name, [])
        if (shown := _NO_TAG.sub("_", value)) not in seen:
            seen.append(shown)
    joined = {name: " ".join(sorted(each)) for name, each in sorted(values.items())[:MAX_TAGS]}
    return {name: text if len(text) <= MAX_VALUE else "many" for name, text in joined.items()}


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    tags = record.get("tags")
    return {str(name): str(value) for name, value in tags.items()} if isinstance(tags, dict) else {}
