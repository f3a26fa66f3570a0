"""Kernels that compute with codes: products and convolutions of compressed layers, never decoded as a whole."""

from ._buckets import bucket_products
from ._layer import EightBitLookup, Lookup

__all__ = ["EightBitLookup", "Lookup", "bucket_products"]
