"""`signet retrieve` against a dojot 0.4: the gateway's answers as ejbca-rest and auth gave them, byte for byte, and answers as no
dojot would give them."""
import base64
import http.server
import json
import os
import pathlib
import pty
import re
import ssl
import subprocess
import threading

import pytest

import certs
import kit

USER, PASSWORD = "admin", "s3cret \"pass\" ü"


class Dojot:
    """The gateway at port 8000: login, CA, signing. `says` replaces the answer of a path's first level."""

    def __init__(self, folder, tls=None):
        self.ca = certs.Ca(folder / "ca", certs.name((certs.CN, "IOTmidCA"), (certs.O, "EJBCA IOT")))
        self.entities = {"f60c28": "dojot"}
        self.folder, self.says, self.asked = folder, {}, []
        dojot = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(self.rfile.read(int(self.headers["Content-Length"])))

            def answer(self, body):
                level = self.path.split("/")[1]
                dojot.asked.append((self.command, self.path, dict(self.headers), body))
                status, out, *headers = dojot.says.get(level) or getattr(dojot, f"do_{level}")(self, body)
                data = out if isinstance(out, bytes) else json.dumps(out).encode()
                self.send_response(status)
                for key, value in headers:
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls["cert"], tls["key"])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.host = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def body(pem):
        """The lines between BEGIN and END, without a newline behind the last."""
        return "\n".join(line for line in pem.splitlines() if line and "-----" not in line)

    def do_auth(self, request, body):
        if json.loads(body) == {"username": USER, "passwd": PASSWORD}:
            return 200, {"jwt": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}
        return 403, {"message": "AuthorizationError", "status": 403}

    def authorized(self, request):
        return request.headers["Authorization"] == "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"

    def do_ca(self, request, body):
        name = request.path.split("/")[2]
        if not self.authorized(request):
            return 401, {"message": "Unauthorized"}
        if name == "IOTmidCA":
            return 200, {"certificate": self.body(self.ca.pem)}
        return 400, {"status": 400, "message": f"soap message: CA with name {name} does not exist."}

    def do_sign(self, request, body):
        name, asked = request.path.split("/")[2], json.loads(body)
        if not self.authorized(request):
            return 401, {"message": "Unauthorized"}
        if self.entities.get(name) == "GENERATED":
            return 400, {"status": 400, "message": f"soap message: Got request with status GENERATED (40), NEW, FAILED or INPROCESS required: {name}."}
        if self.entities.get(name) != asked["passwd"]:
            return 400, {"status": 400, "message": "soap message: Wrong username or password"}
        self.entities[name] = "GENERATED"
        return 200, {"status": {"data": self.body(self.signed(name, asked["certificate"])), "responseType": "CERTIFICATE"}}

    def signed(self, name, csr):
        assert "\n" not in csr
        path = self.folder / "asked.csr"
        path.write_bytes(base64.b64decode(csr, validate=True))
        return certs.openssl("x509", "-req", "-inform", "DER", "-in", path, "-CA", self.ca.file, "-CAkey", self.ca.key.path, "-set_serial", "7",
                             "-days", "730", "-copy_extensions", "copy", "-subj", f"/CN={name}").decode()


@pytest.fixture
def dojot(tmp_path):
    made = Dojot(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def retrieve(dojot, folder, *words, device="f60c28", ca="IOTmidCA", stdin=PASSWORD + "\n", host=None):
    return kit.signet("retrieve", host or dojot.host, device, ca, "-u", USER, *words, check=False, stdin=stdin, cwd=folder)


def test_the_four_files(dojot, tmp_path):
    result = retrieve(dojot, tmp_path, "-d", "sensor.example", "-d", "two.example,three.example", "-i", "192.0.2.7", host=dojot.host + "/")
    assert result.returncode == 0, result.stderr
    assert "clear text" in result.stderr and PASSWORD not in result.stdout + result.stderr
    folder = tmp_path / "certs"
    assert sorted(p.name for p in folder.iterdir()) == ["IOTmidCA.crt", "f60c28.crt", "f60c28.csr", "f60c28.key"]
    assert (folder / "f60c28.key").stat().st_mode & 0o777 == 0o600
    assert certs.openssl("verify", "-CAfile", folder / "IOTmidCA.crt", folder / "f60c28.crt").strip().endswith(b"OK")
    text = certs.openssl("x509", "-in", folder / "f60c28.crt", "-noout", "-text").decode()
    assert "DNS:sensor.example, DNS:two.example, DNS:three.example, IP Address:192.0.2.7" in text and "Public-Key: (2048 bit)" in text
    key = certs.openssl("pkey", "-in", folder / "f60c28.key", "-pubout")
    assert key == certs.openssl("x509", "-in", folder / "f60c28.crt", "-noout", "-pubkey") == certs.openssl("req", "-in", folder / "f60c28.csr", "-noout", "-pubkey")
    assert [(method, path) for method, path, _, _ in dojot.asked] == [("POST", "/auth"), ("GET", "/ca/IOTmidCA"), ("POST", "/sign/f60c28/pkcs10")]
    assert all(headers["Content-Type"] == "application/json" for method, _, headers, _ in dojot.asked if method == "POST")
    assert [headers.get("Authorization") for _, _, headers, _ in dojot.asked] == [None] + 2 * ["Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"]

    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    again = retrieve(dojot, tmp_path)
    assert again.returncode == 0 and "nothing to do" in again.stdout and {p.name: p.read_bytes() for p in folder.iterdir()} == before

    refused = retrieve(dojot, tmp_path, "-w")
    assert refused.returncode == 1 and "GENERATED (40)" in refused.stderr and "reset it" in refused.stderr
    assert {n: d for n, d in ((p.name, p.read_bytes()) for p in folder.iterdir()) if not n.endswith(".new")} == before
    dojot.entities["f60c28"] = "dojot"
    anew = retrieve(dojot, tmp_path, "-w")
    assert anew.returncode == 0, anew.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["IOTmidCA.crt", "f60c28.crt", "f60c28.csr", "f60c28.key"]
    assert certs.openssl("pkey", "-in", folder / "f60c28.key", "-pubout") != key


@pytest.mark.parametrize("words,size", [(["-k", "3072"], "3072 bit"), (["--key-type", "p256"], "256 bit")])
def test_other_keys(dojot, tmp_path, words, size):
    assert retrieve(dojot, tmp_path, *words).returncode == 0
    assert size in certs.openssl("x509", "-in", tmp_path / "certs/f60c28.crt", "-noout", "-text").decode()


def test_secrets_from_files(dojot, tmp_path):
    dojot.entities["f60c28"] = "once only"
    (tmp_path / "pass").write_text(PASSWORD + "\n")
    (tmp_path / "secret").write_text("once only\n")
    result = retrieve(dojot, tmp_path, "--passwd-file", "pass", "--secret-file", "secret", "--dir", "a/b", stdin="")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a/b/f60c28.crt").exists()


def test_user_and_password_at_a_terminal(dojot, tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(kit.SIGNET, [kit.SIGNET, "retrieve", dojot.host, "f60c28", "IOTmidCA"])
    seen = b""

    def until(what):
        nonlocal seen
        while what not in seen:
            seen += os.read(terminal, 4096)

    until(b"user name: ")
    os.write(terminal, USER.encode() + b"\n")
    until(b"password for admin: ")
    os.write(terminal, PASSWORD.encode() + b"\n")
    until(b"signed")
    try:
        while more := os.read(terminal, 4096):
            seen += more
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and PASSWORD.encode() not in seen


# What is answered at a step: (step, answer, what standard error says).
ANSWERS = {
    "wrong password": ("auth", (403, {"message": "AuthorizationError", "status": 403}), r"logging in failed: 403 AuthorizationError"),
    "login limit": ("auth", (429, {"message": "API rate limit exceeded"}), r"logging in failed: 429 .*wait a minute"),
    "login is no dojot": ("auth", (200, b"<html>hello</html>"), r'logging in failed: the answer has no "jwt"'),
    "login without token": ("auth", (200, {"jwt": 7}), r'no "jwt"'),
    "token with a header in it": ("auth", (200, {"jwt": "a\r\nX-Evil: 1"}), r"token is none"),
    "gateway elsewhere": ("auth", (404, {"message": "no route and no API found"}), r"404 .*check HOST"),
    "redirected": ("auth", (302, b"", ("Location", "http://127.0.0.1:1/auth")), r"logging in failed: 302"),
    "no such CA": ("ca", (400, {"status": 400, "message": "soap message: CA with name IOTmidCA does not exist."}), r"retrieving .* failed: 400 .*does not exist.*name of a CA"),
    "may not read": ("ca", (403, b""), r"retrieving .* failed: 403 .*ro_ca"),
    "CA that is none": ("ca", (200, {"certificate": "AAAA"}), r"the CA's certificate"),
    "huge CA": ("ca", (200, b'{"certificate": "' + b"A" * (2 << 20) + b'"}'), r"retrieving .* failed: .* more than 1048576 bytes"),
    "wrong secret": ("sign", (400, {"status": 400, "message": "soap message: Wrong username or password"}), r"signing .* failed: 400 .*create the device first"),
    "may not sign": ("sign", (403, b""), r"signing .* failed: 403 .*wo_sign"),
    "CA is down": ("sign", (503, b"name resolution failed"), r"signing .* failed: 503 .*try again later"),
    "escape sequences": ("sign", (500, {"message": "\x1b[2J\nsignet: done"}), r"signing .* failed: 500 \\x1b\[2J\\x0a"),
    "no data": ("sign", (200, {"status": {"data": None}}), r'no "status.data"'),
    "status is no object": ("sign", (200, {"status": "ok"}), r'no "status.data"'),
    "twice the same name": ("sign", (200, b'{"status":{"data":"AA"},"status":{"data":"BB"}}'), r'no "status.data"'),
    "data is no certificate": ("sign", (200, {"status": {"data": "AAAA"}}), r"checking the answer failed"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(dojot, tmp_path, case):
    level, answer, said = ANSWERS[case]
    dojot.says[level] = answer
    result = retrieve(dojot, tmp_path)
    assert result.returncode == 1 and re.search(said, result.stderr), result.stderr
    assert "\x1b" not in result.stderr and PASSWORD not in result.stderr
    assert not (tmp_path / "certs/f60c28.crt").exists()


def test_a_certificate_that_is_not_ours(dojot, tmp_path):
    other, foreign = dojot.ca.leaf("f60c28"), certs.Ca(tmp_path / "foreign", "IOTmidCA").leaf("f60c28")
    for leaf in (other, foreign):
        dojot.says["sign"] = 200, {"status": {"data": Dojot.body(pathlib.Path(leaf["cert"]).read_text())}}
        result = retrieve(dojot, tmp_path)
        assert result.returncode == 1 and "not for the key" in result.stderr
    name = Dojot.signed
    del dojot.says["sign"]
    dojot.signed = lambda _, csr: name(dojot, "another", csr)
    result = retrieve(dojot, tmp_path)
    assert result.returncode == 1 and "not for f60c28" in result.stderr
    assert sorted(p.name for p in (tmp_path / "certs").iterdir()) == ["f60c28.csr", "f60c28.key"]


def test_an_interrupted_run_goes_on(dojot, tmp_path):
    dojot.says["sign"] = 503, b"down"
    assert retrieve(dojot, tmp_path).returncode == 1
    key = (tmp_path / "certs/f60c28.key").read_bytes()
    dojot.says.clear()
    result = retrieve(dojot, tmp_path)
    assert result.returncode == 0 and "Key that is there is used" in result.stdout and (tmp_path / "certs/f60c28.key").read_bytes() == key


def test_files_that_do_not_belong_together(dojot, tmp_path):
    folder = tmp_path / "certs"
    folder.mkdir()
    for name, cn in (("f60c28", "f60c28"), ("other", "other")):
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / f"{name}.key",
                        "-out", folder / f"{name}.csr", "-subj", f"/CN={cn}"], check=True, capture_output=True)
    (folder / "f60c28.csr").write_bytes((folder / "other.csr").read_bytes())
    result = retrieve(dojot, tmp_path)
    assert result.returncode == 1 and "does not belong to" in result.stderr and "remove the request" in result.stderr
    (folder / "f60c28.key").write_bytes((folder / "other.key").read_bytes())
    result = retrieve(dojot, tmp_path)
    assert result.returncode == 1 and "another name than f60c28" in result.stderr
    (folder / "f60c28.key").write_text("rubbish\n")
    result = retrieve(dojot, tmp_path)
    assert result.returncode == 1 and "no private key" in result.stderr
    assert all(path != "/sign/f60c28/pkcs10" for _, path, _, _ in dojot.asked)


@pytest.mark.parametrize("device,ca,words,said", [
    ("../f60c28", "IOTmidCA", [], "the device's name"), ("f60c28", "a/b", [], "the CA's name"), (".ssh", "IOTmidCA", [], "begins with a ."),
    ("f60c28", "f60c28", [], "same name"), ("f60c28", "IOTmidCA", ["-k", "2049"], "2048, 3072, 4096 or 8192"),
    ("f60c28", "IOTmidCA", ["-k", "1024"], "2048"), ("f60c28", "IOTmidCA", ["-d", "not a name"], "not a name"),
    ("f60c28", "IOTmidCA", ["-k", "2048", "--key-type", "p256"], "--bits is of an RSA key")])
def test_words_that_cannot_be(dojot, tmp_path, device, ca, words, said):
    result = retrieve(dojot, tmp_path, *words, device=device, ca=ca)
    assert result.returncode in (1, 2) and said in result.stderr
    assert all(path.startswith(("/auth", "/ca")) for _, path, _, _ in dojot.asked)


def test_nobody_answers(dojot, tmp_path):
    result = retrieve(dojot, tmp_path, host=f"http://127.0.0.1:{kit.free_port()}")
    assert result.returncode == 1 and "logging in failed" in result.stderr and "cannot ask" in result.stderr
    result = retrieve(dojot, tmp_path, host="ftp://127.0.0.1")
    assert result.returncode == 2 and "scheme" in result.stderr


def test_the_host_is_verified(tmp_path):
    own = certs.Ca(tmp_path / "web", "Web CA")
    names = certs.sequence(certs.tlv(0x82, b"localhost"))
    leaf = own.leaf("localhost", usage=(certs.SERVER_AUTH,), extra=[certs.extension("2.5.29.17", names)])
    dojot = Dojot(tmp_path, tls=leaf)
    try:
        result = retrieve(dojot, tmp_path)
        assert result.returncode == 1 and "is not trusted" in result.stderr and "--cafile" in result.stderr and dojot.asked == []
        result = retrieve(dojot, tmp_path, "--cafile", own.file, host=dojot.host.replace("localhost", "127.0.0.1"))
        assert result.returncode == 1 and "is not trusted" in result.stderr and dojot.asked == []
        result = retrieve(dojot, tmp_path, "--cafile", own.file)
        assert result.returncode == 0 and result.stderr == ""
        dojot.entities["f60c28"] = "dojot"
        result = retrieve(dojot, tmp_path, "-w", "--skip-https-check")
        assert result.returncode == 0 and "not verified" in result.stderr
    finally:
        dojot.server.shutdown()
        dojot.server.server_close()
