"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets and given weights, or a skip that says how to get it.

    It is `$BITBOOK_DATA`, else what `../shared/data/unpack.py` (packed sets beside the checkout) writes to .work/data.
    """
    packed = ROOT.parent / "shared" / "data" / "unpack.py"
    if "BITBOOK_DATA" not in os.environ:
        if not packed.exists():
            pytest.skip("needs real data: set BITBOOK_DATA to a folder that `bitbook data NAME` has filled")
        unpacked = ROOT / ".work" / "data"
        subprocess.run([sys.executable, str(packed), str(unpacked)], check=True)
        os.environ["BITBOOK_DATA"] = str(unpacked)
    return Path(os.environ["BITBOOK_DATA"])
