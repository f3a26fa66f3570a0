"""pyproject.toml, requirements.lock and environment.yml say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> list[tuple[Requirement, list[str]]]:
    """The requirements of the lock with their hashes."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    found = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        requirement, *hashes = re.split(r"\s*\\\n\s*--hash=", entry.strip())
        found.append((Requirement(requirement), hashes))
    return found


def wanted() -> list[Requirement]:
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in PROJECT["dependencies"] + extras]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_the_lock_holds_what_the_package_wants(requirement):
    versions = [next(iter(r.specifier)).version for r, _ in locked() if r.name.lower() == requirement.name.lower()]
    assert versions
    assert all(requirement.specifier.contains(version) for version in versions)


def test_everything_in_the_lock_is_pinned_and_hashed():
    for requirement, hashes in locked():
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


def test_conda_installs_the_lock_on_the_same_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    by_pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert by_pip == ["--require-hashes", "-r requirements.lock"]
    (python,) = [Requirement(e) for e in environment["dependencies"] if isinstance(e, str) and e.startswith("python")]
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])
    assert {"pip", "git", "make"} <= set(filter(lambda entry: isinstance(entry, str), environment["dependencies"]))


def test_the_installed_versions_are_the_locked_ones():
    from importlib import metadata

    for name in ("numpy", "numba", "torch", "dvc", "papermill"):
        installed = Version(metadata.version(name)).public
        assert installed in {next(iter(r.specifier)).version for r, _ in locked() if r.name == name}, name


def test_peers_that_need_other_versions_stay_out():
    """NNCodec wants NumPy 1: what it is compared with must not."""
    names = {requirement.name.lower() for requirement, _ in locked()}
    assert "nncodec" not in names
    numpy = [Version(next(iter(r.specifier)).version) for r, _ in locked() if r.name == "numpy"]
    assert {version.major for version in numpy} == {2}


def test_the_core_does_without_the_packages_of_the_extras(tmp_path):
    """`pip install bitbook` alone: what the pipeline and the searches use is not there."""
    blocked = ["dvc", "papermill", "jupyterlab", "nbconvert", "nbformat", "jupyter_client", "IPython", "jinja2"]
    blocked += ["matplotlib", "pandas", "latex2mathml", "ruamel", "ruamel.yaml", "pymoo"]
    code = f"""
import sys
for name in {blocked}:
    sys.modules[name] = None
import bitbook, torch
from bitbook import methods, tasks, training
from bitbook.cli import main
network = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
compressed = bitbook.compress(network, calibration=torch.rand(50, 40), ratio=6, progress=False)
compressed.save({str(tmp_path / "a.bitbook")!r})
assert bitbook.load({str(tmp_path / "a.bitbook")!r}).ratio >= 6
sys.exit(main(["info", {str(tmp_path / "a.bitbook")!r}]))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
