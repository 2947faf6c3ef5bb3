"""Control and a broker: who is registered gets in, and nobody else; sessions, refusals and messages by the API."""
import apikit
import kit
import pytest


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    # The name of a unix socket is short.
    return kit.Pki(tmp_path_factory.mktemp("b") / "d")


def broker_of(pki, directory, port=None):
    port = port or kit.free_port()
    conf = pki.conf(port, "require_registration true", "listener 0 " + str(pki.dir / "control.sock"), "protocol control")
    return kit.Broker(directory, kit.STAY_ROOT + conf, port)


@pytest.fixture(scope="module")
def both(pki, tmp_path_factory):
    for name in ("one", "two", "three"):
        pki.device(name)
    with broker_of(pki, tmp_path_factory.mktemp("br")) as broker, apikit.Control(pki) as control:
        yield broker, control


def connects(broker, pki, name):
    try:
        kit.Client(broker, name, pki.files(name), version=kit.V5).close()
        return True
    except kit.Refused:
        return False


def test_devices_of_the_registry_get_in_and_others_do_not(both, pki):
    broker, control = both
    admin = control.login()
    kit.wait_for(lambda: "is connected to the broker" in control.text(), "control to reach the broker")
    kit.wait_for(lambda: "registry-unavailable" not in broker.log() and not connects(broker, pki, "one"), "a refusal of who is not registered")
    assert admin("POST", "/api/v1/devices", {"id": "one"}).status == 201
    kit.wait_for(lambda: connects(broker, pki, "one"), "the new device to get in")
    assert not connects(broker, pki, "two")
    one = kit.Client(broker, "one", pki.files("one"), version=kit.V5)
    assert admin("PATCH", "/api/v1/devices/one", {"state": "disabled"}).status == 200
    one.wait_closed()
    one.close()
    assert not connects(broker, pki, "one")
    assert admin("PATCH", "/api/v1/devices/one", {"state": "enabled"}).status == 200
    kit.wait_for(lambda: connects(broker, pki, "one"), "the device to get in again")
    one = kit.Client(broker, "one", pki.files("one"), version=kit.V5)
    # Gone and made anew in one go: both are told, in their order.
    assert admin("DELETE", "/api/v1/devices/one").status == 204
    one.wait_closed()
    one.close()
    assert admin("POST", "/api/v1/devices", {"id": "one"}).status == 201
    kit.wait_for(lambda: connects(broker, pki, "one"), "the device that was made anew")


def test_sessions_refusals_and_messages(both, pki):
    broker, control = both
    admin = control.login()
    document = admin("GET", "/api/v1/openapi.json").json
    assert admin("POST", "/api/v1/devices", {"id": "two"}).status == 201
    kit.wait_for(lambda: connects(broker, pki, "two"), "the device to get in")
    with kit.Client(broker, "two", pki.files("two"), version=kit.V5) as two:
        two.subscribe(f"{kit.PREFIX}/two/config", qos=1)
        answer = admin("GET", "/api/v1/sessions?cn=two")
        apikit.conforms(document, document["paths"]["/api/v1/sessions"]["get"]["responses"]["200"]["content"]["application/json"]["schema"], answer.json)
        assert [(s["client_id"], s["connected"]) for s in answer.json["items"]] == [("two", True)]
        pages, path = [], "/api/v1/sessions?limit=1"
        while path:
            page = admin("GET", path)
            pages += page.json["items"]
            path = page.json["next"] and f"/api/v1/sessions?limit=1&cursor={page.json['next']}"
        assert "two" in [s["client_id"] for s in pages]
        sent = admin("POST", "/api/v1/publish", {"topic": f"{kit.PREFIX}/two/config", "payload": "on", "qos": 1})
        assert sent.status == 200 and sent.json == {"subscribers": True}
        assert two.message(f"{kit.PREFIX}/two/config").payload == b"on"
        assert admin("POST", "/api/v1/publish", {"topic": "$SYS/x", "payload": "on"}).status == 409
        assert admin("POST", "/api/v1/devices/two/disconnect").json == {"sessions": 1}
        two.wait_closed()
    assert not connects(broker, pki, "three")
    refusals = admin("GET", "/api/v1/refusals?about=three")
    apikit.conforms(document, document["paths"]["/api/v1/refusals"]["get"]["responses"]["200"]["content"]["application/json"]["schema"], refusals.json)
    assert refusals.json["items"][0]["cause"] == "not-registered", refusals
    assert admin("POST", "/api/v1/devices/none/disconnect").status == 404


def test_a_broker_that_comes_back_is_told_everything(both, pki, tmp_path):
    broker, control = both
    admin = control.login()
    many = [{"id": f"many-{i}", "state": ("enabled", "disabled", "pending")[i % 3]} for i in range(300)]
    for i in range(0, 300, 100):
        assert admin("POST", "/api/v1/devices/bulk", {"devices": many[i:i + 100]}).status == 201
    admin("POST", "/api/v1/devices", {"id": "three"})
    kit.wait_for(lambda: connects(broker, pki, "three"), "the device to get in")
    broker.stop(9)
    # Meanwhile all goes on but what needs the broker.
    assert admin("GET", "/api/v1/sessions").status in (503, 504)
    assert admin("DELETE", "/api/v1/devices/three").status == 204
    broker.start()
    admin("POST", "/api/v1/devices", {"id": "one"})
    kit.wait_for(lambda: connects(broker, pki, "one"), "the broker to be told")
    assert not connects(broker, pki, "three")
    # And the other way round: control is another process, and knows the same.
    control.restart(9)
    admin = control.login()
    assert admin("POST", "/api/v1/devices", {"id": "three"}).status == 201
    kit.wait_for(lambda: connects(broker, pki, "three"), "the device to get in again")


def test_without_a_broker_all_else_goes_on(tmp_path):
    with apikit.Control(kit.Pki(tmp_path / "d")) as control:
        admin = control.login()
        answer = admin("GET", "/api/v1/sessions")
        assert answer.status == 503 and answer.json["remedy"]
        assert admin("GET", "/api/v1/devices").status == 200
