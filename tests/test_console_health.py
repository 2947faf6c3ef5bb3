"""The console's page Health: the broker's figures and alarms, in a real browser, with real traffic."""
import json
import subprocess

import pytest

import apikit
import consolekit
import kit
from consolekit import browser, controller, device, wait_text  # noqa: F401 (fixtures)

pytestmark = consolekit.in_browser

# Whoever may name files may name them so, and an alarm says the name.
HOSTILE_FILE = "<img src=x onerror=alert(1)>\u202ecrl.pem"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with apikit.Served(kit.Pki(tmp_path_factory.mktemp("health") / "site"), "require_registration true", "sys_interval 1") as s:
        yield s


def test_samples_are_put_in_order_whatever_comes_first_and_a_restart_is_a_gap():
    code = """
        import { causesOf, groups, lately, merge, nothing, sumUp } from '%s';
        const doc = (first, n, time) => ({ interval: 10, first, fields: ['time', 'queued', 'causes', 'new'],
            samples: Array.from({ length: n }, (_, i) => [time + 10 * i, first + i, { a: i, b: 1 }, 0]) });
        const numbers = (f) => lately(f, 1e6).map((s) => (s.gap ? 'gap' : s.n));
        let f = merge(nothing(), doc(8, 4, 1080));   // the newest ones, then all of them, then one more
        f = merge(f, doc(0, 10, 1000));
        f = merge(f, doc(9, 4, 1090));
        const before = numbers(f), late = lately(f, 30).map((s) => s.n);
        f = merge(merge(f, doc(0, 0, 0)), doc(0, 2, 1200)); // another life of the broker
        const rows = lately(f, 1e6);
        console.log(JSON.stringify([before, late, numbers(f), causesOf(rows), groups(rows, 4).length, sumUp([1, null, 5]), sumUp([null]), numbers(merge(f, doc(0, 500, 1200))).length]));
    """ % (consolekit.ROOT / "console/lib/figures.js").as_uri()
    out = subprocess.run(["node", "--input-type=module", "-e", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == [list(range(13)), [10, 11, 12], [*range(13), "gap", 0, 1], ["a", "b"], 4, {"now": 5, "mean": 3, "most": 5}, None, 360]


def chart(name):
    return f"page.getByRole('region', {{ name: '{name}', exact: true }})"


def value_of(browser, name):
    return browser(f"return await {chart(name)}.getByRole('slider').getAttribute('aria-valuetext')")


def test_figures_move_and_everybody_can_read_them(served, browser, device, controller):
    browser.open("health")
    browser(f"await {chart('Messages')}.getByRole('slider').waitFor()")
    controller.subscribe("springcard/#")
    for i in range(50):
        device.publish("springcard/springcore/dev1/evt", f"{i}", qos=1, retain=True)
    for _ in range(3):
        with pytest.raises(kit.Refused):
            kit.Client(served, "stranger", served.pki.device("stranger"), port=served.mqtt)
    # Not the last sample, which may be one of silence: the highest that there was.
    for name, part in (("Messages", r"Highest: received [\d.]+/s, sent [\d.]+/s"), ("Bytes", "received [\\d.]+ k?B/s"), ("Connections", "Now: connected \\d"),
                       ("Loop lag", r"99 % within [\d.]+ ms"), ("Latency between workers", "longest [\\d.]+ m?s"), ("Memory", "in RAM [\\d.]+ [MG]B"),
                       ("Queue", "messages that wait for clients \\d"), ("Store latency", "99 % within [\\d.]+ m?s"), ("Refusals by cause", r"not-registered [\d.]+/min")):
        browser(f"await {chart(name)}.locator('.summary').getByText(new RegExp(args.part)).waitFor()", part=part)
    browser("await page.getByText('3 since the start, by cause').click()")
    wait_text(browser, "not-registered", "table")
    # By keyboard alone, value by value; a screen reader hears the words.
    browser(f"await {chart('Messages')}.getByRole('slider').focus(); await page.keyboard.press('Home')")
    first = value_of(browser, "Messages")
    browser("await page.keyboard.press('ArrowRight')")
    assert value_of(browser, "Messages") != first and "received" in first
    assert browser(f"return await {chart('Messages')}.locator('.legend b').count()") == 3
    browser("await page.keyboard.press('Tab')")  # to the table, which Enter opens
    browser(f"""await page.keyboard.press('Enter'); await {chart('Messages')}.getByRole('columnheader', {{ name: 'received, mean' }}).waitFor()""")
    assert browser(f"return await {chart('Messages')}.getByRole('row').count()") >= 2
    # It is painted: a curve is not only there, it has colour.
    painted = browser("""return await page.evaluate(() => [...document.querySelectorAll('.curve canvas')].map((c) =>
        new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size))""")
    assert len(painted) == 9 and min(painted) > 10, painted
    browser.look("health")
    browser("await page.getByRole('button', { name: '10 minutes' }).click()")
    # On a phone nothing is cut off, nor does the page move sideways.
    wide = browser("""await page.setViewportSize({ width: 390, height: 800 }); await page.getByRole('slider').first().waitFor();
        await page.waitForFunction(() => [...document.querySelectorAll('.curve canvas')].every((c) => c.getBoundingClientRect().right <= 390));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth); await page.setViewportSize({ width: 1280, height: 800 }); return wide""")
    assert wide <= 390


def test_an_alarm_is_shown_with_its_remedy_and_goes(served, browser):
    file = served.dir / "crls" / HOSTILE_FILE
    browser.open("health")
    browser("await page.getByRole('region', { name: 'Alarms' }).waitFor()")
    file.write_bytes(b"no list")
    wait_text(browser, "onerror=alert(1)>\\u{202e}crl.pem", ".alarms")
    alarm = browser("return await page.locator('.alarms li').filter({ hasText: 'onerror' }).innerText()")
    assert "Fault" in alarm and "What to do: repair, replace or remove" in alarm and "crl" in alarm
    assert browser("return await page.evaluate(() => document.querySelectorAll('#app img:not([src=\"icon.svg\"])').length)") == 0
    browser.look("health-alarm")
    file.unlink()
    browser("await page.locator('.alarms li').filter({ hasText: 'onerror' }).waitFor({ state: 'detached' })")


def test_people_of_a_tenant_are_told_why_they_see_nothing(served, browser):
    admin = served.login()
    assert admin("POST", "/api/v1/tenants", {"name": "acme"}).status == 201
    assert admin("POST", "/api/v1/users?tenant=acme", {"name": "anna", "password": "long enough 123", "groups": ["viewer"]}).status == 201
    browser.open("health")
    browser("""await page.getByRole('button', { name: 'Sign out' }).click(); await page.getByLabel('User name').fill('anna');
        await page.getByLabel('Password').fill('long enough 123'); await page.getByRole('button', { name: 'Sign in' }).click()""")
    wait_text(browser, "users of the first tenant have it", "[role=alert]")
