"""What is read of a manifest, and what is refused."""

import gzip
import hashlib
import json
from typing import Any

import pytest

from proxy.intents.oci_manifest import LIMIT, MAX_LISTED, Manifest, read_manifest
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, Headers, RequestView

IMAGE = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
D1, D2 = f"sha256:{'1' * 64}", f"sha512:{'2' * 128}"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": D1}


def view_of(body: bytes | None, content_type: str = "", more: Headers = ()) -> RequestView:
    return RequestView(
        method="PUT",
        scheme="https",
        authority=Authority("registry.example", 443),
        path="/v2/a/manifests/1",
        query=None,
        headers=((("content-type", content_type),) if content_type else ()) + more,
        body_length=None,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )


def read(document: Any, content_type: str = "", *digests: str) -> Manifest:
    answer = read_manifest(view_of(json.dumps(document).encode(), content_type), digests)
    assert isinstance(answer, Manifest)
    return answer


def test_the_body_is_asked_for() -> None:
    """Nothing is said of a manifest that was not seen."""
    answer = read_manifest(view_of(None, IMAGE), ())
    assert isinstance(answer, BodyWanted)
    assert (answer.limit, answer.enough) == (LIMIT, None)


@pytest.mark.parametrize(
    "document, content_type, facts, is_known",
    [
        (
            {"schemaVersion": 2, "mediaType": IMAGE, "config": CONFIG, "layers": [{"digest": D1}, {"digest": D2}]},
            IMAGE,
            {"media_type": IMAGE, "layers_count": "2", "config": D1, "config_type": CONFIG["mediaType"]},
            True,
        ),
        ({"schemaVersion": 2, "layers": []}, DOCKER, {"media_type": DOCKER, "layers_count": "0"}, True),
        ({"schemaVersion": 2, "mediaType": DOCKER}, "", {"media_type": DOCKER}, True),
        (
            {"schemaVersion": 2, "manifests": [{"digest": D1}, {"digest": D2}]},
            f"{INDEX}; charset=utf-8",
            {"media_type": INDEX, "children": f"{D1} {D2}", "children_count": "2"},
            True,
        ),
        (
            {"mediaType": ARTIFACT, "artifactType": "a/b", "blobs": [], "subject": {"digest": D1}},
            ARTIFACT,
            {"media_type": ARTIFACT, "artifact_type": "a/b", "subject": D1},
            True,
        ),
        ({}, "application/vnd.acme+json", {"media_type": "application/vnd.acme+json"}, False),
        ({"manifests": []}, "a/b", {"media_type": "a/b", "children": "", "children_count": "0"}, False),
    ],
)
def test_manifests(document: Any, content_type: str, facts: dict[str, str], is_known: bool) -> None:  # noqa: FBT001 - a column
    """What a manifest is made of is stated by digests, types and counts."""
    found = read(document, content_type)

    assert found.digest == f"sha256:{hashlib.sha256(json.dumps(document).encode()).hexdigest()}"
    assert (found.facts, found.is_known, found.subject) == (facts, is_known, facts.get("subject", ""))


def test_many_children_are_counted() -> None:
    """A long index is stated in part: the record must not grow with it."""
    found = read({"schemaVersion": 2, "manifests": [{"digest": D1}] * (MAX_LISTED + 1)}, INDEX)

    assert len(found.facts["children"].split()) == MAX_LISTED
    assert found.facts["children_count"] == str(MAX_LISTED + 1)


def test_the_digest_is_of_the_bytes() -> None:
    """Each digest that the request states must be the body's, by its own algorithm."""
    document = {"schemaVersion": 2, "layers": []}
    body = json.dumps(document).encode()
    short, long = (f"{name}:{hashlib.new(name, body).hexdigest()}" for name in ("sha256", "sha512"))

    assert read(document, IMAGE, long, short).digest == long
    for wrong in (D1, D2):
        with pytest.raises(IntentError, match="not the one it is sent under"):
            read(document, IMAGE, short, wrong)


@pytest.mark.parametrize(
    "document, content_type",
    [
        ([], IMAGE),
        ({}, IMAGE),
        ({"schemaVersion": 1}, IMAGE),
        ({"schemaVersion": 1}, "a/b"),
        ({"schemaVersion": True}, IMAGE),
        ({"schemaVersion": 2.0}, IMAGE),
        ({"schemaVersion": [2]}, "a/b"),
        ({"schemaVersion": 2}, ""),
        ({"schemaVersion": 2}, "application/json"),
        ({"schemaVersion": 2}, "text/plain"),
        ({"schemaVersion": 2}, SCHEMA_1 + "+prettyjws"),
        ({"schemaVersion": 2}, SCHEMA_1 + "+json"),
        ({"schemaVersion": 2}, "nonsense"),
        ({"mediaType": "application/x-www-form-urlencoded"}, "application/x-www-form-urlencoded"),
        ({"mediaType": "multipart/form-data"}, "multipart/form-data; boundary=x"),
        ({"schemaVersion": 2, "mediaType": IMAGE}, DOCKER),
        ({"schemaVersion": 2, "mediaType": IMAGE.upper()}, IMAGE),
        ({"schemaVersion": 2, "mediaType": 7}, IMAGE),
        ({"schemaVersion": 2, "mediaType": ""}, ""),
        ({"schemaVersion": 2, "mediaType": "a b/c"}, ""),
        ({"schemaVersion": 2, "MediaType": IMAGE}, IMAGE),
        ({"schemaVersion": 2, "manifests": []}, IMAGE),
        ({"schemaVersion": 2}, INDEX),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, INDEX),
        ({"schemaVersion": 2, "manifests": [], "config": CONFIG}, INDEX),
        ({"schemaVersion": 2, "manifests": [], "fsLayers": []}, INDEX),
        ({"manifests": [], "blobs": []}, "a/b"),
        ({"schemaVersion": 2, "manifests": {}}, INDEX),
        ({"schemaVersion": 2, "manifests": [D1]}, INDEX),
        ({"schemaVersion": 2, "manifests": [{}]}, INDEX),
        ({"schemaVersion": 2, "manifests": [{"digest": "x"}]}, INDEX),
        ({"schemaVersion": 2, "manifests": [{"digest": D1, "Digest": D2}]}, INDEX),
        ({"schemaVersion": 2, "layers": [{"digest": D1, "dige\u017ft": D2}]}, IMAGE),
        ({"schemaVersion": 2, "\u017fubject": {"digest": D1}}, IMAGE),
        ({"schemaVersion": 2, "Subject": {"digest": D1}}, IMAGE),
        ({"schemaVersion": 2, "subject": D1}, IMAGE),
        ({"schemaVersion": 2, "subject": {}}, IMAGE),
        ({"schemaVersion": 2, "config": {"digest": D1}}, IMAGE),
        ({"schemaVersion": 2, "config": []}, IMAGE),
        ({"schemaVersion": 2, "artifactType": []}, IMAGE),
    ],
)
def test_what_two_readers_take_differently_is_refused(document: Any, content_type: str) -> None:
    """A manifest of two kinds, of two types, in odd spellings, or of schema 1 is denied."""
    with pytest.raises(IntentError):
        read(document, content_type)


def test_a_doubled_name_is_refused() -> None:
    """Readers take the first or the last: neither is right."""
    with pytest.raises(IntentError):
        read_manifest(view_of(b'{"schemaVersion":2,"subject":null,"subject":{}}', IMAGE), ())


def test_a_coded_manifest_is_refused() -> None:
    """The digest is that of the bytes as they are sent: a coding leaves it open which."""
    body = gzip.compress(b'{"schemaVersion":2}')
    with pytest.raises(IntentError, match="coding"):
        read_manifest(view_of(body, IMAGE, (("content-encoding", "gzip"),)), ())
