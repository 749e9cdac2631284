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


def worker_exit(arbiter: Arbiter, worker: Worker) -> None:
    """Do not wait for uploads that go on: a worker whose gunicorn is gone must let go of the folder.

    A worker that could not even begin ends as gunicorn wants it, with a code that stops the service.
    """
    if not worker.booted:
        return

    from django.db import connections

    try:
        connections.close_all()  # so that the database is one file again
    finally:
        os._exit(0)


def on_exit(arbiter: Arbiter) -> None:
    """Clean up after a worker that had to be killed or has ended before its uploads."""
    from uploads import preparation

    preparation.sweep(_CONFIGURATION)
