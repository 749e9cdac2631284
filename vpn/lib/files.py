"""Files that are whole or absent, with their final mode from creation.

A write goes to a temporary file in the same folder, is synced, and renamed over the target; the
folder is synced after it. Folders are opened one component at a time without following symbolic
links, so nothing planted below the state directory can redirect a write.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from vpn.lib.errors import Busy, InvalidInput, StateError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE_MODE = 0o600
FOLDER_MODE = 0o700
TEXT_LIMIT = 4 << 20
"""Bytes; far above any configuration file of ours, and a bound on what a damaged one can cost."""


_NOBODY_S_ID = 2**32 - 1
"""What chown(2) takes as -1, "leave it"; greater numbers are no ids."""

DEFAULT_STATE_FOLDER = "/config"


class Owner(NamedTuple):
    """Who the files of the state directory belong to."""

    uid: int
    gid: int


def owner_from_environment(environ: Mapping[str, str]) -> Owner | None:
    """``CONTAINER_UID`` and ``CONTAINER_GID``, or None where no owner is asked for.

    Raises InvalidInput when one of them is not a number.
    """
    uid, gid = environ.get("CONTAINER_UID", ""), environ.get("CONTAINER_GID", "")
    if not uid:
        return None
    if not all(number.isascii() and number.isdecimal() and int(number) < _NOBODY_S_ID for number in (uid, gid or uid)):
        raise InvalidInput("CONTAINER_UID and CONTAINER_GID must be numbers, as `id -u` and `id -g` print them")
    return Owner(int(uid), int(gid or uid))


def owner_of_state(environ: Mapping[str, str], folder: Path) -> Owner | None:
    """Who the files of the state directory belong to: ``owner_from_environment``, else the directory's own owner.

    None where they are made by whoever runs this: an ordinary user gives files to nobody. Raises InvalidInput.
    """
    owner = owner_from_environment(environ)
    if owner is None and os.geteuid() == 0:
        status = folder.stat()
        return Owner(status.st_uid, status.st_gid)
    return owner


def state_path(environ: Mapping[str, str]) -> Path:
    """Where the state directory is to be: VPN_CONFIG_DIR, or /config."""
    return Path(environ.get("VPN_CONFIG_DIR") or DEFAULT_STATE_FOLDER)


def state_folder(environ: Mapping[str, str]) -> Path:
    """The state directory: VPN_CONFIG_DIR, or /config. Raises InvalidInput when it is not a folder."""
    folder = state_path(environ)
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; create it, or name another with VPN_CONFIG_DIR")
    return folder


@contextlib.contextmanager
def folder(root: Path, *parts: str, owner: Owner | None = None, create: bool = False) -> Iterator[int]:
    """A file descriptor of the folder ``root/parts...``.

    ``root`` is trusted as it is; no symbolic link is followed below it. With ``create``, missing
    folders below ``root`` are made with mode 0700. Raises StateError for a symbolic link, and
    FileNotFoundError for a missing folder without ``create``.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            inner = open_folder(descriptor, part, owner=owner, create=create)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(
    parent: int, name: str, *, owner: Owner | None = None, create: bool = False, durable: bool = True
) -> int:
    """Open the folder ``name`` in the folder that the descriptor ``parent`` stands for; the caller closes it.

    Raises StateError for a symbolic link or a file in its place, FileNotFoundError where it is missing and
    ``create`` is false.
    """
    made = False
    if create:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, FOLDER_MODE, dir_fd=parent)
            made = True
            _allow_owner(parent, name)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            where = os.readlink(f"/proc/self/fd/{parent}")
            raise StateError(
                f"{where}/{name} is a symbolic link or a file where a folder is due; move it away, then try again"
            ) from error
        raise
    if made:
        try:
            _give(descriptor, owner)
            if durable:
                os.fsync(parent)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def temporary_name(name: str) -> str:
    """The name under which ``write_at`` writes ``name`` before it puts it in place."""
    return f".{name}.tmp"


def exists_at(directory: int, name: str) -> bool:
    """Whether there is anything of this name in the folder."""
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def write_at(
    directory: int, name: str, data: bytes, *, owner: Owner | None = None, mode: int = FILE_MODE, durable: bool = True
) -> None:
    """Put ``data`` at ``name`` in the folder that the descriptor ``directory`` stands for.

    With ``durable`` false nothing is synced: for projections that are synced together later.
    Callers serialise writes to one name (they hold a lock), so the temporary name is fixed and a
    leftover of a killed writer is replaced.
    """
    refuse_link(directory, name)
    temporary = temporary_name(name)
    descriptor = _create(directory, temporary, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            _give(descriptor, owner)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if durable:
        os.fsync(directory)


def write(path: Path, data: bytes, *, owner: Owner | None = None, mode: int = FILE_MODE, durable: bool = True) -> None:
    """``write_at`` for a path whose folder exists. Raises StateError when the system refuses."""
    try:
        with folder(path.parent) as directory:
            write_at(directory, path.name, data, owner=owner, mode=mode, durable=durable)
    except OSError as error:
        raise StateError(f"cannot write {path}: {describe_os_error(_unnamed(error))}") from error


def read_text(path: Path) -> str:
    """The UTF-8 text of a regular file that is not a symbolic link.

    Raises FileNotFoundError when it is not there, InvalidInput when it is something else, too
    large, or not UTF-8, and StateError when the system refuses.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidInput(f"{path} is a symbolic link; put the file itself there") from error
        raise StateError(f"cannot read {path}: {describe_os_error(_unnamed(error))}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInput(f"{path} is not a regular file; put a text file there")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(TEXT_LIMIT + 1)
    except OSError as error:
        raise StateError(f"cannot read {path}: {describe_os_error(_unnamed(error))}") from error
    finally:
        os.close(descriptor)
    if len(data) > TEXT_LIMIT:
        raise InvalidInput(f"{path} is larger than {TEXT_LIMIT >> 20} MiB; that is no configuration file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def refuse_link(directory: int, name: str) -> None:
    """Raise StateError when ``name`` in the folder is a symbolic link or anything but a regular file."""
    try:
        mode = os.lstat(name, dir_fd=directory).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        where = os.readlink(f"/proc/self/fd/{directory}")
        raise StateError(f"{where}/{name} is not a regular file; move it away, then try again")


def tighten(path: Path, mode: int) -> bool:
    """Take away every permission beyond ``mode``; true when there was one to take. Links are left alone."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(status.st_mode) or not stat.S_IMODE(status.st_mode) & ~mode:
        return False
    path.chmod(stat.S_IMODE(status.st_mode) & mode)
    return True


def sync_file_system(path: Path) -> None:
    """Write everything that the file system of ``path`` holds back: one wait for many files.

    ``syncfs(2)`` where the C library has it, else ``sync(2)``. Raises OSError when it fails.
    """
    import ctypes

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "syncfs"):
            os.sync()
        elif library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


class Lock:
    """An exclusive ``flock`` on a file, released by the kernel when its holder dies.

    ``path`` is created (mode 0600) and never removed. Use as a context manager: it waits up to
    ``timeout`` seconds and raises Busy after that. ``acquire`` tries once.
    """

    def __init__(self, path: Path, *, owner: Owner | None = None, timeout: float = 30.0) -> None:
        self._path = path
        self._owner = owner
        self._descriptor: int | None = None
        self._timeout = timeout

    def acquire(self) -> bool:
        """Take the lock if it is free; true when it is held now."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, FILE_MODE)
        except OSError as error:
            raise StateError(f"cannot open {self._path}: {describe_os_error(_unnamed(error))}") from error
        try:
            status = os.fstat(descriptor)
            if stat.S_IMODE(status.st_mode) != FILE_MODE and status.st_uid == os.geteuid():
                os.fchmod(descriptor, FILE_MODE)  # whatever the umask
            if self._owner is not None and status.st_uid != self._owner.uid:
                _give(descriptor, self._owner)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.wait()
        return self

    def wait(self) -> None:
        """Take the lock. Raises Busy when it is not free in time."""
        deadline = time.monotonic() + self._timeout
        pause = 0.001
        while not self.acquire():
            if time.monotonic() > deadline:
                raise Busy(
                    f"another command has held {self._path} for {self._timeout:.0f} s; look for it with"
                    f" `fuser {self._path}`, let it end, then try again"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def __exit__(self, *_: object) -> None:
        self.release()


def _create(directory: int, name: str, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, mode, dir_fd=directory)
    except FileExistsError:
        os.unlink(name, dir_fd=directory)
        return os.open(name, flags, mode, dir_fd=directory)


def _allow_owner(parent: int, name: str) -> None:
    """Give a folder that was just made its mode back, where a umask took the owner's right to open it."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", FOLDER_MODE)
    finally:
        os.close(descriptor)


def _give(descriptor: int, owner: Owner | None) -> None:
    if owner is None:
        return
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != owner:
        os.fchown(descriptor, owner.uid, owner.gid)


def _unnamed(error: OSError) -> OSError:
    """The same error without its file name: the caller's message names the path already."""
    return OSError(error.errno, error.strerror)
