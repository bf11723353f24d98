"""git through a real sidecar: clone and push of a real repository, with a token the job never had."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.demo.git import HOST, REPOSITORY, GitServer, run_git
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
URL = f"https://{HOST}/{REPOSITORY}"
PUSH = rule(
    "push",
    HOST,
    when='request.path.endsWith("/git-receive-pack") || request.query == "service=git-receive-pack"',
)
FETCH = rule(
    "fetch",
    HOST,
    when='request.path.endsWith("/git-upload-pack") || request.query == "service=git-upload-pack"',
)


@pytest.fixture(scope="module")
def git(require_tool: RequireTool) -> Iterator[tuple[World, GitServer]]:
    require_tool("git")
    world = World()
    server = GitServer(world.folder / "git", world.root.server_side("git", (HOST,)), world.secret)
    server.add_repository(files={"README.md": "# storefront\n", "big": "x" * 3_000_000})
    server.start()
    world.places[f"{HOST}:443"] = server.site.place
    on_main = {"organization": "acme", "branch": "main"}
    world.rules = [
        FETCH,
        {**PUSH, "job": on_main, "credential": world.basic("bot")},
    ]
    world.start()
    yield world, server
    world.stop()
    server.stop()


@pytest.fixture
def clone(git: tuple[World, GitServer]) -> tuple[Job, Path, GitServer]:
    """A job on main with a fresh clone."""
    world, server = git
    job = world.open()
    job.run("git", "clone", "-q", URL, "work")
    server.accesses.clear()
    return job, job.folder / "work", server


def commit(work: Path, name: str, content: bytes) -> str:
    (work / name).write_bytes(content)
    run_git("add", name, folder=work)
    run_git("commit", "-q", "-m", f"Add {name}", folder=work)
    return run_git("rev-parse", "HEAD", folder=work)


def test_clone(git: tuple[World, GitServer]) -> None:
    """A clone is whole: git answers the 407 challenge, and no credential is used where none is granted."""
    world, server = git
    job = world.open(build_branch="cheaper-prices")
    job.run("git", "clone", "-q", URL, "work")
    assert run_git("fsck", "--full", folder=job.folder / "work") == ""
    assert len((job.folder / "work" / "big").read_bytes()) == 3_000_000
    assert {flow.rules for flow in world.flows(place=HOST)} == {("fetch",)}
    assert all(access.presented_sha256 is None for access in server.accesses)


def test_push_with_a_token_the_job_never_had(clone: tuple[Job, Path, GitServer]) -> None:
    """A push succeeds with jobgate's token: in no variable of the job, yet on every push request at the server."""
    job, work, server = clone
    head = commit(work, "small", b"small\n")
    job.run("git", "-C", "work", "push", "-q", "origin", "HEAD:refs/heads/small")
    assert run_git("rev-parse", "small", folder=server.folder / REPOSITORY) == head
    wanted = hashlib.sha256(job.world.secret.encode()).hexdigest()
    assert {access.presented_sha256 for access in server.accesses if access.service == "git-receive-pack"} == {wanted}
    assert job.world.secret not in "\n".join(job.environment.values())
    flow = job.world.ended(place=HOST)
    assert (flow.rules, flow.connector) == (("push",), "header")


def test_a_large_push(clone: tuple[Job, Path, GitServer]) -> None:
    """Over 1 MiB git sends chunked, after a probe; all of it arrives."""
    job, work, server = clone
    head = commit(work, "large", os.urandom(3 << 20))
    job.run("git", "-C", "work", "push", "-q", "origin", "HEAD:refs/heads/large")
    assert run_git("rev-parse", "large", folder=server.folder / REPOSITORY) == head
    run_git("fsck", "--full", folder=server.folder / REPOSITORY)
    assert "chunked" in {seen.headers.get("transfer-encoding") for seen in server.site.seen}


def test_a_gzipped_request(clone: tuple[Job, Path, GitServer]) -> None:
    """git gzips a long negotiation; it passes as it is."""
    job, work, server = clone
    time.sleep(1.1)  # git offers what it has by date: in one second with the clone's, the common commit may come first
    for number in range(40):
        run_git("commit", "-q", "--allow-empty", "-m", f"Local {number}", folder=work)
    bare = server.folder / REPOSITORY
    tree = run_git("rev-parse", "main^{tree}", folder=bare)
    fresh = run_git("commit-tree", tree, "-p", "main", "-m", "Elsewhere", folder=bare)
    run_git("update-ref", "refs/heads/elsewhere", fresh, folder=bare)
    server.site.seen.clear()
    job.run("git", "-C", "work", "fetch", "-q", "origin", "elsewhere")
    assert "gzip" in {seen.headers.get("content-encoding") for seen in server.site.seen}
    assert run_git("rev-parse", "FETCH_HEAD", folder=work) == fresh


def test_the_same_push_from_another_branch_is_denied(git: tuple[World, GitServer]) -> None:
    """A pull request's build cannot push: the server sees nothing of it."""
    world, server = git
    job = world.open(build_branch="cheaper-prices")
    job.run("git", "clone", "-q", URL, "work")
    server.accesses.clear()
    before = run_git("for-each-ref", folder=server.folder / REPOSITORY)
    done = job.run("git", "-C", "work", "push", "origin", "HEAD:refs/heads/evil", code=128)
    assert b"403" in done.stderr
    assert server.accesses == []
    assert run_git("for-each-ref", folder=server.folder / REPOSITORY) == before
    assert world.ended(place=HOST, effect="deny").reason == "no-rule"


def test_a_token_of_the_job_does_not_pass(git: tuple[World, GitServer]) -> None:
    """A token that the job puts into the URL is stripped and jobgate's used instead."""
    world, server = git
    job = world.open()
    job.run("git", "clone", "-q", URL, "work")
    server.accesses.clear()
    commit(job.folder / "work", "other", b"other\n")
    stolen = f"https://me:stolen-token@{HOST}/{REPOSITORY}"
    job.run("git", "-C", "work", "push", "-q", stolen, "HEAD:refs/heads/other")
    presented = {access.presented_sha256 for access in server.accesses}
    assert hashlib.sha256(b"stolen-token").hexdigest() not in presented
    assert hashlib.sha256(world.secret.encode()).hexdigest() in presented
