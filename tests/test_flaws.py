"""Other brokers' flaws: that the table in FLAWS.md is true, and the tests that have no other home."""
import pathlib
import re
import socket
import threading

import pytest

import kit
import wire
from wire import Peer

HERE = pathlib.Path(__file__).parent
OPEN = f"allow_anonymous true\n{kit.STAY_ROOT}"


def test_the_table_names_tests_that_exist():
    rows = [line.strip("|").split(" | ") for line in (HERE / "FLAWS.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 41
    for row in rows:
        assert len(row) == 3, row
        named = [name.strip(" |") for name in row[2].split(",")]
        for name in named:
            if name.startswith("later: "):
                continue
            file, function = name.split("::")
            text = (HERE.parent / file).read_text()
            if file.endswith(".py"):
                assert re.search(rf"^def {function}\(", text, re.M), name
            else:  # defined, and run
                assert re.search(rf"^{function}\(void \*\*state\)", text, re.M) and len(re.findall(rf"\b{function}\b", text)) > 1, name


# ---- rights ----

def test_rules_of_the_default_listener_are_obeyed(broker_of, tmp_path):
    """CVE-2018-20145: `port` and per_listener_settings."""
    for name, text in (("one", "topic read seen\n"), ("two", "topic readwrite #\n")):
        (tmp_path / name).write_text(text)
    first, second = kit.free_port(), kit.free_port()
    broker_of(f"per_listener_settings true\nport {first}\nbind_address 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path / 'one'}\n"
              f"listener {second} 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path / 'two'}\n{kit.STAY_ROOT}", [first, second])
    with Peer(second, "all") as everything, Peer(first, "some", 5) as some:
        everything.subscribe("#", qos=1)
        assert some.subscribe("seen", "secret", qos=1) == [1, 0x87]
        assert some.wait_ack(wire.PUBACK, some.publish("seen", "x", 1))[:1] == b"\x87"
        everything.publish("secret", "no", qos=1)
        everything.publish("seen", "yes", qos=1)
        some.wait_messages(1).fence()
        assert [m[:2] for m in some.got] == [("seen", b"yes")]
        assert everything.payloads() == [b"no", b"yes"]


def test_a_half_done_publish_is_not_passed_on_twice(broker_of, tmp_path):
    """CVE-2021-34434, second half: what was sent with QoS 2 while it was allowed is not sent once more when it is not."""
    acl, port = tmp_path / "acl", kit.free_port()
    acl.write_text("topic readwrite #\n")
    broker = broker_of(f"listener {port} 127.0.0.1\nacl_file {acl}\nworkers 2\n{OPEN}", port)
    with Peer(port, "sub") as sub, kit.Raw(port) as pub:
        sub.subscribe("#", qos=2)
        pub.connect("pub", clean=False)
        pub.send(wire.publish("t", "half", 2, 5))
        assert pub.packet() == (wire.PUBREC << 4, b"\0\5")
        sub.fence()
        before = list(sub.payloads())
        acl.write_text("topic read #\n")
        broker.reload("Reloaded:")
        kit.wait_for(lambda: denied(port), "the new rules")
        pub.send(wire.publish("t", "half", 2, 5, dup=True))
        assert pub.packet()[0] >> 4 == wire.PUBREC
        pub.send(wire.ack(wire.PUBREL, 5))
        assert pub.packet() == (wire.PUBCOMP << 4, b"\0\5")
        sub.fence()
        assert sub.payloads() == before


def denied(port):
    with Peer(port, "probe", 5) as p:
        return p.wait_ack(wire.PUBACK, p.publish("p", "", 1))[:1] == b"\x87"


def test_a_will_to_control_is_nobodys(shared, topic):
    """mosquitto 2.0.16. What is published below $CONTROL goes to nobody, by will or by PUBLISH."""
    with Peer(shared.port, f"{topic}s") as s:
        s.subscribe("$CONTROL/#", qos=1)
        refusal = None
        try:
            Peer(shared.port, f"{topic}w", 5, will=(f"$CONTROL/{topic}", "x", 1, False, b"")).cut()
        except kit.Refused as error:
            refusal = error.code
        s.fence()
        assert refusal is not None or s.payloads() == []


# ---- bridges ----

REMOTE = [
    b"",                                      # closes at once
    b"\x20",                                  # half a packet, and closes
    b"\x20\2\0\0" * 50,                       # CONNACK again and again
    b"\x20\2\0\6", b"\x20\2\1\5", b"\x20\0", b"\x20\1\0", b"\x20\xff\xff\xff\x7f",
    b"\x20\2\0\0" + wire.connect("you"),      # it is no client
    b"\x20\2\0\0" + wire.publish("", "x"),
    b"\x20\2\0\0" + wire.publish("r/#", "x"),
    b"\x20\2\0\0" + wire.publish(b"r/\xff", "x"),
    b"\x20\2\0\0" + wire.publish("r", "x", 2, 0),
    b"\x20\2\0\0" + wire.publish("r/" + "/" * 60000, "x"),
    b"\x20\2\0\0" + wire.publish("not-asked-for", "x", 1),
    b"\x20\2\0\0" + wire.publish("", "x", 1, properties=b"\x23\0\1", version=5),
    b"\x20\2\0\0" + wire.packet(wire.SUBACK, b"\0\1") + wire.packet(wire.SUBACK, b"\xff\xff\x80") * 20,
    b"\x20\2\0\0" + b"".join(wire.ack(k, n) for k in (wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP) for n in range(1, 200)),
    b"\x20\2\0\0\x30\x80\x80\x80\x80\x01",
    b"\x20\2\0\0\xf0\0", b"\x20\2\0\0\0\0", b"\x20\2\0\0\x82\0",
]


def test_a_malicious_remote_does_not_harm_a_bridge(broker_of):
    """CVE-2024-3935: whatever the remote broker sends, ours serves its clients, and the bridge tries again."""
    here, served = kit.free_port(), []
    with socket.create_server(("127.0.0.1", 0)) as remote:
        remote.settimeout(kit.PATIENCE)

        def serve():
            for data in REMOTE:
                try:
                    sock, _ = remote.accept()
                except OSError:
                    return
                with sock:
                    sock.settimeout(kit.PATIENCE)
                    try:
                        sock.recv(4096)  # its CONNECT
                        sock.sendall(data)
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(65536):
                            pass
                    except OSError:
                        pass
                served.append(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        broker = broker_of(f"listener {here} 127.0.0.1\nworkers 2\n{OPEN}connection br\naddress 127.0.0.1:{remote.getsockname()[1]}\n"
                           "restart_timeout 1\nkeepalive_interval 5\ntopic # in 2 l/ r/\ntopic # out 2 l/ r/\nbridge_outgoing_retain false\n", here)
        with Peer(here, "sub") as sub:
            sub.subscribe("#", qos=2)
            kit.wait_for(lambda: len(served) == len(REMOTE), "the remote's tricks", seconds=4 * kit.PATIENCE)
            sub.publish("calm", "after", qos=2)
            sub.wait(lambda: b"after" in sub.payloads(), "the message")
            # What it was not asked for, and what is no topic, has not come in.
            assert [m for m in sub.got if m[1] == b"x"] == []
        thread.join(kit.PATIENCE)
    assert broker.process.poll() is None


# ---- configuration ----

def numbers():
    """Every directive that is a number, with its smallest value."""
    found = []
    for line in kit.signet("broker", "--directives-markdown").stdout.splitlines():
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        name = re.match(r"`([^`]+)` ", cells[0]) if cells else None
        scope = cells[1].split(",")[0] if name else ""
        # Control's are of another process.
        if name and scope != "control" and re.search(r" (N|BYTES|SECONDS|MINUTES|MILLISECONDS)$", cells[0]):
            found.append((name[1], scope))
    return found


def smallest(name, scope, tmp_path):
    """The least value that --test-config takes, of 0 and 1 and what the refusal names."""
    head = "listener 1883 127.0.0.1\nconnection b\naddress 127.0.0.1\ntopic a\n" if scope == "bridge" else "listener 1883 127.0.0.1\n"
    path = tmp_path / "c"
    value = -1
    for _ in range(2):
        path.write_text(f"{head}{name} {value}\n")
        result = kit.signet("broker", "-c", path, "--test-config", check=False)
        low = re.search(r"is not within (-?\d+) and", result.stderr)
        if low is None:
            return value if result.returncode == 0 else None
        value = int(low[1])
    return value


def test_every_number_at_its_smallest(broker_of, tmp_path):
    """FlashMQ CVE-2026-42209: a setting of 0 that divides. One broker with all of them, and one message through it."""
    here = kit.free_port()
    lines = {"global": [], "listener": [], "security": [], "bridge": []}
    # Limits that would keep the test itself out.
    keep = {"max_connections", "global_max_connections", "global_max_clients", "max_packet_size", "tls_handshake_timeout", "memory_limit"}
    for name, scope in numbers():
        value = smallest(name, scope, tmp_path)
        if value is not None and (value <= 0 or name not in keep):
            lines[scope].append(f"{name} {value}")
    assert sum(map(len, lines.values())) > 25
    text = "".join(f"{line}\n" for line in lines["global"]) + f"listener {here} 127.0.0.1\n{OPEN}"
    text += "".join(f"{line}\n" for line in lines["listener"] if "maximum_qos" not in line)
    text += f"connection b\naddress 127.0.0.1:{here}\ntopic never out 0 x/ y/\n" + "".join(f"{line}\n" for line in lines["bridge"])
    broker_of(text, here)
    with Peer(here, "a") as a:
        a.subscribe("t")
        a.publish("t", "x")
        a.wait_messages(1)


def test_tls_without_a_listener_opens_nothing(pki, tmp_path):
    """mosquitto 2.0.12: certfile and keyfile above all listeners made a listener for everybody."""
    conf = tmp_path / "c"
    files = pki.device("nolistener")
    tls = f"certfile {files['cert']}\nkeyfile {files['key']}\ncafile {files['ca']}\n"
    conf.write_text(tls + f"listener {kit.free_port()} 127.0.0.1\n")
    result = kit.signet("broker", "-c", conf, "--test-config", check=False)
    assert result.returncode == 3 and "stands in front of all listeners" in result.stderr
    conf.write_text(tls)
    result = kit.signet("broker", "-c", conf, "--test-config", check=False)
    assert result.returncode == 0, result.stderr
    addresses = re.findall(r"addresses: (.*)", result.stdout)
    assert addresses and all(a.startswith(("127.0.0.1:", "[::1]:")) for line in addresses for a in line.split(", "))


# ---- HTTP ----

@pytest.mark.parametrize("protocol", ["websockets", "metrics"])
def test_http_headers_are_only_data(broker_of, protocol):
    """RabbitMQ's X-Reason: nothing of a request is a format, and nothing of it comes back."""
    port = kit.free_port()
    broker = broker_of(f"listener {port} 127.0.0.1\nprotocol {protocol}\nlog_type all\n{OPEN}", port)
    evil = b"%n%s%x%99999d"
    for head in (b"GET /" + evil.replace(b"%", b"%25") + b" HTTP/1.1\r\nHost: x\r\nX-Reason: " + evil + b"\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: " + evil + b"\r\nOrigin: " + evil + b"\r\nUpgrade: " + evil + b"\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                 + evil + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                 b"POST /" + b" HTTP/1.1\r\nHost: x\r\nX-A: " + b"%s" * 5000 + b"\r\n\r\n",
                 evil + b" / HTTP/1.1\r\n\r\n"):
        with kit.Raw(port) as raw:
            got = raw.send(head).rest()
        assert b"%n" not in got and len(got) < 100000
    assert broker.process.poll() is None
