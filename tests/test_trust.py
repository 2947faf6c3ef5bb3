"""Trust for as long as a connection lives: whoever stops belonging is cut off, and nobody else notices; and which revocation list
is in force when files change."""
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

import certs
import kit
import wire

SPRING = "springcard/springcore"
BUILD = os.environ.get("SIGNET_BUILD", "")
# The promise is a second on the machine that serves; sanitizers on a busy machine take several times as long.
SOON = 20


class Site:
    """One broker with a TCP and a WebSocket listener, and revocation lists of its own to change."""

    def __init__(self, pki, folder, start, *lines, listener=(), directory=False, root_only=False):
        self.folder, self.pki = folder, pki
        self.cas = certs.role_cas(pki, folder / "cas")
        self.root = self.cas["root"].file
        self.crl = folder / "crls" if directory else folder / "crl.pem"
        if directory:
            self.crl.mkdir()
        else:
            self.write_crl()
        self.ca_file = folder / "ca.pem"
        shutil.copy(self.root if root_only else pki.dir / "pki/ca.pem", self.ca_file)
        self.port, self.ws = kit.free_port(), kit.free_port()
        lines = [*lines, "sys_interval 1", f"crlfile {self.crl}", *listener]
        conf = kit.STAY_ROOT + pki.conf(self.port, *lines, cafile=str(self.ca_file), workers="2")
        tls = [line for line in conf.splitlines() if line.strip() and line.split(None, 1)[0] in
               ("cafile", "certfile", "keyfile", "require_certificate", "use_identity_as_username", "crlfile", "crl_grace")]
        self.conf = conf + "\n".join([f"listener {self.ws}", "protocol websockets", *tls]) + "\n"
        self.broker = start(self.conf, self.port)

    def crl_text(self, number=1, only=None, last=None, **revoked):
        return "".join(ca.crl(*revoked.get(role, ()), number=number, last=last) for role, ca in self.cas.items() if only is None or role in only)

    def write_crl(self, **more):
        self.put(self.crl_text(**more))

    def put(self, text):
        """As tools do it: a new file takes the place of the old one at once."""
        new = self.folder / "crl.new"
        new.write_text(text)
        new.rename(self.crl)

    def leaf(self, ca, name, **more):
        ca = self.cas[ca] if isinstance(ca, str) else ca
        return ca.leaf(name, trust=self.root, chain=[ca], **more)

    def peer(self, ca, name, version=5, files=None, **more):
        return wire.Peer(self.port, name, version, files=files or self.leaf(ca, name), **more)

    def web(self, name, version, files):
        return kit.Client(self.broker, name, files=files, version=version, port=self.ws, transport="websockets")

    def in_force(self, mark):
        """At all listeners: what one says late must not be taken for the next list's."""
        for port in (self.port, self.ws):
            self.broker.wait_log(rf"Listener \S*:?{port}: new revocation lists are in force", mark)

    def alarm(self, pattern, mark=0):
        return self.broker.wait_log(rf"ALARM: .*{pattern}", mark)

    def sys(self, topic, value):
        """Until $SYS says so."""
        with kit.Client(self.broker, "boss", files=self.leaf("control", "boss"), version=kit.V5) as boss:
            boss.subscribe("$SYS/broker/" + topic)
            end = time.monotonic() + kit.PATIENCE
            while time.monotonic() < end:
                if boss.message().payload.decode() == value:
                    return
        raise AssertionError(f"{topic} is not {value}")


@pytest.fixture
def site(pki, tmp_path, broker_of):
    return Site(pki, tmp_path, broker_of)


@pytest.fixture
def site_of(pki, tmp_path, broker_of):
    return lambda *lines, **more: Site(pki, tmp_path, broker_of, *lines, **more)


# ---- revocation reaches who is connected ----

@pytest.mark.tsan
def test_a_revoked_client_is_cut_off_at_once_and_nobody_else(site):
    """TCP and WebSocket, MQTT 3.1.1 and 5; without a signal to the broker."""
    bad, good = site.leaf("client", "dev"), site.leaf("client", "good")
    topic = f"{SPRING}/dev"
    with site.peer("watch", "w") as watcher, site.peer("client", "good", files=good) as steady, site.web("good2", kit.V5, site.leaf("client", "good2")) as web:
        watcher.subscribe("#", qos=1)
        peers = [site.peer("client", "dev", version, files=bad, will=(f"{topic}/gone{version}", b"", 1, False, b""), properties=b"") for version in (4,)]
        webs = []
        # A client id is one session: the same certificate under the rules of springcore has one id, so one after the other.
        for i, connect in enumerate((lambda: None, lambda: site.peer("client", "dev", 5, files=bad), lambda: site.web("dev", kit.V311, bad),
                                     lambda: site.web("dev", kit.V5, bad))):
            victim = connect() or peers[0]
            mark = site.broker.mark()
            site.write_crl(number=2 * i + 2, client=[bad["serial"]])
            if isinstance(victim, wire.Peer):
                assert victim.wait_closed(SOON) == (0x87 if victim.version == 5 else None)
            else:
                event = victim.wait_closed(SOON)
                if victim.version == kit.V5:
                    assert event[1].value == 0x87 and "was revoked at" in event[2].ReasonString
                webs.append(victim)
            site.broker.wait_log(r"Client dev disconnected due to .*withdrawn: the certificate was revoked at .* UTC \(key compromise\)", mark)
            with pytest.raises(Exception):
                site.peer("client", "dev", files=bad).close()
            site.broker.wait_log(r"\[revoked\]", mark)
            # The next round's certificate.
            bad = site.leaf("client", "dev")
        for victim in webs:
            victim.close()
        watcher.wait(lambda: any(m[0] == f"{topic}/gone4" for m in watcher.got), "the will")
        steady.publish(f"{SPRING}/good/x", b"still here", qos=1)
        web.publish(f"{SPRING}/good2/x", b"here too", qos=1)
        watcher.wait(lambda: {b"still here", b"here too"} <= set(watcher.payloads()), "the others")
        assert not steady.closed


def test_a_serial_number_is_one_of_its_ca(site):
    device, watcher = site.leaf("client", "dev"), site.leaf("watch", "w")
    with site.peer("client", "dev", files=device) as one, site.peer("watch", "w", files=watcher) as two:
        mark = site.broker.mark()
        site.write_crl(number=2, watch=[device["serial"]], client=[watcher["serial"]])
        site.in_force(mark)
        one.fence(), two.fence()
        assert not one.closed and not two.closed


@pytest.mark.tsan
def test_a_whole_ca_is_withdrawn(site):
    """The root's list names the Watch CA: all below it go, also those who sent its certificate along."""
    serial = int(certs.openssl("x509", "-in", site.cas["watch"].file, "-noout", "-serial").decode().split("=")[1], 16)
    with site.peer("client", "dev") as device:
        watchers = [site.peer("watch", f"w{i}", 4 + i % 2) for i in range(6)]
        site.write_crl(number=2, root=[serial])
        for watcher in watchers:
            assert watcher.wait_closed(SOON) == (0x87 if watcher.version == 5 else None)
            watcher.cut()
        site.broker.wait_log("withdrawn: a CA of the certificate was revoked at")
        device.fence()
        assert not device.closed


@pytest.mark.parametrize("version", ["311", "5"])
def test_mosquitto_clients_are_cut_off(site, version):
    bad = site.leaf("watch", "w")
    command = ["mosquitto_sub", "-h", "localhost", "-p", str(site.port), "--cafile", bad["ca"], "--cert", bad["cert"], "--key", bad["key"], "-t", "#",
               "-V", version, "-i", "w"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        site.broker.wait_log("New client connected from .* as w ")
        mark = site.broker.mark()
        site.write_crl(number=2, watch=[bad["serial"]])
        site.broker.wait_log(r"Client w disconnected due to .*revoked", mark)
        # The one understands the reason and ends; the other tries again, and is refused in the handshake.
        if version == "5":
            process.wait(kit.PATIENCE)
        else:
            site.broker.wait_log(r"\[revoked\]", mark)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(site, version):
    """A connection that never said CONNECT is refused when it does."""
    bad = site.leaf("client", "dev")
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", version, "-quiet", "-CAfile", bad["ca"], "-cert", bad["cert"], "-key", bad["key"],
             "-cert_chain", bad["cert"]]
    heard = bytearray()
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    os.set_blocking(process.stdout.fileno(), False)

    def hears(what):
        heard.extend(process.stdout.read(4096) or b"")
        return what in heard
    try:
        # It has verified the server: the handshake is under way or done; and those who came later are through.
        kit.wait_for(lambda: hears(b"verify return"), "the handshake")
        with site.peer("client", "other") as other:
            other.fence()
        mark = site.broker.mark()
        site.write_crl(number=2, client=[bad["serial"]])
        site.in_force(mark)
        process.stdin.write(wire.connect("dev", 4))
        site.broker.wait_log(r"\[(withdrawn|revoked)\]", mark)
        assert not hears(b"\x20\x02\x00\x00")
    finally:
        process.kill()
        process.wait(kit.PATIENCE)
        process.stdin.close()
        process.stdout.close()


def test_signet_ca_revoke(tmp_path, broker_of):
    """One command, no signal: the connection is gone; and the same for a CA with all that it issued."""
    pki = kit.Pki(tmp_path / "home")
    port = kit.free_port()
    broker = broker_of(kit.STAY_ROOT + pki.conf(port), port)
    here = ("--dir", pki.dir)
    device = wire.Peer(port, "dev1", 5, files=pki.device("dev1"))
    with wire.Peer(port, "dev2", 5, files=pki.device("dev2")) as other, wire.Peer(port, "controller", 5, files=pki.files("controller")) as boss:
        watcher = wire.Peer(port, "watcher", 5, files=pki.files("watcher"))
        said = kit.signet("ca", "revoke", "dev1", "--reason", "keyCompromise", *here)
        assert "1 certificate revoked" in said.stdout
        assert device.wait_closed(SOON) == 0x87
        device.cut()
        broker.wait_log(r"Client dev1 disconnected due to .*was revoked at .* \(key compromise\)")
        with pytest.raises(Exception):
            wire.Peer(port, "dev1", 5, files=pki.files("dev1")).close()
        assert "revoked already" in kit.signet("ca", "revoke", "dev1", *here).stdout
        assert "revoked" in kit.signet("ca", "list", *here).stdout
        text = certs.openssl("crl", "-in", pki.dir / "crls/client.pem", "-noout", "-text", "-CAfile", pki.dir / "pki/client/cert.pem").decode()
        assert "Key Compromise" in text and "CRL Number" in text
        kit.signet("ca", "revoke", "--ca", "root", "--cert", pki.dir / "pki/watch/cert.pem", *here)
        assert watcher.wait_closed(SOON) == 0x87
        watcher.cut()
        other.fence(), boss.fence()
        assert not other.closed and not boss.closed
    for words, says in ((["nobody"], "no CA here has issued"), (["dev2", "--reason", "why"], "the reason is one of"), ([], "--ca"),
                        (["--ca", "watch", "--cert", pki.dir / "pki/client/cert.pem"], "was not issued by")):
        bad = kit.signet("ca", "revoke", *words, *here, check=False)
        assert bad.returncode != 0 and says in bad.stderr


# ---- the cafile has the root alone, and clients send what is between ----

@pytest.mark.parametrize("directory", [False, True], ids=["one file", "a file for each CA"])
def test_a_list_of_a_ca_that_only_clients_send(site_of, directory):
    """It is in force for who is connected at once, though nobody shows the chain again; no matter whether it was there when he came."""
    site = site_of(directory=directory, root_only=True)
    if not directory:
        site.write_crl()
    bad, worse, good = (site.leaf("client", name) for name in ("bad", "worse", "good"))
    with site.peer("client", "bad", files=bad) as one, site.web("worse", kit.V5, worse) as two, site.peer("client", "good", files=good) as steady:
        mark = site.broker.mark()
        if directory:
            (site.crl / "client.pem").write_text(site.cas["client"].crl(bad["serial"]))
        else:
            site.write_crl(number=2, client=[bad["serial"]])
        assert one.wait_closed(SOON) == 0x87
        site.broker.wait_log(r"Client bad disconnected due to .*withdrawn: the certificate was revoked at", mark)
        one.cut()
        # Still so after a reload, which reads everything again; and nobody has to come for it.
        site.broker.reload(r"Reloaded:")
        if directory:
            (site.crl / "client.pem").write_text(site.cas["client"].crl(bad["serial"], worse["serial"], number=2))
        else:
            site.write_crl(number=3, client=[bad["serial"], worse["serial"]])
        assert two.wait_closed(SOON)[1].value == 0x87
        steady.fence()
        assert not steady.closed
    assert "ALARM: listener" not in site.broker.log()


def test_only_a_better_list_of_a_ca_that_only_clients_send(site_of):
    """It is as the others are: not by a list that is older, and not by one that somebody else signed."""
    site = site_of(root_only=True)
    bad = site.leaf("client", "dev")
    twin = certs.Ca(site.folder / "twin", site.cas["client"].subject)
    site.peer("client", "first").close()
    site.web("second", kit.V5, site.leaf("client", "second")).close()
    rest = site.crl_text(number=5, only=("root", "cloud", "watch", "control"))
    good = rest + site.cas["client"].crl(bad["serial"], number=5)
    mark = site.broker.mark()
    site.put(good)
    site.in_force(mark)
    missing = "no good CRL of .*Client CA"
    for text, says in ((rest + site.cas["client"].crl(number=4), "number is lower"), (rest + twin.crl(number=6), missing), (rest, missing)):
        mark = site.broker.mark()
        site.put(text)
        site.alarm(says, mark)
        with pytest.raises(Exception):
            site.peer("client", "dev", files=bad).close()
        site.broker.wait_log(r"\[revoked\]", mark)
        site.peer("client", "first").close()
        site.put(good)
        site.broker.wait_log("revocation lists are in order again", mark)


# ---- what becomes of will and session ----

@pytest.mark.parametrize("will,session", [("publish", "keep"), ("discard", "keep"), ("publish", "purge"), ("discard", "purge")])
def test_will_and_session_of_a_revoked_client(site_of, will, session):
    site = site_of(f"withdrawn_will {will}", f"withdrawn_session {session}")
    bad = site.leaf("client", "dev")
    stay = b"\x11" + wire.u32(3600)
    with site.peer("watch", "w") as watcher, site.peer("control", "boss") as boss:
        watcher.subscribe("#", qos=1)
        device = site.peer("client", "dev", files=bad, clean=False, properties=stay, will=(f"{SPRING}/dev/gone", b"will", 1, False, b""))
        device.subscribe(f"{SPRING}/dev/#", qos=1)
        site.write_crl(number=2, client=[bad["serial"]])
        device.wait_closed(SOON)
        device.cut()
        boss.publish(f"{SPRING}/dev/cmd", b"later", qos=1)
        watcher.wait(lambda: b"later" in watcher.payloads(), "the message after")
        assert (b"will" in watcher.payloads()) == (will == "publish")
        # A new certificate of the same name: is there a session?
        with site.peer("client", "dev", clean=False, properties=stay) as again:
            assert again.session_present == (session == "keep")
            if session == "keep":
                again.wait(lambda: b"later" in again.payloads(), "what was queued")


# ---- which list is in force ----

def test_only_a_better_list_takes_its_place(site):
    bad = site.leaf("client", "dev")
    twin = certs.Ca(site.folder / "twin", site.cas["client"].subject)
    later = certs.now() + certs.days(9)
    with site.peer("client", "dev", files=bad) as device:
        mark = site.broker.mark()
        site.write_crl(number=5)
        site.in_force(mark)
        rest = site.crl_text(number=5, only=("root", "cloud", "watch", "control"))
        for text, says in ((rest + site.cas["client"].crl(bad["serial"], number=4), "number is lower"),
                           (rest + twin.crl(bad["serial"], number=6, until=later), "did not sign it"),
                           (rest, "no good CRL of .*Client CA"),
                           (rest + site.cas["client"].crl(bad["serial"], number=6, last=certs.now() - certs.days(9), until=certs.now() - certs.days(1)), "has expired, and the one in force has not"),
                           ("junk\n", "without a PEM block"), (rest[:-100], "cut off|damaged"), ("", "empty file")):
            mark = site.broker.mark()
            site.put(text)
            site.alarm(says, mark)
            device.fence()
            assert not device.closed, says
        site.sys("crl/alarms", "2")  # one a listener
        mark = site.broker.mark()
        site.write_crl(number=6)
        site.broker.wait_log("revocation lists are in order again", mark)
        site.sys("crl/alarms", "0")
        site.crl.unlink()
        site.alarm("No such file", mark)
        device.fence()
        assert not device.closed
        site.write_crl(number=7, client=[bad["serial"]])
        assert device.wait_closed(SOON) == 0x87


def test_half_a_file_is_not_an_alarm(site):
    """Written in place, in two pieces: what is said is said of the whole."""
    bad = site.leaf("client", "dev")
    with site.peer("client", "dev", files=bad) as device:
        text = site.crl_text(number=2, client=[bad["serial"]])
        with open(site.crl, "w") as file:
            file.write(text[:len(text) // 2])
        with open(site.crl, "a") as file:
            file.write(text[len(text) // 2:])
        assert device.wait_closed(SOON) == 0x87
    assert "ALARM: listener" not in site.broker.log()


def test_symbolic_links_are_followed(site):
    """As orchestrators do it: the file is a link into a directory whose own link changes."""
    bad = site.leaf("client", "dev")
    for name, text in (("one", site.crl_text(number=2)), ("two", site.crl_text(number=3, client=[bad["serial"]]))):
        (site.folder / name).mkdir()
        (site.folder / name / "crl.pem").write_text(text)
    (site.folder / "data").symlink_to("one")
    mark = site.broker.mark()
    (site.folder / "link").symlink_to("data/crl.pem")
    (site.folder / "link").rename(site.crl)
    site.in_force(mark)
    with site.peer("client", "dev", files=bad) as device:
        (site.folder / "data.new").symlink_to("two")
        (site.folder / "data.new").rename(site.folder / "data")
        assert device.wait_closed(SOON) == 0x87


def test_a_directory_of_lists(site_of):
    """Each CA has a file; one without a list is not checked."""
    site = site_of(directory=True)
    bad = site.leaf("client", "dev")
    with site.peer("client", "dev", files=bad) as device, site.peer("watch", "w") as watcher:
        (site.crl / "watch.pem").write_text(site.cas["watch"].crl())
        device.fence()
        (site.crl / "client.crl").write_bytes(certs.pem_bytes(site.cas["client"].crl(bad["serial"])))
        assert device.wait_closed(SOON) == 0x87
        watcher.fence()
        assert not watcher.closed


@pytest.mark.parametrize("grace", [None, "1h", "30d"])
def test_an_expired_list(site_of, grace):
    """It is said before, and while; crl_grace says until when clients are let in nevertheless, and a refusal says why."""
    site = site_of(listener=[f"crl_grace {grace}"] if grace else [])
    site.broker.stop()
    stale = site.cas["watch"].crl(last=certs.now() - certs.days(9), until=certs.now() - certs.days(1))
    site.put(site.crl_text(only=("root", "cloud", "client", "control")) + stale)
    mark = site.broker.mark()
    site.broker.start()
    site.alarm(r"the CRL of CA .*Watch CA.* expired at .* refused", mark)
    if grace == "30d":
        site.peer("watch", "w").close()
    else:
        with pytest.raises(Exception):
            site.peer("watch", "w").close()
        site.broker.wait_log(r"the CRL of CA .*Watch CA.* expired at .*\[crl-expired\]", mark)
    site.peer("client", "dev").close()


def test_a_list_that_ends_soon(site):
    with site.peer("watch", "w") as watcher:
        mark = site.broker.mark()
        soon = site.cas["watch"].crl(number=2, last=certs.now() - certs.days(9), until=certs.now() + certs.days(1) / 24)
        site.put(site.crl_text(number=2, only=("root", "cloud", "client", "control")) + soon)
        site.alarm(r"the CRL of CA .*Watch CA.* expires at", mark)
        watcher.fence()
        assert not watcher.closed


# ---- what a reload takes away ----

def test_a_ca_taken_out_of_the_cafile(site):
    """Who was accepted by it goes; who was not stays."""
    with site.peer("client", "dev") as device:
        watcher = site.peer("watch", "w")
        text = site.ca_file.read_text()
        assert site.cas["watch"].pem.strip() in text
        site.ca_file.write_text(text.replace(site.cas["watch"].pem.strip(), ""))
        site.broker.reload(r"Reloaded:")
        assert watcher.wait_closed(SOON) == 0x87
        watcher.cut()
        site.broker.wait_log("a CA that vouched for the certificate is not in the cafile any more")
        device.fence()
        assert not device.closed


def test_a_ca_with_another_role(site):
    watcher = site.peer("watch", "w")
    conf = site.broker.conf.read_text()
    changed = re.sub(r"(?m)^role_ca watch ", "role_ca control ", conf)
    assert changed != conf
    site.broker.conf.write_text(changed)
    site.broker.reload(r"Reloaded:")
    assert watcher.wait_closed(SOON) == 0x98
    watcher.cut()
    site.broker.wait_log("its CA gives the role control now, and gave watch")


def test_the_end_of_a_ca_ends_its_clients(site):
    """The chain is as good as its earliest end."""
    end = certs.now() + certs.days(1) / 86400 * (20 if BUILD else 8)
    short = certs.Ca(site.folder / "short", "Short CA", issuer=site.cas["root"], end=end)
    with open(site.ca_file, "a") as file:
        file.write(short.pem)
    site.put(site.crl_text(number=2) + short.crl())
    site.broker.conf.write_text(site.conf + f"role_ca client {short.file}\n")
    site.broker.reload(r"Reloaded:")
    device = site.peer(short, "dev")
    assert device.wait_closed(SOON + 30) == 0x87
    device.cut()
    site.broker.wait_log("the certificate has expired")


def test_anonymous_clients_where_they_are_not_allowed_any_more(broker_of):
    port = kit.free_port()
    conf = f"{kit.STAY_ROOT}listener {port} 127.0.0.1\nallow_anonymous true\n"
    broker = broker_of(conf, port)
    peer = wire.Peer(port, "a", 5)
    named = wire.Peer(port, "b", 5, username="bob")
    broker.conf.write_text(conf.replace("true", "false"))
    broker.reload(r"Reloaded:")
    for one in (peer, named):
        assert one.wait_closed(SOON) == 0x98
        one.cut()


def test_pre_shared_keys_that_are_gone(broker_of, tmp_path):
    port, keys = kit.free_port(), tmp_path / "keys"
    keys.write_text("a:" + "11" * 32 + "\nb:" + "22" * 32 + "\nc:" + "33" * 32 + "\n")
    broker = broker_of(f"{kit.STAY_ROOT}listener {port} 127.0.0.1\npsk_file {keys}\npsk_hint h\nuse_identity_as_username true\n", port)
    running = {}
    try:
        for name, key in (("a", "11"), ("b", "22"), ("c", "33")):
            running[name] = subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "--psk", key * 32, "--psk-identity", name, "-i", name, "-t", "#"],
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            broker.wait_log(f"New client connected from .* as {name} ")
        # One is removed, one is changed, one stays.
        keys.write_text("b:" + "44" * 32 + "\nc:" + "33" * 32 + "\n")
        mark = broker.mark()
        broker.reload(r"Reloaded:")
        for name in "ab":
            broker.wait_log(rf"Client {name} disconnected due to .*password or key has been changed or removed", mark)
        assert "Client c " not in broker.log()[mark:]
    finally:
        for process in running.values():
            process.kill()
            process.wait()
