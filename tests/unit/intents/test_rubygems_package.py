"""What a gem says it is, and every second way to read the same bytes."""

import gzip
import io
import tarfile

import pytest

from proxy.intents import rubygems_package as package
from proxy.model.errors import IntentError

SPECIFICATION = """\
--- !ruby/object:Gem::Specification
name: acme-lib
version: !ruby/object:Gem::Version
  version: 1.2.3
platform: ruby
authors:
- Somebody
description: |-
  Two lines,

  and a `name: other` in them.
dependencies:
- !ruby/object:Gem::Dependency
  name: rake
  requirement: !ruby/object:Gem::Requirement
    requirements:
    - - ">="
      - !ruby/object:Gem::Version
        version: '0'
email:
summary: "Ein Bär\\n
  more"
"""
METADATA = gzip.compress(SPECIFICATION.encode(), mtime=0)


def tar(*members: tuple[str, bytes]) -> bytes:
    """A ustar archive of these members, in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


DATA = ("data.tar.gz", b"x" * 700)
SUMS = ("checksums.yaml.gz", b"sums")
GEM = tar(("metadata.gz", METADATA), DATA, SUMS, ("metadata.gz.sig", b"s"))
EXPECTED = package.Specification(name="acme-lib", version="1.2.3", platform="ruby")


def changed(body: bytes, at: int, new: bytes) -> bytes:
    """A header with other bytes, and the checksum it then has."""
    header = bytearray(body[:512])
    header[at : at + len(new)] = new
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + body[512:]


def test_a_gem_is_read_from_its_beginning_or_whole() -> None:
    """Both ways find the same name, version and platform."""
    cut = GEM[: 512 + len(METADATA)]

    assert package.read_prefix(cut) == package.read_prefix(GEM) == package.read_whole(GEM) == EXPECTED


def test_enough_is_when_the_metadata_is_there() -> None:
    """A prefix is enough from the metadata's last byte on, and where more bytes would not help."""
    needed = 512 + len(METADATA)

    assert [package.is_enough(GEM[:length]) for length in (0, 511, 512, needed - 1, needed)] == [
        False, False, False, False, True,
    ]  # fmt: skip
    assert package.is_enough(b"not a gem" + bytes(600))
    assert package.is_enough(tar(DATA)[:512])


def test_metadata_may_come_later_where_all_is_read() -> None:
    """Old builders wrote the files first: found in the whole, refused in a prefix."""
    late = tar(DATA, ("metadata.gz", METADATA))

    assert package.read_whole(late) == EXPECTED
    with pytest.raises(IntentError, match="does not come first"):
        package.read_prefix(late)


@pytest.mark.parametrize(
    "body, message",
    [
        (tar(("metadata.gz", METADATA), ("metadata.gz", METADATA)), "twice"),
        (tar(("metadata.gz", METADATA), ("metadata", SPECIFICATION.encode())), "no member"),
        (tar(("metadata.gz", METADATA), ("./metadata.gz", METADATA)), "no member"),
        (tar(("metadata.gz", METADATA), ("METADATA.GZ", METADATA)), "no member"),
        (tar(DATA), "no metadata"),
        (tar(), "no metadata"),
        (b"", "ends early"),
        (GEM[:700], "ends early"),
        (GEM[:1536], "ends early"),
        (GEM + GEM, "follows the end"),
        (GEM + b"\x01", "follows the end"),
        (changed(GEM, 156, b"2"), "plain file"),
        (changed(GEM, 156, b"x"), "plain file"),
        (changed(GEM, 157, b"elsewhere"), "plain file"),
        (changed(GEM, 345, b"folder"), "plain file"),
        (changed(GEM, 12, b"x"), "no member"),
        (changed(GEM, 124, b"\x80\0\0\0\0\0\0\0\0\0\1\0"), "not octal"),
        (changed(GEM, 124, b"9"), "not octal"),
        (changed(GEM, 124, b"77777777777\0"), "longer than"),
        (GEM[:100] + b"7" + GEM[101:], "checksum"),
        (tar(("metadata.gz", METADATA + METADATA)), "one gzip member"),
        (tar(("metadata.gz", METADATA + b"\0")), "one gzip member"),
        (tar(("metadata.gz", METADATA[:-3])), "one gzip member"),
        (tar(("metadata.gz", b"")), "one gzip member"),
        (tar(("metadata.gz", b"plain")), "not gzip"),
        (tar(("metadata.gz", gzip.compress(bytes(package.SPECIFICATION_LIMIT + 1), mtime=0))), "one gzip member"),
        (tar(("metadata.gz", gzip.compress(SPECIFICATION.encode("latin-1"), mtime=0))), "UTF-8"),
        (tar(("metadata.gz", gzip.compress(SPECIFICATION.encode("utf-16"), mtime=0))), "UTF-8"),
    ],
)
def test_a_gem_that_readers_take_differently_is_refused(body: bytes, message: str) -> None:
    """A second metadata, an odd header, or bytes behind an end are denied, and so is what is cut off."""
    with pytest.raises(IntentError, match=message):
        package.read_whole(body)


@pytest.mark.parametrize("body", [b"", GEM[:511], GEM[:600], changed(GEM, 156, b"L")])
def test_a_prefix_is_as_strict(body: bytes) -> None:
    """What is cut or odd is denied also where only the beginning is read."""
    with pytest.raises(IntentError):
        package.read_prefix(body)


@pytest.mark.parametrize(
    "name, version, platform, expected",
    [
        ("rails", "7.0.1", "ruby", ("rails", "7.0.1", "ruby")),
        ("'1and1'", "'1.0'", "java", ("1and1", "1.0", "java")),
        ('"on"', '"2"', "x86_64-linux", ("on", "2", "x86_64-linux")),
        ("3scale-api", "1.0.0.pre", "!ruby/object:Gem::Platform", ("3scale-api", "1.0.0.pre", "")),
        ("cafe", "1.rc", "arm64-darwin-22", ("cafe", "1.rc", "arm64-darwin-22")),
        ("RedCloth", "4.3.4", "'ruby'", ("RedCloth", "4.3.4", "")),
    ],
)
def test_values_as_psych_writes_them(name: str, version: str, platform: str, expected: tuple[str, str, str]) -> None:
    """A plain or simply quoted text is the value; a platform that is an object is left out."""
    text = SPECIFICATION.replace("acme-lib", name).replace(" 1.2.3", f" {version}").replace(": ruby", f": {platform}")
    found = package.read_specification(text)

    assert (found.name, found.version, found.platform) == expected


def test_a_platform_may_be_missing() -> None:
    """A specification of pure Ruby need not say so."""
    assert not package.read_specification(SPECIFICATION.replace("platform: ruby\n", "")).platform


@pytest.mark.parametrize(
    "old, new",
    [
        ("name: acme-lib\n", "name: acme-lib\nname: other\n"),
        ("name: acme-lib\n", 'name: acme-lib\n"name": other\n'),
        ("name: acme-lib\n", "name: acme-lib\n'name': other\n"),
        ("name: acme-lib\n", "name: acme-lib\n? name\n: other\n"),
        ("name: acme-lib\n", "name: acme-lib\n!!str name: other\n"),
        ("name: acme-lib\n", "name: acme-lib\n&x name: other\n"),
        ("name: acme-lib\n", "name: acme-lib\nname : other\n"),
        ("name: acme-lib\n", "name: acme-lib\nname:\tother\n"),
        ("name: acme-lib\n", "name: acme-lib\n<<: {name: other}\n"),
        ("name: acme-lib\n", "name: acme-lib\n  more\n"),
        ("name: acme-lib\n", "name: acme-lib\n\n  more\n"),
        ("name: acme-lib\n", "name:\n  acme-lib\n"),
        ("name: acme-lib\n", "name: *other\n"),
        ("name: acme-lib\n", "name: &x acme-lib\n"),
        ("name: acme-lib\n", "name: !binary YWNtZQ==\n"),
        ("name: acme-lib\n", 'name: "acme\\x2dlib"\n'),
        ("name: acme-lib\n", "name: |\n  acme-lib\n"),
        ("name: acme-lib\n", "name: true\n"),
        ("name: acme-lib\n", "name: Null\n"),
        ("name: acme-lib\n", "name: 1e3\n"),
        ("name: acme-lib\n", "name: 0x1f\n"),
        ("name: acme-lib\n", "name: '1.0'\n"),
        ("name: acme-lib\n", "name: ''\n"),
        ("name: acme-lib\n", "name: a/b\n"),
        ("name: acme-lib\n", ""),
        ("name: acme-lib\n", "  name: acme-lib\n"),
        ("--- !ruby", "---\n--- !ruby"),
        ("--- !ruby", "%YAML 1.1\n--- !ruby"),
        ("--- !ruby", "\ufeff--- !ruby"),
        ("Specification", "Specification # x"),
        ("email:", "---"),
        ("email:", "..."),
        ("email:", "# a comment"),
        ("email:", "\tname: other"),
        ("email:", "email: a\rname: other"),
        ("email:", "email: a\u2028name: other"),
        ("email:", "email: a\u0085name: other"),
        ("email:", "email: a\x00"),
        ("email:", "version: 2"),
        ("  version: 1.2.3\n", "  version: 1.10\n"),
        ("  version: 1.2.3\n", "  version: 1\n"),
        ("  version: 1.2.3\n", "  version: 1.2.3\n  version: 2.0.0\n"),
        ("  version: 1.2.3\n", "  segments: [1]\n"),
        ("  version: 1.2.3\n", "  version: 1.2.3 4\n"),
        ("version: !ruby/object:Gem::Version\n  version: 1.2.3\n", "version: 1.2.3\n"),
        ("version: !ruby/object:Gem::Version\n  version: 1.2.3\n", ""),
        ("platform: ruby\n", "platform: ruby\n  x\n"),
    ],
)
def test_a_specification_in_another_spelling_is_refused(old: str, new: str) -> None:
    """A key or value that a YAML reader could find elsewhere, or as something else, is denied."""
    assert old in SPECIFICATION
    with pytest.raises(IntentError):
        package.read_specification(SPECIFICATION.replace(old, new, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "--- !ruby/object:Gem::Specification",
        "--- !ruby/object:Gem::Specification\nname: a",
        "--- !ruby/object:Gem::Specification\nname: a\nversion: !ruby/object:Gem::Version",
        "--- !ruby/object:Gem::Specification\nname: a\nversion: !ruby/object:Gem::Version\n  version: 1.2.3",
    ],
)
def test_a_specification_that_ends_early_is_refused(text: str) -> None:
    """Every cut is denied, not a crash."""
    with pytest.raises(IntentError):
        package.read_specification(text)
