// One device: who it is, whether it is here, what it says, its certificates, what it was refused, and what can be done.
import { call, get, part } from '../lib/api.js';
import { Fresh } from '../lib/edit.js';
import { useAgain, useEvents } from '../lib/events.js';
import { go, to } from '../lib/route.js';
import { filterFault, useFeed } from '../lib/stream.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Confirm, Empty, field, Form, Gone, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Certificates, Has } from './certificate-list.js';
import { Bundle, chosenTemplates, Files, issue, Templates, Token } from './device-add.js';
import { Actuate, Message, Reader } from './device-tell.js';
import { Detail, Lost, Messages, number, Status } from './messages.js';
import { Refused } from './refusals.js';

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const EVENTS = 'connect,disconnect,status,stale,pending,certificate,enrolment,change';
const Facts = ({ facts }) => html`<dl>${facts.map(([name, value]) => html`<dt>${t(name)}</dt><dd>${value}</dd>`)}</dl>`;
const protocols = { 3: 'MQTT 3.1', 4: 'MQTT 3.1.1', 5: 'MQTT 5' };

// ---- its session ----

const Filters = ({ filters }) => html`<ul class="names">${filters.map((f) => html`<li key=${f.filter}><${Name} value=${f.filter} most=${300} />${' '}
	<span class="dim small">QoS ${f.qos}</span></li>`)}</ul>`;

function Session({ device, turn }) {
	const { data: s, error, load } = useLoad(() => get(`devices/${part(device.id)}/session`).catch((e) => (e.status === 404 ? { none: true } : Promise.reject(e))),
		device.id, 10000);
	useAgain(load, turn);
	if (!s)
		return error ? html`<${Trouble} error=${error} />` : html`<${Busy} />`;
	if (s.none)
		return html`<p class="dim">${t('device.no-session')}</p>`;
	const waiting = s.waiting + s.inflight;
	return html`<${Facts} facts=${[['device.client', html`<${Name} value=${s.client_id} />`],
		['device.connection', s.connected ? html`<${Badge} state="online" /> ${plain(s.address)}` : html`<${Badge} state="offline" /> <${When} time=${s.offline_since} />`],
		['device.listener', plain(s.listener) || '–'], ['device.protocol', protocols[s.protocol] ?? '–'],
		['device.queue', html`${waiting > 0 ? html`<span class="badge warn">${number.format(waiting)}</span> ` : ''}${t('device.queue-of', { waiting: s.waiting, inflight: s.inflight, dropped: s.dropped })}`],
		['device.will', s.will ? html`<${Name} value=${s.will} most=${300} />` : html`<span class="dim">${t('none')}</span>`]]} />
		<h3>${t('device.subscriptions')} <span class="dim small">${number.format(s.subscriptions)}</span></h3>
		${s.filters.length > 0 ? html`<${Filters} filters=${s.filters} />` : html`<p class="dim">${t('device.no-filters')}</p>`}`;
}

// ---- what it says ----

/** Where devices speak: below SpringCore's prefix, below /TENANT/DEVICE, or below their own name. */
function topicsOf(device, me) {
	const own = `/${device.tenant}/${device.id}/#`;
	return me?.platform === false ? [own] : [`springcard/springcore/${device.cn}/#`, own, `${device.cn}/#`];
}

function Said({ device, me }) {
	const filters = topicsOf(device, me), feed = useFeed(filters, { publisher: device.cn }), [chosen, choose] = useState(null);
	const [text, setText] = useState(filters.join(' ')), [fault, setFault] = useState('');
	const apply = (e) => {
		e.preventDefault();
		const list = text.split(/\s+/).filter(Boolean), wrong = list.length === 0 ? t('live.filter-empty') : list.map(filterFault).find(Boolean) ?? '';
		setFault(wrong);
		if (!wrong)
			feed.tell({ do: 'filter', filter: list });
	};
	return html`<div class="head"><h2>${t('device.messages')}</h2><${Status} state=${feed.state} flow=${feed.flow} /></div>
		<form class="row" onSubmit=${apply}><label class="grow">${t('device.filters')}<input value=${text} spellcheck=${false} autocapitalize="none" aria-invalid=${!!fault}
			onInput=${(e) => setText(e.currentTarget.value)} /></label><button>${t('live.subscribe')}</button>
			<button type="button" aria-pressed=${feed.isPaused} onClick=${feed.pause}>${t(feed.isPaused ? 'live.go-on' : 'live.pause')}</button></form>
		${fault && html`<p class="fault" role="alert">${fault}</p>`}<p class="dim small">${t('device.heard', { time: clock.format(feed.since) })}</p><${Lost} state=${feed.state} />
		${chosen && html`<${Detail} row=${chosen} onClose=${() => choose(null)} />`}
		${feed.flow.rows.length > 0 ? html`<${Messages} rows=${feed.flow.rows.slice(0, 50)} chosen=${chosen} choose=${choose} />`
			: html`<${Empty} title=${t('live.none')}>${t('device.no-messages')}<//>`}`;
}

// ---- changing it ----

function Edit({ device, onClose }) {
	const path = 'devices/' + part(device.id), title = t('device.edit');
	const send = (now) => (f) => call('PATCH', path, { label: field(f, 'label'), templates: chosenTemplates(f) }, now);
	return html`<${Fresh} path=${path} title=${title} onClose=${onClose}>${(now, again) => html`
		<${Form} title=${title} action=${t('device.save')} send=${send(now)} again=${again} onClose=${onClose}>
			<label>${t('devices.label')}<input name="label" maxlength="200" defaultValue=${now.label} /></label>
			<${Templates} chosen=${now.templates} /><//>`}<//>`;
}

/** What is asked before it is done; <what> is its name in the texts, too. */
function Asked({ what, device, set, done, onClose }) {
	const path = 'devices/' + part(device.id), id = plain(device.id, 64);
	const acts = {
		disable: set('disabled'),
		reject: set('disabled'),
		quarantine: set('quarantined'),
		disconnect: () => call('POST', path + '/disconnect'),
		remove: () => call('DELETE', path).then(() => go(to('devices'))),
		issue: async () => done((await issue(device)).files),
	};
	return html`<${Confirm} title=${t('device.' + what)} text=${t(`device.${what}-text`, { id })} action=${t('device.' + what)} danger=${what !== 'issue'}
		onYes=${acts[what]} onClose=${onClose} />`;
}

function Actions({ d, set, ask }) {
	const button = (what, look = '') => html`<button type="button" class=${look} onClick=${() => ask(what)}>${t('device.' + what)}</button>`;
	const yes = (text) => html`<button type="button" class="main" onClick=${set('enabled')}>${t(text)}</button>`;
	return html`<div class="row">
		${d.state === 'enabled' && html`${button('disable')}${button('quarantine')}`}
		${d.state === 'disabled' && yes('device.enable')}
		${(d.state === 'pending' || d.state === 'quarantined') && html`${yes('device.approve')}${button('reject')}`}
		${button('edit')}${button('disconnect')}${button('remove', 'danger')}</div>`;
}

const about = (d) => [['devices.label', html`<${Name} value=${d.label} />`], ['device.cn', html`<${Name} value=${d.cn} />`],
	['devices.presence', d.online ? html`<${Badge} state="online" /> <${When} time=${d.since} />` : html`<${Badge} state="offline" />`],
	['devices.seen', html`<${When} time=${d.last_seen} none=${t('never')} />`], ['device.address', plain(d.address) || '–'],
	['devices.status', html`<${Name} value=${d.status} /> ${d.stale && html`<${Badge} state="stale" /> <span class="dim small">${t('device.stale')}</span>`}`], ['devices.certificate', html`<${Has} d=${d} />`],
	['page.templates', html`<${TemplateNames} ids=${d.templates} />`], ['device.created', html`<${When} time=${d.created} />`]];

function TemplateNames({ ids }) {
	const { data } = useLoad(() => Promise.all(ids.map((id) => get(`templates/${id}`))), ids.join());
	return ids.length === 0 ? html`<span class="dim">${t('none')}</span>` : (data ?? []).map((x) => html`<span class="badge"><${Name} value=${x.label} most=${40} /></span> `);
}

const Attributes = ({ attributes }) => Object.keys(attributes).length > 0 && html`<details><summary>${t('device.attributes')}</summary>
	<pre tabindex="0" aria-label=${t('device.attributes')}>${plain(JSON.stringify(attributes, null, 1), 4000).replaceAll('\\u000a', '\n')}</pre></details>`;

export function Device({ id, me }) {
	const path = 'devices/' + part(id), { data: d, error, load } = useLoad(() => get(path), path, 30000);
	const [asking, ask] = useState(''), [files, setFiles] = useState(null), [turn, setTurn] = useState(0), [failed, setFailed] = useState(null);
	const again = () => (setTurn((n) => n + 1), load());
	useEvents({ kinds: EVENTS, device: id }, again);
	const set = (state) => async () => {
		setFailed(null);
		try {
			await call('PATCH', path, { state });
			await load();
		} catch (x) {
			setFailed(x);
		}
	};
	const back = html`<p><a href=${to('devices')}>← ${t('page.devices')}</a></p>`;
	if (!d && error?.status === 404)
		return html`${back}<${Gone} title=${html`<${Name} value=${id} />`} to=${to('devices')} list=${t('page.devices')} />`;
	if (!d)
		return html`${back}${error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`}`;
	const close = () => (ask(''), again());
	return html`${back}<div class="head"><h1><${Name} value=${d.id} /> <${Badge} state=${d.state} /></h1><${Actions} d=${d} set=${set} ask=${ask} /></div>
		<${Trouble} error=${failed ?? error} />
		<div class="cards"><section class="card"><h2>${t('device.about')}</h2><${Facts} facts=${about(d)} /><${Attributes} attributes=${d.attributes} /></section>
		<section class="card"><h2>${t('device.sessions')}</h2><${Session} device=${d} turn=${turn} /></section>
		<section class="card wide"><${Said} device=${d} me=${me} /></section>
		<div><section class="card"><h2>${t('tell.title')}</h2><${Actuate} device=${d} /></section>
			${me?.platform && html`<section class="card below"><h2>${t('device.command')}</h2><${Message} device=${d} /></section>`}</div>
		${me?.platform && html`<section class="card"><h2>${t('reader.title')}</h2><${Reader} device=${d} /></section>`}
		<section class="card wide"><div class="head"><h2>${t('device.certificates')}</h2><button type="button" onClick=${() => ask('issue')}>${t('device.issue')}</button></div>
			${files && html`<${Files} name=${d.id} files=${files} />`}
			<${Certificates} query=${{ device: d.id }} turn=${turn} device=${d} onFiles=${setFiles} /></section>
		<section class="card"><h2>${t('devices.by-token')}</h2><p class="dim">${t('device.token-about')}</p><${Token} device=${d} /></section>
		<section class="card"><h2>${t('devices.by-bundle')}</h2><p class="dim">${t('bundle.about')}</p><${Bundle} device=${d} onMade=${again} /></section>
		<section class="card wide"><h2>${t('device.refused')}</h2><${Refused} about=${d.cn} /></section></div>
		${asking === 'edit' ? html`<${Edit} device=${d} onClose=${close} />`
			: asking && html`<${Asked} what=${asking} device=${d} set=${set} done=${setFiles} onClose=${close} />`}`;
}
