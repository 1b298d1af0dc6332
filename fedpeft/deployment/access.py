# SPDX-License-Identifier: Apache-2.0
"""Who can read and change what, by users, groups and modes: the courier must not get at what is private.

The courier runs code that the coordinator uploaded. The operating system keeps it away from the data, if
users and modes are as they should be; these checks look whether they are. Access lists beyond modes are not
understood, so a private file that has one is refused.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_READ, _WRITE, _ENTER = 4, 2, 1
_ACCESS_LIST: Final = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class User:
    """An account of this machine.

    Attributes:
        name: for people.
        uid: its number.
        groups: every group that it is in.
    """

    name: str
    uid: int
    groups: frozenset[int]


def find_user(name: str) -> User | None:
    """The user of a name or a number; ``None`` if there is none of this name."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return User(name, int(name), frozenset({int(name)})) if name.isdecimal() else None
    return User(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def own_user() -> User:
    """Who runs this process."""
    uid = os.geteuid()
    groups = frozenset({os.getegid(), *os.getgroups()})
    known = find_user(str(uid))
    return User(known.name if known else str(uid), uid, groups)


def courier_problems(
    courier: str, private: Iterable[Path], own: User, fixed: Iterable[Path] = ()
) -> list[str]:
    """Everything that would let the courier's user at what is private, one line each with its mend.

    Args:
        courier: name or number of its user.
        private: files and folders; those that do not exist yet are judged by their folder.
        own: the site's user.
        fixed: what it may read but not change, since the site runs or loads it.
    """
    user = find_user(courier)
    if user is None:
        return [f"site.courier = {courier!r}: is no user of this machine; add it, or correct the name"]
    if user.uid == own.uid:
        return [
            f"site.courier = {courier!r}: is the site's own user, so uploaded code could read the data; "
            "run the site as a user of its own"
        ]
    if user.uid == 0:
        return [f"site.courier = {courier!r}: is root, who can read everything; name another user"]
    exposed = [problem for path in dict.fromkeys(private) for problem in _exposed(path, user)]
    changeable = [path for path in fixed if may_change(user, path)]
    return exposed + [f"{path}: {user.name} could change it; chmod -R go-w {path}" for path in changeable]


def socket_problems(socket: Path, courier: User, own: User) -> list[str]:
    """What is wrong with the folder of the socket, one line each with its mend.

    Args:
        socket: absolute path.
        courier: who shall reach it.
        own: the site's user.
    """
    folder = socket.parent
    if len(os.fsencode(socket)) > 100:
        return [f"site.socket = {socket}: is longer than 100 bytes, which sockets cannot be; shorten it"]
    try:
        found = folder.stat()
    except OSError as error:
        return [f"site.socket: its folder {folder}: {error.strerror}; make it: {_make(folder)}"]
    mode = stat.S_IMODE(found.st_mode)
    problems = []
    if found.st_uid not in (own.uid, 0):
        problems.append(f"site.socket: {folder} belongs to somebody else; chown it to {own.name}")
    if mode & 0o007:
        problems.append(f"site.socket: {folder} has mode {mode:04o}, so everybody may enter; chmod 0750 it")
    if courier.uid != own.uid:
        if found.st_gid not in courier.groups or not mode & stat.S_IXGRP:
            problems.append(
                f"site.socket: {courier.name} may not enter {folder} by its group; give it a group that both "
                "users are in, and chmod 0750 it"
            )
        elif not may_reach(courier, socket):
            problems.append(f"site.socket: {courier.name} may not enter a folder above {folder}; chmod it")
    if found.st_gid not in own.groups and own.uid != 0:
        problems.append(f"site.socket: {own.name} is not in the group of {folder}; add it to that group")
    return problems


def may_reach(user: User, path: Path) -> bool:
    """Whether ``user`` may enter every folder above ``path``."""
    return all(_allowed(user, folder, _ENTER) for folder in path.resolve().parents)


def may_read(user: User, path: Path) -> bool:
    """Whether ``user`` may read a file or list a folder."""
    return may_reach(user, path) and _allowed(user, path, _READ)


def may_change(user: User, path: Path) -> bool:
    """Whether ``user`` may write a file, or put another in its place."""
    if not may_reach(user, path):
        return False
    parent = path.resolve().parent
    is_kept = _is_sticky(parent) and path.exists() and not _owns(user, path)
    return (_allowed(user, parent, _WRITE) and not is_kept) or _allowed(user, path, _WRITE)


def _exposed(path: Path, user: User) -> Iterator[str]:
    checks: tuple[tuple[str, Callable[[User, Path], bool]], ...] = (
        ("read", may_read),
        ("change", may_change),
    )
    for verb, may in checks:
        if may(user, path):
            yield f"{path}: {user.name} could {verb} it; {_close(path)}"
    if _has_access_list(path):
        yield f"{path}: has an access list, which is not understood here; setfacl -b {path}"


def _allowed(user: User, path: Path, bit: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    if user.uid == 0:
        return True
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid in user.groups else 0
    # An owner can give itself any right.
    return found.st_uid == user.uid or bool(found.st_mode >> shift & bit)


def _owns(user: User, path: Path) -> bool:
    try:
        return path.lstat().st_uid == user.uid
    except OSError:
        return False


def _is_sticky(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_ISVTX)


def _has_access_list(path: Path) -> bool:
    try:
        return hasattr(os, "getxattr") and bool(os.getxattr(path, _ACCESS_LIST))
    except OSError:
        return False


def _close(path: Path) -> str:
    if not path.exists():
        return f"chmod go-w {path.parent}"
    return f"chmod {'0700' if path.is_dir() else '0600'} {path}, and chmod go-w the folder it is in"


def _make(folder: Path) -> str:
    return f"install -d -m 0750 -g SHARED_GROUP {folder}"
