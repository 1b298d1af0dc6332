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
from fedpeft.config.schema import settable_keys

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
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_and_keys_are_offered_without_heavy_imports() -> None:
    assert offered("", "") == sorted(COMMANDS, key=COMMANDS.index)
    assert offered("config", "s") == ["schema", "show"]
    assert "--baselines" in offered("simulate run.toml", "--")
    assert offered("plan run.toml --set", "privacy.eps") == ["privacy.epsilon="]
    assert "completion" in offered("", "com")


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
