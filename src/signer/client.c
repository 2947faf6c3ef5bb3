/* Control's side of the socket; see client.h. */
#include "signer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_MAX = 256 << 20, CAS_MAX = 128, ENTRIES_MAX = 4000000 };

/* A request that was made: as bytes until it is sent, then what it waits for. */
struct waiting;
typedef void finish_fn(const struct waiting *w, struct slice body, const struct err *err);

struct waiting {
	struct waiting *next;
	uint32_t id;
	finish_fn *finish;
	union {
		signer_issued_fn *issued;
		signer_done_fn *done;
		signer_der_fn *der;
		signer_cas_fn *cas;
		signer_logged_fn *logged;
	} fn;
	void *ctx;
};

struct packet {
	struct packet *next;
	size_t n;
	uint8_t bytes[];
};

struct signer_client {
	int fd;
	uint32_t next_id;
	struct waiting *first, *last;
	size_t n;
	struct packet *out, *out_last;
	uint8_t *scratch;    /* MESSAGE_MAX */
	uint8_t *body;       /* of the first who waits, so far */
	size_t body_n, body_cap;
	bool gone;
};

struct signer_client *
signer_client_new(int fd)
{
	struct signer_client *c = calloc(1, sizeof *c);
	int flags = fcntl(fd, F_GETFL);

	if (c != NULL)
		c->scratch = malloc(MESSAGE_MAX);
	if (c == NULL || c->scratch == NULL || flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) {
		if (c != NULL)
			free(c->scratch);
		free(c);
		return NULL;
	}
	c->fd = fd;
	return c;
}

static void
drop_out(struct signer_client *c)
{
	while (c->out != NULL) {
		struct packet *p = c->out;

		c->out = p->next;
		free(p);
	}
	c->out_last = NULL;
}

void
signer_client_free(struct signer_client *c)
{
	if (c == NULL)
		return;
	drop_out(c);
	while (c->first != NULL) {
		struct waiting *w = c->first;

		c->first = w->next;
		free(w);
	}
	(void)close(c->fd);
	free(c->scratch);
	free(c->body);
	free(c);
}

int
signer_client_fd(const struct signer_client *c)
{
	return c->fd;
}

bool
signer_client_wants_write(const struct signer_client *c)
{
	return c->out != NULL;
}

size_t
signer_client_waiting(const struct signer_client *c)
{
	return c->n;
}

/* ---- send ---- */

static bool
queue(struct signer_client *c, struct slice s, struct err *err)
{
	struct packet *p = malloc(sizeof *p + s.n);

	if (p == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	p->next = NULL;
	p->n = s.n;
	memcpy(p->bytes, s.p, s.n);
	if (c->out_last != NULL)
		c->out_last->next = p;
	else
		c->out = p;
	c->out_last = p;
	return true;
}

/* Begins a message in the scratch. */
static struct wr
message(struct signer_client *c, enum req_type type)
{
	struct wr w = wr_of(c->scratch, MESSAGE_MAX);

	wr_u8(&w, (uint8_t)type);
	wr_u32(&w, c->next_id);
	return w;
}

static bool
check_room(const struct signer_client *c, struct err *err)
{
	if (c->gone)
		return err_set(err, ERR_SYSTEM, "the signer has gone; it is being started again");
	return c->n < SIGNER_WAITING_MAX || err_set(err, ERR_LIMIT, "%d requests wait for the signer already", SIGNER_WAITING_MAX);
}

static bool
expect(struct signer_client *c, const struct waiting *like, struct err *err)
{
	struct waiting *w = malloc(sizeof *w);

	if (w == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	*w = *like;
	w->id = c->next_id++;
	w->next = NULL;
	if (c->last != NULL)
		c->last->next = w;
	else
		c->first = w;
	c->last = w;
	c->n++;
	return true;
}

/* A request that is one message. */
static bool
ask(struct signer_client *c, const struct wr *w, const struct waiting *like, struct err *err)
{
	if (!wr_ok(w))
		return err_set(err, ERR_LIMIT, "the request is too long for the signer");
	return check_room(c, err) && queue(c, wr_slice(w), err) && expect(c, like, err);
}

/* ---- receive ---- */

static void
finish_first(struct signer_client *c, const struct err *err)
{
	struct waiting *w = c->first;
	uint8_t *body = c->body;
	size_t n = c->body_n;

	c->first = w->next;
	if (c->first == NULL)
		c->last = NULL;
	c->n--;
	c->body = NULL;
	c->body_n = c->body_cap = 0;
	w->finish(w, slice_of(body, n), err);
	free(body);
	free(w);
}

static bool
keep_part(struct signer_client *c, struct slice part, struct err *err)
{
	size_t need = c->body_n + part.n;

	if (need > BODY_MAX)
		return err_set(err, ERR_LIMIT, "the signer's answer is too long");
	if (need > c->body_cap) {
		size_t cap = NUM_MAX(need, 2 * c->body_cap);
		uint8_t *p = realloc(c->body, cap);

		if (p == NULL)
			return err_set(err, ERR_MEMORY, "out of memory");
		c->body = p;
		c->body_cap = cap;
	}
	if (part.n > 0)
		memcpy(c->body + c->body_n, part.p, part.n);
	c->body_n = need;
	return true;
}

static bool
take(struct signer_client *c, struct slice message, struct err *err)
{
	struct rd in = rd_of(message);
	uint8_t code = rd_u8(&in);
	uint32_t id = rd_u32(&in);
	uint8_t more = rd_u8(&in);
	struct err said = { .code = (enum err_code)code };

	if (!rd_ok(&in) || c->first == NULL || c->first->id != id || code > ERR_MEMORY)
		return err_set(err, ERR_INPUT, "the signer's answer belongs to no request");
	if (!keep_part(c, slice_of(in.p, rd_left(&in)), err))
		return false;
	if (more != 0)
		return true;
	if (code != ERR_OK)
		(void)text_copy(said.text, sizeof said.text, slice_of(c->body, NUM_MIN(c->body_n, sizeof said.text - 1)));
	finish_first(c, code != ERR_OK ? &said : NULL);
	return true;
}

static bool
send_out(struct signer_client *c, struct err *err)
{
	while (c->out != NULL) {
		struct packet *p = c->out;

		if (send(c->fd, p->bytes, p->n, MSG_NOSIGNAL | MSG_DONTWAIT) == -1)
			return errno == EAGAIN || errno == EINTR || errno == ENOBUFS || err_sys(err, "the signer has gone");
		c->out = p->next;
		if (c->out == NULL)
			c->out_last = NULL;
		free(p);
	}
	return true;
}

static bool
receive(struct signer_client *c, struct err *err)
{
	for (;;) {
		ssize_t n = recv(c->fd, c->scratch, MESSAGE_MAX, MSG_DONTWAIT);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno == EAGAIN || err_sys(err, "the signer has gone");
		if (n == 0)
			return err_set(err, ERR_SYSTEM, "the signer has gone");
		if (!take(c, slice_of(c->scratch, (size_t)n), err))
			return false;
	}
}

bool
signer_client_ready(struct signer_client *c, struct err *err)
{
	struct err gone = { ERR_SYSTEM, "the signer has gone before it answered; what it signed stands in its index and in the audit log" };

	if (!c->gone && send_out(c, err) && receive(c, err) && send_out(c, err))
		return true;
	if (c->gone)
		return err_set(err, ERR_SYSTEM, "the signer has gone");
	c->gone = true;
	drop_out(c);
	while (c->first != NULL) {
		c->body_n = 0;
		finish_first(c, &gone);
	}
	return false;
}

/* ---- the requests ---- */

static struct err
damaged(void)
{
	return (struct err){ ERR_INPUT, "the signer's answer cannot be read" };
}

static void
finish_issued(const struct waiting *w, struct slice body, const struct err *err)
{
	struct rd in = rd_of(body);
	char serial[SERIAL_CAP], print[65], cn[CN_CAP], notes[1024];
	struct signer_issued r = { .serial = serial, .fingerprint = print, .cn = cn, .notes = notes };
	struct err bad = damaged();
	bool ok;

	if (err != NULL) {
		w->fn.issued(w->ctx, NULL, err);
		return;
	}
	ok = text_copy(serial, sizeof serial, rd_str(&in)) && text_copy(print, sizeof print, rd_str(&in)) &&
	    text_copy(cn, sizeof cn, rd_str(&in));
	r.not_before = get_i64(&in);
	r.not_after = get_i64(&in);
	r.der = rd_str(&in);
	ok = ok && text_copy(notes, sizeof notes, rd_str(&in)) && rd_ok(&in);
	w->fn.issued(w->ctx, ok ? &r : NULL, ok ? NULL : &bad);
}

bool
signer_issue(struct signer_client *c, const struct signer_issue *q, signer_issued_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_issued, .fn.issued = done, .ctx = ctx };
	struct wr w = message(c, REQ_ISSUE);

	wr_str(&w, slice_str(q->ca));
	wr_str(&w, slice_str(q->profile));
	wr_str(&w, slice_str(q->actor));
	wr_u8(&w, (uint8_t)((q->cn != NULL ? ISSUE_HAS_CN : 0) | (q->only_names ? ISSUE_ONLY_NAMES : 0)));
	wr_str(&w, slice_str(q->cn));
	wr_u32(&w, q->days);
	wr_str(&w, q->csr);
	wr_u16(&w, (uint16_t)NUM_MIN(q->n_names, (size_t)UINT16_MAX));
	for (size_t i = 0; i < q->n_names; i++)
		wr_str(&w, slice_str(q->names[i]));
	return ask(c, &w, &like, err);
}

static void
finish_done(const struct waiting *w, struct slice body, const struct err *err)
{
	(void)body;
	w->fn.done(w->ctx, err == NULL, err);
}

bool
signer_revoke(struct signer_client *c, const struct signer_revoke *q, signer_done_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_done, .fn.done = done, .ctx = ctx };
	struct wr w = message(c, REQ_REVOKE);

	wr_str(&w, slice_str(q->ca));
	wr_str(&w, slice_str(q->actor));
	wr_str(&w, slice_str(q->serial));
	wr_u8(&w, (uint8_t)(int8_t)q->reason);
	put_i64(&w, q->at);
	return ask(c, &w, &like, err);
}

static void
finish_der(const struct waiting *w, struct slice body, const struct err *err)
{
	w->fn.der(w->ctx, err == NULL ? body : SL(""), err);
}

/* As many entries as fit; the parts have one id and get one answer. */
static bool
crl_parts(struct signer_client *c, const struct signer_crl *q, struct err *err)
{
	size_t i = 0;

	do {
		struct wr w = message(c, REQ_CRL);
		bool first = i == 0;
		uint8_t *flags = w.p;

		wr_u8(&w, first ? CRL_FIRST : 0);
		wr_str(&w, slice_str(q->ca));
		wr_str(&w, slice_str(q->actor));
		wr_u32(&w, (uint32_t)(q->number >> 32));
		wr_u32(&w, (uint32_t)q->number);
		wr_u32(&w, q->days);
		while (i < q->n && wr_len(&w) + ENTRY_MAX <= PART_MAX)
			put_entry(&w, &q->entries[i++]);
		*flags |= i == q->n ? CRL_LAST : 0;
		if (!wr_ok(&w) || !queue(c, wr_slice(&w), err))
			return wr_ok(&w) ? false : err_set(err, ERR_LIMIT, "the request is too long for the signer");
	} while (i < q->n);
	return true;
}

bool
signer_crl(struct signer_client *c, const struct signer_crl *q, signer_der_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_der, .fn.der = done, .ctx = ctx };

	if (q->n > ENTRIES_MAX)
		return err_set(err, ERR_LIMIT, "a revocation list has at most %d entries", ENTRIES_MAX);
	/* First, so that a list that does not fit into memory fails as a whole: its parts are never told from the next list's. */
	return check_room(c, err) && crl_parts(c, q, err) && expect(c, &like, err);
}

bool
signer_ocsp(struct signer_client *c, const struct signer_ocsp *q, signer_der_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_der, .fn.der = done, .ctx = ctx };
	struct wr w = message(c, REQ_OCSP);

	wr_u8(&w, q->sha256);
	wr_str(&w, slice_str(q->ca));
	wr_str(&w, slice_str(q->actor));
	wr_u32(&w, q->good_for);
	wr_str(&w, q->nonce);
	for (size_t i = 0; i < q->n; i++)
		put_entry(&w, &q->entries[i]);
	return ask(c, &w, &like, err);
}

static void
finish_cas(const struct waiting *w, struct slice body, const struct err *err)
{
	struct signer_ca cas[CAS_MAX];
	char names[CAS_MAX][CA_CAP], profiles[CAS_MAX][64];
	struct rd in = rd_of(body);
	struct err bad = damaged();
	size_t n = 0;

	while (err == NULL && rd_ok(&in) && rd_left(&in) > 0 && n < CAS_MAX) {
		if (!text_copy(names[n], CA_CAP, rd_str(&in)) || !text_copy(profiles[n], 64, rd_str(&in)))
			break;
		cas[n] = (struct signer_ca){ names[n], profiles[n], rd_str(&in), strcmp(profiles[n], CA_AWAY) == 0 };
		if (cas[n].away)
			profiles[n][0] = '\0';
		n++;
	}
	if (err == NULL && (n == 0 || !rd_ok(&in) || rd_left(&in) > 0)) {
		err = &bad;
		n = 0;
	}
	w->fn.cas(w->ctx, n > 0 ? cas : NULL, n, err);
}

bool
signer_cas(struct signer_client *c, signer_cas_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_cas, .fn.cas = done, .ctx = ctx };
	struct wr w = message(c, REQ_CAS);

	return ask(c, &w, &like, err);
}

static void
finish_logged(const struct waiting *w, struct slice body, const struct err *err)
{
	struct rd in = rd_of(body);
	uint64_t n = (uint64_t)get_i64(&in);
	struct err bad = damaged();
	char hash[65];
	bool ok = err == NULL && text_copy(hash, sizeof hash, rd_str(&in)) && rd_ok(&in);

	w->fn.logged(w->ctx, ok ? n : 0, ok ? hash : NULL, ok ? NULL : err != NULL ? err : &bad);
}

bool
signer_log(struct signer_client *c, const struct signer_record *q, signer_logged_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_logged, .fn.logged = done, .ctx = ctx };
	struct wr w = message(c, REQ_LOG);

	wr_str(&w, slice_str(q->actor));
	wr_str(&w, slice_str(q->action));
	wr_str(&w, slice_str(q->object));
	wr_u16(&w, (uint16_t)NUM_MIN(q->n_details, (size_t)UINT16_MAX));
	for (size_t i = 0; i < q->n_details; i++) {
		wr_str(&w, slice_str(q->details[i].name));
		wr_str(&w, slice_str(q->details[i].value));
	}
	return ask(c, &w, &like, err);
}

bool
signer_checkpoint(struct signer_client *c, signer_logged_fn *done, void *ctx, struct err *err)
{
	struct waiting like = { .finish = finish_logged, .fn.logged = done, .ctx = ctx };
	struct wr w = message(c, REQ_CHECKPOINT);

	return ask(c, &w, &like, err);
}
