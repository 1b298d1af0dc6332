# SPDX-License-Identifier: Apache-2.0
"""A ``SITE.toml`` becomes a resident site: backbone and data loaded once, policy, ledger, served."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from fedpeft.delivery import Delivery
from fedpeft.deployment.access import courier_problems, find_user, own_user, socket_problems
from fedpeft.deployment.site_file import SiteFile
from fedpeft.errors import ConfigError
from fedpeft.model_card import make_delivered_card
from fedpeft.privacy.ledger import Ledger, life
from fedpeft.site.daemon import Daemon, alone, until_told
from fedpeft.site.inbox import Inbox
from fedpeft.training.local import StepProgress
from fedpeft.workspace import Workspace

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0
_KEPT_RELEASES = 8  # of each run; who resumes asks for the newest, and old ones would fill the disk


def serve(file: SiteFile, *, one_user_trial: bool = False, wait: Callable[[], None] = until_told) -> bool:
    """Serve until told to stop.

    Args:
        file: of the organization.
        one_user_trial: leave out the checks that keep the courier from the data. For a trial with public
            data, where one user runs everything.
        wait: returns when the site shall stop.

    Returns:
        Whether the request in work, if any, came to its end. Otherwise its charge stays, and the process
        should leave without waiting for it.

    Raises:
        UserError: users, modes or files are not as they must be; nothing was served.
        LedgerError: the ledger must not be used.
    """
    problems = guard_problems(file, one_user_trial=one_user_trial)
    if problems:
        raise ConfigError(problems)
    if one_user_trial:
        _log.warning("one user runs site and courier: code that the coordinator uploads can read the data")
    config, keys, policy = file.config, file.keys, file.policy
    with alone(_ledger_folder(file), policy.identity):
        ledger = Ledger.open(file.ledger, policy, wait_s=keys.queue_s, kept_releases=_KEPT_RELEASES)
        with Workspace(config, keys.folder, _progress_lines()) as workspace:
            card = _card_maker(file, workspace, one_user_trial)
            inbox = Inbox(keys.folder, workspace.backbone.name, card)
            site = workspace.make_site(policy.identity, policy, ledger, inbox)
            layout = workspace.adapter.layout
            daemon = Daemon(
                site,
                layout,
                keys.socket,
                queue_s=keys.queue_s,
                slot_s=keys.slot_s,
                stop_s=keys.stop_s,
            )
            with daemon:
                _log.info("site %s: listens at %s", policy.identity, keys.socket)
                wait()
        ledger.close()
    _log.info("site %s: stopped", policy.identity)
    return daemon.is_idle


def _ledger_folder(file: SiteFile) -> Path:
    """Of the ledger and private caches; nobody else may look into it."""
    folder = file.ledger.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        line = f"site.folder = {file.keys.folder}: {error.strerror}; make it, owned by the site's user"
        raise ConfigError(line) from error
    return folder


def _card_maker(file: SiteFile, workspace: Workspace, one_user_trial: bool) -> Callable[[Delivery], str]:
    """What makes the card of a delivered adapter, from the ledger as it is at that time."""
    return lambda delivery: make_delivered_card(
        file.config,
        life(file.ledger),
        delivery.run_id,
        delivery.result,
        backbone=workspace.backbone.name,
        trainable_parameters=workspace.adapter.layout.size,
        one_user_trial=one_user_trial,
    )


def guard_problems(file: SiteFile, *, one_user_trial: bool = False) -> list[str]:
    """What must be mended before the site may serve: users, modes, the socket's folder; one line each."""
    own = own_user()
    courier = own if one_user_trial else find_user(file.keys.courier)
    exposed = []
    if not one_user_trial:
        exposed = courier_problems(file.keys.courier, file.private_paths(), own, file.fixed_paths())
    return exposed + ([] if courier is None else socket_problems(file.keys.socket, courier, own))


def _progress_lines() -> Callable[[str, StepProgress], None]:
    """A line now and then in the site's own log; nothing of it leaves."""
    last = 0.0

    def report(site: str, progress: StepProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            _log.info("site %s: step %d of %d", site, progress.step, progress.num_steps)

    return report
