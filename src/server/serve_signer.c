/* The signer as a process of `signet serve`: what the configuration says to it, and whom it becomes. */
#include "server/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "signer/signer.h"

struct look {
	const char *dir;
	bool encrypted;
};

static void
look_at(void *ctx, const char *name)
{
	struct look *l = ctx;
	char path[PKI_PATH_MAX];
	uint8_t *data;
	size_t n;

	/* A token's PIN comes as a passphrase does, unless it is in a file. */
	if ((size_t)snprintf(path, sizeof(path), "%s/pki/%s/key.uri", l->dir, name) < sizeof(path) && file_read(path, PKI_FILE_MAX, &data, &n, NULL)) {
		l->encrypted = l->encrypted || memmem(data, n, "pin-source=", strlen("pin-source=")) == NULL;
		free(data);
		return;
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/pki/%s/key.pem", l->dir, name) >= sizeof(path) ||
	    !file_read(path, PKI_FILE_MAX, &data, &n, NULL))
		return;
	l->encrypted = l->encrypted || pki_key_is_encrypted(slice_of(data, n));
	secret_free(data, n);
}

bool
serve_needs_passphrase(const char *dir)
{
	struct look l = { dir, false };

	return pki_each_ca(dir, look_at, &l, NULL) && l.encrypted;
}

/* ---- in the process ---- */

/* To the supervisor, which has the log. Not by stdio, which would ask the kernel what standard error is. */
static void
to_supervisor(void *ctx, enum log_level level, const char *line, size_t n)
{
	char head[2] = { (char)('0' + NUM_MIN(level, LOG_LVL_DEBUG)), ' ' };
	struct iovec v[3] = { { head, sizeof(head) }, { (void *)(uintptr_t)line, n }, { (void *)(uintptr_t) "\n", 1 } };

	(void)ctx;
	if (writev(STDERR_FILENO, v, ARRAY_LEN(v)) == -1)
		return; /* nobody is there to hear it */
}

static bool
get_pass(void *ctx, const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	const char *pass = ctx;

	(void)creating;
	if (pass[0] == '\0')
		return err_set(err, ERR_USAGE, "%s is encrypted and no passphrase was given", what);
	return text_copy(buf, cap, slice_str(pass)) || err_set(err, ERR_LIMIT, "the passphrase is too long");
}

/* A user of its own, so that no other process here can stop it or look at it. */
static bool
find_user(const struct config *c, struct privileges *ret, struct err *err)
{
	static const char *const usual[] = { "_signet-signer", "nobody" };
	char where[CONFIG_PLACE_CAP];

	*ret = (struct privileges){ 0 };
	if (geteuid() != 0 || (c->signer_user != NULL && strcmp(c->signer_user, "root") == 0))
		return true;
	if (c->signer_user != NULL)
		return privileges_named(c->signer_user, ret) ||
		       err_set(err, ERR_MISSING, "%s: signer_user: there is no user \"%s\"",
			   config_place_text(c, option_at(c->at, "signer_user"), where, sizeof(where)), c->signer_user);
	for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
		if (!privileges_named(usual[i], ret))
			continue;
		if (i > 0)
			log_warning("There is no user %s, so the signer runs as %s: make one (useradd --system %s), or name one with signer_user.", usual[0],
			    usual[i], usual[0]);
		return true;
	}
	return err_set(err, ERR_MISSING, "there is no user for the signer to run as: name one with signer_user");
}

static bool
run(const char *dir, const struct config *c, int channel, const struct pki_secret *secret, struct err *err)
{
	struct signer_setup s = { .dir = dir, .secret = secret, .wipe = secret->ctx, .wipe_n = PKI_PASSPHRASE_MAX + 1,
		.channel = channel, .crl_url = c->crl_url, .ocsp_url = c->ocsp_url, .issuers_url = c->ca_issuers_url,
		.rate = (unsigned)c->signer_rate };
	struct privileges p;

	if (!find_user(c, &p, err))
		return false;
	s.drop = p.drop;
	s.uid = p.uid;
	s.gid = p.gid;
	for (unsigned i = 0; i < c->n_signer_profiles; i++)
		s.rules[s.n_rules++] = (struct signer_rule){ c->signer_profiles[i].ca, c->signer_profiles[i].profile };
	return signer_run(&s);
}

int
serve_signer_main(int argc, char *argv[])
{
	char pass[1 + PKI_PASSPHRASE_MAX + 1] = "";
	struct pki_secret secret = { get_pass, pass + 1 };
	struct server_options o = { .config_file = argv[6] };
	uint64_t channel = 0;
	struct config *c;
	struct err err = { 0 };
	bool ok;

	if (argc < 8 || !text_u64(slice_str(argv[2]), 3, 1 << 20, &channel))
		return SERVER_USAGE;
	log_reset_sinks();
	log_set_timestamp(false);
	(void)log_add_sink(to_supervisor, NULL);
	o.verbose = strcmp(argv[7], "-v") == 0;
	c = config_load(&o, &err);
	if (c != NULL)
		log_set_level(c->log_level);
	/* Nothing of it stays anywhere but in the supervisor. */
	ok = c != NULL && (recv((int)channel, pass, sizeof(pass) - 1, 0) >= 1 || err_sys(&err, "cannot hear the supervisor")) &&
	    run(argv[5], c, (int)channel, &secret, &err);
	secret_wipe(pass, sizeof(pass));
	if (err.text[0] != '\0')
		log_error("%s.", err.text);
	/* Behind the filter there is no way through what a program does at its end; the keys are wiped. */
	_exit(ok ? SERVER_OK : SERVER_FAILED);
}
