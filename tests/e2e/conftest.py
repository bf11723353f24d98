"""Fixtures of the end-to-end tests: a world per file, a job per test, and tools that are asked for by name."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.sidecar import Job, World
from tests.fakes.tools import RequireTool, find_tool, skip_loudly


@pytest.fixture(scope="session")
def require_tool() -> RequireTool:
    """Returns the path of a program, or skips the test by name; in CI, where it should be there, fails."""

    def require(name: str) -> str:
        found = find_tool(name)
        if found is None and os.environ.get("CI") == "true":
            pytest.fail(f"MISSING PART: `{name}`, which .ci/real-parts should have brought")
        if found is None:
            skip_loudly(f"`{name}` is not installed; .ci/real-parts brings it")
        return str(found)

    return require


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Makes worlds that are started, and stopped at the end of the test."""
    made: list[World] = []

    def make(*, start: bool = True, **facts: object) -> World:
        world = World(**facts)  # type: ignore[arg-type]
        made.append(world)
        if start:
            world.start()
        return world

    yield make
    for world in made:
        world.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for a whole file, with the rule `open`."""
    made = World()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def job(world: World) -> Job:
    """A job of acme/storefront on main, with a session of its own."""
    return world.open()
