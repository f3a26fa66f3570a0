"""The `bitbook` command; each subcommand imports what it needs."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bitbook import Compressed, load
from bitbook.files import write_atomically


def printable(text: str) -> str:
    """Return text without control characters, which a file or its name could send to the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def _loaded(path: str) -> Compressed:
    """Return what a file holds; ValueError says which file is bad."""
    try:
        return load(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def info(arguments: argparse.Namespace) -> int:
    """Print what a file holds and where its bytes go."""
    compressed = _loaded(arguments.file)
    print(f"network         {compressed.specification!r}")
    print(f"parameters      {compressed.original_parameters:,}")
    print(f"ratio           {compressed.ratio:.2f}")
    if compressed.ratio_fp16 is not None:
        print(f"ratio_fp16      {compressed.ratio_fp16:.2f}")
    print(compressed.summary())
    print(compressed.ledger())
    return 0


def compress(arguments: argparse.Namespace) -> int:
    """Compress a file of weights without data, and print what is coded and what is not."""
    from bitbook.compression import compress_state_dict, read_state_dict

    options = {"ratio": arguments.ratio, "budget": arguments.budget, "k": arguments.k, "exclude": arguments.exclude}
    compressed = compress_state_dict(read_state_dict(arguments.weights), **options)
    compressed.save(arguments.output)
    print(compressed.summary())
    print(printable(f"{arguments.output}: {len(compressed.to_bytes()):,} bytes, ratio {compressed.ratio:.2f}"))
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write the decoded weights as plain safetensors."""
    from safetensors.numpy import save as serialise
    from tqdm import tqdm

    if arguments.output.suffix != ".safetensors":
        raise ValueError(f"{arguments.output}: weights are exported as .safetensors; name the output so")
    decoded = _loaded(arguments.file).decode()
    if wide := [name for name, values in decoded.items() if values.dtype == np.complex128]:
        raise ValueError(f"{', '.join(wide)}: safetensors holds no complex128")
    bar = tqdm(decoded.items(), desc="export", unit="tensor")
    state = {name: np.ascontiguousarray(values) for name, values in bar}
    write_atomically(arguments.output, serialise(state))
    print(printable(f"{arguments.output}: {sum(values.size for values in state.values()):,} numbers"))
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Load each file and decode its weights; print OK or the fault; fail if one is bad or missing."""
    bad = 0
    for path in arguments.file:
        try:
            weights = load(path).decode()
            fault = next((f"{name}: infinite weights" for name, v in weights.items() if not np.isfinite(v).all()), "OK")
        except MemoryError:
            fault = "does not fit into memory"
        except Exception as error:  # whatever it is, the files after it are verified
            fault = str(error) or type(error).__name__
        print(printable(f"{path}: {fault}").replace("\n", "\\n"))  # no name makes a line of its own
        bad += fault != "OK"
    return int(bad > 0)


def recount(arguments: argparse.Namespace) -> int:
    """Print the size of a file as a paper counts it, and its real size, each beside what it is a share of."""
    from bitbook.codes import recount

    compressed = _loaded(arguments.file)
    left = " left" if compressed.specification.get("factory") == "shrunk" else ""  # channels are gone: see `recount`
    for count in recount(compressed, arguments.rule):
        of = f"of {count.original_bits / 32:,.0f} floats{left}"
        print(f"{arguments.rule:12} {count.bits / 8:14,.1f} bytes {count.ratio:10.2f}x {of:22} {count.what}")
    of = f"of {compressed.original_parameters:,} floats"
    print(f"{'file':12} {len(compressed.to_bytes()):14,.1f} bytes {compressed.ratio:10.2f}x {of:22} everything")
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print which weights, codes and sizes of two files differ; fail if any does."""
    from bitbook.codes import differences

    found = differences(_loaded(arguments.first), _loaded(arguments.second))
    for difference in found:
        print(f"{difference.section:40} {difference.kind:8} {difference.what}")
    return int(bool(found))


def fpga(arguments: argparse.Namespace) -> int:
    """Print time and resources of a file's network on a board: the fastest design of each kind, and its layers."""
    from bitbook import fpga, networks

    board, compressed = fpga.board(arguments.board), _loaded(arguments.file)
    shape = networks.image_shape(compressed.specification)
    if arguments.image:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", arguments.image):
            raise ValueError(f"--image {arguments.image}: give channels, height and width, such as 3x32x32")
        channels, height, width = map(int, arguments.image.split("x"))
        shape = channels, height, width
    layers = fpga.layers(compressed, networks.output_positions(compressed.to_module(), shape))
    reports = fpga.searched(layers, board)
    if arguments.json:
        print(json.dumps({name: report.as_json() for name, report in reports.items()}, indent=1))
        return 0
    print(fpga.text(reports))
    return 0


def page(arguments: argparse.Namespace) -> int:
    """Write one HTML page about a file: its size, layers, codebooks and where its bytes go."""
    from bitbook.report._file_page import page

    write_atomically(arguments.output, page(_loaded(arguments.file), printable(Path(arguments.file).name)))
    return 0


def stage(arguments: argparse.Namespace) -> int:
    """Do what one stage of dvc.yaml does."""
    from bitbook.pipeline._execute import NotebookFailed
    from bitbook.pipeline._stages import stage

    if arguments.threads:
        os.environ.setdefault("BITBOOK_THREADS", str(arguments.threads))
    try:
        stage(arguments.kind, arguments.name, arguments.params)
    except NotebookFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def data(arguments: argparse.Namespace) -> int:
    """Fetch data sets that are missing from their official sources; print what is there."""
    from bitbook import datasets

    for name in arguments.name:
        try:
            marks = datasets.fingerprint(name)
        except (datasets.DatasetMissing, datasets.DatasetDamaged):
            if name not in datasets.SOURCES:
                raise
            datasets.fetch(name)
            marks = datasets.fingerprint(name)
        print(f"{name}: " + ", ".join(f"{mark['count']} {split} images" for split, mark in marks.items()))
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Bring results into published/: this checkout's, or those of a folder after evaluating their files here."""
    from bitbook.pipeline import _publish

    rows = _publish.imported_rows(arguments.folder) if arguments.folder else _publish.local_rows()
    print(f"published/table.csv: {_publish.publish(rows)} results inserted or updated")
    return 0


def claims(arguments: argparse.Namespace) -> int:
    """Print what the papers claim first, compared with our results."""
    from bitbook.pipeline import root
    from bitbook.pipeline._claims import in_text

    print(in_text(root() / "published", shutil.get_terminal_size((100, 0)).columns))
    return 0


def pages(arguments: argparse.Namespace) -> int:
    """Make the tables and the picture of README.md, RESULTS.md and REPRODUCING.md from published/."""
    from bitbook.pipeline import _pages, root

    _pages.write(root())
    print(f"written: {', '.join((*_pages.PAGES, _pages.PICTURE))}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write HTML pages of everything in published/: an index, each network and method, notebook and file."""
    from bitbook.pipeline import _pages, root

    if arguments.output.exists() and any(arguments.output.iterdir()):
        raise ValueError(f"{arguments.output} is not empty: name a new folder")
    _pages.write_report(root(), arguments.output)
    print(f"written: {arguments.output / 'index.html'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command's parser: one subparser for each subcommand, its help the first line of what it runs."""
    top = argparse.ArgumentParser(
        prog="bitbook", description="Compress networks, look into files, make the project's pages."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(run: Callable[[argparse.Namespace], int], *names: str, **options: Any) -> argparse.ArgumentParser:
        about = (run.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(run.__name__, help=about, description=about)
        for name in names:
            command.add_argument(name, **options)
        command.set_defaults(run=run)
        return command

    add(info, "file")
    command = add(compress)
    command.add_argument("weights", type=Path, metavar="MODEL", help="a .safetensors or .pt file")
    command.add_argument("-o", "--output", type=Path, required=True, help="the .bitbook file to write")
    size = command.add_mutually_exclusive_group(required=True)
    size.add_argument("--ratio", type=float, help="4 bytes times the parameters, divided by the bytes of the file")
    size.add_argument("--budget", type=int, help="most bytes of the file")
    size.add_argument("--k", type=int, help="centroids of each tensor")
    command.add_argument("--exclude", nargs="+", default=(), metavar="PATTERN", help="tensors that stay dense")
    command = add(export, "file")
    command.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    add(verify, "file", nargs="+")
    command = add(recount, "file")
    command.add_argument("--as", dest="rule", required=True, help="moea, pqf, han2016, admm or deep-k-means")
    add(diff, "first", "second")
    command = add(fpga, "file")
    command.add_argument("--board", required=True, help="xc7z020, zu3eg, zu9eg, kv260 or u50")
    command.add_argument("--image", metavar="CxHxW", help="size of the images; default: the network's usual one")
    command.add_argument("--json", action="store_true", help="all figures as JSON")
    command = add(page, "file")
    command.add_argument("-o", "--output", type=Path, required=True, help="the .html file to write")
    add(data, "name", nargs="+")
    command = add(stage)
    command.add_argument("kind", choices=["clean", "data", "net", "run", "collect", "report"])
    command.add_argument("name", nargs="?", help="a notebook, a task, or a key of the params file; else what DVC runs")
    command.add_argument("--params", type=Path, default=Path("params.yaml"), help="the file that names nets and runs")
    threads = "to compute with, unless $BITBOOK_THREADS says otherwise; default: one for each core"
    command.add_argument("--threads", type=_count, metavar="N", help=threads)
    add(publish, "folder", nargs="?", type=Path, help="results made elsewhere; default: those of this checkout")
    add(claims)
    add(pages)
    add(report).add_argument("-o", "--output", type=Path, required=True, help="a new folder for the pages")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command; a failure that the user can mend, and Ctrl-C, are one line, not a traceback."""
    parsed = parser().parse_args(arguments)
    try:
        if parsed.run in (stage, publish, claims, pages, report):  # which speak for a checkout
            from bitbook.pipeline._stages import use_own_code

            use_own_code(sys.argv[1:] if arguments is None else arguments)
        code = parsed.run(parsed)
        sys.stdout.flush()  # at exit it would be too late for what follows
        return code
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        print(printable(f"bitbook: {error}"), file=sys.stderr)
        return 2
    except MemoryError:
        print("bitbook: this does not fit into memory", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bitbook: stopped; what was finished is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
