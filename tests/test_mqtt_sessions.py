"""Sessions: what is kept for a client that is away, who may have its name, wills, keep alive, and the broker's own end."""
import re
import signal
import time

import pytest

import kit
import wire
from kit import V5
from wire import Peer

END = 6 if kit.BUILD == "tsan" else 2  # seconds that the broker may take to end
FOREVER = b"\x11\xff\xff\xff\xff"  # Session Expiry Interval


def expiry(seconds):
    return b"\x11" + wire.u32(seconds)


def kept(port, client_id, version, **more):
    """A client whose session stays when it leaves."""
    return Peer(port, client_id, version, clean=False, properties=FOREVER if version == 5 else b"", **more)


def subscribed_by_someone(peer, topic):
    """Asked of an MQTT 5 client: PUBACK says 0x10 when there is no subscription (3.4.2.1)."""
    return peer.wait_ack(wire.PUBACK, peer.publish(topic, "probe", 1))[:1] != b"\x10"


# ---- what is kept ----

@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_kept_session_queues_qos_1_and_2_in_order(shared, topic, version):
    # 4.1, [MQTT-3.1.2-5]: subscriptions and QoS > 0 messages; QoS 0 is not kept.
    with kept(shared.port, f"{topic}s", version) as s:
        assert not s.session_present
        s.subscribe(f"{topic}/#", qos=2)
    with Peer(shared.port, f"{topic}p", version=5) as p:
        for i in range(60):
            p.publish(f"{topic}/{i % 3}", f"{i}", qos=i % 3)
    with kept(shared.port, f"{topic}s", version) as s:
        assert s.session_present == (version != 3)  # 3.1 has no such flag
        s.wait_messages(40).fence()
        assert s.payloads() == [b"%d" % i for i in range(60) if i % 3]
        assert not any(m[3] for m in s.got), "DUP on what was never sent before"
    with kept(shared.port, f"{topic}s", version) as s:
        assert s.fence().got == []
        s.publish(f"{topic}/x", "still subscribed")
        s.wait_messages(1)


@pytest.mark.parametrize("version", [4, 5])
def test_clean_start_forgets_everything(shared, topic, version):
    # [MQTT-3.1.2-4]
    with kept(shared.port, f"{topic}s", version) as s:
        s.subscribe(topic, qos=1)
    with Peer(shared.port, f"{topic}p", version=5) as p:
        p.publish(topic, "lost", qos=1)
        with Peer(shared.port, f"{topic}s", version, clean=True) as s:
            assert not s.session_present
            assert not subscribed_by_someone(p, topic)
            assert s.fence().got == []
        with kept(shared.port, f"{topic}s", version) as s:
            assert not s.session_present, "a clean session is not kept"


def test_sessions_pass_from_3_1_1_to_5_and_back(shared, topic):
    for i, version in enumerate([4, 5, 4, 5]):
        with kept(shared.port, f"{topic}s", version) as s, Peer(shared.port, f"{topic}p") as p:
            assert s.session_present == (i > 0)
            s.wait_messages(1 if i else 0).fence()
            s.subscribe(topic, qos=2)
        with Peer(shared.port, f"{topic}p") as p:
            p.publish(topic, f"{i}", qos=2)


def test_mosquitto_sub_finds_what_came_while_it_was_away(shared, topic):
    where = ["-h", "127.0.0.1", "-p", shared.port]
    sub = ["mosquitto_sub", *where, "-i", f"{topic}s", "-c", "-q", 1, "-t", topic]
    assert kit.mosquitto(*sub, "-E").returncode == 0
    for payload in "one", "two":
        assert kit.mosquitto("mosquitto_pub", *where, "-q", 1, "-t", topic, "-m", payload).returncode == 0
    result = kit.mosquitto(*sub, "-C", 2, "-W", 20)
    assert (result.returncode, result.stdout) == (0, "one\ntwo\n"), result.stderr


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_session_ends_after_its_expiry(shared, topic, seconds):
    # 3.1.2.11.2
    with Peer(shared.port, f"{topic}p", version=5) as p:
        with Peer(shared.port, f"{topic}s", 5, clean=False, properties=expiry(seconds)) as s:
            s.subscribe(topic, qos=1)
        start = time.monotonic()
        if seconds:
            assert subscribed_by_someone(p, topic)
        kit.wait_for(lambda: not subscribed_by_someone(p, topic), "the end of the session")
        assert seconds - 0.1 <= time.monotonic() - start < seconds + 3
        with kept(shared.port, f"{topic}s", 5) as s:
            assert not s.session_present and s.fence().got == []


def test_disconnect_changes_the_expiry(shared, topic):
    # 3.14.2.2.2
    for properties, lasts in [(expiry(1000), True), (expiry(0), False)]:
        s = Peer(shared.port, f"{topic}s", 5, clean=False, properties=expiry(10))
        s.send(wire.disconnect(5, 0, properties)).wait_closed()
        s.cut()
        with Peer(shared.port, f"{topic}s", 5, clean=False) as s:
            assert s.session_present == lasts
    with Peer(shared.port, f"{topic}s", 5) as s:
        s.send(wire.disconnect(5, 0, expiry(5)))  # from 0 there is no way back
        assert s.wait_closed() == 0x82


def test_persistent_client_expiration_bounds_every_session(broker_of):
    # CONNACK says what the broker made of the client's wish [MQTT-3.2.2-20 ff].
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\npersistent_client_expiration 1h\n", port)
    with kit.Client(broker, "long", version=V5, connect_properties=kit.connect_properties(SessionExpiryInterval=4294967295)) as c:
        assert c.connack.SessionExpiryInterval == 3600
    with kit.Client(broker, "short", version=V5, connect_properties=kit.connect_properties(SessionExpiryInterval=60)) as c:
        assert not hasattr(c.connack, "SessionExpiryInterval")


def test_the_queue_keeps_the_oldest_up_to_its_bound(broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nmax_queued_messages 10\n", port)
    for version in 4, 5:
        with kept(port, f"s{version}", version) as s:
            s.subscribe(f"q{version}", qos=2)
        with Peer(port, "p") as p:
            for i in range(30):
                p.publish(f"q{version}", f"{i}", qos=1 + i % 2)
        with kept(port, f"s{version}", version) as s:
            assert s.wait_messages(10).fence().payloads() == [b"%d" % i for i in range(10)]
            s.publish(f"q{version}", "there is room again", qos=1)
            s.wait_messages(11)
        broker.wait_log(f"s{version}")
    assert len(re.findall("being dropped for client", broker.log())) == 2, "one line for each time a queue is full"


def test_a_client_that_does_not_acknowledge_has_a_bounded_queue(broker_of):
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nmax_queued_messages 10\nmax_inflight_messages 5\n", port)
    with Peer(port, "s", answers=False) as s, Peer(port, "p") as p:
        s.subscribe("q", qos=1)
        for i in range(40):
            p.publish("q", f"{i}", qos=1)
        s.wait_messages(5).fence()
        for packet_id in range(1, 16):
            s.wait_messages(packet_id)
            s.send(wire.ack(wire.PUBACK, packet_id))
        assert s.fence().payloads() == [b"%d" % i for i in range(15)]


def test_max_queued_bytes_and_queue_qos0_messages(broker_of):
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nmax_queued_bytes 20000\nqueue_qos0_messages true\n", port)
    with kept(port, "s", 4) as s:
        s.subscribe("q", qos=1)
    with Peer(port, "p") as p:
        for i in range(8):
            p.publish("q", b"%d" % i + b"x" * 4000, qos=i % 2)
        p.fence()
    with kept(port, "s", 4) as s:
        got = s.wait_messages(4).fence().payloads()
        assert [int(x[:1]) for x in got] == list(range(len(got))) and len(got) == 4
        assert [m[2] for m in s.got] == [0, 1, 0, 1]


# ---- resending ----

@pytest.mark.parametrize("version", [4, 5])
def test_unacknowledged_messages_are_sent_again_with_dup(shared, topic, version):
    # [MQTT-4.4.0-1] [MQTT-3.3.1-1], in their order [MQTT-4.6.0-1]
    s = kept(shared.port, f"{topic}s", version, answers=False)
    s.subscribe(f"{topic}/#", qos=2)
    with Peer(shared.port, f"{topic}p") as p:
        for i, qos in enumerate([1, 2, 1, 2, 1, 2]):
            p.publish(f"{topic}/{i}", f"{i}", qos=qos)
    s.wait_messages(6)
    ids = [m[5] for m in s.got]
    assert ids == [1, 2, 3, 4, 5, 6]
    s.send(wire.ack(wire.PUBACK, ids[2]) + wire.ack(wire.PUBREC, ids[3]))  # 2 is done, 3 is half done
    s.fence()
    s.cut()
    s = kept(shared.port, f"{topic}s", version)
    assert s.session_present
    s.wait_messages(4).fence()
    assert [(m[1], m[3], m[5]) for m in s.got] == [(b"%d" % i, True, ids[i]) for i in (0, 1, 4, 5)]
    s.close()
    with kept(shared.port, f"{topic}s", version) as s:
        assert s.fence().got == []


def test_a_half_released_message_is_released_after_reconnect(shared, topic):
    # The broker as receiver: the id is remembered over a reconnect, the message is delivered once.
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(topic, qos=2)
        for again in False, True, True:
            with kit.Raw(shared.port) as raw:
                assert raw.connect(f"{topic}p", clean=False)[1] == bytes([again, 0])
                raw.send(wire.publish(topic, "once", 2, 9, dup=again))
                assert raw.packet() == (wire.PUBREC << 4, b"\0\x09")
        with kit.Raw(shared.port) as raw:
            raw.connect(f"{topic}p", clean=False)
            raw.send(wire.ack(wire.PUBREL, 9))
            assert raw.packet() == (wire.PUBCOMP << 4, b"\0\x09")
        s.publish(topic, "fence")
        assert s.wait_messages(2).payloads() == [b"once", b"fence"]


def test_pubrel_is_sent_again_after_reconnect(shared, topic):
    s = kept(shared.port, f"{topic}s", 4, answers=False)
    s.subscribe(topic, qos=2)
    s.publish(topic, "x", qos=2, wait=False)
    s.wait_messages(1)
    s.send(wire.ack(wire.PUBREC, s.got[0][5])).fence()
    s.cut()
    with kit.Raw(shared.port) as raw:
        assert raw.connect(f"{topic}s", clean=False)[1] == b"\1\0"
        assert raw.packet() == (wire.PUBREL << 4 | 2, wire.u16(s.got[0][5]))


# ---- takeover ----

@pytest.mark.parametrize("old, new", [(4, 4), (4, 5), (5, 4), (5, 5)])
def test_the_newcomer_takes_the_session_over(shared, topic, old, new):
    # [MQTT-3.1.4-3]; MQTT 5: DISCONNECT 0x8E
    with kept(shared.port, f"{topic}s", old, answers=False) as first:
        first.subscribe(topic, qos=1)
        first.publish(topic, "unacknowledged", qos=1)
        first.wait_messages(1)
        with kept(shared.port, f"{topic}s", new) as second:
            assert first.wait_closed() == (0x8E if old == 5 else None)
            assert second.session_present
            second.wait_messages(1)
            assert second.got[0][1:4] == (b"unacknowledged", 1, True)


def test_a_crowd_of_the_same_name_leaves_one(shared, topic):
    crowd = []
    for i in range(40):
        crowd.append(Peer(shared.port, f"{topic}s", 4 + i % 2))
    for i, peer in enumerate(crowd[:-1]):
        assert peer.wait_closed() == (0x8E if i % 2 else None)
        peer.cut()
    crowd[-1].subscribe(topic)
    crowd[-1].publish(topic, "here")
    crowd[-1].wait_messages(1).close()


# ---- wills ----

def will(topic, delay=None, payload="gone", qos=1, retain=False):
    return topic, payload, qos, retain, b"" if delay is None else b"\x18" + wire.u32(delay)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_will_is_sent_when_the_connection_is_cut(shared, topic, version):
    # [MQTT-3.1.2-8]
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#", qos=2)
        Peer(shared.port, f"{topic}w", version, will=will(f"{topic}/w", qos=2)).cut()
        s.wait_messages(1)
        assert s.got[0][:5] == (f"{topic}/w", b"gone", 2, False, False)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_will_is_not_sent_after_disconnect(shared, topic, version):
    # [MQTT-3.1.2-10] [MQTT-3.14.4-3]
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        Peer(shared.port, f"{topic}w", version, will=will(f"{topic}/w")).close()
        Peer(shared.port, f"{topic}x", version, will=will(f"{topic}/fence")).cut()
        s.wait_messages(1)
        assert s.got[0][0] == f"{topic}/fence"


def test_a_will_is_sent_on_disconnect_with_will_message(shared, topic):
    # 3.14.2.1, 0x04; any other reason but 0 too
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        for n, reason in enumerate([0x04, 0x80, 0x97]):
            w = Peer(shared.port, f"{topic}w", 5, will=will(f"{topic}/{reason}"))
            w.send(wire.disconnect(5, reason)).wait_closed()
            w.cut()
            s.wait_messages(n + 1)
            assert s.got[n][0] == f"{topic}/{reason}"


@pytest.mark.parametrize("how", ["malformed", "protocol error", "takeover"])
def test_a_will_is_sent_when_the_broker_ends_the_connection(shared, topic, how):
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        w = Peer(shared.port, f"{topic}w", 5, will=will(f"{topic}/w"))
        if how == "malformed":
            w.send(b"\x36\0")  # QoS 3
        elif how == "protocol error":
            w.send(wire.connect(f"{topic}w", 5))
        else:
            Peer(shared.port, f"{topic}w", 5).close()
        assert w.wait_closed() == {"malformed": 0x81, "protocol error": 0x82, "takeover": 0x8E}[how]
        w.cut()
        assert s.wait_messages(1).got[0][:2] == (f"{topic}/w", b"gone")


def test_a_retained_will_is_kept(shared, topic):
    # [MQTT-3.1.2-17]
    Peer(shared.port, f"{topic}w", will=will(topic, retain=True)).cut()
    with Peer(shared.port, f"{topic}s") as s:
        def there():
            s.subscribe(topic, qos=1)
            s.publish(topic, "fence")
            s.wait(lambda: b"fence" in s.payloads(), "the fence")
            found = b"gone" in s.payloads()
            s.got.clear()
            return found
        kit.wait_for(there, "the retained will")
        s.publish(topic, "", retain=True)


def test_the_properties_of_a_will_are_sent_with_it(shared, topic):
    # 3.1.3.2; the delay is not part of the message
    properties = b"\x18" + wire.u32(0) + b"\x01\x01" + b"\x02" + wire.u32(77) + b"\x03" + wire.text("text/plain") + \
        b"\x08" + wire.text("answer") + b"\x09" + wire.text(b"\0\xff") + wire.user_property("a", "1") + wire.user_property("a", "2")
    with kit.Client(shared, f"{topic}s", version=V5) as s:
        s.subscribe(topic)
        Peer(shared.port, f"{topic}w", 5, will=(topic, "gone", 0, False, properties)).cut()
        p = s.message(topic, "gone").properties
        assert (p.PayloadFormatIndicator, p.MessageExpiryInterval, p.ContentType, p.ResponseTopic, p.CorrelationData) == \
            (1, 77, "text/plain", "answer", b"\0\xff")
        assert p.UserProperty == [("a", "1"), ("a", "2")]


def test_a_delayed_will_waits(shared, topic):
    # 3.1.3.2.2: between the delay and the delay + 1 s, for others a sign that nobody came back
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        Peer(shared.port, f"{topic}w", 5, will=will(f"{topic}/w", delay=1), properties=expiry(100)).cut()
        start = time.monotonic()
        s.wait_messages(1)
        assert 0.9 <= time.monotonic() - start < 3


def test_a_delayed_will_is_sent_at_the_session_end_if_that_is_earlier(shared, topic):
    # [MQTT-3.1.3-9]; the delay longer than the session was a use after free elsewhere (CVE-2019-11778).
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        Peer(shared.port, f"{topic}now", 5, will=will(f"{topic}/now", delay=1000), properties=expiry(0)).cut()
        s.wait_messages(1)
        Peer(shared.port, f"{topic}w", 5, will=will(f"{topic}/w", delay=1000), properties=expiry(1)).cut()
        start = time.monotonic()
        s.wait_messages(2)
        assert 0.9 <= time.monotonic() - start < 3 and s.got[1][0] == f"{topic}/w"


def test_a_client_that_comes_back_in_time_takes_its_delayed_will_back(shared, topic):
    # 3.1.3.2.2; one that starts clean ends the session, and with it comes the will [MQTT-3.1.3-9].
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        for clean in False, True:
            Peer(shared.port, f"{topic}w{clean}", 5, will=will(f"{topic}/{clean}", delay=1), properties=expiry(100)).cut()
            Peer(shared.port, f"{topic}w{clean}", 5, clean=clean, properties=expiry(100)).close()
        s.wait_messages(1)
        # Its second would be over when this later one has fired.
        Peer(shared.port, f"{topic}x", 5, will=will(f"{topic}/fence", delay=1), properties=expiry(100)).cut()
        s.wait_messages(2)
        assert [m[0] for m in s.got] == [f"{topic}/True", f"{topic}/fence"]


def test_a_new_connect_replaces_the_will(shared, topic):
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(f"{topic}/#")
        Peer(shared.port, f"{topic}w", 5, will=will(f"{topic}/old", delay=100), properties=expiry(100)).cut()
        Peer(shared.port, f"{topic}w", 5, clean=False, will=will(f"{topic}/new"), properties=expiry(100)).cut()
        assert s.wait_messages(1).got[0][0] == f"{topic}/new"


# ---- keep alive ----

@pytest.mark.parametrize("version", [4, 5])
def test_silence_longer_than_one_and_a_half_keep_alives_ends_the_connection(shared, topic, version):
    # [MQTT-3.1.2-22], and the will is sent
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe(topic)
        start = time.monotonic()
        w = Peer(shared.port, f"{topic}w", version, keepalive=1, will=will(topic))
        s.wait_messages(1)
        assert 1.4 <= time.monotonic() - start < 3.5
        assert w.wait_closed() == (0x8D if version == 5 else None)
        w.cut()


def test_any_packet_keeps_the_connection_alive(shared, topic):
    # [MQTT-3.1.2-20]: a client that sends something in time stays, for longer than it may be silent.
    with Peer(shared.port, f"{topic}p", keepalive=1) as pinging, Peer(shared.port, f"{topic}q", keepalive=1) as publishing, \
            Peer(shared.port, f"{topic}n", keepalive=0) as never, Peer(shared.port, f"{topic}w", keepalive=1) as clock:
        start = time.monotonic()
        while time.monotonic() - start < 2.5:
            pinging.send(wire.PING)
            publishing.send(wire.publish(topic, "x"))
            time.sleep(0.25)  # the passing of time is what is tested
        assert clock.closed and not pinging.closed and not publishing.closed
        never.fence()


def test_max_keepalive(broker_of):
    # MQTT 5: Server Keep Alive (3.2.2.3.14); MQTT 3 has no way to be told, so it is refused as mosquitto does.
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nmax_keepalive 60\n", port)
    for asked, told in [(61, 60), (0, 60), (65535, 60)]:
        with kit.Client(broker, "five", version=V5, keepalive=asked) as c:
            assert c.connack.ServerKeepAlive == told
        with pytest.raises(kit.Refused) as refused:
            Peer(port, "three", keepalive=asked)
        assert refused.value.code == 2
    with kit.Client(broker, "five", version=V5, keepalive=60) as c:
        assert not hasattr(c.connack, "ServerKeepAlive")
    Peer(port, "three", keepalive=60).close()


# ---- names ----

def test_the_broker_makes_up_names(shared):
    # [MQTT-3.1.3-6]; mosquitto's form: auto- and a UUID in capitals. MQTT 5 is told [MQTT-3.2.2-16].
    names = set()
    for _ in range(8):
        with kit.Client(shared, "", version=V5) as c:
            assert re.fullmatch(r"auto-[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", c.connack.AssignedClientIdentifier)
            names.add(c.connack.AssignedClientIdentifier)
    assert len(names) == 8
    with Peer(shared.port, "") as a, Peer(shared.port, "") as b:
        a.fence()
        b.fence()


@pytest.mark.parametrize("version, clean, code", [(3, True, 2), (4, False, 2)])
def test_an_empty_name_of_a_kept_session_is_refused(shared, version, clean, code):
    # [MQTT-3.1.3-8]; 3.1 wants 1 to 23 characters
    with pytest.raises(kit.Refused) as refused:
        Peer(shared.port, "", version, clean=clean)
    assert refused.value.code == code


def test_allow_zero_length_clientid_false(broker_of):
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nallow_zero_length_clientid false\nworkers 4\n", port)
    for version, code in [(4, 2), (5, 0x85)]:
        with pytest.raises(kit.Refused) as refused:
            Peer(port, "", version)
        assert refused.value.code == code
        Peer(port, "named", version).close()


@pytest.mark.parametrize("version", [4, 5])
def test_long_and_strange_names_work(shared, version):
    for name in ["x" * 65535, "\U0001f600", "a b", "$SYS", "#", "+/#", "%u%c", "'\"\\"]:
        with Peer(shared.port, name, version) as c:
            c.fence()


# ---- the end of the broker ----

def test_sigterm_tells_everybody_and_sends_no_wills(broker_of):
    # MQTT 5: DISCONNECT 0x8B. The clients did not fail, so their wills stay unsent; exit code 0 within 2 s.
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\n", port)
    peers = []
    for i in range(200):
        raw = kit.Raw(port)
        version = 5 if i % 2 else 4
        raw.send(wire.connect(f"c{i}", version, will=will(f"w/{i}") if i >= 40 else None))
        peers.append((version, raw))
    for i, (version, raw) in enumerate(peers):
        assert raw.packet()[1][1] == 0
        if i < 40:
            raw.send(wire.subscribe("#", version=version))
            assert raw.packet()[0] == wire.SUBACK << 4
    start = time.monotonic()
    broker.process.send_signal(signal.SIGTERM)
    for version, raw in peers:
        assert raw.rest() == (b"\xe0\x01\x8b" if version == 5 else b"")
        raw.close()
    assert broker.process.wait(kit.PATIENCE) == 0
    assert time.monotonic() - start < END


def test_sigterm_is_obeyed_although_a_client_does_not_read(broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nmax_queued_messages 0\n", port)
    with kit.Raw(port) as deaf, Peer(port, "p") as p:
        deaf.connect("deaf")
        deaf.send(wire.subscribe("#", options=1))
        for i in range(20):
            p.publish("big", b"x" * 1_000_000, qos=1)
        start = time.monotonic()
        broker.process.send_signal(signal.SIGTERM)
        assert broker.process.wait(kit.PATIENCE) == 0
        assert time.monotonic() - start < END
