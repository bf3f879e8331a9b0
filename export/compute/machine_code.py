"""Loops compiled by numba; machine code is kept on disk, and never outlives a source that it was made of.

Numba's own cache is stamped by the contents of the file that holds the loop. Compiled code also contains what that file
imports: other loops, and constants. So ours lies in a folder named after all these sources, and a change of any of them
compiles anew. Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from numba import config, njit
from numba.core.errors import NumbaError
from numba.misc.appdirs import AppDirs

_NJIT: Any = njit  # typed for fixed options
_NUMBA: Any = config  # its attributes are made at run time
_DIRECTORY = Lock()  # numba's cache directory belongs to the whole process


def compiled(*signature: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: machine code that runs without the interpreter's lock, cached where some folder can be written.

    signature  compiles at once for these types; none: at the first call
    options    numba's, such as `fastmath`
    """

    def decorate(loop: Callable[..., Any]) -> Callable[..., Any]:
        folder = cache_folder(loop.__module__)
        if folder is not None:
            try:
                with _cached_in(folder):
                    made: Callable[..., Any] = _NJIT(*signature, nogil=True, cache=True, **options)(loop)
                return made
            except (OSError, RuntimeError, NumbaError):  # the disk is full, or the folder went away
                pass
        plain: Callable[..., Any] = _NJIT(*signature, nogil=True, **options)(loop)
        return plain

    return decorate


@cache
def cache_folder(module: str) -> Path | None:
    """Where a module's machine code lies; None: nowhere. Numba's order: its own setting, beside the file, the user's cache."""
    try:
        name = f"numba-{digest(sources(module))}"
    except (OSError, SyntaxError):  # no files: a program frozen or zipped
        return None
    beside = Path(str(sys.modules[module].__file__)).parent / "__pycache__"
    user = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)  # type: ignore[no-untyped-call]
    bases = [Path(_NUMBA.CACHE_DIR)] if _NUMBA.CACHE_DIR else [beside, user]
    return next((base / name for base in bases if _writable(base / name)), None)


def sources(module: str) -> tuple[Path, ...]:
    """Files of a module and of all that it imports at its top, from its own package or ours, and these in turn; sorted."""
    packages = {_package(module), _package(__name__)}
    found: dict[str, Path] = {}
    left = [module]
    while left:
        name = left.pop()
        if name in found:
            continue
        file = getattr(sys.modules[name], "__file__", None)
        if file is None:
            raise FileNotFoundError(f"module {name} has no file")
        found[name] = Path(file)
        left += [other for other in _imported(found[name]) if other in sys.modules and _package(other) in packages]
    return tuple(sorted(found.values()))


def digest(files: tuple[Path, ...]) -> str:
    """Of the contents, in hexadecimal."""
    parts = [hashlib.blake2b(file.read_bytes(), digest_size=16).digest() for file in files]
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()


def _package(module: str) -> str:
    return module.partition(".")[0]


def _imported(file: Path) -> Iterator[str]:
    """Names that may be modules."""
    for statement in ast.parse(file.read_bytes()).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    with _DIRECTORY:
        before = _NUMBA.CACHE_DIR
        _NUMBA.CACHE_DIR = str(folder)
        try:
            yield
        finally:
            _NUMBA.CACHE_DIR = before
