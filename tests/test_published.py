"""The lasting record: every kept file has the bytes and the SHA-256 of its row, loads, and its ledger adds up."""

import csv
import hashlib
import re
from pathlib import Path

import bitbook
import pytest

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "published"


def read(name):
    return list(csv.DictReader((PUBLISHED / name).open(newline="")))


ROWS = read("table.csv")
KEPT = list({row["file"]: row for row in ROWS if row["file"]}.values())  # equal files stand under one name


@pytest.mark.parametrize("row", KEPT, ids=lambda row: Path(row["file"]).stem)
def test_a_kept_file_is_what_its_row_says(row):
    path = ROOT / row["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    compressed = bitbook.load(path)
    assert path.stat().st_size == int(row["file_bytes"]) == compressed.ledger().total
    assert compressed.ratio == pytest.approx(float(row["ratio"]), abs=1e-4)
    assert all(values.size for values in compressed.decode().values())


def test_every_row_names_bytes_and_sha256():
    for row in ROWS:
        assert int(row["file_bytes"]) > 0, row
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"]), row


def test_every_row_of_the_main_tables_is_published():
    names = {(row["task"], row["method"], row["variant"]) for row in ROWS}
    main = [(row["task"], row["method"], row["variant"]) for row in read("main.csv")]
    assert len(set(main)) == len(main)
    assert set(main) <= names


def test_the_record_is_small_and_nothing_lies_there_twice():
    files = [path for path in PUBLISHED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15_000_000
    kept = {path.relative_to(ROOT).as_posix() for path in files if path.suffix == ".bitbook"}
    assert kept == {row["file"] for row in KEPT}
    assert len({path.read_bytes() for path in files}) == len(files)
