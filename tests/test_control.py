"""The control socket: what the control process states, asks, sends and hears (docs/control-protocol.md)."""
import os
import pathlib
import socket
import ssl
import tempfile

import pytest

import control
import kit
import wire


@pytest.fixture
def site(broker_of, pki):
    """start(*lines of the TLS listener, more=(lines of others,)): a broker with a control socket."""
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as folder:  # a socket's path has few bytes
        os.chmod(folder, 0o755)
        path = pathlib.Path(folder) / "c"

        def start(*lines, more=(), ports=(), **options):
            port = kit.free_port()
            conf = pki.conf(port, *more, f"listener 0 {path}", "protocol control", **options).replace(
                "use_identity_as_username true", "\n".join(["use_identity_as_username true", *lines]))
            broker = broker_of(kit.STAY_ROOT + conf, [port, *ports])
            broker.pki, broker.control = pki, path
            return broker

        yield start


def refused(broker, name, files, version=5, client_id=None):
    """The code in CONNACK."""
    with pytest.raises(kit.Refused) as error:
        wire.Peer(broker.port, client_id or name, version, files=files)
    return error.value.code


def cause(c, about):
    found = c.ask("why", about=about, count=1)["refusals"]
    return found[0]["cause"] if found else None


def test_hello_and_mistakes(site):
    broker = site("require_registration true", workers="2")
    with control.Control(broker.control) as c:
        hello = c.ask("hello", protocol=1, name="test")
        assert hello["protocol"] == 1 and hello["workers"] == 2 and len(hello["broker_id"]) == 16
        assert hello["registry"] == {"generation": None, "devices": 0} and hello["registration_required"] is True
        assert {(x["protocol"], x["tls"], x["require_registration"]) for x in hello["listeners"]} == {("mqtt", True, True), ("control", False, False)}
        assert c.ask("hello", protocol=2)["code"] == "argument"
        assert c.ask("nothing")["code"] == "command"
        for payload in (b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":"\xff"}', b"null"):
            assert c.answer(c.send("hello", payload))["code"] == "syntax", payload
        # Answered in their order, without waiting.
        tags = [c.send("hello", {}) for _ in range(50)]
        assert all(c.answer(tag)["broker_id"] == hello["broker_id"] for tag in tags)


def test_snapshot_and_changes(site):
    broker = site("require_registration true")
    a, b, d, p = (broker.pki.device(name) for name in ("dev-a", "dev-b", "dev-d", "dev-p"))
    with control.Control(broker.control) as c:
        # Nobody has said which devices there are: fail closed, and it says so.
        broker.wait_log("devices are refused until the control process has stated the registry")
        assert refused(broker, "dev-a", a) == 0x88 and refused(broker, "dev-a", a, version=4) == 3
        assert cause(c, "dev-a") == "registry-unavailable"
        # Other roles are not looked up.
        with wire.Peer(broker.port, "watcher", 5, files=broker.pki.files("watcher")):
            assert c.snapshot(7, ["dev-a"], ["dev-d"], ["dev-p"]) == {"done": True, "generation": 7, "devices": 3, "ended": 0}
        assert [refused(broker, "dev-b", b), refused(broker, "dev-d", d), refused(broker, "dev-p", p)] == [0x87] * 3
        assert [cause(c, n) for n in ("dev-b", "dev-d", "dev-p")] == ["not-registered", "disabled", "pending"]
        peer = wire.Peer(broker.port, "dev-a", 5, files=a)
        # A change, once more, a gap, and one that comes too late.
        assert c.ask("registry/change", **{"from": 7, "to": 8, "enabled": ["dev-b"]})["devices"] == 4
        assert c.ask("registry/change", **{"from": 7, "to": 8, "enabled": ["dev-b"]}) == {"done": True, "generation": 8, "devices": 4, "ended": 0}
        gap = c.ask("registry/change", **{"from": 9, "to": 10, "enabled": ["dev-x"]})
        assert gap["code"] == "gap" and gap["generation"] == 8
        assert c.ask("registry/change", **{"from": 5, "to": 12})["code"] == "gap"
        with wire.Peer(broker.port, "dev-b", 5, files=b):
            # The later list counts.
            ended = c.ask("registry/change", **{"from": 8, "to": 9, "enabled": ["dev-a"], "disabled": ["dev-a"], "pending": ["dev-b"]})
            assert ended["ended"] == 2
        assert peer.wait_closed() == 0x98
        peer.cut()
        # A snapshot is the whole truth, whatever its number.
        assert c.snapshot(3, ["dev-p"])["devices"] == 1
        with wire.Peer(broker.port, "dev-p", 5, files=p):
            assert refused(broker, "dev-a", a) == 0x87 and cause(c, "dev-a") == "not-registered"
        assert c.ask("hello")["registry"] == {"generation": 3, "devices": 1}


def test_half_a_snapshot_changes_nothing(site):
    broker = site("require_registration true")
    a = broker.pki.device("dev-a")
    with control.Control(broker.control) as c, control.Control(broker.control, "other") as other:
        assert c.snapshot(1, ["dev-a"])["devices"] == 1
        assert c.ask("registry/chunk", generation=2, index=0, enabled=["x"])["code"] == "order"
        assert c.ask("registry/commit", generation=2)["code"] == "order"
        assert c.ask("registry/commit", generation=1)["devices"] == 1
        assert c.ask("registry/begin", generation=2, devices=2) == {"done": True}
        assert c.ask("registry/chunk", generation=2, index=1, enabled=["x"])["code"] == "gap"
        for _ in range(2):
            assert c.ask("registry/chunk", generation=2, index=0, enabled=["x"]) == {"done": True}
        assert c.ask("registry/commit", generation=2)["code"] == "count"
        assert c.ask("registry/commit", generation=2)["code"] == "order"
        # Another begin, of whomever, is the one that counts.
        assert c.ask("registry/begin", generation=3, devices=0) == {"done": True}
        assert other.ask("registry/begin", generation=4, devices=0) == {"done": True}
        assert c.ask("registry/commit", generation=3)["code"] == "order"
        for bad in ({"generation": -1, "devices": 1}, {"generation": 1}, {"generation": 1, "devices": -1}, {"generation": "1", "devices": 1}):
            assert c.ask("registry/begin", **bad)["code"] == "argument"
        # A registry in which nothing was made yet.
        assert c.ask("registry/begin", generation=0, devices=0) == {"done": True}
        assert c.ask("registry/begin", generation=5, devices=10 ** 9)["code"] == "limit"
        for bad in ({"enabled": "x"}, {"enabled": [1]}, {"enabled": [""]}, {"disabled": ["x" * 257]}):
            assert c.ask("registry/change", **{"from": 1, "to": 2, **bad})["code"] == "argument"
        assert c.ask("registry/change", **{"from": 1, "to": 2, "enabled": [f"n{i}" for i in range(4097)]})["code"] == "limit"
        with wire.Peer(broker.port, "dev-a", 5, files=a):
            assert c.ask("hello")["registry"] == {"generation": 1, "devices": 1}


def test_either_side_may_start_again(site):
    broker = site("require_registration true")
    a = broker.pki.device("dev-a")
    with control.Control(broker.control) as c:
        c.snapshot(1, ["dev-a"])
        first = c.ask("hello")["broker_id"]
    # Without control what it said last holds.
    with wire.Peer(broker.port, "dev-a", 5, files=a):
        pass
    assert broker.stop() == 0
    broker.start()
    assert refused(broker, "dev-a", a) == 0x88
    with control.Control(broker.control) as c:
        hello = c.ask("hello")
        assert hello["broker_id"] != first and hello["registry"]["generation"] is None
        assert c.ask("registry/change", **{"from": 1, "to": 2})["code"] == "gap"
        c.snapshot(1, ["dev-a"])
        with wire.Peer(broker.port, "dev-a", 5, files=a):
            pass


def test_many_devices(site):
    """100,000 in a snapshot and as many again in changes, and the set grows for them."""
    n = 100000 if kit.BUILD != "tsan" else 20000
    broker = site("require_registration true")
    a = broker.pki.device("dev-a")
    with control.Control(broker.control) as c:
        assert c.snapshot(1, [f"device-{i}" for i in range(n)])["devices"] == n
        tags = []
        for i in range(0, n, 4096):
            names = [f"more-{k}" for k in range(i, min(n, i + 4096))]
            tags.append(c.send("registry/change", {"from": 1 + len(tags), "to": 2 + len(tags), "enabled": names}))
        assert c.answer(tags[-1])["devices"] == 2 * n
        assert refused(broker, "dev-a", a) == 0x87
        assert c.ask("registry/change", **{"from": 1 + len(tags), "to": 2 + len(tags), "enabled": ["dev-a"], "removed": ["device-0"]})["devices"] == 2 * n
        with wire.Peer(broker.port, "dev-a", 5, files=a):
            pass


def test_disabled_and_removed_while_connected(site, pki):
    """Over TLS, and over WebSocket in TLS; wills are published, what was queued goes with a device that is removed."""
    ws = kit.free_port()
    tls = [line for line in pki.conf(1).splitlines() if line.split(None, 1)[0:1] in (["cafile"], ["certfile"], ["keyfile"], ["crlfile"],
                                                                                         ["require_certificate"], ["use_identity_as_username"])]
    broker = site("require_registration true", more=[f"listener {ws}", "protocol websockets", *tls, "require_registration true"], ports=[ws])
    names = ["dev-a", "dev-b", "dev-c", "dev-d"]
    files = [broker.pki.device(n) for n in names]
    with control.Control(broker.control) as c, wire.Peer(broker.port, "watcher", 5, files=broker.pki.files("watcher")) as watcher:
        c.snapshot(1, names)
        assert watcher.subscribe(f"{kit.PREFIX}/#") == [0]
        hour = b"\x11" + wire.u32(3600)
        one = wire.Peer(broker.port, "dev-a", 5, files=files[0], clean=False, properties=hour, will=(f"{kit.PREFIX}/dev-a/state", "gone", 0, False, b""))
        two = kit.Client(broker, "dev-b", files[1], version=kit.V5, port=ws, transport="websockets")
        three = wire.Peer(broker.port, "dev-c", 4, files=files[2])
        four = wire.Peer(broker.port, "dev-d", 5, files=files[3], clean=False, properties=hour)
        assert four.subscribe(f"{kit.PREFIX}/dev-d/config", qos=1) == [1]
        four.close()
        assert c.ask("publish", topic=f"{kit.PREFIX}/dev-d/config", payload="{}", qos=1) == {"done": True, "subscribers": True}
        assert c.ask("session", client_id="dev-d")["session"]["waiting"] == 1
        done = c.ask("registry/change", **{"from": 1, "to": 2, "disabled": ["dev-a", "dev-b"], "removed": ["dev-c", "dev-d"]})
        assert done["ended"] == 4
        assert one.wait_closed() == 0x98 and two.wait_closed()[1] == 0x98 and three.wait_closed() is None
        # It was disabled, not removed: its session is kept.
        kinds = {x["client_id"]: x["connected"] for x in c.ask("sessions")["sessions"]}
        assert kinds == {"watcher": True, "dev-a": False}
        watcher.wait(lambda: any(m[1] == b"gone" for m in watcher.got), "the will")
        one.cut()
        three.cut()
        two.close()
        assert refused(broker, "dev-b", files[1]) == 0x87
        c.ask("registry/change", **{"from": 2, "to": 3, "enabled": names})
        with wire.Peer(broker.port, "dev-a", 5, files=files[0], clean=False, properties=hour) as peer:
            assert peer.session_present
        with wire.Peer(broker.port, "dev-d", 5, files=files[3], clean=False, properties=hour) as peer:
            assert not peer.session_present


def test_quarantine_for_want_of_registration(site):
    broker = site("require_registration true", "quarantine unregistered")
    new, off = broker.pki.device("dev-new"), broker.pki.device("dev-off")
    with control.Control(broker.control, events=True) as c:
        # Not before it is known who is registered.
        assert refused(broker, "dev-new", new) == 0x88
        c.snapshot(1, [], ["dev-off"])
        assert refused(broker, "dev-off", off) == 0x87
        peer = wire.Peer(broker.port, "dev-new", 5, files=new)
        assert peer.subscribe(f"{kit.PREFIX}/dev-new/#", "$signet/renew/dev-new/reply") == [0x87, 0]
        [waiting] = c.ask("renewals")["renewals"]
        assert (waiting["name"], waiting["role"], waiting["quarantine"], waiting["request"]) == ("dev-new", "quarantine", "unregistered", None)
        told = c.events(lambda all_of: any(e["event"] == "quarantine" for e in all_of))
        [arrival] = [e for e in told if e["event"] == "quarantine"]
        assert (arrival["name"], arrival["cause"], arrival["serial"]) == ("dev-new", "unregistered", waiting["serial"])
        said = kit.signet("device", "pending", "--socket", broker.control).stdout
        assert "role quarantine (not registered)" in said
        approve = kit.signet("device", "approve", "dev-new", "--dir", broker.pki.dir, "--socket", broker.control, check=False)
        assert approve.returncode == 1 and "register it in the control plane" in approve.stderr
        # Pending is as good as unknown; approved, it comes back as itself.
        assert c.ask("registry/change", **{"from": 1, "to": 2, "pending": ["dev-new"]})["ended"] == 0
        assert c.ask("registry/change", **{"from": 2, "to": 3, "enabled": ["dev-new"]})["ended"] == 1
        assert peer.wait_closed() == 0x98
        peer.cut()
        with wire.Peer(broker.port, "dev-new", 5, files=new) as peer:
            assert peer.subscribe(f"{kit.PREFIX}/dev-new/#") == [0]
            assert c.ask("session", client_id="dev-new")["session"]["role"] == "client"
        # And refused.
        assert c.ask("renew-answer", name="dev-new", fingerprint=waiting["fingerprint"])["done"] is True
        assert c.ask("renewals")["renewals"] == []
        assert c.ask("registry/change", **{"from": 3, "to": 4, "disabled": ["dev-new"]})["ended"] == 0
        assert refused(broker, "dev-new", new) == 0x87 and cause(c, "dev-new") == "disabled"


def test_what_a_reload_turns_on(site):
    """Who is connected while nobody has said which devices there are stays until somebody does."""
    broker = site()
    a, b = broker.pki.device("dev-a"), broker.pki.device("dev-b")
    peers = [wire.Peer(broker.port, "dev-a", 5, files=a), wire.Peer(broker.port, "dev-b", 5, files=b)]
    broker.conf.write_text(broker.conf.read_text().replace("use_identity_as_username true", "use_identity_as_username true\nrequire_registration true"))
    broker.reload()
    with control.Control(broker.control) as c:
        assert refused(broker, "dev-a", a) == 0x88
        assert c.snapshot(1, ["dev-b"])["ended"] == 1
        assert peers[0].wait_closed() == 0x87
        peers[0].cut()
        peers[1].fence().close()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_ticket_is_no_registration(site, version):
    """Who comes back by a ticket is judged by the registry at CONNECT like anybody else."""
    broker = site("require_registration true", "tls_session_tickets true")
    files = broker.pki.device("dev-a")
    context = kit.tls_context(files, maximum=getattr(ssl.TLSVersion, version))

    def come(session):
        """The code in CONNACK, whether the session was resumed, and the session to come back with."""
        raw = kit.Raw.__new__(kit.Raw)
        raw.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", broker.port), timeout=kit.PATIENCE), server_hostname="localhost", session=session)
        with raw:
            code = raw.send(wire.connect("dev-a", 5)).packet()[1][1]
            return code, raw.sock.session_reused, raw.sock.session

    with control.Control(broker.control) as c:
        c.snapshot(1, ["dev-a"])
        code, reused, session = come(None)
        assert (code, reused) == (0, False)
        code, reused, session = come(session)
        assert (code, reused) == (0, True)
        c.ask("registry/change", **{"from": 1, "to": 2, "disabled": ["dev-a"]})
        code, reused, session = come(session)
        assert (code, reused) == (0x87, True) and cause(c, "dev-a") == "disabled"
        c.ask("registry/change", **{"from": 2, "to": 3, "removed": ["dev-a"]})
        code, reused, session = come(session)
        assert (code, reused) == (0x87, True) and cause(c, "dev-a") == "not-registered"


def test_sessions(site):
    broker = site(workers="4")
    names = [f"dev-{x}" for x in "abcdefgh"]
    peers = {n: wire.Peer(broker.port, n, 5, files=broker.pki.device(n), properties=b"\x11" + wire.u32(3600)) for n in names}
    with control.Control(broker.control) as c:
        seen, after = [], {}
        while True:
            page = c.ask("sessions", limit=3, **after)
            assert len(page["sessions"]) <= 3
            seen += page["sessions"]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert sorted(x["client_id"] for x in seen) == names
        one = next(x for x in seen if x["client_id"] == "dev-a")
        assert one["connected"] and one["role"] == "client" and one["cn"] == one["user"] == "dev-a" and one["protocol"] == 5
        assert one["address"].startswith("127.0.0.1:") and one["expiry"] == 3600 and one["offline_since"] is None and one["seen"] is not None
        peers["dev-b"].close()
        for words, want in (({"connected": False}, ["dev-b"]), ({"cn": "dev-c"}, ["dev-c"]), ({"client_id": "dev-d", "connected": True}, ["dev-d"]),
                            ({"issuer": one["issuer"], "serial": one["serial"]}, ["dev-a"]), ({"role": "watch"}, []), ({"listener": "none"}, []),
                            ({"user": "dev-e"}, ["dev-e"]), ({"seen_within": 86400, "role": "client"}, [n for n in names if n != "dev-b"])):
            assert sorted(x["client_id"] for x in c.ask("sessions", **words)["sessions"]) == want, words
        for words in ({"after": "x"}, {"after": "1"}, {"limit": 0}, {"connected": 1}, {"cn": 1}, {"seen_within": -1}):
            assert c.ask("sessions", **words)["code"] == "argument", words
        assert c.ask("sessions", after="9999.1") == {"sessions": [], "next": None}
        assert peers["dev-a"].subscribe(f"{kit.PREFIX}/dev-a/#", qos=1) == [1]
        found = c.ask("session", client_id="dev-a")
        assert found["found"] and found["subscriptions"] == [{"filter": f"{kit.PREFIX}/dev-a/#", "qos": 1}] and found["will"] is None
        assert c.ask("session", client_id="nobody") == {"found": False} and c.ask("session")["code"] == "argument"
        # By client id, common name, user, and certificate.
        assert c.ask("disconnect", client_id="dev-a", reason="lunch") == {"done": True, "sessions": 1}
        assert peers["dev-a"].wait_closed() == 0x98
        assert c.ask("disconnect", cn="dev-c")["sessions"] == 1 and c.ask("disconnect", user="dev-d")["sessions"] == 1
        cert = next(x for x in seen if x["client_id"] == "dev-e")
        assert c.ask("disconnect", issuer=cert["issuer"], serial=cert["serial"])["sessions"] == 1
        assert c.ask("purge", client_id="dev-b")["sessions"] == 1 and c.ask("purge", client_id="dev-f")["sessions"] == 1
        for n in "cdef":
            assert peers[f"dev-{n}"].wait_closed() == 0x98
        assert sorted(x["client_id"] for x in c.ask("sessions")["sessions"]) == ["dev-a", "dev-c", "dev-d", "dev-e", "dev-g", "dev-h"]
        assert c.ask("disconnect", client_id="control") == {"done": True, "sessions": 0}
        for words in ({}, {"connected": True}, {"serial": "00"}, {"client_id": 1}, {"client_id": "x", "reason": 1}):
            assert c.ask("disconnect", **words)["code"] == "argument", words
    for n in names:
        peers[n].cut()


def test_publish(site, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    os.chmod(store, 0o777)
    os.chmod(tmp_path, 0o755)
    broker = site(persistence="true", persistence_location=f"{store}/")
    a, topic = broker.pki.device("dev-a"), f"{kit.PREFIX}/dev-a/config"
    hour = b"\x11" + wire.u32(3600)
    with control.Control(broker.control) as c:
        assert c.ask("publish", topic=topic, payload="1") == {"done": True, "subscribers": False}
        with wire.Peer(broker.port, "dev-a", 5, files=a, clean=False, properties=hour) as peer:
            peer.subscribe(topic, qos=1)
        assert c.ask("publish", topic=topic, payload='{"on":true}', qos=1)["subscribers"] is True
        assert c.ask("publish", topic=topic, payload_base64="AAH/", qos=1, retain=True, content_type="x/y", expiry=1000,
                     user_properties=[["k", "v"]], correlation="c", response_topic="r")["done"] is True
        for words in ({"topic": "$SYS/x"}, {"topic": "a/#"}, {}, {"topic": "t", "qos": 3}, {"topic": "t", "payload": 1}, {"topic": "t", "payload_base64": "%"},
                      {"topic": "t", "retain": 1}, {"topic": "t", "expiry": 0}, {"topic": "t", "user_properties": [["a"]]}, {"topic": "t", "response_topic": "#"},
                      {"topic": "t", "user_properties": [["signet-role", "x"]]}, {"topic": "t", "payload": "a", "payload_base64": "AA=="}):
            assert c.ask("publish", **words)["code"] == "argument", words
    # Acknowledged is kept.
    broker.process.kill()
    broker.process.wait()
    broker.start()
    with kit.Client(broker, "dev-a", a, version=kit.V5, clean=False, connect_properties=kit.connect_properties(SessionExpiryInterval=3600)) as peer:
        assert peer.message(topic, '{"on":true}').qos == 1
        m = peer.message(topic, b"\x00\x01\xff")
        assert (m.properties.ContentType, m.properties.ResponseTopic, m.properties.CorrelationData, m.properties.UserProperty) == ("x/y", "r", b"c", [("k", "v")])
        peer.subscribe(topic, qos=1)
        assert peer.message(topic, b"\x00\x01\xff").retain


@pytest.fixture
def open_site(broker_of):
    """A broker without TLS, with a control socket."""
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        path, port, acl = pathlib.Path(folder) / "c", kit.free_port(), pathlib.Path(folder) / "acl"
        acl.write_text("topic readwrite fine/#\n")
        broker = broker_of(f"{kit.STAY_ROOT}workers 4\nlistener {port} 127.0.0.1\nallow_anonymous true\nacl_file {acl}\nlistener 0 {path}\nprotocol control\n", port)
        broker.control = path
        yield broker


def in_order(batches):
    """Every event has its number; returns how many there are, and how many are missing."""
    at, n, dropped = 0, 0, 0
    for batch in batches:
        dropped += batch["dropped"]
        at += batch["dropped"]
        assert batch["seq"] == at, (batch["seq"], at)
        at += len(batch["events"])
        n += len(batch["events"])
    return n, dropped


def test_every_connection_is_an_event(open_site):
    n = 1000 if kit.BUILD != "tsan" else 300
    with control.Control(open_site.control, events=True) as c, control.Control(open_site.control, "other", events=True) as other:
        for i in range(n):
            with kit.Raw(open_site.port) as raw:
                assert raw.send(wire.connect(f"e{i}", 5)).packet()[1][1] == 0
        with kit.Raw(open_site.port) as raw:
            raw.send(wire.connect("last", 5) + wire.publish("no/rights", "x", version=5) + wire.disconnect(5)).rest()
        for each in (c, other):
            told = each.events(lambda all_of: sum(e["event"] == "disconnect" for e in all_of) == n + 1)
            assert in_order(each.batches) == (2 * (n + 1) + 1, 0)
            assert sorted(e["client_id"] for e in told if e["event"] == "connect") == sorted([f"e{i}" for i in range(n)] + ["last"])
            [refusal] = [e for e in told if e["event"] == "refusal"]
            assert refusal["cause"] == "publish" and refusal["client_id"] == "last"
        gone = next(e for e in told if e["event"] == "disconnect" and e["client_id"] == "last")
        assert gone["reason"] == 0 and gone["clean"] is True and gone["address"].startswith("127.0.0.1:")
        # Those of the socket itself are none, and nobody else is told anything.
        with control.Control(open_site.control, "third") as third:
            assert third.ask("hello")["protocol"] == 1
        with wire.Peer(open_site.port, "stranger", 5) as peer:
            assert peer.subscribe("$CONTROL/signet/v1/events", "$CONTROL/#") == [0x87, 0x87]
        told = c.events(lambda all_of: any(e.get("client_id") == "stranger" and e["event"] == "disconnect" for e in all_of))
        assert not any(e.get("client_id") == "third" for e in told)
        # It ends with the subscription; others go on.
        c.ready.clear()
        c.sock.sendall(wire.unsubscribe(control.PREFIX + "events", version=5))
        c._until(lambda: wire.UNSUBACK in c.ready)
        had = len(c.batches)
        with wire.Peer(open_site.port, "after", 5):
            pass
        other.events(lambda all_of: any(e.get("client_id") == "after" for e in all_of))
        assert c.ask("hello")["protocol"] == 1 and len(c.batches) == had


def test_a_slow_reader_is_told_what_is_missing(open_site):
    # Such an event has 680 bytes: 8 MiB, and what is on its way, have room for 13,300 of them.
    n, name, topic = 16000, "busy" + "y" * 180, "no/rights/" + "x" * 70
    with control.Control(open_site.control, "slow", events=True) as slow:
        with wire.Peer(open_site.port, name, 5) as peer:
            for _ in range(n // 100):
                peer.send(wire.publish(topic, "x", version=5) * 100)
            peer.fence()
            # All of it has happened; now it reads.
            slow.events(lambda all_of: slow.batches[-1:] != [] and sum(b["dropped"] for b in slow.batches) > 0)
            count, dropped = in_order(slow.batches)
            # Not one less; whoever else finds the port may add to it.
            assert count + dropped >= n + 1 and count >= 8000
            with wire.Peer(open_site.port, "later", 5):
                pass
            slow.events(lambda all_of: any(e.get("client_id") == "later" and e["event"] == "disconnect" for e in all_of))
            after = in_order(slow.batches)
            assert after[0] >= count + 2 and after[1] == dropped
