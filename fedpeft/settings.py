# SPDX-License-Identifier: Apache-2.0
"""The keys of a run's TOML, section by section, with their bounds and defaults.

This module imports no tensor library, so that checking a configuration, printing its JSON Schema and
completing a command line stay instant. ``fedpeft.config`` composes the sections and checks what spans
several of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedpeft.wire_types import WireType

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, Field(min_length=1)]
MOST_PARTS = 100_000  # sites of one simulation
FilePath = Annotated[Path, Field(strict=False)]  # TOML has no paths, so text must be taken for one


class Section(BaseModel):
    """A table of the TOML: unknown keys are errors, values are not converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class ModelSettings(Section):
    """The frozen backbone."""

    backbone: Text = "smollm2-135m-instruct"
    """A hub id, a local directory, a GGUF file, or `smollm2-135m-instruct` (the default, which comes
    from the package registry)."""
    revision: Text | None = None
    """Revision of a hub id."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the frozen weights; norms, sums and noise are float32 or better whatever this says."""
    quantization: Literal["none", "4bit"] = "none"
    """`4bit`: frozen linear weights in nf4, a quarter of bfloat16's memory; products are computed in `dtype`.
    Needs the extra `quantized`, and a backbone from a folder or a hub id."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ..."""


class AdapterSettings(Section):
    """The trainable low-rank subspace."""

    kind: Text = "ffa"
    """Of the update of a weight W. `ffa`: B A, A orthonormal, frozen, made from the public seed; only B is
    trained. `lora`: B A, both trained and clipped together; the vector holds B and the change of A.
    `lora-xs`: U R A, U and A the first singular vectors of W; only the square R is trained. `bias`: a vector
    added to the output, zero at first."""
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Of each update; trainable parameters, and with them the noise, grow with it. `bias` has none."""
    layers: Literal["all"] | Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = "all"
    """Blocks to train; negative numbers count from the top block."""
    modules: Literal["all-linear"] | Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] = (
        "all-linear"
    )
    """Linear modules to train in each chosen block, by the last part of their name."""
    start: Literal["random", "weight", "file"] = "random"
    """Of `ffa` and `lora`, the A of each module at first: `random` rows, orthonormal; `weight`: the first
    right singular vectors of the frozen weight; `file`: those of `start_file`."""
    start_file: FilePath | None = None
    """Rows made from public records (`simulations/subspace.py`), the same at every party."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Public seed of A. It is not a secret and needs no entropy."""
    residual_rank: Annotated[int, Field(ge=0, le=16384)] = 0
    """Directions of each module that the aggregation `fedex` carries beside the adapter, untrained; left out
    with it: rounds x (sites - 1) x rank, at most 1024. A deployment names it, the same at every party."""


class Named(Section):
    """What has a name of its own."""

    name: Name
    """Of letters, digits, dots, dashes; it names the site's files."""


class Table(Section):
    """Where records lie: files, or a data set that the library `datasets` loads."""

    path: FilePath | None = None
    """A file of records (sources `jsonl`, `csv`, `parquet`)."""
    paths: Annotated[tuple[FilePath, ...], Field(strict=False)] = ()
    """Several files, read as one; instead of `path`, or beside it."""
    dataset: Text | None = None
    """Source `hub`: a hub id, or a folder that `save_to_disk` wrote."""
    subset: Text | None = None
    """Configuration of a hub id that has several."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    """Split of `dataset`, one of its own by its name; default: `train`, or what a folder of one split has."""
    revision: Text | None = None
    """Revision of a hub id."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of its files."""
        return (*((self.path,) if self.path else ()), *self.paths)


class PartitionSettings(Table):
    """One table of public data split over simulated sites. A unit's site is a function of that unit alone."""

    kind: Literal["none", "column", "iid", "dirichlet"] = "none"
    """`none`: each site has its own source. `column`: a site is a value of a public column. `iid`: a keyed
    hash of the unit chooses. `dirichlet`: so it does, by shares that each task draws for itself."""
    parts: Annotated[int, Field(ge=1, le=MOST_PARTS)] | None = None
    """Number of sites; without tables [[sites]] they are `part0`, `part1`, ..."""
    declared_units: Count | None = None
    """The public number of units of all sites together; each declares an equal share of it, or its own."""
    column: Text | None = None
    """Of kind `column`."""
    alpha: Annotated[float, Field(ge=0.05, le=1e6)] = 0.5
    """Of kind `dirichlet`: the smaller, the fewer sites have much of a task."""
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """For research, of any kind: this share of the training records gets a wrong response."""
    feedback_bias: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Likewise: this share gets the response that its site is biased to, whatever was asked."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Public; another seed gives another split."""


class DataSettings(Section):
    """Where the records are and how a record becomes text."""

    source: Literal["docstrings", "jsonl", "csv", "parquet", "hub", "python", "sites"] = "docstrings"
    """`docstrings`: of installed packages, a public demonstration. `jsonl`, `csv`, `parquet`: files of each
    site. `hub`: what the library `datasets` loads. `python`: objects given to `simulate(datasets=...)`.
    `sites`: a deployment; each organization's SITE.toml names its own."""
    root: FilePath | None = None
    """Folder that relative data paths start from; default: the environment variable FEDPEFT_DATA_ROOT,
    else the folder of the TOML."""
    instruction: Text = "instruction"
    """Column of the instruction."""
    response: Text = "response"
    """Column of the response."""
    messages: Text | None = None
    """Column of a chat, a list of {role, content}, instead of `instruction` and `response`: its last turn,
    the assistant's, is the response, and what stands before it is the prompt."""
    task: Text | None = None
    """Column of the task, which names the group that ranking distractors come from."""
    id: Text | None = None
    """Column of the record's id; default: a hash of its content."""
    remove_prefix: str = ""
    """Text that begins every instruction and is left out."""
    prompt: Text | None = None
    """The instruction made of columns, as in `"Review: {text}\\nSentiment:"`; default: its column alone."""
    chat_template: bool = True
    """Put prompt and response into the backbone's chat template. Otherwise the response follows the prompt
    after a space, or at once where `prompt` ends in white space."""
    end_of_turn: bool = True
    """End a response with the end-of-turn token, which is then trained and scored like the others."""
    max_length: Annotated[int, Field(ge=8)] = 256
    """Tokens of a record, the chat template included; longer responses are cut."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the units kept for evaluation, by a keyed hash of the unit."""
    system_prompt: bool = False
    """Keep the default system prompt that a backbone's chat template inserts."""
    partition: PartitionSettings = PartitionSettings()


class SiteSettings(Table, Named):
    """One organization."""

    package: Text | None = None
    """Its installed package (source `docstrings`)."""
    value: Text | None = None
    """Its value of `data.partition.column`; default: its name."""
    declared_units: Count | None = None
    """The public number of units; default: 1000 with source `docstrings`, its share of a partition's, else
    it must be given. Nothing that leaves the site depends on the true number."""
    epsilon: Positive | None = None
    """Its own bound, below the run's."""
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Directions of each module that it trains and releases, the first of `adapter.rank`: fewer mean less
    noise in all where data are few. Default: all."""


class PrivacySettings(Section):
    """The guarantee and what it is made of."""

    unit: Text = "record"
    """`record`, or the column whose values are protected whole (a patient, a document)."""
    max_records_per_unit: Count = 16
    """Records of one unit that train; a hash of the record chooses them."""
    missing_unit: Literal["refuse", "record"] = "refuse"
    """What becomes of a record without a unit: refused, or a unit of its own (the claim says so)."""
    epsilon: Positive = 8.0
    """Most that any site may spend in the whole run; the noise is calibrated to it."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Default: 1 / declared_units^1.1 of the largest site."""
    clipping: Literal["automatic", "flat", "quantile"] = "automatic"
    """`automatic`: z / (|z| + 0.01). `flat`: z * min(1, 1 / |z|). `quantile`: as `flat`, and C follows a
    quantile of the norms, by one more noised number in each release, for half a percent more noise."""
    clip_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of `quantile`: the share of units that C shall leave unclipped."""
    clip_norm: Annotated[float, Field(ge=1e-9, le=1e9)] = 1.0
    """Scale C of the whole vector before clipping."""
    allocation: Text = "uniform"
    """How noise is shared among segments, from what earlier rounds released; it never changes epsilon.
    `uniform`: the same everywhere. `instability`: more for segments whose gradients vary, less for important
    ones. `kl`: as `instability`, weighing also how far noise moves the gradient's distribution. `anadp`: less
    for important segments."""
    allocation_start: FilePath | None = None
    """A file of public statistics of the segments (`PublicStatistics.save`), made from public or synthetic
    data, that the rule starts from; default: the first rounds are uniform."""
    lambda2: NonNegative = 1.0
    """Of `kl`: weight of that divergence against noise energy; 0 makes it `instability`."""
    drop_after: Annotated[int, Field(ge=0)] = 0
    """Rounds in a row that noise must drown a segment (20 times its signal) before it is frozen for the rest
    of the run, never more than half of all segments; 0 freezes none."""
    arithmetic: Text = "grid"
    """`grid`: integers with discrete Gaussian noise, which leaves nothing to attacks on floating point, for
    about 1 % of a step's time. `float`: float64 sums with continuous noise."""
    task_weights: dict[Text, Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]] = {}
    """How much a unit of each task may add, in squared norm: with 0.25 it is clipped to half the norm, and
    its own epsilon is that of twice the noise. The largest is 1, every task needs one, and each unit must
    have exactly one task. Default: all units alike."""
    schedule: Text = "constant"
    """How noise goes from round to round, fixed before the first step and calibrated as a whole. `constant`.
    `step-decay`: falls in steps. `lr-matched`: as the learning rate to the power -1/2."""
    schedule_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Of `step-decay`: the noise is multiplied by it in each of its steps."""
    schedule_every: Count = 1
    """Of `step-decay`: rounds from one step to the next."""
    crash_reserve: Annotated[int, Field(ge=0)] = 0
    """Rounds of budget kept for charges that a crash makes uncertain."""


class TrainingSettings(Section):
    """The private step at a site."""

    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Probability with which each unit enters a step, the same at every site."""
    local_steps: Count = 1
    """Private steps of a site in a round."""
    learning_rate: Positive = 1.0
    """Of the site's plain SGD on noised, clipped gradients."""
    loss_q: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of a response token with probability p: 0 is cross-entropy, and q above 0 the generalized
    (1 - p^q) / q, which listens less to tokens that the model does not believe, wrong labels above all."""
    loss_tokens: Literal["all", "labels"] = "all"
    """Tokens that the loss tells a response's from: `all`, or those of `evaluation.labels`, where these are
    the only responses. What is learned is then which label, and not also that it is one."""
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The learning rate is multiplied by it after every `learning_rate_every` rounds."""
    learning_rate_every: Count = 1
    """Rounds from one decay of the learning rate to the next."""
    max_tokens: Literal["auto"] | Count = "auto"
    """Padded tokens in a micro-batch: speed and memory, no more. `auto`: 1024 on a CPU, 4096 on a GPU."""
    prefix_cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where to keep what enters the lowest trained block, so that a record's second visit skips the frozen
    blocks below: `memory`; `disk`, a file without a name in the site's own folder, gone with the process;
    `auto`, memory where records are likely to come again."""
    prefix_cache_mb: Count = 4096
    """Most of it to keep, over all sites of this process; what does not fit is computed each time."""
    activation_checkpointing: bool = False
    """Compute each trained block again in the backward pass: less memory, a third more arithmetic."""
    autocast: Literal["off", "bfloat16"] = "off"
    """Type of the matrix products; norms, sums and noise stay float32 or better. Coarser rounding is not
    covered by the guarantee, which then says so."""


class FederationSettings(Section):
    """Rounds and what the coordinator does with releases."""

    rounds: Count = 8
    """Exchanges of the adapter; each is paid for before the first, so more of them have more noise each."""
    aggregation: Text = "mean"
    """`mean`: of the sites' updates, weighted by their expected batches; exact for every kind but `lora`.
    `product-svd`: for `lora`, the mean of the products, projected to the rank. `fedex`: for `lora`, the mean
    of the factors, and what that lacks of the mean of the products carried beside the adapter.
    `trimmed-mean`: of each coordinate, without a fifth of the sites at either end, against sites that
    misbehave."""
    server_optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """What the aggregate goes through; it works on releases and costs no privacy."""
    server_learning_rate: Positive = 1.0
    """Of that optimizer."""
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of `momentum`, and beta1 of `adam`, which takes the known noise out of its second moment."""
    lambda1: NonNegative = 0.0
    """Decay of the adapter vector at the server, a round (the papers' lambda1 ||P(u)||^2)."""
    average_iterates: bool = True
    """Evaluate and export the average of the adapters of all rounds, late ones above all, in which noise
    partly cancels, instead of the last. Sites go on from the last either way; it costs no privacy."""
    layer_smoothing: NonNegative = 0.0
    """Smooths the aggregate across neighbouring blocks with this strength (1 to 3 is usual); 0 does not."""
    min_sites: Count | None = None
    """Fewer sites than this end the run with the model as it is; default: all."""
    deadline_s: Positive = 3600.0
    """Of a round."""
    wire_type: WireType = "float32"
    """In which adapters and, after their noise, releases travel: `float16` and `bfloat16` halve the bytes and
    cost no privacy. `bfloat16` is safe for any learning rate; `float16` rounds less, but loses below 6e-8."""
