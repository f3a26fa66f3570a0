from __future__ import annotations

import json
import re

import nbformat
import pytest
from bitbook.pipeline import _notebook as notebook
from bitbook.pipeline._notebook import clean, modules, normalise, parameters, read, text, work_hash

CELLS = [("markdown", "# Title"), ("parameters", "k: int = 2  # clusters"), ("code", "x = 1\nprint(x)")]


def played(path):
    """The same notebook after a play in Jupyter: outputs, counts, cell states, another id, an empty cell at the end."""
    content = json.loads(path.read_text())
    for count, cell in enumerate(c for c in content["cells"] if c["cell_type"] == "code"):
        cell["execution_count"] = count + 7
        cell["metadata"] |= {"collapsed": True, "execution": {"iopub.status.busy": "2026-01-01"}}
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
        cell["id"] = f"random{count}"
        cell["source"] = cell["source"].splitlines(keepends=True)
    empty = {"cell_type": "code", "id": "end", "metadata": {}, "source": [], "outputs": [], "execution_count": None}
    content["cells"].append(empty)
    content["metadata"]["language_info"] = {"name": "python", "version": "3.99"}
    path.write_text(json.dumps(content))
    return path


def test_playing_leaves_no_trace_in_the_cleaned_copy(notebook_file):
    path = notebook_file(CELLS)
    before = text(clean(read(path)))
    assert text(clean(read(played(path)))) == before
    nbformat.validate(nbformat.reads(before, as_version=4))


def test_an_edit_is_seen_in_the_cleaned_copy(notebook_file):
    before = text(clean(read(notebook_file(CELLS))))
    assert text(clean(read(notebook_file([*CELLS, ("code", "x = 2")])))) != before


def test_what_is_no_notebook_is_refused_by_name(tmp_path):
    (tmp_path / "a.ipynb").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.ipynb is not a notebook"):
        read(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(nbformat=3), "nbformat is 3"),
        (lambda content: content["cells"][2].update(metadata=None), "NoneType"),
        (lambda content: content["cells"][2].update(cell_type="heading"), "cell 3: its type"),
        (lambda content: content["cells"][2]["metadata"].update(tags="figure"), "cell 3: its type, tags"),
        (lambda content: content["cells"][2].update(attachments=["x"]), "cell 3: its type, tags or attachments"),
        (lambda content: content["cells"][2].pop("source"), "source"),
        (lambda content: content["cells"][2].update(source="'\ud800'"), "surrogates"),
    ],
)
def test_a_notebook_of_another_form_is_refused_with_a_remedy(change, said, notebook_file):
    path = notebook_file(CELLS)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"cells\.ipynb is not a notebook of nbformat 4 \(.*{said}.*take it from Git"):
        read(path)


@pytest.mark.parametrize("data", [b"", b"<<<<<<< HEAD\n{}", b"[" * 100_000, "{}".encode("utf-16"), b"\xff"])
def test_a_file_that_is_no_json_is_refused_by_name(data, tmp_path):
    (tmp_path / "a.ipynb").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.ipynb is not a notebook"):
        read(tmp_path / "a.ipynb")


@pytest.mark.parametrize("tag", ["raises-exception", "skip-execution", "injected-parameters"])
def test_a_tag_that_changes_how_a_cell_runs_is_refused(tag, notebook_file):
    with pytest.raises(ValueError, match=f"cell 4 is tagged {tag}"):
        clean(read(notebook_file([*CELLS, (tag, "k = 3")])))


def test_exactly_one_cell_declares_parameters(notebook_file):
    assert parameters(read(notebook_file(CELLS)))["k"].default == 2
    with pytest.raises(ValueError, match="this one has 2"):
        parameters(read(notebook_file([*CELLS, CELLS[1]])))


def output(kind, **content):
    return nbformat.v4.new_output(kind, **content)


def executed(cells, *outputs):
    metadata = {"papermill": {"start_time": "now"}, "language_info": {"name": "python", "version": "3.11.2"}}
    content = nbformat.v4.new_notebook(metadata=metadata)
    for cell in cells:
        content.cells.append(nbformat.v4.new_code_cell(cell, metadata={"papermill": {"duration": 1.5}, "tags": ["a"]}))
    content.cells[-1].update(execution_count=1, outputs=list(outputs))
    return content


def test_two_executions_of_one_run_have_one_normal_form(tmp_path):
    def execution(address, *pieces):
        data = {"text/plain": f"<f at {address}>", "image/png": "iVBOR"}
        shown = output("execute_result", data=data, execution_count=1)
        return executed(["f"], *pieces, shown)

    def out(t):
        return output("stream", name="stdout", text=t)

    err = output("stream", name="stderr", text="10%")
    first = execution("0x7f00aa", out("a\n"), err, out("b <g at 0x1>\n"))
    second = execution("0x55", out("a\nb <g at 0x99>\n"), err, err)
    second["metadata"]["language_info"]["version"] = "3.11.7"
    assert text(normalise(first)) == text(normalise(second))
    nbformat.validate(nbformat.reads(text(normalise(first)), as_version=4))


def test_printed_text_comes_as_one_piece_where_the_first_stood_and_figures_stay(tmp_path):
    figure = output("display_data", data={"image/png": "iVBOR"})
    pieces = [output("stream", name="stdout", text=t) for t in ("a", "b")]
    (cell,) = normalise(executed(["x"], pieces[0], figure, pieces[1]))["cells"]
    assert [o["output_type"] for o in cell["outputs"]] == ["stream", "display_data"]
    assert cell["outputs"][0]["text"] == "ab"
    assert cell["outputs"][1]["data"] == {"image/png": "iVBOR"}


def test_a_widget_leaves_only_its_text():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "random"}, "text/plain": "bar"}
    (cell,) = normalise(executed(["x"], output("display_data", data=view)))["cells"]
    assert cell["outputs"][0]["data"] == {"text/plain": "bar"}


def test_the_place_of_the_checkout_is_not_told(project):
    where = output("stream", name="stdout", text=f"{project.folder}/results/x")
    (cell,) = normalise(executed(["x"], where))["cells"]
    assert cell["outputs"][0]["text"] == "./results/x"


def test_modules_name_what_the_cells_use_and_the_pipeline(notebook_file):
    found = modules(read(notebook_file([*CELLS, ("code", "from bitbook.clustering import kmeans1d")])))
    assert {"bitbook.clustering._kmeans1d", "bitbook.pipeline._notebook", "bitbook.pipeline._kernel"} <= found.keys()
    assert not {"bitbook.pipeline._publish", "bitbook.pipeline._stages", "bitbook.cli"} & found.keys()


def test_stored_work_hangs_on_all_code_but_figures_and_what_runs_it(notebook_file, monkeypatch):
    def hash_of(work, figure="from bitbook.report import figures\nfigures.draw(x)"):
        start = "from bitbook import pipeline, clustering\nrun = pipeline.start()"
        return work_hash(read(notebook_file([("code", start), ("code", work), ("figure", figure)])))

    work = "x = clustering.kmeans1d(run.work)"
    before = hash_of(work)
    assert hash_of(work, "figures.draw(x, 2)") == before
    assert hash_of(f"{work}  # a comment") == before
    for edited in (
        "x = clustering.kmeans1d(run.work, 2)",
        f"torch.set_default_dtype(torch.float64)\n{work}",
        f"clustering.CONSTANT = 3\n{work}",
        f"{work}\nprint(x)",
    ):
        assert hash_of(edited) != before

    real = notebook.code_hash.module_hashes

    def changed(names, module):
        return real(names) | ({module: "another"} if module in names else {})

    for module, counts in (("clustering._kmeans1d", True), ("report.figures", False), ("cli", False), ("files", False)):
        monkeypatch.setattr(notebook.code_hash, "module_hashes", lambda names, m=f"bitbook.{module}": changed(names, m))
        assert (hash_of(work) != before) == counts, module


MAGICS = ["%matplotlib inline", "!ls", "x?", "%%time", "x = (", "y = !ls", "return 3", "del 3"]


@pytest.mark.parametrize("line", MAGICS)
def test_a_parameters_cell_that_is_not_python_is_named(notebook_file, line):
    found = read(notebook_file([("markdown", "# x"), ("parameters", f"k: int = 1\n{line}")]))
    with pytest.raises(ValueError, match=rf"cell 2, `{re.escape(line)}.*write plain Python, no magics"):
        parameters(found)


def test_pasted_images_stay_and_one_that_is_lost_is_named(notebook_file):
    path = notebook_file([("markdown", "![x](attachment:x.png)"), *CELLS])
    with pytest.raises(ValueError, match=r"cell 1 shows x\.png, .*: paste it again"):
        clean(read(path))
    content = json.loads(path.read_text())
    content["cells"][0]["attachments"] = {"x.png": {"image/png": "iVBORw=="}}
    path.write_text(json.dumps(content))
    assert clean(read(path))["cells"][0]["attachments"] == {"x.png": {"image/png": "iVBORw=="}}
    assert normalise(clean(read(path)))["cells"][0]["attachments"]


@pytest.mark.parametrize(
    ("markdown", "name", "lost"),
    [
        ("![x](<attachment:my pic.png>)", "my pic.png", True),
        ("![x](attachment:my%20pic.png)", "my pic.png", True),
        ("![x](attachment:pic(1).png)", "pic(1).png", True),
        ("- a\n    - ![x][1]\n\n[1]: attachment:x.png", "x.png", True),
        ("`![x](attachment:x.png)`", "x.png", False),
    ],
)
def test_pasted_images_of_any_name_are_found(markdown, name, lost, notebook_file):
    path = notebook_file([("markdown", markdown), *CELLS])
    if lost:
        with pytest.raises(ValueError, match=f"cell 1 shows {re.escape(name)}"):
            clean(read(path))
    content = json.loads(path.read_text())
    content["cells"][0]["attachments"] = {name: {"image/png": "iVBORw=="}}
    path.write_text(json.dumps(content))
    assert clean(read(path))["cells"][0]["attachments"]


def test_code_that_python_cannot_compile_is_named(notebook_file):
    for source in ("x = " + "-" * 20_000 + "1", "x = " + "1 + " * 30_000 + "1"):
        with pytest.raises(ValueError, match=r"cell 1: .*: write plain Python") as caught:
            modules(read(notebook_file([("code", source)])))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("line", MAGICS)
def test_a_cell_that_is_not_python_is_named(notebook_file, line):
    found = read(notebook_file([("markdown", "# x"), ("code", "a = 1"), ("code", f"{line}\nb = 2")]))
    for use in (modules, work_hash):
        with pytest.raises(ValueError, match=rf"cell 3, `{re.escape(line)}.*write plain Python, no magics"):
            use(found)
