"""The console's pages about devices, certificates and messages in a real browser, with real devices."""
import csv
import datetime
import io
import json
import re
import zipfile

import apikit
import certs
import kit
import pytest
from consolekit import HOSTILE, Http, browser, in_browser, wait_text  # noqa: F401

pytestmark = in_browser

CLOCKS = """if (!globalThis.realInterval) { globalThis.realInterval = globalThis.setInterval;
    globalThis.setInterval = (f, ms, ...rest) => ms >= 10000 ? 0 : globalThis.realInterval(f, ms, ...rest); }"""


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    return certs.Ca(tmp_path_factory.mktemp("factory") / "ca", "Acme Factory CA")


@pytest.fixture(scope="module")
def served(tmp_path_factory, factory):
    """With a factory whose devices come by themselves, and an older CA whose certificates give way to those of `client`."""
    pki = kit.Pki(tmp_path_factory.mktemp("fleet") / "site")
    conf = pki.dir / "signet.conf"
    conf.write_text(conf.read_text().replace("require_certificate true\n", "require_certificate true\nrequire_registration true\nquarantine unregistered\n")
                    + "actuate_topic springcard/springcore/%u/config\ntoken_lifetime 86400\nstatus_interval 1\n")
    kit.signet("ca", "trust", "--dir", pki.dir, "--role", "factory", "--name", "acme", factory.file)
    old = certs.Ca(tmp_path_factory.mktemp("old") / "ca", "Client CA of before")
    kit.signet("ca", "adopt", "--dir", pki.dir, "--name", "before", "--role", "client", "--key", old.key.path, "--cert", old.file, "--no-passphrase")
    with apikit.Served(pki) as s:
        yield s


@pytest.fixture(scope="module")
def admin(served):
    """A connection for each request: one that lies idle while the browser works would be ended."""
    token = served.login().token

    def ask(*words, **more):
        client = served.client(token)
        try:
            return client(*words, **more)
        finally:
            client.close()

    return ask


@pytest.fixture(scope="module")
def page(browser):  # noqa: F811
    """The browser, whose pages do not ask again by themselves: what changes on them has been told by an event."""
    browser("await tools.context.addInitScript(args.script)", script=CLOCKS)
    return browser


def click(page, name, where="body", role="button"):
    page("await page.locator(args.where).getByRole(args.role, { name: args.name, exact: true }).first().click()", where=where, role=role, name=name)


def see(page, text, where="main"):
    wait_text(page, text, where)


def fill(page, label, text, where="body"):
    page("await page.locator(args.where).getByLabel(args.label, { exact: true }).fill(args.text)", where=where, label=label, text=text)


def closed(page):
    page("await page.locator('dialog').waitFor({ state: 'detached' })")


def focused(page):
    """What the focus is on: label|text|name."""
    return page("""return await page.evaluate(() => { const e = document.activeElement;
        return `${e.ariaLabel ?? ''}|${['BUTTON', 'A', 'SUMMARY'].includes(e.tagName) ? e.textContent : ''}|${e.name ?? e.id}`; })""")


def tab_to(page, wanted, most=80):
    """The keyboard alone, until what has the focus is what is wanted."""
    for _ in range(most):
        if re.search(wanted, focused(page)):
            return
        page("await page.keyboard.press('Tab')")
    raise AssertionError(f"{wanted} is not reached by Tab; {focused(page)} is")


def press(page, *keys):
    for key in keys:
        page("await page.keyboard.press(args.key)", key=key)


def write(page, text):
    page("await page.keyboard.type(args.text)", text=text)


def connect(served, name, files, expiry=None):
    more = {"connect_properties": kit.connect_properties(SessionExpiryInterval=expiry)} if expiry else {}
    return kit.Client(served, name, files, port=served.mqtt, version=kit.V5, **more)


def device(served, admin, name, **more):
    """Registered, with a certificate of the installation; its files."""
    assert admin("POST", "/api/v1/devices", {"id": name, **more}).status == 201
    return served.pki.device(name)


@pytest.fixture(scope="module")
def gate(served):
    """What gate-1 connects with; in the place of what it was given in the browser."""
    kit.signet("device", "add", "gate-1", "--dir", served.dir, "--reissue")
    return {"cert": served.dir / "clients/gate-1/cert.pem", "key": served.dir / "clients/gate-1/key.pem", "ca": served.dir / "pki/ca.pem"}


# ---- templates ----

def test_a_template_is_made_changed_and_removed_by_the_keyboard_alone(page, admin):
    page.open("templates")
    see(page, "No template yet")
    tab_to(page, "Add a template")
    press(page, "Enter")
    tab_to(page, r"\|label$")
    write(page, "Door <b>2</b>")
    tab_to(page, "Another attribute")
    press(page, "Enter", "Enter")
    page("await page.locator('.attribute').nth(1).waitFor()")
    for n, (name, kind, value_type) in enumerate((("lock", "a", "bool"), ("maker", "s", "string"))):
        page("await page.locator('.attribute').nth(args.n).getByLabel('Name').focus()", n=n)
        write(page, name)
        press(page, "Tab")
        page("await page.keyboard.press(args.key)", key={"a": "t", "s": "t"}[kind])  # "told to the device", "the same for all"
        if kind == "s":
            press(page, "ArrowDown")
        press(page, "Tab", "ControlOrMeta+a")
        write(page, value_type)
        if kind == "s":
            press(page, "Tab")
            write(page, "Acme")
    page.look("template-edit")
    tab_to(page, "Save template")
    press(page, "Enter")
    closed(page)
    see(page, "Door <b>2</b>", "table")
    made = admin("GET", "/api/v1/templates").json["items"][0]
    assert [(a["label"], a["type"], a["value_type"], a.get("static_value")) for a in made["attributes"]] == [("lock", "actuator", "bool", None), ("maker", "static", "string", "Acme")]
    page.look("templates")
    click(page, "Change")
    fill(page, "Label", "Door", "dialog")
    click(page, "Another attribute", "dialog")
    page("""const a = page.locator('.attribute').nth(2); await a.getByLabel('Name').fill('level'); await a.getByLabel('What it is').selectOption('actuator');
            await a.getByLabel('Kind of value').fill('integer')""")
    click(page, "Take attribute 2 out", "dialog")
    click(page, "Save template", "dialog")
    closed(page)
    assert [a["label"] for a in admin("GET", "/api/v1/templates").json["items"][0]["attributes"]] == ["lock", "level"]
    # One that devices have stays.
    click(page, "Add a template")
    fill(page, "Label", "Spare", "dialog")
    click(page, "Save template", "dialog")
    closed(page)
    page("await page.getByRole('row', { name: /Spare/ }).getByRole('button', { name: 'Remove' }).click()")
    click(page, "Remove", "dialog")
    closed(page)
    page("await page.getByRole('row', { name: /Spare/ }).waitFor({ state: 'detached' })")


# ---- one device ----

def test_a_device_is_added_with_a_template_and_a_bundle(served, page, admin, tmp_path):
    page.open("devices")
    see(page, "No device yet")
    click(page, "Add a device")
    fill(page, "Id", "gate-1", "dialog")
    page("await page.locator('dialog').getByLabel('Door').check()")
    click(page, "Add a device", "dialog")
    see(page, "The device is there", "dialog")
    fill(page, "Days (else as many as may be)", "9", "dialog")
    click(page, "Make a bundle", "dialog")
    see(page, "The link is good once", "dialog")
    page.look("bundle")
    link = page("return await page.locator('dialog pre[aria-label^=Link]').innerText()")
    page("""const [file] = await Promise.all([page.waitForEvent('download'), page.locator('dialog').getByRole('link', { name: /^Download/ }).click()]);
            await file.saveAs(args.path)""", path=str(tmp_path / "gate.zip"))
    assert Http(served)("GET", "/" + link.split("/", 3)[3]).status == 404
    with zipfile.ZipFile(tmp_path / "gate.zip") as z:
        names = {name.split("/")[-1]: name for name in z.namelist()}
        assert {"README.txt", "device.p12", "device.h"} <= set(names)
        for name, inside in names.items():
            (tmp_path / name).write_bytes(z.read(inside))
    press(page, "Escape")
    page("await page.getByRole('heading', { name: 'gate-1' }).waitFor()")
    see(page, "Door", ".badge")
    until = admin("GET", "/api/v1/certificates?device=gate-1").json["items"][0]["not_after"]
    assert 7 <= (datetime.datetime.fromisoformat(until[:-1] + "+00:00") - datetime.datetime.now(datetime.timezone.utc)).days <= 9
    keys = [p for p in tmp_path.glob("*.pem")]
    assert any("PRIVATE KEY" in p.read_text() for p in keys), names


def test_each_form_of_a_bundle_is_offered(page, tmp_path):
    page.open("devices/gate-1")
    for form, begins in (("pkcs12", b"0\x82"), ("header", b"/*"), ("springcore", b"{")):
        page("await page.getByLabel('Form').selectOption(args.form)", form=form)
        if form == "springcore":
            page("await page.locator('form:has([name=format])').getByLabel('Topic prefix').fill('acme/readers')")
        click(page, "Make a bundle")
        see(page, "The link is good once")
        if form == "pkcs12":
            see(page, "Its password, shown once")
        page("""const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: /^Download/ }).click()]);
                await file.saveAs(args.path)""", path=str(tmp_path / form))
        assert (tmp_path / form).read_bytes().startswith(begins), form
        click(page, "Another one")
    config = json.loads((tmp_path / "springcore").read_text())
    assert b"acme/readers".hex() in json.dumps(config).lower()


def test_a_device_is_told_things_and_its_page_follows_it(served, page, gate):
    page.open("devices/gate-1")
    see(page, "No session at the broker")
    # Nothing on this page asks again by itself: it is told.
    with connect(served, "gate-1", gate, expiry=3600) as c:
        assert c.subscribe("springcard/springcore/gate-1/#", "springcard/springcore/gate-1/extra", qos=1) == [1, 1]
        see(page, "online", "dl .badge")
        page("await page.reload()")
        see(page, "springcard/springcore/gate-1/#", ".card .names")
        see(page, "springcard/springcore/gate-1/extra", ".card .names")
        page("await page.getByRole('main').getByText('Live', { exact: true }).waitFor()")
        page("await page.getByLabel(/^lock/).selectOption('true'); await page.getByLabel(/^level/).fill('7')")
        click(page, "Actuate")
        see(page, "the device is there")
        heard = c.message("springcard/springcore/gate-1/config")
        assert json.loads(heard.payload) == {"lock": True, "level": 7}
        page("""const form = page.locator('.reader'); await form.locator('[name=Buzzer]').fill('300'); await form.locator('[name=Leds]').fill('00ff0000');
                await form.locator('[name=Relay]').selectOption('time'); await form.getByLabel('Milliseconds').fill('1500')""")
        click(page, "Command the reader")
        see(page, "Sent.")
        assert json.loads(c.message("springcard/springcore/gate-1/rdr/cmd").payload) == {"Buzzer": 300, "Leds": "00FF0000", "Relay": 1500}
        page("await page.locator('textarea[name=payload]').fill('$SC-TEXT')")
        click(page, "Send")
        c.message("springcard/springcore/gate-1/rdr/cmd", "$SC-TEXT")
        c.publish("springcard/springcore/gate-1/rdr/evt", '{"Interface":"13.56","Protocol":"NFC-A","TagId":"262BA1B0","Odd":"kept"}', qos=1)
        see(page, "262BA1B0 · NFC-A · 13.56", ".messages")
        click(page, "springcard/springcore/gate-1/rdr/evt", ".messages")
        see(page, '"kept"', ".detail .json")
        c.publish("springcard/springcore/gate-1/status", '{"State":"online,<i>busy</i>"}', qos=1)
        see(page, "online,<i>busy</i>", "dl")
        page.look("device-page")
    # Away: what it is told waits, and the page says how much.
    see(page, "offline", "dl .badge")
    page("await page.reload(); await page.getByLabel(/^lock/).selectOption('false')")
    click(page, "Actuate")
    see(page, "It waits in its session")
    page("await page.reload()")
    see(page, "1 waiting")


def test_certificates_of_a_device_are_renewed_held_and_revoked(served, page, admin, tmp_path):
    device(served, admin, "gate-2")
    kit.wait_for(lambda: admin("GET", "/api/v1/certificates?device=gate-2").json["items"], "the certificate to be known")
    page.open("devices/gate-2")
    click(page, "Renew", "table")
    click(page, "Renew", "dialog")
    closed(page)
    files = {name: page.saved(f"Save {name}.pem", tmp_path / f"{name}.pem") for name in ("key", "cert", "ca")}
    see(page, "superseded", "table")
    with connect(served, "gate-2", files) as c:
        page("await page.getByRole('row', { name: /active/ }).getByRole('button', { name: 'Hold' }).click()")
        see(page, "on hold", "table")
        c.wait_closed()
    page("await page.getByRole('row', { name: /on hold/ }).getByRole('button', { name: 'Release' }).click()")
    page("await page.getByRole('row', { name: /active/ }).getByRole('button', { name: 'Revoke' }).click()")
    page("await page.locator('dialog').getByLabel('Reason').selectOption('keyCompromise')")
    click(page, "Revoke", "dialog")
    closed(page)
    see(page, "keyCompromise", "table")
    assert {c["state"] for c in admin("GET", "/api/v1/certificates?device=gate-2").json["items"]} == {"revoked", "superseded"}


# ---- many devices ----

def test_a_file_of_devices_is_added_row_by_row(page, admin, tmp_path):
    rows = [["id", "label", "template"], ["bulk-0000", "Door 1, north\nsecond line", ""], ["gate-1", "is there already", ""], ["", "no id", ""],
            ["a/b", "no id of a device", ""], ["bulk-0000", "twice", ""], ["bulk-0001", "which one", "Nothing"], ["bulk-0002", "<script>alert(1)</script>", "Door"],
            *([f"bulk-{i:04}", f"Reader {i}", ""] for i in range(3, 240))]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    (tmp_path / "fleet.csv").write_text(out.getvalue())
    (tmp_path / "wrong.csv").write_text("name,label\nx,y\n")
    page.open("devices")
    click(page, "Add from a file")
    page("await page.getByLabel('CSV file').setInputFiles(args.path)", path=str(tmp_path / "wrong.csv"))
    see(page, "names no column id", "dialog")
    page("await page.getByLabel('CSV file').setInputFiles(args.path)", path=str(tmp_path / "fleet.csv"))
    see(page, "there is no template Nothing", "dialog")
    page("await page.locator('dialog').getByRole('button', { name: /^Add \\d+ devices/ }).click()")
    see(page, "Done: 238 of 244 added, 6 with a fault", "dialog")
    page.look("many")
    done = {r["id"]: r["result"] for r in csv.DictReader(io.StringIO(page.saved("Save what came of each line", tmp_path / "result.csv").read_text()))}
    assert done["bulk-0239"] == "added" and "there" in done["gate-1"] and done["a/b"] != "added" and done["bulk-0001"] != "added"
    press(page, "Escape")
    closed(page)
    made = admin("GET", "/api/v1/devices/bulk-0002").json
    assert made["label"] == "<script>alert(1)</script>" and len(made["templates"]) == 1
    assert admin("GET", "/api/v1/devices/bulk-0000").status == 404  # a label is one line


def test_a_long_list_is_searched_and_paged_and_the_search_stays(page):
    page.open("devices")
    see(page, "bulk-0002", "table")
    fill(page, "Id begins with", "bulk-")
    page("await page.getByRole('link', { name: 'gate-1' }).waitFor({ state: 'detached' }); await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 50)")
    click(page, "Next")
    see(page, "bulk-0052", "table")
    see(page, "Page 2")
    click(page, "Back")
    see(page, "bulk-0003", "table")
    page("await page.getByLabel('Template').selectOption({ label: 'Door' })")
    page("await page.getByRole('link', { name: 'bulk-0003' }).waitFor({ state: 'detached' })")
    see(page, "bulk-0002", "table")
    assert page("return await page.locator('tbody tr').count()") == 1
    page.look("devices-searched")
    click(page, "bulk-0002", "table", "link")
    page("await page.getByRole('heading', { name: 'bulk-0002' }).waitFor(); await page.goBack()")
    see(page, "bulk-0002", "table")
    assert page("return await page.getByLabel('Id begins with').inputValue()") == "bulk-"
    fill(page, "Id begins with", "bulk-nothing")
    see(page, "No device is like this")


def test_devices_are_found_by_their_certificate(served, page, admin):
    """Each by what it has; what changes is told."""
    device(served, admin, "gate-3")
    kit.wait_for(lambda: admin("GET", "/api/v1/certificates?device=gate-3").json["items"], "the certificate to be known")
    one = admin("GET", "/api/v1/certificates?device=gate-3").json["items"][0]
    path = f"/api/v1/certificates/{one['ca']}/{one['serial']}"
    page.open("devices?prefix=gate-3")
    page("await page.getByRole('row', { name: /gate-3/ }).getByText('valid').waitFor()")
    assert admin("POST", path + "/hold").status in (200, 204)
    page("await page.getByRole('row', { name: /gate-3/ }).getByText('on hold').waitFor()")
    choose = "await page.locator('[role=search]').getByLabel(/^Certificate/).selectOption(args.state); await page.locator('main .empty, main td').getByText(args.seen).first().waitFor()"
    for state, seen in (("none", "No device is like this"), ("hold", "on hold"), ("expiring", "No device is like this"), ("revoked", "No device is like this")):
        page(choose, state=state, seen=seen)
    assert admin("POST", path + "/revoke", {"reason": "keyCompromise"}).status in (200, 204)
    page("await page.getByRole('row', { name: /gate-3/ }).getByText('revoked').waitFor()")
    assert admin("POST", "/api/v1/devices", {"id": "bare-1"}).status == 201
    fill(page, "Id begins with", "bare-")
    page(choose, state="none", seen="bare-1")
    # What ends in a month is in the order of its end.
    fill(page, "Id begins with", "")
    assert admin("POST", "/api/v1/devices", {"id": "soon"}).status == 201
    kit.signet("device", "add", "soon", "--dir", served.dir, "--days", "5")
    page(choose, state="expiring", seen="ends soon")
    assert page("return await page.getByLabel(/^In the order/).inputValue()") == "expiry"
    assert admin("DELETE", "/api/v1/devices/soon").status == 204


def test_whose_status_messages_stop_is_seen(served, page, admin):
    files = device(served, admin, "hangs-1")
    page.open("devices?prefix=hangs-")
    see(page, "hangs-1", "table")
    with kit.comes(served, "hangs-1", files, port=served.mqtt, version=kit.V5) as c:
        c.publish(f"{kit.PREFIX}/hangs-1/status", '{"State":"online,ready"}', qos=1, retain=True)
        page("await page.getByRole('row', { name: /hangs-1/ }).getByText('stale', { exact: true }).waitFor()")
        page("await page.locator('[role=search]').getByLabel('Presence').selectOption({ label: 'stale' })")
        see(page, "hangs-1", "table")
        page.look("stale")
        click(page, "hangs-1", "table", "link")
        see(page, "It has missed two status messages", "dl")
    assert admin("DELETE", "/api/v1/devices/hangs-1").status == 204


def test_who_comes_and_goes_is_seen_at_once(served, page, admin, gate):
    page.open("devices?online=true")
    see(page, "No device is like this")
    with connect(served, "gate-1", gate):
        see(page, "gate-1", "table")
    see(page, "No device is like this")
    # One that is made elsewhere.
    page.open("devices?prefix=new-")
    see(page, "No device is like this")
    assert admin("POST", "/api/v1/devices", {"id": "new-1", "label": HOSTILE[1]}).status == 201
    see(page, HOSTILE[1], "table")


# ---- approval ----

def test_who_waits_is_approved_and_rejected_many_at_once(served, page, admin, factory):
    page.open("pending")
    see(page, "Nobody waits")
    names = ["press-1", "press-2", "<img src=x onerror=alert(1)>", "\u202eevil\u202c"]
    clients = [connect(served, n, {**factory.leaf(certs.common_name(n)), "ca": served.dir / "pki/ca.pem"}) for n in names]
    try:
        for shown in ("press-1", "press-2", "<img src=x", "\\u202eevil"):
            see(page, shown, "table")
        page("await page.locator('.tabs').getByText('4', { exact: true }).waitFor()")
        page.look("pending")
        # By the keyboard: all on this page, but one.
        tab_to(page, "Choose all on this page")
        press(page, "Space")
        see(page, "4 of 4 chosen")
        page("await page.getByLabel('Choose press-2').uncheck()")
        tab_to(page, r"^\|Reject")
        press(page, "Enter")
        see(page, "3 chosen: they are disabled and stay out.", "dialog")
        click(page, "Reject", "dialog")
        closed(page)
        page("await page.getByRole('link', { name: 'press-1' }).waitFor({ state: 'detached' })")
        page("await page.getByLabel('Choose press-2').check()")
        click(page, "Approve")
        page("await page.locator('dialog').getByLabel('Door').check()")
        click(page, "Approve", "dialog")
        closed(page)
        see(page, "Nobody waits")
        states = {d["id"]: d["state"] for d in admin("GET", "/api/v1/devices?limit=1000").json["items"]}
        assert [states[n] for n in names] == ["disabled", "enabled", "disabled", "disabled"]
        assert admin("GET", "/api/v1/devices/press-2").json["templates"]
        # Their certificates are not ours to revoke.
        page.open("devices/press-2")
        see(page, "Its CA is not ours", "table")
        assert page("return await page.locator('table').getByRole('button').allInnerTexts()") == ["Save"]
    finally:
        for c in clients:
            c.close()
    # In quarantine by a person, and out of it again.
    page.open("devices/press-2")
    click(page, "Quarantine")
    click(page, "Quarantine", "dialog")
    see(page, "quarantined", "h1")
    page.open("pending")
    see(page, "press-2", "table")
    page("await page.getByLabel('Choose press-2').check()")
    click(page, "Approve")
    click(page, "Approve", "dialog")
    closed(page)
    kit.wait_for(lambda: admin("GET", "/api/v1/devices/press-2").json["state"] == "enabled", "the state")


# ---- certificates ----

def test_the_way_from_one_ca_to_the_next_and_when_certificates_end(served, page, admin):
    for name in ("old-1", "old-2"):
        assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
        kit.signet("ca", "issue", "--dir", served.dir, "--ca", "before", name)
    kit.wait_for(lambda: admin("GET", "/api/v1/cas/before").json["active"] == 2, "control to know them")
    page.open("certificates")
    for name in ("root", "client", "before", "factory-acme"):
        page("await page.locator('.tree').getByText(args.name, { exact: true }).first().waitFor()", name=name)
    see(page, "2 of the old one remain; the last ends")
    total = admin("GET", "/api/v1/certificates/expiry").json["total"]
    see(page, f"Active certificates: {total}", ".bars")
    kit.wait_for(lambda: page("return await page.locator('.histogram rect:not(.hit)').count()") == 53, "the bars")
    page("await page.getByLabel('Look ahead').selectOption('quarters')")
    kit.wait_for(lambda: page("return await page.locator('.histogram rect:not(.hit)').count()") == 40, "the other scale")
    page.look("certificates-rollover")
    click(page, "Show those that remain")
    page("await page.getByRole('row', { name: /old-1/ }).waitFor()")
    kit.wait_for(lambda: page("return await page.locator('#all-certificates ~ div tbody tr').count()") == 2, "those two alone")
    # What is revoked is found, too.
    page("await page.locator('form[role=search]').getByLabel('CA').selectOption(''); await page.locator('form[role=search]').getByLabel('State').selectOption('revoked')")
    see(page, "keyCompromise", "table")
    before = admin("GET", "/api/v1/cas/watch").json["list"]
    click(page, "Make a new list", ".tree li li .ca:has-text('watch')")
    kit.wait_for(lambda: admin("GET", "/api/v1/cas/watch").json["list"] != before, "the list")
    see(page, "valid", ".tree li li .ca:has-text('watch')")
    click(page, "Approvals", role="link")
    see(page, "Nobody waits")


# ---- live messages ----

def test_messages_of_one_device_are_told_from_all_others(served, page, gate, tmp_path):
    page.open("live")
    page("await page.reload(); await page.getByRole('main').getByText('Live', { exact: true }).waitFor()")
    fill(page, "Device: id or publisher", "gate-1")
    with kit.Client(served, "controller", served.pki.files("controller"), version=kit.V5, port=served.mqtt) as c:
        with connect(served, "gate-1", gate) as device_:
            c.publish("springcard/springcore/gate-11/rdr/evt", "another one", qos=1)
            device_.publish("springcard/springcore/gate-1/rdr/evt", json.dumps({"deep": {"in": {"side": ["here"]}}}), qos=1)
            device_.publish("springcard/springcore/gate-1/status", '{"State":"offline,dead"}', qos=1)
            c.publish("elsewhere/gate-1", "$SCRDR text", qos=1)
    see(page, "$SCRDR text", "table")
    see(page, "offline,dead", "table .what")
    assert page("return await page.locator('table').getByText('another one').count()") == 0
    click(page, "springcard/springcore/gate-1/rdr/evt", "table")
    # The tree of its JSON by the keyboard: what lies deep is folded at first.
    page("await page.getByRole('button', { name: 'Unfold in' }).focus()")
    assert page("return await page.locator('.json').getByText('here').count()") == 0
    press(page, "Enter")
    page("await page.getByRole('button', { name: 'Unfold side' }).focus()")
    press(page, "Space")
    see(page, '"here"', ".json")
    press(page, "Space")
    page("await page.locator('.json').getByText('\"here\"').waitFor({ state: 'detached' })")
    said = [json.loads(x) for x in page.saved("Save as file", tmp_path / "messages.ndjson").read_text().splitlines()]
    assert [m["topic"] for m in said][-1] == "elsewhere/gate-1" and said[-1]["payload"] == "$SCRDR text"


def test_people_of_a_tenant_have_the_same_pages(served, page, admin):
    assert admin("POST", "/api/v1/tenants", {"name": "acme"}).status == 201
    for name, groups in (("anna", ["admin"]),):
        assert admin("POST", "/api/v1/users?tenant=acme", {"name": name, "password": "long enough 123", "groups": groups}).status == 201
    assert admin("POST", "/api/v1/devices?tenant=acme", {"id": "theirs"}).status == 201
    page("""await page.getByRole('button', { name: 'Sign out' }).click(); await page.getByLabel('User name').fill('anna');
            await page.getByLabel('Password').fill('long enough 123'); await page.getByRole('button', { name: 'Sign in' }).click(); await page.locator('.top').waitFor();
            await page.goto('/console/#/live')""")
    page("await page.getByRole('main').getByText('Live', { exact: true }).waitFor()")
    assert page("return await page.getByLabel('Topic filter').inputValue()") == "/acme/#"
    page("await page.goto('/console/#/devices/theirs'); await page.getByRole('heading', { name: 'theirs' }).waitFor()")
    see(page, "acme:theirs", "dl")
    assert page("return await page.getByRole('heading', { name: 'SpringCore reader' }).count()") == 0
    page("await page.goto('/console/#/pending')")
    see(page, "Nobody waits")
    page("await page.getByRole('button', { name: 'Sign out' }).click(); await page.getByLabel('User name').waitFor()")
