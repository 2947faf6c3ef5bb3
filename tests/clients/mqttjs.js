// MQTT.js against the broker: URL VERSION PREFIX [CA CERT KEY]. Prints one line of JSON: what it has seen.
const fs = require('fs');
const mqtt = require('mqtt');

const [url, version, prefix, ca, cert, key] = process.argv.slice(2);
const common = {protocolVersion: Number(version), protocolId: version === '3' ? 'MQIsdp' : 'MQTT', reconnectPeriod: 0};
if (ca) Object.assign(common, {ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key), rejectUnauthorized: true});
const seen = [];

function connect(name, options) {
    return new Promise((resolve, reject) => {
        const client = mqtt.connect(url, {...common, clientId: prefix + name, ...options});
        client.inbox = []; // <queue> is the library's own
        client.on('message', (topic, payload, packet) => {
            client.inbox.push([topic, payload.length > 100 ? payload.length : payload.toString(), packet.qos, packet.retain]);
            if (client.waiting) client.waiting();
        });
        client.on('error', reject);
        client.once('connect', ack => resolve(Object.assign(client, {present: ack.sessionPresent})));
    });
}
const promise = f => new Promise((resolve, reject) => f((e, value) => e ? reject(e) : resolve(value)));
const subscribe = (c, topic, qos) => promise(done => c.subscribe(topic, {qos}, done));
const publish = (c, topic, payload, options) => promise(done => c.publish(topic, payload, options, done));
const end = c => promise(done => c.end(false, {}, done));

async function next(c) {
    while (c.inbox.length === 0) await new Promise(resolve => { c.waiting = resolve; });
    return c.inbox.shift();
}

async function main() {
    const topic = `${prefix}/js`;
    const session = version === '5' ? {clean: false, properties: {sessionExpiryInterval: 1000}} : {clean: false};
    const a = await connect('a');
    seen.push((await subscribe(a, topic, 2))[0].qos);
    for (const qos of [0, 1, 2])
        for (const payload of ['small', '', 'x'.repeat(300000)]) {
            await publish(a, topic, payload, {qos});
            seen.push(await next(a));
        }
    await publish(a, topic, 'kept', {qos: 1, retain: true});
    seen.push(await next(a));
    const b = await connect('b', session);
    await subscribe(b, topic, 2);
    seen.push(await next(b));
    await end(b);
    await publish(a, topic, '', {qos: 1, retain: true});
    await publish(a, topic, 'waited', {qos: 2});
    const again = await connect('b', session);
    seen.push(again.present);
    seen.push(await next(again), await next(again));
    await end(again);
    a.inbox.length = 0;
    const dying = await connect('c', {will: {topic, payload: 'gone', qos: 1, retain: false}});
    dying.stream.destroy();
    seen.push(await next(a));
    await end(a);
    console.log(JSON.stringify(seen));
}
main().catch(e => { console.error(e); process.exit(1); });
