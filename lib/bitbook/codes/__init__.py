"""What a compressed tensor is, and the file that holds a network of them."""

from ._arrays import fixed_bits, small_floats
from ._code import Code
from ._coded import Coded
from ._compressed import Compressed
from ._container import coded_bytes, decode, load, save
from ._counting import RULES, Count, huffman_bits, recount
from ._entropy import entropy_bits
from ._grid import GridCode
from ._header import BitbookFormatError
from ._indexed import ScalarCode, VectorCode
from ._ledger import Ledger, Row
from ._sparse import SparseCode
from ._words import Difference, differences

__all__ = [
    "RULES", "BitbookFormatError", "Code", "Coded", "Compressed", "Count", "Difference", "GridCode", "Ledger", "Row",
    "ScalarCode", "SparseCode", "VectorCode", "coded_bytes", "decode", "differences", "entropy_bits", "fixed_bits",
    "huffman_bits", "load", "recount", "save", "small_floats",
]  # fmt: skip
