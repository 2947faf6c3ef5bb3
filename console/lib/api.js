// Requests to control. The cookie goes with them by itself; the header says that a page of ours asks.

/** An answer that is no success: a problem document (RFC 9457). */
export class Problem extends Error {
	/** @param {number} status @param {any} body */
	constructor(status, body) {
		super(body?.detail ?? `HTTP ${status}`);
		this.status = status;
		this.type = String(body?.type ?? '').replace('urn:signet:problem:', '');
		this.remedy = body?.remedy;
		this.errors = Array.isArray(body?.errors) ? body.errors : [];
	}
}

let onSignedOut = () => {};
/** Who is told that the session has ended. */
export function whenSignedOut(/** @type {() => void} */ f) {
	onSignedOut = f;
}

let tenant = '';
/** In which tenant all that follows is asked and done; "": one's own. */
export function actIn(/** @type {string} */ name) {
	tenant = name;
}

/** What is about who is signed in is not about a tenant. */
function inTenant(/** @type {string} */ path) {
	return tenant && !/^(me|signin|logout)\b/.test(path) ? `${path}${path.includes('?') ? '&' : '?'}tenant=${encodeURIComponent(tenant)}` : path;
}

/** @type {WeakMap<object, string>} */
const tags = new WeakMap(); // of what was read, its ETag

async function ask(method, path, body, seen) {
	/** @type {Record<string, string>} */
	const headers = { 'X-Signet': '1' };
	if (body !== undefined)
		headers['Content-Type'] = 'application/json';
	if (tags.has(seen))
		headers['If-Match'] = tags.get(seen);
	try {
		return await fetch('/api/v1/' + inTenant(path), { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store' });
	} catch {
		throw new Problem(0, { detail: 'control does not answer', remedy: 'see whether signet serve is running and this machine reaches it' });
	}
}

/**
 * @param {string} method
 * @param {string} path below /api/v1/
 * @param {any} [body]
 * @param {any} [seen] what get() gave for this path: it is changed only if it still is so, else that is a Problem 412
 */
export async function call(method, path, body, seen) {
	const answer = await ask(method, path, body, seen);
	if (answer.status === 204)
		return null;
	const type = answer.headers.get('Content-Type') ?? '';
	const data = type.includes('json') ? await answer.json().catch(() => null) : await answer.arrayBuffer();
	const tag = answer.headers.get('ETag');
	if (answer.ok && tag && data)
		tags.set(data, tag);
	if (answer.ok)
		return data;
	const problem = new Problem(answer.status, data);
	if (answer.status === 401 && !path.startsWith('signin'))
		onSignedOut();
	throw problem;
}

export const get = (/** @type {string} */ path) => call('GET', path);
/** The items of all pages, at most <most>. */
export async function all(/** @type {string} */ path, most = 1000) {
	const items = [];
	let next = '';
	do {
		const page = await get(path + (next ? (path.includes('?') ? '&' : '?') + 'cursor=' + encodeURIComponent(next) : ''));
		items.push(...page.items);
		next = page.next;
	} while (next && items.length < most);
	return items;
}
/** "?a=1&b=2" of what is not empty. */
export function query(/** @type {Record<string, any>} */ values) {
	const q = new URLSearchParams();
	for (const [name, value] of Object.entries(values))
		if (value !== '' && value !== null && value !== undefined)
			q.set(name, String(value));
	const text = q.toString();
	return text ? '?' + text : '';
}
export const part = encodeURIComponent;
