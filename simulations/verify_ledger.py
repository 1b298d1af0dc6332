# SPDX-License-Identifier: Apache-2.0
"""Check a privacy ledger without fedpeft: chains, sums, charges, and epsilon by an accountant of its own.

    python simulations/verify_ledger.py LEDGER.sqlite [--json]

It needs Python, numpy and nothing else, so that whoever doubts the package can audit what it wrote. The
accountant composes privacy losses on a grid by Fourier transform, in both directions of adding and removing
a unit, every step replaced by one that dominates it and every tail added to delta: an upper bound. It agrees
with ``fedpeft ledger verify`` to ``TOLERANCE`` (relative), and falls back to Renyi divergences where arrays
would get too long.
Exit status 0 if everything agrees, 1 if not.

Layout of the file, chains and rules are written down in ``docs/privacy.md``; this is a second implementation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sqlite3
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 0.01
"""Relative, between this accountant and the package's."""

LAYOUT = 2
FILTER = "filter"
_KEYS = {"kind", "noise_multiplier", "sampling_rate", "steps", "unit"}
_MOST_POINTS = 2**22
_POINTS_OF_A_STEP = 200_000
_TAIL = 9  # standard deviations: what lies beyond is the mass of an infinite loss, or below all others
_SLACK = 1e-6

Steps = dict[tuple[float, float], int]  # (noise multiplier, sampling rate) -> how many


@dataclass
class Report:
    """What was found."""

    path: str
    problems: list[str] = field(default_factory=list)
    identity: str = ""
    epsilon: float = 0.0
    delta: float = 0.0
    runs: list[dict[str, Any]] = field(default_factory=list)


def main() -> int:
    """Parse, check, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    report = check(arguments.ledger)
    if arguments.json:
        print(json.dumps(report.__dict__ | {"ok": not report.problems}, indent=2))
    else:
        print(f"{report.path}: {'WRONG' if report.problems else 'good'}; identity {report.identity!r}")
        print(f"  committed epsilon {report.epsilon:.4f} at delta {report.delta:.3g}")
        for run in report.runs:
            print("  " + ", ".join(f"{key} {value}" for key, value in run.items()))
        for problem in report.problems:
            print(f"  {problem}")
    return 1 if report.problems else 0


def check(path: Path) -> Report:
    """Recompute everything."""
    report = Report(str(path))
    try:
        if not path.is_file():
            raise OSError("no such file")
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            _check(connection, report)
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        report.problems.append(f"cannot be read: {error}")
    return report


def _check(connection: sqlite3.Connection, report: Report) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != LAYOUT:
        report.problems.append(f"has layout {version}; this verifier knows {LAYOUT}")
        return
    integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if integrity != "ok":
        report.problems.append(f"the file: {integrity}")
    meta = connection.execute("SELECT identity, unit, epsilon, delta FROM meta").fetchone()
    report.identity, unit, most_epsilon, most_delta = meta
    commitments = connection.execute(
        "SELECT seq, time, run_id, stage, schedule, epsilon, delta, prev_hash, hash FROM commitments "
        "ORDER BY seq"
    ).fetchall()
    events = connection.execute(
        "SELECT seq, time, run_id, request_id, request_digest, event, prev_hash, hash FROM events "
        "ORDER BY seq"
    ).fetchall()
    _check_chains(connection, meta, commitments, events, report)
    _check_releases(connection, {row[3] for row in events}, report)
    for row in commitments:
        charged = [_event(text, unit) for _, _, run, _, _, text, _, _ in events if run == row[2]]
        check_one = _check_filter if row[2] == FILTER else _check_run
        check_one(row, unit, charged, report)
    report.epsilon = math.fsum(row[5] for row in commitments)
    report.delta = math.fsum(row[6] for row in commitments)
    if not (report.epsilon <= most_epsilon * (1 + _SLACK) and report.delta <= most_delta * (1 + _SLACK)):
        report.problems.append(f"commitments: add up to more than ({most_epsilon:g}, {most_delta:g})")


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def _check_chains(connection: Any, meta: Any, commitments: Any, events: Any, report: Report) -> None:
    genesis = _hash("fedpeft ledger", LAYOUT, *meta)
    previous, hash_of_run = (0, genesis), {}
    for seq, *content, before, own in commitments:
        if (seq - 1, before) != previous:
            report.problems.append(f"commitment {seq}: does not follow the one before")
        if own != _hash(before, seq, *content):
            report.problems.append(f"commitment {seq}: was edited")
        previous, hash_of_run[content[1]] = (seq, own), own
    previous = (0, genesis)
    for seq, *content, before, own in events:
        if (seq - 1, before) != previous:
            report.problems.append(f"event {seq}: does not follow the one before")
        if content[1] not in hash_of_run:
            report.problems.append(f"event {seq}: no commitment covers it")
        if own != _hash(before, seq, *content, hash_of_run.get(content[1], "")):
            report.problems.append(f"event {seq}: it or its commitment was edited")
        previous = (seq, own)
    if connection.execute("SELECT seq, hash FROM head").fetchone() != previous:
        report.problems.append("head: is not the newest event")


def _check_releases(connection: Any, charged: set[str], report: Report) -> None:
    for name, digest, payload in connection.execute("SELECT request_id, digest, payload FROM releases"):
        if name not in charged:
            report.problems.append(f"release {name!r}: was never charged")
        if payload is not None and hashlib.sha256(payload).hexdigest() != digest:
            report.problems.append(f"release {name!r}: its payload was edited")


def _event(text: Any, unit: str) -> dict[str, Any]:
    event = json.loads(text) if isinstance(text, str) else text
    if set(event) != _KEYS or event["unit"] != unit or event["kind"] not in ("poisson-gaussian", "gaussian"):
        raise ValueError(f"event {str(text)[:80]!r}: not one of this ledger")
    sigma, rate, steps = event["noise_multiplier"], event["sampling_rate"], event["steps"]
    if not (0 < sigma < math.inf and 0 < rate <= 1 and type(steps) is int and steps >= 1):
        raise ValueError(f"event {str(text)[:80]!r}: out of range")
    return event


def _check_run(row: Any, unit: str, charged: list[dict[str, Any]], report: Report) -> None:
    _, _, run, stage, schedule, epsilon, delta, _, _ = row
    promised = [_event(part, unit) for part in json.loads(schedule)]
    names = ("kind", "noise_multiplier", "sampling_rate")
    known = {tuple(part[name] for name in names) for part in promised}
    for event in charged:
        if tuple(event[name] for name in names) not in known:
            report.problems.append(f"run {run!r}: was charged steps it did not commit to")
    for kind, level in {(part["kind"], part["noise_multiplier"]) for part in (*promised, *charged)}:
        if _up_to(charged, kind, level) > _up_to(promised, kind, level):
            report.problems.append(
                f"run {run!r}: was charged more steps than committed up to noise {level:g}"
            )
    cost = epsilon_of(_added(promised), delta)
    if not cost * (1 - TOLERANCE) <= epsilon:
        report.problems.append(f"run {run!r}: costs epsilon {cost:g}, but was committed with {epsilon:g}")
    report.runs.append(
        {
            "run": run,
            "stage": stage,
            "steps": f"{sum(e['steps'] for e in charged)} of {sum(p['steps'] for p in promised)}",
            "epsilon": cost,
            "epsilon_committed": epsilon,
            "epsilon_spent": epsilon_of(_added(charged), delta) if charged else 0.0,
            "delta": delta,
        }
    )


def _check_filter(row: Any, unit: str, charged: list[dict[str, Any]], report: Report) -> None:
    terms, epsilon, delta = json.loads(row[4]), row[5], row[6]
    order, budget = terms["order"], terms["budget"]
    stands_for = budget + math.log1p(-1 / order) - math.log(terms["delta"] * order) / (order - 1)
    spent = math.fsum(n * renyi(s, q, order) for (s, q), n in _added(charged).items())
    if terms["unit"] != unit or terms["delta"] > delta or stands_for > epsilon * (1 + _SLACK):
        report.problems.append("filter: guarantees less than was committed")
    if spent > budget * (1 + _SLACK):
        report.problems.append(f"filter: was charged {spent:g} at order {order}, its budget is {budget:g}")
    report.runs.append(
        {"run": FILTER, "order": order, "spent": spent, "budget": budget, "epsilon_committed": epsilon}
    )


def _up_to(events: list[dict[str, Any]], kind: str, level: float) -> int:
    """Steps of one kind: votes do not pay for steps of training, nor the other way round."""
    return sum(e["steps"] for e in events if e["kind"] == kind and e["noise_multiplier"] <= level)


def _added(events: list[dict[str, Any]]) -> Steps:
    steps: defaultdict[tuple[float, float], int] = defaultdict(int)
    for event in events:
        steps[event["noise_multiplier"], event["sampling_rate"]] += event["steps"]
    return dict(steps)


def epsilon_of(steps: Steps, delta: float) -> float:
    """An upper bound of epsilon: the smaller of Fourier and Renyi."""
    return min(max(fourier(steps, delta, removing) for removing in (True, False)), by_renyi(steps, delta))


def by_renyi(steps: Steps, delta: float) -> float:
    """Over whole orders; Mironov, Talwar and Zhang 2019, and Canonne, Kamath and Steinke 2020."""
    return min(
        math.fsum(n * renyi(s, q, order) for (s, q), n in steps.items())
        + math.log1p(-1 / order)
        - math.log(delta * order) / (order - 1)
        for order in (*range(2, 64), *range(64, 513, 16))
    )


def renyi(sigma: float, rate: float, order: int) -> float:
    """Of one Poisson-sampled Gaussian step."""
    if rate == 1:
        return order / (2 * sigma**2)
    k = np.arange(order + 1)
    log_binomial = math.lgamma(order + 1) - np.array(
        [math.lgamma(i + 1) + math.lgamma(order - i + 1) for i in k]
    )
    terms = log_binomial + (order - k) * math.log1p(-rate) + k * math.log(rate) + k * (k - 1) / (2 * sigma**2)
    return float(terms.max() + math.log(np.exp(terms - terms.max()).sum())) / (order - 1)


def fourier(steps: Steps, delta: float, removing: bool) -> float:
    """Compose privacy losses on a grid (Koskela, Jalko and Honkela 2020, arXiv:1906.03049).

    With P the density with the unit and Q the one without, removing asks for the loss log(P/Q) under P,
    adding for log(Q/P) under Q. Steps are discretized so that each is dominated (Doroshenko et al. 2022,
    arXiv:2207.04380); what lies outside the array is bounded by Chernoff and added to delta.
    """
    width = _width(steps)
    parts = [(*_discretized(sigma, rate, width, removing), n) for (sigma, rate), n in steps.items()]
    tail = 1e-4 * delta
    low, high = _reach(parts, width, tail, -1), _reach(parts, width, tail, 1)
    longest = max(len(mass) for _, mass, _, _ in parts)
    size = 2 ** math.ceil(math.log2(max(longest, (high - low) / width) + 2))
    if size > _MOST_POINTS:
        return math.inf
    transform = np.ones(size // 2 + 1, dtype=complex)
    lost = tail + 1e-14 + 1e-16 * sum(steps.values())
    for first, mass, infinite, number in parts:
        placed = np.zeros(size)
        placed[(first + np.arange(len(mass))) % size] = mass
        transform *= np.fft.rfft(placed) ** number
        lost += number * infinite
    start = math.floor(low / width)
    losses = (start + np.arange(size)) * width
    total = np.maximum(np.roll(np.fft.irfft(transform, size), -(start % size)), 0.0)
    return _epsilon_at(losses, total, delta - lost)


def _width(steps: Steps) -> float:
    """A tenth of the scale of one step's loss at most, and no more points than memory likes."""
    square = sum(n * rate**2 * math.expm1(min(sigma**-2, 50)) for (sigma, rate), n in steps.items())
    scale = math.sqrt(square / sum(steps.values()))
    longest = max(_loss(1 + _TAIL * sigma, sigma, rate) for sigma, rate in steps)
    return max(min(1e-3, 0.1 * scale), longest / _POINTS_OF_A_STEP)


def _loss(x: float, sigma: float, rate: float) -> float:
    """log(P/Q) of a draw x."""
    exponent = (2 * x - 1) / (2 * sigma**2)
    return (
        exponent + math.log(rate + (1 - rate) * math.exp(-exponent))
        if exponent > 0
        else math.log1p(rate * math.expm1(exponent))
    )


def _discretized(sigma: float, rate: float, width: float, removing: bool) -> tuple[int, Any, float]:
    """Index of the first loss, masses under the first density, and the mass of an infinite loss.

    The hockey-stick divergence, a convex function of e^epsilon, is replaced by the lines that connect its
    values on the grid; these lie above it, and are the divergence of the distribution returned.
    """
    most = math.ceil(_loss(1 + _TAIL * sigma, sigma, rate) / width)
    least = math.floor(_loss(-_TAIL * sigma, sigma, rate) / width)
    first, last = (least, most) if removing else (-most, -least)
    epsilons = np.arange(first, last + 1) * width
    deltas = _hockey_stick(epsilons, sigma, rate, removing)
    slopes = np.diff(deltas) / (np.exp(epsilons[:-1]) * math.expm1(width))
    other = np.maximum(np.diff(np.concatenate([[-1.0], slopes, [0.0]])), 0.0)  # under the second density
    return first, other * np.exp(epsilons), max(float(deltas[-1]), 0.0)


def _hockey_stick(epsilons: Any, sigma: float, rate: float, removing: bool) -> Any:
    """``max over sets S of P(S) - e^epsilon Q(S)``, or with P and Q exchanged when adding."""
    ratio = np.exp(epsilons if removing else -epsilons)  # P/Q where the best set ends
    inside = (ratio - (1 - rate)) / rate
    x = np.where(inside > 0, sigma**2 * np.log(np.maximum(inside, 1e-300)) + 0.5, -np.inf)
    if removing:  # the set is all draws above x
        without, shifted = _normal(-x / sigma), _normal((1 - x) / sigma)
        return (1 - rate) * without + rate * shifted - np.exp(epsilons) * without
    without, shifted = _normal(x / sigma), _normal((x - 1) / sigma)
    return without - np.exp(epsilons) * ((1 - rate) * without + rate * shifted)


def _normal(x: Any) -> Any:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])


def _reach(parts: Any, width: float, tail: float, sign: int) -> float:
    """A loss that the sum exceeds (falls below, for sign -1) with probability at most ``tail``: Chernoff."""
    best = math.inf
    for power in np.geomspace(1e-3, 100, 40):
        log_moment = 0.0
        for first, mass, _, number in parts:
            exponents = sign * power * (first + np.arange(len(mass))) * width
            top = float(exponents.max())
            log_moment += number * (top + math.log(float(mass @ np.exp(exponents - top))))
        best = min(best, (log_moment - math.log(tail)) / power)
    return sign * best


def _epsilon_at(losses: Any, mass: Any, delta: float) -> float:
    """Smallest epsilon with ``sum mass * max(0, 1 - exp(epsilon - loss)) <= delta``."""
    if delta <= 0:
        return math.inf
    low, high = 0.0, float(losses[-1])
    for _ in range(60):
        middle = (low + high) / 2
        above = losses > middle
        paid = float(mass[above] @ -np.expm1(middle - losses[above]))
        low, high = (low, middle) if paid <= delta else (middle, high)
    return high


if __name__ == "__main__":
    sys.exit(main())
