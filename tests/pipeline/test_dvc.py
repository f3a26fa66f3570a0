"""The pipeline under DVC: what reruns, what does not, and what a fresh clone can do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline._code_hash import code_hash
from bitbook.pipeline._layout import Results

ROOT = Path(__file__).parents[2]
ALL = {"clean@01_networks", "clean@02_twice", "net@tiny-s0", "run@tiny-a", "run@tiny-b", "collect", "report"}


@pytest.fixture
def reproduced(finished, tmp_path, monkeypatch):
    """A copy of the finished project, which is also the current folder."""
    project, _ = finished
    shutil.copytree(project.folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return type(project)(tmp_path)


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def commit(project) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "all")


def computed(project) -> Iterator[str]:
    return (path.read_text() for path in (project.folder / ".work/02_twice").glob("*/computed.txt"))


def test_the_first_repro_runs_every_stage_and_the_second_none(finished):
    project, ran = finished
    assert set(ran) == ALL
    assert project.repro() == []
    assert project.run("git", "status", "--porcelain").split() == ["??", "dvc.lock", "??", "epochs.txt"]


def test_changing_a_parameter_reruns_that_run_and_what_depends_on_it(reproduced):
    names = ("results/metrics/tiny-b.json", "results/provenance/tiny-b.json")
    before = [reproduced.json(name) for name in names]
    edit(reproduced.folder / "params.yaml", "k: 3", "k: 5")
    assert reproduced.repro("collect") == ["run@tiny-a", "collect"]  # not the other run
    assert reproduced.json("results/metrics/tiny-a.json") == {"value": 10}
    assert [reproduced.json(name) for name in names] == before

    # every output is cached, so going back runs nothing: DVC takes the results of that time
    edit(reproduced.folder / "params.yaml", "k: 5", "k: 3")
    assert reproduced.repro("run@tiny-a") == []
    assert reproduced.json("results/metrics/tiny-a.json") == {"value": 6}
    results = Results(reproduced.folder / "results")
    assert provenance.read(results, "tiny-a") is None  # that of k = 5 is of another result
    reproduced.run("dvc", "repro", "--force", "--single-item", "run@tiny-a")
    assert provenance.read(results, "tiny-a")["parameters"]["k"] == 3


@pytest.mark.slow
def test_running_all_of_it_again_changes_nothing_in_git(reproduced):
    commit(reproduced)
    assert "Running stage" in reproduced.run("dvc", "repro", "--force", "--single-item", "run@tiny-a")
    assert set(reproduced.repro("--force")) == ALL
    assert reproduced.run("git", "status", "--porcelain") == ""
    page = (reproduced.folder / "results/report/tiny-a.html").read_text()
    assert "measured 1" in page  # a time, which no output of DVC's holds


@pytest.mark.slow
def test_every_front_is_drawn_and_compared_by_dvc(reproduced):
    commit(reproduced)
    shown = json.loads(reproduced.run("dvc", "plots", "show", "--json"))
    for key in ("tiny-a", "tiny-b"):
        ((plot,),) = [plots for name, plots in shown["data"].items() if key in name] or [[None]]
        (point,) = plot["content"]["data"]["values"]
        assert (point["variant"], float(point["file_bytes"]), float(point["value"])) == ("a", 10, 0.5)
    edit(reproduced.folder / "notebooks/02_twice.ipynb", '\\"file_bytes\\": 10', '\\"file_bytes\\": 11')
    reproduced.repro("collect")
    drawn = reproduced.run("dvc", "plots", "diff", "HEAD", "--json")
    assert {float(size) for size in re.findall(r'"file_bytes": "?(\d+)', drawn)} == {10, 11}


def test_playing_a_notebook_makes_nothing_stale(reproduced):
    path = reproduced.folder / "notebooks/02_twice.ipynb"
    content = json.loads(path.read_text())
    for number, cell in enumerate(content["cells"]):
        if cell["cell_type"] == "code":
            cell |= {"execution_count": number, "outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}]}
    path.write_text(json.dumps(content))
    assert reproduced.repro("run@tiny-a") == ["clean@02_twice"]


def test_an_edit_to_what_is_shown_reruns_the_notebook_but_not_its_work(reproduced):
    edit(reproduced.folder / "notebooks/02_twice.ipynb", "print(object(), kept", "print('shown', kept")
    assert reproduced.repro("run@tiny-a") == ["clean@02_twice", "run@tiny-a"]
    assert list(computed(reproduced)) == ["once ", "once "]
    assert "shown {'value': 6}" in (reproduced.folder / "results/executed/tiny-a.ipynb").read_text()


@pytest.mark.slow
def test_a_new_published_table_reruns_the_notebooks_that_read_one_and_no_others(project):
    reads = json.loads((project.folder / "notebooks/02_twice.ipynb").read_text().replace("02_twice", "03_reads"))
    reads["cells"][-1]["source"] += '; pipeline.root() / "published"'
    (project.folder / "notebooks/03_reads.ipynb").write_text(json.dumps(reads))
    edit(project.folder / "params.yaml", "02_twice]", "02_twice, 03_reads]")

    def used() -> dict[str, str]:
        project.run("dvc", "repro", "clean")
        return {name: project.json(f"results/notebooks/{name}.code.json") for name in ("02_twice", "03_reads")}

    before = used()
    (project.folder / "published/fronts").mkdir()
    (project.folder / "published/fronts/tiny.csv").write_text("a\n1\n")
    after = used()
    assert after["02_twice"] == before["02_twice"]
    assert after["03_reads"] != before["03_reads"]
    edit(project.folder / "params.yaml", "tiny-a: {notebook: 02_twice", "tiny-a: {notebook: 03_reads")
    assert "run@tiny-a" in project.repro("run@tiny-a")


def test_a_lost_result_comes_back_from_the_store(reproduced):
    for lost in ("results/nets", "results/executed", ".dvc/cache"):
        shutil.rmtree(reproduced.folder / lost)
    assert "net@tiny-s0" in reproduced.repro("net@tiny-s0")
    assert (reproduced.folder / "epochs.txt").read_text().split() == ["0", "1", "2"]  # not trained again


def test_full_runs_use_their_own_parameters_and_results(reproduced):
    folder = reproduced.folder
    (folder / "full").mkdir()
    shutil.copy(ROOT / "full/dvc.yaml", folder / "full")
    (folder / "full/params.yaml").write_text(
        "tasks: []\nnets:\n  big-s0: {task: tiny, epochs: 1}\nruns:\n  big: {notebook: 02_twice, net: big-s0, k: 50}\n"
    )
    (folder / "results/full/data").mkdir(parents=True)
    (folder / "results/full/data/tiny.json").write_text("{}\n")
    stages = [f"full/dvc.yaml:{name}" for name in ("net@big-s0", "run@big", "collect")]
    assert reproduced.repro("full/dvc.yaml:collect") == stages
    assert reproduced.json("results/full/metrics/big.json") == {"value": 100}
    assert reproduced.json("results/full/provenance/big.json")["command"] == "dvc repro full/dvc.yaml:run@big"
    assert reproduced.repro("full/dvc.yaml:collect") == []
    edit(folder / "full/params.yaml", "k: 50", "k: 51")
    assert reproduced.repro() == []  # the root's pipeline is another


INTERACTIVELY = """from bitbook import pipeline
net, k, rate = "tiny-s0", 3, 0.5
pipeline.start("02_twice", globals())"""


def test_stages_run_the_code_of_the_checkout_that_they_run_in(project):
    """`dvc exp run --queue` runs each experiment in a checkout of its own, at another time."""
    shutil.copytree(ROOT / "lib/bitbook", project.folder / "lib/bitbook", dirs_exist_ok=True)
    with (project.folder / "lib/bitbook/pipeline/__init__.py").open("a") as module:
        module.write("print('code of', __file__)\n")
    output = project.run("dvc", "repro", "clean@02_twice")
    said = f"code of {project.folder}/lib/bitbook/pipeline/__init__.py"
    assert said in output
    assert said in project.run("bitbook", "stage", "clean", "02_twice")  # without DVC, too
    (project.folder / "sub").mkdir()
    output = project.run(
        "bash",
        "-c",
        "cd sub && PYTHONPATH=$PWD/../lib-old:$PYTHONPATH bitbook stage clean 02_twice --params ../params.yaml",
    )
    assert said in output
    assert "another bitbook than" in project.run(sys.executable, "-c", INTERACTIVELY, fails=True)


@pytest.mark.slow
def test_a_queued_experiment_runs_the_code_that_it_was_queued_with(project):
    shutil.copytree(ROOT / "lib/bitbook", project.folder / "lib/bitbook", dirs_exist_ok=True)
    project.run("git", "add", "-f", "results/data/tiny.json")  # the task of the tiny project
    commit(project)
    module = project.folder / "lib/bitbook/pipeline/__init__.py"
    before = module.read_text()
    module.write_text(f"{before}QUEUED = 1\n")
    project.run("dvc", "exp", "run", "--queue", "--name", "queued", "clean@02_twice")
    module.write_text(before)
    project.run("dvc", "exp", "run", "--run-all")
    (ref,) = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/queued").split()
    stages = yaml.safe_load(project.run("git", "show", f"{ref}:dvc.lock"))["stages"]
    md5 = {output["path"]: output["md5"] for output in stages["clean@02_twice"]["outs"]}
    made = md5["results/notebooks/02_twice.code.json"]
    hashes = project.json(f".dvc/cache/files/md5/{made[:2]}/{made[2:]}")
    assert hashes["bitbook.pipeline"] == code_hash(f"{before}QUEUED = 1\n") != code_hash(before)


def test_expensive_stages_have_cached_outputs_only():
    """DVC never restores a stage with an output that it does not cache, or keeps, from its run cache."""
    for file in (ROOT / "dvc.yaml", ROOT / "full/dvc.yaml"):
        for stage in yaml.safe_load(file.read_text())["stages"].values():
            stage = stage.get("do", stage)
            uncached = [output for output in stage["outs"] + stage.get("metrics", []) if not isinstance(output, str)]
            assert [Path(name).name for output in uncached for name in output] in ([], ["pages.json"])


def test_nothing_depends_on_provenance_and_notebooks_depend_on_named_files():
    for file in (ROOT / "dvc.yaml", ROOT / "full/dvc.yaml"):
        for name, stage in yaml.safe_load(file.read_text())["stages"].items():
            dependencies = stage.get("do", stage).get("deps", [])
            assert "provenance" not in str(stage)
            if name in ("net", "run"):
                assert all(Path(d).suffix for d in dependencies)


def test_a_fresh_clone_pulls_the_bundled_data_offline(tmp_path, new_project, monkeypatch):
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing answers there
    project = new_project.__globals__["Project"](tmp_path / "clone")
    project.run("dvc", "pull", "--allow-missing")  # as REPRODUCING.md says: results are not pushed
    from bitbook.datasets import _digits as digits

    digits.write(tmp_path / "digits.npz")  # other versions of Python write other bytes around the arrays
    pulled, made = (np.load(path) for path in (tmp_path / "clone/data/digits.npz", tmp_path / "digits.npz"))
    assert pulled.files == made.files
    assert all(np.array_equal(pulled[name], made[name]) for name in made.files)


@pytest.mark.slow
def test_experiments_run_in_a_git_worktree(project):
    project.run("git", "add", "-f", "results/data/tiny.json")
    project.run("git", "commit", "-qm", "data")
    tree = project.folder.parent / f"{project.folder.name}-tree"
    project.run("git", "worktree", "add", "-q", str(tree), "HEAD")
    worktree = type(project)(tree)
    for where in ([], ["--temp"]):
        worktree.run("dvc", "exp", "run", *where, "-n", f"five{len(where)}", "-S", "runs.tiny-a.k=5", "run@tiny-a")
    assert worktree.json("results/metrics/tiny-a.json") == {"value": 10}
    assert {"five0", "five1"} <= set(worktree.run("dvc", "exp", "list", "--name-only").split())
