"""What each DVC stage does: `bitbook stage clean|data|net|run|collect|report [NAME]`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _processes as processes
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._code_hash import PACKAGE
from bitbook.pipeline._layout import Results, root
from bitbook.pipeline._parameters import check
from bitbook.pipeline._params import check_name, read_params

NETWORKS = "01_networks"  # the notebook of every `net` stage


def clean(name: str) -> None:
    """Make the cleaned copy of a notebook and the list of the code that it uses: what other stages depend on."""
    path, folder = root() / "notebooks" / f"{name}.ipynb", root() / "results" / "notebooks"
    copy = notebook.clean(notebook.read(path))
    notebook.parameters(copy)  # a mistake there is said before anything has run
    write_atomically(folder / f"{name}.ipynb", notebook.text(copy))
    write_atomically(folder / f"{name}.code.json", tables.to_json(notebook.modules(copy)))
    write_atomically(root() / "results" / "keys" / f"{name}.code.json", tables.to_json(name))


def data(task: str, params: Path) -> None:
    """Record the fingerprint of a task's images."""
    from bitbook import tasks

    results = Results.of(params)
    write_atomically(results.data(task), tables.to_json(tasks.get(task).fingerprint()))
    write_atomically(results.folder / "keys" / f"{task}.json", tables.to_json(task))


def _check_run(params: Path, key: str, entry: Mapping[str, Any]) -> None:
    """Raise ValueError where the notebook of a run does not declare a parameter, or another type."""
    try:
        declared = notebook.parameters(notebook.read(root() / "notebooks" / f"{entry['notebook']}.ipynb"))
        check({name: value for name, value in entry.items() if name != "notebook"}, declared)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{params}: runs: {key}: {error}") from None


def execute(kind: str, key: str, params: Path) -> None:
    """Run the notebook of a net or a run with its parameters."""
    from bitbook.pipeline._execute import execute

    found = read_params(params)
    entries = found[f"{kind}s"]
    if key not in entries:
        raise ValueError(f"{params} has no {kind} {key!r}: {', '.join(entries)}")
    if kind == "net":  # a wrong parameter of a run is said before its network is trained
        for run in (run for run, entry in found["runs"].items() if entry["net"] == key):
            _check_run(params, run, found["runs"][run])
    parameters = dict(entries[key])
    name = NETWORKS if kind == "net" else parameters.pop("notebook")
    results = Results.of(params)
    where = params.resolve().relative_to(root()).parent
    address = f"{kind}@{key}" if where == Path() else f"{where}/dvc.yaml:{kind}@{key}"
    source = root() / "results" / "notebooks" / f"{name}.ipynb"
    stage = {
        "key": key,
        "notebook": str(source),
        "folder": str(results.output(kind, key)),
        "results": str(results.folder),
        "command": f"dvc repro {address}",
    }
    execute(source, results.executed(key), parameters, stage=stage)


def collect(params: Path) -> None:
    """Gather the table of results and the fronts of the runs that the params file names."""
    from bitbook.pipeline._collect import COLUMNS, collect, fronts

    results, keys = Results.of(params), read_params(params)["runs"]
    tables.write(results.folder / "table.csv", collect(results, keys), COLUMNS)
    folder = results.emptied(results.folder / "fronts")
    for key, front in fronts(results, keys).items():
        tables.write(folder / f"{key}.csv", front)


def report(params: Path) -> None:
    """Make the HTML pages: an index with the results, one page for each executed notebook."""
    from bitbook.report._html import Page, write_report

    results, pages = Results.of(params), []
    shown = root() / ".work" / "shown"
    for kinds, entries in read_params(params).items():
        for key in (key for key in entries if results.executed(key).exists()):
            metrics = json.loads(results.metrics(key).read_text())
            write_atomically(shown / f"{key}.ipynb", provenance.executed_notebook(results, key))
            pages.append(Page(kinds.removesuffix("s"), key, shown / f"{key}.ipynb", entries[key], metrics))
    rows = tables.read(results.folder / "table.csv")
    named = ("task", "method", "variant")
    main = [[row[name] for name in named] for row in tables.read(root() / "published" / "main.csv")]
    first = [row for row in rows if [row[name] for name in named] in main]
    write_report(results.emptied(results.folder / "report"), pages=pages, rows=rows, first=first)
    write_atomically(results.folder / "report" / "pages.json", tables.to_json([page.key for page in pages]))


def _use_own_code() -> None:
    """Start again with the package of this checkout, where that is not the one that was imported.

    `dvc exp run --queue` and `--temp` run in a checkout of their own, with code of their own.
    """
    own = root() / "lib"
    if (own / "bitbook" / "cli.py").exists() and not PACKAGE.samefile(own / "bitbook"):
        if os.environ.get("PYTHONPATH", "").startswith(str(own)):
            raise ValueError(f"{own} is not what Python imports, but {PACKAGE}: run the stage in another environment")
        path = os.pathsep.join([str(own), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "bitbook.cli", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": path})


def stage(kind: str, name: str | None, params: Path) -> None:
    """Do what a stage of dvc.yaml does, all names checked before; under DVC, by the checkout's code, and die with it.

    Args:
        kind: clean, data, net, run, collect or report.
        name: a notebook, a task or a key of the params file; None for that of the stage that DVC runs: the command
            in dvc.yaml holds no name, since a shell would read it.
        params: the file that names nets and runs.
    """
    read_params(params)
    # jsonschema would compile a grammar of addresses for two seconds, which no notebook holds.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    if "DVC_STAGE" in os.environ:
        _use_own_code()
        processes.die_with_caller()
        name = name or os.environ["DVC_STAGE"].partition(f"{kind}@")[2]
    if kind == "collect":
        collect(params)
    elif kind == "report":
        report(params)
    elif kind == "clean":
        clean(check_name(name, kind))
    elif kind == "data":
        data(check_name(name, kind), params)
    else:
        execute(kind, check_name(name, kind), params)
