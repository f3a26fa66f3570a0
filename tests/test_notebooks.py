"""Every source notebook reads, declares and ends as DESIGN asks; every run of the params files fits its notebook."""

from __future__ import annotations

import ast
import math
import re
import symtable
from pathlib import Path

import nbformat
import pytest
import yaml
from bitbook import tasks
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline._parameters import ParameterError, check
from bitbook.pipeline._stages import NETWORKS, read_params
from bitbook.report._html import body_of
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PAPERS = {"moea_bins", "permuted_vq", "admm", "dpnet", "self_compression"}
MOST_CELLS, LONGEST_FUNCTION, MOST_CHECKED = 15, 5, 3

each = pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in notebook.read(path)["cells"] if cell["cell_type"] == "code"]


@each
def test_it_opens_with_what_it_claims(path):
    first = notebook.read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert first["source"].startswith("# ")
    assert len(first["source"]) > 200
    if path.stem[3:] in PAPERS:
        assert "arXiv" in first["source"]
        assert re.search("Table|abstract", first["source"])  # some bodies could not be read


@each
def test_every_parameter_is_annotated_and_explained(path):
    declared = notebook.parameters(notebook.read(path))
    assert declared
    assert [p.name for p in declared.values() if not p.comment] == []


@each
def test_every_number_and_list_has_a_range(path):
    """Zero, one below, a billion billion, NaN and infinity, and an empty list: what a range refuses, none computes."""
    for p in notebook.parameters(notebook.read(path)).values():
        if p.type.startswith(("int", "float", "list")):
            number = math.nan if "float" in p.type else 10**18
            wrong = [[number], [-1]] if p.type.startswith("list") else [number, -1]
            if " of them" in p.comment:
                wrong = [[]]
            for value in wrong:
                with pytest.raises(ParameterError, match=rf"parameter {p.name} is .*asks for [\de.-]+ to [\de.]+"):
                    p.check(value)


@each
def test_it_starts_after_its_parameters_and_finishes_last(path):
    cells = code_cells(path)
    assert "parameters" in notebook.tags(cells[1])
    assert f'pipeline.start("{path.stem}", globals())' in cells[2]["source"]
    assert "run.finish(" in cells[-1]["source"]
    assert sum("pipeline.start(" in cell["source"] or "run.finish(" in cell["source"] for cell in cells) == 2


@each
def test_it_is_short_and_calls_the_library(path):
    assert len(code_cells(path)) <= MOST_CELLS
    tree = ast.parse(notebook.code(notebook.read(path)))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= LONGEST_FUNCTION] == []


def names_of(cell):
    """The global names that a cell binds, and those that it reads."""
    top = symtable.symtable(cell["source"], "cell", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    read, waiting = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}, top.get_children()
    while waiting:
        scope = waiting.pop()
        read |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
        waiting += scope.get_children()
    return bound, read


@each
def test_cells_that_draw_are_tagged_and_nothing_else_needs_what_they_make(path):
    """Stored work does not depend on cells tagged `figure`: see `bitbook.pipeline._notebook.work_hash`."""
    made_by_figures = set()
    for cell in code_cells(path):
        bound, read = names_of(cell)
        if "figure" in notebook.tags(cell):
            assert not re.search(r"run\.(keep|save|result|finish|work)\b(?! / \"drift\")", cell["source"])
            made_by_figures |= bound
        else:
            assert "figures." not in cell["source"], cell["source"]
            assert made_by_figures & (read - bound) == set()
            made_by_figures -= bound
    assert any("figure" in notebook.tags(cell) for cell in code_cells(path))


@each
def test_it_holds_no_output_but_what_is_checked(path):
    kept = [cell for cell in code_cells(path) if cell["outputs"]]
    assert [cell["source"] for cell in kept if "keep_output" not in notebook.tags(cell)] == []
    assert all(cell["execution_count"] for cell in kept)
    assert len(kept) <= MOST_CHECKED


def outputs(content):
    """What the cells tagged `keep_output` show, without what differs from run to run."""
    cells = [cell for cell in notebook.normalise(content)["cells"] if "keep_output" in notebook.tags(cell)]
    return [[{k: v for k, v in o.items() if k != "execution_count"} for o in cell["outputs"]] for cell in cells]


@pytest.mark.slow
@each
def test_run_interactively_it_shows_what_it_keeps(path, reproduced):
    """Each notebook runs as Jupyter does it: in its own folder, with the parameters that it declares."""
    content = nbformat.read(path, as_version=4)
    before = outputs(content)
    NotebookClient(content, kernel_name="python3", timeout=600, resources={"metadata": {"path": path.parent}}).execute()
    assert outputs(content) == before


@each
def test_its_formulas_can_be_shown(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    html = body_of(nbformat.v4.new_notebook(cells=cells))
    assert re.findall(r".*\$.*", html) == []


@pytest.mark.parametrize("file", ["params.yaml", "full/params.yaml"])
def test_every_net_and_run_fits_its_notebook(file):
    params = read_params(ROOT / file)
    listed = set(yaml.safe_load((ROOT / "params.yaml").read_text())["notebooks"])
    fingerprinted = set(yaml.safe_load((ROOT / file).read_text())["tasks"])
    assert params["nets"]
    assert params["runs"]
    for entry in params["nets"].values():
        values = check(entry, notebook.parameters(notebook.read(ROOT / f"notebooks/{NETWORKS}.ipynb")))
        assert tasks.get(values["task"]).name in fingerprinted
    for entry in params["runs"].values():
        assert entry["notebook"] in listed
        given = {name: value for name, value in entry.items() if name != "notebook"}
        values = check(given, notebook.parameters(notebook.read(ROOT / f"notebooks/{entry['notebook']}.ipynb")))
        assert values["net"] in params["nets"]


def test_every_notebook_is_in_the_pipeline():
    listed = yaml.safe_load((ROOT / "params.yaml").read_text())["notebooks"]
    assert listed == [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
