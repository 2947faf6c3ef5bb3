"""Password files, pre-shared keys, and the directives that make client ids: with the clients, the broker and the tools of mosquitto."""
import fcntl
import os
import pty
import re
import select
import subprocess
import threading
import time

import pytest

import clienttools
import kit

NOT_AUTHORIZED = {kit.V311: 5, kit.V5: 0x87}
KEY = "00112233445566778899aabbccddeeff"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "files"
    made.mkdir()
    return made


def passwd(path, user, password, *options):
    new = () if path.exists() else ("-c",)
    kit.signet("passwd", *new, *options, path, user, stdin=password + "\n")
    return path


def mosquitto_passwd(path, user, password, *options):
    new = () if path.exists() else ("-c",)
    done = kit.mosquitto("mosquitto_passwd", *options, *new, "-b", path, user, password)
    assert done.returncode == 0, done.stderr
    path.chmod(0o600)
    return path


def conf_of(port, *lines):
    return f"{kit.STAY_ROOT}listener {port} 127.0.0.1\n" + "\n".join(map(str, lines)) + "\n"


def start(broker_of, *lines, options=("-v",)):
    port = kit.free_port()
    return broker_of(conf_of(port, *lines), port, *options)


def code_of(broker, username=None, password=None, version=kit.V311, client_id="c", **more):
    """What CONNACK says to a client; 0: let in."""
    try:
        kit.Client(broker, client_id, version=version, username=username, password=password, host="127.0.0.1", **more).close()
        return 0
    except kit.Refused as refused:
        return refused.code


def mosquitto_pub(port, *words):
    return kit.mosquitto("mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-t", "t", "-m", "x", *words)


# ---- files made by one are read by the other ----

KINDS = [("-H", "sha512"), ("-H", "sha512-pbkdf2"), ("-H", "argon2id"), ("-H", "sha512-pbkdf2", "-I", "7"), ("-H", "argon2id", "-I", "64"), ()]


@pytest.mark.parametrize("options", KINDS, ids=lambda o: "-".join(o) or "default")
def test_every_kind_of_hash_lets_real_clients_in(broker_of, folder, options):
    file = passwd(folder / "p", "bob", "s3cret", *options)
    broker = start(broker_of, f"password_file {file}")
    for version in ("mqttv31", "mqttv311", "mqttv5"):
        assert mosquitto_pub(broker.port, "-V", version, "-u", "bob", "-P", "s3cret").returncode == 0
    broker.wait_log(r"New client connected from .*u'bob'")
    assert mosquitto_pub(broker.port, "-u", "bob", "-P", "wrong").returncode == 5
    assert mosquitto_pub(broker.port, "-u", "bob").returncode == 5
    assert mosquitto_pub(broker.port).returncode == 5
    assert mosquitto_pub(broker.port, "-V", "5", "-u", "bob", "-P", "wrong").returncode == 0x87


@pytest.mark.parametrize("options", [(), ("-H", "sha512")], ids=["pbkdf2", "sha512"])
def test_files_of_mosquitto_passwd_work(broker_of, folder, options):
    file = mosquitto_passwd(folder / "p", "bob", "geheim ä", *options)
    mosquitto_passwd(file, "al", "x")
    passwd(file, "eve", "y")
    broker = start(broker_of, f"password_file {file}")
    for user, password in (("bob", "geheim ä"), ("al", "x"), ("eve", "y")):
        assert code_of(broker, user, password) == 0
    assert code_of(broker, "al", "y") == 5


@pytest.mark.skipif(clienttools.mosquitto_broker() is None, reason="mosquitto is not installed")
@pytest.mark.parametrize("options", [(), ("-H", "sha512"), ("-I", "101")], ids=lambda o: "-".join(o) or "default")
def test_mosquitto_reads_our_files_and_answers_alike(broker_of, folder, options):
    file = passwd(folder / "p", "bob", "s3cret", *options)
    mosquitto_passwd(file, "al", "x")
    passwd(file, "eve", "y", *options)
    ours = start(broker_of, f"password_file {file}", "allow_anonymous true")
    theirs = clienttools.Broker(folder / "m", f"allow_anonymous true\npassword_file {file}").start()
    try:
        for words in (("-u", "bob", "-P", "s3cret"), ("-u", "al", "-P", "x"), ("-u", "eve", "-P", "y"), ("-u", "eve", "-P", "n"),
                      ("-u", "who", "-P", "y"), ("-u", "eve"), (), ("-u", "", "-P", "x")):
            for version in ("311", "5"):
                codes = [mosquitto_pub(port, "-V", version, *words).returncode for port in (theirs.ports[0], ours.port)]
                assert codes[0] == codes[1], (words, version, codes)
    finally:
        theirs.stop()


# ---- who is let in ----

def login_packet(user, password, version=4):
    flags = 0x82 | (0x40 if password is not None else 0)
    body = b"\0\4MQTT" + bytes([version, flags]) + b"\0\x3c" + (b"\0" if version == 5 else b"") + b"\0\1c"
    for text in (user, password) if password is not None else (user,):
        body += len(text).to_bytes(2, "big") + text
    return b"\x10" + bytes([len(body)]) + body


def test_answers_do_not_tell_names_from_passwords(broker_of, folder):
    """The same bytes, the same number of hashes of the same kind; only the log knows."""
    file = passwd(folder / "p", "bob", "right", "-I", "10")
    broker = start(broker_of, f"password_file {file}")

    def answer(user, password, version):
        mark = broker.mark()
        with kit.Raw(broker.port) as raw:
            reply = raw.send(login_packet(user, password, version)).rest()
        line = broker.wait_log(r"Refused CONNECT .*\[(.*?)\].*Remedy: (.*)", mark)
        return reply, len(re.findall("one sha512-pbkdf2 hash computed", broker.log()[mark:])), line.group(1)

    for version in (4, 5):
        wrong, unknown = answer(b"bob", b"wrong", version), answer(b"eve", b"right", version)
        assert wrong[:2] == unknown[:2] and wrong[1] == 1
        assert wrong[0] == (b"\x20\x02\0\x05" if version == 4 else b"\x20\x03\0\x87\0")
        assert (wrong[2], unknown[2]) == ("wrong-password", "unknown-user")
        assert answer(b"", b"", version)[2] == "anonymous"
        assert answer(b"bob", None, version)[0] == wrong[0]
    # A password of the file or of a client is never in the log.
    assert not re.search("right|wrong'", broker.log())
    assert "'bob'" in broker.log() and "'eve'" in broker.log()


def test_anonymous_only_without_a_name(broker_of, folder):
    file = passwd(folder / "p", "bob", "right", "-I", "10")
    broker = start(broker_of, f"password_file {file}", "allow_anonymous true")
    assert code_of(broker) == 0
    assert code_of(broker, "bob", "right") == 0
    assert code_of(broker, "bob", "wrong") == 5
    assert code_of(broker, "eve", "x", kit.V5) == 0x87
    # An empty file: everybody with a name is refused.
    empty = folder / "empty"
    empty.write_text("# nobody\n")
    broker = start(broker_of, f"password_file {empty}", "allow_anonymous true")
    assert code_of(broker) == 0
    assert code_of(broker, "bob", "right") == 5


def test_listeners_have_files_of_their_own(broker_of, folder):
    one, two = passwd(folder / "1", "bob", "one", "-I", "10"), passwd(folder / "2", "bob", "two", "-I", "10")
    ports = [kit.free_port() for _ in range(4)]
    conf = kit.STAY_ROOT + "per_listener_settings true\n"
    conf += f"listener {ports[0]} 127.0.0.1\npassword_file {one}\nlistener {ports[1]} 127.0.0.1\npassword_file {two}\n"
    conf += f"listener {ports[2]} 127.0.0.1\nlistener {ports[3]} 127.0.0.1\nlistener_allow_anonymous true\nallow_anonymous false\n"
    broker = broker_of(conf, ports)
    for port, password, code in ((0, "one", 0), (0, "two", 5), (1, "one", 5), (1, "two", 0), (2, "one", 5), (3, "any", 0)):
        assert code_of(broker, "bob", password, port=ports[port]) == code, (port, password)
    assert code_of(broker, port=ports[2]) == 5


def test_acl_sees_the_user_name(broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    passwd(file, "al#", "y", "-I", "10")
    acl = folder / "acl"
    acl.write_text("user bob\ntopic bob/#\npattern read u/%u\n")
    broker = start(broker_of, f"password_file {file}", f"acl_file {acl}")
    with kit.Client(broker, "b", username="bob", password="x", host="127.0.0.1") as bob, \
         kit.Client(broker, "a", username="al#", password="y", host="127.0.0.1") as al:
        assert bob.subscribe("bob/#", "al/#", "u/bob") == [0, 0x80, 0]
        assert al.subscribe("bob/#", "u/#", "u/bob") == [0x80, 0x80, 0x80]


def test_a_wrong_password_touches_nothing(broker_of, folder):
    """NanoMQ #2333, #2330: neither the session nor the connection of that id, and no will."""
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    broker = start(broker_of, f"password_file {file}")
    with kit.Client(broker, "dev", username="bob", password="x", clean=False, host="127.0.0.1") as bob:
        bob.subscribe("t", "will", qos=1)
        for version in (kit.V311, kit.V5):
            assert code_of(broker, "bob", "y", version, client_id="dev", will={"topic": "will", "payload": "no"}) == NOT_AUTHORIZED[version]
        bob.publish("t", "still here", qos=1)
        bob.message("t", "still here")
    with kit.Client(broker, "dev", username="bob", password="x", clean=False, host="127.0.0.1") as bob:
        assert bob.session_present


def test_packets_behind_connect_wait_for_the_verdict(broker_of, folder):
    file = passwd(folder / "p", "bob", "x")
    broker = start(broker_of, f"password_file {file}")
    body = b"\0\4MQTT\4\xc2\0\x3c\0\1c\0\3bob\0\1x"
    with kit.Raw(broker.port) as raw:
        raw.send(b"\x10" + bytes([len(body)]) + body + b"\xc0\0" * 3 + b"\x82\6\0\1\0\1t\0" + b"\xc0\0")
        assert raw.packet() == (0x20, b"\0\0")
        assert [raw.packet() for _ in range(5)] == [(0xd0, b"")] * 3 + [(0x90, b"\0\1\0"), (0xd0, b"")]
    # Gone before the verdict: nothing remains. Each may cost a hash, since what it sent before it closed may be valid.
    for _ in range(5):
        kit.Raw(broker.port).send(b"\x10" + bytes([len(body)]) + body).close()
    assert code_of(broker, "bob", "x") == 0


def test_passwords_over_tls_and_beside_certificates(pki, broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    device = pki.device("sensor01")
    port = kit.free_port()
    conf = pki.conf(port, f"password_file {file}", require_certificate="false", policy=None)
    broker = broker_of(conf + "policy " + str(open_policy(folder)) + "\n" + kit.STAY_ROOT, port, "-v")
    words = ("-h", "localhost", "-p", port, "-t", "t", "-m", "x", "--cafile", device["ca"])
    assert kit.mosquitto("mosquitto_pub", *words, "-u", "bob", "-P", "x").returncode == 0
    assert kit.mosquitto("mosquitto_pub", *words, "-u", "bob", "-P", "y").returncode == 5
    assert kit.mosquitto("mosquitto_pub", *words).returncode == 5
    # The certificate is the identity: the password is not looked at.
    assert kit.mosquitto("mosquitto_pub", *words, "--cert", device["cert"], "--key", device["key"], "-i", "sensor01", "-u", "bob", "-P", "y").returncode == 0
    broker.wait_log(r"as sensor01 .*u'sensor01'")


def open_policy(folder):
    policy = folder / "open.policy"
    policy.write_text("connect everyone\nallow everyone publish,subscribe #\n")
    return policy


# ---- files that are not as they should be ----

@pytest.mark.parametrize("text,why", [
    ("bob\n", "passwd:1: not of the form user:hash"),
    ("# x\nbob:\n", "passwd:2: user 'bob': there is no password"),
    ("bob:secret\n", "passwd:1: user 'bob': the password stands there in plain text; `signet passwd -U FILE`"),
    ("bob:$7$101$AAAAAAAAAAAAAAAA$AAAA\n", "passwd:1: user 'bob': the hash is not one of 64 bytes"),
    ("bob:$7$99999999$AAAAAAAAAAAAAAAA$" + "A" * 86 + "==\n", "so many iterations would hold the broker up"),
    ("bob:$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA\n", "would hold the broker up"),
])
def test_a_broken_file_stops_the_start(folder, text, why):
    """CVE-2018-12551 let users without a password in."""
    file = folder / "passwd"
    file.write_text(text)
    conf = folder / "c.conf"
    conf.write_text(conf_of(kit.free_port(), f"password_file {file}"))
    look = kit.signet("broker", "-c", conf, "--test-config", check=False)
    assert look.returncode == 3 and f"{conf}:{3 if kit.STAY_ROOT else 2}: password_file: " in look.stderr and why in look.stderr
    run = kit.signet("broker", "-c", conf, check=False)
    assert run.returncode in (1, 3) and why in run.stderr + run.stdout


def test_test_config_says_who_comes(folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    file.chmod(0o644)
    conf = folder / "c.conf"
    conf.write_text(conf_of(1883, f"password_file {file}"))
    out = kit.signet("broker", "-c", conf, "--test-config").stdout
    assert "lets in: users with their password" in out and "users: 1" in out
    assert "everybody on this machine can read it (mode 0644)" in out


# ---- reload ----

@pytest.mark.tsan
def test_reload_is_all_or_nothing(pki, broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    device = pki.device("sensor01")
    port = kit.free_port()
    conf = pki.conf(port, f"password_file {file}", require_certificate="false", policy=None)
    broker = broker_of(conf + "policy " + str(open_policy(folder)) + "\n" + kit.STAY_ROOT, port)
    trust = {"ca": device["ca"]}
    with kit.Client(broker, "sensor01", files=device) as sensor, kit.Client(broker, "b", files=trust, username="bob", password="x") as bob:
        sensor.subscribe("t")
        passwd(file, "al", "y", "-I", "10")
        assert kit_code(broker, trust, "al", "y") == 5
        broker.reload()
        assert kit_code(broker, trust, "al", "y") == 0
        # One bad line: everything stays.
        good = file.read_text()
        file.write_text(good.replace("bob:$7$", "bob:$9$"))
        mark = broker.mark()
        broker.process.send_signal(1)
        assert "p:1: user 'bob'" in broker.wait_log("Reload failed.*", mark).group(0)
        assert kit_code(broker, trust, "al", "y") == 0 and kit_code(broker, trust, "bob", "x") == 0
        # Who has a certificate stays; who logged in with what is gone now is cut off.
        file.write_text("")
        kit.signet("passwd", "-I", "10", file, "eve", stdin="z\n")
        broker.reload()
        assert kit_code(broker, trust, "bob", "x") == 5 and kit_code(broker, trust, "eve", "z") == 0
        bob.wait_closed()
        broker.wait_log(r"Client b disconnected due to .*password or key has been changed or removed")
        sensor.publish("t", "1", qos=1)
        sensor.message("t", "1")


def kit_code(broker, trust, user, password):
    try:
        kit.Client(broker, "other-" + user, files=trust, username=user, password=password).close()
        return 0
    except kit.Refused as refused:
        return refused.code


# ---- load ----

@pytest.mark.tsan
def test_waiting_logins_hold_nobody_up(broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-H", "argon2id", "-I", "32768")
    broker = start(broker_of, f"password_file {file}", "allow_anonymous true", "workers 2")
    body = b"\0\4MQTT\4\xc2\0\x3c\0%b\0\3bob\0\1x"
    logins = 8 if kit.BUILD == "tsan" else 50  # there each takes seconds
    best = None
    for attempt in range(3):  # other programs of the machine count, too
        with kit.Raw(broker.port) as pinger:
            assert pinger.connect("pinger") == (0x20, b"\0\0")
            waiting = [kit.Raw(broker.port) for _ in range(logins)]
            for i, raw in enumerate(waiting):
                packet = body % (b"\3l%02d" % i)
                raw.send(b"\x10" + bytes([len(packet)]) + packet)
            answers, longest, pings = 0, 0.0, 0
            while answers < len(waiting):
                begin = time.monotonic()
                pinger.send(b"\xc0\0")
                assert pinger.packet() == (0xd0, b"")
                longest = max(longest, time.monotonic() - begin)
                pings += 1
                ready, _, _ = select.select([raw.sock for raw in waiting if raw.sock.fileno() >= 0], [], [], 0)
                for raw in waiting:
                    if raw.sock in ready:
                        assert raw.packet() == (0x20, b"\0\0")
                        raw.close()
                        answers += 1
        assert pings > 5
        best = min(best, longest) if best is not None else longest
        if best < 0.2:
            break
    assert best < 0.2, f"a PINGRESP took {best:.3f} s"


def test_more_logins_than_fit_are_told_to_come_again(broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "2000000")
    broker = start(broker_of, f"password_file {file}", "allow_anonymous true", options=())
    body = b"\0\4MQTT\5\xc2\0\x3c\0\0\0\0\3bob\0\1x"
    waiting = []
    poll = select.poll()  # more descriptors than select() takes
    try:
        for _ in range(1100):
            waiting.append(kit.Raw(broker.port).send(b"\x10" + bytes([len(body)]) + body))
            poll.register(waiting[-1].sock, select.POLLIN)
        ready = poll.poll(kit.PATIENCE * 1000)
        busy = [raw for raw in waiting if raw.sock.fileno() == ready[0][0]]
        assert busy[0].packet()[1][1] == 0x89
        broker.wait_log(r"\[login-busy\]")
    finally:
        for raw in waiting:
            raw.close()
    # Whoever waits does not keep the broker from ending.
    begin = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - begin < 20


def test_guessing_is_slowed_down(broker_of, folder):
    file = passwd(folder / "p", "bob", "right", "-I", "10")
    passwd(file, "al", "right", "-I", "10")
    broker = start(broker_of, f"password_file {file}")
    codes = []
    for i in range(12):
        with kit.Raw(broker.port) as raw:
            codes.append(raw.send(login_packet(b"bob", b"guess%d" % i, 5)).packet()[1][1])
    # One more may come in if the test itself is slow.
    assert codes[:10] == [0x87] * 10 and 0x9f in codes[10:]
    broker.wait_log(r"too many wrong passwords .*\[login-rate\]")
    # Even the right one has to wait now; others do not.
    assert code_of(broker, "al", "right") == 0
    kit.wait_for(lambda: code_of(broker, "bob", "right") == 0, "another try")


@pytest.mark.tsan
def test_right_passwords_do_not_count(broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    broker = start(broker_of, f"password_file {file}", options=())
    codes = []
    threads = [threading.Thread(target=lambda: codes.extend(code_of(broker, "bob", "x", client_id=f"{i}") for i in range(5))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(0) == 40, codes


# ---- client ids ----

def test_user_names_as_client_ids(broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    passwd(file, "al", "y", "-I", "10")
    broker = start(broker_of, f"password_file {file}", "allow_anonymous true", "use_username_as_clientid true")
    with kit.Client(broker, "whatever", username="bob", password="x", host="127.0.0.1") as bob:
        broker.wait_log(r"as bob .*u'bob'")
        # Nobody else can take this id.
        assert code_of(broker, "al", "y", client_id="bob") == 0
        assert code_of(broker, client_id="bob") == 5
        assert code_of(broker, "bob", "wrong", client_id="x") == 5
        bob.subscribe("t")
        bob.publish("t", "1")
        bob.message("t", "1")
    broker.wait_log(r"\[no-username\]")


def test_prefixes_of_client_ids(broker_of):
    broker = start(broker_of, "allow_anonymous true", "auto_id_prefix dev-", "clientid_prefixes dev")
    with kit.Client(broker, "", version=kit.V5, host="127.0.0.1") as client:
        assert re.fullmatch("dev-[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", client.connack.AssignedClientIdentifier)
    assert code_of(broker, client_id="device") == 0
    assert code_of(broker, client_id="other") == 5
    assert code_of(broker, client_id="other", version=kit.V5) == 0x87
    broker.wait_log(r"\[client-id-prefix\]")
    own = start(broker_of, "allow_anonymous true", "auto_id_prefix dev-", "listener_auto_id_prefix mine-")
    with kit.Client(own, "", version=kit.V5, host="127.0.0.1") as client:
        assert client.connack.AssignedClientIdentifier.startswith("mine-")


# ---- pre-shared keys ----

def psk_file(folder, *lines):
    file = folder / "keys"
    file.write_text("".join(line + "\n" for line in (f"dev1:{KEY}", *lines)))
    file.chmod(0o600)
    return file


def psk_connect(port, identity, key, version, client_id="c"):
    """CONNACK's code over exactly this version of TLS, or None and what openssl said."""
    body = b"\0\4MQTT\4\2\0\x3c" + len(client_id).to_bytes(2, "big") + client_id.encode()
    process = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-psk_identity", identity, "-psk", key, version, "-cipher",
                                "PSK", "-quiet", "-no_ign_eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stdin.write(b"\x10" + bytes([len(body)]) + body)
        process.stdin.flush()
        answer = process.stdout.read(4)
        if len(answer) == 4:
            return answer[3], ""
        return None, process.stderr.read().decode()
    except BrokenPipeError:
        return None, process.stderr.read().decode()
    finally:
        process.kill()
        process.communicate()


def test_pre_shared_keys(broker_of, folder):
    broker = start(broker_of, f"psk_file {psk_file(folder, 'short:aabb')}", "psk_hint signet", "use_identity_as_username true")
    broker.wait_log("1 of 2 pre-shared keys are shorter than 16 bytes")
    for words in ((), ("-V", "5"), ("-u", "root", "-P", "x")):
        assert mosquitto_pub(broker.port, "--psk", KEY, "--psk-identity", "dev1", *words).returncode == 0
        broker.wait_log(r"u'dev1'")
    assert "u'root'" not in broker.log()
    for version in ("-tls1_2", "-tls1_3"):
        assert psk_connect(broker.port, "dev1", KEY, version, f"dev{version}") == (0, "")
        broker.wait_log(rf"as dev{version} .*u'dev1'")
    # A wrong key and an unknown identity look alike from outside.
    for version in ("-tls1_2", "-tls1_3"):
        alerts = []
        for identity, key, cause in (("dev1", KEY[:-1] + "0", "wrong-psk"), ("dev2", KEY, "unknown-psk-identity")):
            mark = broker.mark()
            code, text = psk_connect(broker.port, identity, key, version)
            assert code is None
            alerts.append(re.search(r"alert number \d+", text).group(0))
            assert f"'{identity}'" in broker.wait_log(rf"Refused TLS handshake .*\[{cause}\]", mark).group(0)
        assert alerts[0] == alerts[1]
    assert mosquitto_pub(broker.port, "--psk", "aa", "--psk-identity", "dev1").returncode != 0
    assert mosquitto_pub(broker.port).returncode != 0


def test_pre_shared_keys_do_not_replace_passwords_unless_told(broker_of, folder):
    file = passwd(folder / "p", "bob", "x", "-I", "10")
    broker = start(broker_of, f"psk_file {psk_file(folder)}", "psk_hint signet", f"password_file {file}")
    psk = ("--psk", KEY, "--psk-identity", "dev1")
    assert mosquitto_pub(broker.port, *psk).returncode == 5
    assert mosquitto_pub(broker.port, *psk, "-u", "dev1").returncode == 5
    assert mosquitto_pub(broker.port, *psk, "-u", "bob", "-P", "x").returncode == 0


def test_keys_and_certificates_on_one_listener(pki, broker_of, folder):
    device = pki.device("sensor01")
    port = kit.free_port()
    conf = pki.conf(port, f"psk_file {psk_file(folder)}", "psk_hint h", require_certificate="false", policy=None)
    if "use_identity_as_username" not in conf:
        conf += "use_identity_as_username true\n"
    broker = broker_of(conf + "policy " + str(open_policy(folder)) + "\n" + kit.STAY_ROOT, port)
    assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", port, "-t", "t", "-m", "x", "-i", "sensor01", *kit.tls_words(device)).returncode == 0
    broker.wait_log(r"as sensor01 .*u'sensor01'")
    for version in ("-tls1_2", "-tls1_3"):
        assert psk_connect(port, "dev1", KEY, version, "k" + version) == (0, "")
        broker.wait_log(rf"as k{version} .*u'dev1'")
    # An identity that was only claimed counts for nothing: the client goes on without certificate and key.
    with kit.Raw(port, files={"ca": device["ca"]}) as raw:
        assert raw.connect("dev1")[1][1] == 5


@pytest.mark.tsan
def test_keys_are_read_again(broker_of, folder):
    keys = psk_file(folder)
    broker = start(broker_of, f"psk_file {keys}", "psk_hint h", "use_identity_as_username true")
    other = KEY[::-1]
    keys.write_text(f"dev1:{other}\n")
    broker.reload()
    assert mosquitto_pub(broker.port, "--psk", KEY, "--psk-identity", "dev1").returncode != 0
    assert mosquitto_pub(broker.port, "--psk", other, "--psk-identity", "dev1").returncode == 0
    keys.write_text("dev1:xyz\n")
    mark = broker.mark()
    broker.process.send_signal(1)
    assert "keys:1: identity 'dev1'" in broker.wait_log("Reload failed.*", mark).group(0)
    assert mosquitto_pub(broker.port, "--psk", other, "--psk-identity", "dev1").returncode == 0


# ---- signet passwd ----

def at_terminal(*answers, words):
    """Run `signet passwd` at a terminal; what the terminal shows, and the exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(kit.SIGNET, [kit.SIGNET, "passwd", *map(str, words)])
    shown = b""
    end = time.monotonic() + kit.PATIENCE
    answers = list(answers)
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                more = os.read(fd, 4096)
            except OSError:
                break
            if not more:
                break
            shown += more
            if answers and shown.endswith(b": "):
                os.write(fd, answers.pop(0).encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return shown.decode(), os.waitstatus_to_exitcode(status)


def test_the_terminal_does_not_show_passwords(folder):
    file = folder / "p"
    shown, code = at_terminal("geheim1", "geheim1", words=("-c", file, "bob"))
    assert code == 0 and "geheim" not in shown and "New password for bob" in shown
    text = file.read_text()
    assert text.startswith("bob:$7$100000$") and "geheim" not in text and file.stat().st_mode & 0o777 == 0o600
    shown, code = at_terminal("one", "two", words=(file, "al"))
    assert code == 2 and "differ: nothing was done" in shown and file.read_text() == text


def test_other_lines_owner_and_mode_stay(folder):
    file = folder / "p"
    file.write_text("# our users\nal:$6$pHZqXIfmxT9fB0VH$A1ZHoY1t\n\n")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 12346)
    link = folder / "link"
    link.symlink_to(file)
    kit.signet("passwd", link, "bob", stdin="x\n")
    assert link.is_symlink() and file.read_text().startswith("# our users\nal:$6$pHZqXIfmxT9fB0VH$A1ZHoY1t\n\nbob:$7$")
    assert file.stat().st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)
    kit.signet("passwd", "-D", file, "al")
    assert file.read_text().startswith("# our users\n\nbob:$7$")
    gone = kit.signet("passwd", "-D", file, "al", check=False)
    assert gone.returncode == 1 and "no user 'al'" in gone.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["link", "p"]


def test_passwd_words(folder):
    file = folder / "p"
    warned = kit.signet("passwd", "-c", "-b", file, "bob", "x")
    assert "every user of this machine" in warned.stderr
    for words, code in ((("-b", file, "bob"), 2), ((file,), 2), (("-H", "md5", file, "x"), 2), (("-I", "0", file, "x"), 2), (("-D", "-c", file, "x"), 2),
                        (("-b", file, "a:b", "x"), 2), (("-b", file, "", "x"), 2), (("-b", file, "a\nb", "x"), 2), (("-b", file, "al", ""), 2),
                        (("-H", "sha512", "-I", "3", "-b", file, "al", "x"), 2), (("-b", folder / "none", "al", "x"), 1), (("-D", folder / "none", "al"), 1),
                        (("-x", file, "x"), 2)):
        before = file.read_text()
        assert kit.signet("passwd", *words, check=False).returncode == code, words
        assert file.read_text() == before
    assert "mosquitto 2.0" in kit.signet("passwd", "--help").stdout


def test_plain_passwords_are_upgraded(broker_of, folder):
    file = folder / "p"
    file.write_text("bob:plain:with:colons\nal:$strange\n")
    file.chmod(0o600)
    assert "2 passwords" in kit.signet("passwd", "-U", file).stdout
    before = file.read_text()
    assert "0 passwords" in kit.signet("passwd", "-U", file).stdout and file.read_text() == before
    broker = start(broker_of, f"password_file {file}")
    assert code_of(broker, "bob", "plain:with:colons") == 0 and code_of(broker, "al", "$strange") == 0


def test_two_edits_at_once_are_both_kept(folder):
    """One waits for the other and works on what that has left."""
    file = folder / "p"
    kit.signet("passwd", "-c", "-b", file, "first", "x")
    users = [f"user{n}" for n in range(12)]
    running = [subprocess.Popen([kit.SIGNET, "passwd", "-H", "sha512", "-b", str(file), user, "x"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for user in users]
    assert [p.wait(120) for p in running] == [0] * len(users)
    assert sorted(line.split(":")[0] for line in file.read_text().splitlines()) == sorted(["first", *users])
    # Somebody who holds it is waited for, and that is said.
    with open(file, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen([kit.SIGNET, "passwd", "-D", str(file), "first"], stderr=subprocess.PIPE)
        assert b"waiting for another change" in waiting.stderr.readline()
        assert "first:" in file.read_text() and waiting.poll() is None
    assert waiting.wait(120) == 0
    waiting.stderr.close()
    assert "first:" not in file.read_text()
    assert [p.name for p in folder.iterdir()] == ["p"]
