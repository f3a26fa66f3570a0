"""Where everything of a project folder lies: the root, the results of a params file, the store."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self


def root() -> Path:
    """Return the project folder: the nearest folder with a dvc.yaml and a .dvc, from the current one upwards.

    A notebook that is run interactively anywhere else belongs to the checkout that bitbook is installed from. Raises
    FileNotFoundError where there is neither.
    """
    here = Path.cwd()
    installed_from = Path(__file__).resolve().parents[3]
    for folder in (here, *here.parents, installed_from):
        if (folder / ".dvc").is_dir() and (folder / "dvc.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no dvc.yaml with a .dvc folder above {here}: change into a checkout of bitbook")


def require_writable() -> None:
    """Raise PermissionError where nothing can be written into the project folder."""
    if not os.access(root(), os.W_OK):
        raise PermissionError(f"{root()} is read-only, and results are written there: copy it to a folder of your own")


def own_package() -> Path | None:
    """Return the bitbook package of this checkout where another one was imported; None where all is well."""
    own = root() / "lib" / "bitbook"
    return own if (own / "cli.py").exists() and not own.samefile(Path(__file__).parents[1]) else None


@dataclass(frozen=True)
class Results:
    """The folder of results that belongs to a params file: `results` for the root's, `results/full` for full's."""

    folder: Path

    @classmethod
    def of(cls, params: Path) -> Self:
        where = params.resolve().parent
        if not where.is_relative_to(root()):
            raise ValueError(f"{params} lies outside of {root()}: results belong to params files in the project")
        return cls(root() / "results" / where.relative_to(root()))

    def emptied(self, folder: Path) -> Path:
        """Return a folder among these results without what was in it, made where there is none.

        Raises:
            ValueError: where it lies elsewhere, symbolic links followed. Nothing is deleted there.
        """
        place, home = folder.resolve(), self.folder.resolve()
        if place == home or not place.is_relative_to(home):
            raise ValueError(f"{folder} is {place}, outside of {home}: nothing is deleted there; remove the link")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return folder

    def data(self, task: str) -> Path:
        return self.folder / "data" / f"{task}.json"

    def output(self, kind: str, key: str) -> Path:
        """Return the folder that a `net` or `run` stage fills."""
        return self.folder / f"{kind}s" / key

    def network(self, net: str) -> Path:
        return self.output("net", net) / "network.safetensors"

    def metrics(self, key: str) -> Path:
        return self.folder / "metrics" / f"{key}.json"

    def parameters(self, key: str) -> Path:
        """Return the file of all parameters in use, defaults included."""
        return self.folder / "parameters" / f"{key}.json"

    def provenance(self, key: str) -> Path:
        return self.folder / "provenance" / f"{key}.json"

    def executed(self, key: str) -> Path:
        return self.folder / "executed" / f"{key}.ipynb"
