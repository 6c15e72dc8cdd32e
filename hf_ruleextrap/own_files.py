"""Run a file that the user names as FILE.py:CLASS."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .errors import RuleExtrapError
from .inputs import FILE_MODULE, shown


def run_file(path: str | Path) -> ModuleType:
    """Run a Python file and return its module.

    Raises:
        RuleExtrapError: the file does not exist, or its code raises an exception.
    """
    path = Path(path)
    try:
        exists = path.is_file()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise RuleExtrapError(f"there is no file {shown(path)}: name an existing file as FILE.py:CLASS")
    # The module is in sys.modules under a name of its own, because dataclasses and pickle look modules up there.
    name = f"{FILE_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuleExtrapError(f"{shown(path)} is not a Python file: name one as FILE.py:CLASS")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise RuleExtrapError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise RuleExtrapError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from None
    return module
