/* Fuzz target: any bytes as a header of both versions, whole and in every beginning. What a beginning says stays true. */
#include <stdlib.h>

#include "proxy/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(unsigned version, const uint8_t *data, size_t n)
{
	struct proxy_header whole = { 0 }, part = { 0 };
	enum proxy_result r = proxy_read(version, slice_of(data, n), &whole), early;

	if (r == PROXY_BAD && whole.why == NULL)
		abort();
	if (r == PROXY_DONE && (whole.used > n || whole.used > PROXY_MAX))
		abort();
	if (r == PROXY_DONE && whole.cn.n > 0 && (whole.cn.p < data || whole.cn.p + whole.cn.n > data + whole.used))
		abort();
	/* One byte less than a header is not one yet. */
	early = r == PROXY_DONE ? proxy_read(version, slice_of(data, whole.used - 1), &part) : PROXY_MORE;
	if (early != PROXY_MORE)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	check(1, data, n);
	check(2, data, n);
	return 0;
}
