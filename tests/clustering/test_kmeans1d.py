from itertools import combinations

import ckwrap
import kmeans1d as peer
import numpy as np
import pytest
from bitbook.clustering import kmeans1d, kmeans1d_layers, sort_weights


def squared_error(x, weights, values, labels):
    return float((weights * (x - values[labels]) ** 2).sum())


def exhaustive(x, weights, k):
    """Least squared error over all ways to cut the sorted numbers into k groups."""
    order = np.argsort(x)
    x, weights = x[order], weights[order]

    def cost(cuts):
        groups = zip((0, *cuts), (*cuts, len(x)), strict=True)
        return sum(
            squared_error(x[a:b], weights[a:b], np.array([np.average(x[a:b], weights=weights[a:b])]), 0)
            for a, b in groups
        )

    return min(cost(cuts) for cuts in combinations(range(1, len(x)), k - 1))


def samples(n, seed):
    rng = np.random.default_rng(seed)
    yield "normal", rng.normal(0, 1, n)
    yield "heavy tails", rng.standard_t(2, n)
    yield "far from zero", rng.normal(1e4, 1, n)
    yield "ties", np.round(rng.normal(0, 3, n))
    yield "equal steps", np.arange(n)[::-1] * 0.25
    yield "two clumps", np.concatenate([rng.normal(0, 1e-3, n // 2), rng.normal(3, 1, n - n // 2)])


def check(x, weights, clusters):
    """The parts of the result agree with each other and with the numbers."""
    assert clusters.labels.shape == x.shape and clusters.labels.dtype == np.min_scalar_type(len(clusters.values) - 1)
    np.testing.assert_array_equal(clusters.labels, np.searchsorted(clusters.borders, x, side="right"))
    np.testing.assert_array_equal(clusters.counts, np.bincount(clusters.labels.ravel()))
    cost = squared_error(x, weights, clusters.values, clusters.labels)
    assert clusters.cost == pytest.approx(cost, rel=1e-9, abs=1e-12 * np.square(x).sum())


@pytest.mark.parametrize("seed", range(3))
def test_exhaustive(seed):
    rng = np.random.default_rng(seed)
    for name, x in samples(9, seed):
        for weights in (np.ones(9), rng.uniform(0.1, 5, 9)):
            for k in range(1, len(np.unique(x)) + 1):
                clusters = kmeans1d(x, k, weights=weights)
                check(x, weights, clusters)
                assert len(clusters.values) == k
                assert clusters.cost == pytest.approx(
                    exhaustive(x, weights, k), rel=1e-9, abs=1e-14 * np.square(x).sum()
                ), (name, k)


@pytest.mark.parametrize("k", [2, 3, 8, 31, 200])
def test_same_cost_as_the_package(k):
    for name, x in samples(3000, k):
        clusters = kmeans1d(x, k)
        check(x, 1.0, clusters)
        k = min(k, len(np.unique(x)))
        assert len(clusters.values) == k
        theirs = peer.cluster(x.tolist(), k)
        cost = squared_error(x, 1.0, np.array(theirs.centroids), theirs.clusters)
        assert clusters.cost == pytest.approx(cost, rel=1e-9, abs=1e-14 * np.square(x).sum()), name


def test_same_cost_as_ckwrap_with_weights():
    rng = np.random.default_rng(0)
    for name, x in samples(1000, 0):
        weights = rng.uniform(0.01, 4, x.size)
        for k in (2, 7, 19):
            theirs = ckwrap.ckmeans(np.ascontiguousarray(x), k, weights=weights)
            values = np.bincount(theirs.labels, weights * x) / np.bincount(theirs.labels, weights)
            clusters = kmeans1d(x, k, weights=weights)
            check(x, weights, clusters)
            assert clusters.cost == pytest.approx(squared_error(x, weights, values, theirs.labels), rel=1e-9), name


def test_coarse_start_does_not_change_the_result():
    x = np.random.default_rng(0).laplace(0, 1, 70_000).astype(np.float32)  # large enough for a coarse problem
    exact = x.astype(np.float64)
    for k in (5, 64):
        clusters = kmeans1d(x, k)
        theirs = peer.cluster(x, k)
        cost = squared_error(exact, 1.0, np.array(theirs.centroids), theirs.clusters)
        assert clusters.cost == pytest.approx(cost, rel=1e-10)
        assert squared_error(exact, 1.0, clusters.values, clusters.labels) == pytest.approx(cost, rel=1e-10)


@pytest.mark.parametrize("n, k", [(1000, 300), (4096, 1000), (100_000, 7777)])
def test_equal_steps_leave_every_number_of_clusters_at_one_weight(n, k):
    # k groups of consecutive integers, as equal in size as can be, are best; no weight gives just this k.
    size, larger = divmod(n, k)
    best = sum(count * (s**3 - s) / 12 for s, count in ((size + 1, larger), (size, k - larger)))
    clusters = kmeans1d(np.arange(n), k)
    assert len(clusters.values) == k and clusters.cost == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("x", [[3.5], [3.5] * 7, [1.0, 2.0, 2.0, 1.0], [0.0, -0.0, 1e-300, 1e17]])
def test_fewer_distinct_numbers_than_clusters(x):
    clusters = kmeans1d(np.array(x, np.float32), 8)
    assert clusters.values.tolist() == np.unique(np.array(x, np.float32)).tolist() and clusters.cost == 0.0
    np.testing.assert_array_equal(clusters.values[clusters.labels].astype(np.float32), np.array(x, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.bool_])
def test_other_types_of_numbers(dtype):
    clusters = kmeans1d(np.array([[1, 0], [0, 1]], dtype), 2)
    assert clusters.values.tolist() == [0.0, 1.0] and clusters.labels.tolist() == [[1, 0], [0, 1]]


def test_one_cluster_is_the_mean():
    clusters = kmeans1d(np.array([1.0, 2.0, 6.0]), 1, weights=np.array([1.0, 2.0, 1.0]))
    assert clusters.values.tolist() == [2.75] and clusters.borders.size == 0 and clusters.labels.tolist() == [0, 0, 0]


def test_sorted_weights_give_the_same_clusters():
    x = np.random.default_rng(0).normal(0, 1, (20, 30)).astype(np.float32)
    whole, prepared = kmeans1d(x, 9), kmeans1d(sort_weights(x), 9)
    assert prepared.labels is None and prepared.cost == whole.cost
    np.testing.assert_array_equal(prepared.values, whole.values)
    np.testing.assert_array_equal(prepared.borders, whole.borders)
    with pytest.raises(ValueError, match="part of SortedWeights"):
        kmeans1d(sort_weights(x), 9, weights=np.ones(600))


def test_new_numbers_go_to_the_nearest_value():
    rng = np.random.default_rng(0)
    clusters = kmeans1d(rng.normal(0, 1, 500), 12)
    new = rng.normal(0, 2, 2000)
    nearest = np.abs(new[:, None] - clusters.values).argmin(1)
    np.testing.assert_array_equal(np.searchsorted(clusters.borders, new, side="right"), nearest)


def test_bits_is_the_entropy_of_the_labels():
    clusters = kmeans1d(np.array([0.0] * 4 + [1.0] * 2 + [2.0] + [3.0]), 4)
    assert clusters.bits == 14.0  # lengths 1, 2, 3, 3


def test_layers_do_not_depend_on_threads():
    rng = np.random.default_rng(0)
    layers = {f"layer{n}": rng.normal(0, 1, (n, 50)).astype(np.float32) for n in (3, 40, 1)}
    k = {"layer3": 4, "layer40": 16, "layer1": 2}
    one, three = (kmeans1d_layers(layers, k, threads=threads) for threads in (1, 3))
    assert list(one) == list(three) == list(layers)
    for name, weights in layers.items():
        alone = kmeans1d(weights, k[name])
        for clusters in (one[name], three[name]):
            np.testing.assert_array_equal(clusters.labels, alone.labels)
            np.testing.assert_array_equal(clusters.values, alone.values)
    with pytest.raises(ValueError, match="layer layer1: weights holds NaN"):
        kmeans1d_layers({**layers, "layer1": np.full(5, np.nan)}, 4)


@pytest.mark.parametrize(
    "x, k, weights, fault",
    [
        ([1.0, 2.0], 0, None, "k must be at least 1"),
        ([], 2, None, "empty"),
        ([1.0, np.nan], 2, None, "NaN.* 1 of 2"),
        ([1.0, -np.inf], 2, None, "infinity"),
        ([1.0, 1e200], 2, None, "beyond 1e.18"),
        ([1.0, 2.0], 2, [1.0], "1 entries for 2 weights"),
        ([1.0, 2.0], 2, [1.0, 0.0], "above zero"),
        ([1.0, 2.0], 2, [1.0, np.inf], "finite"),
    ],
)
def test_refusals(x, k, weights, fault):
    with pytest.raises(ValueError, match=fault):
        kmeans1d(np.array(x), k, weights=None if weights is None else np.array(weights))
