"""signet audit: what the commands do stands in D/audit.log, and no byte of it changes unnoticed."""
import hashlib
import json
import os
import signal
import subprocess
import time

import pytest

import kit


@pytest.fixture
def pki(tmp_path):
    return kit.Pki(tmp_path / "site")


def records(pki):
    return [json.loads(line) for line in (pki.dir / "audit.log").read_text().splitlines()]


def verify(pki, *options, check=True):
    return kit.signet("audit", "verify", "--dir", pki.dir, *options, check=check)


def test_commands_are_recorded(pki):
    pki.device("sensor01")
    kit.signet("ca", "revoke", "sensor01", "--reason", "keyCompromise", "--dir", pki.dir)
    seen = records(pki)
    assert [r["object"] for r in seen if r["action"] == "create-ca"] == ["root", "cloud", "client", "watch", "control"]
    assert [r["object"] for r in seen if r["action"] == "issue"] == ["localhost", "watcher", "controller", "sensor01"]
    issued, revoked, crl = seen[-3:]
    assert (issued["action"], revoked["action"], crl["action"]) == ("issue", "revoke", "crl")
    shown = subprocess.run(["openssl", "x509", "-in", pki.files("sensor01")["cert"], "-noout", "-serial", "-fingerprint", "-sha256"],
                           capture_output=True, text=True, check=True).stdout.lower().replace(":", "")
    for r in (issued, revoked):
        assert r["object"] == "sensor01" and r["details"]["ca"] == "client"
        assert r["details"]["serial"] in shown and r["details"]["sha256"] in shown
    assert revoked["details"]["reason"] == "1" and crl["details"]["entries"] == "1"
    assert {r["actor"].split("/")[0] for r in seen} == {"cli"}
    # Anybody can check it with a few lines.
    before = "0" * 64
    for n, line in enumerate((pki.dir / "audit.log").read_bytes().splitlines(), 1):
        head, tail = line.rsplit(b',"hash":"', 1)
        r = json.loads(line)
        assert r["n"] == n and r["prev"] == before and hashlib.sha256(head).hexdigest() == r["hash"] == tail[:64].decode()
        before = r["hash"]
    told = json.loads(verify(pki, "--json").stdout)
    assert told["ok"] and told["records"] == len(seen) and told["hash"] == before
    assert "sensor01" in kit.signet("audit", "show", "--dir", pki.dir, "-n", 2).stdout
    assert json.loads(kit.signet("audit", "show", pki.dir / "audit.log", "--json", "--action", "revoke").stdout) == [revoked]


def test_a_changed_byte_is_named(pki):
    log = pki.dir / "audit.log"
    whole = log.read_bytes()
    at = whole.index(b"watcher")
    line = whole[:at].count(b"\n") + 1
    log.write_bytes(whole.replace(b"watcher", b"watchee"))
    result = verify(pki, check=False)
    assert result.returncode == 1 and f"line {line}," in result.stderr and "was changed" in result.stderr
    told = json.loads(verify(pki, "--json", check=False).stdout)
    assert not told["ok"] and told["records"] == line - 1 and f"line {line}," in told["fault"]
    # Nothing is put behind a forged end, and no certificate leaves without its record.
    log.write_bytes(whole.replace(b"controller", b"controlled"))
    result = kit.signet("device", "add", "late", "--dir", pki.dir, check=False)
    assert result.returncode == 1 and "audit.log" in result.stderr
    assert not (pki.dir / "clients/late").exists()
    log.write_bytes(whole)
    pki.device("late")
    verify(pki)


def test_a_command_killed_at_any_moment_leaves_a_log_that_goes_on(pki):
    """SIGKILL at moments that are spread over the run of a command; whatever was on the disk is good."""
    start = time.monotonic()
    pki.device("whole")
    whole = time.monotonic() - start
    for i in range(8):
        process = subprocess.Popen([kit.SIGNET, "device", "add", f"d{i}", "--dir", str(pki.dir)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            process.wait(whole * (i + 1) / 8)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        told = json.loads(verify(pki, "--json").stdout)
        assert told["ok"]
    pki.device("after")
    verify(pki)
    named = {r["object"] for r in records(pki) if r["action"] == "issue"}
    # Every certificate that somebody got has its record.
    assert {p.name for p in (pki.dir / "clients").iterdir() if "." not in p.name} <= named | {"watcher", "controller"}


def test_a_torn_line_is_cut_and_said(pki):
    log = pki.dir / "audit.log"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"n":9,"time":"20')
    told = verify(pki).stdout
    assert "17 bytes" in told
    pki.device("next")
    seen = records(pki)
    torn = [r for r in seen if r["action"] == "torn"]
    assert len(torn) == 1 and torn[0]["details"] == {"bytes": "17", "offset": str(len(whole))}
    assert log.read_bytes().startswith(whole)
    verify(pki)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to make it somebody else's")
def test_the_log_belongs_to_whom_the_installation_does(pki):
    os.chown(pki.dir, 12345, 12345)
    (pki.dir / "audit.log").unlink()
    pki.device("x")
    st = (pki.dir / "audit.log").stat()
    assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (12345, 12345, 0o640)
