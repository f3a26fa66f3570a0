"""published/claims.csv: what the papers and their rivals claim, and which of our results stand beside it."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import yaml
from bitbook import tasks
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._claims import headlines, in_text, ours

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "published"
COLUMNS = ["id", "kind", "paper", "method", "task", "network", "dataset", "claim", "metric"]
COLUMNS += ["paper_value", "paper_value_to", "paper_ratio", "paper_ratio_to", "paper_bytes", "paper_counting"]
COLUMNS += ["source", "tag", "same", "nearest", "gap", "note"]
NUMBERS = [c for c in COLUMNS if re.fullmatch(r"paper_(value|ratio)(_to)?|paper_bytes", c)]
HEADLINES = {"moea-c10-huffman", "moea-c100-huffman", "moea-imagenet-huffman"}
HEADLINES |= {
    f"pqf-{name}" for name in ("r18-small", "r18-large", "r50-small", "r50-large", "maskrcnn-box", "maskrcnn-mask")
}
HEADLINES |= {f"admm-{name}" for name in ("lenet-prune", "alexnet-prune", "vgg-prune", "lenet-joint", "alexnet-joint")}
HEADLINES |= {"dpnet-wrn", "dpnets-robust-natural", "dpnet-fpga", "selfc-3-percent"}
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


def test_headlines_are_complete_and_name_rows_or_say_why_not():
    assert {c["id"] for c in claims if c["same"] or c["nearest"] or c["gap"]} == HEADLINES
    for claim in (c for c in claims if c["id"] in HEADLINES):
        patterns = [p for name in ("same", "nearest") for p in claim[name].split("; ") if p]
        assert patterns or claim["gap"], claim["id"]
        for task, method, _ in (pattern.split("|") for pattern in patterns):
            assert tasks.get(task) and method in PAPERS, claim["id"]


def result(task, ratio, value, paper_ratio=""):
    row = {"task": task, "method": "m", "variant": f"{ratio}x", "ratio": str(ratio), "paper_ratio": str(paper_ratio)}
    row |= {"value_mean": str(value), "value_std": "", "float_value": "0.9", "metric": "top1", "file_bytes": "1000"}
    return row | {"paper_counting": "moea", "seconds": "90", "seeds": "1", "command": "c", "hardware": "h"}


def test_ours_is_of_the_first_pattern_and_the_nearest_ratio_not_the_best_accuracy():
    claim = {"same": "b|m|*", "nearest": "c|m|*; a|m|1?x", "paper_ratio": "14"}
    rows = [result("a", 12, 0.9), result("a", 15, 0.5), result("a", 20, 0.9)]
    assert ours(claim, rows, "same") is None
    assert ours(claim, rows, "nearest") is rows[1]
    assert ours(claim, [*rows, result("a", 11, 0.8, paper_ratio=14)], "nearest")["ratio"] == "11"
    assert ours(claim, [*rows, result("c", 99, 0.1)], "nearest")["task"] == "c"


def test_a_new_row_fills_the_table(tmp_path):
    shutil.copy(PUBLISHED / "claims.csv", tmp_path)
    shutil.copy(PUBLISHED / "fpga_claim.csv", tmp_path)
    row = result("imagenet-alexnet", 26, 0.55, paper_ratio=24.7) | {"method": "admm", "variant": "pruned, x"}
    tables.write(tmp_path / "table.csv", [row])
    (line,) = [line for line in headlines(tmp_path).splitlines() if "24.7 times [" in line]
    reached = "imagenet-alexnet, pruned, x: top-1 55.00 % (float 90.00), 1,000 bytes, **26.0 times**"
    assert f"{reached}, 24.7 counted as `moea` | not needed |" in line


@pytest.mark.parametrize("width", [80, 200])
def test_every_headline_is_printed_within_the_terminal(width):
    text = in_text(PUBLISHED, width)
    assert max(map(len, text.splitlines())) <= width
    paragraphs = text.strip().split("\n\n")
    assert len(paragraphs) == len(HEADLINES)
    for paragraph in paragraphs:  # nothing stands empty: what was not run has a reason
        assert all(f"\n  {name}" in paragraph for name in ("claimed", "same", "nearest"))
        assert "not run" not in paragraph or "  differs" in paragraph, paragraph


def test_citation_names_the_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "MIT"
    cited = {r["notes"]: r["identifiers"][0]["value"] for r in citation["references"] if "identifiers" in r}
    assert cited == {f"method {m}": f"arXiv:{a}" for m, a in PAPERS.items()}
