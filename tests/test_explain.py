"""`signet explain` names the rule that decides, by the running broker or by the files; both say the same."""
import json
import os
import pathlib
import tempfile

import pytest

import kit
import wire


@pytest.fixture
def site(pki, broker_of):
    """A broker with a control socket; its path must be short."""
    with tempfile.TemporaryDirectory(prefix="sx-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        port, path = kit.free_port(), pathlib.Path(folder) / "c.sock"
        conf = pki.conf(port, f"listener 0 {path}", "protocol control")
        broker = broker_of(conf, port)
        broker.control = path
        yield broker


def explain(broker, *words):
    result = kit.signet("explain", "--json", *words, "--socket", broker.control, check=False)
    assert result.returncode in (0, 1), result.stderr
    said = json.loads(result.stdout)
    assert said["allowed"] == (result.returncode == 0)
    return said


def test_the_session_as_it_is(pki, site):
    files = pki.device("ex1")
    with wire.Peer(site.port, "ex1", 5, files=files):
        said = explain(site, "ex1", "publish", "springcard/springcore/ex1/status")
        assert said["allowed"] and "role client: may publish" in said["text"] and "line " in said["text"]
        assert said["connected"] and said["role"] == "client" and said["cn"] == "ex1" and said["listener"] == str(site.port)
        said = explain(site, "ex1", "publish", "springcard/springcore/other/status")
        assert not said["allowed"] and said["text"].startswith("refused: topic is outside")
        assert explain(site, "ex1", "subscribe", "springcard/springcore/ex1/#", "--live")["allowed"]
        assert explain(site, "ex1", "connect")["allowed"]
        assert explain(site, "ex1", "will")["text"] == "refused: the client has no will now"
        shown = kit.signet("explain", "ex1", "connect", "--socket", site.control).stdout
        assert "connected now; judged by the running broker" in shown
        shown = kit.signet("explain", "ex1", "publish", "other/x", "--socket", site.control, check=False).stdout
        assert "use springcore" in shown and shown.endswith("\nallow role client user ex1 publish other/x\n")
    result = kit.signet("explain", "nobody", "connect", "--live", "--socket", site.control, check=False)
    assert result.returncode == 3 and "no session of nobody" in result.stderr


def test_by_the_files(pki, tmp_path):
    cert = pki.device("ex2")["cert"]
    conf = tmp_path / "signet.conf"
    conf.write_text(pki.conf(1883))

    def ask(*words, code=0):
        result = kit.signet("explain", *words, "-c", conf, check=False)
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    own = "springcard/springcore/ex2/status"
    assert "role client: may publish" in ask("ex2", "publish", own, "--cert", cert)
    assert "role client, common name ex2" in ask("ex2", "publish", own, "--cert", cert)
    assert ask("ex2", "publish", own, "--role", "client").splitlines()[0] == ask("ex2", "publish", own, "--cert", cert).splitlines()[0]
    assert "client id must equal" in ask("other", "connect", "--cert", cert, code=1)
    assert "not wholly inside what role client may subscribe to; line " in ask("ex2", "subscribe", "#", "--role", "client", code=1)
    assert "role watch" in ask("w", "subscribe", "#", "--role", "watch")
    assert "no certificate" in ask("ex2", "publish", own, code=1)
    assert "is no topic name" in ask("ex2", "publish", "a/#", "--role", "client", code=2)
    assert "is no role" in ask("ex2", "connect", "--role", "boss", code=2)
    assert "there is no listener 99" in ask("ex2", "connect", "--listener", "99", code=3)
    assert "of which topic" in ask("ex2", "publish", code=2)
    assert "is none of" in ask("ex2", "fly", "x", code=2)
    assert "no PEM certificate" in ask("ex2", "connect", "--cert", conf, code=3)
    result = kit.signet("explain", "ex2", "connect", "--live", "--role", "client", check=False)
    assert result.returncode == 2


def test_acl_files_and_users(tmp_path):
    acl, conf = tmp_path / "acl", tmp_path / "m.conf"
    acl.write_text("topic read open/#\nuser ann\ntopic ann/#\ntopic deny ann/no/#\n")
    conf.write_text(f"listener 1883 127.0.0.1\nallow_anonymous true\nacl_file {acl}\nmount_point m/\n")

    def ask(*words):
        return kit.signet("explain", *words, "-c", conf, check=False).stdout.splitlines()[0]

    assert ask("x", "publish", "ann/1", "--user", "ann").startswith("refused: no ACL rule")
    conf.write_text(f"listener 1883 127.0.0.1\nallow_anonymous true\nacl_file {acl}\n")
    assert ask("x", "publish", "ann/1", "--user", "ann") == 'allowed: line 3: user "ann": may publish,subscribe ann/#'
    assert ask("x", "will", "ann/no/1", "--user", "ann").endswith('line 4: user "ann": may not publish,subscribe ann/no/#')
    assert ask("x", "receive", "open/1") == "allowed: line 1: anonymous clients: may subscribe open/#"
    assert ask("x", "subscribe", "$share/g/open/1").startswith("allowed")


def diff(broker, path, *words, code):
    result = kit.signet("policy", "diff", path, "--json", "--socket", broker.control, *words, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(result.stdout) if code < 2 else result.stderr


def test_what_a_policy_would_change(pki, site, tmp_path):
    new = tmp_path / "new.policy"
    with wire.Peer(site.port, "ex1", 5, files=pki.device("ex1")) as one, wire.Peer(site.port, "watcher", 5, files=pki.files("watcher")) as two:
        assert one.subscribe("springcard/springcore/ex1/#") == [0] and two.subscribe("#") == [0]
        same = diff(site, "springcore", code=0)
        assert same["changed"] == 0 and same["clients"] == [] and same["sessions"] == 2 and same["subscriptions"] == 2
        new.write_text("use springcore\ndeny role client subscribe springcard/springcore/+/secret\n")
        said = diff(site, new, code=1)
        assert [c["client_id"] for c in said["clients"]] == ["ex1"] and said["losing"] == 1 and said["gaining"] == 0
        assert {"change": "loses", "action": "subscribe", "topic": "springcard/springcore/ex1/#"} in said["clients"][0]["changes"]
        assert said["clients"][0]["role"] == "client" and said["clients"][0]["connected"]
        new.write_text("use springcore\nallow role client publish open/#\n")
        assert diff(site, new, code=1)["clients"][0]["changes"] == [{"change": "gains", "action": "publish", "topic": "open/#"}]
        new.write_text("connect role client\nallow role client publish,subscribe #\n")
        said = diff(site, new, "-n", "1", code=1)
        assert said["changed"] == 2 and [c["client_id"] for c in said["clients"]] == ["ex1"]
        said = diff(site, new, code=1)
        assert said["clients"][1]["changes"] == [{"change": "loses", "action": "connect", "topic": "watcher"}]
        shown = kit.signet("policy", "diff", new, "--socket", site.control, check=False).stdout
        assert "watcher (connected, role watch" in shown and "2 of 2 sessions would change" in shown
        assert "no such listener" in diff(site, new, "--listener", "7", code=3)
        # Nothing has changed.
        assert two.subscribe("+/#") == [0]
    new.write_text("allow nobody\n")
    assert "new.policy:1" in diff(site, new, code=2)
    assert "does the broker run" in kit.signet("policy", "diff", "springcore", "--socket", tmp_path / "x", check=False).stderr


def test_what_a_policy_says(tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("# ours\nuser ann\ntopic read a/#\n")
    assert 'user "ann": may subscribe a/#' in kit.signet("policy", "show", acl).stdout
    assert "role client,watch,control: may connect" in str(json.loads(kit.signet("policy", "show", "springcore", "--json").stdout))
    acl.write_text("topic deny\nbad\n")
    result = kit.signet("policy", "show", acl, check=False)
    assert result.returncode == 2 and "acl:2" in result.stderr
