"""Images without a container engine or a registry: buildah with its own storage, and base images made on the spot.

They stand in for docker.io/library/python: Debian packages by mmdebstrap, this machine's interpreter copied to
/usr/local as in the real ones; the one that is not slim has a C compiler. They are kept under .jobgate/ between runs.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STORE: Final = ROOT / ".jobgate" / "images"
SLIM: Final = "docker.io/library/python:3.13-slim"
FULL: Final = "docker.io/library/python:3.13"
_LIBRARIES: Final = (
    "ca-certificates,libssl3,libsqlite3-0,libffi8,zlib1g,libbz2-1.0,liblzma5,libreadline8,libuuid1,libncursesw6"
)
_PACKAGES: Final = {SLIM: _LIBRARIES, FULL: f"{_LIBRARIES},gcc,libc6-dev"}
_WITHOUT: Final = ("python3.13/test", "python3.13/config-*", "python3.13/site-packages/*", "__pycache__")
_TRUST: Final = Path("etc/ssl/certs/ca-certificates.crt")


def what_is_missing() -> str | None:
    """Return why no image can be built here, None when one can."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("buildah", "mmdebstrap", "tar", "chroot"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            return f"{program} is not installed"
    if sys.version_info[:2] != (3, 13) or sys.base_prefix == "/usr":
        return f"the base image takes this interpreter along, and {sys.base_prefix} is no Python 3.13 of its own prefix"
    if platform.freedesktop_os_release().get("ID") != "debian":
        return "not Debian: the interpreter would not find its libraries in the base image"
    return None


def buildah(*words: str, timeout: float = 300) -> str:
    """Run buildah on this repository's own storage and return its output. Raises AssertionError with its errors."""
    command = buildah_words(*words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    assert done.returncode == 0, f"buildah {words[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout.strip()


def buildah_words(*words: str) -> list[str]:
    """Return a command line on this repository's own storage."""
    return [
        "buildah",
        "--root",
        str(STORE / "root"),
        "--runroot",
        str(STORE / "run"),
        "--storage-driver",
        "vfs",
        *words,
    ]


def ensure_bases() -> None:
    """Make the base images unless they stand already."""
    STORE.mkdir(parents=True, exist_ok=True)
    there = buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()
    wanted = [base for base in _PACKAGES if base not in there]
    archives = [STORE / f"debian-{base.rpartition(':')[2]}.tar" for base in wanted]
    with ThreadPoolExecutor() as threads:
        list(threads.map(_make_debian, archives, [_PACKAGES[base] for base in wanted]))
    for base, archive in zip(wanted, archives, strict=True):
        with container("scratch") as name:
            with mounted(name) as tree:
                _fill(tree, archive)
            buildah("run", "--isolation", "chroot", name, "--", "python3", "-m", "ensurepip", "--default-pip")
            buildah("config", "--env", f"SSL_CERT_FILE=/{_TRUST}", "--cmd", "python3", name)
            buildah("commit", name, base)


@contextmanager
def container(image: str) -> Iterator[str]:
    """Make a working container and remove it afterwards."""
    name = buildah("from", "--pull-never", image)
    try:
        yield name
    finally:
        buildah("rm", name)


@contextmanager
def mounted(name: str) -> Iterator[Path]:
    """Show a container's files as a folder."""
    tree = Path(buildah("mount", name))
    try:
        yield tree
    finally:
        buildah("umount", name)


def _make_debian(archive: Path, packages: str) -> None:
    if archive.exists():
        return
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    unfinished = archive.with_suffix(".part.tar")
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", release, str(unfinished)],
        check=True,
        capture_output=True,
        timeout=200,
    )
    unfinished.rename(archive)


def _fill(tree: Path, archive: Path) -> None:
    _run("tar", "-C", str(tree), "-xf", str(archive), "--exclude=./dev/*")
    prefix, local = Path(sys.base_prefix), tree / "usr" / "local"
    (local / "bin").mkdir(parents=True, exist_ok=True)
    (local / "lib").mkdir(parents=True, exist_ok=True)
    shutil.copy2(prefix / "bin" / "python3.13", local / "bin" / "python3.13")
    for alias in ("python3", "python"):
        (local / "bin" / alias).symlink_to("python3.13")
    (local / "include").mkdir(exist_ok=True)
    if (tree / "usr" / "bin" / "gcc").exists():
        shutil.copytree(prefix / "include" / "python3.13", local / "include" / "python3.13")
    for library in (prefix / "lib").glob("libpython3*.so*"):
        shutil.copy2(library, local / "lib" / library.name, follow_symlinks=False)
    excluded = [f"--exclude={pattern}" for pattern in _WITHOUT]
    words = ["tar", "-C", str(prefix / "lib"), "-c", *excluded, "python3.13"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as packed:
        subprocess.run(["tar", "-C", str(local / "lib"), "-x"], stdin=packed.stdout, check=True, timeout=120)
    assert packed.returncode == 0
    (local / "lib" / "python3.13" / "site-packages").mkdir(exist_ok=True)
    _run("chroot", str(tree), "ldconfig")
    # The roots this machine trusts: its package registry may be behind a CA of its own.
    shutil.copyfile(Path("/") / _TRUST, tree / _TRUST)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=120)
