# SPDX-License-Identifier: Apache-2.0
"""A command's wall time, CPU time and peak memory, over all processes that it starts.

Memory is the sum of the proportional set sizes (PSS): a page that n processes share counts 1/n in each, so
that the sum counts it once. Processes are known by a mark in their environment, which a daemon that has left
its parent still carries.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MARK = "FEDPEFT_MEASURED"
_INTERVAL_S = 0.05
_PAUSES = 9  # times as long as a sample takes
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took.

    Attributes:
        wall_s: from start to end of the command itself.
        cpu_s: user and system seconds of all its processes, as last seen.
        peak_mb: largest sum of PSS in any sample, in MB (10^6 bytes); one sample each 50 ms, or a tenth of
            the time where taking it takes longer.
        processes: how many were seen.
        stdout: what the command printed.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    processes: int
    stdout: str


def run_measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Usage:
    """Run ``command`` and watch it.

    Args:
        command: program and arguments.
        environment: added to this process's.

    Raises:
        RuntimeError: it failed; the message ends with the last lines of what it said.
    """
    watch = _Watch(uuid.uuid4().hex)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env={**os.environ, **(environment or {}), _MARK: watch.mark}
        )
        try:
            _until_end(process, watch)
            wall = time.perf_counter() - started
        finally:
            watch.end_all()
        if process.returncode != 0:
            err.seek(0)
            raise RuntimeError(f"{command}: exit {process.returncode}\n{err.read().decode()[-3000:]}")
        out.seek(0)
        return Usage(wall, watch.cpu_s, watch.peak_mb, watch.processes, out.read().decode())


def _until_end(process: subprocess.Popen[bytes], watch: _Watch) -> None:
    pause = _INTERVAL_S
    while True:
        try:
            process.wait(pause)
            return
        except subprocess.TimeoutExpired:
            started = time.perf_counter()
            watch.sample()
            # Looking at a large process takes long and holds it up meanwhile.
            pause = max(_INTERVAL_S, _PAUSES * (time.perf_counter() - started))


class _Watch:
    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.peak_mb = 0.0
        self._ours: dict[int, bool] = {}
        self._cpu: dict[int, float] = {}

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    @property
    def processes(self) -> int:
        return len(self._cpu)

    def sample(self) -> None:
        total = 0.0
        for pid in self._running():
            with suppress(OSError):  # it has ended
                total += pss_mb(pid)
                self._cpu[pid] = _cpu_seconds(pid)
        self.peak_mb = max(self.peak_mb, total)

    def end_all(self) -> None:
        """End what the command has left behind, or all of it where the measurement was interrupted."""
        self._ours.clear()  # a number may have been given to another process meanwhile
        for pid in list(self._running()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _running(self) -> Iterator[int]:
        for entry in os.scandir("/proc"):
            with suppress(OSError):
                if entry.name.isdigit() and self._is_ours(int(entry.name)):
                    yield int(entry.name)

    def _is_ours(self, pid: int) -> bool:
        if pid not in self._ours:
            self._ours[pid] = f"{_MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return self._ours[pid]


def pss_mb(pid: int) -> float:
    """Proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
