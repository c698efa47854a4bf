"""Before any test module imports numpy: the settings of BLAS that the package makes."""

import tiltwright  # noqa: F401
