"""A run's fronts compared with the files of peers, against hand-computed cases."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bitbook.pipeline import at_equal_value, claims, draw_fronts, results_table

TASK = SimpleNamespace(name="cifar10", headline="top1")
TABLE = pd.DataFrame(
    {"variant": ["b", "b", "a", "a"], "file_bytes": [100, 400, 200, 800], "top1": [0.8, 0.9, 0.8, 0.9]}
)


def test_at_equal_value_states_what_is_saved_and_leaves_the_unreachable_empty():
    peers = pd.DataFrame({"method": ["p", "q"], "paper_value": [0.85, 0.99], "paper_bytes": [250, 900]})
    found = at_equal_value(TABLE, TASK, peers)
    assert found.ours.tolist() == ["b", "b", "a", "a"]
    assert found.peer.tolist() == ["p", "q", "p", "q"]
    assert found.our_bytes[[0, 2]].tolist() == pytest.approx([200, 400])  # geometric means
    assert found.saved[[0, 2]].tolist() == pytest.approx([0.2, -0.6])
    assert np.isnan(found.our_bytes[[1, 3]]).all() and np.isnan(found.saved[[1, 3]]).all()
    assert at_equal_value(TABLE, TASK, peers[:0]).empty


def test_claims_are_those_of_the_methods_and_peers_those_of_the_network():
    theirs, peers = claims(TASK, "admm", "ADMM-NN")
    assert set(theirs.method) == {"admm", "ADMM-NN"}
    assert set(peers.task) == {"cifar10"}
    assert "NNCodec 2.1.3" in set(peers.method)
    assert "float" not in set(peers.method)  # the network that all start from is no compressed file
    assert claims(SimpleNamespace(name="digits"))[1].empty


def test_the_figure_has_a_line_a_variant_a_mark_a_peer_and_the_float_level():
    peers = pd.DataFrame({"method": ["q", "p", "p"], "paper_value": [0.8, 0.85, 0.9], "paper_bytes": [150, 250, 900]})
    axis = draw_fronts(TABLE, TASK, {"top1": 0.9}, peers)
    assert [line.get_label() for line in axis.lines] == ["b", "a", "p", "q", "float network"]
    assert axis.lines[0].get_xydata().tolist() == [[100, 0.8], [400, 0.9]]
    assert axis.lines[2].get_xydata().tolist() == [[250, 0.85], [900, 0.9]]
    assert axis.get_ylim() == pytest.approx((0.82, 0.905))


def test_no_results_are_an_empty_table():
    assert results_table([]).empty
