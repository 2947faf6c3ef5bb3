"""CA keys in a PKCS#11 token: SoftHSM 2 stands for one, openssl judges what it signs."""
import http.client
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess

import pytest

import certs
import kit
import signer_kit as sk
from test_serve import Platform, gone, status

ROOT = os.geteuid() == 0
MODULE = next((p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so") if pathlib.Path(p).exists()), None)
PIN = "82946173"
USERS = ["signer_user sys", "control_user daemon", "user bin"] if ROOT else []

pytestmark = pytest.mark.skipif(MODULE is None or shutil.which("softhsm2-util") is None, reason="needs SoftHSM 2")


class Token:
    def __init__(self, place, monkeypatch):
        self.dir = place / "tokens"
        self.dir.mkdir()
        conf = place / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.dir}\nobjectstore.backend = file\nlog.level = ERROR\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
        monkeypatch.setenv("SIGNET_PASSPHRASE", PIN)
        self.run("--init-token", "--free", "--label", "signet test", "--pin", PIN, "--so-pin", "1" + PIN)
        self.uri = f"pkcs11:token=signet%20test?module-path={MODULE}"

    def run(self, *words):
        return subprocess.run(["softhsm2-util", *map(str, words)], check=True, capture_output=True, text=True)

    def give(self):
        """To the signer's user; what is made in it is its maker's alone."""
        for path in [self.dir, *self.dir.rglob("*")] if ROOT else []:
            shutil.chown(path, "sys")

    def labels(self):
        shown = subprocess.run(["pkcs11-tool", "--module", MODULE, "--token-label", "signet test", "--login", "--pin", PIN, "--list-objects", "--type",
                                "privkey"], check=True, capture_output=True, text=True).stdout
        return re.findall(r"label: +(\S+)", shown)


@pytest.fixture
def token(passable, monkeypatch):
    return Token(passable, monkeypatch)


class InToken(Platform):
    def __init__(self, token, place, *init):
        self.token = token
        super().__init__(place, *USERS, init=["--pkcs11", token.uri, *init])

    def launch(self):
        self.token.give()
        return super().launch()


def verified(p, pem):
    leaf = p.place / "leaf.pem"
    leaf.write_text(pem)
    return certs.openssl("verify", "-x509_strict", "-CAfile", p.dir / "pki/root/cert.pem", "-untrusted", p.dir / "pki/client/cert.pem", leaf)


def token_process(signer):
    """The signer's child, which alone has the module."""
    return int(pathlib.Path(f"/proc/{signer}/task/{signer}/children").read_text())


def again(p, device):
    """Control, too, is started again, and its port may be nobody's for a moment."""
    try:
        return p.ask(device).status == 201
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.release
def test_the_whole_way(token, passable):
    with InToken(token, passable) as p:
        assert list(p.dir.glob("pki/*/key.pem")) == [p.dir / "pki/broker/key.pem"] and len(list(p.dir.glob("pki/*/key.uri"))) == 5
        assert len(token.labels()) == 5
        made = p.issue("sensor01")
        assert verified(p, made["pem"])
        # A list and a checkpoint are signed by it, too; and the commands use it beside the signer.
        answer = p.login()("POST", f"/api/v1/certificates/client/{made['serial']}/revoke", {"reason": "keyCompromise"})
        assert answer.status == 200, answer
        listed = subprocess.run(["openssl", "crl", "-in", p.dir / "crls/client.pem", "-noout", "-verify", "-CAfile", p.dir / "pki/client/cert.pem", "-text"],
                                capture_output=True, text=True)
        assert "verify OK" in listed.stderr and made["serial"] in listed.stdout.lower().replace(":", "")
        kit.signet("device", "add", "by-command", "--dir", p.dir)
        # The module is in one process, which is confined; the signer has none of it and is confined as ever.
        signer = p.pid("signer")
        other = token_process(signer)
        assert "softhsm" not in pathlib.Path(f"/proc/{signer}/maps").read_text() if ROOT else True
        told = status(other)
        assert told["Seccomp"].strip() == "2" and told["NoNewPrivs"].strip() == "1" and status(signer)["Seccomp"].strip() == "2"
        if ROOT:
            assert set(told["Uid"].split()) == {str(pwd.getpwnam("sys").pw_uid)} and int(told["CapEff"], 16) == 0
            assert "softhsm" in pathlib.Path(f"/proc/{other}/maps").read_text()
        # The token is taken out: said so, nothing else ends; put back, it goes on without anybody.
        away = passable / "away"
        token.dir.rename(away)
        token.dir.mkdir(mode=0o755)
        answer = p.ask("sensor01")
        assert answer.status == 503 and 'token "signet test" is not there' in answer.json["detail"], answer
        assert p.pid("signer") == signer and p.login()("GET", "/api/v1/cas").status == 200
        token.dir.rmdir()
        away.rename(token.dir)
        assert verified(p, p.issue("sensor03")["pem"])
        # Each of the two is killed: both are there again.
        os.kill(other, signal.SIGKILL)
        kit.wait_for(lambda: again(p, "sensor03") and p.pid("signer") != signer, "the signer and its token")
        signer = p.pid("signer")
        other = token_process(signer)
        os.kill(signer, signal.SIGKILL)
        kit.wait_for(lambda: gone(other) and p.pid("signer") != signer, "the end of both")
        assert PIN not in p.text()
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert PIN.encode() not in path.read_bytes()
            except OSError:
                pass
    told = json.loads(kit.signet("audit", "verify", "--dir", p.dir, "--json").stdout)
    assert told["ok"] and told["checkpoints"] >= 1 and told["checkpoints_not_checked"] == 0


def test_pins_and_rsa(token, passable, monkeypatch):
    """A wrong PIN: said, and tried once. In a file that the URI names: nobody is asked."""
    place = passable / "site"
    words = ["init", "--dir", place, "--host", "localhost", "--no-api", "--pkcs11"]
    monkeypatch.setenv("SIGNET_PASSPHRASE", "11111111")
    result = kit.signet(*words, token.uri, check=False)
    assert result.returncode == 1 and "the PIN is wrong" in result.stderr and not place.exists()
    monkeypatch.delenv("SIGNET_PASSPHRASE")
    for bad, why in ((token.uri.replace("signet%20test", "other"), "is not there"), (token.uri + "&pin-value=" + PIN, "does not belong into"),
                     (token.uri.replace(MODULE, "/etc/passwd"), "cannot be loaded"), ("pkcs11:token=x", "module-path")):
        result = kit.signet(*words, bad, check=False, stdin=PIN + "\n")
        assert result.returncode in (1, 2) and why in result.stderr and PIN not in result.stderr and not place.exists(), result
    pin = passable / "pin"
    pin.write_text(PIN + "\n")
    uri = f"{token.uri}&pin-source=file:{pin}"
    kit.signet(*words, uri, "--key-type", "rsa2048")
    kit.signet("device", "add", "sensor01", "--dir", place, "--key-type", "p256")
    ca = place / "pki/client/cert.pem"
    assert certs.openssl("verify", "-x509_strict", "-CAfile", place / "pki/root/cert.pem", "-untrusted", ca, place / "clients/sensor01/cert.pem")
    assert b"rsaEncryption" in certs.openssl("x509", "-in", ca, "-noout", "-text")
    kit.signet("ca", "revoke", "sensor01", "--dir", place)
    listed = subprocess.run(["openssl", "crl", "-in", place / "crls/client.pem", "-noout", "-verify", "-CAfile", ca], capture_output=True, text=True)
    assert "verify OK" in listed.stderr
    # Made in vain: nothing stays in the token, either.
    before = token.labels()
    (passable / "full").mkdir()
    result = subprocess.run(["prlimit", "--fsize=2500", kit.SIGNET, "init", "--dir", passable / "full/x", "--host", "localhost", "--no-api", "--pkcs11", uri],
                            capture_output=True, text=True, restore_signals=False)
    assert result.returncode == 1 and "File too large" in result.stderr and token.labels() == before
    token.give()
    pki = kit.Pki.__new__(kit.Pki)
    pki.dir = place
    with sk.Signer(pki, "signer_user sys\n"):
        pass
    pin.write_text("22222222\n")
    signer = sk.Signer(pki, "signer_user sys\n", expect=False)
    assert signer.stop() == 1 and 'token "signet test": the PIN is wrong' in signer.log() and "22222222" not in signer.log(), signer.log()


def test_a_key_of_before_moves_into_the_token(token, passable):
    """As docs/control.md says it; a key that is not the CA's is told from it."""
    pki = kit.Pki(passable / "site")
    for label, identity, key in (("mine", "a1", "client"), ("other", "a2", "watch")):
        token.run("--import", pki.dir / f"pki/{key}/key.pem", "--token", "signet test", "--label", label, "--id", identity, "--pin", PIN)
    (pki.dir / "pki/client/key.pem").unlink()
    uri = pki.dir / "pki/client/key.uri"
    for words, why in (("object=mine", None), ("id=%a1", None), ("object=mine;id=%a1", None), ("object=other", "does not belong"),
                       ("object=none", 'no private key "none"'), ("object=mine;id=%a2", "no private key"), ("type=private", "more than one")):
        uri.write_text(token.uri.replace("?", f";{words}?") + "\n")
        result = kit.signet("device", "add", f"d{abs(hash(words))}", "--dir", pki.dir, check=False)
        assert result.returncode == (0 if why is None else 1) and (why is None or why in result.stderr), (words, result.stderr)
