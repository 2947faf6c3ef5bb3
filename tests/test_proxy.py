"""The PROXY protocol in front of plain MQTT, TLS and WebSocket: the client's address, who may say it, and what is believed of certificates."""
import os
import shutil
import socket
import struct
import subprocess

import pytest

import kit
import wire

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = ("192.0.2.5", 6275)


def v1(address=CLIENT[0], port=CLIENT[1]):
    return f"PROXY TCP{6 if ':' in address else 4} {address} {'::1' if ':' in address else '127.0.0.1'} {port} 1883\r\n".encode()


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def v2(*tlvs, address=CLIENT[0], port=CLIENT[1], command=0x21):
    if command == 0x20:
        return SIGNATURE + b"\x20\0\0\0"
    if address is None:
        family, pair = 0x31, b"/run/client".ljust(108, b"\0") + b"/run/broker".ljust(108, b"\0")
    elif ":" in address:
        family, pair = 0x21, socket.inet_pton(socket.AF_INET6, address) + socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">HH", port, 1883)
    else:
        family, pair = 0x11, socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack(">HH", port, 1883)
    body = pair + b"".join(tlvs)
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body


def ssl(cn=None, client=7, verify=0):
    inner = bytes([client]) + struct.pack(">I", verify) + tlv(0x21, b"TLSv1.3") + (tlv(0x22, cn) if cn is not None else b"")
    return tlv(0x20, inner)


def start(broker_of, *lines, host="127.0.0.1"):
    port = kit.free_port()
    return broker_of(f"listener {port} {host}\n" + "".join(line + "\n" for line in lines) + kit.STAY_ROOT, port)


OPEN = "allow_anonymous true"


def connack(broker, header, client_id="c", port=None):
    with kit.Raw(port or broker.port) as raw:
        return raw.send(header + wire.connect(client_id)).packet()


def is_closed(broker, data):
    with kit.Raw(broker.port) as raw:
        return raw.send(data).rest() == b""


@pytest.mark.parametrize("version, header, shown", [
    (1, v1(), "192.0.2.5:6275"),
    (1, v1("2001:db8::5"), r"\[2001:db8::5\]:6275"),
    (1, b"PROXY UNKNOWN\r\n", r"127\.0\.0\.1:\d+"),
    (2, v2(), "192.0.2.5:6275"),
    (2, v2(tlv(4, b"pad"), address="2001:db8::5"), r"\[2001:db8::5\]:6275"),
    (2, v2(address=None), "unix"),
    (2, v2(command=0x20), r"127\.0\.0\.1:\d+"),
])
def test_the_clients_address_is_the_headers(broker_of, version, header, shown):
    broker = start(broker_of, OPEN, f"enable_proxy_protocol {version}")
    # Byte by byte, and with CONNECT on its heels.
    with kit.Raw(broker.port) as raw:
        for byte in header:
            raw.send(bytes([byte]))
        raw.send(wire.connect("slow"))
        assert raw.packet() == (0x20, b"\0\0")
    assert connack(broker, header, "quick") == (0x20, b"\0\0")
    broker.wait_log(rf"New client connected from {shown} as slow")
    broker.wait_log(rf"New client connected from {shown} as quick")
    # Refusals name it, too.
    with kit.Raw(broker.port) as raw:
        raw.send(header + b"\x20\2\0\0").rest()
    broker.wait_log(rf"Refused connection from {shown} on")


@pytest.mark.parametrize("version, data", [
    (1, wire.connect("c")), (1, v2()), (1, b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), (1, b"P" * 200),
    (2, wire.connect("c")), (2, v1()), (2, SIGNATURE + b"\x21\x11\xff\xff"), (2, SIGNATURE + b"\x21\x11\0\4abcd"),
    (2, v2(tlv(3, b"\1\2\3\4"))), (2, v2(b"\x20\0\x09\1")),
])
def test_no_header_no_service(broker_of, version, data):
    broker = start(broker_of, OPEN, f"enable_proxy_protocol {version}")
    assert is_closed(broker, data)
    broker.wait_log(r"Refused connection from 127\.0\.0\.1:\d+ .*the PROXY header is wrong: .* \[proxy-header\].*Remedy")


def test_strangers_are_refused_even_with_a_header(broker_of):
    broker = start(broker_of, OPEN, "enable_proxy_protocol 2", "proxy_protocol_from 127.0.0.2 192.0.2.0/24")
    assert is_closed(broker, v2() + wire.connect("c"))
    broker.wait_log(r"Refused connection from 127\.0\.0\.1:\d+ .* \[proxy-sender\]")
    near = socket.create_connection(("127.0.0.1", broker.port), timeout=kit.PATIENCE, source_address=("127.0.0.2", 0))
    near.sendall(v2() + wire.connect("c"))
    assert near.recv(4) == b"\x20\2\0\0"
    near.close()
    # A probe of the port is no refusal, and neither is the proxy's own look at it.
    mark = broker.mark()
    kit.Raw(broker.port).close()
    assert is_closed(broker, b"x")
    broker.wait_log(r"\[proxy-sender\]", mark)
    assert broker.log()[mark:].count("Refused") == 1


def test_a_header_that_does_not_come_is_not_waited_for(broker_of):
    broker = start(broker_of, OPEN, "enable_proxy_protocol 1", "tls_handshake_timeout 1")
    with kit.Raw(broker.port) as raw:
        assert raw.send(b"PROXY TCP4 ").rest() == b""
    broker.wait_log(r"the PROXY header was not there in time \[handshake-timeout\]")


def test_tls_comes_behind_the_header(pki, broker_of):
    """A load balancer that passes TLS through: the certificate is the client's own."""
    port = kit.free_port()
    broker = broker_of(pki.conf(port, "enable_proxy_protocol 2", "proxy_protocol_from 127.0.0.1"), port)
    files = pki.device("proxied")
    with kit.Raw(port) as raw:
        raw.send(v2())
        raw.sock = kit.tls_context(files).wrap_socket(raw.sock, server_hostname="localhost")
        assert raw.connect("proxied") == (0x20, b"\0\0")
    broker.wait_log(r"New client connected from 192\.0\.2\.5:6275 as proxied .*Certificate cn 'proxied'")
    # Without the header TLS is not even begun.
    with pytest.raises(OSError):
        kit.Raw(port, files)
    broker.wait_log(r"\[proxy-header\]")


def test_websocket_comes_behind_the_header(broker_of):
    broker = start(broker_of, OPEN, "enable_proxy_protocol 1", "protocol websockets")
    with kit.Raw(broker.port) as raw:
        raw.send(v1() + b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
        assert raw.recv_exactly(12) == b"HTTP/1.1 101"


def test_require_tls(broker_of):
    broker = start(broker_of, OPEN, "enable_proxy_protocol 2", "proxy_protocol_v2_require_tls true")
    mark = broker.mark()
    assert is_closed(broker, v2(command=0x20))  # a health check is ended, and is no event
    for header in (v2(), v2(ssl(client=0))):
        assert is_closed(broker, header + wire.connect("c"))
    broker.wait_log(r"Refused connection from 192\.0\.2\.5:6275 .*has not spoken TLS with the proxy.* \[proxy-client\]")
    kit.wait_for(lambda: broker.log()[mark:].count("Refused") == 2, "both refusals")
    assert "from 127.0.0.1" not in broker.log()[mark:]
    assert connack(broker, v2(ssl(client=1))) == (0x20, b"\0\0")


IDENTITY = ("enable_proxy_protocol 2", "use_identity_as_username true", "require_certificate true")


def test_certificates_count_only_where_that_is_written(broker_of, tmp_path):
    users = tmp_path / "users"
    kit.signet("passwd", "-c", "-b", "-H", "sha512", users, "bob", "x")
    users.chmod(0o644)
    lines = [*IDENTITY, f"password_file {users}", "proxy_protocol_from 127.0.0.2", "proxy_protocol_identity_from 127.0.0.1"]
    broker = start(broker_of, *lines)
    broker.wait_log(r"broker\.conf:\d+: listener .* believes its proxies who a client is")
    stays = kit.Raw(broker.port).send(v2(ssl(b"dev1")) + wire.connect("c"))
    assert stays.packet() == (0x20, b"\0\0")
    broker.wait_log(r"New client connected from 192\.0\.2\.5:6275 as c .*u'dev1'")
    # Nothing has changed for him.
    broker.reload("Reloaded:")
    assert stays.send(wire.PING).packet() == (0xd0, b"")
    looked = kit.signet("broker", "-c", broker.conf, "--test-config").stdout
    assert "as the proxy says" in looked and "proxy_protocol_identity_from 127.0.0.1/32" in looked
    for cause, header in (("shown no certificate", v2(ssl(client=1))), ("could not verify", v2(ssl(b"dev1", verify=10))),
                          ("missing, or no text", v2(ssl())), ("missing, or no text", v2(ssl(b"a\0b"))), ("missing, or no text", v2(ssl(b"\xff"))),
                          ("missing, or no text", v2(ssl(b"x" * 256)))):
        mark = broker.mark()
        assert is_closed(broker, header + wire.connect("c")), cause
        broker.wait_log(cause + r".*\[proxy-client\]", mark)
    # A proxy for addresses alone.
    other = socket.create_connection(("127.0.0.1", broker.port), timeout=kit.PATIENCE, source_address=("127.0.0.2", 0))
    other.sendall(v2(ssl(b"dev1")) + wire.connect("c"))
    try:
        assert other.recv(1) == b""
    except ConnectionError:
        pass
    other.close()
    broker.wait_log("this proxy's word on certificates is not taken")
    # What is believed of whom is not changed half.
    broker.conf.write_text(broker.conf.read_text().replace("identity_from 127.0.0.1", "identity_from 127.0.0.3"))
    broker.reload("Reload failed, .*listeners need a restart")


def test_without_that_line_the_certificate_is_nothing(broker_of):
    """Neither identity nor a way past the password."""
    broker = start(broker_of, "enable_proxy_protocol 2")
    assert connack(broker, v2(ssl(b"dev1"))) == (0x20, b"\0\5")
    broker.wait_log(r"takes PROXY headers from this machine only")


def test_a_unix_socket(broker_of, tmp_path):
    path = tmp_path / "s"
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nlistener 0 {path}\nenable_proxy_protocol 1\nallow_anonymous true\n{kit.STAY_ROOT}", port)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(kit.PATIENCE)
        kit.wait_for(path.exists, "the socket")  # made behind the port that the broker is known by
        s.connect(str(path))
        s.sendall(v1() + wire.connect("c"))
        assert s.recv(4) == b"\x20\2\0\0"
    broker.wait_log(r"New client connected from 192\.0\.2\.5:6275 as c")


# ---- a real one ----

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"


def haproxy(tmp_path, *parts):
    conf = tmp_path / "haproxy.cfg"
    conf.write_text("global\n  log stderr format raw local0\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n"
                    + "".join(parts))
    return subprocess.Popen([HAPROXY, "-db", "-f", str(conf)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def way(name, front, server, port):
    return f"frontend f{name}\n  bind 127.0.0.1:{front}\n  default_backend b{name}\nbackend b{name}\n  server s 127.0.0.1:{port} {server}\n"


@pytest.mark.skipif(not os.path.exists(HAPROXY), reason="haproxy is not installed")
def test_haproxy(pki, broker_of, tmp_path):
    """Versions 1 and 2, TLS that passes through, and TLS that ends at the proxy, with a client's certificate."""
    one, two, behind, ends = (kit.free_port() for _ in range(4))
    fronts = {name: kit.free_port() for name in ("one", "two", "through", "ended")}
    strict = broker_of(pki.conf(behind, "enable_proxy_protocol 2"), behind)
    loose = broker_of(f"listener {one} 127.0.0.1\nlistener_allow_anonymous true\nenable_proxy_protocol 1\n"
                      f"listener {two} 127.0.0.1\nlistener_allow_anonymous true\nenable_proxy_protocol 2\n"
                      f"listener {ends} 127.0.0.1\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\n"
                      f"use_identity_as_username true\nrequire_certificate true\nproxy_protocol_identity_from 127.0.0.1\n{kit.STAY_ROOT}",
                      [one, two, ends])
    files, name = pki.device("hadev"), "hadev"
    server = tmp_path / "server.pem"
    server.write_text((pki.dir / "pki/broker/cert.pem").read_text() + (pki.dir / "pki/broker/key.pem").read_text())
    parts = [way("one", fronts["one"], "send-proxy", one), way("two", fronts["two"], "send-proxy-v2", two),
             way("through", fronts["through"], "send-proxy-v2", behind),
             way("ended", f"{fronts['ended']} ssl crt {server} ca-file {pki.dir / 'pki/ca.pem'} verify required", "send-proxy-v2-ssl-cn", ends)]
    process = haproxy(tmp_path, *parts)
    try:
        for port in fronts.values():
            kit.wait_for(lambda p=port: can_connect(p), f"haproxy on {port}")
        for front in ("one", "two"):
            sent = kit.mosquitto("mosquitto_pub", "-h", "127.0.0.1", "-p", fronts[front], "-i", f"by-{front}", "-t", "t", "-m", "x", "-q", "1")
            assert sent.returncode == 0, sent.stderr
        for front in ("through", "ended"):
            sent = kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", fronts[front], "-i", name, "-t", f"{kit.PREFIX}/{name}/status", "-m", "x",
                                 "-q", "1", *kit.tls_words(files))
            assert sent.returncode == 0, sent.stderr
    finally:
        process.terminate()
        process.wait(kit.PATIENCE)
    for broker, client, rest in ((loose, "by-one", ""), (loose, "by-two", ""), (strict, name, ".*Certificate cn 'hadev', role client"),
                                 (loose, name, rf".*u'{name}'\)\.$")):
        line = broker.wait_log(rf"New client connected from 127\.0\.0\.1:\d+ as {client} {rest}")
        assert "refused" not in line.string


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False
