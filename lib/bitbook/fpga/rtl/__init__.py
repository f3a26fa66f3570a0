"""The hardware itself, in Amaranth: circuits, and their simulation."""

from bitbook.fpga._unit import Unit

from ._accumulate import AccumulateUnit
from ._dense import DenseUnit
from ._front import Front
from ._simulation import Simulation, simulate

__all__ = ["AccumulateUnit", "DenseUnit", "Front", "Simulation", "circuit", "simulate"]


def circuit(unit: Unit) -> Front:
    """Return the circuit of a unit."""
    return {"dense": DenseUnit, "accumulate": AccumulateUnit}[unit.kind](unit)
