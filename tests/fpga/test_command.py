"""The command prints what the model says, of a published file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bitbook import fpga, load
from bitbook.cli import main

FILE = Path(__file__).parents[2] / "published" / "files" / "mnist-2263fa993fbb.bitbook"
POSITIONS = {"conv1.weight": (576, 1), "conv2.weight": (64, 1), "fc1.weight": (1, 1), "fc2.weight": (1, 1)}


def test_json_and_table_are_of_the_same_reports(capsys):
    assert main(["fpga", str(FILE), "--board", "zu3eg", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    layers = fpga.layers(load(FILE), POSITIONS)
    reports = fpga.searched(layers, fpga.board("zu3eg"))
    assert printed == {name: json.loads(json.dumps(report.as_json())) for name, report in reports.items()}
    table = fpga.text(reports)
    assert all(name in table for name in (*reports, *POSITIONS))


@pytest.mark.parametrize("more", [["--board", "zx81"], ["--board", "zu3eg", "--image", "3x28"]])
def test_what_cannot_be_is_one_line(more, capsys):
    assert main(["fpga", str(FILE), *more]) == 2
    assert capsys.readouterr().err.startswith("bitbook: ")
