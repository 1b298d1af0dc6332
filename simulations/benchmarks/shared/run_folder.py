# SPDX-License-Identifier: Apache-2.0
"""The folder of a run that was never trained: files of the right form and size, for pages about runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from fedpeft.config import load_config, to_toml
from fedpeft.guarantee import guarantee
from fedpeft.synthesis.certificate import Certificate, Contribution, cost_of
from fedpeft.synthesis.dataset import FOLDER, SyntheticDataset, SyntheticRow
from fedpeft.types import JsonDict, PrivacyEvent

_MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
            "mlp.up_proj", "mlp.down_proj")  # fmt: skip
_METRICS = {"ranking_accuracy": (0.44, 0.08), "token_accuracy": (0.30, 0.09), "perplexity": (26.4, -21.0)}


def write_run(
    folder: Path,
    *,
    sites: int = 3,
    rounds: int = 20,
    blocks: int = 30,
    finished: bool = True,
    config: Mapping[str, Any] | None = None,
) -> JsonDict:
    """Write configuration, rounds, curve and result into ``folder``.

    Args:
        folder: made if absent.
        sites: with names that a page must escape.
        rounds: complete ones.
        blocks: of the backbone.
        finished: whether there is a result.
        config: sections over the usual ones.

    Returns:
        The result, written or not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"site-{i:03d}" for i in range(sites)]
    made = _write_config(folder, names, rounds, config or {})
    spent = {name: 8.0 if i % 3 else 5.5 for i, name in enumerate(names)}
    lines = [_round(number, rounds, names, spent) for number in range(1, rounds + 1)]
    _write_lines(folder / "rounds.jsonl", lines)
    every = max(1, rounds // 10)
    curve = [_point(n, rounds) for n in range(0, rounds + 1, every)]
    _write_lines(folder / "metrics.jsonl", curve)
    result = _result(made, names, spent, rounds, blocks)
    if finished:
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return result


def write_selection(folder: Path, blocks: int = 30) -> None:
    """Add ``selection.json`` with a dozen candidates."""
    candidates = [
        {
            "kind": "top" if i else "all",
            "layers": list(range(i, blocks, 1 + i % 4)),
            "trainable": 1000 * (blocks - i),
            "steps": 16,
            "mean": 2.0 + 0.02 * i,
            "standard_error": 0.01,
        }
        for i in range(14)
    ]
    found = {
        "selector": "selft",
        "layers": candidates[2]["layers"],
        "why": "the best set",
        "blocks": blocks,
        "seconds": 61.5,
        "trainings": 90,
        "privacy": "no private record was looked at",
        "candidates": candidates,
    }
    (folder / "selection.json").write_text(json.dumps(found), encoding="utf-8")


def write_synthetic(folder: Path, rows: int = 40) -> None:
    """Add synthetic rows with a certificate that holds."""
    event = PrivacyEvent("gaussian", 5.0, 1.0, 1, "record")
    contribution = Contribution(1000, "run:site-000:vote", event, "ab" * 32)
    made = [
        SyntheticRow(f"r{i}", f"Name <b>{i}</b>.", "A word.", f"task {i % 3}", f"t{i}") for i in range(rows)
    ]
    certificate = Certificate(
        "pool",
        "run",
        "record",
        cost_of([event], 1e-5),
        1e-5,
        "",
        {"site-000": contribution},
        {"site-001": "budget"},
    )
    SyntheticDataset.certified(made, certificate).write(folder / FOLDER)


def write_baselines(folder: Path) -> None:
    """Add ``baselines.json``, NOT PRIVATE."""
    entry = {"guarantee": "none: not private", "metrics": _figures(1.2), "run_minus_baseline": _figures(0.1)}
    content = {
        "guarantee": "none: not private",
        "watermark": "NOT PRIVATE: exact functions of private records that no budget paid for.",
        "records": 100,
        "run": _figures(1.0),
        "baselines": {"pooled without privacy": entry, "site-000 alone, private": {"failed": "no records"}},
    }
    (folder / "baselines.json").write_text(json.dumps(content), encoding="utf-8")


def _write_config(folder: Path, names: list[str], rounds: int, over: Mapping[str, Any]) -> Any:
    sections: dict[str, Any] = {
        "data": {"source": "jsonl", "root": "/data"},
        "privacy": {"delta": 1e-5},
        "federation": {"rounds": rounds},
        "evaluation": {"public": True, "path": "public.jsonl"},
    }
    for name, keys in over.items():
        sections[name] = {**sections.get(name, {}), **keys}
    sections["sites"] = [{"name": n, "path": f"{n}.jsonl", "declared_units": 1000} for n in names]
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps(sections), encoding="utf-8")
    config = load_config(path)
    path.write_text(to_toml(config), encoding="utf-8")
    return config


def _round(number: int, rounds: int, names: list[str], spent: Mapping[str, float]) -> JsonDict:
    share = math.sqrt(number / rounds)
    refused = {names[-1]: "budget"} if number == rounds and len(names) > 2 else {}
    return {
        "round": number,
        "answered": [name for name in names if name not in refused],
        "refused": refused,
        "dropped": {},
        "missing": [],
        "update_norm": 2.0 / math.sqrt(number) + 0.1 * math.sin(number),
        "seconds": {"train": 10.0 + math.sin(number), "aggregate": 0.002},
        "bytes_up": 165888 * len(names),
        "bytes_down": 165888 * len(names),
        "epsilon_spent": round(8.0 * share, 6),
        "epsilon_spent_less": {n: round(e * share, 6) for n, e in spent.items() if e < 8.0},
    }


def _figures(progress: float) -> JsonDict:
    return {
        name: {"value": v, "low": v - 0.1 * abs(v), "high": v + 0.1 * abs(v)}
        for name, (start, change) in _METRICS.items()
        if (v := start + change * progress)
    }


def _point(number: int, rounds: int) -> JsonDict:
    privacy = "on records declared public"
    return {"round": number, "metrics": _figures(number / rounds), "privacy": privacy}


def _result(config: Any, names: list[str], spent: Mapping[str, float], rounds: int, blocks: int) -> JsonDict:
    segments = [
        {"name": f"layers.{b}.{m}", "block": b, "module": m, "size": 576,
         "scale": None if (b, i) == (1, 1) else 1.0 + 0.5 * math.sin(b / 5 + i)}
        for b in range(blocks) for i, m in enumerate(_MODULES)
    ]  # fmt: skip
    difference = {
        name: {"value": c, "low": c - 0.1 * abs(c), "high": c + 0.1 * abs(c)}
        for name, (_, c) in _METRICS.items()
    }
    return {
        "run_id": "0123456789abcdef-0011223344556677",
        "backbone": "smollm2-135m-instruct",
        "backbone_digest": "sha256:" + "a6" * 32,
        "method": "fedpeft",
        "sites": names,
        "left_out": {},
        "rounds_completed": rounds,
        "stopped_because": "completed",
        "stopped_detail": f"all {rounds} rounds are complete",
        "trainable_parameters": 41472,
        "trainable_percent": 0.0308,
        "epsilon": 8.0,
        "epsilon_spent": 8.0,
        "epsilon_by_site": dict.fromkeys(names, 8.0),
        "epsilon_spent_by_site": dict(spent),
        "epsilon_by_task": {},
        "noise_multiplier_by_site": dict.fromkeys(names, 0.7),
        "noise_by_segment": segments,
        "delta": 1e-5,
        "unit": "record",
        "guarantee": guarantee(config),
        "warnings": ["the noise is larger than the signal"],
        "ledger_scope": "run",
        "metrics": {
            "before": _figures(0.0),
            "after": _figures(1.0),
            "difference": difference,
            "records": 100,
            "labels": [],
            "privacy": "on records declared public",
            "private": None,
        },
        "data": {"source": "jsonl"},
        "selection": None,
        "warm_start": None,
        "seed": config.run.seed,
        "seconds": {"total": 10.5 * rounds, "train": 10.0 * rounds, "load": 55.0, "evaluate": 50.0,
                    "export": 0.02, "aggregate": 0.01, "accounting": 1.2},
        "peak_rss_mb": 1875.2,
        "bytes_up": 165888 * rounds * len(names),
        "bytes_down": 165888 * rounds * len(names),
        "versions": {"python": "3.11.7", "fedpeft": "0.1.0", "torch": "2.13.0"},
    }  # fmt: skip


def _write_lines(path: Path, lines: list[JsonDict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
