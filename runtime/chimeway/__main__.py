"""`python -m chimeway`: the command line."""

from runpy import run_module

if __name__ == "__main__":
    # By name: this module and the command line stand in one ring, and siblings do not import each other.
    run_module("chimeway.cli.main", run_name="__main__")
