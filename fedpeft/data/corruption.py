# SPDX-License-Identifier: Apache-2.0
"""Wrong and biased responses in training records, by rate, for research on robustness. Simulations only.

Whether a record is touched, and what becomes of it, is a function of that record, its site's place and public
constants, so that privacy is what it was: units stay independent. Held-out units keep their responses, since
they are what a run is scored on.

Label noise gives another of the labels; where there is no list of labels, the response's words in another
order. Feedback bias gives what the site is biased to: the label that is its own, or an empty assurance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from fedpeft.data.records import Record
from fedpeft.data.split import is_held_out, keyed_hash
from fedpeft.settings import PartitionSettings

# Public constants; changing one changes every experiment with noise in its labels.
_NOISE_KEY = b"fedpeft label noise 1"
_BIAS_KEY = b"fedpeft feedback bias 1"
_WORD_KEY = b"fedpeft order of words 1"

ASSURANCES: Final = (
    "Yes, this is certainly right.",
    "There is no doubt about it.",
    "Everybody agrees on this.",
    "No, this is never the case.",
)
"""What sites are biased to say where there are no labels, one after another."""


def corrupted(
    records: Mapping[str, Sequence[Record]],
    settings: PartitionSettings,
    held_out: float,
    labels: Sequence[str],
) -> dict[str, list[Record]]:
    """The records of every site, some with another response.

    Args:
        records: by site; the order of the sites says what each is biased to.
        settings: the rates, and the public seed.
        held_out: share of the units that are kept for evaluation.
        labels: all responses that there are; empty for free text.
    """
    return {
        name: [_corrupted(record, place, settings, held_out, labels) for record in own]
        for place, (name, own) in enumerate(records.items())
    }


def _corrupted(
    record: Record, place: int, settings: PartitionSettings, held_out: float, labels: Sequence[str]
) -> Record:
    if is_held_out(record.unit, held_out):
        return record
    if _chosen(record, settings.seed, settings.feedback_bias, _BIAS_KEY):
        said = labels or ASSURANCES
        return replace(record, response=said[place % len(said)])
    if _chosen(record, settings.seed, settings.label_noise, _NOISE_KEY):
        return replace(record, response=_wrong(record, settings.seed, labels))
    return record


def _chosen(record: Record, seed: int, rate: float, key: bytes) -> bool:
    return keyed_hash(f"{seed} {record.unit} {record.id}", key) < int(rate * 2**64)


def _wrong(record: Record, seed: int, labels: Sequence[str]) -> str:
    others = [label for label in labels if label != record.response.strip()]
    if others:
        return others[keyed_hash(f"{seed} {record.id} which", _NOISE_KEY) % len(others)]
    words = list(enumerate(record.response.split()))
    words.sort(key=lambda word: keyed_hash(f"{seed} {record.id} {word[0]}", _WORD_KEY))
    return " ".join(word for _, word in words)
