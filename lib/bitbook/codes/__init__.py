"""What a compressed tensor is, and the file that holds a network of them."""

from .code import Code
from .compressed import Compressed
from .container import decode, load, save
from .entropy import entropy_bits
from .errors import BitbookFormatError
from .grid import GridCode
from .huffman import huffman_bits
from .ledger import Ledger, Row
from .packing import fixed_bits
from .scalar import ScalarCode
from .sparse import SparseCode
from .vector import VectorCode

__all__ = [
    "BitbookFormatError",
    "Code",
    "Compressed",
    "GridCode",
    "Ledger",
    "Row",
    "ScalarCode",
    "SparseCode",
    "VectorCode",
    "decode",
    "entropy_bits",
    "fixed_bits",
    "huffman_bits",
    "load",
    "save",
]
