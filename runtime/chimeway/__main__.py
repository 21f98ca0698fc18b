"""`python -m chimeway`: the command line."""

from chimeway.cli.main import main

if __name__ == "__main__":
    main()
