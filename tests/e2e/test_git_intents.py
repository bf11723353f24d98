"""What a push moves, read from real git's own bytes through a real sidecar; and a refusal that git shows its user."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.demo.git import HOST, REPOSITORY, GitServer, run_git
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
URL = f"https://{HOST}/{REPOSITORY}"
ID = f"{HOST}/{REPOSITORY.removesuffix('.git')}"


@pytest.fixture(scope="module")
def git(require_tool: RequireTool) -> Iterator[tuple[World, GitServer]]:
    require_tool("git")
    world = World()
    server = GitServer(world.folder / "git", world.root.server_side("git", (HOST,)), world.secret)
    server.add_repository(files={"README.md": "# storefront\n"})
    server.start()
    world.places[f"{HOST}:443"] = server.site.place
    lines = [f"git read {ID}", f"git push.create {ID}#refs/heads/feature-*", f"git write {ID}#refs/tags/v*"]
    world.rules = [rule("work", HOST, method="any", intent=lines, credential=world.basic("bot"))]
    world.start()
    yield world, server
    world.stop()
    server.stop()


@pytest.fixture
def clone(git: tuple[World, GitServer]) -> tuple[World, Job, Path]:
    """A job with a fresh clone."""
    world, _ = git
    job = world.open()
    job.run("git", "clone", "-q", URL, "work")
    return world, job, job.folder / "work"


def commit(work: Path, name: str, content: bytes = b"x") -> str:
    (work / name).write_bytes(content)
    run_git("add", name, folder=work)
    run_git("commit", "-q", "-m", f"Add {name}", folder=work)
    return run_git("rev-parse", "HEAD", folder=work).strip()


def push(job: Job, work: Path, *words: str, code: int = 0) -> str:
    done = job.run("git", "-C", str(work), "push", *words, code=code)
    return (done.stdout + done.stderr).decode()


def meant(world: World) -> list[tuple[str, str, str]]:
    found = [record for record in world.records("flow.decision") if record.get("protocol") == "git"]
    return [(record["action"], record["resource"], record["effect"]) for record in found]


def test_a_fetch_is_a_read_of_the_repository(clone: tuple[World, Job, Path]) -> None:
    """A clone asks for the refs, lists them and wants commits; the record names them."""
    world, job, work = clone
    head = run_git("rev-parse", "HEAD", folder=work).strip()
    assert ("fetch.discover", ID, "allow") in meant(world)
    fetches = [record["facts"] for record in world.records("flow.decision") if record.get("action") == "fetch"]
    assert {"command": "ls-refs"} in fetches
    assert {"command": "fetch", "wants": head, "want_count": "1"} in fetches
    job.run("git", "-c", "protocol.version=0", "clone", "-q", URL, "old")
    assert world.records("flow.decision")[-1]["facts"]["wants"] == head


def test_what_a_rule_names_may_be_pushed(clone: tuple[World, Job, Path]) -> None:
    """A new branch and a new tag under the rule's patterns arrive, each on the record with its commits."""
    world, job, work = clone
    new = commit(work, "one")
    push(job, work, "-q", "--atomic", "origin", "HEAD:refs/heads/feature-1", "HEAD:refs/tags/v1")
    record = world.records("flow.decision")[-1]
    assert (record["action"], record["resource"]) == ("push.create", f"{ID}#refs/heads/feature-1")
    assert [(part["action"], part["resource"]) for part in record["also"]] == [("push.create", f"{ID}#refs/tags/v1")]
    assert record["facts"] == {"old": "0" * 40, "new": new, "atomic": "yes"}


REFUSED = [
    pytest.param(["HEAD:refs/heads/main"], ["push.update"], id="update-of-main"),
    pytest.param(["HEAD:refs/heads/other"], ["push.create"], id="another-branch"),
    pytest.param([":refs/heads/main"], ["push.delete"], id="delete"),
    pytest.param(["--force", "HEAD~:refs/heads/main"], ["push.update"], id="force"),
    pytest.param(
        ["HEAD:refs/heads/feature-2", "HEAD:refs/heads/main"], ["push.create", "push.update"], id="one-of-two"
    ),
]


@pytest.mark.parametrize("words, actions", REFUSED)
def test_a_refusal_is_told_in_gits_own_words(
    clone: tuple[World, Job, Path], git: tuple[World, GitServer], words: list[str], actions: list[str]
) -> None:
    """What no line names is rejected ref by ref, with our reason beside it, and the repository has not changed."""
    world, job, work = clone
    commit(work, "refused")
    commit(work, "again")
    before = job.run("git", "-C", str(work), "ls-remote", "origin").stdout

    said = push(job, work, "origin", *words, code=1)

    assert "[remote rejected]" in said, said
    assert "jobgate: no-rule" in said
    assert job.run("git", "-C", str(work), "ls-remote", "origin").stdout == before
    denied = [record for record in world.records("flow.decision") if record.get("reason") == "no-rule"][-1]
    names = [denied["action"], *(part["action"] for part in denied.get("also", []))]
    assert sorted(names) == sorted(actions)
    assert denied["flow"] in said


def test_a_large_refused_push_is_told_too(clone: tuple[World, Job, Path]) -> None:
    """The commands stand before the pack: megabytes of it are neither needed nor forwarded."""
    world, job, work = clone
    commit(work, "large", os.urandom(3_000_000))
    said = push(job, work, "origin", "HEAD:refs/heads/main", code=1)
    assert "[remote rejected]" in said, said
    assert "jobgate: no-rule" in said
    assert ("push.probe", ID, "allow") in meant(world)


def test_a_large_push_streams_after_its_commands(clone: tuple[World, Job, Path]) -> None:
    """Reading the commands first loses nothing of the pack behind them."""
    _, job, work = clone
    new = commit(work, "pack", os.urandom(5_000_000))
    push(job, work, "-q", "origin", "HEAD:refs/heads/feature-large")
    listed = job.run("git", "-C", str(work), "ls-remote", "origin", "refs/heads/feature-large").stdout.decode()
    assert listed.split()[0] == new
