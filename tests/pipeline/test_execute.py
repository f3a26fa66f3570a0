from __future__ import annotations

import json

import pytest
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline import _stages as stages
from bitbook.pipeline._execute import NotebookFailed
from bitbook.pipeline._layout import Results
from bitbook.pipeline._parameters import ParameterError


def prepare(project):
    """Clean the notebooks and put a network there: runs can start."""
    for name in ("01_networks", "02_twice"):
        stages.clean(name)
    network = project.folder / "results/nets/tiny-s0/network.safetensors"
    network.parent.mkdir(parents=True)
    network.write_bytes(b"weights")
    return project


@pytest.fixture
def cleaned(project):
    return prepare(project)


def run(project, key="tiny-b", **parameters):
    if parameters:
        entry = json.dumps({"notebook": "02_twice", "net": "tiny-s0", **parameters})
        (project.folder / "params.yaml").write_text(f"runs: {{{key}: {entry}}}")
    stages.execute("run", key, project.folder / "params.yaml")


def edit(project, old, new):
    path = project.folder / "results/notebooks/02_twice.ipynb"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_unknown_and_ill_typed_parameters_are_refused_before_anything_runs(cleaned):
    with pytest.raises(ParameterError, match="unknown parameter clusters"):
        run(cleaned, clusters=3)
    with pytest.raises(ParameterError, match=r"parameter k is 2\.5, but the notebook declares k: int"):
        run(cleaned, k=2.5)
    assert not (cleaned.folder / ".work").exists()


@pytest.fixture(scope="module")
def twice(tmp_path_factory, new_project):
    """A project with what each of two executions of one run left: the bytes of notebook, metrics and front."""
    folder = tmp_path_factory.mktemp("twice")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project = prepare(new_project(folder))
        executions = []
        for _ in range(2):
            run(project)
            names = ("executed/tiny-b.ipynb", "metrics/tiny-b.json", "runs/tiny-b/front.csv")
            executions.append([(folder / "results" / name).read_text() for name in names])
        yield project, executions


def test_two_executions_give_the_same_bytes_and_measured_outputs_stand_in_the_provenance(twice):
    project, (first, second) = twice
    assert first == second
    results = Results(project.folder / "results")
    shown, kept = (json.loads(t)["cells"][-2] for t in (provenance.executed_notebook(results, "tiny-b"), first[0]))
    assert shown["metadata"]["tags"] == ["measures"]
    assert shown["outputs"][0]["text"].startswith("measured ")
    assert (shown | {"outputs": []}) == kept


def test_a_provenance_is_of_one_result(twice):
    project, _ = twice
    results, path = Results(project.folder / "results"), project.folder / "results/executed/tiny-b.ipynb"
    text = path.read_text()
    assert provenance.read(results, "tiny-b")["command"] == "dvc repro run@tiny-b"
    path.write_text(text.replace("Twice", "Thrice"))  # as after `dvc checkout` of another time
    try:
        assert provenance.read(results, "tiny-b") is None
        assert "measured " not in provenance.executed_notebook(results, "tiny-b")
    finally:
        path.write_text(text)
    assert provenance.read(results, "none") is None


def test_a_notebook_that_does_not_finish_is_refused(cleaned):
    edit(cleaned, "run.finish(", "dict(")
    with pytest.raises(NotebookFailed, match=r"02_twice\.ipynb ends without a result: call run\.finish"):
        run(cleaned)
    assert not (cleaned.folder / "results/executed").exists()


def test_a_cell_that_exits_is_refused(cleaned):
    edit(cleaned, '\\"value\\": 0.5}])', '\\"value\\": 0.5}]); import sys; sys.exit()')
    with pytest.raises(NotebookFailed, match=r"(?s)02_twice\.ipynb: no cell may exit, as this one does:.*sys.exit"):
        run(cleaned)
    assert not (cleaned.folder / "results/executed").exists()


def test_code_that_has_changed_since_it_was_recorded_is_not_run(cleaned, monkeypatch):
    (cleaned.folder / "results/notebooks/01_networks.code.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"01_networks\.code\.json: run `dvc repro clean@01_networks` first"):
        stages.execute("net", "tiny-s0", cleaned.folder / "params.yaml")
    real = stages.notebook.modules
    monkeypatch.setattr(stages.notebook, "modules", lambda n: real(n) | {"bitbook.files": "another"})
    with pytest.raises(
        ValueError, match=r"bitbook\.files has changed since 02_twice\.ipynb was cleaned: run `dvc repro"
    ):
        run(cleaned)
    assert not (cleaned.folder / ".work").exists()


def test_a_notebook_may_not_open_published_tables_without_naming_their_folder(cleaned):
    edit(cleaned, "run.finish(", 'open(\\"\\".join((\\"publis\\", \\"hed/claims.csv\\"))); run.finish(')
    run(cleaned)  # every run depends on the claims
    (cleaned.folder / "published/table.csv").write_text("a\n1\n")
    edit(cleaned, "claims.csv", "table.csv")
    with pytest.raises(NotebookFailed, match=r"02_twice\.ipynb opens published/table\.csv: write"):
        run(cleaned)


def test_a_notebook_that_reads_published_tables_runs_until_they_change(cleaned):
    edit(cleaned, "run.finish(", 'run.name == \\"published\\"; run.finish(')
    (cleaned.folder / "notebooks/02_twice.ipynb").write_text(
        (cleaned.folder / "results/notebooks/02_twice.ipynb").read_text()
    )
    stages.clean("02_twice")
    run(cleaned)
    (cleaned.folder / "published/more.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match="published/ has changed since 02_twice"):
        run(cleaned)


def test_results_hold_neither_addresses_nor_paths(twice):
    project, ((executed, metrics, front), _) = twice
    assert "<object object at 0x0> {'value': 8} 1.0 .\\n" in executed  # the int 1 became a float
    assert str(project.folder) not in executed
    assert (metrics, front) == ('{\n "value": 8\n}\n', "variant,file_bytes,value\na,10,0.5\n")


def test_the_second_execution_takes_the_work_from_the_store(twice):
    project, _ = twice
    (computed,) = (project.folder / ".work/02_twice").glob("*/computed.txt")
    assert computed.read_text() == "once "


def test_provenance_tells_where_a_result_comes_from_apart_from_it(twice):
    project, _ = twice
    about = project.json("results/provenance/tiny-b.json")
    assert about["command"] == "dvc repro run@tiny-b"
    assert about["parameters"] == {"net": "tiny-s0", "k": 4, "rate": 1.0}
    assert about["commit"] == provenance.commit(project.folder)
    assert len(about["commit"]) == 12
    (project.folder / "notebooks/02_twice.ipynb").write_text("{}")
    assert provenance.commit(project.folder) == about["commit"] + "+"
    assert {"seconds", "hardware", "test_reads", "threads", "versions"} <= about.keys()


def test_a_failing_cell_fails_the_stage_and_leaves_no_result(cleaned):
    edit(cleaned, "print(object(), kept", "print(unheard_of, kept")
    with pytest.raises(NotebookFailed, match=r"(?s)unheard_of.*The notebook up to there: \.work/failed/tiny-b\.ipynb"):
        run(cleaned)
    assert (cleaned.folder / ".work/failed/tiny-b.ipynb").exists()
    assert not (cleaned.folder / "results/executed").exists()


def test_a_notebook_that_names_another_in_its_third_cell_is_refused(cleaned):
    edit(cleaned, 'pipeline.start(\\"02_twice\\"', 'pipeline.start(\\"03_other\\"')
    with pytest.raises(NotebookFailed, match='this notebook is 02_twice, but its third cell says start\\("03_other"'):
        run(cleaned)


def test_kernel_is_of_this_environment_and_knows_nothing_of_the_user(cleaned, monkeypatch, tmp_path):
    """A user's own kernel python3 and IPython start-up files, and a hash seed, must not reach a stage."""
    kernel = tmp_path / "home/jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(kernel.parents[1]))
    startup = tmp_path / "home/ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit")
    monkeypatch.setenv("IPYTHONDIR", str(startup.parents[1]))
    monkeypatch.setenv("BITBOOK_THREADS", "3")
    edit(cleaned, "print(object(), kept", "import os, sys\\nprint(hash('x'), os.environ['OMP_NUM_THREADS'], kept")
    run(cleaned)
    first = cleaned.json("results/executed/tiny-b.ipynb")
    run(cleaned)
    assert first == cleaned.json("results/executed/tiny-b.ipynb")
    assert " 3 {'value'" in json.dumps(first)
    assert cleaned.json("results/provenance/tiny-b.json")["threads"] == 3


def test_progress_goes_to_the_terminal_and_the_log_not_into_the_notebook(project):
    output = project.run("bitbook", "stage", "clean", "01_networks") + project.run("bitbook", "stage", "net", "tiny-s0")
    assert output.split() == ["epoch", "0", "epoch", "1", "epoch", "2"]
    assert (project.folder / ".work/log/tiny-s0.log").read_text() == output
    cells = project.json("results/executed/tiny-s0.ipynb")["cells"]
    assert [cell["outputs"] for cell in cells if cell.get("outputs")] == []
