"""The environment of all tests and of the processes that they start; to be imported before numpy and torch."""

from __future__ import annotations

import gc
import os

# Else each command of DVC begins another process, of three times its cost, to tell its makers and to ask for updates.
QUIET_DVC = {"DVC_TEST": "1"}
SETTINGS = {
    # One thread for each process: two of them must not fight for two cores, and sums come in one order.
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",  # more of its threads would also wake torch's
    "HF_HUB_OFFLINE": "1",
    "TIMBRE_LIVE": "0",  # MLflow takes seconds to load; tests/pipeline/test_live.py asks for it
    **QUIET_DVC,
}

for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

gc.disable()  # while test files are imported: a sixth of the time it takes; tests/conftest.py turns it on again
