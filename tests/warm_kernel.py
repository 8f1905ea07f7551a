"""Kernels that start warm: each is a fork of a process that has imported what nearly every notebook imports first.

Of the time that the notebooks take on profile tiny, a fifth would be the same imports again. A fork shares nothing but
these modules: no notebook's code has run in the process it comes from. What starts threads (pandas), and bitsandbytes, for
which accelerate's `notebook_launcher` asks, is left to the notebooks.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from shared.profile import ROOT


class ForkedKernel:
    """What jupyter_client asks of a started process. The process it was forked from collects its exit status."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> int | None:
        """None while it runs, then -1: the status itself is not known here."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return -1
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Until it has ended; raises TimeoutExpired."""
        began = time.monotonic()
        while (status := self.poll()) is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired("kernel", timeout)
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """With a chance to tidy up."""
        self.send_signal(signal.SIGTERM)


class Nursery:
    """The process that kernels are forked from; it is started with the first and ends with this one."""

    process: subprocess.Popen | None = None

    def fork(self, arguments: list[str], cwd: str, environment: dict[str, str]) -> ForkedKernel:
        """A kernel with these arguments of ipykernel."""
        if self.process is None:
            command = [sys.executable, "-m", "tests.warm_kernel"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            one_thread = environment | {"OPENBLAS_NUM_THREADS": "1"}  # NumPy would start some, and a fork has one
            options = {"cwd": ROOT, "env": one_thread, "text": True, "start_new_session": True}
            self.process = subprocess.Popen(command, **pipes, **options)
        self.process.stdin.write(json.dumps([arguments, cwd, environment]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that kernels are forked from has ended: python -m tests.warm_kernel")
        return ForkedKernel(int(answer))


def become_kernel(arguments: list[str], cwd: str, environment: dict[str, str]) -> None:
    """What the fork does, to begin as a new process would: with its own environment, folder and streams."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment | {"JPY_PARENT_PID": str(os.getppid())})  # it ends where that one has
    with open(os.devnull, "r+b") as nothing:
        for stream in range(3):
            os.dup2(nothing.fileno(), stream)
    sys.path.remove(str(ROOT))  # `-m` has put it first
    sys.argv = ["ipykernel_launcher.py", *arguments]
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


def main() -> None:
    """Import, then fork a kernel for each line of the input, and answer with its process id."""
    import ipykernel.kernelapp  # noqa: F401
    import torch._inductor.compile_fx  # noqa: F401 - bitsandbytes takes it in
    import transformers.modeling_utils  # noqa: F401

    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
    if threads > 1:
        sys.exit(f"{threads} threads: a fork would have one of them")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whose exit status nobody asks for are not kept
    for line in sys.stdin:
        if not (child := os.fork()):
            become_kernel(*json.loads(line))
            os._exit(0)
        os.setpgid(child, child)  # before anybody hears of it: signals go to a kernel's group
        print(child, flush=True)


if __name__ == "__main__":
    main()
