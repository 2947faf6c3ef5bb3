"""What nobody who means well sends: every answer is a problem document or a closed connection, and the next request is served."""
import base64
import concurrent.futures
import hashlib
import hmac
import json
import re
import resource
import select
import socket
import threading
import time
import urllib.parse

import apikit
import certs
import kit
import pytest


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with apikit.Control(kit.Pki(tmp_path_factory.mktemp("api") / "d")) as c:
        yield c


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """With short times, and few connections."""
    with apikit.Control(kit.Pki(tmp_path_factory.mktemp("api") / "d"), "https_timeout 1", "https_max_connections_per_address 4") as c:
        yield c


@pytest.fixture(autouse=True)
def still_serves(request):
    yield
    for name in ("control", "impatient"):
        if name in request.fixturenames:
            c = request.getfixturevalue(name)
            local = apikit.Client(c, unix=True)
            assert local("GET", "/api/v1/health").status == 200
            local.close()


def read_all(sock):
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        data += piece
    return data


def answers(data):
    """The status of each answer in <data>, which ends with the last one."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        found.append(int(lines[0].split()[1]))
        if found[-1] >= 400:
            assert headers["content-type"] == "application/problem+json", head
        data = rest[int(headers.get("content-length", 0)):] if found[-1] not in (100, 204, 304) else rest
    return found


def exchange(control, data, half_close=False):
    with control.socket() as s:
        s.sendall(data)
        if half_close:
            s.unwrap()
        return answers(read_all(s))


def unix_socket(control):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(kit.PATIENCE)
    sock.connect(str(control.dir / "api.sock"))
    return sock


HOST = b"Host: localhost\r\n"
END = b"Connection: close\r\n\r\n"

HEADS = [
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + END, [200]),
    (b"GET /api/v1/health HTTP/1.0\r\n\r\n", [200]),
    (b"GET https://elsewhere/api/v1/health HTTP/1.1\r\n" + HOST + END, [200]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"\r\nGET /api/v1/none HTTP/1.1\r\n" + HOST + END, [200, 404]),
    (b"GET /api/v1/health HTTP/1.1\r\n\r\n", [400]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + HOST + END, [400]),
    (b"GET /api/v1/health HTTP/1.1\nHost: h\n\n", [400]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b" folded: x\r\n" + END, [400]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n" + END, [400]),
    (b"GET /api/v1/he\0alth HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET /api/v1/he%00alth HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET /api/v1/../v1/health HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET /api/v1/%2e%2E/v1/health HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET /api%2fv1%2fhealth HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET //api/v1/health HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET /api/v1/health?a=1&a=2 HTTP/1.1\r\n" + HOST + END, [400]),
    (b"GET /api/v1/" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + END, [414]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 64 + END, [431]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20000 + b"\r\n" + END, [431]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000000 + b"\r\n" + END, [431]),
    (b"GET /api/v1/health HTTP/3\r\n" + HOST + END, [505]),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    (b"BREW /api/v1/health HTTP/1.1\r\n" + HOST + END, [501]),
    (b"TRACE /api/v1/health HTTP/1.1\r\n" + HOST + END, [501]),
    (b"CONNECT elsewhere:443 HTTP/1.1\r\n" + HOST + END, [501]),
    (b"\x10\x10\0\4MQTT\5\2\0\x3c\0\0\0\0\r\n\r\n", [400]),
    # Framing that could be read in two ways.
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", [400]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", [400]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n", [501]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", [400]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", [417]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + END + b"{}", [100, 422]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n", [413]),
    (b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", [415]),
    (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}", [400]),
]


@pytest.mark.parametrize("n", range(len(HEADS)))
def test_heads(control, n):
    data, expected = HEADS[n]
    assert exchange(control, data) == expected


def test_bodies(control):
    def login(body, headers=b""):
        return exchange(control, b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body) +
                        headers + END + body)

    assert login(b"{" * 1000) == [400]
    assert login(b'{"username":"a","username":"b","password":"c"}') == [400]
    assert login(b'{"username":' + b"[" * 100 + b"]" * 100 + b"}") == [400]
    assert login(b'{"username":"a\xff","password":"c"}') == [400]
    assert login(b'{"username":"a\\u0000b","password":"c"}') == [400]
    assert login(b'{"username":"a","password":"c"}x') == [400]
    assert login(b"null") == [400]
    assert login(b"[]") == [422]
    assert login(b"a" * 5000) == [413]
    assert login(b"a" * (1 << 20)) == [413]
    assert login(b'{"username":1e400,"password":"c"}') == [400]


def test_a_body_that_ends_early(control):
    with control.socket() as s:
        s.sendall(b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"user")
    with control.socket() as s:
        s.sendall(b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"u")


def test_an_answer_is_sent_though_the_client_has_closed_its_half(control):
    with unix_socket(control) as sock:
        sock.sendall(b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert answers(read_all(sock)) == [200]


def test_requests_behind_one_another_though_the_client_has_closed_its_half(control):
    with unix_socket(control) as sock:
        sock.sendall(3 * (b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n") + b"GET /api/v1/he")
        sock.shutdown(socket.SHUT_WR)
        assert answers(read_all(sock)) == [200, 200, 200]


def test_who_does_not_read_the_gotis_not_read_from(control):
    """Else each request of 1 KB would keep an answer in memory until he does, and there is no end of requests."""
    request = b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X-Long: " + 950 * b"x" + b"\r\n\r\n"
    with unix_socket(control) as sock:
        sock.setblocking(False)
        sent, all_of_it = 0, 3000 * request
        while sent < len(all_of_it) and select.select([], [sock], [], 1)[1]:
            sent += sock.send(all_of_it[sent:])
        assert sent < len(all_of_it)
        # And yet none is forgotten.
        sock.settimeout(kit.PATIENCE)
        rest = len(request) - sent % len(request)
        rest += len(request) if rest < 4 else 0
        sender = threading.Thread(target=sock.sendall, args=(all_of_it[sent:sent + rest].replace(b"\r\n\r\n", b"\r\n" + END),))
        sender.start()
        assert answers(read_all(sock)) == [200] * ((sent + rest) // len(request))
        sender.join()


def test_pieces_of_one_byte(control):
    body = b'{"username":"nobody","password":"x"}'
    data = b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n" + END
    for i in range(0, len(body), 5):
        piece = body[i:i + 5]
        data += b"%x\r\n%s\r\n" % (len(piece), piece)
    data += b"0\r\n\r\n"
    with control.socket() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            s.sendall(data[i:i + 1])
        assert answers(read_all(s)) == [401]


# ---- tokens ----

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(header, claims, key=None):
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(hmac.new(key, text.encode(), hashlib.sha256).digest()) if key is not None else ''}"


def claims_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def forged_tokens(token, public):
    """What a token could be made into by whoever has it and what everybody has: the server's certificate."""
    claims = claims_of(token)
    head, body, signature = token.split(".")
    return [
        jwt({"alg": "none"}, claims), jwt({"alg": "None", "typ": "JWT"}, claims), jwt({"alg": "nOnE"}, claims) + signature,
        jwt({"typ": "JWT"}, claims), jwt({"alg": "HS256", "typ": "JWT"}, claims, b""), jwt({"alg": "HS256"}, claims, b"secret"),
        # The key that everybody has, taken as a secret.
        jwt({"alg": "HS256"}, claims, public), jwt({"alg": "RS256"}, claims, public), jwt({"alg": "ES256"}, claims, public),
        jwt({"alg": "HS512"}, claims, b"secret"), f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}.{signature}x", f".{body}.{signature}",
        f"{head}.{b64(json.dumps({**claims, 'sub': 2}).encode())}.{signature}", f"{head}.{b64(json.dumps({**claims, 'tenant': 'acme'}).encode())}.{signature}",
        f"{b64(b'{')}.{body}.{signature}", "..", ".", "x" * 2000, "x" * 5000, token.swapcase(),
    ]


def test_forged_tokens(control):
    admin = control.login()
    claims = claims_of(admin.token)
    assert claims["iss"] == "signet" and claims["aud"] == "signet-api" and claims["tenant"] == "default" and len(claims["jti"]) == 32
    forged = forged_tokens(admin.token, (control.dir / "pki/broker/cert.pem").read_bytes())
    for token in forged:
        assert control.client()("GET", "/api/v1/me", token=token).status == 401, token
    for header in ("Basic YTpi", "Bearer", "Bearer  " + admin.token, admin.token, "bearer\t" + admin.token):
        assert control.client()("GET", "/api/v1/me", headers={"Authorization": header}).status == 401, header
    assert control.client()("GET", "/api/v1/me", headers={"Authorization": "bearer " + admin.token}).status == 200
    # A token that is wrong is not made good by a certificate.
    assert control.client(who="controller")("GET", "/api/v1/me", token=forged[0]).status == 401


def test_tokens_of_another_process(control, impatient):
    token = impatient.login().token
    assert impatient.client()("GET", "/api/v1/me", token=token).status == 200
    assert control.client()("GET", "/api/v1/me", token=token).status == 401
    old = control.login().token
    # Its key ends with the process.
    control.restart()
    assert control.client()("GET", "/api/v1/me", token=old).status == 401


# ---- passwords ----

def test_who_exists_cannot_be_found_out(control):
    admin = control.login()
    assert admin("POST", "/api/v1/users", {"name": "sleeper"}).status == 201
    seen, times = set(), {}
    for user in ("admin", "sleeper", "nobody", "x" * 64):
        for _ in range(3):
            begin = time.monotonic()
            answer = control.client()("POST", "/api/v1/login", {"username": user, "password": "wrong"})
            times.setdefault(user, []).append(time.monotonic() - begin)
            assert answer.status == 401
            seen.add(answer.body)
    assert len(seen) == 1
    # One hash each: the work is the same, so the quickest of one is no small part of another's.
    quickest = [min(t) for t in times.values()]
    assert min(quickest) > max(quickest) / 10, times


def test_guesses_at_one_time_are_no_more_than_one_after_the_other(control):
    """They count before they are judged, which takes long; who is right pays nothing."""
    begun, many = time.monotonic(), [control.client() for _ in range(24)]
    with concurrent.futures.ThreadPoolExecutor(len(many)) as pool:
        got = list(pool.map(lambda c: c("POST", "/api/v1/login", {"username": "at-once", "password": "x"}).status, many))
    assert 5 <= got.count(401) <= 5 + (time.monotonic() - begun) / 12 and got.count(401) + got.count(429) == len(many), got
    for c in many:
        c.close()
    for _ in range(7):
        assert control.login().token


def test_guessing_is_rationed(control):
    client = control.client()
    begun, got, asked = time.monotonic(), [], []
    while not got or got[-1].status != 429:
        got.append(client("POST", "/api/v1/login", {"username": "target", "password": f"guess {len(got)}"}))
        asked.append(time.monotonic() - begun)
    # Five, and one more for each twelve seconds that it took.
    assert [x.status for x in got[:-1]] == [401] * (len(got) - 1)
    assert 5 <= len(got) - 1 <= 5 + asked[-1] / 12, (got, asked)
    assert got[-1].headers["retry-after"] == "12" and got[-1].json["remedy"]
    document = client("GET", "/api/v1/openapi.json").json
    for path, method in (("/api/v1/login", "post"), ("/api/v1/signin", "post"), ("/api/v1/me/password", "put"), ("/api/v1/enrol", "post")):
        assert document["paths"][path][method]["responses"]["429"] == {"$ref": "#/components/responses/TooMany"}
    assert "5 wrong passwords" in document["components"]["responses"]["TooMany"]["description"]
    # Others are not in it.
    assert control.login().token
    client.close()


# ---- time and number ----

def expect_end(sock, statuses):
    assert answers(read_all(sock)) == statuses


def test_slow_heads_and_bodies(impatient):
    with impatient.socket() as s:
        s.sendall(b"GET /api/v1/health HTTP/1.1\r\n")
        expect_end(s, [408])
    with impatient.socket() as s:
        s.sendall(b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
        expect_end(s, [408])
    raw = socket.create_connection(("127.0.0.1", impatient.port), timeout=kit.PATIENCE)
    assert raw.recv(100) == b""
    raw.close()
    kit.wait_for(lambda: "[handshake-timeout]" in impatient.text(), "the refusal in the log")


def test_connections_of_one_address_are_counted(impatient):
    held = []
    try:
        for _ in range(4):
            held.append(impatient.socket())
        with pytest.raises(OSError):
            impatient.socket()
        kit.wait_for(lambda: "too many from this address" in impatient.text(), "the refusal in the log")
    finally:
        for s in held:
            s.close()

    def again():
        try:
            impatient.socket().close()
            return True
        except OSError:
            return False
    kit.wait_for(again, "room for another connection")


def test_refused_handshakes_are_told_with_their_cause(control, tmp_path):
    raw = socket.create_connection(("127.0.0.1", control.port), timeout=kit.PATIENCE)
    raw.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    read_all(raw)
    raw.close()
    kit.wait_for(lambda: "[http-on-tls]" in control.text(), "the refusal in the log")
    stranger = certs.Ca(tmp_path, "Stranger").leaf("controller")
    context = control.tls()
    context.load_cert_chain(stranger["cert"], stranger["key"])
    with pytest.raises(OSError):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", control.port), timeout=kit.PATIENCE), server_hostname="localhost") as s:
            s.sendall(b"GET /api/v1/me HTTP/1.1\r\n" + HOST + b"\r\n")
            assert s.recv(1)
    kit.wait_for(lambda: "[issuer-unknown]" in control.text(), "the refusal in the log")
    assert "Remedy: " in control.text()


def test_without_descriptors_it_waits_for_some(control):
    said = "cannot be taken"
    limits = resource.prlimit(control.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(control.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with socket.create_connection(("127.0.0.1", control.port), timeout=kit.PATIENCE):
            # Once a second, not as often as a processor can.
            kit.wait_for(lambda: control.text().count(said) > 1, "two warnings in the log")
            assert control.text().count(said) < 100
            resource.prlimit(control.process.pid, resource.RLIMIT_NOFILE, limits)
            assert control.login().token
    finally:
        resource.prlimit(control.process.pid, resource.RLIMIT_NOFILE, limits)


def test_streams_of_events_are_counted(control):
    """16 of one user, and others have theirs all the same; one that ends makes room, and who reads nothing keeps nobody from his answers."""
    admin = control.login()

    def stream():
        return apikit.Events(apikit.Client(control, admin.token, unix=True))
    held = []
    try:
        for _ in range(16):
            held.append(stream())
            assert held[-1].status == 200, (len(held), held[-1].response.read())
        one_more = stream()
        assert one_more.status == 503 and int(one_more.response.headers["retry-after"]) > 0
        one_more.connection.close()
        held.insert(0, apikit.Events(apikit.Client(control, who="controller")))
        assert held[0].status == 200
        assert admin("POST", "/api/v1/devices", {"id": "streamed"}).status == 201
        assert held[7].until("change", operation="createDevice")["device"] == "streamed"
        held.pop().connection.close()

        def again():
            held.append(stream())
            return held[-1].status == 200
        kit.wait_for(again, "room for another stream")
    finally:
        for s in held:
            s.connection.close()


def test_who_does_not_read_the_events_is_sent_away(impatient):
    """After 512 KiB and what the kernel holds; nobody else waits for him, and he finds his place again."""
    admin = apikit.Client(impatient, unix=True)
    name = "\U0001f4a1" * 64
    path = "/api/v1/devices/" + urllib.parse.quote(name)
    assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(impatient.dir / "api.sock"))
    silent.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while b"retry: " not in got:
        got += silent.recv(4096)
    poll, sent, seen = select.poll(), 0, 0
    poll.register(silent, 0)  # its end, not its data
    with apikit.Events(admin) as others:
        while not poll.poll(0):
            assert sent < 3000, "4 MB wait for somebody who does not read"
            assert admin("PATCH", path, {"label": str(sent)}).status == 200
            sent += 1
            assert others.until("change", operation="updateDevice")["device"] == name
    while data := silent.recv(65536):
        got += data
    silent.close()
    last = re.findall(rb"^id: (\d+-(\d+))\nevent: .*\ndata: .*\n\n", got, re.M)[-1]
    assert len(got) < 512 * 1024 + 2 * 1024 * 1024
    with apikit.Events(admin, last=last[0].decode()) as again:
        kind, _ = again.read()
        assert kind == "missed" or again.id == f"{last[0].split(b'-')[0].decode()}-{int(last[1]) + 1}"
    assert admin("DELETE", path).status == 204
    admin.close()
