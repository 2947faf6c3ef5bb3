"""`signet doctor`: each fault on the way from the files to the round trip is found, named by its step, and ends the walk."""
import json
import socket
import ssl
import subprocess
import threading

import pytest

import certs
import kit
from test_ocsp import UNKNOWN, answer, certid, revoked

STEPS = ["files", "dns", "tcp", "tls", "chain", "name", "time", "usage", "revocation", "identity", "connect", "topics", "round-trip"]
GONE, COMING = certs.now() - certs.days(3), certs.now() + certs.days(3)


def doctor(*words, code=None):
    """(steps, exit code); the JSON and the exit code must say the same."""
    result = kit.signet("doctor", "--json", *words, check=False)
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["exit"] == result.returncode
    faults = [s["step"] for s in report["steps"] if s["result"] == "fault"]
    assert result.returncode == (10 + STEPS.index(faults[0]) if faults else 0), report
    assert all(s["remedy"] for s in report["steps"] if s["result"] != "ok"), report
    return report["steps"]


def fault(*words, step, text):
    """The walk ends at <step>, with <text> in what it says."""
    steps = doctor(*words)
    assert steps[-1]["result"] == "fault" and steps[-1]["step"] == step, steps
    assert text in steps[-1]["text"], steps[-1]
    return steps


def files_of(files):
    return ["--cafile", files["ca"], "--cert", files["cert"], "--key", files["key"]]


@pytest.fixture(scope="module")
def cas(pki, tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    cas = certs.role_cas(pki, folder / "cas")
    cas["twin"] = certs.Ca(folder / "twin", cas["root"].subject)
    cas["stranger"] = certs.Ca(folder / "stranger", "Somebody else's CA")
    return cas


# ---- files ----

def folder_of(path, cas, leaf, ca="root", chain=("client",)):
    """A client's folder as `signet device add` makes them."""
    path.mkdir()
    (path / "cert.pem").write_text(leaf["cert"].read_text() + "".join(cas[c].pem for c in chain))
    (path / "key.pem").write_bytes(leaf["key"].read_bytes())
    (path / "key.pem").chmod(0o600)
    (path / "ca.pem").write_text(cas[ca].pem)
    return path


def test_a_good_folder_and_installation(pki):
    files = pki.device("doc1")
    steps = doctor(files["cert"].parent)
    assert {"files", "chain", "name", "time", "usage"} == {s["step"] for s in steps}
    assert doctor(pki.dir)[-1]["text"].endswith("every line is understood")


@pytest.mark.parametrize("more,ca,chain,step,text", [
    ({"begin": GONE - certs.days(9), "end": GONE}, "root", ["client"], "time", "expired 3 days ago"),
    ({"begin": COMING}, "root", ["client"], "time", "is not valid before"),
    ({"usage": (certs.SERVER_AUTH,)}, "root", ["client"], "usage", "no clientAuth"),
    ({"ca": True}, "root", ["client"], "usage", "is that of a CA"),
    ({}, "root", ["watch"], "chain", "does not come from the certificate behind it"),
    ({}, "twin", ["client"], "chain", "signed with another key"),
    ({"subject": "a/b"}, "root", ["client"], "name", "cannot be an identity"),
    ({"subject": certs.name((certs.O, "nobody"))}, "root", ["client"], "name", "cannot be an identity"),
])
def test_a_clients_certificate(cas, tmp_path, more, ca, chain, step, text):
    subject = more.pop("subject", "doc2")
    fault(folder_of(tmp_path / "c", cas, cas["client"].leaf(subject, **more), ca, chain), step=step, text=text)


def test_a_clients_files(cas, tmp_path):
    leaf = cas["client"].leaf("doc3")
    good = folder_of(tmp_path / "c", cas, leaf)
    key, cert = good / "key.pem", good / "cert.pem"
    assert doctor(good)[-1]["result"] == "ok"
    was, pem = key.read_bytes(), cert.read_text()

    key.chmod(0o644)
    assert [s for s in doctor(good) if s["result"] == "note" and "chmod 600" in s["remedy"]]
    key.chmod(0o600)
    certs.openssl("pkey", "-in", leaf["key"], "-aes256", "-passout", "pass:1234", "-out", key)
    assert [s for s in doctor(good) if s["result"] == "note" and "is encrypted" in s["text"]]
    certs.openssl("pkey", "-in", leaf["key"], "-outform", "DER", "-out", key)
    assert "DER" in fault(good, step="files", text="is not PEM but")[-1]["remedy"]
    key.write_bytes(certs.Key(tmp_path / "other.key").path.read_bytes())
    fault(good, step="files", text="does not belong to")
    key.write_bytes(was)

    own, issuer = pem.split("-----END CERTIFICATE-----\n", 1)
    cert.write_text(issuer + own + "-----END CERTIFICATE-----\n")
    assert "in order" in fault(good, step="files", text="belongs to certificate 2")[-1]["remedy"]
    cert.write_bytes(certs.pem_bytes(pem))
    fault(good, step="files", text="is not PEM but a certificate in DER")
    cert.write_text(pem[:300])
    fault(good, step="files", text=f"{cert}")
    cert.write_text("")
    fault(good, step="files", text="an empty file")
    cert.write_text(pem)
    (good / "ca.pem").write_text(leaf["cert"].read_text())
    fault(good, step="files", text="is not that of a CA")
    cert.unlink()
    fault(good, step="files", text="neither signet.conf nor cert.pem")


def test_an_installation_at_fault(tmp_path, cas):
    pki = kit.Pki(tmp_path / "ca")
    pki.device("good1")
    bad = pki.device("bad1")
    bad["key"].write_bytes(certs.Key(tmp_path / "k").path.read_bytes())
    steps = doctor(pki.dir)
    assert [s["step"] for s in steps if s["result"] == "fault"] == ["files"]
    assert any("good1" in s["text"] and s["result"] == "ok" for s in steps), "one fault hides the other clients"
    (pki.dir / "signet.conf").write_text("no_such_directive 1\n")
    assert "no_such_directive" in doctor(pki.dir)[-1]["text"]


# ---- the way to a broker ----

def test_the_whole_way(pki, broker):
    files = pki.device("doc4")
    steps = doctor(f"localhost:{broker.port}", *files_of(files), "-t", "springcard/springcore/doc4/status")
    assert "came back after" in steps[-1]["text"]
    fault(f"localhost:{broker.port}", *files_of(files), "-t", "springcard/springcore/another/status", step="topics", text="may not subscribe")
    steps = doctor(f"127.0.0.1:{broker.port}", *files_of(files))
    assert [s["step"] for s in steps if s["result"] == "note"] == ["topics", "round-trip"]
    watcher = pki.files("controller")
    steps = doctor(f"localhost:{broker.port}", *files_of(watcher))
    assert list(dict.fromkeys(s["step"] for s in steps)) == STEPS
    assert "came back after" in steps[-1]["text"]


def test_before_tls(broker):
    fault("no-such-host.invalid", step="dns", text="cannot find the host")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        fault(f"127.0.0.1:{free.getsockname()[1]}", step="tcp", text="Connection refused")
    fault(f"127.0.0.1:{broker.port}", "--no-tls", step="connect", text="this port speaks TLS")


def test_plain(plain, pki):
    steps = doctor(f"127.0.0.1:{plain.port}", "--no-tls", "-i", "d", "-t", "a/b")
    assert "came back after" in steps[-1]["text"]
    assert [s["step"] for s in steps if s["result"] == "note"] == ["tls"]
    fault(f"127.0.0.1:{plain.port}", "--cafile", pki.dir / "pki/ca.pem", step="tls", text="closed the connection during the TLS handshake")


def test_who_it_is(pki, broker, cas):
    at, files = f"localhost:{broker.port}", pki.device("doc5")
    fault(at, "--cafile", files["ca"], step="identity", text="certificate required")
    stranger = cas["stranger"].leaf("doc5", trust=files["ca"])
    assert doctor(at, *files_of(stranger))[-1]["step"] == "identity"
    steps = fault(at, *files_of(files), "-i", "somebody", step="connect", text="not authorized")
    assert "common name" in steps[-1]["remedy"]
    assert any(s["result"] == "note" and "'somebody'" in s["text"] for s in steps)


def test_passwords(broker_of, tmp_path):
    kit.signet("passwd", "-c", tmp_path / "pw", "me", stdin="secret\n")
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("guess\n")
    port = kit.free_port()
    broker_of(f"listener {port} 127.0.0.1\npassword_file {tmp_path / 'pw'}\nallow_anonymous false\n", port)
    at = [f"127.0.0.1:{port}", "--no-tls"]
    assert doctor(*at, "-u", "me", "--password-file", tmp_path / "right")[-1]["step"] == "round-trip"
    fault(*at, "-u", "me", "--password-file", tmp_path / "wrong", step="connect", text="")
    fault(*at, step="connect", text="")
    fault(*at, "-u", "me", "--password-file", tmp_path / "none", step="files", text="none")


class Server:
    """Shakes hands in TLS with every kind of certificate, and then says nothing."""

    def __init__(self, leaf):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf["cert"], leaf["key"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.at = f"localhost:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, args=(context,))
        self.thread.start()

    def serve(self, context):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.settimeout(kit.PATIENCE)
                    tls.recv(1)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


SERVER = {"usage": (certs.SERVER_AUTH,)}


@pytest.mark.parametrize("issuer,chain,subject,more,trust,step,text", [
    ("cloud", ["cloud"], "localhost", SERVER, "stranger", "chain", "is neither in"),
    ("cloud", [], "localhost", SERVER, "root", "chain", "among the 1 certificate sent"),
    ("root", [], "localhost", SERVER, "twin", "chain", "but with another key"),
    ("cloud", ["cloud"], "elsewhere", SERVER, "root", "name", "is for elsewhere, not for 'localhost'"),
    ("cloud", ["cloud"], "localhost", {**SERVER, "begin": GONE - certs.days(9), "end": GONE}, "root", "time", "expired 3 days ago"),
    ("cloud", ["cloud"], "localhost", {**SERVER, "begin": COMING}, "root", "time", "is not valid before"),
    ("cloud", ["cloud"], "localhost", {"usage": (certs.CLIENT_AUTH,)}, "root", "usage", "no serverAuth"),
])
def test_a_brokers_certificate(cas, issuer, chain, subject, more, trust, step, text):
    leaf = cas[issuer].leaf(subject, chain=[cas[c] for c in chain], **more)
    with Server(leaf) as server:
        fault(server.at, "--cafile", cas[trust].file, step=step, text=text)


def test_a_revoked_broker(cas, tmp_path):
    leaf = cas["cloud"].leaf("localhost", chain=[cas["cloud"]], **SERVER)
    crl = tmp_path / "crl.pem"
    crl.write_text(cas["cloud"].crl(leaf["serial"]))
    words = ["--cafile", cas["root"].file, "--crlfile", crl, "--timeout", "1"]
    with Server(leaf) as server:
        fault(server.at, *words, step="revocation", text="was revoked")
        crl.write_text(cas["cloud"].crl(4711))
        fault(server.at, *words, step="connect", text="")  # it is no broker
        crl.write_text("nonsense")
        fault(server.at, *words, step="revocation", text="crl.pem")


MUST_STAPLE = certs.extension("1.3.6.1.5.5.7.1.24", certs.sequence(certs.integer(5)))


@pytest.mark.parametrize("must", [False, True], ids=["may", "must"])
def test_what_another_broker_staples(cas, tmp_path, must):
    """What `openssl s_server` shows is verified, and a certificate that must be shown with an answer is one only with a good one."""
    ca = cas["cloud"]
    leaf = ca.leaf("localhost", chain=[ca], extra=[MUST_STAPLE] if must else [], **SERVER)
    port, file = kit.free_port(), tmp_path / "staple.der"
    bad = "fault" if must else "note"
    about = certid(ca, leaf["serial"])
    rows = [(answer(ca, about, end=600), "ok", "the stapled OCSP response says good, until "),
            (answer(ca, about, status=revoked()), "fault", "says that the broker's certificate was revoked at "),
            (answer(ca, about, status=UNKNOWN), bad, "its responder does not know the broker's certificate"),
            (answer(ca, about, begin=GONE, end=-7200), bad, "not good: it is too old: it was good until "),
            (answer(ca, certid(ca, leaf["serial"] + 1)), bad, "not good: it is about another certificate"),
            (answer(cas["client"], about), bad, "not good: it is signed by somebody who is neither the CA nor a responder")]
    words = ["openssl", "s_server", "-accept", str(port), "-cert", leaf["cert"], "-cert_chain", ca.file, "-key", leaf["key"], "-www", "-quiet", "-status_file", file]
    server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def says(at, level, text):
        steps = doctor(at, "--cafile", cas["root"].file, "--timeout", "1")
        assert (level, True) in [(s["result"], text in s["text"]) for s in steps if s["step"] == "revocation"], (text, steps)
        # Whoever is in order so far goes on; this is no broker.
        assert (steps[-1]["step"] == "revocation") == (level == "fault"), steps

    try:
        kit.wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "s_server")
        for der, level, text in rows if must else rows[:2] + rows[3:4]:
            file.write_bytes(der)
            says(f"localhost:{port}", level, text)
    finally:
        server.terminate()
        server.wait()
    with Server(leaf) as silent:
        says(silent.at, "fault" if must else "ok", "and none came" if must else "the broker staples no OCSP response")


def test_mosquitto(tmp_path):
    port = kit.free_port()
    conf = tmp_path / "m.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(["mosquitto", "-c", conf], stderr=subprocess.DEVNULL)
    try:
        kit.wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "mosquitto")
        assert "came back after" in doctor(f"127.0.0.1:{port}", "--no-tls", "-t", "x")[-1]["text"]
    finally:
        process.terminate()
        process.wait()


# ---- words ----

@pytest.mark.parametrize("words,text", [
    (["localhost", "--cert", "c"], "--cert and --key go together"),
    (["localhost:0"], "a port from 1 to 65535"),
    (["localhost:x"], "a port from 1 to 65535"),
    ([":1"], "host name is empty"),
    (["[::1"], "in brackets"),
    (["localhost", "--no-tls", "--cafile", "x"], "does not go with"),
    (["/", "-u", "x"], "is a folder"),
    ([], "something is missing"),
    (["a", "-q"], "unknown option"),
])
def test_wrong_words(words, text):
    result = kit.signet("doctor", *words, check=False)
    assert result.returncode == 2 and text in result.stderr


def test_for_people(pki, broker):
    files = pki.device("doc6")
    result = kit.signet("doctor", f"localhost:{broker.port}", *files_of(files), "-i", "x", check=False)
    assert result.stdout.splitlines()[-1] == "Stopped at the first fault: connect."
    assert "connect     FAULT the broker refused the connection" in result.stdout
    assert kit.signet("doctor", files["cert"].parent).stdout.endswith("\nNo fault found.\n")
