"""MQTT over WebSocket: clients, frames byte by byte, origins, where plain listeners listen, and files for browsers."""
import base64
import hashlib
import os
import socket

import pytest

import kit
import wire
from kit import V5, V311

KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
UPGRADED = ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n").encode()
BINARY, TEXT, MORE, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10


def request(*lines, path="/mqtt", protocol="mqtt", **replace):
    headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Protocol": protocol}
    headers.update(replace)
    text = [f"GET {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in headers.items() if v is not None] + list(lines)
    return ("\r\n".join(text) + "\r\n\r\n").encode()


def frame(data, kind=BINARY, final=True, mask=b"\x11\x22\x33\x44"):
    n = len(data)
    size = bytes([n | 128]) if n < 126 else b"\xfe" + n.to_bytes(2, "big") if n < 65536 else b"\xff" + n.to_bytes(8, "big")
    return bytes([kind | 128 * final]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))


class Socket(kit.Raw):
    """A WebSocket by hand. What it reads as MQTT comes out of binary frames."""

    def __init__(self, port, files=None, upgrade=True, **more):
        super().__init__(port, files, **more)
        self.data = b""
        if upgrade:
            self.send(request())
            assert self.bytes(len(UPGRADED)) == UPGRADED

    def bytes(self, n):
        return super().recv_exactly(n)

    def frame(self):
        """(kind, payload) of the next frame, which is never masked or fragmented."""
        first, size = self.bytes(2)
        assert first & 0xf0 == 0x80 and size < 128
        if size > 125:
            size = int.from_bytes(self.bytes(2 if size == 126 else 8), "big")
        return first & 15, self.bytes(size)

    def recv_exactly(self, n):
        while len(self.data) < n:
            kind, payload = self.frame()
            assert kind == BINARY, f"frame {kind} {payload!r}"
            self.data += payload
        data, self.data = self.data[:n], self.data[n:]
        return data

    def mqtt(self, data):
        return self.send(frame(data))

    def hello(self, client_id):
        self.mqtt(wire.connect(client_id))
        assert self.packet() == (0x20, b"\0\0")
        return self


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An open broker of this module with an MQTT and a WebSocket listener that has files."""
    top = tmp_path_factory.mktemp("site")
    (top / "secret.txt").write_text("secret")
    www = top / "www"
    (www / "sub").mkdir(parents=True)
    (www / "index.html").write_text("<p>hello")
    (www / "sub" / "a b.js").write_text("1")
    (www / ".hidden").write_text("secret")
    (www / "big.bin").write_bytes(bytes(range(256)) * 4096 * 5)
    (www / "link").symlink_to("../secret.txt")
    (www / "up").symlink_to("..")
    (www / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(www / "fifo")
    ports = [kit.free_port(), kit.free_port()]
    conf = (f"allow_anonymous true\nworkers 4\nlistener {ports[0]} 127.0.0.1\nlistener {ports[1]} 127.0.0.1\n"
            f"protocol websockets\nwebsockets_origin https://good.example\nwebsockets_origin http://localhost:8000\nhttp_dir {www}\n"
            f"websockets_origin https://localhost:{ports[1]}\n")  # paho's
    with kit.Broker(top / "broker", conf, ports) as broker:
        broker.ws = ports[1]
        yield broker


# ---- clients ----

@pytest.mark.tsan
@pytest.mark.parametrize("version", [V311, V5])
def test_paho_speaks_websocket_and_tcp_to_each_other(site, topic, version):
    # Many ids: each has its home on one of the workers, so that connections move there.
    with kit.Client(site, f"{topic}tcp", version=version) as tcp:
        tcp.subscribe(f"{topic}/#", qos=2)
        for i in range(12):
            with kit.Client(site, f"{topic}ws{i}", version=version, port=site.ws, transport="websockets") as ws:
                ws.subscribe(f"{topic}/{i}", qos=2)
                for qos in 0, 1, 2:
                    ws.publish(f"{topic}/{i}", f"{i} {qos}", qos=qos)
                    assert ws.message(f"{topic}/{i}", f"{i} {qos}").qos == qos
                    tcp.message(f"{topic}/{i}", f"{i} {qos}")
                tcp.publish(f"{topic}/{i}", "back", qos=1)
                ws.message(f"{topic}/{i}", "back")
                tcp.message(f"{topic}/{i}", "back")


@pytest.mark.parametrize("size", [0, 100, 125, 126, 65535, 65536, 1000000])
def test_payloads_of_every_size(site, topic, size):
    payload = os.urandom(size)
    with kit.Client(site, f"{topic}a", port=site.ws, transport="websockets") as ws:
        ws.subscribe(topic, qos=1)
        ws.publish(topic, payload, qos=1)
        ws.message(topic, payload)


def test_tls_certificates_are_identities_with_their_roles(pki, broker_of):
    port, ws = kit.free_port(), kit.free_port()
    base = pki.conf(port, workers="4")
    tls = [line for line in base.splitlines()
           if line.split(" ")[0] in ("certfile", "keyfile", "cafile", "require_certificate", "use_identity_as_username", "tls_version")]
    assert any(line.startswith("certfile") for line in tls)
    conf = base + "\n".join([f"listener {ws}", "protocol websockets", *[t for t in tls]]) + "\n"
    broker = broker_of(conf, [port, ws])
    broker.wait_log(rf"Listening on .*:{ws} \(WebSocket, TLS\)")
    watch = pki.issue("watch", "watch1")
    device = pki.device("wsdev")
    with kit.Client(broker, "watch1", files=watch) as c, \
            kit.Client(broker, "wsdev", files=device, port=ws, transport="websockets") as d:
        c.subscribe(f"{kit.PREFIX}/wsdev/#", qos=1)
        d.publish(f"{kit.PREFIX}/wsdev/status", "on", qos=1)
        c.message(f"{kit.PREFIX}/wsdev/status", "on")
        # the certificate's rules, not another's
        d.publish(f"{kit.PREFIX}/other/status", "on", qos=1)
        broker.wait_log(r"Refused PUBLISH to 'springcard/springcore/other/status'.*subject '[^']*wsdev")
        broker.wait_log(r"New client connected from .* as wsdev .*Certificate cn 'wsdev', role client")
    with pytest.raises(kit.Refused):
        kit.Client(broker, "other", files=device, port=ws, transport="websockets")
    # Without a certificate there is no TLS, so no WebSocket.
    with pytest.raises((OSError, EOFError)):
        Socket(ws, {"ca": device["ca"]}, host="localhost").hello("x")
    broker.wait_log(rf"no-certificate")


def test_browsers_offer_http_by_alpn(pki, broker_of):
    port = kit.free_port()
    conf = pki.conf(port, "protocol websockets", "websockets_origin https://x")
    broker = broker_of(conf, port)
    context = kit.tls_context(pki.device("wsalpn"))
    context.set_alpn_protocols(["http/1.1"])
    with Socket(port, context=context, host="localhost") as s:
        assert s.sock.selected_alpn_protocol() == "http/1.1"
        s.hello("wsalpn")
    with socket.create_connection((broker.host, port)) as plain:
        plain.sendall(request())
    broker.wait_log(r"http-on-tls.*wss://")


# ---- the upgrade ----

@pytest.mark.parametrize("lines", [[], ["Origin: https://good.example"], ["Origin: http://localhost:8000"]], ids=["none", "one", "two"])
def test_the_upgrade_is_exact(site, lines):
    with Socket(site.ws, upgrade=False) as s:
        for byte in request(*lines):
            s.send(bytes([byte]))
        assert s.bytes(len(UPGRADED)) == UPGRADED
        s.hello("upgrade")


@pytest.mark.parametrize("origin", ["https://evil.example", "https://good.example.evil", "null", "http://good.example"])
def test_a_wrong_origin_is_just_closed(site, origin):
    mark = site.mark()
    with Socket(site.ws, upgrade=False) as s:
        s.send(request(f"Origin: {origin}"))
        assert s.rest() == b""
    site.wait_log(r"Refused WebSocket connection from .*Origin that is not in websockets_origin \[origin\]", mark)


@pytest.mark.parametrize("data, status", [
    (request(protocol=None), 400), (request(protocol="mqtt5, soap"), 400), (request(**{"Sec-WebSocket-Key": "short"}), 400),
    (request(**{"Sec-WebSocket-Version": "8"}), 426), (request(Connection="close"), 400), (request(Host=None), 400),
    (request("X: a\rInjected: b"), 400), (request("X: " + "a" * 5000), 431), (request(path="/a b"), 400),
    (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 505), (request().replace(b"GET", b"POST"), 405),
], ids=["no-protocol", "other-protocol", "key", "version", "connection", "host", "injection", "large", "path", "http10", "post"])
def test_a_bad_request_is_told_why(site, data, status):
    with Socket(site.ws, upgrade=False) as s:
        s.send(data)
        answer = s.rest()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"Connection: close" in answer and b"Injected" not in answer
    assert (b"\r\nSec-WebSocket-Version: 13\r\n" in answer) == (status == 426)


def test_mqtt_without_websocket_is_closed_with_a_reason(site):
    mark = site.mark()
    with kit.Raw(site.ws) as s:
        s.send(wire.connect("raw"))
        assert s.rest() == b""
    site.wait_log(r"Refused WebSocket connection.*an MQTT CONNECT without WebSocket \[websocket\]", mark)


def test_a_request_on_the_mqtt_port_is_refused_as_before(site):
    with kit.Raw(site.port) as s:
        s.send(request())
        assert not s.rest().startswith(b"HTTP/1.1 101")


def test_a_slow_upgrade_is_ended(site):
    """With the time limit for CONNECT."""
    with Socket(site.ws, upgrade=False) as s:
        s.send(request()[:50])
        assert s.rest() == b""


# ---- frames ----

@pytest.mark.tsan
@pytest.mark.parametrize("step", [1, 2, 3, 7, 50, 10000])
def test_frames_and_packets_may_be_cut_anywhere(site, topic, step):
    publish = wire.publish(topic, b"x" * 300) if hasattr(wire, "publish") else wire.packet(3, wire.text(topic) + b"x" * 300)
    subscribe = wire.packet(8, wire.u16(1) + wire.text(topic) + b"\0", 2)
    stream = wire.connect(f"{topic}c") + subscribe + publish + publish + wire.PING
    wanted = (b"\x20\2\0\0" + b"\x90\3\0\1\0" + publish + publish + b"\xd0\0")
    with Socket(site.ws) as s:
        # frames of <step> bytes, fragments within messages, Pings between them, and all of it in writes of 5 bytes more
        frames, within = b"", False
        for i in range(0, len(stream), step):
            more = (i // step) % 3 != 2 and i + step < len(stream)
            frames += frame(stream[i:i + step], MORE if within else BINARY, final=not more)
            within = more
        for i in range(0, len(frames), step + 5):
            s.send(frames[i:i + step + 5])
        assert s.recv_exactly(len(wanted)) == wanted


def test_everything_in_one_write_behind_the_request(site, topic):
    with Socket(site.ws, upgrade=False) as s:
        s.send(request() + frame(wire.connect(topic) + wire.PING) + frame(wire.PING))
        assert s.bytes(len(UPGRADED)) == UPGRADED
        assert s.recv_exactly(8) == b"\x20\2\0\0\xd0\0\xd0\0"


def test_a_packet_longer_than_its_frame_waits_for_the_next(site, topic):
    """CVE-2026-25627: the remaining length says more than the frame has."""
    with Socket(site.ws).hello(topic) as s:
        s.mqtt(b"\x30\xc0\x84\x3d\0\1a")
        s.send(frame(b"hi", PING))
        assert s.frame() == (PONG, b"hi")
        s.send(frame(b"\x03\xe8", CLOSE))
        assert s.frame() == (CLOSE, b"\x03\xe8")
        assert s.rest() == b""


@pytest.mark.parametrize("data, code", [
    (frame(b"\xc0\0", TEXT), 1003), (b"\x82\2\xc0\0", 1002), (frame(b"", 3), 1002), (frame(b"", MORE), 1002),
    (frame(b"", BINARY | 0x40), 1002), (frame(b"", PING, final=False), 1002), (frame(b"x" * 126, PING), 1002),
    (frame(b"\x03", CLOSE), 1002), (frame(b"", BINARY, final=False) + frame(b""), 1002), (b"\x82\xfe\0\1" + bytes(5), 1002),
    (b"\x82\xff" + b"\xff" * 8 + bytes(4), 1002),
], ids=["text", "unmasked", "opcode", "continuation", "rsv", "ping-fragment", "long-ping", "close", "interleaved", "not-shortest", "64-bit"])
def test_bad_frames_are_closed_with_their_code(site, topic, data, code):
    with Socket(site.ws).hello(topic) as s:
        s.send(data)
        assert s.frame() == (CLOSE, code.to_bytes(2, "big"))
        assert s.rest() == b""
    site.wait_log(rf"Client {topic} disconnected: WebSocket: ")


def test_the_will_is_sent_when_a_websocket_is_closed_without_disconnect(site, topic):
    with kit.Client(site, f"{topic}w") as watcher:
        watcher.subscribe(topic)
        with Socket(site.ws) as s:
            s.mqtt(wire.connect(f"{topic}c", will=(topic, b"gone", 0, False, b"")))
            assert s.packet() == (0x20, b"\0\0")
            s.send(frame(b"\x03\xe8", CLOSE))
            assert s.frame() == (CLOSE, b"\x03\xe8")
        watcher.message(topic, "gone")


def test_disconnect_ends_the_websocket_in_good_order(site, topic):
    with Socket(site.ws).hello(topic) as s:
        s.mqtt(b"\xe0\0")
        assert s.frame() == (CLOSE, b"\x03\xe8")
        assert s.rest() == b""


def test_many_pings_get_pongs(site, topic):
    with Socket(site.ws).hello(topic) as s:
        s.send(b"".join(frame(b"%d" % i, PING) for i in range(1000)) + frame(wire.PING))
        last, answered = None, False
        while last != b"999" or not answered:
            kind, payload = s.frame()
            assert kind in (PONG, BINARY)
            last = payload if kind == PONG else last
            answered = answered or (kind, payload) == (BINARY, b"\xd0\0")


# ---- where it listens ----

def test_a_plain_listener_without_address_is_for_this_machine_only(broker_of):
    port = kit.free_port()
    conf = f"allow_anonymous true\nlistener {port}\nprotocol websockets\n"
    broker = broker_of(conf, port)
    broker.wait_log(rf"Listening on 127.0.0.1:{port} \(WebSocket, not encrypted\)")
    assert f"0.0.0.0:{port}" not in broker.log()
    broker.wait_log(r"only clients on this machine can reach it")
    others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {"127.0.0.1"}
    for address in [a for a in others if not a.startswith("127.")] + ["127.0.0.2"]:
        with pytest.raises(OSError):
            socket.create_connection((address, port), timeout=5).close()
    look = kit.signet("broker", "-c", broker.conf, "--test-config")
    assert f"listener {port}: WebSocket, not encrypted\n    addresses: 127.0.0.1:{port}" in look.stdout
    assert "protocol websockets" in look.stdout


def test_directives_that_would_do_nothing_are_refused(tmp_path):
    conf = tmp_path / "c.conf"
    for text, said in [("listener 1883\nhttp_dir /tmp\n", "does not speak WebSocket"),
                       (f"listener 9001\nprotocol websockets\nhttp_dir {tmp_path}/none\n", ":3: http_dir: cannot open the directory")]:
        conf.write_text(text)
        look = kit.signet("broker", "-c", conf, "--test-config", check=False)
        assert look.returncode == 3 and said in look.stderr, look.stderr


# ---- files ----

def get(port, path, method="GET"):
    with kit.Raw(port) as s:
        s.send(method.encode() + b" " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = s.rest().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split(" ")[1]), dict(line.split(": ", 1) for line in lines[1:]), body


@pytest.mark.parametrize("path, kind, body", [
    (b"/", "text/html; charset=utf-8", b"<p>hello"), (b"/index.html?x=1", "text/html; charset=utf-8", b"<p>hello"),
    (b"/sub/a%20b.js", "text/javascript; charset=utf-8", b"1"), (b"/big.bin", "application/octet-stream", bytes(range(256)) * 4096 * 5),
], ids=["root", "query", "escaped", "big"])
def test_files_are_served(site, path, kind, body):
    status, headers, got = get(site.ws, path)
    assert (status, headers["Content-Type"], headers["Content-Length"], headers["Connection"]) == (200, kind, str(len(body)), "close")
    assert got == body
    status, headers, got = get(site.ws, path, "HEAD")
    assert (status, headers["Content-Length"], got) == (200, str(len(body)), b"")


@pytest.mark.parametrize("path", [
    b"/../secret.txt", b"/sub/../../secret.txt", b"/%2e%2e/secret.txt", b"/%2E%2E%2Fsecret.txt", b"/..%2fsecret.txt", b"/.%2e/secret.txt",
    b"//etc/passwd", b"/%2fetc/passwd", b"/etc/passwd", b"/..%5csecret.txt", b"/link", b"/up/secret.txt", b"/passwd", b"/.hidden",
    b"/index.html%00.js", b"/fifo", b"/sub", b"/sub/", b"/none", b"/index.html/", b"/%c0%ae%c0%ae/secret.txt", b"/" + b"a" * 2000,
])
def test_nothing_else_is_served(site, path):
    status, headers, body = get(site.ws, path)
    assert status == 404 and headers["Content-Type"] == "text/plain"
    assert b"secret.txt" not in body and body.strip() != b"secret"


@pytest.mark.parametrize("path", [b"/index.html\0.js", b"/a\\..\\b\x01", b"secret.txt", b"http://x/index.html"])
def test_targets_that_are_none_are_bad_requests(site, path):
    assert get(site.ws, path)[0] == 400


def test_files_are_only_read(site):
    for method in "PUT", "POST", "DELETE", "OPTIONS":
        status, headers, _ = get(site.ws, b"/index.html", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_a_file_that_the_browser_has_is_not_sent_again(site):
    first = get(site.ws, b"/index.html")[1]
    tag = first["ETag"]
    assert first["Cache-Control"] == "no-cache" and get(site.ws, b"/index.html", "HEAD")[1]["ETag"] == tag
    for method in "GET", "HEAD":
        with kit.Raw(site.ws) as s:
            s.send(f"{method} / HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n\r\n".encode())
            head, _, body = s.rest().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 304 Not Modified\r\n") and body == b"" and tag.encode() in head
    assert get(site.ws, b"/sub/a%20b.js")[1]["ETag"] != tag
