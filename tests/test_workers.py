"""Everything at once on four workers, over TLS: what the ThreadSanitizer build must see, and what must hold while it happens.

The policy is springcore: a client id is the certificate's common name, so sessions, takeovers and rights are those of devices."""
import itertools
import queue
import random
import signal
import threading
import time

import pytest

import kit
import wire
from kit import PREFIX
from wire import Peer

pytestmark = pytest.mark.tsan
DEVICES = 14
ROUNDS = 6 if kit.BUILD == "tsan" else 10


@pytest.fixture(scope="session")
def crowd(pki):
    """TLS contexts by common name: devices that publish and hear their own, and two roles that hear everything."""
    names = [f"dev{i:02}" for i in range(DEVICES)]
    contexts = {name: kit.tls_context(pki.device(name)) for name in names}
    contexts["watcher"] = kit.tls_context(pki.files("watcher"))
    contexts["controller"] = kit.tls_context(pki.files("controller"))
    for i in range(6):
        contexts[f"watch{i}"] = kit.tls_context(pki.issue("watch", f"watch{i}"))
    for i in range(4):
        contexts[f"ctl{i}"] = kit.tls_context(pki.issue("control", f"ctl{i}"))
    return contexts


@pytest.fixture
def site(pki, broker_of, crowd):
    port = kit.free_port()
    broker = broker_of(pki.conf(port, workers="4") + kit.STAY_ROOT + "max_queued_messages 0\nmax_inflight_messages 100\n", port)
    broker.join = lambda name, version=4, **more: Peer(port, name, version, context=crowd[name], **more)
    return broker


class Crew:
    """Threads whose first exception is the test's."""

    def __init__(self):
        self.threads, self.errors, self.stop = [], queue.Queue(), threading.Event()

    def start(self, what, *words):
        def run():
            try:
                what(*words)
            except BaseException as error:
                self.errors.put(error)
                self.stop.set()
        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self, seconds=120):
        end = time.monotonic() + seconds
        for t in self.threads:
            t.join(max(0.1, end - time.monotonic()))
        if not self.errors.empty():
            raise self.errors.get()
        assert not any(t.is_alive() for t in self.threads), "somebody is still waiting"
        self.threads = []


def own(name, topic=""):
    return f"{PREFIX}/{name}/{topic}"


@pytest.mark.parametrize("version", [4, 5])
def test_connections_move_home_with_packets_behind_connect(site, crowd, version):
    # A connection is accepted by any worker and moves to the home of its client id; what was sent behind CONNECT in one
    # piece comes with it, in order.
    names = [n for n in crowd if n.startswith("dev")]
    for turn in range(3):
        for name in names:
            n = 40
            behind = wire.subscribe(own(name, "#"), packet_id=1, options=1, version=version) + \
                b"".join(wire.publish(own(name, "evt"), f"{turn}.{i}", i % 3, i + 2, version) for i in range(n)) + wire.PING
            with site.join(name, version, behind=behind) as peer:
                peer.wait_messages(n).wait(lambda: any(a[0] == wire.PINGRESP for a in peer.acks), "PINGRESP")
                by_qos = [[m[1] for m in peer.got if m[2] == qos] for qos in (0, 1)]
                assert sorted(itertools.chain(*by_qos)) == sorted(f"{turn}.{i}".encode() for i in range(n))
                assert peer.payloads() == [f"{turn}.{i}".encode() for i in range(n)], "one topic, one order"


def test_connections_that_are_cut_while_they_move(site, crowd):
    names = [n for n in crowd if n.startswith("dev")]
    crew = Crew()

    def cut_many(mine):
        chance = random.Random(mine[0])
        for _ in range(4 * ROUNDS):
            for name in mine:
                with kit.Raw(site.port, context=crowd[name]) as raw:
                    data = wire.connect(name, 5, clean=chance.random() < 0.5, properties=b"\x11\0\0\0\5") + \
                        wire.subscribe(own(name, "#"), version=5) + wire.publish(own(name, "x"), "x" * 3000, 1, version=5) * 3
                    raw.send(data[:chance.randrange(len(data) + 1)])
                    if chance.random() < 0.3:
                        raw.sock.setsockopt(wire.socket.SOL_SOCKET, wire.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset

    for i in range(3):
        crew.start(cut_many, names[i::3])
    crew.join()
    for name in names:
        site.join(name).close()


def steady_flow(site, crew, name, qos, n, done):
    """<n> messages in order, acknowledged; returns when all are."""
    peer = site.join(name, 4 + qos % 2)
    for first in range(0, n, 20):
        packets = [wire.publish(own(name, f"flow{qos}"), f"{i}", qos, i + 1, peer.version) for i in range(first, min(n, first + 20))]
        peer.send(b"".join(packets))
        kind = {1: wire.PUBACK, 2: wire.PUBCOMP}[qos]
        peer.wait(lambda: sum(a[0] == kind for a in peer.acks) >= first + len(packets), "acknowledgements")
        if crew.stop.is_set():
            return
    peer.close()
    done.append(name)


def check_flow(got, name, qos, n):
    """QoS 2 exactly once, QoS 1 at least once, the first copies in order."""
    values = [int(m[1]) for m in got if m[0] == own(name, f"flow{qos}")]
    if qos == 2:
        assert values == list(range(n)), f"{name}: {len(values)} of {n}"
    else:
        assert list(dict.fromkeys(values)) == list(range(n)), f"{name}: {len(set(values))} of {n}"


def trouble(site, crew, seed):
    """A device that is taken over, cut, and comes back, with a will and kept sessions."""
    chance = random.Random(seed)
    name = f"dev{10 + seed % 4:02}"
    last = None
    for turn in range(4 * ROUNDS):
        if crew.stop.is_set():
            break
        version = 4 + turn % 2
        try:
            peer = site.join(name, version, clean=chance.random() < 0.4, will=(own(name, "will"), f"{turn}", turn % 3, turn % 5 == 0, b""),
                             **({"properties": b"\x11\0\0\0\2"} if version == 5 else {}))
            peer.send(wire.subscribe(own(name, "#"), packet_id=1, options=turn % 3, version=version)
                      + wire.publish(own(name, "noise"), b"n" * chance.randrange(20000), turn % 3, 2, version, retain=turn % 2 == 0))
            if chance.random() < 0.5:
                peer.fence()
        except (OSError, EOFError, AssertionError):
            continue  # taken over by the other of the same name
        if chance.random() < 0.4:
            last = peer  # left to be taken over
        elif chance.random() < 0.5:
            peer.cut()
        else:
            peer.send(wire.disconnect(version))
            peer.cut()
    if last is not None:
        last.cut()


def hearers(site, crew, name, seed):
    """Subscribes, listens, leaves: wildcards, retained messages, shared subscriptions that come and go."""
    chance = random.Random(seed)
    for turn in range(2 * ROUNDS):
        if crew.stop.is_set():
            return
        peer = site.join(name, 4 + turn % 2)
        filters = [f"{PREFIX}/#", f"{PREFIX}/+/noise", f"$share/trouble/{PREFIX}/#", "#"]
        peer.subscribe(*chance.sample(filters, 2), qos=turn % 3)
        peer.fence()
        if chance.random() < 0.5:
            peer.unsubscribe(*filters)
        peer.cut() if chance.random() < 0.5 else peer.close()


def test_everything_at_once(site, pki):
    flow = 100 * ROUNDS
    watcher, controller = site.join("watcher"), site.join("controller", 5)
    for steady in watcher, controller:
        assert steady.subscribe(f"{PREFIX}/+/flow1", f"{PREFIX}/+/flow2", qos=2) == [2, 2]
    # Members of one group, on several workers; some leave while it runs, what they got before counts.
    group = [site.join(f"ctl{i}", 4 + i % 2) for i in range(4)]
    for member in group:
        assert member.subscribe(f"$share/steady/{PREFIX}/+/flow1", qos=1) == [1]
    crew, done = Crew(), []
    for i in range(5):
        crew.start(steady_flow, site, crew, f"dev{i:02}", 1, flow, done)
        crew.start(steady_flow, site, crew, f"dev{i + 5:02}", 2, flow, done)
    for seed in range(8):
        crew.start(trouble, site, crew, seed)
    for i in range(6):
        crew.start(hearers, site, crew, f"watch{i}", i)

    def reload():
        for _ in range(ROUNDS):
            mark = site.mark()
            site.process.send_signal(signal.SIGHUP)
            assert site.wait_log("Reloaded:|Reload failed", mark).group() == "Reloaded:"
            if crew.stop.wait(0.05):
                return

    crew.start(reload)
    crew.join()
    assert len(done) == 10
    for steady in watcher, controller:
        steady.wait(lambda: len({(m[0], m[1]) for m in steady.got}) >= 10 * flow, "the whole flow")
        for i in range(5):
            check_flow(steady.got, f"dev{i:02}", 1, flow)
            check_flow(steady.got, f"dev{i + 5:02}", 2, flow)
        assert not steady.closed
    # The group: every message to one of its members.
    kit.wait_for(lambda: sum(len(m.got) for m in group) >= 5 * flow, "the whole flow of the group")
    got = sorted((m[0], int(m[1])) for member in group for m in member.got)
    assert got == sorted((own(f"dev{i:02}", "flow1"), k) for i in range(5) for k in range(flow))
    for peer in (watcher, controller, *group):
        peer.close()


def test_a_persistent_subscriber_that_is_cut_again_and_again_loses_nothing(site):
    # QoS 1 at least once, QoS 2 exactly once, over reconnects in the middle of everything
    n = 60 * ROUNDS
    crew, done = Crew(), []
    keep = {"clean": False, "properties": b"\x11\0\0\xff\xff"}
    first = site.join("controller", 5, **keep)
    first.subscribe(f"{PREFIX}/+/flow1", f"{PREFIX}/+/flow2", qos=2)
    first.close()
    got, unreleased = [], set()

    def all_there():
        return len({(m[0], m[1]) for m in got}) >= 4 * n

    for i in range(2):
        crew.start(steady_flow, site, crew, f"dev{i:02}", 1, n, done)
        crew.start(steady_flow, site, crew, f"dev{i + 2:02}", 2, n, done)
    chance = random.Random(7)
    end = time.monotonic() + 90
    while not all_there() and time.monotonic() < end:
        peer = site.join("controller", 5, unreleased=unreleased, **keep)
        want = chance.randrange(1, n)
        with peer.changed:
            peer.changed.wait_for(lambda: len(peer.got) >= want or peer.closed, 1)
        peer.cut()
        got += peer.got
        unreleased = peer.unreleased
    crew.join()
    assert all_there()
    for i in range(2):
        check_flow(got, f"dev{i:02}", 1, n)
        check_flow(got, f"dev{i + 2:02}", 2, n)


def test_the_broker_ends_in_the_middle_of_everything(site, crowd):
    # SIGTERM while all workers are busy: exit code 0, no letter left, no session leaked (the sanitizers look).
    peers = [site.join(n, 4 + i % 2) for i, n in enumerate(crowd)]
    for p, name in zip(peers, crowd):
        p.subscribe(own(name, "#") if name.startswith("dev") else f"{PREFIX}/#", qos=2)
    for p, name in zip(peers, crowd):
        if name.startswith("dev"):
            p.send(b"".join(wire.publish(own(name, "x"), b"x" * 500, k % 3, k + 1, p.version, retain=k % 7 == 0) for k in range(60)))
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(kit.PATIENCE) == 0
    for p in peers:
        p.wait_closed()
        p.cut()
