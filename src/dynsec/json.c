/* The file: JSON to state and back. What is not as it should be stops the reading, for a rule that is left out may be the one
 * that keeps somebody away. */
#include "dynsec/internal.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

/* ---- reading values ---- */

json_t *
get(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key), *each;
	const char *name;

	if (v != NULL)
		return v;
	json_object_foreach((json_t *)(uintptr_t)o, name, each) {
		if (strcasecmp(name, key) == 0)
			return each;
	}
	return NULL;
}

enum got
get_text(const json_t *o, const char *key, const char **ret)
{
	const json_t *v = get(o, key);

	*ret = NULL;
	if (v == NULL)
		return GOT_NONE;
	if (!json_is_string(v))
		return GOT_BAD;
	*ret = json_string_value(v);
	return GOT_IT;
}

bool
get_bool(const json_t *o, const char *key, bool otherwise)
{
	const json_t *v = get(o, key);

	return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

int
get_int(const json_t *o, const char *key, int otherwise)
{
	const json_t *v = get(o, key);
	double d;

	if (!json_is_number(v))
		return otherwise;
	d = json_number_value(v);
	return d >= INT_MAX ? INT_MAX : d <= INT_MIN ? INT_MIN : (int)d;
}

/* Of well-formed UTF-8: is there a control character, or a code point that is none? */
static bool
has_odd(const uint8_t *p)
{
	for (; *p != 0; p++) {
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return true;
		/* U+FDD0..U+FDEF */
		if (*p == 0xef && p[1] == 0xb7 && p[2] >= 0x90 && p[2] <= 0xaf)
			return true;
		/* U+FFFE and U+FFFF, and their like in the other planes */
		if (*p == 0xef && p[1] == 0xbf && p[2] >= 0xbe)
			return true;
		if (*p >= 0xf0 && (p[1] & 0x0f) == 0x0f && p[2] == 0xbf && p[3] >= 0xbe)
			return true;
	}
	return false;
}

bool
name_ok(const char *s)
{
	struct slice text = slice_str(s);

	return text.n <= NAME_MAX_BYTES && utf8_ok(text) && !has_odd(text.p);
}

/* ---- writing values ---- */

bool
put(json_t *o, const char *key, json_t *v)
{
	return json_object_set_new(o, key, v) == 0;
}

bool
put_text(json_t *o, const char *key, const char *v)
{
	return v == NULL || put(o, key, json_string(v));
}

bool
put_texts(json_t *o, const struct entry *e)
{
	return put_text(o, "textname", e->text_name) &&
	       put_text(o, "textdescription", e->text_description);
}

/* <ok>, or <v> is released. */
static json_t *
only_if(bool ok, json_t *v)
{
	if (ok)
		return v;
	json_decref(v);
	return NULL;
}

json_t *
refs_json(const struct refs *r, const char *key, bool priorities)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (size_t i = 0; ok && i < r->n; i++) {
		json_t *o = json_object();

		ok = o != NULL && put_text(o, key, r->v[i].to->name) &&
		     (!priorities || r->v[i].priority == NO_PRIORITY ||
			 put(o, "priority", json_integer(r->v[i].priority)));
		ok = json_array_append_new(list, o) == 0 && ok;
	}
	return only_if(ok, list);
}

json_t *
acls_json(const struct role *r)
{
	json_t *all = json_array();
	bool ok = all != NULL;

	for (unsigned list = 0; list < AUTHZ_LISTS; list++) {
		for (size_t i = 0; ok && i < r->acls[list].n; i++) {
			const struct acl *a = &r->acls[list].v[i];
			json_t *o = json_object();

			ok = o != NULL && put_text(o, "acltype", list_names[list]) &&
			     put_text(o, "topic", a->topic) &&
			     put(o, "priority", json_integer(a->priority)) &&
			     put(o, "allow", json_boolean(a->allow));
			ok = json_array_append_new(all, o) == 0 && ok;
		}
	}
	return only_if(ok, all);
}

json_t *
role_json(const struct role *r)
{
	json_t *o = json_object();

	return only_if(o != NULL && put_text(o, "rolename", r->e.name) && put_texts(o, &r->e) &&
			   (!r->has_wildcards || put(o, "allowwildcardsubs", json_true())) &&
			   put(o, "acls", acls_json(r)),
	    o);
}

/* "$7$iterations$salt$hash" as mosquitto's three members; other kinds as it writes them since 2.1. */
static bool
put_hash(json_t *o, const char *hash)
{
	struct slice rest = slice_str(hash), iterations, salt;
	uint64_t n = 0;
	bool more;

	if (!slice_starts(rest, SL("$7$")))
		return put_text(o, "encoded_password", hash);
	rest = slice_from(rest, 3);
	iterations = slice_cut(&rest, '$', &more);
	salt = slice_cut(&rest, '$', &more);
	return text_u64(iterations, 1, INT_MAX, &n) &&
	       put(o, "password", json_stringn((const char *)rest.p, rest.n)) &&
	       put(o, "salt", json_stringn((const char *)salt.p, salt.n)) &&
	       put(o, "iterations", json_integer((json_int_t)n));
}

static json_t *
client_json(const struct client *c)
{
	json_t *o = json_object();

	return only_if(o != NULL && put_text(o, "username", c->e.name) &&
			   put_text(o, "clientid", c->client_id) && put_texts(o, &c->e) &&
			   (!c->disabled || put(o, "disabled", json_true())) &&
			   put(o, "roles", refs_json(&c->roles, "rolename", true)) &&
			   (c->hash == NULL || put_hash(o, c->hash)),
	    o);
}

static json_t *
group_json(const struct group *g)
{
	json_t *o = json_object();

	return only_if(o != NULL && put_text(o, "groupname", g->e.name) && put_texts(o, &g->e) &&
			   put(o, "roles", refs_json(&g->roles, "rolename", true)) &&
			   put(o, "clients", refs_json(&g->clients, "username", true)),
	    o);
}

static bool
put_access(json_t *root, const struct dynsec *d)
{
	json_t *o = json_object();
	bool ok = put(root, "defaultACLAccess", o);

	for (unsigned i = 0; i < ACCESSES; i++)
		ok = ok && put(o, access_names[i], json_boolean(d->access[i]));
	return ok;
}

static bool
put_all(json_t *root, const struct dynsec *d)
{
	json_t *clients = json_array(), *groups = json_array(), *roles = json_array();
	bool ok = put_access(root, d);

	ok = put(root, "clients", clients) && ok;
	ok = put(root, "groups", groups) && ok;
	ok = put(root, "roles", roles) && ok;
	for (size_t i = 0; ok && i < d->clients.n; i++)
		ok = json_array_append_new(clients, client_json((const void *)d->clients.v[i])) == 0;
	for (size_t i = 0; ok && i < d->groups.n; i++)
		ok = json_array_append_new(groups, group_json((const void *)d->groups.v[i])) == 0;
	for (size_t i = 0; ok && i < d->roles.n; i++)
		ok = json_array_append_new(roles, role_json((const void *)d->roles.v[i])) == 0;
	return ok && (d->anonymous == NULL || put_text(root, "anonymousGroup", d->anonymous->e.name));
}

char *
dynsec_dump(const struct dynsec *d, size_t *ret_n)
{
	json_t *root = json_object();
	char *text = NULL;

	if (root != NULL && put_all(root, d))
		text = json_dumps(root, JSON_INDENT(4));
	json_decref(root);
	if (text != NULL)
		*ret_n = strlen(text);
	return text;
}

/* ---- reading the file ---- */

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
	if (get_text(o, key, ret) != GOT_IT)
		return fail(r, "has no \"%s\", or it is not a text", key);
	return name_ok(*ret) || fail(r, "the \"%s\" has characters that cannot stand in a name", key);
}

static bool
load_text(const struct reader *r, const json_t *o, const char *key, char **at)
{
	const char *v;

	if (get_text(o, key, &v) == GOT_BAD)
		return fail(r, "\"%s\" is not a text", key);
	return set_text(at, v) || nomem(r);
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
	*ret = get(o, key);
	return *ret == NULL || json_is_array(*ret) || fail(r, "\"%s\" is not an array", key);
}

static bool
load_role_refs(struct reader *r, const json_t *o, struct refs *to)
{
	const json_t *list;
	const char *name;

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
		else if (refs_find(to, &role->e) == NULL &&
			 !refs_add(to, &role->e, get_int(one, "priority", NO_PRIORITY)))
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
	const json_t *iterations = get(o, "iterations");
	char text[PASSWD_HASH_TEXT_MAX];
	int n;

	if (get_text(o, "encoded_password", &encoded) == GOT_BAD || get_text(o, "password", &hash) == GOT_BAD ||
	    get_text(o, "salt", &salt) == GOT_BAD)
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
	n = set_text(ret, text);
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
	const char *name;
	struct client *c;

	if (!load_name(r, o, "username", &name))
		return false;
	if (find_client(r->d, name) != NULL)
		return fail(r, "there is a client of this name before it; remove one of them");
	c = client_new(name);
	if (c == NULL || !book_add(&r->d->clients, &c->e)) {
		if (c != NULL)
			client_delete(r->d, c);
		return nomem(r);
	}
	if (get(o, "disabled") != NULL && !json_is_boolean(get(o, "disabled")))
		return fail(r, "\"disabled\" is neither true nor false");
	c->disabled = get_bool(o, "disabled", false);
	return fill_client(r, o, c);
}

static bool
load_members(struct reader *r, const json_t *o, struct group *g)
{
	const json_t *list;
	const char *name;

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
		else if (!group_join(g, c, get_int(one, "priority", NO_PRIORITY)))
			return nomem(r);
	}
	r->sub = NULL;
	return true;
}

static bool
load_group(struct reader *r, const json_t *o)
{
	const char *name;
	struct group *g;

	if (!load_name(r, o, "groupname", &name))
		return false;
	if (find_group(r->d, name) != NULL)
		return fail(r, "there is a group of this name before it; remove one of them");
	g = group_new(name);
	if (g == NULL || !book_add(&r->d->groups, &g->e)) {
		if (g != NULL)
			group_delete(r->d, g);
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
	if (get_text(o, "acltype", &type) != GOT_IT || !list_parse(type, &list))
		return fail(r, "\"acltype\" is none that is known");
	if (get_text(o, "topic", &topic) != GOT_IT || !name_ok(topic) || !authz_entry_ok(slice_str(topic)))
		return fail(r, "\"topic\" is not a topic filter of at most 1024 bytes");
	if (get(o, "allow") != NULL && !json_is_boolean(get(o, "allow")))
		return fail(r, "\"allow\" is neither true nor false");
	return acls_add(&role->acls[list], topic, get_int(o, "priority", 0), get_bool(o, "allow", false)) || nomem(r);
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
	const char *name;
	struct role *role;

	if (!load_name(r, o, "rolename", &name))
		return false;
	if (find_role(r->d, name) != NULL)
		return fail(r, "there is a role of this name before it; remove one of them");
	role = role_new(name);
	if (role == NULL || !book_add(&r->d->roles, &role->e)) {
		if (role != NULL)
			role_delete(r->d, role);
		return nomem(r);
	}
	role->has_wildcards = get(o, "allowwildcardsubs") != NULL;
	if (role->has_wildcards && !json_is_true(get(o, "allowwildcardsubs")))
		return fail(r, "\"allowwildcardsubs\": false is not known here; deny wildcards by subscribePattern ACLs, and remove it");
	return load_texts(r, o, &role->e) && load_acls(r, o, role);
}

static bool
load_access(const struct reader *r, const json_t *root)
{
	const json_t *o = get(root, "defaultACLAccess");

	if (o != NULL && !json_is_object(o))
		return fail(r, "\"defaultACLAccess\" is not an object");
	for (unsigned i = 0; o != NULL && i < ACCESSES; i++) {
		const json_t *v = get(o, access_names[i]);

		if (v != NULL && !json_is_boolean(v))
			return fail(r, "defaultACLAccess: \"%s\" is neither true nor false", access_names[i]);
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
	if (get_text(root, "anonymousGroup", &anonymous) == GOT_BAD)
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
