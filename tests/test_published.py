"""The lasting record: every published file loads, has the bytes and ratio of its row, and its ledger adds up."""

import csv
from pathlib import Path

import bitbook
import pytest

ROOT = Path(__file__).parents[1]
ROWS = [row for row in csv.DictReader((ROOT / "published" / "table.csv").open(newline="")) if row["file"]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: Path(row["file"]).stem)
def test_a_published_file_is_what_its_row_says(row):
    path = ROOT / row["file"]
    compressed = bitbook.load(path)
    assert path.stat().st_size == int(row["file_bytes"]) == compressed.ledger().total
    assert compressed.ratio == pytest.approx(float(row["ratio"]), abs=1e-4)
    assert all(values.size for values in compressed.decode().values())
