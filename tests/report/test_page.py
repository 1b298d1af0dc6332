# SPDX-License-Identifier: Apache-2.0
"""The page: every section, every figure from a file that may be read, nothing from one that may not."""

from __future__ import annotations

import builtins
import datetime
import json
import re
from pathlib import Path

import pytest

from fedpeft.errors import RunDirectoryError
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import Policy
from fedpeft.report import make_page, read_run, write_report
from fedpeft.types import Schedule
from simulations.benchmarks.shared.run_folder import write_run, write_selection, write_synthetic

SECTIONS = (
    "sentence", "warnings", "budget", "metrics", "curves", "noise", "layers", "synthetic", "cost",
    "provenance",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "whole"
    write_run(folder, sites=3, rounds=12)
    write_selection(folder)
    write_synthetic(folder)
    return folder


def test_every_section_is_there_with_its_chart_and_the_table_behind_it(whole: Path) -> None:
    page = make_page([read_run(whole)])
    found = re.findall(r'<section id="([^"]+)"', page)
    assert tuple(found) == SECTIONS
    charts = page.count("<figure")
    assert charts == page.count('role="img" aria-label="') == page.count("<svg ") >= 11
    for figure in re.findall(r"<figure.*?</figure>", page, re.S):
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
        assert re.search(r"<details>.*<table>.*<td[ >].*</table>.*</details>", figure, re.S)


def test_figures_are_those_of_the_files(whole: Path) -> None:
    page = make_page([read_run(whole)])
    for text in (
        "44.0 % [39.6 %, 48.4 %]",  # ranking accuracy before
        "26.400",
        "8.0000",
        "5.5000",
        "site-002 refused (budget) in 1 round.",
        "the noise is larger than the signal",
        "sha256:" + "a6" * 32,
        "1 segment frozen or not in turn, without any noise",
        "Who released something for them",
        "site-001 released nothing for the data: budget.",
        "smollm2-135m-instruct",
    ):
        assert text in page, text


def test_the_page_needs_nothing_but_itself(whole: Path) -> None:
    page = make_page([read_run(whole)])
    addresses = set(re.findall(r"""(?:https?:)?//[^\s"'<>)]+""", page))
    assert addresses == {"http://www.w3.org/1999/xlink"}  # a name space, never asked for
    assert "<script" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_text_from_a_file_cannot_become_markup(whole: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "x")
    result = json.loads((tmp_path / "x" / "result.json").read_text())
    bad = '"><script>alert(1)</script>'
    result["left_out"] = {bad: bad}
    result["epsilon_spent_by_site"] |= {bad: 1.0}
    result["warnings"] = [bad]
    result["epsilon_spent_by_site"] |= {"$x^$ \u4e2d\u6587": 2.0}
    result["noise_by_segment"][0]["module"] = bad
    (tmp_path / "x" / "result.json").write_text(json.dumps(result))
    page = make_page([read_run(tmp_path / "x")])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "$x^" in page  # and no formula
    assert "Name &lt;b&gt;0&lt;/b&gt;." in make_page([read_run(whole)])


def test_names_are_unique_and_lead_somewhere(whole: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other", rounds=3)
    for runs in ([whole], [whole, tmp_path / "other"]):
        page = make_page([read_run(run) for run in runs])
        ids = re.findall(r'\sid="([^"]+)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {
            pair for name in ids for pair in ((name, ""), ("", name))
        }


def test_several_runs_stand_side_by_side(whole: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other", rounds=3)
    page = make_page([read_run(whole), read_run(tmp_path / "other")])
    assert re.findall(r'<section id="([^"]+)"', page)[0] == "comparison"
    assert "add up for whoever is in them" in page
    assert page.count("<blockquote>") == 2
    assert '<th scope="row">rounds</th><td class="whole">12</td><td class="whole">3</td>' in page


@pytest.mark.parametrize(("rounds", "finished"), [(0, False), (1, False), (1, True)])
def test_a_run_at_its_beginning_has_a_page(tmp_path: Path, rounds: int, finished: bool) -> None:
    write_run(tmp_path, rounds=max(1, rounds), finished=finished)
    if not rounds:
        for name in ("rounds.jsonl", "metrics.jsonl"):
            (tmp_path / name).unlink()
    page = make_page([read_run(tmp_path)])
    assert tuple(re.findall(r'<section id="([^"]+)"', page)) == SECTIONS


def test_a_run_of_an_earlier_version_has_a_page(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = tmp_path / "result.json"
    result = json.loads(path.read_text())
    for key in ("run_id", "noise_by_segment"):
        del result[key]
    path.write_text(json.dumps(result))
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    old = [{k: v for k, v in line.items() if not k.startswith("epsilon")} for line in lines]
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    (tmp_path / "metrics.jsonl").unlink()
    assert "Spent by site" in make_page([read_run(tmp_path)])


def test_what_an_organization_was_delivered_has_a_page_without_times(whole: Path, tmp_path: Path) -> None:
    write_run(tmp_path, rounds=3)
    before = make_page([read_run(tmp_path)])
    for name, is_lines in (("result.json", False), ("rounds.jsonl", True)):
        text = (tmp_path / name).read_text()
        parts = map(json.loads, text.splitlines() if is_lines else [text])
        kept = [{k: v for k, v in one.items() if k not in ("seconds", "peak_rss_mb")} for one in parts]
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in kept))
    page = make_page([read_run(tmp_path)])
    assert tuple(re.findall(r'<section id="([^"]+)"', page)) == SECTIONS
    for text in ("total time", "Time by round"):
        assert text in before
        assert text not in page
    beside = make_page([read_run(whole), read_run(tmp_path)])
    compared = re.search(r'<section id="comparison".*?</section>', beside, re.S)
    assert compared is not None
    assert "total time" not in compared[0]


def test_private_files_of_the_folder_are_never_opened(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run")
    for name in ("checkpoint/scores.json", "checkpoint/state.ckpt", "ledger/cache.bin", "site.log"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("private")
    opened: list[str] = []
    real, real_io = builtins.open, Path.open

    def spy(file: object, *args: object, **kwargs: object) -> object:
        opened.append(str(file))
        return real(file, *args, **kwargs)  # type: ignore[call-overload]

    def spy_path(self: Path, *args: object, **kwargs: object) -> object:
        opened.append(str(self))
        return real_io(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", spy)
    monkeypatch.setattr(Path, "open", spy_path)
    page = make_page([read_run(tmp_path / "run")])
    names = {Path(path).name for path in opened if "/run/" in path}
    assert "result.json" in names  # the spy sees
    assert names <= {"config.toml", "result.json", "rounds.jsonl", "metrics.jsonl"}
    assert ">private<" not in page


def test_a_ledger_shows_the_life_of_its_policy_beside_the_run(tmp_path: Path) -> None:
    result = write_run(tmp_path / "run")
    policy = Policy(
        identity="hospital",
        unit="record",
        declared_units=1000,
        epsilon=10.0,
        delta=1e-5,
        expires=datetime.date.max,
    )
    ledger = Ledger.open(tmp_path / "own.sqlite", policy)
    for run_id, noise in (("earlier", 20.0), (result["run_id"], 30.0)):
        ledger.commit(
            Schedule.constant(
                run_id=run_id, noise_multiplier=noise, sampling_rate=0.5, steps=5, unit="record"
            )
        )
    ledger.close()
    run = read_run(tmp_path / "run", [tmp_path / "own.sqlite"])
    page = make_page([run])
    others = run.ledgers[0].apart_from(result["run_id"])
    assert "10 at 1e-05" in page
    assert f"{others.epsilon:.5g} at {others.delta:.5g}" in page
    assert 0 < others.epsilon < run.ledgers[0].committed.epsilon
    assert "<blockquote>" in page


def test_a_sentence_that_says_less_than_the_ledger_is_withheld(tmp_path: Path) -> None:
    result = write_run(tmp_path / "run")
    for unit, noise, reason in (("record", 0.5, "more than the sentence says"), ("person", 30.0, "protects")):
        policy = Policy(
            identity=unit, unit=unit, declared_units=99, epsilon=900.0, delta=1e-5, expires=datetime.date.max
        )
        path = tmp_path / f"{unit}.sqlite"
        ledger = Ledger.open(path, policy)
        ledger.commit(Schedule.constant(result["run_id"], noise, 0.5, 20, unit))
        ledger.close()
        page = make_page([read_run(tmp_path / "run", [path])])
        assert "<blockquote>" not in page
        assert reason in page


def test_a_page_that_cannot_be_written_is_no_failure_of_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path)
    (tmp_path / "result.json").write_text("{")
    assert write_report(tmp_path) is None
    assert "result.json" in caplog.text
    with pytest.raises(RunDirectoryError, match="is not a run"):
        read_run(tmp_path / "nothing")


def test_a_figure_without_an_interval_is_drawn_without_one(tmp_path: Path) -> None:
    """A single record gives no ground for an interval."""
    write_run(tmp_path / "one")
    for name in ("result.json", "metrics.jsonl"):
        path = tmp_path / "one" / name
        text = re.sub(r'"(low|high)": [-\d.e]+', r'"\1": null', path.read_text("utf-8"))
        assert '"low": null' in text
        path.write_text(text, encoding="utf-8")
    run = read_run(tmp_path / "one")
    assert "44.0 % [-, -]" in make_page([run])
    assert "Side by side" in make_page([run, run])
