"""The command line as a whole: which module holds which command, and what an error does to the exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from hdit_repro import __version__
from hdit_repro.cli.output import remark, told, width
from hdit_repro.cli.usage import Usage, shows_help, teach, unreadable
from hdit_repro.cli.variables import unread
from hdit_repro.errors import RunError, UserError, escaped
from hdit_repro.files import another_owner

COMMANDS = {
    "list": "catalog",
    "show": "catalog",
    "cost": "cost",
    "verify": "verify",
    "plan": "plan",
    "submit": "submit",
    "status": "status",
    "logs": "logs",
    "cancel": "manage",
    "retry": "manage",
    "gc": "manage",
    "cluster": "cluster",
    "train": "stage",
    "sample": "stage",
    "eval": "stage",
    "fid": "fid",
    "export": "fid",
    "render-tables": "render",
    "power": "power",
    "compare": "compare",
    "report": "report",
    "results": "results",
    "import": "exchange",
    "export-weights": "exchange",
    "data": "data",
    "doctor": "doctor",
    "weights": "weights",
    "reference": "reference",
}
"""Command -> module of this package. A module is imported when its command is called, or for its line in `--help`."""

PIPE_WIDTH = 120
"""Columns of help where there is no terminal to ask."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 and the signal's number, as shells have it."""


CUT_OFF = 141
"""The exit code of a command whose reader went before its end (`| head`): 128 and the signal's number."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to an open file fails with, stdout too: such errors name no file."""

REFUSED = "name another place, or mend its permissions (`hdit-repro doctor` looks at those of runs and cache)"


class LazyGroup(TyperGroup):
    """A group whose commands live in modules that are imported when they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"hdit_repro.cli.{COMMANDS[cmd_name]}")
        command = typer.main.get_group(module.app).commands[cmd_name]
        for each in (command, *getattr(command, "commands", {}).values()):
            each.short_help = str(each.help).partition("\n\n")[0]  # whole: the parser would cut it to a line
        return command


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hdit-repro {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Re-run, re-measure and audit the Hourglass Diffusion Transformer paper.

    Example: hdit-repro submit table1 --scale smoke --wait
    """
    try:
        Path.cwd()  # all that follows reads it: job files, paths, libraries that end the process where it is gone
    except OSError as error:
        raise UserError(
            "the folder that this command was started in is gone",
            found=f"{os.environ.get('PWD', 'it')}: {error.strerror}",
            expected="a folder that exists",
            fix="cd to another folder, or back to this one if it was made again, then run the same command",
        ) from error
    for line in unread():
        remark(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 the check or the run failed, 2 the request was wrong, 75
    asked to leave and saved, 130 ended by Ctrl-C, 141 whoever read its output is gone.

    Args:
        arguments: what follows the command's name; None takes the process's own.
    """
    warnings.formatwarning = _warning
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed (`>&-`): no file that is opened later may take its place
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that its encoding does not have
    try:
        code = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments),
            prog_name="hdit-repro",
            terminal_width=None if sys.stdout.isatty() else PIPE_WIDTH,
            standalone_mode=False,
        )
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # whoever reads has enough, which says nothing of a check
            return CUT_OFF
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except typer.Abort:
        return _said("stopped, and nothing was begun", 1)
    except Usage as error:
        if shows_help(error):
            error.show()
            return UserError.exit_code
        refused = unreadable(error)
        return _failed(teach(error) if refused is None else _of_the_system(refused))
    except UserError as error:
        return _failed(error)
    except Exception as error:
        if isinstance(error, OSError) and (error.filename is not None or error.errno in FULL):
            return _failed(_of_the_system(error))
        if isinstance(error, UnicodeEncodeError) and sys.getfilesystemencoding() != "utf-8":
            return _failed(_of_the_encoding(error))
        traceback.print_exc()
        return 1
    if code == INTERRUPTED:
        return _said("interrupted; what is finished stays, and the same command goes on from there", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a person reads it: what is said, without the line of code that said it."""
    return escaped(f"warning: {message}\n")


def _said(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _failed(error: UserError) -> int:
    return _said(told(error, width(sys.stderr)), error.exit_code)


def _of_the_system(error: OSError) -> RunError:
    """A file or a folder that the system refuses, told like every other failure."""
    places = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason, fix = error.strerror or str(error), REFUSED
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "free some space, then run the same command again"
    elif error.errno == errno.EFBIG:
        fix = "raise the limit on a file's size (`ulimit -f`), or name a disk that takes larger ones"
    elif error.errno in (errno.EIO, errno.ESTALE):
        fix = "look after the disk or its file server, then run the same command again"
    elif error.errno == errno.EEXIST and places and Path(places[-1]).is_symlink():
        reason = f"a link to {Path(places[-1]).readlink()}, where nothing is"
        fix = "make what it leads to, or delete the link"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR) and (file := _no_folder(places)):
        reason = f"{'it' if str(file) == places[-1] else file} is a file, where a folder is wanted"
        fix = "name another place, or move the file away"
    elif error.errno == errno.EACCES and places and (found := another_owner(Path(places[-1]))):
        what, owner = found
        reason += f"; {'it' if str(what) == places[-1] else what} belongs to {owner}"
        fix = (
            f"ask {owner} for `chmod -R g+rwX` and `chmod g+s` on the folders that you share, of a group that you are "
            "both in; and work there under `umask 002`, both of you"
        )
    return RunError(
        "the system refused a file or a folder",
        found=f"{' -> '.join(places) or 'an open file, or the output'}: {reason}",
        expected="a place that exists, can be read and written, and has room",
        fix=fix,
    )


def _no_folder(places: Sequence[str]) -> Path | None:
    """The file that stands where a folder would have to be: the place itself, or above it."""
    place = Path(places[-1]) if places else Path()
    return next((path for path in (place, *place.parents) if path.is_file()), None)


def _of_the_encoding(error: UnicodeEncodeError) -> UserError:
    """Letters of a name that this Python, told to do without UTF-8, cannot use for a file or took apart."""
    return UserError(
        "a name has letters that Python cannot use here",
        found=f"{error.object[error.start : error.end]!a}; Python takes names to be in {sys.getfilesystemencoding()}",
        expected="names in UTF-8",
        fix="export PYTHONUTF8=1, then run the same command again",
    )
