"""New certificates over MQTT, and quarantine: who may ask, what else he reaches, and who answers."""
import hashlib
import json
import os
import pathlib
import ssl
import subprocess
import tempfile

import pytest

import certs
import kit
import wire

@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="rn-", dir="/tmp") as folder:  # a socket's path has few bytes
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


@pytest.fixture
def site(place, broker_of):
    """An installation of its own, as keys and index change; a broker with renewal and quarantine."""
    pki, port = kit.Pki(place / "ca"), kit.free_port()

    def start(*lines):
        (place / "kept").mkdir(exist_ok=True)
        broker = broker_of(kit.STAY_ROOT + pki.conf(port, f"listener 0 {place / 'c'}", "protocol control", persistence="true", persistence_location=place / "kept").replace(
            "use_identity_as_username true", "\n".join(["use_identity_as_username true", *lines])), port)
        broker.pki, broker.control = pki, place / "c"
        return broker

    return start


def made(pki, name, begin, end):
    """A device of the installation's Client CA with these dates, which stands in the CA's index."""
    cas = certs.role_cas(pki, pki.dir.parent / f"cas-{name}")
    files = cas["client"].leaf(name, trust=pki.dir / "pki" / "ca.pem", chain=[cas["client"]], begin=begin, end=end)
    first = files["cert"].read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    begin, end = (f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in (begin, end))
    with open(pki.dir / "pki" / "client" / "index.txt", "a", encoding="utf-8") as f:
        f.write(f"issued\t{files['hex'].lower()}\t{begin}\t{end}\tclient\t{digest}\t{name}\n")
    return files


def csr(folder, subject, *words):
    key, out = folder / "new.key", folder / "new.csr"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key), "-out", str(out),
                    "-subj", subject, *words], check=True, capture_output=True)
    return key, out


def device(broker, *words, check=True):
    return kit.signet("device", *words, "--dir", broker.pki.dir, "--socket", broker.control, check=check)


def pending(broker):
    return json.loads(kit.signet("device", "pending", "--json", "--socket", broker.control).stdout)


def ask(peer, name, request):
    assert peer.subscribe(f"$signet/renew/{name}/reply", qos=1) == [1]
    peer.publish(f"$signet/renew/{name}/request", request, qos=1)


def last(peer, n):
    peer.wait_messages(n)
    return peer.payloads()[n - 1]


def test_not_before_its_time(site, place):
    broker = site("device_renewal true")
    kit.signet("device", "add", "dev1", "--days", "1", "--dir", broker.pki.dir)
    files = broker.pki.files("dev1")
    _, request = csr(place, "/CN=somebody-else")
    with wire.Peer(broker.port, "dev1", 5, files=files) as peer:
        ask(peer, "dev1", request.read_bytes())
        answer = json.loads(last(peer, 1))
        # One day of life has just begun: it is too early.
        assert answer["status"] == "refused" and "last third" in answer["reason"]
        assert pending(broker) == []
    assert device(broker, "approve", "dev1", check=False).returncode == 1


def test_quarantine(site, place):
    broker = site("quarantine true")
    old = made(broker.pki, "dev2", certs.now() - certs.days(9), certs.now() - certs.days(2))
    future = made(broker.pki, "dev3", certs.now() + certs.days(2), certs.now() + certs.days(9))
    with wire.Peer(broker.port, "dev3", 5, files=future) as peer:
        assert peer.subscribe(f"{kit.PREFIX}/dev3/#", "$signet/renew/dev3/reply") == [0x87, 0]
    with wire.Peer(broker.port, "quarantine:dev2", 5, files=old) as peer:
        # Nothing but its own reserved topics.
        assert peer.subscribe(f"{kit.PREFIX}/dev2/#", "#", "$signet/#", "$signet/renew/dev3/reply", "$signet/health/#") == [0x87] * 5
        for topic, code in ((f"{kit.PREFIX}/dev2/x", 0x87), ("$signet/renew/dev3/request", 0x87), ("$signet/health/dev3", 0x87),
                            ("$signet/renew/dev2/reply", 0x87)):
            with kit.Raw(broker.port, files=old) as raw:
                raw.send(wire.connect("dev2", 5)).packet()
                raw.send(wire.publish(topic, "x", qos=1, version=5))
                kind, body = raw.packet()
                assert kind >> 4 == wire.PUBACK and body[2] == code, (topic, body)
    assert {r["name"]: r["role"] for r in pending(broker)} == {"dev2": "quarantine", "dev3": "quarantine"}
    assert "has not sent a request" in device(broker, "approve", "dev2", check=False).stderr
    refused = [wire.connect("dev3", 5), wire.connect("other", 5)]
    for packet in refused:
        with kit.Raw(broker.port, files=old) as raw:
            assert raw.send(packet).packet()[1][1] == 0x87
    # Not what this CA did not issue, and no expired one without the option.
    broker.conf.write_text(broker.conf.read_text().replace("quarantine true", "quarantine false"))
    broker.reload()
    with pytest.raises(Exception):
        wire.Peer(broker.port, "dev2", 5, files=old)


def renew(broker, name, files, place, client_id):
    """From the request to the certificate; what the device has then."""
    key, request = csr(place, "/CN=somebody-else")
    with wire.Peer(broker.port, client_id, 5, files=files) as peer:
        ask(peer, name, b"not a request")
        assert json.loads(last(peer, 1))["status"] == "refused"
        peer.publish(f"$signet/renew/{name}/request", request.read_bytes(), qos=1)
        assert json.loads(last(peer, 2)) == {"status": "pending"}
        [waiting] = [r for r in pending(broker) if r["name"] == name]
        assert "BEGIN CERTIFICATE REQUEST" in waiting["request"] and len(waiting["fingerprint"]) == 64
        device(broker, "approve", name)
        chain = last(peer, 3).decode()
        # A half-open connection of the old certificate does not keep the new one out.
        new = place / "new.pem"
        new.write_text(chain)
        with wire.Peer(broker.port, client_id, 5, files={"ca": files["ca"], "cert": new, "key": key}):
            peer.wait_closed()
    assert [r for r in pending(broker) if r["name"] == name] == []
    shown = certs.openssl("x509", "-in", new, "-noout", "-subject", "-nameopt", "RFC2253").decode()
    assert shown.strip() == f"subject=CN={name}"
    return {"ca": files["ca"], "cert": new, "key": key}


def test_out_of_quarantine(site, place):
    broker = site("quarantine true")
    old = made(broker.pki, "dev4", certs.now() - certs.days(9), certs.now() - certs.days(2))
    new = renew(broker, "dev4", old, place, "dev4")
    with wire.Peer(broker.port, "dev4", 5, files=new) as peer:
        assert peer.subscribe(f"{kit.PREFIX}/dev4/#") == [0]
        # The old certificate puts nobody out of his session, and is not good for any other.
        for name in ("dev4", "other"):
            with kit.Raw(broker.port, files=old) as raw:
                assert raw.send(wire.connect(name, 5)).packet()[1][1] == 0x87
        peer.publish(f"{kit.PREFIX}/dev4/x", "still here", qos=1)
        assert last(peer, 1) == b"still here"


def test_renewal_in_the_last_third(site, place):
    """What was answered waits for who was away. A request is no right: the administrator may say no."""
    broker = site("device_renewal true")
    old = made(broker.pki, "dev5", certs.now() - certs.days(9), certs.now() + certs.days(3))
    new = approved(broker, "dev5", old, place)
    with wire.Peer(broker.port, "dev5", 5, files=old) as peer:
        assert peer.subscribe(f"{kit.PREFIX}/dev5/#", "$signet/renew/dev5/reply") == [0, 0]
        assert last(peer, 1) == new["cert"].read_bytes()
    _, request = csr(place, "/CN=dev5")
    with wire.Peer(broker.port, "dev5", 5, files=old) as peer:
        peer.publish("$signet/renew/dev5/request", request.read_bytes(), qos=1)
        kit.wait_for(lambda: pending(broker), "the request")
        device(broker, "refuse", "dev5")
        assert pending(broker) == []
    with wire.Peer(broker.port, "watcher", 5, files=broker.pki.files("watcher")) as peer:
        # Others do not see the answers, and hear how devices are.
        assert peer.subscribe("#", "$signet/renew/dev5/reply", "$signet/health/+") == [0, 0x87, 0]
        with wire.Peer(broker.port, "dev5", 5, files=old) as other:
            other.publish("$signet/health/dev5", "fine", qos=1)
        assert last(peer, 1) == b"fine"


def approved(broker, name, files, place):
    """The new certificate, which has not been used yet."""
    key, request = csr(place, f"/CN={name}")
    with wire.Peer(broker.port, name, 5, files=files) as peer:
        ask(peer, name, request.read_bytes())
        assert json.loads(last(peer, 1)) == {"status": "pending"}
        said = device(broker, "approve", name).stdout
        assert "until the new one has connected" in said
        new = place / f"{name}.pem"
        new.write_bytes(last(peer, 2))
    return {"ca": files["ca"], "cert": new, "key": key}


def code(broker, name, files):
    with kit.Raw(broker.port, files=files) as raw:
        return raw.send(wire.connect(name, 5)).packet()[1][1]


@pytest.mark.parametrize("first", ["old", "new"])
def test_old_and_new_overlap_until_the_new_one_has_connected(site, place, first):
    """In both orders, over restarts of the broker; then the CA's list has the old one."""
    broker = site("device_renewal true")
    old = made(broker.pki, "dev7", certs.now() - certs.days(9), certs.now() + certs.days(3))
    new = approved(broker, "dev7", old, place)
    if first == "old":
        assert code(broker, "dev7", old) == 0
        broker.stop()
        broker.start()
        assert code(broker, "dev7", old) == 0
    assert code(broker, "dev7", new) == 0
    broker.wait_log("new certificate of dev7 is in use")
    assert code(broker, "dev7", old) == 0x87
    broker.stop()
    broker.start()
    assert code(broker, "dev7", old) == 0x87
    assert code(broker, "dev7", new) == 0
    assert "superseded" in kit.signet("why", "dev7", "--socket", broker.control).stdout
    # The next time that the CA is at hand, it is taken back for everybody.
    other = made(broker.pki, "dev8", certs.now() - certs.days(9), certs.now() + certs.days(3))
    key, request = csr(place, "/CN=dev8")
    with wire.Peer(broker.port, "dev8", 5, files=other) as peer:
        ask(peer, "dev8", request.read_bytes())
        last(peer, 1)
        said = device(broker, "approve", "dev8").stdout
    assert f"serial {old['hex'].lower()}) is revoked as superseded" in said
    crl = certs.openssl("crl", "-in", broker.pki.dir / "crls" / "client.pem", "-noout", "-text").decode()
    assert "Superseded" in crl and old["hex"].lstrip("0").upper() in crl.upper()
    index = (broker.pki.dir / "pki" / "client" / "index.txt").read_text()
    assert not any(line.startswith(("replaced\t", "revoked\t")) for line in index.splitlines() if other["hex"].lower() in line)


def test_off_unless_asked_for(site, place):
    broker = site()
    old = made(broker.pki, "dev6", certs.now() - certs.days(9), certs.now() + certs.days(3))
    _, request = csr(place, "/CN=dev6")
    with wire.Peer(broker.port, "dev6", 5, files=old) as peer:
        ask(peer, "dev6", request.read_bytes())
        assert "device_renewal is false" in json.loads(last(peer, 1))["reason"]
    assert pending(broker) == []
