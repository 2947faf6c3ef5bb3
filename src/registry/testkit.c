/* See testkit.h. */
#include "registry/testkit.h"

#include <dirent.h>
#include <unistd.h>

int64_t
kit_clock(void *kit)
{
	return ((const struct kit *)kit)->now;
}

struct registry *
kit_open(struct kit *k, const char *path, bool create)
{
	k->err = (struct err){ 0 };
	return registry_open(&(struct registry_options){ .path = path, .create = create, .now = kit_clock, .ctx = k }, &k->err);
}

struct slice
kit_hash(uint8_t n, uint8_t out[REGISTRY_HASH])
{
	memset(out, n, REGISTRY_HASH);
	return slice_of(out, REGISTRY_HASH);
}

static void
add_ca(struct kit *k, const char *name, uint8_t n)
{
	uint8_t key[REGISTRY_HASH];
	struct registry_ca ca = { .name = slice_str(name), .role = slice_str(name), .subject = SL("CN=A CA"), .key = kit_hash(n, key),
		.der = SL("DER"), .not_before = k->now, .not_after = k->now + 1000000000, .own = true };

	WORKS(k, registry_ca_put(k->r, &ca, &k->err));
}

int
kit_setup(void **state)
{
	struct kit *k = calloc(1, sizeof *k);

	assert_non_null(k);
	k->now = KIT_NOW;
	(void)snprintf(k->dir, sizeof k->dir, "/tmp/registry-test-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	(void)snprintf(k->path, sizeof k->path, "%s/registry.db", k->dir);
	k->r = kit_open(k, k->path, true);
	if (k->r == NULL)
		fail_msg("%s", k->err.text);
	WORKS(k, registry_tenant_add(k->r, &(struct registry_tenant){ .name = SL("default") }, &k->err));
	WORKS(k, registry_tenant_add(k->r, &(struct registry_tenant){ .name = SL("other") }, &k->err));
	add_ca(k, "client", 1);
	add_ca(k, "watch", 2);
	*state = k;
	return 0;
}

int
kit_teardown(void **state)
{
	struct kit *k = *state;
	DIR *d;
	struct dirent *e;
	char path[512];

	registry_close(k->r);
	if ((d = opendir(k->dir)) != NULL) {
		while ((e = readdir(d)) != NULL) {
			(void)snprintf(path, sizeof path, "%s/%s", k->dir, e->d_name);
			(void)unlink(path); /* not of "." and ".." */
		}
		(void)closedir(d);
	}
	(void)rmdir(k->dir);
	free(k);
	return 0;
}

void
kit_reopen(struct kit *k)
{
	registry_close(k->r);
	k->r = kit_open(k, k->path, false);
	if (k->r == NULL)
		fail_msg("%s", k->err.text);
}

void
kit_device(struct kit *k, const char *tenant, const char *id)
{
	struct registry_device_new d = { .device = { .tenant = slice_str(tenant), .id = slice_str(id), .label = slice_str(id) },
		.ca = SL("client") };

	WORKS(k, registry_device_add(k->r, &d, &k->err));
}

bool
kit_set_state(struct kit *k, const char *tenant, const char *id, enum registry_device_state state)
{
	struct registry_device d;
	bool ok;

	if (!registry_device_get(k->r, slice_str(tenant), slice_str(id), &d, &k->err))
		return false;
	d.state = state;
	ok = registry_device_set(k->r, &d, &k->err);
	free(d.mem);
	return ok;
}

struct registry_certificate
kit_certificate(struct kit *k, const char *ca, const char *cn, unsigned n, int days)
{
	struct registry_certificate c = { .ca = slice_str(ca), .cn = slice_str(cn), .profile = SL("p"), .origin = SL("test"), .der = SL("DER"),
		.not_before = k->now, .not_after = k->now + (int64_t)days * 86400 };

	(void)snprintf(c.serial, sizeof c.serial, "%08x", n);
	(void)snprintf(c.fingerprint, sizeof c.fingerprint, "%064x", n);
	return c;
}

void
kit_certify(struct kit *k, const char *ca, const char *cn, unsigned n, int days)
{
	struct registry_certificate_new c = { .certificate = kit_certificate(k, ca, cn, n, days) };

	WORKS(k, registry_certificate_add(k->r, &c, &k->err));
}

bool
slice_is(struct slice s, const char *text)
{
	return slice_eq(s, slice_str(text));
}

bool
kit_add_name(struct kit_names *s, struct slice name)
{
	assert_true(s->n + name.n + 2 < sizeof s->text);
	memcpy(s->text + s->n, name.p, name.n);
	s->n += name.n;
	s->text[s->n++] = ',';
	s->text[s->n] = '\0';
	return true;
}

static bool
add_device(void *ctx, const struct registry_device *d)
{
	return kit_add_name(ctx, d->cn);
}

static bool
add_certificate(void *ctx, const struct registry_certificate *c)
{
	return kit_add_name(ctx, slice_str(c->serial));
}

/* One of the two filters is there. */
static unsigned
all_pages(struct kit *k, const struct registry_device_filter *d, const struct registry_certificate_filter *c, unsigned limit, struct kit_names *ret)
{
	struct registry_page page = { .limit = limit };
	char cursor[REGISTRY_CURSOR_MAX];
	unsigned pages = 0;

	*ret = (struct kit_names){ 0 };
	do {
		WORKS(k, d != NULL ? registry_device_list(k->r, d, &page, add_device, ret, &k->err)
				   : registry_certificate_list(k->r, c, &page, add_certificate, ret, &k->err));
		memcpy(cursor, page.next, sizeof cursor);
		page.cursor = slice_str(cursor);
		pages++;
	} while (cursor[0] != '\0');
	return pages;
}

unsigned
kit_devices(struct kit *k, const struct registry_device_filter *f, unsigned limit, struct kit_names *ret)
{
	return all_pages(k, f, NULL, limit, ret);
}

unsigned
kit_certificates(struct kit *k, const struct registry_certificate_filter *f, unsigned limit, struct kit_names *ret)
{
	return all_pages(k, NULL, f, limit, ret);
}
