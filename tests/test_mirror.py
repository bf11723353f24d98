"""tests/unit mirrors the pure packages file by file: a module's tests are where its name says, and nowhere else."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = ("model", "identity", "intents", "policy", "audit", "engine", "pipelines", "simulate", "reports")
# Modules that hold no statement of their own: declarations and constants that other modules' tests go through.
DECLARATIONS_ONLY = {"engine/ports.py", "engine/seam.py"}


def modules(package: str) -> set[str]:
    """Every module of a package that has something to test; `intents/aws/s3.py` as `aws/s3`."""
    folder = ROOT / "proxy" / package
    return {
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.py")
        if path.name != "__init__.py" and path.relative_to(ROOT / "proxy").as_posix() not in DECLARATIONS_ONLY
    }


def covered(package: str) -> set[str]:
    """The modules that tests/unit has a file for. `test_file_faults.py` is a second file for `file`."""
    folder = ROOT / "tests" / "unit" / package
    found = set()
    for path in folder.rglob("test_*.py"):
        name = path.relative_to(folder).with_name(path.name.removeprefix("test_")).with_suffix("").as_posix()
        found.add(owner(name, modules(package)))
    return found


def owner(name: str, known: set[str]) -> str:
    """The longest module name that `name` is or begins with, before an underscore; `name` itself when there is none."""
    fitting = [each for each in known if name == each or name.startswith(f"{each}_")]
    return max(fitting, key=len, default=name)


@pytest.mark.parametrize("package", PURE)
def test_every_pure_module_has_its_test_file(package: str) -> None:
    """No module without tests of its own, and no test file whose module is gone."""
    assert covered(package) == modules(package)


@pytest.mark.parametrize(
    "name, known, expected",
    [
        ("chain", {"chain"}, "chain"),
        ("chain_long", {"chain"}, "chain"),
        ("chain_long", {"chain", "chain_long"}, "chain_long"),
        ("aws/s3_paths", {"aws/s3", "aws"}, "aws/s3"),
        ("chained", {"chain"}, "chained"),
    ],
)
def test_a_test_file_belongs_to_the_longest_name_it_begins_with(name: str, known: set[str], expected: str) -> None:
    """A module's tests may be several files, told apart by what follows an underscore."""
    assert owner(name, known) == expected


@pytest.mark.parametrize("relative", sorted(DECLARATIONS_ONLY))
def test_exceptions_stay_declarations(relative: str) -> None:
    """A module excused from a test file has no branch in it."""
    text = (ROOT / "proxy" / relative).read_text()
    assert not any(line.lstrip().startswith(("if ", "for ", "while ", "try:")) for line in text.splitlines())


def test_pure_tests_use_no_mocks() -> None:
    """Fakes that behave, not mocks that agree: neither unittest.mock nor monkeypatch in the pure packages' tests."""
    offenders = [
        str(path.relative_to(ROOT))
        for package in PURE
        for path in (ROOT / "tests" / "unit" / package).rglob("*.py")
        if "unittest.mock" in (text := path.read_text()) or "monkeypatch" in text
    ]
    assert offenders == []
