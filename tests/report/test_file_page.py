"""The page of a file says what the file holds, for codes of every family, and loads nothing."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from bitbook import cli
from bitbook.codes import Compressed, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.report._file_page import _values, page

INDICES = np.array([[0, 1, 1, 2], [2, 2, 2, 2]])
CODES = {
    "scalar": (ScalarCode(INDICES, "book"), np.float16([-0.5, 0.25, 1])),
    "vector": (VectorCode(INDICES, "book", (2, 8)), np.float16([[-0.5, 0.25], [1, 0], [0, 1]])),
    "grid": (GridCode(INDICES - 1, np.array([2, 2]), np.array([0, -1])), None),
    "sparse, scalar": (SparseCode(INDICES > 0, ScalarCode(INDICES[INDICES > 0], "book")), np.float16([-0.5, 0.25, 1])),
}


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def made(family):
    code, book = CODES[family]
    books = {} if book is None else {"book": book}
    dense = {"bias": np.float16([1, 2, 3])}
    return Compressed({"a<b": code}, books, dense, {"factory": "lenet5", "arguments": {}}, 1000)


@pytest.mark.parametrize("family", CODES)
def test_every_family_has_size_layers_swatches_and_checksum(family):
    file = made(family)
    data, found = file.to_bytes(), Tags(page(file, "x.bitbook"))
    code, layer = file.codes["a<b"], sum(row.bytes for row in file.ledger().rows if row.section == "a<b")
    said = [f"{len(data):,} bytes", data[-8:].hex(), "4,000", f"{file.ratio:.2f}", "a<b", family, f"{layer}"]
    said += [f"{8 * layer / np.prod(code.shape):.3f}", *file.ledger().by_part()]
    assert [text for text in said if text not in found.text] == []
    uses = re.findall(r": ([\d,]+) times", found.text)
    (counts,) = (values for name, values in code.counts(file.codebooks).items() if name != "positions left")
    assert sorted(map(int, uses)) == sorted(counts)
    assert sum(tag == "svg" for tag, _ in found.tags) == 1


@pytest.mark.parametrize("family", CODES)
def test_a_page_loads_nothing_and_says_its_pictures_in_words(family):
    found = Tags(page(made(family), "x.bitbook"))
    for tag, attributes in found.tags:
        assert tag not in ("script", "img")
        assert all(attributes[name].startswith("data:") for name in ("src", "href") if name in attributes)
        assert tag != "svg" or (attributes["role"] == "img" and attributes["aria-label"])


def test_large_codebooks_are_drawn_by_stretches_of_their_range():
    values = _values(np.linspace(-1, 3, 1000, dtype=np.float32), np.ones(1000, int))
    assert len(values["entries"]) == 256 and values["merged"]
    assert values["zero"] == pytest.approx(10 + 980 / 4)
    one = _values(np.float16([2]), np.array([7]))
    assert one["entries"][0][0] == 500 and one["zero"] is None


def test_papers_whose_rule_does_not_fit_are_left_out():
    assert "Deep k-Means" in page(made("vector"), "x") and "Deep Compression" not in page(made("vector"), "x")
    assert "ADMM" in page(made("sparse, scalar"), "x") and "permuted VQ" not in page(made("grid"), "x")


def test_the_command_writes_the_page(tmp_path):
    made("scalar").save(tmp_path / "a.bitbook")
    assert cli.main(["page", str(tmp_path / "a.bitbook"), "-o", str(tmp_path / "a.html")]) == 0
    assert (tmp_path / "a.html").read_text() == page(made("scalar"), "a.bitbook")
