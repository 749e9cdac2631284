"""The errors of the library.

``str(error)`` is always one line, written for the person at the terminal: what is wrong, and what
to do next. It never holds a secret.
"""

from __future__ import annotations


class VpnError(Exception):
    """Root of all errors that the library raises on purpose."""


class InvalidInput(VpnError, ValueError):
    """An argument, a setting or a file holds something that is refused. Nothing was changed."""


class Refused(VpnError):
    """The request is well formed, but what is registered forbids it. Nothing was changed."""


class StateError(VpnError):
    """The state on disk is damaged, missing or cannot be written."""


class Busy(VpnError):
    """Another process holds a lock for longer than this one may wait."""


class DeviceError(VpnError):
    """The WireGuard device did not do what it was asked."""


class DeviceMissing(DeviceError):
    """There is no such device, or nothing listens on its socket."""


class DeviceTimeout(DeviceError):
    """The device exists but did not answer within its time limit: it hangs."""


class DeviceRefused(DeviceError):
    """The device answered with an error number.

    ``errno`` is the positive Linux error number.
    """

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class FirewallError(VpnError):
    """The packet filter could not be loaded, read or removed. What was loaded before is still in force."""


class Unproven(VpnError):
    """A change is saved, but the device could not be shown to follow it."""


class EngineError(VpnError):
    """The container engine of this machine is missing, does not answer, or did not do what it was asked."""


class Interrupted(VpnError):
    """The user, or the system, asked for an end."""


def describe_os_error(error: OSError) -> str:
    """One line for an operating-system error, with the advice that fits the common ones."""
    import errno

    advice = {
        errno.ENOSPC: "free some space on that file system, then try again",
        errno.EDQUOT: "raise the disk quota, then try again",
        errno.EROFS: "mount that file system writable, then try again",
        errno.EACCES: "run this as the owner of that path, or as root",
        errno.EPERM: "run this as root, or with CAP_NET_ADMIN where it is about the network",
        errno.EIO: "the disk reports errors: check it before you try again",
        errno.ENOENT: "check the path",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }.get(error.errno or 0, "check it, then try again")
    reason = error.strerror or type(error).__name__
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{reason}; {advice}"
