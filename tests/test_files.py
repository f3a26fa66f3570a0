"""Whole files and the cache, under kills, full disks, damage and other identities."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bitbook import files
from bitbook.files import Cache, read_checked, write_atomically, write_checked

WRITER = """
import sys
from bitbook.files import Cache, write_atomically
cache = Cache(sys.argv[2], {"seed": 0})
number = len(cache)
print("started", flush=True)
while True:
    write_atomically(sys.argv[1], str(number % 10) * 200_000)
    cache.add(str(number), number, bytes([number % 256]) * 5000)
    number += 1
"""


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_atomically(path, "old")
    write_atomically(path, b"new\n")
    assert path.read_bytes() == b"new\n"
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_existing_file_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path):
    path, plain = tmp_path / "file", tmp_path / "plain"
    plain.touch()
    write_atomically(path, "x")
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o600)
    write_atomically(path, "y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, chain = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "chain"
    link.symlink_to(target)  # dangling, at first
    chain.symlink_to(link)
    for text in ("one", "two"):
        write_atomically(chain, text)
        assert (link.is_symlink(), chain.is_symlink(), target.read_text()) == (True, True, text)
    assert sorted(os.listdir(tmp_path)) == ["chain", "link", "there"]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_names_of_255_bytes_can_be_written(name, tmp_path):
    write_atomically(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match="255 bytes: choose a shorter one"):
        write_atomically(tmp_path / (name + "xx"), "x")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full: free some space"),
        (errno.EROFS, "disk is read-only"),
        (errno.EACCES, "is read-only"),
    ],
)
def test_a_disk_that_takes_nothing_is_said_and_the_old_file_stays(number, message, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    cache = Cache(tmp_path / "cache", {})
    cache.add("a", 1)

    def fails(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        patch.setattr(os, "write", fails)
        with pytest.raises(OSError, match=f"{message}.*file") as caught:
            write_atomically(path, "new")
        assert caught.value.errno == number
        with pytest.raises(OSError, match=message):
            cache.add("b", 2)
    assert path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["cache", "file"]
    cache.add("c", 3)
    assert Cache(tmp_path / "cache", {}).values()[::2] == [1, 3]


def test_a_disk_that_cannot_even_delete_is_said_with_the_remedy(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", fails)  # as a read-only disk answers to both
    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(OSError, match=r"disk is read-only: choose another folder.*file"):
        write_atomically(tmp_path / "file", "x")


def test_kill_9_leaves_whole_files_whole_caches_and_no_leftovers(tmp_path):
    path, folder = tmp_path / "file", tmp_path / "cache"
    before = 0
    for round_ in range(12):
        arguments = [sys.executable, "-c", WRITER, str(path), str(folder)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "started\n"
        time.sleep(0.03 + 0.007 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = path.read_text() if path.exists() else "0" * 200_000
        assert (len(content), len(set(content))) == (200_000, 1)
        cache = Cache(folder, {"seed": 0})
        assert cache.values() == list(range(len(cache)))
        assert len(cache) >= before
        assert all(str(number) in cache for number in range(len(cache)))
        before = len(cache)
    assert before > 0
    write_atomically(path, "last")
    write_atomically(folder / "last", "last")
    names = {*os.listdir(tmp_path), *os.listdir(folder)}
    assert [name for name in names if name.startswith(".")] == []


def test_what_another_process_is_writing_stays(tmp_path):
    living, dead = (tmp_path / f"{files._PARTIAL}{pid}-aa" for pid in (os.getppid(), 2**22 + 7))
    foreign = tmp_path / ".bitbook-00000000-4194311-aa"  # of another machine, which may be writing
    for file in (living, dead, foreign):
        file.touch()
    write_atomically(tmp_path / "file", "x")
    assert (living.exists(), dead.exists(), foreign.exists()) == (True, False, True)


def test_checked_bytes_come_back_or_not_at_all(tmp_path, capsys):
    path, data = tmp_path / "file", np.random.default_rng(0).bytes(300) + b"\n\n"
    assert read_checked(path) is None
    write_checked(path, data)
    assert read_checked(path) == data
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert read_checked(path) is None
        assert not path.exists()
        assert "file is damaged: set aside as file.damaged" in capsys.readouterr().err
        path.write_bytes(whole[:position])
        assert read_checked(path) is None


def test_values_and_files_come_back_in_their_order(tmp_path):
    cache = Cache(tmp_path / "c", {"seed": 0, "net": "a"})
    assert not (tmp_path / "c").exists()
    value = {"b": [1, 2.5, None], "a": np.float64(0.1), "n": np.arange(2), "inf": float("inf")}
    assert cache.add("x", value) == {"b": [1, 2.5, None], "a": 0.1, "n": [0, 1], "inf": float("inf")}
    cache.add("y.bin", 5, b"data")
    cache.add("x", "again")
    for one in (cache, Cache(tmp_path / "c", {"net": "a", "seed": 0})):
        assert (one.values(), len(one), "x" in one, "z" in one) == ([5, "again"], 2, True, False)
        assert one.path("y.bin").read_bytes() == b"data"
    assert list(Cache(tmp_path / "d", {}).add("x", {"b": 1, "a": 2})) == ["b", "a"]


def test_a_folder_of_another_identity_is_refused(tmp_path):
    Cache(tmp_path, {"seed": 0, "k": 2}).add("x", 1)
    for other in ({"seed": 1, "k": 2}, {"seed": 0}, {"seed": 0, "k": 2, "more": 3}):
        with pytest.raises(ValueError, match=r"made with another (seed|k|more): give an empty folder"):
            Cache(tmp_path, other)
    assert Cache(tmp_path, {"seed": 0, "k": 2})["x"] == 1


def test_a_line_that_was_cut_off_is_dropped(tmp_path, capsys):
    Cache(tmp_path, {}).add("a", 1)
    path = tmp_path / "records.jsonl"
    whole = path.read_bytes()
    Cache(tmp_path, {}).add("b", 2)
    both = path.read_bytes()
    for end in range(len(whole), len(both) + 1):
        path.write_bytes(both[:end])
        cache = Cache(tmp_path, {})
        assert ("a" in cache, "b" in cache) == (True, end >= len(both) - 1)
        cache.add("c", 3)
        assert Cache(tmp_path, {}).values() == ([1, 2, 3] if end >= len(both) - 1 else [1, 3])
    assert capsys.readouterr().err == ""  # a kill is no damage


def test_damage_is_said_set_aside_and_made_again(tmp_path, capsys):
    values = {"a": {"x": 1.5}, "b.bin": [2], "c": "three"}

    def make():
        cache, made = Cache(tmp_path, {"seed": 0}), []
        for name, value in values.items():
            if name not in cache:
                cache.add(name, value, b"content" * 20 if name == "b.bin" else None)
                made.append(name)
            assert cache[name] == value
        assert cache.path("b.bin").read_bytes() == b"content" * 20
        return made

    assert make() == list(values)
    assert make() == []
    rng = np.random.default_rng(0)
    for path in (tmp_path / "records.jsonl", tmp_path / "b.bin"):
        whole = path.read_bytes()
        for position in rng.integers(len(whole), size=40):
            bit = 1 << rng.integers(8)
            path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
            again = make()
            said = capsys.readouterr().err
            assert bool(again) <= bool(said)
            assert make() == []
            assert capsys.readouterr().err == ""
            if path.name == "b.bin":
                assert again == ["b.bin"]
                assert "b.bin is damaged: set aside as b.bin.damaged" in said
    (tmp_path / "b.bin").unlink()
    assert make() == ["b.bin"]


def full_folder(path):
    path.mkdir()
    (path / "x").touch()


@pytest.mark.parametrize("odd", [full_folder, os.mkfifo, lambda p: p.symlink_to(p), lambda p: p.symlink_to("nowhere")])
def test_what_is_no_file_is_set_aside_and_made_again(odd, tmp_path, capsys):
    for damaged in ("records.jsonl", "a.bin"):
        Cache(tmp_path, {}).add("a.bin", 1, b"content")
        (tmp_path / damaged).unlink()
        odd(tmp_path / damaged)
        cache = Cache(tmp_path, {})
        assert "a.bin" not in cache
        assert f"{damaged} is damaged: set aside as {damaged}.damaged" in capsys.readouterr().err
        cache.add("a.bin", 1, b"content")
        assert "a.bin" in Cache(tmp_path, {})
    odd(tmp_path / "checked")
    assert read_checked(tmp_path / "checked") is None
    write_checked(tmp_path / "checked", b"x")
    (tmp_path / "checked.damaged").unlink(missing_ok=True)
    (tmp_path / "checked.damaged").mkdir(exist_ok=True)  # a name that is taken
    (tmp_path / "checked").write_bytes(b"")
    assert read_checked(tmp_path / "checked") is None
    with (tmp_path / "records.jsonl").open("ab") as records:
        records.write(b"[" * 100_000 + b"\n")
    assert "a.bin" in Cache(tmp_path, {})


def test_records_of_another_folder_are_not_taken_up(tmp_path):
    """Lines copied from a cache of another identity do not bear this one's checksum."""
    Cache(tmp_path / "one", {"seed": 0}).add("a", 1)
    Cache(tmp_path / "two", {"seed": 1}).add("b", 2)
    with (tmp_path / "two" / "records.jsonl").open("a") as records:
        records.write((tmp_path / "one" / "records.jsonl").read_text().splitlines()[1] + "\n")
    cache = Cache(tmp_path / "two", {"seed": 1})
    assert ("a" in cache, "b" in cache) == (False, True)
    assert json.loads((tmp_path / "two" / "records.jsonl").read_text().splitlines()[0])[1] == {"seed": 1}


def test_only_ordinary_files_are_written_over(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "self").symlink_to(tmp_path / "self")
    for name in ("pipe", "folder", "self"):
        with pytest.raises(OSError, match=f"not written: a folder, a device or a link to itself.*{name}'"):
            files.write_atomically(tmp_path / name, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe", "self"]
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "self").is_symlink()
