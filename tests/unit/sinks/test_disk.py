"""The real file system, and the directory a trail may live in."""

import os
from pathlib import Path

import pytest

from proxy.model.errors import AuditError
from proxy.sinks.disk import RealDisk, prepare_directory, take_lock


def test_create_never_writes_into_what_was_there(tmp_path: Path) -> None:
    """A file or a link planted under a segment's name is replaced, not followed."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "trail").symlink_to(target)
    disk = RealDisk()
    descriptor = disk.create(tmp_path / "trail")
    disk.write(descriptor, memoryview(b"records"))
    disk.close(descriptor)
    assert target.read_text() == "precious"
    assert (tmp_path / "trail").read_bytes() == b"records"
    assert (tmp_path / "trail").stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_appended_to(tmp_path: Path) -> None:
    """`checkpoints` and `lock` that point elsewhere are refused."""
    (tmp_path / "checkpoints").symlink_to(tmp_path / "target")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic link"):
        RealDisk().open_append(tmp_path / "checkpoints")
    with pytest.raises(AuditError, match="lock"):
        take_lock(tmp_path)
    assert not (tmp_path / "target").exists()


def test_a_reserve_takes_real_space(tmp_path: Path) -> None:
    """Reserved is allocated, not a hole; released is gone."""
    RealDisk().reserve(tmp_path / "reserve", 1 << 20)
    found = (tmp_path / "reserve").stat()
    assert (found.st_size, found.st_blocks * 512 >= 1 << 20) == (1 << 20, True)
    RealDisk().release(tmp_path / "reserve")
    RealDisk().release(tmp_path / "reserve")
    assert list(tmp_path.iterdir()) == []


def test_our_own_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Made with its parents, or found too open: 0700 afterwards."""
    for path in (tmp_path / "a" / "b", tmp_path / "open"):
        if path.name == "open":
            path.mkdir()
            path.chmod(0o777)
        prepare_directory(path)
        assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: giving a directory to another user needs root")
def test_a_directory_of_another_user_must_be_closed(tmp_path: Path) -> None:
    """Where others may write, records could be swapped: refused, with advice."""
    path = tmp_path / "theirs"
    path.mkdir()
    path.chmod(0o777)
    os.chown(path, 12345, 12345)
    with pytest.raises(AuditError, match="inside it"):
        prepare_directory(path)
    path.chmod(0o755)
    prepare_directory(path)


def test_a_place_that_cannot_be_a_directory(tmp_path: Path) -> None:
    """A file in the way is an error with the path in it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="file"):
        prepare_directory(tmp_path / "file" / "trail")


def test_a_lock_is_free_once_its_holder_is_gone(tmp_path: Path) -> None:
    """The lock goes with the descriptor; the file that stays behind locks nobody out."""
    first = take_lock(tmp_path)
    with pytest.raises(AuditError, match=str(os.getpid())):
        take_lock(tmp_path)
    os.close(first)
    os.close(take_lock(tmp_path))
