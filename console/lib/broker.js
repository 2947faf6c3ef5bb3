// How a page's worker reaches the broker: where this page came from. Through control the cookie says who it is; a broker that serves the
// page itself asks for a name and a password, which are kept here and nowhere else: a reload forgets them.
import { t } from './text.js';

/** @type {{ username?: string, password?: string }} */
let login = {};

/** What goes with {do: 'start'} to a worker. */
export const access = () => ({ url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/mqtt`, ...login });

export function setLogin(/** @type {{ username?: string, password?: string }} */ value) {
	login = value;
}

// Reason codes of CONNACK (MQTT 5, 3.2.2.2) that the broker has for us, each with its remedy.
const known = [0x84, 0x85, 0x87, 0x88, 0x89, 0x97, 0x9f];

/** Why it was refused, as people say it. */
function trouble(/** @type {number} */ code, /** @type {string} */ said) {
	const key = known.includes(code) ? `bare.no-${code.toString(16)}` : code ? 'bare.no' : 'bare.silent';
	const error = new Error(t(key, { code: '0x' + code.toString(16) }) + (said ? ` (${said})` : ''));
	return Object.assign(error, { remedy: t(key + '-help') });
}

/** One connection to see whether the broker lets this person in; it says nothing but CONNECT and DISCONNECT. */
export async function attempt(/** @type {{ username?: string, password?: string }} */ who) {
	const { default: mqtt } = await import('../vendor/mqtt.js');
	const client = mqtt.connect(access().url, { ...who, protocolVersion: 5, clientId: '', clean: true, reconnectPeriod: 0, connectTimeout: 15000, timerVariant: 'native' });
	let code = 0, said = '';
	try {
		await new Promise((resolve, reject) => {
			client.on('packetreceive', (packet) => {
				code = packet.reasonCode ?? 0;
				said = packet.properties?.reasonString ?? '';
			});
			client.on('connect', resolve);
			client.on('error', reject);
			client.on('close', reject);
		});
	} catch {
		throw trouble(code, said);
	} finally {
		client.on('error', () => {});
		client.end(true);
	}
}
