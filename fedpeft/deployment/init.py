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

ACCOUNTS: Final = "fedpeft"
_YEARS: Final = 3
_LAST_PORT: Final = 65535
_EXAMPLES: Final = {
    "/srv/fedpeft/st-mary": "folder",
    "/opt/fedpeft/bin": "bin",
    "RuntimeDirectory=fedpeft/st-mary": "runtime",
    "Group=fedpeft": "unit_group",
    "fedpeft-st-mary": "cache",
    "fedpeft-site": "site_user",
    "fedpeft-courier": "courier",
    "st-mary": "identity",
}
"""What stands in the units of ``client/``, and which word takes its place."""


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
    words = _words(folder, f"{_in_url(hosts[0])}:{port}") | {
        "name": name,
        "port": str(port),
        "hub_port": str(port + 1 if port < _LAST_PORT else port - 1),
    }
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
    folder: Path,
    identity: str,
    superlink: str,
    *,
    socket: Path | None = None,
    node_port: int = 9094,
    accounts: str = ACCOUNTS,
) -> list[Path]:
    """Make the folder of an organization: ``site`` for its own user, ``courier`` for the SuperNode's.

    Args:
        folder: absent or empty.
        identity: of its policy.
        superlink: the coordinator's ``HOST:PORT``.
        socket: of the resident site.
        node_port: of the SuperNode, on the loopback interface; different for each on one machine.
        accounts: of the users ``ACCOUNTS-site`` and ``ACCOUNTS-courier``, and of their group; likewise.

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
        "courier": f"{accounts}-courier",
        "site_user": f"{accounts}-site",
        "group": accounts,
        "unit_group": f"Group={accounts}",
        "cache": f"{accounts}-{identity}",
        "runtime": _runtime(socket.parent),
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
    for unit in ("site", "courier"):
        _write(folder / "systemd" / f"{accounts}-{unit}.service", _unit(unit, words), 0o644)
    for part in ("site", "courier"):
        (folder / part).chmod(0o700)
    return _made(folder)


def _runtime(folder: Path) -> str:
    """What a unit says to have the socket's folder made; of another folder than ``/run`` nothing."""
    inside = folder.is_relative_to("/run") and folder != Path("/run")
    return f"RuntimeDirectory={folder.relative_to('/run')}" if inside else "#"


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


def _unit(name: str, words: Mapping[str, str]) -> bytes:
    """The unit that ``client/`` has for ``st-mary``, for another organization."""
    text = (_deployed("client") / f"fedpeft-{name}.service").read_text("utf-8")
    for example, key in _EXAMPLES.items():
        text = text.replace(example, words[key])
    return text.encode()


def _deployed(part: str) -> Traversable:
    """The wheel's own copy of a folder, or in a checkout the folder it is made of."""
    found: Traversable = files("fedpeft") / "flower" / "bundle" / part
    return found if found.is_dir() else files("fedpeft") / ".." / part


def _copy_apps(part: str, target: Path) -> None:
    target.mkdir(parents=True)
    for file in _deployed(part).iterdir():
        if file.name.endswith(".py"):
            with as_file(file) as path:
                shutil.copyfile(path, target / file.name)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _made(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
