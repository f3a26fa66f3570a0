"""Small files that claim much: loaded or refused at a cost that grows with their bytes, and never by a crash."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bitbook import BitbookFormatError, Compressed, GridCode, ScalarCode, SparseCode, VectorCode, load, save
from bitbook.codes import _prediction, _sections, decode
from bitbook.codes._container import CHECKSUM_BYTES, checksum
from bitbook.codes._context import Field
from bitbook.codes._header import read_header, write_header
from bitbook.codes._model import CONTEXTS, MAX_CELLS, Model, ModelFull, exact
from bitbook.codes._names import shorten

FAMILIES = ("grid", "scalar", "sparse", "vector")
REST = {"dense": {}, "specification": {}, "original_parameters": 0}
GIB = 1 << 30


def seal(table: dict, payload: bytes) -> bytes:
    data = write_header(table, len(payload) + CHECKSUM_BYTES) + payload
    return data + checksum(data)


def within_a_gib(folder: Path) -> subprocess.CompletedProcess:
    """Load files in a process that may take 1 GiB more than Python and NumPy do; print the fault of each."""
    script = (
        "import pathlib, resource, sys, bitbook\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (used + {GIB}, used + {GIB}))\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        bitbook.load(path)\n        print(path.name, 'OK')\n"
        "    except bitbook.BitbookFormatError as error:\n        print(path.name, error)\n"
    )
    return subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)


def bombs() -> dict[str, bytes]:
    """Files of less than a megabyte, most of them sound but for what they claim."""
    tiny = Compressed(codes={"a": ScalarCode(np.zeros((4, 4), int), "b")}, codebooks={"b": np.float16([1])}, **REST)
    table, start = read_header(tiny.to_bytes())
    payload = tiny.to_bytes()[start:-CHECKSUM_BYTES]
    found = {
        f"2**{power} equal weights": seal({**table, "codes": [f"scalar {1 << power - 16}x65536 b: a"]}, payload)
        for power in (25, 31, 40)
    }
    names = {
        "a name of ten thousand words": ["a1" * 5000],
        "names of half a million words": [f"{i}" + "a1" * 32 for i in range(8192)],
        "a product of names": None,
        "16,384 names": [f"layer{i}.weight" for i in range(1 << 14)],
    }
    for what, which in names.items():
        spelt = shorten(which) if which else "x1" * 2000 + "{0,1,2,3}" * 7
        found[what] = seal({**table, "dense": [f"f2 0: {spelt}"]}, payload)
    same = "{0,1,2,3,4,5,6,7,8,9}" * 3
    lines = [f"f2 {i}: {chr(97 + i)}{'a1' * 500}{same}" for i in range(16)]  # each within what a line may hold
    found["a thousand long names in each of many lines"] = seal({**table, "dense": lines, "batch_norm": lines}, payload)
    found["much specification"] = seal({**table, "specification": {"a": "\x1b" * 50_000, "b": [[]] * 150_000}}, payload)
    # Entropy-coded claims: a long tensor that is all the same, in each way there is to write one.
    long = np.zeros((1 << 10, 1 << 12), int)
    long[0, 0] = 1
    books = {"b": np.float16([0, 1]), "one": np.float16([1])}
    codes = {
        "coded weights": ScalarCode(long, "b"),
        "coded positions": SparseCode(long.astype(bool), ScalarCode(np.zeros(1, int), "one")),
        "depths": GridCode(np.zeros((1 << 20, 1), int), np.ones(1 << 20, int), np.zeros(1 << 20, int)),
    }
    for what, code in codes.items():
        table, start = read_header(Compressed(codes={"a": code}, codebooks=books, **REST).to_bytes())
        payload = Compressed(codes={"a": code}, codebooks=books, **REST).to_bytes()[start:-CHECKSUM_BYTES]
        found[what] = seal(table, payload)
        (line,) = table["codes"]
        found[f"false {what}"] = seal({**table, "codes": [line.replace("1024x4096", "15000x4096")]}, payload)
    return found


def test_a_small_file_takes_little_memory(tmp_path):
    files = bombs()
    for what, data in files.items():
        assert len(data) < 1 << 20
        (tmp_path / what).write_bytes(data)
    result = within_a_gib(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == len(files)
    assert "2**31 equal weights a: with it the file claims more than max_weights" in result.stdout
    assert "names of half a million words header: does not fit" in result.stdout


def test_a_limit_of_one_s_own_goes_before_the_default(tmp_path):
    code = ScalarCode(np.zeros((100, 100), int), "b")
    Compressed(codes={"a": code}, codebooks={"b": np.float16([1])}, **REST).save(tmp_path / "a")
    assert load(tmp_path / "a", max_weights=10_001).codes["a"].shape == (100, 100)
    with pytest.raises(BitbookFormatError, match="a: with it the file claims more than max_weights = 10,000"):
        load(tmp_path / "a", max_weights=10_000)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"dense": {f"t{i}": np.zeros(1, "f2") for i in range((1 << 14) + 1)}}, "more than 16384 names"),
        ({"dense": {"a1" * 70_000: np.zeros(1, "f2")}}, "use shorter ones"),
        ({"codes": {"a": ScalarCode(np.broadcast_to(np.uint8(0), (1 << 14, 1 << 13)), "b")}}, "claims more than max_w"),
    ],
    ids=["names", "words", "weights"],
)
def test_what_load_would_refuse_is_not_saved(parts, fault, tmp_path):
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(BitbookFormatError, match=fault):
        save(Compressed(**{"codes": {}, "codebooks": {"b": np.float16([1])}, **REST, **parts}), tmp_path / "a")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"before")]


def test_as_many_names_as_there_may_be_come_back(tmp_path):
    dense = {f"layers.{i}.bias": np.float16([i % 7]) for i in range(1 << 14)}
    save(Compressed(codes={}, codebooks={}, **{**REST, "dense": dense}), tmp_path / "a")
    assert load(tmp_path / "a").dense == dense


def test_a_codebook_that_many_codes_share_is_looked_at_once(monkeypatch):
    looked = []
    monkeypatch.setattr(_sections, "exact", lambda values: looked.append(values.shape) or exact(values))
    codes = {f"c{i}": VectorCode(np.zeros(0, int), "b", (0,)) for i in range(20)}
    data = Compressed(codes=codes, codebooks={"b": np.zeros((1, 1000), np.float16)}, **REST).to_bytes()
    assert len(decode(data).codes) == 20
    assert looked == 2 * [(1, 1000)]  # when written, and when read


def test_no_more_sections_than_there_may_be(monkeypatch):
    codes = {f"c{i}": GridCode(np.zeros((4, 1), int), np.arange(1, 5), np.zeros(4, int)) for i in range(5)}
    data = Compressed(codes=codes, codebooks={}, **REST).to_bytes()  # depths, exponents, values of four depths
    monkeypatch.setattr(_sections, "MAX_SECTIONS", 30)
    assert len(decode(data).codes) == 5
    monkeypatch.setattr(_sections, "MAX_SECTIONS", 29)
    with pytest.raises(BitbookFormatError, match="c4: with it the file has more than 29 sections"):
        decode(data)


def test_predictions_count_as_work(monkeypatch):
    sizes = []
    monkeypatch.setattr(_prediction, "solve", lambda matrix, right: sizes.append(len(right)) or [1] * len(right))
    correlation = (1, 2, 3, 4, 5, 6, 7, 9)
    _prediction.factors(correlation, (7, 7))
    assert Field((1, 1, 7, 7), correlation=correlation).work == 8 * sum(size**3 for size in sizes) > 300_000
    assert Field((1, 1, 7, 7)).work == 0
    _prediction.factors.cache_clear()


def test_models_take_no_more_memory_than_their_bytes_allow(monkeypatch):
    indices = np.repeat(np.arange(64)[:, None], 6, 1)  # rows of unequal size: as many contexts
    books = {name: np.geomspace(1e-3, 1e3, 4096).astype(np.float32) for name in "abcd"}
    parts = {"codes": {f"c{name}": ScalarCode(64 * indices, name) for name in books}, "codebooks": books, **REST}
    data = Compressed(**parts).to_bytes()
    assert decode(data).codes.keys() == parts["codes"].keys()
    monkeypatch.setattr(_sections, "FREE_CELLS", 1 << 16)
    monkeypatch.setattr(_sections, "CELLS_PER_BYTE", 0)
    with pytest.raises(BitbookFormatError, match=r"c.*more memory than the bytes of the file allow"):
        decode(data)
    assert decode(Compressed(**parts).to_bytes()).codes.keys() == parts["codes"].keys()


def test_a_model_does_not_outgrow_its_bound():
    symbols = 1 << 14
    model = Model(symbols, np.arange(symbols))
    model.rows(np.arange(MAX_CELLS // symbols))
    with pytest.raises(ModelFull):
        model.rows(np.arange(CONTEXTS))


def test_likely_symbols_take_no_more_work_than_their_bytes_allow(monkeypatch, tmp_path):
    monkeypatch.setattr(_sections, "FREE_WORK", 1 << 17)
    indices = np.zeros((1 << 9, 1 << 10), np.uint8)
    indices[0, 0] = 1
    parts = {"codes": {"a": ScalarCode(indices, "b")}, "codebooks": {"b": np.float16([0, 1])}, **REST}
    save(Compressed(**parts), tmp_path / "a")  # packed: half a million symbols in 240 bytes would be refused
    assert (tmp_path / "a").stat().st_size > indices.size // 8
    assert load(tmp_path / "a").codes["a"].indices.sum() == 1
    monkeypatch.setattr(_sections.Writer, "_affordable", lambda self, trial: True)
    small = Compressed(**parts).to_bytes()
    assert len(small) < 300
    with pytest.raises(BitbookFormatError, match=r"a: .*takes more work than its bytes allow"):
        decode(small)
    assert decode(small, max_weights=1 << 20).codes["a"].indices.sum() == 1


def forge(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with a valid checksum and length, a few bytes of its header or payload changed."""
    start = 8 + int.from_bytes(data[:8], "little")
    body = bytearray(data[:-CHECKSUM_BYTES])
    first, last = (8, start) if rng.random() < 0.5 else (start, len(body))
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(first, min(last, len(body))))  # a piece of the other file may have made it shorter
        match rng.integers(0, 4):
            case 0:
                body[at] = int(rng.integers(0, 256))
            case 1:
                body[at] ^= 1 << int(rng.integers(0, 8))
            case 2:
                body[at : at + 1] = bytes([int(rng.choice(list(b'0123456789x{},:" .')))])
            case _:
                size = int(rng.integers(1, 9))
                body[at : at + size] = other[at : at + size]
    return bytes(body) + checksum(bytes(body))


def fuzz(files: dict[str, bytes], number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for i in range(number):
        forged = forge(files[FAMILIES[i % 4]], files[FAMILIES[int(rng.integers(4))]], rng)
        try:
            weights = decode(forged, max_weights=20_000).decode()
        except BitbookFormatError as error:
            assert error.section and str(error).isprintable()
            continue
        assert sum(values.size for values in weights.values()) <= 40_000
        assert all(np.isfinite(values).all() for values in weights.values())


@pytest.fixture(scope="module")
def files(make_network) -> dict[str, bytes]:
    return {family: make_network(family).to_bytes() for family in FAMILIES}


def test_forged_files_are_refused_or_sound(files):
    fuzz(files, 2000, seed=0)


@pytest.mark.slow
def test_many_forged_files_are_refused_or_sound(files):
    fuzz(files, 50_000, seed=1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 < 4 * GIB
