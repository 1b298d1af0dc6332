# SPDX-License-Identifier: Apache-2.0
"""Where caches lie."""

from pathlib import Path

import platformdirs

from fedpeft.cache import cache_dir


def test_the_environment_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDPEFT_CACHE", str(tmp_path / "elsewhere"))
    assert cache_dir() == tmp_path / "elsewhere"


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FEDPEFT_CACHE", "~/kept")
    assert cache_dir() == tmp_path / "kept"


def test_default_is_the_users_own(monkeypatch):
    monkeypatch.delenv("FEDPEFT_CACHE", raising=False)
    assert cache_dir() == Path(platformdirs.user_cache_dir("fedpeft"))
