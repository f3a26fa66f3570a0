"""HTML pages of executed notebooks and an index with the results, which open without a server or a network."""

from __future__ import annotations

import base64
import os
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
from bitbook.report import _words as words
from bitbook.report._file_page import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "pages"
LOSS = 0.12  # down to which files are drawn


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
    return heading[1].replace("`", "").strip() if heading else "Untitled"


def mathml(formula: str, display: str = "inline") -> str:
    """Return a formula in TeX as MathML, which browsers show without a script; what is unknown stays as written."""
    from latex2mathml.converter import convert

    try:
        written = convert(formula, display=display)
    except Exception:  # its errors have no common class
        written = "\\"
    return f"<code>${escape(formula)}$</code>" if "\\" in written else written


def captioned(notebook: NotebookNode) -> list[str]:
    """Give each PNG figure of a notebook its alternative text, the heading above it and what it shows; return these."""
    heading = title_of(notebook)
    captions: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([heading, *re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)])[-1].replace("`", "").strip()
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        shown = _shown(cell.source)
        for place, output in enumerate(pictures):
            what = [heading, *shown[min(place, len(shown) - 1) :][:1]]
            captions.append(f"Figure {len(captions) + 1}. {(' ' if heading.endswith('?') else ': ').join(what)}")
            output.setdefault("metadata", {}).setdefault("image/png", {})["alt"] = captions[-1]
    return captions


def _shown(code: str) -> list[str]:
    """Return what each figure in a cell shows: its axes where the code names both, else as the library describes it."""
    from bitbook.report import figures, hardware

    found = []
    for call in re.split(r"(?=\b(?:figures|hardware|compared|pipeline)\.(?:draw_)?\w+\()", code)[1:]:
        name = call.partition("(")[0].partition(".")[2].removeprefix("draw_")
        drawing = getattr(figures, name, None) or getattr(hardware, name, None)
        x, y = (re.search(rf'\b{axis}label"?[=:] *"([^"]+)"', call + code) for axis in "xy")
        if x and y:
            found.append(f"{y[1]} against {x[1]}")
        elif drawing and str(drawing.__doc__).startswith("Draw "):
            what = drawing.__doc__.partition("\n")[0].removeprefix("Draw ").rstrip(".")
            found.append(f"{x[1]}, {what}" if x else what)
    return found


def _one_header(found: re.Match) -> str:
    """Put the names of a data frame's index beside those of its columns; pandas writes them on a line of their own."""
    rows = [re.findall(r"<th\b[^>]*>(.*?)</th>", row, re.DOTALL) for row in found[0].split("</tr>")[:-1]]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]) or any(map(all, zip(*rows, strict=True))):
        return found[0]
    pairs = zip(*rows, strict=True)
    cells = "".join(f"<th>{column}</th>" if column else f'<th class="name">{name}</th>' for column, name in pairs)
    return f"<thead><tr>{cells}</tr></thead>"


def _tidy(found: re.Match) -> str:
    """Leave out a data frame's row numbers, which have no name, and give it one header."""
    table = re.sub(r"<thead>.*?</thead>", _one_header, found[0], flags=re.DOTALL)
    rows = re.findall(r"<tr>\s*<th>(.*?)</th>", table.partition("<tbody>")[2], re.DOTALL)
    if rows and all(map(str.isdigit, rows)) and re.search(r"<thead>\s*<tr[^>]*>\s*<th></th>", table):
        table = re.sub(r"(<tr[^>]*>\s*)<th>\d*</th>\s*", r"\1", table)
    return table


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
    html = exporter.from_notebook_node(notebook)[0]
    return re.sub(r"<table.*?</table>", _tidy, html, flags=re.DOTALL)


def pictures_of(notebook: NotebookNode) -> list[bytes]:
    """Return the PNG figures among a notebook's outputs, in their order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]


def _code_colours() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="friendly").get_style_defs(".highlight")


def _scalars(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers among metrics, accuracies as percentages."""
    scalars = {name: value for name, value in metrics.items() if not isinstance(value, Mapping | list)}
    return {name: percent(value) if name in words.METRICS else number(value) for name, value in scalars.items()}


def _overview(methods: Mapping[str, Sequence[Mapping[str, str]]]) -> Figure:
    """Draw the value of every file of a task against its bytes, methods by colour."""
    from bitbook.report import figures

    points = dict.fromkeys(map(words.method, words.METHODS), (np.empty(0), np.empty(0)))  # one colour in every figure
    for method, rows in methods.items():
        sizes, values = np.array([(float(row["file_bytes"]), float(row["value_mean"])) for row in rows]).T
        points[words.method(method)] = (sizes, values)
    level = max(float(row["float_value"]) for rows in methods.values() for row in rows)
    all_values = np.concatenate([values for _, values in points.values()])
    limits = max(all_values.min() - 0.01, level - LOSS), min(max(level, all_values.max()) + 0.01, 1.002)
    label = words.metric(rows[0]["metric"])
    named = ("float network", level)
    options: dict[str, Any] = {"joined": False, "logarithmic": True, "level": named, "ylim": limits}
    drawn: Any = figures.fronts(points, ylabel=f"{label} on the test set", **options).figure
    drawn.set_figwidth(5.4)  # its text is read on a phone's width too
    return drawn


def _place(row: Mapping[str, str]) -> tuple:
    """Return a key that sorts rows as pages show them, numbers in names by their value."""
    known = list(words.NETWORKS)
    place = known.index(row["task"]) if row["task"] in known else len(known)
    return place, row["task"], row["method"], words.natural(words.variant(row["variant"]).replace(",", ""))


def write_report(
    folder: Path,
    *,
    pages: Iterable[Page],
    rows: Sequence[Mapping[str, str]],
    first: Sequence[Mapping[str, str]] = (),
    files: Path | None = None,
) -> None:
    """Write index.html, a page for each notebook, each task and method and each file, figures and a style sheet.

    Args:
        folder: where they go, replacing it.
        pages: an executed notebook for each.
        rows: the table of results, as its CSV has it.
        first: those of the rows that open the index; ten are shown.
        files: the folder that the rows' files are relative to, the one around `folder` by default. A row whose file
            exists there leads to a page about it.
    """
    import matplotlib.pyplot as plt
    import nbformat
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "percent": percent, "capital": words.capital}
    environment.filters |= {f.__name__: f for f in (words.network, words.method, words.metric, words.variant)}
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("figures", "files"):
        (folder / part).mkdir(parents=True)

    def write(name: str, template: str, **values: Any) -> None:
        (folder / name).write_text(environment.get_template(template).render(**values), encoding="utf-8")

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
    linked = [dict(row) | _links(row, folder, files or folder.parent, entries) for row in rows]
    tasks: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in sorted(linked, key=_place):
        tasks.setdefault(row["task"], {}).setdefault(row["method"], []).append(row)
    drawn = [task for task, methods in tasks.items() if sum(map(len, methods.values())) > 2]
    for task in drawn:
        overview = _overview(tasks[task])
        overview.savefig(folder / "figures" / f"{task}.svg", metadata={"Date": None})
        plt.close(overview)
    for task, method, own in ((task, *group) for task, methods in tasks.items() for group in methods.items()):
        runs = [entries[key] for key in dict.fromkeys(row["key"] for row in own) if key in entries]
        write(f"{task}.{method}.html", "method.html", task=task, method=method, rows=own, entries=runs)
    opening = [row for plain in first for row, other in zip(linked, rows, strict=True) if plain == other][:10]
    write("index.html", "index.html", entries=list(entries.values()), tasks=tasks, drawn=drawn, first=opening)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(f"{style}\n{_code_colours()}\n", encoding="utf-8")


def _links(row: Mapping[str, str], folder: Path, files: Path, entries: Mapping[str, Any]) -> dict[str, str]:
    """Return where a row's notebook and the page of its file are, which is written; nothing for what is not there."""
    file = files / row["file"]
    key = row.get("command", "").partition("@")[2] or file.parent.name
    href = f"files/{key}-{file.stem}.html" if row["file"] and file.exists() else ""
    if href:
        name = f"{words.network(row['task'])}: {words.method(row['method'])}, {words.variant(row['variant'])}"
        links = {"home": "../index.html", "file": os.path.relpath(file, folder / "files")}
        (folder / href).write_text(page(load(file), words.capital(name), links=links), encoding="utf-8")
    return {"key": key, "notebook": f"{key}.html" if key in entries else "", "href": href}


def number(value: Any) -> str:
    """Return a number as people read it: thousands apart, four significant digits; lists joined; else as it is."""
    if isinstance(value, list):
        return ", ".join(map(number, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    try:
        value = float(value)
    except (TypeError, ValueError):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if value.is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def percent(value: Any) -> str:
    """Return a fraction of 1 as a percentage with two decimals, nothing for nothing."""
    return f"{float(value):.2%}" if value not in (None, "") else ""
