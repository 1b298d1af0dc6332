# SPDX-License-Identifier: Apache-2.0
"""Batched and cached likelihoods equal those of one plain forward pass for each response."""

import random

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from fedpeft.evaluation.likelihood import answer
from fedpeft.evaluation.selection import Question
from fedpeft.testing import TINY_KINDS, tiny_backbone
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore

CPU = torch.device("cpu")


def _questions(seed=0, num=9, prompt=(1, 30), response=(1, 20)):
    """Unequal lengths, single-token responses, and questions that are not ranked."""
    draw = random.Random(seed)

    def ids(bounds):
        return tuple(draw.randrange(3, 300) for _ in range(draw.randint(*bounds)))

    return [
        Question(ids(prompt), tuple(ids(response) for _ in range(1 if n % 4 == 3 else 4))) for n in range(num)
    ]


@torch.no_grad()
def _plain(model, question):
    values, num_correct = [], None
    for response in question.responses:
        ids = torch.tensor([question.prompt + response])
        rows = model(ids).logits[0, len(question.prompt) - 1 : -1].double().log_softmax(-1)
        values.append(float(rows[range(len(response)), list(response)].sum()))
        if num_correct is None:
            num_correct = int((rows.argmax(-1) == torch.tensor(response)).sum())
    return values, num_correct


def _assert_equal_to_plain(model, questions, max_tokens=120, prefix=None):
    answers = answer(model, questions, device=CPU, max_tokens=max_tokens, prefix=prefix)
    for question, found in zip(questions, answers, strict=True):
        values, num_correct = _plain(model, question)
        np.testing.assert_allclose(found.log_likelihoods, values, rtol=0, atol=1e-4)
        assert found.num_correct == num_correct


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_equals_one_response_at_a_time(kind):
    _assert_equal_to_plain(tiny_backbone(kind).model, _questions())


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_kept_states_below_the_adapter_change_no_answer(kind, monkeypatch):
    model = tiny_backbone(kind).model
    cache = PrefixCache(model, 1, StateStore(1 << 20))
    labels = _questions(seed=3, response=(1, 1))
    for _ in range(2):  # states made anew, and kept ones
        _assert_equal_to_plain(model, labels, prefix=cache)
    assert cache.num_kept == len(labels)
    with monkeypatch.context() as broken:  # a state of another text would show
        broken.setattr(
            cache, "states", lambda examples, ids: torch.ones(*ids.shape, model.config.hidden_size)
        )
        with pytest.raises(AssertionError):
            _assert_equal_to_plain(model, labels, prefix=cache)


@pytest.mark.parametrize("kind", TINY_KINDS)
@pytest.mark.parametrize("max_tokens", [1, 120, 10_000])
def test_longer_responses_begin_at_kept_states_where_prompts_are_short(kind, max_tokens):
    model = tiny_backbone(kind).model
    cache = PrefixCache(model, 1, StateStore(1 << 24))
    short = _questions(seed=4, prompt=(1, 4), response=(1, 20))
    for _ in range(2):
        _assert_equal_to_plain(model, short, max_tokens, prefix=cache)
    assert cache.num_kept > len(short)


def test_longer_responses_to_long_prompts_take_the_way_through_every_block():
    model = tiny_backbone("llama").model
    cache = PrefixCache(model, 1, StateStore(1 << 20))
    _assert_equal_to_plain(model, _questions(prompt=(25, 30), response=(2, 9)), prefix=cache)
    assert cache.num_kept == 0


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
def test_the_token_budget_changes_nothing(max_tokens):
    _assert_equal_to_plain(tiny_backbone("gpt2").model, _questions(seed=1), max_tokens)


def test_equals_one_at_a_time_where_attention_sees_a_short_window():
    config = AutoConfig.for_model(
        "mistral", vocab_size=323, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=6,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    _assert_equal_to_plain(model, _questions(seed=2))


def test_padding_never_leaves_the_learned_positions():
    def ids(count):
        return tuple(range(5, 5 + count))

    # The long prompt's response is short, and padded to the long response of the short prompt.
    questions = [Question(ids(290) + ids(218), (ids(4),)), Question(ids(3), (ids(100),))]
    assert len(questions[0].prompt) + 100 > 512  # positions of a tiny GPT-2
    _assert_equal_to_plain(tiny_backbone("gpt2").model, questions, max_tokens=10_000)


def test_progress_ends_at_all_and_the_head_is_left_as_it_was():
    model = tiny_backbone().model
    seen = []
    answer(model, _questions(), device=CPU, max_tokens=60, progress=lambda *done: seen.append(done))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert model(torch.arange(6).view(2, 3)).logits.shape == (2, 3, 323)


def test_the_prompt_runs_once_and_the_head_on_response_rows_only():
    model, questions = tiny_backbone().model, _questions(num=8)
    fed, headed = [], []
    body = model.model.layers[0].mlp.register_forward_pre_hook(lambda _, args: fed.append(args[0].shape))
    head = model.lm_head.register_forward_hook(lambda _, args, out: headed.append(out.shape[1]))
    answer(model, questions, device=CPU, max_tokens=100_000)
    body.remove()
    head.remove()
    prompt_pass, response_pass = fed
    assert prompt_pass[0] == len(questions)
    num_responses = [len(question.responses) for question in questions]
    tokens = sum(len(response) for question in questions for response in question.responses)
    assert headed == [len(questions), tokens - sum(num_responses)]
    assert response_pass[0] <= sum(num_responses)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_is_not_finite_scores_without_a_crash(value):
    model = tiny_backbone().model
    model.model.norm.weight.data[0] = value
    for found in answer(model, _questions(), device=CPU, max_tokens=120):
        assert not np.isfinite(found.log_likelihoods).any()
        assert found.num_correct == 0


def test_no_question_is_no_answer():
    assert answer(tiny_backbone().model, [], device=CPU, max_tokens=10) == []
