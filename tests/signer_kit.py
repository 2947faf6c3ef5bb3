"""A supervisor and a control process in one, as the signer sees them: it is started as `signet serve` starts it, and asked over its socket."""
import os
import socket
import struct
import subprocess

import kit

CAS, ISSUE, REVOKE, CRL, OCSP, LOG, CHECKPOINT = range(1, 8)
OK, USAGE, INPUT, EXISTS, MISSING, DENIED, LIMIT, SYSTEM, MEMORY = range(9)


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(data)) + data


def entry(serial, reason=0, at=1700000000):
    raw = bytes.fromhex(serial)
    return bytes([len(raw)]) + raw + struct.pack(">bq", reason, at)


class Answer:
    def __init__(self, code, body):
        self.code, self.body = code, body

    def __repr__(self):
        return f"Answer({self.code}, {self.body[:200]!r})"

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def fields(self):
        """serial, fingerprint, cn, not before, not after, DER, notes."""
        at = 0

        def string():
            nonlocal at
            n = struct.unpack_from(">H", self.body, at)[0]
            at += 2 + n
            return self.body[at - n:at]
        serial, print_, cn = string().decode(), string().decode(), string().decode()
        begin, end = struct.unpack_from(">qq", self.body, at)
        at += 16
        return serial, print_, cn, begin, end, string(), string().decode()


class Link:
    """One connection to the signer, control's end."""

    def __init__(self, sock):
        self.sock, self.next = sock, 0
        sock.settimeout(kit.PATIENCE)

    def send(self, type_, body=b"", id_=None):
        if id_ is None:
            self.next += 1
            id_ = self.next
        self.sock.send(struct.pack(">BI", type_, id_) + body)
        return id_

    def receive(self):
        body = b""
        while True:
            part = self.sock.recv(1 << 17)
            if not part:
                raise ConnectionResetError("the signer has gone")
            code, id_, more = struct.unpack_from(">BIB", part)
            body += part[6:]
            if not more:
                return id_, Answer(code, body)

    def ask(self, type_, body=b""):
        id_ = self.send(type_, body)
        got, answer = self.receive()
        assert got == id_
        return answer

    @staticmethod
    def issue_body(csr, ca="client", profile="", cn="sensor01", names=(), days=0, only_names=False, actor="tester"):
        flags = (1 if cn is not None else 0) | (2 if only_names else 0)
        return (text(ca) + text(profile) + text(actor) + bytes([flags]) + text(cn or "") + struct.pack(">I", days) + text(csr) +
                struct.pack(">H", len(names)) + b"".join(text(n) for n in names))

    def issue(self, csr, **words):
        return self.ask(ISSUE, self.issue_body(csr, **words))

    def revoke(self, serial, reason=1, ca="client", at=0):
        return self.ask(REVOKE, text(ca) + text("tester") + text(serial) + struct.pack(">bq", reason, at))

    def crl(self, entries, ca="client", number=1, days=7, part=1000):
        """<entries>: as entry() makes them."""
        parts = [entries[i:i + part] for i in range(0, len(entries), part)] or [[]]
        self.next += 1
        for i, some in enumerate(parts):
            flags = (1 if i == 0 else 0) | (2 if i == len(parts) - 1 else 0)
            self.send(CRL, bytes([flags]) + text(ca) + text("tester") + struct.pack(">QI", number, days) + b"".join(some), self.next)
        return self.receive()[1]

    def ocsp(self, entries, ca="client", sha256=False, nonce=b"", good_for=3600):
        return self.ask(OCSP, bytes([sha256]) + text(ca) + text("tester") + struct.pack(">I", good_for) + text(nonce) + b"".join(entries))


class Signer:
    def __init__(self, pki, conf="", passphrase="", expect=True):
        self.pki = pki
        self.conf = pki.dir / "signer-test.conf"
        self.conf.write_text((pki.dir / "signet.conf").read_text() + conf)
        self.log_file = pki.dir / "signer.log"
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(kit.PATIENCE)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([kit.SIGNET, "@signer", str(theirs.fileno()), "-1", "0", str(pki.dir), str(self.conf), "-v"],
                                            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        theirs.close()
        self.channel.send(b"P" + passphrase.encode())
        self.ready = self.channel.recv(16) == b"R"
        assert self.ready == expect, self.log()

    def log(self):
        return self.log_file.read_text(errors="replace")

    def link(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self.channel, [b"C"], [theirs.fileno()])
        theirs.close()
        return Link(ours)

    def stop(self):
        """Its exit code, after it was told to end as the supervisor does."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(kit.PATIENCE)
        self.channel.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        alive = self.process.poll() is None
        code = self.stop()
        if kind is None:
            assert alive and code == 0, f"{code}: {self.log()}"


