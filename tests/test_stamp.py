"""publisher_stamp: MQTT 5 subscribers are told who published, and nobody else can say so."""
import hashlib
import ssl

import kit
import pytest
import wire

POLICY = "connect everyone\nallow everyone publish,subscribe #\n"


def pairs(message):
    return list(getattr(message.properties, "UserProperty", []))


def fingerprint(path):
    """SHA-256 of the first certificate in a file."""
    end = "-----END CERTIFICATE-----\n"
    text = path.read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN"):text.index(end) + len(end)])).hexdigest()


@pytest.fixture
def stamps(pki, broker_of, tmp_path):
    """A broker with a TLS listener for certificates and a plain one for anybody; what is said of one device."""
    (tmp_path / "policy").write_text(POLICY)
    secure, plain = kit.free_port(), kit.free_port()
    files = pki.device("stamp-dev")

    def start(*lines, **replace):
        conf = pki.conf(secure, f"listener {plain} 127.0.0.1", "listener_allow_anonymous true", *lines, policy=tmp_path / "policy", **replace)
        return broker_of(conf, [secure, plain])

    stamp = [("signet-publisher", "stamp-dev"), ("signet-role", "client"), ("signet-fingerprint", fingerprint(files["cert"]))]
    return start, secure, plain, files, stamp


def publish(port, files, message, *words, version="mqttv5"):
    done = kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", port, *kit.tls_words(files), "-i", "stamp-dev", "-V", version, "-q", 1,
                         "-t", "x/dev", "-m", message, *words)
    assert done.returncode == 0, done.stderr


FORGED = ("-D", "publish", "user-property", "signet-role", "cloud", "-D", "publish", "user-property", "k", "v")


def test_real_clients(stamps):
    start, secure, plain, files, stamp = stamps
    broker = start("publisher_stamp true")
    with kit.Client(broker, "sub", version=kit.V5, port=plain) as sub, kit.Client(broker, "old", port=plain) as old:
        sub.subscribe("#", qos=1)
        old.subscribe("#", qos=1)
        publish(secure, files, "one", *FORGED)
        assert pairs(sub.message("x/dev", "one")) == [("k", "v"), *stamp]
        publish(secure, files, "two", version="mqttv311")
        assert pairs(sub.message("x/dev", "two")) == stamp
        old.message("x/dev", "one")
        old.message("x/dev", "two")
        with kit.Raw(plain) as raw:
            raw.connect("nobody", version=5)
            raw.send(wire.publish("x/n", "three", version=5, properties=wire.user_property("Signet-Publisher", "stamp-dev")))
            assert pairs(sub.message("x/n", "three")) == [("signet-publisher", "")]
        with kit.Raw(plain) as raw:  # a forged will
            raw.send(wire.connect("w", 5, will=("x/w", "will", 0, False, wire.user_property("signet-fingerprint", "00"))))
            assert raw.packet()[0] == 0x20
        assert pairs(sub.message("x/w", "will")) == [("signet-publisher", "")]


def test_off_unless_asked_for(stamps):
    start, secure, plain, files, _ = stamps
    broker = start()
    with kit.Client(broker, "sub", version=kit.V5, port=plain) as sub:
        sub.subscribe("#", qos=1)
        publish(secure, files, "one", *FORGED)
        assert pairs(sub.message("x/dev", "one")) == [("signet-role", "cloud"), ("k", "v")]


def test_switched_on_over_a_store(stamps, tmp_path):
    """What was kept before loses what looks like a stamp; what is kept now has its own after the next start."""
    start, secure, plain, files, stamp = stamps
    kept = {"persistence": "true", "persistence_location": f"{tmp_path}/data/"}
    (tmp_path / "data").mkdir(mode=0o777)
    (tmp_path / "data").chmod(0o777)
    broker = start(**kept)
    publish(secure, files, "before", "-r", *FORGED)
    broker.stop()
    expected = [("k", "v")]
    for payload in ("before", "after"):
        broker = start("publisher_stamp true", **kept)
        with kit.Client(broker, "sub", version=kit.V5, port=plain) as sub:
            sub.subscribe("x/dev", qos=1)
            assert pairs(sub.message("x/dev", payload)) == expected
        publish(secure, files, "after", "-r", *FORGED)
        expected = [("k", "v"), *stamp]
        broker.stop()


def test_over_a_bridge(stamps, broker_of):
    """What a remote broker says of its publishers is not this one's to vouch for: the bridge is the publisher here."""
    start, secure, plain, files, _ = stamps
    remote = start("publisher_stamp true")
    port = kit.free_port()
    local = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\npublisher_stamp true\nconnection far\naddress 127.0.0.1:{plain}\n"
                      f"bridge_protocol_version mqttv50\nnotifications false\nlocal_username the-bridge\ntopic x/# in 1\n", port)
    local.wait_log(r"bridge.*far")
    with kit.Client(local, "sub", version=kit.V5) as sub:
        sub.subscribe("#", qos=1)

        def arrived():
            publish(secure, files, "far", *FORGED)
            return not sub.messages.empty()

        kit.wait_for(arrived, "a message over the bridge")
        assert pairs(sub.message("x/dev", "far")) == [("k", "v"), ("signet-publisher", "the-bridge")]
    assert remote.process.poll() is None
