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
        "ours": {"DP-Net"},
        "measured": {"baseline", "uniform grid, trained", "NNCodec"},
        "quoted": {"EC2T"},
    }


def test_needs_are_interpolated_and_the_words_follow_them(found):
    needs = comparison.least_bytes(found, [0.07, 0.005, 0.001])
    assert list(needs.columns) == ["7 points", "0.5 points", "0.1 points"]
    assert needs.loc["one grid step", "7 points"][0] == pytest.approx(200)  # half way in the logarithm of the bytes
    assert needs.loc["DP-Net: DPQ", "0.5 points"] is None and "EC2T" not in needs.index
    said = comparison.in_sentences(needs)
    assert "uniform grid, trained needs least, ≤ 200 bytes" in said[0] or "one grid step needs least" in said[0]
    assert "uniform grid, trained needs least, 200 bytes; 4 of 5 do not reach it." in said[1]
    assert said[2] == "0.1 points below the float network: no file reaches it."


def test_the_loss_is_to_each_family_s_own_float_network(found):
    other = found.assign(float_value=found.float_value.where(found.method != "DP-Net", 0.915))
    assert comparison.least_bytes(other, [0.005]).loc["DP-Net: DPQ"].iloc[0][0] == pytest.approx(300)


def test_epochs_stand_under_the_same_titles(found):
    epochs = comparison.epochs(found)
    assert epochs["DP-Net: combined, long"] == "74" and epochs["one grid step"] == "0"
    assert set(comparison.least_bytes(found).index) <= set(epochs.index)


def test_steps_are_taken_from_fronts_and_families_and_those_without_a_row_are_gaps(tmp_path, found, monkeypatch):
    (tmp_path / "fronts").mkdir()
    columns = ["variant", "top1", "fixed_bytes", "huffman_bytes", "file_bytes"]
    rows = [["baseline", 0.9, 0, 0, 250], ["bins, plain", 0.9, 900, 800, 700]]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "fronts/cifar10-moea.csv")
    asked = comparison.Attribution("cifar10", 0.02, ("moea", "bins, plain"), {"+ DPQ": "DPQ", "+ DPR": "DPR"})
    monkeypatch.setattr(comparison, "ATTRIBUTION", {"m": asked})
    sizes, baseline, gaps = comparison.attribution(tmp_path, "m")
    assert [round(size) for size in sizes.values()] == [900, 800, 700, 300] and baseline == pytest.approx(250)
    assert gaps == ["DPR"]


def test_networks_with_one_method_are_listed_apart(tmp_path):
    row = {
        "task": "cifar10",
        "method": "dpnet",
        "variant": "none, k=2",
        "metric": "top1",
        "value_mean": 0.9,
        "epochs": 0,
    }
    row |= {"value_std": None, "file_bytes": 1234, "float_value": 0.92, "ratio": 2, "paper_ratio": None}
    rows = [row, row | {"method": "baseline"}, row | {"task": "cifar10-wrn16-4"}, row | {"task": "digits"}]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "claims.csv").write_text(CLAIMS)
    assert comparison.tasks(tmp_path) == ["cifar10"]
    table = comparison.alone(tmp_path, ["cifar10"])
    assert list(table.index) == [("Wide ResNet-16-4 on CIFAR-10", "DP-Net", "untrained, k=2")]
    assert table.iloc[0].to_dict() == {"float": "92.00%", "top-1": "90.00%", "bytes": "1,234", "ratio": "2.00"}


def test_every_kind_is_drawn_with_its_mark(found):
    axis = figures.comparison(found)
    labels = axis.get_legend_handles_labels()[1]
    assert set(labels) == {
        *("DP-Net", "NNCodec (measured)", "EC2T (quoted)", "baseline: one grid step"),
        *("uniform grid, trained (measured)", "float network"),
    }
