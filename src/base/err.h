/* An error that can be shown to a person: what class it is, and one sentence that names the thing, the
 * place and the remedy. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

enum err_code {
	ERR_OK = 0,
	ERR_USAGE,    /* the caller's words are wrong: flag, directive, argument */
	ERR_INPUT,    /* a file, certificate or message is not what it should be */
	ERR_EXISTS,   /* there is something already and it is not overwritten */
	ERR_MISSING,  /* file, directory or entry is not there */
	ERR_DENIED,   /* permission, policy */
	ERR_LIMIT,    /* a bound was reached */
	ERR_SYSTEM,   /* the operating system or a library said no */
	ERR_MEMORY,   /* out of memory */
	ERR_CONFLICT, /* it is not any more what the caller took it for */
};

struct err {
	enum err_code code;
	char text[480]; /* no trailing newline or full stop; bytes from outside are escaped */
};

/* Fill <e> (which may be NULL); always returns false, so that `return err_set(e, …);` reads well. */
bool err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": <strerror(errno)>" behind; the code follows from errno. */
bool err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "prefix: " before the text that <e> holds already. Returns false. */
bool err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
