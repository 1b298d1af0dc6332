# SPDX-License-Identifier: Apache-2.0
"""What a shell is offered, and that it is offered at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from fedpeft.cli import main
from fedpeft.cli.entry import COMMANDS
from fedpeft.config import load_config
from fedpeft.config.schema import settable_keys, values_of
from fedpeft.errors import ConfigError

HEAVY = {"torch", "transformers", "flwr", "peft"}
_SHOWS_IMPORTS = (
    "import sys\n"
    "from fedpeft.cli import main\n"
    "try:\n    main()\n"
    "finally:\n    sys.stderr.write(repr({HEAVY!r} & sys.modules.keys()))\n"
).replace("{HEAVY!r}", repr(HEAVY))


def offered(words: str, incomplete: str) -> list[str]:
    """What bash is told for a line, and that nothing heavy was imported for it."""
    line = f"fedpeft {words} {incomplete}".rstrip()
    place = len(f"fedpeft {words}".split())
    environment = os.environ | {
        "_FEDPEFT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(place),
    }  # fmt: skip
    call = [sys.executable, "-c", _SHOWS_IMPORTS]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "set()"
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_options_and_keys_are_offered_without_heavy_imports() -> None:
    assert offered("", "") == sorted(COMMANDS, key=COMMANDS.index)
    assert offered("config", "s") == ["schema", "show"]
    assert "--baselines" in offered("simulate run.toml", "--")
    assert offered("plan run.toml --set", "privacy.eps") == ["privacy.epsilon="]
    assert "completion" in offered("", "com")


def test_values_are_offered_where_there_are_a_few() -> None:
    """As bash splits the line: ``=`` is a word of its own there, and what stands before it stays."""
    assert offered("plan run.toml --set privacy.allocation", "=")[:2] == ["anadp", "instability"]
    assert offered("plan run.toml --set privacy.allocation =", "k") == ["kl"]
    assert offered("plan run.toml --set = privacy.allocation =", "k") == ["kl"]
    assert offered("plan run.toml --set =", "privacy.allocation_") == ["privacy.allocation_start="]
    assert offered("plan run.toml --set privacy.epsilon = 4 --set evaluation.public =", "t") == ["true"]
    assert offered("plan run.toml --set privacy.epsilon", "=") == []
    assert "--json" in offered("plan run.toml --set privacy.epsilon = 4", "--")


def test_other_shells_are_given_the_whole_word() -> None:
    environment = os.environ | {
        "_FEDPEFT_COMPLETE": "zsh_complete", "COMP_CWORD": "4",
        "COMP_WORDS": "fedpeft plan run.toml --set privacy.allocation=k",
    }  # fmt: skip
    call = [sys.executable, "-c", "from fedpeft.cli import main\nmain()"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "privacy.allocation=kl"


def test_every_value_that_is_offered_can_be_set(tmp_path) -> None:
    """Together they may not go together; none of them is unknown to its own key."""
    given = [f"{key}={value}" for key in settable_keys() for value in values_of(key)]
    assert {"method=dp-selft", "run.tensorboard=true", "model.dtype=bfloat16"} <= set(given)
    (tmp_path / "run.toml").write_text('[[sites]]\nname = "torch"\n', "utf-8")
    for one in given:
        key, _, value = one.replace("sites.NAME", "sites.torch").partition("=")
        try:
            load_config(tmp_path / "run.toml", [f"{key}={value}"])
        except ConfigError as error:
            told = [problem for problem in error.problems if problem.startswith(f"{key} = ")]
            assert not any("must be" in problem for problem in told), told


def test_every_key_that_is_offered_can_be_set(tmp_path) -> None:
    """A key that does not exist would be told; a value that does not fit is, with the key's name."""
    keys = [key.replace("sites.NAME", "sites.torch") for key in settable_keys()]
    assert {"method", "privacy.epsilon", "data.partition.kind", "sites.torch.declared_units"} <= set(keys)
    (tmp_path / "run.toml").touch()
    with pytest.raises(Exception, match="method") as caught:
        load_config(tmp_path / "run.toml", [f"{key}=[[]]" for key in keys])
    assert not any("unknown key" in problem for problem in caught.value.problems)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_its_shell_can_read(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert f"_FEDPEFT_COMPLETE={shell}_complete" in answer["script"]
    assert "fedpeft completion" in answer["load"]
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out.rstrip() == answer["script"].rstrip()
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=answer["script"], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_refused_with_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
