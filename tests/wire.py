"""MQTT packets as bytes, written by hand: for what no client library would send, and for sending much of it quickly."""
import itertools
import select
import socket
import ssl
import threading

import kit

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
PING = b"\xc0\0"


def u16(n):
    return n.to_bytes(2, "big")


def u32(n):
    return n.to_bytes(4, "big")


def varint(n):
    out = bytearray()
    while True:
        out.append(n % 128 | (128 if n > 127 else 0))
        n //= 128
        if n == 0:
            return bytes(out)


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return u16(len(data)) + data


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def props(data, version):
    """The property block, which only MQTT 5 has."""
    return varint(len(data)) + data if version == 5 else b""


def user_property(name="k", value="v"):
    return b"\x26" + text(name) + text(value)


def connect(client_id="", version=4, clean=True, keepalive=60, properties=b"", will=None, username=None, password=None, flags=None):
    """<will>: (topic, payload, qos, retain, properties)"""
    bits = 2 * clean
    body = text(client_id)
    if will is not None:
        topic, payload, qos, retain, will_properties = will
        bits |= 4 | qos << 3 | retain << 5
        body += props(will_properties, version) + text(topic) + text(payload)
    if username is not None:
        bits |= 0x80
        body += text(username)
    if password is not None:
        bits |= 0x40
        body += text(password)
    name = text("MQIsdp" if version == 3 else "MQTT")
    return packet(CONNECT, name + bytes([version, bits if flags is None else flags]) + u16(keepalive) + props(properties, version) + body)


def publish(topic, payload=b"", qos=0, packet_id=1, version=4, retain=False, dup=False, properties=b""):
    data = payload if isinstance(payload, bytes) else payload.encode()
    body = text(topic) + (u16(packet_id) if qos else b"") + props(properties, version) + data
    return packet(PUBLISH, body, dup << 3 | qos << 1 | retain)


def subscribe(*filters, packet_id=1, options=0, version=4, properties=b""):
    return packet(SUBSCRIBE, u16(packet_id) + props(properties, version) + b"".join(text(f) + bytes([options]) for f in filters), 2)


def unsubscribe(*filters, packet_id=1, version=4, properties=b""):
    return packet(UNSUBSCRIBE, u16(packet_id) + props(properties, version) + b"".join(map(text, filters)), 2)


def ack(kind, packet_id):
    return packet(kind, u16(packet_id), 2 if kind == PUBREL else 0)


def disconnect(version=4, reason=0, properties=b""):
    body = bytes([reason]) + props(properties, 5) if version == 5 and (reason or properties) else b""
    return packet(DISCONNECT, body)


class Frames:
    """Splits what arrives into (kind, flags, body)."""

    def __init__(self):
        self.data = b""

    def feed(self, data):
        self.data += data
        at, out = 0, []
        while True:
            length, shift, k = 0, 0, at + 1
            while k < len(self.data) and self.data[k] & 128:
                length |= (self.data[k] & 127) << shift
                shift += 7
                k += 1
            if k >= len(self.data):
                break
            length |= self.data[k] << shift
            if k + 1 + length > len(self.data):
                break
            out.append((self.data[at] >> 4, self.data[at] & 15, self.data[k + 1:k + 1 + length]))
            at = k + 1 + length
        self.data = self.data[at:]
        return out


def split_publish(flags, body, version=4):
    """(topic, packet id or 0, properties, payload)"""
    n = int.from_bytes(body[:2], "big")
    topic, at, packet_id = body[2:2 + n].decode(), 2 + n, 0
    if flags & 6:
        packet_id = int.from_bytes(body[at:at + 2], "big")
        at += 2
    properties = b""
    if version == 5:
        length, shift = 0, 0
        while True:
            byte = body[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        properties = body[at:at + length]
        at += length
    return topic, packet_id, properties, body[at:]


def refuses(answer):
    """PUBREC with an error ends the exchange (4.3.3)."""
    kind, _, rest = answer
    return kind == PUBREC and rest[:1] >= b"\x80"


class Peer:
    """A client of raw packets with a thread of its own, the only one that touches the socket (a TLS connection must not be
    read and written at the same time). It keeps what it hears, answers QoS 1 and 2 as a client must (unless <answers> is
    false), and notes what comes back for what it sent."""

    def __init__(self, port, client_id="", version=4, files=None, context=None, answers=True, behind=b"", unreleased=(), **connect_words):
        """<behind>: sent in one piece with CONNECT; <unreleased>: QoS 2 ids that the session before has left open."""
        self.raw = kit.Raw(port, files=files, context=context)
        self.version, self.answers = version, answers
        self.changed = threading.Condition()
        self.got = []        # (topic, payload, qos, dup, retain, packet id)
        self.acks = []       # (kind, packet id, the rest)
        self.closed = False
        self.reason = None   # of the server's DISCONNECT
        self.unreleased = set(unreleased)
        self.ids = itertools.cycle(range(1, 65536))
        self.frames = Frames()
        self.out = bytearray()
        try:
            self.raw.send(connect(client_id, version, **connect_words) + behind)
            first, body = self.raw.packet()
        except BaseException:
            self.raw.close()
            raise
        if first != CONNACK << 4 or body[1] != 0:
            self.raw.close()
            raise kit.Refused(body[1])
        self.session_present = bool(body[0] & 1)
        self.raw.sock.setblocking(False)
        self.bell, self.bell_push = socket.socketpair()
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        sock, again = self.raw.sock, (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        try:
            while not self._receive(sock, again):
                pass  # TLS may hold what came in one record with CONNACK: no descriptor tells of that
            while not self.stopping:
                with self.changed:
                    waiting = bool(self.out)
                ready, _, _ = select.select([sock, self.bell], [sock] if waiting else [], [], kit.PATIENCE)
                if self.bell in ready:
                    self.bell.recv(4096)
                while not self._receive(sock, again):
                    pass
                with self.changed:
                    if self.out:
                        try:
                            del self.out[:sock.send(self.out[:65536])]
                        except again:
                            pass
        except (OSError, ValueError, EOFError):
            pass
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _receive(self, sock, again):
        """True: nothing more for now."""
        try:
            data = sock.recv(262144)
        except again:
            return True
        if not data:
            raise EOFError
        with self.changed:
            for kind, flags, body in self.frames.feed(data):
                self.out += self._take(kind, flags, body)
            self.changed.notify_all()
        return False

    def _take(self, kind, flags, body):
        if kind == PUBLISH:
            topic, packet_id, _, payload = split_publish(flags, body, self.version)
            qos = flags >> 1 & 3
            if qos == 2 and packet_id in self.unreleased:
                return ack(PUBREC, packet_id) if self.answers else b""
            if qos == 2:
                self.unreleased.add(packet_id)
            self.got.append((topic, payload, qos, bool(flags & 8), bool(flags & 1), packet_id))
            return ack(PUBACK if qos == 1 else PUBREC, packet_id) if qos and self.answers else b""
        if kind == PUBREL:
            packet_id = int.from_bytes(body[:2], "big")
            self.unreleased.discard(packet_id)
            return ack(PUBCOMP, packet_id) if self.answers else b""
        if kind == DISCONNECT:
            self.reason = body[0] if body else 0
            return b""
        packet_id = int.from_bytes(body[:2], "big")
        self.acks.append((kind, packet_id, body[2:]))
        return ack(PUBREL, packet_id) if kind == PUBREC and not refuses(self.acks[-1]) else b""

    def send(self, data):
        with self.changed:
            self.out += data
        try:
            self.bell_push.send(b"!")
        except OSError:
            pass
        return self

    def wait(self, condition, what, seconds=kit.PATIENCE):
        with self.changed:
            ok = self.changed.wait_for(lambda: condition() or self.closed, seconds) and condition()
        assert ok, f"waited for {what}; {len(self.got)} messages, {len(self.acks)} answers, closed: {self.closed}, reason {self.reason}"
        return self

    def wait_messages(self, n, seconds=kit.PATIENCE):
        return self.wait(lambda: len(self.got) >= n, f"{n} messages", seconds)

    def wait_ack(self, kind, packet_id):
        """The bytes behind the packet id."""
        self.wait(lambda: any(a[:2] == (kind, packet_id) for a in self.acks), f"answer {kind} to {packet_id}")
        return next(a[2] for a in self.acks if a[:2] == (kind, packet_id))

    def wait_closed(self, seconds=kit.PATIENCE):
        with self.changed:
            assert self.changed.wait_for(lambda: self.closed, seconds), "still open"
        return self.reason

    def subscribe(self, *filters, qos=0, properties=b""):
        packet_id = next(self.ids)
        self.send(subscribe(*filters, packet_id=packet_id, options=qos, version=self.version, properties=properties))
        return list(self.wait_ack(SUBACK, packet_id)[-len(filters):])

    def unsubscribe(self, *filters):
        packet_id = next(self.ids)
        self.send(unsubscribe(*filters, packet_id=packet_id, version=self.version))
        self.wait_ack(UNSUBACK, packet_id)

    def publish(self, topic, payload=b"", qos=0, retain=False, properties=b"", wait=True):
        packet_id = next(self.ids)
        self.send(publish(topic, payload, qos, packet_id, self.version, retain, properties=properties))
        if qos and wait:
            self.wait(lambda: any(a[1] == packet_id and (a[0] in (PUBACK, PUBCOMP) or refuses(a)) for a in self.acks),
                      f"the end of the exchange {packet_id}")
        return packet_id

    def fence(self):
        """Returns when the broker has worked off everything that this client has sent."""
        n = sum(a[0] == PINGRESP for a in self.acks)
        self.send(PING)
        return self.wait(lambda: sum(a[0] == PINGRESP for a in self.acks) > n, "PINGRESP")

    def payloads(self):
        return [m[1] for m in self.got]

    def cut(self):
        """End the connection without DISCONNECT."""
        self.stopping = True
        self.send(b"")
        self.thread.join(kit.PATIENCE)
        for s in (self.bell, self.bell_push):
            s.close()
        self.raw.close()

    def close(self):
        """DISCONNECT, and wait for the broker to close."""
        if not self.closed:
            self.send(disconnect(self.version))
            self.wait_closed()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
