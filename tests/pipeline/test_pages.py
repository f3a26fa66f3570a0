"""The pages' tables and picture are those that `bitbook pages` makes from published/."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from bitbook.pipeline import _pages as pages
from bitbook.pipeline._equal_accuracy import needed, picture
from bitbook.pipeline._result_tables import unclean
from bitbook.report import words

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    return pages.pages(ROOT)


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_is_what_the_command_makes(made, name):
    assert (ROOT / name).read_text() == made[name], "run `bitbook pages`"


def test_the_picture_is_what_the_command_makes(tmp_path):
    picture(ROOT / "published", tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text() == (ROOT / pages.PICTURE).read_text(), "run `bitbook pages`"


def test_prose_has_no_rows_of_numbers():
    for name in pages.PAGES:
        prose = re.sub(r"<!-- made.*?<!-- end -->", "", (ROOT / name).read_text(), flags=re.DOTALL)
        assert not re.findall(r"^\|.*\d{2,}.*\|$", prose, re.MULTILINE), name


def test_links_to_files_lead_somewhere():
    for name in pages.PAGES:
        links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / name).read_text())
        assert links
        assert [link for link in links if not (ROOT / link).exists()] == [], name


def test_bytes_at_equal_accuracy_agree_with_the_rendered_notebook():
    """The notebook of the first seed has printed what its front needs at the accuracy of NNCodec's second file."""
    cells = json.loads((ROOT / "published/notebooks/cifar10-search-s0.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts = ["".join(output.get("data", {}).get("text/plain", "")) for output in outputs]
    (ours,) = [found[1] for text in texts if (found := re.search(r"0\.9044 +95675\.0 +([\d.]+)", text))]
    front = pd.read_csv(ROOT / "published/fronts/cifar10-search-s0.csv")
    assert needed([front], 0.9044)[0] == pytest.approx(float(ours), abs=1e-3)


def front(*rows):
    return pd.DataFrame(rows, columns=["file_bytes", "top1"])


def test_what_fronts_need_is_a_mean_over_seeds_a_bound_or_nothing():
    low, high = front((100, 0.8), (400, 0.9)), front((200, 0.9), (300, 0.95))
    assert needed([low], 0.85) == (pytest.approx(200), "200")  # half way in the logarithm of the bytes
    assert needed([low, high], 0.9) == (pytest.approx(300), "300")
    assert needed([low, high], 0.85) == (pytest.approx(200), "at most 200")
    assert needed([low, high], 0.95) == (pytest.approx(300), "300, 1 of 2 seeds")
    assert needed([low, high], 0.96) is None
    assert needed([], 0.9) is None


def test_variants_are_shown_in_the_field_s_words():
    assert words.variant("bins, compensated, 8x") == "bins, GPTQ rounding, 8x"
    assert words.variant("DPQ + shared values, k=4") == "DPQ + centroids trained, k=4"
    assert words.variant("nonesuch") == "nonesuch"


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        (["1", "2"], "Of all 2 rows every commit is clean."),
        (["1", "2+", ""], "2 of 3 rows were made so, all of them of `a`."),
    ],
)
def test_rows_of_unclean_commits_are_counted(tmp_path, commits, said):
    (tmp_path / "table.csv").write_text("task,commit\n" + "".join(f"a,{commit}\n" for commit in commits))
    assert unclean(tmp_path) == said


def test_runs_without_a_row_are_told_from_further_seeds(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "published").mkdir()
    runs_ = "runs: {a-s0: {notebook: n, net: x}, a-s1: {notebook: n, net: x}, b: {notebook: m, net: x}}"
    (tmp_path / "full/params.yaml").write_text(f"nets: {{x: {{task: t}}}}\n{runs_}\n")
    (tmp_path / "params.yaml").write_text("nets: {}\nruns: {}\n")
    header = "command,seeds,seconds,hardware,commit\n"
    (tmp_path / "published/table.csv").write_text(f"{header}dvc repro full/dvc.yaml:run@a-s0,2,600,h,c\n")
    assert pages.not_run(tmp_path).splitlines()[2:] == ["| m | t | `dvc repro full/dvc.yaml:run@b` |"]
    row = "| n | t | `dvc repro full/dvc.yaml:run@a-s0`, `-s1` | 5 | h | c |"
    assert pages.runs(tmp_path).splitlines()[2:] == [row]
