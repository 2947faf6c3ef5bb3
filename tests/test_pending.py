"""Devices with a factory's certificate: in quarantine until they are approved, by a person or a rule; `signet serve` with all three processes."""
import base64
import http.client

import apikit
import certs
import kit
import pytest

NOT_AUTHORIZED = 0x87


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    return certs.Ca(tmp_path_factory.mktemp("factory") / "ca", "Acme Factory CA")


@pytest.fixture(scope="module")
def served(tmp_path_factory, factory):
    pki = kit.Pki(tmp_path_factory.mktemp("s") / "d")
    conf = pki.dir / "signet.conf"
    conf.write_text(conf.read_text().replace("require_certificate true\n", "require_certificate true\nrequire_registration true\nquarantine unregistered\n"))
    kit.signet("ca", "trust", "--dir", pki.dir, "--role", "factory", "--name", "acme", factory.file)
    with apikit.Served(pki) as s:
        with open(s.dir / "signet.conf", "a") as conf:
            conf.write(f"https_listener 0 {s.dir}/api.sock\n")
        yield s


@pytest.fixture(scope="module")
def admin(served):
    return served.login()


@pytest.fixture(scope="module")
def device(served, factory):
    """The files of a device of the factory, each made once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = {**factory.leaf(certs.common_name(name)), "ca": served.dir / "pki/ca.pem"}
        return made[name]

    return of


def comes(served, name, files):
    return kit.comes(served, name, files, version=kit.V5, port=served.mqtt)


def may(client, name):
    """Has it a device's rights, or those of the quarantine? Its connection may end at that moment: then not yet."""
    client.client.subscribe([(f"springcard/springcore/{name}/rdr/cmd", kit.paho.SubscribeOptions(qos=1))])
    event = client.wait_event("suback", "disconnect")
    return event[0] == "suback" and getattr(event[2][0], "value", event[2][0]) < 0x80


def has_rights(served, name, files):
    client = comes(served, name, files)
    ok = may(client, name)
    client.close()
    return ok


def approved(served, admin, name, files):
    comes(served, name, files).close()
    kit.wait_for(lambda: name in pending(admin), "the device to be listed")
    assert admin("POST", f"/api/v1/pending/{name}/approve", {}).status == 204
    kit.wait_for(lambda: has_rights(served, name, files), "the device's rights")


def pending(admin):
    return {p["device"]: p for p in admin("GET", "/api/v1/pending").json["items"]}


def test_who_waits_is_approved_and_has_its_rights(served, admin, device):
    document = admin("GET", "/api/v1/openapi.json").json
    waited = admin("GET", "/api/v1/totals").json["pending"]
    with apikit.Events(admin, "?kinds=pending,change&device=press-1") as events:
        client = comes(served, "press-1", device("press-1"))
        assert not may(client, "press-1")
        row = kit.wait_for(lambda: pending(admin).get("press-1"), "the device to be listed")
        assert events.read()[0] == "pending"
    assert admin("GET", "/api/v1/totals").json["pending"] == waited + 1
    apikit.conforms(document, {"$ref": "#/components/schemas/PendingDevice"}, row)
    assert row["ca"] == "factory-acme" and row["subject"] == "CN=press-1" and int(row["serial"], 16) == device("press-1")["serial"]
    assert admin("GET", "/api/v1/devices/press-1").json["state"] == "pending"
    assert {"factory-acme"} <= {c["name"] for c in admin("GET", "/api/v1/cas").json["items"]}
    with apikit.Events(admin, "?kinds=pending,change&device=press-1") as events:
        assert admin("POST", "/api/v1/pending/press-1/approve", {"label": "Press 1"}).status == 204
        assert events.read()[1]["operation"] == "approveDevice"
    # The broker ends the connection, so that it comes back with its rights.
    assert client.wait_event("disconnect")
    client.close()
    kit.wait_for(lambda: has_rights(served, "press-1", device("press-1")), "the device's rights")
    assert admin("GET", "/api/v1/devices/press-1").json["label"] == "Press 1" and "press-1" not in pending(admin)
    # Nobody here can revoke what the factory issued: it is not even said to be.
    one = "/api/v1/certificates/factory-acme/" + row["serial"]
    for step, body in (("/revoke", {"reason": "keyCompromise"}), ("/hold", None)):
        answer = admin("POST", one + step, body)
        assert answer.status == 409 and "remove the device" in answer.json["remedy"], answer
    assert admin("GET", one).json["state"] == "active"
    assert admin("POST", "/api/v1/pending/press-1/approve", {}).status == 409
    text = (served.dir / "audit.log").read_text()
    assert '"device-pending"' in text and '"approveDevice"' in text


def test_a_factory_makes_nobody_s_name_its_own(served, admin, device, factory):
    """The same common name as a device of ours, which is enabled: the certificate decides, not the name."""
    ours = served.pki.device("own-1")
    assert admin("POST", "/api/v1/devices", {"id": "own-1"}).status == 201
    kit.wait_for(lambda: has_rights(served, "own-1", ours), "our device")
    forged = comes(served, "own-1", device("own-1"))
    assert not may(forged, "own-1")
    kit.wait_for(lambda: "is another device's here" in served.text(), "the warning")
    assert "own-1" not in pending(admin)
    forged.close()
    # And another certificate of an approved name is not approved by that.
    approved(served, admin, "press-2", device("press-2"))
    assert not has_rights(served, "press-2", {**factory.leaf(certs.common_name("press-2")), "ca": served.dir / "pki/ca.pem"})


def test_rules_approve_and_refuse(served, admin, device):
    rules = {"rules": [{"name": "bad line", "cn": "auto-9*", "action": "refuse"}, {"name": "line 7", "ca": "factory-*", "cn": "auto-*", "subject": "CN=auto-*", "action": "approve"}]}
    assert admin("PUT", "/api/v1/enrolment/rules", rules).json == rules
    assert admin("GET", "/api/v1/enrolment/rules").json == rules
    kit.wait_for(lambda: has_rights(served, "auto-1", device("auto-1")), "the rule")
    assert admin("GET", "/api/v1/devices/auto-1").json["attributes"]["enrolment"]["rule"] == "line 7"

    def refused():
        try:
            kit.Client(served, "auto-9", device("auto-9"), version=kit.V5, port=served.mqtt).close()
            return False
        except kit.Refused as e:
            return e.code == NOT_AUTHORIZED

    kit.wait_for(refused, "the other rule")
    assert admin("GET", "/api/v1/devices/auto-9").json["state"] == "disabled"
    assert admin("PUT", "/api/v1/enrolment/rules", {"rules": []}).status == 200


def test_what_was_approved_outlives_the_broker(served, admin, device):
    approved(served, admin, "press-3", device("press-3"))
    before = served.text().count("is connected to the broker")
    served.kill("broker")
    kit.wait_for(lambda: served.text().count("is connected to the broker") > before, "control to find the broker again")
    kit.wait_for(lambda: has_rights(served, "press-3", device("press-3")), "the device's rights")


def test_who_was_removed_stays_out(served, admin, device):
    approved(served, admin, "press-4", device("press-4"))
    client = comes(served, "press-4", device("press-4"))
    assert admin("DELETE", "/api/v1/devices/press-4").status == 204
    assert client.wait_event("disconnect")
    client.close()
    assert not has_rights(served, "press-4", device("press-4"))
    assert "press-4" not in pending(admin)


def test_the_commands(served, admin, device):
    comes(served, "cli-1", device("cli-1")).close()
    comes(served, "cli-2", device("cli-2")).close()
    kit.wait_for(lambda: {"cli-1", "cli-2"} <= set(pending(admin)), "the devices to be listed")
    where = ["--dir", served.dir, "--socket", served.dir / "control.sock"]
    assert "cli-1" in kit.signet("device", "pending", *where).stdout
    assert "registered" in kit.signet("device", "approve", "cli-1", *where).stdout
    kit.signet("device", "refuse", "cli-2", *where)
    kit.wait_for(lambda: has_rights(served, "cli-1", device("cli-1")), "the device's rights")
    assert admin("GET", "/api/v1/devices/cli-2").json["state"] == "disabled"


def test_a_factory_needs_registration(served, tmp_path):
    conf = tmp_path / "bad.conf"
    conf.write_text("\n".join(x for x in served.conf.read_text().splitlines() if not x.startswith(("require_registration", "quarantine"))) + "\n")
    out = kit.signet("broker", "-c", conf, "--test-config", check=False)
    assert out.returncode != 0 and "require_registration true" in out.stdout + out.stderr


def test_who_is_approved_gets_a_certificate_of_ours_by_est(served, admin, device, tmp_path):
    """The factory's certificate says who asks (RFC 7030 3.3.2)."""
    files = device("press-est")
    csr = certs.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "key.pem", "-subj", "/CN=press-est",
                        "-outform", "DER")

    def est(what):
        context = served.tls()
        context.load_cert_chain(files["cert"], files["key"])
        c = http.client.HTTPSConnection("localhost", served.port, timeout=kit.PATIENCE, context=context)
        c.request("POST", f"/.well-known/est/{what}", body=base64.encodebytes(csr), headers={"Content-Type": "application/pkcs10"})
        answer = c.getresponse()
        found = answer.status, answer.getheader("Retry-After"), answer.read()
        c.close()
        return found

    assert est("simpleenroll")[0] == 401
    comes(served, "press-est", files).close()
    kit.wait_for(lambda: "press-est" in pending(admin), "the device to be listed")
    status, again, _ = est("simpleenroll")
    assert status == 202 and int(again) > 0
    assert admin("POST", "/api/v1/pending/press-est/approve", {}).status == 204
    assert est("simplereenroll")[0] == 400  # a certificate that is not ours is not renewed
    status, _, body = est("simpleenroll")
    assert status == 200
    text = certs.openssl("pkcs7", "-inform", "DER", "-print_certs", "-noout", data=base64.b64decode(body)).decode()
    assert "subject=CN = press-est" in text and "Client CA" in text


def test_a_device_of_dojot_comes_with_a_factory_s_certificate(tmp_path, factory):
    """It knows no other client id than TENANT:DEVICE."""
    pki = kit.Pki(tmp_path / "d")
    policy = pki.dir / "default.policy"
    policy.write_text("tenant default\nuse dojot\n")
    conf = pki.dir / "signet.conf"
    conf.write_text(conf.read_text().replace("require_certificate true\n", "require_certificate true\nrequire_registration true\nquarantine unregistered\n"))
    kit.signet("ca", "trust", "--dir", pki.dir, "--role", "factory", "--name", "acme", factory.file)
    with apikit.Served(pki, policy=str(policy)) as served:
        admin, files = served.login(), {**factory.leaf(certs.common_name("f60c28")), "ca": pki.dir / "pki/ca.pem"}
        with pytest.raises((kit.Refused, OSError)):
            kit.Client(served, "other:f60c28", files, version=kit.V5, port=served.mqtt)
        comes(served, "default:f60c28", files).close()
        kit.wait_for(lambda: "f60c28" in pending(admin), "the device to be listed")
        assert admin("POST", "/api/v1/pending/f60c28/approve", {}).status == 204

        def hears():
            client = comes(served, "default:f60c28", files)
            client.client.subscribe([("/default/f60c28/config", kit.paho.SubscribeOptions(qos=1))])
            event = client.wait_event("suback", "disconnect")
            client.close()
            return event[0] == "suback" and getattr(event[2][0], "value", event[2][0]) < 0x80

        kit.wait_for(hears, "the device's rights")
