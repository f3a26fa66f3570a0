import multiprocessing

import numpy as np
import pytest
from bitbook.clustering import vector_kmeans
from bitbook.clustering._threads import Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_ranges_cover_all_once(threads, count):
    visits = np.zeros(count, int)

    def visit(start, stop):
        visits[start:stop] += 1

    with Workers(threads) as workers:
        workers.ranges(visit, count)
        assert workers.each(lambda item: item * item, range(count)) == [item * item for item in range(count)]
    assert (visits == 1).all()


def test_errors_reach_the_caller():
    with Workers(2) as workers, pytest.raises(ZeroDivisionError):
        workers.each(lambda item: 1 / item, [1, 0, 2])


def _cost(rows):
    return vector_kmeans(rows, 16, iterations=5, threads=2).cost


def test_works_in_a_process_forked_after_use():
    rows = np.random.default_rng(0).normal(0, 1, (500, 4)).astype(np.float32)
    ours = _cost(rows)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_cost, (rows,)).get(timeout=60) == ours
