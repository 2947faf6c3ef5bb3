"""Bridges to and from mosquitto and between two of us: directions, names, QoS, restarts of either side, TLS, loops."""
import re
import signal
import socket
import subprocess
import time

import pytest

import kit
from kit import Client, wait_for

MANY = 40


class Mosquitto:
    """The counterpart. Its sessions outlive a kill only with <lasting>."""

    def __init__(self, directory, port, *lines):
        self.dir, self.port = directory, port
        self.dir.mkdir(parents=True, exist_ok=True)
        self.conf, self.log_file = directory / "mosquitto.conf", directory / "mosquitto.log"
        self.conf.write_text("\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", "log_type all", "user root",
                                        "max_queued_messages 0", *lines]) + "\n")
        self.process = None

    def start(self):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(self.conf)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self.listens, f"mosquitto on {self.port}")
        return self

    def listens(self):
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_log(self, pattern, after=0):
        return wait_for(lambda: re.search(pattern, self.log()[after:]), f"{pattern!r} in mosquitto's log")

    def mark(self):
        return len(self.log())

    def stop(self, sig=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(kit.PATIENCE)


@pytest.fixture
def mosquitto_of(tmp_path):
    running = []

    def make(port, *lines):
        running.append(Mosquitto(tmp_path / f"mosquitto{len(running)}", port, *lines))
        return running[-1].start()

    yield make
    for m in running:
        m.stop()


def ours(port, *lines):
    return "\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0", "workers 3", *lines]) + "\n" + kit.STAY_ROOT


def bridge(port, *lines, name="br", host="127.0.0.1"):
    return [f"connection {name}", f"address {host}:{port}", "restart_timeout 1", *lines]


TOPICS = ["topic o/# out 2 L/ R/", "topic i/# in 2 L/ R/", "topic b/# both 1", 'topic "" out 1 one two']


@pytest.fixture(params=["mqttv31", "mqttv311", "mqttv50"])
def version(request):
    return request.param


@pytest.fixture(params=["to-mosquitto", "from-mosquitto", "between-ours"])
def pair(request, version, broker_of, mosquitto_of):
    """The side that has the bridge, and the other; both with .port."""
    here, there = kit.free_port(), kit.free_port()
    lines = bridge(there, f"bridge_protocol_version {version}", *TOPICS)
    if request.param == "to-mosquitto":
        far = mosquitto_of(there)
        near = broker_of(ours(here, *lines), here)
    elif request.param == "from-mosquitto":
        far = broker_of(ours(there), there)
        near = mosquitto_of(here, *lines)
    else:
        far = broker_of(ours(there), there)
        near = broker_of(ours(here, *lines), here)
    with Client(far) as c:
        c.subscribe("$SYS/broker/connection/+/state", qos=1)
        wait_for(lambda: c.message().payload == b"1", "the bridge's notification")
        # It is there before the subscriptions: what is published now passes when they are, too.
        wait_for(lambda: passes(near, far), "the way out")
        wait_for(lambda: passes(far, near), "the way back")
    return near, far


def passes(source, sink):
    with Client(source) as a, Client(sink) as b:
        b.subscribe("b/probe")
        a.publish("b/probe", "x", 1)
        try:
            b.message(seconds=1)
            return True
        except AssertionError:
            return False


def test_directions_and_names(pair):
    near, far = pair
    with Client(near) as n, Client(far) as f:
        n.subscribe("#", qos=2)
        f.subscribe("#", qos=2)
        for qos in range(3):
            n.publish("L/o/x", f"out{qos}", qos)
            n.message("L/o/x")
            assert f.message("R/o/x", f"out{qos}").qos == qos
            f.publish("R/i/x", f"in{qos}", qos)
            f.message("R/i/x")
            assert n.message("L/i/x", f"in{qos}").qos == qos
        n.publish("one", "renamed", 1)
        n.message("one")
        f.message("two", "renamed")
        # Not against the direction.
        f.publish("R/o/x", "no", 1)
        f.message("R/o/x")
        n.publish("L/i/x", "no", 1)
        n.message("L/i/x")
        f.publish("R/i/end", "end", 1)
        n.message("L/i/end")


def test_nothing_circulates(pair):
    near, far = pair
    with Client(near) as n, Client(far) as f:
        n.subscribe("#", qos=2)
        f.subscribe("#", qos=2)
        for i in range(5):
            n.publish("b/x", f"n{i}", 1)
            f.message("b/x", f"n{i}")
            n.message("b/x", f"n{i}")
            f.publish("b/x", f"f{i}", 1)
            n.message("b/x", f"f{i}")
            f.message("b/x", f"f{i}")
        # What circulates would stand in front of these.
        for source in n, f:
            source.publish("b/x", "end", 1)
            n.message("b/x", "end")
            f.message("b/x", "end")
        assert n.messages.empty() and f.messages.empty()


def test_retained(pair):
    near, far = pair
    with Client(near) as n, Client(far) as f:
        n.publish("L/o/kept", "k1", 1, retain=True)
        f.publish("R/i/kept", "k2", 1, retain=True)

    def kept(broker, topic, payload):
        with Client(broker) as c:
            c.subscribe(topic, qos=1)
            try:
                m = c.message(topic, payload, seconds=1)
            except AssertionError:
                return False
            return m.retain  # else it has just come, live
    wait_for(lambda: kept(far, "R/o/kept", "k1"), "the retained message there")
    wait_for(lambda: kept(near, "L/i/kept", "k2"), "the retained message here")


def numbers(client, n):
    """Payloads until all of range(n) have come; QoS 1 may repeat."""
    seen = []
    while len(set(seen)) < n:
        seen.append(int(client.message().payload))
    return seen


def arrived(far, qos, after=0):
    """Packet ids under which the bridge's messages came to mosquitto, by its log: nobody has to be subscribed in time."""
    return re.findall(rf"Received PUBLISH from \S+\.br \(d\d, q{qos}, r0, m(\d+), 'o/x'", far.log()[after:])


@pytest.mark.parametrize("qos", [1, 2])
def test_the_remote_is_killed(broker_of, mosquitto_of, qos):
    """What was acknowledged here while mosquitto was away arrives there: before it was ever seen, and after it was killed."""
    here, there = kit.free_port(), kit.free_port()
    near = broker_of(ours(here, *bridge(there, f"topic o/# out {qos}")), here)
    near.wait_log("cannot connect")
    with Client(near) as n:
        for i in range(MANY):
            n.publish("o/x", str(i), qos)
        far = mosquitto_of(there)
        wait_for(lambda: len(set(arrived(far, qos))) >= MANY, "all messages")
        far.wait_log(r"Sending PUBCOMP to \S+\.br \(m%d" % (MANY + 1) if qos == 2 else "PUBACK")
        assert len(arrived(far, qos)) == MANY
        mark, before = near.mark(), far.mark()
        far.stop(signal.SIGKILL)
        near.wait_log("is not connected", mark)
        for i in range(MANY):
            n.publish("o/x", str(i), qos)
        far.start()
        wait_for(lambda: len(set(arrived(far, qos, before))) >= MANY, "all messages after the kill")


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_we_are_restarted(broker_of, mosquitto_of, sig):
    """What waits in mosquitto for the bridge arrives when we are back."""
    here, there = kit.free_port(), kit.free_port()
    far = mosquitto_of(there)
    near = broker_of(ours(here, *bridge(there, "topic i/# in 1")), here)
    near.wait_log("is connected")
    far.wait_log(r"Received SUBSCRIBE from \S+\.br")
    near.stop(sig)
    with Client(far) as f:
        for i in range(MANY):
            f.publish("i/x", str(i), 1)
    # The bridge takes what waits as soon as it is there: a message that is retained here says all arrived.
    with Client(far) as f:
        f.publish("i/end", "end", 1, retain=True)
    near.start()
    with Client(near) as n:
        n.subscribe("i/end", qos=1)
        n.message("i/end", "end")
    # Every one was handed to the bridge, and acknowledged by it; that is what says that it arrived here.
    wait_for(lambda: len(re.findall(r"Received PUBACK from \S+\.br ", far.log())) >= MANY, "all acknowledgements")
    assert far.log().count(", 'i/x', ...") >= 2 * MANY


def test_between_ours_through_restarts(broker_of):
    here, there = kit.free_port(), kit.free_port()
    far = broker_of(ours(there), there)
    near = broker_of(ours(here, *bridge(there, "bridge_protocol_version mqttv50", "bridge_session_expiry_interval 3600", "topic b/# both 1")), here)
    near.wait_log("is connected")
    far.stop(signal.SIGKILL)
    with Client(near) as n:
        for i in range(MANY):
            n.publish("b/x", str(i), 1, retain=i == MANY - 1)
    mark = near.mark()
    far.start()
    near.wait_log("is connected", mark)
    with Client(far) as f:
        f.subscribe("b/x", qos=1)
        wait_for(lambda: f.message().payload == str(MANY - 1).encode(), "the last message")


def test_tls_is_verified(pki, broker_of, tmp_path):
    """By name and by CA; the client certificate is the bridge's identity."""
    there, here, other, third = (kit.free_port() for _ in range(4))
    far = broker_of(pki.conf(there), there)
    mine = pki.device("bridge1")
    secure = [f"bridge_cafile {mine['ca']}", f"bridge_certfile {mine['cert']}", f"bridge_keyfile {mine['key']}"]
    near = broker_of(ours(here, *bridge(there, "remote_clientid bridge1", "notifications false", *secure,
                                        f"topic {kit.PREFIX}/x out 1", host="localhost")), here)
    near.wait_log("is connected")
    far.wait_log("New client connected from .* as bridge1")
    wrong = broker_of(ours(other, *bridge(there, "remote_clientid bridge1", *secure, "topic a out", host="127.0.0.2")), other)
    said = wrong.wait_log("Bridge br cannot connect to 127.0.0.2.*")
    assert re.search("refused: IP address mismatch.*Remedy", said.string), said.string
    foreign_ca(tmp_path / "foreign.pem")
    foreign = broker_of(ours(third, *bridge(there, "topic a out", f"bridge_cafile {tmp_path / 'foreign.pem'}", host="localhost")), third)
    said = foreign.wait_log("Bridge br cannot connect to localhost.*")
    assert re.search("its certificate is refused: .*certificate.*Remedy", said.string), said.string


def foreign_ca(path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj", "/CN=foreign",
                    "-keyout", str(path) + ".key", "-out", str(path)], check=True, capture_output=True)


def test_notifications(broker_of, mosquitto_of):
    here, there = kit.free_port(), kit.free_port()
    near = broker_of(ours(here, *bridge(there, "topic a out", "remote_clientid far.name", "notification_topic state/br")), here)
    near.wait_log("cannot connect")
    with Client(near) as n:
        n.subscribe("state/br", qos=1)
        m = n.message("state/br", "0")
        assert m.retain
        far = mosquitto_of(there)
        n.message("state/br", "1")
        with Client(far) as f:
            f.subscribe("state/br", qos=1)
            f.message("state/br", "1")
            near.stop(signal.SIGKILL)
            f.message("state/br", "0")


@pytest.mark.parametrize("round_robin", ["false", "true"])
def test_addresses(broker_of, mosquitto_of, round_robin):
    """The second serves while the first is away; which one is returned to depends."""
    here, first, second = (kit.free_port() for _ in range(3))
    fallback = mosquitto_of(second)
    near = broker_of(ours(here, "connection br", f"address 127.0.0.1:{first} 127.0.0.1:{second}", "restart_timeout 1",
                          f"round_robin {round_robin}", "topic a out 1"), here)
    near.wait_log(f"cannot connect to 127.0.0.1:{first}")
    near.wait_log(f"is connected to 127.0.0.1:{second}")
    mosquitto_of(first)
    mark = near.mark()
    if round_robin == "false":
        near.wait_log(f"is connected to 127.0.0.1:{first}", mark)
    else:
        fallback.stop()
        near.wait_log(f"is connected to 127.0.0.1:{first}", mark)


def test_lazy(broker_of, mosquitto_of):
    here, there = kit.free_port(), kit.free_port()
    far = mosquitto_of(there)
    near = broker_of(ours(here, *bridge(there, "topic a out 1", "start_type lazy", "threshold 3", "idle_timeout 1")), here)
    with Client(near) as n, Client(far) as f:
        f.subscribe("a", qos=1)
        n.publish("a", "0", 1)
        n.publish("a", "1", 1)
        time.sleep(1)  # nothing is to happen: there is no event to wait for
        assert "is connected" not in near.log()
        n.publish("a", "2", 1)
        assert numbers(f, 3)[:1] == [0]
        near.wait_log("is not connected.*stopped")


def test_once_and_manual(broker_of, mosquitto_of):
    here, there, nowhere = (kit.free_port() for _ in range(3))
    far = mosquitto_of(there)
    near = broker_of(ours(here, *bridge(there, "topic a out 1", "start_type once"), *bridge(nowhere, "topic a out", "start_type manual", name="m")), here)
    near.wait_log("Bridge m is not started")
    near.wait_log("Bridge br is connected")
    far.stop()
    near.wait_log("Bridge br is not connected")
    time.sleep(1.5)  # longer than restart_timeout: nothing is to happen
    assert near.log().count("Connecting bridge") == 1


@pytest.mark.parametrize("kind", ["lazy", "immediate"])
def test_reload(broker_of, mosquitto_of, kind):
    here, there = kit.free_port(), kit.free_port()
    far = mosquitto_of(there)
    near = broker_of(ours(here, *bridge(there, "topic a out 1", f"bridge_reload_type {kind}")), here)
    near.wait_log("is connected")
    near.conf.write_text(ours(here, *bridge(there, "topic b out 1", f"bridge_reload_type {kind}"), *bridge(there, "topic c out 1", name="new")))
    mark = near.mark()
    near.reload()
    near.wait_log("Bridge br has changed", mark)
    near.wait_log("Bridge new is connected", mark)
    if kind == "lazy":
        far.stop()
        far.start()
    near.wait_log("Bridge br is connected", mark)
    with Client(near) as n, Client(far) as f:
        f.subscribe("#", qos=1)
        n.publish("a", "old", 1)
        n.publish("b", "new", 1)
        f.message("b", "new")
    near.conf.write_text(ours(here, *bridge(there, "topic c out 1", name="new")))
    near.reload()
    near.wait_log("Bridge br is not connected.*stopped", mark)
    near.conf.write_text(ours(here, *bridge(there, "topic c sideways", name="new")))
    near.reload("Reload failed.*direction")


def test_refused_by_name(tmp_path):
    conf = tmp_path / "c.conf"
    for line in ("bridge_psk 00", "bridge_identity me", "bridge_require_ocsp true", "bridge_ciphers x"):
        conf.write_text(f"connection b\naddress h\ntopic a\n{line}\n")
        result = kit.signet("broker", "--test-config", "-c", conf, check=False)
        assert result.returncode != 0 and f"c.conf:4: {line.split()[0]}:" in result.stderr, result.stderr


PSK = "000102030405060708090a0b0c0d0e0f"


@pytest.mark.parametrize("remote", ["mosquitto", "ours"])
def test_pre_shared_key(remote, tmp_path, broker_of, mosquitto_of):
    """bridge_identity and bridge_psk; a wrong key is no way in."""
    here, there, keys = kit.free_port(), kit.free_port(), tmp_path / "psk"
    keys.write_text(f"plant:{PSK}\n")
    keys.chmod(0o644)
    lines = ["psk_hint h", f"psk_file {keys}"]
    far = mosquitto_of(there, *lines) if remote == "mosquitto" else broker_of(ours(there, *lines), there)
    conf = ours(here, *bridge(there, "topic # out 1", "bridge_identity plant", "bridge_psk {}", "notifications false",
                              "bridge_tcp_keepalive 10 5 3", "bridge_tcp_user_timeout 9000"))
    near = broker_of(conf.format(PSK[:-2] + "00"), here)
    near.wait_log("Bridge br cannot connect to ")
    near.conf.write_text(conf.format(PSK))
    near.reload()
    near.wait_log("Bridge br is connected to ")
    assert PSK not in near.log() and far is not None


def test_the_machines_cas(pki, broker_of):
    """bridge_tls_use_os_certs: whom OpenSSL trusts here, and nobody else."""
    there, here, other = (kit.free_port() for _ in range(3))
    broker_of(pki.conf(there), there)
    files = pki.device("bridge3")
    lines = ours(here, *bridge(there, f"topic {kit.PREFIX}/x out 1", "remote_clientid bridge3", "notifications false", "bridge_tls_use_os_certs true",
                               f"bridge_certfile {files['cert']}", f"bridge_keyfile {files['key']}", host="localhost"))
    near = broker_of(lines, here, env={"SSL_CERT_FILE": str(files["ca"])})
    near.wait_log("Bridge br is connected to ")
    stranger = broker_of(lines.replace(f"listener {here}", f"listener {other}"), other, env={"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nonexistent"})
    stranger.wait_log("Bridge br cannot connect to localhost.*its certificate is refused")


def test_ciphers_are_obeyed(pki, broker_of):
    here, there = kit.free_port(), kit.free_port()
    files = pki.device("bridge2")
    far = broker_of(pki.conf(there), there)
    tls = [f"bridge_cafile {files['ca']}", f"bridge_certfile {files['cert']}", f"bridge_keyfile {files['key']}",
           "bridge_ciphers_tls1.3 TLS_CHACHA20_POLY1305_SHA256", "bridge_ciphers ECDHE-ECDSA-AES256-GCM-SHA384"]
    near = broker_of(ours(here, *bridge(there, f"topic {kit.PREFIX}/x out 1", "remote_clientid bridge2", "notifications false", *tls, host="localhost")), here)
    near.wait_log("Bridge br is connected to ")
    near.conf.write_text(near.conf.read_text().replace("TLS_CHACHA20_POLY1305_SHA256", "TLS_NOTHING"))
    near.reload("Reload failed, .*ciphers_tls1.3 TLS_NOTHING")
    assert far is not None
