"""A small network trained for seconds on the bundled digits, for all tests of methods; none of them may change it."""

import pytest
from bitbook import tasks, training


@pytest.fixture(scope="session")
def task():
    return tasks.get("digits")


@pytest.fixture(scope="session")
def network(task):
    network, train = task.network(seed=0), task.train()
    recipe = training.Recipe(epochs=4, batch_size=64, augmentation="crop1")
    training.fit(network, train.images, train.labels, recipe, seed=0, progress=False)
    return network.eval()
