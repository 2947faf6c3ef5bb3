"""signet device add --from: many devices of a CSV file, whatever happens meanwhile."""
import csv
import os
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
            name = next((w for w in line.split() if w.startswith(("many-", "dev-"))), None)
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
    """Killed when so many folders are there, three times, and begun again each time."""
    file = tmp_path / "many.csv"
    names = [f"many-{i:03}" for i in range(120)]
    file.write_text("id\n" + "\n".join(names) + "\n")
    clients = pki.dir / "clients"

    def there():
        return sum(1 for p in clients.iterdir() if p.name in wanted)

    wanted = set(names)
    for stop in (7, 40, 90):
        with open(os.devnull, "wb") as null:
            process = subprocess.Popen([kit.SIGNET, "device", "add", "--from", file, "--dir", pki.dir], stdout=null, stderr=null)
        kit.wait_for(lambda stop=stop, process=process: there() >= stop or process.poll() is not None, "so many devices")
        process.send_signal(signal.SIGKILL)
        process.wait()
    out = kit.signet("device", "add", "--from", file, "--dir", pki.dir)
    assert " 0 errors" in out.stdout
    assert {n: k for n, k in live(pki).items() if n.startswith("many-")} == {n: 1 for n in names}
    assert {p.name for p in clients.iterdir() if p.name.startswith("many-")} == wanted
    kit.signet("audit", "verify", "--dir", pki.dir)
