"""Image sets in one canonical form: fingerprints, counted test reads, resumable downloads from official sources."""

from __future__ import annotations

from bitbook.datasets.canonical import (
    SETS,
    Dataset,
    DatasetDamaged,
    DatasetMissing,
    fingerprint,
    folder,
    load,
    test_reads,
)

__all__ = [
    "SETS",
    "Dataset",
    "DatasetDamaged",
    "DatasetMissing",
    "fingerprint",
    "folder",
    "load",
    "test_reads",
]
