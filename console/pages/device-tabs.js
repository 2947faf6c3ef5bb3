// The three pages about devices, with what waits.
import { get } from '../lib/api.js';
import { useAgain } from '../lib/events.js';
import { to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { html, useLoad } from '../lib/ui.js';
import { number } from './messages.js';

const names = ['devices', 'pending', 'templates'];

/** How many devices there are in each state; another <turn> asks again. */
export function useTotals(/** @type {unknown} */ turn) {
	const { data, load } = useLoad(() => get('totals'), 'totals', 30000);
	useAgain(load, turn);
	return data;
}

export function Tabs({ at, totals }) {
	const waiting = totals ? totals.pending + totals.quarantined : 0;
	return html`<nav class="tabs" aria-label=${t('page.devices')}>${names.map((name) => html`<a key=${name} href=${to(name)} aria-current=${name === at ? 'page' : undefined}>
		${t('page.' + name)}${name === 'pending' && waiting > 0 && html` <span class="badge warn">${number.format(waiting)}</span>`}
		${name === 'devices' && totals && html` <span class="dim small">${number.format(totals.enabled + totals.disabled + waiting)}</span>`}</a>`)}</nav>`;
}
