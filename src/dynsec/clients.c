/* Commands about clients. */
#include "dynsec/internal.h"

#include <stdlib.h>

#include "base/secret.h"

static const char *
find(struct run *r, const json_t *c, struct client **ret)
{
	const char *name, *error = dynsec_need_name(c, &dynsec_username_words, &name);

	if (error != NULL)
		return error;
	*ret = find_client(r->d, name);
	return *ret != NULL ? NULL : "Client not found";
}

bool
dynsec_client_set_hash(struct client *c, const char *password)
{
	char hash[PASSWD_HASH_TEXT_MAX], *old = c->hash;
	bool ok;

	if (!passwd_hash(PASSWD_PBKDF2, 0, slice_str(password), hash, NULL))
		return false;
	c->hash = NULL;
	ok = dynsec_set_text(&c->hash, hash);
	secret_wipe(hash, sizeof(hash));
	if (ok)
		secret_free(old, old != NULL ? strlen(old) : 0);
	else
		c->hash = old;
	return ok;
}

/* "groups": [{"groupname", "priority"}] */
static const char *
read_groups(const struct run *r, const json_t *c, struct refs *ret, bool *ret_there)
{
	const json_t *list = dynsec_get(c, "groups");
	const char *name;

	*ret_there = json_is_array(list);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		struct group *g;

		if (!json_is_object(one) || dynsec_get_text(one, "groupname", &name) != GOT_IT)
			continue;
		g = find_group(r->d, name);
		if (g == NULL)
			return "Group not found";
		if (dynsec_refs_find(ret, &g->e) == NULL && !dynsec_refs_add(ret, &g->e, dynsec_get_int(one, "priority", NO_PRIORITY)))
			return INTERNAL_ERROR;
	}
	return NULL;
}

/* What createClient and modifyClient say about a client. */
struct wanted {
	const char *password, *client_id;
	struct texts texts;
	struct refs roles, groups;
	bool has_roles, has_groups;
};

static const char *
read_words(const json_t *c, struct wanted *w)
{
	if (dynsec_get_text(c, "password", &w->password) == GOT_BAD)
		return "Invalid/missing password";
	if (dynsec_get_text(c, "clientid", &w->client_id) == GOT_BAD)
		return "Invalid/missing client id";
	if (w->client_id != NULL && !dynsec_name_ok(w->client_id))
		return "Client ID not valid UTF-8";
	return dynsec_read_texts(c, &w->texts);
}

static const char *
read_lists(const struct run *r, const json_t *c, struct wanted *w)
{
	const char *error = dynsec_read_roles(r, c, &w->roles, &w->has_roles);

	return error != NULL ? error : read_groups(r, c, &w->groups, &w->has_groups);
}

/* An empty client id is none. */
static bool
set_client_id(struct client *c, const char *id)
{
	return dynsec_set_text(&c->client_id, id != NULL && id[0] != '\0' ? id : NULL);
}

static bool
apply(struct client *c, struct wanted *w)
{
	if (w->client_id != NULL && !set_client_id(c, w->client_id))
		return false;
	if (w->password != NULL && w->password[0] != '\0' && !dynsec_client_set_hash(c, w->password))
		return false;
	if (!dynsec_set_texts(&c->e, &w->texts))
		return false;
	if (w->has_roles) {
		free(c->roles.v);
		c->roles = w->roles;
		w->roles = (struct refs){ 0 };
	}
	while (w->has_groups && c->groups.n > 0)
		dynsec_group_leave((void *)c->groups.v[0].to, c);
	for (size_t i = 0; i < w->groups.n; i++)
		if (!dynsec_group_join((void *)w->groups.v[i].to, c, w->groups.v[i].priority))
			return false;
	return true;
}

static void
wanted_done(struct wanted *w)
{
	free(w->roles.v);
	free(w->groups.v);
}

static const char *
add_client(struct run *r, const char *name, struct wanted *w)
{
	struct client *c = dynsec_client_new(name);

	if (c == NULL)
		return INTERNAL_ERROR;
	if (dynsec_book_add(&r->d->clients, &c->e) && apply(c, w))
		return NULL;
	dynsec_client_delete(r->d, c);
	return INTERNAL_ERROR;
}

const char *
dynsec_client_create(struct run *r, const json_t *c)
{
	struct wanted w = { 0 };
	const char *name, *error = dynsec_need_name(c, &dynsec_username_words, &name);

	if (error != NULL)
		return error;
	error = read_words(c, &w);
	if (error != NULL)
		return error;
	if (find_client(r->d, name) != NULL)
		return "Client already exists";
	if (w.password != NULL && w.password[0] == '\0')
		return "Empty password is not allowed";
	error = read_lists(r, c, &w);
	if (error == NULL)
		error = add_client(r, name, &w);
	wanted_done(&w);
	return error;
}

const char *
dynsec_client_modify(struct run *r, const json_t *c)
{
	struct wanted w = { 0 };
	struct client *client;
	const char *error = find(r, c, &client);

	if (error != NULL)
		return error;
	error = read_words(c, &w);
	if (error == NULL)
		error = read_lists(r, c, &w);
	if (error == NULL && !apply(client, &w))
		error = INTERNAL_ERROR;
	wanted_done(&w);
	if (error == NULL)
		dynsec_kick(r, client->e.name);
	return error;
}

const char *
dynsec_client_remove(struct run *r, const json_t *c)
{
	struct client *client;
	const char *error = find(r, c, &client);

	if (error != NULL)
		return error;
	dynsec_kick(r, client->e.name);
	dynsec_client_delete(r->d, client);
	return NULL;
}

static const char *
set_disabled(struct run *r, const json_t *c, bool disabled)
{
	struct client *client;
	const char *error = find(r, c, &client);

	if (error != NULL)
		return error;
	client->disabled = disabled;
	if (disabled)
		dynsec_kick(r, client->e.name);
	return NULL;
}

const char *
dynsec_client_enable(struct run *r, const json_t *c)
{
	return set_disabled(r, c, false);
}

const char *
dynsec_client_disable(struct run *r, const json_t *c)
{
	return set_disabled(r, c, true);
}

const char *
dynsec_client_set_id(struct run *r, const json_t *c)
{
	struct client *client;
	const char *name, *id, *error = dynsec_need_name(c, &dynsec_username_words, &name);

	if (error != NULL)
		return error;
	if (dynsec_get_text(c, "clientid", &id) == GOT_BAD)
		return "Invalid/missing client ID";
	if (id != NULL && !dynsec_name_ok(id))
		return "Client ID not valid UTF-8";
	error = find(r, c, &client);
	if (error != NULL)
		return error;
	if (!set_client_id(client, id))
		return INTERNAL_ERROR;
	dynsec_kick(r, client->e.name);
	return NULL;
}

const char *
dynsec_client_set_password(struct run *r, const json_t *c)
{
	struct client *client;
	const char *name, *password, *error = dynsec_need_name(c, &dynsec_username_words, &name);

	if (error != NULL)
		return error;
	if (dynsec_get_text(c, "password", &password) != GOT_IT)
		return "Invalid/missing password";
	if (password[0] == '\0')
		return "Empty password is not allowed";
	error = find(r, c, &client);
	if (error != NULL)
		return error;
	if (!dynsec_client_set_hash(client, password))
		return INTERNAL_ERROR;
	dynsec_kick(r, client->e.name);
	return NULL;
}

static const char *
find_both(struct run *r, const json_t *c, struct client **ret_client, struct role **ret_role)
{
	const char *username, *rolename, *error = dynsec_need_name(c, &dynsec_username_words, &username);

	if (error != NULL || (error = dynsec_need_name(c, &dynsec_rolename_words, &rolename)) != NULL)
		return error;
	if ((*ret_client = find_client(r->d, username)) == NULL)
		return "Client not found";
	*ret_role = find_role(r->d, rolename);
	return *ret_role != NULL ? NULL : "Role not found";
}

const char *
dynsec_client_add_role(struct run *r, const json_t *c)
{
	struct client *client;
	struct role *role;
	const char *error = find_both(r, c, &client, &role);

	if (error != NULL)
		return error;
	/* mosquitto's word for "has it already". */
	if (dynsec_refs_find(&client->roles, &role->e) != NULL ||
	    !dynsec_refs_add(&client->roles, &role->e, dynsec_get_int(c, "priority", NO_PRIORITY)))
		return INTERNAL_ERROR;
	dynsec_kick(r, client->e.name);
	return NULL;
}

const char *
dynsec_client_remove_role(struct run *r, const json_t *c)
{
	struct client *client;
	struct role *role;
	const char *error = find_both(r, c, &client, &role);

	if (error != NULL)
		return error;
	dynsec_refs_del(&client->roles, &role->e);
	dynsec_kick(r, client->e.name);
	return NULL;
}

static json_t *
show(const struct entry *e)
{
	const struct client *c = (const void *)e;
	json_t *o = json_object();

	if (o != NULL && dynsec_put_text(o, "username", e->name) && dynsec_put_text(o, "clientid", c->client_id) && dynsec_put_texts(o, e) &&
	    (!c->disabled || dynsec_put(o, "disabled", json_true())) && dynsec_put(o, "roles", dynsec_refs_json(&c->roles, "rolename", true)) &&
	    dynsec_put(o, "groups", dynsec_refs_json(&c->groups, "groupname", true)))
		return o;
	json_decref(o);
	return NULL;
}

const char *
dynsec_client_get(struct run *r, const json_t *c)
{
	struct client *client;
	const char *error = find(r, c, &client);

	return error != NULL ? error : dynsec_answer_one(r, "client", show(&client->e));
}

const char *
dynsec_client_list(struct run *r, const json_t *c)
{
	return dynsec_answer_list(r, c, &r->d->clients, "clients", show);
}
