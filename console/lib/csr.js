// A key and a certificate request (PKCS#10, RFC 2986) made in this browser: the key is never anywhere else than in the file that is saved.

/** @param {number} tag @param {...(Uint8Array | number[])} parts */
function der(tag, ...parts) {
	const n = parts.reduce((sum, p) => sum + p.length, 0);
	const size = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255];
	const out = new Uint8Array(1 + size.length + n);
	out.set([tag, ...size]);
	let at = 1 + size.length;
	for (const p of parts) {
		out.set(p, at);
		at += p.length;
	}
	return out;
}

/** A number of ECDSA: no zeros in front, and never negative. */
function integer(/** @type {Uint8Array} */ bytes) {
	let at = 0;
	while (at < bytes.length - 1 && bytes[at] === 0)
		at++;
	const rest = bytes.subarray(at);
	return der(2, rest[0] & 0x80 ? [0] : [], rest);
}

export function pem(/** @type {string} */ label, /** @type {Uint8Array} */ bytes) {
	const text = btoa(String.fromCharCode(...bytes));
	return `-----BEGIN ${label}-----\n${text.replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;
}

/** @param {string} name the common name @returns {Promise<{ key: string, csr: string }>} PEM */
export async function make(name) {
	const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign']);
	const spki = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey));
	const cn = der(0x30, [6, 3, 0x55, 4, 3], der(0x0c, new TextEncoder().encode(name)));
	const info = der(0x30, [2, 1, 0], der(0x30, der(0x31, cn)), spki, [0xa0, 0]);
	const raw = new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, info));
	const signature = der(0x30, integer(raw.subarray(0, 32)), integer(raw.subarray(32)));
	const ecdsaSha256 = der(0x30, [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
	const key = new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey));
	return { csr: pem('CERTIFICATE REQUEST', der(0x30, info, ecdsaSha256, der(3, [0], signature))), key: pem('PRIVATE KEY', key) };
}
