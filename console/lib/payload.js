// What a payload is, and what devices of a known kind mean by it.
import { plain } from './ui.js';
import { t } from './text.js';

const strict = new TextDecoder('utf-8', { fatal: true });
const lax = new TextDecoder();
const binary = new RegExp('[\\u0000-\\u0008\\u000e-\\u001f]');

/** @param {Uint8Array} bytes @param {boolean} cut the end is not there */
export function read(bytes, cut) {
	let text = null;
	try {
		text = strict.decode(bytes, { stream: cut });
	} catch {
		/* no text */
	}
	const isText = text !== null && !binary.test(text);
	let json;
	if (isText && !cut && /^\s*[[{"\d-]|^\s*(true|false|null)\s*$/.test(text)) {
		try {
			json = JSON.parse(text);
		} catch {
			/* no JSON */
		}
	}
	return { text: isText ? text : lax.decode(bytes), isText, json, kind: json !== undefined && typeof json === 'object' && json !== null ? 'json' : isText ? 'text' : 'hex' };
}

export function hex(/** @type {Uint8Array} */ bytes, most = 4096) {
	const lines = [];
	for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
		const row = [...bytes.subarray(at, Math.min(at + 16, most))];
		lines.push(`${at.toString(16).padStart(6, '0')}  ${row.map((b) => b.toString(16).padStart(2, '0')).join(' ').padEnd(47)}  ${row.map((b) => (b > 31 && b < 127 ? String.fromCharCode(b) : '.')).join('')}`);
	}
	return lines.join('\n') + (bytes.length > most ? '\n…' : '');
}

const some = (/** @type {any[]} */ ...values) => values.filter((v) => v !== undefined && v !== null && v !== '').map((v) => plain(v, 60)).join(' · ');

/** SpringCore: PREFIX/DEVICE/meta, status, rdr/evt, rdr/cmd. NULL: not one of these. */
export function decode(/** @type {string} */ topic, /** @type {any} */ json) {
	const m = /\/?([^/]+)\/(meta|status|rdr\/evt|rdr\/cmd)$/.exec(topic);
	if (!m || typeof json !== 'object' || json === null || Array.isArray(json))
		return null;
	if (m[2] === 'rdr/evt' && json.TagId !== undefined)
		return { kind: 'tag', state: json.Move === 'Remove' ? 'warn' : 'good', word: t('sc.tag'), text: some(json.TagId, json.Protocol, json.Interface, json.Move, json.RSSI !== undefined ? `RSSI ${json.RSSI}` : '') };
	if (m[2] === 'status' && typeof json.State === 'string')
		return { kind: 'status', state: json.State === 'online,ready' ? 'good' : json.State.startsWith('online') ? 'warn' : 'bad', word: t('sc.status'), text: some(json.State, json.Uptime) };
	if (m[2] === 'meta' && (json.ProductName ?? json.VendorName) !== undefined)
		return { kind: 'meta', state: '', word: t('sc.meta'), text: some(json.VendorName, json.ProductName, json.SerialNumber, json.Version, json.IpAddress) };
	if (m[2] === 'rdr/cmd')
		return { kind: 'command', state: '', word: t('sc.command'), text: some(...Object.entries(json).slice(0, 6).map(([k, v]) => `${k} ${typeof v === 'object' ? JSON.stringify(v) : v}`)) };
	return null;
}
