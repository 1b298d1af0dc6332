# SPDX-License-Identifier: Apache-2.0
"""Deliveries: kept whole under a name that is the site's own, never written over, and of known runs only."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel

from fedpeft.delivery import PAPERS, Delivery
from fedpeft.errors import Refusal
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.site.inbox import Inbox
from fedpeft.site.site import Site
from fedpeft.testing import tiny_backbone
from fedpeft.types import RefusalCode, Schedule
from tests.site.conftest import Workbench

RESULT, CONFIG, ROUNDS = b'{"epsilon": 8.0}', b"[privacy]\nepsilon = 8.0\n", b'{"round": 1}\n{"round": 2}\n'


@pytest.fixture
def site(tmp_path: Path, workbench: Workbench) -> Site:
    policy = Policy(
        identity="here", unit="record", declared_units=10, epsilon=50.0, delta=1e-5, expires=datetime.date.max
    )
    ledger = Ledger.open(tmp_path / "here.sqlite", policy)
    made = Site(
        {}, policy, ledger, workbench, max_tokens=64, new_randomness=lambda _id: Randomness.fresh(),
        inbox=Inbox(tmp_path, "tiny", lambda delivery: f"card of {delivery.run_id}"),
    )  # fmt: skip
    made.commit(Schedule.constant("run-1", 2.0, 0.5, 4, "record"))
    return made


@pytest.fixture
def delivery(workbench: Workbench) -> Delivery:
    return _delivery(workbench)


def _delivery(workbench: Workbench, seed: int = 0, run_id: str = "run-1", result: bytes = RESULT) -> Delivery:
    adapter = workbench.adapter
    values = np.random.default_rng(seed).standard_normal(adapter.layout.size).astype(np.float32)
    return Delivery.of(run_id, adapter.digest, values, result, CONFIG, ROUNDS)


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder, with what would show that it was written anew."""
    found = (folder / "delivered").rglob("*")
    return {str(p): (p.stat().st_ino, p.read_bytes()) for p in found if p.is_file()}


def _refusal(site: Site, delivery: Delivery) -> RefusalCode:
    with pytest.raises(Refusal) as caught:
        site.deliver(delivery)
    return caught.value.code


def test_adapter_and_result_are_kept_for_the_site_alone(
    site: Site, delivery: Delivery, workbench: Workbench, tmp_path: Path
) -> None:
    site.deliver(delivery)
    (kept,) = (tmp_path / "delivered/run-1").iterdir()
    assert kept.name == delivery.digest[:16]
    papers = {"result.json": RESULT, "config.toml": CONFIG, "rounds.jsonl": ROUNDS}
    assert {name: (kept / name).read_bytes() for name in papers} == papers
    assert json.loads((kept / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert (kept / "adapter/README.md").read_text() == "card of run-1"
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (kept, kept.parent, kept.parent.parent))
    tokens = {"input_ids": workbench.model.dummy_inputs["input_ids"] % 50}
    workbench.adapter.load(delivery.adapter)
    expected = workbench.model(**tokens).logits
    loaded = PeftModel.from_pretrained(tiny_backbone().model, str(kept / "adapter"))
    assert np.allclose(loaded(**tokens).logits.detach(), expected.detach(), atol=1e-4)


def test_the_same_again_is_kept_once_and_nothing_is_written_over(
    site: Site, delivery: Delivery, workbench: Workbench, tmp_path: Path
) -> None:
    site.deliver(delivery)
    before = _files(tmp_path)
    site.deliver(delivery)
    assert _files(tmp_path) == before
    site.deliver(_delivery(workbench, result=b'{"epsilon": 0.0}'))  # of a resumed run, or a lie: beside it
    after = _files(tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) == 2 * len(before)


def test_a_run_has_room_for_a_few_only(site: Site, workbench: Workbench, tmp_path: Path) -> None:
    for seed in range(4):
        site.deliver(_delivery(workbench, seed))
    before = _files(tmp_path)
    assert _refusal(site, _delivery(workbench, 4)) is RefusalCode.POLICY
    site.deliver(_delivery(workbench, 3))
    assert _files(tmp_path) == before


def test_what_a_crash_left_is_made_anew(site: Site, delivery: Delivery, tmp_path: Path) -> None:
    draft = tmp_path / "delivered/run-1" / f"{delivery.digest[:16]}.draft"
    draft.mkdir(parents=True)
    (draft / "half").write_text("x")
    site.deliver(delivery)
    (kept,) = draft.parent.iterdir()
    names = ["adapter", "config.toml", "result.json", "rounds.jsonl"]
    assert sorted(path.name for path in kept.iterdir()) == names


@pytest.mark.parametrize("run_id", ["../run-1", "/etc/cron.d/run-1", "a/b", "..", ".", "", "run 1", "filter"])
def test_a_run_that_is_a_path_is_refused(
    site: Site, workbench: Workbench, tmp_path: Path, run_id: str
) -> None:
    assert _refusal(site, _delivery(workbench, run_id=run_id)) is RefusalCode.MALFORMED
    assert not (tmp_path / "delivered").exists()


def test_a_run_that_the_ledger_does_not_know_is_refused(
    site: Site, workbench: Workbench, tmp_path: Path
) -> None:
    assert _refusal(site, _delivery(workbench, run_id="another")) is RefusalCode.POLICY
    assert not (tmp_path / "delivered").exists()


@pytest.mark.parametrize(
    "result",
    [b"", b"[]", b"null", b"{", b"\xff{}", b"[" * 100_000, b'{"a": "' + b"x" * PAPERS["result"] + b'"}'],
    ids=["empty", "a list", "null", "cut short", "no text", "nested", "too large"],
)
def test_a_result_that_is_none_is_refused(
    site: Site, workbench: Workbench, tmp_path: Path, result: bytes
) -> None:
    assert _refusal(site, _delivery(workbench, result=result)) is RefusalCode.MALFORMED
    assert not (tmp_path / "delivered").exists()


@pytest.mark.parametrize(
    ("paper", "data"),
    [
        ("config", b"\xff\xfe"),
        ("config", b"a = 1\0"),
        ("config", b"#" * (PAPERS["config"] + 1)),
        ("rounds", b'{"round": 1}\n[]\n'),
        ("rounds", b"{}\n" * (PAPERS["rounds"] // 3 + 1)),
    ],
)
def test_papers_that_are_none_are_refused(
    site: Site, delivery: Delivery, tmp_path: Path, paper: str, data: bytes
) -> None:
    broken = dataclasses.replace(delivery, **{paper: data})
    assert (
        _refusal(site, dataclasses.replace(broken, digest=broken.content_digest())) is RefusalCode.MALFORMED
    )
    assert not (tmp_path / "delivered").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("digest", "0" * 64),
        ("config", b"epsilon = 1.0"),
        ("rounds", b"{}"),
        ("digest", "../../../../tmp/x"),
        ("result", b'{"epsilon": 1.0}'),
        ("layout_digest", "0" * 64),
        ("adapter", np.zeros(3, np.float32)),
    ],
)
def test_what_its_digest_does_not_cover_is_refused(
    site: Site, delivery: Delivery, tmp_path: Path, field: str, value: object
) -> None:
    assert _refusal(site, dataclasses.replace(delivery, **{field: value})) is RefusalCode.MALFORMED
    assert not (tmp_path / "delivered").exists()


def test_an_adapter_that_is_not_finite_and_another_protocol_are_refused(
    site: Site, delivery: Delivery, workbench: Workbench
) -> None:
    broken = delivery.adapter.copy()
    broken[0] = np.nan
    resealed = Delivery.of("run-1", workbench.adapter.digest, broken, RESULT)
    assert _refusal(site, resealed) is RefusalCode.MALFORMED
    assert _refusal(site, dataclasses.replace(delivery, protocol=2)) is RefusalCode.PROTOCOL


def test_a_card_that_cannot_be_made_leaves_nothing_half(
    site: Site, delivery: Delivery, tmp_path: Path
) -> None:
    whole = site._inbox
    site._inbox = Inbox(tmp_path, "tiny", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        site.deliver(delivery)
    site._inbox = whole
    site.deliver(delivery)
    (kept,) = (tmp_path / "delivered/run-1").iterdir()
    assert (kept / "adapter/README.md").is_file()


def test_a_site_without_an_inbox_takes_nothing(site: Site, delivery: Delivery, tmp_path: Path) -> None:
    site._inbox = None
    assert _refusal(site, delivery) is RefusalCode.POLICY
    assert not (tmp_path / "delivered").exists()
