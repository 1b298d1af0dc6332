# SPDX-License-Identifier: Apache-2.0
"""Documented public functions and methods of an installed package, read from its source.

Nothing is imported: importing packages runs their code, warns, and takes minutes. Files are parsed, and what
a name means at run time plays no part.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpeft.data.records import is_unicode

STANDARD_LIBRARY = "stdlib"
"""The name under which the standard library counts as a package."""

MIN_TEXT = 30
"""Fewest characters of a docstring's first paragraph."""
MAX_TEXT = 400
"""Most characters of a docstring's first paragraph."""

_TEST_PARTS = frozenset({"test", "tests", "testing", "idle_test", "conftest"})
# Folders that hold other projects' code. The lower row are projects that scipy carries under their own names.
_VENDORED_PARTS = frozenset(
    {
        *("vendor", "vendored", "extern", "externals", "third_party", "thirdparty", "bundled"),
        *("array_api_compat", "array_api_extra", "uarray", "cobyqa", "pyprima"),
    }
)
# Applications and data that the standard library's folder holds beside the library.
_NOT_LIBRARY = frozenset({"idlelib", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "site-packages"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class CodeObject:
    """A documented public function or method.

    Attributes:
        module: dotted path up to the first private part (``a_b._c.d`` is ``a_b``).
        name: ``function`` or ``Class.method``.
        signature: its parameters and return annotation as in the source, without ``self``:
            ``(values, *, axis=0) -> float``. ``()`` when there are none.
        text: first paragraph of its docstring with white space folded.
    """

    module: str
    name: str
    signature: str
    text: str

    @property
    def qualified_name(self) -> str:
        """Public module and name."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read, and the public module that its objects count to."""

    path: Path
    module: str


def find_package(package: str) -> tuple[Path, ...]:
    """Find the folders, or the single file, of a top-level package without importing it.

    Returns:
        Existing paths; empty when no such package is installed or it has no Python source.
    """
    if package == STANDARD_LIBRARY:
        return (Path(sysconfig.get_paths()["stdlib"]),)
    if not package.isidentifier():
        return ()  # a dotted name would import its parents
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module in memory that has no specification
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(sorted(Path(place) for place in spec.submodule_search_locations))
    return (Path(spec.origin),) if spec.origin and spec.origin.endswith(".py") else ()


def source_files(package: str) -> list[SourceFile]:
    """List the files whose objects count, sorted by path; empty when the package is not found."""
    files = []
    for root in find_package(package):
        top = () if package == STANDARD_LIBRARY else (package,)
        for path in [root] if root.is_file() else _python_files(root):
            inner = () if root.is_file() else path.relative_to(root).with_suffix("").parts
            module = _public_module((*top, *inner))
            if module:
                files.append(SourceFile(path, module))
    return files


def read_objects(files: Sequence[SourceFile]) -> list[CodeObject]:
    """Read the documented public functions and methods of ``files``, in order.

    Files that cannot be parsed are passed over. Of two objects with the same qualified name the first counts.
    """
    found: dict[str, CodeObject] = {}
    for file in files:
        for item in _objects_in(file):
            found.setdefault(item.qualified_name, item)
    return list(found.values())


def _python_files(root: Path) -> list[Path]:
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_wanted(name)]
        paths += [Path(folder, name) for name in names if name.endswith(".py") and _is_wanted(name[:-3])]
    return sorted(paths, key=lambda path: path.relative_to(root).parts)


def _is_wanted(part: str) -> bool:
    """Say whether a folder or module of this name is read: importable, no test, not vendored."""
    bare = part.strip("_")
    return (
        part.isidentifier()
        and part not in _NOT_LIBRARY
        and bare not in _TEST_PARTS
        and not bare.startswith(("test_", "testing_", "vendored_"))
        and not bare.endswith(("_test", "_tests"))
        and bare not in _VENDORED_PARTS
    )


def _public_module(parts: Sequence[str]) -> str:
    public: list[str] = []
    for part in parts:
        if part.startswith("_"):
            break
        public.append(part)
    return ".".join(public)


def _objects_in(file: SourceFile) -> Iterator[CodeObject]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the parsed code: invalid escapes and the like
            tree = ast.parse(file.path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # templates and code for other interpreters
    for name, node, in_class in _definitions(tree.body, "", in_class=False):
        text = _first_paragraph(node)
        if MIN_TEXT <= len(text) <= MAX_TEXT and is_unicode(text):
            yield CodeObject(file.module, name, _signature(node, in_class=in_class), text)


def _definitions(
    body: Sequence[ast.stmt], owner: str, *, in_class: bool
) -> Iterator[tuple[str, _Function, bool]]:
    """Find public definitions, in source order; those inside functions are nobody's to call."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            handlers = [line for handler in getattr(node, "handlers", ()) for line in handler.body]
            inner = [*node.body, *handlers, *node.orelse]
            yield from _definitions(inner, owner, in_class=in_class)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _definitions(node.body, f"{owner}{node.name}.", in_class=True)
        elif isinstance(node, _Function) and not node.name.startswith("_"):
            yield owner + node.name, node, in_class


def _first_paragraph(node: _Function) -> str:
    lines: list[str] = []
    for line in (ast.get_docstring(node) or "").strip().splitlines():
        if not line.strip():
            break
        lines.append(line)
    return " ".join(" ".join(lines).split())


def _signature(node: _Function, *, in_class: bool) -> str:
    arguments = node.args
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    positional = arguments.posonlyargs or arguments.args
    if in_class and not static and positional:
        del positional[0]
        if len(arguments.defaults) > len(arguments.posonlyargs) + len(arguments.args):
            del arguments.defaults[0]  # self=... : defaults belong to the last parameters
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){returns}"
