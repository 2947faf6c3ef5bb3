/* From a mosquitto.db to records, wherever they go. Private to broker/. */
#ifndef BROKER_IMPORT_H
#define BROKER_IMPORT_H

#include "broker/broker.h"
#include "store/store.h"

struct import_sink {
	void *ctx;
	uint64_t (*id)(void *ctx);                                /* as store_id() */
	bool (*put)(void *ctx, const struct store_record *r);     /* as store_put() */
};
/* broker_import() with another store. */
bool import_run(const struct import_sink *to, const struct broker_import *from, struct broker_imported *ret, struct err *err);

#endif
