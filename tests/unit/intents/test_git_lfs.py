"""What calls of Git LFS mean."""

import json
from typing import Any

import pytest

from proxy.intents import git
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

OID = "d" * 64
READ, WRITE, LIST, ADMIN, UNKNOWN = (
    EffectClass.READ,
    EffectClass.WRITE,
    EffectClass.LIST,
    EffectClass.ADMIN,
    EffectClass.UNKNOWN,
)


def ask(line: str, body: Any = None) -> Intent | BodyWanted | None:
    method, _, path = line.partition(" ")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority("github.com", 443),
        path=path,
        query=None,
        headers=(),
        body=None if body is None else BodyPrefix(data=data, is_whole=True),
    )
    return git.decode(view, frozenset())


NOTHING = {"objects": "", "object_count": "0"}
BATCH = "POST /Acme/app.git/info/lfs/objects/batch"
LOCKS = "POST /acme/app.git/info/lfs/locks"


@pytest.mark.parametrize(
    "line, body, action, effect, facts",
    [
        (
            BATCH,
            {"operation": "download", "objects": [{"oid": OID, "size": 1}]},
            "lfs.download",
            READ,
            {"objects": OID, "object_count": "1"},
        ),
        (
            BATCH,
            {"operation": "upload", "objects": [{"oid": OID}] * 9, "ref": {"name": "refs/heads/main"}},
            "lfs.upload",
            WRITE,
            {"objects": " ".join([OID] * 8), "object_count": "9", "ref": "refs/heads/main"},
        ),
        (BATCH, {"operation": "upload", "objects": [], "ref": {"name": 1}}, "lfs.upload", WRITE, NOTHING),
        ("GET /acme/app.git/info/lfs/locks", None, "lfs.locks", LIST, {}),
        (LOCKS, {"path": "a.psd"}, "lfs.lock", WRITE, {"path": "a.psd"}),
        (f"{LOCKS}/verify", None, "lfs.verify", READ, {}),
        (f"{LOCKS}/7/unlock", {"force": False}, "lfs.unlock", WRITE, {}),
        (f"{LOCKS}/7/unlock", {}, "lfs.unlock", WRITE, {}),
        (f"{LOCKS}/7/unlock", {"force": True}, "lfs.unlock", ADMIN, {}),
        (f"GET /acme/app.git/gitlab-lfs/objects/{OID}", None, "lfs.download", READ, {"objects": OID}),
        (f"PUT /acme/app.git/gitlab-lfs/objects/{OID}/12", None, "lfs.upload", WRITE, {"objects": OID}),
        (f"DELETE /acme/app.git/gitlab-lfs/objects/{OID}", None, "unknown", UNKNOWN, {}),
        ("POST /acme/app.git/info/lfs/new", None, "unknown", UNKNOWN, {}),
        ("GET /acme/app.git/info/lfs/new", None, "unknown", UNKNOWN, {}),
    ],
)  # fmt: skip
def test_calls(line: str, body: Any, action: str, effect: EffectClass, facts: dict[str, str]) -> None:
    """Transfers by direction, locks, and what is none of them."""
    found = ask(line, body)
    assert isinstance(found, Intent)
    assert (found.name, found.effect, found.facts) == (f"git {action}", effect, facts)
    assert found.resource.id == "github.com/acme/app"


@pytest.mark.parametrize("line", [BATCH, LOCKS, f"{LOCKS}/7/unlock"])
def test_the_body_is_asked_for(line: str) -> None:
    """What is done stands there."""
    assert isinstance(ask(line), BodyWanted)


@pytest.mark.parametrize(
    "line, body",
    [
        (BATCH, {"operation": "delete", "objects": []}),
        (BATCH, {"objects": []}),
        (BATCH, {"operation": "upload"}),
        (BATCH, {"operation": "upload", "objects": {}}),
        (BATCH, {"operation": "upload", "objects": ["x"]}),
        (BATCH, {"operation": "upload", "objects": [{"oid": "x"}]}),
        (BATCH, {"operation": "upload", "objects": [{"oid": OID}] * 10_001}),
        (BATCH, b'{"operation": "download", "operation": "upload", "objects": []}'),
        (BATCH, {"Operation": "upload", "operation": "download", "objects": []}),
        (LOCKS, {}),
        (f"{LOCKS}/7/unlock", {"force": "yes"}),
        (f"{LOCKS}/7/unlock", b"force"),
    ],
)
def test_a_broken_call_is_refused(line: str, body: Any) -> None:
    """Neither up nor down, no objects, two readings."""
    with pytest.raises(IntentError):
        ask(line, body)
