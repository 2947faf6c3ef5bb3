"""Who may do what with messages, by the policies that the broker has in force; and what people may do by the API."""

import urllib.parse

import apikit
import kit
import pytest
import wire

POLICY = """define prefix springcard/springcore
use springcore
allow role client publish /acme/%u/#
allow role client publish shared/#
deny role client publish shared/secret
connect user ann
allow user ann publish notes/#
"""
TOPIC = kit.PREFIX


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    pki = kit.Pki(tmp_path_factory.mktemp("p") / "d")
    policy = pki.dir / "site.policy"
    policy.write_text(POLICY)
    with apikit.Served(pki, "require_registration true", policy=str(policy)) as s:
        s.policy = policy
        admin = s.admin = s.login()
        for device in ("one", "two", "away"):
            assert admin("POST", "/api/v1/devices", {"id": device}).status == 201
        assert admin("POST", "/api/v1/tenants", {"name": "acme"}).status == 201
        for name, tenant, groups in (("anna", "acme", ["admin"]), ("vera", None, ["viewer"]), ("nemo", None, [])):
            a = admin("POST", "/api/v1/users" + (f"?tenant={tenant}" if tenant else ""), {"name": name, "password": "long enough 123", "groups": groups})
            assert a.status == 201, a
        assert admin("POST", "/api/v1/devices?tenant=acme", {"id": "pump"}).status == 201
        yield s


@pytest.fixture(scope="module")
def document(served):
    return served.admin("GET", "/api/v1/openapi.json").json


def conforms(document, path, method, answer):
    assert answer.status == 200, answer
    apikit.conforms(document, document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"], answer.json)
    return answer.json


def question(**q):
    return "/api/v1/policy/explain?" + urllib.parse.urlencode(q)


@pytest.fixture(scope="module")
def explain(served, document):
    return lambda who=None, **q: conforms(document, "/api/v1/policy/explain", "get", (who or served.admin)("GET", question(**q)))


def test_a_device_is_judged_by_its_session_or_as_it_would_come(served, explain):
    said = explain(device="one", action="publish", topic=f"{TOPIC}/one/x")
    assert said["allowed"] and not said["session"] and said["cn"] == "one" and said["role"] == "client" and said["state"] == "enabled"
    assert said["source"] == "springcore" and said["line"] > 0 and "role client: may publish" in said["rule"] and said["listener"] == str(served.mqtt)
    with wire.Peer(served.mqtt, "one", 5, files=served.pki.device("one")):
        said = explain(device="one", action="publish", topic="shared/x")
        assert said["allowed"] and said["session"] and said["connected"]
        assert (said["source"], said["line"]) == (str(served.policy), 4)
        said = explain(device="one", action="publish", topic="shared/secret")
        assert not said["allowed"] and said["line"] == 5 and "deny rule" in said["why"] and "line 5" in said["remedy"] and said["fix"] is None
    said = explain(device="one", action="subscribe", topic="#")
    assert not said["allowed"] and said["fix"] == "allow role client user one subscribe #" and str(served.policy) in said["remedy"]
    assert explain(device="one", action="connect")["allowed"]
    assert not explain(device="one", action="connect", client_id="other")["allowed"]
    assert served.admin("GET", question(device="nobody", action="connect")).status == 404


def test_certificates_and_user_names(served, explain):
    assert explain(cn="panel", role="watch", action="subscribe", topic="#")["allowed"]
    said = explain(cn="panel", role="watch", action="publish", topic="a")
    assert not said["allowed"] and said["fix"] == "allow role watch user panel publish a"
    assert "cloud" in explain(cn="x", role="cloud", action="connect")["why"]
    said = explain(user="ann", action="publish", topic="notes/1")
    assert said["allowed"] and said["user"] == "ann" and said["line"] == 7
    assert explain(user="bob", action="publish", topic="notes/1")["fix"] == "connect user bob"
    assert not explain(action="publish", topic="notes/1")["allowed"]
    hostile = "<b>\u202e\" "
    said = explain(cn=hostile, role="client", action="publish", topic="a/<script>")
    assert not said["allowed"] and said["cn"] == hostile


@pytest.mark.parametrize("q, where", [
    ({"action": "publish", "device": "one"}, "/topic"),
    ({"action": "publish", "device": "one", "topic": "a/#"}, "/topic"),
    ({"action": "subscribe", "device": "one", "topic": "a/#/b"}, "/topic"),
    ({"action": "publish", "device": "one", "cn": "x", "topic": "a"}, "/device"),
    ({"action": "publish", "role": "client", "topic": "a"}, "/cn"),
    ({"action": "fly", "device": "one", "topic": "a"}, "action"),
    ({"action": "publish", "cn": "one", "topic": "a", "listener": "7"}, ""),
])
def test_questions_that_are_none(served, q, where):
    answer = served.admin("GET", question(**q))
    assert answer.status == 400 and where in answer.json["errors"][0]["pointer"], answer


def test_a_tenant_asks_about_its_own(served, explain):
    anna = served.login("anna", "long enough 123")
    said = explain(anna, device="pump", action="publish", topic="/acme/acme:pump/x")
    assert said["allowed"] and said["cn"] == "acme:pump" and said["source"] == "site.policy" and said["line"] == 3 and said["fix"] is None
    assert "administrator of the platform" in said["remedy"]
    assert explain(anna, device="pump", action="subscribe", topic=f"{TOPIC}/acme:pump/#")["allowed"]
    for topic in ("shared/x", "#", "+/acme:pump/x", "/other/x", "$SYS/#", "/acme", f"{TOPIC}/one/x",
                  "$share/acme:pump/shared/x", "$share/acme:pump/#"):
        assert anna("GET", question(device="pump", action="subscribe", topic=topic)).status == 403, topic
    assert explain(anna, device="pump", action="subscribe", topic=f"$share/g/{TOPIC}/acme:pump/#")["allowed"]
    for topic in ("$share/g", "$share//acme:pump", "$share/+/acme:pump", "$share/g/acme:pump/#/x", "$share"):
        assert anna("GET", question(device="pump", action="subscribe", topic=topic)).status == 400, topic
    assert anna("GET", question(device="one", action="connect")).status == 404
    for q in ({"cn": "acme:pump"}, {"user": "ann"}, {"cn": "one", "role": "client"}, {}):
        assert anna("GET", question(action="connect", **q)).status == 403, q
    assert anna("GET", question(device="pump", action="connect") + "&tenant=default").status == 403
    assert anna("GET", "/api/v1/policy/rules").status == 403
    assert anna("POST", "/api/v1/policy/preview", {"text": "use springcore"}).status == 403
    # Who may act in another tenant asks about its devices.
    assert explain(device="pump", action="publish", topic="shared/x", tenant="acme")["allowed"]
    assert served.admin("GET", question(device="pump", action="connect")).status == 404


def test_who_may_read_may_ask_and_who_may_nothing_may_not(served):
    vera, nemo = (served.login(name, "long enough 123") for name in ("vera", "nemo"))
    for path in (question(device="one", action="connect"), "/api/v1/policy/rules"):
        assert (vera("GET", path).status, nemo("GET", path).status) == (200, 403)
    assert vera("POST", "/api/v1/policy/preview", {"text": ""}).status == 403


def test_the_rules_are_those_in_force_not_those_of_the_file(served, document):
    served.policy.write_text("# nothing\n")
    try:
        items = conforms(document, "/api/v1/policy/rules", "get", served.admin("GET", "/api/v1/policy/rules"))["items"]
    finally:
        served.policy.write_text(POLICY)
    assert [x["listener"] for x in items] == [str(served.mqtt)]
    (one,) = items
    assert one["kind"] == "policy" and one["source"] == str(served.policy) and one["text"] == POLICY and not one["ready_made"] and one["more"] == 0
    rules = {(r["source"], r["line"]): r["text"] for r in one["rules"] if r["line"]}
    assert rules[str(served.policy), 5] == "role client: may not publish shared/secret"
    assert any(source == "springcore" for source, _ in rules)


def test_what_another_policy_would_change(served, document):
    def preview(text, status=200, **more):
        answer = served.admin("POST", "/api/v1/policy/preview", {"text": text, **more})
        assert answer.status == status, answer
        return conforms(document, "/api/v1/policy/preview", "post", answer) if status == 200 else answer.json

    with wire.Peer(served.mqtt, "two", 5, files=served.pki.device("two")) as two:
        assert two.subscribe(f"{TOPIC}/two/#") == [0]
        same = preview(POLICY)
        assert (same["changed"], same["clients"], same["incomplete"], same["coarse"]) == (0, [], False, 0) and same["sessions"] >= 1
        less = preview(POLICY + "deny role client user two publish shared/#\n")
        assert less["losing"] == 1 and less["clients"][0]["client_id"] == "two"
        assert {"change": "loses", "action": "publish", "topic": "shared/#"} in less["clients"][0]["changes"]
        assert preview(POLICY, listener=str(served.mqtt))["sessions"] == same["sessions"]
        assert preview("topic read #", kind="acl")["changed"] >= 1
        assert preview("user x\ntopic #\n", count=0)["clients"] == []
        # What was said to help does.
        fix = served.admin("GET", question(device="two", action="publish", topic="e/1")).json["fix"]
        assert {"change": "gains", "action": "publish", "topic": "e/1"} in preview(POLICY + fix)["clients"][0]["changes"]
        assert two.subscribe(f"{TOPIC}/two/x") == [0]
    wrong = preview("use springcore\nallo everyone\n", 422)
    assert wrong["errors"][0]["pointer"] == "/text" and wrong["errors"][0]["detail"].startswith("NEW:2: \"allo\": expected")
    assert preview("topic deny\nbad", 422)["errors"][0]["detail"].startswith("NEW:2")
    assert preview(POLICY, 422, listener="7")["errors"][0]["pointer"] == "/listener"
    assert preview("#" * 200001, 422)["errors"][0]["pointer"] == "/text"


def test_a_heavy_proposal_holds_nobody_up(served):
    """Thousands of rules for everybody: the broker reads them beside its work, and looks only roughly at each session."""
    big = "connect everyone\n" + "".join(f"allow everyone publish t/{i}/+\n" for i in range(5500))
    assert len(big) < 200000
    with wire.Peer(served.mqtt, "two", 5, files=served.pki.device("two")) as two:
        assert two.subscribe(f"{TOPIC}/two/#") == [0]
        answer = served.admin("POST", "/api/v1/policy/preview", {"text": big})
        assert answer.status == 200 and answer.json["coarse"] >= 1
        assert {"change": "loses", "action": "subscribe", "topic": f"{TOPIC}/two/#"} in answer.json["clients"][0]["changes"]


# ---- people ----

@pytest.fixture(scope="module")
def seer(served):
    """Somebody with two groups and a permission of his own."""
    admin = served.admin
    for name, path, method, effect in (("p_devices", "/api/v1/devices/(.*)", "(.*)", "permit"), ("p_not_secret", "/api/v1/devices/secret/", "GET", "deny"),
                                       ("p_own", "/api/v1/devices/secret/", "GET", "permit"), ("p_users", "/api/v1/users/$", "GET", "permit")):
        assert admin("POST", "/api/v1/permissions", {"name": name, "path": path, "method": method, "effect": effect}).status == 201
    for group, permissions in (("seers", ["p_devices"]), ("guards", ["p_not_secret"])):
        assert admin("POST", "/api/v1/groups", {"name": group}).status == 201
        for p in permissions:
            assert admin("PUT", f"/api/v1/groups/{group}/permissions/{p}").status == 204
    assert admin("POST", "/api/v1/users", {"name": "sean", "password": "long enough 123", "groups": ["seers", "guards"]}).status == 201
    return "sean"


def test_what_somebody_may_is_what_he_may(served, document, seer):
    rights = conforms(document, "/api/v1/users/{user}/rights", "get", served.admin("GET", f"/api/v1/users/{seer}/rights"))
    assert [(p["name"], p["via"]) for p in rights["permissions"]] == [("p_not_secret", "guards"), ("p_devices", "seers")]
    assert rights["question"] is None and not rights["administrator"] and len(rights["operations"]) > 80
    sean = served.login(seer, "long enough 123")
    asked = 0
    for o in rights["operations"]:
        if o["method"] != "GET" or "{" in o["path"] or o["id"] in ("streamEvents", "listPolicyRules"):
            continue
        status = sean("GET", o["path"]).status
        if status == 400:  # a parameter is missing, which is looked at before
            continue
        asked += 1
        assert (status != 403) == o["verdict"]["allowed"], o
    assert asked > 15
    by_id = {o["id"]: o["verdict"] for o in rights["operations"]}
    assert by_id["listDevices"] == {"allowed": True, "permission": "p_devices", "via": "seers", "other": None}
    assert any(v["other"] == "who is signed in may" for v in by_id.values())


def test_may_he_do_this_in_particular(served, seer):
    admin = served.admin

    def ask(path, method="GET"):
        v = admin("GET", f"/api/v1/users/{seer}/rights?path={path}&method={method}").json["question"]
        return v["allowed"], v["permission"], v["via"]

    assert ask("/api/v1/devices/secret") == (False, "p_not_secret", "guards")
    assert ask("devices/open/?x=1") == (True, "p_devices", "seers")
    assert ask("/api/v1/users") == (False, None, None)
    # One of his own stands above those of his groups.
    assert admin("PUT", f"/api/v1/users/{seer}/permissions/p_own").status == 204
    assert ask("/api/v1/devices/secret") == (True, "p_own", None)
    assert admin("DELETE", f"/api/v1/users/{seer}/permissions/p_own").status == 204
    assert admin("GET", f"/api/v1/users/{seer}/rights?method=FLY&path=x").status == 400
    # As it would be done: HEAD is a GET, and there is what no permission decides.
    assert ask("/api/v1/devices/secret", "HEAD") == (False, "p_not_secret", "guards")
    assert admin("POST", "/api/v1/permissions", {"name": "p_all", "path": "/", "method": "(.*)", "effect": "permit"}).status == 201
    assert admin("PUT", f"/api/v1/users/{seer}/permissions/p_all").status == 204
    assert ask("/api/v1/groups", "POST") == ask("/api/v1/backup", "POST") == (False, None, None) and ask("/api/v1/backup") == (True, "p_all", None)
    assert admin("DELETE", f"/api/v1/users/{seer}/permissions/p_all").status == 204 and admin("DELETE", "/api/v1/permissions/p_all").status == 204
    assert ask("/api/v1/me") == ask("/api/v1/health") == (True, None, None)
    sean = served.login(seer, "long enough 123")
    assert sean("GET", "/api/v1/me").status == sean("HEAD", "/api/v1/me").status == 200


def preview(served, document, status=200, who=None, **body):
    answer = (who or served.admin)("POST", "/api/v1/rights/preview", body)
    assert answer.status == status, answer
    return conforms(document, "/api/v1/rights/preview", "post", answer) if status == 200 else answer.json


def test_who_would_gain_and_lose_by_another_right(served, document, seer):
    def changes(**body):
        said = preview(served, document, **body)
        return {u["name"]: ({o["id"] for o in u["gains"]}, {o["id"] for o in u["loses"]}) for u in said["users"]}

    before = served.admin("GET", f"/api/v1/users/{seer}/rights").json
    assert changes(group="seers", grant=["p_users"]) == {seer: ({"listUsers"}, set())}
    assert "listDevices" in changes(group="seers", revoke=["p_devices"])[seer][1]
    assert "listDevices" in changes(group="seers", remove=True)[seer][1]
    assert "listDevices" in changes(permission="p_devices")[seer][1]
    assert changes(user=seer, groups=["seers", "guards"]) == {}
    assert "listDevices" in changes(user=seer, groups=[])[seer][1]
    assert {"deleteUser", "listTenants"} <= changes(user=seer, groups=["admin"])[seer][0]
    assert changes(user=seer, grant=["p_users"]) == {seer: ({"listUsers"}, set())}
    # Nothing was changed, and what may not be says so.
    assert served.admin("GET", f"/api/v1/users/{seer}/rights").json == before
    assert "administrator" in preview(served, document, 409, user="admin", groups=[])["detail"]
    assert preview(served, document, 409, group="admin", remove=True)
    assert preview(served, document, 404, group="nothing", remove=True) and preview(served, document, 404, user=seer, groups=["nothing"])
    for body in ({}, {"user": seer, "group": "seers"}, {"group": "seers", "groups": ["x"]}):
        assert preview(served, document, 422, **body)
    anna = served.login("anna", "long enough 123")
    assert preview(served, document, 403, who=anna, group="seers", remove=True) and preview(served, document, 403, who=anna, user="anna", grant=["p_users"])
    assert preview(served, document, 404, who=anna, user=seer, groups=[])
    assert anna("GET", f"/api/v1/users/{seer}/rights").status == 404
    own = anna("GET", "/api/v1/users/anna/rights").json
    assert own["administrator"] and {o["id"]: o["verdict"] for o in own["operations"]}["listTenants"]["other"]


def test_groups_and_permissions_are_edited(served):
    admin = served.admin
    assert admin("POST", "/api/v1/permissions", {"name": "p_edit", "path": "/api/v1/devices/", "method": "GET", "effect": "permit"}).status == 201
    assert admin("PATCH", "/api/v1/permissions/p_edit", {"effect": "deny", "method": "(GET|HEAD)"}).json["effect"] == "deny"
    assert admin("PATCH", "/api/v1/permissions/p_edit", {"path": "(("}).json["errors"][0]["pointer"] == "/path"
    items = {p["name"]: p for p in admin("GET", "/api/v1/permissions").json["items"]}
    assert (items["p_edit"]["method"], items["p_edit"]["path"]) == ("(GET|HEAD)", "/api/v1/devices/")
    ours = next(p for p in items.values() if p["system"])
    assert admin("PATCH", f"/api/v1/permissions/{ours['name']}", {"effect": "deny"}).status == 409
    assert admin("POST", "/api/v1/groups", {"name": "p-edit"}).status == 201
    assert admin("PATCH", "/api/v1/groups/p-edit", {"description": "<b>\u202e"}).json["description"] == "<b>\u202e"
    assert admin("PATCH", "/api/v1/groups/admin", {"description": "x"}).status == 409
    anna = served.login("anna", "long enough 123")
    assert anna("PATCH", "/api/v1/groups/p-edit", {"description": "x"}).status == 403
    assert anna("PATCH", "/api/v1/permissions/p_edit", {"effect": "permit"}).status == 403
