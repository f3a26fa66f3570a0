"""Notebooks as data: the cleaned copy that stages depend on, the cells that matter, the form that is always the same.

A notebook is the plain JSON of its file (nbformat 4), each cell's source one string.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bitbook.pipeline import _code_hash as code_hash
from bitbook.pipeline._layout import root
from bitbook.pipeline._parameters import Parameter, declared

Notebook = dict[str, Any]
Cell = dict[str, Any]

_ADDRESS = re.compile(r"(?<= at )0x[0-9a-f]+")
_RUN_OTHERWISE = {"raises-exception", "skip-execution", "injected-parameters"}  # tags that papermill heeds
_WIDGET = "application/vnd.jupyter.widget-view+json"  # a random id of what only a running kernel can show
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def read(path: Path) -> Notebook:
    """Read a notebook; raise FileNotFoundError or ValueError where there is none."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if notebook["nbformat"] != 4:
            raise ValueError(f"nbformat is {notebook['nbformat']}")
        return notebook | {"cells": [_cell(cell, number) for number, cell in enumerate(notebook["cells"], start=1)]}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = f"{path} is not a notebook of nbformat 4 ({error!s:.200})"
        raise ValueError(f"{said}: open it in Jupyter and save it, or take it from Git again") from None


def _cell(cell: Cell, number: int) -> Cell:
    """Return a cell, its source one string; raise TypeError where a part is of another type."""
    source = _joined(cell["source"])
    source.encode()
    typed = isinstance(tags(cell), list) and isinstance(_attachments(cell), dict)
    if not typed or cell["cell_type"] not in ("code", "markdown", "raw"):
        raise TypeError(f"cell {number}: its type, tags or attachments are none")
    return {**cell, "source": source}


def text(notebook: Notebook) -> str:
    """Return a notebook as the text of its file, the lines of its sources on lines of their own."""
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    return json.dumps({**notebook, "cells": cells}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def tags(cell: Cell) -> list[str]:
    """Return the tags of a cell: `parameters`, `figure` (only shows what others made), `measures` (prints timings)."""
    return cell["metadata"].get("tags") or []


def _attachments(cell: Cell) -> dict[str, Any]:
    return cell.get("attachments") or {}


def _pasted(tokens: Any) -> Iterator[str]:
    """Yield the names of the pasted images that parsed Markdown shows."""
    for token in tokens:
        if token["type"] == "image" and (url := unquote(token["attrs"]["url"])).startswith("attachment:"):
            yield url.removeprefix("attachment:")
        yield from _pasted(token.get("children", []))


def _bare(cell: Cell, number: int) -> Cell:
    """Return a cell with its source and tags alone."""
    metadata = {"tags": tags(cell)} if tags(cell) else {}
    bare = {"cell_type": cell["cell_type"], "id": f"cell-{number}", "metadata": metadata, "source": cell["source"]}
    if _attachments(cell):  # pasted images
        bare["attachments"] = cell["attachments"]
    return bare | ({"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {})


def clean(notebook: Notebook) -> Notebook:
    """Return what a person wrote: no outputs, counts, cell states or empty cells, whatever Jupyter did to the file.

    Raises:
        ValueError: for a pasted image that is not in the file, and a tag that has papermill skip a cell, run it in
            spite of an error, or take it for its own.
    """
    for number, cell in enumerate(notebook["cells"], start=1):
        if otherwise := _RUN_OTHERWISE.intersection(tags(cell)):
            raise ValueError(f"cell {number} is tagged {min(otherwise)}, so it would not run as it stands: untag it")
        if cell["cell_type"] == "markdown" and "attachment:" in cell["source"]:
            import mistune

            pasted = _pasted(mistune.create_markdown(renderer=None)(cell["source"]))
            if missing := [name for name in pasted if not _attachments(cell).get(name)]:
                raise ValueError(f"cell {number} shows {missing[0]}, which is not in the notebook: paste it again")
    written = [cell for cell in notebook["cells"] if cell["source"].strip()]
    cells = [_bare(cell, number) for number, cell in enumerate(written)]
    return {"cells": cells, "metadata": {"kernelspec": _KERNEL}, "nbformat": 4, "nbformat_minor": 5}


def code(notebook: Notebook, *, figures: bool = True) -> str:
    """Return the source of the code cells but the parameters cell, whose values count, not its text.

    Args:
        notebook: read by `read`.
        figures: False leaves out the cells tagged `figure`.

    Raises:
        ValueError: for a cell that is not Python, such as one with an IPython magic.
    """
    sources = []
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code" or "parameters" in tags(cell) or ("figure" in tags(cell) and not figures):
            continue
        _require_python(cell, number)
        sources.append(cell["source"])
    return "\n".join(sources)


def reads_published(notebook: Notebook) -> bool:
    """Return whether the code of a notebook names the folder published/, on whose tables it then depends."""
    return '"published"' in code(notebook)


def _require_python(cell: Cell, number: int) -> None:
    try:
        compile(cell["source"], "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        line = (error.text or cell["source"].splitlines()[(error.lineno or 1) - 1]).strip()
        raise ValueError(f"cell {number}, `{line:.80}`: {error.msg:.200}: write plain Python, no magics") from None
    except (ValueError, RecursionError, MemoryError) as error:
        said = str(error) or "too deeply nested"
        raise ValueError(f"cell {number}: {said}: write plain Python") from None


def parameters(notebook: Notebook) -> dict[str, Parameter]:
    """Return the declared parameters; raise ValueError unless exactly one cell bears the tag `parameters`."""
    numbered = [(n, cell) for n, cell in enumerate(notebook["cells"], start=1) if cell["cell_type"] == "code"]
    cells = [(n, cell) for n, cell in numbered if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"a notebook has one cell tagged `parameters`, this one has {len(cells)}")
    ((number, cell),) = cells
    _require_python(cell, number)
    return declared(cell["source"])


def modules(notebook: Notebook) -> dict[str, str]:
    """Return the hash of every module of bitbook that a notebook uses, the pipeline that runs it included."""
    return code_hash.module_hashes(code_hash.closure(f"{code(notebook)}\nimport bitbook.pipeline._kernel"))


def work_hash(notebook: Notebook) -> str:
    """Hash the code that a notebook's stored work may depend on.

    That is the code of all cells but those tagged `figure`, comments aside, and of the modules of bitbook that they
    use, but for those that draw, run notebooks and keep files. The values of the parameters count apart.
    """
    cells = code(notebook, figures=False)
    used = code_hash.closure(cells, without=("bitbook.report", "bitbook.pipeline", "bitbook.cli", "bitbook.files"))
    parts = [code_hash.code_hash(cells), *code_hash.module_hashes(used).values()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _same_every_time(value: str | list[str]) -> str:
    """Take addresses and the place of the checkout out of an output's text."""
    return _ADDRESS.sub("0x0", _joined(value)).replace(str(root()), ".")


def _normalised(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return outputs without stderr, printed text in one piece where the first of it stood, nothing random in it."""
    printed = [output["text"] for output in outputs if output["output_type"] == "stream" and output["name"] == "stdout"]
    normalised, seen = [], False
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] == "stderr" or seen:
                continue
            seen, output = True, output | {"text": _same_every_time("".join(map(_joined, printed)))}
        else:
            data = {kind: v for kind, v in output["data"].items() if kind != _WIDGET}
            text = {kind: _same_every_time(v) for kind, v in data.items() if kind.startswith("text/")}
            output = output | {"data": data | text}
        normalised.append(output)
    return normalised


def split(notebook: Notebook) -> tuple[Notebook, dict[str, Any]]:
    """Return a normalised notebook without what its cells tagged `measures` show, and that, by the cells' ids."""
    measured = {cell["id"]: cell["outputs"] for cell in notebook["cells"] if "measures" in tags(cell)}
    return joined(notebook, {key: [] for key in measured}), measured


def joined(notebook: Notebook, measured: Mapping[str, Any]) -> Notebook:
    """Return a notebook with what its cells tagged `measures` showed."""
    cells = [cell | {"outputs": measured[cell["id"]]} if cell["id"] in measured else cell for cell in notebook["cells"]]
    return notebook | {"cells": cells}


def normalise(notebook: Notebook) -> Notebook:
    """Bring an executed notebook into the form that is the same for every run with the same results.

    Papermill's records, random cell ids, timestamps, addresses and paths go; a cell's pieces of printed text become
    one; what went to stderr stays in the stage's log. Cells tagged `measures` print timings, which do differ.
    """
    cells = [_bare(cell, number) for number, cell in enumerate(notebook["cells"])]
    for cell, executed in zip(cells, notebook["cells"], strict=True):
        if cell["cell_type"] == "code":
            cell |= {"execution_count": executed["execution_count"], "outputs": _normalised(executed["outputs"])}
    language = dict(notebook["metadata"].get("language_info", {}))
    language.pop("version", None)  # Python's, to the patch: it is in the provenance
    metadata = {"kernelspec": _KERNEL, "language_info": language}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
