/* exchange.c within broker/: CONNECTs with an authentication method (MQTT 5, 4.12). */
#ifndef BROKER_EXCHANGE_H
#define BROKER_EXCHANGE_H

#include "broker/internal.h"

/* As login_judge(). MQTT_RC_CONTINUE_AUTH: then auth_wait() with the same CONNECT. */
uint8_t auth_judge(struct client *c, const struct mqtt_connect *m, struct authz_principal **ret_who, char why[static BROKER_WHY_MAX]);
/* Keep the CONNECT, send AUTH, and be EXCHANGING. As a handler. */
handler auth_wait;
/* EXCHANGING, and this is not AUTH. */
handler auth_interrupted;
/* Method and data for CONNACK; nothing without an exchange. */
void auth_answer(const struct client *c, struct mqtt_props *p, bool refused);
void auth_settled(struct client *c);          /* CONNACK is on its way */
uint64_t auth_due(const struct client *c);    /* when the present re-authentication must be done; UINT64_MAX: none */
void auth_forget(struct client *c);           /* the client goes */

#endif
