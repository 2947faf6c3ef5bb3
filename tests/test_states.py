"""Every packet in every state of a connection, whole and byte by byte: what is answered, and whether the connection goes on.

Behind each packet a PINGREQ and a DISCONNECT are sent; so what comes back until the broker closes says it all."""
import pytest

import kit
import wire

MALFORMED, PROTOCOL, TOO_LARGE, TAKEN_OVER = 0x81, 0x82, 0x95, 0x8E
VERSIONS = 3, 4, 5
PONG = b"\xd0\0"
CONNACK = {3: b"\x20\2\0\0", 4: b"\x20\2\0\0", 5: bytes.fromhex("200e00000b22000a27001e8480210014")}
RESUMED = {3: b"\x20\2\0\0", 4: b"\x20\2\1\0", 5: bytes.fromhex("200e01000b22000a27001e8480210014")}


def ack(kind, reason=0):
    """With id 1; a reason is for MQTT 5 only."""
    return lambda v: wire.packet(kind, b"\0\1" + (bytes([reason]) if reason and v == 5 else b""), 2 if kind == wire.PUBREL else 0)


def bare(kind, body=b"", flags=0):
    return lambda v: wire.packet(kind, body, flags)


def bye(reason):
    return bytes([0xe0, 1, reason])


class Ends(int):
    """The connection ends; MQTT 5 is told this reason, MQTT 3 nothing."""


def suback(kind, code, v):
    return wire.packet(kind, b"\0\1" + wire.props(b"", v) + (bytes([code]) if v == 5 or kind == wire.SUBACK else b""))


# name: (the packet, the answer in a session without exchanges under way: a function of the version, or how it ends)
NOTHING = lambda v: b""
PACKETS = {
    "type 0": (bare(0), Ends(MALFORMED)),
    "CONNECT": (lambda v: wire.connect("again", v), Ends(PROTOCOL)),
    "CONNACK": (bare(wire.CONNACK, b"\0\0"), Ends(PROTOCOL)),
    "PUBLISH 0": (lambda v: wire.publish("else", "x", version=v), NOTHING),
    "PUBLISH 1": (lambda v: wire.publish("else", "x", 1, 1, v), ack(wire.PUBACK, 0x10)),
    "PUBLISH 2": (lambda v: wire.publish("else", "x", 2, 1, v), ack(wire.PUBREC)),
    "PUBACK": (ack(wire.PUBACK), NOTHING),
    "PUBREC": (ack(wire.PUBREC), ack(wire.PUBREL, 0x92)),
    "PUBREL": (ack(wire.PUBREL), ack(wire.PUBCOMP, 0x92)),
    "PUBCOMP": (ack(wire.PUBCOMP), NOTHING),
    "SUBSCRIBE": (lambda v: wire.subscribe("none", options=2, version=v), lambda v: suback(wire.SUBACK, 2, v)),
    "SUBACK": (lambda v: suback(wire.SUBACK, 0, v), Ends(PROTOCOL)),
    "UNSUBSCRIBE": (lambda v: wire.unsubscribe("none", version=v), lambda v: suback(wire.UNSUBACK, 0x11, v)),
    "UNSUBACK": (lambda v: suback(wire.UNSUBACK, 0, v), Ends(PROTOCOL)),
    "PINGREQ": (bare(wire.PINGREQ), lambda v: PONG),
    "PINGRESP": (bare(wire.PINGRESP), Ends(PROTOCOL)),
    "DISCONNECT": (lambda v: wire.disconnect(v), Ends(0)),
    "AUTH": (bare(wire.AUTH), Ends(PROTOCOL)),
    # malformed and at the edges
    "length of five bytes": (lambda v: b"\x30\xff\xff\xff\xff\x01", Ends(MALFORMED)),
    "length of 268435455": (lambda v: b"\x30\xff\xff\xff\x7f", Ends(TOO_LARGE)),
    "length one above the bound": (lambda v: b"\x30" + wire.varint(2_000_000 - 3), Ends(TOO_LARGE)),
    "PUBLISH QoS 3": (bare(wire.PUBLISH, wire.text("else") + b"\0\1\0", 6), Ends(MALFORMED)),
    "PUBLISH empty": (bare(wire.PUBLISH), Ends(MALFORMED)),
    "PUBLISH without topic": (lambda v: wire.publish("", "x", version=v), lambda v: Ends(PROTOCOL if v == 5 else MALFORMED)),
    "PUBLISH to a wildcard": (lambda v: wire.publish("a/#", "x", version=v), Ends(MALFORMED)),
    "PUBLISH with id 0": (lambda v: wire.publish("else", "x", 1, 0, v), Ends(PROTOCOL)),
    "PUBACK of a byte": (bare(wire.PUBACK, b"\0"), Ends(MALFORMED)),
    "PUBREC empty": (bare(wire.PUBREC), Ends(MALFORMED)),
    "PUBREL empty": (bare(wire.PUBREL, b"", 2), Ends(MALFORMED)),
    "PUBCOMP of a byte": (bare(wire.PUBCOMP, b"\0"), Ends(MALFORMED)),
    "SUBSCRIBE empty": (bare(wire.SUBSCRIBE, b"", 2), Ends(MALFORMED)),
    "SUBSCRIBE without filter": (lambda v: wire.subscribe(version=v), Ends(MALFORMED)),
    "SUBSCRIBE to no filter": (lambda v: wire.subscribe("a#", version=v), Ends(MALFORMED)),
    "SUBSCRIBE with id 0": (lambda v: wire.subscribe("a", packet_id=0, version=v), Ends(MALFORMED)),
    "UNSUBSCRIBE without filter": (lambda v: wire.unsubscribe(version=v), Ends(MALFORMED)),
    "UNSUBSCRIBE of half a filter": (lambda v: wire.packet(wire.UNSUBSCRIBE, b"\0\1" + wire.props(b"", v) + b"\0\5a", 2), Ends(MALFORMED)),
    "PINGREQ with a body": (bare(wire.PINGREQ, b"x"), Ends(MALFORMED)),
    "DISCONNECT with a property that is none": (bare(wire.DISCONNECT, b"\0\2\x7e\0"), Ends(MALFORMED)),
}
# 3.1 gave no meaning to the flags of most packets: these bind from 3.1.1 on.
STRICT = {"SUBSCRIBE with flags 0": (wire.SUBSCRIBE, 0), "UNSUBSCRIBE with flags 0": (wire.UNSUBSCRIBE, 0), "PUBREL with flags 0": (wire.PUBREL, 0),
          "PUBACK with flags 15": (wire.PUBACK, 15), "PUBREC with flags 15": (wire.PUBREC, 15), "PUBCOMP with flags 15": (wire.PUBCOMP, 15),
          "PINGREQ with flags 15": (wire.PINGREQ, 15), "DISCONNECT with flags 15": (wire.DISCONNECT, 15)}
for strict, (kind, flags) in STRICT.items():
    PACKETS[strict] = (bare(kind, b"\0\1" if kind < wire.PINGREQ else b"", flags), Ends(MALFORMED))

# ---- states: what is done before, and what is different then ----

class State:
    different = {}     # name of a packet: its answer
    user = None        # name and password
    ends = None        # (version) -> all that comes whatever is sent

    def before(self, raw, port, topic, version):
        """Bring the connection there; may return bytes to send in one piece with the packet."""
        return b""

    def greeting(self, version):
        """What comes before the answer."""
        return b""

    def enter(self, raw, client_id, version, **words):
        raw.send(wire.connect(client_id, version, **words))
        assert raw.recv_exactly(len(CONNACK[version])) == CONNACK[version]

    def answer(self, name, version):
        if self.ends is not None:
            return self.ends(version)
        answer = self.different.get(name, PACKETS[name][1])
        if not isinstance(answer, Ends):
            answer = answer(version)
        if isinstance(answer, Ends):
            return self.greeting(version) + (bye(answer) if version == 5 and answer else b"")
        return self.greeting(version) + answer + PONG


class Unknown(State):
    """Nothing was sent yet: only CONNECT is heard."""

    def answer(self, name, version):
        return CONNACK[version] + PONG if name == "CONNECT" else b""


class Connected(State):
    def before(self, raw, port, topic, version):
        self.enter(raw, topic, version)
        return b""


class Glued(State):
    """The packet comes in one piece with CONNECT."""

    def before(self, raw, port, topic, version):
        return wire.connect(topic, version)

    def greeting(self, version):
        return CONNACK[version]


class Judged(Glued):
    """The same, and the password takes its time."""
    user = "somebody", "something"

    def before(self, raw, port, topic, version):
        return wire.connect(topic, version, username=self.user[0], password=self.user[1])


class Resumed(State):
    """Of a session that was there before the broker does not know everything: ids may be of what was done."""
    different = {"PUBREC": ack(wire.PUBREL), "PUBREL": ack(wire.PUBCOMP)}

    def before(self, raw, port, topic, version):
        words = {"clean": False, "properties": b"\x11" + wire.u32(1000) if version == 5 else b""}
        with kit.Raw(port) as first:
            self.enter(first, topic, version, **words)
            first.send(wire.disconnect(version))
            first.rest()
        raw.send(wire.connect(topic, version, **words))
        assert raw.recv_exactly(len(RESUMED[version])) == RESUMED[version]
        return b""


class Sending(Connected):
    """A QoS 2 message with id 1 was sent and not released."""
    different = {"PUBLISH 2": ack(wire.PUBREC), "PUBREL": ack(wire.PUBCOMP)}

    def before(self, raw, port, topic, version):
        self.enter(raw, topic, version)
        raw.send(wire.publish("else", "x", 2, 1, version))
        assert raw.packet() == (wire.PUBREC << 4, b"\0\1")
        return b""


class Receiving(Connected):
    """A message with id 1 has come and is not acknowledged."""
    qos = 1
    different = {"PUBREC": Ends(PROTOCOL), "PUBCOMP": Ends(PROTOCOL)}

    def before(self, raw, port, topic, version):
        self.enter(raw, topic, version)
        raw.send(wire.subscribe(topic, packet_id=9, options=self.qos, version=version))
        assert raw.packet()[0] == wire.SUBACK << 4
        with kit.Raw(port) as other:
            self.enter(other, f"{topic}p", version)
            other.send(wire.publish(topic, "x", 1 + (self.qos == 2), 1, version))
            other.packet()
        assert raw.packet()[0] == wire.PUBLISH << 4 | self.qos << 1
        return b""


class Receiving2(Receiving):
    qos = 2
    different = {"PUBACK": Ends(PROTOCOL), "PUBREC": ack(wire.PUBREL), "PUBCOMP": Ends(PROTOCOL)}


class Released(Receiving2):
    """It is acknowledged and released, and not yet completed."""
    different = {"PUBACK": Ends(PROTOCOL), "PUBREC": ack(wire.PUBREL)}

    def before(self, raw, port, topic, version):
        super().before(raw, port, topic, version)
        raw.send(wire.ack(wire.PUBREC, 1))
        assert raw.packet() == (wire.PUBREL << 4 | 2, b"\0\1")
        return b""


class Disconnected(Connected):
    """Behind DISCONNECT nothing is heard."""
    ends = staticmethod(lambda v: b"")

    def before(self, raw, port, topic, version):
        super().before(raw, port, topic, version)
        return wire.disconnect(version)


class Failed(Connected):
    """Nor behind a packet that was an error."""
    ends = staticmethod(lambda v: bye(MALFORMED) if v == 5 else b"")

    def before(self, raw, port, topic, version):
        super().before(raw, port, topic, version)
        return wire.packet(wire.PUBLISH, b"", 6)


class Refused(State):
    """Nor behind a CONNECT that was refused."""
    ends = staticmethod(lambda v: b"\x20\2\0\1")

    def before(self, raw, port, topic, version):
        return wire.packet(wire.CONNECT, wire.text("MQTT") + b"\7\2\0\0" + wire.text(topic))


class TakenOver(Connected):
    """Nor of a client whose session is another's now."""
    ends = staticmethod(lambda v: bye(TAKEN_OVER) if v == 5 else b"")

    def before(self, raw, port, topic, version):
        super().before(raw, port, topic, version)
        with kit.Raw(port) as other:
            self.enter(other, topic, version)
            other.send(wire.disconnect(version))
            other.rest()
        return b""


STATES = [Unknown, Connected, Glued, Judged, Resumed, Sending, Receiving, Receiving2, Released, Disconnected, Failed, Refused, TakenOver]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A broker that wants a password."""
    folder = tmp_path_factory.mktemp("guarded")
    name, password = Judged.user
    kit.signet("passwd", "-I", 1000, "-c", "-b", folder / "passwords", name, password)
    port = kit.free_port()
    conf = f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\nworkers 2\n{kit.STAY_ROOT}"
    with kit.Broker(folder / "broker", conf, port) as broker:
        yield broker


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize("state", STATES, ids=lambda s: s.__name__)
def test_every_packet_in_every_state(shared, request, topic, state, pieces):
    port = request.getfixturevalue("guarded").port if state.user else shared.port
    wrong = []
    for n, (name, (packet, _)) in enumerate(PACKETS.items()):
        for version in VERSIONS:
            if version == 3 and name in STRICT:
                continue
            with kit.Raw(port) as raw:
                here = state()
                data = here.before(raw, port, f"{topic}n{n}v{version}", version) + packet(version) + wire.PING + wire.disconnect(version)
                step = len(data) if pieces == "whole" else 1
                try:
                    for i in range(0, len(data), step):
                        raw.send(data[i:i + step])
                except ConnectionError:
                    pass  # the broker has heard enough
                got = raw.rest()
            if got != here.answer(name, version):
                wrong.append((name, version, got.hex(" "), "not", here.answer(name, version).hex(" ")))
    assert not wrong
