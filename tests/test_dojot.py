"""dojot's paths: its certificate retriever, its device-manager, its users, as its programs call them. tests/CHECKLIST-A.md names the rows."""
import base64
import concurrent.futures
import contextlib
import functools
import http.client
import io
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import zipfile

import apikit
import clienttools
import kit
import pytest

CA = "IOTmidCA"


class Dojot(apikit.Served):
    """Signer, broker and control, with dojot's paths and dojot's policy for the first tenant."""

    options = "dojot_api true\ndojot_shared_password true\nsigner_profile client cfree\ndojot_profile cfree\n"

    def prepare(self):
        (self.dir / "dojot.policy").write_text("tenant default\nuse dojot\n")
        super().prepare()
        self.base = re.sub(r"^policy .*$", f"policy {self.dir}/dojot.policy", self.base, flags=re.M)
        # Before the first listener, whose settings come after it.
        self.base = self.options + self.base

    def dojot(self, user="admin", password=None):
        c = Caller(self)
        answer = c("POST", "/auth", {"username": user, "passwd": password or self.password})
        assert answer.status == 200, answer
        c.token = answer.json["jwt"]
        return c


class Caller(apikit.Client):
    """Answers have dojot's form, not that of problems."""

    def __call__(self, method, path, body=None, headers=None, raw=None, token=None):
        send = dict(headers or {})
        token = self.token if token is None else token
        if token:
            send.setdefault("Authorization", f"Bearer {token}")
        data = json.dumps(body).encode() if body is not None else raw
        if data is not None:
            send.setdefault("Content-Type", "application/json")
        response = self.exchange(method, path, data, {k: v for k, v in send.items() if v is not None})
        answer = apikit.Answer(response.status, response.getheaders(), response.read())
        if answer.headers.get("connection") == "close":
            self.connection.close()
            self.connection = None
        for name, value in apikit.SECURITY.items():
            assert answer.headers.get(name) == value, (name, answer)
        return answer


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Dojot(kit.Pki(tmp_path_factory.mktemp("dj") / "d"), "require_registration true") as s:
        yield s


@pytest.fixture(scope="module")
def admin(served):
    return served.dojot()


def openssl(*words, data=None, quiet=False):
    done = subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, timeout=kit.PATIENCE)
    assert done.returncode == 0, done
    return done.stdout.decode(errors="replace") + ("" if quiet else done.stderr.decode(errors="replace"))


@functools.cache
def rsa_key():
    """One for all: what is tested here is not how keys are made."""
    return openssl("genrsa", "2048", quiet=True)


def request(folder, name, *words, key=None):
    """(base64 of the DER, the key's file) of a request as the retriever makes it."""
    path = folder / f"{name}.key"
    if key is None:
        path.write_text(rsa_key())
    openssl("req", "-new", *(["-key", path] if key is None else ["-newkey", key, "-nodes", "-keyout", path]), "-subj", f"/CN={name}", "-out", folder / f"{name}.csr", *words)
    pem = (folder / f"{name}.csr").read_text()
    return "".join(pem.splitlines()[1:-1]), path


def pem(body, kind="CERTIFICATE"):
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"


def is_wrapped(body):
    lines = body.split("\n")
    return all(len(line) == 64 for line in lines[:-1]) and 0 < len(lines[-1]) <= 64


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def make(admin, **extra):
    answer = admin("POST", "/device", {"label": "termo", "templates": [], **extra})
    assert answer.status == 200, answer
    return answer.json["devices"][0]["id"]


def sign(admin, name, csr, passwd="dojot"):
    return admin("POST", f"/sign/{name}/pkcs10", {"passwd": passwd, "certificate": csr})


def certificate(served, admin, folder, name):
    """Files with which the device connects."""
    csr, key = request(folder, name)
    answer = sign(admin, name, csr)
    assert answer.status == 200, answer
    cert = folder / f"{name}.crt"
    cert.write_text(pem(answer.json["status"]["data"]) + (served.dir / "pki/client/cert.pem").read_text())
    return {"cert": cert, "key": key, "ca": served.dir / "pki/ca.pem"}


def connects(served, client_id, files):
    try:
        kit.Client(served, client_id, files, version=kit.V5, port=served.mqtt).close()
        return True
    except kit.Refused:
        return False


def is_refused(served, client_id, files):
    """In the handshake (with TLS 1.3 the client hears of it behind its own end), or by CONNACK."""
    text = client_id.encode()
    packet = b"\0\4MQTT\4\2\0\x3c" + len(text).to_bytes(2, "big") + text
    try:
        with socket.create_connection(("127.0.0.1", served.mqtt), timeout=kit.PATIENCE) as raw, kit.tls_context(files).wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"\x10" + bytes([len(packet)]) + packet)
            answer = s.recv(4)
            return len(answer) < 4 or answer[3] != 0
    except OSError:
        return True


# ---- logging in ----

def test_login(served, admin):
    token = claims(admin.token)
    assert token["service"] == "default" and token["username"] == "admin" and isinstance(token["userid"], int) and re.fullmatch("[0-9a-f]{32}", token["jti"])
    assert token["exp"] > token["iat"] and token["groups"] and "profile" in token and token["iss"]
    anyone = Caller(served)
    for body, status, message in (({"passwd": "x"}, 400, "missing username"), ({"username": "admin"}, 400, "missing password"), ({"username": 1, "passwd": 2}, 400, "missing username")):
        answer = anyone("POST", "/auth", body)
        assert answer.status == status and answer.json == {"message": message, "status": status}
    assert anyone("POST", "/auth", {"username": "admin", "passwd": "x"}, headers={"Content-Type": "text/plain"}).json == {"message": "invalid mimetype", "status": 400}
    assert anyone("POST", "/auth", raw=b'{"username":').json == {"message": "malformed JSON", "status": 400}
    wrong = [anyone("POST", "/auth", {"username": name, "passwd": "wrong"}) for name in ("admin", "nobody")]
    assert [a.status for a in wrong] == [401, 401] and wrong[0].body == wrong[1].body
    assert anyone("POST", "/auth", {"username": "ADMIN", "passwd": served.password}).status == 200
    assert anyone("POST", "/auth/revoke", {}).status == 403


def test_who_is_not_let_in(served, admin):
    anyone = Caller(served)
    header, payload, signature = admin.token.split(".")
    b64 = lambda v: base64.urlsafe_b64encode(json.dumps(v).encode()).rstrip(b"=").decode()
    tokens = ["", "x", "a.b.c", admin.token[:-2], f"{header}.{payload}.", b64({"alg": "none"}) + f".{payload}.", b64({"alg": "none"}) + f".{payload}.{signature}",
              b64({"alg": "RS256", "typ": "JWT"}) + f".{payload}.{signature}", b64({"alg": "HS512"}) + f".{payload}.{signature}",
              f"{header}.{b64({**claims(admin.token), 'service': 'other', 'tenant': 'other'})}.{signature}",
              # What dojot's services said to each other.
              ".".join(base64.b64encode(t.encode()).decode() for t in ("jwt schema", '{"service":"default","username":"admin"}', "dummy signature"))]
    for path in ("/device", "/ca", "/ca/" + CA, "/user/x", "/template", "/auth/user"):
        for token in tokens:
            answer = anyone("GET", path, token=token) if token else anyone("GET", path)
            assert answer.status == 401 and answer.json == {"message": "Unauthorized"}, (path, token, answer)
    assert admin("POST", "/auth/user", {"username": "nothing", "email": "n@example.com", "name": "N", "profile": "", "passwd": "long enough 1"}).status == 400
    made = admin("POST", "/auth/user", {"username": "nothing", "email": "n@example.com", "name": "N", "profile": "none", "passwd": "long enough 1"})
    assert made.status == 200 and made.json[1] == 200 and made.json[0]["could not add"] == ["none"] and "password" not in made.json[0], made
    nothing = served.dojot("nothing", "long enough 1")
    for method, path in (("GET", "/device"), ("GET", "/ca/" + CA), ("POST", "/sign/x/pkcs10"), ("DELETE", "/device")):
        answer = nothing(method, path, {} if method == "POST" else None)
        assert answer.status == 403 and answer.body == b"", answer


# ---- the certificate retriever ----

class Reply:
    """What of a Response the retriever looks at."""

    def __init__(self, response):
        self.status_code, self.text = response.status, response.read().decode()

    def raise_for_status(self):
        assert self.status_code < 400, (self.status_code, self.text)

    def json(self):
        return json.loads(self.text)


def python_requests(served, method, path, headers=None, data=None, body=None):
    """One call of Python's requests: a connection of its own, and its header lines in their order."""
    connection = http.client.HTTPSConnection("localhost", served.port, timeout=kit.PATIENCE, context=served.tls())
    connection.putrequest(method, path, skip_accept_encoding=True)
    lines = {"User-Agent": "python-requests/2.18.4", "Accept-Encoding": "gzip, deflate", "Accept": "*/*", "Connection": "keep-alive"}
    for name, value in (headers or {}).items():
        lines = {k: v for k, v in lines.items() if k.lower() != name.lower()}
        lines[name] = value
    if body is not None:
        data = json.dumps(body)
        if "content-type" not in [name.lower() for name in lines]:
            lines["Content-Type"] = "application/json"
    if data is not None:
        lines["Content-Length"] = str(len(data))
    for name, value in lines.items():
        connection.putheader(name, value)
    connection.endheaders(data.encode() if data is not None else None)
    reply = Reply(connection.getresponse())
    connection.close()
    return reply


def test_the_original_retriever(served, admin, tmp_path):
    """Call for call what generateLoginPwd.py does, headers and bodies and what it writes; openssl and the broker judge the files."""
    device = make(admin)
    certs = tmp_path / "certs"
    certs.mkdir()

    r = python_requests(served, "POST", "/auth", body={"username": "admin", "passwd": served.password})
    r.raise_for_status()
    token = r.json()["jwt"]
    header = {"content-type": "application/json", "Accept": "application/json", "Authorization": "Bearer " + token}
    assert claims(token)["service"] == "default"

    r = python_requests(served, "GET", "/ca/" + CA, headers=header)
    r.raise_for_status()
    (certs / f"{CA}.crt").write_text("-----BEGIN CERTIFICATE-----\n" + r.json()["certificate"] + "\n-----END CERTIFICATE-----\n")

    csr, key = request(certs, device, "-addext", "keyUsage=digitalSignature,nonRepudiation,keyEncipherment", "-addext", "basicConstraints=CA:FALSE")
    body = json.dumps({"passwd": "dojot", "certificate": csr})
    r = python_requests(served, "POST", "/sign/" + device + "/pkcs10", headers=header, data=body)
    r.raise_for_status()
    status = r.json()["status"]
    assert list(r.json()) == ["status"] and status["responseType"] == "CERTIFICATE" and is_wrapped(status["data"])
    (certs / f"{device}.crt").write_text("-----BEGIN CERTIFICATE-----\n" + status["data"] + "\n-----END CERTIFICATE-----\n")

    text = openssl("x509", "-noout", "-text", "-in", certs / f"{device}.crt")
    assert f"CN = {device}" in text and "X509v3 Key Usage: \n" in text
    assert "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment, Key Agreement" in text and "Extended Key Usage" not in text
    assert ": OK" in openssl("verify", "-CAfile", certs / f"{CA}.crt", certs / f"{device}.crt")
    # What the user does with the files then; the CA's file is enough to know the broker by.
    files = {"ca": certs / f"{CA}.crt", "cert": certs / f"{device}.crt", "key": key}
    kit.wait_for(lambda: connects(served, f"default:{device}", files), "the device to get in")
    with kit.Client(served, f"default:{device}", files, port=served.mqtt) as client:
        client.subscribe(f"/default/{device}/config", qos=1)
        assert admin("PUT", f"/device/{device}/actuate", {"attrs": {}}).json["subscribers"] is True
        assert client.message(f"/default/{device}/config").payload == b"{}"
    # Once and not again, until an operator says so.
    again = python_requests(served, "POST", "/sign/" + device + "/pkcs10", headers=header, data=body)
    assert again.status_code == 400
    assert again.json() == {"status": 400, "message": f"soap message: Got request with status GENERATED (40), NEW, FAILED or INPROCESS required: {device}."}
    assert python_requests(served, "PUT", "/device/" + device, headers=header, body={"label": "termo", "templates": []}).status_code == 200
    assert python_requests(served, "POST", "/sign/" + device + "/pkcs10", headers=header, data=body).status_code == 200


def test_our_retriever(served, admin, tmp_path):
    device = make(admin)
    words = [f"https://localhost:{served.port}/", device, CA, "-u", "admin", "--cafile", served.dir / "pki/ca.pem"]
    done = kit.signet("retrieve", *words, "-d", "sensor.example", "-i", "192.0.2.7", check=False, stdin=served.password + "\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "certs"
    assert (folder / f"{device}.key").stat().st_mode & 0o777 == 0o600
    assert ": OK" in openssl("verify", "-CAfile", folder / f"{CA}.crt", folder / f"{device}.crt")
    assert "DNS:sensor.example, IP Address:192.0.2.7" in openssl("x509", "-noout", "-text", "-in", folder / f"{device}.crt")
    assert connects(served, f"default:{device}", {"ca": folder / f"{CA}.crt", "cert": folder / f"{device}.crt", "key": folder / f"{device}.key"})
    again = kit.signet("retrieve", *words, "-w", check=False, stdin=served.password + "\n", cwd=tmp_path)
    assert again.returncode == 1 and "GENERATED (40)" in again.stderr and "reset it" in again.stderr
    none = kit.signet("retrieve", words[0], "ffffff", *words[2:], check=False, stdin=served.password + "\n", cwd=tmp_path)
    assert none.returncode == 1 and "create the device first" in none.stderr
    none = kit.signet("retrieve", *words[:2], "abcde", *words[3:], check=False, stdin=served.password + "\n", cwd=tmp_path)
    assert none.returncode == 1 and "CA with name abcde does not exist." in none.stderr


# ---- ejbca-rest ----

def list_number(crl):
    return int(re.search(r"CRL Number: \n\s+(\d+)", openssl("crl", "-inform", "DER", "-noout", "-text", data=base64.b64decode(crl)))[1])


def test_the_cas(served, admin, tmp_path):
    listed = admin("GET", "/ca").json["CAs"]
    assert {"client", "root", CA} <= {ca["name"] for ca in listed} and all(set(ca) == {"id", "name"} for ca in listed)
    client = openssl("x509", "-in", served.dir / "pki/client/cert.pem", "-outform", "PEM")
    whole, alone = admin("GET", f"/ca/{CA}").json, admin("GET", f"/ca/{CA}?chain=false").json
    assert list(whole) == list(alone) == ["certificate"] and is_wrapped(alone["certificate"]) and pem(alone["certificate"]) == client
    # What stands between the frames of the file: this CA's certificate, and those above it.
    assert pem(whole["certificate"]) == client + openssl("x509", "-in", served.dir / "pki/root/cert.pem")
    assert admin("GET", "/ca/client").json == whole
    none = admin("GET", "/ca/abcde")
    assert none.status == 400 and none.json == {"status": 400, "message": "soap message: CA with name abcde does not exist."}
    assert admin("PUT", "/ca/abcde/crl").json["message"] == "soap message: CA with name abcde does not exist."
    # Names that a shell would like.
    for name in ("%3Btouch%20x", "%24%28id%29", "a%27%22b", "%2e%2e%2e"):
        assert admin("GET", f"/ca/{name}/crl?update=true").status == 400
    for name in ("..", "%2e%2e", "a%2fb", "a%5cb", "%00", "%zz"):
        answer = admin("GET", f"/ca/{name}")
        assert answer.status == 400 and b"certificate" not in answer.body
    assert admin("PUT", f"/ca/{CA}/crl").json == {"message": "ok", "status": 200}
    crl = admin("GET", f"/ca/{CA}/crl").json["CRL"]
    assert "\n" not in crl and "Certificate Revocation List" in openssl("crl", "-inform", "DER", "-noout", "-text", data=base64.b64decode(crl, validate=True))
    # Asked for in a loop, a list is made once a minute at most, unless something was revoked.
    begun, before = time.monotonic(), list_number(crl)
    for _ in range(10):
        assert admin("PUT", f"/ca/{CA}/crl").status == 200
        crl = admin("GET", f"/ca/{CA}/crl?update=true").json["CRL"]
    assert before <= list_number(crl) <= before + 1 + (time.monotonic() - begun) // 60
    device = make(admin)
    files = certificate(served, admin, tmp_path, device)
    serial = openssl("x509", "-in", files["cert"], "-noout", "-serial").strip().split("=")[1]
    assert admin("DELETE", f"/device/{device}").status == 200
    crl = admin("GET", f"/ca/{CA}/crl?update=true").json["CRL"]
    assert serial in openssl("crl", "-inform", "DER", "-noout", "-text", data=base64.b64decode(crl))
    assert admin("GET", f"/ca/{CA}/crl?delta=true").status == 400


def test_the_state_of_a_certificate_and_its_end(served, admin, tmp_path):
    device = make(admin)
    files = certificate(served, admin, tmp_path, device)
    serial = openssl("x509", "-in", files["cert"], "-noout", "-serial").strip().split("=")[1]
    issuer = re.search(r"issuer=(.*)", openssl("x509", "-in", files["cert"], "-noout", "-issuer", "-nameopt", "RFC2253"))[1]
    names = [issuer, ",".join(reversed(issuer.split(","))), CA, "client"]
    quote = lambda s: s.replace(" ", "%20").replace("=", "%3D").replace(",", "%2C")
    for name in names:
        for number in (serial, serial.lower()):
            answer = admin("GET", f"/ca/{quote(name)}/certificate/{number}/status")
            assert answer.json == {"status": {"reason": "NOTREVOKED", "date": "1969-12-31T23:59:59.999000+00:00"}}, answer
    data = admin("GET", f"/ca/{quote(issuer)}/certificate/{serial}").json["certificate"]
    assert pem(data.pop("certificateData")) == openssl("x509", "-in", files["cert"]) and data == {"certificate": None, "keyStore": None, "type": 0}
    assert admin("GET", f"/user/{device}/find").json["certs"]
    assert "with name null" in admin("GET", f"/ca/CN%3DNobody/certificate/{serial}/status").json["message"]
    assert "Could not find end entity certificate" in admin("DELETE", f"/ca/{CA}/certificate/00ff").json["message"]
    assert admin("DELETE", f"/ca/{CA}/certificate/{serial}?reason=WHATEVER").json == {"message": "invalid revokation reason WHATEVER", "status": 400}
    kit.wait_for(lambda: connects(served, f"default:{device}", files), "the device to get in")
    live = kit.Client(served, f"default:{device}", files, port=served.mqtt)
    assert admin("DELETE", f"/ca/{CA}/certificate/{serial}?reason=KEYCOMPROMISE").json == {"message": "ok", "status": 200}
    live.wait_closed()
    live.close()
    status = admin("GET", f"/ca/{CA}/certificate/{serial}/status").json["status"]
    assert status["reason"] == "KEYCOMPROMISE" and re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", status["date"])
    assert "Certificate is already revoked." in admin("DELETE", f"/ca/{CA}/certificate/{serial}").json["message"]
    crl = base64.b64decode(admin("GET", f"/ca/{CA}/crl").json["CRL"])
    assert serial in openssl("crl", "-inform", "DER", "-noout", "-text", data=crl) and "Key Compromise" in openssl("crl", "-inform", "DER", "-noout", "-text", data=crl)
    assert admin("GET", f"/user/{device}/find").status == 404 and admin("GET", f"/user/{device}/find?valid=false").json["certs"]


def test_end_entities(served, admin, tmp_path):
    device = make(admin)
    one = admin("GET", f"/user/{device}").json["user"][0]
    assert one["status"] == 10 and one["username"] == device and one["subjectDN"] == f"CN={device}" and one["caName"] == CA and one["password"] is None
    csr, _ = request(tmp_path, device)
    wrong = sign(admin, device, csr, "wrong")
    assert wrong.status == 400 and wrong.json == {"status": 400, "message": "soap message: Wrong username or password"}
    assert sign(admin, "ffffff", csr).json == wrong.json
    for body, said in (({}, "Missing parameter. Expected: passwd and certificate"), ({"passwd": "dojot"}, "Missing parameter."), ({"certificate": csr}, "Missing parameter."),
                       ({"passwd": 1, "certificate": csr}, "Missing parameter.")):
        answer = admin("POST", f"/sign/{device}/pkcs10", body)
        assert answer.status == 400 and answer.json["message"].startswith(said)
    assert admin("POST", f"/sign/{device}/pkcs10", raw=b"{", headers={"Content-Type": "application/json"}).json["message"] == "malformed JSON"
    assert admin("POST", f"/sign/{device}/pkcs10", raw=b"[" * 5000, headers={"Content-Type": "application/json"}).json["message"] == "malformed JSON"
    assert admin("POST", f"/sign/{device}/pkcs10", raw=b'{"passwd":"dojot","passwd":"dojot","certificate":"x"}').json["message"] == "malformed JSON"
    assert admin("POST", f"/sign/{device}/pkcs10", raw=b"x=1", headers={"Content-Type": "text/plain"}).json["message"] == "invalid mimetype"
    assert sign(admin, device, "A" * (1 << 20)).status == 413
    # Nothing of it has changed the entity; a whole PEM is taken, and one with lines.
    assert admin("GET", f"/user/{device}").json["user"][0]["status"] == 10
    answer = sign(admin, device, (tmp_path / f"{device}.csr").read_text().replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))
    assert answer.status == 200, answer
    assert admin("GET", f"/user/{device}").json["user"][0]["status"] == 40
    assert admin("POST", "/user", {"username": device, "whatever": 1}).json == {"message": "ok", "status": 200}
    assert sign(admin, device, "\n".join(csr[i:i + 64] for i in range(0, len(csr), 64)) + "\n").status == 200
    assert len(admin("GET", f"/user/{device}/find").json["certs"]) == 2
    # Of its own: a password, a secret; only what is for devices, and of this tenant.
    assert admin("POST", "/user", {"username": "mosca", "password": "a long password"}).json == {"message": "ok", "status": 200}
    csr, _ = request(tmp_path, "mosca")
    assert sign(admin, "mosca", csr).status == 400
    assert "CN = mosca" in openssl("x509", "-noout", "-subject", data=pem(sign(admin, "mosca", csr, "a long password").json["status"]["data"]).encode())
    for body in ({"username": "x", "caName": "control"}, {"username": "x", "caName": "cloud"}, {"username": "x", "caName": "none"}, {"username": "acme:x"}, {"username": "a/b"},
                 {"username": "x", "subjectDN": "CN=other"}, {"username": "x", "certificateProfileName": "server"}, {}, {"username": "x", "password": "short"}):
        assert admin("POST", "/user", body).status == 400, body
    # The end of all its certificates.
    assert admin("DELETE", f"/user/{device}?reason=NONSENSE").status == 400
    assert admin("DELETE", f"/user/{device}?reason=SUPERSEDED").json == {"message": "ok", "status": 200}
    assert admin("GET", f"/user/{device}").json["user"][0]["status"] == 50 and admin("GET", f"/user/{device}/find").status == 404
    assert "status REVOKED (50)" in sign(admin, device, csr).json["message"]
    assert admin("DELETE", "/user/mosca?delete=true").status == 200 and admin("GET", "/user/mosca").status == 404


def test_devices_that_may_have_no_certificate(served, admin, tmp_path):
    """Disabled, with a certificate on hold, waiting or removed: refused with the reason, in dojot's form, also by its successor."""
    ours, x509 = served.login(), "/x509/v1/certificates"
    device = make(admin)
    files = certificate(served, admin, tmp_path, device)
    serial = openssl("x509", "-in", files["cert"], "-noout", "-serial").strip().split("=")[1].lower()
    one = f"/api/v1/certificates/client/{serial}"
    csr, _ = request(tmp_path, device)

    def refused(why):
        assert admin("POST", "/user", {"username": device}).status == 200
        answer = sign(admin, device, csr)
        assert answer.status == 400 and answer.json["status"] == 400 and re.fullmatch(f"soap message: .*{why}.*", answer.json["message"]), answer
        answer = admin("POST", x509, {"csr": pem(csr, "CERTIFICATE REQUEST"), "belongsTo": {"device": device}})
        assert answer.status == 400 and re.search(why, answer.json["error"]), answer

    assert ours("POST", one + "/hold").status == 200
    refused("is on hold")
    assert ours("POST", one + "/release").status == 200
    assert ours("PATCH", f"/api/v1/devices/{device}", {"state": "disabled"}).status == 200
    refused("the device is disabled")
    assert ours("PATCH", f"/api/v1/devices/{device}", {"state": "enabled"}).status == 200
    assert sign(admin, device, csr).status == 200
    assert admin("DELETE", f"/device/{device}").status == 200
    answer = sign(admin, device, csr)
    assert answer.json == {"status": 400, "message": f"soap message: Got request with status REVOKED (50), NEW, FAILED or INPROCESS required: {device}."}
    assert admin("POST", x509, {"csr": pem(csr, "CERTIFICATE REQUEST"), "belongsTo": {"device": device}}).status == 400


def test_what_becomes_of_a_device_while_its_certificate_is_signed(served, admin, tmp_path):
    """The signer stands still between request and answer: what it then signs for one that was removed or disabled goes to nobody, and is revoked."""
    ours = served.login()
    signer = int(re.findall(r"The signer is process (\d+)\.", served.text())[-1])

    def raced(change):
        device = make(admin)
        csr, _ = request(tmp_path, device)
        got, asker = [], served.dojot()
        os.kill(signer, signal.SIGSTOP)
        try:
            thread = threading.Thread(target=lambda: got.append(sign(asker, device, csr)))
            thread.start()
            kit.wait_for(lambda: "is being signed" in sign(admin, device, "!").json["message"], "the request to be with the signer")
            change(device)
        finally:
            os.kill(signer, signal.SIGCONT)
        thread.join(kit.PATIENCE)
        found = ours("GET", f"/api/v1/certificates?cn={device}").json["items"]
        found += [x for x in ours("GET", "/api/v1/certificates?without_device=true&limit=1000").json["items"] if x["cn"] == device]
        assert [x["state"] for x in found] == ["revoked"], found
        kit.wait_for(lambda: found[0]["serial"].upper() in openssl("crl", "-inform", "DER", "-noout", "-text", data=base64.b64decode(
            admin("GET", f"/ca/{CA}/crl").json["CRL"])), "the list")
        assert got[0].status == 400 and got[0].json["message"].endswith("while its certificate was being signed."), got
        return got[0].json["message"]

    def removed(device):
        assert ours("DELETE", f"/api/v1/devices/{device}").status == 204

    def disabled(device):
        assert ours("PATCH", f"/api/v1/devices/{device}", {"state": "disabled"}).status == 200

    def again(device):
        removed(device)
        second = int(time.time())
        # The kernel's coarse clock, which control reads, is some milliseconds behind.
        kit.wait_for(lambda: int(time.time() - 0.1) > second, "another second, in which it is another device")
        assert make(admin, id=device) == device

    assert raced(disabled).startswith("soap message: the device was set to disabled")
    assert raced(removed).startswith("soap message: the end entity was set to REVOKED")
    assert raced(again).startswith("soap message: the device was removed")
    assert "is not handed out, and revoked" in served.text()


def test_requests_that_must_not_be_signed(served, admin, tmp_path):
    device = make(admin)
    for key, said in (("rsa:1024", "2048"), ("ed25519", "")):
        answer = sign(admin, device, request(tmp_path, device, key=key)[0])
        assert answer.status == 400 and said in answer.json["message"], answer
    good, _ = request(tmp_path, device)
    # A large key, a weak signature, a signature that is none: of what a test can make quickly.
    for name, words in (("md5", ("-md5",)), ("sha1", ("-sha1",))):
        answer = sign(admin, device, request(tmp_path, device, *words)[0])
        assert answer.status == 400, (name, answer)
    der = bytearray(base64.b64decode(good))
    der[-1] ^= 1
    assert sign(admin, device, base64.b64encode(der).decode()).status == 400
    for junk in ("", "!", "AAAA", base64.b64encode(bytes(der[:200])).decode(), "-----BEGIN CERTIFICATE REQUEST-----\nAAAA", "\x00"):
        assert sign(admin, device, junk).status == 400, junk
    # What it asks for beside its key and names is not given.
    greedy, _ = request(tmp_path, device, "-subj", "/CN=root/O=Evil", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,cRLSign",
                        "-addext", "extendedKeyUsage=serverAuth", "-addext", "subjectAltName=DNS:sensor.example,IP:192.0.2.7,email:a@example.com")
    answer = sign(admin, device, greedy)
    assert answer.status == 200, answer
    text = openssl("x509", "-noout", "-text", data=pem(answer.json["status"]["data"]).encode())
    assert f"Subject: CN = {device}\n" in text and "CA:FALSE" in text and "Certificate Sign" not in text and "TLS Web Server" not in text
    assert "DNS:sensor.example, IP Address:192.0.2.7" in text and "email" not in text


@pytest.mark.parametrize("name", [None, "o'brien"])
def test_many_ask_for_one_certificate_at_once(served, admin, tmp_path, name):
    """One end entity, one certificate."""
    device = name or make(admin)
    assert not name or admin("POST", "/user", {"username": name}).status == 200
    csr, _ = request(tmp_path, device)

    def one(_):
        c = Caller(served, admin.token)
        answer = sign(c, device, csr)
        c.close()
        return answer.status

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(one, range(6)))
    assert sorted(codes) == [200] + 5 * [400]
    assert len(admin("GET", f"/user/{device}/find").json["certs"]) == 1


# ---- device-manager ----

def template(admin, label="thermo"):
    attrs = [{"label": "temperature", "type": "dynamic", "value_type": "float"}, {"label": "fan", "type": "actuator", "value_type": "integer"},
             {"label": "model", "type": "static", "value_type": "string", "static_value": "A1"}, {"label": "protocol", "type": "meta", "value_type": "string", "static_value": "mqtt"}]
    answer = admin("POST", "/template", {"label": label, "attrs": attrs})
    assert answer.status == 200 and answer.json["result"] == "ok", answer
    return answer.json["template"]


def test_templates(admin):
    made = template(admin)
    assert [a["label"] for a in made["attrs"]] == ["temperature", "fan", "model", "protocol"] and [a["label"] for a in made["config_attrs"]] == ["protocol"]
    assert [a["label"] for a in made["data_attrs"]] == ["temperature", "fan", "model"] and made["attrs"][2]["static_value"] == "A1" and "static_value" not in made["attrs"][0]
    assert all(a["template_id"] == str(made["id"]) and isinstance(a["id"], int) for a in made["attrs"]) and len({a["id"] for a in made["attrs"]}) == 4
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", made["created"])
    one = f"/template/{made['id']}"
    assert admin("GET", one).json == {**made}
    assert set(admin("GET", one + "?attr_format=single").json) == {"id", "label", "created", "attrs"}
    assert "attrs" not in admin("GET", one + "?attr_format=split").json
    for body, said in (({"attrs": []}, "failed to parse input"), ({"label": "x", "attrs": [{"label": "a b", "type": "dynamic", "value_type": "float"}]}, "failed to parse attr"),
                       ({"label": "x", "attrs": [{"label": "a"}]}, "failed to parse attr"), ({"label": "x", "attrs": {}}, "failed to parse attr"),
                       ({"label": "x", "attrs": 2 * [{"label": "a", "type": "dynamic", "value_type": "float"}]}, "failed to parse attr"), ({"label": "x", "attrs": [7]}, "failed to parse attr")):
        answer = admin("POST", "/template", body)
        assert answer.status == 400 and answer.json["message"] == said and answer.json["errors"], answer
    assert admin("POST", "/template", raw=b"label=x", headers={"Content-Type": "text/plain"}).json == {"message": "Payload must be valid JSON, and Content-Type set accordingly", "status": 400}
    changed = admin("PUT", one, {"label": "thermo 2", "attrs": [{"label": "fan", "type": "actuator", "value_type": "float"}, {"label": "new", "type": "dynamic", "value_type": "bool"}]}).json["updated"]
    assert changed["label"] == "thermo 2" and changed["attrs"][0]["id"] == made["attrs"][1]["id"] and changed["attrs"][1]["id"] > made["attrs"][3]["id"]
    listed = admin("GET", "/template?label=thermo&page_size=1").json
    assert listed["pagination"]["page"] == 1 and len(listed["templates"]) == 1
    device = make(admin, templates=[made["id"]])
    assert admin("DELETE", one).json == {"message": "Templates cannot be removed as they are being used by devices", "status": 400}
    assert admin("DELETE", f"/device/{device}").status == 200
    assert admin("DELETE", one).json["removed"]["id"] == made["id"]
    for method, body in (("GET", None), ("DELETE", None), ("PUT", {"label": "x", "attrs": []})):
        answer = admin(method, one, body)
        assert answer.status == 404 and answer.json == {"message": f"No such template: {made['id']}", "status": 404}
    assert admin("GET", "/template/x").status == 404


def test_devices(served, admin):
    kind = template(admin, "kind")
    answer = admin("POST", "/device?verbose=true", {"label": "termo", "templates": [str(kind["id"])], "id": "F60c28", "attrs": [{"id": kind["attrs"][2]["id"], "static_value": "B2"}]})
    assert answer.status == 200 and answer.json["message"] == "device created", answer
    one = answer.json["devices"][0]
    assert one["id"] == "F60c28" and one["templates"] == [kind["id"]] and "secret" not in one
    attrs = {a["label"]: a for a in one["attrs"][str(kind["id"])]}
    assert attrs["model"]["static_value"] == "B2" and attrs["model"]["is_static_overridden"] is True and attrs["protocol"]["is_static_overridden"] is False
    assert admin("GET", "/device/F60c28").json == one
    for body, status, said in (({"label": "x", "templates": [], "id": "xyz"}, 400, "Device ID must be 2-6 characters"), ({"label": "x", "templates": [], "id": "1234567"}, 400, "Device ID"),
                               ({"label": "x", "templates": [], "id": "F60c28"}, 400, ""), ({"label": "x", "templates": [9999999]}, 404, "No such template: 9999999"),
                               ({"label": "x", "templates": [], "attrs": [{"id": 1234567, "static_value": "x"}]}, 400, "Unknown attribute 1234567 in override list"),
                               ({"label": "x", "templates": ["x"]}, 404, "No such template"), ({"label": "x"}, 400, "failed to parse input"), ({"templates": []}, 400, "failed to parse input")):
        answer = admin("POST", "/device", body)
        assert answer.status == status and said in answer.json["message"], (body, answer)
    for query in ("count=0", "count=x", "count=1001", "count=2&verbose=true"):
        assert admin("POST", f"/device?{query}", {"label": "x", "templates": []}).status == 400
    many = admin("POST", "/device?count=120", {"label": "row", "templates": [kind["id"]]}).json
    assert many["message"] == "devices created" and [d["label"] for d in many["devices"]] == [f"row_{i:03}" for i in range(120)]
    assert all(set(d) == {"id", "label"} and re.fullmatch("[0-9a-f]{5,6}", d["id"]) for d in many["devices"]) and len({d["id"] for d in many["devices"]}) == 120
    seen, page = [], 1
    while page:
        listed = admin("GET", f"/device?page_size=50&page_num={page}&template={kind['id']}").json
        assert set(listed["pagination"]) == {"page", "total", "has_next", "next_page"} and listed["pagination"]["total"] == 3 and listed["pagination"]["page"] == page
        seen += [d["id"] for d in listed["devices"]]
        page = listed["pagination"]["next_page"]
    assert sorted(seen) == sorted([d["id"] for d in many["devices"]] + ["F60c28"])
    every = admin("GET", "/device?idsOnly=true").json
    assert set(seen) <= set(every) and admin("GET", f"/device?page_size={len(every)}").json["pagination"]["total"] == 1
    assert len(admin("GET", "/device?idsOnly=true&page_size=7&page_num=2").json) == 7
    assert [d["label"] for d in admin("GET", "/device?label=row_01&page_size=100").json["devices"]].count("row_011") == 1
    assert len(admin("GET", "/device?label=row_01&page_size=100").json["devices"]) == 10
    assert [d["id"] for d in admin("GET", "/device?attr=model=B2").json["devices"]] == ["F60c28"]
    assert admin("GET", "/device?attr_type=integer&page_size=10&page_num=2").json["pagination"]["total"] == 13
    assert admin("GET", f"/device/template/{kind['id']}?page_size=200").json["pagination"]["total"] == 1
    for query in ("page_num=0", "page_num=x", "page_size=-1", "page_size=99999999"):
        assert admin("GET", f"/device?{query}").status == 400
    # Changes.
    other = template(admin, "other kind")
    changed = admin("PUT", "/device/F60c28", {"label": "termo 2", "templates": [kind["id"]]}).json
    assert changed["message"] == "device updated" and changed["device"]["label"] == "termo 2"
    assert {a["label"]: a for a in changed["device"]["attrs"][str(kind["id"])]}["model"]["static_value"] == "A1"
    assert admin("POST", f"/device/F60c28/template/{other['id']}").json["device"]["templates"] == [kind["id"], other["id"]]
    assert admin("POST", f"/device/F60c28/template/{other['id']}").status == 400
    assert admin("DELETE", f"/device/F60c28/template/{kind['id']}").json["device"]["templates"] == [other["id"]]
    assert "is not associated with template" in admin("DELETE", f"/device/F60c28/template/{kind['id']}").json["message"]
    for method, path, body in (("GET", "/device/aaaa", None), ("PUT", "/device/aaaa", {"label": "x", "templates": []}), ("DELETE", "/device/aaaa", None), ("PUT", "/device/aaaa/actuate", {"attrs": {}})):
        answer = admin(method, path, body)
        assert answer.status == 404 and answer.json == {"message": "No such device: aaaa", "status": 404}
    removed = admin("DELETE", "/device/F60c28").json
    assert removed["result"] == "ok" and removed["removed_device"]["id"] == "F60c28" and removed["removed_device"]["templates"] == [other["id"]]
    # The same registry as that of the API of our own.
    assert served.login()("GET", f"/api/v1/devices/{seen[0]}").json["templates"] == [kind["id"]]


def test_a_list_has_no_more_than_memory_is_for(admin):
    attrs = [{"label": f"a{i}", "type": "dynamic", "value_type": "float"} for i in range(256)]
    kinds = [admin("POST", "/template", {"label": f"wide {i}", "attrs": attrs}).json["template"]["id"] for i in range(16)]
    assert admin("POST", "/device?count=30", {"label": "wide", "templates": kinds}).status == 200
    assert len(admin("GET", f"/device?template={kinds[0]}&page_size=2").json["devices"]) == 2
    answer = admin("GET", f"/device?template={kinds[0]}&page_size=30")
    assert answer.status == 400 and "smaller page" in answer.json["message"]
    assert len(admin("GET", f"/device?template={kinds[0]}&page_size=30&idsOnly=true").json) == 30


def test_actuation_waits_for_a_device_that_is_away(served, admin, tmp_path):
    kind = template(admin, "fans")
    device = make(admin, templates=[kind["id"]])
    topic, name = f"/default/{device}/config", f"default:{device}"
    files = certificate(served, admin, tmp_path, device)
    kit.wait_for(lambda: connects(served, name, files), "the device to get in")
    answer = admin("PUT", f"/device/{device}/actuate", {"attrs": {"fan": 1}})
    assert answer.status == 200 and answer.json[" status"] == answer.json["status"] == "configuration sent to device" and answer.json["subscribers"] is False
    answer = admin("PUT", f"/device/{device}/actuate", {"attrs": {"fan": 1, "temperature": 3, "none": 1}})
    assert answer.status == 403 and answer.json == {"status": "some of the attributes are not configurable", "attrs": ["temperature", "none"]}
    for raw in (b"", b"7", b"null", b"[]", b'{"attrs":[]}', b'{"attrs":'):
        assert admin("PUT", f"/device/{device}/actuate", raw=raw).status == 400
    with kit.Client(served, name, files, port=served.mqtt, clean=False) as client:
        client.subscribe(topic, qos=1)
        admin("PUT", f"/device/{device}/actuate", {"attrs": {"fan": 2}})
        got = client.message(topic)
        assert json.loads(got.payload) == {"fan": 2} and got.qos == 1 and not got.retain
    assert admin("PUT", f"/device/{device}/actuate", {"attrs": {"fan": 100}}).json["subscribers"] is True
    with kit.Client(served, name, files, port=served.mqtt, clean=False) as client:
        assert json.loads(client.message(topic).payload) == {"fan": 100}


def test_a_bundle_s_commands_work(served, admin, tmp_path):
    device, ours = make(admin), served.login()
    made = ours("POST", f"/api/v1/devices/{device}/bundle", {"format": "zip"}).json
    with zipfile.ZipFile(io.BytesIO(ours("GET", made["link"]).body)) as z:
        z.extractall(tmp_path)
    folder = tmp_path / device
    files = {"cert": folder / "cert.pem", "key": folder / "key.pem", "ca": folder / "ca.pem"}
    kit.wait_for(lambda: connects(served, f"default:{device}", files), "the device to get in")
    with kit.Client(served, "controller", served.pki.files("controller"), port=served.mqtt) as controller:
        assert controller.subscribe("#", qos=1) == [1]
        commands = (folder / "commands.txt").read_text().splitlines()
        assert clienttools.run_commands(commands, folder, controller) == ["signet sub", "mosquitto_sub", "signet pub", "mosquitto_pub"]
    assert f"/default/{device}/attrs" in commands[2] and f"/default/{device}/config" in commands[0]
    assert f'SIGNET_CLIENT_ID "default:{device}"' in (folder / "device.h").read_text()


def test_the_removal_of_a_device(served, admin, tmp_path):
    """Within a second: its connection ends, what waits for it goes, its certificate stands on the list."""
    device = make(admin, id="ab12")
    name, files = "default:ab12", certificate(served, admin, tmp_path, device)
    kit.wait_for(lambda: connects(served, name, files), "the device to get in")
    live = kit.Client(served, name, files, port=served.mqtt, clean=False)
    live.subscribe("/default/ab12/config", qos=1)
    serial = openssl("x509", "-in", files["cert"], "-noout", "-serial").strip().split("=")[1]
    assert admin("DELETE", "/device/ab12").json["result"] == "ok"
    live.wait_closed()
    live.close()
    kit.wait_for(lambda: serial in openssl("crl", "-inform", "DER", "-noout", "-text", data=base64.b64decode(admin("GET", f"/ca/{CA}/crl").json["CRL"])), "the list")
    assert is_refused(served, name, files)
    assert served.login()("GET", "/api/v1/sessions?user=ab12").json["items"] == []
    # Another one of that name is another one: nothing waits, and the old certificate is no good.
    assert make(admin, id="ab12") == "ab12"
    assert admin("GET", "/user/ab12").json["user"][0]["status"] == 10
    fresh = certificate(served, admin, tmp_path, "ab12")
    kit.wait_for(lambda: connects(served, name, fresh), "the new device to get in")
    with kit.Client(served, name, fresh, port=served.mqtt, clean=False) as client:
        assert not client.session_present
    # All of them, in a tenant of their own so that other tests keep theirs.
    other = service(served, admin, "sweep", "user")
    assert other("POST", "/device?count=5", {"label": "x", "templates": []}).status == 200
    gone = other("DELETE", "/device").json
    assert gone["result"] == "ok" and len(gone["removed_devices"]) == 5 and other("GET", "/device").json["devices"] == []


# ---- tenants, users, groups ----

def service(served, admin, name, profile):
    """Logged in as the first user of another tenant, who makes it."""
    made = admin("POST", "/auth/user", {"username": f"{name}_boss", "service": name, "email": f"{name}@example.com", "name": "Boss", "profile": profile})
    assert made.status == 200, made
    return served.dojot(f"{name}_boss", made.json[0]["password"])


def test_two_tenants_with_the_same_device(served, admin, tmp_path):
    acme = service(served, admin, "acme", "user")
    assert claims(acme.token)["service"] == "acme"
    assert make(admin, id="c0ffee") == make(acme, id="c0ffee") == "c0ffee"
    csr, _ = request(tmp_path, "c0ffee")
    ours = sign(admin, "c0ffee", csr).json["status"]["data"]
    theirs = sign(acme, "acme:c0ffee", csr).json["status"]["data"]
    subject = lambda body: openssl("x509", "-noout", "-subject", data=pem(body).encode()).strip()
    assert subject(ours) == "subject=CN = c0ffee" and subject(theirs) == "subject=CN = acme:c0ffee"
    files = {}
    for name, body in (("default", ours), ("acme", theirs)):
        (tmp_path / name).write_text(pem(body) + (served.dir / "pki/client/cert.pem").read_text())
        files[name] = {"cert": tmp_path / name, "key": tmp_path / "c0ffee.key", "ca": served.dir / "pki/ca.pem"}
        kit.wait_for(lambda: connects(served, f"{name}:c0ffee", files[name]), "the device to get in")
    assert is_refused(served, "acme:c0ffee", files["default"]) and is_refused(served, "default:c0ffee", files["acme"])
    # Each sees its own, and only these.
    serial = openssl("x509", "-noout", "-serial", data=pem(ours).encode()).strip().split("=")[1]
    assert "Could not find" in acme("GET", f"/ca/{CA}/certificate/{serial}/status").json["message"]
    assert acme("GET", "/device?idsOnly=true").json == ["c0ffee"]
    mine = make(admin)
    assert acme("GET", f"/device/{mine}").status == 404 and acme("PUT", f"/device/{mine}/actuate", {"attrs": {}}).status == 404
    assert sign(acme, mine, csr).json["message"] == sign(acme, f"default:{mine}", csr).json["message"] == "soap message: Wrong username or password"
    assert sign(admin, "acme:c0ffee", csr).json["message"] == "soap message: Wrong username or password"
    # dojot's group `user` signs and reads CAs, and looks after no users.
    for method, path in (("POST", "/user"), ("GET", "/user/c0ffee"), ("GET", "/auth/user"), ("GET", "/auth/pap/group"), ("DELETE", f"/ca/{CA}/certificate/{serial}")):
        answer = acme(method, path, {"username": "c0ffee"} if method == "POST" else None)
        assert answer.status == 403 and answer.body == b"", (path, answer)
    assert acme("DELETE", "/device/c0ffee").status == 200 and admin("GET", "/device/c0ffee").status == 200


def test_users_groups_and_permissions(served, admin):
    new = {"username": "anna", "email": "anna@example.com", "name": "Anna", "profile": "user", "service": "default"}
    made = admin("POST", "/auth/user", new).json
    assert made[1] == 200 and made[0]["message"] == "user created" and made[0]["groups"] == ["user"] and made[0]["could not add"] == []
    assert all(isinstance(v, str) for v in made[0]["user"].values()) and made[0]["user"]["service"] == "default"
    anna = made[0]["user"]["id"]
    assert served.dojot("anna", made[0]["password"])("GET", "/device").status == 200
    assert admin("POST", "/auth/user", new).json["message"] == "Username anna is in use."
    assert admin("POST", "/auth/user", {**new, "username": "Bad Name"}).status == 400
    for missing in ("username", "email", "name", "profile"):
        assert admin("POST", "/auth/user", {k: v for k, v in new.items() if k != missing}).json["message"] == f"Missing {missing}"
    assert admin("GET", f"/auth/user/{anna}").json == admin("GET", "/auth/user/anna").json
    assert "anna" in [u["username"] for u in admin("GET", "/auth/user").json["users"]]
    assert admin("PUT", f"/auth/user/{anna}", {"name": "Anna K."}).json == {"message": "ok", "status": 200}
    assert admin("GET", f"/auth/user/{anna}").json["user"]["name"] == "Anna K."
    pap = "/auth/pap"
    rules = {p["name"]: p for p in admin("GET", f"{pap}/permission").json["permissions"]}
    assert rules["wo_sign"]["path"] == "/sign/(.*)" and rules["wo_sign"]["method"] == "POST" and rules["ro_ca"]["permission"] == "permit"
    assert [p["name"] for p in admin("GET", f"{pap}/permission?path=/ca").json["permissions"]] == ["ro_ca"]
    rule = admin("POST", f"{pap}/permission", {"path": "/device/(.*)", "method": "DELETE", "permission": "deny"}).json
    assert rule["status"] == 200 and admin("GET", f"{pap}/permission/{rule['id']}").json["permission"] == "deny"
    for body in ({"path": "(", "method": "GET", "permission": "deny"}, {"path": "/x", "method": "GET", "permission": "maybe"}, {}):
        assert admin("POST", f"{pap}/permission", body).status == 400
    assert admin("POST", f"{pap}/userpermissions/anna/{rule['id']}").json == {"message": "ok", "status": 200}
    caller = served.dojot("anna", made[0]["password"])
    assert caller("DELETE", "/device/aaaa").status == 403 and caller("GET", "/device/aaaa").status == 404
    assert [p["id"] for p in admin("GET", f"{pap}/user/anna/directpermissions").json["permissions"]] == [rule["id"]]
    assert {"wo_sign", "ro_ca"} <= {p["name"] for p in admin("GET", f"{pap}/user/anna/allpermissions").json["permissions"]}
    assert admin("PUT", f"{pap}/permission/{rule['id']}", {"permission": "permit"}).status == 200
    assert admin("DELETE", f"{pap}/userpermissions/anna/{rule['id']}").status == 200 and admin("DELETE", f"{pap}/permission/{rule['id']}").status == 200
    group = admin("POST", f"{pap}/group", {"name": "night", "description": "at night"}).json["id"]
    assert admin("GET", f"{pap}/group/night").json["id"] == group and admin("PUT", f"{pap}/group/{group}", {"description": "by night"}).status == 200
    assert admin("POST", f"{pap}/grouppermissions/night/wo_sign").status == 200
    assert [p["name"] for p in admin("GET", f"{pap}/group/night/permissions").json["permissions"]] == ["wo_sign"]
    assert admin("POST", f"{pap}/usergroup/anna/night").status == 200 and [u["username"] for u in admin("GET", f"{pap}/group/night/users").json["users"]] == ["anna"]
    assert {g["name"] for g in admin("GET", f"{pap}/user/anna/groups").json["groups"]} == {"user", "night"}
    assert admin("DELETE", f"{pap}/usergroup/anna/night").status == 200 and admin("DELETE", f"{pap}/group/night").status == 200
    for path in ("permission/none", "group/none", "user/none/groups", "permission/999999"):
        assert admin("GET", f"{pap}/{path}").status == 404
    assert admin("DELETE", f"/auth/user/{anna}").json == {"message": "User removed", "status": 200} and admin("GET", f"/auth/user/{anna}").status == 404
    assert caller("GET", "/device").status == 401
    assert admin("DELETE", "/auth/user/admin").status == 400


# ---- x509-identity-mgmt, the agent ----

def test_certificates_by_fingerprint(served, admin, tmp_path):
    device, x509 = make(admin), "/x509/v1"
    request(tmp_path, device)
    csr = (tmp_path / f"{device}.csr").read_text()
    made = admin("POST", f"{x509}/certificates", {"csr": csr})
    assert made.status == 201 and set(made.json) == {"certificateFingerprint", "certificatePem"}, made
    (tmp_path / "cert.pem").write_text(made.json["certificatePem"])
    fingerprint = openssl("x509", "-in", tmp_path / "cert.pem", "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
    assert fingerprint == made.json["certificateFingerprint"]
    ca = admin("GET", f"{x509}/ca").json
    (tmp_path / "ca.pem").write_text(ca["caPem"])
    assert ": OK" in openssl("verify", "-CAfile", tmp_path / "ca.pem", tmp_path / "cert.pem")
    one = admin("GET", f"{x509}/certificates/{fingerprint}").json
    assert one["belongsTo"] == {"device": device} and one["pem"] == made.json["certificatePem"] and one["tenant"] == "default"
    assert admin("GET", f"{x509}/certificates/{fingerprint.replace(':', '').lower()}").json == one
    listed = admin("GET", f"{x509}/certificates?limit=1").json
    assert len(listed["certificates"]) == 1 and listed["paging"]["current"] == {"number": 1} and listed["paging"]["totalItems"] >= 1
    assert admin("PATCH", f"{x509}/certificates/{fingerprint}", {"belongsTo": {"device": device}}).status == 204
    assert admin("PATCH", f"{x509}/certificates/{fingerprint}", {"belongsTo": {"device": make(admin)}}).status == 400
    assert admin("PATCH", f"{x509}/certificates/{fingerprint}", {}).status == 400
    for body, status in (({}, 400), ({"csr": "x"}, 400), ({"csr": csr, "belongsTo": {"application": "a"}}, 403), ({"csr": csr, "belongsTo": {"device": "nobody"}}, 400),
                         ({"certificateChain": csr}, 400), ({"csr": csr.replace("A", "B")}, 400)):
        answer = admin("POST", f"{x509}/certificates", body)
        assert answer.status == status and answer.json["error"], (body, answer)
    assert admin("GET", f"{x509}/certificates/{'0' * 64}").status == 404 and admin("GET", f"{x509}/certificates/xyz").status == 404
    assert admin("DELETE", f"{x509}/certificates/{fingerprint}").status == 204
    assert "Superseded" in openssl("crl", "-noout", "-text", data=admin("GET", f"{x509}/ca/crl").json["crl"].encode())
    assert admin("DELETE", f"{x509}/certificates/{fingerprint}").status == 409


def test_metrics_and_health(served, admin):
    kit.wait_for(lambda: admin("GET", "/iotagent-mqtt/metrics").json["connectedClients"] is not None, "the broker's numbers")
    metrics = admin("GET", "/iotagent-mqtt/metrics").json
    assert set(metrics) == {"connectedClients"} | {f"{what}Load{n}min" for what in ("connections", "messages") for n in (1, 5, 15)}
    assert all(v is None or isinstance(v, str) for v in metrics.values()) and int(metrics["connectedClients"]) >= 0
    assert Caller(served)("GET", "/iotagent-mqtt/metrics").status == 401
    for path in ("/healthCheck", "/iotagent-mqtt/healthCheck"):
        health = Caller(served)("GET", path)
        assert health.status == 200 and health.json["status"] == "pass" and set(health.json["details"]) == {"registry:accessibility", "broker:accessibility"}


# ---- without the shared password, and without any of it ----

class Own(Dojot):
    options = "dojot_api true\n"


def test_a_secret_for_each_device(tmp_path):
    with Own(kit.Pki(tmp_path / "d")) as served:
        assert "dojot_shared_password" not in served.text()
        admin = served.dojot()
        # As in dojot the CA has a list from the beginning, though nothing was ever revoked.
        text = kit.wait_for(lambda: admin("GET", f"/ca/{CA}/crl").json.get("CRL"), "the list")
        assert "No Revoked Certificates" in openssl("crl", "-inform", "DER", "-noout", "-text", data=base64.b64decode(text))
        assert "BEGIN X509 CRL" in admin("GET", "/x509/v1/ca/crl").json["crl"]
        one, two = (admin("POST", "/device", {"label": "x", "templates": []}).json["devices"][0] for _ in range(2))
        assert len(one["secret"]) == 32 and one["secret"] != two["secret"]
        csr, _ = request(tmp_path, one["id"])
        for secret in ("dojot", "", two["secret"], one["secret"][:-1]):
            assert sign(admin, one["id"], csr, secret).json["message"] == "soap message: Wrong username or password", secret
        assert sign(admin, one["id"], csr, one["secret"]).status == 200
        assert "GENERATED (40)" in sign(admin, one["id"], csr, one["secret"]).json["message"]
        # Reset: another secret, the old one is of no use.
        reset = admin("POST", "/user", {"username": one["id"]}).json
        assert reset["status"] == 200 and len(reset["secret"]) == 32
        assert sign(admin, one["id"], csr, one["secret"]).status == 400 and sign(admin, one["id"], csr, "dojot").status == 400
        (tmp_path / "secret").write_text(reset["secret"] + "\n")
        done = kit.signet("retrieve", f"https://localhost:{served.port}", one["id"], CA, "-u", "admin", "--cafile", served.dir / "pki/ca.pem", "--secret-file", tmp_path / "secret",
                          check=False, stdin=served.password + "\n", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        # Guessing is rationed.
        codes = {sign(admin, two["id"], csr, f"wrong {i}").status for i in range(30)}
        assert codes == {400, 429}
        answers = [Caller(served)("POST", "/auth", {"username": "guessed", "passwd": f"wrong {i}"}) for i in range(5)]
        assert [x.status for x in answers] == [401] * 5
        caller = Caller(served)
        kit.wait_for(lambda: (x := caller("POST", "/auth", {"username": "guessed", "passwd": "wrong"})).status == 429 and x.json["status"] == 429, "the ration of a login")


def test_it_is_off_by_default_and_its_password_warned_of(served, tmp_path):
    assert re.search(r"WARN.*dojot_shared_password|dojot_shared_password: whoever", served.text())
    with apikit.Control(kit.Pki(tmp_path / "d"), "dojot_shared_password true") as control:
        assert "dojot_shared_password" not in control.text()
        for path in ("/auth", "/device", "/ca", "/template", "/user/x", "/x509/v1/ca", "/iotagent-mqtt/metrics"):
            assert control.client()("GET", path).status == 404


def churn(caller, first, made, gone, done):
    """Make devices, and remove each second one, until control is no more there; what was answered is noted."""
    try:
        for i in range(first, first + 2000):
            name = f"{i:05x}"
            assert caller("POST", "/device", {"label": name, "templates": [], "id": name}).status == 200
            made.add(name)
            if i % 2 and caller("DELETE", f"/device/{name}").status == 200:
                gone.add(name)
            done.set()
    except (OSError, http.client.HTTPException):
        pass


def test_control_is_killed_between_the_steps(tmp_path):
    """What was answered is so, an end entity is where its device is, and the broker is told what there is."""
    with Dojot(kit.Pki(tmp_path / "d"), "require_registration true") as served:
        made, gone = set(), set()
        for n in range(3):
            done, caller = threading.Event(), served.dojot()
            worker = threading.Thread(target=churn, args=(caller, 0x10000 * (n + 1), made, gone, done))
            worker.start()
            assert done.wait(kit.PATIENCE)
            starts = served.text().count("Control listens on https")
            served.kill("control")
            worker.join(kit.PATIENCE)
            assert not worker.is_alive()
            kit.wait_for(lambda: served.text().count("Control listens on https") > starts, "control to be there again")
        admin = served.dojot()
        there = set(admin("GET", "/device?idsOnly=true").json)
        assert made - gone - there == set() and gone & there == set() and len(there - made) <= 3
        assert all(admin("GET", f"/user/{name}").json["user"][0]["status"] == 10 for name in there)
        kit.wait_for(lambda: re.findall(r"generation \d+ with (\d+) devices", served.text())[-1] == str(len(there)), "the broker to be told")
        name = sorted(there)[0]
        assert connects(served, f"default:{name}", certificate(served, admin, tmp_path, name))


# ---- a device's data ----

ODD = (b"", b"10", b"null", b'"x"', b"[1]", b"{", b'{"a":NaN}', b"\xff{}", b"[" * 1000, b"{}{}")
OBJECTS = (b"{}", b' {"humidity":60,"timestamp":"abc","humidity":61}\n', b'{"a":' + b"[" * 200 + b"]" * 200 + b"}")


@pytest.mark.parametrize("mode", ["count", "object"])
def test_data_that_is_no_json_object(tmp_path, mode):
    """It harms nobody, is counted, and refused where that is wanted."""
    pki, mqtt, web = kit.Pki(tmp_path / "d"), kit.free_port(), kit.free_port()
    conf = pki.conf(mqtt, f"listener {web} 127.0.0.1", "protocol metrics")
    with kit.Broker(tmp_path / "b", kit.STAY_ROOT + f"device_data {mode}\n" + conf, [mqtt, web]) as broker:
        with kit.Client(broker, "dev", pki.device("dev")) as dev, kit.Client(broker, "eye", pki.issue("watch", "eye")) as eye:
            topic = f"{kit.PREFIX}/dev/attrs"
            eye.subscribe("#", qos=1)
            for payload in ODD + OBJECTS:
                dev.publish(topic, payload, qos=1)
            dev.publish(f"{kit.PREFIX}/dev/other", b"10", qos=1)
            for payload in (OBJECTS if mode == "object" else ODD + OBJECTS):
                eye.message(topic, payload)
            eye.message(f"{kit.PREFIX}/dev/other", b"10")
            connection = http.client.HTTPConnection("127.0.0.1", web, timeout=kit.PATIENCE)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
    assert re.search(r"^signet_data_not_object_total (\d+)$", text, re.M)[1] == str(len(ODD)), text


@pytest.mark.parametrize("words,tenant", [((), "default"), (("--tenant", "plant"), "plant")])
def test_init_makes_all_of_it(tmp_path, words, tenant):
    """The policy with its tenant, which is the registry's first, and commands that work as they are printed."""
    port = kit.free_port()
    pki = kit.Pki(tmp_path / "d", "--policy", "dojot", "--port", port, *words)
    kit.signet("control", "--dir", pki.dir, "--make-admin", "admin")
    with contextlib.closing(sqlite3.connect(next(pki.dir.rglob("registry.db")))) as rows:
        assert rows.execute("SELECT name, first FROM tenants").fetchall() == [(tenant, 1)]
    kit.signet("device", "add", "f60c28", "--dir", pki.dir)
    kit.signet("device", "add", "other:f60c28", "--dir", pki.dir)
    with kit.Broker(tmp_path / "b", kit.STAY_ROOT + pki.conf(port), [port]) as broker, kit.Client(broker, "eye", pki.issue("control", "eye")) as eye:
        assert eye.subscribe("#", qos=1) == [1]
        for name, topic in (("f60c28", f"/{tenant}/f60c28/attrs"), ("other:f60c28", "/other/f60c28/attrs")):
            commands = (pki.dir / "clients" / name / "commands.txt").read_text().splitlines()
            assert clienttools.run_commands(commands, tmp_path, eye) and any(f" -t {topic} " in line for line in commands), commands


def test_a_tenant_that_cannot_be(tmp_path):
    for name in ("", "a/b", "Plant", "_x", "x" * 65, "a-b", "#"):
        result = kit.signet("init", "--dir", tmp_path / "d", "--host", "h", "--no-passphrase", "--policy", "dojot", "--tenant", name, check=False)
        assert result.returncode == 2 and "cannot be the tenant" in result.stderr and not (tmp_path / "d").exists(), name


def test_the_checklist_names_tests_that_exist():
    root = pathlib.Path(__file__).parent.parent
    for path, name in re.findall(r"([\w/.]+\.(?:py|c))::(\w+)", (root / "tests/CHECKLIST-A.md").read_text()):
        assert re.search(rf"^(def )?{name}\(", (root / path).read_text(), re.M), f"{path} has no {name}"
