"""Equation 1 and its gradients, against closed forms in float64; codes against what the network computes with."""

import math

import numpy as np
import pytest
import torch
from bitbook.methods.self_compression import LearnedDepth, levels, quantised, reachable_bits
from hypothesis import assume, given
from hypothesis import strategies as st

DEPTHS = st.floats(0, 9)
EXPONENTS = st.floats(-9, 3)


def closed_form(x, b, e):
    """q and its derivatives by x, b and e, as section B1 of the derivation has them; plain Python."""
    u, low, high = x * 2**-e, -(2 ** (b - 1)), 2 ** (b - 1) - 1
    r = round(min(max(u, low), high))  # Python rounds half to even
    if low < u < high:
        return 2**e * r, 1.0, 0.0, math.log(2) * 2**e * (r - u)
    sign = 1 if u >= high else -1
    return 2**e * r, 0.0, sign * math.log(2) * 2**e * 2 ** (b - 1), math.log(2) * 2**e * r


@given(st.floats(-40, 40), DEPTHS, EXPONENTS)
def test_values_and_gradients_are_the_closed_forms(x, b, e):
    u, low, high = x * 2**-e, -(2 ** (b - 1)), 2 ** (b - 1) - 1
    nearest = min(abs(u - low), abs(u - high), *(abs(abs(v) % 1 - 0.5) for v in (u, low, high)))
    assume(b > 0 and nearest > 1e-9)  # at a limit or a tie the derivative from one side is not that from the other
    tensors = [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (x, b, e)]
    q = quantised(*tensors)
    q.sum().backward()
    found = [q.item(), *(tensor.grad.item() for tensor in tensors)]
    assert found == pytest.approx(closed_form(x, b, e), rel=1e-12, abs=1e-12)


@given(st.floats(-100, 100), EXPONENTS)
def test_no_bits_are_zero(x, e):
    assert quantised(torch.tensor(x), torch.tensor(0.0), torch.tensor(e)).item() == 0


@pytest.mark.parametrize(
    ("b", "reached"), [(0, [0]), (0.01, [-1, 0]), (1.58, [-1, 0]), (1.586, [-2, -1, 0, 1]), (2.33, range(-3, 3))]
)
def test_levels_that_a_depth_reaches(b, reached):
    x = torch.linspace(-50, 50, 4001, dtype=torch.float64)
    found = levels(x, torch.tensor(b, dtype=torch.float64), torch.tensor(0.0)).unique()
    assert set(found.int().tolist()) == set(reached)
    assert reachable_bits(torch.tensor(b)).item() == pytest.approx(math.log2(len(reached)))


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (5, 7)])
@pytest.mark.parametrize("options", [{}, {"whole_depths": True}, {"learned": False}])
def test_the_code_decodes_to_what_the_network_computes_with(shape, options):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(shape, generator=generator)
    weights[2] = 0
    layer = LearnedDepth(weights, depth=6.0, **options)
    with torch.no_grad():
        if "learned" not in options:
            layer.depths += torch.randn(len(weights), generator=generator) - torch.arange(len(weights))
        layer.exponents += torch.rand(len(weights), generator=generator)
    with pytest.raises(ValueError, match="not whole yet"):
        layer.code(weights)
    layer.whole.fill_(True)
    code = layer.code(weights)
    assert np.array_equal(code.decode({}), layer(weights).detach().numpy())
    rows = code.values.reshape(len(weights), -1)
    for row, depth in zip(rows, code.depths, strict=True):  # no depth is larger than its values need
        fits = [
            d
            for d in range(17)
            if (d == 0 and not row.any()) or (d and -(2 ** (d - 1)) <= row.min() <= row.max() < 2 ** (d - 1))
        ]
        assert depth == fits[0]


def test_at_the_start_the_largest_weight_of_every_channel_fits():
    weights = torch.randn(8, 20, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 8)[:, None]
    layer = LearnedDepth(weights, depth=8.0)
    step = torch.exp2(layer.exponents)[:, None]
    assert ((layer(weights) - weights).abs() <= step * 1.001).all()  # the largest positive one falls one level short
    assert (weights.abs().amax(1) / step[:, 0]).tolist() == pytest.approx([128.0] * 8)


def test_bfloat16_leaves_the_quantiser_in_single_precision():
    layer = torch.nn.Linear(4, 3)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", LearnedDepth(layer.weight))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
