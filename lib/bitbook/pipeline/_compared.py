"""What others published, and a run's fronts compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitbook.pipeline._layout import root

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bitbook.tasks import Task


_NAMES = {"variant", "training", "mode", "ours"}  # columns whose words are those of variants
_SHARES = {"value", "paper_value", "saved", "natural", "attacked", "weights left"}  # columns of fractions of 1


def claims(task: Task, *methods: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of published/claims.csv: those of the methods, and the files of peers on the task's own network."""
    import pandas as pd

    rows = pd.read_csv(root() / "published" / "claims.csv")
    peers = rows[(rows.kind == "peer") & (rows.task == task.name) & (rows.paper_ratio > 1)]
    return rows[rows.method.isin(methods)], peers


def draw_fronts(table: pd.DataFrame, task: Task, float_values: Mapping[str, float], peers: pd.DataFrame) -> Axes:
    """Draw the headline metric of each variant's files against their bytes, with the peers' files.

    Args:
        table: with columns variant, file_bytes and the task's metrics.
        task: the task.
        float_values: the metrics of the float network.
        peers: as `claims` returns them.
    """
    from bitbook.report import figures, words

    name = task.headline
    curves = {
        words.variant(variant): (group.file_bytes, group[name])
        for variant, group in table.groupby("variant", sort=False)
    }
    points = {method: (group.paper_bytes, group.paper_value) for method, group in peers.groupby("method")}
    level = ("float network", float_values[name])
    lowest = min([table[name].min(), *peers.paper_value.dropna()])
    limits = (max(level[1] - 0.08, lowest - 0.01), min(max(level[1], table[name].max()) + 0.005, 1.002))
    return figures.fronts(curves, ylabel=words.metric(name), points=points, level=level, ylim=limits)


def at_equal_value(table: pd.DataFrame, task: Task, peers: pd.DataFrame) -> pd.DataFrame:
    """Return the bytes that each variant's front needs at the headline metric of each peer's file.

    Args:
        table: with columns variant, file_bytes and the task's metrics.
        task: the task.
        peers: as `claims` returns them.

    Returns:
        Columns ours, peer, value, peer_bytes, our_bytes and saved, a fraction of the peer's bytes; the last two are
        empty where the value is above a front's best file, or below its smallest.
    """
    from bitbook.compression import bytes_at

    named = {"method": "peer", "paper_value": "value", "paper_bytes": "peer_bytes"}
    fronts = table[["variant"]].drop_duplicates().set_axis(["ours"], axis=1)
    found = fronts.merge(peers[list(named)].rename(columns=named), how="cross")
    groups = {variant: (group.file_bytes, group[task.headline]) for variant, group in table.groupby("variant")}
    sizes = [bytes_at(*groups[row.ours], row.value) for row in found.itertuples()]
    found = found.assign(our_bytes=[float("nan") if size is None else size for size in sizes])
    return found.assign(saved=1 - found.our_bytes / found.peer_bytes)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in the words and formats of the pages: its columns of text first, as the index."""
    from bitbook.report import words
    from bitbook.report._html import number

    def cell(name: str, value: Any) -> str:
        if isinstance(value, str):
            plain = words.metric(value) if name == "metric" else words.METRICS.get(value, value)
            return words.variant(value) if name in _NAMES else plain
        if value is None or value != value:
            return ""
        return f"{value:.2%}" if abs(value) <= 1 and name in _SHARES | words.METRICS.keys() else number(value)

    table = table.reset_index() if table.index.name else table.copy()
    table.columns = [name if isinstance(name, str) else ", ".join(filter(None, name)) for name in table.columns]
    text = [name for name in table if table[name].map(lambda value: isinstance(value, str)).any()]
    for name in table.columns:
        table[name] = [cell(name.split(", ")[0], value) for value in table[name].astype(object)]
    table = table.set_index(text) if text else table

    def heading(name: str) -> str:
        first, *rest = name.split(", ")
        return ", ".join([words.metric(first), *rest])

    return table.rename(columns=heading).rename_axis([heading(name) for name in text] or None)


def results_table(rows: Sequence[Mapping[str, Any]], *, named: bool = False) -> pd.DataFrame:
    """Return rows of results in the words and formats of the pages; the columns that say nothing are left out.

    Args:
        rows: as `Run.result` returns them, or rows of table.csv.
        named: whether the network and the method are columns.
    """
    import pandas as pd

    from bitbook.report import words

    shown = []
    for row in rows:
        value = row.get("value", row.get("value_mean"))
        cells = {"network": words.network(row["task"]), "method": words.method(row["method"])} if named else {}
        cells |= {"variant": words.variant(row["variant"]), "float": f"{float(row['float_value']):.2%}"}
        cells |= {words.metric(row["metric"]): f"{float(value):.2%}", "bytes": f"{int(row['file_bytes']):,}"}
        counted = row["paper_ratio"]
        cells |= {
            "ratio": f"{float(row['ratio']):.2f}",
            "as the paper counts": f"{float(counted):.2f}" if counted else "",
        }
        shown.append(cells | {"epochs": int(row["epochs"])})
    if not shown:
        return pd.DataFrame()
    table = pd.DataFrame(shown)
    table = table.drop(
        columns=[name for name in ("as the paper counts", "epochs") if not table.get(name, pd.Series()).any()]
    )
    return table.set_index(list(table.columns[: 3 if named else 1]))
