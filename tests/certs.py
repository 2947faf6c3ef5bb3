"""Certificates and revocation lists of any shape, right or wrong: DER written by hand, signed by `openssl dgst`."""
import base64
import datetime
import functools
import hashlib
import pathlib
import random
import re
import secrets
import subprocess
import tempfile

UTF8, PRINTABLE, TELETEX, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
CN, O, OU = "2.5.4.3", "2.5.4.10", "2.5.4.11"
CLIENT_AUTH, SERVER_AUTH = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"


def openssl(*words, data=None):
    return subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, check=True).stdout


def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag]) + length + body


def sequence(*parts):
    return tlv(0x30, *parts)


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def oid(dotted):
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray([40 * first + second])
    for n in rest:
        septets = [n & 127]
        while n > 127:
            n >>= 7
            septets.insert(0, n & 127 | 128)
        out += bytes(septets)
    return tlv(6, bytes(out))


def when(t):
    return tlv(0x18, t.strftime("%Y%m%d%H%M%SZ").encode()) if t.year >= 2050 else tlv(0x17, t.strftime("%y%m%d%H%M%SZ").encode())


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def days(n):
    return datetime.timedelta(days=n)


def name(*attributes):
    """Of (oid, text or bytes[, string tag]); each in an RDN of its own."""
    rdns = []
    for kind, value, *tag in attributes:
        data = value if isinstance(value, bytes) else value.encode()
        rdns.append(tlv(0x31, sequence(oid(kind), tlv(tag[0] if tag else UTF8, data))))
    return sequence(*rdns)


def common_name(text):
    return name((CN, text))


def elements(der):
    """(tag, whole, content) of each element of a DER string."""
    at = 0
    while at < len(der):
        head, n = 2, der[at + 1]
        if n & 128:
            head, n = 2 + (n & 127), int.from_bytes(der[at + 2:at + 2 + (n & 127)], "big")
        yield der[at], der[at:at + head + n], der[at + head:at + head + n]
        at += head + n


def pem_bytes(text):
    body = re.search(r"-----BEGIN [^-]+-----(.*?)-----END", text, re.S).group(1)
    return base64.b64decode(body)


def pem(label, der):
    text = base64.b64encode(der).decode()
    return f"-----BEGIN {label}-----\n" + "".join(text[i:i + 64] + "\n" for i in range(0, len(text), 64)) + f"-----END {label}-----\n"


def subject_of(certificate_pem):
    """The subject's DER, exactly as it stands in the certificate."""
    _, _, certificate = next(elements(pem_bytes(certificate_pem)))
    _, _, tbs = next(elements(certificate))
    parts = list(elements(tbs))
    return parts[5 if parts[0][0] == 0xA0 else 4][1]


def key_id(spki):
    """RFC 5280 4.2.1.2, method 1."""
    return hashlib.sha1(list(elements(next(elements(spki))[2]))[1][2][1:]).digest()


class Key:
    """A private key in a file; P-256 unless the words for `openssl genpkey` say otherwise."""

    def __init__(self, path, *words):
        self.path = pathlib.Path(path)
        if not self.path.exists():
            openssl("genpkey", *(words or ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")), "-out", self.path)
        self.spki = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")
        self.is_rsa = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" in self.spki
        self.id = key_id(self.spki)
        self.algorithm = (sequence(oid("1.2.840.113549.1.1.11"), b"\x05\x00") if self.is_rsa else sequence(oid("1.2.840.10045.4.3.2")))

    def signed(self, tbs):
        signature = openssl("dgst", "-sha256", "-sign", self.path, data=tbs)
        return sequence(tbs, self.algorithm, tlv(3, b"\0", signature))


@functools.lru_cache(maxsize=None)
def shared_key():
    """The key of all leaves that need none of their own."""
    return Key(pathlib.Path(tempfile.mkdtemp(prefix="signet-test-")) / "leaf.key")


def extension(dotted, value, critical=False):
    return sequence(oid(dotted), b"\x01\x01\xff" if critical else b"", tlv(4, value))


def usage_bits(*bits):
    value = sum(0x80 >> b for b in bits)
    return extension("2.5.29.15", tlv(3, bytes([(value & -value).bit_length() - 1, value])), True)


class Ca:
    """Something that signs; <folder>/ca.pem and ca.key."""

    def __init__(self, folder, subject, key=None, issuer=None, certificate=None, **more):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.subject = subject if isinstance(subject, bytes) else common_name(subject)
        self.key = key or Key(self.folder / "ca.key")
        if certificate is None:
            certificate = (issuer or self).sign(self.subject, self.key.spki, ca=True, **more)[0]
        self.pem = certificate
        self.file = self.folder / "ca.pem"
        self.file.write_text(certificate)

    @classmethod
    def of_files(cls, folder, certificate, key):
        """One that exists: `signet init` made it."""
        text = pathlib.Path(certificate).read_text()
        return cls(folder, subject_of(text), Key(key), certificate=text)

    def sign(self, subject, spki, ca=False, begin=None, end=None, usage=None, version=3, serial=None, authority=True, extra=()):
        """(PEM, serial number)"""
        begin, end = begin or now() - days(1), end or now() + days(300)
        serial = serial or secrets.randbits(126) | 1 << 126
        extensions = list(extra)
        if ca:
            extensions += [extension("2.5.29.19", sequence(b"\x01\x01\xff"), True), usage_bits(5, 6),
                           extension("2.5.29.14", tlv(4, key_id(spki)))]
        if usage:
            extensions.append(extension("2.5.29.37", sequence(*map(oid, usage))))
        if authority:
            extensions.append(extension("2.5.29.35", sequence(tlv(0x80, self.key.id))))
        tbs = sequence(tlv(0xA0, integer(2)) if version == 3 else b"", integer(serial), self.key.algorithm, self.subject,
                       sequence(when(begin), when(end)), subject, spki,
                       tlv(0xA3, sequence(*extensions)) if version == 3 and extensions else b"")
        return pem("CERTIFICATE", self.key.signed(tbs)), serial

    def leaf(self, subject, chain=(), trust=None, key=None, usage=(CLIENT_AUTH,), **more):
        """A client's files; `serial` (hex) and `pem` beside them. <chain>: CAs that are sent with it."""
        key = key or shared_key()
        subject = subject if isinstance(subject, bytes) else common_name(subject)
        text, serial = self.sign(subject, key.spki, usage=usage, **more)
        path = self.folder / f"{serial:x}.pem"
        path.write_text(text + "".join(c.pem for c in chain))
        return {"cert": path, "key": key.path, "ca": trust, "serial": serial, "hex": f"{serial:X}"}

    def crl(self, *revoked, last=None, until=None, key=None, number=1):
        """PEM of a revocation list; <revoked>: serial numbers."""
        entries = [sequence(integer(s), when(now() - days(1)), sequence(extension("2.5.29.21", tlv(10, b"\x01")))) for s in revoked]
        tbs = sequence(integer(1), self.key.algorithm, self.subject, when(last or now() - days(2)), when(until or now() + days(5)),
                       sequence(*entries) if entries else b"", tlv(0xA0, sequence(extension("2.5.29.20", integer(number)))))
        return pem("X509 CRL", (key or self.key).signed(tbs))


def role_cas(pki, folder):
    """The role CAs of an installation whose keys are not encrypted, by role, and "root"."""
    return {role: Ca.of_files(pathlib.Path(folder) / role, pki.dir / "pki" / role / "cert.pem", pki.dir / "pki" / role / "key.pem")
            for role in ("root", "cloud", "client", "watch", "control")}


def forged_request(bits):
    """A request in DER for an RSA key that nobody has, of a size that openssl would take long to make; its signature is none."""
    n = random.getrandbits(bits) | 1 << (bits - 1) | 1
    key = sequence(sequence(oid("1.2.840.113549.1.1.1"), b"\x05\x00"), tlv(3, b"\0" + sequence(integer(n), integer(65537))))
    info = sequence(integer(0), common_name("big"), key, b"\xa0\x00")
    return sequence(info, sequence(oid("1.2.840.113549.1.1.11"), b"\x05\x00"), tlv(3, b"\0" + bytes(bits // 8)))
