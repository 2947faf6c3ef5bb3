/* Errors as sentences; see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

/* Whatever was formatted in came from anywhere: it stays one printable line. */
static void
put_text(struct err *e, const char *raw)
{
	text_line(slice_str(raw), e->text, sizeof e->text);
}

bool
err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	char raw[sizeof e->text];
	va_list ap;

	if (e == NULL)
		return false;
	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	e->code = code;
	put_text(e, raw);
	return false;
}

static enum err_code
code_of(int no)
{
	switch (no) {
	case ENOENT:
	case ENOTDIR:
		return ERR_MISSING;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_DENIED;
	case EEXIST:
		return ERR_EXISTS;
	case ENOMEM:
		return ERR_MEMORY;
	case EMFILE:
	case ENFILE:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_LIMIT;
	default:
		return ERR_SYSTEM;
	}
}

bool
err_sys(struct err *e, const char *fmt, ...)
{
	int no = errno; /* before anything below changes it */
	char raw[sizeof e->text], why[128];
	size_t n;
	va_list ap;

	if (e == NULL)
		return false;
	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	/* A long path must not push the reason out: it is cut to leave room. */
	(void)snprintf(why, sizeof why, ": %s", strerror_r(no, (char[96]){ 0 }, 96));
	n = strnlen(raw, sizeof raw - strlen(why) - 1);
	memcpy(raw + n, why, strlen(why) + 1);
	e->code = code_of(no);
	put_text(e, raw);
	errno = no;
	return false;
}

bool
err_prefix(struct err *e, const char *fmt, ...)
{
	char raw[sizeof e->text];
	int n;
	va_list ap;

	if (e == NULL)
		return false;
	va_start(ap, fmt);
	n = vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof raw)
		(void)snprintf(raw + n, sizeof raw - (size_t)n, ": %.*s", (int)sizeof raw - n, e->text);
	put_text(e, raw);
	return false;
}
