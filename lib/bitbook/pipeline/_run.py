"""What a notebook talks to: `run = pipeline.start(name, globals())` in cell 3, `run.finish(metrics)` in the last."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitbook import Compressed, load
from bitbook.codes import RULES, recount
from bitbook.files import write_atomically
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._code_hash import code_hash
from bitbook.pipeline._execute import STAGE, TERMINAL, threads
from bitbook.pipeline._layout import Results, own_package, require_writable, root
from bitbook.pipeline._network_file import about_network, read_network, write_network
from bitbook.pipeline._parameters import ParameterError
from bitbook.pipeline._store import Store, key_of
from bitbook.pipeline._tables import to_json

if TYPE_CHECKING:
    from torch import nn

    from bitbook.search import Candidate
    from bitbook.tasks import Task


class _Log:
    """stderr of a stage: its terminal and its log, instead of the rendered notebook."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files = [os.fdopen(int(os.environ[TERMINAL]), "w", buffering=1), path.open("w", buffering=1)]

    def write(self, text: str) -> int:
        for file in self.files:
            file.write(text)
        return len(text)

    def flush(self) -> None:
        for file in self.files:
            file.flush()

    def isatty(self) -> bool:
        return self.files[0].isatty()


def _seed(seed: int) -> None:
    """Seed every generator that has been imported and fix torch's thread count."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)  # what a peer's package may draw from
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)
        torch.set_num_threads(threads())
        torch.set_deterministic_debug_mode("warn")  # the other way to ask imports a compiler


class Run:
    """One execution of a notebook, in a stage or interactively.

    parameters: the declared ones with the values in use. folder: where outputs go. work: the folder for checkpoints,
    kept between runs with the same parameters, inputs and code, held by this process alone.
    """

    def __init__(self, name: str, namespace: dict[str, Any]):
        require_writable()
        self.name, self._namespace = name, namespace
        self._stage: dict[str, str] | None = json.loads(os.environ[STAGE]) if STAGE in os.environ else None
        if self._stage:
            source = Path(self._stage["notebook"])
            if source.stem != name:
                raise ValueError(f'this notebook is {source.stem}, but its third cell says start("{name}", globals())')
            if not isinstance(sys.stderr, _Log):
                sys.stderr = _Log(root() / ".work" / "log" / f"{self._stage['key']}.log")
        else:
            source = root() / "notebooks" / f"{name}.ipynb"
            if own := own_package():
                print(f"another bitbook than {own} was imported: its code makes these results", file=sys.stderr)
        cells = notebook.clean(notebook.read(source))
        self.parameters = self._read_parameters(notebook.parameters(cells))
        _seed(self.parameters.get("seed", 0))
        self._inputs = self._checksums()
        self.store = self._open_store(notebook.work_hash(cells))
        self.work = self.store.folder
        self._count_test_reads()
        if self._stage:
            self.folder = Results(Path(self._stage["results"])).emptied(Path(self._stage["folder"]))
        else:
            self.folder = root() / ".work" / "interactive" / name
            self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._front: dict[tuple[str, str], dict[str, Any]] = {}

    def _open_store(self, code: str) -> Store:
        """Take the store of this work; run interactively, a stage's if that has finished, else one of its own."""
        key = {"parameters": self.parameters, "inputs": self._inputs, "code": code}
        if self._stage:
            return Store(self._store_folder(key), key)
        if finished := Store.finished(self._store_folder(key), key):
            return finished
        return Store(self._store_folder(key | {"interactive": True}), key | {"interactive": True})

    def _store_folder(self, key: Mapping[str, Any]) -> Path:
        return root() / ".work" / self.name / key_of(key)

    def _count_test_reads(self) -> None:
        """Count from now on, if the notebook has data sets at hand: it imports them before it starts, or by `task`."""
        if datasets := sys.modules.get("bitbook.datasets"):
            datasets.observe_test_reads(lambda name: self.store.count("test_reads"))

    def _read_parameters(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        if missing := [name for name in declared if name not in self._namespace]:
            raise NameError(f"{', '.join(missing)}: run the parameters cell before this one")
        for name, parameter in declared.items():
            self._namespace[name] = parameter.check(self._namespace[name])
        return {name: self._namespace[name] for name in declared}

    def lengths(self, **wanted: int) -> None:
        """Raise ParameterError for a parameter that is a list of another length than the others ask for.

        Args:
            wanted: the lengths by the parameters' names.
        """
        for name, length in wanted.items():
            if (found := len(self.parameters[name])) != length:
                raise ParameterError(f"parameter {name} holds {found}, but with the other parameters it takes {length}")

    def _input(self, kind: str, key: str) -> Path:
        """Return a file that another stage has made: in this stage's results, run interactively in any."""
        folders = [Path(self._stage["results"])] if self._stage else [root() / "results", root() / "results" / "full"]
        paths = [Results(f).network(key) if kind == "net" else Results(f).data(key) for f in folders]
        for path in paths:
            if path.exists():
                return path
        raise FileNotFoundError(f"there is no {paths[0].relative_to(root())}: run `dvc repro {kind}@{key}` first")

    def _checksums(self) -> dict[str, str]:
        kinds = {"net": "net", "task": "data"}  # the parameters that name what another stage makes
        files = [self._input(kind, self.parameters[name]) for name, kind in kinds.items() if name in self.parameters]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    @cached_property
    def task(self) -> Task:
        """The task: the one in the parameters, else the one that the network was trained for."""
        from bitbook import tasks

        self._count_test_reads()
        if "task" in self.parameters:
            return tasks.get(self.parameters["task"])
        return tasks.get(about_network(self._input("net", self.parameters["net"]))["task"])

    def network(self) -> nn.Module:
        """Return the network named by the parameter `net` with its weights, in evaluation mode, on the GPU if any."""
        return read_network(self._input("net", self.parameters["net"]))

    def save_network(self, module: nn.Module) -> Path:
        """Save a float network with its task and the fingerprint of its data, for the runs that name it."""
        task, path = self.parameters["task"], self.folder / "network.safetensors"
        write_network(path, module, {"data": self._inputs[f"{task}.json"], "task": task})
        return path

    def save(self, compressed: Compressed, name: str = "network") -> Path:
        """Save a compressed network as NAME.bitbook among the outputs."""
        path = self.folder / f"{name}.bitbook"
        compressed.save(path)
        return path

    def keep(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return `compute()`, or what it returned in an earlier run with the same parameters, inputs and code.

        The name's ending says what it is: `.json`, `.npz` (arrays by name) or `.bitbook`. The calling cell counts as
        code even before the notebook is saved.
        """
        cell = self._namespace.get("In", [""])[-1]
        try:
            version = code_hash(cell)
        except SyntaxError:  # a magic, when run interactively
            version = hashlib.sha256(cell.encode()).hexdigest()
        return self.store.keep(name, compute, version=version[:8])

    def float_values(self, network: nn.Module) -> dict[str, float]:
        """Return the task's metrics of the float network on the test set, which the results are compared with."""
        from bitbook.training import evaluate

        test = self.task.test()
        values = self.keep("float.json", lambda: evaluate(network, test.images, test.labels, self.task.metrics))
        self._float_values = values
        return values

    def result(
        self,
        path: Path,
        *,
        variant: str,
        values: Mapping[str, float],
        method: str | None = None,
        epochs: int = 0,
        paper_ratio: float | None = None,
        paper_counting: str = "",
    ) -> dict[str, Any]:
        """Add a row to the table of results, after `float_values`, and return it. Bytes and ratio are the file's.

        Args:
            path: of a saved file.
            variant: what sets this row apart from others of the method.
            values: the task's metrics of the file, loaded back, fractions of 1; the headline metric enters the table.
            method: by default what the notebook's name says.
            epochs: of retraining.
            paper_ratio: the ratio in the paper's own way of counting. None has a rule of `codes.recount` counted.
            paper_counting: the name of that way.
        """
        if path.parent != self.folder:
            raise ValueError(f"{path} is not among the outputs: save it by run.save")
        metric, file = self.task.headline, load(path)
        if paper_ratio is None and paper_counting in RULES:
            paper_ratio = recount(file, paper_counting)[-1].ratio
        row: dict[str, Any] = {
            "task": self.task.name,
            "method": method or self.name.partition("_")[2],
            "variant": variant,
            "metric": metric,
            "float_value": float(self._float_values[metric]),
            "value": float(values[metric]),
            "file_bytes": path.stat().st_size,
            "ratio": file.ratio,
            "paper_ratio": paper_ratio,
            "paper_counting": paper_counting,
            "epochs": epochs,
            "file": path.name,
        }
        self._rows[row["method"], variant] = row
        self._front[row["method"], variant] = {n: row[n] for n in ("variant", "file_bytes", "ratio")} | dict(values)
        return row

    def results_at(
        self,
        ratios: Iterable[float],
        points: Mapping[str, Sequence[Candidate]],
        measured: Mapping[Path, Mapping[str, float]],
        *,
        before: str = "",
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Save for each ratio the file of least divergence at or above it, never chosen by test data; return the rows.

        Args:
            ratios: fixed beforehand.
            points: the candidates by the name of their front.
            measured: the metrics of each candidate's file.
            before: put before the variants.
            options: see `result`.
        """
        from bitbook.compression import pick

        rows = []
        for (name, group), ratio in product(points.items(), ratios):
            original = 4 * load(group[0].file).original_parameters
            if (best := pick(group, original / ratio)) is None:
                print(f"{name}: no file of the front is {ratio:g} times smaller")
                continue
            file = self.save(load(best.file), f"{name.replace(', ', '-').replace(' ', '-')}-{ratio:g}x")
            variant = f"{before}{name}, {ratio:g}x"
            rows.append(self.result(file, variant=variant, values=measured[best.file], **options))
        return rows

    def finish(self, metrics: Mapping[str, Any], *, front: Iterable[Mapping[str, Any]] = ()) -> None:
        """Write what the seed determines (metrics, rows of results, points of the front) and, apart, the provenance.

        Args:
            metrics: numbers, or mappings of numbers, by name; those of the rows of results are added as `files`.
            front: rows with a `variant` and the bytes and metrics of a file each; by default the rows of results.

        Raises:
            ValueError: for a metric that is not finite.
        """
        if self._rows:
            names = ("value", "file_bytes", "ratio", "paper_ratio")
            files = {v: {n: row[n] for n in names if row[n] is not None} for (_, v), row in self._rows.items()}
            metrics = {"files": files, **metrics}
            write_atomically(self.folder / "rows.json", to_json(list(self._rows.values())))
        _require_finite(metrics)
        if front := list(front) or list(self._front.values()):
            tables.write(self.folder / "front.csv", front)
        record = self.store.finish({"hardware": provenance.hardware(), "test_reads": self.store.counted("test_reads")})
        if self._stage:
            results, key = Results(Path(self._stage["results"])), self._stage["key"]
            about = {"command": self._stage["command"], "notebook": self.name, "parameters": self.parameters}
            write_atomically(results.parameters(key), to_json(about, finite=False))
            made = {"commit": provenance.commit(root()), "threads": threads(), "versions": provenance.versions()}
            write_atomically(results.metrics(key), to_json(metrics))
            write_atomically(results.provenance(key), to_json({**about, **made, **record}, finite=False))
        else:
            write_atomically(self.folder / "metrics.json", to_json(metrics))


def _require_finite(metrics: Mapping[str, Any], path: str = "") -> None:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            _require_finite(value, f"{path}{name}.")
        elif not math.isfinite(value):
            raise ValueError(f"metric {path}{name} is {value}")


def start(name: str, namespace: dict[str, Any]) -> Run:
    """Begin a notebook: read its parameters from its globals, seed, lock its store; see Run.

    name: the notebook's file name without ending. Raises NameError before the parameters cell has run, ParameterError
    for a value of another type than declared, FileNotFoundError for an input that no stage has made yet. Import what
    the notebook computes with before it: it seeds what has been imported.
    """
    return Run(name, namespace)
