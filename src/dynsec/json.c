/* Values in JSON, read and written; state to JSON, for the file and for answers. */
#include "dynsec/internal.h"

#include <limits.h>
#include <strings.h>

#include "base/text.h"

/* ---- reading values ---- */

json_t *
dynsec_get(const json_t *o, const char *key)
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
dynsec_get_text(const json_t *o, const char *key, const char **ret)
{
	const json_t *v = dynsec_get(o, key);

	*ret = NULL;
	if (v == NULL)
		return GOT_NONE;
	if (!json_is_string(v))
		return GOT_BAD;
	*ret = json_string_value(v);
	return GOT_IT;
}

bool
dynsec_get_bool(const json_t *o, const char *key, bool otherwise)
{
	const json_t *v = dynsec_get(o, key);

	return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

int
dynsec_get_int(const json_t *o, const char *key, int otherwise)
{
	const json_t *v = dynsec_get(o, key);
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
dynsec_name_ok(const char *s)
{
	struct slice text = slice_str(s);

	return text.n <= NAME_MAX_BYTES && utf8_ok(text) && !has_odd(text.p);
}

/* ---- writing values ---- */

bool
dynsec_put(json_t *o, const char *key, json_t *v)
{
	return json_object_set_new(o, key, v) == 0;
}

bool
dynsec_put_text(json_t *o, const char *key, const char *v)
{
	return v == NULL || dynsec_put(o, key, json_string(v));
}

bool
dynsec_put_texts(json_t *o, const struct entry *e)
{
	return dynsec_put_text(o, "textname", e->text_name) &&
	       dynsec_put_text(o, "textdescription", e->text_description);
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
dynsec_refs_json(const struct refs *r, const char *key, bool priorities)
{
	json_t *list = json_array();
	bool ok = list != NULL;

	for (size_t i = 0; ok && i < r->n; i++) {
		json_t *o = json_object();

		ok = o != NULL && dynsec_put_text(o, key, r->v[i].to->name) &&
		     (!priorities || r->v[i].priority == NO_PRIORITY ||
			 dynsec_put(o, "priority", json_integer(r->v[i].priority)));
		ok = json_array_append_new(list, o) == 0 && ok;
	}
	return only_if(ok, list);
}

json_t *
dynsec_acls_json(const struct role *r)
{
	json_t *all = json_array();
	bool ok = all != NULL;

	for (unsigned list = 0; list < AUTHZ_LISTS; list++) {
		for (size_t i = 0; ok && i < r->acls[list].n; i++) {
			const struct acl *a = &r->acls[list].v[i];
			json_t *o = json_object();

			ok = o != NULL && dynsec_put_text(o, "acltype", dynsec_list_names[list]) &&
			     dynsec_put_text(o, "topic", a->topic) &&
			     dynsec_put(o, "priority", json_integer(a->priority)) &&
			     dynsec_put(o, "allow", json_boolean(a->allow));
			ok = json_array_append_new(all, o) == 0 && ok;
		}
	}
	return only_if(ok, all);
}

json_t *
dynsec_role_json(const struct role *r)
{
	json_t *o = json_object();

	return only_if(o != NULL && dynsec_put_text(o, "rolename", r->e.name) && dynsec_put_texts(o, &r->e) &&
			   (!r->has_wildcards || dynsec_put(o, "allowwildcardsubs", json_true())) &&
			   dynsec_put(o, "acls", dynsec_acls_json(r)),
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
		return dynsec_put_text(o, "encoded_password", hash);
	rest = slice_from(rest, 3);
	iterations = slice_cut(&rest, '$', &more);
	salt = slice_cut(&rest, '$', &more);
	return text_u64(iterations, 1, INT_MAX, &n) &&
	       dynsec_put(o, "password", json_stringn((const char *)rest.p, rest.n)) &&
	       dynsec_put(o, "salt", json_stringn((const char *)salt.p, salt.n)) &&
	       dynsec_put(o, "iterations", json_integer((json_int_t)n));
}

static json_t *
dynsec_client_json(const struct client *c)
{
	json_t *o = json_object();

	return only_if(o != NULL && dynsec_put_text(o, "username", c->e.name) &&
			   dynsec_put_text(o, "clientid", c->client_id) && dynsec_put_texts(o, &c->e) &&
			   (!c->disabled || dynsec_put(o, "disabled", json_true())) &&
			   dynsec_put(o, "roles", dynsec_refs_json(&c->roles, "rolename", true)) &&
			   (c->hash == NULL || put_hash(o, c->hash)),
	    o);
}

static json_t *
dynsec_group_json(const struct group *g)
{
	json_t *o = json_object();

	return only_if(o != NULL && dynsec_put_text(o, "groupname", g->e.name) && dynsec_put_texts(o, &g->e) &&
			   dynsec_put(o, "roles", dynsec_refs_json(&g->roles, "rolename", true)) &&
			   dynsec_put(o, "clients", dynsec_refs_json(&g->clients, "username", true)),
	    o);
}

static bool
put_access(json_t *root, const struct dynsec *d)
{
	json_t *o = json_object();
	bool ok = dynsec_put(root, "defaultACLAccess", o);

	for (unsigned i = 0; i < ACCESSES; i++)
		ok = ok && dynsec_put(o, dynsec_access_names[i], json_boolean(d->access[i]));
	return ok;
}

static bool
put_all(json_t *root, const struct dynsec *d)
{
	json_t *clients = json_array(), *groups = json_array(), *roles = json_array();
	bool ok = put_access(root, d);

	ok = dynsec_put(root, "clients", clients) && ok;
	ok = dynsec_put(root, "groups", groups) && ok;
	ok = dynsec_put(root, "roles", roles) && ok;
	for (size_t i = 0; ok && i < d->clients.n; i++)
		ok = json_array_append_new(clients, dynsec_client_json((const void *)d->clients.v[i])) == 0;
	for (size_t i = 0; ok && i < d->groups.n; i++)
		ok = json_array_append_new(groups, dynsec_group_json((const void *)d->groups.v[i])) == 0;
	for (size_t i = 0; ok && i < d->roles.n; i++)
		ok = json_array_append_new(roles, dynsec_role_json((const void *)d->roles.v[i])) == 0;
	return ok && (d->anonymous == NULL || dynsec_put_text(root, "anonymousGroup", d->anonymous->e.name));
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
