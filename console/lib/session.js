// Who is signed in. The cookie itself is out of reach; it is renewed while the page is open and somebody uses it.
import { call, get, whenSignedOut } from './api.js';

/** @type {{ me: any, lost: boolean }} */
const state = { me: null, lost: false };
const watchers = new Set();
let timer = 0, used = Date.now();

for (const event of ['pointerdown', 'keydown'])
	addEventListener(event, () => (used = Date.now()), { passive: true, capture: true });

function tell() {
	for (const w of watchers)
		w({ ...state });
}

export function watch(/** @type {(s: typeof state) => void} */ f) {
	watchers.add(f);
	return () => watchers.delete(f);
}

function gone() {
	clearTimeout(timer);
	if (state.me)
		state.lost = true;
	state.me = null;
	tell();
}
whenSignedOut(gone);

/** Two thirds of its time later; an idle page lets it end after an hour. */
function plan(/** @type {string} */ expires) {
	clearTimeout(timer);
	const left = Date.parse(expires) - Date.now();
	timer = setTimeout(async () => {
		if (Date.now() - used > 3600e3)
			return plan(expires);
		try {
			plan((await call('PUT', 'signin')).expires);
		} catch (error) {
			if (error.status === 401 || Date.parse(expires) < Date.now())
				gone();
			else
				plan(expires);
		}
	}, Math.max(2000, (left * 2) / 3));
}

/** Is somebody signed in already? */
export async function begin() {
	try {
		state.me = await get('me');
		state.lost = false;
		if (state.me.expires)
			plan(state.me.expires);
	} catch (error) {
		if (error.status !== 401)
			throw error;
		state.me = null;
	}
	tell();
	return state;
}

export async function signIn(/** @type {string} */ username, /** @type {string} */ password) {
	await call('POST', 'signin', { username, password });
	await begin();
}

export async function signInByLink(/** @type {string} */ link) {
	await call('POST', 'signin/link', { link });
	await begin();
}

export async function signOut() {
	try {
		await call('DELETE', 'signin');
	} finally {
		clearTimeout(timer);
		state.me = null;
		state.lost = false;
		tell();
	}
}
