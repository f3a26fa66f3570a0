"""A notebook's side of the pipeline: what `pipeline.start` gives it, in Jupyter and in a stage."""

from __future__ import annotations

import json
import os
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bitbook import Compressed, ScalarCode, datasets, networks, pipeline
from bitbook.pipeline import _execute as execute
from bitbook.pipeline._parameters import ParameterError


@pytest.fixture(autouse=True)
def torch_as_before():
    """start() fixes torch's threads and asks it for determinism: not for the tests that follow."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture
def play(project):
    """Plays the third cell of 02_twice with given globals, a network being there."""
    network = project.folder / "results/nets/tiny-s0/network.safetensors"
    network.parent.mkdir(parents=True)
    network.write_bytes(b"weights")

    def start(**changes):
        return pipeline.start("02_twice", {"net": "tiny-s0", "k": 2, "rate": 0.5, **changes})

    return start


def test_a_played_notebook_has_a_folder_and_a_store_of_its_own(play, project):
    run = play()
    assert run.parameters == {"net": "tiny-s0", "k": 2, "rate": 0.5}
    assert run.folder == project.folder / ".work/interactive/02_twice"
    assert run.work.parent == project.folder / ".work/02_twice"
    run.finish({"value": np.float64(4)})
    assert json.loads((run.folder / "metrics.json").read_text()) == {"value": 4.0}
    assert not (project.folder / "results/metrics").exists()


def test_the_store_changes_with_parameters_inputs_and_code_that_makes_results(play, project):
    def work():
        run = play()
        run.store.release()
        return run.work

    first = work()
    assert work() == first
    run = play(k=3)
    assert run.work != first
    (project.folder / "results/nets/tiny-s0/network.safetensors").write_bytes(b"others")
    second = work()
    assert second != first
    notebook = project.folder / "notebooks/02_twice.ipynb"
    notebook.write_text(notebook.read_text().replace("print(object(), kept", "print(kept"))
    assert work() == second
    whole = notebook.read_text()
    for old, new in (
        ("2 * k", "3 * k"),
        ("def compute", "import torch\\ntorch.set_default_dtype(torch.float64)\\ndef compute"),
        ("def compute", "pipeline.CONSTANT = 3\\ndef compute"),
    ):
        assert old in whole
        notebook.write_text(whole.replace(old, new))
        assert work() not in (first, second)
    notebook.write_text(whole.replace("def compute", "# a comment\\ndef compute"))
    assert work() == second


def test_a_played_notebook_reads_what_its_stage_has_finished(play, project, monkeypatch):
    stage = {"key": "tiny", "command": "dvc repro run@tiny", "notebook": "notebooks/02_twice.ipynb"}
    stage |= {"folder": str(project.folder / "results/runs/tiny"), "results": str(project.folder / "results")}
    with monkeypatch.context() as patch:
        patch.setenv(execute.STAGE, json.dumps(stage))
        patch.setenv(execute.TERMINAL, str(os.dup(2)))
        patch.setattr(sys, "stderr", sys.stderr)
        run = play()
        assert run.keep("value.json", lambda: 1) == 1
        run.finish({})
    assert play().keep("value.json", lambda: 2) == 1
    assert play(k=5).keep("value.json", lambda: 2) == 2


def test_looks_at_test_images_count_over_all_attempts_but_not_over_replays(play):
    for reads in (1, 2, 2):
        run = play()
        datasets.load("digits", split="test")
        if reads == 1:
            run.store.release()  # killed before its end
        else:
            run.finish({})
            assert run.store.record["test_reads"] == reads


def test_an_edited_cell_is_computed_again_even_before_the_notebook_is_saved(play):
    cells = ["run.keep('x.json', lambda: 1)"]
    run = play(In=cells)
    assert run.keep("x.json", lambda: 1) == 1
    cells.append("run.keep('x.json', lambda: 2)  # edited")
    assert run.keep("x.json", lambda: 2) == 2
    cells.append("run.keep('x.json', lambda: 2)  # a comment")
    assert run.keep("x.json", lambda: 3) == 2


def test_what_is_missing_or_wrong_is_said_with_the_remedy(play, project):
    with pytest.raises(NameError, match="net, k, rate: run the parameters cell before this one"):
        pipeline.start("02_twice", {})
    with pytest.raises(ParameterError, match="parameter k is 'two'"):
        play(k="two")
    with pytest.raises(FileNotFoundError, match=r"nets/other/network\.safetensors: run `dvc repro net@other`"):
        play(net="other")
    with pytest.raises(ValueError, match=r"metric a\.b is nan"):
        play().finish({"a": {"b": float("nan")}})


def test_an_int_for_a_float_is_converted_in_the_notebook_too(play, project):
    namespace = {"net": "tiny-s0", "k": 2, "rate": 1}
    pipeline.start("02_twice", namespace)
    assert type(namespace["rate"]) is float


def test_everything_random_is_seeded(play, project, monkeypatch):
    def draws():
        play().store.release()
        return np.random.random(), torch.rand(1).item(), random.random()  # noqa: NPY002

    assert draws() == draws()
    assert torch.are_deterministic_algorithms_enabled()


def test_a_saved_network_comes_back_with_its_task(project):
    (project.folder / "results/data/digits.json").write_text("{}\n")
    run = pipeline.start("01_networks", {"task": "digits", "seed": 0, "epochs": 1})
    network = run.task.network(seed=1)
    path = run.save_network(network)
    first = path.read_bytes()
    assert run.save_network(network).read_bytes() == first

    net = project.folder / "results/nets/tiny-s0/network.safetensors"
    net.parent.mkdir(parents=True)
    path.replace(net)
    again = pipeline.start("02_twice", {"net": "tiny-s0", "k": 2, "rate": 0.5})
    assert again.task.name == "digits"
    assert networks.checksum(again.network().state_dict()) == networks.checksum(network.state_dict())
    assert not again.network().training


def small() -> Compressed:
    codes = {"w": ScalarCode(np.arange(12, dtype=np.uint8).reshape(3, 4) % 4, codebook="all")}
    books = {"all": np.float16([0, 1, 2, 3])}
    return Compressed(codes, books, {}, {"factory": "none", "arguments": {}}, original_parameters=12)


@pytest.fixture
def measured(play):
    """A run that has measured its float network."""
    run = play()
    run.__dict__["task"] = SimpleNamespace(name="tiny", headline="f1", metrics={"f1": None, "top1": None})
    run.task.test = lambda: SimpleNamespace(images=None, labels=None)
    run.keep = lambda name, compute: {"top1": 0.2, "f1": 0.5}
    assert run.float_values(None) == {"top1": 0.2, "f1": 0.5}
    return run


def test_rows_of_results_read_bytes_and_ratio_off_the_file(measured):
    run, values = measured, {"top1": 0.1, "f1": 0.25}
    path = run.save(small(), "half")
    assert path == run.folder / "half.bitbook"
    for variant in ("a", "b", "b"):  # a cell that is played twice adds no second row
        run.result(path, variant=variant, values=values, paper_ratio=3.5, paper_counting="weight data")
    assert run.result(path, variant="b", values=values, paper_counting="pqf")["paper_ratio"] == 48 / (3 + 8)
    with pytest.raises(ValueError, match=r"is not among the outputs: save it by run\.save"):
        run.result(run.work / "half.bitbook", variant="c", values=values)
    run.finish({"more": 1})
    rows = json.loads((run.folder / "rows.json").read_text())
    assert [row["variant"] for row in rows] == ["a", "b"]
    size = path.stat().st_size
    assert rows[0] == {
        "task": "tiny",
        "method": "twice",
        "variant": "a",
        "metric": "f1",
        "float_value": 0.5,
        "value": 0.25,
        "file_bytes": size,
        "ratio": 48 / size,
        "epochs": 0,
        "file": "half.bitbook",
        "paper_ratio": 3.5,
        "paper_counting": "weight data",
    }
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["more"] == 1
    assert metrics["files"]["a"] == {"value": 0.25, "file_bytes": size, "ratio": 48 / size, "paper_ratio": 3.5}
    front = (run.folder / "front.csv").read_text().splitlines()
    assert front[:2] == ["variant,file_bytes,ratio,top1,f1", f"a,{size},{48 / size},0.1,0.25"]


def test_results_at_a_ratio_are_the_least_divergence_at_or_above_it(measured, tmp_path, capsys):
    path = tmp_path / "candidate.bitbook"
    small().save(path)
    ratio = 48 / path.stat().st_size

    def candidate(scale, divergence):  # the file stands for one of another size
        return SimpleNamespace(file=path, file_bytes=scale * path.stat().st_size, divergence=divergence)

    points = {"one, two": [candidate(1, 0.3), candidate(2, 0.2), candidate(4, 0.1)], "large": [candidate(4, 0.1)]}
    values = {path: {"f1": 0.4, "top1": 0.4}}
    rows = measured.results_at([ratio / 3, ratio], points, values, before="x ", method="m", epochs=2)
    names = [f"x one, two, {r:g}x" for r in (ratio / 3, ratio)]
    assert [(row["variant"], row["method"], row["epochs"], row["value"]) for row in rows] == [
        (name, "m", 2, 0.4) for name in names
    ]
    assert (measured.folder / f"one-two-{ratio:g}x.bitbook").read_bytes() == path.read_bytes()
    assert f"large: no file of the front is {ratio:g} times smaller" in capsys.readouterr().out


def test_lists_of_other_lengths_than_asked_for_are_refused(play):
    run = play()
    run.parameters = {"epochs": [1, 2], "rates": [0.1]}
    run.lengths(epochs=2, rates=1)
    with pytest.raises(ParameterError, match="parameter rates holds 1, but with the other parameters it takes 2"):
        run.lengths(epochs=2, rates=2)
