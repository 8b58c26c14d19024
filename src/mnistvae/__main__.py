"""``python -m mnistvae`` is the command ``mnistvae``."""

from mnistvae.cli import main

if __name__ == "__main__":
    main()
