# SPDX-License-Identifier: Apache-2.0
"""Versions, hashes and the configuration: what one needs to have the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fedpeft.report.parts import Block, Facts, Listing, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.types import JsonDict


def section(run: RunFolder, prefix: str) -> Section:
    """Last of all sections."""
    return Section(f"{prefix}provenance", "Versions, configuration, hashes", tuple(_blocks(run)))


def _blocks(run: RunFolder) -> Iterator[Block]:
    yield Facts(tuple(_facts(run)))
    if run.result is not None:
        versions = tuple((name, str(version)) for name, version in run.result["versions"].items())
        yield Table("Versions", ("library", "version"), versions)
    yield Listing("config.toml, with all defaults", run.config_text)


def _facts(run: RunFolder) -> Iterator[tuple[str, str]]:
    result = run.result
    if result is not None:
        yield "run", str(result.get("run_id", "not recorded"))
        yield "method", str(result["method"])
        yield "backbone", str(result["backbone"])
        yield "digest of the backbone", str(result["backbone_digest"])
        yield from _of_data(result.get("data") or {})
    yield "SHA-256 of config.toml", hashlib.sha256(run.config_text.encode()).hexdigest()


def _of_data(data: JsonDict) -> Iterator[tuple[str, str]]:
    yield "source of the data", str(data.get("source", "not recorded"))
    if "content_hash" in data:
        yield "hash of the data", str(data["content_hash"])
