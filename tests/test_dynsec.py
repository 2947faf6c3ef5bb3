"""Dynamic security: mosquitto_ctrl commands it, and mosquitto with its plugin is what it is compared with."""
import base64
import concurrent.futures
import hashlib
import json
import re
import threading

import pytest

import kit
import wire
from test_bridge import Mosquitto
from wire import Peer

PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
CONTROL = "$CONTROL/dynamic-security/v1"
RESPONSE = CONTROL + "/response"
NAMES = ["ann", "bob", "pub", "sub", "tied", "witness", *(f"k{i}" for i in range(12))]
NOT_AUTHORIZED, ADMINISTRATIVE = 0x87, 0x98


def init(path, password="adminpw"):
    done = kit.mosquitto("mosquitto_ctrl", "dynsec", "init", path, "admin", password)
    assert path.exists(), done.stderr
    return path


def lines_of(file, *more):
    return [f"plugin {PLUGIN}", f"plugin_opt_config_file {file}", *more]


def conf_of(port, file, *more):
    return f"{kit.STAY_ROOT}workers 3\nlistener {port} 127.0.0.1\n" + "\n".join(lines_of(file, *more)) + "\n"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "state").mkdir()
    return init(tmp_path / "state" / "dynsec.json")


def seed(file, *names):
    """Clients without roles and with the password "pw", of cheap hashes: what is tested is not their price."""
    salt = b"saltsaltsalt"
    hashed = {"password": hashlib.pbkdf2_hmac("sha512", b"pw", salt, 101), "salt": salt}
    state = json.loads(file.read_text())
    for name in names:
        state["clients"].append({"username": name, "roles": [], "iterations": 101,
                                 **{key: base64.b64encode(value).decode() for key, value in hashed.items()}})
    file.write_text(json.dumps(state))
    return file


@pytest.fixture
def empty_broker(broker_of, file):
    """With the administrator alone."""
    port = kit.free_port()
    return broker_of(conf_of(port, file, "allow_anonymous true"), port)


@pytest.fixture
def broker(broker_of, file):
    seed(file, *NAMES)
    port = kit.free_port()
    return broker_of(conf_of(port, file, "allow_anonymous true"), port)


def ctrl(port, *words, user="admin", password="adminpw"):
    done = kit.mosquitto("mosquitto_ctrl", "-h", "127.0.0.1", "-p", port, "-u", user, "-P", password, "dynsec", *words, seconds=2 * kit.PATIENCE)
    # Its warning about the missing encryption is no answer.
    return re.sub(r"(?m)^(Warning: You are running|This means all).*\n\n?", "", done.stdout + done.stderr).strip()


class Admin(Peer):
    """Somebody who commands by himself."""

    def __init__(self, port, client_id="", version=5, username="admin", password="adminpw"):
        super().__init__(port, client_id, version, username=username, password=password)
        assert self.subscribe(RESPONSE) == [0]

    def command(self, *commands, qos=1):
        n = len(self.got)
        self.publish(CONTROL, json.dumps({"commands": commands}), qos=qos)
        self.wait_messages(n + 1)
        topic, payload = self.got[n][:2]
        assert topic == RESPONSE
        return json.loads(payload)["responses"]

    def do(self, name, **members):
        response, = self.command({"command": name, **members})
        assert "error" not in response, response
        return response.get("data")


def user(port, name, client_id="", version=5, password="pw", **more):
    return Peer(port, client_id or name, version, username=name, password=password, **more)


def code_of(port, name=None, password=None, version=5, client_id="c"):
    try:
        Peer(port, client_id, version, username=name, password=password).close()
        return 0
    except kit.Refused as refused:
        return refused.code


def give(admin, name, *acls, role=None, **members):
    """One of NAMES with a role of its own."""
    role = role or f"role-{name}"
    admin.do("createRole", rolename=role, acls=[dict(zip(("acltype", "topic", "allow", "priority"), acl)) for acl in acls])
    admin.do("modifyClient", username=name, roles=[{"rolename": role}], **members)


# ---- every sub-command, and the same against mosquitto ----

COMMANDS = [
    "getDefaultACLAccess", "setDefaultACLAccess publishClientSend allow", "setDefaultACLAccess subscribe allow",
    "setDefaultACLAccess publishClientReceive deny", "setDefaultACLAccess unsubscribe deny", "getDefaultACLAccess",
    "createRole reader", "createRole writer", "createRole reader", "createRole third",
    "addRoleACL reader subscribePattern a/# allow 5", "addRoleACL reader subscribePattern a/# allow",
    "addRoleACL reader publishClientReceive a/# allow", "addRoleACL reader subscribeLiteral a/+ deny 7",
    "addRoleACL reader unsubscribeLiteral a/b deny", "addRoleACL reader unsubscribePattern a/# allow 1",
    "addRoleACL writer publishClientSend a/b allow 3", "addRoleACL writer publishClientSend a/c deny 4", "addRoleACL none publishClientSend a deny",
    "addRoleACL writer publishClientSend a/#/b allow", "removeRoleACL writer publishClientSend a/b", "removeRoleACL writer publishClientSend a/b",
    "getRole reader", "getRole writer", "getRole none", "listRoles", "listRoles 1", "listRoles 1 1", "listRoles 5 3",
    "createClient ann -p annpw", "createClient bob -p bobpw -c bobs", "createClient ann -p annpw",
    "setClientPassword ann other", "setClientPassword none other", "setClientId ann anns", "setClientId none n", "setClientId bob",
    "addClientRole ann reader 5", "addClientRole ann writer 7", "addClientRole bob reader", "addClientRole none reader", "addClientRole ann none",
    "removeClientRole ann writer", "removeClientRole none reader", "disableClient bob", "disableClient none", "getClient bob", "enableClient bob",
    "enableClient none", "getClient bob", "getClient ann", "getClient none", "listClients", "listClients 2", "listClients 2 1",
    "createGroup east", "createGroup west", "createGroup east", "addGroupRole east writer 3", "addGroupRole east third", "addGroupRole none writer",
    "addGroupRole east none", "addGroupRole east writer", "addGroupClient east ann 9", "addGroupClient west ann 11", "addGroupClient east bob",
    "addGroupClient none bob", "addGroupClient east none", "addGroupClient east bob", "removeGroupClient west ann", "removeGroupClient none ann",
    "removeGroupClient west none", "removeGroupRole east third", "removeGroupRole none third", "removeGroupRole east none",
    "getGroup east", "getGroup none", "getClient ann", "listGroups", "listGroups 1", "listGroups 1 1",
    "getAnonymousGroup", "setAnonymousGroup none", "setAnonymousGroup east", "getAnonymousGroup",
    "deleteRole third", "deleteRole third", "deleteGroup west", "deleteGroup west", "deleteClient bob", "deleteClient bob",
    "listClients", "listGroups", "listRoles", "getClient ann", "getGroup east",
]


def run_all(port):
    return [(command, ctrl(port, *command.split())) for command in COMMANDS]


def without_secrets(file):
    """What a file says, but for what is random or the broker's own matter."""
    state = json.loads(file.read_text())
    for client in state["clients"]:
        for key in "password", "salt", "iterations":
            assert client.pop(key)
    return state


def test_mosquitto_ctrl_commands_it_as_mosquitto(empty_broker, file, tmp_path):
    broker = empty_broker
    port = kit.free_port()
    other = Mosquitto(tmp_path / "mosquitto", port, *lines_of(init(tmp_path / "other.json")))
    other.start()
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = list(pool.map(run_all, (broker.port, port)))
        for (command, ours), (_, theirs) in zip(*answers):
            assert ours == theirs, command
        assert without_secrets(file) == without_secrets(tmp_path / "other.json")
    finally:
        other.stop()
    text = "\n".join(line for line in broker.log().splitlines() if "dynsec:" in line)
    assert "createClient | username=ann | password=*****" in text and "annpw" not in broker.log()
    assert re.search(r"/admin \| addGroupClient \| groupname=east \| username=ann \| priority=9", text)


def test_mosquitto_reads_what_we_have_written(broker, file, tmp_path):
    with Admin(broker.port) as admin:
        give(admin, "ann", ("publishClientSend", "a/#", True), ("subscribePattern", "a/#", True))
    assert broker.stop() == 0
    port = kit.free_port()
    other = Mosquitto(tmp_path / "mosquitto", port, *lines_of(file))
    other.start()
    try:
        assert "Username: ann" in ctrl(port, "getClient", "ann")
        with user(port, "ann") as ann:
            assert ann.subscribe("a/b", "b") == [0, NOT_AUTHORIZED]
    finally:
        other.stop()


def test_modify_commands(broker):
    with Admin(broker.port) as admin:
        admin.do("createRole", rolename="r")
        admin.do("createGroup", groupname="g", textname="G")
        admin.do("modifyClient", username="ann", textname="Ann", clientid="anns", roles=[{"rolename": "r", "priority": 3}], groups=[{"groupname": "g"}])
        admin.do("modifyGroup", groupname="g", textdescription="D", roles=[{"rolename": "r"}])
        admin.do("modifyRole", rolename="r", textname="R", acls=[{"acltype": "publishClientSend", "topic": "t", "allow": True}])
        assert admin.do("getClient", username="ann") == {"client": {"username": "ann", "clientid": "anns", "textname": "Ann",
            "roles": [{"rolename": "r", "priority": 3}], "groups": [{"groupname": "g"}]}}
        assert admin.do("listGroups", verbose=True) == {"totalCount": 1, "groups": [{"groupname": "g", "textname": "G", "textdescription": "D",
            "clients": [{"username": "ann"}], "roles": [{"rolename": "r"}]}]}
        assert admin.do("getRole", rolename="r")["role"]["acls"] == [{"acltype": "publishClientSend", "topic": "t", "priority": 0, "allow": True}]
        # All or nothing, also within one batch of which one command fails.
        answers = admin.command({"command": "modifyClient", "username": "ann", "textname": "X", "roles": [{"rolename": "none"}]},
                                {"command": "createRole", "rolename": "s", "correlationData": "7"}, {"command": "fly"})
        assert answers == [{"command": "modifyClient", "error": "Role not found"}, {"command": "createRole", "correlationData": "7"},
                           {"command": "fly", "error": "Unknown command"}]
        assert admin.do("getClient", username="ann")["client"]["textname"] == "Ann"
        assert admin.command({"command": "listRoles"}, qos=2) == [{"command": "listRoles", "data": {"totalCount": 3, "roles": ["admin", "r", "s"]}}]
        for payload in "", "{", "[1]", "{\"commands\":1}":
            n = len(admin.got)
            admin.publish(CONTROL, payload, qos=1)
            assert json.loads(admin.wait_messages(n + 1).got[n][1])["responses"][0]["command"] == "Unknown command"


# ---- who may do what ----

def test_acls_hold_for_real_clients(broker, tmp_path):
    with Admin(broker.port) as admin:
        give(admin, "ann", ("publishClientSend", "a/%u/#", True), ("publishClientSend", "a/ann/secret", False, 5), ("subscribePattern", "a/#", True),
             ("subscribeLiteral", "b/+", True), ("publishClientReceive", "a/hidden", False))
    words = ("-h", "127.0.0.1", "-p", broker.port, "-u", "ann", "-P", "pw", "-V", "5", "-q", "1")
    with user(broker.port, "ann", "listener") as ann:
        assert ann.subscribe("a/#", "b/+", "b/1", "#") == [0, 0, NOT_AUTHORIZED, NOT_AUTHORIZED]
        done = kit.mosquitto("mosquitto_pub", *words, "-t", "a/ann/1", "-m", "one")
        assert done.returncode == 0, done.stderr
        for topic in "a/ann/secret", "a/bob/1", CONTROL, "$CONTROL/x":
            assert "Not authorized" in kit.mosquitto("mosquitto_pub", *words, "-t", topic, "-m", "x").stderr, topic
        ann.wait_messages(1)
        with Admin(broker.port, "other") as admin:
            admin.do("addRoleACL", rolename="admin", acltype="publishClientSend", topic="#", allow=True)
        # The administrator was disconnected by that, as he has the role.
        with Admin(broker.port, "other") as admin:
            for topic in "a/hidden", "b/9", "a/seen":
                admin.publish(topic, topic, qos=1)
        ann.wait_messages(3).fence()
        assert [m[0] for m in ann.got] == ["a/ann/1", "b/9", "a/seen"]


def test_a_change_holds_for_live_sessions_at_once(broker):
    """modifyRole and the default access disconnect nobody."""
    with Admin(broker.port) as admin:
        give(admin, "pub", ("publishClientSend", "t/#", True))
        give(admin, "sub", ("subscribePattern", "t/#", True), ("publishClientReceive", "t/#", True))
        with user(broker.port, "pub") as pub, user(broker.port, "sub") as sub:
            assert sub.subscribe("t/#", qos=1) == [1]
            pub.publish("t/1", "1", qos=1)
            sub.wait_messages(1)
            admin.do("modifyRole", rolename="role-sub", acls=[{"acltype": "publishClientReceive", "topic": "t/2", "allow": False}])
            pub.publish("t/2", "2", qos=1)
            pub.publish("t/3", "3", qos=1)
            sub.wait_messages(2)
            admin.do("setDefaultACLAccess", acls=[{"acltype": "publishClientReceive", "allow": False}, {"acltype": "unsubscribe", "allow": False}])
            pub.publish("t/4", "4", qos=1)
            admin.do("modifyRole", rolename="role-pub", acls=[])
            assert pub.wait_ack(wire.PUBACK, pub.publish("t/5", "5", qos=1))[:1] == bytes([NOT_AUTHORIZED])
            packet_id = 999
            sub.send(wire.unsubscribe("t/#", packet_id=packet_id, version=5))
            assert sub.wait_ack(wire.UNSUBACK, packet_id)[-1:] == bytes([NOT_AUTHORIZED])
            sub.fence()
            assert sub.payloads() == [b"1", b"3"] and not sub.closed


def test_priorities_and_the_anonymous_group(broker):
    with Admin(broker.port) as admin:
        for name, allow in ("yes", True), ("no", False):
            admin.do("createRole", rolename=name, acls=[{"acltype": "publishClientSend", "topic": "t", "allow": allow}])
            admin.do("createGroup", groupname=name, roles=[{"rolename": name}])
        admin.do("modifyClient", username="ann", groups=[{"groupname": "no", "priority": 1}, {"groupname": "yes", "priority": 2}])
        admin.do("modifyClient", username="bob", roles=[{"rolename": "no", "priority": 1}], groups=[{"groupname": "yes", "priority": 9}])
        admin.do("setAnonymousGroup", groupname="yes")
        for name, allowed in ("ann", True), ("bob", False):
            with user(broker.port, name) as peer:
                assert (peer.wait_ack(wire.PUBACK, peer.publish("t", "x", qos=1))[:1] == bytes([NOT_AUTHORIZED])) is not allowed
        with Peer(broker.port, "nobody", 5) as nobody:
            assert nobody.wait_ack(wire.PUBACK, nobody.publish("t", "x", qos=1))[:1] != bytes([NOT_AUTHORIZED])
            admin.do("setAnonymousGroup", groupname="no")
            assert nobody.wait_closed() == ADMINISTRATIVE
        with Peer(broker.port, "nobody", 5) as nobody:
            assert nobody.wait_ack(wire.PUBACK, nobody.publish("t", "x", qos=1))[:1] == bytes([NOT_AUTHORIZED])


def test_who_gets_in(broker):
    with Admin(broker.port) as admin:
        admin.do("createClient", username="bare")
        admin.do("setClientId", username="tied", clientid="only")
        for version, refusal in (4, 5), (5, NOT_AUTHORIZED):
            assert code_of(broker.port, "ann", "pw", version) == 0
            for name, password in ("ann", "PW"), ("ann", ""), ("bare", ""), ("bare", "pw"), ("nobody", "pw"), ("tied", "pw"):
                assert code_of(broker.port, name, password, version) == refusal, name
            assert code_of(broker.port, "tied", "pw", version, client_id="only") == 0
        assert code_of(broker.port, "ann") == NOT_AUTHORIZED  # no password at all
        assert code_of(broker.port) == 0  # allow_anonymous
        admin.do("disableClient", username="ann")
        assert code_of(broker.port, "ann", "pw") == NOT_AUTHORIZED
        admin.do("enableClient", username="ann")
        admin.do("setClientPassword", username="ann", password="new")
        assert code_of(broker.port, "ann", "pw") == NOT_AUTHORIZED
        assert code_of(broker.port, "ann", "new") == 0
        admin.do("deleteClient", username="ann")
        assert code_of(broker.port, "ann", "new") == NOT_AUTHORIZED
    broker.wait_log(r"dynamic security has no client 'nobody' \[unknown-user\]")
    broker.wait_log(r"wrong password of user 'ann'")
    broker.wait_log(r"this client is disabled in dynamic security")


# ---- who is disconnected ----

KICKS = [("deleteClient", {}), ("disableClient", {}), ("setClientPassword", {"password": "new"}), ("setClientId", {"clientid": "x"}),
         ("modifyClient", {"textname": "x"}), ("addClientRole", {"rolename": "r"}), ("removeClientRole", {"rolename": "r"}),
         ("addGroupClient", {"groupname": "g"}), ("removeGroupClient", {"groupname": "g"})]


def test_whom_a_command_concerns_is_disconnected_at_once(broker):
    with Admin(broker.port) as admin, user_of_all(admin, broker.port) as witness:
        admin.do("createRole", rolename="r")
        admin.do("createGroup", groupname="g")
        admin.do("setDefaultACLAccess", acls=[{"acltype": "publishClientSend", "allow": True}])
        for i, (name, members) in enumerate(KICKS):
            new, old = user(broker.port, f"k{i}", "new"), user(broker.port, f"k{i}", "old", version=4)
            admin.do(name, username=f"k{i}", **members)
            assert new.wait_closed() == ADMINISTRATIVE, name
            assert old.wait_closed() is None, name
            new.cut()
            old.cut()
        # By its group and role.
        for name, members in [("modifyClient", {"username": "ann", "groups": [{"groupname": "g"}]}), ("addGroupRole", {"groupname": "g", "rolename": "r"}),
                              ("addRoleACL", {"rolename": "r", "acltype": "publishClientSend", "topic": "a"}),
                              ("removeRoleACL", {"rolename": "r", "acltype": "publishClientSend", "topic": "a"}),
                              ("modifyGroup", {"groupname": "g", "textname": "G"}), ("deleteRole", {"rolename": "r"}), ("deleteGroup", {"groupname": "g"})]:
            ann = user(broker.port, "ann", will=("w", "gone", 0, False, b""))
            admin.do(name, **members)
            assert ann.wait_closed() == ADMINISTRATIVE, name
            ann.cut()
        witness.fence()
        assert witness.payloads() == [] and not witness.closed


def user_of_all(admin, port):
    """Somebody else, who hears wills."""
    give(admin, "witness", ("subscribePattern", "#", True))
    witness = user(port, "witness")
    assert witness.subscribe("w") == [0]
    return witness


def test_who_disconnects_himself_has_his_answer_first(broker):
    admin = Admin(broker.port)
    assert admin.command({"command": "setClientPassword", "username": "admin", "password": "new"}) == [{"command": "setClientPassword"}]
    assert admin.wait_closed() == ADMINISTRATIVE
    admin.cut()
    assert code_of(broker.port, "admin", "adminpw") == NOT_AUTHORIZED
    Admin(broker.port, password="new").close()


# ---- what is published below $CONTROL ----

def test_answers_are_for_their_sender(broker):
    with Admin(broker.port, "one") as one, Admin(broker.port, "two") as two:
        assert two.subscribe("$CONTROL/dynamic-security/#", "#") == [0, 0]
        one.do("createRole", rolename="r")
        # Nobody can be made believe that he was answered.
        one.publish(RESPONSE, "forged", qos=1)
        one.publish(CONTROL + "/more", "x", qos=2)
        two.fence()
        assert two.got == []
        # Who has not subscribed has his command carried out all the same.
        with Peer(broker.port, "three", 5, username="admin", password="adminpw") as three:
            three.publish(CONTROL, json.dumps({"commands": [{"command": "createRole", "rolename": "s"}]}), qos=2)
            three.fence()
            assert three.got == []
        assert one.do("listRoles")["roles"] == ["admin", "r", "s"]


def test_others_go_on_while_a_command_takes_its_time(broker):
    """Commands come from many at once; each is answered in its order, and nobody else waits."""
    with Admin(broker.port) as first:
        give(first, "ann", ("publishClientSend", "t", True))
    failures = []

    def work(n):
        try:
            with Admin(broker.port, f"admin{n}") as admin:
                for i in range(2):
                    admin.do("createClient", username=f"c{n}-{i}", password="pw")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    with user(broker.port, "ann") as ann:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ann.publish("t", "x", qos=1)
    for thread in threads:
        thread.join()
    assert not failures, failures
    with Admin(broker.port) as admin:
        assert admin.do("listClients", count=1)["totalCount"] == 1 + len(NAMES) + 8


# ---- the file ----

def test_a_restart_keeps_everything(broker, file):
    with Admin(broker.port) as admin:
        give(admin, "ann", ("publishClientSend", "t", True), textname="Änn \"1\"")
        admin.do("createGroup", groupname="g", roles=[{"rolename": "role-ann"}])
        admin.do("setAnonymousGroup", groupname="g")
        before = [admin.do(name, verbose=True) for name in ("listClients", "listGroups", "listRoles")]
    assert file.stat().st_mode & 0o777 == 0o600
    assert broker.stop() == 0
    broker.start()
    with Admin(broker.port) as admin:
        assert [admin.do(name, verbose=True) for name in ("listClients", "listGroups", "listRoles")] == before
        assert admin.do("getAnonymousGroup") == {"group": {"groupname": "g"}}
    assert code_of(broker.port, "ann", "pw") == 0


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_acknowledged_survives_a_kill(broker, qos):
    for turn in range(3):
        with Admin(broker.port) as admin:
            for i in range(5):
                admin.publish(CONTROL, json.dumps({"commands": [{"command": "createRole", "rolename": f"r{turn}-{i}"}]}), qos=qos)
            admin.publish(CONTROL, json.dumps({"commands": [{"command": "createRole", "rolename": f"late{turn}"}]}), qos=qos, wait=False)
            broker.process.kill()
            broker.process.wait()
            acked = len([a for a in admin.acks if a[0] in (wire.PUBACK, wire.PUBCOMP)])
            admin.wait_closed()
        assert acked >= 5
        broker.start()
        with Admin(broker.port) as admin:
            roles = admin.do("listRoles")["roles"]
            assert {f"r{turn}-{i}" for i in range(5)} <= set(roles)
            if acked == 6:
                assert f"late{turn}" in roles


def test_what_cannot_be_kept_does_not_happen(broker, file):
    with Admin(broker.port) as admin:
        admin.do("createRole", rolename="r")
        file.parent.rename(file.parent.with_name("away"))
        answer, = admin.command({"command": "deleteRole", "rolename": "r"})
        assert answer == {"command": "deleteRole", "error": "Internal error: the file cannot be written"}
        assert admin.do("listRoles")["roles"] == ["admin", "r"]
        file.parent.with_name("away").rename(file.parent)
        admin.do("deleteRole", rolename="r")
        assert admin.do("listRoles")["roles"] == ["admin"]
    broker.wait_log(r"nothing was changed: cannot write .*directory must be writable")


@pytest.mark.parametrize("text, error", [
    (None, r"broker.conf:\d+: plugin_opt_config_file: .*is not there; make it with `mosquitto_ctrl dynsec init"),
    ("", r"plugin_opt_config_file: .*: is empty; make it with"),
    ("{\n  oops", r"plugin_opt_config_file: .*dynsec.json:2:6: not JSON"),
    ('{"clients":[{"username":"a"},{"username":"a"}]}', r"clients\[1\]: there is a client of this name before it; remove one"),
])
def test_a_broken_file_stops_the_start(tmp_path, file, text, error):
    file.unlink()
    if text is not None:
        file.write_text(text)
    conf = tmp_path / "broker.conf"
    conf.write_text(conf_of(kit.free_port(), file))
    for options in (), ("--test-config",):
        done = kit.signet("broker", "-c", conf, *options, check=False)
        assert done.returncode != 0
        assert re.search(error, done.stderr + done.stdout), done.stderr + done.stdout


def test_what_mosquitto_leaves_behind_is_warned_of(broker_of, file):
    state = json.loads(file.read_text())
    state["clients"][0]["roles"].append({"rolename": "gone"})
    file.write_text(json.dumps(state))
    port = kit.free_port()
    broker = broker_of(conf_of(port, file), port)
    broker.wait_log(r'clients\[0\] names a role "gone", which is not there; it is left out')
    Admin(port).close()


def test_a_first_password_makes_the_file(broker_of, tmp_path):
    """mosquitto 2.1."""
    (tmp_path / "first").write_text("s3cret\n")
    file, port = tmp_path / "made.json", kit.free_port()
    broker = broker_of(conf_of(port, file, f"plugin_opt_password_init_file {tmp_path / 'first'}"), port)
    with Admin(port, password="s3cret") as admin:
        admin.do("createRole", rolename="r")
    assert broker.stop() == 0
    broker.start()
    with Admin(port, password="s3cret") as admin:
        assert admin.do("listRoles")["roles"] == ["admin", "r"]


# ---- configuration ----

def test_sighup_leaves_it_as_it_is(broker, file):
    with Admin(broker.port) as admin:
        give(admin, "ann", ("publishClientSend", "t", True))
        text = file.read_text()
        file.write_text("{}")
        with user(broker.port, "ann") as ann:
            broker.reload("Reloaded")
            ann.publish("t", "x", qos=1)
            ann.fence()
            assert not ann.closed
            admin.do("createRole", rolename="new")
            assert {"role-ann", "new"} <= {role["rolename"] for role in json.loads(file.read_text())["roles"]}
            other = file.with_name("other.json")
            other.write_text(text)
            broker.conf.write_text(broker.conf.read_text().replace(str(file), str(other)))
            broker.reload("Reload failed.*plugin_opt_config_file is another than before; this needs a restart")
            ann.fence()


def test_listeners_have_what_they_name(broker_of, file, tmp_path):
    second = init(tmp_path / "second.json", "other")
    seed(file, "ann")
    ports = [kit.free_port() for _ in range(4)]
    broker_of(f"{kit.STAY_ROOT}per_listener_settings true\n"
              f"plugin_load dynsec {PLUGIN}\nplugin_opt_config_file {file}\n"
              f"listener {ports[0]} 127.0.0.1\nplugin_use dynsec\n"
              f"listener {ports[1]} 127.0.0.1\nauth_plugin {PLUGIN}\nauth_opt_config_file {second}\n"
              f"listener {ports[2]} 127.0.0.1\nplugin /other/path/mosquitto_dynamic_security.so\nplugin_opt_config_file {file}\n"
              f"listener {ports[3]} 127.0.0.1\nallow_anonymous true\n", ports)
    with Admin(ports[0]) as admin, Admin(ports[1], "two", password="other") as two, Peer(ports[3], "open") as nobody:
        give(admin, "ann", ("publishClientSend", "t", True))
        assert code_of(ports[2], "ann", "pw") == 0
        assert code_of(ports[1], "ann", "pw") == NOT_AUTHORIZED
        two.do("createClient", username="ann", password="pw")
        with user(ports[1], "ann", "second") as ann, user(ports[2], "ann", "first") as gone:
            admin.do("deleteClient", username="ann")
            assert gone.wait_closed() == ADMINISTRATIVE
            ann.fence()
            assert not ann.closed
        # Where there is none, nobody commands, and nobody hears.
        nobody.subscribe("$CONTROL/#", "#")
        nobody.publish(CONTROL, '{"commands":[{"command":"deleteRole","rolename":"admin"}]}', qos=1)
        nobody.publish(RESPONSE, "forged", qos=1)
        nobody.fence()
        assert nobody.got == [] and admin.do("listRoles")["roles"] == ["admin", "role-ann"]


def test_what_will_not_work_is_said_before(tmp_path, file):
    """A directory that the broker will not be able to write to, and a file that everybody can read."""
    if not kit.STAY_ROOT:
        pytest.skip("needs to be root, to become somebody else")
    file.chmod(0o644)
    file.parent.chmod(0o755)
    conf = tmp_path / "broker.conf"
    conf.write_text(f"listener {kit.free_port()} 127.0.0.1\nuser nobody\n" + "\n".join(lines_of(file)))
    done = kit.signet("broker", "-c", conf, "--test-config")
    assert re.search(r"broker.conf:3: plugin_opt_config_file: .*/state cannot be written to by user nobody.*refuse every change", done.stdout)
    assert re.search(r"broker.conf:3: plugin_opt_config_file .*dynsec.json: everybody on this machine can read it", done.stdout)
    assert "dynamic security decide" in done.stdout
