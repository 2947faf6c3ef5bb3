/* The paths of dojot's gateway: the same requests, and answers as its clients read them. Private to api/.
 * Switched on by `dojot_api`; docs/dojot.md says what is the same and what is not. */
#ifndef API_DOJOT_H
#define API_DOJOT_H

#include "api/internal.h"
#include "api/standing.h"

extern const struct op_group group_dojot_auth, group_dojot_pap, group_dojot_ca, group_dojot_entity, group_dojot_sign, group_dojot_device, group_dojot_template,
    group_dojot_x509, group_dojot_agent;

#define DOJOT_CA "IOTmidCA"

/* ---- dojot.c: forms ---- */

/* {"message": …, "status": N} */
void dojot_fail(struct call *c, unsigned status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same as a fault of EJBCA: 400, "soap message: …". */
void dojot_soap(struct call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void dojot_ok(struct call *c); /* {"message": "ok", "status": 200} */
void dojot_error(struct call *c, const struct err *err); /* of the registry or the signer */
/* Is the body a JSON object, and said to be JSON? Else it is answered: 400 with <type> or <json>. */
bool dojot_body(struct call *c, const char *type, const char *json);
#define DOJOT_EJBCA_BODY "invalid mimetype", "malformed JSON"
#define DOJOT_DEVICE_BODY "Payload must be valid JSON, and Content-Type set accordingly", "Payload must be valid JSON, and Content-Type set accordingly"

json_t *dojot_time(int64_t t); /* "2018-06-05T19:30:00.000000+00:00"; 0: null */
/* Base64 in lines of 64 columns, or in one; no end of line behind the last. free(). NULL: out of memory. */
char *dojot_base64(struct slice bytes, bool lines);
/* Base64, with ends of lines or without, or PEM of any label: the bytes; free(*ret_mem). False: it is neither, or too long. */
bool dojot_unbase64(struct slice text, struct slice *ret, void **ret_mem);
json_t *dojot_text(const struct call *c, const char *name); /* a member that is a text, borrowed, or NULL */
/* A switch of the query: there, and "true", "1" or nothing. */
bool dojot_switch(const struct call *c, const char *name);

/* page_num and page_size. False: answered. */
struct dojot_page {
	int64_t number, size;
};
enum { DOJOT_WALK_MAX = 100000 }; /* rows that a list looks at: what needs more has pages by cursor in /api/v1 */
bool dojot_page(struct call *c, struct dojot_page *ret);
/* {"page": …, "total": pages, "has_next": …, "next_page": …} */
json_t *dojot_pagination(const struct dojot_page *p, int64_t rows);

json_t *dojot_user(const struct registry_user *u); /* dojot_auth.c */

/* ---- dojot_entity.c ---- */

/* The end entity that the asker's tenant means by <name>: a device's id, TENANT:ID, or the name of one without a device. */
bool dojot_entity_find(struct call *c, struct slice name, struct registry_entity *ret, struct err *err);
/* A secret of a device or other end entity that waits for its certificate, 32 hex digits, and its SHA-256. */
enum { DOJOT_SECRET_N = 32 };
bool dojot_secret_make(char out[static DOJOT_SECRET_N + 1], uint8_t hash[static REGISTRY_HASH]);

/* ---- dojot_sign.c ---- */

/* c->work of one that is under way. */
struct dojot_signing {
	char cn[5 * REGISTRY_NAME_MAX + 8], ca[REGISTRY_NAME_MAX + 1], profile[REGISTRY_NAME_MAX + 1];
	void (*done)(struct call *c, const struct registry_certificate *x, const struct err *why); /* <x> NULL: none was issued */
	bool entity;              /* its end entity must be one that waits */
	struct standing standing;
};
/* Have <csr> (DER or PEM) signed as c->work says, and book it; then <done>, perhaps before this returns. */
void dojot_issue(struct call *c, struct slice csr);

/* ---- dojot_ca.c ---- */

/* The CA that is meant by <name>. ERR_MISSING: none. */
bool dojot_ca_get(struct call *c, struct slice name, struct registry_ca *ret, struct err *err);
const char *dojot_ca_name(const struct call *c, struct slice name, char out[static REGISTRY_NAME_MAX + 1]); /* as it is called outside */
/* Its certificate and those above it as clients frame them: between BEGIN and END of the first and the last. Uses up <x>; free(). NULL: out of memory. */
char *dojot_chain(struct call *c, struct registry_ca *x);
int dojot_reason(struct slice name); /* CRLReason of "KEYCOMPROMISE" or "keyCompromise"; -1: there is none */

/* ---- dojot_model.c: templates and devices as JSON ---- */

/* Of a body's list <attrs>: checked, numbered, as the registry keeps it; <old> (or NULL): the attributes before, whose numbers stay. NULL: *ret_why says
 * why, static; "" stands for a failure of ours. */
json_t *model_attrs(struct call *c, const json_t *attrs, const json_t *old, const char **ret_why);
json_t *model_template(const struct registry_template *t, struct slice format); /* "both", "split", "single" */
/* With the attributes of its templates. */
json_t *model_device(struct call *c, const struct registry_device *d);
/* Kept text as JSON; an empty list or object where there is none. */
json_t *model_kept(struct slice s, bool list);
/* dojot_make.c: POST and PUT; the device of the path; its new state kept, with its end entity reset; shown as updated. */
void model_create(struct call *c);
void model_update(struct call *c);
bool model_load(struct call *c, struct registry_device *ret); /* false: answered */
bool model_store(struct call *c, struct registry_device *d, struct err *err);
void model_answer(struct call *c);
/* Is <label> an actuator of the device <model>? */
bool model_has_actuator(const json_t *model, const char *label);

#endif
