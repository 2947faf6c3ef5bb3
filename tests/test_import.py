"""signet store import: what mosquitto 2.0 kept is served by the broker; a file that is damaged leaves nothing behind."""
import json
import os
import random
import re
import shutil
import struct

import pytest

import kit
import wire
from test_bridge import Mosquitto
from wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Peer

NEVER = b"\x11\xff\xff\xff\xff"


@pytest.fixture
def mosquitto(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    m = Mosquitto(tmp_path / "mosquitto", kit.free_port(), "persistence true", f"persistence_location {folder}/", "queue_qos0_messages true")
    m.data = folder
    m.start()
    yield m
    m.stop()


def serve(broker_of, folder, *lines):
    port = kit.free_port()
    return broker_of("\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", "workers 2", "persistence true", f"persistence_location {folder}",
                                *lines]) + "\n" + kit.STAY_ROOT, port).port


def half_received(port):
    """Has sent PUBREC and never PUBCOMP for the first, and nothing for the second; the packet ids."""
    with kit.Raw(port) as raw:
        raw.connect("half", clean=False)
        raw.send(wire.subscribe("half/#", options=2)).packet()
        with Peer(port, "other") as peer:
            peer.publish("half/1", b"first", 2)
            kind, body = raw.packet()
            first = wire.split_publish(kind & 15, body)[1]
            raw.send(wire.ack(PUBREC, first))
            assert raw.packet()[0] >> 4 == PUBREL
            peer.publish("half/2", b"second", 2)
            kind, body = raw.packet()
            assert kind >> 4 == PUBLISH
            return first, wire.split_publish(kind & 15, body)[1]


def test_everything_is_served(mosquitto, broker_of):
    port, folder = mosquitto.port, mosquitto.data
    with Peer(port, "alice", clean=False, username="al", password="x") as alice:
        assert alice.subscribe("a/#", "/lead", "//", qos=1) == [1, 1, 1]
    with Peer(port, "bob", 5, clean=False, properties=NEVER) as bob:
        assert bob.subscribe("a/b", qos=2 | 4 | 8, properties=b"\x0b\x07") == [2]
        assert bob.subscribe("+/b", qos=1, properties=b"\x0b\x09") == [1]
    first, second = half_received(port)
    rich = b"\x03" + wire.text("text/plain") + b"\x26" + wire.text("k") + wire.text("v") + b"\x08" + wire.text("re/ply") + b"\x09" + wire.text("id")
    with Peer(port, "pub", 5) as pub:
        pub.publish("a/b", b"plain", 1)
        pub.publish("a/b", b"rich", 2, properties=rich + b"\x02" + wire.u32(5000))
        pub.publish("a/b", b"short", 1, properties=b"\x02" + wire.u32(1))
        pub.publish("a/c", b"never mind", 0)
        pub.publish("kept/1", b"retained", 1, retain=True, properties=rich)
        pub.publish("/lead", b"slash", 1)
    with kit.Raw(port) as raw:  # accepted, not handed on by mosquitto
        raw.connect("open", clean=False)
        raw.send(wire.publish("a/open", b"accepted", 2, 77))
        assert raw.packet()[0] >> 4 == PUBREC
    mosquitto.stop()
    before = (folder / "mosquitto.db").read_bytes()

    # Nobody begins with nothing beside it.
    conf = folder / "c.conf"
    conf.write_text(f"listener {kit.free_port()} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}\n{kit.STAY_ROOT}")
    refused = kit.signet("broker", "-c", conf, check=False)
    assert refused.returncode != 0 and f"signet store import {folder}/mosquitto.db\n" in refused.stderr + refused.stdout
    assert not (folder / "signet.store").exists()

    # The second is longer gone than it was to live.
    os.utime(folder / "mosquitto.db")
    kit.wait_for(lambda: kit.time.time() > (folder / "mosquitto.db").stat().st_mtime + 1.5, "a message to expire")
    said = kit.signet("store", "import", folder / "mosquitto.db").stdout
    assert re.search(r"4 sessions with 6 subscriptions, \d+ messages for them, 1 retained", said), said
    assert "1 packet ids of QoS 2" in said and "left out" in said
    assert (folder / "mosquitto.db").read_bytes() == before
    again = kit.signet("store", "import", folder / "mosquitto.db", check=False)
    assert again.returncode == 1 and "imported once" in again.stderr
    assert json.loads(kit.signet("store", "stats", folder / "signet.store", "--json").stdout)["live"]["session"] == 4

    port = serve(broker_of, folder)
    with Peer(port, "alice", clean=False, username="al", password="x") as alice:
        assert alice.session_present
        alice.wait_messages(4)
        assert sorted(m[:3] for m in alice.got) == [("/lead", b"slash", 1), ("a/b", b"plain", 1), ("a/b", b"rich", 1), ("a/open", b"accepted", 1)]
        alice.publish("//", b"still subscribed", 1)
        alice.wait_messages(5)
        assert len(alice.got) == 5
    with kit.Raw(port) as raw:  # the exchange goes on where it was: at most one of each
        raw.send(wire.connect("bob", 5, clean=False, properties=NEVER))
        assert raw.packet()[1][0] == 1
        seen = []
        while len(seen) < 2:
            kind, body = raw.packet()
            topic, packet_id, properties, payload = wire.split_publish(kind & 15, body, 5)
            seen.append((topic, payload, kind >> 1 & 3))
            # Two subscriptions, one copy, both identifiers (the one with QoS 2 asked for its own only).
            assert b"\x0b\x07" in properties or b"\x0b\x09" in properties
            if payload == b"rich":
                expiry = properties.index(b"\x02\x00\x00")
                assert 4900 < int.from_bytes(properties[expiry + 1:expiry + 5], "big") <= 5000
                assert all(p in properties for p in (wire.text("text/plain"), wire.text("re/ply"), b"\x26" + wire.text("k") + wire.text("v")))
            raw.send(wire.ack(PUBACK if kind >> 1 & 3 == 1 else PUBREC, packet_id))
        assert [s[1] for s in seen][0] == b"plain" or {s[1] for s in seen} <= {b"plain", b"rich"}
    with kit.Raw(port) as raw:
        raw.connect("half", clean=False)
        got = {}
        for _ in range(2):
            kind, body = raw.packet()
            got[kind >> 4] = (int.from_bytes(body[:2], "big"), None) if kind >> 4 == PUBREL else wire.split_publish(kind & 15, body)
        assert got[PUBREL][0] == first
        assert got[PUBLISH][1] == second and got[PUBLISH][3] == b"second"
    with kit.Raw(port) as raw:  # the packet id is still taken
        raw.connect("open", clean=False)
        raw.send(wire.publish("a/open", b"accepted", 2, 77, dup=True))
        assert raw.packet() == (PUBREC << 4, wire.u16(77))
        raw.send(wire.ack(PUBREL, 77))
        assert raw.packet() == (PUBCOMP << 4, wire.u16(77))
    done = kit.mosquitto("mosquitto_sub", "-p", str(port), "-t", "kept/#", "-C", "1", "-W", "20", "-V", "5", "-F", "%r %p %C %P %R")
    assert done.stdout.split() == ["1", "retained", "text/plain", "k:v", "re/ply"]
    with Peer(port, "alice", clean=False, username="al", password="x") as alice:
        assert alice.session_present
        alice.fence()
        assert not alice.got


# ---- files written here ----

class Db:
    """A mosquitto.db by hand."""

    def __init__(self, version=6):
        self.version = version
        self.data = b"\x00\xb5\x00mosquitto db" + struct.pack(">II", 0, version)
        self.starts = []
        self.chunk(1, struct.pack("=QBB6x", 9, 1, 8))

    def chunk(self, kind, body):
        self.starts.append(len(self.data))
        self.data += struct.pack(">II", kind, len(body)) + body
        return self

    def message(self, number, topic, payload=b"x", qos=1, retain=0, expires=0, origin=b"pub", props=b""):
        topic = topic.encode()
        head = struct.pack("=Qq", number, expires) + struct.pack(">IHHHHHBB", len(payload), 1, len(origin), 0, len(topic), 0, qos, retain)
        return self.chunk(2, head + origin + topic + payload + (wire.varint(len(props)) + props if props else b""))

    def client(self, name, expiry=0xFFFFFFFF, ends=0, user=b"", port=1883):
        body = struct.pack("=q", ends) + struct.pack(">IHH", expiry, 1, len(name))
        body += struct.pack(">HH4x", port, len(user)) if self.version == 6 else b""
        return self.chunk(6, body + name.encode() + user)

    def sub(self, name, topic, qos=1, options=0, number=0):
        return self.chunk(5, struct.pack(">IHHBB2x", number, len(name), len(topic), qos, options) + (name + topic).encode())

    def queued(self, name, number, qos=1, state=11, packet_id=0, direction=1, ids=b""):
        body = struct.pack("=Q", number) + struct.pack(">HHBBBB", packet_id, len(name), qos, state, 0, direction) + name.encode()
        return self.chunk(3, body + (wire.varint(len(ids)) + ids if ids else b""))

    def retained(self, number):
        return self.chunk(4, struct.pack("=Q", number))


def whole():
    db = Db().message(1, "a/1", b"one").message(2, "g/1", b"two", qos=2, props=b"\x01\x01").message(3, "r", b"kept", retain=1)
    db.client("member").client("alice", user=b"al", expiry=3600).queued("alice", 1, ids=b"\x0b\x05\x0b\x90\x4e").queued("alice", 2, 2, 5, 40)
    db.client("open").queued("open", 2, 2, 7, 12, 0)
    return db.sub("member", "$share/grp/g/+").sub("alice", "a/#", 2, 8, 5).sub("alice", "g/#", 1).retained(3)


def put(tmp_path, data):
    path = tmp_path / "mosquitto.db"
    path.write_bytes(data)
    return path


def imported(path):
    return kit.signet("store", "import", path, check=False)


def test_groups_and_what_waits_for_pubrel(tmp_path, broker_of):
    assert imported(put(tmp_path, whole().data)).returncode == 0
    port = serve(broker_of, tmp_path)
    with Peer(port, "member", clean=False) as member:
        assert member.wait_messages(1).got[0][:3] == ("g/1", b"two", 1)
        member.publish("g/2", b"live", 1)
        member.wait_messages(2)
    with Peer(port, "alice", clean=False, username="al", password="x") as alice:
        alice.wait_messages(4)
        assert sorted(alice.payloads()) == [b"live", b"one", b"two", b"two"]
        assert [m[5] for m in alice.got if m[3]] == [40]


def test_version_five(tmp_path, broker_of):
    db = Db(5).message(1, "a", b"old").client("alice").queued("alice", 1).sub("alice", "a")
    assert imported(put(tmp_path, db.data)).returncode == 0
    with Peer(serve(broker_of, tmp_path), "alice", clean=False) as alice:
        assert alice.wait_messages(1).payloads() == [b"old"]


def test_the_name_of_the_file_is_that_of_the_store(tmp_path, broker_of):
    (tmp_path / "mosquitto.db").write_bytes(whole().data)
    shutil.copy(tmp_path / "mosquitto.db", tmp_path / "two.db")
    for name in ("mosquitto.db", "two.db"):
        assert imported(tmp_path / name).returncode == 0
    assert (tmp_path / "signet.store").is_dir() and (tmp_path / "two.db.store").is_dir()
    one, two = serve(broker_of, tmp_path), serve(broker_of, tmp_path, "persistence_file two.db")
    for port in (one, two):
        with Peer(port, "member", clean=False) as member:
            assert member.session_present


def identity(name):
    return {"username": name, "password": "x"} if name else {}


def test_who_owns_a_session(tmp_path, broker_of):
    """Once, whoever has the user name; then it is his. A name that 2.0.11 left there of the client before is none."""
    db = Db().client("named", user=b"u").client("none").client("u1", user=b"u").client("left", user=b"u\0\0heap").client("left2", user=b"u").client("own", user=b"v")
    said = imported(put(tmp_path, db.data)).stdout
    assert "6 sessions" in said and "  2 sessions with what may be another client's user name" in said
    assert b"heap".hex() not in kit.signet("store", "dump", "--content", tmp_path / "signet.store").stdout
    port = serve(broker_of, tmp_path)
    for client_id, wrong, right in (("named", "v", "u"), ("named", None, "u"), ("u1", "v", "u"), ("own", "u", "v"), ("none", None, "v"), ("left", None, "w"),
                                    ("left2", None, "w")):
        if wrong is not None or client_id == "named":
            with pytest.raises(kit.Refused):
                Peer(port, client_id, clean=False, **identity(wrong))
        with Peer(port, client_id, clean=False, **identity(right)) as peer:
            assert peer.session_present
        with pytest.raises(kit.Refused):
            Peer(port, client_id, clean=False, **identity("thief"))


def test_a_certificate_takes_what_has_its_name(tmp_path, pki, broker_of):
    assert imported(put(tmp_path, Db().client("imp7", user=b"imp7").client("imp8", user=b"else").client("imp9").data)).returncode == 0
    port = kit.free_port()
    broker_of(pki.conf(port, persistence="true", persistence_location=str(tmp_path)) + kit.STAY_ROOT, port)
    for name in ("imp7", "imp9"):
        with Peer(port, name, files=pki.device(name), clean=False) as peer:
            assert peer.session_present
    with pytest.raises(kit.Refused):
        Peer(port, "imp8", files=pki.device("imp8"), clean=False)


def test_any_owner(tmp_path, broker_of):
    put(tmp_path, Db().client("named", user=b"u").data)
    kit.signet("store", "import", tmp_path / "mosquitto.db", tmp_path / "s.store", "--any-owner")
    with Peer(serve(broker_of, tmp_path, "persistence_file s"), "named", clean=False) as peer:
        assert peer.session_present


def test_key_and_listeners(tmp_path):
    path, key = put(tmp_path, Db().client("a", port=8883).client("b", port=1883).client("c", port=7).data), tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    kit.signet("store", "import", path, "--key-file", key)
    store = tmp_path / "signet.store"
    assert kit.signet("store", "check", store, check=False).returncode == 1
    lines = kit.signet("store", "dump", "--content", "--key-file", key, store).stdout.splitlines()
    content = [bytes.fromhex(json.loads(line)["content"]) for line in lines]
    assert {c[3:4]: c.rpartition(b"\0")[2][1:] for c in content} == {b"a": b"8883", b"b": b"1883", b"c": b"7"}


def test_times_are_kept(tmp_path, broker_of):
    now = int(kit.time.time())
    db = Db().message(1, "a", expires=now - 5).client("over", 60, now - 1).client("soon", 600, now + 300).client("gone", 0).client("capped", ends=now + 900)
    result = imported(put(tmp_path, db.queued("soon", 1).data))
    assert "2 sessions with 0" in result.stdout and "2 sessions whose time was over" in result.stdout
    assert "1 messages whose time was over" in result.stdout


def nothing_is_left(tmp_path):
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mosquitto.db"]


WRONG = [
    (b"", "no file of mosquitto"), (b"SQLite format 3\0", "no file of mosquitto"), (Db(4).data, "mosquitto 1"), (Db(7).data, "format 7"),
    (Db().message(1, "a").message(1, "b").data, "twice"), (Db().message(1, "a/#").data, "topic"), (Db().message(1, "a", qos=3).data, "QoS"),
    (Db().message(1, "a", props=b"\x0b\x01").retained(1).data, "properties"), (Db().client("").data, "id"),
    (Db().client("a").client("a").data, "twice"), (Db().client("a").sub("a", "a/#/b").data, "filter"), (Db().client("a").sub("a", "$share/x").data, "filter"),
    (Db().client("a").sub("a", "a", 3).data, "options"), (Db().sub("a", "a").data, "not in the file"), (Db().queued("a", 1).data, "not in the file"),
    (Db().client("a").queued("a", 1, state=12).data, "state"), (Db().client("a").queued("a", 1, state=3).data, "packet id"),
    (Db().client("a").queued("a", 1, ids=b"\x01\x01").data, "identifiers"), (Db().chunk(9, b"").data, "does not write"),
    (Db().chunk(2, b"short").data, "length"),
]


@pytest.mark.parametrize("data, why", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(tmp_path, data, why):
    result = imported(put(tmp_path, data))
    assert result.returncode == 1 and re.search(r"byte \d+: .*" + why, result.stderr), result.stderr
    nothing_is_left(tmp_path)


def test_truncated(tmp_path):
    db = whole()
    ends = set(db.starts[1:])
    rng = random.Random(5)
    for n in sorted(rng.sample([n for n in range(len(db.data)) if n not in ends], 12)):
        result = imported(put(tmp_path, db.data[:n]))
        assert result.returncode == 1 and re.search(r"byte \d+: ", result.stderr), n
        nothing_is_left(tmp_path)


def test_flipped_bits(tmp_path):
    """There is no checksum in the file: a flip is refused, or it is somebody's text."""
    db = whole()
    rng = random.Random(7)
    for _ in range(25):
        data = bytearray(db.data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        result = imported(put(tmp_path, data))
        assert result.returncode in (0, 1)
        if result.returncode == 1:
            assert re.search(r"byte \d+: ", result.stderr), result.stderr
            nothing_is_left(tmp_path)
        else:
            assert kit.signet("store", "check", tmp_path / "signet.store").returncode == 0
            shutil.rmtree(tmp_path / "signet.store")
