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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--board", "zx81"], "unknown board 'zx81'; known: xc7z020"),
        (["--board", "zu3eg", "--image", "3x28"], "--image 3x28: give channels, height and width"),
        (["--board", "zu3eg", "--image", "3x32x32"], "the network takes no images of 3x32x32"),
    ],
)
def test_what_cannot_be_is_one_line(more, said, capsys):
    assert main(["fpga", str(FILE), *more]) == 2
    assert capsys.readouterr().err.startswith(f"bitbook: {said}")


def test_layers_that_gain_nothing_are_named(capsys):
    """LeNet-5 by self-compression has no codebook, that of ADMM has codes for its biases too."""
    for file, gains in (("mnist-042f550e26db", 0), ("mnist-relu-crop2-caf7dafe63d5", 4)):
        assert main(["fpga", str(FILE.with_stem(file)), "--board", "xc7z020"]) == 0
        printed = capsys.readouterr().out
        assert f"fewer multiplications in {gains} of 4 layers" in printed
        assert ("or are none: conv1.weight, conv2.weight, fc1.weight, fc2.weight" in printed) == (gains == 0)
