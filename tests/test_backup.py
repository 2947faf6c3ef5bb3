"""A backup of the whole installation, and another one that is started out of it elsewhere."""
import json
import os
import shutil
import subprocess
import time

import apikit
import kit
from test_serve import ROOT, Platform

WORD = "open sesame"


class Restored(Platform):
    """The same, out of a folder that is there."""

    def __init__(self, place, of, directory, env):
        self.place, self.env, self.pki, self.dir = place, env, of.pki, directory
        self.pki.dir = directory
        self.mqtt, self.port, self.password, self.conf = of.mqtt, of.port, of.password, directory / "signet.conf"
        assert self.launch(), self.text()


def backup(platform):
    answer = platform.login()("POST", "/api/v1/backup")
    assert answer.status == 201, answer
    return answer.json


def client(platform, **more):
    class Where:
        host, port = "127.0.0.1", platform.mqtt
    return kit.Client(Where, "sensor01", platform.device, version=kit.V311, clean=False, **more)


def test_another_machine_begins_with_a_backup(passable, tmp_path):
    users = ["signer_user sys", "control_user daemon", "user bin"] if ROOT else []
    secret = tmp_path / "word"
    secret.write_text(WORD + "\n")
    with Platform(passable, *users) as p:
        made = p.issue("sensor01")
        (tmp_path / "cert.pem").write_text(made["pem"])
        p.device = {"ca": tmp_path / "ca.pem", "cert": tmp_path / "cert.pem", "key": p.place / "sensor01.key"}
        shutil.copy(p.dir / "pki/ca.pem", p.device["ca"])
        kit.signet("device", "add", "by-command", "--dir", p.dir)
        # Somebody is away, and a message waits for him.
        c = client(p)
        c.subscribe(f"{kit.PREFIX}/sensor01/rdr/cmd", qos=1)
        c.close()
        assert p.login()("POST", "/api/v1/publish", {"topic": f"{kit.PREFIX}/sensor01/rdr/cmd", "payload": "waits", "qos": 1}).json == {"subscribers": True}
        # An earlier backup is in none; what lies too deep, and what has no name in JSON, is named.
        for place in ("registry/backups/1/backup.json", "registry/a/b/c/d/file"):
            (p.dir / place).parent.mkdir(parents=True)
            (p.dir / place).write_text("x")
        shutil.copy(p.dir / "signet.conf", os.fsencode(p.dir) + b"/registry/\xff")
        if ROOT:
            subprocess.run(["chown", "-R", "daemon:", p.dir / "registry"], check=True)
        (p.dir / "conf.d").mkdir()
        (p.dir / "conf.d/more.conf").write_text(f"\tpersistence_location  {p.dir}-data\nacl_file {p.dir}/acl\npassword_file {p.dir}-data/p\n")
        told = backup(p)
        assert {"registry/a/b/c": "it lies too deep", "registry/\\xff": "its name is not UTF-8"}.items() <= {w["what"]: w["why"] for w in told["without"]}.items(), told
        folder = tmp_path / "backup"
        shutil.copytree(told["folder"], folder)
        assert told["store"] and (told["store_copy"] is not None) == ROOT
        if ROOT:
            shutil.copytree(told["store_copy"], folder / "store")
        manifest = json.loads((folder / "backup.json").read_text())
        names = {f["name"] for f in manifest["files"]}
        assert {"registry.db", "files/signet.conf", "files/audit.log", "files/pki/ca.pem", "files/pki/root/cert.pem", "files/pki/client/cert.pem",
                "files/pki/client/index.txt", "files/pki/broker/cert.pem"} <= names, names
        assert not any("backups" in n for n in names)
        assert all(b"PRIVATE KEY" not in (folder / n).read_bytes() for n in names)
        assert any(w["why"].startswith("a private key") or w["why"] == "private keys" for w in told["without"]), told
        # What is done afterwards is not in it.
        assert p.login()("POST", "/api/v1/devices", {"id": "later"}).status == 201
        old, stats = p.dir, p.login()("GET", "/api/v1/devices/sensor01").json
    # Keys only by an explicit word, and never in the clear.
    out = kit.signet("backup", "--keys", folder, "--dir", old, "--passphrase-file", secret)
    assert "the keys of 5 CAs, encrypted" in out.stdout
    assert all(b"ENCRYPTED PRIVATE KEY" in k.read_bytes() and k.stat().st_mode & 0o777 == 0o600 for k in (folder / "keys").iterdir())
    old.rename(passable / "gone")
    new = passable / "elsewhere"
    new.mkdir(mode=0o750)
    out = kit.signet("restore", folder, new)
    assert "has no key here" not in out.stdout and f"signet serve --dir {new}" in out.stdout
    assert (new / "pki").stat().st_mode & 0o777 == 0o700 and (new / "registry/registry.db").stat().st_mode & 0o777 == 0o600
    assert str(old) not in (new / "signet.conf").read_text()
    # Copies for earlier backups: one that nobody came for; and what is none, or young.
    stale, young, other = (new / "signet.store" / name for name in ("backup-1700000000", f"backup-{int(time.time())}", "backup-monday"))
    for copy in (stale, young, other):
        copy.mkdir()
        (copy / "00000001.log").write_text("x")
    assert (new / "conf.d/more.conf").read_text() == f"persistence_location {new}\nacl_file {new}/acl\npassword_file {old}-data/p\n"
    if ROOT:
        subprocess.run(["chown", "-R", "bin:", new / "signet.store"], check=True)
    with Restored(passable, p, new, {"SIGNET_PASSPHRASE": WORD}) as q:
        admin = q.login()
        assert not stale.exists() and young.exists() and other.exists()
        assert admin("GET", "/api/v1/devices/sensor01").json["cn"] == stats["cn"] and admin("GET", "/api/v1/devices/later").status == 404
        q.device = p.device
        c = client(q)
        assert c.session_present and c.messages.get(timeout=kit.PATIENCE).payload == b"waits"
        c.close()
        # It goes on: certificates, revocation, the audit log.
        assert q.issue("sensor02")["cn"] == "sensor02"
        kit.wait_for(lambda: [x for query in ("cn=by-command", "without_device=true&limit=1000") for x in admin("GET", f"/api/v1/certificates?{query}").json["items"]
                              if x["cn"] == "by-command" and x["state"] == "active"], "what the index says")
        one = f"/api/v1/certificates/client/{made['serial']}"
        assert admin("POST", one + "/revoke", {"reason": "keyCompromise"}).json["state"] == "revoked"
        assert (new / "crls/client.pem").exists()
    kit.signet("audit", "verify", "--dir", new)
    assert '"restore"' in kit.signet("audit", "show", "--dir", new, "--json").stdout
    # One that was changed is refused, and nothing is left of the attempt.
    out = kit.signet("backup", "--keys", folder, "--dir", new, "--passphrase-file", secret, check=False)
    assert out.returncode == 1 and "is there already" in out.stderr and sorted(x.name for x in folder.iterdir() if x.name.startswith("keys")) == ["keys"]
    outside = tmp_path / "outside"
    (folder / "backup.json").write_text(json.dumps({**manifest, "files": [{**f, "name": f"files/{outside}"} if f["name"] == "files/signet.conf" else f for f in manifest["files"]]}))
    (tmp_path / "empty").mkdir(mode=0o711)
    out = kit.signet("restore", folder, tmp_path / "empty", check=False)
    assert out.returncode == 1 and "names a file that lies elsewhere" in out.stderr and not outside.exists()
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o711
    (folder / "backup.json").write_text(json.dumps(manifest))
    (folder / "files/signet.conf").write_text("listener 1883\nallow_anonymous true\n")
    out = kit.signet("restore", folder, tmp_path / "changed", check=False)
    assert out.returncode == 1 and "was changed or damaged" in out.stderr
    assert [x.name for x in tmp_path.iterdir() if x.name.startswith("changed")] == []
    out = kit.signet("restore", folder, new, check=False)
    assert out.returncode == 1 and "is not empty" in out.stderr


def test_a_broker_that_was_taken_over_says_where_its_copy_is(tmp_path):
    """Control takes, and removes, only what can be a copy of the store; nothing is left of a backup that fails."""
    pki, told = kit.Pki(tmp_path / "d"), {}
    with apikit.FalseBroker(pki.dir / "control.sock", backup=lambda _: {"dir": str(told["dir"]), "bytes": 1, "ms": 1}) as broker, apikit.Control(pki) as control:
        admin = control.login()
        kit.wait_for(lambda: {("control", "registry/commit"), ("control-questions", "hello")} <= set(broker.asked), "both connections")
        home = control.dir

        def fails(path, why):
            told["dir"] = path
            answer = admin("POST", "/api/v1/backup")
            assert answer.status >= 500 and why in control.text(), (answer, control.text())
            assert list(home.glob("backups/2*")) == []

        for own in (home, home / "backup-1", home / "pki/backup-1", home / "backups/backup-1"):
            made = not own.exists()
            own.mkdir(parents=True, exist_ok=True)
            (own / "kept").write_text("x")
            fails(own, "the copy of its store is " + str(own))
            assert (own / "kept").exists() and (home / "registry.db").exists()
            shutil.rmtree(own) if made else (own / "kept").unlink()
        store = tmp_path / "store"
        store.mkdir()
        (store / "backup-1").symlink_to(home)
        told["dir"] = store / "backup-1"
        assert admin("POST", "/api/v1/backup").json["store_copy"] == str(store / "backup-1")
        assert (home / "registry.db").exists() and (store / "backup-1").is_symlink()
        # What cannot be copied: the copy goes with what there was of the backup.
        copy = store / "backup-2"
        copy.mkdir()
        (copy / "00000001.log").write_text("x")
        os.mkfifo(copy / "pipe")
        shutil.rmtree(home / "backups")
        fails(copy, f"{copy}/pipe is no file")
        assert not copy.exists() and control.text().count("Remove it by hand") == 0
        copy.mkdir()
        (copy / "00000001.log").write_text("x")
        told["dir"] = copy
        made = admin("POST", "/api/v1/backup").json
        assert made["store"] and made["store_copy"] is None and not copy.exists()
        assert (home / "backups" / made["folder"].rsplit("/", 1)[1] / "store/00000001.log").read_text() == "x"
