# SPDX-License-Identifier: Apache-2.0
"""What a run is to be compared with: each site alone, and training without privacy. NOT PRIVATE, all of it.

Only a simulation may do this: the figures are exact functions of private records, and no ledger pays for
them. Nothing that a site or a coordinator runs imports this part of the package.
"""

from fedpeft.baselines.beside import GUARANTEE, WATERMARK, check_baselines, run_baselines
from fedpeft.baselines.reference import run_method, scores_after
from fedpeft.baselines.unprotected import train_unprotected
from fedpeft.folder import BASELINES_FILE

__all__ = [
    "BASELINES_FILE",
    "GUARANTEE",
    "WATERMARK",
    "check_baselines",
    "run_baselines",
    "run_method",
    "scores_after",
    "train_unprotected",
]
