"""Run a program under guards: the child process of ``sandbox``.

It stands alone: started as ``python -I -B sandbox_runner.py``, it imports nothing of Danlu. It
reads its orders from stdin, gives up what the program must not have, and only then runs it. The
order matters: limits first, then the files (Landlock), and last the system calls (seccomp), since
each step needs what the next one takes away.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import sys
import traceback
from typing import Any

UNGUARDED = 97
"""Exit status if a guard could not be set up: nothing was run."""

ARCHITECTURES = {"x86_64": 0xC000003E}
"""Machines whose system calls are known here, and their number in the kernel's audit.h."""

FORBIDDEN = (
    # network, and what could stand in for it
    *(41, 53, 425),  # socket, socketpair, io_uring_setup
    # processes: fork, vfork, execve, execveat
    *(57, 58, 59, 322),
    # signals: kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_send_signal
    *(62, 200, 234, 129, 297, 424),
    # other processes' memory: ptrace, process_vm_readv, process_vm_writev, pidfd_open, pidfd_getfd
    *(101, 310, 311, 434, 438),
    # limits: setrlimit, prlimit64, setpriority, sched_setscheduler, sched_setaffinity
    *(160, 302, 141, 144, 203),
    # changes to files that Landlock leaves alone: truncate (at first), chmod, fchmod,
    # fchmodat, fchmodat2, chown, fchown, lchown, fchownat, utime, utimes, futimesat, utimensat,
    # setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr, open_by_handle_at
    *(76, 90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280),
    *(188, 189, 190, 197, 198, 199, 304),
    # shared memory, queues, semaphores, keys: shmget, msgget, semget, mq_open, add_key, keyctl
    *(29, 68, 64, 240, 248, 250),
    # the system: mount, umount2, pivot_root, chroot, unshare, setns, open_tree, move_mount, fsopen,
    # mount_setattr, swapon, swapoff, reboot, sethostname, setdomainname, settimeofday, adjtimex,
    # clock_settime, acct, iopl, ioperm, init_module, finit_module, delete_module, kexec_load,
    # kexec_file_load, syslog, bpf, perf_event_open, userfaultfd, fanotify_init, quotactl
    *(165, 166, 155, 161, 272, 308, 428, 429, 430, 442, 167, 168, 169, 170, 171, 164, 159),
    *(227, 163, 172, 173, 175, 313, 176, 246, 320, 103, 321, 298, 323, 300, 179),
)
"""Numbers on x86-64 of system calls that fail with EPERM."""

CLONE, CLONE3, CLONE_THREAD = 56, 435, 0x00010000
EPERM, ENOSYS = 1, 38
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ = 1 << 2 | 1 << 3
"""Landlock's rights to read a file and a folder."""


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


def limit(cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Limit processor time, memory, and what is written to one file; hard limits, no core dump."""
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def confine_files(readable: list[str], writable: str) -> None:
    """Allow reading below some folders and writing below one; nothing else (Landlock).

    Raises:
        OSError: If the kernel has no Landlock (Linux 5.13 and newer have it).
    """
    abi = _call(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    everything = (1 << rights) - 1
    attributes = ctypes.create_string_buffer(struct.pack("Q", everything))
    rules = _call(LANDLOCK_CREATE, attributes, ctypes.c_size_t(8), 0)
    for path, allowed in [*((one, READ) for one in readable), (writable, everything & ~1)]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if not os.path.isdir(path):
            allowed &= 1 << 1 | 1 << 2 | 1 << 14
        beneath = ctypes.create_string_buffer(struct.pack("=Qi", allowed, place))
        _call(LANDLOCK_ADD, rules, 1, beneath, 0)
        os.close(place)
    _no_new_privileges()
    _call(LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


def confine_calls() -> None:
    """Refuse system calls that reach the network, other processes or the system (seccomp).

    Raises:
        OSError: If the kernel refuses the filter, or the machine's calls are not known here.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(f"the system calls of {machine} are not known")

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, at_least, has_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    program = [
        step(load, 0, 0, 4),  # the architecture: 32-bit calls have other numbers
        step(equal, 1, 0, ARCHITECTURES[machine]),
        step(answer, 0, 0, KILL),
        step(load, 0, 0, 0),  # the number of the call
        step(at_least, 0, 1, 0x40000000),  # x32
        step(answer, 0, 0, KILL),
        step(equal, 0, 1, CLONE3),  # its flags lie in memory; without it, clone is called
        step(answer, 0, 0, ERRNO | ENOSYS),
        step(equal, 0, 4, CLONE),
        step(load, 0, 0, 16),  # its flags: threads may be started, processes not
        step(has_bit, 0, 1, CLONE_THREAD),
        step(answer, 0, 0, ALLOW),
        step(answer, 0, 0, ERRNO | EPERM),
    ]
    for number in FORBIDDEN:
        program += [step(equal, 0, 1, number), step(answer, 0, 0, ERRNO | EPERM)]
    program.append(step(answer, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    _no_new_privileges()
    found = _Filter(len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(found), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp is refused")


def _no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs is refused")


def _call(number: int, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    found: int = libc.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), "Landlock is refused: " + os.strerror(ctypes.get_errno()))
    return found


def main() -> int:
    """Read orders, set guards, run, and tell through a pipe that the end was reached."""
    orders = json.loads(sys.stdin.read())
    try:
        limit(orders["cpu_s"], orders["memory_bytes"], orders["file_bytes"])
        confine_files(orders["readable"], os.getcwd())
        confine_calls()
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return UNGUARDED
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for title, source in orders["sources"]:
            exec(compile(source, title, "exec"), names)
    except MemoryError:
        sys.stderr.write("MemoryError\n")
        return 1
    except BaseException:  # noqa: BLE001 - sys.exit() in an answer is no end of the tests either
        traceback.print_exc()
        return 1
    os.write(orders["pipe"], orders["token"].encode())
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    status = main()
    sys.stdout.flush()
    os._exit(status)  # threads that the program left behind do not keep it alive
