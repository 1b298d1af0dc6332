# SPDX-License-Identifier: Apache-2.0
"""The stage that chooses the blocks to train before the first round, from configuration to its file.

It reads the configuration, its plan, and public or synthetic rows; sites it knows as a poll of their votes
only.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from fedpeft.adapters.adapter import plan_layout
from fedpeft.adapters.targets import find_blocks
from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.config import RunConfig
from fedpeft.config.source_checks import sites_that_train_on
from fedpeft.data.prompts import Prompter
from fedpeft.errors import ConfigError, RunDirectoryError
from fedpeft.plan import Plan
from fedpeft.selection.base import BlockPoll, Inputs, Progress, check_size, find
from fedpeft.selection.lineage import Split, split_by_lineage
from fedpeft.selection.regime import Regime, noise_of
from fedpeft.selection.rows import PublicRows, encode, read_rows
from fedpeft.selection.trials import Trials
from fedpeft.shared import content_digest
from fedpeft.speed import loss_of
from fedpeft.synthesis.dataset import FOLDER
from fedpeft.training.learning_rate import learning_rates
from fedpeft.types import JsonDict

SELECTION_FILE: Final = "selection.json"
"""Of a run's folder: candidates, scores, intervals, the blocks that were chosen and why."""


@dataclass(frozen=True, slots=True)
class SplitRows:
    """Public or synthetic rows, parted by lineage."""

    rows: PublicRows
    split: Split

    def to_json(self) -> JsonDict:
        """Where they come from and how many they are."""
        return {
            **self.rows.facts,
            "rows": len(self.rows.records),
            "lineages": self.split.lineages,
            "train": len(self.split.train),
            "validation": len(self.split.validation),
        }


def regime_of(config: RunConfig, plan: Plan) -> Regime:
    """What the rounds of a planned run will be like."""
    local_steps = config.training.local_steps
    batches = [site.expected_batch for site in plan.sites]
    rates = learning_rates(config.training, config.federation.rounds)
    schedules, first = [plan.schedule(site, "") for site in plan.sites], plan.steps_before
    multipliers = [
        [schedule.noise_multiplier_at(first + number * local_steps) for schedule in schedules]
        for number in range(len(rates))
    ]
    return Regime(
        noise=tuple(noise_of(of_round, batches) for of_round in multipliers),
        learning_rates=rates,
        local_steps=local_steps,
        clipping=config.privacy.clipping,
        clip_norm=config.privacy.clip_norm,
        federation=config.federation,
    )


def read_split(config: RunConfig, path: Path | None = None) -> SplitRows | None:
    """The rows of ``selection.data``, or of ``path``; ``None`` where neither names any.

    Raises:
        ConfigError: they are what a site trains on.
        DataError: they cannot be read, or not be parted.
    """
    settings, path = config.selection, path or config.selection.data
    if path is None:
        return None
    for key in sites_that_train_on(config, path):
        raise ConfigError(
            f"--data {path}: is what {key} trains on, and nothing here adds noise; name public rows"
        )
    rows = read_rows(path, config.data, settings.lineage, seeded=config.run.seed is not None)
    return SplitRows(rows, split_by_lineage(rows.records, settings.validation, settings.seed))


def rows_of_run(config: RunConfig, out: Path) -> SplitRows | None:
    """The rows of ``selection.data``, or else those that the run in ``out`` made; ``None`` without either.

    Raises:
        DataError: as :func:`read_split`.
    """
    made = config.selection.data is None and config.synthesis.generator is not None
    return read_split(config, out / FOLDER if made else None)


def rows_to_play_on(config: RunConfig, path: Path | None) -> SplitRows:
    """As ``read_split``, but there must be some; raises ``ConfigError`` where there are none."""
    rows = read_split(config, path)
    if rows is None:
        raise ConfigError(
            "--data: missing, and so is selection.data; name public rows, or a folder of synthetic ones, to "
            "play the run on"
        )
    return rows


def needed_rows(config: RunConfig, path: Path | None = None) -> SplitRows | None:
    """What the selector of ``config`` needs to be given.

    Raises:
        ConfigError: no selector, one that needs rows and has none, or more blocks than there are.
        DataError: the rows cannot be used.
    """
    name = config.selection.selector
    if name is None:
        raise ConfigError(
            'selection.selector: missing, so nothing chooses; set it, to "selft" for example, or leave the '
            "choice to adapter.layers"
        )
    size = config.selection.size
    if size != "auto":
        check_size(size, len(plan_layout(backbone_skeleton(config.model), config.adapter).blocks))
    if not find(name).needs_rows:
        return None
    rows = read_split(config, path)
    if rows is None:
        raise ConfigError(
            f'selection.data: missing, and selection.selector = "{name}" tries blocks on public or synthetic '
            "rows; name a file, or a folder of synthetic data"
        )
    return rows


def choice_facts(config: RunConfig, plan: Plan, rows: SplitRows | None, backbone: Backbone) -> object:
    """Everything that a choice without the sites depends on; the arguments are those of ``choose_layers``."""
    training, told = config.training, None if rows is None else (rows.to_json(), *rows.rows.records)
    return (
        backbone.digest, config.model, config.adapter, config.selection, regime_of(config, plan), config.data,
        training.loss_q, training.loss_tokens, config.evaluation.labels, content_digest([told]),
    )  # fmt: skip


def choose_layers(
    config: RunConfig,
    plan: Plan,
    rows: SplitRows | None,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
    poll: BlockPoll | None = None,
) -> JsonDict:
    """Choose the blocks that ``config`` trains.

    Args:
        config: of the run, with a selector.
        plan: of the run with the layers that ``adapter`` names; its noise does not depend on them.
        rows: as ``needed_rows`` gave them.
        progress: hears of trials.
        backbone: default: loaded now.
        poll: asks the sites, for a selector that needs it.

    Returns:
        What ``selection.json`` holds.

    Raises:
        UserError: the backbone or the rows cannot be used, or there are fewer blocks than asked for.
    """
    began, settings = monotonic(), config.selection
    assert settings.selector is not None  # needed_rows saw to it
    backbone = backbone or load_backbone(config.model)
    trials = None
    if rows is not None:
        prompter = Prompter.of(backbone.tokenizer, config.data)
        trials = Trials(
            backbone.model,
            config.adapter,
            regime_of(config, plan),
            encode(rows.split.train, prompter),
            encode(rows.split.validation, prompter),
            batch=settings.batch,
            perturbations=settings.perturbations,
            seed=settings.seed,
            how=loss_of(config, backbone),
        )
    inputs = Inputs(plan.layout.blocks, settings, trials, progress, config.federation.rounds, poll)
    selection = find(settings.selector).choose(inputs)
    return {
        "selector": settings.selector,
        "layers": list(selection.layers),
        "rounds": [list(blocks) for blocks in selection.rounds],
        "why": selection.why,
        "blocks": len(find_blocks(backbone.model)[1]),
        "seconds": monotonic() - began,
        "trainings": 0 if trials is None else trials.num_runs,
        "data": None if rows is None else rows.to_json(),
        "backbone": backbone.name,
        "backbone_digest": backbone.digest,
        "settings": settings.model_dump(mode="json", exclude={"data"}),
        "regime": regime_of(config, plan).to_json(),
        "privacy": "no private record was looked at; nothing was charged beyond what the rows cost",
        "candidates": [scored.to_json() for scored in selection.candidates],
    }


def with_layers(config: RunConfig, found: JsonDict) -> RunConfig:
    """The configuration of a run that trains the blocks that were chosen."""
    adapter = config.adapter.model_copy(update={"layers": tuple(found["layers"])})
    return config.model_copy(update={"adapter": adapter})


def read_choice(folder: Path) -> JsonDict | None:
    """What was chosen for the run in ``folder``; ``None`` where nothing was.

    Raises:
        RunDirectoryError: the file is damaged.
    """
    path = folder / SELECTION_FILE
    if not path.is_file():
        return None
    try:
        found: JsonDict = json.loads(path.read_text("utf-8"))
        if not found["layers"] or not all(type(block) is int for block in found["layers"]):
            raise ValueError("layers are no list of blocks")
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"{path}: is damaged ({error}); remove it, and the choice is made anew"
        ) from error
    return found


def rounds_of(folder: Path) -> tuple[tuple[int, ...], ...]:
    """The blocks that each round of the run in ``folder`` trains; empty where all rounds train all.

    Raises:
        RunDirectoryError: as :func:`read_choice`.
    """
    found = read_choice(folder) or {}
    return tuple(tuple(blocks) for blocks in found.get("rounds", ()))


def to_bytes(found: JsonDict) -> bytes:
    """What ``selection.json`` is made of."""
    return (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode()


def choice_digest(folder: Path) -> str | None:
    """SHA-256 of the run's ``selection.json``; ``None`` where there is none."""
    path = folder / SELECTION_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def write_choice(folder: Path, found: JsonDict) -> None:
    """Make ``selection.json`` durable at once.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    path = folder / SELECTION_FILE
    partial = path.with_name(f"{SELECTION_FILE}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(to_bytes(found))
        os.replace(partial, path)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: cannot be written ({error.strerror}); make room, or go on elsewhere"
        ) from error


def chosen(config: RunConfig, folder: Path) -> RunConfig:
    """``config`` with the blocks that were chosen for the run in ``folder``, where they were."""
    if config.selection.selector is None:
        return config
    found = read_choice(folder)
    return config if found is None else with_layers(config, found)
