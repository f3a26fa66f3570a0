"""A file becomes a module that computes what the decoded weights say."""

import copy
import dataclasses

import bitbook
import numpy as np
import pytest
import torch
from bitbook import Compressed, ScalarCode, networks

NORMAL = {"mean": [0], "std": [1]}
SPECIFICATION = {"factory": "digits_cnn", "arguments": {"classes": 10}}


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    built = networks.build(SPECIFICATION)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return built.eval()


def compress(network: torch.nn.Module, **options) -> tuple[Compressed, dict[str, torch.Tensor]]:
    """Code every weight tensor on a fine grid; return also the state with the values of the grid."""
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    book, codes = np.linspace(-2, 2, 1025).astype(np.float16), {}
    for name in [name for name, value in state.items() if value.ndim > 1]:
        codes[name] = ScalarCode(np.clip(np.rint((state[name] + 2) * 256), 0, 1024).astype(int), "grid")
        state[name] = codes[name].decode({"grid": book})
    compressed = Compressed.from_state(
        state, codes=codes, codebooks={"grid": book}, specification=SPECIFICATION, dtype=np.float32, **options
    )
    return compressed, {name: torch.as_tensor(value) for name, value in state.items()}


@pytest.mark.parametrize("batch_norm", ["folded", "whole"])
def test_the_module_computes_what_the_network_did(network, batch_norm):
    compressed, state = compress(network, batch_norm=batch_norm)
    network.load_state_dict(state)
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(compressed.to_module()(images), network(images), rtol=1e-4, atol=1e-4)


def test_into_fills_a_module_of_one_s_own(network):
    compressed, _ = compress(network, batch_norm="whole")
    mine = networks.build(SPECIFICATION)
    assert compressed.to_module(into=mine) is mine
    for name, value in compressed.decode().items():
        torch.testing.assert_close(mine.state_dict()[name], torch.as_tensor(value), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"differ in .*weight.*into="):
        compressed.to_module(into=torch.nn.Linear(3, 3))


def test_a_file_cannot_ask_for_more_weights_than_it_holds(network):
    compressed, _ = compress(network)
    large = {"factory": "digits_cnn", "arguments": {"classes": 10**12}}  # beyond any memory
    with pytest.raises(ValueError, match=r"differ in .*weight"):
        dataclasses.replace(compressed, specification=large).to_module()


def test_a_network_whose_shapes_need_values_is_rebuilt():
    network = networks.build(networks.torchvision_specification("regnet_x_400mf"), seed=0)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    compressed = Compressed.from_state(
        state, codes={}, codebooks={}, specification=network.specification, dtype=np.float32, batch_norm="whole"
    )
    torch.testing.assert_close(compressed.to_module().fc.weight, network.fc.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        ("cifar_resnet", {"depth": 600_000_002, **NORMAL}),
        ("wide_resnet", {"depth": 10, "width": 10**6, **NORMAL}),
        ("torchvision", {"name": "regnet_x_400mf", "classes": 6_000_000, **NORMAL}),
        ("torchvision", {"name": "vit_h_14", **NORMAL}),
        ("digits_cnn", {"classes": -1}),
        ("digits_cnn", {"classes": 10**30}),
        ("digits_cnn", {"classes": "many"}),
    ],
)
def test_a_forged_specification_builds_nothing(network, factory, arguments):
    compressed, _ = compress(network)
    forged = {"factory": factory, "arguments": arguments}
    with pytest.raises(ValueError, match=r"into=|network factory"):
        dataclasses.replace(compressed, specification=forged).to_module()


def test_a_class_of_one_s_own_is_not_taken_for_ours():
    class lenet5(torch.nn.Module):
        pass

    ours = networks.build({"factory": "lenet5", "arguments": {}})
    assert networks.specification_of(ours) == ours.specification
    specification = networks.specification_of(lenet5())
    assert "factory" not in specification and specification["class"].endswith("lenet5")
    mine = lenet5()
    mine.specification = {"factory": "lenet5", "arguments": {}}
    assert "factory" not in networks.specification_of(mine)
    state = {name: value.numpy() for name, value in ours.state_dict().items()}
    compressed = Compressed.from_state(state, codes={}, codebooks={}, specification=specification, dtype=np.float32)
    with pytest.raises(ValueError, match=r"lenet5 is no network of bitbook's.*into="):
        compressed.to_module()
    assert compressed.to_module(into=ours) is ours


class Noted(torch.nn.Linear):
    """A linear layer whose state dict holds what is no tensor, as those of quantised layers do."""

    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        self.version = state["version"]

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}packed"] = (1, None)


def test_state_that_is_no_tensor_stays_the_module_s_own():
    state = {"0.weight": np.float32([[1, 2, 3], [4, 5, 6]]), "0.bias": np.float32([7, 8])}
    file = Compressed.from_state(state, codes={}, codebooks={}, specification={}, dtype=np.float32)
    filled = file.to_module(into=torch.nn.Sequential(Noted(3, 2)))
    torch.testing.assert_close(filled(torch.ones(1, 3)), torch.tensor([[13.0, 23.0]]))
    with pytest.raises(ValueError, match=r"differ in 0\.bias; give"):
        file.to_module(into=torch.nn.Sequential(Noted(3, 2, bias=False)))


@pytest.mark.parametrize(
    ("held", "wanted"), [(np.array([300]), "int8"), (np.complex64([1j]), "float32"), (np.float32([0.5]), "int64"),
                         (np.float32([1e6]), "float16")]
)  # fmt: skip
def test_numbers_that_the_module_s_type_cannot_hold_are_refused(held, wanted):
    file = Compressed.from_state({"kept": held}, codes={}, codebooks={}, specification={}, dtype=np.float32)
    module = torch.nn.Module()
    module.register_buffer("kept", torch.zeros(1, dtype=getattr(torch, wanted)))
    with pytest.raises(ValueError, match=f"^kept: the file has torch.* that torch.{wanted} cannot hold"):
        file.to_module(into=module)


@pytest.mark.parametrize("kernel", ["dense", "lookup"])
def test_two_tensors_of_a_file_do_not_become_one(kernel):
    books = {"book": np.float16([1, 2])}
    codes = {f"{i}.weight": ScalarCode(np.full((3, 3), i), "book") for i in range(2)}
    file = Compressed(codes=codes, codebooks=books, dense={}, specification={}, original_parameters=18)
    module = torch.nn.Sequential(*(torch.nn.Linear(3, 3, bias=False) for _ in range(2)))
    assert [layer.weight.mean().item() for layer in file.to_module(into=module, kernel=kernel)] == [1, 2]
    tied = torch.nn.Sequential(*(torch.nn.Linear(3, 3, bias=False) for _ in range(2)))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match=r"0\.weight and 1\.weight are one tensor in the module"):
        file.to_module(into=tied, kernel=kernel)


def test_layers_with_hooks_keep_them_beside_lookup_layers():
    code = ScalarCode(np.arange(6).reshape(2, 3) % 2, "book")
    file = Compressed(
        codes={"0.weight": code},
        codebooks={"book": np.float16([1, 2])},
        dense={},
        specification={},
        original_parameters=6,
    )
    module = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False))
    module[0].register_forward_pre_hook(lambda layer, given: (given[0] * 10,))
    assert file.to_module(into=module, kernel="lookup")(torch.ones(1, 3)).tolist() == [[40, 50]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kernel", ["lookup", "lookup8"])
def test_lookup_layers_keep_the_type_of_the_module(dtype, kernel):
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Flatten(), torch.nn.Linear(8, 3)).to(dtype)
    file = bitbook.compress(module, k=4)
    x = torch.rand(5, 1, 2, 2, dtype=dtype)
    with torch.no_grad():
        dense, lookup = (file.to_module(into=copy.deepcopy(module), kernel=k)(x) for k in ("dense", kernel))
    assert lookup.dtype == dtype
    torch.testing.assert_close(lookup, dense, rtol=0.02, atol=0.02)


def test_a_layer_that_is_compiled_by_itself_gives_way_to_its_lookup_layer():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    fresh = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    fresh[0] = torch.compile(fresh[0], backend="eager")
    file, x = bitbook.compress(network, k=20), torch.rand(5, 6)
    with torch.no_grad():
        expected = file.to_module(into=network)(x)
        torch.testing.assert_close(file.to_module(into=fresh, kernel="lookup")(x), expected)


def test_a_buffer_that_is_one_number_for_many_is_filled():
    class Scaled(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)
            self.register_buffer("scale", torch.tensor([scale]).expand(3))

    filled = bitbook.compress(Scaled(2.0), k=4).to_module(into=Scaled(1.0))
    assert filled.scale.tolist() == [2, 2, 2]
