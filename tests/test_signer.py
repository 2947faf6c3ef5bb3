"""The signer, asked by somebody who is not control: whatever he sends, nothing outside the profiles comes out, and openssl is the referee."""
import ctypes
import json
import os
import pathlib
import random
import re
import signal
import struct
import subprocess

import pytest

import certs
import kit
import signer_kit as sk

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """For tests that only look."""
    return kit.Pki(tmp_path_factory.mktemp("signer") / "site")


@pytest.fixture
def pki(tmp_path):
    return kit.Pki(tmp_path / "site")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    d = tmp_path_factory.mktemp("keys")
    for name, words in {"ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ed": ["-algorithm", "ED25519"],
                        "p224": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"],
                        "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                        "small": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]}.items():
        certs.openssl("genpkey", *words, "-out", d / f"{name}.key")
    return d


def csr(keys, key="ec", subject="/CN=sensor01", *words, ext=None, digest="-sha256"):
    """A request in DER."""
    config = keys / f"req-{os.getpid()}-{random.randrange(1 << 60)}.conf"
    config.write_text("[req]\ndistinguished_name=dn\nprompt=no\n[dn]\n[x]\n" + "".join(line + "\n" for line in ext or []))
    more = ["-reqexts", "x"] if ext else []
    return certs.openssl("req", "-new", "-key", keys / f"{key}.key", "-subj", subject, "-config", config, "-outform", "DER", digest, *more, *words)


def shown(der):
    return certs.openssl("x509", "-inform", "DER", "-noout", "-text", "-nameopt", "RFC2253", data=der).decode()


def verified(pki, der, ca="client", purpose="sslclient"):
    """openssl's word that the chain holds for that purpose."""
    leaf = pki.dir / f"leaf-{random.randrange(1 << 60)}.pem"
    leaf.write_bytes(certs.openssl("x509", "-inform", "DER", data=der))
    words = ["openssl", "verify", "-x509_strict", "-CAfile", pki.dir / "pki/root/cert.pem", "-untrusted", pki.dir / f"pki/{ca}/cert.pem",
             "-purpose", purpose, leaf]
    result = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    return result.returncode == 0


def issued(answer):
    assert answer.code == sk.OK, answer
    return answer.fields()


def audit(pki):
    return [json.loads(line) for line in (pki.dir / "audit.log").read_text().splitlines()]


# ---- what it makes ----

@pytest.mark.release
def test_a_certificate_by_the_profile(pki, keys):
    with sk.Signer(pki) as signer:
        link = signer.link()
        serial, fingerprint, cn, begin, end, der, notes = issued(link.issue(csr(keys, ext=["subjectAltName=DNS:dev.example,IP:10.1.2.3,email:a@b.c"]),
                                                                            names=["more.example"]))
        text = shown(der)
        assert cn == "sensor01" and "Subject: CN=sensor01\n" in text
        assert "CA:FALSE" in text and "TLS Web Client Authentication" in text and "Digital Signature" in text
        assert "DNS:dev.example, IP Address:10.1.2.3, DNS:more.example" in text and "email" not in text
        assert end - begin == 730 * 86400 + 300 and "another kind" in notes
        assert verified(pki, der) and not verified(pki, der, purpose="sslserver")
        assert serial in text.replace(":", "").replace("\n", "").replace(" ", "")
        server = issued(link.issue(csr(keys, subject="/CN=broker.example"), ca="cloud", cn=None))[5]
        assert verified(pki, server, "cloud", "sslserver") and not verified(pki, server, "cloud", "sslclient")
        # Booked before it came out, in the index that the commands read and in the audit log.
        listed = json.loads(kit.signet("ca", "list", "--dir", pki.dir, "--json").stdout)
        assert any(e["serial"] == serial and e["status"] == "live" for e in listed)
        last = [r for r in audit(pki) if r["action"] == "issue" and r["details"]["serial"] == serial]
        assert len(last) == 1 and last[0]["actor"] == "control/tester" and last[0]["details"]["sha256"] == fingerprint
    # The checkpoints of start and end hold, by the certificate of the CA.
    told = json.loads(kit.signet("audit", "verify", "--dir", pki.dir, "--json").stdout)
    assert told["ok"] and told["checkpoints"] >= 2 and told["checkpoints_not_checked"] == 0 and told["behind_checkpoint"] == 0


def test_cas_and_profiles_are_told(site):
    with sk.Signer(site, "signer_profile client cfree\n") as signer:
        body = signer.link().ask(sk.CAS).body
        told, at = {}, 0
        while at < len(body):
            row = []
            for _ in range(3):
                n = struct.unpack_from(">H", body, at)[0]
                row.append(body[at + 2:at + 2 + n])
                at += 2 + n
            told[row[0].decode()] = (row[1].decode(), row[2])
        assert {k: v[0] for k, v in told.items()} == {"client": "client cfree ocsp", "watch": "client ocsp", "control": "client ocsp", "cloud": "server ocsp",
                                                       "root": ""}
        assert told["watch"][1] == certs.pem_bytes((site.dir / "pki/watch/cert.pem").read_text())


def test_the_profile_of_dojot_and_urls(site, keys):
    with sk.Signer(site, "signer_profile client cfree\ncrl_url http://ca.example/crl/%c.crl\nocsp_url http://ca.example/ocsp\n") as signer:
        link = signer.link()
        der = issued(link.issue(csr(keys, "rsa"), profile="cfree", cn="admin:dev1"))[5]
        text = shown(der)
        usage = text.split("X509v3 Key Usage:")[1].split("\n")
        assert "critical" not in usage[0]
        assert usage[1].strip() == "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment, Key Agreement"
        assert "Extended Key Usage" not in text and "URI:http://ca.example/crl/client.crl" in text and "OCSP - URI:http://ca.example/ocsp" in text
        assert verified(site, der)
        assert link.issue(csr(keys, "ec"), profile="cfree").code == sk.DENIED


def test_who_answers_in_a_cas_name(site, keys):
    with sk.Signer(site, "ocsp_url http://ca.example/ocsp\n") as signer:
        for ca in ("client", "cloud"):
            made = issued(signer.link().issue(csr(keys, subject="/CN=x"), ca=ca, profile="ocsp", cn=None, names=["a.example"], days=3650))
            text = shown(made[5])
            assert made[2] == f"OCSP responder: {ca}" and made[4] - made[3] <= 7 * 86400 + 600
            assert "OCSP Signing" in text and "OCSP No Check" in text and "CA:FALSE" in text and "URI:" not in text and "DNS:" not in text
        # Nobody gets in with it, whatever his name is.
        assert not verified(site, made[5], ca="cloud") and not verified(site, made[5], ca="cloud", purpose="sslserver")


# ---- what it does not make ----

HOSTILE = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "extendedKeyUsage=serverAuth,codeSigning,OCSPSigning",
           "nameConstraints=permitted;DNS:example", "certificatePolicies=1.2.3.4", "subjectAltName=DNS:ok.example", "1.2.3.4.5=ASN1:UTF8String:x"]


def test_wishes_of_a_request_are_not_followed(site, keys):
    with sk.Signer(site) as signer:
        link = signer.link()
        der, notes = issued(link.issue(csr(keys, subject="/O=Evil/OU=x/CN=controller", ext=HOSTILE), cn="harmless"))[5:]
        text = shown(der)
        assert "CA:FALSE" in text and "Certificate Sign" not in text and "Server Authentication" not in text and "OCSP Signing" not in text
        assert "Name Constraints" not in text and "1.2.3.4" not in text and "Subject: CN=harmless\n" in text
        assert "was dropped" in notes and "replaced" in notes
        assert subprocess.run(["openssl", "verify", "-CAfile", site.dir / "pki/root/cert.pem", "-untrusted", site.dir / "pki/client/cert.pem",
                               "-purpose", "crlsign", "/dev/stdin"], input=certs.openssl("x509", "-inform", "DER", data=der)).returncode != 0
        # Nor by its words: a longer life than the profile's, names that are none.
        begin, end = issued(link.issue(csr(keys), days=36500))[3:5]
        assert end - begin == 730 * 86400 + 300
        begin, end = issued(link.issue(csr(keys), days=30))[3:5]
        assert end - begin == 30 * 86400 + 300
        assert "ok.example" not in shown(issued(link.issue(csr(keys, ext=HOSTILE), only_names=True))[5])
        for bad in ("a b", "*.example", "-x", "1.2.3", "x" * 255, "http://x"):
            assert link.issue(csr(keys), names=[bad]).code == sk.INPUT, bad
        for bad in ("", "a/b", "+", "#", "x" * 65, "Signet Client CA", "a\tb", "a\nissued"):
            assert link.issue(csr(keys), cn=bad).code in (sk.INPUT, sk.DENIED), bad


def test_requests_that_are_refused(site, keys):
    """Sizes, digests, curves, signatures: nothing of it gets as far as the CA's key."""
    good = csr(keys)
    broken = good[:-1] + bytes([good[-1] ^ 1])
    renamed = good.replace(b"sensor01", b"sensor02")
    hostile = {"1024": (csr(keys, "small"), "1024 bits"), "16384": (certs.forged_request(16384), "16384 bits"), "2049": (certs.forged_request(2049), "2049 bits"),
               "forged 4096": (certs.forged_request(4096), "signature"), "md5": (csr(keys, "rsa", digest="-md5"), "MD5"),
               "sha1": (csr(keys, "rsa", digest="-sha1"), "SHA1"), "self-signature": (broken, "signature"), "changed": (renamed, "signature"),
               "ed25519": (csr(keys, "ed"), "ED25519"), "p224": (csr(keys, "p224"), "secp224r1"), "nothing": (b"x", "request"),
               "a certificate": (certs.pem_bytes((site.dir / "pki/client/cert.pem").read_text()), "request"),
               "cut": (good[:-5], "request"), "behind": (good + b"\0", "request")}
    with sk.Signer(site) as signer:
        link = signer.link()
        for name, (der, why) in hostile.items():
            answer = link.issue(der)
            assert answer.code in (sk.INPUT, sk.DENIED) and why.lower() in answer.text.lower(), (name, answer)
        # The CA's own key, asked for by who has it on his disk.
        own = certs.openssl("req", "-new", "-key", site.dir / "pki/client/key.pem", "-subj", "/CN=x", "-outform", "DER")
        assert "key of the CA" in link.issue(own).text
        # Profiles that a CA has not, CAs that there are not.
        for words, code in (({"profile": "server"}, sk.MISSING), ({"profile": "ocsp", "cn": "dev"}, sk.DENIED), ({"profile": "cfree"}, sk.MISSING), ({"profile": "ca"}, sk.MISSING),
                            ({"profile": "root"}, sk.MISSING), ({"profile": "clien"}, sk.MISSING), ({"ca": "root"}, sk.DENIED),
                            ({"ca": "root", "profile": "ca"}, sk.DENIED), ({"ca": "nobody"}, sk.MISSING), ({"ca": "../client"}, sk.MISSING),
                            ({"ca": "cloud", "profile": "client"}, sk.MISSING)):
            assert link.issue(good, **words).code == code, words
        assert any(r["action"] == "refuse" for r in audit(site))
        assert link.issue(good).code == sk.OK


def test_the_rate_is_bounded(site, keys):
    request = csr(keys)
    with sk.Signer(site, "signer_rate 1\n") as signer:
        link = signer.link()
        codes = [link.issue(request).code for _ in range(14)]
        assert codes[:10] == [sk.OK] * 10 and sk.LIMIT in codes[10:]
        assert "again" in next(a for a in (link.issue(request) for _ in range(100)) if a.code == sk.LIMIT).text


def test_bytes_that_are_no_request(site, keys):
    """Each truncation of a request, each type, noise: an error each, and the next good one is answered."""
    good = sk.Link.issue_body(csr(keys))
    dice = random.Random(7)
    with sk.Signer(site) as signer:
        link = signer.link()
        for n in range(0, len(good), 3):
            assert link.ask(sk.ISSUE, good[:n]).code == sk.INPUT
        for type_ in (0, 8, 255):
            assert link.ask(type_, good).code == sk.INPUT
        for _ in range(200):
            body = bytearray(good)
            for _ in range(dice.randrange(1, 4)):
                body[dice.randrange(len(body))] = dice.randrange(256)
            answer = link.ask(sk.ISSUE, bytes(body))
            if answer.code == sk.OK:
                assert "CA:FALSE" in shown(answer.fields()[5])
        for _ in range(200):
            assert link.ask(dice.randrange(2, 7), dice.randbytes(dice.randrange(60))).code != sk.OK
        assert link.ask(sk.ISSUE, good + b"\0").code == sk.INPUT
        link.sock.send(bytes(70000))
        assert link.receive()[1].code == sk.INPUT
        link.sock.send(b"\1")
        assert link.receive()[1].code == sk.INPUT
        assert link.issue(csr(keys)).code == sk.OK


# ---- revocation ----

@pytest.mark.release
def test_lists(pki, keys):
    with sk.Signer(pki) as signer:
        link = signer.link()
        serial = issued(link.issue(csr(keys)))[0]
        assert link.revoke(serial, 1).code == sk.OK
        serials = [f"{i:08x}" for i in range(0x10000000, 0x10000000 + 5000)] + [serial]
        answer = link.crl([sk.entry(s, 1 if s == serial else 0) for s in serials], number=42)
        assert answer.code == sk.OK
        path = pki.dir / "list.pem"
        path.write_bytes(certs.openssl("crl", "-inform", "DER", data=answer.body))
        result = subprocess.run(["openssl", "crl", "-in", path, "-noout", "-verify", "-CAfile", pki.dir / "pki/client/cert.pem", "-text"],
                                capture_output=True, text=True)
        assert "verify OK" in result.stderr and result.stdout.count("Serial Number:") == 5001
        assert "CRL Number: \n                42" in result.stdout and "Key Compromise" in result.stdout
        # An empty one; one whose CA there is not; one whose parts were never begun: told once, at the last.
        assert link.crl([], number=43).code == sk.OK
        assert link.crl([sk.entry(s) for s in serials], ca="nobody").code == sk.MISSING
        assert link.crl([], number=0).code == sk.INPUT
        assert link.ask(sk.CRL, bytes([2]) + sk.text("client") + sk.text("t") + struct.pack(">QI", 1, 1)).code == sk.INPUT
        # The commands know what was revoked here, and what is good again.
        assert "revoked" in kit.signet("ca", "list", "--dir", pki.dir, "--json").stdout
        held = issued(link.issue(csr(keys), cn="held"))[0]
        assert link.revoke(held, 6).code == sk.OK and link.revoke(held, -1).code == sk.OK
        assert link.revoke("7fff00ff", 4).code == sk.OK
        state = {e["serial"]: e["status"] for e in json.loads(kit.signet("ca", "list", "--dir", pki.dir, "--json").stdout)}
        assert state[serial] == "revoked" and state[held] == "live" and state["7fff00ff"] == "revoked"
    kit.signet("ca", "revoke", "--ca", "client", "--dir", pki.dir)
    listed = certs.openssl("crl", "-in", pki.dir / "crls/client.pem", "-noout", "-text").decode().lower().replace(":", "")
    assert serial in listed and "7fff00ff" in listed and held not in listed
    actions = [r["action"] for r in audit(pki)]
    assert actions.count("revoke") == 3 and actions.count("release") == 1 and actions.count("crl") == 3


@pytest.mark.release
def test_ocsp(site, keys):
    with sk.Signer(site) as signer:
        link = signer.link()
        ca = site.dir / "pki/client/cert.pem"
        made = {name: issued(link.issue(csr(keys), cn=name)) for name in ("good", "bad", "unknown")}
        for sha256 in (False, True):
            answer = link.ocsp([sk.entry(made["good"][0], -1), sk.entry(made["bad"][0], 1), sk.entry(made["unknown"][0], -2)], sha256=sha256)
            assert answer.code == sk.OK
            (site.dir / "response.der").write_bytes(answer.body)
            for name, word in (("good", "good"), ("bad", "revoked"), ("unknown", "unknown")):
                leaf = site.dir / f"{name}.pem"
                leaf.write_bytes(certs.openssl("x509", "-inform", "DER", data=made[name][5]))
                digest = ["-sha256"] if sha256 else []
                result = subprocess.run(["openssl", "ocsp", *digest, "-issuer", ca, "-cert", leaf, "-respin", site.dir / "response.der", "-no_nonce",
                                         "-CAfile", site.dir / "pki/root/cert.pem", "-verify_other", ca], capture_output=True, text=True)
                assert "Response verify OK" in result.stderr and f"{name}.pem: {word}" in result.stdout, result
        assert link.ocsp([]).code == sk.INPUT
        assert link.ocsp([sk.entry("01", -1)], good_for=8 * 86400).code == sk.INPUT
        assert link.ocsp([sk.entry("01", -1)], nonce=bytes(33)).code == sk.INPUT
        assert link.ocsp([sk.entry("01", -1)] * 65).code == sk.INPUT


def test_records_of_control(pki):
    with sk.Signer(pki) as signer:
        link = signer.link()

        def record(action, details=()):
            return link.ask(sk.LOG, sk.text("boss") + sk.text(action) + sk.text("tenant x") + struct.pack(">H", len(details)) +
                            b"".join(sk.text(k) + sk.text(v) for k, v in details))
        answer = record("tenant-create", [("why", 'a "reason"\n')])
        assert answer.code == sk.OK
        n = struct.unpack_from(">q", answer.body)[0]
        last = audit(pki)[n - 1]
        assert last["hash"].encode() == answer.body[10:] and last["actor"] == "control/boss" and last["details"] == {"why": 'a "reason"\n'}
        # Words of the signer's own, and text that is none.
        for bad in ("issue", "revoke", "checkpoint", "torn"):
            assert record(bad).code == sk.DENIED
        assert record("x" * 65).code == sk.INPUT and record(b"\xff").code == sk.INPUT and record("").code == sk.INPUT
        assert link.ask(sk.CHECKPOINT).code == sk.OK
    kit.signet("audit", "verify", "--dir", pki.dir)


# ---- the process ----

def status(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


@pytest.mark.release
def test_it_has_given_everything_up(site):
    with sk.Signer(site) as signer:
        pid = signer.process.pid
        told = status(pid)
        assert told["Seccomp"].strip() == "2" and told["NoNewPrivs"].strip() == "1" and told["Threads"].strip() in ("1", "2")
        assert re.search(r"^Max core file size +0 +0 ", pathlib.Path(f"/proc/{pid}/limits").read_text(), re.M)
        # A sanitizer answers mlockall() itself.
        if ROOT and kit.BUILD == "release":
            assert int(told["VmLck"].split()[0]) > 4096
        if ROOT:
            assert "0" not in told["Uid"].split() and "0" not in told["Gid"].split() and told["Groups"].strip() == ""
            assert int(told["CapEff"], 16) == 0 and int(told["CapPrm"], 16) == 0
            # Not dumpable: what is its own in /proc is root's.
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0
            opened = sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
            files = [p for p in opened if p.startswith(str(site.dir)) and not p.endswith("signer.log")]
            assert files == sorted([str(site.dir / "audit.log")] + [str(site.dir / f"pki/{ca}/index.txt") for ca in ("client", "cloud", "control", "root", "watch")])


@needs_root
def test_its_own_user_cannot_look_into_it(site):
    libc = ctypes.CDLL(None, use_errno=True)
    with sk.Signer(site) as signer:
        pid = signer.process.pid
        uid = int(status(pid)["Uid"].split()[0])
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            refused = libc.ptrace(16, pid, None, None) == -1 and ctypes.get_errno() == 1  # PTRACE_ATTACH: EPERM
            try:
                open(f"/proc/{pid}/mem", "rb")
                refused = False
            except PermissionError:
                pass
            os._exit(0 if refused else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert signer.process.poll() is None


def test_keys_with_a_passphrase(tmp_path, keys):
    word = tmp_path / "pass"
    word.write_text("open sesame\n")
    pki = kit.Pki.__new__(kit.Pki)
    pki.dir = tmp_path / "site"
    kit.signet("init", "--dir", pki.dir, "--host", "localhost", "--no-api", "--passphrase-file", word)
    with sk.Signer(pki, passphrase="open sesame") as signer:
        assert verified(pki, issued(signer.link().issue(csr(keys)))[5])
    for wrong in ("", "wrong"):
        signer = sk.Signer(pki, passphrase=wrong, expect=False)
        assert signer.stop() == 1
        assert "passphrase" in signer.log() and "open sesame" not in signer.log()


def test_a_key_that_does_not_open_takes_nothing_from_the_others(pki, keys):
    """As after `ca adopt` with another passphrase: the signer starts and says which it leaves out, and control is told of its certificate."""
    other = pki.dir / "pki/cloud/key.pem"
    text = subprocess.run(["openssl", "pkey", "-in", other, "-aes256", "-passout", "pass:another word"], check=True, stdout=subprocess.PIPE).stdout
    other.write_bytes(text)
    for passphrase, why in (("", "no passphrase was given"), ("open sesame", "the passphrase is wrong")):
        with sk.Signer(pki, passphrase=passphrase) as signer:
            link = signer.link()
            assert verified(pki, issued(link.issue(csr(keys)))[5])
            assert link.issue(csr(keys), ca="cloud").code == sk.MISSING
            assert b"cloud" in link.ask(sk.CAS).body
        assert re.search(rf"The key of the CA cloud cannot be used[^\n]*{why}", signer.log()), signer.log()


def test_rsa_cas_and_a_root_that_is_elsewhere(tmp_path, keys):
    pki = kit.Pki(tmp_path / "site", "--key-type", "rsa2048")
    (pki.dir / "pki/root/key.pem").rename(tmp_path / "root.key")
    with sk.Signer(pki) as signer:
        link = signer.link()
        assert verified(pki, issued(link.issue(csr(keys)))[5])
        assert link.crl([], ca="root").code == sk.MISSING
        assert "root is not here" in signer.log()
    kit.signet("audit", "verify", "--dir", pki.dir)


@pytest.mark.release
def test_killed_while_it_signs(pki, keys):
    """SIGKILL with requests on their way: who got a certificate finds it in the index and in the log, which is whole."""
    request = csr(keys)
    got = {}
    for turn in range(3):
        signer = sk.Signer(pki)
        link = signer.link()
        sent = 0
        for i in range(40):
            link.send(sk.ISSUE, sk.Link.issue_body(request, cn=f"d{turn}-{i}"))
            sent += 1
        for _ in range(10 * (turn + 1)):
            fields = issued(link.receive()[1])
            got[fields[0]] = fields[2]
        signer.process.send_signal(signal.SIGKILL)
        signer.process.wait()
        try:
            while True:
                fields = issued(link.receive()[1])
                got[fields[0]] = fields[2]
        except (ConnectionResetError, BrokenPipeError):
            pass
        signer.channel.close()
        kit.signet("audit", "verify", "--dir", pki.dir)
    assert len(got) >= 60
    logged = {r["details"]["serial"]: r["object"] for r in audit(pki) if r["action"] == "issue"}
    listed = {e["serial"]: e["name"] for e in json.loads(kit.signet("ca", "list", "--dir", pki.dir, "--json").stdout)}
    assert got.items() <= logged.items() and got.items() <= listed.items()
    with sk.Signer(pki) as signer:
        assert signer.link().issue(request).code == sk.OK


def test_commands_and_signer_at_once(pki, keys):
    request = csr(keys)
    with sk.Signer(pki) as signer:
        link = signer.link()
        process = subprocess.Popen([kit.SIGNET, "device", "add", "by-command", "--dir", str(pki.dir)], stdout=subprocess.DEVNULL)
        while process.poll() is None:
            assert link.issue(request).code == sk.OK
        assert process.returncode == 0
        # Two who ask at once, and one who goes without a word.
        other = signer.link()
        other.send(sk.ISSUE, sk.Link.issue_body(request))
        other.sock.close()
        assert link.issue(request).code == sk.OK
        assert signer.link().issue(request).code == sk.OK
    kit.signet("audit", "verify", "--dir", pki.dir)
    assert len([r for r in audit(pki) if r["object"] == "by-command"]) == 1


def test_it_ends_with_its_supervisor(site):
    signer = sk.Signer(site)
    signer.channel.close()
    assert signer.process.wait(kit.PATIENCE) == 0
