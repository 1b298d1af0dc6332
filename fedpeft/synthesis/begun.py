# SPDX-License-Identifier: Apache-2.0
"""What sites were asked to commit before a run's first round, on the disk before they were asked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from fedpeft.checkpoint import schedule_from_json
from fedpeft.errors import RunDirectoryError
from fedpeft.synthesis.durable import write_durably
from fedpeft.types import PrivacyEvent, Schedule

FILE: Final = "commitments.json"


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that sites may have committed to already.

    Attributes:
        run_id: of the schedules.
        schedules: by site; empty where no site was asked yet.
        choice: SHA-256 of the file that says which blocks were chosen for the run; empty before it is made.
        events: what each site has released since, by site; not kept in the file.
    """

    run_id: str
    schedules: dict[str, Schedule]
    choice: str = ""
    events: dict[str, tuple[PrivacyEvent, ...]] = field(default_factory=dict)


def save(begun: Begun, folder: Path) -> None:
    """Replace the file in ``folder``, made if absent.

    Raises:
        RunDirectoryError: it cannot be written.
    """
    data = {
        "run_id": begun.run_id,
        "schedules": {site: asdict(schedule) for site, schedule in begun.schedules.items()},
        "choice": begun.choice,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / FILE, (json.dumps(data, indent=2) + "\n").encode())
    except OSError as error:
        raise RunDirectoryError(
            f"{folder}: cannot be written ({error.strerror}); make room and resume"
        ) from error


def load(folder: Path) -> Begun | None:
    """What :func:`save` wrote; ``None`` if nothing.

    Raises:
        RunDirectoryError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text("utf-8"))
        schedules = {site: schedule_from_json(fields) for site, fields in data["schedules"].items()}
        return Begun(data["run_id"], schedules, data["choice"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{path}: is damaged ({error}); start the run anew") from error
