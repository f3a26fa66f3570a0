"""What the five papers claim first, compared with our results: made from published/ alone."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from bitbook.pipeline import _tables as tables
from bitbook.report import words
from bitbook.report._markdown import table

Row = Mapping[str, str]
FRACTIONS = ("top1", "macro_f1", "top1_loss", "box_ap", "mask_ap")


def ours(claim: Row, results: Sequence[Row], where: str) -> Row | None:
    """Return our row for a claim, by the patterns in its column `same` or `nearest`; None where there is none.

    Patterns are `task|method|variant`, several in the order of preference. Of several rows of one pattern it is the one
    whose ratio is nearest to the paper's, as the paper counts where that is known, never that of the highest accuracy.
    """
    for pattern in filter(None, claim[where].split("; ")):
        found = [row for row in results if all(map(fnmatchcase, tables.NAME(row), pattern.split("|")))]
        if found:
            asked = math.log(float(claim["paper_ratio"]))
            return min(found, key=lambda row: abs(math.log(float(row["paper_ratio"] or row["ratio"])) - asked))
    return None


def _number(value: str, metric: str) -> str:
    return f"{100 * float(value):.4g} %" if metric in FRACTIONS else f"{float(value):,g}"


def _span(claim: Row, column: str, metric: str = "") -> str:
    ends = [_number(claim[name], metric) for name in (column, f"{column}_to") if claim[name]]
    return " to ".join(ends)


def _said(claim: Row) -> str:
    """Return what the paper claims: value and ratio."""
    value, ratio = _span(claim, "paper_value", claim["metric"]), _span(claim, "paper_ratio")
    return ", ".join(filter(None, [value and f"{words.metric(claim['metric'])} {value}", ratio and f"{ratio} times"]))


def _reached(row: Row) -> str:
    """Return what a row of ours reached: value, spread, bytes, and the ratio by the file and as a paper counts."""
    spread = f" ± {100 * float(row['value_std']):.2f}" if row["value_std"] else ""
    value = f"{100 * float(row['value_mean']):.2f}{spread} % (float {100 * float(row['float_value']):.2f})"
    counted = f", {float(row['paper_ratio']):,.1f} counted as `{row['paper_counting']}`" if row["paper_ratio"] else ""
    size = f"{int(row['file_bytes']):,} bytes, **{float(row['ratio']):,.1f} times**{counted}"
    return f"{_name(row)}: {words.metric(row['metric'])} {value}, {size}"


def _name(row: Row) -> str:
    return f"{words.network(row['task'])}, {words.variant(row['variant'])}"


def _made(row: Row) -> list[str]:
    """Return seeds, command, minutes a seed and hardware of a row."""
    minutes = max(float(row["seconds"]) / int(row["seeds"]) / 60, 1)
    return [row["seeds"], f"`{row['command']}`", f"{minutes:.0f}", row["hardware"]]


def _fpga(published: Path) -> str:
    """Return how much faster the accumulating circuits are in our model, over every board and count of values."""
    rows, found = tables.read(published / "fpga_claim.csv"), []
    for weights in ("on chip", "streamed"):
        ours = [row for row in rows if row["weights"] == weights and row["design"] == "accumulate, 16 bits"]
        times = [float(row["over MAC, 16 bits"]) for row in ours]
        found.append(f"weights {weights}: {min(times):.1f} to {max(times):.1f} times")
    return "; ".join(found)


def _compared(published: Path) -> Iterator[tuple[Row, list[Row | None], list[str]]]:
    """Yield each headline claim, our rows on the same and the nearest network, and both in words."""
    results = tables.read(published / "table.csv")
    for claim in tables.read(published / "claims.csv"):
        if claim["same"] or claim["nearest"] or claim["gap"]:
            both = [ours(claim, results, where) for where in ("same", "nearest")]
            said = [_reached(row) if row else "not run" for row in both]
            if claim["metric"] == "speedup":
                said = ["not known", _fpga(published)]
            elif both[0] and not both[1]:
                said[1] = "not needed"
            yield claim, both, said


def headlines(published: Path) -> str:
    """Return each headline claim compared with ours, how the papers count, and how ours was made, in Markdown."""
    rows, counting, made = [], dict[str, int](), dict[str, list[str]]()
    for claim, both, said in _compared(published):
        mark = ""
        if claim["paper_counting"]:
            mark = f" [{counting.setdefault(claim['paper_counting'], len(counting) + 1)}]"
        about = [f"{words.method(claim['method'])}: {claim['claim']}", f"{claim['network']}, {claim['dataset']}"]
        rows.append([*about, _said(claim) + mark, *said, claim["gap"]])
        made |= {_name(row): [words.method(row["method"]), *_made(row)] for row in both if row}
    columns = ["claim", "network", "paper", "ours, same network", "ours, nearest network run", "what differs, and why"]
    how = ["network and variant", "method", "seeds", "command", "minutes a seed", "hardware"]
    counts = "".join(f"{number}. {text}\n" for text, number in counting.items())
    lines = table(how, ([name, *cells] for name, cells in made.items()), numbers={"seeds", "minutes a seed"})
    return f"{table(columns, rows)}\nHow the papers count, by the numbers in brackets:\n\n{counts}\n{lines}"


def in_text(published: Path, width: int) -> str:
    """Return each headline claim compared with ours as a paragraph, for a terminal of so many columns."""
    text = []
    for claim, both, said in _compared(published):
        counted = claim["paper_counting"] and f" ({claim['paper_counting']})"
        parts = {"claimed": f"{claim['network']}, {claim['dataset']}: {_said(claim)}{counted}; {claim['source']}"}
        for name, row, words_ in zip(("same", "nearest"), both, said, strict=True):
            how = "; seeds: {}, {}, {} minutes a seed, {}".format(*_made(row)) if row else ""
            parts[name] = f"{words_}{how}".replace("*", "").replace("`", "")
        parts |= {"differs": claim["gap"]} if claim["gap"] else {}
        text += textwrap.wrap(f"{words.method(claim['method'])}: {claim['claim']}", width)
        for name, part in parts.items():
            text += textwrap.wrap(part, width, initial_indent=f"  {name:9}", subsequent_indent=" " * 11)
        text.append("")
    return "\n".join(text)
