"""`signet why`: the broker remembers whom it refused, whole, and says so to the administrator alone."""
import json
import os
import pathlib
import pwd
import socket
import stat
import subprocess
import tempfile

import pytest

import certs
import kit
import wire


@pytest.fixture
def site(pki, broker_of):
    """A broker with a control socket; its path must be short."""
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        port, path = kit.free_port(), pathlib.Path(folder) / "c.sock"
        broker = broker_of(pki.conf(port, f"listener 0 {path}", "protocol control"), port)
        broker.control = path
        yield broker


def why(broker, *words):
    return json.loads(kit.signet("why", "--json", "--socket", broker.control, *words).stdout)


def refused(broker, client_id, files=None):
    with pytest.raises(Exception):
        wire.Peer(broker.port, client_id, 5, files=files)


def test_what_is_remembered(pki, site, tmp_path):
    assert why(site) == []
    cas = certs.role_cas(pki, tmp_path / "cas")
    files = pki.device("why1")
    refused(site, "another", files)
    [note] = why(site)
    assert note["cause"] == "client-id" and note["client_id"] == "another" and note["subject"] == "CN=why1"
    assert note["remedy"] and note["address"].startswith("127.0.0.1:") and note["listener"] == str(site.port)
    assert len(note["fingerprint"]) == 64 and note["not_after"] and note["what"] == "CONNECT"

    old = cas["client"].leaf("why2", trust=files["ca"], chain=[cas["client"]], begin=certs.now() - certs.days(9), end=certs.now() - certs.days(2))
    refused(site, "why2", old)
    kit.wait_for(lambda: len(why(site)) == 2, "the second refusal")
    note = why(site)[0]
    assert note["cause"] == "expired" and "expired 2 days ago" in note["text"] and note["what"] == "TLS handshake"
    assert note["serial"].lower().lstrip("0") == old["hex"].lower().lstrip("0")
    assert note["tls_version"].startswith("TLSv1.") and note["not_before"] < note["not_after"] and note["issuer"]

    with kit.Raw(site.port) as raw:
        raw.send(b"GET / HTTP/1.0\r\n\r\n")
        raw.rest()
    kit.wait_for(lambda: len(why(site)) == 3, "the third refusal")
    assert [n["cause"] for n in why(site)] == ["http-on-tls", "expired", "client-id"]
    # By address, client id, common name, serial number and cause.
    assert len(why(site, "127.0.0.1")) == 3 and why(site, "127.0.0.2") == [] and why(site, "127.0.0") == []
    assert [n["cause"] for n in why(site, "another")] == ["client-id"]
    assert [n["cause"] for n in why(site, "why2")] == ["expired"]
    assert [n["cause"] for n in why(site, old["hex"])] == ["expired"]
    assert [n["cause"] for n in why(site, "http-on-tls")] == ["http-on-tls"]
    assert len(why(site, "-n", "2")) == 2
    shown = kit.signet("why", "why2", "--socket", site.control).stdout
    assert "cause       the certificate expired 2 days ago" in shown and "remedy      " in shown
    assert kit.signet("why", "nobody", "--socket", site.control).stdout == "No refusal about nobody.\n"


def test_hostile_names(pki, site):
    files = pki.device("why3")
    refused(site, 'x"\\\x1b[2J\u202e<b>', files)
    [note] = why(site)
    assert "\x1b" not in note["client_id"] and "\u202e" not in note["client_id"]


def test_the_ring_is_bounded(pki, site):
    for i in range(40):
        for _ in range(15):
            with socket.create_connection(("127.0.0.1", site.port)) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                s.recv(1)
    kit.wait_for(lambda: len(why(site, "-n", "512")) == 512, "a full ring")


def test_only_the_administrator(pki, site):
    mode = os.stat(site.control).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody").pw_uid
        result = subprocess.run(["/usr/bin/python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).connect({str(site.control)!r})"],
                                user=nobody, capture_output=True, text=True)
        assert "PermissionError" in result.stderr
    # Nothing but the requests is allowed there, and nobody else may ask.
    result = kit.signet("pub", "--unix", site.control, "-V", "5", "-q", "1", "-t", "a/b", "-m", "x", check=False)
    assert "not authorized" in result.stderr
    with wire.Peer(site.port, "controller", 5, files=pki.files("controller")) as peer:
        assert peer.subscribe("$CONTROL/signet/v1/response") == [0x87]


def test_no_broker(tmp_path, pki):
    result = kit.signet("why", "--socket", tmp_path / "none", check=False)
    assert result.returncode == 1 and "does the broker run?" in result.stderr
    (tmp_path / "signet.conf").write_text("listener 1883 127.0.0.1\nallow_anonymous true\n")
    result = kit.signet("why", "--dir", tmp_path, check=False)
    assert result.returncode == 1 and "protocol control" in result.stderr
