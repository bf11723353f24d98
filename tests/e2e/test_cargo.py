"""cargo through a real sidecar to a registry with a sparse index: publish, fetch, build and yank, by intent."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.crates import BASE, HOST, CrateRegistry
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.tools import find_tool, skip_loudly

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[World, CrateRegistry]]:
    # Debian's cargo knows no sparse index, so there is nothing that could be installed in its place.
    if find_tool("cargo") is None:
        skip_loudly("`cargo` is not installed")
    world = World()
    registry = CrateRegistry(world.root.server_side("crates", (HOST,)), world.secret)
    registry.site.start()
    world.places[f"{HOST}:443"] = registry.site.place
    bare: dict[str, Any] = {"header": {"scheme": "raw", "from": {"file": str(world.secret_file)}}}
    lines = [f"cargo ping {HOST}", f"cargo install {HOST}/gatelet", f"cargo publish {HOST}/gatelet"]
    world.rules = [rule("crates", HOST, credential=bare, intent=lines)]
    world.start()
    yield world, registry
    world.stop()
    registry.site.stop()


def cargo(job: Job, *words: str, code: int = 0) -> str:
    """Run cargo offline but for our registry, with the placeholder that a job has."""
    environment = {
        "CARGO_HOME": str(job.folder / "cargo"),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        "CARGO_REGISTRIES_OURS_INDEX": f"sparse+{BASE}/",
        "CARGO_REGISTRIES_OURS_TOKEN": "placeholder",
        "CARGO_NET_RETRY": "0",
        "PATH": os.environ["PATH"],
    }
    done = job.run(str(find_tool("cargo")), *words, code=code, environment=environment, seconds=120)
    return (done.stdout + done.stderr).decode()


def crate(job: Job, name: str, version: str, depends: str = "") -> Path:
    """A library with one function, or a program that calls it."""
    folder = job.folder / name
    (folder / "src").mkdir(parents=True)
    manifest = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n'
    manifest += 'description = "a test"\nlicense = "MIT"\n\n'
    if depends:
        (folder / "src" / "main.rs").write_text('fn main() { println!("{}", gatelet::answer()); }\n')
        manifest += f'[dependencies]\n{depends} = {{ version = "1", registry = "ours" }}\n'
    else:
        (folder / "src" / "lib.rs").write_text("pub fn answer() -> u32 { 42 }\n")
    (folder / "Cargo.toml").write_text(manifest)
    return folder


def publish(job: Job, folder: Path, code: int = 0) -> str:
    words = ("publish", "--registry", "ours", "--no-verify", "--allow-dirty", "--manifest-path")
    return cargo(job, *words, str(folder / "Cargo.toml"), code=code)


def decisions(world: World, action: str) -> list[dict[str, Any]]:
    return [each for each in world.records("flow.decision") if each.get("action") == action]


def test_a_crate_is_published_and_used(stage: tuple[World, CrateRegistry]) -> None:
    """What the rule names arrives with its digest on record; another job of the same rule builds from it."""
    world, registry = stage
    job = world.open()
    publish(job, crate(job, "gatelet", "1.2.3"))
    (line,) = registry.lines["gatelet"]
    record = decisions(world, "publish")[-1]
    assert (record["effect"], record["resource"], record["class"]) == ("allow", f"{HOST}/gatelet", "publish")
    assert record["facts"] == {"version": "1.2.3", "sha256": line["cksum"]}

    other = world.open()
    manifest = str(crate(other, "program", "0.1.0", depends="gatelet") / "Cargo.toml")
    cargo(other, "fetch", "--manifest-path", manifest)
    assert "42" in cargo(other, "run", "--quiet", "--manifest-path", manifest)
    assert ("artifact", "1.2.3") in {
        (each["facts"]["what"], each["facts"].get("version")) for each in decisions(world, "install")
    }


def test_another_crate_and_another_action_are_refused(stage: tuple[World, CrateRegistry]) -> None:
    """A crate no rule names, and a yank, never reach the registry; cargo shows the status and what is missing."""
    world, registry = stage
    job = world.open()
    said = publish(job, crate(job, "otherpack", "1.0.0"), code=101)
    assert "403" in said
    assert "no-rule" in said
    assert "otherpack" not in registry.lines
    before = len(registry.site.seen)
    assert "403" in cargo(job, "yank", "gatelet@1.2.3", "--registry", "ours", code=101)
    assert [each for each in registry.site.seen[before:] if each.method != "GET"] == []
    denied = decisions(world, "yank")[-1]
    assert (denied["effect"], denied["resource"]) == ("deny", f"{HOST}/gatelet")
