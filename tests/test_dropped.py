"""`signet serve` as root: control, signer and broker are other users from the start on. What they learn afterwards – CAs of factories, a new
certificate, changed files, revocations – reaches them all the same, and nobody gets to read more than he has to."""
import http.client
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile

import pytest

import certs
import kit
import wire
from test_pending import comes, has_rights, pending
from test_serve import Platform, status
from test_serve_cert import put, seen

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
POLICY = "connect user panel\nallow user panel publish panel/{}\nuse springcore\n"
BROKER = "bin"


class Dropped(Platform):
    """With a policy and passwords of its own, which are root's alone as `signet passwd` makes them, and devices that wait for their approval."""

    def configured(self, conf):
        (self.dir / "my.policy").write_text(POLICY.format("one"))
        kit.signet("passwd", "-c", self.dir / "passwords", "panel", stdin="first\n")
        for name in ("my.policy", "passwords"):
            (self.dir / name).chmod(0o600)
        conf = conf.replace("policy springcore\n", f"policy {self.dir}/my.policy\npassword_file {self.dir}/passwords\n")
        conf = conf.replace("require_certificate true\n", "require_certificate true\nrequire_registration true\nquarantine unregistered\n")
        return super().configured(conf + f"listener 0 {self.dir}/plain.sock\n")

    def back(self):
        """Logged in, as soon as control is there again."""
        def attempt():
            try:
                return self.login()
            except (OSError, http.client.HTTPException):
                return None
        return kit.wait_for(attempt, "control")

    def reload(self):
        mark = len(self.text())
        self.process.send_signal(signal.SIGHUP)
        kit.wait_for(lambda: re.search(r"Reloaded: certificates|Reload failed.*", self.text()[mark:]), "the reload")
        assert "Reload failed" not in self.text()[mark:], self.text()[mark:]


@pytest.fixture(scope="module")
def served():
    place = pathlib.Path(tempfile.mkdtemp(prefix="signet-test-"))
    place.chmod(0o755)
    with Dropped(place, "signer_user sys", "control_user daemon", f"user {BROKER}", "broker_key new") as p:
        p.host = "localhost"
        yield p
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def admin(served):
    return served.back()


def panel(served, password, topic):
    """What the user may: CONNACK's code, and that of a PUBACK."""
    raw = kit.Raw.__new__(kit.Raw)
    raw.sock = socket.socket(socket.AF_UNIX)
    raw.sock.settimeout(kit.PATIENCE)
    raw.sock.connect(str(served.dir / "plain.sock"))
    with raw:
        code = raw.send(wire.connect("panel", 5, username="panel", password=password)).packet()[1][1]
        if code != 0:
            return code, None
        body = raw.send(wire.publish(topic, "x", 1, version=5)).packet()[1]
        return 0, body[2] if len(body) > 2 else 0


def listed(served, name, files):
    """It is there until control, which may just be starting, has seen it."""
    client, admin = comes(served, name, files), served.back()
    row = kit.wait_for(lambda: pending(admin).get(name), "the device to be listed")
    client.close()
    return row


def show(served, path):
    s = (served.dir / path).stat()
    return f"{stat.S_IMODE(s.st_mode):o}", s.st_uid, s.st_gid


def serial(served, port):
    class Where:
        pass
    Where.port = port
    return seen(Where, served.pki)[1].decode().partition("=")[2].strip().lstrip("0").lower()


def test_nobody_reads_more_than_he_has_to(served):
    group = pwd.getpwnam(BROKER).pw_gid
    for name, user in (("signer", "sys"), ("control", "daemon"), ("broker", BROKER)):
        assert set(status(served.pid(name))["Uid"].split()) == {str(pwd.getpwnam(user).pw_uid)}
    for path in ("pki/broker/key.pem", "my.policy", "passwords"):
        assert show(served, path) == ("640", 0, group), path
    assert show(served, "pki/broker/cert.pem") == show(served, "pki/client/cert.pem") == ("644", 0, 0)
    for path in ("pki", "pki/broker", "pki/client"):
        assert show(served, path) == ("710", 0, group), path
    for ca in ("root", "cloud", "client", "watch", "control"):
        assert show(served, f"pki/{ca}/key.pem") == show(served, f"pki/{ca}/index.txt") == ("600", 0, 0), ca
    assert "can read the private key" not in served.text() and "SIGHUP will not" not in served.text()


def test_a_factory_s_device(served, admin, tmp_path):
    """Its CA comes while all run: nobody has to be told."""
    factory = certs.Ca(tmp_path / "factory", "Acme Factory CA")
    broker, mark = served.pid("broker"), len(served.text())
    kit.signet("ca", "trust", "--dir", served.dir, "--role", "factory", "--name", "acme", factory.file)
    kit.wait_for(lambda: "Reloaded: certificates" in served.text()[mark:], "the broker to know it")
    files = {**factory.leaf("press-1"), "ca": served.dir / "pki/ca.pem"}
    assert listed(served, "press-1", files)["ca"] == "factory-acme"
    admin = served.back()
    assert admin("POST", "/api/v1/pending/press-1/approve", {}).status == 204
    kit.wait_for(lambda: has_rights(served, "press-1", files), "the device's rights")
    assert "factory-acme" in {c["name"] for c in admin("GET", "/api/v1/cas").json["items"]} and served.pid("broker") == broker
    assert "is not taken into the registry" not in served.text()
    # And so it is with the next control process.
    old = served.pid("control")
    os.kill(old, signal.SIGTERM)
    kit.wait_for(lambda: served.pid("control") != old, "another control process")
    files = {**factory.leaf("press-2"), "ca": served.dir / "pki/ca.pem"}
    assert listed(served, "press-2", files)["ca"] == "factory-acme"


def test_a_certificate_is_renewed(served):
    """With a new key: the broker that runs shows it, and who is connected does not notice."""
    now, broker = certs.now(), served.pid("broker")
    put(served.pki, now - certs.days(100), now + certs.days(20))
    with wire.Peer(served.mqtt, "watcher", 5, files=served.pki.files("watcher")) as held:
        assert held.subscribe("panel/#", qos=1) == [1]
        before, mark = serial(served, served.mqtt), len(served.text())
        served.process.send_signal(signal.SIGHUP)
        said = kit.wait_for(lambda: re.search(r"certificate is new: for localhost, serial (\w+), with a new key\.", served.text()[mark:]), "the new one")
        kit.wait_for(lambda: serial(served, served.mqtt) == said[1].lstrip("0"), "the broker to show it")
        assert before != said[1].lstrip("0") and served.pid("broker") == broker
        assert show(served, "pki/broker/key.pem") == ("640", 0, pwd.getpwnam(BROKER).pw_gid)
        assert panel(served, "first", "panel/one")[1] == 0
        held.wait_messages(1)


def test_changed_files(served):
    assert panel(served, "first", "panel/one") == (0, 0x10) and panel(served, "first", "panel/two") == (0, 0x87)
    kit.signet("passwd", served.dir / "passwords", "panel", stdin="second\n")
    new = served.dir / "new.policy"
    new.write_text(POLICY.format("two"))
    new.chmod(0o600)
    new.rename(served.dir / "my.policy")
    served.reload()
    assert panel(served, "first", "panel/two")[0] != 0
    assert panel(served, "second", "panel/two") == (0, 0x10) and panel(served, "second", "panel/one") == (0, 0x87)


def test_a_revocation(served, admin, tmp_path):
    made = served.issue("sensor01")
    (tmp_path / "cert.pem").write_text(made["pem"])
    files = {"ca": served.dir / "pki/ca.pem", "cert": tmp_path / "cert.pem", "key": served.place / "sensor01.key"}
    client = comes(served, "sensor01", files)
    assert admin("POST", f"/api/v1/certificates/client/{made['serial']}/revoke", {"reason": "keyCompromise"}).status == 200
    client.wait_event("disconnect")
    client.close()
    # The list alone keeps it out, too, which a command has made.
    mark = len(served.text())
    kit.signet("device", "add", "by-command", "--dir", served.dir)
    assert admin("POST", "/api/v1/devices", {"id": "by-command"}).status == 201
    client = comes(served, "by-command", served.pki.files("by-command"))
    kit.signet("ca", "revoke", "--dir", served.dir, "by-command")
    client.wait_event("disconnect")
    client.close()
    assert "Reload failed" not in served.text()[mark:]


def test_a_backup(served):
    out = kit.signet("backup", "--all", "--dir", served.dir).stdout
    folder = pathlib.Path(re.search(r"(/\S+/backups/\w+)", out)[1])
    names = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    assert {"registry.db", "files/pki/ca.pem", "files/pki/client/cert.pem", "files/pki/client/index.txt", "files/audit.log"} <= names, (out, names)


def test_somebody_whom_others_are_too(served):
    """He is given no key to read; so the broker is started again with its new certificate, and nothing that waits is lost."""
    made = served.issue("sensor02")
    files = {"ca": served.dir / "pki/ca.pem", "cert": served.place / "sensor02.pem", "key": served.place / "sensor02.key"}
    files["cert"].write_text(made["pem"])
    client = comes(served, "sensor02", files)
    client.close()
    client = kit.Client(served, "sensor02", files, version=kit.V311, clean=False, port=served.mqtt)
    client.subscribe(f"{kit.PREFIX}/sensor02/rdr/cmd", qos=1)
    client.close()
    served.stop()
    subprocess.run(["chown", "-R", "nobody:", served.dir / "signet.store"], check=True)
    served.conf.write_text(served.conf.read_text().replace(f"user {BROKER}\n", "user nobody\n"))
    assert served.launch()
    assert "user nobody cannot read" in served.text()
    admin, broker = served.login(), served.pid("broker")
    assert admin("POST", "/api/v1/publish", {"topic": f"{kit.PREFIX}/sensor02/rdr/cmd", "payload": "waits", "qos": 1}).json == {"subscribers": True}
    now, mark = certs.now(), len(served.text())
    put(served.pki, now - certs.days(100), now + certs.days(20))
    served.process.send_signal(signal.SIGHUP)
    said = kit.wait_for(lambda: re.search(r"certificate is new: for localhost, serial (\w+), with a new key\.", served.text()[mark:]), "the new one")

    def shown():
        try:
            return serial(served, served.mqtt) == serial(served, served.port) == said[1].lstrip("0")
        except OSError:
            return False
    kit.wait_for(shown, "the broker to show it")
    assert served.pid("broker") != broker and show(served, "pki/broker/key.pem")[0] == "600"
    client = comes(served, "sensor02", files)
    client.close()
