"""`python -m warmup` is `warmup-ci`."""

from warmup.start import main

if __name__ == "__main__":
    main()
