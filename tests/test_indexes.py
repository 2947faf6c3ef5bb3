"""The registry learns what commands issued and revoked: while control was down, while it runs, and both at once; nothing of it twice."""
import json
import sqlite3
import subprocess

import pytest

import apikit
import kit


@pytest.fixture
def pki(tmp_path):
    return kit.Pki(tmp_path / "site")


def booked(pki):
    """(CA, serial number): state, as the commands know it. That control replaces its responders', only the registry says."""
    entries = json.loads(kit.signet("ca", "list", "--dir", pki.dir, "--json").stdout)
    return {(e["ca"], e["serial"]): e["status"] for e in entries if not e["name"].startswith("OCSP responder")}


def registered(client, keys):
    """What the API says of these; those of nobody's device are in no list."""
    answers = {(ca, serial): client("GET", f"/api/v1/certificates/{ca}/{serial}") for ca, serial in keys}
    return {key: answer.json["state"] for key, answer in answers.items() if answer.status == 200}


def same(client, pki):
    words = {"live": "active", "revoked": "revoked", "replaced": "superseded", "dropped": "superseded", "expired": "active"}
    expected = {k: words[v] for k, v in booked(pki).items()}
    return registered(client, expected) == expected


def on_list(pki):
    """The list's number and serial numbers, as openssl reads them."""
    result = subprocess.run(["openssl", "crl", "-in", pki.dir / "crls/client.pem", "-noout", "-verify", "-CAfile", pki.dir / "pki/client/cert.pem", "-text"],
                            capture_output=True, text=True)
    assert "verify OK" in result.stderr
    number = result.stdout.split("CRL Number:")[1].split()[0]
    return int(number), {line.split(":")[1].strip().lower() for line in result.stdout.splitlines() if "Serial Number:" in line}


def test_what_commands_do_is_told(pki):
    with apikit.Served(pki) as served:
        c = served.login()
        for name in ("heard", "heard-2"):
            assert c("POST", "/api/v1/devices", {"id": name}).status == 201
        with apikit.Events(c, "?kinds=certificate") as events:
            for name, reason, what in (("heard", "certificateHold", "held"), ("heard-2", "keyCompromise", "revoked")):
                kit.signet("ca", "issue", "--ca", "client", name, "--dir", pki.dir)
                events.until("certificate", cn=name, what="issued", device=name)
                kit.signet("ca", "revoke", name, "--reason", reason, "--dir", pki.dir)
                events.until("certificate", cn=name, what=what)


def serials(pki, status):
    return {serial for (ca, serial), s in booked(pki).items() if ca == "client" and s == status}


def test_what_commands_did_before_beside_and_after(pki, tmp_path):
    def marks():
        return [line.split()[:2] for line in index.read_text().splitlines() if line.startswith(("revoked", "live"))]

    index = pki.dir / "pki/client/index.txt"
    for name in ("before", "gone"):
        kit.signet("device", "add", name, "--dir", pki.dir)
    for _ in range(3):
        kit.signet("ca", "revoke", "gone", "--dir", pki.dir)
    first = on_list(pki)
    assert len(first[1]) == 1
    with apikit.Served(pki) as served:
        c = served.login()
        kit.wait_for(lambda: same(c, pki), "what was there before")
        # Ours would not be taken for newer otherwise.
        kit.wait_for(lambda: c("GET", "/api/v1/cas/client").json["list"]["number"] >= first[0], "the number of the command's list")
        kit.signet("device", "add", "beside", "--dir", pki.dir)
        kit.wait_for(lambda: same(c, pki), "what was issued beside")
        # Nobody registered these names: they are listed nowhere but here, to whom the installation is.
        listed = {(x["ca"], x["cn"]) for x in c("GET", "/api/v1/certificates?without_device=true&state=active&limit=100").json["items"]}
        assert {("client", "before"), ("client", "beside"), ("control", "controller"), ("cloud", "localhost")} <= listed and ("client", "gone") not in listed
        assert c("GET", "/api/v1/certificates").json["items"] == []
        kit.signet("ca", "revoke", "beside", "--dir", pki.dir)
        kit.wait_for(lambda: same(c, pki), "what was revoked beside")
        # Ours follows, with all of them and a higher number; and theirs after it.
        assert c("POST", "/api/v1/devices", {"id": "api"}).status == 201
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "k", "-subj", "/CN=x",
                        "-out", tmp_path / "csr"], check=True, capture_output=True)
        csr = (tmp_path / "csr").read_text()
        # Both at once: each is there once, and nobody is refused.
        commands = [subprocess.Popen([kit.SIGNET, "device", "add", f"both-{i}", "--dir", str(pki.dir)], stdout=subprocess.DEVNULL) for i in range(2)]
        made = []
        while any(p.poll() is None for p in commands) or len(made) < 5:
            answer = c("POST", "/api/v1/devices/api/certificates", {"csr": csr})
            assert answer.status == 201, answer
            made.append(answer.json["serial"])
        assert [p.returncode for p in commands] == [0, 0]
        kit.wait_for(lambda: same(c, pki), "what came from both")
        before = on_list(pki)
        answer = c("POST", f"/api/v1/certificates/client/{made[0]}/revoke", {"reason": "keyCompromise"})
        assert answer.status == 200, answer
        kit.wait_for(lambda: on_list(pki)[1] == serials(pki, "revoked"), "a list with all of them")
        assert on_list(pki)[0] > before[0] and made[0] in on_list(pki)[1]
        assert c("POST", f"/api/v1/certificates/client/{made[-1]}/hold").status == 200
        kit.wait_for(lambda: ["revoked", made[-1]] in marks(), "the hold")
    kit.signet("device", "add", "after", "--dir", pki.dir)
    kit.signet("ca", "revoke", "before", "--dir", pki.dir)
    # Somebody else released it; and control was killed after the signer had booked, before it could note that.
    hold = next(line for line in index.read_text().splitlines(True) if line.split()[:2] == ["revoked", made[-1]])
    with index.open("a") as file:
        file.write("\t".join(["live", *hold.split()[1:3]]) + "\n")
    db = sqlite3.connect(pki.dir / "registry.db", isolation_level=None)
    db.executescript("DELETE FROM settings WHERE name LIKE 'index/%'; INSERT OR IGNORE INTO unbooked SELECT id FROM certificates WHERE state >= 2;")
    db.close()
    with served:
        served.start()
        c = served.login()
        kit.wait_for(lambda: same(c, pki), "what was done meanwhile")
        kit.wait_for(lambda: on_list(pki)[1] == serials(pki, "revoked"), "the list")
        # What came through ourselves is not looked at again.
        assert served.text().count("learned from pki/client/index.txt") <= 2
        # Nothing of it is booked again; what is asked of the signer later is booked behind it.
        assert c("GET", f"/api/v1/certificates/client/{made[-1]}").json["state"] == "active"
        assert c("POST", f"/api/v1/certificates/client/{made[1]}/revoke", {"reason": "keyCompromise"}).status == 200
        kit.wait_for(lambda: ["revoked", made[1]] in marks(), "the last one")
        assert all(marks().count(mark) == 1 for mark in marks()), marks()
    assert kit.signet("registry", "check", "--dir", pki.dir, check=False).returncode in (0, 2)


def test_what_was_held_for_a_moment_stays_replaced(pki, tmp_path):
    """The index is read later than it is written: "held, released" of one that was replaced since makes it good no more."""
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "k", "-subj", "/CN=x",
                    "-out", tmp_path / "csr"], check=True, capture_output=True)
    csr, index = {"csr": (tmp_path / "csr").read_text()}, pki.dir / "pki/client/index.txt"
    with apikit.Served(pki) as served:
        c = served.login()
        assert c("POST", "/api/v1/devices", {"id": "api"}).status == 201
        held, gone, old, fence = [c("POST", "/api/v1/devices/api/certificates", csr).json["serial"] for _ in range(4)]
        one = "/api/v1/certificates/client/"
        for step in (held + "/hold", held + "/release"):
            assert c("POST", one + step).status == 200
        assert c("POST", one + gone + "/revoke", {"reason": "superseded"}).status == 200
        assert c("POST", one + old + "/renew", csr).status == 201
        lines = [line for line in index.read_text().splitlines(True) if held in line and not line.startswith("issued")]
        assert [line.split()[0] for line in lines] == ["revoked", "live"]
        end = next(line for line in index.read_text().splitlines(True) if gone in line and line.startswith("revoked"))
        with index.open("a") as file:
            file.write("".join(lines).replace(held, old) + end.replace(gone, fence))
        kit.wait_for(lambda: c("GET", one + fence).json["state"] == "revoked", "what was written last")
        assert c("GET", one + old).json["state"] == "superseded"


def foreign_ca(folder, name):
    """Somebody's own: (key, certificate)."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "99",
                    "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"], check=True, capture_output=True)
    return key, cert


def test_cas_that_come_meanwhile(pki, tmp_path):
    """One that is adopted, with its key, and one of a factory: control knows them without anybody's word, and the signer signs with the first."""
    with apikit.Served(pki, "require_registration true") as served:
        c = served.login()
        before = {x["name"] for x in c("GET", "/api/v1/cas").json["items"]}

        def cas():
            try:
                return {x["name"]: x for x in served.login()("GET", "/api/v1/cas").json["items"]}
            except (OSError, apikit.http.client.HTTPException, AssertionError):
                return {}  # control is being started again
        key, cert = foreign_ca(tmp_path, "acme")
        kit.signet("ca", "adopt", "--dir", pki.dir, "--name", "acme", "--key", key, "--cert", cert, "--role", "client", "--no-passphrase")
        kit.wait_for(lambda: cas().get("acme", {}).get("own"), "the CA that was adopted", 60)
        kit.signet("ca", "issue", "--dir", pki.dir, "--ca", "acme", "below")
        c = served.login()
        found = kit.wait_for(lambda: c("GET", "/api/v1/certificates?without_device=true&cn=below").json["items"], "its certificate")
        assert found[0]["ca"] == "acme"
        _, cert = foreign_ca(tmp_path, "maker")
        with open(served.conf, "a") as conf:  # the command writes it to signet.conf, which is not what runs here
            conf.write(f"role_ca factory {pki.dir}/pki/trusted/factory-maker.pem\n")
        kit.signet("ca", "trust", "--dir", pki.dir, "--role", "factory", "--name", "maker", cert)
        kit.wait_for(lambda: cas().get("factory-maker", {}).get("role") == "factory", "the factory's CA", 60)
        assert set(cas()) == before | {"acme", "factory-maker"}
