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
	sealed = pki_key_is_encrypted(slice_of(data, n));
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
	char made[PKI_PATH_MAX];
	struct keys_work w = { dir, made, secret, 0, err, true };
	bool ok;

	if (snprintf(made, sizeof made, "%s.new-XXXXXX", out) >= (int)sizeof made)
		return err_set(err, ERR_LIMIT, "%s: path too long", out);
	if (!home_check(dir, err))
		return false;
	if (mkdtemp(made) == NULL)
		return err_sys(err, "cannot make a folder beside %s", out);
	ok = pki_each_ca(dir, save_one, &w, err) && w.ok;
	/* All of them or none: an empty folder is replaced, and another is not. */
	if (ok && rename(made, out) == -1)
		ok = errno == ENOTEMPTY || errno == EEXIST ? err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: move it away first", out) :
							     err_sys(err, "cannot write %s", out);
	if (!ok)
		(void)dir_remove(made);
	*ret_n = w.n;
	return ok;
}
