/* The file: JSON to state. What is not as it should be stops the reading, for a rule that is left out may be the one that keeps
 * somebody away. */
#include "dynsec/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

/* Where we are: "FILE: clients[3].roles[0]". */
struct reader {
	struct dynsec *d;
	const char *name;
	const char *list, *sub;
	size_t i, k;
	struct err *err;
};

static bool fail(const struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool
fail(const struct reader *r, const char *fmt, ...)
{
	char what[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (r->sub != NULL)
		return err_set(r->err, ERR_INPUT, "%s: %s[%zu].%s[%zu]: %s", r->name, r->list, r->i, r->sub, r->k, what);
	if (r->list != NULL)
		return err_set(r->err, ERR_INPUT, "%s: %s[%zu]: %s", r->name, r->list, r->i, what);
	return err_set(r->err, ERR_INPUT, "%s: %s", r->name, what);
}

static bool
nomem(const struct reader *r)
{
	return err_set(r->err, ERR_MEMORY, "%s: out of memory", r->name);
}

/* The first thing that is named and not there. */
static void
note(const struct reader *r, const char *what, const char *name)
{
	char shown[80];

	if (r->d->warning[0] != '\0')
		return;
	(void)snprintf(r->d->warning, sizeof(r->d->warning), "%s[%zu] names %s \"%s\", which is not there; it is left out", r->list,
	    r->i, what, text_show(slice_str(name), shown, sizeof(shown)));
}

static bool
load_name(const struct reader *r, const json_t *o, const char *key, const char **ret)
{
	if (!json_is_object(o))
		return fail(r, "is not an object");
	if (dynsec_get_text(o, key, ret) != GOT_IT)
		return fail(r, "has no \"%s\", or it is not a text", key);
	return dynsec_name_ok(*ret) || fail(r, "the \"%s\" has characters that cannot stand in a name", key);
}

static bool
load_text(const struct reader *r, const json_t *o, const char *key, char **at)
{
	const char *v;

	if (dynsec_get_text(o, key, &v) == GOT_BAD)
		return fail(r, "\"%s\" is not a text", key);
	return dynsec_set_text(at, v) || nomem(r);
}

static bool
load_texts(const struct reader *r, const json_t *o, struct entry *e)
{
	return load_text(r, o, "textname", &e->text_name) &&
	       load_text(r, o, "textdescription", &e->text_description);
}

static bool
is_list(const struct reader *r, const json_t *o, const char *key, const json_t **ret)
{
	*ret = dynsec_get(o, key);
	return *ret == NULL || json_is_array(*ret) || fail(r, "\"%s\" is not an array", key);
}

static bool
load_role_refs(struct reader *r, const json_t *o, struct refs *to)
{
	const json_t *list;
	const char *name = NULL;

	if (!is_list(r, o, "roles", &list))
		return false;
	r->sub = "roles";
	for (r->k = 0; r->k < json_array_size(list); r->k++) {
		const json_t *one = json_array_get(list, r->k);
		struct role *role;

		if (!load_name(r, one, "rolename", &name))
			return false;
		role = find_role(r->d, name);
		if (role == NULL)
			note(r, "a role", name);
		else if (dynsec_refs_find(to, &role->e) == NULL &&
			 !dynsec_refs_add(to, &role->e, dynsec_get_int(one, "priority", NO_PRIORITY)))
			return nomem(r);
	}
	r->sub = NULL;
	return true;
}

/* mosquitto 2.0 writes three members, 2.1 one text. */
static bool
load_hash(const struct reader *r, const json_t *o, char **ret)
{
	const char *hash, *salt, *encoded, *fault;
	const json_t *iterations = dynsec_get(o, "iterations");
	char text[PASSWD_HASH_TEXT_MAX];
	int n;

	if (dynsec_get_text(o, "encoded_password", &encoded) == GOT_BAD || dynsec_get_text(o, "password", &hash) == GOT_BAD ||
	    dynsec_get_text(o, "salt", &salt) == GOT_BAD)
		return fail(r, "the password is not a text");
	if (encoded == NULL && hash == NULL)
		return true;
	if (encoded == NULL && (salt == NULL || !json_is_integer(iterations)))
		return fail(r, "the password needs \"salt\" and \"iterations\" beside it");
	n = encoded != NULL
		? snprintf(text, sizeof(text), "%s", encoded)
		: snprintf(text, sizeof(text), "$7$%lld$%s$%s", (long long)json_integer_value(iterations), salt, hash);
	if (n < 0 || (size_t)n >= sizeof(text))
		return fail(r, "the password's hash is too long");
	fault = passwd_hash_fault(slice_str(text));
	if (fault != NULL)
		return fail(r, "%s", fault);
	n = dynsec_set_text(ret, text);
	secret_wipe(text, sizeof(text));
	return n != 0 || nomem(r);
}

static bool
fill_client(struct reader *r, const json_t *o, struct client *c)
{
	return load_texts(r, o, &c->e) && load_text(r, o, "clientid", &c->client_id) &&
	       load_hash(r, o, &c->hash) && load_role_refs(r, o, &c->roles);
}

static bool
load_client(struct reader *r, const json_t *o)
{
	const char *name = NULL;
	struct client *c;

	if (!load_name(r, o, "username", &name))
		return false;
	if (find_client(r->d, name) != NULL)
		return fail(r, "there is a client of this name before it; remove one of them");
	c = dynsec_client_new(name);
	if (c == NULL || !dynsec_book_add(&r->d->clients, &c->e)) {
		if (c != NULL)
			dynsec_client_delete(r->d, c);
		return nomem(r);
	}
	if (dynsec_get(o, "disabled") != NULL && !json_is_boolean(dynsec_get(o, "disabled")))
		return fail(r, "\"disabled\" is neither true nor false");
	c->disabled = dynsec_get_bool(o, "disabled", false);
	return fill_client(r, o, c);
}

static bool
load_members(struct reader *r, const json_t *o, struct group *g)
{
	const json_t *list;
	const char *name = NULL;

	if (!is_list(r, o, "clients", &list))
		return false;
	r->sub = "clients";
	for (r->k = 0; r->k < json_array_size(list); r->k++) {
		const json_t *one = json_array_get(list, r->k);
		struct client *c;

		if (!load_name(r, one, "username", &name))
			return false;
		c = find_client(r->d, name);
		if (c == NULL)
			note(r, "a client", name);
		else if (!dynsec_group_join(g, c, dynsec_get_int(one, "priority", NO_PRIORITY)))
			return nomem(r);
	}
	r->sub = NULL;
	return true;
}

static bool
load_group(struct reader *r, const json_t *o)
{
	const char *name = NULL;
	struct group *g;

	if (!load_name(r, o, "groupname", &name))
		return false;
	if (find_group(r->d, name) != NULL)
		return fail(r, "there is a group of this name before it; remove one of them");
	g = dynsec_group_new(name);
	if (g == NULL || !dynsec_book_add(&r->d->groups, &g->e)) {
		if (g != NULL)
			dynsec_group_delete(r->d, g);
		return nomem(r);
	}
	return load_texts(r, o, &g->e) && load_role_refs(r, o, &g->roles) && load_members(r, o, g);
}

static bool
load_acl(const struct reader *r, const json_t *o, struct role *role)
{
	const char *type, *topic;
	enum authz_list list;

	if (!json_is_object(o))
		return fail(r, "is not an object");
	if (dynsec_get_text(o, "acltype", &type) != GOT_IT || !dynsec_list_parse(type, &list))
		return fail(r, "\"acltype\" is none that is known");
	if (dynsec_get_text(o, "topic", &topic) != GOT_IT || !dynsec_name_ok(topic) || !authz_entry_ok(slice_str(topic)))
		return fail(r, "\"topic\" is not a topic filter of at most 1024 bytes");
	if (dynsec_get(o, "allow") != NULL && !json_is_boolean(dynsec_get(o, "allow")))
		return fail(r, "\"allow\" is neither true nor false");
	return dynsec_acls_add(&role->acls[list], topic, dynsec_get_int(o, "priority", 0), dynsec_get_bool(o, "allow", false)) || nomem(r);
}

static bool
load_acls(struct reader *r, const json_t *o, struct role *role)
{
	const json_t *list;

	if (!is_list(r, o, "acls", &list))
		return false;
	r->sub = "acls";
	for (r->k = 0; r->k < json_array_size(list); r->k++)
		if (!load_acl(r, json_array_get(list, r->k), role))
			return false;
	r->sub = NULL;
	return true;
}

static bool
load_role(struct reader *r, const json_t *o)
{
	const char *name = NULL;
	struct role *role;

	if (!load_name(r, o, "rolename", &name))
		return false;
	if (find_role(r->d, name) != NULL)
		return fail(r, "there is a role of this name before it; remove one of them");
	role = dynsec_role_new(name);
	if (role == NULL || !dynsec_book_add(&r->d->roles, &role->e)) {
		if (role != NULL)
			dynsec_role_delete(r->d, role);
		return nomem(r);
	}
	role->has_wildcards = dynsec_get(o, "allowwildcardsubs") != NULL;
	if (role->has_wildcards && !json_is_true(dynsec_get(o, "allowwildcardsubs")))
		return fail(r, "\"allowwildcardsubs\": false is not known here; deny wildcards by subscribePattern ACLs, and remove it");
	return load_texts(r, o, &role->e) && load_acls(r, o, role);
}

static bool
load_access(const struct reader *r, const json_t *root)
{
	const json_t *o = dynsec_get(root, "defaultACLAccess");

	if (o != NULL && !json_is_object(o))
		return fail(r, "\"defaultACLAccess\" is not an object");
	for (unsigned i = 0; o != NULL && i < ACCESSES; i++) {
		const json_t *v = dynsec_get(o, dynsec_access_names[i]);

		if (v != NULL && !json_is_boolean(v))
			return fail(r, "defaultACLAccess: \"%s\" is neither true nor false", dynsec_access_names[i]);
		r->d->access[i] = json_is_true(v);
	}
	return true;
}

static bool
load_all(struct reader *r, const json_t *root)
{
	static const struct {
		const char *key;
		bool (*load)(struct reader *r, const json_t *o);
	} kinds[] = { { "roles", load_role }, { "clients", load_client }, { "groups", load_group } };
	const char *anonymous;

	if (!json_is_object(root))
		return fail(r, "is not an object; make a new file with `mosquitto_ctrl dynsec init`");
	if (!load_access(r, root))
		return false;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		const json_t *list;

		r->list = NULL;
		if (!is_list(r, root, kinds[k].key, &list))
			return false;
		r->list = kinds[k].key;
		for (r->i = 0; r->i < json_array_size(list); r->i++)
			if (!kinds[k].load(r, json_array_get(list, r->i)))
				return false;
	}
	r->list = NULL;
	if (dynsec_get_text(root, "anonymousGroup", &anonymous) == GOT_BAD)
		return fail(r, "\"anonymousGroup\" is not a text");
	r->d->anonymous = anonymous != NULL ? find_group(r->d, anonymous) : NULL;
	return anonymous == NULL || r->d->anonymous != NULL ||
	       fail(r, "\"anonymousGroup\" names a group that is not there");
}

struct dynsec *
dynsec_parse(struct slice text, const char *name, struct err *err)
{
	struct reader r = { .d = calloc(1, sizeof(*r.d)), .name = name, .err = err };
	json_error_t e;
	json_t *root;

	if (r.d == NULL) {
		(void)nomem(&r);
		return NULL;
	}
	root = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &e);
	if (root == NULL && text.n == 0)
		(void)fail(&r, "is empty; make it with `mosquitto_ctrl dynsec init FILE ADMIN`");
	else if (root == NULL)
		(void)err_set(err, ERR_INPUT, "%s:%d:%d: not JSON: %s; put back a copy, or make a new file with `mosquitto_ctrl dynsec init`",
		    name, e.line, e.column, e.text);
	if (root == NULL || !load_all(&r, root)) {
		dynsec_free(r.d);
		r.d = NULL;
	}
	json_decref(root);
	return r.d;
}

/* ---- a new one ---- */

/* With the names that mosquitto_ctrl gives. */
static const char fresh[] =
    "{\"defaultACLAccess\":{\"publishClientSend\":false,\"publishClientReceive\":true,\"subscribe\":false,\"unsubscribe\":true},"
    "\"clients\":[{\"username\":\"admin\",\"textname\":\"Dynsec admin user\",\"roles\":[{\"rolename\":\"admin\"}]}],"
    "\"roles\":[{\"rolename\":\"admin\",\"acls\":["
    "{\"acltype\":\"publishClientSend\",\"topic\":\"$CONTROL/dynamic-security/#\",\"allow\":true},"
    "{\"acltype\":\"publishClientReceive\",\"topic\":\"$CONTROL/dynamic-security/#\",\"allow\":true},"
    "{\"acltype\":\"publishClientReceive\",\"topic\":\"$SYS/#\",\"allow\":true},"
    "{\"acltype\":\"publishClientReceive\",\"topic\":\"#\",\"allow\":true},"
    "{\"acltype\":\"subscribePattern\",\"topic\":\"$CONTROL/dynamic-security/#\",\"allow\":true},"
    "{\"acltype\":\"subscribePattern\",\"topic\":\"$SYS/#\",\"allow\":true},"
    "{\"acltype\":\"subscribePattern\",\"topic\":\"#\",\"allow\":true},"
    "{\"acltype\":\"unsubscribePattern\",\"topic\":\"#\",\"allow\":true}]}]}";

struct dynsec *
dynsec_init(const char *password, struct err *err)
{
	struct dynsec *d = dynsec_parse(slice_str(fresh), "a new file", err);

	if (d == NULL || dynsec_client_set_hash(find_client(d, "admin"), password))
		return d;
	dynsec_free(d);
	(void)err_set(err, ERR_INPUT, "the first password cannot be used: it must have 1 to 65535 bytes");
	return NULL;
}
