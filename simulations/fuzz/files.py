# SPDX-License-Identifier: Apache-2.0
"""Policy and site files that are wrong in every way, and what reading them came to.

A file that cannot be used must be refused with lines for people, and one that can must not widen the budget
that a ledger has begun under.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from fedpeft.deployment.site_file import load_site_file
from fedpeft.errors import LedgerError, UserError
from fedpeft.privacy.ledger import Ledger
from fedpeft.types import Schedule
from simulations.fuzz.organization import POLICY, write_organization
from simulations.fuzz.requests import Tally

_VALUES: list[Any] = [
    "", "x" * 5000, "../../x", "/", "\0", "a\nb", "\u202e", 0, -1, 1, 2**63, -(2**70), 10**400, 0.0,
    -0.5, 1e-400, 1e308, float("nan"), float("inf"), True, [], {}, [[]], [0], ["training", "training"],
    {"epsilon": 100.0}, [{}], [1.0] * 3000, 50, 50.0, 0.5, 1000.0, "record", "synthesis", "8.0",
]  # fmt: skip
_RAW = [
    "x = " + "[" * 4000, "epsilon = " + "9" * 6000, "expires = 2026-02-30", "epsilon = 1e999999", "\ufeff",
    "\0", "[[site]]", "[site]", "site.path = 5", "identity = 'a'", "= 5", "[", '"', "'''", "#" * 10_000,
    "a.b.c.d = 1", "[policy]\nepsilon = 100.0", "x = {" * 3000, "\u2028 = 1", "[a" + ".a" * 3000 + "]",
    "epsilon = 0x7fffffffffffffffff",
]  # fmt: skip
_LONGEST_LINE = 2000


def spoil(rng: random.Random, policy: str, site: str) -> tuple[bytes, bytes]:
    """Both files with one to three things wrong in either or both."""
    tables = {"policy": tomllib.loads(policy), "site": tomllib.loads(site)}
    for _ in range(rng.randrange(3)):
        _spoil_table(rng, rng.choice(list(tables.values())))
    texts = {name: tomli_w.dumps(table) for name, table in tables.items()}
    raw = {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
    if rng.random() < 0.6:
        name = rng.choice(list(raw))
        raw[name] = _spoil_text(rng, raw[name])
    return raw["policy"], raw["site"]


def _spoil_table(rng: random.Random, table: dict[str, Any]) -> None:
    inner = [value for value in table.values() if isinstance(value, dict)]
    where = rng.choice([table, *inner])
    key = rng.choice([*where, "unknown", "filter", "seed", "epsilon"])
    if rng.random() < 0.2:
        where.pop(key, None)
    else:
        where[key] = rng.choice(_VALUES)


def _spoil_text(rng: random.Random, text: bytes) -> bytes:
    place = rng.randrange(len(text) + 1)
    match rng.randrange(4):
        case 0:
            return text[:place]
        case 1:
            return text[:place] + rng.randbytes(rng.randrange(1, 9)) + text[place:]
        case 2:
            lines = text.split(b"\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(_RAW).encode())
            return b"\n".join(lines)
    return text + b"\n" + text


def fuzz_files(folder: Path, until: int, tally: Tally) -> None:
    """Read pairs of files up to the number ``until``, from where ``tally`` stands; it is brought up to date.

    Args:
        folder: empty; everything stays in it.
        until: how many.
        tally: so far.
    """
    site_path = write_organization(folder, folder / "site.sock")
    policy_path = folder / "policy.toml"
    policy, site = policy_path.read_text("utf-8"), site_path.read_text("utf-8")
    file = load_site_file(site_path)
    file.ledger.parent.mkdir()
    with contextlib.closing(Ledger.open(file.ledger, file.policy)) as ledger:
        ledger.commit(Schedule.constant("run", 3.0, 0.1, 2, "record"))
    original = file.ledger.read_bytes()
    while tally.done < until:
        raw = spoil(random.Random(tally.done), policy, site)
        policy_path.write_bytes(raw[0])
        site_path.write_bytes(raw[1])
        try:
            tally.answers[_read(site_path, file.ledger, tally)] += 1
        except Exception as error:  # every other kind is what this program looks for
            tally.broken.append(f"file {tally.done}: {type(error).__name__}: {error}"[:300])
        if file.ledger.read_bytes() != original:
            tally.broken.append(f"file {tally.done}: the ledger changed")
            file.ledger.write_bytes(original)
        tally.done += 1


def _read(path: Path, ledger: Path, tally: Tally) -> str:
    try:
        found = load_site_file(path)
    except UserError as error:
        lines = str(error).splitlines()
        if not lines or any(not line.strip() or len(line) > _LONGEST_LINE for line in lines):
            tally.broken.append(f"file {tally.done}: an error that nobody can read: {str(error)[:200]!r}")
        return "refused"
    if found.policy.identity != POLICY["identity"]:
        return "another identity"
    return "read; " + _opened(found.policy, ledger, tally)


def _opened(policy: Any, ledger: Path, tally: Tally) -> str:
    """Whether a ledger that began under the sound policy would be served under this one."""
    copy = shutil.copy(ledger, ledger.with_name("copy.sqlite"))
    try:
        with contextlib.closing(Ledger.open(copy, policy)) as opened:
            left = opened.available()
    except LedgerError:
        return "ledger refused"
    finally:
        Path(copy).unlink()
    if policy.epsilon > POLICY["epsilon"] or left.epsilon > POLICY["epsilon"]:
        tally.broken.append(f"file {tally.done}: epsilon {policy.epsilon} was accepted, {left.epsilon} left")
    if policy.delta != POLICY["delta"] or policy.unit != POLICY["unit"]:
        tally.broken.append(f"file {tally.done}: delta or unit changed for a ledger that has begun")
    return "ledger opened"
