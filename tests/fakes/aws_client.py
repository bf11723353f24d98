"""A job's AWS client: botocore signs requests, and makes pre-signed URLs, with whatever keys it is given."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from proxy.model.intent import RequestView
from proxy.model.placeholder import PUBLIC

KEY, SECRET = PUBLIC.aws_key, PUBLIC.aws_secret.reveal()


def sign_view(
    view: RequestView,
    at: datetime,
    *,
    region: str = "eu-west-1",
    service: str = "s3",
    keys: tuple[str, str, str | None] = (KEY, SECRET, None),
    body: bytes = b"",
) -> RequestView:
    """The same request with the Authorization and x-amz-* fields that botocore puts on it."""
    kind: Any = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    request = _sign(view, at, kind, (region, service), keys, body)
    named = {name.lower() for name in request.headers}
    kept = tuple(pair for pair in view.headers if pair[0] not in named)
    return replace(view, headers=(*kept, *((name.lower(), str(value)) for name, value in request.headers.items())))


def presign_view(
    view: RequestView,
    at: datetime,
    *,
    region: str = "eu-west-1",
    service: str = "s3",
    keys: tuple[str, str, str | None] = (KEY, SECRET, None),
    expires: int = 900,
) -> RequestView:
    """The same request with its signature in the query."""

    def kind(*words: Any) -> Any:
        made: Any = botocore.auth.S3SigV4QueryAuth if service == "s3" else botocore.auth.SigV4QueryAuth
        return made(*words, expires=expires)

    request = _sign(view, at, kind, (region, service), keys, b"")
    return replace(view, query=urlsplit(request.url).query)


def _sign(
    view: RequestView, at: datetime, kind: Any, scope: tuple[str, str], keys: tuple[str, str, str | None], body: bytes
) -> Any:
    make: Any = AWSRequest
    url = f"{view.scheme}://{view.authority.host}{view.path}" + (f"?{view.query}" if view.query else "")
    request = make(view.method, url, headers=dict(view.headers), data=body)
    given: Any = Credentials
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: at.replace(tzinfo=None))
        region, service = scope
        kind(given(*keys), service, region).add_auth(request)
    return request
