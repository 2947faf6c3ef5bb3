/* The registry: users, groups, permissions, and the last administrator; words that no field takes; replays and settings. */
#include "registry/testkit.h"
#include "registry/internal.h"

#define HASH "$argon2id$v=19$m=1,t=1,p=1$AAAA$BBBB"

static int64_t
add_user(struct kit *k, const char *tenant, const char *name, const char *email)
{
	int64_t id = 0;
	struct registry_user u = { .tenant = slice_str(tenant), .name = slice_str(name), .email = slice_str(email), .password = SL(HASH) };

	WORKS(k, registry_user_add(k->r, &u, &id, &k->err));
	return id;
}

static bool
show_user(void *ctx, const struct registry_user *u)
{
	return kit_add_name(ctx, u->name);
}

static void
test_users(void **state)
{
	struct kit *k = *state;
	struct registry_user u, taken = { .tenant = SL("default"), .name = SL("ANN"), .email = SL("") };
	struct kit_names names = { 0 };
	struct registry_page page = { 0 };
	int64_t ann = add_user(k, "default", "Ann", "Ann@Example.org"), bob = add_user(k, "other", "bob", ""), id;

	(void)add_user(k, "other", "cid", "");
	FAILS(k, ERR_EXISTS, registry_user_add(k->r, &taken, &id, &k->err));
	assert_non_null(strstr(k->err.text, "\"ann\""));
	taken.name = SL("dan");
	taken.email = SL("ANN@example.org");
	FAILS(k, ERR_EXISTS, registry_user_add(k->r, &taken, &id, &k->err));
	assert_non_null(strstr(k->err.text, "e-mail"));
	taken.email = SL("");
	taken.password = SL("secret");
	FAILS(k, ERR_INPUT, registry_user_add(k->r, &taken, &id, &k->err));
	taken.password = SL("");
	taken.tenant = SL("none");
	FAILS(k, ERR_MISSING, registry_user_add(k->r, &taken, &id, &k->err));
	taken.tenant = SL("");
	FAILS(k, ERR_INPUT, registry_user_add(k->r, &taken, &id, &k->err));

	WORKS(k, registry_user_find(k->r, SL("aNN"), &u, &k->err));
	assert_true(u.id == ann && slice_is(u.name, "ann") && slice_is(u.email, "ann@example.org") && slice_is(u.password, HASH) &&
	    slice_is(u.tenant, "default") && u.generation == 1 && u.version == 1);
	u.full_name = SL("Ann A.");
	u.disabled = true;
	WORKS(k, registry_user_set(k->r, &u, &k->err));
	FAILS(k, ERR_CONFLICT, registry_user_set(k->r, &u, &k->err));
	u.id = bob;
	u.version = 0;
	FAILS(k, ERR_EXISTS, registry_user_set(k->r, &u, &k->err)); /* the e-mail address */
	free(u.mem);
	WORKS(k, registry_user_get(k->r, ann, &u, &k->err));
	assert_true(u.disabled && u.generation == 2 && slice_is(u.full_name, "Ann A."));
	free(u.mem);
	FAILS(k, ERR_MISSING, registry_user_find(k->r, SL("an"), &u, &k->err));
	WORKS(k, registry_user_list(k->r, &(struct registry_user_filter){ 0 }, &page, show_user, &names, &k->err));
	assert_string_equal(names.text, "ann,bob,cid,");
	names.n = 0;
	WORKS(k, registry_user_list(k->r, &(struct registry_user_filter){ .tenant = SL("other") }, &page, show_user, &names, &k->err));
	assert_string_equal(names.text, "bob,cid,");
	names.n = 0;
	WORKS(k, registry_user_list(k->r, &(struct registry_user_filter){ .prefix = SL("B") }, &page, show_user, &names, &k->err));
	assert_string_equal(names.text, "bob,");
	WORKS(k, registry_user_remove(k->r, bob, &k->err));
	FAILS(k, ERR_MISSING, registry_user_remove(k->r, bob, &k->err));
	FAILS(k, ERR_MISSING, registry_user_get(k->r, bob, &u, &k->err));
	assert_true(add_user(k, "other", "bob", "") > bob);
}

static void
test_passwords(void **state)
{
	struct kit *k = *state;
	struct registry_user u;
	int64_t id = add_user(k, "default", "ann", "");

	WORKS(k, registry_user_set_password(k->r, id, SL("$h1"), &k->err));
	FAILS(k, ERR_MISSING, registry_user_set_password(k->r, id + 1, SL("$x"), &k->err));
	FAILS(k, ERR_INPUT, registry_user_set_password(k->r, id, SL("secret"), &k->err));
	WORKS(k, registry_user_login(k->r, id, false, 0, &k->err));
	WORKS(k, registry_user_login(k->r, id, false, KIT_NOW + 60, &k->err));
	WORKS(k, registry_user_get(k->r, id, &u, &k->err));
	assert_true(u.failures == 2 && u.locked_until == KIT_NOW + 60 && u.generation == 2 && u.last_login == 0 && slice_is(u.password, "$h1"));
	free(u.mem);
	WORKS(k, registry_user_login(k->r, id, true, 0, &k->err));
	WORKS(k, registry_user_get(k->r, id, &u, &k->err));
	assert_true(u.failures == 0 && u.locked_until == 0 && u.last_login == KIT_NOW);
	free(u.mem);
	FAILS(k, ERR_MISSING, registry_user_login(k->r, 99, true, 0, &k->err));
}

/* ---- groups and permissions ---- */

static int64_t
add_group(struct kit *k, const char *name, bool system)
{
	int64_t id = 0;

	WORKS(k, registry_group_add(k->r, &(struct registry_group){ .name = slice_str(name), .system = system }, &id, &k->err));
	return id;
}

static int64_t
add_permission(struct kit *k, const char *name, bool deny)
{
	int64_t id = 0;
	struct registry_permission p = { .name = slice_str(name), .path = SL("/(.*)"), .method = SL("GET"), .deny = deny };

	WORKS(k, registry_permission_add(k->r, &p, &id, &k->err));
	return id;
}

static bool
show_rule(void *ctx, bool direct, const struct registry_permission *p)
{
	(void)kit_add_name(ctx, direct ? SL("direct") : SL("group"));
	return kit_add_name(ctx, p->name);
}

static bool
show_group(void *ctx, const struct registry_group *g)
{
	return kit_add_name(ctx, g->name);
}

static bool
show_permission(void *ctx, const struct registry_permission *p)
{
	return kit_add_name(ctx, p->name);
}

static void
test_rights(void **state)
{
	struct kit *k = *state;
	int64_t ann = add_user(k, "default", "ann", ""), group = add_group(k, "user", false), other = add_group(k, "Other", true);
	int64_t a = add_permission(k, "a", false), b = add_permission(k, "b", true), id;
	struct registry_permission p;
	struct registry_group g;
	struct registry_user u;
	struct kit_names names = { 0 };

	WORKS(k, registry_link_add(k->r, REGISTRY_USER_GROUP, ann, group, &k->err));
	WORKS(k, registry_link_add(k->r, REGISTRY_USER_GROUP, ann, other, &k->err));
	WORKS(k, registry_link_add(k->r, REGISTRY_GROUP_PERMISSION, group, a, &k->err));
	WORKS(k, registry_link_add(k->r, REGISTRY_GROUP_PERMISSION, other, a, &k->err));
	WORKS(k, registry_link_add(k->r, REGISTRY_USER_PERMISSION, ann, b, &k->err));
	FAILS(k, ERR_EXISTS, registry_link_add(k->r, REGISTRY_USER_PERMISSION, ann, b, &k->err));
	FAILS(k, ERR_MISSING, registry_link_add(k->r, REGISTRY_USER_PERMISSION, ann, 99, &k->err));
	FAILS(k, ERR_MISSING, registry_link_remove(k->r, REGISTRY_USER_PERMISSION, ann, a, &k->err));
	WORKS(k, registry_user_rules(k->r, ann, show_rule, &names, &k->err));
	assert_string_equal(names.text, "direct,b,group,a,");
	names.n = 0;
	WORKS(k, registry_group_each(k->r, ann, show_group, &names, &k->err));
	assert_string_equal(names.text, "Other,user,");
	names.n = 0;
	WORKS(k, registry_permission_each(k->r, REGISTRY_GROUP_PERMISSION, group, show_permission, &names, &k->err));
	assert_string_equal(names.text, "a,");
	FAILS(k, ERR_USAGE, registry_permission_each(k->r, REGISTRY_USER_GROUP, group, show_permission, &names, &k->err));
	names.n = 0;
	WORKS(k, registry_permission_each(k->r, REGISTRY_USER_GROUP, 0, show_permission, &names, &k->err));
	assert_string_equal(names.text, "a,b,");
	FAILS(k, ERR_EXISTS, registry_permission_add(k->r, &(struct registry_permission){ .name = SL("a") }, &id, &k->err));
	WORKS(k, registry_permission_find(k->r, SL("b"), &p, &k->err));
	assert_true(p.deny && p.id == b && slice_is(p.method, "GET"));
	p.name = SL("a");
	FAILS(k, ERR_EXISTS, registry_permission_set(k->r, &p, &k->err));
	p.name = SL("c");
	WORKS(k, registry_permission_set(k->r, &p, &k->err));
	FAILS(k, ERR_CONFLICT, registry_permission_set(k->r, &p, &k->err));
	free(p.mem);
	WORKS(k, registry_user_get(k->r, ann, &u, &k->err));
	id = u.generation;
	free(u.mem);
	WORKS(k, registry_link_remove(k->r, REGISTRY_USER_GROUP, ann, group, &k->err));
	WORKS(k, registry_user_get(k->r, ann, &u, &k->err));
	assert_true(u.generation == id + 1); /* the groups in its tokens are old now */
	free(u.mem);
	FAILS(k, ERR_DENIED, registry_group_remove(k->r, other, &k->err));
	WORKS(k, registry_group_get(k->r, group, &g, &k->err));
	g.description = SL("people");
	WORKS(k, registry_group_set(k->r, &g, &k->err));
	free(g.mem);
	WORKS(k, registry_group_remove(k->r, group, &k->err));
	FAILS(k, ERR_MISSING, registry_group_find(k->r, SL("user"), &g, &k->err));
	WORKS(k, registry_permission_remove(k->r, b, &k->err));
	FAILS(k, ERR_MISSING, registry_permission_get(k->r, b, &p, &k->err));
}

/* Whichever way the last administrator would go, it stays; with a second one each of them works. */
static void
test_last_admin(void **state)
{
	struct kit *k = *state;
	int64_t ann = add_user(k, "default", "ann", ""), bob = add_user(k, "default", "bob", ""), admins = add_group(k, "admin", false);
	struct registry_user u;
	struct registry_group g;

	WORKS(k, registry_link_add(k->r, REGISTRY_USER_GROUP, ann, admins, &k->err));
	WORKS(k, registry_user_get(k->r, ann, &u, &k->err));
	u.disabled = true;
	FAILS(k, ERR_DENIED, registry_user_set(k->r, &u, &k->err));
	FAILS(k, ERR_DENIED, registry_user_remove(k->r, ann, &k->err));
	FAILS(k, ERR_DENIED, registry_link_remove(k->r, REGISTRY_USER_GROUP, ann, admins, &k->err));
	FAILS(k, ERR_DENIED, registry_group_remove(k->r, admins, &k->err));
	WORKS(k, registry_group_get(k->r, admins, &g, &k->err));
	g.name = SL("admins");
	FAILS(k, ERR_DENIED, registry_group_set(k->r, &g, &k->err));
	free(g.mem);
	WORKS(k, registry_link_add(k->r, REGISTRY_USER_GROUP, bob, admins, &k->err));
	WORKS(k, registry_user_set(k->r, &u, &k->err));
	free(u.mem);
	FAILS(k, ERR_DENIED, registry_user_remove(k->r, bob, &k->err)); /* ann is disabled */
	WORKS(k, registry_user_remove(k->r, ann, &k->err));
}

/* Nobody of another tenant stands in for an administrator; who empties a tenant may, but not the first. */
static void
test_last_admin_of_each_tenant(void **state)
{
	struct kit *k = *state;
	int64_t ann = add_user(k, "default", "ann", ""), bob = add_user(k, "other", "bob", ""), cid = add_user(k, "other", "cid", "");
	int64_t admins = add_group(k, "admin", false);
	struct registry_user u;

	WORKS(k, registry_link_add(k->r, REGISTRY_USER_GROUP, ann, admins, &k->err));
	WORKS(k, registry_link_add(k->r, REGISTRY_USER_GROUP, bob, admins, &k->err));
	for (int i = 0; i < 2; i++) {
		int64_t id = i == 0 ? ann : bob;

		WORKS(k, registry_user_get(k->r, id, &u, &k->err));
		u.disabled = true;
		FAILS(k, ERR_DENIED, registry_user_set(k->r, &u, &k->err));
		free(u.mem);
		FAILS(k, ERR_DENIED, registry_user_remove(k->r, id, &k->err));
		FAILS(k, ERR_DENIED, registry_link_remove(k->r, REGISTRY_USER_GROUP, id, admins, &k->err));
	}
	FAILS(k, ERR_DENIED, registry_group_remove(k->r, admins, &k->err));
	WORKS(k, registry_user_remove(k->r, cid, &k->err));
	FAILS(k, ERR_DENIED, registry_link_remove(k->r, REGISTRY_USER_GROUP, bob, admins, &k->err));
	WORKS(k, registry_user_remove(k->r, bob, &k->err)); /* the last user that "other" had */
	WORKS(k, registry_tenant_remove(k->r, SL("other"), &k->err));
	FAILS(k, ERR_DENIED, registry_user_remove(k->r, ann, &k->err)); /* the first tenant's only one */
}

/* ---- words ---- */

#define LONG_65 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void
test_hostile_words(void **state)
{
	struct kit *k = *state;
	static const struct slice tenants[] = { SL(""), SL("A"), SL("-a"), SL("a b"), SL("a:b"), SL("a'"), SL("a\0b"), SL("\xc3\xa4"), SL(LONG_65),
		SL("a/b"), SL("a;DROP TABLE tenants") };
	static const struct slice ids[] = { SL(""), SL("a/b"), SL("a+"), SL("#"), SL("a:b"), SL("a\0b"), SL("a\nb"), SL("\xff"), SL("\xc2\x85"), SL(LONG_65),
		SL("\xed\xa0\x80") };
	static const struct slice fine[] = { SL("Robert'); DROP TABLE devices;--"), SL("%"), SL("_"), SL("a\"b"), SL("\xc3\xa4\xe2\x82\xac"), SL("?1"),
		SL("<script>alert(1)<"), SL("\\"), SL(" ") };
	struct registry_device_new d = { .device = { .tenant = SL("default") } };
	struct registry_device got;
	struct kit_names names;
	char label[REGISTRY_LABEL_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(tenants); i++)
		FAILS(k, ERR_INPUT, registry_tenant_add(k->r, &(struct registry_tenant){ .name = tenants[i] }, &k->err));
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		d.device.id = ids[i];
		FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
	}
	for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
		d.device.id = d.device.label = d.device.attrs = fine[i];
		WORKS(k, registry_device_add(k->r, &d, &k->err));
		WORKS(k, registry_device_get(k->r, SL("default"), fine[i], &got, &k->err));
		assert_true(slice_eq(got.id, fine[i]) && slice_eq(got.label, fine[i]) && slice_eq(got.attrs, fine[i]));
		free(got.mem);
		(void)kit_devices(k, &(struct registry_device_filter){ .prefix = fine[i] }, 10, &names);
		assert_true(names.n == fine[i].n + 1);
	}
	d.device.id = SL("l");
	memset(label, 'x', sizeof label);
	d.device.label = slice_of(label, REGISTRY_LABEL_MAX + 1);
	FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
	d.device.label = slice_of(label, REGISTRY_LABEL_MAX);
	WORKS(k, registry_device_add(k->r, &d, &k->err));
	(void)kit_devices(k, &(struct registry_device_filter){ .order = REGISTRY_BY_LABEL }, 1, &names); /* the longest cursor */
	assert_non_null(strstr(names.text, "l,"));
	d.device.id = SL("m");
	d.device.label = SL("a\0b");
	FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
	d.device.label = SL("\xc3");
	FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
	d.device.label = SL("");
	d.device.tenant = SL("other");
	d.device.id = slice_of(LONG_65, 64); /* would fit, but not with its tenant in front */
	FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
	d.device.id = slice_of(LONG_65, 58);
	WORKS(k, registry_device_add(k->r, &d, &k->err));
	FAILS(k, ERR_MISSING, registry_device_get(k->r, SL("default' OR 1=1 --"), SL("%"), &got, &k->err));
	FAILS(k, ERR_INPUT, registry_device_list(k->r, &(struct registry_device_filter){ .prefix = SL("\xff") },
	    &(struct registry_page){ 0 }, NULL, NULL, &k->err));
}

static void
test_templates_twice(void **state)
{
	struct kit *k = *state;
	struct registry_device_new d = { .device = { .tenant = SL("default"), .id = SL("d"), .templates = { 1, 1 }, .n_templates = 2 } };

	FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
	d.device.n_templates = REGISTRY_TEMPLATES_MAX + 1;
	FAILS(k, ERR_LIMIT, registry_device_add(k->r, &d, &k->err));
	d.device.n_templates = 0;
	d.device.state = (enum registry_device_state)7;
	FAILS(k, ERR_INPUT, registry_device_add(k->r, &d, &k->err));
}

/* ---- replays and settings ---- */

static void
test_replays(void **state)
{
	struct kit *k = *state;
	uint8_t h1[REGISTRY_HASH], h2[REGISTRY_HASH];
	struct slice one = kit_hash(1, h1), two = kit_hash(2, h2);
	struct registry_reply reply = { .status = 201, .head = SL("Location: /x"), .body = SL("{\"a\":\0 1}") }, got;
	enum registry_replay what;
	unsigned n;

	WORKS(k, registry_replay_begin(k->r, SL("ann"), SL("k"), one, &what, &got, &k->err));
	assert_int_equal(what, REGISTRY_FIRST);
	WORKS(k, registry_replay_begin(k->r, SL("ann"), SL("k"), one, &what, &got, &k->err));
	assert_int_equal(what, REGISTRY_RUNNING);
	WORKS(k, registry_replay_begin(k->r, SL("bob"), SL("k"), two, &what, &got, &k->err));
	assert_int_equal(what, REGISTRY_FIRST);
	WORKS(k, registry_replay_finish(k->r, SL("ann"), SL("k"), &reply, KIT_NOW + 60, &k->err));
	FAILS(k, ERR_MISSING, registry_replay_finish(k->r, SL("ann"), SL("k"), &reply, KIT_NOW + 60, &k->err));
	kit_reopen(k);
	WORKS(k, registry_replay_begin(k->r, SL("ann"), SL("k"), one, &what, &got, &k->err));
	assert_true(what == REGISTRY_REPLAY && got.status == 201 && slice_eq(got.body, reply.body) && slice_eq(got.head, reply.head));
	free(got.mem);
	WORKS(k, registry_replay_begin(k->r, SL("ann"), SL("k"), two, &what, &got, &k->err));
	assert_int_equal(what, REGISTRY_OTHER);
	/* What nobody finished before the process died begins anew. */
	WORKS(k, registry_replay_begin(k->r, SL("bob"), SL("k"), two, &what, &got, &k->err));
	assert_int_equal(what, REGISTRY_FIRST);
	WORKS(k, registry_replay_abandon(k->r, SL("bob"), SL("k"), &k->err));
	WORKS(k, registry_replay_begin(k->r, SL("bob"), SL("k"), two, &what, &got, &k->err));
	assert_int_equal(what, REGISTRY_FIRST);
	k->now += 60;
	WORKS(k, registry_replay_begin(k->r, SL("ann"), SL("k"), two, &what, &got, &k->err)); /* expired */
	assert_int_equal(what, REGISTRY_FIRST);
	WORKS(k, registry_replay_finish(k->r, SL("ann"), SL("k"), &reply, k->now, &k->err));
	WORKS(k, registry_purge(k->r, 100, &n, &k->err));
	assert_int_equal(n, 1);
	FAILS(k, ERR_INPUT, registry_replay_begin(k->r, SL("ann"), SL(""), two, &what, &got, &k->err));
	FAILS(k, ERR_INPUT, registry_replay_begin(k->r, SL("ann"), SL("x"), SL("short"), &what, &got, &k->err));
}

/* What became of the key <n> of <scope>: asked again, and answered with <size> bytes when it is the first time. */
static enum registry_replay
repeat(struct kit *k, const char *scope, unsigned n, size_t size)
{
	static const uint8_t body[REGISTRY_JSON_MAX];
	struct registry_reply reply = { .status = 200, .body = slice_of(body, size) }, got = { 0 };
	uint8_t h[REGISTRY_HASH];
	char key[16];
	enum registry_replay what;

	(void)snprintf(key, sizeof key, "k%u", n);
	WORKS(k, registry_replay_begin(k->r, slice_str(scope), slice_str(key), kit_hash(1, h), &what, &got, &k->err));
	free(got.mem);
	if (what == REGISTRY_FIRST)
		WORKS(k, registry_replay_finish(k->r, slice_str(scope), slice_str(key), &reply, KIT_NOW + 60 + n, &k->err));
	return what;
}

/* Of each who asks: the last ones, and so many bytes. */
static void
test_replays_are_bounded(void **state)
{
	enum { LARGE = REGISTRY_REPLAY_BYTES_MAX / REGISTRY_JSON_MAX };
	struct kit *k = *state;
	struct registry_report report;

	assert_int_equal(repeat(k, "bob", 1, 10), REGISTRY_FIRST);
	WORKS(k, registry_begin(k->r, &k->err));
	for (unsigned i = 1; i <= REGISTRY_REPLAYS_MAX; i++)
		assert_int_equal(repeat(k, "ann", i, 10), REGISTRY_FIRST);
	WORKS(k, registry_commit(k->r, &k->err));
	assert_int_equal(repeat(k, "ann", 1, 10), REGISTRY_REPLAY);
	assert_int_equal(repeat(k, "ann", REGISTRY_REPLAYS_MAX + 1, 10), REGISTRY_FIRST);
	assert_int_equal(repeat(k, "ann", 2, 10), REGISTRY_REPLAY);
	assert_int_equal(repeat(k, "ann", REGISTRY_REPLAYS_MAX + 1, 10), REGISTRY_REPLAY);
	for (unsigned i = 1; i <= LARGE; i++)
		assert_int_equal(repeat(k, "ann", 10000 + i, REGISTRY_JSON_MAX), REGISTRY_FIRST);
	/* Many small ones have gone for the large ones, and these fill it. */
	assert_int_equal(repeat(k, "ann", 10001, 10), REGISTRY_REPLAY);
	assert_int_equal(repeat(k, "ann", 20000, 1), REGISTRY_FIRST);
	assert_int_equal(repeat(k, "ann", 10002, 10), REGISTRY_REPLAY);
	assert_int_equal(repeat(k, "ann", 10001, 10), REGISTRY_FIRST);
	assert_int_equal(repeat(k, "bob", 1, 10), REGISTRY_REPLAY);
	registry_close(k->r);
	k->r = NULL;
	WORKS(k, registry_check(k->path, true, NULL, NULL, &report, &k->err));
	assert_int_equal(report.faults, 0);
}

/* ---- records for the audit log ---- */

static bool
show_record(void *ctx, const struct registry_record *x)
{
	char text[NUMBER_TEXT];

	assert_true(x->at == KIT_NOW && slice_is(x->actor, "user:ann") && slice_is(x->action, "createDevice"));
	(void)kit_add_name(ctx, word_number(x->n, text));
	(void)kit_add_name(ctx, x->object);
	return kit_add_name(ctx, x->details);
}

static const char *
records(struct kit *k, unsigned limit, struct kit_names *names)
{
	*names = (struct kit_names){ 0 };
	WORKS(k, registry_record_each(k->r, limit, show_record, names, &k->err));
	return names->text;
}

static void
test_records(void **state)
{
	struct kit *k = *state;
	struct kit_names names;
	struct registry_record x = { .actor = SL("user:ann"), .action = SL("createDevice"), .object = SL("/a") };
	char long_text[REGISTRY_OBJECT_MAX + 2];
	bool room = false;

	WORKS(k, registry_record_add(k->r, &x, &k->err));
	x.object = SL("/b");
	x.details = SL("{\"names\":\"/c/\"}");
	WORKS(k, registry_record_add(k->r, &x, &k->err));
	kit_reopen(k);
	assert_string_equal(records(k, 10, &names), "1,/a,,2,/b,{\"names\":\"/c/\"},");
	assert_string_equal(records(k, 1, &names), "1,/a,,");
	WORKS(k, registry_record_done(k->r, 1, &k->err));
	WORKS(k, registry_record_done(k->r, 1, &k->err));
	WORKS(k, registry_record_done(k->r, 2, &k->err));
	assert_string_equal(records(k, 10, &names), "");
	/* No number twice, whatever was forgotten. */
	WORKS(k, registry_record_add(k->r, &x, &k->err));
	assert_string_equal(records(k, 10, &names), "3,/b,{\"names\":\"/c/\"},");
	/* Room by what waits, and not by what was. */
	assert_true(db_run(k->r, "INSERT INTO records VALUES(?1, 0, '', '', '', '')", VALUES(v_int(REGISTRY_RECORDS_MAX + 1)), &k->err));
	WORKS(k, registry_records_room(k->r, &room, &k->err));
	assert_true(room);
	assert_true(db_run(k->r, "INSERT INTO records VALUES(?1, 0, '', '', '', '')", VALUES(v_int(REGISTRY_RECORDS_MAX + 2)), &k->err));
	WORKS(k, registry_records_room(k->r, &room, &k->err));
	assert_false(room);
	WORKS(k, registry_record_done(k->r, 3, &k->err));
	WORKS(k, registry_records_room(k->r, &room, &k->err));
	assert_true(room);
	memset(long_text, 'x', sizeof long_text);
	x.object = slice_of((uint8_t *)long_text, REGISTRY_OBJECT_MAX + 1);
	FAILS(k, ERR_INPUT, registry_record_add(k->r, &x, &k->err));
}

static void
test_settings(void **state)
{
	struct kit *k = *state;
	struct slice value;
	void *mem;

	WORKS(k, registry_setting_get(k->r, SL("x"), &value, &mem, &k->err));
	assert_int_equal(value.n, 0);
	free(mem);
	WORKS(k, registry_setting_set(k->r, SL("x"), SL("a\0b"), &k->err));
	WORKS(k, registry_setting_set(k->r, SL("x"), SL("a\0c"), &k->err));
	WORKS(k, registry_setting_get(k->r, SL("x"), &value, &mem, &k->err));
	assert_true(slice_eq(value, SL("a\0c")));
	free(mem);
	WORKS(k, registry_setting_set(k->r, SL("x"), SL(""), &k->err));
	WORKS(k, registry_setting_get(k->r, SL("x"), &value, &mem, &k->err));
	assert_int_equal(value.n, 0);
	free(mem);
	FAILS(k, ERR_INPUT, registry_setting_set(k->r, SL(""), SL("x"), &k->err));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, kit_setup, kit_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_users), TEST(test_passwords), TEST(test_rights), TEST(test_last_admin), TEST(test_last_admin_of_each_tenant), TEST(test_hostile_words),
		TEST(test_templates_twice), TEST(test_records), TEST(test_replays), TEST(test_replays_are_bounded), TEST(test_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
