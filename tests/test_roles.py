"""Who may do what over real TLS: every role with every action on every topic, in both MQTT versions, for both ready-made
policies, against one small oracle. A role is the issuer's key and nothing else."""
import pathlib
import ssl

import pytest

import certs
import kit
import wire

SPRING = "springcard/springcore"
VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
POLICIES = pytest.mark.parametrize("policy", ["springcore", "dojot"])
LIVE = pytest.mark.parametrize("role", ["client", "watch", "control"])
NOT_AUTHORIZED = {4: 5, 5: 0x87}

# The names of those who act. "dev1" and "admin:d1" are the client; the others exist beside it.
NAMES = {"springcore": {"client": "dev1", "watch": "watcher", "control": "controller"},
         "dojot": {"client": "admin:d1", "watch": "watcher", "control": "controller"}}

TOPICS = {
    "springcore": [
        f"{SPRING}/dev1", f"{SPRING}/dev1/meta", f"{SPRING}/dev1/status", f"{SPRING}/dev1/rdr/cmd", f"{SPRING}/dev1/rdr/evt",
        f"{SPRING}/dev1/", f"{SPRING}/dev1//x", f"{SPRING}/dev1/../dev2/status", f"{SPRING}/dev1/$SYS",
        f"{SPRING}/dev2/status", f"{SPRING}/dev2/rdr/cmd", f"{SPRING}/dev11/status", f"{SPRING}/dev1x", f"{SPRING}/dev/1",
        f"{SPRING}/DEV1/status", "SpringCard/springcore/dev1/status", f"{SPRING}", f"{SPRING}/../springcore/dev1/status",
        f"/{SPRING}/dev1/status", f"{SPRING}//dev1/status", "springcard/dev1/status", "dev1", "dev1/status", "other",
        f"{SPRING}/watcher/x", f"{SPRING}/controller/x", f"$SYS/{SPRING}/dev1/x", "$SYS/broker/uptime", "$SYS", "$CONTROL/x",
        f"$share/g/{SPRING}/dev1/x", f"${SPRING}/dev1/x",
    ],
    "dojot": [
        "/admin/d1/attrs", "/admin/d1/config", "/admin/d1/attrs/x", "/admin/d1//attrs", "/admin/d1/attrs/", "admin/d1/attrs",
        "/admin/d1", "/admin/d1/ATTRS", "/ADMIN/d1/attrs", "/admin/D1/attrs", "/admin/d11/attrs", "/admin/d1x/attrs", "/admin/d2/attrs",
        "/admin/d2/config", "/other/d1/attrs", "/other/d1/config", "/admin/../admin/d1/attrs", "//d1/attrs", "/admin//attrs",
        "admin:d1/attrs", "/admin:d1/attrs", "/admin/admin:d1/attrs", "attrs", "/", "other", "$SYS/admin/d1/attrs", "$SYS",
        "$CONTROL/x", "$share/g//admin/d1/attrs",
    ],
}

FILTERS = {
    "springcore": [
        f"{SPRING}/dev1/#", f"{SPRING}/dev1", f"{SPRING}/dev1/+", f"{SPRING}/dev1/+/#", f"{SPRING}/dev1/rdr/cmd", f"{SPRING}/dev1/+/cmd",
        f"{SPRING}/dev1//#", f"{SPRING}/dev1/../dev2/status", f"{SPRING}/dev1/$SYS/#",
        "#", "+/#", "+/+/+", "+/+/+/#", "+/+/dev1/#", f"{SPRING}/#", f"{SPRING}/+/status", f"{SPRING}/+/#", f"{SPRING}/dev2/#",
        f"{SPRING}/dev2/rdr/cmd", f"{SPRING}/dev11/#", f"{SPRING}/dev1x", f"{SPRING}/DEV1/#", f"SPRINGCARD/springcore/dev1/#", f"{SPRING}",
        f"{SPRING}/+/dev1/#", f"/{SPRING}/dev1/#", "springcard/+/dev1/#", "dev1/#", "other", f"{SPRING}/watcher/#", f"{SPRING}/controller/#",
        "$SYS/#", "$SYS", "$SYS/broker/+", f"$SYS/{SPRING}/dev1/#", "$CONTROL/#", "/#",
        f"$share/g/{SPRING}/dev1/#", "$share/g/#", f"$share/g/{SPRING}/dev2/#", f"$share/g/{SPRING}/+/status", f"$share/dev1/{SPRING}/dev11/#",
        "$share/g/$SYS/#",
    ],
    "dojot": [
        "/admin/d1/config", "/admin/d1/attrs", "/admin/d1/#", "/admin/d1/+", "/admin/+/config", "/+/d1/config", "+/admin/d1/config",
        "/admin/d1/config/#", "/admin/d1/config/", "/admin/d1//config", "/admin/d2/config", "/admin/d11/config", "/other/d1/config", "/other/+/config",
        "/ADMIN/d1/config", "/admin/d1/CONFIG", "admin/d1/config", "#", "+/+/+", "+/+/+/+", "/#", "/+/+/+", "/admin/#", "other", "$SYS/#", "$SYS",
        "$SYS/admin/d1/config", "$CONTROL/#", "$share/g//admin/d1/config", "$share/g//admin/d1/attrs", "$share/g//admin/+/config",
        "$share/g/#", "$share/g//admin/d2/config",
    ],
}


# Retained messages that are always there.
SENTINELS = {f"sentinel/{i}" for i in range(32)}


# ---- the oracle ----

def may_publish(policy, role, topic):
    if topic.startswith("$") or role not in ("client", "control"):
        return False
    if role == "control":
        return True
    if policy == "dojot":
        return topic == "/admin/d1/attrs"
    return topic.split("/")[:3] == [*SPRING.split("/"), "dev1"]


def inner(topic_filter):
    return topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter


def may_subscribe(policy, role, topic_filter):
    wanted = inner(topic_filter)
    if role in ("watch", "control"):
        return not wanted.startswith("$") or wanted.split("/")[0] == "$SYS"
    if role != "client":
        return False
    if policy == "dojot":
        return wanted == "/admin/d1/config"
    return wanted.split("/")[:3] == [*SPRING.split("/"), "dev1"]


def matches(topic_filter, topic):
    """4.7 of the specification."""
    f, t = inner(topic_filter).split("/"), topic.split("/")
    if t[0].startswith("$") and f[0] in ("#", "+"):
        return False
    for i, level in enumerate(f):
        if level == "#":
            return True
        if i >= len(t) or level not in ("+", t[i]):
            return False
    return len(f) == len(t)


def may_connect(policy, role, client_id):
    name = NAMES[policy].get(role)
    if name is None:
        return False
    return client_id == name or client_id == "" and (policy, role) != ("dojot", "client")


# ---- the platform ----

class Site:
    """A broker of one policy, and the certificates of everybody."""

    def __init__(self, pki, folder, policy):
        self.policy = policy
        self.cas = certs.role_cas(pki, folder / "cas")
        names = NAMES[policy]
        root = self.cas["root"]
        # Trusted, without a role.
        self.cas["none"] = certs.Ca(folder / "none", "A CA without a role", issuer=root)
        # The name of the Control CA, the key of somebody else: one that the broker trusts, one that it does not.
        self.cas["twin"] = certs.Ca(folder / "twin", self.cas["control"].subject, issuer=root)
        stranger = certs.Ca(folder / "stranger-root", root.subject)
        self.cas["unknown"] = certs.Ca(folder / "stranger", self.cas["client"].subject, issuer=stranger)
        self.who = {role: self.leaf(role, name) for role, name in names.items()}
        for role in ("cloud", "none", "unknown"):
            self.who[role] = self.leaf(role, names["client"])
        cafile = folder / "ca.pem"
        cafile.write_text((pki.dir / "pki/ca.pem").read_text() + self.cas["none"].pem + self.cas["twin"].pem)
        self.port, self.open_port = kit.free_port(), kit.free_port()
        lines = ["require_certificate false" if line == "require_certificate true" else line
                 for line in pki.conf(self.open_port, policy=None, cafile=str(cafile)).splitlines() if line.split(" ")[0] in
                 ("listener", "cafile", "certfile", "keyfile", "tls_version", "require_certificate", "use_identity_as_username")]
        conf = pki.conf(self.port, *lines, policy=policy, cafile=str(cafile), workers="4")
        self.broker = kit.Broker(folder / "broker", conf, [self.port, self.open_port])

    def leaf(self, ca, subject, **more):
        return self.cas[ca].leaf(subject, trust=self.cas["root"].file, chain=more.pop("chain", [self.cas[ca]]), **more)

    def peer(self, role, client_id=None, version=4, **more):
        """A connected client; the controller that looks on, and the like, have a name of their own."""
        return wire.Peer(more.pop("port", self.port), NAMES[self.policy].get(role, "") if client_id is None else client_id, version,
                         files=more.pop("files", None) or self.who[role], **more)

    def observer(self, version=4):
        """A controller of another name that hears all that there is to hear."""
        if "observer" not in self.who:
            self.who["observer"] = self.leaf("control", "observer")
        peer = self.peer("observer", "observer", version)
        assert peer.subscribe("#", "$SYS/#", qos=1) == [1, 1]
        return peer

    def knock(self, role, client_id, version, port=None, files=None, behind=b"", **words):
        """CONNACK's code, or "tls" if the handshake already refuses; and the assigned client id of MQTT 5."""
        try:
            with kit.Raw(port or self.port, files=files or self.who[role]) as raw:
                raw.send(wire.connect(client_id, version, **words) + behind)
                first, body = raw.packet()
                assert first == wire.CONNACK << 4
                if body[1]:
                    assert raw.rest() == b"", "something follows a refusal"
                else:
                    raw.send(wire.disconnect(version))
                    raw.rest()
                return body[1], assigned_id(body) if version == 5 else ""
        except (ssl.SSLError, ConnectionError, EOFError):
            return "tls", ""


def assigned_id(connack):
    at = connack.find(b"\x12\0")
    return connack[at + 3:at + 3 + connack[at + 2]].decode() if at > 0 else ""


def mine(peer, tag):
    """What a peer has heard of one test, without the broker's own messages."""
    return sorted((topic, payload.decode()) for topic, payload, *_ in list(peer.got) if payload.startswith(tag))


def hears_exactly(peer, tag, expected):
    expected = sorted(expected)
    peer.wait(lambda: len(mine(peer, tag)) >= len(expected), f"{len(expected)} messages")
    # What is on its way from another worker is there two turns of this client's worker later.
    peer.fence().fence()
    got = mine(peer, tag)
    assert got == expected, f"too much: {sorted(set(got) - set(expected))}, missing: {sorted(set(expected) - set(got))}"


@pytest.fixture(scope="module")
def sites(pki, tmp_path_factory):
    made = {}

    def site_of(policy):
        if policy not in made:
            made[policy] = Site(pki, tmp_path_factory.mktemp(policy), policy)
            made[policy].broker.start()
            with made[policy].observer() as boss:
                for topic in SENTINELS:
                    boss.publish(topic, b"s", qos=1, retain=True)
        return made[policy]

    yield site_of
    for site in made.values():
        assert site.broker.stop() == 0, site.broker.log()[-6000:]


@pytest.fixture
def site(sites, policy):
    site = sites(policy)
    yield site
    assert site.broker.process.poll() is None, site.broker.log()[-6000:]


# ---- connect ----

def client_ids(policy, name):
    """Own, none, another's, and all that looks like one's own."""
    ids = [name, "", name.upper(), name + "1", name[:-1], name + " ", " " + name, name + "/", "#", "+", "stranger"]
    ids += [n for n in NAMES[policy].values() if n != name]
    return ids + ["dev2"] if policy == "springcore" else ids + ["d1", ":d1", "admin:", "admin:d1:d1", "other:d1", "admin:d2", "admin:d-1"]


@VERSIONS
@POLICIES
@pytest.mark.parametrize("role", ["client", "watch", "control", "cloud", "none", "unknown"])
def test_connect(site, policy, version, role):
    name = NAMES[policy].get(role) or NAMES[policy]["client"]
    for client_id in client_ids(policy, name):
        code, assigned = site.knock(role, client_id, version)
        if role == "unknown":
            assert code == "tls", client_id
        elif may_connect(policy, role, client_id):
            assert code == 0, client_id
            if client_id == "" and version == 5:
                assert assigned == name
        else:
            assert code == NOT_AUTHORIZED[version], client_id


@VERSIONS
@POLICIES
def test_connect_without_certificate(site, policy, version):
    names = list(NAMES[policy].values())
    nobody = {"ca": site.cas["root"].file}
    for words in ({}, {"username": ""}, *({"username": n} for n in names), {"username": names[0], "password": names[0]}):
        for client_id in [*names, ""]:
            assert site.knock(None, client_id, version, port=site.open_port, files=nobody, **words)[0] == NOT_AUTHORIZED[version]
            assert site.knock(None, client_id, version, files=nobody, **words)[0] == "tls"
    # The listener that asks for no certificate still judges the one that it gets.
    for role, code in (("client", 0), ("cloud", NOT_AUTHORIZED[version]), ("none", NOT_AUTHORIZED[version]), ("unknown", "tls")):
        assert site.knock(role, names[0], version, port=site.open_port)[0] == code, role


@VERSIONS
@POLICIES
def test_nothing_behind_a_refused_connect_happens(site, policy, version):
    """What is sent in one go with a CONNECT that is refused: messages, retained ones, subscriptions; and the will."""
    tag = f"behind{version}"
    topics = [t for t in TOPICS[policy] if not t.startswith("$")]
    behind = b"".join(wire.publish(t, tag, qos, 9, version, retain=retain) for t in topics for qos in (0, 1) for retain in (False, True))
    behind += wire.subscribe("#", packet_id=10, version=version)
    with site.observer() as eye:
        for role in ("client", "watch", "control", "cloud", "none", "unknown"):
            for client_id in ("stranger", NAMES[policy]["client"]):
                if not may_connect(policy, role, client_id):
                    code, _ = site.knock(role, client_id, version, behind=behind, will=(topics[0], tag, 1, True, b""))
                    assert code in ("tls", NOT_AUTHORIZED[version]), (role, client_id)
        hears_exactly(eye, tag.encode(), [])


@VERSIONS
@POLICIES
def test_username_of_connect_is_ignored(site, policy, version):
    own, other = (f"{SPRING}/dev1/x", f"{SPRING}/dev2/x") if policy == "springcore" else ("/admin/d1/attrs", "/admin/d2/attrs")
    with site.observer() as eye:
        for username in ("controller", "dev2", "admin:d2", ""):
            with site.peer("client", version=version, username=username, password=username) as actor:
                actor.publish(other, f"name{version}", qos=1)
                actor.publish(own, f"name{version}", qos=1)
        hears_exactly(eye, b"name", [(own, f"name{version}")] * 4)


# ---- publish ----

def answer_to(peer, packet_id, qos):
    """The reason of a PUBLISH: 0 in MQTT 3 whatever happened."""
    kinds = (wire.PUBACK,) if qos == 1 else (wire.PUBREC,)
    peer.wait(lambda: any(k in kinds and i == packet_id for k, i, _ in peer.acks), f"answer to {packet_id}")
    rest = next(r for k, i, r in peer.acks if k in kinds and i == packet_id)
    return rest[0] if rest else 0


@VERSIONS
@POLICIES
@LIVE
def test_publish(site, policy, version, role):
    tag, expected, retained = f"pub-{role}-{version}", [], {}
    wipe(site)
    with site.observer(version) as eye:
        with site.peer(role, version=version) as actor:
            for retain in (False, True):
                for qos in (0, 1, 2):
                    for topic in TOPICS[policy]:
                        payload = f"{tag}-{qos}-{retain}"
                        packet_id = actor.publish(topic, payload, qos, retain, wait=False)
                        allowed = may_publish(policy, role, topic)
                        if qos:
                            reason = answer_to(actor, packet_id, qos)
                            assert reason == (0x87 if version == 5 and not allowed else 0), (topic, qos, retain)
                        if allowed:
                            expected.append((topic, payload))
                        if allowed and retain:
                            retained[topic] = payload
            actor.fence()
        hears_exactly(eye, tag.encode(), expected)
    assert stored(site, len(retained)) == retained
    wipe(site)


@VERSIONS
@POLICIES
@LIVE
def test_wildcards_in_a_topic_name_end_the_connection(site, policy, version, role):
    own = f"{SPRING}/dev1" if policy == "springcore" else "/admin/d1/attrs"
    for topic in (f"{own}/#", f"{own}/+", "#", "+", ""):
        with site.observer() as eye:
            actor = site.peer(role, version=version)
            actor.publish(topic, "wild", qos=0)
            reason = actor.wait_closed()
            actor.cut()
            assert reason in ((0x90, 0x82, 0x81) if version == 5 else (None,)), topic
            hears_exactly(eye, b"wild", [])


# ---- retained ----

def stored(site, n):
    """The retained messages that there are; waits until there are <n>. Others are there all the time, so that each worker has
    answered when they have come."""
    def found():
        return {m[0]: m[1].decode() for m in list(eye.got) if m[4] and not m[0].startswith("$SYS")}

    with site.observer() as eye:
        eye.wait(lambda: SENTINELS <= set(found()) and len(found()) >= n + len(SENTINELS), f"{n} retained messages")
        eye.fence().fence()
        return {t: p for t, p in found().items() if t not in SENTINELS}


def wipe(site):
    with site.peer("control") as boss:
        for topic in TOPICS[site.policy]:
            if not topic.startswith("$"):
                boss.publish(topic, b"", qos=1, retain=True)
    assert stored(site, 0) == {}


@VERSIONS
@POLICIES
@LIVE
def test_delete_retained(site, policy, version, role):
    wipe(site)
    topics = [t for t in TOPICS[policy] if may_publish(policy, "control", t)]
    with site.observer() as boss:
        for topic in topics:
            boss.publish(topic, b"kept", qos=1, retain=True)
    for qos in (0, 1, 2):
        with site.peer(role, version=version) as actor:
            for topic in TOPICS[policy]:
                packet_id = actor.publish(topic, b"", qos, retain=True, wait=False)
                if qos:
                    refused = version == 5 and not may_publish(policy, role, topic)
                    reason = answer_to(actor, packet_id, qos)
                    assert reason in ((0x87,) if refused else (0, 0x10)), topic
            actor.fence()
        left = {t: "kept" for t in topics if not may_publish(policy, role, t)}
        assert stored(site, len(left)) == left
    wipe(site)


# ---- will ----

@VERSIONS
@POLICIES
@LIVE
def test_will(site, policy, version, role):
    tag = f"will-{role}-{version}"
    expected, retained = [], {}
    wipe(site)
    with site.observer() as eye:
        for i, topic in enumerate(TOPICS[policy]):
            qos, retain, payload = i % 3, i % 2 == 0, f"{tag}-{i}"
            will = (topic, payload, qos, retain, b"")
            if not may_publish(policy, role, topic):
                with pytest.raises(kit.Refused) as refusal:
                    site.peer(role, version=version, will=will)
                # $share/… is not a topic name at all.
                assert refusal.value.code in (NOT_AUTHORIZED[version], 0x90 if topic.startswith("$share") else NOT_AUTHORIZED[version]), topic
                continue
            site.peer(role, version=version, will=will).cut()
            expected.append((topic, payload))
            if retain:
                retained[topic] = payload
        hears_exactly(eye, tag.encode(), expected)
    assert stored(site, len(retained)) == retained
    wipe(site)


# ---- subscribe, shared subscribe, unsubscribe, delivery ----

def unsubscribe_code(peer, topic_filter):
    packet_id = next(peer.ids)
    peer.send(wire.unsubscribe(topic_filter, packet_id=packet_id, version=peer.version))
    rest = peer.wait_ack(wire.UNSUBACK, packet_id)
    return rest[-1] if rest else None


@VERSIONS
@POLICIES
@LIVE
def test_subscribe_and_delivery(site, policy, version, role):
    refused = 0x87 if version == 5 else 0x80
    filters = FILTERS[policy]
    probes = [t for t in TOPICS[policy] if not t.startswith("$")]
    expected = []
    with site.observer() as boss, site.peer(role, version=version) as actor:
        for i, topic_filter in enumerate(filters):
            allowed, qos = may_subscribe(policy, role, topic_filter), i % 3
            assert actor.subscribe(topic_filter, qos=qos) == [qos if allowed else refused], topic_filter
            payload = f"probe-{i}"
            for topic in probes:
                boss.publish(topic, payload.encode(), qos=0)
                if allowed and matches(topic_filter, topic):
                    expected.append((topic, payload))
            boss.fence()
            hears_exactly(actor, b"probe", expected)
            assert unsubscribe_code(actor, topic_filter) == (None if version == 4 else 0 if allowed else 0x11), topic_filter
        # And all of them in one packet: each is judged by itself, wherever it stands.
        for order in (filters, filters[::-1]):
            codes = actor.subscribe(*order, qos=1)
            assert codes == [1 if may_subscribe(policy, role, f) else refused for f in order]
            for topic_filter in order:
                actor.unsubscribe(topic_filter)
        for topic in probes:
            boss.publish(topic, b"probe-none", qos=1)
        hears_exactly(actor, b"probe", expected)


@VERSIONS
@POLICIES
@LIVE
def test_unsubscribe_touches_only_oneself(site, policy, version, role):
    own = f"{SPRING}/dev2/x" if policy == "springcore" else "/admin/d2/config"
    with site.observer() as eye, site.peer(role, version=version) as actor:
        for topic_filter in ("#", own, "$SYS/#", f"$share/g/{own}"):
            assert unsubscribe_code(actor, topic_filter) == (None if version == 4 else 0x11)
        eye.publish(own, b"still", qos=1)
        hears_exactly(eye, b"still", [(own, "still")])


@VERSIONS
@POLICIES
@LIVE
def test_retained_messages_reach_only_those_who_may_read(site, policy, version, role):
    wipe(site)
    topics = [t for t in TOPICS[policy] if may_publish(policy, "control", t)]
    with site.observer() as boss:
        for topic in topics:
            boss.publish(topic, b"kept", qos=1, retain=True)
    expected = []
    with site.peer(role, version=version) as actor:
        for topic_filter in FILTERS[policy]:
            codes = actor.subscribe(topic_filter, qos=1)
            if codes == [1] and not topic_filter.startswith("$share/"):
                assert may_subscribe(policy, role, topic_filter)
                expected += [(t, "kept") for t in topics if matches(topic_filter, t)]
        hears_exactly(actor, b"kept", expected)
    wipe(site)


# ---- where a role comes from ----

ROLE_TEXTS = [("Control", "control"), ("Signet Control CA", "root"), ("controller", "control")]


@VERSIONS
@pytest.mark.parametrize("policy", ["springcore"])
@pytest.mark.parametrize("text,chain", ROLE_TEXTS)
def test_a_name_gives_no_role(site, version, text, chain):
    """A device with the words of a controller in its certificate, and a CA of another role in what it sends."""
    name = f"{text}-dev" if text != "controller" else text
    subject = certs.name((certs.O, "Signet Control CA"), (certs.OU, "Control"), (certs.CN, name))
    files = site.leaf("client", subject, chain=[site.cas["client"], site.cas[chain]])
    with site.observer() as eye, site.peer(None, name, version, files=files) as actor:
        assert actor.subscribe("#", "$SYS/#") == [0x87 if version == 5 else 0x80] * 2
        actor.publish(f"{SPRING}/dev1/rdr/cmd", "role", qos=1)
        actor.publish(f"{SPRING}/{name}/status", "role", qos=1)
        hears_exactly(eye, b"role", [(f"{SPRING}/{name}/status", "role")])


@VERSIONS
@pytest.mark.parametrize("policy", ["springcore"])
@pytest.mark.parametrize("ca,authority,chain,code", [
    ("twin", True, ["twin"], "refused"), ("twin", True, [], "refused"), ("twin", True, ["control"], "refused"),
    ("twin", True, ["twin", "control"], "refused"), ("twin", True, ["control", "twin"], "refused"),
    ("twin", False, ["twin"], "refused or tls"), ("twin", False, ["control"], "refused or tls"), ("twin", False, [], "refused or tls"),
    ("unknown", True, ["unknown"], "tls"), ("unknown", True, ["client"], "tls"), ("unknown", False, ["client"], "tls"),
    ("unknown", False, [], "tls"), ("root", True, [], "refused"), ("none", True, ["none", "control"], "refused")])
def test_a_ca_of_the_same_name_gives_no_role(site, version, ca, authority, chain, code):
    for name in ("controller", "dev1"):
        files = site.leaf(ca, name, authority=authority, chain=[site.cas[c] for c in chain])
        got, _ = site.knock(None, name, version, files=files)
        assert got in {"refused": [NOT_AUTHORIZED[version]], "tls": ["tls"],
                       "refused or tls": [NOT_AUTHORIZED[version], "tls"]}[code], name


@VERSIONS
@pytest.mark.parametrize("policy", ["springcore"])
@pytest.mark.parametrize("signer", ["client", "watch", "control"])
def test_a_clients_certificate_signs_nothing(site, version, signer):
    """A leaf as a CA below its own: never a way to another name or role."""
    key = certs.Key(site.broker.dir / f"{signer}-{version}.key")
    leaf = site.leaf(signer, "signer", key=key)
    below = certs.Ca(site.broker.dir / f"below-{signer}-{version}", "signer", key, certificate=pathlib.Path(leaf["cert"]).read_text())
    for name in ("controller", "dev1", "watcher"):
        files = below.leaf(name, chain=[below], trust=site.cas["root"].file)
        assert site.knock(None, name, version, files=files)[0] == "tls"


@VERSIONS
@pytest.mark.parametrize("policy", ["springcore"])
def test_same_name_below_another_role_is_another(site, version):
    """dev1 of the Watch CA is not the device dev1: it cannot take its session, and reads without speaking."""
    namesake = site.leaf("watch", "dev1")
    with site.observer() as eye, site.peer("client", version=version) as device:
        assert device.subscribe(f"{SPRING}/dev1/#") == [0]
        assert site.knock(None, "dev1", version, files=namesake)[0] == (0x85 if version == 5 else 2)
        device.fence()
        assert not device.closed
        device.publish(f"{SPRING}/dev1/x", "sake", qos=1)
        hears_exactly(eye, b"sake", [(f"{SPRING}/dev1/x", "sake")])
    with site.observer() as eye, site.peer(None, "dev1", version, files=namesake) as actor:
        actor.publish(f"{SPRING}/dev1/x", "fake", qos=1)
        assert actor.subscribe("#") == [0]
        hears_exactly(eye, b"fake", [])


@pytest.mark.parametrize("policy", ["springcore"])
def test_takeover_by_oneself(site):
    """The same device again: the old connection ends with 0x8E, its will is published, the new one goes on."""
    with site.observer() as eye:
        old = site.peer("client", version=5, will=(f"{SPRING}/dev1/status", "taken", 0, False, b""))
        with site.peer("client", version=5) as new:
            assert old.wait_closed() == 0x8E
            old.cut()
            new.fence()
            hears_exactly(eye, b"taken", [(f"{SPRING}/dev1/status", "taken")])
