# SPDX-License-Identifier: Apache-2.0
"""Tables and figures: generated from lines, the same every time, and saying what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpeft.evaluation import compare_runs, summarize_runs
from simulations.grid.__main__ import Places, main
from simulations.grid.experiment import load_experiment
from simulations.grid.results import read_lines, unpack_scores
from simulations.grid.table import Row, make_rows, make_table, metrics_of, put_between_markers, show


def _rows(places: Places) -> list[Row]:
    return make_rows(load_experiment("tiny", places.experiments), read_lines(places.lines("tiny")))


def test_figures_are_those_of_the_lines(places: Places) -> None:
    assert main(["run", "tiny"], places) == 0
    plain, flat = _rows(places)
    scores: dict[str, list] = {"plain": [], "flat": []}
    for line in read_lines(places.lines("tiny")):
        scores[line["cell"]].append(unpack_scores(line["scores"]))
    assert flat.figures == summarize_runs(scores["flat"])
    assert flat.differences == compare_runs(scores["plain"], scores["flat"])
    assert plain.differences == {}
    text = make_table(load_experiment("tiny", places.experiments), [plain, flat])
    assert "guarantee nothing" in text
    assert "| plain (reference) | 8 |" in text
    assert show("perplexity", flat.differences["perplexity"]["value"], True) in text


def test_table_and_figure_are_the_same_every_time(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny"], places) == 0
    contents = []
    for _ in range(2):
        assert main(["table", "tiny"], places) == 0
        contents.append(((places.figures / "tiny.svg").read_bytes(), places.readme.read_text()))
    assert contents[0] == contents[1]
    assert contents[0][1].startswith("# Mine\n\nkept\n")
    assert "](figures/tiny.svg)" in contents[0][1]
    assert b"dc:date" not in contents[0][0]
    assert "| plain (reference)" in capsys.readouterr().out


def test_an_experiment_that_is_not_done_says_so(places: Places) -> None:
    assert main(["table", "tiny"], places) == 0
    assert "| 0/2 |" in places.readme.read_text()
    assert not places.figures.exists()
    assert main(["run", "tiny", "--only", "plain"], places) == 0
    assert main(["table", "tiny"], places) == 0
    text = places.readme.read_text()
    assert "| 0/2 |" in text
    assert text.count("generated, do not edit") == 1


def test_a_curve_is_drawn_over_a_key(places: Places) -> None:
    path = places.experiments / "tiny.toml"
    head = path.read_text().partition("[[cells]]")[0].replace('"plain"', '"a-2"')
    head = head.replace("seeds = [1, 2]", 'seeds = [1]\nx = "privacy.epsilon"\nmetrics = ["perplexity"]')
    cells = [f"[[cells]]\nname = \"{n}-{e}\"\nset = ['privacy.epsilon={e}']" for n in "ab" for e in (2, 8)]
    cells[2:] = [cell.replace("]\n", "]\nkind = 'pooled'\n", 1) for cell in cells[2:]]
    path.write_text(head + "\n".join(cells))
    assert main(["run", "tiny"], places) == 0
    assert main(["table", "tiny"], places) == 0
    assert "privacy.epsilon" in (places.figures / "tiny.svg").read_text()
    assert metrics_of(load_experiment("tiny", places.experiments), _rows(places)) == ["perplexity"]


def test_text_between_markers_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# A\n")
    put_between_markers(path, "x", "one")
    path.write_text(path.read_text() + "\nafter\n")
    put_between_markers(path, "x", "two")
    put_between_markers(path, "y", "three")
    text = path.read_text()
    assert "one" not in text
    assert text.index("# A") < text.index("two") < text.index("after") < text.index("three")
    path.write_text(text.replace("<!-- end of grid x -->", ""))
    with pytest.raises(ValueError, match="put it back"):
        put_between_markers(path, "x", "four")
