"""A small report: two executed notebooks, a file, and a table of three rows."""

from __future__ import annotations

import base64

import nbformat
import numpy as np
import pytest
from bitbook.codes import Compressed, ScalarCode
from bitbook.report._html import Page, write_report
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ROW = {
    "task": "digits",
    "method": "moea_bins",
    "variant": "6x <b>",
    "metric": "top1",
    "float_value": "0.99444",
    "value_mean": "0.98611",
    "value_std": "0.0012",
    "file_bytes": "9501",
    "ratio": "6.0871",
    "seeds": "3",
    "file": "runs/tiny-a/6x.bitbook",
}


@pytest.fixture
def png():
    return PNG


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    figure = new_output("display_data", data={"image/png": base64.b64encode(PNG).decode(), "text/plain": "<Figure>"})
    printed = new_output("stream", name="stdout", text="a < b & c")
    frame = new_output("execute_result", data={"text/html": "<table class='dataframe'><td>7</td></table>"})
    cells = [
        new_markdown_cell("# Bins of $k$ values\n\nSee [the paper](https://arxiv.org/abs/2501.03095)."),
        new_code_cell("k: int = 2", metadata={"tags": ["parameters"]}),
        new_code_cell("draw('secret')", outputs=[figure, printed, frame]),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "a.ipynb")
    net = Page("net", "tiny-s0", folder / "a.ipynb", {"task": "digits"}, {"top1": 0.99444, "size": 14458, "more": {}})
    run = Page("run", "tiny-a", folder / "a.ipynb", {"net": "tiny-s0", "k": 2}, {})
    (folder / "runs/tiny-a").mkdir(parents=True)
    code = {"w": ScalarCode(np.array([[0, 1, 1]]), "book")}
    Compressed(code, {"book": np.float16([0.5, 1])}, {}, {}, 3).save(folder / "runs/tiny-a/6x.bitbook")
    rows = [ROW, *(ROW | {"variant": name, "file": f"runs/other/{name}.bitbook"} for name in ("16x", "8x"))]
    write_report(folder / "report", pages=[net, run], rows=rows, first=rows[:1])
    return folder / "report"
