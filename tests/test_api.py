"""The API of control: what the OpenAPI document says is so, and what people do with it."""
import concurrent.futures
import contextlib
import json
import re
import sqlite3
import subprocess

import apikit
import kit
import pytest

PARAMS = {"tenant": "acme", "device": "sensor01", "user": "anna", "group": "operators", "permission": "read_devices", "template": 1, "secret": 1, "token": 64 * "0"}


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with apikit.Control(kit.Pki(tmp_path_factory.mktemp("api") / "d")) as c:
        yield c


@pytest.fixture(scope="module")
def admin(control):
    return control.login()


@pytest.fixture(scope="module")
def document(control):
    answer = control.client()("GET", "/api/v1/openapi.json")
    assert answer.status == 200
    return answer.json


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def body_of(operation):
    return operation["requestBody"]["content"]["application/json"]


def takes_json(operation):
    return "application/json" in operation.get("requestBody", {}).get("content", {})


def fill(path, params):
    return re.sub(r"\{(\w+)\}", lambda m: str(params[m[1]]), path)


def is_reachable(path):
    return all(name in PARAMS for name in re.findall(r"\{(\w+)\}", path))


def test_the_document_is_the_one_that_the_command_prints(document):
    assert json.loads(kit.signet("control", "--openapi").stdout) == document
    assert document["openapi"] == "3.1.0"
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)) > 30
    for _, path, operation in operations(document):
        assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
        if takes_json(operation):
            apikit.conforms(document, body_of(operation)["schema"], body_of(operation)["example"])


def order(entry):
    """Make before look before change before remove; what hangs on another thing is removed before it."""
    method, path, operation = entry
    return {"POST": 0, "PUT": 1, "GET": 2, "PATCH": 3, "DELETE": 4}[method], -path.count("{") if method == "DELETE" else path.count("/")


def test_each_example_is_taken_and_each_answer_is_as_described(control, document):
    """All operations in one go, as an administrator, in the first tenant."""
    admin = control.login()
    # Would end the session in the middle.
    skipped = {"logout", "setOwnPassword", "login", "enrol", "signIn", "signInByLink", "renewSignIn", "signOut", "streamEvents"}
    elsewhere = {"policy", "backup", "bundles", "pending", "broker", "actuation", "issuing", "public", "ocsp", "est"}  # test_api_policy.py, test_api_broker.py, test_api_certificates.py, test_pki_http.py
    done = 0
    for method, path, operation in sorted(operations(document), key=order):
        if operation["operationId"] in skipped or set(operation["tags"]) & elsewhere or not is_reachable(path):
            continue
        headers = {}
        body = body_of(operation)["example"] if takes_json(operation) else None
        answer = admin(method, fill(path, PARAMS), body, headers)
        success = [s for s in operation["responses"] if s != "default"][0]
        assert answer.status == int(success), (operation["operationId"], answer)
        content = operation["responses"][success].get("content", {})
        if "application/json" in content:
            apikit.conforms(document, content["application/json"]["schema"], answer.json)
        else:
            assert answer.status == 204 or content, operation
        done += 1
    assert done > 25


def violations(document, schema, value):
    """Bodies that break one rule each, and where: (body, pointer)."""
    schema = apikit.resolve(document, schema)
    properties = schema.get("properties", {})
    yield {**value, "surplus": 1}, "/surplus"
    for name in schema.get("required", []):
        yield {k: v for k, v in value.items() if k != name}, f"/{name}"
    for name, row in properties.items():
        row = apikit.resolve(document, row)
        types = row.get("type", [])
        types = [types] if isinstance(types, str) else types
        wrong = []
        if types and "null" not in types:
            wrong.append(None)
        if "string" in types:
            wrong += [7, True, ["x"], {}]
            if row.get("minLength", 0) > 0:
                wrong.append("x" * (row["minLength"] - 1))
            if "maxLength" in row and row["maxLength"] < 100000:
                wrong.append("x" * (row["maxLength"] + 1))
            if "enum" in row:
                wrong.append("none of these")
            if "pattern" in row and not re.search(row["pattern"], "\n\n\n\n"):
                wrong.append(("\n" * max(4, row.get("minLength", 0)))[:row["maxLength"]])
        if "integer" in types:
            wrong += ["1", 1.5, row["minimum"] - 1]
            if row["maximum"] < 2 ** 62:
                wrong.append(row["maximum"] + 1)
        if "boolean" in types:
            wrong += [1, "true"]
        if "array" in types:
            wrong += [{}, "x"]
            if row.get("maxItems", 1 << 40) < 100:
                wrong.append(["x"] * (row["maxItems"] + 1))
        if "object" in types:
            wrong += [[], "x"]
        for bad in wrong:
            yield {**value, name: bad}, f"/{name}"


def test_each_bound_of_each_body_is_kept(control, admin, document):
    tried = 0
    for method, path, operation in operations(document):
        if not takes_json(operation):
            continue
        client = control.client() if operation["operationId"] == "login" else admin
        params = {**PARAMS, "ca": "client", "serial": "00"}
        for body, pointer in violations(document, body_of(operation)["schema"], body_of(operation)["example"]):
            answer = client(method, fill(path, params), body)
            assert answer.status == 422, (operation["operationId"], body, answer)
            assert any(e["pointer"].startswith(pointer) for e in answer.json["errors"]), (body, answer)
            tried += 1
    assert tried > 100


def test_each_bound_of_each_parameter_is_kept(admin, document):
    for method, path, operation in operations(document):
        if method != "GET" or not is_reachable(path):
            continue
        for p in operation["parameters"]:
            if p["in"] != "query" or p["schema"].get("type") is None:
                continue
            row, bad = p["schema"], []
            if row.get("type") == "integer":
                bad += ["x", "-1", "1.5", str(row["minimum"] - 1)]
            if row.get("type") == "boolean":
                bad += ["1", "yes"]
            if "enum" in row:
                bad += ["other", ""]
            if "pattern" in row:
                bad += ["%01"]
            for value in bad:
                answer = admin("GET", f"{fill(path, PARAMS)}?{p['name']}={value}")
                assert answer.status == 400, (path, p["name"], value, answer)
        assert admin("GET", fill(path, PARAMS) + "?surplus=1").status == 400


def test_who_asks_must_say_who_he_is(control, document):
    nobody = control.client()
    for method, path, operation in operations(document):
        answer = nobody(method, fill(path, {**PARAMS, "ca": "client", "serial": "00"}), {} if takes_json(operation) else None)
        if operation.get("security") == []:
            assert answer.status != 401, operation["operationId"]
        else:
            assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Bearer"), operation["operationId"]


def test_certificates_of_the_control_ca_and_the_unix_socket_are_administrators(control):
    me = control.client(who="controller")("GET", "/api/v1/me")
    assert me.json["kind"] == "certificate" and me.json["name"] == "certificate:controller"
    assert control.client(who="controller")("GET", "/api/v1/users").status == 200
    assert control.client(who="watcher")("GET", "/api/v1/me").status == 401
    local = apikit.Client(control, unix=True)
    assert local("GET", "/api/v1/me").json["kind"] == "local"
    local.close()


def test_a_revoked_certificate_is_out(control):
    control.pki.issue("control", "spare")
    spare = control.client(who="spare")
    assert spare("GET", "/api/v1/me").status == 200
    kit.signet("ca", "revoke", "--dir", control.dir, "--ca", "control", "spare")
    control.process.send_signal(1)
    kit.wait_for(lambda: "were read again" in control.text(), "control to read again")
    # On the connection that is there, too.
    assert spare("GET", "/api/v1/me").status == 401
    with pytest.raises((OSError, apikit.http.client.HTTPException)):
        control.client(who="spare")("GET", "/api/v1/me")
    kit.wait_for(lambda: "[revoked]" in control.text(), "the refusal in the log")


def test_a_cafile_that_was_pointed_elsewhere(tmp_path):
    """At SIGHUP certificates are judged by the CAs of the new file, in OpenSSL's part of it, too: the old one has others by then."""
    pki = kit.Pki(tmp_path / "site")
    conf, old, new = (pki.dir / name for name in ("signet.conf", "old.pem", "new.pem"))
    for file in (old, new):
        file.write_bytes((pki.dir / "pki/ca.pem").read_bytes())
    text = conf.read_text()
    conf.write_text(text.replace(f"cafile {pki.dir}/pki/ca.pem", f"cafile {old}"))
    assert conf.read_text() != text
    with apikit.Control(pki) as control:
        assert control.client(who="controller")("GET", "/api/v1/me").status == 200
        old.write_bytes(pki.files("watcher")["cert"].read_bytes())
        control.conf.write_text(control.conf.read_text().replace(str(old), str(new)))
        control.process.send_signal(1)
        kit.wait_for(lambda: "were read again" in control.text(), "control to read again")
        assert control.client(who="controller")("GET", "/api/v1/me").status == 200


def test_logout_password_and_removal_end_tokens(control, admin):
    assert admin("POST", "/api/v1/users", {"name": "berta", "password": "a long password"}).status == 201
    one, two = control.login("berta", "a long password"), control.login("berta", "a long password")
    assert one("POST", "/api/v1/logout").status == 204
    assert one("GET", "/api/v1/me").status == 401
    assert two("GET", "/api/v1/me").status == 200
    change = {"old_password": "not this one", "new_password": "another long one"}
    assert two("PUT", "/api/v1/me/password", change).status == 403
    change["old_password"] = "a long password"
    assert two("PUT", "/api/v1/me/password", change).status == 204
    assert two("GET", "/api/v1/me").status == 401
    three = control.login("berta", "another long one")
    assert admin("PATCH", "/api/v1/users/berta", {"disabled": True}).status == 200
    assert three("GET", "/api/v1/me").status == 401
    assert control.client()("POST", "/api/v1/login", {"username": "berta", "password": "another long one"}).status == 401
    assert admin("PATCH", "/api/v1/users/berta", {"disabled": False}).status == 200
    four = control.login("BERTA", "another long one")
    assert admin("DELETE", "/api/v1/users/berta").status == 204
    assert four("GET", "/api/v1/me").status == 401


def test_rights_deny_beats_permit_and_nothing_is_a_no(control, admin):
    assert admin("POST", "/api/v1/users", {"name": "carla", "password": "a long password"}).status == 201
    carla = control.login("carla", "a long password")
    assert carla("GET", "/api/v1/me").status == 200
    assert carla("GET", "/api/v1/devices").status == 403

    def permission(name, path, effect, method="GET"):
        assert admin("POST", "/api/v1/permissions", {"name": name, "path": path, "method": method, "effect": effect}).status == 201

    permission("see_devices", "/api/v1/devices/(.*)", "permit")
    permission("not_secret", "/api/v1/devices/secret/", "deny")
    permission("write_devices", "/api/v1/devices/(.*)", "permit", "(POST|PATCH)")
    permission("users", "/api/v1/users/(.*)", "permit", "(.*)")
    assert admin("POST", "/api/v1/groups", {"name": "seers"}).status == 201
    for name in ("see_devices", "not_secret"):
        assert admin("PUT", f"/api/v1/groups/seers/permissions/{name}").status == 204
    assert admin("PATCH", "/api/v1/users/carla", {"groups": ["seers"]}).status == 200
    for name in ("open", "secret"):
        assert admin("POST", "/api/v1/devices", {"id": name}).status == 201
    carla = control.login("carla", "a long password")
    assert carla("GET", "/api/v1/devices/open").status == 200
    assert carla("GET", "/api/v1/devices/secret").status == 403
    assert carla("GET", "/api/v1/devices/%73ecret").status == 403
    assert carla("GET", "/api/v1/devices/secret/").status == 403
    assert carla("POST", "/api/v1/devices", {"id": "new"}).status == 403
    # A user's own rules stand above those of his groups.
    assert admin("PUT", "/api/v1/users/carla/permissions/write_devices").status == 204
    assert carla("POST", "/api/v1/devices", {"id": "new"}).status == 201
    assert carla("DELETE", "/api/v1/devices/new").status == 403
    # Who may change users makes no administrator, and none of himself.
    assert admin("PUT", "/api/v1/users/carla/permissions/users").status == 204
    assert carla("PATCH", "/api/v1/users/carla", {"groups": ["admin"]}).status == 403
    assert carla("PUT", "/api/v1/users/carla/permissions/all").status == 403
    assert carla("DELETE", "/api/v1/users/carla/permissions/write_devices").status == 403
    assert carla("GET", "/api/v1/users/carla/permissions").status == 200
    assert carla("POST", "/api/v1/users", {"name": "helper", "groups": ["admin"]}).status == 403
    assert admin("POST", "/api/v1/users", {"name": "viola", "groups": ["viewer"]}).status == 201
    for name in ("admin", "viola"):
        assert carla("PUT", f"/api/v1/users/{name}/password", {"password": "mine from now on"}).status == 403
    assert admin("DELETE", "/api/v1/users/viola").status == 204
    assert carla("DELETE", "/api/v1/users/admin").status == 403
    assert admin("DELETE", "/api/v1/users/admin").status == 409


def test_tenants_do_not_see_each_other(control, admin):
    """Also W8: the same device id in two tenants."""
    for tenant in ("red", "blue"):
        assert admin("POST", "/api/v1/tenants", {"name": tenant}).status == 201
        made = admin("POST", f"/api/v1/users?tenant={tenant}", {"name": f"chief.{tenant}", "password": "a long password", "groups": ["admin"]})
        assert made.status == 201 and made.json["tenant"] == tenant
    red, blue = control.login("chief.red", "a long password"), control.login("chief.blue", "a long password")
    for chief, tenant in ((red, "red"), (blue, "blue"), (admin, "default")):
        made = chief("POST", "/api/v1/devices", {"id": "twin", "label": tenant})
        assert made.status == 201 and made.json["cn"] == ("twin" if tenant == "default" else f"{tenant}:twin")
    for chief, tenant in ((red, "red"), (blue, "blue")):
        assert [d["label"] for d in chief("GET", "/api/v1/devices").json["items"]] == [tenant]
        assert [u["name"] for u in chief("GET", "/api/v1/users").json["items"]] == [f"chief.{tenant}"]
        assert chief("GET", "/api/v1/me").json["platform"] is False
    assert red("DELETE", "/api/v1/devices/twin").status == 204
    assert blue("GET", "/api/v1/devices/twin").status == 200
    assert red("GET", "/api/v1/users/chief.blue").status == 404
    assert red("DELETE", "/api/v1/users/admin").status == 404
    # Administrators of other tenants do not stand in for the last one of the first, nor the other way round.
    for change in (("DELETE", "/api/v1/users/admin"), ("PATCH", "/api/v1/users/admin", {"disabled": True}), ("PATCH", "/api/v1/users/admin", {"groups": []}),
                   ("PATCH", "/api/v1/users/chief.red?tenant=red", {"disabled": True}), ("PATCH", "/api/v1/users/chief.red?tenant=red", {"groups": []})):
        assert admin(*change).status == 409, change
    for path in ("/api/v1/devices?tenant=blue", "/api/v1/devices/twin?tenant=blue", "/api/v1/users?tenant=default", "/api/v1/tenants",
                 "/api/v1/tenants/blue", "/api/v1/groups", "/api/v1/devices?tenant=nobody"):
        assert red("GET", path).status == 403, path
    assert red("POST", "/api/v1/backup").status == 403
    assert admin("GET", "/api/v1/devices/twin?tenant=blue").json["label"] == "blue"
    assert admin("GET", "/api/v1/devices?tenant=nobody").status == 404
    assert admin("PATCH", "/api/v1/tenants/blue", {"disabled": True}).status == 200
    assert blue("GET", "/api/v1/me").status == 401
    assert control.client()("POST", "/api/v1/login", {"username": "chief.blue", "password": "a long password"}).status == 401


def test_pages_have_cursors_and_links(admin):
    devices = [{"id": f"page-{i:03}", "label": f"n {i}"} for i in range(25)]
    assert admin("POST", "/api/v1/devices/bulk", {"devices": devices}).json == {"created": 25, "kept": 0}
    assert admin("POST", "/api/v1/devices/bulk", {"devices": devices}).status == 409
    assert admin("POST", "/api/v1/devices/bulk", {"devices": devices, "existing": "keep"}).json == {"created": 0, "kept": 25}
    path, seen, pages = "/api/v1/devices?prefix=page-&limit=10&order=id", [], 0
    while path:
        answer = admin("GET", path)
        assert answer.status == 200 and len(answer.json["items"]) <= 10
        seen += [d["id"] for d in answer.json["items"]]
        pages += 1
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        assert bool(link) == (answer.json["next"] is not None)
        path = link and link[1]
    assert seen == [d["id"] for d in devices] and pages == 3
    assert admin("GET", "/api/v1/devices?cursor=x").status == 422
    # All or none.
    assert admin("POST", "/api/v1/devices/bulk", {"devices": [{"id": "page-new"}, {"id": "page-003"}]}).status == 409
    assert admin("GET", "/api/v1/devices/page-new").status == 404
    assert len(admin("GET", "/api/v1/devices?state=disabled").json["items"]) == 0
    assert admin("PATCH", "/api/v1/devices/page-007", {"state": "disabled"}).status == 200
    assert [d["id"] for d in admin("GET", "/api/v1/devices?state=disabled").json["items"]] == ["page-007"]


def test_many_devices_each_for_itself(admin):
    devices = [{"id": f"bulk-{i}"} for i in range(3)]
    assert admin("POST", "/api/v1/devices/bulk", {"devices": devices}).status == 201
    changes = [{"id": "bulk-0", "label": "zero"}, {"id": "nobody", "label": "x"}, {"id": "bulk-1", "templates": [999999]}, {"id": "bulk-2", "state": "disabled"}]
    said = admin("POST", "/api/v1/devices/bulk/update", {"devices": changes}).json
    assert [(r["id"], r["done"]) for r in said["items"]] == [("bulk-0", True), ("nobody", False), ("bulk-1", False), ("bulk-2", True)]
    assert (said["done"], said["failed"]) == (2, 2) and "nobody" in said["items"][1]["detail"]
    assert [admin("GET", f"/api/v1/devices/bulk-{i}").json["label"] for i in range(3)] == ["zero", "", ""]
    assert admin("GET", "/api/v1/devices/bulk-2").json["state"] == "disabled"
    said = admin("POST", "/api/v1/devices/bulk/delete", {"ids": ["bulk-0", "bulk-0", "bulk-2"]}).json
    assert [r["done"] for r in said["items"]] == [True, False, True]
    assert [admin("GET", f"/api/v1/devices/bulk-{i}").status for i in range(3)] == [404, 200, 404]


def test_templates(admin):
    attributes = [{"label": "open", "type": "dynamic", "value_type": "bool"}, {"label": "maker", "type": "static", "value_type": "string", "static_value": "Acme"}]
    made = admin("POST", "/api/v1/templates", {"label": "Gate", "attributes": attributes})
    assert made.status == 201
    one = made.headers["location"]
    ids = [a["id"] for a in made.json["attributes"]]
    assert len(set(ids)) == 2
    # Who stays keeps its number, and no number comes twice.
    changed = admin("PATCH", one, {"attributes": [attributes[1], {"label": "new", "type": "meta", "value_type": "string"}]}).json
    assert changed["attributes"][0]["id"] == ids[1] and changed["attributes"][1]["id"] not in ids and changed["label"] == "Gate"
    twice = admin("POST", "/api/v1/templates", {"label": "x", "attributes": [attributes[0], attributes[0]]})
    assert twice.status == 422 and twice.json["errors"][0]["pointer"] == "/attributes/1/label"
    assert admin("POST", "/api/v1/devices", {"id": "gate", "templates": [changed["id"]]}).status == 201
    assert admin("GET", one).json["devices"] == 1
    assert [d["id"] for d in admin("GET", f"/api/v1/devices?template={changed['id']}").json["items"]] == ["gate"]
    assert admin("DELETE", one).status == 409
    assert admin("DELETE", "/api/v1/devices/gate").status == 204
    assert admin("DELETE", one).status == 204 and admin("GET", one).status == 404


def test_entity_tags_stand_against_lost_changes(admin):
    assert admin("POST", "/api/v1/devices", {"id": "tagged", "attributes": {"ä": [1, {"b": None}]}}).status == 201
    first = admin("GET", "/api/v1/devices/tagged")
    assert first.json["attributes"] == {"ä": [1, {"b": None}]}
    tag = first.headers["etag"]
    assert admin("GET", "/api/v1/devices/tagged", headers={"If-None-Match": tag}).status == 304
    assert admin("GET", "/api/v1/devices/tagged", headers={"If-None-Match": '"x", *'}).status == 304
    changed = admin("PATCH", "/api/v1/devices/tagged", {"label": "one"}, headers={"If-Match": tag})
    assert changed.status == 200 and changed.headers["etag"] != tag
    assert admin("PATCH", "/api/v1/devices/tagged", {"label": "two"}, headers={"If-Match": tag}).status == 412
    assert admin("DELETE", "/api/v1/devices/tagged", headers={"If-Match": tag}).status == 412
    assert admin("GET", "/api/v1/devices/tagged", headers={"If-None-Match": tag}).json["label"] == "one"
    assert admin("DELETE", "/api/v1/devices/tagged", headers={"If-Match": changed.headers["etag"]}).status == 204


def test_idempotency_keys(control, admin):
    key = {"Idempotency-Key": "7c1d"}
    first = admin("POST", "/api/v1/devices", {"id": "once"}, headers=key)
    again = admin("POST", "/api/v1/devices", {"id": "once"}, headers=key)
    assert first.status == again.status == 201 and first.body == again.body
    assert admin("POST", "/api/v1/devices", {"id": "twice"}, headers=key).status == 422
    assert admin("POST", "/api/v1/devices", {"id": "once"}).status == 409
    assert admin("POST", "/api/v1/devices", {"id": "x"}, headers={"Idempotency-Key": "y" * 80}).status == 400
    # Of a password nothing is kept by which it could be guessed: it is no part of what is compared.
    statuses = [admin("POST", "/api/v1/users", {"name": "once", "password": p}, headers={"Idempotency-Key": "7c1e"}).status for p in ("a long password", "another password")]
    assert statuses == [201, 201] and control.login("once", "a long password").token
    # Whose key it is counts.
    other = control.client(who="controller")
    assert other("POST", "/api/v1/devices", {"id": "other"}, headers=key).status == 201
    control.restart(9)
    later = control.login()
    assert later("POST", "/api/v1/devices", {"id": "once"}, headers=key).body == first.body
    admin.token = later.token
    admin.close()


def test_head_options_and_methods(admin):
    get, head = admin("GET", "/api/v1/me"), admin("HEAD", "/api/v1/me")
    assert head.status == 200 and head.body == b"" and head.headers["content-length"] == str(len(get.body))
    assert head.headers["etag"] == get.headers["etag"]
    options = admin("OPTIONS", "/api/v1/devices")
    assert options.status == 204 and options.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    wrong = admin("PUT", "/api/v1/devices")
    assert wrong.status == 405 and wrong.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert admin("GET", "/api/v1/devices/").status == 200
    assert admin("GET", "/api/v1").status == admin("GET", "/nothing").status == 404


def test_curl_agrees(control):
    words = ["curl", "-sS", "--max-time", str(int(kit.PATIENCE)), "--cacert", control.dir / "pki/ca.pem", "-H", "Expect: 100-continue", "-H",
             "Transfer-Encoding: chunked", "--json", json.dumps({"username": "admin", "password": control.password}),
             f"https://localhost:{control.port}/api/v1/login"]
    result = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=kit.PATIENCE)
    assert "token" in json.loads(result.stdout), result


def test_a_backup_can_be_opened(control, admin, document):
    assert admin("POST", "/api/v1/backup").status == 503  # no broker runs here
    answer = admin("POST", "/api/v1/backup?store=false")
    assert answer.status == 201 and not answer.json["store"]
    apikit.conforms(document, {"$ref": "#/components/schemas/Backup"}, answer.json)
    name = answer.json["folder"] + "/registry.db"
    with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True)) as rows:
        assert rows.execute("pragma integrity_check").fetchone() == ("ok",)


def test_what_was_answered_survives_a_kill(control):
    """Eight clients make devices; the process is killed in the middle; whatever got its 201 is there."""
    token = control.login().token

    def make(worker):
        client, made = control.client(token), []
        try:
            for i in range(1000):
                if client("POST", "/api/v1/devices", {"id": f"kill-{worker}-{i}"}).status == 201:
                    made.append(f"kill-{worker}-{i}")
        except (OSError, apikit.http.client.HTTPException):
            pass
        return made

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(make, n) for n in range(8)]
        client = control.login()
        kit.wait_for(lambda: len(client("GET", "/api/v1/devices?prefix=kill-&limit=50").json["items"]) >= 50, "fifty devices")
        control.process.kill()
        made = [name for job in jobs for name in job.result()]
    assert len(made) >= 20
    control.restart(9)
    client = control.login()
    for name in made:
        assert client("GET", f"/api/v1/devices/{name}").status == 200, name


def test_every_change_honours_if_match_or_refuses_it(control):
    """As the document says: 412 for what was changed meanwhile; where nothing has a tag the condition is not passed over."""
    admin = control.login()
    document = admin("GET", "/api/v1/openapi.json").json
    made = {"tenant": "matched", "user": "matched", "permission": "matched", "group": "matched", "device": "matched", "secret": "1", "ca": "client", "serial": "01"}
    for path, body in (("tenants", {"name": "matched"}), ("users", {"name": "matched"}), ("groups", {"name": "matched", "description": "x"}),
                       ("permissions", {"name": "matched", "path": "/x", "method": "GET", "effect": "permit"}), ("devices", {"id": "matched"})):
        assert admin("POST", f"/api/v1/{path}", body).status == 201, path
    template = admin("POST", "/api/v1/templates", {"label": "matched", "attributes": []})
    made["template"] = template.json["id"]
    honoured = []
    changes = [(method, path, o) for path, methods in document["paths"].items() for method, o in methods.items() if method in ("put", "patch", "delete")]
    # What removes comes last.
    for method, path, o in sorted(changes, key=lambda x: (x[0] == "delete", x[1].endswith("/password"))):
        target = re.sub(r"\{(\w+)\}", lambda m: str(made[m[1]]), path)
        body = o["requestBody"]["content"]["application/json"].get("example") if "requestBody" in o else None
        stale = admin(method.upper(), target, body, headers={"If-Match": '"0-stale"'})
        if not any(x.get("name") == "If-Match" for x in o["parameters"]):
            assert stale.status == 400 and stale.json["type"].endswith(":if-match"), (method, path, stale)
            continue
        assert stale.status == 412, (method, path, stale)
        tag = admin("GET", target.removesuffix("/password")).headers["etag"]
        assert admin(method.upper(), target, body, headers={"If-Match": f'"1-x", {tag}'}).status in (200, 204), (method, path)
        honoured.append((method, path))
        if method == "patch":
            assert admin(method.upper(), target, body, headers={"If-Match": tag}).status == 412, (method, path)
    # Every row that can be changed has a tag; links between two, logins and secrets have none.
    for name in ("tenants/{tenant}", "users/{user}", "groups/{group}", "permissions/{permission}", "templates/{template}", "devices/{device}"):
        assert {("patch", f"/api/v1/{name}"), ("delete", f"/api/v1/{name}")} <= set(honoured)
    assert ("put", "/api/v1/enrolment/rules") in honoured and ("put", "/api/v1/users/{user}/password") in honoured
