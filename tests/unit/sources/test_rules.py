import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.model.errors import RuleFileError
from proxy.policy.compile import RuleSet
from proxy.sources.rules import MAX_FILES, RuleFolder, RuleReloader
from tests.fakes.policy import SCOPES

RULE = "  - id: {id}\n    why: a test\n    to: {to}\n"


def rule_file(*ids: str, to: str = "example.com") -> str:
    return "rules:\n" + "".join(RULE.format(id=name, to=to) for name in ids)


def replace_file(path: Path, text: str) -> None:
    """Write beside and rename into place, as an editor or git does."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def ids_of(ruleset: RuleSet) -> list[str]:
    return [rule.id for rule in ruleset.rules]


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    """Every rule file below a folder counts, but for tests and hidden entries; a file named twice counts once."""
    (tmp_path / "a.yaml").write_text(rule_file("a"))
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "b.yaml").write_text(rule_file("b"))
    for ignored in ("tests", ".git"):
        (tmp_path / ignored).mkdir()
        (tmp_path / ignored / "c.yaml").write_text("not: rules")
    (tmp_path / ".hidden.yaml").write_text("not: rules")
    (tmp_path / "README.md").write_text("not rules")
    (tmp_path / "jobgate.schema.json").write_text("{}")

    assert ids_of(RuleFolder([tmp_path, tmp_path / "a.yaml"], SCOPES).load()) == ["a", "b"]


def test_a_mounted_folder_of_links_is_read(tmp_path: Path) -> None:
    """A Kubernetes ConfigMap, a folder of links into its own hidden folder, is read once."""
    inner = tmp_path / "..2026"
    inner.mkdir()
    (inner / "a.yaml").write_text(rule_file("a"))
    (tmp_path / "..data").symlink_to(inner.name)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    assert ids_of(RuleFolder([tmp_path], SCOPES).load()) == ["a"]


PROBLEMS: list[tuple[str, Callable[[Path], object], str]] = [
    ("nothing there", lambda folder: None, "no rule files"),
    ("a link out", lambda folder: (folder / "a.yaml").symlink_to("/etc/hostname"), "a link that leads out"),
    ("a dangling link", lambda folder: (folder / "a.yaml").symlink_to("gone.yaml"), "cannot be read: No such file"),
    ("another suffix", lambda folder: (folder / "a.yml").write_text(rule_file("a")), "rule files end in `.yaml`"),
    ("a folder", lambda folder: (folder / "a.yaml").mkdir(), "no rule files"),
    ("not YAML", lambda folder: (folder / "a.yaml").write_text("a: ["), "not YAML"),
    ("empty", lambda folder: (folder / "a.yaml").write_text(""), "the file has no rules"),
    ("not UTF-8", lambda folder: (folder / "a.yaml").write_bytes(b"\xff"), "not UTF-8"),
    ("too large", lambda folder: (folder / "a.yaml").write_bytes(b"#" * 2**21), "larger than 1024 KiB"),
    ("a mistake", lambda folder: (folder / "a.yaml").write_text("rules: [{id: a}]"), "`why` is missing"),
    ("one id twice", lambda folder: (folder / "a.yaml").write_text(rule_file("a", "a")), "two rules are called `a`"),
    (
        "too many",
        lambda folder: [(folder / f"{n}.yaml").write_text("") for n in range(MAX_FILES + 1)],
        "more than 1000 rule files",
    ),
]


@pytest.mark.parametrize("make, message", [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS])
def test_a_folder_that_cannot_be_used_is_a_problem(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    """Whatever is wrong with the files, there is a problem that names the file and no rule set."""
    make(tmp_path)
    with pytest.raises(RuleFileError) as caught:
        RuleFolder([tmp_path], SCOPES).load()
    assert any(message in problem.message for problem in caught.value.problems), caught.value.problems


def test_a_path_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """A misspelt folder is not an empty one."""
    with pytest.raises(RuleFileError, match="no such file or folder"):
        RuleFolder([tmp_path / "nope"], SCOPES).load()


def test_all_problems_of_all_files_are_told_in_order(tmp_path: Path) -> None:
    """One round of corrections is enough: nothing hides behind the first problem."""
    (tmp_path / "b.yaml").write_text("rules:\n  - id: B\n    why: because\n    to: '*'\n")
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "c.yaml").write_text(rule_file("same"))
    (tmp_path / "d.yaml").write_text(rule_file("same"))

    with pytest.raises(RuleFileError) as caught:
        RuleFolder([tmp_path], SCOPES).load()

    places = [(Path(problem.file).name, problem.line, problem.column) for problem in caught.value.problems]
    assert places == [("a.yaml", 2, 1), ("b.yaml", 2, 9), ("b.yaml", 4, 9), ("d.yaml", 2, 9)]
    assert "c.yaml:2" in caught.value.problems[-1].hint


def test_a_condition_is_underlined_at_the_typo(tmp_path: Path) -> None:
    """The caret stands under the word, not under the key."""
    (tmp_path / "a.yaml").write_text(rule_file("a") + "    when: 'true && job.brnach == 1'\n")
    with pytest.raises(RuleFileError) as caught:
        RuleFolder([tmp_path], SCOPES).load()
    (problem,) = caught.value.problems
    shown, caret = problem.excerpt.split("\n")
    assert shown[caret.index("^") :].startswith("job.brnach")


class Events:
    """Remembers what a reloader reported."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.refused: list[RuleFileError] = []


def reloader(folder: Path, events: Events) -> RuleReloader:
    return RuleReloader(
        RuleFolder([folder], SCOPES),
        on_loaded=lambda ruleset: events.loaded.append(ruleset.revision),
        on_refused=events.refused.append,
    )


def test_a_proxy_without_rules_does_not_start(tmp_path: Path) -> None:
    """The first load must succeed."""
    with pytest.raises(RuleFileError):
        reloader(tmp_path, Events())


async def test_a_bad_file_keeps_the_old_rules_and_shows(tmp_path: Path) -> None:
    """A reload is all or nothing; what is wrong stays visible until it is right again."""
    events, file = Events(), tmp_path / "a.yaml"
    file.write_text(rule_file("a"))
    rules = reloader(tmp_path, events)
    first = rules.current
    assert (events.loaded, rules.status.problems) == ([first.revision], ())

    file.write_text("rules: [")
    assert await rules.reload() is False
    assert rules.current is first
    assert ["not YAML" in problem.message for problem in rules.status.problems] == [True]
    assert (rules.status.revision, rules.status.rules) == (first.revision, 1)
    assert len(events.refused) == 1

    file.write_text(rule_file("a", "b"))
    assert await rules.reload() is True
    assert ids_of(rules.current) == ["a", "b"]
    assert not rules.status.problems
    assert events.loaded == [first.revision, rules.current.revision]

    assert await rules.reload() is True
    assert len(events.loaded) == 2  # nothing new, nothing to report

    file.unlink()
    assert await rules.reload() is False
    assert ids_of(rules.current) == ["a", "b"]


async def test_a_mended_file_is_reported_even_when_it_means_the_same(tmp_path: Path) -> None:
    """Going back to what was in force ends the amber state, and is told."""
    events, file = Events(), tmp_path / "a.yaml"
    file.write_text(rule_file("a"))
    rules = reloader(tmp_path, events)
    file.write_text("x")
    await rules.reload()
    file.write_text(rule_file("a"))
    await rules.reload()
    assert len(events.loaded) == 2


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is on disk
            await asyncio.sleep(0.005)


async def test_changes_are_noticed_by_watching(tmp_path: Path) -> None:
    """An edited, replaced, added or removed file, and a bad one, is taken up without a signal."""
    events, file = Events(), tmp_path / "a.yaml"
    file.write_text(rule_file("a"))
    rules = reloader(tmp_path, events)
    watching = asyncio.create_task(rules.watch(0.01))
    try:
        replace_file(file, rule_file("b"))
        await until(lambda: ids_of(rules.current) == ["b"])
        (tmp_path / "c.yaml").write_text(rule_file("c"))
        await until(lambda: ids_of(rules.current) == ["b", "c"])
        replace_file(file, "rules: [")
        await until(lambda: len(events.refused) == 1)
        await asyncio.sleep(0.05)
        assert len(events.refused) == 1  # told once, not every second
        file.unlink()
        await until(lambda: ids_of(rules.current) == ["c"])
        os.utime(tmp_path / "c.yaml", ns=(1, 1))
        await until(lambda: rules.status.problems == ())
    finally:
        watching.cancel()


async def test_no_reader_ever_sees_none_or_half_of_a_set(tmp_path: Path) -> None:
    """Through a thousand reloads, half of them of broken files, whoever looks finds one whole set (G35)."""
    file = tmp_path / "a.yaml"
    whole = [rule_file("a", "b"), rule_file("c", "d")]
    file.write_text(whole[0])
    rules = reloader(tmp_path, Events())
    seen: set[tuple[str, ...]] = set()
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            seen.add(tuple(ids_of(rules.current)))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    for turn in range(1000):
        file.write_text(whole[turn // 2 % 2] if turn % 2 == 0 else whole[0][: 10 + turn % 40] + "\n\t{")
        await rules.reload()
    done.set()
    await looking

    assert seen == {("a", "b"), ("c", "d")}
