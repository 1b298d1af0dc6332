# SPDX-License-Identifier: Apache-2.0
"""Who may read and change what: predictions from modes, compared with what the operating system does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpeft.deployment import access
from fedpeft.deployment.access import User, courier_problems, find_user, own_user, socket_problems

COURIER = User("courier", 54321, frozenset({54321, 54000}))


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may reach, which the folders of pytest are not."""
    made = Path(tempfile.mkdtemp(prefix="fp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def make(path: Path, mode: int) -> Path:
    path.write_text("private")
    path.chmod(mode)
    return path


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch):
    """The problems of a path for the courier above, who is no user of this machine."""
    monkeypatch.setattr(access, "find_user", lambda name: COURIER)
    return lambda *paths: courier_problems("courier", paths, own_user())


def test_a_private_file_in_a_folder_that_others_may_read_is_fine(folder: Path, judge) -> None:
    assert judge(make(folder / "data.jsonl", 0o600)) == []


@pytest.mark.parametrize(
    ("mode", "verbs"), [(0o604, ["read"]), (0o602, ["change"]), (0o666, ["read", "change"])]
)
def test_what_everybody_may_read_or_change_is_told(folder: Path, judge, mode: int, verbs: list[str]) -> None:
    path = make(folder / "data.jsonl", mode)
    problems = judge(path)
    assert [problem.split(" could ")[1].split()[0] for problem in problems] == verbs
    assert all(
        problem.startswith(f"{path}: courier could") and "chmod 0600" in problem for problem in problems
    )


def test_a_closed_folder_protects_an_open_file(folder: Path, judge) -> None:
    inner = folder / "inner"
    inner.mkdir(mode=0o700)
    path = make(inner / "data.jsonl", 0o666)
    assert judge(path) == []
    inner.chmod(0o701)
    assert len(judge(path)) == 2


def test_a_folder_that_the_courier_may_write_gives_its_files_away(folder: Path, judge) -> None:
    path = make(folder / "policy.toml", 0o600)
    folder.chmod(0o777)
    assert [problem for problem in judge(path) if "could change it" in problem]
    folder.chmod(0o1777)  # sticky: only owners may replace
    assert judge(path) == []
    assert "could change it" in judge(folder / "not-there-yet.sqlite")[0]


def test_a_link_is_judged_by_what_it_leads_to(folder: Path, judge) -> None:
    target = make(folder / "real.jsonl", 0o644)
    (folder / "link.jsonl").symlink_to(target)
    assert any("could read" in problem for problem in judge(folder / "link.jsonl"))


def test_what_the_site_runs_may_be_read_but_not_changed(folder: Path, judge) -> None:
    judged = lambda: courier_problems("courier", [], own_user(), [folder / "model"])  # noqa: E731
    (folder / "model").mkdir()
    (folder / "model").chmod(0o755)
    assert judged() == []
    (folder / "model").chmod(0o757)
    assert "could change it; chmod -R go-w" in judged()[0]


def test_users_that_no_mode_keeps_away(folder: Path) -> None:
    own = own_user()
    path = make(folder / "data.jsonl", 0o600)
    assert "own user" in courier_problems(str(own.uid), [path], own)[0]
    site = User("site", 4242, frozenset())
    assert "root" in courier_problems("0", [path], site)[0]
    assert "no user of this machine" in courier_problems("no-such-user-here", [path], own)[0]


def test_an_access_list_is_refused(folder: Path, judge, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(folder / "data.jsonl", 0o600)
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"\x02", raising=False)
    assert any("access list" in problem for problem in judge(path))


@pytest.mark.parametrize(
    ("mode", "gid", "problem"),
    [
        (0o750, 54000, None),
        (0o770, 54000, None),
        (0o755, 54000, "everybody may enter"),
        (0o750, 4, "may not enter"),
        (0o700, 54000, "may not enter"),
    ],
)
def test_the_sockets_folder_admits_the_shared_group_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, gid: int, problem: str | None
) -> None:
    inner = folder / "run"
    inner.mkdir()
    inner.chmod(mode)
    found = inner.stat()
    real = Path.stat

    def stat(self: Path, **options: bool) -> os.stat_result:
        return os.stat_result((*found[:5], gid, *found[6:])) if self == inner else real(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    own = own_user()
    own = User(own.name, own.uid, own.groups | {gid})
    problems = socket_problems(inner / "site.sock", COURIER, own)
    assert bool(problems) == (problem is not None)
    assert problem is None or any(problem in line for line in problems)


def test_a_sockets_folder_that_is_absent_or_has_a_long_name(folder: Path) -> None:
    assert "install -d" in socket_problems(folder / "absent" / "s", COURIER, own_user())[0]
    assert "100 bytes" in socket_problems(folder / ("x" * 100), COURIER, own_user())[0]


_TRY = """
import os, sys
for path in sys.argv[1:]:
    found = ""
    for letter, flag in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
        try:
            os.close(os.open(path, flag))
            found += letter
        except OSError:
            pass
    print(found or "-")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_operating_system_agrees(folder: Path) -> None:
    """Every mode, for the owner's group and for others, in a folder that nobody else may write."""
    nobody = find_user("65534")
    assert nobody is not None
    paths = []
    for i, mode in enumerate(range(0o600, 0o700)):
        path = make(folder / f"{i}", mode)
        os.chown(path, 0, 65534 if i % 2 else 0)
        paths.append(path)
    run = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    command = [python, "-I", "-c", _TRY, *map(str, paths)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, **run).stdout.split()
    user = User(nobody.name, 65534, frozenset({65534}))
    predicted = [
        ("r" if access.may_read(user, path) else "") + ("w" if access.may_change(user, path) else "") or "-"
        for path in paths
    ]
    assert predicted == out
    assert set(out) == {"-", "r", "w", "rw"}
