"""Runs the queue of full/gpu.yaml on one GPU, within a given time, into a folder of few files; see full/README.md.

python full/gpu.py QUEUE --minutes 9 --out DIR     run the queue, pack what is finished
python full/gpu.py --unpack DIR --results RESULTS  take the packed files apart, for `bitbook publish RESULTS`
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bitbook import codes, datasets, tasks, training
from bitbook.compression import Divergence, Retraining, front, measure, pick
from bitbook.files import write_atomically
from bitbook.methods import admm, dpnet, moea_bins, permuted_vq, self_compression
from bitbook.pipeline import _provenance as provenance
from bitbook.pipeline._collect import rows_of
from bitbook.pipeline._layout import Results
from bitbook.pipeline._tables import to_json
from bitbook.search import GeneSearch, spread_evenly
from safetensors.torch import load_file, save_file
from torch import nn

PIECE, TOTAL = 15 * 2**20, 62 * 2**20  # bytes of a packed file, and of all of them
PACKING = 20.0  # seconds kept for packing
PROBE = 24  # steps that are timed, after as many to warm up
SMOKE = {"train": 32, "test": 32, "batch": 16, "tested": 4}  # images, a batch, attacked images


@dataclasses.dataclass
class Run:
    """One entry of the queue: its parameters, where it writes, and when it must be done (seconds since the epoch)."""

    key: str
    entry: dict[str, Any]
    results: Results
    work: Path
    until: float
    commit: str
    smoke: bool
    started: float = dataclasses.field(default_factory=time.time)
    reads: int = 0
    rows: list[dict] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def folder(self) -> Path:
        folder = self.results.output("run", self.key)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @functools.cached_property
    def task(self) -> tasks.Task:
        """The task, its recipe with the queue's batch size, precision and whatever else the entry names."""
        task = tasks.get(self.entry.get("task") or self._about["task"])
        fields = {field.name for field in dataclasses.fields(training.Recipe)} - {"epochs"}
        changed = {name: value for name, value in self.entry.items() if name in fields}
        return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **changed))

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        return json.loads(self.results.network(self.entry["net"]).with_suffix(".json").read_text())

    def network(self) -> tuple[nn.Module, dict[str, float]]:
        """The float network that the entry starts from and its metrics: another run's, or the task's pretrained one."""
        module = self.task.network()
        if "net" in self.entry:
            module.load_state_dict(load_file(self.results.network(self.entry["net"])))
            values = self._about["values"]
        else:
            module.load_state_dict(self.task.pretrained_weights(), strict=False)
            values = self.test(module.to(training.device()))
        return module.eval().to(training.device()), values

    def test(self, module: nn.Module) -> dict[str, float]:
        """The task's metrics on the test set."""
        data = self.task.test()
        return training.evaluate(module, data.images, data.labels, self.task.metrics)

    def epochs(self, module: nn.Module, *, share: float = 1.0, cost: float = 1.0, objective: Any = None) -> int:
        """As many epochs as fit into this share of the time that is left, by the time of a few steps of the objective.

        cost: how much longer a step of the real training takes. Raises TimeoutError where fewer than `fewest` fit.
        """
        known = self.work / "epochs.json"  # a resumed run keeps its number: its checkpoints depend on that
        if known.exists():
            return json.loads(known.read_text())
        data, size = self.task.train(), self.task.recipe.batch_size
        recipe = dataclasses.replace(self.task.recipe, epochs=1, learning_rate=1e-4)
        probe, count = copy.deepcopy(module), min(PROBE * size, len(data))
        for _ in range(2):
            began = time.time()
            options = {"seed": 0, "progress": False, "objective": objective}
            training.fit(probe, data.images[:count], data.labels[:count], recipe, **options)
        epoch = (time.time() - began) * len(data) / count * cost
        allowed = self.until - time.time()
        allowed = min(allowed, 60 * self.entry["minutes"] - (time.time() - self.started)) * share
        fit = int(allowed / epoch)
        print(
            f"{self.key}: {epoch:.2f} s an epoch, {allowed:.0f} s: {fit} of {self.entry['epochs']} epochs", flush=True
        )
        if fit < self.entry["fewest"] and not self.smoke:
            raise TimeoutError(f"{self.key}: {fit} epochs fit, fewer than {self.entry['fewest']}")
        chosen = 1 if self.smoke else min(fit, self.entry["epochs"])
        write_atomically(known, to_json(chosen))
        return chosen

    def save(self, module: nn.Module, values: Mapping[str, Any], key: str = "") -> None:
        """Keep a float network as `Results` keeps them, with its metrics beside it."""
        path = self.results.network(key or self.key)
        about = {"specification": module.specification, "task": self.task.name, "values": values}
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous() for name, value in module.state_dict().items()}
        save_file(state, path.with_suffix(".partial"), {"bitbook": json.dumps(about, sort_keys=True)})
        write_atomically(path.with_suffix(".json"), to_json(about))
        path.with_suffix(".partial").replace(path)

    def row(
        self,
        compressed: codes.Compressed,
        variant: str,
        float_values: Mapping[str, float],
        epochs: int,
        *,
        method: str = "dpnet",
        counting: str = "",
    ) -> dict:
        """Save a compressed network, load it back, measure it once, and add its row; counting: the paper's own way."""
        path = self.folder / f"{variant.replace(', ', '-').replace(' ', '-')}.bitbook"
        compressed.save(path)
        values = measure([path], self.task, folder=self.work / "tested")[path]
        headline = self.task.headline
        row = {"task": self.task.name, "method": method, "variant": f"{variant}, {epochs} epochs, GPU"}
        row |= {"metric": headline, "float_value": float_values[headline], "value": values[headline]}
        row |= {"file_bytes": path.stat().st_size, "ratio": codes.load(path).ratio}
        paper = codes.recount(compressed, counting)[0].ratio if counting else None
        row |= {"paper_ratio": paper, "paper_counting": counting}
        self.rows.append(row | {"epochs": epochs, "file": path.name})
        return values

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write rows, metrics and provenance: a run without them is not finished."""
        if self.rows:
            write_atomically(self.folder / "rows.json", to_json(self.rows))
        write_atomically(self.results.metrics(self.key), to_json(metrics))
        about = {"command": f"python full/gpu.py {self.key}", "notebook": "", "parameters": self.entry}
        about |= {"commit": self.commit, "versions": provenance.versions(), "hardware": provenance.hardware()}
        about |= {"seconds": round(time.time() - self.started, 1), "test_reads": self.reads}
        write_atomically(self.results.provenance(self.key), to_json(about))


def rounded(module: nn.Module) -> nn.Module:
    """The network with its weights rounded to float16, as they are packed: what is measured is what is kept."""
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim > 1:
                value.copy_(value.half())
    return module


def float_network(run: Run) -> dict[str, Any]:
    """Train a float network."""
    network = run.task.network(seed=run.entry["seed"]).to(training.device())
    recipe = dataclasses.replace(run.task.recipe, epochs=run.epochs(network, share=0.9))
    data = run.task.train()
    history = training.fit(
        network, data.images, data.labels, recipe, seed=run.entry["seed"], folder=run.work, progress=False
    )
    values = run.test(rounded(network).eval())
    run.save(network, values)
    return {**values, "epochs": recipe.epochs, "loss": history.loss[-1]}


def combined(run: Run) -> dict[str, Any]:
    """Compress a network by DP-Net's combined pipeline."""
    network, float_values = run.network()
    names = {field.name for field in dataclasses.fields(dpnet.Schedule)}
    options = {name: value for name, value in run.entry.items() if name in names}
    # Clusters before the weights make a step dearer, and the file is made after the last one.
    options["epochs"] = run.epochs(network, share=0.7, cost=1.3, objective=training.distillation(network))
    schedule = dpnet.Schedule(**options)
    compressed = dpnet.combined(network, run.task, schedule, seed=run.entry["seed"], folder=run.work)
    values = run.row(
        compressed, f"combined, {schedule.ratio:g}x", float_values, schedule.epochs, counting="deep-k-means"
    )
    return {**values, "float": float_values, "epochs": schedule.epochs, "ratio": compressed.ratio}


def robust(run: Run) -> dict[str, Any]:
    """Train a network under attack, then compress it by DPQ under attack; natural and attacked accuracy of both."""
    network, _ = run.network()
    entry, seed = run.entry, run.entry["seed"]
    attack = dpnet.Attack(epsilon=entry["epsilon"], steps=entry["steps"])
    strongest = dataclasses.replace(attack, steps=20)
    epochs = run.epochs(network, share=0.45, objective=attack.objective())
    common = {"precision": entry["precision"], "seed": seed, "learning_rate": entry["learning_rate"]}
    float_ = dpnet.train_robust(network, run.task, attack=attack, epochs=epochs, folder=run.work, **common)
    float_values = run.test(rounded(float_))
    test = run.task.test()
    images, labels = test.images[: entry["tested"]], test.labels[: entry["tested"]]
    attacked = {"robust": dpnet.accuracies(float_, images, labels, attack=strongest, seed=seed, batch_size=500)}
    run.save(float_, {**float_values, "attacked": attacked["robust"]["attacked"]})
    scheme = dpnet.DPQ(k=entry["k"], every=entry["every"])
    options = Retraining(
        epochs=entry["dpq_epochs"], learning_rate=entry["dpq_learning_rate"], precision=entry["precision"]
    )
    own = {"attack": attack, "seed": seed, "folder": run.work / "DPQ"}
    compressed = dpnet.compress_robust(float_, run.task, scheme, options, **own)
    values = run.row(
        compressed, f"robust, DPQ, k={entry['k']}", float_values, entry["dpq_epochs"], counting="deep-k-means"
    )
    module = compressed.to_module().to(training.device())
    attacked["DPQ"] = dpnet.accuracies(module, images, labels, attack=strongest, seed=seed, batch_size=500)
    return {**values, "float": float_values, "accuracies": attacked, "epochs": epochs, "ratio": compressed.ratio}


def bins(run: Run) -> dict[str, Any]:
    """Search one bin count as the MOEA paper does, and merge the smallest solution that loses no F1."""
    network, float_values = run.network()
    entry = run.entry
    bounds = {"fewest": entry["fewest_bins"], "bins": entry["bins"], "images": entry["images"]}
    search = moea_bins.BinSearch(network, run.task, **bounds, seed=entry["seed"], folder=run.work / "search")
    history = search.evolve(population=entry["population"], generations=entry["generations"])
    found = search.front(search.solutions(history[-1].front_genes[:, 0]))
    kept = search.reaching(found) or [min(found, key=lambda solution: solution.loss)]
    tolerance = max(0.0, kept[0].loss - search.reference)
    made = {"NSGA-II": kept[0], "NSGA-II + merge": search.merge(kept[0], tolerance=tolerance)}
    rows = {
        name: run.row(search.compressed(solution), name, float_values, 0, method="moea_bins", counting="moea")
        for name, solution in made.items()
    }
    return {"files": rows, "float": float_values, "evaluated": search.evaluated, "tolerance": tolerance}


def layers(run: Run) -> dict[str, Any]:
    """Search grid steps layer by layer, and take the file of least divergence at each ratio."""
    network, float_values = run.network()
    entry, images = run.entry, run.entry["images"]
    steps = {"finest": entry["finest"], "coarsest": entry["coarsest"]}
    search = GeneSearch(network, run.task, **steps, images=images, seed=entry["seed"], folder=run.work / "search")
    search.evolve(population=entry["parents"], evaluations=entry["candidates"])
    compare = Divergence(network, run.task, images=images, seed=entry["seed"])
    members = front(search.members(spread_evenly(search.front(), entry["members"]), compare, again=entry["again"]))
    original, rows = 4 * sum(value.numel() for value in network.parameters()), {}
    for ratio in entry["ratios"]:
        if best := pick(members, original / ratio):
            file = codes.load(best.file)
            rows[f"{ratio:g}"] = run.row(file, f"search, {ratio:g}x", float_values, 0, method="moea_bins")
    return {"files": rows, "float": float_values, "evaluated": search.evaluated}


def vector(run: Run) -> dict[str, Any]:
    """Permute, quantise by blocks and fine-tune, in one of the paper's regimes."""
    network, float_values = run.network()
    entry = run.entry
    blocks = permuted_vq.Blocks(**entry["blocks"])
    epochs = run.epochs(network, share=0.5, cost=1.5, objective=training.distillation(network))  # half is the search
    tuning = Retraining(
        epochs=epochs, learning_rate=entry["learning_rate"], optimiser="adam", precision=entry["precision"]
    )
    compressed = permuted_vq.compress(
        network, run.task, blocks, tuning=tuning, seed=entry["seed"], folder=run.work / "tune"
    )
    values = run.row(compressed, entry["regime"], float_values, epochs, method="permuted_vq", counting="pqf")
    return {**values, "float": float_values, "epochs": epochs, "ratio": compressed.ratio}


def pruned(run: Run) -> dict[str, Any]:
    """Prune by ADMM, cluster what is left, and quantise it round by round."""
    network, float_values = run.network()
    entry = run.entry
    epochs = run.epochs(network, share=0.85, cost=1.2, objective=training.distillation(network))
    part = [max(1, round(share * epochs)) for share in (0.35, 0.3, 0.05, 0.25, 0.05)]
    trainings = [
        admm.Training(epochs=count, learning_rate=entry["learning_rate"], rounds=rounds, rho=entry["rho"], growth=1.1)
        for count, rounds in zip(part, (2 * part[0], 1, 4, 8, 1), strict=True)
    ]
    schedule = admm.Schedule(
        prune=(admm.Pruning(constraint=admm.GlobalCardinality(entry["left"]), admm=trainings[0], masked=trainings[1]),),
        cluster=admm.FreeClusters({"*.weight": entry["levels"]}),
        clustering=trainings[2],
        freezing=trainings[3],
        tuning=trainings[4],
        ramp=0.6,
        share=0.8,
        batch_size=entry["batch_size"],
    )
    stage = admm.run(network, run.task, schedule, seed=entry["seed"], folder=run.work)["clustered"]
    compressed = admm.compressed(stage, network, run.task, seed=entry["seed"])
    values = run.row(compressed, f"clustered, {entry['left']:,} weights", float_values, sum(part), method="admm")
    return {**values, "float": float_values, "epochs": sum(part), "ratio": compressed.ratio}


def self_compressed(run: Run) -> dict[str, Any]:
    """Train a network to compress itself."""
    network, float_values = run.network()
    entry = run.entry
    epochs = run.epochs(network, share=0.8, cost=1.4, objective=training.distillation(network))
    recipe = dataclasses.replace(
        run.task.recipe, epochs=epochs, optimiser="adam", learning_rate=1e-3, weight_decay=5e-4
    )
    scheme = self_compression.SelfCompression(gamma=entry["gamma"], charge=entry["charge"])
    own = {"distil": 0.8, "seed": entry["seed"], "folder": run.work}
    compressed, records = self_compression.compress(network, run.task, scheme, recipe, **own)
    variant = f"{entry['charge']}, gamma {entry['gamma']:g}"
    values = run.row(compressed, variant, float_values, epochs, method="self_compression")
    left = records[-1].weights / records[0].weights
    return {**values, "float": float_values, "epochs": epochs, "ratio": compressed.ratio, "weights_left": left}


KINDS: Mapping[str, Callable[[Run], dict]] = {
    "float": float_network,
    "combined": combined,
    "robust": robust,
    "bins": bins,
    "layers": layers,
    "permuted_vq": vector,
    "admm": pruned,
    "self_compression": self_compressed,
}


def small_data(load: Callable[..., datasets.Dataset], side: int) -> Callable[..., datasets.Dataset]:
    """Like `load`, but a few images of a small side: for a smoke test of all code paths on any machine."""

    def small(name: str, *, split: str) -> datasets.Dataset:
        data = load(name, split=split)
        images = data.images[: SMOKE[split], :, :side, :side].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return dataclasses.replace(data, images=images, labels=data.labels[: SMOKE[split]])

    return small


def lane(arguments: argparse.Namespace, queue: Mapping[str, Any]) -> None:
    """Run one lane's entries one after the other; a run that fails prints its traceback, and the lane goes on."""
    load = datasets.load
    torch.set_num_threads(max(1, provenance.cores() // queue.get("lanes", 1)))
    results, until = Results(arguments.work / "results"), arguments.until
    for key, entry in queue["runs"].items():
        if entry.get("lane", 0) != arguments.lane or results.metrics(key).exists():
            continue
        entry = {**queue.get("common", {}), **entry}
        if arguments.smoke:
            entry |= {"batch_size": SMOKE["batch"], "tested": SMOKE["tested"], "every": 1, "dpq_epochs": 1}
            entry["ratio"] = min(entry.get("ratio", 8), 8)
            if not torch.cuda.is_available():
                entry["precision"] = "float32"  # many processors emulate bfloat16, slowly
            datasets.load = small_data(load, entry.get("smoke_side", 8))
        run = Run(key, entry, results, arguments.work / key, until, arguments.commit, arguments.smoke)
        datasets.observe_test_reads(lambda name, run=run: setattr(run, "reads", run.reads + 1))
        try:
            metrics = KINDS[entry["kind"]](run)
            run.finish(metrics)
            print(f"{key}: finished in {time.time() - run.started:.0f} s: {metrics}", flush=True)
        except Exception:
            print(f"{key}: FAILED after {time.time() - run.started:.0f} s\n{traceback.format_exc()}", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def planes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with its weights as float16, their high and low bytes apart, which gzip packs better."""
    packed = {}
    for name, value in state.items():
        if value.ndim > 1:
            halves = value.half().numpy().view(np.uint8).reshape(*value.shape, 2)
            value = torch.from_numpy(np.ascontiguousarray(np.moveaxis(halves, -1, 0)))
        packed[name] = value
    return packed


def weights_of(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict that `planes` took apart, its weights as float32."""
    state = {}
    for name, value in packed.items():
        if value.dtype == torch.uint8:
            halves = np.ascontiguousarray(np.moveaxis(value.numpy(), 0, -1)).view(np.float16)[..., 0]
            value = torch.from_numpy(halves.astype(np.float32))
        state[name] = value
    return state


def pack(work: Path, out: Path, order: list[str], logs: list[Path]) -> None:
    """Pack results, logs and float networks, in this order, into pieces of one archive; say what did not fit."""
    out.mkdir(parents=True, exist_ok=True)
    results, archive, room = Results(work / "results"), work / "results.tar.gz", TOTAL
    members = [path for name in ("runs", "metrics", "provenance") for path in (results.folder / name).rglob("*.*")]
    members += list(results.folder.glob("nets/*/network.json"))
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in logs:
            tar.add(path, path.name)
        for path in sorted(members):
            tar.add(path, f"results/{path.relative_to(results.folder)}")
        tar.fileobj.flush()
        for key in order:
            path = results.network(key)
            if not path.exists():
                continue
            packed = work / f"{key}.planes.safetensors"
            save_file(planes(load_file(path)), packed)
            if archive.stat().st_size + 0.9 * packed.stat().st_size > room:
                print(f"no room for the float network {key}", flush=True)
                continue
            tar.add(packed, f"results/nets/{key}/network.planes")
            tar.fileobj.flush()
    data = archive.read_bytes()
    for piece in range(0, len(data), PIECE):
        write_atomically(out / f"results.tar.gz.{piece // PIECE}", data[piece : piece + PIECE])
    print(f"packed {len(data):,} bytes", flush=True)


def unpack(folder: Path, target: Path) -> None:
    """Take packed files apart into a results folder, float networks as the notebooks read them."""
    archive = target / "results.tar.gz"
    target.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(b"".join(path.read_bytes() for path in sorted(folder.glob("results.tar.gz.*"))))
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2, Debian's, has none
        tar.extractall(target)
    archive.unlink()
    for path in (target / "results").glob("nets/*/network.planes"):
        about = json.loads(path.with_suffix(".json").read_text())
        state = weights_of(load_file(path))
        save_file(state, path.with_suffix(".safetensors"), {"bitbook": json.dumps(about, sort_keys=True)})
        path.unlink()
    for path in sorted((target / "results" / "provenance").glob("*.json")):
        for row in rows_of(Results(target / "results"), path.stem):
            print(f"{path.stem}: {row['variant']}: {row['value']:.4f}, {row['file_bytes']:,} bytes")


def run_queue(arguments: argparse.Namespace, queue: Mapping[str, Any]) -> None:
    """Start a process for each lane, stop what runs at the end of the time, and pack."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    stop = time.time() + 60 * arguments.minutes - PACKING
    common = [
        sys.executable,
        __file__,
        str(arguments.queue),
        "--out",
        str(arguments.out),
        "--work",
        str(arguments.work),
    ]
    common += ["--until", f"{stop - PACKING}", "--commit", arguments.commit] + ["--smoke"] * arguments.smoke
    logs, lanes = [], []
    for number in range(queue.get("lanes", 1)):
        logs.append(arguments.work / f"lane-{number}.log")
        with logs[-1].open("wb") as log:
            lanes.append(subprocess.Popen([*common, "--lane", str(number)], stdout=log, stderr=subprocess.STDOUT))
    while any(process.poll() is None for process in lanes) and time.time() < stop:
        time.sleep(0.2)
    for process in lanes:
        if process.poll() is None:
            print("out of time: stopped; the same command goes on from the checkpoints", flush=True)
            process.kill()
            process.wait()
    pack(arguments.work, arguments.out, list(queue["runs"]), logs)
    for path in logs:
        lines = path.read_bytes().decode(errors="replace").replace("\r", "\n").split("\n")
        text = "\n".join(line for line in lines if line.strip() and "%|" not in line)  # without progress bars
        print(f"--- {path.name}\n{text[-5000:]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", nargs="?", type=Path, help="the list of runs, such as full/gpu.yaml")
    parser.add_argument("--minutes", type=float, default=9.0, help="of everything, packing included")
    parser.add_argument("--out", type=Path, help="the folder for the packed files")
    parser.add_argument("--work", type=Path, default=Path(".work/gpu"), help="for checkpoints and results")
    parser.add_argument("--commit", default="", help="of the code, where there is no Git")
    parser.add_argument("--smoke", action="store_true", help="one step of everything on a few small images")
    parser.add_argument("--unpack", type=Path, metavar="DIR", help="take packed files apart")
    parser.add_argument("--results", type=Path, help="where --unpack puts them")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.unpack:
        return unpack(arguments.unpack, arguments.results)
    queue = yaml.safe_load(arguments.queue.read_text())
    return run_queue(arguments, queue) if arguments.lane is None else lane(arguments, queue)


if __name__ == "__main__":
    main()
