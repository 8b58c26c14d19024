"""``python -m mnistvae`` is the command ``mnistvae``."""

from mnistvae.commands import main

if __name__ == "__main__":
    main()
