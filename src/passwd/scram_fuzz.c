/* Fuzz target: messages of SCRAM from a client ('1', '2' in front: its first, its last) and from a server ('3', '4'). */
#include <stdlib.h>

#include "passwd/internal.h"

#define USER                                                                                                                    \
	"user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2Ke"    \
	"oiWGPlZqQxSrmfPwDl2dU=\n"
#define CNONCE "rOprNGfwEbeRWgbNEkqO"
#define SNONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"

static void
to_server(struct slice first, struct slice last)
{
	static const uint8_t secret[SCRAM_SECRET_N];
	struct err err = { 0 };
	struct passwd_file *f = passwd_parse(SL(USER), "f", &err);
	struct scram_given g = { f, secret, SNONCE };
	struct scram_server *s = NULL;
	struct scram_answer a;
	enum scram_result r;

	if (f == NULL)
		abort();
	r = scram_server_begin(&g, first, &s, &a);
	if (a.n == 0 || (r == SCRAM_MORE) != (s != NULL) || (r == SCRAM_MORE) != (a.why == NULL))
		abort();
	if (s != NULL) {
		r = scram_server_finish(s, last, &a);
		if (a.n == 0 || r == SCRAM_MORE || (r == SCRAM_RIGHT) != (a.why == NULL))
			abort();
	}
	scram_server_free(s);
	passwd_unref(f);
}

static void
to_client(struct slice first, struct slice last)
{
	struct err err = { 0 };
	struct scram_client *c = scram_client_new(SL("user"), SL("pencil"), &err);
	struct scram_answer a;

	if (c == NULL || !scram_client_begin(c, CNONCE, &a))
		abort();
	/* Numbers that are taken may cost seconds: only the RFC's is computed. */
	if (memmem(first.p, first.n, ",i=", 3) == NULL || memmem(first.p, first.n, ",i=4096", 7) != NULL)
		if (!scram_client_step(c, first, &a, &err) && err.text[0] == '\0')
			abort();
	(void)scram_client_verify(c, last, &err);
	scram_client_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of(data + 1, n > 0 ? n - 1 : 0);

	switch (n > 0 ? data[0] : '0') {
	case '1':
		to_server(in, in);
		break;
	case '2':
		to_server(SL("n,,n=user,r=" CNONCE), in);
		break;
	case '3':
		if (in.n > 0)
			to_client(in, in);
		break;
	case '4':
		to_client(SL("r=" CNONCE SNONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), in);
		break;
	default:
		break;
	}
	return 0;
}
