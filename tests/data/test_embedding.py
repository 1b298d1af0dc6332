# SPDX-License-Identifier: Apache-2.0
"""The public embedding: the same everywhere, near for texts that share words."""

from __future__ import annotations

import numpy as np
import pytest

from fedpeft.data.embedding import DIMENSION, embed, embed_all, pair_text

EXPECTED = (-0.01495001325822132, 0.06321843950715124, 0.04369265284824214)


def test_it_is_of_norm_one_and_zero_without_text() -> None:
    assert np.linalg.norm(embed("some words")) == pytest.approx(1.0)
    assert not embed("ab").any()
    assert embed_all([]).shape == (0, DIMENSION)


def test_texts_that_share_words_are_nearer() -> None:
    near, far = embed("how do I cook rice?"), embed("the derivative of a polynomial")
    own = embed("how long do I cook rice")
    assert own @ near > 0.6 > 0.3 > own @ far


def test_it_depends_on_the_one_text_alone() -> None:
    texts = [pair_text(f"question {i}", "answer " * i) for i in range(20)]
    assert np.array_equal(embed_all(texts)[7], embed(texts[7]))


def test_case_and_space_do_not_matter() -> None:
    assert np.array_equal(embed("  Some \n words"), embed("some words"))


def test_it_never_changes() -> None:
    """Coordinator and sites of different versions must agree: another map needs another name."""
    assert embed("abcdef")[:3] == pytest.approx(EXPECTED, abs=1e-9)


def test_odd_characters_are_taken() -> None:
    assert np.linalg.norm(embed("\ud800 \u4f60\u597d \x00")) == pytest.approx(1.0)
