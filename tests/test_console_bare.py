"""The web console of a broker alone (`console true`): its files, who may come by which page, and in a real browser what people see there."""
import gzip
import re
import socket

import pytest

import apikit
import kit
from consolekit import Browser, Http, in_browser, wait_text

pytestmark = in_browser

PASSWORDS = {"anna": "long enough 1", "pub": "long enough 2"}
UPGRADE = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13", "sec-websocket-protocol": "mqtt", "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg=="}


class Site(kit.Broker):
    """One broker: MQTT, and four listeners for browsers: with passwords, with certificates, for everybody, and without a console."""

    def __init__(self, directory):
        self.pki = kit.Pki(directory / "pki")
        self.users = directory / "users"
        for name, password in PASSWORDS.items():
            self.set_password(name, password)
        acl = directory / "acl"
        acl.write_text("topic read open/#\nuser pub\ntopic #\nuser anna\ntopic read site/#\ntopic read $SYS/#\nuser looker\ntopic read #\n")
        www = directory / "www"
        www.mkdir()
        (www / "index.html").write_text("<p>mine")
        mqtt, self.port, self.by_certificate, self.open, self.without = (kit.free_port() for _ in range(5))
        tls = "".join(re.findall(r"^(?:certfile|keyfile) .*\n", (self.pki.dir / "signet.conf").read_text(), re.M))
        ca = "".join(re.findall(r"^cafile .*\n", (self.pki.dir / "signet.conf").read_text(), re.M))
        super().__init__(directory / "broker", f"{kit.STAY_ROOT}password_file {self.users}\nacl_file {acl}\nallow_anonymous false\nworkers 2\nsys_interval 1\nlistener {mqtt} 127.0.0.1\n"
                         f"listener {self.port} 127.0.0.1\nprotocol websockets\nconsole true\n{tls}"
                         f"listener {self.by_certificate} 127.0.0.1\nprotocol websockets\nconsole true\nrequire_certificate true\nuse_identity_as_username true\n{tls}{ca}"
                         f"listener {self.open} 127.0.0.1\nprotocol websockets\nconsole true\nhttp_dir {www}\nlistener_allow_anonymous true\nwebsockets_origin https://site.example\n"
                         f"listener {self.without} 127.0.0.1\nprotocol websockets\n{tls}", [mqtt, self.port, self.by_certificate, self.open, self.without])
        self.mqtt, self.port = mqtt, self.ports[1]

    def set_password(self, name, password):
        kit.signet("passwd", "-I", "1000", *([] if self.users.exists() else ["-c"]), self.users, name, stdin=password + "\n")

    def tls(self):
        return kit.tls_context({"ca": self.pki.dir / "pki/ca.pem"})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("bare")) as s:
        # Looked at by the last test: each has ten seconds.
        s.slow = {"half a header": b"GET /console/ HTTP/1.1\r\nHost: local", "nothing": b"", "no reading": b"GET /console/vendor/mqtt.js HTTP/1.1\r\nHost: localhost\r\n\r\n"}
        s.slow = {what: slow(s.open, text) for what, text in s.slow.items()}
        yield s
        for c in s.slow.values():
            c.close()


def slow(port, text):
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.settimeout(kit.PATIENCE)
    c.connect(("127.0.0.1", port))
    c.sendall(text)
    return c


@pytest.fixture(scope="module")
def publisher(site):
    with kit.Client(site, "pub", username="pub", password=PASSWORDS["pub"], port=site.mqtt) as c:
        yield c


def ask(port, text):
    """The whole answer to bytes on the listener without TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=kit.PATIENCE) as c:
        c.sendall(text)
        answer = b""
        while piece := c.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return apikit.Answer(int(lines[0].split()[1]), [tuple(x.split(": ", 1)) for x in lines[1:]], body) if answer else None


# ---- files ----

def test_files_are_those_of_control_with_its_rules(site):
    http_ = Http(site)
    for path in ("/", "/console"):
        a = http_("GET", path)
        assert (a.status, a.headers["location"], a.body) == (302, "/console/", b"")
    a = http_("GET", "/console/?x=1")
    assert a.status == 200 and a.type == "text/html; charset=utf-8" and b"<script type=\"module\" src=" in a.body
    policy = dict(x.strip().split(" ", 1) for x in a.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'" and policy["require-trusted-types-for"] == "'script'"
    for name, value in {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin", "x-frame-options": "DENY",
                        "cross-origin-resource-policy": "same-origin", "cache-control": "no-cache", "vary": "Accept-Encoding", "strict-transport-security": "max-age=31536000"}.items():
        assert a.headers[name] == value, name
    head = http_("HEAD", "/console/")
    assert head.body == b"" and head.headers == a.headers
    plain, packed = http_("GET", "/console/vendor/mqtt.js"), http_("GET", "/console/vendor/mqtt.js", accept_encoding="br, gzip;q=0.5")
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == plain.body and len(plain.body) > 200_000
    for given, status in ((packed.headers["etag"], 304), (plain.headers["etag"], 200)):
        a = http_("GET", "/console/vendor/mqtt.js", accept_encoding="gzip", if_none_match=given)
        assert a.status == status and a.headers["etag"] == packed.headers["etag"] and (a.body == b"") == (status == 304)
        assert a.headers["content-security-policy"] and "set-cookie" not in a.headers


def test_the_page_is_told_who_may_come(site):
    assert Http(site)("GET", "/console/mode.json").json == {"on": "broker", "password": True, "anonymous": False, "certificate": False}
    a = ask(site.open, b"GET /console/mode.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert a.json == {"on": "broker", "password": True, "anonymous": True, "certificate": False} and a.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in a.headers


@pytest.mark.parametrize("request_, status", [
    ("GET /console/nothing.js", 404), ("GET /console/../main.js", 404), ("GET /console/%6dain.js", 404), ("GET /console/lib/", 404), ("GET /console/main.js/", 404),
    ("GET /console/../../../etc/passwd", 404), ("GET //console/", 404), ("GET /api/v1/me", 404), ("GET /consolemain.js", 404), ("POST /console/", 405), ("DELETE /", 405),
    ("OPTIONS /console/", 405), ("GET /console/\\..\\x", 404), ("GET http://localhost/console/", 400), ("GET console/", 400),
])
def test_what_is_not_there_is_not_served(site, request_, status):
    a = ask(site.open, f"{request_} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert a.status == status and a.headers["content-type"].startswith("text/plain") and a.headers["connection"] == "close"
    assert (a.headers.get("allow") == "GET, HEAD") == (status == 405)


def test_requests_are_bounded_and_strict(site):
    get = b"GET /console/ HTTP/1.1\r\nHost: localhost\r\n"
    assert ask(site.open, get + b"\r\n").status == 200
    assert ask(site.open, get + b"X: " + b"a" * 5000 + b"\r\n\r\n").status == 431
    assert ask(site.open, get + b"Content-Length: 1\r\n\r\na").status == 400
    assert ask(site.open, b"GET /console/ HTTP/1.0\r\nHost: localhost\r\n\r\n").status == 505
    assert ask(site.open, b"GET /console/ HTTP/1.1\r\n\r\n").status == 400
    assert ask(site.open, b"\x10\x0c\0\4MQTT") is None
    # A second request on the same connection is nobody's.
    assert ask(site.open, get + b"\r\n" + get + b"\r\n").body.count(b"<!doctype html>") == 1


def test_only_who_asked_for_it_has_it_and_http_dir_stays(site):
    assert ask(site.open, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").body == b"<p>mine"
    console, site.port = site.port, site.without
    try:
        for path in ("/", "/console", "/console/", "/console/main.js", "/console/mode.json"):
            a = Http(site)("GET", path)
            assert a.status == 404 and b"no http_dir" in a.body, path
    finally:
        site.port = console


# ---- who may come ----

def test_a_page_of_another_site_may_not_come_and_ours_may(site):
    def upgrade(origin, host="localhost"):
        lines = {"Host": host, **({"Origin": origin} if origin else {}), **UPGRADE}
        text = "GET /mqtt HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
        with socket.create_connection(("127.0.0.1", site.open), timeout=kit.PATIENCE) as c:
            c.sendall(text.encode())
            return c.recv(12) == b"HTTP/1.1 101"
    assert upgrade(None) and upgrade(f"http://localhost:{site.open}", f"localhost:{site.open}") and upgrade("https://site.example")
    assert not upgrade("https://evil.example") and upgrade("http://localhost") and not upgrade("null")
    # Whoever has a name of his own resolved to our address is none of ours.
    assert not upgrade(f"http://evil.example:{site.open}", f"evil.example:{site.open}")
    http_ = Http(site)
    context = site.tls()
    for origin, code in ((f"https://localhost:{site.port}", 101), ("https://evil.example", None), (f"https://localhost:{site.without}", None),
                         (f"http://localhost:{site.port}", None)):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), timeout=kit.PATIENCE), server_hostname="localhost") as c:
            lines = {"Host": f"localhost:{site.port}", "Origin": origin, **UPGRADE}
            c.sendall(("GET /mqtt HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode())
            assert c.recv(12) == (b"HTTP/1.1 101" if code else b""), origin
    assert http_("GET", "/console/").status == 200
    # Programs that send what paho sends are let in as before.
    with kit.Client(site, "ws", username="anna", password=PASSWORDS["anna"], port=site.port, context=context, transport="websockets") as c:
        assert c.subscribe("site/#") == [0]


# ---- the browser ----

@pytest.fixture(scope="module")
def browser(site):
    b = Browser(site)
    yield b
    b.close()


def attempt(browser, user, password):
    browser("""await page.getByLabel('User name').fill(args.user); await page.getByLabel('Password').fill(args.password);
               await page.getByRole('button', { name: 'Sign in' }).click()""", user=user, password=password)


def sign_in(browser, place="live"):
    """Unless somebody is, as anna."""
    browser("if (!page.url().startsWith('http')) await page.goto('/console/')")
    if not browser("await page.locator('.lone, .top').first().waitFor().catch(() => 0); return await page.locator('.top').count()"):
        attempt(browser, "anna", PASSWORDS["anna"])
        browser("await page.locator('.top').waitFor()")
    browser("await page.evaluate((place) => { location.hash = '#/' + place; }, args.place)", place=place)
    browser("await page.getByRole('heading', { name: args.title, level: 1 }).waitFor()", title={"live": "Live messages", "health": "Health"}[place])
    wait_text(browser, "Live", ".flow [role=status]")


def test_a_wrong_password_is_told_and_a_right_one_opens_what_a_broker_has(site, browser):
    browser("await page.goto('/'); await page.getByLabel('User name').waitFor()")
    browser.look("bare-signin")
    for user, password in (("anna", "wrong"), ("nobody", "x")):
        attempt(browser, user, password)
        wait_text(browser, "User name or password is wrong", "[role=alert]")
        wait_text(browser, "What to do", "[role=alert]")
        browser("await page.getByLabel('Password').fill('')")
    browser.look("bare-refused")
    sign_in(browser)
    wait_text(browser, "anna", ".who")
    assert browser("return await page.locator('nav a').allInnerTexts()") == ["Live messages", "Health"]
    # A page that is control's is none here, and the password is nowhere but in the page.
    browser("await page.goto('/console/#/health'); await page.getByRole('heading', { name: 'Health' }).waitFor()")
    browser("await page.goto('/console/#/devices'); await page.getByRole('heading', { name: 'No such page' }).waitFor()")
    kept = browser("return await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))")
    assert PASSWORDS["anna"] not in kept
    assert not [x for x in browser("return await page.evaluate(() => performance.getEntriesByType('resource').map((x) => x.name))") if "/api/" in x]
    browser("await page.reload(); await page.getByLabel('Password').waitFor()")
    assert browser("return await page.getByLabel('Password').inputValue()") == ""


def test_live_messages_are_those_that_the_broker_lets_this_person_hear(site, browser, publisher):
    sign_in(browser)
    publisher.publish("other/secret", "not for anna", qos=1)
    publisher.publish("site/door/rdr/evt", '{"Interface":"13.56","Protocol":"NFC-A","TagId":"262BA1B0","Move":"Insert"}', qos=1)
    wait_text(browser, "262BA1B0 · NFC-A · 13.56 · Insert", "table")
    assert browser("return await page.locator('table').getByText('other/secret').count()") == 0
    browser.look("bare-live")
    browser("await page.getByLabel('Topic filter').fill('other/#'); await page.keyboard.press('Enter')")
    wait_text(browser, "The broker refuses this topic filter", "[role=alert]")
    wait_text(browser, "Your rights at this broker", "[role=alert]")
    browser("await page.getByLabel('Topic filter').fill('$SYS/#'); await page.keyboard.press('Enter')")
    wait_text(browser, "$SYS/broker/", "table")


def test_health_is_seen_by_who_may_read_sys(site, browser):
    sign_in(browser, "health")
    browser("await page.locator('.alarms .badge').first().waitFor()")  # that nothing is wrong, or what is
    with pytest.raises(kit.Refused):
        kit.Client(site, "nobody", port=site.mqtt, username="anna", password="wrong")
    wait_text(browser, "since the start, by cause")
    browser.look("bare-health")


def test_signing_out_ends_the_connection(site, browser):
    sign_in(browser)
    connected = r"New client connected from .* as (\S+) "
    name, mark = re.findall(connected, site.log())[-1], site.mark()
    browser("await page.getByRole('button', { name: 'Sign out' }).click(); await page.getByLabel('User name').waitFor()")
    site.wait_log(rf"Client {re.escape(name)} .*(disconnected|closed)", mark)


def test_a_password_that_is_changed_ends_it_and_is_not_tried_again(site, browser):
    sign_in(browser)
    site.set_password("anna", "another one 3")
    try:
        site.reload()
        wait_text(browser, "Not connected", "[role=status]")
        wait_text(browser, "Connection refused", "[role=alert]")
        wait_text(browser, "then sign out, and in again", "[role=alert]")
    finally:
        site.set_password("anna", PASSWORDS["anna"])
        site.reload()


def test_a_certificate_of_the_browser_is_enough(site, browser, publisher):
    files = site.pki.issue("watch", "looker")
    publisher.publish("anything/at/all", "seen by looker", qos=1, retain=True)
    browser("""const context = await tools.browser.newContext({ ignoreHTTPSErrors: true, clientCertificates: [{ origin: args.origin, certPath: args.cert, keyPath: args.key }] });
        context.setDefaultTimeout(60000);
        const own = await context.newPage();
        await own.goto(args.origin + '/console/'); await own.getByText('A certificate of this browser').waitFor();
        await own.getByRole('button', { name: 'Sign in' }).click();
        await own.locator('.who').getByText('No user name').waitFor();
        await own.locator('table').getByText('seen by looker').waitFor();
        await context.close()""", origin=f"https://localhost:{site.by_certificate}", cert=str(files["cert"]), key=str(files["key"]))


# ---- the end ----

def test_who_is_slow_loses_the_connection_and_keeps_nobody_waiting(site):
    for what, c in site.slow.items():
        text = b""
        try:
            while piece := c.recv(65536):
                text += piece
        except ConnectionResetError:
            pass
        assert what == "no reading" or text == b"", what
