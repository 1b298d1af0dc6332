# SPDX-License-Identifier: Apache-2.0
"""The folder of a run as the report reads it: public figures and what was released, never private data.

Of the folder only these are opened: ``config.toml``, ``result.json``, ``rounds.jsonl``, ``metrics.jsonl``,
``selection.json``, ``synthetic/``, ``baselines.json`` and the ledgers. The checkpoint, which holds scores of
single records, and whatever else lies beside the ledgers are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpeft.config import RunConfig, load_config
from fedpeft.curve import METRICS_FILE
from fedpeft.errors import DataError, LedgerError, RunDirectoryError, UserError
from fedpeft.federation import ROUNDS_FILE
from fedpeft.folder import BASELINES_FILE, CONFIG_FILE, RESULT_FILE
from fedpeft.layer_choice import read_choice
from fedpeft.privacy.ledger import PolicyLife, life
from fedpeft.synthesis.dataset import FOLDER, SyntheticDataset, is_complete
from fedpeft.types import JsonDict
from fedpeft.workspace import LEDGER_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A run, finished or not.

    Attributes:
        name: of the folder.
        config: ``None`` where this version cannot read it, for the reason ``config_problem``.
        config_text: the file as it is.
        result: ``None`` as long as the run goes on.
        rounds: lines of ``rounds.jsonl``.
        curve: lines of ``metrics.jsonl``.
        selection: what ``selection.json`` holds.
        synthetic: rows and certificate; ``None`` where none were made, or for the ``synthetic_problem``.
        baselines: what ``baselines.json`` holds.
        ledgers: of the folder, and others that were named.
        shows_times: whether seconds and memory may be shown; both depend on private data, and no guarantee
            covers them. What an organization was delivered has none.
    """

    path: Path
    name: str
    config: RunConfig | None
    config_problem: str
    config_text: str
    result: JsonDict | None
    rounds: tuple[JsonDict, ...]
    curve: tuple[JsonDict, ...]
    selection: JsonDict | None
    synthetic: SyntheticDataset | None
    synthetic_problem: str
    baselines: JsonDict | None
    ledgers: tuple[PolicyLife, ...]
    ledger_problems: tuple[str, ...]
    shows_times: bool = True

    @property
    def metrics_are_private_records(self) -> bool:
        """Whether figures are exact functions of records that nobody declared public."""
        found = self.result["metrics"].get("privacy", "") if self.result else ""
        return any("NOT PRIVATE" in text for text in (found, *(line["privacy"] for line in self.curve)))

    @property
    def planned_rounds(self) -> int | None:
        """As configured."""
        return None if self.config is None else self.config.federation.rounds

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come by itself."""
        return self.result is not None and self.result["rounds_completed"] >= len(self.rounds)


def read_run(folder: Path, ledgers: Sequence[Path] = ()) -> RunFolder:
    """Read what is there of a run.

    Args:
        folder: of the run.
        ledgers: further ledgers, of organizations that keep their own.

    Raises:
        RunDirectoryError: not the folder of a run, or of a reference, which has figures and no account; or a
            file of it is damaged.
        LedgerError: one of ``ledgers`` cannot be read.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise RunDirectoryError(f"{folder}: has no {CONFIG_FILE}, so it is not a run; name a run's folder")
    config, problem = _config(path)
    result = _one(folder / RESULT_FILE)
    if result is not None and "ledger_scope" not in result:
        raise RunDirectoryError(
            f"{folder}: method = {result.get('method')!r} is a reference, which keeps no account to report; "
            f"its figures stand in {RESULT_FILE}"
        )
    synthetic, synthetic_problem = _synthetic(folder / FOLDER)
    own, ledger_problems = _own_ledgers(folder / LEDGER_FOLDER)
    rounds = tuple(_lines(folder / ROUNDS_FILE))
    return RunFolder(
        path=folder,
        name=folder.resolve().name,
        config=config,
        config_problem=problem,
        config_text=path.read_text("utf-8", "replace"),
        result=result,
        rounds=rounds,
        curve=tuple(_lines(folder / METRICS_FILE)),
        selection=read_choice(folder),
        synthetic=synthetic,
        synthetic_problem=synthetic_problem,
        baselines=_one(folder / BASELINES_FILE),
        ledgers=(*own, *(life(ledger) for ledger in ledgers)),
        ledger_problems=ledger_problems,
        shows_times=all("seconds" in found for found in (*rounds, result) if found is not None),
    )


def _config(path: Path) -> tuple[RunConfig | None, str]:
    try:
        return load_config(path), ""
    except UserError as error:
        return None, "; ".join(error.problems)


def _synthetic(folder: Path) -> tuple[SyntheticDataset | None, str]:
    if not is_complete(folder):
        return None, ""
    try:
        return SyntheticDataset.read(folder), ""
    except DataError as error:
        return None, "; ".join(error.problems)


def _own_ledgers(folder: Path) -> tuple[list[PolicyLife], tuple[str, ...]]:
    found, problems = [], []
    for path in sorted(folder.glob("*.sqlite")):
        try:
            found.append(life(path))
        except LedgerError as error:
            problems.append(str(error))
    return found, tuple(problems)


def _one(path: Path) -> JsonDict | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path}: is damaged ({error}); restore it, or run again") from error
    return found


def _lines(path: Path) -> Iterator[JsonDict]:
    """All whole lines: of a run that goes on, the last may be half written."""
    if not path.is_file():
        return
    text = path.read_text("utf-8", "replace")
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise RunDirectoryError(
                f"{path}: line {number} is damaged ({error}); restore it, or run again"
            ) from error
        yield found
