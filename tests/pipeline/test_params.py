"""Names in params.yaml that would reach other folders or a shell; the oracle is that what lies there survives."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from bitbook.cli import main
from bitbook.pipeline._params import check_name, read_params
from dvc.utils.serialize import load_yaml

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
    """Return params with one more name of a kind; the others are those of the finished project."""
    name, network = json.dumps(name), "{task: tiny, seed: 0, epochs: 3}"
    lines = {
        "tasks": "tasks: []",
        "notebooks": "notebooks: [01_networks, 02_twice]",
        "nets": f"nets: {{tiny-s0: {network}}}",
        "runs": "runs: {tiny-a: {notebook: 02_twice, net: tiny-s0, k: 3}, "
        "tiny-b: {notebook: 02_twice, net: tiny-s0, k: 4, rate: 1}}",
    }
    more = {
        "tasks": f"tasks: [{name}]",
        "notebooks": f"notebooks: [01_networks, 02_twice, {name}]",
        "nets": f"nets: {{tiny-s0: {network}, {name}: {network}}}",
        "runs": f"runs: {{{name}: {{notebook: 02_twice, net: tiny-s0}}}}",
    }
    return "\n".join((lines | {kind: more[kind]}).values())


@pytest.fixture
def project(tmp_path, new_project, monkeypatch):
    """A tiny project in a folder that also holds other things."""
    project = new_project(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    """A copy of the finished project: all but what a test changes is up to date."""
    project = type(finished[0])(tmp_path / "project")
    shutil.copytree(finished[0].folder, project.folder, symlinks=True)
    monkeypatch.chdir(project.folder)
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
    entry = {"task": "t"} if value == "task" else {"net": "n", "notebook": "b"}
    path.write_text(json.dumps({"nets" if value == "task" else "runs": {"a": entry | {value: "../x"}}}))
    with pytest.raises(ValueError, match=rf"params.yaml: \w+: a: {value}: '[./]*x': a name is"):
        read_params(path)


def test_a_key_names_a_net_or_a_run_not_both(tmp_path):
    (tmp_path / "params.yaml").write_text("nets: {a: {task: t}, b: {task: t}}\nruns: {b: {net: a, notebook: n}}\n")
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
def test_dvc_neither_deletes_nor_runs_what_a_name_says(kind, name, copied, tmp_path):
    files = precious(copied)
    name = str(tmp_path / "precious") if name == "/precious" else name
    (copied.folder / "params.yaml").write_text(params(kind, name))
    copied.run("dvc", "repro", fails=True)
    assert_survived(copied, files)


def test_a_hostile_name_in_full_is_refused(project):
    files = precious(project)
    (project.folder / "full").mkdir()
    (project.folder / "full/dvc.yaml").write_bytes((Path(__file__).parents[2] / "full/dvc.yaml").read_bytes())
    for kind, name in (("runs", "../../../precious"), ("tasks", "../../../precious"), ("nets", "`touch pwned`")):
        (project.folder / "full/params.yaml").write_text(params(kind, name))
        project.run("dvc", "repro", "full/dvc.yaml", fails=True)
        assert_survived(project, files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds None: it has to name tasks, notebooks, nets and runs"),
        ("- a\n- b\n", r"holds \['a', 'b'\]: it has to name"),
        ("runs", "holds 'runs': it has to name"),
        ("runs: {a: {net: b, notebook: c, 3: 4}}", r"runs: a: 3 is no parameter's name: write a word"),
        ("runs: {a: {net: b, notebook: c}\nnets: {}", r", line \d: .*: mend the YAML there"),
        ("runs:\n  a: {net: b, notebook: c}\n  a: {net: b, notebook: c}\n", r", line 3: found duplicate key \"a\""),
        ("nets: {}\nruns: {}\nnets: {}\n", r", line 3: found duplicate key \"nets\""),
        ("runs: [a, b]", r"runs is \['a', 'b'\]: write runs: {name: {...}}"),
        ("tasks: digits", r"tasks is 'digits': write tasks: \[name, ...\]"),
        ("runs: {a: }", "runs: a is None: write a: {net: ..., notebook: ...}"),
        ("runs: {a: {k: 3}}", "runs: a has no net and no notebook: write a: {net: ..., notebook: ...}"),
        ("nets: {a: {seed: 0}}", "nets: a has no task: write a: {task: ...}"),
        ("nets: {2024: {task: t}}", "nets: 2024: a name is .* in quotes"),
        ("nets: {true: {task: t}}", "nets: True: a name is .* in quotes"),
        ("nets: {1.5: {task: t}}", "nets: 1.5: a name is .* in quotes"),
        ("nets: {v1.5: {task: t}}", "nets: 'v1.5': a name is"),
        ("nets: {a/b: {task: t}}", "nets: 'a/b': a name is"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_a_params_file_of_another_form_is_one_line_that_says_what_to_do(text, message, project, capsys):
    (project.folder / "params.yaml").write_text(text)
    assert main(["stage", "collect"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(f"^bitbook: params.yaml.*{message}", error)


def test_bytes_that_are_not_text_are_one_line(project, capsys):
    (project.folder / "params.yaml").write_bytes(b"nets: \xff")
    assert main(["stage", "collect"]) == 2
    assert "params.yaml: 'utf-8' codec can't decode byte 0xff" in capsys.readouterr().err


def test_dvc_and_the_notebook_read_the_same_values(tmp_path):
    scalars = "0x1F 12:30 2024-01-01 1. .5 +1 '1' "
    scalars += "010 0o10 1e-3 1e-05 1E5 5e-324 on off yes no y NO true null ~ .inf -.inf 1_000"
    values = ", ".join(f"p{number}: {scalar}" for number, scalar in enumerate(scalars.split()))
    path = tmp_path / "params.yaml"
    path.write_text(
        f"runs: {{no: {{net: on, notebook: yes, {values}}}, '2024': &a {{net: a, notebook: b}}, b: {{<<: *a, k: 1}}}}"
    )
    runs = read_params(path)["runs"]
    assert [(type(v), v) for v in runs["no"].values()] == [(type(v), v) for v in load_yaml(path)["runs"]["no"].values()]
    assert runs.keys() == {"no", "2024", "b"}
    assert runs["no"] | {"p7": 10, "p9": 1e-3, "p10": 1e-5, "p13": "on", "p22": math.inf} == runs["no"]
    assert runs["b"] == {"net": "a", "notebook": "b", "k": 1}


def test_a_key_that_other_readers_take_for_a_number_or_no_has_results(copied):
    text = "tasks: []\nnotebooks: [01_networks, 02_twice]\nnets: {tiny-s0: {task: tiny, seed: 0, epochs: 3}}\n"
    entry = "{notebook: 02_twice, net: tiny-s0, k: 010, rate: 1e-3}"
    endless = entry.replace("1e-3", ".inf")
    (copied.folder / "params.yaml").write_text(f"{text}runs: {{no: {entry}, '2024': {endless}}}\n")
    copied.repro()
    for key, rate in (("no", 1e-3), ("2024", math.inf)):
        assert copied.json(f"results/provenance/{key}.json")["parameters"] == {"net": "tiny-s0", "k": 10, "rate": rate}
        assert (copied.folder / f"results/report/{key}.html").exists()
    lock = load_yaml(copied.folder / "dvc.lock")
    assert lock["stages"]["run@no"]["params"]["params.yaml"]["runs.no"]["k"] == 10


def test_a_wrong_parameter_of_a_run_is_said_before_its_network_is_trained(project, capsys):
    path = project.folder / "params.yaml"
    for wrong, message in (("k: 6.5", r"tiny-b: parameter k is 6\.5"), ("x: 1", "tiny-b: unknown parameter x")):
        text = params("runs", "tiny-a")
        path.write_text(text.replace("runs: {", f"runs: {{tiny-b: {{notebook: 02_twice, net: tiny-s0, {wrong}}}, "))
        assert main(["stage", "net", "tiny-s0"]) == 2
        assert re.search(f"params.yaml: runs: {message}", capsys.readouterr().err)
    assert not (project.folder / "epochs.txt").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("net: tiny-s0, k: 4", "net: tiny-s1, k: 4", "runs: tiny-b: there is no net 'tiny-s1', only tiny-s0"),
        ("02_twice, net: tiny-s0, k: 3", "03_no, net: tiny-s0", "a: there is no notebook '03_no', only 01_net.*, 02_t"),
        ("02_twice]", "03_no]", "notebooks: there is no file of a notebook '03_no', only 01_networks, 02_twice"),
        ("notebooks: [01_networks, ", "notebooks: [", "notebooks: there is no notebook '01_networks', only 02_twice"),
        ("task: tiny", "task: small", "nets: tiny-s0: there is no task 'small', only tiny"),
    ],
)
def test_what_is_named_and_not_there_is_said_by_every_stage(old, new, message, project, capsys):
    path = project.folder / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    for stage in (["clean", "01_networks"], ["data", "tiny"], ["net", "tiny-s0"], ["run", "tiny-a"], ["collect"]):
        assert main(["stage", *stage]) == 2
        assert re.search(f"^bitbook: params.yaml: .*{message}", capsys.readouterr().err)


def test_a_missing_net_is_said_before_others_are_trained(project):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("net: tiny-s0, k: 4", "net: tiny-s1, k: 4"))
    assert "params.yaml: runs: tiny-b: there is no net 'tiny-s1'" in project.run("dvc", "repro", fails=True)
    assert not (project.folder / "epochs.txt").exists()


def test_a_task_that_nobody_knows_is_said_before_a_network_is_trained(project, capsys):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("tasks: []", "tasks: [digitz]"))
    assert main(["stage", "net", "tiny-s0"]) == 2
    assert "unknown task 'digitz'; known: digits, " in capsys.readouterr().err


BOMB = "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True))


@pytest.mark.parametrize("text", ["runs: " + "[" * 3000, "runs: " + "9" * 5000, f"a: &a [x]\n{BOMB}\nruns: *j"])
def test_hostile_yaml_is_refused_in_a_line(text, tmp_path):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        read_params(tmp_path / "params.yaml")
    assert len(str(caught.value).replace(str(tmp_path), "")) < 500
