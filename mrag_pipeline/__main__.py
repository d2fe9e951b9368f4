"""The `mrag` command, and `python -m mrag_pipeline`: says what is missing where it cannot start."""

import signal
import sys

from mrag_pipeline import environment, extras

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Runs the command line; where a library is missing, one line says how to install it."""
    environment.open_closed_streams()
    try:
        from mrag_pipeline.cli import main as run

        run()
    except ModuleNotFoundError as error:
        missing = extras.explained(error, "the `mrag` command" if not _has_commands() else "")
        if missing is None:
            raise
        sys.stderr.write(f"mrag: {missing}\n")
        sys.exit(missing.exit_code)
    except KeyboardInterrupt:  # before a command runs, which has its own way to stop
        sys.stderr.write("mrag: interrupted\n")
        sys.exit(INTERRUPTED)


def _has_commands() -> bool:
    return extras.has("typer")


if __name__ == "__main__":
    main()
