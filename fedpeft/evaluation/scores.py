# SPDX-License-Identifier: Apache-2.0
"""From a model and records to figures with intervals.

An interval covers the choice of records: records are resampled, 4,000 times, with a fixed public seed.
Between two models, both are resampled alike, so that what makes a record easy or hard for either cancels
out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedpeft.data.records import Record
from fedpeft.evaluation.likelihood import Answer, Progress, answer
from fedpeft.evaluation.selection import Encoder, Question, ask
from fedpeft.training.prefix import PrefixCache

Floats = npt.NDArray[np.float64]
Figure = dict[str, float | None]

SEED = 20240229
_NUM_RESAMPLES = 4000
_RESAMPLES_AT_ONCE = 500
_LEVELS = (0.025, 0.975)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What was found for each of ``n`` records.

    Attributes:
        ids: of the records.
        num_tokens: ``(n,)`` tokens of the response, the end of the turn included where it was not cut.
        num_correct: ``(n,)`` of them predicted.
        log_likelihood: ``(n,)`` sum over the response, natural logarithm; may be infinite or not a number.
        is_ranked: ``(n,)`` whether there were enough other responses to rank against.
        is_first: ``(n,)`` whether the true response had the highest log-likelihood per token.
    """

    ids: tuple[str, ...]
    num_tokens: npt.NDArray[np.int64]
    num_correct: npt.NDArray[np.int64]
    log_likelihood: Floats
    is_ranked: npt.NDArray[np.bool_]
    is_first: npt.NDArray[np.bool_]


def evaluate(
    model: nn.Module,
    prompter: Encoder,
    records: Sequence[Record],
    *,
    device: torch.device,
    labels: Sequence[str] = (),
    max_tokens: int = 1024,
    progress: Progress | None = None,
    prefix: PrefixCache | None = None,
) -> Scores:
    """Score the model on every record, each ranked against three other responses of its task.

    Args:
        model: a causal language model of ``transformers`` in evaluation mode, an adapter around it or not.
        prompter: a :class:`fedpeft.data.prompts.Prompter` of the model's tokenizer.
        records: held out; distractors come from among them.
        device: where the model is.
        labels: all responses that there are; each record is then ranked against all others of them.
        max_tokens: padded tokens of one forward pass; memory and speed, not the result.
        progress: called with (records done, all records).
        prefix: see :func:`fedpeft.evaluation.likelihood.answer`.
    """
    questions = ask(records, prompter, labels)
    answers = answer(model, questions, device=device, max_tokens=max_tokens, progress=progress, prefix=prefix)
    return Scores(
        ids=tuple(record.id for record in records),
        num_tokens=np.array([len(question.responses[0]) for question in questions], dtype=np.int64),
        num_correct=np.array([found.num_correct for found in answers], dtype=np.int64),
        log_likelihood=np.array([found.log_likelihoods[0] for found in answers], dtype=np.float64),
        is_ranked=np.array([len(question.responses) > 1 for question in questions], dtype=np.bool_),
        is_first=np.array(
            [is_first(question, found) for question, found in zip(questions, answers, strict=True)],
            dtype=np.bool_,
        ),
    )


def summarize(scores: Scores) -> dict[str, Figure]:
    """Ranking accuracy, token accuracy and perplexity over all records, with 95 % bootstrap intervals.

    Returns:
        For each figure ``value``, ``low`` and ``high``. ``None`` stands for what is not a finite number: no
        record could be ranked, a likelihood was zero, or fewer than two records are no ground for an
        interval.
    """
    return _figures([scores])


def compare(before: Scores, after: Scores) -> dict[str, Figure]:
    """Differences (after minus before) of the figures of :func:`summarize`, paired over records.

    Raises:
        ValueError: the two are not about the same records.
    """
    if before.ids != after.ids:
        raise ValueError("before and after must be about the same records in the same order")
    return _figures([before, after])


def is_first(question: Question, found: Answer) -> bool:
    """Whether the true response is ranked, and has the highest log-likelihood per token of all."""
    if len(question.responses) == 1:
        return False
    true, *others = found.log_likelihoods / [len(response) for response in question.responses]
    return all(true > other for other in others)  # false also for what is not a number


def _ranking_accuracy(scores: Scores, weights: Floats) -> Floats:
    ranked: Floats = weights @ scores.is_ranked
    return (weights @ (scores.is_ranked & scores.is_first)) / ranked


def _token_accuracy(scores: Scores, weights: Floats) -> Floats:
    correct: Floats = weights @ scores.num_correct
    return correct / (weights @ scores.num_tokens)


def _perplexity(scores: Scores, weights: Floats) -> Floats:
    is_finite = np.isfinite(scores.log_likelihood)
    total = weights @ np.where(is_finite, scores.log_likelihood, 0.0)
    perplexity: Floats = np.exp(-total / (weights @ scores.num_tokens))
    return np.where(weights @ ~is_finite > 0, np.inf, perplexity)


Statistic = Callable[[Scores, Floats], Floats]
STATISTICS: dict[str, Statistic] = {
    "ranking_accuracy": _ranking_accuracy,
    "token_accuracy": _token_accuracy,
    "perplexity": _perplexity,
}
"""Each figure as a function of scores and of ``(resamples, n)`` weights of the records."""


def _figures(scores: Sequence[Scores]) -> dict[str, Figure]:
    """Value and interval of each statistic, or of the difference between the second and the first."""
    num_records = len(scores[0].ids)
    once = np.ones((1, num_records))
    resampled: dict[str, list[Floats]] = {name: [] for name in STATISTICS}
    with np.errstate(all="ignore"):  # 0 / 0, infinity - infinity and overflow have their place below
        values = {name: _difference(scores, statistic, once) for name, statistic in STATISTICS.items()}
        for weights in resamples(num_records):  # drawing takes longer than any statistic of what was drawn
            for name, statistic in STATISTICS.items():
                resampled[name].append(_difference(scores, statistic, weights))
    return {
        name: {"value": finite(value[0]), **interval(resampled[name], num_records)}
        for name, value in values.items()
    }


def interval(resampled: Sequence[Floats], num_records: int) -> Figure:
    """``low`` and ``high`` of what was resampled; what is not a number is left out."""
    drawn = np.concatenate([*resampled, np.empty(0)])
    drawn = drawn[~np.isnan(drawn)]
    if num_records < 2 or not drawn.size:
        return {"low": None, "high": None}
    low = np.quantile(drawn, _LEVELS[0], method="lower")
    high = np.quantile(drawn, _LEVELS[1], method="higher")
    return {"low": finite(low), "high": finite(high)}


def _difference(scores: Sequence[Scores], statistic: Statistic, weights: Floats) -> Floats:
    first, *rest = [statistic(some, weights) for some in scores]
    return rest[0] - first if rest else first


def resamples(num_records: int) -> Iterator[Floats]:
    """How often each record is drawn in each resample: arrays of shape ``(resamples, num_records)``."""
    if not num_records:
        return
    generator = np.random.default_rng(SEED)
    shares = np.full(num_records, 1 / num_records)
    for _ in range(_NUM_RESAMPLES // _RESAMPLES_AT_ONCE):
        yield generator.multinomial(num_records, shares, size=_RESAMPLES_AT_ONCE).astype(np.float64)


def finite(value: float) -> float | None:
    """The number, or ``None`` for what is not finite."""
    return float(value) if np.isfinite(value) else None
