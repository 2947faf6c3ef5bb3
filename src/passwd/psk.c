/* Pre-shared keys by identity: mosquitto's psk_file, "identity:hex". */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/internal.h"

enum { SHOW_CAP = 100 };

struct psk {
	struct psk *next;
	unsigned line;
	uint16_t key_n, identity_n;
	uint8_t key[PSK_KEY_MAX];
	uint8_t identity[PSK_IDENTITY_MAX];
};

struct psk_file {
	_Atomic uint32_t refs;
	struct map keys;
	struct psk *list;
	size_t n, weak;
};

static struct slice
psk_key(const void *value)
{
	const struct psk *k = value;

	return slice_of(k->identity, k->identity_n);
}

static const char *
hex_get(struct slice text, struct psk *k)
{
	size_t n;

	if (text.n == 0)
		return "there is no key";
	if (text.n % 2 != 0)
		return "the key has an odd number of hexadecimal digits; was the line cut?";
	if (text.n > 2 * PSK_KEY_MAX)
		return "the key is longer than 256 bytes";
	if (!text_unhex(text, k->key, sizeof(k->key), &n))
		return "the key is not hexadecimal";
	k->key_n = (uint16_t)n;
	return NULL;
}

static bool
read_line(struct psk_file *f, const struct text_line *l, const char *name, struct err *err)
{
	const struct psk *before = map_get(&f->keys, l->user);
	char show[SHOW_CAP];
	struct psk *k;
	const char *why;

	if (l->broken)
		return err_set(err, ERR_INPUT,
		    "%s:%u: not of the form identity:key: there is no ':' in the line", name,
		    l->number);
	if (!passwd_user_ok(l->user, err))
		return err_prefix(err, "%s:%u", name, l->number);
	(void)text_show(l->user, show, sizeof(show));
	if (l->user.n > PSK_IDENTITY_MAX)
		return err_set(err, ERR_INPUT, "%s:%u: the identity is longer than %d bytes", name,
		    l->number, PSK_IDENTITY_MAX);
	if (before != NULL)
		return err_set(err, ERR_INPUT,
		    "%s:%u: the identity '%s' stands in line %u already; remove one of the two",
		    name, l->number, show, before->line);
	k = calloc(1, sizeof(*k));
	if (k == NULL)
		return err_set(err, ERR_MEMORY, "out of memory reading %s", name);
	k->line = l->number;
	k->identity_n = (uint16_t)l->user.n;
	memcpy(k->identity, l->user.p, l->user.n);
	why = hex_get(l->rest, k);
	if (why != NULL || !map_put(&f->keys, k)) {
		secret_free(k, sizeof(*k));
		return why != NULL ? err_set(err, ERR_INPUT, "%s:%u: identity '%s': %s", name,
					 l->number, show, why)
				   : err_set(err, ERR_MEMORY, "out of memory reading %s", name);
	}
	k->next = f->list;
	f->list = k;
	f->n++;
	f->weak += k->key_n < PSK_KEY_STRONG;
	return true;
}

struct psk_file *
psk_parse(struct slice text, const char *name, struct err *err)
{
	struct psk_file *f = calloc(1, sizeof(*f));
	struct text_line l = { 0 };

	if (f == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory reading %s", name);
		return NULL;
	}
	atomic_init(&f->refs, 1);
	map_init(&f->keys, psk_key);
	while (line_next(&text, &l)) {
		if (!l.blank && !read_line(f, &l, name, err)) {
			psk_unref(f);
			return NULL;
		}
	}
	return f;
}

struct psk_file *
psk_ref(struct psk_file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void
psk_unref(struct psk_file *f)
{
	if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	map_done(&f->keys);
	while (f->list != NULL) {
		struct psk *k = f->list;

		f->list = k->next;
		secret_free(k, sizeof(*k));
	}
	free(f);
}

size_t
psk_count(const struct psk_file *f)
{
	return f->n;
}

size_t
psk_weak(const struct psk_file *f)
{
	return f->weak;
}

uint64_t
psk_tag(const struct psk_file *f, struct slice identity)
{
	const struct psk *k = map_get(&f->keys, identity);

	return k != NULL ? map_hash(slice_of(k->key, k->key_n)) | 1 : 0;
}

bool
psk_find(
    const struct psk_file *f, struct slice identity, uint8_t key[static PSK_KEY_MAX], size_t *ret_n)
{
	const struct psk *k = map_get(&f->keys, identity);

	random_bytes(key, PSK_KEY_MAX);
	*ret_n = 32;
	if (k == NULL)
		return false;
	memcpy(key, k->key, k->key_n);
	*ret_n = k->key_n;
	return true;
}
