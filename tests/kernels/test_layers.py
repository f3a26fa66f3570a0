"""Networks that compute with codes: same outputs as decoded ones, and no float32 weights in memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from bitbook import Compressed, ScalarCode, VectorCode, networks
from bitbook.codes import fixed_bits
from bitbook.kernels import layers
from bitbook.kernels.layers import EightBitLinear, LookupLayer
from torch import nn
from torch.overrides import TorchFunctionMode

LENET = {"factory": "lenet5", "arguments": {}}


def coded(network, *, k=16, d=1, batch_norm="folded", specification=None, without=()):
    """A file of random codes for every weight of linear layers and convolutions."""
    rng, codes = np.random.default_rng(0), {}
    state = {name: value.detach().numpy() for name, value in network.state_dict().items() if name not in without}
    for name, value in state.items():
        if value.ndim > 1:
            width = value[0].size
            own = d if width % d == 0 else 1
            if own > 1:
                codes[name] = VectorCode(rng.integers(0, k, (len(value), width // own)), "vectors", value.shape)
            else:
                codes[name] = ScalarCode(rng.integers(0, k, value.shape), "values")
    books = {"values": (rng.normal(size=k) / 20).astype(np.float16)}
    books["vectors"] = (rng.normal(size=(k, d)) / 20).astype(np.float16)
    specification = specification or networks.specification_of(network)
    return Compressed.from_state(
        state, codes=codes, codebooks=books, specification=specification, batch_norm=batch_norm
    )


def same(compressed, x, **options):
    into = options.pop("into", lambda: None)
    dense, lookup = compressed.to_module(into=into()), compressed.to_module(into=into(), kernel="lookup")
    with torch.no_grad():
        torch.testing.assert_close(lookup(x), dense(x), rtol=1e-4, atol=1e-5)
    return lookup


@pytest.mark.parametrize(("k", "d"), [(16, 1), (256, 8)])
def test_lenet_gives_the_same(k, d):
    lookup = same(coded(networks.build(LENET, seed=0), k=k, d=d), torch.rand(2, 1, 28, 28))
    assert sum(isinstance(module, LookupLayer) for module in lookup.modules()) == 4


def test_lenet_with_8_bit_activations_in_its_linear_layers():
    compressed = coded(networks.build(LENET, seed=0))
    exact, rounded = compressed.to_module(kernel="lookup"), compressed.to_module(kernel="lookup8")
    assert isinstance(rounded.conv1, LookupLayer) and isinstance(rounded.fc1, EightBitLinear)
    assert "8-bit activations" in repr(rounded.fc1)
    x = torch.rand(3, compressed.codes["fc1.weight"].shape[1])
    step = x.abs().amax(1, keepdim=True) / 127
    book = torch.from_numpy(compressed.codebooks["values"].astype(np.float32))
    whole = torch.round(book / book.abs().max() * 127).double()
    indices = torch.from_numpy(compressed.codes["fc1.weight"].indices.astype(int))
    expected = torch.round(x / step).double() @ whole[indices].T * (step * book.abs().max() / 127) + rounded.fc1.bias
    torch.testing.assert_close(rounded.fc1(x), expected.float(), rtol=1e-5, atol=1e-6)
    images = torch.rand(2, 1, 28, 28)
    assert (rounded(images) - exact(images)).norm() < 0.05 * exact(images).norm()


def test_networks_with_batch_norms_and_buffers_give_the_same(monkeypatch):
    specification = {"factory": "digits_cnn", "arguments": {"classes": 10}}
    compressed = coded(networks.build(specification, seed=0), batch_norm="whole")
    same(compressed, torch.rand(3, 1, 8, 8))
    monkeypatch.setattr(layers, "MOST_ROWS", 0)
    monkeypatch.setattr(layers, "MOST_POSITIONS", 0)  # all by torch's matrix product, from decoded panels
    same(compressed, torch.rand(3, 1, 8, 8))


def test_paddings_groups_and_layers_of_one_s_own():
    def mine():
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, padding="same", padding_mode="reflect"),
            nn.Conv2d(8, 16, (3, 2), stride=2, padding=(1, 2), dilation=(1, 2), bias=False),
            nn.Conv2d(16, 16, 3, groups=4),
            nn.Flatten(1),
            nn.Linear(96, 8),
        )

    compressed = coded(mine(), specification={"class": "mine"})
    lookup = same(compressed, torch.rand(2, 4, 9, 5), into=mine)
    torch.testing.assert_close(lookup[1].weight, torch.from_numpy(compressed.decode()["1.weight"]), rtol=0, atol=0)
    assert type(coded(nn.Linear(6, 4)).to_module(into=nn.Linear(6, 4), kernel="lookup")) is LookupLayer


def test_other_layers_are_decoded_and_shared_weights_kept_once():
    def mine():
        first, second = nn.Linear(8, 8), nn.Linear(8, 8)
        second.weight = first.weight
        return nn.Sequential(nn.Embedding(5, 8), first, second)

    compressed = coded(mine(), specification={"class": "mine"}, without=["2.weight"])
    lookup = same(compressed, torch.arange(5), into=mine)
    assert lookup[1].lookup is lookup[2].lookup and type(lookup[0]) is nn.Embedding


class Largest(TorchFunctionMode):
    """The most numbers in one tensor with memory that any function of torch gives back."""

    numbers = 0

    def __torch_function__(self, function, kinds, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_no_float32_weights_are_ever_made_and_codes_take_their_own_bytes():
    compressed = coded(networks.build(LENET, seed=0))
    images = torch.rand(1, 1, 28, 28)
    compressed.to_module(kernel="lookup")(images)  # kernels are compiled
    largest = max(code.shape[0] * int(np.prod(code.shape[1:])) for code in compressed.codes.values())  # 400,000
    tracemalloc.start()
    try:
        with Largest() as seen:
            lookup = compressed.to_module(kernel="lookup")
            built = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            lookup(images)
        during = tracemalloc.get_traced_memory()[1] - built
    finally:
        tracemalloc.stop()
    assert seen.numbers < largest / 4 and during < 4 * largest / 4  # NumPy's arrays are traced too
    resident = sum(module.lookup.nbytes for module in lookup.modules() if isinstance(module, LookupLayer))
    indices = sum(code.indices.size for code in compressed.codes.values())
    assert resident < 1.1 * (indices * fixed_bits(16) / 8 + compressed.codebooks["values"].nbytes)


def test_refusals():
    compressed = coded(networks.build(LENET, seed=0))
    with pytest.raises(ValueError, match="kernel must be 'dense', 'lookup' or 'lookup8', not 'fast'"):
        compressed.to_module(kernel="fast")
    with pytest.raises(ValueError, match=r"differ in .*weight"):
        compressed.to_module(into=nn.Linear(3, 3), kernel="lookup")
