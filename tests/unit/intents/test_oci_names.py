"""How registries, repositories, tags and digests are told."""

import pytest

from proxy.intents.oci_names import Place, check_digest, check_name, check_tag, knows, read_place
from proxy.model.errors import IntentError

DIGEST = f"sha256:{'0f' * 32}"


@pytest.mark.parametrize(
    "host",
    [
        "registry-1.docker.io",
        "ghcr.io",
        "gcr.io",
        "us.gcr.io",
        "europe-west1-docker.pkg.dev",
        "acme.azurecr.io",
        "acme.westeurope.geo.azurecr.io",
        "acme.azurecr.cn",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "123456789012.dkr-ecr.eu-central-1.on.aws",
    ],
)
def test_known_registries(host: str) -> None:
    """A registry is known by its name, or by the family of its vendor's."""
    assert knows(host)


@pytest.mark.parametrize(
    "host",
    [
        "docker.io.example",
        "a.ghcr.io",
        "a.b.gcr.io",
        "us-npm.pkg.dev",
        "-docker.pkg.dev",
        "azurecr.io",
        "acme.westeurope.data.azurecr.io",
        "ecr.eu-central-1.amazonaws.com",
        "api.ecr.eu-central-1.amazonaws.com",
        "1234.dkr.ecr.eu-central-1.amazonaws.com",
        "123456789012.dkr.ecr.amazonaws.com",
        "s3.amazonaws.com",
    ],
)
def test_other_hosts_are_not_registries(host: str) -> None:
    """Neighbours of a registry, and what merely ends alike, are not known."""
    assert not knows(host)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/v2/a/b/manifests/x", Place(route="manifests", name="a/b", end="x")),
        (f"/v2/a/blobs/{DIGEST}", Place(route="blobs", name="a", end=DIGEST)),
        ("/v2/a/blobs/uploads", Place(route="uploads", name="a")),
        ("/v2/a/blobs/uploads/", Place(route="uploads", name="a")),
        ("/v2/a/blobs/uploads/u", Place(route="upload", name="a", end="u")),
        ("/v2/a/blobs/upload/u", Place(route="upload", name="a", end="u")),
        ("/v2/blobs/uploads/tags/list", Place(route="tags", name="blobs/uploads")),
        ("/v2/a", None),
        ("/v2/x", None),
        ("/v2/tags/list", None),
        ("/v2/blobs/uploads/u", None),
    ],
)
def test_a_place_is_read_from_the_end(path: str, expected: Place | None) -> None:
    """The route is what the path ends in; all before it is the name, and there must be one."""
    assert read_place(path) == expected


@pytest.mark.parametrize("text", ["a", "a/b", "a.b", "a__b", "a--b/c_d", "0", "example.com/p/i", "a" * 255])
def test_names(text: str) -> None:
    """The specification's names are taken as they are."""
    assert check_name(text) == text


@pytest.mark.parametrize("text", ["", "/a", "a/", "a.", ".a", "a._b", "a___b", "A", "a b", "a\n", "é", "a" * 256])
def test_bad_names(text: str) -> None:
    """A name that is not the specification's is refused, never folded."""
    with pytest.raises(IntentError):
        check_name(text)


def test_tags_and_digests() -> None:
    """A tag has 128 characters at most; a digest is in lower case and as long as its algorithm's."""
    assert check_tag("_" + "a" * 127) == "_" + "a" * 127
    for digest in (DIGEST, f"sha384:{'a' * 96}", f"sha512:{'a' * 128}"):
        assert check_digest(digest) == digest
    for tag in ("", ".a", "a" * 129, "a:b", "a\n"):
        with pytest.raises(IntentError):
            check_tag(tag)
    for text in ("", "sha256:", f"sha512:{'a' * 64}", DIGEST.upper(), f"{DIGEST}\n", f"md5:{'a' * 32}"):
        with pytest.raises(IntentError):
            check_digest(text)
