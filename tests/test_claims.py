"""published/claims.csv: what the papers and their rivals claim, and ours beside it once a file stands for it."""

import csv
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "published"
COLUMNS = ["id", "kind", "paper", "method", "task", "network", "dataset", "claim", "metric"]
COLUMNS += ["paper_value", "paper_value_to", "paper_ratio", "paper_ratio_to", "paper_bytes", "paper_counting"]
COLUMNS += ["source", "tag", "our_value", "our_ratio", "our_file_bytes", "our_file", "note"]
NUMBERS = [c for c in COLUMNS if re.fullmatch(r"paper_(value|ratio)(_to)?|paper_bytes|our_(value|ratio|file_bytes)", c)]
OURS = ["our_value", "our_ratio", "our_file_bytes", "our_file"]
KINDS = {"paper", "sister", "reimplementation", "rival", "peer"}
TAGS = {"paper", "abs", "code", "data", "derived", "recalled", "measured"}
ABOVE_ONE = {"speedup", "energy_gain", "perplexity"}  # every other metric is a fraction of 1
PAPERS = {
    "moea_bins": "2501.03095",
    "permuted_vq": "2010.15703",
    "admm": "1811.01907",
    "dpnet": "2003.09615",
    "self_compression": "2301.13142",
}


def read(path):
    """Return the rows of a CSV file as dictionaries of strings; no file, no rows."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def fault(claim, table, folder):
    """Say what is wrong with our columns of one claim, or return None.

    They are all empty; or `our_file`, relative to `folder` as in `table`, has `our_file_bytes` bytes, and a row of
    `table` for the same metric (any, where the claim names none) has the same file, bytes, ratio and value.
    """
    given = [c for c in OURS if claim[c]]
    if not given:
        return None
    if missing := {"our_ratio", "our_file_bytes", "our_file"} - set(given):
        return f"without {', '.join(sorted(missing))}"
    if claim["metric"] and not claim["our_value"]:
        return "without our_value"
    path = folder / claim["our_file"]
    if not path.is_file():
        return f"no file {claim['our_file']}"
    if path.stat().st_size != int(claim["our_file_bytes"]):
        return f"the file has {path.stat().st_size} bytes"
    same = [r for r in table if r["file"] == claim["our_file"] and claim["metric"] in ("", r["metric"])]
    if not same:
        return "no such row in table.csv"
    for row in same:
        agree = abs(float(row["ratio"]) - float(claim["our_ratio"])) <= 0.005 * float(row["ratio"])
        if claim["metric"]:
            agree &= abs(float(row["value_mean"]) - float(claim["our_value"])) <= 5e-4
        if agree and int(float(row["file_bytes"])) == int(claim["our_file_bytes"]):
            return None
    return "table.csv says otherwise"


claims = read(PUBLISHED / "claims.csv")


def test_header_and_ids():
    assert list(claims[0]) == COLUMNS
    ids = [c["id"] for c in claims]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9_-]+", i) for i in ids)


def test_rows_are_well_formed():
    for claim in claims:
        assert None not in claim, f"{claim['id']}: more cells than columns"
        assert claim["kind"] in KINDS, claim["id"]
        assert claim["tag"] in TAGS, claim["id"]
        assert all(claim[c] for c in ("method", "network", "dataset", "claim", "source")), claim["id"]
        numbers = {c: float(claim[c]) for c in NUMBERS if claim[c]}
        for name in ("paper_value", "paper_ratio"):
            assert numbers.get(name, 0) <= numbers.get(name + "_to", float("inf")), claim["id"]
            assert name in numbers or name + "_to" not in numbers, claim["id"]
        assert bool(claim["metric"]) == ("paper_value" in numbers), claim["id"]
        if claim["metric"] not in ABOVE_ONE:
            assert all(0 <= numbers.get(c, 0) <= 1 for c in ("paper_value", "paper_value_to")), claim["id"]
        assert numbers.get("paper_ratio", 1) >= 1, claim["id"]
        if numbers.get("paper_ratio", 1) != 1:
            assert claim["paper_counting"], f"{claim['id']}: a ratio says how it was counted"
        assert "paper_bytes" not in numbers or claim["paper_bytes"].isdigit(), claim["id"]


def test_every_paper_has_rows():
    for method, arxiv in PAPERS.items():
        rows = [c for c in claims if c["kind"] == "paper" and c["method"] == method]
        assert rows and {r["paper"] for r in rows} == {arxiv}
    assert {c["method"] for c in claims if c["kind"] == "paper"} == set(PAPERS)


def test_peers_are_measured_and_their_ratio_follows_from_their_bytes():
    peers = [c for c in claims if c["kind"] == "peer"]
    assert {c["tag"] for c in peers} == {"measured"}
    for network in {c["network"] for c in peers}:
        rows = [c for c in peers if c["network"] == network]
        (whole,) = [int(c["paper_bytes"]) for c in rows if c["method"] == "float"]
        for row in rows:
            assert float(row["paper_ratio"]) == pytest.approx(whole / int(row["paper_bytes"]), abs=0.006)


def test_ours_is_empty_or_stands_on_a_file():
    table = read(PUBLISHED / "table.csv")
    assert {c["id"]: found for c in claims if (found := fault(c, table, ROOT))} == {}


def test_a_false_entry_of_ours_is_found(tmp_path):
    (tmp_path / "a.bitbook").write_bytes(b"12345678")
    table = [{"file": "a.bitbook", "metric": "top1", "value_mean": "0.91", "file_bytes": "8", "ratio": "10.02"}]
    right = {
        "metric": "top1",
        "our_value": "0.91",
        "our_ratio": "10.02",
        "our_file_bytes": "8",
        "our_file": "a.bitbook",
    }
    assert fault(right, table, tmp_path) is None
    assert fault(right | {"metric": "", "our_value": ""}, table, tmp_path) is None
    assert fault(dict.fromkeys(right, ""), table, tmp_path) is None
    assert "without our_file" in fault(right | {"our_file": ""}, table, tmp_path)
    assert "without our_value" in fault(right | {"our_value": ""}, table, tmp_path)
    assert "no file" in fault(right | {"our_file": "b.bitbook"}, table, tmp_path)
    assert "8 bytes" in fault(right | {"our_file_bytes": "9"}, table, tmp_path)
    assert "no such row" in fault(right | {"metric": "top5"}, table, tmp_path)
    assert "otherwise" in fault(right | {"our_value": "0.92"}, table, tmp_path)
    assert "otherwise" in fault(right | {"our_ratio": "11"}, table, tmp_path)


def test_citation_names_the_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "MIT"
    cited = {r["notes"]: r["identifiers"][0]["value"] for r in citation["references"] if "identifiers" in r}
    assert cited == {f"method {m}": f"arXiv:{a}" for m, a in PAPERS.items()}
