"""What differs between Linux, macOS and Windows, and what the machine has: the only place that asks.

Knows nothing of models or LSP. Only Linux can be tested in this project's CI; the other branches use nothing
but documented calls of the system's own libraries.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tabby_lsp.processes import cgroup

# Whether the names of files are the same in capitals. A file system may be set up otherwise, git asks it; this is what
# it finds on nearly all of them.
FOLDS_CASE = sys.platform in ("win32", "darwin")


def home() -> Path:
    """The user's home directory, or a place in which nothing can be: in a container one may run as a number that no
    name belongs to, and where there is no $HOME either.
    """
    try:
        found = Path.home()
    except RuntimeError:
        return Path(os.devnull)
    return found if found.is_absolute() else Path(os.devnull)


def available_memory() -> int | None:
    """Bytes that a new process can use without swapping, or None where the system does not say."""
    if sys.platform == "linux":
        return _linux_available_memory()
    if sys.platform == "darwin":
        # vm_stat's free pages leave out what macOS gives back under pressure: the physical memory is the
        # better bound for "can this model fit at all".
        return _sysconf_memory("SC_PHYS_PAGES")
    if sys.platform == "win32":
        return _windows_available_memory()
    return None


def _sysconf_memory(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _linux_available_memory() -> int | None:
    """What the kernel takes for available: also what it holds of files, which it can read again."""
    available = None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    room = cgroup.memory_room()
    return min((each for each in (available, room) if each is not None), default=None)


def _windows_available_memory() -> int | None:
    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("dwLength", ctypes.c_ulong),
            ("dwMemoryLoad", ctypes.c_ulong),
            ("ullTotalPhys", ctypes.c_ulonglong),
            ("ullAvailPhys", ctypes.c_ulonglong),
            ("ullTotalPageFile", ctypes.c_ulonglong),
            ("ullAvailPageFile", ctypes.c_ulonglong),
            ("ullTotalVirtual", ctypes.c_ulonglong),
            ("ullAvailVirtual", ctypes.c_ulonglong),
            ("ullAvailExtendedVirtual", ctypes.c_ulonglong),
        )

    status = MemoryStatus()
    status.dwLength = ctypes.sizeof(status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (absent elsewhere, which mypy would report)
    return int(status.ullAvailPhys) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def resident_memory(pid: int) -> int | None:
    """Bytes of memory that a process holds, or None where that cannot be read without another package."""
    return _linux_memory_of(pid, "VmRSS")


def taken_memory(pid: int) -> int | None:
    """Bytes that a process holds and that `available_memory` therefore leaves out. None where that cannot be read.

    A file that is mapped is not among them: the system may drop its pages, and counts them as available.
    """
    if sys.platform == "darwin":
        return 0  # it counts all that there is
    return _linux_memory_of(pid, "RssAnon")


def _linux_memory_of(pid: int, name: str) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def private_folder(path: Path) -> None:
    """Has a folder that only its user can look into: what we keep is made of private text. Raises OSError.

    Those above it that are not there become so, too. One that others could look into is closed to them, if it is ours.
    On Windows the user's own folders are closed by what they inherit, and no mode says more.
    """
    for folder in reversed([each for each in (path, *path.parents) if not os.path.lexists(each)]):
        with contextlib.suppress(FileExistsError):  # somebody else has just made it
            os.mkdir(folder, 0o700)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    _close_to_others(path)


def private_file(path: Path) -> None:
    """Has a file that only its user can read or write, in the same way; what is in it stays. Raises OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
    _close_to_others(path)


def _close_to_others(path: Path) -> None:
    mode = os.stat(path).st_mode
    ours = stat.S_ISREG(mode) or stat.S_ISDIR(mode)  # and not the /dev/null that somebody logs to
    if sys.platform != "win32" and ours and mode & 0o077:
        with contextlib.suppress(PermissionError):  # of another user, as where an editor ran as root
            os.chmod(path, stat.S_IMODE(mode) & 0o700)


def mount_point(path: str) -> str:
    """Where the file system begins that holds a folder: a drive on Windows."""
    place = os.path.realpath(path)
    while not os.path.ismount(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    return place


def lower_priority() -> None:
    """Lets whatever else runs go first. Where the system has no way for that, nothing happens."""
    if sys.platform == "win32":
        _set_priority_class(0x4000)  # BELOW_NORMAL_PRIORITY_CLASS
    else:
        with contextlib.suppress(OSError):
            os.nice(10)


def lowest_priority(own_session: bool = False) -> None:
    """Has this process and those that it starts compute and read files only while nothing else wants to: for hours of
    work beside an editor. To be called before there are other threads; it cannot be taken back.

    Linux shares the processor among sessions first, and a priority counts within one alone (sched(7), "The autogroup
    feature"). So a process that leads a session lowers that, too. One that is in a terminal's does not, that would be
    the user's shell as well: with `own_session` it leaves it before, and no longer hears the terminal's Ctrl-C.
    """
    if sys.platform == "win32":
        _set_priority_class(0x40)  # IDLE_PRIORITY_CLASS
        return
    with contextlib.suppress(OSError):
        os.nice(19)
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # with it come reads of the idle class (ioprio_set(2))
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if own_session:
        with contextlib.suppress(OSError):  # the leader of a group of processes has to stay
            os.setsid()
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("19", encoding="ascii")


def has_lowest_priority() -> bool:
    """Whether this process computes only while nothing else wants to, and so may stand still for minutes."""
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.GetPriorityClass.argtypes = (ctypes.c_void_p,)
        return bool(kernel.GetPriorityClass(kernel.GetCurrentProcess()) == 0x40)
    return os.getpriority(os.PRIO_PROCESS, 0) >= 19


def _set_priority_class(value: int) -> None:
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass.argtypes = (ctypes.c_void_p, ctypes.c_ulong)
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), value)


def limit_memory(most: int) -> None:
    """Has every allocation fail that would take this process beyond so many bytes of addresses, where that is there."""
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):  # a system may know the limit and not let it be set
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def limit_computing(seconds: int) -> None:
    """Has the system end this process once it has computed for so long, where that is there."""
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def take_lock(file: int) -> bool:
    """Takes the lock of an open file for this process, unless another one has it. It is given back when the process
    ends, however it does. True too where the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def path_of_url(url: str) -> Path | None:
    """The path that a `file://` URL names, as editors send it; None for any other, and for one that is not absolute."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = unquote(parts.path, errors="surrogateescape")
    if parts.scheme.lower() != "file" or "\0" in path:
        return None
    if sys.platform == "win32":
        if parts.netloc not in ("", "localhost"):
            path = f"//{parts.netloc}{path}"
        elif path[2:3] == ":":  # "/c:/folder"
            path = path[1:]
    found = Path(path)
    return found if found.is_absolute() else None


def strlen_address() -> int:
    """The address of the C library's `strlen`: see `engine.abort` for what a string function does there."""
    library = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, ctypes.c_void_p).value or 0


def take_stdout() -> int:
    """A new descriptor for what was stdout; from then on descriptor 1 is stderr.

    To be called before anything is imported that may print: a native library's `printf` would otherwise land
    in the middle of a message.
    """
    wire = os.dup(1)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(wire, os.O_BINARY)
        msvcrt.setmode(0, os.O_BINARY)
    return wire
