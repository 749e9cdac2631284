"""The application that a component runs: as its own user, with its environment, its children reaped."""

from __future__ import annotations

import os
import pwd
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from vpn.lib.component.privileges import without_ambient_capabilities
from vpn.lib.errors import InvalidInput, describe_os_error
from vpn.lib.files import owner_from_environment

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence


class Account:
    """Whom the application runs as: CONTAINER_USER, or CONTAINER_UID and CONTAINER_GID, or who we are.

    A uid without an entry in passwd is fine: then USER is CONTAINER_USER and HOME is / unless it is set.
    Raises InvalidInput for a user that does not exist and has no number.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("CONTAINER_USER", "")
        owner = owner_from_environment(environ)
        self.environment: dict[str, str] = {}
        self.user: int | None = None
        self.group: int | None = None
        entry = None
        if owner is not None:
            self.user, self.group = owner
            with suppress(KeyError):
                entry = pwd.getpwuid(owner.uid)
        elif name:
            try:
                entry = pwd.getpwnam(name)
            except KeyError as error:
                raise InvalidInput(
                    f"there is no user {name[:40]!r} here; set CONTAINER_UID and CONTAINER_GID to its numbers"
                ) from error
            self.user, self.group = entry.pw_uid, entry.pw_gid
        if self.user is not None:
            user = name or (entry.pw_name if entry else str(self.user))
            home = entry.pw_dir if entry else environ.get("HOME", "/")
            self.environment = {"USER": user, "LOGNAME": user, "HOME": home}

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups: none when the user changes."""
        return None if self.user is None else []


class Application:
    """One run of the command. ``status`` is its exit status once it has ended, 128 + N after signal N."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], environ: Mapping[str, str]) -> None:
        account = Account(environ)
        same = account.user in (None, os.getuid())
        try:
            with without_ambient_capabilities():
                self._process = subprocess.Popen(
                    command,
                    env={**environ, **variables, **account.environment},
                    user=None if same else account.user,
                    group=None if same else account.group,
                    extra_groups=None if same else account.groups,
                    start_new_session=True,
                )
        except (OSError, subprocess.SubprocessError) as error:
            reason = (
                describe_os_error(error) if isinstance(error, OSError) else "its user cannot be set; run this as root"
            )
            raise InvalidInput(f"cannot run {command[0]}: {reason}") from error
        self.pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """The application's process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on to the application's process; it tells its own children."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the application and all that it started in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()

    def close(self) -> None:
        """Let go of the process's descriptor."""
        os.close(self.pidfd)


def reap(known: set[int]) -> None:
    """As PID 1, collect orphans that ended; ``known`` children are left to those that wait for them."""
    if os.getpid() != 1:
        return
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in known:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)
