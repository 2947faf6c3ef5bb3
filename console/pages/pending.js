// Devices that came by themselves and wait: let in or sent away, one or many at once.
import { call, part } from '../lib/api.js';
import { useEvents } from '../lib/events.js';
import { Further, Pager, usePages } from '../lib/paging.js';
import { to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Busy, Confirm, Empty, html, Name, plain, Trouble, useRef, useState, When } from '../lib/ui.js';
import { chosenTemplates, Templates } from './device-add.js';
import { Tabs, useTotals } from './device-tabs.js';

// Both lists in the same words: who waits because he is new, and who was put into quarantine by a person or a rule.
const kinds = {
	pending: { path: 'pending', want: {}, id: (d) => d.device, since: (d) => d.since,
		settle: (id, yes, more) => call('POST', `pending/${part(id)}/${yes ? 'approve' : 'refuse'}`, yes ? more : undefined) },
	quarantined: { path: 'devices', want: { state: 'quarantined' }, id: (d) => d.id, since: (d) => d.updated,
		settle: (id, yes, more) => call('PATCH', `devices/${part(id)}`, { ...(yes ? more : {}), state: yes ? 'enabled' : 'disabled' }) },
};

function Row({ d, kind, chosen, choose }) {
	const id = kind.id(d);
	return html`<tr><td><input type="checkbox" aria-label=${t('pending.choose', { id: plain(id, 64) })} checked=${chosen} onChange=${() => choose(id)} /></td>
		<td><a href=${to('devices', id)}><${Name} value=${id} most=${64} /></a></td><td class="opt"><${Name} value=${d.subject ?? d.label} most=${100} /></td>
		<td><${Name} value=${d.ca ?? ''} /></td><td class="mono small">${plain(d.fingerprint ?? '', 16)}</td>
		<td class="opt">${plain(d.address) || '–'}</td><td><${When} time=${kind.since(d)} /></td></tr>`;
}

/** Asks once for all that are chosen, and says of each that failed why. */
function Settle({ ids, yes, kind, onClose }) {
	const [failed, setFailed] = useState([]), [done, setDone] = useState(0), names = useRef(null);
	const run = async () => {
		const templates = chosenTemplates(new FormData(names.current.closest('form'))), bad = [];
		for (const [i, id] of ids.entries()) {
			await kind.settle(id, yes, templates.length > 0 ? { templates } : {}).catch((error) => bad.push({ id, error }));
			setDone(i + 1);
		}
		setFailed(bad);
		if (bad.length > 0)
			throw new Error(t('pending.failed', { n: bad.length }));
	};
	const what = yes ? 'pending.approve' : 'pending.reject';
	return html`<${Confirm} title=${t(what)} text=${t(what + '-text', { n: ids.length })} action=${t(what)} danger=${!yes} onYes=${run} onClose=${onClose}>
		${yes && html`<${Templates} />`}
		<ul class="names" ref=${names}>${ids.slice(0, 10).map((id) => html`<li><${Name} value=${id} most=${64} /></li>`)}</ul>
		${ids.length > 10 && html`<p class="dim small">${t('live.more', { n: ids.length - 10 })}</p>`}
		${done > 0 && html`<progress max=${ids.length} value=${done} aria-label=${t(what)}></progress>`}
		${failed.map(({ id, error }) => html`<p class="small"><${Name} value=${id} most=${64} />: ${plain(error.message, 300)}</p>`)}<//>`;
}

function Waiting({ name, turn, changed }) {
	const kind = kinds[name], pages = usePages(kind.path, kind.want, { every: 30000, turn }), { data, error, load } = pages;
	const [chosen, setChosen] = useState(() => new Set()), [asking, ask] = useState('');
	const ids = data?.items.map(kind.id) ?? [], picked = ids.filter((id) => chosen.has(id)), full = ids.length > 0 && picked.length === ids.length;
	const choose = (id) => {
		const next = new Set(chosen);
		if (!next.delete(id))
			next.add(id);
		setChosen(next);
	};
	if (!data)
		return error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`;
	if (ids.length === 0)
		return data.next ? html`<${Further} pages=${pages} />` : html`<${Empty} title=${t(`pending.none-${name}`)}>${t(`pending.none-${name}-help`)}<//>`;
	return html`<${Trouble} error=${error} /><p class="row">
			<button type="button" class="main" disabled=${picked.length === 0} onClick=${() => ask('yes')}>${t('pending.approve')}</button>
			<button type="button" class="danger" disabled=${picked.length === 0} onClick=${() => ask('no')}>${t('pending.reject')}</button>
			<span role="status">${t('pending.chosen', { n: picked.length, of: ids.length })}</span></p>
		<div class="scroll" tabindex="0" role="region" aria-label=${t(`pending.title-${name}`)}><table><thead><tr>
			<th><input type="checkbox" aria-label=${t('pending.choose-all')} checked=${full} onChange=${() => setChosen(new Set(full ? [] : ids))} /></th>
			<th>${t('devices.id')}</th><th class="opt">${t('pending.who')}</th><th>${t('cert.ca')}</th><th>${t('pending.fingerprint')}</th>
			<th class="opt">${t('device.address')}</th><th>${t('pending.since')}</th></tr></thead>
			<tbody>${data.items.map((d) => html`<${Row} key=${kind.id(d)} d=${d} kind=${kind} chosen=${chosen.has(kind.id(d))} choose=${choose} />`)}</tbody></table></div>
		<${Pager} pages=${pages} />
		${asking && html`<${Settle} ids=${picked} yes=${asking === 'yes'} kind=${kind} onClose=${() => (ask(''), setChosen(new Set()), changed())} />`}`;
}

export function Pending() {
	const [turn, setTurn] = useState(0), totals = useTotals(turn), changed = () => setTurn((n) => n + 1);
	useEvents({ kinds: 'pending,change' }, changed);
	return html`<div class="head"><h1>${t('page.pending')}</h1></div><${Tabs} at="pending" totals=${totals} />
		<section class="card"><h2>${t('pending.title-pending')}</h2><p class="dim">${t('pending.about')}</p><${Waiting} name="pending" turn=${turn} changed=${changed} /></section>
		${totals?.quarantined > 0 && html`<section class="card"><h2>${t('pending.title-quarantined')}</h2><p class="dim">${t('pending.about-quarantined')}</p>
			<${Waiting} name="quarantined" turn=${turn} changed=${changed} /></section>`}`;
}
