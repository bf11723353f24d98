"""The URLs in an LFS batch's answer mean what the batch meant; an odd answer leads nowhere."""

import json
from typing import Any

import pytest

from proxy.intents.git_lfs import describe
from proxy.intents.leads import Lead, field_digest, may_lead, read_leads, told_fields
from proxy.model.authority import Authority
from proxy.model.intent import EffectClass

OID = "d" * 64
REPOSITORY = "git.test/acme/app"
DOWNLOAD = describe("lfs.download", REPOSITORY, EffectClass.READ, {"objects": OID, "object_count": "1"})
UPLOAD = describe("lfs.upload", REPOSITORY, EffectClass.WRITE, {"objects": OID, "object_count": "1"})
STORE = Authority("store.test", 443)


def answer(action: str = "download", oid: Any = OID, **step: Any) -> dict[str, Any]:
    return {"objects": [{"oid": oid, "size": 1, "actions": {action: {"href": "https://store.test/o?sig=1"} | step}}]}


def read(told: Any, intent: Any = DOWNLOAD) -> tuple[Lead, ...]:
    return read_leads(intent, told if isinstance(told, bytes) else json.dumps(told).encode())


def test_a_download_is_fetched() -> None:
    """The URL may be asked for with GET and HEAD; it means a download of that object from that repository."""
    leads = read(answer(expires_in=60, header={"Authorization": "Basic x"}))
    assert [lead.method for lead in leads] == ["GET", "HEAD"]
    assert {(lead.scheme, lead.authority, lead.target, lead.seconds) for lead in leads} == {
        ("https", STORE, "/o?sig=1", 60)
    }
    assert {(each.intent.name, each.intent.resource.id, each.intent.facts["objects"]) for each in leads} == {
        ("git lfs.download", REPOSITORY, OID)
    }
    assert leads[0].intent.effect is EffectClass.READ
    assert leads[0].fields == {field_digest("authorization", "Basic x")}


def test_an_upload_is_put_and_verified() -> None:
    """What is uploaded goes up with PUT, and is verified with POST."""
    told = answer("upload")
    told["objects"][0]["actions"]["verify"] = {"href": "http://git.test:8080"}
    told["objects"][0]["actions"]["download"] = {"href": "https://store.test/down"}
    leads = read(told, UPLOAD)
    assert [(lead.method, lead.intent.action, lead.intent.effect.value) for lead in leads] == [
        ("PUT", "lfs.upload", "write"),
        ("POST", "lfs.verify", "read"),
    ]
    assert (leads[1].scheme, leads[1].authority, leads[1].target) == ("http", Authority("git.test", 8080), "/")


def test_a_download_never_leads_to_an_upload() -> None:
    """An answer cannot offer more than was asked for, and allowed."""
    assert read(answer("upload")) == ()
    assert read(answer("verify")) == ()


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        {},
        {"objects": {}},
        {"objects": [1, None, []]},
        answer() | {"transfer": "tus"},
        answer(oid="D" * 64),
        answer(oid=7),
        {"objects": [{"oid": OID, "actions": []}]},
        {"objects": [{"oid": OID, "actions": {"download": "https://store.test/"}}]},
        answer(href=None),
        answer(href="/relative"),
        answer(href="ftp://store.test/o"),
        answer(href="https://store.test/o\n"),
        answer(href="https://störe.test/o"),
        answer(href="https://user@store.test/o"),
        answer(href="https://store.test:x/o"),
        answer(href="https://[::1/o"),
        answer(header=["a"]),
        answer(header={"a": 1}),
    ],
)
def test_an_odd_answer_leads_nowhere(told: Any) -> None:
    """Nothing is guessed: what is not of the documented form is left to its own rules."""
    assert read(told) == ()


@pytest.mark.parametrize("seconds", [True, 0, -1, "60", 2**31, 1.5])
def test_an_odd_lifetime_is_none(seconds: Any) -> None:
    """A URL without a plain lifetime has none of its own."""
    assert [lead.seconds for lead in read(answer(expires_in=seconds))] == [None, None]


def test_only_a_batch_leads() -> None:
    """Other calls, and a transfer itself, hand out no URLs."""
    assert may_lead(DOWNLOAD)
    assert may_lead(UPLOAD)
    assert not may_lead(describe("lfs.download", REPOSITORY, EffectClass.READ, {"objects": OID}))
    assert not may_lead(describe("lfs.locks", REPOSITORY, EffectClass.LIST, {"object_count": "1"}))


def test_a_huge_answer_is_bounded() -> None:
    """So many leads and no more."""
    told = {"objects": answer()["objects"] * 4_000}
    assert len(read(told)) == 3_000


def test_told_fields_are_those_with_exactly_the_told_value() -> None:
    """Another value, a doubled field with one of another value, or another field is the job's own."""
    (lead, _) = read(answer(header={"Authorization": "Basic x", "X-Token": "t"}))
    assert told_fields(lead, (("authorization", "Basic x"), ("x-token", "u"), ("cookie", "Basic x"))) == {
        "authorization"
    }
    assert told_fields(lead, (("authorization", "Basic x"), ("authorization", "Basic y"))) == frozenset()
