"""Learning rates over a training, by hand."""

from __future__ import annotations

import pytest
from bitbook.training import Recipe


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", {0.0: 0, 0.1: 0.5, 0.2: 1, 0.4: 0.853553, 0.6: 0.5, 1.0: 0}),
        ("linear", {0.0: 0, 0.1: 0.5, 0.2: 1, 0.4: 0.75, 0.6: 0.5, 1.0: 0}),
        ("constant", {0.0: 0, 0.1: 0.5, 0.2: 1, 0.4: 1, 0.6: 1, 1.0: 1}),
    ],
)
def test_rate_rises_over_the_warmup_and_falls_along_the_schedule(schedule, expected):
    recipe = Recipe(epochs=1, warmup=0.2, schedule=schedule)
    assert [recipe.rate(progress) for progress in expected] == pytest.approx(list(expected.values()), abs=1e-6)


def test_without_warmup_it_starts_at_the_top():
    assert Recipe(epochs=1).rate(0.0) == 1


@pytest.mark.parametrize("wrong", [{"optimiser": "lion"}, {"schedule": "step"}, {"precision": "float8"}])
def test_unknown_choices_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(epochs=1, **wrong)
