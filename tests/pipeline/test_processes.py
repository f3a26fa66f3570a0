from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from bitbook.pipeline._processes import kill_group

# a leader of its own group that watches its caller and starts a worker, which does not
CHILD = """
import subprocess, sys, time
from bitbook.pipeline._processes import die_with_caller
die_with_caller(interval=0.05)
worker = subprocess.Popen(["sleep", "60"])
print(worker.pid, flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
command = [sys.executable, "-c", sys.argv[1]]
if sys.argv[2] == "shell":
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, sys.argv[1]]
child = subprocess.Popen(command, start_new_session=sys.argv[2] != "shell", stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
time.sleep(60)
"""


def wait_until_gone(pids, seconds=5):
    """The processes of pids that are still running when time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not left:
            return []
        time.sleep(0.02)
    return left


@pytest.mark.parametrize("between", ["", "shell"])
def test_a_child_dies_with_its_caller_even_through_a_shell(between):
    command = [sys.executable, "-c", PARENT, CHILD, between]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    child, worker = map(int, parent.stdout.readline().split())
    python = child if not between else psutil.Process(child).children()[0].pid
    assert psutil.pid_exists(python)
    parent.kill()
    parent.wait()
    assert wait_until_gone([python] if between else [python, worker]) == []  # a group's leader takes its workers along
    kill_group(parent.pid)


def test_a_child_lives_while_its_caller_lives():
    command = [sys.executable, "-c", PARENT, CHILD, ""]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    child, worker = map(int, parent.stdout.readline().split())
    assert wait_until_gone([child, worker], seconds=0.5) == [child, worker]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert wait_until_gone([child, worker]) == []


def test_a_child_dies_if_its_caller_was_gone_before_it_looked():
    gone = subprocess.Popen(["true"])
    gone.wait()
    watching = f"from bitbook.pipeline._processes import die_with_caller; die_with_caller({gone.pid})"
    code = f"import time; {watching}; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert child.wait(timeout=10) == -signal.SIGKILL


def test_killing_a_group_that_is_gone_is_no_error(tmp_path: Path):
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    kill_group(process.pid)
