from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from bitbook import Compressed
from bitbook.files import Cache
from bitbook.pipeline._store import Store, key_of

HOLD = """
import sys, time
from pathlib import Path
from bitbook.pipeline._store import Store
store = Store(Path(sys.argv[1]), {})
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(folder, seconds):
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_key_depends_on_every_part_but_not_on_their_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"b": 1}), key_of({"a": 1.5})}) == 4


def test_kept_values_are_computed_once_and_come_back_the_same(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"pair": (1, 2.5), "number": np.float64(0.1), "array": np.arange(3)}

    store = Store(tmp_path, {})
    first = store.keep("value.json", compute)
    assert first == store.keep("value.json", compute) == {"pair": [1, 2.5], "number": 0.1, "array": [0, 1, 2]}
    assert len(calls) == 1
    store.keep("value.json", compute, version="2")
    assert len(calls) == 2


def test_arrays_are_kept_to_the_last_bit(tmp_path):
    arrays = {"w": np.random.default_rng(0).normal(size=(3, 4)), "n": np.arange(2, dtype=np.uint8)}
    kept = Store(tmp_path, {}).keep("x.npz", lambda: arrays)
    assert kept.keys() == arrays.keys()
    for name, values in arrays.items():
        assert (kept[name].dtype, kept[name].tobytes()) == (values.dtype, values.tobytes())


def test_a_compressed_network_is_kept_as_its_file(tmp_path):
    compressed = Compressed({}, {}, {"a": np.ones(3, np.float32)}, {}, original_parameters=3)
    store = Store(tmp_path, {})
    assert store.keep("x.bitbook", lambda: compressed).to_bytes() == compressed.to_bytes()
    assert store.keep("x.bitbook", lambda: None).to_bytes() == compressed.to_bytes()


def test_what_fails_keeps_nothing(tmp_path):
    store = Store(tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        store.keep("x.json", lambda: 1 / 0)
    with pytest.raises(ValueError, match="Out of range"):
        store.keep("x.json", lambda: float("nan"))
    assert store.keep("x.json", lambda: 5) == 5
    with pytest.raises(ValueError, match=r"x\.pickle: ends in none of .json"):
        store.keep("x.pickle", lambda: 5)


def test_a_second_process_is_refused_while_the_first_holds_the_folder(tmp_path):
    holder = hold(tmp_path, 30)
    with pytest.raises(BlockingIOError, match=f"process {holder.pid} works on the same thing"):
        Store(tmp_path, {}, wait=0)
    holder.kill()
    holder.wait()
    Store(tmp_path, {}, wait=1).release()  # a killed holder holds nothing


def test_a_second_process_waits_and_says_so(tmp_path, capsys):
    holder = hold(tmp_path, 0.8)
    Store(tmp_path, {}).release()
    assert f"process {holder.pid} works on the same thing in {tmp_path}: waiting for it" in capsys.readouterr().err
    holder.wait()


def test_a_finished_folder_is_held_by_nobody(tmp_path):
    first = Store(tmp_path, {})
    first.finish({"hardware": "a"})
    assert Store(tmp_path, {}, wait=0).record["hardware"] == "a"


def test_a_waiting_process_sees_what_the_first_has_finished(tmp_path):
    first = Store(tmp_path, {})
    threading.Timer(0.5, lambda: first.finish({"hardware": "first"})).start()
    second = Store(tmp_path, {})
    assert second.finish({"hardware": "second"})["hardware"] == "first"


def test_seconds_of_killed_attempts_count_up_to_their_last_file(tmp_path):
    started = time.time() - 100
    Cache(tmp_path, {}).add("attempt", {"before": 50.0, "started": started})
    (tmp_path / "checkpoint").touch()
    os.utime(tmp_path / "checkpoint", (started + 30, started + 30))
    os.utime(tmp_path / "records.jsonl", (started, started))
    record = Store(tmp_path, {}).finish({})
    assert 80 <= record["seconds"] < 85
    assert Store(tmp_path, {}).finish({})["seconds"] == record["seconds"]  # a replay costs nothing


def test_what_is_damaged_is_made_again(tmp_path, capsys):
    def values(number):
        store = Store(tmp_path, {"seed": 0})
        kept = store.keep("a.json", lambda: number), int(store.keep("b.npz", lambda: {"n": np.array(number)})["n"])
        store.finish({"hardware": "h"})
        return kept

    assert values(1) == (1, 1)
    assert values(2) == (1, 1)
    for name, expected in (("b.npz", (1, 3)), ("records.jsonl", None)):
        data = bytearray((tmp_path / name).read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / name).write_bytes(data)
        kept = values(3)
        assert kept == expected if expected else set(kept) <= {1, 3}
        assert "damaged" in capsys.readouterr().err
        assert values(4) == kept
