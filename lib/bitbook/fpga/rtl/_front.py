"""What both units share: the two streams, and two vectors of activations, one in use while the other is loaded."""

from amaranth import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitbook.fpga._unit import Unit


def later(m: Module, value: Value) -> Signal:
    """Return a value a cycle later."""
    register = Signal(value.shape())
    m.d.sync += register.eq(value)
    return register


class Front(wiring.Component):
    """The ports of a matrix-vector unit and its first stage.

    x: words of S * d activations; last marks the end of a vector. w: beats of P * S codes or weights, row by row; last
    marks the end of a group of rows, final that of a vector, which a sequencer outside knows. enable and column, for
    sparse codes: which lanes hold a code, and the word that it is for. c: the codebook, component by component.
    y: results, of P rows for a dense unit and of M for an accumulating one.
    """

    def __init__(self, unit: Unit):
        self.unit = unit
        count = unit.rows if unit.kind == "dense" else unit.multipliers
        codes = unit.rows * unit.inputs
        entries = max(2, unit.codewords * unit.dimension)
        super().__init__(
            {
                "x_valid": In(1),
                "x_ready": Out(1),
                "x_last": In(1),
                "x_data": In(unit.inputs * unit.dimension * unit.activation_width),
                "w_valid": In(1),
                "w_ready": Out(1),
                "w_last": In(1),
                "w_final": In(1),
                "w_data": In(codes * unit.code_width),
                "w_enable": In(codes),
                "w_column": In(codes * unit.column_width),
                "c_valid": In(1),
                "c_address": In(range(entries)),
                "c_data": In(signed(unit.weight_width)),
                "y_valid": Out(1),
                "y_data": Out(count * unit.output_width),
            }
        )
        self.room = Signal()  # whether the next group has a place to go
        self.take = Signal()  # a beat is accepted in this cycle, and is in the second stage in the next
        self.valid, self.last = Signal(), Signal()  # of the beat in the second stage
        self.multiplying = Signal()  # whether accumulators are drained
        self.enable = Signal(codes)
        self.codes = [Signal(unit.code_width, name=f"code_{lane}") for lane in range(codes)]

    def front(self, m: Module) -> list[list[Signal]]:
        """Add the first stage; return the activations of the second, (P, S * d)."""
        unit, width = self.unit, self.unit.inputs * self.unit.dimension * self.unit.activation_width
        loaded, loading, used = Signal(2), Signal(), Signal()  # which vectors are there, being loaded, in use
        address, column = Signal(unit.column_width), Signal(unit.column_width)
        m.d.comb += [
            self.x_ready.eq(~loaded.bit_select(loading, 1)),
            self.w_ready.eq(loaded.bit_select(used, 1) & self.room),
            self.take.eq(self.w_valid & self.w_ready),
        ]
        m.d.sync += self.valid.eq(self.take)
        with m.If(self.take):
            m.d.sync += [Cat(self.codes).eq(self.w_data), self.last.eq(self.w_last), self.enable.eq(self.w_enable)]
            m.d.sync += column.eq(column + 1)
            with m.If(self.w_last):
                m.d.sync += column.eq(0)
            with m.If(self.w_last & self.w_final):
                m.d.sync += [loaded.bit_select(used, 1).eq(0), used.eq(~used)]
        load = self.x_valid & self.x_ready
        with m.If(load):
            m.d.sync += address.eq(address + 1)
            with m.If(self.x_last):
                m.d.sync += [address.eq(0), loading.eq(~loading), loaded.bit_select(loading, 1).eq(1)]

        def memory(name: str, data: Signal, columns: list[Signal]) -> list[Signal]:
            """Return what a memory of two vectors holds at some columns, a cycle later."""
            m.submodules[name] = words = Memory(shape=len(data), depth=2 << unit.column_width, init=[])
            port = words.write_port()
            m.d.comb += [port.addr.eq(Cat(address, loading)), port.data.eq(data), port.en.eq(load)]
            found = []
            for where in columns:
                read = words.read_port()
                m.d.comb += [read.addr.eq(Cat(where, used)), read.en.eq(self.take)]
                found.append(read.data)
            return found

        size = unit.activation_width
        if not unit.sparse:
            (word,) = memory("activations", self.x_data, [column])
            row = [word[i : i + size].as_signed() for i in range(0, width, size)]
            return [row] * unit.rows
        part = unit.dimension * size
        rows: list[list[Signal]] = [[] for _ in range(unit.rows)]
        for s in range(unit.inputs):  # a lane reads a word of its own
            lanes = [p * unit.inputs + s for p in range(unit.rows)]
            columns = [self.w_column.word_select(lane, unit.column_width) for lane in lanes]
            for row, word in zip(rows, memory(f"bank_{s}", self.x_data.word_select(s, part), columns), strict=True):
                row += [word[i : i + size].as_signed() for i in range(0, part, size)]
        return rows
