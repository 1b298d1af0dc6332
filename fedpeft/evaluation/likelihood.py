# SPDX-License-Identifier: Apache-2.0
"""Log-likelihoods of several responses to one prompt, for many prompts at once.

Two passes: the first runs the prompts and keeps their keys and values; the second runs all responses against
them. Prompts stand at the right end of their rows, padding before them, so that a response follows its prompt
without a gap and models that look at a window see the same one as without padding. The output head runs only
on the rows that predict a response token.

Where states of the frozen blocks are kept from one evaluation to the next, a pass begins at the lowest
trained block. Responses of one token, labels above all, then need no second pass and no keys and values.
Longer ones go through whole, each with a prompt of its own, where prompts are so short that it is less work.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedpeft.data.prompts import Example
from fedpeft.evaluation.selection import Question
from fedpeft.training.batches import to_tensors
from fedpeft.training.head import head_rows
from fedpeft.training.last_block import last_block_at
from fedpeft.training.prefix import PrefixCache

Progress = Callable[[int, int], None]

_ROWS_AT_ONCE = 128  # of logits in float32: the vocabulary is wide
_WORTH_REPEATING = 1.5  # times the tokens, which only the blocks above the kept states have to see again


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one question.

    Attributes:
        log_likelihoods: ``(num_responses,)`` float64, sum over each response's tokens, natural logarithm.
        num_correct: tokens of the true response that were the most likely ones.
    """

    log_likelihoods: npt.NDArray[np.float64]
    num_correct: int


@dataclass(frozen=True, slots=True)
class _Prompts:
    """A batch of prompts after the first pass.

    Attributes:
        cache: keys and values.
        mask: ``(n, T)`` int64, zero on padding.
        lengths: ``(n,)`` int64.
        logits: ``(n, vocabulary)``, of the token after each prompt.
    """

    cache: Any
    mask: Tensor
    lengths: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The response with index ``which`` of the question in row ``row`` of the batch."""

    row: int
    which: int
    ids: tuple[int, ...]


@torch.no_grad()
def answer(
    model: nn.Module,
    questions: Sequence[Question],
    *,
    device: torch.device,
    max_tokens: int,
    progress: Progress | None = None,
    prefix: PrefixCache | None = None,
) -> list[Answer]:
    """Score every response of every question.

    Args:
        model: a causal language model of ``transformers`` in evaluation mode, an adapter around it or not.
        questions: answered in order of length, returned in the order given.
        device: where the model is.
        max_tokens: padded tokens of one forward pass; memory and speed, not the result.
        progress: called with (answered, all) after every batch.
        prefix: states of the frozen blocks below the lowest trained one, made in the same arithmetic.
    """
    answers: dict[int, Answer] = {}
    lengths = [len(question.prompt) for question in questions]
    for batch in _batches(lengths, lambda count, longest: count * longest <= max_tokens):
        found = _answer_batch(model, [questions[index] for index in batch], device, max_tokens, prefix)
        answers.update(zip(batch, found, strict=True))
        if progress is not None:
            progress(len(answers), len(questions))
    return [answers[index] for index in range(len(questions))]


def _answer_batch(
    model: nn.Module,
    questions: Sequence[Question],
    device: torch.device,
    max_tokens: int,
    prefix: PrefixCache | None,
) -> list[Answer]:
    candidates = [
        _Candidate(row, which, ids)
        for row, question in enumerate(questions)
        for which, ids in enumerate(question.responses)
    ]
    rows = torch.tensor([candidate.row for candidate in candidates], device=device)
    targets = torch.tensor([candidate.ids[0] for candidate in candidates], device=device)
    # One token is fed less than the response has: the last one predicts nothing that counts.
    longer = [index for index, candidate in enumerate(candidates) if len(candidate.ids) > 1]
    if prefix is not None and not longer:
        logits, _ = _from_states(model, _as_examples(questions, candidates, once=True), device, prefix)
        return _split(questions, *_log_probabilities(logits, rows, targets))
    if prefix is not None and _are_short(questions):
        examples = _as_examples(questions, candidates)
        return _split(questions, *_whole_responses(model, examples, device, max_tokens, prefix))
    prompts = _run_prompts(model, [question.prompt for question in questions], device)
    totals, correct = _log_probabilities(prompts.logits, rows, targets)
    width = prompts.mask.shape[1]

    def fits(count: int, longest: int) -> bool:
        # Responses vary more in length than prompts, so smaller groups of them are padded less. The second
        # bound is on the prompts' keys and values, which each response gets a copy of.
        return 2 * count * longest <= max_tokens and count * (longest + width) <= 2 * max_tokens

    for chunk in _batches([len(candidates[index].ids) - 1 for index in longer], fits):
        chosen = [longer[index] for index in chunk]
        more, hits = _run_responses(model, prompts, [candidates[index] for index in chosen], device)
        totals[chosen] += more
        correct[chosen] += hits
    return _split(questions, totals, correct)


def _split(
    questions: Sequence[Question], totals: npt.NDArray[np.float64], correct: npt.NDArray[np.int64]
) -> list[Answer]:
    """By question, from figures of all responses of all questions."""
    answers = []
    start = 0
    for question in questions:
        stop = start + len(question.responses)
        answers.append(Answer(totals[start:stop], int(correct[start])))
        start = stop
    return answers


def _batches(lengths: Sequence[int], fits: Callable[[int, int], bool]) -> Iterator[list[int]]:
    """Group indices by length; ``fits(count, longest)`` says whether a group may be so large."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and not fits(len(batch) + 1, lengths[index]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _are_short(questions: Sequence[Question]) -> bool:
    """Whether prompts are so short that one for each response is little more than one for all."""
    prompts = sum(len(question.prompt) for question in questions)
    repeated = sum(len(question.prompt) * len(question.responses) for question in questions)
    responses = sum(len(response) for question in questions for response in question.responses)
    return repeated + responses <= _WORTH_REPEATING * (prompts + responses)


def _as_examples(
    questions: Sequence[Question], candidates: Sequence[_Candidate], once: bool = False
) -> list[Example]:
    """As training records of the same texts, whose states may be kept already; ``once`` a question."""
    return [
        Example(np.array([*prompt, *candidate.ids], dtype=np.int32), len(prompt), False)
        for candidate in candidates
        for prompt in [questions[candidate.row].prompt]
        if not once or candidate.which == 0
    ]


def _whole_responses(
    model: nn.Module, examples: Sequence[Example], device: torch.device, max_tokens: int, prefix: PrefixCache
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Log-likelihood and number of correct tokens of each response."""
    totals, correct = np.zeros(len(examples)), np.zeros(len(examples), dtype=np.int64)
    sizes = [example.ids.size for example in examples]
    for chunk in _batches(sizes, lambda count, longest: count * longest <= max_tokens):
        chosen = [examples[index] for index in chunk]
        logits, targets = _from_states(model, chosen, device, prefix)
        values, hits = _log_probabilities(logits, torch.arange(len(targets), device=device), targets)
        ends = np.cumsum([example.ids.size - example.num_prompt for example in chosen])
        starts = np.concatenate([[0], ends[:-1]])
        totals[chunk], correct[chunk] = np.add.reduceat(values, starts), np.add.reduceat(hits, starts)
    return totals, correct


def _from_states(
    model: nn.Module, examples: Sequence[Example], device: torch.device, prefix: PrefixCache
) -> tuple[Tensor, Tensor]:
    """``(R, vocabulary)`` logits of all response tokens, and the tokens, ``(R,)``."""
    tensors = to_tensors(examples, device)
    with (
        prefix.feeding(examples, tensors.input_ids),
        head_rows(model, tensors.rows),
        last_block_at(model, tensors.rows, tensors.input_ids.shape),
    ):
        logits: Tensor = model(input_ids=tensors.input_ids, use_cache=False).logits[0]
    return logits, tensors.targets


def _run_prompts(model: nn.Module, prompts: Sequence[tuple[int, ...]], device: torch.device) -> _Prompts:
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    width = int(lengths.max())
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = (torch.arange(width) >= width - lengths[:, None]).long()
    last = torch.arange(len(prompts)) * width + width - 1
    with head_rows(model, last.to(device)):
        output = model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=(mask.cumsum(1) - 1).clamp(min=0).to(device),
            use_cache=True,
        )
    return _Prompts(output.past_key_values, mask, lengths, output.logits[0])


def _run_responses(
    model: nn.Module, prompts: _Prompts, candidates: Sequence[_Candidate], device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Log-likelihood and number of correct tokens of each response without its first token."""
    fed = torch.tensor([len(candidate.ids) - 1 for candidate in candidates])
    width = int(fed.max())
    owners = torch.tensor([candidate.row for candidate in candidates])
    ids = torch.tensor([list(c.ids[:-1]) + [0] * (width - len(c.ids) + 1) for c in candidates])
    mask = (torch.arange(width) < fed[:, None]).long()
    positions = prompts.lengths[owners, None] + torch.minimum(torch.arange(width), fed[:, None] - 1)
    rows = mask.flatten().nonzero()[:, 0]
    targets = torch.tensor([token for candidate in candidates for token in candidate.ids[1:]])
    with head_rows(model, rows.to(device)):
        logits = model(
            input_ids=ids.to(device),
            attention_mask=torch.cat([prompts.mask[owners], mask], dim=1).to(device),
            position_ids=positions.to(device),
            past_key_values=_select(prompts.cache, owners.to(device)),
            use_cache=True,
        ).logits[0]
    every = torch.arange(len(rows), device=device)
    values, hits = _log_probabilities(logits, every, targets.to(device))
    starts = np.concatenate([[0], np.cumsum(fed.numpy())[:-1]])
    return np.add.reduceat(values, starts), np.add.reduceat(hits, starts)


def _select(cache: Any, rows: Tensor) -> Any:
    """Keys and values of ``rows``, which may repeat; ``cache`` itself stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(rows)
    return chosen


def _log_probabilities(
    logits: Tensor, rows: Tensor, targets: Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Log-probability of ``targets[i]`` under ``logits[rows[i]]``, and whether it is the most likely one.

    A probability that is not a number is never a correct one.
    """
    values, hits = [], []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = targets[start : start + _ROWS_AT_ONCE]
        part = logits[rows[start : start + _ROWS_AT_ONCE]].float()
        value = part.gather(1, some[:, None])[:, 0] - part.logsumexp(1)
        values.append(value.double().cpu())
        hits.append(((part.argmax(1) == some) & value.isfinite()).long().cpu())
    return torch.cat(values).numpy(), torch.cat(hits).numpy()
