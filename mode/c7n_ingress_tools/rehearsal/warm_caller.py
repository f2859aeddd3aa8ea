"""Call a command in the process of the module `warm`: `warm_caller.py SOCKET COMMAND [ARGUMENT …]`."""

import json
import os
import socket
import sys

address, *arguments = sys.argv[1:]
order = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109 - pathlib takes 10 ms
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(address)
    text = json.dumps(order).encode()
    socket.send_fds(connection, [text[:4096]], [0, 1, 2])
    connection.sendall(text[4096:])
    connection.shutdown(socket.SHUT_WR)
    code = connection.recv(16)
sys.exit(int(code or 1))  # nothing comes back from a process that was killed
