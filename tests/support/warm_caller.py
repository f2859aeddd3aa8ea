"""Call a command in a process of `warm`, with one's own streams: `warm_caller.py ADDRESS COMMAND [ARGUMENT …]`."""

import os
import sys
from multiprocessing.connection import Client
from multiprocessing.reduction import send_handle

address, *command = sys.argv[1:]
with Client(address) as connection:
    connection.send((command, dict(os.environ), os.getcwd()))  # noqa: PTH109 - pathlib takes 10 ms
    for descriptor in range(3):
        send_handle(connection, descriptor, 0)
    sys.exit(connection.recv())
