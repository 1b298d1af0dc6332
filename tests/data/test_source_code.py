# SPDX-License-Identifier: Apache-2.0
"""What counts as a documented public function, on packages made for the purpose."""

import importlib
import sys
import textwrap

import pytest

from fedpeft.data.source_code import find_package, read_objects, source_files

LONG = "Says something of thirty characters or more."


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package ``fakepkg`` of the given files; gives its objects by qualified name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files):
        for name, text in ({"__init__": ""} | files).items():
            path = tmp_path / "fakepkg" / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        return {item.qualified_name: item for item in read_objects(source_files("fakepkg"))}

    return write


def _function(name="run", text=LONG, arguments=""):
    return f'def {name}({arguments}):\n    """{text}"""\n'


def test_functions_and_methods_with_a_docstring_count(package):
    found = package(
        core=f'''
        def run(): "{LONG}"
        async def wait(): "{LONG}"
        def bare(): pass
        class Engine:
            """{LONG}"""
            def start(self): "{LONG}"
            class Part:
                def turn(self): "{LONG}"
        '''
    )
    assert list(found) == [
        "fakepkg.core.run",
        "fakepkg.core.wait",
        "fakepkg.core.Engine.start",
        "fakepkg.core.Engine.Part.turn",
    ]
    assert found["fakepkg.core.Engine.start"].module == "fakepkg.core"
    assert found["fakepkg.core.Engine.start"].name == "Engine.start"


def test_underscore_names_and_inner_functions_do_not(package):
    found = package(
        core=f'''
        def _run(): "{LONG}"
        def outer():
            def inner(): "{LONG}"
        class _Engine:
            def start(self): "{LONG}"
        class Engine:
            def __init__(self): "{LONG}"
            def _start(self): "{LONG}"
        '''
    )
    assert not found


def test_conditional_definitions_count_once(package):
    found = package(
        core=f'''
        try:
            import fast
        except ImportError:
            def run(): "The slow one, but it always works."
        else:
            def run(): "{LONG}"
        if True:
            def walk(): "{LONG}"
        else:
            def walk(): "The other walk, which is not the first."
        '''
    )
    assert {name.rpartition(".")[2]: item.text for name, item in found.items()} == {
        "run": "The slow one, but it always works.",
        "walk": LONG,
    }


def test_module_ends_before_the_first_private_part(package):
    found = package(_core=_function("a"), sub__in___deep__in__file=_function("b"), plain=_function("c"))
    assert {item.name: item.module for item in found.values()} == {
        "a": "fakepkg",
        "b": "fakepkg.sub",
        "c": "fakepkg.plain",
    }


def test_first_file_wins_a_qualified_name(package):
    found = package(_b=_function(text="The second of the two texts here."), _a=_function())
    assert [item.text for item in found.values()] == [LONG]


def test_files_are_sorted(package):
    found = package(b=_function(), a__in__z=_function(), a_b=_function(), c=_function())
    assert list(found) == ["fakepkg.a.z.run", "fakepkg.a_b.run", "fakepkg.b.run", "fakepkg.c.run"]


@pytest.mark.parametrize(
    "place",
    [
        "tests__in__helper",
        "test__in__helper",
        "testing__in__helper",
        "test_core",
        "core_test",
        "conftest",
        "_vendor__in__other",
        "vendored__in__other",
        "externals__in__other",
        "extern__in__other",
        "third_party__in__other",
        "_lib__in__array_api_compat__in__other",
        "not-a-module__in__other",
        "not-a-module",
    ],
)
def test_tests_and_vendored_code_do_not_count(package, place):
    assert list(package(**{place: _function(), "latest": _function()})) == ["fakepkg.latest.run"]


@pytest.mark.parametrize(("length", "kept"), [(29, False), (30, True), (400, True), (401, False)])
def test_bounds_of_the_text(package, length, kept):
    assert bool(package(core=_function(text="x" * length))) is kept


def test_text_is_the_first_paragraph_with_white_space_folded(package):
    found = package(
        core='''
        def run():
            """
            Says   something of
                thirty\tcharacters or more.

            And this is another paragraph.
            """
        '''
    )
    assert found["fakepkg.core.run"].text == LONG


@pytest.mark.parametrize(
    ("source", "signature"),
    [
        ("def f(a, b: int=1, *c, d, **e) -> str", "(a, b: int=1, *c, d, **e) -> str"),
        ("def f()", "()"),
        ("def f(self)", "(self)"),
        ("class C:\n    def f(self)", "()"),
        ("class C:\n    def f(self, a, b=2)", "(a, b=2)"),
        ("class C:\n    def f(self, /, a, b=2)", "(a, b=2)"),
        ("class C:\n    def f(self, a, /, b=2)", "(a, /, b=2)"),
        ("class C:\n    def f(self=None, a=1)", "(a=1)"),
        ("class C:\n    def f(*args, key=1)", "(*args, key=1)"),
        ("class C:\n    @classmethod\n    def f(cls, a)", "(a)"),
        ("class C:\n    @staticmethod\n    def f(a, b)", "(a, b)"),
    ],
)
def test_signature_leaves_out_self(package, source, signature):
    [item] = package(core=f'{source}: "{LONG}"\n').values()
    assert item.signature == signature


def test_unreadable_files_are_passed_over(package, tmp_path):
    package(good=_function())
    (tmp_path / "fakepkg" / "old.py").write_text("print 'python 2'")
    (tmp_path / "fakepkg" / "null.py").write_bytes(b"a = '\0'")
    (tmp_path / "fakepkg" / "latin.py").write_bytes(b"a = '\xe9'")
    assert list(package()) == ["fakepkg.good.run"]


def test_warnings_of_the_source_are_not_ours(package):
    # The suite turns warnings into errors, and this escape warns when it is parsed.
    assert package(core='a = "\\d"\n' + _function())


def test_half_surrogates_do_not_count(package):
    assert not package(core=_function(text=LONG + "\\ud800"))


def test_nothing_is_imported(package, tmp_path):
    assert package(__init__="raise RuntimeError('imported')\n" + _function())
    assert "fakepkg" not in sys.modules


def test_a_single_file_is_a_package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fakemodule.py").write_text(_function())
    assert [item.qualified_name for item in read_objects(source_files("fakemodule"))] == ["fakemodule.run"]


@pytest.mark.parametrize("name", ["no_such_package_here", "xml.dom", "a-b", "", "sys", "_struct"])
def test_what_has_no_source_is_not_found(name):
    assert find_package(name) == ()
    assert source_files(name) == []


def test_standard_library_is_the_library_alone():
    modules = {file.module for file in source_files("stdlib")}
    assert {"json.decoder", "argparse", "unittest.case"} <= modules
    tops = {module.partition(".")[0] for module in modules}
    assert not tops & {"test", "idlelib", "lib2to3", "turtledemo", "ensurepip", "numpy", "torch"}
