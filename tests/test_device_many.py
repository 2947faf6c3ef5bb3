"""signet device add --from: many devices of a CSV file, whatever happens meanwhile."""
import csv
import fcntl
import os
import shutil
import signal
import subprocess

import kit
import pytest


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return kit.Pki(tmp_path_factory.mktemp("m") / "d")


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def live(pki):
    """How many live certificates each name has in the CA's index."""
    found = {}
    for line in kit.signet("ca", "list", "--dir", pki.dir, "--ca", "client").stdout.splitlines():
        if " live" in line:
            name = next((w for w in line.split() if w.startswith(("many-", "dev-", "shared-"))), None)
            if name:
                found[name] = found.get(name, 0) + 1
    return found


def test_each_line_is_told_and_good_ones_are_done(pki, tmp_path):
    file = tmp_path / "devices.csv"
    file.write_bytes(b"\xef\xbb\xbflabel,id\r\n\"Door, 3\",dev-1\r\n,dev-2\r\nbad\"quote,dev-3\r\nx,a/b\r\n\r\n,dev-2\r\n,dev-4")
    out = kit.signet("device", "add", "--from", file, "--dir", pki.dir, check=False)
    assert out.returncode == 1 and "3 devices made, 1 were there already, 2 errors" in out.stdout
    assert f"{file}:4: this is not CSV: a quote stands inside a field" in out.stderr and f"{file}:5: 'a/b' cannot be a device's id" in out.stderr
    result = rows(f"{file}.result.csv")
    assert [(r["line"], r["id"], r["state"]) for r in result] == [("2", "dev-1", "made"), ("3", "dev-2", "made"), ("4", "", "error"), ("5", "a/b", "error"),
                                                                  ("7", "dev-2", "there already"), ("8", "dev-4", "made")]
    assert {r["registered"] for r in result} == {"no"} and len({r["serial"] for r in result if r["serial"]}) == 3
    for name in ("dev-1", "dev-2", "dev-4"):
        assert sorted(p.name for p in (pki.dir / "clients" / name).iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
        assert (pki.dir / "clients" / name / "key.pem").stat().st_mode & 0o777 == 0o600
    again = kit.signet("device", "add", "--from", file, "--dir", pki.dir, check=False)
    assert "0 devices made, 4 were there already, 2 errors" in again.stdout
    assert {n: k for n, k in live(pki).items() if n.startswith("dev-")} == {"dev-1": 1, "dev-2": 1, "dev-4": 1}


def test_a_header_says_what_there_is(pki, tmp_path):
    file = tmp_path / "x.csv"
    for text, words in ("id,colour\na,b\n", "'colour' is none"), ("label\nx\n", "there is no column id"), ('"id\n', "the first line is not CSV"):
        file.write_text(text)
        out = kit.signet("device", "add", "--from", file, "--dir", pki.dir, check=False)
        assert out.returncode == 1 and words in out.stderr
    assert kit.signet("device", "add", "x", "--from", file, "--dir", pki.dir, check=False).returncode == 2
    file.write_text("id;label\nsemi;x\n")
    assert "1 devices made" in kit.signet("device", "add", "--from", file, "--separator", ";", "--dir", pki.dir).stdout


def test_nothing_is_made_twice_however_often_it_is_killed(pki, tmp_path):
    """Killed while it makes keys, while it writes the audit log and the index, and while folders get their names; begun again each time."""
    file = tmp_path / "many.csv"
    names = [f"many-{i:03}" for i in range(300)]
    file.write_text("id\n" + "\n".join(names) + "\n")
    clients, log, index = pki.dir / "clients", pki.dir / "audit.log", pki.dir / "pki/client/index.txt"

    def unfinished():
        return sum(1 for p in os.listdir(clients) if p.startswith(".many-") and ".many-" in p[1:])

    def there():
        return sum(1 for p in os.listdir(clients) if p in wanted)

    def grown(path, by=1):
        before = path.stat().st_size
        return lambda: path.stat().st_size >= before + by

    wanted = set(names)
    seen = {}
    for begin in (lambda: lambda: unfinished() >= 5, lambda: lambda: unfinished() >= 150, lambda: grown(log), lambda: grown(log, 60000), lambda: grown(index),
                  lambda: lambda: there() >= 20, lambda: lambda: there() > 200):
        stop = begin()
        with open(os.devnull, "wb") as null:
            process = subprocess.Popen([kit.SIGNET, "device", "add", "--from", file, "--dir", pki.dir], stdout=null, stderr=null)
        kit.wait_for(lambda stop=stop, process=process: stop() or process.poll() is not None, "it to get so far", seconds=60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # What is there has the key that it had.
        keys = {n: (clients / n / "key.pem").read_bytes() for n in names if (clients / n).exists()}
        assert all(keys[n] == k for n, k in seen.items())
        seen = keys
    out = kit.signet("device", "add", "--from", file, "--dir", pki.dir)
    assert " 0 errors" in out.stdout
    assert {n: k for n, k in live(pki).items() if n.startswith("many-")} == {n: 1 for n in names}
    assert {p.name for p in clients.iterdir() if p.name.startswith("many-")} == wanted
    assert [p for p in os.listdir(clients) if p.startswith(".")] == []
    assert all((clients / n / "key.pem").read_bytes() == k for n, k in seen.items())
    for name in names:
        assert sorted(os.listdir(clients / name)) == ["ca.pem", "cert.pem", "key.pem"]
    # All of them have a line, with the certificate that they have.
    result = rows(f"{file}.result.csv")
    assert len({r["serial"] for r in result}) == 300 and {r["state"] for r in result} <= {"made", "there already"}
    # Each certificate that is live is in its folder, and its copy in the CA's.
    copies = {p.name for p in (pki.dir / "pki/client/certs").iterdir()}
    for r in result:
        assert r["serial"] + ".pem" in copies
        assert (clients / r["id"] / "cert.pem").read_text().startswith((pki.dir / "pki/client/certs" / (r["serial"] + ".pem")).read_text())
    kit.signet("audit", "verify", "--dir", pki.dir)


def test_only_what_is_left_of_its_own_is_mended(pki, tmp_path):
    """Neither a device whose name looks like a folder half made, nor what another CA makes or a person has put there."""
    clients = pki.dir / "clients"
    for name in ("a", "a.new-000001", "a.many-000001"):
        kit.signet("device", "add", name, "--dir", pki.dir)
    kit.signet("ca", "issue", "--ca", "watch", "eyes", "--dir", pki.dir)
    (clients / "eyes").rename(clients / ".eyes.new-AAAAAA")  # as kill -9 leaves it
    (clients / ".begun.new-BBBBBB").mkdir()  # somebody is at it now
    (clients / "a.many-000001").rename(clients / ".a.many-CCCCCC")
    (clients / ".b.many-DDDDDD").mkdir()
    (clients / ".b.many-DDDDDD/key.pem").touch()
    keys = {n: (clients / n / "key.pem").read_bytes() for n in ("a", "a.new-000001", ".eyes.new-AAAAAA", ".a.many-CCCCCC")}
    file = tmp_path / "few.csv"
    file.write_text("id\ndev-few\n")
    assert "1 devices made" in kit.signet("device", "add", "--from", file, "--dir", pki.dir).stdout
    assert {n: (clients / n / "key.pem").read_bytes() for n in keys} == keys
    assert (clients / ".begun.new-BBBBBB").exists() and not (clients / ".b.many-DDDDDD").exists()
    for name in os.listdir(clients):
        if name.startswith("."):
            shutil.rmtree(clients / name)


def test_the_index_is_shared(pki, tmp_path):
    """Others issue between the turns: what they did is seen."""
    file = tmp_path / "shared.csv"
    file.write_text("id\n" + "".join(f"shared-{i:03}\n" for i in range(450)))
    process = subprocess.Popen([kit.SIGNET, "device", "add", "--from", file, "--dir", pki.dir], stdout=subprocess.PIPE, text=True)
    kit.wait_for(lambda: (pki.dir / "clients/shared-000").exists(), "the first turn", seconds=60)
    other = kit.signet("device", "add", "shared-449", "--dir", pki.dir, check=False)
    out = process.communicate()[0]
    made = 450 if other.returncode != 0 else 449
    assert f"{made} devices made, {450 - made} were there already, 0 errors" in out
    assert [n for n, k in live(pki).items() if n.startswith("shared-") and k != 1] == []


def test_one_at_a_time(pki, tmp_path):
    file = tmp_path / "two.csv"
    file.write_text("id\ntwo\n")
    folder = os.open(pki.dir / "clients", os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        out = kit.signet("device", "add", "--from", file, "--dir", pki.dir, check=False)
        assert out.returncode == 1 and "wait until it has ended" in out.stderr and not (pki.dir / "clients/two").exists()
    finally:
        os.close(folder)
    assert "1 devices made" in kit.signet("device", "add", "--from", file, "--dir", pki.dir).stdout
