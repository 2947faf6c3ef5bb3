"""What certificates point to, and how devices get theirs by standard means: revocation lists, OCSP, CAs' certificates and EST of `signet serve`.
openssl and curl are the referees."""
import base64
import email
import email.utils
import http.client
import re
import socket
import ssl
import subprocess
import urllib.parse

import apikit
import kit
import pytest
from test_api_certificates import device, one, openssl, request


class Site(apikit.Served):
    """With an http_listener, and certificates that name it."""

    def prepare(self):
        self.http = kit.free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        # The broker asks this responder about each client, and shows what it says about the broker.
        self.broker_lines = ("ocsp_check hard", f"ocsp_stapling_responder {self.url}/ocsp/cloud")
        super().prepare()
        self.lines = (f"http_listener {self.http} 127.0.0.1", f"crl_url {self.url}/crl/%c.crl", f"ocsp_url {self.url}/ocsp/%c",
                      f"ca_issuers_url {self.url}/ca/%c.cer", "broker_names localhost,127.0.0.1,broker.example", "est_serverkeygen true")

    def plain(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.http, timeout=kit.PATIENCE)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        answer = apikit.Answer(r.status, r.getheaders(), r.read())
        c.close()
        return answer

    def ask(self, *words, ca="client"):
        """openssl ocsp about certificates of a CA: its text."""
        folder = self.dir / "pki"
        return openssl("ocsp", "-issuer", folder / ca / "cert.pem", "-CAfile", folder / "ca.pem", "-url", f"{self.url}/ocsp/{ca}", "-text", *words)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(kit.Pki(tmp_path_factory.mktemp("h") / "d")) as s:
        yield s


@pytest.fixture(scope="module")
def admin(site):
    return site.login()


def as_der(path, kind="x509"):
    return subprocess.run(["openssl", kind, "-in", path, "-outform", "DER"], check=True, capture_output=True).stdout


def test_certificates_say_where_to_ask_and_it_is_there(site, admin, tmp_path):
    certificate, files = device(admin, tmp_path, "cdp")
    text = openssl("x509", "-in", files["cert"], "-noout", "-text")
    for url in (f"URI:{site.url}/crl/client.crl", f"OCSP - URI:{site.url}/ocsp/client", f"CA Issuers - URI:{site.url}/ca/client.cer"):
        assert url in text, (url, text)
    # The list is there before anything was revoked, and the referee fetches it.
    kit.wait_for(lambda: site.plain("GET", "/crl/client.crl").status == 200, "the first list")
    chain = ("-untrusted", site.dir / "pki/client/cert.pem", "-CAfile", site.dir / "pki/root/cert.pem")
    assert ": OK" in openssl("verify", "-crl_download", "-crl_check", *chain, files["cert"])
    ca = site.plain("GET", "/ca/client.cer")
    assert ca.type == "application/pkix-cert" and ca.body == as_der(site.dir / "pki/client/cert.pem")
    assert admin("POST", one(certificate) + "/revoke", {"reason": "keyCompromise"}).status == 200
    assert "revoked" in openssl("verify", "-crl_download", "-crl_check", *chain, files["cert"], check=False)


def test_lists_are_kept_by_caches(site, admin, tmp_path):
    certificate, _ = device(admin, tmp_path, "caches")
    kit.wait_for(lambda: site.plain("GET", "/crl/client.crl").status == 200, "the first list")
    first = site.plain("GET", "/crl/client.crl")
    assert first.type == "application/pkix-crl" and "no-store" not in first.headers["cache-control"] and "max-age=" in first.headers["cache-control"]
    assert "strict-transport-security" not in first.headers
    made, until = (email.utils.parsedate_to_datetime(first.headers[x]) for x in ("last-modified", "expires"))
    text = openssl("crl", "-inform", "DER", "-noout", "-text", "-lastupdate", "-nextupdate", data=first.body)
    assert f"{made:%H:%M:%S} {made.year}" in text and f"{until:%H:%M:%S} {until.year}" in text
    tag = first.headers["etag"]
    for headers in ({"If-None-Match": tag}, {"If-None-Match": f'"x", W/{tag}'}, {"If-Modified-Since": first.headers["last-modified"]}):
        answer = site.plain("GET", "/crl/client.crl", headers=headers)
        assert answer.status == 304 and answer.body == b"" and answer.headers["etag"] == tag, headers
    head = site.plain("HEAD", "/crl/client.crl")
    assert head.status == 200 and head.body == b"" and int(head.headers["content-length"]) == len(first.body)
    # A revocation makes a new one at once.
    assert admin("POST", one(certificate) + "/hold").status == 200
    second = site.plain("GET", "/crl/client.crl", headers={"If-None-Match": tag})
    assert second.status == 200 and certificate["serial"].upper() in openssl("crl", "-inform", "DER", "-noout", "-text", data=second.body).upper()
    # By HTTPS it is the same.
    assert site.client()("GET", "/api/v1/cas/client/crl").body == second.body


def test_nothing_else_without_tls(site):
    for method, path in (("GET", "/api/v1/health"), ("POST", "/api/v1/login"), ("GET", "/"), ("GET", "/.well-known/est/cacerts"), ("OPTIONS", "/crl/client.crl"),
                         ("POST", "/crl/client.crl"), ("GET", "/api/v1/cas/client/crl"), ("DELETE", "/ocsp/client")):
        assert site.plain(method, path).status == 404, (method, path)
    for path in ("/crl/nobody.crl", "/ca/nobody.cer", "/crl/client", "/crl/.crl", "/crl/../registry.db", "/crl/%2e%2e%2fx.crl", "/ocsp"):
        assert site.plain("GET", path).status in (400, 404), path


# ---- OCSP ----

def test_openssl_ocsp_is_answered(site, admin, tmp_path):
    certificate, files = device(admin, tmp_path, "ocsp1")
    for digest in ((), ("-sha256",)):
        for nonce in ((), ("-no_nonce",)):
            said = site.ask(*digest, "-cert", files["cert"], *nonce)
            assert "Response verify OK" in said and f"{files['cert']}: good" in said, said
            # A nonce comes back; without one the answer is one that everybody gets.
            assert said.count("OCSP Nonce:") == (0 if nonce else 2) and "WARNING: no nonce" not in said, said
    # Nobody asks whether whoever signed it is revoked.
    assert "OCSP No Check" in said and "Responder Id: " in said and "OCSP Signing" in said
    assert admin("POST", one(certificate) + "/hold").status == 200
    said = site.ask("-cert", files["cert"], "-no_nonce")
    assert f"{files['cert']}: revoked" in said and "Reason: certificateHold" in said
    assert admin("POST", one(certificate) + "/release").status == 200
    assert f"{files['cert']}: good" in site.ask("-cert", files["cert"], "-no_nonce")
    assert admin("POST", one(certificate) + "/revoke", {"reason": "keyCompromise"}).status == 200
    said = site.ask("-cert", files["cert"], "-no_nonce")
    revoked = certificate_time(admin, certificate)
    assert "Reason: keyCompromise" in said and re.search(rf"Revocation Time: \w+ +\d+ {revoked[11:19]} {revoked[:4]} GMT", said), said
    said = site.ask("-serial", "0x1234", "-cert", files["cert"])
    assert "0x1234: unknown" in said and "revoked" in said


def certificate_time(admin, certificate):
    return admin("GET", one(certificate)).json["revoked"]


def ocsp_request(site, path, *words):
    out = path.with_suffix(".req")
    openssl("ocsp", "-issuer", site.dir / "pki/client/cert.pem", "-cert", path, "-reqout", out, *words)
    return out.read_bytes()


def read(answer):
    return openssl("ocsp", "-respin", "/dev/stdin", "-noverify", "-text", data=answer.body, check=False)


def test_ocsp_by_get_is_kept_by_caches(site, admin, tmp_path):
    certificate, files = device(admin, tmp_path, "ocsp2")
    text = base64.b64encode(ocsp_request(site, files["cert"], "-no_nonce")).decode()
    urls = [f"/ocsp/client/{x}" for x in (urllib.parse.quote(text, safe=""), text, text.rstrip("="))]
    answers = [site.plain("GET", url) for url in urls]
    assert {a.status for a in answers} == {200} and len({a.body for a in answers}) == 1
    first = answers[0]
    assert first.type == "application/ocsp-response" and "public" in first.headers["cache-control"] and "Cert Status: good" in read(first)
    assert site.plain("GET", urls[0], headers={"If-None-Match": first.headers["etag"]}).status == 304
    assert site.plain("POST", "/ocsp/client", body=base64.b64decode(text), headers={"Content-Type": "application/ocsp-request"}).body == first.body
    # What was kept goes with the revocation.
    assert admin("POST", one(certificate) + "/revoke", {"reason": "superseded"}).status == 200
    second = site.plain("GET", urls[0], headers={"If-None-Match": first.headers["etag"]})
    assert second.status == 200 and "Cert Status: revoked" in read(second)


def test_the_broker_asks_it(site, admin, tmp_path):
    """`ocsp_check hard`: who has no answer does not come in."""
    certificate, files = device(admin, tmp_path, "ocsp4")
    kit.Client(site, "ocsp4", chain_of(site, files), version=kit.V5, port=site.mqtt).close()
    # One of another way: nobody knows whom to ask about it.
    site.pki.issue("client", "offline")
    with pytest.raises(kit.Refused):
        kit.Client(site, "offline", site.pki.files("offline"), version=kit.V5, port=site.mqtt)
    kit.wait_for(lambda: "[ocsp-unavailable]" in site.text(), "the reason")


def test_the_broker_shows_an_answer_of_its_own_responder(site):
    """The certificate of `signet init` names none: `broker_names` brought another one."""
    cert = site.dir / "pki/broker/cert.pem"
    kit.wait_for(lambda: f"{site.url}/ocsp/cloud" in openssl("x509", "-in", cert, "-noout", "-text"), "the broker's certificate")
    # Control reads it from the CA's index.
    kit.wait_for(lambda: f"{cert}: good" in site.ask("-cert", cert, ca="cloud"), "the responder to know it")
    assert "Response verify OK" in site.ask("-cert", cert, ca="cloud")


def test_bad_ocsp_requests(site, admin, tmp_path):
    _, files = device(admin, tmp_path, "ocsp3")
    good = ocsp_request(site, files["cert"])
    kind = {"Content-Type": "application/ocsp-request"}
    for body in (good[:-1], good + b"x", b"0\x80", b"x" * 16384):
        answer = site.plain("POST", "/ocsp/client", body=body, headers=kind)
        assert answer.status == 200 and "malformedrequest" in read(answer), body
    assert "unauthorized" in read(site.plain("POST", "/ocsp/watch", body=good, headers=kind))
    assert "unauthorized" in read(site.plain("POST", "/ocsp/nobody", body=good, headers=kind))
    for path in ("/ocsp/client/", "/ocsp/client/%", "/ocsp/client/%4", "/ocsp/client/A", "/ocsp/client/!!!!", "/ocsp/client/AAAA/BBBB?x=1"):
        assert "malformedrequest" in read(site.plain("GET", path)), path
    assert site.plain("POST", "/ocsp/client", body=b"x" * 16385, headers=kind).status == 413
    assert site.plain("POST", "/ocsp/client", body=good, headers={"Content-Type": "text/plain"}).status == 415


# ---- EST ----

EST = "/.well-known/est"


def curl(site, path, *words, data=None, who=None):
    """(status, headers, body) as curl gets them."""
    words = [*words, *(("--cert", who["cert"], "--key", who["key"]) if who else ())]
    if data is not None:
        words += ["--data-binary", "@-", "-H", "Content-Type: application/pkcs10"]
    done = subprocess.run(["curl", "-sS", "-i", "--cacert", site.dir / "pki/ca.pem", "--resolve", f"localhost:{site.port}:127.0.0.1",
                           *map(str, words), f"https://localhost:{site.port}{EST}{path}"], input=data, capture_output=True, timeout=kit.PATIENCE)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}, body


def b64(pem):
    """The body of a PEM: base64 in lines."""
    return re.search("-----BEGIN [A-Z ]+-----\n(.*?)-----END", pem, re.S)[1].encode()


def secret(admin, name, tenant=""):
    assert admin("POST", f"/api/v1/devices{tenant}", {"id": name}).status == 201
    made = admin("POST", f"/api/v1/devices/{name}/enrolment{tenant}", {})
    assert made.status == 201, made
    return made.json["secret"]


def certificate_of(answer, folder, name):
    """Out of the PKCS#7 that came, as files for a client."""
    status, headers, body = answer
    assert status == 200 and headers["content-type"] == "application/pkcs7-mime; smime-type=certs-only", answer
    assert headers["content-transfer-encoding"] == "base64" and headers["cache-control"] == "no-store"
    text = openssl("pkcs7", "-inform", "DER", "-print_certs", data=base64.b64decode(body))
    assert text.count("BEGIN CERTIFICATE") == 1
    path = folder / f"{name}.crt"
    path.write_text(text[text.index("-----BEGIN"):])
    return path


def enrolled(site, admin, folder, name):
    csr, key = request(folder, name)
    cert = certificate_of(curl(site, "/simpleenroll", "-u", f"{name}:{secret(admin, name)}", data=b64(csr)), folder, name)
    return {"cert": cert, "key": key}


def test_cacerts_and_csrattrs(site, tmp_path):
    for path in ("/cacerts", "/default/cacerts"):
        status, headers, body = curl(site, path)
        assert status == 200 and headers["content-type"] == "application/pkcs7-mime"
        bundle = tmp_path / "cas.pem"
        bundle.write_text(openssl("pkcs7", "-inform", "DER", "-print_certs", data=base64.b64decode(body)))
        assert bundle.read_text().count("BEGIN CERTIFICATE") == 2
        assert ": OK" in openssl("verify", "-CAfile", bundle, site.dir / "pki/client/cert.pem")
    status, headers, body = curl(site, "/csrattrs")
    assert status == 200 and headers["content-type"] == "application/csrattrs"
    text = openssl("asn1parse", "-inform", "DER", data=base64.b64decode(body))
    assert "id-ecPublicKey" in text and "prime256v1" in text and "ecdsa-with-SHA256" in text
    assert curl(site, "/nobody/cacerts")[0] == curl(site, "/fullcmc")[0] == 404


def test_enrol_with_a_secret_and_again_with_the_certificate(site, admin, tmp_path):
    first = enrolled(site, admin, tmp_path, "est1")
    assert ": OK" in openssl("verify", "-purpose", "sslclient", "-CAfile", site.dir / "pki/ca.pem", first["cert"])
    assert "CN = est1" in openssl("x509", "-in", first["cert"], "-noout", "-subject") and openssl("pkey", "-in", first["key"], "-pubout") == openssl(
        "x509", "-in", first["cert"], "-noout", "-pubkey")
    listed = admin("GET", "/api/v1/certificates?device=est1").json["items"]
    assert [(c["origin"], c["state"]) for c in listed] == [("est", "active")]
    # The leaf alone is enough: the CA is known. Another key, or the same.
    (tmp_path / "2").mkdir()
    csr, key = request(tmp_path / "2", "est1")
    second = {"cert": certificate_of(curl(site, "/simplereenroll", data=b64(csr), who=first), tmp_path / "2", "est1"), "key": key}
    # Both count until somebody takes the old one back.
    for files in (first, second):
        csr = openssl("req", "-new", "-key", second["key"], "-subj", "/CN=est1")
        assert curl(site, "/simplereenroll", data=b64(csr), who=files)[0] == 200
    states = [c["state"] for c in admin("GET", "/api/v1/certificates?device=est1").json["items"]]
    assert states == ["active"] + ["superseded"] * 3
    # To enrol is the same for who shows a certificate.
    assert curl(site, "/simpleenroll", data=b64(csr), who=second)[0] == 200
    assert kit.Client(site, "est1", chain_of(site, second), version=kit.V5, port=site.mqtt).close() is None


def chain_of(site, files):
    path = files["cert"].with_suffix(".chain")
    path.write_text(files["cert"].read_text() + (site.dir / "pki/client/cert.pem").read_text())
    return {"cert": path, "key": files["key"], "ca": site.dir / "pki/ca.pem"}


def test_who_may_not(site, admin, tmp_path):
    csr, key = request(tmp_path, "est2")
    word = secret(admin, "est2")
    body = b64(csr)
    for words in ((), ("-u", "est2:wrong"), ("-H", "Authorization: Bearer x"), ("-H", "Authorization: Basic !!!!")):
        status, headers, _ = curl(site, "/simpleenroll", *words, data=body)
        assert status == 401 and headers["www-authenticate"] == 'Basic realm="est"', words
    # A secret is for one name, and does not renew.
    assert curl(site, "/simpleenroll", "-u", f"est1:{word}", data=body)[0] == 400
    assert curl(site, "/simplereenroll", "-u", f"est2:{word}", data=body)[0] == 401
    mine = {"cert": certificate_of(curl(site, "/default/simpleenroll", "-u", f"est2:{word}", data=body), tmp_path, "est2"), "key": key}
    assert curl(site, "/simpleenroll", "-u", f"est2:{word}", data=body)[0] == 401  # used up
    # Only for the same subject and the same names.
    for subject, more in (("/CN=est1", ()), ("/CN=est2/O=x", ()), ("/CN=est2", ("-addext", "subjectAltName=DNS:est2.example"))):
        other = openssl("req", "-new", "-key", key, "-subj", subject, *more)
        status, _, text = curl(site, "/simplereenroll", data=b64(other), who=mine)
        assert status == 400 and b"is not that of the certificate" in text, (subject, more)
    # Not by another one's certificate, nor by those of other roles.
    assert curl(site, "/simpleenroll", data=b64(request(tmp_path, "est1")[0]), who=mine)[0] == 400
    for who in ("watcher", "controller"):
        assert curl(site, "/simplereenroll", data=body, who=site.pki.files(who))[0] == 401
    # Whoever was disabled or revoked is out.
    device = admin("GET", "/api/v1/devices/est2")
    assert admin("PATCH", "/api/v1/devices/est2", {"state": "pending"}, headers={"If-Match": device.headers["etag"]}).status == 200
    status, headers, text = curl(site, "/simplereenroll", data=body, who=mine)
    assert status == 202 and int(headers["retry-after"]) > 0 and text == b""
    assert admin("PATCH", "/api/v1/devices/est2", {"state": "disabled"}).status == 200
    assert curl(site, "/simplereenroll", data=body, who=mine)[0] == 403
    assert admin("PATCH", "/api/v1/devices/est2", {"state": "enabled"}).status == 200
    serial = admin("GET", "/api/v1/certificates?device=est2").json["items"][0]
    assert admin("POST", one(serial) + "/hold").status == 200
    assert curl(site, "/simplereenroll", data=body, who=mine)[0] == 401


def test_a_device_that_asks_again_and_again_waits(site, admin, tmp_path):
    files = enrolled(site, admin, tmp_path, "eager")
    body = b64(openssl("req", "-new", "-key", files["key"], "-subj", "/CN=eager"))
    context = site.tls()
    context.load_cert_chain(files["cert"], files["key"])
    c = http.client.HTTPSConnection("localhost", site.port, timeout=kit.PATIENCE, context=context)
    statuses = []
    for _ in range(21):
        c.request("POST", "/.well-known/est/simplereenroll", body=body, headers={"Content-Type": "application/pkcs10"})
        answer = c.getresponse()
        answer.read()
        statuses.append(answer.status)
    assert statuses == [200] * 20 + [429] and int(answer.headers["retry-after"]) > 0
    c.close()


def test_one_id_in_two_tenants(site, admin, tmp_path):
    for tenant in ("rot", "blau"):
        assert admin("POST", "/api/v1/tenants", {"name": tenant}).status == 201
    words = {t: secret(admin, "twin", f"?tenant={t}") for t in ("rot", "blau")}
    csr, key = request(tmp_path, "twin")
    assert curl(site, "/blau/simpleenroll", "-u", f"twin:{words['rot']}", data=b64(csr))[0] == 401
    cert = certificate_of(curl(site, "/rot/simpleenroll", "-u", f"twin:{words['rot']}", data=b64(csr)), tmp_path, "rot")
    assert "CN = rot:twin" in openssl("x509", "-in", cert, "-noout", "-subject")
    csr = openssl("req", "-new", "-key", key, "-subj", "/CN=rot:twin")
    assert curl(site, "/blau/simplereenroll", data=b64(csr), who={"cert": cert, "key": key})[0] == 403
    assert curl(site, "/rot/simplereenroll", data=b64(csr), who={"cert": cert, "key": key})[0] == 200


def test_requests_that_are_refused_with_their_reason(site, admin, tmp_path):
    mine = enrolled(site, admin, tmp_path, "est3")
    good = base64.b64decode(b64(openssl("req", "-new", "-key", mine["key"], "-subj", "/CN=est3")))
    weak, _ = request(tmp_path, "weak", key=("-newkey", "rsa:1024"))
    md5, _ = request(tmp_path, "md5", "-md5", key=("-newkey", "rsa:2048"))
    cases = {b"-----BEGIN": b"base64", base64.b64encode(good)[:-3]: b"base64", base64.b64encode(good[:-1]): b"no certificate request",
             base64.b64encode(good + b"x"): b"no certificate request", base64.b64encode(good[:-2] + bytes([good[-2] ^ 1]) + good[-1:]): b"signature",
             b64(weak): b"1024", b64(md5): b"MD5", b"": b"base64"}
    for body, reason in cases.items():
        status, headers, text = curl(site, "/simpleenroll", data=body, who=mine)
        assert status == 400 and reason in text, (body, text)
    assert curl(site, "/simpleenroll", data=b"A" * 32769, who=mine)[0] == 413
    assert curl(site, "/simpleenroll", "-H", "Content-Type: text/plain", data=b64(weak), who=mine)[0] in (400, 415)
    # What it wishes to be is not asked.
    ca = openssl("req", "-new", "-key", mine["key"], "-subj", "/CN=est3", "-addext", "basicConstraints=critical,CA:TRUE")
    cert = certificate_of(curl(site, "/simpleenroll", data=b64(ca), who=mine), tmp_path, "ca")
    assert "CA:TRUE" not in openssl("x509", "-in", cert, "-noout", "-text")


def linked(folder, files, name, challenge):
    """A request with a challengePassword, as EST has it."""
    config = folder / "linked.conf"
    config.write_text(f"[req]\nprompt=no\ndistinguished_name=dn\nattributes=at\n[dn]\nCN={name}\n[at]\nchallengePassword={challenge}\n")
    return b64(openssl("req", "-new", "-key", files["key"], "-config", config))


def post(body):
    return (f"POST {EST}/simplereenroll HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/pkcs10\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def status_of(answer):
    return int(re.search(rb"^HTTP/1\.1 (\d+)", answer, re.M)[1])


def test_a_request_that_is_bound_to_its_connection(site, admin, tmp_path):
    """tls-unique of TLS 1.2, which python has; curl has no way to show it."""
    mine = enrolled(site, admin, tmp_path, "est4")
    context = site.tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(mine["cert"], mine["key"])
    uniques, sessions = [], [None]

    def enrol(challenge):
        raw = socket.create_connection(("127.0.0.1", site.port), timeout=kit.PATIENCE)
        with context.wrap_socket(raw, server_hostname="localhost", session=sessions[-1]) as s:
            uniques.append(base64.b64encode(s.get_channel_binding("tls-unique")).decode())
            s.sendall(post(linked(tmp_path, mine, "est4", challenge())))
            answer = s.makefile("rb").read()
            # Nothing is resumed: each connection has a handshake of its own to be bound to, though the client would come back.
            assert not s.session_reused and not s.session.has_ticket
            sessions.append(s.session)
        assert status_of(answer) == 200 or b"is not the base64 of this connection's tls-unique" in answer, answer
        return status_of(answer)

    assert enrol(lambda: uniques[-1]) == 200
    assert enrol(lambda: uniques[-1]) == 200
    assert enrol(lambda: uniques[0]) == 400
    assert enrol(lambda: base64.b64encode(bytes(12)).decode()) == 400
    assert enrol(lambda: "a secret") == 400


def test_a_request_that_is_bound_by_tls_exporter(site, admin, tmp_path):
    """RFC 9266, since TLS 1.3 has no tls-unique. openssl shows what its end of the connection has."""
    mine = enrolled(site, admin, tmp_path, "est6")
    shown = []

    def enrol(challenge, version="-tls1_3"):
        words = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-servername", "localhost", version, "-verify_return_error", "-ign_eof",
                 "-CAfile", site.dir / "pki/ca.pem", "-cert", mine["cert"], "-key", mine["key"],
                 "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"]
        with subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
            found = next((m for line in p.stdout if (m := re.match(rb"\s*Keying material: ([0-9A-F]{64})$", line))), None)
            assert found, "openssl shows nothing"
            shown.append(base64.b64encode(bytes.fromhex(found[1].decode())).decode())
            answer = p.communicate(post(linked(tmp_path, mine, "est6", challenge())), timeout=kit.PATIENCE)[0]
        said = b"tls-exporter" if version == "-tls1_3" else b"tls-unique"
        assert status_of(answer) == 200 or b"is not the base64 of this connection's " + said in answer, answer
        return status_of(answer)

    assert enrol(lambda: shown[-1]) == 200
    assert enrol(lambda: shown[0]) == 400          # another connection's
    assert enrol(lambda: shown[-1] + "x") == 400
    assert enrol(lambda: shown[-1][:16]) == 400    # as long as tls-unique
    assert enrol(lambda: shown[-1], "-tls1_2") == 400
    # What a client takes for tls-unique with TLS 1.3 is not taken.
    context = site.tls()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(mine["cert"], mine["key"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), timeout=kit.PATIENCE), server_hostname="localhost") as s:
        s.sendall(post(linked(tmp_path, mine, "est6", base64.b64encode(s.get_channel_binding("tls-unique")).decode())))
        assert status_of(s.makefile("rb").read()) == 400


def test_a_key_that_is_made_here(site, admin, tmp_path):
    word = secret(admin, "est5")
    csr, key = request(tmp_path, "est5")
    status, headers, body = curl(site, "/serverkeygen", "-u", f"est5:{word}", data=b64(csr))
    assert status == 200 and headers["content-type"].startswith("multipart/mixed; boundary="), body
    message = email.message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    made, certs = message.get_payload()
    assert made.get_content_type() == "application/pkcs8" and certs.get_content_type() == "application/pkcs7-mime"
    path = tmp_path / "made.der"
    path.write_bytes(made.get_payload(decode=True))
    public = openssl("pkey", "-inform", "DER", "-in", path, "-pubout")
    cert = openssl("pkcs7", "-inform", "DER", "-print_certs", data=certs.get_payload(decode=True)).encode()
    assert public == openssl("x509", "-noout", "-pubkey", data=cert) != openssl("pkey", "-in", key, "-pubout")
    assert "CN = est5" in openssl("x509", "-noout", "-subject", data=cert)
    rsa, _ = request(tmp_path, "est5", key=("-newkey", "rsa:2048"))
    status, _, text = curl(site, "/serverkeygen", "-u", f"est5:{word}", data=b64(rsa))
    assert status == 400 and b"EC keys only" in text


def test_the_broker_shows_what_it_says(site):
    """Asked again while there is none: the responder comes up after the broker."""
    def shown():
        return openssl("s_client", "-connect", f"127.0.0.1:{site.mqtt}", "-servername", "localhost", "-status", "-CAfile", site.dir / "pki/ca.pem", data=b"",
                       check=False)
    kit.wait_for(lambda: "Cert Status: good" in shown(), "the broker's staple", 3 * kit.PATIENCE)
