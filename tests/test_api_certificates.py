"""Certificates by the API, signed by the signer beside it: `signet serve` with all three processes; openssl is the referee."""
import datetime
import io
import json
import os
import re
import shlex
import signal
import subprocess
import tarfile
import time
import urllib.parse
import zipfile

import apikit
import certs
import clienttools
import kit
import pytest


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with apikit.Served(kit.Pki(tmp_path_factory.mktemp("s") / "d"), "require_registration true") as s:
        yield s


@pytest.fixture(scope="module")
def admin(served):
    return served.login()


def openssl(*words, data=None, check=True):
    done = subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, timeout=kit.PATIENCE)
    assert not check or done.returncode == 0, done
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def request(folder, name, *words, key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """(PEM of a request, its key's file)"""
    path = folder / f"{name}.key"
    text = openssl("req", "-new", *key, "-nodes", "-keyout", path, "-subj", f"/CN={name}", "-outform", "PEM", *words)
    return text[text.index("-----BEGIN CERTIFICATE REQUEST"):], path


def device(admin, folder, name, tenant=""):
    """Registered, with a certificate: the answer, and the files for a client."""
    assert admin("POST", "/api/v1/devices" + tenant, {"id": name}).status == 201
    csr, key = request(folder, name)
    issued = admin("POST", f"/api/v1/devices/{name}/certificates" + tenant, {"csr": csr})
    assert issued.status == 201, issued
    cert = folder / f"{name}.pem"
    cert.write_text(issued.json["pem"])
    return issued.json, {"cert": cert, "key": key}


def chain(served, files):
    """With the CA below the root, which a client sends, too."""
    cert = files["cert"].with_suffix(".chain")
    cert.write_text(files["cert"].read_text() + (served.dir / "pki/client/cert.pem").read_text())
    return {"cert": cert, "key": files["key"], "ca": served.dir / "pki/ca.pem"}


def one(certificate):
    return f"/api/v1/certificates/{certificate['ca']}/{certificate['serial']}"


def connects(served, name, files):
    try:
        kit.Client(served, name, files, version=kit.V5, port=served.mqtt).close()
        return True
    except kit.Refused:
        return False


def revoked_in_file(served, serial):
    path = served.dir / "crls/client.pem"
    return path.exists() and serial.upper() in openssl("crl", "-in", path, "-noout", "-text").upper()


def test_a_device_from_its_registration_to_its_end(served, admin, tmp_path):
    document = admin("GET", "/api/v1/openapi.json").json
    certificate, files = device(admin, tmp_path, "sensor01")
    apikit.conforms(document, {"$ref": "#/components/schemas/Certificate"}, certificate)
    assert certificate["cn"] == certificate["device"] == "sensor01" and certificate["by"] == "user:admin" and certificate["origin"] == "api"
    assert ": OK" in openssl("verify", "-purpose", "sslclient", "-CAfile", served.dir / "pki/ca.pem", files["cert"])
    assert certificate["serial"].upper() in openssl("x509", "-in", files["cert"], "-noout", "-serial").replace(":", "")
    assert admin("GET", one(certificate)).json == certificate
    listed = admin("GET", "/api/v1/certificates?device=sensor01").json["items"]
    assert [c["serial"] for c in listed] == [certificate["serial"]]
    client = chain(served, files)
    kit.wait_for(lambda: connects(served, "sensor01", client), "the device to get in")
    live = kit.Client(served, "sensor01", client, version=kit.V5, port=served.mqtt)
    answer = admin("POST", one(certificate) + "/revoke", {"reason": "keyCompromise"})
    assert answer.status == 200 and answer.json["state"] == "revoked" and answer.json["reason"] == "keyCompromise"
    # The list is out when the answer is.
    assert revoked_in_file(served, certificate["serial"])
    live.wait_closed()
    live.close()
    verdict = openssl("verify", "-crl_check", "-CAfile", served.dir / "pki/ca.pem", "-CRLfile", served.dir / "crls/client.pem", files["cert"], check=False)
    assert "revoked" in verdict
    der = admin("GET", "/api/v1/cas/client/crl")
    assert der.type == "application/pkix-crl" and certificate["serial"].upper() in openssl("crl", "-inform", "DER", "-noout", "-text", data=der.body).upper()
    assert admin("POST", one(certificate) + "/revoke", {"reason": "superseded"}).status == 409
    assert admin("POST", one(certificate) + "/release").status == 409
    ca = admin("GET", "/api/v1/cas/client").json
    assert ca["own"] is True and ca["role"] == "client" and ca["list"]["due"] is False and ca["list"]["number"] >= 1
    assert ": OK" in openssl("verify", "-CAfile", served.dir / "pki/ca.pem", served.dir / "pki/client/cert.pem")


def test_hold_release_and_renewal(served, admin, tmp_path):
    first, _ = device(admin, tmp_path, "sensor02")
    assert admin("POST", one(first) + "/hold").json["state"] == "hold"
    assert revoked_in_file(served, first["serial"])
    csr, _ = request(tmp_path, "sensor02")
    assert admin("POST", one(first) + "/renew", {"csr": csr}).status == 409
    assert admin("POST", one(first) + "/release").json["state"] == "active"
    assert not revoked_in_file(served, first["serial"])
    second = admin("POST", one(first) + "/renew", {"csr": csr})
    assert second.status == 201 and second.json["serial"] != first["serial"] and second.json["cn"] == "sensor02"
    assert admin("GET", one(first)).json["state"] == "superseded"
    # With a key of idempotency one certificate, however often it is asked for.
    key = {"Idempotency-Key": "k1"}
    again = [admin("POST", "/api/v1/devices/sensor02/certificates", {"csr": csr, "days": 7}, headers=key) for _ in range(2)]
    assert again[0].status == 201 and again[0].body == again[1].body
    # Removal revokes what is left.
    assert admin("DELETE", "/api/v1/devices/sensor02").status == 204
    kit.wait_for(lambda: revoked_in_file(served, again[0].json["serial"]) and revoked_in_file(served, second.json["serial"]), "the list")


def test_when_certificates_end_is_counted_by_day_week_and_ca(served, admin, tmp_path):
    document = admin("GET", "/api/v1/openapi.json").json

    def expiry(query=""):
        answer = admin("GET", "/api/v1/certificates/expiry" + query)
        assert answer.status == 200, answer
        apikit.conforms(document, {"$ref": "#/components/schemas/Expiry"}, answer.json)
        said = answer.json
        assert said["total"] == said["before"] + said["later"] + sum(said["counts"])
        return said

    def active():
        return admin("GET", "/api/v1/cas/client").json["active"]

    today = "&from=" + expiry()["from"]
    before, of_client = expiry("?count=30&step=day" + today), active()
    assert (before["step"], len(before["counts"]), len(expiry()["counts"]), expiry()["step"]) == ("day", 30, 53, "week")
    assert admin("POST", "/api/v1/devices", {"id": "ends01"}).status == 201
    csr, _ = request(tmp_path, "ends01")
    made = [admin("POST", "/api/v1/devices/ends01/certificates", {"csr": csr, "days": days}).json for days in (3, 12, 12)]
    after = expiry("?count=30&step=day" + today)
    assert sum(after["counts"]) == sum(before["counts"]) + 3
    for one_ in made:
        assert after["counts"][days_between(after["from"], one_["not_after"])] > 0
    weeks = expiry("?count=3" + today)
    assert weeks["counts"] == [sum(after["counts"][i:i + 7]) for i in (0, 7, 14)] and weeks["total"] == after["total"]
    assert expiry("?ca=client&step=day&count=30")["total"] == active() == of_client + 3 and expiry("?ca=watch")["total"] == 0
    assert expiry("?from=2099-01-01T00:00:00Z&count=1")["before"] == after["total"]
    assert {c["name"]: c["active"] for c in admin("GET", "/api/v1/cas").json["items"]}["client"] == active()
    # What is revoked does not end any more.
    assert admin("POST", one(made[0]) + "/revoke", {"reason": "superseded"}).status == 200
    assert expiry()["total"] == after["total"] - 1 and active() == of_client + 2
    assert admin("GET", "/api/v1/certificates/expiry?ca=nothing").status == 404 and admin("GET", "/api/v1/certificates/expiry?count=1001").status == 400
    # The list by CA, what ends first before the rest.
    ends = [c["not_after"] for c in admin("GET", "/api/v1/certificates?order=expiry&ca=client").json["items"]]
    assert ends == sorted(ends) and len(ends) == active()


def days_between(first, second):
    form = "%Y-%m-%dT%H:%M:%SZ"
    return (datetime.datetime.strptime(second, form).date() - datetime.datetime.strptime(first, form).date()).days


def test_requests_that_must_not_be_signed(served, admin, tmp_path):
    assert admin("POST", "/api/v1/devices", {"id": "sensor03"}).status == 201

    def issue(csr):
        return admin("POST", "/api/v1/devices/sensor03/certificates", {"csr": csr})

    # What it wishes to be is not asked.
    csr, _ = request(tmp_path, "other", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "extendedKeyUsage=serverAuth,OCSPSigning")
    issued = issue(csr)
    assert issued.status == 201 and issued.json["cn"] == "sensor03"
    text = openssl("x509", "-noout", "-text", data=issued.json["pem"].encode())
    assert "CA:TRUE" not in text and "OCSP Signing" not in text and "TLS Web Server" not in text
    weak, _ = request(tmp_path, "weak", key=("-newkey", "rsa:1024"))
    md5, _ = request(tmp_path, "md5", "-md5", key=("-newkey", "rsa:2048"))
    good = certs.pem_bytes(csr)
    broken = certs.pem("CERTIFICATE REQUEST", good[:-4] + bytes([good[-4] ^ 1]) + good[-3:])
    for bad in (weak, md5, broken, certs.pem("CERTIFICATE REQUEST", good[:-9]), certs.pem("CERTIFICATE REQUEST", b"0\x80"),
                "-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----\n", "-----BEGIN "):
        answer = issue(bad)
        assert 400 <= answer.status < 500, (bad, answer)
    assert admin("POST", "/api/v1/devices/nobody/certificates", {"csr": csr}).status == 404


def test_one_device_id_in_two_tenants(served, admin, tmp_path):
    made = {}
    for tenant in ("red", "blue"):
        assert admin("POST", "/api/v1/tenants", {"name": tenant}).status == 201
        (tmp_path / tenant).mkdir()
        made[tenant], _ = device(admin, tmp_path / tenant, "twin", f"?tenant={tenant}")
        assert made[tenant]["cn"] == f"{tenant}:twin" and made[tenant]["tenant"] == tenant
    assert admin("DELETE", "/api/v1/devices/twin?tenant=red").status == 204
    kit.wait_for(lambda: revoked_in_file(served, made["red"]["serial"]), "the list")
    assert admin("GET", one(made["blue"]) + "?tenant=blue").json["state"] == "active"
    assert not revoked_in_file(served, made["blue"]["serial"])
    assert admin("GET", one(made["blue"]) + "?tenant=red").status == 404


def test_what_a_removal_revokes_is_in_the_index_too(served, admin, tmp_path):
    """So that a list which a command makes of the index lets nobody in again."""
    certificate, _ = device(admin, tmp_path, "removed")
    assert admin("DELETE", "/api/v1/devices/removed").status == 204

    def status():
        return next(e["status"] for e in json.loads(kit.signet("ca", "list", "--dir", served.dir, "--json").stdout) if e["serial"] == certificate["serial"])
    kit.wait_for(lambda: status() == "revoked", "the signer's book")
    kit.signet("ca", "revoke", "--ca", "client", "--dir", served.dir)
    assert revoked_in_file(served, certificate["serial"])
    records = [json.loads(line) for line in (served.dir / "audit.log").read_text().splitlines()]
    assert [r["details"]["reason"] for r in records if r["action"] == "revoke" and r["object"] == certificate["serial"]] == ["5"]


def test_what_was_done_is_in_the_audit_log(served, admin):
    assert admin("POST", "/api/v1/devices", {"id": "audited"}).status == 201
    text = kit.wait_for(lambda: next((x for x in (served.dir / "audit.log").read_text().splitlines() if '"/api/v1/devices/audited"' in x), None), "the record")
    assert "control/user:admin" in text and "createDevice" in text
    assert kit.signet("audit", "verify", "--dir", served.dir).returncode == 0


def records(served):
    return [json.loads(line) for line in (served.dir / "audit.log").read_text().splitlines()]


def test_what_was_done_to_many_names_them_all(served, admin):
    """So that one of them is found again, also when they are more than one record holds."""
    short, long_ids = [f"many-{i}" for i in range(300)], [f"{i:04}" + "l" * 60 for i in range(400)]
    for ids in (short, long_ids):
        assert admin("POST", "/api/v1/devices/bulk", {"devices": [{"id": i} for i in ids]}).status == 201
    answer = admin("POST", "/api/v1/devices/bulk/update", {"devices": [{"id": "many-7", "label": "x"}, {"id": "no-such", "label": "x"}]})
    assert answer.json["done"] == 1
    assert admin("POST", "/api/v1/devices/bulk/delete", {"ids": short + long_ids}).json["failed"] == 0

    def named(action, part):
        found = admin("GET", f"/api/v1/audit?action={action}&object={urllib.parse.quote(part, safe='')}").json["items"]
        return [x["details"] for x in found]
    kit.wait_for(lambda: named("deleteDevices", f"/{long_ids[-1]}/"), "the last record")
    assert [d["count"] for d in named("createDevices", "/many-177/")] == ["300"]
    assert [d["count"] for d in named("deleteDevices", "/many-17/")] != [] and len(named("createDevices", f"/{long_ids[250]}/")) == 1
    assert [(d["count"], d["names"]) for d in named("updateDevices", "/many-7/")] == [("1", "/many-7/")] and named("updateDevices", "/no-such/") == []
    of_all = [r["details"] for r in records(served) if r["action"] == "createDevices"]
    assert sum(int(d["count"]) for d in of_all) == 700
    assert sorted(i for d in of_all for k, v in d.items() if k.startswith("names") for i in v.strip("/").split("/")) == sorted(short + long_ids)


def test_what_is_done_while_the_signer_is_away_is_in_the_audit_log(served):
    """It hangs, and is killed: what it was told in vain is told to the next one, once, and says when it was."""
    admin = served.login()
    os.kill(int(re.findall(r"The signer is process (\d+)\.", served.text())[-1]), signal.SIGSTOP)
    names = [f"unheard-{i}" for i in range(70)]
    mark = len(served.text())
    try:
        for name in names:
            assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
        assert not any("unheard" in r["object"] for r in records(served))
    finally:
        served.kill("signer")
    kit.wait_for(lambda: "Control listens on" in served.text()[mark:], "control after the end of the signer")
    admin = served.login()

    def logged():
        return [r["object"] for r in records(served) if r["action"] == "createDevice" and "unheard" in r["object"]]
    kit.wait_for(lambda: len(logged()) >= len(names), "the records")
    assert logged() == [f"/api/v1/devices/{name}" for name in names]
    numbers = [int(r["details"]["record"]) for r in records(served) if r["object"] in logged()]
    assert numbers == sorted(set(numbers))
    assert kit.signet("audit", "verify", "--dir", served.dir).returncode == 0


def test_the_signer_and_control_are_killed(served, tmp_path):
    admin = served.login()
    certificate, files = device(admin, tmp_path, "sensor04")
    client = chain(served, files)
    kit.wait_for(lambda: connects(served, "sensor04", client), "the device to get in")
    live = kit.Client(served, "sensor04", client, version=kit.V5, port=served.mqtt)
    for name in ("signer", "control"):
        mark = len(served.text())
        served.kill(name)
        kit.wait_for(lambda: "Control listens on" in served.text()[mark:], f"control after the end of the {name}")
        admin = served.login()
        assert admin("GET", one(certificate)).json["state"] == "active"
    # The broker has not noticed.
    live.subscribe(f"{kit.PREFIX}/sensor04/config")
    answer = kit.wait_for(lambda: (lambda a: a if a.status != 503 else None)(admin("POST", one(certificate) + "/revoke", {"reason": "superseded"})), "the signer")
    assert answer.status == 200
    live.wait_closed()
    live.close()
    assert revoked_in_file(served, certificate["serial"])


def test_the_audit_log_is_read_from_its_end(served):
    admin = served.login()
    document = admin("GET", "/api/v1/openapi.json").json
    assert admin("POST", "/api/v1/devices", {"id": "read-back"}).status == 201

    def page(query=""):
        answer = admin("GET", "/api/v1/audit" + query)
        apikit.conforms(document, document["paths"]["/api/v1/audit"]["get"]["responses"]["200"]["content"]["application/json"]["schema"], answer.json)
        return answer.json

    kit.wait_for(lambda: page("?action=createDevice&limit=1&actor=user:admin")["items"], "the record")
    everything, cursor = [], "?limit=7"
    while cursor:
        got = page(cursor)
        everything += got["items"]
        cursor = got["next"] and f"?limit=7&cursor={got['next']}"
    numbers = [r["n"] for r in everything]
    assert numbers == list(range(numbers[0], 0, -1)) and len(numbers) > 7 and all(r["intact"] for r in everything)
    assert all(a["prev"] == b["hash"] for a, b in zip(everything, everything[1:]))
    some = page(f"?from={everything[-1]['time']}&until={everything[-1]['time']}")
    assert some["items"] == []
    assert {r["action"] for r in page("?action=issue")["items"]} <= {"issue"}
    assert admin("GET", "/api/v1/audit?cursor=3").status == 422
    state = admin("GET", "/api/v1/audit/verify")
    apikit.conforms(document, {"$ref": "#/components/schemas/AuditState"}, state.json)
    assert state.json["ok"] and state.json["records"] >= numbers[0] and state.json["not_checked"] == 0
    # A byte that was changed is found.
    log = served.dir / "audit.log"
    text = log.read_bytes()
    at = text.index(b"createDevice")
    try:
        with open(log, "r+b") as f:
            f.seek(at)
            f.write(b"C")
        state = admin("GET", "/api/v1/audit/verify").json
        assert not state["ok"] and "changed after it was written" in state["fault"]
        assert [r["intact"] for r in page("?action=CreateDevice")["items"]] == [False]
    finally:
        with open(log, "r+b") as f:
            f.seek(at)
            f.write(b"c")
    assert admin("GET", "/api/v1/audit/verify").json["ok"]


def bundle(served, admin, name, **wishes):
    """What was said, and what the link gave; it gives nothing a second time."""
    document = admin("GET", "/api/v1/openapi.json").json
    made = admin("POST", f"/api/v1/devices/{name}/bundle", wishes)
    assert made.status == 201, made
    apikit.conforms(document, {"$ref": "#/components/schemas/Bundle"}, made.json)
    nobody = served.client()
    assert nobody("HEAD", made.json["link"]).status == 200
    got = nobody("GET", made.json["link"])
    assert got.status == 200 and made.json["file"] in got.headers["content-disposition"]
    assert nobody("GET", made.json["link"]).status == 404
    return made.json, got.body


def test_a_bundle_is_downloaded_once(served, tmp_path):
    admin = served.login()
    assert admin("POST", "/api/v1/devices", {"id": "packed"}).status == 201
    said, data = bundle(served, admin, "packed", format="zip", key="p256", springcore={"slot": 2})
    assert said["private_key"] and said["file"] == "packed.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        names = {n.removeprefix("packed/") for n in z.namelist() if not n.endswith("/")}
        assert set(said["files"]) == names >= {"key.pem", "cert.pem", "ca.pem", "device.p12", "device.h", "springcore.json", "commands.txt", "README.txt"}
        z.extractall(tmp_path)
    folder = tmp_path / "packed"
    assert ": OK" in openssl("verify", "-purpose", "sslclient", "-CAfile", folder / "ca.pem", "-untrusted", folder / "cert.pem", folder / "cert.pem")
    assert connects(served, "packed", {"cert": folder / "cert.pem", "key": folder / "key.pem", "ca": folder / "ca.pem"})
    assert admin("GET", f"/api/v1/certificates/{said['ca']}/{said['serial']}").json["origin"] == "bundle"
    # One file alone; the key may be RSA, or the device's own.
    # Commands are pasted into a shell, and whoever named the device is not whoever pastes them.
    name = "it's; $(touch x) `id`"
    assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
    with zipfile.ZipFile(io.BytesIO(bundle(served, admin, urllib.parse.quote(name), format="zip")[1])) as z:
        commands = z.read(next(n for n in z.namelist() if n.endswith("/commands.txt"))).decode().splitlines()
    for words in map(shlex.split, commands):
        assert words[words.index("-i") + 1] == name and words[words.index("-i") + 2] == "-q" and words[words.index("-t") + 1].startswith(f"springcard/springcore/{name}/"), words
    assert len(commands) == 4
    with kit.Client(served, "controller", served.pki.files("controller"), port=served.mqtt) as controller:
        assert controller.subscribe("#", qos=1) == [1]
        assert clienttools.run_commands((folder / "commands.txt").read_text().splitlines(), folder, controller) == ["signet sub", "mosquitto_sub", "signet pub", "mosquitto_pub"]
    said, data = bundle(served, admin, "packed", format="pkcs12", key="rsa2048")
    (tmp_path / "x.p12").write_bytes(data)
    assert "PRIVATE KEY" in openssl("pkcs12", "-in", tmp_path / "x.p12", "-nodes", "-passin", f"pass:{said['password']}")
    csr, key = request(tmp_path, "packed")
    said, data = bundle(served, admin, "packed", format="header", csr=csr)
    assert not said["private_key"] and b"signet_cert_pem" in data and b"signet_key_pem" not in data
    # A reader has its maker's certificate: none is issued, and nothing can be asked of one.
    before = admin("GET", "/api/v1/certificates?device=packed").json["items"]
    said, data = bundle(served, admin, "packed", format="springcore", host="mqtt.example")
    assert not said["private_key"] and said["ca"] is None and said["serial"] is None and said["files"] == ["springcore.json"]
    made = json.loads(data)
    assert set(made["certificates"]) == {"00"} and bytes.fromhex(made["certificates"]["00"]) == certs.openssl("x509", "-in", served.dir / "pki/root/cert.pem", "-outform", "DER")
    assert bytes.fromhex(made["config"]["88"])[2:] == b"\x8d\x4d\x8f"
    assert admin("GET", "/api/v1/certificates?device=packed").json["items"] == before
    for wish in ({"csr": csr}, {"key": "p256"}, {"days": 3}, {"supersede": True}):
        answer = admin("POST", "/api/v1/devices/packed/bundle", {"format": "springcore", **wish})
        assert answer.status == 422 and answer.json["errors"][0]["pointer"] == "/" + list(wish)[0], answer
    with tarfile.open(fileobj=io.BytesIO(bundle(served, admin, "packed", format="tar.gz")[1])) as t:
        assert "packed/key.pem" in t.getnames()
    assert admin("POST", "/api/v1/devices/packed/bundle", {"format": "springcore", "host": "x" * 60}).status == 422
    assert admin("POST", "/api/v1/devices/packed/bundle", {"format": "pkcs12", "csr": csr}).status == 422
    assert admin("POST", "/api/v1/devices/nobody/bundle", {}).status == 404
    assert served.client()("GET", "/api/v1/bundles/" + 64 * "0").status == 404
    kit.wait_for(lambda: len(admin("GET", "/api/v1/audit?action=downloadBundle&object=packed").json["items"]) == 5, "the records of five downloads")
    assert all(" to 127.0.0.1:" in x["object"] for x in admin("GET", "/api/v1/audit?action=downloadBundle").json["items"])
    # One tenant leaves room for the others.
    for tenant, times in (("greedy", 33), ("other", 1)):
        assert admin("POST", "/api/v1/tenants", {"name": tenant}).status == 201
        assert admin("POST", f"/api/v1/devices?tenant={tenant}", {"id": "greedy"}).status == 201
        made = [admin("POST", f"/api/v1/devices/greedy/bundle?tenant={tenant}", {"format": "header", "csr": csr}).status for _ in range(times)]
        assert made == ([201] if times == 1 else [201] * 32 + [503])
    # Nothing of it is on the disk.
    secret = b"".join((folder / "key.pem").read_bytes().splitlines()[1:-1])
    for path in served.dir.rglob("*"):
        assert not path.is_file() or secret[:60] not in path.read_bytes().replace(b"\n", b""), path


def test_a_list_is_made_when_it_is_asked_for(served):
    admin = served.login()
    assert admin("GET", "/api/v1/cas/watch").json["list"]["number"] == 0
    begun, made = time.monotonic(), admin("POST", "/api/v1/cas/watch/crl")
    assert made.status == 200 and made.json["list"]["number"] == 1
    # It would be the same again.
    again = admin("POST", "/api/v1/cas/watch/crl")
    assert again.status == 200 and (again.json["list"]["number"] == 1 or time.monotonic() - begun > 60)
    assert admin("POST", "/api/v1/cas/client/crl").status == 200
    text = served.client()("GET", "/api/v1/cas/client/crl?form=pem")
    assert "verify OK" in openssl("crl", "-CAfile", served.dir / "pki/client/cert.pem", "-noout", data=text.body)
    assert served.client()("GET", "/api/v1/cas/client/crl?form=pem", headers={"If-None-Match": text.headers["etag"]}).status == 304
    assert served.client()("GET", "/api/v1/cas/client/crl").headers["etag"] != text.headers["etag"]
    assert admin("POST", "/api/v1/cas/nobody/crl").status == 404


def operator(served, admin, name, *rules):
    """A user of the first tenant who may do what <rules> (method, path) say."""
    assert admin("POST", "/api/v1/users", {"name": name, "password": "correct horse battery"}).status == 201
    for i, (method, path) in enumerate(rules):
        assert admin("POST", "/api/v1/permissions", {"name": f"{name}-{i}", "path": path, "method": method, "effect": "permit"}).status == 201
        assert admin("PUT", f"/api/v1/users/{name}/permissions/{name}-{i}").status == 204
    return served.login(name, "correct horse battery")


def test_certificates_of_people_and_servers_are_the_administrators(served, tmp_path):
    """Whoever gets one more certificate of the Control CA is an administrator."""
    admin = served.login()
    anna = operator(served, admin, "anna", (".*", "/api/v1/certificates/"))
    serial = openssl("x509", "-in", served.pki.files("controller")["cert"], "-noout", "-serial").strip().partition("=")[2].lower()
    theirs = f"/api/v1/certificates/control/{serial}"
    assert admin("GET", theirs).status == 200
    csr, _ = request(tmp_path, "mine")
    for what, body in (("renew", {"csr": csr}), ("hold", None), ("revoke", {"reason": "unspecified"}), ("release", None)):
        answer = anna("POST", f"{theirs}/{what}", body)
        assert answer.status == 403 and answer.json["type"].endswith(":permission"), (what, answer)
    assert admin("POST", f"{theirs}/renew", {"csr": csr}).json["ca"] == "control"
