"""`python -m lookalike`, and with it `torchrun -m lookalike`."""

import sys


def main() -> None:
    """Entry point of the command; Ctrl-C while it is loaded is told as later on."""
    try:
        from lookalike.cli.main import run
    except KeyboardInterrupt:
        print("lookalike: stopped", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
