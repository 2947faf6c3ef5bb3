/* What commands issue and revoke beside us stands in the CAs' indexes; from there the registry learns it. So does it what the signer did for
 * a control process that was killed before it could write it down. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/events.h"
#include "api/signers.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { CAS_MAX = 64, CHUNK = 64 * 1024, SOON_MS = 50, BUSY_MS = 100, LIST_MAX = 256 << 20, REASON_HOLD = 6 };

struct index_file {
	char ca[REGISTRY_NAME_MAX + 1];
	int fd;
	uint64_t inode;
	int64_t at, kept;  /* read so far; and what of it is remembered */
	unsigned news, revoked; /* in this turn */
	bool due;
	struct stat list;  /* of the one in crls/ that was looked at */
};

struct indexes {
	struct api *api;
	struct index_file files[CAS_MAX];
	size_t n;
	int watch;
	bool ready;        /* all were read once */
	struct event *changed, *soon;
	uint8_t *buf;      /* CHUNK */
};

/* ---- the registry's side ---- */

static bool
known(struct indexes *x, const struct index_file *f, const char *serial, struct registry_certificate *ret)
{
	return registry_certificate_get(x->api->registry, slice_str(f->ca), slice_str(serial), ret, NULL);
}

/* Nobody's, if it is not readable for whom control runs as. */
static void
find_der(const struct indexes *x, const struct index_file *f, const char *serial, uint8_t **ret, size_t *ret_n)
{
	char sub[128], path[PKI_PATH_MAX];
	uint8_t *text;
	size_t n;

	(void)snprintf(sub, sizeof(sub), "pki/%s/certs/%s.pem", f->ca, serial);
	if (!path_join(path, sizeof(path), x->api->config->dir, sub) || !file_read(path, PKI_FILE_MAX, &text, &n, NULL))
		return;
	if (!pki_first_der(slice_of(text, n), path, ret, ret_n, NULL))
		*ret = NULL;
	free(text);
}

/* Of what was done before the first reading nobody waits to hear. */
static void
tell(const struct indexes *x, const struct registry_certificate *c, bool released)
{
	const char *what = c->state == REGISTRY_CERT_REVOKED ? "revoked" : c->state == REGISTRY_CERT_HOLD ? "held" : c->state == REGISTRY_CERT_SUPERSEDED ? "superseded" : "issued";

	if (x->ready)
		event_certificate(x->api, released ? "released" : what, c->ca, slice_str(c->serial));
}

static bool
import(struct indexes *x, struct index_file *f, const struct registry_certificate *c, struct err *err)
{
	bool news = false;

	if (!registry_certificate_import(x->api->registry, c, &news, err))
		return false;
	f->news += news;
	f->revoked += news && c->state >= REGISTRY_CERT_HOLD;
	if (news)
		tell(x, c, false);
	return true;
}

static bool
take_issued(struct indexes *x, struct index_file *f, const struct pki_entry *e, struct err *err)
{
	struct registry_certificate old, c = { .ca = slice_str(f->ca), .cn = slice_str(e->cn), .profile = slice_str(e->profile), .origin = SL("cli"),
		.not_before = e->not_before, .not_after = e->not_after };
	uint8_t *der = NULL;
	size_t n = 0;
	bool ok;

	/* What went through us is here already. */
	if (known(x, f, e->serial, &old)) {
		free(old.mem);
		return true;
	}
	(void)snprintf(c.serial, sizeof(c.serial), "%s", e->serial);
	(void)snprintf(c.fingerprint, sizeof(c.fingerprint), "%s", e->fingerprint);
	find_der(x, f, e->serial, &der, &n);
	c.der = slice_of(der, der != NULL ? n : 0);
	ok = import(x, f, &c, err);
	free(der);
	return ok;
}

/* A certificate that an adopted CA issued before it came here: nothing is known of it but that it is not good any more. */
static bool
take_foreign(struct indexes *x, struct index_file *f, const struct pki_entry *e, struct err *err)
{
	struct registry_certificate c = { .ca = slice_str(f->ca), .cn = SL("-"), .profile = SL("client"), .origin = SL("cli"), .state = REGISTRY_CERT_REVOKED,
		.not_after = INT64_C(253402300799), .revoked_at = e->revoked_at, .reason = e->reason };
	char text[128];
	uint8_t hash[REGISTRY_HASH];
	int n = snprintf(text, sizeof(text), "%s %s", f->ca, e->serial);

	if (e->status != PKI_REVOKED)
		return true;
	/* In place of the certificate's own, which nobody here has. */
	if (n < 0 || EVP_Digest(text, (size_t)n, hash, NULL, EVP_sha256(), NULL) != 1)
		return err_set(err, ERR_MEMORY, "out of memory");
	(void)text_hex(slice_of(hash, sizeof(hash)), c.fingerprint, sizeof(c.fingerprint));
	(void)snprintf(c.serial, sizeof(c.serial), "%s", e->serial);
	return import(x, f, &c, err);
}

/* Does a line of <rest> say something else of it? */
static bool
is_marked_later(const struct pki_entry *e, struct slice rest)
{
	enum pki_index_what what;
	struct pki_entry later;
	bool more;

	if (memmem(rest.p, rest.n, e->serial, strlen(e->serial)) == NULL)
		return false;
	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n', &more);

		if (more && pki_index_line(line, &what, &later) && what == PKI_INDEX_MARKED && strcmp(later.serial, e->serial) == 0)
			return true;
	}
	return false;
}

static bool
take_mark(struct indexes *x, struct index_file *f, const struct pki_entry *e, struct slice rest, struct err *err)
{
	struct registry_certificate c;
	bool ok = true;

	/* Held and released again: what came of it since, here, is not undone. */
	if (e->status == PKI_REVOKED && e->reason == REASON_HOLD && is_marked_later(e, rest))
		return true;
	if (!known(x, f, e->serial, &c))
		return take_foreign(x, f, e, err);
	if (e->status == PKI_LIVE) {
		if (c.state == REGISTRY_CERT_HOLD) {
			ok = registry_certificate_unhold(x->api->registry, c.ca, slice_str(c.serial), err);
			f->news += ok;
			f->revoked += ok;
			if (ok)
				tell(x, &c, true);
		}
		ok = ok && registry_booked(x->api->registry, c.ca, slice_str(c.serial), -1, err);
	} else {
		/* Also of what is revoked here already: now it is known to be booked. */
		c.state = e->status != PKI_REVOKED ? REGISTRY_CERT_SUPERSEDED : e->reason == REASON_HOLD ? REGISTRY_CERT_HOLD : REGISTRY_CERT_REVOKED;
		c.revoked_at = e->status == PKI_REVOKED ? e->revoked_at : 0;
		c.reason = e->status == PKI_REVOKED ? e->reason : 0;
		ok = import(x, f, &c, err);
	}
	free(c.mem);
	return ok;
}

/* <rest>: what stands behind it. */
static bool
take_line(struct indexes *x, struct index_file *f, struct slice line, struct slice rest, struct err *err)
{
	enum pki_index_what what;
	struct pki_entry e;

	if (!pki_index_line(line, &what, &e)) {
		log_warning("A line of pki/%s/index.txt is damaged and passed over.", f->ca);
		return true;
	}
	return what == PKI_INDEX_NOTHING || (what == PKI_INDEX_ISSUED ? take_issued(x, f, &e, err) : take_mark(x, f, &e, rest, err));
}

/* ---- where we are in it ---- */

static void
remember(struct indexes *x, struct index_file *f)
{
	char name[REGISTRY_NAME_MAX + 16], value[64];
	struct err err;

	(void)snprintf(name, sizeof(name), "index/%s", f->ca);
	(void)snprintf(value, sizeof(value), "%" PRIu64 " %" PRId64, f->inode, f->at);
	if (registry_setting_set(x->api->registry, slice_str(name), slice_str(value), &err))
		f->kept = f->at;
}

/* From the start, unless it is the file that it was. */
static void
recall(struct indexes *x, struct index_file *f)
{
	char name[REGISTRY_NAME_MAX + 16];
	struct slice value, inode;
	struct stat st;
	uint64_t number = 0, at = 0;
	void *mem = NULL;
	bool more;
	char byte;

	(void)snprintf(name, sizeof(name), "index/%s", f->ca);
	if (fstat(f->fd, &st) == -1)
		return;
	f->inode = (uint64_t)st.st_ino;
	if (!registry_setting_get(x->api->registry, slice_str(name), &value, &mem, NULL))
		return;
	inode = slice_cut(&value, ' ', &more);
	if (text_u64(inode, 0, UINT64_MAX, &number) && number == f->inode && text_u64(value, 1, (uint64_t)st.st_size, &at) &&
	    pread(f->fd, &byte, 1, (off_t)at - 1) == 1 && byte == '\n')
		f->at = f->kept = (int64_t)at;
	free(mem);
}

/* ---- lists that commands made ---- */

static int64_t
list_number(X509_CRL *crl)
{
	ASN1_INTEGER *n = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	int64_t number = 0;

	if (n == NULL || ASN1_INTEGER_get_int64(&number, n) != 1 || number < 1)
		number = 0;
	ASN1_INTEGER_free(n);
	return number;
}

static int64_t
seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* Ours must have a higher number, or the broker keeps theirs. */
static void
take_list(struct indexes *x, const struct index_file *f, X509_CRL *crl)
{
	struct registry_ca ca;
	struct registry_crl list = { .ca = slice_str(f->ca), .number = list_number(crl), .this_update = seconds(X509_CRL_get0_lastUpdate(crl)),
		.next_update = seconds(X509_CRL_get0_nextUpdate(crl)) };
	const unsigned char *p;
	unsigned char *der = NULL;
	X509 *issuer;
	struct err err;
	int n;

	if (!registry_ca_get(x->api->registry, list.ca, &ca, NULL))
		return;
	p = ca.der.p;
	issuer = d2i_X509(NULL, &p, (long)ca.der.n);
	if (issuer != NULL && list.number > ca.crl_number && X509_CRL_verify(crl, X509_get0_pubkey(issuer)) == 1 && (n = i2d_X509_CRL(crl, &der)) > 0) {
		list.der = slice_of(der, (size_t)n);
		if (registry_crl_put(x->api->registry, &list, &err))
			log_notice("CA %s: the list %" PRId64 " in crls/ is newer than control's.", f->ca, list.number);
		else
			log_warning("CA %s: the list %" PRId64 " in crls/ is not taken over: %s.", f->ca, list.number, err.text);
	}
	OPENSSL_free(der);
	X509_free(issuer);
	free(ca.mem);
}

static void
look_at_list(struct indexes *x, struct index_file *f)
{
	char sub[REGISTRY_NAME_MAX + 16], path[PKI_PATH_MAX];
	struct stat st;
	X509_CRL *crl;
	uint8_t *text;
	size_t n;
	BIO *b;

	(void)snprintf(sub, sizeof(sub), "crls/%s.pem", f->ca);
	if (!path_join(path, sizeof(path), x->api->config->dir, sub) || stat(path, &st) == -1 ||
	    (st.st_ino == f->list.st_ino && st.st_mtim.tv_sec == f->list.st_mtim.tv_sec && st.st_mtim.tv_nsec == f->list.st_mtim.tv_nsec) ||
	    !file_read(path, LIST_MAX, &text, &n, NULL))
		return;
	f->list = st;
	b = BIO_new_mem_buf(text, (int)n);
	crl = b != NULL ? PEM_read_bio_X509_CRL(b, NULL, NULL, NULL) : NULL;
	if (crl != NULL)
		take_list(x, f, crl);
	X509_CRL_free(crl);
	(void)BIO_free(b);
	free(text);
}

/* ---- reading ---- */

/* Whole lines of <n> bytes; how many bytes they are. */
static size_t
take_lines(struct indexes *x, struct index_file *f, size_t n, struct err *err)
{
	struct slice rest = slice_of(x->buf, n);
	size_t used = 0;
	bool more = true;

	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n', &more);

		/* The last one is still being written. */
		if (!more || !take_line(x, f, line, rest, err))
			break;
		used += line.n + 1;
	}
	return used;
}

/* True: there may be more at once. */
static bool
read_on(struct indexes *x, struct index_file *f)
{
	ssize_t n = pread(f->fd, x->buf, CHUNK, (off_t)f->at);
	struct err err = { .code = ERR_OK };
	size_t used;

	if (n <= 0 || !registry_begin(x->api->registry, &err))
		return false;
	used = take_lines(x, f, (size_t)n, &err);
	if (!registry_commit(x->api->registry, &err)) {
		registry_rollback(x->api->registry);
		used = 0;
	}
	f->at += (int64_t)used;
	/* A CA that the signer has not told of yet: later. */
	if (err.code != ERR_OK && err.code != ERR_MISSING)
		log_warning("What pki/%s/index.txt says is not taken into the registry: %s; it is tried again.", f->ca, err.text);
	return err.code == ERR_OK && used > 0 && n == CHUNK;
}

/* All of it was read for now. */
static void
finish(struct indexes *x, struct index_file *f)
{
	if (f->news > 0 || f->at - f->kept > CHUNK)
		remember(x, f);
	if (f->news > 0)
		log_notice("Control has learned from pki/%s/index.txt what others did: %u certificates.", f->ca, f->news);
	look_at_list(x, f);
	if (f->revoked > 0)
		lists_due(x->api);
	f->news = f->revoked = 0;
}

static void
again(struct indexes *x, unsigned ms)
{
	const struct timeval soon = { .tv_usec = (suseconds_t)ms * 1000 };

	(void)event_add(x->soon, &soon);
}

static void
on_soon(evutil_socket_t fd, short what, void *ctx)
{
	struct indexes *x = ctx;
	struct signer_client *signer = signers_client(x->api);

	(void)fd;
	(void)what;
	/* What we have asked for ourselves, and have no answer for yet, may stand there already. */
	if (signer != NULL && signer_client_waiting(signer) > 0) {
		again(x, BUSY_MS);
		return;
	}
	for (size_t i = 0; i < x->n; i++) {
		struct index_file *f = &x->files[i];

		if (!f->due)
			continue;
		f->due = read_on(x, f);
		if (f->due) {
			again(x, 0);
			return;
		}
		finish(x, f);
	}
	if (x->ready)
		return;
	x->ready = true;
	lists_due(x->api);
}

bool
indexes_ready(const struct api *a)
{
	return a->indexes != NULL && a->indexes->ready;
}

void
indexes_lists(struct api *a)
{
	for (size_t i = 0; i < a->indexes->n; i++)
		look_at_list(a->indexes, &a->indexes->files[i]);
}

void
indexes_soon(struct api *a)
{
	struct indexes *x = a->indexes;

	for (size_t i = 0; x != NULL && i < x->n; i++)
		x->files[i].due = true;
	if (x != NULL)
		again(x, SOON_MS);
}

static void
on_changed(evutil_socket_t fd, short what, void *ctx)
{
	struct indexes *x = ctx;
	char events[4096];

	(void)what;
	while (read(fd, events, sizeof(events)) > 0)
		;
	indexes_soon(x->api);
}

/* ---- start and end ---- */

static void
open_one(void *ctx, const char *name)
{
	struct indexes *x = ctx;
	struct index_file *f = &x->files[x->n];
	char sub[128], path[PKI_PATH_MAX];

	(void)snprintf(sub, sizeof(sub), "pki/%.32s/index.txt", name);
	for (size_t i = 0; i < x->n; i++)
		if (strcmp(x->files[i].ca, name) == 0)
			return;
	if (x->n == CAS_MAX || !path_join(path, sizeof(path), x->api->config->dir, sub) || !text_copy(f->ca, sizeof(f->ca), slice_str(name)))
		return;
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (f->fd == -1)
		return;
	if (x->watch != -1 && inotify_add_watch(x->watch, path, IN_MODIFY) == -1)
		log_info("Changes of %s are noticed within a minute (%s).", path, strerror(errno));
	x->n++;
}

bool
indexes_open(struct api *a, struct err *err)
{
	struct indexes *x = a->indexes = calloc(1, sizeof(*x));

	if (x == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	x->api = a;
	x->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	x->buf = malloc(CHUNK);
	x->soon = event_new(a->base, -1, 0, on_soon, x);
	x->changed = x->watch != -1 ? event_new(a->base, x->watch, EV_READ | EV_PERSIST, on_changed, x) : NULL;
	if (x->buf == NULL || x->soon == NULL || (x->changed != NULL && event_add(x->changed, NULL) != 0))
		return err_set(err, ERR_MEMORY, "out of memory");
	/* A control process without an installation beside it has nothing to learn. */
	(void)pki_each_ca(a->config->dir, open_one, x, NULL);
	return true;
}

void
indexes_more(struct api *a)
{
	struct indexes *x = a->indexes;
	size_t before = x->n;

	(void)pki_each_ca(a->config->dir, open_one, x, NULL);
	for (size_t i = before; i < x->n; i++) {
		log_notice("CA %s has come.", x->files[i].ca);
		recall(x, &x->files[i]);
	}
	indexes_soon(a);
}

bool
indexes_begin(struct api *a)
{
	struct indexes *x = a->indexes;

	for (size_t i = 0; i < x->n; i++)
		recall(x, &x->files[i]);
	indexes_soon(a);
	return true;
}

void
indexes_close(struct api *a)
{
	struct indexes *x = a->indexes;

	if (x == NULL)
		return;
	for (size_t i = 0; i < x->n; i++) {
		if (a->registry != NULL && x->files[i].at > x->files[i].kept)
			remember(x, &x->files[i]);
		(void)close(x->files[i].fd);
	}
	if (x->changed != NULL)
		event_free(x->changed);
	if (x->soon != NULL)
		event_free(x->soon);
	if (x->watch != -1)
		(void)close(x->watch);
	free(x->buf);
	free(x);
	a->indexes = NULL;
}
