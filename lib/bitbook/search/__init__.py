"""Searches over files: sweeps, NSGA-II, workers, and the layer-wise search over real bytes."""

from bitbook.search._fast_divergence import FastDivergence
from bitbook.search._gene_search import GeneSearch, spread_evenly
from bitbook.search._genes import Genes, Point, round_again
from bitbook.search._nsga2 import Generation, evolve, hypervolume, polynomial, simulated_binary
from bitbook.search._sweep import Candidate, index_sizes, kept_candidates, sweep
from bitbook.search._workers import Workers

__all__ = [
    "Candidate", "FastDivergence", "GeneSearch", "Generation", "Genes", "Point", "Workers", "evolve", "hypervolume",
    "index_sizes", "kept_candidates", "polynomial", "round_again", "simulated_binary", "spread_evenly", "sweep",
]  # fmt: skip
