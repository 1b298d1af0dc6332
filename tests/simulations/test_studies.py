# SPDX-License-Identifier: Apache-2.0
"""Table 1 and Figures 2 to 4: the committed experiments are sound, and the programs run on tiny data."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedpeft.errors import FedpeftError
from fedpeft.evaluation import Scores
from fedpeft.plan import make_plan
from fedpeft.testing import tiny_config
from simulations import figure2, figure3, figure4, table1
from simulations.grid import bases, designs
from simulations.grid import cells as cells_module
from simulations.grid.__main__ import Places
from simulations.grid.by_task import by_task
from simulations.grid.cells import run_experiment
from simulations.grid.experiment import Experiment, load_experiment
from simulations.grid.norms import median_norms
from simulations.grid.results import pack_scores, read_lines, unpack_scores
from simulations.grid.rows import ADAPTERS, LATER, NOISELESS, ROWS, TRIALS, steps_for
from simulations.grid.table import make_rows

EXPERIMENTS = Places().experiments
TINY = ["federation.rounds=1", "evaluation.records=8", "data.held_out=0.5", "adapter.layers=[1]"]
PARTS = [*table1.experiments_in(EXPERIMENTS), *figure2.STUDY.experiments]
PARTS += [*figure3.STUDY.experiments, *figure4.STUDY.experiments]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    tiny_config(tmp_path, num_records=16)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "README.md").write_text("# Mine\n")
    return Places(
        experiments=tmp_path / "experiments",
        results=tmp_path / "results",
        figures=tmp_path / "figures",
        readme=tmp_path / "README.md",
        work=tmp_path / "work",
    )


def made(places: Places, name: str, design: dict) -> Experiment:
    (places.experiments / f"{name}.py").write_text(f"EXPERIMENT = {design!r}\n")
    return load_experiment(name, places.experiments)


def done(places: Places, name: str, design: dict, only: tuple[str, ...] = ()) -> None:
    experiment = made(places, name, design)
    run_experiment(experiment, places.lines(name), places.work, only=only)


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Experiment]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPEFT_DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        return {name: load_experiment(name, EXPERIMENTS) for name in (*PARTS, *table1.TUNING.values())}


def test_the_parts_are_all_there(committed: dict[str, Experiment]) -> None:
    assert {name for name in committed if name.startswith("table1")} == {
        "table1_ablations",
        "table1_docstrings",
        "table1_docstrings_later",
        "table1_later",
        "table1_later_tuning",
        "table1_medquad",
        "table1_medquad_later",
        "table1_medquad_later_tuning",
        "table1_medquad_tuning",
        "table1_sst2_epsilon2",
        "table1_sst2_epsilon8",
        "table1_tuning",
    }
    assert len(committed["figure2"].table.cells) == 9
    assert {len(committed[name].table.cells) for name in figure3.STUDY.experiments} == {9}


@pytest.mark.parametrize("name", ["table1_sst2_epsilon2", "table1_sst2_epsilon8"])
def test_rows_share_unit_epsilon_steps_and_records(committed: dict[str, Experiment], name: str) -> None:
    cells = committed[name].cells
    without = NOISELESS if name == "table1_sst2_epsilon2" else ()
    assert {cell.name for cell in cells} == ROWS.keys() - {*without}
    shared = {
        (
            cell.config.privacy.epsilon,
            cell.config.delta,
            cell.config.privacy.unit,
            cell.config.federation.rounds,
            cell.config.training.sampling_rate,
            cell.config.evaluation.path,
            cell.config.data.model_dump_json(),
        )
        for cell in cells
    }
    assert len(shared) == 1


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("sst2", "table1_sst2_epsilon8"),
        ("medquad", "table1_medquad"),
        ("sst2_later", "table1_later"),
        ("medquad_later", "table1_medquad_later"),
    ],
)
def test_every_row_has_as_many_trials_on_other_records(
    committed: dict[str, Experiment], data: str, name: str
) -> None:
    trials, test = committed[table1.TUNING[data]], committed[name]
    by_row = [cell.name.rpartition("-step-")[0] for cell in trials.table.cells]
    mine = [row.name for row in test.table.cells if (row.name in LATER) == data.endswith("_later")]
    assert {by_row.count(row) for row in mine} == {TRIALS}
    assert {*by_row} == {*mine}
    assert {cell.config.evaluation.path for cell in trials.cells}.isdisjoint(
        {cell.config.evaluation.path for cell in test.cells}
    )
    assert set(trials.table.seeds).isdisjoint(test.table.seeds)
    for cell in (*trials.cells, *test.cells):  # nor does what they are chosen on train
        trained = {site.path for site in cell.config.sites} | {cell.config.data.partition.path}
        assert cell.config.evaluation.path not in trained


@pytest.mark.parametrize("name", ["table1_later", "table1_medquad_later", "table1_docstrings_later"])
def test_rows_that_came_later_stand_beside_the_same_cells(
    committed: dict[str, Experiment], name: str
) -> None:
    """What they are compared with is not run again: it is the cell of the first table."""
    first = {"table1_later": "table1_sst2_epsilon8"}.get(name, name.removesuffix("_later"))
    known = {cell.identity for cell in committed[first].cells}
    for cell in committed[name].cells:
        assert (cell.identity in known) == (cell.name not in (*LATER, "stream-uniform"))
    assert committed[name].table.seeds == committed[first].table.seeds


def test_epsilon_does_not_move_with_the_learning_rate(committed: dict[str, Experiment]) -> None:
    for name in figure3.STUDY.experiments:
        by_batch: dict[float, set[float]] = {}
        for cell in committed[name].cells:
            by_batch.setdefault(cell.config.training.sampling_rate, set()).add(cell.config.privacy.epsilon)
        assert all(len(found) == 1 for found in by_batch.values())
        epsilons = {found for one in by_batch.values() for found in one}
        assert len(epsilons) == (1 if name == "figure3_epsilon" else 3)


def test_a_fixed_multiplier_is_found_again(committed: dict[str, Experiment]) -> None:
    multipliers = {
        site.noise_multiplier
        for cell in committed["figure3_noise"].cells[::3]
        for site in make_plan(cell.config).sites
    }
    assert all(0.79 < multiplier <= 0.8001 for multiplier in multipliers)


ONES = dict.fromkeys(ADAPTERS, 1.0)


BY_TASK = designs.table(
    "Tasks", "../run.toml", TINY, {}, ONES, {"ffa": 0.5},
    rows={"ffa": ROWS["ffa"]}, reference="ffa", seeds=(1,),
) | {"by_task": True}  # fmt: skip


def test_table_1_is_tuned_fixed_run_and_written(places: Places) -> None:
    names = ("ffa-weight", "non-private", "local-only")
    base = "../run.toml"
    done(places, table1.TUNING["sst2"], designs.tuning(base, TINY, {}, ONES, names))
    assert table1.main(["fix"], places) == 0
    found = json.loads((places.experiments / bases.STEPS_FILE).read_text())
    assert found.keys() == {"sst2"}
    steps = found["sst2"]
    assert steps.keys() == {*names}
    assert all(step in steps_for(row) for row, step in steps.items())
    design = designs.table(
        "A tiny table", base, TINY, {}, ONES, steps,
        rows={row: ROWS[row] for row in names}, reference="ffa-weight", seeds=(1,),
    )  # fmt: skip
    made(places, "table1_tiny", design)
    assert table1.main(["run"], places) == 0
    assert len(read_lines(places.lines("table1_tiny"))) == 3
    assert table1.main(["table"], places) == 0
    text = places.readme.read_text()
    assert "| local-only (reference) |" in text
    assert "Federation against each site alone" in text
    assert "| row | token accuracy | against the reference | perplexity | against the reference |" in text
    assert "| none |" in text  # the epsilon of the reference without one


def test_figures_of_each_task_apart(places: Places) -> None:
    done(places, "table1_tasks", BY_TASK)
    (line,) = read_lines(places.lines("table1_tasks"))
    experiment = load_experiment("table1_tasks", places.experiments)
    tasks = sorted({*line["tasks"]})
    assert len(tasks) > 1
    assert len(line["tasks"]) == line["metrics"]["records"]
    told, perplexity = by_task(make_rows(experiment, [line]), ("perplexity",))
    counts = ", ".join(f"{line['tasks'].count(task)} {task}" for task in tasks)
    assert told == f"By task ({counts}):"
    scores = unpack_scores(line["scores"])
    chosen = np.array([task == tasks[0] for task in line["tasks"]])
    expected = np.exp(-scores.log_likelihood[chosen].sum() / scores.num_tokens[chosen].sum())
    assert perplexity.splitlines()[0] == f"| perplexity | {' | '.join(tasks)} |"
    assert perplexity.splitlines()[2].startswith(f"| ffa | {expected:.2f} [")
    known = line.pop("tasks")
    assert by_task(make_rows(experiment, [line]), ("perplexity",)) == []
    places.lines("table1_tasks").write_text(json.dumps(line) + "\n")  # no twin for one that needs the tasks
    done(places, "other", BY_TASK)
    (other,) = read_lines(places.lines("other"))
    assert (other["tasks"], "measured_in" in other) == (known, False)


def test_a_cell_that_fails_has_no_tasks(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FedpeftError("no such run")

    monkeypatch.setattr(cells_module, "run_method", fails)
    monkeypatch.setattr(cells_module, "tasks_of", fails)
    done(places, "table1_tasks", BY_TASK)
    (line,) = read_lines(places.lines("table1_tasks"))
    assert line["failed"] == "no such run"


def test_ours_are_held_against_each_baseline() -> None:
    def row(name: str, num_right: int) -> SimpleNamespace:
        ones, first = np.ones(40, dtype=np.int64), np.arange(40) < num_right
        scores = Scores(tuple(map(str, range(40))), ones, ones, -ones.astype(float), ones > 0, first)
        return SimpleNamespace(name=name, figures={"any": {}}, lines=[{"scores": pack_scores(scores)}])

    text = "\n".join(table1.against_baselines([row("dp-lora", 20), row("ffa", 0), row("fedpeft", 30)]))
    assert "| minus | fedpeft |" in text
    assert "| dp-lora | +25.0 [+12.5, +" in text
    assert "ffa" not in text
    assert table1.against_baselines([row("fedpeft", 30)]) == []
    in_words = table1.against_baselines([row("dp-lora", 20), row("fedpeft", 30)], "perplexity")
    assert "| dp-lora | +0.00 [+0.00, +0.00] |" in "\n".join(in_words)


def test_a_row_that_lacks_a_trial_is_not_fixed(places: Places) -> None:
    design = designs.tuning("../run.toml", TINY, {}, ONES, ("ffa",))
    done(places, table1.TUNING["sst2"], design, only=("ffa-step-0.5",))
    assert table1.fix(places) == {"sst2": {}}


def test_a_step_lowers_the_loss_alike_whatever_the_size_of_gradients() -> None:
    small, large = (designs.clip_and_step(norm, 1.5) for norm in (0.1, 2.0))
    assert small == ["privacy.clip_norm=0.1", "training.learning_rate=150"]
    assert large == ["privacy.clip_norm=2.0", "training.learning_rate=0.375"]


def test_norms_are_those_of_the_adapters(places: Places) -> None:
    base, public = str(places.readme.parent / "run.toml"), next(places.readme.parent.glob("site*.jsonl"))
    found = median_norms(base, ["adapter.layers=[1]"], str(public), {"a": (), "b": ("adapter.rank=1",)})
    assert found["a"] > found["b"] > 0  # fewer directions, shorter gradients


def test_figures_are_drawn_of_what_is_there(places: Places) -> None:
    pytest.importorskip("matplotlib")
    one = (0.0, 0.4)
    made(places, "figure2", designs.robustness("../run.toml", TINY, levels=one, seeds=(1,)))
    axis = {"center": [], "clip-3": ["privacy.clip_norm=3.0"]}
    made(places, "figure4", designs.axes("../run.toml", TINY, axis, seeds=(1,)))
    for program in (figure2, figure4):
        assert program.main(["table"], places) == 0  # nothing to draw yet
        assert program.main(["run"], places) == 0
        assert program.main(["table"], places) == 0
    assert (places.figures / "figure2.svg").is_file()
    assert (places.figures / "figure4.svg").is_file()
