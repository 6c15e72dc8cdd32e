"""Safe file names, files that are written completely or not at all, locked folders, and one line for a failed write."""

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
"""The lock file of a folder. A process locks it while the process works there; its text names the process."""

# A draft keeps the ending of the file's name, because libraries choose the format by the ending.
_DRAFT = ".part-"
_LEVELS_OF_DRAFTS = 2
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
# Libraries in Rust and C++ raise their own exceptions for a failed write.
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_ERROR = re.compile(r"PytorchStreamWriter|inline_container|iostream error")
# The largest number of bytes in a name that comes from data; file systems allow 255.
_MOST_NAME_BYTES = 120
_logger = logging.getLogger(__name__)


def safe_name(text: str) -> str:
    """Return a name for a file or folder from a text of unknown origin.

    The name never leads out of the folder in which the file or folder is created. Letters, digits, ``_``, ``-`` and
    single dots inside the text stay; all other characters become ``-``. A name of more than 120 bytes is cut and ends
    with a digest of the text.

    >>> safe_name("anbn-lstm"), safe_name("org/model"), safe_name("x/../../../target")
    ('anbn-lstm', 'org-model', 'x-target')
    """
    name = re.sub(r"[^\w.-]+|\.{2,}", "-", text)
    name = re.sub(r"-*\.?-+", "-", name) if name != text else name
    name = name.strip("-.") or "unnamed"
    if len(name.encode()) <= _MOST_NAME_BYTES:
        return name
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{name.encode()[:_MOST_NAME_BYTES].decode(errors='ignore')}-{digest}"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file under a draft name, and rename the draft when the file is complete.

    Args:
        path: The file. Its folder is created.

    Yields:
        The path of the draft, in the same folder and with the same ending. When the context ends normally, the draft
        replaces the file; after an exception the draft is removed. A killed process leaves its draft behind: see
        `remove_drafts`.

    Raises:
        RuleExtrapError: If the disk is full, or the process may not write there.
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
    """Write a text file in UTF-8, completely or not at all; see `replacing`."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        file.write(text)


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file's contents, completely or not at all; see `replacing`."""
    with replacing(path) as draft:
        shutil.copyfile(source, draft)


@contextmanager
def replacing_in(folder: str | Path) -> Iterator[Path]:
    """Write several files into a draft folder, and move them to their folder when all files are complete.

    Args:
        folder: The folder for the files. It is created if needed; its other files stay.

    Yields:
        The path of the empty draft folder.

    Raises:
        RuleExtrapError: If the disk is full, or the process may not write there.
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
    """Return whether a path is a lock file or the draft of a killed process."""
    return path.name == LOCK or _is_draft(path.name)


def _is_draft(name: str) -> bool:
    return re.match(rf"{re.escape(_DRAFT)}[0-9a-f]{{8}}(-|$)", name) is not None


def remove_drafts(folder: Path) -> None:
    """Remove the drafts of killed processes in a folder and two levels below, except where another process works."""
    for parent_name, folder_names, file_names in os.walk(folder):
        parent = Path(parent_name)
        if parent != folder and LOCK in file_names:
            folder_names.clear()
            continue
        for name in filter(_is_draft, folder_names):
            shutil.rmtree(parent / name)
        for name in filter(_is_draft, file_names):
            (parent / name).unlink(missing_ok=True)
        # This package writes no drafts below that level, and the folder may be the root of a disk.
        deepest = len(parent.relative_to(folder).parts) == _LEVELS_OF_DRAFTS
        folder_names[:] = [] if deepest else [name for name in folder_names if not _is_draft(name)]


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn a failed write into one line with the path, the free space on the disk, and the next step.

    Args:
        path: The file or folder that the context writes, for exceptions that name no path.

    Raises:
        RuleExtrapError: If the disk is full, or the process may not write there. Other exceptions pass unchanged.
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
    """Return the line for a failed write, or None for any other exception."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError):
        # The error of a failed copy names the source as well as the target.
        error_paths = [
            Path(os.fsdecode(name)) for name in (error.filename2, error.filename) if isinstance(name, (str, bytes))
        ]
        path = next((error_path for error_path in error_paths if error_path.is_relative_to(path)), path)
    elif match := _RUST_ERROR.search(str(error)):
        number = int(match[1])
    elif isinstance(error, RuntimeError) and _TORCH_ERROR.search(str(error)):
        number = errno.ENOSPC
    if number in _NOT_ALLOWED:
        reason, advice = os.strerror(number), "allow writing there, or choose another folder"
    elif number in _NO_FOLDER:
        reason, advice = os.strerror(number), "choose another folder"
    elif number in _NO_ROOM:
        reason, advice = f"{os.strerror(number)}; {room(path)}", "free some space, or choose another folder"
    else:
        return None
    return f"cannot write {_final_path(path)} ({reason}): {advice}, and run the same command again"


def _final_path(path: Path) -> Path:
    """Return the path of the file to which a draft belongs."""
    parts = (re.sub(rf"^{re.escape(_DRAFT)}[0-9a-f]{{8}}-?", "", part) for part in path.parts)
    return Path(*(part for part in parts if part))


def room(path: str | Path) -> str:
    """Return a phrase with the free space on the disk of a path."""
    path = Path(path)
    for parent in (path, *path.absolute().parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(parent).free / 1e6:,.1f} MB are free"
    return "the free space is unknown"


@contextmanager
def hold(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder against other processes until the context or this process ends.

    Args:
        folder: The folder, which is created if needed. The drafts of killed processes in it are removed.
        wait: Whether to wait until no other process holds the folder.

    Raises:
        RuleExtrapError: If another process holds the folder and ``wait`` is False, the disk is full, or the process may
            not write there.
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
                        f"{line}: wait until that process ends, pass --wait, or choose another folder"
                    ) from None
                _logger.warning("%s; waiting until that process ends", line)
                lock.acquire()
            # The file is removed before the lock is released, so that a waiting process notices the removal.
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
    """Return a phrase that names the process that holds a lock."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(note['process'])} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
