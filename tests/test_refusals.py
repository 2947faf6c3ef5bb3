"""Each way of being turned away (rows of seed table 3.3 and more): the client learns it as TLS or MQTT can say it, and the broker
writes one line that tells address, certificate, client id, the exact reason and what to do; no two causes share a name."""
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading

import pytest

import certs
import kit
import wire

LINE = re.compile(r"(?:.*: )?Refused (?P<what>.+?) from (?P<peer>\S+) on listener (?P<listener>\S+): (?P<reason>.*) \[(?P<cause>[a-z-]+)\]; "
                  r"client '(?P<client>.*?)', subject '(?P<subject>.*?)', issuer '(?P<issuer>.*?)', serial (?P<serial>\S+)(?:, (?P<tls>[^ ,]+?))?(?:, SNI '(?P<sni>.*?)')?\. "
                  r"Remedy: (?P<remedy>.+)\.$")
ALERTS = {42: "bad certificate", 43: "unsupported certificate", 44: "certificate revoked", 45: "certificate expired",
          46: "certificate unknown", 48: "unknown ca", 70: "protocol version", 116: "certificate required"}


ALIKE = [f"tls{i}" for i in range(10)]


class Control:
    """Asks the broker over its control socket, as `signet why` does."""

    def __init__(self, path):
        self.sock, self.frames = socket.socket(socket.AF_UNIX), wire.Frames()
        self.sock.settimeout(kit.PATIENCE)
        self.sock.connect(str(path))
        self.sock.sendall(wire.connect("asks", 5, keepalive=0) + wire.subscribe("$CONTROL/signet/v1/response", version=5))

    def why(self, about):
        request = json.dumps({"about": about, "count": 512})
        self.sock.sendall(wire.publish("$CONTROL/signet/v1/why", request, version=5))
        while True:
            for kind, _, body in self.frames.feed(self.sock.recv(65536)):
                if kind == wire.PUBLISH:
                    return json.loads(bytes(body)[body.index(b"{"):])["refusals"]


class Site:
    """CAs, certificates, and one broker with a listener for each configuration."""

    def __init__(self, folder):
        self.folder = folder
        self.root = certs.Ca(folder / "root", certs.name((certs.O, "Refusals"), (certs.CN, "Root")))
        self.sub = {n: certs.Ca(folder / n, certs.name((certs.O, "Refusals"), (certs.CN, f"{n} CA")), issuer=self.root)
                    for n in ("client", "control", "cloud", "hidden", "norole", "banned", "stale", "silent")}
        self.gone = certs.Ca(folder / "gone", "Gone CA", issuer=self.root, begin=certs.now() - certs.days(90), end=certs.now() - certs.days(3))
        self.foreign_root = certs.Ca(folder / "foreign-root", certs.name((certs.O, "Elsewhere"), (certs.CN, "Root")))
        self.foreign = certs.Ca(folder / "foreign", certs.name((certs.O, "Elsewhere"), (certs.CN, "CA")), issuer=self.foreign_root)
        self.twin = certs.Ca(folder / "twin", self.sub["client"].subject)
        self.cafile = self.write("ca.pem", *(c.pem for c in (self.root, *self.sub.values(), self.gone) if c is not self.sub["hidden"]))
        self.rootfile = self.write("root.pem", self.root.pem)
        self.revoked = self.leaf("client", "revoked")
        crls = [self.root.crl(self.serial(self.sub["banned"])), self.sub["client"].crl(self.revoked["serial"]),
                self.sub["stale"].crl(last=certs.now() - certs.days(30), until=certs.now() - certs.days(2)),
                *(self.sub[n].crl() for n in ("control", "cloud", "norole", "banned", "hidden")), self.gone.crl()]
        self.crlfile = self.write("crl.pem", *crls)
        self.server = self.server_files("localhost", "DNS:localhost,IP:127.0.0.1")
        elsewhere = self.server_files("rock-4se", "DNS:rock-4se")
        # Refusals are rationed by listener, so there are several alike.
        self.short = tempfile.TemporaryDirectory(prefix="sr-", dir="/tmp")  # a socket's path has few bytes
        os.chmod(self.short.name, 0o755)
        self.control_path, self.control = f"{self.short.name}/c", None
        self.ports = {n: kit.free_port() for n in ("tls", "strict", "root", "named", "plain", "optional", "suites", *ALIKE)}
        parts = ["per_listener_settings true", "tls_handshake_timeout 2", *(["user root"] if os.geteuid() == 0 else []),
                 *(f"role_ca {r} {self.sub[r].file}" for r in ("client", "control", "cloud"))]
        for name, port in self.ports.items():
            files = elsewhere if name == "named" else self.server
            parts += [f"listener {port} 127.0.0.1", "allow_anonymous false", "policy springcore"]
            if name == "plain":
                continue
            parts += [f"cafile {self.rootfile if name == 'root' else self.cafile}", f"certfile {files['cert']}", f"keyfile {files['key']}",
                      f"require_certificate {'false' if name == 'optional' else 'true'}", "use_identity_as_username true"]
            if name != "root":
                parts.append(f"crlfile {self.crlfile}")
            if name == "strict":
                parts.append("tls_version tlsv1.3")
            if name == "suites":
                parts += ["ciphers ECDHE-ECDSA-AES256-GCM-SHA384", "ciphers_tls1.3 TLS_AES_256_GCM_SHA384"]
        parts += [f"listener 0 {self.control_path}", "protocol control"]
        self.broker = kit.Broker(folder / "broker", "\n".join(parts) + "\n", list(self.ports.values()))

    def write(self, name, *texts):
        path = self.folder / name
        path.write_text("".join(texts))
        return path

    @staticmethod
    def serial(ca):
        return int(certs.openssl("x509", "-in", ca.file, "-noout", "-serial").decode().split("=")[1], 16)

    def server_files(self, host, san, **more):
        names = certs.sequence(*(certs.tlv(0x82, n[4:].encode()) if n.startswith("DNS:") else certs.tlv(0x87, socket.inet_aton(n[3:]))
                                 for n in san.split(",")))
        return self.sub["cloud"].leaf(host, chain=[self.sub["cloud"]], usage=(certs.SERVER_AUTH,), extra=[certs.extension("2.5.29.17", names)], **more)

    def leaf(self, ca, subject, chain=(), **more):
        issuer = getattr(self, ca, None) or self.sub[ca]
        return issuer.leaf(subject, chain=chain, trust=self.rootfile, **more)

    def expect(self, mark, cause, peer_port=None):
        """The one refusal since <mark>, which names what there is to name."""
        found = self.broker.wait_log(rf"Refused .*\[{cause}\]", mark)
        lines = [line for line in self.broker.log()[mark:].splitlines() if "Refused " in line]
        if peer_port is not None:
            lines = [line for line in lines if f"127.0.0.1:{peer_port} " in line]
        assert len(lines) == 1, lines
        match = LINE.match(lines[0])
        assert match, found.string
        line = match.groupdict()
        assert line["cause"] == cause
        line["note"] = self.note(line)
        return line

    def note(self, line):
        """What `signet why` knows of the same refusal: all that the line says, and more."""
        self.control = self.control or Control(self.control_path)
        # The newest first: an earlier client can have had the same port.
        note = next(n for n in self.control.why(line["peer"]) if n["address"] == line["peer"] and n["cause"] == line["cause"])
        for key, word in (("text", "reason"), ("remedy", "remedy"), ("what", "what"), ("listener", "listener"), ("client_id", "client"),
                          ("subject", "subject"), ("issuer", "issuer"), ("serial", "serial"), ("tls_version", "tls"), ("sni", "sni")):
            got, want = note[key] or "", "" if line[word] in ("-", None) else line[word]
            # What is kept is bounded; a name of many escapes is cut.
            assert got == want or (len(got) > 250 and want.startswith(got)), (key, note, line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["time"])
        if line["serial"] != "-":
            assert re.fullmatch("[0-9a-f]{64}", note["fingerprint"]) and note["not_before"] < note["not_after"], note
        return note


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    made.broker.start()
    yield made
    assert made.broker.stop() == 0, made.broker.log()[-6000:]


def handshake(port, files, maximum=None, host="localhost", check=True, connect=None, trust=None):
    """(what ended it: "alert …", "closed", "reset", a CONNACK code; the client's port). TLS 1.3 lets the client speak before
    it is judged, so only what it reads tells."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check
    context.load_verify_locations(trust or files["ca"])
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    if files.get("cert"):
        context.load_cert_chain(files["cert"], files["key"])
    if maximum:
        context.maximum_version = maximum
    sock = socket.create_connection(("127.0.0.1", port), timeout=kit.PATIENCE)
    own = sock.getsockname()[1]
    try:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            tls.sendall(connect or wire.connect("someone"))
            answer = tls.recv(4096)
            return (answer[3] if answer[:1] == b"\x20" else "closed"), own
    except ssl.SSLCertVerificationError:
        return "own refusal", own
    except ssl.SSLError as error:
        return ("alert " + error.reason.lower() if error.reason and "ALERT" in error.reason else f"closed {error.reason}"), own
    except (ConnectionError, BrokenPipeError):
        return "reset", own
    finally:
        sock.close()


# ---- certificates ----

def bad_certificates(site):
    """name: (listener, files, cause, the alert that the client reads, a word of the reason)"""
    ago, ahead = certs.now() - certs.days(5), certs.now() + certs.days(5)
    dns = certs.common_name
    rsa1024 = certs.Key(site.folder / "rsa1024.key", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    own = certs.Ca(site.folder / "self", "lonely")
    signer_key = certs.Key(site.folder / "signer.key")
    signer = site.leaf("client", "signer", key=signer_key)
    below = certs.Ca(site.folder / "below", "signer", signer_key, certificate=signer["cert"].read_text())
    deep = certs.Ca(site.folder / "deep", "deep", issuer=below)
    no_authority = {"authority": False}
    return {
        "expired": ("tls", site.leaf("client", "dev", begin=ago - certs.days(9), end=ago), "expired", 45, r"expired 5 days ago"),
        "not yet valid": ("tls", site.leaf("client", "dev", begin=ahead, end=ahead + certs.days(9)), "not-yet-valid", None, r"not valid before"),
        "revoked": ("tls", site.revoked, "revoked", 44, r"was revoked at .*[kK]ey ?[cC]ompromise"),
        "revoked intermediate": ("tls", site.leaf("banned", "dev"), "revoked", 44, r"CA certificate .*banned CA.* revoked"),
        "expired CRL": ("tls", site.leaf("stale", "dev"), "crl-expired", None, r"CRL of CA .*stale CA.* expired at"),
        "no CRL": ("tls", site.leaf("silent", "dev"), "crl-missing", None, r"no CRL of CA .*silent CA"),
        "expired CA": ("tls", site.leaf("gone", "dev"), "expired", 45, r"CA certificate .*Gone CA.* expired"),
        "unknown CA": ("tls", site.leaf("foreign", "dev"), "issuer-unknown", 48, r"issuer .*Elsewhere.* not found"),
        "unknown CA, all sent": ("tls", site.leaf("foreign", "dev", chain=[site.foreign, site.foreign_root]), "issuer-unknown", 48,
                                 r"root that is not trusted"),
        "other CA of the same name": ("tls", site.leaf("twin", "dev"), "issuer-other-key", None, r"another key"),
        "same, and it is sent": ("tls", site.leaf("twin", "dev", chain=[site.twin]), "issuer-other-key", None, r"another key"),
        "same, X.509 v1": ("tls", site.leaf("twin", "dev", version=1, usage=None, **no_authority), "issuer-other-key", None, r"another key"),
        "intermediate missing": ("root", site.leaf("client", "dev"), "intermediate-missing", 48, r"issuer .*client CA.* not found"),
        "subject is the CA's": ("tls", site.leaf("client", site.sub["client"].subject), "subject-is-issuer", None, r"subject equals its issuer"),
        "subject is the root's, v1": ("tls", site.leaf("root", site.root.subject, version=1, usage=None, **no_authority), "subject-is-issuer", None,
                           r"subject equals its issuer"),
        "self-signed": ("tls", {**own.leaf("lonely", trust=site.rootfile, key=own.key), "cert": own.file}, "self-signed", None, r"self-signed"),
        "a server's certificate": ("tls", {**site.server, "ca": site.rootfile}, "wrong-usage", None, r"no clientAuth \(it is a server's\)"),
        "other usage": ("tls", site.leaf("client", "dev", usage=("1.3.6.1.5.5.7.3.4",)), "wrong-usage", None, r"no clientAuth"),
        "may not sign": ("tls", site.leaf("client", "dev", extra=[certs.usage_bits(2)]), "wrong-usage", None, r"no digitalSignature"),
        "a CA as client": ("tls", {"cert": site.sub["client"].file, "key": site.sub["client"].key.path, "ca": site.rootfile}, "is-a-ca", None, r"CA"),
        "issued by a client": ("tls", below.leaf("dev", chain=[below], trust=site.rootfile), "issuer-not-a-ca", None, r"not that of a CA"),
        "issued below a client": ("tls", deep.leaf("dev", chain=[deep, below], trust=site.rootfile), "issuer-not-a-ca", None, r"CA"),
        "RSA 1024": ("tls", site.leaf("client", "dev", key=rsa1024), "weak", None, r"key .* too weak"),
        "no CN": ("tls", site.leaf("client", certs.name((certs.O, "x"))), "bad-common-name", None, r"it is missing"),
        "no subject": ("tls", site.leaf("client", certs.name()), "bad-common-name", None, r"it is missing"),
        "empty CN": ("tls", site.leaf("client", dns("")), "bad-common-name", None, r"empty"),
        "two CNs": ("tls", site.leaf("client", certs.name((certs.CN, "dev1"), (certs.CN, "dev2"))), "bad-common-name", None, r"more than once"),
        "CN with /": ("tls", site.leaf("client", dns("dev1/x")), "bad-common-name", None, r"/"),
        "CN with +": ("tls", site.leaf("client", dns("dev+")), "bad-common-name", None, r"\+"),
        "CN #": ("tls", site.leaf("client", dns("#")), "bad-common-name", None, r"#"),
        "CN with NUL": ("tls", site.leaf("client", dns(b"dev1\0.evil")), "bad-common-name", None, r"control|NUL|U\+0000"),
        "CN with newline": ("tls", site.leaf("client", dns("dev1\nRefused nobody")), "bad-common-name", None, r"control"),
        "CN of 65": ("tls", site.leaf("client", dns("x" * 65)), "bad-common-name", None, r"64"),
        "CN of 65 in UTF-8": ("tls", site.leaf("client", dns("é" * 65)), "bad-common-name", None, r"64"),
        "CN as BMPString": ("tls", site.leaf("client", certs.name((certs.CN, "dev1".encode("utf-16-be"), certs.BMP))), "bad-common-name", None, r"BMP|string|encod"),
        "CN as UniversalString": ("tls", site.leaf("client", certs.name((certs.CN, "dev1".encode("utf-32-be"), certs.UNIVERSAL))), "bad-common-name", None,
                                  r"Universal|string|encod"),
        "CN as T61String": ("tls", site.leaf("client", certs.name((certs.CN, "dev1", certs.TELETEX))), "bad-common-name", None, r"T61|Teletex|string|encod"),
    }


@pytest.fixture(scope="module")
def bad(site):
    return bad_certificates(site)


BAD = ["expired", "not yet valid", "revoked", "revoked intermediate", "expired CRL", "no CRL", "expired CA", "unknown CA", "unknown CA, all sent",
       "other CA of the same name", "same, and it is sent", "same, X.509 v1", "intermediate missing", "subject is the CA's", "subject is the root's, v1", "self-signed",
       "a server's certificate", "other usage", "may not sign", "a CA as client", "issued by a client", "issued below a client", "RSA 1024",
       "no CN", "no subject", "empty CN", "two CNs", "CN with /", "CN with +", "CN #", "CN with NUL", "CN with newline",
       "CN of 65", "CN of 65 in UTF-8", "CN as BMPString", "CN as UniversalString", "CN as T61String"]


def port_for(site, listener, name):
    return site.ports[ALIKE[BAD.index(name) % len(ALIKE)] if listener == "tls" else listener]


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
@pytest.mark.parametrize("name", BAD)
def test_certificate(site, bad, name, maximum):
    listener, files, cause, alert, reason = bad[name]
    port_of = port_for(site, listener, name)
    mark = site.broker.mark()
    ended, port = handshake(port_of, files, maximum)
    assert str(ended).startswith("alert"), f"the client reads no alert: {ended}"
    if alert:
        assert ended.endswith(ALERTS[alert].replace(" ", "_")), ended
    line = site.expect(mark, cause, port)
    assert re.search(reason, line["reason"]), line["reason"]
    assert line["what"] == "TLS handshake" and line["listener"] == f"127.0.0.1:{port_of}"
    assert line["subject"] != "-" and line["issuer"] != "-" and "\n" not in line["subject"]
    note = line["note"]
    assert note["sni"] == "localhost" and note["tls_version"] == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[maximum]
    if "hex" in files and name != "self-signed":
        assert line["serial"].upper().lstrip("0") == files["hex"].lstrip("0")


@pytest.mark.parametrize("name", BAD)
def test_certificate_with_mosquitto(site, bad, name):
    listener, files, cause, _, _ = bad[name]
    mark = site.broker.mark()
    result = kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", port_for(site, listener, name), *kit.tls_words(files), "-i", "dev", "-t", "x", "-m", "y")
    assert result.returncode != 0, result.stdout
    # Debian's OpenSSL does not even load such a key.
    if name != "RSA 1024":
        site.expect(mark, cause)


def test_all_causes_of_certificates_are_there(bad):
    assert set(bad) == set(BAD)


@pytest.mark.parametrize("listener,chain", [("tls", []), ("tls", ["client"]), ("root", ["client"])])
@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def test_leaf_alone_or_with_its_intermediate(site, listener, chain, maximum):
    files = site.leaf("client", "chained", chain=[site.sub[c] for c in chain])
    assert handshake(site.ports[listener], files, maximum, connect=wire.connect("chained"))[0] == 0


@pytest.mark.parametrize("cn,tag", [("dev-1", certs.UTF8), ("dev-1", certs.PRINTABLE), ("dev-1", certs.IA5), ("é" * 32, certs.UTF8), ("x" * 64, certs.UTF8),
                                    ("日本 7", certs.UTF8), (".", certs.UTF8), ("$SYS", certs.UTF8)])
def test_good_common_names(site, cn, tag):
    files = site.leaf("client", certs.name((certs.O, "x"), (certs.CN, cn, tag)))
    assert handshake(site.ports["tls"], files, connect=wire.connect(cn))[0] == 0


# ---- everything else ----

def mosquitto_pub(site, listener, files, *words):
    tls = ["--cafile", files["ca"]] if files and "cert" not in files else kit.tls_words(files) if files else []
    return kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", site.ports[listener], *tls, "-t", "x", "-m", "y", *words).returncode


def raw(port, data):
    with kit.Raw(port) as peer:
        peer.send(data)
        assert len(peer.rest()) < 100
    return 1


def other_key(site):
    """A client that cannot prove that the certificate is its own: OpenSSL refuses to load such a pair, so the certificate that it
    was loaded with is replaced in what `openssl s_client` is given."""
    key = certs.Key(site.folder / "other.key")
    files = site.leaf("client", "dev")
    words = ["openssl", "s_client", "-connect", f"localhost:{site.ports['tls']}", "-CAfile", files["ca"], "-cert", files["cert"], "-key", key.path]
    return subprocess.run(list(map(str, words)), input="", capture_output=True, text=True, timeout=kit.PATIENCE).returncode


def silent(port):
    with kit.Raw(port) as peer:
        assert peer.rest() == b""
    return 1


def bare(site):
    return {"ca": site.rootfile}


def dev(site):
    return site.leaf("client", "dev")


def s_client(site, listener, *words):
    files = dev(site)
    return subprocess.run(["openssl", "s_client", "-connect", f"localhost:{site.ports[listener]}", "-servername", "localhost", "-CAfile",
                           str(files["ca"]), "-cert", str(files["cert"]), "-key", str(files["key"]), *words], input="", capture_output=True, text=True,
                          timeout=kit.PATIENCE).returncode


# (name, cause, what the client does: its exit code must not be 0, a word of the reason, is there a certificate in the line, client id)
OTHERS = [
    ("no certificate", "no-certificate", lambda s: mosquitto_pub(s, "tls", bare(s)), "sent no certificate", False, "-"),
    ("no certificate, TLS 1.2", "no-certificate", lambda s: mosquitto_pub(s, "tls", bare(s), "--tls-version", "tlsv1.2"), "sent no certificate", False, "-"),
    ("our CA is not trusted", "peer-unknown-ca", lambda s: mosquitto_pub(s, "tls", {**dev(s), "ca": s.foreign_root.file}), "alert 48", False, "-"),
    ("host name", "peer-rejects-certificate", lambda s: mosquitto_pub(s, "named", dev(s)), "does not accept the broker's certificate", False, "-"),
    ("our certificate has expired", "peer-says-expired", lambda s: s_client(s, "tls", "-verify_return_error", "-attime", "4102444800"), "alert 45", False,
     "-"),
    ("TLS 1.2 where 1.3 is the minimum", "tls-version", lambda s: s_client(s, "strict", "-tls1_2"), "no TLS version", False, "-"),
    ("TLS 1.1", "tls-version", lambda s: s_client(s, "tls", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "no TLS version", False, "-"),
    ("TLS 1.0", "tls-version", lambda s: s_client(s, "tls", "-tls1", "-cipher", "ALL:@SECLEVEL=0"), "no TLS version", False, "-"),
    ("no common suite", "tls-cipher", lambda s: s_client(s, "suites", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "no cipher suite in common",
     False, "-"),
    ("no common suite, TLS 1.3", "tls-cipher", lambda s: s_client(s, "suites", "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"), "no cipher suite in common",
     False, "-"),
    ("plain MQTT on TLS", "plain-mqtt-on-tls", lambda s: mosquitto_pub(s, "tls", None), "without TLS", False, "-"),
    ("HTTP on TLS", "http-on-tls", lambda s: raw(s.ports["tls"], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP request", False, "-"),
    ("something on TLS", "no-tls-on-tls", lambda s: raw(s.ports["tls"], b"SSH-2.0-OpenSSH_9.2\r\n"), "not TLS", False, "-"),
    ("TLS on plain", "tls-on-plain", lambda s: mosquitto_pub(s, "plain", dev(s)), "without TLS", False, "-"),
    ("nothing for too long", "handshake-timeout", lambda s: silent(s.ports["tls"]), "in time", False, "-"),
    ("anonymous", "anonymous", lambda s: mosquitto_pub(s, "plain", None, "-i", "dev"), "anonymous", False, "dev"),
    ("anonymous with TLS", "anonymous", lambda s: mosquitto_pub(s, "optional", bare(s), "-i", "dev"), "anonymous", False, "dev"),
    ("password", "password", lambda s: mosquitto_pub(s, "plain", None, "-i", "dev", "-u", "dev", "-P", "top-secret"), "user name", False, "dev"),
    ("client id", "client-id", lambda s: mosquitto_pub(s, "tls", dev(s), "-i", "dev1"), "client id must equal", True, "dev1"),
    ("client id in capitals", "client-id", lambda s: mosquitto_pub(s, "tls", dev(s), "-i", "DEV"), "client id must equal", True, "DEV"),
    ("CA without role", "role", lambda s: mosquitto_pub(s, "tls", s.leaf("norole", "dev"), "-i", "dev"), "issuer has no role", True, "dev"),
    ("cloud", "policy", lambda s: mosquitto_pub(s, "tls", s.leaf("cloud", "dev"), "-i", "dev"), "cloud role", True, "dev"),
    ("will", "will", lambda s: mosquitto_pub(s, "tls", dev(s), "-i", "dev", "--will-topic", "elsewhere", "--will-payload", "x"), "outside what role client", True,
     "dev"),
    ("will, MQTT 5", "will", lambda s: mosquitto_pub(s, "tls", dev(s), "-i", "dev", "-V", "5", "--will-topic", "elsewhere", "--will-payload", "x"),
     "outside what role client", True, "dev"),
    ("MQTT version", "mqtt-version", lambda s: raw(s.ports["plain"], b"\x10\x0e\0\4MQTT\x09\2\0\x3c\0\2ab"), "version", False, "ab|-"),
    ("not MQTT", "protocol", lambda s: raw(s.ports["plain"], b"\x30\x05\0\3abc"), "", False, "-"),
]


@pytest.mark.parametrize("name,cause,act,reason,certificate,client", OTHERS, ids=[o[0] for o in OTHERS])
def test_refusal(site, name, cause, act, reason, certificate, client):
    mark = site.broker.mark()
    assert act(site) != 0
    line = site.expect(mark, cause)
    assert reason in line["reason"], line
    assert re.fullmatch(r"127\.0\.0\.1:\d+", line["peer"])
    assert re.fullmatch(client, line["client"])
    for word in ("subject", "issuer", "serial"):
        assert (line[word] != "-") == certificate, line
    assert "top-secret" not in site.broker.log()
    note = line["note"]
    alert = re.search(r"alert (\d+)", line["reason"])
    sent = {"no-certificate": 116, "tls-version": 70, "tls-cipher": 40}.get(cause)
    assert note["tls_alert"] == (int(alert[1]) if alert and line["what"] == "TLS handshake" else sent)
    # Whoever has begun a handshake has said whom he calls, whatever became of it.
    shakes = cause not in ("plain-mqtt-on-tls", "http-on-tls", "no-tls-on-tls", "tls-on-plain", "handshake-timeout")
    shakes = shakes and not line["listener"].endswith(str(site.ports["plain"]))
    assert note["sni"] == ("localhost" if shakes else None), note
    if line["what"] == "TLS handshake" and note["tls_version"] is not None:
        assert re.fullmatch(r"TLSv1(\.[123])?", note["tls_version"])


def test_causes_are_distinct(site, bad):
    """Each thing that somebody can repair has a name, a sentence and a remedy of its own."""
    wanted = {c.split("|")[0] for _, _, c, _, _ in bad.values()} | {o[1] for o in OTHERS}
    assert len(wanted) >= 28
    seen = {}
    for name, (listener, files, cause, _, _) in bad.items():
        mark = site.broker.mark()
        _, port = handshake(port_for(site, listener, name), files)
        line = site.expect(mark, cause, port)
        seen.setdefault(line["cause"], []).append(re.sub(r"'.*?'|\d+|CN=\S+", "", line["reason"]))
    # No sentence under two causes.
    texts = [(text, cause) for cause, all_of in seen.items() for text in set(all_of)]
    assert len({t for t, _ in texts}) == len(texts)


def test_key_mismatch(site):
    """A client whose key is another than its certificate's. OpenSSL's own programs notice it themselves, so the signature is
    spoilt here on its way: a proxy flips a bit of the last TLS 1.2 handshake record before ChangeCipherSpec (CertificateVerify)."""
    mark = site.broker.mark()
    assert other_key(site) != 0
    files = dev(site)
    listening = socket.create_server(("127.0.0.1", 0))
    proxy = threading.Thread(target=spoil_certificate_verify, args=(listening, site.ports["tls"]), daemon=True)
    proxy.start()
    ended, _ = handshake(listening.getsockname()[1], files, ssl.TLSVersion.TLSv1_2)
    assert ended != 0
    proxy.join(kit.PATIENCE)
    listening.close()
    line = site.broker.wait_log(r"Refused TLS handshake .*\[key-mismatch\].*", mark)
    assert LINE.match(line.string)


def spoil_certificate_verify(listening, port):
    """RFC 5246 7.4.8: the handshake message of type 15."""
    client, _ = listening.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as broker:
        threading.Thread(target=pump, args=(broker, client), daemon=True).start()
        data = b""
        while more := client.recv(65536):
            data += more
            while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big"):
                n = 5 + int.from_bytes(data[3:5], "big")
                record, data = bytearray(data[:n]), data[n:]
                at = 5
                while record[0] == 22 and at + 4 <= n:
                    length = 4 + int.from_bytes(record[at + 1:at + 4], "big")
                    if record[at] == 15:
                        record[at + length - 1] ^= 1
                    at += length
                try:
                    broker.sendall(record)
                except OSError:
                    return


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_refused_publish_and_subscribe_are_lines(site):
    files = dev(site)
    mark = site.broker.mark()
    with wire.Peer(site.ports["tls"], "dev", 5, files=files) as peer:
        peer.publish("elsewhere/x", "y", qos=1)
        assert peer.subscribe("#") == [0x87]
    for what, cause in (("PUBLISH to 'elsewhere/x'", "publish"), ("SUBSCRIBE to '#'", "subscribe")):
        line = LINE.match(site.broker.wait_log(rf"Refused {re.escape(what)} .*\[{cause}\].*", mark).string).groupdict()
        assert line["client"] == "dev" and line["serial"].upper() == files["hex"] and "CN=dev" in line["subject"] and "client CA" in line["issuer"]
        assert line["sni"] == "localhost" and line["tls"] == "TLSv1.3"


def test_a_flood_of_refusals_is_rationed(site):
    files = dev(site)
    mark = site.broker.mark()
    with wire.Peer(site.ports["strict"], "dev", 5, files=files) as peer:
        for i in range(500):
            peer.publish("elsewhere", str(i), qos=0)
        peer.fence()
        # Somebody else is not drowned, and the count is said.
        assert site.broker.log()[mark:].count("[publish]") < 100
    site.broker.wait_log(r"Refusals on listener \S+: [1-9]\d* similar suppressed", mark, seconds=kit.PATIENCE)


def test_probe_is_no_refusal(site):
    mark = site.broker.mark()
    for _ in range(3):
        socket.create_connection(("127.0.0.1", site.ports["tls"])).close()
    assert handshake(site.ports["tls"], dev(site), connect=wire.connect("dev"))[0] == 0
    assert "Refused" not in site.broker.log()[mark:]


def test_one_refusal_harms_nobody_else(site, bad):
    """One expired certificate (and all the others that are bad) beside a client that stays connected [W5]."""
    with wire.Peer(site.ports["tls"], "steady", 4, files=site.leaf("client", "steady")) as steady:
        for name, (listener, files, *_) in bad.items():
            handshake(port_for(site, listener, name), files)
        steady.fence()
        assert handshake(site.ports["tls"], site.leaf("client", "late"), connect=wire.connect("late"))[0] == 0
        assert not steady.closed


# ---- the checklist ----

@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def test_with_and_without_sni(site, maximum):
    for host in ("localhost", None):
        assert handshake(site.ports["tls"], dev(site), maximum, host=host, check=False, connect=wire.connect("dev"))[0] == 0
        mark = site.broker.mark()
        handshake(site.ports["tls"], site.revoked, maximum, host=host, check=False)
        assert site.expect(mark, "revoked")["note"]["sni"] == host


def test_an_optional_certificate_is_judged(site, bad):
    """It is not passed over where none is demanded."""
    for name, cause in (("expired", "expired"), ("revoked", "revoked"), ("unknown CA", "issuer-unknown")):
        mark = site.broker.mark()
        ended, port = handshake(site.ports["optional"], bad[name][1])
        assert str(ended).startswith("alert"), ended
        site.expect(mark, cause, port)


def test_refusals_after_the_handshake_have_their_dates(site):
    mark = site.broker.mark()
    assert mosquitto_pub(site, "tls", dev(site), "-i", "other-id") != 0
    note = site.expect(mark, "client-id")["note"]
    assert note["not_before"] < note["time"] < note["not_after"] and note["subject"] == "CN=dev"


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def test_refusals_of_connect_tell_of_tls(site, maximum):
    """What a CONNECT was refused for, a will, or none that came: with the version and the name that the handshake had."""
    connects = {"client-id": wire.connect("other-id"), "will": wire.connect("dev", will=("elsewhere", b"x", 0, False, b"")), "protocol": b"\x30\x02\x00\x00"}
    for host in ("localhost", None):
        for cause, connect in connects.items():
            mark = site.broker.mark()
            _, port = handshake(site.ports["tls"], dev(site), maximum, host=host, check=False, connect=connect)
            note = site.expect(mark, cause, port)["note"]
            assert note["sni"] == host and note["tls_version"] == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[maximum], note


@pytest.mark.parametrize("names", [[f"B{i}" for i in range(1, 24)], [*(f"E{i}" for i in range(1, 12)), "EST", "OCSP", "CRL", "own"]], ids=["B", "E"])
def test_the_checklist_names_tests_that_exist(names):
    here = os.path.dirname(os.path.abspath(__file__))
    with open(f"{here}/CHECKLIST-{names[0][0]}.md", encoding="utf-8") as f:
        rows = [line.strip().strip("|").split(" | ") for line in f if line.startswith("| ") and not line.startswith("| Row")]
    assert [row[0].strip() for row in rows] == names
    for row in rows:
        assert len(row) == 3, row
        for name in (name.strip() for name in row[2].split(",")):
            if name.startswith("open: "):
                continue
            file, function = name.split("::")
            with open(f"{here}/../{file}", encoding="utf-8") as f:
                text = f.read()
            pattern = rf"^def {function}\(" if file.endswith(".py") else rf"^{function}\(void \*\*state\)"
            assert re.search(pattern, text, re.M), name
