"""A disk that fails as a test says, below a program that knows nothing of it.

The program is started through this file, which puts a seccomp filter on itself and hands the notifications to the test: each call of
OPS waits until the test's thread has said that it may go on, or what it returns instead. So it works with every build, and with
what libraries call. A call that fails may have done nothing (`lost`: what a failed flush did not bring to the disk is gone), half
of it (`torn`), or all of it (`landed`)."""
import array
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading

NUMBERS = {
    "x86_64": (0xC000003E, 317, {"openat": 257, "write": 18, "read": 17, "flush": 75, "fsync": 74, "allocate": 285, "truncate": 77, "rename": 82,
                                 "remove": 87, "link": 86}),
    "aarch64": (0xC00000B7, 277, {"openat": 56, "write": 68, "read": 67, "flush": 83, "fsync": 82, "allocate": 47, "truncate": 46, "rename": 38,
                                  "remove": 35, "link": 37}),
}
ARCH, SECCOMP, OPS = NUMBERS.get(platform.machine(), (0, 0, {}))
AT_FIRST = platform.machine() == "x86_64"  # rename(), unlink(), link() have their path first; else behind a directory's descriptor
NAMES = {number: name for name, number in OPS.items()}
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
NEW_LISTENER, NO_NEW_PRIVS = 8, 38
RECEIVE, SEND, GO_ON = 0xC0502100, 0xC0182101, 1
WRITES = frozenset(OPS) - {"read"}


def install():
    """Filter this process and all that it becomes; the descriptor of the notifications."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = list(OPS.values())
    words = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 0, len(numbers) + 1, ARCH), (LOAD, 0, 0, 0)]
    words += [(JUMP_EQUAL, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
    words += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOTIFY)]
    code = b"".join(struct.pack("<HBBI", *w) for w in words)
    held = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(words), ctypes.addressof(held)))
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    fd = libc.syscall(SECCOMP, 1, NEW_LISTENER, ctypes.byref(program))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "SECCOMP_SET_MODE_FILTER")
    return fd


def works():
    """May a filter be installed here, and its notifications be had?"""
    return bool(OPS) and subprocess.run([sys.executable, __file__], capture_output=True, check=False).returncode == 0


class Fault:
    """What goes wrong: <ops> on files in whose path <where> stands, with <error>; the first <after> calls go well, <times> fail."""

    def __init__(self, ops, error, where="", after=0, times=None, how="lost"):
        assert set(ops) <= set(OPS) and how in ("lost", "torn", "landed")
        self.ops, self.error, self.where, self.after, self.times, self.how = set(ops), error, where, after, times, how
        self.seen = 0

    def hits(self, op, path):
        if op not in self.ops or self.where not in path:
            return False
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.seen <= self.after + self.times)


class Disk:
    """What is below <folder> for programs that are started with <under>. A context manager."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind("")  # an address that nobody else has
        self.door.listen()
        self.bell, self.bell_push = socket.socketpair()
        self.changed = threading.Condition()
        self.faults, self.failed = [], 0
        self.writes = []  # (path, place, whether it failed) of each write
        self.listeners = []

    def under(self):
        """Words to put before a program's."""
        return [sys.executable, __file__, self.door.getsockname().hex()]

    def fail(self, ops, error=errno.EIO, **more):
        with self.changed:
            self.faults.append(Fault([ops] if isinstance(ops, str) else ops, error, **more))
            return self.faults[-1]

    def heal(self):
        with self.changed:
            self.faults.clear()

    def wait_failed(self, n, seconds):
        """Until <n> calls have failed in all."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.failed >= n, seconds), f"{self.failed} calls have failed, not {n}"

    def __enter__(self):
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.bell_push.send(b"!")
        self.thread.join()
        for left in [self.bell, self.bell_push, self.door]:
            left.close()

    # ---- the thread ----

    def _serve(self):
        poll = select.poll()
        for fd in (self.bell, self.door):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self.bell.fileno():
                    for left in self.listeners:
                        os.close(left)
                    return
                if fd == self.door.fileno():
                    guest, _ = self.door.accept()
                    with guest:
                        words = guest.recvmsg(16, socket.CMSG_SPACE(4))[1]
                    self.listeners.append(array.array("i", words[0][2])[0])
                    poll.register(self.listeners[-1], select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(fd)
                else:  # all that it was on have ended
                    poll.unregister(fd)
                    self.listeners.remove(fd)
                    os.close(fd)

    def _answer(self, fd):
        note = bytearray(80)
        try:
            fcntl.ioctl(fd, RECEIVE, note)
            number, pid, _, call, _, _, *args = struct.unpack("<QIIiIQ6Q", note)
            error = self._judge(pid, NAMES[call], args)
            fcntl.ioctl(fd, SEND, struct.pack("<QqiI", number, 0, -error, 0 if error else GO_ON))
        except OSError as gone:
            if gone.errno not in (errno.ENOENT, errno.EINTR, errno.ESRCH):
                raise

    def _judge(self, pid, op, args):
        """What the call returns instead, or 0."""
        with self.changed:
            if not self.faults and op != "write":
                return 0
            path = self._path(pid, op, args)
            if not path.startswith(self.folder):
                return 0
            if op == "openat" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return 0  # "read" fails for what is open
            fault = next((f for f in self.faults if f.hits(op, path)), None)
            if op == "write":
                self.writes.append((path, args[3], fault is not None))
            if fault is None:
                return 0
            if op == "write" and fault.how != "lost":
                n = args[2] if fault.how == "landed" else args[2] // 2 // 512 * 512
                with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory, open(path, "r+b", buffering=0) as f:
                    memory.seek(args[1])
                    f.seek(args[3])
                    f.write(memory.read(n))
            self.failed += 1
            self.changed.notify_all()
            return fault.error

    @staticmethod
    def _path(pid, op, args):
        if op in ("write", "read", "flush", "fsync", "allocate", "truncate"):
            return os.readlink(f"/proc/{pid}/fd/{args[0]}")
        text = b""
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(args[0 if AT_FIRST and op != "openat" else 1])
            while b"\0" not in text and len(text) < 4096:
                # Not over a page's end: the next one may not be there.
                text += memory.read(256 - memory.tell() % 256) or b"\0"
        return os.path.realpath(text.split(b"\0")[0].decode(errors="replace").replace("/proc/self/", f"/proc/{pid}/"))


def main():
    if len(sys.argv) == 1:  # only to see whether it can be done
        install()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.connect(bytes.fromhex(sys.argv[1]))
        listener = install()
        door.sendmsg([b"here"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.close(listener)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
