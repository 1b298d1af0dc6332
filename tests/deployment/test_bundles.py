# SPDX-License-Identifier: Apache-2.0
"""Signed bundles, as Flower's own SuperLink fetches them and Flower's own SuperNode checks them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from flwr.supercore.fab import Fab
from flwr.superlink.servicer.control import control_handlers
from flwr.supernode.start_client_internal import _verify_fab

from fedpeft.cli import main
from fedpeft.deployment.authority import make_node_key
from fedpeft.deployment.bundles import APP, Hub, sign
from fedpeft.errors import UserError

BUNDLE = b"two files that were read"


def _key() -> tuple[bytes, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    encoding = serialization.Encoding
    private = key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private, public.decode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(BUNDLE, [], 0)
    monkeypatch.setattr(control_handlers, "FLWR_SUPERGRID_API_URL", made.url)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def _fetched() -> Fab:
    """What a SuperLink stores for a run of the app."""
    content, verifications, _ = control_handlers._get_remote_fab(None, APP)
    return Fab("", content, verifications)


def test_a_node_admits_what_a_key_it_trusts_has_signed(hub: Hub) -> None:
    private, public = _key()
    hub.signatures.append(sign(BUNDLE, private, "reviewer", 1_800_000_000))
    fab = _fetched()
    assert fab.content == BUNDLE
    assert fab.verifications["valid_license"]
    assert _verify_fab(fab, {"reviewer": public})
    assert _verify_fab(fab, {"somebody": _key()[1], "reviewer": public})


def test_a_node_refuses_everything_else(hub: Hub) -> None:
    private, public = _key()
    other_private, other_public = _key()
    assert not _verify_fab(_fetched(), {"reviewer": public})  # nobody signed
    good = sign(BUNDLE, private, "reviewer", 1_800_000_000)
    for signature in (
        sign(b"another bundle", private, "reviewer", 1_800_000_000),
        sign(BUNDLE, other_private, "reviewer", 1_800_000_000),
        good | {"signed_at": 1_800_000_001},
    ):
        hub.signatures[:] = [signature]
        assert not _verify_fab(_fetched(), {"reviewer": public})
    hub.signatures[:] = [good]
    assert not _verify_fab(_fetched(), {"reviewer": other_public})
    assert not _verify_fab(_fetched(), {"under another name": public})
    assert _verify_fab(_fetched(), {"reviewer": public})
    hub.bundle = BUNDLE + b"."  # changed by the coordinator after it was signed
    assert not _verify_fab(_fetched(), {"reviewer": public})


def test_another_app_is_not_there(hub: Hub) -> None:
    with pytest.raises(Exception, match="download link"):
        control_handlers._get_remote_fab(None, "@fedpeft/other")


@pytest.mark.parametrize("key", [b"no key", make_node_key("node").key], ids=["none", "of another kind"])
def test_a_key_that_cannot_sign_is_refused(key: bytes) -> None:
    with pytest.raises(UserError, match="ssh-keygen -t ed25519"):
        sign(BUNDLE, key, "reviewer", 0)


def test_the_command_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = _key()
    (tmp_path / "app.fab").write_bytes(BUNDLE)
    (tmp_path / "key").write_bytes(private)
    command = [
        "bundle",
        "sign",
        str(tmp_path / "app.fab"),
        "--key",
        str(tmp_path / "key"),
        "--name",
        "st-mary",
    ]
    assert main(command) == 0
    signature = json.loads((tmp_path / "app.fab.st-mary.json").read_text())
    verifications = control_handlers._format_verification([signature])
    assert _verify_fab(Fab("", BUNDLE, verifications), {"st-mary": public})
    assert main([*command[:2], str(tmp_path / "absent.fab"), *command[3:]]) == 2
    assert "absent.fab" in capsys.readouterr().err
