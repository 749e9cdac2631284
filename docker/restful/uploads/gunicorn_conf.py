"""gunicorn's settings: one small worker with many threads, since what takes time is the network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from uploads.configuration import Configuration

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

_CONFIGURATION = Configuration.from_environment(os.environ)

wsgi_app = "uploads.wsgi:application"
bind = _CONFIGURATION.bind
workers = 1
worker_class = "uploads.worker.Worker"
threads = 64
worker_connections = 512
timeout = 60
graceful_timeout = 1
keepalive = 5
umask = 0o077
control_socket_disable = True
# There is no proxy in front, so nobody's word is taken for who the caller is.
forwarded_allow_ips = ""
forwarder_headers = ""


def post_worker_init(worker: Worker) -> None:
    """Clean up after the worker before, should it have been killed."""
    from uploads import preparation

    preparation.take_over(_CONFIGURATION)


def on_exit(arbiter: Arbiter) -> None:
    """Clean up after a worker that had to be killed because its uploads did not end in time."""
    from uploads import preparation

    preparation.sweep(_CONFIGURATION)
