// Devices: the list, which changes by itself when one comes or goes.
import { get } from '../lib/api.js';
import { useEvents } from '../lib/events.js';
import { Further, Pager, usePages } from '../lib/paging.js';
import { replace, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Empty, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Has, SOON } from './certificate-list.js';
import { Add, Many } from './device-add.js';
import { Tabs, useTotals } from './device-tabs.js';
import { Device } from './device.js';

const states = ['enabled', 'disabled', 'pending', 'quarantined'];
const orders = ['id', 'label', 'expiry', 'last_seen'];
const DAY = 86400e3;
/** The API has two questions for what people see as one. */
const presences = { true: 'online', false: 'offline', stale: 'stale' };
const certificates = ['active', 'expiring', 'expired', 'hold', 'revoked', 'none'];

/** What the API is asked: "expiring" is a word of this page alone. Midnight bounds it, so that the pages of one list belong together. */
function askFor(want) {
	if (want.online === 'stale')
		return askFor({ ...want, online: '', stale: true });
	if (want.certificate !== 'expiring')
		return want;
	const end = new Date(Math.ceil((Date.now() + SOON) / DAY) * DAY);
	return { ...want, certificate: 'active', expires_before: end.toISOString().replace(/\.\d+/, '') };
}

const Row = ({ d }) => html`<tr><td data-more=${plain(d.label)}><a href=${to('devices', d.id)}><${Name} value=${d.id} most=${64} /></a></td><td class="opt"><${Name} value=${d.label} /></td>
	<td><${Badge} state=${d.state} /></td><td>${d.online ? html`<${Badge} state="online" />` : html`<${When} time=${d.last_seen} none=${t('never')} />`}</td>
	<td class="opt">${d.status ? html`<${Name} value=${d.status} most=${40} />` : ''} ${d.stale && html`<${Badge} state="stale" />`}</td><td><${Has} d=${d} /></td></tr>`;

const heads = ['id', 'label', 'state', 'seen', 'status', 'certificate'];
const Table = ({ items }) => html`<div class="scroll below" tabindex="0" role="region" aria-label=${t('page.devices')}><table>
	<thead><tr>${heads.map((h) => html`<th class=${h === 'label' || h === 'status' ? 'opt' : ''}>${t('devices.' + h)}</th>`)}</tr></thead>
	<tbody>${items.map((d) => html`<${Row} key=${d.id} d=${d} />`)}</tbody></table></div>`;

function Search({ want, narrow }) {
	const templates = useLoad(() => get('templates?limit=1000'), 'templates').data?.items ?? [];
	const pick = (name, list, text) => html`<label>${t('devices.' + name)}<select value=${want[name]} onChange=${(e) => narrow({ [name]: e.currentTarget.value })}>
		<option value="">${t('all')}</option>${list.map((x) => html`<option value=${x}>${text(x)}</option>`)}</select></label>`;
	return html`<form class="row card" role="search" onSubmit=${(e) => e.preventDefault()}>
		<label>${t(want.order === 'label' ? 'devices.search-label' : 'devices.search')}<input type="search" value=${want.prefix} spellcheck=${false} autocapitalize="none"
			maxlength="256" onInput=${(e) => narrow({ prefix: e.currentTarget.value })} /></label>
		${pick('state', states, (x) => t('state.' + x))}
		${pick('online', Object.keys(presences), (x) => t('state.' + presences[x]))}
		${pick('certificate', certificates, (x) => t(x === 'active' ? 'ca.valid' : x === 'none' ? 'none' : 'state.' + x))}
		${templates.length > 0 && pick('template', templates.map((x) => String(x.id)), (x) => templates.find((y) => String(y.id) === x).label)}
		<label>${t('devices.order')}<select value=${want.order || 'id'} onChange=${(e) => narrow({ order: e.currentTarget.value === 'id' ? '' : e.currentTarget.value })}>
			${orders.map((o) => html`<option value=${o}>${t('devices.order-' + o)}</option>`)}</select></label></form>`;
}

const asked = ['prefix', 'state', 'online', 'certificate', 'template', 'order'];

function List({ route }) {
	const want = Object.fromEntries(asked.map((name) => [name, route.query.get(name) ?? '']));
	const [adding, add] = useState(''), [turn, setTurn] = useState(0);
	const pages = usePages('devices', askFor(want), { every: 30000 }), { data, error, load } = pages;
	const totals = useTotals(turn);
	// The search is in the address: it is there again when one comes back from a device.
	// In the order of ends stand those with an active certificate alone, and what ends is best looked for there.
	const order = (m) => (!m.certificate ? {} : /^expir/.test(m.certificate) ? { order: 'expiry' } : { order: want.order === 'expiry' ? '' : want.order });
	const narrow = (m) => replace('devices', { ...want, ...order(m), ...m });
	const reload = () => (setTurn((n) => n + 1), load());
	const told = (events) => {
		const shown = new Set(data?.items.map((d) => d.id));
		const here = events.some((e) => shown.has(e.data.device)) || events.length === 0;
		// Who is not on this page may come onto it: by its presence or certificate if that is asked for, or because it is new.
		const news = ['change', 'pending', 'enrolment', ...(want.certificate || want.order === 'expiry' ? ['certificate'] : [])];
		if (here || want.online || want.order === 'last_seen' || events.some((e) => news.includes(e.kind)))
			return reload();
		return null;
	};
	useEvents({ kinds: 'connect,disconnect,status,stale,pending,certificate,enrolment,change' }, told);
	const narrowed = asked.some((name) => want[name] && name !== 'order');
	return html`<div class="head"><h1>${t('page.devices')}</h1><div class="row">
			<button type="button" onClick=${() => add('many')}>${t('many.title')}</button>
			<button class="main" type="button" onClick=${() => add('one')}>${t('devices.add')}</button></div></div>
		<${Tabs} at="devices" totals=${totals} /><${Search} want=${want} narrow=${narrow} />
		<${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${data?.items.length > 0 && html`<${Table} items=${data.items} />`}
		${data?.items.length === 0 && (data.next ? html`<${Further} pages=${pages} />`
			: narrowed ? html`<${Empty} title=${t('devices.no-match')}>${t('devices.no-match-help')}<//>`
			: html`<${Empty} title=${t('devices.empty')}>${t('devices.empty-help')}<//>`)}
		<${Pager} pages=${pages} />
		${adding === 'one' && html`<${Add} onClose=${() => (add(''), reload())} />`}
		${adding === 'many' && html`<${Many} onClose=${() => (add(''), reload())} />`}`;
}

export function Devices({ route, me }) {
	return route.parts[1] !== undefined ? html`<${Device} key=${route.parts[1]} id=${route.parts[1]} me=${me} />` : html`<${List} route=${route} />`;
}
