"""How many numbers a file may claim: in proportion to its bytes and to the memory at hand."""

from __future__ import annotations

import os
from pathlib import Path

FEWEST, MOST = 1 << 26, 1 << 31
PER_BYTE = 64  # numbers that a byte may stand for in a large file: an eighth of a bit each
MEMORY = 8  # bytes that a number takes while a file is read and decoded


def default_max_weights(size: int) -> int:
    """Return how many numbers a file of `size` bytes may claim where the caller sets no limit."""
    return min(MOST, max(FEWEST, PER_BYTE * size), _memory_at_hand() // MEMORY)


def _memory_at_hand() -> int:
    """Return the bytes of memory that are available, on Linux; elsewhere half of what there is."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) << 10
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else MOST
