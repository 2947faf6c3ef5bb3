/* What may stand in a body, a path or a query: one table for the check and for the OpenAPI document. Private to api/. */
#ifndef API_FIELD_H
#define API_FIELD_H

#include <jansson.h>

#include "base/slice.h"

/* A form that texts have: the regular expression is for the document, the function decides. */
struct rule {
	const char *name;    /* of the form, in the document */
	const char *pattern; /* ECMA 262 */
	const char *says;    /* "a word of …" */
	bool (*ok)(struct slice s);
};
extern const struct rule rule_name, rule_label, rule_user, rule_device, rule_serial, rule_email, rule_plain, rule_pem, rule_host, rule_time;

enum field_type { FIELD_TEXT, FIELD_INT, FIELD_BOOL, FIELD_LIST, FIELD_OBJECT, FIELD_ANY };
enum field_flags {
	FIELD_REQUIRED = 1,
	FIELD_NULL = 2,    /* null is a value, too */
	FIELD_SECRET = 4,  /* only ever comes in */
	FIELD_ANSWER = 8,  /* only ever goes out */
};
/* Rows end with one without a name. */
struct field {
	const char *name;
	enum field_type type;
	unsigned flags;
	int64_t min, max;           /* characters, value, items */
	const struct rule *rule;
	const char *const *choices; /* of a text, with NULL behind the last */
	const struct field *of;     /* of an object: its rows; of a list: one row, whose name does not matter */
	const char *help;
	const char *example;        /* JSON */
};

enum { FIELD_FAULTS_MAX = 16, FIELD_DEPTH_MAX = 16 };
/* Faults found, as [{"pointer": "/a/0", "detail": "…"}]. */
struct faults {
	json_t *list; /* NULL: none */
	bool failed;  /* out of memory */
};
void fault_add(struct faults *f, const char *pointer, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Is <v> what <rows> say? Members that are not in the table are faults, too. */
bool fields_check(const struct field *rows, json_t *v, struct faults *f);
/* The same of one text from a path or query; an integer is a decimal number there, a truth "true" or "false". */
bool field_check_text(const struct field *row, struct slice s, const char *pointer, struct faults *f);

/* JSON of a client: no member twice, no deeper than FIELD_DEPTH_MAX. NULL: *ret_why says what is wrong and where. */
enum { FIELD_WHY_CAP = 200 };
json_t *field_parse(struct slice text, char ret_why[static FIELD_WHY_CAP]);

/* The schema of <rows> (OpenAPI 3.1). <answer>: as it goes out. NULL: out of memory. */
json_t *fields_schema(const struct field *rows, bool answer);
json_t *field_schema(const struct field *row, bool answer);

#endif
