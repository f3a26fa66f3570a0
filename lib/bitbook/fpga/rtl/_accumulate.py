"""The accumulate-then-multiply unit: y_r = sum_k c_k * (sum of the x_j whose weight has code k)."""

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib.memory import Memory

from bitbook.fpga._unit import ADDED

from ._front import Front, later


class AccumulateUnit(Front):
    """A file of K accumulators for each of P * S * d lanes, twice: one fills while M multipliers drain the other.

    A lane adds its activation to the accumulator that the code names, one a cycle, since the files are read without a
    clock (look-up-table memory). Draining sums the S files of a row, multiplies by the codeword, and leaves zeros.
    """

    def elaborate(self, platform: object) -> Module:
        """Return the circuit."""
        m, unit = Module(), self.unit
        x = self.front(m)
        share = unit.rows // unit.multipliers  # rows of each multiplier
        k, e, r = Signal(range(unit.codewords)), Signal(range(max(2, unit.dimension))), Signal(range(max(2, share)))
        full, filling, draining, bank = Signal(2), Signal(), Signal(), Signal()  # bank: of the second stage
        drain, end = full.bit_select(draining, 1), Signal()
        ends = (k == unit.codewords - 1) & (e == unit.dimension - 1)
        m.d.comb += [
            self.multiplying.eq(drain),
            end.eq(drain & ends & (r == share - 1)),
            self.room.eq(~full.bit_select(filling, 1) | (end & (draining == filling))),
        ]
        with m.If(self.take):
            m.d.sync += [bank.eq(filling), filling.eq(filling ^ self.w_last)]
        with m.If(self.valid & self.last):
            m.d.sync += full.bit_select(bank, 1).eq(1)
        with m.If(drain):
            m.d.sync += k.eq(Mux(k == unit.codewords - 1, 0, k + 1))
            with m.If(k == unit.codewords - 1):
                m.d.sync += e.eq(Mux(e == unit.dimension - 1, 0, e + 1))
            with m.If(ends):
                m.d.sync += r.eq(Mux(r == share - 1, 0, r + 1))
        with m.If(end):
            m.d.sync += [full.bit_select(draining, 1).eq(0), draining.eq(~draining)]

        # The adders see zeros in a bank that drains, so that they need no gates behind them; all rows share these.
        words = [[Mux(full[b], 0, value) for value in x[0]] for b in range(2)]
        bins: list[list[list]] = []  # (P, d, S), of the bank that drains
        for p in range(unit.rows):
            bins.append([[] for _ in range(unit.dimension)])
            for s in range(unit.inputs):
                lane = p * unit.inputs + s
                for d in range(unit.dimension):
                    held = []
                    chosen = (r == p % share) & (e == d)
                    for b in range(2):
                        name = f"bins_{p}_{s}_{d}_{b}"
                        file = Memory(shape=signed(unit.bin_width), depth=unit.codewords, init=[])
                        m.submodules[name], read, write = file, file.read_port(domain="comb"), file.write_port()
                        fill, value = self.valid & (bank == b), words[b][s * unit.dimension + d]
                        if unit.sparse:  # a word for each lane
                            fill, value = fill & self.enable[lane], Mux(full[b], 0, x[p][s * unit.dimension + d])
                        m.d.comb += [
                            read.addr.eq(Mux(full[b], k, self.codes[lane])),
                            write.addr.eq(read.addr),
                            write.data.eq(value + Mux(full[b], 0, read.data)),
                            write.en.eq(Mux(full[b], (draining == b) & chosen, fill)),
                        ]
                        held.append(read.data)
                    bins[p][d].append(Mux(draining, held[1], held[0]))

        m.submodules.codebook = book = Memory(
            shape=signed(unit.weight_width), depth=max(2, unit.codewords * unit.dimension), init=[]
        )
        port, codeword, entry = book.write_port(), book.read_port(), Signal(range(unit.codewords * unit.dimension + 1))
        m.d.comb += [port.addr.eq(self.c_address), port.data.eq(self.c_data), port.en.eq(self.c_valid)]
        m.d.comb += codeword.addr.eq(entry)
        begins = (k == 0) & (e == 0)
        if unit.inputs > ADDED:
            drain, ends, begins = later(m, drain), later(m, ends), later(m, begins)
        with m.If(drain):
            m.d.sync += entry.eq(Mux(ends, 0, entry + 1))
        valid, first, last, done = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [valid.eq(drain), first.eq(begins), last.eq(drain & ends), done.eq(last)]
        m.d.comb += self.y_valid.eq(done)
        totals = []
        for i in range(unit.multipliers):
            rows, parts = bins[i * share : (i + 1) * share], []
            for at in range(0, unit.inputs, ADDED):
                parts.append(Array(Array(sum(files[at : at + ADDED]) for files in row) for row in rows)[r][e])
            merged = Signal(signed(unit.bin_width + (unit.inputs - 1).bit_length()), name=f"merged_{i}")
            total = Signal(signed(unit.output_width), name=f"total_{i}")
            m.d.sync += merged.eq(parts[0] if len(parts) == 1 else sum(later(m, part) for part in parts))
            with m.If(valid):
                m.d.sync += total.eq(merged * codeword.data + Mux(first, 0, total))
            totals.append(total)
        m.d.comb += self.y_data.eq(Cat(totals))
        return m
