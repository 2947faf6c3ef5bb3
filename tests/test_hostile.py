"""Ten years of other brokers' flaws, as tests: whatever a client sends, the broker answers as the specification says or closes,
and a well-behaved client beside it notices nothing.

Which test is about which flaw: FLAWS.md.

Identities (who may take a client id, certificates' names, revocation) are tested with the roles.
"""
import os
import random
import select
import socket
import time

import pytest

import kit
import wire
from wire import Peer

MALFORMED, PROTOCOL, UNAUTHORIZED = 0x81, 0x82, 0x87


@pytest.fixture
def bystander(shared, topic):
    """A client that subscribes before and must hear itself after the test's mischief, on every worker."""
    peers = [Peer(shared.port, f"{topic}by{i}", 4 + i % 2) for i in range(4)]
    for p in peers:
        assert p.subscribe(f"{topic}/by/+", qos=1) == [1]

    def check():
        for i, p in enumerate(peers):
            before = [len(q.got) for q in peers]
            p.publish(f"{topic}/by/{i}", "calm", qos=2)
            for q, n in zip(peers, before):
                q.wait_messages(n + 1)
                assert q.got[n][0] == f"{topic}/by/{i}" and not q.closed

    check()
    yield check
    check()
    for p in peers:
        p.close()


def answer(port, data, client_id, version, context=None):
    """What comes back behind CONNACK until the broker closes."""
    with kit.Raw(port, context=context) as raw:
        raw.send(wire.connect(client_id, version) + data)
        first, body = raw.packet()
        assert (first, body[1]) == (wire.CONNACK << 4, 0)
        return raw.rest()


def refused(reason, version):
    return wire.packet(wire.DISCONNECT, bytes([reason])) if version == 5 else b""


# ---- one bad packet ----

S, U, P = wire.subscribe, wire.unsubscribe, wire.publish
BOTH, FIVE, THREE = (4, 5), (5,), (4,)
BAD_TEXTS = {"NUL": b"a\0b", "lone continuation": b"a\x80", "overlong": b"\xc0\xaf", "surrogate": b"\xed\xa0\x80", "0xff": b"\xff",
             "above U+10FFFF": b"\xf4\x90\x80\x80", "cut": b"\xe2\x82"}


def after_connect():
    """(name, versions, bytes for a version, reason in MQTT 5)"""
    yield "type 0", BOTH, lambda v: b"\0\0", MALFORMED
    for kind in wire.CONNACK, wire.SUBACK, wire.UNSUBACK, wire.PINGRESP:
        for body in b"", b"\0\0", b"\0\1\0\0":
            yield f"server's packet {kind} with {len(body)}", BOTH, lambda v, k=kind, b=body: wire.packet(k, b), PROTOCOL
    yield "AUTH", BOTH, lambda v: wire.packet(wire.AUTH), PROTOCOL
    yield "AUTH with a method", FIVE, lambda v: wire.packet(wire.AUTH, b"\x18" + wire.props(b"\x15" + wire.text("m"), 5)), PROTOCOL
    yield "second CONNECT", BOTH, lambda v: wire.connect("again", v), PROTOCOL  # [MQTT-3.1.0-2]
    yield "remaining length of 5 bytes", BOTH, lambda v: b"\x30\xff\xff\xff\xff\x01", MALFORMED
    yield "remaining length of 4 bytes, not ended", BOTH, lambda v: b"\xc0\x80\x80\x80\x80", MALFORMED
    # PUBLISH
    yield "QoS 3", BOTH, lambda v: wire.packet(wire.PUBLISH, wire.text("a") + b"\0\1\0", 6), MALFORMED  # [MQTT-3.3.1-4]
    yield "QoS 0 with DUP", BOTH, lambda v: P("a", version=v, dup=True), MALFORMED  # [MQTT-3.3.1-2]
    yield "empty topic", BOTH, lambda v: P("", "x", version=v), PROTOCOL
    yield "no topic at all", BOTH, lambda v: b"\x30\0", MALFORMED
    yield "topic longer than the packet", BOTH, lambda v: wire.packet(wire.PUBLISH, b"\0\x09abc"), MALFORMED
    yield "QoS 1 without id", BOTH, lambda v: wire.packet(wire.PUBLISH, wire.text("a"), 2), MALFORMED
    yield "QoS 2 with half an id", BOTH, lambda v: wire.packet(wire.PUBLISH, wire.text("a") + b"\0", 4), MALFORMED
    for qos in 1, 2:
        yield f"QoS {qos} with id 0", BOTH, lambda v, q=qos: P("a", "x", q, 0, v), PROTOCOL  # [MQTT-2.2.1-3]
    for name in "a/#", "+", "a/+/b", "a#":  # [MQTT-3.3.2-2]
        yield f"topic {name}", BOTH, lambda v, n=name: P(n, "x", version=v), MALFORMED
    for what, bad in BAD_TEXTS.items():  # [MQTT-1.5.4-1] [MQTT-1.5.4-2]
        yield f"topic with {what}", BOTH, lambda v, b=bad: P(b, "x", version=v), MALFORMED
        yield f"filter with {what}", BOTH, lambda v, b=bad: S(b, version=v), MALFORMED
        yield f"user property with {what}", FIVE, lambda v, b=bad: P("a", version=5, properties=wire.user_property(b, b"x")), MALFORMED
        yield f"response topic with {what}", FIVE, lambda v, b=bad: P("a", version=5, properties=b"\x08" + wire.text(b)), MALFORMED
    yield "properties longer than the packet", FIVE, lambda v: wire.packet(wire.PUBLISH, wire.text("a") + b"\x7f\x26"), MALFORMED
    yield "property length not ended", FIVE, lambda v: wire.packet(wire.PUBLISH, wire.text("a") + b"\xff\xff"), MALFORMED
    yield "property length of 5 bytes", FIVE, lambda v: wire.packet(wire.PUBLISH, wire.text("a") + b"\xff\xff\xff\xff\x01"), MALFORMED
    yield "property that does not exist", FIVE, lambda v: P("a", version=5, properties=b"\x7e\0"), MALFORMED
    for identifier, value in [(0x11, b"\0\0\0\1"), (0x12, wire.text("x")), (0x13, b"\0\1"), (0x15, wire.text("x")), (0x17, b"\1"),
                              (0x1a, wire.text("x")), (0x1f, wire.text("x")), (0x21, b"\0\1"), (0x22, b"\0\1"), (0x24, b"\1"),
                              (0x27, b"\0\0\0\1"), (0x2a, b"\1"), (0x0b, b"\1")]:
        yield f"forbidden property {identifier:#x}", FIVE, \
            lambda v, i=identifier, x=value: P("a", version=5, properties=bytes([i]) + x), PROTOCOL if identifier == 0x0b else MALFORMED
    for what, properties in {"content type": b"\x03" + wire.text("x"), "expiry": b"\x02\0\0\0\1", "alias": b"\x23\0\1"}.items():
        yield f"{what} twice", FIVE, lambda v, p=properties: P("a", version=5, properties=p * 2), PROTOCOL
    yield "response topic with wildcard", FIVE, lambda v: P("a", version=5, properties=b"\x08" + wire.text("a/#")), PROTOCOL
    yield "payload format 2", FIVE, lambda v: P("a", version=5, properties=b"\x01\2"), PROTOCOL
    yield "payload that is not UTF-8 as said", FIVE, lambda v: P("a", b"\xff", version=5, properties=b"\x01\1"), 0x99
    # SUBSCRIBE and UNSUBSCRIBE
    for kind in wire.SUBSCRIBE, wire.UNSUBSCRIBE:
        tail = b"\0" if kind == wire.SUBSCRIBE else b""
        yield f"{kind} without filters", BOTH, lambda v, k=kind: wire.packet(k, b"\0\1" + wire.props(b"", v), 2), MALFORMED
        yield f"{kind} without id", BOTH, lambda v, k=kind: wire.packet(k, b"\0", 2), MALFORMED
        yield f"{kind} empty", BOTH, lambda v, k=kind: wire.packet(k, b"", 2), MALFORMED
        yield f"{kind} with id 0", BOTH, \
            lambda v, k=kind, t=tail: wire.packet(k, b"\0\0" + wire.props(b"", v) + wire.text("a") + t, 2), MALFORMED
        yield f"{kind} with flags 0", BOTH, \
            lambda v, k=kind, t=tail: wire.packet(k, b"\0\1" + wire.props(b"", v) + wire.text("a") + t, 0), MALFORMED
        yield f"{kind} filter longer than the packet", BOTH, \
            lambda v, k=kind: wire.packet(k, b"\0\1" + wire.props(b"", v) + b"\xff\xffa", 2), MALFORMED
    yield "SUBSCRIBE without options byte", BOTH, lambda v: wire.packet(8, b"\0\1" + wire.props(b"", v) + wire.text("a"), 2), MALFORMED
    yield "SUBSCRIBE second filter without options", BOTH, \
        lambda v: wire.packet(8, b"\0\1" + wire.props(b"", v) + wire.text("a") + b"\0" + wire.text("b"), 2), MALFORMED
    yield "SUBSCRIBE QoS 3", BOTH, lambda v: S("a", options=3, version=v), MALFORMED
    yield "SUBSCRIBE reserved bits", BOTH, lambda v: S("a", options=0xc0, version=v), MALFORMED
    yield "SUBSCRIBE retain handling 3", FIVE, lambda v: S("a", options=0x30, version=v), MALFORMED
    for f in "", "a#", "#/a", "a/#/b", "a+", "+a", "a/b+/c":
        yield f"filter {f!r}", BOTH, lambda v, f=f: S(f, version=v), MALFORMED
        yield f"UNSUBSCRIBE {f!r}", BOTH, lambda v, f=f: U(f, version=v), MALFORMED
    for f in "$share/ab", "$share//a", "$share/g/", "$share/a+/x", "$share/#/x", "$share/", "$share/g/a#":
        yield f"shared filter {f!r}", BOTH, lambda v, f=f: S(f, version=v), MALFORMED
    yield "no local on a shared subscription", FIVE, lambda v: S("$share/g/a", options=4, version=5), PROTOCOL  # [MQTT-3.8.3-4]
    for n in 0, None:
        yield f"subscription identifier {n}", FIVE, \
            lambda v, n=n: S("a", version=5, properties=b"\x0b" + (b"\0" if n == 0 else b"\xff\xff\xff\xff\x7f")), MALFORMED
    yield "subscription identifier twice", FIVE, lambda v: S("a", version=5, properties=b"\x0b\1\x0b\2"), MALFORMED
    # acknowledgements
    for kind in wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
        flags = 2 if kind == wire.PUBREL else 0
        for body in b"", b"\0":
            yield f"{kind} of {len(body)} bytes", BOTH, lambda v, k=kind, b=body, f=flags: wire.packet(k, b, f), MALFORMED
        yield f"{kind} with wrong flags", BOTH, lambda v, k=kind, f=flags: wire.packet(k, b"\0\1", f ^ 2), MALFORMED
        yield f"{kind} with id 0", BOTH, lambda v, k=kind, f=flags: wire.packet(k, b"\0\0", f), None
        yield f"{kind} with an unknown reason", FIVE, lambda v, k=kind, f=flags: wire.packet(k, b"\0\1\x7f", f), None
        yield f"{kind} with a long property length", FIVE, lambda v, k=kind, f=flags: wire.packet(k, b"\0\1\0\x7f", f), MALFORMED
    yield "PUBACK too long", THREE, lambda v: wire.packet(wire.PUBACK, b"\0\1\0"), None
    yield "PINGREQ with a body", BOTH, lambda v: b"\xc0\1x", MALFORMED
    yield "PINGREQ with flags", BOTH, lambda v: b"\xc1\0", MALFORMED
    yield "DISCONNECT with flags", BOTH, lambda v: b"\xe1\0", MALFORMED
    yield "DISCONNECT with a body", THREE, lambda v: b"\xe0\1\0", None
    yield "DISCONNECT with a server's property", FIVE, lambda v: wire.disconnect(5, 0, b"\x13\0\1"), MALFORMED


FAULTS = list(after_connect())


@pytest.mark.parametrize("version", [4, 5])
def test_faults_after_connect(shared, bystander, topic, version):
    wrong = []
    for n, (name, versions, data, reason) in enumerate(FAULTS):
        if version not in versions:
            continue
        got = answer(shared.port, data(version) + wire.PING, f"{topic}c{n}", version)
        if reason is None and version == 5:
            ok = got[:2] == b"\xe0\1" and got[2] in (MALFORMED, PROTOCOL, 0x8F) and len(got) == 3
        else:
            ok = got == refused(reason, version)
        if not ok:
            wrong.append((name, got))
        if n % 40 == 0:
            bystander()
    assert not wrong


def test_faults_after_connect_over_tls(broker, pki):
    control = kit.tls_context(pki.files("controller"))
    with Peer(broker.port, "watcher", context=kit.tls_context(pki.files("watcher"))) as watcher:
        watcher.subscribe("#")
        for n, (name, versions, data, reason) in enumerate(FAULTS):
            if 5 in versions and n % 4 == 0:
                got = answer(broker.port, data(5) + wire.PING, "controller", 5, control)
                assert got[:2] == b"\xe0\1" and len(got) == 3 and reason in (None, got[2]), (name, got)
        with Peer(broker.port, "controller", context=control) as p:
            p.publish("calm", "after", qos=1)
            assert watcher.wait_messages(1).payloads() == [b"after"]


# ---- CONNECT ----

def connects():
    """(name, bytes, what comes back): a CONNECT that is not one is not answered [MQTT-3.1.4-1], as mosquitto does it in MQTT 5 too."""
    none, v3 = b"", lambda code: bytes([0x20, 2, 0, code])
    v5 = lambda code: bytes([0x20, 3, 0, code, 0])
    head = lambda version, flags: wire.text("MQTT") + bytes([version, flags]) + wire.u16(60)
    raw = lambda body: wire.packet(wire.CONNECT, body)
    yield "unknown level", raw(head(6, 2) + wire.text("c")), {v3(1), v5(0x84)}  # [MQTT-3.1.2-2]
    yield "level 0", raw(head(0, 2) + wire.text("c")), {v3(1), v5(0x84)}
    yield "wrong name", raw(wire.text("MQTX") + b"\4\2\0\0" + wire.text("c")), {none, v3(1), v5(0x84)}
    yield "3.1's name with 3.1.1's level", raw(wire.text("MQIsdp") + b"\4\2\0\0" + wire.text("c")), {none, v3(1)}
    yield "long name", raw(wire.text("M" * 60000) + b"\4\2\0\0"), {none, v3(1), v5(0x84)}
    yield "flags on the packet", b"\x11" + wire.connect("c")[1:], {none}
    yield "nothing", raw(b""), {none}
    yield "reserved flag 3.1.1", wire.connect("c", flags=3), {none}  # [MQTT-3.1.2-3]
    yield "reserved flag 5", wire.connect("c", 5, flags=3), {none}
    yield "will QoS 3", raw(head(5, 0x1e) + b"\0" + wire.text("c") + b"\0" + wire.text("w") + wire.text("x")), {none}
    yield "will QoS without will", raw(head(5, 0x0a) + b"\0" + wire.text("c")), {none}
    yield "will retain without will", raw(head(5, 0x22) + b"\0" + wire.text("c")), {none}
    yield "password without user name", wire.connect("c", 4, password="x"), {none}  # [MQTT-3.1.2-22]; allowed in 5
    yield "user name flag without user name", raw(head(4, 0x82) + wire.text("c")), {none}
    yield "bytes behind the end", raw(wire.connect("c")[2:] + b"x"), {none}
    yield "id longer than the packet", raw(head(4, 2) + b"\xff\xffc"), {none}
    for what, bad in BAD_TEXTS.items():
        yield f"id with {what}", wire.connect(bad), {none, v3(2)}
        yield f"user name with {what}", wire.connect("c", 5, username=bad), {none}
        yield f"will topic with {what}", wire.connect("c", 5, will=(bad, "x", 0, False, b"")), {none}
    for topic in "", "a/#", "+", "$share/g/x":
        yield f"will topic {topic!r}", wire.connect("c", 5, will=(topic, "x", 0, False, b"")), {v5(0x90) if topic else none}
    for topic in "$SYS/x", "$CONTROL/x":
        yield f"will topic {topic!r}", wire.connect("c", 5, will=(topic, "x", 0, False, b"")), {v5(UNAUTHORIZED)}
    for what, properties in [
            ("receive maximum 0", b"\x21\0\0"), ("maximum packet size 0", b"\x27\0\0\0\0"),
            ("request problem 2", b"\x17\2"), ("request response 2", b"\x19\2"),
            ("expiry twice", b"\x11\0\0\0\1" * 2), ("authentication data alone", b"\x16\0\1x"),
            ("unknown property", b"\x7e\0"), ("half a property", b"\x11\0"),
            ("topic alias", b"\x23\0\1"), ("will delay outside the will", b"\x18\0\0\0\1")]:
        yield what, wire.connect("c", 5, properties=properties), {none}
    yield "authentication method", wire.connect("c", 5, properties=b"\x15" + wire.text("SCRAM")), {v5(0x8C)}
    for what, properties in [("topic alias", b"\x23\0\1"), ("session expiry", b"\x11\0\0\0\1"),
                             ("delay twice", b"\x18\0\0\0\1" * 2), ("format 2", b"\x01\2"),
                             ("unknown", b"\x7e"), ("half", b"\x18\0")]:
        yield f"will property: {what}", wire.connect("c", 5, will=("w", "x", 0, False, properties)), {none}
    yield "first packet is not CONNECT", wire.PING, {none}  # [MQTT-3.1.0-1]
    yield "first packet is PUBLISH", wire.publish("a", "x"), {none}
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", {none}
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), {none}
    yield "PROXY protocol", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", {none}
    yield "zeros", bytes(100), {none}


def test_bad_connects_are_refused(shared, bystander):
    wrong = []
    for name, data, answers in connects():
        with kit.Raw(shared.port) as raw:
            raw.send(data)
            got = raw.rest()
        if got not in answers:
            wrong.append((name, got))
    assert not wrong


@pytest.mark.parametrize("version", [3, 4, 5])
def test_every_truncation_of_connect_is_refused(shared, bystander, version):
    will_properties = b"\x18\0\0\0\1" + b"\x02\0\0\0\1" + b"\x03" + wire.text("t") + wire.user_property()
    properties = b"\x11\0\0\0\1" + b"\x21\0\1" + wire.user_property() + b"\x17\1"
    whole = wire.connect("client", version, properties=properties, will=("will/topic", "payload", 1, True, will_properties),
                         username="user", password="secret")
    body = whole[2:] if whole[1] < 128 else whole[3:]
    # "Server implementations must allow for the possibility that the User Name flag is set, but the User Name string is
    # missing", and the same for the password (3.1, "Connect flags").
    may_end = [len(body) - len(wire.text("secret")), len(body) - len(wire.text("user") + wire.text("secret"))] if version == 3 else []
    for n in range(len(body)):
        with kit.Raw(shared.port) as raw:
            raw.send(wire.packet(wire.CONNECT, body[:n]))
            raw.sock.shutdown(socket.SHUT_WR)
            got = raw.rest()
            assert (got[:1] == b"\x20" and got[3] == 0) == (n in may_end), f"{n} of {len(body)} bytes: {got}"
    with kit.Raw(shared.port) as raw:
        raw.send(whole)
        assert raw.packet()[1][1] == 0


def test_the_will_of_a_refused_connect_is_not_sent(shared, topic):
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        will = (f"{topic}/w", "no", 1, True, b"")
        for data in (wire.connect("", 4, clean=False, will=will), wire.connect(f"{topic}a", 5, will=will, properties=b"\x15" + wire.text("m")),
                     wire.connect(f"{topic}b", 5, will=will) + b"", wire.connect(f"{topic}c", 4, will=will)[:-1]):
            with kit.Raw(shared.port) as raw:
                raw.send(data)
                if data == wire.connect(f"{topic}b", 5, will=will):
                    raw.packet()
                    raw.send(wire.disconnect(5))
                raw.sock.shutdown(socket.SHUT_WR)
                raw.rest()
        s.publish(f"{topic}/fence")
        s.wait_messages(1)
        assert s.got[0][0] == f"{topic}/fence"


# ---- topics ----

SLASHES = "/" * 65400


@pytest.mark.parametrize("version", [4, 5])
def test_65400_slashes(shared, bystander, topic, version):
    # Two hundred separators are a limit that no honest topic meets; more end the connection at once, as with mosquitto.
    start = time.monotonic()
    for n, data in enumerate([wire.subscribe(SLASHES, version=version), wire.subscribe("/+" * 32700, version=version),
                              wire.subscribe("+/" * 30000 + "#", version=version), wire.publish(SLASHES, "x", version=version, retain=True),
                              wire.subscribe("$share/g/" + SLASHES, version=version), wire.unsubscribe(SLASHES, version=version)]):
        got = answer(shared.port, data, f"{topic}{n}", version)
        assert got == b"" if version == 4 else got == refused(MALFORMED, 5)
    with pytest.raises((kit.Refused, EOFError)):
        Peer(shared.port, f"{topic}w", version, will=(SLASHES, "x", 1, False, b""))
    with Peer(shared.port, f"{topic}s", version) as s:
        deep = f"{topic}/" + "/" * 190
        s.subscribe(deep, f"{topic}" + "/+" * 191, deep[:-1] + "#", qos=1)
        s.publish(deep, "x", qos=1, retain=True)
        s.wait_messages(1)
        s.unsubscribe(deep, f"{topic}" + "/+" * 191, deep[:-1] + "#")
        s.publish(deep, "", qos=1, retain=True)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["$", "$a", "$share", "$share/x", "$SYS", "$SYS/broker/version", "$CONTROL/dynamic-security/v1", "/", "//",
                                  "a//b", " ", "\x7f", "\ufeff", "a" * 65535, "%u/%c/%p", "..", "a/../b", "\U0010ffff"])
def test_odd_topics_are_harmless(shared, bystander, topic, name):
    # A topic that begins with $ must not stop the broker (CVE-2018-12543); $SYS is the broker's own.
    mine = name in ("$SYS", "$CONTROL/dynamic-security/v1") or not name.startswith("$S")
    for version in 4, 5:
        with Peer(shared.port, f"{topic}c", version) as c:
            for qos in 0, 1, 2:
                c.publish(name, "x", qos=qos, retain=True)
                c.publish(name, "", qos=qos, retain=True)
            c.fence()
            if mine and not name.startswith("$"):
                c.subscribe(name, qos=1)
                c.publish(name, "heard", qos=1)
                c.wait(lambda: b"heard" in c.payloads(), "the message")
            c.unsubscribe(name)


@pytest.mark.parametrize("version", [4, 5])
def test_bodies_around_powers_of_two(shared, topic, version):
    # NanoMQ #2270: a body of exactly 1024 bytes
    with Peer(shared.port, f"{topic}c", version) as c:
        c.subscribe(topic, qos=1)
        n = 0
        base = len(wire.publish(topic, b"", 1, version=version)) - 2
        for power in 7, 8, 9, 10, 12, 14, 15, 16, 17, 21:
            for size in range(max(base, 2 ** power - 2), 2 ** power + 3):
                if size < 1_999_990:
                    c.publish(topic, b"x" * (size - base), qos=1, wait=False)
                    n += 1
        c.wait_messages(n)


# ---- resources ----

def memory_of(broker):
    """Resident bytes."""
    with open(f"/proc/{broker.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_follow_announced_lengths(plain):
    with Peer(plain.port, "good") as good:
        good.subscribe("calm")
        before = memory_of(plain)
        huge = b"\xff\xff\xff\x7f"  # 268,435,455
        crowd = []
        for i in range(200):
            raw = kit.Raw(plain.port)
            crowd.append(raw)
            if i % 4 == 0:
                raw.send(b"\x10" + huge + b"\0\4MQTT\4\2")  # a CONNECT
            elif i % 4 == 1:
                raw.send(b"\x30" + huge + b"\0\1a")         # not even that
            elif i % 4 == 2:
                raw.connect(f"c{i}")
                raw.send(b"\x30" + huge + b"\0\1a")         # above max_packet_size
            else:
                raw.connect(f"c{i}")
                raw.send(b"\x30" + wire.varint(1_900_000) + b"\0\1a" + bytes(2000))  # allowed, and never sent
        good.publish("calm", "x", qos=1)
        good.wait_messages(1)
        grown = memory_of(plain) - before
        for i, raw in enumerate(crowd):
            if i % 4 != 3:
                assert raw.rest() == b""
            raw.close()
        assert grown < 60 << 20, f"{grown >> 20} MB"


def test_a_connect_of_half_a_megabyte_is_all_that_a_stranger_can_make_us_keep(shared, bystander):
    with kit.Raw(shared.port) as raw:
        raw.send(b"\x10" + wire.varint(600_000))
        assert raw.rest() == b""


def test_thousands_of_user_properties_are_fast(shared, bystander, topic):
    # CVE-2021-41039: time must not grow with their square.
    many = wire.user_property() * 60_000  # 420 kB
    start = time.monotonic()
    with Peer(shared.port, f"{topic}c", 5, properties=many) as c:
        c.subscribe(topic, qos=1)
        c.publish(topic, "x", qos=2, properties=many * 4)
        c.send(wire.subscribe(f"{topic}/a", packet_id=9999, version=5, properties=many)).wait_ack(wire.SUBACK, 9999)
        c.wait_messages(1)
        Peer(shared.port, f"{topic}w", 5, will=(topic, "y", 1, False, many)).cut()
        c.wait_messages(2)
        c.send(wire.packet(wire.PUBACK, b"\0\1\0" + wire.props(many, 5)))
        c.fence()
        c.send(wire.disconnect(5, 0, many)).wait_closed()
    with Peer(shared.port, f"{topic}d") as d:
        d.subscribe(*[f"{topic}/{i}" for i in range(20_000)])
        d.publish(f"{topic}/19999", "x")
        d.wait_messages(1)
        d.unsubscribe(*[f"{topic}/{i}" for i in range(20_000)])
    assert time.monotonic() - start < 15


def test_repeated_faults_do_not_leak(plain):
    # What one fault leaves behind is seen when it happens often; LeakSanitizer looks at the end.
    def mischief(n):
        for i in range(n):
            with kit.Raw(plain.port) as raw:
                raw.send(wire.connect(f"c{i % 7}", 5, clean=False, properties=b"\x11\0\0\0\0",
                                      will=("w", "x" * 1000, 1, True, b"\x18\0\0\0\1" + wire.user_property("a", "b" * 500))))
                raw.packet()
                raw.send(b"".join(wire.publish("x", b"y" * 500, 2, 5, 5, dup=k > 0) for k in range(20)))
                raw.send(wire.subscribe("a/+", "$share/g/a", version=5) + wire.subscribe("a/+", version=5, options=3))
                raw.rest()
            with kit.Raw(plain.port) as raw:
                raw.send(wire.connect("bad", 5, will=("w/#", "x" * 65_000, 1, True, b"")))
                raw.rest()

    mischief(60)
    before = memory_of(plain)
    mischief(150)
    grown = memory_of(plain) - before
    # ASan keeps what was freed for a while: what must not happen is growth with every round.
    assert grown < (60 if kit.BUILD == "asan" else 8) << 20, f"{grown >> 20} MB"


def test_slow_senders_and_half_packets(shared, bystander, topic):
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(topic, qos=2)
        for version in 3, 4, 5:
            stream = wire.connect(f"{topic}slow{version}", version) + wire.subscribe("x", version=version) + \
                wire.publish(topic, f"{version}", 2, 3, version) + wire.ack(wire.PUBREL, 3) + wire.PING
            with kit.Raw(shared.port) as raw:
                for i in range(len(stream)):
                    raw.send(stream[i:i + 1])
                kinds = [raw.packet()[0] >> 4 for _ in range(5)]
                assert kinds == [wire.CONNACK, wire.SUBACK, wire.PUBREC, wire.PUBCOMP, wire.PINGRESP]
        s.wait_messages(3)
        # A packet in which the connection ends was never sent.
        for n in range(1, 12):
            with kit.Raw(shared.port) as raw:
                raw.connect(f"{topic}half")
                raw.send(wire.publish(topic, "half", 1)[:n])
        assert s.fence().payloads() == [b"3", b"4", b"5"]


def test_half_open_connections_end_and_harm_nobody(plain, pki, broker_of):
    # From accept to a whole CONNECT there are 10 s, to the end of a TLS handshake as many as are configured.
    port = kit.free_port()
    broker_of(pki.conf(port, "tls_handshake_timeout 1", workers="4"), port)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with Peer(plain.port, "good") as good, Peer(port, "watcher", files=pki.files("watcher")) as watcher:
        good.subscribe("calm")
        crowd = [kit.Raw(where).send(data) for _ in range(40) for where, data in [
            (plain.port, b""), (plain.port, wire.connect("half")[:9]), (port, b""), (port, hello)]]
        for i in range(20):
            good.publish("calm", f"{i}", qos=1)
        good.wait_messages(20)
        watcher.fence()
        for raw in crowd:
            assert raw.rest()[:1] in (b"", b"\x15")  # at most an alert
            raw.close()
        good.publish("calm", "end", qos=1)
        good.wait_messages(21)
        watcher.fence()


@pytest.fixture
def narrow(broker_of, tmp_path):
    """A broker that may have 100 descriptors, and an ACL to reload."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite old/#\n")
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 2\nacl_file {acl}\n{kit.STAY_ROOT}", port,
                       under=["prlimit", "--nofile=100:100"])
    return broker, acl


def served(port):
    try:
        Peer(port, "late").close()
        return True
    except (OSError, EOFError):
        return False


def crowd_of(port, n):
    return [kit.Raw(port) for _ in range(n)]


def test_more_connections_than_descriptors(narrow):
    broker, _ = narrow
    with Peer(broker.port, "good") as good:
        good.subscribe("old/calm", qos=1)
        crowd = crowd_of(broker.port, 150)
        good.publish("old/calm", "x", qos=1)
        good.wait_messages(1)
        for raw in crowd:
            raw.close()
        kit.wait_for(lambda: served(broker.port), "a new client to be served")
        good.publish("old/calm", "y", qos=1)
        good.wait_messages(2)


def test_a_reload_that_fails_keeps_the_old_rules(narrow):
    # CVE-2017-7652: without free descriptors the settings fell back to defaults.
    broker, acl = narrow
    with Peer(broker.port, "a", 5) as a:
        acl.write_text("topic readwrite new/#\nnonsense\n")
        assert broker.reload("Reloaded:|Reload failed").group() == "Reload failed"
        assert a.subscribe("old/#", "new/#") == [0, UNAUTHORIZED]
        acl.write_text("topic readwrite new/#\n")
        crowd = crowd_of(broker.port, 150)
        broker.wait_log("no file descriptors left|Too many open files")
        assert broker.reload("Reloaded:|Reload failed").group() == "Reload failed"
        assert a.subscribe("old/#", "new/#") == [0, UNAUTHORIZED]
        for raw in crowd:
            raw.close()
        kit.wait_for(lambda: served(broker.port), "the end of the crowd")
        assert broker.reload("Reloaded:|Reload failed").group() == "Reloaded:"
        kit.wait_for(lambda: a.subscribe("old/#", "new/#") == [UNAUTHORIZED, 0], "the new rules")


def test_every_limit_at_its_smallest(broker_of):
    # FlashMQ CVE-2026-42209: a setting of 0 that divides
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 0\nmax_inflight_messages 1\nmax_queued_messages 1\n"
              "max_queued_bytes 1\nmax_packet_size 20\nmax_keepalive 0\nmax_qos 0\nretain_available false\n"
              "persistent_client_expiration 1h\nmessage_size_limit 0\nmax_connections 2\n", port)
    with Peer(port, "a", keepalive=0) as a, Peer(port, "b", 5, keepalive=0) as b:
        assert a.subscribe("t", qos=2) == [0] and b.subscribe("t", qos=2) == [0]
        a.publish("t", "x")
        b.publish("t", "y")
        a.wait_messages(2)
        b.wait_messages(2)
        with pytest.raises((EOFError, ConnectionError)):
            Peer(port, "c")
        b.send(wire.publish("t", "x", 1, version=5))
        assert b.wait_closed() == 0x9B
    for zero in ["max_inflight_messages 0\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_connections -1\n"]:
        port = kit.free_port()
        broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\n{zero}", port)
        with Peer(port, "a") as a:
            a.subscribe("t", qos=2)
            for i in range(100):
                a.publish("t", f"{i}", qos=2, wait=False)
            a.wait_messages(100)


# ---- rights ----

def acl_broker(broker_of, tmp_path, text):
    acl = tmp_path / "acl"
    acl.write_text(text)
    port = kit.free_port()
    return broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nacl_file {acl}\n{kit.STAY_ROOT}", port), acl


NAMES = ["#", "+", "a/#", "+/b", "/", "a/b", "other/../x", ".*", "%u", "%c", "$SYS", "#/"]


@pytest.mark.parametrize("where", ["c", "u"])
def test_names_with_wildcards_do_not_widen_rights(broker_of, tmp_path, where):
    broker, _ = acl_broker(broker_of, tmp_path, f"pattern readwrite of/%{where}/#\nuser root\ntopic readwrite #\n")
    with Peer(broker.port, "root", username="root") as root:
        root.subscribe("#", qos=1)
        for name in NAMES:
            words = {"client_id": name, "username": "nobody"} if where == "c" else {"client_id": "x", "username": name}
            c = Peer(broker.port, version=5, **words)
            codes = [*c.subscribe("of/other/x"), *c.subscribe("other/#"), *c.subscribe("#"), *c.subscribe("of/#"), *c.subscribe("of/+/x")]
            c.publish("of/other/x", "stolen", qos=1)
            root.publish("of/other/x", "secret", qos=1)
            c.fence()
            assert b"secret" not in c.payloads(), (name, codes)
            c.close()
        root.wait_messages(len(NAMES)).fence()
        assert b"stolen" not in root.payloads()
        # An ordinary name has its own place.
        words = {"client_id": "mine"} if where == "c" else {"username": "mine"}
        with Peer(broker.port, **words) as c:
            assert c.subscribe("of/mine/#", qos=1) == [1]
            c.publish("of/mine/x", "own", qos=1)
            c.wait_messages(1)


def test_an_empty_acl_file_denies_everything(broker_of, tmp_path):
    # CVE-2018-12550
    broker, _ = acl_broker(broker_of, tmp_path, "")
    with Peer(broker.port, "a") as three, Peer(broker.port, "b", 5) as five:
        assert three.subscribe("a", "#", qos=1) == [0x80, 0x80] and five.subscribe("a", "$share/g/a") == [UNAUTHORIZED] * 2
        assert five.wait_ack(wire.PUBACK, five.publish("a", "x", 1))[:1] == bytes([UNAUTHORIZED])
        assert three.wait_ack(wire.PUBACK, three.publish("a", "x", 1)) == b""
        with pytest.raises(kit.Refused) as refused_will:
            Peer(broker.port, "c", 5, will=("a", "x", 0, False, b""))
        assert refused_will.value.code == UNAUTHORIZED
        five.fence()
        three.fence()


def test_a_wildcard_subscription_brings_only_what_may_be_read(broker_of, tmp_path):
    # CVE-2026-49186: every delivery is judged, not only the filter; live, retained, shared, queued
    broker, _ = acl_broker(broker_of, tmp_path, "topic read open/#\nuser root\ntopic readwrite #\n")
    with Peer(broker.port, "root", username="root") as root:
        root.publish("open/r", "r", qos=1, retain=True)
        root.publish("closed/r", "secret", qos=1, retain=True)
        with Peer(broker.port, "a", clean=False) as a:
            codes = a.subscribe("#", "+/+", "$share/g/#", qos=1)
            for _ in range(4):
                root.publish("closed/x", "secret", qos=1)
                root.publish("open/x", "seen", qos=1)
            assert 1 in codes
            a.wait(lambda: {b"seen", b"r"} <= set(a.payloads()), "the open topic, live and retained")
            a.fence()
            assert b"secret" not in a.payloads()
        root.publish("closed/x", "secret", qos=1)
        root.publish("open/x", "queued", qos=1)
        with Peer(broker.port, "a", clean=False) as a:
            a.fence()
            assert b"secret" not in a.payloads()


def test_revoked_rights_act_no_more(broker_of, tmp_path):
    # CVE-2021-34434, MQTTactic: the kept subscription, the queue, the will, and the client that is there
    everything = "user root\ntopic readwrite #\nuser a\ntopic readwrite old/#\ntopic readwrite new/#\n"
    broker, acl = acl_broker(broker_of, tmp_path, everything)
    root = Peer(broker.port, "root", username="root")
    root.subscribe("#", qos=1)
    for client_id in "away", "here":
        with Peer(broker.port, client_id, clean=False, username="a") as a:
            assert a.subscribe("old/#", "new/#", qos=1) == [1, 1]
    for topic in "old/q", "new/q":
        root.publish(topic, "queued", qos=1)
    here = Peer(broker.port, "here", 5, clean=False, properties=b"\x11\0\0\1\0", username="a", will=("old/will", "x", 1, False, b""))
    here.wait_messages(2)
    acl.write_text(everything.replace("topic readwrite old/#\n", ""))
    found = broker.reload(r"Reloaded:|Reload failed")
    assert found.group() == "Reloaded:"
    kit.wait_for(lambda: here.wait_ack(wire.PUBACK, here.publish("old/p", "mark", 1))[:1] == bytes([UNAUTHORIZED]), "the new rules")
    root.publish("old/live", "secret", qos=1)
    root.publish("new/live", "seen", qos=1)
    here.wait(lambda: b"seen" in here.payloads(), "the new topic").fence()
    assert b"secret" not in here.payloads()
    here.cut()
    with Peer(broker.port, "away", clean=False, username="a") as away:
        away.wait(lambda: b"seen" in away.payloads(), "the queue").fence()
        assert [m[0] for m in away.got] == ["new/q", "new/live"]
    root.publish("fence", "", qos=1)
    root.wait(lambda: root.got[-1][0] == "fence", "the fence")
    assert "old/will" not in [m[0] for m in root.got]
    root.close()


# ---- wills, TLS, chance ----

def test_wills_that_outlive_their_session(shared, bystander, topic):
    # CVE-2019-11778: delay > expiry, and the client comes back before, between and after
    will = (f"{topic}/w", "x", 1, False, b"\x18" + wire.u32(100))
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/w", qos=1)
        for seconds in 1, 0, 1, 2, 0:
            Peer(shared.port, f"{topic}c", 5, clean=False, properties=b"\x11" + wire.u32(seconds), will=will).cut()
        s.wait_messages(2)  # who comes back in time takes the will back: only the two sessions of 0 s have ended
        s.publish(f"{topic}/w", "fence", qos=1)
        assert s.wait_messages(3).payloads() == [b"x", b"x", b"fence"]


def test_garbage_on_a_tls_port(broker, pki):
    control = kit.tls_context(pki.files("controller"))
    chance = random.Random(1)
    with Peer(broker.port, "watcher", files=pki.files("watcher")) as watcher:
        watcher.subscribe("#")
        hello = bytes.fromhex("16030100c8010000c40303") + chance.randbytes(32)
        for data in [wire.connect("plain"), b"\0", b"GET / HTTP/1.0\r\n\r\n", hello, hello + bytes(200), b"\x16\x03\x01\xff\xff" + bytes(70000),
                     b"\x15\x03\x01\0\2\2\0", b"\x17\x03\x03\0\5hello", b"\x16\x03\x01\0\0", b"\x80\x2e\1\0\2" + bytes(44)]:
            with kit.Raw(broker.port) as raw:
                try:
                    raw.send(data)
                    raw.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                raw.rest()
        for _ in range(100):
            with kit.Raw(broker.port) as raw:
                try:
                    raw.send(b"\x16\x03\x01" * chance.randrange(2) + chance.randbytes(chance.randrange(300)))
                    raw.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                raw.rest()
        for data in b"\x17\x03\x03\0\x20" + bytes(32), b"\x14\x03\x03\0\1\1", b"\x16\x03\x03\0\4\0\0\0\0", chance.randbytes(500):
            tcp = socket.create_connection(("127.0.0.1", broker.port), timeout=kit.PATIENCE)
            under = tcp.dup()  # writes below TLS
            with control.wrap_socket(tcp, server_hostname="localhost") as tls:
                tls.sendall(wire.connect("controller"))
                assert tls.recv(4) == b"\x20\2\0\0"
                under.sendall(data)
                under.shutdown(socket.SHUT_WR)
                with pytest.raises((OSError, EOFError)):
                    while tls.recv(100):
                        pass
                    raise EOFError
            under.close()
        with Peer(broker.port, "controller", context=control) as p:
            p.publish("calm", "x", qos=1)
            watcher.wait(lambda: b"x" in watcher.payloads(), "the message")


def valid_streams(version, topic):
    """What clients send, as lists of packets."""
    v5 = version == 5
    some = (b"\x02\0\0\0\x3c" + b"\x03" + wire.text("t") + b"\x08" + wire.text("r/t") + wire.user_property()) if v5 else b""
    will = (f"{topic}/w", "gone", 1, True, b"\x18\0\0\0\1" + wire.user_property() if v5 else b"")
    first = wire.connect(f"{topic}m", version, clean=False, will=will, username="user", password="secret",
                         properties=b"\x11\0\0\0\1\x21\0\5\x22\0\3" if v5 else b"")
    plain = wire.connect(f"{topic}n", version)
    subs = wire.subscribe(f"{topic}/#", f"{topic}/+/x", f"$share/g/{topic}/y", options=2, version=version, properties=b"\x0b\5" if v5 else b"")
    pubs = [wire.publish(f"{topic}/x", "payload", q, 7 + q, version, retain=q == 1, properties=some) for q in (0, 1, 2)]
    alias = [wire.publish(f"{topic}/x", "a", version=5, properties=b"\x23\0\1"), wire.publish("", "b", version=5, properties=b"\x23\0\1")]
    acks = [wire.ack(wire.PUBREL, 9), wire.ack(wire.PUBACK, 1), wire.ack(wire.PUBREC, 2), wire.ack(wire.PUBCOMP, 2)]
    unsub = wire.unsubscribe(f"{topic}/+/x", f"$share/g/{topic}/y", version=version)
    return [[first, subs, *pubs, *acks, unsub, wire.PING, wire.disconnect(version)],
            [plain, *(alias if v5 else []), *pubs, subs, *pubs, *acks],
            [plain, wire.subscribe("#", version=version), *pubs, unsub, wire.disconnect(version, 4 if v5 else 0)]]


def mutate(chance, packets):
    packets = [bytearray(p) for p in packets]
    # Half of the cases leave CONNECT as it is, to come further.
    first = chance.randrange(2)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(first, len(packets))
        p = packets[at]
        i = chance.randrange(len(p)) if p else 0
        what = chance.randrange(9)
        if what == 0 and p:
            p[i] = chance.choice((0, 1, 0x7f, 0x80, 0xff, chance.randrange(256)))
        elif what == 1 and p:
            p[i] ^= 1 << chance.randrange(8)
        elif what == 2:
            p[i:i] = chance.randbytes(chance.randrange(1, 5))
        elif what == 3:
            del p[i:i + chance.randrange(1, 5)]
        elif what == 4:
            packets.insert(at, bytearray(p))
        elif what == 5:
            del p[i:]
        elif what == 6:
            other = chance.randrange(first, len(packets))
            packets[at], packets[other] = packets[other], packets[at]
        elif what == 7 and len(p) > 2:  # change the content and keep the frame whole: a later check is reached
            j = chance.randrange(2, len(p))
            p[j:j + 1] = chance.randbytes(chance.randrange(3))
            p[1] = max(0, len(p) - 2) & 0x7f
        elif what == 8 and len(p) > 4:  # a length inside
            j = chance.randrange(2, len(p) - 1)
            p[j:j + 2] = wire.u16(chance.choice((0, 1, len(p), 0xffff)))
    return b"".join(map(bytes, packets))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("version", [4, 5])
def test_mutations_of_valid_streams(shared, bystander, topic, version, seed):
    # 4,000 cases in all; the seed makes them the same every time.
    chance = random.Random(f"{version}.{seed}")
    streams = valid_streams(version, topic)
    for case in range(1000):
        data = mutate(chance, chance.choice(streams))
        with kit.Raw(shared.port) as raw:
            try:
                cut = chance.randrange(len(data) + 1) if case % 5 == 0 else len(data)
                raw.send(data[:cut])
                if cut < len(data):
                    select.select([raw.sock], [], [], 0.001)
                    raw.send(data[cut:])
                raw.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # closed by the broker already
            raw.rest()
        if case % 100 == 0:
            bystander()
    with Peer(shared.port, f"{topic}end") as p:
        p.publish(f"{topic}/x", "", retain=True)
        p.publish(f"{topic}/w", "", retain=True)
