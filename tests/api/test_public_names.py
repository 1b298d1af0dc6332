# SPDX-License-Identifier: Apache-2.0
"""The names of the package: all there, all documented, none fetched before it is used."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedpeft
from fedpeft import errors

NAMES = [name for name in fedpeft.__all__ if name != "__version__"]
ROOT = Path(fedpeft.__file__).parent


def members(name: str) -> Iterator[tuple[str, object]]:
    """A public name with what it is, and the methods and properties of a class that are its own."""
    found = getattr(fedpeft, name)
    yield name, found
    if inspect.isclass(found):
        for inner, value in vars(found).items():
            if not inner.startswith("_") and (callable(value) or isinstance(value, property | classmethod)):
                yield f"{name}.{inner}", value


def test_importing_the_package_imports_no_part_of_it() -> None:
    code = (
        "import sys, fedpeft; dir(fedpeft); fedpeft.__version__;"
        "before = {name for name in sys.modules if name.startswith('fedpeft.')};"
        "fedpeft.load_config; fedpeft.ConfigError;"
        "heavy = {'torch', 'transformers', 'flwr', 'peft'} & sys.modules.keys();"
        "fedpeft.simulate; print(before, heavy, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() set() True\n"


def test_all_is_what_there_is() -> None:
    assert fedpeft.__all__ == sorted(fedpeft.__all__)
    assert dir(fedpeft) == fedpeft.__all__
    assert all(getattr(fedpeft, name).__module__.startswith("fedpeft.") for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        fedpeft.simulat  # noqa: B018


def test_no_name_is_also_a_part_which_would_hide_it() -> None:
    assert not {module.name for module in pkgutil.iter_modules([str(ROOT)])} & set(NAMES)


def test_every_error_is_a_public_name() -> None:
    tree = {
        cls.__name__ for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)
    }
    assert tree <= set(fedpeft.__all__)


def test_type_checkers_see_the_same_names() -> None:
    """The stub says for each name where it is, and that is where it is fetched from."""
    tree = ast.parse((ROOT / "__init__.pyi").read_text("utf-8"))
    told = {
        alias.asname: getattr(importlib.import_module(node.module or ""), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: getattr(fedpeft, name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented_and_annotated(name: str) -> None:
    for inner, value in members(name):
        assert (inspect.getdoc(value) or "").strip(), inner
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            assert signature.return_annotation is not inspect.Signature.empty, inner
            told = inspect.getdoc(value) or ""
            for parameter in list(signature.parameters)[1 if "." in inner else 0 :]:
                assert f"{parameter}:" in told, f"{inner}: {parameter}"


@pytest.mark.usefixtures("workplace")
def test_the_examples_in_docstrings_run() -> None:
    words = ("red", "small", "here", "cup", "green", "large", "there", "lamp") * 5
    tried = 0
    for module in ("fedpeft.api.calls", "fedpeft.api.run"):
        found = doctest.testmod(importlib.import_module(module), extraglobs={"words": words})
        assert found.failed == 0
        tried += found.attempted
    assert tried >= 12


def test_every_docstring_with_an_example_is_tried() -> None:
    having = {file for file in ROOT.rglob("*.py") if "\n        >>> " in file.read_text("utf-8")}
    assert {file.relative_to(ROOT).as_posix() for file in having} == {"api/calls.py", "api/run.py"}
