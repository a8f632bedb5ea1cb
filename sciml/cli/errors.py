"""What the user reads when a command fails: one sentence, and a traceback only under --debug."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click


@dataclass
class State:
    """What all commands of one call share."""

    debug: bool = field(default_factory=lambda: os.environ.get("SCIML_DEBUG", "") not in ("", "0"))


class Interrupted(Exception):
    """The user stopped a run that can be continued from its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"interrupted; continue with sciml run --resume {folder}")


def _set_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    state = ctx.find_root().obj
    if value and isinstance(state, State):
        state.debug = True


def debug_option(function: Any) -> Any:
    """Give a command the option --debug."""
    text = "Show tracebacks (as SCIML_DEBUG=1 does)."
    return click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_set_debug, help=text)(
        function
    )


def explain(error: BaseException) -> str:
    """Return the sentence `where: expected, got, do this` for an error."""
    from sciml.plugins import PluginError

    text = " ".join((error.format_message() if isinstance(error, click.ClickException) else str(error)).split())
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "sciml"
        return f"{command}: {text.rstrip('.')}; see {command} --help"
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, click.ClickException | PluginError | Interrupted) or "expected" in text:
        return text
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.filename or 'disk'}: expected room to write, got {error.strerror!r}; free some space"
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: expected a usable file or folder, got {error.strerror!r}; check path, rights and space"
        )
    if isinstance(error, MemoryError):
        return f"memory: expected enough, got too little ({text or 'none left'}); use a smaller preset or batch"
    return (
        f"sciml: expected no failure, got {type(error).__name__}: {text}; run it again with --debug for the traceback"
    )
