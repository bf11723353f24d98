"""Runs the transcripts beside this file: files, commands, and what they print, as a person would see it.

`-- NAME --` begins a file, `$ jobgate ...` a command; what follows is its output, errors included, then `[exit N]` when
that is not 0. `...` stands for anything, within a line or as whole lines.
"""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TRANSCRIPTS = sorted(HERE.glob("*.txt"))


@dataclass(frozen=True, slots=True)
class Command:
    """One command and what it must print."""

    line: str
    expected: str


def read_transcript(text: str) -> tuple[dict[str, str], list[Command]]:
    """Split a transcript into its files and its commands."""
    files: dict[str, str] = {}
    commands: list[Command] = []
    for part in re.split(r"^(?=-- \S+ --$|\$ )", text, flags=re.MULTILINE):
        head, _, body = part.partition("\n")
        if head.startswith("$ "):
            commands.append(Command(head.removeprefix("$ "), body.rstrip()))
        elif head.startswith("-- "):
            files[head.removeprefix("-- ").removesuffix(" --")] = body
    return files, commands


def run_command(line: str, folder: Path) -> str:
    """Run `jobgate ARGUMENTS [< FILE]` and return what it prints, with its exit code when that is not 0."""
    words, source = shlex.split(line), subprocess.DEVNULL
    assert words[0] == "jobgate"
    stdin = None
    if "<" in words:
        at = words.index("<")
        stdin = (folder / words[at + 1]).read_text()
        words = words[:at]
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *words[1:]],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "COLUMNS": "100"},
        stdin=source if stdin is None else None,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.rstrip() + (f"\n[exit {done.returncode}]" if done.returncode else "")


def as_pattern(expected: str) -> re.Pattern[str]:
    """Turn an expected output into a pattern in which `...` stands for anything."""
    lines = (
        r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected.split("\n")
    )
    return re.compile("".join(lines))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_commands_print_what_their_transcript_says(path: Path, tmp_path: Path) -> None:
    """What a person reads from a command is fixed, word for word."""
    files, commands = read_transcript(path.read_text())
    assert commands
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in commands:
        printed = run_command(command.line, tmp_path)
        assert as_pattern(command.expected).fullmatch(printed + "\n"), f"$ {command.line}\n{printed}"


def test_a_transcript_that_differs_is_noticed() -> None:
    """The runner can fail: a wrong word, a missing line and a wrong exit code do not match."""
    assert as_pattern("a ... c\n...\nz").fullmatch("a b c\n1\n2\nz\n")
    for printed in ("a b d\nz\n", "a b c\n", "a b c\nz\n[exit 1]\n"):
        assert as_pattern("a ... c\n...\nz").fullmatch(printed) is None
