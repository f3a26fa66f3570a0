import numpy as np
import pytest
from bitbook.clustering import nearest_codewords
from bitbook.clustering._nearest import assign, pack
from bitbook.clustering._threads import Workers
from bitbook.simd import host_lanes


def distances(rows, codebook):
    """Squared distances in float64, (n, k)."""
    return np.square(rows.astype(np.float64)[:, None] - codebook.astype(np.float64)).sum(2)


@pytest.mark.parametrize("n, d, k", [(1, 1, 1), (3, 2, 5), (100, 4, 16), (333, 9, 61), (50, 18, 300), (1000, 8, 256)])
def test_labels_are_nearest(n, d, k):
    rng = np.random.default_rng(n)
    rows = rng.normal(3, 0.02, (n, d)).astype(np.float32)
    codebook = rng.normal(3, 0.02, (k, d)).astype(np.float32)
    labels = nearest_codewords(rows, codebook)
    assert labels.shape == (n,) and labels.dtype == np.min_scalar_type(k - 1)
    exact = distances(rows, codebook)
    # float32 may prefer a codeword that is farther by a rounding error.
    np.testing.assert_allclose(exact[np.arange(n), labels], exact.min(1), rtol=1e-5, atol=1e-10)
    assert (labels == exact.argmin(1)).mean() > 0.99


@pytest.mark.parametrize("d, widths", [(3, (4, 16)), (9, (4, 8, 16))])
def test_every_number_of_lanes_and_threads_gives_the_same_labels(d, widths):
    rng = np.random.default_rng(d)
    rows = np.round(rng.normal(0, 1, (500, d)), 1).astype(np.float32)  # many near ties
    codebook = np.round(rng.normal(0, 1, (77, d)), 1).astype(np.float32)
    labels = []
    for lanes in widths:
        for threads in (1, 3):
            with Workers(threads) as workers:
                labels.append(assign(pack(rows, np.zeros(d), lanes), codebook, workers)[:500])
    for other in labels[1:]:
        np.testing.assert_array_equal(other, labels[0])


def test_equally_near_codewords_give_the_first():
    codebook = np.array([[5, 5], [1, 1], [1, 1], [-1, -1], [1, 1]], np.float32)
    assert nearest_codewords(np.array([[1, 1], [0.5, 0.75], [-9, -9]], np.float32), codebook).tolist() == [1, 1, 3]


def test_host_lanes_fit_the_registers():
    assert host_lanes() in (4, 8, 16)


@pytest.mark.parametrize(
    "rows, codebook, fault",
    [
        (np.ones((3, 2)), np.ones((4, 3)), "do not fit"),
        (np.ones(3), np.ones((4, 3)), "do not fit"),
        (np.full((3, 2), np.nan), np.ones((4, 2)), "rows holds NaN"),
        (np.ones((3, 2)), np.ones((0, 2)), "codebook is empty"),
    ],
)
def test_refusals(rows, codebook, fault):
    with pytest.raises(ValueError, match=fault):
        nearest_codewords(rows, codebook)
