// What all pages are made of. Text only ever becomes text nodes and attributes: nothing here takes markup.
import { h } from '../vendor/preact.js';
import { useCallback, useEffect, useRef, useState } from '../vendor/hooks.js';
import htm from '../vendor/htm.js';
import { language, t } from './text.js';

export const html = htm.bind(h);
export { useCallback, useEffect, useRef, useState };

const controls = new RegExp('[\\u0000-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ufff9-\\ufffb]', 'g');

/**
 * What a device calls itself, so that it can neither hide nor turn round what stands beside it: control and direction
 * characters become visible, and long names end.
 * @param {unknown} value
 * @param {number} [most]
 */
export function plain(value, most = 200) {
	const text = value === null || value === undefined ? '' : String(value);
	const cut = text.length > most ? text.slice(0, most) + '…' : text;
	return cut.replace(controls, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

/** A name of somebody else's, isolated from the direction of the text around it. */
export function Name({ value, most = 120 }) {
	const text = plain(value, most);
	return html`<bdi class="name" title=${text.length > 30 ? plain(value, 600) : undefined}>${text || '–'}</bdi>`;
}

const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
/** @type {[string, number][]} */
const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto' });

/** "3 minutes ago", "in 20 days" */
export function ago(/** @type {number} */ ms) {
	const seconds = Math.round(ms / 1000);
	for (const [unit, size] of units)
		if (Math.abs(seconds) >= size || unit === 'second')
			return relative.format(Math.trunc(seconds / Number(size)), /** @type {Intl.RelativeTimeFormatUnit} */ (unit));
	return '';
}

/** A time as people say it, the exact one in its title. */
export function When({ time, none = '–' }) {
	const at = time ? Date.parse(time) : NaN;
	if (Number.isNaN(at))
		return html`<span class="dim">${none}</span>`;
	return html`<time datetime=${time} title=${dateTime.format(at)}>${ago(at - Date.now())}</time>`;
}

const sizes = t('unit.bytes').split(' ');
export function bytes(/** @type {number} */ n) {
	if (n < 1000)
		return `${n} ${sizes[0]}`;
	const power = Math.min(4, Math.floor(Math.log10(n) / 3));
	return `${(n / 1000 ** power).toPrecision(3)} ${sizes[power]}`;
}

const kinds = { enabled: 'good', active: 'good', online: 'good', pass: 'good', pending: 'warn', quarantined: 'warn', superseded: 'warn', hold: 'warn', expiring: 'warn', stale: 'warn',
	busy: 'warn', disabled: 'bad', revoked: 'bad', expired: 'bad', dead: 'bad' };

/** A state is never told by its colour alone. */
export function Badge({ state, text = undefined }) {
	return html`<span class="badge ${kinds[state] ?? ''}">${text ?? t('state.' + state)}</span>`;
}

const helped = [403, 404, 413, 429, 500, 502, 503, 504];

/** What went wrong and what to do: of a Problem or any other error. */
export function Trouble({ error, again = null, word = 'try-again' }) {
	if (!error)
		return null;
	const remedy = error.remedy ?? (helped.includes(error.status) ? t('help.' + error.status) : '');
	return html`<div class="trouble" role="alert"><p>${plain(error.message, 1000)}</p>
		${remedy && html`<p class="dim">${t('what-to-do')}: ${plain(remedy, 1000)}</p>`}
		${(error.errors ?? []).map((e) => html`<p class="dim">${plain(e.pointer)}: ${plain(e.detail, 500)}</p>`)}
		${again && html`<button type="button" onClick=${again}>${t(word)}</button>`}</div>`;
}

/** In the place of something that is not there: what may have become of it, and the way back. */
export function Gone({ title, to, list, level = 'h1' }) {
	return html`<${level}>${title}<//><div class="empty"><p><strong>${t('gone')}</strong></p><p>${t('gone-help')} <a href=${to}>${list}</a></p></div>`;
}

/** Nothing there: what it would be, and how it gets here. */
export function Empty({ title, children }) {
	return html`<div class="empty"><p><strong>${title}</strong></p><p>${children}</p></div>`;
}

/** Of another key than the one that is wanted nothing is shown. */
const NOTHING = { data: null, error: null, loading: true };

/**
 * What is asked for when the page opens, when <key> changes, and each <every> ms while the page is seen.
 * @param {(still: () => boolean) => Promise<any>} ask <still>: is the answer wanted yet?
 * @param {unknown} key
 * @param {number} [every]
 */
export function useLoad(ask, key, every = 0) {
	const [state, set] = useState({ key, ...NOTHING });
	const turn = useRef(0);
	const load = useCallback(async () => {
		const mine = ++turn.current, still = () => mine === turn.current;
		set((s) => ({ ...s, loading: true }));
		try {
			const data = await ask(still);
			if (still())
				set({ key, data, error: null, loading: false });
		} catch (error) {
			if (still())
				set((s) => ({ key, data: s.key === key ? s.data : null, error, loading: false }));
		}
	}, [key]);
	useEffect(() => {
		load();
		const timer = every ? setInterval(() => document.hidden || load(), every) : 0;
		return () => {
			turn.current++;
			clearInterval(timer);
		};
	}, [load, every]);
	return { ...(state.key === key ? state : NOTHING), load };
}

export function Busy() {
	return html`<p class="busy" role="status">${t('loading')}</p>`;
}

/** Where a page begins for who hears it. False: there is no heading (yet). */
export function focusHeading() {
	const head = document.querySelector('main h1');
	if (!(head instanceof HTMLElement))
		return false;
	head.tabIndex = -1;
	head.focus({ preventScroll: true });
	return true;
}

/** A dialogue: <open> true shows it; Escape and the button close it. */
export function Dialog({ title, onClose, children }) {
	const ref = useRef(null);
	useEffect(() => {
		const back = document.activeElement;
		ref.current.showModal();
		ref.current.querySelector('form input, form select, form textarea')?.focus();
		// What opened it may have gone with what was done.
		return () => (back instanceof HTMLElement && back.isConnected && back !== document.body ? back.focus() : focusHeading());
	}, []);
	return html`<dialog ref=${ref} aria-labelledby="dialog-title" onCancel=${(e) => (e.preventDefault(), onClose())}>
		<header><h2 id="dialog-title">${title}</h2><button type="button" class="quiet" aria-label=${t('close')} onClick=${onClose}>✕</button></header>
		${children}</dialog>`;
}

/** A dialogue with a form whose fields <send> gets; it closes when that has worked. <again>: of Fresh, when what it changes is somebody else's now. */
export function Form({ title, action, send, onClose, look = 'main', again = null, children }) {
	const [state, set] = useState({ busy: false, error: null });
	const submit = async (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		set({ busy: true, error: null });
		try {
			await send(f);
			onClose();
		} catch (error) {
			set({ busy: false, error });
		}
	};
	const stale = again && state.error?.status === 412;
	return html`<${Dialog} title=${title} onClose=${onClose}><form onSubmit=${submit}>${children}
		${stale ? html`<${Trouble} error=${{ message: t('changed'), remedy: t('changed-help') }} again=${again} word="changed-again" />` : html`<${Trouble} error=${state.error} />`}
		<footer><button type="button" onClick=${onClose}>${t('cancel')}</button><button class=${look} disabled=${state.busy}>${action}</button></footer></form><//>`;
}
export const field = (/** @type {FormData} */ f, /** @type {string} */ name) => String(f.get(name) ?? '').trim();

/** Asks before what cannot be taken back. */
export function Confirm({ title, text, action, onYes, onClose, danger = true, children = null }) {
	return html`<${Form} title=${title} action=${action} look=${danger ? 'danger' : 'main'} send=${() => onYes()} onClose=${onClose}><p>${text}</p>${children}<//>`;
}

/** Offer <parts> as a file. */
export function save(/** @type {string} */ name, /** @type {BlobPart[]} */ parts, type = 'application/octet-stream') {
	const a = document.createElement('a');
	a.href = URL.createObjectURL(new Blob(parts, { type }));
	a.download = name;
	a.click();
	setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}
