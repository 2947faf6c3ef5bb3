"""Session tickets: who comes back by one is judged as he would be by a full handshake, whatever has changed since."""
import contextlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile

import pytest

import certs
import control
import kit
import test_metrics
import test_ocsp
import test_proxy
import wire
from test_trust import Site

TICKETS = "tls_session_tickets true"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS12, TLS13)
UPGRADE = (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")


class Device:
    """A client that keeps its session as a device would, and comes back with it."""

    def __init__(self, files, name, version, session=None):
        self.context, self.name, self.session = kit.tls_context(files, version, version), name, session

    def visit(self, port, say=None, before=b""):
        """(CONNACK's code, or what ended it; was it a resumption?); None as the latter when nobody can say."""
        sock = socket.create_connection(("127.0.0.1", port), timeout=kit.PATIENCE)
        resumed = None
        try:
            sock.sendall(before)
            with self.context.wrap_socket(sock, server_hostname="localhost", session=self.session) as tls:
                resumed = tls.session_reused
                tls.sendall(say or wire.connect(self.name))
                answer = tls.recv(4096)
                if answer and tls.session is not None and tls.session.has_ticket:
                    self.session = tls.session
                return (answer[3] if answer[:1] == b"\x20" else answer[:12] or "closed"), resumed
        except ssl.SSLError as error:
            return f"alert {error.reason}".lower(), resumed
        except (ConnectionError, BrokenPipeError):
            return "reset", resumed
        finally:
            sock.close()

    def has_ticket(self, port):
        """After a full handshake."""
        self.session = None
        assert self.visit(port) == (0, False)
        return self.session is not None


def devices(site, role, name, **more):
    """One for each version, with a ticket."""
    made = []
    for version in VERSIONS:
        files = site.leaf(role, name + version.name[-1], **more)
        one = Device(files, name + version.name[-1], version)
        one.serial = files["serial"]
        assert one.has_ticket(site.port)
        made.append(one)
    return made


def refused(site, device, cause, alert=None):
    """Its ticket is good for nothing: it is refused by a full handshake, which says why. The line of the log."""
    mark = site.broker.mark()
    ended, resumed = device.visit(site.port)
    assert str(ended).startswith("alert") and not resumed, (ended, resumed)
    assert alert is None or alert in ended, ended
    line = site.broker.wait_log(rf"Refused TLS handshake from .*\[{cause}\]; .*subject '[^']*CN={device.name}'.*", mark).string
    assert f"CN={device.name}" in line and ", SNI 'localhost'." in line
    return line


def comes_to(site, device, want):
    """A worker takes new TLS settings over with its next turn, which may be after the log has said so."""
    kit.wait_for(lambda: device.visit(site.port) == want, f"{want} for {device.name}")


@pytest.fixture
def site(pki, tmp_path, broker_of):
    return Site(pki, tmp_path, broker_of, TICKETS)


@pytest.fixture
def site_of(pki, tmp_path, broker_of):
    return lambda *lines, **more: Site(pki, tmp_path, broker_of, TICKETS, *lines, **more)


# ---- what tickets are for ----

@pytest.fixture(scope="module")
def doors(pki, tmp_path_factory):
    """Listeners of every kind in front of one broker, all with tickets but the plain one for metrics."""
    ports = {name: kit.free_port() for name in ("mqtt", "other", "web", "proxied", "anonymous", "off", "metrics")}
    tls = [line for line in pki.conf(1).splitlines() if line.split(None, 1)[:1] in (["cafile"], ["certfile"], ["keyfile"])]
    mine = [*tls, "require_certificate true", "use_identity_as_username true"]
    lines = [TICKETS,
             f"listener {ports['other']} 127.0.0.1", *mine, TICKETS,
             f"listener {ports['web']} 127.0.0.1", "protocol websockets", *mine, TICKETS,
             f"listener {ports['proxied']} 127.0.0.1", "enable_proxy_protocol 1", "proxy_protocol_from 127.0.0.1", *mine, TICKETS,
             f"listener {ports['anonymous']} 127.0.0.1", *tls[1:], "listener_allow_anonymous true", TICKETS,
             f"listener {ports['off']} 127.0.0.1", *mine,
             f"listener {ports['metrics']} 127.0.0.1", "protocol metrics", "listener_allow_anonymous true"]
    with kit.Broker(tmp_path_factory.mktemp("doors"), kit.STAY_ROOT + pki.conf(ports["mqtt"], *lines, workers="2"), list(ports.values())) as broker:
        broker.doors = ports
        yield broker


def counters(broker):
    values = test_metrics.metrics(broker.doors["metrics"])
    refusals = {key.partition('"')[2].rstrip('"}'): value for key, value in values.items() if key.startswith("signet_tls_tickets_refused_total{")}
    assert set(refusals) == {"unknown-key", "too-old", "other-listener-or-trust", "judged"}
    return {**refusals, "resumed": values["signet_tls_resumptions_total"], "ok": values['signet_tls_handshakes_total{result="ok"}']}


@pytest.mark.tsan
@pytest.mark.parametrize("version", VERSIONS, ids=["tls1.2", "tls1.3"])
def test_full_and_resumed(doors, pki, version):
    """Again and again, on each kind of listener; and each knows only its own tickets."""
    before, sessions = counters(doors), {}
    for door, more in (("mqtt", {}), ("proxied", {"before": test_proxy.v1()}), ("web", {"say": UPGRADE})):
        device = Device(pki.device("dev"), "dev", version)
        want = b"HTTP/1.1 101" if door == "web" else 0
        for i in range(4):
            mark = doors.mark()
            assert device.visit(doors.doors[door], **more) == (want, i > 0), door
            if door != "web":
                line = doors.wait_log(r"New client connected from (\S+) as dev .*u'dev'\)\. Certificate cn 'dev', role client", mark)
                assert (line.group(1) == "192.0.2.5:6275") == (door == "proxied")
        sessions[door] = device
    # Who has resumed is refused as he would be otherwise, and so described.
    mark, device = doors.mark(), sessions["mqtt"]
    assert device.visit(doors.doors["mqtt"], say=wire.connect("other-id"))[1]
    doors.wait_log(rf"Refused CONNECT .*\[client-id\]; client 'other-id', subject 'CN=dev', issuer '.*', serial \S+, TLSv1\.{version.name[-1]}, SNI 'localhost'\.", mark)
    assert counters(doors) == {**before, "ok": before["ok"] + 13, "resumed": before["resumed"] + 10}
    assert device.visit(doors.doors["other"]) == (0, False)
    after = counters(doors)
    assert after["other-listener-or-trust"] == before["other-listener-or-trust"] + 1 and after["resumed"] == before["resumed"] + 10


@pytest.mark.parametrize("version", VERSIONS, ids=["tls1.2", "tls1.3"])
def test_without_a_certificate(doors, pki, version):
    """A listener that knows its clients by nothing else than their password, or not at all."""
    device = Device({"ca": pki.device("dev")["ca"]}, "nobody", version)
    # The policy has no place for those; the handshake does.
    assert [device.visit(doors.doors["anonymous"]) for _ in range(3)] == [(5, False), (5, True), (5, True)]
    # It is no way in where a certificate is needed.
    mark = doors.mark()
    ended, resumed = device.visit(doors.doors["mqtt"])
    assert ended != 0 and not resumed
    doors.wait_log(r"Refused TLS handshake .*\[no-certificate\]", mark)


@pytest.mark.parametrize("version", VERSIONS, ids=["tls1.2", "tls1.3"])
def test_off_unless_it_is_switched_on(doors, pki, version):
    device = Device(pki.device("dev"), "dev", version)
    assert not device.has_ticket(doors.doors["off"])
    # A ticket of another listener changes nothing there.
    assert device.has_ticket(doors.doors["mqtt"])
    assert device.visit(doors.doors["off"]) == (0, False)


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_mosquittos_clients(doors, pki, version):
    """They keep no session, and have to bear that they are given a ticket."""
    files = pki.device("dev")
    words = ["-h", "localhost", "-p", doors.doors["mqtt"], *kit.tls_words(files), "--tls-version", version, "-i", "dev", "-q", "1"]
    for _ in range(2):
        sent = kit.mosquitto("mosquitto_rr", *words, "-t", f"{kit.PREFIX}/dev/x", "-e", f"{kit.PREFIX}/dev/x", "-m", "hello")
        assert sent.returncode == 0 and "hello" in sent.stdout, sent


def test_the_subject_as_user_name(pki, broker_of):
    port = kit.free_port()
    conf = pki.conf(port, "use_subject_as_username true", TICKETS, use_identity_as_username=None)
    broker = broker_of(conf, port)
    for version in VERSIONS:
        device = Device(pki.device("dev"), "dev", version)
        for i in range(2):
            mark = broker.mark()
            assert device.visit(port) == (0, i > 0)
            broker.wait_log(r"as dev \(.*u'CN=dev'\)", mark)


# ---- what has changed since ----

@pytest.mark.tsan
def test_revoked(site):
    """The leaf, then the CA of another; who is not concerned goes on resuming."""
    bad, good, watchers = devices(site, "client", "bad"), devices(site, "client", "good"), devices(site, "watch", "w")
    mark, serials = site.broker.mark(), [device.serial for device in bad]
    site.write_crl(number=2, client=serials)
    site.in_force(mark)
    for device in bad:
        refused(site, device, "revoked", "certificate_revoked")
    for device in good + watchers:
        assert device.visit(site.port) == (0, True)
    mark = site.broker.mark()
    serial = int(certs.openssl("x509", "-in", site.cas["watch"].file, "-noout", "-serial").decode().split("=")[1], 16)
    site.write_crl(number=3, client=serials, root=[serial])
    site.in_force(mark)
    for device in watchers:
        refused(site, device, "revoked", "certificate_revoked")
    for device in good:
        assert device.visit(site.port) == (0, True)


def test_a_list_of_a_ca_that_came_with_the_chain(site_of):
    """The cafile has the root alone: who came back by a ticket has shown no chain, and is cut off and refused as he would be with one."""
    site = site_of(root_only=True)
    bad, good = devices(site, "client", "bad"), devices(site, "client", "good")
    with contextlib.ExitStack() as stack:
        here = []
        for device in bad:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=kit.PATIENCE))
            tls = stack.enter_context(device.context.wrap_socket(sock, server_hostname="localhost", session=device.session))
            assert tls.session_reused
            tls.sendall(wire.connect(device.name, 4))
            assert tls.recv(4) == b"\x20\x02\x00\x00"
            here.append(tls)
        mark = site.broker.mark()
        site.write_crl(number=2, client=[device.serial for device in bad])
        assert [tls.recv(1) for tls in here] == [b""] * len(here)
        for device in bad:
            site.broker.wait_log(rf"Client {device.name} disconnected due to .*withdrawn: the certificate was revoked at", mark)
    for device in bad:
        refused(site, device, "revoked", "certificate_revoked")
    for device in good:
        assert device.visit(site.port) == (0, True)


def test_a_list_that_is_too_old(site_of):
    """The grace is taken away: the ticket does not save anybody from that."""
    site = site_of("crl_grace 10y")
    mark = site.broker.mark()
    site.put(site.crl_text(number=2, only=("root", "cloud", "client", "control")) +
             site.cas["watch"].crl(number=2, last=certs.now() - certs.days(9), until=certs.now() - certs.days(2)))
    # The one in force has not expired, and stays.
    site.alarm("it has expired, and the one in force has not", mark)
    site.broker.stop()
    site.broker.start()
    watchers, others = devices(site, "watch", "w"), devices(site, "client", "dev")
    assert all(device.visit(site.port) == (0, True) for device in watchers)
    site.broker.conf.write_text(site.broker.conf.read_text().replace("crl_grace 10y", "crl_grace 1s"))
    site.broker.reload(r"Reloaded:")
    for device in watchers:
        refused(site, device, "crl-expired")
    assert all(device.visit(site.port) == (0, True) for device in others)


def short_lived(site, version):
    """Somebody whose certificate ends soon, and who has resumed already; and in how many seconds it ends."""
    name, seconds = "dev" + version.name[-1], 2
    while True:
        device = Device(site.leaf("client", name, end=certs.now() + certs.days(seconds) / 86400), name, version)
        if device.visit(site.port)[0] == 0 and device.session is not None and device.visit(site.port) == (0, True):
            return device, seconds
        seconds *= 2  # on a slow machine it was over before


@pytest.mark.parametrize("quarantine", [False, True])
def test_expired(site_of, quarantine):
    """A certificate that ends while its ticket is good; with a quarantine it leads there, as it would without."""
    site = site_of(*(["quarantine true"] if quarantine else []))
    for device, seconds in [short_lived(site, version) for version in VERSIONS]:
        # He resumes up to the end, and never after it.
        ended = kit.wait_for(lambda: next((r for r in [device.visit(site.port)] if not r[1]), None), "the end", kit.PATIENCE + seconds)
        if not quarantine:
            assert "certificate_expired" in ended[0], ended
            site.broker.wait_log(rf"Refused TLS handshake from .*expired .*\[expired\]; .*subject 'CN={device.name}'")
            continue
        mark = site.broker.mark()
        assert ended == (0, False) and device.visit(site.port) == (0, False)
        site.broker.wait_log(rf"as {device.name} .* role quarantine", mark)
        # There he gets nothing to come back with.
        assert not device.has_ticket(site.port)


def test_a_ca_that_is_taken_out(site):
    watchers, others = devices(site, "watch", "w"), devices(site, "client", "dev")
    text = site.ca_file.read_text()
    site.ca_file.write_text(text.replace(site.cas["watch"].pem.strip(), ""))
    # Its chain would lead to the root still.
    site.broker.conf.write_text(site.broker.conf.read_text().replace(f"role_ca watch {site.pki.dir}/pki/watch/cert.pem\n", ""))
    site.broker.reload(r"Reloaded:")
    for device in watchers:
        mark = site.broker.mark()
        comes_to(site, device, (5, False))
        site.broker.wait_log(rf"Refused CONNECT .*\[role\].*CN={device.name}", mark)
    for device in others:
        comes_to(site, device, (0, False))
        comes_to(site, device, (0, True))
    site.ca_file.write_text(site.cas["watch"].pem)
    site.broker.reload(r"Reloaded:")
    for device in others:
        refused(site, device, "issuer-unknown|issuer-other-key|intermediate-missing|ca-withdrawn")


def test_another_role(site):
    watchers = devices(site, "watch", "w")
    conf = site.broker.conf.read_text()
    site.broker.conf.write_text(re.sub(r"(?m)^role_ca watch ", "role_ca control ", conf))
    site.broker.reload(r"Reloaded:")
    for device in watchers:
        mark = site.broker.mark()
        assert device.visit(site.port) == (0, False)
        site.broker.wait_log(rf"as {device.name} .* role control", mark)
        comes_to(site, device, (0, True))


def test_a_reload_that_changes_nothing_for_him(site):
    some = devices(site, "client", "dev")
    site.broker.reload(r"Reloaded:")
    assert all(device.visit(site.port) == (0, True) for device in some)
    # Nor does a broker that starts again know old keys.
    site.broker.stop()
    site.broker.start()
    assert all(device.visit(site.port) == (0, False) for device in some)


def test_demands_that_rise(site):
    """A ticket of TLS 1.2 is not for a listener that wants 1.3 now; nor is one without a certificate where one is wanted."""
    text = site.broker.conf.read_text()
    device = Device(site.leaf("client", "dev"), "dev", TLS12)
    assert device.has_ticket(site.port)
    site.broker.conf.write_text(text.replace("tls_version tlsv1.2", "tls_version tlsv1.3", 1))
    site.broker.reload(r"Reloaded:")
    ended, resumed = kit.wait_for(lambda: next((r for r in [device.visit(site.port)] if r[0] != 0), None), "a refusal")
    assert "protocol_version" in ended and not resumed, ended
    site.broker.conf.write_text(text.replace("require_certificate true", "require_certificate false", 1) + "listener_allow_anonymous true\n")
    site.broker.reload(r"Reloaded:")
    nobody = [Device({"ca": site.root}, "nobody", version) for version in VERSIONS]
    for device in nobody:
        kit.wait_for(lambda: device.visit(site.port) and device.session is not None, "a ticket")
    site.broker.conf.write_text(text)
    site.broker.reload(r"Reloaded:")
    for device in nobody:
        mark = site.broker.mark()
        kit.wait_for(lambda: not device.visit(site.port)[1], "a full handshake")
        site.broker.wait_log(r"\[no-certificate\]", mark)


def test_not_registered_any_more(pki, broker_of):
    """The registry is asked at each CONNECT, however its client came; and who is in quarantine for it stays there."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as folder:  # a socket's path has few bytes
        os.chmod(folder, 0o755)
        path, port = pathlib.Path(folder) / "c", kit.free_port()
        conf = pki.conf(port, f"listener 0 {path}", "protocol control").replace(
            "use_identity_as_username true", f"use_identity_as_username true\n{TICKETS}\nrequire_registration true\nquarantine unregistered")
        broker = broker_of(kit.STAY_ROOT + conf, port)
        with control.Control(path) as c:
            names = ["dev2", "dev3", "new2", "new3"]
            c.snapshot(1, names[:2])
            some = [Device(pki.device(name), name, version) for name, version in zip(names, VERSIONS * 2)]
            for device in some:
                assert device.has_ticket(port)
                mark = broker.mark()
                assert device.visit(port) == (0, True)
                broker.wait_log(rf"as {device.name} .* role {'client' if device.name[:3] == 'dev' else 'quarantine'}", mark)
            c.ask("registry/change", **{"from": 1, "to": 2, "disabled": names[:1], "removed": names[1:2]})
            mark = broker.mark()
            answer, resumed = some[0].visit(port)
            assert answer != 0 and resumed
            broker.wait_log(r"Refused CONNECT .*\[disabled\]; client 'dev2'", mark)
            assert some[1].visit(port) == (0, True)
            broker.wait_log(r"as dev3 .* role quarantine", mark)


def test_revoked_at_the_responder(pki, tmp_path, broker_of):
    """It is asked at each CONNECT, when its last answer has ended, also about who has resumed."""
    site = test_ocsp.Site(pki, tmp_path, broker_of, "ocsp_max_age 1s", listener=[TICKETS])
    try:
        for version in VERSIONS:
            name = "dev" + version.name[-1]
            leaf = site.leaf(name)
            device = Device(leaf, name, version)
            assert device.has_ticket(site.hard) and device.visit(site.hard) == (0, True)
            site.responder.revoke(leaf)
            mark = site.broker.mark()
            ended = kit.wait_for(lambda: next((r for r in [device.visit(site.hard)] if r[0] != 0), None), "the responder's no")
            assert ended == (5, True)
            site.broker.wait_log(rf"Refused CONNECT .*the OCSP responder says that the certificate was revoked .*\[revoked\]; client '{name}'", mark)
    finally:
        site.close()


# ---- how long a ticket is good, and what is one ----

@pytest.mark.parametrize("version", VERSIONS, ids=["tls1.2", "tls1.3"])
def test_lifetime(site_of, version):
    """From the full handshake on, however often it is renewed meanwhile."""
    site = site_of("tls_ticket_lifetime 2")
    device = Device(site.leaf("client", "dev"), "dev", version)
    assert device.has_ticket(site.port)
    kit.wait_for(lambda: device.visit(site.port) == (0, False), "a full handshake")
    site.broker.conf.write_text(site.broker.conf.read_text().replace("tls_ticket_lifetime 2", "tls_ticket_lifetime 600000"))
    site.broker.reload(r"Reloaded:")
    assert device.has_ticket(site.port)
    assert [device.visit(site.port) for _ in range(3)] == [(0, True)] * 3


class SClient:
    """`openssl s_client`, which writes its session to a file and reads it from there."""

    def __init__(self, site, name, version):
        self.site, self.name, self.files = site, name, site.leaf("client", name)
        self.words = ["openssl", "s_client", "-connect", f"localhost:{site.port}", version, "-CAfile", self.files["ca"], "-cert", self.files["cert"],
                      "-key", self.files["key"], "-cert_chain", self.files["cert"], "-nocommands", "-ign_eof"]

    def run(self, *more):
        """What it says, up to a CONNACK."""
        process = subprocess.Popen([str(w) for w in (*self.words, *more)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        heard = bytearray()
        os.set_blocking(process.stdout.fileno(), False)

        def hears():
            heard.extend(process.stdout.read(65536) or b"")
            return b"\x20\x02\x00" in heard or process.poll() is not None
        try:
            process.stdin.write(wire.connect(self.name))
            kit.wait_for(hears, "CONNACK")
        finally:
            process.kill()
            process.wait(kit.PATIENCE)
            heard += process.stdout.read() or b""
            process.stdin.close()
            process.stdout.close()
        return heard.decode(errors="replace")


def with_ticket(session_pem, change):
    """A session of OpenSSL with another ticket: [10] of SSL_SESSION_ASN1."""
    [(tag, _, body)] = certs.elements(certs.pem_bytes(session_pem))
    parts = []
    for kind, whole, content in certs.elements(body):
        if kind == 0xAA:
            [(_, _, ticket)] = certs.elements(content)
            whole = certs.tlv(0xAA, certs.tlv(4, change(ticket)))
        parts.append(whole)
    return certs.pem("SSL SESSION PARAMETERS", certs.tlv(tag, *parts))


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(site, tmp_path, version):
    """Forged, truncated, lengthened and foreign tickets lead to a full handshake, and early data nowhere."""
    client, kept, other, early = SClient(site, "dev", version), tmp_path / "session", tmp_path / "other", tmp_path / "early"
    early.write_bytes(b"\x10\x0e" + b"early bytes")
    said = client.run("-sess_out", kept)
    assert "New, TLSv1." in said and "Reused" not in said, said
    text = kept.read_text()
    said = client.run("-sess_in", kept, "-early_data", early)
    assert "Reused, TLSv1." in said and ("Early data was not sent" in said or version == "-tls1_2"), said
    # [15] of SSL_SESSION_ASN1, max_early_data: it says nothing of any.
    assert 0xAF not in [kind for kind, _, _ in certs.elements(next(certs.elements(certs.pem_bytes(text)))[2])]
    changes = [lambda t: t[:-1], lambda t: t[:16], lambda t: t[:40], lambda t: t + b"\0", lambda t: os.urandom(len(t)), lambda t: t[:1],
               lambda t: os.urandom(16) + t[16:], lambda t: t[:60] + bytes([t[60] ^ 1]) + t[61:], lambda t: t[:-32] + bytes(32)]
    for change in changes:
        other.write_text(with_ticket(text, change))
        said = client.run("-sess_in", other)
        assert "New, TLSv1." in said and "Reused" not in said, said
    # The real one is good still.
    assert "Reused, TLSv1." in client.run("-sess_in", kept)
