# SPDX-License-Identifier: Apache-2.0
"""A few hundred of the malformed requests and files, and that the programs would see what they look for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fedpeft.deployment import site_file
from fedpeft.site import wire
from simulations import fuzz_site
from simulations.fuzz.files import fuzz_files
from simulations.fuzz.organization import with_site
from simulations.fuzz.requests import Tally, fuzz, prepare

NUM_REQUESTS, NUM_FILES = 300, 300


def test_malformed_requests_change_nothing_and_a_site_that_breaks_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[str, Tally] = {}

    def ask(remote, sound, watch) -> None:
        prepare(remote, sound)
        found["sound"] = Tally()
        fuzz(remote, sound, watch, NUM_REQUESTS, found["sound"])
        found["writing"] = Tally()
        with monkeypatch.context() as patch:
            real, stray = wire.decode_train, watch._file.keys.folder / "delivered/stray"
            patch.setattr(wire, "decode_train", lambda data: (stray.touch(), real(data))[1])
            fuzz(remote, sound, watch, 30, found["writing"])
        found["raising"] = Tally()
        with monkeypatch.context() as patch:
            patch.setattr(wire, "decode_train", lambda data: data.decode())
            fuzz(remote, sound, watch, 30, found["raising"])

    with_site(ask)
    sound = found["sound"]
    assert sound.broken == []
    assert sound.done == sum(sound.answers.values()) == NUM_REQUESTS
    assert {"malformed", "policy", "protocol", "replay"} <= set(sound.answers)
    assert sound.answers["malformed"] > NUM_REQUESTS / 4
    assert any("ledger or deliveries changed" in line for line in found["writing"].broken)
    assert any("UnicodeDecodeError" in line for line in found["raising"].broken)


def test_malformed_files_are_refused_with_lines_for_people(tmp_path: Path) -> None:
    tally = Tally()
    fuzz_files(tmp_path, NUM_FILES, tally)
    assert tally.broken == []
    assert sum(tally.answers.values()) == NUM_FILES
    assert tally.answers["refused"] > NUM_FILES / 2
    assert tally.answers["read; ledger opened"] > 0  # some change nothing that matters


def test_a_reader_that_breaks_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> dict:
        import tomllib

        return tomllib.loads(path.read_text("utf-8"))

    monkeypatch.setattr(site_file, "read_toml", read)
    tally = Tally()
    fuzz_files(tmp_path, 40, tally)
    assert tally.broken


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    monkeypatch.setattr(fuzz_site, "with_site", pytest.fail)
    done = {"done": 5, "answers": {"malformed": 5}, "broken": []}
    out.write_text(json.dumps({"requests": done, "files": done | {"broken": ["x"]}, "seconds": 1.5}))
    monkeypatch.setattr(sys, "argv", ["fuzz_site", "--requests", "5", "--files", "5", "--out", str(out)])
    assert fuzz_site.main() == 1  # what was broken stays so
    result = json.loads(out.read_text())
    assert (result["requests"], result["files"]["broken"]) == (done, ["x"])
    assert result["seconds"] >= 1.5
