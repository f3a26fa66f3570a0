"""What a compressed tensor is, and the file that holds a network of them."""

from .code import Code
from .compressed import Compressed
from .container import coded_bytes, decode, load, save
from .counting import RULES, Count, recount
from .difference import Difference, differences
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
    "RULES",
    "BitbookFormatError",
    "Code",
    "Compressed",
    "Count",
    "Difference",
    "GridCode",
    "Ledger",
    "Row",
    "ScalarCode",
    "SparseCode",
    "VectorCode",
    "coded_bytes",
    "decode",
    "differences",
    "entropy_bits",
    "fixed_bits",
    "huffman_bits",
    "load",
    "recount",
    "save",
]
