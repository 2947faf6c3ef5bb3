"""What a running broker takes over at SIGHUP, all of it or nothing, what it does at its end, and as whom it runs."""
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import tempfile
import time

import pytest

import certs
import kit
import wire

ROOT = os.geteuid() == 0
SPRING = "springcard/springcore"


class Site:
    """A broker whose every file is its own, to be changed."""

    def __init__(self, pki, folder, start):
        self.folder, self.pki = folder, pki
        self.cas = certs.role_cas(pki, folder / "cas")
        self.root = self.cas["root"].file
        for name, source in (("ca.pem", "pki/ca.pem"), ("cert.pem", "pki/broker/cert.pem"), ("key.pem", "pki/broker/key.pem")):
            shutil.copy(pki.dir / source, folder / name)
        self.write_crl()
        self.policy = folder / "site.policy"
        self.policy.write_text("use springcore\n")
        self.port = kit.free_port()
        self.text = kit.STAY_ROOT + pki.conf(self.port, f"crlfile {folder}/crl.pem", policy=str(self.policy), cafile=f"{folder}/ca.pem",
                                    certfile=f"{folder}/cert.pem", keyfile=f"{folder}/key.pem", workers="4")
        self.broker = start(self.text, self.port)

    def write_crl(self, **revoked):
        text = "".join(ca.crl(*revoked.get(role, ())) for role, ca in self.cas.items())
        (self.folder / "crl.pem").write_text(text)

    def leaf(self, ca, name, **more):
        ca = self.cas[ca] if isinstance(ca, str) else ca
        return ca.leaf(name, trust=self.root, chain=[ca], **more)

    def peer(self, ca, name, version=5, files=None, **more):
        return wire.Peer(self.port, name, version, files=files or self.leaf(ca, name), **more)

    def refused(self, ca, name, files=None, version=5):
        """CONNACK's code, or None: the handshake was refused."""
        try:
            self.peer(ca, name, version, files=files).close()
        except kit.Refused as refusal:
            return refusal.code
        except (ssl.SSLError, ConnectionError, EOFError):
            return None
        return 0

    def reload(self, good=True):
        said = self.broker.reload(r"Reloaded:|Reload failed")
        assert ("Reloaded:" in said.string) == good, said.string
        return said.string

    def server_certificate(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        files = self.leaf("client", "looker")
        context.load_cert_chain(files["cert"], files["key"])
        with socket.create_connection(("127.0.0.1", self.port), timeout=kit.PATIENCE) as sock, context.wrap_socket(sock) as tls:
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(True))

    def new_server_certificate(self):
        key = certs.Key(self.folder / "new.key")
        names = certs.sequence(certs.tlv(0x82, b"localhost"), certs.tlv(0x87, socket.inet_aton("127.0.0.1")))
        files = self.cas["cloud"].leaf("localhost", chain=[self.cas["cloud"]], key=key, usage=(certs.SERVER_AUTH,),
                                       extra=[certs.extension("2.5.29.17", names)])
        shutil.copy(files["cert"], self.folder / "cert.pem")
        shutil.copy(key.path, self.folder / "key.pem")
        return files["cert"].read_text().split("-----END")[0]


@pytest.fixture
def site(pki, tmp_path, broker_of):
    return Site(pki, tmp_path, broker_of)


def test_new_broker_certificate(site):
    """New connections see it, old ones stay and go on."""
    before = site.server_certificate()
    with site.peer("client", "dev") as old:
        new = site.new_server_certificate()
        assert site.server_certificate() == before
        site.reload()
        assert site.server_certificate().split("-----END")[0] == new != before.split("-----END")[0]
        old.publish(f"{SPRING}/dev/x", "on", qos=1)
        old.fence()
        with site.peer("client", "dev2") as fresh:
            fresh.fence()
        assert not old.closed


def test_revocation_hits_only_the_revoked(site):
    bad, good = site.leaf("client", "bad"), site.leaf("client", "good")
    with site.peer("client", "good", files=good) as steady, site.peer("watch", "w") as watcher:
        assert site.refused("client", "bad", bad) == 0
        # A serial number is one of its CA: the same one below another revokes nobody.
        site.write_crl(client=[bad["serial"]], watch=[good["serial"]])
        site.reload()
        mark = site.broker.mark()
        assert site.refused("client", "bad", bad) is None
        site.broker.wait_log(rf"\[revoked\].*serial {bad['hex'].lower()}", mark)
        assert site.refused("client", "bad", site.leaf("client", "bad")) == 0
        for peer in (steady, watcher):
            peer.fence()
            assert not peer.closed
    assert site.refused("client", "good", good) == 0


def test_revoked_intermediate(site):
    # The root's CRL names the Watch CA.
    serial = int(certs.openssl("x509", "-in", site.cas["watch"].file, "-noout", "-serial").decode().split("=")[1], 16)
    assert site.refused("watch", "w") == 0
    site.write_crl(root=[serial])
    site.reload()
    assert site.refused("watch", "w") is None and site.refused("control", "c") == 0


def test_expired_crl_refuses_everybody_of_its_ca(site):
    stale = site.cas["watch"].crl(last=certs.now() - certs.days(9), until=certs.now() - certs.days(1))
    texts = [stale if role == "watch" else ca.crl() for role, ca in site.cas.items()]
    (site.folder / "crl.pem").write_text("".join(texts))
    # A list that is still good is not given up for it; without one there is no choice.
    site.reload()
    assert site.refused("watch", "w") == 0
    site.broker.stop()
    site.broker.start()
    assert site.refused("watch", "w") is None and site.refused("client", "d") == 0


def test_policy_acts_on_live_sessions(site):
    """A right that is taken away: publish, subscribe and delivery of connected clients; and what was given comes back."""
    with site.peer("control", "boss") as boss, site.peer("watch", "w") as watcher, site.peer("client", "dev") as device:
        assert watcher.subscribe("#") == [0] and device.subscribe(f"{SPRING}/dev/#") == [0]
        boss.publish("secret/a", b"one", qos=1)
        watcher.wait_messages(1)
        site.policy.write_text("use springcore\ndeny role watch subscribe secret/#\ndeny role client publish,subscribe #\n")
        site.reload()
        # Each worker has taken the new policy when a message of each has been judged by it.
        kit.wait_for(lambda: watcher.subscribe("secret/#") == [0x87] and device.subscribe(f"{SPRING}/dev/y") == [0x87], "the new policy")
        boss.publish("secret/b", b"two", qos=1)
        boss.publish(f"{SPRING}/dev/x", b"two", qos=1)
        boss.publish("open", b"three", qos=1)
        watcher.wait(lambda: b"three" in watcher.payloads(), "what may still be read")
        assert ("secret/b", b"two") not in [m[:2] for m in watcher.got]
        device.fence().fence()
        assert device.got == []
        packet_id = device.publish(f"{SPRING}/dev/x", "mine", qos=1, wait=False)
        assert device.wait_ack(wire.PUBACK, packet_id)[:1] == b"\x87"
        site.policy.write_text("use springcore\n")
        site.reload()
        boss.publish("secret/c", b"four", qos=1)
        watcher.wait(lambda: b"four" in watcher.payloads(), "what may be read again")


def test_policy_acts_on_what_is_queued(site):
    """[C14] What waits for a session is judged again before it is delivered."""
    files = site.leaf("watch", "w")
    stay = b"\x11" + wire.u32(3600)
    with site.peer("watch", "w", files=files, clean=False, properties=stay) as watcher:
        assert watcher.subscribe("#", qos=1) == [1]
    with site.peer("control", "boss") as boss:
        for topic in ("secret/x", "open/x", "secret/y", "open/y"):
            boss.publish(topic, b"queued", qos=1)
        boss.publish("secret/kept", b"kept", qos=1, retain=True)
    site.policy.write_text("use springcore\ndeny role watch subscribe secret/#\n")
    site.reload()
    with site.peer("watch", "w", files=files, clean=False, properties=stay) as watcher:
        assert watcher.session_present
        watcher.wait_messages(2).fence().fence()
        assert [m[0] for m in watcher.got] == ["open/x", "open/y"]


def test_a_will_whose_right_is_gone_is_not_published(site):
    with site.peer("watch", "w") as watcher, site.peer("control", "boss") as boss:
        watcher.subscribe("#")
        device = site.peer("client", "dev", will=(f"{SPRING}/dev/status", "dead", 1, True, b""))
        site.policy.write_text("use springcore\ndeny role client publish #\n")
        site.reload()
        device.cut()
        site.broker.wait_log(r"Client dev (closed|disconnected)")
        boss.publish("after", b"x", qos=1)
        watcher.wait(lambda: b"x" in watcher.payloads(), "the message after").fence().fence()
        assert watcher.payloads() == [b"x"]


def test_new_role_ca(site):
    extra = certs.Ca(site.folder / "extra", "Extra CA")
    assert site.refused(extra, "dev9") is None
    with open(site.folder / "ca.pem", "a") as file:
        file.write(extra.pem)
    with open(site.folder / "crl.pem", "a") as file:
        file.write(extra.crl())
    site.reload()
    assert site.refused(extra, "dev9") == 0x87
    site.broker.conf.write_text(site.text + f"role_ca client {extra.file}\n")
    site.reload()
    assert site.refused(extra, "dev9") == 0
    site.broker.conf.write_text(site.text)
    site.reload()
    assert site.refused(extra, "dev9") == 0x87


BREAK = [("ca.pem", "junk", r"ca\.pem"), ("ca.pem", None, r"ca\.pem"), ("ca.pem", "", r"ca\.pem"), ("cert.pem", "cut", r"cert\.pem"), ("cert.pem", None, r"cert\.pem"),
         ("key.pem", "other", r"key\.pem"), ("key.pem", "junk", r"key\.pem"), ("key.pem", None, r"key\.pem"), ("crl.pem", "cut", r"crl\.pem"),
         ("crl.pem", None, r"crl\.pem"), ("crl.pem", "junk", r"crl\.pem"), ("site.policy", "junk", r"site\.policy:1"), ("site.policy", None, r"site\.policy"),
         ("broker.conf", "junk", r"broker\.conf:\d+"), ("broker.conf", None, r"broker\.conf")]


def test_a_broken_file_changes_nothing(site):
    """Of every kind of file: the error names it, the old state stays whole (also of the files that are good), nobody notices."""
    served = site.server_certificate()
    revoked = site.leaf("client", "revoked")
    site.write_crl(client=[revoked["serial"]])
    site.reload()
    with site.peer("client", "dev") as device, site.peer("watch", "w") as watcher:
        assert watcher.subscribe("#") == [0]
        for name, how, says in BREAK:
            path = site.broker.conf if name == "broker.conf" else site.folder / name
            text = path.read_text()
            # What is good and would be new must not be taken over either.
            policy = site.policy.read_text()
            if name != "site.policy":
                site.policy.write_text("connect role control\n")
            if how is None:
                path.unlink()
            elif how == "other":
                path.write_text(certs.shared_key().path.read_text())
            else:
                path.write_text({"junk": "what is this?\n", "cut": text[:400], "": ""}[how])
            said = site.reload(good=False)
            assert re.search(says, said), (name, how, said)
            path.write_text(text)
            site.policy.write_text(policy)
            device.publish(f"{SPRING}/dev/x", f"{name}{how}", qos=1)
            watcher.wait(lambda: watcher.payloads()[-1:] == [f"{name}{how}".encode()], "the message")
        assert site.server_certificate() == served
        assert site.refused("client", "revoked", revoked) is None and site.refused("client", "other") == 0
    site.reload()


def test_sighup_under_load_loses_nothing(site):
    """Twenty reloads while messages flow: all arrive, in order."""
    with site.peer("control", "boss") as boss, site.peer("watch", "w") as watcher:
        watcher.subscribe("#", qos=1)
        for i in range(400):
            if i % 20 == 0:
                site.broker.process.send_signal(signal.SIGHUP)
            boss.publish("load", str(i), qos=1)
        watcher.wait_messages(400)
        assert [int(p) for p in watcher.payloads()] == list(range(400))


# ---- the end ----

@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_end(site, sig):
    peers = [site.peer("client", f"dev{i}", version) for i, version in enumerate((4, 5) * 5)]
    started = time.monotonic()
    site.broker.process.send_signal(sig)
    assert site.broker.process.wait(kit.PATIENCE) == 0
    assert time.monotonic() - started < 2
    for peer in peers:
        assert peer.wait_closed() == (0x8B if peer.version == 5 else None)
        peer.cut()


def test_end_with_clients_that_do_not_listen(site):
    """Half-open handshakes, and one whose window is full: still within two seconds."""
    half = [kit.Raw(site.port) for _ in range(5)]
    half[0].send(b"\x16\x03\x01\x02\x00\x01")
    deaf = kit.Raw(site.port, files=site.leaf("watch", "deaf"))
    deaf.connect("deaf")
    deaf.send(wire.subscribe("#"))
    deaf.packet()
    with site.peer("control", "boss") as boss:
        for _ in range(300):
            boss.publish("flood", b"x" * 60000, qos=0)
        boss.fence()
        started = time.monotonic()
        site.broker.process.send_signal(signal.SIGTERM)
        assert site.broker.process.wait(kit.PATIENCE) == 0
        assert time.monotonic() - started < 2
        boss.wait_closed()
    for peer in [*half, deaf]:
        peer.close()


@pytest.mark.parametrize("sig", [signal.SIGUSR1, signal.SIGHUP])
def test_log_file_is_opened_again(tmp_path, sig):
    port, log = kit.free_port(), tmp_path / "signet.log"
    broker = kit.Broker(tmp_path / "b", f"{kit.STAY_ROOT}listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest file {log}\n", port)
    with broker:
        kit.wait_for(lambda: "Listening" in log.read_text(), "the first file")
        old = log.rename(tmp_path / "signet.log.1")
        broker.process.send_signal(sig)
        kit.wait_for(log.exists, "the second file")
        size = old.stat().st_size
        wire.Peer(port, "after").close()
        kit.wait_for(lambda: "as after" in log.read_text(), "the client's line")
        assert "as after" not in old.read_text()[size:]


# ---- as whom it runs ----

def status(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
@pytest.mark.parametrize("user", [None, "nobody"])
def test_root_is_left_behind(user):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="signet-test-"))
    folder.chmod(0o755)
    try:
        port = kit.free_port()
        conf = f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 3\n" + (f"user {user}\n" if user else "")
        with kit.Broker(folder, conf, port) as broker:
            names = [user] if user else ["signet", "mosquitto", "nobody"]
            known = [n for n in names if n in {p.pw_name for p in pwd.getpwall()}]
            uid = str(pwd.getpwnam(known[0]).pw_uid)
            broker.wait_log(r"running with 3 workers")  # its port is open a little before that
            for task in pathlib.Path(f"/proc/{broker.process.pid}/task").iterdir():
                is_now = status(task.name)
                assert is_now["Uid"].split() == [uid] * 4 and "0" not in is_now["Gid"].split()
                assert "0" not in is_now["Groups"].split()
                assert is_now["NoNewPrivs"] == "1" and int(is_now["CapEff"], 16) == 0 and int(is_now["CapPrm"], 16) == 0
            limits = pathlib.Path(f"/proc/{broker.process.pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0", limits)
    finally:
        shutil.rmtree(folder)


def test_hardened_whoever_runs_it(site):
    is_now = status(site.broker.process.pid)
    assert is_now["NoNewPrivs"] == "1"
    assert re.search(r"Max core file size\s+0\s+0", pathlib.Path(f"/proc/{site.broker.process.pid}/limits").read_text())


def test_daemon_and_pid_file(tmp_path):
    port, pid_file, log = kit.free_port(), tmp_path / "signet.pid", tmp_path / "log"
    conf = tmp_path / "broker.conf"
    conf.write_text(f"{kit.STAY_ROOT}listener {port} 127.0.0.1\nallow_anonymous true\npid_file {pid_file}\nlog_dest file {log}\n")
    # It returns when the ports are open; nothing keeps the terminal.
    result = kit.signet("broker", "-c", conf, "-d", seconds=kit.PATIENCE)
    assert result.returncode == 0
    pid = int(kit.wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), "the process id"))
    try:
        assert status(pid)["PPid"] == "1" or os.getsid(pid) == pid or os.getsid(pid) != os.getsid(0)
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        wire.Peer(port, "x").close()
    finally:
        os.kill(pid, signal.SIGTERM)
    kit.wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists() or status(pid)["State"].startswith("Z"), "its end")
    assert not pid_file.exists() or pid_file.read_text() == ""


def test_pid_file_that_cannot_be_written(tmp_path):
    conf = tmp_path / "broker.conf"
    conf.write_text(f"{kit.STAY_ROOT}listener {kit.free_port()} 127.0.0.1\npid_file {tmp_path}/no/where.pid\n")
    result = kit.signet("broker", "-c", conf, check=False)
    assert result.returncode == 1 and "where.pid" in result.stderr and "No such file" in result.stderr
