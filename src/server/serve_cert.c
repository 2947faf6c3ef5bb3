/* signet serve keeps the broker's own certificate good: one that expires soon, or is not for the names that it shall have, is replaced by one
 * that the signer makes, and the broker takes it over while all connections stay. */
#include "server/serve.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "signer/signer.h"

enum { LOOK_MS = 3600 * 1000, AGAIN_MS = 30 * 1000, ANSWER_MS = 10 * 1000, NAMES_TEXT_MAX = 8192 };
#define NAMES_ENV "MOSCA_TLS_DNS_LIST"

struct serve_cert {
	char cert[PKI_PATH_MAX], key[PKI_PATH_MAX], issuer[PKI_PATH_MAX];
	char text[NAMES_TEXT_MAX]; /* of the names, cut at the commas */
	const char *names[PKI_OWN_NAMES_MAX];
	struct pki_own own;
	struct pki_own_request request;
	struct signer_client *client; /* a request is under way */
	uint64_t next_ms, due_ms;
	bool renewed, failed;         /* by the answer that just came */
	enum pki_own_state state;
};

/* "a,b c": the option's, or the environment's. */
static bool
read_names(struct serve_cert *k, const char *text, struct err *err)
{
	static const char gaps[] = ", \t";

	if (!text_copy(k->text, sizeof(k->text), slice_str(text)))
		return err_set(err, ERR_LIMIT, "the broker's names are longer than %d bytes", NAMES_TEXT_MAX - 1);
	for (char *at = k->text + strspn(k->text, gaps); *at != '\0'; at += strspn(at, gaps)) {
		if (k->own.n_names == PKI_OWN_NAMES_MAX)
			return err_set(err, ERR_LIMIT, "the broker has at most %d names", PKI_OWN_NAMES_MAX);
		k->names[k->own.n_names++] = at;
		at += strcspn(at, gaps);
		if (*at != '\0')
			*at++ = '\0';
	}
	return true;
}

bool
serve_cert_new(struct serve *s, struct err *err)
{
	struct serve_cert *k = calloc(1, sizeof(*k));
	const char *names = s->config->broker_names != NULL ? s->config->broker_names : getenv(NAMES_ENV);
	char why[PKI_WHY_MAX];

	if (k == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->cert = k;
	k->own = (struct pki_own){ .cert_file = k->cert, .key_file = k->key, .names = k->names, .new_key = s->config->broker_key != 0 };
	if (!path_join(k->cert, sizeof(k->cert), s->dir, "pki/broker/cert.pem") || !path_join(k->key, sizeof(k->key), s->dir, "pki/broker/key.pem") ||
	    !path_join(k->issuer, sizeof(k->issuer), s->dir, "pki/cloud/cert.pem"))
		return err_set(err, ERR_LIMIT, "%s: path too long", s->dir);
	if (!read_names(k, names != NULL ? names : "", err))
		return err_prefix(err, s->config->broker_names != NULL ? "broker_names" : NAMES_ENV);
	k->state = pki_own_look(&k->own, why);
	return true;
}

void
serve_cert_free(struct serve *s)
{
	if (s->cert == NULL)
		return;
	signer_client_free(s->cert->client);
	pki_own_request_done(&s->cert->request);
	free(s->cert);
	s->cert = NULL;
}

/* An installation without a broker's certificate of its own, or without the CA for it, has others, which are somebody else's. */
static bool
is_ours(const struct serve_cert *k)
{
	return access(k->issuer, F_OK) == 0 && (k->own.n_names > 0 || access(k->cert, F_OK) == 0);
}

bool
serve_cert_usable(const struct serve *s)
{
	return s->cert->state != PKI_OWN_UNUSABLE || !is_ours(s->cert);
}

static void
finish(struct serve_cert *k, unsigned again_ms)
{
	signer_client_free(k->client);
	k->client = NULL;
	pki_own_request_done(&k->request);
	k->next_ms = server_now_ms() + again_ms;
}

static void
give_up(struct serve_cert *k, const struct err *err)
{
	log_warning("The broker gets no new certificate: %s. It is tried again in %d s.", err->text, AGAIN_MS / 1000);
	finish(k, AGAIN_MS);
}

static void
on_issued(void *ctx, const struct signer_issued *issued, const struct err *why)
{
	struct serve_cert *k = ctx;
	struct err err = { 0 };
	uint8_t *issuer = NULL;
	size_t n;
	bool ok;

	if (issued == NULL)
		ok = err_set(&err, why->code, "%s", why->text);
	else
		ok = file_read(k->issuer, PKI_FILE_MAX, &issuer, &n, &err) &&
		     pki_own_take(&k->own, &k->request, issued->der, slice_of(issuer, n), &err);
	free(issuer);
	if (ok && issued != NULL)
		log_notice("The broker's certificate is new: for %s%s, serial %s%s.", k->request.cn, k->request.n_names > 1 ? " and other names" : "", issued->serial,
		    k->request.key != NULL ? ", with a new key" : "");
	else
		log_warning("The broker gets no new certificate: %s. It is tried again in %d s.", err.text, AGAIN_MS / 1000);
	k->renewed = ok;
	k->failed = !ok;
}

static void
ask(struct serve *s)
{
	struct serve_cert *k = s->cert;
	struct signer_issue q = { .ca = "cloud", .profile = "server", .actor = "serve" };
	struct err err = { 0 };
	int fd = -1;

	k->renewed = k->failed = false;
	if (!pki_own_ask(&k->own, &k->request, &err) || !serve_link(s, &fd, &err)) {
		give_up(k, &err);
		return;
	}
	k->client = signer_client_new(fd);
	if (k->client == NULL) {
		(void)close(fd);
		(void)err_set(&err, ERR_MEMORY, "out of memory");
		give_up(k, &err);
		return;
	}
	q.cn = k->request.cn;
	q.csr = slice_of(k->request.csr, k->request.csr_n);
	k->due_ms = server_now_ms() + ANSWER_MS;
	if (!signer_issue(k->client, &q, on_issued, k, &err))
		give_up(k, &err);
}

static void
look(struct serve *s)
{
	struct serve_cert *k = s->cert;
	char why[PKI_WHY_MAX];

	k->next_ms = server_now_ms() + LOOK_MS;
	if (!is_ours(k))
		return;
	k->state = pki_own_look(&k->own, why);
	if (k->state == PKI_OWN_GOOD)
		return;
	log_notice("The broker's certificate %s %s: the signer is asked for a new one.", k->cert, why);
	ask(s);
}

void
serve_cert_soon(struct serve *s)
{
	if (s->cert->client == NULL)
		s->cert->next_ms = 0;
}

short
serve_cert_wants(const struct serve *s, int *ret_fd)
{
	const struct serve_cert *k = s->cert;

	*ret_fd = k != NULL && k->client != NULL ? signer_client_fd(k->client) : -1;
	return *ret_fd == -1 ? 0 : (short)(POLLIN | (signer_client_wants_write(k->client) ? POLLOUT : 0));
}

bool
serve_cert_turn(struct serve *s, short revents)
{
	struct serve_cert *k = s->cert;
	struct err err = { 0 };
	char why[PKI_WHY_MAX];

	if (k == NULL || s->stopping)
		return false;
	if (k->client == NULL) {
		if (s->children[SERVE_SIGNER].ready && server_now_ms() >= k->next_ms)
			look(s);
		return false;
	}
	if (revents != 0 && !signer_client_ready(k->client, &err) && !k->renewed && !k->failed) {
		give_up(k, &err);
		return false;
	}
	if (!k->renewed && !k->failed) {
		if (server_now_ms() >= k->due_ms) {
			(void)err_set(&err, ERR_SYSTEM, "the signer does not answer");
			give_up(k, &err);
		}
		return false;
	}
	finish(k, k->renewed ? LOOK_MS : AGAIN_MS);
	k->state = pki_own_look(&k->own, why);
	return k->renewed;
}
