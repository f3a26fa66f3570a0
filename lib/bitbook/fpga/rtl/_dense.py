"""The dense multiply-accumulate array: the baseline, with the interfaces of the accumulating unit."""

from functools import reduce
from operator import add

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib.memory import Memory

from bitbook.fpga._unit import ADDED

from ._front import Front, later


class DenseUnit(Front):
    """P rows by S inputs of multipliers; a codebook, where there is one, decodes the stream before them.

    Packed, two rows share a multiplier: (w1 * 2**16 + w0) * x holds both products, the upper one short of the borrow
    of the lower.
    """

    def elaborate(self, platform: object) -> Module:
        """Return the circuit."""
        m, unit = Module(), self.unit
        x = self.front(m)
        m.d.comb += self.room.eq(1)
        weights = [code.as_signed() for code in self.codes]
        if unit.codewords:
            small = {"ram_style": "distributed"}  # else Yosys makes registers and selectors of small codebooks
            m.submodules.codebook = book = Memory(
                shape=signed(unit.weight_width), depth=unit.codewords, init=[], attrs=small
            )
            port = book.write_port()
            m.d.comb += [port.addr.eq(self.c_address), port.data.eq(self.c_data), port.en.eq(self.c_valid)]
            for lane, code in enumerate(self.codes):
                read = book.read_port(domain="comb")
                m.d.comb += read.addr.eq(code)
                weights[lane] = read.data
        products = [[Signal(signed(unit.weight_width + unit.activation_width)) for _ in row] for row in x]
        for s in range(unit.inputs):
            column = [weights[p * unit.inputs + s] for p in range(unit.rows)]
            if not unit.packed:
                m.d.sync += [products[p][s].eq(weight * x[p][s]) for p, weight in enumerate(column)]
                continue
            for p in range(0, unit.rows, 2):
                both = Signal(signed(16 + unit.weight_width + unit.activation_width), name=f"both_{p}_{s}")
                m.d.sync += both.eq(((column[p + 1] << 16) + column[p]) * x[p][s])
                m.d.comb += [products[p][s].eq(both[:16].as_signed()), products[p + 1][s].eq((both >> 16) + both[15])]
        valid, last, first = Signal(), Signal(), Signal(init=1)
        sums = [Signal(signed(unit.output_width), name=f"sum_{p}") for p in range(unit.rows)]
        m.d.sync += [valid.eq(self.valid), last.eq(self.last)]
        if unit.inputs > ADDED:
            sixteens = range(0, unit.inputs, ADDED)
            products = [[later(m, reduce(add, row[i : i + ADDED])) for i in sixteens] for row in products]
            valid, last = later(m, valid), later(m, last)
        m.d.sync += self.y_valid.eq(valid & last)
        with m.If(valid):
            m.d.sync += first.eq(last)
            for total, row in zip(sums, products, strict=True):
                m.d.sync += total.eq(reduce(add, row) + Mux(first, 0, total))
        m.d.comb += self.y_data.eq(Cat(sums))
        return m
