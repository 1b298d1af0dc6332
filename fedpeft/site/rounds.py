# SPDX-License-Identifier: Apache-2.0
"""A round's request: what it must be like, and what it costs; looked at before any data are."""

from __future__ import annotations

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.privacy.clipping import RULES as CLIPPING_RULES
from fedpeft.privacy.clipping import is_scale
from fedpeft.privacy.histogram import SYNTHESIS
from fedpeft.privacy.tasks import are_weights
from fedpeft.site.fields import check_protocol, is_positive, refuse_malformed
from fedpeft.types import TRAINING, PrivacyEvent, TrainRequest


def check_request(request: TrainRequest, adapter: Adapter) -> None:
    """Refuse a request that could not be served, before any data is read.

    Raises:
        Refusal: ``PROTOCOL`` for another version, ``MALFORMED`` for any field out of its range.
    """
    check_protocol(request.protocol)
    num_segments = len(adapter.layout.segments)
    refuse_malformed(
        {
            "run_id": bool(request.run_id),
            "request_id": bool(request.request_id),
            "round_number": request.round_number >= 1,
            "local_steps": request.local_steps >= 1,
            "learning_rate": is_positive(request.learning_rate),
            "noise_multiplier": is_positive(request.noise_multiplier),
            "sampling_rate": is_positive(request.sampling_rate) and request.sampling_rate <= 1,
            "scales": len(request.scales) == num_segments and all(map(is_scale, request.scales)),
            "clipping": request.clipping in CLIPPING_RULES,
            "task_weights": are_weights(request.task_weights),
            "stage": request.stage in (TRAINING, SYNTHESIS),
            "layout_digest": request.layout_digest == adapter.digest,
            "rank": 0 <= request.rank <= adapter.settings.rank,
            "adapter": request.adapter.shape == (adapter.layout.state_size,)
            and bool(np.isfinite(request.adapter).all()),
        }
    )


def charged_event(request: TrainRequest, unit: str) -> PrivacyEvent:
    """What the request was charged as."""
    return PrivacyEvent(
        "poisson-gaussian", request.noise_multiplier, request.sampling_rate, request.local_steps, unit
    )
