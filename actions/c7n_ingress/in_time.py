"""Have a run end before it is ended: what a killed process has done, nobody is told."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

LONGEST_RESERVE = 60.0
"""How many seconds are kept for telling, at most; of a short time-out, a fifth. Lambda's longest is 900."""


class OutOfTime(BaseException):  # no Exception: whatever goes on after an error must not after this
    """The function's time is nearly over."""


@contextmanager
def ended_in_time(context: Any) -> Iterator[None]:
    """End what is done in this block while there is time left to tell of it, whatever it waits for.

    It is ended once, wherever it is; what it does upon that is ended by Lambda alone. Takes the main thread, which is
    where Lambda runs a handler, and a system that has the signal SIGALRM.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html

    :param context: Lambda's.
    :raises TimeoutError: it was ended.
    """
    seconds = context.get_remaining_time_in_millis() / 1000
    before = signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds - min(LONGEST_RESERVE, seconds / 5), 0.001))
    try:
        yield
    except OutOfTime as stop:
        raise TimeoutError(str(stop)) from stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _end(_signal: int, _frame: object) -> NoReturn:
    raise OutOfTime("the function's time was nearly over: AWS answered too slowly, or too often not at all")


@contextmanager
def ended_on_request() -> Iterator[None]:
    """Have SIGTERM stop this block as Ctrl-C does: a cancelled job and a stopped container ask so for a process's end.

    SIGTERM asks for nothing more after either: ``timeout`` of coreutils may send it twice, and GitHub sends it after
    Ctrl-C, which must not stop the telling. A worker of c7n-org's would go on with the next account upon any exception,
    and wait for ever once its parent has ended; so a process that multiprocessing has started ends by SIGTERM, once
    this block was stopped.

    Only the main thread can have it so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody has it ignored
        heeded.append(signal.SIGINT)
    before = {each: signal.signal(each, _stop) or signal.SIG_DFL for each in heeded}
    try:
        yield
    except KeyboardInterrupt:
        if multiprocessing.parent_process():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _stop(_signal: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
