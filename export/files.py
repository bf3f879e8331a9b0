"""Writing so that nothing is ever half-written: to a temporary neighbour first, then a rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from export.errors import UsageError

CHUNK = 1 << 20
PIECES = 1 << 16  # of JSON text, some 10 characters each, that are written at once


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block ends well, and vanishes if not.

    raises  UsageError when the folder cannot be written, or has no room
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


Ours = Callable[[Path], bool]


@contextmanager
def replacing_folder(path: Path, ours: Ours) -> Iterator[Path]:
    """The same for a whole folder; one that exists is replaced only if it is empty or `ours(path)`.

    raises  UsageError when it cannot be written, has no room, or holds something else
    """
    path = path.resolve()
    check_writable(path, ours)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if old.exists() and not path.exists():  # interrupted between the two moves
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: Path, ours: Ours = lambda _: False) -> None:
    """Find out early whether `replacing_folder` will work; same errors."""
    path = path.resolve()
    if path == Path.cwd() or path.parent == path:
        raise UsageError(f"'{path}' is the current or the root folder; give --out a folder of its own.")
    try:
        foreign = path.exists() and (not path.is_dir() or (any(path.iterdir()) and not ours(path)))
    except OSError as error:
        raise _cannot_write(path, error) from error
    if foreign:
        raise UsageError(
            f"'{path}' exists and is not a bundle of ours, or holds other files too. Choose another --out."
        )
    check_parent(path)


def check_parent(path: Path) -> None:
    """UsageError unless files can be written beside `path`; missing folders above it are made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write '{path}': {error.strerror or error}. Choose a folder that is writable and has room."
    )


def write_json(path: Path, value: Any) -> None:
    """Indented JSON, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w") as file:
        pieces = json.JSONEncoder(indent=1).iterencode(value)
        while part := "".join(islice(pieces, PIECES)):  # a large report would be many times its size in one piece
            file.write(part)
        file.write("\n")


def json_text(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(value, indent=1) + "\n"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
