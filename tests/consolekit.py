"""What tests of the web console share: a platform that is served, requests as a browser sends them, and a real browser."""
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import apikit
import kit

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHOTS = os.environ.get("SIGNET_SHOTS")  # a folder for screenshots, for people to look at

# The mark of a file whose tests use a browser.
in_browser = pytest.mark.skipif(os.environ.get("SIGNET_BUILD") == "tsan", reason="a browser, once, is enough")

PAGE = {"x-signet": "1", "content-type": "application/json"}


class Http:
    """Requests as a browser would send them, or would not."""

    def __init__(self, served):
        self.served, self.cookie = served, None

    def __call__(self, method, path, body=None, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
        if self.cookie:
            headers.setdefault("cookie", "other=1; __Host-signet=" + self.cookie)
        c = http.client.HTTPSConnection("localhost", self.served.port, timeout=kit.PATIENCE, context=self.served.tls())
        try:
            c.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            r = c.getresponse()
            return apikit.Answer(r.status, r.getheaders(), r.read())
        finally:
            c.close()

    def sign_in(self, user="admin", password=None):
        a = self("POST", "/api/v1/signin", {"username": user, "password": password or self.served.password}, **PAGE)
        assert a.status == 200, a
        self.take(a)
        return a

    def take(self, answer):
        self.cookie = re.match(r"__Host-signet=([^;]*)", answer.headers["set-cookie"])[1]


def look(served, http_, connect=True, **more):
    """An MQTT client over WebSocket, as the page has one."""
    c = kit.Client(served, version=kit.V5, port=served.port, context=served.tls(), transport="websockets", connect=False, **more)
    c.client.ws_set_options("/mqtt", {"Cookie": "__Host-signet=" + http_.cookie, "Origin": f"https://localhost:{served.port}"})
    return c.connect() if connect else c


def upgrade(http_, path="/mqtt", **headers):
    given = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13", "sec-websocket-protocol": "mqtt",
             "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==", "origin": f"https://localhost:{http_.served.port}"}
    return http_("GET", path, **{**given, **{k.replace("_", "-"): v for k, v in headers.items()}})


HOSTILE = ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "</td></tr><b>bold", "javascript:alert(1)", "{{constructor}}", "${alert(1)}",
           "\u202eevil\u202c", "\u200bzero", "a\tb\u0085c", "مرحبا بالعالم", "x" * 300]


def wait_text(browser, text, where="body"):
    browser("await page.locator(args.where).getByText(args.text).first().waitFor()", text=text, where=where)


# What makes the page, or a table on it, wider than it has room; and what has less room than its text (20: the arrow).
TOO_WIDE = """return page.evaluate(() => { const room = document.documentElement.clientWidth;
    return [...(document.documentElement.scrollWidth > room ? [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > room) : []),
        ...[...document.querySelectorAll('main .scroll, main .card, main .tree')].filter((e) => e.scrollWidth > e.clientWidth + 1),
        ...[...document.querySelectorAll('main select')].filter((e) => { const s = getComputedStyle(e), c = document.createElement('canvas').getContext('2d'); c.font = s.font;
            return c.measureText(e.selectedOptions[0]?.text ?? '').width > e.clientWidth - parseFloat(s.paddingLeft) - parseFloat(s.paddingRight) - 20; })].map((e) => e.outerHTML.slice(0, 160)); })"""


class Browser:
    def __init__(self, served):
        chromium = shutil.which("chromium")
        assert chromium, "the package chromium is needed: tools/deps check"
        assert (ROOT / "console/node_modules/playwright-core").exists(), "tools/console.py modules --all brings what this test needs"
        self.served = served
        self.process = subprocess.Popen(["node", ROOT / "tests/console/browser.mjs", chromium, f"https://localhost:{served.port}"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "ASAN_OPTIONS": ""})

    def __call__(self, code, **args):
        self.process.stdin.write(json.dumps({"code": code, "args": args}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the browser has gone"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        assert not answer["seen"], answer["seen"]
        return answer["value"]

    def look(self, name):
        """No violation of accessibility in either colours; and a picture for who wants to see it."""
        for theme in ("light", "dark"):
            self("await page.emulateMedia({ colorScheme: args.theme })", theme=theme)
            if SHOTS:
                self("await page.screenshot({ path: args.path, fullPage: true })", path=f"{SHOTS}/{name}-{theme}.png")
            found = self("return await tools.violations(args.rules)", rules=["color-contrast"] if theme == "dark" else None)
            assert found == [], (name, theme, found)
        if SHOTS:
            self("await page.setViewportSize({ width: 390, height: 800 }); await page.screenshot({ path: args.path });"
                 "await page.setViewportSize({ width: 1280, height: 800 })", path=f"{SHOTS}/{name}-phone.png")
        self("await page.emulateMedia({ colorScheme: 'light' })")

    def sign_in(self):
        if self("await page.goto('/console/'); await page.locator('.lone, .top').first().waitFor(); return await page.locator('.top').count()"):
            return
        self("""await page.getByLabel('User name').fill('admin'); await page.getByLabel('Password').fill(args.password);
                await page.getByRole('button', { name: 'Sign in' }).click(); await page.locator('.top').waitFor()""", password=self.served.password)

    def open(self, place):
        self.sign_in()
        self("await page.goto('/console/#/' + args.place)", place=place)

    def keys(self, *keys):
        """Each is pressed; what is no name of a key is typed."""
        self("for (const k of args.keys) await (/^[A-Z]\\w+(\\+\\w+)?$/.test(k) ? page.keyboard.press(k) : page.keyboard.type(k))", keys=keys)

    def tab_to(self, wanted, key="Tab", most=120):
        """The keyboard alone, until what has the focus is what is wanted: label|text|name."""
        at = self("""const at = () => page.evaluate(() => { const e = document.activeElement, label = e.labels?.[0]?.textContent;
                return `${e.ariaLabel ?? label ?? ''}|${['BUTTON', 'A', 'SUMMARY', 'H1'].includes(e.tagName) ? e.textContent : ''}|${e.name ?? e.id ?? ''}`; });
            const wanted = new RegExp(args.wanted);
            for (let i = 0; i < args.most && !wanted.test(await at()); i++) await page.keyboard.press(args.key);
            return await at();""", wanted=wanted, key=key, most=most)
        assert re.search(wanted, at), f"{wanted} is not reached by {key}; {at} is"

    def saved(self, button, path):
        """What the button offers as a file."""
        self("""const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: args.button }).first().click()]);
                await file.saveAs(args.path)""", button=button, path=str(path))
        return path

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=kit.PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="module")
def browser(served):
    b = Browser(served)
    yield b
    b.close()


# ---- fixtures: a file that imports one has its own of it ----

@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with apikit.Served(kit.Pki(tmp_path_factory.mktemp("console") / "site"), "require_registration true") as s:
        yield s


@pytest.fixture(scope="module")
def device(served):
    assert served.login()("POST", "/api/v1/devices", {"id": "dev1", "label": "Door 3"}).status == 201
    with kit.comes(served, "dev1", served.pki.device("dev1"), port=served.mqtt) as c:
        yield c


@pytest.fixture(scope="module")
def controller(served):
    with kit.Client(served, "controller", served.pki.files("controller"), version=kit.V5, port=served.mqtt) as c:
        yield c


@pytest.fixture(scope="module")
def people(served):
    """A tenant with somebody who may look, and somebody in the first tenant who may nothing."""
    admin = served.login()
    assert admin("POST", "/api/v1/tenants", {"name": "acme"}).status == 201
    for name, tenant, groups in (("anna", "acme", ["viewer"]), ("nemo", None, [])):
        a = admin("POST", "/api/v1/users" + (f"?tenant={tenant}" if tenant else ""), {"name": name, "password": "long enough 123", "groups": groups})
        assert a.status == 201, a
    return admin
