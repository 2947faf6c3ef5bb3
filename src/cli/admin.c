/* The first administrator: the registry with one tenant, and a user whose password is shown once and kept nowhere. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/passwd.h"
#include "registry/registry.h"
#include "server/server.h"

enum { PASSWORD_N = SITE_PASSWORD_CAP - 1 }; /* of 32 letters and digits each: 100 bits */

/* Without those that are taken for each other. */
static void
make_password(char out[static SITE_PASSWORD_CAP])
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	uint8_t bytes[PASSWORD_N];

	random_bytes(bytes, sizeof(bytes));
	for (size_t i = 0; i < PASSWORD_N; i++)
		out[i] = letters[bytes[i] % (sizeof(letters) - 1)];
	out[PASSWORD_N] = '\0';
	secret_wipe(bytes, sizeof(bytes));
}

/* Who may what from the beginning: administrators all, viewers look at everything of their tenant. */
static const struct {
	const char *group, *about, *permission, *path, *method;
} rights[] = {
	{ REGISTRY_ADMIN_GROUP, "May do everything", "all_all", "/(.*)", "(.*)" },
	{ "viewer", "May look at everything and change nothing", "ro_api", "/api/v1/(.*)", "(GET|HEAD)$" },
};

static bool
add_right(struct registry *r, size_t i, struct err *err)
{
	const struct registry_group g = { .name = slice_str(rights[i].group), .description = slice_str(rights[i].about), .system = true };
	const struct registry_permission p = { .name = slice_str(rights[i].permission), .path = slice_str(rights[i].path),
		.method = slice_str(rights[i].method), .system = true };
	int64_t group, permission;

	/* What is there was made by us, or is somebody's will. */
	if (!registry_group_add(r, &g, &group, err))
		return err->code == ERR_EXISTS;
	return registry_permission_add(r, &p, &permission, err) && registry_link_add(r, REGISTRY_GROUP_PERMISSION, group, permission, err);
}

static bool
join_admins(struct registry *r, int64_t user, struct err *err)
{
	struct registry_group g;
	bool ok = registry_group_find(r, SL(REGISTRY_ADMIN_GROUP), &g, err);

	if (!ok)
		return false;
	ok = registry_link_add(r, REGISTRY_USER_GROUP, user, g.id, err) || err->code == ERR_EXISTS;
	free(g.mem);
	return ok;
}

/* Administrators of all are users of the first tenant; where there is none yet, it is made. */
static bool
first_tenant(struct registry *r, const char *name, char ret[static REGISTRY_NAME_MAX + 1], struct err *err)
{
	struct registry_tenant t;
	bool ok = registry_tenant_first(r, &t, err);

	if (ok) {
		ok = text_copy(ret, REGISTRY_NAME_MAX + 1, t.name);
		free(t.mem);
		return ok;
	}
	t = (struct registry_tenant){ .name = slice_str(name) };
	return err->code == ERR_MISSING && text_copy(ret, REGISTRY_NAME_MAX + 1, t.name) && (registry_tenant_add(r, &t, err) || err->code == ERR_EXISTS);
}

static bool
prepare(struct registry *r, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(rights); i++)
		if (!add_right(r, i, err))
			return false;
	return true;
}

static bool
put_user(struct registry *r, const char *tenant, const char *name, const char *hash, struct err *err)
{
	struct registry_user u = { .tenant = slice_str(tenant), .name = slice_str(name), .password = slice_str(hash) }, old;
	int64_t id = 0;
	bool ok;

	if (registry_user_add(r, &u, &id, err))
		return join_admins(r, id, err);
	if (err->code != ERR_EXISTS || !registry_user_find(r, u.name, &old, err))
		return false;
	ok = (slice_eq(old.tenant, u.tenant) ||
		 err_set(err, ERR_DENIED, "user %s is one of tenant %.*s, and administrators of all are users of the first", name, SL_ARG(old.tenant))) &&
	     registry_user_set_password(r, old.id, u.password, err);
	if (ok && old.disabled) {
		old.disabled = false;
		ok = registry_user_set(r, &old, err);
	}
	id = old.id;
	free(old.mem);
	return ok && join_admins(r, id, err);
}

bool
site_tenant_ok(const char *name)
{
	return name[0] != '\0' && name[0] != '_' && strlen(name) <= REGISTRY_NAME_MAX &&
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

bool
site_admin_put(const char *registry, const char *tenant, const char *name, char password[static SITE_PASSWORD_CAP], struct err *err)
{
	struct registry_options o = { .path = registry, .create = true };
	struct registry *r = registry_open(&o, err);
	char hash[PASSWD_HASH_TEXT_MAX], first[REGISTRY_NAME_MAX + 1];
	bool ok;

	if (r == NULL)
		return false;
	make_password(password);
	ok = passwd_hash(PASSWD_ARGON2ID, 0, slice_str(password), hash, err) && registry_begin(r, err);
	if (ok) {
		ok = prepare(r, err) && first_tenant(r, tenant, first, err) && put_user(r, first, name, hash, err) && registry_commit(r, err);
		if (!ok)
			registry_rollback(r);
	}
	registry_close(r);
	secret_wipe(hash, sizeof(hash));
	return ok;
}

/* The tenant that the policy gives to a device whose certificate names none. */
static void
policy_tenant(const char *config_file, char ret[static SERVER_USAGE_MAX])
{
	const struct server_question q = { .config_file = config_file, .role = authz_role_name(AUTHZ_ROLE_CLIENT), .cn = "x", .client_id = "x" };
	struct server_usage usage;
	struct err ignored;
	char *colon;

	(void)text_copy(ret, SERVER_USAGE_MAX, SL(SITE_TENANT));
	if (!server_usage(&q, &usage, &ignored) || (colon = strchr(usage.client_id, ':')) == NULL)
		return;
	*colon = '\0';
	if (site_tenant_ok(usage.client_id))
		(void)text_copy(ret, SERVER_USAGE_MAX, slice_str(usage.client_id));
}

bool
site_admin(const char *config_file, const char *name, struct err *err)
{
	char path[PKI_PATH_MAX], tenant[SERVER_USAGE_MAX], password[SITE_PASSWORD_CAP];
	bool ok;

	policy_tenant(config_file, tenant);
	ok = server_registry_path(config_file, path, sizeof(path), err) && site_admin_put(path, tenant, name, password, err);

	if (ok)
		(void)printf("Administrator of the API: user %s, password %s\n(shown once; change it with PUT /api/v1/me/password)\n", name, password);
	secret_wipe(password, sizeof(password));
	return ok;
}
