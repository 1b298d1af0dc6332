# SPDX-License-Identifier: Apache-2.0
"""Loading without the libraries' progress bars, log lines and warnings.

What matters of them is checked and raised as an error by the caller.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Within the context the model libraries write nothing; their settings come back after it."""
    hub_level, level = hub_logging.get_verbosity(), transformers_logging.get_verbosity()
    hub_bars, bars = not are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.set_verbosity(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disable_progress_bars()
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            hub_logging.set_verbosity(hub_level)
            transformers_logging.set_verbosity(level)
            if hub_bars:
                enable_progress_bars()
            if bars:
                transformers_logging.enable_progress_bar()
