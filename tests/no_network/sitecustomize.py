"""Python imports this at its start where its folder is on PYTHONPATH: other machines can't be reached then.

An attempt fails with NetworkUsed, and is written to the file that NETWORK_LOG names: a library may swallow the error.
"""

import os
import sys
import traceback

attempts: list[str] = []


class NetworkUsed(OSError):
    """This process must do without a network."""


def _is_here(host: object) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    here = (None, "", "localhost", "::1", "0.0.0.0", "::", os.uname().nodename)  # torchrun asks for its machine's name
    return host in here or str(host).startswith("127.")


def forbid(event: str, arguments: tuple) -> None:
    """An audit hook (sys.addaudithook): names are resolved and connections made on this machine alone."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if _is_here(host):
        return
    callers = [frame for frame in traceback.extract_stack() if "socket.py" not in frame.filename][:-1]
    attempts.append(f"{event} to {host} from {callers[-1].filename}:{callers[-1].lineno}")
    if log := os.environ.get("NETWORK_LOG"):
        with open(log, "a") as file:
            file.write(attempts[-1] + "\n")
    raise NetworkUsed(f"no network here: {attempts[-1]}")


if os.environ.get("NETWORK_LOG"):
    sys.addaudithook(forbid)
