# SPDX-License-Identifier: Apache-2.0
"""``fedpeft report`` and ``fedpeft watch`` as typed, and the page that a simulation leaves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fedpeft.cli import main
from fedpeft.testing import tiny_config
from simulations.benchmarks.shared.run_folder import write_baselines, write_run


def test_it_writes_the_page_into_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"path": str(tmp_path / "run/report.html"), "not_private": [], "withheld": {"run": []}}
    assert "<blockquote>" in (tmp_path / "run" / "report.html").read_text()


def test_several_runs_go_where_one_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name)
    write_baselines(tmp_path / "b")
    command = ["report", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "both.html")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "NOT PRIVATE: the baselines of b" in said
    assert "a: no sentence to sign: the baselines of b" in said
    assert main([*command, "--covered-only"]) == 0
    assert "NOT PRIVATE" not in capsys.readouterr().out
    assert (tmp_path / "both.html").read_text().count("<blockquote>") == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["report", "NOWHERE"], "has no config.toml, so it is not a run"),
        (["report", "RUN", "--ledger", "NOWHERE"], "cannot be read"),
        (["report", "RUN", "RUN", "--ledger", "NOWHERE"], "belongs to one run, 2 were named"),
        (["watch", "NOWHERE"], "has no config.toml"),
        (["watch", "RUN", "--port", "70000"], "--port 70000: cannot be listened on"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    write_run(tmp_path / "run", rounds=1)
    places = {"RUN": str(tmp_path / "run"), "NOWHERE": str(tmp_path / "nowhere")}
    assert main([places.get(word, word) for word in arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1


def test_a_simulation_leaves_its_page_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_config(tmp_path, rounds=1)
    out = tmp_path / "run"
    assert main(["simulate", str(tmp_path / "run.toml"), "--out", str(out), "--baselines"]) == 0
    page = (out / "report.html").read_text()
    assert 'class="watermark"' in page  # it shows the baselines
    assert str(out / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert main(["report", str(out), "--covered-only"]) == 0
    assert "<blockquote>" in (out / "report.html").read_text()


def test_watch_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    write_run(tmp_path, rounds=2)
    code = "import sys; from fedpeft.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "watch", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Whoever is started in the background ignores the signal, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stderr.readline())
        assert address
        with urllib.request.urlopen(address[0], timeout=60) as reply:
            assert b"The sentence to sign" in reply.read()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "no longer served" in out
    finally:
        process.kill()
        process.communicate()
