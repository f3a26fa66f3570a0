"""Orders of channels: the log-determinant against NumPy, swaps against brute force, orders against all there are."""

import itertools

import numpy as np
import pytest
from bitbook.clustering import greedy_order, log_determinant, search_order
from bitbook.clustering._permutation_search import SMALLEST_GAIN, BlockCovariance


def weights(outputs, channels, run, seed=0):
    """Channels of different spread, some of which go together."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(outputs, channels, run)) @ rng.normal(size=(run, run))
    mixed[:, 1::2] += 0.7 * mixed[:, ::-2]
    return (mixed * rng.uniform(0.2, 2, (channels, 1)) * 0.02).astype(np.float32)


def brute_force(w, d):
    return np.linalg.slogdet(np.cov(w.reshape(-1, d).T.astype(np.float64)))[1]


@pytest.mark.parametrize(("shape", "d"), [((40, 12, 9), 18), ((40, 12, 1), 4), ((30, 12, 4), 12)])
def test_swaps_are_decided_as_by_brute_force(shape, d):
    w = weights(*shape)
    order = greedy_order(w, d)
    search, pairs = BlockCovariance(w, d, order), np.random.default_rng(1).integers(shape[1], size=(300, 2))
    changes = search.swap(pairs)
    accepted, value = [], brute_force(w[:, order], d)
    for p, q in pairs:
        order[[p, q]] = order[[q, p]]
        changed = brute_force(w[:, order], d)
        accepted.append(changed - value < -SMALLEST_GAIN)
        if accepted[-1]:
            value = changed
        else:
            order[[p, q]] = order[[q, p]]
    assert 1 < sum(accepted) < 150
    assert (changes < -SMALLEST_GAIN).tolist() == accepted
    assert search.order.tolist() == order.tolist()


def test_the_log_determinant_is_numpy_s_and_does_not_underflow():
    w = weights(50, 8, 9)
    assert log_determinant(w, 18) == pytest.approx(brute_force(w, 18), rel=1e-9)
    assert log_determinant(w * 1e-20, 18) == pytest.approx(brute_force(w, 18) + 36 * np.log(1e-20), rel=1e-6)


def test_greedy_sorts_cuts_and_interleaves():
    scale = np.array([1, 6, 3, 5, 2, 4])  # from the widest: 1 3 5 | 2 4 0
    w = np.random.default_rng(0).normal(size=(4000, 6, 1)) * scale[:, None]
    assert greedy_order(w, 2).tolist() == [1, 2, 3, 4, 5, 0]


def test_small_layers_are_ordered_as_well_as_any_order_does():
    w = weights(60, 6, 1)
    best = min(brute_force(w[:, list(order)], 2) for order in itertools.permutations(range(6)))
    assert search_order(w, 2).after == pytest.approx(best, abs=1e-9)


def test_methods_from_worst_to_best():
    w = weights(64, 32, 9)
    found = {name: search_order(w, 18, method=name) for name in ("random", "greedy", "swaps", "annealed")}
    assert found["annealed"].after < found["swaps"].after < found["greedy"].after < found["random"].after
    for result in found.values():
        assert sorted(result.order) == list(range(32))
        assert result.after == pytest.approx(brute_force(w[:, result.order], 18))
    assert search_order(w, 18).order.tolist() == found["annealed"].order.tolist()


@pytest.mark.parametrize("method", ["random", "greedy", "swaps", "annealed"])
def test_places_that_are_not_free_keep_their_channels(method):
    w, free = weights(64, 16, 9), np.array([1, 4, 5, 6, 11, 12, 15])
    order = search_order(w, 18, method=method, free=free).order
    assert sorted(order[free]) == free.tolist()
    assert (np.delete(order, free) == np.delete(np.arange(16), free)).all()


def test_dead_channels_leave_the_order_as_the_start_has_it():
    w = weights(40, 8, 9)
    w[:, :4] = 0  # no block order makes their covariance regular
    result = search_order(w, 36)
    assert result.after == -np.inf or np.isfinite(result.after)
    assert sorted(result.order) == list(range(8))


@pytest.mark.parametrize(("d", "fault"), [(9, "do not hold several"), (12, "do not hold several"), (27, "channels")])
def test_blocks_without_several_channels_are_refused(d, fault):
    with pytest.raises(ValueError, match=fault):
        search_order(weights(10, 8, 9), d)
