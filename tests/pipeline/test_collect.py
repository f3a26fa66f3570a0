from __future__ import annotations

import json

import pytest
from bitbook.pipeline import _stages as stages
from bitbook.pipeline._collect import COLUMNS, aggregate
from bitbook.pipeline._layout import Results
from bitbook.pipeline._tables import read

ABOUT = {"test_reads": 2, "seconds": 10.0}
ROW = {
    "task": "t",
    "method": "m",
    "variant": "v",
    "metric": "top1",
    "float_value": 0.9,
    "value": 0.8,
    "file_bytes": 100,
    "ratio": 4.00001,
    "paper_ratio": None,
    "paper_counting": "",
    "epochs": 0,
    "file": "a.bitbook",
}


def add_run(results: Results, key: str, *rows: dict, front: str | None = None) -> None:
    """Write what a finished run leaves behind."""
    folder = results.output("run", key)
    folder.mkdir(parents=True)
    (folder / "rows.json").write_text(json.dumps(list(rows)))
    if front:
        (folder / "front.csv").write_text(front)


def test_seeds_of_a_run_become_one_row_with_mean_spread_and_count():
    rows = [
        {**ROW, **ABOUT, "key": f"x-s{seed}", "value": value, "float_value": 0.9 + seed / 100, "file_bytes": 100 + seed}
        for seed, value in ((10, 0.5), (0, 0.7), (2, 0.9))
    ]
    (row,) = aggregate(rows)
    assert row["seeds"] == 3
    assert row["value_mean"] == pytest.approx(0.7)
    assert row["value_std"] == pytest.approx(0.2)
    assert row["float_value"] == pytest.approx(0.94)
    assert (row["key"], row["file_bytes"]) == ("x-s0", 100)  # the first seed's file, whichever came first
    assert (row["seconds"], row["test_reads"]) == (30, 6)


def test_one_seed_has_no_spread_and_variants_stay_apart():
    rows = aggregate([{**ROW, **ABOUT, "key": "x"}, {**ROW, **ABOUT, "key": "x", "variant": "another"}])
    assert [(row["variant"], row["seeds"], row["value_std"]) for row in rows] == [("another", 1, None), ("v", 1, None)]


def test_two_runs_that_claim_one_row_are_an_error():
    with pytest.raises(ValueError, match="x-s0, y each claim the row t, m, v: name their variants apart"):
        aggregate([{**ROW, **ABOUT, "key": "x-s0"}, {**ROW, **ABOUT, "key": "y"}])


def test_the_stage_gathers_the_runs_of_the_params_file_and_no_others(project):
    results = Results.of(project.folder / "params.yaml")
    add_run(
        results,
        "tiny-a",
        {**ROW, "variant": "a"},
        front="variant,file_bytes,ratio,top1\na,100,4,0.8\nb,,,0.9\nc,7,5,\n",
    )
    add_run(results, "tiny-b", {**ROW, "variant": "b"})
    add_run(results, "gone", {**ROW, "variant": "gone"}, front="variant,file_bytes,top1\na,1,0.5\n")
    stages.collect(project.folder / "params.yaml")
    rows = read(project.folder / "results/table.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["variant"] for row in rows] == ["a", "b"]
    assert rows[0] | {"variant": ""} == {
        "task": "t",
        "method": "m",
        "variant": "",
        "seeds": "1",
        "metric": "top1",
        "float_value": "0.9",
        "value_mean": "0.8",
        "value_std": "",
        "file_bytes": "100",
        "ratio": "4.0",
        "paper_ratio": "",
        "paper_counting": "",
        "epochs": "0",
        "file": "runs/tiny-a/a.bitbook",
    }
    assert [path.name for path in (project.folder / "results/fronts").iterdir()] == ["tiny-a.csv"]
    assert (project.folder / "results/fronts/tiny-a.csv").read_text() == "variant,file_bytes,value\na,100,0.8\n"
