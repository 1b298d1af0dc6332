# SPDX-License-Identifier: Apache-2.0
"""Figures and their intervals, by hand and by theory."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from fedpeft.data.prompts import Prompter
from fedpeft.data.records import Record
from fedpeft.evaluation import Scores, compare, evaluate, summarize
from fedpeft.testing import tiny_backbone


def _scores(log_likelihood, *, num_tokens=10, num_correct=5, is_ranked=True, is_first=True):
    log_likelihood = np.asarray(log_likelihood, dtype=np.float64)
    num = len(log_likelihood)
    return Scores(
        ids=tuple(map(str, range(num))),
        num_tokens=np.broadcast_to(np.asarray(num_tokens), num).astype(np.int64),
        num_correct=np.broadcast_to(np.asarray(num_correct), num).astype(np.int64),
        log_likelihood=log_likelihood,
        is_ranked=np.broadcast_to(np.asarray(is_ranked), num).astype(np.bool_),
        is_first=np.broadcast_to(np.asarray(is_first), num).astype(np.bool_),
    )


def test_values_by_hand():
    figures = summarize(
        _scores(
            [-1.0, -8.0, -3.0],
            num_tokens=[1, 4, 7],
            num_correct=[1, 2, 0],
            is_ranked=[True, True, False],
            is_first=[True, False, False],
        )
    )
    assert figures["ranking_accuracy"]["value"] == 0.5
    assert figures["token_accuracy"]["value"] == 3 / 12
    assert figures["perplexity"]["value"] == pytest.approx(math.e)


def test_interval_of_a_proportion_is_that_of_theory():
    is_first = np.arange(400) % 2 == 0
    figure = summarize(_scores(np.full(400, -1.0), is_first=is_first))["ranking_accuracy"]
    half = 1.96 * math.sqrt(0.25 / 400)
    assert figure["low"] == pytest.approx(0.5 - half, abs=0.006)
    assert figure["high"] == pytest.approx(0.5 + half, abs=0.006)


def test_intervals_are_the_same_every_time():
    scores = _scores(np.linspace(-40, -5, 30))
    assert summarize(scores) == summarize(scores)


def test_a_paired_difference_cancels_what_makes_records_easy_or_hard():
    hard = np.random.default_rng(0).uniform(-60, -5, 100)
    before, after = _scores(hard), _scores(hard + 0.5)
    alone = summarize(before)["perplexity"]
    paired = compare(before, after)["perplexity"]
    assert paired["value"] == pytest.approx(summarize(after)["perplexity"]["value"] - alone["value"])
    assert paired["low"] <= paired["value"] <= paired["high"] < 0
    assert paired["high"] - paired["low"] < 0.1 * (alone["high"] - alone["low"])


def test_a_model_compared_with_itself_differs_by_nothing():
    scores = _scores(np.linspace(-40, -5, 30), is_first=np.arange(30) % 3 == 0)
    for figure in compare(scores, scores).values():
        assert figure == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_comparing_other_records_is_refused():
    one = _scores([-1.0, -2.0])
    with pytest.raises(ValueError, match="same records"):
        compare(one, dataclasses.replace(one, ids=("0", "2")))


@pytest.mark.parametrize("value", [math.nan, -math.inf, -1e9])
def test_what_is_not_finite_is_none_and_spoils_no_other_figure(value):
    good, bad = _scores([-1.0] * 10), _scores([value] + [-1.0] * 9)
    for figures in (summarize(bad), compare(good, bad), compare(bad, bad)):
        assert figures["perplexity"]["value"] is None
        assert figures["token_accuracy"]["value"] in (0.5, 0.0)


def test_nothing_ranked_nothing_measured_and_a_single_record():
    unranked = summarize(_scores([-1.0, -2.0], is_ranked=False))
    assert unranked["ranking_accuracy"] == {"value": None, "low": None, "high": None}
    assert unranked["perplexity"]["low"] is not None
    nothing = summarize(_scores([]))
    assert all(figure == {"value": None, "low": None, "high": None} for figure in nothing.values())
    single = summarize(_scores([-10.0]))["perplexity"]
    assert single == {"value": pytest.approx(math.e), "low": None, "high": None}


def test_evaluate_ranks_the_true_response_of_a_model_that_knows_it():
    backbone = tiny_backbone()
    prompter = Prompter(backbone.tokenizer, max_length=96, system_prompt=False)
    words = ["seven", "the river", "rest and ice", "no values", "in place", "a long answer of several words"]
    records = [Record(str(n), str(n), f"Question {n}", word, "t") for n, word in enumerate(words)]
    records.append(Record("alone", "alone", "Question", "only one", "u"))
    before = evaluate(backbone.model, prompter, records, device=backbone.device)
    assert before.is_ranked.tolist() == [True] * 6 + [False]
    assert before.num_tokens.tolist() == [len(prompter.response_ids(record.response)) for record in records]

    model = backbone.model.requires_grad_(True)
    examples = [prompter.encode(record.instruction, record.response) for record in records]
    ids = torch.zeros(len(examples), max(len(example.ids) for example in examples), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.from_numpy(example.ids)
        labels[row, example.num_prompt : len(example.ids)] = ids[row, example.num_prompt : len(example.ids)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        optimizer.step()
    after = evaluate(model, prompter, records, device=backbone.device)
    assert after.is_first.tolist() == [True] * 6 + [False]
    figures = compare(before, after)
    assert figures["perplexity"]["high"] < 0
    assert figures["token_accuracy"]["low"] > 0
