"""``python -m twotower.cli …``: what MPI launchers start."""

from twotower.cli import main

if __name__ == "__main__":
    main()
