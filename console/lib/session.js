// Who is signed in. Where control serves the page: the cookie itself is out of reach; it is renewed while the page is open and somebody uses
// it. Where a broker does: whoever the broker has let in, for as long as the page is open.
import { actIn, call, get, Problem, whenSignedOut } from './api.js';
import { attempt, setLogin } from './broker.js';

/**
 * @typedef {{ on: 'control' | 'broker', password?: boolean, anonymous?: boolean, certificate?: boolean }} Mode who serves this page, and how
 *     somebody may come to a broker
 * @type {{ me: any, lost: boolean, mode: Mode, acting: string }} acting: the tenant in which somebody of the first one acts; "": his own
 */
const state = { me: null, lost: false, mode: null, acting: '' };
const watchers = new Set();
let timer = 0, used = Date.now();

for (const event of ['pointerdown', 'keydown'])
	addEventListener(event, () => (used = Date.now()), { passive: true, capture: true });

function tell() {
	if (!state.me)
		state.acting = '';
	actIn(state.acting);
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

/** From now on all pages show that tenant; "" or one's own: as before. */
export function act(/** @type {string} */ tenant) {
	state.acting = tenant === state.me?.tenant ? '' : tenant;
	tell();
}

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

async function askMode() {
	const problem = new Problem(0, { detail: 'the server does not answer', remedy: 'see whether it is running and this machine reaches it' });
	const answer = await fetch('mode.json', { cache: 'no-store' }).catch(() => null);
	if (!answer?.ok)
		throw problem;
	return answer.json().catch(() => Promise.reject(problem));
}

/** Is somebody signed in already? */
export async function begin() {
	state.mode ??= await askMode();
	if (state.mode.on === 'broker') {
		tell();
		return state;
	}
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

/** At a broker: the name may be empty where it takes who has none, or asks for a certificate. */
export async function enter(/** @type {string} */ username, /** @type {string} */ password) {
	const login = username ? { username, password } : {};
	await attempt(login);
	setLogin(login);
	state.me = { name: username, tenant: null };
	state.lost = false;
	tell();
}

export async function signOut() {
	if (state.mode.on === 'broker') {
		setLogin({});
		state.me = null;
		return tell();
	}
	try {
		await call('DELETE', 'signin');
	} finally {
		clearTimeout(timer);
		state.me = null;
		state.lost = false;
		tell();
	}
}
