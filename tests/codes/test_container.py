"""The file gives back what was put in, to the last bit, and its ledger counts every byte."""

import os

import bitbook
import numpy as np
import pytest
from bitbook.codes.entropy import entropy_bits

SPECIFICATION = {"factory": "digits_cnn", "arguments": {"classes": 10}}


def small_network(seed: int = 0, **changes) -> bitbook.Compressed:
    """Two layers with one shared codebook and a folded batch norm."""
    rng = np.random.default_rng(seed)
    state = {
        "conv1.weight": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "bn1.weight": rng.uniform(0.5, 1, 8).astype(np.float32),
        "bn1.bias": rng.normal(size=8).astype(np.float32),
        "bn1.running_mean": rng.normal(size=8).astype(np.float32),
        "bn1.running_var": rng.uniform(0.5, 1, 8).astype(np.float32),
        "bn1.num_batches_tracked": np.array(3),
        "linear.weight": rng.normal(size=(10, 8)).astype(np.float32),
        "linear.bias": rng.normal(size=10).astype(np.float32),
    }
    codebook = np.linspace(-3, 3, 13).astype(np.float16)
    codes = {
        name: bitbook.ScalarCode(np.abs(state[name][..., None] - codebook.astype(np.float32)).argmin(-1), "all")
        for name in ("conv1.weight", "linear.weight")
    }
    parts = {"codes": codes, "codebooks": {"all": codebook}, "specification": SPECIFICATION, **changes}
    return bitbook.Compressed.from_state(state, **parts)


def test_the_file_gives_back_the_same_weights(tmp_path):
    network = small_network()
    bitbook.save(network, tmp_path / "a.bitbook")
    loaded = bitbook.load(tmp_path / "a.bitbook")
    again, before = loaded.decode(), network.decode()
    assert again.keys() == before.keys()
    assert all(np.array_equal(again[name], before[name]) for name in before)
    assert loaded.to_bytes() == network.to_bytes()
    assert network.ledger().total == os.stat(tmp_path / "a.bitbook").st_size


def test_folded_batch_norm_computes_what_the_original_did():
    network = small_network(dtype=np.float32)
    whole = small_network(dtype=np.float32, batch_norm="whole").decode()
    folded = network.decode()
    x = np.linspace(-2, 2, 8)

    def batch_norm(state):
        weight, bias, mean, var = (
            state[f"bn1.{entry}"].astype(np.float64) for entry in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    np.testing.assert_allclose(batch_norm(folded), batch_norm(whole), rtol=1e-5)


def test_entropy_of_a_fair_coin_is_one_bit():
    assert entropy_bits(np.array([5, 0, 5])) == 10


def test_an_index_outside_its_codebook_is_refused():
    with pytest.raises(ValueError, match=r"conv1.weight: index 13 is outside 'all', which has 13 values"):
        small_network(
            codes={
                "conv1.weight": bitbook.ScalarCode(np.full((8, 3, 3, 3), 13), "all"),
                "linear.weight": bitbook.ScalarCode(np.zeros((10, 8), int), "all"),
            }
        )
