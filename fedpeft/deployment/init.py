# SPDX-License-Identifier: Apache-2.0
"""``fedpeft init``: the working folder of a coordinator or an organization, with all that it needs to start.

Texts are in ``templates/``; nothing here needs the repository.
"""

from __future__ import annotations

import datetime
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Final

from fedpeft import __version__
from fedpeft.deployment.authority import make_authority, make_node_key, make_server
from fedpeft.errors import RunDirectoryError, UserError

SITE_USER: Final = "fedpeft-site"
COURIER: Final = "fedpeft-courier"
_YEARS: Final = 3


def init_coordinator(folder: Path, name: str, hosts: Sequence[str], port: int) -> list[Path]:
    """Make the folder of a coordinator.

    Args:
        folder: absent or empty.
        name: of the federation: a word of letters, digits, dash.
        hosts: names and addresses of its machine; organizations use the first.
        port: of the SuperLink.

    Returns:
        Every file made.

    Raises:
        UserError: the folder is in use, or a host is none.
    """
    folder = _fresh(folder)
    try:
        authority = make_authority(name)
        server = make_server(authority, hosts)
    except ValueError as error:
        raise UserError(f"--host {', '.join(hosts)}: {error}; give names or addresses") from error
    words = _words(folder, f"{_in_url(hosts[0])}:{port}") | {"name": name, "port": str(port)}
    certificates = {"ca.key": authority.key, "server.key": server.key}
    for file, content in certificates.items():
        _write(folder / "certificates" / file, content, 0o600)
    _write(folder / "superexec.secret", secrets.token_bytes(32), 0o600)
    for file, content in {"ca.crt": authority.public, "server.pem": server.public}.items():
        _write(folder / "certificates" / file, content, 0o644)
    for command in ("superlink", "superexec", "register", "run", "resume", "deliver", "status"):
        _fill(folder / f"{command}.sh", "coordinator", words, 0o755)
    for file in ("README.md", "run.toml", "environment.sh"):
        _fill(folder / file, "coordinator", words, 0o644)
    _fill(folder / "flower" / "config.toml", "coordinator", words, 0o600, "flower-config.toml")
    _fill(folder / "app" / "pyproject.toml", "coordinator", words, 0o644, "app-pyproject.toml")
    for part in ("client", "server"):
        _copy_apps(part, folder / "app" / part)
    return _made(folder)


def init_site(
    folder: Path, identity: str, superlink: str, *, socket: Path | None = None, node_port: int = 9094
) -> list[Path]:
    """Make the folder of an organization: ``site`` for its own user, ``courier`` for the SuperNode's.

    Args:
        folder: absent or empty.
        identity: of its policy.
        superlink: the coordinator's ``HOST:PORT``.
        socket: of the resident site.
        node_port: of the SuperNode, on the loopback interface; different for each on one machine.

    Returns:
        Every file made.

    Raises:
        UserError: the folder is in use.
    """
    folder = _fresh(folder)
    socket = socket or Path("/run") / "fedpeft" / identity / "site.sock"
    today = datetime.datetime.now(datetime.UTC).date()
    words = _words(folder, superlink) | {
        "identity": identity,
        "socket": str(socket),
        "socket_folder": str(socket.parent),
        "courier": COURIER,
        "site_user": SITE_USER,
        "node_port": str(node_port),
        "expires": f"{today.year + _YEARS}-12-31",
    }
    node = make_node_key(identity)
    _fill(folder / "README.md", "site", words, 0o644)
    for file in ("SITE.toml", "policy.toml"):
        _fill(folder / "site" / file, "site", words, 0o600)
    _fill(folder / "site" / "serve.sh", "site", words, 0o700)
    _fill(folder / "courier" / "node.sh", "site", words, 0o700)
    _write(folder / "courier" / "keys" / "node", node.key, 0o600)
    _write(folder / "courier" / "keys" / "node.pub", node.public, 0o644)
    for part in ("site", "courier"):
        (folder / part).chmod(0o700)
    return _made(folder)


def _words(folder: Path, address: str) -> dict[str, str]:
    return {
        "folder": str(folder),
        "address": address,
        "version": __version__,
        "bin": str(Path(sys.executable).parent),
    }


def _fresh(folder: Path) -> Path:
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunDirectoryError(f"{folder}: is not empty; name a new folder")
    except OSError as error:
        raise RunDirectoryError(f"{folder}: cannot be made ({error.strerror}); name another") from error
    return folder


def _fill(path: Path, party: str, words: Mapping[str, str], mode: int, template: str | None = None) -> None:
    text = (files("fedpeft.deployment") / "templates" / party / (template or path.name)).read_text("utf-8")
    _write(path, Template(text).substitute(words).encode(), mode)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700 if mode == 0o600 else 0o755, parents=True, exist_ok=True)
    path.touch(mode=mode, exist_ok=False)
    path.chmod(mode)
    path.write_bytes(content)


def _copy_apps(part: str, target: Path) -> None:
    """From the wheel's own copy, or in a checkout from the folder it is made of."""
    found: Traversable = files("fedpeft") / "flower" / "bundle" / part
    if not found.is_dir():
        found = files("fedpeft") / ".." / part
    target.mkdir(parents=True)
    for file in found.iterdir():
        if file.name.endswith(".py"):
            with as_file(file) as path:
                shutil.copyfile(path, target / file.name)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _made(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
