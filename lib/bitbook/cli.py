"""The `bitbook` command; each subcommand imports what it needs."""

from __future__ import annotations

import argparse
import sys


def info(arguments: argparse.Namespace) -> int:
    """Print what a file holds and where its bytes go."""
    from bitbook import load

    compressed = load(arguments.file)
    print(f"network         {compressed.specification}")
    print(f"parameters      {compressed.original_parameters:,}")
    print(f"ratio           {compressed.ratio:.2f}")
    if compressed.ratio_fp16 is not None:
        print(f"ratio_fp16      {compressed.ratio_fp16:.2f}")
    print(compressed.ledger())
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Load each file and decode its weights; print OK or the fault; fail if one is bad."""
    from bitbook import BitbookFormatError, load

    bad = 0
    for path in arguments.file:
        try:
            load(path).decode()
            print(f"{path}: OK")
        except BitbookFormatError as error:
            print(f"{path}: {error}")
            bad += 1
    return int(bad > 0)


def parser() -> argparse.ArgumentParser:
    """Return the command's parser: one subparser for each subcommand."""
    top = argparse.ArgumentParser(prog="bitbook", description="Compressed networks: look into them, verify them.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("info", help="what a file holds and where its bytes go")
    command.add_argument("file")
    command.set_defaults(run=info)
    command = commands.add_parser("verify", help="check files to the last byte")
    command.add_argument("file", nargs="+")
    command.set_defaults(run=verify)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command; a failure that the user can mend is one line, not a traceback."""
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except (OSError, ValueError) as error:
        print(f"bitbook: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
