# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: which part may import which, where third parties are at home, how long a file is.

Each rule is a function from a file's path and source to what is wrong with it, so that each is also shown a
small source that breaks it.
"""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import resolve_name
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fedpeft

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 300

ORDER = (
    "layout", "types", "wire_types", "errors", "cache", "shared", "settings", "stage_settings",
    "methods", "data", "backbone", "adapters", "privacy", "delivery", "training", "evaluation", "site",
    "aggregation", "checkpoint", "federation", "private_evaluation", "synthesis", "selection", "config",
    "dimensions", "guarantee", "input_noise", "votes", "site_plan", "parts", "plan", "cost", "search",
    "proposal", "speed", "layer_choice", "subspace", "forecast", "tuning", "folder", "timing",
    "stopwatch", "run_sources", "workspace", "spending", "generation", "allocation_start", "warm_start",
    "reporter", "curve", "result", "model_card", "tracker", "stages", "run", "adapter_evaluation",
    "audit", "doctor", "report", "flower", "deployment", "baselines", "api", "testing", "cli",
    "__main__",
)  # fmt: skip
"""The parts of the package; each may import those before it."""

OUTSIDE = ("client", "server", "simulations", "tests")
"""They import the package; it never imports them."""

HOMES = {
    "peft": "fedpeft/adapters/",
    "flwr": "fedpeft/flower/",
    "dp_accounting": "fedpeft/privacy/accounting/",
    "opacus": "fedpeft/privacy/accounting/",
    "datasets": "fedpeft/data/arrow.py",
    "google": "fedpeft/site/",
    "grpc": "fedpeft/site/",
    "grpc_health": "fedpeft/site/",
    "pyarrow": "fedpeft/data/arrow.py",
}
"""Third parties that change often or count privacy, each with the one place that may import it."""

ITS_MAKER = "fedpeft/privacy/mechanism.py"
MADE_IN_ONE_PLACE = {"Released": ITS_MAKER, "Observation": "fedpeft/aggregation/tally.py"}
"""Who holds a value of the first class may send it, and noise may follow the second: each has one maker."""


def imports(path: str, tree: ast.Module) -> Iterator[str]:
    """Full names of all that a file imports, wherever in it: also in functions and under TYPE_CHECKING."""
    module = module_of(path)
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                origin = resolve_name("." * level + (name or ""), package)
                yield from (f"{origin}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id=call) | ast.Attribute(attr=call), args=[ast.Constant(value=str(name)), *_]
            ):
                if call in ("import_module", "__import__"):
                    yield resolve_name(name, package)


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part_of(module: str) -> str | None:
    """The part of the package that a module or a name in it belongs to; ``None`` for all else."""
    words = module.split(".")
    return words[1] if words[0] == "fedpeft" and len(words) > 1 and words[1] != "__version__" else None


def wrong_direction(path: str, source: str) -> Iterator[str]:
    own = part_of(module_of(path))
    if own is not None and own not in ORDER:
        yield f"{path}: fedpeft.{own} has no place in the order of imports"
        return
    allowed = ORDER[: ORDER.index(own) + 1] if own else ()
    for name in imports(path, ast.parse(source, path)):
        part = part_of(name)
        if part is not None and part not in allowed:
            yield f"{path}: imports {name}, which stands above it"
        if name.split(".")[0] in OUTSIDE:
            yield f"{path}: imports {name}, which is outside the package"


def away_from_home(path: str, source: str) -> Iterator[str]:
    for name in imports(path, ast.parse(source, path)):
        home = HOMES.get(name.split(".")[0])
        if home and not path.startswith(home):
            yield f"{path}: imports {name}, whose home is {home}"


@functools.cache
def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@functools.cache
def _installed() -> dict[str, list[str]]:
    return dict(packages_distributions())


def undeclared(path: str, source: str) -> Iterator[str]:
    declared = {canonicalize_name(Requirement(line).name) for line in _project()["dependencies"]}
    declared |= {"pytest"} if path == "fedpeft/testing/fixtures.py" else set()
    for name in imports(path, ast.parse(source, path)):
        root = name.split(".")[0]
        if root == "fedpeft" or root in sys.stdlib_module_names:
            continue
        if not declared & {canonicalize_name(dist) for dist in _installed().get(root, ())}:
            yield f"{path}: imports {name}, which pyproject.toml does not declare"


def is_generated(path: str) -> bool:
    return path.endswith("_pb2.py")


def too_long(path: str, source: str) -> Iterator[str]:
    num_lines = source.count("\n")
    if num_lines > LONGEST_FILE and not is_generated(path):
        yield f"{path}: {num_lines} lines, at most {LONGEST_FILE}"


def forged_release(path: str, source: str) -> Iterator[str]:
    for marker, maker in MADE_IN_ONE_PLACE.items():
        if path != maker:
            yield from _made_or_derived(path, source, marker)


def _made_or_derived(path: str, source: str, marker: str) -> Iterator[str]:
    tree = ast.parse(source, path)
    names = {marker}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.name == marker and alias.asname}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=maker, args=arguments):
                if _named(maker, names) or (
                    _named(maker, {"__new__"}) and any(_named(a, names) for a in arguments)
                ):
                    yield f"{path}:{node.lineno}: makes a {marker}"
            case ast.ClassDef(bases=bases):
                if any(_named(base, names) for base in bases):
                    yield f"{path}:{node.lineno}: derives from {marker}"


def _named(node: ast.expr, names: set[str]) -> bool:
    match node:
        case ast.Subscript(value=generic):
            return _named(generic, names)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
    return False


def no_header(path: str, source: str) -> Iterator[str]:
    if is_generated(path):
        return
    if not source.startswith("# SPDX-License-Identifier: Apache-2.0\n"):
        yield f"{path}: does not start with its licence"
    if not ast.get_docstring(ast.parse(source, path)):
        yield f"{path}: does not say what it is for"


RULES = {
    wrong_direction: ("fedpeft",),
    away_from_home: ("fedpeft", "client", "server"),
    undeclared: ("fedpeft",),
    too_long: ("fedpeft", "client", "server"),
    forged_release: ("fedpeft", "client", "server", "simulations"),
    no_header: ("fedpeft", *OUTSIDE),
}
"""Each rule with the folders that it holds in."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule) -> None:
    files = [file for folder in RULES[rule] for file in sorted((ROOT / folder).glob("**/*.py"))]
    assert len(files) > 20
    assert [p for f in files for p in rule(f.relative_to(ROOT).as_posix(), f.read_text("utf-8"))] == []


def test_the_version_is_written_once() -> None:
    assert _project()["version"] == fedpeft.__version__


def test_the_tested_versions_are_within_the_declared_ranges() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    tested = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    groups = [_project()["dependencies"], *_project()["optional-dependencies"].values()]
    for requirement in [Requirement(line) for group in groups for line in group]:
        if requirement.name != "fedpeft":
            assert tested[canonicalize_name(requirement.name)] in requirement.specifier, requirement


# --- the rules can see ---------------------------------------------------------------------------------

HEADER = '# SPDX-License-Identifier: Apache-2.0\n"""What it is for."""\n'

BREAKS = [
    (wrong_direction, "fedpeft/data/records.py", "from fedpeft.privacy import noise"),
    (wrong_direction, "fedpeft/data/records.py", "import fedpeft.privacy.noise as n"),
    (wrong_direction, "fedpeft/data/records.py", "from fedpeft import privacy"),
    (wrong_direction, "fedpeft/data/records.py", "from ..privacy.noise import draw"),
    (wrong_direction, "fedpeft/data/__init__.py", "from ..privacy.noise import draw"),
    (wrong_direction, "fedpeft/data/records.py", "def f():\n    from fedpeft.run import simulate"),
    (wrong_direction, "fedpeft/types.py", "if TYPE_CHECKING:\n    from fedpeft.errors import Refusal"),
    (wrong_direction, "fedpeft/settings.py", "from fedpeft.config import RunConfig"),
    (wrong_direction, "fedpeft/run.py", "import importlib\nimportlib.import_module('fedpeft.flower')"),
    (wrong_direction, "fedpeft/__init__.py", "from fedpeft.errors import FedpeftError"),
    (wrong_direction, "fedpeft/utils.py", ""),
    (wrong_direction, "fedpeft/flower/apps.py", "from server.app import app"),
    (wrong_direction, "fedpeft/testing/tiny.py", "import tests.conftest"),
    (away_from_home, "fedpeft/run.py", "import flwr"),
    (away_from_home, "fedpeft/federation.py", "def f():\n    from flwr.app import Message"),
    (away_from_home, "fedpeft/training/probe.py", "if TYPE_CHECKING:\n    import peft.tuners"),
    (away_from_home, "fedpeft/privacy/ledger.py", "from opacus.accountants import RDPAccountant"),
    (away_from_home, "server/app.py", "__import__('flwr')"),
    (away_from_home, "fedpeft/flower/client.py", "import grpc"),
    (undeclared, "fedpeft/run.py", "import pandas"),
    (undeclared, "fedpeft/run.py", "def f():\n    import not_installed_anywhere"),
    (undeclared, "fedpeft/run.py", "import pytest"),
    (too_long, "fedpeft/run.py", "x = 1\n" * (LONGEST_FILE + 1)),
    (forged_release, "fedpeft/site/site.py", "Released(1, event)"),
    (forged_release, "fedpeft/site/site.py", "mechanism.Released[int](1, event)"),
    (forged_release, "fedpeft/site/site.py", "from m import Released as R\nR(1, event)"),
    (forged_release, "fedpeft/site/site.py", "object.__new__(Released)"),
    (forged_release, "fedpeft/privacy/noise.py", "class Mine(Released[int]): ..."),
    (forged_release, "fedpeft/site/site.py", "Observation(g, a, s, 1.0)"),
    (forged_release, ITS_MAKER, "Observation(g, a, s, 1.0)"),
    (no_header, "fedpeft/run.py", '"""What it is for."""\n'),
    (no_header, "fedpeft/run.py", "# SPDX-License-Identifier: Apache-2.0\nx = 1\n"),
]

KEEPS = [
    (wrong_direction, "fedpeft/errors.py", "from fedpeft.types import RefusalCode"),
    (wrong_direction, "fedpeft/site/site.py", "from . import local\nfrom ..privacy.noise import draw"),
    (wrong_direction, "fedpeft/types.py", "from fedpeft import __version__"),
    (wrong_direction, "fedpeft/run.py", "from tests_of_mine import x"),
    (away_from_home, "fedpeft/flower/grid.py", "import flwr"),
    (away_from_home, "fedpeft/privacy/accounting/pld.py", "from dp_accounting import pld"),
    (away_from_home, "fedpeft/run.py", "import peft_tools\nfrom fedpeft.flower import x"),
    (undeclared, "fedpeft/run.py", "import json, click, dp_accounting.pld\nfrom huggingface_hub import x"),
    (too_long, "fedpeft/site/site_pb2.py", "x = 1\n" * 1000),
    (too_long, "fedpeft/run.py", "x = 1\n" * LONGEST_FILE),
    (no_header, "fedpeft/site/site_pb2.py", "x = 1\n"),
    (forged_release, ITS_MAKER, "Released(1, event)"),
    (forged_release, "fedpeft/site/site.py", "def f(value: Released[int]) -> None:\n    g(value)"),
    (no_header, "fedpeft/run.py", HEADER),
]


@pytest.mark.parametrize(("rule", "path", "source"), BREAKS)
def test_a_file_that_breaks_a_rule_is_found(rule, path: str, source: str) -> None:
    assert list(rule(path, source))


@pytest.mark.parametrize(("rule", "path", "source"), KEEPS)
def test_a_file_that_keeps_a_rule_is_not(rule, path: str, source: str) -> None:
    assert list(rule(path, source)) == []
