# SPDX-License-Identifier: Apache-2.0
"""What one process of a simulation holds once: backbone, adapter, data; and the sites made from them."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import RunConfig
from fedpeft.data.pairs import pair_prompter
from fedpeft.data.prompts import Prompter
from fedpeft.data.records import Record
from fedpeft.data.site_data import SiteData, encode_site
from fedpeft.data.unit_tasks import weights_of_units
from fedpeft.errors import together
from fedpeft.evaluation import check_labels, choose_records
from fedpeft.evaluation.private import answers_by_task, judge_units
from fedpeft.guarantee import site_epsilons
from fedpeft.privacy.allocation.public import PublicStatistics
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.run_sources import Sources, read_sources
from fedpeft.shared import Shared, content_digest
from fedpeft.site.evaluation import HeldOut
from fedpeft.site.inbox import Inbox
from fedpeft.site.site import Site
from fedpeft.speed import make_execution, states_for_scores
from fedpeft.synthesis.base import find as find_generator
from fedpeft.training.batches import token_budget
from fedpeft.training.execution import PLAIN
from fedpeft.training.local import StepProgress, Units
from fedpeft.training.probe import probe
from fedpeft.training.threads import use_threads
from fedpeft.votes import stages_of

_log = logging.getLogger(__name__)

LEDGER_FOLDER = "ledger"
_MUCH = 0.5
_KEPT_RELEASES = 2  # resuming asks for the newest; old ones would fill the disk of a large simulation

SiteProgress = Callable[[str, StepProgress], None]


class Workspace:
    """One backbone with one adapter, and everybody's data, for as many sites as there are.

    Use it as a context manager: leaving it takes the adapter off the backbone and closes the ledgers.

    Attributes:
        config: of the run.
        out: the run's folder; ledgers of the sites are in ``out/ledger``.
        model: the frozen backbone, with ``adapter`` attached.
        execution: speed and memory of the sites' gradients.
        prefix: states of the frozen blocks for scores, which are computed without autocast and without noise.
        lock: held by whoever has a vector loaded in the adapter.
        data: by site.
        weights: of the tasks and of each site's units.
        public_start: what the noise allocation starts from.
        provenance: public facts about the data, for the result.
        records: evaluated before and after.
        shared: what this run has in common with others of the process.
    """

    def __init__(
        self,
        config: RunConfig,
        out: Path,
        progress: SiteProgress | None = None,
        sources: Sources | None = None,
        shared: Shared | None = None,
    ) -> None:
        """Load, attach, and check that the adapter trains privately. Writes nothing.

        Args:
            config: of the run.
            out: the run's folder; need not exist yet.
            progress: hears of the sites' steps.
            sources: what was read already; default: read now.
            shared: with other runs of this process; default: nothing.

        Raises:
            UserError: data or backbone cannot be used.
        """
        use_threads(config.run.threads)
        self.config = config
        self.out = out
        self.shared = shared or Shared()
        sources = sources or read_sources(
            config, self.shared
        )  # bad data are told before the wait for the backbone
        self.backbone = load_backbone(config.model)
        self.model = self.backbone.model
        self.prompter = Prompter.of(self.backbone.tokenizer, config.data)
        self.data = {name: self._encode(name, records) for name, records in sources.sites.records.items()}
        self.weights = self._weigh()
        self.provenance = sources.sites.provenance
        self._tell_what_is_cut()
        self.records = self._choose_records(sources.evaluation)
        self._public_answers = answers_by_task(sources.evaluation if config.evaluation.public else None)
        self.num_parameters = self.model.num_parameters()
        self.lock = threading.Lock()
        self._progress = progress
        self._sites: dict[int, Site] = {}
        self._attach()

    def _attach(self) -> None:
        """Put the adapter of the configuration on, and check that it trains privately."""
        self.adapter = Adapter(self.model, self.config.adapter)
        self.execution = make_execution(
            self.config, self.backbone, self.adapter.layout, self._private_folder, self.shared
        )
        self.prefix = states_for_scores(self.execution, self.config.training)
        try:
            self.public_start = self._load_start()
            probe(self.model, self.adapter, self.config.data.max_length, self.execution)
        except BaseException:
            self.adapter.detach()
            raise

    @contextmanager
    def without_adapter(self) -> Iterator[Callable[[RunConfig], None]]:
        """Within the context the backbone has no adapter; afterwards it has that of the configuration.

        What is yielded takes another configuration, that of the same run with other blocks to train.
        """
        self.adapter.detach()
        self.execution, self.prefix = PLAIN, None

        def change(config: RunConfig) -> None:
            self.config = config

        try:
            yield change
        finally:
            self._attach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the backbone its own modules back and close the ledgers."""
        self.adapter.detach()
        # What was kept goes with them, unless other runs share it.
        self.execution, self.prefix = PLAIN, None
        for site in self._sites.values():
            site.ledger.close()
        self._sites.clear()

    def site(self, index: int) -> Site:
        """The site at ``index`` of the configuration, with its ledger in the run's folder."""
        if index not in self._sites:
            self._sites[index] = self._make_site(index)
        return self._sites[index]

    def _tell_what_is_cut(self) -> None:
        """In each site's own log; it is a statistic of private records."""
        for name, data in self.data.items():
            level = logging.WARNING if data.share_truncated > _MUCH else logging.INFO
            share, length = data.share_truncated, self.config.data.max_length
            _log.log(level, "site %s: %.0f %% of its records are cut to %d tokens", name, 100 * share, length)

    def _encode(self, name: str, records: list[Record]) -> SiteData:
        config = self.config
        facts = (name, config.data, config.privacy.max_records_per_unit, self.backbone.digest)
        return self.shared.once(
            f"data of {name}",
            (facts, content_digest(records)),
            lambda: encode_site(name, records, config.data, config.privacy, self.prompter),
        )

    def _load_start(self) -> PublicStatistics | None:
        path = self.config.privacy.allocation_start
        return None if path is None else PublicStatistics.load(path, self.adapter.layout)

    def _weigh(self) -> dict[str, UnitWeights]:
        """The weights of all sites' units, so that what is wrong with them is told of all together."""
        by_task = self.config.task_weights
        found = together(*(partial(weights_of_units, data, dict(by_task)) for data in self.data.values()))
        return {name: UnitWeights(by_task, of) for name, of in zip(self.data, found, strict=True)}

    def _choose_records(self, evaluation: list[Record] | None) -> list[Record]:
        held_out = [record for site in self.data.values() for record in site.held_out]
        limit, labels = self.config.evaluation.records, self.config.evaluation.labels
        records = choose_records(held_out if evaluation is None else evaluation, limit) if limit else []
        if labels:
            check_labels(records, labels)
        return records

    def _make_site(self, index: int) -> Site:
        name = self.config.sites[index].name
        policy, path = self._policy(name), self._private_folder() / f"{name}.sqlite"
        return self.make_site(name, policy, Ledger.open(path, policy, kept_releases=_KEPT_RELEASES))

    def make_site(self, name: str, policy: Policy, ledger: Ledger, inbox: Inbox | None = None) -> Site:
        """A site over the data of ``name``, under an organization's own terms and with its own ledger.

        Args:
            name: of a site of the configuration.
            policy: what the organization allows.
            ledger: opened under ``policy``; whoever opened it closes it.
            inbox: where the site keeps what runs deliver, if it takes any.
        """
        return Site(
            self.data[name].units,
            policy,
            ledger,
            self,
            max_tokens=token_budget(self.config.training.max_tokens, self.backbone.device),
            new_randomness=self._randomness(name),
            arithmetic=self.config.privacy.arithmetic,
            weights=self.weights[name],
            held_out=self._held_out(name),
            texts=self.data[name].texts() if "synthesis" in policy.stages else None,
            vote_share=self.config.selection.vote_share,
            pairs=self._pairs(name, policy),
            progress=self._site_progress(name),
            inbox=inbox,
        )

    def _pairs(self, name: str, policy: Policy) -> Units | None:
        """A site's records as a generator learns them, where its policy lets it train one.

        Which generator a coordinator uses, an organization's own configuration does not know.
        """
        settings = self.config.synthesis
        other = settings.generator is not None and not find_generator(settings.generator).trains
        if other or "synthesis" not in policy.stages:
            return None
        prompter = pair_prompter(self.backbone.tokenizer, self.config.data)
        return self.data[name].pairs(prompter, settings.tasks)

    def _held_out(self, name: str) -> HeldOut | None:
        """For private evaluations: a site's held-out units, against answers that are public."""
        config, model, device = self.config, self.model, self.backbone.device
        if not config.evaluation.private:
            return None
        units: dict[str, list[Record]] = {}
        for record in self.data[name].held_out:
            units.setdefault(record.unit, []).append(record)
        declared = config.declared_units[name] * config.data.held_out
        labels = config.evaluation.labels
        judge = partial(judge_units, model, self.prompter, units, self._public_answers, labels, device=device)
        return HeldOut(judge, declared)

    def _private_folder(self) -> Path:
        """Of the sites; nobody else may look into it."""
        folder = self.out / LEDGER_FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _policy(self, name: str) -> Policy:
        """A simulated organization allows exactly what the run's configuration asks for."""
        return Policy(
            identity=name,
            unit=self.config.privacy.unit,
            declared_units=self.config.declared_units[name],
            epsilon=site_epsilons(self.config)[name],
            delta=self.config.delta,
            expires=datetime.date.max,
            stages=stages_of(self.config),
            crash_reserve=self.config.privacy.crash_reserve,
        )

    def _randomness(self, name: str) -> Callable[[str], Randomness]:
        seed = self.config.run.seed
        if seed is None:
            return lambda _request_id: Randomness.fresh()
        # The run's id stands before the first colon and is new every time; a seeded run must not see it.
        return lambda request_id: Randomness.seeded(seed, name, request_id.partition(":")[2])

    def _site_progress(self, name: str) -> Callable[[StepProgress], None] | None:
        report = self._progress
        return None if report is None else lambda step: report(name, step)
