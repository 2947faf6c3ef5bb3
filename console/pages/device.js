// One device: who it is, whether it is here, its certificates, what it was refused, and what can be done.
import { call, get, part, query } from '../lib/api.js';
import { go, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Confirm, html, Name, plain, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Certificates } from './certificate-list.js';
import { Files, issue, Token } from './devices.js';
import { Refused } from './refusals.js';

function Sessions({ device }) {
	const { data, error } = useLoad(() => get('sessions' + query({ cn: device.cn })), device.cn, 10000);
	if (error)
		return html`<${Trouble} error=${error} />`;
	if (!data?.items.length)
		return html`<p class="dim">${t('device.no-session')}</p>`;
	return data.items.map((s) => html`<dl>${[['device.client', html`<${Name} value=${s.client_id} />`], ['device.connection', s.connected ? html`<${Badge} state="online" /> ${plain(s.address)}` : html`<${Badge} state="offline" /> <${When} time=${s.offline_since} />`],
		['device.listener', plain(s.listener)], ['device.protocol', s.protocol === 5 ? 'MQTT 5' : s.protocol === 4 ? 'MQTT 3.1.1' : plain(s.protocol)], ['device.subscriptions', s.subscriptions], ['device.queue', t('device.queue-of', { waiting: s.waiting, inflight: s.inflight, dropped: s.dropped })]]
		.map(([k, v]) => html`<dt>${t(k)}</dt><dd>${v}</dd>`)}</dl>`);
}

function Send({ device }) {
	const [state, set] = useState({ busy: false, error: null, done: '' });
	const submit = async (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		set({ busy: true, error: null, done: '' });
		try {
			const r = await call('POST', 'publish', { topic: String(f.get('topic')), payload: String(f.get('payload')), qos: 1 });
			set({ busy: false, error: null, done: t(r.subscribers ? 'device.sent' : 'device.sent-nobody') });
		} catch (error) {
			set({ busy: false, error, done: '' });
		}
	};
	return html`<form onSubmit=${submit}><label>${t('live.topic')}<input name="topic" required spellcheck=${false} value=${`springcard/springcore/${device.cn}/rdr/cmd`} /></label>
		<label>${t('live.payload')}<textarea name="payload" rows="3" spellcheck=${false}>${'{"Buzzer":200}'}</textarea></label><${Trouble} error=${state.error} />
		<p class="row"><button disabled=${state.busy}>${t('device.send')}</button><span role="status">${state.done}</span></p></form>`;
}

export function Device({ id }) {
	const path = 'devices/' + part(id);
	const { data: d, error, load } = useLoad(() => get(path), path, 10000);
	const [asking, ask] = useState(''), [files, setFiles] = useState(null), [turn, setTurn] = useState(0), [failed, setFailed] = useState(null);
	const set = (state) => async () => {
		setFailed(null);
		try {
			await call('PATCH', path, { state });
			await load();
		} catch (x) {
			setFailed(x);
		}
	};
	if (!d)
		return html`<p><a href=${to('devices')}>← ${t('page.devices')}</a></p>${error ? html`<${Trouble} error=${error} again=${load} />` : html`<${Busy} />`}`;
	const facts = [['devices.label', html`<${Name} value=${d.label} />`], ['device.cn', html`<${Name} value=${d.cn} />`], ['devices.presence', d.online ? html`<${Badge} state="online" /> <${When} time=${d.since} />` : html`<${Badge} state="offline" />`],
		['devices.seen', html`<${When} time=${d.last_seen} none=${t('never')} />`], ['device.address', plain(d.address) || '–'], ['devices.status', html`<${Name} value=${d.status} />`], ['devices.until', html`<${When} time=${d.certificate_until} none=${t('none')} />`], ['device.created', html`<${When} time=${d.created} />`]];
	return html`<p><a href=${to('devices')}>← ${t('page.devices')}</a></p>
		<div class="head"><h1><${Name} value=${d.id} /> <${Badge} state=${d.state} /></h1><div class="row">
			${d.state === 'enabled' ? html`<button type="button" onClick=${() => ask('disable')}>${t('device.disable')}</button>` : html`<button type="button" class="main" onClick=${set('enabled')}>${t(d.state === 'disabled' ? 'device.enable' : 'device.approve')}</button>`}
			<button type="button" onClick=${() => ask('disconnect')}>${t('device.disconnect')}</button><button type="button" class="danger" onClick=${() => ask('remove')}>${t('device.remove')}</button></div></div>
		<${Trouble} error=${failed ?? error} />
		<div class="cards"><section class="card"><h2>${t('device.about')}</h2><dl>${facts.map(([k, v]) => html`<dt>${t(k)}</dt><dd>${v}</dd>`)}</dl></section>
		<section class="card"><h2>${t('device.sessions')}</h2><${Sessions} device=${d} /></section>
		<section class="card wide"><div class="head"><h2>${t('device.certificates')}</h2><button type="button" onClick=${() => ask('issue')}>${t('device.issue')}</button></div>
			${files && html`<${Files} name=${d.id} files=${files} />`}<${Certificates} query=${{ device: d.id }} turn=${turn} /></section>
		<section class="card"><h2>${t('devices.by-token')}</h2><p class="dim">${t('device.token-about')}</p><${Token} device=${d} /></section>
		<section class="card"><h2>${t('device.command')}</h2><${Send} device=${d} /></section>
		<section class="card wide"><h2>${t('device.refused')}</h2><${Refused} about=${d.cn} /></section></div>
		${asking === 'disable' && html`<${Confirm} title=${t('device.disable')} text=${t('device.disable-text', { id: plain(d.id, 64) })} action=${t('device.disable')} onYes=${set('disabled')} onClose=${() => ask('')} />`}
		${asking === 'disconnect' && html`<${Confirm} title=${t('device.disconnect')} text=${t('device.disconnect-text', { id: plain(d.id, 64) })} action=${t('device.disconnect')} onYes=${() => call('POST', path + '/disconnect')} onClose=${() => (ask(''), load())} />`}
		${asking === 'remove' && html`<${Confirm} title=${t('device.remove')} text=${t('device.remove-text', { id: plain(d.id, 64) })} action=${t('device.remove')} onYes=${() => call('DELETE', path).then(() => go(to('devices')))} onClose=${() => ask('')} />`}
		${asking === 'issue' && html`<${Confirm} title=${t('device.issue')} text=${t('device.issue-text')} action=${t('device.issue')} danger=${false} onYes=${async () => (setFiles((await issue(d)).files), setTurn(turn + 1))} onClose=${() => ask('')} />`}`;
}
