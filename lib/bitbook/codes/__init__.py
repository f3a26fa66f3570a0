"""What a compressed tensor is, and the file that holds a network of them."""

from .compressed import Code, Compressed
from .container import load, save
from .entropy import entropy_bits
from .errors import BitbookFormatError
from .huffman import huffman_bits
from .ledger import Ledger, Row
from .packing import fixed_bits
from .scalar import ScalarCode

__all__ = [
    "BitbookFormatError",
    "Code",
    "Compressed",
    "Ledger",
    "Row",
    "ScalarCode",
    "entropy_bits",
    "fixed_bits",
    "huffman_bits",
    "load",
    "save",
]
