"""What certificates point to, and how devices get theirs by standard means: revocation lists, OCSP, CAs' certificates and EST of `signet serve`.
openssl and curl are the referees."""
import base64
import email.utils
import http.client
import re
import subprocess
import urllib.parse

import apikit
import kit
import pytest
from test_api_certificates import device, one, openssl, request


class Site(apikit.Served):
    """With an http_listener, and certificates that name it."""

    def prepare(self):
        super().prepare()
        self.http = kit.free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.lines = (f"http_listener {self.http} 127.0.0.1", f"crl_url {self.url}/crl/%c.crl", f"ocsp_url {self.url}/ocsp/%c",
                      f"ca_issuers_url {self.url}/ca/%c.cer", "broker_names localhost,127.0.0.1,broker.example")

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
