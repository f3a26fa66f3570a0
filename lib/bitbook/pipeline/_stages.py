"""What each DVC stage does: `bitbook stage clean|data|net|run|collect|report [NAME]`."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitbook.files import write_atomically
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline import _processes as processes
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._layout import Results, own_package, require_writable, root
from bitbook.pipeline._parameters import check
from bitbook.pipeline._params import check_name, read_params

NETWORKS = "01_networks"  # the notebook of every `net` stage


def clean(name: str) -> None:
    """Make the cleaned copy of a notebook and the list of what it uses, code and tables: other stages depend on it."""
    path, folder = root() / "notebooks" / f"{name}.ipynb", root() / "results" / "notebooks"
    copy = notebook.clean(notebook.read(path))
    notebook.parameters(copy)  # a mistake there is said before anything has run
    write_atomically(folder / f"{name}.ipynb", notebook.text(copy))
    write_atomically(folder / f"{name}.code.json", tables.to_json(_used(copy)))
    write_atomically(root() / "results" / "keys" / f"{name}.code.json", tables.to_json(name))


def _used(copy: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of the modules that a notebook uses, and of the published tables where it reads them."""
    used = notebook.modules(copy)
    if notebook.reads_published(copy):
        folder = root() / "published"
        paths = sorted([*folder.glob("*.csv"), *folder.glob("fronts/*.csv")])
        data = b"".join(f"{path.name}\n".encode() + path.read_bytes() for path in paths)
        used["published/"] = hashlib.sha256(data).hexdigest()[:16]
    return used


def data(task: str, params: Path) -> None:
    """Record the fingerprint of a task's images."""
    from bitbook import tasks

    results = Results.of(params)
    write_atomically(results.data(task), tables.to_json(tasks.get(task).fingerprint()))
    write_atomically(results.folder / "keys" / f"{task}.json", tables.to_json(task))


def _check_named(params: Path) -> None:
    """Raise ValueError where something names what is not there: DVC says so only after other networks were trained."""
    found, notebooks = read_params(params), read_params(root() / "params.yaml")["notebooks"]
    tasks = [*found["tasks"], *(path.stem for path in Results.of(params).data("*").parent.glob("*.json"))]
    files = [path.stem for path in (root() / "notebooks").glob("*.ipynb")]
    named = [("notebooks", "file of a notebook", name, files) for name in notebooks]
    named += [("notebooks", "notebook", NETWORKS, notebooks)] * bool(found["nets"])
    named += [(f"nets: {key}", "task", entry["task"], tasks) for key, entry in found["nets"].items()]
    for kind, there in (("net", list(found["nets"])), ("notebook", notebooks)):
        named += [(f"runs: {key}", kind, entry[kind], there) for key, entry in found["runs"].items()]
    for where, kind, name, there in named:
        if name not in there:
            raise ValueError(
                f"{params}: {where}: there is no {kind} {name!r}, only {', '.join(sorted(there)) or 'none'}"
            )


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
    results = Results.of(params)
    if kind == "net":  # a task without a data set, and a wrong parameter of a run, are said before a network is trained
        for task in (task for task in found["tasks"] if not results.data(task).exists()):
            from bitbook import tasks

            tasks.get(task)
        for run in (run for run, entry in found["runs"].items() if entry["net"] == key):
            _check_run(params, run, found["runs"][run])
    parameters = dict(entries[key])
    name = NETWORKS if kind == "net" else parameters.pop("notebook")
    where = params.resolve().relative_to(root()).parent
    address = f"{kind}@{key}" if where == Path() else f"{where}/dvc.yaml:{kind}@{key}"
    source = root() / "results" / "notebooks" / f"{name}.ipynb"
    _check_code(source)
    stage = {
        "key": key,
        "notebook": str(source),
        "folder": str(results.output(kind, key)),
        "results": str(results.folder),
        "command": f"dvc repro {address}",
    }
    execute(source, results.executed(key), parameters, stage=stage)


def _check_code(source: Path) -> None:
    """Raise where a cleaned notebook is missing, or the code it was cleaned with, which DVC records, is no more."""
    recorded = source.with_suffix(".code.json")
    remedy = f"run `dvc repro clean@{source.stem}` first"
    if not (source.exists() and recorded.exists()):
        raise FileNotFoundError(f"there is no {source.relative_to(root())} with its {recorded.name}: {remedy}")
    before, now = json.loads(recorded.read_text()), _used(notebook.read(source))
    if changed := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        raise ValueError(f"{changed[0]} has changed since {source.name} was cleaned: {remedy}")


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
    found = read_params(params)
    for kinds in ("nets", "runs"):
        entries = found[kinds]
        for key in (key for key in entries if results.executed(key).exists()):
            metrics = json.loads(results.metrics(key).read_text())
            write_atomically(shown / f"{key}.ipynb", provenance.executed_notebook(results, key))
            pages.append(Page(kinds.removesuffix("s"), key, shown / f"{key}.ipynb", entries[key], metrics))
    rows = tables.read(results.folder / "table.csv")
    main = [tables.NAME(row) for row in tables.read(root() / "published" / "main.csv")]
    first = [row for row in rows if tables.NAME(row) in main]
    write_report(results.emptied(results.folder / "report"), pages=pages, rows=rows, first=first)
    write_atomically(results.folder / "report" / "pages.json", tables.to_json([page.key for page in pages]))


def use_own_code(arguments: Sequence[str]) -> None:
    """Start the command again with the package of this checkout, where that is not the one that was imported.

    `dvc exp run --queue` and `--temp` run in a checkout of their own, with code of their own; so does who changes into
    another checkout than the one that is installed.

    Args:
        arguments: of the command.

    Raises:
        ValueError: where Python imports another package all the same.
    """
    if (own := own_package()) is None:
        return
    folder, before = str(own.parent), os.environ.get("PYTHONPATH", "")
    if before.split(os.pathsep)[0] == folder:
        raise ValueError(f"{own} is not what Python imports all the same: use another environment")
    path = os.pathsep.join([folder, *filter(None, [before])])
    os.execve(sys.executable, [sys.executable, "-m", "bitbook.cli", *arguments], {**os.environ, "PYTHONPATH": path})


def stage(kind: str, name: str | None, params: Path) -> None:
    """Do what a stage of dvc.yaml does, all names checked before, and that they are there; under DVC, die with it.

    Args:
        kind: clean, data, net, run, collect or report.
        name: a notebook, a task or a key of the params file; None for that of the stage that DVC runs: the command
            in dvc.yaml holds no name, since a shell would read it.
        params: the file that names nets and runs.
    """
    _check_named(params)
    require_writable()
    # jsonschema would compile a grammar of addresses for two seconds, which no notebook holds.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    if "DVC_STAGE" in os.environ:
        processes.die_with_caller()
        name = name or os.environ["DVC_STAGE"].partition(f"{kind}@")[2]
    if kind == "collect":
        collect(params)
    elif kind == "report":
        report(params)
    elif name is None:
        raise ValueError(f"bitbook stage {kind} NAME: name what it is for")
    elif kind == "clean":
        clean(check_name(name, kind))
    elif kind == "data":
        data(check_name(name, kind), params)
    else:
        execute(kind, check_name(name, kind), params)
