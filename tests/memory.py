"""What is in another process's memory: /proc/PID/mem, as root. With a sanitizer only what was wiped is gone: it keeps what was freed."""
import ctypes
import os
import re
import signal
import subprocess

import certs

PTRACE_TRACEME, PTRACE_CONT, PTRACE_SETOPTIONS = 0, 7, 0x4200
PTRACE_O_TRACEEXIT, PTRACE_EVENT_EXIT = 0x40, 6


def find(pid, needles, largest=1 << 47):
    """{name: places} of those that are there; a process that is stopped, or one that goes on meanwhile. Mappings over <largest> are passed over."""
    found, longest = {}, max(map(len, needles.values()))
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            begin, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if rights[0] != "r" or "[v" in line:  # vvar, vsyscall: not readable
                continue
            at, end, kept = int(begin, 16), int(end, 16), b""
            if end - at > largest:
                continue
            while at < end:
                try:
                    mem.seek(at)
                    data = mem.read(min(end - at, 1 << 22))
                except OSError:
                    break
                if not data:
                    break
                for name, needle in needles.items():
                    for hit in re.finditer(re.escape(needle), kept + data):
                        found.setdefault(name, set()).add((at - len(kept) + hit.start(), line.split()[-1] if "/" in line or "[" in line else "anonymous"))
                at += len(data)
                kept = data[-(longest - 1):]
    return {name: sorted(places) for name, places in found.items()}


def private_number(key, *words):
    """Of an EC key on P-256: its bytes as files and as OpenSSL's numbers have them."""
    text = certs.openssl("pkey", "-in", key, "-noout", "-text", *words).decode()
    number = bytes.fromhex(re.sub(r"[\s:]", "", re.search(r"priv:\s*((?:[0-9a-f]{2}:?\s*)+)", text)[1]))[-32:]
    return {"big-endian": number, "little-endian": number[::-1]}


def at_the_end(words, needles, **popen):
    """(exit code, what find() has found when it was about to end)"""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    process = subprocess.Popen(list(map(str, words)), preexec_fn=lambda: libc.ptrace(PTRACE_TRACEME, 0, None, None), **popen)
    found, pid = {}, process.pid
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status) and libc.ptrace(PTRACE_SETOPTIONS, pid, None, PTRACE_O_TRACEEXIT) == 0
    deliver = 0
    while True:
        assert libc.ptrace(PTRACE_CONT, pid, None, deliver) == 0
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, found
        deliver = 0 if os.WSTOPSIG(status) == signal.SIGTRAP else os.WSTOPSIG(status)
        if status >> 16 == PTRACE_EVENT_EXIT:
            found = find(pid, needles)
