# SPDX-License-Identifier: Apache-2.0
"""Processes of a trial: each in a group of its own, its output in a file, ended by that group's number."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
_LOOK_S = 0.2
_GRACE_S = 20.0


class TrialError(Exception):
    """A process did not do what the trial waits for; the text holds the end of its output."""


def environment(**more: str) -> dict[str, str]:
    """Of this process, with this installation and checkout first, so that children run the same code."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}


class Processes:
    """Those of one trial, by name. Use it as a context manager: leaving it ends all of them."""

    def __init__(self, folder: Path, patience_s: float = PATIENCE_S) -> None:
        """Start none yet.

        Args:
            folder: where they stand, and where their output goes.
            patience_s: how long anything is waited for.
        """
        self._folder = folder
        self._patience_s = patience_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def start(
        self,
        name: str,
        *command: object,
        home: Path | None = None,
        uid: int | None = None,
        group: int = 0,
        more: Mapping[str, str] | None = None,
    ) -> int:
        """Start a command; its output is added to what an earlier one of the name wrote.

        Args:
            name: to know it by.
            command: and its arguments.
            home: the environment's; default: the trial's folder.
            uid: the user, if it is to be another.
            group: one more of that user's groups.
            more: of the environment.

        Returns:
            The number of the process, which is that of its group.
        """
        who: dict[str, Any] = {}
        if uid is not None:
            who = {"user": uid, "group": uid, "extra_groups": [group] if group else []}
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment(HOME=str(home or self._folder), **(more or {})),
                start_new_session=True,
                **who,
            )
        return self._running[name].pid

    def log(self, name: str) -> str:
        """What it has written so far."""
        path = self._folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self) -> dict[str, str]:
        """Of all that were started, by name."""
        return {path.stem: path.read_text(errors="replace") for path in self._folder.glob("*.log")}

    def pid(self, name: str) -> int:
        """Its number."""
        return self._running[name].pid

    @property
    def pids(self) -> dict[str, int]:
        """Numbers of all that run, by name."""
        return {name: one.pid for name, one in self._running.items() if one.poll() is None}

    def runs(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        return name in self._running and self._running[name].poll() is None

    def wait_for(self, name: str, done: Callable[[], bool], what: str) -> None:
        """Wait until ``done``.

        Raises:
            TrialError: the process ended first, or it took too long.
        """
        self.wait(done, what, unless=lambda: None if self.runs(name) else f"{name} ended", show=name)

    def wait(
        self,
        done: Callable[[], bool],
        what: str,
        *,
        unless: Callable[[], str | None] = lambda: None,
        show: str = "",
        patience_s: float | None = None,
    ) -> None:
        """Wait until ``done``.

        Args:
            done: asked several times a second.
            what: is waited for.
            unless: says why it will not come any more, if so.
            show: of which process to show the output then.
            patience_s: default: the trial's.

        Raises:
            TrialError: it will not come, or took too long.
        """
        end = time.monotonic() + (patience_s or self._patience_s)
        while not done():
            reason = unless()
            if reason is None and time.monotonic() > end:
                reason = "it took too long"
            if reason is not None:
                if done():
                    return
                raise TrialError(f"{what} did not come: {reason}\n{self.log(show)[-4000:]}")
            time.sleep(_LOOK_S)

    def end(self, name: str, patience_s: float | None = None) -> int:
        """Wait until it has ended by itself; its exit code.

        Raises:
            TrialError: it goes on.
        """
        process = self._running[name]
        try:
            code = process.wait(patience_s or self._patience_s)
        except subprocess.TimeoutExpired as error:
            raise TrialError(f"{name} does not end\n{self.log(name)[-4000:]}") from error
        del self._running[name]
        return code

    def kill(self, name: str) -> None:
        """SIGKILL to the process itself, and to nothing that it started."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """End it and all that it started, gently first; its exit code."""
        process = self._running.pop(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it had started
        return process.returncode

    def stop_all(self) -> None:
        """End everything, the last first."""
        for name in reversed(list(self._running)):
            self.stop(name)

    def call(self, *command: object, more: Mapping[str, str] | None = None) -> str:
        """Run a command to its end; what it wrote to its standard output.

        Raises:
            TrialError: it failed.
        """
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self._folder,
            env=environment(HOME=str(self._folder), **(more or {})),
            capture_output=True,
            text=True,
            timeout=self._patience_s,
        )
        if done.returncode:
            raise TrialError(f"{command[-2:]} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def free_ports(number: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def listens(port: int) -> bool:
    """Whether somebody listens at a port of the loopback interface."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def children(pid: int, containing: str = "") -> list[int]:
    """Processes that descend from another, nearest first.

    Args:
        pid: of the ancestor.
        containing: only those whose command line holds it.
    """
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(0), [])
        found += below
        todo += below
    return [one for one in found if containing in command_line(one)]


def command_line(pid: int) -> str:
    """Of a process; nothing where it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""
