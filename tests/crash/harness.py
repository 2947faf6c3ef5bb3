"""A broker that is killed again and again under load, and clients that note everything it promised.

Publishers keep their unacknowledged packets, as a client with a disk would, and send them again; subscribers keep their sessions.
At the end: every message whose publisher got PUBACK or PUBREC has come to everybody who had subscribed, QoS 2 exactly once, in
the order in which each publisher sent it first; sessions, subscriptions, retained messages and wills are there. One process, one
thread (asyncio); the clients are bytes from wire.py."""
import asyncio
import collections
import os
import pathlib
import random
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import kit  # noqa: E402
import wire  # noqa: E402

FOREVER = b"\x11" + wire.u32(0xFFFFFFFF)
WINDOW = 24
RETAINED = 16


class Violation(AssertionError):
    """A promise that was not kept."""


class Wire(asyncio.Protocol):
    """One connection of a <person>; what is in it ends with it."""

    def __init__(self, person):
        self.person, self.frames, self.transport, self.open = person, wire.Frames(), None, False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        for kind, flags, body in self.frames.feed(data):
            self.person.take(self, kind, flags, body)

    def send(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, error):
        self.open = False
        if not self.lost.done():
            self.lost.set_result(None)


class Person:
    """A client with a session that never ends. Comes back by itself as long as <awake>."""

    will = None

    def __init__(self, world, name, version=4):
        self.world, self.name, self.version = world, name, version
        self.established = False  # a CONNACK has said that there is a session
        self.awake, self.link, self.task = True, None, None
        self.unreleased = set()
        self.next_id = 0
        self.waiting = {}  # packet id of SUBSCRIBE or UNSUBSCRIBE: what to do at the answer
        world.people.append(self)

    def start(self):
        self.task = asyncio.get_running_loop().create_task(self.live())

    async def live(self):
        loop = asyncio.get_running_loop()
        while True:
            if not self.awake:
                await asyncio.sleep(0.01)
                continue
            try:
                _, self.link = await loop.create_connection(lambda: Wire(self), self.world.host, self.world.port)
            except OSError:
                await asyncio.sleep(0.005)
                continue
            self.waiting.clear()
            properties = FOREVER if self.version == 5 else b""
            self.link.send(wire.connect(self.name, self.version, clean=False, keepalive=0, properties=properties, will=self.will))
            await self.link.lost
            self.link = None

    def sleep(self):
        self.awake = False
        if self.link is not None:
            self.link.transport.abort()

    @property
    def online(self):
        return self.link is not None and self.link.open

    def packet_id(self):
        self.next_id = self.next_id % 65535 + 1
        return self.next_id

    def take(self, link, kind, flags, body):
        if kind == wire.CONNACK:
            if body[1] != 0:
                raise self.world.bad(f"{self.name}: CONNACK {body[1]}")
            if self.established and not body[0] & 1:
                self.world.bad(f"{self.name}: the session is gone")
            self.established = link.open = True
            self.connected()
        elif kind == wire.PUBLISH:
            self.publish_in(link, flags, body)
        elif kind == wire.PUBREL:
            packet_id = int.from_bytes(body[:2], "big")
            self.unreleased.discard(packet_id)
            link.send(wire.ack(wire.PUBCOMP, packet_id))
        elif kind in (wire.SUBACK, wire.UNSUBACK):
            then = self.waiting.pop(int.from_bytes(body[:2], "big"), None)
            if then is not None:
                then()
        elif kind == wire.DISCONNECT and not self.world.over:
            self.world.bad(f"{self.name}: DISCONNECT {body.hex()}")
        elif kind != wire.DISCONNECT:
            self.answer(kind, int.from_bytes(body[:2], "big"), body[2:])

    def publish_in(self, link, flags, body):
        topic, packet_id, _, payload = wire.split_publish(flags, body, self.version)
        qos = flags >> 1 & 3
        if qos == 2:
            if packet_id not in self.unreleased:
                self.unreleased.add(packet_id)
                self.message(topic, payload, qos, flags & 1)
            link.send(wire.ack(wire.PUBREC, packet_id))
        else:
            self.message(topic, payload, qos, flags & 1)
            if qos == 1:
                link.send(wire.ack(wire.PUBACK, packet_id))

    def subscribe(self, topic_filter, qos, then):
        packet_id = self.packet_id()
        self.waiting[packet_id] = then
        self.link.send(wire.subscribe(topic_filter, packet_id=packet_id, options=qos, version=self.version))

    def unsubscribe(self, topic_filter, then):
        packet_id = self.packet_id()
        self.waiting[packet_id] = then
        self.link.send(wire.unsubscribe(topic_filter, packet_id=packet_id, version=self.version))

    def connected(self):
        pass

    def message(self, topic, payload, qos, retained):
        pass

    def answer(self, kind, packet_id, rest):
        pass


class Subscriber(Person):
    def __init__(self, world, name, version, *filters):
        super().__init__(world, name, version)
        self.filters, self.missing = filters, set(filters)
        self.got = collections.defaultdict(list)  # topic: payloads as they came

    def connected(self):
        for f in sorted(self.missing):
            self.subscribe(f, 2, lambda f=f: self.missing.discard(f))

    def message(self, topic, payload, qos, retained):
        self.got[topic].append(payload)


class Publisher(Person):
    """Keeps <WINDOW> messages under way, until <quiet>."""

    def __init__(self, world, name, version, qos, topic=None):
        super().__init__(world, name, version)
        self.qos, self.topic = qos, topic or f"t/{name}"
        self.window = collections.OrderedDict()  # packet id: [sequence, topic, payload, received]
        self.sent, self.acked = 0, set()
        self.quiet = False

    def connected(self):
        for packet_id, (_, topic, payload, received) in self.window.items():
            self.link.send(wire.ack(wire.PUBREL, packet_id) if received else self.packet(packet_id, topic, payload, True))
        self.more()

    def packet(self, packet_id, topic, payload, dup):
        return wire.publish(topic, payload, self.qos, packet_id, self.version, dup=dup)

    def next(self):
        """(topic, payload) of the next message."""
        return self.topic, b"%d" % self.sent + b"." * self.world.random.choice((0, 40, 400))

    def more(self):
        while len(self.window) < WINDOW and not self.quiet and self.world.ready and self.online:
            packet_id = self.packet_id()
            while packet_id in self.window:
                packet_id = self.packet_id()
            topic, payload = self.next()
            self.window[packet_id] = [self.sent, topic, payload, False]
            self.sent += 1
            self.link.send(self.packet(packet_id, topic, payload, False))

    def answer(self, kind, packet_id, rest):
        entry = self.window.get(packet_id)
        if rest[:1] >= b"\x80":
            self.world.bad(f"{self.name}: refused with {rest[0]:#x}")
        if entry is None:
            return
        if kind in (wire.PUBACK, wire.PUBREC) and not entry[3]:
            self.acknowledged(entry)
        if kind == wire.PUBREC:
            entry[3] = True
            self.link.send(wire.ack(wire.PUBREL, packet_id))
            return
        del self.window[packet_id]
        asyncio.get_running_loop().call_soon(self.more)

    def acknowledged(self, entry):
        self.acked.add(entry[0])
        self.world.acks += 1


class Keeper(Publisher):
    """Publishes retained messages, some of them empty."""

    def __init__(self, world, name, version):
        super().__init__(world, name, version, 1)
        self.values = {k: 0 for k in range(RETAINED)}  # highest acknowledged, by topic; what was sent is in .log
        self.log = {k: [b""] for k in range(RETAINED)}

    def packet(self, packet_id, topic, payload, dup):
        return wire.publish(topic, payload, self.qos, packet_id, self.version, retain=True, dup=dup)

    def next(self):
        k = self.sent % RETAINED
        payload = b"" if self.world.random.random() < 0.2 else b"%d" % self.sent
        self.log[k].append(payload)
        return f"r/{self.name}/{k}", payload

    def acknowledged(self, entry):
        super().acknowledged(entry)
        k = entry[0] % RETAINED
        self.values[k] = max(self.values[k], entry[0] // RETAINED + 1)

    def possible(self, k):
        return self.log[k][self.values[k]:]


class Nomad(Person):
    """Changes its subscriptions all the time."""

    def __init__(self, world, name, version):
        super().__init__(world, name, version)
        self.state = {}  # filter: True, False (acknowledged), None (asked for)
        self.count = 0
        self.heard = set()

    def connected(self):
        self.wander()

    def settle(self, f, value):
        self.state[f] = value
        self.wander()

    def wander(self):
        if not self.online or self.world.settled or not self.world.ready:
            return
        self.count += 1
        if self.count % 3 == 0 and (old := [f for f, value in self.state.items() if value]):
            f = self.world.random.choice(old)
            self.state[f] = None
            self.unsubscribe(f, lambda: self.settle(f, False))
        else:
            f = f"n/{self.name}/{self.count}"
            self.state[f] = None
            self.subscribe(f, 1, lambda: self.settle(f, True))

    def message(self, topic, payload, qos, retained):
        self.heard.add(topic)


class Mourned(Person):
    """Has a will; goes with the broker and is not seen again until the will was."""

    def __init__(self, world, number):
        self.will = (f"w/{number}", b"gone", 1, False, b"\x18" + wire.u32(1))
        super().__init__(world, f"mourned-{number}", 5)
        self.number = number


class Reader(Person):
    """Reads what is retained; its session ends with it."""

    def __init__(self, world, name):
        super().__init__(world, name, 5)
        self.found = {}

    async def live(self):
        _, self.link = await asyncio.get_running_loop().create_connection(lambda: Wire(self), self.world.host, self.world.port)
        self.link.send(wire.connect(self.name, 5, keepalive=0))
        await self.link.lost

    def connected(self):
        self.subscribe("r/#", 1, lambda: None)

    def message(self, topic, payload, qos, retained):
        self.found[topic] = payload


class World:
    def __init__(self, folder, port, workers, seed, say=lambda text: None, **settings):
        self.folder, self.port, self.say = pathlib.Path(folder), port, say
        # An address of our own: while the broker is dead, nobody else shall take its place.
        self.host = ".".join(map(str, (127, *random.SystemRandom().sample(range(2, 255), 3))))
        self.random = random.Random(seed)
        self.people, self.problems, self.acks = [], [], 0
        self.ready = self.settled = self.over = False
        self.broker = None
        self.settings = {"workers": workers, "persistence": "true", "persistence_location": str(self.folder), "max_queued_messages": 0,
                         "max_inflight_messages": 100, "allow_anonymous": "true", "log_dest": "stderr", **settings}
        self.slowest = 0.0

    def bad(self, text):
        self.problems.append(text)
        self.say(f"PROBLEM {text}")
        return Violation(text)

    # ---- the broker ----

    def spawn(self):
        conf = self.folder / "crash.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        conf.write_text(f"listener {self.port} {self.host}\n" + user + "".join(f"{k} {v}\n" for k, v in self.settings.items()))
        self.log = open(self.folder / "broker.log", "ab")
        self.broker = asyncio.create_subprocess_exec(kit.SIGNET, "broker", "-c", str(conf), stdin=asyncio.subprocess.DEVNULL,
                                                     stdout=self.log, stderr=self.log)

    async def start(self):
        self.spawn()
        begin = time.monotonic()
        self.broker = await self.broker
        while True:
            if self.broker.returncode is not None:
                raise self.bad(f"the broker does not start: exit code {self.broker.returncode}; see {self.folder}/broker.log")
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.003)
            if time.monotonic() - begin > kit.PATIENCE * 2:
                raise self.bad("the broker does not listen")
        self.slowest = max(self.slowest, time.monotonic() - begin)

    async def kill(self):
        if self.broker.returncode is not None:
            raise self.bad(f"the broker ended by itself: {self.broker.returncode}; see {self.folder}/broker.log")
        self.broker.send_signal(signal.SIGKILL)
        await self.broker.wait()
        self.log.close()

    async def until(self, condition, what, seconds=None):
        """Wait for it as long as something moves."""
        seconds = seconds or kit.PATIENCE
        last, end = None, time.monotonic() + seconds
        while not condition():
            now = self.acks, sum(sum(map(len, p.got.values())) for p in self.people if isinstance(p, Subscriber))
            if now != last:
                last, end = now, time.monotonic() + seconds
            if time.monotonic() > end:
                self.bad(f"waited {seconds} s for {what}")
                return False
            await asyncio.sleep(0.01)
        return True

    # ---- the people ----

    def populate(self):
        self.publishers = [Publisher(self, f"p{i}", 4 + i % 2, 1 + i // 2 % 2) for i in range(6)]
        self.keepers = [Keeper(self, f"k{i}", 4 + i) for i in range(2)]
        self.subscribers = [Subscriber(self, "always", 5, "t/#", "w/#"), Subscriber(self, "old", 4, "t/#"),
                            Subscriber(self, "now-and-then", 5, "t/#"), Subscriber(self, "seldom", 4, "t/+")]
        self.group = [Subscriber(self, f"member{i}", 4 + i % 2, "$share/crew/t/#") for i in range(3)]
        self.nomads = [Nomad(self, f"nomad{i}", 4 + i) for i in range(2)]
        self.mourned = []
        for person in list(self.people):
            person.start()

    async def round(self, number):
        everybody = self.subscribers + self.group
        for person in self.subscribers[2:] + self.group:
            person.awake = self.random.random() < 0.6
            if not person.awake:
                person.sleep()
        mourned = None
        if number % 4 == 0:
            mourned = Mourned(self, number)
            mourned.start()
        # Most rounds die under load, some while people come back, some while the broker starts.
        pause = self.random.choice((0.02, 0.1, 0.2, 0.4, 0.8)) * self.random.random() * float(os.environ.get("SIGNET_CRASH_PACE", "1"))
        acks = self.acks
        if number % 5 != 0:
            while self.acks == acks and self.broker.returncode is None:
                await asyncio.sleep(0.002)
        await asyncio.sleep(pause)
        if mourned is not None and self.random.random() < 0.7:
            await self.until(lambda: mourned.online, "the will's owner")
        await self.kill()
        if mourned is not None:
            mourned.sleep()
            if mourned.established:
                self.mourned.append(mourned)
        if number % 7 == 3:
            self.spawn()
            self.broker = await self.broker
            await asyncio.sleep(self.random.random() * 0.1)
            await self.kill()
        await self.start()
        if number % 7 == 5:
            await self.die_soon()
        return everybody

    async def die_soon(self):
        """Once more while what was under way at the last death is being carried on."""
        back = self.random.randrange(1, len(self.publishers) + 1)
        await self.until(lambda: sum(p.online for p in self.publishers) >= back, "the first to be back")
        await asyncio.sleep(self.random.random() * 0.03)
        await self.kill()
        await self.start()

    async def settle(self):
        """Everything that is under way arrives."""
        for person in self.subscribers + self.group:
            person.awake = True
        self.settled = True
        for p in self.publishers + self.keepers:
            p.quiet = True
        writers = self.publishers + self.keepers
        await self.until(lambda: all(not p.window for p in writers), "the publishers' acknowledgements")
        await self.until(lambda: all(p.online for p in self.people if p.awake), "everybody to be back")
        await self.until(lambda: all(self.whole(s) for s in self.subscribers), "everything acknowledged")
        await self.until(lambda: self.whole(*self.group), "everything acknowledged, in the group")
        await self.until(lambda: all(f"w/{m.number}" in self.subscribers[0].got for m in self.mourned), "the wills")

    @staticmethod
    def numbers(payloads):
        return [int(p.rstrip(b".")) for p in payloads]

    def whole(self, *subscribers):
        return all(len(p.acked) <= len(set().union(*(self.numbers(s.got[p.topic]) for s in subscribers))) for p in self.publishers)

    def compare(self):
        for p in self.publishers:
            for s in self.subscribers:
                self.compare_one(p, s.name, self.numbers(s.got[p.topic]), True)
            # Which member gets what is sent again is open, so there is no order to look for.
            self.compare_one(p, "the group", [n for s in self.group for n in self.numbers(s.got[p.topic])], False)

    def compare_one(self, p, who, got, ordered):
        seen = set(got)
        lost = p.acked - seen
        if lost:
            self.bad(f"{who} has not got {len(lost)} of {len(p.acked)} acknowledged messages of {p.name} (QoS {p.qos}): {sorted(lost)[:10]}")
        if p.qos == 2 and len(got) != len(seen):
            twice = [n for n, k in collections.Counter(got).items() if k > 1]
            self.bad(f"{who} has got {len(twice)} messages of {p.name} (QoS 2) more than once: {sorted(twice)[:10]}")
        if ordered:
            first = list(dict.fromkeys(got))
            if first != sorted(first):
                wrong = next(i for i in range(1, len(first)) if first[i] < first[i - 1])
                self.bad(f"{who} has got the messages of {p.name} out of order: {first[max(0, wrong - 5):wrong + 5]}")

    async def check_retained(self):
        reader = Reader(self, "reader")
        reader.awake = False
        reader.start()

        def wrong():
            return [(k.name, i, reader.found.get(f"r/{k.name}/{i}", b""), k.possible(i)) for k in self.keepers for i in range(RETAINED)
                    if reader.found.get(f"r/{k.name}/{i}", b"") not in k.possible(i)]
        await self.until(lambda: not wrong(), "the retained messages")
        for name, i, found, possible in wrong():
            self.bad(f"retained r/{name}/{i} is {found!r}, not one of {possible}")
        reader.link.transport.abort()

    async def check_nomads(self):
        """One message to every filter that a nomad ever had, then one behind all of them."""
        for nomad in self.nomads:
            probe = Publisher(self, f"probe-{nomad.name}", 4, 1)
            filters = [f for f in nomad.state] + [f"n/{nomad.name}/end"]
            left = iter(filters)
            probe.next = lambda left=left, probe=probe: (next(left), b"0")
            total = len(filters)
            granted = []
            nomad.subscribe(filters[-1], 1, lambda granted=granted: granted.append(True))
            # The probe comes by another connection, perhaps to another worker: nothing orders the two.
            await self.until(lambda granted=granted: granted, "the last subscription")
            probe.more = self.limited(probe, total)
            probe.start()
            await self.until(lambda p=probe, n=total: len(p.acked) == n, "the probes' acknowledgements")
            await self.until(lambda n=nomad, f=filters[-1]: f in n.heard, "the last probe")
            for f, value in nomad.state.items():
                if value is not None and value != (f in nomad.heard):
                    self.bad(f"{nomad.name}: the subscription to {f} was {'granted and is gone' if value else 'taken back and is there'}")
            probe.sleep()

    @staticmethod
    def limited(probe, total):
        more = Publisher.more.__get__(probe)

        def limit():
            probe.quiet = probe.sent >= total
            if total - probe.sent >= WINDOW:
                more()
            else:
                while probe.sent < total and probe.online and len(probe.window) < WINDOW:
                    packet_id = probe.packet_id()
                    topic, payload = probe.next()
                    probe.window[packet_id] = [probe.sent, topic, payload, False]
                    probe.sent += 1
                    probe.link.send(probe.packet(packet_id, topic, payload, False))
        return limit

    async def run(self, kills):
        await self.start()
        self.populate()
        await self.until(lambda: all(not s.missing and s.established for s in self.subscribers + self.group), "the subscriptions")
        self.ready = True
        for person in self.publishers + self.keepers:
            person.more()
        for nomad in self.nomads:
            nomad.wander()
        for number in range(kills):
            await self.round(number)
            if number % 10 == 9:
                self.say(f"{number + 1} kills, {self.acks} acknowledged, slowest start {self.slowest:.2f} s")
            if self.problems:
                break
        await self.settle()
        self.compare()
        await self.check_retained()
        await self.check_nomads()
        self.over = True
        self.broker.send_signal(signal.SIGTERM)
        if await asyncio.wait_for(self.broker.wait(), kit.PATIENCE) != 0:
            self.bad(f"exit code {self.broker.returncode}")
        for person in self.people:
            if person.task is not None:
                person.task.cancel()
        return self


def crash(folder, port, kills, workers=2, seed=None, say=lambda text: None, **settings):
    """Run it; raises Violation with everything that was wrong."""
    seed = seed if seed is not None else random.randrange(1 << 30)
    world = World(folder, port, workers, seed, say, **settings)
    try:
        asyncio.run(world.run(kills))
    finally:
        if world.broker is not None and getattr(world.broker, "returncode", 0) is None:
            os.kill(world.broker.pid, signal.SIGKILL)
    if world.problems:
        raise Violation(f"seed {seed}, {kills} kills, {workers} workers:\n" + "\n".join(world.problems))
    return world
