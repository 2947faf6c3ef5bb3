/* Private to signer/: what goes over the socket, and the process in its parts. */
#ifndef SIGNER_INTERNAL_H
#define SIGNER_INTERNAL_H

#include "base/num.h"
#include "base/rd.h"
#include "base/text.h"
#include "base/wr.h"
#include "pki/pki.h"
#include "signer/signer.h"

/* ---- wire.c: messages. Big-endian; strings and bytes with two bytes of length ----
 * Request: type, id (4 bytes), body. Answer: err_code, id, 1 if a part follows, part of the body (of an error: its text).
 * One answer for each request, in their order. */

enum { MESSAGE_MAX = 64 << 10, PART_MAX = 60000, HEAD = 5, ANSWER_HEAD = 6, ENTRY_MAX = SIGNER_SERIAL_MAX + 10 };

enum req_type { REQ_CAS = 1, REQ_ISSUE, REQ_REVOKE, REQ_CRL, REQ_OCSP, REQ_LOG, REQ_CHECKPOINT };
enum { ISSUE_HAS_CN = 1, ISSUE_ONLY_NAMES = 2, CRL_FIRST = 1, CRL_LAST = 2 };

/* Where the profiles of a CA stand whose key is elsewhere. */
#define CA_AWAY "-"
enum { CA_CAP = 33, PROFILE_CAP = 16, CN_CAP = 257, NAME_CAP = 256, SERIAL_CAP = 41, ACTOR_CAP = 129, ACTION_CAP = 65,
	OBJECT_CAP = 513, DETAIL_CAP = 65, VALUE_CAP = 1025 };

/* A request taken apart: all of it is within its limits, text is text. */
struct req {
	enum req_type type;
	uint32_t id;
	char ca[CA_CAP], profile[PROFILE_CAP], actor[ACTOR_CAP];
	char cn[CN_CAP];
	bool has_cn, only_names, first, last, sha256;
	char names[SIGNER_NAMES_MAX][NAME_CAP];
	const char *name_list[SIGNER_NAMES_MAX];
	size_t n_names;
	struct slice csr, nonce; /* borrowed from the message, as the next */
	struct slice entries;    /* well-formed; entry_next() */
	size_t n_entries;
	uint32_t days, good_for;
	char serial[SERIAL_CAP];
	int reason;
	int64_t at;
	uint64_t number;
	char action[ACTION_CAP], object[OBJECT_CAP];
	char detail_names[SIGNER_DETAILS_MAX][DETAIL_CAP], detail_values[SIGNER_DETAILS_MAX][VALUE_CAP];
	size_t n_details;
};
/* False: <err>; r->id is right if the message has one. */
bool req_parse(struct req *r, struct slice message, struct err *err);
/* The next of r->entries, which moves on; only after req_parse(). */
struct signer_entry entry_next(struct slice *entries);

void put_i64(struct wr *w, int64_t v);
int64_t get_i64(struct rd *r);
void put_entry(struct wr *w, const struct signer_entry *e);

/* ---- ration.c: so many a second over time, ten seconds' worth at once ---- */

struct ration {
	double level, rate;
	int64_t at_ms;
};
struct ration ration_of(double rate);
bool ration_take(struct ration *r);

/* ---- core.c: a request in, an answer out; no sockets ---- */

struct core;
struct core *core_new(const struct signer_setup *s, struct err *err);
void core_free(struct core *c);

/* What somebody who asks has under way. */
struct asker {
	struct pki_crl_draft *crl;
	uint32_t crl_id;
	size_t crl_n;
	char crl_ca[CA_CAP];
	uint64_t crl_number;
	struct err crl_fault; /* of a part; told at the last */
};
void asker_done(struct asker *a);

struct answer {
	struct answer *next;
	uint32_t id;
	struct err err;      /* code ERR_OK: body */
	uint8_t *body;       /* free() */
	size_t n, sent;
	bool begun;
};
/* NULL: no answer is due (a part of a list), or out of memory (*ret_fatal). */
struct answer *core_ask(struct core *c, struct asker *k, struct slice message, bool *ret_fatal);
void answer_free(struct answer *a);
/* The process that speaks to tokens has gone: nothing comes of this one any more. */
bool core_lost(const struct core *c);
/* All that was done is on the disk. */
bool core_sync(struct core *c, struct err *err);
/* Checkpoints that are due; <last>: one now if there is anything behind the newest. */
void core_tick(struct core *c, int64_t now_ms, bool last);

/* ---- confine.c ---- */

/* Give everything up that is not needed any more; what the kernel does not offer is said in the log. */
bool confine(const struct signer_setup *s, struct err *err);
/* The process that speaks to tokens, whose modules open what they will: it is the signer's user, in his groups, and starts no program.
 * <ctx>: struct signer_setup. */
bool confine_token(void *ctx, struct err *err);

#endif
