from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
from bitbook.clustering import entropy_constrained, kmeans1d, sort_weights, uniform_bins


def group_cost(x, importance, value=None):
    if len(x) == 0:
        return 0.0
    value = np.average(x, weights=importance) if value is None else value
    return (importance * (x - value) ** 2).sum()


def rate(counts):
    counts = np.array([c for c in counts if c])
    return -(counts * np.log2(counts / counts.sum())).sum()


def exhaustive(x, counts, importance, rate_weight, zero):
    """Least squared error + weighted bits over contiguous clusters, one of them pinned at 0 where `zero` says so."""
    order = np.argsort(x)
    x, counts, importance = x[order], counts[order], importance[order]
    best = np.inf
    for number in range(len(x)):
        for cuts in combinations(range(1, len(x)), number):
            groups = [slice(a, b) for a, b in zip((0, *cuts), (*cuts, len(x)), strict=True)]
            # The pinned group holds all zeros; without zeros it may be empty.
            pins = [g for g in groups if not (x[: g.start] >= 0).any() and not (x[g.stop :] <= 0).any()] if zero else []
            pins += [] if zero and (x == 0).any() else [None]
            if zero and any((x[g] < 0).any() and (x[g] > 0).any() for g in groups):
                pins = [pin for pin in pins if pin is not None]
            for pin in pins:
                errors = sum(group_cost(x[g], importance[g], 0.0 if g is pin else None) for g in groups)
                best = min(best, errors + rate_weight * rate([counts[g].sum() for g in groups]))
    return best


def objective(clusters, rate_weight):
    return clusters.cost + rate_weight * clusters.bits


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_exhaustive(seed, zero):
    rng = np.random.default_rng(seed)
    x = [rng.laplace(0, 1, 9), np.round(rng.normal(0, 2, 9)), rng.normal(1, 0.5, 9)][seed % 3]
    counts = rng.integers(1, 20, 9) if seed % 2 else np.ones(9, np.int64)
    importance = rng.uniform(0.2, 3, 9) * counts if seed % 4 > 1 else counts.astype(np.float64)
    for rate_weight in (1e-3, 0.03, 0.2, 1.0, 5.0):
        clusters = entropy_constrained(x, rate_weight, counts=counts, importance=importance, zero=zero)
        best = exhaustive(x, counts, importance, rate_weight, zero)
        assert objective(clusters, rate_weight) == pytest.approx(best, rel=1e-12)
        np.testing.assert_array_equal(clusters.labels, np.searchsorted(clusters.borders, x, side="right"))
        np.testing.assert_array_equal(clusters.counts, np.bincount(clusters.labels, counts))
        cost = (importance * (x - clusters.values[clusters.labels]) ** 2).sum()
        assert clusters.cost == pytest.approx(cost, rel=1e-12, abs=1e-15)
        if zero:
            assert not clusters.values[clusters.labels[x == 0]].any()


@pytest.mark.parametrize("seed", range(4))
def test_fixed_point_given_its_own_code_lengths(seed):
    x = np.sort(np.random.default_rng(seed).laplace(0, 1, 11))
    for rate_weight in (0.05, 0.3):
        clusters = entropy_constrained(x, rate_weight)
        lengths = -np.log2(clusters.counts / len(x))

        def cost(cuts, lengths=lengths, rate_weight=rate_weight):
            groups = zip(lengths, (0, *cuts), (*cuts, len(x)), strict=True)
            return sum(group_cost(x[a:b], np.ones(b - a)) + rate_weight * length * (b - a) for length, a, b in groups)

        best = min(map(cost, combinations_with_replacement(range(len(x) + 1), len(lengths) - 1)))
        assert objective(clusters, rate_weight) == pytest.approx(best, rel=1e-12)


def test_refinement_comes_close_to_the_exact_result():
    x = np.random.default_rng(0).standard_t(4, 6000).astype(np.float32)
    for rate_weight in (0.003, 0.05):
        for zero in (False, True):
            exact = objective(entropy_constrained(x, rate_weight, zero=zero, resolution=None), rate_weight)
            refined = objective(entropy_constrained(x, rate_weight, zero=zero, resolution=1024), rate_weight)
            assert exact * (1 - 1e-12) <= refined <= exact * (1 + 1e-4)


def test_merging_bins_is_the_same_programme():
    weights = np.random.default_rng(0).laplace(0, 0.05, 5000)
    bins = uniform_bins(weights, 10)
    for rate_weight in (1e-5, 1e-4, 1e-3):
        merged = entropy_constrained(bins.values, rate_weight, counts=bins.counts)
        best = exhaustive(bins.values, bins.counts, bins.counts.astype(np.float64), rate_weight, False)
        assert objective(merged, rate_weight) == pytest.approx(best, rel=1e-12)
        assert merged.counts.sum() == weights.size and (np.diff(merged.labels.astype(int)) >= 0).all()


def test_new_weights_go_where_they_cost_least():
    x = np.random.default_rng(0).laplace(0, 1, 400)
    rate_weight = 0.1
    clusters = entropy_constrained(x, rate_weight, zero=True)
    new = np.random.default_rng(1).laplace(0, 1.5, 1000)
    lengths = -np.log2(clusters.counts / len(x))
    cheapest = ((new[:, None] - clusters.values) ** 2 + rate_weight * lengths).argmin(1)
    chosen = np.searchsorted(clusters.borders, new, side="right")
    assert (chosen != cheapest).mean() < 0.01  # only inside the gaps between clusters, where the border was moved


def test_importance_shared_codebook_and_sorted_weights():
    # Two layers with scales: clusters of the scaled weights, with squared errors counted in the layers' own units.
    rng = np.random.default_rng(0)
    layers = rng.laplace(0, 0.1, 600), rng.laplace(0, 2.0, 300)
    scales = [layer.std() for layer in layers]
    x = np.concatenate([layer / scale for layer, scale in zip(layers, scales, strict=True)])
    importance = np.repeat(np.square(scales), [600, 300])
    shared = entropy_constrained(x, 0.02, importance=importance)
    values = shared.values[shared.labels] * np.repeat(scales, [600, 300])
    assert shared.cost == pytest.approx(np.sum((np.concatenate(layers) - values) ** 2), rel=1e-9)
    prepared = entropy_constrained(sort_weights(x, importance=importance), 0.02)
    np.testing.assert_array_equal(prepared.values, shared.values)
    assert prepared.labels is None


@pytest.mark.parametrize("x", [[2.0], [2.0] * 5, [0.0, 0.0]])
@pytest.mark.parametrize("zero", [False, True])
def test_constant(x, zero):
    clusters = entropy_constrained(np.array(x), 0.1, zero=zero)
    assert clusters.values.tolist() == x[:1] and clusters.cost == 0.0 and clusters.bits == 0.0


def test_weights_far_cheaper_than_a_bit_share_the_value_zero():
    clusters = entropy_constrained(np.array([-0.2, 0.1, 0.3, 5.0]), 0.5, zero=True)
    assert clusters.values.tolist() == [0.0, 5.0] and clusters.labels.tolist() == [0, 0, 0, 1]


def kmeans_against(weights, ks):
    """For each k: squared errors of k-means and of entropy-constrained clusters that take no more bits."""
    prepared = sort_weights(weights)
    for k in ks:
        means = kmeans1d(prepared, k)
        low, high = -40.0, 10.0  # log2 of the weight: the bits fall as it grows
        for _ in range(25):
            middle = (low + high) / 2
            clusters = entropy_constrained(prepared, 2.0**middle, resolution=512)
            low, high = (low, middle) if clusters.bits <= means.bits else (middle, high)
        yield means.cost, entropy_constrained(prepared, 2.0**high, resolution=512).cost


def test_beats_kmeans_at_every_rate():
    for theirs, ours in kmeans_against(np.random.default_rng(0).laplace(0, 1, 4000), (3, 4, 8, 16, 64)):
        assert ours < theirs


def test_beats_kmeans_at_every_rate_on_real_layers(data_folder):
    from safetensors.numpy import load_file

    network = load_file(data_folder / "weights" / "cifar10_resnet20.safetensors")
    for name in ("conv1.weight", "layer1.0.conv1.weight", "layer3.2.conv2.weight", "linear.weight"):
        for theirs, ours in kmeans_against(network[name], (4, 16)):
            assert ours < theirs, name


@pytest.mark.parametrize(
    "x, rate_weight, counts, fault",
    [
        ([1.0, 2.0], 0.0, None, "rate_weight must be finite and above zero"),
        ([1.0, 2.0], np.inf, None, "rate_weight must be finite"),
        ([1.0, 2.0], np.nan, None, "rate_weight must be finite"),
        ([1.0, np.nan], 1.0, None, "NaN"),
        ([], 1.0, None, "empty"),
        ([1.0, 2.0], 1.0, [0, 1], "counts must be finite and above zero"),
        ([1.0, 2.0], 1.0, [0.5, 1.0], "counts must be integers"),
    ],
)
def test_refusals(x, rate_weight, counts, fault):
    with pytest.raises(ValueError, match=fault):
        entropy_constrained(np.array(x), rate_weight, counts=None if counts is None else np.array(counts))
