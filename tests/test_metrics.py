"""/metrics: what it says of a broker at work, who may read it, and that it does nothing else."""
import re
import shutil
import ssl
import subprocess

import pytest

import kit
import wire

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\d+)(\.\d+)?')


def get(port, path="/metrics", method="GET", files=None, headers="", host="127.0.0.1", body=b"", context=None):
    """(status, headers, body) of one request; the connection ends with the answer."""
    with kit.Raw(port, files, host=host, context=context) as raw:
        raw.send(f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}\r\n".encode() + body)
        head, _, rest = raw.rest().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), rest


def metrics(port, **more):
    status, headers, body = get(port, **more)
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Connection"] == "close" and int(headers["Content-Length"]) == len(body)
    values = {}
    for line in body.decode().splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP [a-z_]+ \S.*|TYPE [a-z_]+ (counter|gauge|histogram))", line), line
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        values[found[1] + (found[2] or "")] = int(found[3])
        if found[2]:  # what a sum over the labels would say
            values[found[1]] = values.get(found[1], 0) + int(found[3])
    return values


@pytest.fixture
def watched(broker_of):
    mqtt, web = kit.free_port(), kit.free_port()
    broker = broker_of(f"listener {mqtt} 127.0.0.1\nallow_anonymous true\nworkers 4\nsys_interval 0\n"
                       f"listener {web}\nprotocol metrics\n", [mqtt, web])
    broker.web = web
    return broker


def test_it_says_what_happened(watched):
    before = metrics(watched.web)
    with kit.Client(watched, "sub") as sub, kit.Client(watched, "pub") as pub:
        sub.subscribe("a/#", "$share/g/b", qos=1)
        for i in range(5):
            pub.publish("a/x", "y" * 100, qos=1)
        for i in range(5):
            sub.message("a/x")
        pub.publish("kept", "z", qos=1, retain=True)
        want = {"signet_sessions": 2, "signet_subscriptions": 2, "signet_shared_subscriptions": 1, "signet_retained_messages": 1,
                "signet_connects_total": 2, "signet_messages_received_total": 6, "signet_messages_sent_total": 5,
                "signet_payload_bytes_received_total": 501, "signet_payload_bytes_sent_total": 500,
                "signet_messages_dropped_total": 0, "signet_denied_total": 0, "signet_refused_total": 0}
        now = {}

        def look():
            now.update(metrics(watched.web))
            return {name: now[name] - before[name] for name in want} == want
        try:
            kit.wait_for(look, "the counters")
        except AssertionError:
            raise AssertionError(f"{want} is not in {now}") from None
        workers = [now[f'signet_connections{{worker="{i}",role="none"}}'] for i in range(4)]
        assert sum(workers) == 2 == now["signet_connections"]
        assert now['signet_messages_received_total{qos="1"}'] == 6 and now['signet_messages_received_total{qos="0"}'] == 0
        for i in range(4):
            assert now[f'signet_loop_lag_seconds_bucket{{worker="{i}",le="+Inf"}}'] == now[f'signet_loop_lag_seconds_count{{worker="{i}"}}'] > 0
        assert now["signet_bytes_received_total"] > 500 and now["signet_packets_received_total"] > 7
        assert now["process_resident_memory_bytes"] > 1 << 20 and now["process_open_fds"] > 5
        assert 0 < now["process_start_time_seconds"] <= metrics(watched.web)["process_start_time_seconds"]
        assert any(name.startswith("signet_build_info{version=") for name in now)
    kit.wait_for(lambda: sum(v for k, v in metrics(watched.web).items() if k.startswith("signet_connections{")) == 0, "no connections")


def test_refusals_by_cause(broker_of):
    mqtt, web = kit.free_port(), kit.free_port()
    broker_of(f"listener {mqtt} 127.0.0.1\nallow_anonymous false\nlistener {web}\nprotocol metrics\n", [mqtt, web])
    name = 'signet_refusals_total{cause="anonymous"}'
    assert metrics(web)[name] == 0
    for i in range(30):
        with kit.Raw(mqtt) as raw:
            assert raw.connect("x")[1][1] == 5
    # The log leaves some of them out, the counter none.
    assert metrics(web)[name] == 30
    assert metrics(web)["signet_refused_total"] == 30


def test_nothing_else_is_there(watched):
    for path in "/", "/metrics/", "/Metrics", "/metricsx", "/metrics/..", "/%6", "/index.html":
        assert get(watched.web, path)[0] == 404, path
    assert get(watched.web, "/metrics?x=y")[0] == 200
    status, headers, body = get(watched.web, method="HEAD")
    assert (status, body) == (200, b"") and int(headers["Content-Length"]) > 1000
    for method in "POST", "PUT", "DELETE", "OPTIONS":
        status, headers, _ = get(watched.web, method=method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert get(watched.web, method="POST", headers="Content-Length: 3\r\n", body=b"abc")[0] == 400
    # No WebSocket, and no MQTT.
    upgrade = ("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
               "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n")
    assert get(watched.web, headers=upgrade)[0] == 200
    assert get(watched.web, "/mqtt", headers=upgrade)[0] == 404
    with kit.Raw(watched.web) as raw:
        raw.send(b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1x")
        assert raw.rest() == b""
    assert metrics(watched.web)["signet_connects_total"] == 0


def test_it_is_on_this_machine_only(watched):
    watched.wait_log(rf"Listening on 127\.0\.0\.1:{watched.web} \(metrics, not encrypted\)")
    assert "0.0.0.0:" + str(watched.web) not in watched.log() and "not encrypted: everybody" not in watched.log()
    assert "Refused" not in watched.log()


def test_nobody_where_the_listener_says_so(broker_of):
    web = kit.free_port()
    broker = broker_of(f"listener {web}\nprotocol metrics\nlistener_allow_anonymous false\n", [web])
    status, _, body = get(web)
    assert status == 403 and b"signet_" not in body
    broker.wait_log(r"Refused request for metrics from 127.0.0.1:\d+ .*\[metrics\]")


def test_certificates_decide(pki, broker_of):
    port, web = kit.free_port(), kit.free_port()
    lines = [line for line in pki.conf(port).splitlines()
             if line.split(None, 1)[:1] in (["certfile"], ["keyfile"], ["cafile"], ["require_certificate"])]
    assert len(lines) == 4
    broker = broker_of(pki.conf(port, f"listener {web}", "protocol metrics", *lines), [port, web])
    watch, device = pki.issue("watch", "prometheus"), pki.device("dev1")
    values = metrics(web, files=watch)
    expiry = [v for k, v in values.items() if k.startswith("signet_certificate_expiry_seconds{")]
    certfile = next(line.split(None, 1)[1] for line in lines if line.startswith("certfile"))
    end = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", certfile], capture_output=True, text=True, check=True,
                         cwd=pki.dir)
    assert expiry == [int(ssl.cert_time_to_seconds(end.stdout.strip().removeprefix("notAfter=")))] * 2
    # A device has a good certificate, and no business here.
    status, _, body = get(web, files=device)
    assert status == 403 and b"signet_" not in body
    broker.wait_log(r"Refused request for metrics .*\[metrics\].*CN=dev1")
    assert metrics(web, files=watch)['signet_refusals_total{cause="metrics"}'] == 1
    # Without a certificate there is no connection, and without TLS neither.
    assert b"signet_" not in no_certificate(web, watch)
    assert kit.Raw(web).send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").rest() == b""
    kit.wait_for(lambda: metrics(web, files=watch)['signet_refusals_total{cause="no-certificate"}'] == 1, "the refusal")
    assert metrics(web, files=watch)['signet_refusals_total{cause="http-on-tls"}'] == 1
    # What Prometheus offers in ALPN.
    context = kit.tls_context(watch)
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert metrics(web, context=context)["signet_connects_total"] == 0


def no_certificate(port, files):
    try:
        return get(port, files={"ca": files["ca"]})[2]
    except (OSError, IndexError):
        return b""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not installed")
def test_promtool_likes_it(watched):
    _, _, body = get(watched.web)
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_websocket_words_do_not_go_with_it(tmp_path):
    conf = tmp_path / "m.conf"
    conf.write_text("listener 9090\nprotocol metrics\nhttp_dir /tmp\n")
    done = kit.signet("broker", "-c", conf, "--test-config", check=False)
    assert done.returncode != 0 and "http_dir: listener 9090 does not speak WebSocket" in done.stdout + done.stderr
    conf.write_text("listener 9090\nprotocol metrics\n")
    out = kit.signet("broker", "-c", conf, "--test-config").stdout
    assert "listener 9090: metrics, not encrypted" in out and "127.0.0.1:9090" in out


def test_handshakes_drops_and_certificates(pki, broker_of):
    port, web = kit.free_port(), kit.free_port()
    broker = broker_of(pki.conf(port, "max_queued_messages 1") + f"listener {web}\nprotocol metrics\n", [port, web])
    before = metrics(web)
    with kit.Client(broker, "dev1", files=pki.device("dev1"), port=port):
        now = metrics(web)
        assert now['signet_tls_handshakes_total{result="ok"}'] == before['signet_tls_handshakes_total{result="ok"}'] + 1
        assert now["signet_connections"] == 1 and sum(v for k, v in now.items() if k.startswith("signet_connections{") and 'role="client"' in k) == 1
        assert now["signet_ca_certificate_expiry_seconds"] > 5 * 1700000000  # root and four intermediates
        assert now["signet_certificate_expiry_seconds"] > 1700000000
    with kit.Raw(port) as raw:
        raw.send(b"\x10\x0c\0\4MQTT\4\2\0\0\0\0")
        raw.rest()
    kit.wait_for(lambda: metrics(web)['signet_tls_handshakes_total{result="plain-mqtt-on-tls"}'] == 1, "the failed handshake")
    kit.wait_for(lambda: metrics(web)['signet_tls_handshakes_total{result="probe"}'] >= 1, "the look whether the port is open")


def test_drops_have_reason_and_role(broker_of):
    port, web = kit.free_port(), kit.free_port()
    broker_of(f"allow_anonymous true\nmax_queued_messages 5\nlistener {port} 127.0.0.1\nlistener {web}\nprotocol metrics\n", [port, web])
    with wire.Peer(port, "away", clean=False) as away:
        away.subscribe("q", qos=1)
    with wire.Peer(port, "p") as pub:
        for _ in range(8):
            pub.publish("q", "x", 1)
    now = metrics(web)
    assert now['signet_messages_dropped_total{reason="queue-full",role="none"}'] == 3 == now["signet_messages_dropped_total"]
    assert now["signet_queued_messages"] == 5 and now["signet_queued_bytes"] > 5
    with wire.Peer(port, "away", clean=False, answers=False) as away:
        away.wait_messages(5)
        kit.wait_for(lambda: metrics(web)["signet_inflight_messages"] == 5 and metrics(web)["signet_queued_bytes"] == 0, "what is in flight")


def test_the_certificates_of_bridges_are_told(pki, broker_of):
    port, web = kit.free_port(), kit.free_port()
    files = pki.device("bridge1")
    broker_of(pki.conf(port) + f"listener {web}\nprotocol metrics\nconnection far\naddress 127.0.0.1:{kit.free_port()}\ntopic a out\n"
              f"bridge_cafile {files['ca']}\nbridge_certfile {files['cert']}\nbridge_keyfile {files['key']}\n", [port, web])
    now = metrics(web)
    assert now[f'signet_certificate_expiry_seconds{{listener="bridge far",file="{files["cert"]}"}}'] > 1700000000
