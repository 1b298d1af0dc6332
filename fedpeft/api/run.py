# SPDX-License-Identifier: Apache-2.0
"""A run as an object: what it promises, what it found, its adapter on its backbone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpeft.adapter_evaluation import evaluate_adapter
from fedpeft.adapters.peft_format import attach_peft
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import RunConfig
from fedpeft.errors import RunDirectoryError
from fedpeft.folder import RESULT_FILE, open_run
from fedpeft.guarantee import guarantee
from fedpeft.privacy.ledger import VerifyReport, verify_all
from fedpeft.run import ADAPTER_FOLDER
from fedpeft.types import JsonDict
from fedpeft.workspace import LEDGER_FOLDER


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A run in its folder. ``simulate``, ``resume`` and ``open_run`` make it.

    Attributes:
        folder: with ``config.toml``, ``result.json``, the adapter and the ledgers.
        config: as the run was begun with, blocks that it chose itself filled in.
        result: what ``result.json`` holds; ``None`` while the run is not finished.

    Examples:
        >>> run = Run.open("runs/earlier")
        >>> run.epsilon, run.delta
        (8.0, 1e-05)
        >>> sorted(run.metrics["difference"])
        ['perplexity', 'ranking_accuracy', 'token_accuracy']
        >>> type(run.model()).__name__
        'PeftModelForCausalLM'
    """

    folder: Path
    config: RunConfig
    result: JsonDict | None = field(compare=False)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Run:
        """The run in ``folder``, complete or not.

        Raises:
            RunDirectoryError: not the folder of a run, damaged, or its configuration was edited.
        """
        path = Path(folder)
        config, _ = open_run(path)
        return cls(path, config, _read_result(path / RESULT_FILE))

    def __repr__(self) -> str:
        """Where it is, how far it came, what it spent, what it learned."""
        promise = f"epsilon {self.epsilon:g}, delta {self.delta:.3g}, unit {self.config.privacy.unit}"
        if self.result is None:
            return f"<Run {self.folder}: not finished, {promise}; fedpeft.resume goes on>"
        done = f"{self.result['stopped_because']} after {self.result['rounds_completed']} rounds"
        spent = f"{promise}, spent {self.result['epsilon_spent']:.4f}"
        return f"<Run {self.folder}: {done}, {len(self.config.sites)} sites, {spent}{self._perplexity()}>"

    def _perplexity(self) -> str:
        before, after = (self.metrics[when] for when in ("before", "after"))
        if before is None:
            return ""
        return f", perplexity {before['perplexity']['value']:.2f} -> {after['perplexity']['value']:.2f}"

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do; otherwise ``resume`` goes on with it."""
        return self.result is not None and self.result["stopped_because"] != "interrupted"

    @property
    def epsilon(self) -> float:
        """What was asked for: the cap that no site's releases exceed."""
        return max(site.epsilon or self.config.privacy.epsilon for site in self.config.sites)

    @property
    def delta(self) -> float:
        """The guarantee's delta."""
        return self.config.delta

    @property
    def guarantee(self) -> str:
        """The sentence to sign, or ``none: `` and why there is none."""
        return guarantee(self.config) if self.result is None else str(self.result["guarantee"])

    @property
    def metrics(self) -> JsonDict:
        """Figures ``before``, ``after`` and their ``difference``, with intervals, and on whose records.

        Raises:
            RunDirectoryError: the run is not finished.
        """
        metrics: JsonDict = self._finished()["metrics"]
        return metrics

    @property
    def adapter(self) -> Path:
        """Folder of the adapter, in the format of the library ``peft``.

        Raises:
            RunDirectoryError: the run is not finished.
        """
        self._finished()
        return self.folder / ADAPTER_FOLDER

    @property
    def ledgers(self) -> list[VerifyReport]:
        """Every site's privacy ledger, recomputed with a second accountant.

        Raises:
            LedgerError: there are none.
        """
        return verify_all(self.folder / LEDGER_FOLDER)

    def verify(self) -> bool:
        """Whether all ledgers are right; ``ledgers`` says what is wrong with one that is not."""
        return all(report.ok for report in self.ledgers)

    def model(self) -> Any:
        """The backbone with the adapter on it, a ``peft.PeftModel`` in evaluation mode, loaded anew.

        It is the caller's own: ``generate``, ``merge_and_unload`` and ``push_to_hub`` work as ever.

        Raises:
            RunDirectoryError: the run is not finished.
            BackboneError: the backbone cannot be loaded.
        """
        adapter = self.adapter
        return attach_peft(load_backbone(self.config.model, shared=False).model, adapter).eval()

    def tokenizer(self) -> Any:
        """The backbone's own tokenizer, from ``transformers``.

        Raises:
            BackboneError: the backbone cannot be loaded.
        """
        return load_backbone(self.config.model).tokenizer

    def evaluate(self, path: str | os.PathLike[str], records: int = 200) -> JsonDict:
        """Score the untouched backbone and the adapter on a file, with the prompts and labels of the run.

        The figures are exact and carry no noise: use records that are public or your own.

        Args:
            path: a file with the columns of ``[data]``, .csv, .parquet or else jsonl.
            records: most to evaluate, chosen by a hash.

        Returns:
            ``before``, ``after``, ``difference`` and the number of ``records``.

        Raises:
            RunDirectoryError: the run is not finished.
            UserError: backbone or file cannot be used.

        Examples:
            >>> found = Run.open("runs/earlier").evaluate("test.jsonl")
            >>> found["after"]["perplexity"]["value"] > 1
            True
        """
        config = self.config
        labels = config.evaluation.labels
        name = config.model.backbone
        return evaluate_adapter(self.adapter, Path(path), config.data, name, records, labels=labels)

    def _finished(self) -> JsonDict:
        if self.result is None:
            raise RunDirectoryError(
                f"{self.folder}: has no {RESULT_FILE}, so the run is not finished; go on with fedpeft.resume "
                f"or `fedpeft resume {self.folder}`"
            )
        return self.result


def _read_result(path: Path) -> JsonDict | None:
    try:
        result: JsonDict = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error}); restore it, or run again") from error
    return result
