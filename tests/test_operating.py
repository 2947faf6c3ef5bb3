"""What an operator relies on: where the log goes, signals, exit codes, files and their modes, the command line."""
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time

import pytest

import certs
import kit
import wire

ROOT = os.geteuid() == 0


def conf(port, *lines):
    return f"listener {port} 127.0.0.1\nallow_anonymous true\n{kit.STAY_ROOT}" + "".join(line + "\n" for line in lines)


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


# ---- the log ----

def test_log_lines_are_messages(broker_of):
    """log_dest topic, as mosquitto.conf(5) has it: by severity, subscriptions of their own, never debug."""
    port = kit.free_port()
    broker = broker_of(conf(port, "log_dest topic", "log_dest stderr", "log_type all"), port)
    with kit.Client(broker, "watcher") as watcher:
        watcher.subscribe("$SYS/broker/log/#")
        with kit.Client(broker, "who") as who:
            who.subscribe("some/where", qos=1)
            who.client.unsubscribe("some/where")
            who.wait_event("unsuback")
        with kit.Raw(port) as raw:
            raw.send(wire.packet(wire.SUBSCRIBE, b"\0")).rest()
        seen = {}
        while not {"N", "W", "M/subscribe", "M/unsubscribe"} <= set(seen) or "who disconnected" not in "".join(seen["N"]):
            m = watcher.message()
            assert re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d: ", m.payload) and not m.retain
            seen.setdefault(m.topic.removeprefix("$SYS/broker/log/"), []).append(m.payload.decode())
        assert any("who 1 some/where" in line for line in seen["M/subscribe"])
        assert any(line.endswith("who some/where") for line in seen["M/unsubscribe"])
        assert any("New client connected from" in line and " as who" in line for line in seen["N"])
        assert any("Refused connection" in line for line in seen["W"])
        assert "D" not in seen


def can_mount():
    return ROOT and shutil.which("unshare") and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="a journal of its own needs a mount namespace")
def test_log_lines_go_to_the_journal(broker_of, tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    script = 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.settimeout(kit.PATIENCE)
        journal.bind(str(folder / "socket"))
        port = kit.free_port()
        broker_of(conf(port, "log_dest journald"), port, under=("unshare", "-m", "sh", "-c", script, str(folder)))
        entry = journal.recv(4096).decode()
        assert entry.splitlines() == ["SYSLOG_IDENTIFIER=signet", "PRIORITY=5", f"MESSAGE=signet version {version()} starting."]


def test_a_journal_that_is_not_there_is_said(tmp_path):
    if os.path.exists("/run/systemd/journal/socket"):
        pytest.skip("there is a journal")
    (tmp_path / "c").write_text(conf(kit.free_port(), "log_dest journald"))
    result = kit.signet("broker", "-c", tmp_path / "c", check=False)
    assert result.returncode == 1 and "log_dest journald: the journal's socket" in result.stderr


def version():
    return kit.signet("--version").stdout.split()[-1]


def test_timestamps_as_mosquittos(broker_of, tmp_path):
    """%s gives mosquitto's own form; a file has it, too."""
    port, log = kit.free_port(), tmp_path / "log"
    broker_of(conf(port, f"log_dest file {log}", "log_timestamp_format %s"), port)
    assert re.match(r"\d{10}: signet version ", log.read_text())
    assert stat.S_IMODE(log.stat().st_mode) & 0o007 == 0


# ---- signals ----

def test_usr1_and_usr2(broker_of, tmp_path):
    port, log = kit.free_port(), tmp_path / "log"
    broker = broker_of(conf(port, f"log_dest file {log}", "workers 2"), port)
    with kit.Client(broker, "a") as a:
        a.subscribe("t/+", "u")
        a.publish("kept", "x", qos=1, retain=True)
        log.rename(tmp_path / "old")
        broker.process.send_signal(signal.SIGUSR1)
        kit.wait_for(log.exists, "the new log")
        broker.process.send_signal(signal.SIGUSR2)
        kit.wait_for(lambda: "State:" in log.read_text(), "the state")
        text = log.read_text()
        assert len(re.findall(r"State of worker [01]: ", text)) == 2
        assert sum(map(int, re.findall(r", (\d+) subscriptions", text))) == 2
        assert re.search(r"State: 1 connected, 1 sessions, 1 listeners, 2 workers", text)
        assert "t/+" not in text  # topics are nobody's business in a log


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_quick_and_clean(broker_of, sig, tmp_path):
    port = kit.free_port()
    broker = broker_of(conf(port, f"pid_file {tmp_path / 'pid'}"), port)
    broker.wait_log("running with")
    assert int((tmp_path / "pid").read_text()) == broker.process.pid
    assert stat.S_IMODE((tmp_path / "pid").stat().st_mode) == 0o644
    with kit.Client(broker, "a", version=kit.V5):
        begun = time.monotonic()
        assert broker.stop(sig) == 0
        assert time.monotonic() - begun < 10
    assert not (tmp_path / "pid").exists()
    assert "terminating" in broker.log()


# ---- the command line ----

def test_several_ports_for_this_machine(tmp_path):
    ports = [kit.free_port() for _ in range(3)]
    words = [w for port in ports for w in ("-p", str(port))]
    process = subprocess.Popen([kit.SIGNET, "broker", *words], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        for port in ports:
            kit.wait_for(lambda p=port: listening(p), f"port {port}")
            with kit.Raw(port) as raw:
                assert raw.connect("c") == (0x20, b"\0\0")  # nothing is configured: anonymous, from here
    finally:
        process.terminate()
        said = process.communicate(timeout=kit.PATIENCE)[1].decode()
    assert process.returncode == 0
    assert len(re.findall(r"Listening on (?:127\.0\.0\.1|\[::1\]):", said)) == len(re.findall("Listening on", said))
    (tmp_path / "c").write_text(conf(ports[0]))
    result = kit.signet("broker", "-c", tmp_path / "c", *words, check=False)
    assert result.returncode == 3 and "several -p are for a broker without a configured listener" in result.stderr
    assert kit.signet("broker", *(["-p", "1"] * 11), check=False).returncode == 3
    assert kit.signet("broker", "-p", "0", check=False).returncode == 3


def test_quiet(broker_of):
    port = kit.free_port()
    broker = broker_of(conf(port, "log_type all"), port, "-q")
    with kit.Client(broker, "a"):
        pass
    assert broker.log() == ""


def test_daemon(tmp_path):
    port = kit.free_port()
    (tmp_path / "c").write_text(conf(port, f"pid_file {tmp_path / 'pid'}", f"log_dest file {tmp_path / 'log'}"))
    assert kit.signet("broker", "-d", "-c", tmp_path / "c").returncode == 0
    kit.wait_for(lambda: listening(port), "the daemon")
    pid = int(kit.wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "its pid"))
    os.kill(pid, signal.SIGTERM)
    kit.wait_for(lambda: not (tmp_path / "pid").exists(), "its end")


def test_mistakes_end_with_three_and_their_place(tmp_path):
    for text, words in (("nonsense 1\n", [r"c:1: unknown directive \"nonsense\""]),
                        ("listener 1883\n\nplugin /x.so\n", [r"c:3: plugin: "]),
                        ("listener x\n", [r"c:1: listener: "]), ("allow_anonymous maybe\n", [r"c:1: allow_anonymous: "])):
        (tmp_path / "c").write_text(text)
        for option in ([], ["--test-config"]):
            result = kit.signet("broker", "-c", tmp_path / "c", *option, check=False)
            assert result.returncode == 3, result.stderr
            for word in words:
                assert re.search(word, result.stdout + result.stderr)
    for words in (["--nonsense"], ["-c"], ["word"]):
        assert kit.signet("broker", *words, check=False).returncode == 3


def test_relative_paths_and_crlf(tmp_path):
    """Relative to the working directory, as mosquitto's; lines end as on Windows; include_dir."""
    port = kit.free_port()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.conf").write_bytes(b"# one\r\n\r\nallow_anonymous true\r\n")
    (tmp_path / "acl").write_bytes(b"topic readwrite a\r\n")
    (tmp_path / "c").write_bytes(f"acl_file acl\r\nlog_dest file log\r\n{kit.STAY_ROOT}listener {port} 127.0.0.1\r\ninclude_dir d\r\n".encode())
    process = subprocess.Popen([kit.SIGNET, "broker", "-c", "c"], cwd=tmp_path, stdin=subprocess.DEVNULL)
    try:
        kit.wait_for(lambda: listening(port), "the broker")
        with kit.Raw(port) as raw:
            raw.connect("c")
            assert raw.send(wire.subscribe("a") + wire.subscribe("b", packet_id=2)).packet()[1] == b"\0\1\0"
            assert raw.packet()[1] == b"\0\2\x80"
    finally:
        process.terminate()
        assert process.wait(kit.PATIENCE) == 0
    assert "running" in (tmp_path / "log").read_text()


def test_a_probe_is_no_event(broker_of):
    """A monitor that connects and leaves: no line, and no place of max_connections is used up."""
    port = kit.free_port()
    broker = broker_of(conf(port, "max_connections 3"), port)
    mark = broker.mark()
    for _ in range(50):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    held = []
    for n in range(3):
        def enter(n=n):
            try:
                raw = kit.Raw(port)
                held.append(raw)
                return raw.connect(f"c{n}") == (0x20, b"\0\0")
            except (OSError, EOFError):
                held.pop().close()
                return False
        kit.wait_for(enter, "a place")
    assert "Refused" not in broker.log()[mark:]
    for raw in held:
        raw.close()


def test_no_configuration_is_for_this_machine(tmp_path):
    """… with anonymous clients; one listener line, and they are out."""
    port = kit.free_port()
    process = subprocess.Popen([kit.SIGNET, "broker", "-p", str(port)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        kit.wait_for(lambda: listening(port), "the broker")
        table = pathlib.Path("/proc/net/tcp").read_text()
        mine = [line.split()[1] for line in table.splitlines()[1:] if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
        assert mine and all(address.startswith("0100007F") for address in mine)
    finally:
        process.terminate()
        said = process.communicate(timeout=kit.PATIENCE)[1].decode()
    assert "Starting in local only mode" in said
    (tmp_path / "c").write_text(f"listener {port} 127.0.0.1\n{kit.STAY_ROOT}")
    with kit.Broker(tmp_path, f"listener {port} 127.0.0.1\n{kit.STAY_ROOT}", port):
        for level, answer in ((4, b"\x20\2\0\5"), (5, b"\x20\3\0\x87\0")):
            with kit.Raw(port) as raw:
                assert raw.send(wire.connect("c", level)).rest() == answer


def listening_ports(pid):
    """TCP ports on which a process listens, by what the kernel says."""
    mine = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(fd))
        except FileNotFoundError:
            pass
    rows = [line.split() for name in ("tcp", "tcp6") for line in pathlib.Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine}


def test_only_what_is_configured_listens(broker):
    """What `signet init` makes: one port, and MQTT without TLS is not spoken there."""
    assert listening_ports(broker.process.pid) == {broker.port}
    with kit.Raw(broker.port) as raw:
        assert raw.send(wire.connect("c")).rest()[:1] in (b"", b"\x15")  # nothing, or an alert
    broker.wait_log(r"\[plain-mqtt-on-tls\]")


# ---- the broker's own certificate ----

def test_an_expired_certificate_is_an_alarm_and_no_end(broker_of, tmp_path):
    """As mosquitto: clients that do not look are let in. A reload does not exchange a good one for it."""
    ca = certs.Ca(tmp_path / "ca", "CA")
    def server(begin, end):
        return ca.leaf("localhost", usage=(certs.SERVER_AUTH,), begin=certs.now() + certs.days(begin), end=certs.now() + certs.days(end))
    old, new, coming = server(-9, -1), server(-1, 90), server(3, 90)
    for files in (old, new, coming):
        files["cert"].chmod(0o644)
    port = kit.free_port()
    text = f"listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {{cert}}\nkeyfile {{key}}\n{kit.STAY_ROOT}"
    broker = broker_of(text.format(**old), port)
    broker.wait_log(rf"ALARM: the broker's certificate on listener 127\.0\.0\.1:{port}, {old['cert']}, has expired on \d{{4}}-.*SIGHUP")
    with kit.Raw(port, context=kit.tls_context({}, verify=False)) as raw:
        assert raw.connect("unwary") == (0x20, b"\0\0")
    with pytest.raises(ssl.SSLError):
        kit.Raw(port, context=kit.tls_context({"ca": ca.file}))
    mark = broker.mark()
    broker.conf.write_text(text.format(**new))
    broker.reload("Reloaded:")
    assert "ALARM: the broker's certificate" not in broker.log()[mark:]
    with kit.Raw(port, context=kit.tls_context({}, verify=False)) as raw:
        assert raw.connect("a") == (0x20, b"\0\0")
    for files, words in ((old, "has expired on"), (coming, "is not valid before")):
        broker.conf.write_text(text.format(**files))
        broker.reload(f"Reload failed, .*certfile {files['cert']} {words} .*the present one is valid")
    result = kit.signet("broker", "-c", broker.conf, "--test-config", check=False)
    assert result.returncode == 0


def test_a_configuration_with_everything(broker_of, tmp_path):
    """All that working configurations of mosquitto use, in one file with Windows' line ends, and it starts and serves."""
    pki = tmp_path / "pki"
    ca = certs.Ca(pki, "CA")
    files = ca.leaf("localhost", usage=(certs.SERVER_AUTH,), extra=[certs.extension("2.5.29.17", certs.sequence(certs.tlv(0x82, b"localhost")))])
    (pki / "crl.pem").write_text(ca.crl())
    certs.openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", pki / "dh.pem")
    (pki / "psk").write_text("id:00112233445566778899aabbccddeeff\n")
    (pki / "acl").write_text("topic readwrite #\n")
    kit.signet("passwd", "-c", "-H", "sha512", "-b", pki / "users", "bob", "secret")
    for path in (*pki.iterdir(), files["cert"], files["key"]):
        path.chmod(0o644)
    plain, tls, psk, ws, proxied = (kit.free_port() for _ in range(5))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "last.conf").write_text(f"listener {proxied} 127.0.0.1\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls false\n")
    text = f"""# everything
allow_zero_length_clientid true
auto_id_prefix auto-
allow_anonymous false
password_file {pki}/users
acl_file {pki}/acl
psk_file {pki}/psk
global_max_connections 100
global_max_clients 100
max_keepalive 600
max_packet_size 100000
message_size_limit 50000
max_inflight_messages 20
max_inflight_bytes 0
max_queued_messages 100
max_queued_bytes 0
retain_available true
check_retain_source true
upgrade_outgoing_qos false
persistence false
persistence_file mosquitto.db
autosave_interval 60
autosave_on_changes false
persistent_client_expiration 2m
sys_interval 10
connection_messages true
log_type error
log_type warning
log_type notice
log_type information
log_timestamp true
set_tcp_nodelay true
queue_qos0_messages false
allow_duplicate_messages false
listener {plain} 127.0.0.1
listener_allow_anonymous true
listener_auto_id_prefix mine-
accept_protocol_versions 3, 4, 5
max_connections 50
max_topic_alias 10
maximum_qos 2
mount_point here/
listener 0 {tmp_path}/socket
listener {tls} 127.0.0.1
certfile {files['cert']}
keyfile {files['key']}
cafile {ca.file}
crlfile {pki}/crl.pem
dhparamfile {pki}/dh.pem
require_certificate true
use_identity_as_username true
disable_client_cert_date_checks false
listener {psk} 127.0.0.1
psk_hint hint
use_identity_as_username true
listener {ws} 127.0.0.1
protocol websockets
websockets_origin https://example.com
connection plant
address 127.0.0.1:1 127.0.0.1:2
bridge_protocol_version mqttv50
topic sensors/# out 1 "" plant/
topic orders/# in 1 "" plant/
cleansession false
local_cleansession false
local_clientid here.plant
remote_clientid plant
notifications true
notification_topic state/plant
restart_timeout 5 30
keepalive_interval 60
try_private true
bridge_attempt_unsubscribe false
bridge_outgoing_retain true
bridge_max_topic_alias 10
bridge_reload_type immediate
include_dir {tmp_path}/more
{kit.STAY_ROOT}"""
    broker = broker_of(text.replace("\n", "\r\n"), [plain, tls, psk, ws, proxied])
    with kit.Raw(plain) as raw:
        assert raw.connect("c") == (0x20, b"\0\0")
        assert raw.send(wire.subscribe("t")).packet() == (0x90, b"\0\1\0")
        assert raw.send(wire.publish("t", "x")).packet() == (0x30, b"\0\1tx")
    with kit.Raw(plain) as raw:
        answer = raw.send(wire.connect("", 5)).packet()[1]
        assert b"mine-" in answer and b"\x21\0\x14" in answer and b"\x22\0\x0a" in answer and b"\x27\0\1\x86\xa0" in answer
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(kit.PATIENCE)
        s.connect(str(tmp_path / "socket"))
        s.sendall(wire.connect("u", username="bob", password="secret"))
        assert s.recv(4) == b"\x20\2\0\0"
    with kit.Raw(proxied) as raw:
        assert raw.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + wire.connect("p", username="bob", password="wrong")).rest() == b"\x20\2\0\5"
    assert kit.signet("broker", "-c", broker.conf, "--test-config").returncode == 0


# ---- the lines of mosquitto ----

def act(port):
    """What clients do all day."""
    def enter(client_id, version=4, **more):
        raw = kit.Raw(port).send(wire.connect(client_id, version, **more))
        assert raw.packet()[0] == 0x20
        return raw

    def leave(raw, data):
        raw.send(data)
        raw.rest()
        raw.close()
    leave(enter("a"), wire.disconnect(4))
    leave(enter("b", 5, clean=False, keepalive=7), wire.disconnect(5))
    leave(enter("c", 3), wire.disconnect(4))
    gone = enter("gone")
    gone.sock.shutdown(socket.SHUT_WR)
    gone.rest()
    first = enter("twice")
    second = enter("twice")
    first.rest()
    leave(second, wire.disconnect(4))
    named = enter("named", username="joe", clean=False, keepalive=30)
    named.send(wire.subscribe("a/b", options=1)).packet()
    named.send(wire.unsubscribe("a/b", packet_id=2)).packet()
    leave(named, wire.disconnect(4))
    enter("silent", keepalive=1).rest()


def told(text):
    lines = [line for line in text.splitlines() if re.match(r"New client connected|Client |\w+ 1 a/b|\w+ a/b", line)]
    # The probe of the port is nobody to us.
    return sorted(re.sub(r"(127\.0\.0\.1):\d+", r"\1:PORT", line) for line in lines if "<unknown>" not in line)


def test_lines_are_mosquittos(broker_of, tmp_path):
    """Tools that read mosquitto's log find what they look for: the same lines for the same events, to the letter."""
    theirs, ours = kit.free_port(), kit.free_port()
    log = "log_timestamp false\n" + "".join(f"log_type {t}\n" for t in ("error", "warning", "notice", "information", "subscribe", "unsubscribe"))
    (tmp_path / "m.conf").write_text(f"listener {theirs} 127.0.0.1\nallow_anonymous true\nuser root\n{log}")
    with open(tmp_path / "m.log", "wb") as out:
        process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(tmp_path / "m.conf")], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    broker = broker_of(conf(ours, *log.splitlines()), ours)
    try:
        kit.wait_for(lambda: listening(theirs), "mosquitto")
        act(theirs)
        act(ours)
        want = "silent has exceeded timeout"
        kit.wait_for(lambda: want in (tmp_path / "m.log").read_text(), "mosquitto's last line")
        broker.wait_log(want)
    finally:
        process.terminate()
        process.wait(kit.PATIENCE)
    lines = told((tmp_path / "m.log").read_text())
    assert len(lines) > 12 and told(broker.log()) == lines


def exchange(port, version):
    """Each kind of packet once, by one client that talks to itself."""
    def ack(kind, packet_id):
        raw.send(wire.packet(kind, packet_id, flags=2 if kind == wire.PUBREL else 0))

    def until(kind):
        while True:
            first, body = raw.packet()
            if first >> 4 == kind:
                return body
            if first >> 4 == wire.PUBLISH:
                inner.append((first, body))
    inner = []
    raw = kit.Raw(port).send(wire.connect("t", version))
    until(0x2)
    raw.send(wire.subscribe("t/+", options=2, version=version))
    until(wire.SUBACK)
    raw.send(wire.publish("t/0", b"zero", 0, version=version))
    raw.send(wire.publish("t/1", b"one", 1, 7, version))
    until(wire.PUBACK)
    raw.send(wire.publish("t/2", b"two", 2, 8, version))
    until(wire.PUBREC)
    ack(wire.PUBREL, b"\0\x08")
    until(wire.PUBCOMP)
    while len(inner) < 3:
        inner.append(raw.packet())
    ack(wire.PUBACK, b"\0\x01")
    ack(wire.PUBREC, b"\0\x02")
    until(wire.PUBREL)
    ack(wire.PUBCOMP, b"\0\x02")
    raw.send(wire.unsubscribe("t/+", packet_id=9, version=version))
    until(wire.UNSUBACK)
    raw.send(b"\xc0\0")
    until(wire.PINGRESP)
    raw.send(wire.disconnect(version))
    raw.rest()
    raw.close()


@pytest.mark.parametrize("version", [4, 5])
def test_packets_are_mosquittos_lines(broker_of, tmp_path, version):
    """log_type debug: each packet is the line that mosquitto writes."""
    theirs, ours = kit.free_port(), kit.free_port()
    log = "log_timestamp false\nlog_type debug\n"
    (tmp_path / "m.conf").write_text(f"listener {theirs} 127.0.0.1\nallow_anonymous true\nuser root\n{log}")
    with open(tmp_path / "m.log", "wb") as out:
        process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(tmp_path / "m.conf")], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    broker = broker_of(conf(ours, *log.splitlines()), ours)
    try:
        kit.wait_for(lambda: listening(theirs), "mosquitto")
        exchange(theirs, version)
        exchange(ours, version)
        kit.wait_for(lambda: "Received DISCONNECT from t" in (tmp_path / "m.log").read_text(), "mosquitto's last line")
        broker.wait_log("Received DISCONNECT from t")
    finally:
        process.terminate()
        process.wait(kit.PATIENCE)

    def packets(text):
        lines = [line for line in text.splitlines() if re.match(r"(Received|Sending) \w+ (from|to) t\b|\tt/", line)]
        return sorted(line for line in lines)
    lines = packets((tmp_path / "m.log").read_text())
    assert len(lines) > 18 and packets(broker.log()) == lines
