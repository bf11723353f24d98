"""How long it takes to tell what a request does: S3's and git's, and one that is nobody's. No decision, no socket."""

import gc
import time
from collections.abc import Callable

from proxy.intents.registry import decode
from proxy.model.authority import Authority
from proxy.model.intent import BodyPrefix, Headers, Intent, RequestView

_SCOPE = "AKIABENCH/20260101/eu-west-1/s3/aws4_request"
_SIGNED: Headers = (
    ("authorization", f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"),
    ("x-amz-date", "20260101T000000Z"),
    ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ("content-type", "application/octet-stream"),
    ("accept-encoding", "identity"),
    ("user-agent", "Boto3/1.43"),
)
_OLD, _NEW = "a" * 40, "b" * 40


def _packet(text: str) -> bytes:
    return f"{len(text) + 4:04x}{text}".encode()


_PUSH = _packet(f"{_OLD} {_NEW} refs/heads/main\0report-status side-band-64k agent=git/2.39") + b"0000PACK"
_FETCH = _packet("command=fetch") + b"0001" + _packet(f"want {_NEW}\n") + _packet("done\n") + b"0000"


def _view(method: str, host: str, path: str, headers: Headers = (), body: bytes | None = None) -> RequestView:
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=None,
        headers=headers,
        body=None if body is None else BodyPrefix(data=body, is_whole=False),
    )


_BUCKET = "releases.s3.eu-west-1.amazonaws.com"
CASES: dict[str, tuple[str, RequestView]] = {
    "S3 put": ("aws s3:PutObject", _view("PUT", _BUCKET, "/payments/app.tar.gz", _SIGNED)),
    "S3 get": ("aws s3:GetObject", _view("GET", _BUCKET, "/payments/app.tar.gz", _SIGNED)),
    "git push": ("git push.update", _view("POST", "github.com", "/acme/app.git/git-receive-pack", (), _PUSH)),
    "git fetch": ("git fetch", _view("POST", "github.com", "/acme/app.git/git-upload-pack", (), _FETCH)),
    "nobody's": ("http GET", _view("GET", "origin.bench.test", "/1k", (("accept", "*/*"),))),
}
"""What is sent, and what it must be told as: a benchmark of a wrong answer would be none."""


def measure(name: str, samples: int) -> float:
    """Return the median of `samples` readings of a case, in microseconds. Raises ValueError for a wrong answer."""
    expected, view = CASES[name]
    ask: Callable[[RequestView], object] = decode
    found = ask(view)
    if not isinstance(found, Intent) or found.name != expected:
        raise ValueError(f"{name} is not told as {expected}")
    took = []
    clock = time.perf_counter_ns
    gc.collect()
    for _ in range(samples):
        start = clock()
        ask(view)
        took.append(clock() - start)
    took.sort()
    return took[samples // 2] / 1e3
