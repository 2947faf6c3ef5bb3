/* Commands about roles and their ACLs. */
#include "dynsec/internal.h"

#include <stdlib.h>

static const char *
find(struct run *r, const json_t *c, struct role **ret)
{
	const char *name, *error = dynsec_need_name(c, &dynsec_rolename_words, &name);

	if (error != NULL)
		return error;
	*ret = find_role(r->d, name);
	return *ret != NULL ? NULL : "Role not found";
}

static const char *
read_acl(const json_t *c, enum authz_list *ret_list, const char **ret_topic)
{
	const char *type;

	if (dynsec_get_text(c, "acltype", &type) != GOT_IT)
		return "Invalid/missing acltype";
	if (!dynsec_list_parse(type, ret_list))
		return "Unknown acltype";
	if (dynsec_get_text(c, "topic", ret_topic) != GOT_IT)
		return "Invalid/missing topic";
	if (!dynsec_name_ok(*ret_topic))
		return "Topic not valid UTF-8";
	return authz_entry_ok(slice_str(*ret_topic)) ? NULL : "Invalid ACL topic";
}

/* "acls": [{"acltype", "topic", "priority", "allow"}] */
static const char *
read_acls(const json_t *c, struct acls to[AUTHZ_LISTS], bool *ret_there)
{
	const json_t *all = dynsec_get(c, "acls");

	*ret_there = json_is_array(all);
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *one = json_array_get(all, i);
		enum authz_list list;
		const char *topic, *error = read_acl(one, &list, &topic);

		if (error != NULL)
			return error;
		if (!dynsec_acls_add(&to[list], topic, dynsec_get_int(one, "priority", 0), dynsec_get_bool(one, "allow", false)))
			return INTERNAL_ERROR;
	}
	return NULL;
}

static void
clear(struct acls lists[AUTHZ_LISTS])
{
	for (unsigned i = 0; i < AUTHZ_LISTS; i++)
		dynsec_acls_clear(&lists[i]);
}

static void
set_acls(struct role *role, struct acls from[AUTHZ_LISTS])
{
	clear(role->acls);
	memcpy(role->acls, from, sizeof(role->acls));
	memset(from, 0, sizeof(role->acls));
	dynsec_role_changed(role);
}

static const char *
add_role(struct run *r, const char *name, const struct texts *t, struct acls acls[AUTHZ_LISTS])
{
	struct role *role = dynsec_role_new(name);

	if (role == NULL)
		return INTERNAL_ERROR;
	if (!dynsec_book_add(&r->d->roles, &role->e) || !dynsec_set_texts(&role->e, t)) {
		dynsec_role_delete(r->d, role);
		return INTERNAL_ERROR;
	}
	set_acls(role, acls);
	return NULL;
}

const char *
dynsec_role_create(struct run *r, const json_t *c)
{
	struct texts t = { 0 };
	struct acls acls[AUTHZ_LISTS] = { 0 };
	bool there;
	const char *name, *error = dynsec_need_name(c, &dynsec_rolename_words, &name);

	if (error != NULL || (error = dynsec_read_texts(c, &t)) != NULL)
		return error;
	if (find_role(r->d, name) != NULL)
		return "Role already exists";
	error = read_acls(c, acls, &there);
	if (error == NULL)
		error = add_role(r, name, &t, acls);
	clear(acls);
	return error;
}

const char *
dynsec_role_modify(struct run *r, const json_t *c)
{
	struct texts t = { 0 };
	struct acls acls[AUTHZ_LISTS] = { 0 };
	struct role *role;
	bool there = false;
	const char *name, *error = dynsec_need_name(c, &dynsec_rolename_words, &name);

	if (error != NULL)
		return error;
	role = find_role(r->d, name);
	if (role == NULL)
		return "Role does not exist";
	error = dynsec_read_texts(c, &t);
	if (error == NULL)
		error = read_acls(c, acls, &there);
	if (error == NULL && !dynsec_set_texts(&role->e, &t))
		error = INTERNAL_ERROR;
	if (error == NULL && there)
		set_acls(role, acls);
	clear(acls);
	return error;
}

/* All who have it, by themselves or by a group. */
static void
kick_role(struct run *r, const struct role *role)
{
	for (size_t i = 0; i < r->d->clients.n; i++)
		if (dynsec_refs_find(&((struct client *)(void *)r->d->clients.v[i])->roles, &role->e) != NULL)
			dynsec_kick(r, r->d->clients.v[i]->name);
	for (size_t i = 0; i < r->d->groups.n; i++)
		if (dynsec_refs_find(&((struct group *)(void *)r->d->groups.v[i])->roles, &role->e) != NULL)
			dynsec_kick_group(r, (const void *)r->d->groups.v[i]);
}

const char *
dynsec_role_remove(struct run *r, const json_t *c)
{
	struct role *role;
	const char *error = find(r, c, &role);

	if (error != NULL)
		return error;
	kick_role(r, role);
	dynsec_role_delete(r->d, role);
	return NULL;
}

const char *
dynsec_role_add_acl(struct run *r, const json_t *c)
{
	struct role *role;
	enum authz_list list;
	const char *topic, *error = find(r, c, &role);

	if (error != NULL || (error = read_acl(c, &list, &topic)) != NULL)
		return error;
	if (dynsec_acls_find(&role->acls[list], topic) != NULL)
		return "ACL with this topic already exists";
	if (!dynsec_acls_add(&role->acls[list], topic, dynsec_get_int(c, "priority", 0), dynsec_get_bool(c, "allow", false)))
		return INTERNAL_ERROR;
	dynsec_role_changed(role);
	kick_role(r, role);
	return NULL;
}

const char *
dynsec_role_remove_acl(struct run *r, const json_t *c)
{
	struct role *role;
	struct acls *acls;
	struct acl *acl;
	enum authz_list list;
	const char *topic, *error = find(r, c, &role);

	if (error != NULL || (error = read_acl(c, &list, &topic)) != NULL)
		return error;
	acls = &role->acls[list];
	acl = dynsec_acls_find(acls, topic);
	if (acl == NULL)
		return "ACL not found";
	free(acl->topic);
	acls->n--;
	memmove(acl, acl + 1, (size_t)(acls->v + acls->n - acl) * sizeof(*acl));
	dynsec_role_changed(role);
	kick_role(r, role);
	return NULL;
}

static json_t *
show(const struct entry *e)
{
	return dynsec_role_json((const void *)e);
}

const char *
dynsec_role_get(struct run *r, const json_t *c)
{
	struct role *role;
	const char *error = find(r, c, &role);

	return error != NULL ? error : dynsec_answer_one(r, "role", show(&role->e));
}

const char *
dynsec_role_list(struct run *r, const json_t *c)
{
	return dynsec_answer_list(r, c, &r->d->roles, "roles", show);
}
