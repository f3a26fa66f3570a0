"""Ruff's rules for docstrings reach every public name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def check(source: Path, copy: Path) -> str:
    """Return what ruff finds in a copy of a package: it takes `_x.py` for private, but public functions stand there."""
    for file in source.rglob("*.py"):
        name = file.name if file.name.startswith("__") else file.name.lstrip("_")
        target = copy / file.relative_to(source).with_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text())
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    rules = ["--select", "D", "--ignore", "D102,D105,D107,D403,D417", "--per-file-ignores", "rules.py:D103"]
    return subprocess.run([*command, *rules, "."], cwd=copy, capture_output=True, text=True).stdout


def test_public_names_say_what_they_are(tmp_path):
    assert check(ROOT / "lib/bitbook", tmp_path).startswith("All checks passed")


def test_a_name_without_a_docstring_is_found_in_a_private_module(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/_hidden.py").write_text('"""A module."""\n\n\ndef public():\n    return 1\n')
    assert "D103" in check(tmp_path / "source", tmp_path / "copy")
