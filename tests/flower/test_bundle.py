# SPDX-License-Identifier: Apache-2.0
"""The bundle that Flower ships to nodes: the two folders and nothing that belongs to anybody."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files
from flwr.common.config import get_fab_config

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # flwr 1.41's

ROOT = Path(__file__).parents[2]


def _repository() -> dict[str, Path]:
    """Files as ``flwr build`` finds them, but for the environment and caches, which are many."""
    top = [path for path in ROOT.iterdir() if path.name not in (".git", ".venv", "runs")]
    files = [
        file for path in top for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    ]
    return {file.relative_to(ROOT).as_posix(): file for file in files}


def _python(folder: str) -> set[str]:
    files = (ROOT / folder).rglob("*.py")
    return {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return build_fab_from_files(_repository())[0]


def test_holds_the_two_folders_and_the_papers(bundle):
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        names = set(archive.namelist())
    papers = {"README.md", "LICENSE", "pyproject.toml", ".info/CONTENT"}
    assert names == _python("client") | _python("server") | papers
    assert {"client/app.py", "server/app.py"} <= names


def test_nothing_private_slips_in(bundle):
    """A file that a user may leave in the repository: data, keys, certificates, a run."""
    files = _repository()
    strays = {
        "data/notes.jsonl": b'{"instruction": "Ada Lovelace"}',
        "client/notes.jsonl": b'{"instruction": "Ada Lovelace"}',
        "client/site.toml": b'path = "/srv/hospital"',
        "client/policy.toml": b"epsilon = 8.0",
        "server/ca.crt": b"-----BEGIN CERTIFICATE-----",
        "server/key.json": b"{}",
        "adapter/model.safetensors": b"",
    }
    with zipfile.ZipFile(io.BytesIO(build_fab_from_files({**files, **strays})[0])) as archive:
        assert not set(strays) & set(archive.namelist())
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert not set(strays) & set(archive.namelist())


def test_names_the_apps_and_the_keys_of_a_run(bundle):
    app = get_fab_config(bundle)["tool"]["flwr"]["app"]
    assert app["components"] == {"serverapp": "server.app:app", "clientapp": "client.app:app"}
    assert app["config"] == {"run": "", "out": "", "resume": False, "deliver": False}


@pytest.mark.parametrize("app", ["client", "server"])
def test_apps_load_from_the_bundle_alone(bundle, tmp_path, app):
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; from pathlib import Path; from flwr.supercore.object_ref import load_app\n"
        f"app = load_app('{app}.app:app', RuntimeError, Path.cwd())\n"
        f"print(type(app).__name__, sys.modules['{app}.app'].__file__)"
    )
    run = {"capture_output": True, "text": True, "check": True, "cwd": tmp_path}
    kind, path = subprocess.run([sys.executable, "-c", code], **run).stdout.split()
    assert kind == f"{app.capitalize()}App"
    assert Path(path).is_relative_to(tmp_path)
