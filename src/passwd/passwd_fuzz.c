/* Fuzz target: a file of passwords ('P' in front) or of pre-shared keys, read and changed. No hash is computed. */
#include <stdlib.h>

#include "base/secret.h"
#include "passwd/internal.h"

static void
check_passwords(struct slice text)
{
	struct err err = { 0 };
	struct passwd_file *f = passwd_parse(text, "f", &err);
	char written[PASSWD_HASH_TEXT_MAX];
	struct text_line l = { 0 };
	struct passwd_secret s, again;

	if (f == NULL && err.text[0] == '\0')
		abort();
	while (f != NULL && line_next(&text, &l)) {
		if (l.blank)
			continue;
		/* What was accepted can be written and read again. */
		if (secret_parse(l.rest, &s) != NULL || !secret_format(&s, written) ||
		    secret_parse(slice_str(written), &again) != NULL ||
		    memcmp(&s, &again, sizeof(s)) != 0)
			abort();
	}
	passwd_unref(f);
}

static void
check_edits(struct slice text)
{
	uint8_t *edited = NULL;
	size_t n = 0;
	bool found;

	if (!passwd_edit(text, SL("bob"), "HASH", &edited, &n, &found))
		return;
	if (memmem(edited, n, "bob:HASH\n", 9) == NULL)
		abort();
	secret_free(edited, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = { 0 };
	struct psk_file *f;

	if (n == 0)
		return 0;
	if (data[0] == 'P') {
		check_passwords(slice_of(data + 1, n - 1));
		check_edits(slice_of(data + 1, n - 1));
		return 0;
	}
	f = psk_parse(slice_of(data + 1, n - 1), "f", &err);
	if (f == NULL && err.text[0] == '\0')
		abort();
	psk_unref(f);
	return 0;
}
