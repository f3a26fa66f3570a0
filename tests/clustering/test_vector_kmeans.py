from itertools import product

import faiss
import numpy as np
import pytest
from bitbook.clustering import vector_kmeans


def squared_error(rows, clusters):
    return np.square(rows.astype(np.float64) - clusters.codebook.astype(np.float64)[clusters.labels]).sum()


def gaussian(n, d):
    return np.random.default_rng(n + d).normal(0.1, 0.02, (n, d)).astype(np.float32)


@pytest.mark.parametrize("annealing", ["SR-C", "SR-D", "none"])
def test_result_is_consistent_and_depends_on_the_seed_alone(annealing):
    rows = gaussian(3000, 9)
    one = vector_kmeans(rows, 64, annealing=annealing, iterations=30, threads=1)
    assert one.codebook.shape == (64, 9) and one.labels.dtype == np.uint8 and len(np.unique(one.labels)) == 64
    assert one.cost == pytest.approx(squared_error(rows, one), rel=1e-5)
    for threads in (2, 5):
        other = vector_kmeans(rows, 64, annealing=annealing, iterations=30, threads=threads)
        np.testing.assert_array_equal(other.labels, one.labels)
        np.testing.assert_array_equal(other.codebook, one.codebook)
        assert other.cost == one.cost
    assert vector_kmeans(rows, 64, annealing=annealing, iterations=30, seed=1).cost != one.cost


def test_the_order_of_the_rows_does_not_matter():
    rows, order = gaussian(500, 4), np.random.default_rng(1).permutation(500)
    one, other = (vector_kmeans(given, 16, iterations=10) for given in (rows, rows[order]))
    np.testing.assert_array_equal(other.codebook, one.codebook)
    np.testing.assert_array_equal(other.labels, one.labels[order])
    assert other.cost == one.cost


def test_annealing_ends_below_plain_iterations_and_below_faiss():
    rows = gaussian(8192, 8)
    costs = {
        annealing: np.mean([vector_kmeans(rows, 64, annealing=annealing, seed=seed).cost for seed in range(3)])
        for annealing in ("none", "SR-C", "SR-D")
    }
    theirs = faiss.Kmeans(8, 64, niter=100, seed=1, max_points_per_centroid=8192)
    theirs.train(rows)
    assert costs["SR-C"] < 0.998 * costs["none"] and costs["SR-D"] < 0.998 * costs["none"]
    assert costs["SR-C"] < theirs.obj[-1]


def test_exhaustive():
    rows = np.random.default_rng(0).normal(0, 1, (7, 2))
    labellings = (np.array(labels) for labels in product(range(3), repeat=7))
    best = min(
        sum(np.square(rows[labels == g] - rows[labels == g].mean(0)).sum() for g in np.unique(labels))
        for labels in labellings
    )
    ours = min(vector_kmeans(rows, 3, seed=seed).cost for seed in range(5))
    assert ours == pytest.approx(best, rel=1e-5)


def test_fewer_distinct_rows_than_codewords():
    distinct = np.random.default_rng(0).normal(0, 1, (5, 3)).astype(np.float32)
    rows = distinct[np.random.default_rng(1).integers(5, size=200)]
    clusters = vector_kmeans(rows, 16)
    assert len(clusters.codebook) == 5 and clusters.cost < 1e-10
    np.testing.assert_allclose(clusters.codebook[clusters.labels], rows, atol=1e-6)


def test_equal_rows_leave_no_codeword_unused():
    # Most rows equal: a start from random rows takes the same one again and again.
    rows = np.concatenate([np.zeros((5000, 4)), np.random.default_rng(0).normal(0, 1, (400, 4))]).astype(np.float32)
    clusters = vector_kmeans(rows, 128)
    assert len(clusters.codebook) == 128
    np.testing.assert_allclose(clusters.codebook[clusters.labels[:5000]], 0.0, atol=1e-3)


@pytest.mark.parametrize("rows", [np.ones((1, 4)), np.full((40, 2), 0.3, np.float32)])
def test_constant(rows):
    clusters = vector_kmeans(rows, 8)
    np.testing.assert_allclose(clusters.codebook, rows[:1], rtol=1e-6)
    assert not clusters.labels.any() and clusters.cost == 0.0


def test_one_codeword_is_the_mean():
    rows = gaussian(100, 3)
    np.testing.assert_allclose(vector_kmeans(rows, 1).codebook[0], rows.mean(0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize(
    "rows, k, annealing, fault",
    [
        (np.ones((3, 2)), 0, "none", "k must be at least 1"),
        (np.ones(6), 2, "none", "must be a matrix"),
        (np.ones((0, 2)), 2, "none", "empty"),
        (np.array([[1.0, np.nan]]), 2, "none", "NaN"),
        (np.ones((3, 2)), 2, "SR-X", "annealing must be one of"),
    ],
)
def test_refusals(rows, k, annealing, fault):
    with pytest.raises(ValueError, match=fault):
        vector_kmeans(rows, k, annealing=annealing)
