"""`python -m lookalike`, and with it `torchrun -m lookalike`."""

from lookalike.cli.main import run

if __name__ == "__main__":
    run()
