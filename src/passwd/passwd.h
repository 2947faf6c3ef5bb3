/* Password files in mosquitto's format: text in, verdict out; and SCRAM, which needs no password on the way. No I/O, no
 * clock; any thread. */
#ifndef PASSWD_PASSWD_H
#define PASSWD_PASSWD_H

#include "base/err.h"
#include "base/slice.h"

enum passwd_kind {
	PASSWD_SHA512,   /* $6$salt$hash: one SHA-512 of password and salt; mosquitto 1.x */
	PASSWD_PBKDF2,   /* $7$iterations$salt$hash: PBKDF2-HMAC-SHA512; mosquitto 2.0 */
	PASSWD_ARGON2ID, /* $argon2id$v=19$m=KIB,t=PASSES,p=LANES$salt$hash; mosquitto 2.1 */
	PASSWD_SCRAM,    /* $scram-sha-256$iterations$salt$storedkey$serverkey: for SCRAM-SHA-256 and for passwords; ours */
	PASSWD_KINDS
};
const char *passwd_kind_name(enum passwd_kind k); /* "sha512", "sha512-pbkdf2", "argon2id", "scram-sha-256"; static */
bool passwd_kind_parse(struct slice name, enum passwd_kind *ret);

enum {
	PASSWD_FILE_MAX = 64 * 1024 * 1024, /* bytes; about 400,000 users */
	PASSWD_USER_MAX = 65535,            /* bytes, as in CONNECT */
	PASSWD_HASH_TEXT_MAX = 640,         /* room for what passwd_hash() writes */
	/* What one login may cost at most, whatever the file says: about a second. */
	PASSWD_ITERATIONS_MAX = 2000000,
	PASSWD_SCRAM_ITERATIONS_MIN = 4096, /* RFC 7677 4 */
	PASSWD_ARGON2_KIB_MAX = 256 * 1024,
	PASSWD_ARGON2_WORK_MAX = 1024 * 1024, /* KiB times passes */
	PASSWD_ARGON2_LANES_MAX = 16,
	/* What passwd_hash() takes for a cost of 0. */
	PASSWD_ITERATIONS = 100000,
	PASSWD_ARGON2_KIB = 47104, /* with one pass and one lane, as mosquitto 2.1 */
};

/* The users of one file and their hashes. Immutable, counted across threads. */
struct passwd_file;

/* <name> stands in error texts with the line number: "passwd:3: …". The first line that is not as it should be is the
 * error: nobody is ever known without a hash (CVE-2018-12551), nobody twice. NULL and <err>. */
struct passwd_file *passwd_parse(struct slice text, const char *name, struct err *err);
struct passwd_file *passwd_ref(struct passwd_file *f);
void passwd_unref(struct passwd_file *f); /* NULL is fine; wipes the hashes */
size_t passwd_count(const struct passwd_file *f);

/* What stands for <user> in the file, in a number that changes when that does; 0: no such user. Of this process only. */
uint64_t passwd_tag(const struct passwd_file *f, struct slice user);

enum passwd_verdict {
	PASSWD_RIGHT,
	PASSWD_WRONG,
	PASSWD_UNKNOWN, /* no such user; took as long as PASSWD_WRONG of some user of the file */
	PASSWD_FAILED,  /* out of memory: nothing is known */
};
/* Compute one hash, always exactly one unless the file is empty, and compare in constant time. *ret_kind: which one. Takes
 * up to a second and PASSWD_ARGON2_KIB_MAX of memory. An empty password is wrong. */
enum passwd_verdict passwd_check(const struct passwd_file *f, struct slice user, struct slice password,
    enum passwd_kind *ret_kind);

/* ---- one hash alone, as passwd_hash() writes it ---- */

/* NULL: <hash> is one that can be checked. Else what is wrong with it; static. */
const char *passwd_hash_fault(struct slice hash);
/* As passwd_check(); never PASSWD_UNKNOWN, and an empty <password> is wrong. A <hash> with a fault is PASSWD_FAILED. */
enum passwd_verdict passwd_check_hash(struct slice hash, struct slice password);

/* ---- making files ---- */

/* The text behind "user:", with a fresh salt. <cost>: iterations (PBKDF2, SCRAM) or KiB (argon2id); 0: ours. False and
 * <err>: out of range or memory, or text that SCRAM does not take. */
bool passwd_hash(enum passwd_kind kind, uint32_t cost, struct slice password, char out[static PASSWD_HASH_TEXT_MAX],
    struct err *err);
/* A name that can stand in a file: not empty, UTF-8 without control characters, no ':', no blank at an end, no '#' in front. */
bool passwd_user_ok(struct slice user, struct err *err);
/* One that can have a hash of this kind: for SCRAM, printable ASCII. */
bool passwd_user_fits(enum passwd_kind kind, struct slice user, struct err *err);
/* <text> with the line of <user> set to <hash>, or removed (<hash> NULL); comments, other lines and their order stay.
 * *ret_text is free()d by the caller (secret_free() is better), *ret_found says whether the user was there. False: out of
 * memory. */
bool passwd_edit(struct slice text, struct slice user, const char *hash, uint8_t **ret_text, size_t *ret_n, bool *ret_found);
/* <text> in which every password that stands there in plain is replaced by a hash; those that are hashes already stay. */
struct passwd_upgraded {
	uint8_t *text; /* free()d by the caller; secret_free() is better */
	size_t n, changed;
};
bool passwd_upgrade(struct slice text, const char *name, enum passwd_kind kind, uint32_t cost, struct passwd_upgraded *ret,
    struct err *err);

/* ---- pre-shared keys: "identity:hex" ---- */

enum { PSK_KEY_MAX = 256, PSK_KEY_STRONG = 16, PSK_IDENTITY_MAX = 256 }; /* bytes; libssl takes no longer identities */

struct psk_file;
struct psk_file *psk_parse(struct slice text, const char *name, struct err *err);
struct psk_file *psk_ref(struct psk_file *f);
void psk_unref(struct psk_file *f);
size_t psk_count(const struct psk_file *f);
size_t psk_weak(const struct psk_file *f); /* keys shorter than PSK_KEY_STRONG: one handshake heard is enough to guess them */
/* As passwd_tag(). */
uint64_t psk_tag(const struct psk_file *f, struct slice identity);
/* The key of <identity> into <key>, its length in *ret_n. False: no such identity, and then the key is one that nobody can
 * have, so that a handshake goes on and fails as with a wrong key. */
bool psk_find(const struct psk_file *f, struct slice identity, uint8_t key[static PSK_KEY_MAX], size_t *ret_n);

/* ---- SCRAM-SHA-256 (RFC 5802, RFC 7677), server and client: messages in, messages out ---- */

/* No channel binding. Of SASLprep (RFC 4013) there is what it leaves as it is: names and passwords in printable ASCII. */
#define SCRAM_METHOD "SCRAM-SHA-256"
enum {
	SCRAM_MESSAGE_MAX = 1024, /* bytes of each message, either way */
	SCRAM_SECRET_N = 32,
};
/* Printable ASCII, and not empty. */
bool scram_text_ok(struct slice text);

/* What to send, and in words what was wrong. */
struct scram_answer {
	uint16_t n; /* 0: nothing */
	uint8_t p[SCRAM_MESSAGE_MAX];
	const char *why; /* of all but SCRAM_MORE and SCRAM_RIGHT; static */
};

enum scram_result {
	SCRAM_MORE,       /* send the answer and wait for the next message */
	SCRAM_RIGHT,      /* it is the user; the answer is the server's own proof */
	SCRAM_WRONG,      /* the user exists, the password was another */
	SCRAM_UNKNOWN,    /* no such user; the peer has seen the same as with SCRAM_WRONG, and will */
	SCRAM_OTHER_HASH, /* the user has a hash of another kind; likewise */
	SCRAM_BROKEN,     /* not the message that was due */
	SCRAM_FAILED,     /* out of memory */
};

/* One exchange, the server's side of it. */
struct scram_server;
/* The client's first message. <secret>: random, the same for each exchange of a broker; of it the salts of users who do not
 * exist are made. SCRAM_MORE with *ret; else SCRAM_BROKEN or SCRAM_FAILED. *ret_answer is written in any case. */
enum scram_result scram_server_start(const struct passwd_file *f, const uint8_t secret[static SCRAM_SECRET_N], struct slice in,
    struct scram_server **ret, struct scram_answer *ret_answer);
/* The client's second and last message. Never SCRAM_MORE. */
enum scram_result scram_server_finish(struct scram_server *s, struct slice in, struct scram_answer *ret_answer);
struct slice scram_server_user(const struct scram_server *s); /* borrowed from <s> */
void scram_server_free(struct scram_server *s);               /* NULL is fine; wipes */

/* One exchange, the client's side of it. <user> and <password> are borrowed for its life. NULL and <err>: out of memory, or
 * text that SCRAM does not take. */
struct scram_client;
struct scram_client *scram_client_new(struct slice user, struct slice password, struct err *err);
void scram_client_free(struct scram_client *c); /* NULL is fine; wipes */
/* The next message, for what the server sent: an empty <in> first, then its first message. May be begun again. False and
 * <err>: the server does not keep to the protocol, or is one that no password should be shown to. */
bool scram_client_step(struct scram_client *c, struct slice in, struct scram_answer *ret, struct err *err);
/* The server's last message: does it know the password, too? */
bool scram_client_verify(struct scram_client *c, struct slice in, struct err *err);

#endif
