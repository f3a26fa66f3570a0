"""Names in params.yaml that would reach other folders or a shell; the oracle is that what lies there survives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bitbook.cli import main
from bitbook.pipeline.params import check_name, read_params

KINDS = ("tasks", "notebooks", "nets", "runs")
HOSTILE = [
    *(
        "../../precious",
        "../../../precious",
        "/precious",
        "a/../../../precious",
        "..",
        "../..",
        ".",
        "a/b",
        "../nets/x",
    ),
    *("x; touch pwned; #", "$(touch pwned)", "`touch pwned`", "x' ; touch pwned ; '", 'x" ; touch pwned ; "'),
    *("x\ntouch pwned\n", "x\n", "x|y", "*", "-rf", "~", "", "v1.5", "x" * 101, "é", "a b", "${runs}"),
]


def params(kind: str, name: str) -> str:
    """Return params with one more name of a kind."""
    name = json.dumps(name)
    lines = {
        "tasks": "tasks: []",
        "notebooks": "notebooks: [01_networks, 02_twice]",
        "nets": "nets: {tiny-s0: {task: tiny, epochs: 1}}",
        "runs": "runs: {tiny-a: {notebook: 02_twice, net: tiny-s0}}",
    }
    more = {
        "tasks": f"tasks: [{name}]",
        "notebooks": f"notebooks: [01_networks, 02_twice, {name}]",
        "nets": f"nets: {{tiny-s0: {{task: tiny, epochs: 1}}, {name}: {{task: tiny, epochs: 1}}}}",
        "runs": f"runs: {{{name}: {{notebook: 02_twice, net: tiny-s0}}}}",
    }
    return "\n".join((lines | {kind: more[kind]}).values())


@pytest.fixture
def project(tmp_path, new_project, monkeypatch):
    """A tiny project in a folder that also holds other things."""
    project = new_project(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory, new_project):
    """A project after `dvc repro`."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project")
    (project.folder / "params.yaml").write_text(params("runs", "tiny-a"))
    project.repro()
    return project


def precious(project) -> list[Path]:
    """Lay out what must survive, beside the project and inside it; return the files."""
    files = [project.folder / "notebooks/01_networks.ipynb"]
    for place in (project.folder.parent, project.folder):
        (place / "precious").mkdir()
        files += [place / "precious" / "inside"]
        files += [place / f"precious{ending}" for ending in (".json", ".ipynb", ".code.json")]
    for file in files[1:]:
        file.write_text("precious")
    return files


def assert_survived(project, files: list[Path]) -> None:
    assert [path for path in files if not path.exists()] == []
    assert not list(project.folder.parent.rglob("pwned"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_letters_digits_and_dashes(kind, tmp_path):
    path = tmp_path / "params.yaml"
    for name in HOSTILE:
        path.write_text(params(kind, name))
        with pytest.raises(ValueError, match=f"params.yaml: {kind}: .* letters, digits, - and _"):
            read_params(path)
    for name in ("a", "01_networks", "x" * 100, "cifar10-wrn16-4"):
        assert check_name(name, "net") == name
    path.write_text(params(kind, "fine-2"))
    assert "tiny-s0" in read_params(path)["nets"]


@pytest.mark.parametrize("value", ["task", "net", "notebook"])
def test_what_an_entry_names_keeps_the_rule(value, tmp_path):
    path = tmp_path / "params.yaml"
    entries = {
        "task": "nets: {a: {task: ../x}}",
        "net": "runs: {a: {net: ../x}}",
        "notebook": "runs: {a: {notebook: /x}}",
    }
    path.write_text(entries[value])
    with pytest.raises(ValueError, match=rf"params.yaml: \w+: a: {value}: '[./]*x': a name is"):
        read_params(path)


def test_a_key_names_a_net_or_a_run_not_both(tmp_path):
    (tmp_path / "params.yaml").write_text("nets: {a: {}, b: {}}\nruns: {b: {}}\n")
    with pytest.raises(ValueError, match="b names both a net and a run"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("stage", ["clean", "data", "net", "run", "collect", "report"])
def test_every_stage_looks_at_all_names_first(stage, project, capsys):
    files = precious(project)
    before = sorted(project.folder.rglob("*"))
    given = [] if stage in ("collect", "report") else ["tiny-a"]
    for kind in KINDS:
        (project.folder / "params.yaml").write_text(params(kind, str(project.folder.parent / "precious")))
        assert main(["stage", stage, *given]) == 2
        assert f"bitbook: params.yaml: {kind}: " in capsys.readouterr().err
    (project.folder / "params.yaml").write_text(params("runs", "fine"))
    for name in HOSTILE if given else ():
        if not name.startswith("-"):  # argparse refuses that one
            assert main(["stage", stage, name]) == 2
            assert "letters, digits, - and _" in capsys.readouterr().err
    assert sorted(project.folder.rglob("*")) == before
    assert_survived(project, files)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("runs", name) for name in ("../../precious", "../../../precious", "/precious", "x; touch pwned; #")),
        *(("runs", name) for name in ("$(touch pwned)", "`touch pwned`", "x' ; touch pwned ; '")),
        *((kind, "../../precious") for kind in ("tasks", "notebooks", "nets")),
        ("notebooks", "$(touch pwned)"),
    ],
)
def test_dvc_neither_deletes_nor_runs_what_a_name_says(kind, name, finished, tmp_path, monkeypatch):
    project = type(finished)(tmp_path / "project")
    shutil.copytree(finished.folder, project.folder, symlinks=True)  # all else is up to date: this name's stage is next
    monkeypatch.chdir(project.folder)
    files = precious(project)
    name = str(tmp_path / "precious") if name == "/precious" else name
    (project.folder / "params.yaml").write_text(params(kind, name))
    project.run("dvc", "repro", fails=True)
    assert_survived(project, files)


def test_a_hostile_name_in_full_is_refused(project):
    files = precious(project)
    (project.folder / "full").mkdir()
    (project.folder / "full/dvc.yaml").write_bytes((Path(__file__).parents[2] / "full/dvc.yaml").read_bytes())
    for kind, name in (("runs", "../../../precious"), ("tasks", "../../../precious"), ("nets", "`touch pwned`")):
        (project.folder / "full/params.yaml").write_text(params(kind, name))
        project.run("dvc", "repro", "full/dvc.yaml", fails=True)
        assert_survived(project, files)
