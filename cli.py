"""``python cli.py …`` from a checkout: the same entry point as the installed ``twotower``."""

from twotower.cli import main

if __name__ == "__main__":
    main()
