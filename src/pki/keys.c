/* The CAs' private keys for a backup: never without a passphrase. */
#include "pki/internal.h"

#include <errno.h>
#include <stdio.h>

struct keys_work {
	const char *dir, *out;
	const struct pki_secret *secret;
	unsigned n;
	struct err *err;
	bool ok;
};

static bool
is_encrypted(struct slice pem)
{
	return memmem(pem.p, pem.n, "ENCRYPTED", 9) != NULL;
}

/* As it is, or encrypted now. */
static bool
save(struct keys_work *w, const char *name, const char *from, const char *to)
{
	char what[96];
	auto_pkey k = NULL;
	uint8_t *data;
	size_t n;
	bool ok, sealed;

	if (!file_read(from, PKI_FILE_MAX, &data, &n, w->err))
		return false;
	sealed = is_encrypted(slice_of(data, n));
	ok = !sealed || file_write(to, slice_of(data, n), 0600, 0, w->err);
	secret_free(data, n);
	if (sealed)
		return ok;
	(void)snprintf(what, sizeof what, "the copy of the key of the %s CA", name);
	k = key_read(from, NULL, what, w->err);
	return k != NULL && key_write(to, k, w->secret, what, w->err);
}

static void
save_one(void *ctx, const char *name)
{
	struct keys_work *w = ctx;
	char sub[96], from[PKI_PATH_MAX], to[PKI_PATH_MAX];

	(void)snprintf(sub, sizeof sub, "pki/%s/key.pem", name);
	if (!w->ok || !home_path(from, w->dir, sub, w->err)) {
		w->ok = false;
		return;
	}
	/* In a token, or kept elsewhere. */
	if (access(from, F_OK) == -1 && errno == ENOENT)
		return;
	(void)snprintf(sub, sizeof sub, "%s.pem", name);
	w->ok = path_join(to, sizeof to, w->out, sub) ? save(w, name, from, to) : err_set(w->err, ERR_LIMIT, "%s: path too long", w->out);
	w->n += w->ok;
}

bool
pki_keys_save(const char *dir, const char *out, const struct pki_secret *secret, unsigned *ret_n, struct err *err)
{
	struct keys_work w = { dir, out, secret, 0, err, true };

	if (!home_check(dir, err) || !dir_make(out, 0700, err) || !pki_each_ca(dir, save_one, &w, err) || !w.ok)
		return false;
	*ret_n = w.n;
	return true;
}
