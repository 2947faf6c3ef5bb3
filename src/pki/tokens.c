/* CAs whose keys are in tokens: pki/CA/key.uri says where, and one process has all of them. */
#include "pki/internal.h"

#include <errno.h>
#include <stdio.h>

struct pki_tokens {
	struct token *process;
	size_t n;
	char names[TOKEN_KEYS_MAX][33];
};

bool
token_uri_read(const char *ca_dir, char uri[static TOKEN_URI_MAX], struct err *err)
{
	char path[PKI_PATH_MAX];
	uint8_t *data;
	size_t n;
	bool ok;

	uri[0] = '\0';
	if (!path_join(path, sizeof path, ca_dir, "key.uri"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca_dir);
	if (access(path, F_OK) == -1)
		return errno == ENOENT || err_sys(err, "%s", path);
	if (!file_read(path, 2 * (size_t)TOKEN_URI_MAX, &data, &n, err))
		return false;
	ok = text_copy(uri, TOKEN_URI_MAX, slice_of(data, strcspn((char *)data, "\r\n"))) || err_set(err, ERR_LIMIT, "%s: the URI is too long", path);
	free(data);
	return ok;
}

static bool
pin_from_file(const char *path, char *pin, struct err *err)
{
	uint8_t *data;
	size_t n, len;
	bool ok;

	if (!file_read(path, 2 * (size_t)TOKEN_PIN_MAX, &data, &n, err))
		return false;
	len = strcspn((char *)data, "\r\n");
	ok = (len > 0 && text_copy(pin, TOKEN_PIN_MAX, slice_of(data, len))) || err_set(err, ERR_INPUT, "%s: its first line is no PIN", path);
	secret_free(data, n);
	return ok;
}

/* One token is asked about once. */
static bool
find_pin(struct token_key *keys, size_t at, const struct pki_secret *secret, struct err *err)
{
	struct token_key *k = &keys[at];
	char what[96];

	for (size_t i = 0; i < at && k->uri.pin_file[0] == '\0'; i++) {
		if (keys[i].uri.pin_file[0] != '\0' || strcmp(keys[i].uri.token, k->uri.token) != 0 || strcmp(keys[i].uri.serial, k->uri.serial) != 0)
			continue;
		memcpy(k->pin, keys[i].pin, sizeof k->pin);
		return true;
	}
	if (k->uri.pin_file[0] != '\0')
		return pin_from_file(k->uri.pin_file, k->pin, err);
	(void)snprintf(what, sizeof what, "the token \"%s\" (its PIN)", k->uri.token[0] != '\0' ? k->uri.token : k->uri.serial);
	return secret != NULL ? secret->get(secret->ctx, what, false, k->pin, sizeof k->pin, err)
			      : err_set(err, ERR_USAGE, "%s is needed, and none was given: pin-source=file:… in the URI names a file", what);
}

struct gathering {
	const char *dir;
	struct token_key *keys;
	struct pki_tokens *t;
	struct err *err;
	bool ok;
};

static void
gather_one(void *ctx, const char *name)
{
	struct gathering *g = ctx;
	struct pki_tokens *t = g->t;
	char ca_dir[PKI_PATH_MAX], uri[TOKEN_URI_MAX], sub[64];

	(void)snprintf(sub, sizeof sub, "pki/%s", name);
	if (g->ok && t->n < TOKEN_KEYS_MAX)
		g->ok = home_path(ca_dir, g->dir, sub, g->err) && token_uri_read(ca_dir, uri, g->err);
	if (!g->ok || t->n == TOKEN_KEYS_MAX || uri[0] == '\0')
		return;
	g->ok = token_uri_parse(slice_str(uri), &g->keys[t->n].uri, g->err) || err_prefix(g->err, "%s/key.uri", ca_dir);
	(void)snprintf(t->names[t->n++], sizeof t->names[0], "%s", name);
}

static bool
start(struct pki_tokens *t, struct token_key *keys, const struct pki_token_way *way, bool making, struct err *err)
{
	struct token_setup s = { .keys = keys, .n = t->n, .making = making, .confine = way->confine, .ctx = way->ctx };

	for (size_t i = 0; i < t->n; i++)
		if (!find_pin(keys, i, way->secret, err))
			return false;
	t->process = token_start(&s, err);
	return t->process != NULL;
}

bool
pki_tokens_start(const char *dir, const char *only, const struct pki_token_way *way, struct pki_tokens **ret, struct err *err)
{
	struct pki_tokens *t = calloc(1, sizeof *t);
	size_t size = TOKEN_KEYS_MAX * sizeof(struct token_key);
	struct gathering g = { .dir = dir, .keys = calloc(1, size), .t = t, .err = err, .ok = true };
	bool ok = true;

	if (t == NULL || g.keys == NULL) {
		free(t);
		free(g.keys);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	if (only != NULL)
		gather_one(&g, only);
	else
		ok = pki_each_ca(dir, gather_one, &g, err);
	ok = ok && g.ok && (t->n == 0 || start(t, g.keys, way, false, err));
	secret_free(g.keys, size);
	if (ok && t->n > 0) {
		*ret = t;
		return true;
	}
	free(t);
	*ret = NULL;
	return ok;
}

struct pki_tokens *
tokens_for_new(const char *base, const char *const *names, size_t n, const struct pki_secret *secret, struct err *err)
{
	const struct pki_token_way way = { .secret = secret };
	struct pki_tokens *t = calloc(1, sizeof *t);
	size_t size = n * sizeof(struct token_key);
	struct token_key *keys = calloc(1, size);
	char uri[TOKEN_URI_MAX];
	bool ok = true;

	if (t == NULL || keys == NULL) {
		free(t);
		free(keys);
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	for (size_t i = 0; ok && i < n; i++, t->n++)
		ok = (token_uri_add_object(base, names[i], uri) || err_set(err, ERR_LIMIT, "the PKCS#11 URI is too long")) &&
		    token_uri_parse(slice_str(uri), &keys[i].uri, err);
	ok = ok && start(t, keys, &way, true, err);
	secret_free(keys, size);
	if (ok)
		return t;
	free(t);
	return NULL;
}

struct tkey *
tokens_held(const struct pki_tokens *t, size_t i)
{
	return tkey_new(t->process, i);
}

void
tokens_unmake(const struct pki_tokens *t, size_t i)
{
	token_unmake(t->process, i);
}

bool
tokens_open(const struct pki_tokens *t, struct ca *ca, struct err *err)
{
	EVP_PKEY *public = X509_get0_pubkey(ca->cert);
	size_t i = 0;

	while (i < t->n && strcmp(t->names[i], ca->name) != 0)
		i++;
	if (i == t->n || public == NULL)
		return err_set(err, ERR_MISSING, "the key of the CA %s is in no token", ca->name);
	ca->held = tkey_new(t->process, i);
	if (ca->held == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	ca->key = tkey_of(ca->held, public, err);
	return ca->key != NULL || err_prefix(err, "CA %s", ca->name);
}

bool
pki_tokens_lost(const struct pki_tokens *t)
{
	return t != NULL && token_is_lost(t->process);
}

void
pki_tokens_stop(struct pki_tokens *t, bool wait)
{
	if (t != NULL)
		token_stop(t->process, wait);
	free(t);
}
