// Pages of a long list. Control looks at so many entries for a page and no more: what is rare comes in short pages, which are put together here.
import { get, query } from './api.js';
import { useAgain } from './events.js';
import { t } from './text.js';
import { html, useEffect, useLoad, useState } from './ui.js';

const PATIENCE = 1500; // ms for which a page is looked for before people are asked whether to go on

/**
 * A page of <path>: {items, next}, <next> being null at the end of the list.
 * @param {string} path
 * @param {Record<string, any>} want
 * @param {{ cursor: string, limit: number, still?: () => boolean }} at <still>: is it wanted yet?
 */
export async function fill(path, want, at) {
	const until = Date.now() + PATIENCE, items = [];
	let next = at.cursor;
	do {
		const page = await get(path + query({ ...want, limit: at.limit - items.length, cursor: next }));
		items.push(...page.items);
		next = page.next;
	} while (next && items.length < at.limit && Date.now() < until && (at.still?.() ?? true));
	return { items, next };
}

/**
 * The page of a list that is being looked at, loaded again each <every> ms.
 * @param {string} path
 * @param {Record<string, any>} want another one begins at the first page
 * @param {{ limit?: number, every?: number, turn?: unknown }} [how]
 */
export function usePages(path, want, { limit = 50, every = 0, turn = 0 } = {}) {
	const key = path + query(want);
	const [state, setState] = useState({ key, trail: [''] });
	const trail = state.key === key ? state.trail : [''];
	useEffect(() => {
		if (state.key !== key)
			setState({ key, trail: [''] });
	}, [key]);
	const loaded = useLoad((still) => fill(path, want, { cursor: trail.at(-1), limit, still }), `${key} ${trail.at(-1)}`, every);
	useAgain(loaded.load, turn);
	return { ...loaded, trail, go: (/** @type {string[]} */ to) => setState({ key, trail: to }) };
}

/** Back and next. <pages>: of usePages(). */
export function Pager({ pages }) {
	const { data, trail, go } = pages;
	if (!data || (!data.next && trail.length < 2))
		return null;
	return html`<p class="row pager">
		<button type="button" disabled=${trail.length < 2} onClick=${() => go(trail.slice(0, -1))}>${t('back')}</button>
		<button type="button" disabled=${!data.next} onClick=${() => go([...trail, data.next])}>${t('next')}</button>
		<span class="dim">${t('list.page', { n: trail.length })}</span></p>`;
}

/** In the place of a list whose first part has nothing that fits. */
export function Further({ pages }) {
	const { data, trail, go } = pages;
	return html`<div class="empty"><p><strong>${t('list.further')}</strong></p><p>${t('list.further-help')}</p>
		<p><button type="button" onClick=${() => go([...trail, data.next])}>${t('list.further-go')}</button></p></div>`;
}
