"""Blobs, containers and accounts, by the words of the query; copies and renames by their headers."""

import pytest

from proxy.intents import azure
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Headers, Intent, RequestView

READ, LIST, WRITE, DELETE, ADMIN, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.ADMIN,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)
HOST = "acme.blob.core.windows.net"


def ask(line: str, headers: Headers = (), host: str = HOST) -> Intent:
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    found = azure.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=query if mark else None,
            headers=headers,
        ),
        frozenset(),
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /?comp=list", "enumerate", LIST, ""),
        ("PUT /?restype=service&comp=properties", "settings.change", ADMIN, ""),
        ("POST /?restype=service&comp=userdelegationkey", "delegation-key", CREDENTIAL, ""),
        ("GET /c?restype=container&comp=list", "enumerate", LIST, "/c"),
        ("GET /c?restype=container", "container.get", READ, "/c"),
        ("PUT /c?restype=container", "container.put", ADMIN, "/c"),
        ("PUT /c?restype=container&comp=acl", "container.change", ADMIN, "/c"),
        ("DELETE /c?restype=container", "container.remove", DELETE, "/c"),
        ("GET /c/a/b.txt", "get", READ, "/c/a/b.txt"),
        ("HEAD /c/a%20b", "get", READ, "/c/a b"),
        ("PUT /c/a", "put", WRITE, "/c/a"),
        ("PUT /c/a?comp=block&blockid=x", "put.block", WRITE, "/c/a"),
        ("PUT /c/a?comp=blocklist", "put.blocklist", WRITE, "/c/a"),
        ("PUT /c/a?comp=tags", "put.tags", WRITE, "/c/a"),
        ("PUT /c/a?comp=invent", "unknown", UNKNOWN, "/c/a"),
        ("POST /c/a?comp=query", "query", READ, "/c/a"),
        ("POST /c/a", "unknown", UNKNOWN, "/c/a"),
        ("DELETE /c/a", "remove", DELETE, "/c/a"),
        ("PUT /c/a?resource=file", "put", WRITE, "/c/a"),
        ("PUT /c/a?resource=directory", "put", WRITE, "/c/a"),
        ("POST /c/a?resource=file", "put", UNKNOWN, "/c/a"),
        ("GET /c?resource=filesystem&recursive=true", "enumerate", LIST, "/c"),
        ("PATCH /c/a?action=append&position=0", "put.append", WRITE, "/c/a"),
        ("PATCH /c/a?action=setAccessControl", "acl.change", ADMIN, "/c/a"),
        ("GET /c/a?action=getAccessControl", "get", READ, "/c/a"),
    ],
)
def test_operations(line: str, action: str, effect: EffectClass, where: str) -> None:
    """Blobs are written, containers and accounts are settings, a key that signs for others is a credential."""
    found = ask(line)
    assert (found.name, found.effect, found.resource.id) == (f"azure blob.{action}", effect, f"acme.blob{where}")
    assert found.facts == {}


def test_one_blob_has_one_id() -> None:
    """By the second region, by Data Lake's host and with a signature in the query."""
    for host in ("acme-secondary.blob.core.windows.net", "acme.dfs.core.windows.net"):
        assert ask("GET /c/a", host=host).resource.id == "acme.blob/c/a"
    signed = ask("GET /c/a?sig=secret&sv=1")
    assert (signed.resource.id, signed.facts) == ("acme.blob/c/a", {"sas": "yes"})


@pytest.mark.parametrize(
    "source, where",
    [
        ("https://acme.blob.core.windows.net/c/b?sig=x", "acme.blob/c/b"),
        ("https://Other.blob.core.windows.net/c/b", "other.blob/c/b"),
        ("https://evil.example/x/y", "evil.example/x/y"),
        ("/c/b", "acme.blob/c/b"),
    ],
)
def test_a_copy_reads_its_source(source: str, where: str) -> None:
    """In this account, in another, or anywhere at all."""
    found = ask("PUT /c/a", (("x-ms-copy-source", source),))
    assert [(each.action, each.resource.id, each.effect) for each in found.also] == [("blob.get", where, READ)]


def test_a_rename_removes_its_source() -> None:
    """In Data Lake."""
    found = ask("PUT /c/a?resource=file", (("x-ms-rename-source", "/c/b?sig=x"),))
    assert [(each.action, each.resource.id, each.effect) for each in found.also] == [
        ("blob.remove", "acme.blob/c/b", DELETE)
    ]
    plain = ask("PUT /c/a", (("x-ms-rename-source", "/c/b"),))
    assert plain.also[0].resource.id == "acme.blob/c/b"


@pytest.mark.parametrize(
    "line, headers",
    [
        ("GET /c/../b", ()),
        ("GET /c//b", ()),
        ("GET /c/a?comp=acl&comp=list", ()),
        ("GET /c/a%0Ab", ()),
        ("PUT /c/a", (("x-ms-copy-source", "https://x.example/a/../b"),)),
        ("PUT /c/a", (("x-ms-rename-source", "c/b"),)),
        ("POST /?comp=batch", (("x-http-method", "GET"),)),
    ],
)
def test_two_readings_are_refused(line: str, headers: Headers) -> None:
    """Hidden segments, doubled words and sources that are no plain paths are denied."""
    with pytest.raises(IntentError):
        ask(line, headers)
