/* The operations, and which of them a path means. */
#include "api/internal.h"

#include "base/num.h"
#include "base/text.h"

/* The first that fits counts. */
const struct op_group *const op_groups[] = {
	&group_public,
	&group_ocsp,
	&group_est,
	&group_login,
	&group_tenants,
	&group_users,
	&group_groups,
	&group_rights,
	&group_policy,
	&group_templates,
	&group_devices,
	&group_issue,
	&group_bundles,
	&group_certificates,
	&group_broker,
	&group_actuate,
	&group_cas,
	&group_audit,
	&group_enrol,
	&group_pending,
	&group_events,
	&group_backup,
	&group_system,
	&group_signin,
};
const size_t op_groups_n = ARRAY_LEN(op_groups);

const struct field page_query[] = {
	{ "limit", FIELD_INT, .min = 1, .max = REGISTRY_PAGE_MAX, .help = "Entries of a page (100)", .example = "100" },
	{ "cursor", FIELD_TEXT, .min = 1, .max = REGISTRY_CURSOR_MAX - 1, .help = "`next` of the page before" },
	{ 0 },
};
const struct field tenant_query[] = {
	{ "tenant", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_name,
	    .help = "The tenant that is meant; another one than one's own only for users of the first tenant, with a permission for /api/v1/tenants/{tenant}" },
	{ 0 },
};

static const struct field params[] = {
	{ "tenant", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_name, .help = "Name of a tenant" },
	{ "device", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_device, .help = "Id of a device in its tenant" },
	{ "user", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .help = "Name of a user" },
	{ "group", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .help = "Name of a group" },
	{ "permission", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .help = "Name of a permission" },
	{ "ca", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .help = "Name of a CA" },
	{ "serial", FIELD_TEXT, .min = 2, .max = 2 * REGISTRY_SERIAL_MAX, .rule = &rule_serial, .help = "Serial number, lower-case hex" },
	{ "token", FIELD_TEXT, .min = 64, .max = 64, .rule = &rule_serial, .help = "Of a link" },
	{ "template", FIELD_INT, .min = 1, .max = INT64_MAX, .help = "Number of a template" },
	{ "secret", FIELD_INT, .min = 1, .max = INT64_MAX, .help = "Number of an enrolment secret" },
	{ 0 },
};

const struct field *
op_param(struct slice name)
{
	const struct field *row = params;

	while (row->name != NULL && !slice_eq(slice_str(row->name), name))
		row++;
	return row->name != NULL ? row : NULL;
}

bool
op_brace(struct slice part, struct slice *ret_name, struct slice *ret_suffix)
{
	bool more = false;

	if (part.n < 3 || part.p[0] != '{')
		return false;
	*ret_suffix = slice_from(part, 1);
	*ret_name = slice_cut(ret_suffix, '}', &more);
	return more;
}

static bool
ends(struct slice s, struct slice with)
{
	return s.n >= with.n && slice_eq(slice_from(s, s.n - with.n), with);
}

/* {name} stands for one part of a path. */
static bool
fits(const char *path, const struct http_path *p, struct slice ret[static API_PARAMS_MAX])
{
	struct slice rest = slice_str(path + 1);
	unsigned n = 0, n_params = 0;
	bool more = true;

	for (; more; n++) {
		struct slice part = slice_cut(&rest, '/', &more), name, suffix;

		if (n == p->n)
			return false;
		if (op_brace(part, &name, &suffix)) {
			if (!ends(p->segments[n], suffix))
				return false;
			ret[n_params++] = slice_of(p->segments[n].p, p->segments[n].n - suffix.n);
		} else if (!slice_eq(part, p->segments[n])) {
			return false;
		}
	}
	return n == p->n;
}

static const struct op *
find_in(const struct op_group *g, const struct http_path *p, enum http_method m, struct slice ret_params[static API_PARAMS_MAX], unsigned *allowed)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct op *o = &g->ops[i];

		if (!fits(o->path, p, ret_params))
			continue;
		*allowed |= 1u << o->method;
		if (o->method == m)
			return o;
	}
	return NULL;
}

const struct op *
op_find(const struct http_path *p, enum http_method m, bool dojot, struct slice ret_params[static API_PARAMS_MAX], unsigned *ret_allowed)
{
	const struct op *o = NULL;

	*ret_allowed = 0;
	for (size_t g = 0; g < op_groups_n && o == NULL; g++)
		o = find_in(op_groups[g], p, m, ret_params, ret_allowed);
	for (size_t g = 0; dojot && g < dojot_groups_n && o == NULL; g++)
		o = find_in(dojot_groups[g], p, m, ret_params, ret_allowed);
	return o;
}
