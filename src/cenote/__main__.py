"""``python -m cenote`` is the command ``cenote``."""

import sys

from .cli.main import main

sys.exit(main())
