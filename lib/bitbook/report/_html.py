"""HTML pages of executed notebooks and an index with the results, which open without a server or a network."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from bitbook.codes import load
from bitbook.report._file_page import page

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


def mathml(formula: str, display: str = "inline") -> str:
    """Return a formula in TeX as MathML, which browsers show without a script; what is unknown stays as written."""
    from latex2mathml.converter import convert

    try:
        written = convert(formula, display=display)
    except Exception:  # its errors have no common class
        written = "\\"
    return f"<code>${escape(formula)}$</code>" if "\\" in written else written


def captioned(notebook: NotebookNode) -> list[str]:
    """Give each PNG figure of a notebook its alternative text, the heading above it and its number; return these."""
    heading = title_of(notebook)
    captions: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([heading, *re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)])[-1].strip()
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                captions.append(f"{heading} (figure {len(captions) + 1})")
                output.setdefault("metadata", {}).setdefault("image/png", {})["alt"] = captions[-1]
    return captions


def body_of(notebook: NotebookNode) -> str:
    """Return the cells of a notebook as HTML: code folded away, formulas as MathML."""
    from jinja2 import FileSystemLoader, pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body)

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def image(self, text: str, url: str, title: str | None = None) -> str:
            name = unquote(url).removeprefix("attachment:")
            pasted = url.startswith("attachment:")
            if pasted and not self.attachments.get(name):
                return f"<em>{escape(text)}: the pasted image is lost</em>"
            return super().image(text, f"attachment:{name}" if pasted else url, title)

    @pass_context
    def markdown(context: Any, source: str) -> str:
        attachments = context["cell"].get("attachments", {})
        renderer = Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)

    loaders = [FileSystemLoader(TEMPLATES)]
    exporter = HTMLExporter(template_name="basic", template_file="cells.html", extra_loaders=loaders)
    exporter.register_filter("markdown2html", markdown)
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


def _overview(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return a figure for each task: the value of every file against its bytes, methods by colour."""
    from bitbook.report import figures

    drawn = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        points = {}
        for method in dict.fromkeys(row["method"] for row in own):
            pairs = [(float(row["file_bytes"]), float(row["value_mean"])) for row in own if row["method"] == method]
            sizes, values = np.array(pairs).T
            points[method] = (sizes, values)
        level = max(float(row["float_value"]) for row in own)
        limits, label = (level - 0.12, level + 0.01), f"{own[0]['metric']}, {task}"
        axis = figures.fronts(points, ylabel=label, joined=False, level=("float network", level), ylim=limits)
        drawn[task] = axis.figure
    return drawn


def write_report(
    folder: Path, *, pages: Iterable[Page], rows: Sequence[Mapping[str, str]], first: Sequence[Mapping[str, str]] = ()
) -> None:
    """Write index.html, a page for each notebook, each task and method and each file, figures and a style sheet.

    Args:
        folder: where they go, replacing it. Files that rows name stand beside it and have a page where they exist.
        pages: an executed notebook for each.
        rows: the table of results, as its CSV has it.
        first: those of the rows that open the index; ten are shown.
    """
    import matplotlib.pyplot as plt
    import nbformat
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "percent": percent}
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("figures", "files"):
        (folder / part).mkdir(parents=True)

    def write(name: str, template: str, **values: Any) -> None:
        (folder / name).write_text(environment.get_template(template).render(**values), encoding="utf-8")

    overview = _overview(rows)
    for task, drawn in overview.items():
        drawn.savefig(folder / "figures" / f"{task}.svg", metadata={"Date": None})
        plt.close(drawn)
    entries: dict[str, dict[str, Any]] = {}
    for shown in pages:
        notebook = nbformat.read(shown.notebook, as_version=4)
        entry: dict[str, Any] = {"page": shown, "title": title_of(notebook), "figures": []}
        entry["scalars"] = _scalars(shown.metrics)
        for count, (png, caption) in enumerate(zip(pictures_of(notebook), captioned(notebook), strict=True), start=1):
            entry["figures"].append((f"figures/{shown.key}-{count}.png", caption))
            (folder / entry["figures"][-1][0]).write_bytes(png)
        write(f"{shown.key}.html", "page.html", entry=entry, body=body_of(notebook))
        entries[shown.key] = entry
    linked = [dict(row) | _links(row, folder, entries) for row in rows]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in linked:
        groups.setdefault((row["task"], row["method"]), []).append(row)
    for (task, method), own in groups.items():
        runs = [entries[key] for key in dict.fromkeys(row["key"] for row in own) if key in entries]
        write(f"{task}.{method}.html", "method.html", task=task, method=method, rows=own, entries=runs)
    opening = [row for row, plain in zip(linked, rows, strict=True) if plain in first][:10]
    listed = {"entries": list(entries.values()), "groups": groups, "first": opening, "tasks": list(overview)}
    write("index.html", "index.html", **listed)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(f"{style}\n{_code_colours()}\n", encoding="utf-8")


def _links(row: Mapping[str, str], folder: Path, entries: Mapping[str, Any]) -> dict[str, str]:
    """Return where a row's notebook and the page of its file are, which is written; nothing for what is not there."""
    file, key = Path(row["file"]), Path(row["file"]).parent.name
    href = f"files/{key}-{file.stem}.html" if (folder.parent / file).exists() else ""
    if href:
        links = {"home": "../index.html", "file": f"../../{file}"}
        html = page(load(folder.parent / file), f"{key}, {row['variant']}", links=links)
        (folder / href).write_text(html, encoding="utf-8")
    return {"key": key, "notebook": f"{key}.html" if key in entries else "", "href": href}


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
