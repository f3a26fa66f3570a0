"""What a compressed tensor is, and the file that holds a network of them."""

from .compressed import Compressed
from .container import load, save
from .entropy import entropy_bits
from .errors import BitbookFormatError
from .ledger import Ledger, Row
from .packing import fixed_bits
from .scalar import ScalarCode

__all__ = [
    "BitbookFormatError",
    "Compressed",
    "Ledger",
    "Row",
    "ScalarCode",
    "entropy_bits",
    "fixed_bits",
    "load",
    "save",
]
