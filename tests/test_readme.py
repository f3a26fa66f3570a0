"""The README's walk-through, done for real in a copy of the project.

A fenced block right after the line `<!-- walk -->` is walked: its lines that begin with `$ ` are run in bash, one
after the other, and what the block shows under each must be what comes. Numbers may differ a little, since another
processor rounds otherwise; a line `...` stands for any lines.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^<!-- walk -->\n+```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?")
LEFT_BEHIND = (".git", ".venv", ".work", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")


def steps(readme: str) -> list[tuple[str, str]]:
    """The commands of all walked blocks with the output shown under each."""
    lines = "".join(BLOCK.findall(readme)).splitlines()
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return [(command, "\n".join(output).strip()) for command, output in found]


def same_line(shown: str, actual: str) -> bool:
    """Equal but for spaces and for numbers: fractions of 1 within 0.02, others within a tenth."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", actual).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(actual), strict=True)
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    return all(abs(a - b) <= (0.02 if abs(a) <= 1 else 0.1 * abs(a)) for a, b in values)


def same(shown: list[str], actual: list[str]) -> bool:
    """Whether lines are as shown, where a line `...` stands for any number of them."""
    if not shown:
        return not actual
    if shown[0] == "...":
        return same(shown[1:], actual) or (bool(actual) and same(shown, actual[1:]))
    return bool(actual) and same_line(shown[0], actual[0]) and same(shown[1:], actual[1:])


def run(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "stdin": subprocess.DEVNULL}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, **pipes, timeout=600)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def copy(tmp_path, reproduced) -> Path:
    """A copy of the project with its results, all of it committed."""
    folder = tmp_path / "bitbook"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND), symlinks=True)
    run("git init -q && git config user.name reader && git config user.email reader@example.org", folder)
    run("git add -A && git commit -qm walk", folder)
    return folder


def test_the_walk_through_shows_what_comes(copy):
    walk = steps((ROOT / "README.md").read_text())
    assert walk, "README.md has no block after a line <!-- walk -->"
    for command, shown in walk:
        actual = run(command, copy)
        assert same(shown.splitlines(), [line for line in actual.splitlines() if line.strip()]), f"{command}\n{actual}"


def test_the_page_is_read_in_five_minutes():
    readme = (ROOT / "README.md").read_text()
    rows = readme.split("<!-- made: few -->")[1].split("<!-- end -->")[0].strip().splitlines()[2:]
    assert len(readme.splitlines()) <= 150
    assert 1 <= len(rows) <= 10


def test_blocks_are_taken_apart_into_commands_and_outputs():
    readme = (
        "```\n$ no\n```\n<!-- walk -->\n```console\n$ a b\nx\n...\n$ c\n```\ntext\n<!-- walk -->\n\n```\n$ d\ny\n```\n"
    )
    assert steps(readme) == [("a b", "x\n..."), ("c", ""), ("d", "y")]


@pytest.mark.parametrize(
    ("shown", "actual", "expected"),
    [
        (["top1  0.95 -> 0.94"], ["top1 0.96 -> 0.93"], True),
        (["top1 0.95"], ["top1 0.90"], False),
        (["9,501 bytes"], ["9,100 bytes"], True),
        (["9,501 bytes"], ["7,100 bytes"], False),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "d"], True),
        (["a", "...", "d"], ["a", "b"], False),
        (["..."], [], True),
        (["a"], ["a", "b"], False),
        ([], ["a"], False),
        ([], [], True),
    ],
)
def test_outputs_are_compared_as_promised(shown, actual, expected):
    assert same(shown, actual) == expected
