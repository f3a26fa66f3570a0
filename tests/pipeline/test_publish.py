"""What enters published/: inserted or updated by task, method and variant, never dropped, never taken on trust."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from bitbook import Compressed, ScalarCode, tasks
from bitbook.cli import main
from bitbook.compression import measure
from bitbook.pipeline import _publish as publish
from bitbook.pipeline._layout import Results
from bitbook.pipeline._tables import read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from safetensors.torch import save, save_file

ABOUT = {"hardware": "h", "commit": "c", "command": "dvc repro run@x", "test_reads": 1, "seconds": 1.0}


def changed(text: str, **fields) -> str:
    """A record in JSON, the only row of a list or a dict, with other fields."""
    content = json.loads(text)
    return json.dumps([content[0] | fields] if isinstance(content, list) else content | fields)


def about_without(name: str) -> str:
    return json.dumps({n: v for n, v in (ABOUT | {"notebook": "n", "parameters": {}}).items() if n != name})


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A compressed network for the task digits that says 3 to every image."""
    path = tmp_path_factory.mktemp("file") / "network.bitbook"
    task = tasks.get("digits")
    state = {name: np.zeros_like(value.numpy()) for name, value in task.network().state_dict().items() if value.ndim}
    state |= {name: np.ones_like(value) for name, value in state.items() if name.endswith("running_var")}
    state["fc.bias"][3] = 1
    Compressed.from_state(state, codes={}, codebooks={}, specification=task.specification).save(path)
    return path


@pytest.fixture(scope="module")
def value() -> float:
    """How often it is right: as often as there are threes."""
    return (tasks.get("digits").test().labels == 3).double().mean().item()


@pytest.fixture
def add_run(file, value):
    """Writes what a finished run leaves behind, its value being that of the file."""

    def add(results: Results, key: str, *, variant: str = "v", error: float = 0.0, **parameters) -> None:
        folder = results.output("run", key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "network.bitbook").write_bytes(file.read_bytes())
        (folder / "front.csv").write_text("variant,file_bytes,top1\nv,1,0.5\n")
        row = {"task": "digits", "method": "m", "variant": variant, "metric": "top1", "float_value": 0.99, "epochs": 0}
        row |= {"value": value + error, "file_bytes": file.stat().st_size, "ratio": 2.0, "file": "network.bitbook"}
        (folder / "rows.json").write_text(json.dumps([{**row, "paper_ratio": None, "paper_counting": ""}]))
        for path, content in (
            (results.provenance(key), {**ABOUT, "notebook": "02_twice", "parameters": parameters}),
            (results.executed(key), {"cells": [], "nbformat": 4}),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))

    return add


@pytest.fixture
def project(project):
    """The tiny project, whose main tables name the variants v and fresh."""
    (project.folder / "published/main.csv").write_text("task,method,variant,readme\ndigits,m,v,\ndigits,m,fresh,\n")
    return project


def table(project):
    return {row["variant"]: row for row in read(project.folder / "published/table.csv")}


def test_rows_are_inserted_and_updated_and_never_dropped(project, add_run, file, capsys):
    columns = "task,method,variant,seeds,value_mean,file\n"
    (project.folder / "published/table.csv").write_text(f"{columns}cifar10,m,far,3,0.9,\ndigits,m,v,1,0.1,\n")
    add_run(Results.of(Path("params.yaml")), "tiny-a", net="tiny-s0", k=3)
    assert main(["publish"]) == 0
    rows = table(project)
    assert (rows["far"]["value_mean"], rows["far"]["seeds"]) == ("0.9", "3")
    assert rows["v"]["value_mean"] != "0.1"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (rows["v"]["sha256"], rows["v"]["file"]) == (sha256, f"published/files/digits-{sha256[:12]}.bitbook")
    assert (project.folder / rows["v"]["file"]).stat().st_size == int(rows["v"]["file_bytes"])
    assert (project.folder / "published/fronts/tiny-a.csv").exists()
    assert not (project.folder / "published/notebooks").exists()  # of digits, which `dvc repro` makes in minutes
    assert "1 results inserted or updated" in capsys.readouterr().out


def test_results_of_other_parameters_than_the_params_file_has_stay_out(project, add_run):
    results = Results.of(Path("params.yaml"))
    add_run(results, "tiny-a", variant="stale", net="tiny-s0", k=99)
    add_run(results, "tiny-b", variant="fresh", net="tiny-s0", k=4, rate=1.0)
    add_run(results, "gone", variant="gone", net="tiny-s0", k=3)
    publish.publish(publish.local_rows())
    assert list(table(project)) == ["fresh"]


def test_fewer_seeds_never_replace_more(project, add_run, capsys):
    results = Results(project.folder / "elsewhere")
    for seed in range(2):
        add_run(results, f"x-s{seed}")
    publish.publish(publish.imported_rows(results.folder))
    assert table(project)["v"]["seeds"] == "2"
    alone = Results(project.folder / "alone")
    add_run(alone, "x-s0")
    assert publish.publish(publish.imported_rows(alone.folder)) == 0
    assert table(project)["v"]["seeds"] == "2"
    assert "digits, m, v: kept, since it is over 2 seeds, not 1" in capsys.readouterr().out


def test_a_run_made_elsewhere_is_evaluated_here(project, add_run, file, value):
    results = Results(project.folder / "elsewhere")
    add_run(results, "x", error=0.0019)
    publish.publish(publish.imported_rows(results.folder))
    row = table(project)["v"]
    assert float(row["value_mean"]) == round(value, 6)  # what it is here
    assert float(row["ratio"]) == pytest.approx(4 * 14458 / file.stat().st_size, abs=1e-4)


def test_a_run_made_elsewhere_that_does_not_hold_is_refused(project, add_run):
    results = Results(project.folder / "elsewhere")
    add_run(results, "x", error=0.01)
    with pytest.raises(publish.PublishError, match=r"x/network\.bitbook: its record says top1 .*: not published"):
        publish.imported_rows(results.folder)
    damaged = results.output("run", "x") / "network.bitbook"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    assert main(["publish", str(results.folder)]) == 2
    assert not (project.folder / "published/table.csv").exists()


def test_files_of_other_rows_than_the_main_tables_stay_out(project, add_run, file):
    add_run(Results.of(Path("params.yaml")), "tiny-a", variant="aside", net="tiny-s0", k=3)
    publish.publish(publish.local_rows())
    row = table(project)["aside"]
    assert (row["file"], row["sha256"]) == ("", hashlib.sha256(file.read_bytes()).hexdigest())
    assert not (project.folder / "published/files").exists()


def test_equal_files_are_kept_once(project, add_run):
    results = Results.of(Path("params.yaml"))
    add_run(results, "tiny-a", variant="v", net="tiny-s0", k=3)
    add_run(results, "tiny-b", variant="fresh", net="tiny-s0", k=4, rate=1.0)
    publish.publish(publish.local_rows())
    rows = table(project)
    assert rows["v"]["file"] == rows["fresh"]["file"] != ""
    assert len(list((project.folder / "published/files").iterdir())) == 1


def test_notebooks_are_those_of_first_seeds(project, add_run, monkeypatch):
    monkeypatch.setattr(publish, "AT_HAND", ())
    results = Results(project.folder / "elsewhere")
    for seed in range(2):
        add_run(results, f"x-s{seed}")
    publish.publish(publish.imported_rows(results.folder))
    assert [path.stem for path in (project.folder / "published/notebooks").iterdir()] == ["x-s0"]
    assert {path.stem for path in (project.folder / "published/fronts").iterdir()} == {"x-s0", "x-s1"}


def test_figures_get_smaller_and_hardly_change():
    noise = np.random.default_rng(0).integers(0, 4, (200, 300, 3))
    shades = np.linspace(0, 250, 300)[:, None] + noise  # grey, from left to right
    figure, before = Image.fromarray(shades.astype(np.uint8)), io.BytesIO()
    figure.save(before, "PNG")
    output = new_output("display_data", data={"image/png": base64.b64encode(before.getvalue()).decode()})
    text = nbformat.writes(new_notebook(cells=[new_code_cell("draw()", outputs=[output]), new_markdown_cell("é")]))
    found = nbformat.reads(publish.with_smaller_figures(text), as_version=4)
    png = base64.b64decode(found.cells[0].outputs[0].data["image/png"])
    change = np.abs(np.int16(figure) - np.int16(Image.open(io.BytesIO(png)).convert("RGB")))
    assert len(png) < 0.5 * len(before.getvalue()) and change.mean() < 8
    assert found.cells[1].source == "é" and found.cells[0].source == "draw()"


def test_large_files_stay_out_and_files_without_a_row_go(project, add_run, monkeypatch):
    add_run(Results.of(Path("params.yaml")), "tiny-a", net="tiny-s0", k=3)
    publish.publish(publish.local_rows())
    (copied,) = (project.folder / "published/files").iterdir()
    monkeypatch.setattr(publish, "LARGEST", copied.stat().st_size)
    publish.publish(publish.local_rows())
    assert table(project)["v"]["file"] == ""
    assert list((project.folder / "published/files").iterdir()) == []


@pytest.mark.parametrize(
    ("field", "number"),
    [
        *(("float_value", float("nan")), ("paper_ratio", float("inf")), ("value", -1.0), ("seconds", float("nan"))),
        *(("value", None), ("float_value", True), ("epochs", "x"), ("epochs", 10**20), ("seconds", None)),
        *(("test_reads", "1"), ("task", 3), ("variant", None), ("variant", "a\nb"), ("variant", "<script>")),
        *(("metric", None), ("hardware", "a | b\n"), ("commit", "<b>"), ("command", "\x1b[31m")),
    ],
)
def test_a_record_with_numbers_or_texts_that_are_none_is_refused(project, add_run, field, number):
    results = Results(project.folder / "elsewhere")
    add_run(results, "x")
    path = results.provenance("x") if field in ABOUT else results.output("run", "x") / "rows.json"
    content = json.loads(path.read_text())
    (content if field in ABOUT else content[0])[field] = number
    path.write_text(json.dumps(content))
    with pytest.raises(publish.PublishError, match=f"says {field} .*: not published"):
        publish.imported_rows(results.folder)


@pytest.mark.parametrize(
    "change",
    [
        *(lambda rows, about, text=text: (text, about) for text in ("", "null", "3", "{", '[{"task": "digits"}]')),
        *(lambda rows, about, text=text: (rows, text) for text in ("", "[]", "3", "{}", about_without("seconds"))),
        *(lambda rows, about, f=f: (changed(rows, file=f), about) for f in ("../y/z", "/etc/hosts", ".", "", 3)),
        lambda rows, about: (rows, changed(about, parameters=[])),
        lambda rows, about: (rows, changed(about, parameters={"net": "../x"})),
    ],
)
def test_a_damaged_record_is_named_and_nothing_is_published(change, project, add_run, capsys):
    results = Results(project.folder / "elsewhere")
    add_run(results, "x")
    paths = results.output("run", "x") / "rows.json", results.provenance("x")
    for path, text in zip(paths, change(*(path.read_text() for path in paths)), strict=True):
        path.write_text(text)
    assert main(["publish", str(results.folder)]) == 2
    assert f"bitbook: x: its record in {results.folder} is damaged (" in capsys.readouterr().err
    assert not (project.folder / "published/table.csv").exists()


def test_names_that_nothing_has_and_damaged_networks_are_refused(project, add_run):
    results = Results(project.folder / "elsewhere")
    add_run(results, "x", net="n")
    rows = results.output("run", "x") / "rows.json"
    whole = rows.read_text()
    for field, value in (("metric", "top2"), ("method", "../../x"), ("task", "nobody")):
        rows.write_text(changed(whole, **{field: value}))
        with pytest.raises(ValueError, match=rf"{field}.*{re.escape(value)}"):
            publish.imported_rows(results.folder)
    rows.write_text(whole)
    for front in (b"\xff\xfe", b"a,b\n1,2\n"):
        (rows.parent / "front.csv").write_bytes(front)
        with pytest.raises(publish.PublishError, match=r"x: its record in .* is damaged"):
            publish.imported_rows(results.folder)
    (rows.parent / "front.csv").unlink()
    results.network("n").parent.mkdir(parents=True)
    for data in (b"", b"\xff" * 100, save({"x": torch.zeros(1)})):
        results.network("n").write_bytes(data)
        with pytest.raises(ValueError, match=r"network\.safetensors is damaged, or no network"):
            publish.imported_rows(results.folder)


def test_a_paper_s_ratio_and_a_float_value_are_those_of_the_files(project, add_run):
    results = Results(project.folder / "elsewhere")
    add_run(results, "x", net="n")
    folder = results.output("run", "x")
    network = tasks.get("digits").network(seed=0)
    state = {name: value.numpy() for name, value in network.state_dict().items() if value.ndim}
    name = next(name for name, value in state.items() if value.ndim == 4)
    code = ScalarCode(np.arange(state[name].size).reshape(state[name].shape) % 4, "all")
    file = Compressed.from_state(
        state, codes={name: code}, codebooks={"all": np.float16([-1, 0, 1, 2])}, specification=network.specification
    )
    file.save(folder / "network.bitbook")
    measured = measure([folder / "network.bitbook"], tasks.get("digits"), folder=project.folder / "m")
    (row,) = json.loads((folder / "rows.json").read_text())
    value = measured[folder / "network.bitbook"]["top1"]
    row |= {"value": value, "paper_ratio": 16.0, "paper_counting": "moea"}  # 2 of 32 bits, as the paper counts
    (folder / "rows.json").write_text(json.dumps([row]))
    assert publish.imported_rows(results.folder)[0]["paper_ratio"] == 16.0
    (folder / "rows.json").write_text(json.dumps([row | {"paper_ratio": 18.0}]))
    with pytest.raises(publish.PublishError, match=r"says paper_ratio 18.0000, here it is 16.0000"):
        publish.imported_rows(results.folder)

    (folder / "rows.json").write_text(json.dumps([row | {"paper_counting": "charged bits"}]))
    published = publish.imported_rows(results.folder)[0]  # which the training alone knew
    assert (published["paper_ratio"], published["paper_counting"]) == (None, "")

    (folder / "rows.json").write_text(json.dumps([row]))
    about = json.dumps({"specification": network.specification, "task": "digits"})
    results.network("n").parent.mkdir(parents=True)
    save_file(network.state_dict(), results.network("n"), {"bitbook": about})
    with pytest.raises(publish.PublishError, match=r"says float_value 0.9900, here it is 0\.[01]"):  # it is untrained
        publish.imported_rows(results.folder)


def test_a_folder_without_results_is_refused(project, capsys):
    for folder in ("missing", "published"):
        assert main(["publish", folder]) == 2
        assert f"bitbook: {folder} holds no result of a run: name a folder like results/" in capsys.readouterr().err


def test_what_is_stopped_halfway_has_done_nothing(project, add_run, monkeypatch, capsys):
    add_run(Results.of(Path("params.yaml")), "tiny-a", net="tiny-s0", k=3)
    published = project.folder / "published"

    def content():
        return {path.relative_to(published): path.read_bytes() for path in published.rglob("*") if path.is_file()}

    before, write, rename = content(), publish.write_atomically, Path.rename
    for stop_at in range(1, 6):
        calls = iter(range(1, 6))

        def stopped(function, *arguments, stop_at=stop_at, calls=calls):
            if next(calls) == stop_at:
                raise KeyboardInterrupt
            return function(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(publish, "write_atomically", lambda *a, stopped=stopped: stopped(write, *a))
            patch.setattr(Path, "rename", lambda *a, stopped=stopped: stopped(rename, *a))
            assert main(["publish"]) == 130
        assert "bitbook: stopped" in capsys.readouterr().err
        if published.exists():
            assert content() == before
    assert not published.exists()  # stopped between two renames: the next one begins by putting it back
    assert main(["publish"]) == 0
    assert table(project)["v"]["seeds"] == "1"
    assert set(before) < set(content())
