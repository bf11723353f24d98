"""What a NuGet package says it is, and every second way to read the same bytes."""

import io
import struct
import zipfile

import pytest

from proxy.intents import nuget_package as package
from proxy.model.errors import IntentError

MANIFEST = """\ufeff<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
  <metadata>
    <id>Acme.Lib</id>
    <version>1.2.3-Beta.1+build</version>
    <dependencies><group><dependency id="Other" version="1.0.0" /></group></dependencies>
  </metadata>
</package>"""
RELATIONS = """\ufeff<?xml version="1.0" encoding="utf-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
  <Relationship Type="http://schemas.microsoft.com/packaging/2010/07/manifest" Target="/Acme.Lib.nuspec" Id="R1" />
  <Relationship Type="http://x/core-properties" Target="/package/services/x.psmdcp" Id="R2" />
</Relationships>"""
FILES = {
    "_rels/.rels": RELATIONS,
    "Acme.Lib.nuspec": MANIFEST,
    "lib/net8.0/Acme.Lib.dll": "MZ" * 500,
    "content/other.nuspec": "no manifest of ours",
    "[Content_Types].xml": "<Types/>",
}
EXPECTED = package.Manifest(id="acme.lib", version="1.2.3-beta.1")


def pack(files: dict[str, str] | list[tuple[str, str]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, text in files.items() if isinstance(files, dict) else files:
            info = zipfile.ZipInfo(name)
            info.filename = name
            info.compress_type = method
            archive.writestr(info, text)
    return out.getvalue()


def manifest(old: str = "", new: str = "") -> bytes:
    assert old in MANIFEST
    return MANIFEST.replace(old, new).encode()


def relations(old: str, new: str) -> bytes:
    assert old in RELATIONS
    return pack({**FILES, "_rels/.rels": RELATIONS.replace(old, new)})


def patched(old: bytes, new: bytes, which: int = 0, body: bytes | None = None) -> bytes:
    """The package with one of the places where `old` stands made `new`."""
    body = PACKAGE if body is None else body
    at = -1
    for _ in range(which + 1):
        at = body.index(old, at + 1)
    return body[:at] + new + body[at + len(old) :]


PACKAGE = pack(FILES)
DIRECTORY = PACKAGE.index(b"PK\x01\x02")
END = PACKAGE.index(b"PK\x05\x06")


def set_field(at: int, layout: str, value: int) -> bytes:
    raw = struct.pack(layout, value)
    return PACKAGE[:at] + raw + PACKAGE[at + len(raw) :]


def test_a_package_is_read() -> None:
    """Id and version stand in the manifest, whatever the file is called or how it is packed."""
    assert package.read_package(PACKAGE) == EXPECTED
    assert package.read_package(pack(FILES, zipfile.ZIP_STORED)) == EXPECTED
    assert package.read_package(pack({"x.nuspec": MANIFEST})) == EXPECTED


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1.0", "1.0.0"),
        ("1", "1.0.0"),
        ("01.002.3", "1.2.3"),
        ("1.2.3.0", "1.2.3"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.0.0-RC.1+a", "1.0.0-rc.1"),
    ],
)
def test_a_version_has_one_spelling(text: str, expected: str) -> None:
    """Versions that NuGet takes for the same are the same."""
    assert package.normalize_version(text) == expected


@pytest.mark.parametrize("text", ["", "v1", "1.0.0.0.0", "1..0", "1.0-", "1.0 ", "1.*", "[1.0]", "1" * 129])
def test_what_is_no_version_is_refused(text: str) -> None:
    """A range or another text is no version."""
    with pytest.raises(IntentError):
        package.normalize_version(text)


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "not a zip"),
        (b"x" * 30, "plain zip"),
        (PACKAGE[:-1], "plain zip"),
        (PACKAGE + b"\0", "plain zip"),
        (b"#!" + PACKAGE, "plain zip"),
        (PACKAGE + PACKAGE[END:], "plain zip"),
        (set_field(END + 4, "<H", 1), "plain zip"),
        (set_field(END + 8, "<H", 1), "plain zip"),
        (set_field(END + 20, "<H", 1), "plain zip"),
        (set_field(END + 12, "<L", 1), "plain zip"),
        (PACKAGE[: END + 8] + struct.pack("<HH", 4, 4) + PACKAGE[END + 12 :], "not as long"),
        (PACKAGE[: END + 8] + struct.pack("<HH", 6, 6) + PACKAGE[END + 12 :], "ends early"),
        (set_field(DIRECTORY, "<L", 0), "not plain"),
        (set_field(DIRECTORY + 34, "<H", 1), "not plain"),
        (set_field(DIRECTORY + 28, "<H", 0xFFFF), "not plain"),
        (set_field(DIRECTORY + 20, "<L", 0xFFFFFFFF), "not plain"),
        (set_field(DIRECTORY + 8, "<H", 1), "encrypted"),
        (set_field(DIRECTORY + 8, "<H", 8), "encrypted"),
        (set_field(DIRECTORY + 10, "<H", 12), "encrypted"),
        (set_field(DIRECTORY + 42, "<L", END + 50), "behind the files"),
        (set_field(DIRECTORY + 42, "<L", 1), "not what the directory"),
        (set_field(DIRECTORY + 16, "<L", 7), "not what the directory"),
        (set_field(6, "<H", 8), "not what the directory"),
        (patched(b"Acme.Lib.nuspec", b"Evil.Lib.nuspec"), "another name"),
        (patched(b"Acme.Lib.nuspec", b"Evil.Lib.nuspec", 1), "another name"),
        (pack({"a": "b"}), "one manifest"),
        (pack([("a.nuspec", MANIFEST), ("b.nuspec", MANIFEST)]), "one manifest"),
        (pack([("a.nuspec", MANIFEST), ("B.NUSPEC", MANIFEST)]), "one manifest"),
        (pack([("a.nuspec", MANIFEST), ("b%2Enuspec", MANIFEST)]), "one manifest"),
        (pack([*FILES.items(), ("_RELS/.rels", RELATIONS)]), "one manifest"),
        (pack({**FILES, "./b.nuspec": MANIFEST}), "odd path"),
        (pack({**FILES, "/b.nuspec": MANIFEST}), "odd path"),
        (pack({**FILES, "a/../b.nuspec": MANIFEST}), "odd path"),
        (pack({**FILES, "a\\..\\b.nuspec": MANIFEST}), "odd path"),
        (pack({**FILES, "a/%2e%2e/b.nuspec": MANIFEST}), "odd path"),
        (pack({**FILES, "b.nuspec%00.txt": MANIFEST}), "odd path"),
        (pack({**FILES, "a//b": "c"}), "odd path"),
        (pack({**FILES, "a/..": "c"}), "odd path"),
        (pack({"a.nuspec": " " * (package.MANIFEST_LIMIT + 1)}), "longer than"),
    ],
)
def test_a_package_that_readers_take_differently_is_refused(body: bytes, message: str) -> None:
    """Two manifests, in whichever way one may be found, or headers that disagree, are denied."""
    with pytest.raises(IntentError, match=message):
        package.read_package(body)


def test_a_file_that_only_one_way_sees_is_refused() -> None:
    """A file that is not in the directory, before the others or between, is bytes without a file."""
    extra = pack({"evil.nuspec": MANIFEST})
    hidden = extra[: extra.index(b"PK\x01\x02")]
    moved = bytearray(hidden + PACKAGE)
    shift = len(hidden)
    at = shift + DIRECTORY
    for _ in FILES:
        (offset,) = struct.unpack_from("<L", moved, at + 42)
        struct.pack_into("<L", moved, at + 42, offset + shift)
        lengths = struct.unpack_from("<3H", moved, at + 28)
        at += 46 + sum(lengths)
    struct.pack_into("<L", moved, shift + END + 16, DIRECTORY + shift)
    last = bytearray(PACKAGE[:DIRECTORY] + hidden + PACKAGE[DIRECTORY:])
    struct.pack_into("<L", last, shift + END + 16, DIRECTORY + shift)

    with zipfile.ZipFile(io.BytesIO(moved)) as one, zipfile.ZipFile(io.BytesIO(last)) as other:
        assert one.namelist() == other.namelist() == list(FILES)
    with pytest.raises(IntentError, match="between its files"):
        package.read_package(bytes(moved))
    with pytest.raises(IntentError, match="and the directory"):
        package.read_package(bytes(last))


def test_a_manifest_that_is_not_what_its_header_says_is_refused() -> None:
    """A wrong length, checksum or stream is denied."""
    stored = pack({"a.nuspec": MANIFEST}, zipfile.ZIP_STORED)
    broken = stored.replace(b"Acme.Lib", b"Evil.Lib")
    deflated = pack({"a.nuspec": MANIFEST})
    begin = 30 + len("a.nuspec")
    for body in (
        broken,
        deflated[:begin] + b"\xff\xff" + deflated[begin + 2 :],
        deflated[:begin] + b"\x03\x00" + deflated[begin + 2 :],
    ):
        with pytest.raises(IntentError, match="manifest is not"):
            package.read_package(body)


@pytest.mark.parametrize(
    "old, new",
    [
        ("/Acme.Lib.nuspec", "/content/other.nuspec"),
        ("/Acme.Lib.nuspec", "/Acme&#46;Lib.nuspec"),
        ("/Acme.Lib.nuspec", ""),
        ('Target="/Acme.Lib.nuspec"', ""),
        ("2010/07/manifest", "2010/07/other"),
        ("http://x/core-properties", "http://schemas.microsoft.com/packaging/2010/07/Manifest"),
        ('Id="R1"', 'Type="http://x"'),
        ("<?xml", "<!DOCTYPE a><?xml"),
        ("<Relationships", "<!-- --><Relationships"),
        ("</Relationships>", "<x/></Relationships>"),
        ('Id="R2"', "Id='R2'"),
    ],
)
def test_relationships_must_name_the_same_manifest(old: str, new: str) -> None:
    """Where an older reader would find another manifest, or cannot be told to find this one, the package is denied."""
    with pytest.raises(IntentError, match="relationship"):
        package.read_package(relations(old, new))


def test_relationships_must_be_text() -> None:
    """Relationships in another encoding are denied."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.nuspec", MANIFEST)
        archive.writestr("_rels/.rels", b"\xff\xff")

    with pytest.raises(IntentError, match="UTF-8"):
        package.read_package(out.getvalue())


@pytest.mark.parametrize(
    "old, new",
    [
        ("<id>Acme.Lib</id>", ""),
        ("<id>Acme.Lib</id>", "<id>Acme.Lib</id><id>Other</id>"),
        ("<id>Acme.Lib</id>", "<id>Acme.Lib</id><ID>Other</ID>"),
        ("<id>Acme.Lib</id>", "<id>Acme<b/>.Lib</id>"),
        ("<id>Acme.Lib</id>", "<id> Acme.Lib</id>"),
        ("<id>Acme.Lib</id>", "<id>Acme<!-- -->.Lib</id>"),
        ("<id>Acme.Lib</id>", "<id>acme/*</id>"),
        ("<id>Acme.Lib</id>", "<id>ac\u212ae</id>"),
        ("<version>", "<version>1.0</version><version>"),
        ("1.2.3-Beta.1", "$version$"),
        ("<package", "<!DOCTYPE p [<!ENTITY e 'x'>]><package"),
        ("<package", "<other"),
        ("<metadata>", "<metadata/><metadata>"),
        ("</metadata>", ""),
    ],
)
def test_a_manifest_that_readers_take_differently_is_refused(old: str, new: str) -> None:
    """A second id, an odd one, or XML with a document type is denied."""
    with pytest.raises(IntentError):
        package.read_manifest(manifest(old, new))


def test_a_manifest_needs_metadata_in_a_package() -> None:
    """Well-formed XML of another sort is no manifest."""
    for text in (b"<package/>", b"<nuspec><metadata><id>a</id><version>1.0</version></metadata></nuspec>"):
        with pytest.raises(IntentError, match="no metadata"):
            package.read_manifest(text)
