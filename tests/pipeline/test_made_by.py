from __future__ import annotations

import pytest
from bitbook.pipeline.made_by import made_by

BASE = """from lib import fit, load
from bitbook.report import figures
run = start()
data = load(size)
network = build()
network.freeze()
history = fit(network, data, folder=run.work)
figures.curves(history)
table = summarise(history)
print(table)
best = run.keep("best.json", lambda: search(network))
shown = best.round(4)
"""


def test_the_statements_that_make_the_stored_work_are_taken_and_no_others():
    expected = [
        "from lib import fit, load",
        "run = start()",
        "data = load(size)",
        "network = build()",
        "network.freeze()",
        "history = fit(network, data, folder=run.work)",
        "best = run.keep('best.json', lambda: search(network))",
    ]
    assert made_by(BASE).splitlines() == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("figures.curves(history)", "figures.curves(history, title='loss')"),
        ("print(table)", "print(table, 1)"),
        ("summarise(history)", "other(history)"),
        ("round(4)", "round(5)"),
        ("network.freeze()", "network.freeze()  # a comment"),
    ],
)
def test_edits_to_what_is_shown_change_nothing(old, new):
    assert made_by(BASE.replace(old, new)) == made_by(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("load(size)", "load(size + 1)"),
        ("network.freeze()", "network.melt()"),
        ("fit(network, data", "fit(network, data, 2"),
        ("search(network)", "search(network, 2)"),
        ("from lib import fit", "from other import fit"),
        ("history = fit", "network.prune()\nhistory = fit"),
        ("best = ", "x = change(network)\nbest = "),
    ],
)
def test_edits_to_what_makes_the_work_count(old, new):
    assert made_by(BASE.replace(old, new)) != made_by(BASE)


def test_drawing_inside_of_a_branch_is_left_out():
    code = "from bitbook.report import figures\nif a:\n    x = fit(folder=run.work)\n    figures.draw(x)\n"
    assert "draw" not in made_by(code)
    assert "fit" in made_by(code)


def test_nothing_stored_is_made_by_nothing():
    assert made_by("x = 1\nprint(x)") == ""
