"""How `signet serve` gets at keys that are encrypted, and what of it stays where: each way of giving the passphrase, and the memory of each process."""
import io
import os
import pty
import re
import select
import signal
import subprocess
import zipfile

import apikit
import certs
import kit
import memory
import pytest
from test_serve import Platform, gone

ROOT = os.geteuid() == 0
CAN_LOOK = ROOT and kit.BUILD == "release"
looks = pytest.mark.skipif(not CAN_LOOK, reason="only root may look, and sanitizers keep what was freed")
WORD = "sesame-" + os.urandom(12).hex()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlock")
    (folder / "word").write_text(WORD + "\n")
    return folder


class Locked(Platform):
    """With a passphrase, which this one gives or does not give; started by launch()."""

    def __init__(self, place):
        self.given = None
        super().__init__(place, init=["--passphrase-file", place / "word"])

    def launch(self):
        return True


@pytest.fixture(scope="module")
def site(place):
    """With the keys of two CAs, which take their time to be opened."""
    site = Locked(place)
    for ca in ("root", "watch", "control"):
        (site.dir / f"pki/{ca}/key.pem").rename(place / f"{ca}.pem")
    return site


class Terminal:
    """`signet serve` with a person in front of it."""

    def __init__(self, site, env=None):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background has it ignored
            os.execve(kit.SIGNET, [kit.SIGNET, "serve", "--dir", str(site.dir)], env or os.environ)

    def read(self):
        """False at the end."""
        assert select.select([self.fd], [], [], kit.PATIENCE)[0], self.seen
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            data = b""
        self.seen += data
        return bool(data)

    def until(self, what):
        while not re.search(what, self.seen):
            assert self.read(), self.seen

    def type(self, word):
        self.until(rb"Passphrase for the CA keys: $")
        os.write(self.fd, word.encode() + b"\n")

    def pids(self):
        return {name: int(re.findall(rf"The {name} is process (\d+)\.".encode(), self.seen)[-1]) for name in ("signer", "broker", "control")}

    def rest(self):
        """Everything to the end, and the exit code."""
        while self.read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        return self.rest()


def ports(site):
    """Others that are free just now: it is started without a second try."""
    old, site.mqtt, site.port = (site.mqtt, site.port), kit.free_port(), kit.free_port()
    text = site.conf.read_text()
    for was, now in zip(old, (site.mqtt, site.port)):
        text = text.replace(str(was), str(now))
    site.conf.write_text(text)


def serving(site, env=None):
    """At a terminal, with all three at work."""
    for _ in range(20):
        ports(site)
        terminal = Terminal(site, env)
        if env is None:
            terminal.type(WORD)
        terminal.until(rb"serves\.\r\n|choose another port|uses this port")
        if b"serves.\r\n" in terminal.seen:
            terminal.until(b"Control listens on")
            return terminal
        assert terminal.rest() == 1
    raise AssertionError("no port was free")


def test_a_person_is_asked(site):
    wrong = Terminal(site)
    wrong.type("not it")
    assert wrong.rest() == 1 and b"the passphrase is wrong" in wrong.seen and b"not it" not in wrong.seen, wrong.seen
    assert all(gone(int(pid)) for pid in re.findall(rb"is process (\d+)", wrong.seen))
    none = Terminal(site)
    none.type("")
    assert none.rest() != 0 and b"no passphrase was given" in none.seen, none.seen
    # Ctrl-C at the prompt: the terminal is as it was, nothing was started.
    left = Terminal(site)
    left.until(rb"Passphrase for the CA keys: $")
    os.write(left.fd, b"\x03")
    assert left.rest() == -signal.SIGINT and b"process" not in left.seen, left.seen
    right = serving(site)
    try:
        for pid in [right.pid, *right.pids().values()]:
            with open(f"/proc/{pid}/limits", encoding="ascii") as limits:
                assert re.search(r"^Max core file size +0 +0 ", limits.read(), re.M)
        os.kill(right.pids()["signer"], signal.SIGKILL)
        right.until(rb"killed by signal 9(.|\n)*holds the keys of 2 CAs")  # without anybody
    finally:
        assert right.stop() == 0
    assert WORD.encode() not in right.seen


def test_a_word_in_the_environment(site):
    """It is gone from there as soon as it is known; a file and systemd's credential: test_serve.py."""
    terminal = serving(site, env={**os.environ, "SIGNET_PASSPHRASE": WORD})
    try:
        for pid in [terminal.pid, *terminal.pids().values()]:
            with open(f"/proc/{pid}/environ", "rb") as environ:
                assert WORD.encode() not in environ.read()
    finally:
        assert terminal.stop() == 0


# ---- what stays ----

def needles_of(site):
    words = {"passphrase": WORD.encode()}
    for ca in ("client", "cloud"):
        for form, number in memory.private_number(site.dir / f"pki/{ca}/key.pem", "-passin", f"pass:{WORD}").items():
            words[f"{ca}, {form}"] = number
    return words


def from_bundle(form, said, data):
    """(a PEM with the key, what else is secret)"""
    if form == "zip":
        with zipfile.ZipFile(io.BytesIO(data)) as z:
            return z.read("packed/key.pem"), {"password": z.read("packed/p12-password.txt").strip()}
    if form == "header":
        text = re.search(rb"signet_key_pem.*?;", data, re.S)[0]
        return b"".join(re.findall(rb'"(.*?)"', text)).replace(rb"\n", b"\n"), {}
    return certs.openssl("pkcs12", "-nodes", "-nocerts", "-passin", f"pass:{said['password']}", data=data), {"password": said["password"].encode()}


def forgets(pid, needles):
    """As soon as it has done with the answer, which its reader may have before."""
    kit.wait_for(lambda: not memory.find(pid, needles), f"{', '.join(needles)} to be gone")


def look_at_all(terminal, needles):
    found = {name: memory.find(pid, needles) for name, pid in {"supervisor": terminal.pid, **terminal.pids()}.items()}
    # One copy for the next signer; the numbers, in the signer alone, as OpenSSL counts with them.
    assert found["supervisor"].keys() == {"passphrase"} and len(found["supervisor"]["passphrase"]) == 1, found
    assert found["signer"].keys() == {"client, little-endian", "cloud, little-endian"}, found
    assert not found["broker"] and not found["control"], found


@looks
@pytest.mark.release
def test_what_is_in_the_memory_of_each(site, tmp_path):
    """The keys; and of passwords, secrets and keys that control has handed out nothing, as soon as the answer is out."""
    terminal = serving(site)
    try:
        look_at_all(terminal, needles_of(site))
        pid, client = terminal.pids()["control"], apikit.Client(site)
        client.token = client("POST", "/api/v1/login", {"username": "admin", "password": site.password}).json["token"]
        forgets(pid, {"password": site.password.encode()})
        assert client("POST", "/api/v1/devices", {"id": "packed"}).status == 201
        kit.wait_for(lambda: client("GET", "/api/v1/cas/client").status == 200, "the CAs")
        made = client("POST", "/api/v1/devices/packed/enrolment", {}).json
        forgets(pid, {"secret": made["secret"].encode()})
        for form in ("zip", "header", "pkcs12"):
            said = client("POST", "/api/v1/devices/packed/bundle", {"format": form})
            assert said.status == 201, said
            said = said.json
            assert memory.find(pid, {"link": said["link"].rsplit("/", 1)[1].encode()})
            pem, needles = from_bundle(form, said, apikit.Client(site)("GET", said["link"]).body)
            path = tmp_path / f"{form}.pem"
            path.write_bytes(pem)
            body = b"".join(certs.openssl("pkey", "-in", path).splitlines()[1:-1])
            needles |= {**memory.private_number(path), "base64": body[48:88]}
            forgets(pid, needles)
        client.close()
    finally:
        assert terminal.stop() == 0


@looks
@pytest.mark.release
def test_what_commands_leave(site, place):
    needles = needles_of(site)
    for words in (["device", "add", "left"], ["ca", "revoke", "--ca", "client"]):
        words = [kit.SIGNET, *words, "--dir", site.dir, "--passphrase-file", place / "word"]
        assert memory.at_the_end(words, needles, stdout=subprocess.DEVNULL) == (0, {}), words
    # It does find what is there.
    code, found = memory.at_the_end([kit.SIGNET, "ca", "list", "--dir", site.dir], needles, stdout=subprocess.DEVNULL, env={**os.environ, "X": WORD})
    assert code == 0 and found.keys() == {"passphrase"}
