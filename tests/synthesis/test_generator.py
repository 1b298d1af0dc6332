# SPDX-License-Identifier: Apache-2.0
"""The generator: returns what is written, says what is missing, and falls back where it has to."""

from __future__ import annotations

import logging

import pytest

from fedpeft.errors import BackboneError, ConfigError
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.base import Tools, find
from fedpeft.synthesis.dataset import SyntheticRow
from fedpeft.synthesis.generator import INSTEAD, SILENT, UNTRAINED


class FakeWriter:
    """Writes ``count`` rows, or cannot."""

    def __init__(self, count: int, error: Exception | None = None, *, alike: bool = False) -> None:
        self.count, self.error, self.alike = count, error, alike
        self.checked = False

    def check(self) -> None:
        self.checked = True
        if self.error and not self.count:
            raise self.error

    def rows(self, vector: object, tasks: object, size: int, seed: int, name: str):
        assert self.checked
        if self.error:
            raise self.error
        words = ["q" * (1 + i * (not self.alike)) for i in range(min(size, self.count))]
        return tuple(SyntheticRow(f"{i}", f"{word} {i}?", "a", "", f"{i}") for i, word in enumerate(words))


def made(writer: FakeWriter, vector: object = 1, size: int = 10):
    asked: list[int] = []

    def train():
        asked.append(1)
        return vector

    generator = find("generator")(SynthesisSettings(generator="generator", size=size), DataSettings())
    found = generator.generate(Tools(lambda _: pytest.fail("polled"), train, writer))
    assert asked == [1]
    return found


def test_what_is_written_is_returned_and_what_is_missing_is_said() -> None:
    assert made(FakeWriter(99)).note == ""
    assert len(made(FakeWriter(99)).rows) == 10
    short = made(FakeWriter(8))
    assert len(short.rows) == 8
    assert short.note.startswith("8 of 10 rows")
    assert len(made(FakeWriter(99), size=3).rows) == 3


def test_where_nobody_trains_or_nothing_is_written_the_pool_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = SynthesisSettings(generator="public", size=10)
    public = find("public")(settings, DataSettings()).generate(Tools(lambda _: pytest.fail("polled"))).rows
    with caplog.at_level(logging.WARNING):
        for found, note in (
            (made(FakeWriter(99), None), UNTRAINED),
            (made(FakeWriter(7)), SILENT),
            (made(FakeWriter(99, alike=True)), SILENT),
            (made(FakeWriter(99, BackboneError("noise moved it too far"))), SILENT),
        ):
            assert (found.rows, found.note) == (public, note + INSTEAD)
            assert note in caplog.text


def test_a_backbone_that_cannot_write_is_told_before_any_site_is_asked() -> None:
    generator = find("generator")(SynthesisSettings(generator="generator"), DataSettings())
    writer = FakeWriter(0, BackboneError("cannot write"))
    with pytest.raises(BackboneError, match="cannot write"):
        generator.generate(Tools(lambda _: None, lambda: pytest.fail("asked"), writer))
    with pytest.raises(ConfigError, match="needs the backbone"):
        generator.generate(Tools(lambda _: None))
