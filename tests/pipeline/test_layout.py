from __future__ import annotations

from pathlib import Path

import pytest
from bitbook import pipeline
from bitbook.cli import main
from bitbook.pipeline import root
from bitbook.pipeline._layout import Results


def test_root_is_found_from_any_folder_of_the_project(project, monkeypatch):
    monkeypatch.chdir(project.folder / "notebooks")
    assert root() == project.folder


def test_elsewhere_root_is_the_checkout_that_is_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert root() == Path(__file__).parents[2]


def test_each_params_file_has_results_of_its_own(project):
    assert Results.of(Path("params.yaml")).network("a") == project.folder / "results/nets/a/network.safetensors"
    assert Results.of(Path("full/params.yaml")).metrics("a") == project.folder / "results/full/metrics/a.json"


@pytest.mark.parametrize("link", ["results", "results/runs", "results/runs/tiny"])
def test_outputs_are_removed_inside_the_results_only(tmp_path, link):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "runs" / "tiny").mkdir(parents=True)
    kept = [elsewhere / "kept", elsewhere / "runs" / "kept", elsewhere / "runs" / "tiny" / "old"]
    for file in kept:
        file.touch()
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(elsewhere / link.removeprefix("results").lstrip("/"))
    results = Results(tmp_path / "results")
    for folder in (elsewhere / "..", results.folder, results.output("run", ".."), results.output("run", "../../x")):
        with pytest.raises(ValueError, match=r"outside of .*: nothing is deleted there"):
            results.emptied(folder)
    if link == "results":  # results that lie on another disk are results
        assert results.emptied(results.output("run", "tiny")).is_dir()
        assert [file.exists() for file in kept] == [True, True, False]
    else:
        with pytest.raises(ValueError, match=r"outside of .*: nothing is deleted there"):
            results.emptied(results.output("run", "tiny"))
        assert all(file.exists() for file in kept)


def test_a_read_only_checkout_is_one_line(project, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # no mode of a folder stops root, who runs CI
    before = sorted(project.folder.rglob("*"))
    for command in (["stage", "clean", "01_networks"], ["stage", "net", "tiny-s0"], ["stage", "collect"], ["publish"]):
        assert main(command) == 2
        assert capsys.readouterr().err.endswith(
            "is read-only, and results are written there: copy it to a folder of your own\n"
        )
    with pytest.raises(PermissionError, match="is read-only"):
        pipeline.start("02_twice", {})
    assert sorted(project.folder.rglob("*")) == before
