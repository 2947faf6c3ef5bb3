"""signet init, device, ca and inspect as people type them: exit codes, what is said, what is on the disk, what is never shown."""
import json
import os
import pty
import select
import stat
import subprocess
import time

import pytest

import kit

SECRET = "correct horse battery"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An installation with encrypted CA keys."""
    place = tmp_path_factory.mktemp("site") / "demo"
    kit.signet("init", "--dir", place, "--host", "broker.example,127.0.0.1", env={"SIGNET_PASSPHRASE": SECRET})
    return place


def with_pass(*words, **more):
    return kit.signet(*words, env={"SIGNET_PASSPHRASE": SECRET}, **more)


def make_csr(folder, name, *options):
    csr = folder / f"{name}.csr"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", folder / f"{name}.key", "-subj", f"/CN={name}", "-out", csr, *options],
                   check=True, capture_output=True)
    return csr


def test_help_and_exit_codes():
    for words in ([], ["nope"], ["init"], ["init", "--dir"], ["init", "--host", "x"], ["ca"], ["ca", "nope"], ["device"],
                  ["inspect"], ["init", "--dir", "x", "--host", "h", "--port", "0"], ["ca", "issue", "--nope", "x"]):
        assert kit.signet(*words, check=False).returncode == 2, words
    for words in (["--help"], ["help"], ["help", "init"], ["init", "--help"], ["device", "--help"], ["inspect", "-h"],
                  ["ca", "--help"], *(["ca", s, "--help"] for s in
                                      ("issue", "sign", "list", "show", "export", "adopt", "trust"))):
        result = kit.signet(*words)
        assert "Usage: signet" in result.stdout and result.stderr == "", words


def test_keys_are_encrypted_and_private(site):
    for name in ("root", "cloud", "client", "watch", "control"):
        key = site / "pki" / name / "key.pem"
        assert key.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        subprocess.run(["openssl", "pkey", "-in", key, "-passin", f"pass:{SECRET}", "-noout"], check=True)
    for path in site.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_init_changes_nothing_that_exists(site):
    before = {p: p.read_bytes() for p in site.rglob("*") if p.is_file()}
    result = with_pass("init", "--dir", site, "--host", "other", check=False)
    assert result.returncode == 1 and "installation already" in result.stderr
    assert before == {p: p.read_bytes() for p in site.rglob("*") if p.is_file()}


def test_init_leaves_nothing_when_it_fails(tmp_path):
    result = kit.signet("init", "--dir", tmp_path / "a/b", "--host", "10.0.0.300", "--no-passphrase", check=False)
    assert result.returncode == 1 and "not a valid IP address" in result.stderr
    result = kit.signet("init", "--dir", tmp_path / "a/b", "--host", "h", check=False, stdin="")
    assert result.returncode == 2 and "--no-passphrase" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_passphrases(site, tmp_path):
    words = ("device", "add", "pass-1", "--dir", site)
    assert kit.signet(*words, check=False, stdin="").returncode == 2
    wrong = kit.signet(*words, check=False, stdin="wrong\n")
    assert wrong.returncode == 1 and "passphrase is wrong" in wrong.stderr
    kit.signet(*words, stdin=SECRET + "\n")
    file = tmp_path / "pass"
    file.write_text(SECRET + "\n")
    kit.signet("device", "add", "pass-2", "--dir", site, "--passphrase-file", file)


def test_passphrase_at_a_terminal_is_not_echoed(tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.pop("SIGNET_PASSPHRASE", None)
        os.execv(kit.SIGNET, [kit.SIGNET, "init", "--dir", str(tmp_path / "x"), "--host", "h"])
    shown, sent, end = b"", 0, time.monotonic() + kit.PATIENCE
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
        if sent < shown.count(b": ") and sent < 2 and shown.endswith(b": "):
            os.write(terminal, SECRET.encode() + b"\n")
            sent += 1
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"New passphrase" in shown and b"The same again" in shown and SECRET.encode() not in shown


def test_device_folder_has_everything(site):
    result = with_pass("device", "add", "dev-a", "--dir", site)
    folder = site / "clients/dev-a"
    assert sorted(p.name for p in folder.iterdir()) == ["ca.pem", "cert.pem", "commands.txt", "key.pem"]
    assert (folder / "commands.txt").read_text() in result.stdout
    assert (folder / "cert.pem").read_text().count("BEGIN CERTIFICATE") == 2
    assert (folder / "ca.pem").read_bytes() == (site / "pki/root/cert.pem").read_bytes()
    subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", folder / "ca.pem",
                    "-untrusted", folder / "cert.pem", folder / "cert.pem"], check=True, capture_output=True)
    again = with_pass("device", "add", "dev-a", "--dir", site, check=False)
    assert again.returncode == 1 and "--reissue" in again.stderr
    key = (folder / "key.pem").read_bytes()
    with_pass("device", "add", "dev-a", "--dir", site, "--reissue")
    assert (folder / "key.pem").read_bytes() != key


def test_the_root_key_is_not_needed(site, tmp_path):
    key = site / "pki/root/key.pem"
    away = tmp_path / "key.pem"
    key.rename(away)
    try:
        with_pass("device", "add", "rootless", "--dir", site)
    finally:
        away.rename(key)


def test_bad_names(site):
    for name in ("", "a/b", "a+b", "#", "..", "-x", "x" * 65, "a\nb", "Signet Client CA"):
        result = with_pass("ca", "issue", "--ca", "client", "--dir", site, "--", name, check=False)
        assert result.returncode == 1 and not (site / "clients" / (name or "-")).is_file(), name
    assert not list((site / "clients").glob("*.new-*"))


def test_sign_writes_only_the_certificate_to_stdout(site, tmp_path):
    csr = make_csr(tmp_path, "csr-1", "-addext", "subjectAltName=DNS:d.example", "-addext", "basicConstraints=CA:TRUE")
    result = with_pass("ca", "sign", "--ca", "client", "--csr", csr, "--dir", site)
    assert result.stdout.startswith("-----BEGIN CERTIFICATE-----") and result.stdout.count("BEGIN") == 2
    assert "basicConstraints was dropped" in result.stderr
    text = subprocess.run(["openssl", "x509", "-noout", "-text"], input=result.stdout, capture_output=True, text=True,
                          check=True).stdout
    assert "CA:FALSE" in text and "DNS:d.example" in text and "Subject: CN = csr-1" in text
    result = with_pass("ca", "sign", "--ca", "client", "--csr", site / "pki/root/cert.pem", "--dir", site, check=False)
    assert result.returncode == 1 and "is a certificate, not a certificate request" in result.stderr


def test_list_and_show(site):
    with_pass("ca", "issue", "--ca", "watch", "listed", "--days", "5", "--dir", site)
    entries = json.loads(kit.signet("ca", "list", "--json", "--dir", site).stdout)
    assert {"ca": "watch", "name": "listed", "status": "live"}.items() <= \
        next(e for e in entries if e["name"] == "listed").items()
    soon = json.loads(kit.signet("ca", "list", "--expiring", "10", "--json", "--dir", site).stdout)
    assert [e["name"] for e in soon] == ["listed"]
    serial = soon[0]["serial"]
    for words in (("listed",), (serial,), (serial.upper(),)):
        assert serial in kit.signet("ca", "show", *words, "--dir", site).stdout
    assert "Signet Watch CA" in kit.signet("ca", "show", "watch", "--dir", site).stdout
    assert kit.signet("ca", "show", "nobody", "--dir", site, check=False).returncode == 1


def test_default_directory(site):
    assert "watcher" in kit.signet("ca", "list", cwd=site).stdout
    result = kit.signet("ca", "list", cwd=site / "pki", check=False)
    assert result.returncode == 2 and "--dir" in result.stderr


def test_export(site, tmp_path):
    der = tmp_path / "client.der"
    kit.signet("ca", "export", "--ca", "client", "--format", "der", "--out", der, "--dir", site)
    shown = json.loads(kit.signet("inspect", "--json", der).stdout)
    assert shown[0]["subject"].startswith("CN=Signet Client CA") and shown[0]["line"] == 0
    assert kit.signet("ca", "export", "--chain", "--ca", "watch", "--dir", site).stdout.count("BEGIN") == 2
    assert kit.signet("ca", "export", "--ca", "client", "--out", der, "--dir", site, check=False).returncode == 1


def test_inspect_names_what_is_wrong(site, tmp_path):
    bundle = site / "pki/ca.pem"
    shown = json.loads(kit.signet("inspect", "--json", bundle).stdout)
    assert len(shown) == 5 and shown[0]["purpose"] == ["CA", "root (self-signed)"]
    cut = tmp_path / "cut.pem"
    cut.write_bytes(bundle.read_bytes()[:1500])
    result = kit.signet("inspect", "--json", cut, check=False)
    assert result.returncode == 1 and "has no END line" in result.stderr and json.loads(result.stdout)
    for content, says in ((b"", "empty file"), (b"hello\n", "text without a PEM block"),
                          (b"\x30\x82\x10\x00abc", "cut off")):
        cut.write_bytes(content)
        result = kit.signet("inspect", cut, check=False)
        assert result.returncode == 1 and says in result.stderr, content
    assert "encrypted           yes" in kit.signet("inspect", site / "pki/root/key.pem").stdout


def test_adopt_and_trust(site, tmp_path):
    key, cert = tmp_path / "root_ca.key", tmp_path / "root_ca.crt"
    subprocess.run(["openssl", "req", "-new", "-x509", "-days", "365", "-extensions", "v3_ca", "-nodes", "-keyout", key,
                    "-out", cert, "-subj", "/C=GB/O=The Trusted CA/CN=Highly Trusted CA"], check=True, capture_output=True)
    words = ("ca", "adopt", "--name", "srv", "--cert", cert, "--dir", site)
    other = kit.signet(*words, "--key", site / "pki/broker/key.pem", check=False, env={"SIGNET_PASSPHRASE": SECRET})
    assert other.returncode == 1 and "does not belong" in other.stderr
    with_pass(*words, "--key", key)
    assert (site / "pki/srv/key.pem").read_text().startswith("-----BEGIN ENCRYPTED")
    with_pass("ca", "issue", "--ca", "srv", "client01", "--dir", site)
    leaf = site / "clients/client01/cert.pem"
    subprocess.run(["openssl", "verify", "-CAfile", cert, leaf], check=True, capture_output=True)
    assert "role_ca client" in (site / "signet.conf").read_text()
    kit.signet("ca", "trust", "--role", "watch", "--name", "extra", cert, "--dir", site)
    assert f"role_ca watch {site}/pki/trusted/watch-extra.pem" in (site / "signet.conf").read_text()
    refused = kit.signet("ca", "trust", "--role", "watch", leaf, "--dir", site, check=False)
    assert refused.returncode == 1 and "not the certificate of a CA" in refused.stderr
    twice = kit.signet("ca", "trust", "--role", "control", "--name", "more", cert, "--dir", site, check=False)
    assert twice.returncode == 1 and 'has the role "watch" already' in twice.stderr
    assert "control-more" not in (site / "signet.conf").read_text()
    assert not (site / "pki/trusted/control-more.pem").exists()


def test_issued_clients_have_their_commands(tmp_path):
    place = tmp_path / "demo"
    kit.signet("init", "--dir", place, "--host", "broker.example", "--no-passphrase")
    for ca, name, verb in (("watch", "eye", "sub"), ("control", "hand", "pub"), ("client", "dev", "pub")):
        said = kit.signet("ca", "issue", "--dir", place, "--ca", ca, name).stdout
        text = (place / "clients" / name / "commands.txt").read_text()
        assert text in said and f"signet {verb} -h broker.example" in text and f"-i {name} " in text
    kit.signet("ca", "issue", "--dir", place, "--ca", "cloud", "--host", "b2.example", "b2.example")
    assert not (place / "servers/b2.example/commands.txt").exists()


def test_what_fails_leaves_nothing_behind(tmp_path):
    place, bad = tmp_path / "demo", tmp_path / "bad"
    kit.signet("init", "--dir", place, "--host", "broker.example", "--no-passphrase")
    bad.write_text("not PEM\n")
    csr = make_csr(tmp_path, "dev1")
    def listing():
        return sorted(p.relative_to(place) for p in place.rglob("*"))
    before = listing()
    for words in (("ca", "trust", "--role", "watch", place / "pki/client/cert.pem"), ("ca", "trust", "--role", "client", bad),
                  ("ca", "sign", "--ca", "client", "--csr", bad), ("ca", "sign", "--ca", "client", "--csr", csr, "--out", tmp_path / "none/cert.pem"),
                  ("ca", "issue", "--ca", "nope", "x"), ("ca", "issue", "--ca", "client", "a/b"),
                  ("ca", "adopt", "--name", "x", "--key", bad, "--cert", bad)):
        result = kit.signet(*words, "--dir", place, check=False)
        assert result.returncode != 0, words
        assert listing() == before, words
    assert "dev1" not in kit.signet("ca", "list", "--dir", place, "--ca", "client", check=False).stdout
