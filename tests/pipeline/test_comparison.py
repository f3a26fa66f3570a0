"""All methods side by side: families, needs and words come from the tables alone, by hand-computed cases."""

import pandas as pd
import pytest
from bitbook.pipeline import comparison
from bitbook.report import figures

TABLE = """task,method,variant,metric,value_mean,value_std,file_bytes,epochs,float_value
cifar10,baseline,"baseline, 8x",top1,0.90,,400,0,0.92
cifar10,baseline,"baseline, 16x",top1,0.80,,100,0,0.92
cifar10,dpnet,"DPQ, k=4, short",top1,0.91,0.01,300,1,0.92
cifar10,dpnet,"uniform, k=4, short",top1,0.915,,200,2,0.92
cifar10,dpnet,"combined, 40x, 74 epochs, GPU",top1,0.70,,50,74,0.92
digits,dpnet,"DPQ, k=4",top1,0.99,,50,1,0.99
"""
CLAIMS = """id,kind,method,task,claim,metric,paper_value,paper_bytes
a,peer,float,cifar10,x,top1,0.92,1000
b,peer,NNCodec,cifar10,x,top1,0.905,350
c,rival,EC2T,cifar10,x,top1,0.91,40
d,rival,no bytes,cifar10,x,top1,0.91,
"""


@pytest.fixture
def found(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "claims.csv").write_text(CLAIMS)
    return comparison.points(tmp_path, "cifar10")


def test_variants_are_put_into_families():
    assert comparison.family("moea_bins", "bins, compensated, 12x") == "bins, GPTQ rounding"
    assert comparison.family("dpnet", "DPQ + shared values, k=16, short") == "DPQ + centroids trained"
    assert comparison.family("dpnet", "combined, 40x, 74 epochs, GPU") == "combined, long"
    assert comparison.family("self_compression", "entropy, gamma 0.3") == "entropy"
    assert comparison.family("admm", "pruned, 1,500 weights") == "pruned"
    assert comparison.family("dpnet", "k-means, k=2") == "k-means codebooks, trained"


def test_points_tell_ours_measured_and_quoted_apart(found):
    assert found.groupby("kind").method.unique().map(set).to_dict() == {
        "ours": {"dpnet"},
        "measured": {"baseline", "uniform grid, trained", "NNCodec"},
        "quoted": {"EC2T"},
    }


def test_needs_are_interpolated_and_the_words_follow_them(found):
    needs = comparison.least_bytes(found, [0.07, 0.005, 0.001])
    assert list(needs.columns) == ["7 points", "0.5 points", "0.1 points"]
    assert needs.loc["one grid step", "7 points"][0] == pytest.approx(200)  # half way in the logarithm of the bytes
    assert needs.loc["dpnet: DPQ", "0.5 points"] is None and "EC2T" not in needs.index
    said = comparison.in_sentences("cifar10", needs)
    assert "uniform grid, trained needs least, at most 200 bytes" in said[0] or "one grid step needs least" in said[0]
    assert "uniform grid, trained needs least, 200 bytes; 4 of 5 do not get there." in said[1]
    assert said[2] == "ResNet-20 on CIFAR-10, 0.1 points below the float network: nothing gets there."


def test_epochs_stand_under_the_same_titles(found):
    epochs = comparison.epochs(found)
    assert epochs["dpnet: combined, long"] == "74" and epochs["one grid step"] == "0"
    assert set(comparison.least_bytes(found).index) <= set(epochs.index)


def test_steps_without_a_row_are_gaps(tmp_path, found, monkeypatch):
    monkeypatch.setattr(comparison, "ATTRIBUTION", {"m": ("cifar10", ("one grid step", "DPQ", "DPR"))})
    sizes, gaps = comparison.attribution(tmp_path, "m", loss=0.02)
    assert sizes == {"one grid step": pytest.approx(400), "DPQ": 300}
    assert gaps == ["DPR: not run"]


def test_coders_are_compared_on_one_front(tmp_path):
    (tmp_path / "fronts").mkdir()
    columns = ["variant", "top1", "fixed_bytes", "huffman_bytes", "entropy_bytes", "file_bytes"]
    rows = [["a", 0.8, 400, 200, 100, 150], ["a", 0.9, 800, 400, 300, 350], ["b", 0.9, 1, 1, 1, 1]]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "fronts/r.csv")
    sizes = comparison.coder_steps(tmp_path, "r", "a", 0.02, 0.92)
    assert [round(size) for size in sizes.values()] == [800, 400, 300, 350]


def test_every_kind_is_drawn_with_its_mark(found):
    axis = figures.comparison(found)
    labels = axis.get_legend_handles_labels()[1]
    assert set(labels) == {
        *("dpnet", "NNCodec, measured", "EC2T, quoted", "baseline: one grid step"),
        *("uniform grid, trained, measured", "float network"),
    }
