"""The five papers, each in its own symbols."""

from bitbook.methods import dpnet, moea_bins

__all__ = ["dpnet", "moea_bins"]
