"""Makes processes die with the one that started them, also when that one is killed with -9.

`dvc repro` starts a shell, the shell `bitbook stage`, that (with papermill inside) a kernel, which may start workers.
"""

import os
import signal
import threading
import time

_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}


def _parents(count: int) -> list[int]:
    import psutil

    chain, pid = [], os.getpid()
    for _ in range(count):
        try:
            pid = psutil.Process(pid).ppid()
        except psutil.NoSuchProcess:
            break
        chain.append(pid)
    return chain


def die_with_caller(caller: int = 0, interval: float = 0.2) -> None:
    """Kill this process, and its process group where it leads one, as soon as its caller is gone.

    The caller is the parent (whose id may be given, in case it is gone already), or the parent of the `sh -c` between.
    A thread looks every `interval` seconds: Linux's parent-death signal would reach only the direct child, and not that
    child's workers.
    """
    import psutil

    caller = caller or os.getppid()
    behind_shell = psutil.pid_exists(caller) and psutil.Process(caller).name() in _SHELLS
    chain = [caller, *_parents(2 if behind_shell else 1)[1:]]

    def watch() -> None:
        while _parents(len(chain)) == chain:
            time.sleep(interval)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="die-with-caller").start()


def kill_group(group: int) -> None:
    """Kill what is left of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
