"""Limits that hold: one test for each sentence of docs/configuration.md about them."""
import time

import pytest

import kit
import wire
from kit import V5
from wire import Peer


@pytest.fixture
def limited(broker_of):
    """A broker with one listener and these lines behind it."""
    def start(lines, more="", ports=()):
        port = kit.free_port()
        broker = broker_of(f"allow_anonymous true\nworkers 4\n{more}listener {port} 127.0.0.1\n{lines}\n", [port, *ports])
        broker.port = port
        return broker
    return start


# ---- global_max_clients ----

def test_global_max_clients_counts_sessions_connected_or_not(limited):
    broker = limited("", "global_max_clients 2\n")
    with Peer(broker.port, "kept", clean=False), Peer(broker.port, "b"):
        pass
    with Peer(broker.port, "kept", clean=False) as kept, Peer(broker.port, "b"):
        assert kept.session_present
        with pytest.raises(kit.Refused) as refused:
            Peer(broker.port, "c", 5)
        assert refused.value.code == 0x89
        with kit.Raw(broker.port) as raw:  # as mosquitto does it
            raw.send(wire.connect("c"))
            assert raw.rest() == b""
    result = kit.mosquitto("mosquitto_pub", "-h", "127.0.0.1", "-p", broker.port, "-i", "c", "-t", "t", "-m", "x")
    assert result.returncode == 0, result.stderr  # b's session has ended with its connection
    broker.wait_log(r"global_max_clients of 2 already \[clients\]")


# ---- rates ----

def test_a_publisher_above_its_rate_waits_and_nothing_is_lost(limited):
    broker = limited("client_rate_in_messages 50")
    with Peer(broker.port, "s") as sub, Peer(broker.port, "p") as pub, Peer(broker.port, "q") as other:
        sub.subscribe("t/#")
        start = time.monotonic()
        pub.send(b"".join(wire.publish("t/a", b"%d" % i) for i in range(250)))
        other.publish("t/b", "free", 1)  # it has a rate of its own
        sub.wait_messages(251)
        # 50 at once, and the others one each 20 ms.
        assert 3.9 < time.monotonic() - start
        assert [m[1] for m in sub.got if m[0] == "t/a"] == [b"%d" % i for i in range(250)]
        assert sub.payloads().index(b"free") < 200


def test_bytes_have_a_rate(limited):
    broker = limited("client_rate_in_bytes 100000")
    with Peer(broker.port, "s") as sub, Peer(broker.port, "p") as pub:
        sub.subscribe("t")
        start = time.monotonic()
        pub.send(wire.publish("t", bytes(1000)) * 300)
        sub.wait_messages(300)
        assert 1.9 < time.monotonic() - start


def test_a_listener_has_a_rate_for_all_its_clients(limited):
    broker = limited("listener_rate_in_messages 50")
    with Peer(broker.port, "s") as sub, Peer(broker.port, "p") as a, Peer(broker.port, "q") as b:
        sub.subscribe("t")
        start = time.monotonic()
        for pub in a, b:
            pub.send(wire.publish("t", b"x") * 75)
        sub.wait_messages(150)
        assert 1.7 < time.monotonic() - start


def test_deliveries_have_a_rate(limited):
    broker = limited("client_rate_out_messages 50")
    with Peer(broker.port, "s") as sub, Peer(broker.port, "p") as pub:
        sub.subscribe("t")
        start = time.monotonic()
        pub.send(wire.publish("t", b"x") * 150)
        pub.fence()
        sub.wait_messages(150)
        assert 1.9 < time.monotonic() - start


def test_rate_exceeded_disconnect_ends_the_connection(limited):
    broker = limited("client_rate_in_messages 50\nrate_exceeded disconnect")
    with Peer(broker.port, "p", 5) as pub:
        pub.send(wire.publish("t", b"x", version=5) * 200)
        assert pub.wait_closed() == 0x96
    broker.wait_log("client_rate_in_messages")


def test_waiting_is_no_silence(limited):
    broker = limited("client_rate_in_bytes 1000")
    with kit.Client(broker, "p", version=V5, port=broker.port) as c, Peer(broker.port, "k", keepalive=1) as k:
        k.send(wire.publish("t", bytes(4000)))  # three seconds of debt
        k.send(wire.PING)
        k.wait(lambda: any(a[0] == wire.PINGRESP for a in k.acks), "PINGRESP")
        c.publish("t", "x", qos=1)


def test_rates_follow_a_reload(limited):
    broker = limited("client_rate_in_messages 1", kit.STAY_ROOT)
    with Peer(broker.port, "s") as sub, Peer(broker.port, "p") as pub:
        sub.subscribe("t")
        pub.send(wire.publish("t", b"x") * 1000)
        sub.wait_messages(1)
        assert len(sub.got) < 30
        broker.conf.write_text(broker.conf.read_text().replace("client_rate_in_messages 1", ""))
        broker.reload()
        sub.wait_messages(1000)


# ---- slow consumers ----

def test_a_slow_consumer_loses_qos_0_and_the_log_says_so_once_an_interval(limited):
    broker = limited("", "drop_log_interval 2\n")
    with kit.Raw(broker.port) as slow, Peer(broker.port, "s") as sub, Peer(broker.port, "p") as pub:
        slow.connect("slow")
        slow.send(wire.subscribe("t"))
        slow.packet()
        sub.subscribe("t")
        payload = bytes(100000)
        for i in range(300):  # 30 MB: more than the broker's 4 MiB and all socket buffers
            pub.send(wire.publish("t", payload))
            if i % 20 == 19:
                pub.fence()
        sub.wait_messages(300)  # who reads gets all
        broker.wait_log(r"Outgoing messages are being dropped for client slow \(slow 1\)\.")
        found = broker.wait_log(r"dropped for client slow: (\d+) in 2 s \(slow (\d+)\), (\d+) in all\.")
        assert int(found[1]) == int(found[2]) == int(found[3]) - 1 > 20
        assert 2 <= broker.log().count("dropped for client") < 10  # of some two hundred messages


def test_messages_for_a_client_that_is_away_are_bounded_and_attributed(limited):
    broker = limited("", "drop_log_interval 1\nmax_queued_messages 10\n")
    with Peer(broker.port, "away", clean=False) as s:
        s.subscribe("q", qos=1)
    with Peer(broker.port, "p") as pub:
        for i in range(30):
            pub.publish("q", b"x", 1)
    broker.wait_log(r"being dropped for client away \(queue-full 1\)")
    broker.wait_log(r"dropped for client away: 19 in 1 s \(queue-full 19\), 20 in all")
    with Peer(broker.port, "away", clean=False) as s:
        s.wait_messages(10).fence()
        assert len(s.got) == 10


# ---- connections a second ----

def test_an_address_above_its_rate_is_closed_before_any_cryptography(pki, broker_of):
    port = kit.free_port()
    broker = broker_of(pki.conf(port, "address_connect_rate 1"), port)
    shaken = refused = 0
    for _ in range(60):
        try:
            with kit.Raw(port, pki.device("rate")):
                shaken += 1
        except OSError:
            refused += 1
    # Ten at once, one a second after that, and one was the look whether the broker is up.
    assert shaken >= 9 and refused > 10 and shaken + refused == 60
    broker.wait_log(r"more connections a second from this address than address_connect_rate \[connect-rate\]")
    kit.wait_for(lambda: kit.mosquitto("mosquitto_pub", *kit.tls_words(pki.device("rate")), "-h", "localhost", "-p", port, "-i", "rate",
                                       "-t", "dt/rate/x", "-m", "x").returncode == 0, "the next token")


def test_networks_have_a_rate_of_their_own(limited):
    broker = limited("network_connect_rate 1")
    got = 0
    for _ in range(30):
        with kit.Raw(broker.port) as raw:
            try:
                raw.connect("n")
                got += 1
            except (OSError, EOFError, AssertionError):
                pass
    assert 9 <= got < 20
    broker.wait_log(r"from this network than network_connect_rate \[connect-rate\]")


def test_connections_above_the_rate_of_a_listener_wait(limited):
    broker = limited("listener_connect_rate 20")
    start = time.monotonic()
    for i in range(60):
        with kit.Raw(broker.port) as raw:
            raw.connect(f"c{i}")
    assert 1.8 < time.monotonic() - start
    assert "Refused" not in broker.log()


# ---- memory_limit ----

def resident(broker):
    with open(f"/proc/{broker.process.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def test_near_memory_limit_load_is_shed_in_order(limited):
    limit = resident(limited("")) + (120 << 20)  # what it needs for itself on this build, and some more
    broker = limited("", f"memory_limit {limit}\nmax_queued_messages 0\n")
    with Peer(broker.port, "away", 5, clean=False, properties=b"\x11\xff\xff\xff\xff") as away:
        away.subscribe("q", qos=1)
    payload = bytes(100000)
    with Peer(broker.port, "s") as sub, Peer(broker.port, "p") as pub, Peer(broker.port, "idle") as idle:
        sub.subscribe("t")
        for _ in range(4000):  # more than there is room for: at some point it is not read from
            pub.send(wire.publish("q", payload, 1, 1))
        broker.wait_log(r"Memory: \d+ of \d+ bytes of memory_limit are in use: QoS 0 is dropped", seconds=120)
        broker.wait_log(r"and nobody may connect", seconds=120)
        broker.wait_log(r"and publishers are not read from", seconds=120)
        assert resident(broker) < limit + (40 << 20)
        idle.fence()  # who does not publish notices nothing
        with pytest.raises((kit.Refused, OSError, EOFError, AssertionError)):
            Peer(broker.port, "new", 5)
        broker.wait_log(r"\[memory-limit\]")
        answered = len(pub.acks)
        assert 0 < answered < 4000
        pub.cut()


def test_rates_are_those_of_the_client_behind_a_proxy(limited):
    broker = limited("enable_proxy_protocol 1\naddress_connect_rate 1")

    def come(address, n):
        got = 0
        for _ in range(n):
            with kit.Raw(broker.port) as raw:
                try:
                    raw.send(f"PROXY TCP4 {address} 127.0.0.1 4711 1883\r\n".encode() + wire.connect("c"))
                    got += raw.packet()[1][1] == 0
                except (OSError, EOFError):
                    pass
        return got
    assert 10 <= come("192.0.2.1", 30) < 20
    assert come("192.0.2.2", 5) == 5
    broker.wait_log(r"from 192\.0\.2\.1:4711 on .*\[connect-rate\]")


# ---- identities, and clients that flap ----

def test_an_identity_has_so_many_connections(pki, broker_of):
    port = kit.free_port()
    broker_of(pki.conf(port, "max_connections_per_identity 1"), port)
    files = pki.device("once")
    with Peer(port, "once", 5, files=files):
        pass
    with Peer(port, "once", 5, files=files) as first:
        with Peer(port, "once", 5, files=files) as second:  # it takes its own place
            assert first.wait_closed() == 0x8e
            second.fence()
        with Peer(port, "once", 5, files=files) as again:
            again.fence()


def test_a_user_name_has_so_many_connections(limited):
    broker = limited("max_connections_per_identity 2")
    with Peer(broker.port, "a", 5, username="bob"), Peer(broker.port, "b", 5, username="bob") as b, Peer(broker.port, "c", 5, username="eve"):
        for version, code in (5, 0x97), (4, 3):
            with pytest.raises(kit.Refused) as refused:
                Peer(broker.port, "d", version, username="bob")
            assert refused.value.code == code
        broker.wait_log(r"max_connections_per_identity of 2 already \[identity-connections\]")
        b.close()
        with Peer(broker.port, "d", 5, username="bob") as d:
            d.fence()


def test_a_client_that_flaps_is_held_off_with_one_line(limited):
    broker = limited("", "flapping_connects 5\nflapping_hold 3\n")
    for _ in range(5):
        Peer(broker.port, "nervous", 5).close()
    for version, code in (5, 0x9f), (4, 3), (5, 0x9f):
        with pytest.raises(kit.Refused) as refused:
            Peer(broker.port, "nervous", version)
        assert refused.value.code == code
    Peer(broker.port, "calm", 5).close()
    found = broker.wait_log(r"Client nervous from .* connects more than 5 times a minute: held off for 1 s \[flapping\]")
    assert found and broker.log().count("nervous") == 1 + broker.log().count("Client nervous disconnected") + \
        broker.log().count(" as nervous ")
