/* Between client.c (the connection and its turns) and client_packets.c (what each packet means). */
#ifndef CLI_CLIENT_INTERNAL_H
#define CLI_CLIENT_INTERNAL_H

#include "cli/client.h"

/* What our packet ids wait for. */
enum { WAIT_NOTHING, WAIT_PUBACK, WAIT_PUBREC, WAIT_PUBCOMP };
enum { PACKET_IDS = 65536, PACKET_MAX = 268435460 /* 3.1.1, 2.2.3: 256 MB and its header */ };

/* Room for <n> more bytes behind buf->n. */
bool mqttc_room(struct mqttc_buf *b, size_t n);
/* Handle one packet. *ret_halt: the caller of mqttc wants nothing more. */
enum mqttc_result mqttc_packet(struct mqttc *c, const struct mqtt_frame *f, bool *ret_halt);
/* Queue CONNECT, PINGREQ, DISCONNECT. */
bool mqttc_put_connect(struct mqttc *c);
bool mqttc_put_ping(struct mqttc *c);
bool mqttc_put_disconnect(struct mqttc *c, uint8_t reason);
/* Before a new connection: forget what belongs to the old one. */
void mqttc_forget(struct mqttc *c);

#endif
