# SPDX-License-Identifier: Apache-2.0
"""How good a model is on held-out records: response ranking, token accuracy, perplexity, with intervals.

What this returns is exact and carries no noise: use it on records that are declared public.
"""

from fedpeft.evaluation.over_runs import compare_runs, summarize_runs
from fedpeft.evaluation.scores import Scores, compare, evaluate, summarize
from fedpeft.evaluation.selection import check_labels, choose_records

__all__ = [
    "Scores",
    "check_labels",
    "choose_records",
    "compare",
    "compare_runs",
    "evaluate",
    "summarize",
    "summarize_runs",
]
