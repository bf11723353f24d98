"""Python distributions that are small and real."""

import io
import tarfile
import zipfile


def wheel(name: str, version: str) -> bytes:
    """A pure wheel with one module."""
    file = io.BytesIO()
    folder = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{folder}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{folder}/RECORD", f"{name}.py,,\n{folder}/METADATA,,\n{folder}/WHEEL,,\n{folder}/RECORD,,\n")
    return file.getvalue()


def sdist(name: str, version: str) -> bytes:
    """A source distribution: its metadata and its build file, in one folder."""
    file = io.BytesIO()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    build = f'[project]\nname = "{name}"\nversion = "{version}"\n'
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member, text in (("PKG-INFO", metadata), ("pyproject.toml", build)):
            entry = tarfile.TarInfo(f"{name}-{version}/{member}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return file.getvalue()
