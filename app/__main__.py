"""``python -m tiltwright.app``."""

import sys

from tiltwright.app.cli import main

sys.exit(main())
