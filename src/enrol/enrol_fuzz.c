/* Tokens and CSV from anywhere. What is read of a token is written and read again; CSV is the same whole and in pieces. */
#include <stdint.h>
#include <stdlib.h>

#include "enrol/enrol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
token(struct slice text)
{
	struct enrol_token t, back;
	char out[ENROL_TOKEN_CAP];

	if (!enrol_token_read(text, &t, NULL))
		return;
	/* Percent codes may make it longer than may be. */
	if (!enrol_token_write(&t, out))
		return;
	if (!enrol_token_read(slice_str(out), &back, NULL) || memcmp(t.host, back.host, strlen(t.host) + 1) != 0 ||
	    memcmp(t.device, back.device, strlen(t.device) + 1) != 0 || memcmp(t.secret, back.secret, strlen(t.secret) + 1) != 0)
		abort();
}

/* A number that stands for all that came out. */
static uint64_t
sum(struct slice text, size_t piece)
{
	struct csv *c = csv_new(',');
	struct csv_line l;
	uint64_t h = 1469598103934665603u;

	if (c == NULL)
		return 0;
	for (size_t at = 0; at <= text.n; at += piece) {
		size_t m = text.n - at < piece ? text.n - at : piece;
		struct slice in = slice_of(text.p + at, m);

		while (csv_next(c, &in, at + m == text.n && piece > m, &l)) {
			h = (h ^ l.number ^ l.n << 20 ^ (l.fault != NULL)) * 1099511628211u;
			for (size_t i = 0; i < l.n; i++)
				for (size_t k = 0; k < l.fields[i].n; k++)
					h = (h ^ l.fields[i].p[k]) * 1099511628211u;
		}
	}
	csv_free(c);
	return h;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice text;

	if (n < 2)
		return 0;
	text = slice_of(data + 1, n - 1);
	if (data[0] % 2 == 0)
		token(text);
	else if (sum(text, n + 1) != sum(text, 1 + data[0] / 2))
		abort();
	return 0;
}
