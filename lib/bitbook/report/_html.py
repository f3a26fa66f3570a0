"""HTML pages of executed notebooks and an index with the results, which open without a server or a network."""

from __future__ import annotations

import base64
import copy
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitbook.report._mathematics import with_pictures

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "pages"


@dataclass(frozen=True)
class Page:
    """An executed notebook: its key and parameters in the params file, its metrics; `kind` is net or run."""

    kind: str
    key: str
    notebook: Path
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Any]


def title_of(notebook: NotebookNode) -> str:
    """Return the first heading of a notebook."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# +(.+)$", text, re.MULTILINE)
    return heading[1].strip() if heading else "Untitled"


def body_of(notebook: NotebookNode) -> str:
    """Return the cells of a notebook as HTML: code folded away, formulas as pictures."""
    from jinja2 import FileSystemLoader
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_pictures(cell.source)
    loaders = [FileSystemLoader(TEMPLATES)]
    exporter = HTMLExporter(template_name="basic", template_file="cells.html", extra_loaders=loaders)
    return exporter.from_notebook_node(notebook)[0]


def pictures_of(notebook: NotebookNode) -> list[bytes]:
    """Return the PNG figures among a notebook's outputs, in their order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]


def _code_colours() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="friendly").get_style_defs(".highlight")


def _scalars(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not isinstance(value, Mapping | list)}


def write_report(folder: Path, *, pages: Iterable[Page], rows: Sequence[Mapping[str, str]]) -> None:
    """Write index.html, a page for each notebook, the figures and one style sheet into a folder, replacing it.

    rows: the table of results, as its CSV has it.
    """
    import nbformat
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "percent": percent}
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    entries = []
    for page in pages:
        notebook = nbformat.read(page.notebook, as_version=4)
        entry = {"page": page, "title": title_of(notebook), "scalars": _scalars(page.metrics), "figures": []}
        for count, png in enumerate(pictures_of(notebook), start=1):
            entry["figures"].append(f"figures/{page.key}-{count}.png")
            (folder / entry["figures"][-1]).write_bytes(png)
        html = environment.get_template("page.html").render(entry=entry, body=body_of(notebook))
        (folder / f"{page.key}.html").write_text(html, encoding="utf-8")
        entries.append(entry)
    index = environment.get_template("index.html").render(entries=entries, rows=rows)
    (folder / "index.html").write_text(index, encoding="utf-8")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(f"{style}\n{_code_colours()}\n", encoding="utf-8")


def number(value: Any) -> str:
    """Return a number as people read it: thousands apart, four significant digits; anything else as it is."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def percent(value: Any) -> str:
    """Return a fraction of 1 as a percentage with two decimals, nothing for nothing."""
    return f"{float(value):.2%}" if value not in (None, "") else ""
