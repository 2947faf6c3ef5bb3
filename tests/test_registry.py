"""signet registry: check, stats and dump, on a registry that a program before has written."""
import fcntl
import json
import os
import pathlib
import sqlite3

import pytest

import kit

V1, V2, V3 = ((pathlib.Path(__file__).parent / f"registry/v{n}.sql").read_text() for n in (1, 2, 3))


@pytest.fixture
def home(tmp_path):
    db = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    db.executescript(V3)
    db.close()
    return tmp_path


@pytest.mark.parametrize("version, text", [(1, V1), (2, V2)])
def test_an_older_one_is_brought_up_to_date(home, tmp_path, version, text):
    """By whoever opens it to write; those who only look refuse it, and say so."""
    pki = kit.Pki(tmp_path / "site")
    db = sqlite3.connect(pki.dir / "registry.db", isolation_level=None)
    db.executescript(text + "INSERT INTO settings VALUES('index/client', X'31');")
    db.close()
    refused = kit.signet("registry", "check", pki.dir, check=False)
    assert refused.returncode == 1 and "start the service once" in refused.stderr
    kit.signet("control", "--dir", pki.dir, "--make-admin", "admin")
    assert "whole" in kit.signet("registry", "check", pki.dir).stdout
    assert schema(pki.dir) == schema(home)
    old, new = dump(home), dump(pki.dir)
    assert {k: new[k] for k in ("devices", "certificates", "end_tally", "device_tally")} == {k: old[k] for k in ("devices", "certificates", "end_tally", "device_tally")}
    # What version 2 has to be told of revocations is what the index does not say.
    db = sqlite3.connect(pki.dir / "registry.db")
    assert [name for name, in db.execute("SELECT name FROM settings WHERE name LIKE 'index/%'")] == ([] if version == 1 else ["index/client"])
    db.close()
    assert (pki.dir / f"registry.db.v{version}").stat().st_mode & 0o777 == 0o600


def change(home, sql):
    db = sqlite3.connect(home / "registry.db", isolation_level=None)
    db.executescript(sql)
    db.close()


def schema(home):
    db = sqlite3.connect(home / "registry.db", isolation_level=None)
    try:
        return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name").fetchall()
    finally:
        db.close()


def dump(home):
    rows = [json.loads(line) for line in kit.signet("registry", "dump", home).stdout.splitlines()]
    return {table: [row for row in rows if row["table"] == table] for table in {row["table"] for row in rows}}


def test_what_is_there(home):
    assert kit.signet("registry", "check", home).stdout == "2 devices, 3 certificates, 1 users; whole\n"
    stats = json.loads(kit.signet("registry", "stats", home, "--json").stdout)
    assert stats["devices_by_state"] == {"enabled": 1, "disabled": 0, "pending": 1, "quarantined": 0}
    assert (stats["version"], stats["tenants"], stats["revoked"], stats["secrets"], stats["generation"]) == (3, 2, 1, 1, 4)
    assert "certificates  3\n" in kit.signet("registry", "stats", home / "registry.db").stdout
    rows = dump(home)
    assert [d["cn"] for d in rows["devices"]] == ["f60c28", "other:f60c28"]
    assert rows["devices"][0]["label"] == 'hall "1" <b>'
    assert [c["serial"] for c in rows["certificates"]] == ["01", "02", "03"]
    assert not any("password" in row or "hash" in row for table in rows.values() for row in table)


def test_nothing_is_changed(home):
    before = {p.name: p.read_bytes() for p in home.iterdir()}
    for what in ("check", "stats", "dump"):
        kit.signet("registry", what, home)
    assert {p.name: p.read_bytes() for p in home.iterdir()} == before


def test_what_is_only_in_the_log(home):
    """After a kill -9 the newest is in registry.db-wal alone."""
    db = sqlite3.connect(home / "registry.db", isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; UPDATE devices SET label = 'newest' WHERE cn = 'f60c28';")
    copy = home / "copy"
    copy.mkdir()
    for name in ("registry.db", "registry.db-wal"):
        (copy / name).write_bytes((home / name).read_bytes())
    db.close()
    assert dump(copy)["devices"][0]["label"] == "newest"


def test_damage(home):
    change(home, "UPDATE device_tally SET n = 5; DELETE FROM presence; INSERT INTO presence VALUES(77, 1, 0, 0, 0, '', '', 0);")
    result = kit.signet("registry", "check", home, check=False)
    assert result.returncode == 1
    assert "tenant default: the number of its devices is kept as 5 and is 1" in result.stdout
    assert "table presence: row 77 refers to something in devices that is not there" in result.stdout
    assert "DAMAGED" in result.stdout and "put a backup" in result.stdout
    path = home / "registry.db"
    data = bytearray(path.read_bytes())
    data[4096 * 5:4096 * 40] = bytes(4096 * 35)
    path.write_bytes(data)
    assert kit.signet("registry", "check", home, check=False).returncode == 1


@pytest.mark.parametrize("make, says", [
    (lambda p: p.write_bytes(b"x" * 5000), "is not an SQLite database"),
    (lambda p: p.unlink(), "No such file or directory"),
    (lambda p: (p.unlink(), p.mkdir()), "not a regular file"),
    (lambda p: change(p.parent, "PRAGMA user_version = 4"), "use the newer program"),
    (lambda p: change(p.parent, "PRAGMA application_id = 5"), "another program's database"),
])
def test_no_registry(home, make, says):
    make(home / "registry.db")
    for what in ("check", "stats", "dump"):
        result = kit.signet("registry", what, home, check=False)
        assert result.returncode == 1 and says in result.stderr, result.stderr


def test_a_process_has_it(home):
    with open(home / "registry.db.lock", "w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = kit.signet("registry", "stats", home, check=False)
        assert result.returncode == 1 and f"process {os.getpid()} has the registry open" in result.stderr
    assert kit.signet("registry", "stats", home).returncode == 0


def test_usage():
    assert kit.signet("registry", "check", check=False).returncode == 2
    assert kit.signet("registry", "nothing", check=False).returncode == 2
    assert "check " in kit.signet("registry", "--help").stdout
