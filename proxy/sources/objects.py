"""A copy of a trail in S3, as a sink of ours writes it, fetched and put together as a local trail.

Objects may repeat records after a crash, with the same bytes; nothing else may be in two of them. What is missing or
differs is an error that names it: a question is not answered over a part. Needs the reader's own AWS credentials.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from proxy.audit.chain import read_envelope
from proxy.audit.naming import CHECKPOINTS, segment_name
from proxy.model.errors import AuditError

SCHEME: Final = "s3://"

_LINES: Final = re.compile(r"(?P<stem>trail|records)-(?P<first>[0-9]{12,18})-(?P<last>[0-9]{12,18})\.jsonl")
_CHECKPOINT: Final = re.compile(r"checkpoints-[0-9]{12,18}")
_KEY: Final = re.compile(r"key-[0-9a-f]{8}\.pub")
_AT_ONCE: Final = 8
_REMEMBERED: Final = 20_000
"""Records whose digests are kept, to compare those that come twice."""


@dataclass(frozen=True, slots=True)
class _Object:
    key: str
    name: str
    size: int


def fetch_copy(url: str, into: Path, advance: Callable[[int, int], None] = lambda _done, _total: None) -> None:
    """Fetch the copy under `s3://bucket/prefix` into an empty directory. `advance` is told of bytes done, and of all.

    Raises AuditError.
    """
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    client = _client()
    found = list(_list(client, bucket, prefix.strip("/"), url))
    _one_origin(found, url)
    lines = sorted((each for each in found if _LINES.fullmatch(each.name)), key=lambda each: each.name)
    if not lines:
        raise AuditError(f"{url} holds no copy of a trail: no trail-*.jsonl under it")
    if any(each.name.startswith("records-") for each in lines):
        raise AuditError(f"{url} is no copy of a trail: its routes picked some records only")
    total, done = sum(each.size for each in found), 0
    others = [each for each in found if not _LINES.fullmatch(each.name)]
    with _Assembly(into, url) as assembly:
        for each, body in _fetch(client, bucket, [*others, *lines]):
            done += len(body)
            advance(done, total)
            if _LINES.fullmatch(each.name):
                assembly.add(each.key, body)
            elif _KEY.fullmatch(each.name):
                (into / each.name).write_bytes(body)
            elif _CHECKPOINT.fullmatch(each.name):
                with (into / CHECKPOINTS).open("ab") as file:
                    file.write(body)


class _Assembly:
    """Puts lines together, each once, in one segment."""

    def __init__(self, into: Path, url: str) -> None:
        self._into = into
        self._url = url
        self._file: Any = None
        self._next = 0
        self._digests: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, key: str, body: bytes) -> None:
        for line in body.splitlines(keepends=True):
            try:
                number = read_envelope(line).sequence
            except AuditError:
                raise AuditError(f"{self._url}: {key}: holds what is no record") from None
            if self._file is None:
                self._file = (self._into / segment_name(number)).open("wb")
                self._next = number
            if number > self._next:
                raise AuditError(f"{self._url}: {key}: records {self._next} to {number - 1} are missing before it")
            digest = sha256(line).digest()
            if number < self._next:
                if self._digests.get(number) != digest:
                    raise AuditError(f"{self._url}: {key}: record {number} differs from another object's")
                continue
            self._file.write(line)
            self._digests[number] = digest
            self._digests.pop(number - _REMEMBERED, None)
            self._next += 1


def _client() -> Any:
    try:
        import botocore.session  # noqa: PLC0415 - heavy, optional
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError:
        raise AuditError("reading from S3 needs the extra: pip install 'jobgate[aws]'") from None
    session: Any = botocore.session.Session  # untyped
    try:
        return session().create_client("s3")
    except BotoCoreError as error:
        raise AuditError(f"S3 cannot be asked: {type(error).__name__}: set AWS_REGION and credentials") from None


def _list(client: Any, bucket: str, prefix: str, url: str) -> Iterator[_Object]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - `_client` has them

    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "")
        for page in pages:
            for each in page.get("Contents", ()):
                name = each["Key"].rpartition("/")[2]
                if any(shape.fullmatch(name) for shape in (_LINES, _CHECKPOINT, _KEY)):
                    yield _Object(each["Key"], name, int(each["Size"]))
    except ClientError as error:
        raise AuditError(f"{url}: {error.response.get('Error', {}).get('Code')}") from None
    except BotoCoreError as error:
        raise AuditError(f"{url} cannot be listed: {type(error).__name__}") from None


def _one_origin(found: list[_Object], url: str) -> None:
    folders = sorted({each.key.rpartition("/")[0] for each in found})
    if len(folders) > 1:
        raise AuditError(f"{url} holds several trails; name one: {', '.join(folders[:20])}")


def _fetch(client: Any, bucket: str, objects: list[_Object]) -> Iterator[tuple[_Object, bytes]]:
    """Give out objects with their content, in order; a few are under way at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, len(objects), _AT_ONCE):
            some = objects[start : start + _AT_ONCE]
            yield from zip(some, threads.map(lambda each: _get(client, bucket, each), some), strict=True)


def _get(client: Any, bucket: str, each: _Object) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - `_client` has them

    try:
        answer = client.get_object(Bucket=bucket, Key=each.key, ChecksumMode="ENABLED")
        body = bytes(answer["Body"].read())  # its SHA-256 is compared on the way
    except ClientError as error:
        raise AuditError(f"{each.key}: {error.response.get('Error', {}).get('Code')}") from None
    except BotoCoreError as error:
        raise AuditError(f"{each.key} cannot be fetched: {type(error).__name__}") from None
    if len(body) != each.size:
        raise AuditError(f"{each.key}: {len(body)} bytes, {each.size} were listed")
    return body
