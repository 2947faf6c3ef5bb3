"""dojot's paths: its certificate retriever, its device-manager, its users, as its programs call them. tests/CHECKLIST-A.md names the rows."""
import base64
import concurrent.futures
import http.client
import json
import os
import re
import subprocess
import time

import apikit
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
        if self.connection is None:
            self.connection = self.connect()
        self.connection.request(method, path, body=data, headers={k: v for k, v in send.items() if v is not None})
        response = self.connection.getresponse()
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


def openssl(*words, data=None, check=True):
    done = subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, timeout=kit.PATIENCE)
    assert not check or done.returncode == 0, done
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def request(folder, name, *words, key=("rsa:2048",)):
    """(base64 of the DER, the key's file) of a request as the retriever makes it."""
    path = folder / f"{name}.key"
    openssl("req", "-new", "-newkey", *key, "-nodes", "-keyout", path, "-subj", f"/CN={name}", "-out", folder / f"{name}.csr", *words)
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


def certificate(served, admin, folder, name, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """Files with which the device connects."""
    csr, key = request(folder, name, key=("rsa:2048",))
    answer = sign(admin, name, csr)
    assert answer.status == 200, answer
    cert = folder / f"{name}.crt"
    cert.write_text(pem(answer.json["status"]["data"]) + (served.dir / "pki/client/cert.pem").read_text())
    return {"cert": cert, "key": key, "ca": served.dir / "pki/ca.pem"}


def connects(served, client_id, files):
    try:
        kit.Client(served, client_id, files, port=served.mqtt).close()
        return True
    except kit.Refused:
        return False


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
