"""The normative statements of both specifications, byte by byte: normative.tsv names for each the test that proves it. Here are
the tests of those that no other file is about, and the check that the table is whole."""
import ast
import pathlib
import re

import pytest

import kit
import wire
from wire import Peer

BOTH = pytest.mark.parametrize("version", [4, 5])
CONNACK_5 = bytes.fromhex("200e0000 0b 22000a 27001e8480 210014")  # nothing but the three limits
PONG = b"\xd0\0"


class Talk(kit.Raw):
    """A client that says bytes and expects exactly the bytes that come back."""

    def __init__(self, port, client_id, version=4, **words):
        super().__init__(port)
        self.version = version
        self.send(wire.connect(client_id, version, **words))
        first, self.connack = self.packet()
        assert (first, self.connack[1]) == (0x20, 0)

    def say(self, *packets):
        return self.send(b"".join(packets))

    def hear(self, *packets):
        want = b"".join(packets)
        got = b""
        while len(got) < len(want) and want.startswith(got):
            more = self.sock.recv(len(want) - len(got))
            if not more:
                break
            got += more
        assert got == want, f"{got.hex(' ')} instead of {want.hex(' ')}"
        return self

    def silent(self):
        """Nothing is on its way to us: what is answered next is our own question."""
        return self.say(wire.PING).hear(PONG)

    def over(self, *packets):
        """Exactly this, and the end."""
        assert self.rest() == b"".join(packets)


def suback(packet_id, codes, version):
    return wire.packet(wire.SUBACK, wire.u16(packet_id) + wire.props(b"", version) + bytes(codes))


def unsuback(packet_id, codes, version):
    return wire.packet(wire.UNSUBACK, wire.u16(packet_id) + wire.props(b"", version) + (bytes(codes) if version == 5 else b""))


def kept(version, seconds=1000):
    return {"clean": False, "properties": b"\x11" + wire.u32(seconds) if version == 5 else b""}


# ---- CONNECT and CONNACK ----

@pytest.mark.parametrize("version", [3, 4, 5])
def test_connack_is_exact(shared, topic, version):
    # Reserved bits, session present, and no property that nobody asked for.
    for clean, present in [(True, 0), (False, 0), (False, 1), (True, 0), (False, 0)]:
        with kit.Raw(shared.port) as raw:
            raw.send(wire.connect(topic, version, clean, properties=b"" if clean or version < 5 else b"\x11" + wire.u32(100)))
            want = bytearray(CONNACK_5 if version == 5 else b"\x20\2\0\0")
            want[2] = present if version > 3 else 0  # 3.1 has no such bit
            assert raw.recv_exactly(len(want)) == want
            raw.send(wire.PING + wire.disconnect(version))
            assert raw.rest() == PONG


@pytest.mark.parametrize("client_id", ["a", "0123456789ABCDEFGHIJKLM", "nopqrstuvwxyzNOPQRSTUVW", "XYZabcdefghijklm"])
@BOTH
def test_names_that_every_server_must_take(shared, version, client_id):
    with Talk(shared.port, client_id, version) as t:
        t.silent()


@BOTH
def test_what_follows_connect_at_once_is_answered_in_order(shared, topic, version):
    with kit.Raw(shared.port) as raw:
        raw.send(wire.connect(topic, version) + wire.subscribe(topic, packet_id=7, options=1, version=version) + wire.PING +
                 wire.publish(topic, "x", version=version) + wire.unsubscribe(topic, packet_id=8, version=version) + wire.disconnect(version))
        connack = CONNACK_5 if version == 5 else b"\x20\2\0\0"
        assert raw.rest() == connack + suback(7, [1], version) + PONG + wire.publish(topic, "x", version=version) + \
            unsuback(8, [0], version)


@pytest.mark.parametrize("bad, answer", [
    (wire.connect("", 4, clean=False), b"\x20\2\0\2"), (wire.connect("x", 4, flags=3), b""), (wire.connect("x", 5, flags=3), b""),
    (wire.connect("x", 5, properties=b"\x15" + wire.text("none")), b"\x20\3\0\x8c\0"),
    (wire.packet(wire.CONNECT, wire.text("MQTT") + b"\6\2\0\0" + wire.text("x")), b"\x20\2\0\1")])
def test_nothing_behind_a_refused_connect_is_processed(shared, topic, bad, answer):
    with Talk(shared.port, f"{topic}s") as s:
        s.say(wire.subscribe(topic)).hear(suback(1, [0], 4))
        with kit.Raw(shared.port) as raw:
            raw.send(bad + wire.publish(topic, "no", retain=True) + wire.publish(topic, "no", version=5, retain=True) + wire.PING)
            assert raw.rest() == answer
        s.silent()


def test_connack_codes_are_those_of_the_specification(broker_of):
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous false\n", port)
    for version, answer in (3, b"\x20\2\0\5"), (4, b"\x20\2\0\5"), (5, b"\x20\3\0\x87\0"):
        with kit.Raw(port) as raw:
            raw.send(wire.connect("x", version))
            assert raw.rest() == answer


def test_maximum_qos_and_retain_that_are_not_there(broker_of, topic):
    # What a server does not support it announces, and still grants subscriptions of every QoS.
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_qos 1\nretain_available false\n", port)
    with Talk(port, "a", 5) as t:
        assert t.connack[3:] == bytes.fromhex("22000a 2500 27001e8480 210014 2401")
        t.say(wire.subscribe(topic, options=2, version=5)).hear(suback(1, [1], 5))
    for version, qos, retain, answer in (5, 2, False, b"\x20\3\0\x9b\0"), (5, 1, True, b"\x20\3\0\x9a\0"):
        with kit.Raw(port) as raw:
            raw.send(wire.connect("w", version, will=("w", "x", qos, retain, b"")))
            assert raw.rest() == answer
    for data, answer in (wire.publish(topic, "x", 2, 1, 5), b"\xe0\1\x9b"), (wire.publish(topic, "x", 0, 1, 5, retain=True), b"\xe0\1\x9a"):
        with Talk(port, "p", 5) as t:
            t.say(data).over(answer)


def test_no_packet_is_larger_than_the_client_takes(shared, topic):
    def limited(n, more=b""):
        raw = kit.Raw(shared.port)
        raw.send(wire.connect(topic, 5, properties=b"\x27" + wire.u32(n) + more))
        return raw
    for n in 1, 4, len(CONNACK_5) - 1:
        with limited(n) as raw:
            assert raw.rest() == b""
    # PUBACK with its reason, asked for, has 30 bytes: it goes without where it would not fit.
    for n, with_text in (len(CONNACK_5), False), (100, True):
        with limited(n, b"\x17\1") as raw:
            assert raw.recv_exactly(len(CONNACK_5)) == CONNACK_5
            raw.send(wire.publish("$SYS/x", "", 1, 9, 5))
            first, body = raw.packet()
            assert (first, body[:3], len(body) > 3) == (0x40, b"\0\x09\x87", with_text)
            raw.send(wire.publish("$SYS/x", "", 2, 9, 5))
            first, body = raw.packet()
            assert (first, body[:3], len(body) > 3) == (0x50, b"\0\x09\x87", with_text)
    with Talk(shared.port, topic, 5) as t:  # nor without being asked
        t.say(wire.publish("$SYS/x", "", 1, 9, 5)).hear(b"\x40\3\0\x09\x87")


# ---- lengths and texts ----

@BOTH
def test_lengths_take_as_few_bytes_as_they_need(shared, topic, version):
    # Remaining length and, in MQTT 5, property length, at both sides of 127 and 16383.
    with Talk(shared.port, topic, version) as t:
        t.say(wire.subscribe(topic, version=version)).hear(suback(1, [0], version))
        for edge in 127, 128, 16383, 16384:
            packet = wire.publish(topic, b"x" * (edge - 2 - len(topic) - (version == 5)), version=version)
            assert packet[1:].startswith(wire.varint(edge))
            t.say(packet).hear(packet)
            if version == 5:
                packet = wire.publish(topic, b"", version=5, properties=wire.user_property("", "v" * (edge - 5)))
                t.say(packet).hear(packet)


@BOTH
def test_names_are_compared_as_they_are(shared, topic, version):
    # No normalisation, no byte order mark stripped, no level dropped.
    names = [f"{topic}/\ufeffa", f"{topic}/a", f"{topic}/\u00e9", f"{topic}/e\u0301", f"{topic}/A", f"{topic}//a", f"{topic}/a/", f"/{topic}/a",
             f"{topic}/\U0010ffff", f"{topic}/\ue000", f"{topic}/ a", f"{topic}/a\u0001"]
    for name in names:
        with Talk(shared.port, topic, version) as t:
            t.say(wire.subscribe(name, version=version)).hear(suback(1, [0], version))
            for other in names:
                if other != name:
                    t.say(wire.publish(other, "no", version=version))
            t.say(wire.publish(name, "yes", version=version)).hear(wire.publish(name, "yes", version=version)).silent()


# ---- PUBLISH ----

@BOTH
def test_dup_is_not_passed_on(shared, topic, version):
    with Talk(shared.port, f"{topic}s", version) as s, Talk(shared.port, f"{topic}p", version) as p:
        s.say(wire.subscribe(topic, options=2, version=version)).hear(suback(1, [2], version))
        p.say(wire.publish(topic, "1", 1, 5, version, dup=True)).hear(wire.ack(wire.PUBACK, 5))
        s.hear(wire.publish(topic, "1", 1, 1, version)).say(wire.ack(wire.PUBACK, 1))
        p.say(wire.publish(topic, "2", 2, 5, version, dup=True)).hear(wire.ack(wire.PUBREC, 5))
        s.hear(wire.publish(topic, "2", 2, 2, version)).say(wire.ack(wire.PUBREC, 2)).hear(wire.ack(wire.PUBREL, 2))
        s.say(wire.ack(wire.PUBCOMP, 2)).silent()


@BOTH
def test_an_id_is_free_after_the_exchange(shared, topic, version):
    with Talk(shared.port, f"{topic}s", version) as s, Talk(shared.port, f"{topic}p", version) as p:
        s.say(wire.subscribe(topic, version=version)).hear(suback(1, [0], version))
        for payload in "abc":
            p.say(wire.publish(topic, payload, 1, 9, version, dup=payload == "c")).hear(wire.ack(wire.PUBACK, 9))
            s.hear(wire.publish(topic, payload, version=version))
            for _ in range(2):
                p.say(wire.publish(topic, payload, 2, 9, version)).hear(wire.ack(wire.PUBREC, 9))
            p.say(wire.ack(wire.PUBREL, 9)).hear(wire.ack(wire.PUBCOMP, 9))
            s.hear(wire.publish(topic, payload, version=version))
        # Two exchanges at once, under way at the same time, each under its own id.
        p.say(wire.publish(topic, "x", 2, 1, version), wire.publish(topic, "y", 1, 2, version), wire.publish(topic, "z", 2, 65535, version))
        p.hear(wire.ack(wire.PUBREC, 1), wire.ack(wire.PUBACK, 2), wire.ack(wire.PUBREC, 65535))
        p.say(wire.ack(wire.PUBREL, 65535), wire.ack(wire.PUBREL, 1)).hear(wire.ack(wire.PUBCOMP, 65535), wire.ack(wire.PUBCOMP, 1))


def test_a_refused_id_is_new_again(shared, topic):
    # After PUBREC with an error the id is free: what comes under it is another message.
    with Talk(shared.port, f"{topic}s", 5) as s, Talk(shared.port, f"{topic}p", 5) as p:
        s.say(wire.subscribe(topic, version=5)).hear(suback(1, [0], 5))
        p.say(wire.publish("$SYS/x", "no", 2, 3, 5)).hear(b"\x50\3\0\3\x87")
        p.say(wire.publish(topic, "yes", 2, 3, 5)).hear(b"\x50\2\0\3").say(wire.ack(wire.PUBREL, 3)).hear(b"\x70\2\0\3")
        s.hear(wire.publish(topic, "yes", version=5))
        p.say(wire.ack(wire.PUBREL, 77)).hear(b"\x70\3\0\x4d\x92")  # never used here: not found
        p.say(wire.ack(wire.PUBREC, 77)).hear(b"\x62\3\0\x4d\x92")


@pytest.mark.parametrize("kind", [wire.PUBACK, wire.PUBREC])
def test_what_the_client_refused_is_not_sent_again(shared, topic, kind):
    with Talk(shared.port, f"{topic}s", 5, **kept(5)) as s, Talk(shared.port, f"{topic}p", 5) as p:
        s.say(wire.subscribe(topic, options=2, version=5)).hear(suback(1, [2], 5))
        qos = 1 if kind == wire.PUBACK else 2
        p.say(wire.publish(topic, "x", qos, 1, 5)).packet()
        s.hear(wire.publish(topic, "x", qos, 1, 5)).say(wire.packet(kind, b"\0\1\x97")).silent()
    with Talk(shared.port, f"{topic}s", 5, **kept(5)) as s:
        assert s.connack[0] == 1
        s.silent()


@BOTH
def test_a_zero_quota_holds_up_messages_only(shared, topic, version):
    # Receive Maximum 1 and one message that is not acknowledged: everything else goes on.
    words = {"properties": b"\x21\0\1"} if version == 5 else {}
    with Talk(shared.port, f"{topic}s", version, **words) as s, Talk(shared.port, f"{topic}p", version) as p:
        s.say(wire.subscribe(topic, options=1, version=version)).hear(suback(1, [1], version))
        p.say(wire.publish(topic, "1", 1, 1, version)).hear(wire.ack(wire.PUBACK, 1))
        s.hear(wire.publish(topic, "1", 1, 1, version))
        if version == 5:
            p.say(wire.publish(topic, "2", 1, 2, version)).hear(wire.ack(wire.PUBACK, 2))
        s.silent().say(wire.subscribe("other", packet_id=2, version=version)).hear(suback(2, [0], version))
        p.say(wire.publish("other", "0", version=version))
        s.hear(wire.publish("other", "0", version=version))
        s.say(wire.publish(f"{topic}/none", "x", 2, 5, version)).hear(wire.ack(wire.PUBREC, 5))
        s.say(wire.ack(wire.PUBREL, 5)).hear(wire.ack(wire.PUBCOMP, 5))
        s.say(wire.ack(wire.PUBACK, 1))
        if version == 5:
            s.hear(wire.publish(topic, "2", 1, 2, version))


@BOTH
def test_ids_towards_a_client_are_not_zero_and_not_in_use(shared, topic, version):
    with Peer(shared.port, f"{topic}s", version, answers=False) as s, Peer(shared.port, f"{topic}p", version) as p:
        s.subscribe(topic, qos=2)
        for qos in 1, 2, 1, 2:
            p.publish(topic, "x", qos)
        s.wait_messages(4)
        ids = [m[5] for m in s.got]
        assert 0 not in ids and len(set(ids)) == 4
        p.publish(topic, "x", 0)
        assert s.wait_messages(5).got[4][5] == 0  # QoS 0 has none, or the payload would be longer
        assert s.payloads() == [b"x"] * 5


# ---- retained messages ----

@pytest.fixture
def single(broker_of):
    """A broker of one worker: what it answers, it answers in turn."""
    port = kit.free_port()
    return broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 1\n", port)


@BOTH
def test_what_is_retained(single, version):
    with Peer(single.port, "p", version) as p:
        p.publish("always", "end", retain=True)
        for payload, retain, qos, want in [(b"a", False, 1, []), (b"a", True, 1, [b"a"]), (b"b", False, 1, [b"a"]), (b"", False, 1, [b"a"]),
                                           (b"c", True, 0, [b"c"]), (b"d", True, 2, [b"d"]), (b"", True, 0, []), (b"", True, 1, [])]:
            p.publish("t", payload, qos, retain)
            p.fence()
            with Peer(single.port, "s", version) as s:
                s.subscribe("t", "always", qos=2)
                s.wait(lambda: b"end" in s.payloads(), "the last")
                assert s.payloads() == want + [b"end"] and all(m[4] for m in s.got)
                assert not want or s.got[0][2] == qos


# ---- SUBSCRIBE and UNSUBSCRIBE ----

def test_suback_and_unsuback_answer_for_each_filter_in_order(broker_of, tmp_path, topic):
    (tmp_path / "acl").write_text("topic readwrite open/#\n")
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path}/acl\n", port)
    filters = [("open/a", 2), ("shut", 1), ("open/b", 0), ("open/+", 1), ("shut/#", 2), ("open/a", 0)]
    for version, no in (4, 0x80), (5, 0x87):
        with Talk(port, topic, version) as t:
            body = b"".join(wire.text(f) + bytes([qos]) for f, qos in filters)
            t.say(wire.packet(wire.SUBSCRIBE, b"\xff\xff" + wire.props(b"", version) + body, 2))
            t.hear(suback(0xffff, [2, no, 0, 1, no, 0], version))
            t.say(wire.unsubscribe("open/b", "none", "open/a", "open/a", "open/#", packet_id=0x100, version=version))
            t.hear(unsuback(0x100, [0, 0x11, 0, 0x11, 0x11], version))
            # "open/+" is still there: only the very same filter is taken away.
            t.say(wire.publish("open/a", "x", version=version)).hear(wire.publish("open/a", "x", version=version)).silent()


@BOTH
def test_a_subscription_is_replaced(single, version):
    with Talk(single.port, "s", version) as s, Talk(single.port, "p", version) as p:
        p.say(wire.publish("t", "r", 1, 1, version, retain=True)).packet()
        for packet_id, qos in (1, 1), (2, 0), (3, 2):
            s.say(wire.subscribe("t", packet_id=packet_id, options=qos, version=version)).hear(suback(packet_id, [qos], version))
            first, _ = s.packet()  # what is retained comes again
            assert first == 0x31 | min(qos, 1) << 1
        p.say(wire.publish("t", "x", 2, 2, version)).hear(wire.ack(wire.PUBREC, 2))
        s.hear(wire.publish("t", "x", 2, 3, version))  # one copy, of the QoS granted last


@BOTH
def test_unsubscribe_completes_what_is_under_way(shared, topic, version):
    with Talk(shared.port, f"{topic}s", version) as s, Talk(shared.port, f"{topic}p", version) as p:
        s.say(wire.subscribe(topic, options=2, version=version)).hear(suback(1, [2], version))
        p.say(wire.publish(topic, "1", 1, 1, version), wire.publish(topic, "2", 2, 2, version))
        p.hear(wire.ack(wire.PUBACK, 1), wire.ack(wire.PUBREC, 2))
        s.hear(wire.publish(topic, "1", 1, 1, version), wire.publish(topic, "2", 2, 2, version))
        s.say(wire.unsubscribe(topic, packet_id=3, version=version)).hear(unsuback(3, [0], version))
        p.say(wire.publish(topic, "3", 1, 4, version)).packet()
        s.say(wire.ack(wire.PUBACK, 1), wire.ack(wire.PUBREC, 2)).hear(wire.ack(wire.PUBREL, 2)).say(wire.ack(wire.PUBCOMP, 2)).silent()


@BOTH
def test_a_member_gets_no_more_than_it_was_granted(shared, topic, version):
    with Talk(shared.port, f"{topic}s", version) as s, Talk(shared.port, f"{topic}p", version) as p:
        s.say(wire.subscribe(f"$share/g/{topic}", options=1, version=version)).hear(suback(1, [1], version))
        p.say(wire.publish(topic, "x", 2, 1, version)).hear(wire.ack(wire.PUBREC, 1))
        s.hear(wire.publish(topic, "x", 1, 1, version))


# ---- the end ----

@BOTH
def test_nothing_is_processed_behind_disconnect(shared, topic, version):
    with Talk(shared.port, f"{topic}s", version) as s:
        s.say(wire.subscribe(topic, version=version)).hear(suback(1, [0], version))
        with Talk(shared.port, f"{topic}p", version) as p:
            p.say(wire.disconnect(version), wire.publish(topic, "no", version=version), wire.PING).over()
        s.silent()


def test_a_reason_of_the_client_closes_as_well(shared, topic):
    for reason in 0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99:
        with Talk(shared.port, topic, 5) as t:
            t.say(wire.packet(wire.DISCONNECT, bytes([reason, 0]))).over()
    for reason in 1, 5, 0x10, 0x7f, 0x84, 0x91, 0x92, 0xa3, 0xff:  # none of this packet
        with Talk(shared.port, topic, 5) as t:
            t.say(wire.packet(wire.DISCONNECT, bytes([reason, 0]))).over(b"\xe0\1\x82")


# ---- the table ----

HERE = pathlib.Path(__file__).resolve().parent
# How many statements each section has; 2.2.1-1 of MQTT 5 does not exist.
STATEMENTS = {
    "3.1.1": "1.5.3:3 2.2.2:2 2.3.1:7 3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1 3.8.1:1 "
             "3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3 4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2 4.4.0:1 4.5.0:2 "
             "4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2 6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1",
    "5.0": "1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:6 2.2.2:1 3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13 3.3.2:20 3.3.4:10 "
           "3.4.2:3 3.5.2:3 3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.11.2:2 3.11.3:2 "
           "3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3 4.1.0:2 4.2.0:1 4.3.1:1 4.3.2:5 4.3.3:13 4.4.0:2 4.5.0:2 4.6.0:6 "
           "4.7.0:1 4.7.1:2 4.7.2:1 4.7.3:4 4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1 6.0.0:4"}


def statements(version):
    for item in STATEMENTS[version].split():
        section, count = item.split(":")
        for n in range(1, int(count) + 1):
            if (version, section, n) != ("5.0", "2.2.1", 1):
                yield f"{section}-{n}"


def names_in(path):
    if path.suffix == ".py":
        return {f.name for f in ast.parse(path.read_text()).body if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}
    return set(re.findall(r"(?:TEST|cmocka_unit_test)\((\w+)\)", path.read_text()))


def test_every_statement_is_proved_or_has_its_reason():
    rows, known = {}, {}
    for line in (HERE / "normative.tsv").read_text().splitlines():
        if line.startswith("#"):
            continue
        version, number, what, proof = line.split("\t")
        assert (version, number) not in rows, f"{version} {number} twice"
        rows[version, number] = proof
        assert what and proof, f"{version} {number}: a field is empty"
        if proof.startswith("not tested: "):
            continue
        for name in proof.split(" "):
            file, _, test = name.partition("::")
            path = HERE / file if file.endswith(".py") else HERE.parent / "src" / file
            if file not in known:
                known[file] = names_in(path)
            assert test in known[file], f"{version} {number}: there is no {name}"
    assert list(rows) == [(v, n) for v in STATEMENTS for n in statements(v)]
