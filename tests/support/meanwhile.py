"""What goes on beside a test: a thread, or a process that can be stopped."""

import signal
import subprocess
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def repeating(turn):
    """Call a function every fifth of a second in a thread until the block ends, and raise what it raises."""
    over, raised = Event(), []

    def go():
        try:
            while not over.wait(0.2):
                turn()
        except Exception as error:  # noqa: BLE001 - raised below
            raised.append(error)

    thread = Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert raised == []


def started(command, **where):
    """Start a command in a process of its own, which Ctrl-C reaches even if this process ignores it."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **where,
    )
