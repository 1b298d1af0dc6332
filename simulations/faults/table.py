# SPDX-License-Identifier: Apache-2.0
"""The section "Faults, measured" of ``docs/deployment.md``, from the lines of the scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedpeft.types import JsonDict

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"
HEAD = "## Faults, measured"
_TEXT = """
Each line is one scenario of real processes on the loopback interface: SuperLink, superexec, two SuperNodes
and two resident sites with TLS and node authentication, the tiny backbone, every process started again by a
supervisor (`python -m simulations.faults`, which adds to
[`results/faults.jsonl`](../simulations/results/faults.jsonl); this section is written by
`python -m simulations.faults table`). Charges and releases are of both sites' ledgers, which all verify; the
excess are charges without a release that was kept. 2-core VM, no GPU, other work beside it.

| scenario | outcome | charges | releases | excess | verdict |
|---|---|--:|--:|--:|---|
"""


def write_table(lines: Mapping[str, JsonDict], order: Sequence[str]) -> None:
    """Replace the section, or add it at the end."""
    before, _, after = DOCUMENT.read_text("utf-8").partition(HEAD)
    _, mark, rest = after.partition("\n## ")
    rows = "".join(_row(name, lines[name]) for name in order if name in lines)
    missing = [name for name in order if name not in lines]
    note = f"\nNot run yet: {'; '.join(missing)}.\n" if missing else ""
    text = f"{before.rstrip()}\n\n{HEAD}\n{_TEXT}{rows}{note}{mark}{rest}"
    DOCUMENT.write_text(text.rstrip() + "\n", encoding="utf-8")


def _row(name: str, line: JsonDict) -> str:
    figures = " | ".join(str(line.get(key, "")) for key in ("charges", "releases", "excess"))
    verdict = "as it must" if line["ok"] else "**" + "; ".join(line["problems"])[:200] + "**"
    return f"| {name} | {_outcome(line)} | {figures} | {verdict} |\n"


def _outcome(line: JsonDict) -> str:
    if "line" in line:
        own = "; ".join(f"`{text}`" for text in line.get("node_says", []))
        return f"refused: `{line['line']}`" + (f" (Flower by itself: {own})" if own else "")
    parts = []
    if "ended" in line:
        parts.append(f"{line['ended']} after {line['rounds']} rounds")
    if line.get("resumes"):
        parts.append(f"resumed {line['resumes']} times" if line["resumes"] > 1 else "resumed once")
    if line.get("killed"):
        parts.append("killed: " + ", ".join(f"{kind} {n}" for kind, n in sorted(line["killed"].items())))
    if line.get("left_out"):
        named = (f"{number} ({why})" for number, why in line["left_out"].items())
        parts.append("left out of round " + ", ".join(named))
    parts += [str(part) for part in line.get("notes", [])]
    return "; ".join(parts)
