"""Let a process sleep shorter and its clock run faster, as the embedded EC2's does: BENCH_SPEED times."""

import os
import time

SPEED = float(os.environ["BENCH_SPEED"])

_sleep, _monotonic = time.sleep, time.monotonic
time.sleep = lambda seconds: _sleep(seconds / SPEED)
time.monotonic = lambda: _monotonic() * SPEED
