"""What a compressed tensor is, and the file that holds a network of them."""

from ._arrays import small_floats
from ._code import Code
from ._coded import Coded
from ._compressed import Compressed
from ._container import coded_bytes, decode, load, save
from ._counting import RULES, Count, recount
from ._difference import Difference, differences
from ._entropy import entropy_bits
from ._errors import BitbookFormatError
from ._grid import GridCode
from ._huffman import huffman_bits
from ._ledger import Ledger, Row
from ._packing import fixed_bits
from ._scalar import ScalarCode
from ._sparse import SparseCode
from ._vector import VectorCode

__all__ = [
    "RULES",
    "BitbookFormatError",
    "Code",
    "Coded",
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
    "small_floats",
]
