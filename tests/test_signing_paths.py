"""Every way to a signature of the signer's, with the requests that must not get one: the API, renewal, bundles, one-time secrets, EST, dojot's
two. What was refused has cost nothing: neither a secret's use nor an end entity's state, and there is no certificate more."""
import base64
import contextlib
import json
import sqlite3
import time

import apikit
import certs
import kit
import pytest
from test_api_certificates import one, openssl, request
from test_dojot import Dojot, Caller
from test_pki_http import b64, certificate_of, curl


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Dojot(kit.Pki(tmp_path_factory.mktemp("sp") / "d")) as s:
        yield s


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("requests")


class Ways:
    """Each is asked with a request in DER, for a device of its own, and answers (status, what it says, the certificate in PEM or None)."""

    def __init__(self, served, folder):
        self.served, self.folder, self.api, self.dojot = served, folder, served.login(), served.dojot()
        self.secrets, self.first = {}, None
        for name in ("a1", "a2", "a3", "a4", "a5", "a6", "a7"):
            assert self.api("POST", "/api/v1/devices", {"id": name}).status == 201
        for name in ("a4", "a5"):
            self.secrets[name] = self.api("POST", f"/api/v1/devices/{name}/enrolment", {}).json["secret"]
        csr, _ = request(folder, "a2")
        self.first = one(self.api("POST", "/api/v1/devices/a2/certificates", {"csr": csr}).json)
        assert self.dojot("POST", "/user", {"username": "a6"}).status == 200

    @staticmethod
    def pem(der):
        return certs.pem("CERTIFICATE REQUEST", der)

    def said(self, answer, *names):
        made = answer.json
        for name in names:
            made = made[name] if isinstance(made, dict) and name in made else None
        return answer.status, answer.body.decode(), made

    def issue(self, der):
        return self.said(self.api("POST", "/api/v1/devices/a1/certificates", {"csr": self.pem(der)}), "pem")

    def renew(self, der):
        status, text, made = self.said(self.api("POST", self.first + "/renew", {"csr": self.pem(der)}))
        if status == 201:
            self.first = one(made)
        return status, text, made["pem"] if status == 201 else None

    def bundle(self, der):
        status, text, made = self.said(self.api("POST", "/api/v1/devices/a3/bundle", {"format": "header", "csr": self.pem(der)}))
        return status, text, self.api("GET", f"/api/v1/certificates/{made['ca']}/{made['serial']}").json["pem"] if status == 201 else None

    def enrol(self, der):
        body = {"secret": self.secrets["a4"], "csr": self.pem(der)}
        return self.said(self.served.client()("POST", "/api/v1/enrol", body), "certificate")

    def est(self, der):
        answer = curl(self.served, "/simpleenroll", "-u", f"a5:{self.secrets['a5']}", data=base64.b64encode(der))
        return answer[0], answer[2].decode(), certificate_of(answer, self.folder, "est").read_text() if answer[0] == 200 else None

    def sign(self, der):
        answer = self.dojot("POST", "/sign/a6/pkcs10", {"passwd": "dojot", "certificate": base64.b64encode(der).decode()})
        status, text, data = self.said(answer, "status", "data")
        return status, text, f"-----BEGIN CERTIFICATE-----\n{data}\n-----END CERTIFICATE-----\n" if status == 200 else None

    def x509(self, der):
        return self.said(self.dojot("POST", "/x509/v1/certificates", {"csr": self.pem(der), "belongsTo": {"device": "a7"}}), "certificatePem")


# The common name that each takes: its device's.
WAYS = {"issue": "a1", "renew": "a2", "bundle": "a3", "enrol": "a4", "est": "a5", "sign": "a6", "x509": "a7"}


@pytest.fixture(scope="module")
def ways(served, folder):
    return Ways(served, folder)


def der(folder, name, *words, key):
    return certs.pem_bytes(request(folder, name, *words, key=key)[0])


@pytest.fixture(scope="module")
def hostile(folder):
    """{what is wrong: (request for each common name, what the answer has to say of it)}; the common name is not why it is refused."""
    rsa = folder / "rsa.key"
    certs.openssl("genrsa", "-out", rsa, "2048")

    def made(*words, key=("-key", rsa)):
        return {cn: certs.openssl("req", "-new", *(["-newkey", key[1], *key[2:], "-nodes", "-keyout", folder / "x.key"] if key[0] == "-newkey" else key), "-subj", f"/CN={cn}",
                                  "-outform", "DER", *words) for cn in WAYS.values()}
    good = made()
    return {
        "1024 bits": (made(key=("-newkey", "rsa:1024")), "1024"),
        "16384 bits": ({cn: certs.forged_request(16384) for cn in good}, "16384"),
        "2049 bits": ({cn: certs.forged_request(2049) for cn in good}, "2049"),
        "MD5": (made("-md5"), "MD5"),
        "SHA-1": (made("-sha1"), "SHA1"),
        "Ed25519": (made(key=("-newkey", "ed25519")), "ED25519"),
        "P-224": (made(key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-224")), "secp224r1"),
        "self-signature": ({cn: x[:-1] + bytes([x[-1] ^ 1]) for cn, x in good.items()}, "signature"),
        "another key's signature": ({cn: certs.forged_request(2048) for cn in good}, "signature"),
        "cut": ({cn: x[:-3] for cn, x in good.items()}, ""),
        "something behind it": ({cn: x + b"\0" for cn, x in good.items()}, ""),
    }


def issued(served):
    """But for the OCSP responders' own, which control has made in its own time."""
    return {e["serial"] for e in json.loads(kit.signet("ca", "list", "--dir", served.dir, "--json").stdout) if not e["name"].startswith("OCSP responder")}


@pytest.mark.parametrize("way", WAYS)
def test_requests_that_no_way_signs(served, ways, hostile, folder, way):
    before = issued(served)
    for what, (requests, why) in hostile.items():
        status, text, made = getattr(ways, way)(requests[WAYS[way]])
        assert 400 <= status < 500 and status not in (401, 403, 404, 429) and why.lower() in text.lower() and made is None, (what, status, text)
    assert issued(served) == before
    # The same way is open for one that is right, even if it wishes to be more than a device; which is not asked.
    rsa = folder / "rsa.key"
    greedy = certs.openssl("req", "-new", "-key", rsa, "-subj", f"/CN={WAYS[way]}", "-outform", "DER", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:3",
                           "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "extendedKeyUsage=serverAuth,OCSPSigning")
    status, text, made = getattr(ways, way)(greedy)
    assert status in (200, 201), text
    shown = openssl("x509", "-noout", "-text", data=made.encode())
    assert "CA:TRUE" not in shown and "Certificate Sign" not in shown and "CRL Sign" not in shown and "TLS Web Server" not in shown and "OCSP Signing" not in shown
    assert f"Subject: CN = {WAYS[way]}\n" in shown


def test_a_secret_whose_time_is_over(tmp_path):
    """By the API and by EST, and neither says more than to who guesses."""
    with apikit.Control(kit.Pki(tmp_path / "d")) as control:
        api = control.login()
        assert api("POST", "/api/v1/devices", {"id": "late"}).status == 201
        late, good = (api("POST", "/api/v1/devices/late/enrolment", {"hours": 1}).json for _ in range(2))
        control.stop()
        with contextlib.closing(sqlite3.connect(control.dir / "registry.db")) as db:
            db.execute("UPDATE secrets SET expires = ? WHERE id = ?", (int(time.time()) - 1, late["id"]))
            db.commit()
        control.start()
        csr, _ = request(tmp_path, "late")
        answer = control.client()("POST", "/api/v1/enrol", {"secret": late["secret"], "csr": csr})
        assert answer.status == 401, answer
        status, headers, _ = curl(control, "/simpleenroll", "-u", f"late:{late['secret']}", data=b64(csr))
        assert status == 401 and headers["www-authenticate"] == 'Basic realm="est"'
        # The other one is good: it comes as far as the signer, who is not here.
        assert control.client()("POST", "/api/v1/enrol", {"secret": good["secret"], "csr": csr}).status not in (201, 401)
        assert curl(control, "/simpleenroll", "-u", f"late:{good['secret']}", data=b64(csr))[0] not in (200, 401)


# ---- what is no request at all: dojot's paths have the same reader as /api/v1, and the same bounds ----

def test_bodies_and_paths_of_dojot(served, ways):
    dojot = Caller(served, ways.dojot.token)
    bodies = {"truncated": b'{"label":"x"', "deep": b'{"label":' + b"[" * 1000 + b"]" * 1000 + b"}", "double": b'{"label":"x","label":"y","templates":[]}',
              "NUL": b'{"label":"a\\u0000b","templates":[]}', "no UTF-8": b'{"label":"\xff","templates":[]}', "behind it": b'{"label":"x","templates":[]}x', "number": b"7",
              "null": b"null", "array": b"[]", "infinite": b'{"label":1e400}', "nothing": b""}
    paths = (("POST", "/auth"), ("POST", "/device"), ("PUT", "/device/a1/actuate"), ("POST", "/template"), ("POST", "/sign/a1/pkcs10"), ("POST", "/user"), ("POST", "/auth/user"),
             ("POST", "/x509/v1/certificates"))
    for method, path in paths:
        for what, body in bodies.items():
            answer = dojot(method, path, raw=body)
            assert answer.status == 400, (path, what, answer)
        answer = dojot(method, path, raw=b'{"label":"' + b"a" * (1 << 20) + b'"}')
        assert answer.status == 413, (path, answer)
    devices = dojot("GET", "/device?idsOnly=true").json
    for path in ("/device/..", "/device/%2e%2e/ca", "/device/a1%2f..", "/device/a1/%2e%2e/a2", "//device", "/device//a1", "/ca/%2e%2e%2froot", "/sign/..%2fa1/pkcs10", "/user/a%00b",
                 "/device/a1%5c", "/x509/v1/../v1/ca", "/template/1/..", "/%64evice/../ca"):
        answer = dojot("GET", path)
        assert answer.status in (400, 404) and b"certificate" not in answer.body, (path, answer)
    for headers, status in (({f"X-{i}": "y" for i in range(70)}, 431), ({"X": "a" * 20000}, 431), ({"Authorization": "Bearer " + "x" * 65536}, 431)):
        assert dojot("GET", "/device", headers=headers).status == status, headers
        dojot.connection = None
    assert dojot("GET", "/device?idsOnly=true").json == devices
