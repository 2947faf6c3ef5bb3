// Devices: the list, and how a new one comes to its certificate.
import { all, call, get, part, query } from '../lib/api.js';
import { make, pem } from '../lib/csr.js';
import { go, to } from '../lib/route.js';
import { t } from '../lib/text.js';
import { Badge, Busy, Dialog, Empty, html, Name, plain, save, Trouble, useLoad, useState, When } from '../lib/ui.js';
import { Device } from './device.js';

const LIMIT = 50;

/** A new key and certificate for a device, as three files. */
export async function issue(/** @type {{ id: string, cn: string }} */ device, more = {}) {
	const { key, csr } = await make(device.cn);
	const certificate = await call('POST', `devices/${part(device.id)}/certificates`, { csr, ...more });
	const cas = [];
	const known = await all('cas');
	for (let ca = known.find((c) => c.name === certificate.ca); ca; ca = known.find((c) => c.name === ca.parent && c !== ca))
		cas.push(pem('CERTIFICATE', new Uint8Array(await get(`cas/${part(ca.name)}/certificate`))));
	return { certificate, files: { 'key.pem': key, 'cert.pem': certificate.pem, 'ca.pem': cas.join('') } };
}

export function Files({ name, files }) {
	const safe = name.replace(/[^\w.-]/g, '_');
	return html`<p class="row">${Object.entries(files).map(([file, text]) => html`<button type="button" onClick=${() => save(`${safe}-${file}`, [text], 'application/x-pem-file')}>${t('devices.save', { file })}</button>`)}</p>
		<p class="dim small">${t('devices.key-once')}</p>`;
}

export function Token({ device }) {
	const [state, set] = useState({ busy: false, error: null, token: null, qr: '' });
	const start = async () => {
		set({ busy: true, error: null, token: null, qr: '' });
		try {
			const token = await call('POST', `devices/${part(device.id)}/enrolment`, {});
			const qr = await call('POST', 'enrolment/qr', { uri: token.uri });
			set({ busy: false, error: null, token, qr: 'data:image/svg+xml;base64,' + btoa(String.fromCharCode(...new Uint8Array(qr))) });
		} catch (error) {
			set({ busy: false, error, token: null, qr: '' });
		}
	};
	if (!state.token)
		return html`<button type="button" disabled=${state.busy} onClick=${start}>${t('devices.token')}</button><${Trouble} error=${state.error} />`;
	return html`<div class="token"><img src=${state.qr} alt=${t('devices.qr')} width="200" height="200" /><div><p>${t('devices.token-help')} <${When} time=${state.token.expires} /></p>
		<pre tabindex="0" aria-label=${t('devices.token')}>signet enrol '${plain(state.token.uri, 2000)}'</pre></div></div>`;
}

function Files3({ device }) {
	const [state, set] = useState({ busy: false, error: null, files: null });
	const start = async () => {
		set({ busy: true, error: null, files: null });
		try {
			set({ busy: false, error: null, files: (await issue(device)).files });
		} catch (error) {
			set({ busy: false, error, files: null });
		}
	};
	return state.files ? html`<${Files} name=${device.id} files=${state.files} />`
		: html`<button type="button" disabled=${state.busy} onClick=${start}>${t('devices.files')}</button><${Trouble} error=${state.error} />`;
}

function Add({ onClose }) {
	const [made, setMade] = useState(null), [error, setError] = useState(null), [busy, setBusy] = useState(false);
	const submit = async (e) => {
		e.preventDefault();
		const f = new FormData(e.currentTarget);
		setBusy(true);
		try {
			setMade(await call('POST', 'devices', { id: String(f.get('id')).trim(), label: String(f.get('label')).trim() }));
		} catch (x) {
			setError(x);
		}
		setBusy(false);
	};
	if (made)
		return html`<${Dialog} title=${t('devices.added')} onClose=${() => (onClose(), go(to('devices', made.id)))}><p><${Name} value=${made.id} /> ${t('devices.added-help')}</p>
			<h3>${t('devices.by-token')}</h3><${Token} device=${made} /><h3>${t('devices.by-files')}</h3><${Files3} device=${made} /></${Dialog}>`;
	return html`<${Dialog} title=${t('devices.add')} onClose=${onClose}><form onSubmit=${submit}>
		<label>${t('devices.id')}<input name="id" required maxlength="64" autocapitalize="none" spellcheck=${false} /></label>
		<label>${t('devices.label')}<input name="label" maxlength="200" /></label><${Trouble} error=${error} />
		<footer><button type="button" onClick=${onClose}>${t('cancel')}</button><button class="main" disabled=${busy}>${t('devices.add')}</button></footer></form><//>`;
}

const Row = ({ d }) => html`<tr><td><a href=${to('devices', d.id)}><${Name} value=${d.id} most=${64} /></a></td><td><${Name} value=${d.label} /></td>
	<td><${Badge} state=${d.state} /></td><td>${d.online ? html`<${Badge} state="online" />` : html`<${When} time=${d.last_seen} none=${t('never')} />`}</td>
	<td>${d.status ? html`<${Name} value=${d.status} most=${40} />` : ''}</td><td><${When} time=${d.certificate_until} none=${t('none')} /></td></tr>`;

function List() {
	const [want, setWant] = useState({ prefix: '', state: '', online: '' }), [trail, setTrail] = useState(['']);
	const [adding, setAdding] = useState(false);
	const path = 'devices' + query({ ...want, limit: LIMIT, cursor: trail.at(-1) });
	const { data, error, load } = useLoad(() => get(path), path, 10000);
	const narrow = (m) => (setWant({ ...want, ...m }), setTrail(['']));
	const some = data?.items.length > 0, narrowed = want.prefix || want.state || want.online;
	return html`<div class="head"><h1>${t('page.devices')}</h1><button class="main" type="button" onClick=${() => setAdding(true)}>${t('devices.add')}</button></div>
		<form class="row card" onSubmit=${(e) => e.preventDefault()}><label>${t('devices.search')}<input type="search" value=${want.prefix} spellcheck=${false} onInput=${(e) => narrow({ prefix: e.currentTarget.value })} /></label>
			<label>${t('devices.state')}<select onChange=${(e) => narrow({ state: e.currentTarget.value })}><option value="">${t('all')}</option>${['enabled', 'disabled', 'pending', 'quarantined'].map((s) => html`<option value=${s}>${t('state.' + s)}</option>`)}</select></label>
			<label>${t('devices.presence')}<select onChange=${(e) => narrow({ online: e.currentTarget.value })}><option value="">${t('all')}</option><option value="true">${t('state.online')}</option><option value="false">${t('state.offline')}</option></select></label></form>
		<${Trouble} error=${error} again=${load} />${!data && !error && html`<${Busy} />`}
		${some && html`<div class="scroll below" tabindex="0" role="region" aria-label=${t('page.devices')}><table><thead><tr><th>${t('devices.id')}</th><th>${t('devices.label')}</th><th>${t('devices.state')}</th><th>${t('devices.seen')}</th><th>${t('devices.status')}</th><th>${t('devices.until')}</th></tr></thead>
			<tbody>${data.items.map((d) => html`<${Row} key=${d.id} d=${d} />`)}</tbody></table></div>`}
		${data && !some && (narrowed ? html`<${Empty} title=${t('devices.no-match')}>${t('devices.no-match-help')}<//>` : html`<${Empty} title=${t('devices.empty')}>${t('devices.empty-help')}<//>`)}
		${data && (data.next || trail.length > 1) && html`<p class="row pager"><button type="button" disabled=${trail.length < 2} onClick=${() => setTrail(trail.slice(0, -1))}>${t('back')}</button>
			<button type="button" disabled=${!data.next} onClick=${() => setTrail([...trail, data.next])}>${t('next')}</button></p>`}
		${adding && html`<${Add} onClose=${() => (setAdding(false), load())} />`}`;
}

export function Devices({ route }) {
	return route.parts[1] !== undefined ? html`<${Device} key=${route.parts[1]} id=${route.parts[1]} />` : html`<${List} />`;
}
