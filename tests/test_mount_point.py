"""mount_point: who sees which topics, with Debian's clients, beside mosquitto."""
import subprocess

import clienttools
import kit
import pytest
from kit import Client, wait_for

CONFIG = """listener {} 127.0.0.1
allow_anonymous true
listener {} 127.0.0.1
allow_anonymous true
mount_point a/
listener {} 127.0.0.1
allow_anonymous true
mount_point b/
"""


def publish(port, *words):
    done = kit.mosquitto("mosquitto_pub", "-h", "127.0.0.1", "-p", port, *words)
    assert done.returncode == 0, done.stderr


def listen(port, count, *words):
    """Retained messages that mosquitto_sub prints, sorted: they have no order."""
    done = kit.mosquitto("mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-v", "-C", count, *words)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


@pytest.fixture
def ports():
    return [kit.free_port() for _ in range(3)]


def fill(ports):
    for number, port in enumerate(ports):
        for qos in range(3):
            publish(port, "-V", "mqttv5" if qos == 1 else "mqttv311", "-q", qos, "-r", "-t", f"t/{qos}", "-m", f"from {number}")
    publish(ports[1], "-r", "-t", "$SYS/own", "-m", "mine")
    publish(ports[0], "-r", "-t", "a/x", "-m", "to a")


def test_what_is_seen(broker_of, ports):
    broker = broker_of(CONFIG.format(*ports) + "workers 2\n" + kit.STAY_ROOT, ports)
    fill(ports)
    everything = [f"{mount}t/{qos} from {n}" for n, mount in enumerate(["", "a/", "b/"]) for qos in range(3)]
    everything += ["a/$SYS/own mine", "a/x to a"]
    assert listen(ports[0], 11, "-t", "#") == sorted(everything)
    assert listen(ports[1], 5, "-t", "#", "-q", 2) == ["$SYS/own mine", "t/0 from 1", "t/1 from 1", "t/2 from 1", "x to a"]
    assert listen(ports[2], 3, "-t", "+/+", "-V", "mqttv5") == ["t/0 from 2", "t/1 from 2", "t/2 from 2"]
    # Live, shared, and by topic alias; the other side hears nothing.
    with Client(broker, "a", port=ports[1]) as a, Client(broker, "b", port=ports[2]) as b, Client(broker, "all") as everybody:
        a.subscribe("$share/g/live/+", qos=1)
        b.subscribe("live/+", qos=1)
        everybody.subscribe("+/live/#", qos=1)
        a.publish("live/1", "one", qos=1)
        a.message("live/1", b"one")
        everybody.message("a/live/1", b"one")
        everybody.publish("b/live/2", "two", qos=1)
        b.message("live/2", b"two")
    # The mount point stays until the next start.
    broker.conf.write_text(broker.conf.read_text().replace("mount_point b/", "mount_point c/"))
    broker.reload()
    assert listen(ports[2], 1, "-t", "t/0") == ["t/0 from 2"]


@pytest.mark.skipif(clienttools.mosquitto_broker() is None, reason="mosquitto is not installed")
def test_the_other_listeners_see_what_they_see_with_mosquitto(broker_of, ports, tmp_path):
    seen = []
    broker_of(CONFIG.format(*ports) + kit.STAY_ROOT, ports)
    theirs = [kit.free_port() for _ in range(3)]
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(CONFIG.format(*theirs))
    with open(tmp_path / "mosquitto.log", "wb") as log:
        process = subprocess.Popen([clienttools.mosquitto_broker(), "-c", str(conf)], stdout=log, stderr=log)
    try:
        wait_for(lambda: all(kit.mosquitto("mosquitto_pub", "-h", "127.0.0.1", "-p", p, "-t", "x", "-m", "").returncode == 0 for p in theirs),
                 "mosquitto")
        for three in (ports, theirs):
            fill(three)
            seen.append(listen(three[0], 11, "-t", "#"))
    finally:
        process.terminate()
        process.wait(kit.PATIENCE)
    assert seen[0] == seen[1]
