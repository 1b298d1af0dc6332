# SPDX-License-Identifier: Apache-2.0
"""Baselines beside a finished run: trained one by one, written down as each ends, and marked NOT PRIVATE."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, get_args

from fedpeft.baselines.alone import train_alone
from fedpeft.baselines.unprotected import Unprotected, train_unprotected
from fedpeft.config import RunConfig
from fedpeft.errors import ConfigError, FedpeftError, UserError
from fedpeft.evaluation import Scores, compare, summarize
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.folder import BASELINES_FILE
from fedpeft.layer_choice import chosen
from fedpeft.methods.base import find
from fedpeft.result import load_scores
from fedpeft.run import UNTOUCHED, evaluate_state, untouched_facts
from fedpeft.run_sources import Sources, read_sources
from fedpeft.shared import Shared
from fedpeft.training.local import StepProgress
from fedpeft.types import JsonDict
from fedpeft.workspace import Workspace

GUARANTEE: Final = "none: not private"
WATERMARK: Final = (
    "NOT PRIVATE: exact functions of private records that no budget paid for. For the eyes of a simulation "
    "on one's own or public data; the run's guarantee does not cover them, and publishing them breaks it."
)
_NAMES: Final[dict[str, str]] = {
    "pooled": "pooled without privacy",
    "federated": "federated without privacy",
}


class Listener(Protocol):
    """Hears how far the baselines are."""

    def baseline(self, name: str, done: int, total: int) -> None:
        """``done`` of ``total`` rounds or records of a baseline."""


def check_baselines(config: RunConfig) -> None:
    """Refuse what could not be compared, before a run begins.

    Raises:
        ConfigError: the run evaluates nothing, or is a reference itself.
    """
    if find(config.method).how != "rounds":
        raise ConfigError(
            f'--baselines: method = "{config.method}" is a reference itself; leave --baselines away, or '
            "choose a method that sites carry out"
        )
    if not config.evaluation.records:
        raise ConfigError(
            "--baselines: evaluation.records is 0, so there is nothing to compare; set it, or leave "
            "--baselines away"
        )


def run_baselines(
    config: RunConfig,
    out: Path,
    listener: Listener | None = None,
    *,
    sources: Sources | None = None,
    shared: Shared | None = None,
) -> JsonDict:
    """Train what the run in ``out`` is to be compared with; go on where an earlier call was stopped.

    Each starts from the same state with the same settings - the learning rate too, which was chosen for
    clipped gradients - and is evaluated on the same records.

    Args:
        config: of the run.
        out: its folder, with a result; ``baselines.json`` appears in it, for its owner's eyes.
        listener: hears of progress.
        sources: of the run, where they were read already; default: read now.
        shared: with other runs of this process.

    Returns:
        What ``baselines.json`` holds.

    Raises:
        UserError: the run's scores are not there, or the data are not those of the run.
    """
    check_baselines(config)
    config = chosen(config, out)
    shared, path = shared or Shared(), out / BASELINES_FILE
    sources = sources or read_sources(config, shared)
    with Workspace(config, out, None, sources, shared) as workspace:
        records = workspace.records
        before, after = load_scores(out / CHECKPOINT_FOLDER, [record.id for record in records])
        shared.keep(UNTOUCHED, untouched_facts(workspace), before)
        found = _Found(path, after)
        for kind in get_args(Unprotected):
            found.add(_NAMES[kind], partial(_unprotected, workspace, kind, listener))
    for site in config.sites:
        name = f"{site.name} alone, private"
        relay = _Relay(name, listener)
        alone = partial(train_alone, config, site.name, out, sources=sources, records=records)
        found.add(name, partial(alone, shared=shared, observer=relay))
    return found.content


def _unprotected(
    workspace: Workspace, kind: Unprotected, listener: Listener | None
) -> tuple[Scores, JsonDict]:
    relay = _Relay(_NAMES[kind], listener)
    state = train_unprotected(workspace, kind, relay.rounds)
    scores = evaluate_state(workspace, state, "after", relay)
    assert scores is not None  # check_baselines saw to it
    return scores, {}


class _Found:
    """The file, as it grows."""

    def __init__(self, path: Path, run: Scores) -> None:
        self._path = path
        self._run = run
        self.content: JsonDict = {
            "guarantee": GUARANTEE,
            "watermark": WATERMARK,
            "records": len(run.ids),
            "run": summarize(run),
            "baselines": {},
        }
        if path.is_file():
            self.content["baselines"] = json.loads(path.read_text("utf-8"))["baselines"]

    def add(self, name: str, train: Callable[[], tuple[Scores, JsonDict]]) -> None:
        """Train what is not there yet, and make it durable. One that fails is a finding of its own."""
        if name in self.content["baselines"]:
            return
        entry: dict[str, Any]
        try:
            scores, facts = train()
            figures = {"metrics": summarize(scores), "run_minus_baseline": compare(scores, self._run)}
            entry = {"guarantee": GUARANTEE, **facts, **figures}
        except UserError:
            raise
        except FedpeftError as error:
            entry = {"guarantee": GUARANTEE, "failed": str(error)}
        self.content["baselines"][name] = entry
        _write_own(self._path, json.dumps(self.content, indent=2, ensure_ascii=False) + "\n")


class _Relay:
    """Tells the listener of a baseline what its run tells an observer; rounds are enough."""

    def __init__(self, name: str, listener: Listener | None) -> None:
        self._name = name
        self._listener = listener

    def evaluating(self, label: str, done: int, total: int) -> None:
        """Records evaluated."""
        if self._listener is not None:
            self._listener.baseline(f"{self._name}: evaluate {label}", done, total)

    def round_done(self, number: int, rounds: int, record: JsonDict, epsilon_spent: float) -> None:
        """A round of a site alone."""
        del record, epsilon_spent
        self.rounds(number, rounds)

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """Say nothing."""

    def site_step(self, site: str, step: StepProgress) -> None:
        """Say nothing."""

    def stage(self, label: str, done: int, total: int) -> None:
        """Say nothing."""

    def rounds(self, done: int, total: int) -> None:
        """A round of either."""
        if self._listener is not None:
            self._listener.baseline(self._name, done, total)


def _write_own(path: Path, text: str) -> None:
    """Replace ``path`` at once; readable by its owner only."""
    draft = path.with_suffix(".partial")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
