"""The $SYS tree."""
import json
import time

import certs
import kit
import wire


def sys_values(sub, topics):
    """The first value of each topic."""
    found = {}

    def look():
        while not sub.messages.empty():
            m = sub.messages.get()
            found[m.topic.removeprefix("$SYS/broker/")] = m.payload.decode()
        return set(topics) <= set(found)
    kit.wait_for(look, f"{topics}")
    return found


def test_the_broker_speaks_of_itself(broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 4\nsys_interval 1\n", port)
    with kit.Client(broker, "watch") as watch, kit.Client(broker, "talk") as talk:
        talk.publish("kept", "x" * 100, qos=1, retain=True)
        watch.subscribe("$SYS/#")
        seen = sys_values(watch, ["version", "uptime", "clients/connected", "load/messages/received/15min"])
        assert seen["version"].startswith("signet version ")
        assert seen["uptime"].endswith(" seconds")
        # Whatever was true at the first look, the next ones bring what is true now.
        want = {"clients/connected": "2", "clients/total": "2", "clients/maximum": "2", "subscriptions/count": "1",
                "publish/messages/received": "1", "publish/bytes/received": "100"}

        def look():
            while not watch.messages.empty():
                m = watch.messages.get()
                seen[m.topic.removeprefix("$SYS/broker/")] = m.payload.decode()
            return all(seen.get(topic) == value for topic, value in want.items())
        try:
            kit.wait_for(look, "the counters")
        except AssertionError:
            raise AssertionError(f"{want} is not in {seen}") from None
        assert int(seen["retained messages/count"]) > 20
        assert int(seen["bytes/received"]) > 100 and "heap/current" in seen
        # '#' does not match $SYS [MQTT-4.7.2-1], and nobody else speaks there.
        talk.publish("$SYS/broker/version", "forged", qos=1, retain=True)
        with kit.Client(broker, "late") as late:
            late.subscribe("$SYS/broker/version", "#")
            got = [late.message() for _ in range(2)]  # they live in different places: any order
            assert {m.topic for m in got} == {"$SYS/broker/version", "kept"} and all(m.retain for m in got)
            assert not any(m.payload == b"forged" for m in got)


def test_every_topic_of_mosquitto_is_there(broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n", port)
    averages = [f"load/{what}/{minutes}min" for minutes in (1, 5, 15) for what in
                ("connections", "bytes/received", "bytes/sent", "messages/received", "messages/sent", "publish/dropped",
                 "publish/received", "publish/sent", "sockets")]
    with kit.Client(broker, "watch") as watch:
        watch.publish("kept", "x" * 1000, qos=1, retain=True)
        watch.subscribe("$SYS/#")
        # mosquitto(8), BROKER STATUS; its source says heap/current where the page says "heap/current size".
        seen = sys_values(watch, averages + [
            "bytes/received", "bytes/sent", "clients/connected", "clients/active", "clients/expired", "clients/disconnected",
            "clients/inactive", "clients/maximum", "clients/total", "heap/current", "heap/maximum", "messages/inflight",
            "messages/received", "messages/sent", "messages/stored", "publish/messages/dropped", "publish/messages/received",
            "publish/messages/sent", "retained messages/count", "store/messages/count", "store/messages/bytes",
            "subscriptions/count", "version"])
        while int(seen["store/messages/bytes"]) <= 1000:
            seen.update(sys_values(watch, ["store/messages/bytes"]))
        assert seen["messages/inflight"] == "0"


def test_no_interval_no_tree(broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 0\n", port)
    with kit.Client(broker, "watch") as watch:
        watch.subscribe("$SYS/#", "fence")
        watch.publish("fence", "x", qos=1)
        watch.message("fence", "x")


class Reader:
    """All that was said on topics with JSON."""

    def __init__(self, client, *topics):
        self.client, self.said = client, {topic: [] for topic in topics}
        client.subscribe(*("$SYS/broker/" + t for t in topics))

    def find(self, topic, ok):
        """The first for which <ok> is true."""
        end = time.monotonic() + 2 * kit.PATIENCE
        while time.monotonic() < end:
            for value in self.said[topic]:
                if ok(value):
                    return value
            self.take(self.client.message())
        raise AssertionError(f"waited for {topic} in vain: {self.said[topic][-3:]}")

    def until(self, topic, ok, do):
        """<do> is done again and again until something is said for which <ok> is true; how often."""
        end, n = time.monotonic() + 2 * kit.PATIENCE, 0
        while not any(map(ok, self.said[topic])):
            assert time.monotonic() < end, f"waited for {topic} in vain: {self.said[topic][-3:]}"
            do()
            n += 1
            self.catch_up()
        return n

    def take(self, m):
        self.said[m.topic.removeprefix("$SYS/broker/")].append(json.loads(m.payload))

    def catch_up(self):
        while not self.client.messages.empty():
            self.take(self.client.message())


def test_the_last_hour_and_what_is_wrong_are_there_for_whoever_comes(broker_of):
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 2\nsys_interval 1\nclientid_prefixes ok-\nmax_queued_messages 2\n", port)

    def rows(figures):
        """By their numbers."""
        assert figures["interval"] == 1 and figures["fields"][0] == "time" and figures["fields"][-1] == "causes"
        return {figures["first"] + i: dict(zip(figures["fields"], x, strict=True)) for i, x in enumerate(figures["samples"])}

    def refusals(alarms):
        return [a for a in alarms if a["name"] == "refusals"]

    with kit.Client(broker, "ok-client") as client:
        reader = Reader(client, "alarms", "refusals", "health/recent", "health/history")
        assert not refusals(reader.find("alarms", lambda _: True))

        def knock():
            with kit.Raw(port) as raw:
                raw.send(wire.connect("wrong"))
                raw.rest()
        n = reader.until("alarms", refusals, knock)
        alarm = refusals(reader.find("alarms", refusals))[0]
        assert alarm["level"] == "warning" and "for client-id-prefix" in alarm["text"] and "signet why" in alarm["remedy"] and n >= 30
        reader.find("refusals", lambda r: r == {"client-id-prefix": n})
        with kit.Client(broker, "ok-away", clean=False) as away:
            away.subscribe("away", qos=1)
        reader.until("alarms", lambda a: any(x["name"] == "messages-dropped" and x["text"].endswith("for queue-full") for x in a),
                     lambda: client.publish("away", "x", qos=1))
        # The figures have them, too, and those of its own packets.
        client.publish("a", "x", qos=1)
        seen = {}

        def whole(figures):
            seen.update(rows(figures))
            return sum(r["causes"].get("client-id-prefix", 0) for r in seen.values()) == n and any(r["messages_in"] > 0 for r in seen.values())
        reader.find("health/recent", whole)
        assert sorted(seen) == list(range(min(seen), max(seen) + 1)) and any(r["latency_max"] for r in seen.values())
        last = seen[max(seen)]
        assert last["connections"] >= 1 and last["flush_p50"] is None and last["lag_p99"] >= last["lag_p50"] > 0
        assert all(len(x["samples"]) <= 12 for x in reader.said["health/recent"])
        # The first history there was is that of nothing yet.
        history = rows(reader.find("health/history", lambda h: h["samples"]))
        assert set(history) & set(seen) and all(seen.get(k, row) == row for k, row in history.items())


def test_certificates_that_end_are_told_of_in_time(broker_of, tmp_path):
    ca = certs.Ca(tmp_path / "ca", "<i>CA</i>")
    short = certs.Ca(tmp_path / "short", "Ends soon", issuer=ca, end=certs.now() + certs.days(20))
    chain = tmp_path / "cas.pem"
    chain.write_text(ca.pem + short.pem)

    def conf(days):
        files = ca.leaf("localhost", usage=(certs.SERVER_AUTH,), begin=certs.now() - certs.days(200), end=certs.now() + certs.days(days))
        files["cert"].chmod(0o644)
        return files["cert"], (f"{kit.STAY_ROOT}sys_interval 1\nlistener {port} 127.0.0.1\nallow_anonymous true\ncafile {chain}\n"
                               f"certfile {files['cert']}\nkeyfile {files['key']}\n")
    port = kit.free_port()
    cert, text = conf(13)
    broker = broker_of(text, port)
    with kit.Client(broker, "watch", context=kit.tls_context({}, verify=False)) as watch:
        reader = Reader(watch, "alarms")
        both = {"certificate", "ca-certificate"}
        alarms = {a["name"]: a for a in reader.find("alarms", lambda a: both <= {x["name"] for x in a}) if a["name"] in both}
        assert str(cert) in alarms["certificate"]["text"] and " ends on 2" in alarms["certificate"]["text"] and "SIGHUP" in alarms["certificate"]["remedy"]
        assert "Ends soon" in alarms["ca-certificate"]["text"] and {a["level"] for a in alarms.values()} == {"warning"}
        broker.wait_log(rf"ALARM: the broker's certificate {cert} ends on ")
        broker.conf.write_text(conf(90)[1])
        broker.reload("Reloaded:")
        assert [a["name"] for a in reader.find("alarms", lambda a: "certificate" not in [x["name"] for x in a]) if a["name"].endswith("certificate")] == ["ca-certificate"]
