"""Names that stay in their folder, files that appear whole or not at all, held folders, and failed writes as a line."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .errors import RuleExtrapError

LOCK = ".lock"
"""The file in a folder that is locked while a process works there; its text says which process that is."""

# The ending of the real name stays at the end, because libraries choose the format by it.
_DRAFT = ".part-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
# Libraries in Rust and C++ report a failed write as an error of their own.
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_ERROR = re.compile(r"PytorchStreamWriter|inline_container|iostream error")
# Bytes of a name from data; file systems take 255.
_MOST = 120
_logger = logging.getLogger(__name__)


def safe_name(text: str) -> str:
    """The name of a file or folder for a text that may come from a stranger; it never leaves the folder it is put in.

    Letters, digits, ``_``, ``-`` and single dots inside stay; anything else becomes ``-``. A text of more than 120
    characters is cut, and ends with a digest of the whole.

    >>> safe_name("anbn-lstm"), safe_name("org/model"), safe_name("x/../../../target")
    ('anbn-lstm', 'org-model', 'x-target')
    """
    name = re.sub(r"[^\w.-]+|\.{2,}", "-", text)
    name = re.sub(r"-*\.?-+", "-", name) if name != text else name
    name = name.strip("-.") or "unnamed"
    if len(name.encode()) <= _MOST:
        return name
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{name.encode()[:_MOST].decode(errors='ignore')}-{digest}"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file under a draft name; the file gets its own name when it is whole.

    Args:
        path: the file. Its folder is created.

    Yields:
        The draft, in the same folder and with the same ending. What is there when the context ends normally replaces
        the file; after an exception the draft is removed. The draft of a killed process stays: see `remove_drafts`.

    Raises:
        RuleExtrapError: there is no room, or no permission to write.
    """
    path = Path(path)
    draft = path.with_name(f"{_DRAFT}{secrets.token_hex(4)}-{path.name}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; see `replacing`."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        file.write(text)


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file's contents, whole or not at all; see `replacing`."""
    with replacing(path) as draft:
        shutil.copyfile(source, draft)


@contextmanager
def replacing_in(folder: str | Path) -> Iterator[Path]:
    """Write several files into a draft folder; each of them moves to the folder when all are whole.

    Args:
        folder: where the files go. The folder is created; its other files stay.

    Yields:
        The draft folder, which is empty.

    Raises:
        RuleExtrapError: there is no room, or no permission to write.
    """
    folder = Path(folder)
    draft = folder / f"{_DRAFT}{secrets.token_hex(4)}"
    with writing(folder):
        draft.mkdir(parents=True)
        try:
            yield draft
            for path in sorted(draft.iterdir()):
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def is_leftover(path: Path) -> bool:
    """Whether a path is a draft of a killed process, or a lock: nothing that a user would miss."""
    return path.name == LOCK or path.name.startswith(_DRAFT)


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that killed processes left in a folder and below it, and not where another process works."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here != folder and LOCK in files:
            folders.clear()
            continue
        for name in folders:
            if name.startswith(_DRAFT):
                shutil.rmtree(here / name)
        folders[:] = [name for name in folders if not name.startswith(_DRAFT)]
        for name in files:
            if name.startswith(_DRAFT):
                (here / name).unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn the failure of a write into one line that says which path, how much room is left, and what to do.

    Args:
        path: what is being written, for failures that do not name a path.

    Raises:
        RuleExtrapError: there is no room, or no permission to write. Other exceptions pass.
    """
    try:
        yield
    except RuleExtrapError:
        raise
    except Exception as error:
        if (line := _write_failure(error, Path(path))) is None:
            raise
        raise RuleExtrapError(line) from error


def _write_failure(error: Exception, path: Path) -> str | None:
    """The line for a failed write; None for any other exception."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError):
        # A copy names its source, too.
        named = [
            Path(os.fsdecode(name)) for name in (error.filename2, error.filename) if isinstance(name, (str, bytes))
        ]
        path = next((name for name in named if name.is_relative_to(path)), path)
    elif match := _RUST_ERROR.search(str(error)):
        number = int(match[1])
    elif isinstance(error, RuntimeError) and _TORCH_ERROR.search(str(error)):
        number = errno.ENOSPC
    if number in _NOT_ALLOWED:
        reason, advice = os.strerror(number), "allow writing there, or give another folder"
    elif number in _NO_FOLDER:
        reason, advice = os.strerror(number), "give another folder"
    elif number in _NO_ROOM:
        reason, advice = f"{os.strerror(number)}; {room(path)}", "make room, or give another folder"
    else:
        return None
    return f"cannot write {_named(path)} ({reason}): {advice}, and give the same command again"


def _named(path: Path) -> Path:
    """The path that a draft would get."""
    parts = (re.sub(rf"^{re.escape(_DRAFT)}[0-9a-f]{{8}}-?", "", part) for part in path.parts)
    return Path(*(part for part in parts if part))


def room(path: str | Path) -> str:
    """How much room the disk of a path has left, in words."""
    path = Path(path)
    for parent in (path, *path.absolute().parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(parent).free / 1e6:,.1f} MB are free"
    return "how much is free is not known"


@contextmanager
def hold(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, so that no other process works in it, for as long as this process lives or the context lasts.

    Args:
        folder: is created. Drafts that a killed process left there are removed.
        wait: wait for a process that holds the folder.

    Raises:
        RuleExtrapError: another process holds the folder, and ``wait`` is False; or there is no room, or no permission
            to write.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    with ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / LOCK
            lock = FileLock(path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                line = f"{folder} is in use by {_holder(path)}"
                if not wait:
                    raise RuleExtrapError(
                        f"{line}: wait until that process ends, give --wait, or give another folder"
                    ) from None
                _logger.warning("%s; waiting", line)
                lock.acquire()
            # The file goes first: whoever opened it in the meantime notices that it is gone, and opens another.
            stack.callback(lock.release)
            stack.callback(_remove, path)
            note = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            path.write_text(json.dumps(note), encoding="utf-8")
            remove_drafts(folder)
        yield


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    """Who holds a lock."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(note['process'])} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
