"""Tables in Markdown and pages whose tables are made."""

import pytest
from bitbook.report._markdown import fill, table


def test_a_table_has_a_rule_and_empty_cells():
    lines = table(["a", "b"], [["x", 1], [None, 2]], numbers=["b"])
    assert lines == "| a | b |\n| --- | ---: |\n| x | 1 |\n|  | 2 |\n"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        table(["a", "b"], [["x", 1], ["y"]])


def test_only_what_stands_between_the_marks_changes_and_a_second_time_nothing():
    page = "before\n<!-- made: one -->\nold\n<!-- end -->\nbetween\n<!-- made: two -->\n<!-- end -->\nafter\n"
    made = {"one": "1\n", "two": "2"}
    filled = fill(page, made)
    assert filled == (
        "before\n<!-- made: one -->\n\n1\n\n<!-- end -->\nbetween\n<!-- made: two -->\n\n2\n\n<!-- end -->\nafter\n"
    )
    assert fill(filled, made) == filled


def test_a_name_that_nothing_makes_is_refused():
    with pytest.raises(ValueError, match="nothing makes one: there are two"):
        fill("<!-- made: one -->\n<!-- end -->", {"two": ""})
