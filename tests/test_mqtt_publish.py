"""Messages from publishers to subscribers: QoS, order, size, retained messages, and everything MQTT 5 says about a PUBLISH."""
import itertools
import time

import pytest

import kit
import wire
from kit import V5, V311
from wire import Peer

VERSIONS = {"v311": V311, "v5": V5}
PAIRS = [pytest.param(a, b, id=f"{a}-{b}") for a in VERSIONS for b in VERSIONS]


# ---- QoS, order, size ----

@pytest.mark.parametrize("publisher, subscriber", PAIRS)
def test_every_qos_pair_delivers_the_lower_qos(shared, topic, publisher, subscriber):
    # 3.8.4: "the maximum QoS at which the Server can send"; the delivered QoS is the lower of the two.
    with kit.Client(shared, f"{topic}p", version=VERSIONS[publisher]) as p:
        for granted in 0, 1, 2:
            with kit.Client(shared, f"{topic}s{granted}", version=VERSIONS[subscriber]) as s:
                assert s.subscribe(f"{topic}/#", qos=granted) == [granted]
                for sent in 0, 1, 2:
                    p.publish(f"{topic}/{granted}/{sent}", f"{granted}{sent}", qos=sent)
                for sent in 0, 1, 2:
                    m = s.message(f"{topic}/{granted}/{sent}", f"{granted}{sent}")
                    assert m.qos == min(granted, sent) and not m.retain and not m.dup


@pytest.mark.parametrize("flag, version", [("mqttv31", 3), ("mqttv311", 4), ("mqttv5", 5)])
def test_mosquitto_clients_of_every_version_talk_to_each_other(shared, topic, flag, version):
    where = ["-h", "127.0.0.1", "-p", shared.port, "-V", flag]
    # The subscriber's first message is retained, so nobody has to guess when it has subscribed.
    assert kit.mosquitto("mosquitto_pub", *where, "-t", f"{topic}/a", "-m", "one", "-q", 2, "-r").returncode == 0
    result = kit.mosquitto("mosquitto_sub", *where, "-t", f"{topic}/#", "-q", 1, "-C", 1, "-v", "-W", 20)
    assert (result.returncode, result.stdout) == (0, f"{topic}/a one\n"), result.stderr
    with Peer(shared.port, f"{topic}w") as watcher:
        watcher.subscribe(f"{topic}/#", qos=2)
        watcher.wait_messages(1)
        for qos in 0, 1, 2:
            assert kit.mosquitto("mosquitto_pub", *where, "-t", f"{topic}/b", "-m", f"{qos}", "-q", qos).returncode == 0
        watcher.wait_messages(4)
        assert watcher.payloads()[1:] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order_is_kept_for_each_publisher_and_topic(shared, topic, qos):
    # 4.6: ordered topics. Several publishers and subscribers, so that all homes are involved; each sends as fast as it can.
    n, publishers, subscribers = 2000, 3, 3
    subs = [Peer(shared.port, f"{topic}s{i}", version=4 + i % 2) for i in range(subscribers)]
    pubs = [Peer(shared.port, f"{topic}p{i}") for i in range(publishers)]
    for s in subs:
        assert s.subscribe(f"{topic}/+", qos=qos) == [qos]
    for p, peer in enumerate(pubs):
        # Two topics each, interleaved; QoS 2 in batches below the protocol's bound of open exchanges.
        for first in range(0, n, 1000):
            peer.send(b"".join(wire.publish(f"{topic}/{p}{i % 2}", f"{i}", qos, i + 1) for i in range(first, first + 1000)))
    last = {1: wire.PUBACK, 2: wire.PUBCOMP}.get(qos)
    for peer in pubs:
        if last:
            peer.wait(lambda: sum(a[0] == last for a in peer.acks) >= n, f"{n} acknowledgements")
    for s in subs:
        s.wait_messages(n * publishers)
        by_topic = {}
        for name, payload, got_qos, *_ in s.got:
            assert got_qos == qos
            by_topic.setdefault(name, []).append(int(payload))
        assert by_topic == {f"{topic}/{p}{odd}": list(range(odd, n, 2)) for p in range(publishers) for odd in (0, 1)}
    for peer in subs + pubs:
        peer.close()


@pytest.mark.parametrize("size", [0, 1, 127 - 6, 16383 - 6, 65536, 1_000_000, 1_999_000])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_payloads_of_every_size_arrive_whole(shared, topic, size, qos):
    payload = bytes(i * 7 % 251 for i in range(251)) * (size // 251 + 1)
    payload = payload[:size]
    with Peer(shared.port, f"{topic}s") as s, Peer(shared.port, f"{topic}p") as p:
        s.subscribe(topic, qos=qos)
        for _ in range(3):
            p.publish(topic, payload, qos)
        s.wait_messages(3)
        assert s.payloads() == [payload] * 3


def test_large_payloads_arrive_whole_over_tls(broker, pki):
    payload = bytes(range(256)) * 4096
    control = kit.tls_context(pki.files("controller"))
    watch = kit.tls_context(pki.files("watcher"))
    with Peer(broker.port, "watcher", context=watch) as s, Peer(broker.port, "controller", version=5, context=control) as p:
        s.subscribe("big/#", qos=1)
        for n in range(6):
            p.publish(f"big/{n}", payload, qos=n % 3)
        p.publish("big/small", b"end")
        s.wait_messages(7)
        assert [m[1] == payload for m in s.got] == [True] * 6 + [False]


def test_a_packet_above_max_packet_size_ends_its_connection_only(shared, topic):
    # MQTT 5, 3.1.2.11.4 and 4.13: DISCONNECT 0x95; the size is known from the header, so the payload is not waited for.
    with Peer(shared.port, f"{topic}s") as s, Peer(shared.port, f"{topic}p", version=5) as p:
        s.subscribe(topic)
        p.send(b"\x30" + wire.varint(2_000_000) + wire.text(topic))
        assert p.wait_closed() == 0x95
        s.publish(topic, "after")
        assert s.wait_messages(1).payloads() == [b"after"]


def test_many_unacknowledged_qos2_messages_of_an_mqtt3_client_are_accepted(shared, topic):
    # Receive Maximum exists in MQTT 5 only: a 3.1.1 client can know no bound but that of the packet ids.
    with Peer(shared.port, f"{topic}s") as s, kit.Raw(shared.port) as raw:
        s.subscribe(topic, qos=0)
        raw.connect(f"{topic}p")
        n = 3000
        raw.send(b"".join(wire.publish(topic, f"{i}", 2, i) for i in range(1, n + 1)))
        for i in range(1, n + 1):
            assert raw.packet() == (wire.PUBREC << 4, wire.u16(i))
        raw.send(b"".join(wire.ack(wire.PUBREL, i) for i in range(1, n + 1)))
        for i in range(1, n + 1):
            assert raw.packet() == (wire.PUBCOMP << 4, wire.u16(i))
        assert s.wait_messages(n).payloads() == [str(i).encode() for i in range(1, n + 1)]


def test_a_qos2_message_sent_again_is_delivered_once(shared, topic):
    # [MQTT-4.3.3-10]: until PUBREL the same packet id is the same message.
    with Peer(shared.port, f"{topic}s") as s, kit.Raw(shared.port) as raw:
        s.subscribe(topic, qos=2)
        raw.connect(f"{topic}p")
        for dup in False, True, True:
            raw.send(wire.publish(topic, "once", 2, 7, dup=dup))
            assert raw.packet() == (wire.PUBREC << 4, b"\0\7")
        for _ in range(2):
            raw.send(wire.ack(wire.PUBREL, 7))
            assert raw.packet() == (wire.PUBCOMP << 4, b"\0\7")
        raw.send(wire.publish(topic, "twice", 2, 7))
        assert raw.packet() == (wire.PUBREC << 4, b"\0\7")
        assert s.wait_messages(2).payloads() == [b"once", b"twice"]


@pytest.mark.parametrize("version", [4, 5])
def test_overlapping_subscriptions_give_one_copy_with_the_highest_qos(shared, topic, version):
    # 3.3.4: one copy, or one for each; Signet sends one, with the highest QoS.
    with Peer(shared.port, f"{topic}s", version=version) as s:
        s.subscribe(f"{topic}/#", qos=0)
        s.subscribe(f"{topic}/+", qos=2)
        s.subscribe(f"{topic}/a", qos=1)
        s.publish(f"{topic}/a", "x", qos=2)
        s.publish(f"{topic}/a/b", "fence", qos=2)
        s.wait_messages(2)
        assert [m[:3] for m in s.got] == [(f"{topic}/a", b"x", 2), (f"{topic}/a/b", b"fence", 0)]


def test_v5_is_told_that_nobody_listens(shared, topic):
    # 3.4.2.1: 0x10, No matching subscribers. MQTT 3 acknowledgements have no room for it.
    with Peer(shared.port, f"{topic}a", version=5) as five, Peer(shared.port, f"{topic}b") as three:
        assert five.wait_ack(wire.PUBACK, five.publish(f"{topic}/none", "x", 1))[:1] == b"\x10"
        assert three.wait_ack(wire.PUBACK, three.publish(f"{topic}/none", "x", 1)) == b""
        five.subscribe(f"{topic}/none")
        assert five.wait_ack(wire.PUBACK, five.publish(f"{topic}/none", "x", 1)) == b""


# ---- retained messages ----

def test_retained_messages_are_set_replaced_and_cleared(shared, topic):
    with Peer(shared.port, f"{topic}p") as p:
        for payload in b"one", b"two":
            p.publish(topic, payload, qos=1, retain=True)
            with Peer(shared.port, f"{topic}s") as s:
                s.subscribe(topic, qos=1)
                s.wait_messages(1)
                assert s.got[0][:5] == (topic, payload, 1, False, True)
                # To those who are there already it is a message like others [MQTT-3.3.1-9].
                p.publish(topic, b"live" + payload, qos=1, retain=True)
                s.wait_messages(2)
                assert s.got[1][:5] == (topic, b"live" + payload, 1, False, False)
        p.publish(topic, b"", qos=1, retain=True)  # [MQTT-3.3.1-10]: removes it
        with Peer(shared.port, f"{topic}s") as s:
            s.subscribe(topic)
            s.publish(topic, "fence")
            assert s.wait_messages(1).payloads() == [b"fence"]


def test_a_wildcard_brings_two_thousand_retained_messages_exactly_once(shared, topic):
    n = 2000
    with Peer(shared.port, f"{topic}p") as p:
        p.send(b"".join(wire.publish(f"{topic}/{i % 7}/{i}", f"{i}", 1, i + 1, retain=True) for i in range(n)))
        p.wait(lambda: len(p.acks) >= n, "acknowledgements")
        for k, (filters, want) in enumerate([
                ([f"{topic}/#"], range(n)), ([f"{topic}/+/+"], range(n)), ([f"{topic}/3/#"], range(3, n, 7)),
                ([f"{topic}/+/1999"], [1999]), ([f"{topic}/#", f"{topic}/3/+"], [*range(n), *range(3, n, 7)])]):
            with Peer(shared.port, f"{topic}s{k}", version=4 + k % 2) as s:
                s.subscribe(*filters, qos=k % 3)
                s.wait_messages(len(want))
                s.fence()
                assert sorted(int(m[1]) for m in s.got) == sorted(want)
                assert all(m[4] and m[2] == min(1, k % 3) for m in s.got)


def test_a_slow_reader_gets_all_retained_messages(shared, topic):
    # The walk waits for room in the receiver's queues instead of filling them or dropping.
    n, payload = 2000, b"x" * 4000
    with Peer(shared.port, f"{topic}p") as p:
        p.send(b"".join(wire.publish(f"{topic}/{i}", payload, 1, i + 1, retain=True) for i in range(n)))
        p.wait(lambda: len(p.acks) >= n, "acknowledgements")
        with kit.Raw(shared.port) as slow:
            slow.connect(f"{topic}s")
            slow.send(wire.subscribe(f"{topic}/#"))
            assert slow.packet()[0] == wire.SUBACK << 4
            p.publish(f"{topic}/fence")  # the broker has had its time to send, while nobody reads
            p.fence()
            names = set()
            while len(names) < n:
                first, body = slow.packet()
                if first == (wire.PUBLISH << 4 | 1):
                    names.add(wire.split_publish(first & 15, body)[0])
        for i in range(n):
            p.send(wire.publish(f"{topic}/{i}", b"", retain=True))
        p.fence()


@pytest.mark.parametrize("handling, first, again", [(0, True, True), (1, True, False), (2, False, False)])
def test_retain_handling(shared, topic, handling, first, again):
    # MQTT 5, 3.8.3.1 and 3.3.1.3
    with Peer(shared.port, f"{topic}s", version=5) as s:
        s.publish(f"{topic}/r", "kept", qos=1, retain=True)
        for expected in first, again:
            s.subscribe(f"{topic}/r", qos=handling << 4)
            # The home of the topic answers in turn: what follows is the answer to this subscription, which always gets one.
            s.subscribe(f"{topic}/r/#", qos=0)
            s.wait_messages(1 + expected).fence()
            assert s.payloads() == [b"kept"] * (1 + expected)
            s.unsubscribe(f"{topic}/r/#")
            s.got.clear()
        s.publish(f"{topic}/r", "", retain=True)


@pytest.mark.parametrize("as_published", [False, True])
def test_retain_as_published(shared, topic, as_published):
    # [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    with Peer(shared.port, f"{topic}s", version=5) as s:
        s.subscribe(topic, qos=8 if as_published else 0)
        s.publish(topic, "a", retain=True)
        s.publish(topic, "b")
        s.wait_messages(2)
        assert [m[4] for m in s.got] == [as_published, False]
        s.publish(topic, "", retain=True)


def test_dollar_topics_are_not_matched_by_wildcards(shared, topic):
    # [MQTT-4.7.2-1], live and retained
    with Peer(shared.port, f"{topic}p", version=5) as p, Peer(shared.port, f"{topic}s") as s:
        p.publish(f"${topic}/r", "kept", qos=1, retain=True)
        s.subscribe("#")
        s.subscribe("+/r")
        s.subscribe("+/live")
        p.publish(f"${topic}/live", "hidden", qos=1)
        p.publish(f"{topic}/live", "seen", qos=1)
        s.wait(lambda: b"seen" in s.payloads(), "the open topic")
        assert not [m for m in s.got if m[0].startswith("$")]
        s.subscribe(f"${topic}/#")
        p.publish(f"${topic}/live", "asked for", qos=1)
        s.wait(lambda: {b"asked for", b"kept"} <= set(s.payloads()), "the dollar topic, live and retained")
        p.publish(f"${topic}/r", "", retain=True)


# ---- MQTT 5: what a PUBLISH carries ----

def test_properties_pass_through_unchanged_and_in_order(shared, topic):
    # [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    user = [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("a", "2")]
    for retain in False, True:
        with kit.Client(shared, f"{topic}s", version=V5) as s, kit.Client(shared, f"{topic}p", version=V5) as p:
            if not retain:
                s.subscribe(topic, qos=2)
            p.publish(topic, "päyload", qos=2, retain=retain, properties=kit.publish_properties(
                PayloadFormatIndicator=1, ContentType="text/plain", ResponseTopic="answers/here",
                CorrelationData=b"\0\1\xff", UserProperty=user, MessageExpiryInterval=1000))
            if retain:
                s.subscribe(topic, qos=2)
            m = s.message(topic, "päyload".encode())
            got = m.properties
            assert (got.PayloadFormatIndicator, got.ContentType, got.ResponseTopic, got.CorrelationData) == \
                (1, "text/plain", "answers/here", b"\0\1\xff")
            assert got.UserProperty == user
            assert 990 <= got.MessageExpiryInterval <= 1000 and m.retain == retain


def test_an_mqtt3_subscriber_gets_the_payload_without_properties(shared, topic):
    with Peer(shared.port, f"{topic}s") as s, Peer(shared.port, f"{topic}p", version=5) as p:
        s.subscribe(topic, qos=1)
        p.publish(topic, "plain", qos=1, properties=wire.user_property() + b"\x02" + wire.u32(100))
        assert s.wait_messages(1).payloads() == [b"plain"]


def test_message_expiry_is_counted_down_and_obeyed(shared, topic):
    # [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    with Peer(shared.port, f"{topic}s", version=5, clean=False, properties=b"\x11" + wire.u32(1000)) as s:
        s.subscribe(f"{topic}/#", qos=1)
    with kit.Client(shared, f"{topic}p", version=V5) as p:
        p.publish(f"{topic}/short", "dies", qos=1, properties=kit.publish_properties(MessageExpiryInterval=1))
        p.publish(f"{topic}/short", "dies retained", qos=1, retain=True, properties=kit.publish_properties(MessageExpiryInterval=1))
        p.publish(f"{topic}/long", "lives", qos=1, properties=kit.publish_properties(MessageExpiryInterval=500))
        p.publish(f"{topic}/free", "lives too", qos=1)
        time.sleep(2.05)  # the passing of time is what is tested: a second, and the clock counts in whole ones
        with Peer(shared.port, f"{topic}r") as r:
            # The topic's home answers in turn: the second subscription brings what the first one would have brought before.
            r.subscribe(f"{topic}/short")
            r.publish(f"{topic}/short", "fence", qos=1, retain=True)
            r.subscribe(f"{topic}/short")
            r.wait(lambda: any(m[4] for m in r.got), "a retained message")
            assert set(r.payloads()) == {b"fence"}
            r.publish(f"{topic}/short", "", retain=True)
    s = kit.Client(shared, f"{topic}s", version=V5, clean=False)
    assert s.session_present
    m = s.message(f"{topic}/long", "lives")
    assert 1 <= 500 - m.properties.MessageExpiryInterval <= 10
    m = s.message(f"{topic}/free", "lives too")
    assert not hasattr(m.properties, "MessageExpiryInterval")
    s.close()


def test_topic_aliases_of_the_client(shared, topic):
    # [MQTT-3.3.2-12]: set, used, set anew; each connection has its own
    alias = lambda n: b"\x23" + wire.u16(n)
    with Peer(shared.port, f"{topic}s") as s, Peer(shared.port, f"{topic}p", version=5) as p:
        s.subscribe(f"{topic}/#")
        for name, n in [("a", 1), ("", 1), ("b", 10), ("", 10), ("c", 1), ("", 1), ("", 10)]:
            p.publish(f"{topic}/{name}" if name else "", "x", qos=1, properties=alias(n))
        s.wait_messages(7)
        assert [m[0][len(topic) + 1:] for m in s.got] == ["a", "a", "b", "b", "c", "c", "b"]


@pytest.mark.parametrize("properties, name, reason", [
    (b"\x23\0\0", "x", 0x94),    # 0 is never allowed [MQTT-3.3.2-8]
    (b"\x23\0\x0b", "x", 0x94),  # above Topic Alias Maximum [MQTT-3.3.2-9]
    (b"\x23\0\1", "", 0x82),     # not set
    (b"", "", 0x82),             # neither topic nor alias
])
def test_topic_aliases_that_are_wrong_end_the_connection(shared, topic, properties, name, reason):
    with Peer(shared.port, f"{topic}p", version=5) as p:
        p.send(wire.publish(name, "x", version=5, properties=properties))
        assert p.wait_closed() == reason


def test_topic_aliases_towards_the_client(shared, topic):
    # [MQTT-3.3.2-11]: not above what the client allows; the first PUBLISH with an alias carries the topic.
    with kit.Raw(shared.port) as s, Peer(shared.port, f"{topic}p") as p:
        s.send(wire.connect(f"{topic}s", 5, properties=b"\x22" + wire.u16(2)))
        assert s.packet()[1][1] == 0
        s.send(wire.subscribe(f"{topic}/#", version=5))
        assert s.packet()[0] == wire.SUBACK << 4
        known, seen = {}, []
        for name in "abcabc":
            p.publish(f"{topic}/{name}", name, qos=1)
            first, body = s.packet()
            got, _, properties, payload = wire.split_publish(first & 15, body, 5)
            if properties[:1] == b"\x23":
                n = int.from_bytes(properties[1:3], "big")
                assert 1 <= n <= 2
                if got:
                    known[n] = got
                got = known[n]
            seen.append((got, payload, bool(properties)))
        assert [x[:2] for x in seen] == [(f"{topic}/{c}", c.encode()) for c in "abcabc"]
        assert len(known) == 2 and [x[2] for x in seen].count(True) == 4


def test_maximum_packet_size_of_the_client(shared, topic):
    # [MQTT-3.1.2-24] [MQTT-3.1.2-25]: what is too large is not sent, and counts as delivered.
    with kit.Raw(shared.port) as s, Peer(shared.port, f"{topic}p", version=5) as p:
        s.send(wire.connect(f"{topic}s", 5, properties=b"\x27" + wire.u32(100)))
        assert s.packet()[1][1] == 0
        s.send(wire.subscribe(f"{topic}/#", version=5, options=1))
        assert s.packet()[0] == wire.SUBACK << 4
        got = []
        fits = 100 - len(wire.publish(f"{topic}/a", b"", 1, version=5))
        for n in [fits - 1, fits, fits + 1, fits + 2, 5000, 1]:
            p.publish(f"{topic}/a", b"x" * n, qos=1)
        while not got or len(got[-1]) != 1:
            first, body = s.packet()
            assert len(body) + 2 <= 100
            _, packet_id, _, payload = wire.split_publish(first & 15, body, 5)
            s.send(wire.ack(wire.PUBACK, packet_id))
            got.append(payload)
        assert [len(x) for x in got] == [fits - 1, fits, 1]


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("qos", [1, 2])
def test_receive_maximum_of_the_client_bounds_what_is_in_flight(shared, topic, qos, window):
    # [MQTT-3.3.4-9]
    with Peer(shared.port, f"{topic}p") as p, \
            Peer(shared.port, f"{topic}s", version=5, answers=False, properties=b"\x21" + wire.u16(window)) as s:
        s.subscribe(topic, qos=qos)
        for i in range(10):
            p.publish(topic, f"{i}", qos=2)
        p.fence()
        done = 0
        while done < 10:
            s.wait_messages(min(10, done + window))
            s.fence()
            assert len(s.got) == min(10, done + window)
            packet_id = s.got[done][5]
            if qos == 1:
                s.send(wire.ack(wire.PUBACK, packet_id))
            else:
                # PUBREC alone gives no room: the window counts whole exchanges (4.9).
                s.send(wire.ack(wire.PUBREC, packet_id)).fence()
                assert len(s.got) == min(10, done + window)
                s.send(wire.ack(wire.PUBCOMP, packet_id))
            done += 1
        assert s.payloads() == [b"%d" % i for i in range(10)]


def test_receive_maximum_of_the_broker_is_enforced(shared, topic):
    # [MQTT-3.3.4-8] 0x93; 20 is what CONNACK announces.
    with kit.Raw(shared.port) as raw:
        raw.send(wire.connect(f"{topic}p", 5))
        first, body = raw.packet()
        assert b"\x21" + wire.u16(20) in body
        raw.send(b"".join(wire.publish(topic, "x", 2, i, 5) for i in range(1, 22)))
        for i in range(1, 21):
            first, body = raw.packet()
            assert (first, body[:2]) == (wire.PUBREC << 4, wire.u16(i))
        assert raw.packet() == (wire.DISCONNECT << 4, b"\x93")
        assert raw.rest() == b""


def test_connack_announces_the_defaults(shared, topic):
    # mosquitto 2.1's values: Receive Maximum 20, Topic Alias Maximum 10, Maximum Packet Size 2,000,000
    with kit.Client(shared, f"{topic}p", version=V5) as c:
        got = c.connack
        assert (got.ReceiveMaximum, got.TopicAliasMaximum, got.MaximumPacketSize) == (20, 10, 2_000_000)


def test_subscription_identifiers(shared, topic):
    # [MQTT-3.3.4-3] [MQTT-3.3.4-4]: all identifiers of the subscriptions that match, in one copy
    with kit.Client(shared, f"{topic}s", version=V5) as s:
        identifier = lambda n: kit.properties(kit.PacketTypes.SUBSCRIBE, SubscriptionIdentifier=n)
        s.publish(f"{topic}/r", "kept", retain=True)
        for n, f in [(1, f"{topic}/#"), (268435455, f"{topic}/+/b"), (3, f"{topic}/a/+")]:
            s.subscribe(f, properties=identifier(n))
        m = s.message(f"{topic}/r", "kept")
        assert m.properties.SubscriptionIdentifier == [1]
        s.publish(f"{topic}/a/b", "all")
        assert sorted(s.message(f"{topic}/a/b").properties.SubscriptionIdentifier) == [1, 3, 268435455]
        s.subscribe(f"{topic}/a/+", properties=identifier(4))  # replaces 3 (3.8.4)
        s.subscribe(f"{topic}/+/b")                            # and this one has none now
        s.publish(f"{topic}/a/b", "fewer")
        assert sorted(s.message(f"{topic}/a/b", "fewer").properties.SubscriptionIdentifier) == [1, 4]


def test_no_local(shared, topic):
    # [MQTT-3.8.3-3]
    with Peer(shared.port, f"{topic}a", version=5) as a, Peer(shared.port, f"{topic}b", version=5) as b:
        a.subscribe(topic, qos=4 | 1)
        a.publish(topic, "own", qos=1)
        b.publish(topic, "other", qos=1)
        assert a.wait_messages(1).payloads() == [b"other"]


# ---- shared subscriptions ----

@pytest.mark.parametrize("qos", [0, 1, 2])
def test_exactly_one_member_of_a_shared_subscription_gets_a_message(shared, topic, qos):
    # 4.8.2; members on all workers, MQTT 3 and 5 together, several publishers
    n = 600
    members = [Peer(shared.port, f"{topic}m{i}", version=4 + i % 2) for i in range(6)]
    for m in members:
        assert m.subscribe(f"$share/group/{topic}/+", qos=qos) == [qos]
    everything = Peer(shared.port, f"{topic}all")
    everything.subscribe(f"{topic}/+", qos=qos)
    pubs = [Peer(shared.port, f"{topic}p{i}") for i in range(3)]
    for k, p in enumerate(pubs):
        for first in range(0, n, 200):
            p.send(b"".join(wire.publish(f"{topic}/{k}", f"{k}-{i}", qos, i + 1) for i in range(first, first + 200)))
    want = sorted(b"%d-%d" % (k, i) for k in range(3) for i in range(n))
    everything.wait_messages(3 * n)
    kit.wait_for(lambda: sum(len(m.got) for m in members) >= 3 * n, f"{3 * n} messages for the group")
    for m in members:
        m.fence()
    assert sorted(itertools.chain.from_iterable(m.payloads() for m in members)) == want
    assert sorted(everything.payloads()) == want
    assert min(len(m.got) for m in members) > 3 * n // 20, "the work is not shared"
    for peer in [*members, everything, *pubs]:
        peer.close()


def test_members_that_leave_a_shared_subscription_get_nothing_more(shared, topic):
    members = [Peer(shared.port, f"{topic}m{i}", version=5) for i in range(4)]
    full = f"$share/group/{topic}"
    for m in members:
        m.subscribe(full, qos=1)
    with Peer(shared.port, f"{topic}p", version=5) as p:
        members[0].unsubscribe(full)
        members[1].close()
        members[2].cut()

        def all_go_to_the_last():
            before = len(members[3].got)
            for i in range(8):
                p.publish(topic, f"{i}", qos=1)
            members[3].fence()
            return len(members[3].got) - before == 8

        kit.wait_for(all_go_to_the_last, "one member to get everything")
        assert members[0].fence().got == []
        members[3].unsubscribe(full)
        kit.wait_for(lambda: p.wait_ack(wire.PUBACK, p.publish(topic, "", 1))[:1] == b"\x10", "an empty group")
    members[3].close()
    members[0].close()


@pytest.mark.parametrize("leave", ["cut", "close"])
def test_what_a_member_leaves_goes_to_another(shared, topic, leave):
    # [MQTT-4.8.2-5]: at QoS 2 what was sent is lost with the session, what was not goes to another as at QoS 1
    full, n = f"$share/group/{topic}", 200
    with Peer(shared.port, f"{topic}p", version=5) as p, \
            Peer(shared.port, f"{topic}lazy", version=5, answers=False) as lazy, kit.Client(shared, f"{topic}busy") as busy:
        lazy.subscribe(full, qos=1)
        for i in range(n):
            p.publish(topic, f"{i}", qos=1)
        p.fence()
        lazy.wait_messages(20)  # its window, nothing more
        busy.subscribe(full, qos=1)
        getattr(lazy, leave)()
        assert sorted(int(busy.message(topic).payload) for _ in range(n)) == list(range(n))


def test_shared_and_normal_subscriptions_to_one_topic_are_apart(shared, topic):
    # mosquitto CVE-2024-8376: mismatched UNSUBSCRIBE was a use after free.
    full = f"$share/g/{topic}"
    with Peer(shared.port, f"{topic}s", version=5) as s, Peer(shared.port, f"{topic}p") as p:
        s.publish(topic, "kept", qos=1, retain=True)
        s.subscribe(full, qos=1)
        s.publish(topic, "shared", qos=1)  # no retained message for a shared subscription (3.8.4)
        assert s.wait_messages(1).payloads() == [b"shared"]
        s.subscribe(topic, qos=1)
        s.wait_messages(2)
        p.publish(topic, "both", qos=1)
        s.wait_messages(4)
        assert s.payloads() == [b"shared", b"kept", b"both", b"both"]
        s.unsubscribe(topic, topic, f"$share/other/{topic}")
        p.publish(topic, "one", qos=1)
        s.wait_messages(5)
        s.unsubscribe(full)
        s.unsubscribe(full)
        p.publish(topic, "none", qos=1)
        assert s.fence().payloads()[4:] == [b"one"]
        p.publish(topic, "", retain=True)


def test_two_groups_and_several_filters_are_independent(shared, topic):
    with Peer(shared.port, f"{topic}a", version=5) as a, Peer(shared.port, f"{topic}b", version=5) as b:
        for peer in a, b:
            assert peer.subscribe(f"$share/one/{topic}/#", f"$share/two/{topic}/#", f"$share/one/{topic}/+", qos=1) == [1, 1, 1]
        for i in range(30):
            a.publish(f"{topic}/x", f"{i}", qos=1)
        kit.wait_for(lambda: len(a.got) + len(b.got) >= 90, "three copies")
        got = sorted(a.fence().payloads() + b.fence().payloads())
        assert got == sorted(b"%d" % i for i in range(30) for _ in range(3))
