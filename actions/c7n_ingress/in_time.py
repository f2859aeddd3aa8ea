"""End a run in time: a process that is killed cannot report what it has done."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

LONGEST_RESERVE = 60.0
"""The most seconds that are kept for reporting; Lambda's longest time-out is 900."""


class OutOfTime(BaseException):  # no Exception: code that goes on after an error must not go on after this
    """The function's time is nearly over."""


@contextmanager
def ended_in_time(context: Any) -> Iterator[None]:
    """End this block once, while there is time left to report what it has done, even if it waits for something.

    :param context: Lambda's: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
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
    raise OutOfTime("the function's time was nearly over: AWS was too slow, or did not answer")


@contextmanager
def ended_on_request() -> Iterator[None]:
    """Stop this block by SIGTERM as by Ctrl-C: a job that is cancelled and a container that is stopped send it.

    A second SIGTERM does nothing: ``timeout`` of coreutils may send it twice, and GitHub sends it after Ctrl-C, which
    must not stop the notification. A worker of c7n-org's would go on with the next account after any exception, so a
    process that multiprocessing has started ends by SIGTERM, once this block was stopped. In a thread other than the
    main one, which alone can handle signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else SIGINT is ignored
        handled.append(signal.SIGINT)
    before = {each: signal.signal(each, _stop) or signal.SIG_DFL for each in handled}
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
