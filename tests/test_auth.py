"""Enhanced authentication of MQTT 5 (3.15, 4.12) with SCRAM-SHA-256: by packets made here, and by signet's own clients."""
import base64
import hashlib
import hmac
import os
import socket
import threading

import pytest

import kit
import wire

METHOD = "SCRAM-SHA-256"
CONTINUE, AGAIN = 0x18, 0x19


# ---- the client's side of RFC 5802, a second time ----

class Scram:
    def __init__(self, user="user", password="pencil", header="n,,", nonce=None):
        self.user, self.password, self.header = user, password, header
        self.nonce = nonce or base64.b64encode(os.urandom(12)).decode()
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"

    def first(self):
        return self.header + self.bare

    def last(self, server_first, binding=None):
        self.parts = dict(part.split("=", 1) for part in server_first.split(","))
        assert self.parts["r"].startswith(self.nonce) and len(self.parts["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(self.parts["s"]), int(self.parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c={base64.b64encode((binding or self.header).encode()).decode()},r={self.parts['r']}"
        auth = f"{self.bare},{server_first},{without}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), auth, "sha256")
        self.server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth, "sha256")
        return without + ",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()

    def proves(self, server_last):
        return server_last == "v=" + base64.b64encode(self.server).decode()


def auth_props(data=None, method=METHOD):
    return (b"\x15" + wire.text(method) if method is not None else b"") + (b"\x16" + wire.text(data) if data is not None else b"")


def auth(reason, data=None, method=METHOD):
    return wire.packet(wire.AUTH, bytes([reason]) + wire.props(auth_props(data, method), 5))


def read_props(data):
    """Of AUTH and CONNACK: {identifier: value}."""
    sizes = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2a: 1}
    n, at, out = data[0] & 127, 1, {}
    if data[0] & 128:
        n, at = n + (data[1] << 7), 2
    end = at + n
    while at < end:
        name, at = data[at], at + 1
        size = sizes.get(name)
        if size is None:
            size, at = int.from_bytes(data[at:at + 2], "big"), at + 2
        out[name] = data[at:at + size]
        at += size
    return out


class Connection(kit.Raw):
    def begin(self, client_id="c", data=None, method=METHOD, **words):
        self.send(wire.connect(client_id, 5, properties=auth_props(data, method), **words))
        return self

    def auth(self, reason=CONTINUE):
        """The data of the AUTH that must be there."""
        first, body = self.packet()
        assert (first, body[0]) == (wire.AUTH << 4, reason), (first, body)
        found = read_props(body[1:])
        assert found[0x15] == METHOD.encode()
        return found.get(0x16, b"").decode()

    def connack(self):
        """(reason, data)"""
        first, body = self.packet()
        assert first == wire.CONNACK << 4, (first, body)
        found = read_props(body[2:])
        assert body[1] != 0 or found[0x15] == METHOD.encode()
        return body[1], found.get(0x16, b"").decode()

    def login(self, scram=None, **words):
        """The whole exchange; what CONNACK says."""
        scram = scram or Scram()
        self.begin(data=scram.first(), **words)
        self.send(auth(CONTINUE, scram.last(self.auth())))
        reason, data = self.connack()
        assert reason != 0 or scram.proves(data)
        return reason, data

    def again(self, scram=None):
        scram = scram or Scram()
        self.send(auth(AGAIN, scram.first()))
        self.send(auth(CONTINUE, scram.last(self.auth())))
        return scram

    def disconnected(self):
        first, body = self.packet()
        assert first == wire.DISCONNECT << 4, (first, body)
        assert self.rest() == b""
        return body[0]

    def lives(self):
        self.send(wire.PING)
        return self.packet()[0] == wire.PINGRESP << 4


@pytest.fixture
def users(tmp_path):
    file = tmp_path / "users"
    kit.signet("passwd", "-H", "scram-sha-256", "-I", 4096, "-c", file, "user", stdin="pencil\n")
    kit.signet("passwd", "-H", "scram-sha-256", "-I", 4096, file, "a,b=c", stdin="pencil\n")
    kit.signet("passwd", file, "old", stdin="secret\n")
    return file


def start(broker_of, users, *lines):
    port = kit.free_port()
    return broker_of(f"{kit.STAY_ROOT}listener {port} 127.0.0.1\npassword_file {users}\n" + "\n".join(map(str, lines)) + "\n", port, "-v")


@pytest.fixture
def broker(broker_of, users):
    return start(broker_of, users)


# ---- the exchange ----

@pytest.mark.parametrize("scram", [Scram(), Scram(header="y,,"), Scram(header="n,a=user,"), Scram("a,b=c")], ids=["n", "y", "authzid", "escaped"])
def test_who_knows_the_password_is_let_in(broker, scram):
    with Connection(broker.port) as c:
        assert c.login(scram)[0] == 0
        assert c.lives()
    broker.wait_log(rf"New client connected from .* as c \(.*u'{scram.user}'\)")


def test_the_first_message_may_come_in_auth(broker):
    scram = Scram()
    with Connection(broker.port) as c:
        assert c.begin().auth() == ""
        c.send(auth(CONTINUE, scram.first()))
        c.send(auth(CONTINUE, scram.last(c.auth())))
        reason, data = c.connack()
        assert reason == 0 and scram.proves(data)


@pytest.mark.parametrize("scram, cause", [
    (Scram(password="wrong"), "wrong password of user 'user' .wrong-password"),
    (Scram("nobody"), "password_file has no user 'nobody' .unknown-user"),
    (Scram("old", "secret"), "password_file has no scram-sha-256 hash of user 'old' .no-scram-hash"),
], ids=["password", "user", "hash"])
def test_all_others_see_the_same_and_the_log_knows_why(broker, scram, cause):
    with Connection(broker.port) as c:
        assert c.login(scram) == (0x87, "e=invalid-proof")
        assert c.rest() == b""
    broker.wait_log(cause)
    assert scram.parts["i"] == "4096"


def test_a_name_has_the_same_salt_each_time(broker):
    seen = {}
    for user in ("user", "nobody", "old", "someone") * 2:
        with Connection(broker.port) as c:
            salt = c.begin(data=Scram(user).first()).auth().split(",")[1]
        assert len(salt) == len("s=") + 24
        assert seen.setdefault(user, salt) == salt
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("first, error", [
    ("p=tls-exporter,,n=user,r=abc", "e=channel-binding-not-supported"),
    ("n,a=root,n=user,r=abc", "e=other-error"),
    ("n,,m=x,n=user,r=abc", "e=extensions-not-supported"),
    ("n,,n=us=er,r=abc", "e=invalid-username-encoding"),
    ("nonsense", "e=invalid-encoding"),
])
def test_wrong_first_messages(broker, first, error):
    with Connection(broker.port) as c:
        assert c.begin(data=first).connack() == (0x87, error)
        assert c.rest() == b""


def test_wrong_last_messages(broker):
    for change, error in ((lambda m: m.replace("c=biws", "c=eSws"), "e=channel-bindings-dont-match"),
                          (lambda m: m.replace(",r=", ",r=x"), "e=other-error"),
                          (lambda m: m.rpartition(",")[0], "e=invalid-encoding"),
                          (lambda m: "", "e=invalid-encoding")):
        scram = Scram()
        with Connection(broker.port) as c:
            c.begin(data=scram.first())
            c.send(auth(CONTINUE, change(scram.last(c.auth()))))
            assert c.connack() == (0x87, error)


def test_a_last_message_that_was_heard_is_of_no_use(broker):
    scram = Scram(nonce="always-the-same")
    with Connection(broker.port) as c:
        c.begin(data=scram.first())
        heard = scram.last(c.auth())
        c.send(auth(CONTINUE, heard))
        assert c.connack()[0] == 0
    with Connection(broker.port) as c:
        c.begin(data=scram.first()).auth()
        c.send(auth(CONTINUE, heard))
        assert c.connack() == (0x87, "e=other-error")


@pytest.mark.parametrize("method", ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "", "x" * 1000])
def test_other_methods_are_refused(broker, method):
    with Connection(broker.port) as c:
        assert c.begin(data="n,,n=user,r=abc", method=method).connack() == (0x8c, "")
        assert c.rest() == b""


@pytest.mark.parametrize("packet, code", [
    (wire.PING, 0x82), (wire.publish("t", b"x", version=5), 0x82), (wire.subscribe("t", version=5), 0x82),
    (wire.connect("c", 5), 0x82), (b"\xf0\0", 0x82), (auth(AGAIN, "x"), 0x82), (auth(0, "x"), 0x82),
    (auth(CONTINUE, "x", "other"), 0x82), (auth(CONTINUE, "x", None), 0x82), (b"\xf1\0", 0x81),
], ids=["ping", "publish", "subscribe", "connect", "bare", "again", "success", "other", "none", "flags"])
def test_nothing_but_auth_may_come_in_between(broker, packet, code):
    with Connection(broker.port) as c:
        c.begin(data=Scram().first()).auth()
        c.send(packet)
        assert c.connack() == (code, "")
        assert c.rest() == b""


def test_the_client_may_leave_in_between(broker):
    with Connection(broker.port) as c:
        c.begin(data=Scram().first()).auth()
        c.send(wire.disconnect(5))
        assert c.rest() == b""


def test_an_exchange_that_does_not_go_on_is_cut_off(broker):
    with Connection(broker.port) as c:
        c.begin(data=Scram().first()).auth()
        c.sock.settimeout(60)
        assert c.rest() == b""
    broker.wait_log("authentication was not finished in time")


def test_a_session_is_not_touched_before_the_proof(broker):
    with Connection(broker.port) as c, Connection(broker.port) as thief:
        assert c.login()[0] == 0
        scram = Scram(password="wrong")
        thief.begin(data=scram.first())
        last = scram.last(thief.auth())
        assert c.lives()
        thief.send(auth(CONTINUE, last))
        assert thief.connack()[0] == 0x87
        assert c.lives()


def test_guesses_are_slowed_down(broker):
    codes = []
    for _ in range(14):
        with Connection(broker.port) as c:
            codes.append(c.login(Scram(password="wrong"))[0])
    assert codes[:10] == [0x87] * 10 and 0x9f in codes[10:]
    broker.wait_log("login-rate")


def test_the_user_name_of_connect_must_be_the_same(broker):
    for username, code in (("user", 0), ("root", 0x87)):
        with Connection(broker.port) as c:
            assert c.login(username=username)[0] == code


# ---- re-authentication ----

def test_the_same_user_may_prove_it_again(broker):
    with Connection(broker.port) as c:
        assert c.login()[0] == 0
        c.send(wire.subscribe("t", version=5))
        assert c.packet()[0] == wire.SUBACK << 4
        for _ in range(3):
            scram = Scram()
            c.send(auth(AGAIN, scram.first()))
            server_first = c.auth()
            c.send(wire.publish("t", b"meanwhile", version=5))
            assert c.packet()[1].endswith(b"meanwhile")
            c.send(auth(CONTINUE, scram.last(server_first)))
            assert scram.proves(c.auth(0))
        assert c.lives()


@pytest.mark.parametrize("scram", [Scram(password="wrong"), Scram("nobody"), Scram("a,b=c")], ids=["password", "user", "another"])
def test_who_fails_again_is_disconnected(broker, scram):
    with Connection(broker.port) as c:
        assert c.login()[0] == 0
        c.again(scram)
        assert c.disconnected() == 0x87


@pytest.mark.parametrize("packet", [auth(AGAIN, "x", "other"), auth(CONTINUE, "x"), auth(0, "x"), b"\xf0\0"],
                         ids=["method", "continue", "success", "bare"])
def test_wrong_auth_on_a_connection_is_a_protocol_error(broker, packet):
    with Connection(broker.port) as c:
        assert c.login()[0] == 0
        c.send(packet)
        assert c.disconnected() == 0x82


def test_without_a_method_there_is_no_auth(broker):
    with Connection(broker.port) as c:
        c.send(wire.connect("c", 5, username="user", password="pencil"))
        assert c.packet()[1][1] == 0
        c.send(auth(AGAIN, Scram().first()))
        assert c.disconnected() == 0x82


# ---- who may ----

def test_a_listener_may_demand_one_way(broker_of, users):
    ports = [kit.free_port() for _ in range(3)]
    broker = broker_of(f"{kit.STAY_ROOT}password_file {users}\n" + "".join(
        f"listener {port} 127.0.0.1\nauth_method {way}\n" for port, way in zip(ports, ("any", "password", "SCRAM-SHA-256"))), ports, "-v")
    seen = []
    for port in ports:
        with Connection(port) as c:
            c.begin(data=Scram().first())
            first, body = c.packet()
            scram = 0 if first == wire.AUTH << 4 else body[1]
        with Connection(port) as c:
            c.send(wire.connect("c", 5, username="user", password="pencil"))
            seen.append((scram, c.packet()[1][1]))
    assert seen == [(0, 0), (0x8c, 0), (0, 0x87)]
    broker.wait_log("scram-only")


def test_without_a_password_file_no_method_is_offered(broker_of):
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\nallow_anonymous true\n", port)
    with Connection(port) as c:
        assert c.begin(data=Scram().first()).connack() == (0x8c, "")


def test_policies_know_the_user(broker_of, users, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("user user\ntopic readwrite mine\n")
    broker = start(broker_of, users, f"acl_file {acl}", "use_username_as_clientid true")
    with Connection(broker.port) as c:
        assert c.login(username="user")[0] == 0
        c.send(wire.subscribe("mine", "yours", version=5))
        assert c.packet()[1][-2:] == b"\0\x87"
    broker.wait_log(r"connected from .* as user ")
    with Connection(broker.port) as c:  # its session's place depends on the name, which CONNECT must say
        assert c.begin(data=Scram().first()).connack()[0] == 0x87


def test_a_certificate_that_is_the_identity_needs_no_method(broker_of, tmp_path, users):
    pki = kit.Pki(tmp_path / "pki")
    files = pki.device("dev1")
    port = kit.free_port()
    broker_of(pki.conf(port, f"password_file {users}"), port)
    with Connection(port, files=files, host="localhost") as c:
        assert c.begin("dev1", data=Scram().first()).connack() == (0x8c, "")


def test_a_user_whose_password_changes_is_sent_away(broker, users):
    with Connection(broker.port) as c:
        assert c.login()[0] == 0
        kit.signet("passwd", "-H", "scram-sha-256", "-I", 4096, users, "user", stdin="other\n")
        broker.reload()
        assert c.disconnected() == 0x98
    with Connection(broker.port) as c:
        assert c.login(Scram(password="other"))[0] == 0


# ---- clients ----

def tool(command, port, *words, password="pencil", user="user"):
    return kit.signet(command, "-h", "127.0.0.1", "-p", port, "-u", user, "--auth-method", METHOD, *words, check=False,
                      env={"SIGNET_MQTT_PASSWORD": password})


def test_signet_clients_prove_the_password(broker):
    done = tool("pub", broker.port, "-t", "t", "-m", "hello", "-r", "-q", "1")
    assert done.returncode == 0, done.stderr
    done = tool("sub", broker.port, "-t", "t", "-C", "1", "-W", "30", "-d")
    assert done.returncode == 0 and "hello" in done.stdout.splitlines(), done.stderr
    assert "received AUTH (24)" in done.stdout and "pencil" not in done.stdout + done.stderr
    broker.wait_log(r"u'user'")
    assert "pencil" not in broker.log()
    for words in ({"password": "wrong"}, {"user": "nobody"}, {"user": "old", "password": "secret"}):
        done = tool("pub", broker.port, "-t", "t", "-m", "x", **words)
        assert done.returncode == 0x87 and "not authorized" in done.stderr


def test_signet_clients_are_told_what_is_missing(broker):
    for words in (("--auth-method", "PLAIN", "-u", "x", "-P", "x"), ("--auth-method", METHOD), ("--auth-method", METHOD, "-u", "x"),
                  ("--auth-method", METHOD, "-u", "x", "-P", "x", "-V", "311"), ("--auth-method", METHOD, "-u", "é", "-P", "x")):
        done = kit.signet("pub", "-h", "127.0.0.1", "-p", broker.port, "-t", "t", "-m", "x", *words, check=False)
        assert done.returncode == 1 and ("--auth-method" in done.stderr or METHOD in done.stderr), done.stderr


class FalseBroker:
    """Answers one CONNECT with <first> in AUTH (None: none) and then, whatever comes, with CONNACK and <last>."""

    def __init__(self, first, last):
        self.first, self.last = first, last
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.got = b""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(kit.PATIENCE)
            self.got = sock.recv(4096)
            if self.first is not None:
                nonce = self.got.split(b",r=")[1][:24].decode()
                sock.sendall(auth(CONTINUE, self.first.replace("NONCE", nonce)))
                sock.recv(4096)
            sock.sendall(wire.packet(wire.CONNACK, b"\0\0" + wire.props(auth_props(self.last), 5)))
            while sock.recv(4096):
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.thread.join(kit.PATIENCE)


SALT = "s=W22ZaJ0SNY7soEsUEjb6gQ=="


@pytest.mark.parametrize("first, last", [
    (None, None), (None, "v=AAAA"), (f"r=NONCEx,{SALT},i=4096", None), (f"r=NONCEx,{SALT},i=4096", "v=" + "A" * 43 + "="),
    (f"r=NONCEx,{SALT},i=1", "v=AAAA"), (f"r=NONCE,{SALT},i=4096", "v=AAAA"), (f"r=other,{SALT},i=4096", "v=AAAA"),
    (f"r=NONCEx,{SALT},i=4000000000", "v=AAAA"),
], ids=["at-once", "unasked", "no-proof", "wrong-proof", "few-rounds", "no-nonce", "other-nonce", "many-rounds"])
def test_a_broker_that_does_not_know_the_password_is_not_believed(first, last):
    with FalseBroker(first, last) as false:
        done = tool("pub", false.port, "-t", "t", "-m", "secret message")
        assert done.returncode == 2 and "broker" in done.stderr, (done.returncode, done.stderr)
        assert b"pencil" not in false.got and b"secret message" not in false.got


# ---- response information (3.1.2.11.6, 3.2.2.3.15) ----

def test_response_information_is_for_who_asks(broker_of, users):
    broker = start(broker_of, users, "allow_anonymous true", "response_information rr/%u/%c/")
    for username, asks, want in (("user", 1, b"rr/user/c/"), ("user", 0, None), ("user", None, None), (None, 1, None)):
        with Connection(broker.port) as c:
            words = {"username": username, "password": "pencil"} if username else {}
            c.send(wire.connect("c", 5, properties=b"" if asks is None else bytes([0x19, asks]), **words))
            body = c.packet()[1]
            assert body[1] == 0 and read_props(body[2:]).get(0x1a) == want
