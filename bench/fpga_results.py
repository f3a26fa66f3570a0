"""Latency of published files on three boards, and the claim of 5 times: published/fpga.csv, fpga_claim.csv.

All files in Git of MNIST and CIFAR-10. SqueezeNet's, on ImageNet, are too large for Git: it is clustered here, without
training, and needs its pretrained weights in $BITBOOK_DATA. No data set is read. `python bench/fpga_results.py` takes
some minutes; then `bitbook pages`.
"""

from __future__ import annotations

import time
from pathlib import Path

from bitbook import fpga, load, networks, tasks
from bitbook.compression import assemble, weight_tensors
from bitbook.methods import dpnet, moea_bins
from bitbook.pipeline import _tables as tables
from bitbook.pipeline import root

BOARDS = [fpga.board(name) for name in ("xc7z020", "zu9eg", "u50")]
COLUMNS = ("task", "method", "variant")


def workloads(published: Path):
    for row in tables.read(published / "table.csv"):
        if row["file"] and row["task"].startswith(("mnist", "cifar10")) and not row["task"].startswith("cifar100"):
            compressed = load(published.parent / row["file"])
            yield row, compressed, compressed.to_module()
    task = tasks.get("imagenet")
    network = task.network()
    network.load_state_dict(task.pretrained_weights())
    tensors = weight_tensors(network)
    made = {("dpnet", f"none, k={k}"): dpnet.optimal_layers(tensors, k) for k in (4, 16)}
    made["moea_bins", "bins, plain, 3000 bins"] = moea_bins.shared_bins(tensors, 3000)
    for (method, variant), coded in made.items():
        row = {"task": "imagenet", "method": method, "variant": variant, "file": ""}
        yield row, assemble(network, coded), network


def main() -> None:
    published, rows = root() / "published", []
    claims = [
        {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
        for row in fpga.claim(1024, [2, 4, 8, 16, 32, 64, 256], BOARDS)
    ]
    tables.write(published / "fpga_claim.csv", claims)
    for row, compressed, network in workloads(published):
        shape = networks.image_shape(compressed.specification)
        layers = fpga.layers(compressed, networks.output_positions(network, shape))
        most = max(layer.codewords for layer in layers)
        for board in BOARDS:
            reports = fpga.searched(layers, board)
            for design, report in reports.items():
                found = {"codewords": most, "board": board.name, "design": design, "on_chip": report.on_chip}
                found |= {"latency_ms": round(1e3 * report.latency, 5), "images_s": round(report.throughput, 1)}
                found |= report.resources | {"bottleneck": report.bottleneck}
                for width in ("16 bits", "8 bits packed"):
                    ratio = reports[f"MAC, {width}"].latency / report.latency
                    found[f"over_mac_{width.split()[0]}"] = round(ratio, 3)
                rows.append({name: row[name] for name in COLUMNS} | found)
        print(row["task"], row["variant"], round(time.process_time()), "s", flush=True)
        tables.write(published / "fpga.csv", rows)


if __name__ == "__main__":
    main()
