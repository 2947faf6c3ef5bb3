"""Single directives of mosquitto.conf, through the whole broker."""
import itertools
import os
import ssl

import certs
import kit
import pytest
import wire


def open_broker(broker_of, *lines):
    port = kit.free_port()
    text = "".join(line + "\n" for line in lines)
    return broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nworkers 2\n{kit.STAY_ROOT}{text}", port), port


def refused(port, packet):
    """What comes before the broker closes."""
    with kit.Raw(port) as raw:
        return raw.send(packet).rest()


def test_message_size_limit(broker_of):
    broker, port = open_broker(broker_of, "message_size_limit 10")
    with kit.Client(broker, "sub") as sub:
        sub.subscribe("#", qos=1)
        for version in (4, 5):
            with kit.Raw(port) as raw:
                raw.connect("pub", version=version)
                raw.send(wire.publish("t", "x" * 11, qos=1, packet_id=7, version=version))
                first, body = raw.packet()
                assert first >> 4 == wire.PUBACK and body[:2] == b"\0\7"
                assert body[2:3] == (b"\x95" if version == 5 else b"")
                raw.send(wire.publish("t", "y" * 10, qos=1, packet_id=7, version=version))
                assert raw.packet()[0] >> 4 == wire.PUBACK
            sub.message("t", "y" * 10)
    will = ("w", "x" * 11, 0, False, b"")
    assert refused(port, wire.connect("w", 4, will=will)) == b"\x20\2\0\5"
    assert refused(port, wire.connect("w", 5, will=will)) == b"\x20\3\0\x95\0"
    assert "message_size_limit [message-size]" in broker.log()


def test_accept_protocol_versions(broker_of):
    broker, port = open_broker(broker_of, "accept_protocol_versions 4, 5")
    assert refused(port, wire.connect("a", 3)) == b"\x20\2\0\1"
    for version in (4, 5):
        with kit.Raw(port) as raw:
            first, body = raw.connect("a", version=version)
            assert (first, body[1]) == (0x20, 0)
    assert "[mqtt-version]" in broker.log()
    broker.conf.write_text(broker.conf.read_text().replace("versions 4, 5", "versions 3 4"))
    broker.reload()
    assert refused(port, wire.connect("a", 5)) == b"\x20\3\0\x84\0"
    assert kit.Raw(port).send(wire.connect("a", 3)).packet() == (0x20, b"\0\0")


def test_upgrade_outgoing_qos(broker_of):
    broker, _ = open_broker(broker_of, "upgrade_outgoing_qos true", "retain_expiry_interval 1")
    with kit.Client(broker, "pub") as pub, kit.Client(broker, "sub") as sub:
        sub.subscribe("t", qos=2)
        for qos in (0, 1, 2):
            pub.publish("t", f"at {qos}", qos=qos)
            assert sub.message("t", f"at {qos}").qos == 2


def test_max_inflight_bytes(broker_of):
    broker, port = open_broker(broker_of, "max_inflight_bytes 100")
    with kit.Client(broker, "pub") as pub, kit.Raw(port) as sub:
        sub.connect("sub")
        sub.send(wire.subscribe("t", options=1))
        assert sub.packet()[0] >> 4 == wire.SUBACK
        for n in range(3):
            pub.publish("t", bytes([n]) * 60, qos=1)
        ids = []
        for n in range(2):
            first, body = sub.packet()
            assert first >> 4 == wire.PUBLISH and body[5:] == bytes([n]) * 60
            ids.append(int.from_bytes(body[3:5], "big"))
        sub.send(wire.PING)
        assert sub.packet()[0] >> 4 == wire.PINGRESP  # and not the third
        sub.send(wire.ack(wire.PUBACK, ids[0]))
        assert sub.packet()[1][5:] == bytes([2]) * 60


def test_global_max_connections(broker_of):
    first, second = kit.free_port(), kit.free_port()
    broker = broker_of(f"listener {first} 127.0.0.1\nmax_connections 2\nlistener {second} 127.0.0.1\nallow_anonymous true\n"
                       f"workers 2\n{kit.STAY_ROOT}global_max_connections 3\n", [first, second])
    held, ids = [], itertools.count()

    def enter(port):
        raw = kit.Raw(port)
        try:
            first_byte, body = raw.connect(f"c{next(ids)}")
        except (EOFError, ConnectionError):
            raw.close()
            return False
        held.append(raw)
        return (first_byte, body[1]) == (0x20, 0)
    # The probes of the ports may still be counted when the test begins.
    kit.wait_for(lambda: enter(first), "room")
    kit.wait_for(lambda: enter(first), "room")
    assert not enter(first)  # the listener's own limit
    kit.wait_for(lambda: enter(second), "room")
    assert not enter(second)
    assert not enter(first)
    broker.wait_log(r"the broker has its global_max_connections of 3 already \[limit\]")
    # Whoever leaves makes room, for any listener; refusals took none.
    held.pop(0).close()
    kit.wait_for(lambda: enter(second), "room")
    assert not enter(first)
    for raw in held:
        raw.close()
    held.clear()
    kit.wait_for(lambda: enter(first), "room")


def test_topic_aliases_of_each_listener(broker_of):
    first, second = kit.free_port(), kit.free_port()
    broker_of(f"listener {first} 127.0.0.1\nmax_topic_alias 3\nmax_topic_alias_broker 0\nlistener {second} 127.0.0.1\nmax_topic_alias 0\n"
              f"allow_anonymous true\n{kit.STAY_ROOT}", [first, second])
    announced = {}
    for port in (first, second):
        with kit.Raw(port) as raw:
            _, body = raw.connect(f"c{port}", version=5)
            announced[port] = body.find(b"\x22\0\3") >= 0
    assert announced == {first: True, second: False}
    alias = b"\x23\0\3"
    with kit.Raw(first) as sub, kit.Raw(first) as pub, kit.Raw(second) as other:
        sub.send(wire.connect("sub", 5, properties=b"\x22\0\x09")).packet()
        sub.send(wire.subscribe("t", version=5)).packet()
        pub.connect("pub", version=5)
        pub.send(wire.publish("t", "a", version=5, properties=alias) + wire.publish("", "b", version=5, properties=alias))
        for payload in (b"a", b"b"):  # with its name, and without an alias, both times
            assert sub.packet()[1] == b"\0\1t\0" + payload
        assert pub.send(wire.publish("t", "c", version=5, properties=b"\x23\0\4")).packet() == (0xe0, b"\x94")
        other.connect("other", version=5)
        assert other.send(wire.publish("t", "c", version=5, properties=b"\x23\0\1")).packet() == (0xe0, b"\x94")


def test_timestamp_format_and_what_has_no_effect(broker_of):
    broker, _ = open_broker(broker_of, "log_timestamp_format <%s>", "retry_interval 20", "autosave_interval 5", "persistence_file x.db")
    broker.wait_log(r"^<\d{10}>: signet version .* running")
    broker.wait_log(r"broker.conf:\d+: retry_interval: Accepted without effect")


@pytest.mark.parametrize("checked", ["true", "false"])
def test_check_retain_source(broker_of, tmp_path, checked):
    acl = tmp_path / "acl"
    acl.write_text("topic read #\npattern write +/%c\n")
    # One worker: what a SUBSCRIBE brings comes before the answer to the next packet.
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {acl}\ncheck_retain_source {checked}\n"
                       f"workers 1\n{kit.STAY_ROOT}", port)
    for topic in ("x/dev", "y/dev"):
        assert kit.mosquitto("mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-i", "dev", "-q", 1, "-r", "-t", topic, "-m", "1").returncode == 0

    def heard(topic):
        with kit.Raw(port) as raw:
            raw.connect("reader")
            raw.send(wire.subscribe(topic))
            assert raw.packet()[0] >> 4 == wire.SUBACK
            raw.send(wire.PING)
            return raw.packet()[0] >> 4 == wire.PUBLISH

    assert heard("x/dev") and heard("y/+")
    acl.write_text("topic read #\npattern write y/%c\n")
    broker.reload()
    assert heard("x/dev") == heard("x/#") == (checked == "false")
    assert heard("y/dev") and heard("+/dev")


def server_of(ca, folder):
    """Files of a server with an RSA key."""
    key = certs.Key(folder / "rsa.key", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    names = certs.extension("2.5.29.17", certs.sequence(certs.tlv(0x82, b"localhost")))
    files = ca.leaf("localhost", key=key, usage=(certs.SERVER_AUTH,), extra=[names])
    for name in ("cert", "key"):
        os.chmod(files[name], 0o644)
    return files


def test_dhparamfile(broker_of, tmp_path):
    """Used where `ciphers` names DHE, and refused when it is weak or something else."""
    ca = certs.Ca(tmp_path / "ca", "CA")
    files, port = server_of(ca, tmp_path), kit.free_port()
    for name, group in (("good.pem", "ffdhe2048"), ("weak.pem", "modp_1536")):
        certs.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", f"group:{group}", "-out", tmp_path / name)
        os.chmod(tmp_path / name, 0o644)
    conf = (f"listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {files['cert']}\nkeyfile {files['key']}\n"
            f"ciphers DHE-RSA-AES128-GCM-SHA256\n{kit.STAY_ROOT}dhparamfile {{}}\n")
    broker = broker_of(conf.format(tmp_path / "good.pem"), port)
    context = kit.tls_context({"ca": ca.file}, maximum=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    with kit.Raw(port, context=context) as raw:
        assert raw.sock.cipher()[0] == "DHE-RSA-AES128-GCM-SHA256"
        assert raw.connect("c") == (0x20, b"\0\0")
    for wrong in (tmp_path / "weak.pem", files["cert"]):
        broker.conf.write_text(conf.format(wrong))
        broker.reload(r"Reload failed, .*broker\.conf:\d+: dhparamfile .*no Diffie-Hellman parameters of at least 2048 bits")


def test_client_certificates_without_their_dates(broker_of, tmp_path):
    """disable_client_cert_date_checks, loudly; signature and revocation count as ever."""
    ca, other = certs.Ca(tmp_path / "ca", "CA"), certs.Ca(tmp_path / "other", "other")
    files, strict, loose = server_of(ca, tmp_path), kit.free_port(), kit.free_port()
    ago = {"begin": certs.now() - certs.days(9), "end": certs.now() - certs.days(1)}
    ahead = {"begin": certs.now() + certs.days(2), "end": certs.now() + certs.days(9)}
    old, coming, revoked, foreign = ca.leaf("old", **ago), ca.leaf("coming", **ahead), ca.leaf("revoked", **ago), other.leaf("foreign", **ago)
    crl = tmp_path / "crl.pem"
    crl.write_text(ca.crl(revoked["serial"]))
    tls = (f"certfile {files['cert']}\nkeyfile {files['key']}\ncafile {ca.file}\ncrlfile {crl}\nrequire_certificate true\n"
           "use_identity_as_username true\n")
    broker = broker_of(f"listener {strict} 127.0.0.1\n{tls}listener {loose} 127.0.0.1\n{tls}disable_client_cert_date_checks true\n{kit.STAY_ROOT}",
                       [strict, loose])
    broker.wait_log(r"disable_client_cert_date_checks: listener .* lets in whoever has a certificate that expired")

    def enters(port, client, name):
        try:
            with kit.Raw(port, context=kit.tls_context({**client, "ca": ca.file})) as raw:
                return raw.connect(name) == (0x20, b"\0\0")
        except (OSError, EOFError):
            return False
    for client, name, let_in in ((old, "old", True), (coming, "coming", True), (revoked, "revoked", False), (foreign, "foreign", False)):
        assert not enters(strict, client, name)
        assert enters(loose, client, name) == let_in, name


def test_max_qos_is_each_listeners_own(broker_of):
    """mosquitto.conf(5) has it among the settings of a listener; a reload is for those who connect after it."""
    low = kit.free_port()
    broker, port = open_broker(broker_of, f"listener {low} 127.0.0.1", "max_qos 0")
    with kit.Raw(port) as raw, kit.Raw(low) as limited:
        assert b"\x24" not in raw.connect("a", version=5)[1][3:]
        assert limited.connect("b", version=5)[1].endswith(b"\x24\0")
        raw.send(wire.publish("t", "x", qos=2, packet_id=7, version=5))
        assert raw.packet()[0] >> 4 == wire.PUBREC
        limited.send(wire.publish("t", "x", qos=1, packet_id=7, version=5))
        assert limited.rest() == b"\xe0\1\x9b"
    broker.conf.write_text(broker.conf.read_text().replace("max_qos 0", "max_qos 1"))
    broker.reload()
    assert kit.Raw(low).connect("b", version=5)[1].endswith(b"\x24\1")
