# SPDX-License-Identifier: Apache-2.0
"""Which page carries the sentence to sign, and why the others do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft.errors import RunDirectoryError
from fedpeft.report import covered_only, make_page, read_run, write_page
from fedpeft.report.statement import statement, uncovered
from simulations.benchmarks.shared.run_folder import write_baselines, write_run


def withheld(folder: Path) -> str:
    run = read_run(folder)
    made = statement(run, uncovered(run))
    assert not made.sentence or not made.withheld
    return "; ".join(made.withheld)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_good_run_carries_the_sentence_of_its_configuration(tmp_path: Path) -> None:
    result = write_run(tmp_path)
    run = read_run(tmp_path)
    assert statement(run, []).sentence == result["guarantee"].strip() != ""
    page = make_page([run])
    assert "<blockquote>Everything a site sends in this run is (8, 1e-05)-differentially private" in page
    assert 'class="watermark"' not in page
    assert "These ledgers cover this one simulation only" in page


def test_a_seeded_run_carries_none(tmp_path: Path) -> None:
    write_run(tmp_path, config={"run": {"seed": 3}})
    assert "seeded" in withheld(tmp_path)
    page = make_page([read_run(tmp_path)])
    assert "<blockquote>" not in page
    assert 'class="watermark"' in page
    assert "<title>NOT PRIVATE" in page
    assert "Insecure randomness" in page


def test_a_seeded_run_does_not_pass_with_an_edited_result(tmp_path: Path) -> None:
    sentence = write_run(tmp_path / "good")["guarantee"]
    write_run(tmp_path / "bad", config={"run": {"seed": 3}})
    edit(tmp_path / "bad", guarantee=sentence, seed=None)
    assert "another sentence" in withheld(tmp_path / "bad")


@pytest.mark.parametrize("epsilon", ["(7.9, ", "(8.1, "])
def test_a_sentence_with_another_number_is_not_shown(tmp_path: Path, epsilon: str) -> None:
    sentence = write_run(tmp_path)["guarantee"]
    edit(tmp_path, guarantee=sentence.replace("(8, ", epsilon))
    assert "another sentence" in withheld(tmp_path)


def test_baselines_take_the_sentence_away_from_every_run_of_the_page(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    write_baselines(tmp_path / "b")
    assert "baselines of b" in withheld(tmp_path / "b")
    both = make_page([read_run(tmp_path / name) for name in ("a", "b")])
    assert "<blockquote>" not in both
    assert 'class="watermark"' in both
    assert "NOT PRIVATE: pooled without privacy" in both


def test_a_page_that_is_not_private_is_for_its_owner_alone(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        write_run(tmp_path / name)
    write_baselines(tmp_path / "bad")
    modes = {}
    for name in ("good", "bad"):
        write_page([read_run(tmp_path / name)], tmp_path / f"{name}.html")
        modes[name] = (tmp_path / f"{name}.html").stat().st_mode & 0o077
    assert modes["bad"] == 0 != modes["good"]


def test_what_is_not_covered_can_be_left_out_and_the_sentence_comes_back(tmp_path: Path) -> None:
    write_run(tmp_path, config={"evaluation": {"public": False, "path": "public.jsonl"}})
    mark = "NOT PRIVATE: exact on held-out records"
    metrics = json.loads((tmp_path / "result.json").read_text())["metrics"]
    start = {"metrics": {"perplexity": {"value": 63.25, "low": 60.0, "high": 66.0}}}
    edit(tmp_path, metrics=metrics | {"privacy": mark}, warm_start=start)
    write_baselines(tmp_path)
    run = read_run(tmp_path)
    assert len(uncovered(run)) == 2
    page = make_page([covered_only(run)])
    assert "<blockquote>" in page
    assert 'class="watermark"' not in page
    # Baselines, before, after, warm start; what grows with the number of records.
    for word in (
        "pooled",
        "44.0 %",
        "52.0 %",
        "63.2",
        "total time",
        "most memory",
        "Time by",
        "training</th>",
    ):
        assert word in make_page([run]), word
        assert word not in page, word


def test_times_are_left_out_side_by_side_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name)
    runs = [read_run(tmp_path / name) for name in ("a", "b")]
    for word in ("total time", "most memory"):
        assert word in make_page(runs)
        assert word not in make_page([covered_only(run) for run in runs])


def test_a_reference_has_no_account_to_report(tmp_path: Path) -> None:
    write_run(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    del result["ledger_scope"]
    (tmp_path / "result.json").write_text(json.dumps(result | {"method": "non-private"}))
    with pytest.raises(RunDirectoryError, match="'non-private' is a reference, which keeps no account"):
        read_run(tmp_path)


def test_a_run_that_goes_on_has_no_sentence_yet(tmp_path: Path) -> None:
    write_run(tmp_path, finished=False)
    assert "not over" in withheld(tmp_path)
    assert "20 of 20 rounds done" in make_page([read_run(tmp_path)])


def test_a_configuration_that_cannot_be_read_withholds_and_still_shows_the_rest(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text() + "\n[unheard]\nof = 1\n")
    assert "cannot read config.toml" in withheld(tmp_path)
    assert "unheard" in make_page([read_run(tmp_path)])
