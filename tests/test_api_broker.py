"""Control and a broker: who is registered gets in, and nobody else; sessions, refusals and messages by the API."""
import contextlib
import json
import sqlite3

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
    with broker_of(pki, tmp_path_factory.mktemp("br")) as broker, apikit.Control(pki, f"actuate_topic {kit.PREFIX}/%d/config", "status_interval 1") as control:
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
        one = answer.json["items"][0]
        assert one["tls_version"] == "TLSv1.3" and one["cipher"].startswith("TLS_") and one["sni"] == "localhost"
        assert one["since"] and one["messages_in"] == 0 and one["bytes_in"] > 20 and one["bytes_out"] > 5 and one["waiting_bytes"] == 0
        two.publish(f"{kit.PREFIX}/two/status", b"x" * 1000, qos=1)
        kit.wait_for(lambda: (admin("GET", "/api/v1/session?client_id=two").json["messages_in"], admin("GET", "/api/v1/session?client_id=two").json["bytes_in"] > 1020) ==
                     (1, True), "the message to be counted")
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


def conforms(admin, path, method, answer):
    document = admin("GET", "/api/v1/openapi.json").json
    operation = document["paths"][path][method]
    success = [r for r in operation["responses"] if r != "default"][0]
    assert answer.status == int(success), answer
    apikit.conforms(document, operation["responses"][success]["content"]["application/json"]["schema"], answer.json)
    return answer.json


def test_a_device_is_told_what_to_do(both, pki):
    broker, control = both
    admin = control.login()
    path, topic = "/api/v1/devices/{device}/actuate", f"{kit.PREFIX}/five/config"
    pki.device("five")
    assert admin("POST", "/api/v1/devices", {"id": "five"}).status == 201
    kit.wait_for(lambda: connects(broker, pki, "five"), "the device to get in")
    kit.wait_for(lambda: admin("GET", "/api/v1/devices/five/session").status == 404, "that session to end")
    said = conforms(admin, path, "post", admin("POST", "/api/v1/devices/five/actuate", {"attributes": {"fan": 100}}))
    assert said == {"topic": topic, "connected": False, "session": False, "subscribers": False}
    keep = kit.Properties(kit.PacketTypes.CONNECT)
    keep.SessionExpiryInterval = 600
    five = kit.Client(broker, "five", pki.files("five"), version=kit.V5, connect_properties=keep)
    five.subscribe(topic, qos=1)
    one = conforms(admin, "/api/v1/devices/{device}/session", "get", admin("GET", "/api/v1/devices/five/session"))
    assert one["client_id"] == "five" and one["connected"] and one["filters"] == [{"filter": topic, "qos": 1}] and one["will"] is None
    assert admin("GET", "/api/v1/session?client_id=five").json["filters"] == one["filters"]
    assert admin("GET", "/api/v1/session?client_id=nobody").status == 404
    said = admin("POST", "/api/v1/devices/five/actuate", {"attributes": {"fan": 100, "ä": [1]}}).json
    assert said == {"topic": topic, "connected": True, "session": True, "subscribers": True}
    assert json.loads(five.message(topic).payload) == {"fan": 100, "ä": [1]}
    # It waits for a device that is away.
    five.close()
    kit.wait_for(lambda: not admin("GET", "/api/v1/devices/five/session").json["connected"], "the device to be away")
    said = admin("POST", "/api/v1/devices/five/actuate", {"payload": "later"}).json
    assert said == {"topic": topic, "connected": False, "session": True, "subscribers": True}
    assert admin("GET", "/api/v1/devices/five/session").json["waiting"] == 1
    five = kit.Client(broker, "five", pki.files("five"), version=kit.V5, clean=False, connect_properties=keep)
    assert five.session_present and five.message(topic).payload == b"later"
    assert admin("POST", "/api/v1/devices/five/actuate", {}).status == 422
    assert admin("POST", "/api/v1/devices/five/actuate", {"payload": "x", "attributes": {}}).status == 422
    assert admin("POST", "/api/v1/devices/nobody/actuate", {"payload": "x"}).status == 404
    # The session ends with all that is in it.
    assert admin("POST", "/api/v1/sessions/end", {"reason": "none of them"}).status == 422
    ended = admin("POST", "/api/v1/sessions/end", {"client_id": "five", "reason": "maintenance", "purge": True})
    assert conforms(admin, "/api/v1/sessions/end", "post", ended) == {"sessions": 1}
    five.wait_closed()
    five.close()
    kit.wait_for(lambda: admin("GET", "/api/v1/devices/five/session").status == 404, "the session to end")


def presence(admin, name):
    d = admin("GET", f"/api/v1/devices/{name}").json
    return d["online"], d["since"], d["last_seen"], d["status"]


def is_online(admin, name):
    return presence(admin, name)[0]


def test_who_is_there_and_what_happens(both, pki):
    broker, control = both
    admin = control.login()
    assert admin("POST", "/api/v1/tenants", {"name": "other"}).status == 201
    assert admin("POST", "/api/v1/users?tenant=other", {"name": "stranger", "password": "a long password", "groups": ["admin"]}).status == 201
    stranger = control.login("stranger", "a long password")
    with apikit.Events(admin) as events, apikit.Events(stranger) as others, apikit.Events(admin, "?kind=connect&device=four") as some:
        assert admin("POST", "/api/v1/devices", {"id": "four"}).status == 201
        assert events.until("change", operation="createDevice", device="four")["by"] == "user:admin"
        assert presence(admin, "four") == (False, None, None, "")
        pki.device("four")
        kit.wait_for(lambda: connects(broker, pki, "four"), "the device to get in")
        left = events.until("disconnect", device="four")
        assert left["tenant"] == "default" and left["cn"] == "four"
        kit.wait_for(lambda: not is_online(admin, "four") and presence(admin, "four")[2], "the device to have been seen")
        assert [d["id"] for d in admin("GET", "/api/v1/devices?online=true&prefix=four").json["items"]] == []
        mark = events.id
        with kit.Client(broker, "four", pki.files("four"), version=kit.V5) as four:
            came = events.until("connect", device="four")
            assert came["client_id"] == "four" and came["address"]
            kit.wait_for(lambda: is_online(admin, "four"), "the device to be online")
            assert [d["id"] for d in admin("GET", "/api/v1/devices?online=true&prefix=four").json["items"]] == ["four"]
            assert admin("GET", "/api/v1/devices/four").json["address"].startswith("127.0.0.1:")
            # SpringCore's status messages; what is none changes nothing.
            four.publish(f"{kit.PREFIX}/four/status", b'{"State":7}', qos=1)
            four.publish(f"{kit.PREFIX}/four/status", b'{"State":"online,busy","Uptime":"145:1860.081"}', qos=1)
            assert events.until("status", device="four")["state"] == "online,busy"
            kit.wait_for(lambda: presence(admin, "four")[3] == "online,busy", "the status")
        assert events.until("disconnect", device="four")
        kit.wait_for(lambda: not is_online(admin, "four"), "the device to be offline")
        assert some.read()[1]["device"] == "four"
        # From where it was.
        with apikit.Events(admin, last=mark) as again:
            assert again.until("connect", device="four")["time"] == came["time"]
        with apikit.Events(admin, last="1-1") as again:
            assert again.read()[0] == "missed"
        # A tenant hears its own only.
        assert stranger("POST", "/api/v1/devices", {"id": "theirs"}).status == 201
        assert others.read() == ("change", others_first(stranger, "theirs"))
    assert admin("DELETE", "/api/v1/users/stranger?tenant=other").status == 204


def is_stale(admin, name):
    return admin("GET", f"/api/v1/devices/{name}").json["stale"]


def test_who_stops_saying_how_he_is_is_stale(both, pki):
    """F3: two missed intervals. Not who said that he leaves; also when control was killed meanwhile."""
    broker, control = both
    admin = control.login()
    devices = {}

    def say(name, state):
        devices[name].publish(f"{kit.PREFIX}/{name}/status", json.dumps({"State": state}).encode(), qos=1, retain=True)

    with contextlib.ExitStack() as clients, apikit.Events(admin, "?kinds=status,stale") as events:
        for name in ("reader", "second"):
            pki.device(name)
            assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
            kit.wait_for(lambda: connects(broker, pki, name), "the device to get in")
            devices[name] = clients.enter_context(kit.Client(broker, name, pki.files(name), version=kit.V5))
        say("reader", "online,busy")
        assert events.until("status", device="reader")["state"] == "online,busy"
        stopped = events.until("stale", device="reader")
        assert (stopped["tenant"], stopped["cn"], stopped["state"]) == ("default", "reader", "online,busy")
        kit.wait_for(lambda: is_stale(admin, "reader"), "it to be stale")
        # The session stands, and what it last said is still shown.
        assert is_online(admin, "reader") and presence(admin, "reader")[3] == "online,busy"
        assert [d["id"] for d in admin("GET", "/api/v1/devices?stale=true&prefix=reader").json["items"]] == ["reader"]
        assert admin("GET", "/api/v1/devices?stale=false&prefix=reader").json["items"] == []
        # The same word again: it is back, and that is told.
        say("reader", "online,busy")
        assert events.until("status", device="reader")["state"] == "online,busy"
        kit.wait_for(lambda: say("reader", "online,busy") or not is_stale(admin, "reader"), "it to be back")
        # Who says that he leaves is expected no more: one that speaks after him is stale, and not he.
        say("reader", "offline")
        events.until("status", device="reader", state="offline")
        say("second", "online,ready")
        while (event := events.read())[0] != "stale":
            assert event[0] == "status"
        assert event[1]["device"] == "second"
        say("second", "online,ready")
        assert events.until("status", device="second")["state"] == "online,ready"
        kit.wait_for(lambda: say("second", "online,ready") or not is_stale(admin, "second"), "it to be back")
        control.stop(9)
        control.start()
        admin = control.login()
        kit.wait_for(lambda: is_stale(admin, "second"), "it to be stale for the new process, too")
        assert not is_stale(admin, "reader")
        for name, device in devices.items():
            device.publish(f"{kit.PREFIX}/{name}/status", b"", qos=1, retain=True)


def test_a_stream_of_events_ends_with_the_right_to_it(both):
    admin = both[1].login()
    assert admin("POST", "/api/v1/tenants", {"name": "third"}).status == 201
    assert admin("POST", "/api/v1/users", {"name": "listener", "password": "a long password"}).status == 201
    for name, path in (("hear", "/api/v1/events/"), ("third", "/api/v1/tenants/third/")):
        assert admin("POST", "/api/v1/permissions", {"name": name, "path": path, "method": "GET", "effect": "permit"}).status == 201
        assert admin("PUT", f"/api/v1/users/listener/permissions/{name}").status == 204
    listener = both[1].login("listener", "a long password")
    with contextlib.ExitStack() as open_streams:
        streams = [open_streams.enter_context(apikit.Events(listener, "?tenant=third")) for _ in range(17)]
        assert [s.status for s in streams] == [200] * 16 + [503]
        with apikit.Events(admin) as others:
            assert others.status == 200
        assert admin("POST", "/api/v1/devices?tenant=third", {"id": "heard"}).status == 201
        assert streams[0].until("change", device="heard")["tenant"] == "third"
        assert admin("POST", "/api/v1/permissions", {"name": "not-third", "path": "/api/v1/tenants/third/", "method": "GET", "effect": "deny"}).status == 201
        assert admin("PUT", "/api/v1/users/listener/permissions/not-third").status == 204
        assert admin("POST", "/api/v1/devices?tenant=third", {"id": "unheard"}).status == 201
        kind = data = "none yet"
        while kind is not None:
            kind, data = streams[0].read()
            assert data is None or data.get("device") != "unheard"


def others_first(client, name):
    """The event of the device that <client> has just made."""
    class Any(str):
        def __eq__(self, other):
            return isinstance(other, str)
        __hash__ = str.__hash__
    return {"operation": "createDevice", "by": "user:stranger", "path": "/api/v1/devices", "tenant": "other", "device": name, "time": Any()}


def test_a_broker_that_comes_back_is_told_everything(both, pki, tmp_path):
    broker, control = both
    admin = control.login()
    many = [{"id": f"many-{i}", "state": ("enabled", "disabled", "pending")[i % 3]} for i in range(300)]
    for i in range(0, 300, 100):
        assert admin("POST", "/api/v1/devices/bulk", {"devices": many[i:i + 100]}).status == 201
    admin("POST", "/api/v1/devices", {"id": "three"})
    kit.wait_for(lambda: connects(broker, pki, "three"), "the device to get in")
    three = kit.Client(broker, "three", pki.files("three"), version=kit.V5)
    kit.wait_for(lambda: is_online(admin, "three"), "the device to be online")
    broker.stop(9)
    three.close()
    # Meanwhile all goes on but what needs the broker.
    assert admin("GET", "/api/v1/sessions").status in (503, 504)
    assert admin("DELETE", "/api/v1/devices/three").status == 204
    broker.start()
    admin("POST", "/api/v1/devices", {"id": "one"})
    kit.wait_for(lambda: connects(broker, pki, "one"), "the broker to be told")
    assert not connects(broker, pki, "three")
    assert [d["id"] for d in admin("GET", "/api/v1/devices?online=true").json["items"] if d["id"] == "three"] == []
    # And the other way round: control is another process, and knows the same. Who left meanwhile is not online, who stayed is, since when he was.
    admin("POST", "/api/v1/devices", {"id": "two"})
    for name in ("one", "two"):
        kit.wait_for(lambda: connects(broker, pki, name), "the device to get in")
    one, two = (kit.Client(broker, name, pki.files(name), version=kit.V5) for name in ("one", "two"))
    # Not the connections that came before.
    for name, client in (("one", one), ("two", two)):
        address = "%s:%d" % client.client.socket().getsockname()[:2]
        kit.wait_for(lambda: admin("GET", f"/api/v1/devices/{name}").json["address"] == address, "it to be online")
    since = presence(admin, "two")[1]
    control.stop(9)
    one.close()
    control.start()
    admin = control.login()
    kit.wait_for(lambda: not is_online(admin, "one"), "the one that left to be offline")
    assert presence(admin, "two")[:2] == (True, since)
    two.close()
    kit.wait_for(lambda: not is_online(admin, "two"), "the other one to leave, too")
    assert admin("POST", "/api/v1/devices", {"id": "three"}).status == 201
    kit.wait_for(lambda: connects(broker, pki, "three"), "the device to get in again")


def test_without_a_broker_all_else_goes_on(tmp_path):
    with apikit.Control(kit.Pki(tmp_path / "d")) as control:
        admin = control.login()
        answer = admin("GET", "/api/v1/sessions")
        assert answer.status == 503 and answer.json["remedy"]
        assert admin("GET", "/api/v1/devices").status == 200
        # Nor the signer: what is done waits for the audit log, and no more is done than can wait.
        assert admin("POST", "/api/v1/devices", {"id": "a"}).status == 201
        control.stop()
        db = sqlite3.connect(control.dir / "registry.db", isolation_level=None)
        assert "/api/v1/devices/a" in [x for x, in db.execute("SELECT object FROM records")]
        db.execute("INSERT INTO records VALUES(1000000, 0, 'x', 'x', 'x', '')")
        db.close()
        control.start()
        local = apikit.Client(control, unix=True)
        for _ in range(2):
            answer = local("POST", "/api/v1/devices", {"id": "b"}, headers={"Idempotency-Key": "same"})
            assert answer.status == 503 and "signet serve" in answer.json["remedy"] and answer.json["type"].endswith("audit-full")
        assert local("POST", "/api/v1/login", {"username": "admin", "password": control.password}).status == 503
        assert [d["id"] for d in local("GET", "/api/v1/devices").json["items"]] == ["a"]
        local.close()


def test_what_takes_long_does_not_wait_before_what_must_not(tmp_path):
    """Requests of one connection are carried out one after another: without the second one a backup is refused, and devices are told of as ever."""
    pki = kit.Pki(tmp_path / "d")
    with apikit.FalseBroker(pki.dir / "control.sock", refuse=["control-questions"]) as broker, apikit.Control(pki) as control:
        admin = control.login()
        kit.wait_for(lambda: ("control", "registry/commit") in broker.asked, "the first connection")
        for method, path in (("POST", "/api/v1/backup"), ("GET", "/api/v1/policy/rules")):
            answer = admin(method, path)
            assert answer.status == 503 and answer.type.startswith("application/problem") and answer.headers["retry-after"] == "5", answer
        assert admin("POST", "/api/v1/devices", {"id": "new"}).status == 201
        kit.wait_for(lambda: ("control", "registry/change") in broker.asked, "the device to be told of")
        assert not {("control", "backup"), ("control", "rules")} & set(broker.asked)
