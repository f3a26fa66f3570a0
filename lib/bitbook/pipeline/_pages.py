"""README.md, RESULTS.md and REPRODUCING.md: prose written by hand, every table and the picture made here."""

from pathlib import Path

from bitbook.files import write_atomically
from bitbook.pipeline import _tables as tables
from bitbook.pipeline._equal_accuracy import picture
from bitbook.pipeline._params import read_params
from bitbook.pipeline._result_tables import main_rows, of_results
from bitbook.pipeline._run_tables import of_runs
from bitbook.report._markdown import fill

PAGES = ("README.md", "RESULTS.md", "REPRODUCING.md")
PICTURE = "published/top1_against_bytes.svg"


def pages(root: Path) -> dict[str, str]:
    """Return the pages with their tables as published/ and the params files now have them, by name."""
    made = of_results(root / "published") | of_runs(root)
    return {name: fill((root / name).read_text(), made) for name in PAGES}


def write(root: Path) -> None:
    """Make the tables of the pages and the picture anew."""
    for name, text in pages(root).items():
        write_atomically(root / name, text)
    picture(root / "published", root / PICTURE)


def write_report(root: Path, folder: Path) -> None:
    """Write HTML pages of everything published, with the README's rows first."""
    from bitbook.report._html import Page, write_report

    published = root / "published"
    entries = read_params(root / "full" / "params.yaml")["runs"]
    notebooks = {path.stem: path for path in sorted((published / "notebooks").glob("*.ipynb"))}
    pages = [Page("run", key, notebooks[key], entry, {}) for key, entry in entries.items() if key in notebooks]
    rows = tables.read(published / "table.csv")
    write_report(folder, pages=pages, rows=rows, first=main_rows(published, readme=True), files=root)
