# SPDX-License-Identifier: Apache-2.0
"""Records and distractors follow from ids alone."""

import random
from collections import Counter

import pytest

from fedpeft.data.records import Record
from fedpeft.errors import DataError
from fedpeft.evaluation.selection import ask, check_labels, choose_records


class Letters:
    """An encoder of a token for every letter, the end of the turn being 0."""

    max_length = 40

    def prompt_ids(self, instruction, before=()):
        return [1, *map(ord, instruction)][: self.max_length - 1]

    def response_ids(self, response):
        return [*map(ord, response), 0]


def _records(sizes):
    return [
        Record(f"{task}{n}", f"{task}{n}", f"ask {task}{n}", f"say {task}{n}", task)
        for task, size in sizes.items()
        for n in range(size)
    ]


def test_choice_takes_tasks_in_turn_and_small_ones_whole():
    chosen = choose_records(_records({"a": 50, "b": 3, "c": 50}), 20)
    counts = Counter(record.task for record in chosen)
    assert counts["b"] == 3
    assert sorted([counts["a"], counts["c"]]) == [8, 9]


def test_choice_does_not_depend_on_the_order_and_keeps_it():
    records = _records({"a": 30, "b": 30})
    chosen = choose_records(records, 11)
    assert len(chosen) == 11
    assert [record for record in records if record in chosen] == chosen
    shuffled = random.Random(0).sample(records, len(records))
    assert set(choose_records(shuffled, 11)) == set(chosen)
    assert chosen != records[:11]


def test_choice_of_more_than_there_are_is_all_and_of_none_is_none():
    records = _records({"a": 3})
    assert choose_records(records, 5) == records
    assert choose_records(records, 0) == []


def test_distractors_are_three_different_responses_of_the_same_task():
    records = _records({"a": 12, "b": 4})
    for record, question in zip(records, ask(records, Letters()), strict=True):
        true, *others = ["".join(map(chr, ids[:-1])) for ids in question.responses]
        assert true == record.response
        assert len({true, *others}) == 4
        assert all(other.startswith(f"say {record.task}") for other in others)


def test_distractors_differ_between_records_and_do_not_depend_on_the_order():
    records = _records({"a": 12})
    questions = dict(zip(records, ask(records, Letters()), strict=True))
    shuffled = random.Random(0).sample(records, len(records))
    assert dict(zip(shuffled, ask(shuffled, Letters()), strict=True)) == questions
    assert len({frozenset(question.responses[1:]) for question in questions.values()}) > 6


def test_tasks_under_four_records_are_not_ranked():
    questions = ask(_records({"a": 3, "b": 4}), Letters())
    assert [len(question.responses) for question in questions] == [1, 1, 1, 4, 4, 4, 4]


def test_a_task_of_few_different_responses_is_not_ranked():
    records = [Record(str(n), str(n), f"ask {n}", ["yes", "no", "perhaps"][n % 3], "t") for n in range(30)]
    assert {len(question.responses) for question in ask(records, Letters())} == {1}


def test_responses_that_are_equal_once_cut_are_no_distractors():
    same = "x" * 60
    records = [Record(str(n), str(n), "ask", f"{same}{n}", "t") for n in range(8)]
    assert {len(question.responses) for question in ask(records, Letters())} == {1}
    records += [Record(f"s{n}", f"s{n}", "ask", f"short {n}", "t") for n in range(3)]
    assert {len(question.responses) for question in ask(records, Letters())} == {4}


def test_prompt_and_response_fit_the_maximal_length():
    records = [Record(str(n), str(n), "i" * (10 * n), f"{n}" * 60, "t") for n in range(1, 6)]
    for question in ask(records, Letters()):
        for response in question.responses:
            assert 1 <= len(response) <= 40 - len(question.prompt)


class TestLabels:
    """A closed set of responses."""

    RECORDS = (
        Record("1", "1", "ask", "yes", "a"),
        Record("2", "2", "ask", "no", "b"),
        Record("3", "3", "ask", "no", "b"),
    )

    def _answers(self, labels, records=RECORDS, encoder=None):
        questions = ask(records, encoder or Letters(), labels)
        return [["".join(map(chr, ids[:-1])) for ids in question.responses] for question in questions]

    def test_all_others_are_distractors_whatever_the_task_holds(self):
        assert self._answers(["yes", "no"]) == [["yes", "no"], ["no", "yes"], ["no", "yes"]]
        assert self._answers(["yes", "no", "perhaps"])[0] == ["yes", "no", "perhaps"]

    def test_their_order_does_not_matter(self):
        assert self._answers(["perhaps", "yes", "no"]) == self._answers(["no", "perhaps", "yes"])

    def test_without_them_these_few_records_are_not_ranked(self):
        assert self._answers([]) == [["yes"], ["no"], ["no"]]

    def test_labels_that_the_model_sees_alike_are_not_ranked(self):
        class Short(Letters):
            max_length = 5  # one token after the prompt

        records = [Record("1", "1", "ask", "nay", "a")]
        [question] = ask(records, Short(), ["nay", "no"])
        assert len(question.responses) == 1

    def test_another_response_is_refused(self):
        check_labels(self.RECORDS, ["yes", "no"])
        with pytest.raises(DataError, match=r"^evaluation\.labels: 2 of 3 records"):
            check_labels(self.RECORDS, ["yes", "perhaps"])
