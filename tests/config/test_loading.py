# SPDX-License-Identifier: Apache-2.0
"""The run configuration: all that is wrong is said at once, what is right survives a round trip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpeft.config import (
    RunConfig,
    json_schema,
    load_config,
    missing_files,
    option_names,
    parse_config,
    to_toml,
    warnings_of,
)
from fedpeft.errors import ConfigError
from fedpeft.settings import SiteSettings

TWO_SITES = """
[data]
source = "jsonl"
[evaluation]
public = true
[[sites]]
name = "north"
path = "north.jsonl"
declared_units = 100
[[sites]]
name = "south.east"
path = "south.jsonl"
declared_units = 300
"""


@pytest.fixture(autouse=True)
def no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPEFT_DATA_ROOT", raising=False)


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "run.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems(path: Path, *overrides: str, **options: bool) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, **options)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


# --- one thing wrong: (TOML, key the line starts with, what else the line says) -------------------------

JSONL = '[data]\nsource = "jsonl"\n[[sites]]\nname = "a"\n'
CSV = JSONL.replace("jsonl", "csv")
CHATS = '[[sites]]\nname = "a"\npath = "a"\ndeclared_units = 9\n[data]\nsource = "jsonl"\nmessages = "m"\n'
PARTS = """
[data]
source = "jsonl"
[data.partition]
kind = "iid"
declared_units = 100
path = "table"
parts = 3
"""
BROKEN = {
    "unknown method": ('method = "fedavg"', "method", '"fedavg": must be "anadp" or'),
    "unknown section": ("[privcy]", "privcy", 'did you mean "privacy"?'),
    "unknown key": ("[privacy]\nepsilom = 3", "privacy.epsilom", 'did you mean "epsilon"?'),
    "unknown key, nothing like it": ("[run]\nzzz = 3", "run.zzz", "choose one of seed, threads"),
    "key in the wrong section": ("rounds = 3", "rounds", "it belongs in [federation]"),
    "unknown key of a site": ("[[sites]]\nname = 'a'\npackage = 'x'\nunit = 3", "sites.a.unit", "[privacy]"),
    "section that is no table": ("privacy = 3", "privacy", "write it as a table [privacy]"),
    "sites as one table": ("[sites]", "sites", "[[sites]]"),
    "no sites": ("sites = []", "sites", "at least 1"),
    "site that is no table": ("sites = [3]", "sites[0]", "must be a table"),
    "site without a name": (JSONL.replace('name = "a"', "epsilon = 1"), "sites[0].name", "missing"),
    "site name with a slash": ("[[sites]]\nname = 'a/b'\npackage = 'x'", 'sites."a/b".name', "matches"),
    "site name with a line break": (JSONL.replace('"a"', '"a\\nb"'), 'sites."a\\nb".name', "matches"),
    "epsilon zero": ("[privacy]\nepsilon = 0", "privacy.epsilon", "above 0; change it, or leave it out"),
    "epsilon infinite": ("[privacy]\nepsilon = inf", "privacy.epsilon", "finite"),
    "epsilon not a number": ("[privacy]\nepsilon = nan", "privacy.epsilon", "finite"),
    "epsilon in quotes": ('[privacy]\nepsilon = "8"', "privacy.epsilon", '"8": must be a finite number'),
    "epsilon of a date": ("[privacy]\nepsilon = 2026-01-01", "privacy.epsilon", "2026-01-01"),
    "delta one": ("[privacy]\ndelta = 1.0", "privacy.delta", "below 1"),
    "a residual of a linear kind": ("[adapter]\nresidual_rank = 4", "adapter.residual_rank", "leave it out"),
    "no room for a residual": (
        "[adapter]\nkind = 'lora'\nresidual_rank = 0\n[federation]\naggregation = 'fedex'",
        "adapter.residual_rank", "must be at least 1",
    ),
    "an average of what must stay together": (
        "[adapter]\nkind = 'lora'\n[federation]\naggregation = 'fedex'\naverage_iterates = true",
        "federation.average_iterates", "must be false",
    ),
    "another optimizer beside a residual": (
        "[adapter]\nkind = 'lora'\n[federation]\naggregation = 'fedex'\nserver_optimizer = 'adam'",
        "federation.server_optimizer", 'must be "sgd"',
    ),
    "another step beside a residual": (
        "[adapter]\nkind = 'lora'\n[federation]\naggregation = 'fedex'\nserver_learning_rate = 0.5",
        "federation.server_learning_rate", "must be 1.0",
    ),
    "smoothing beside a residual": (
        "[adapter]\nkind = 'lora'\n[federation]\naggregation = 'fedex'\nlayer_smoothing = 1.0",
        "federation.layer_smoothing", "must be 0.0",
    ),
    "a site of more rank than there is": (
        "[[sites]]\nname = 'a'\npackage = 'scipy'\nrank = 9", "sites.a.rank", "at most adapter.rank = 8"
    ),
    "a site's rank of biases": (
        "[adapter]\nkind = 'bias'\n[[sites]]\nname = 'a'\npackage = 'scipy'\nrank = 2",
        "sites.a.rank", "no directions",
    ),
    "trimming sites of different ranks": (
        "[federation]\naggregation = 'trimmed-mean'\n[[sites]]\nname = 'a'\npackage = 'scipy'\nrank = 2",
        "sites.a.rank", "take another rule",
    ),
    "unknown clipping": ("[privacy]\nclipping = 'none'", "privacy.clipping", '"automatic" or "flat"'),
    "private evaluation against nothing public": (
        "[evaluation]\nprivate = true", "evaluation.private", "list evaluation.labels or a public"
    ),
    "private evaluation of nothing held out": (
        "[data]\nheld_out = 0.0\n[evaluation]\nprivate = true\nlabels = ['a', 'b']\nrecords = 0",
        "data.held_out", "which asks about held-out units",
    ),
    "private before and not after": (
        "[evaluation]\nprivate_before = true", "evaluation.private_before", "set that too"
    ),
    "statistics for a rule that learns nothing": (
        "[privacy]\nallocation_start = 'start.json'", "privacy.allocation_start", "choose a rule that learns"
    ),
    "weight above one": (
        "[privacy.task_weights]\na = 1.5\nb = 1", "privacy.task_weights.a", "above 0 and at most 1"
    ),
    "weight zero": ("[privacy]\ntask_weights = {a = 0.0, b = 1}", "privacy.task_weights.a", "above 0"),
    "weight not a number": ("[privacy.task_weights]\na = nan", "privacy.task_weights.a", "finite number"),
    "weight in quotes": ('[privacy.task_weights]\na = "1"', "privacy.task_weights.a", '"1": must be a '),
    "no weight of one": (
        "[privacy.task_weights]\na = 0.5\nb = 0.25", "privacy.task_weights", "must be exactly 1, and is 0.5"
    ),
    "weights without tasks": (
        CSV + "path = 'a'\ndeclared_units = 9\n[privacy.task_weights]\na = 1",
        "privacy.task_weights", "data.task",
    ),
    "votes know no tasks": (
        '[privacy.task_weights]\na = 1\n[synthesis]\ngenerator = "pool"',
        "synthesis.generator", "do not count votes",
    ),
    "private evaluations know no tasks": (
        '[privacy.task_weights]\na = 1\n[evaluation]\nprivate = true\nlabels = ["a", "b"]',
        "evaluation.private", "do not count evaluations",
    ),
    "weights that are no table": ("[privacy]\ntask_weights = 1", "privacy.task_weights", "must be a table"),
    "negative reserve": ("[privacy]\ncrash_reserve = -1", "privacy.crash_reserve", "at least 0"),
    "empty unit": ("[privacy]\nunit = ''", "privacy.unit", "not empty"),
    "unit of docstrings": ("[privacy]\nunit = 'module'", "privacy.unit", 'must be "record"'),
    "unknown allocation": ("[privacy]\nallocation = 'unifrom'", "privacy.allocation", 'mean "uniform"?'),
    "unknown adapter": ("[adapter]\nkind = 'dora'", "adapter.kind", '"ffa"'),
    "helper file as an adapter": ("[adapter]\nkind = 'base'", "adapter.kind", '"ffa"'),
    "rank of a truth value": ("[adapter]\nrank = true", "adapter.rank", "number at least 1 and at most 1024"),
    "rank of a fraction": ("[adapter]\nrank = 1.5", "adapter.rank", "a whole number"),
    "no layers": ("[adapter]\nlayers = []", "adapter.layers", '"all" or a list of whole numbers'),
    "layers by name": ("[adapter]\nlayers = ['top']", "adapter.layers", '"all" or a list of whole numbers'),
    "module of a number": ("[adapter]\nmodules = [1]", "adapter.modules", '"all-linear" or a list of texts'),
    "unknown source": ("[data]\nsource = 'xml'", "data.source", '"docstrings" or "jsonl"'),
    "everything held out": ("[data]\nheld_out = 1.0", "data.held_out", "below 1"),
    "nothing held out to evaluate": ("[data]\nheld_out = 0.0", "data.held_out", "evaluation.records = 0"),
    "path of a number": (JSONL + "path = 3\ndeclared_units = 9", "sites.a.path", "a path in quotes"),
    "jsonl without a path": (JSONL + "declared_units = 9", "sites.a.path", "missing"),
    "jsonl without units": (JSONL + "path = 'a'", "sites.a.declared_units", "missing"),
    "jsonl with a package": (
        JSONL + "path = 'a'\npackage = 'x'\ndeclared_units = 9", "sites.a.package", '= "docstrings"'
    ),
    "docstrings with a path": (
        "[[sites]]\nname = 'a'\npackage = 'x'\npath = 'y'", "sites.a.path", 'set data.source = "jsonl"'
    ),
    "docstrings without a package": ("[[sites]]\nname = 'a'", "sites.a.package", "missing"),
    "no declared units": (JSONL + "path = 'a'\ndeclared_units = 0", "sites.a.declared_units", "at least 1"),
    "site epsilon above the run's": (
        "[[sites]]\nname = 'a'\npackage = 'x'\nepsilon = 9.0", "sites.a.epsilon", "at most privacy.epsilon"
    ),
    "rate zero": ("[training]\nsampling_rate = 0.0", "training.sampling_rate", "above 0 and at most 1"),
    "rate above one": ("[training]\nsampling_rate = 1.01", "training.sampling_rate", "at most 1"),
    "rate not a number": ("[training]\nsampling_rate = nan", "training.sampling_rate", "at most 1"),
    "no rounds": ("[federation]\nrounds = 0", "federation.rounds", "at least 1"),
    "unknown aggregation": ("[federation]\naggregation = 'median'", "federation.aggregation", '"mean"'),
    "unknown optimizer": ("[federation]\nserver_optimizer = 'adamw'", "federation.server_optimizer", 'adam'),
    "momentum not a number": ("[federation]\nserver_momentum = nan", "federation.server_momentum", "below 1"),
    "more least sites than sites": ("[federation]\nmin_sites = 8", "federation.min_sites", "of sites, 7"),
    "records below zero": ("[evaluation]\nrecords = -1", "evaluation.records", "at least 0"),
    "public as text": ("[evaluation]\npublic = 'yes'", "evaluation.public", "true or false"),
    "seed too large": (f"[run]\nseed = {2**63}", "run.seed", f"below {2**63}"),
    "unknown device": ("[model]\ndevice = 'gpu'", "model.device", "cuda"),
    "csv without a path": (CSV + "declared_units = 9", "sites.a.path", "missing"),
    "csv with a data set": (
        CSV + "path = 'a'\ndataset = 'x/y'\ndeclared_units = 9", "sites.a.dataset", 'set data.source = "hub"'
    ),
    "hub without a data set": (
        CSV.replace("csv", "hub") + "declared_units = 9", "sites.a.dataset", 'data.source = "hub" needs it'
    ),
    "slice of a split": (
        CSV.replace("csv", "hub") + "dataset = 'x'\nsplit = 'train[:9]'\ndeclared_units = 9",
        "sites.a.split", "matches",
    ),
    "python with a path": (
        CSV.replace("csv", "python") + "path = 'a'\ndeclared_units = 9", "sites.a.path", '"python"; remove it'
    ),
    "records of a deployment": (
        CSV.replace("csv", "sites") + "path = 'a'\ndeclared_units = 9", "sites.a.path", '"sites"; remove it'
    ),
    "evaluation of a deployment": (
        "[evaluation]\nrecords = 5\n" + CSV.replace("csv", "sites") + "declared_units = 9",
        "evaluation.records", "stays with them",
    ),
    "private evaluation of a deployment": (
        "[evaluation]\nrecords = 5\npath = 'a'\n" + CSV.replace("csv", "sites") + "declared_units = 9",
        "evaluation.records", "declare the records of evaluation.path public",
    ),
    "loss of a deployment": (
        "[training]\nloss_q = 0.5\n[evaluation]\nrecords = 0\n" + CSV.replace("csv", "sites")
        + "declared_units = 9",
        "training.loss_q", "must be 0 with data.source",
    ),
    "loss of labels in a deployment": (
        "[training]\nloss_tokens = 'labels'\n[evaluation]\nrecords = 0\nlabels = ['a', 'b']\n"
        + CSV.replace("csv", "sites") + "declared_units = 9",
        "training.loss_tokens", 'must be "all" with data.source',
    ),
    "loss of no labels": (
        "[training]\nloss_tokens = 'labels'", "training.loss_tokens", "set evaluation.labels",
    ),
    "a file twice": (CSV + "path = 'a'\npaths = ['a']\ndeclared_units = 9", "sites.a.paths", "named twice"),
    "label of a number": ("[evaluation]\nlabels = ['a', 3]", "evaluation.labels[1]", "text in quotes"),
    "paths of numbers": (CSV + "paths = [3]\ndeclared_units = 9", "sites.a.paths[0]", "a path in quotes"),
    "prompt without a column": ("[data]\nprompt = 'Hello'", "data.prompt", "must name a column"),
    "prompt with a lone brace": ("[data]\nprompt = 'Hello {'", "data.prompt", "a brace itself twice"),
    "prefix without its column": (
        "[data]\nprompt = '{text}'\nremove_prefix = 'Is '", "data.remove_prefix", "lacks {instruction}"
    ),
    "chats and a prompt": (
        CHATS + "prompt = '{text}'", "data.prompt", "has no use with data.messages"
    ),
    "chats without the template": (CHATS + "chat_template = false", "data.chat_template", "need the chat"),
    "chats in csv": (CHATS.replace("jsonl", "csv"), "data.messages", "has no lists"),
    "one label": ("[evaluation]\nlabels = ['a']", "evaluation.labels", "at least 2 different"),
    "a label twice": ("[evaluation]\nlabels = ['a', 'b', 'a']", "evaluation.labels", "at least 2 different"),
    "value without a column": (
        CSV + "path = 'a'\nvalue = 'x'\ndeclared_units = 9", "sites.a.value", "has no use"
    ),
    "unknown partition": (PARTS.replace("iid", "random"), "data.partition.kind", '"dirichlet"'),
    "partition keys without a kind": (
        "[data.partition]\nparts = 3", "data.partition.parts", 'has no use with data.partition.kind = "none"'
    ),
    "partition of docstrings": (
        PARTS.replace("jsonl", "docstrings").replace("path", "#"), "data.partition.kind", "split by package"
    ),
    "partition without a table": (PARTS.replace("path", "#"), "data.partition.path", "missing"),
    "partition without sites": (PARTS.replace("parts", "#"), "sites", "at least 1"),
    "no parts": (PARTS.replace("= 3", "= 0"), "data.partition.parts", "at least 1"),
    "parts and other sites": (
        PARTS + "[[sites]]\nname = 'a'", "data.partition.parts", "must be the number of tables [[sites]], 1"
    ),
    "a part with a file": (
        PARTS.replace("parts", "#") + "[[sites]]\nname = 'a'\npath = 'b'", "sites.a.path", "has all records"
    ),
    "dirichlet without tasks": (PARTS.replace("iid", "dirichlet"), "data.partition.kind", "data.task"),
    "column without its name": (PARTS.replace("iid", "column"), "data.partition.column", "missing"),
    "column of another kind": (PARTS + "column = 'x'", "data.partition.column", 'no use with kind "iid"'),
    "evaluation on the table": (
        PARTS + "[evaluation]\npath = 'table'", "evaluation.path", "what data.partition trains on"
    ),
    "empty backbone": ("[model]\nbackbone = ''", "model.backbone", "not empty"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "key", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_configuration_names_its_key(write, text: str, key: str, says: str) -> None:
    (line,) = problems(write(text))
    assert line.startswith((f"{key} = ", f"{key}: "))
    assert says in line
    assert ";" in line  # what is wrong; how to mend it


def test_names_that_differ_in_case_alone_are_one_file(write) -> None:
    (line,) = problems(write(TWO_SITES.replace("south.east", "North")))
    assert line.startswith('sites.North.name = "North": ')


@pytest.mark.parametrize("other", ["north.jsonl", "./north.jsonl", "x/../north.jsonl"])
def test_two_sites_cannot_have_the_same_file(write, other: str) -> None:
    (line,) = problems(write(TWO_SITES.replace("south.jsonl", other)))
    assert line.startswith("sites.south.east.path = ")
    assert "site north already" in line


def test_two_sites_cannot_have_the_same_package(write) -> None:
    text = "[[sites]]\nname = 'a'\npackage = 'scipy'\n[[sites]]\nname = 'b'\npackage = 'scipy'"
    (line,) = problems(write(text))
    assert line.startswith("sites.b.package = ")


# --- several things wrong ------------------------------------------------------------------------------


def test_all_problems_come_together(write) -> None:
    text = 'rank = 4\n[privacy]\nepsilon = -1\n[federation]\nmin_sites = 3\n[data]\nsource = "jsonl"\n'
    sites = '[[sites]]\nname = "a"\npath = "a"\ndeclared_units = 0\n[[sites]]\nname = "b"\nepsilon = 2.0\n'
    lines = problems(write(text + sites), "sites.c.epsilon=1", "training.sampling_rate=2")
    starts = (
        '--set "sites.c.epsilon=1"', "rank = 4", "privacy.epsilon = -1", "federation.min_sites = 3",
        "sites.a.declared_units = 0", "sites.b.path: missing", "sites.b.declared_units: missing",
        "training.sampling_rate = 2",
    )  # fmt: skip
    for start in starts:
        assert sum(line.startswith(start) for line in lines) == 1, start
    assert len(lines) == len(starts)


def test_nothing_is_concluded_from_a_key_that_is_wrong(write) -> None:
    (line,) = problems(write("[privacy]\nepsilon = -1\n[[sites]]\nname = 'a'\npackage = 'x'\nepsilon = 99"))
    assert line.startswith("privacy.epsilon")
    lines = problems(write("sites = [3, {name = 'a', package = 'x'}]\n[federation]\nmin_sites = 2"))
    assert [line.partition(" ")[0] for line in lines] == ["sites[0]"]


def test_missing_files_join_the_other_problems_where_they_are_asked_for(write) -> None:
    lines = problems(write(TWO_SITES), "privacy.epsilon=0", files_must_exist=True)
    assert [line.partition(" ")[0] for line in lines] == [
        "privacy.epsilon", "sites.north.path", "sites.south.east.path",
    ]  # fmt: skip


# --- files that cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [("[privacy]\nepsilon = \n", "line 2, column 11"), ("a = [\n1,", "line 2, column 3"), ("= 1", "line 1")],
)
def test_a_syntax_error_says_where(write, text: str, place: str) -> None:
    (line,) = problems(write(text))
    assert line.startswith(str(write(text)))
    assert place in line


def test_the_same_key_twice_is_a_syntax_error(write) -> None:
    (line,) = problems(write("[privacy]\nepsilon = 8.0\nepsilon = 9.0"))
    assert "line 3" in line


@pytest.mark.parametrize(
    ("text", "told"), [("x = " + "[" * 4000, "nested too deeply"), ("x = " + "9" * 6000, "shorten it")]
)
def test_what_the_reader_gives_up_on_is_told_in_a_line(write, text: str, told: str) -> None:
    (line,) = problems(write(text))
    assert told in line
    assert len(line) < 400


def test_text_that_is_not_utf8_says_where(write) -> None:
    (line,) = problems(write(b"# good\n# caf\xe9\n"))
    assert "byte 13, in line 2, is not UTF-8" in line


def test_a_byte_order_mark_is_no_error(write) -> None:
    assert load_config(write(b"\xef\xbb\xbf[privacy]\r\nepsilon = 2.0\r\n")).privacy.epsilon == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (line,) = problems(tmp_path / "no.toml")
    assert line.startswith(f"{tmp_path / 'no.toml'}: no such file")
    (line,) = problems(tmp_path)
    assert "cannot be read" in line


# --- defaults ------------------------------------------------------------------------------------------


def test_an_empty_file_is_the_demonstration(write) -> None:
    config = load_config(write(""))
    names = ["stdlib", "torch", "transformers", "scipy", "pandas", "sympy", "networkx"]
    assert [site.name for site in config.sites] == [site.package for site in config.sites] == names
    assert config.declared_units == dict.fromkeys(names, 1000)
    assert warnings_of(config) == []
    assert config.source_path == write("")


def test_delta_follows_the_largest_site(write) -> None:
    assert load_config(write(TWO_SITES)).delta == pytest.approx(300**-1.1)
    assert load_config(write(TWO_SITES), ["privacy.delta=1e-7"]).delta == 1e-7


def test_a_configuration_that_exists_is_valid() -> None:
    with pytest.raises(ConfigError, match="at least 1 is needed"):
        RunConfig(sites=())
    site = SiteSettings(name="a", package="scipy", declared_units=5)
    assert RunConfig(sites=(site,)).source_path is None


def test_nothing_changes_afterwards(write) -> None:
    config = load_config(write("[adapter]\nlayers = [0, 1]"))
    with pytest.raises(ValueError, match="frozen"):
        config.privacy.epsilon = 1000.0
    assert config.adapter.layers == (0, 1)


# --- --set ---------------------------------------------------------------------------------------------


def test_set_changes_keys_and_reaches_sites_by_name(write) -> None:
    config = load_config(
        write(TWO_SITES),
        [
            "privacy.epsilon=4", "privacy.unit=subject", "adapter.layers=[-1, -2]", "evaluation.public=false",
            "sites.south.east.epsilon=2.5", "sites.north.declared_units=7", "sites.north.declared_units=8",
            "data.task='kind of question'",
        ],
    )  # fmt: skip
    assert config.privacy.epsilon == 4
    assert config.privacy.unit == "subject"
    assert config.adapter.layers == (-1, -2)
    assert config.evaluation.public is False
    assert [site.epsilon for site in config.sites] == [None, 2.5]
    assert config.sites[0].declared_units == 8
    assert config.data.task == "kind of question"


def test_set_reaches_the_sites_of_the_demonstration(write) -> None:
    assert load_config(write(""), ["sites.scipy.declared_units=5"]).declared_units["scipy"] == 5


def test_set_can_change_the_source_and_the_sites(write) -> None:
    sites = 'sites=[{name = "a", path = "a.jsonl", declared_units = 5}]'
    config = load_config(write(""), ["data.source=jsonl", sites, "sites.a.epsilon=1"])
    assert [site.epsilon for site in config.sites] == [1]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("privacy.epsilon", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("privacy..epsilon=3", "KEY=VALUE"),
        ("method.name=x", "method"),
        ("sites.nroth.epsilon=1", 'did you mean "north"?'),
        ("sites.epsilon=1", "sites.NAME.KEY=VALUE"),
        ("privacy.epsilom=1", 'did you mean "epsilon"?'),
        ("privacy.epsilon=four", '"four": must be a finite number'),
        ("privacy.epsilon=1\ndelta = 0.5", "must be a finite number"),
    ],
)
def test_a_bad_set_is_a_problem(write, override: str, says: str) -> None:
    assert any(says in line for line in problems(write(TWO_SITES), override))


# --- paths ---------------------------------------------------------------------------------------------


def test_paths_start_from_the_root_else_from_the_folder_of_the_toml(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(TWO_SITES)
    monkeypatch.chdir("/")

    def north(*overrides: str) -> Path | None:
        return load_config(path, overrides).sites[0].path

    assert north() == tmp_path / "north.jsonl"
    assert north("data.root=data") == tmp_path / "data" / "north.jsonl"
    assert north("data.root=/srv") == Path("/srv/north.jsonl")
    assert north("data.root=/srv", "sites.north.path=/other/n") == Path("/other/n")
    monkeypatch.setenv("FEDPEFT_DATA_ROOT", "/env")
    assert north() == Path("/env/north.jsonl")
    assert north("data.root=/srv") == Path("/srv/north.jsonl")
    assert load_config(path, ["evaluation.path=e.jsonl"]).evaluation.path == Path("/env/e.jsonl")


def test_a_backbone_on_disk_becomes_absolute_and_a_hub_id_stays(write, tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)

    def backbone(name: str) -> str:
        return load_config(write(""), [f"model.backbone={name}"]).model.backbone

    assert backbone("models/tiny") == str(tmp_path / "models" / "tiny")
    assert backbone("./absent") == str(tmp_path / "absent")
    assert backbone("x.gguf") == str(tmp_path / "x.gguf")
    assert backbone("models/other") == "models/other"


def test_missing_files_are_listed_and_nothing_else(write, tmp_path: Path) -> None:
    (tmp_path / "north.jsonl").touch()
    config = load_config(write(TWO_SITES), ["model.backbone=./no", "evaluation.path=e.jsonl"])
    starts = ("model.backbone = ", "evaluation.path = ", "sites.south.east.path = ")
    lines = missing_files(config)
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert missing_files(load_config(write(""))) == []


# --- warnings ------------------------------------------------------------------------------------------


def test_a_large_delta_is_a_warning_with_the_figure_for_each_site_that_it_is_large_for(write) -> None:
    largest_quiet = 300**-1.1
    (line,) = warnings_of(load_config(write(TWO_SITES), [f"privacy.delta={largest_quiet * 1.001}"]))
    assert line.startswith("privacy.delta = ")
    assert "site south.east" in line
    assert f"{largest_quiet:.3g}" in line
    assert warnings_of(load_config(write(TWO_SITES), [f"privacy.delta={largest_quiet}"])) == []


@pytest.mark.parametrize(
    ("rate", "sites"), [("0.01", []), ("0.0099", ["north"]), ("0.003", ["north", "south"])]
)
def test_an_expected_batch_below_one_is_a_warning(write, rate: str, sites: list[str]) -> None:
    lines = warnings_of(load_config(write(TWO_SITES), [f"training.sampling_rate={rate}"]))
    assert len(lines) == len(sites)
    for line, site in zip(lines, sites, strict=True):
        assert line.startswith("training.sampling_rate = ")
        assert f"site {site}" in line


def test_a_seed_and_exact_metrics_on_private_records_are_warnings(write) -> None:
    lines = warnings_of(load_config(write(TWO_SITES), ["run.seed=1", "evaluation.public=false"]))
    assert [line.partition(" ")[0] for line in lines] == ["run.seed", "evaluation.public"]


# --- round trip, schema, options -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", TWO_SITES, "[adapter]\nlayers = [0]\nmodules = ['q_proj']\n[run]\nseed = 3"]
)
def test_the_resolved_configuration_reads_back_equal_anywhere(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    config = load_config(write(text), ["privacy.epsilon=0.1", "data.task=tâche"])
    resolved = tmp_path / "elsewhere" / "config.toml"
    resolved.parent.mkdir()
    resolved.write_text(to_toml(config), encoding="utf-8")
    monkeypatch.setenv("FEDPEFT_DATA_ROOT", "/another")
    again = load_config(resolved)
    assert again == config
    assert hash(again) == hash(config)
    assert load_config(resolved, ["privacy.epsilon=0.2"]) != config


def test_the_schema_has_every_key_and_the_options_that_are_files(write) -> None:
    schema = json_schema()
    for name, table in load_config(write(TWO_SITES)).model_dump(mode="json").items():
        node = schema["properties"][name]
        if isinstance(table, dict):
            assert table.keys() == schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]["properties"].keys()
    assert schema["$defs"]["AdapterSettings"]["properties"]["kind"]["enum"] == list(
        option_names("adapter.kind")
    )
    assert schema["additionalProperties"] is False


def test_a_file_is_an_option_where_it_defines_the_class_and_only_there() -> None:
    assert "ffa" in option_names("adapter.kind")
    assert "uniform" in option_names("privacy.allocation")
    assert "mean" in option_names("federation.aggregation")
    for key in ("adapter.kind", "privacy.allocation", "federation.aggregation"):
        assert not {"base", "--init--"} & set(option_names(key))


WORDS = st.sampled_from([*RunConfig.model_fields, "name", "path", "epsilon", "unit", "x"]) | st.text(
    max_size=3
)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_whatever_a_toml_holds_is_a_configuration_or_a_list_of_problems(tmp_path: Path, raw: dict) -> None:
    tomli_w.dumps(raw)  # it could stand in a file
    try:
        found = parse_config(raw, tmp_path).sites
    except ConfigError as error:
        found = error.problems
        assert all(line and "\n" not in line for line in found)
    assert found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds("{}{}{}".format, WORDS, st.sampled_from(["", "=", ".a=", ".a.b="]), st.text(max_size=5))
    )
)
def test_whatever_is_set_is_a_configuration_or_a_list_of_problems(
    tmp_path: Path, overrides: list[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TWO_SITES)
    try:
        found = load_config(path, overrides).sites
    except ConfigError as error:
        found = error.problems
    assert found


def test_no_tensor_library_is_needed() -> None:
    code = (
        "import sys, fedpeft.config as c, pathlib;"
        "c.to_toml(c.parse_config({}, pathlib.Path.cwd())); c.json_schema();"
        "print({'torch', 'transformers', 'flwr', 'peft'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- sources and partitions -----------------------------------------------------------------------------


def test_parts_become_sites_with_equal_shares_of_the_declared_total(write) -> None:
    config = load_config(write(PARTS))
    assert config.declared_units == {"part0": 33, "part1": 33, "part2": 33}
    text = to_toml(config)
    assert load_config(write(text)) == config  # with parts and sites, as a run's folder has it


def test_a_listed_part_may_declare_its_own(write) -> None:
    sites = "[[sites]]\nname = 'a'\ndeclared_units = 7\nepsilon = 1.0\n[[sites]]\nname = 'b'"
    config = load_config(write(PARTS.replace("parts = 3", "") + sites))
    assert config.declared_units == {"a": 7, "b": 50}


def test_units_of_a_part_are_declared_never_counted(write) -> None:
    lines = problems(write(PARTS.replace("declared_units", "#")))
    assert [line.partition(": missing")[0] for line in lines] == [
        f"sites.part{n}.declared_units" for n in range(3)
    ]


def test_two_parts_cannot_have_one_value(write) -> None:
    sites = "column = 'c'\n[[sites]]\nname = 'a'\n[[sites]]\nname = 'b'\nvalue = ' a'"
    text = PARTS.replace("iid", "column").replace("parts = 3", "") + sites
    (line,) = problems(write(text))
    assert line.startswith('sites.b.value = "a": is that of site a already')


HUB = """
[data]
source = "hub"
[[sites]]
name = "a"
dataset = "who/what"
declared_units = 9
subset = "en"
[[sites]]
name = "b"
dataset = "Who/What"
declared_units = 9
subset = "fr"
"""


@pytest.mark.parametrize(
    ("old", "new", "starts"),
    [
        ('"fr"', '"en"', 'sites.b.dataset = "Who/What": is the data of site a already'),
        ('subset = "fr"', "", "sites.b.subset: missing, and another site has this data set"),
        ('"fr"', '"en"\nsplit = "train"', 'sites.b.dataset = "Who/What": is the data of site a already'),
        ('"fr"', '"en"\nrevision = "abc"', 'sites.b.dataset = "Who/What": is the data of site a already'),
    ],
)
def test_two_sites_cannot_have_the_same_hub_data(write, old: str, new: str, starts: str) -> None:
    assert load_config(write(HUB))
    (line,) = problems(write(HUB.replace(old, new)))
    assert line.startswith(starts)
    assert load_config(write(HUB.replace('"fr"', '"en"\nsplit = "dev"')))


def test_all_paths_of_data_start_from_the_root(write, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    text = PARTS.replace('path = "table"', 'paths = ["x", "/y"]\ndataset = "saved"').replace("jsonl", "hub")
    partition = parse_partition(write(text.replace("paths", "#")))
    assert partition.dataset == str(tmp_path / "saved")
    partition = parse_partition(write(text.replace("hub", "csv").replace("dataset", "#")))
    assert partition.paths == (tmp_path / "x", Path("/y"))
    hub_id = parse_partition(write(text.replace("paths", "#").replace('"saved"', '"who/what"'))).dataset
    assert hub_id == "who/what"


def parse_partition(path: Path):
    return load_config(path).data.partition


def test_absent_tables_are_told(write, tmp_path: Path) -> None:
    (line,) = missing_files(load_config(write(PARTS)))
    assert line.startswith(f"data.partition.path = {tmp_path / 'table'}: no such file")
    (tmp_path / "table").touch()
    assert missing_files(load_config(write(PARTS))) == []
    (line,) = missing_files(load_config(write(PARTS), ['data.partition.paths=["z"]']))
    assert line.startswith("data.partition.paths = ")
    hub = HUB.replace("who/what", "/no/such/folder")
    assert [line.split(" ")[0] for line in missing_files(load_config(write(hub)))] == ["sites.a.dataset"]


@pytest.mark.parametrize("source", ["jsonl", "csv", "parquet"])
def test_every_source_of_private_records_warns_of_exact_metrics(write, source: str) -> None:
    text = TWO_SITES.replace('jsonl"', f'{source}"').replace("public = true", "public = false")
    assert any("NOT PRIVATE" in warning for warning in warnings_of(load_config(write(text))))


# --- room for what fedex carries ------------------------------------------------------------------------

FEDEX = "[adapter]\nkind = 'lora'\nrank = 2\n[federation]\naggregation = 'fedex'\nrounds = 3\n"


@pytest.mark.parametrize(
    ("text", "rank", "averaged"),
    [
        (FEDEX, 3 * (7 - 1) * 2, False),  # the demonstration's seven packages
        (FEDEX.replace("rank = 2", "rank = 2\nresidual_rank = 5"), 5, False),
        (FEDEX.replace("rank = 2", "rank = 512"), 1024, False),
        (FEDEX.replace("lora", "ffa"), 0, True),
        (FEDEX.replace("fedex", "mean"), 0, True),
    ],
)
def test_room_for_what_a_run_can_leave_over_is_filled_in(write, text, rank, averaged) -> None:
    config = load_config(write(text))
    assert config.adapter.residual_rank == rank
    assert config.federation.average_iterates is averaged


def test_a_deployment_names_the_room_itself(write) -> None:
    text = FEDEX + "[data]\nsource = 'sites'\n"
    text += "".join(f"[[sites]]\nname = '{name}'\ndeclared_units = 9\n" for name in "ab")
    (line,) = problems(write(text))
    assert line.startswith("adapter.residual_rank = 0: ")
    assert line.endswith("the same in every SITE.toml")


def test_too_little_room_and_directions_that_nobody_trains_are_told(write) -> None:
    config = load_config(write(FEDEX.replace("rank = 2", "rank = 2\nresidual_rank = 5")))
    (line,) = [line for line in warnings_of(config) if "residual_rank" in line]
    assert line.startswith("adapter.residual_rank = 5: 36 directions")
    sites = "".join(
        f"[[sites]]\nname = '{name}'\npackage = '{name}'\nrank = 1\n" for name in ("scipy", "sympy")
    )
    (line,) = [line for line in warnings_of(load_config(write(FEDEX + sites))) if line.startswith("adapter.")]
    assert line.startswith("adapter.rank = 2: no site trains more than 1")
