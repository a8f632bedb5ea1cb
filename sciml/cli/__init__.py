"""The `sciml` command: a lazy group; a command's module is imported when that command is asked for."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from sciml.cli.commands import CORE, load_command, package_commands
from sciml.cli.errors import Interrupted, State, debug_option, explain


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the core's commands, then those of installed packages."""
        return [*CORE, *(command.name for command in package_commands() if not command.clash)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; a broken one is a PluginError that names its package."""
        return load_command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a call, or suggest one with a similar name."""
        names = self.list_commands(ctx)
        if args[0][:1].isalnum() and args[0] not in names:
            import difflib

            close = difflib.get_close_matches(args[0], names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"expected a command, got {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and one-line helps."""
        with formatter.section("Commands"):
            formatter.write_dl(self._helps())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete names and options without importing a command."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=text) for name, text in self._helps() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> None:
        """Run the command; what it returns is not an exit status."""
        super().invoke(ctx)

    def _helps(self) -> list[tuple[str, str]]:
        extra = [
            (c.name, f"From {c.distribution}: see sciml {c.name} --help.") for c in package_commands() if not c.clash
        ]
        return [*((name, text) for name, (_, text) in CORE.items()), *extra]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  sciml list\n  sciml run acoustics --preset quick",
)
@click.version_option(package_name="sciml-toolkit", message="sciml %(version)s")
@debug_option
def cli() -> None:
    """Surrogates that stand in for expensive solvers: run, compare, report, predict.

    Exit status: 0 done, 1 failed, 2 wrong use.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the `sciml` command and exit with its status: 0 done, 1 failed, 2 wrong use."""
    sys.exit(run_command(args))


def run_command(args: Sequence[str] | None = None) -> int:
    """Run the `sciml` command with `args` (default: those of this process) and return its exit status."""
    state, stdout = State(), sys.stdout
    try:
        status = cli.main(args, prog_name="sciml", standalone_mode=False, obj=state)
        sys.stdout.flush()
        return status if status in (0, 1, 2) else int(status is not None)
    except BrokenPipeError:
        return _hush()
    except SystemExit as error:
        if "_SCIML_COMPLETE" in os.environ:  # click answers the shell's question for completions, then exits
            return int(bool(error.code))
        if isinstance(error.__context__, BrokenPipeError) or sys.stdout is not stdout:  # click wraps it then
            return _hush()
        message = (
            f"sciml: expected the command to return, got an exit with status {error.code!r}; tell the plugin's authors"
        )
        return _report(state, RuntimeError(message))
    except click.Abort as error:  # click's name for an interrupt, and for an end of file met by a command
        return _report(state, error.__cause__ or error)
    except (Exception, KeyboardInterrupt) as error:
        return _report(state, error)


def _report(state: State, error: BaseException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif state.debug and not isinstance(error, (click.ClickException, click.Abort, KeyboardInterrupt, Interrupted)):
        traceback.print_exception(error)
    else:
        click.echo(explain(error), err=True)
        for note in getattr(error, "__notes__", ()):
            click.echo(note, err=True)
    return error.exit_code if isinstance(error, click.ClickException) else 1


def _hush() -> int:
    """Give the interpreter's last flush somewhere to go when the reader of a pipe has left."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(null, stream.fileno())
    return 1
