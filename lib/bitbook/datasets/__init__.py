"""Image sets in one canonical form: fingerprints, counted test reads, resumable downloads from official sources."""

from ._canonical import SETS
from ._dataset import Dataset, DatasetDamaged, DatasetMissing, folder
from ._download import DownloadFailed, download
from ._image_folder import ImageFiles, batches
from ._loading import NamedImages, OwnImages, fingerprint, load, observe_test_reads
from ._official import SOURCES, fetch

__all__ = [
    "SETS", "SOURCES", "Dataset", "DatasetDamaged", "DatasetMissing", "DownloadFailed", "ImageFiles", "NamedImages",
    "OwnImages", "batches", "download", "fetch", "fingerprint", "folder", "load", "observe_test_reads",
]  # fmt: skip
