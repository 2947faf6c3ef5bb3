"""Devices come to their first certificate: one-time secrets and fleets' secrets; `signet serve` with all three processes."""
import concurrent.futures
import json
import re
import stat

import apikit
import kit
import pytest
from test_api_certificates import connects, openssl, request


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with apikit.Served(kit.Pki(tmp_path_factory.mktemp("s") / "d"), "require_registration true") as s:
        with open(s.dir / "signet.conf", "a") as conf:
            conf.write(f"https_listener 0 {s.dir}/api.sock\n")
        yield s


@pytest.fixture(scope="module")
def admin(served):
    return served.login()


@pytest.fixture(scope="module")
def document(admin):
    return admin("GET", "/api/v1/openapi.json").json


def token(admin, name, **wish):
    assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
    made = admin("POST", f"/api/v1/devices/{name}/enrolment", wish)
    assert made.status == 201, made
    return made.json


def enrol(served, csr, secret, **more):
    return served.client()("POST", "/api/v1/enrol", {"secret": secret, "csr": csr, **more})


def files(served, folder, answer, key):
    cert = folder / f"{answer['device']}.pem"
    cert.write_text(answer["certificate"] + answer["chain"])
    return {"cert": cert, "key": key, "ca": served.dir / "pki/ca.pem"}


def test_a_secret_is_good_once_and_never_comes_back(served, admin, document, tmp_path):
    made = token(admin, "door", hours=2)
    apikit.conforms(document, {"$ref": "#/components/schemas/NewEnrolmentSecret"}, made)
    uri = re.fullmatch(r"signet://localhost:(\d+)/door\?ca=([0-9a-f]{64})#([0-9a-f]{32})", made["uri"])
    assert uri and int(uri[1]) == served.port and uri[3] == made["secret"] and made["open"]
    root = served.client()("GET", "/api/v1/enrol").json
    assert root["sha256"] == uri[2] and openssl("x509", "-fingerprint", "-sha256", "-noout", data=root["pem"].encode()).split("=")[1].replace(":", "").lower().strip() == uri[2]
    listed = admin("GET", "/api/v1/devices/door/enrolment")
    assert [s["id"] for s in listed.json["items"]] == [made["id"]] and made["secret"].encode() not in listed.body
    csr, key = request(tmp_path, "whatever")
    done = enrol(served, csr, made["secret"])
    assert done.status == 201, done
    apikit.conforms(document, {"$ref": "#/components/schemas/Enrolled"}, done.json)
    assert done.json["device"] == done.json["cn"] == "door" and done.json["broker"]["host"] == "localhost" and done.json["ca"] == root["pem"]
    kit.wait_for(lambda: connects(served, "door", files(served, tmp_path, done.json, key)), "the device to get in")
    again = enrol(served, request(tmp_path, "other")[0], made["secret"])
    assert again.status == 401 and "used up" in again.json["detail"]
    state = admin("GET", "/api/v1/enrolment").json["items"][0]
    assert (state["uses"], state["open"]) == (1, False)
    certificate = admin("GET", f"/api/v1/certificates/client/{done.json['serial']}").json
    assert certificate["origin"] == "enrol" and certificate["by"] == f"enrolment:{made['id']}"
    # Not in the database, and neither in the log nor in the audit log.
    for place in ("registry.db", "registry.db-wal", "audit.log"):
        path = served.dir / place
        assert not path.exists() or made["secret"].encode() not in path.read_bytes()
    assert made["secret"] not in served.text() and '"enrol"' in (served.dir / "audit.log").read_text()


def test_what_is_no_use_is_all_the_same_to_who_tries(served, admin, tmp_path):
    csr, _ = request(tmp_path, "gate")
    made, other = token(admin, "gate"), token(admin, "gate2")
    assert admin("DELETE", f"/api/v1/enrolment/{other['id']}").status == 204
    answers = [enrol(served, csr, "0" * 32), enrol(served, csr, other["secret"]), enrol(served, csr, made["secret"], device="gate2")]
    assert {a.status for a in answers} == {401} and len({a.json["detail"] for a in answers}) == 1
    assert admin("DELETE", "/api/v1/enrolment/999999").status == 404
    bad = enrol(served, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", made["secret"])
    assert bad.status == 422, bad
    admin("PATCH", "/api/v1/devices/gate", {"state": "disabled"})
    assert enrol(served, csr, made["secret"]).status == 401
    admin("PATCH", "/api/v1/devices/gate", {"state": "enabled"})
    # None of it has cost the use.
    assert enrol(served, csr, made["secret"], device="gate").status == 201


def test_two_at_once_get_one_certificate(served, admin, tmp_path):
    made = token(admin, "race")
    csrs = [request(tmp_path, f"race{i}")[0] for i in range(3)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        codes = sorted(a.status for a in pool.map(lambda csr: enrol(served, csr, made["secret"], device="race"), csrs))
    assert codes == [201] + [401] * 2
    assert len(admin("GET", "/api/v1/certificates?device=race").json["items"]) == 1


def test_who_has_not_heard_the_answer_asks_again(served, admin, tmp_path):
    """The connection ends behind the request; the same key gets the same certificate, as long as the token and the certificate are good."""
    made = token(admin, "lost")
    csr, key = request(tmp_path, "lost")
    body = json.dumps({"secret": made["secret"], "csr": csr}).encode()
    with served.socket() as s:
        s.sendall(b"POST /api/v1/enrol HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    issued = kit.wait_for(lambda: admin("GET", "/api/v1/certificates?device=lost").json["items"], "the certificate that nobody has heard of")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: enrol(served, csr, made["secret"]), range(4)))
    assert {a.status for a in answers} == {201} and {a.json["serial"] for a in answers} == {issued[0]["serial"]}
    assert answers[0].json["device"] == answers[0].json["cn"] == "lost" and answers[0].json["chain"] and answers[0].json["ca"]
    kit.wait_for(lambda: connects(served, "lost", files(served, tmp_path, answers[0].json, key)), "the device to get in")
    with kit.Client(served, "lost", files(served, tmp_path, answers[0].json, key), version=kit.V5, port=served.mqtt):
        assert [(s["ca"], s["serial"]) for s in admin("GET", "/api/v1/sessions?cn=lost").json["items"]] == [("client", issued[0]["serial"])]
    assert enrol(served, request(tmp_path, "thief")[0], made["secret"]).status == 401
    assert len(admin("GET", "/api/v1/certificates?device=lost").json["items"]) == 1
    assert admin("GET", "/api/v1/devices/lost/enrolment").json["items"][0]["uses"] == 1
    admin("PATCH", "/api/v1/devices/lost", {"state": "disabled"})
    assert enrol(served, csr, made["secret"]).status == 401
    admin("PATCH", "/api/v1/devices/lost", {"state": "enabled"})
    assert enrol(served, csr, made["secret"]).status == 201
    assert admin("POST", f"/api/v1/certificates/client/{issued[0]['serial']}/revoke", {"reason": "keyCompromise"}).status == 200
    assert enrol(served, csr, made["secret"]).status == 401
    # It was issued once, and so it is booked.
    assert [line for line in (served.dir / "audit.log").read_text().splitlines() if '"enrol' in line and '"lost"' in line][1:] == []
    # A fleet's: one key is one device, however often it asks, also at the same time.
    fleet = admin("POST", "/api/v1/enrolment", {"pattern": "lost-{n:2}", "max_uses": 2}).json
    csr, _ = request(tmp_path, "fleet")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: enrol(served, csr, fleet["secret"]), range(4)))
    assert {(a.status, a.json["device"]) for a in answers} == {(201, "lost-01")} and len({a.json["serial"] for a in answers}) == 1
    assert enrol(served, request(tmp_path, "second")[0], fleet["secret"]).json["device"] == "lost-02"


def test_a_fleet_is_bounded_and_makes_its_devices(served, admin, tmp_path):
    template = admin("POST", "/api/v1/templates", {"label": "line"}).json["id"] if "/api/v1/templates" in admin("GET", "/api/v1/openapi.json").json["paths"] else None
    wish = {"pattern": "line7-{n:3}", "max_uses": 3, "label": "Line", **({"templates": [template]} if template else {})}
    assert admin("POST", "/api/v1/enrolment", {"pattern": "fixed", "max_uses": 3}).status == 422
    made = admin("POST", "/api/v1/enrolment", wish).json
    assert made["fleet"]["pattern"] == "line7-{n:3}" and re.match(r"signet://localhost:\d+/\?ca=", made["uri"])
    requests = [request(tmp_path, f"x{i}") for i in range(5)]
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda r: enrol(served, r[0], made["secret"]), requests))
    good = sorted(a.json["device"] for a in answers if a.status == 201)
    assert good == ["line7-001", "line7-002", "line7-003"] and sorted(a.status for a in answers)[3:] == [401, 401]
    assert admin("GET", "/api/v1/devices/line7-002").json["label"] == "Line"
    third, key = next((a.json, r[1]) for a, r in zip(answers, requests) if a.json.get("device") == "line7-003")
    kit.wait_for(lambda: connects(served, "line7-003", files(served, tmp_path, third, key)), "the device to get in")


def test_a_fleet_by_name_takes_nobody_over(served, admin, tmp_path):
    token(admin, "m-1")
    made = admin("POST", "/api/v1/enrolment", {"pattern": "m-{name}", "max_uses": 10}).json
    csr, _ = request(tmp_path, "2")
    assert enrol(served, csr, made["secret"]).json["device"] == "m-2"
    csr, _ = request(tmp_path, "another")
    taken = enrol(served, csr, made["secret"], device="1")
    assert taken.status == 409 and "m-1" in taken.json["detail"]
    assert enrol(served, csr, made["secret"], device="a/b").status == 422
    assert admin("GET", "/api/v1/enrolment").json["items"][-1]["uses"] == 1


def test_a_token_is_drawn_as_a_code(served, admin):
    uri = token(admin, "drawn", host="signet.example")["uri"]
    assert uri.startswith(f"signet://signet.example:{served.port}/drawn?ca=")
    svg = admin("POST", "/api/v1/enrolment/qr", {"uri": uri})
    assert svg.status == 200 and svg.type == "image/svg+xml" and svg.body.startswith(b"<svg ") and uri.encode() not in svg.body
    assert admin("POST", "/api/v1/enrolment/qr", {"uri": "https://example.org/"}).status == 422


def test_the_commands_of_both_sides(served, admin, tmp_path):
    where = ["--dir", served.dir]
    out = kit.signet("device", "token", "cli01", "--host", f"localhost:{served.port}", "--svg", tmp_path / "qr.svg", *where)
    uri = re.search(r"^signet://\S+$", out.stdout, re.M)[0]
    assert "\u2588" in out.stdout and "cli01 is made" in out.stderr and "signet device withdraw" in out.stdout
    assert stat.S_IMODE((tmp_path / "qr.svg").stat().st_mode) == 0o600 and (tmp_path / "qr.svg").read_text().startswith("<svg ")
    assert re.search(r"^\d+  cli01  open, used 0 of 1, ", kit.signet("device", "tokens", "cli01", *where).stdout)
    # Another root under the same name is not believed, and the secret does not get out.
    other = kit.signet("enrol", "--out", tmp_path / "no", stdin=re.sub(r"ca=[0-9a-f]{4}", "ca=0000", uri) + "\n", check=False)
    assert other.returncode == 1 and "is not the place that the token is for" in other.stderr and not (tmp_path / "no/ca.pem").exists()
    (tmp_path / "token").write_text(uri)
    done = kit.signet("enrol", "--token-file", tmp_path / "token", "--out", tmp_path / "dev")
    assert "cli01 has its certificate" in done.stdout and f"localhost, port {served.mqtt}" in done.stdout
    assert sorted(p.name for p in (tmp_path / "dev").iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    assert stat.S_IMODE((tmp_path / "dev/key.pem").stat().st_mode) == 0o600
    mine = {name: tmp_path / f"dev/{name}.pem" for name in ("ca", "cert", "key")}
    kit.wait_for(lambda: connects(served, "cli01", mine), "the device to get in")
    again = kit.signet("enrol", "--token-file", tmp_path / "token", "--out", tmp_path / "dev", check=False)
    assert again.returncode == 1 and "is there already and is not overwritten" in again.stderr
    used = kit.signet("enrol", "--token-file", tmp_path / "token", "--out", tmp_path / "dev2", check=False)
    assert used.returncode == 1 and "used up" in used.stderr
    fleet = kit.signet("device", "token", "--fleet", "press-{name}", "--max", "2", "--uri", "--host", f"localhost:{served.port}", *where).stdout
    assert "press-7 has its certificate" in kit.signet("enrol", "--name", "7", "--out", tmp_path / "p7", stdin=fleet).stdout
    number = re.search(r"^(\d+)  fleet press-\{name\}  open, used 1 of 2", kit.signet("device", "tokens", *where).stdout, re.M)[1]
    kit.signet("device", "withdraw", number, *where)
    assert kit.signet("enrol", "--name", "8", "--out", tmp_path / "p8", stdin=fleet, check=False).returncode == 1
    assert kit.signet("device", "token", *where, check=False).returncode == 2


def test_devices_of_a_file_are_registered_where_control_runs(served, admin, tmp_path):
    token(admin, "file-2")
    (tmp_path / "f.csv").write_text("id,label\nfile-1,One\nfile-2,Two\nfile-3,\n")
    out = kit.signet("device", "add", "--from", tmp_path / "f.csv", "--result", tmp_path / "out.csv", "--dir", served.dir)
    assert "3 devices made, 0 were there already, 0 errors" in out.stdout and "3 of them are registered" in out.stdout
    assert (tmp_path / "out.csv").read_text().count(",made,yes,") == 3
    assert admin("GET", "/api/v1/devices/file-1").json["label"] == "One"
    kit.wait_for(lambda: connects(served, "file-3", served.pki.files("file-3")), "the device to get in")


def test_one_that_cannot_be_registered_holds_up_no_others(served, admin, tmp_path):
    file = tmp_path / "many.csv"
    file.write_text("id,template\ncsv-4,999\ncsv-5,\n")
    out = kit.signet("device", "add", "--from", file, "--dir", served.dir, check=False)
    assert out.returncode == 1 and "2 devices made" in out.stdout and "1 of them are registered" in out.stdout and "it has its certificate and is not registered" in out.stderr
