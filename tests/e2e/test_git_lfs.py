"""Real git-lfs through a real sidecar: the URLs that a batch's answer hands out, and only those, lead to the store."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.git import HOST, REPOSITORY, GitServer, run_git
from tests.fakes.lfs import SERVER, STORE, LfsServer
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
ID = f"{SERVER}/acme/app"
URL = f"https://{SERVER}/acme/app/info/lfs"


@pytest.fixture(scope="module")
def stage(require_tool: RequireTool) -> Iterator[tuple[World, LfsServer]]:
    require_tool("git")
    require_tool("git-lfs")
    world = World()
    git = GitServer(world.folder / "git", world.root.server_side("git", (HOST,)), world.secret)
    git.add_repository(files={"README.md": "# storefront\n"})
    git.start()
    lfs = LfsServer(world.root.server_side("lfs", (SERVER, STORE)), f"Bearer {world.secret}")
    lfs.site.start()
    world.places |= {f"{HOST}:443": git.site.place, f"{SERVER}:443": lfs.site.place, f"{STORE}:443": lfs.site.place}
    transfers = [f"git lfs.download {ID}", f"git lfs.upload {ID}"]
    world.rules = [
        rule("git", HOST, credential=world.basic("bot"), intent=[f"git read {HOST}/**", f"git write {HOST}/**"]),
        rule("batch", SERVER, credential=world.bearer(), intent=[*transfers, f"git lfs.locks {ID}"]),
        rule("store", STORE, intent=transfers),
    ]
    world.start()
    yield world, lfs
    world.stop()
    lfs.site.stop()
    git.stop()


@pytest.fixture
def work(stage: tuple[World, LfsServer]) -> tuple[Job, Path]:
    """A job with a clone in which files called *.bin are LFS's."""
    world, _ = stage
    job = world.open()
    job.run("git", "clone", "-q", f"https://{HOST}/{REPOSITORY}", "work")
    folder = job.folder / "work"
    for words in (("lfs.url", URL), (f"lfs.{URL}.locksverify", "false"), ("lfs.transfer.maxretries", "1")):
        run_git("config", *words, folder=folder)
    job.run("git", "-C", "work", "lfs", "install", "--local")
    job.run("git", "-C", "work", "lfs", "track", "*.bin")
    return job, folder


def commit(folder: Path, content: bytes, job: Job) -> str:
    (folder / "large.bin").write_bytes(content)
    job.run("git", "-C", "work", "add", ".gitattributes", "large.bin")
    job.run("git", "-C", "work", *("-c", "user.name=x", "-c", "user.email=x@y"), "commit", "-q", "-m", "Add")
    return hashlib.sha256(content).hexdigest()


def records(world: World, host: str) -> list[dict[str, Any]]:
    return [each for each in world.records("flow.decision") if each.get("host") == host and each["method"] != "CONNECT"]


@pytest.mark.parametrize("coding", ["plain", "gzip"])
def test_an_object_goes_up_and_down(stage: tuple[World, LfsServer], work: tuple[Job, Path], coding: str) -> None:
    """The store's host has no path rule: its URLs mean what the batch meant, and carry the field they were given."""
    world, lfs = stage
    job, folder = work
    lfs.compress = coding == "gzip"
    content = b"large" * 5_000 + coding.encode()
    oid = commit(folder, content, job)
    job.run("git", "-C", "work", "push", "-q", "origin", f"HEAD:refs/heads/lfs-{coding}")
    assert lfs.objects[oid] == content
    up = records(world, STORE)[-1]
    assert (up["effect"], up["action"], up["resource"]) == ("allow", "lfs.upload", ID)
    batch = next(each for each in records(world, SERVER) if each["flow"] == up["facts"]["led_by"])
    assert (batch["action"], up["facts"]["objects"]) == ("lfs.upload", oid)

    other = world.open()
    clone = ("git", "-c", f"lfs.url={URL}", "-c", "filter.lfs.required=true")
    filters = ("-c", "filter.lfs.smudge=git-lfs smudge -- %f", "-c", "filter.lfs.process=git-lfs filter-process")
    other.run(*clone, *filters, "clone", "-q", "-b", f"lfs-{coding}", f"https://{HOST}/{REPOSITORY}", "again")
    assert (other.folder / "again" / "large.bin").read_bytes() == content
    down = records(world, STORE)[-1]
    assert (down["effect"], down["action"], down["facts"]["objects"]) == ("allow", "lfs.download", oid)


def test_only_the_session_that_was_led_there_may_go(stage: tuple[World, LfsServer], work: tuple[Job, Path]) -> None:
    """Another job, another method, another object or a URL nobody handed out is denied, and the store sees nothing."""
    world, lfs = stage
    job, folder = work
    oid = commit(folder, b"mine alone", job)
    job.run("git", "-C", "work", "push", "-q", "origin", "HEAD:refs/heads/alone")
    lfs.objects[oid] = b"mine alone"
    granted = f"https://{STORE}/objects/{oid}"
    before = len([each for each in lfs.site.seen if each.headers["host"] == STORE])
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    put = ("-X", "PUT", "-d", "x")
    assert world.open().curl(*status, *put, granted) == "403"
    assert job.curl(*status, granted) == "403"
    assert job.curl(*status, *put, granted + "0") == "403"
    assert job.curl(*status, *put, granted + "?x=1") == "403"
    assert len([each for each in lfs.site.seen if each.headers["host"] == STORE]) == before
    # The very same request of the same session passes; the store, not we, says no to it without its ticket.
    job.curl(*status, *put, granted)
    assert len([each for each in lfs.site.seen if each.headers["host"] == STORE]) == before + 1
