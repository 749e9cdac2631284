"""A TCP flow of numbered lines that are echoed: run as a script on the hosts of the lab."""

from __future__ import annotations

import socket
import sys
import threading
import time


def serve(port: int) -> None:
    """Echo whatever comes, on every connection."""
    with socket.create_server(("", port)) as server:
        sys.stdout.write("listening\n")
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def send(address: str, port: int) -> None:
    """Send a line, wait for its echo, print when it came, and again. Ends with the connection."""
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.settimeout(None)
        with connection.makefile("rwb", buffering=0) as stream:
            number = 0
            while True:
                number += 1
                line = b"%d\n" % number
                stream.write(line)
                if stream.readline() != line:
                    sys.exit("the flow has ended")
                sys.stdout.write(f"{time.time()} {number}\n")
                time.sleep(0.02)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        send(sys.argv[2], int(sys.argv[3]))
