"""A folder that appears whole or not at all: it is written beside its place, synced, and renamed into it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.errors import BundleError, CheckpointError

_SUFFIX = ".partial"


@contextmanager
def staging_folder(target: Path, needed_bytes: int, source: Path) -> Iterator[Path]:
    """A folder beside `target` to write into; gone in the end, unless `move_into_place` was called.

    What the disk says no to on the way becomes a BundleError here; where it is a file under `source`, a CheckpointError.
    """
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < needed_bytes:
            raise BundleError(
                f"{target.parent} has {free / 1e9:.2f} GB free and the bundle needs {needed_bytes / 1e9:.2f} GB; "
                "make room or choose another disk"
            )
        _clear_abandoned(target)
        prefix = f".{target.name}.{os.getpid()}."
        staging = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=target.parent))
        staging.chmod(0o755)
        yield staging
    except OSError as error:
        if error.filename and Path(error.filename).absolute().is_relative_to(source.absolute()):
            raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BundleError(
                f"the disk of {target} filled up midway; nothing was left there, make room and retry"
            ) from None
        raise BundleError(f"{target} cannot be written: {error.strerror or error}; choose another output") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def move_into_place(staging: Path, target: Path) -> None:
    """Give the folder its name, once all of it is on the disk; what was there before is replaced."""
    _sync(*staging.iterdir(), staging)
    if not target.exists():
        staging.rename(target)
    else:
        replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
        target.rename(replaced)
        try:
            staging.rename(target)
        except OSError:
            replaced.rename(target)
            raise
        shutil.rmtree(replaced, ignore_errors=True)  # the new one is in place; what is left of the old one harms nobody
    _sync(target.parent)


def _clear_abandoned(target: Path) -> None:
    """Remove what a process that was killed left behind for this target; the folder's name tells its process."""
    name = re.compile(rf"{re.escape(f'.{target.name}.')}(\d+)\.[^.]+{re.escape(_SUFFIX)}")
    for left in target.parent.iterdir():
        match = name.fullmatch(left.name)
        if match and not Path("/proc", match[1]).exists():
            shutil.rmtree(left, ignore_errors=True)


def _sync(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
