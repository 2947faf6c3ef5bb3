"""signet serve keeps the broker's certificate good: its names, its time, its key."""
import os
import re
import signal
import socket
import ssl

import pytest

import certs
import kit
import wire
from test_serve import Serve


@pytest.fixture
def pki(tmp_path):
    return kit.Pki(tmp_path / "site")


def seen(serve, pki):
    """(names, serial, public key) of the certificate that the broker shows."""
    context = ssl.create_default_context(cafile=pki.dir / "clients/watcher/ca.pem")
    context.check_hostname = False
    context.load_cert_chain(pki.dir / "clients/watcher/cert.pem", pki.dir / "clients/watcher/key.pem")
    with context.wrap_socket(socket.create_connection(("127.0.0.1", serve.port), timeout=kit.PATIENCE)) as tls:
        pem = ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True)).encode()
        names = [value for _, value in tls.getpeercert()["subjectAltName"]]
    return names, certs.openssl("x509", "-noout", "-serial", data=pem), certs.openssl("x509", "-noout", "-pubkey", data=pem)


def put(pki, begin, end, names=("localhost",)):
    """Another certificate of the cloud CA for the broker, with its key."""
    cas = certs.role_cas(pki, pki.dir.parent / "cas")
    san = certs.sequence(*(certs.tlv(0x82, n.encode()) for n in names))
    leaf = cas["cloud"].leaf("localhost", chain=[cas["cloud"]], usage=(certs.SERVER_AUTH,), begin=begin, end=end, extra=[certs.extension("2.5.29.17", san)])
    folder = pki.dir / "pki/broker"
    for name in ("cert", "key"):
        mode = (folder / f"{name}.pem").stat().st_mode
        (folder / f"{name}.pem").write_bytes(leaf[name].read_bytes())
        (folder / f"{name}.pem").chmod(mode)
    return leaf


def test_another_list_of_names(pki):
    first = (pki.dir / "pki/broker/cert.pem").read_bytes()
    with Serve(pki, lines=["broker_names localhost, 127.0.0.1 ,mqtt.example"]) as serve:
        serve.wait_log(r"certificate .* is not for mqtt\.example: the signer is asked")
        serve.wait_log(r"certificate is new: for localhost and other names, serial \w+\.")
        kit.wait_for(lambda: seen(serve, pki)[0] == ["localhost", "127.0.0.1", "mqtt.example"], "the new certificate")
        assert (pki.dir / "pki/broker/cert.pem").read_bytes() != first
        assert certs.openssl("verify", "-CAfile", pki.dir / "clients/watcher/ca.pem", "-untrusted", pki.dir / "pki/broker/cert.pem",
                             pki.dir / "pki/broker/cert.pem").strip().endswith(b"OK")
        text = kit.signet("audit", "show", "--dir", pki.dir).stdout
        assert "control/serve" in text
    with Serve(pki, lines=["broker_names localhost,127.0.0.1,mqtt.example"]) as serve:
        assert "the signer is asked" not in serve.log().rpartition("serves.")[0].rpartition("serves.")[2]


def test_names_from_the_environment(pki, monkeypatch):
    monkeypatch.setenv("MOSCA_TLS_DNS_LIST", "mqtt,mosca,localhost")
    with Serve(pki) as serve:
        serve.wait_log(r"certificate is new: for mqtt and other names")
        kit.wait_for(lambda: seen(serve, pki)[0] == ["mqtt", "mosca", "localhost"], "the new certificate")


@pytest.mark.parametrize("lines,same", [([], True), (["broker_key new"], False)])
def test_one_that_expires_soon(pki, lines, same):
    now = certs.now()
    put(pki, now - certs.days(100), now + certs.days(200))
    with Serve(pki, lines=lines) as serve, wire.Peer(serve.port, "watcher", 5, files=pki.files("watcher")) as held:
        before = seen(serve, pki)
        assert before[0] == ["localhost"]
        mark = serve.mark()
        put(pki, now - certs.days(100), now + certs.days(20))
        key = (pki.dir / "pki/broker/key.pem").read_bytes()
        os.kill(serve.process.pid, signal.SIGHUP)
        serve.wait_log(r"certificate .* expires in 19 days: the signer is asked|expires in 20 days: the signer is asked", mark)
        new = serve.wait_log(r"certificate is new: for localhost, serial (\w+)(, with a new key)?\.", mark)
        serial = new.group(1).upper().lstrip("0")
        kit.wait_for(lambda: seen(serve, pki)[1].decode().strip().partition("=")[2].lstrip("0") == serial, "the new certificate")
        after = seen(serve, pki)
        assert after[0] == ["localhost"] and ((pki.dir / "pki/broker/key.pem").read_bytes() == key) == same
        assert (pki.dir / "pki/broker/key.pem").stat().st_mode & 0o777 == 0o600
        # Nobody who was there has noticed.
        assert held.subscribe("a/b", qos=1) == [1]


@pytest.mark.parametrize("harm", ["expired", "missing", "damaged", "another key"])
def test_one_that_cannot_be_used(pki, harm):
    now, cert = certs.now(), pki.dir / "pki/broker/cert.pem"
    if harm == "expired":
        put(pki, now - certs.days(100), now - certs.days(1))
    elif harm == "missing":
        cert.unlink()
    elif harm == "damaged":
        cert.write_bytes(cert.read_bytes()[:300])
    else:
        old = cert.read_bytes()
        put(pki, now, now + certs.days(300))
        cert.write_bytes(old)
    with Serve(pki, lines=["broker_names localhost,127.0.0.1"]) as serve:
        serve.wait_log(r"certificate is new: for localhost and other names")
        assert seen(serve, pki)[0] == ["localhost", "127.0.0.1"]


def test_names_that_cannot_be(pki):
    with Serve(pki, lines=["broker_names localhost,no/name"]) as serve:
        said = serve.wait_log(r"gets no new certificate: .*no/name.* It is tried again in 30 s\.")
        assert said and seen(serve, pki)[0] == ["localhost", "127.0.0.1"]
        assert not re.search(r"certificate is new", serve.log())
