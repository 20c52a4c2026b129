"""`python -m warmup` is `warmup-ci`."""

from warmup.cli import main

if __name__ == "__main__":
    main()
