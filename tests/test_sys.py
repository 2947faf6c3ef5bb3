"""The $SYS tree."""
import kit


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
