# SPDX-License-Identifier: Apache-2.0
"""Whether a page may carry the sentence to sign, and why not.

The sentence is made anew from the run's own configuration; that of the result must be the same. A page that
shows anything the sentence does not cover carries no sentence at all, and is marked NOT PRIVATE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fedpeft.errors import FedpeftError
from fedpeft.guarantee import guarantee
from fedpeft.report.run_folder import RunFolder
from fedpeft.types import JsonDict


@dataclass(frozen=True, slots=True)
class Statement:
    """The sentence of one run.

    Attributes:
        sentence: empty where it is withheld.
        withheld: why, one line each.
    """

    sentence: str
    withheld: tuple[str, ...] = ()


def uncovered(run: RunFolder) -> list[str]:
    """What a page that shows this run shows beside the guarantee, one line each; none is what one wants."""
    found = []
    if run.result is not None and run.result["seed"] is not None:
        found.append(f"{run.name} is seeded: its noise is predictable, and protects nobody")
    if run.baselines is not None:
        found.append(f"the baselines of {run.name} were trained without privacy and are shown here")
    if run.metrics_are_private_records:
        found.append(f"the metrics of {run.name} are exact figures of held-out private records")
    return found


def covered_only(run: RunFolder) -> RunFolder:
    """The run without baselines, times and memory, and without exact figures of private records."""
    run = replace(run, baselines=None, shows_times=False)
    if not run.metrics_are_private_records:
        return run
    hidden = {"before": None, "after": None, "difference": None, "records": 0, "privacy": "left out here"}
    result = run.result and run.result | {"metrics": run.result["metrics"] | hidden, "warm_start": None}
    return replace(run, curve=(), result=result)


def statement(run: RunFolder, page_shows: Sequence[str]) -> Statement:
    """The sentence of a run on a page.

    Args:
        run: whose.
        page_shows: what the whole page shows that no guarantee covers (:func:`uncovered`).
    """
    reasons = list(dict.fromkeys([*_own_reasons(run), *page_shows]))
    if reasons or run.result is None:
        return Statement("", tuple(reasons))
    return Statement(run.result["guarantee"])


def _own_reasons(run: RunFolder) -> list[str]:
    if run.result is None:
        return ["the run is not over; the sentence is about a run as a whole"]
    said = str(run.result["guarantee"])
    if said.startswith("none"):
        return [f"the result claims none ({said.partition(':')[2].strip() or said})"]
    if run.config is None:
        return [f"this version of fedpeft cannot read config.toml ({run.config_problem})"]
    try:
        made = guarantee(run.config)
    except FedpeftError as error:
        return [f"the sentence cannot be made from config.toml ({error})"]
    if made != said:
        return [
            "result.json says another sentence than config.toml gives under this version of fedpeft; one of "
            "them was edited, or another version wrote them"
        ]
    return list(_against_ledgers(run, run.result))


def _against_ledgers(run: RunFolder, result: JsonDict) -> Iterator[str]:
    """Where a ledger beside the page holds more than the sentence says: who wrote the sentence may lie."""
    for ledger in run.ledgers:
        own = [one for one in ledger.commitments if one.run_id == result.get("run_id")]
        if ledger.unit != result["unit"]:
            yield f"the ledger of {ledger.identity} protects {ledger.unit!r}, the sentence {result['unit']!r}"
        for one in own:
            if one.epsilon > result["epsilon"] * (1 + 1e-9) or one.delta > result["delta"] * (1 + 1e-9):
                yield (
                    f"the ledger of {ledger.identity} committed ({one.epsilon:g}, {one.delta:g}) to this "
                    "run, more than the sentence says"
                )
