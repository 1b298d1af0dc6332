# SPDX-License-Identifier: Apache-2.0
"""The corpus of several packages: duplicates, versions, the hash, the cache."""

import importlib
import json
import logging
import os
import platform

import pytest

from fedpeft.data import docstrings
from fedpeft.data.docstrings import package_version, read_packages
from fedpeft.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FEDPEFT_CACHE", str(folder))
    return folder / "docstrings"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Write an importable module of functions with the given docstrings."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(module, *texts):
        lines = [f'def op{n}(value, other=None):\n    """{text}"""\n' for n, text in enumerate(texts)]
        (tmp_path / f"{module}.py").write_text("\n".join(lines))
        importlib.invalidate_caches()

    return write


def _texts(topic, number=40):
    return [f"Tells {topic} that the answer is number {n}." for n in range(number)]


@pytest.fixture
def counted_reads(monkeypatch):
    reads = []
    read = docstrings.read_objects
    monkeypatch.setattr(docstrings, "read_objects", lambda files: reads.append(files) or read(files))
    return reads


def test_records_come_by_package_and_sorted(site):
    site("fake_a", *_texts("apples"))
    site("fake_b", *_texts("bananas"))
    corpus = read_packages(["fake_b", "fake_a"])
    assert set(corpus.records) == {"fake_a", "fake_b"}
    ids = [record.id for record in corpus.records["fake_a"]]
    assert ids == sorted(ids)
    assert all(name.startswith("fake_a.op") for name in ids)
    assert len(ids) == 40  # no text holds a name, no signature is empty


def test_duplicates_are_dropped_over_all_packages(site):
    shared = _texts("everybody")
    site("fake_a", *_texts("apples"), *shared)
    site("fake_b", *[text.upper() for text in shared], *_texts("bananas"), *_texts("bananas"))
    corpus = read_packages(["fake_b", "fake_a"])
    assert len(corpus.records["fake_a"]) == 80
    assert len(corpus.records["fake_b"]) == 40
    assert len(read_packages(["fake_b"]).records["fake_b"]) == 80


def test_order_of_packages_does_not_matter(site):
    site("fake_a", *_texts("everybody"))
    site("fake_b", *_texts("everybody"), *_texts("bananas"))
    assert read_packages(["fake_a", "fake_b"]) == read_packages(["fake_b", "fake_a", "fake_b"])


def test_hash_is_of_the_content(site, cache):
    site("fake_a", *_texts("apples"))
    first = read_packages(["fake_a"])
    (cache / "fake_a-unknown.json").unlink()
    assert read_packages(["fake_a"]) == first
    site("fake_a", *_texts("apples")[:-1], "Tells nobody that the answer is a lemon.")
    assert read_packages(["fake_a"]).content_hash != first.content_hash


def test_versions_are_those_of_distributions():
    assert package_version("stdlib") == platform.python_version()
    assert package_version("networkx").count(".") >= 1
    assert package_version("yaml") == package_version("PyYAML") != "unknown"
    assert package_version("no_such_package_here") == "unknown"


def test_absent_and_undocumented_packages_are_told_together(site):
    site("fake_a", *_texts("apples"))
    site("fake_empty")
    with pytest.raises(DataError) as caught:
        read_packages(["no_such_package_here", "fake_a", "fake_empty", "scipy.stats"])
    problems = caught.value.problems
    assert len(problems) == 3
    assert "package 'fake_empty' documents no public function" in problems[0]
    assert "package 'no_such_package_here' is not installed" in problems[1]
    assert "package 'scipy.stats'" in problems[2]
    assert "top-level name without dots" in problems[2]


class TestCache:
    """Speed only: whatever lies there, the corpus is the same."""

    def test_second_read_parses_nothing(self, site, counted_reads):
        site("fake_a", *_texts("apples"))
        assert read_packages(["fake_a"]) == read_packages(["fake_a"])
        assert len(counted_reads) == 1

    def test_changed_source_of_the_same_version_is_read_again(self, site, tmp_path, counted_reads):
        site("fake_a", *_texts("apples"))
        read_packages(["fake_a"])
        os.utime(tmp_path / "fake_a.py", ns=(1, 1))
        read_packages(["fake_a"])
        assert len(counted_reads) == 2

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda text: text.replace("apples", "pears"),
            lambda text: text[: len(text) // 2],
            lambda text: "[]",
            lambda text: json.dumps(json.loads(text) | {"sha256": 0}),
            lambda text: "\0",
        ],
    )
    def test_spoiled_file_is_read_again(self, site, cache, counted_reads, spoil):
        site("fake_a", *_texts("apples"))
        first = read_packages(["fake_a"])
        place = cache / "fake_a-unknown.json"
        place.write_text(spoil(place.read_text()))
        assert read_packages(["fake_a"]) == first
        assert len(counted_reads) == 2

    def test_folder_that_cannot_be_written_is_no_failure(self, site, cache, caplog):
        site("fake_a", *_texts("apples"))
        cache.parent.write_text("a file where the folder should be")
        with caplog.at_level(logging.WARNING):
            assert read_packages(["fake_a"]).records["fake_a"]
        assert "fake_a-unknown are not cached" in caplog.text

    def test_no_temporary_file_stays(self, site, cache):
        site("fake_a", *_texts("apples"))
        read_packages(["fake_a"])
        assert [path.name for path in cache.iterdir()] == ["fake_a-unknown.json"]


def test_a_real_package_gives_a_thousand_records():
    corpus = read_packages(["networkx"])
    records = corpus.records["networkx"]
    assert len(records) > 1000
    assert len({record.id for record in records}) == len(records)
    assert len({record.unit for record in records}) == len(records)
    assert (
        min(sum(r.task == task for r in records) for task in ("describe", "name", "signature", "module"))
        > 200
    )
    assert read_packages(["networkx"]) == corpus
