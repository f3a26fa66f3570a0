"""All methods of a task side by side, and what each step of a method brings: made from published/ alone."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bitbook.pipeline._compared import results_table
from bitbook.pipeline._equal_accuracy import fronts, needed
from bitbook.report import words

_SETTING = re.compile(r",? *([\d.]+x\b|[kK]=\d+|gamma [\d.]+|\d+ epochs|short\b|GPU|least F1 loss|[\d,]+ weights)")
RIVALS = {"k-means": "k-means codebooks, trained", "uniform": "uniform grid, trained"}  # peers that we train ourselves
PEERS = {*RIVALS.values(), "k-means codebooks"}
LOSSES = (0.005, 0.01, 0.02, 0.05)
TOGETHER = {"mnist": ("mnist", "mnist-relu-crop2")}  # LeNet-5s that differ by two ReLUs
BASELINE = ("moea", "baseline")
CODERS = {"fixed-length indices": "fixed_bytes", "+ Huffman code": "huffman_bytes", "+ our entropy coder": "file_bytes"}


@dataclass(frozen=True)
class Attribution:
    """What a method's steps bring on a task at a loss: each step by the run and variant of its front, or its family.

    coded: the front whose indices are counted with each of CODERS first. chained: each step has those before it.
    """

    task: str
    loss: float
    coded: tuple[str, str] | None
    steps: Mapping[str, tuple[str, str] | str]
    chained: bool = True


ATTRIBUTION = {
    "MOEA bins": Attribution(
        *("cifar10", 0.01, ("moea", "bins, plain")),
        {
            "+ batch norms re-estimated": ("moea", "bins, re-estimated"),
            "+ GPTQ rounding": ("moea", "bins, compensated"),
            "+ a step for each layer, searched": ("search", "search"),
        },
    ),
    "DP-Net": Attribution(
        *("cifar10", 0.01, ("dpnet", "one K, re-estimated")),
        {
            "+ GPTQ rounding": ("dpnet", "one K, compensated"),
            "+ bits for each layer within a budget": ("dpnet", "budget"),
            "+ pruning and retraining": "combined",
        },
    ),
    "DP-Net, trained with a fixed K": Attribution(
        *("cifar10", 0.01, None),
        {name: name for name in ("untrained", *RIVALS.values(), "DPR", "DPQ", "DPQ + centroids trained")},
        chained=False,
    ),
    "permuted VQ": Attribution(
        *("cifar10", 0.02, None),
        {
            "no permutation": "ablation identity",
            "+ permuted, annealed": "ablation annealed",
            "+ rounded for the outputs": "outputs",
            "+ fine-tuned": "tuned",
        },
    ),
    "ADMM": Attribution("mnist", 0.01, None, {"pruned": "pruned", "+ clustered": "clustered"}),
    "self-compression": Attribution(
        *("cifar10", 0.01, None),
        {
            "bitbook.compress, untrained": "grid",
            RIVALS["uniform"]: RIVALS["uniform"],
            "depths charged": "depth",
            "entropy charged": "entropy",
        },
        chained=False,
    ),
}


def family(method: str, variant: str) -> str:
    """Return what a variant is without its setting, such as its ratio, in the field's words."""
    name = words.variant(_SETTING.sub("", variant))
    trained = ", long" if "GPU" in variant else ""
    name = "k-means codebooks" if (method, name) == ("your_network", "k-means") else RIVALS.get(name, name)
    return "one grid step" if method == "baseline" else name + trained


def points(published: Path, task: str) -> pd.DataFrame:
    """Return every result on a task: ours, peers measured by us, and what others report.

    Columns: method, family, kind ("ours", "measured" or "quoted"), file_bytes, top1 (a mean over seeds), std, epochs,
    float_value. Ours are rows of table.csv, the others claims with both a value and bytes. Tasks that belong TOGETHER
    are taken as one.
    """
    rows = pd.read_csv(published / "table.csv").query("metric == 'top1'")
    rows = rows[rows.task.isin(TOGETHER.get(task, (task,)))]
    rows = rows.assign(family=[family(*names) for names in zip(rows.method, rows.variant, strict=True)], kind="ours")
    peers = rows.family.isin(PEERS) | rows.method.eq("baseline")
    rows.loc[peers, "kind"] = "measured"
    rows["method"] = rows.method.where(~rows.family.isin(PEERS), rows.family).map(words.method)
    rows = rows.rename(columns={"value_mean": "top1", "value_std": "std"})
    claims = pd.read_csv(published / "claims.csv").query("task == @task and metric == 'top1' and method != 'float'")
    claims = claims[claims.kind.isin(["peer", "rival", "sister", "reimplementation"]) & claims.paper_bytes.notna()]
    quoted = ["measured" if kind == "peer" else "quoted" for kind in claims.kind]
    fitted = claims.claim.str.contains("re-estimated").map({True: ", re-estimated", False: ""})
    names = claims.method.str.replace(r"^\w+", lambda found: words.method(found[0]), regex=True) + fitted
    others = pd.DataFrame({"method": names, "family": names, "kind": quoted, "file_bytes": claims.paper_bytes})
    columns = ["method", "family", "kind", "file_bytes", "top1", "std", "epochs", "float_value"]
    return pd.concat([rows, others.assign(top1=claims.paper_value)])[columns].reset_index(drop=True)


def _title(method: str, name: str) -> str:
    return name if name == method or method == "baseline" else f"{method}: {name}"


def least_bytes(found: pd.DataFrame, losses: Sequence[float] = LOSSES) -> pd.DataFrame:
    """Return what each family needs at a loss of so many points (rows: families, columns: losses), in words.

    The loss is to the family's own float network. Each family is interpolated as in the table of NNCodec; "≤" where its
    smallest file is better than asked for, empty where it does not reach the accuracy.
    """
    highest, table = found.float_value.max(), {}
    for (method, name), rows in found[found.kind != "quoted"].groupby(["method", "family"], sort=False):
        level = rows.float_value.fillna(highest).max()
        table[_title(method, name)] = [needed([rows.sort_values("file_bytes")], level - loss) for loss in losses]
    columns = [f"{100 * loss:g} point{'s' * (loss != 0.01)}" for loss in losses]
    return pd.DataFrame(table, index=columns).T.map(lambda cell: cell and (cell[0], cell[1].replace("at most", "≤")))


def epochs(found: pd.DataFrame) -> pd.Series:
    """Return how many epochs of retraining the files of each family took, by the titles of `least_bytes`."""
    spans = found.assign(title=[_title(*names) for names in zip(found.method, found.family, strict=True)])
    ends = spans.groupby("title").epochs.agg(["min", "max"]).fillna(0).astype(int).astype(str)
    return ends["min"].where(ends["min"] == ends["max"], ends["min"] + "-" + ends["max"])


def in_sentences(needs: pd.DataFrame) -> list[str]:
    """Return who needs least at each loss, by how much, and who does not reach it, as the table has it."""
    said = []
    for loss, cells in needs.items():
        reached = sorted((cell, name) for name, cell in cells.items() if cell)
        if not reached:
            said.append(f"{loss} below the float network: no file reaches it.")
            continue
        (best, text), first = reached[0]
        sentence = f"{loss} below the float network: {first} needs least, {text} bytes"
        for (size, need), name in reached[1:2]:
            bound = "at most " * need.startswith("≤")
            sentence += f"; {name} is next with {need} ({bound}{size / best - 1:+.0%})"
        missed = [name for name, cell in cells.items() if not cell]
        said.append(f"{sentence}; {len(missed)} of {len(cells)} do not reach it." if missed else f"{sentence}.")
    return said


def attribution(published: Path, name: str) -> tuple[dict[str, float], float | None, list[str]]:
    """Return the bytes that each step needs at the loss, those of the baseline, and the steps without a number.

    Every step but the first has the same coder; the baseline is one grid step for the whole network with batch norms
    re-estimated.
    """
    asked = ATTRIBUTION[name]
    found = points(published, asked.task)

    def size(step: tuple[str, str] | str, column: str = "file_bytes") -> float | None:
        if isinstance(step, tuple):
            seeds = [front.assign(file_bytes=front[column]) for front in fronts(published, asked.task, *step)]
        else:
            named = (found.family == step) | found.family.str.startswith(f"{step},")
            seeds = [found[named & ~found.family.str.endswith(", long")].sort_values("file_bytes")]
        seeds = [rows for rows in seeds if len(rows)]
        reached = needed(seeds, found.float_value.max() - asked.loss)
        return reached and reached[0]

    sizes = {label: size(asked.coded, column) for label, column in CODERS.items()} if asked.coded else {}
    sizes |= {label: size(step) for label, step in asked.steps.items()}
    gaps = [label.removeprefix("+ ") for label, bytes_ in sizes.items() if bytes_ is None]
    return {label: bytes_ for label, bytes_ in sizes.items() if bytes_}, size(BASELINE), gaps


def tasks(published: Path) -> list[str]:
    """Return the tasks of real data with results of two methods and more, in the order of the pages."""
    rows = pd.read_csv(published / "table.csv").query("task not in ['digits', 'mnist-relu']")
    joined = {task for group in TOGETHER.values() for task in group[1:]}
    names = [*words.NETWORKS, *sorted(set(rows.task) - set(words.NETWORKS))]
    known = [task for task in names if task in set(rows.task) - joined]
    return [task for task in known if points(published, task).method.nunique() > 1]


def alone(published: Path, compared: Collection[str]) -> pd.DataFrame:
    """Return the results on real networks that no figure shows: networks with one method, as pages show them."""
    rows = pd.read_csv(published / "table.csv", dtype=str, keep_default_na=False)
    shown = {"digits", *compared, *(task for group in TOGETHER.values() for task in group)}
    return results_table(rows[~rows.task.isin(shown)].to_dict("records"), named=True)
