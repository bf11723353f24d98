"""Objects and buckets by both of Cloud Storage's APIs, sources and access rights included."""

import json
from typing import Any

import pytest

from proxy.intents import gcp
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

HOST = "storage.googleapis.com"
PARTS = "POST /upload/storage/v1/b/acme/o?uploadType=multipart"
FORM: Headers = (("content-type", 'multipart/related; boundary="B"'),)
JSON: Headers = (("content-type", "application/json; charset=utf-8"),)
READ, LIST, WRITE, DELETE, ADMIN, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.ADMIN,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)


def ask(
    line: str, body: Any = None, host: str = HOST, headers: Headers = (), length: int | None = None
) -> Intent | BodyWanted | None:
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
        body_length=length if body is None else len(data),
        body=None if body is None else BodyPrefix(data=data, is_whole=True),
    )
    return gcp.decode(view, frozenset())


def meant(found: object) -> list[tuple[str, str, EffectClass]]:
    assert isinstance(found, Intent)
    return [(each.action, each.resource.id, each.effect) for each in (found, *found.also)]


@pytest.mark.parametrize(
    "line, action, effect, what",
    [
        ("GET /storage/v1/b", "buckets.enumerate", LIST, ""),
        ("POST /storage/v1/b?project=p", "buckets.create", ADMIN, ""),
        ("GET /storage/v1/b/acme", "buckets.get", READ, "/acme"),
        ("PATCH /storage/v1/b/acme", "buckets.patch", ADMIN, "/acme"),
        ("DELETE /storage/v1/b/acme", "buckets.remove", DELETE, "/acme"),
        ("POST /storage/v1/b/acme", "unknown", UNKNOWN, "/acme"),
        ("GET /storage/v1/b/acme/o?prefix=x", "objects.enumerate", LIST, "/acme"),
        ("GET /storage/v1/b/acme/o/a%2Fb?alt=media", "objects.get", READ, "/acme/a/b"),
        ("GET /download/storage/v1/b/acme/o/a", "objects.get", READ, "/acme/a"),
        ("PUT /storage/v1/b/acme/o/a", "objects.update", WRITE, "/acme/a"),
        ("DELETE /storage/v1/b/acme/o/a", "objects.remove", DELETE, "/acme/a"),
        ("GET /storage/v1/b/acme/iam", "settings.get", READ, "/acme"),
        ("PUT /storage/v1/b/acme/iam", "settings.change", ADMIN, "/acme"),
        ("POST /storage/v1/b/acme/o/a/acl", "settings.change", ADMIN, "/acme"),
        ("POST /storage/v1/projects/p/hmacKeys", "hmacKeys", CREDENTIAL, ""),
        ("GET /storage/v1/new", "unknown", UNKNOWN, ""),
        ("POST /batch/storage/v1", "unknown", UNKNOWN, ""),
        ("PUT /upload/storage/v1/b/acme/o?upload_id=x", "objects.upload", WRITE, "/acme"),
        ("DELETE /upload/storage/v1/b/acme/o?upload_id=x", "objects.cancel", WRITE, "/acme"),
        ("POST /upload/storage/v1/b/acme/o?upload_id=x", "unknown", UNKNOWN, "/acme"),
        ("POST /upload/storage/v1/b/acme/o?uploadType=media&name=a/b", "objects.create", WRITE, "/acme/a/b"),
        ("POST /resumable/upload/storage/v1/b/acme/o/a?uploadType=media", "objects.create", WRITE, "/acme/a"),
        ("POST /upload/storage/v1/b/acme", "unknown", UNKNOWN, ""),
    ],
)
def test_the_json_api(line: str, action: str, effect: EffectClass, what: str) -> None:
    """Names are decoded once; settings of any kind are an administrator's to change."""
    assert meant(ask(line)) == [(f"storage.{action}", f"storage{what}", effect)]


@pytest.mark.parametrize(
    "line, host, headers, action, effect, what",
    [
        ("GET /", HOST, (), "buckets.enumerate", LIST, ""),
        ("PUT /", HOST, (), "unknown", UNKNOWN, ""),
        ("GET /acme", HOST, (), "objects.enumerate", LIST, "/acme"),
        ("HEAD /acme/", HOST, (), "buckets.get", READ, "/acme"),
        ("PUT /acme", HOST, (), "buckets.create", ADMIN, "/acme"),
        ("POST /acme", HOST, (), "unknown", UNKNOWN, "/acme"),
        ("GET /acme/a/b", HOST, (), "objects.get", READ, "/acme/a/b"),
        ("GET /a/b", f"acme.{HOST}", (), "objects.get", READ, "/acme/a/b"),
        ("PUT /acme/a", HOST, (), "objects.create", WRITE, "/acme/a"),
        ("POST /acme/a?uploads", HOST, (), "objects.create", WRITE, "/acme/a"),
        ("POST /acme/a", HOST, (("x-goog-resumable", "start"),), "objects.create", WRITE, "/acme/a"),
        ("POST /acme/a", HOST, (), "unknown", UNKNOWN, "/acme/a"),
        ("DELETE /acme/a", HOST, (), "objects.remove", DELETE, "/acme/a"),
        ("GET /acme?acl", HOST, (), "settings.get", READ, "/acme"),
        ("PUT /acme/a?acl", HOST, (), "settings.change", ADMIN, "/acme/a"),
        ("GET /drive/v3/files", "www.googleapis.com", (), "unknown", UNKNOWN, "/drive/v3/files"),
    ],
)
def test_the_xml_api(line: str, host: str, headers: Headers, action: str, effect: EffectClass, what: str) -> None:
    """The bucket stands in the host or first in the path; a word of the query makes it a setting."""
    assert meant(ask(line, host=host, headers=headers)) == [(f"storage.{action}", f"storage{what}", effect)]


def test_copies_read_their_sources() -> None:
    """What is copied, rewritten or composed is read where it comes from."""
    source = ("storage.objects.get", "storage/a/x", READ)
    for verb, action in (("copyTo", "copy"), ("rewriteTo", "rewrite")):
        found = ask(f"POST /storage/v1/b/a/o/x/{verb}/b/c/o/y")
        assert meant(found) == [(f"storage.objects.{action}", "storage/c/y", WRITE), source]
    assert isinstance(ask("POST /storage/v1/b/a/o/y/compose"), BodyWanted)
    found = ask("POST /storage/v1/b/a/o/y/compose", {"sourceObjects": [{"name": "x"}]})
    assert meant(found) == [("storage.objects.compose", "storage/a/y", WRITE), source]


def test_access_rights_ride_along() -> None:
    """An ACL beside a write, in query, header or metadata, is an administrator's change of its own."""
    line = "/upload/storage/v1/b/acme/o?uploadType=resumable"
    acl = ("storage.objects.setAcl", "storage/acme/a", ADMIN)
    made = ("storage.objects.create", "storage/acme/a", WRITE)
    assert meant(ask(f"POST {line}&name=a&predefinedAcl=publicRead", length=0)) == [made, acl]
    assert meant(ask(f"POST {line}&predefinedAcl=publicRead", {"name": "a", "acl": []}, headers=JSON)) == [made, acl]
    assert meant(ask(f"POST {line}", {"name": "a", "acl": []}, headers=JSON)) == [made, acl]
    assert meant(ask("PUT /acme/a", headers=(("x-goog-acl", "public-read"),))) == [made, acl]
    found = meant(ask("PATCH /storage/v1/b/acme/o/a?predefinedAcl=publicRead"))
    assert found == [("storage.objects.patch", "storage/acme/a", WRITE), acl]


def test_an_upload_of_two_parts_names_its_object_in_the_first() -> None:
    """What Google's own libraries send for a small object: the metadata is read, the object behind it is not."""
    assert isinstance(ask(PARTS, headers=FORM), BodyWanted)
    made = [("storage.objects.create", "storage/acme/a/b", WRITE)]
    for end in ("\r\n", "\n"):
        for kind in ("B", '"B"'):
            lines = (
                "--B",
                "Content-Type: application/json; charset=UTF-8",
                "",
                '{"name": "a/b"}',
                "--B",
                "Content-Type: x",
            )
            headers = (("content-type", f"multipart/related; boundary={kind}"),)
            assert meant(ask(PARTS, end.join(lines).encode() + b"\x00", headers=headers)) == made
    assert (
        meant(
            ask(f"{PARTS}&name=a/b", b"--B\nMIME-Version: 1.0\nContent-Type: application/json\n\n{}\n--B", headers=FORM)
        )
        == made
    )


def test_a_copy_by_header_reads_its_source() -> None:
    """As S3's clients say it, and Google's own name for it."""
    for field in ("x-goog-copy-source", "x-amz-copy-source"):
        found = meant(ask("PUT /acme/a", headers=((field, "/b/x%20y"),)))
        assert found == [
            ("storage.objects.create", "storage/acme/a", WRITE),
            ("storage.objects.get", "storage/b/x y", READ),
        ]


def test_a_resumable_upload_names_its_object_in_its_metadata() -> None:
    """The body is asked for; the name in the query and the one inside must be one."""
    line = "POST /upload/storage/v1/b/acme/o?uploadType=resumable"
    assert isinstance(ask(line, headers=JSON, length=20), BodyWanted)
    assert meant(ask(line, {"name": "a/b"}, headers=JSON)) == [("storage.objects.create", "storage/acme/a/b", WRITE)]
    assert meant(ask(f"{line}&name=a", {"name": "a"})) == [("storage.objects.create", "storage/acme/a", WRITE)]


@pytest.mark.parametrize(
    "line, body, headers",
    [
        ("GET /storage/v1/b/Acme", None, ()),
        ("GET /storage/v1/b/acme/o/..%2Fx", None, ()),
        ("GET /storage/v1/b/acme/o/a%2F%2Fb", None, ()),
        ("GET /acme/a//b", None, ()),
        ("GET /storage/v1/b/acme/o/a?alt=media&alt=json", None, ()),
        (
            "POST /upload/storage/v1/b/acme/o?uploadType=multipart&name=a",
            None,
            (("content-type", "multipart/related"),),
        ),
        ("POST /upload/storage/v1/b/acme/o?uploadType=media", None, ()),
        ("POST /upload/storage/v1/b/acme/o?uploadType=new&name=a", None, ()),
        ("POST /upload/storage/v1/b/acme/o?uploadType=resumable", {}, ()),
        ("POST /upload/storage/v1/b/acme/o?uploadType=resumable", {"name": 1}, ()),
        ("POST /upload/storage/v1/b/acme/o?uploadType=resumable&name=b", {"name": "a"}, ()),
        ("POST /upload/storage/v1/b/acme/o?uploadType=resumable", b'{"name": "a", "name": "b"}', ()),
        ("POST /storage/v1/b/a/o/y/compose", {}, ()),
        ("POST /storage/v1/b/a/o/y/compose", {"sourceObjects": [{}]}, ()),
        ("POST /storage/v1/b/a/o/y/compose", {"sourceObjects": ["x"]}, ()),
        ("PUT /acme/a", None, (("x-goog-copy-source", "/b/../x"),)),
        ("PUT /acme/a", None, (("x-goog-copy-source", "/b"),)),
        (f"{PARTS}&name=b", b'--B\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--B\r\n', FORM),
        (PARTS, b'x--B\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--B\r\n', FORM),
        (PARTS, b'--BB\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--B\r\n', FORM),
        (PARTS, b'--B\r\nContent-Type: text/plain\r\n\r\n{"name": "a"}\r\n--B\r\n', FORM),
        (PARTS, b'--B\r\nContent-Type: application/json\r\n\r\n{"name": "a"} x\r\n--B\r\n', FORM),
        (PARTS, b'--B\r\nContent-Type: application/json\r\n\r\n{"name": "a"}', FORM),
        ("PUT /acme/a", None, (("x-http-method-override", "DELETE"),)),
    ],
)
def test_two_readings_are_refused(line: str, body: Any, headers: Headers) -> None:
    """Batches, forms of several parts, copies by header, two names and hidden segments are denied."""
    with pytest.raises(IntentError):
        ask(line, body, headers=headers)
