"""`python -m config.alive worker`, or `beat`: for the probes of containers. Ends with 1 where a restart would help.

Far cheaper than `celery inspect ping`: it reads the sign of life that the process leaves in Redis every two seconds
(notifier/liveness.py), and loads no settings. With Redis away it ends with 0: nobody is better off for a restart then.
"""

from __future__ import annotations

import os
import socket
import sys

import redis

from notifier import liveness

SILENT = 60.0  # seconds since Beat's last tick; one comes each second
PATIENCE = 2.0  # seconds for Redis


def is_alive(role: str, client: redis.Redis, host: str) -> bool:
    """Whether the worker of this host, or Beat, lives. Raises redis.RedisError."""
    signs = liveness.signs(client)
    if role == "beat":
        return signs.beat is not None and signs.beat < SILENT
    return any(name.partition("#")[0].endswith(f"@{host}") for name in signs.workers)


def main(arguments: list[str]) -> int:
    if arguments not in (["worker"], ["beat"]):
        sys.stderr.write("python -m config.alive worker|beat\n")
        return 2
    client = redis.Redis.from_url(
        os.environ["REDIS_URL"], socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, decode_responses=True
    )
    try:
        return 0 if is_alive(arguments[0], client, socket.gethostname()) else 1
    except redis.RedisError as error:
        sys.stderr.write(f"Redis does not answer: {type(error).__name__}\n")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
