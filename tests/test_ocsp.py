"""OCSP: clients' certificates are asked about, and nobody waits for that but who wants to come in."""
import hashlib
import json
import re
import socketserver
import subprocess
import threading

import pytest

import certs
import kit
import wire

SOON = 20
GOOD, UNKNOWN = b"\x80\0", b"\x82\0"
SPRING = "springcard/springcore"


def stamp(t):
    return certs.tlv(0x18, t.strftime("%Y%m%d%H%M%SZ").encode())


def seconds(n):
    return certs.datetime.timedelta(seconds=n)


def revoked(reason=1):
    return certs.tlv(0xA1, stamp(certs.now() - certs.days(1)), certs.tlv(0xA0, certs.tlv(10, bytes([reason]))))


def serial_of(certid):
    return int.from_bytes(list(certs.elements(next(certs.elements(certid))[2]))[3][2], "big")


def read_request(der):
    """The certID and the extensions (or b"") of a request about one certificate."""
    _, _, request = next(certs.elements(der))
    _, _, tbs = next(certs.elements(request))
    parts = list(certs.elements(tbs))
    listed = next(content for tag, _, content in parts if tag == 0x30)
    _, _, first = next(certs.elements(listed))
    return next(certs.elements(first))[1], next((content for tag, _, content in parts if tag == 0xA2), b"")


def answer(ca, certid, status=GOOD, signer=None, subject=None, certificates=(), begin=None, end=60, extensions=b""):
    """A response in DER, as RFC 6960 4.2.1 has it; <end>: seconds from now, None: none."""
    begin = begin or certs.now() - seconds(5)
    single = certs.sequence(certid, status, stamp(begin), certs.tlv(0xA0, stamp(certs.now() + seconds(end))) if end is not None else b"")
    tbs = certs.sequence(certs.tlv(0xA1, subject or ca.subject), stamp(certs.now()), certs.sequence(single),
                         certs.tlv(0xA1, extensions) if extensions else b"")
    key = signer or ca.key
    signature = certs.openssl("dgst", "-sha256", "-sign", key.path, data=tbs)
    basic = certs.sequence(tbs, key.algorithm, certs.tlv(3, b"\0", signature),
                           certs.tlv(0xA0, certs.sequence(*certificates)) if certificates else b"")
    return certs.sequence(certs.tlv(10, b"\0"), certs.tlv(0xA0, certs.sequence(certs.oid("1.3.6.1.5.5.7.48.1.1"), certs.tlv(4, basic))))


def http(body, status="200 OK", headers=""):
    return f"HTTP/1.1 {status}\r\nContent-Type: application/ocsp-response\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Responder:
    """Answers as <behave>(request) says: bytes of HTTP, or None to close without a word. <asked>: serial numbers."""

    def __init__(self, ca):
        self.ca, self.asked, self.status, self.end = ca, [], {}, 60
        self.behave = self.honest
        self.changed = threading.Condition()
        responder = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                length = 0
                while (line := self.rfile.readline().strip()):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                request = self.rfile.read(length)
                if not request:
                    return
                with responder.changed:
                    responder.asked.append(serial_of(read_request(request)[0]))
                    responder.changed.notify_all()
                try:
                    self.wfile.write(responder.behave(request) or b"")
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/ocsp"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def honest(self, request):
        certid, extensions = read_request(request)
        return http(answer(self.ca, certid, self.status.get(serial_of(certid), GOOD), end=self.end, extensions=extensions))

    def revoke(self, leaf, status=None):
        self.status[leaf["serial"]] = status or revoked()

    def wait_asked(self, n):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= n, kit.PATIENCE), self.asked

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def aia(url):
    return certs.extension("1.3.6.1.5.5.7.1.1", certs.sequence(certs.sequence(certs.oid("1.3.6.1.5.5.7.48.1"), certs.tlv(0x86, url.encode()))))


class Site:
    """One broker with two listeners, `ocsp_check hard` and `soft`; responders of the client CA."""

    def __init__(self, pki, folder, start, *lines, listener=(), url=True, timeout=20, **more):
        """<timeout>: answers are signed by a program of its own, which takes its time on a busy machine."""
        self.pki, self.folder, self.responders = pki, folder, []
        self.cas = certs.role_cas(pki, folder / "cas")
        self.ca, self.root = self.cas["client"], self.cas["root"].file
        self.responder = self.add()
        self.hard, self.soft = kit.free_port(), kit.free_port()
        listener = [*([f"ocsp_responder {self.responder.url}"] if url else []), *listener]
        lines = [f"ocsp_timeout {timeout}", "sys_interval 1", *lines]
        conf = kit.STAY_ROOT + pki.conf(self.hard, *lines, *more.pop("check", ["ocsp_check hard"]), *listener, **{"workers": "2", **more})
        tls = [line for line in conf.splitlines() if line.strip() and line.split(None, 1)[0] in
               ("cafile", "certfile", "keyfile", "require_certificate", "use_identity_as_username", "ocsp_responder")]
        self.conf = conf + "\n".join([f"listener {self.soft}", *tls, "ocsp_check soft"]) + "\n"
        self.broker = start(self.conf, [self.hard, self.soft])

    def add(self, ca=None):
        self.responders.append(Responder(ca or self.ca))
        return self.responders[-1]

    def leaf(self, name, responder=None, **more):
        extra = [aia(responder.url)] if responder else []
        return self.ca.leaf(name, trust=self.root, chain=[self.ca], extra=extra, **more)

    def peer(self, name, files, port=None, version=5, **more):
        return wire.Peer(port or self.hard, name, version, files=files, **more)

    def code(self, name, files, port=None, version=5, **more):
        try:
            self.peer(name, files, port, version, **more).close()
            return 0
        except kit.Refused as refused:
            return refused.code

    def close(self):
        for r in self.responders:
            r.close()


@pytest.fixture
def site_of(pki, tmp_path, broker_of):
    made = []

    def make(*lines, **more):
        made.append(Site(pki, tmp_path, broker_of, *lines, **more))
        return made[-1]
    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(site_of):
    return site_of()


# ---- coming in ----

@pytest.mark.tsan
def test_who_is_good_comes_in_and_is_asked_about_once(site):
    leaf = site.leaf("dev")
    for port in (site.hard, site.soft, site.hard):
        for version in (4, 5):
            assert site.code("dev", leaf, port, version) == 0
    assert site.responder.asked == [leaf["serial"]]


def test_who_is_revoked_is_refused_and_told_why(site):
    leaf = site.leaf("dev")
    site.responder.revoke(leaf)
    assert site.code("dev", leaf) == 0x87
    site.broker.wait_log(r"the OCSP responder says that the certificate was revoked at .* UTC \(key compromise\) \[revoked\]")
    assert site.code("dev", leaf, version=4) == 5
    assert site.code("dev", leaf, site.soft) == 0x87
    assert site.responder.asked == [leaf["serial"]]


def test_who_is_not_known_to_the_responder(site):
    leaf = site.leaf("dev")
    site.responder.revoke(leaf, UNKNOWN)
    assert site.code("dev", leaf) == 0x87
    site.broker.wait_log(r"\[ocsp-unknown\]")
    assert site.code("dev", leaf, site.soft) == 0


def test_a_delegate_answers_for_the_ca(site):
    key = certs.Key(site.folder / "delegate.key")
    name = certs.common_name("responder")
    text, _ = site.ca.sign(name, key.spki, usage=["1.3.6.1.5.5.7.3.9"])

    def behave(request):
        certid, extensions = read_request(request)
        return http(answer(site.ca, certid, signer=key, subject=name, certificates=[certs.pem_bytes(text)], extensions=extensions))
    site.responder.behave = behave
    assert site.code("dev", site.leaf("dev")) == 0


def test_the_certificate_names_its_responder(site_of):
    site = site_of(url=False)
    one, two = site.leaf("dev", site.responder), site.leaf("other", site.add())
    site.responder.revoke(one)
    assert site.code("dev", one) == 0x87
    assert site.code("other", two) == 0
    assert len(site.responders[1].asked) == 1
    assert site.code("lost", site.leaf("lost")) == 0x88
    site.broker.wait_log(r"no responder is known: set ocsp_responder.*\[ocsp-unavailable\]")


# ---- answers that do not count ----

def test_what_is_no_answer_is_not_believed(site_of):
    """A certificate and a responder each; hard refuses and says exactly why, soft lets in."""
    site = site_of(url=False)
    stranger = certs.Ca(site.folder / "stranger", certs.subject_of(site.ca.pem))
    key = certs.Key(site.folder / "key")
    no_purpose, _ = site.ca.sign(certs.common_name("r"), key.spki, usage=[certs.CLIENT_AUTH])
    foreign, _ = stranger.sign(certs.common_name("r"), key.spki, usage=["1.3.6.1.5.5.7.3.9"])

    def signed(text):
        return lambda c, x: answer(site.ca, c, signer=key, subject=certs.common_name("r"), certificates=[certs.pem_bytes(text)])

    def about_another(certid, extensions):
        other = certid[:-4] + bytes(4)
        return answer(site.ca, other)
    kinds = {
        "not that of the CA": lambda c, x: answer(site.ca, c, signer=stranger.key),
        "not for OCSP": signed(no_purpose),
        "the CA has not issued": signed(foreign),
        "too old": lambda c, x: answer(site.ca, c, begin=certs.now() - seconds(7200), end=-3600),
        "from the future": lambda c, x: answer(site.ca, c, begin=certs.now() + seconds(3600), end=7200),
        "another certificate": about_another,
        "the nonce differs": lambda c, x: answer(site.ca, c, extensions=x[:-1] + bytes([x[-1] ^ 1])),
        "no OCSP response": lambda c, x: answer(site.ca, c)[:-20],
        "trylater": lambda c, x: certs.sequence(certs.tlv(10, b"\3")),
    }
    raw = {
        "larger than 65536 bytes": lambda r: http(bytes(70000)),
        '"500 Oops"': lambda r: http(b"", "500 Oops"),
        "no HTTP/1.1 answer": lambda r: b"hello\n",
        "closed the connection without an answer": lambda r: None,
        "in the middle of its answer": lambda r: http(bytes(100))[:-50],
        "the answer is empty": lambda r: http(b""),
    }
    for number, (says, make) in enumerate([*kinds.items(), *raw.items()]):
        responder = site.add()
        responder.behave = raw[says] if says in raw else lambda r, make=make: http(make(*read_request(r)))
        name = f"dev{number}"
        leaf = site.leaf(name, responder)
        mark = site.broker.mark()
        assert site.code(name, leaf) == 0x88, says
        site.broker.wait_log(rf"{says}.*\[ocsp-unavailable\]", mark)
        assert site.code(name, leaf, site.soft) == 0, says


def test_a_slow_responder_holds_up_nobody_else(site_of):
    """One worker; who waits is let go after ocsp_timeout, and what another client sends goes through meanwhile."""
    site = site_of(workers="1", timeout=1)
    release = threading.Event()
    try:
        with site.peer("steady", site.leaf("steady"), site.soft) as steady:
            site.responder.behave = lambda request: release.wait(kit.PATIENCE) and None
            mark = site.broker.mark()
            codes = []
            waiting = threading.Thread(target=lambda: codes.append(site.code("late", site.leaf("late"))))
            waiting.start()
            site.responder.wait_asked(2)
            steady.fence()
            waiting.join(kit.PATIENCE)
            assert codes == [0x88]
            site.broker.wait_log(r"(no answer within|the responder).*\[ocsp-unavailable\]", mark)
            site.broker.wait_log(r"ALARM: the OCSP responder http://127", mark)
            steady.fence()
            assert site.code("late2", site.leaf("late2"), site.soft) == 0
    finally:
        release.set()


@pytest.mark.tsan
def test_a_responder_comes_back(site_of):
    site = site_of(timeout=1)
    site.responder.behave = lambda request: None
    leaf, mark = site.leaf("dev"), site.broker.mark()
    assert site.code("dev", leaf) == 0x88
    site.broker.wait_log("ALARM: the OCSP responder", mark)
    assert site.code("dev", leaf, version=4) == 3
    site.responder.behave = site.responder.honest
    kit.wait_for(lambda: site.code("dev", leaf) == 0, "the failure to be forgotten")
    site.broker.wait_log("in order again", mark)


# ---- being here ----

@pytest.mark.tsan
def test_who_is_revoked_while_he_is_here_is_cut_off(site_of):
    """Asked about again before the answer ends; on both listeners, and nobody else."""
    site = site_of("ocsp_max_age 2s")
    bad, worse, good = site.leaf("dev"), site.leaf("dev2"), site.leaf("good")
    with site.peer("dev", bad) as one, site.peer("dev2", worse, site.soft) as two, site.peer("good", good) as steady:
        site.responder.revoke(bad)
        assert one.wait_closed(SOON) == 0x87
        site.broker.wait_log(r"Client dev disconnected due to .*withdrawn: the OCSP responder says that the certificate was revoked")
        two.fence()
        site.responder.revoke(worse)
        assert two.wait_closed(SOON) == 0x87
        asked = site.responder.asked.count(good["serial"])
        kit.wait_for(lambda: site.responder.asked.count(good["serial"]) > asked, "the next question")
        steady.fence()
        assert not steady.closed


def test_who_is_here_stays_while_nobody_answers(site_of):
    site = site_of("ocsp_max_age 1s")
    leaf = site.leaf("dev")
    with site.peer("dev", leaf) as device:
        site.responder.behave = lambda request: None
        site.broker.wait_log("ALARM: the OCSP responder")
        kit.wait_for(lambda: site.code("other", site.leaf("other")) == 0x88, "refusals")
        device.fence()
        assert not device.closed


def test_a_reload_asks_about_who_is_here(site_of):
    site = site_of(check=[], url=False)
    leaf, good = site.leaf("dev"), site.leaf("good")
    site.responder.revoke(leaf)
    with site.peer("dev", leaf) as device, site.peer("good", good) as steady:
        assert site.responder.asked == []
        first, second = site.conf.split(f"listener {site.soft}")
        site.broker.conf.write_text(f"{first}ocsp_check hard\nocsp_responder {site.responder.url}\nlistener {site.soft}{second}")
        site.broker.reload()
        assert device.wait_closed(SOON) == 0x87
        site.responder.wait_asked(2)
        steady.fence()
        assert not steady.closed


# ---- with the real tool ----

def index_line(leaf, revoked_at=None):
    state = f"R\t350101000000Z\t{revoked_at:%y%m%d%H%M%SZ},keyCompromise" if revoked_at else "V\t350101000000Z\t"
    return f"{state}\t{leaf['hex'] if len(leaf['hex']) % 2 == 0 else '0' + leaf['hex']}\tunknown\t/CN=x\n"


def test_openssl_answers_and_mosquitto_pub_asks_to_come_in(site_of):
    """In the CA's name, with a certificate that `signet ca issue --ocsp` made."""
    site = site_of(url=False)
    delegate = site.folder / "responder"
    kit.signet("ca", "issue", "--dir", site.pki.dir, "--ca", "client", "--ocsp", f"responder {site.hard}", "--out", delegate)
    port = kit.free_port()
    index = site.folder / "index.txt"
    good, bad = site.leaf("good"), site.leaf("bad")
    index.write_text(index_line(good) + index_line(bad, certs.now() - certs.days(2)))
    server = subprocess.Popen(["openssl", "ocsp", "-index", index, "-CA", site.ca.file, "-rsigner", delegate / "cert.pem", "-rkey", delegate / "key.pem",
                               "-port", str(port), "-nmin", "5"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while "waiting for OCSP client connections" not in (line := server.stdout.readline()):
            assert line, "openssl ocsp has ended"
        first, second = site.conf.split(f"listener {site.soft}")
        site.broker.conf.write_text(f"{first}ocsp_responder http://127.0.0.1:{port}\nlistener {site.soft}{second}")
        site.broker.reload()
        for leaf, name, code in ((good, "good", 0), (bad, "bad", 5)):
            done = kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", str(site.hard), *kit.tls_words(leaf), "-i", name, "-V", "311",
                                 "-t", f"{SPRING}/{name}/x", "-m", "hello", "-q", "1")
            assert done.returncode == code, done.stderr
        site.broker.wait_log(r"revoked at .*key compromise.*\[revoked\]")
    finally:
        server.terminate()
        server.wait(kit.PATIENCE)
        server.stdout.close()


# ---- the broker's own certificate ----

def certid(ca, serial):
    sha1 = certs.sequence(certs.oid("1.3.14.3.2.26"), b"\x05\0")
    return certs.sequence(sha1, certs.tlv(4, hashlib.sha1(ca.subject).digest()), certs.tlv(4, ca.key.id), certs.integer(serial))


class Stapled:
    """A broker whose certificate the cloud CA has just issued."""

    def __init__(self, pki, folder, start, *lines, extra=()):
        self.pki, self.folder = pki, folder
        self.cas = certs.role_cas(pki, folder / "cas")
        self.ca = self.cas["cloud"]
        self.file = folder / "response.der"
        self.key = certs.Key(folder / "server.key")
        self.client = self.cas["client"].leaf("dev", trust=self.cas["root"].file, chain=[self.cas["client"]])
        self.issue(extra)
        self.port = kit.free_port()
        self.conf = kit.STAY_ROOT + pki.conf(self.port, "ocsp_timeout 3", "sys_interval 1", *lines, certfile=str(folder / "server.pem"),
                                             keyfile=str(self.key.path))
        self.start = start

    def issue(self, extra=()):
        name = certs.extension("2.5.29.17", certs.sequence(certs.tlv(0x82, b"localhost")))
        text, self.serial = self.ca.sign(certs.common_name("localhost"), self.key.spki, usage=[certs.SERVER_AUTH], extra=[name, *extra])
        (self.folder / "server.pem").write_text(text + self.ca.pem)

    def run(self):
        self.broker = self.start(self.conf, self.port)
        return self

    def answer(self, serial=None, **more):
        return answer(self.ca, certid(self.ca, serial or self.serial), **more)

    def put(self, der):
        new = self.folder / "response.new"
        new.write_bytes(der)
        new.rename(self.file)

    def shown(self, version="-tls1_3"):
        """What s_client is shown: "good", "none"."""
        done = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{self.port}", "-servername", "localhost", "-status", version,
                               "-CAfile", self.cas["root"].file, "-cert", self.client["cert"], "-key", self.client["key"]],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=kit.PATIENCE)
        if "OCSP response: no response sent" in done.stdout:
            return "none"
        assert "OCSP Response Status: successful" in done.stdout, done.stdout + done.stderr
        return re.search(r"Cert Status: (\w+)", done.stdout).group(1)

    def doctor(self, level, text):
        """Asks as any client can, and verifies it."""
        said = kit.signet("doctor", "--json", f"localhost:{self.port}", "--cafile", self.cas["root"].file, "--cert", self.client["cert"],
                          "--key", self.client["key"], check=False).stdout
        steps = json.loads(said)["steps"]
        assert (level, True) in [(s["result"], text in s["text"]) for s in steps if s["step"] == "revocation"], steps

    def wait_shown(self, what):
        kit.wait_for(lambda: self.shown() == what, f"the response to be {what}")


@pytest.fixture
def stapled(pki, tmp_path, broker_of):
    return lambda *lines, **more: Stapled(pki, tmp_path, broker_of, *lines, **more)


@pytest.mark.tsan
def test_a_file_is_stapled_and_taken_over_as_it_changes(stapled, tmp_path):
    site = stapled(f"ocsp_stapling_file {tmp_path / 'response.der'}")
    site.put(site.answer(end=600))
    site.run()
    for version in ("-tls1_2", "-tls1_3"):
        assert site.shown(version) == "good"
    site.doctor("ok", "the stapled OCSP response says good, until ")
    for der, says in ((site.answer(serial=site.serial + 1), "another certificate"),
                      (site.answer(begin=certs.now() - seconds(90), end=600), "older than the one that is shown"),
                      (site.answer(status=revoked()), "the broker's certificate is revoked")):
        mark = site.broker.mark()
        site.put(der)
        site.broker.wait_log(rf"ALARM: listener \S+: OCSP stapling: .*{says}; the one before is shown", mark)
        assert site.shown() == "good", says
    mark = site.broker.mark()
    site.put(site.answer(begin=certs.now(), end=600))
    site.broker.wait_log("in order again", mark)
    site.broker.reload()
    assert site.shown() == "good"
    # Another certificate: the answer is not about it, and not shown.
    site.issue()
    mark = site.broker.mark()
    site.broker.reload()
    assert site.shown() == "none"
    site.doctor("ok", "the broker staples no OCSP response")
    site.broker.wait_log("ALARM: .*another certificate; clients that ask are shown none", mark)
    site.put(site.answer(end=600))
    site.wait_shown("good")


def test_the_ca_makes_what_is_stapled(pki, tmp_path, broker_of):
    """The broker's certificate of `signet init`; no responder anywhere. The openssl command believes it."""
    folder, port = tmp_path / "site", kit.free_port()
    own = kit.Pki(folder)
    conf = own.conf(port, f"ocsp_stapling_file {tmp_path / 'staple.der'}")
    certificate = next(line.split(None, 1)[1] for line in conf.splitlines() if line.startswith("certfile"))
    certificate = certificate if certificate.startswith("/") else folder / certificate

    def make(*words, check=True):
        return kit.signet("ca", "ocsp", certificate, "--dir", folder, "--ca", "cloud", "--out", tmp_path / "staple.der", *words, check=check)

    def says():
        return certs.openssl("ocsp", "-respin", tmp_path / "staple.der", "-issuer", folder / "pki/cloud/cert.pem", "-cert", certificate,
                             "-CAfile", own.dir / "pki/ca.pem", "-no_nonce").decode()
    assert "is good" in make("--days", "2").stdout
    assert ": good" in says()
    broker_of(kit.STAY_ROOT + conf, port)
    device = own.device("dev")
    done = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{port}", "-status", "-CAfile", own.dir / "pki/ca.pem", "-cert",
                           device["cert"], "-key", device["key"]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=kit.PATIENCE)
    assert "Cert Status: good" in done.stdout, done.stdout
    kit.signet("ca", "revoke", "--dir", folder, "--ca", "cloud", certs.openssl("x509", "-in", certificate, "-noout", "-serial").decode().strip().split("=")[1])
    assert "is revoked" in make().stdout
    assert ": revoked" in says()
    wrong = kit.signet("ca", "ocsp", device["cert"], "--dir", folder, "--ca", "cloud", "--out", tmp_path / "x", check=False)
    assert wrong.returncode == 1 and "was not issued by the CA cloud" in wrong.stderr and not (tmp_path / "x").exists()


def test_what_has_expired_is_not_stapled(stapled, tmp_path):
    must = certs.extension("1.3.6.1.5.5.7.1.24", certs.sequence(certs.integer(5)))
    site = stapled(f"ocsp_stapling_file {tmp_path / 'response.der'}", extra=[must]).run()
    assert site.shown() == "none"
    site.doctor("fault", "demands a stapled OCSP response (must-staple), and none came")
    site.broker.wait_log(r"ALARM: .*response.der: No such file.*must-staple\) they will refuse it")
    mark = site.broker.mark()
    site.put(site.answer(end=6))
    site.broker.wait_log("in order again", mark)
    site.wait_shown("none")


def test_a_responder_is_asked_for_what_is_stapled(stapled):
    responder = None
    try:
        site = stapled()
        responder = Responder(site.ca)
        responder.end = 4
        site.conf += f"ocsp_stapling_responder {responder.url}\n"
        site.run()
        site.wait_shown("good")
        responder.wait_asked(2)
        assert set(responder.asked) == {site.serial}
        site.broker.reload()
        site.wait_shown("good")
        mark = site.broker.mark()
        responder.behave = lambda request: None
        site.broker.wait_log(rf"ALARM: .*OCSP stapling: {responder.url}: the server closed", mark)
        site.wait_shown("none")
        responder.behave = responder.honest
        site.wait_shown("good")
        site.broker.wait_log("in order again", mark)
    finally:
        if responder:
            responder.close()


def test_the_broker_says_what_it_cannot_staple(stapled):
    site = stapled("ocsp_stapling true")
    broker = kit.Broker(site.folder / "second", site.conf, [])
    done = subprocess.run([kit.SIGNET, "broker", "-c", broker.conf], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=kit.PATIENCE)
    assert done.returncode != 0 and "names no responder; say one with ocsp_stapling_responder" in done.stdout + done.stderr
    (site.folder / "server.pem").write_text((site.folder / "server.pem").read_text().split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n")
    lonely = "\n".join(line for line in site.conf.splitlines() if not line.startswith(("cafile", "role_ca", "crlfile", "require_cert", "use_id", "device_ren")))
    broker.conf.write_text(lonely + "\n")
    done = subprocess.run([kit.SIGNET, "broker", "-c", broker.conf], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=kit.PATIENCE)
    assert done.returncode != 0 and "the certificate of its CA is not there" in done.stdout + done.stderr
