"""The article "MQTT Part 6: Security" of RS DesignSpark, command by command, with its openssl and mosquitto clients and its
configuration as it stands: only host name, ports and folders are others. And what a configuration that is wrong is answered."""
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

import certs
import kit

ROOT = os.geteuid() == 0

# Debian 12's /etc/mosquitto/mosquitto.conf.
DEBIAN_CONF = """# Place your local configuration in /etc/mosquitto/conf.d/
#
# A full description of the configuration file is at
# /usr/share/doc/mosquitto/examples/mosquitto.conf.example

pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
"""

BEFORE = """per_listener_settings true
listener 1883
allow_anonymous true
"""

AFTER = """per_listener_settings true
listener 1883
allow_anonymous false
listener 8883
certfile /etc/mosquitto/certs/broker.crt
keyfile /etc/mosquitto/certs/broker.key
cafile /etc/mosquitto/ca_certificates/root_ca.crt
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
"""


class House:
    """The article's machine below a folder: /etc/mosquitto, /var, /run, /srv/ca and a home."""

    def __init__(self, folder):
        self.root = folder
        for name in ("etc/mosquitto/conf.d", "etc/mosquitto/certs", "etc/mosquitto/ca_certificates", "run/mosquitto", "var/lib/mosquitto",
                     "var/log/mosquitto", "srv/ca/certs", "srv/ca/broker", "srv/ca/client01", "home"):
            (folder / name).mkdir(parents=True)
        self.plain, self.tls = kit.free_port(), kit.free_port()
        self.log = folder / "var/log/mosquitto/mosquitto.log"
        self.main = folder / "etc/mosquitto/mosquitto.conf"
        self.access = folder / "etc/mosquitto/conf.d/access.conf"
        self.main.write_text(self.here(DEBIAN_CONF))
        self.process = None

    def here(self, text):
        """Paths below our root, ports that are free."""
        text = re.sub(r"(?m) (/(?:etc|var|run|srv)/)", lambda m: f" {self.root}{m.group(1)}", text)
        return text.replace(" 1883", f" {self.plain}").replace(" 8883", f" {self.tls}")

    def shell(self, line, cwd, stdin=None):
        """A command of the article, as it is typed there."""
        result = subprocess.run(["bash", "-c", line], cwd=self.root / cwd, input=stdin, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"{line}: {result.stderr}"
        return result

    def certificates(self, days=""):
        answers = "GB\nGreater London\nLondon\nThe Trusted CA\nAuthentication Dpt.\nHighly Trusted CA\nboss@Highly-Trusted-CA.com\n"
        self.shell("openssl req -new -x509 -days 365 -extensions v3_ca -nodes -keyout root_ca.key -out root_ca.crt", "srv/ca/certs", answers)
        for folder, name, host in (("broker", "broker", "localhost"), ("client01", "client01", "client01")):
            self.shell(f'openssl req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj "/CN={host}"', f"srv/ca/{folder}")
            self.shell(f"openssl x509 -req -CA ../certs/root_ca.crt -CAkey ../certs/root_ca.key -CAcreateserial -in {name}.csr -out {name}.crt{days}",
                       f"srv/ca/{folder}")
        etc = self.root / "etc/mosquitto"
        shutil.copy(self.root / "srv/ca/certs/root_ca.crt", etc / "ca_certificates")
        for end in ("crt", "key"):
            shutil.copy(self.root / f"srv/ca/broker/broker.{end}", etc / "certs")
        (etc / "certs/broker.key").chmod(0o600)
        home = self.root / "home/certs/client01"
        home.mkdir(parents=True)
        for file in (self.root / "srv/ca/certs/root_ca.crt", *(self.root / f"srv/ca/client01/client01.{end}" for end in ("crt", "key"))):
            shutil.copy(file, home)

    def start(self, *options):
        """`systemctl restart mosquitto.service`"""
        self.stop()
        errors = open(self.root / "errors", "w+")
        self.process = subprocess.Popen([kit.SIGNET, "broker", "-c", str(self.main), *options], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        ports = [int(p) for p in re.findall(r"(?m)^listener (\d+)", self.access.read_text())]
        kit.wait_for(lambda: all(self.listens(p) for p in ports), f"ports {ports}")
        assert (self.root / "errors").read_text() == "", "there should be no errors"

    def listens(self, port):
        assert self.process.poll() is None, (self.root / "errors").read_text() + self.text()
        try:
            socket.create_connection(("localhost", port), timeout=5).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(kit.PATIENCE) == 0, self.text()

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def wait_log(self, pattern):
        return kit.wait_for(lambda: re.search(pattern, self.text()), f"{pattern} in the log")


@pytest.fixture
def house(tmp_path):
    # A user that the broker becomes must reach its files, as below /etc.
    made = House(tmp_path)
    if ROOT:
        made.main.write_text("user root\n" + made.main.read_text())
    yield made
    made.stop()


def subscriber(*words):
    """mosquitto_sub that ends with its first message."""
    return subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", *map(str, words), "-C", "1", "-d"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_subscribed(process):
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "Subscribed (mid" in line:
            return
    raise AssertionError(f"mosquitto_sub ended: {seen}")


def test_the_article(house):
    # The state that part 3 of the series left: everybody may connect.
    house.access.write_text(house.here(BEFORE))
    house.start()
    sub = subscriber("-h", "localhost", "-p", house.plain, "-t", "test/#")
    wait_subscribed(sub)
    assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", house.plain, "-t", "test/test", "-m", "Test1").returncode == 0
    assert "Test1" in sub.communicate(timeout=kit.PATIENCE)[0] and sub.returncode == 0
    pid_file = house.root / "run/mosquitto/mosquitto.pid"
    assert int(pid_file.read_text()) == house.process.pid

    # Its openssl commands make X.509 version 1 without extensions, for 30 days, and a CA without key usage.
    house.certificates()
    for name in ("broker", "client01"):
        text = certs.openssl("x509", "-in", house.root / f"srv/ca/{name}/{name}.crt", "-noout", "-text").decode()
        assert "Version: 1 (0x0)" in text and "X509v3" not in text
    ca = certs.openssl("x509", "-in", house.root / "srv/ca/certs/root_ca.crt", "-noout", "-text").decode()
    assert "CA:TRUE" in ca and "Key Usage" not in ca

    # Its configuration.
    house.access.write_text(house.here(AFTER))
    # "Only names that end in .conf are read."
    (house.access.parent / "access.conf.bak").write_text("this is no directive\n")
    (house.access.parent / "README").write_text("nor this\n")
    house.start()
    assert not re.search(r"(?i)\berror", house.text())

    # Its tests: with certificate and key it works.
    home = "home/certs/client01"
    files = f"--cafile {home}/root_ca.crt --cert {home}/client01.crt --key {home}/client01.key"
    sub = subscriber("-h", "localhost", "-p", house.tls, "-t", "test/#",
                     *(str(house.root / w) if w.startswith("home") else w for w in files.split()))
    wait_subscribed(sub)
    house.shell(f"mosquitto_pub -h localhost -p {house.tls} {files} -t test/test -m 'Test1'", ".")
    assert "Test1" in sub.communicate(timeout=kit.PATIENCE)[0] and sub.returncode == 0
    house.wait_log(r"New client connected from \S+ as \S+ \(p2, c1, k60, u'client01'\)")

    # The final refusal.
    result = kit.mosquitto("mosquitto_sub", "-h", "localhost", "-p", house.plain, "-t", "test/#")
    assert result.returncode == 5 and "Connection Refused: not authorised." in result.stdout + result.stderr
    house.wait_log(r"Refused CONNECT .*\[anonymous\].*Remedy: let the client use the TLS listener")

    # And what it only says: also with a name, as somebody whose certificate one has not got, and with MQTT 5.
    for words in (["-u", ""], ["-u", "client01"], ["-u", "client01", "-P", "x"], ["-i", "client01"]):
        assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", house.plain, "-t", "t", "-m", "x", *words).returncode == 5
    result = kit.mosquitto("mosquitto_pub", "-V", "5", "-h", "localhost", "-p", house.plain, "-t", "t", "-m", "x")
    # mosquitto_pub 2.0.11 exits with the reason code itself.
    assert result.returncode == 0x87 and "ot authorized" in result.stderr + result.stdout
    # No certificate, TLS 1.2 where 1.3 is the minimum, no TLS at all.
    trust = ["--cafile", house.root / home / "root_ca.crt"]
    assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", house.tls, *trust, "-t", "t", "-m", "x").returncode != 0
    house.wait_log(r"\[no-certificate\]")
    words = [*trust, "--cert", house.root / home / "client01.crt", "--key", house.root / home / "client01.key"]
    result = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", f"localhost:{house.tls}"], input="", capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and "alert number 70" in result.stderr
    house.wait_log(r"\[tls-version\]")
    assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", house.tls, "-t", "t", "-m", "x").returncode != 0
    house.wait_log(r"\[plain-mqtt-on-tls\]")
    # Without policy or acl_file everybody with a certificate may do everything, under any client id, as in mosquitto.
    assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", house.tls, *words, "-i", "another", "-q", "2", "-t", "any/topic", "-m", "x").returncode == 0
    house.stop()
    assert not pid_file.exists() or pid_file.read_text() == ""


def test_what_the_article_gets_wrong_is_named(house):
    """--test-config: 30 days, version 1, no SAN, a key that others can read, a listener without TLS; nothing is started."""
    house.certificates()
    house.access.write_text(house.here(AFTER))
    (house.root / "etc/mosquitto/certs/broker.key").chmod(0o644)
    result = kit.signet("broker", "-c", house.main, "--test-config")
    out = result.stdout
    assert result.stderr == "" and out.rstrip().endswith("The configuration is good.")
    assert re.search(rf"listener \S*{house.plain}: not encrypted", out) and re.search(rf"listener \S*{house.tls}: TLS 1.3", out)
    assert "lets in: nobody: anonymous clients are refused" in out and "lets in: clients with a certificate, which is their identity" in out
    warnings = out[out.index("warnings:"):]
    for say in (r"ends in (29|30) days", r"X\.509 version 1", r"no subjectAltName", r"everybody can read the private key \(mode 0644\); chmod 600",
                rf"{house.access}:\d+: .*not encrypted|without TLS|plain"):
        assert re.search(say, warnings), say
    assert not house.log.exists() and not (house.root / "run/mosquitto/mosquitto.pid").exists()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", house.tls))


def test_article_with_modern_certificates(house):
    """No warning is left when nothing is wrong."""
    house.certificates(" -days 300 -extfile <(printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE')")
    house.access.write_text(house.here(AFTER).replace(f"listener {house.plain}\nallow_anonymous false\n", "").replace("persistence true", ""))
    house.main.write_text(house.main.read_text().replace("persistence true", "persistence false"))
    result = kit.signet("broker", "-c", house.main, "--test-config")
    assert "warnings: 0\n" in result.stdout, result.stdout


@pytest.mark.parametrize("name", ["client01", "localhost"])
def test_the_articles_paths_slip(house, name):
    """The files were copied to ~/client01 and used from ~/certs/client01: the client says so, the broker sees only a probe."""
    house.certificates()
    house.access.write_text(house.here(AFTER))
    house.start()
    words = ["--cafile", house.root / "home/client01/root_ca.crt", "--cert", house.root / f"home/client01/{name}.crt", "--key", house.root / "x.key"]
    assert kit.mosquitto("mosquitto_pub", "-h", "localhost", "-p", house.tls, *words, "-t", "t", "-m", "x").returncode == 1
    assert "Refused" not in house.text()


# ---- configurations that are wrong ----

LISTENER = "per_listener_settings true\nlistener {tls}\ncertfile {certs}/broker.crt\nkeyfile {certs}/broker.key\ncafile {ca}\n"

WRONG = [
    # (name, configuration, exit code, what is said)
    ("unknown directive", "listener {plain}\nallow_anonymous true\nx_unknown 1\n", 3, [r"broker\.conf:3: .*x_unknown"]),
    ("slip of the pen", "listener {plain}\nallow_anonymus true\n", 3, [r"broker\.conf:2: .*allow_anonymus"]),
    ("unsupported directive", "listener {plain}\npsk_file /etc/psk\n", 3, [r"broker\.conf:2: .*psk_file"]),
    ("plugin", "listener {plain}\nplugin /usr/lib/x.so\n", 3, [r"broker\.conf:2: .*plugin"]),
    ("bad port", "listener 70000\n", 3, [r"broker\.conf:1: .*70000"]),
    ("bad truth value", "listener {plain}\nallow_anonymous maybe\n", 3, [r"broker\.conf:2: .*maybe"]),
    ("same port twice", "listener {plain} 127.0.0.1\nlistener {plain} 127.0.0.1\n", 3, [r"broker\.conf:2: .*(twice|already|same)"]),
    ("no file of that name", None, 3, [r"missing\.conf", r"No such file"]),
    ("no value", "listener\n", 3, [r"broker\.conf:1: .*listener"]),
    ("security before any listener", "per_listener_settings true\nrequire_certificate true\nlistener {plain}\n", 3, [r"broker\.conf:2: .*require_certificate"]),
    ("include_dir missing", "include_dir {root}/nowhere.d\n", 3, [r"broker\.conf:1: .*nowhere\.d"]),
    ("cafile missing", LISTENER.replace("{ca}", "{root}/no.crt"), 1, [r"broker\.conf:5: cafile:? .*no\.crt", r"No such file"]),
    ("certfile missing", LISTENER.replace("broker.crt", "no.crt"), 1, [r"broker\.conf:3: certfile:? .*no\.crt", r"No such file"]),
    ("keyfile missing", LISTENER.replace("broker.key", "no.key"), 1, [r"broker\.conf:4: keyfile:? .*no\.key", r"No such file"]),
    ("crlfile missing", LISTENER + "crlfile {root}/no.crl\n", 1, [r"broker\.conf:6: crlfile:? .*no\.crl", r"No such file"]),
    ("acl_file missing", LISTENER + "acl_file {root}/no.acl\n", 1, [r"broker\.conf:6: acl_file:? .*no\.acl", r"No such file"]),
    ("policy missing", LISTENER + "policy {root}/no.policy\n", 1, [r"broker\.conf:6: policy:? .*no\.policy"]),
    ("role_ca missing", LISTENER + "role_ca client {root}/no.pem\n", 1, [r"broker\.conf:6: role_ca:? .*no\.pem", r"No such file"]),
    ("unknown role", LISTENER + "role_ca boss {ca}\n", 3, [r"broker\.conf:6: .*boss"]),
    ("key of another", LISTENER.replace("broker.key", "other.key"), 1, [r"other\.key", r"does not (belong|match|fit)"]),
    ("key is encrypted", LISTENER.replace("broker.key", "locked.key"), 1, [r"locked\.key", r"encrypted|passphrase"]),
    ("key is a certificate", LISTENER.replace("broker.key", "broker.crt"), 1, [r"keyfile:? .*broker\.crt", r"no private key"]),
    ("certificate is a key", LISTENER.replace("certs}/broker.crt", "certs}/broker.key"), 1, [r"certfile:? .*broker\.key", r"key"]),
    ("empty file", LISTENER.replace("broker.crt", "empty.crt"), 1, [r"certfile:? .*empty\.crt", r"empty"]),
    ("DER", LISTENER.replace("broker.crt", "broker.der"), 1, [r"certfile:? .*broker\.der", r"DER"]),
    ("a folder", LISTENER.replace("broker.crt", ""), 1, [r"certfile:? .*/certs/", r"directory"]),
    ("key without certificate", "listener {tls}\nkeyfile {certs}/broker.key\n", 3, [r"broker\.conf:\d: .*(certfile|keyfile)"]),
    ("bad ACL", LISTENER + "acl_file {root}/bad.acl\n", 1, [r"bad\.acl:2"]),
    ("bad policy", LISTENER + "policy {root}/bad.policy\n", 1, [r"bad\.policy:2"]),
    ("CRL is a certificate", LISTENER + "crlfile {ca}\n", 1, [r"crlfile:? .*root_ca\.crt"]),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("house"))
    house.certificates()
    folder = house.root / "etc/mosquitto/certs"
    other = certs.Key(folder / "other.key")
    certs.openssl("pkey", "-in", other.path, "-aes256", "-passout", "pass:abcd", "-out", folder / "locked.key")
    (folder / "empty.crt").write_text("")
    certs.openssl("x509", "-in", folder / "broker.crt", "-outform", "DER", "-out", folder / "broker.der")
    (house.root / "bad.acl").write_text("topic read a/#\nallow everything\n")
    (house.root / "bad.policy").write_text("connect role client\nallow everything\n")
    return house


@pytest.mark.parametrize("name,conf,code,says", WRONG, ids=[w[0] for w in WRONG])
def test_wrong_configuration(files, tmp_path, name, conf, code, says):
    path = tmp_path / "broker.conf"
    if conf is None:
        path = tmp_path / "missing.conf"
    else:
        words = {"root": files.root, "certs": files.root / "etc/mosquitto/certs", "ca": files.root / "etc/mosquitto/ca_certificates/root_ca.crt",
                 "plain": kit.free_port(), "tls": kit.free_port()}
        path.write_text(conf.format(**words))
    for options in ((), ("--test-config",)):
        result = kit.signet("broker", "-c", path, *options, check=False, seconds=kit.PATIENCE)
        said = result.stderr
        assert result.returncode == (code if not options else 3), said
        for pattern in says:
            assert re.search(pattern, said, re.I), f"{pattern!r} not in {said!r}"
        assert "Listening" not in said


def test_port_in_use(files, tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        path = tmp_path / "broker.conf"
        path.write_text(f"listener {kit.free_port()} 127.0.0.1\nlistener {port} 127.0.0.1\n" + ("user root\n" if ROOT else ""))
        result = kit.signet("broker", "-c", path, check=False)
        assert result.returncode == 1
        line = next(x for x in result.stderr.splitlines() if "already" in x)
        assert str(port) in line and "broker.conf:2" in line


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_unreadable_files_are_named(files, tmp_path):
    """As an unprivileged user: which file, and who could not read it."""
    key = pathlib.Path("/tmp") / f"signet-{os.getpid()}-{kit.free_port()}.key"
    conf = key.with_suffix(".conf")
    try:
        certificate = key.with_suffix(".crt")
        shutil.copy(files.root / "etc/mosquitto/certs/broker.crt", certificate)
        shutil.copy(files.root / "etc/mosquitto/certs/broker.key", key)
        certificate.chmod(0o644)
        key.chmod(0o600)
        conf.write_text(f"listener {kit.free_port()} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n")
        binary = pathlib.Path("/tmp") / f"signet-{os.getpid()}-{kit.free_port()}"
        shutil.copy(kit.SIGNET, binary)
        binary.chmod(0o755)
        result = subprocess.run([str(binary), "broker", "-c", str(conf)], capture_output=True, text=True, user="nobody", timeout=60)
        assert result.returncode == 1 and re.search(rf"keyfile .*{key}.*Permission denied", result.stderr), result.stderr
    finally:
        for path in (key, conf, key.with_suffix(".crt"), binary):
            path.unlink(missing_ok=True)
