/* libFuzzer: any bytes as a request to the signer. What is taken is within its bounds, and what is refused has a reason. */
#include "signer/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

/* The first of <rest>, taken off: written again it is what stood there. */
static struct signer_entry
entry(struct slice *rest)
{
	const uint8_t *from = rest->p;
	uint8_t bytes[ENTRY_MAX];
	struct wr w = wr_of(bytes, sizeof bytes);
	struct signer_entry e = entry_next(rest);

	put_entry(&w, &e);
	check(wr_ok(&w) && slice_eq(wr_slice(&w), slice_of(from, wr_len(&w))) && (rest->n == 0 || rest->p == from + wr_len(&w)));
	return e;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct req r;
	struct err err = { 0 };
	struct slice rest;
	size_t n = 0;

	if (!req_parse(&r, slice_of(data, size), &err)) {
		check(err.text[0] != '\0');
		return 0;
	}
	for (rest = r.entries; rest.n > 0; n++) {
		struct signer_entry e = entry(&rest);

		check(e.serial_n >= 1 && e.serial_n <= SIGNER_SERIAL_MAX && e.reason >= -2 && e.reason <= 10 && e.at >= 0);
	}
	check(n == r.n_entries);
	check(utf8_ok(slice_str(r.cn)) && utf8_ok(slice_str(r.actor)) && utf8_ok(slice_str(r.object)));
	for (size_t i = 0; i < r.n_names; i++)
		check(r.name_list[i] == r.names[i] && strlen(r.names[i]) < NAME_CAP);
	check(r.csr.n <= SIGNER_CSR_MAX && r.nonce.n <= SIGNER_NONCE_MAX);
	return 0;
}
