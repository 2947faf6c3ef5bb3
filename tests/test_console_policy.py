"""The console's pages for policies and people, in a real browser."""
import urllib.parse

import pytest

import apikit
import kit
from consolekit import HOSTILE, Http, browser, in_browser, wait_text  # noqa: F401

pytestmark = in_browser

POLICY = """use springcore
allow role client publish shared/#
deny role client publish shared/secret
"""
PASSWORD = "long enough 123"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    pki = kit.Pki(tmp_path_factory.mktemp("cp") / "d")
    policy = pki.dir / "site.policy"
    policy.write_text(POLICY)
    with apikit.Served(pki, "require_registration true", policy=str(policy)) as s:
        admin = s.login()
        assert admin("POST", "/api/v1/tenants", {"name": "acme"}).status == 201
        for device, tenant in (("dev1", ""), ("<img src=x onerror=alert(1)>", ""), ("\u202eevil", ""), ("pump", "?tenant=acme")):
            assert admin("POST", "/api/v1/devices" + tenant, {"id": device}).status == 201
        for name, tenant, groups in (("anna", "?tenant=acme", ["admin"]), ("vera", "", ["viewer"]), ("nemo", "", [])):
            a = admin("POST", "/api/v1/users" + tenant, {"name": name, "full_name": "<b>\u202e" + name, "password": PASSWORD, "groups": groups})
            assert a.status == 201, a
        yield s


def click(browser, name, where="page", role="button"):
    browser(f"await {where}.getByRole(args.role, {{ name: args.name, exact: true }}).first().click()", name=name, role=role)


def dialog(browser, name):
    click(browser, name, "page.locator('dialog')")
    browser("await page.locator('dialog').waitFor({ state: 'detached' })")


def ask(browser, action, topic):
    browser("""await page.getByLabel('Does what').selectOption(args.action);
        if (args.topic) await page.getByLabel(args.action === 'subscribe' ? 'Topic filter' : 'Topic', { exact: true }).fill(args.topic);
        await page.getByRole('button', { name: 'Ask' }).click()""", action=action, topic=topic)


def as_user(browser, name):
    browser("""await page.getByRole('button', { name: 'Sign out' }).click(); await page.getByLabel('User name').fill(args.name); await page.getByLabel('Password').fill(args.password);
        await page.getByRole('button', { name: 'Sign in' }).click(); await page.locator('.top').waitFor()""", name=name, password=PASSWORD)


# ---- policy ----

def test_may_a_device_do_that_and_which_rule_decides(served, browser):
    browser.open("policy")
    browser("await page.getByLabel('Id of the device').fill('dev1')")
    ask(browser, "publish", "shared/x")
    wait_text(browser, "Allowed", ".answer.yes")
    wait_text(browser, "site.policy:2", ".answer")
    ask(browser, "publish", "shared/secret")
    wait_text(browser, "a deny rule for role client matches the topic", ".answer.no")
    wait_text(browser, "site.policy:3", ".answer")
    wait_text(browser, "narrow or remove line 3", ".answer")
    ask(browser, "subscribe", "#")
    wait_text(browser, "allow role client user dev1 subscribe #", ".answer pre")
    # What would change it goes into the proposal, and its effect is shown.
    click(browser, "See what this line would change")
    assert browser("return page.getByLabel('Text of the policy').inputValue()") == POLICY + "allow role client user dev1 subscribe #\n"
    with kit.Client(served, "dev1", served.pki.device("dev1"), port=served.mqtt):
        click(browser, "Show the effect")
        wait_text(browser, "gains", ".cards-list")
        wait_text(browser, "of 1 sessions would change")
    browser.look("policy-effect")


def test_a_broken_policy_says_where(served, browser):
    browser.open("policy")
    browser("await page.getByLabel('Text of the policy').fill('use springcore\\n\\nallo everyone publish x\\n')")
    click(browser, "Show the effect")
    wait_text(browser, 'NEW:3: "allo": expected', ".trouble")
    # The line is chosen.
    assert browser("const a = page.getByLabel('Text of the policy'); return a.evaluate((x) => x.value.slice(x.selectionStart, x.selectionEnd))") == "allo everyone publish x"
    browser.look("policy-broken")
    click(browser, "Begin with what is in force")
    assert browser("return page.getByLabel('Text of the policy').inputValue()") == POLICY
    wait_text(browser, "role client: may not publish shared/secret", "[aria-label^='Rules in force']")


def test_certificates_user_names_and_hostile_names(served, browser):
    browser.open("policy")
    browser("await page.getByLabel('Who').selectOption('cn'); await page.getByLabel('Common name').fill('panel'); await page.getByLabel('Role').selectOption('watch')")
    ask(browser, "publish", "a")
    wait_text(browser, "allow role watch user panel publish a", ".answer pre")
    browser("await page.getByLabel('Who').selectOption('user'); await page.getByLabel('User name of the client').fill(args.name)", name=HOSTILE[0])
    ask(browser, "connect", "")
    wait_text(browser, HOSTILE[0], ".answer dd")
    browser("await page.getByLabel('Who').selectOption('anonymous')")
    ask(browser, "receive", "<script>alert(1)</script>")
    wait_text(browser, "no certificate", ".answer.no")
    for device in ("<img src=x onerror=alert(1)>", "\u202eevil"):
        browser.open("policy?" + urllib.parse.urlencode({"device": device, "action": "connect"}))
        browser("await page.reload()")
        wait_text(browser, "Allowed", ".answer.yes")
    assert browser("return page.locator('.answer').innerText()").count("\\u202eevil") == 2  # common name and user name
    assert browser("return page.locator('.answer img, .answer script, .answer b').count()") == 0


# ---- people ----

def row(name):
    return f"page.getByRole('row', {{ name: /{name}/ }}).first()"


def test_people_are_added_disabled_and_removed_and_the_audit_log_says_so(served, browser):
    browser.open("people")
    click(browser, "Add a user")
    browser("""await page.getByLabel('User name').fill('zoe'); await page.getByLabel('Name', { exact: true }).fill('<i>Zoe</i>\u202e');
        await page.getByLabel('Password, 10').fill(args.password); await page.getByLabel('viewer').check()""", password=PASSWORD)
    dialog(browser, "Add a user")
    browser(f"await {row('zoe')}.waitFor()")
    zoe = Http(served)
    zoe.sign_in("zoe", PASSWORD)
    click(browser, "Disable zoe")
    wait_text(browser, "signed out at once", "dialog")
    dialog(browser, "Disable")
    browser(f"await {row('zoe')}.getByText('disabled').waitFor()")
    assert zoe("GET", "/api/v1/me").status == 401
    browser.look("people")
    click(browser, "Remove zoe")
    wait_text(browser, "membership in groups (viewer)", "dialog")
    dialog(browser, "Remove")
    browser(f"await {row('zoe')}.waitFor({{ state: 'detached' }})")
    browser.open("people/audit")
    wait_text(browser, "as it was written", ".badge.good")
    browser("await page.getByLabel('What', { exact: true }).fill('deleteUser')")
    # The signer writes it down in its own time, and the page reads the log when it is asked.
    kit.wait_for(lambda: browser("await page.reload(); await page.getByLabel('What', { exact: true }).fill('deleteUser'); await page.locator('main .empty, main td').first().waitFor(); return await page.locator('main tr').filter({ hasText: 'deleteUser' }).filter({ hasText: 'zoe' }).count()"), "the record")
    browser("await page.getByLabel('Whom or what').fill('nobody-like-this'); await page.getByText('No record is like this').waitFor(); await page.getByLabel('Whom or what').fill('zoe')")
    wait_text(browser, "deleteUser", "main table")
    browser("await page.getByLabel('Until').fill('2001-01-01T00:00'); await page.getByText('No record is like this').waitFor()")
    browser.look("audit")


def test_what_a_person_may_and_a_new_password(served, browser):
    browser.open("people/users/vera")
    wait_text(browser, "operations of the API are allowed")
    browser("await page.getByLabel('Path', { exact: true }).fill('/api/v1/devices/dev1'); await page.getByLabel('Method').selectOption('DELETE'); await page.getByRole('button', { name: 'Ask' }).click()")
    wait_text(browser, "no permission fits", "[role=status]")
    browser("await page.getByLabel('Text in operation').fill('listDevices'); await page.getByText('No operation is like this').waitFor(); await page.getByLabel('Text in operation').fill('devices/{device}/dis')")
    browser("await page.getByRole('row', { name: /disconnect/ }).getByText('no', { exact: true }).waitFor()")
    browser("await page.getByLabel('Text in operation').fill('')")
    browser.look("user")
    vera = Http(served)
    vera.sign_in("vera", PASSWORD)
    click(browser, "New password")
    browser("await page.getByLabel('Password, 10').fill('another password')")
    dialog(browser, "Save")
    assert vera("GET", "/api/v1/me").status == 401
    vera.sign_in("vera", "another password")
    assert served.login()("PUT", "/api/v1/users/vera/password", {"password": PASSWORD}).status == 204


def test_groups_and_permissions_with_who_gains_and_loses(served, browser):
    browser.open("people/groups")
    click(browser, "Make a permission")
    browser("await page.getByLabel('Name', { exact: true }).fill('look'); await page.getByLabel('Path').fill('((')")
    click(browser, "Make a permission", "page.locator('dialog')")
    wait_text(browser, "is no regular expression", "dialog .trouble")
    browser("await page.getByLabel('Path').fill('/api/v1/devices/$')")
    dialog(browser, "Make a permission")
    click(browser, "Make a group")
    browser("await page.getByLabel('Name', { exact: true }).fill('lookers'); await page.getByLabel('Description').fill(args.text)", text=HOSTILE[0])
    dialog(browser, "Make a group")
    browser.look("groups")
    assert served.login()("PATCH", "/api/v1/users/nemo", {"groups": ["lookers"]}).status == 200
    click(browser, "lookers", role="link")
    click(browser, "Give a permission")
    browser("await page.locator('dialog select').selectOption('look')")
    click(browser, "Who would gain or lose what?")
    browser("await page.locator('dialog .effect').getByText('gains 1', { exact: true }).waitFor()")
    dialog(browser, "Give a permission")
    nemo = served.login("nemo", PASSWORD)
    assert nemo("GET", "/api/v1/devices").status == 200
    click(browser, "Remove", "page.locator('main')")
    click(browser, "Who would gain or lose what?")
    browser("await page.locator('dialog .effect').getByText('loses 1', { exact: true }).waitFor()")
    wait_text(browser, "nemo", "dialog .effect")
    dialog(browser, "Remove")
    browser("await page.getByRole('heading', { name: 'Groups', exact: true }).waitFor()")
    assert nemo("GET", "/api/v1/devices").status in (401, 403)
    # The groups of a person, likewise; the last administrator stays.
    browser.open("people/users/admin")
    click(browser, "Change groups")
    browser("await page.locator('dialog').getByLabel('admin').uncheck()")
    click(browser, "Who would gain or lose what?")
    wait_text(browser, "make another administrator", "dialog .trouble")
    click(browser, "Cancel")


def changing(browser, served, place, button, path, change, field, mine):
    """Two people change the same at once: who comes second is told, overwrites nothing, and may look again."""
    browser("await page.goto('/console/#/' + args.place)", place=place)
    browser(f"await {button}.click(); await page.locator('dialog').getByLabel(args.field, {{ exact: true }}).fill(args.mine)", field=field, mine=mine)
    admin = served.login()
    assert admin("PATCH", path, change).status == 200
    browser("await page.locator('dialog footer button').last().click()")
    wait_text(browser, "Somebody else has changed this", "dialog .trouble")
    now = admin("GET", path).json
    assert {k: now[k] for k in change} == change
    browser("await page.getByRole('button', { name: 'Show it as it is now' }).click()")
    kit.wait_for(lambda: browser("return await page.locator('dialog').getByLabel(args.field, { exact: true }).inputValue()", field=field) == next(iter(change.values())), "what is there now")
    browser("await page.locator('dialog').getByLabel(args.field, { exact: true }).fill(args.mine); await page.locator('dialog footer button').last().click();"
            "await page.locator('dialog').waitFor({ state: 'detached' })", field=field, mine=mine)
    assert mine in admin("GET", path).json.values()


def test_two_people_who_change_the_same_overwrite_nothing(served, browser):
    admin = served.login()
    browser.open("people")
    assert admin("POST", "/api/v1/groups", {"name": "both", "description": "before"}).status == 201
    assert admin("POST", "/api/v1/permissions", {"name": "both", "path": "/api/v1/me", "method": "GET", "effect": "permit"}).status == 201
    assert admin("GET", "/api/v1/groups/none").status == admin("GET", "/api/v1/permissions/none").status == 404
    made = admin("POST", "/api/v1/templates", {"label": "Both", "attributes": []})
    assert made.status == 201
    template = f"/api/v1/templates/{made.json['id']}"
    edit, change = "page.getByRole('main').getByRole('button', { name: 'Edit', exact: true })", "page.getByRole('button', { name: 'Change' })"
    changing(browser, served, "people/groups/both", edit, "/api/v1/groups/both", {"description": "theirs"}, "Description", "mine")
    changing(browser, served, "people/groups", "page.getByRole('button', { name: 'Edit both' })", "/api/v1/permissions/both", {"path": "/api/v1/x"}, "Path", "/api/v1/y")
    changing(browser, served, "devices/dev1", edit, "/api/v1/devices/dev1", {"label": "theirs"}, "Label", "mine")
    changing(browser, served, "templates", change, template, {"label": "Theirs"}, "Label", "Mine")


def test_tenants_and_acting_in_one(served, browser):
    browser.open("people/tenants")
    click(browser, "Make a tenant")
    browser("await page.getByLabel('Name', { exact: true }).fill('empty')")
    dialog(browser, "Make a tenant")
    click(browser, "Disable empty")
    wait_text(browser, "Nobody of tenant empty can sign in any more: 0 users", "dialog")
    dialog(browser, "Disable")
    browser.look("tenants")
    click(browser, "Remove empty")
    dialog(browser, "Remove")
    browser(f"await {row('empty')}.waitFor({{ state: 'detached' }})")
    assert browser("return page.getByRole('button', { name: 'Remove acme' }).isDisabled()")
    click(browser, "Act in acme")
    wait_text(browser, "Acting in acme", ".top")
    click(browser, "Devices", role="link")
    wait_text(browser, "pump", "main table")
    assert browser("return page.getByText('dev1').count()") == 0
    click(browser, "People", role="link")
    wait_text(browser, "anna", "main table")
    browser.look("acting")
    # Of the messages, too, those of that tenant.
    click(browser, "Live messages", role="link")
    wait_text(browser, "What is of tenant acme alone")
    wait_text(browser, "Live", "[role=status]")
    with kit.Client(served, "controller", served.pki.files("controller"), port=served.mqtt) as c:
        for topic in ("springcard/springcore/dev1/x", "springcard/springcore/acme:pump/x", "/acmes/pump/x", "/acme/pump/x"):
            c.publish(topic, "said", qos=1)
    wait_text(browser, "/acme/pump/x", "table")
    shown = browser("return await page.locator('table .leaf').allInnerTexts()")
    assert sorted(shown) == ["/acme/pump/x", "springcard/springcore/acme:pump/x"], shown
    click(browser, "End")
    click(browser, "People", role="link")
    browser(f"await {row('vera')}.waitFor()")


def test_who_has_fewer_rights_sees_less_and_is_told_why(served, browser):
    browser.open("people")
    as_user(browser, "anna")
    browser.open("people")
    wait_text(browser, "anna", "main table")
    assert browser("return page.getByRole('link', { name: 'Tenants' }).count()") == 0
    browser.open("policy")
    browser("await page.getByLabel('Id of the device').fill('pump')")
    ask(browser, "publish", "springcard/springcore/acme:pump/x")
    wait_text(browser, "Allowed", ".answer.yes")
    ask(browser, "publish", "shared/x")
    wait_text(browser, "not one of tenant acme", ".trouble")
    assert browser("return page.getByText('Rules in force').count()") == 0
    as_user(browser, "nemo")
    browser.open("policy")
    wait_text(browser, "may not GET", ".trouble")
    browser.open("people")
    wait_text(browser, "may not GET", ".trouble")
    browser.look("people-unprivileged")
    browser("await page.getByRole('button', { name: 'Sign out' }).click(); await page.getByLabel('User name').waitFor()")
