"""`signet device bundle`: each form of a device's files is used by the program it is for."""
import json
import re
import shutil
import subprocess
import tarfile
import zipfile

import pytest

import certs
import clienttools
import kit

FILES = {"README.txt", "ca.pem", "cert.pem", "commands.txt", "device.h", "device.p12", "key.pem", "p12-password.txt"}
SECRET = {"device.h", "device.p12", "key.pem", "p12-password.txt"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = kit.Pki(tmp_path_factory.mktemp("bundle") / "pki")
    site.device("door-1")
    return site


def bundle(site, folder, *words, device="door-1", check=True):
    return kit.signet("device", "bundle", device, "--dir", site.dir, *words, cwd=folder, check=check)


def test_a_folder(site, tmp_path):
    said = bundle(site, tmp_path).stdout
    folder = tmp_path / "door-1-bundle"
    assert {p.name for p in folder.iterdir()} == FILES and all(name in said for name in FILES)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.name for p in folder.iterdir() if p.stat().st_mode & 0o777 == 0o600} == SECRET
    password = (folder / "p12-password.txt").read_text().strip()
    assert len(password) == 30 and password not in (folder / "README.txt").read_text()
    out = certs.openssl("pkcs12", "-in", folder / "device.p12", "-passin", f"file:{folder / 'p12-password.txt'}", "-nodes").decode()
    assert out.count("BEGIN CERTIFICATE") == 3 and "BEGIN PRIVATE KEY" in out
    wrong = subprocess.run(["openssl", "pkcs12", "-in", folder / "device.p12", "-passin", "pass:wrong", "-nodes"], capture_output=True, check=False)
    assert wrong.returncode != 0

    main = tmp_path / "main.c"
    main.write_text('#include <stdio.h>\n#include "device.h"\nint main(void) { return printf("%s:%d %s\\n%s%s%s", SIGNET_HOST, SIGNET_PORT, SIGNET_CLIENT_ID, '
                    'signet_ca_pem, signet_cert_pem, signet_key_pem) < 0; }\n')
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-overlength-strings", "-I", folder, main, "-o", tmp_path / "main"], check=True)
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert printed == "localhost:8883 door-1\n" + "".join((folder / f"{n}.pem").read_text() for n in ("ca", "cert", "key"))

    again = bundle(site, tmp_path, check=False)
    assert again.returncode == 1 and "is there already" in again.stderr


OWN = "connect role client,control\ndefine prefix plant/7\nallow role client publish %p/%u/+/out\nallow role client subscribe %p/notice/%u\nallow role control publish,subscribe #\n"
FOUR = ["signet sub", "mosquitto_sub", "signet pub", "mosquitto_pub"]


@pytest.mark.parametrize("policy,said", [
    ("springcore", ["-i door1 ", "-t 'springcard/springcore/door1/#'", "-t springcard/springcore/door1/test "]),
    ("tenant plant\nuse dojot\n", ["-i plant:door1 ", "-t /plant/door1/config ", "-t /plant/door1/attrs "]),
    (OWN, ["-i door1 ", "-t plant/7/notice/door1 ", "-t plant/7/door1/test/out "])])
def test_the_commands_are_those_of_the_policy(site, tmp_path, policy, said):
    """As they are printed, and as they are in a bundle: whatever the policy is, they do what it allows."""
    port, conf = kit.free_port(), site.dir / "signet.conf"
    before = conf.read_text()
    if "\n" in policy:
        (tmp_path / "p").write_text(policy)
        policy = tmp_path / "p"
    try:
        conf.write_text(re.sub(r"^policy .*$", f"policy {policy}", re.sub(r"^listener 8883$", f"listener {port}", before, flags=re.M), flags=re.M))
        printed = kit.signet("device", "add", "door1", "--dir", site.dir, "--out", tmp_path / "door1", "--reissue").stdout
        text = (tmp_path / "door1/commands.txt").read_text()
        assert text in printed and all(part in text for part in said), text
        shutil.copytree(tmp_path / "door1", site.dir / "clients/door1", dirs_exist_ok=True)
        bundle(site, tmp_path, "--out", "b", device="door1")
        packed = (tmp_path / "b/commands.txt").read_text()
        client_id = said[0].split()[1]
        assert f'SIGNET_CLIENT_ID "{client_id}"' in (tmp_path / "b/device.h").read_text() and f'client id is "{client_id}"' in (tmp_path / "b/README.txt").read_text()
        with kit.Broker(tmp_path / "broker", site.conf(port), [port]) as broker, kit.Client(broker, "controller", site.files("controller")) as controller:
            assert controller.subscribe("#", qos=1) == [1]
            assert clienttools.run_commands(text.splitlines(), "/", controller) == FOUR
            assert clienttools.run_commands(packed.splitlines(), tmp_path / "b", controller) == FOUR
    finally:
        conf.write_text(before)


def test_without_a_right_there_are_no_commands(site, tmp_path):
    conf = site.dir / "signet.conf"
    before = conf.read_text()
    try:
        conf.write_text(re.sub(r"^policy .*$", "policy dojot", before, flags=re.M))
        made = kit.signet("device", "add", "door2", "--dir", site.dir, "--out", tmp_path / "door2")
        assert "Try it" not in made.stdout and "lets no role client named door2 connect" in made.stderr
        conf.write_text("policy /nonexistent/p\n" + before)
        made = kit.signet("device", "add", "door3", "--dir", site.dir, "--out", tmp_path / "door3")
        assert "no commands to try it" in made.stderr
        for name in ("door2", "door3"):
            assert {p.name for p in (tmp_path / name).iterdir()} == {"key.pem", "cert.pem", "ca.pem"}
    finally:
        conf.write_text(before)


@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz", "b.tgz"])
def test_archives(site, tmp_path, name):
    bundle(site, tmp_path, "--out", name)
    path = tmp_path / name
    assert path.stat().st_mode & 0o777 == 0o600
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            members = {i.filename: (i.external_attr >> 16 & 0o777, archive.read(i)) for i in archive.infolist()}
    else:
        with tarfile.open(path) as archive:
            members = {i.name: (i.mode, archive.extractfile(i).read()) for i in archive}
    assert set(members) == {f"door-1/{f}" for f in FILES}
    assert {n.split("/")[1] for n, (mode, _) in members.items() if mode == 0o600} == SECRET
    assert members["door-1/key.pem"][1] == (site.dir / "clients/door-1/key.pem").read_bytes()


def test_without_the_key(site, tmp_path):
    bundle(site, tmp_path, "--no-key", "--out", "b")
    assert {p.name for p in (tmp_path / "b").iterdir()} == FILES - {"device.p12", "key.pem", "p12-password.txt"}
    assert not any("PRIVATE KEY" in p.read_text() for p in (tmp_path / "b").iterdir())


def test_a_password_of_ones_own(site, tmp_path):
    (tmp_path / "word").write_text("my own\n")
    bundle(site, tmp_path, "--password-file", "word", "--out", "b")
    certs.openssl("pkcs12", "-in", tmp_path / "b/device.p12", "-passin", "pass:my own", "-nokeys")


def test_a_springcore_reader(site, tmp_path):
    """The registers as the vendor's documents name them, read by this test's own model."""
    bundle(site, tmp_path, "--springcore", "--slot", "1", "--host", "mqtt.example", "--port", "8884", "--reader-id", "RD4S01", "--prefix", "plant/7", "--out", "b")
    made = json.loads((tmp_path / "b/springcore.json").read_text())
    config = {int(k, 16): bytes.fromhex(v) for k, v in made["config"].items()}
    assert config.pop(0xC0) == b"\x64" and config.pop(0xA0) == b"\x02" and config.pop(0x89).hex() == "5314030a1e1e"
    tls, ca, cert, key, chain = config.pop(0x88)
    assert tls == 0x30 | 0x04 | 0x02 | 0x01 and ca == 1 and (cert, key, chain) == (0x8D, 0x4D, 0x8F)
    assert int.from_bytes(config.pop(0x85)[10:12], "big") == 8884
    assert (config.pop(0x86), config.pop(0x8D), config.pop(0x8E)) == (b"mqtt.example", b"RD4S01", b"plant/7") and config == {}
    assert list(made["certificates"]) == ["01"]
    assert bytes.fromhex(made["certificates"]["01"]) == certs.openssl("x509", "-in", site.dir / "clients/door-1/ca.pem", "-outform", "DER")


@pytest.mark.parametrize("words,code,said", [
    (["--springcore", "--reader-id", "x" * 25], 2, "takes 1 to 24"), (["--springcore", "--prefix", "x" * 33], 2, "takes 1 to 32"),
    (["--springcore", "--host", "h" * 49], 2, "takes 1 to 48"), (["--springcore", "--slot", "7"], 2, "from 0 to 6"), (["--port", "0"], 2, "from 1 to 65535"),
    (["--password-file", "/nonexistent"], 1, "/nonexistent"), (["--out", "/nonexistent/b"], 1, "/nonexistent/b"), (["--out", "/nonexistent/b.zip"], 1, "/nonexistent")])
def test_what_cannot_be(site, tmp_path, words, code, said):
    result = bundle(site, tmp_path, *words, check=False)
    assert result.returncode == code and said in result.stderr, result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device,said", [("nobody", "no such device"), ("../door-1", "device's name"), (".", "device's name"), ("", "device's name")])
def test_names_that_cannot_be(site, tmp_path, device, said):
    result = bundle(site, tmp_path, device=device, check=False)
    assert result.returncode in (1, 2) and re.search(said, result.stderr), result.stderr


def test_a_key_that_is_not_the_certificates(site, tmp_path):
    site.device("door-2")
    folder = site.dir / "clients/door-2"
    (folder / "key.pem").write_bytes((site.dir / "clients/door-1/key.pem").read_bytes())
    result = bundle(site, tmp_path, device="door-2", check=False)
    assert result.returncode == 1 and "does not belong to the certificate" in result.stderr and list(tmp_path.iterdir()) == []
