# SPDX-License-Identifier: Apache-2.0
"""Requests that are asked again while too few sites have answered and there is time.

A site that died is started again by whoever runs it, and what is repeated costs nothing more than the crash
did: so those that gave no answer or were not reached are asked the same again, as long as the run cannot do
without them and could do with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass

from fedpeft.aggregation.tally import Tally
from fedpeft.types import RefusalCode, Schedule, Transport


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an exchange waits, and for how many.

    Attributes:
        enough: sites; with so many answers nobody is asked a second time.
        deadline_s: of the whole exchange.
        again_s: between two askings; 0: nobody is asked a second time.
        since: when the exchange began.
        clock: seconds.
        sleep: waits.
    """

    enough: int
    deadline_s: float
    again_s: float
    since: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def next_try_s(self, num_answers: int, absent: Sized) -> float:
        """Wait; seconds left for those who are absent, or 0 where they are not to be asked again."""
        if not self.again_s or not 0 < self.enough - num_answers <= len(absent):
            return 0.0
        left_s = self.since + self.deadline_s - self.clock() - self.again_s
        if left_s <= 0:
            return 0.0
        self.sleep(self.again_s)
        return left_s


def ask_sites(transport: Transport, tally: Tally, patience: Patience) -> None:
    """Ask all sites of a tally for their updates and sort what they answer.

    Args:
        transport: reaches the sites.
        tally: of the round, empty.
        patience: of the round.
    """
    wanted, left_s = list(tally.asks), patience.deadline_s
    while left_s > 0:
        requests = {site: tally.asks[site].request for site in wanted}
        for site, answer in transport.train(requests, left_s):
            tally.take(site, answer)
        wanted = tally.unreached
        left_s = patience.next_try_s(len(tally.answered), wanted)
        if left_s > 0:
            tally.welcome_back(wanted)


def ask_to_commit(
    transport: Transport, schedules: Mapping[str, Schedule], patience: Patience
) -> dict[str, RefusalCode | None]:
    """Ask sites to commit their schedules; ``None`` is consent, and a silent site is left out.

    Args:
        transport: reaches the sites.
        schedules: by site.
        patience: of the exchange.
    """
    replies: dict[str, RefusalCode | None] = {}
    wanted, left_s = dict(schedules), patience.deadline_s
    while left_s > 0:
        replies |= transport.commit(wanted, left_s)
        absent = RefusalCode.UNAVAILABLE
        wanted = {site: one for site, one in schedules.items() if replies.get(site, absent) is absent}
        consents = sum(code is None for code in replies.values())
        left_s = patience.next_try_s(consents, wanted)
    return replies
