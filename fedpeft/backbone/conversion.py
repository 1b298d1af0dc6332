# SPDX-License-Identifier: Apache-2.0
"""GGUF files as ordinary model folders, converted once and kept in the user's cache.

Reading a GGUF file means undoing its quantization, which takes long; the safetensors file made from it is
memory-mapped in a moment. A conversion is made in a folder of its own and appears whole or not at all, so
that a crash leaves nothing half-written and two processes may convert at the same time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fedpeft.backbone.quiet import quiet
from fedpeft.backbone.registry import sha256_of
from fedpeft.backbone.sources import Source, check_complete, unreadable
from fedpeft.cache import cache_dir
from fedpeft.errors import BackboneError
from fedpeft.types import JsonDict

_FORMAT = 1  # raise it when the same GGUF file would be converted into something else
_MANIFEST = "conversion.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Converted:
    """A model folder in the cache, and the digest of its weights."""

    folder: Path
    digest: str


def convert_once(source: Source, sha256: str, provide: Callable[[Path], Path]) -> Converted:
    """Return the conversion of a GGUF file, making it when the cache does not have it.

    A folder whose weights no longer have the recorded size is made again.

    Args:
        source: what the user asked for; named in errors.
        sha256: of the GGUF file.
        provide: called only when there is something to convert, with a folder that is removed afterwards;
            puts the GGUF file there and nothing else, because a tokenizer beside it would be read first.

    Raises:
        BackboneError: the file cannot be read, or the cache has no space or cannot be written.
    """
    found = find_conversion(sha256)
    if found is not None:
        return found
    target = _target(sha256)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as scratch:
            gguf = provide(Path(scratch))
            log.info("converting %s, once", gguf.name)
            made = Path(scratch) / "model"
            _convert(source, gguf, made)
            return _publish(made, target, Path(scratch))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _no_space(source) from error
        raise BackboneError(
            f"the cache folder {target.parent} cannot be written ({error.strerror or error}); "
            "set FEDPEFT_CACHE to a folder that can"
        ) from error


def find_conversion(sha256: str) -> Converted | None:
    """Return the conversion of the GGUF file with this hash, if the cache has it whole."""
    return _recorded(_target(sha256))


def weights_digest(folder: Path) -> str:
    """Hash the weights in a model folder: of one file its sha256, of several the sha256 over theirs.

    Raises:
        BackboneError: the folder has no weights.
    """
    files = _weight_files(folder)
    if not files:
        raise BackboneError(
            f"model.backbone is {str(folder)!r}, a folder without weights; add model.safetensors"
        )
    hashes = [sha256_of(path) for path in files]
    joined = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return f"sha256:{joined}"


def _target(sha256: str) -> Path:
    return cache_dir() / "backbones" / f"gguf-{_FORMAT}-{sha256}"


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _convert(source: Source, gguf: Path, made: Path) -> None:
    try:
        # The progress bar of the conversion knows no switch.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            where = {"gguf_file": gguf.name, "local_files_only": True}
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **where)
            loaded, info = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent), dtype=torch.float32, output_loading_info=True, **where
            )
            check_complete(source, info)
            # The loaded object still calls itself quantized and refuses to be saved; a new one does not.
            fields = {
                key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"
            }
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(type(loaded.config)(**fields))
            model.load_state_dict(loaded.state_dict(), assign=True)
            model.tie_weights()
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
    except BackboneError:
        raise
    except Exception as error:  # the libraries raise almost anything for a damaged file
        if "no space left" in str(error).lower():
            raise _no_space(source) from error
        raise unreadable(source, error) from error


def _publish(made: Path, target: Path, scratch: Path) -> Converted:
    """Give the finished folder its name, unless another process was first."""
    sizes = {path.name: path.stat().st_size for path in _weight_files(made)}
    converted = Converted(target, weights_digest(made))
    manifest: JsonDict = {"digest": converted.digest, "sizes": sizes}
    (made / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    try:
        os.rename(made, target)
    except OSError:
        found = _recorded(target)
        if found is not None:
            return found
        os.rename(target, scratch / "damaged")  # moved where it will be removed
        os.rename(made, target)
    return converted


def _recorded(target: Path) -> Converted | None:
    """Read a conversion's record; ``None`` where it is absent or does not fit the files."""
    try:
        manifest = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))
        whole = all((target / name).stat().st_size == size for name, size in manifest["sizes"].items())
        return Converted(target, manifest["digest"]) if whole else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _no_space(source: Source) -> BackboneError:
    return BackboneError(
        f"no space left to convert model.backbone {source.place!r} in {cache_dir()}; "
        "free about six times the size of the GGUF file there, or set FEDPEFT_CACHE to another disk"
    )
