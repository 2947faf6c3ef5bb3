/* What Prometheus may know of the questions to OCSP responders. */
#include "server/internal.h"

#include <inttypes.h>
#include <stdio.h>

void
metrics_put_ocsp(FILE *f, const struct ocsp_counters *c)
{
	static const struct ocsp_counters none;

	if (c == NULL)
		c = &none;
	(void)fputs("# HELP signet_ocsp_answers_total Answers of OCSP responders about clients' certificates; none: there was none that counts.\n"
		    "# TYPE signet_ocsp_answers_total counter\n", f);
	for (int i = PKI_OCSP_GOOD; i <= PKI_OCSP_UNKNOWN; i++)
		(void)fprintf(f, "signet_ocsp_answers_total{status=\"%s\"} %" PRIu64 "\n", pki_ocsp_status_name((enum pki_ocsp_status)i),
		    figure_read(&c->answers[i]));
	(void)fprintf(f, "signet_ocsp_answers_total{status=\"none\"} %" PRIu64 "\n", figure_read(&c->failures));
	(void)fprintf(f, "# HELP signet_ocsp_unchecked_total Connections that ocsp_check soft let in without an answer.\n"
			 "# TYPE signet_ocsp_unchecked_total counter\nsignet_ocsp_unchecked_total %" PRIu64 "\n", figure_read(&c->unchecked));
	(void)fprintf(f, "# HELP signet_ocsp_remembered Certificates whose answers are remembered.\n"
			 "# TYPE signet_ocsp_remembered gauge\nsignet_ocsp_remembered %" PRIu64 "\n", figure_read(&c->remembered));
}
