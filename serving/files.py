"""Small helpers for files that must not be lost or mistaken."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

READ_BYTES = 1 << 20


def sync_file(path: Path) -> None:
    """Force the content of a file to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file."""
    with path.open("rb", buffering=0) as file:  # into one buffer, without a new one per piece
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
