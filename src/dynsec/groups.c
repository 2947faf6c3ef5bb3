/* Commands about groups. */
#include "dynsec/internal.h"

#include <stdlib.h>

static const char *
find(struct run *r, const json_t *c, struct group **ret)
{
	const char *name, *error = dynsec_need_name(c, &dynsec_groupname_words, &name);

	if (error != NULL)
		return error;
	*ret = find_group(r->d, name);
	return *ret != NULL ? NULL : "Group not found";
}

static void
set_roles(struct group *g, struct refs *roles)
{
	free(g->roles.v);
	g->roles = *roles;
	*roles = (struct refs){ 0 };
}

static const char *
add_group(struct run *r, const char *name, const struct texts *t, struct refs *roles)
{
	struct group *g = dynsec_group_new(name);

	if (g == NULL)
		return INTERNAL_ERROR;
	if (!dynsec_book_add(&r->d->groups, &g->e) || !dynsec_set_texts(&g->e, t)) {
		dynsec_group_delete(r->d, g);
		return INTERNAL_ERROR;
	}
	set_roles(g, roles);
	return NULL;
}

const char *
dynsec_group_create(struct run *r, const json_t *c)
{
	struct texts t = { 0 };
	struct refs roles = { 0 };
	bool there;
	const char *name, *error = dynsec_need_name(c, &dynsec_groupname_words, &name);

	if (error != NULL || (error = dynsec_read_texts(c, &t)) != NULL)
		return error;
	if (find_group(r->d, name) != NULL)
		return "Group already exists";
	error = dynsec_read_roles(r, c, &roles, &there);
	if (error == NULL)
		error = add_group(r, name, &t, &roles);
	free(roles.v);
	return error;
}

const char *
dynsec_group_remove(struct run *r, const json_t *c)
{
	struct group *g;
	const char *error = find(r, c, &g);

	if (error != NULL)
		return error;
	if (g == r->d->anonymous)
		return "Deleting the anonymous group is forbidden";
	dynsec_kick_group(r, g);
	dynsec_group_delete(r->d, g);
	return NULL;
}

/* "clients": [{"username", "priority"}] */
static const char *
read_clients(const struct run *r, const json_t *c, struct refs *ret, bool *ret_there)
{
	const json_t *list = dynsec_get(c, "clients");
	const char *name;

	*ret_there = json_is_array(list);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		struct client *client;

		if (!json_is_object(one) || dynsec_get_text(one, "username", &name) != GOT_IT)
			continue;
		client = find_client(r->d, name);
		if (client == NULL)
			return "Client not found";
		if (dynsec_refs_find(ret, &client->e) == NULL &&
		    !dynsec_refs_add(ret, &client->e, dynsec_get_int(one, "priority", NO_PRIORITY)))
			return INTERNAL_ERROR;
	}
	return NULL;
}

static const char *
set_clients(struct run *r, struct group *g, const struct refs *clients)
{
	while (g->clients.n > 0) {
		dynsec_kick(r, g->clients.v[0].to->name);
		dynsec_group_leave(g, (void *)g->clients.v[0].to);
	}
	for (size_t i = 0; i < clients->n; i++)
		if (!dynsec_group_join(g, (void *)clients->v[i].to, clients->v[i].priority))
			return INTERNAL_ERROR;
	return NULL;
}

const char *
dynsec_group_modify(struct run *r, const json_t *c)
{
	struct texts t = { 0 };
	struct refs roles = { 0 }, clients = { 0 };
	struct group *g;
	bool has_roles = false, has_clients = false;
	const char *error = find(r, c, &g);

	if (error != NULL || (error = dynsec_read_texts(c, &t)) != NULL)
		return error;
	error = dynsec_read_roles(r, c, &roles, &has_roles);
	if (error == NULL)
		error = read_clients(r, c, &clients, &has_clients);
	if (error == NULL && !dynsec_set_texts(&g->e, &t))
		error = INTERNAL_ERROR;
	if (error == NULL && has_roles)
		set_roles(g, &roles);
	if (error == NULL && has_clients)
		error = set_clients(r, g, &clients);
	if (error == NULL)
		dynsec_kick_group(r, g);
	free(roles.v);
	free(clients.v);
	return error;
}

static const char *
find_both(struct run *r, const json_t *c, struct group **ret_group, struct client **ret_client)
{
	const char *username, *groupname, *error = dynsec_need_name(c, &dynsec_username_words, &username);

	if (error != NULL || (error = dynsec_need_name(c, &dynsec_groupname_words, &groupname)) != NULL)
		return error;
	if ((*ret_client = find_client(r->d, username)) == NULL)
		return "Client not found";
	*ret_group = find_group(r->d, groupname);
	return *ret_group != NULL ? NULL : "Group not found";
}

const char *
dynsec_group_add_client(struct run *r, const json_t *c)
{
	struct client *client;
	struct group *g;
	const char *error = find_both(r, c, &g, &client);

	if (error != NULL)
		return error;
	if (dynsec_refs_find(&client->groups, &g->e) != NULL)
		return "Client is already in this group";
	if (!dynsec_group_join(g, client, dynsec_get_int(c, "priority", NO_PRIORITY)))
		return INTERNAL_ERROR;
	dynsec_kick(r, client->e.name);
	return NULL;
}

const char *
dynsec_group_remove_client(struct run *r, const json_t *c)
{
	struct client *client;
	struct group *g;
	const char *error = find_both(r, c, &g, &client);

	if (error != NULL)
		return error;
	dynsec_group_leave(g, client);
	dynsec_kick(r, client->e.name);
	return NULL;
}

static const char *
find_role_too(struct run *r, const json_t *c, struct group **ret_group, struct role **ret_role)
{
	const char *groupname, *rolename, *error = dynsec_need_name(c, &dynsec_groupname_words, &groupname);

	if (error != NULL || (error = dynsec_need_name(c, &dynsec_rolename_words, &rolename)) != NULL)
		return error;
	if ((*ret_group = find_group(r->d, groupname)) == NULL)
		return "Group not found";
	*ret_role = find_role(r->d, rolename);
	return *ret_role != NULL ? NULL : "Role not found";
}

const char *
dynsec_group_add_role(struct run *r, const json_t *c)
{
	struct group *g;
	struct role *role;
	const char *error = find_role_too(r, c, &g, &role);

	if (error != NULL)
		return error;
	if (dynsec_refs_find(&g->roles, &role->e) != NULL)
		return "Group is already in this role";
	if (!dynsec_refs_add(&g->roles, &role->e, dynsec_get_int(c, "priority", NO_PRIORITY)))
		return INTERNAL_ERROR;
	dynsec_kick_group(r, g);
	return NULL;
}

const char *
dynsec_group_remove_role(struct run *r, const json_t *c)
{
	struct group *g;
	struct role *role;
	const char *error = find_role_too(r, c, &g, &role);

	if (error != NULL)
		return error;
	dynsec_refs_del(&g->roles, &role->e);
	dynsec_kick_group(r, g);
	return NULL;
}

const char *
dynsec_group_set_anonymous(struct run *r, const json_t *c)
{
	struct group *g;
	const char *error = find(r, c, &g);

	if (error != NULL)
		return error;
	r->d->anonymous = g;
	dynsec_kick_anonymous(r);
	return NULL;
}

const char *
dynsec_group_get_anonymous(struct run *r, const json_t *c)
{
	json_t *o = json_object();

	(void)c;
	if (o == NULL || !dynsec_put_text(o, "groupname", r->d->anonymous != NULL ? r->d->anonymous->e.name : "")) {
		json_decref(o);
		return INTERNAL_ERROR;
	}
	return dynsec_answer_one(r, "group", o);
}

static json_t *
show(const struct entry *e)
{
	const struct group *g = (const void *)e;
	json_t *o = json_object();

	if (o != NULL && dynsec_put_text(o, "groupname", e->name) && dynsec_put_texts(o, e) &&
	    dynsec_put(o, "clients", dynsec_refs_json(&g->clients, "username", false)) &&
	    dynsec_put(o, "roles", dynsec_refs_json(&g->roles, "rolename", true)))
		return o;
	json_decref(o);
	return NULL;
}

const char *
dynsec_group_get(struct run *r, const json_t *c)
{
	struct group *g;
	const char *error = find(r, c, &g);

	return error != NULL ? error : dynsec_answer_one(r, "group", show(&g->e));
}

const char *
dynsec_group_list(struct run *r, const json_t *c)
{
	return dynsec_answer_list(r, c, &r->d->groups, "groups", show);
}
