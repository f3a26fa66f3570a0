"""Image sets in one canonical form: fingerprints, counted test reads, resumable downloads from official sources."""

from __future__ import annotations

from bitbook.datasets._canonical import SETS
from bitbook.datasets._dataset import Dataset, DatasetDamaged, DatasetMissing, folder
from bitbook.datasets._download import DownloadFailed, download
from bitbook.datasets._image_folder import ImageFiles, batches
from bitbook.datasets._loading import NamedImages, OwnImages, fingerprint, load, observe_test_reads
from bitbook.datasets._official import SOURCES, fetch

__all__ = [
    "SETS",
    "SOURCES",
    "Dataset",
    "DatasetDamaged",
    "DatasetMissing",
    "DownloadFailed",
    "ImageFiles",
    "NamedImages",
    "OwnImages",
    "batches",
    "download",
    "fetch",
    "fingerprint",
    "folder",
    "load",
    "observe_test_reads",
]
