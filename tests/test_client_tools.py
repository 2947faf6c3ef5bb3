"""`signet pub/sub/rr` do what mosquitto_pub/sub/rr do: the same flags, output and exit codes, against mosquitto."""

import itertools
import signal
import subprocess

import pytest

from clienttools import PATIENCE, Background, Broker, Pki, ToyBroker, mosquitto_broker, normal, run, signet_binary, wait_for

pytestmark = [
    pytest.mark.skipif(mosquitto_broker() is None, reason="needs the package mosquitto"),
    pytest.mark.skipif(signet_binary() is None, reason="signet is not built; see SIGNET"),
]

SIGNET, MOSQUITTO = "signet {}", "mosquitto_{}"
BOTH = [SIGNET, MOSQUITTO]


@pytest.fixture(autouse=True)
def no_leftovers():
    yield
    Background.kill_all()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Port 0: open, but only ok/# may be used. Port 1: nobody gets in. Port 2: small messages only."""
    folder = tmp_path_factory.mktemp("broker")
    (folder / "acl").write_text("topic readwrite ok/#\n")
    b = Broker(
        folder,
        f"allow_anonymous true\nacl_file {folder}/acl",
        "allow_anonymous false",
        "allow_anonymous true",
        options=["message_size_limit 100000"],
    ).start()
    for topic, payload in (("ok/r/one", '{"a":1}'), ("ok/r/two", "plain text")):
        assert run("mosquitto_pub", ["-p", b.port, "-t", topic, "-m", payload, "-r", "-q", 1]).code == 0
    v5 = ["-V", "5", "-D", "publish", "content-type", "text/x", "-D", "publish", "correlation-data", "corr"]
    v5 += ["-D", "publish", "message-expiry-interval", "10000", "-D", "publish", "payload-format-indicator", "1"]
    v5 += ["-D", "publish", "response-topic", "re/sp", "-D", "publish", "user-property", "k1", "v1"]
    v5 += ["-D", "publish", "user-property", "k2", 'v"2']
    assert run("mosquitto_pub", ["-p", b.port, "-t", "ok/v5", "-m", '{"b":[1,{"c":null}]}', "-r", "-q", 2, *v5]).code == 0
    yield b
    b.stop()


def unique(prefix, counter=itertools.count()):
    return f"{prefix}-{next(counter)}"


def both(tool, args, stdin=b""):
    ours = run(SIGNET.format(tool), args, stdin)
    theirs = run(MOSQUITTO.format(tool), args, stdin)
    return ours, theirs


# ---- sub: what is there already, so that both tools see the same ----

SAME_SUB = [
    "-t ok/r/one -C 1",
    "-t ok/r/one -C 1 -N",
    "-t ok/r/one -C 1 -v",
    "-t ok/r/+ -C 2 -v",
    "-t ok/r/one -t ok/r/two -C 2 -v",
    "-t ok/r/one -W 1",
    "-t ok/r/one -W 1 -R",
    "-t ok/r/# -C 1 -T ok/r/one -v",
    "-t ok/r/# --retained-only -W 1",
    "-t ok/r/# -C 2 -q 1 -F %t|%q|%r|%l|%m|%p",
    "-t ok/r/# -C 2 -q 2 -V 5 -F %t|%q|%r|%l|%m|%p",
    "-t ok/r/# -C 2 -q 2 -V 31 -F %t|%q|%r|%l|%m|%p",
    "-t ok/v5 -C 1 -V 5 -F %A|%C|%D|%F|%P|%R|%S|%x|%X",
    "-t ok/v5 -C 1 -V 311 -F %A|%C|%D|%E|%F|%P|%R|%S",
    "-t ok/v5 -C 1 -V 5 -F %10C|%.3C|%-12C|%4.4C|%5F|%05F|%-5F|%10R|%.2R|%010C|%5S|%5A",
    "-t ok/v5 -C 1 -V 5 -D subscribe subscription-identifier 7 -F %S|%03S",
    "-t ok/r/one -C 1 -F %10t|%-10t|%3.3t|%10.3t|%05l|%-5l|%5l|%05m|%5m|",
    "-t ok/r/one -C 1 -F %20p|%-20p|%3q|%5r|%010t|%.2p",
    "-t ok/r/one -C 1 -F %%|@@|\\\\|\\a|\\e|\\n|\\r|\\t|\\v|\\0|",
    "-t ok/r/one -C 1 -F @Y|@!|%.4I",
    "-t ok/r/one -C 1 -F %j",
    "-t ok/r/one -C 1 -F %J",
    "-t ok/r/one -C 1 -F %j --pretty",
    "-t ok/r/one -C 1 -F %J --pretty",
    "-t ok/r/two -C 1 -F %j -N",
    "-t ok/v5 -C 1 -V 5 -q 2 -F %C%j",
    "-t ok/r/# -E",
    "-t ok/r/nothing -E -d",
    "-t ok/r/nothing -E -d -V 5 -q 2",
    "-t ok/r/nothing -E -d -V 31",
    "-t ok/a -t ok/b -t ok/c -W 1 -d",
    "-t ok/a -E -d -i myid",
    "-t ok/a -E -d -i myid -c -x 5 -V 5",
    "-t ok/a -E -d -D subscribe user-property a b -D connect receive-maximum 3",
    "-t ok/a -W 1 -U ok/a -d -V 5",
    "-t $share/g/ok/a -E -d -V 5",
    "-t ok/a --retain-as-published -E -d -V 5",
    "-t ok/r/# --retain-as-published -C 2 -V 5 -F %r%t",
    "-t ok/a -E -k 10 -A 127.0.0.1 --nodelay --quiet",
    "-t ok/a -E --will-topic ok/w --will-payload bye --will-qos 2 --will-retain",
    "-t ok/a -E --will-topic ok/w -D will will-delay-interval 5 -D will content-type a",
    # wrong use
    "-t ok/a#", "-t", "", "-t ok/a -C 0", "-t ok/a -C x", "-t ok/a -W 0", "-t ok/a -q 3", "-t ok/a --random-filter 0",
    "-t ok/a -R --retained-only", "-t ok/a -F %Z", "-t ok/a -F %", "-t ok/a -F \\q", "-t ok/a -T a#", "-t ok/a -U a#",
    "-t ok/a -m x", "-t ok/a --bogus", "-t ok/a -c", "-t ok/a -i a -I b", "-t ok/a -P pw", "-t ok/a -V 4", "-t ok/a -k 1",
    "-t ok/a -x abc", "-t ok/a --will-payload x", "-t ok/a --cert /x", "-t ok/a --cafile /nonexistent", "-t ok/a --psk 00",
    "-t ok/a -D connect", "-t ok/a -D nosuch content-type x", "-t ok/a -D connect content-type x", "-t ok/a -L http://h/t",
    "-U ok/a -E",
]


@pytest.mark.parametrize("line", SAME_SUB)
def test_sub_same(broker, line):
    args = ["-p", broker.port, *line.split(" ")] if line else ["-p", broker.port]
    ours, theirs = both("sub", args)
    assert ours.code == theirs.code, (ours, theirs)
    assert bool(ours.err) == bool(theirs.err), (ours, theirs)
    if theirs.code in (0, 27):
        assert normal(ours.out) == normal(theirs.out)
    else:
        assert ours.out == b""


def test_version_5_output_is_complete(broker):
    """mosquitto_sub shows the same properties in %j; the expiry counts down, so it is looked at alone."""
    ours = run("signet sub", ["-p", broker.port, "-t", "ok/v5", "-C", 1, "-V", 5, "-F", "%E"])
    assert 9000 < int(ours.out) <= 10000


@pytest.mark.parametrize("version", ["31", "311", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_sub_live(broker, version, qos):
    """Messages of each QoS, as they come."""
    results = []
    for tool in BOTH:
        name = f"live-{version}-{qos}-{tool[:4]}"
        topic = f"ok/{name}"
        sub = Background(tool.format("sub"), ["-p", broker.port, "-V", version, "-t", topic, "-q", qos, "-i", name, "-C", 4,
                                              "-F", "%q %r %m %l %p"])
        broker.wait_log(f"Sending SUBACK to {name}")
        for sent in (0, 1, 2):
            assert run("mosquitto_pub", ["-p", broker.port, "-t", topic, "-q", sent, "-m", f"qos {sent}"]).code == 0
        assert run("mosquitto_pub", ["-p", broker.port, "-t", topic, "-n"]).code == 0
        results.append(sub.end())
        broker.wait_log(f"Received DISCONNECT from {name}")
    ours, theirs = results
    assert ours.code == theirs.code == 0
    # mosquitto_sub shows a QoS 2 message when its handshake is over, ours in the order of arrival.
    assert sorted(ours.out.split(b"\n")) == sorted(theirs.out.split(b"\n"))
    assert len(ours.out.split(b"\n")) == 5


def test_remove_retained(broker):
    for tool in BOTH:
        for topic in ("ok/rm/a", "ok/rm/b", "ok/rm/keep"):
            assert run("mosquitto_pub", ["-p", broker.port, "-t", topic, "-m", "x", "-r", "-q", 1]).code == 0
        done = run(tool.format("sub"), ["-p", broker.port, "-t", "ok/rm/#", "-T", "ok/rm/keep", "--remove-retained", "-W", 1])
        assert (done.code, done.out) == (27, b"x\nx\n")
        left = run("mosquitto_sub", ["-p", broker.port, "-t", "ok/rm/#", "-v", "-W", 1])
        assert left.out == b"ok/rm/keep x\n"


def test_null_payloads(broker):
    """-v says (null); without -v and -F there is nothing to show."""
    for flags, want in ((["-v"], b"ok/null (null)\n"), (["-F", "[%p]"], b"[]\n"), ([], b"")):
        got = []
        for tool in BOTH:
            name = f"null-{len(flags)}-{tool[:4]}-{len(want)}"
            sub = Background(tool.format("sub"), ["-p", broker.port, "-t", "ok/null", "-i", name, "-C", 1, *flags])
            broker.wait_log(f"Sending SUBACK to {name}")
            assert run("signet pub", ["-p", broker.port, "-t", "ok/null", "-n"]).code == 0
            got.append(sub.end())
        assert got[0].out == got[1].out == want
        assert got[0].code == got[1].code == 0


def test_payload_that_is_not_json(broker):
    ours, theirs = both("sub", ["-p", broker.port, "-t", "ok/r/two", "-C", 1, "-F", "%J"])
    assert ours.code == theirs.code == 0
    assert ours.err.strip() + "." == theirs.err.strip() == "Error: Message payload is not valid JSON on topic ok/r/two."
    assert ours.out == b""  # mosquitto_sub leaves an empty line, which is no JSON either


# ---- pub: what a subscriber gets ----

SAME_PUB = [
    ("-m hello", b""),
    ("-m hello -q 1", b""),
    ("-m hello -q 2 -V 5", b""),
    ("-m hello -q 2 -V 31", b""),
    ("-m hello -r -q 1", b""),
    ("-n -r", b""),
    ("-s", b"all of\nit\n"),
    ("-l", b"a\nb\n\nc"),
    ("-l -q 1", b"a\nb\r\n\nc\n"),
    ("-l -q 2 -V 5 -M 1", b"a\nb\nc\n"),
    ("-m again --repeat 3", b""),
    ("-m again --repeat 3 -q 1 --repeat-delay 0.05", b""),
    ("-m x -D publish content-type c -D publish correlation-data d -D publish message-expiry-interval 1000000"
     " -D publish payload-format-indicator 1 -D publish response-topic r -D publish user-property a b"
     " -D publish user-property a c", b""),
    ("-m x -D publish topic-alias 3 -V 5", b""),
    ("-m x -D disconnect reason-string bye -D connect user-property a b", b""),
    ("-m x -i me -k 20 -x 10 -V 5 --will-topic ok/will --will-payload w --will-qos 1", b""),
    ("-m x -d", b""),
    ("-m x -d -q 1", b""),
    ("-m x -d -q 2 -V 5", b""),
    ("-m x -d -V 31", b""),
    ("-m x -d -q 1 --repeat 3", b""),
]


@pytest.mark.parametrize("line,stdin", SAME_PUB)
def test_pub_same(broker, line, stdin):
    heard = []
    results = []
    for tool in BOTH:
        topic = "ok/pub/x"
        name = unique("watch")
        watch = Background("mosquitto_sub", ["-p", broker.port, "-V", 5, "-q", 2, "-t", "ok/pub/#", "--retain-as-published",
                                             "-i", name, "-F", "%t %q %r %l %x %C %D %F %P %R"])
        broker.wait_log(f"Sending SUBACK to {name}")
        results.append(run(tool.format("pub"), ["-p", broker.port, "-t", topic, *line.split(" ")], stdin))
        assert run("mosquitto_pub", ["-p", broker.port, "-t", "ok/pub/end", "-m", "x", "-q", 2]).code == 0
        watch.wait_out(b"ok/pub/end ")
        watch.kill()
        heard.append(watch.out.split(b"\n"))
        run("mosquitto_pub", ["-p", broker.port, "-t", topic, "-n", "-r"])
    ours, theirs = results
    assert (ours.code, ours.err) == (theirs.code, theirs.err) == (0, "")
    assert normal(ours.out) == normal(theirs.out)
    assert len(heard[0]) > 1
    assert heard[0] == heard[1]


@pytest.mark.parametrize("line", [
    "", "-t ok/a", "-m x", "-t ok/a -m x -n", "-t ok/a/# -m x", "-t ok/a -m x -q 3", "-t ok/a -m x -q", "-t ok/a -m x --bogus",
    "-t ok/a -f /nonexistent", "-t ok/a -m x -k 3", "-t ok/a -m x -V 7", "-t ok/a -m x -c", "-t ok/a -m x -P pw",
    "-t ok/a -m x -i a -I b", "-L http://localhost/ok/a -m x", "-L mqtt://localhost -m x", "-t ok/a -m x --will-payload x",
    "-t ok/a -m x --cafile /nonexistent", "-t ok/a -m x --cert /nonexistent", "-t ok/a -m x --psk 1234", "-t ok/a -s",
    "-t ok/a -m x -D publish content-type", "-t ok/a -m x -D publish nosuch x", "-t ok/a -m x -D nosuch content-type x",
    "-t ok/a -m x -D publish receive-maximum 3", "-t ok/a -m x -D publish topic-alias 99999999", "-t ok/a -m x -M 0",
    "-t ok/a -m x --repeat 0", "-t ok/a -m x -C 1", "-t ok/a -m x -h nosuchhost.invalid", "-t ok/a -m x --unix /nonexistent",
    "-t ok/a -m x -A 192.0.2.1", "-t ok/a -m x --tls-version tlsv1.9", "-t ok/a -m x -x -5", "-t ok/a -m x -S",
])
def test_pub_wrong(broker, line):
    ours, theirs = both("pub", ["-p", broker.port, *line.split(" ")] if line else [])
    assert ours.code == theirs.code == 1, (ours, theirs)
    assert ours.err.startswith("Error: ") and ours.out == b""


@pytest.mark.parametrize("tool", BOTH)
def test_many_lines(broker, tool):
    """-l keeps several messages under way and loses none."""
    lines = [b"line %d" % i for i in range(800)]  # mosquitto queues 1000 for a slow subscriber
    for qos in (0, 1, 2):
        name = f"many-{qos}-{tool[:4]}"
        sub = Background("signet sub", ["-p", broker.port, "-t", f"ok/{name}", "-q", 2, "-i", name, "-C", len(lines)])
        broker.wait_log(f"Sending SUBACK to {name}")
        sent = run(tool.format("pub"), ["-p", broker.port, "-t", f"ok/{name}", "-l", "-q", qos, "-V", 5], b"\n".join(lines))
        assert sent.code == 0
        if qos > 0:  # mosquitto drops QoS 0 for a subscriber that is slower
            assert sub.end().out.split(b"\n")[:-1] == lines
        sub.kill()


def test_large_payload(broker, tmp_path):
    """A payload that takes many reads and writes, byte for byte."""
    data = bytes(range(256)) * 390  # just under the broker's limit of 100,000
    (tmp_path / "data").write_bytes(data)
    sub = Background("signet sub", ["-p", broker.port, "-t", "ok/large", "-q", 1, "-i", "large", "-C", 1, "-N"])
    broker.wait_log("Sending SUBACK to large")
    assert run("signet pub", ["-p", broker.port, "-t", "ok/large", "-q", 1, "-f", tmp_path / "data"]).code == 0
    assert sub.end().out == data


def test_url(broker):
    for tool in BOTH:
        name = unique("url")
        sub = Background(tool.format("sub"), ["-L", f"mqtt://user:pw@127.0.0.1:{broker.ports[2]}/ok/url", "-i", name, "-C", 1])
        broker.wait_log(f"Sending SUBACK to {name}")
        assert run(tool.format("pub"), ["-L", f"mqtt://127.0.0.1:{broker.ports[2]}/ok/url", "-m", "by url"]).code == 0
        assert sub.end().out == b"by url\n"


# ---- rr ----

SAME_RR = [
    "-t ok/q -e ok/q -m x -v -W 20", "-t ok/q -e ok/q -m x -W 20 -q 2", "-t ok/q -e ok/q -n -v -W 20",
    "-t ok/q -e ok/q -m x -V 311 -W 20 -F %t|%p|%R", "-t ok/q -e ok/q -m x -W 20 -F %t|%p|%R|%D -D publish correlation-data c",
    "-t ok/q -e ok/none -m x -W 1", "-t ok/q -m x", "-e ok/q -m x", "-t ok/q -e ok/q", "-t ok/q -e ok/# -m x",
    "-t ok/q -e ok/q -l",
]


@pytest.mark.parametrize("line", SAME_RR)
def test_rr_same(broker, line):
    ours, theirs = both("rr", ["-p", broker.port, *line.split(" ")])
    assert (ours.code, normal(ours.out)) == (theirs.code, normal(theirs.out)), (ours, theirs)
    assert bool(ours.err) == bool(theirs.err)


def test_rr_with_a_server(broker):
    """The answer comes from somebody else, to the response topic of the request."""
    server = Background("signet sub", ["-p", broker.port, "-V", 5, "-t", "ok/ask", "-F", "%R %D %p", "-C", 1, "-i", "server"])
    broker.wait_log("Sending SUBACK to server")
    ask = Background("signet rr", ["-p", broker.port, "-t", "ok/ask", "-e", "ok/answer", "-m", "how much", "-W", PATIENCE,
                                   "-D", "publish", "correlation-data", "c1", "-v"])
    assert server.end().out == b"ok/answer c1 how much\n"
    for correlation in ("c2", "c1"):  # the first is the answer to somebody else
        assert run("signet pub", ["-p", broker.port, "-V", 5, "-t", "ok/answer", "-m", f"42 {correlation}",
                                  "-D", "publish", "correlation-data", correlation]).code == 0
    done = ask.end()
    assert (done.code, done.out) == (0, b"ok/answer 42 c1\n")


def test_rr_refused_request(broker):
    """Nobody answers what the broker refused: say so instead of waiting."""
    done = run("signet rr", ["-p", broker.port, "-t", "no/q", "-e", "ok/a", "-m", "x", "-q", 1])
    assert done.code == 135
    assert "not authorized" in done.err


# ---- refusals and their codes ----

@pytest.mark.parametrize("version,code", [("31", 5), ("311", 5), ("5", 135)])
@pytest.mark.parametrize("tool,args", [("pub", ["-m", "x"]), ("sub", []), ("rr", ["-m", "x", "-e", "ok/a"])])
def test_not_authorised(broker, tool, args, version, code):
    ours, theirs = both(tool, ["-p", broker.ports[1], "-t", "ok/a", "-V", version, *args])
    assert ours.code == theirs.code == code
    assert "the broker refused the connection: not authori" in ours.err


@pytest.mark.parametrize("qos", [1, 2])
def test_refused_publish(broker, qos):
    args = ["-p", broker.port, "-t", "no/a", "-m", "x", "-V", 5, "-q", qos]
    ours, theirs = both("pub", args)
    assert ours.code == theirs.code == 0
    assert ours.err.lower() == theirs.err.lower() == "warning: publish 1 failed: not authorized.\n"
    assert run("signet pub", [*args, "--strict"]).code == 135
    assert run("signet pub", [*args, "--quiet"]).err == ""


def answer(*packets):
    """A script that sends one of <packets> after each thing it hears, then hears on until the end."""
    def script(connection, _):
        for packet in packets:
            connection.recv(1000)
            connection.sendall(packet)
        while connection.recv(1000):
            pass
    return script


@pytest.fixture
def toy():
    made = []

    def make(script):
        made.append(ToyBroker(script))
        return made[-1].port

    yield make
    for t in made:
        t.close()


def test_refused_subscription(toy):
    args = ["-t", "a", "-p", toy(answer(b"\x20\x02\0\0", b"\x90\x03\0\1\x80"))]
    ours, theirs = both("sub", args)
    assert ours.code == theirs.code == 0
    assert "All subscription requests were denied" in ours.err
    assert "All subscription requests were denied" in theirs.err
    assert run("signet sub", [*args, "--strict"]).code == 128


def test_one_of_two_subscriptions_refused(toy):
    port = toy(answer(b"\x20\x03\0\0\0", b"\x90\x05\0\1\0\0\x87"))
    done = run("signet sub", ["-t", "a", "-t", "b", "-p", port, "-V", 5, "-E"])
    assert done.code == 0
    assert done.err == "Warning: Subscription to 'b' was refused: not authorized.\n"


@pytest.mark.parametrize("code", range(1, 6))
def test_connack_codes(toy, code):
    port = toy(answer(bytes([0x20, 2, 0, code])))
    for tool, args in (("pub", ["-m", "x"]), ("sub", []), ("rr", ["-m", "x", "-e", "b", "-V", "311"])):
        ours, theirs = both(tool, ["-p", port, "-t", "a", *args])
        assert ours.code == theirs.code == code
        assert ours.err.startswith("Error: the broker refused the connection: ")


def test_connection_lost(toy):
    """pub and rr do not try again: 7."""
    for packets in ((), (b"\x20\x02\0\0",)):
        def script(connection, _, packets=packets):
            for packet in packets:
                connection.recv(1000)
                connection.sendall(packet)
            connection.recv(1000)
        port = toy(script)
        ours, theirs = both("pub", ["-p", port, "-t", "a", "-m", "x", "-q", 1])
        assert ours.code == theirs.code == 7
        ours, theirs = both("rr", ["-p", port, "-t", "a", "-m", "x", "-e", "b", "-V", "311"])
        assert ours.code == theirs.code == 7


def test_hang_up_after_the_last_acknowledgement(toy):
    """The message has arrived, or was refused: that counts, not how the connection ends."""
    for version, connack, puback in (("311", b"\x20\x02\0\0", b"\x40\x02\0\1"), ("5", b"\x20\x03\0\0\0", b"\x40\x03\0\1\x87")):
        def script(connection, _, packets=(connack, puback)):
            for packet in packets:
                connection.recv(1000)
                connection.sendall(packet)
        ours, theirs = both("pub", ["-p", toy(script), "-t", "a", "-m", "x", "-q", 1, "-V", version])
        assert ours.code == theirs.code == 0
        assert ("Publish 1 failed" in ours.err) == (version == "5")


def test_not_mqtt(toy):
    port = toy(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    done = run("signet sub", ["-p", port, "-t", "a"])
    assert done.code == 2
    assert "not MQTT" in done.err


def test_nobody_there():
    for tool, args in (("pub", ["-m", "x"]), ("sub", []), ("rr", ["-m", "x", "-e", "b"])):
        ours, theirs = both(tool, ["-p", 1, "-t", "a", *args])
        assert ours.code == theirs.code == 1
        assert ours.err == "Error: cannot connect to the broker at localhost:1: Connection refused\n"


def test_timeout_without_connack(toy):
    port = toy(answer())
    for tool, args in (("pub", ["-m", "x"]), ("sub", []), ("rr", ["-m", "x", "-e", "b"])):
        done = run(f"signet {tool}", ["-p", port, "-t", "a", "-W", 1, *args])
        assert (done.code, done.err) == (27, "Timed out\n")


def test_taken_over(toy):
    """Two clients with one id: the older gives way instead of fighting for ever."""
    port = toy(answer(b"\x20\x03\0\0\0", b"\x90\x04\0\1\0\0" + b"\xe0\x02\x8e\0"))
    done = run("signet sub", ["-p", port, "-t", "a", "-i", "twin", "-V", 5])
    assert done.code == 142
    assert "session taken over" in done.err


# ---- signals, pipes, reconnecting ----

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_sub(broker, number):
    name = f"signal-{int(number)}"
    sub = Background("signet sub", ["-p", broker.port, "-t", "ok/a", "-i", name])
    broker.wait_log(f"Sending SUBACK to {name}")
    sub.signal(number)
    done = sub.end()
    assert (done.code, done.err) == (0, "")
    broker.wait_log(f"Received DISCONNECT from {name}")


def test_signal_before_delivery(toy):
    """A pub that could not deliver says so."""
    pub = Background("signet pub", ["-p", toy(answer(b"\x20\x02\0\0")), "-t", "a", "-m", "x", "-q", 1, "-d"])
    pub.wait_out(b"sending PUBLISH")
    pub.signal(signal.SIGINT)
    assert pub.end().code == 128 + signal.SIGINT


def test_closed_pipe_ends_quietly(broker):
    with subprocess.Popen(
        [signet_binary(), "sub", "-p", str(broker.port), "-t", "ok/pipe", "-i", "pipe"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as p:
        p.stdout.close()
        broker.wait_log("Sending SUBACK to pipe")
        assert run("signet pub", ["-p", broker.port, "-t", "ok/pipe", "-m", "x"]).code == 0
        assert p.wait(PATIENCE) == 0
        assert p.stderr.read() == b""


def test_output_comes_at_once(broker):
    """Each message is there for the reader of a pipe when it comes, not when a buffer is full."""
    sub = Background("signet sub", ["-p", broker.port, "-t", "ok/flush", "-i", "flush"])
    broker.wait_log("Sending SUBACK to flush")
    assert run("signet pub", ["-p", broker.port, "-t", "ok/flush", "-m", "now"]).code == 0
    sub.wait_out(b"now\n")
    sub.kill()


def test_sub_comes_back(tmp_path):
    """The broker goes and comes back: sub says so once, connects again and subscribes again."""
    broker = Broker(tmp_path / "b", "allow_anonymous true").start()
    sub = Background("signet sub", ["-p", broker.port, "-t", "a", "-i", "loyal", "-C", 1])
    try:
        broker.wait_log("Sending SUBACK to loyal")
        broker.stop()
        sub.wait_err(b"(trying again in 1 s)\n")
        broker.start(broker.ports)
        broker.wait_log("Sending SUBACK to loyal", 2)
        assert run("signet pub", ["-p", broker.port, "-t", "a", "-m", "back"]).code == 0
        done = sub.end()
        assert (done.code, done.out) == (0, b"back\n")
    finally:
        sub.kill()
        broker.stop()


def test_kept_session(broker):
    """-c: what came meanwhile is delivered at the next connection, once."""
    args = ["-p", broker.port, "-t", "ok/kept", "-i", "keeper", "-c", "-q", 2]
    for version in ("311", "5"):
        assert run("signet sub", [*args, "-V", version, "-E"]).code == 0
        for qos in (1, 2):
            assert run("signet pub", ["-p", broker.port, "-t", "ok/kept", "-q", qos, "-m", f"m{qos}"]).code == 0
        done = run("signet sub", [*args, "-V", version, "-C", 2])
        assert (done.code, done.out) == (0, b"m1\nm2\n")
        assert run("signet sub", [*args, "-V", version, "-W", 1]).out == b""


def test_server_ends_with_disconnect(toy):
    """MQTT 5: a broker that shuts down says so; pub fails with 7 and its words."""
    port = toy(answer(b"\x20\x03\0\0\0", b"\xe0\x02\x8b\0"))
    done = run("signet pub", ["-p", port, "-t", "a", "-m", "x", "-q", 1, "-V", 5])
    assert done.code == 7
    assert "server shutting down" in done.err


# ---- user name and password ----

@pytest.fixture(scope="module")
def password_broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("passwords")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "me", "s3cret"], check=True, capture_output=True)
    b = Broker(folder, f"allow_anonymous false\npassword_file {folder}/users").start()
    yield b
    b.stop()


def test_password_sources(password_broker, tmp_path):
    (tmp_path / "pw").write_text("s3cret\nsecond line\n")
    base = ["-p", password_broker.port, "-t", "a", "-m", "x", "-u", "me", "-d"]
    url = ["-L", f"mqtt://me:s3cr%65t@localhost:{password_broker.port}/a", "-m", "x", "-d"]
    for args, env in ((base + ["-P", "s3cret"], None), (base + ["--pw-file", tmp_path / "pw"], None),
                      (base, {"SIGNET_MQTT_PASSWORD": "s3cret"}), (url, None)):
        done = run("signet pub", args, env=env)
        assert done.code == 0, done
        assert b"s3cret" not in done.out


@pytest.mark.parametrize("version,code", [("311", 5), ("5", 135)])
def test_wrong_password(password_broker, version, code):
    ours, theirs = both("pub", ["-p", password_broker.port, "-t", "a", "-m", "x", "-u", "me", "-P", "wrong", "-V", version])
    assert ours.code == theirs.code == code
    assert "wrong" not in ours.err


def test_password_leaves_the_process_list(password_broker):
    sub = Background("signet sub", ["-p", password_broker.port, "-t", "a", "-u", "me", "-P", "s3cret", "-i", "hidden"],
                     env={"UNUSED": "1"})
    password_broker.wait_log("Sending SUBACK to hidden")
    with open(f"/proc/{sub.process.pid}/cmdline", "rb") as f:
        shown = f.read()
    sub.kill()
    assert b"hidden" in shown and b"s3cret" not in shown


# ---- TLS ----

@pytest.fixture(scope="module")
def tls_broker(tmp_path_factory, pki):
    """Port 0: wants client certificates. 1: another name. 2: name in CN only. 3: plain. 4: PSK."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "psk").write_text("id1:00112233\n")

    def tls(name):
        return (f"allow_anonymous true\ncafile {pki.path('ca.pem')}\ncertfile {pki.path(name + '.pem')}\n"
                f"keyfile {pki.path(name + '.key')}\n")

    b = Broker(
        folder, tls("server") + "require_certificate true", tls("elsewhere"), tls("cnonly"), "allow_anonymous true",
        f"allow_anonymous true\npsk_hint h\npsk_file {folder}/psk",
    ).start()
    yield b
    b.stop()


TLS_WORKS = [
    (0, "-h localhost"), (0, "-h 127.0.0.1"), (0, "-h localhost --tls-version tlsv1.2"), (0, "-h localhost --tls-version tlsv1.3"),
    (0, "-h localhost --ciphers ECDHE-ECDSA-AES256-GCM-SHA384 --tls-version tlsv1.2"), (0, "-h localhost --tls-alpn mqtt"),
    (0, "-h localhost -V 5"), (0, "-h localhost -V 31"), (1, "-h localhost --insecure"), (2, "-h localhost"),
]


@pytest.mark.parametrize("port,line", TLS_WORKS)
def test_tls_works(tls_broker, pki, port, line):
    args = ["-p", tls_broker.ports[port], *pki.client(), "-t", "a", *line.split(" ")]
    for tool, more in (("pub", ["-m", "x", "-q", 1]), ("sub", ["-E"]), ("rr", ["-e", "a", "-m", "x"])):
        ours, theirs = both(tool, [*args, *more])
        assert ours.code == theirs.code == 0, (ours, theirs)
        assert ("--insecure" in ours.err) == ("--insecure" in line)


TLS_FAILS = [
    # port, certificate, CA, more flags, words of the error
    (0, None, "ca", "", "certificate required (alert 116)"),
    (0, None, "ca", "", "--cert and --key"),
    (0, None, "ca", "--tls-version tlsv1.2", "handshake failure (alert 40)"),
    (0, "expired", "ca", "", "the broker refused our certificate: certificate expired (alert 45)"),
    (0, "foreign", "ca", "", "the broker refused our certificate: unknown CA (alert 48)"),
    (0, "dev", "other", "", "is --cafile the CA of this broker?"),
    (0, "dev", "other", "--insecure", "is --cafile the CA of this broker?"),
    (1, "dev", "ca", "", "the broker's certificate is for elsewhere.example, not for 'localhost'"),
    (2, "dev", "ca", "-h 127.0.0.1", "the broker's certificate is for localhost, not for '127.0.0.1'"),
    (3, "dev", "ca", "", "does this port speak TLS?"),
]


@pytest.mark.parametrize("port,cert,ca,flags,words", TLS_FAILS)
def test_tls_fails(tls_broker, pki, port, cert, ca, flags, words):
    """Always 8 and always the reason, whichever side notices first. mosquitto's tools end with 1, 7 or 8, by chance."""
    args = ["-p", tls_broker.ports[port], "-t", "a", *flags.split()]
    args += pki.client(cert, ca) if cert else ["--cafile", pki.path(f"{ca}.pem")]
    for tool, more in (("pub", ["-m", "x"]), ("sub", []), ("rr", ["-e", "a", "-m", "x"])):
        done = run(f"signet {tool}", [*args, *more])
        assert done.code == 8, done
        assert words in done.err
        assert run(MOSQUITTO.format(tool), [*args, *more]).code != 0


def test_tls_psk(tls_broker):
    args = ["-p", tls_broker.ports[4], "-t", "a", "-m", "x"]
    ours, theirs = both("pub", [*args, "--psk", "00112233", "--psk-identity", "id1"])
    assert ours.code == theirs.code == 0
    for psk, name in (("00112234", "id1"), ("00112233", "id2")):
        done = run("signet pub", [*args, "--psk", psk, "--psk-identity", name])
        assert done.code == 8
        assert "check --psk and --psk-identity" in done.err


def test_plain_on_tls_port(tls_broker):
    done = run("signet pub", ["-p", tls_broker.port, "-t", "a", "-m", "x"])
    assert done.code == 7
    assert "does this port want TLS (--cafile)?" in done.err


def test_id_from_certificate(tls_broker, pki):
    """Without -i the certificate's common name is the client id; -i and -I win."""
    for flags, want in (([], "dev1"), (["-i", "other"], "other"), (["-I", "p-"], "p-[0-9]+")):
        before = len(tls_broker.log())
        assert run("signet pub", ["-p", tls_broker.port, *pki.client(), "-t", "a", "-m", "x", *flags]).code == 0
        wait_for(lambda: "Received DISCONNECT" in tls_broker.log()[before:], "the disconnect")
        tls_broker.wait_log(f"connected from .* as {want} ")


def test_wrong_files(tls_broker, pki, tmp_path):
    (tmp_path / "empty").write_text("")
    base = ["-p", tls_broker.port, "-t", "a", "-m", "x"]
    cases = (
        (["--cafile", "/nonexistent"], "--cafile /nonexistent"),
        (["--cafile", tmp_path / "empty"], "--cafile"),
        (["--cafile", pki.path("ca.pem"), "--cert", pki.path("dev.pem"), "--key", pki.path("server.key")], "does not belong to --cert"),
        (["--cafile", pki.path("ca.pem"), "--cert", pki.path("dev.key"), "--key", pki.path("dev.key")], "--cert"),
        (["--cafile", pki.path("ca.pem"), "--cert", pki.path("dev.pem"), "--key", tmp_path / "empty"], "--key"),
    )
    for args, words in cases:
        ours, theirs = both("pub", [*base, *args])
        assert ours.code == theirs.code == 1, (ours, theirs)
        assert words in ours.err


# ---- unix sockets, help ----

def test_unix_socket(tmp_path):
    path = tmp_path / "s"
    b = Broker(tmp_path / "b", "allow_anonymous true", options=[f"listener 0 {path}", "allow_anonymous true"]).start()
    try:
        sub = Background("signet sub", ["--unix", path, "-t", "a", "-C", 1, "-i", "unix"])
        b.wait_log("Sending SUBACK to unix")
        ours, theirs = both("pub", ["--unix", path, "-t", "a", "-m", "x"])
        assert ours.code == theirs.code == 0
        assert sub.end().out == b"x\n"
    finally:
        b.stop()


@pytest.mark.parametrize("tool", ["pub", "sub", "rr"])
def test_help_names_every_flag_of_mosquitto(tool):
    """Each flag in mosquitto's --help is in ours too, but those that are refused with a reason."""
    theirs = run(MOSQUITTO.format(tool), ["--help"]).out.decode()
    ours = run(SIGNET.format(tool), ["--help"])
    assert ours.code == 0
    refused = {"--proxy", "--keyform", "--tls-engine", "--tls-engine-kpass-sha1"}
    flags = {line.split(" :")[0].strip() for line in theirs.split("\n") if line.startswith(" -") and " :" in line}
    assert len(flags) > 30
    missing = {f for f in flags - refused if f" {f} " not in ours.out.decode() and f"{f}," not in ours.out.decode()
               and f" {f}\n" not in ours.out.decode()}
    assert not missing
    for flag in sorted(refused):
        done = run(SIGNET.format(tool), ["-t", "a", flag, "x"])
        assert done.code == 1 and "is not supported" in done.err
