"""The certificate authority from outside: what openssl says of what it makes, what it refuses, and that a failure in the middle
leaves nothing behind. (test_pki_commands.py has the commands' words and exit codes.)"""
import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

import pytest

import certs
import kit
import wire

ROOT = os.geteuid() == 0
ROLES = ("cloud", "client", "watch", "control")
_numbers = itertools.count()


def text_of(path, kind="x509"):
    return certs.openssl(kind, "-in", path, "-noout", "-text").decode()


def field(path, name):
    return certs.openssl("x509", "-in", path, "-noout", f"-{name}").decode().strip().split("=", 1)[1]


def verify(root, chain, leaf, *words):
    result = subprocess.run(["openssl", "verify", "-x509_strict", *words, "-CAfile", str(root), "-untrusted", str(chain), str(leaf)],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def tree(folder):
    return {str(p.relative_to(folder)): (stat.S_IMODE(p.lstat().st_mode), p.read_bytes() if p.is_file() else None) for p in folder.rglob("*")}


@pytest.fixture
def fresh():
    """A name that nobody has yet."""
    return f"dev{next(_numbers)}-{os.getpid()}"


def csr_of(folder, subject, *options, key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"), digest="-sha256"):
    path = folder / f"{next(_numbers)}.csr"
    words = ["openssl", "req", "-new", *key, "-nodes", "-keyout", str(path.with_suffix(".key")), "-subj", subject, digest, "-out", str(path), *options]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return path


def sign(pki, csr, *words, ca="client", check=False):
    return kit.signet("ca", "sign", "--dir", pki.dir, "--ca", ca, "--csr", csr, *words, check=check)


# ---- what init makes ----

def test_modes_whatever_the_umask(tmp_path):
    """Keys 0600, folders 0700; also with umask 0."""
    place = tmp_path / "x"
    script = f"umask 0; exec '{kit.SIGNET}' init --dir '{place}' --host localhost --no-passphrase"
    subprocess.run(["bash", "-c", script], check=True, capture_output=True)
    subprocess.run(["bash", "-c", f"umask 0; exec '{kit.SIGNET}' device add d --dir '{place}'"], check=True, capture_output=True)
    keys = 0
    for path in place.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.name.endswith("key.pem"):
            keys += 1
            assert mode == 0o600, path
        elif path.is_dir() and path.relative_to(place).parts[0] == "pki":
            assert mode == 0o700, path
        elif path.is_dir() and path.parent.name == "clients":
            assert mode == 0o700, path
        assert mode & 0o022 == 0, f"{path} can be changed by others ({mode:o})"
    assert keys == 5 + 1 + 3


def test_hierarchy(pki):
    """[A1 A3 A4] Root, four role CAs, the broker's certificate: as openssl sees them."""
    root = pki.dir / "pki/root/cert.pem"
    shown = text_of(root)
    assert "Version: 3" in shown and field(root, "subject") == field(root, "issuer")
    for part in (r"Basic Constraints: critical\s+CA:TRUE\n", r"Key Usage: critical\s+Certificate Sign, CRL Sign", r"Subject Key Identifier"):
        assert re.search(part, shown), part
    verify(root, root, root)
    for role in ROLES:
        ca = pki.dir / "pki" / role / "cert.pem"
        shown = text_of(ca)
        for part in (r"Basic Constraints: critical\s+CA:TRUE, pathlen:0", r"Key Usage: critical\s+Certificate Sign, CRL Sign", r"Subject Key Identifier",
                     r"Authority Key Identifier"):
            assert re.search(part, shown), (role, part)
        assert field(ca, "issuer") == field(root, "subject") and role.capitalize() in field(ca, "subject")
        verify(root, ca, ca)
    broker = pki.dir / "pki/broker/cert.pem"
    shown = text_of(broker)
    for part in (r"Subject: CN = localhost", r"DNS:localhost, IP Address:127.0.0.1", r"Extended Key Usage: *\n *TLS Web Server Authentication\n",
                 r"Basic Constraints: critical\s+CA:FALSE"):
        assert re.search(part, shown), part
    assert "Client Authentication" not in shown
    verify(root, broker, broker, "-purpose", "sslserver", "-verify_hostname", "localhost")
    verify(root, broker, broker, "-purpose", "sslserver", "-verify_ip", "127.0.0.1")


def test_clients(pki, fresh):
    """[A5 A11] clientAuth only, key usage not critical; a device's folder has its own key, its chain and the root, nothing of a CA."""
    for ca, name in (("client", fresh), ("watch", fresh + "w"), ("control", fresh + "c")):
        files = pki.device(name) if ca == "client" else pki.issue(ca, name)
        shown = text_of(files["cert"])
        assert f"Subject: CN = {name}\n" in shown
        assert re.search(r"Extended Key Usage: *\n *TLS Web Client Authentication\n", shown) and re.search(r"Key Usage: *\n *Digital Signature\n", shown)
        verify(files["ca"], files["cert"], files["cert"], "-purpose", "sslclient")
        folder = files["cert"].parent
        assert {p.name for p in folder.iterdir()} == {"key.pem", "cert.pem", "ca.pem", "commands.txt"}
        own = certs.openssl("pkey", "-in", files["key"], "-pubout")
        assert own == certs.openssl("x509", "-in", files["cert"], "-noout", "-pubkey")
        secret = [p.read_bytes() for p in pki.dir.rglob("pki/*/key.pem")]
        assert files["key"].read_text().count("PRIVATE KEY-----") == 2
        assert all(s not in p.read_bytes() for p in folder.iterdir() for s in secret)
        assert files["ca"].read_text() == (pki.dir / "pki/root/cert.pem").read_text()


def test_a_leaf_signs_nothing(pki, tmp_path, fresh):
    files = pki.device(fresh)
    below = certs.Ca(tmp_path / "below", fresh, certs.Key(files["key"]), certificate=certs.pem("CERTIFICATE", certs.pem_bytes(files["cert"].read_text())))
    leaf = below.leaf("dev1", chain=[below])
    result = subprocess.run(["openssl", "verify", "-CAfile", pki.dir / "pki/ca.pem", "-untrusted", leaf["cert"], leaf["cert"]], capture_output=True)
    assert result.returncode != 0


@pytest.mark.parametrize("kind,says", [("p256", "prime256v1"), ("p384", "secp384r1"), ("p521", "secp521r1"), ("rsa2048", "2048 bit"), ("rsa3072", "3072 bit")])
def test_key_types(pki, broker, fresh, kind, says):
    """[A8 A9] Each connects."""
    kit.signet("device", "add", fresh, "--dir", pki.dir, "--key-type", kind)
    files = pki.files(fresh)
    shown = text_of(files["cert"])
    assert says in shown
    assert "ecdsa-with-SHA256" in shown
    wire.Peer(broker.port, fresh, files=files).close()


def test_rsa_installation(tmp_path):
    pki = kit.Pki(tmp_path / "rsa", "--key-type", "rsa2048")
    pki.device("dev")
    for path in (pki.dir / "pki/root/cert.pem", pki.dir / "pki/broker/cert.pem", pki.files("watcher")["cert"], pki.files("dev")["cert"]):
        shown = text_of(path)
        assert "sha256WithRSAEncryption" in shown
    assert "Digital Signature, Key Encipherment" in text_of(pki.dir / "pki/broker/cert.pem")
    verify(pki.files("watcher")["ca"], pki.files("watcher")["cert"], pki.files("watcher")["cert"], "-purpose", "sslclient")


# ---- nothing is overwritten, nothing half-made stays ----

@pytest.mark.parametrize("there", ["signet.conf", "pki/root/key.pem", "pki/broker/cert.pem", "clients/watcher/key.pem"])
def test_init_overwrites_nothing(tmp_path, there):
    place = tmp_path / "x"
    (place / there).parent.mkdir(parents=True)
    (place / there).write_text("mine\n")
    before = tree(place)
    result = kit.signet("init", "--dir", place, "--host", "localhost", "--no-passphrase", check=False)
    assert result.returncode == 1 and result.stderr
    assert tree(place) == before


@pytest.mark.parametrize("limit", [0, 100, 300, 700, 1500, 3000])
@pytest.mark.parametrize("command", ["init", "device", "sign", "conf"])
def test_full_disk_leaves_nothing(pki, tmp_path, command, limit):
    """A file may not grow beyond a limit, as on a full disk: an error that names the file, exit code 1, nothing new and nothing changed."""
    place = tmp_path / "x"
    if command == "init":
        words = ["init", "--dir", place, "--host", "localhost", "--no-passphrase"]
    else:
        shutil.copytree(pki.dir, place)
        extra = certs.Ca(tmp_path / "extra", "Extra")
        words = {"device": ["device", "add", "full", "--dir", place],
                 "sign": ["ca", "sign", "--dir", place, "--ca", "client", "--csr", csr_of(tmp_path, "/CN=full"), "--out", tmp_path / "out.pem"],
                 "conf": ["ca", "trust", "--dir", place, "--role", "watch", "--name", "extra", extra.file]}[command]
    before = tree(tmp_path)
    result = subprocess.run(["prlimit", f"--fsize={limit}", kit.SIGNET, *map(str, words)], capture_output=True, text=True, restore_signals=False, timeout=60)
    after = tree(tmp_path)
    if result.returncode == 0:
        assert limit >= 700 and command != "init"
        return
    assert result.returncode == 1 and "File too large" in result.stderr, result.stderr
    # The index says what was made and not delivered; two folders may have been made that are empty but for that.
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert all(re.search(r"/(index\.txt|certs|certs/[0-9a-f]+\.pem|pki/trusted)$", p) for p in changed), changed
    listed = kit.signet("ca", "list", "--dir", place, "--json", check=False)
    assert command == "init" or not [e for e in json.loads(listed.stdout) if e["name"] == "full" and e["status"] == "live"]
    assert command != "init" or not place.exists()


@pytest.mark.skipif(not ROOT, reason="root makes what another user cannot write to")
def test_folder_that_may_not_be_written(pki):
    place = pathlib.Path(tempfile.mkdtemp(prefix="signet-test-"))
    try:
        place.chmod(0o755)
        shutil.copy(kit.SIGNET, place / "signet")
        (place / "signet").chmod(0o755)
        for words in (["init", "--dir", str(place / "x"), "--host", "h", "--no-passphrase"], ["init", "--dir", str(place), "--host", "h", "--no-passphrase"]):
            result = subprocess.run([place / "signet", *words], capture_output=True, text=True, user="nobody", timeout=60)
            assert result.returncode == 1 and "Permission denied" in result.stderr and str(place) in result.stderr
            assert [p.name for p in place.iterdir()] == ["signet"]
    finally:
        shutil.rmtree(place)


# ---- CSRs ----

# (subject, what is asked for, what the certificate must not have)
ATTACKS = [
    ("CA:TRUE", ["-addext", "basicConstraints=critical,CA:TRUE"], r"CA:TRUE"),
    ("pathlen", ["-addext", "basicConstraints=CA:TRUE,pathlen:5"], r"CA:TRUE|pathlen"),
    ("keyCertSign", ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"], r"Certificate Sign|CRL Sign|Key Usage: critical"),
    ("serverAuth", ["-addext", "extendedKeyUsage=serverAuth,clientAuth"], r"Web Server"),
    ("any usage", ["-addext", "extendedKeyUsage=anyExtendedKeyUsage,codeSigning,OCSPSigning"], r"Any Extended|Code Signing|OCSP Signing"),
    ("no usage", ["-addext", "keyUsage=keyEncipherment"], r"Usage: *\n *Key Encipherment"),
    ("name constraints", ["-addext", "nameConstraints=permitted;DNS:x"], r"Name Constraints"),
    ("policies", ["-addext", "certificatePolicies=1.2.3.4"], r"Policies"),
    ("CDP", ["-addext", "crlDistributionPoints=URI:http://evil/"], r"evil"),
    ("AIA", ["-addext", "authorityInfoAccess=OCSP;URI:http://evil/"], r"evil"),
    ("own SKI", ["-addext", "subjectKeyIdentifier=DEADBEEF"], r"DE:AD:BE:EF"),
    ("e-mail and URI", ["-addext", "subjectAltName=email:boss@evil,URI:urn:evil,DNS:good.example"], r"evil"),
    ("unknown extension", ["-addext", "1.2.3.4.5=critical,ASN1:UTF8String:evil"], r"evil|1\.2\.3\.4\.5"),
    ("TLS feature", ["-addext", "tlsfeature=status_request"], r"status_request|TLS Feature"),
]


@pytest.mark.parametrize("name,options,never", ATTACKS, ids=[a[0] for a in ATTACKS])
def test_what_a_csr_asks_for_is_dropped(pki, tmp_path, fresh, name, options, never):
    """[A10 A12] The profile decides; only host names and addresses are kept. Other parts of the subject are dropped, too."""
    result = sign(pki, csr_of(tmp_path, f"/O=Evil/OU=Control/CN={fresh}/serialNumber=7", *options))
    assert result.returncode == 0, result.stderr
    path = tmp_path / "out.pem"
    path.write_text(result.stdout)
    shown = text_of(path)
    assert not re.search(never, shown) and f"Subject: CN = {fresh}\n" in shown
    for part in (r"CA:FALSE", r"Key Usage: *\n *Digital Signature\n", r"Extended Key Usage: *\n *TLS Web Client Authentication\n"):
        assert re.search(part, shown), part
    assert "dropped" in result.stderr or name == "own SKI"
    verify(pki.dir / "pki/root/cert.pem", path, path, "-purpose", "sslclient")


def test_names_and_addresses_of_a_csr_are_kept(pki, tmp_path, fresh):
    result = sign(pki, csr_of(tmp_path, f"/CN={fresh}", "-addext", "subjectAltName=DNS:a.example,DNS:b,IP:192.0.2.7,IP:2001:db8::1"), check=True)
    path = tmp_path / "out.pem"
    path.write_text(result.stdout)
    assert "DNS:a.example, DNS:b, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:1" in text_of(path)


@pytest.mark.parametrize("ca", ["client", "watch", "control"])
def test_the_name_is_the_operators(pki, tmp_path, fresh, ca):
    result = sign(pki, csr_of(tmp_path, "/CN=controller"), "--name", fresh, ca=ca, check=True)
    path = tmp_path / "out.pem"
    path.write_text(result.stdout)
    assert field(path, "subject").replace(" ", "") == f"CN={fresh}"


REFUSED = [
    ("RSA 1024", "/CN=weak", (), {"key": ("-newkey", "rsa:1024")}, r"1024|2048"),
    ("RSA 2052", "/CN=odd", (), {"key": ("-newkey", "rsa:2052")}, r"2052 bits; .*multiple of 8"),
    ("P-224", "/CN=curve", (), {"key": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1")}, r"P-256|curve"),
    ("secp256k1", "/CN=curve", (), {"key": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1")}, r"P-256|curve"),
    ("Ed25519", "/CN=ed", (), {"key": ("-newkey", "ed25519"), "digest": "-sha512"}, r"(?i)ed25519"),
    ("SHA-1", "/CN=sha1", (), {"digest": "-sha1"}, r"SHA-?1"),
    ("MD5", "/CN=md5", (), {"key": ("-newkey", "rsa:2048"), "digest": "-md5"}, r"MD5"),
    ("no CN", "/O=nobody", (), {}, r"it is missing"),
    ("two CNs", "/CN=a/CN=b", (), {}, r"more than once"),
    ("slash", "/CN=a\\/b", (), {}, r"contains '/'"),
    ("plus", "/CN=a\\+b", (), {}, r"contains '\+'"),
    ("hash", "/CN=a#", (), {}, r"'#'"),
    ("dot", "/CN=..", (), {}, r"\."),
    ("the CA's name", None, (), {}, r"CA"),
]


@pytest.mark.parametrize("name,subject,options,more,says", REFUSED, ids=[r[0] for r in REFUSED])
def test_csrs_that_are_refused(pki, tmp_path, name, subject, options, more, says):
    if subject is None:
        full = field(pki.dir / "pki/client/cert.pem", "subject")
        subject = "/CN=" + re.search(r"CN ?= ?([^,]+)", full).group(1)
    result = sign(pki, csr_of(tmp_path, subject, *options, **more), "--out", tmp_path / "out.pem")
    assert result.returncode == 1 and re.search(says, result.stderr), result.stderr
    assert not (tmp_path / "out.pem").exists() and result.stdout == ""


def test_csr_whose_signature_is_another(pki, tmp_path):
    path = csr_of(tmp_path, "/CN=forged")
    der = bytearray(certs.pem_bytes(path.read_text()))
    for at, says in ((-1, r"signature"), (der.index(b"forged"), r"signature")):
        broken = bytearray(der)
        broken[at] ^= 1
        path.write_bytes(bytes(broken))
        result = sign(pki, path)
        assert result.returncode == 1 and re.search(says, result.stderr), result.stderr
    for cut in (1, 10, len(der) // 2, len(der) - 1):
        path.write_bytes(bytes(der[:cut]))
        assert sign(pki, path).returncode == 1
    for content in (b"", b"hello", certs.shared_key().path.read_bytes(), (pki.dir / "pki/root/cert.pem").read_bytes(), os.urandom(5000)):
        path.write_bytes(content)
        result = sign(pki, path)
        assert result.returncode == 1 and str(path) in result.stderr
    # DER is as good as PEM.
    path.write_bytes(bytes(der))
    assert sign(pki, path).returncode == 0


def test_the_cas_own_key_is_not_signed(pki, tmp_path):
    csr = csr_of(tmp_path, "/CN=trick", key=("-key", str(pki.dir / "pki/client/key.pem")))
    assert sign(pki, csr).returncode == 1


def test_a_live_name_is_issued_once(pki, tmp_path, fresh):
    """[A5] Twice only with --reissue; names differ by letters as they are."""
    assert sign(pki, csr_of(tmp_path, f"/CN={fresh}")).returncode == 0
    again = sign(pki, csr_of(tmp_path, f"/CN={fresh}"))
    assert again.returncode == 1 and "--reissue" in again.stderr
    assert kit.signet("device", "add", fresh, "--dir", pki.dir, check=False).returncode == 1
    assert sign(pki, csr_of(tmp_path, f"/CN={fresh}"), "--reissue").returncode == 0
    assert sign(pki, csr_of(tmp_path, f"/CN={fresh.upper()}")).returncode == 0
    assert sign(pki, csr_of(tmp_path, f"/CN={fresh}"), ca="watch").returncode == 0


# ---- serial numbers, validity ----

def test_serials_in_parallel(pki):
    """[A30] Twenty at once: 128 random bits each, positive, all in the index, none twice."""
    names = [f"par{i}-{os.getpid()}" for i in range(20)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(pki.device, names))
    serials = [field(pki.files(n)["cert"], "serial") for n in names]
    assert len(set(serials)) == 20
    numbers = [int(s, 16) for s in serials]
    assert all(n > 0 and len(s) <= 34 for n, s in zip(numbers, serials))
    # Random to the last bit: each of the lower 120 bits is set in some and not in others (2**-19 by chance, each).
    assert sum(1 for bit in range(120) if len({n >> bit & 1 for n in numbers}) == 1) < 3
    listed = {e["name"]: e["serial"].upper().lstrip("0") for e in json.loads(kit.signet("ca", "list", "--json", "--dir", pki.dir).stdout)}
    assert all(listed[n] == s.lstrip("0") for n, s in zip(names, serials))


def adopt_made(pki, folder, days, *options, begin=None):
    """An RSA CA made with openssl, adopted; its name."""
    name = f"ca{next(_numbers)}-{os.getpid()}"
    certs.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "k.key", "-out", folder / "c.crt", "-days", days, "-subj", f"/CN=CA {name}")
    return name, kit.signet("ca", "adopt", "--dir", pki.dir, "--name", name, "--key", folder / "k.key", "--cert", folder / "c.crt", "--no-passphrase", *options,
                            check=False)


def test_validity_never_beyond_the_cas(pki, tmp_path, fresh):
    """[A13]"""
    name, result = adopt_made(pki, tmp_path, 650)
    assert result.returncode == 0, result.stderr
    leaf = pki.issue(name, fresh)["cert"]
    assert field(leaf, "enddate") == field(tmp_path / "c.crt", "enddate")
    short = tmp_path / "short"
    kit.signet("ca", "issue", "--dir", pki.dir, "--ca", name, "--days", "5", "--out", short, fresh + "s")
    assert certs.openssl("x509", "-in", short / "cert.pem", "-noout", "-checkend", str(4 * 86400))
    assert subprocess.run(["openssl", "x509", "-in", short / "cert.pem", "-noout", "-checkend", str(6 * 86400)], capture_output=True).returncode == 1


def test_an_expired_ca_issues_nothing(pki, tmp_path):
    late = certs.Ca(tmp_path / "late", f"Late {os.getpid()}", begin=certs.now() - certs.days(9), end=certs.now() - certs.days(1))
    result = kit.signet("ca", "adopt", "--dir", pki.dir, "--name", "late", "--key", late.key.path, "--cert", late.file, "--no-passphrase", check=False)
    if result.returncode == 0:
        result = kit.signet("ca", "issue", "--dir", pki.dir, "--ca", "late", "x", check=False)
    assert result.returncode == 1 and "expired" in result.stderr


# ---- other CAs ----

def test_adopting_the_articles_ca(tmp_path, broker_of):
    """[A32 A7] What it issued stays good, what it issues now too; both with the role that was given."""
    pki = kit.Pki(tmp_path / "site")
    srv = tmp_path / "srv"
    srv.mkdir()
    subprocess.run(["bash", "-e", "-c", """
        openssl req -new -x509 -days 365 -extensions v3_ca -nodes -keyout root_ca.key -out root_ca.crt -subj '/C=GB/O=The Trusted CA/CN=Highly Trusted CA'
        openssl req -new -newkey rsa:2048 -nodes -keyout client01.key -out client01.csr -subj "/CN=client01"
        openssl x509 -req -CA root_ca.crt -CAkey root_ca.key -CAcreateserial -in client01.csr -out client01.crt"""], cwd=srv, check=True, capture_output=True)
    kit.signet("ca", "adopt", "--dir", pki.dir, "--name", "srv", "--role", "client", "--key", srv / "root_ca.key", "--cert", srv / "root_ca.crt", "--no-passphrase")
    new = pki.issue("srv", "client02")
    subprocess.run(["openssl", "verify", "-CAfile", srv / "root_ca.crt", new["cert"]], check=True, capture_output=True)
    port = kit.free_port()
    broker = broker_of(kit.STAY_ROOT + pki.conf(port), port)
    root = pki.dir / "pki/root/cert.pem"
    old = {"ca": root, "cert": srv / "client01.crt", "key": srv / "client01.key"}
    for name, files in (("client01", old), ("client02", {**new, "ca": root})):
        with wire.Peer(broker.port, name, 5, files=files) as peer:
            assert peer.subscribe(f"{kit.PREFIX}/{name}/#", "#") == [0, 0x87]
    # Its root is not ours: a device of our own with that name is somebody else [A28].
    ours = pki.device("client01")
    with wire.Peer(broker.port, "client01", 5, files=old):
        with pytest.raises(kit.Refused) as refusal:
            wire.Peer(broker.port, "client01", 5, files=ours)
        assert refusal.value.code == 0x85


@pytest.mark.parametrize("wrong,says", [("key", "does not (belong|match|fit)"), ("leaf", "not.*CA"), ("encrypted", "passphrase"), ("missing", "No such file")])
def test_adopting_what_does_not_fit(pki, tmp_path, wrong, says):
    ca = certs.Ca(tmp_path / "ca", f"Some CA {os.getpid()} {wrong}")
    key, cert = ca.key.path, ca.file
    if wrong == "key":
        key = certs.shared_key().path
    elif wrong == "leaf":
        leaf = ca.leaf("leaf")
        key, cert = leaf["key"], leaf["cert"]
    elif wrong == "encrypted":
        key = tmp_path / "locked.key"
        certs.openssl("pkey", "-in", ca.key.path, "-aes256", "-passout", "pass:abcd", "-out", key)
    else:
        key = tmp_path / "nowhere.key"
    before = (pki.dir / "signet.conf").read_bytes()
    result = kit.signet("ca", "adopt", "--dir", pki.dir, "--name", f"bad-{wrong}", "--key", key, "--cert", cert, "--no-passphrase", check=False, stdin="")
    assert result.returncode in (1, 2) and re.search(says, result.stderr), result.stderr
    assert not (pki.dir / f"pki/bad-{wrong}").exists() and (pki.dir / "signet.conf").read_bytes() == before


def test_trusting_a_ca_from_elsewhere(tmp_path, broker_of):
    """[A28 B7] SpringCard's devices: their CA gets the role Client; its root alone gives none."""
    pki = kit.Pki(tmp_path / "site")
    their_root = certs.Ca(tmp_path / "root", "SpringCore Root CA")
    theirs = certs.Ca(tmp_path / "clients", "SpringCore Client CA", issuer=their_root)
    others = certs.Ca(tmp_path / "others", "SpringCore Other CA", issuer=their_root)
    kit.signet("ca", "trust", "--dir", pki.dir, "--role", "client", "--name", "springcard", theirs.file)
    port = kit.free_port()
    broker = broker_of(kit.STAY_ROOT + pki.conf(port), port)
    root = pki.dir / "pki/root/cert.pem"
    for chain in ([], [theirs], [theirs, their_root]):
        with wire.Peer(broker.port, "DA1275B0", 5, files=theirs.leaf("DA1275B0", chain=chain, trust=root)) as peer:
            assert peer.subscribe(f"{kit.PREFIX}/DA1275B0/#", "#") == [0, 0x87]
    for ca in (others, their_root):
        with pytest.raises((OSError, EOFError, kit.Refused)):
            wire.Peer(broker.port, "DA1275B0", 5, files=ca.leaf("DA1275B0", chain=[ca], trust=root))


# ---- inspect ----

def test_inspect_opens_bundles(pki, tmp_path, fresh):
    """[A23] PKCS#12 with and without a passphrase, PKCS#7, encrypted keys."""
    files = pki.device(fresh)
    pfx, p7, key, right, wrong = (tmp_path / n for n in ("b.p12", "b.p7b", "k.pem", "right", "wrong"))
    right.write_text("open sesame\n")
    wrong.write_text("simsalabim\n")

    def look(*words, code=0):
        result = kit.signet("inspect", "--json", *words, check=False, env={"SIGNET_PASSPHRASE": ""} if "--passphrase-file" in words else None)
        assert result.returncode == code, result.stderr
        return json.loads(result.stdout), result.stderr

    def kinds(found):
        return [thing["kind"] for thing in found]

    export = ["pkcs12", "-export", "-in", files["cert"], "-inkey", files["key"], "-out", pfx]
    whole = ["PKCS#12 bundle", "private key", "certificate", "certificate"]
    certs.openssl(*export, "-passout", "file:" + str(right))
    found, _ = look(pfx)
    assert kinds(found) == ["PKCS#12 bundle"] and found[0]["encrypted"] == "yes"
    found, _ = look(pfx, "--passphrase-file", right)
    assert kinds(found) == whole and found[2]["subject"] == f"CN={fresh}"
    _, said = look(pfx, "--passphrase-file", wrong, code=1)
    assert "the passphrase is wrong" in said and "simsalabim" not in said
    for more in (["-passout", "pass:"], ["-passout", "pass:", "-nomac", "-keypbe", "NONE", "-certpbe", "NONE"]):
        certs.openssl(*export, *more)
        assert kinds(look(pfx)[0]) == whole
    data = pfx.read_bytes()
    pfx.write_bytes(data[:-30])
    assert "is cut off" in look(pfx, code=1)[1]
    pfx.write_bytes(data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:])
    look(pfx, code=kit.signet("inspect", pfx, check=False).returncode)  # whatever was hit, it ends in order

    for form in ("PEM", "DER"):
        certs.openssl("crl2pkcs7", "-nocrl", "-certfile", files["cert"], "-outform", form, "-out", p7)
        assert kinds(look(p7)[0]) == ["PKCS#7 bundle", "certificate", "certificate"]

    certs.openssl("pkey", "-in", files["key"], "-aes256", "-passout", "file:" + str(right), "-out", key)
    assert look(key)[0][0]["encrypted"] == "yes"
    assert look(key, "--passphrase-file", right)[0][0]["key"].startswith("EC")
    assert "the passphrase is wrong" in look(key, "--passphrase-file", wrong, code=1)[1]


def test_inspect_reads_what_openssl_makes(pki, tmp_path, fresh):
    """[A23] Certificate, request, CRL, key; PEM and DER; with what openssl says of them."""
    cert = pki.device(fresh)["cert"]
    csr = csr_of(tmp_path, f"/CN={fresh}", "-addext", "subjectAltName=DNS:n.example")
    ca = certs.Ca(tmp_path / "ca", "A CA")
    crl = tmp_path / "x.crl"
    crl.write_text(ca.crl(7, 0x1234))
    fingerprint = re.sub("[^0-9a-f]", "", certs.openssl("x509", "-in", cert, "-noout", "-fingerprint", "-sha256").decode().split("=")[1].lower())
    for path, kind, wanted in ((cert, "x509", [fingerprint, field(cert, "serial").lower().lstrip("0"), f"CN={fresh}", "clientAuth|client"]), (csr, "req", ["n.example", fresh]),
                               (crl, "crl", ["A CA", "1234"])):
        der = tmp_path / f"{kind}.der"
        der.write_bytes(certs.pem_bytes(path.read_text()))
        for file in (path, der):
            shown = kit.signet("inspect", file).stdout
            for word in wanted:
                assert re.search(word, re.sub("(?<=[0-9a-fA-F]{2}):(?=[0-9a-fA-F]{2})", "", shown), re.I), (file, word, shown)
            assert json.loads(kit.signet("inspect", "--json", file).stdout)
    for path in (cert, csr, crl, certs.shared_key().path):
        whole = path.read_bytes()
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:len(whole) // 3])
        result = kit.signet("inspect", cut, check=False)
        assert result.returncode == 1 and str(cut) in result.stderr
