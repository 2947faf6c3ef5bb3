/* What enrolment needs on both sides: the token that a device is given, its QR code, and CSV files of devices. No files and no network. */
#ifndef ENROL_ENROL_H
#define ENROL_ENROL_H

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "base/slice.h"

/* ---- tokens: signet://HOST:PORT/DEVICE?ca=SHA256#SECRET ---- */

/* The secret stands behind '#': whatever takes the text for an address of the web does not send it. */
enum { ENROL_HOST_CAP = 300, ENROL_DEVICE_CAP = 257, ENROL_SECRET_TEXT_CAP = 257, ENROL_TOKEN_CAP = 1500 };
struct enrol_token {
	char host[ENROL_HOST_CAP];     /* HOST:PORT; letters, digits and -.:_[] */
	char device[ENROL_DEVICE_CAP]; /* its id, UTF-8; "": one of a fleet */
	char ca[65];                   /* SHA-256 of the installation's root certificate, lower-case hex */
	char secret[ENROL_SECRET_TEXT_CAP]; /* letters and digits */
};
/* White space around it is passed over. ERR_INPUT says what it is not; never with the secret in the text. */
bool enrol_token_read(struct slice text, struct enrol_token *ret, struct err *err);
/* False: it does not fit, or enrol_token_read() would not take it. */
bool enrol_token_write(const struct enrol_token *t, char out[static ENROL_TOKEN_CAP]);

/* ---- QR codes (ISO/IEC 18004), level M, with their quiet zone ---- */

enum { QR_TEXT_MAX = 2000 };
/* Half blocks, two rows of squares a line; <colours>: with the terminal's codes for black on white, so that it is right on any background; else light
 * squares are blocks, as dark terminals need it. free(). ERR_LIMIT: over QR_TEXT_MAX bytes. */
char *qr_text(const char *text, bool colours, struct err *err);
/* A picture of its own, black on white; free(). */
char *qr_svg(const char *text, struct err *err);

/* ---- CSV (RFC 4180), fed in pieces ---- */

/* Fields with or without quotes, lines that end with LF or CRLF, "" for a quote inside. A byte order mark at the start and lines without a byte are
 * passed over. Nothing is guessed: a quote in the middle of a field, or bytes behind a closing one, are errors of that line, and the
 * next line is read as if nothing had been. */
enum { CSV_FIELDS_MAX = 32, CSV_LINE_MAX = 16384 };
struct csv_line {
	unsigned number;                     /* of its first line in the file, from 1 */
	const char *fault;                   /* NULL, or what is wrong with it; static. Then there are no fields */
	struct slice fields[CSV_FIELDS_MAX]; /* borrowed until the next call */
	size_t n;
};
struct csv;
struct csv *csv_new(char separator);     /* ',' or ';' or '\t'. NULL: out of memory */
void csv_free(struct csv *c);            /* NULL is fine */
/* Take from <in> until a line is whole: true, and *ret is it; false: <in> is used up. <last>: nothing comes behind it. */
bool csv_next(struct csv *c, struct slice *in, bool last, struct csv_line *ret);

#endif
