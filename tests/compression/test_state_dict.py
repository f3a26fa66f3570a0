"""Files of weights without a network: compressed, exported, loaded into the network that they belong to."""

from __future__ import annotations

import bitbook
import pytest
import torch
from bitbook import cli
from bitbook.compression import compress_state_dict
from safetensors.torch import load_file, save_file
from torch import nn


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24, eps=1e-3), nn.Flatten(), nn.Linear(96, 20)).eval()


@pytest.mark.parametrize("kind", ["safetensors", "pt", "checkpoint"])
def test_compress_and_export_give_weights_that_the_network_takes(kind, tmp_path, capsys):
    torch.manual_seed(0)
    trained, fresh = network(), network()
    trained[1].running_var.uniform_(1e-5, 2)
    path = tmp_path / ("model.safetensors" if kind == "safetensors" else "model.pt")
    state = trained.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        wrapped = {f"module.{name}": value for name, value in state.items()}
        torch.save({"state_dict": wrapped, "epoch": 3} if kind == "checkpoint" else wrapped, path)
    file, plain = tmp_path / "model.bitbook", tmp_path / "back.safetensors"
    assert cli.main(["compress", str(path), "-o", str(file), "--ratio", "4", "--exclude", "0.*"]) == 0
    assert "0.weight" in capsys.readouterr().out
    compressed = bitbook.load(file)
    assert compressed.ratio >= 4 and compressed.codes.keys() == {"3.weight"}
    assert cli.main(["export", str(file), "-o", str(plain)]) == 0
    exported = load_file(plain)
    filled = compressed.to_module(into=fresh)
    for name, value in exported.items():
        torch.testing.assert_close(filled.state_dict()[name], value, rtol=0, atol=0)
    assert exported.keys() == {name for name in state if not name.endswith("num_batches_tracked")}
    x = torch.rand(6, 3, 4, 4)
    with torch.no_grad():
        ours, expected = filled(x), trained(x)
    assert (ours - expected).norm() < 0.2 * expected.norm()
    torch.testing.assert_close(exported["1.running_var"], state["1.running_var"], rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rubbish", "no file of weights"),
        ({"epoch": 3}, "no tensor"),
        ([1, 2], "no state dict"),
        (nn.ReLU(), "weights"),
    ],
)
def test_what_is_no_state_dict_is_refused(content, message, tmp_path, capsys):
    path = tmp_path / "model.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    assert cli.main(["compress", str(path), "-o", str(tmp_path / "model.bitbook"), "--k", "4"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and str(path) in error
    assert not (tmp_path / "model.bitbook").exists()


def test_tied_weights_count_once_and_wrappers_come_off_in_any_order():
    weight, other = torch.randn(10, 8), torch.randn(4, 8)
    state = {"module._orig_mod.module.in.weight": weight, "module._orig_mod.module.out.weight": weight}
    file = compress_state_dict(
        {**state, "module._orig_mod.module.head.weight": other, "n_averaged": torch.tensor(3)}, k=4
    )
    assert file.original_parameters == 10 * 8 + 4 * 8
    assert file.codes.keys() == {"in.weight", "head.weight"} and not file.dense
