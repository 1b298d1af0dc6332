# SPDX-License-Identifier: Apache-2.0
"""A whole run, as its TOML says it: the sections, and what must hold between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, PrivateAttr, model_validator

from fedpeft.config.checks import cross_problems
from fedpeft.errors import ConfigError
from fedpeft.settings import (
    AdapterSettings,
    DataSettings,
    FederationSettings,
    ModelSettings,
    PrivacySettings,
    Section,
    SiteSettings,
    Text,
    TrainingSettings,
)
from fedpeft.stage_settings import EvaluationSettings, RunSettings, SelectionSettings, SynthesisSettings
from fedpeft.types import TaskWeights

_ASK_AGAIN_S: Final = 10.0


class RunConfig(Section):
    """A run that can be carried out as far as its configuration alone can tell.

    Two are equal when their keys are, wherever they were read from.

    Raises:
        ConfigError: sections that do not go together.
        pydantic.ValidationError: a key that does not fit by itself; ``load_config`` and ``parse_config``
            turn these into a ``ConfigError`` too.
    """

    method: Text = "plain"
    """Preset that fills in keys of the sections below that are left out. `plain`: none. `fedpeft`: noise
    shared among segments, lambda1 and lambda2. `dp-selft`: blocks are chosen on public or synthetic rows.
    `fedpeft-selft`: both. `dp-lora`, `dp-bitfit`, `anadp`: baselines. In simulations only, without a
    guarantee: `non-private`, `pooled`, `pooled-dp`, `local-only` and `dp-forward`."""
    model: ModelSettings = ModelSettings()
    adapter: AdapterSettings = AdapterSettings()
    data: DataSettings = DataSettings()
    sites: Annotated[tuple[SiteSettings, ...], Field(strict=False)] = ()
    """One table [[sites]] for each organization; default: the seven packages of source `docstrings`."""
    privacy: PrivacySettings = PrivacySettings()
    training: TrainingSettings = TrainingSettings()
    federation: FederationSettings = FederationSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    selection: SelectionSettings = SelectionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    run: RunSettings = RunSettings()

    _source_path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_together(self) -> RunConfig:
        problems = cross_problems(self)
        if problems:
            raise ConfigError([problem.line for problem in problems])
        return self

    def __eq__(self, other: object) -> bool:
        """Whether every key has the same value."""
        return isinstance(other, RunConfig) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        """Of the keys alone, like equality."""
        return hash(self.model_dump_json())

    def __repr__(self) -> str:
        """What it promises, over how many sites and rounds; ``to_toml`` has every key."""
        return (
            f"<RunConfig epsilon {self.privacy.epsilon:g}, delta {self.delta:.3g}, unit {self.privacy.unit}: "
            f"{len(self.sites)} sites, {self.federation.rounds} rounds, backbone {self.model.backbone}>"
        )

    __str__ = __repr__

    @property
    def source_path(self) -> Path | None:
        """The absolute path of the TOML it was read from; ``None`` for one that was made otherwise."""
        return self._source_path

    @property
    def declared_units(self) -> dict[str, int]:
        """The public number of units of each site, by the site's name."""
        return {site.name: site.declared_units for site in self.sites if site.declared_units is not None}

    @property
    def task_weights(self) -> TaskWeights:
        """The weight of each task, sorted by name; empty where units are all alike."""
        return tuple(sorted(self.privacy.task_weights.items()))

    @property
    def ask_again_s(self) -> float:
        """Seconds between two askings of a site that was not reached; 0: asked once.

        In a deployment processes are started again when they die; in a simulation nobody comes back.
        """
        return _ASK_AGAIN_S if self.data.source == "sites" else 0.0

    @property
    def delta(self) -> float:
        """The guarantee's delta: as configured, else 1 / declared_units^1.1 of the largest site."""
        if self.privacy.delta is not None:
            return self.privacy.delta
        return default_delta(max(self.declared_units.values()))


def default_delta(declared_units: int) -> float:
    """1 / declared_units^1.1: the delta where none is given, and the largest that raises no warning."""
    return float(declared_units**-1.1)
