"""The `c3dhash` command and how it reports errors. Commands import what is heavy when they run."""

from __future__ import annotations

import io
import logging
import sys

import click

import c3dhash
from c3dhash.cli.data import data
from c3dhash.cli.demo import demo
from c3dhash.cli.duplicates import duplicates
from c3dhash.cli.evaluate import evaluate
from c3dhash.cli.galleries import gallery
from c3dhash.cli.gallery import index, query
from c3dhash.cli.interrupts import imports_end_first
from c3dhash.cli.models import models
from c3dhash.cli.processes import speaks
from c3dhash.cli.recognize import classify
from c3dhash.cli.serve import serve
from c3dhash.cli.train import train
from c3dhash.errors import C3DHashError, RankError, UsageError
from c3dhash.memory import keep_freed_memory


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(c3dhash.__version__, prog_name="c3dhash")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")  # taken out by `main`
def cli(debug: bool) -> None:
    """Video retrieval by learned binary codes, and action recognition.

    \b
    Once data/ holds a data set:
        c3dhash train --hash-length 48 --margin 14
        c3dhash index db/
        c3dhash query VIDEO
        c3dhash evaluate

    Without one, `c3dhash demo` shows the whole road on generated videos.
    """


for command in (demo, data, train, index, query, duplicates, gallery, evaluate, classify, models, serve):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):  # a name that is not valid UTF-8 must not cost the rest of the output
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _log_to_stderr()
    keep_freed_memory()
    try:
        with imports_end_first():
            code = cli.main(arguments, prog_name="c3dhash", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        where = ""
        if isinstance(error, click.UsageError) and error.ctx is not None:
            where = f" (see {error.ctx.command_path} --help)"
        _fail(f"{error.format_message()}{where}", code=2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted. Type the same command again to go on.", code=130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as `| head` does
        sys.exit(1)
    except C3DHashError as error:
        if is_debug:
            raise
        if isinstance(error, RankError):
            _fail(str(error), code=error.exit_code, is_told=True)
        _fail(str(error), code=2 if isinstance(error, UsageError) else 1)
    except Exception as error:
        if is_debug:
            raise
        _fail(f"{type(error).__name__}: {error} (--debug shows where)", code=1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, *, code: int, is_told: bool | None = None) -> None:
    """End with a line; of several processes on a machine, one says what they all find."""
    if speaks() if is_told is None else is_told:
        click.echo(f"c3dhash: {' '.join(message.split())}", err=True)
    sys.exit(code)


class _AroundBars(logging.Handler):
    """Writes log lines to stderr without tearing a progress bar."""

    _formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        tqdm.write(prefix + record.getMessage(), file=sys.stderr)
        if record.exc_info:  # of what a server goes on after
            tqdm.write(self._formatter.formatException(record.exc_info), file=sys.stderr)


def _log_to_stderr() -> None:
    logger = logging.getLogger("c3dhash")
    logger.handlers = [_AroundBars()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
