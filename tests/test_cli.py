"""The `bitbook` command on files: what it prints, what it returns, and that it needs no torch."""

import os
import subprocess
import sys
from pathlib import Path

import bitbook
import numpy as np
import pytest
from bitbook import Compressed, ScalarCode, SparseCode
from bitbook.cli import main
from bitbook.codes import recount


@pytest.fixture
def file(tmp_path) -> str:
    code = ScalarCode(np.arange(64).reshape(8, 8) % 4, "all")
    parts = {"dense": {}, "specification": {"factory": "digits_cnn", "arguments": {}}, "original_parameters": 64}
    Compressed(codes={"a.weight": code}, codebooks={"all": np.float16([-2, -1, 1, 2])}, **parts).save(tmp_path / "a")
    return str(tmp_path / "a")


def test_info_prints_the_ledger_that_adds_up(file, capsys):
    assert main(["info", file]) == 0
    out = capsys.readouterr().out
    size = Path(file).stat().st_size
    assert f"ratio           {256 / size:.2f}\n" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("file ", "a.weight", "codebooks"))]
    assert sum(int(row[-2].replace(",", "")) for row in rows) == size


def test_verify_tells_good_from_bad(file, tmp_path, capsys):
    bad = tmp_path / "bad"
    bad.write_bytes(Path(file).read_bytes()[:-1])
    assert main(["verify", file]) == 0
    assert main(["verify", file, str(bad)]) == 1
    assert capsys.readouterr().out.endswith(
        f"{file}: OK\n{bad}: checksum: does not match: the file is damaged, cut off, or no bitbook file\n"
    )


def test_verify_goes_on_after_a_missing_file(file, tmp_path, capsys):
    assert main(["verify", str(tmp_path / "gone"), file]) == 1
    out = capsys.readouterr().out
    assert "gone" in out.splitlines()[0] and out.endswith(f"{file}: OK\n")


def test_recount_prints_the_rule_beside_the_file(file, capsys):
    assert main(["recount", file, "--as", "moea"]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert "16.0 bytes      16.00x" in first and "16.0 bytes      16.00x" in second
    assert last.startswith("file") and "of 64 floats" in first and "of 64 floats" in last
    assert main(["recount", file, "--as", "nobody"]) == 2
    assert "no rule 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "1.5", "all"])
def test_threads_are_a_whole_number(threads, capsys):
    with pytest.raises(SystemExit):
        main(["stage", "run", "x", f"--threads={threads}"])
    assert f"'{threads}' is not a whole number above zero" in capsys.readouterr().err


def test_diff_returns_whether_files_differ(file, capsys):
    assert main(["diff", file, file]) == 0
    assert capsys.readouterr().out == ""
    code = ScalarCode(np.arange(64).reshape(8, 8) % 3, "all")
    parts = {"dense": {}, "specification": {"factory": "digits_cnn", "arguments": {}}, "original_parameters": 64}
    other = Compressed(codes={"a.weight": code}, codebooks={"all": np.float16([-2, -1, 1, 2])}, **parts)
    other.save(file + "2")
    assert main(["diff", file, file + "2"]) == 1
    assert "indices differ" in capsys.readouterr().out


def test_a_missing_file_is_one_line(capsys, tmp_path):
    assert main(["info", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_torch_for_files(file):
    script = (
        "import sys; from bitbook.cli import main\n"
        f"for command in (['info', {file!r}], ['verify', {file!r}], ['diff', {file!r}, {file!r}]): main(command)\n"
        "sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_verify_goes_on_after_any_fault_and_prints_no_control_characters(file, tmp_path, capsys, monkeypatch):
    odd = tmp_path / "odd\x1b[2J"
    odd.write_bytes(Path(file).read_bytes())
    real = bitbook.load

    def load(path):
        if path == "memory":
            raise MemoryError
        if path == "crash":
            raise RuntimeError("\x1b[31mcrash")
        return real(path)

    monkeypatch.setattr("bitbook.cli.load", load)
    assert main(["verify", "memory", "crash", str(tmp_path), str(odd), file]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "memory: does not fit into memory" and lines[1] == "crash: \\x1b[31mcrash"
    assert lines[3] == f"{tmp_path}/odd\\x1b[2J: OK" and lines[4] == f"{file}: OK" and len(lines) == 5


def test_a_bad_file_is_named_and_no_name_makes_a_line_or_reaches_the_terminal(file, tmp_path, capsys):
    bad, odd = tmp_path / "bad", tmp_path / "a\nb: OK\x1b[31m\u202e\udcff"
    bad.write_bytes(b"nothing")
    odd.write_bytes(Path(file).read_bytes())
    for command in (["info"], ["recount", "--as", "moea"], ["diff", file], ["export", "-o", f"{bad}.safetensors"]):
        assert main([*command[:1], *command[1:], str(bad)]) == 2
        assert f"bitbook: {bad}: checksum: does not match" in capsys.readouterr().err
    assert main(["verify", str(odd), file]) == 0
    assert capsys.readouterr().out.splitlines() == [rf"{tmp_path}/a\nb: OK\x1b[31m\u202e\udcff: OK", f"{file}: OK"]
    assert main(["export", file, "-o", f"{odd}.safetensors"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["page", str(odd), "-o", str(tmp_path / "odd.html")]) == 0
    assert "b: OK\\x1b[31m" in (tmp_path / "odd.html").read_text()


def test_what_may_have_no_end_is_not_read(file, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert main(["verify", str(tmp_path / "pipe"), "/dev/zero", file]) == 1
    out = capsys.readouterr().out
    assert out.count("is a device or a pipe, which may have no end: copy it to a file") == 2
    assert out.endswith(f"{file}: OK\n")


def test_recount_says_where_channels_are_gone_and_counts_no_whole_numbers(tmp_path, capsys):
    code = ScalarCode(np.arange(64).reshape(8, 8) % 4, "all")
    shrunk = {"factory": "shrunk", "arguments": {"of": {"factory": "digits_cnn", "arguments": {}}, "kept": {}}}
    dense = {"bias": np.ones(8, np.float32), "index": np.arange(100), "mask": np.ones(50, bool)}
    books = {"all": np.float16([-2, -1, 1, 2])}
    parts = {"codes": {"a.weight": code}, "codebooks": books, "dense": dense, "original_parameters": 900}
    for specification, left in (({}, ""), (shrunk, " left")):
        Compressed(**parts, specification=specification).save(tmp_path / "a")
        assert main(["recount", str(tmp_path / "a"), "--as", "pqf"]) == 0
        first, last = capsys.readouterr().out.splitlines()
        assert f"of 72 floats{left} " in first and "of 900 floats " in last
    (count,) = recount(Compressed(**parts, specification={}), "pqf")
    assert (count.bits, count.original_bits) == (64 * 2 + 16 * 4 + 32 * 8, 32 * 72)  # indices, codebook, biases


def test_recount_of_constant_empty_and_pruned_layers(tmp_path, capsys):
    layers = {
        "constant": ScalarCode(np.zeros((4, 4), int), "one"),
        "zero": ScalarCode(np.zeros((4, 4), int), "nought"),
        "empty": ScalarCode(np.zeros((0, 4), int), "one"),
        "pruned": SparseCode(np.zeros((4, 4), bool), ScalarCode(np.zeros(0, int), "one")),
    }
    books = {"one": np.float16([2]), "nought": np.float16([0])}
    parts = {"dense": {}, "specification": {}, "original_parameters": 16}
    for name, chosen in {**{name: [name] for name in layers}, "none": []}.items():
        codes = {layer: layers[layer] for layer in chosen}
        compressed = Compressed(codes=codes, codebooks=books, **parts)
        for rule in ("moea", "pqf", "han2016", "admm", "deep-k-means"):
            if (rule, name) in (("moea", "none"), *((rule, "pruned") for rule in ("moea", "pqf", "deep-k-means"))):
                continue  # the rule does not count such files
            for count in recount(compressed, rule):
                assert np.isfinite(count.bits) and count.bits >= 0 and count.ratio >= 0
    counts = recount(Compressed(codes={"a": layers["constant"]}, codebooks=books, **parts), "admm")
    # 16 weights of 32 bits: all kept, no bits for one value, 5 bits for each relative index, and one float32 value
    assert [count.ratio for count in counts] == pytest.approx([1.0, np.inf, 512 / 80, 512 / (80 + 32)])


def test_a_reader_that_has_seen_enough_is_no_fault(file):
    command = f"env -u PYTHONUNBUFFERED {sys.executable} -m bitbook.cli info {file} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_report_replaces_no_folder_that_holds_something(tmp_path, capsys):
    (tmp_path / "mine").touch()
    assert main(["report", "-o", str(tmp_path)]) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err and (tmp_path / "mine").exists()
