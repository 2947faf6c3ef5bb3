/* A batch of commands: each is found in the table, carried out and answered; then the new file is kept, or everything taken
 * back. */
#include "dynsec/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

const struct name_words dynsec_username_words = { "username", "Invalid/missing username", "Username not valid UTF-8" };
const struct name_words dynsec_groupname_words = { "groupname", "Invalid/missing groupname", "Group name not valid UTF-8" };
const struct name_words dynsec_rolename_words = { "rolename", "Invalid/missing rolename", "Role name not valid UTF-8" };

const char *
dynsec_need_name(const json_t *c, const struct name_words *w, const char **ret)
{
	if (dynsec_get_text(c, w->key, ret) != GOT_IT || (*ret)[0] == '\0')
		return w->missing;
	return dynsec_name_ok(*ret) ? NULL : w->invalid;
}

const char *
dynsec_read_texts(const json_t *c, struct texts *ret)
{
	if (dynsec_get_text(c, "textname", &ret->name) == GOT_BAD)
		return "Invalid/missing textname";
	if (dynsec_get_text(c, "textdescription", &ret->description) == GOT_BAD)
		return "Invalid/missing textdescription";
	return NULL;
}

bool
dynsec_set_texts(struct entry *e, const struct texts *t)
{
	return (t->name == NULL || dynsec_set_text(&e->text_name, t->name)) &&
	       (t->description == NULL || dynsec_set_text(&e->text_description, t->description));
}

const char *
dynsec_read_roles(const struct run *r, const json_t *c, struct refs *ret, bool *ret_there)
{
	static const char fault[] = "'roles' not an array or missing/invalid rolename";
	const json_t *list = dynsec_get(c, "roles");

	*ret_there = list != NULL;
	if (list != NULL && !json_is_array(list))
		return fault;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		struct role *role;
		const char *name;

		if (!json_is_object(one) || dynsec_get_text(one, "rolename", &name) != GOT_IT)
			return fault;
		role = find_role(r->d, name);
		if (role == NULL)
			return "Role not found";
		if (dynsec_refs_find(ret, &role->e) == NULL &&
		    !dynsec_refs_add(ret, &role->e, dynsec_get_int(one, "priority", NO_PRIORITY)))
			return INTERNAL_ERROR;
	}
	return NULL;
}

/* ---- answers ---- */

const char *
dynsec_answer_one(struct run *r, const char *key, json_t *v)
{
	r->data = json_object();
	if (r->data != NULL && dynsec_put(r->data, key, v))
		return NULL;
	if (r->data == NULL)
		json_decref(v);
	return INTERNAL_ERROR;
}

const char *
dynsec_answer_list(struct run *r, const json_t *c, const struct book *b, const char *key,
    json_t *(*show)(const struct entry *e))
{
	bool verbose = dynsec_get_bool(c, "verbose", false);
	int count = dynsec_get_int(c, "count", -1), offset = dynsec_get_int(c, "offset", 0);
	json_t *list = json_array();
	bool ok;

	r->data = json_object();
	ok = r->data != NULL && dynsec_put(r->data, "totalCount", json_integer((json_int_t)b->n));
	for (size_t i = offset > 0 ? (size_t)offset : 0; ok && i < b->n; i++) {
		ok = json_array_append_new(list, verbose ? show(b->v[i]) : json_string(b->v[i]->name)) == 0;
		/* A count of 0 is one, as in mosquitto. */
		if (count >= 0 && --count <= 0)
			break;
	}
	if (r->data == NULL) {
		json_decref(list);
		return INTERNAL_ERROR;
	}
	return dynsec_put(r->data, key, list) && ok ? NULL : INTERNAL_ERROR;
}

/* ---- who is disconnected ---- */

void
dynsec_kick(struct run *r, const char *username)
{
	struct dynsec_outcome *o = r->out;
	char **v = reallocarray(o->kicked, o->n_kicked + 1, sizeof(*v));

	if (v != NULL)
		o->kicked = v;
	if (v == NULL || (v[o->n_kicked] = strdup(username)) == NULL)
		r->nomem = true;
	else
		o->n_kicked++;
}

void
dynsec_kick_anonymous(struct run *r)
{
	r->out->kick_anonymous = true;
}

void
dynsec_kick_group(struct run *r, const struct group *g)
{
	if (g == r->d->anonymous)
		dynsec_kick_anonymous(r);
	for (size_t i = 0; i < g->clients.n; i++)
		dynsec_kick(r, g->clients.v[i].to->name);
}

/* ---- the general ones ---- */

static const char *
set_access(struct run *r, const json_t *c)
{
	const json_t *list = dynsec_get(c, "acls");
	const char *type;

	if (!json_is_array(list))
		return "Missing/invalid actions array";
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i), *allow = dynsec_get(one, "allow");

		if (!json_is_object(one) || dynsec_get_text(one, "acltype", &type) != GOT_IT || !json_is_boolean(allow))
			continue;
		for (unsigned k = 0; k < ACCESSES; k++)
			if (strcasecmp(type, dynsec_access_names[k]) == 0)
				r->d->access[k] = json_is_true(allow);
	}
	return NULL;
}

static const char *
get_access(struct run *r, const json_t *c)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	(void)c;
	for (unsigned k = 0; ok && k < ACCESSES; k++) {
		json_t *o = json_object();

		ok = o != NULL && dynsec_put_text(o, "acltype", dynsec_access_names[k]) &&
		     dynsec_put(o, "allow", json_boolean(r->d->access[k]));
		ok = json_array_append_new(list, o) == 0 && ok;
	}
	if (ok)
		return dynsec_answer_one(r, "acls", list);
	json_decref(list);
	return INTERNAL_ERROR;
}

/* ---- the table ---- */

static const struct command {
	const char *name;
	command_fn *run;
	bool changes;
} commands[] = {
	{ "setDefaultACLAccess", set_access, true },
	{ "getDefaultACLAccess", get_access, false },
	{ "createClient", dynsec_client_create, true },
	{ "deleteClient", dynsec_client_remove, true },
	{ "getClient", dynsec_client_get, false },
	{ "listClients", dynsec_client_list, false },
	{ "modifyClient", dynsec_client_modify, true },
	{ "setClientPassword", dynsec_client_set_password, true },
	{ "setClientId", dynsec_client_set_id, true },
	{ "addClientRole", dynsec_client_add_role, true },
	{ "removeClientRole", dynsec_client_remove_role, true },
	{ "enableClient", dynsec_client_enable, true },
	{ "disableClient", dynsec_client_disable, true },
	{ "addGroupClient", dynsec_group_add_client, true },
	{ "createGroup", dynsec_group_create, true },
	{ "deleteGroup", dynsec_group_remove, true },
	{ "getGroup", dynsec_group_get, false },
	{ "listGroups", dynsec_group_list, false },
	{ "modifyGroup", dynsec_group_modify, true },
	{ "removeGroupClient", dynsec_group_remove_client, true },
	{ "addGroupRole", dynsec_group_add_role, true },
	{ "removeGroupRole", dynsec_group_remove_role, true },
	{ "setAnonymousGroup", dynsec_group_set_anonymous, true },
	{ "getAnonymousGroup", dynsec_group_get_anonymous, false },
	{ "createRole", dynsec_role_create, true },
	{ "getRole", dynsec_role_get, false },
	{ "listRoles", dynsec_role_list, false },
	{ "modifyRole", dynsec_role_modify, true },
	{ "deleteRole", dynsec_role_remove, true },
	{ "addRoleACL", dynsec_role_add_acl, true },
	{ "removeRoleACL", dynsec_role_remove_acl, true },
};

static const struct command *
find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcasecmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* ---- a log line for each ---- */

static void
say_value(char *line, size_t cap, const char *key, const json_t *v)
{
	char shown[128];
	size_t n = strlen(line);

	if (json_is_string(v))
		(void)text_show(slice_of(json_string_value(v), json_string_length(v)), shown, sizeof(shown));
	else if (json_is_boolean(v))
		(void)snprintf(shown, sizeof(shown), "%s", json_is_true(v) ? "true" : "false");
	else if (json_is_integer(v))
		(void)snprintf(shown, sizeof(shown), "%lld", (long long)json_integer_value(v));
	else
		return;
	(void)snprintf(line + n, cap - n, " | %s=%s", key, shown);
}

static void
say(const struct run *r, const struct command *k, const json_t *c)
{
	static const char *const keys[] = { "groupname", "username", "rolename", "clientid", "acltype", "topic", "priority",
		"allow" };
	char line[1024], id[100], name[100];

	(void)snprintf(line, sizeof(line), "dynsec: %s/%s | %s", text_show(r->by->client_id, id, sizeof(id)),
	    r->by->username.p != NULL ? text_show(r->by->username, name, sizeof(name)) : "(anonymous)", k->name);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		say_value(line, sizeof(line), keys[i], dynsec_get(c, keys[i]));
	if (dynsec_get(c, "password") != NULL && strlen(line) + sizeof(" | password=*****") < sizeof(line))
		(void)snprintf(line + strlen(line), sizeof(line) - strlen(line), " | password=*****");
	r->by->say(r->by->ctx, line);
}

/* ---- a batch ---- */

/* <data> is taken over. False: out of memory. */
static bool
answer(json_t *responses, const char *command, const char *error, json_t *data, const char *correlation)
{
	json_t *o = json_object();
	bool ok = o != NULL && dynsec_put_text(o, "command", command);

	if (ok && error != NULL)
		ok = dynsec_put_text(o, "error", error);
	if (ok && data != NULL && error == NULL)
		ok = dynsec_put(o, "data", json_incref(data));
	ok = ok && dynsec_put_text(o, "correlationData", correlation);
	json_decref(data);
	return json_array_append_new(responses, o) == 0 && ok;
}

/* A password is in memory for no longer than it is needed. */
static void
wipe_password(const json_t *c)
{
	const json_t *v = dynsec_get(c, "password");

	if (json_is_string(v))
		secret_wipe((void *)(uintptr_t)json_string_value(v), json_string_length(v));
}

/* One command; *ret_go_on: those behind it, too. False: out of memory. */
static bool
run_one(struct run *r, json_t *responses, const json_t *c, bool *ret_go_on)
{
	const struct command *k;
	const char *name, *correlation = NULL, *error;

	if (!json_is_object(c))
		return answer(responses, "Unknown command", "Command not an object", NULL, NULL);
	if (dynsec_get_text(c, "command", &name) != GOT_IT)
		return answer(responses, "Unknown command", "Missing command", NULL, NULL);
	if (dynsec_get_text(c, "correlationData", &correlation) == GOT_BAD) {
		*ret_go_on = false;
		return answer(responses, name, "Invalid correlationData data type.", NULL, NULL);
	}
	k = find_command(name);
	if (k == NULL)
		return answer(responses, name, "Unknown command", NULL, correlation);
	/* To what everything goes back if it cannot be kept. */
	if (k->changes && r->old == NULL && (r->old = dynsec_dump(r->d, &r->old_n)) == NULL)
		return false;
	r->data = NULL;
	error = r->d->lost ? INTERNAL_ERROR : k->run(r, c);
	if (error == NULL)
		say(r, k, c);
	wipe_password(c);
	/* An internal error may have changed something: it is kept, so that file and memory stay the same. */
	if (k->changes && (error == NULL || (!r->d->lost && strcmp(error, INTERNAL_ERROR) == 0)))
		r->out->changed = true;
	return answer(responses, k->name, error, r->data, correlation);
}

static bool
run_all(struct run *r, json_t *responses, const json_t *root)
{
	const json_t *list = json_is_object(root) ? dynsec_get(root, "commands") : NULL;
	bool go_on = true;

	if (root == NULL)
		return answer(responses, "Unknown command", "Payload not valid JSON", NULL, NULL);
	if (!json_is_array(list))
		return answer(responses, "Unknown command", "Invalid/missing commands", NULL, NULL);
	for (size_t i = 0; go_on && i < json_array_size(list); i++)
		if (!run_one(r, responses, json_array_get(list, i), &go_on))
			return false;
	return true;
}

/* Every change has failed after all. */
static bool
unsay(json_t *responses)
{
	for (size_t i = 0; i < json_array_size(responses); i++) {
		json_t *o = json_array_get(responses, i);
		const struct command *k = find_command(json_string_value(json_object_get(o, "command")));

		if (k != NULL && k->changes && json_object_get(o, "error") == NULL &&
		    !dynsec_put_text(o, "error", INTERNAL_ERROR ": the file cannot be written"))
			return false;
	}
	return true;
}

static void
forget_kicks(struct dynsec_outcome *o)
{
	for (size_t i = 0; i < o->n_kicked; i++)
		free(o->kicked[i]);
	free(o->kicked);
	o->kicked = NULL;
	o->n_kicked = 0;
	o->kick_anonymous = o->changed = false;
}

/* Back to the file as it was. */
static void
take_back(struct run *r)
{
	struct dynsec *d, now;

	forget_kicks(r->out);
	if (r->old == NULL)
		return;
	d = dynsec_parse(slice_of(r->old, r->old_n), "", NULL);
	if (d == NULL) {
		r->d->lost = true;
		return;
	}
	now = *r->d;
	*r->d = *d;
	*d = now;
	dynsec_free(d);
}

static bool
keep(const struct run *r)
{
	size_t n = 0;
	char *text = dynsec_dump(r->d, &n);
	bool ok = text != NULL && r->by->save(r->by->ctx, slice_of(text, n));

	secret_free(text, n);
	return ok;
}

/* False: out of memory. */
static bool
run_batch(struct run *r, json_t *responses, const json_t *root)
{
	bool ok = run_all(r, responses, root) && !r->nomem;

	if (!ok || (r->out->changed && !keep(r))) {
		take_back(r);
		return ok && unsay(responses);
	}
	return true;
}

bool
dynsec_execute(struct dynsec *d, struct slice payload, const struct dynsec_admin *by, struct dynsec_outcome *ret)
{
	struct dynsec_outcome out = { 0 };
	struct run r = { .d = d, .by = by, .out = &out };
	json_t *top = json_object(), *responses = json_array(), *root;
	bool ok = top != NULL && dynsec_put(top, "responses", responses);

	root = ok ? json_loadb((const char *)payload.p, payload.n, 0, NULL) : NULL;
	if (ok && run_batch(&r, responses, root))
		out.response = json_dumps(top, JSON_COMPACT);
	json_decref(root);
	if (top == NULL)
		json_decref(responses);
	json_decref(top);
	secret_free(r.old, r.old_n);
	/* Else what was done is done, though it cannot be said. */
	if (out.response == NULL && !out.changed) {
		dynsec_outcome_done(&out);
		return false;
	}
	out.response_n = out.response != NULL ? strlen(out.response) : 0;
	*ret = out;
	return true;
}

void
dynsec_outcome_done(struct dynsec_outcome *o)
{
	forget_kicks(o);
	free(o->response);
	*o = (struct dynsec_outcome){ 0 };
}
