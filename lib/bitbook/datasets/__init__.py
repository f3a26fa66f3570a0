"""Image sets in one canonical form: fingerprints, counted test reads, resumable downloads from official sources."""

from __future__ import annotations

from bitbook.datasets.canonical import SETS
from bitbook.datasets.dataset import Dataset, DatasetDamaged, DatasetMissing, folder
from bitbook.datasets.download import DownloadFailed, download
from bitbook.datasets.image_folder import ImageFiles
from bitbook.datasets.loading import fingerprint, load, observe_test_reads
from bitbook.datasets.official import SOURCES, fetch

__all__ = [
    "SETS",
    "SOURCES",
    "Dataset",
    "DatasetDamaged",
    "DatasetMissing",
    "DownloadFailed",
    "ImageFiles",
    "download",
    "fetch",
    "fingerprint",
    "folder",
    "load",
    "observe_test_reads",
]
